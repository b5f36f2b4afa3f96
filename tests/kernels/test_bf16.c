/* SPDX-License-Identifier: Apache-2.0 */
/* tests/kernels/test_bf16.c - rounding to the upper half of an f32, against its definition. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/bf16.h"
#include "kernels/kernels.h"
#include "random.h"

static float from_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static uint32_t to_bits(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static void every_bf16_comes_back_from_its_f32(void **state)
{
    (void)state;
    for (uint32_t half = 0; half <= 0xFFFF; half++) {
        float value = kern_bf16_widen((uint16_t)half), listed;
        uint16_t stored = (uint16_t)half;
        assert_int_equal(to_bits(value), half << 16);
        kern_widen(&listed, &stored, KERN_DTYPE_BF16, 1);
        assert_int_equal(to_bits(listed), to_bits(value));
        uint16_t again = kern_bf16_round(value);
        if (isnan(value) ? !isnan(kern_bf16_widen(again)) : again != half)
            fail_msg("%04x widens to %g, which rounds to %04x", half, (double)value, again);
    }
}

/* The finite bf16 numbers above and below, and the nearest of them by arithmetic in double, where
 * all differences are exact. */
static uint16_t nearest(float value)
{
    uint16_t toward_zero = (uint16_t)(to_bits(value) >> 16), away = (uint16_t)(toward_zero + 1);
    double low = fabs((double)value) - fabs((double)kern_bf16_widen(toward_zero));
    /* Behind the largest one lies what would be the next power of two. */
    double next = (away & 0x7FFF) == 0x7F80 ? 0x1p128 : fabs((double)kern_bf16_widen(away));
    double high = next - fabs((double)value);
    if (low != high)
        return low < high ? toward_zero : away;
    return toward_zero & 1 ? away : toward_zero;
}

static void expect_nearest(uint32_t bits)
{
    float value = from_bits(bits);
    if (isnan(value) || isinf(value))
        return;
    if (kern_bf16_round(value) != nearest(value))
        fail_msg("%08x (%.9g) rounds to %04x, expected %04x", bits, (double)value,
                 kern_bf16_round(value), nearest(value));
}

static void rounding_goes_to_nearest_and_ties_to_even(void **state)
{
    (void)state;
    uint64_t random = 3;
    /* Around every tie, of both signs, subnormal and at the end of the range. */
    for (uint32_t half = 0; half <= 0xFFFF; half++)
        for (uint32_t low = 0x7FFE; low <= 0x8002; low++)
            expect_nearest(half << 16 | low);
    for (int i = 0; i < 1000000; i++)
        expect_nearest(random_u32(&random));
    assert_int_equal(kern_bf16_round(1.0f + 0x1p-8f), 0x3F80);            /* tie, even below */
    assert_int_equal(kern_bf16_round(1.0f + 3 * 0x1p-8f), 0x3F82);        /* tie, even above */
    assert_int_equal(kern_bf16_round(1.0f + 0x1p-8f + 0x1p-23f), 0x3F81); /* just above a tie */
}

static void infinities_signs_and_nans_stay_what_they_are(void **state)
{
    (void)state;
    assert_int_equal(kern_bf16_round(INFINITY), 0x7F80);
    assert_int_equal(kern_bf16_round(-INFINITY), 0xFF80);
    assert_int_equal(kern_bf16_round(0.0f), 0x0000);
    assert_int_equal(kern_bf16_round(-0.0f), 0x8000);
    assert_int_equal(kern_bf16_round(from_bits(0x7F7FFFFF)), 0x7F80); /* above the largest bf16 */
    assert_int_equal(kern_bf16_round(from_bits(0x7F7F7FFF)), 0x7F7F);
    /* Payloads in the lower half only, in the upper half only, all ones. */
    const uint32_t nans[] = {0x7F800001, 0xFF800001, 0x7F80FFFF, 0x7F810000,
                             0x7FC00000, 0x7FFFFFFF, 0xFFFFFFFF, 0xFF808000};
    for (size_t i = 0; i < sizeof nans / sizeof nans[0]; i++) {
        uint16_t half = kern_bf16_round(from_bits(nans[i]));
        if (!isnan(kern_bf16_widen(half)) || half >> 15 != nans[i] >> 31)
            fail_msg("NaN %08x rounds to %04x", nans[i], half);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_bf16_comes_back_from_its_f32),
        cmocka_unit_test(rounding_goes_to_nearest_and_ties_to_even),
        cmocka_unit_test(infinities_signs_and_nans_stay_what_they_are),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
