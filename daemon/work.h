/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/work.h - the loop thread's end of the engine: what waits, what runs, who hears of it.
 *
 *     add ──▶ engine: its scheduler lets works wait and run
 *                │
 *     on_event(work) ◀── pump (uv_async) ◀── events    FINISHED is the last, and comes once
 *
 * A `struct work` is embedded in whatever has something to compute: a job of the job table, a Score
 * call. Every work goes to the engine at once, because the scheduler must see all of them to be
 * fair; how many there may be, unfinished, is what this bounds.
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
    uint64_t number;  /* the engine's name for it */
    bool is_reserved; /* has room and is not added; false to begin with */
    bool is_started;
};

struct work_limits {
    int32_t max_running; /* what the engine runs at once (engine_config.n_seqs) */
    int32_t max_waiting; /* works beyond those that may be unfinished */
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
 * work_queue_add - take a work and hand it over. Events come from work_queue_pump only.
 * Errors: LTD_E_EXHAUSTED when max_running + max_waiting works are unfinished (with a hint when to
 * try again), or as engine_submit; then nothing was taken.
 */
int work_queue_add(struct work_queue *queue, struct work *work, struct ltd_err *err);

/*
 * work_queue_reserve - keep room for a work that is added later: a job is promised to its client
 * before it can be added, and a promise must not end in a full queue.
 * Errors: LTD_E_EXHAUSTED as work_queue_add.
 */
int work_queue_reserve(struct work_queue *queue, struct work *work, struct ltd_err *err);
/* Give the room back, if there is any: the work will not be added. */
void work_queue_release(struct work_queue *queue, struct work *work);

/* How long a client should wait before it tries again, from the engine's load: at least 1000. */
uint32_t work_queue_wait_ms(const struct work_queue *queue);

/*
 * work_queue_cancel - end a work; FINISHED comes later and says `finish`, unless it ended by itself
 * before.
 */
void work_queue_cancel(struct work_queue *queue, const struct work *work,
                       enum engine_finish finish);

/* work_queue_cancel_all - the same for every work, CANCELLED. */
void work_queue_cancel_all(struct work_queue *queue);

/* 0 .. SPEC_PRIORITY_MAX. */
void work_queue_set_priority(struct work_queue *queue, const struct work *work, int32_t priority);

/* Works that are not started. */
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
