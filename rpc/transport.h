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
 * With TLS the same bytes take one step more, and above the transport nothing else changes:
 *
 *     put()* ──▶ [ plain ] ──flush(): encrypt──▶ [ out ] ──▶ kernel
 *     kernel ──▶ first half of the read buffer ──decrypt──▶ second half ──▶ on_data
 *
 * What is put before the handshake is over waits in `plain` and counts as pending; the handshake
 * goes on by itself, and whoever owns the transport limits how long it may take.
 *
 * Whoever fills `out` stops when rpc_transport_pending_bytes is not zero: that is the whole
 * back-pressure of a connection, and bounds `out` to what one round of gathering puts there.
 *
 * Promises:
 *   - no callback after rpc_transport_close, and none from inside a function of this header but
 *     rpc_transport_give_up;
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
#include "rpc/tls_session.h"

/* One read: four DATA frames of the default size. */
#define RPC_READ_BYTES ((size_t)64 * 1024)

struct rpc_transport_events {
    /* Bytes have come; borrowed until the callback returns. */
    void (*on_data)(void *arg, const uint8_t *data, size_t len);
    /* The peer closed its side (why->code is LTD_OK), or the socket failed. Reading has stopped. */
    void (*on_end)(void *arg, const struct ltd_err *why);
    /* Everything that was pending has been taken by the kernel. */
    void (*on_room)(void *arg);
    /* May be NULL; with TLS only. The handshake is over: rpc_transport_protocol and
     * rpc_transport_peer_name answer. Comes before the first on_data. */
    void (*on_secure)(void *arg);
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
    bool shut;                   /* rpc_transport_shutdown was called */
    struct rpc_tls_session *tls; /* owned; NULL: what is put goes as it is */
    struct ltd_bytes plain;      /* with TLS: gathered, not yet encrypted */
    struct ltd_bytes out;        /* gathered, or encrypted; not yet taken by the kernel */
    size_t out_begin;            /* of `out`: bytes before this have been taken */
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

/* rpc_transport_set_tls - speak TLS on it; before rpc_transport_start. */
void rpc_transport_set_tls(struct rpc_transport *t, struct rpc_tls_session *take_session);

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

/*
 * rpc_transport_give_up - writing has failed with `why`: read what the peer sent before it went
 * away, then end.
 *
 * A peer that answers and closes at once makes the next write fail while its answer is still unread
 * in the kernel. Calls on_data and then on_end, from inside: the one exception to the promise above.
 * on_end hears a better reason than `why` if there is one: TLS's alert, or that the peer closed.
 */
void rpc_transport_give_up(struct rpc_transport *t, const struct ltd_err *why);

size_t rpc_transport_pending_bytes(const struct rpc_transport *t);

/* True while the kernel has no room for what is pending: it follows by itself. */
bool rpc_transport_waits_for_room(const struct rpc_transport *t);

/* True without TLS, and when its handshake is over. */
bool rpc_transport_is_secure(const struct rpc_transport *t);

/* What ALPN settled; NONE without TLS. */
enum rpc_tls_protocol rpc_transport_protocol(const struct rpc_transport *t);

/* The name in the client's verified certificate, or NULL. Lives as long as the transport. */
const char *rpc_transport_peer_name(const struct rpc_transport *t);

/*
 * rpc_transport_shutdown - tell the peer that nothing more comes; pending bytes must be zero.
 *
 * With TLS by a close_notify, which may be on its way a little longer; what the peer still sends is
 * read and dropped, not decrypted.
 */
void rpc_transport_shutdown(struct rpc_transport *t);

/* rpc_transport_close - close now, whatever is pending; `closed` comes from the loop. */
void rpc_transport_close(struct rpc_transport *t, void (*closed)(void *arg), void *arg);

#endif
