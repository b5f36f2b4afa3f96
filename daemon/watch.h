/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/watch.h - a call that follows a job: the log from a number on, then live.
 *
 *     log   1 2 3 4 5 6 7 …            sent so far: after_seq
 *               └──────▶ one message while the call has room, tokens merged
 *
 * The log is the buffer: a watch holds its place in it and nothing else, so a slow reader costs
 * nothing and finds its tokens merged when it comes back. Behind the last event of a finished job
 * the call ends. Used by Jobs.Watch and by Inference.Generate, which differ in how the call ends
 * and in what becomes of the job when the call ends early.
 *
 * Threads: loop thread.
 */
#ifndef LATENTD_DAEMON_WATCH_H
#define LATENTD_DAEMON_WATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "daemon/job.h"
#include "daemon/service.h"

struct watch_options {
    uint64_t after_seq;
    bool status_of_job; /* a failed job ends the call with its status; otherwise OK */
    bool cancel_on_end; /* the job is cancelled when the call ends before it */
};

/*
 * watch_start - take over the call and follow the job. The call is ended by the watch.
 * The job is pinned meanwhile.
 */
void watch_start(struct service *service, struct rpc_call *call, const struct job *job,
                 const struct watch_options *options);

/*
 * watch_beat_all - from the loop's timer, about once a second: readers that have heard nothing for
 * WATCH_BEAT_SECONDS get a Heartbeat, so that a silent network and a long thought are two things.
 * `now_ns` is ltd_now_ns().
 */
#define WATCH_BEAT_SECONDS 5
void watch_beat_all(struct service *service, uint64_t now_ns);

#endif
