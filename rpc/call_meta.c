/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rpc/call_meta.c - who calls, from where, and the fields around the messages (rpc/call.h).
 *
 * Fields of the request have been checked and decoded when they came (rpc/fields.h). Fields of the
 * answer are checked here, when a handler gives them, so that the session gets none that the peer
 * would take for a broken frame; they are base64 from then on where their name asks for it.
 */
#include <stdlib.h>
#include <string.h>

#include "rpc/base64.h"
#include "rpc/call.h"
#include "rpc/fields.h"
#include "rpc/stream.h"

/* Half of what clients take by default: gRPC's own fields need room too. */
#define OWN_FIELDS_BYTES ((size_t)8 * 1024)

const struct rpc_identity *rpc_call_identity(const struct rpc_call *call)
{
    return &call->identity;
}

const char *rpc_call_peer(const struct rpc_call *call)
{
    return call->conn->peer;
}

const char *rpc_call_peer_host(const struct rpc_call *call)
{
    return call->conn->peer_host;
}

const char *rpc_call_path(const struct rpc_call *call)
{
    return call->method->path;
}

uint64_t rpc_call_deadline_ns(const struct rpc_call *call)
{
    return call->deadline_ns;
}

const uint8_t *rpc_call_metadata(const struct rpc_call *call, const char *name, size_t *len)
{
    const struct rpc_field *field = rpc_fields_find(&call->metadata, name, strlen(name));
    *len = field ? field->value_len : 0;
    return field ? rpc_field_value(field) : NULL;
}

static int put_binary(struct rpc_fields *fields, const char *name, const void *value, size_t len)
{
    size_t text_len = rpc_base64_bytes(len);
    char *text = malloc(text_len ? text_len : 1);
    if (!text)
        return -1;
    rpc_base64_encode(value, len, text);
    int rv = rpc_fields_put(fields, name, strlen(name), text, text_len);
    free(text);
    return rv;
}

static int put(struct rpc_call *call, struct rpc_fields *fields, const char *name,
               const void *value, size_t len, struct ltd_err *err)
{
    size_t name_len = strlen(name);
    bool is_binary = rpc_field_is_binary(name, name_len);
    size_t bytes = call->headers.bytes + call->trailers.bytes + name_len + RPC_FIELD_OVERHEAD_BYTES;
    if (!rpc_field_is_custom((const uint8_t *)name, name_len))
        return ltd_fail(err, LTD_E_INVALID, "metadata field '%s': not a name of our own to give",
                        name);
    if (!is_binary && !rpc_field_is_ascii(value, len))
        return ltd_fail(err, LTD_E_INVALID,
                        "metadata field %s: a value is printable ASCII, or the name ends in -bin",
                        name);
    if (len > OWN_FIELDS_BYTES ||
        bytes + (is_binary ? rpc_base64_bytes(len) : len) > OWN_FIELDS_BYTES ||
        call->headers.n + call->trailers.n >= RPC_CALL_MAX_FIELDS)
        return ltd_fail(err, LTD_E_EXHAUSTED,
                        "metadata field %s of %zu bytes: an answer has room for %zu in all", name,
                        len, OWN_FIELDS_BYTES);
    if ((is_binary ? put_binary(fields, name, value, len)
                   : rpc_fields_put(fields, name, name_len, value, len)) != 0)
        return ltd_fail(err, LTD_E_EXHAUSTED, "no memory for metadata field %s", name);
    return 0;
}

int rpc_call_put_header(struct rpc_call *call, const char *name, const void *value, size_t len,
                        struct ltd_err *err)
{
    if (call->headers_submitted || call->phase != RPC_PHASE_RUNNING)
        return ltd_fail(err, LTD_E_PRECONDITION, "metadata field %s: the headers are gone already",
                        name);
    return put(call, &call->headers, name, value, len, err);
}

int rpc_call_put_trailer(struct rpc_call *call, const char *name, const void *value, size_t len,
                         struct ltd_err *err)
{
    if (call->phase != RPC_PHASE_RUNNING)
        return ltd_fail(err, LTD_E_PRECONDITION, "metadata field %s: the call is finished already",
                        name);
    return put(call, &call->trailers, name, value, len, err);
}
