/* SPDX-License-Identifier: Apache-2.0 */
/* rpc/transport.c - see rpc/transport.h. */
#include "rpc/transport.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Reads in a row from one socket before others get their turn. */
#define READS_PER_TURN 4

static void on_poll(uv_poll_t *poll, int status, int events);

static void poll_for(struct rpc_transport *t, int events)
{
    if (t->polled == events)
        return;
    t->polled = events;
    if (events == 0)
        uv_poll_stop(&t->poll);
    else
        uv_poll_start(&t->poll, events, on_poll);
}

static void end(struct rpc_transport *t, const struct ltd_err *why)
{
    poll_for(t, t->polled & ~UV_READABLE);
    if (t->ended)
        return;
    t->ended = true;
    t->events->on_end(t->arg, why);
}

static void read_some(struct rpc_transport *t)
{
    struct ltd_err why = {0};
    for (int i = 0; i < READS_PER_TURN && !t->closing; i++) {
        ssize_t n = recv(t->fd, t->read_buffer, RPC_READ_BYTES, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return;
        if (n <= 0) {
            if (n < 0)
                ltd_fail(&why, LTD_E_PEER, "read from connection: %s", strerror(errno));
            end(t, &why);
            return;
        }
        t->events->on_data(t->arg, t->read_buffer, (size_t)n);
        if ((size_t)n < RPC_READ_BYTES)
            return;
    }
}

static void write_more(struct rpc_transport *t)
{
    struct ltd_err why = {0};
    if (rpc_transport_flush(t, &why) != 0)
        t->events->on_end(t->arg, &why);
    else if (rpc_transport_pending_bytes(t) == 0)
        t->events->on_room(t->arg);
}

/*
 * libuv has stopped the handle because the socket is in error. What the peer sent before it failed,
 * the reason for its going away perhaps, may still be there; reading it also tells the error's
 * name.
 */
static void on_poll_error(struct rpc_transport *t)
{
    struct ltd_err why = {0};
    t->polled = 0;
    read_some(t);
    if (t->closing || t->ended)
        return;
    ltd_fail(&why, LTD_E_PEER, "the connection is in error");
    end(t, &why);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct rpc_transport *t = poll->data;
    if (status < 0) {
        on_poll_error(t);
        return;
    }
    if (events & UV_WRITABLE)
        write_more(t);
    if ((events & UV_READABLE) && !t->closing)
        read_some(t);
}

int rpc_transport_init(struct rpc_transport *t, uv_loop_t *loop, int take_fd, uint8_t *read_buffer,
                       struct ltd_err *err)
{
    *t = (struct rpc_transport){.read_buffer = read_buffer, .fd = take_fd};
    int rv = uv_poll_init(loop, &t->poll, take_fd);
    if (rv != 0)
        return ltd_fail(err, LTD_E_INTERNAL, "poll a connection: %s", uv_strerror(rv));
    t->poll.data = t;
    return 0;
}

void rpc_transport_start(struct rpc_transport *t, const struct rpc_transport_events *events,
                         void *arg)
{
    t->events = events;
    t->arg = arg;
    poll_for(t, UV_READABLE);
}

int rpc_transport_put(struct rpc_transport *t, const void *data, size_t len, struct ltd_err *err)
{
    ltd_bytes_put(&t->out, data, len);
    if (t->out.failed)
        return ltd_fail(err, LTD_E_EXHAUSTED, "no memory for %zu bytes of output", len);
    return 0;
}

int rpc_transport_flush(struct rpc_transport *t, struct ltd_err *err)
{
    while (t->out_begin < t->out.len) {
        ssize_t n = send(t->fd, t->out.data + t->out_begin, t->out.len - t->out_begin,
                         MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n >= 0) {
            t->out_begin += (size_t)n;
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            poll_for(t, t->polled | UV_WRITABLE);
            return 0;
        } else if (errno != EINTR) {
            t->ended = true;
            poll_for(t, 0);
            return ltd_fail(err, LTD_E_PEER, "write to connection: %s", strerror(errno));
        }
    }
    /* An idle connection keeps no buffer; the allocator hands the same block out next time. */
    ltd_bytes_fini(&t->out);
    t->out_begin = 0;
    poll_for(t, t->polled & ~UV_WRITABLE);
    return 0;
}

size_t rpc_transport_pending_bytes(const struct rpc_transport *t)
{
    return t->out.len - t->out_begin;
}

void rpc_transport_shutdown(struct rpc_transport *t)
{
    shutdown(t->fd, SHUT_WR);
}

static void on_closed(uv_handle_t *handle)
{
    struct rpc_transport *t = handle->data;
    t->closed(t->arg);
}

void rpc_transport_close(struct rpc_transport *t, void (*closed)(void *arg), void *arg)
{
    t->closing = true;
    t->ended = true;
    t->closed = closed;
    t->arg = arg;
    ltd_bytes_fini(&t->out);
    t->out_begin = 0;
    uv_close((uv_handle_t *)&t->poll, on_closed);
    close(t->fd);
    t->fd = -1;
}
