/* SPDX-License-Identifier: Apache-2.0 */
/* daemon/store_index.c - see daemon/store_index.h. */
#include "daemon/store_index.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define BUCKETS_MIN 64

/* What the jobs of one owner add up to; lives as long as he has one. */
struct store_owner {
    char name[JOB_OWNER_BYTES];
    struct store_usage usage;
    struct store_owner *next;
};

/* FNV-1a over the salt and the text. */
static size_t bucket_of(const struct store_index *x, const char *text)
{
    uint64_t h = 1469598103934665603ull ^ x->salt;
    for (const char *c = text; *c; c++)
        h = (h ^ (unsigned char)*c) * 1099511628211ull;
    return (size_t)(h ^ h >> 32) & (x->n_buckets - 1);
}

int store_index_init(struct store_index *x, struct ltd_err *err)
{
    *x = (struct store_index){.n_buckets = BUCKETS_MIN};
    x->by_id = calloc(BUCKETS_MIN, sizeof(struct store_entry *));
    x->by_request = calloc(BUCKETS_MIN, sizeof(struct store_entry *));
    x->by_owner = calloc(BUCKETS_MIN, sizeof(struct store_owner *));
    if (!x->by_id || !x->by_request || !x->by_owner)
        return ltd_fail(err, LTD_E_EXHAUSTED, "no memory for the job log");
    if (getrandom(&x->salt, sizeof x->salt, 0) != (ssize_t)sizeof x->salt)
        x->salt = (uintptr_t)x->by_id;
    return 0;
}

void store_index_fini(struct store_index *x)
{
    for (size_t i = 0; x->by_owner && i < x->n_buckets; i++)
        for (struct store_owner *o = x->by_owner[i], *next; o; o = next) {
            next = o->next;
            free(o);
        }
    free(x->by_id);
    free(x->by_request);
    free(x->by_owner);
    *x = (struct store_index){0};
}

/* --------------------------------------------------------------------------------- owners */

static struct store_owner *find_owner(const struct store_index *x, const char *name)
{
    struct store_owner *o = x->by_owner[bucket_of(x, name)];
    while (o && strcmp(o->name, name) != 0)
        o = o->next;
    return o;
}

static struct store_owner *find_or_make_owner(struct store_index *x, const char *name)
{
    struct store_owner *o = find_owner(x, name);
    if (o)
        return o;
    o = calloc(1, sizeof *o);
    if (!o)
        return NULL;
    size_t i = bucket_of(x, name);
    memcpy(o->name, name, strlen(name) + 1);
    o->next = x->by_owner[i];
    x->by_owner[i] = o;
    return o;
}

static void leave_owner(struct store_index *x, struct store_entry *e)
{
    struct store_owner *o = e->owner;
    e->owner = NULL;
    o->usage.n_unfinished -= !e->is_finished;
    o->usage.bytes -= e->bytes;
    if (--o->usage.n_jobs > 0)
        return;
    struct store_owner **link = &x->by_owner[bucket_of(x, o->name)];
    while (*link != o)
        link = &(*link)->next;
    *link = o->next;
    free(o);
}

void store_index_usage(const struct store_index *x, const char *owner, struct store_usage *out)
{
    const struct store_owner *o = find_owner(x, owner);
    *out = o ? o->usage : (struct store_usage){0};
}

/* --------------------------------------------------------------------------------- tables */

static void link_entry(struct store_index *x, struct store_entry *e)
{
    size_t i = bucket_of(x, e->job.id);
    e->next_by_id = x->by_id[i];
    x->by_id[i] = e;
    if (e->job.request_id[0] == '\0')
        return;
    i = bucket_of(x, e->job.request_id);
    e->next_by_request = x->by_request[i];
    x->by_request[i] = e;
}

static void unlink_entry(struct store_index *x, struct store_entry *e)
{
    struct store_entry **link = &x->by_id[bucket_of(x, e->job.id)];
    while (*link != e)
        link = &(*link)->next_by_id;
    *link = e->next_by_id;
    if (e->job.request_id[0] == '\0')
        return;
    link = &x->by_request[bucket_of(x, e->job.request_id)];
    while (*link != e)
        link = &(*link)->next_by_request;
    *link = e->next_by_request;
}

/* The new tables take everything that the old ones held. */
static void move_tables(struct store_index *x, const struct store_index *old)
{
    for (size_t i = 0; i < old->n_buckets; i++) {
        for (struct store_entry *e = old->by_id[i], *next; e; e = next) {
            next = e->next_by_id;
            link_entry(x, e);
        }
        for (struct store_owner *o = old->by_owner[i], *next; o; o = next) {
            next = o->next;
            size_t to = bucket_of(x, o->name);
            o->next = x->by_owner[to];
            x->by_owner[to] = o;
        }
    }
    free(old->by_id);
    free(old->by_request);
    free(old->by_owner);
}

/* Twice the buckets when there are as many jobs. Without memory chains just get longer. */
static void grow_tables(struct store_index *x)
{
    if (x->n_reserved < x->n_buckets)
        return;
    struct store_index old = *x;
    size_t n = x->n_buckets * 2;
    struct store_entry **by_id = calloc(n, sizeof *by_id),
                       **by_request = calloc(n, sizeof *by_request);
    struct store_owner **by_owner = calloc(n, sizeof *by_owner);
    if (!by_id || !by_request || !by_owner) {
        free(by_id);
        free(by_request);
        free(by_owner);
        return;
    }
    x->by_id = by_id;
    x->by_request = by_request;
    x->by_owner = by_owner;
    x->n_buckets = n;
    move_tables(x, &old);
}

struct store_entry *store_index_find(const struct store_index *x, const char *id)
{
    struct store_entry *e = x->by_id[bucket_of(x, id)];
    while (e && strcmp(e->job.id, id) != 0)
        e = e->next_by_id;
    return e;
}

struct store_entry *store_index_find_request(const struct store_index *x, const char *owner,
                                             const char *request_id)
{
    if (*request_id == '\0')
        return NULL;
    struct store_entry *e = x->by_request[bucket_of(x, request_id)];
    while (e && (strcmp(e->job.request_id, request_id) != 0 || strcmp(e->job.owner, owner) != 0))
        e = e->next_by_request;
    return e;
}

/* ------------------------------------------------------------------------------ life of a job */

int store_index_reserve(struct store_index *x, struct store_entry *e, struct ltd_err *err)
{
    const struct job *job = &e->job;
    if (store_index_find(x, job->id) || store_index_find_request(x, job->owner, job->request_id))
        return ltd_fail(err, LTD_E_EXISTS, "job %s or its request id exists already", job->id);
    e->owner = find_or_make_owner(x, job->owner);
    if (!e->owner)
        return ltd_fail(err, LTD_E_EXHAUSTED, "no memory for a job");
    e->owner->usage.n_jobs++;
    e->owner->usage.n_unfinished++;
    e->owner->usage.bytes += e->bytes;
    x->bytes += e->bytes;
    link_entry(x, e);
    x->n_reserved++;
    grow_tables(x);
    return 0;
}

void store_index_accept(struct store_index *x, struct store_entry *e)
{
    struct store_entry *older = x->newest;
    while (older && strcmp(older->job.id, e->job.id) > 0)
        older = older->older;
    struct store_entry *newer = older ? older->newer : x->oldest;
    e->older = older;
    e->newer = newer;
    *(older ? &older->newer : &x->oldest) = e;
    *(newer ? &newer->older : &x->newest) = e;
    e->is_accepted = true;
    x->n_accepted++;
}

void store_index_finish(struct store_index *x, struct store_entry *e)
{
    struct store_entry *before = x->last_ended;
    while (before && before->job.end_us > e->job.end_us)
        before = before->ended_before;
    struct store_entry *after = before ? before->ended_after : x->first_ended;
    e->ended_before = before;
    e->ended_after = after;
    *(before ? &before->ended_after : &x->first_ended) = e;
    *(after ? &after->ended_before : &x->last_ended) = e;
    e->is_finished = true;
    e->owner->usage.n_unfinished--;
    x->n_finished++;
    x->finished_bytes += e->bytes;
}

void store_index_set_bytes(struct store_index *x, struct store_entry *e, uint64_t bytes)
{
    /* Unsigned arithmetic: a smaller number wraps and wraps back. */
    uint64_t more = bytes - e->bytes;
    e->owner->usage.bytes += more;
    x->bytes += more;
    if (e->is_finished)
        x->finished_bytes += more;
    e->bytes = bytes;
}

static void leave_lists(struct store_index *x, struct store_entry *e)
{
    if (e->is_accepted) {
        *(e->older ? &e->older->newer : &x->oldest) = e->newer;
        *(e->newer ? &e->newer->older : &x->newest) = e->older;
        x->n_accepted--;
    }
    if (e->is_finished) {
        *(e->ended_before ? &e->ended_before->ended_after : &x->first_ended) = e->ended_after;
        *(e->ended_after ? &e->ended_after->ended_before : &x->last_ended) = e->ended_before;
        x->n_finished--;
        x->finished_bytes -= e->bytes;
    }
}

void store_index_remove(struct store_index *x, struct store_entry *e)
{
    unlink_entry(x, e);
    leave_lists(x, e);
    leave_owner(x, e);
    x->bytes -= e->bytes;
    x->n_reserved--;
    e->is_accepted = e->is_finished = false;
}

/* ------------------------------------------------------------------------------------ lists */

size_t store_index_list(const struct store_index *x, const struct store_query *query,
                        const struct job **out, size_t max, bool *more)
{
    size_t n = 0;
    *more = false;
    for (const struct store_entry *e = x->newest; e; e = e->older) {
        if (!store_query_matches(query, &e->job))
            continue;
        if (n == max) {
            *more = true;
            break;
        }
        out[n++] = &e->job;
    }
    return n;
}

bool store_index_is_due(const struct store_index *x, const struct store_entry *e,
                        const struct store_retention *keep, int64_t now_us)
{
    if (x->n_finished > keep->max_jobs || x->finished_bytes > keep->max_bytes)
        return true;
    /* A clock that was set back makes an end lie in the future: it is then simply not old. */
    return now_us > e->job.end_us &&
           (uint64_t)now_us - (uint64_t)e->job.end_us > (uint64_t)keep->max_age_us;
}
