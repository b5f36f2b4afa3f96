/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/work.h - the loop thread's end of the engine: what waits, what runs, who hears of it.
 *
 *     add ──▶ [ waiting: first come, first served ] ──▶ engine (at most n_places at a time)
 *                                                          │
 *     on_event(work) ◀── pump (uv_async) ◀── events ───────┘   FINISHED is the last, and comes once
 *
 * A `struct work` is embedded in whatever has something to compute: a job of the job table, a Score
 * call. Only as many are handed to the engine as can run there, and two more so that it never
 * waits for the loop; the others wait here, where they cost nothing but their spec and can be
 * cancelled at once.
 *
 * Threads: loop thread, except work_notify, which the engine thread calls.
 */
#ifndef LATENTD_DAEMON_WORK_H
#define LATENTD_DAEMON_WORK_H

#include <stdbool.h>
#include <stdint.h>

#include <uv.h>

#include "base/err.h"
#include "daemon/engine.h"
#include "daemon/spec.h"

struct work;
struct work_queue;

/*
 * Called for every event of a work. The event is borrowed. In the call that brings FINISHED the
 * work is over: it may be freed there.
 */
typedef void (*work_event_fn)(struct work *work, const struct engine_event *event);

struct work {
    const struct job_spec *spec; /* set by the owner; alive until FINISHED */
    work_event_fn on_event;      /* set by the owner */
    /* The queue's. */
    uint64_t number; /* the engine's name for it */
    bool is_placed;  /* handed to the engine */
    bool is_started;
    struct work *next, *prev; /* while waiting */
};

struct work_limits {
    int32_t max_running; /* what the engine runs at once (engine_config.n_seqs) */
    int32_t max_waiting; /* works that may wait in front of it */
    /* A work ended because the rank group is lost: no other will end better. */
    void (*on_lost)(void *arg, const struct ltd_err *why);
    void *on_lost_arg;
};

/* Errors: LTD_E_EXHAUSTED, LTD_E_INTERNAL from libuv. Returns owned. */
struct work_queue *work_queue_create(uv_loop_t *loop, const struct work_limits *limits,
                                     struct ltd_err *err);

/* For engine_config.notify and notify_arg. Any thread. */
void work_notify(void *queue);

/* Once, before the first add. The engine is borrowed. */
void work_queue_attach(struct work_queue *queue, struct engine *engine);

/*
 * work_queue_add - take a work. Its on_event may be called before this returns, with FINISHED, when
 * the engine refuses it.
 * Errors: LTD_E_EXHAUSTED when max_waiting works wait already; then nothing was taken.
 */
int work_queue_add(struct work_queue *queue, struct work *work, struct ltd_err *err);

/* True when work_queue_add would be refused. */
bool work_queue_is_full(const struct work_queue *queue);

/*
 * work_queue_cancel - end a work; FINISHED says `finish` unless it ended by itself before. A work
 * that waits here gets its FINISHED before this returns.
 */
void work_queue_cancel(struct work_queue *queue, struct work *work, enum engine_finish finish);

/* work_queue_cancel_all - the same for every work, CANCELLED. */
void work_queue_cancel_all(struct work_queue *queue);

/* Works that are not started: here, and in the engine's own queue. */
uint32_t work_queue_n_unstarted(const struct work_queue *queue);
/* Works that are not finished. */
uint32_t work_queue_n_unfinished(const struct work_queue *queue);

/* work_queue_pump - deliver the events that wait now; after engine_stop this is the last time. */
void work_queue_pump(struct work_queue *queue);

/*
 * work_queue_close - stop listening; no work may be left. Memory goes when libuv has closed the
 * handle: run the loop once more. NULL is fine.
 */
void work_queue_close(struct work_queue *take_queue);

#endif
