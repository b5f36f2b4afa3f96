/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/store_memory.c - the event log in memory: an index of jobs (daemon/store_index.h) and a
 * byte string for each (daemon/store_log.h).
 *
 * Appends are accepted at once, and everything is lost with the process. What a job counts for is
 * the memory that it takes. Room for its FINISHED event is set aside with every event before, so that
 * a job can end when memory is out.
 */
#include <stdlib.h>

#include "base/bytes.h"
#include "daemon/store.h"
#include "daemon/store_index.h"
#include "daemon/store_log.h"

struct entry {
    struct store_entry e; /* first: a handle is an entry */
    struct store_log log;
};

struct store_memory {
    struct store store; /* first */
    struct store_retention retention;
    struct store_index index;
    uint64_t n_events; /* accepted since start */
};

static struct store_memory *of(struct store *store)
{
    return (struct store_memory *)store;
}

static struct entry *entry_of(const struct job *job)
{
    return (struct entry *)(uintptr_t)job;
}

static const struct job *job_of(const struct store_entry *e)
{
    return e ? &e->job : NULL;
}

static size_t entry_bytes(const struct entry *e)
{
    return sizeof *e + store_log_bytes(&e->log);
}

static void free_entry(struct entry *e)
{
    store_log_fini(&e->log);
    free(e);
}

static const struct job *memory_find(struct store *store, const char *id)
{
    return job_of(store_index_find(&of(store)->index, id));
}

static const struct job *memory_find_request(struct store *store, const char *owner,
                                             const char *request_id)
{
    return job_of(store_index_find_request(&of(store)->index, owner, request_id));
}

/* -------------------------------------------------------------------------------- append */

static int append_to(struct entry *e, struct job_event *event, struct ltd_err *err)
{
    struct ltd_bytes encoded;
    struct job after = e->e.job;
    event->seq = after.last_seq + 1;
    if (job_apply(&after, event, err) != 0)
        return -1;
    bool is_last = job_state_is_final(after.state);
    ltd_bytes_init(&encoded);
    job_event_encode(event, &encoded);
    int rc = encoded.failed
                 ? ltd_fail(err, LTD_E_EXHAUSTED, "job %s: no memory for an event", after.id)
                 : store_log_put(&e->log, encoded.data, encoded.len,
                                 is_last ? 0 : JOB_FINISHED_BYTES_MAX, after.id, err);
    if (rc == 0)
        e->e.job = after;
    if (rc == 0 && is_last)
        store_log_trim(&e->log);
    ltd_bytes_fini(&encoded);
    return rc;
}

static int add_job(struct store_memory *s, const char *id, struct job_event *event,
                   struct ltd_err *err)
{
    struct entry *e = calloc(1, sizeof *e);
    if (!e)
        return ltd_fail(err, LTD_E_EXHAUSTED, "no memory for a job");
    job_init(&e->e.job, id);
    if (append_to(e, event, err) != 0 || store_index_reserve(&s->index, &e->e, err) != 0) {
        free_entry(e);
        return -1;
    }
    store_index_accept(&s->index, &e->e);
    store_index_set_bytes(&s->index, &e->e, entry_bytes(e));
    return 0;
}

static int append_event(struct store_memory *s, const char *id, struct job_event *event,
                        struct ltd_err *err)
{
    if (event->kind == JOB_EV_QUEUED)
        return add_job(s, id, event, err);
    struct entry *e = (struct entry *)store_index_find(&s->index, id);
    if (!e)
        return ltd_fail(err, LTD_E_NOT_FOUND, "job %s: none in the log", id);
    if (append_to(e, event, err) != 0)
        return -1;
    store_index_set_bytes(&s->index, &e->e, entry_bytes(e));
    if (job_state_is_final(e->e.job.state))
        store_index_finish(&s->index, &e->e);
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
    if (store_log_read(&entry_of(job)->log, after_seq, job->last_seq, visit, arg, err) != 0)
        return ltd_err_context(err, "job %s", job->id);
    return 0;
}

static size_t memory_list(struct store *store, const struct store_query *query,
                          const struct job **out, size_t max, bool *more)
{
    return store_index_list(&of(store)->index, query, out, max, more);
}

/* -------------------------------------------------------------------------------- forget */

static void memory_pin(struct store *store, const struct job *job)
{
    (void)store;
    entry_of(job)->e.n_pins++;
}

static void memory_unpin(struct store *store, const struct job *job)
{
    struct entry *e = entry_of(job);
    (void)store;
    ltd_assert(e->e.n_pins > 0, e->e.n_pins, e->e.job.last_seq);
    if (--e->e.n_pins == 0 && e->e.is_forgotten)
        free_entry(e);
}

static void memory_forget(struct store *store, const struct job *job, store_done_fn done, void *arg)
{
    static const struct ltd_err ok = {0};
    struct entry *e = entry_of(job);
    ltd_assert(job_state_is_final(job->state) && !e->e.is_forgotten, job->state, e->e.is_forgotten);
    store_index_remove(&of(store)->index, &e->e);
    e->e.is_forgotten = true;
    if (e->e.n_pins == 0)
        free_entry(e);
    if (done)
        done(arg, &ok);
}

static size_t memory_expire(struct store *store, int64_t now_us)
{
    struct store_memory *s = of(store);
    size_t n = 0;
    for (struct store_entry *e = s->index.first_ended, *next; e; e = next) {
        next = e->ended_after;
        if (!store_index_is_due(&s->index, e, &s->retention, now_us))
            break;
        if (e->n_pins > 0)
            continue;
        memory_forget(store, &e->job, NULL, NULL);
        n++;
    }
    return n;
}

static void memory_usage(struct store *store, const char *owner, struct store_usage *out)
{
    store_index_usage(&of(store)->index, owner, out);
}

static void memory_health(struct store *store, struct store_health *out)
{
    const struct store_memory *s = of(store);
    *out = (struct store_health){
        .n_jobs = s->index.n_accepted, .bytes = s->index.bytes, .n_events = s->n_events};
}

/* Every append has been answered when it returned. */
static void memory_stop(struct store *store)
{
    (void)store;
}

static void memory_destroy(struct store *store)
{
    struct store_memory *s = of(store);
    for (struct store_entry *e = s->index.oldest, *next; e; e = next) {
        next = e->newer;
        free_entry((struct entry *)e);
    }
    store_index_fini(&s->index);
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
    if (!s)
        return ltd_fail_null(err, LTD_E_EXHAUSTED, "no memory for the job log");
    s->store.ops = &memory_ops;
    s->retention = *retention;
    if (store_index_init(&s->index, err) != 0) {
        memory_destroy(&s->store);
        return NULL;
    }
    return &s->store;
}
