/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/auth_recent.h - tokens that were found right a moment ago, so that not each call hashes its own.
 *
 * Hashing a token and comparing it with every entry is a good part of what a small call costs. Here the
 * last tokens that were right are kept as they came, each with its entry. Only right tokens get in, so
 * a wrong one meets the hash and every entry as before, and the time says nothing but "right, and not
 * for the first time".
 *
 * It means that live tokens lie in memory. They do so anyway, in the header compression of each
 * connection that sent one; here they are in a page of their own that no core dump and no child gets,
 * and are wiped when the entries go.
 *
 * Threads: those of daemon/auth.h.
 */
#ifndef LATENTD_DAEMON_AUTH_RECENT_H
#define LATENTD_DAEMON_AUTH_RECENT_H

#include <stddef.h>

struct auth_entry;
struct auth_recent;

/* Longer tokens are hashed each time. */
#define AUTH_RECENT_TOKEN_BYTES 240

/* auth_recent_create - empty; NULL without memory, which the functions below take for always empty. */
struct auth_recent *auth_recent_create(void);

/* Wipes. NULL is fine. */
void auth_recent_destroy(struct auth_recent *take_recent);

/* auth_recent_find - the entry that was put with exactly this token, or NULL. */
const struct auth_entry *auth_recent_find(const struct auth_recent *recent, const char *token,
                                          size_t len);

/* auth_recent_put - `token` has been found to be that of `entry` (borrowed until the next forget). */
void auth_recent_put(struct auth_recent *recent, const char *token, size_t len,
                     const struct auth_entry *entry);

/* auth_recent_forget - the entries are about to go. */
void auth_recent_forget(struct auth_recent *recent);

#endif
