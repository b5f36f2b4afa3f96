/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/work.c - places, the waiting list, and the way of events back.
 *
 * A work that is handed over gets a place; its number is place + n_places * turn, so that an event
 * leads to its work by a division, and a number never means two works. A place is free again with
 * FINISHED, the last event that can name it.
 */
#include "daemon/work.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"

/* Beyond what runs: the engine admits the next one without asking the loop first. */
#define LOOK_AHEAD 2

struct work_queue {
    uv_async_t wake; /* first: the close callback frees the queue */
    struct engine *engine;
    struct work_limits limits;
    struct work **places; /* [n_places] NULL: free */
    uint64_t *turns;      /* [n_places] how often the place was given away */
    uint32_t n_places, n_placed, next_place;
    struct work *first, *last; /* waiting */
    uint32_t n_waiting, n_unstarted;
};

static void on_wake(uv_async_t *wake)
{
    work_queue_pump((struct work_queue *)wake);
}

struct work_queue *work_queue_create(uv_loop_t *loop, const struct work_limits *limits,
                                     struct ltd_err *err)
{
    struct work_queue *q = calloc(1, sizeof *q);
    if (q) {
        q->limits = *limits;
        q->n_places = (uint32_t)limits->max_running + LOOK_AHEAD;
        q->places = calloc(q->n_places, sizeof(struct work *));
        q->turns = calloc(q->n_places, sizeof *q->turns);
    }
    int rc = q && q->places && q->turns ? uv_async_init(loop, &q->wake, on_wake) : UV_ENOMEM;
    if (rc == 0)
        return q;
    if (q) {
        free(q->places);
        free(q->turns);
        free(q);
    }
    return ltd_fail_null(err, LTD_E_EXHAUSTED, "work queue: %s", uv_strerror(rc));
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

/* -------------------------------------------------------------------------------- waiting */

static void push(struct work_queue *q, struct work *work)
{
    work->next = NULL;
    work->prev = q->last;
    *(q->last ? &q->last->next : &q->first) = work;
    q->last = work;
    q->n_waiting++;
}

static void unlink_waiting(struct work_queue *q, struct work *work)
{
    *(work->prev ? &work->prev->next : &q->first) = work->next;
    *(work->next ? &work->next->prev : &q->last) = work->prev;
    work->next = work->prev = NULL;
    q->n_waiting--;
}

static void note_started(struct work_queue *q, struct work *work)
{
    if (!work->is_started)
        q->n_unstarted--;
    work->is_started = true;
}

/* End a work that the engine never had, or refused. It may be freed by this. */
static void finish_here(struct work_queue *q, struct work *work, enum engine_finish finish,
                        const struct ltd_err *error)
{
    struct engine_event event = {
        .kind = ENGINE_FINISHED, .time_us = ltd_wall_us(), .finish = finish};
    if (error)
        event.error = *error;
    note_started(q, work);
    work->on_event(work, &event);
}

/* ---------------------------------------------------------------------------------- places */

static uint32_t find_place(const struct work_queue *q)
{
    uint32_t place = q->next_place;
    while (q->places[place])
        place = (place + 1) % q->n_places;
    return place;
}

/* Hand works over while places are free. */
static void fill_places(struct work_queue *q)
{
    while (q->first && q->n_placed < q->n_places) {
        struct work *work = q->first;
        struct ltd_err err = {0};
        uint32_t place = find_place(q);
        unlink_waiting(q, work);
        work->number = place + (uint64_t)q->n_places * ++q->turns[place];
        if (engine_submit(q->engine, work->number, work->spec, &err) != 0) {
            finish_here(q, work, ENGINE_FINISH_ERROR, &err);
            continue;
        }
        work->is_placed = true;
        q->places[place] = work;
        q->n_placed++;
        q->next_place = (place + 1) % q->n_places;
    }
}

bool work_queue_is_full(const struct work_queue *q)
{
    return q->n_placed == q->n_places && q->n_waiting >= (uint32_t)q->limits.max_waiting;
}

int work_queue_add(struct work_queue *q, struct work *work, struct ltd_err *err)
{
    if (work_queue_is_full(q))
        return ltd_fail(err, LTD_E_EXHAUSTED,
                        "queue full: %u jobs wait, at most %d may (max_queue); try again later",
                        q->n_waiting, q->limits.max_waiting);
    work->is_placed = false;
    work->is_started = false;
    q->n_unstarted++;
    push(q, work);
    fill_places(q);
    return 0;
}

void work_queue_cancel(struct work_queue *q, struct work *work, enum engine_finish finish)
{
    if (work->is_placed) {
        engine_cancel(q->engine, work->number, finish);
        return;
    }
    unlink_waiting(q, work);
    finish_here(q, work, finish, NULL);
}

void work_queue_cancel_all(struct work_queue *q)
{
    for (uint32_t i = 0; i < q->n_places; i++)
        if (q->places[i])
            work_queue_cancel(q, q->places[i], ENGINE_FINISH_CANCELLED);
    while (q->first)
        work_queue_cancel(q, q->first, ENGINE_FINISH_CANCELLED);
}

uint32_t work_queue_n_unstarted(const struct work_queue *q)
{
    return q->n_unstarted;
}

uint32_t work_queue_n_unfinished(const struct work_queue *q)
{
    return q->n_placed + q->n_waiting;
}

/* ---------------------------------------------------------------------------------- events */

static void deliver(struct work_queue *q, const struct engine_event *event)
{
    uint32_t place = (uint32_t)(event->job % q->n_places);
    struct work *work = q->places[place];
    if (!work || work->number != event->job) {
        ltd_error("engine event %d for work %llu, which is not placed", event->kind,
                  (unsigned long long)event->job);
        return;
    }
    if (event->kind == ENGINE_STARTED)
        note_started(q, work);
    if (event->kind == ENGINE_FINISHED) {
        note_started(q, work);
        q->places[place] = NULL;
        q->n_placed--;
    }
    work->on_event(work, event);
    if (event->kind == ENGINE_FINISHED && event->finish == ENGINE_FINISH_ERROR &&
        event->error.code == LTD_E_RANK && q->limits.on_lost)
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
    fill_places(q);
}

static void on_closed(uv_handle_t *handle)
{
    struct work_queue *q = (struct work_queue *)handle;
    free(q->places);
    free(q->turns);
    free(q);
}

void work_queue_close(struct work_queue *q)
{
    if (!q)
        return;
    ltd_assert(q->n_placed == 0 && q->n_waiting == 0, q->n_placed, q->n_waiting);
    uv_close((uv_handle_t *)&q->wake, on_closed);
}
