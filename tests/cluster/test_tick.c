/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/cluster/test_tick.c - the codec of the tick stream: everything comes back, and no bytes,
 * cut, flipped or invented, do more than give an error.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "cluster/tick.h"

#define N 5 /* width of the latents here */

static const struct clus_limits limits = {.n_embd = N,
                                          .block_size = 64,
                                          .page_positions = 16,
                                          .n_rows = 8,
                                          .n_seqs = 4,
                                          .n_pages = 12,
                                          .max_batch = 6};

static const int32_t closed[] = {2, 0};
static const int32_t released[] = {11, 7, 0};
static const struct clus_page pages[] = {{0, 0, 7, false}, {0, 1, 11, false}, {3, 0, 2, true}};
static const float vector_a[N] = {1.5f, -2.25f, 0.0f, 1e-30f, 3.0f};
static const float vector_b[N] = {-0.0f, 7.0f, 1e30f, -1.0f, 0.5f};
static const struct clus_start starts[] = {
    {.row = 0, .position = 3, .kind = CLUS_START_ZERO, .injected = vector_a},
    {.row = 5,
     .position = 4,
     .kind = CLUS_START_SEED,
     .seed = 0xFEDCBA9876543210u,
     .init_scale = 0.75f,
     .injected = vector_b},
    {.row = 7, .position = 63, .kind = CLUS_START_GIVEN, .latent = vector_b, .injected = vector_a},
};
static const struct clus_entry entries[] = {
    {0, 3, 3, 0, CLUS_WANT_LATENT},       {5, 3, 4, 31, CLUS_EARLY},
    {7, 0, 63, 2, CLUS_WANT_DIFF},        {1, 0, 2, 9, CLUS_WANT_COSINE | CLUS_WANT_LATENT},
    {2, 1, 6, 9, CLUS_WANT_ACCELERATION},
};
static const struct clus_tick sample = {.tick_id = 0x0123456789ABCDEFu,
                                        .closed = closed,
                                        .n_closed = 2,
                                        .released = released,
                                        .n_released = 3,
                                        .pages = pages,
                                        .n_pages = 3,
                                        .starts = starts,
                                        .n_starts = 3,
                                        .entries = entries,
                                        .n_entries = 5};

static struct ltd_bytes encode_tick(const struct clus_tick *tick)
{
    struct ltd_bytes out;
    struct ltd_err err = {0};
    ltd_bytes_init(&out);
    if (clus_tick_encode(tick, &limits, &out, &err))
        fail_msg("encode: %s", err.msg);
    return out;
}

static struct ltd_bytes encode_reply(const struct clus_reply *reply)
{
    struct ltd_bytes out;
    struct ltd_err err = {0};
    ltd_bytes_init(&out);
    if (clus_reply_encode(reply, &limits, &out, &err))
        fail_msg("encode: %s", err.msg);
    return out;
}

/* Decode a copy in a block of exactly its size, so that a sanitizer sees any byte too far. When it
 * is accepted, encoding it again must give the same bytes. Returns the decoder's verdict. */
static int decode_exactly(const uint8_t *data, size_t len, bool is_tick, struct ltd_err *err)
{
    uint8_t *copy = malloc(len ? len : 1);
    struct clus_tick_buf buf;
    struct clus_tick tick;
    struct clus_reply reply;
    struct ltd_bytes again;
    memcpy(copy, data, len);
    clus_tick_buf_init(&buf);
    ltd_bytes_init(&again);
    int rc = is_tick ? clus_tick_decode(copy, len, &limits, &buf, &tick, err)
                     : clus_reply_decode(copy, len, &limits, &buf, &reply, err);
    if (rc == 0) {
        struct ltd_err failed = {0};
        int coded = is_tick ? clus_tick_encode(&tick, &limits, &again, &failed)
                            : clus_reply_encode(&reply, &limits, &again, &failed);
        if (coded)
            fail_msg("accepted, but not encoded again: %s", failed.msg);
        assert_int_equal(again.len, len);
        assert_memory_equal(again.data, copy, len);
    } else {
        assert_true(err->code == LTD_E_PEER && err->msg[0] != '\0');
    }
    ltd_bytes_fini(&again);
    clus_tick_buf_fini(&buf);
    free(copy);
    return rc;
}

static void assert_page_equal(const struct clus_page *a, const struct clus_page *b)
{
    assert_int_equal(a->seq, b->seq);
    assert_int_equal(a->page_idx, b->page_idx);
    assert_int_equal(a->page_id, b->page_id);
    assert_int_equal(a->is_shared, b->is_shared);
}

static void assert_start_equal(const struct clus_start *a, const struct clus_start *b)
{
    assert_int_equal(a->row, b->row);
    assert_int_equal(a->position, b->position);
    assert_int_equal(a->kind, b->kind);
    assert_true(a->seed == b->seed && a->init_scale == b->init_scale);
    assert_memory_equal(a->injected, b->injected, N * sizeof(float));
    if (b->latent)
        assert_memory_equal(a->latent, b->latent, N * sizeof(float));
    else
        assert_null(a->latent);
}

static void tick_comes_back_as_it_was(void **state)
{
    (void)state;
    struct ltd_bytes bytes = encode_tick(&sample);
    struct clus_tick_buf buf;
    struct clus_tick tick;
    struct ltd_err err = {0};
    clus_tick_buf_init(&buf);
    if (clus_tick_decode(bytes.data, bytes.len, &limits, &buf, &tick, &err))
        fail_msg("%s", err.msg);
    assert_true(tick.tick_id == sample.tick_id);
    assert_int_equal(tick.n_closed, 2);
    assert_memory_equal(tick.closed, closed, sizeof closed);
    assert_int_equal(tick.n_released, 3);
    assert_memory_equal(tick.released, released, sizeof released);
    assert_int_equal(tick.n_pages, 3);
    for (int i = 0; i < 3; i++)
        assert_page_equal(&tick.pages[i], &pages[i]);
    assert_int_equal(tick.n_starts, 3);
    for (int i = 0; i < 3; i++)
        assert_start_equal(&tick.starts[i], &starts[i]);
    assert_int_equal(tick.n_entries, 5);
    assert_memory_equal(tick.entries, entries, sizeof entries);
    clus_tick_buf_fini(&buf);
    ltd_bytes_fini(&bytes);
}

static void empty_tick_is_a_message(void **state)
{
    (void)state;
    const struct clus_tick empty = {.tick_id = 1};
    struct ltd_bytes bytes = encode_tick(&empty);
    struct ltd_err err = {0};
    assert_int_equal(bytes.len, 12 + 8 + 20);
    assert_int_equal(decode_exactly(bytes.data, bytes.len, true, &err), 0);
    ltd_bytes_fini(&bytes);
}

static void bytes_of_the_stream_are_little_endian_and_fixed(void **state)
{
    (void)state;
    const struct clus_entry entry = {1, 2, 0x0304, 5, CLUS_WANT_LATENT};
    const struct clus_page page = {3, 4, 0x0506, true};
    const int32_t gone = 0x0708;
    const struct clus_tick tick = {.tick_id = 0x1122,
                                   .released = &gone,
                                   .n_released = 1,
                                   .pages = &page,
                                   .n_pages = 1,
                                   .entries = &entry,
                                   .n_entries = 1};
    const uint8_t expected[] = {
        'L', 'D', 'T', 'S', 3, 0, 0, 0, 1, 0, 0, 0, 0x22, 0x11, 0, 0, 0, 0, 0, 0,  /* head, id */
        0,   0,   0,   0,   1, 0, 0, 0, 1, 0, 0, 0, 0,    0,    0, 0, 1, 0, 0, 0,  /* counts */
        8,   7,   0,   0,                                                          /* released */
        3,   0,   0,   0,   4, 0, 0, 0, 6, 5, 0, 0, 1,    0,    0, 0,              /* page */
        1,   0,   0,   0,   2, 0, 0, 0, 4, 3, 0, 0, 5,    0,    0, 0, 1, 0, 0, 0}; /* entry */
    struct ltd_bytes bytes = encode_tick(&tick);
    assert_int_equal(bytes.len, sizeof expected);
    assert_memory_equal(bytes.data, expected, sizeof expected);
    ltd_bytes_fini(&bytes);
}

static void every_cut_of_a_tick_is_refused(void **state)
{
    (void)state;
    struct ltd_bytes bytes = encode_tick(&sample);
    for (size_t len = 0; len < bytes.len; len++) {
        struct ltd_err err = {0};
        if (decode_exactly(bytes.data, len, true, &err) == 0)
            fail_msg("accepted %zu of %zu bytes", len, bytes.len);
    }
    ltd_bytes_fini(&bytes);
}

static void every_cut_of_a_reply_is_refused(void **state)
{
    (void)state;
    const double values[] = {0.5, NAN};
    const struct clus_reply reply = {
        .tick_id = 9, .n_latents = 1, .latents = vector_a, .n_values = 2, .values = values};
    const struct clus_reply refusal = {.tick_id = 9,
                                       .err = {.code = LTD_E_INVALID, .msg = "row 9 of 8"}};
    const struct clus_reply *const both[] = {&reply, &refusal};
    for (int i = 0; i < 2; i++) {
        struct ltd_bytes bytes = encode_reply(both[i]);
        struct ltd_err err = {0};
        for (size_t len = 0; len < bytes.len; len++)
            if (decode_exactly(bytes.data, len, false, &err) == 0)
                fail_msg("accepted %zu of %zu bytes", len, bytes.len);
        assert_int_equal(decode_exactly(bytes.data, bytes.len, false, &err), 0);
        ltd_bytes_fini(&bytes);
    }
}

static void bytes_after_the_end_are_refused(void **state)
{
    (void)state;
    struct ltd_bytes bytes = encode_tick(&sample);
    struct ltd_err err = {0};
    ltd_bytes_put_u8(&bytes, 0);
    assert_int_equal(decode_exactly(bytes.data, bytes.len, true, &err), -1);
    assert_non_null(strstr(err.msg, "1 bytes after the end"));
    ltd_bytes_fini(&bytes);
}

static void every_single_flipped_bit_is_refused_or_means_itself(void **state)
{
    (void)state;
    struct ltd_bytes bytes = encode_tick(&sample);
    for (size_t i = 0; i < bytes.len * 8; i++) {
        struct ltd_err err = {0};
        bytes.data[i / 8] ^= (uint8_t)(1u << (i % 8));
        decode_exactly(bytes.data, bytes.len, true, &err);
        bytes.data[i / 8] ^= (uint8_t)(1u << (i % 8));
    }
    ltd_bytes_fini(&bytes);
}

static uint64_t next_random(uint64_t *random)
{
    *random = *random * 6364136223846793005u + 1442695040888963407u;
    return *random >> 33;
}

static void random_damage_never_does_more_than_an_error(void **state)
{
    (void)state;
    uint64_t random = 7;
    struct ltd_bytes good = encode_tick(&sample);
    uint8_t *bad = malloc(good.len);
    int n_refused = 0;
    for (int round = 0; round < 30000; round++) {
        struct ltd_err err = {0};
        size_t len = next_random(&random) % 3 ? good.len : next_random(&random) % good.len;
        memcpy(bad, good.data, good.len);
        for (uint64_t n = 1 + next_random(&random) % 8; n > 0; n--)
            bad[next_random(&random) % good.len] = (uint8_t)next_random(&random);
        bool is_tick = next_random(&random) % 4 != 0;
        if (!is_tick)
            bad[8] = (uint8_t)(CLUS_MSG_REPLY + next_random(&random) % 2);
        n_refused += decode_exactly(bad, len, is_tick, &err) != 0;
    }
    assert_true(n_refused > 10000);
    free(bad);
    ltd_bytes_fini(&good);
}

static void pure_noise_is_refused(void **state)
{
    (void)state;
    uint64_t random = 11;
    uint8_t noise[200];
    for (int round = 0; round < 5000; round++) {
        struct ltd_err err = {0};
        for (size_t i = 0; i < sizeof noise; i++)
            noise[i] = (uint8_t)next_random(&random);
        assert_int_equal(decode_exactly(noise, next_random(&random) % sizeof noise, true, &err),
                         -1);
    }
}

/* Patch one u32 of the sample and expect a sentence. */
static void expect_refusal(size_t offset, uint32_t value, const char *part)
{
    struct ltd_bytes bytes = encode_tick(&sample);
    struct ltd_err err = {0};
    for (int i = 0; i < 4; i++)
        bytes.data[offset + (size_t)i] = (uint8_t)(value >> (8 * i));
    assert_int_equal(decode_exactly(bytes.data, bytes.len, true, &err), -1);
    if (!strstr(err.msg, part))
        fail_msg("offset %zu: message \"%s\" does not have \"%s\"", offset, err.msg, part);
    ltd_bytes_fini(&bytes);
}

static void counts_are_compared_with_their_limits_before_anything_is_reserved(void **state)
{
    (void)state;
    expect_refusal(20, 5, "5 closed sequences, at most 4");
    expect_refusal(24, 13, "13 released pages, at most 12");
    expect_refusal(28, 17, "17 page assignments, at most 16"); /* 4 sequences of 4 pages */
    expect_refusal(32, 0xFFFFFFFFu, "4294967295 starts, at most 6");
    expect_refusal(36, 7, "7 entries, at most 6");
}

static void foreign_headers_are_named(void **state)
{
    (void)state;
    expect_refusal(0, 0x12345678, "magic 12345678");
    expect_refusal(4, 2, "version 2, expected 3");
    expect_refusal(8, 0, "message kind 0");
    expect_refusal(8, 5, "message kind 5");
    expect_refusal(8, CLUS_MSG_STOP, "expected a tick");
}

static void fields_out_of_form_are_named(void **state)
{
    (void)state;
    const size_t lists = 40, closed_end = lists + 8, released_end = closed_end + 12;
    expect_refusal(lists, 0x80000000u, "closed seq 2147483648");
    expect_refusal(closed_end, 0xFFFFFFFFu, "released page 4294967295");
    expect_refusal(released_end + 8, 0x80000000u, "page_id 2147483648");
    expect_refusal(released_end + 12, 2, "is_shared 2 of a page, expected 0 or 1");
    struct ltd_bytes bytes = encode_tick(&sample);
    size_t last_flags = bytes.len - 4;
    ltd_bytes_fini(&bytes);
    expect_refusal(last_flags, 32, "entry flags 0x20, known are 0x1f");
    expect_refusal(last_flags, CLUS_WANT_DIFF | CLUS_WANT_COSINE, "more than one value");
    expect_refusal(last_flags, CLUS_WANT_LATENT | CLUS_WANT_COSINE | CLUS_WANT_ACCELERATION,
                   "more than one value");
    expect_refusal(last_flags, CLUS_WANT_VALUE, "more than one value");
}

/* What sequences share may be more than there is. */
static void every_sequence_may_get_all_its_pages_in_one_tick(void **state)
{
    (void)state;
    struct clus_page all[17];
    struct ltd_err err = {0};
    struct ltd_bytes out;
    for (int32_t i = 0; i < 17; i++)
        all[i] = (struct clus_page){i / 4, i % 4, i % 4, true};
    struct clus_tick tick = {.pages = all, .n_pages = 16};
    struct ltd_bytes bytes = encode_tick(&tick);
    assert_int_equal(decode_exactly(bytes.data, bytes.len, true, &err), 0);
    ltd_bytes_fini(&bytes);
    tick.n_pages = 17;
    ltd_bytes_init(&out);
    assert_int_equal(clus_tick_encode(&tick, &limits, &out, &err), -1);
    assert_non_null(strstr(err.msg, "17 page assignments, at most 16"));
    ltd_bytes_fini(&out);
    /* Limits whose product leaves an int32_t are cut, not wrapped. */
    struct clus_limits large = limits;
    large.block_size = 1 << 26;
    large.page_positions = 1;
    large.n_seqs = 1 << 20;
    assert_int_equal(clus_limits_max_assigned(&large), INT32_MAX);
}

static void init_scale_must_be_finite_and_not_negative(void **state)
{
    (void)state;
    const float scales[] = {-1.0f, NAN, INFINITY};
    for (int i = 0; i < 3; i++) {
        struct clus_start start = starts[1];
        start.init_scale = scales[i];
        const struct clus_tick tick = {.starts = &start, .n_starts = 1};
        struct ltd_bytes bytes = encode_tick(&tick);
        struct ltd_err err = {0};
        assert_int_equal(decode_exactly(bytes.data, bytes.len, true, &err), -1);
        assert_non_null(strstr(err.msg, "init_scale"));
        ltd_bytes_fini(&bytes);
    }
}

static void encoder_refuses_counts_above_the_limits(void **state)
{
    (void)state;
    struct clus_tick tick = sample;
    struct ltd_bytes out;
    struct ltd_err err = {0};
    ltd_bytes_init(&out);
    tick.n_entries = 7;
    assert_int_equal(clus_tick_encode(&tick, &limits, &out, &err), -1);
    assert_int_equal(err.code, LTD_E_EXHAUSTED);
    assert_non_null(strstr(err.msg, "7 entries, at most 6"));
    assert_int_equal(out.len, 0);
    ltd_bytes_fini(&out);
}

static void refusal_carries_code_and_sentence(void **state)
{
    (void)state;
    const struct clus_reply refusal = {.tick_id = 77,
                                       .err = {.code = LTD_E_INVALID, .msg = "row 9 of 8"}};
    struct ltd_bytes bytes = encode_reply(&refusal);
    struct clus_tick_buf buf;
    struct clus_reply reply;
    clus_tick_buf_init(&buf);
    assert_int_equal(clus_reply_decode(bytes.data, bytes.len, &limits, &buf, &reply, NULL), 0);
    assert_true(reply.tick_id == 77);
    assert_int_equal(reply.err.code, LTD_E_INVALID);
    assert_string_equal(reply.err.msg, "row 9 of 8");
    assert_int_equal(reply.n_latents, 0);
    clus_tick_buf_fini(&buf);
    ltd_bytes_fini(&bytes);
}

static void limits_out_of_range_are_named(void **state)
{
    (void)state;
    struct clus_limits bad = limits;
    struct ltd_err err = {0};
    assert_int_equal(clus_limits_check(&limits, &err), 0);
    bad.n_rows = 0;
    assert_int_equal(clus_limits_check(&bad, &err), -1);
    assert_non_null(strstr(err.msg, "limit n_rows: 0"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tick_comes_back_as_it_was),
        cmocka_unit_test(empty_tick_is_a_message),
        cmocka_unit_test(bytes_of_the_stream_are_little_endian_and_fixed),
        cmocka_unit_test(every_cut_of_a_tick_is_refused),
        cmocka_unit_test(every_cut_of_a_reply_is_refused),
        cmocka_unit_test(bytes_after_the_end_are_refused),
        cmocka_unit_test(every_single_flipped_bit_is_refused_or_means_itself),
        cmocka_unit_test(random_damage_never_does_more_than_an_error),
        cmocka_unit_test(pure_noise_is_refused),
        cmocka_unit_test(counts_are_compared_with_their_limits_before_anything_is_reserved),
        cmocka_unit_test(foreign_headers_are_named),
        cmocka_unit_test(fields_out_of_form_are_named),
        cmocka_unit_test(every_sequence_may_get_all_its_pages_in_one_tick),
        cmocka_unit_test(init_scale_must_be_finite_and_not_negative),
        cmocka_unit_test(encoder_refuses_counts_above_the_limits),
        cmocka_unit_test(refusal_carries_code_and_sentence),
        cmocka_unit_test(limits_out_of_range_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
