/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/store_scan.c - see daemon/store_scan.h.
 *
 * Three cursors that rise together: jobs, events and purges are all in order of the job's number, so
 * one pass over the file suffices.
 */
#include "daemon/store_scan.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct scan {
    struct store_file *file;
    struct store_cursor *jobs, *events, *purges;
    struct store_job_row job; /* the next ones, if has_… */
    struct store_event_row event;
    int64_t purge;
    bool has_job, has_event, has_purge;
    int64_t last_num; /* of the last event, to see that keys rise */
    int64_t last_seq;
};

__attribute__((format(printf, 2, 3))) static void damage(struct store_scanned *s, const char *fmt,
                                                         ...)
{
    va_list args;
    if (s->damaged_from)
        return;
    s->damaged_from = s->job.last_seq + 1;
    va_start(args, fmt);
    vsnprintf(s->damage, sizeof s->damage, fmt, args);
    va_end(args);
}

/* ------------------------------------------------------------------------------ next of each */

static int next_job(struct scan *x, struct ltd_err *err)
{
    int64_t last = x->job.num;
    bool had = x->has_job;
    int rc = store_cursor_next_job(x->jobs, &x->job, err);
    x->has_job = rc == 1;
    if (rc == 1 && had && x->job.num <= last)
        return ltd_fail(err, LTD_E_CORRUPT, "store: jobs are not in order of their numbers");
    return rc < 0 ? -1 : 0;
}

/* Whoever seeks by a key would miss a row that is out of order: nothing can be believed then. */
static int next_event(struct scan *x, struct ltd_err *err)
{
    bool had = x->has_event;
    int rc = store_cursor_next_event(x->events, &x->event, err);
    x->has_event = rc == 1;
    if (rc != 1)
        return rc;
    int64_t seq = (int64_t)x->event.seq;
    if (had && (x->event.num < x->last_num || (x->event.num == x->last_num && seq <= x->last_seq)))
        return ltd_fail(err, LTD_E_CORRUPT, "store: events are not in order of their numbers");
    x->last_num = x->event.num;
    x->last_seq = seq;
    return 0;
}

static int next_purge(struct scan *x, struct ltd_err *err)
{
    int rc = store_cursor_next_purge(x->purges, &x->purge, err);
    x->has_purge = rc == 1;
    return rc < 0 ? -1 : 0;
}

/* ------------------------------------------------------------------------------------ fold */

static void fold(struct scan *x, struct store_scanned *s)
{
    const struct store_event_row *row = &x->event;
    struct job_event event;
    struct ltd_err why = {0};
    if (row->is_odd) {
        damage(s, "a column has the wrong type");
        return;
    }
    if (row->seq != s->job.last_seq + 1) {
        damage(s, "the next one that is there is %lld", (long long)row->seq);
        return;
    }
    if (store_file_has_crc(x->file) &&
        row->crc != store_event_crc(s->row.id, row->seq, row->data, row->len)) {
        damage(s, "its checksum is wrong");
        return;
    }
    event.seq = 0;
    if (job_event_decode(row->data, row->len, &event, &why) == 0) {
        struct job after = s->job;
        event.seq = row->seq;
        if (job_apply(&after, &event, &why) == 0 &&
            store_log_put(&s->log, row->data, row->len, 0, s->row.id, &why) == 0)
            s->job = after;
    }
    if (why.code != LTD_OK)
        damage(s, "%s", why.msg);
}

static void check_row(struct store_scanned *s)
{
    bool is_final = job_state_is_final(s->job.state);
    if (s->job.last_seq == 0)
        damage(s, "there is none");
    else if (!is_final && s->row.last_seq)
        damage(s, "%llu events and an end were stored", (unsigned long long)s->row.last_seq);
    s->is_listed_wrongly = s->row.is_odd || !job_id_is_valid(s->row.id, strlen(s->row.id));
    if (s->damaged_from == 0)
        s->is_listed_wrongly |= (is_final ? s->job.last_seq : 0) != s->row.last_seq ||
                                strcmp(s->job.owner, s->row.owner) != 0 ||
                                strcmp(s->job.request_id, s->row.request_id) != 0;
}

/* All events with this number. */
static int take_events(struct scan *x, int64_t num, struct store_scanned *s, struct ltd_err *err)
{
    while (x->has_event && x->event.num == num) {
        s->n_rows++;
        s->bytes += x->event.len + STORE_EVENT_ROW_BYTES;
        if (s->row.id[0] && !s->damaged_from)
            fold(x, s);
        if (next_event(x, err) != 0)
            return -1;
    }
    return 0;
}

/* Events in front of the next job's belong to no job: they are to be purged, or something is lost. */
static int take_strangers(struct scan *x, struct store_scanned *s, struct ltd_err *err)
{
    int64_t num = x->event.num;
    while (x->has_purge && x->purge < num)
        if (next_purge(x, err) != 0)
            return -1;
    s->row.num = num;
    s->is_purged = x->has_purge && x->purge == num;
    job_init(&s->job, "");
    if (!s->is_purged)
        damage(s, "the job that they belong to is not there");
    return take_events(x, num, s, err);
}

static int take_one(struct scan *x, struct store_scanned *s, struct ltd_err *err)
{
    *s = (struct store_scanned){0};
    if (x->has_event && (!x->has_job || x->event.num < x->job.num))
        return take_strangers(x, s, err);
    s->row = x->job;
    job_init(&s->job, s->row.id);
    if (take_events(x, s->row.num, s, err) != 0)
        return -1;
    check_row(s);
    return next_job(x, err);
}

int store_scan(struct store_file *file, store_scan_fn visit, void *arg, struct ltd_err *err)
{
    struct scan x = {.file = file};
    struct store_scanned s = {0};
    int rc = -1;
    x.jobs = store_file_jobs(file, err);
    x.events = x.jobs ? store_file_events(file, err) : NULL;
    x.purges = x.events ? store_file_purges(file, err) : NULL;
    if (x.purges && next_job(&x, err) == 0 && next_event(&x, err) == 0 && next_purge(&x, err) == 0)
        rc = 0;
    bool goes_on = true;
    while (rc == 0 && goes_on && (x.has_job || x.has_event)) {
        rc = take_one(&x, &s, err);
        goes_on = rc == 0 && visit(arg, &s);
        store_log_fini(&s.log);
    }
    store_cursor_close(x.jobs);
    store_cursor_close(x.events);
    store_cursor_close(x.purges);
    return rc;
}
