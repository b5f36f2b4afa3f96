/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/store_file.h - one connection to the SQLite file of a job log, and the rows in it.
 *
 *     jobs    num ─ id, owner, request_id, last_seq (0: unfinished), end_us, bytes
 *     events  (job, seq) ─ payload, crc           payload: docs/job-events.md#stored-form
 *     purges  job                                 forgotten, its events are still to be deleted
 *
 * The events are the truth; jobs tells what they belong to and whether a FINISHED must be among them.
 * The crc is over payload, job id and sequence number, so that bytes which landed in another row are
 * found out too. SQLite itself checks the structure of its pages, not what is in them.
 *
 * Threads: one connection is used by one thread at a time; it may be handed over.
 * Errors of every function: LTD_E_CORRUPT (the file contradicts itself: trying again is of no use) or
 * LTD_E_UNAVAILABLE (full, unreadable, locked, no memory: it may heal), naming the file.
 * Rules: docs/store.md.
 */
#ifndef LATENTD_DAEMON_STORE_FILE_H
#define LATENTD_DAEMON_STORE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "daemon/job.h"

#define STORE_FILE_VERSION 2

/* What a row of events takes beside its payload: key, lengths, crc; for counting bytes. */
#define STORE_EVENT_ROW_BYTES 24

struct store_file;

enum store_file_use {
    STORE_FILE_WRITE, /* made, checked and brought to this version as needed */
    STORE_FILE_READ,  /* never written, of any version that is known */
};

/*
 * store_file_open - a connection.
 *
 * Errors: LTD_E_INVALID (cannot be made, opened or written), LTD_E_CORRUPT (no database, not a job
 *         log, damaged), LTD_E_PRECONDITION (made by a newer build), LTD_E_NOT_FOUND (READ only).
 */
struct store_file *store_file_open(const char *path, enum store_file_use use, struct ltd_err *err);
void store_file_close(struct store_file *file); /* accepts NULL */

/* The schema's version as it was found, before it was brought to STORE_FILE_VERSION. */
int store_file_found_version(const struct store_file *file);

uint32_t store_event_crc(const char *job_id, uint64_t seq, const void *data, size_t len);

/* ------------------------------------------------------------------------------- writing */

int store_file_begin(struct store_file *file, struct ltd_err *err);
int store_file_commit(struct store_file *file, struct ltd_err *err); /* rolls back when it fails */
void store_file_rollback(struct store_file *file);

int store_file_put_job(struct store_file *file, int64_t num, const struct job *job,
                       struct ltd_err *err);

struct store_event_row {
    int64_t num;
    uint64_t seq;
    const uint8_t *data; /* borrowed */
    size_t len;
    uint32_t crc;
    bool is_odd; /* reading: a column has the wrong type; nothing but num and seq means anything */
};

int store_file_put_event(struct store_file *file, const struct store_event_row *row,
                         struct ltd_err *err);

/* The job's FINISHED is event `last_seq`. */
int store_file_finish_job(struct store_file *file, int64_t num, uint64_t last_seq, int64_t end_us,
                          uint64_t bytes, struct ltd_err *err);

/* Only events 1 to last_seq stay. */
int store_file_cut(struct store_file *file, int64_t num, uint64_t last_seq, struct ltd_err *err);

/* The job is gone; its events are left to store_file_purge, also by a later process. */
int store_file_forget(struct store_file *file, int64_t num, struct ltd_err *err);

/* Delete at most *n_rows events of a forgotten job, and take them off; *is_done when none is left. */
int store_file_purge(struct store_file *file, int64_t num, int *n_rows, bool *is_done,
                     struct ltd_err *err);

/* Write a page as it is, inside a transaction: fails when nothing can be written. */
int store_file_probe(struct store_file *file, struct ltd_err *err);

/* ------------------------------------------------------------------------------- reading */

struct store_job_row {
    int64_t num;
    char id[JOB_ID_CHARS + 1];
    char owner[JOB_OWNER_BYTES];
    char request_id[JOB_REQUEST_ID_CHARS + 1];
    uint64_t last_seq; /* 0: not finished */
    int64_t end_us;
    bool is_odd; /* a column was not what it should be; texts that were not are "" */
};

struct store_cursor;

/* Rows in order of their keys. Close with store_cursor_close, also behind an error. */
struct store_cursor *store_file_jobs(struct store_file *file, struct ltd_err *err);
struct store_cursor *store_file_events(struct store_file *file, struct ltd_err *err);
struct store_cursor *store_file_purges(struct store_file *file, struct ltd_err *err);
/* Those of one job behind after_seq. */
struct store_cursor *store_file_events_of(struct store_file *file, int64_t num, uint64_t after_seq,
                                          struct ltd_err *err);

/* 1: *row is filled and lives until the next call; 0: no more; -1: failed. */
int store_cursor_next_job(struct store_cursor *cursor, struct store_job_row *row,
                          struct ltd_err *err);
int store_cursor_next_event(struct store_cursor *cursor, struct store_event_row *row,
                            struct ltd_err *err);
int store_cursor_next_purge(struct store_cursor *cursor, int64_t *num, struct ltd_err *err);
void store_cursor_close(struct store_cursor *cursor); /* accepts NULL */

/* True when rows have a crc: from version 2 on. */
bool store_file_has_crc(const struct store_file *file);

/* The structure of every page, as when a log is opened to be written. */
int store_file_check_pages(struct store_file *file, struct ltd_err *err);

/* Rewrite the file without its free pages. */
int store_file_vacuum(struct store_file *file, struct ltd_err *err);

#endif
