/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rpc/stream.h - the inside of a call: phases, request, queue of responses.
 *
 *     HEADERS ──▶ BODY ──▶ READY ──handler──▶ RUNNING ──finish──▶ FINISHING ──┐
 *        │          │        │                   │                     │       │ stream closed:
 *        └──────────┴────────┴── answered by us ─┴─ deadline, stop ────┤       ▼ on_end, free
 *                                                                      ▼
 *                                                                  ANSWERED ──stream closed──▶ free
 *
 * A handler knows of a call in RUNNING and FINISHING only. The step out of those two, for whatever
 * reason, is rpc_stream_detach, and that is where on_end is called; so it comes exactly once. In
 * ANSWERED the call belongs to rpc/ alone: a refusal, or what is left to send after on_end.
 *
 * A method whose client streams goes from HEADERS to READY at once: `open` runs as soon as the
 * session returns, and messages follow in RUNNING.
 *
 * stream.c is the life of a call from its first header, as conn.c drives it; request.c is what the
 * client sends behind the headers; call.c and call_meta.c are the response half, as handlers drive
 * it (rpc/call.h).
 *
 * Threads: the loop's thread.
 */
#ifndef LATENTD_RPC_STREAM_H
#define LATENTD_RPC_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <nghttp2/nghttp2.h>

#include "rpc/authorize.h"
#include "rpc/call.h"
#include "rpc/conn.h"
#include "rpc/fields.h"
#include "rpc/grpc_frame.h"
#include "rpc/gzip.h"
#include "rpc/service.h"
#include "rpc/timers.h"

enum rpc_phase {
    RPC_PHASE_HEADERS,   /* header fields are coming */
    RPC_PHASE_BODY,      /* the request message is coming */
    RPC_PHASE_READY,     /* handler or `open` can run; it does when the session returns */
    RPC_PHASE_RUNNING,   /* the handler has run */
    RPC_PHASE_FINISHING, /* rpc_call_finish was called; queue and status are on their way */
    RPC_PHASE_ANSWERED,  /* no handler (any more); an answer or a reset is on its way */
};

enum rpc_verb { RPC_VERB_OTHER, RPC_VERB_GET, RPC_VERB_HEAD, RPC_VERB_POST };

struct rpc_call {
    /* identity */
    struct rpc_conn *conn;
    int32_t stream_id;
    struct rpc_call *prev, *next; /* conn->calls */

    /* request */
    const struct rpc_method *method; /* NULL: the path has no row */
    uint32_t header_bytes;           /* as HTTP/2 counts: name + value + 32 */
    char *path;                      /* owned; kept when it is no method's */
    enum rpc_verb verb;              /* :method */
    bool is_grpc;                    /* content-type */
    bool is_page;                    /* a plain request (stream_page.c) */
    enum rpc_coding coding;          /* grpc-encoding */
    bool bad_timeout, bad_metadata;
    bool request_done; /* END_STREAM came */
    bool has_message;  /* `reader.body` holds a whole message */
    bool put_off;      /* there is work for it that did not fit this turn (rpc_conn_put_off) */
    bool held;         /* rpc_call_hold_requests */
    bool is_short; /* a budget was met while a stream's bytes came: refuse outside the session */
    bool end_told; /* on_request_end has been called */
    uint64_t opened_ns;
    uint64_t deadline_ns; /* LTD_NEVER: none */
    struct rpc_frame_reader reader;
    struct rpc_inflater *inflater; /* of the message in `reader` while it is being inflated */
    struct ltd_bytes inflated;     /* what has come out of it */
    bool is_inflated;              /* that is the whole message */
    struct ltd_bytes backlog; /* of a streaming client: [backlog_begin, len) is not looked at yet */
    size_t backlog_begin;
    size_t input_bytes; /* counted in conn->input_bytes for this call */
    struct rpc_bearer bearer;
    struct rpc_identity identity;
    struct rpc_fields metadata; /* only when the method wants it */

    /* state */
    enum rpc_phase phase;
    bool stream_closed; /* nghttp2 knows the stream no more */
    bool pending;       /* on conn->pending_first */
    struct rpc_call *pending_next;
    const struct rpc_call_ops *ops;
    void *ops_arg;
    struct rpc_timer timer; /* the earliest of request_ms, deadline, stall */

    /* response */
    struct ltd_bytes queue; /* framed messages; [queue_begin, queue.len) is to be sent */
    size_t queue_begin;
    bool accepts_gzip; /* the client does */
    bool is_coded;     /* the headers say, or will say, grpc-encoding: gzip */
    bool compress;     /* messages that are sent now are compressed */
    bool wants_room;   /* on_writable is owed */
    bool headers_submitted;
    bool deferred; /* the session waits for rpc_stream_resume */
    bool finished; /* `status` is final: trailers follow the queue */
    bool trailers_sent;
    struct rpc_fields headers, trailers; /* the handler's own */
    uint64_t moved_ns; /* last time the session took bytes, or the queue was empty */
    enum rpc_status status;
    char *message; /* owned; percent-encoded, NULL when there is none */
    size_t message_len;
    char *details; /* owned; base64, NULL when there are none (rpc/status_details.h) */
    size_t details_len;
};

/* ---- stream.c: driven by the session's callbacks ---- */

/* A new request stream. NULL without memory. */
struct rpc_call *rpc_stream_open(struct rpc_conn *conn, int32_t stream_id);
void rpc_stream_header(struct rpc_call *call, const uint8_t *name, size_t name_len,
                       const uint8_t *value, size_t value_len);
void rpc_stream_headers_done(struct rpc_call *call);
void rpc_stream_closed(struct rpc_call *call);

/* ---- stream.c: outside the session ---- */

/* Run the handler of a call that is ready; end and free one whose stream is closed. */
void rpc_stream_dispatch(struct rpc_call *call);

/* Call on_end if a handler knows of the call; then it belongs to rpc/ (ANSWERED). */
void rpc_stream_detach(struct rpc_call *call, enum rpc_end reason);

/* Detach, and tell the peer `status`; it becomes a reset when trailers could not get through. */
void rpc_stream_abort(struct rpc_call *call, enum rpc_end reason, enum rpc_status status,
                      const char *message);

/* Free a call that is detached and whose stream the session has forgotten. */
void rpc_stream_destroy(struct rpc_call *call);

/* Answer without a handler, or in spite of one (it hears RPC_END_REFUSED; outside the session then).
 * The request is forgotten. */
void rpc_stream_refuse(struct rpc_call *call, enum rpc_status status, const char *message);

/* ---- request.c: driven by the session's callbacks ---- */

/* DATA has come. Gives the stream's window back for what was taken. */
void rpc_request_data(struct rpc_call *call, const uint8_t *data, size_t len);

/* END_STREAM has come. */
void rpc_request_end(struct rpc_call *call);

/* ---- request.c: anywhere ---- */

/* The headers are accepted: get ready for messages. */
void rpc_request_begin(struct rpc_call *call);

/* Hand over what has come to on_message and on_request_end. Outside the session. */
void rpc_request_pump(struct rpc_call *call);

/* Is the one message there as a handler can take it? False: it is being inflated (the call is looked
 * at again), or was refused. Outside the session. */
bool rpc_request_is_plain(struct rpc_call *call);

/* The message that is there, [*len]; never NULL. */
const uint8_t *rpc_request_message(const struct rpc_call *call, size_t *len);

/* Forget everything that has come. */
void rpc_request_drop(struct rpc_call *call);

/* ---- stream_page.c ---- */

/* Keep the path of a request that is no method's. */
void rpc_stream_keep_path(struct rpc_call *call, const uint8_t *path, size_t len);

/* The headers are whole: do they ask for a page? */
bool rpc_stream_is_page(const struct rpc_call *call);

/* Make the page and answer. Outside the session. */
void rpc_stream_answer_page(struct rpc_call *call);

/* ---- call.c: the response ---- */

/* Set the final status; the first one stands. `message` as in rpc_call_finish. */
void rpc_stream_answer(struct rpc_call *call, enum rpc_status status, const char *message);

/* rpc_stream_answer with the code, message and details of an error. */
void rpc_stream_answer_err(struct rpc_call *call, const struct ltd_err *err);

struct rpc_page_answer;

/* Answer a plain request with this page; no body for HEAD. */
void rpc_stream_put_page(struct rpc_call *call, const struct rpc_page_answer *answer,
                         bool with_body);

/* Answer with a bare HTTP status: the request is not gRPC. */
void rpc_stream_answer_http(struct rpc_call *call, const char *http_status);

/* Forget what is queued and not yet given to the session. */
void rpc_stream_drop_queue(struct rpc_call *call);

/* Call on_writable if it is owed and there is room. */
void rpc_stream_wake(struct rpc_call *call);

/* The earliest time at which this call's timer has something to do. */
void rpc_stream_arm(struct rpc_call *call);

#endif
