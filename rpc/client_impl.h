/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rpc/client_impl.h - the inside of a client, shared by its three files and by nobody else.
 *
 *     client.c       the public functions, the private loop, delivery of results
 *     client_call.c  one call: request headers and body, response, how it ended
 *     client_conn.c  one connection: resolve, connect, session, loss
 *
 *     RESOLVING ──▶ CONNECTING ──▶ READY ──GOAWAY──▶ RETIRED ──last call over──┐
 *         └─────────────┴───────────┴────────failure, close────────────────────┴──▶ CLOSED
 *
 * A client has at most one current connection, which takes new calls; retired ones finish theirs.
 * Calls that start before READY wait in the connection and are submitted in order of starting.
 *
 * Whatever ends a call records its result once (latentd_call_end) and puts it on the client's list
 * of results; on_done is called from that list, outside nghttp2. on_message is called inside
 * nghttp2's data callback, where starting and resetting streams is allowed and nothing else is.
 *
 * Threads: the thread that calls the client's functions; `cancel` is the one door for others.
 */
#ifndef LATENTD_RPC_CLIENT_IMPL_H
#define LATENTD_RPC_CLIENT_IMPL_H

#include <netdb.h>
#include <stdbool.h>

#include <nghttp2/nghttp2.h>
#include <uv.h>

#include "rpc/address.h"
#include "rpc/client.h"
#include "rpc/grpc_frame.h"
#include "rpc/timers.h"
#include "rpc/transport.h"

enum client_conn_state {
    CLIENT_CONN_RESOLVING,
    CLIENT_CONN_CONNECTING, /* TCP, then TLS */
    CLIENT_CONN_READY,
    CLIENT_CONN_RETIRED, /* the server said GOAWAY: no new calls, running ones finish */
    CLIENT_CONN_CLOSED,  /* handles are closing */
};

struct client_conn {
    latentd_client *client;
    struct client_conn *prev, *next; /* client->conns */
    enum client_conn_state state;

    uv_getaddrinfo_t resolver;
    bool resolving;                 /* libuv still holds `resolver` */
    struct addrinfo *found;         /* owned; what the name resolved to */
    struct addrinfo *found_next;    /* to be tried next */
    struct client_attempt *attempt; /* the connect that is under way */
    struct rpc_timer connect_timer;

    struct rpc_transport transport; /* while has_transport: from the TCP connection on */
    bool has_transport;
    bool greeted; /* the server's SETTINGS have come: it speaks HTTP/2, and took our certificate */
    nghttp2_session *h2;
    latentd_call *calls; /* oldest first */
    latentd_call *calls_tail;
};

struct latentd_call {
    latentd_client *client;
    struct client_conn *conn;  /* NULL once ended */
    latentd_call *prev, *next; /* conn->calls; after the end, client->results through next */

    char *path;               /* owned */
    struct ltd_bytes request; /* framed */
    size_t request_sent;
    latentd_call_events events;
    void *arg;
    uint64_t deadline_ns;
    uint32_t timeout_ms;
    struct rpc_timer timer;

    int32_t stream_id; /* 0: not submitted */
    int http_status;   /* 0: no response headers yet */
    bool is_grpc;      /* content-type of the response */
    int grpc_status;   /* -1: not seen */
    struct rpc_frame_reader reader;
    uint32_t retry_after_ms; /* of grpc-status-details-bin; 0: not seen */
    char reason[64];         /* of the same; "": not seen */
    char message[480];       /* grpc-message, decoded */
    bool ended;
    latentd_error result; /* final once `ended` */
};

struct latentd_client {
    uv_loop_t loop;
    uv_async_t cancel;
    struct rpc_timers timers;
    struct rpc_address address;
    char address_text[RPC_ADDRESS_BYTES];
    uint32_t connect_ms;
    struct rpc_tls *tls;  /* owned; NULL: plaintext */
    char *server_name;    /* owned; what the server's certificate must hold; NULL without TLS */
    char *authorization;  /* owned; "Bearer …", secret; NULL: no token */
    bool token_may_leave; /* in plaintext, to another host */
    uint8_t *read_buffer;

    struct client_conn *conns;
    struct client_conn *current; /* takes new calls; NULL: connect at the next one */
    latentd_call *results;       /* ended, on_done not called; oldest first */
    latentd_call **results_last;
    size_t n_calls; /* started, on_done not called */
    bool running;   /* inside the loop: callbacks may be on the stack */
    bool closing;
    latentd_error last_loss; /* why the last connection attempt failed, for open */
};

/* ---- client_conn.c ---- */

/* Begin to connect; client->current is the new connection. -1 without memory. */
int client_conn_start(latentd_client *client, latentd_error *err);

/* Put a call on the connection; it is submitted at once or when the connection is ready. */
void client_conn_add(struct client_conn *conn, latentd_call *call);

/* Send what there is. The connection may be closed when this returns. */
void client_conn_flush(struct client_conn *conn);

/* Every call on it ends with `status` and `message`; the connection goes. */
void client_conn_fail(struct client_conn *conn, int status, const char *message);

/* ---- client_call.c ---- */

latentd_call *client_call_create(latentd_client *client, const latentd_request *request,
                                 latentd_error *err);
void client_call_destroy(latentd_call *call);

/* Submit the request to its connection's session. */
void client_call_submit(latentd_call *call);

/* Record how the call ended, once, and queue it for delivery; a stream that still runs is reset. */
void client_call_end(latentd_call *call, int status, bool from_server, const char *message);

/* What the session reports. */
void client_call_header(latentd_call *call, const uint8_t *name, size_t name_len,
                        const uint8_t *value, size_t value_len);
void client_call_data(latentd_call *call, const uint8_t *data, size_t len);
void client_call_closed(latentd_call *call, uint32_t h2_error);

/* ---- client.c ---- */

/* Fill `err` (may be NULL): one line of valid UTF-8. Returns -1. */
int client_fail(latentd_error *err, int status, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#endif
