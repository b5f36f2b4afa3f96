/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/store_memory.c - the event log in memory: one byte string per job, two hash tables, two
 * lists.
 *
 *     entry ── log   [event 1][event 2][event 3]…     stored form, end to end
 *           └─ ends  [end of 1][end of 2]…            event n is log[ends[n-2] .. ends[n-1])
 *
 *     by_age       every job, oldest first: ids rise, so this is also the order of lists
 *     by_end       finished jobs, earliest end first: the order of forgetting
 *
 * Appends are accepted at once. Memory of a job is bounded by STORE_JOB_BYTES_MAX, and room for its
 * FINISHED event is set aside with the first event, so that a job can end when memory is out.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/bytes.h"
#include "daemon/store.h"

#define BUCKETS_MIN 64

struct entry {
    struct job job; /* first: a handle is an entry */
    struct ltd_bytes log;
    uint32_t *ends; /* [ends_room] */
    size_t ends_room;
    size_t n_pins;
    bool is_forgotten; /* in no table and no list; freed with the last pin */
    struct entry *next_by_id, *next_by_request; /* hash chains */
    struct entry *older, *newer;
    struct entry *ended_before, *ended_after;
};

struct store_memory {
    struct store store; /* first */
    struct store_retention retention;
    uint64_t salt; /* request ids are chosen by clients, who must not choose the chains */
    struct entry **by_id, **by_request; /* [n_buckets] */
    size_t n_buckets;
    struct entry *oldest, *newest;
    struct entry *first_ended, *last_ended;
    size_t n_jobs, n_finished, finished_bytes;
    uint64_t n_events; /* accepted since start */
};

static struct store_memory *of(struct store *store)
{
    return (struct store_memory *)store;
}

/* --------------------------------------------------------------------------------- tables */

/* FNV-1a over the salt and the text. */
static size_t bucket_of(const struct store_memory *s, const char *text, size_t n_buckets)
{
    uint64_t h = 1469598103934665603ull ^ s->salt;
    for (const char *c = text; *c; c++)
        h = (h ^ (unsigned char)*c) * 1099511628211ull;
    return (size_t)(h ^ h >> 32) & (n_buckets - 1);
}

static void link_entry(struct store_memory *s, struct entry *e)
{
    size_t i = bucket_of(s, e->job.id, s->n_buckets);
    e->next_by_id = s->by_id[i];
    s->by_id[i] = e;
    if (e->job.request_id[0] == '\0')
        return;
    i = bucket_of(s, e->job.request_id, s->n_buckets);
    e->next_by_request = s->by_request[i];
    s->by_request[i] = e;
}

static void unlink_entry(struct store_memory *s, struct entry *e)
{
    struct entry **link = &s->by_id[bucket_of(s, e->job.id, s->n_buckets)];
    while (*link != e)
        link = &(*link)->next_by_id;
    *link = e->next_by_id;
    if (e->job.request_id[0] == '\0')
        return;
    link = &s->by_request[bucket_of(s, e->job.request_id, s->n_buckets)];
    while (*link != e)
        link = &(*link)->next_by_request;
    *link = e->next_by_request;
}

/* Twice the buckets when there are as many jobs. Without memory chains just get longer. */
static void grow_tables(struct store_memory *s)
{
    if (s->n_jobs < s->n_buckets)
        return;
    size_t n = s->n_buckets * 2;
    struct entry **by_id = calloc(n, sizeof *by_id), **by_request = calloc(n, sizeof *by_request);
    if (!by_id || !by_request) {
        free(by_id);
        free(by_request);
        return;
    }
    free(s->by_id);
    free(s->by_request);
    s->by_id = by_id;
    s->by_request = by_request;
    s->n_buckets = n;
    for (struct entry *e = s->oldest; e; e = e->newer)
        link_entry(s, e);
}

static struct entry *find_id(struct store_memory *s, const char *id)
{
    struct entry *e = s->by_id[bucket_of(s, id, s->n_buckets)];
    while (e && strcmp(e->job.id, id) != 0)
        e = e->next_by_id;
    return e;
}

static struct entry *find_request_id(struct store_memory *s, const char *owner,
                                     const char *request_id)
{
    struct entry *e = s->by_request[bucket_of(s, request_id, s->n_buckets)];
    while (e && (strcmp(e->job.request_id, request_id) != 0 || strcmp(e->job.owner, owner) != 0))
        e = e->next_by_request;
    return *request_id ? e : NULL;
}

static const struct job *memory_find(struct store *store, const char *id)
{
    struct entry *e = find_id(of(store), id);
    return e ? &e->job : NULL;
}

static const struct job *memory_find_request(struct store *store, const char *owner,
                                             const char *request_id)
{
    struct entry *e = find_request_id(of(store), owner, request_id);
    return e ? &e->job : NULL;
}

/* -------------------------------------------------------------------------------- entries */

static size_t entry_bytes(const struct entry *e)
{
    return sizeof *e + e->log.capacity + e->ends_room * sizeof *e->ends;
}

static void free_entry(struct entry *e)
{
    ltd_bytes_fini(&e->log);
    free(e->ends);
    free(e);
}

static void add_to_ages(struct store_memory *s, struct entry *e)
{
    e->older = s->newest;
    *(s->newest ? &s->newest->newer : &s->oldest) = e;
    s->newest = e;
    s->n_jobs++;
}

static void remove_from_ages(struct store_memory *s, struct entry *e)
{
    *(e->older ? &e->older->newer : &s->oldest) = e->newer;
    *(e->newer ? &e->newer->older : &s->newest) = e->older;
    s->n_jobs--;
}

static void add_to_ended(struct store_memory *s, struct entry *e)
{
    e->ended_before = s->last_ended;
    *(s->last_ended ? &s->last_ended->ended_after : &s->first_ended) = e;
    s->last_ended = e;
    s->n_finished++;
    s->finished_bytes += entry_bytes(e);
}

static void remove_from_ended(struct store_memory *s, struct entry *e)
{
    *(e->ended_before ? &e->ended_before->ended_after : &s->first_ended) = e->ended_after;
    *(e->ended_after ? &e->ended_after->ended_before : &s->last_ended) = e->ended_before;
    s->n_finished--;
    s->finished_bytes -= entry_bytes(e);
}

/* -------------------------------------------------------------------------------- append */

/* Room for one more event of `len` bytes and, unless this is it, for the last one. */
static int make_room(struct entry *e, size_t len, bool is_last, struct ltd_err *err)
{
    size_t after = is_last ? 0 : JOB_FINISHED_BYTES_MAX;
    size_t n_ends = (size_t)e->job.last_seq + 2; /* this one and the last one */
    if (e->log.len + len + after > STORE_JOB_BYTES_MAX)
        return ltd_fail(err, LTD_E_EXHAUSTED, "job %s: its log would exceed %zu bytes", e->job.id,
                        STORE_JOB_BYTES_MAX);
    if (!ltd_bytes_reserve(&e->log, len + after)) {
        e->log.failed = false; /* nothing was written; what is there is whole */
        return ltd_fail(err, LTD_E_EXHAUSTED, "job %s: no memory for its log", e->job.id);
    }
    if (n_ends <= e->ends_room)
        return 0;
    size_t room = e->ends_room ? e->ends_room * 2 : 8;
    uint32_t *ends = realloc(e->ends, room * sizeof *ends);
    if (!ends)
        return ltd_fail(err, LTD_E_EXHAUSTED, "job %s: no memory for its log", e->job.id);
    e->ends = ends;
    e->ends_room = room;
    return 0;
}

/* A finished log grows no more: give back what doubling left over. */
static void trim(struct entry *e)
{
    uint8_t *data = realloc(e->log.data, e->log.len);
    if (data) {
        e->log.data = data;
        e->log.capacity = e->log.len;
    }
    uint32_t *ends = realloc(e->ends, (size_t)e->job.last_seq * sizeof *ends);
    if (ends) {
        e->ends = ends;
        e->ends_room = (size_t)e->job.last_seq;
    }
}

static int append_to(struct entry *e, struct job_event *event, struct ltd_err *err)
{
    struct ltd_bytes encoded;
    struct job after = e->job;
    event->seq = e->job.last_seq + 1;
    if (job_apply(&after, event, err) != 0)
        return -1;
    bool is_last = job_state_is_final(after.state);
    ltd_bytes_init(&encoded);
    job_event_encode(event, &encoded);
    int rc = encoded.failed
                 ? ltd_fail(err, LTD_E_EXHAUSTED, "job %s: no memory for an event", e->job.id)
                 : make_room(e, encoded.len, is_last, err);
    if (rc == 0) {
        ltd_bytes_put(&e->log, encoded.data, encoded.len);
        e->ends[event->seq - 1] = (uint32_t)e->log.len;
        e->job = after;
        if (is_last)
            trim(e);
    }
    ltd_bytes_fini(&encoded);
    return rc;
}

static int add_job(struct store_memory *s, const char *id, struct job_event *event,
                   struct ltd_err *err)
{
    const char *owner = event->queued.owner ? event->queued.owner : "";
    if (find_id(s, id) || find_request_id(s, owner, event->queued.request_id))
        return ltd_fail(err, LTD_E_EXISTS, "job %s or its request id exists already", id);
    struct entry *e = calloc(1, sizeof *e);
    if (!e)
        return ltd_fail(err, LTD_E_EXHAUSTED, "no memory for a job");
    job_init(&e->job, id);
    if (append_to(e, event, err) != 0) {
        free_entry(e);
        return -1;
    }
    add_to_ages(s, e);
    link_entry(s, e);
    grow_tables(s);
    return 0;
}

static int append_event(struct store_memory *s, const char *id, struct job_event *event,
                        struct ltd_err *err)
{
    if (event->kind == JOB_EV_QUEUED)
        return add_job(s, id, event, err);
    struct entry *e = find_id(s, id);
    if (!e)
        return ltd_fail(err, LTD_E_NOT_FOUND, "job %s: none in the log", id);
    if (append_to(e, event, err) != 0)
        return -1;
    if (job_state_is_final(e->job.state))
        add_to_ended(s, e);
    return 0;
}

static void memory_append(struct store *store, const char *id, struct job_event *event,
                          store_done_fn done, void *arg)
{
    struct ltd_err result = {0};
    of(store)->n_events += append_event(of(store), id, event, &result) == 0;
    done(arg, &result);
}

/* ---------------------------------------------------------------------------------- read */

static int memory_read(struct store *store, const struct job *job, uint64_t after_seq,
                       store_visit_fn visit, void *arg, struct ltd_err *err)
{
    (void)store;
    const struct entry *e = (const struct entry *)job;
    for (uint64_t seq = after_seq + 1; seq <= e->job.last_seq; seq++) {
        struct job_event event;
        size_t begin = seq == 1 ? 0 : e->ends[seq - 2];
        if (job_event_decode(e->log.data + begin, e->ends[seq - 1] - begin, &event, err) != 0)
            return ltd_err_context(err, "job %s, event %llu", e->job.id, (unsigned long long)seq);
        event.seq = seq;
        if (!visit(arg, &event))
            break;
    }
    return 0;
}

static size_t memory_list(struct store *store, const struct store_query *query,
                          const struct job **out, size_t max, bool *more)
{
    size_t n = 0;
    *more = false;
    for (const struct entry *e = of(store)->newest; e; e = e->older) {
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

/* -------------------------------------------------------------------------------- forget */

static void memory_pin(struct store *store, const struct job *job)
{
    (void)store;
    ((struct entry *)(uintptr_t)job)->n_pins++;
}

static void memory_unpin(struct store *store, const struct job *job)
{
    struct entry *e = (struct entry *)(uintptr_t)job;
    (void)store;
    ltd_assert(e->n_pins > 0, e->n_pins, e->job.last_seq);
    if (--e->n_pins == 0 && e->is_forgotten)
        free_entry(e);
}

static void memory_forget(struct store *store, const struct job *job)
{
    struct store_memory *s = of(store);
    struct entry *e = (struct entry *)(uintptr_t)job;
    ltd_assert(job_state_is_final(e->job.state) && !e->is_forgotten, e->job.state, e->is_forgotten);
    unlink_entry(s, e);
    remove_from_ages(s, e);
    remove_from_ended(s, e);
    e->is_forgotten = true;
    if (e->n_pins == 0)
        free_entry(e);
}

static size_t memory_expire(struct store *store, int64_t now_us)
{
    struct store_memory *s = of(store);
    const struct store_retention *keep = &s->retention;
    size_t n = 0;
    for (struct entry *e = s->first_ended, *next; e; e = next) {
        next = e->ended_after;
        /* Ends are in order of time unless the clock was set; the next sweep then catches up. */
        if (s->n_finished <= keep->max_jobs && s->finished_bytes <= keep->max_bytes &&
            now_us - e->job.end_us <= keep->max_age_us)
            break;
        if (e->n_pins > 0)
            continue;
        memory_forget(store, &e->job);
        n++;
    }
    return n;
}

/* Walks all jobs: a log in memory holds as many as finished_jobs_memory allows, a few thousand. */
static void memory_usage(struct store *store, const char *owner, struct store_usage *out)
{
    *out = (struct store_usage){0};
    for (const struct entry *e = of(store)->oldest; e; e = e->newer) {
        if (strcmp(e->job.owner, owner) != 0)
            continue;
        out->n_jobs++;
        out->n_unfinished += !job_state_is_final(e->job.state);
        out->bytes += entry_bytes(e);
    }
}

static void memory_health(struct store *store, struct store_health *out)
{
    *out = (struct store_health){.n_jobs = of(store)->n_jobs, .n_events = of(store)->n_events};
    for (const struct entry *e = of(store)->oldest; e; e = e->newer)
        out->bytes += entry_bytes(e);
}

/* Every append has been answered when it returned. */
static void memory_stop(struct store *store)
{
    (void)store;
}

static void memory_destroy(struct store *store)
{
    struct store_memory *s = of(store);
    for (struct entry *e = s->oldest, *next; e; e = next) {
        next = e->newer;
        free_entry(e);
    }
    free(s->by_id);
    free(s->by_request);
    free(s);
}

static const struct store_ops memory_ops = {
    .append = memory_append,
    .find = memory_find,
    .find_request = memory_find_request,
    .read = memory_read,
    .list = memory_list,
    .pin = memory_pin,
    .unpin = memory_unpin,
    .forget = memory_forget,
    .expire = memory_expire,
    .usage = memory_usage,
    .health = memory_health,
    .stop = memory_stop,
    .destroy = memory_destroy,
};

struct store *store_memory_create(const struct store_retention *retention, struct ltd_err *err)
{
    struct store_memory *s = calloc(1, sizeof *s);
    if (s) {
        s->store.ops = &memory_ops;
        s->retention = *retention;
        s->n_buckets = BUCKETS_MIN;
        s->by_id = calloc(BUCKETS_MIN, sizeof(struct entry *));
        s->by_request = calloc(BUCKETS_MIN, sizeof(struct entry *));
    }
    if (!s || !s->by_id || !s->by_request) {
        if (s)
            memory_destroy(&s->store);
        return ltd_fail_null(err, LTD_E_EXHAUSTED, "no memory for the job log");
    }
    if (getrandom(&s->salt, sizeof s->salt, 0) != (ssize_t)sizeof s->salt)
        s->salt = (uintptr_t)s;
    return &s->store;
}
