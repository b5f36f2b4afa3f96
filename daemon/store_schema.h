/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/store_schema.h - what a database must look like to be a job log, and older ones made so.
 *
 * A database says what it is by application_id and which version by user_version, and its tables
 * must be exactly those of that version: a flipped bit in the version or in the schema is found
 * before anything is believed. docs/store.md lists the versions.
 * Threads: those of the connection.
 */
#ifndef LATENTD_DAEMON_STORE_SCHEMA_H
#define LATENTD_DAEMON_STORE_SCHEMA_H

#include <sqlite3.h>

#include "base/err.h"

/*
 * store_schema_identify - *version is 0 for an empty database, else that of the log.
 * Errors: LTD_E_CORRUPT (something else, or damaged), LTD_E_PRECONDITION (newer).
 */
int store_schema_identify(sqlite3 *db, const char *path, int *version, struct ltd_err *err);

/* The structure of every page, with SQLite's own quick_check. Errors: LTD_E_CORRUPT. */
int store_schema_check_pages(sqlite3 *db, const char *path, struct ltd_err *err);

/* Make the tables of the newest version in an empty database, or bring an older version to it, in
 * one transaction: whatever happens on the way, the file has the one or the other. */
int store_schema_bring_up(sqlite3 *db, const char *path, int version, struct ltd_err *err);

/* Fill err for the connection's last error, as daemon/store_file.h says. Returns -1. */
int store_sql_fail(sqlite3 *db, const char *path, const char *doing, struct ltd_err *err);

#endif
