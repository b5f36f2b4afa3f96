/* SPDX-License-Identifier: Apache-2.0 */
/* tests/kernels/test_exp.c - e^x against the C library's in double, and where it ends. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/exp.h"

/* docs/numerics.md#exp: half of the last place, and what the polynomial adds. */
#define LARGEST_ERROR 0.5001

static float from_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* The distance of two neighbours among f32 numbers at `value`. */
static double last_place(double value)
{
    int exponent = ilogb(value);
    return ldexp(1.0, (exponent < -126 ? -126 : exponent) - 23);
}

/* How far it is from e^x, in last places; 0 where both are infinite. */
static double error_of(float found, float x)
{
    double expected = exp((double)x);
    if (expected > 0x1.ffffffp127)
        return isinf(found) && found > 0 ? 0.0 : INFINITY;
    return fabs((double)found - expected) / last_place(expected);
}

static void expect_close(float x)
{
    double error = error_of(kern_exp(x), x);
    if (!(error <= LARGEST_ERROR))
        fail_msg("e^%a is %a, expected %a: wrong by %g of the last place", (double)x,
                 (double)kern_exp(x), exp((double)x), error);
}

struct tally {
    long results, not_nearest, of_the_library;
    double largest_error;
};

static void look_at(struct tally *t, float x)
{
    float nearest = (float)exp((double)x);
    expect_close(x);
    t->results++;
    t->not_nearest += kern_exp(x) != nearest;
    t->of_the_library += expf(x) != nearest;
    t->largest_error = fmax(t->largest_error, error_of(kern_exp(x), x));
}

static void report(const struct tally *t, const char *what)
{
    print_message("%ld results of %s: wrong by %.5f of the last place at most, %ld are not the "
                  "nearest f32; of the C library's expf %ld\n",
                  t->results, what, t->largest_error, t->not_nearest, t->of_the_library);
}

static void it_is_as_near_as_f32_can_be(void **state)
{
    (void)state;
    struct tally all = {0}, small = {0};
    /* Bit patterns in steps of a prime, of both signs and all magnitudes. */
    for (uint64_t bits = 0; bits <= UINT32_MAX; bits += 251)
        if (!isnan(from_bits((uint32_t)bits)))
            look_at(&all, from_bits((uint32_t)bits));
    report(&all, "all magnitudes");
    for (int32_t i = -20 * 0x20000; i < 20 * 0x20000; i++)
        look_at(&small, (float)i * 0x1.02p-17f);
    report(&small, "magnitudes up to 20");
}

/* Where results become infinite, denormal and zero, each argument of some thousand. */
static void its_ends_are_exact(void **state)
{
    (void)state;
    const float ends[] = {88.722839f, -87.336544f, -103.27893f, -103.97208f, 89.0f, -104.0f};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        float x = ends[i];
        for (int k = 0; k < 2000; k++)
            x = nextafterf(x, -INFINITY);
        for (int k = 0; k < 4000; k++, x = nextafterf(x, INFINITY))
            expect_close(x);
    }
    assert_true(kern_exp(0.0f) == 1.0f && kern_exp(-0.0f) == 1.0f);
    assert_true(kern_exp(INFINITY) == INFINITY);
    assert_true(kern_exp(-INFINITY) == 0.0f && !signbit(kern_exp(-INFINITY)));
    assert_true(isnan(kern_exp(NAN)));
    assert_true(kern_exp(-103.9720f) == 0x1p-149f);
}

/* A larger argument never has a smaller result: no step where the power of two changes. */
static void it_never_falls(void **state)
{
    (void)state;
    for (int k = -149; k <= 128; k++) {
        float x = (float)((k - 0.5) * 0x1.62e42fefa39efp-1), last = 0.0f;
        for (int i = 0; i < 500; i++)
            x = nextafterf(x, -INFINITY);
        for (int i = 0; i < 1000; i++, x = nextafterf(x, INFINITY)) {
            float now = kern_exp(x);
            if (now < last)
                fail_msg("e^%a is %a, less than %a just before", (double)x, (double)now,
                         (double)last);
            last = now;
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_as_near_as_f32_can_be),
        cmocka_unit_test(its_ends_are_exact),
        cmocka_unit_test(it_never_falls),
    };
    return cmocka_run_group_tests_name("exp", tests, NULL, NULL);
}
