/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rpc/call.h - one call as a handler sees it: send messages, finish, and hear of its end.
 *
 *     handler(call, request) ──▶ rpc_call_send()* ──▶ rpc_call_finish() ──▶ on_end(FINISHED)
 *                                   ▲      │ queue full
 *                       on_writable └──────┘           at any time: on_end(some other reason)
 *
 * A handler that answers at once needs nothing else: rpc_call_reply() or rpc_call_finish_err().
 * A handler that answers later sets ops, keeps the pointer, and forgets it in on_end.
 *
 * Streams are pulled, not pushed: at most RPC_CALL_QUEUE_BYTES of messages wait inside a call, and
 * a sender that finds rpc_call_wants_more() false stops, keeps its place in its own log, and goes
 * on in on_writable. So a reader who is slow costs one queue, whatever the length of the stream:
 *
 *     static void pump(struct watch *w)
 *     {
 *         while (rpc_call_wants_more(w->call) && next_event(w, &bytes, &len))
 *             rpc_call_send(w->call, bytes, len, NULL);
 *     }                                // called by the handler, by on_writable, and on new events
 *
 * Promises:
 *   - on_end comes exactly once for a call whose handler ran, whatever ended it; after it the
 *     pointer is dead. A call ended by rpc_call_finish gets its on_end too, when the last byte has
 *     been handed to the session, or with another reason when that could not happen any more.
 *   - on_end and on_writable never run inside a function of this header, and no function of this
 *     header touches the network: bytes leave once per turn of the loop.
 *   - Between rpc_call_finish and on_end every function here may be called; sends are refused.
 *
 * Threads: loop thread only.
 */
#ifndef LATENTD_RPC_CALL_H
#define LATENTD_RPC_CALL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "rpc/status.h"

struct rpc_call;

/*
 * Bytes of messages that may wait in one call. A message is taken whole when less than this is
 * waiting, so the queue's largest size is this plus one message. 128 KiB is eight DATA frames of
 * the default size: enough to keep a fast reader busy for a turn of the loop, small enough for
 * thousands of slow ones.
 */
#define RPC_CALL_QUEUE_BYTES ((size_t)128 * 1024)

/* on_writable comes when the queue has fallen to this: half, so that it is not woken per frame. */
#define RPC_CALL_QUEUE_LOW_BYTES (RPC_CALL_QUEUE_BYTES / 2)

enum rpc_end {
    RPC_END_FINISHED,   /* the status was handed over after rpc_call_finish */
    RPC_END_CANCELLED,  /* the peer reset the stream */
    RPC_END_CONNECTION, /* the connection was lost, or was closed for its peer's misbehaviour */
    RPC_END_DEADLINE,   /* the caller's grpc-timeout passed; the server answers DEADLINE_EXCEEDED */
    RPC_END_STALLED,    /* the reader took nothing for write_stall_ms while messages were waiting */
    RPC_END_STOPPED,    /* the server stops: the grace time of a drain is over, or destroy */
    RPC_END_REFUSED,    /* a streaming client broke gRPC's rules or met a limit; it was told so */
};

/* "cancelled by the peer" and so on, for logs. Never NULL. */
const char *rpc_end_name(enum rpc_end reason);

struct rpc_call_ops {
    /* May be NULL. There is room again, after rpc_call_wants_more was false or a send refused. */
    void (*on_writable)(struct rpc_call *call, void *arg);
    /* Methods with `open` only; may be NULL there: messages are dropped. `data` is borrowed until it
     * returns. Not called while rpc_call_hold_requests is on. */
    void (*on_message)(struct rpc_call *call, void *arg, const uint8_t *data, size_t len);
    /* Methods with `open` only; may be NULL. The client has sent its last message. */
    void (*on_request_end)(struct rpc_call *call, void *arg);
    /* May be NULL. The call is over: dead when this returns; `arg` is the owner's to free. */
    void (*on_end)(struct rpc_call *call, void *arg, enum rpc_end reason);
};

/* rpc_call_set_ops - `ops` is borrowed until on_end; `arg` is handed to both callbacks. */
void rpc_call_set_ops(struct rpc_call *call, const struct rpc_call_ops *ops, void *arg);

/*
 * rpc_call_send - queue one response message; the bytes are copied.
 *
 * Errors:  LTD_E_EXHAUSTED when the call's queue or the output budget of its connection or of the
 *          server is full (nothing was taken; on_writable follows), or memory is out;
 *          LTD_E_PRECONDITION after rpc_call_finish.
 */
int rpc_call_send(struct rpc_call *call, const void *data, size_t len, struct ltd_err *err);

/*
 * rpc_call_finish - end the call with the status that stands for `code`, after what is queued.
 *
 * msg  may be NULL; any bytes, it is percent-encoded. Cut to 1 KiB.
 * A second finish is ignored: the first one stands.
 */
void rpc_call_finish(struct rpc_call *call, enum ltd_code code, const char *msg);

/*
 * rpc_call_finish_err - rpc_call_finish with the error's own code and message.
 *
 * What the error says besides goes into the trailer grpc-status-details-bin (rpc/status_details.h):
 * its reason, when the same may succeed, and for LTD_E_INVALID the field that its message names.
 */
void rpc_call_finish_err(struct rpc_call *call, const struct ltd_err *err);

/* rpc_call_finish_status - for the statuses that no ltd_code stands for (7, 10, 16). */
void rpc_call_finish_status(struct rpc_call *call, enum rpc_status status, const char *msg);

/* rpc_call_reply - send one message and finish OK; when the send fails, finish with its error. */
void rpc_call_reply(struct rpc_call *call, const void *data, size_t len);

/* True when a message sent now would be taken. When it is false, on_writable will follow. */
bool rpc_call_wants_more(struct rpc_call *call);

/* Bytes of messages (with their prefixes) that wait in this call. */
size_t rpc_call_queued_bytes(const struct rpc_call *call);

/* The caller's deadline on the clock of base/clock.h, or LTD_NEVER. */
uint64_t rpc_call_deadline_ns(const struct rpc_call *call);

/* "127.0.0.1:51234", "[::1]:51234" or "unix:uid=1000,pid=4711". Lives as long as the call. */
const char *rpc_call_peer(const struct rpc_call *call);

/* The same without what changes from connection to connection: "127.0.0.1", "::1", "unix:uid=1000".
 * Whom calls that name no client are put down to. Lives as long as the call. */
const char *rpc_call_peer_host(const struct rpc_call *call);

/* ---- who calls ---- */

#define RPC_IDENTITY_BYTES 96

/* What the authorize function (rpc/server.h) found out; zeros when the server has none. */
struct rpc_identity {
    char name[RPC_IDENTITY_BYTES]; /* "alice"; "" = nobody in particular */
    uint32_t rights;               /* bits that the authorize function defines */
};

/* Lives as long as the call. */
const struct rpc_identity *rpc_call_identity(const struct rpc_call *call);

/* ---- metadata ---- */

/*
 * rpc_call_metadata - a field of the request's custom metadata, or NULL.
 *
 * name  lower case. For a name that ends in "-bin" the value is decoded.
 * len   out: the value's bytes; several fields of one name are joined with ","
 *
 * Only for methods whose row says wants_metadata. Lives as long as the call.
 */
const uint8_t *rpc_call_metadata(const struct rpc_call *call, const char *name, size_t *len);

/* Fields that the two functions below take for one call. */
#define RPC_CALL_MAX_FIELDS 64

/*
 * rpc_call_put_header, rpc_call_put_trailer - send a field in front of the first message, or with
 * the status. A value of a "-bin" name is given raw and encoded here.
 *
 * Errors:  LTD_E_PRECONDITION when headers (trailers) are gone already, LTD_E_INVALID for a name or
 *          value that cannot be sent or is gRPC's own, LTD_E_EXHAUSTED over 8 KiB or
 *          RPC_CALL_MAX_FIELDS in all.
 */
int rpc_call_put_header(struct rpc_call *call, const char *name, const void *value, size_t len,
                        struct ltd_err *err);
int rpc_call_put_trailer(struct rpc_call *call, const char *name, const void *value, size_t len,
                         struct ltd_err *err);

/* ---- request streams and compression ---- */

/* rpc_call_hold_requests - stop taking messages, or go on: the client is slowed by its window. */
void rpc_call_hold_requests(struct rpc_call *call, bool hold);

/* Whether the message that is being handled came compressed. Inside `handler` and on_message only. */
bool rpc_call_was_compressed(const struct rpc_call *call);

/*
 * rpc_call_compress - compress the messages that are sent from now on (gzip), if the client said
 * that it understands it; off to begin with. True when messages will be compressed.
 *
 * A call tells its coding in its headers: it can be switched on behind the first message only when
 * this was called before that, with either value. A message that compression does not make smaller
 * goes as it is. The loop's thread compresses: what is large and urgent should go as it is.
 */
bool rpc_call_compress(struct rpc_call *call, bool on);

/* The method's path, for logs and metrics. Lives as long as the server. */
const char *rpc_call_path(const struct rpc_call *call);

#endif
