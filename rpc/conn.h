/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rpc/conn.h - one server connection: a transport, an nghttp2 session, and a state.
 *
 *         ┌───────"GET ", "HEAD "──────▶ PAGES ─────────────────────┐
 *     HANDSHAKE ──SETTINGS of the client──▶ OPEN ──drain, age──▶ DRAINING
 *         │                                  │                       │ no call left
 *         └──────────────rpc_conn_close(reason)──────────────────────┤
 *                                                                    ▼
 *                    CLOSED ◀──EOF, linger over── LINGER ◀──last bytes taken── FLUSH
 *                      ▲
 *                      └── rpc_conn_close_now(reason), from any state
 *
 * Four sentences of contract:
 *   1. Nothing but set_state() in conn.c changes `state`, and nothing but rpc_conn_close and
 *      rpc_conn_close_now ends a connection; both take the reason, which is logged once.
 *   2. rpc_conn_close is polite: calls end, GOAWAY with the reason is sent, the write side is shut
 *      down, input is discarded for up to linger_ms so that the peer can read the GOAWAY (a socket
 *      closed with unread input is reset, and the reset overtakes the GOAWAY).
 *   3. rpc_conn_close_now ends calls and handles at once; memory goes in libuv's close callback, so
 *      whoever is up the stack may still look at the connection and finds CLOSED.
 *   4. No handler and no call callback runs inside a callback of nghttp2: calls that became ready or
 *      ended are put on a list, and the list is worked off when the session has returned.
 *
 * The first octets say what the peer speaks, and nothing is sent before they have come: an HTTP/2
 * client speaks first in any case, and one of HTTP/1.1 must not be greeted with frames.
 *
 * Bytes leave once per turn of the loop: everything that has something to say calls
 * rpc_conn_want_flush, and the server's check handle flushes all of them after the turn's input.
 *
 * Threads: the loop's thread.
 */
#ifndef LATENTD_RPC_CONN_H
#define LATENTD_RPC_CONN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <nghttp2/nghttp2.h>
#include <uv.h>

#include "base/err.h"
#include "rpc/address.h"
#include "rpc/h2_scan.h"
#include "rpc/hosts.h"
#include "rpc/pings.h"
#include "rpc/server.h"
#include "rpc/timers.h"
#include "rpc/transport.h"

struct rpc_call;
struct rpc_conn;
struct rpc_http1;

/* What the connections of one server have in common; embedded in the server, which fills it in. */
struct rpc_shared {
    uv_loop_t *loop;
    struct rpc_limits limits; /* no zeros left */
    const struct rpc_method *methods;
    size_t n_methods;
    const struct rpc_page *pages; /* [n_pages] */
    size_t n_pages;
    rpc_authorize_fn authorize; /* NULL: everybody may do everything */
    void *authorize_arg;
    nghttp2_session_callbacks *callbacks;
    nghttp2_option *options;
    uint8_t *read_buffer; /* [RPC_READ_BYTES] */
    struct rpc_tls *tls;  /* borrowed; NULL: no listener has TLS */
    struct rpc_timers timers;
    struct rpc_hosts hosts;
    uint32_t n_handshakes; /* of TLS, begun and not over */
    struct rpc_server_stats stats;
    struct rpc_method_stats *method_stats; /* [n_methods + 1]; the last for unknown methods */
    bool draining;                         /* new calls are refused */
    size_t work_left;             /* bytes that may still be inflated in this turn of the loop */
    bool starved;                 /* a call was told "full" because of max_total_bytes */
    int n_in_callback;            /* > 0 while a handler or call callback runs: no destroy then */
    struct rpc_conn *flush_first; /* connections that want a flush, newest first */
    void (*on_flush_wanted)(struct rpc_shared *shared); /* the list was empty until now */
    void (*on_conn_closed)(struct rpc_shared *shared, struct rpc_conn *conn); /* unlink it */
};

enum rpc_conn_state {
    RPC_CONN_HANDSHAKE, /* preface and SETTINGS have not come */
    RPC_CONN_OPEN,
    RPC_CONN_PAGES,    /* HTTP/1.1: pages, one request after the other */
    RPC_CONN_DRAINING, /* GOAWAY announced; running calls finish, new ones are refused */
    RPC_CONN_FLUSH,    /* the session is over; its last bytes are on their way */
    RPC_CONN_LINGER,   /* write side shut down; input is discarded until the peer closes */
    RPC_CONN_CLOSED,   /* handles are closing; memory goes in the close callback */
};

enum rpc_close {
    RPC_CLOSE_PEER,      /* the peer closed or reset the socket */
    RPC_CLOSE_COMPLETE,  /* the session has nothing left to say: drained, or the peer said GOAWAY */
    RPC_CLOSE_PROTOCOL,  /* the peer broke HTTP/2 */
    RPC_CLOSE_ABUSE,     /* frames that bring nothing, headers without end */
    RPC_CLOSE_HANDSHAKE, /* handshake_ms passed */
    RPC_CLOSE_IDLE,      /* idle_ms passed, or page_idle_ms */
    RPC_CLOSE_AGE,       /* max_age_ms passed, and the calls that ran are over or had their grace */
    RPC_CLOSE_PINGS,     /* PINGs sooner than they may come */
    RPC_CLOSE_WINDOW,    /* the peer made a window larger than there is */
    RPC_CLOSE_KEEPALIVE, /* a PING was not answered */
    RPC_CLOSE_STALL,     /* the socket took nothing for write_stall_ms */
    RPC_CLOSE_STOPPED,   /* grace time over, or the server was destroyed */
    RPC_CLOSE_NO_MEMORY,
};

struct rpc_conn {
    /* identity */
    struct rpc_shared *shared;
    struct rpc_conn *prev, *next; /* the server's list */
    char peer[RPC_ADDRESS_BYTES];
    char peer_host[RPC_HOST_BYTES]; /* without port and process */
    struct rpc_peer who;            /* the same for the authorize function */
    struct rpc_host *host;          /* where this connection is counted */

    /* machinery */
    struct rpc_transport transport;
    nghttp2_session *h2;     /* NULL once FLUSH is reached, and in PAGES */
    struct rpc_http1 *http1; /* in PAGES only */
    uint8_t first[5];        /* octets that came before it was clear what the peer speaks */
    uint8_t n_first;
    bool recognised;
    bool pages_only;       /* its listener serves no calls */
    bool counts_handshake; /* in shared->n_handshakes */
    struct rpc_scan scan;
    struct rpc_pings pings;
    struct rpc_timer timer; /* the earliest of everything that next_due() in conn.c lists */

    /* state */
    enum rpc_conn_state state;
    uint64_t entered_ns;       /* when `state` was entered; in PAGES, when the wait for a request,
                                  or for the rest of one, began */
    uint64_t heard_ns;         /* last bytes from the peer */
    uint64_t moved_ns;         /* last time the kernel took bytes, or had nothing pending */
    uint64_t idle_ns;          /* since when there is no call */
    uint64_t pinged_ns;        /* keepalive PING that waits for an answer; 0: none */
    uint64_t retire_ns;        /* when it is too old; LTD_NEVER */
    bool too_old;              /* DRAINING because of that */
    bool goaway_final;         /* DRAINING: the GOAWAY with the real last stream id is submitted */
    bool settings_came;        /* SETTINGS of the peer, whose consequences are not all sent */
    uint32_t n_fields;         /* of the header block that comes in */
    int32_t highest_stream_id; /* of the client's streams */
    const char *fatal;         /* set inside nghttp2's callbacks, acted on after it returned */
    enum rpc_close fatal_reason;

    /* calls */
    struct rpc_call *calls; /* all, newest first */
    uint32_t n_calls;
    struct rpc_call *pending_first; /* became ready or ended; worked off by rpc_conn_dispatch */
    struct rpc_call **pending_last;
    bool has_put_off;    /* one of `calls` is put off */
    uint32_t n_wanting;  /* calls that wait for on_writable */
    size_t input_bytes;  /* of unfinished requests */
    size_t output_bytes; /* queued in calls */

    bool flush_wanted;
    struct rpc_conn *flush_next;
};

/*
 * rpc_conn_open - take an accepted socket and serve it.
 *
 * take_fd     always taken: closed on failure
 * is_tls      speak TLS with the certificates of shared->tls; HANDSHAKE then begins with TLS's own,
 *             under the same limit of time
 * pages_only  answer no calls
 * Returns a connection that owns itself until shared->on_conn_closed, or NULL.
 */
struct rpc_conn *rpc_conn_open(struct rpc_shared *shared, int take_fd, bool is_tls, bool pages_only,
                               struct ltd_err *err);

/* rpc_conn_close - polite; `detail` (may be NULL) says more than the reason, for the log only. */
void rpc_conn_close(struct rpc_conn *conn, enum rpc_close reason, const char *detail);
void rpc_conn_close_now(struct rpc_conn *conn, enum rpc_close reason, const char *detail);

/* rpc_conn_drain - announce GOAWAY; the connection closes when its last call is over. */
void rpc_conn_drain(struct rpc_conn *conn);

/* rpc_conn_retire - the same because of its age: GOAWAY says "max_age". */
void rpc_conn_retire(struct rpc_conn *conn);

/* rpc_conn_stop - end the calls with UNAVAILABLE, then close politely. */
void rpc_conn_stop(struct rpc_conn *conn);

/* rpc_conn_end_calls - end them with UNAVAILABLE and `message`, then close politely. */
void rpc_conn_end_calls(struct rpc_conn *conn, enum rpc_close reason, const char *message);

/* rpc_conn_want_flush - send what there is when the turn's input has been read. */
void rpc_conn_want_flush(struct rpc_conn *conn);

/* rpc_conn_flush - by the server's check handle only. */
void rpc_conn_flush(struct rpc_conn *conn);

/* rpc_conn_fail - close for `detail` (static text) as soon as the session has returned. */
void rpc_conn_fail(struct rpc_conn *conn, enum rpc_close reason, const char *detail);

/* rpc_conn_defer - put a call on the list of those to be looked at outside the session. */
void rpc_conn_defer(struct rpc_conn *conn, struct rpc_call *call);

/* rpc_conn_put_off - look at a call again in the next turn of the loop. */
void rpc_conn_put_off(struct rpc_conn *conn, struct rpc_call *call);

/* ---- between conn.c and conn_time.c ---- */

/* Set the timer for whatever is due next. */
void rpc_conn_arm(struct rpc_conn *conn);
void rpc_conn_on_timer(void *arg);
/* The second GOAWAY of a drain. */
void rpc_conn_drain_final(struct rpc_conn *conn);
/* The last step: nothing more is said or heard. */
void rpc_conn_release(struct rpc_conn *conn);

/* The session's callbacks and options, the same for all connections. NULL without memory. */
nghttp2_session_callbacks *rpc_conn_callbacks_create(void);
nghttp2_option *rpc_conn_options_create(void);

#endif
