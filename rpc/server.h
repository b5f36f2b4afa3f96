/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rpc/server.h - a gRPC server on one libuv loop: listen, accept, limits, drain.
 *
 *     create ──▶ listen (once per address) ──▶ … calls … ──▶ drain ──▶ done ──▶ destroy
 *                                                   └──────────────────────────▶ destroy
 *
 * Everything runs on the loop's thread; nothing here blocks, and nothing waits without a bound.
 * Each limit has a default that suits a daemon on a cluster's management network, and says what
 * happens when it is met.
 *
 * Wire behaviour (HTTP/2 settings, statuses, timers): docs/wire.md.
 */
#ifndef LATENTD_RPC_SERVER_H
#define LATENTD_RPC_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <uv.h>

#include "base/err.h"
#include "rpc/call.h"
#include "rpc/page.h"
#include "rpc/service.h"
#include "rpc/tls.h"

struct rpc_server;

/* Zero in any field means its default, so `(struct rpc_limits){0}` is a usable value. */
struct rpc_limits {
    uint32_t max_connections;    /* 1024; one more is closed at once */
    uint32_t max_per_host;       /* 256 connections of one address; one more is closed at once;
                                  UINT32_MAX: no limit but the one above */
    uint32_t max_per_local_host; /* the same for this host's own addresses and for each user of a
                                   Unix socket; 0: no limit */
    uint32_t max_handshakes;   /* 32 TLS handshakes at once, what one turn of the loop can bear; for
                                  one more the oldest is closed, which has had its time */
    uint32_t max_streams;      /* 100 concurrent calls per connection; one more is refused,
                                  after the peer acknowledged the limit with its connection */
    uint32_t max_header_bytes; /* 16 KiB as HTTP/2 counts them; more: RESOURCE_EXHAUSTED */
    size_t max_input_bytes;    /* 32 MiB of unfinished requests per connection; more: the call
                                  that wanted it is refused RESOURCE_EXHAUSTED */
    size_t max_output_bytes;   /* 32 MiB of queued responses per connection; more: sends refused */
    size_t max_total_bytes;    /* 512 MiB of both over all connections; same refusals */
    uint32_t handshake_ms;     /* 10 s for preface and SETTINGS, and for the head of a request of
                                  HTTP/1.1; later: connection closed */
    uint32_t request_ms;       /* 60 s from a call's first header to its last byte; later:
                                  DEADLINE_EXCEEDED */
    uint32_t write_stall_ms;   /* 60 s in which a reader takes nothing; the call is reset with
                                  ENHANCE_YOUR_CALM (clients see RESOURCE_EXHAUSTED), or the
                                  connection closed when the socket itself does not move */
    uint32_t idle_ms;          /* 15 min without a call; then GOAWAY "max_idle" */
    uint32_t page_idle_ms;     /* 60 s between two requests on a connection of HTTP/1.1; closed */
    uint32_t max_age_ms;       /* 0: none. Then GOAWAY "max_age", a tenth sooner or later; calls go
                                  on, new ones belong on another connection, */
    uint32_t max_age_grace_ms; /* for 5 min; then they end UNAVAILABLE */
    uint32_t min_ping_ms;      /* 10 s between two PINGs of a client to which nothing was sent in
                                  between; the third that comes sooner: GOAWAY "too_many_pings" */
    uint32_t keepalive_ms;     /* 2 min of silence; then PING, */
    uint32_t keepalive_wait_ms; /* 20 s for anything to be heard; then closed */
    uint32_t linger_ms;         /* 1 s for a closing peer to read the last frames */
};

/* Where a call comes from, before anybody is asked who it is. */
struct rpc_peer {
    const char *address;     /* as rpc_call_peer */
    const char *host;        /* as rpc_call_peer_host */
    const char *certificate; /* common name of the verified client certificate, or NULL */
    uint32_t uid;            /* of a Unix socket's peer; UINT32_MAX elsewhere */
    bool is_tls;
    bool is_loopback; /* TCP from this host, or a Unix socket */
};

/*
 * rpc_authorize_fn - may this peer call this method, and who is it?
 *
 * method  NULL for a page, whose rights are `rights`
 * bearer  [bearer_len] the text behind "Bearer " in the authorization header, or NULL
 * out     filled on success
 *
 * Called when a request's headers are whole, before any of its body is kept. Return 0, or -1 with
 * LTD_E_UNAUTHENTICATED or LTD_E_PERMISSION, which is the answer. It runs in the middle of reading
 * from a connection: it must answer from memory and call no function of rpc/. The bearer is wiped
 * when it returns, and is never logged.
 * Threads: loop thread.
 */
struct rpc_question {
    const struct rpc_peer *peer;
    const struct rpc_method *method;
    uint32_t rights;
    const char *bearer;
    size_t bearer_len;
};
typedef int (*rpc_authorize_fn)(void *arg, const struct rpc_question *question,
                                struct rpc_identity *out, struct ltd_err *err);

struct rpc_server_stats {
    uint64_t n_connections_total;   /* accepted since create */
    uint64_t n_connections_refused; /* over max_connections or a host's share */
    uint64_t n_calls_total;         /* handlers run */
    uint64_t n_abuse_closed;        /* connections closed with ENHANCE_YOUR_CALM */
    uint32_t n_connections;         /* open now, those that linger included */
    uint32_t n_calls;               /* handlers run whose on_end has not come */
    size_t buffered_bytes;          /* requests and responses in memory now */
};

#define RPC_N_STATUSES 17 /* of gRPC, OK included */

/* What became of the calls of one method; counted when a call is over. */
struct rpc_method_stats {
    uint64_t n_by_status[RPC_N_STATUSES]; /* as the client saw it, or CANCELLED when it was gone */
    uint64_t total_ns;                    /* from the first header to the end, over all of them */
};

/*
 * rpc_server_create - a server without a listener.
 *
 * methods  [n_methods], borrowed for the server's life; paths must be unique and begin with '/'
 * limits   copied; NULL for the defaults
 *
 * Returns an owned server, or NULL: LTD_E_INVALID for a bad table, LTD_E_EXHAUSTED without memory.
 * Threads: the loop's thread, like every function here.
 */
struct rpc_server *rpc_server_create(uv_loop_t *loop, const struct rpc_method *methods,
                                     size_t n_methods, const struct rpc_limits *limits,
                                     struct ltd_err *err);

/* rpc_server_set_authorize - ask `fn` for every call; before the first listen. */
void rpc_server_set_authorize(struct rpc_server *server, rpc_authorize_fn fn, void *arg);

/* rpc_server_set_pages - plain HTTP pages on every listener; borrowed, before the first listen. */
void rpc_server_set_pages(struct rpc_server *server, const struct rpc_page *pages, size_t n_pages);

/* rpc_server_set_tls - for listeners of the form "tls:HOST:PORT"; borrowed, before those. */
void rpc_server_set_tls(struct rpc_server *server, struct rpc_tls *tls);

/* rpc_server_listen_pages - an address that serves the pages alone, no calls; HTTP/1.1 and h2. */
int rpc_server_listen_pages(struct rpc_server *server, const char *address, struct ltd_err *err);

/*
 * rpc_server_listen - accept connections at `address`; may be called several times.
 *
 * address  "127.0.0.1:7470", "[::1]:7470", "localhost:7470" (first address it resolves to; blocks
 *          while it resolves), either behind "tls:", or "unix:/path". Port 0 takes a free one: rpc_server_address tells.
 *
 * A Unix socket that a dead server left behind is replaced; one that a live server answers, and
 * anything at that path that is not a socket, is refused and left alone. Two servers that start at
 * once are told apart by a lock on "/path.lock", which stays behind and is harmless.
 *
 * Errors:  LTD_E_INVALID (cannot be an address; TLS without certificates), LTD_E_EXISTS (in use), LTD_E_INTERNAL (the system
 *          call and its reason).
 */
int rpc_server_listen(struct rpc_server *server, const char *address, struct ltd_err *err);

/* The real address of the listener_idx-th listener, in the same notation; NULL behind the last. */
const char *rpc_server_address(const struct rpc_server *server, size_t listener_idx);

typedef void (*rpc_server_done_fn)(void *arg);

/*
 * rpc_server_drain - close the listeners, refuse new calls, let running ones finish.
 *
 * Connections get GOAWAY with the largest stream id at once and the real one one round trip
 * later. Calls that still run after `grace_ms` are ended with RPC_END_STOPPED and answered
 * UNAVAILABLE. `done` (may be NULL) comes once, from the loop, when the last connection is closed;
 * it may call rpc_server_destroy. A second drain only shortens the grace time.
 */
void rpc_server_drain(struct rpc_server *server, uint32_t grace_ms, rpc_server_done_fn done,
                      void *arg);

/*
 * rpc_server_destroy - end everything now; the pointer is dead on return. NULL is fine.
 *
 * Calls get on_end(RPC_END_STOPPED) before this returns. Memory goes when libuv has closed the
 * handles: the caller runs the loop for at least one more turn before uv_loop_close. Not from
 * inside a handler, on_writable or on_end (drain with a grace time of 0 is).
 */
void rpc_server_destroy(struct rpc_server *server);

void rpc_server_stats(const struct rpc_server *server, struct rpc_server_stats *out);

/* Of the method_idx-th row of the table; n_methods stands for calls of methods that have no row. */
const struct rpc_method_stats *rpc_server_method_stats(const struct rpc_server *server,
                                                       size_t method_idx);

#endif
