/* SPDX-License-Identifier: Apache-2.0 */
/* tests/daemon/store_rig.c - see tests/daemon/store_rig.h. */
#include "store_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <sqlite3.h>

#include "base/bytes.h"

uv_loop_t rig_loop;
char rig_directory[64];
char rig_path[100];
struct ltd_err rig_last_error;

int rig_setup(void **state)
{
    /* A file system in memory where there is one: the cases are about order, not about a disk. */
    const char *base = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    (void)state;
    snprintf(rig_directory, sizeof rig_directory, "%s/latentd-store-XXXXXX", base);
    if (!mkdtemp(rig_directory))
        return -1;
    snprintf(rig_path, sizeof rig_path, "%s/jobs.db", rig_directory);
    return uv_loop_init(&rig_loop);
}

int rig_teardown(void **state)
{
    static const char *const suffixes[] = {"", "-wal", "-shm", "-journal", ".lock"};
    (void)state;
    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
        char path[120];
        snprintf(path, sizeof path, "%s%s", rig_path, suffixes[i]);
        unlink(path);
    }
    uv_run(&rig_loop, UV_RUN_DEFAULT);
    return rmdir(rig_directory) == 0 ? uv_loop_close(&rig_loop) : -1;
}

static struct store *try_open(struct store_retention keep, struct ltd_err *err)
{
    struct store_sqlite_config config = {.path = rig_path, .retention = keep, .loop = &rig_loop};
    return store_sqlite_open(&config, err);
}

struct store *rig_try_open(struct ltd_err *err)
{
    return try_open((struct store_retention){1000000, INT64_MAX, RIG_HUGE}, err);
}

struct store *rig_open_keeping(size_t max_jobs, int64_t max_age_us, size_t max_bytes)
{
    struct ltd_err err = {0};
    struct store *store = try_open((struct store_retention){max_jobs, max_age_us, max_bytes}, &err);
    if (!store)
        fail_msg("open: %s", err.msg);
    return store;
}

struct store *rig_open(void)
{
    return rig_open_keeping(1000000, INT64_MAX, RIG_HUGE);
}

void rig_close(struct store *store)
{
    store_destroy(store);
    uv_run(&rig_loop, UV_RUN_DEFAULT);
}

void rig_settle(struct store *store)
{
    struct store_health health;
    store_health(store, &health);
    while (health.n_waiting > 0) {
        uv_run(&rig_loop, UV_RUN_ONCE);
        store_health(store, &health);
    }
}

static void keep_result(void *arg, const struct ltd_err *result)
{
    struct ltd_err *out = arg;
    assert_int_equal(out->code, LTD_N_CODES); /* it comes once */
    *out = *result;
}

enum ltd_code rig_append(struct store *store, const char *id, struct job_event event)
{
    rig_last_error = (struct ltd_err){.code = LTD_N_CODES};
    store_append(store, id, &event, keep_result, &rig_last_error);
    rig_settle(store);
    return rig_last_error.code;
}

static void must_succeed(void *arg, const struct ltd_err *result)
{
    (void)arg;
    if (result->code != LTD_OK)
        fail_msg("append: %s", result->msg);
}

void rig_append_later(struct store *store, const char *id, struct job_event event)
{
    store_append(store, id, &event, must_succeed, NULL);
}

/* ---------------------------------------------------------------------------------- events */

struct job_event rig_queued(const char *request_id, const char *label)
{
    return (struct job_event){.kind = JOB_EV_QUEUED,
                              .time_us = 1,
                              .queued = {.request_id = request_id,
                                         .label = label,
                                         .tier = "ref",
                                         .client = "c",
                                         .continues = ""}};
}

struct job_event rig_started(void)
{
    return (struct job_event){.kind = JOB_EV_STARTED, .time_us = 2};
}

struct job_event rig_token(int32_t id, const char *text, size_t len)
{
    struct job_event e = {.kind = JOB_EV_TOKEN, .time_us = 3, .text = text, .text_len = len};
    e.token.id = id;
    e.token.n_top = -1;
    return e;
}

struct job_event rig_priority(uint8_t value)
{
    return (struct job_event){.kind = JOB_EV_PRIORITY, .time_us = 4, .priority = value};
}

struct job_event rig_finished(enum job_finish reason, int64_t end_us)
{
    struct job_event e = {.kind = job_finish_kind(reason), .time_us = end_us};
    e.finished.reason = reason;
    if (reason == JOB_FINISH_ERROR)
        ltd_fail(&e.finished.error, LTD_E_INTERNAL, "why");
    return e;
}

const char *rig_id(struct job_id_maker *maker, char id[JOB_ID_CHARS + 1])
{
    job_id_make(maker, id);
    return id;
}

/* ----------------------------------------------------------------------------------- files */

struct reading {
    struct ltd_bytes bytes;
    size_t n;
};

static bool read_one(void *arg, const struct job_event *event)
{
    struct reading *r = arg;
    struct ltd_bytes one;
    ltd_bytes_init(&one);
    job_event_encode(event, &one);
    assert_int_equal(event->seq, r->n + 1);
    ltd_bytes_put_u32(&r->bytes, (uint32_t)one.len);
    ltd_bytes_put(&r->bytes, one.data, one.len);
    ltd_bytes_fini(&one);
    r->n++;
    return true;
}

uint8_t *rig_read_all(struct store *store, const struct job *job, size_t *len, size_t *n,
                      struct ltd_err *err)
{
    struct reading r = {0};
    struct ltd_err ignored = {0};
    ltd_bytes_init(&r.bytes);
    store_read(store, job, 0, read_one, &r, err ? err : &ignored);
    *len = r.bytes.len;
    *n = r.n;
    return r.bytes.data;
}

int64_t rig_sql(const char *sql)
{
    sqlite3 *db;
    sqlite3_stmt *stmt = NULL;
    int64_t value = 0;
    assert_int_equal(sqlite3_open(rig_path, &db), SQLITE_OK);
    sqlite3_busy_timeout(db, 10000);
    while (*sql) {
        if (sqlite3_prepare_v2(db, sql, -1, &stmt, &sql) != SQLITE_OK)
            fail_msg("%s: %s", sql, sqlite3_errmsg(db));
        int rc = sqlite3_step(stmt);
        if (rc == SQLITE_ROW)
            value = sqlite3_column_int64(stmt, 0);
        else if (rc != SQLITE_DONE)
            fail_msg("%s", sqlite3_errmsg(db));
        sqlite3_finalize(stmt);
    }
    sqlite3_close(db);
    return value;
}

uint8_t *rig_load_file(const char *path, size_t *len)
{
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    fseek(file, 0, SEEK_END);
    *len = (size_t)ftell(file);
    rewind(file);
    uint8_t *data = malloc(*len + 1);
    assert_non_null(data);
    assert_int_equal(fread(data, 1, *len, file), *len);
    fclose(file);
    return data;
}

void rig_save_file(const char *path, const uint8_t *data, size_t len)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, len, file), len);
    assert_int_equal(fclose(file), 0);
}
