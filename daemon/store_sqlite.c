/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/store_sqlite.c - the durable event log: the interface of daemon/store.h on the loop thread.
 *
 * All jobs are in memory as folds; the events of those that are unfinished or read are too. An append
 * is checked against what is proposed, numbered and put into the queue (store_queue.c); `durable_accept`
 * is called when it is on disk. Events of finished jobs are read from the file, by a connection of the
 * loop's own, which no commit keeps waiting.
 *
 * Opening folds every job anew (store_load.c), so that what is served is what is stored.
 * Rules: docs/store.md.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "daemon/store_durable.h"
#include "daemon/store_lock.h"

/* A disk that is slow when the daemon ends is given so long (store_stop). */
#define STOP_NS (2 * LTD_NS_PER_S)

static struct durable *of(struct store *store)
{
    return (struct durable *)store;
}

static struct kept *kept_of(const struct job *job)
{
    return (struct kept *)(uintptr_t)job;
}

/* ------------------------------------------------------------------------------------- jobs */

struct kept *durable_make_kept(struct durable *d, const char *id, int64_t num)
{
    struct kept *k = calloc(1, sizeof *k);
    if (!k)
        return NULL;
    job_init(&k->e.job, id);
    k->num = num;
    k->leave.op.num = num;
    k->leave.kept = k;
    k->leave.is_embedded = true;
    k->after = d->first_kept;
    if (k->after)
        k->after->before = k;
    d->first_kept = k;
    return k;
}

static void free_kept(struct durable *d, struct kept *k)
{
    *(k->before ? &k->before->after : &d->first_kept) = k->after;
    if (k->after)
        k->after->before = k->before;
    store_log_fini(&k->log);
    free(k->proposed);
    free(k);
}

void durable_release(struct durable *d, struct kept *k)
{
    if (k->e.is_forgotten && k->e.n_pins == 0 && k->n_waiting == 0)
        free_kept(d, k);
}

void durable_void(struct durable *d, struct kept *k)
{
    store_index_remove(&d->index, &k->e);
    k->is_void = true;
    k->e.is_forgotten = true;
}

/* A log in memory serves an unfinished job's watchers, and whoever reads one that ends meanwhile. */
static void drop_log(struct kept *k)
{
    if (!k->has_log || k->proposed || k->e.n_pins > 0)
        return;
    store_log_fini(&k->log);
    k->has_log = false;
}

static void fold_from_log(struct kept *k, struct job *job, uint64_t last_seq)
{
    for (uint64_t seq = job->last_seq + 1; seq <= last_seq; seq++) {
        struct job_event event;
        struct ltd_err err = {0};
        size_t len;
        const uint8_t *data = store_log_get(&k->log, seq, &len);
        int rc = job_event_decode(data, len, &event, &err);
        event.seq = seq;
        rc = rc == 0 ? job_apply(job, &event, &err) : rc;
        ltd_assert(rc == 0, err.code, seq); /* it was encoded and applied here before */
    }
}

void durable_take_back(struct kept *k, uint64_t last_seq)
{
    store_log_cut(&k->log, last_seq);
    *k->proposed = k->e.job;
    fold_from_log(k, k->proposed, last_seq);
}

void durable_accept(struct durable *d, struct store_waiting *w)
{
    struct kept *k = w->kept;
    fold_from_log(k, &k->e.job, w->op.seq);
    d->n_events++;
    if (w->op.event == JOB_EV_QUEUED)
        store_index_accept(&d->index, &k->e);
    store_index_set_bytes(&d->index, &k->e, k->e.bytes + w->op.len + STORE_EVENT_ROW_BYTES);
    if (!job_state_is_final(k->e.job.state))
        return;
    store_index_finish(&d->index, &k->e);
    free(k->proposed);
    k->proposed = NULL;
    drop_log(k);
}

/* ----------------------------------------------------------------------------------- append */

static int no_memory(const char *id, struct ltd_err *err)
{
    return ltd_fail(err, LTD_E_EXHAUSTED, "job %s: no memory for an event", id);
}

struct store_waiting *durable_make_waiting(size_t len)
{
    struct store_waiting *w = calloc(1, sizeof *w + len);
    if (w)
        w->op.data = (uint8_t *)(w + 1);
    return w;
}

/* The event as it will be stored, for job k, which may not be ready for it. */
static struct store_waiting *encode(struct kept *k, const struct job_event *event,
                                    struct ltd_err *err)
{
    struct ltd_bytes bytes;
    ltd_bytes_init(&bytes);
    job_event_encode(event, &bytes);
    struct store_waiting *w = bytes.failed ? NULL : durable_make_waiting(bytes.len);
    if (w) {
        memcpy(w->op.data, bytes.data, bytes.len);
        w->kept = k;
        w->op.kind = STORE_OP_EVENT;
        w->op.num = k->num;
        w->op.seq = event->seq;
        w->op.event = event->kind;
        w->op.job = &k->e.job;
        w->op.end_us = event->time_us;
        w->op.len = bytes.len;
    } else {
        no_memory(k->e.job.id, err);
    }
    ltd_bytes_fini(&bytes);
    return w;
}

/* Check the event against what is proposed, and propose it. */
static struct store_waiting *propose(struct kept *k, struct job_event *event, struct ltd_err *err)
{
    struct job after = k->proposed ? *k->proposed : k->e.job;
    event->seq = after.last_seq + 1;
    if (job_apply(&after, event, err) != 0)
        return NULL;
    bool is_last = job_state_is_final(after.state);
    struct store_waiting *w = encode(k, event, err);
    if (!w || store_log_put(&k->log, w->op.data, w->op.len, is_last ? 0 : JOB_FINISHED_BYTES_MAX,
                            after.id, err) != 0) {
        free(w);
        return NULL;
    }
    w->op.bytes = k->log.bytes.len + k->log.n * STORE_EVENT_ROW_BYTES;
    *k->proposed = after;
    return w;
}

/* A job's texts as its QUEUED says them: what the index finds it by, and what its row will say. */
static int reserve(struct durable *d, struct kept *k, const struct job_event *event,
                   struct ltd_err *err)
{
    struct job named = k->e.job;
    struct job_event first = *event;
    first.seq = 1;
    if (job_apply(&named, &first, err) != 0)
        return -1;
    memcpy(k->e.job.owner, named.owner, sizeof named.owner);
    memcpy(k->e.job.request_id, named.request_id, sizeof named.request_id);
    k->proposed = malloc(sizeof *k->proposed);
    if (!k->proposed)
        return no_memory(named.id, err);
    job_init(k->proposed, named.id);
    k->has_log = true;
    return store_index_reserve(&d->index, &k->e, err);
}

static struct store_waiting *propose_job(struct durable *d, const char *id, struct job_event *event,
                                         struct ltd_err *err)
{
    struct kept *k = durable_make_kept(d, id, d->next_num);
    if (!k) {
        no_memory(id, err);
        return NULL;
    }
    if (reserve(d, k, event, err) != 0) {
        free_kept(d, k);
        return NULL;
    }
    struct store_waiting *w = propose(k, event, err);
    if (!w) {
        durable_void(d, k);
        durable_release(d, k);
        return NULL;
    }
    d->next_num++;
    return w;
}

/* *k is the job whose answers the refusal must not overtake, if it is one. */
static struct store_waiting *propose_any(struct durable *d, const char *id, struct job_event *event,
                                         struct kept **k, struct ltd_err *err)
{
    *k = event->kind == JOB_EV_QUEUED ? NULL : (struct kept *)store_index_find(&d->index, id);
    if (event->kind != JOB_EV_QUEUED && !*k) {
        ltd_fail(err, LTD_E_NOT_FOUND, "job %s: none in the log", id);
        return NULL;
    }
    if (d->is_stopped) {
        ltd_fail(err, LTD_E_UNAVAILABLE, "the service has ended");
        return NULL;
    }
    if (d->is_stalled && (event->kind == JOB_EV_QUEUED || event->kind == JOB_EV_PRIORITY)) {
        *k = NULL; /* it was never part of the log: nothing has to be told before */
        store_queue_refuse_stalled(d, err);
        return NULL;
    }
    if (event->kind == JOB_EV_QUEUED)
        return propose_job(d, id, event, err);
    if ((*k)->refusal) {
        *err = (*k)->refusal->result;
        return NULL;
    }
    return propose(*k, event, err);
}

static void durable_append(struct store *store, const char *id, struct job_event *event,
                           store_done_fn done, void *arg)
{
    struct durable *d = of(store);
    struct ltd_err why = {0};
    struct kept *k;
    struct store_waiting *w = propose_any(d, id, event, &k, &why);
    if (!w) {
        w = d->is_stopped ? NULL : durable_make_waiting(0);
        if (!w) { /* the loop turns no more, or not even a refusal has the memory to wait */
            done(arg, &why);
            return;
        }
        w->op.kind = STORE_OP_NONE;
        w->kept = k;
        w->result = why;
        if (k && !k->refusal)
            k->refusal = w;
    }
    w->done = done;
    w->arg = arg;
    store_queue_add(d, w);
}

/* ------------------------------------------------------------------------------------- read */

static const struct job *job_of(const struct store_entry *e)
{
    return e && e->is_accepted ? &e->job : NULL;
}

static const struct job *durable_find(struct store *store, const char *id)
{
    return job_of(store_index_find(&of(store)->index, id));
}

static const struct job *durable_find_request(struct store *store, const char *owner,
                                              const char *request_id)
{
    return job_of(store_index_find_request(&of(store)->index, owner, request_id));
}

static int damaged(uint64_t seq, struct ltd_err *err)
{
    return ltd_fail(err, LTD_E_CORRUPT, "stored events are damaged from event %llu on",
                    (unsigned long long)seq);
}

/* Event `seq` from the cursor, checked as thoroughly as when the log was opened. */
static int next_event(struct store_cursor *cursor, const struct job *job, uint64_t seq,
                      struct job_event *event, struct ltd_err *err)
{
    struct store_event_row row;
    int rc = store_cursor_next_event(cursor, &row, err);
    if (rc < 0)
        return -1;
    if (rc == 0 || row.is_odd || row.seq != seq ||
        row.crc != store_event_crc(job->id, seq, row.data, row.len) ||
        job_event_decode(row.data, row.len, event, NULL) != 0)
        return damaged(seq, err);
    event->seq = seq;
    return 0;
}

/* 1: the visitor has enough. */
static int read_file(struct durable *d, const struct kept *k, uint64_t after_seq,
                     store_visit_fn visit, void *arg, struct ltd_err *err)
{
    const struct job *job = &k->e.job;
    if (after_seq >= job->last_seq)
        return 0;
    struct store_cursor *cursor = store_file_events_of(d->reader, k->num, after_seq, err);
    int rc = cursor ? 0 : -1;
    for (uint64_t seq = after_seq + 1; rc == 0 && seq <= job->last_seq; seq++) {
        struct job_event event;
        rc = next_event(cursor, job, seq, &event, err);
        if (rc == 0 && !visit(arg, &event))
            rc = 1;
    }
    store_cursor_close(cursor);
    return rc;
}

static int durable_read(struct store *store, const struct job *job, uint64_t after_seq,
                        store_visit_fn visit, void *arg, struct ltd_err *err)
{
    const struct kept *k = kept_of(job);
    int rc = k->has_log ? store_log_read(&k->log, after_seq, job->last_seq, visit, arg, err)
                        : read_file(of(store), k, after_seq, visit, arg, err);
    if (rc == 0 && k->damaged_from)
        rc = damaged(k->damaged_from, err);
    return rc < 0 ? ltd_err_context(err, "job %s", job->id) : 0;
}

static size_t durable_list(struct store *store, const struct store_query *query,
                           const struct job **out, size_t max, bool *more)
{
    return store_index_list(&of(store)->index, query, out, max, more);
}

/* ----------------------------------------------------------------------------------- forget */

static void durable_pin(struct store *store, const struct job *job)
{
    (void)store;
    kept_of(job)->e.n_pins++;
}

static void durable_unpin(struct store *store, const struct job *job)
{
    struct durable *d = of(store);
    struct kept *k = kept_of(job);
    ltd_assert(k->e.n_pins > 0, k->e.n_pins, job->last_seq);
    if (--k->e.n_pins > 0)
        return;
    if (k->is_purge_due) {
        k->is_purge_due = false;
        store_queue_purge(d, &k->leave);
    }
    drop_log(k);
    durable_release(d, k);
}

static void durable_forget(struct store *store, const struct job *job, store_done_fn done,
                           void *arg)
{
    struct durable *d = of(store);
    struct kept *k = kept_of(job);
    ltd_assert(job_state_is_final(job->state) && !k->e.is_forgotten, job->state, k->e.is_forgotten);
    store_index_remove(&d->index, &k->e);
    k->e.is_forgotten = true;
    k->leave.op.kind = STORE_OP_FORGET;
    k->leave.done = d->is_stopped ? NULL : done;
    k->leave.arg = arg;
    store_queue_add(d, &k->leave);
    if (d->is_stopped && done) {
        struct ltd_err why;
        ltd_fail(&why, LTD_E_UNAVAILABLE, "the service has ended");
        done(arg, &why);
    }
}

static size_t durable_expire(struct store *store, int64_t now_us)
{
    struct durable *d = of(store);
    size_t n = 0;
    for (struct store_entry *e = d->index.first_ended, *next; e; e = next) {
        next = e->ended_after;
        if (!store_index_is_due(&d->index, e, &d->retention, now_us))
            break;
        if (e->n_pins > 0)
            continue;
        durable_forget(store, &e->job, NULL, NULL);
        n++;
    }
    return n;
}

static void durable_usage(struct store *store, const char *owner, struct store_usage *out)
{
    store_index_usage(&of(store)->index, owner, out);
}

/* ----------------------------------------------------------------------------------- health */

static uint64_t file_bytes(const char *path, const char *suffix)
{
    char name[4200];
    struct stat st;
    snprintf(name, sizeof name, "%s%s", path, suffix);
    return stat(name, &st) == 0 ? (uint64_t)st.st_size : 0;
}

static void durable_health(struct store *store, struct store_health *out)
{
    const struct durable *d = of(store);
    *out = (struct store_health){
        .is_durable = true,
        .is_stalled = d->is_stalled,
        .n_jobs = d->index.n_accepted,
        .bytes = file_bytes(d->path, "") + file_bytes(d->path, "-wal"),
        .n_commits = d->n_commits,
        .n_events = d->n_events,
        .n_waiting = d->n_waiting,
    };
    if (d->is_stalled)
        snprintf(out->reason, sizeof out->reason, "%.*s", (int)sizeof out->reason - 1,
                 d->stall.msg);
    for (size_t i = 0; i < STORE_COMMIT_TIMES; i++)
        if (d->commit_ms[i] > out->commit_ms_max)
            out->commit_ms_max = d->commit_ms[i];
}

/* ------------------------------------------------------------------------------------- close */

/* Everything but the memory that the handles stand in. */
static void let_go(struct durable *d)
{
    while (d->first_kept)
        free_kept(d, d->first_kept);
    store_index_fini(&d->index);
    store_file_close(d->reader);
    store_lock_release(d->lock);
    free(d->path);
}

static void on_closed(uv_handle_t *handle)
{
    struct durable *d = handle->data;
    if (--d->n_handles == 0)
        free(d);
}

static void close_handles(struct durable *d)
{
    uv_close((uv_handle_t *)&d->wake, on_closed);
    uv_close((uv_handle_t *)&d->retry, on_closed);
}

static void durable_stop(struct store *store)
{
    store_queue_stop(of(store), STOP_NS);
}

static void durable_destroy(struct store *store)
{
    struct durable *d = of(store);
    if (!d->is_stopped)
        store_queue_stop(d, STOP_NS);
    store_queue_fini(d);
    store_file_close(d->reader); /* first: the last connection tidies the file up */
    d->reader = NULL;
    store_writer_stop(d->writer);
    let_go(d);
    close_handles(d);
}

/* -------------------------------------------------------------------------------------- open */

static void on_batch_back(void *wake)
{
    uv_async_send(wake);
}

static int open_handles(struct durable *d, uv_loop_t *loop, struct ltd_err *err)
{
    int rc = uv_async_init(loop, &d->wake, store_queue_on_wake);
    if (rc != 0)
        return ltd_fail(err, LTD_E_EXHAUSTED, "store: %s", uv_strerror(rc));
    uv_timer_init(loop, &d->retry);
    d->n_handles = 2;
    d->wake.data = d->retry.data = d;
    uv_unref((uv_handle_t *)&d->wake);
    uv_unref((uv_handle_t *)&d->retry);
    return 0;
}

/* Takes the file as soon as the writer has it. */
static int open_parts(struct durable *d, uv_loop_t *loop, struct store_file **file,
                      struct ltd_err *err)
{
    d->lock = store_lock_acquire(d->path, err);
    if (d->lock < 0)
        return -1;
    *file = store_file_open(d->path, STORE_FILE_WRITE, err);
    if (!*file || store_index_init(&d->index, err) != 0 || durable_load(d, *file, err) != 0)
        return -1;
    d->reader = store_file_open(d->path, STORE_FILE_READ, err);
    return d->reader ? open_handles(d, loop, err) : -1;
}

static void close_unopened(struct durable *d, struct store_file *file)
{
    struct store_op *op;
    while ((op = d->purges.first)) {
        d->purges.first = op->next;
        free(op);
    }
    store_file_close(file);
    let_go(d);
    if (d->n_handles)
        close_handles(d);
    else
        free(d);
}

static const struct store_ops durable_ops = {
    .append = durable_append,
    .find = durable_find,
    .find_request = durable_find_request,
    .read = durable_read,
    .list = durable_list,
    .pin = durable_pin,
    .unpin = durable_unpin,
    .forget = durable_forget,
    .expire = durable_expire,
    .usage = durable_usage,
    .health = durable_health,
    .stop = durable_stop,
    .destroy = durable_destroy,
};

static struct durable *make_durable(const struct store_sqlite_config *config)
{
    struct durable *d = calloc(1, sizeof *d);
    if (!d)
        return NULL;
    d->store.ops = &durable_ops;
    d->retention = config->retention;
    d->lock = -1;
    d->next_num = 1;
    d->probe = (struct store_waiting){.op.kind = STORE_OP_PROBE, .is_embedded = true};
    store_list_init(&d->queue);
    store_list_init(&d->early);
    store_list_init(&d->purges);
    d->path = strdup(config->path);
    if (d->path)
        return d;
    free(d);
    return NULL;
}

struct store *store_sqlite_open(const struct store_sqlite_config *config, struct ltd_err *err)
{
    struct store_file *file = NULL;
    struct durable *d = make_durable(config);
    if (!d)
        return ltd_fail_null(err, LTD_E_EXHAUSTED, "no memory for the job log");
    if (open_parts(d, config->loop, &file, err) != 0) {
        close_unopened(d, file);
        return NULL;
    }
    d->writer = store_writer_start(file, on_batch_back, &d->wake, err);
    if (!d->writer) {
        close_unopened(d, NULL);
        return NULL;
    }
    if (d->purges.first)
        uv_async_send(&d->wake);
    return &d->store;
}
