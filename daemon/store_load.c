/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/store_load.c - the durable log when it is opened: every job folded anew from its events.
 *
 * A job whose bytes are damaged is cut to what is whole when it is unfinished, because computing it
 * again gives the same bytes; else it is listed as failed and its rows stay as they are, for whoever
 * wants to look at them. Rules: docs/store.md#damage.
 */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "daemon/store_durable.h"
#include "daemon/store_scan.h"

/* Rows of jobs to shorten, once nothing reads the file any more. */
struct cut {
    int64_t num;
    uint64_t last_seq;
    struct cut *next;
};

struct loading {
    struct durable *d;
    struct cut *cuts;
    size_t n_damaged, n_unfinished;
    struct ltd_err *err;
    bool failed;
};

static bool fail_loading(struct loading *l)
{
    l->failed = true;
    ltd_fail(l->err, LTD_E_EXHAUSTED, "store %s: no memory for its jobs", l->d->path);
    return false;
}

static bool add_cut(struct loading *l, const struct store_scanned *s)
{
    struct cut *cut = malloc(sizeof *cut);
    if (!cut)
        return fail_loading(l);
    *cut = (struct cut){s->row.num, s->job.last_seq, l->cuts};
    l->cuts = cut;
    ltd_error("store %s: job %s: stored events are damaged from event %llu on (%s); what follows "
              "is deleted and computed again",
              l->d->path, s->row.id, (unsigned long long)s->damaged_from, s->damage);
    return true;
}

/* A job that cannot be made whole again is listed as failed, and its rows stay as they are. */
static void mark_damaged(struct loading *l, struct kept *k, const struct store_scanned *s)
{
    struct job *job = &k->e.job;
    ltd_error("store %s: job %s: stored events are damaged from event %llu on (%s)", l->d->path,
              s->row.id, (unsigned long long)s->damaged_from, s->damage);
    l->n_damaged++;
    k->damaged_from = s->damaged_from;
    job->state = JOB_FAILED;
    job->finish = JOB_FINISH_ERROR;
    job->error_code = LTD_E_CORRUPT;
    snprintf(job->error_msg, sizeof job->error_msg, "stored events are damaged from event %llu on",
             (unsigned long long)s->damaged_from);
    job->end_us = s->row.end_us > 0 ? s->row.end_us : job->create_us;
    if (job->last_seq == 0) {
        memcpy(job->owner, s->row.owner, sizeof job->owner);
        memcpy(job->request_id, s->row.request_id, sizeof job->request_id);
    }
}

/* It goes on where it was: what is known of it must be at hand. */
static bool resume(struct kept *k, struct store_scanned *s)
{
    k->proposed = malloc(sizeof *k->proposed);
    if (!k->proposed)
        return false;
    *k->proposed = k->e.job;
    k->log = s->log;
    s->log = (struct store_log){0};
    k->has_log = true;
    s->bytes = k->log.bytes.len + k->log.n * STORE_EVENT_ROW_BYTES;
    return true;
}

static bool is_listable(const struct loading *l, const struct store_scanned *s)
{
    if (s->is_purged)
        return false;
    if (s->row.id[0] && job_id_is_valid(s->row.id, strlen(s->row.id)) &&
        !store_index_find(&l->d->index, s->row.id))
        return true;
    ltd_error("store %s: events %lld belong to no job that can be named (%s)", l->d->path,
              (long long)s->row.num, s->damage);
    return false;
}

static bool load_job(void *arg, struct store_scanned *s)
{
    struct loading *l = arg;
    struct durable *d = l->d;
    if (s->row.num >= d->next_num && s->row.num < INT64_MAX / 2)
        d->next_num = s->row.num + 1;
    if (!is_listable(l, s))
        return true;
    struct kept *k = durable_make_kept(d, s->row.id, s->row.num);
    if (!k)
        return fail_loading(l);
    k->e.job = s->job;
    bool is_final = job_state_is_final(s->job.state);
    if (s->damaged_from && (is_final || (s->row.last_seq == 0 && s->job.last_seq > 0))) {
        if (!add_cut(l, s))
            return false;
    } else if (s->damaged_from) {
        mark_damaged(l, k, s);
        is_final = true;
    }
    if (!is_final && !resume(k, s))
        return fail_loading(l);
    l->n_unfinished += !is_final;
    k->e.bytes = s->bytes;
    if (store_index_reserve(&d->index, &k->e, l->err) != 0) {
        /* A request id that two jobs claim: one of them says so by its damaged row only. */
        k->e.job.request_id[0] = '\0';
        ltd_err_clear(l->err);
        if (store_index_reserve(&d->index, &k->e, l->err) != 0)
            return fail_loading(l);
    }
    store_index_accept(&d->index, &k->e);
    if (is_final)
        store_index_finish(&d->index, &k->e);
    return true;
}

static int perform_cuts(struct store_file *file, struct cut *cuts, struct ltd_err *err)
{
    if (!cuts)
        return 0;
    int rc = store_file_begin(file, err);
    for (struct cut *cut = cuts; rc == 0 && cut; cut = cut->next)
        rc = store_file_cut(file, cut->num, cut->last_seq, err);
    if (rc == 0)
        return store_file_commit(file, err);
    store_file_rollback(file);
    return -1;
}

/* What a process before this one forgot and had not deleted yet. */
static int load_purges(struct durable *d, struct store_file *file, struct ltd_err *err)
{
    struct store_cursor *cursor = store_file_purges(file, err);
    int64_t num;
    int rc = cursor ? 0 : -1;
    while (cursor && (rc = store_cursor_next_purge(cursor, &num, err)) == 1) {
        struct store_waiting *w = durable_make_waiting(0);
        if (!w) {
            rc = ltd_fail(err, LTD_E_EXHAUSTED, "store %s: no memory", d->path);
            break;
        }
        w->op.num = num;
        w->op.kind = STORE_OP_PURGE;
        store_list_add(&d->purges, &w->op);
        if (num >= d->next_num && num < INT64_MAX / 2)
            d->next_num = num + 1;
    }
    store_cursor_close(cursor);
    return rc;
}

int durable_load(struct durable *d, struct store_file *file, struct ltd_err *err)
{
    struct loading l = {.d = d, .err = err};
    int rc = store_scan(file, load_job, &l, err);
    if (rc == 0 && l.failed)
        rc = -1;
    if (rc == 0)
        rc = perform_cuts(file, l.cuts, err);
    while (l.cuts) {
        struct cut *next = l.cuts->next;
        free(l.cuts);
        l.cuts = next;
    }
    if (rc != 0 || load_purges(d, file, err) != 0)
        return -1;
    ltd_info("store %s: %zu jobs, %zu of them unfinished, %zu damaged", d->path,
             d->index.n_accepted, l.n_unfinished, l.n_damaged);
    return 0;
}
