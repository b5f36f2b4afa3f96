/* SPDX-License-Identifier: Apache-2.0 */
/* rpc/client_call.c - one call of a client: see rpc/client_impl.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "rpc/client_impl.h"
#include "rpc/grpc_meta.h"
#include "rpc/status.h"
#include "rpc/status_details.h"

/* Largest response message when the request names no limit: far above ours, far below memory. */
#define RESPONSE_BYTES ((size_t)64 << 20)

/* A path is a header field: longer ones would only be refused by the server's header limit. */
#define PATH_BYTES 1024

/* ---- life ---- */

static void on_deadline(void *arg)
{
    latentd_call *call = arg;
    client_call_end(call, RPC_DEADLINE_EXCEEDED, false, "no answer in time");
}

/* '/' and then visible ASCII: anything else cannot stand in a header field. */
static bool is_path(const char *path)
{
    if (!path || path[0] != '/' || strnlen(path, PATH_BYTES) == PATH_BYTES)
        return false;
    for (const char *c = path; *c; c++)
        if (*c <= ' ' || *c > '~')
            return false;
    return true;
}

static int frame_request(latentd_call *call, const latentd_request *request)
{
    uint8_t prefix[RPC_FRAME_PREFIX_BYTES];
    rpc_frame_prefix((uint32_t)request->len, prefix);
    ltd_bytes_put(&call->request, prefix, sizeof prefix);
    ltd_bytes_put(&call->request, request->data, request->len);
    return call->request.failed ? -1 : 0;
}

latentd_call *client_call_create(latentd_client *client, const latentd_request *request,
                                 latentd_error *err)
{
    if (!is_path(request->path)) {
        client_fail(err, RPC_INVALID_ARGUMENT, "method path '%.100s': expected /service/method",
                    request->path ? request->path : "");
        return NULL;
    }
    if (request->len > UINT32_MAX) {
        client_fail(err, RPC_INVALID_ARGUMENT, "request of %zu bytes, gRPC's largest is %u",
                    request->len, UINT32_MAX);
        return NULL;
    }
    latentd_call *call = calloc(1, sizeof *call);
    if (call)
        call->path = strdup(request->path);
    if (!call || !call->path || frame_request(call, request) != 0) {
        client_fail(err, RPC_RESOURCE_EXHAUSTED, "no memory for a call");
        if (call)
            client_call_destroy(call);
        return NULL;
    }
    call->client = client;
    call->grpc_status = -1;
    call->timeout_ms = request->timeout_ms;
    call->deadline_ns = request->timeout_ms ? ltd_deadline_ns(request->timeout_ms) : LTD_NEVER;
    rpc_timer_init(&call->timer, on_deadline, call);
    rpc_timer_set(&client->timers, &call->timer, call->deadline_ns);
    rpc_frame_reader_init(&call->reader, request->max_response_bytes ? request->max_response_bytes
                                                                     : RESPONSE_BYTES);
    return call;
}

void client_call_destroy(latentd_call *call)
{
    rpc_frame_reader_fini(&call->reader);
    ltd_bytes_fini(&call->request);
    free(call->path);
    free(call);
}

/* ---- end ---- */

static void leave_conn(latentd_call *call)
{
    struct client_conn *conn = call->conn;
    if (call->prev)
        call->prev->next = call->next;
    else
        conn->calls = call->next;
    if (call->next)
        call->next->prev = call->prev;
    else
        conn->calls_tail = call->prev;
    call->conn = NULL;
    call->prev = call->next = NULL;
}

void client_call_end(latentd_call *call, int status, bool from_server, const char *message)
{
    if (call->ended)
        return;
    latentd_client *client = call->client;
    call->ended = true;
    client_fail(&call->result, status, "%s", message);
    call->result.from_server = from_server;
    if (from_server && status != RPC_OK) {
        call->result.retry_after_ms = call->retry_after_ms;
        memcpy(call->result.reason, call->reason, sizeof call->reason);
    }
    rpc_timer_clear(&client->timers, &call->timer);

    struct client_conn *conn = call->conn;
    if (conn->h2 && call->stream_id > 0) {
        nghttp2_session_set_stream_user_data(conn->h2, call->stream_id, NULL);
        if (!from_server)
            nghttp2_submit_rst_stream(conn->h2, NGHTTP2_FLAG_NONE, call->stream_id, NGHTTP2_CANCEL);
    }
    leave_conn(call);
    *client->results_last = call;
    client->results_last = &call->next;
}

/* ---- request ---- */

static ssize_t read_request(nghttp2_session *h2, int32_t stream_id, uint8_t *out, size_t out_bytes,
                            uint32_t *flags, nghttp2_data_source *source, void *user_data)
{
    /* By stream and not by source->ptr: an ended call is gone before its reset is on the wire. */
    latentd_call *call = nghttp2_session_get_stream_user_data(h2, stream_id);
    (void)source;
    (void)user_data;
    if (!call)
        return NGHTTP2_ERR_DEFERRED;
    size_t left = call->request.len - call->request_sent;
    size_t n = left < out_bytes ? left : out_bytes;
    memcpy(out, call->request.data + call->request_sent, n);
    call->request_sent += n;
    if (n == left) {
        *flags |= NGHTTP2_DATA_FLAG_EOF;
        ltd_bytes_fini(&call->request);
        call->request_sent = 0;
    }
    return (ssize_t)n;
}

static nghttp2_nv field(const char *name, const char *value)
{
    return (nghttp2_nv){(uint8_t *)name, (uint8_t *)value, strlen(name), strlen(value),
                        NGHTTP2_NV_FLAG_NONE};
}

static const char *authority(const latentd_client *client)
{
    if (client->address.is_unix)
        return "localhost";
    return client->address.is_tls ? client->address_text + strlen("tls:") : client->address_text;
}

void client_call_submit(latentd_call *call)
{
    latentd_client *client = call->client;
    char timeout[RPC_TIMEOUT_BYTES];
    nghttp2_nv fields[10] = {
        field(":method", "POST"),
        field(":scheme", client->tls ? "https" : "http"),
        field(":path", call->path),
        field(":authority", authority(client)),
        field("te", "trailers"),
        field("content-type", "application/grpc"),
        field("user-agent", "latentd-client"),
        field("grpc-accept-encoding", "identity"),
    };
    size_t n_fields = 8;
    if (call->timeout_ms) {
        /* What is left of it: connecting may have taken a part. */
        uint64_t now = ltd_now_ns();
        uint64_t left_ns = call->deadline_ns > now ? call->deadline_ns - now : 0;
        rpc_meta_timeout_format(left_ns / LTD_NS_PER_MS + 1, timeout);
        fields[n_fields++] = field("grpc-timeout", timeout);
    }
    if (client->authorization) {
        fields[n_fields] = field("authorization", client->authorization);
        fields[n_fields++].flags = NGHTTP2_NV_FLAG_NO_INDEX; /* in no table, RFC 7541 §7.1.3 */
    }
    const nghttp2_data_provider provider = {.read_callback = read_request};
    int32_t id = nghttp2_submit_request(call->conn->h2, NULL, fields, n_fields, &provider, call);
    if (id < 0)
        client_call_end(call, RPC_UNAVAILABLE, false, nghttp2_strerror(id));
    else
        call->stream_id = id;
}

/* ---- response ---- */

static bool is_name(const uint8_t *name, size_t len, const char *word)
{
    return strlen(word) == len && memcmp(name, word, len) == 0;
}

static void take_message(latentd_call *call, const uint8_t *value, size_t len)
{
    char decoded[3 * sizeof call->message];
    if (len > sizeof decoded)
        len = sizeof decoded;
    size_t n = rpc_meta_percent_decode(value, len, decoded);
    latentd_error tidy;
    client_fail(&tidy, 0, "%.*s", (int)n, decoded);
    memcpy(call->message, tidy.message, sizeof call->message);
}

static void take_details(latentd_call *call, const uint8_t *value, size_t len)
{
    _Static_assert(sizeof call->reason >= RPC_REASON_BYTES, "a reason fits");
    call->retry_after_ms = rpc_status_details_retry_ms(value, len);
    rpc_status_details_reason(value, len, call->reason);
}

void client_call_header(latentd_call *call, const uint8_t *name, size_t name_len,
                        const uint8_t *value, size_t value_len)
{
    if (is_name(name, name_len, ":status"))
        call->http_status = rpc_meta_status_parse(value, value_len);
    else if (is_name(name, name_len, "content-type"))
        call->is_grpc = rpc_meta_is_grpc_content(value, value_len);
    else if (is_name(name, name_len, "grpc-status"))
        call->grpc_status = rpc_meta_status_parse(value, value_len);
    else if (is_name(name, name_len, "grpc-message"))
        take_message(call, value, value_len);
    else if (is_name(name, name_len, RPC_STATUS_DETAILS_NAME))
        take_details(call, value, value_len);
}

/* End the call over a message it cannot take. MORE and MESSAGE are not errors. */
static void judge(latentd_call *call, enum rpc_frame verdict)
{
    char message[160];
    switch (verdict) {
    case RPC_FRAME_MORE:
    case RPC_FRAME_MESSAGE:
        return;
    case RPC_FRAME_TOO_LARGE:
        snprintf(message, sizeof message, "response message of %u bytes, at most %zu are accepted",
                 call->reader.body_bytes, call->reader.max_bytes);
        client_call_end(call, RPC_RESOURCE_EXHAUSTED, false, message);
        return;
    case RPC_FRAME_COMPRESSED:
        client_call_end(call, RPC_INTERNAL, false, "compressed response that was not asked for");
        return;
    case RPC_FRAME_BAD_FLAG:
        client_call_end(call, RPC_INTERNAL, false, "response message with an unknown flag");
        return;
    case RPC_FRAME_NO_MEMORY:
        client_call_end(call, RPC_RESOURCE_EXHAUSTED, false, "no memory for the response");
        return;
    }
}

static void deliver_message(latentd_call *call)
{
    static const uint8_t empty[1];
    const struct ltd_bytes *body = &call->reader.body;
    int rv = 0;
    if (call->events.on_message)
        rv = call->events.on_message(call->arg, body->len ? body->data : empty, body->len);
    if (rv != 0)
        client_call_end(call, RPC_CANCELLED, false, "cancelled by the caller");
    rpc_frame_next(&call->reader);
}

void client_call_data(latentd_call *call, const uint8_t *data, size_t len)
{
    /* An answer that is not gRPC has a body for browsers; its HTTP status is what counts. */
    if (call->http_status != 200 || !call->is_grpc)
        return;
    while (len > 0 && !call->ended) {
        size_t used;
        enum rpc_frame verdict = rpc_frame_feed(&call->reader, data, len, &used);
        data += used;
        len -= used;
        if (verdict == RPC_FRAME_MESSAGE)
            deliver_message(call);
        else
            judge(call, verdict);
    }
}

static void end_by_http(latentd_call *call)
{
    char message[80];
    snprintf(message, sizeof message, "HTTP status %d, not a gRPC answer", call->http_status);
    client_call_end(call, rpc_status_from_http(call->http_status), true, message);
}

void client_call_closed(latentd_call *call, uint32_t h2_error)
{
    char message[120];
    call->stream_id = 0; /* the session knows it no more: nothing to reset */
    if (call->grpc_status > RPC_UNAUTHENTICATED)
        call->grpc_status = RPC_UNKNOWN;
    if (call->grpc_status == RPC_OK && !rpc_frame_at_boundary(&call->reader)) {
        client_call_end(call, RPC_INTERNAL, false, "the response ended inside a message");
    } else if (call->grpc_status >= 0) {
        client_call_end(call, call->grpc_status, true, call->message);
    } else if (call->http_status != 0 && (call->http_status != 200 || !call->is_grpc)) {
        end_by_http(call);
    } else if (h2_error == NGHTTP2_NO_ERROR) {
        client_call_end(call, RPC_UNKNOWN, false, "the response ended without a grpc-status");
    } else {
        snprintf(message, sizeof message, "stream reset by the server: %s",
                 nghttp2_http2_strerror(h2_error));
        client_call_end(call, rpc_status_from_h2(h2_error), true, message);
    }
}
