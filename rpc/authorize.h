/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rpc/authorize.h - the question "may this peer do that?", put to the server's authorize function.
 *
 * Calls and pages, HTTP/2 and HTTP/1.1, ask here, so that a token is read in one way only. A token
 * is a secret: here it is kept from the header field to the answer and wiped then, and no log line and
 * no message has it. (The session's header compression may still hold the field; that memory goes with
 * the connection. What the server's authorize function remembers is its own affair.)
 *
 * Threads: the loop's thread.
 */
#ifndef LATENTD_RPC_AUTHORIZE_H
#define LATENTD_RPC_AUTHORIZE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "rpc/call.h"
#include "rpc/conn.h"
#include "rpc/service.h"

/* What the authorization header holds; all zeros: it has not come. */
struct rpc_bearer {
    char *value; /* owned, the header's whole value; NULL: no header, or one of another scheme */
    size_t value_len;
    const char *text; /* [len], the token inside `value`, or NULL */
    size_t len;
    bool seen;
    bool broken; /* the header came twice, or there was no memory for it */
};

/* rpc_bearer_token - the text behind "Bearer ", a word without case, in a header's value (which may be
 * NULL); NULL when it is something else. RFC 6750 §2.1. */
const char *rpc_bearer_token(const char *value, size_t len, size_t *token_len);

/* rpc_bearer_take - keep the value of an authorization header when it is "Bearer TOKEN". */
void rpc_bearer_take(struct rpc_bearer *bearer, const uint8_t *value, size_t len);

/* rpc_bearer_wipe - overwrite and forget. */
void rpc_bearer_wipe(struct rpc_bearer *bearer);

/*
 * rpc_authorize - ask whether the connection's peer may call `method` (NULL: a page with `rights`).
 *
 * bearer  wiped, whatever the answer
 * out     zeros when the server has no authorize function
 *
 * Errors:  what the authorize function says; LTD_E_UNAUTHENTICATED for a header that came twice.
 */
int rpc_authorize(const struct rpc_conn *conn, const struct rpc_method *method, uint32_t rights,
                  struct rpc_bearer *bearer, struct rpc_identity *out, struct ltd_err *err);

#endif
