/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rpc/server.c - see rpc/server.h: listeners, the list of connections, the flush of a turn, the
 * end.
 *
 * One turn of the loop:
 *
 *     timers, asyncs, sockets ──▶ sessions ──▶ handlers ──▶ rpc_conn_want_flush
 *     check handle ──▶ flush every connection that wants it, once
 *
 * An idle handle runs only while a flush is wanted, so that a wish that came up after the check
 * phase does not wait for the next packet.
 *
 * Memory: the server lives until every handle of its own and of its connections is closed;
 * n_handles counts the server's own, the connection list the others.
 */
#include "rpc/server.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "rpc/conn.h"
#include "rpc/listener.h"

/* What all calls together may inflate in one turn of the loop: some 4 ms. */
#define WORK_BYTES_PER_TURN ((size_t)4 << 20)

struct rpc_server {
    struct rpc_shared shared; /* first member: on_conn_closed gets back from it to the server */

    uv_check_t check; /* flushes */
    uv_idle_t idle;   /* keeps the loop from blocking while a flush is wanted */

    struct rpc_listener *listeners; /* in order of rpc_server_listen */
    struct rpc_conn *conns;

    /* drain and destroy */
    struct rpc_timer grace;
    uint64_t grace_due_ns;
    rpc_server_done_fn done; /* NULL once called */
    void *done_arg;
    int n_handles; /* own handles that are not closed: check, idle, timer, listeners */
    bool destroyed;
};

static const struct rpc_limits defaults = {
    .max_connections = 1024,
    .max_per_host = 256,
    .max_per_local_host = 0,
    .max_handshakes = 32,
    .max_streams = 100,
    .max_header_bytes = 16 * 1024,
    .max_input_bytes = (size_t)32 << 20,
    .max_output_bytes = (size_t)32 << 20,
    .max_total_bytes = (size_t)512 << 20,
    .handshake_ms = 10 * 1000,
    .request_ms = 60 * 1000,
    .write_stall_ms = 60 * 1000,
    .idle_ms = 15 * 60 * 1000,
    .page_idle_ms = 60 * 1000,
    .max_age_ms = 0,
    .max_age_grace_ms = 5 * 60 * 1000,
    .min_ping_ms = 10 * 1000,
    .keepalive_ms = 2 * 60 * 1000,
    .keepalive_wait_ms = 20 * 1000,
    .linger_ms = 1000,
};

static void fill_limits(struct rpc_limits *out, const struct rpc_limits *given)
{
    const struct rpc_limits none = {0};
    const struct rpc_limits *in = given ? given : &none;
    *out = *in;
#define OR_DEFAULT(field) out->field = in->field ? in->field : defaults.field
    OR_DEFAULT(max_connections);
    OR_DEFAULT(max_per_host);
    OR_DEFAULT(max_per_local_host);
    OR_DEFAULT(max_handshakes);
    OR_DEFAULT(max_streams);
    OR_DEFAULT(max_header_bytes);
    OR_DEFAULT(max_input_bytes);
    OR_DEFAULT(max_output_bytes);
    OR_DEFAULT(max_total_bytes);
    OR_DEFAULT(handshake_ms);
    OR_DEFAULT(request_ms);
    OR_DEFAULT(write_stall_ms);
    OR_DEFAULT(idle_ms);
    OR_DEFAULT(page_idle_ms);
    OR_DEFAULT(max_age_ms);
    OR_DEFAULT(max_age_grace_ms);
    OR_DEFAULT(min_ping_ms);
    OR_DEFAULT(keepalive_ms);
    OR_DEFAULT(keepalive_wait_ms);
    OR_DEFAULT(linger_ms);
#undef OR_DEFAULT
}

/* ---- end ---- */

static void free_server(struct rpc_server *server)
{
    nghttp2_session_callbacks_del(server->shared.callbacks);
    nghttp2_option_del(server->shared.options);
    free(server->shared.read_buffer);
    free(server->shared.method_stats);
    free(server);
}

static void maybe_free(struct rpc_server *server)
{
    if (server->destroyed && server->n_handles == 0 && !server->conns)
        free_server(server);
}

/* The last connection is closed and no new one can come: a drain is over. */
static void maybe_done(struct rpc_server *server)
{
    if (!server->shared.draining || server->listeners || server->conns || server->destroyed)
        return;
    rpc_timer_clear(&server->shared.timers, &server->grace);
    rpc_server_done_fn done = server->done;
    server->done = NULL;
    if (done)
        done(server->done_arg);
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct rpc_server *server = handle->data;
    server->n_handles--;
    maybe_free(server);
}

static void on_listener_closed(void *arg)
{
    struct rpc_server *server = arg;
    server->n_handles--;
    if (server->destroyed)
        maybe_free(server);
}

static void on_conn_closed(struct rpc_shared *shared, struct rpc_conn *conn)
{
    struct rpc_server *server = (struct rpc_server *)shared;
    if (conn->prev)
        conn->prev->next = conn->next;
    else
        server->conns = conn->next;
    if (conn->next)
        conn->next->prev = conn->prev;
    shared->stats.n_connections--;
    if (server->destroyed)
        maybe_free(server);
    else
        maybe_done(server);
}

/* ---- flush ---- */

static void on_idle(uv_idle_t *idle)
{
    (void)idle;
}

static void on_flush_wanted(struct rpc_shared *shared)
{
    struct rpc_server *server = (struct rpc_server *)shared;
    if (!server->destroyed)
        uv_idle_start(&server->idle, on_idle);
}

/* Calls of any connection may have been told "full" for the sake of all; tell them of the room. */
static void unstarve(struct rpc_server *server)
{
    struct rpc_shared *shared = &server->shared;
    if (!shared->starved || shared->stats.buffered_bytes >= shared->limits.max_total_bytes)
        return;
    shared->starved = false;
    for (struct rpc_conn *conn = server->conns; conn; conn = conn->next)
        if (conn->n_wanting > 0)
            rpc_conn_want_flush(conn);
}

static void on_check(uv_check_t *check)
{
    struct rpc_server *server = check->data;
    server->shared.work_left = WORK_BYTES_PER_TURN;
    struct rpc_conn *list = server->shared.flush_first;
    server->shared.flush_first = NULL;
    while (list) {
        struct rpc_conn *conn = list;
        list = conn->flush_next;
        rpc_conn_flush(conn);
    }
    unstarve(server);
    if (!server->shared.flush_first)
        uv_idle_stop(&server->idle);
}

/* ---- accept ---- */

/* One handshake costs a millisecond with RSA; a client that means well is through with it long
 * before as many others have come behind it. */
static void close_oldest_handshake(struct rpc_server *server)
{
    struct rpc_conn *oldest = NULL;
    for (struct rpc_conn *conn = server->conns; conn; conn = conn->next)
        if (conn->counts_handshake)
            oldest = conn; /* the list has the newest first */
    if (oldest)
        rpc_conn_close_now(oldest, RPC_CLOSE_HANDSHAKE, "too many at once");
}

static void accept_one(struct rpc_server *server, const struct rpc_listener *listener, int take_fd,
                       bool pages_only)
{
    struct rpc_shared *shared = &server->shared;
    if (shared->stats.n_connections >= shared->limits.max_connections) {
        shared->stats.n_connections_refused++;
        close(take_fd);
        ltd_debug("rpc: connection refused, %u are open", shared->stats.n_connections);
        return;
    }
    struct ltd_err err = {0};
    if (listener->is_tls && shared->n_handshakes >= shared->limits.max_handshakes)
        close_oldest_handshake(server);
    struct rpc_conn *conn = rpc_conn_open(shared, take_fd, listener->is_tls, pages_only, &err);
    if (!conn && err.code == LTD_E_EXHAUSTED)
        shared->stats.n_connections_refused++;
    if (!conn) {
        /* A flood of refusals must not become a flood of lines. */
        ltd_log(err.code == LTD_E_EXHAUSTED ? LTD_LOG_DEBUG : LTD_LOG_WARNING, "rpc: accept: %s",
                err.msg);
        return;
    }
    conn->next = server->conns;
    if (conn->next)
        conn->next->prev = conn;
    server->conns = conn;
    shared->stats.n_connections++;
    shared->stats.n_connections_total++;
}

static void on_accept(void *arg, const struct rpc_listener *listener, int take_fd)
{
    accept_one(arg, listener, take_fd, false);
}

static void on_accept_pages(void *arg, const struct rpc_listener *listener, int take_fd)
{
    accept_one(arg, listener, take_fd, true);
}

/* ---- create ---- */

static int check_methods(const struct rpc_method *methods, size_t n_methods, struct ltd_err *err)
{
    for (size_t i = 0; i < n_methods; i++) {
        const char *path = methods[i].path;
        if (!path || path[0] != '/' || (!methods[i].handler && !methods[i].open))
            return ltd_fail(err, LTD_E_INVALID,
                            "method %zu ('%s'): needs a path from '/' and a "
                            "handler",
                            i, path ? path : "");
        for (size_t k = 0; k < i; k++)
            if (strcmp(methods[k].path, path) == 0)
                return ltd_fail(err, LTD_E_INVALID, "method %s is there twice", path);
    }
    return 0;
}

static void close_own_handles(struct rpc_server *server)
{
    uv_close((uv_handle_t *)&server->check, on_handle_closed);
    uv_close((uv_handle_t *)&server->idle, on_handle_closed);
    /* The timers' own data pointer is theirs; nobody fires them once closing. */
    server->shared.timers.uv.data = server;
    uv_close((uv_handle_t *)&server->shared.timers.uv, on_handle_closed);
}

static void on_grace(void *arg);

/* libuv's init functions for these three only register; they fail for no input of ours. */
static void init_handles(struct rpc_server *server, uv_loop_t *loop)
{
    uv_check_init(loop, &server->check);
    uv_idle_init(loop, &server->idle);
    rpc_timers_init(&server->shared.timers, loop);
    server->check.data = server;
    server->idle.data = server;
    server->n_handles = 3;
    uv_check_start(&server->check, on_check);
    rpc_timer_init(&server->grace, on_grace, server);
    server->grace_due_ns = LTD_NEVER;
}

struct rpc_server *rpc_server_create(uv_loop_t *loop, const struct rpc_method *methods,
                                     size_t n_methods, const struct rpc_limits *limits,
                                     struct ltd_err *err)
{
    if (check_methods(methods, n_methods, err) != 0)
        return NULL;
    struct rpc_server *server = calloc(1, sizeof *server);
    if (!server)
        return ltd_fail_null(err, LTD_E_EXHAUSTED, "no memory for a server");
    struct rpc_shared *shared = &server->shared;
    fill_limits(&shared->limits, limits);
    shared->loop = loop;
    shared->work_left = WORK_BYTES_PER_TURN;
    shared->methods = methods;
    shared->n_methods = n_methods;
    shared->on_flush_wanted = on_flush_wanted;
    shared->on_conn_closed = on_conn_closed;
    shared->callbacks = rpc_conn_callbacks_create();
    shared->options = rpc_conn_options_create();
    shared->read_buffer = malloc(RPC_READ_BYTES);
    shared->method_stats = calloc(n_methods + 1, sizeof *shared->method_stats);
    if (!shared->callbacks || !shared->options || !shared->read_buffer || !shared->method_stats) {
        free_server(server);
        return ltd_fail_null(err, LTD_E_EXHAUSTED, "no memory for a server");
    }
    init_handles(server, loop);
    return server;
}

void rpc_server_set_authorize(struct rpc_server *server, rpc_authorize_fn fn, void *arg)
{
    server->shared.authorize = fn;
    server->shared.authorize_arg = arg;
}

void rpc_server_set_pages(struct rpc_server *server, const struct rpc_page *pages, size_t n_pages)
{
    server->shared.pages = pages;
    server->shared.n_pages = n_pages;
}

static int listen_for(struct rpc_server *server, const char *address, rpc_accept_fn on_accepted,
                      struct ltd_err *err)
{
    if (server->shared.draining)
        return ltd_fail(err, LTD_E_PRECONDITION, "listen at %s: the server is draining", address);
    if (strncmp(address, "tls:", 4) == 0 && !server->shared.tls)
        return ltd_fail(err, LTD_E_INVALID, "listen at %s: no certificate and key are given",
                        address);
    struct rpc_listener *l =
        rpc_listener_open(server->shared.loop, address, on_accepted, server, err);
    if (!l)
        return -1;
    struct rpc_listener **last = &server->listeners;
    while (*last)
        last = &(*last)->next;
    *last = l;
    server->n_handles++;
    return 0;
}

int rpc_server_listen(struct rpc_server *server, const char *address, struct ltd_err *err)
{
    return listen_for(server, address, on_accept, err);
}

int rpc_server_listen_pages(struct rpc_server *server, const char *address, struct ltd_err *err)
{
    return listen_for(server, address, on_accept_pages, err);
}

void rpc_server_set_tls(struct rpc_server *server, struct rpc_tls *tls)
{
    server->shared.tls = tls;
}

const char *rpc_server_address(const struct rpc_server *server, size_t listener_idx)
{
    const struct rpc_listener *l = server->listeners;
    while (l && listener_idx-- > 0)
        l = l->next;
    return l ? l->address : NULL;
}

/* ---- drain and destroy ---- */

static void close_listeners(struct rpc_server *server)
{
    while (server->listeners) {
        struct rpc_listener *l = server->listeners;
        server->listeners = l->next;
        rpc_listener_close(l, on_listener_closed);
    }
}

/* The grace time is over, or there was nothing to wait for. */
static void on_grace(void *arg)
{
    struct rpc_server *server = arg;
    struct rpc_conn *next;
    server->grace_due_ns = LTD_NEVER;
    for (struct rpc_conn *conn = server->conns; conn; conn = next) {
        next = conn->next;
        rpc_conn_stop(conn);
    }
    maybe_done(server);
}

void rpc_server_drain(struct rpc_server *server, uint32_t grace_ms, rpc_server_done_fn done,
                      void *arg)
{
    uint64_t due = ltd_deadline_ns(grace_ms);
    if (!server->shared.draining) {
        server->shared.draining = true;
        server->done = done;
        server->done_arg = arg;
        close_listeners(server);
        for (struct rpc_conn *conn = server->conns; conn; conn = conn->next)
            rpc_conn_drain(conn);
    }
    /* Without a connection there is nothing to wait for; the timer still calls `done`, from the
     * loop, because a caller that drains may not expect it before this returns. */
    if (!server->conns)
        due = ltd_now_ns();
    if (due < server->grace_due_ns) {
        server->grace_due_ns = due;
        rpc_timer_set(&server->shared.timers, &server->grace, due);
    }
}

void rpc_server_destroy(struct rpc_server *server)
{
    if (!server)
        return;
    ltd_assert(server->shared.n_in_callback == 0, server->shared.n_in_callback, 0);
    close_listeners(server);
    struct rpc_conn *next;
    for (struct rpc_conn *conn = server->conns; conn; conn = next) {
        next = conn->next;
        rpc_conn_close_now(conn, RPC_CLOSE_STOPPED, NULL);
    }
    server->destroyed = true;
    rpc_timer_clear(&server->shared.timers, &server->grace);
    close_own_handles(server);
}

void rpc_server_stats(const struct rpc_server *server, struct rpc_server_stats *out)
{
    *out = server->shared.stats;
}

const struct rpc_method_stats *rpc_server_method_stats(const struct rpc_server *server,
                                                       size_t method_idx)
{
    ltd_assert(method_idx <= server->shared.n_methods, method_idx, server->shared.n_methods);
    return &server->shared.method_stats[method_idx];
}
