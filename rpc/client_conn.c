/* SPDX-License-Identifier: Apache-2.0 */
/* rpc/client_conn.c - one connection of a client: see rpc/client_impl.h. */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "rpc/client_impl.h"
#include "rpc/status.h"

/* 1 MiB per stream, 4 MiB per connection: a large answer without a round trip per 64 KiB. */
#define STREAM_WINDOW_BYTES (1024 * 1024)
#define CONN_WINDOW_BYTES   (4 * 1024 * 1024)

/* Written in one piece to the kernel. */
#define GATHER_BYTES ((size_t)64 * 1024)

/* One connect() under way. Its memory outlives the connection until libuv has closed the handle. */
struct client_attempt {
    uv_poll_t poll;
    struct client_conn *conn; /* NULL: given up */
    int fd;
};

static void try_next(struct client_conn *conn, const char *why);

/* ---- end ---- */

static void free_conn(struct client_conn *conn)
{
    if (conn->resolving || conn->has_transport)
        return; /* the callback that clears the last of them comes here again */
    latentd_client *client = conn->client;
    if (conn->prev)
        conn->prev->next = conn->next;
    else
        client->conns = conn->next;
    if (conn->next)
        conn->next->prev = conn->prev;
    if (conn->found)
        uv_freeaddrinfo(conn->found);
    free(conn);
}

static void on_transport_closed(void *arg)
{
    struct client_conn *conn = arg;
    conn->has_transport = false;
    free_conn(conn);
}

static void on_attempt_closed(uv_handle_t *handle)
{
    free(handle->data);
}

/* The descriptor is the caller's from here on. */
static int drop_attempt(struct client_conn *conn)
{
    struct client_attempt *attempt = conn->attempt;
    int fd = attempt->fd;
    conn->attempt = NULL;
    attempt->conn = NULL;
    uv_close((uv_handle_t *)&attempt->poll, on_attempt_closed);
    return fd;
}

void client_conn_fail(struct client_conn *conn, int status, const char *message)
{
    if (conn->state == CLIENT_CONN_CLOSED)
        return;
    latentd_client *client = conn->client;
    conn->state = CLIENT_CONN_CLOSED;
    if (client->current == conn)
        client->current = NULL;
    client_fail(&client->last_loss, status, "%s", message);
    rpc_timer_clear(&client->timers, &conn->connect_timer);
    nghttp2_session *h2 = conn->h2;
    conn->h2 = NULL;
    while (conn->calls)
        client_call_end(conn->calls, status, false, message);
    nghttp2_session_del(h2);
    if (conn->attempt)
        close(drop_attempt(conn));
    if (conn->resolving)
        uv_cancel((uv_req_t *)&conn->resolver);
    if (conn->has_transport)
        rpc_transport_close(&conn->transport, on_transport_closed, conn);
    else
        free_conn(conn);
}

static void fail_connect(struct client_conn *conn, int status, const char *why)
{
    char message[RPC_ADDRESS_BYTES + LTD_ERR_MSG_BYTES + 32]; /* client_fail cuts it */
    snprintf(message, sizeof message, "connect to %s: %s", conn->client->address_text, why);
    client_conn_fail(conn, status, message);
}

static void on_connect_timeout(void *arg)
{
    struct client_conn *conn = arg;
    char why[60];
    snprintf(why, sizeof why, "no answer within %u ms", conn->client->connect_ms);
    fail_connect(conn, RPC_DEADLINE_EXCEEDED, why);
}

/* ---- session ---- */

static latentd_call *call_of(nghttp2_session *h2, int32_t stream_id)
{
    return nghttp2_session_get_stream_user_data(h2, stream_id);
}

static int on_header(nghttp2_session *h2, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
                     void *user_data)
{
    latentd_call *call = call_of(h2, frame->hd.stream_id);
    (void)flags;
    (void)user_data;
    if (call)
        client_call_header(call, name, name_len, value, value_len);
    return 0;
}

static int on_data_chunk(nghttp2_session *h2, uint8_t flags, int32_t stream_id, const uint8_t *data,
                         size_t len, void *user_data)
{
    latentd_call *call = call_of(h2, stream_id);
    (void)flags;
    (void)user_data;
    if (call)
        client_call_data(call, data, len);
    return 0;
}

static int on_frame_recv(nghttp2_session *h2, const nghttp2_frame *frame, void *user_data)
{
    struct client_conn *conn = user_data;
    (void)h2;
    if (frame->hd.type == NGHTTP2_SETTINGS && !conn->greeted) {
        conn->greeted = true;
        rpc_timer_clear(&conn->client->timers, &conn->connect_timer);
    }
    if (frame->hd.type != NGHTTP2_GOAWAY || conn->state != CLIENT_CONN_READY)
        return 0;
    conn->state = CLIENT_CONN_RETIRED;
    if (conn->client->current == conn)
        conn->client->current = NULL;
    return 0;
}

/* A request that was still inside the session when the server said GOAWAY. */
static int on_frame_not_send(nghttp2_session *h2, const nghttp2_frame *frame, int lib_error,
                             void *user_data)
{
    (void)user_data;
    (void)lib_error;
    if (frame->hd.type != NGHTTP2_HEADERS)
        return 0;
    latentd_call *call = call_of(h2, frame->hd.stream_id);
    if (!call)
        return 0;
    call->stream_id = 0;
    client_call_end(call, RPC_UNAVAILABLE, false, "the server takes no new calls");
    return 0;
}

static int on_stream_close(nghttp2_session *h2, int32_t stream_id, uint32_t h2_error,
                           void *user_data)
{
    latentd_call *call = call_of(h2, stream_id);
    (void)user_data;
    if (!call)
        return 0;
    nghttp2_session_set_stream_user_data(h2, stream_id, NULL);
    client_call_closed(call, h2_error);
    return 0;
}

static int start_session(struct client_conn *conn)
{
    const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, STREAM_WINDOW_BYTES},
    };
    nghttp2_session_callbacks *c;
    if (nghttp2_session_callbacks_new(&c) != 0)
        return -1;
    nghttp2_session_callbacks_set_on_header_callback(c, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(c, on_data_chunk);
    nghttp2_session_callbacks_set_on_frame_recv_callback(c, on_frame_recv);
    nghttp2_session_callbacks_set_on_frame_not_send_callback(c, on_frame_not_send);
    nghttp2_session_callbacks_set_on_stream_close_callback(c, on_stream_close);
    int rv = nghttp2_session_client_new(&conn->h2, c, conn);
    nghttp2_session_callbacks_del(c);
    if (rv != 0)
        return -1;
    if (nghttp2_submit_settings(conn->h2, NGHTTP2_FLAG_NONE, settings, 2) != 0 ||
        nghttp2_session_set_local_window_size(conn->h2, NGHTTP2_FLAG_NONE, 0, CONN_WINDOW_BYTES) !=
            0)
        return -1; /* client_conn_fail deletes the session */
    return 0;
}

/* ---- transport ---- */

static void lose(struct client_conn *conn, const char *why)
{
    char message[RPC_ADDRESS_BYTES + LTD_ERR_MSG_BYTES + 32]; /* client_fail cuts it */
    snprintf(message, sizeof message, "connection to %s lost: %s", conn->client->address_text, why);
    client_conn_fail(conn, RPC_UNAVAILABLE, message);
}

/* Why a session ended that nobody closed. */
static const char *session_error(const struct client_conn *conn)
{
    if (conn->state == CLIENT_CONN_RETIRED)
        return "closed by the server";
    return conn->greeted ? "the server broke HTTP/2" : "the answer is not HTTP/2: is it a latentd?";
}

static void on_data(void *arg, const uint8_t *data, size_t len)
{
    struct client_conn *conn = arg;
    ssize_t n = nghttp2_session_mem_recv(conn->h2, data, len);
    if (n < 0)
        lose(conn, n == NGHTTP2_ERR_NOMEM ? "out of memory" : session_error(conn));
}

static void on_transport_end(void *arg, const struct ltd_err *why)
{
    struct client_conn *conn = arg;
    /* A server of TLS 1.3 judges our certificate when the handshake is over for us: what it says of
     * it comes in place of its SETTINGS. */
    if (conn->client->tls && !conn->greeted && why->code != LTD_OK)
        fail_connect(conn,
                     why->code == LTD_E_UNAUTHENTICATED ? RPC_UNAUTHENTICATED : RPC_UNAVAILABLE,
                     why->msg);
    else
        lose(conn, why->code == LTD_OK ? "closed by the server" : why->msg);
}

static void on_room(void *arg)
{
    client_conn_flush(arg);
}

/* HTTP/2 may be spoken: the connection is made, or TLS's handshake on it is over. */
static void on_ready(void *arg)
{
    struct client_conn *conn = arg;
    if (!conn->client->tls)
        rpc_timer_clear(&conn->client->timers, &conn->connect_timer);
    if (start_session(conn) != 0) {
        fail_connect(conn, RPC_RESOURCE_EXHAUSTED, "out of memory");
        return;
    }
    conn->state = CLIENT_CONN_READY;
    latentd_call *next;
    for (latentd_call *call = conn->calls; call; call = next) {
        next = call->next;
        client_call_submit(call);
    }
}

static const struct rpc_transport_events transport_events = {
    .on_data = on_data,
    .on_end = on_transport_end,
    .on_room = on_room,
    .on_secure = on_ready,
};

static int gather(struct client_conn *conn)
{
    while (rpc_transport_pending_bytes(&conn->transport) < GATHER_BYTES) {
        const uint8_t *frame;
        ssize_t n = nghttp2_session_mem_send(conn->h2, &frame);
        if (n == 0)
            return 0;
        if (n < 0 || rpc_transport_put(&conn->transport, frame, (size_t)n, NULL) != 0)
            return -1;
    }
    return 0;
}

void client_conn_flush(struct client_conn *conn)
{
    struct ltd_err err = {0};
    while (conn->h2 && conn->has_transport && rpc_transport_pending_bytes(&conn->transport) == 0) {
        if (gather(conn) != 0) {
            lose(conn, "out of memory");
            return;
        }
        if (rpc_transport_pending_bytes(&conn->transport) == 0)
            break;
        if (rpc_transport_flush(&conn->transport, &err) != 0) {
            rpc_transport_give_up(&conn->transport, &err);
            return;
        }
    }
    /* Nothing runs on it and nothing more can: a retired connection, or a session that gave up. */
    if (conn->h2 && !nghttp2_session_want_read(conn->h2) && !nghttp2_session_want_write(conn->h2))
        lose(conn, session_error(conn));
}

/* ---- connect ---- */

/* A token is worth as much as a password: it goes where nobody else hears it, or nowhere. */
static bool may_send_token(const latentd_client *client, int fd)
{
    struct sockaddr_storage sa = {0};
    socklen_t sa_bytes = sizeof sa;
    if (!client->authorization || client->tls || client->token_may_leave)
        return true;
    return getpeername(fd, (struct sockaddr *)&sa, &sa_bytes) == 0 &&
           rpc_address_is_loopback((struct sockaddr *)&sa);
}

static int open_transport(struct client_conn *conn, int take_fd, struct ltd_err *err)
{
    latentd_client *client = conn->client;
    struct rpc_tls_session *tls = NULL;
    if (client->tls && !(tls = rpc_tls_session_create(client->tls, client->server_name, err)))
        goto fail;
    if (rpc_transport_init(&conn->transport, &client->loop, take_fd, client->read_buffer, err) != 0)
        goto fail;
    rpc_transport_set_tls(&conn->transport, tls);
    conn->has_transport = true;
    return 0;
fail:
    rpc_tls_session_destroy(tls);
    close(take_fd);
    return -1;
}

static void on_connected(struct client_conn *conn, int take_fd)
{
    int one = 1;
    struct ltd_err err = {0};
    setsockopt(take_fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one); /* fails on a Unix socket */
    if (!may_send_token(conn->client, take_fd)) {
        close(take_fd);
        fail_connect(conn, RPC_FAILED_PRECONDITION,
                     "the token would cross the network in plaintext; use a tls: address");
        return;
    }
    if (open_transport(conn, take_fd, &err) != 0) {
        fail_connect(conn, ltd_code_grpc(err.code), err.msg);
        return;
    }
    rpc_transport_start(&conn->transport, &transport_events, conn);
    if (!conn->client->tls)
        on_ready(conn);
}

/* What the reason means to somebody at a shell. */
static const char *connect_error(int error)
{
    if (error == ECONNREFUSED)
        return "connection refused: is latentd running?";
    if (error == ENOENT)
        return "no such socket: is latentd running?";
    if (error == EAGAIN)
        return "its queue of connections is full";
    return strerror(error);
}

static void on_attempt(uv_poll_t *poll, int status, int events)
{
    struct client_attempt *attempt = poll->data;
    struct client_conn *conn = attempt->conn;
    int error = 0;
    socklen_t error_bytes = sizeof error;
    (void)events;
    if (getsockopt(attempt->fd, SOL_SOCKET, SO_ERROR, &error, &error_bytes) != 0)
        error = errno;
    if (error == 0 && status < 0)
        error = -status;
    int fd = drop_attempt(conn);
    if (error == 0) {
        on_connected(conn, fd);
        return;
    }
    close(fd);
    try_next(conn, connect_error(error));
}

/* Returns 0 when the connect is under way, or the reason. */
static const char *begin_attempt(struct client_conn *conn, const struct sockaddr *sa,
                                 socklen_t sa_bytes)
{
    int fd = socket(sa->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return strerror(errno);
    struct client_attempt *attempt = calloc(1, sizeof *attempt);
    if (!attempt) {
        close(fd);
        return "out of memory";
    }
    if (connect(fd, sa, sa_bytes) != 0 && errno != EINPROGRESS) {
        const char *why = connect_error(errno);
        close(fd);
        free(attempt);
        return why;
    }
    if (uv_poll_init(&conn->client->loop, &attempt->poll, fd) != 0) {
        close(fd);
        free(attempt);
        return "cannot be polled";
    }
    attempt->poll.data = attempt;
    attempt->conn = conn;
    attempt->fd = fd;
    conn->attempt = attempt;
    conn->state = CLIENT_CONN_CONNECTING;
    uv_poll_start(&attempt->poll, UV_WRITABLE, on_attempt);
    return NULL;
}

/* The next address that the name stands for; the last one's reason is the one to tell. */
static void try_next(struct client_conn *conn, const char *why)
{
    while (conn->found_next) {
        const struct addrinfo *one = conn->found_next;
        conn->found_next = one->ai_next;
        why = begin_attempt(conn, one->ai_addr, one->ai_addrlen);
        if (!why)
            return;
    }
    fail_connect(conn, RPC_UNAVAILABLE, why);
}

static void on_resolved(uv_getaddrinfo_t *resolver, int status, struct addrinfo *found)
{
    struct client_conn *conn = resolver->data;
    conn->resolving = false;
    conn->found = conn->found_next = found;
    if (conn->state == CLIENT_CONN_CLOSED)
        free_conn(conn);
    else if (status != 0)
        fail_connect(conn, RPC_UNAVAILABLE, uv_strerror(status));
    else
        try_next(conn, "the name has no address");
}

static void begin_unix(struct client_conn *conn)
{
    const struct sockaddr_un *path = &conn->client->address.path;
    const char *why = begin_attempt(conn, (const struct sockaddr *)path, sizeof *path);
    if (why)
        fail_connect(conn, RPC_UNAVAILABLE, why);
}

static void begin_tcp(struct client_conn *conn)
{
    const struct rpc_address *where = &conn->client->address;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV};
    /* A number needs no resolver, and so no thread of libuv's pool in this process. */
    if (getaddrinfo(where->host, where->port, &hints, &conn->found) == 0) {
        conn->found_next = conn->found;
        try_next(conn, "");
        return;
    }
    hints.ai_flags = AI_NUMERICSERV;
    conn->resolver.data = conn;
    int rv = uv_getaddrinfo(&conn->client->loop, &conn->resolver, on_resolved, where->host,
                            where->port, &hints);
    if (rv != 0)
        fail_connect(conn, RPC_UNAVAILABLE, uv_strerror(rv));
    else
        conn->resolving = true;
}

int client_conn_start(latentd_client *client, latentd_error *err)
{
    struct client_conn *conn = calloc(1, sizeof *conn);
    if (!conn)
        return client_fail(err, RPC_RESOURCE_EXHAUSTED, "no memory for a connection");
    conn->client = client;
    conn->next = client->conns;
    if (conn->next)
        conn->next->prev = conn;
    client->conns = conn;
    client->current = conn;
    rpc_timer_init(&conn->connect_timer, on_connect_timeout, conn);
    rpc_timer_set(&client->timers, &conn->connect_timer, ltd_deadline_ns(client->connect_ms));
    if (client->address.is_unix)
        begin_unix(conn);
    else
        begin_tcp(conn);
    if (!client->current) {
        if (err)
            *err = client->last_loss;
        return -1;
    }
    return 0;
}

void client_conn_add(struct client_conn *conn, latentd_call *call)
{
    call->conn = conn;
    call->prev = conn->calls_tail;
    call->next = NULL;
    if (call->prev)
        call->prev->next = call;
    else
        conn->calls = call;
    conn->calls_tail = call;
    if (conn->state == CLIENT_CONN_READY)
        client_call_submit(call);
}
