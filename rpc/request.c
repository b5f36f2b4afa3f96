/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rpc/request.c - what a client sends behind its headers: one message, or a stream of them.
 *
 *     one message     DATA ──▶ reader ──END_STREAM──▶ READY, the handler runs outside the session
 *     a stream        DATA ──▶ backlog │ outside the session: reader ──▶ on_message, one by one
 *
 * The one message is put together as its bytes come, and the stream's window is given back at once:
 * the method's own limit bounds it. The bytes of a streaming client wait in the backlog and their
 * window is given back as they leave it, so a handler that holds back (rpc_call_hold_requests) slows
 * its client down: at most one window and one message are in memory for it.
 *
 * A compressed message is inflated outside the session too, a slice at a time: what does not fit into
 * the turn's share of work (rpc_shared.work_left) is put off to the next turn of the loop.
 *
 * All of it is counted in the connection and in the server as it grows, and given back when the
 * message was taken or the call is refused, whichever comes first.
 */
#include <stdio.h>
#include <string.h>

#include "rpc/stream.h"

/* One call of zlib: some 50 us. */
#define SLICE_BYTES ((size_t)64 * 1024)

static void count_input(struct rpc_call *call, size_t plus, size_t minus)
{
    call->input_bytes += plus - minus;
    call->conn->input_bytes += plus - minus;
    call->conn->shared->stats.buffered_bytes += plus - minus;
}

/* The client may send as many bytes more on this stream. */
static void give_window(struct rpc_call *call, size_t len)
{
    if (len > 0 && !call->stream_closed && call->conn->h2)
        nghttp2_session_consume_stream(call->conn->h2, call->stream_id, len);
}

void rpc_request_drop(struct rpc_call *call)
{
    count_input(call, 0, call->input_bytes);
    give_window(call, call->backlog.len - call->backlog_begin);
    rpc_frame_reader_fini(&call->reader);
    rpc_inflater_destroy(call->inflater);
    call->inflater = NULL;
    ltd_bytes_fini(&call->inflated);
    ltd_bytes_fini(&call->backlog);
    call->backlog_begin = 0;
}

void rpc_request_begin(struct rpc_call *call)
{
    rpc_frame_reader_init(&call->reader, call->method->max_request_bytes);
    call->reader.takes_compressed =
        call->coding == RPC_CODING_GZIP || call->coding == RPC_CODING_DEFLATE;
    call->phase = RPC_PHASE_BODY;
    if (!call->method->open)
        return;
    call->phase = RPC_PHASE_READY;
    rpc_conn_defer(call->conn, call);
}

/* ---- verdicts ---- */

static void refuse_message_size(struct rpc_call *call)
{
    char message[160];
    snprintf(message, sizeof message, "request message of %u bytes, %s takes at most %zu",
             call->reader.body_bytes, call->method->path, call->method->max_request_bytes);
    rpc_stream_refuse(call, RPC_RESOURCE_EXHAUSTED, message);
}

static void refuse_compressed(struct rpc_call *call)
{
    if (call->coding == RPC_CODING_UNKNOWN)
        rpc_stream_refuse(call, RPC_UNIMPLEMENTED,
                          "grpc-encoding is not one of " RPC_CODINGS_ACCEPTED);
    else
        rpc_stream_refuse(call, RPC_INTERNAL, "compressed message without a grpc-encoding");
}

static void judge(struct rpc_call *call, enum rpc_frame verdict)
{
    switch (verdict) {
    case RPC_FRAME_MORE:
        break;
    case RPC_FRAME_MESSAGE:
        call->has_message = true;
        break;
    case RPC_FRAME_TOO_LARGE:
        refuse_message_size(call);
        break;
    case RPC_FRAME_COMPRESSED:
        refuse_compressed(call);
        break;
    case RPC_FRAME_BAD_FLAG:
        rpc_stream_refuse(call, RPC_INTERNAL, "message flag is neither 0 nor 1");
        break;
    case RPC_FRAME_NO_MEMORY:
        rpc_stream_refuse(call, RPC_RESOURCE_EXHAUSTED, "no memory for the request");
        break;
    }
}

/* Room for `len` more bytes of unfinished requests, on this connection and in the server? */
static bool has_room(const struct rpc_call *call, size_t len)
{
    const struct rpc_shared *shared = call->conn->shared;
    return call->conn->input_bytes + len <= shared->limits.max_input_bytes &&
           shared->stats.buffered_bytes + len <= shared->limits.max_total_bytes;
}

static const char no_room[] = "too many bytes of unfinished requests";

/* Feed the reader; how many of the bytes it used. What it keeps is counted. */
static size_t feed(struct rpc_call *call, const uint8_t *data, size_t len)
{
    size_t used;
    size_t before = call->reader.body.len;
    enum rpc_frame verdict = rpc_frame_feed(&call->reader, data, len, &used);
    count_input(call, call->reader.body.len - before, 0);
    judge(call, verdict);
    return used;
}

/* ---- compressed messages ---- */

static void refuse_inflated(struct rpc_call *call, enum rpc_inflated verdict)
{
    char message[160];
    switch (verdict) {
    case RPC_INFLATED_MORE:
    case RPC_INFLATED_DONE:
        break;
    case RPC_INFLATED_TOO_LARGE:
        snprintf(message, sizeof message,
                 "request message is larger than %zu bytes when decompressed, %s takes no more",
                 call->method->max_request_bytes, call->method->path);
        rpc_stream_refuse(call, RPC_RESOURCE_EXHAUSTED, message);
        break;
    case RPC_INFLATED_BAD:
        rpc_stream_refuse(call, RPC_INTERNAL, "compressed message is cut or damaged");
        break;
    case RPC_INFLATED_NO_MEMORY:
        rpc_stream_refuse(call, RPC_RESOURCE_EXHAUSTED, "no memory for the request");
        break;
    }
}

static void end_inflater(struct rpc_call *call)
{
    rpc_inflater_destroy(call->inflater);
    call->inflater = NULL;
    count_input(call, 0, RPC_INFLATER_BYTES);
}

static enum rpc_inflated inflate_slice(struct rpc_call *call)
{
    struct rpc_shared *shared = call->conn->shared;
    size_t before = call->inflated.len;
    if (!has_room(call, SLICE_BYTES))
        return RPC_INFLATED_NO_MEMORY;
    enum rpc_inflated verdict = rpc_inflater_step(call->inflater, &call->inflated,
                                                  call->method->max_request_bytes, SLICE_BYTES);
    size_t n = call->inflated.len - before;
    count_input(call, n, 0);
    shared->work_left -= n < shared->work_left ? n : shared->work_left;
    return verdict;
}

/* The message in the reader is compressed: go on with it. True when it is done. */
static bool inflate_more(struct rpc_call *call)
{
    enum rpc_inflated verdict = RPC_INFLATED_MORE;
    if (!call->inflater) {
        call->inflater =
            rpc_inflater_create(call->coding, call->reader.body.data, call->reader.body.len);
        if (call->inflater)
            count_input(call, RPC_INFLATER_BYTES, 0);
        else
            verdict = RPC_INFLATED_NO_MEMORY;
    }
    while (verdict == RPC_INFLATED_MORE) {
        if (call->conn->shared->work_left == 0) {
            rpc_conn_put_off(call->conn, call);
            return false;
        }
        verdict = inflate_slice(call);
    }
    if (verdict != RPC_INFLATED_DONE) {
        refuse_inflated(call, verdict);
        return false;
    }
    end_inflater(call);
    call->is_inflated = true;
    return true;
}

bool rpc_request_is_plain(struct rpc_call *call)
{
    return !call->reader.is_compressed || call->is_inflated || inflate_more(call);
}

const uint8_t *rpc_request_message(const struct rpc_call *call, size_t *len)
{
    static const uint8_t empty[1];
    const struct ltd_bytes *bytes = call->is_inflated ? &call->inflated : &call->reader.body;
    *len = bytes->len;
    return bytes->len > 0 ? bytes->data : empty;
}

/* ---- inside the session ---- */

static void take_one_message(struct rpc_call *call, const uint8_t *data, size_t len)
{
    if (call->has_message)
        rpc_stream_refuse(call, RPC_UNIMPLEMENTED, "more than one request message");
    else if (!has_room(call, len))
        rpc_stream_refuse(call, RPC_RESOURCE_EXHAUSTED, no_room);
    else if (feed(call, data, len) < len && call->phase == RPC_PHASE_BODY)
        rpc_stream_refuse(call, RPC_UNIMPLEMENTED, "more than one request message");
}

/* Drop what has been read when it is half of the memory, so that a byte moves once or twice. */
static void tidy(struct rpc_call *call)
{
    size_t left = call->backlog.len - call->backlog_begin;
    if (call->backlog_begin == 0 || call->backlog_begin < left)
        return;
    memmove(call->backlog.data, call->backlog.data + call->backlog_begin, left);
    call->backlog.len = left;
    call->backlog_begin = 0;
}

static void take_backlog(struct rpc_call *call, const uint8_t *data, size_t len)
{
    rpc_conn_defer(call->conn, call);
    if (call->is_short)
        return;
    tidy(call);
    call->is_short = !has_room(call, len) || !ltd_bytes_reserve(&call->backlog, len);
    if (call->is_short)
        return;
    ltd_bytes_put(&call->backlog, data, len);
    count_input(call, len, 0);
}

void rpc_request_data(struct rpc_call *call, const uint8_t *data, size_t len)
{
    bool is_alive = call->phase == RPC_PHASE_READY || call->phase == RPC_PHASE_RUNNING;
    if (len == 0)
        return;
    if (is_alive && call->method->open) {
        take_backlog(call, data, len);
        return;
    }
    if (call->phase == RPC_PHASE_BODY && !call->is_page) /* a page takes no body; it is dropped */
        take_one_message(call, data, len);
    give_window(call, len);
}

void rpc_request_end(struct rpc_call *call)
{
    call->request_done = true;
    if (call->phase == RPC_PHASE_READY || call->phase == RPC_PHASE_RUNNING)
        rpc_conn_defer(call->conn, call); /* a streaming client has said everything */
    if (call->phase != RPC_PHASE_BODY)
        return;
    if (call->is_page) {
        call->phase = RPC_PHASE_READY;
        rpc_conn_defer(call->conn, call);
    } else if (!call->has_message && rpc_frame_at_boundary(&call->reader)) {
        rpc_stream_refuse(call, RPC_UNIMPLEMENTED, "no request message");
    } else if (!call->has_message) {
        rpc_stream_refuse(call, RPC_INTERNAL, "the request ended inside a message");
    } else {
        call->phase = RPC_PHASE_READY;
        rpc_conn_defer(call->conn, call);
    }
}

/* ---- a stream, outside the session ---- */

/* Move bytes from the backlog to the reader until a message is whole. False when none is. */
static bool next_message(struct rpc_call *call)
{
    size_t left = call->backlog.len - call->backlog_begin;
    if (call->has_message || left == 0)
        return call->has_message;
    size_t used = feed(call, call->backlog.data + call->backlog_begin, left);
    if (call->phase != RPC_PHASE_RUNNING)
        return false;
    call->backlog_begin += used;
    count_input(call, 0, used);
    give_window(call, used);
    rpc_conn_want_flush(call->conn);
    return call->has_message;
}

static void deliver(struct rpc_call *call)
{
    struct rpc_shared *shared = call->conn->shared;
    size_t len;
    const uint8_t *message = rpc_request_message(call, &len);
    shared->n_in_callback++;
    if (call->ops && call->ops->on_message)
        call->ops->on_message(call, call->ops_arg, message, len);
    shared->n_in_callback--;
    count_input(call, 0, call->reader.body.len + call->inflated.len);
    call->has_message = false;
    call->is_inflated = false;
    ltd_bytes_fini(&call->inflated);
    rpc_frame_next(&call->reader);
}

static void tell_end(struct rpc_call *call)
{
    struct rpc_shared *shared = call->conn->shared;
    if (!rpc_frame_at_boundary(&call->reader)) {
        rpc_stream_refuse(call, RPC_INTERNAL, "the request ended inside a message");
        return;
    }
    call->end_told = true;
    shared->n_in_callback++;
    if (call->ops && call->ops->on_request_end)
        call->ops->on_request_end(call, call->ops_arg);
    shared->n_in_callback--;
}

void rpc_request_pump(struct rpc_call *call)
{
    while (call->phase == RPC_PHASE_RUNNING && !call->held && next_message(call) &&
           rpc_request_is_plain(call))
        deliver(call);
    if (call->phase == RPC_PHASE_RUNNING && call->is_short)
        rpc_stream_refuse(call, RPC_RESOURCE_EXHAUSTED, no_room);
    if (call->phase != RPC_PHASE_RUNNING)
        rpc_request_drop(call);
    else if (call->request_done && !call->has_message && !call->held && !call->end_told)
        tell_end(call);
}

void rpc_call_hold_requests(struct rpc_call *call, bool hold)
{
    bool goes_on = call->held && !hold;
    call->held = hold;
    if (!goes_on || call->phase != RPC_PHASE_RUNNING)
        return;
    /* Messages never come from inside a function of rpc/call.h. */
    rpc_conn_defer(call->conn, call);
    rpc_conn_want_flush(call->conn);
}

bool rpc_call_was_compressed(const struct rpc_call *call)
{
    return call->reader.is_compressed;
}
