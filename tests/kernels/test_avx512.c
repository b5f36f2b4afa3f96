/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/kernels/test_avx512.c - what stands behind the tests of tier avx512 by emulation: that the
 * emulated instructions do what the processor's own would; and what those tests do not reach.
 *
 * The tier's bits are compared with those of the reference by test_tiers_emulated and
 * test_kernels_emulated, which are test_tiers and test_kernels over emulated/tiers.c.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <xmmintrin.h>

#include <cmocka.h>

#include "base/size.h"
#include "emulated/emulated.h"
#include "kernels/avx2/avx2.h"
#include "kernels/avx512/avx512.h"
#include "kernels/dispatch.h"
#include "kernels/ref/ref.h"
#include "random.h"

#define LANES 16

static bool can_emulate(void)
{
    char why[160];
    if (kern_avx2_init(why, sizeof why) == 0)
        return true;
    print_message("no emulation of AVX-512: %s\n", why);
    return false;
}

/* Any bits at all: f32 of every exponent. */
static void any_floats(float *out, uint64_t *seed)
{
    for (int i = 0; i < LANES; i++) {
        uint32_t bits = random_u32(seed);
        if (random_u32(seed) % 3 != 0) /* mostly exponents whose products meet the addend's */
            bits = (bits & 0x807FFFFF) | (110 + random_u32(seed) % 30) << 23;
        memcpy(&out[i], &bits, sizeof bits);
    }
}

static bool same(float a, float b)
{
    return (isnan(a) && isnan(b)) || memcmp(&a, &b, sizeof a) == 0;
}

static void an_emulated_multiply_add_rounds_once(void **state)
{
    float a[LANES], b[LANES], c[LANES], y[LANES];
    uint64_t seed = 1;
    int rounded_twice = 0;
    (void)state;
    if (!can_emulate())
        skip();
    for (int turn = 0; turn < 20000; turn++) {
        any_floats(a, &seed), any_floats(b, &seed), any_floats(c, &seed);
        emulated_fmadd(y, a, b, c);
        for (int i = 0; i < LANES; i++) {
            float once = fmaf(a[i], b[i], c[i]), product = a[i] * b[i];
            if (!same(y[i], once))
                fail_msg("%a * %a + %a: %a, rounded once %a", (double)a[i], (double)b[i],
                         (double)c[i], (double)y[i], (double)once);
            rounded_twice += !same(once, product + c[i]);
        }
    }
    assert_true(rounded_twice > 1000); /* so that the loop could have noticed */
}

/* Bits of lane 0, so that no comparison here is itself subject to flushing. */
static uint32_t fmadd_bits(float a, float b, float c)
{
    float va[LANES] = {a}, vb[LANES] = {b}, vc[LANES] = {c}, y[LANES];
    uint32_t bits;
    emulated_fmadd(y, va, vb, vc);
    memcpy(&bits, y, sizeof bits);
    return bits;
}

static uint32_t add_bits(float a, float b)
{
    float va[LANES] = {a}, vb[LANES] = {b}, y[LANES];
    uint32_t bits;
    emulated_add(y, va, vb);
    memcpy(&bits, y, sizeof bits);
    return bits;
}

static void emulated_instructions_flush_denormals_when_asked(void **state)
{
    (void)state;
    if (!can_emulate())
        skip();
    unsigned before = _mm_getcsr();
    uint32_t kept[] = {fmadd_bits(-0x1p-100f, 0x1p-40f, 0.0f), fmadd_bits(0x1p-140f, 1.0f, 0.0f),
                       add_bits(0x1p-126f, -0x1.8p-126f)};
    _mm_setcsr(before | 0x8040u);
    uint32_t flushed[] = {fmadd_bits(-0x1p-100f, 0x1p-40f, 0.0f), /* a result: zero of its sign */
                          fmadd_bits(0x1p-140f, 0x1p100f, 0.0f),  /* an operand: read as zero */
                          fmadd_bits(0x1p-63f, 0x1p-64f, 0x1p-126f), /* a normal sum stays */
                          add_bits(0x1p-126f, -0x1.8p-126f)};
    _mm_setcsr(before);
    assert_int_equal(kept[0], 0x80000200);
    assert_int_equal(kept[1], 0x00000200);
    assert_int_equal(kept[2], 0x80400000);
    assert_int_equal(flushed[0], 0x80000000);
    assert_int_equal(flushed[1], 0);
    assert_int_equal(flushed[2], 0x00C00000);
    assert_int_equal(flushed[3], 0x80000000);
}

/* Among them all bytes at their ends, where sums of pairs leave int16. */
static void an_emulated_product_of_bytes_is_exact_and_wraps(void **state)
{
    uint64_t seed = 3;
    (void)state;
    if (!can_emulate())
        skip();
    for (int turn = 0; turn < 5000; turn++) {
        uint8_t a[4 * LANES];
        int8_t b[4 * LANES];
        int32_t y[LANES], expected[LANES];
        for (int i = 0; i < 4 * LANES; i++) {
            uint32_t draw = random_u32(&seed);
            a[i] = turn % 3 == 0 ? 255 : (uint8_t)draw;
            b[i] = (int8_t)(turn % 3 == 0 ? (turn % 2 ? -128 : 127) : (int)(draw >> 24) - 128);
        }
        for (int i = 0; i < LANES; i++) {
            uint32_t sum = turn % 2 ? random_u32(&seed) : 0x7FFFFF00u + (uint32_t)i;
            memcpy(&y[i], &sum, sizeof sum);
            for (int k = 0; k < 4; k++)
                sum += (uint32_t)((int32_t)a[4 * i + k] * (int32_t)b[4 * i + k]);
            memcpy(&expected[i], &sum, sizeof sum);
        }
        emulated_dpbusd(y, a, b);
        assert_memory_equal(y, expected, sizeof y);
    }
}

/* A matrix larger than second-level caches, where the tier asks for weights ahead, through several
 * segments when columns are cut into blocks. */
static void check_ahead(enum kern_format format, int32_t n_pos)
{
    enum { ROWS = 331, COLS = 4180, MOST = 67 };
    const struct kern_ops *tiers[] = {&kern_ref_ops, &emulated_avx512_ops};
    float *w = ltd_alloc((size_t)ROWS * COLS, sizeof *w), *x = ltd_alloc(MOST * COLS, sizeof *x);
    float *y[2] = {ltd_alloc(MOST * ROWS, sizeof **y), ltd_alloc(MOST * ROWS, sizeof **y)};
    assert_true(w && x && y[0] && y[1]);
    random_fill(w, (size_t)ROWS * COLS, 0.05f, 1);
    random_fill(x, MOST * COLS, 2.0f, 2);
    for (int t = 0; t < 2; t++) {
        struct kern_ctx ctx = {tiers[t], 2, 0};
        const struct kern_rows part = {w, KERN_DTYPE_F32, 0, ROWS};
        struct kern_mat mat;
        struct ltd_err err = {0};
        if (tiers[t]->mat_pack(&ctx, &mat, format, &part, 1, COLS, &err) != 0)
            fail_msg("mat_pack: %s", err.msg);
        tiers[t]->matmul(&ctx, y[t], &mat, x, n_pos);
        kern_mat_fini(&mat);
    }
    assert_memory_equal(y[0], y[1], (size_t)n_pos * ROWS * sizeof **y);
    ltd_free(w);
    ltd_free(x);
    ltd_free(y[0]);
    ltd_free(y[1]);
}

static void asking_ahead_changes_no_bit(void **state)
{
    (void)state;
    if (!can_emulate())
        skip();
    check_ahead(KERN_INT8, 1);
    check_ahead(KERN_BF16, 1);
    check_ahead(KERN_BF16, 13);
    check_ahead(KERN_INT8, 67);
}

/* Where it is refused, by a sentence, and never without one. */
static void the_tier_runs_or_says_why_not(void **state)
{
    char why[160] = "";
    (void)state;
    if (kern_avx512_init(why, sizeof why) == 0) {
        assert_string_equal(why, "");
        assert_true(__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vnni"));
    } else {
        assert_non_null(strstr(why, "AVX-512"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_emulated_multiply_add_rounds_once),
        cmocka_unit_test(emulated_instructions_flush_denormals_when_asked),
        cmocka_unit_test(an_emulated_product_of_bytes_is_exact_and_wraps),
        cmocka_unit_test(asking_ahead_changes_no_bit),
        cmocka_unit_test(the_tier_runs_or_says_why_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
