/* SPDX-License-Identifier: Apache-2.0 */
/* tests/rpc/test_grpc_frame.c - messages out of bytes, cut at every place they can be cut. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "rpc/grpc_frame.h"

/* "hello", the empty message, 300 times 'x'. */
static size_t golden(uint8_t out[400])
{
    memcpy(out, "\0\0\0\0\5hello\0\0\0\0\0\0\0\0\1\x2c", 20);
    memset(out + 20, 'x', 300);
    return 320;
}

/* What was read from one run of feeds, as "hello||xxx…|". */
struct transcript {
    char text[400];
    size_t len;
    enum rpc_frame last;
};

static void feed(struct rpc_frame_reader *reader, struct transcript *t, const uint8_t *data,
                 size_t len)
{
    while (len > 0 || t->last == RPC_FRAME_MESSAGE) {
        size_t used;
        t->last = rpc_frame_feed(reader, data, len, &used);
        data += used;
        len -= used;
        if (t->last != RPC_FRAME_MESSAGE)
            return;
        if (reader->body.len > 0)
            memcpy(t->text + t->len, reader->body.data, reader->body.len);
        t->len += reader->body.len;
        t->text[t->len++] = '|';
        rpc_frame_next(reader);
        if (len == 0)
            return;
    }
}

static void check_golden(const struct transcript *t)
{
    char expected[320];
    memcpy(expected, "hello||", 7);
    memset(expected + 7, 'x', 300);
    expected[307] = '|';
    assert_int_equal(t->len, 308);
    assert_memory_equal(t->text, expected, 308);
}

static void every_pair_of_cuts_gives_the_same_messages(void **state)
{
    uint8_t bytes[400];
    size_t len = golden(bytes);
    (void)state;
    for (size_t i = 0; i <= len; i++)
        for (size_t k = i; k <= len; k += k < 40 ? 1 : 7) {
            struct rpc_frame_reader reader;
            struct transcript t = {.last = RPC_FRAME_MORE};
            rpc_frame_reader_init(&reader, 1000);
            feed(&reader, &t, bytes, i);
            feed(&reader, &t, bytes + i, k - i);
            feed(&reader, &t, bytes + k, len - k);
            check_golden(&t);
            assert_true(rpc_frame_at_boundary(&reader));
            rpc_frame_reader_fini(&reader);
        }
}

static void one_octet_at_a_time_gives_the_same_messages(void **state)
{
    uint8_t bytes[400];
    size_t len = golden(bytes);
    struct rpc_frame_reader reader;
    struct transcript t = {.last = RPC_FRAME_MORE};
    (void)state;
    rpc_frame_reader_init(&reader, 300);
    for (size_t i = 0; i < len; i++)
        feed(&reader, &t, bytes + i, 1);
    check_golden(&t);
    rpc_frame_reader_fini(&reader);
}

static void a_cut_stream_is_not_at_a_boundary(void **state)
{
    uint8_t bytes[400];
    (void)state;
    golden(bytes);
    for (size_t len = 1; len < 10; len++) {
        struct rpc_frame_reader reader;
        size_t used;
        rpc_frame_reader_init(&reader, 1000);
        assert_int_equal(rpc_frame_feed(&reader, bytes, len, &used), RPC_FRAME_MORE);
        assert_int_equal(used, len);
        assert_false(rpc_frame_at_boundary(&reader));
        rpc_frame_reader_fini(&reader);
    }
}

static enum rpc_frame verdict_on(const char prefix[5], size_t max_bytes, size_t *stored)
{
    struct rpc_frame_reader reader;
    size_t used;
    rpc_frame_reader_init(&reader, max_bytes);
    enum rpc_frame verdict = rpc_frame_feed(&reader, (const uint8_t *)prefix, 5, &used);
    *stored = reader.body.capacity;
    rpc_frame_reader_fini(&reader);
    return verdict;
}

static void a_prefix_is_judged_before_anything_is_stored(void **state)
{
    size_t stored;
    (void)state;
    assert_int_equal(verdict_on("\0\0\0\1\0", 256, &stored), RPC_FRAME_MORE);
    assert_int_equal(verdict_on("\0\0\0\1\1", 256, &stored), RPC_FRAME_TOO_LARGE);
    assert_int_equal(stored, 0);
    assert_int_equal(verdict_on("\0\xff\xff\xff\xff", 256, &stored), RPC_FRAME_TOO_LARGE);
    assert_int_equal(verdict_on("\0\xff\xff\xff\xff", SIZE_MAX, &stored), RPC_FRAME_MORE);
    assert_int_equal(stored, 0);
    assert_int_equal(verdict_on("\1\0\0\0\0", 256, &stored), RPC_FRAME_COMPRESSED);
    for (int flag = 2; flag < 256; flag++) {
        const char prefix[5] = {(char)flag};
        assert_int_equal(verdict_on(prefix, 256, &stored), RPC_FRAME_BAD_FLAG);
    }
}

static void the_buffer_grows_with_what_came_not_with_what_was_announced(void **state)
{
    struct rpc_frame_reader reader;
    size_t used;
    uint8_t bytes[1000] = {0};
    (void)state;
    memcpy(bytes, "\0\x40\0\0\0", 5);
    rpc_frame_reader_init(&reader, SIZE_MAX);
    assert_int_equal(rpc_frame_feed(&reader, bytes, sizeof bytes, &used), RPC_FRAME_MORE);
    assert_int_equal(used, sizeof bytes);
    assert_in_range(reader.body.capacity, 995, 2048);
    rpc_frame_reader_fini(&reader);
}

static void a_prefix_that_was_written_is_read_back(void **state)
{
    const uint32_t sizes[] = {0, 1, 255, 256, 65535, 65536, 1u << 24, UINT32_MAX};
    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct rpc_frame_reader reader;
        uint8_t prefix[RPC_FRAME_PREFIX_BYTES];
        size_t used;
        rpc_frame_prefix(sizes[i], prefix);
        rpc_frame_reader_init(&reader, SIZE_MAX);
        enum rpc_frame verdict = rpc_frame_feed(&reader, prefix, sizeof prefix, &used);
        assert_int_equal(verdict, sizes[i] == 0 ? RPC_FRAME_MESSAGE : RPC_FRAME_MORE);
        assert_int_equal(reader.body_bytes, sizes[i]);
        rpc_frame_reader_fini(&reader);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_pair_of_cuts_gives_the_same_messages),
        cmocka_unit_test(one_octet_at_a_time_gives_the_same_messages),
        cmocka_unit_test(a_cut_stream_is_not_at_a_boundary),
        cmocka_unit_test(a_prefix_is_judged_before_anything_is_stored),
        cmocka_unit_test(the_buffer_grows_with_what_came_not_with_what_was_announced),
        cmocka_unit_test(a_prefix_that_was_written_is_read_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
