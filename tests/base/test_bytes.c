/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_bytes.c - what is put is read back, and every way to run out is remembered, not followed.
 *
 * The tick stream and the handshake are written with these calls, so the byte order is compared with
 * literal bytes: two builds of the program must agree on it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"

static void numbers_are_little_endian_on_the_wire(void **state)
{
    (void)state;
    struct ltd_bytes b;
    ltd_bytes_init(&b);
    ltd_bytes_put_u8(&b, 0xAB);
    ltd_bytes_put_u32(&b, 0x01020304u);
    ltd_bytes_put_u64(&b, 0x0102030405060708ull);
    ltd_bytes_put_f32(&b, 1.0f);
    static const uint8_t expected[] = {0xAB, 4, 3, 2, 1, 8, 7, 6, 5, 4, 3, 2, 1, 0, 0, 0x80, 0x3F};
    assert_int_equal(b.len, sizeof expected);
    assert_memory_equal(b.data, expected, sizeof expected);
    ltd_bytes_fini(&b);
}

static void everything_put_is_read_back_bit_for_bit(void **state)
{
    (void)state;
    static const uint32_t patterns[] = {0,           0x80000000u, 0x7F800000u,
                                        0x7FC00001u, 0x00000001u, 0x3F800001u};
    float floats[6];
    memcpy(floats, patterns, sizeof patterns);
    struct ltd_bytes b;
    ltd_bytes_init(&b);
    ltd_bytes_put_u64(&b, UINT64_MAX - 1);
    ltd_bytes_put_f32s(&b, floats, 6);
    ltd_bytes_put_f32(&b, floats[3]);
    ltd_bytes_put_str(&b, "abc");
    ltd_bytes_put(&b, NULL, 0);
    assert_false(b.failed);

    struct ltd_cursor c = ltd_cursor_init(b.data, b.len);
    float back[6], one;
    assert_true(ltd_cursor_u64(&c) == UINT64_MAX - 1);
    ltd_cursor_f32s(&c, back, 6);
    assert_memory_equal(back, patterns, sizeof patterns);
    one = ltd_cursor_f32(&c);
    assert_memory_equal(&one, &patterns[3], sizeof one);
    assert_memory_equal(ltd_cursor_take(&c, 3), "abc", 3);
    assert_int_equal(c.left, 0);
    assert_false(c.bad);
    ltd_bytes_fini(&b);
}

/* A message cut at any byte is noticed by the field that is incomplete, and by all behind it. */
static void reading_past_any_cut_gives_zeros_and_is_remembered(void **state)
{
    (void)state;
    uint8_t wire[1 + 4 + 8 + 4];
    memset(wire, 0xFF, sizeof wire);
    for (size_t cut = 0; cut < sizeof wire; cut++) {
        struct ltd_cursor c = ltd_cursor_init(wire, cut);
        uint8_t a = ltd_cursor_u8(&c);
        uint32_t b = ltd_cursor_u32(&c);
        uint64_t d = ltd_cursor_u64(&c);
        float f[1] = {5.0f};
        ltd_cursor_f32s(&c, f, 1);
        assert_true(c.bad);
        assert_int_equal(a, cut >= 1 ? 0xFF : 0);
        assert_true(b == (cut >= 5 ? 0xFFFFFFFFu : 0u));
        if (cut >= 13)
            assert_true(d == UINT64_MAX);
        assert_true(f[0] == 0.0f);
        assert_null(ltd_cursor_take(&c, 1));
    }
}

static void a_count_that_would_overflow_is_refused_before_any_read(void **state)
{
    (void)state;
    uint8_t wire[8] = {0};
    float out[1] = {3.0f};
    struct ltd_cursor c = ltd_cursor_init(wire, sizeof wire);
    assert_null(ltd_cursor_take(&c, SIZE_MAX));
    assert_true(c.bad);
    c = ltd_cursor_init(wire, sizeof wire);
    ltd_cursor_f32s(&c, out, 0);
    assert_false(c.bad);
    assert_int_equal(c.left, sizeof wire);
}

static void an_impossible_allocation_turns_every_later_put_into_nothing(void **state)
{
    (void)state;
    struct ltd_bytes b;
    ltd_bytes_init(&b);
    ltd_bytes_put_str(&b, "kept");
    assert_null(ltd_bytes_reserve(&b, SIZE_MAX));
    assert_true(b.failed);
    ltd_bytes_put_u32(&b, 7);
    assert_int_equal(b.len, 4);
    assert_memory_equal(b.data, "kept", 4);
    ltd_bytes_clear(&b);
    assert_false(b.failed);
    ltd_bytes_put_u8(&b, 1);
    assert_int_equal(b.len, 1);
    ltd_bytes_fini(&b);
    assert_null(b.data);
}

static void growth_keeps_what_was_there(void **state)
{
    (void)state;
    struct ltd_bytes b;
    ltd_bytes_init(&b);
    for (uint32_t i = 0; i < 100000; i++)
        ltd_bytes_put_u32(&b, i);
    assert_int_equal(b.len, 400000);
    struct ltd_cursor c = ltd_cursor_init(b.data, b.len);
    for (uint32_t i = 0; i < 100000; i++)
        assert_int_equal(ltd_cursor_u32(&c), i);
    size_t capacity = b.capacity;
    ltd_bytes_clear(&b);
    assert_int_equal(b.capacity, capacity);
    uint8_t *room = ltd_bytes_reserve(&b, 10);
    assert_ptr_equal(room, b.data);
    assert_int_equal(b.len, 0);
    ltd_bytes_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_little_endian_on_the_wire),
        cmocka_unit_test(everything_put_is_read_back_bit_for_bit),
        cmocka_unit_test(reading_past_any_cut_gives_zeros_and_is_remembered),
        cmocka_unit_test(a_count_that_would_overflow_is_refused_before_any_read),
        cmocka_unit_test(an_impossible_allocation_turns_every_later_put_into_nothing),
        cmocka_unit_test(growth_keeps_what_was_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
