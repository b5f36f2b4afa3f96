/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/work.c - places, and the way of events back.
 *
 * A work that is added gets a place; its number is place + n_places * turn, so that an event leads
 * to its work by a division, and a number never means two works. A place is free again with
 * FINISHED, the last event that can name it.
 */
#include "daemon/work.h"

#include <math.h>
#include <stdlib.h>

#include "base/log.h"

/* A client that is told to come back sooner than this only asks more often. */
#define WAIT_MS_MIN 1000

struct work_queue {
    uv_async_t wake; /* first: the close callback frees the queue */
    struct engine *engine;
    struct work_limits limits;
    struct work **places;  /* [n_places] NULL: free */
    uint64_t *turns;       /* [n_places] how often the place was given away */
    uint32_t *free_places; /* [n_free] */
    uint32_t n_places, n_free, n_reserved, n_unstarted;
};

static void on_wake(uv_async_t *wake)
{
    work_queue_pump((struct work_queue *)wake);
}

static void free_queue(struct work_queue *q)
{
    if (!q)
        return;
    free(q->places);
    free(q->turns);
    free(q->free_places);
    free(q);
}

struct work_queue *work_queue_create(uv_loop_t *loop, const struct work_limits *limits,
                                     struct ltd_err *err)
{
    struct work_queue *q = calloc(1, sizeof *q);
    if (q) {
        q->limits = *limits;
        q->n_places = (uint32_t)limits->max_running + (uint32_t)limits->max_waiting;
        q->places = calloc(q->n_places, sizeof(struct work *));
        q->turns = calloc(q->n_places, sizeof *q->turns);
        q->free_places = calloc(q->n_places, sizeof *q->free_places);
    }
    bool has_memory = q && q->places && q->turns && q->free_places;
    int rc = has_memory ? uv_async_init(loop, &q->wake, on_wake) : UV_ENOMEM;
    if (rc != 0) {
        free_queue(q);
        return ltd_fail_null(err, LTD_E_EXHAUSTED, "work queue: %s", uv_strerror(rc));
    }
    for (uint32_t i = q->n_places; i-- > 0;)
        q->free_places[q->n_free++] = i;
    return q;
}

void work_notify(void *queue)
{
    struct work_queue *q = queue;
    uv_async_send(&q->wake);
}

void work_queue_attach(struct work_queue *q, struct engine *engine)
{
    q->engine = engine;
}

/* ------------------------------------------------------------------------------------ room */

uint32_t work_queue_wait_ms(const struct work_queue *q)
{
    struct engine_stats stats;
    engine_get_stats(q->engine, &stats);
    if (!(stats.wait_ms > WAIT_MS_MIN)) /* NaN too */
        return WAIT_MS_MIN;
    return stats.wait_ms < (double)UINT32_MAX ? (uint32_t)ceil(stats.wait_ms) : UINT32_MAX;
}

static int check_room(const struct work_queue *q, struct ltd_err *err)
{
    if (q->n_free > q->n_reserved)
        return 0;
    ltd_fail(
        err, LTD_E_EXHAUSTED,
        "queue full: %u jobs are unfinished, at most %d may run (max_jobs_running) and %d wait "
        "(max_queue)",
        q->n_places, q->limits.max_running, q->limits.max_waiting);
    ltd_err_reason(err, "QUEUE_FULL");
    return ltd_err_retry_after(err, work_queue_wait_ms(q));
}

int work_queue_reserve(struct work_queue *q, struct work *work, struct ltd_err *err)
{
    if (check_room(q, err) != 0)
        return -1;
    work->is_reserved = true;
    q->n_reserved++;
    return 0;
}

void work_queue_release(struct work_queue *q, struct work *work)
{
    q->n_reserved -= work->is_reserved;
    work->is_reserved = false;
}

/* -------------------------------------------------------------------------------- handing over */

int work_queue_add(struct work_queue *q, struct work *work, struct ltd_err *err)
{
    work_queue_release(q, work);
    if (check_room(q, err) != 0)
        return -1;
    uint32_t place = q->free_places[q->n_free - 1];
    work->number = place + (uint64_t)q->n_places * ++q->turns[place];
    work->is_started = false;
    if (engine_submit(q->engine, work->number, work->spec, err) != 0)
        return -1;
    q->places[place] = work;
    q->n_free--;
    q->n_unstarted++;
    return 0;
}

void work_queue_cancel(struct work_queue *q, const struct work *work, enum engine_finish finish)
{
    engine_cancel(q->engine, work->number, finish);
}

void work_queue_cancel_all(struct work_queue *q)
{
    for (uint32_t i = 0; i < q->n_places; i++)
        if (q->places[i])
            work_queue_cancel(q, q->places[i], ENGINE_FINISH_CANCELLED);
}

void work_queue_set_priority(struct work_queue *q, const struct work *work, int32_t priority)
{
    engine_set_priority(q->engine, work->number, priority);
}

uint32_t work_queue_n_unstarted(const struct work_queue *q)
{
    return q->n_unstarted;
}

uint32_t work_queue_n_unfinished(const struct work_queue *q)
{
    return q->n_places - q->n_free;
}

/* ---------------------------------------------------------------------------------- events */

static void note_started(struct work_queue *q, struct work *work)
{
    q->n_unstarted -= !work->is_started;
    work->is_started = true;
}

static void deliver(struct work_queue *q, const struct engine_event *event)
{
    uint32_t place = (uint32_t)(event->job % q->n_places);
    struct work *work = q->places[place];
    bool is_last = event->kind == ENGINE_FINISHED;
    if (!work || work->number != event->job) {
        ltd_error("engine event %d for work %llu, which is not placed", event->kind,
                  (unsigned long long)event->job);
        return;
    }
    if (event->kind == ENGINE_STARTED || is_last)
        note_started(q, work);
    if (is_last) {
        q->places[place] = NULL;
        q->free_places[q->n_free++] = place;
    }
    work->on_event(work, event);
    if (is_last && event->finish == ENGINE_FINISH_ERROR && event->error.code == LTD_E_RANK &&
        q->limits.on_lost)
        q->limits.on_lost(q->limits.on_lost_arg, &event->error);
}

void work_queue_pump(struct work_queue *q)
{
    if (!q->engine)
        return;
    struct engine_event *event = engine_take_events(q->engine);
    while (event) {
        struct engine_event *next = (struct engine_event *)event->mail.next;
        deliver(q, event);
        engine_event_destroy(event);
        event = next;
    }
}

static void on_closed(uv_handle_t *handle)
{
    free_queue((struct work_queue *)handle);
}

void work_queue_close(struct work_queue *q)
{
    if (!q)
        return;
    uint32_t n_left = work_queue_n_unfinished(q);
    ltd_assert(n_left == 0 && q->n_reserved == 0, n_left, q->n_reserved);
    uv_close((uv_handle_t *)&q->wake, on_closed);
}
