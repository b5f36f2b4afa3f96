/* SPDX-License-Identifier: Apache-2.0 */
/* rpc/transport.c - see rpc/transport.h. */
#include "rpc/transport.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* With TLS the read buffer's first half takes what comes, its second half what is made of it: two
 * records of the largest size each. */
#define TLS_READ_BYTES (RPC_READ_BYTES / 2)

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

/* An alert says why before the connection goes; a kernel that does not take it keeps it. */
static void end_tls(struct rpc_transport *t, const struct ltd_err *why)
{
    bool ended = t->ended;
    rpc_transport_flush(t, NULL);
    t->ended = ended; /* whether or not it could leave, the owner hears this reason */
    poll_for(t, t->polled & ~UV_WRITABLE);
    end(t, why);
}

/* Hand over what TLS makes of the bytes it was fed. False when there will be nothing more. */
static bool decrypt(struct rpc_transport *t)
{
    struct ltd_err why = {0};
    uint8_t *plain = t->read_buffer + TLS_READ_BYTES;
    while (!t->closing) {
        size_t n;
        switch (rpc_tls_session_next(t->tls, plain, TLS_READ_BYTES, &n, &t->out, &why)) {
        case RPC_TLS_MORE:
            return true;
        case RPC_TLS_SECURE:
            if (t->events->on_secure)
                t->events->on_secure(t->arg);
            break;
        case RPC_TLS_DATA:
            t->events->on_data(t->arg, plain, n);
            break;
        case RPC_TLS_END:
        case RPC_TLS_FAILED:
            end_tls(t, &why);
            return false;
        }
    }
    return false;
}

/* Offer what is pending; tell when nothing is left of it. */
static void write_out(struct rpc_transport *t)
{
    struct ltd_err why = {0};
    if (rpc_transport_flush(t, &why) != 0)
        rpc_transport_give_up(t, &why);
    else if (rpc_transport_pending_bytes(t) == 0 && rpc_transport_is_secure(t))
        t->events->on_room(t->arg);
}

/* `n` bytes have come into the read buffer. False when there will be nothing more. */
static bool hand_over(struct rpc_transport *t, size_t n)
{
    if (!t->tls) {
        t->events->on_data(t->arg, t->read_buffer, n);
        return true;
    }
    if (t->shut)
        return true;
    rpc_tls_session_feed(t->tls, t->read_buffer, n);
    return decrypt(t);
}

/* One turn of reads. `answers`: what TLS has to say to it is written, as long as it can be. */
static void read_turn(struct rpc_transport *t, bool answers)
{
    struct ltd_err why = {0};
    size_t wanted = t->tls ? TLS_READ_BYTES : RPC_READ_BYTES;
    for (int i = 0; i < READS_PER_TURN && !t->closing; i++) {
        ssize_t n = recv(t->fd, t->read_buffer, wanted, MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return;
        if (n <= 0) {
            if (n < 0)
                ltd_fail(&why, LTD_E_PEER, "read from connection: %s", strerror(errno));
            else if (!rpc_transport_is_secure(t))
                ltd_fail(&why, LTD_E_PEER, "closed in the TLS handshake");
            end(t, &why);
            return;
        }
        /* The handshake may have something to say, and what waited for its end may go. */
        if (hand_over(t, (size_t)n) && t->tls && answers && !t->closing &&
            rpc_transport_pending_bytes(t) > 0)
            write_out(t);
        if ((size_t)n < wanted)
            return;
    }
}

void rpc_transport_give_up(struct rpc_transport *t, const struct ltd_err *why)
{
    t->ended = false;
    read_turn(t, false);
    if (!t->closing)
        end(t, why);
}

static void write_more(struct rpc_transport *t)
{
    /* A client's handshake begins here, when the socket is writable for the first time. */
    if (!rpc_transport_is_secure(t) && !decrypt(t))
        return;
    write_out(t);
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
    read_turn(t, true);
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
    if ((events & UV_READABLE) && !t->closing && !t->ended)
        read_turn(t, true);
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

void rpc_transport_set_tls(struct rpc_transport *t, struct rpc_tls_session *take_session)
{
    t->tls = take_session;
}

void rpc_transport_start(struct rpc_transport *t, const struct rpc_transport_events *events,
                         void *arg)
{
    t->events = events;
    t->arg = arg;
    poll_for(t, UV_READABLE | (t->tls ? UV_WRITABLE : 0));
}

int rpc_transport_put(struct rpc_transport *t, const void *data, size_t len, struct ltd_err *err)
{
    struct ltd_bytes *to = t->tls ? &t->plain : &t->out;
    ltd_bytes_put(to, data, len);
    if (to->failed)
        return ltd_fail(err, LTD_E_EXHAUSTED, "no memory for %zu bytes of output", len);
    return 0;
}

static int encrypt(struct rpc_transport *t, struct ltd_err *err)
{
    int rv = rpc_tls_session_write(t->tls, t->plain.data, t->plain.len, &t->out, err);
    ltd_bytes_fini(&t->plain);
    if (rv != 0) {
        t->ended = true;
        poll_for(t, 0);
    }
    return rv;
}

int rpc_transport_flush(struct rpc_transport *t, struct ltd_err *err)
{
    if (t->plain.len > 0 && rpc_transport_is_secure(t) && encrypt(t, err) != 0)
        return -1;
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
    if (t->shut)
        shutdown(t->fd, SHUT_WR);
    return 0;
}

size_t rpc_transport_pending_bytes(const struct rpc_transport *t)
{
    return t->plain.len + t->out.len - t->out_begin;
}

bool rpc_transport_waits_for_room(const struct rpc_transport *t)
{
    return t->polled & UV_WRITABLE;
}

bool rpc_transport_is_secure(const struct rpc_transport *t)
{
    return !t->tls || rpc_tls_session_is_secure(t->tls);
}

enum rpc_tls_protocol rpc_transport_protocol(const struct rpc_transport *t)
{
    return t->tls ? rpc_tls_session_protocol(t->tls) : RPC_TLS_PROTOCOL_NONE;
}

const char *rpc_transport_peer_name(const struct rpc_transport *t)
{
    return t->tls ? rpc_tls_session_peer_name(t->tls) : NULL;
}

void rpc_transport_shutdown(struct rpc_transport *t)
{
    t->shut = true;
    if (t->tls)
        rpc_tls_session_close(t->tls, &t->out);
    rpc_transport_flush(t, NULL); /* the close_notify; then the write side is closed */
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
    ltd_bytes_fini(&t->plain);
    ltd_bytes_fini(&t->out);
    t->out_begin = 0;
    rpc_tls_session_destroy(t->tls);
    t->tls = NULL;
    uv_close((uv_handle_t *)&t->poll, on_closed);
    close(t->fd);
    t->fd = -1;
}
