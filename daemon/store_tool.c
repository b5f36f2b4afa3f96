/* SPDX-License-Identifier: Apache-2.0 */
/* daemon/store_tool.c - see daemon/store_tool.h. */
#include "daemon/store_tool.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "daemon/store_export.h"
#include "daemon/store_file.h"
#include "daemon/store_lock.h"
#include "daemon/store_scan.h"

struct report {
    FILE *out;
    uint64_t n_jobs, n_unfinished, n_events, n_damaged, bytes;
};

static const char *name_of(const struct store_scanned *s, char buf[64])
{
    if (s->row.id[0])
        snprintf(buf, 64, "job %s", s->row.id);
    else
        snprintf(buf, 64, "job number %lld", (long long)s->row.num);
    return buf;
}

static bool check_job(void *arg, struct store_scanned *s)
{
    struct report *r = arg;
    char name[64];
    r->n_events += s->n_rows;
    r->bytes += s->bytes;
    if (s->is_purged)
        return true;
    r->n_jobs++;
    r->n_unfinished += !s->damaged_from && !job_state_is_final(s->job.state);
    if (s->damaged_from)
        fprintf(r->out, "%s: damaged from event %llu on: %s\n", name_of(s, name),
                (unsigned long long)s->damaged_from, s->damage);
    else if (s->is_listed_wrongly)
        fprintf(r->out, "%s: its row says something else than its events\n", name_of(s, name));
    r->n_damaged += s->damaged_from || s->is_listed_wrongly;
    return true;
}

int store_tool_check(const char *path, FILE *out, struct ltd_err *err)
{
    struct report r = {.out = out};
    struct store_file *file = store_file_open(path, STORE_FILE_READ, err);
    if (!file)
        return -1;
    int version = store_file_found_version(file);
    int rc = store_file_check_pages(file, err);
    if (rc == 0)
        rc = store_scan(file, check_job, &r, err);
    store_file_close(file);
    if (rc != 0)
        return -1;
    fprintf(out,
            "%s: version %d, %llu jobs, %llu of them unfinished, %llu events of %llu bytes, "
            "%llu damaged\n",
            path, version, (unsigned long long)r.n_jobs, (unsigned long long)r.n_unfinished,
            (unsigned long long)r.n_events, (unsigned long long)r.bytes,
            (unsigned long long)r.n_damaged);
    if (r.n_damaged)
        return ltd_fail(err, LTD_E_CORRUPT, "store %s: %llu jobs are damaged", path,
                        (unsigned long long)r.n_damaged);
    return 0;
}

static long long size_of(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 ? (long long)st.st_size : -1;
}

int store_tool_vacuum(const char *path, FILE *out, struct ltd_err *err)
{
    long long before = size_of(path);
    if (before < 0)
        return ltd_fail(err, LTD_E_NOT_FOUND, "store %s: %s", path, strerror(errno));
    int lock = store_lock_acquire(path, err);
    if (lock < 0)
        return -1;
    struct store_file *file = store_file_open(path, STORE_FILE_WRITE, err);
    int rc = file ? store_file_vacuum(file, err) : -1;
    store_file_close(file);
    store_lock_release(lock);
    if (rc == 0)
        fprintf(out, "%s: %lld bytes before, %lld now\n", path, before, size_of(path));
    return rc;
}

struct exporting {
    FILE *out;
    uint64_t n_damaged;
    struct ltd_err *err;
    bool failed;
};

static bool export_job(void *arg, struct store_scanned *s)
{
    struct exporting *e = arg;
    if (s->is_purged)
        return true;
    e->n_damaged += s->damaged_from != 0;
    e->failed = store_export_job(s, e->out, e->err) != 0;
    return !e->failed;
}

int store_tool_export(const char *path, FILE *out, struct ltd_err *err)
{
    struct exporting e = {.out = out, .err = err};
    struct store_file *file = store_file_open(path, STORE_FILE_READ, err);
    if (!file)
        return -1;
    int rc = store_scan(file, export_job, &e, err);
    store_file_close(file);
    if (rc != 0 || e.failed)
        return -1;
    if (fflush(out) != 0)
        return ltd_fail(err, LTD_E_UNAVAILABLE, "export: %s", strerror(errno));
    if (e.n_damaged)
        return ltd_fail(err, LTD_E_CORRUPT, "store %s: of %llu jobs not everything could be read",
                        path, (unsigned long long)e.n_damaged);
    return 0;
}
