/* SPDX-License-Identifier: Apache-2.0 */
/* rpc/authorize.c - see rpc/authorize.h. */
#include "rpc/authorize.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

const char *rpc_bearer_token(const char *value, size_t len, size_t *token_len)
{
    static const char scheme[] = "Bearer ";
    const size_t skip = sizeof scheme - 1;
    if (!value || len < skip || strncasecmp(value, scheme, skip) != 0)
        return NULL;
    *token_len = len - skip;
    return value + skip;
}

void rpc_bearer_take(struct rpc_bearer *bearer, const uint8_t *value, size_t len)
{
    size_t token_len;
    const char *token = rpc_bearer_token((const char *)value, len, &token_len);
    if (bearer->seen)
        bearer->broken = true; /* whose token counts? nobody's */
    bearer->seen = true;
    if (bearer->broken || !token)
        return;
    bearer->value = malloc(len);
    if (!bearer->value) {
        bearer->broken = true;
        return;
    }
    memcpy(bearer->value, value, len);
    bearer->value_len = len;
    bearer->text = bearer->value + (len - token_len);
    bearer->len = token_len;
}

void rpc_bearer_wipe(struct rpc_bearer *bearer)
{
    if (bearer->value)
        explicit_bzero(bearer->value, bearer->value_len);
    free(bearer->value);
    *bearer = (struct rpc_bearer){0};
}

static int ask(const struct rpc_conn *conn, const struct rpc_method *method, uint32_t rights,
               const struct rpc_bearer *bearer, struct rpc_identity *out, struct ltd_err *err)
{
    const struct rpc_shared *shared = conn->shared;
    if (!shared->authorize)
        return 0;
    if (bearer->broken)
        return ltd_fail(err, LTD_E_UNAUTHENTICATED,
                        "the authorization header must be there once, as 'Bearer TOKEN'");
    const struct rpc_question question = {
        .peer = &conn->who,
        .method = method,
        .rights = rights,
        .bearer = bearer->text,
        .bearer_len = bearer->len,
    };
    return shared->authorize(shared->authorize_arg, &question, out, err);
}

int rpc_authorize(const struct rpc_conn *conn, const struct rpc_method *method, uint32_t rights,
                  struct rpc_bearer *bearer, struct rpc_identity *out, struct ltd_err *err)
{
    memset(out, 0, sizeof *out);
    int rv = ask(conn, method, rights, bearer, out, err);
    rpc_bearer_wipe(bearer);
    return rv;
}
