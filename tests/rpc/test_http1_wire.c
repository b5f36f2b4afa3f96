/* SPDX-License-Identifier: Apache-2.0 */
/* tests/rpc/test_http1_wire.c - pages over HTTP/1.1 on the port of the calls, and on their own. */
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "fixture.h"
#include "raw_peer.h"
#include "rpc/client.h"

#define REQUEST "GET /plain HTTP/1.1\r\nHost: x\r\n\r\n"
#define ANSWER  "Connection: keep-alive\r\n\r\nplain\n"

static struct fixture *f;

/* Read until `n` octets are there or the server has closed; false in the latter case. */
static bool read_bytes(struct raw *raw, size_t n)
{
    while (raw->in.len < n) {
        struct pollfd p = {.fd = raw->fd, .events = POLLIN};
        if (poll(&p, 1, 10000) != 1)
            fail_msg("the server said nothing for 10 s and did not close");
        uint8_t *at = ltd_bytes_reserve(&raw->in, 1 << 16);
        ssize_t got = recv(raw->fd, at, 1 << 16, 0);
        if (got <= 0)
            return false;
        raw->in.len += (size_t)got;
    }
    return true;
}

static void read_to_close(struct raw *raw)
{
    while (read_bytes(raw, raw->in.len + 1))
        ;
}

static size_t count(const struct ltd_bytes *in, const char *word)
{
    size_t n = 0, len = strlen(word);
    for (size_t i = 0; i + len <= in->len; i++)
        n += memcmp(in->data + i, word, len) == 0;
    return n;
}

/* A gRPC client is served at the same address. */
static void expect_calls_served(const char *address)
{
    latentd_error err = {0};
    latentd_bytes answer;
    latentd_request request = {
        .path = "/test.Echo/Unary", .data = "ok", .len = 2, .timeout_ms = 10000};
    latentd_client *client = latentd_client_open(address, 5000, &err);
    if (!client || latentd_client_unary(client, &request, &answer, &err) != 0)
        fail_msg("a gRPC client was not served: %s", err.message);
    latentd_bytes_free(&answer);
    latentd_client_close(client);
}

static void one_port_answers_pages_and_calls(void **state)
{
    struct raw raw;
    (void)state;
    f = fixture_start(NULL);
    const char *const addresses[] = {f->address, f->unix_address};
    for (int i = 0; i < 2; i++) {
        raw_connect(&raw, addresses[i]);
        for (int round = 1; round <= 3; round++) {
            raw_send(&raw, REQUEST, strlen(REQUEST));
            while (count(&raw.in, ANSWER) < (size_t)round)
                assert_true(read_bytes(&raw, raw.in.len + 1));
        }
        raw_send(&raw, "HEAD /none HTTP/1.0\r\n\r\n", 23);
        read_to_close(&raw);
        assert_int_equal(count(&raw.in, "HTTP/1.1 404 Not Found\r\n"), 1);
        assert_int_equal(count(&raw.in, "HTTP/1.1 "), 4);
        raw_close(&raw);
        expect_calls_served(addresses[i]);
    }
    fixture_stop(f);
}

static void octets_that_come_one_by_one_are_recognised(void **state)
{
    struct raw raw;
    struct raw_answer a;
    (void)state;
    f = fixture_start(NULL);
    raw_connect(&raw, f->address);
    for (size_t i = 0; i < strlen(REQUEST); i++)
        raw_send(&raw, &REQUEST[i], 1);
    while (count(&raw.in, ANSWER) < 1)
        assert_true(read_bytes(&raw, raw.in.len + 1));
    raw_close(&raw);
    raw_connect(&raw, f->address);
    for (size_t i = 0; i < NGHTTP2_CLIENT_MAGIC_LEN; i++)
        raw_send(&raw, &NGHTTP2_CLIENT_MAGIC[i], 1);
    raw_send_frame(&raw, NGHTTP2_SETTINGS, 0, 0, NULL, 0);
    raw_request(&raw, 1, "/test.Echo/Unary", NULL, NULL);
    raw_message(&raw, 1, 0, "hello", 5, RAW_END_STREAM);
    raw_read_answer(&raw, 1, &a);
    assert_int_equal(a.grpc_status, 0);
    raw_close(&raw);
    fixture_stop(f);
}

static void an_address_for_pages_answers_no_calls(void **state)
{
    struct raw raw;
    struct raw_answer a;
    (void)state;
    f = fixture_start(NULL);
    raw_connect(&raw, f->pages_address);
    raw_send(&raw, REQUEST, strlen(REQUEST));
    while (count(&raw.in, ANSWER) < 1)
        assert_true(read_bytes(&raw, raw.in.len + 1));
    raw_close(&raw);
    raw_connect(&raw, f->pages_address);
    raw_hello(&raw);
    raw_request(&raw, 1, "/test.Echo/Unary", NULL, NULL);
    raw_message(&raw, 1, 0, "hello", 5, RAW_END_STREAM);
    raw_read_answer(&raw, 1, &a);
    assert_int_equal(a.http_status, 200);
    assert_int_equal(a.grpc_status, 12);
    raw_close(&raw);
    expect_calls_served(f->address);
    fixture_stop(f);
}

static void a_request_that_does_not_end_and_one_that_does_not_come_are_timed_out(void **state)
{
    static const char *const texts[] = {"G", "GET /pla", REQUEST "GET /pla", REQUEST};
    struct raw raw;
    (void)state;
    f = fixture_start(
        &(struct rpc_limits){.handshake_ms = 30, .page_idle_ms = 30, .linger_ms = 20});
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        raw_connect(&raw, f->address);
        raw_send(&raw, texts[i], strlen(texts[i]));
        read_to_close(&raw);
        assert_int_equal(count(&raw.in, ANSWER), i >= 2);
        raw_close(&raw);
    }
    /* Between requests there is page_idle_ms, not handshake_ms. */
    fixture_stop(f);
    f = fixture_start(&(struct rpc_limits){.handshake_ms = 3600000, .page_idle_ms = 20});
    raw_connect(&raw, f->address);
    raw_send(&raw, REQUEST, strlen(REQUEST));
    read_to_close(&raw);
    assert_int_equal(count(&raw.in, ANSWER), 1);
    raw_close(&raw);
    fixture_stop(f);
}

static void a_refusal_is_answered_and_ends_the_connection(void **state)
{
    static const char text[] = "GET /plain HTTP/1.1\r\nHost : x\r\n\r\n" REQUEST;
    struct raw raw;
    (void)state;
    f = fixture_start(NULL);
    raw_connect(&raw, f->address);
    raw_send(&raw, text, sizeof text - 1);
    read_to_close(&raw);
    assert_int_equal(count(&raw.in, "HTTP/1.1 400 Bad Request\r\n"), 1);
    assert_int_equal(count(&raw.in, "HTTP/1.1 "), 1);
    raw_close(&raw);
    expect_calls_served(f->address);
    fixture_stop(f);
}

/* One write of many requests, then many more without reading: the answers in order, or an end. */
static void requests_in_a_row_are_bounded(void **state)
{
    struct raw raw;
    struct ltd_bytes all = {0};
    (void)state;
    f = fixture_start(NULL);
    for (int i = 0; i < 200; i++)
        ltd_bytes_put_str(&all, REQUEST);
    raw_connect(&raw, f->address);
    raw_send(&raw, all.data, all.len);
    while (count(&raw.in, ANSWER) < 200)
        assert_true(read_bytes(&raw, raw.in.len + 1));
    raw_close(&raw);
    ltd_bytes_clear(&all);

    for (int i = 0; i < 1000; i++)
        ltd_bytes_put_str(&all, "GET /big HTTP/1.1\r\nHost: x\r\n\r\n");
    raw_connect(&raw, f->address);
    int n_rounds = 0;
    while (n_rounds < 1000 && raw_send(&raw, all.data, all.len))
        n_rounds++;
    read_to_close(&raw);
    if (raw.in.len > 4 * ECHO_BIG_BYTES)
        fail_msg("a client that read nothing was answered with %zu bytes", raw.in.len);
    expect_calls_served(f->address);
    raw_close(&raw);
    ltd_bytes_fini(&all);
    fixture_stop(f);
}

static void a_reader_of_a_page_that_takes_nothing_is_closed(void **state)
{
    static const char text[] =
        "GET /big HTTP/1.1\r\nHost: x\r\n\r\nGET /big HTTP/1.1\r\nHost: x\r\n"
        "\r\nGET /big HTTP/1.1\r\nHost: x\r\n\r\n";
    struct raw raw;
    (void)state;
    f = fixture_start(&(struct rpc_limits){.write_stall_ms = 50});
    raw_connect(&raw, f->unix_address);
    raw_send(&raw, text, sizeof text - 1);
    /* A Unix socket tells of the end without being read. */
    struct pollfd p = {.fd = raw.fd, .events = POLLRDHUP};
    assert_int_equal(poll(&p, 1, 10000), 1);
    read_to_close(&raw);
    assert_true(raw.in.len < 3 * ECHO_BIG_BYTES);
    raw_close(&raw);
    expect_calls_served(f->address);
    fixture_stop(f);
}

static void a_big_page_arrives_whole(void **state)
{
    static const char text[] = "GET /big HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    struct raw raw;
    (void)state;
    f = fixture_start(NULL);
    raw_connect(&raw, f->address);
    raw_send(&raw, text, sizeof text - 1);
    read_to_close(&raw);
    size_t head = 0;
    while (head + 4 < raw.in.len && memcmp(raw.in.data + head, "\r\n\r\n", 4) != 0)
        head++;
    assert_int_equal(raw.in.len - head - 4, ECHO_BIG_BYTES);
    raw_close(&raw);
    fixture_stop(f);
}

static void a_drain_closes_connections_of_pages(void **state)
{
    struct raw raw;
    (void)state;
    f = fixture_start(NULL);
    raw_connect(&raw, f->address);
    raw_send(&raw, REQUEST, strlen(REQUEST));
    while (count(&raw.in, ANSWER) < 1)
        assert_true(read_bytes(&raw, raw.in.len + 1));
    fixture_drain(f, 60000);
    read_to_close(&raw);
    raw_close(&raw);
    fixture_stop(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_port_answers_pages_and_calls),
        cmocka_unit_test(octets_that_come_one_by_one_are_recognised),
        cmocka_unit_test(an_address_for_pages_answers_no_calls),
        cmocka_unit_test(a_request_that_does_not_end_and_one_that_does_not_come_are_timed_out),
        cmocka_unit_test(a_refusal_is_answered_and_ends_the_connection),
        cmocka_unit_test(requests_in_a_row_are_bounded),
        cmocka_unit_test(a_reader_of_a_page_that_takes_nothing_is_closed),
        cmocka_unit_test(a_big_page_arrives_whole),
        cmocka_unit_test(a_drain_closes_connections_of_pages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
