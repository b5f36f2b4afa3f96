/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rpc/conn.c - see rpc/conn.h. In order: state and closing, what nghttp2 calls, input, output, open.
 * What time does to a connection is in rpc/conn_time.c.
 *
 * nghttp2 must not be asked to send, to terminate or to be deleted from inside its own callbacks;
 * they only note what shall happen (rpc_conn_fail, rpc_conn_defer), and on_data() acts when
 * nghttp2_session_mem_recv has returned.
 */
#include "rpc/conn.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "rpc/http1.h"
#include "rpc/stream.h"

/* Gathered before one write: the socket buffer's usual order of size. */
#define GATHER_BYTES ((size_t)64 * 1024)

/* Gather, write, let handlers refill: so often in one turn, then the other connections' turn. */
#define FLUSH_ROUNDS 8

/* 1 MiB on the way per connection: a request of the largest usual size without a round trip. */
#define CONN_WINDOW_BYTES   (1024 * 1024)
#define STREAM_WINDOW_BYTES (256 * 1024)

/* Requests of HTTP/1.1 answered in one turn; a page may be dear, and others wait. */
#define PAGES_PER_TURN 4

static const uint8_t drain_ping[8] = {'d', 'r', 'a', 'i', 'n', 0, 0, 0};

static void dispatch(struct rpc_conn *conn);

/* ---- state and closing ---- */

static const struct {
    const char *text; /* for the log, and for the peer as GOAWAY's debug data */
    uint32_t h2_error;
    bool quiet; /* ordinary life, port scanners included: logged at debug level */
} reasons[] = {
    [RPC_CLOSE_PEER] = {"closed by the peer", NGHTTP2_NO_ERROR, true},
    [RPC_CLOSE_COMPLETE] = {"session complete", NGHTTP2_NO_ERROR, true},
    [RPC_CLOSE_PROTOCOL] = {"protocol error", NGHTTP2_PROTOCOL_ERROR, true},
    [RPC_CLOSE_ABUSE] = {"too_many_useless_frames", NGHTTP2_ENHANCE_YOUR_CALM, false},
    [RPC_CLOSE_HANDSHAKE] = {"handshake took too long", NGHTTP2_SETTINGS_TIMEOUT, true},
    [RPC_CLOSE_IDLE] = {"max_idle", NGHTTP2_NO_ERROR, true},
    [RPC_CLOSE_AGE] = {"max_age", NGHTTP2_NO_ERROR, true},
    [RPC_CLOSE_PINGS] = {"too_many_pings", NGHTTP2_ENHANCE_YOUR_CALM, false},
    [RPC_CLOSE_WINDOW] = {"flow control error", NGHTTP2_FLOW_CONTROL_ERROR, true},
    [RPC_CLOSE_KEEPALIVE] = {"ping_timeout", NGHTTP2_NO_ERROR, true},
    [RPC_CLOSE_STALL] = {"peer reads nothing", NGHTTP2_ENHANCE_YOUR_CALM, false},
    [RPC_CLOSE_STOPPED] = {"server stopped", NGHTTP2_NO_ERROR, true},
    [RPC_CLOSE_NO_MEMORY] = {"out of memory", NGHTTP2_INTERNAL_ERROR, false},
};

static void set_state(struct rpc_conn *conn, enum rpc_conn_state state)
{
    conn->state = state;
    conn->entered_ns = ltd_now_ns();
    rpc_conn_arm(conn);
}

static void note_close(struct rpc_conn *conn, enum rpc_close reason, const char *detail)
{
    ltd_log(reasons[reason].quiet ? LTD_LOG_DEBUG : LTD_LOG_WARNING,
            "rpc: connection %s closed: %s%s%s", conn->peer, reasons[reason].text,
            detail ? ": " : "", detail ? detail : "");
    if (reasons[reason].h2_error == NGHTTP2_ENHANCE_YOUR_CALM)
        conn->shared->stats.n_abuse_closed++;
}

/* Every call is over; the session is forgotten. After this the connection is bytes and timers. */
static void end_session(struct rpc_conn *conn, enum rpc_end end)
{
    while (conn->calls) {
        struct rpc_call *call = conn->calls;
        call->stream_closed = true;
        rpc_stream_detach(call, end);
        rpc_stream_destroy(call);
    }
    conn->pending_first = NULL;
    conn->pending_last = &conn->pending_first;
    nghttp2_session_del(conn->h2);
    conn->h2 = NULL;
}

static void end_pages(struct rpc_conn *conn)
{
    rpc_http1_fini(conn->http1);
    free(conn->http1);
    conn->http1 = NULL;
}

/* True while there is somebody to talk to: the state is before FLUSH. */
static bool is_live(const struct rpc_conn *conn)
{
    return conn->h2 || conn->http1;
}

static void on_transport_closed(void *arg)
{
    struct rpc_conn *conn = arg;
    conn->shared->on_conn_closed(conn->shared, conn);
    free(conn);
}

static enum rpc_end end_for(enum rpc_close reason)
{
    return reason == RPC_CLOSE_STOPPED || reason == RPC_CLOSE_AGE ? RPC_END_STOPPED
                                                                  : RPC_END_CONNECTION;
}

/* Off the server's list of flushes, if it is there: the list does not own what it names. */
static void forget_flush(struct rpc_conn *conn)
{
    for (struct rpc_conn **at = &conn->shared->flush_first; *at; at = &(*at)->flush_next) {
        if (*at != conn)
            continue;
        *at = conn->flush_next;
        conn->flush_wanted = false;
        return;
    }
}

void rpc_conn_release(struct rpc_conn *conn)
{
    forget_flush(conn);
    rpc_timer_clear(&conn->shared->timers, &conn->timer);
    if (conn->counts_handshake)
        conn->shared->n_handshakes--;
    conn->counts_handshake = false;
    rpc_hosts_give(&conn->shared->hosts, conn->host);
    conn->host = NULL;
    set_state(conn, RPC_CONN_CLOSED);
    rpc_transport_close(&conn->transport, on_transport_closed, conn);
}

void rpc_conn_close_now(struct rpc_conn *conn, enum rpc_close reason, const char *detail)
{
    if (conn->state == RPC_CONN_CLOSED)
        return;
    if (is_live(conn))
        note_close(conn, reason, detail);
    if (conn->h2)
        end_session(conn, end_for(reason));
    if (conn->http1)
        end_pages(conn);
    rpc_conn_release(conn);
}

/* GOAWAY written by hand: the library's own cannot carry a text when it also ends the session, nor
 * when it announces the end. What was gathered are whole frames, so it may stand behind them. */
static void put_goaway(struct rpc_conn *conn, int32_t last_stream_id, uint32_t h2_error,
                       const char *text)
{
    uint32_t numbers[2] = {(uint32_t)last_stream_id, h2_error};
    uint8_t frame[9 + 8] = {0, 0, (uint8_t)(8 + strlen(text)), NGHTTP2_GOAWAY};
    for (int i = 0; i < 8; i++)
        frame[9 + i] = (uint8_t)(numbers[i / 4] >> (24 - 8 * (i % 4)));
    if (rpc_transport_put(&conn->transport, frame, sizeof frame, NULL) == 0)
        rpc_transport_put(&conn->transport, text, strlen(text), NULL);
}

/* Take what the session wants to send, up to GATHER_BYTES. False: it failed and cannot go on. */
static bool gather(struct rpc_conn *conn, struct ltd_err *err)
{
    while (rpc_transport_pending_bytes(&conn->transport) < GATHER_BYTES) {
        const uint8_t *frame;
        ssize_t n = nghttp2_session_mem_send(conn->h2, &frame);
        if (n == 0)
            break;
        if (n < 0) {
            ltd_fail(err, LTD_E_INTERNAL, "%s", nghttp2_strerror((int)n));
            return false;
        }
        if (rpc_transport_put(&conn->transport, frame, (size_t)n, err) != 0)
            return false;
    }
    return true;
}

/* FLUSH goes over to LINGER as soon as the kernel has everything. */
static void flush_last(struct rpc_conn *conn)
{
    struct ltd_err err = {0};
    if (rpc_transport_flush(&conn->transport, &err) != 0) {
        rpc_conn_release(conn);
    } else if (rpc_transport_pending_bytes(&conn->transport) == 0) {
        rpc_transport_shutdown(&conn->transport);
        set_state(conn, RPC_CONN_LINGER);
    }
}

static bool is_sound(enum rpc_close reason)
{
    return reason != RPC_CLOSE_ABUSE && reason != RPC_CLOSE_PROTOCOL &&
           reason != RPC_CLOSE_WINDOW && reason != RPC_CLOSE_NO_MEMORY;
}

/* The last words of an HTTP/2 connection. */
static void say_goodbye(struct rpc_conn *conn, enum rpc_close reason)
{
    if (!conn->recognised)
        return; /* who knows what language it would be in */
    /* A session that failed must not be asked for anything more; its peer gets the reason alone. */
    if (is_sound(reason))
        gather(conn, NULL);
    if (reason != RPC_CLOSE_COMPLETE)
        put_goaway(conn, nghttp2_session_get_last_proc_stream_id(conn->h2),
                   reasons[reason].h2_error, reasons[reason].text);
}

void rpc_conn_close(struct rpc_conn *conn, enum rpc_close reason, const char *detail)
{
    if (!is_live(conn))
        return;
    note_close(conn, reason, detail);
    if (conn->h2) {
        say_goodbye(conn, reason);
        end_session(conn, end_for(reason));
    } else {
        end_pages(conn);
    }
    set_state(conn, RPC_CONN_FLUSH);
    flush_last(conn);
}

/* Why it ends, in a GOAWAY without an error; a server that drains has never said more than that. */
static const char *end_text(const struct rpc_conn *conn)
{
    return conn->too_old ? reasons[RPC_CLOSE_AGE].text : "";
}

/* What the client opens before it hears of the end is still served, hence the largest number. The
 * PING stands behind the notice, so that its answer proves that the notice was read. Nothing is sent
 * here: a handler may be the one that drains, and a peer that has gone would take its call away. */
static void announce_end(struct rpc_conn *conn)
{
    if (conn->state != RPC_CONN_OPEN)
        return;
    gather(conn, NULL);
    put_goaway(conn, INT32_MAX, NGHTTP2_NO_ERROR, end_text(conn));
    nghttp2_submit_ping(conn->h2, NGHTTP2_FLAG_NONE, drain_ping);
    set_state(conn, RPC_CONN_DRAINING);
    rpc_conn_want_flush(conn);
}

void rpc_conn_drain(struct rpc_conn *conn)
{
    if (conn->state == RPC_CONN_HANDSHAKE || conn->state == RPC_CONN_PAGES)
        rpc_conn_close(conn, RPC_CLOSE_STOPPED, NULL);
    announce_end(conn);
}

void rpc_conn_retire(struct rpc_conn *conn)
{
    conn->too_old = true;
    announce_end(conn);
}

/* Every stream the client had opened when it heard the notice is here now: name the last one. */
void rpc_conn_drain_final(struct rpc_conn *conn)
{
    if (conn->goaway_final)
        return;
    conn->goaway_final = true;
    const char *text = end_text(conn);
    nghttp2_submit_goaway(conn->h2, NGHTTP2_FLAG_NONE,
                          nghttp2_session_get_last_proc_stream_id(conn->h2), NGHTTP2_NO_ERROR,
                          (const uint8_t *)text, strlen(text));
    rpc_conn_want_flush(conn);
}

void rpc_conn_end_calls(struct rpc_conn *conn, enum rpc_close reason, const char *message)
{
    for (struct rpc_call *call = conn->calls; call; call = call->next)
        rpc_stream_abort(call, RPC_END_STOPPED, RPC_UNAVAILABLE, message);
    rpc_conn_close(conn, reason, NULL);
}

void rpc_conn_stop(struct rpc_conn *conn)
{
    rpc_conn_end_calls(conn, RPC_CLOSE_STOPPED, "the server is stopping");
}

/* ---- what nghttp2 calls ---- */

static struct rpc_call *call_of(nghttp2_session *h2, int32_t stream_id)
{
    return nghttp2_session_get_stream_user_data(h2, stream_id);
}

/* The library forgets closed streams in time; a HEADERS frame for one of those is an error of the
 * connection, but it takes it for a frame of an ignored stream. RFC 9113 §5.1.1. */
static int on_begin_frame(nghttp2_session *h2, const nghttp2_frame_hd *hd, void *user_data)
{
    struct rpc_conn *conn = user_data;
    if (hd->type != NGHTTP2_HEADERS)
        return 0;
    if (hd->stream_id > conn->highest_stream_id)
        conn->highest_stream_id = hd->stream_id;
    else if (!nghttp2_session_find_stream(h2, hd->stream_id))
        rpc_conn_fail(conn, RPC_CLOSE_PROTOCOL, "HEADERS on a closed stream");
    return 0;
}

static int on_begin_headers(nghttp2_session *h2, const nghttp2_frame *frame, void *user_data)
{
    struct rpc_conn *conn = user_data;
    conn->n_fields = 0;
    if (frame->headers.cat != NGHTTP2_HCAT_REQUEST)
        return 0;
    struct rpc_call *call = rpc_stream_open(user_data, frame->hd.stream_id);
    if (!call)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    nghttp2_session_set_stream_user_data(h2, frame->hd.stream_id, call);
    return 0;
}

/* Fields of three octets each, decoded, checked and thrown away, keep the loop from its other
 * clients; a block may have as many as any client needs, and pays for more. */
static void charge_fields(struct rpc_conn *conn)
{
    conn->n_fields++;
    if (conn->n_fields > RPC_SCAN_FREE_FIELDS && conn->n_fields % RPC_SCAN_FIELDS_PER_POINT == 0 &&
        !rpc_scan_charge(&conn->scan, 1, conn->heard_ns))
        rpc_conn_fail(conn, RPC_CLOSE_ABUSE, "header fields without end");
}

static int on_header(nghttp2_session *h2, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
                     void *user_data)
{
    struct rpc_conn *conn = user_data;
    struct rpc_call *call = call_of(h2, frame->hd.stream_id);
    (void)flags;
    charge_fields(conn);
    if (call)
        rpc_stream_header(call, name, name_len, value, value_len);
    return conn->fatal ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
}

static void on_ping_answer(struct rpc_conn *conn, const uint8_t *opaque)
{
    conn->pinged_ns = 0;
    if (conn->state == RPC_CONN_DRAINING && memcmp(opaque, drain_ping, sizeof drain_ping) == 0)
        rpc_conn_drain_final(conn);
}

static void on_ping(struct rpc_conn *conn, const nghttp2_frame *frame)
{
    const uint64_t min_ns = (uint64_t)conn->shared->limits.min_ping_ms * LTD_NS_PER_MS;
    if (frame->hd.flags & NGHTTP2_FLAG_ACK)
        on_ping_answer(conn, frame->ping.opaque_data);
    else if (!rpc_pings_heard(&conn->pings, conn->heard_ns, min_ns))
        rpc_conn_fail(conn, RPC_CLOSE_PINGS, "it pings sooner than it may");
}

static int on_frame_recv(nghttp2_session *h2, const nghttp2_frame *frame, void *user_data)
{
    struct rpc_conn *conn = user_data;
    if (frame->hd.type == NGHTTP2_SETTINGS && conn->state == RPC_CONN_HANDSHAKE)
        set_state(conn, RPC_CONN_OPEN);
    if (frame->hd.type == NGHTTP2_SETTINGS && !(frame->hd.flags & NGHTTP2_FLAG_ACK))
        conn->settings_came = true;
    if (frame->hd.type == NGHTTP2_PING)
        on_ping(conn, frame);
    if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA)
        return 0;
    struct rpc_call *call = call_of(h2, frame->hd.stream_id);
    if (!call)
        return 0;
    if (frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST)
        rpc_stream_headers_done(call);
    if (frame->hd.flags & NGHTTP2_FLAG_END_STREAM)
        rpc_request_end(call);
    return 0;
}

static int on_data_chunk(nghttp2_session *h2, uint8_t flags, int32_t stream_id, const uint8_t *data,
                         size_t len, void *user_data)
{
    struct rpc_call *call = call_of(h2, stream_id);
    (void)flags;
    (void)user_data;
    /* The connection's window is given back at once, so that a stream whose handler takes nothing
     * does not stall the others; the stream's own is given back as its bytes are taken. */
    nghttp2_session_consume_connection(h2, len);
    if (call)
        rpc_request_data(call, data, len);
    return 0;
}

static int on_frame_send(nghttp2_session *h2, const nghttp2_frame *frame, void *user_data)
{
    struct rpc_conn *conn = user_data;
    if (frame->hd.type == NGHTTP2_DATA)
        rpc_scan_credit(&conn->scan, RPC_SCAN_DATA_CREDIT);
    if (frame->hd.type == NGHTTP2_DATA || frame->hd.type == NGHTTP2_HEADERS)
        rpc_pings_forget(&conn->pings);
    /* A window that overflows through SETTINGS is an error of the connection, RFC 9113 6.9.2; the
     * library makes it one of the stream, as is right for one that overflows by WINDOW_UPDATE. */
    if (frame->hd.type == NGHTTP2_RST_STREAM && conn->settings_came &&
        frame->rst_stream.error_code == NGHTTP2_FLOW_CONTROL_ERROR)
        rpc_conn_fail(conn, RPC_CLOSE_WINDOW, "a window above 2^31-1");
    if (frame->hd.type != NGHTTP2_HEADERS || !(frame->hd.flags & NGHTTP2_FLAG_END_STREAM))
        return 0;
    struct rpc_call *call = call_of(h2, frame->hd.stream_id);
    if (!call)
        return 0;
    call->trailers_sent = true;
    /* The client is still sending a request whose answer it has: without this its stream would
     * stay open and keep its slot. RFC 9113 §8.1. */
    if (!call->request_done)
        nghttp2_submit_rst_stream(h2, NGHTTP2_FLAG_NONE, frame->hd.stream_id, NGHTTP2_NO_ERROR);
    return 0;
}

static int on_invalid_frame(nghttp2_session *h2, const nghttp2_frame *frame, int lib_error,
                            void *user_data)
{
    struct rpc_conn *conn = user_data;
    (void)h2;
    (void)frame;
    (void)lib_error;
    if (!rpc_scan_charge(&conn->scan, RPC_SCAN_INVALID_POINTS, conn->heard_ns))
        rpc_conn_fail(conn, RPC_CLOSE_ABUSE, "invalid frames");
    return 0;
}

static int on_stream_close(nghttp2_session *h2, int32_t stream_id, uint32_t h2_error,
                           void *user_data)
{
    struct rpc_call *call = call_of(h2, stream_id);
    (void)h2_error;
    (void)user_data;
    if (!call)
        return 0;
    nghttp2_session_set_stream_user_data(h2, stream_id, NULL);
    rpc_stream_closed(call);
    return 0;
}

nghttp2_session_callbacks *rpc_conn_callbacks_create(void)
{
    nghttp2_session_callbacks *c;
    if (nghttp2_session_callbacks_new(&c) != 0)
        return NULL;
    nghttp2_session_callbacks_set_on_begin_frame_callback(c, on_begin_frame);
    nghttp2_session_callbacks_set_on_begin_headers_callback(c, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(c, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(c, on_frame_recv);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(c, on_data_chunk);
    nghttp2_session_callbacks_set_on_frame_send_callback(c, on_frame_send);
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(c, on_invalid_frame);
    nghttp2_session_callbacks_set_on_stream_close_callback(c, on_stream_close);
    return c;
}

nghttp2_option *rpc_conn_options_create(void)
{
    nghttp2_option *o;
    if (nghttp2_option_new(&o) != 0)
        return NULL;
    nghttp2_option_set_no_auto_window_update(o, 1);
    /* Our own bucket (rpc/h2_scan.h) fills at 200 resets and 20/s; this is the net below it. */
    nghttp2_option_set_stream_reset_rate_limit(o, 400, 40);
    return o;
}

/* ---- input ---- */

void rpc_conn_fail(struct rpc_conn *conn, enum rpc_close reason, const char *detail)
{
    if (conn->fatal)
        return;
    conn->fatal = detail;
    conn->fatal_reason = reason;
}

void rpc_conn_defer(struct rpc_conn *conn, struct rpc_call *call)
{
    if (call->pending)
        return;
    call->pending = true;
    call->pending_next = NULL;
    *conn->pending_last = call;
    conn->pending_last = &call->pending_next;
}

void rpc_conn_put_off(struct rpc_conn *conn, struct rpc_call *call)
{
    call->put_off = true;
    conn->has_put_off = true;
    rpc_conn_want_flush(conn);
}

static void resume_put_off(struct rpc_conn *conn)
{
    if (!conn->has_put_off)
        return;
    conn->has_put_off = false;
    for (struct rpc_call *call = conn->calls; call; call = call->next) {
        if (!call->put_off)
            continue;
        call->put_off = false;
        rpc_conn_defer(conn, call);
    }
}

/* Handlers and on_end run here, outside the session. They may add to the list. */
static void dispatch(struct rpc_conn *conn)
{
    while (conn->pending_first) {
        struct rpc_call *call = conn->pending_first;
        conn->pending_first = call->pending_next;
        if (!conn->pending_first)
            conn->pending_last = &conn->pending_first;
        call->pending = false;
        rpc_stream_dispatch(call);
    }
}

/* Bytes of HTTP/2. */
static void feed_session(struct rpc_conn *conn, const uint8_t *data, size_t len)
{
    if (!conn->h2)
        return; /* what came before these closed it */
    if (!rpc_scan_feed(&conn->scan, data, len, conn->heard_ns)) {
        rpc_conn_close(conn, RPC_CLOSE_ABUSE, NULL);
        return;
    }
    ssize_t n = nghttp2_session_mem_recv(conn->h2, data, len);
    if (conn->fatal)
        rpc_conn_close(conn, conn->fatal_reason, conn->fatal);
    else if (n == NGHTTP2_ERR_NOMEM)
        rpc_conn_close(conn, RPC_CLOSE_NO_MEMORY, NULL);
    else if (n < 0)
        rpc_conn_close(conn, RPC_CLOSE_PROTOCOL, nghttp2_strerror((int)n));
    if (!conn->h2)
        return;
    dispatch(conn);
    rpc_conn_want_flush(conn);
}

/* Bytes of HTTP/1.1. Requests are answered when the turn's input has been read. */
static void feed_pages(struct rpc_conn *conn, const uint8_t *data, size_t len)
{
    if (conn->http1->in.len == 0)
        set_state(conn, RPC_CONN_PAGES);
    if (rpc_http1_put(conn->http1, data, len))
        rpc_conn_want_flush(conn);
    else
        rpc_conn_close_now(conn, RPC_CLOSE_ABUSE, "requests in a row, and no answer is read");
}

static void become_pages(struct rpc_conn *conn)
{
    conn->http1 = malloc(sizeof *conn->http1);
    if (!conn->http1) {
        rpc_conn_close(conn, RPC_CLOSE_NO_MEMORY, NULL);
        return;
    }
    rpc_http1_init(conn->http1);
    nghttp2_session_del(conn->h2);
    conn->h2 = NULL;
    set_state(conn, RPC_CONN_PAGES);
}

/* What does the peer speak? Octets are kept until it is clear, at the fifth at the latest. Returns
 * how many of `data` were kept. */
static size_t recognise(struct rpc_conn *conn, const uint8_t *data, size_t len)
{
    int is_page = -1;
    size_t used = 0;
    while (used < len && is_page < 0) {
        conn->first[conn->n_first++] = data[used++];
        is_page = rpc_http1_recognise(conn->first, conn->n_first);
    }
    conn->recognised = is_page >= 0;
    if (is_page == 1)
        become_pages(conn);
    return used;
}

static void feed(struct rpc_conn *conn, const uint8_t *data, size_t len)
{
    if (conn->http1)
        feed_pages(conn, data, len);
    else
        feed_session(conn, data, len);
}

static void on_data(void *arg, const uint8_t *data, size_t len)
{
    struct rpc_conn *conn = arg;
    if (!is_live(conn))
        return; /* LINGER: read only so that the peer can read */
    conn->heard_ns = ltd_now_ns();
    if (!conn->recognised) {
        size_t used = recognise(conn, data, len);
        if (!conn->recognised || !is_live(conn))
            return;
        feed(conn, conn->first, conn->n_first);
        data += used;
        len -= used;
    }
    if (len > 0)
        feed(conn, data, len);
}

static void on_transport_end(void *arg, const struct ltd_err *why)
{
    struct rpc_conn *conn = arg;
    rpc_conn_close_now(conn, RPC_CLOSE_PEER, why->code == LTD_OK ? NULL : why->msg);
}

static void on_room(void *arg)
{
    struct rpc_conn *conn = arg;
    if (is_live(conn))
        rpc_conn_want_flush(conn);
    else if (conn->state == RPC_CONN_FLUSH)
        flush_last(conn);
}

/* TLS has been agreed on, and with it, by most clients, what is spoken inside. */
static void on_secure(void *arg)
{
    struct rpc_conn *conn = arg;
    conn->who.certificate = rpc_transport_peer_name(&conn->transport);
    conn->shared->n_handshakes--;
    conn->counts_handshake = false;
    if (!is_live(conn))
        return; /* closed while the last bytes of the handshake were on their way */
    switch (rpc_transport_protocol(&conn->transport)) {
    case RPC_TLS_PROTOCOL_H2:
        conn->recognised = true;
        rpc_conn_want_flush(conn);
        break;
    case RPC_TLS_PROTOCOL_HTTP1:
        conn->recognised = true;
        become_pages(conn);
        break;
    case RPC_TLS_PROTOCOL_NONE:
        break; /* the first octets tell, as without TLS */
    }
}

static const struct rpc_transport_events transport_events = {
    .on_data = on_data,
    .on_end = on_transport_end,
    .on_room = on_room,
    .on_secure = on_secure,
};

/* ---- output ---- */

void rpc_conn_want_flush(struct rpc_conn *conn)
{
    struct rpc_shared *shared = conn->shared;
    if (conn->flush_wanted || !is_live(conn) || !conn->recognised)
        return;
    conn->flush_wanted = true;
    conn->flush_next = shared->flush_first;
    shared->flush_first = conn;
    if (!conn->flush_next)
        shared->on_flush_wanted(shared);
}

static void wake_calls(struct rpc_conn *conn)
{
    struct rpc_call *next;
    for (struct rpc_call *call = conn->calls; call && conn->n_wanting > 0; call = next) {
        next = call->next;
        rpc_stream_wake(call);
    }
}

/* One round: gather, write, hear what ended, let handlers refill. False when nothing is left. */
static bool flush_round(struct rpc_conn *conn)
{
    struct ltd_err err = {0};
    if (!gather(conn, &err)) {
        rpc_conn_close_now(conn, RPC_CLOSE_NO_MEMORY, err.msg);
        return false;
    }
    if (conn->fatal) {
        rpc_conn_close(conn, conn->fatal_reason, conn->fatal);
        return false;
    }
    conn->settings_came = conn->settings_came && nghttp2_session_want_write(conn->h2);
    bool gathered = rpc_transport_pending_bytes(&conn->transport) > 0;
    if (rpc_transport_flush(&conn->transport, &err) != 0) {
        rpc_conn_close_now(conn, RPC_CLOSE_PEER, err.msg);
        return false;
    }
    conn->moved_ns = ltd_now_ns();
    dispatch(conn);
    wake_calls(conn);
    return gathered && rpc_transport_pending_bytes(&conn->transport) == 0;
}

/* One request of HTTP/1.1: answer it, send it. False when there is none, or it was the last. */
static bool answer_page(struct rpc_conn *conn)
{
    struct ltd_bytes out;
    struct ltd_err err = {0};
    ltd_bytes_init(&out);
    enum rpc_http1_next next = rpc_http1_next(conn->http1, conn->shared, &conn->who, &out);
    bool failed = out.failed;
    if (next != RPC_HTTP1_MORE && !failed)
        failed = rpc_transport_put(&conn->transport, out.data, out.len, &err) != 0;
    ltd_bytes_fini(&out);
    if (failed) {
        rpc_conn_close_now(conn, RPC_CLOSE_NO_MEMORY, NULL);
        return false;
    }
    if (next == RPC_HTTP1_LAST) {
        rpc_conn_close(conn, RPC_CLOSE_COMPLETE, NULL);
        return false;
    }
    if (rpc_transport_flush(&conn->transport, &err) != 0) {
        rpc_conn_close_now(conn, RPC_CLOSE_PEER, err.msg);
        return false;
    }
    if (next == RPC_HTTP1_MORE)
        return false;
    conn->moved_ns = ltd_now_ns();
    set_state(conn, RPC_CONN_PAGES);
    return true;
}

/* An answer that the kernel did not take whole holds the next request back, until on_room. */
static void flush_pages(struct rpc_conn *conn)
{
    for (int i = 0; i < PAGES_PER_TURN; i++)
        if (rpc_transport_pending_bytes(&conn->transport) > 0 || !answer_page(conn))
            return;
    rpc_conn_want_flush(conn);
}

/* What was put there outside a flush has not been offered yet; what the kernel did not take is the
 * back-pressure, and on_room asks for the next flush. True when nothing is pending any more. */
static bool send_pending(struct rpc_conn *conn)
{
    struct ltd_err err = {0};
    if (rpc_transport_pending_bytes(&conn->transport) == 0)
        return true;
    if (rpc_transport_waits_for_room(&conn->transport))
        return false;
    if (rpc_transport_flush(&conn->transport, &err) != 0) {
        rpc_conn_close_now(conn, RPC_CLOSE_PEER, err.msg);
        return false;
    }
    return rpc_transport_pending_bytes(&conn->transport) == 0;
}

void rpc_conn_flush(struct rpc_conn *conn)
{
    conn->flush_wanted = false;
    if (conn->http1)
        flush_pages(conn);
    if (!conn->h2)
        return;
    resume_put_off(conn);
    dispatch(conn);
    if (!conn->h2 || !send_pending(conn))
        return;
    int rounds = 0;
    while (flush_round(conn) && rounds < FLUSH_ROUNDS)
        rounds++;
    if (!conn->h2)
        return;
    if (rpc_transport_pending_bytes(&conn->transport) > 0)
        rpc_conn_arm(conn);
    else if (!nghttp2_session_want_read(conn->h2) && !nghttp2_session_want_write(conn->h2))
        rpc_conn_close(conn, RPC_CLOSE_COMPLETE, NULL);
    else if (rounds == FLUSH_ROUNDS)
        rpc_conn_want_flush(conn);
}

/* ---- open ---- */

static void name_peer(struct rpc_conn *conn, int fd, char network[RPC_HOST_BYTES])
{
    struct sockaddr_storage sa;
    socklen_t sa_bytes = sizeof sa;
    struct ucred who;
    socklen_t who_bytes = sizeof who;
    memset(&sa, 0, sizeof sa);
    conn->who = (struct rpc_peer){
        .address = conn->peer, .host = conn->peer_host, .uid = UINT32_MAX, .is_loopback = true};
    if (getpeername(fd, (struct sockaddr *)&sa, &sa_bytes) != 0)
        sa.ss_family = AF_UNSPEC;
    if (sa.ss_family == AF_UNIX && getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &who_bytes) == 0) {
        snprintf(conn->peer, sizeof conn->peer, "unix:uid=%u,pid=%d", who.uid, who.pid);
        snprintf(conn->peer_host, sizeof conn->peer_host, "unix:uid=%u", who.uid);
        strcpy(network, conn->peer_host);
        conn->who.uid = who.uid;
        return;
    }
    conn->who.is_loopback = rpc_address_is_loopback((struct sockaddr *)&sa);
    rpc_address_format((struct sockaddr *)&sa, sa_bytes, conn->peer);
    rpc_address_format_host((struct sockaddr *)&sa, conn->peer_host);
    rpc_address_format_network((struct sockaddr *)&sa, network);
}

/* When to ask the client to come again: max_age_ms, a tenth more or less, so that clients that came
 * together do not come again together. */
static uint64_t retirement(const struct rpc_shared *shared, uint64_t now_ns)
{
    const uint64_t age_ns = (uint64_t)shared->limits.max_age_ms * LTD_NS_PER_MS;
    uint16_t dice = 0x8000; /* the middle, should there be no random numbers */
    if (age_ns == 0)
        return LTD_NEVER;
    if (getrandom(&dice, sizeof dice, GRND_NONBLOCK) != sizeof dice)
        dice = 0x8000;
    return now_ns + age_ns - age_ns / 10 + age_ns / 5 / 0x10000 * dice;
}

static int start_session(struct rpc_conn *conn)
{
    const struct rpc_shared *shared = conn->shared;
    const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, shared->limits.max_streams},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, STREAM_WINDOW_BYTES},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, shared->limits.max_header_bytes},
    };
    if (nghttp2_session_server_new2(&conn->h2, shared->callbacks, conn, shared->options) != 0)
        return -1;
    if (nghttp2_submit_settings(conn->h2, NGHTTP2_FLAG_NONE, settings,
                                sizeof settings / sizeof *settings) == 0 &&
        nghttp2_session_set_local_window_size(conn->h2, NGHTTP2_FLAG_NONE, 0, CONN_WINDOW_BYTES) ==
            0)
        return 0;
    nghttp2_session_del(conn->h2);
    return -1;
}

struct rpc_conn *rpc_conn_open(struct rpc_shared *shared, int take_fd, bool is_tls, bool pages_only,
                               struct ltd_err *err)
{
    char network[RPC_HOST_BYTES];
    struct rpc_tls_session *tls = NULL;
    struct rpc_conn *conn = calloc(1, sizeof *conn);
    if (!conn) {
        ltd_fail(err, LTD_E_EXHAUSTED, "no memory for a connection");
        goto fail_alloc;
    }
    conn->shared = shared;
    conn->pages_only = pages_only;
    conn->pending_last = &conn->pending_first;
    conn->heard_ns = conn->moved_ns = conn->idle_ns = ltd_now_ns();
    rpc_scan_init(&conn->scan, conn->heard_ns);
    rpc_timer_init(&conn->timer, rpc_conn_on_timer, conn);
    name_peer(conn, take_fd, network);
    conn->retire_ns = retirement(shared, conn->heard_ns);
    conn->host = rpc_hosts_take(&shared->hosts, network,
                                conn->who.is_loopback ? shared->limits.max_per_local_host
                                                      : shared->limits.max_per_host,
                                err);
    if (!conn->host)
        goto fail_host;
    if (start_session(conn) != 0) {
        ltd_fail(err, LTD_E_EXHAUSTED, "no memory for a session");
        goto fail_session;
    }
    if (is_tls && !(tls = rpc_tls_session_create(shared->tls, NULL, err)))
        goto fail_tls;
    if (rpc_transport_init(&conn->transport, shared->loop, take_fd, shared->read_buffer, err) != 0)
        goto fail_transport;
    rpc_transport_set_tls(&conn->transport, tls);
    conn->who.is_tls = is_tls;
    rpc_transport_start(&conn->transport, &transport_events, conn);
    conn->counts_handshake = is_tls;
    shared->n_handshakes += is_tls;
    set_state(conn, RPC_CONN_HANDSHAKE);
    return conn;

fail_transport:
    rpc_tls_session_destroy(tls);
fail_tls:
    nghttp2_session_del(conn->h2);
fail_session:
    rpc_hosts_give(&shared->hosts, conn->host);
fail_host:
    free(conn);
fail_alloc:
    close(take_fd);
    return NULL;
}
