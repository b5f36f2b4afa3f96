/* SPDX-License-Identifier: Apache-2.0 */
/* daemon/store_schema.c - see daemon/store_schema.h. */
#include "daemon/store_schema.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "daemon/store_file.h"

#define APPLICATION_ID 0x6c746a6c /* "ltjl" */
#define N_TABLES       3
#define STRINGIFY(x)   #x
#define TEXT_OF(x)     STRINGIFY(x)

#define EVENTS_1(name)                                                                             \
    "CREATE TABLE " name "(job INTEGER NOT NULL, seq INTEGER NOT NULL, payload BLOB NOT NULL, "    \
    "PRIMARY KEY(job, seq)) WITHOUT ROWID"
#define EVENTS_2(name)                                                                             \
    "CREATE TABLE " name "(job INTEGER NOT NULL, seq INTEGER NOT NULL, payload BLOB NOT NULL, "    \
    "crc INTEGER NOT NULL, PRIMARY KEY(job, seq)) WITHOUT ROWID"
#define JOBS                                                                                       \
    "CREATE TABLE jobs(num INTEGER PRIMARY KEY, id TEXT NOT NULL, owner TEXT NOT NULL, "           \
    "request_id TEXT NOT NULL, last_seq INTEGER NOT NULL, end_us INTEGER NOT NULL, "               \
    "bytes INTEGER NOT NULL)"
#define PURGES "CREATE TABLE purges(job INTEGER PRIMARY KEY)"

/* In order of their names, as the schema is read. */
static const char *const tables[STORE_FILE_VERSION][N_TABLES] = {
    {EVENTS_1("events"), JOBS, PURGES},
    {EVENTS_2("events"), JOBS, PURGES},
};

int store_sql_fail(sqlite3 *db, const char *path, const char *doing, struct ltd_err *err)
{
    int rc = sqlite3_extended_errcode(db);
    int os = (rc & 0xff) == SQLITE_IOERR || (rc & 0xff) == SQLITE_CANTOPEN
                 ? sqlite3_system_errno(db)
                 : 0;
    enum ltd_code code = LTD_E_UNAVAILABLE;
    switch (rc & 0xff) {
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_CONSTRAINT: /* keys are chosen so that they cannot meet */
    case SQLITE_MISMATCH:
    case SQLITE_ERROR: /* a table that is not there any more */
        code = LTD_E_CORRUPT;
        break;
    }
    return ltd_fail(err, code, "store %s: %s: %s%s%s", path, doing, sqlite3_errmsg(db),
                    os ? ": " : "", os ? strerror(os) : "");
}

/* ------------------------------------------------------------------------------- identify */

/* The one number that a statement gives. */
static int get_number(sqlite3 *db, const char *path, const char *sql, int64_t *out,
                      struct ltd_err *err)
{
    sqlite3_stmt *stmt;
    int rc = sqlite3_prepare_v2(db, sql, -1, &stmt, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(stmt);
    if (rc == SQLITE_ROW)
        *out = sqlite3_column_int64(stmt, 0);
    else
        store_sql_fail(db, path, sql, err);
    sqlite3_finalize(stmt);
    return rc == SQLITE_ROW ? 0 : -1;
}

/* SQLite writes a renamed table's name with quotes: they and blanks are nothing. */
static bool is_same_sql(const char *a, const char *b)
{
    static const char nothing[] = " \"\n";
    for (;; a++, b++) {
        a += strspn(a, nothing);
        b += strspn(b, nothing);
        if (*a != *b)
            return false;
        if (*a == '\0')
            return true;
    }
}

static int check_tables(sqlite3 *db, const char *path, int version, struct ltd_err *err)
{
    sqlite3_stmt *stmt;
    int n = 0, rc;
    bool same = true;
    rc = sqlite3_prepare_v2(db,
                            "SELECT sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%' "
                            "ORDER BY name",
                            -1, &stmt, NULL);
    while (rc == SQLITE_OK && same && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        const char *sql = (const char *)sqlite3_column_text(stmt, 0);
        same = sql && n < N_TABLES && is_same_sql(sql, tables[version - 1][n]);
        n++;
        rc = SQLITE_OK;
    }
    if (rc != SQLITE_OK && rc != SQLITE_DONE)
        store_sql_fail(db, path, "reading the schema", err);
    else if (!same || n != N_TABLES)
        rc = ltd_fail(err, LTD_E_CORRUPT,
                      "store %s: its tables are not those of a job log of version %d", path,
                      version);
    sqlite3_finalize(stmt);
    return rc == SQLITE_DONE ? 0 : -1;
}

/* Settings in the header that no log has; what reads pages and texts depends on them. */
static int check_header(sqlite3 *db, const char *path, struct ltd_err *err)
{
    int64_t vacuum, encoding;
    if (get_number(db, path, "PRAGMA auto_vacuum", &vacuum, err) != 0 ||
        get_number(db, path, "SELECT encoding = 'UTF-8' FROM pragma_encoding", &encoding, err) != 0)
        return -1;
    if (vacuum == 0 && encoding == 1)
        return 0;
    return ltd_fail(err, LTD_E_CORRUPT, "store %s: its header has settings that no job log has",
                    path);
}

int store_schema_identify(sqlite3 *db, const char *path, int *version, struct ltd_err *err)
{
    int64_t application, found, n_tables;
    if (get_number(db, path, "PRAGMA application_id", &application, err) != 0 ||
        get_number(db, path, "PRAGMA user_version", &found, err) != 0 ||
        get_number(db, path, "SELECT count(*) FROM sqlite_schema", &n_tables, err) != 0)
        return -1;
    *version = 0;
    if (application == 0 && found == 0 && n_tables == 0)
        return 0;
    if (application != APPLICATION_ID)
        return ltd_fail(err, LTD_E_CORRUPT,
                        "store %s: a database, but no job log (application_id %lld)", path,
                        (long long)application);
    if (found > STORE_FILE_VERSION)
        return ltd_fail(err, LTD_E_PRECONDITION,
                        "store %s: version %lld found, this build knows up to %d; a newer latentd "
                        "made it",
                        path, (long long)found, STORE_FILE_VERSION);
    if (found < 1)
        return ltd_fail(err, LTD_E_CORRUPT, "store %s: version %lld found, expected 1 to %d", path,
                        (long long)found, STORE_FILE_VERSION);
    *version = (int)found;
    if (check_header(db, path, err) != 0)
        return -1;
    return check_tables(db, path, *version, err);
}

int store_schema_check_pages(sqlite3 *db, const char *path, struct ltd_err *err)
{
    sqlite3_stmt *stmt;
    int rc = sqlite3_prepare_v2(db, "PRAGMA quick_check(1)", -1, &stmt, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(stmt);
    const char *text = rc == SQLITE_ROW ? (const char *)sqlite3_column_text(stmt, 0) : NULL;
    if (!text)
        store_sql_fail(db, path, "checking its pages", err);
    else if (strcmp(text, "ok") == 0)
        rc = SQLITE_OK;
    else
        ltd_fail(err, LTD_E_CORRUPT, "store %s: damaged: %s", path, text);
    sqlite3_finalize(stmt);
    return rc == SQLITE_OK ? 0 : -1;
}

/* ------------------------------------------------------------------------------- versions */

static const char create_sql[] =
    EVENTS_2("events") ";" JOBS ";" PURGES "; PRAGMA application_id = " TEXT_OF(
        APPLICATION_ID) "; PRAGMA user_version = 2";

static const char migrate_1_sql[] =
    EVENTS_2("events_2") "; INSERT INTO events_2 SELECT e.job, e.seq, e.payload, "
                         "event_crc(j.id, e.seq, e.payload) FROM events e LEFT JOIN jobs j "
                         "ON j.num = e.job ORDER BY e.job, e.seq;"
                         "DROP TABLE events; ALTER TABLE events_2 RENAME TO events;"
                         "PRAGMA user_version = 2";

/* event_crc(id, seq, payload): a job that is not there has no id, and events that nobody owns. */
static void event_crc(sqlite3_context *context, int n, sqlite3_value **values)
{
    (void)n;
    const char *id = (const char *)sqlite3_value_text(values[0]);
    uint64_t seq = (uint64_t)sqlite3_value_int64(values[1]);
    const void *data = sqlite3_value_blob(values[2]);
    size_t len = (size_t)sqlite3_value_bytes(values[2]);
    sqlite3_result_int64(context, store_event_crc(id ? id : "", seq, data, len));
}

static int run_in_transaction(sqlite3 *db, const char *path, const char *sql, struct ltd_err *err)
{
    if (sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL) == SQLITE_OK &&
        sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK &&
        sqlite3_exec(db, "COMMIT", NULL, NULL, NULL) == SQLITE_OK)
        return 0;
    store_sql_fail(db, path, "making its tables", err);
    sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
    return -1;
}

int store_schema_bring_up(sqlite3 *db, const char *path, int version, struct ltd_err *err)
{
    if (version == STORE_FILE_VERSION)
        return 0;
    if (version == 0)
        return run_in_transaction(db, path, create_sql, err);
    ltd_info("store %s: version %d becomes %d", path, version, STORE_FILE_VERSION);
    if (sqlite3_create_function(db, "event_crc", 3, SQLITE_UTF8 | SQLITE_DETERMINISTIC, NULL,
                                event_crc, NULL, NULL) != SQLITE_OK)
        return store_sql_fail(db, path, "changing its version", err);
    return run_in_transaction(db, path, migrate_1_sql, err);
}
