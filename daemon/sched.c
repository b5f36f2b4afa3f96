/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/sched.c - the life of a job in the scheduler: added, admitted, yielded, removed.
 *
 * Every change of a job's state is made here, so the counts of clients, classes and the whole agree
 * with the lists. daemon/sched_private.h says what the other three files own.
 */
#include "daemon/sched.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/size.h"
#include "daemon/sched_private.h"

#define MAX_AGEING_NS (UINT64_MAX / 256) /* years; keeps sums of it from overflowing */

static int check_config(const struct sched_config *c, struct ltd_err *err)
{
    if (c->max_batch < 1)
        return ltd_fail(err, LTD_E_INVALID, "max_batch is %d, not 1 or more", c->max_batch);
    if (c->prefill_chunk < 1 || c->prefill_chunk > c->max_batch)
        return ltd_fail(err, LTD_E_INVALID, "prefill_chunk is %d, not 1 .. max_batch (%d)",
                        c->prefill_chunk, c->max_batch);
    if (!(c->prefill_share > 0 && c->prefill_share < 1))
        return ltd_fail(err, LTD_E_INVALID, "prefill_share is %g, not between 0 and 1",
                        c->prefill_share);
    if (c->ageing_ns < 1)
        return ltd_fail(err, LTD_E_INVALID, "the time in which a class ages is 0");
    if (c->max_running < 1 || c->max_waiting < 1)
        return ltd_fail(err, LTD_E_INVALID, "room for %d running and %d waiting jobs, not for 1",
                        c->max_running, c->max_waiting);
    return 0;
}

static bool make_arrays(struct sched *sched)
{
    size_t n = (size_t)sched->config.max_running;
    sched->running = ltd_alloc(n, sizeof *sched->running);
    sched->victims = ltd_alloc(n, sizeof *sched->victims);
    sched->groups = ltd_alloc(n, sizeof *sched->groups);
    sched->heap = ltd_alloc(n, sizeof *sched->heap);
    sched->outlooks = ltd_alloc(n + SCHED_LOOKAHEAD, sizeof *sched->outlooks);
    sched->line = ltd_alloc(SCHED_LOOKAHEAD, sizeof *sched->line);
    sched->seats = ltd_alloc(n, sizeof *sched->seats);
    return sched->running && sched->victims && sched->groups && sched->heap && sched->outlooks &&
           sched->line && sched->seats;
}

struct sched *sched_create(const struct sched_config *config, struct ltd_err *err)
{
    if (check_config(config, err) != 0)
        return NULL;
    struct sched *sched = calloc(1, sizeof *sched);
    if (!sched)
        return ltd_fail_null(err, LTD_E_EXHAUSTED, "no memory for the scheduler");
    sched->config = *config;
    if (sched->config.ageing_ns > MAX_AGEING_NS)
        sched->config.ageing_ns = MAX_AGEING_NS;
    if (!make_arrays(sched)) {
        sched_destroy(sched);
        return ltd_fail_null(err, LTD_E_EXHAUSTED, "no memory for %d running jobs",
                             config->max_running);
    }
    sched->n_seats = config->max_running;
    sched_pace_init(sched);
    return sched;
}

void sched_destroy(struct sched *sched)
{
    if (!sched)
        return;
    ltd_assert(sched->n_running + sched->n_waiting + sched->n_held == 0, sched->n_running,
               sched->n_waiting + sched->n_held);
    for (struct sched_client *client = sched->clients, *next; client; client = next) {
        next = client->next;
        free(client);
    }
    ltd_free(sched->running);
    ltd_free(sched->victims);
    ltd_free(sched->groups);
    ltd_free(sched->heap);
    ltd_free(sched->outlooks);
    ltd_free(sched->line);
    ltd_free(sched->seats);
    free(sched);
}

/* Something happened that may change who is next, and how deep. */
static void changed(struct sched *sched)
{
    sched->is_settled = false;
    sched->is_load_stale = true;
    if (sched->n_waiting == 0)
        sched_queue_relax(sched);
}

/* ---- the running ---- */

static bool runs_before(const struct sched_job *a, const struct sched_job *b)
{
    if (a->priority != b->priority)
        return a->priority > b->priority;
    if (a->client != b->client)
        return a->client->number < b->client->number;
    return sched_job_is_before(a, b);
}

static void run(struct sched *sched, struct sched_job *job, uint64_t now_ns)
{
    ltd_assert(sched->n_running < sched->config.max_running, sched->n_running, job->number);
    bool is_new_class = true;
    int32_t at = sched->n_running++;
    for (int32_t i = 0; i < at; i++)
        is_new_class &= sched->running[i]->priority != job->priority;
    for (; at > 0 && runs_before(job, sched->running[at - 1]); at--)
        sched->running[at] = sched->running[at - 1];
    sched->running[at] = job;
    job->state = SCHED_RUNNING;
    job->client->n_running++;
    if (is_new_class)
        sched->classes[job->priority].tick_ns = now_ns;
}

static void stop_running(struct sched *sched, struct sched_job *job)
{
    int32_t at = 0;
    while (sched->running[at] != job)
        at++;
    sched->n_running--;
    memmove(&sched->running[at], &sched->running[at + 1],
            (size_t)(sched->n_running - at) * sizeof(struct sched_job *));
    sched->n_yielding -= job->must_yield;
    job->must_yield = false;
    job->client->n_running--;
}

/* ---- changes of state ---- */

static uint64_t after(uint64_t ns, uint64_t more_ns)
{
    return ns > LTD_NEVER - more_ns ? LTD_NEVER : ns + more_ns;
}

int sched_add(struct sched *sched, struct sched_job *job, const char *client, uint64_t now_ns,
              struct ltd_err *err)
{
    ltd_assert(job->priority >= 0 && job->priority < SCHED_PRIORITIES, job->priority, 0);
    ltd_assert(job->min_steps >= 1 && job->min_steps <= job->max_steps, job->min_steps,
               job->max_steps);
    job->client = sched_client_find(sched, client, true);
    if (!job->client)
        return ltd_fail(err, LTD_E_EXHAUSTED, "no memory for an account of client '%s'", client);
    uint64_t patience_ns = SCHED_PATIENCE * sched->config.ageing_ns;
    job->number = sched->n_jobs_made++;
    job->added_ns = now_ns;
    job->admitted_ns = job->aim_ns = 0;
    job->steer_ns = LTD_NEVER;
    job->key_ns = after(now_ns, patience_ns);
    if (job->key_ns > job->due_ns)
        job->key_ns = job->due_ns;
    job->must_yield = false;
    job->seen_calls = job->n_calls = 0;
    sched_queue_push(sched, job, now_ns);
    changed(sched);
    return 0;
}

void sched_remove(struct sched *sched, struct sched_job *job, uint64_t now_ns)
{
    struct sched_client *client = job->client;
    switch (job->state) {
    case SCHED_OUT:
        return;
    case SCHED_WAITING:
        sched_queue_remove(sched, job);
        break;
    case SCHED_RUNNING:
        stop_running(sched, job);
        sched_traffic_left(sched, job, now_ns);
        break;
    }
    job->state = SCHED_OUT;
    job->client = NULL;
    sched_client_settle(sched, client);
    sched_pace_refresh(sched);
    changed(sched);
}

/* A class that got a turn over a higher one that waits keeps it: that one may not take it back. */
static int32_t level_of(const struct sched *sched, const struct sched_job *job)
{
    for (int32_t p = SCHED_PRIORITIES - 1; p > job->priority; p--)
        if (sched->classes[p].n > 0)
            return p;
    return job->priority;
}

void sched_admitted(struct sched *sched, struct sched_job *job, uint64_t now_ns)
{
    ltd_assert(job->state == SCHED_WAITING, job->state, job->number);
    sched_queue_remove(sched, job);
    sched->classes[job->priority].queue_ns = now_ns;
    job->level = level_of(sched, job);
    job->admitted_ns = now_ns;
    run(sched, job, now_ns);
    if (sched->n_running > sched->n_seats)
        sched->n_seats = sched->n_running;
    sched_traffic_admitted(sched, now_ns);
    sched_pace_refresh(sched);
    sched_depth_aim(sched, job, now_ns);
    changed(sched);
}

void sched_yielded(struct sched *sched, struct sched_job *job, uint64_t now_ns)
{
    ltd_assert(job->state == SCHED_RUNNING, job->state, job->number);
    stop_running(sched, job);
    sched_queue_push(sched, job, now_ns);
    sched_pace_refresh(sched);
    changed(sched);
}

void sched_set_priority(struct sched *sched, struct sched_job *job, int32_t priority,
                        uint64_t now_ns)
{
    ltd_assert(priority >= 0 && priority < SCHED_PRIORITIES, priority, 0);
    switch (job->state) {
    case SCHED_OUT:
        job->priority = priority;
        return;
    case SCHED_WAITING:
        sched_queue_remove(sched, job);
        job->priority = priority;
        sched_queue_push(sched, job, now_ns);
        break;
    case SCHED_RUNNING:
        stop_running(sched, job);
        job->priority = job->level = priority;
        run(sched, job, now_ns);
        job->must_yield = priority == 0; /* held: its places are for others */
        sched->n_yielding += job->must_yield;
        break;
    }
    changed(sched);
}

/* ---- counts ---- */

int32_t sched_n_waiting(const struct sched *sched, int32_t priority)
{
    if (priority < 0)
        return sched->n_waiting + sched->n_held;
    return priority < SCHED_PRIORITIES ? sched->classes[priority].n : 0;
}

int32_t sched_n_running(const struct sched *sched)
{
    return sched->n_running;
}

uint64_t sched_client_steps(const struct sched *sched, const char *client)
{
    /* Looking does not change anything: `make` is off. */
    const struct sched_client *found = sched_client_find((struct sched *)sched, client, false);
    return found ? found->steps : 0;
}
