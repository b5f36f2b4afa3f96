/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/auth_file.h - the access file as a table; every mistake in it with its line.
 *
 * Reading judges the whole file and not only its first mistake, because an operator repairs it in
 * one go. A table with mistakes is never used.
 *
 * Does not: compare credentials or know calls (daemon/auth.h).
 * Threads: plain values.
 * Rules: docs/access.md.
 */
#ifndef LATENTD_DAEMON_AUTH_FILE_H
#define LATENTD_DAEMON_AUTH_FILE_H

#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"
#include "daemon/quota.h"

#define AUTH_NAME_CHARS     48 /* leaves 15 of an account's 64 characters behind "NAME/" */
#define AUTH_HASH_BYTES     32
#define AUTH_ENTRIES_MAX    1024 /* a call looks at each token's hash */
#define AUTH_FILE_BYTES_MAX (1u << 20)

enum auth_kind { AUTH_TOKEN, AUTH_UID, AUTH_CERT };

struct auth_entry {
    enum auth_kind kind;
    uint32_t line;
    uint8_t hash[AUTH_HASH_BYTES]; /* TOKEN: SHA-256 of its text */
    uint32_t uid;                  /* UID */
    char *common_name;             /* CERT; owned */
    char name[AUTH_NAME_CHARS + 1];
    uint32_t rights; /* auth_right bits; ADMIN brings all others */
};

struct auth_limit {
    uint32_t line;
    char name[AUTH_NAME_CHARS + 1]; /* "*" for names without a line */
    unsigned said;                  /* bit i: the i-th limit stands in this line */
    struct quota_limits limits;     /* 0 also for "none" */
};

struct auth_table {
    struct auth_entry *entries; /* owned */
    size_t n_entries;
    struct auth_limit *limits; /* owned */
    size_t n_limits;
};

/* Mistakes, one line each: "FILE:LINE: what is wrong, what was expected". */
struct auth_mistakes {
    struct ltd_bytes text;
    uint32_t n;
};

void auth_table_fini(struct auth_table *table);

/*
 * auth_table_parse - the table that `text` stands for.
 *
 * path      for the mistakes
 * table     out: always initialised; use it only when there are no mistakes
 * mistakes  initialised by the caller (zeros); lines are added
 * Errors: LTD_E_INVALID (mistakes; the message is the first and their number), LTD_E_EXHAUSTED.
 */
int auth_table_parse(const char *path, const char *text, size_t len, struct auth_table *table,
                     struct auth_mistakes *mistakes, struct ltd_err *err);

/* auth_table_read - the same for a file, which must be safe from others: LTD_E_INVALID otherwise. */
int auth_table_read(const char *path, struct auth_table *table, struct auth_mistakes *mistakes,
                    struct ltd_err *err);

/* auth_table_limits - what holds for `name`: its own line, and for the rest the line of "*". */
void auth_table_limits(const struct auth_table *table, const char *name, struct quota_limits *out);

/* The bit of a right's word, 0 when it is none. */
uint32_t auth_right_parse(const char *word);

#endif
