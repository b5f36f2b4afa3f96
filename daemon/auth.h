/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/auth.h - who is asking, and what he may: the access file, and the answer to rpc_server.
 *
 *     access file ──▶ entries ──▶ auth_authorize(token, uid, certificate) ──▶ name and rights
 *                        ▲
 *     SIGUSR2 ──▶ auth_reload (all of the new file, or none of it)
 *
 * Without a file everybody is "" and may do everything. With one, what is not in it is refused.
 * The file has tokens as SHA-256, compared in constant time over all entries; the last few right ones are
 * remembered as they came (daemon/auth_recent.h).
 *
 * Does not: know jobs (the services ask for the identity of a call), count what is used
 * (daemon/quota.h).
 * Threads: loop thread.
 * Rules: docs/access.md.
 */
#ifndef LATENTD_DAEMON_AUTH_H
#define LATENTD_DAEMON_AUTH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "daemon/quota.h"
#include "rpc/server.h"

/* Bits of rpc_identity.rights and rpc_method.rights. */
enum auth_right {
    AUTH_INFERENCE = 1u << 0,
    AUTH_JOBS = 1u << 1,
    AUTH_CLUSTER = 1u << 2,
    AUTH_METRICS = 1u << 3,
    AUTH_ADMIN = 1u << 4, /* whoever has it has all */
    AUTH_ALL = (1u << 5) - 1,
};

struct auth;

struct auth_stats {
    uint64_t n_unauthenticated; /* since start */
    uint64_t n_denied;
};

/*
 * auth_create - read the access file.
 *
 * path  NULL or "": no access control. Copied.
 *
 * Errors: LTD_E_INVALID naming file, line and what is wrong with it; the message holds the first
 *         mistake and how many there are, and each has been written to the log. LTD_E_EXHAUSTED.
 * Returns owned.
 */
struct auth *auth_create(const char *path, struct ltd_err *err);

/* auth_reload - read the same file again; on failure (as above) the old entries stay in use. */
int auth_reload(struct auth *auth, struct ltd_err *err);

/* NULL is fine. */
void auth_destroy(struct auth *take_auth);

/* Whether there is an access file. */
bool auth_is_on(const struct auth *auth);

/*
 * auth_authorize - an rpc_authorize_fn; `auth` is a struct auth.
 *
 * A method or page without rights is open: the identity is then nobody's, without rights.
 * Errors: LTD_E_UNAUTHENTICATED (TOKEN_MISSING, TOKEN_WRONG), LTD_E_PERMISSION (ROLE).
 */
int auth_authorize(void *auth, const struct rpc_question *question, struct rpc_identity *out,
                   struct ltd_err *err);

/* auth_limits - what callers of this name may have together; zeros: no limits. */
void auth_limits(const struct auth *auth, const char *name, struct quota_limits *out);

void auth_stats(const struct auth *auth, struct auth_stats *out);

/* "inference, jobs" for logs and messages; `out` has room for AUTH_RIGHTS_TEXT_BYTES. */
#define AUTH_RIGHTS_TEXT_BYTES 64
void auth_rights_text(uint32_t rights, char *out);

#endif
