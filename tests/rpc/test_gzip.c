/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/rpc/test_gzip.c - compressed messages: the codec alone, and on the wire.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <zlib.h>

#include "fixture.h"
#include "raw_peer.h"
#include "rpc/gzip.h"

/* ---- the codec ---- */

/* What zlib makes of `len` bytes; window_bits says in which frame. */
static struct ltd_bytes squeeze(const uint8_t *data, size_t len, int window_bits)
{
    struct ltd_bytes out;
    z_stream z = {.next_in = (Bytef *)data, .avail_in = (uInt)len};
    ltd_bytes_init(&out);
    deflateInit2(&z, 9, Z_DEFLATED, window_bits, 8, Z_DEFAULT_STRATEGY);
    size_t bound = deflateBound(&z, len);
    z.next_out = ltd_bytes_reserve(&out, bound);
    z.avail_out = (uInt)bound;
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    out.len = bound - z.avail_out;
    deflateEnd(&z);
    return out;
}

/* Inflates all of it in slices; how many steps it took is in *n_steps. */
static enum rpc_inflated inflate_all(enum rpc_coding coding, const struct ltd_bytes *in,
                                     size_t max_bytes, size_t slice, struct ltd_bytes *out,
                                     int *n_steps)
{
    enum rpc_inflated verdict = RPC_INFLATED_MORE;
    struct rpc_inflater *inflater = rpc_inflater_create(coding, in->data, in->len);
    *n_steps = 0;
    while (verdict == RPC_INFLATED_MORE) {
        size_t before = out->len;
        verdict = rpc_inflater_step(inflater, out, max_bytes, slice);
        assert_in_range(out->len - before, 0, slice);
        ++*n_steps;
    }
    rpc_inflater_destroy(inflater);
    return verdict;
}

static void expect_inflated(enum rpc_coding coding, const struct ltd_bytes *in, size_t max_bytes,
                            enum rpc_inflated expected)
{
    struct ltd_bytes out = {0};
    int n_steps;
    enum rpc_inflated verdict = inflate_all(coding, in, max_bytes, 100, &out, &n_steps);
    if (verdict != expected)
        fail_msg("%zu bytes, at most %zu: verdict %d, expected %d", in->len, max_bytes, verdict,
                 expected);
    ltd_bytes_fini(&out);
}

static void what_was_compressed_comes_back_in_slices(void **state)
{
    static uint8_t data[5000];
    (void)state;
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i * i >> 5);
    for (size_t len = 0; len <= sizeof data; len += 625)
        for (int gzip = 0; gzip < 2; gzip++) {
            struct ltd_bytes small = squeeze(data, len, gzip ? 31 : 15), out = {0};
            enum rpc_coding coding = gzip ? RPC_CODING_GZIP : RPC_CODING_DEFLATE;
            int n_steps;
            assert_int_equal(inflate_all(coding, &small, len, 100, &out, &n_steps),
                             RPC_INFLATED_DONE);
            assert_int_equal(out.len, len);
            if (len > 0)
                assert_memory_equal(out.data, data, len);
            assert_in_range(n_steps, len / 100, len / 100 + 2);
            if (len > 0)
                expect_inflated(coding, &small, len - 1, RPC_INFLATED_TOO_LARGE);
            expect_inflated(gzip ? RPC_CODING_DEFLATE : RPC_CODING_GZIP, &small, len,
                            RPC_INFLATED_BAD);
            ltd_bytes_fini(&small);
            ltd_bytes_fini(&out);
        }
}

static void every_cut_and_everything_behind_the_end_is_bad(void **state)
{
    (void)state;
    uint8_t data[300];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i * 7);
    struct ltd_bytes small = squeeze(data, sizeof data, 31);
    for (size_t len = 0; len < small.len; len++) {
        struct ltd_bytes cut = {.data = small.data, .len = len};
        expect_inflated(RPC_CODING_GZIP, &cut, 1000, RPC_INFLATED_BAD);
    }
    expect_inflated(RPC_CODING_GZIP, &small, 1000, RPC_INFLATED_DONE);
    small.data[small.len - 5] ^= 1; /* the checksum */
    expect_inflated(RPC_CODING_GZIP, &small, 1000, RPC_INFLATED_BAD);
    small.data[small.len - 5] ^= 1;
    ltd_bytes_put_u8(&small, 0);
    expect_inflated(RPC_CODING_GZIP, &small, 1000, RPC_INFLATED_BAD);
    ltd_bytes_fini(&small);
}

static void a_bomb_costs_its_limit_and_no_more(void **state)
{
    (void)state;
    uint8_t *zeros = calloc(1, 200 << 20);
    struct ltd_bytes bomb = squeeze(zeros, 200 << 20, 31), out = {0};
    int n_steps;
    free(zeros);
    assert_in_range(bomb.len, 1, 250000);
    assert_int_equal(inflate_all(RPC_CODING_GZIP, &bomb, 1 << 20, 65536, &out, &n_steps),
                     RPC_INFLATED_TOO_LARGE);
    assert_int_equal(n_steps, 17);
    assert_in_range(out.capacity, 1 << 20, 4 << 20);
    ltd_bytes_fini(&bomb);
    ltd_bytes_fini(&out);
}

static void only_what_gets_smaller_is_compressed(void **state)
{
    (void)state;
    struct ltd_bytes small = {0}, back = {0};
    uint8_t data[4000];
    int n_steps;
    memset(data, 'a', sizeof data);
    ltd_bytes_put_str(&small, "kept");
    assert_true(rpc_gzip(data, sizeof data, &small));
    assert_memory_equal(small.data, "kept", 4);
    struct ltd_bytes message = {.data = small.data + 4, .len = small.len - 4};
    assert_int_equal(inflate_all(RPC_CODING_GZIP, &message, 4000, 4000, &back, &n_steps),
                     RPC_INFLATED_DONE);
    assert_int_equal(back.len, sizeof data);
    assert_memory_equal(back.data, data, sizeof data);
    small.len = 4;
    assert_false(rpc_gzip("short", 5, &small));
    assert_false(rpc_gzip("", 0, &small));
    assert_int_equal(small.len, 4);
    assert_false(small.failed);
    ltd_bytes_fini(&small);
    ltd_bytes_fini(&back);
}

static void codings_are_read_by_their_names(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum rpc_coding coding;
        bool in_list;
    } cases[] = {{"gzip", RPC_CODING_GZIP, true},
                 {"deflate", RPC_CODING_DEFLATE, false},
                 {"identity", RPC_CODING_IDENTITY, false},
                 {"", RPC_CODING_UNKNOWN, false},
                 {"GZIP", RPC_CODING_UNKNOWN, false},
                 {"gzip,identity", RPC_CODING_UNKNOWN, true},
                 {"identity, deflate , gzip ", RPC_CODING_UNKNOWN, true},
                 {"identity,gzipx,xgzip", RPC_CODING_UNKNOWN, false}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const uint8_t *text = (const uint8_t *)cases[i].text;
        size_t len = strlen(cases[i].text);
        if (rpc_coding_parse(text, len) != cases[i].coding ||
            rpc_coding_list_has_gzip(text, len) != cases[i].in_list)
            fail_msg("'%s': coding %d, gzip in the list: %d", cases[i].text,
                     rpc_coding_parse(text, len), rpc_coding_list_has_gzip(text, len));
    }
}

/* ---- on the wire ---- */

static struct fixture *f;

static void begin(struct raw *raw)
{
    f = fixture_start(NULL);
    raw_connect(raw, f->address);
    raw_hello(raw);
    raw_send_frame(raw, NGHTTP2_SETTINGS, RAW_ACK, 0, NULL, 0);
}

static void finish(struct raw *raw)
{
    raw_close(raw);
    fixture_stop(f);
}

static void expect_status(const struct raw_answer *a, int status)
{
    if (a->grpc_status != status || a->http_status != 200)
        fail_msg("HTTP %d, grpc-status %d (%s), reset %lld; expected grpc-status %d",
                 a->http_status, a->grpc_status, a->message, (long long)a->reset, status);
}

/* One message in as many DATA frames as it takes. */
static void send_long(struct raw *raw, uint32_t stream, const struct ltd_bytes *message,
                      uint8_t last_flags)
{
    uint8_t prefix[5] = {1, (uint8_t)(message->len >> 24), (uint8_t)(message->len >> 16),
                         (uint8_t)(message->len >> 8), (uint8_t)message->len};
    raw_send_frame(raw, NGHTTP2_DATA, 0, stream, prefix, sizeof prefix);
    for (size_t at = 0; at < message->len; at += 16384) {
        size_t n = message->len - at < 16384 ? message->len - at : 16384;
        raw_send_frame(raw, NGHTTP2_DATA, at + n == message->len ? last_flags : 0, stream,
                       message->data + at, n);
    }
}

static void a_compressed_request_is_taken_whatever_its_coding(void **state)
{
    struct raw raw;
    struct raw_answer a;
    const char *words = "hello hello hello hello hello";
    (void)state;
    begin(&raw);
    for (uint32_t i = 0; i < 2; i++) {
        struct ltd_bytes small = squeeze((const uint8_t *)words, strlen(words), i ? 31 : 15);
        raw_request(&raw, 1 + 2 * i, "/test.Echo/Unary", "grpc-encoding", i ? "gzip" : "deflate");
        send_long(&raw, 1 + 2 * i, &small, RAW_END_STREAM);
        raw_read_answer(&raw, 1 + 2 * i, &a);
        expect_status(&a, 0);
        assert_int_equal(a.n_data_bytes, 5 + strlen(words));
        assert_memory_equal(a.data + 5, words, strlen(words));
        assert_int_equal(a.data[0], 0);
        ltd_bytes_fini(&small);
    }
    finish(&raw);
}

static void a_declared_coding_need_not_be_used(void **state)
{
    struct raw raw;
    struct raw_answer a;
    (void)state;
    begin(&raw);
    raw_request(&raw, 1, "/test.Echo/Unary", "grpc-encoding", "gzip");
    raw_message(&raw, 1, 0, "plain", 5, RAW_END_STREAM);
    raw_read_answer(&raw, 1, &a);
    expect_status(&a, 0);
    assert_memory_equal(a.data, "\0\0\0\0\5plain", 10);
    finish(&raw);
}

static void a_damaged_message_is_internal_on_its_own(void **state)
{
    struct raw raw;
    struct raw_answer a;
    static const char *const bad[] = {"", "x", "\x1f\x8b\x08", "not compressed at all"};
    (void)state;
    begin(&raw);
    for (uint32_t i = 0; i < 4; i++) {
        raw_request(&raw, 1 + 2 * i, "/test.Echo/Unary", "grpc-encoding", "gzip");
        raw_message(&raw, 1 + 2 * i, 1, bad[i], (uint32_t)strlen(bad[i]), RAW_END_STREAM);
        raw_read_answer(&raw, 1 + 2 * i, &a);
        expect_status(&a, 13);
    }
    raw_request(&raw, 9, "/test.Echo/Chat", "grpc-encoding", "gzip");
    raw_message(&raw, 9, 1, "bad", 3, 0);
    raw_read_answer(&raw, 9, &a);
    expect_status(&a, 13);
    assert_int_equal(atomic_load(&f->echo.ends[RPC_END_REFUSED]), 1);
    finish(&raw);
}

static void bombs_are_refused_and_others_are_served_meanwhile(void **state)
{
    struct raw raw, other;
    struct raw_answer a;
    uint8_t *zeros = calloc(1, 20 << 20);
    struct ltd_bytes bomb = squeeze(zeros, 20 << 20, 31);
    struct ltd_bytes large = squeeze(zeros, 8 << 20, 31);
    (void)state;
    free(zeros);
    begin(&raw);
    raw_connect(&other, f->address);
    raw_hello(&other);
    for (uint32_t i = 0; i < 8; i++) { /* each is more than a turn's work, one is allowed */
        raw_request(&raw, 1 + 2 * i, "/test.Echo/Unary", "grpc-encoding", "gzip");
        send_long(&raw, 1 + 2 * i, &bomb, RAW_END_STREAM);
    }
    raw_request(&other, 1, "/test.Echo/Unary", NULL, NULL);
    raw_message(&other, 1, 0, "ok", 2, RAW_END_STREAM);
    raw_read_answer(&other, 1, &a);
    expect_status(&a, 0);
    raw_read_answer(&raw, 15, &a);
    expect_status(&a, 8);
    raw_request(&raw, 17, "/test.Echo/Collect", "grpc-encoding", "gzip");
    send_long(&raw, 17, &large, 0); /* 8 MiB, the method takes one */
    raw_read_answer(&raw, 17, &a);
    expect_status(&a, 8);
    raw_close(&other);
    ltd_bytes_fini(&bomb);
    ltd_bytes_fini(&large);
    finish(&raw);
}

static void a_stream_may_mix_compressed_messages_with_plain_ones(void **state)
{
    struct raw raw;
    struct raw_answer a;
    uint8_t *zeros = calloc(1, 1 << 20);
    struct ltd_bytes small = squeeze(zeros, 1 << 20, 31);
    (void)state;
    free(zeros);
    begin(&raw);
    raw_request(&raw, 1, "/test.Echo/Collect", "grpc-encoding", "gzip");
    for (int i = 0; i < 20; i++) { /* 20 MiB: the work of several turns */
        send_long(&raw, 1, &small, 0);
        raw_message(&raw, 1, 0, "plain", 5, 0);
    }
    raw_send_frame(&raw, NGHTTP2_DATA, RAW_END_STREAM, 1, NULL, 0);
    raw_read_answer(&raw, 1, &a);
    expect_status(&a, 0);
    assert_memory_equal(a.data + 5, "40 messages, 20971620 bytes", 27);
    ltd_bytes_fini(&small);
    finish(&raw);
}

static void answers_are_compressed_for_those_who_ask_and_accept(void **state)
{
    struct raw raw;
    struct raw_answer a;
    (void)state;
    begin(&raw);
    raw_request(&raw, 1, "/test.Echo/Squeeze", "grpc-accept-encoding", "identity,gzip");
    raw_message(&raw, 1, 0, "3000", 4, RAW_END_STREAM);
    raw_read_answer(&raw, 1, &a);
    expect_status(&a, 0);
    assert_non_null(strstr(a.fields, "grpc-encoding: gzip\n"));
    assert_int_equal(a.data[0], 1);
    struct ltd_bytes message = {.data = a.data + 5, .len = a.n_data_bytes - 5}, out = {0};
    int n_steps;
    assert_int_equal(inflate_all(RPC_CODING_GZIP, &message, 3000, 5000, &out, &n_steps),
                     RPC_INFLATED_DONE);
    assert_int_equal(out.len, 3000);
    ltd_bytes_fini(&out);
    raw_request(&raw, 3, "/test.Echo/Squeeze", NULL, NULL); /* does not accept it */
    raw_message(&raw, 3, 0, "3000", 4, RAW_END_STREAM);
    raw_read_answer(&raw, 3, &a);
    expect_status(&a, 0);
    assert_null(strstr(a.fields, "grpc-encoding: gzip\n"));
    assert_int_equal(a.n_data_bytes, 3005);
    assert_int_equal(a.data[0], 0);
    raw_request(&raw, 5, "/test.Echo/Unary", "grpc-accept-encoding", "gzip"); /* does not ask */
    raw_message(&raw, 5, 0, "3000", 4, RAW_END_STREAM);
    raw_read_answer(&raw, 5, &a);
    assert_null(strstr(a.fields, "grpc-encoding: gzip\n"));
    finish(&raw);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_compressed_comes_back_in_slices),
        cmocka_unit_test(every_cut_and_everything_behind_the_end_is_bad),
        cmocka_unit_test(a_bomb_costs_its_limit_and_no_more),
        cmocka_unit_test(only_what_gets_smaller_is_compressed),
        cmocka_unit_test(codings_are_read_by_their_names),
        cmocka_unit_test(a_compressed_request_is_taken_whatever_its_coding),
        cmocka_unit_test(a_declared_coding_need_not_be_used),
        cmocka_unit_test(a_damaged_message_is_internal_on_its_own),
        cmocka_unit_test(bombs_are_refused_and_others_are_served_meanwhile),
        cmocka_unit_test(a_stream_may_mix_compressed_messages_with_plain_ones),
        cmocka_unit_test(answers_are_compressed_for_those_who_ask_and_accept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
