/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/store_file.c - see daemon/store_file.h.
 *
 * Pages of deleted events go to SQLite's list of free pages and are used for the next jobs, so the
 * file has the size of the most that was ever kept, which the retention bounds. auto_vacuum would
 * give them back sooner, and would write a pointer map with every page for ever; an operator who
 * wants the room back has `latentd --store-vacuum`.
 */
#include "daemon/store_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sqlite3.h>
#include <zlib.h>

#include "base/utf8.h"
#include "daemon/store_schema.h"

/* Another process that looks into the file (a backup, sqlite3) holds it for a moment only. */
#define BUSY_MS 1000

enum statement {
    SQL_BEGIN,
    SQL_COMMIT,
    SQL_ROLLBACK,
    SQL_PUT_JOB,
    SQL_PUT_EVENT,
    SQL_FINISH,
    SQL_CUT,
    SQL_FORGET,
    SQL_ADD_PURGE,
    SQL_PURGE,
    SQL_END_PURGE,
    SQL_PROBE,
    N_STATEMENTS
};

static const char *const statements[N_STATEMENTS] = {
    [SQL_BEGIN] = "BEGIN IMMEDIATE",
    [SQL_COMMIT] = "COMMIT",
    [SQL_ROLLBACK] = "ROLLBACK",
    [SQL_PUT_JOB] = "INSERT INTO jobs VALUES(?1, ?2, ?3, ?4, 0, 0, 0)",
    [SQL_PUT_EVENT] = "INSERT INTO events VALUES(?1, ?2, ?3, ?4)",
    [SQL_FINISH] = "UPDATE jobs SET last_seq = ?2, end_us = ?3, bytes = ?4 WHERE num = ?1",
    [SQL_CUT] = "DELETE FROM events WHERE job = ?1 AND (seq > ?2 OR seq < 1)",
    [SQL_FORGET] = "DELETE FROM jobs WHERE num = ?1",
    [SQL_ADD_PURGE] = "INSERT OR IGNORE INTO purges VALUES(?1)",
    [SQL_PURGE] = "DELETE FROM events WHERE job = ?1 AND seq IN "
                  "(SELECT seq FROM events WHERE job = ?1 ORDER BY seq LIMIT ?2)",
    [SQL_END_PURGE] = "DELETE FROM purges WHERE job = ?1",
    [SQL_PROBE] = "PRAGMA user_version = 2",
};

struct store_file {
    sqlite3 *db;
    char *path;
    int found_version;
    sqlite3_stmt *prepared[N_STATEMENTS]; /* WRITE only */
    sqlite3_stmt *idle_read;              /* that of store_file_events_of, when nobody reads */
};

struct store_cursor {
    struct store_file *file;
    sqlite3_stmt *stmt;
    bool is_of_one_job; /* its statement goes back to the file */
};

uint32_t store_event_crc(const char *job_id, uint64_t seq, const void *data, size_t len)
{
    uint8_t number[8];
    for (int i = 0; i < 8; i++)
        number[i] = (uint8_t)(seq >> (8 * i));
    uLong crc = crc32_z(crc32(0, NULL, 0), data, len);
    crc = crc32_z(crc, (const uint8_t *)job_id, strlen(job_id));
    return (uint32_t)crc32_z(crc, number, sizeof number);
}

static int sql_fail(const struct store_file *f, const char *doing, struct ltd_err *err)
{
    return store_sql_fail(f->db, f->path, doing, err);
}

/* ------------------------------------------------------------------------------------ open */

/* SQLite would make the file readable for all; its "-wal" and "-shm" take over this one's mode. */
static int make_file(const char *path, struct ltd_err *err)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOCTTY, 0600);
    if (fd < 0)
        return ltd_fail(err, LTD_E_INVALID, "store %s: %s", path, strerror(errno));
    close(fd);
    return 0;
}

/* What a statement that only sets something answers is of no interest, whether it works is. */
static int run(struct store_file *f, const char *sql, struct ltd_err *err)
{
    if (sqlite3_exec(f->db, sql, NULL, NULL, NULL) == SQLITE_OK)
        return 0;
    return sql_fail(f, sql, err);
}

static int connect_to(struct store_file *f, enum store_file_use use, struct ltd_err *err)
{
    int flags = (use == STORE_FILE_WRITE ? SQLITE_OPEN_READWRITE : SQLITE_OPEN_READONLY) |
                SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE;
    if (sqlite3_open_v2(f->path, &f->db, flags, NULL) != SQLITE_OK)
        return f->db ? sql_fail(f, "open", err)
                     : ltd_fail(err, LTD_E_EXHAUSTED, "store %s: no memory", f->path);
    sqlite3_extended_result_codes(f->db, 1);
    sqlite3_busy_timeout(f->db, BUSY_MS);
    return run(f,
               "PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON;"
               "PRAGMA temp_store = MEMORY",
               err);
}

/* WAL: a commit is one write and one sync, and readers are not in its way. FULL: the sync is part of
 * every commit, not only of a checkpoint. */
static int set_writing(struct store_file *f, struct ltd_err *err)
{
    sqlite3_stmt *stmt;
    bool is_wal = false;
    if (sqlite3_prepare_v2(f->db, "PRAGMA journal_mode = WAL", -1, &stmt, NULL) == SQLITE_OK &&
        sqlite3_step(stmt) == SQLITE_ROW)
        is_wal = strcmp((const char *)sqlite3_column_text(stmt, 0), "wal") == 0;
    int rc = sqlite3_finalize(stmt);
    if (rc != SQLITE_OK)
        return sql_fail(f, "PRAGMA journal_mode = WAL", err);
    if (!is_wal)
        return ltd_fail(err, LTD_E_INVALID,
                        "store %s: the file system cannot share memory between processes, which "
                        "the log needs (WAL)",
                        f->path);
    return run(f, "PRAGMA synchronous = FULL", err);
}

static int prepare_all(struct store_file *f, struct ltd_err *err)
{
    for (int i = 0; i < N_STATEMENTS; i++)
        if (sqlite3_prepare_v3(f->db, statements[i], -1, SQLITE_PREPARE_PERSISTENT, &f->prepared[i],
                               NULL) != SQLITE_OK)
            return sql_fail(f, statements[i], err);
    return 0;
}

/* A file that cannot be written is found out now, not with the first job. */
static int try_writing(struct store_file *f, struct ltd_err *err)
{
    if (store_file_begin(f, err) != 0)
        return -1;
    if (store_file_probe(f, err) == 0)
        return store_file_commit(f, err);
    store_file_rollback(f);
    return -1;
}

static int open_for_writing(struct store_file *f, struct ltd_err *err)
{
    if (store_schema_identify(f->db, f->path, &f->found_version, err) != 0 ||
        set_writing(f, err) != 0 ||
        (f->found_version && store_schema_check_pages(f->db, f->path, err) != 0) ||
        store_schema_bring_up(f->db, f->path, f->found_version, err) != 0)
        return -1;
    if (prepare_all(f, err) != 0)
        return -1;
    return try_writing(f, err);
}

static int open_for_reading(struct store_file *f, struct ltd_err *err)
{
    if (store_schema_identify(f->db, f->path, &f->found_version, err) != 0)
        return -1;
    if (f->found_version == 0)
        return ltd_fail(err, LTD_E_CORRUPT, "store %s: an empty database, not a job log", f->path);
    return 0;
}

struct store_file *store_file_open(const char *path, enum store_file_use use, struct ltd_err *err)
{
    if (use == STORE_FILE_READ && access(path, R_OK) != 0)
        return ltd_fail_null(err, errno == ENOENT ? LTD_E_NOT_FOUND : LTD_E_INVALID, "store %s: %s",
                             path, strerror(errno));
    if (use == STORE_FILE_WRITE && make_file(path, err) != 0)
        return NULL;
    struct store_file *f = calloc(1, sizeof *f);
    if (f)
        f->path = strdup(path);
    if (!f || !f->path) {
        free(f);
        return ltd_fail_null(err, LTD_E_EXHAUSTED, "store %s: no memory", path);
    }
    struct ltd_err why = {0};
    if (connect_to(f, use, &why) == 0 &&
        (use == STORE_FILE_WRITE ? open_for_writing(f, &why) : open_for_reading(f, &why)) == 0)
        return f;
    /* What may heal while the service runs is, when it starts, something that must be mended. */
    if (why.code == LTD_E_UNAVAILABLE)
        why.code = LTD_E_INVALID;
    if (err)
        *err = why;
    store_file_close(f);
    return NULL;
}

void store_file_close(struct store_file *f)
{
    if (!f)
        return;
    for (int i = 0; i < N_STATEMENTS; i++)
        sqlite3_finalize(f->prepared[i]);
    sqlite3_finalize(f->idle_read);
    sqlite3_close(f->db); /* the last connection moves everything into the database */
    free(f->path);
    free(f);
}

int store_file_found_version(const struct store_file *f)
{
    return f->found_version;
}

bool store_file_has_crc(const struct store_file *f)
{
    return f->found_version != 1 || f->prepared[0] != NULL; /* a writer has brought it up */
}

/* --------------------------------------------------------------------------------- writing */

/* Run a prepared statement whose parameters are bound. */
static int perform(struct store_file *f, enum statement which, struct ltd_err *err)
{
    sqlite3_stmt *stmt = f->prepared[which];
    int rc = sqlite3_step(stmt);
    if (rc != SQLITE_DONE)
        sql_fail(f, "write", err);
    sqlite3_reset(stmt);
    return rc == SQLITE_DONE ? 0 : -1;
}

int store_file_begin(struct store_file *f, struct ltd_err *err)
{
    return perform(f, SQL_BEGIN, err);
}

int store_file_commit(struct store_file *f, struct ltd_err *err)
{
    if (perform(f, SQL_COMMIT, err) == 0)
        return 0;
    store_file_rollback(f);
    return -1;
}

/* SQLite has rolled back by itself after some errors; to say it again is harmless. */
void store_file_rollback(struct store_file *f)
{
    if (!sqlite3_get_autocommit(f->db))
        perform(f, SQL_ROLLBACK, NULL);
}

int store_file_put_job(struct store_file *f, int64_t num, const struct job *job,
                       struct ltd_err *err)
{
    sqlite3_stmt *stmt = f->prepared[SQL_PUT_JOB];
    sqlite3_bind_int64(stmt, 1, num);
    sqlite3_bind_text(stmt, 2, job->id, -1, SQLITE_STATIC);
    sqlite3_bind_text(stmt, 3, job->owner, -1, SQLITE_STATIC);
    sqlite3_bind_text(stmt, 4, job->request_id, -1, SQLITE_STATIC);
    int rc = perform(f, SQL_PUT_JOB, err);
    sqlite3_clear_bindings(stmt);
    return rc;
}

int store_file_put_event(struct store_file *f, const struct store_event_row *row,
                         struct ltd_err *err)
{
    sqlite3_stmt *stmt = f->prepared[SQL_PUT_EVENT];
    sqlite3_bind_int64(stmt, 1, row->num);
    sqlite3_bind_int64(stmt, 2, (int64_t)row->seq);
    sqlite3_bind_blob64(stmt, 3, row->data, row->len, SQLITE_STATIC);
    sqlite3_bind_int64(stmt, 4, row->crc);
    int rc = perform(f, SQL_PUT_EVENT, err);
    sqlite3_clear_bindings(stmt);
    return rc;
}

int store_file_finish_job(struct store_file *f, int64_t num, uint64_t last_seq, int64_t end_us,
                          uint64_t bytes, struct ltd_err *err)
{
    sqlite3_stmt *stmt = f->prepared[SQL_FINISH];
    sqlite3_bind_int64(stmt, 1, num);
    sqlite3_bind_int64(stmt, 2, (int64_t)last_seq);
    sqlite3_bind_int64(stmt, 3, end_us);
    sqlite3_bind_int64(stmt, 4, (int64_t)bytes);
    return perform(f, SQL_FINISH, err);
}

int store_file_cut(struct store_file *f, int64_t num, uint64_t last_seq, struct ltd_err *err)
{
    sqlite3_stmt *stmt = f->prepared[SQL_CUT];
    sqlite3_bind_int64(stmt, 1, num);
    sqlite3_bind_int64(stmt, 2, (int64_t)last_seq);
    return perform(f, SQL_CUT, err);
}

int store_file_forget(struct store_file *f, int64_t num, struct ltd_err *err)
{
    sqlite3_bind_int64(f->prepared[SQL_FORGET], 1, num);
    sqlite3_bind_int64(f->prepared[SQL_ADD_PURGE], 1, num);
    if (perform(f, SQL_FORGET, err) != 0)
        return -1;
    return perform(f, SQL_ADD_PURGE, err);
}

int store_file_purge(struct store_file *f, int64_t num, int *n_rows, bool *is_done,
                     struct ltd_err *err)
{
    sqlite3_stmt *stmt = f->prepared[SQL_PURGE];
    int max = *n_rows;
    sqlite3_bind_int64(stmt, 1, num);
    sqlite3_bind_int(stmt, 2, max);
    if (perform(f, SQL_PURGE, err) != 0)
        return -1;
    int n = sqlite3_changes(f->db);
    *n_rows -= n;
    *is_done = n < max;
    if (!*is_done)
        return 0;
    sqlite3_bind_int64(f->prepared[SQL_END_PURGE], 1, num);
    return perform(f, SQL_END_PURGE, err);
}

int store_file_probe(struct store_file *f, struct ltd_err *err)
{
    return perform(f, SQL_PROBE, err);
}

int store_file_check_pages(struct store_file *f, struct ltd_err *err)
{
    return store_schema_check_pages(f->db, f->path, err);
}

int store_file_vacuum(struct store_file *f, struct ltd_err *err)
{
    return run(f, "VACUUM; PRAGMA wal_checkpoint(TRUNCATE)", err);
}

/* --------------------------------------------------------------------------------- reading */

static struct store_cursor *open_cursor(struct store_file *f, const char *sql, sqlite3_stmt *idle,
                                        struct ltd_err *err)
{
    struct store_cursor *c = calloc(1, sizeof *c);
    if (!c)
        return ltd_fail_null(err, LTD_E_EXHAUSTED, "store %s: no memory", f->path);
    c->file = f;
    c->stmt = idle;
    if (!idle && sqlite3_prepare_v2(f->db, sql, -1, &c->stmt, NULL) != SQLITE_OK) {
        sql_fail(f, "read", err);
        free(c);
        return NULL;
    }
    return c;
}

struct store_cursor *store_file_jobs(struct store_file *f, struct ltd_err *err)
{
    return open_cursor(
        f, "SELECT num, id, owner, request_id, last_seq, end_us FROM jobs ORDER BY num", NULL, err);
}

struct store_cursor *store_file_events(struct store_file *f, struct ltd_err *err)
{
    return open_cursor(f,
                       store_file_has_crc(f)
                           ? "SELECT job, seq, payload, crc FROM events ORDER BY job, seq"
                           : "SELECT job, seq, payload, 0 FROM events ORDER BY job, seq",
                       NULL, err);
}

struct store_cursor *store_file_purges(struct store_file *f, struct ltd_err *err)
{
    return open_cursor(f, "SELECT job FROM purges ORDER BY job", NULL, err);
}

struct store_cursor *store_file_events_of(struct store_file *f, int64_t num, uint64_t after_seq,
                                          struct ltd_err *err)
{
    struct store_cursor *c = open_cursor(
        f, "SELECT job, seq, payload, crc FROM events WHERE job = ?1 AND seq > ?2 ORDER BY seq",
        f->idle_read, err);
    if (!c)
        return NULL;
    f->idle_read = NULL;
    c->is_of_one_job = true;
    sqlite3_bind_int64(c->stmt, 1, num);
    sqlite3_bind_int64(c->stmt, 2, (int64_t)after_seq);
    return c;
}

void store_cursor_close(struct store_cursor *c)
{
    if (!c)
        return;
    if (c->is_of_one_job && !c->file->idle_read) {
        sqlite3_reset(c->stmt);
        c->file->idle_read = c->stmt;
    } else {
        sqlite3_finalize(c->stmt);
    }
    free(c);
}

static int step(struct store_cursor *c, struct ltd_err *err)
{
    int rc = sqlite3_step(c->stmt);
    if (rc == SQLITE_ROW)
        return 1;
    return rc == SQLITE_DONE ? 0 : sql_fail(c->file, "read", err);
}

/* A text column that fits and is a text; else "" and the row is odd. */
static void take_text(struct store_cursor *c, int column, char *out, size_t size, bool *is_odd)
{
    const char *text = (const char *)sqlite3_column_text(c->stmt, column);
    size_t len = text ? strlen(text) : 0;
    out[0] = '\0';
    if (!text || sqlite3_column_type(c->stmt, column) != SQLITE_TEXT || len >= size ||
        len != (size_t)sqlite3_column_bytes(c->stmt, column) ||
        ltd_utf8_valid_prefix(text, len) != len) {
        *is_odd = true;
        return;
    }
    memcpy(out, text, len + 1);
}

int store_cursor_next_job(struct store_cursor *c, struct store_job_row *row, struct ltd_err *err)
{
    int rc = step(c, err);
    if (rc != 1)
        return rc;
    *row = (struct store_job_row){.num = sqlite3_column_int64(c->stmt, 0)};
    int64_t last_seq = sqlite3_column_int64(c->stmt, 4);
    row->last_seq = (uint64_t)last_seq;
    row->end_us = sqlite3_column_int64(c->stmt, 5);
    row->is_odd = last_seq < 0 || sqlite3_column_type(c->stmt, 4) != SQLITE_INTEGER ||
                  sqlite3_column_type(c->stmt, 5) != SQLITE_INTEGER;
    take_text(c, 1, row->id, sizeof row->id, &row->is_odd);
    take_text(c, 2, row->owner, sizeof row->owner, &row->is_odd);
    take_text(c, 3, row->request_id, sizeof row->request_id, &row->is_odd);
    return 1;
}

int store_cursor_next_event(struct store_cursor *c, struct store_event_row *row,
                            struct ltd_err *err)
{
    int rc = step(c, err);
    if (rc != 1)
        return rc;
    int64_t crc = sqlite3_column_int64(c->stmt, 3);
    row->num = sqlite3_column_int64(c->stmt, 0);
    row->seq = (uint64_t)sqlite3_column_int64(c->stmt, 1);
    row->data = sqlite3_column_blob(c->stmt, 2);
    row->len = (size_t)sqlite3_column_bytes(c->stmt, 2);
    row->crc = (uint32_t)crc;
    row->is_odd = crc < 0 || crc > UINT32_MAX;
    static const int types[] = {SQLITE_INTEGER, SQLITE_INTEGER, SQLITE_BLOB, SQLITE_INTEGER};
    for (int i = 0; i < 4; i++)
        row->is_odd |= sqlite3_column_type(c->stmt, i) != types[i];
    return 1;
}

int store_cursor_next_purge(struct store_cursor *c, int64_t *num, struct ltd_err *err)
{
    int rc = step(c, err);
    if (rc == 1)
        *num = sqlite3_column_int64(c->stmt, 0);
    return rc;
}
