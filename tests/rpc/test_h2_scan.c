/* SPDX-License-Identifier: Apache-2.0 */
/* tests/rpc/test_h2_scan.c - the frame counter and its leaky bucket, with time as an argument. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include <nghttp2/nghttp2.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "rpc/h2_scan.h"

static void put_frame(struct ltd_bytes *out, uint8_t type, uint8_t flags, uint32_t len)
{
    const uint8_t head[9] = {(uint8_t)(len >> 16), (uint8_t)(len >> 8), (uint8_t)len, type, flags};
    ltd_bytes_put(out, head, sizeof head);
    for (uint32_t i = 0; i < len; i++)
        ltd_bytes_put_u8(out, 0xee);
}

static void start(struct rpc_scan *scan)
{
    rpc_scan_init(scan, 0);
    assert_true(
        rpc_scan_feed(scan, (const uint8_t *)NGHTTP2_CLIENT_MAGIC, NGHTTP2_CLIENT_MAGIC_LEN, 0));
}

/* How many frames of one kind are let through at one instant. */
static int let_through(uint8_t type, uint8_t flags, uint32_t len)
{
    struct rpc_scan scan;
    struct ltd_bytes frame = {0};
    int n = 0;
    start(&scan);
    put_frame(&frame, type, flags, len);
    while (n < 5000 && rpc_scan_feed(&scan, frame.data, frame.len, 0))
        n++;
    ltd_bytes_fini(&frame);
    return n;
}

static void each_kind_of_frame_has_its_price(void **state)
{
    (void)state;
    assert_int_equal(let_through(NGHTTP2_PING, 0, 8), RPC_SCAN_BURST);
    assert_int_equal(let_through(NGHTTP2_SETTINGS, 0, 0), RPC_SCAN_BURST);
    assert_int_equal(let_through(NGHTTP2_WINDOW_UPDATE, 0, 4), RPC_SCAN_BURST);
    assert_int_equal(let_through(NGHTTP2_DATA, 0, 0), RPC_SCAN_BURST);
    assert_int_equal(let_through(0xfe, 0, 100), RPC_SCAN_BURST);
    assert_int_equal(let_through(NGHTTP2_RST_STREAM, 0, 4), RPC_SCAN_BURST / RPC_SCAN_RESET_POINTS);
    assert_int_equal(let_through(NGHTTP2_HEADERS, 4, 50), 5000);
    assert_int_equal(let_through(NGHTTP2_DATA, 0, 1), 5000);
    assert_int_equal(let_through(NGHTTP2_DATA, 1, 0), 5000);
}

static void any_cut_of_the_stream_counts_the_same(void **state)
{
    struct ltd_bytes all = {0};
    (void)state;
    ltd_bytes_put(&all, NGHTTP2_CLIENT_MAGIC, NGHTTP2_CLIENT_MAGIC_LEN);
    put_frame(&all, NGHTTP2_SETTINGS, 0, 6);
    put_frame(&all, NGHTTP2_HEADERS, 4, 40);
    put_frame(&all, NGHTTP2_PING, 0, 8);
    put_frame(&all, NGHTTP2_RST_STREAM, 0, 4);
    put_frame(&all, 0x20, 0, 0);
    for (size_t i = 0; i <= all.len; i++)
        for (size_t k = i; k <= all.len; k++) {
            struct rpc_scan scan;
            rpc_scan_init(&scan, 0);
            assert_true(rpc_scan_feed(&scan, all.data, i, 0));
            assert_true(rpc_scan_feed(&scan, all.data + i, k - i, 0));
            assert_true(rpc_scan_feed(&scan, all.data + k, all.len - k, 0));
            assert_int_equal(scan.points, 3 * RPC_SCAN_FRAME_POINTS + RPC_SCAN_RESET_POINTS);
        }
    ltd_bytes_fini(&all);
}

static void the_bucket_leaks_with_time_and_by_useful_work(void **state)
{
    struct rpc_scan scan;
    (void)state;
    start(&scan);
    assert_true(rpc_scan_charge(&scan, RPC_SCAN_BURST, 0));
    assert_false(rpc_scan_charge(&scan, 1, 0));
    start(&scan);
    rpc_scan_charge(&scan, RPC_SCAN_BURST, 0);
    assert_true(rpc_scan_charge(&scan, RPC_SCAN_PER_SECOND, LTD_NS_PER_S));
    assert_int_equal(scan.points, RPC_SCAN_BURST);
    assert_true(rpc_scan_charge(&scan, 0, LTD_NS_PER_S + LTD_NS_PER_S / RPC_SCAN_PER_SECOND - 1));
    assert_int_equal(scan.points, RPC_SCAN_BURST);
    assert_true(rpc_scan_charge(&scan, 0, 3600 * LTD_NS_PER_S));
    assert_int_equal(scan.points, 0);
    rpc_scan_charge(&scan, 10, 3600 * LTD_NS_PER_S);
    rpc_scan_credit(&scan, 4);
    assert_int_equal(scan.points, 6);
    rpc_scan_credit(&scan, 100);
    assert_int_equal(scan.points, 0);
}

/* A reader of a fast stream: per DATA frame sent to it two window updates and a ping, for ever. */
static void a_busy_reader_never_gets_near_the_limit(void **state)
{
    struct rpc_scan scan;
    struct ltd_bytes reaction = {0};
    (void)state;
    start(&scan);
    put_frame(&reaction, NGHTTP2_WINDOW_UPDATE, 0, 4);
    put_frame(&reaction, NGHTTP2_WINDOW_UPDATE, 0, 4);
    put_frame(&reaction, NGHTTP2_PING, 0, 8);
    for (int i = 0; i < 100000; i++) {
        rpc_scan_credit(&scan, RPC_SCAN_DATA_CREDIT);
        assert_true(rpc_scan_feed(&scan, reaction.data, reaction.len, 0));
    }
    assert_in_range(scan.points, 0, 3);
    ltd_bytes_fini(&reaction);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_kind_of_frame_has_its_price),
        cmocka_unit_test(any_cut_of_the_stream_counts_the_same),
        cmocka_unit_test(the_bucket_leaks_with_time_and_by_useful_work),
        cmocka_unit_test(a_busy_reader_never_gets_near_the_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
