/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/rpc/test_churn.c - connections are opened and cut in every phase they can be in, and what
 * the server counts comes back to zero.
 *
 * Server and clients share one loop and one thread, so that every step is repeatable from the seed,
 * which a failure prints. Clients speak HTTP/2 or HTTP/1.1, plain or inside TLS, in pieces of random
 * length; each has a random point at which it is reset, closed, half closed, or falls silent. Some
 * read what they are sent, some never do.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include "base/clock.h"
#include "certs.h"
#include "echo.h"
#include "fixture.h"
#include "raw_peer.h"
#include "rpc/conn.h"
#include "rpc/gzip.h"

#define N_CLIENTS   20
#define N_STEPS     5000
#define N_SEEDS     3
#define MOST_WALKS  20
#define PATIENCE_MS 10000

enum way { WAY_TCP, WAY_UNIX, WAY_PAGES, WAY_TLS, N_WAYS };
enum last_words { CUT_CLOSE, CUT_RESET, CUT_HALF, CUT_SILENCE, N_CUTS };

struct client {
    bool is_open, reads, is_done;
    struct raw raw;
    SSL *ssl; /* NULL: plain */
    struct ltd_bytes script;
    size_t at, cut_at;
    enum last_words last_words;
};

struct rig {
    uint64_t seed;
    uv_loop_t loop;
    struct echo echo;
    struct rpc_method methods[ECHO_N_METHODS + 1]; /* the echo's, and Drain */
    struct rpc_tls *tls;
    struct rpc_server *server;
    bool is_drained;
    char dir[64], addresses[N_WAYS][128];
    SSL_CTX *ctx;
    struct client clients[N_CLIENTS];
    uint32_t most_connections, most_handshakes;
};

/* SplitMix64, its published constants. */
static uint32_t dice(struct rig *rig, uint32_t n)
{
    uint64_t z = rig->seed += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return (uint32_t)((z ^ (z >> 31)) >> 16) % n;
}

/* ---- what clients say ---- */

static void put_frame(struct ltd_bytes *out, uint8_t type, uint8_t flags, uint32_t stream,
                      const void *payload, size_t len)
{
    const uint8_t head[9] = {(uint8_t)(len >> 16),
                             (uint8_t)(len >> 8),
                             (uint8_t)len,
                             type,
                             flags,
                             (uint8_t)(stream >> 24),
                             (uint8_t)(stream >> 16),
                             (uint8_t)(stream >> 8),
                             (uint8_t)stream};
    ltd_bytes_put(out, head, sizeof head);
    if (len > 0)
        ltd_bytes_put(out, payload, len);
}

static void put_message(struct rig *rig, struct ltd_bytes *out, uint32_t stream, const char *text,
                        uint8_t flags)
{
    struct ltd_bytes message = {0}, zeros = {0}, packed = {0};
    size_t len = strlen(text);
    const void *body = text;
    uint8_t flag = 0;
    if (dice(rig, 4) == 0) { /* many of them are more than one turn may inflate */
        ltd_bytes_init(&zeros);
        size_t n = 1000 + dice(rig, 2 << 20); /* less of them would not get smaller */
        uint8_t *to = ltd_bytes_reserve(&zeros, n);
        memset(to, '1', n);
        assert_true(rpc_gzip(to, n, &packed));
        body = packed.data;
        len = packed.len;
        flag = 1;
    }
    const uint8_t prefix[5] = {flag, (uint8_t)(len >> 24), (uint8_t)(len >> 16),
                               (uint8_t)(len >> 8), (uint8_t)len};
    ltd_bytes_put(&message, prefix, sizeof prefix);
    ltd_bytes_put(&message, body, len);
    for (size_t at = 0; at < message.len;) {
        size_t n = message.len - at < 16000 ? message.len - at : 16000;
        put_frame(out, NGHTTP2_DATA, at + n == message.len ? flags : 0, stream, message.data + at,
                  n);
        at += n;
    }
    ltd_bytes_fini(&message);
    ltd_bytes_fini(&zeros);
    ltd_bytes_fini(&packed);
}

static void put_call(struct rig *rig, struct ltd_bytes *out, uint32_t stream)
{
    static const struct {
        const char *path, *request;
    } calls[] = {
        {"/test.Echo/Unary", "hello"},
        {"/test.Echo/Stream", "40 9000"},
        {"/test.Echo/Push", "40 9000"},
        {"/test.Echo/Hang", ""},
        {"/test.Echo/Beat", ""},
        {"/test.Echo/Sleep", "3"},
        {"/test.Echo/Chat", "hi"},
        {"/test.Echo/Chat", "bye!"},
        {"/test.Echo/Collect", "something"},
        {"/test.Echo/Fail", "5 no"},
        {"/test.Echo/Small", "x"},
        {"/test.Echo/None", "x"},
        {"/test.Echo/Squeeze", "100000"},
        {"/test.Echo/Later", "3 2"},
    };
    size_t i = dice(rig, sizeof calls / sizeof *calls);
    struct ltd_bytes block = {0};
    raw_request_fields(&block, calls[i].path);
    if (dice(rig, 2))
        raw_field(&block, "grpc-encoding", "gzip");
    if (dice(rig, 4) == 0)
        raw_field(&block, "grpc-timeout", dice(rig, 2) ? "5m" : "1u");
    if (dice(rig, 2))
        raw_field(&block, "grpc-accept-encoding", "gzip");
    put_frame(out, NGHTTP2_HEADERS, RAW_END_HEADERS, stream, block.data, block.len);
    ltd_bytes_fini(&block);
    for (uint32_t n = dice(rig, 3); n > 0; n--)
        put_message(rig, out, stream, calls[i].request, 0);
    if (dice(rig, 3))
        put_message(rig, out, stream, calls[i].request, RAW_END_STREAM);
    static const uint8_t cancel[4] = {0, 0, 0, NGHTTP2_CANCEL};
    if (dice(rig, 5) == 0)
        put_frame(out, NGHTTP2_RST_STREAM, 0, stream, cancel, sizeof cancel);
}

static void put_page(struct rig *rig, struct ltd_bytes *out, uint32_t stream)
{
    struct ltd_bytes block = {0};
    raw_field(&block, ":method", dice(rig, 4) ? "GET" : "HEAD");
    raw_field(&block, ":scheme", "http");
    raw_field(&block, ":path", dice(rig, 2) ? "/plain" : "/big");
    raw_field(&block, ":authority", "test");
    put_frame(out, NGHTTP2_HEADERS, RAW_END_HEADERS | RAW_END_STREAM, stream, block.data,
              block.len);
    ltd_bytes_fini(&block);
}

static void write_h2(struct rig *rig, struct ltd_bytes *out)
{
    ltd_bytes_put(out, NGHTTP2_CLIENT_MAGIC, NGHTTP2_CLIENT_MAGIC_LEN);
    put_frame(out, NGHTTP2_SETTINGS, 0, 0, NULL, 0);
    uint32_t n = 1 + dice(rig, 8);
    for (uint32_t i = 0; i < n; i++) {
        if (dice(rig, 6) == 0)
            put_page(rig, out, 2 * i + 1);
        else
            put_call(rig, out, 2 * i + 1);
        if (dice(rig, 8) == 0)
            put_frame(out, NGHTTP2_PING, 0, 0, "12345678", 8);
        if (dice(rig, 20) == 0)
            put_frame(out, NGHTTP2_DATA, 0, 0, "broken", 6); /* of no stream */
    }
}

static void write_http1(struct rig *rig, struct ltd_bytes *out)
{
    static const char *const requests[] = {
        "GET /plain HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /big HTTP/1.1\r\nHost: x\r\n\r\n",
        "HEAD /big HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /plain HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        "GET /plain HTTP/1.1\r\nbad\r\n\r\n",
    };
    for (uint32_t n = 1 + dice(rig, 8); n > 0; n--)
        ltd_bytes_put_str(out, requests[dice(rig, sizeof requests / sizeof *requests)]);
}

/* ---- clients ---- */

static void close_client(struct client *c)
{
    SSL_free(c->ssl);
    raw_close(&c->raw);
    ltd_bytes_fini(&c->script);
    *c = (struct client){0};
}

static void open_client(struct rig *rig, struct client *c)
{
    enum way way = dice(rig, N_WAYS);
    *c = (struct client){.is_open = true, .reads = dice(rig, 4) > 0};
    raw_connect(&c->raw, rig->addresses[way]);
    fcntl(c->raw.fd, F_SETFL, O_NONBLOCK);
    bool is_http1 = dice(rig, 4) == 0;
    if (way == WAY_TLS) {
        c->ssl = SSL_new(rig->ctx);
        SSL_set_fd(c->ssl, c->raw.fd);
        SSL_set_connect_state(c->ssl);
        const char *offer = is_http1 ? "\x08http/1.1" : "\x02h2";
        if (dice(rig, 4) > 0) /* else the first octets tell */
            SSL_set_alpn_protos(c->ssl, (const unsigned char *)offer, (unsigned)strlen(offer));
    }
    ltd_bytes_init(&c->script);
    if (is_http1)
        write_http1(rig, &c->script);
    else
        write_h2(rig, &c->script);
    c->cut_at = dice(rig, 3) == 0 ? dice(rig, (uint32_t)c->script.len + 1) : c->script.len;
    c->last_words = dice(rig, N_CUTS);
}

static void cut(struct client *c)
{
    const struct linger hard = {.l_onoff = 1, .l_linger = 0};
    c->is_done = true;
    switch (c->last_words) {
    case CUT_RESET:
        setsockopt(c->raw.fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
        close_client(c);
        break;
    case CUT_CLOSE:
        if (c->ssl)
            SSL_shutdown(c->ssl);
        close_client(c);
        break;
    case CUT_HALF:
        shutdown(c->raw.fd, SHUT_WR);
        break;
    case CUT_SILENCE:
    case N_CUTS:
        break;
    }
}

static void say_more(struct rig *rig, struct client *c)
{
    size_t n = 1 + dice(rig, dice(rig, 4) ? 4000 : 20);
    if (n > c->cut_at - c->at)
        n = c->cut_at - c->at;
    if (n == 0) {
        cut(c);
        return;
    }
    ssize_t sent;
    ERR_clear_error();
    if (c->ssl) {
        size_t done = 0;
        /* A repeated write must show the same bytes, so a piece is not shorter the second time. */
        SSL_set_mode(c->ssl, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
        sent = SSL_write_ex(c->ssl, c->script.data + c->at, c->cut_at - c->at, &done) == 1
                   ? (ssize_t)done
                   : 0;
    } else {
        sent = send(c->raw.fd, c->script.data + c->at, n, MSG_NOSIGNAL);
    }
    c->at += sent > 0 ? (size_t)sent : 0;
}

static void hear(struct client *c)
{
    static char heap[65536];
    size_t n;
    ERR_clear_error();
    if (c->ssl && SSL_is_init_finished(c->ssl))
        SSL_read_ex(c->ssl, heap, sizeof heap, &n);
    else if (!c->ssl && recv(c->raw.fd, heap, sizeof heap, 0) == 0 && c->is_done)
        close_client(c);
}

/* ---- the server's side ---- */

static struct rpc_shared *shared_of(struct rig *rig)
{
    return (struct rpc_shared *)rig->server; /* its first member */
}

static uint32_t n_hosts(struct rig *rig)
{
    uint32_t n = 0;
    for (size_t i = 0; i < RPC_HOSTS_BUCKETS; i++)
        for (struct rpc_host *h = shared_of(rig)->hosts.buckets[i]; h; h = h->next)
            n += h->n_connections;
    return n;
}

static void turn(struct rig *rig)
{
    uv_run(&rig->loop, UV_RUN_NOWAIT);
    if (!rig->server)
        return;
    struct rpc_shared *shared = shared_of(rig);
    struct rpc_server_stats stats;
    rpc_server_stats(rig->server, &stats);
    if (stats.n_connections > rig->most_connections)
        rig->most_connections = stats.n_connections;
    if (shared->n_handshakes > rig->most_handshakes)
        rig->most_handshakes = shared->n_handshakes;
    if (stats.n_connections > 10000 || stats.n_calls > 10000 || shared->n_handshakes > 10000 ||
        stats.buffered_bytes > (size_t)1 << 40)
        fail_msg("a count fell below zero: %u connections, %u calls, %u handshakes, %zu bytes",
                 stats.n_connections, stats.n_calls, shared->n_handshakes, stats.buffered_bytes);
}

static void wait_a_little(struct rig *rig)
{
    struct pollfd p = {.fd = uv_backend_fd(&rig->loop), .events = POLLIN};
    poll(&p, 1, 5);
}

static void expect_nothing_left(struct rig *rig, const char *when)
{
    struct rpc_server_stats s;
    uint64_t deadline = ltd_deadline_ns(PATIENCE_MS);
    do {
        wait_a_little(rig);
        turn(rig);
        rpc_server_stats(rig->server, &s);
    } while ((s.n_connections || atomic_load(&rig->echo.n_live)) && ltd_now_ns() < deadline);
    if (s.n_connections || s.n_calls || s.buffered_bytes || shared_of(rig)->n_handshakes ||
        n_hosts(rig) || atomic_load(&rig->echo.n_live))
        fail_msg("%s: %u connections, %u calls, %zu bytes, %u handshakes, %u of hosts, %d live "
                 "calls; expected none",
                 when, s.n_connections, s.n_calls, s.buffered_bytes, shared_of(rig)->n_handshakes,
                 n_hosts(rig), atomic_load(&rig->echo.n_live));
}

static void listen_at(struct rig *rig, enum way way, const char *prefix,
                      int (*fn)(struct rpc_server *, const char *, struct ltd_err *))
{
    struct ltd_err err = {0};
    char address[64];
    for (int i = 0; i < 20; i++) {
        free_address(address);
        snprintf(rig->addresses[way], sizeof rig->addresses[way], "%s%s", prefix, address);
        if (fn(rig->server, rig->addresses[way], &err) == 0) {
            memmove(rig->addresses[way], address, strlen(address) + 1);
            return;
        }
    }
    fail_msg("listen: %s", err.msg);
}

static void on_drained(void *arg)
{
    ((struct rig *)arg)->is_drained = true;
}

/* An operator asks for the end over the wire: rpc/server.h allows a drain inside a handler. */
static void do_drain(struct rpc_call *call, const uint8_t *request, size_t len, void *arg)
{
    struct rig *rig = arg;
    rpc_server_drain(rig->server, 0, on_drained, rig);
    rpc_call_reply(call, request, len);
}

/* Little time for everything, so that timers fire in all phases. */
static const struct rpc_limits short_limits = {.linger_ms = 30,
                                               .handshake_ms = 100,
                                               .page_idle_ms = 200,
                                               .max_handshakes = 3,
                                               .max_output_bytes = 200000,
                                               .max_input_bytes = 300000,
                                               .max_age_ms = 300,
                                               .max_age_grace_ms = 50,
                                               .write_stall_ms = 150,
                                               .request_ms = 150,
                                               .max_per_host = 15};

static struct rig *start(uint64_t seed, const struct rpc_limits *limits)
{
    struct ltd_err err = {0};
    char path[100], key[100];
    struct rig *rig = calloc(1, sizeof *rig);
    rig->seed = seed;
    uv_loop_init(&rig->loop);
    echo_init(&rig->echo, &rig->loop);
    make_dir(rig->dir);
    certs_make(rig->dir);
    snprintf(path, sizeof path, "%s/server.pem", rig->dir);
    snprintf(key, sizeof key, "%s/server.key", rig->dir);
    rig->tls =
        rpc_tls_create_server(&(struct rpc_tls_config){.certificate = path, .key = key}, &err);
    memcpy(rig->methods, rig->echo.methods, sizeof rig->echo.methods);
    rig->methods[ECHO_N_METHODS] = (struct rpc_method){
        .path = "/test.Rig/Drain", .max_request_bytes = 1024, .handler = do_drain, .arg = rig};
    rig->server = rpc_server_create(&rig->loop, rig->methods, ECHO_N_METHODS + 1, limits, &err);
    if (!rig->tls || !rig->server)
        fail_msg("start: %s", err.msg);
    rpc_server_set_pages(rig->server, echo_pages, ECHO_N_PAGES);
    rpc_server_set_tls(rig->server, rig->tls);
    listen_at(rig, WAY_TCP, "", rpc_server_listen);
    listen_at(rig, WAY_PAGES, "", rpc_server_listen_pages);
    listen_at(rig, WAY_TLS, "tls:", rpc_server_listen);
    snprintf(rig->addresses[WAY_UNIX], sizeof rig->addresses[WAY_UNIX], "unix:%s/sock", rig->dir);
    if (rpc_server_listen(rig->server, rig->addresses[WAY_UNIX], &err) != 0)
        fail_msg("listen: %s", err.msg);
    rig->ctx = SSL_CTX_new(TLS_client_method());
    return rig;
}

static void churn(struct rig *rig, uint32_t n_steps)
{
    for (uint32_t i = 0; i < n_steps; i++) {
        struct client *c = &rig->clients[dice(rig, N_CLIENTS)];
        if (!c->is_open)
            open_client(rig, c);
        else if (!c->is_done)
            say_more(rig, c);
        if (c->is_open && c->reads)
            hear(c);
        if (c->is_open && c->is_done && dice(rig, 8) == 0)
            close_client(c);
        if (dice(rig, 3))
            turn(rig);
        if (dice(rig, 400) == 0) { /* now and then time passes, and timers fire */
            wait_a_little(rig);
            turn(rig);
        }
    }
}

static void close_all(struct rig *rig)
{
    for (size_t i = 0; i < N_CLIENTS; i++)
        if (rig->clients[i].is_open)
            close_client(&rig->clients[i]);
}

static void stop(struct rig *rig)
{
    close_all(rig);
    rpc_server_destroy(rig->server);
    rig->server = NULL;
    while (uv_run(&rig->loop, UV_RUN_NOWAIT))
        wait_a_little(rig);
    assert_int_equal(uv_loop_close(&rig->loop), 0);
    SSL_CTX_free(rig->ctx);
    rpc_tls_destroy(rig->tls);
    remove_dir(rig->dir);
    free(rig);
}

/* Whether the walk has been where it was meant to go. */
static bool has_been_everywhere(struct rig *rig)
{
    struct rpc_server_stats stats;
    rpc_server_stats(rig->server, &stats);
    printf("walked: at most %u connections and %u handshakes at once, %d calls in all\n",
           rig->most_connections, rig->most_handshakes, (int)stats.n_calls_total);
    return rig->most_connections >= 8 && rig->most_handshakes >= 2 && stats.n_calls_total >= 50;
}

static void every_count_comes_back_to_zero_wherever_connections_are_cut(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= N_SEEDS; seed++) {
        char when[80];
        struct rig *rig = start(seed, &short_limits);
        /* On a slow machine timers end much that a walk had begun; it then walks on. */
        for (int i = 0; i < MOST_WALKS && !has_been_everywhere(rig); i++)
            churn(rig, N_STEPS);
        assert_true(has_been_everywhere(rig));
        close_all(rig);
        snprintf(when, sizeof when, "seed %d, all clients gone", (int)seed);
        expect_nothing_left(rig, when);
        stop(rig);
    }
}

static void wait_for_drain(struct rig *rig)
{
    uint64_t deadline = ltd_deadline_ns(PATIENCE_MS);
    while (!rig->is_drained && ltd_now_ns() < deadline) {
        wait_a_little(rig);
        turn(rig);
    }
    if (!rig->is_drained)
        fail_msg("state %llu: the drain has %s and is not over after %d ms",
                 (unsigned long long)rig->seed, shared_of(rig)->draining ? "begun" : "not begun",
                 PATIENCE_MS);
}

static void a_drain_ends_promptly_whatever_phase_its_connections_are_in(void **state)
{
    (void)state;
    for (uint64_t seed = 101; seed <= 100 + N_SEEDS; seed++) {
        struct rig *rig = start(seed, &short_limits);
        churn(rig, 500);
        rpc_server_drain(rig->server, 50, on_drained, rig);
        wait_for_drain(rig);
        expect_nothing_left(rig, "drained");
        stop(rig);
    }
}

static void a_handler_may_drain_also_when_its_client_has_gone(void **state)
{
    static const enum way ways[] = {WAY_UNIX, WAY_TCP};
    (void)state;
    for (size_t i = 0; i < 4; i++) {
        struct rig *rig = start(301, NULL); /* a slow machine is no reason */
        struct raw raw;
        raw_connect(&raw, rig->addresses[ways[i / 2]]);
        raw_hello(&raw);
        raw_request(&raw, 1, "/test.Rig/Drain", NULL, NULL);
        raw_message(&raw, 1, 0, "x", 1, RAW_END_STREAM);
        if (i % 2 == 0) /* before the server's loop has seen the request */
            raw_close(&raw);
        wait_for_drain(rig);
        expect_nothing_left(rig, "drained by a call");
        if (i % 2 == 1) {
            struct raw_answer a;
            raw_read_answer(&raw, 1, &a);
            assert_int_equal(a.grpc_status, 0);
            raw_close(&raw);
        }
        stop(rig);
    }
}

static void a_server_that_is_destroyed_in_the_middle_leaves_nothing(void **state)
{
    (void)state;
    for (uint64_t seed = 201; seed <= 200 + N_SEEDS; seed++) {
        struct rig *rig = start(seed, &short_limits);
        churn(rig, 500);
        rpc_server_destroy(rig->server);
        rig->server = NULL;
        assert_int_equal(atomic_load(&rig->echo.n_live), 0);
        stop(rig);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_count_comes_back_to_zero_wherever_connections_are_cut),
        cmocka_unit_test(a_drain_ends_promptly_whatever_phase_its_connections_are_in),
        cmocka_unit_test(a_handler_may_drain_also_when_its_client_has_gone),
        cmocka_unit_test(a_server_that_is_destroyed_in_the_middle_leaves_nothing),
    };
    signal(SIGPIPE, SIG_IGN); /* OpenSSL's socket writes raise it; the server's do not */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
