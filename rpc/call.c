/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rpc/call.c - the response half of a call: queue, response headers, DATA, trailers.
 *
 * Messages wait here, framed, as one run of bytes; nghttp2 asks for them with read_queue() when
 * flow control and the socket have room. At the end of the queue read_queue() either defers (more
 * may come) or submits the trailers from inside the callback, which is the one place where nghttp2
 * lets DATA without END_STREAM be followed by them.
 *
 * Accounting: every byte in a queue is counted in its connection and in the server; count_output()
 * is the only place that changes the three together.
 */
#include "rpc/call.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "rpc/grpc_meta.h"
#include "rpc/page.h"
#include "rpc/status_details.h"
#include "rpc/stream.h"

/* A status message is for people; a longer one, which details repeat, would crowd the peer's header
 * limit of 8 KiB. */
#define MESSAGE_BYTES 1024

/* grpc-status, grpc-message, grpc-status-details-bin, and the handler's own. */
#define MAX_TRAILERS (3 + RPC_CALL_MAX_FIELDS)

/* :status, content-type, grpc-accept-encoding, grpc-encoding, and the handler's own. */
#define MAX_HEADERS (4 + RPC_CALL_MAX_FIELDS)

/* Queues up to this size keep their memory between messages; larger ones give it back. */
#define QUEUE_KEEP_BYTES ((size_t)16 * 1024)

#define NV(n, v)                                                                                   \
    {                                                                                              \
        (uint8_t *)(n), (uint8_t *)(v), sizeof(n) - 1, sizeof(v) - 1,                              \
            NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE                           \
    }

static size_t queued(const struct rpc_call *call)
{
    return call->queue.len - call->queue_begin;
}

static void count_output(struct rpc_call *call, size_t plus, size_t minus)
{
    call->conn->output_bytes += plus - minus;
    call->conn->shared->stats.buffered_bytes += plus - minus;
}

static bool is_over_budget(struct rpc_call *call)
{
    struct rpc_shared *shared = call->conn->shared;
    if (call->conn->output_bytes >= shared->limits.max_output_bytes)
        return true;
    if (shared->stats.buffered_bytes < shared->limits.max_total_bytes)
        return false;
    shared->starved = true;
    return true;
}

/* ---- what the session asks for ---- */

/* The handler's own fields. Returns how many. */
static size_t own_fields(const struct rpc_fields *fields, nghttp2_nv *out)
{
    size_t n = 0;
    for (struct rpc_field *f = fields->first; f; f = f->next)
        out[n++] = (nghttp2_nv){f->bytes, f->bytes + f->name_len, f->name_len, f->value_len,
                                NGHTTP2_NV_FLAG_NONE};
    return n;
}

/* Fills in grpc-status, message and details when there are, and the handler's own. Returns how
 * many. */
static size_t trailer_fields(const struct rpc_call *call, char status[4],
                             nghttp2_nv out[MAX_TRAILERS])
{
    int n = call->status;
    size_t len = 0, n_fields = 0;
    if (n >= 10)
        status[len++] = (char)('0' + n / 10);
    status[len++] = (char)('0' + n % 10);
    out[n_fields++] = (nghttp2_nv){(uint8_t *)"grpc-status", (uint8_t *)status, 11, len,
                                   NGHTTP2_NV_FLAG_NO_COPY_NAME};
    if (call->message)
        out[n_fields++] = (nghttp2_nv){(uint8_t *)"grpc-message", (uint8_t *)call->message, 12,
                                       call->message_len, NGHTTP2_NV_FLAG_NO_COPY_NAME};
    if (call->details)
        out[n_fields++] = (nghttp2_nv){(uint8_t *)RPC_STATUS_DETAILS_NAME, (uint8_t *)call->details,
                                       sizeof RPC_STATUS_DETAILS_NAME - 1, call->details_len,
                                       NGHTTP2_NV_FLAG_NO_COPY_NAME};
    return n_fields + own_fields(&call->trailers, out + n_fields);
}

static ssize_t read_queue(nghttp2_session *h2, int32_t stream_id, uint8_t *out, size_t out_bytes,
                          uint32_t *flags, nghttp2_data_source *source, void *user_data)
{
    struct rpc_call *call = source->ptr;
    (void)user_data;
    size_t n = queued(call) < out_bytes ? queued(call) : out_bytes;
    if (n > 0) {
        memcpy(out, call->queue.data + call->queue_begin, n);
        call->queue_begin += n;
        call->moved_ns = ltd_now_ns();
        count_output(call, 0, n);
    }
    if (queued(call) > 0)
        return (ssize_t)n;
    if (call->queue.capacity > QUEUE_KEEP_BYTES)
        ltd_bytes_fini(&call->queue);
    ltd_bytes_clear(&call->queue);
    call->queue_begin = 0;

    if (call->finished && call->is_page) {
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    } else if (call->finished) {
        char status[4];
        nghttp2_nv fields[MAX_TRAILERS];
        size_t n_fields = trailer_fields(call, status, fields);
        *flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
        if (nghttp2_submit_trailer(h2, stream_id, fields, n_fields) != 0)
            return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    } else if (n == 0) {
        call->deferred = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    return (ssize_t)n;
}

/* ---- towards the session ---- */

static void reset(struct rpc_call *call, uint32_t h2_error)
{
    nghttp2_submit_rst_stream(call->conn->h2, NGHTTP2_FLAG_NONE, call->stream_id, h2_error);
    rpc_conn_want_flush(call->conn);
}

/* Let the session ask again after it found the queue empty. */
static void resume(struct rpc_call *call)
{
    if (call->deferred) {
        call->deferred = false;
        nghttp2_session_resume_data(call->conn->h2, call->stream_id);
    }
    rpc_conn_want_flush(call->conn);
}

/* The fields in front of the first message. Returns how many. */
static size_t header_fields(const struct rpc_call *call, nghttp2_nv out[MAX_HEADERS])
{
    static const nghttp2_nv fixed[] = {NV(":status", "200"), NV("content-type", "application/grpc"),
                                       NV("grpc-accept-encoding", RPC_CODINGS_ACCEPTED)};
    static const nghttp2_nv coding = NV("grpc-encoding", "gzip");
    memcpy(out, fixed, sizeof fixed);
    size_t n = sizeof fixed / sizeof *fixed;
    if (call->is_coded)
        out[n++] = coding;
    return n + own_fields(&call->headers, out + n);
}

static void submit_headers(struct rpc_call *call)
{
    nghttp2_nv fields[MAX_HEADERS];
    size_t n_fields = header_fields(call, fields);
    const nghttp2_data_provider provider = {.source = {.ptr = call}, .read_callback = read_queue};
    call->headers_submitted = true;
    if (nghttp2_submit_response(call->conn->h2, call->stream_id, fields, n_fields, &provider) != 0)
        reset(call, NGHTTP2_INTERNAL_ERROR);
}

/* The whole answer as one HEADERS frame. */
static void submit_trailers_only(struct rpc_call *call)
{
    char status[4];
    nghttp2_nv fields[MAX_HEADERS + MAX_TRAILERS];
    size_t n_fields = header_fields(call, fields);
    n_fields += trailer_fields(call, status, fields + n_fields);
    call->headers_submitted = true;
    if (nghttp2_submit_response(call->conn->h2, call->stream_id, fields, n_fields, NULL) != 0)
        reset(call, NGHTTP2_INTERNAL_ERROR);
    rpc_conn_want_flush(call->conn);
}

static void set_message(struct rpc_call *call, const char *message)
{
    size_t len = message ? strnlen(message, MESSAGE_BYTES) : 0;
    if (len == 0)
        return;
    /* Without memory the status goes out alone: it is the part that programs read. */
    call->message = malloc(RPC_PERCENT_BYTES(len));
    if (call->message)
        call->message_len = rpc_meta_percent_encode((const uint8_t *)message, len, call->message);
}

void rpc_stream_answer(struct rpc_call *call, enum rpc_status status, const char *message)
{
    if (call->finished || call->stream_closed)
        return;
    if (call->is_page) {
        rpc_stream_answer_http(call, status == RPC_DEADLINE_EXCEEDED ? "408" : "503");
        return;
    }
    call->finished = true;
    call->status = status;
    set_message(call, message);
    /* A handler's own headers are headers also when no message follows them; merged with the status
     * into one frame they would be taken for trailers. */
    if (!call->headers_submitted && call->headers.n > 0)
        submit_headers(call);
    if (call->headers_submitted)
        resume(call);
    else
        submit_trailers_only(call);
}

void rpc_stream_answer_err(struct rpc_call *call, const struct ltd_err *err)
{
    /* Without memory the details are left out: the status is the part that must arrive. */
    if (!call->finished && err->code != LTD_OK)
        call->details_len = rpc_status_details_encode(err, &call->details);
    rpc_stream_answer(call, (enum rpc_status)ltd_code_grpc(err->code), err->msg);
}

static nghttp2_nv text_nv(const char *name, const char *value)
{
    return (nghttp2_nv){(uint8_t *)name, (uint8_t *)value, strlen(name), strlen(value),
                        NGHTTP2_NV_FLAG_NO_COPY_NAME};
}

void rpc_stream_answer_http(struct rpc_call *call, const char *http_status)
{
    const nghttp2_nv fields[] = {text_nv(":status", http_status)};
    call->finished = true;
    call->headers_submitted = true;
    if (nghttp2_submit_response(call->conn->h2, call->stream_id, fields, 1, NULL) != 0)
        reset(call, NGHTTP2_INTERNAL_ERROR);
    rpc_conn_want_flush(call->conn);
}

void rpc_stream_put_page(struct rpc_call *call, const struct rpc_page_answer *answer,
                         bool with_body)
{
    const nghttp2_data_provider provider = {.source = {.ptr = call}, .read_callback = read_queue};
    char status[12], length[24];
    snprintf(status, sizeof status, "%d", answer->status);
    snprintf(length, sizeof length, "%zu", answer->body.len);
    nghttp2_nv fields[6] = {
        text_nv(":status", status), text_nv("content-type", answer->content_type),
        text_nv("content-length", length), text_nv("cache-control", "no-store")};
    size_t n_fields = 4;
    if (answer->status == 405)
        fields[n_fields++] = text_nv("allow", "GET, HEAD");
    if (answer->status == 401)
        fields[n_fields++] = text_nv("www-authenticate", "Bearer");
    bool has_body = with_body && answer->body.len > 0;
    if (has_body && (is_over_budget(call) || !ltd_bytes_reserve(&call->queue, answer->body.len))) {
        rpc_stream_answer_http(call, "503");
        return;
    }
    if (has_body) {
        ltd_bytes_put(&call->queue, answer->body.data, answer->body.len);
        count_output(call, answer->body.len, 0);
        call->moved_ns = ltd_now_ns();
    }
    call->finished = true;
    call->headers_submitted = true;
    if (nghttp2_submit_response(call->conn->h2, call->stream_id, fields, n_fields,
                                has_body ? &provider : NULL) != 0)
        reset(call, NGHTTP2_INTERNAL_ERROR);
    rpc_conn_want_flush(call->conn);
}

void rpc_stream_drop_queue(struct rpc_call *call)
{
    count_output(call, 0, queued(call));
    ltd_bytes_fini(&call->queue);
    call->queue_begin = 0;
}

void rpc_stream_abort(struct rpc_call *call, enum rpc_end reason, enum rpc_status status,
                      const char *message)
{
    bool has_unsent = call->headers_submitted && queued(call) > 0;
    rpc_stream_detach(call, reason);
    rpc_stream_drop_queue(call);
    if (call->stream_closed)
        return;
    /* A message may have been cut by dropping the queue, a stream that is out of window asks for
     * nothing, so its trailers would wait for ever, and a finished one has a status already. All
     * are told by a reset, unless the connection is about to close: that says UNAVAILABLE, which is
     * the truth, where a reset would say CANCELLED. */
    if ((call->finished || has_unsent) && reason == RPC_END_STOPPED)
        return;
    if (call->finished || has_unsent)
        reset(call, reason == RPC_END_STALLED ? NGHTTP2_ENHANCE_YOUR_CALM : NGHTTP2_CANCEL);
    else
        rpc_stream_answer(call, status, message);
}

/* ---- towards the handler ---- */

static void want_room(struct rpc_call *call)
{
    if (call->wants_room || call->phase != RPC_PHASE_RUNNING)
        return;
    call->wants_room = true;
    call->conn->n_wanting++;
    rpc_conn_want_flush(call->conn);
}

void rpc_stream_wake(struct rpc_call *call)
{
    if (!call->wants_room || queued(call) > RPC_CALL_QUEUE_LOW_BYTES || is_over_budget(call))
        return;
    call->wants_room = false;
    call->conn->n_wanting--;
    if (call->phase != RPC_PHASE_RUNNING || !call->ops || !call->ops->on_writable)
        return;
    call->conn->shared->n_in_callback++;
    call->ops->on_writable(call, call->ops_arg);
    call->conn->shared->n_in_callback--;
}

void rpc_call_set_ops(struct rpc_call *call, const struct rpc_call_ops *ops, void *arg)
{
    call->ops = ops;
    call->ops_arg = arg;
}

bool rpc_call_wants_more(struct rpc_call *call)
{
    if (call->phase != RPC_PHASE_RUNNING)
        return false;
    if (queued(call) < RPC_CALL_QUEUE_BYTES && !is_over_budget(call))
        return true;
    want_room(call);
    return false;
}

/* Append one message with its prefix; what was sent already makes room first. */
static int put_framed(struct rpc_call *call, bool is_compressed, const void *data, size_t len)
{
    if (call->queue_begin > 0 && call->queue_begin >= call->queue.len / 2) {
        memmove(call->queue.data, call->queue.data + call->queue_begin, queued(call));
        call->queue.len = queued(call);
        call->queue_begin = 0;
    }
    uint8_t prefix[RPC_FRAME_PREFIX_BYTES];
    rpc_frame_prefix((uint32_t)len, prefix);
    prefix[0] = is_compressed;
    if (!ltd_bytes_reserve(&call->queue, len + sizeof prefix)) {
        call->queue.failed = false; /* what is queued is whole; only this message was not taken */
        return -1;
    }
    if (queued(call) == 0)
        call->moved_ns = ltd_now_ns();
    ltd_bytes_put(&call->queue, prefix, sizeof prefix);
    ltd_bytes_put(&call->queue, data, len);
    count_output(call, len + sizeof prefix, 0);
    return 0;
}

static int enqueue(struct rpc_call *call, const void *data, size_t len)
{
    struct ltd_bytes small;
    if (!call->compress)
        return put_framed(call, false, data, len);
    ltd_bytes_init(&small);
    int rv = rpc_gzip(data, len, &small) ? put_framed(call, true, small.data, small.len)
                                         : put_framed(call, false, data, len);
    ltd_bytes_fini(&small);
    return rv;
}

int rpc_call_send(struct rpc_call *call, const void *data, size_t len, struct ltd_err *err)
{
    if (call->phase != RPC_PHASE_RUNNING)
        return ltd_fail(err, LTD_E_PRECONDITION, "%s: message sent after the call was finished",
                        rpc_call_path(call));
    if (len > UINT32_MAX)
        return ltd_fail(err, LTD_E_EXHAUSTED, "%s: message of %zu bytes, gRPC's largest is %u",
                        rpc_call_path(call), len, UINT32_MAX);
    if (!rpc_call_wants_more(call))
        return ltd_fail(err, LTD_E_EXHAUSTED,
                        "%s: output budget used up (%zu bytes wait in the call, %zu in the "
                        "connection)",
                        rpc_call_path(call), queued(call), call->conn->output_bytes);
    if (enqueue(call, data, len) != 0)
        return ltd_fail(err, LTD_E_EXHAUSTED, "%s: no memory for a message of %zu bytes",
                        rpc_call_path(call), len);
    if (!call->headers_submitted)
        submit_headers(call);
    resume(call);
    rpc_stream_arm(call);
    return 0;
}

/* False when the call has its status already. */
static bool begin_finish(struct rpc_call *call)
{
    if (call->phase != RPC_PHASE_RUNNING)
        return false;
    call->phase = RPC_PHASE_FINISHING;
    if (call->method->open)
        rpc_conn_defer(call->conn,
                       call); /* what the client has sent is dropped in rpc_request_pump */
    return true;
}

void rpc_call_finish_status(struct rpc_call *call, enum rpc_status status, const char *msg)
{
    ltd_assert((unsigned)status < RPC_N_STATUSES, status, RPC_N_STATUSES);
    if (begin_finish(call))
        rpc_stream_answer(call, status, msg);
}

void rpc_call_finish(struct rpc_call *call, enum ltd_code code, const char *msg)
{
    rpc_call_finish_status(call, (enum rpc_status)ltd_code_grpc(code), msg);
}

void rpc_call_finish_err(struct rpc_call *call, const struct ltd_err *err)
{
    if (begin_finish(call))
        rpc_stream_answer_err(call, err);
}

bool rpc_call_compress(struct rpc_call *call, bool on)
{
    if (!call->headers_submitted)
        call->is_coded = call->accepts_gzip;
    call->compress = on && call->is_coded;
    return call->compress;
}

void rpc_call_reply(struct rpc_call *call, const void *data, size_t len)
{
    struct ltd_err err = {0};
    if (rpc_call_send(call, data, len, &err) != 0)
        rpc_call_finish_err(call, &err);
    else
        rpc_call_finish(call, LTD_OK, NULL);
}

size_t rpc_call_queued_bytes(const struct rpc_call *call)
{
    return queued(call);
}

const char *rpc_end_name(enum rpc_end reason)
{
    switch (reason) {
    case RPC_END_FINISHED:
        return "finished";
    case RPC_END_CANCELLED:
        return "cancelled by the peer";
    case RPC_END_CONNECTION:
        return "connection lost";
    case RPC_END_DEADLINE:
        return "deadline exceeded";
    case RPC_END_STALLED:
        return "reader stalled";
    case RPC_END_STOPPED:
        return "server stopped";
    case RPC_END_REFUSED:
        return "refused";
    }
    return "unknown";
}
