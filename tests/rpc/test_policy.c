/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/rpc/test_policy.c - how long a connection may live, how often it may ping, how many one host
 * may have. Limits are set to milliseconds, and every wait is for an event.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "fixture.h"
#include "raw_peer.h"

static struct fixture *f;
static struct raw_frame frame;

static void next_of(struct raw *raw, uint8_t type)
{
    do
        if (!raw_recv_frame(raw, &frame))
            fail_msg("closed while a frame of type %d was expected", type);
    while (frame.type != type);
}

static void expect_goaway(struct raw *raw, uint32_t last, uint32_t error, const char *text)
{
    next_of(raw, NGHTTP2_GOAWAY);
    const uint8_t *p = frame.payload;
    const uint8_t wanted[8] = {
        (uint8_t)(last >> 24),  (uint8_t)(last >> 16),  (uint8_t)(last >> 8),  (uint8_t)last,
        (uint8_t)(error >> 24), (uint8_t)(error >> 16), (uint8_t)(error >> 8), (uint8_t)error};
    assert_memory_equal(p, wanted, 8);
    assert_int_equal(frame.len, 8 + strlen(text));
    assert_memory_equal(p + 8, text, strlen(text));
}

static void unary(struct raw *raw, uint32_t stream)
{
    struct raw_answer a;
    raw_request(raw, stream, "/test.Echo/Unary", NULL, NULL);
    raw_message(raw, stream, 0, "x", 1, RAW_END_STREAM);
    raw_read_answer(raw, stream, &a);
    if (a.grpc_status != 0)
        fail_msg("stream %u: grpc-status %d (%s), reset %lld", stream, a.grpc_status, a.message,
                 (long long)a.reset);
}

static void ping(struct raw *raw, int n)
{
    for (int i = 0; i < n; i++)
        raw_send_frame(raw, NGHTTP2_PING, 0, 0, "12345678", 8);
}

static void the_third_ping_too_soon_ends_the_connection_with_the_agreed_text(void **state)
{
    struct raw raw;
    struct raw_answer a;
    (void)state;
    f = fixture_start(NULL);
    raw_connect(&raw, f->address);
    raw_hello(&raw);
    ping(&raw, 3); /* a good one and two strikes */
    for (int i = 0; i < 3; i++)
        next_of(&raw, NGHTTP2_PING);
    ping(&raw, 1);
    raw_read_to_end(&raw, &a);
    assert_int_equal(a.goaway, NGHTTP2_ENHANCE_YOUR_CALM);
    assert_string_equal(a.goaway_text, "too_many_pings");
    raw_close(&raw);
    fixture_stop(f);
}

static void an_answer_that_was_sent_forgives_the_pings_before_it(void **state)
{
    struct raw raw;
    (void)state;
    f = fixture_start(NULL);
    raw_connect(&raw, f->address);
    raw_hello(&raw);
    for (uint32_t round = 0; round < 20; round++) {
        ping(&raw, 3);
        unary(&raw, 2 * round + 1);
    }
    raw_close(&raw);
    fixture_stop(f);
}

static void pings_that_keep_the_interval_are_answered(void **state)
{
    struct raw raw;
    (void)state;
    f = fixture_start(&(struct rpc_limits){.min_ping_ms = 1});
    raw_connect(&raw, f->address);
    raw_hello(&raw);
    for (int i = 0; i < 20; i++) {
        ping(&raw, 1);
        next_of(&raw, NGHTTP2_PING);
        uint64_t answered = ltd_now_ns();
        while (ltd_now_ns() < answered + 2 * LTD_NS_PER_MS)
            ; /* the interval itself is what is tested */
    }
    unary(&raw, 1);
    raw_close(&raw);
    fixture_stop(f);
}

static void a_connection_that_is_too_old_lets_its_calls_end(void **state)
{
    struct raw raw;
    struct raw_answer a;
    (void)state;
    f = fixture_start(&(struct rpc_limits){.max_age_ms = 30});
    raw_connect(&raw, f->address);
    raw_hello(&raw);
    raw_request(&raw, 1, "/test.Echo/Sleep", NULL, NULL);
    raw_message(&raw, 1, 0, "300", 3, RAW_END_STREAM);
    expect_goaway(&raw, 0x7fffffff, NGHTTP2_NO_ERROR, "max_age");
    next_of(&raw, NGHTTP2_PING);
    unary(&raw, 3); /* it crossed the notice */
    raw_send_frame(&raw, NGHTTP2_PING, RAW_ACK, 0, "drain\0\0\0", 8);
    expect_goaway(&raw, 3, NGHTTP2_NO_ERROR, "max_age");
    raw_read_answer(&raw, 1, &a);
    assert_int_equal(a.grpc_status, 0);
    raw_read_to_end(&raw, &a);
    assert_int_equal(a.goaway, -1);
    raw_close(&raw);
    raw_connect(&raw, f->address); /* others may come */
    raw_hello(&raw);
    unary(&raw, 1);
    raw_close(&raw);
    fixture_stop(f);
}

static void a_call_that_outlives_the_grace_of_an_old_connection_is_ended(void **state)
{
    struct raw raw;
    struct raw_answer a;
    (void)state;
    f = fixture_start(&(struct rpc_limits){.max_age_ms = 20, .max_age_grace_ms = 300});
    raw_connect(&raw, f->address);
    raw_hello(&raw);
    raw_request(&raw, 1, "/test.Echo/Hang", NULL, NULL);
    raw_message(&raw, 1, 0, "", 0, RAW_END_STREAM);
    expect_goaway(&raw, 0x7fffffff, NGHTTP2_NO_ERROR, "max_age");
    raw_send_frame(&raw, NGHTTP2_PING, RAW_ACK, 0, "drain\0\0\0", 8);
    raw_read_answer(&raw, 1, &a);
    assert_int_equal(a.grpc_status, 14);
    raw_read_to_end(&raw, &a);
    assert_string_equal(a.goaway_text, "max_age");
    assert_int_equal(atomic_load(&f->echo.ends[RPC_END_STOPPED]), 1);
    raw_close(&raw);
    fixture_stop(f);
}

static void an_idle_connection_that_is_too_old_is_closed(void **state)
{
    struct raw raw;
    (void)state;
    f = fixture_start(&(struct rpc_limits){.max_age_ms = 20});
    raw_connect(&raw, f->address);
    raw_hello(&raw);
    expect_goaway(&raw, 0x7fffffff, NGHTTP2_NO_ERROR, "max_age");
    next_of(&raw, NGHTTP2_PING);
    raw_send_frame(&raw, NGHTTP2_PING, RAW_ACK, 0, frame.payload, 8);
    expect_goaway(&raw, 0, NGHTTP2_NO_ERROR, "max_age");
    assert_false(raw_recv_frame(&raw, &frame));
    raw_close(&raw);
    fixture_stop(f);
}

/* Of three connections of one host two are served; when one has gone, another may come. */
static void one_host_has_no_more_connections_than_its_share(void **state)
{
    struct raw a, b, c;
    (void)state;
    f = fixture_start(&(struct rpc_limits){.max_per_local_host = 2});
    raw_connect(&a, f->address);
    raw_hello(&a);
    unary(&a, 1);
    raw_connect(&b, f->address);
    raw_hello(&b);
    unary(&b, 1);
    raw_connect(&c, f->address);
    assert_false(raw_recv_frame(&c, &frame)); /* closed before it said a word */
    raw_close(&c);
    /* Another name for a host: the user of a Unix socket. */
    raw_connect(&c, f->unix_address);
    raw_hello(&c);
    unary(&c, 1);
    raw_close(&c);
    /* A GOAWAY ends the connection, and its close tells that the server has counted it out. */
    raw_send_frame(&a, NGHTTP2_GOAWAY, 0, 0, "\0\0\0\0\0\0\0\0", 8);
    while (raw_recv_frame(&a, &frame))
        ;
    raw_close(&a);
    bool served = false;
    for (uint64_t give_up = ltd_deadline_ns(10000); !served && ltd_now_ns() < give_up;) {
        raw_connect(&c, f->address);
        raw_hello(&c);
        served = raw_recv_frame(&c, &frame);
        if (!served)
            raw_close(&c);
    }
    assert_true(served);
    unary(&c, 1);
    raw_close(&c);
    raw_close(&b);
    fixture_stop(f);
}

static void a_window_that_overflows_through_settings_ends_the_connection(void **state)
{
    struct raw raw;
    struct raw_answer a;
    (void)state;
    f = fixture_start(NULL);
    raw_connect(&raw, f->address);
    raw_hello(&raw);
    raw_request(&raw, 1, "/test.Echo/Hang", NULL, NULL);
    raw_message(&raw, 1, 0, "", 0, RAW_END_STREAM);
    raw_send_frame(&raw, NGHTTP2_WINDOW_UPDATE, 0, 1, "\x7f\xff\0\0", 4);
    raw_send_frame(&raw, NGHTTP2_SETTINGS, 0, 0, "\0\4\0\2\0\0", 6);
    raw_read_to_end(&raw, &a);
    assert_int_equal(a.goaway, NGHTTP2_FLOW_CONTROL_ERROR);
    raw_close(&raw);
    fixture_stop(f);
}

/* 3,800 fields of three octets: each request is refused, and the fifth ends the connection. */
static void requests_of_tiny_fields_are_cut(void **state)
{
    struct raw raw;
    struct raw_answer a;
    struct ltd_bytes block = {0};
    (void)state;
    f = fixture_start(NULL);
    raw_request_fields(&block, "/test.Echo/Unary");
    while (block.len < 12000)
        ltd_bytes_put(&block, "\0\1a\0", 4);
    raw_connect(&raw, f->address);
    raw_hello(&raw);
    for (uint32_t stream = 1; stream < 100; stream += 2)
        raw_send_frame(&raw, NGHTTP2_HEADERS, RAW_END_HEADERS | RAW_END_STREAM, stream, block.data,
                       block.len);
    raw_read_to_end(&raw, &a);
    assert_int_equal(a.goaway, NGHTTP2_ENHANCE_YOUR_CALM);
    assert_string_equal(a.goaway_text, "too_many_useless_frames");
    assert_in_range(a.goaway_last, 1, 15);
    ltd_bytes_fini(&block);
    raw_close(&raw);
    fixture_stop(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_third_ping_too_soon_ends_the_connection_with_the_agreed_text),
        cmocka_unit_test(an_answer_that_was_sent_forgives_the_pings_before_it),
        cmocka_unit_test(pings_that_keep_the_interval_are_answered),
        cmocka_unit_test(a_connection_that_is_too_old_lets_its_calls_end),
        cmocka_unit_test(a_call_that_outlives_the_grace_of_an_old_connection_is_ended),
        cmocka_unit_test(an_idle_connection_that_is_too_old_is_closed),
        cmocka_unit_test(one_host_has_no_more_connections_than_its_share),
        cmocka_unit_test(requests_of_tiny_fields_are_cut),
        cmocka_unit_test(a_window_that_overflows_through_settings_ends_the_connection),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
