/* SPDX-License-Identifier: Apache-2.0 */
/* daemon/job_live.c - see daemon/job_live.h. */
#include "daemon/job_live.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---------------------------------------------------------------------------- making, unmaking */

static void link_live(struct job_table *table, struct live *live)
{
    live->table = table;
    live->prev = NULL;
    live->next = table->first;
    *(table->first ? &table->first->prev : &table->last) = live;
    table->first = live;
    table->n_live++;
}

static void unlink_live(struct live *live)
{
    struct job_table *table = live->table;
    *(live->prev ? &live->prev->next : &table->first) = live->next;
    *(live->next ? &live->next->prev : &table->last) = live->prev;
    table->n_live--;
}

struct live *live_make(struct job_table *table, struct job_spec *take_spec, const char *id)
{
    struct live *live = calloc(1, sizeof *live);
    if (!live)
        return NULL;
    live->spec = take_spec;
    live->work.spec = take_spec;
    live->work.on_event = live_on_event;
    if (id)
        snprintf(live->id, sizeof live->id, "%s", id);
    else
        job_id_make(&table->ids, live->id);
    if (take_spec)
        snprintf(take_spec->key, sizeof take_spec->key, "%s", live->id);
    link_live(table, live);
    return live;
}

void live_let_go_of_source(struct live *live)
{
    if (live->from)
        store_unpin(live->table->config.store, live->from);
    live->from = NULL;
}

void live_free_expected(struct live *live)
{
    free(live->expected.text);
    live->expected = (struct live_expected){0};
}

void live_destroy(struct live *live)
{
    struct job_table *table = live->table;
    live_detach_watchers(live);
    live_let_go_of_source(live);
    live_free_expected(live);
    work_queue_release(table->config.queue, &live->work);
    if (live->job)
        store_unpin(table->config.store, live->job);
    table->n_waiting -= live->stage == LIVE_WAITING;
    table->n_queued -= live->counts_as_queued;
    unlink_live(live);
    spec_destroy(live->spec);
    free(live->tail);
    free(live);
}

void live_set_stage(struct live *live, enum live_stage stage)
{
    live->table->n_waiting -= live->stage == LIVE_WAITING;
    live->stage = stage;
    live->table->n_waiting += live->stage == LIVE_WAITING;
}

/* ---------------------------------------------------------------------------------- appends */

void live_append(struct live *live, struct job_event *event, store_done_fn done, void *arg)
{
    live->n_appends++;
    store_append(live->table->config.store, live->id, event, done, arg);
}

bool live_append_done(struct live *live)
{
    live->n_appends--;
    if (live->stage != LIVE_PARKED)
        return false;
    if (live->n_appends == 0)
        live_destroy(live);
    return true;
}

/* ----------------------------------------------------------------------------- who is told */

int live_add_waiter(struct live *live, bool for_finish, job_answer_fn answer, void *arg)
{
    struct waiter *w = malloc(sizeof *w);
    if (!w)
        return -1;
    *w = (struct waiter){answer, arg, for_finish, live->waiters};
    live->waiters = w;
    return 0;
}

bool live_has_finish_waiter(const struct live *live)
{
    for (const struct waiter *w = live->waiters; w; w = w->next)
        if (w->for_finish)
            return true;
    return false;
}

void live_answer_waiters(struct live *live, bool finished, const struct job *job,
                         const struct ltd_err *err)
{
    struct waiter *due = NULL, **link = &live->waiters;
    while (*link) {
        struct waiter *w = *link;
        if (w->for_finish && !finished) {
            link = &w->next;
            continue;
        }
        *link = w->next;
        w->next = due;
        due = w;
    }
    while (due) {
        struct waiter *w = due;
        due = w->next;
        w->answer(w->arg, job, err);
        free(w);
    }
}

void live_tell_watchers(struct job_watcher *first)
{
    for (struct job_watcher *w = first, *next; w; w = next) {
        next = w->next;
        w->on_change(w);
    }
}

struct job_watcher *live_detach_watchers(struct live *live)
{
    struct job_watcher *first = live->watchers;
    for (struct job_watcher *w = first; w; w = w->next)
        w->live = NULL;
    live->watchers = NULL;
    return first;
}

/* ------------------------------------------------------------------------------------ places */

/* Jobs of the owner that the engine has, against what he may have at once. */
static bool is_owner_served(const struct live *live)
{
    const struct job_table *table = live->table;
    uint32_t most = 0, n = 0;
    if (table->config.max_running)
        most = table->config.max_running(table->config.hook_arg, live->owner);
    if (most == 0)
        return false;
    if (live->spec->priority == SPEC_PRIORITY_HOLD)
        return true; /* it would take a place from the owner's others until it is let go */
    for (const struct live *l = table->first; l && n < most; l = l->next)
        n += l->stage == LIVE_WORKING && strcmp(l->owner, live->owner) == 0;
    return n >= most;
}

static bool has_room(struct live *live)
{
    struct ltd_err full;
    if (live->is_foreign || is_owner_served(live))
        return false;
    return live->work.is_reserved ||
           work_queue_reserve(live->table->config.queue, &live->work, &full) == 0;
}

static void begin_work(struct live *live)
{
    struct ltd_err err = {0};
    live_set_stage(live, LIVE_WORKING);
    live_count_time(live);
    if (work_queue_add(live->table->config.queue, &live->work, &err) != 0)
        live_end(live, ENGINE_FINISH_ERROR, &err);
}

void live_place(struct live *live)
{
    live_set_stage(live, LIVE_WAITING);
    if (has_room(live))
        begin_work(live);
}

void live_place_waiting(struct job_table *table)
{
    if (table->n_waiting == 0 || table->is_stopping || table->is_placing)
        return;
    table->is_placing = true; /* a job that cannot begin ends, and every end leads here */
    for (struct live *live = table->last, *newer; live; live = newer) {
        newer = live->prev;
        if (live->stage == LIVE_WAITING && has_room(live))
            begin_work(live);
    }
    table->is_placing = false;
}

void live_stop_work(struct live *live, enum engine_finish how)
{
    switch (live->stage) {
    case LIVE_WORKING:
        work_queue_cancel(live->table->config.queue, &live->work, how);
        return;
    case LIVE_WAITING:
        live_end(live, how, NULL);
        return;
    case LIVE_QUEUEING: /* QUEUED is being answered; on_queued goes on with it */
        live->is_stop_due = true;
        live->stop_how = how;
        return;
    case LIVE_ENDING:
    case LIVE_PARKED:
        return;
    }
}
