/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rpc/transport.h - a connected stream socket on a libuv loop: bytes in, bytes out, nothing else.
 *
 * TCP and Unix sockets behave alike here, for the server and for the client. Sockets are polled
 * (uv_poll_t) and read and written by the system calls themselves, because that gives what
 * uv_stream does not: MSG_NOSIGNAL on every write, so no user of the client library meets SIGPIPE;
 * one buffer for what the kernel did not take instead of a request per write; and one read buffer
 * for all connections of a loop (an idle connection then costs 14 KiB instead of 48).
 *
 *     put()* ──▶ [ out ] ──flush()──▶ kernel        rest stays in `out`, goes when writable,
 *                                                   then on_room
 *
 * Whoever fills `out` stops when rpc_transport_pending_bytes is not zero: that is the whole
 * back-pressure of a connection, and bounds `out` to what one round of gathering puts there.
 *
 * Promises:
 *   - no callback after rpc_transport_close, and none from inside a function of this header;
 *   - memory may be reused when the close callback has run;
 *   - on_end comes at most once, and closes nothing: that is its owner's part.
 *
 * Threads: the loop's thread.
 */
#ifndef LATENTD_RPC_TRANSPORT_H
#define LATENTD_RPC_TRANSPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <uv.h>

#include "base/bytes.h"
#include "base/err.h"

/* One read: four DATA frames of the default size. */
#define RPC_READ_BYTES ((size_t)64 * 1024)

struct rpc_transport_events {
    /* Bytes have come; borrowed until the callback returns. */
    void (*on_data)(void *arg, const uint8_t *data, size_t len);
    /* The peer closed its side (why->code is LTD_OK), or the socket failed. Reading has stopped. */
    void (*on_end)(void *arg, const struct ltd_err *why);
    /* Everything that was pending has been taken by the kernel. */
    void (*on_room)(void *arg);
};

struct rpc_transport {
    uv_poll_t poll;
    const struct rpc_transport_events *events;
    void *arg;
    uint8_t *read_buffer; /* [RPC_READ_BYTES], borrowed; shared by all transports of the loop */
    int fd;               /* owned; -1 when closed */
    int polled;           /* UV_READABLE | UV_WRITABLE, as given to libuv */
    bool ended;           /* on_end has been called, or shall not be */
    bool closing;
    struct ltd_bytes out; /* gathered, not yet taken by the kernel */
    size_t out_begin;     /* of `out`: bytes before this have been taken */
    void (*closed)(void *arg);
};

/*
 * rpc_transport_init - take a connected, non-blocking socket and read from it.
 *
 * take_fd  owned by the transport on success only
 *
 * Errors:  LTD_E_INTERNAL when libuv cannot poll it. Then nothing needs closing.
 */
int rpc_transport_init(struct rpc_transport *t, uv_loop_t *loop, int take_fd, uint8_t *read_buffer,
                       struct ltd_err *err);

/* rpc_transport_start - begin to read; callbacks may come from now on. */
void rpc_transport_start(struct rpc_transport *t, const struct rpc_transport_events *events,
                         void *arg);

/* rpc_transport_put - append to what is to be sent. Errors: LTD_E_EXHAUSTED without memory. */
int rpc_transport_put(struct rpc_transport *t, const void *data, size_t len, struct ltd_err *err);

/*
 * rpc_transport_flush - offer everything to the kernel; what it does not take follows by itself.
 *
 * Errors:  LTD_E_PEER: the connection is gone. on_end does not come as well.
 */
int rpc_transport_flush(struct rpc_transport *t, struct ltd_err *err);

size_t rpc_transport_pending_bytes(const struct rpc_transport *t);

/* rpc_transport_shutdown - tell the peer that nothing more comes; pending bytes must be zero. */
void rpc_transport_shutdown(struct rpc_transport *t);

/* rpc_transport_close - close now, whatever is pending; `closed` comes from the loop. */
void rpc_transport_close(struct rpc_transport *t, void (*closed)(void *arg), void *arg);

#endif
