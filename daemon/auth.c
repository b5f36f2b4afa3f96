/* SPDX-License-Identifier: Apache-2.0 */
/* daemon/auth.c - see daemon/auth.h. */
#include "daemon/auth.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/crypto.h>
#include <openssl/sha.h>

#include "base/log.h"
#include "daemon/auth_file.h"
#include "daemon/auth_recent.h"

#define TOKEN_BYTES_MAX 4096 /* hashing more would only be work for nothing */

struct auth {
    char *path; /* owned; NULL: no access control */
    struct auth_table table;
    struct auth_recent *recent; /* owned; points into the table */
    struct auth_stats stats;
    uint32_t own_uid;
};

/* Every mistake goes to the log, because the error has room for one. */
static int read_table(const char *path, struct auth_table *table, struct ltd_err *err)
{
    struct auth_mistakes mistakes = {0};
    int rc = auth_table_read(path, table, &mistakes, err);
    size_t at = 0;
    while (at < mistakes.text.len) {
        const char *line = (const char *)mistakes.text.data + at;
        const char *end = memchr(line, '\n', mistakes.text.len - at);
        size_t len = end ? (size_t)(end - line) : mistakes.text.len - at;
        ltd_error("%.*s", (int)len, line);
        at += len + 1;
    }
    ltd_bytes_fini(&mistakes.text);
    return rc;
}

struct auth *auth_create(const char *path, struct ltd_err *err)
{
    struct auth *auth = calloc(1, sizeof *auth);
    if (!auth)
        return ltd_fail_null(err, LTD_E_EXHAUSTED, "no memory for the access file");
    auth->own_uid = (uint32_t)geteuid();
    if (!path || !*path)
        return auth;
    auth->recent = auth_recent_create();
    auth->path = strdup(path);
    if (!auth->path) {
        ltd_fail(err, LTD_E_EXHAUSTED, "no memory for the access file");
    } else if (read_table(path, &auth->table, err) == 0) {
        ltd_info("access file %s: %zu entries", path, auth->table.n_entries);
        return auth;
    }
    auth_destroy(auth);
    return NULL;
}

int auth_reload(struct auth *auth, struct ltd_err *err)
{
    struct auth_table table;
    if (!auth->path)
        return 0;
    if (read_table(auth->path, &table, err) != 0) {
        auth_table_fini(&table);
        return -1;
    }
    auth_recent_forget(auth->recent);
    auth_table_fini(&auth->table);
    auth->table = table;
    ltd_info("access file %s was read again: %zu entries", auth->path, table.n_entries);
    return 0;
}

void auth_destroy(struct auth *auth)
{
    if (!auth)
        return;
    auth_recent_destroy(auth->recent);
    auth_table_fini(&auth->table);
    free(auth->path);
    free(auth);
}

bool auth_is_on(const struct auth *auth)
{
    return auth->path != NULL;
}

/* ------------------------------------------------------------------------------ who is it */

/* Looks at every entry whatever it finds, so that the time tells nothing about the hashes. */
static const struct auth_entry *search_token(const struct auth_table *table, const char *token,
                                             size_t len)
{
    uint8_t hash[SHA256_DIGEST_LENGTH];
    const struct auth_entry *found = NULL;
    static_assert(sizeof hash == AUTH_HASH_BYTES, "tokens are kept as SHA-256");
    if (len > TOKEN_BYTES_MAX)
        return NULL;
    SHA256((const unsigned char *)token, len, hash);
    for (size_t i = 0; i < table->n_entries; i++) {
        const struct auth_entry *entry = &table->entries[i];
        if (entry->kind == AUTH_TOKEN && CRYPTO_memcmp(entry->hash, hash, sizeof hash) == 0)
            found = entry;
    }
    OPENSSL_cleanse(hash, sizeof hash);
    return found;
}

static const struct auth_entry *find_token(const struct auth *auth, const char *token, size_t len)
{
    const struct auth_entry *entry = auth_recent_find(auth->recent, token, len);
    if (entry)
        return entry;
    entry = search_token(&auth->table, token, len);
    if (entry)
        auth_recent_put(auth->recent, token, len, entry);
    return entry;
}

static const struct auth_entry *find_certificate(const struct auth_table *table,
                                                 const char *common_name)
{
    for (size_t i = 0; common_name && i < table->n_entries; i++)
        if (table->entries[i].kind == AUTH_CERT &&
            strcmp(table->entries[i].common_name, common_name) == 0)
            return &table->entries[i];
    return NULL;
}

static const struct auth_entry *find_uid(const struct auth_table *table, uint32_t uid)
{
    for (size_t i = 0; uid != UINT32_MAX && i < table->n_entries; i++)
        if (table->entries[i].kind == AUTH_UID && table->entries[i].uid == uid)
            return &table->entries[i];
    return NULL;
}

static int take_entry(const struct auth_entry *entry, struct rpc_identity *out)
{
    static_assert(sizeof out->name >= sizeof entry->name,
                  "a name of the file is a name of a caller");
    memcpy(out->name, entry->name, sizeof entry->name);
    out->rights = entry->rights;
    return 0;
}

/* The order is the contract: docs/access.md, "Who is who". */
static int identify(const struct auth *auth, const struct rpc_question *question,
                    struct rpc_identity *out, struct ltd_err *err)
{
    const struct rpc_peer *peer = question->peer;
    const struct auth_entry *entry;
    if (question->bearer) {
        entry = find_token(auth, question->bearer, question->bearer_len);
        if (entry)
            return take_entry(entry, out);
        ltd_fail(err, LTD_E_UNAUTHENTICATED, "the token of this call is not known here");
        return ltd_err_reason(err, "TOKEN_WRONG");
    }
    entry = find_certificate(&auth->table, peer->certificate);
    if (!entry)
        entry = find_uid(&auth->table, peer->uid);
    if (entry)
        return take_entry(entry, out);
    if (peer->uid != UINT32_MAX && (peer->uid == 0 || peer->uid == auth->own_uid)) {
        snprintf(out->name, sizeof out->name, "uid:%u", peer->uid);
        out->rights = AUTH_ALL;
        return 0;
    }
    ltd_fail(
        err, LTD_E_UNAUTHENTICATED,
        "expected a token (metadata \"authorization: Bearer TOKEN\"), or a certificate or user "
        "id that is known here");
    return ltd_err_reason(err, "TOKEN_MISSING");
}

/* ----------------------------------------------------------------------------- what may he */

void auth_rights_text(uint32_t rights, char *out)
{
    static const char *const words[] = {"inference", "jobs", "cluster", "metrics", "admin"};
    size_t len = 0;
    *out = '\0';
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (rights & 1u << i)
            len += (size_t)snprintf(out + len, AUTH_RIGHTS_TEXT_BYTES - len, "%s%s",
                                    len ? ", " : "", words[i]);
    if (!len)
        strcpy(out, "none");
}

static int deny(const struct rpc_identity *who, uint32_t missing, struct ltd_err *err)
{
    char text[AUTH_RIGHTS_TEXT_BYTES];
    auth_rights_text(missing, text);
    ltd_fail(err, LTD_E_PERMISSION, "%s lacks the right %s", who->name, text);
    return ltd_err_reason(err, "ROLE");
}

int auth_authorize(void *arg, const struct rpc_question *question, struct rpc_identity *out,
                   struct ltd_err *err)
{
    struct auth *auth = arg;
    uint32_t needed = question->method ? question->method->rights : question->rights;
    *out = (struct rpc_identity){0};
    if (!auth->path) {
        out->rights = AUTH_ALL;
        return 0;
    }
    if (!needed)
        return 0;
    if (identify(auth, question, out, err) != 0) {
        auth->stats.n_unauthenticated++;
        return -1;
    }
    if ((out->rights & needed) == needed)
        return 0;
    auth->stats.n_denied++;
    return deny(out, needed & ~out->rights, err);
}

void auth_limits(const struct auth *auth, const char *name, struct quota_limits *out)
{
    *out = (struct quota_limits){0};
    /* Nobody in particular has no limits, nor has who owns the service. */
    if (auth->path && *name && strncmp(name, "uid:", 4) != 0)
        auth_table_limits(&auth->table, name, out);
}

void auth_stats(const struct auth *auth, struct auth_stats *out)
{
    *out = auth->stats;
}
