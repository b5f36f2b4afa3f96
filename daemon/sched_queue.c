/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/sched_queue.c - who waits, and who is next.
 *
 *     class ──▶ lanes, one per client that waits in it ──▶ jobs: due first, then older
 *
 * A class that had no turn moves up one level per ageing_ns. Written as a key, last turn plus
 * (31 - priority) * ageing_ns, the smallest goes first, and the order of two classes does not change
 * while neither has a turn: nothing must be looked at again because time has passed.
 *
 * Inside a class the client with the fewest steps goes first, counting what its seats will make of
 * them. Virtual time is start-time fair queuing's: whoever begins to compete starts at the time of
 * those who compete already, or, when nobody does, at that of the one who was served most.
 */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "daemon/sched_private.h"

/* ---- clients ---- */

static uint32_t bucket_of(const char *name)
{
    uint32_t hash = 2166136261u; /* FNV-1a */
    for (; *name; name++)
        hash = (hash ^ (unsigned char)*name) * 16777619u;
    return hash % SCHED_CLIENT_BUCKETS;
}

static struct sched_client *client_make(struct sched *sched, const char *name, uint32_t bucket)
{
    size_t len = strlen(name);
    struct sched_client *client = calloc(1, sizeof *client + len + 1);
    if (!client)
        return NULL;
    memcpy(client->name, name, len + 1);
    client->number = sched->n_clients_made++;
    client->short_turn = UINT64_MAX;
    for (int32_t p = 0; p < SCHED_PRIORITIES; p++)
        client->lanes[p].client = client;
    client->next = sched->clients;
    if (client->next)
        client->next->prev = client;
    sched->clients = client;
    client->next_in_bucket = sched->buckets[bucket];
    sched->buckets[bucket] = client;
    return client;
}

struct sched_client *sched_client_find(struct sched *sched, const char *name, bool make)
{
    uint32_t bucket = bucket_of(name);
    struct sched_client *client = sched->buckets[bucket];
    while (client && strcmp(client->name, name) != 0)
        client = client->next_in_bucket;
    return client || !make ? client : client_make(sched, name, bucket);
}

static bool is_idle(const struct sched_client *client)
{
    return client->n_waiting + client->n_held + client->n_running == 0;
}

static void client_forget(struct sched *sched, struct sched_client *client)
{
    struct sched_client **link = &sched->buckets[bucket_of(client->name)];
    while (*link != client)
        link = &(*link)->next_in_bucket;
    *link = client->next_in_bucket;
    if (client->prev)
        client->prev->next = client->next;
    else
        sched->clients = client->next;
    if (client->next)
        client->next->prev = client->prev;
    free(client);
}

/* Virtual time of those who compete now, `but` not counted; never falls. */
static uint64_t floor_of(struct sched *sched, const struct sched_client *but)
{
    uint64_t least = UINT64_MAX, most = 0;
    for (const struct sched_client *c = sched->clients; c; c = c->next) {
        if (c == but)
            continue;
        bool competes = c->n_waiting > 0 || (c->n_running > 0 && c->short_turn == sched->turn);
        if (competes && c->served < least)
            least = c->served;
        if (c->n_running > 0 && c->served > most)
            most = c->served;
    }
    uint64_t found = least != UINT64_MAX ? least : most;
    if (found > sched->floor)
        sched->floor = found;
    return sched->floor;
}

/* Idle clients that would start at the floor anyway; or else the one that loses least by it. */
static void forget_idle(struct sched *sched)
{
    struct sched_client *least = NULL;
    int32_t n_idle = 0;
    for (struct sched_client *client = sched->clients, *next; client; client = next) {
        next = client->next;
        if (!is_idle(client))
            continue;
        n_idle++;
        if (client->served <= sched->floor)
            client_forget(sched, client);
        else if (!least || client->served < least->served)
            least = client;
    }
    if (n_idle > SCHED_IDLE_CLIENTS && least)
        client_forget(sched, least);
}

void sched_client_settle(struct sched *sched, struct sched_client *client)
{
    if (!is_idle(client))
        return;
    client->steps = 0;
    bool is_last = sched->n_running + sched->n_waiting == 0;
    if (is_last && client->served > sched->floor)
        sched->floor = client->served; /* nobody is owed anything */
    forget_idle(sched);
}

/* ---- lanes ---- */

bool sched_job_is_before(const struct sched_job *a, const struct sched_job *b)
{
    return a->key_ns != b->key_ns ? a->key_ns < b->key_ns : a->number < b->number;
}

/* From the back: new jobs belong there, nearly always. */
static void insert(struct sched_queue *queue, struct sched_job *job)
{
    struct sched_job *before = queue->last;
    while (before && sched_job_is_before(job, before))
        before = before->prev;
    job->prev = before;
    job->next = before ? before->next : queue->first;
    if (job->next)
        job->next->prev = job;
    else
        queue->last = job;
    if (before)
        before->next = job;
    else
        queue->first = job;
}

static void take_out(struct sched_queue *queue, struct sched_job *job)
{
    if (job->prev)
        job->prev->next = job->next;
    else
        queue->first = job->next;
    if (job->next)
        job->next->prev = job->prev;
    else
        queue->last = job->prev;
    job->next = job->prev = NULL;
}

static struct sched_queue *queue_of(struct sched_lane *lane, const struct sched_job *job)
{
    return job->due_ns != LTD_NEVER ? &lane->timed : &lane->untimed;
}

static void lane_open(struct sched_class *class, struct sched_lane *lane)
{
    lane->prev = NULL;
    lane->next = class->lanes;
    if (lane->next)
        lane->next->prev = lane;
    class->lanes = lane;
}

static void lane_close(struct sched_class *class, struct sched_lane *lane)
{
    if (lane->prev)
        lane->prev->next = lane->next;
    else
        class->lanes = lane->next;
    if (lane->next)
        lane->next->prev = lane->prev;
}

void sched_queue_push(struct sched *sched, struct sched_job *job, uint64_t now_ns)
{
    struct sched_client *client = job->client;
    struct sched_class *class = &sched->classes[job->priority];
    struct sched_lane *lane = &client->lanes[job->priority];
    bool is_held = job->priority == 0;
    if (!is_held && client->n_waiting == 0) {
        uint64_t start = floor_of(sched, client);
        client->served = client->served > start ? client->served : start;
    }
    if (class->n++ == 0)
        class->queue_ns = now_ns;
    if (lane->n++ == 0)
        lane_open(class, lane);
    insert(queue_of(lane, job), job);
    *(is_held ? &client->n_held : &client->n_waiting) += 1;
    *(is_held ? &sched->n_held : &sched->n_waiting) += 1;
    job->state = SCHED_WAITING;
}

void sched_queue_remove(struct sched *sched, struct sched_job *job)
{
    struct sched_client *client = job->client;
    struct sched_class *class = &sched->classes[job->priority];
    struct sched_lane *lane = &client->lanes[job->priority];
    bool is_held = job->priority == 0;
    take_out(queue_of(lane, job), job);
    class->n--;
    if (--lane->n == 0)
        lane_close(class, lane);
    *(is_held ? &client->n_held : &client->n_waiting) -= 1;
    *(is_held ? &sched->n_held : &sched->n_waiting) -= 1;
}

/* ---- the first in line ---- */

uint64_t sched_class_key(const struct sched *sched, int32_t priority, uint64_t last_ns)
{
    return last_ns + (uint64_t)(SCHED_PRIORITIES - 1 - priority) * sched->config.ageing_ns;
}

/* Classes that have somebody waiting, in order of their turn; how many. Class 0 is held. */
static int32_t classes_in_order(const struct sched *sched, int32_t *out)
{
    int32_t n = 0;
    for (int32_t p = SCHED_PRIORITIES - 1; p > 0; p--) {
        if (sched->classes[p].n == 0)
            continue;
        uint64_t key = sched_class_key(sched, p, sched->classes[p].queue_ns);
        int32_t at = n++;
        for (; at > 0; at--) {
            int32_t q = out[at - 1];
            if (sched_class_key(sched, q, sched->classes[q].queue_ns) <= key)
                break;
            out[at] = q;
        }
        out[at] = p;
    }
    return n;
}

/* Steps of a prompt are known; a seat stands for what follows. */
static void count_committed(struct sched *sched)
{
    for (int32_t i = 0; i < sched->n_running; i++)
        sched->running[i]->client->committed = 0;
    for (int32_t i = 0; i < sched->n_running; i++) {
        const struct sched_job *job = sched->running[i];
        uint64_t left =
            job->max_steps > job->step_idx ? (uint64_t)(job->max_steps - job->step_idx) : 0;
        uint64_t prompt = job->call_positions > 1 ? left * (uint64_t)job->call_positions : 0;
        job->client->committed += SCHED_SEAT_STEPS + prompt;
    }
}

static uint64_t expected(const struct sched_client *client)
{
    return client->served + (client->n_running > 0 ? client->committed : 0);
}

static struct sched_job *head(const struct sched_lane *lane)
{
    struct sched_job *timed = lane->timed.first, *untimed = lane->untimed.first;
    if (!timed || !untimed)
        return timed ? timed : untimed;
    return sched_job_is_before(untimed, timed) ? untimed : timed;
}

/* Of two clients that are even, the one whose job came first. */
static struct sched_job *first_in_line(struct sched *sched)
{
    int32_t classes[SCHED_PRIORITIES];
    if (classes_in_order(sched, classes) == 0)
        return NULL;
    count_committed(sched);
    const struct sched_lane *best = NULL;
    for (const struct sched_lane *lane = sched->classes[classes[0]].lanes; lane;
         lane = lane->next) {
        uint64_t mine = expected(lane->client), its = best ? expected(best->client) : UINT64_MAX;
        if (!best || mine < its || (mine == its && head(lane)->number < head(best)->number))
            best = lane;
    }
    return head(best);
}

/* ---- places ---- */

static bool fits(const struct sched *sched, const struct sched_job *job,
                 const struct sched_places *free, int32_t n_leaving)
{
    return free->n_seqs >= 1 && free->n_pages >= job->n_pages && free->n_rows >= job->n_rows &&
           sched->n_running - n_leaving < sched->config.max_running;
}

/* What comes free when a running job yields. After its prompt it holds a single row. */
static struct sched_places held_by(const struct sched_job *job)
{
    int32_t n_rows = job->call_positions < job->n_rows ? job->call_positions : job->n_rows;
    return (struct sched_places){.n_pages = job->n_pages, .n_rows = n_rows, .n_seqs = 1};
}

static void move_places(struct sched_places *to, const struct sched_job *job, int32_t sign)
{
    struct sched_places more = held_by(job);
    to->n_pages += sign * more.n_pages;
    to->n_rows += sign * more.n_rows;
    to->n_seqs += sign * more.n_seqs;
}

/* Lowest class first, then youngest. */
static int by_rank(const void *a, const void *b)
{
    const struct sched_job *u = *(struct sched_job *const *)a, *v = *(struct sched_job *const *)b;
    if (u->priority != v->priority)
        return u->priority < v->priority ? -1 : 1;
    return u->number > v->number ? -1 : u->number < v->number;
}

static int32_t list_victims(const struct sched *sched, int32_t priority)
{
    int32_t n = 0;
    for (int32_t i = 0; i < sched->n_running; i++)
        if (sched->running[i]->level < priority)
            sched->victims[n++] = sched->running[i];
    qsort(sched->victims, (size_t)n, sizeof(struct sched_job *), by_rank);
    return n;
}

/* Nobody has to make room, but those who are held. */
static void clear_yields(struct sched *sched)
{
    sched->n_yielding = 0;
    for (int32_t i = 0; i < sched->n_running; i++) {
        struct sched_job *job = sched->running[i];
        job->must_yield = job->priority == 0;
        sched->n_yielding += job->must_yield;
    }
}

/* Tell just as many running jobs to yield as make `job` fit, or none if all of them would not. */
static void ask_to_yield(struct sched *sched, const struct sched_job *job, struct sched_places free)
{
    int32_t n_victims = list_victims(sched, job->priority), n = 0;
    clear_yields(sched);
    while (n < n_victims && !fits(sched, job, &free, n))
        move_places(&free, sched->victims[n++], 1);
    if (n == 0 || !fits(sched, job, &free, n))
        return;
    int32_t n_kept = n;
    for (int32_t i = n - 2; i >= 0; i--) {
        move_places(&free, sched->victims[i], -1);
        if (fits(sched, job, &free, n_kept - 1)) {
            sched->victims[i] = NULL; /* not needed after all */
            n_kept--;
        } else {
            move_places(&free, sched->victims[i], 1);
        }
    }
    for (int32_t i = 0; i < n; i++) {
        if (!sched->victims[i] || sched->victims[i]->must_yield)
            continue;
        sched->victims[i]->must_yield = true;
        sched->n_yielding++;
    }
}

static bool same_places(const struct sched_places *a, const struct sched_places *b)
{
    return a->n_pages == b->n_pages && a->n_rows == b->n_rows && a->n_seqs == b->n_seqs;
}

void sched_queue_relax(struct sched *sched)
{
    if (sched->n_yielding > 0)
        clear_yields(sched);
    sched->n_seats = sched->config.max_running;
}

struct sched_job *sched_next(struct sched *sched, const struct sched_places *free, uint64_t now_ns)
{
    if (sched->is_settled && same_places(free, &sched->settled))
        return NULL;
    struct sched_job *job = first_in_line(sched);
    if (job && fits(sched, job, free, 0)) {
        sched_load_refresh(sched, now_ns);
        return job;
    }
    if (job)
        ask_to_yield(sched, job, *free);
    if (job && sched->n_running > 0)
        sched->n_seats = sched->n_running;
    sched->is_settled = true;
    sched->settled = *free;
    return NULL;
}

/* ---- the line as a list ---- */

static struct sched_job *walk_next(struct sched_lane *lane)
{
    struct sched_job *timed = lane->walk[0], *untimed = lane->walk[1];
    bool take_timed = timed && !(untimed && sched_job_is_before(untimed, timed));
    struct sched_job *job = take_timed ? timed : untimed;
    if (job)
        lane->walk[take_timed ? 0 : 1] = job->next;
    return job;
}

/*
 * Clients take turns: one job of each, then the next of each. That is what fair share comes to when
 * jobs are alike, and good enough for a forecast when they are not.
 */
int32_t sched_queue_list(struct sched *sched, const struct sched_job **out, int32_t most)
{
    int32_t classes[SCHED_PRIORITIES], n = 0;
    int32_t n_classes = classes_in_order(sched, classes);
    for (int32_t c = 0; c < n_classes; c++) {
        struct sched_lane *lanes = sched->classes[classes[c]].lanes;
        for (struct sched_lane *lane = lanes; lane; lane = lane->next) {
            lane->walk[0] = lane->timed.first;
            lane->walk[1] = lane->untimed.first;
        }
        for (bool found = true; found;) {
            found = false;
            for (struct sched_lane *lane = lanes; lane; lane = lane->next) {
                const struct sched_job *job = walk_next(lane);
                if (job && n == most)
                    return n;
                if (job)
                    out[n++] = job;
                found |= job != NULL;
            }
        }
    }
    return n;
}
