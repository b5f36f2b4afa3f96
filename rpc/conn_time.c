/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rpc/conn_time.c - everything that happens to a connection because time has passed.
 *
 * A connection has one timer. next_due() lists what may be due in each state; the timer is set for
 * the earliest, and when it fires, it is looked at again what is due, because most of it has moved
 * on since: bytes were heard, calls began. So nothing that moves a time touches the timer.
 */
#include "rpc/conn.h"

#include "base/clock.h"
#include "rpc/http1.h"

/* The real GOAWAY of a drain follows the PING's answer, or this when there is none. */
#define DRAIN_NOTICE_MS 1000

static uint64_t after_ms(uint64_t from_ns, uint32_t ms)
{
    return from_ns + (uint64_t)ms * LTD_NS_PER_MS;
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t stall_due(const struct rpc_conn *conn)
{
    if (rpc_transport_pending_bytes(&conn->transport) == 0)
        return LTD_NEVER;
    return after_ms(conn->moved_ns, conn->shared->limits.write_stall_ms);
}

static uint64_t idle_due(const struct rpc_conn *conn)
{
    if (conn->state != RPC_CONN_OPEN || conn->n_calls > 0)
        return LTD_NEVER;
    return after_ms(conn->idle_ns, conn->shared->limits.idle_ms);
}

/* When the connection has lived long enough, or, when that was said, has had time to end. */
static uint64_t age_due(const struct rpc_conn *conn)
{
    if (conn->state == RPC_CONN_DRAINING && conn->too_old)
        return after_ms(conn->entered_ns, conn->shared->limits.max_age_grace_ms);
    return conn->state == RPC_CONN_OPEN ? conn->retire_ns : LTD_NEVER;
}

/* A request must come whole in the time of a handshake; between two there is more. */
static uint64_t page_due(const struct rpc_conn *conn)
{
    const struct rpc_limits *limits = &conn->shared->limits;
    if (rpc_transport_pending_bytes(&conn->transport) > 0)
        return stall_due(conn);
    return after_ms(conn->entered_ns,
                    conn->http1->in.len > 0 ? limits->handshake_ms : limits->page_idle_ms);
}

/* When to send a PING, or to give up on the one that was sent. */
static uint64_t keepalive_due(const struct rpc_conn *conn)
{
    const struct rpc_limits *limits = &conn->shared->limits;
    if (conn->pinged_ns != 0)
        return after_ms(conn->pinged_ns, limits->keepalive_wait_ms);
    return after_ms(conn->heard_ns, limits->keepalive_ms);
}

/* The earliest time at which the connection's timer has something to do. */
static uint64_t next_due(const struct rpc_conn *conn)
{
    const struct rpc_limits *limits = &conn->shared->limits;
    switch (conn->state) {
    case RPC_CONN_HANDSHAKE:
        return after_ms(conn->entered_ns, limits->handshake_ms);
    case RPC_CONN_OPEN:
        return earlier(earlier(stall_due(conn), age_due(conn)),
                       earlier(idle_due(conn), keepalive_due(conn)));
    case RPC_CONN_PAGES:
        return page_due(conn);
    case RPC_CONN_DRAINING:
        if (!conn->goaway_final)
            return after_ms(conn->entered_ns, DRAIN_NOTICE_MS);
        return earlier(earlier(stall_due(conn), age_due(conn)), keepalive_due(conn));
    case RPC_CONN_FLUSH:
    case RPC_CONN_LINGER:
        return after_ms(conn->entered_ns, limits->linger_ms);
    case RPC_CONN_CLOSED:
        return LTD_NEVER;
    }
    return LTD_NEVER;
}

void rpc_conn_arm(struct rpc_conn *conn)
{
    rpc_timer_set_earlier(&conn->shared->timers, &conn->timer, next_due(conn));
}

static void keepalive(struct rpc_conn *conn, uint64_t now)
{
    /* Anything heard since the PING proves the peer alive, not only the answer. */
    if (conn->pinged_ns != 0 && conn->heard_ns < conn->pinged_ns) {
        rpc_conn_close(conn, RPC_CLOSE_KEEPALIVE, NULL);
        return;
    }
    conn->pinged_ns = now;
    nghttp2_submit_ping(conn->h2, NGHTTP2_FLAG_NONE, NULL);
    rpc_conn_want_flush(conn);
}

/* Whichever of page_due() it was. */
static void close_pages_late(struct rpc_conn *conn)
{
    if (rpc_transport_pending_bytes(&conn->transport) > 0)
        rpc_conn_close_now(conn, RPC_CLOSE_STALL, NULL);
    else if (conn->http1->in.len > 0)
        rpc_conn_close(conn, RPC_CLOSE_HANDSHAKE, NULL);
    else
        rpc_conn_close(conn, RPC_CLOSE_IDLE, NULL);
}

/* The timer may have been set for something that has moved on since: look, act or set it again. */
void rpc_conn_on_timer(void *arg)
{
    struct rpc_conn *conn = arg;
    uint64_t now = ltd_now_ns();
    if (next_due(conn) > now) {
        rpc_conn_arm(conn);
        return;
    }
    if (conn->state == RPC_CONN_HANDSHAKE)
        rpc_conn_close(conn, RPC_CLOSE_HANDSHAKE, NULL);
    else if (conn->state == RPC_CONN_PAGES)
        close_pages_late(conn);
    else if (conn->state == RPC_CONN_FLUSH || conn->state == RPC_CONN_LINGER)
        rpc_conn_release(conn);
    else if (stall_due(conn) <= now)
        rpc_conn_close_now(conn, RPC_CLOSE_STALL, NULL);
    else if (conn->state == RPC_CONN_DRAINING && !conn->goaway_final)
        rpc_conn_drain_final(conn);
    else if (idle_due(conn) <= now)
        rpc_conn_close(conn, RPC_CLOSE_IDLE, NULL);
    else if (age_due(conn) <= now && conn->state == RPC_CONN_OPEN)
        rpc_conn_retire(conn);
    else if (age_due(conn) <= now)
        rpc_conn_end_calls(conn, RPC_CLOSE_AGE, "the connection is too old; connect again");
    else
        keepalive(conn, now);
    rpc_conn_arm(conn);
}
