/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rpc/stream.c - the life of a call, from its first header to free.
 *
 * Everything a client can get wrong in the headers of a request is judged here, in this order, and
 * answered without a handler: header size, method and content type (HTTP 405, 415), path,
 * grpc-timeout, draining, and last whether this caller may. Plain requests for pages go another way
 * (stream_page.c). What follows the headers is request.c's.
 * docs/wire.md lists the statuses.
 */
#include "rpc/stream.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "rpc/grpc_meta.h"

/* Header decoding goes on in silence up to this multiple of the limit, then the connection is cut:
 * one octet of HPACK can stand for 4 KiB, so a refused request can still cost without bound. */
#define HEADER_CUT_FACTOR 64

static void on_timer(void *arg);

/* ---- life ---- */

struct rpc_call *rpc_stream_open(struct rpc_conn *conn, int32_t stream_id)
{
    struct rpc_call *call = calloc(1, sizeof *call);
    if (!call)
        return NULL;
    call->conn = conn;
    call->stream_id = stream_id;
    call->opened_ns = ltd_now_ns();
    call->deadline_ns = LTD_NEVER;
    call->phase = RPC_PHASE_HEADERS;
    rpc_timer_init(&call->timer, on_timer, call);
    call->next = conn->calls;
    if (call->next)
        call->next->prev = call;
    conn->calls = call;
    conn->n_calls++;
    rpc_stream_arm(call);
    return call;
}

/* A request that is no gRPC call (405, 415) has no status to be counted by. */
static void count_end(const struct rpc_call *call)
{
    struct rpc_shared *shared = call->conn->shared;
    if (call->verb != RPC_VERB_POST || !call->is_grpc)
        return;
    size_t idx = call->method ? (size_t)(call->method - shared->methods) : shared->n_methods;
    /* OK is only what the client could have seen. */
    bool is_told = call->finished && (call->trailers_sent || call->status != RPC_OK);
    shared->method_stats[idx].n_by_status[is_told ? call->status : RPC_CANCELLED]++;
    shared->method_stats[idx].total_ns += ltd_now_ns() - call->opened_ns;
}

void rpc_stream_destroy(struct rpc_call *call)
{
    struct rpc_conn *conn = call->conn;
    ltd_assert(call->phase != RPC_PHASE_RUNNING && call->phase != RPC_PHASE_FINISHING, call->phase,
               call->stream_id);
    rpc_timer_clear(&conn->shared->timers, &call->timer);
    count_end(call);
    rpc_request_drop(call);
    rpc_stream_drop_queue(call);
    rpc_bearer_wipe(&call->bearer);
    rpc_fields_fini(&call->metadata);
    rpc_fields_fini(&call->headers);
    rpc_fields_fini(&call->trailers);
    if (call->prev)
        call->prev->next = call->next;
    else
        conn->calls = call->next;
    if (call->next)
        call->next->prev = call->prev;
    if (--conn->n_calls == 0)
        conn->idle_ns = ltd_now_ns();
    free(call->path);
    free(call->message);
    free(call->details);
    free(call);
}

void rpc_stream_detach(struct rpc_call *call, enum rpc_end reason)
{
    bool known = call->phase == RPC_PHASE_RUNNING || call->phase == RPC_PHASE_FINISHING;
    call->phase = RPC_PHASE_ANSWERED;
    rpc_request_drop(call);
    if (call->wants_room) {
        call->wants_room = false;
        call->conn->n_wanting--;
    }
    if (!known)
        return;
    struct rpc_shared *shared = call->conn->shared;
    shared->stats.n_calls--;
    if (!call->ops || !call->ops->on_end)
        return;
    shared->n_in_callback++;
    call->ops->on_end(call, call->ops_arg, reason);
    shared->n_in_callback--;
    call->ops = NULL;
}

/* ---- refusals ---- */

void rpc_stream_refuse(struct rpc_call *call, enum rpc_status status, const char *message)
{
    rpc_stream_detach(call, RPC_END_REFUSED);
    rpc_stream_answer(call, status, message);
}

static void refuse_http(struct rpc_call *call, const char *http_status)
{
    call->phase = RPC_PHASE_ANSWERED;
    rpc_stream_answer_http(call, http_status);
}

/* ---- headers ---- */

static const struct rpc_method *find_method(const struct rpc_shared *shared, const uint8_t *path,
                                            size_t len)
{
    for (size_t i = 0; i < shared->n_methods; i++) {
        const struct rpc_method *m = &shared->methods[i];
        if (strlen(m->path) == len && memcmp(m->path, path, len) == 0)
            return m;
    }
    return NULL;
}

static bool equals(const uint8_t *text, size_t len, const char *word)
{
    return strlen(word) == len && memcmp(text, word, len) == 0;
}

static void take_metadata(struct rpc_call *call, const uint8_t *name, size_t name_len,
                          const uint8_t *value, size_t value_len)
{
    bool bad;
    if (!call->method || !call->method->wants_metadata || !rpc_field_is_custom(name, name_len))
        return;
    if (rpc_fields_receive(&call->metadata, name, name_len, value, value_len, &bad) == 0)
        return;
    call->bad_metadata |= bad;
    call->is_short |= !bad;
}

static void take_timeout(struct rpc_call *call, const uint8_t *value, size_t len)
{
    uint64_t ns;
    if (rpc_meta_timeout_parse(value, len, &ns) != 0)
        call->bad_timeout = true;
    else
        call->deadline_ns = ns > LTD_NEVER - call->opened_ns ? LTD_NEVER : call->opened_ns + ns;
}

static void take_path(struct rpc_call *call, const uint8_t *path, size_t len)
{
    call->method = call->conn->pages_only ? NULL : find_method(call->conn->shared, path, len);
    if (!call->method)
        rpc_stream_keep_path(call, path, len);
}

static enum rpc_verb verb_of(const uint8_t *value, size_t len)
{
    if (equals(value, len, "POST"))
        return RPC_VERB_POST;
    if (equals(value, len, "GET"))
        return RPC_VERB_GET;
    return equals(value, len, "HEAD") ? RPC_VERB_HEAD : RPC_VERB_OTHER;
}

void rpc_stream_header(struct rpc_call *call, const uint8_t *name, size_t name_len,
                       const uint8_t *value, size_t value_len)
{
    struct rpc_conn *conn = call->conn;
    uint32_t limit = conn->shared->limits.max_header_bytes;
    if (call->phase != RPC_PHASE_HEADERS)
        return; /* trailers of a request: gRPC has none, HTTP/2 allows them */
    size_t field = name_len + value_len + RPC_FIELD_OVERHEAD_BYTES;
    uint64_t cut = (uint64_t)limit * HEADER_CUT_FACTOR;
    if (call->header_bytes + field > cut || call->header_bytes + field > UINT32_MAX) {
        rpc_conn_fail(conn, RPC_CLOSE_ABUSE, "headers without end");
        return;
    }
    call->header_bytes += (uint32_t)field;
    if (call->header_bytes > limit)
        return;
    if (equals(name, name_len, ":path"))
        take_path(call, value, value_len);
    else if (equals(name, name_len, ":method"))
        call->verb = verb_of(value, value_len);
    else if (equals(name, name_len, "content-type"))
        call->is_grpc = rpc_meta_is_grpc_content(value, value_len);
    else if (equals(name, name_len, "grpc-timeout"))
        take_timeout(call, value, value_len);
    else if (equals(name, name_len, "grpc-encoding"))
        call->coding = rpc_coding_parse(value, value_len);
    else if (equals(name, name_len, "grpc-accept-encoding"))
        call->accepts_gzip |= rpc_coding_list_has_gzip(value, value_len);
    else if (equals(name, name_len, "authorization"))
        rpc_bearer_take(&call->bearer, value, value_len);
    else
        take_metadata(call, name, name_len, value, value_len);
}

static void refuse_header_size(struct rpc_call *call)
{
    char message[120];
    snprintf(message, sizeof message, "request headers of %u bytes, at most %u are accepted",
             call->header_bytes, call->conn->shared->limits.max_header_bytes);
    rpc_stream_refuse(call, RPC_RESOURCE_EXHAUSTED, message);
}

/* What is wrong with the headers is answered; the phase tells. */
static void judge_headers(struct rpc_call *call)
{
    const struct rpc_shared *shared = call->conn->shared;
    if (call->header_bytes > shared->limits.max_header_bytes)
        refuse_header_size(call);
    else if (call->verb != RPC_VERB_POST)
        refuse_http(call, "405");
    else if (!call->is_grpc)
        refuse_http(call, "415");
    else if (!call->method)
        rpc_stream_refuse(call, RPC_UNIMPLEMENTED, "unknown service or method");
    else if (call->bad_timeout)
        rpc_stream_refuse(call, RPC_INTERNAL,
                          "grpc-timeout is not 1 to 8 digits and one of H M S m u n");
    else if (call->deadline_ns <= ltd_now_ns())
        rpc_stream_refuse(call, RPC_DEADLINE_EXCEEDED,
                          "the deadline had passed when the call arrived");
    else if (shared->draining) /* a connection that is merely too old still takes what crossed */
        rpc_stream_refuse(call, RPC_UNAVAILABLE, "the server is draining; try again");
    else if (call->bad_metadata)
        rpc_stream_refuse(call, RPC_INTERNAL,
                          "a metadata field whose name ends in -bin is not base64");
    else if (call->is_short)
        rpc_stream_refuse(call, RPC_RESOURCE_EXHAUSTED, "no memory for the request's metadata");
}

static void ask(struct rpc_call *call)
{
    struct ltd_err err = {0};
    if (rpc_authorize(call->conn, call->method, call->method->rights, &call->bearer,
                      &call->identity, &err) == 0)
        return;
    call->phase = RPC_PHASE_ANSWERED;
    rpc_stream_answer_err(call, &err);
}

/* A plain request: nothing of it is gRPC's, no deadline either. The token is kept for its end. */
static void begin_page(struct rpc_call *call)
{
    call->is_page = true;
    call->deadline_ns = LTD_NEVER;
    call->phase = RPC_PHASE_BODY;
    rpc_stream_arm(call);
}

void rpc_stream_headers_done(struct rpc_call *call)
{
    bool is_cut = call->header_bytes > call->conn->shared->limits.max_header_bytes;
    if (call->phase == RPC_PHASE_HEADERS && !is_cut && rpc_stream_is_page(call)) {
        begin_page(call);
        return;
    }
    if (call->phase == RPC_PHASE_HEADERS)
        judge_headers(call);
    if (call->phase == RPC_PHASE_HEADERS)
        ask(call);
    rpc_bearer_wipe(&call->bearer);
    if (call->phase == RPC_PHASE_HEADERS)
        rpc_request_begin(call);
    rpc_stream_arm(call);
}

void rpc_stream_closed(struct rpc_call *call)
{
    call->stream_closed = true;
    rpc_conn_defer(call->conn, call);
}

/* ---- outside the session ---- */

static void run_handler(struct rpc_call *call)
{
    const struct rpc_method *method = call->method;
    struct rpc_shared *shared = call->conn->shared;
    size_t len;
    const uint8_t *request = rpc_request_message(call, &len);
    call->phase = RPC_PHASE_RUNNING;
    shared->stats.n_calls++;
    shared->stats.n_calls_total++;
    shared->n_in_callback++;
    if (method->open)
        method->open(call, method->arg);
    else
        method->handler(call, request, len, method->arg);
    shared->n_in_callback--;
    if (!method->open)
        rpc_request_drop(call);
    rpc_stream_arm(call);
}

void rpc_stream_dispatch(struct rpc_call *call)
{
    if (call->phase == RPC_PHASE_READY && !call->stream_closed) {
        if (call->is_page)
            rpc_stream_answer_page(call);
        else if (rpc_request_is_plain(call))
            run_handler(call);
    }
    if (!call->stream_closed) {
        if (call->method && call->method->open)
            rpc_request_pump(call);
        return;
    }
    rpc_stream_detach(call, call->trailers_sent ? RPC_END_FINISHED : RPC_END_CANCELLED);
    rpc_stream_destroy(call);
}

/* ---- time ---- */

static uint64_t after_ms(uint64_t from_ns, uint32_t ms)
{
    return from_ns + (uint64_t)ms * LTD_NS_PER_MS;
}

/* When the request must be whole, or LTD_NEVER. */
static uint64_t request_due(const struct rpc_call *call)
{
    if (call->phase != RPC_PHASE_HEADERS && call->phase != RPC_PHASE_BODY)
        return LTD_NEVER;
    return after_ms(call->opened_ns, call->conn->shared->limits.request_ms);
}

/* When a reader that takes nothing is given up, or LTD_NEVER. */
static uint64_t stall_due(const struct rpc_call *call)
{
    if (rpc_call_queued_bytes(call) == 0)
        return LTD_NEVER;
    return after_ms(call->moved_ns, call->conn->shared->limits.write_stall_ms);
}

static uint64_t deadline_due(const struct rpc_call *call)
{
    /* Nothing can be answered inside a header block; headers_done looks at the deadline itself. */
    if (call->phase == RPC_PHASE_HEADERS || call->phase == RPC_PHASE_ANSWERED)
        return LTD_NEVER;
    return call->deadline_ns;
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

void rpc_stream_arm(struct rpc_call *call)
{
    uint64_t due = earlier(earlier(request_due(call), stall_due(call)), deadline_due(call));
    rpc_timer_set_earlier(&call->conn->shared->timers, &call->timer, due);
}

/* The timer may have been set for something that has moved on since: look, act or set it again. */
static void on_timer(void *arg)
{
    struct rpc_call *call = arg;
    uint64_t now = ltd_now_ns();
    if (deadline_due(call) <= now)
        rpc_stream_abort(call, RPC_END_DEADLINE, RPC_DEADLINE_EXCEEDED, "deadline exceeded");
    else if (request_due(call) <= now && call->phase == RPC_PHASE_HEADERS)
        rpc_conn_close(call->conn, RPC_CLOSE_PROTOCOL, "a header block that does not end");
    else if (request_due(call) <= now)
        rpc_stream_refuse(call, RPC_DEADLINE_EXCEEDED, "the request did not arrive in time");
    else if (stall_due(call) <= now)
        rpc_stream_abort(call, RPC_END_STALLED, RPC_RESOURCE_EXHAUSTED, "reader stalled");
    else
        rpc_stream_arm(call);
}
