/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/kernels/test_tiers.c - every tier gives the bits of the reference where a format has one
 * definition (bf16, int8, int4), and those of its documented order where the order is its own (f32
 * of tiers over tiles).
 *
 * Inputs are random and meet every edge (special.h); activations carry bits below bf16, so that
 * their rounding is compared, too. In one turn all formats get the same shapes and numbers.
 *
 * usage: test_tiers [millions of outputs per format; a tenth of that under sanitizers]
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/size.h"
#include "kernels/dispatch.h"
#include "kernels/kernels.h"
#include "random.h"
#include "special.h"

/* The reference is several times slower under sanitizers. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SLOWER 10
#else
#define SLOWER 1
#endif

#define MOST_COLS 200
#define ROWS      50
#define POS       37

static size_t n_outputs = 2000000 / SLOWER;

struct inputs {
    uint16_t w[ROWS * MOST_COLS];
    float x[POS * MOST_COLS];
};

static struct inputs in;

static void draw(enum special_kind kind, int32_t cols, uint64_t *state)
{
    size_t n = (size_t)cols;
    special_fill(in.w, ROWS * n, kind == SPECIAL_NOT_FINITE ? SPECIAL_EDGES : kind,
                 random_u32(state));
    uint64_t seed = random_u32(state);
    for (size_t i = 0; i < POS * n; i++) {
        uint32_t bits = (uint32_t)special_half(kind, &seed) << 16;
        if (bits << 1 != 0) /* zeros stay zeros */
            bits |= random_u32(&seed) >> 16;
        memcpy(&in.x[i], &bits, sizeof bits);
    }
}

static void product(const struct kern_ops *ops, enum kern_format format, int32_t cols, float *y)
{
    struct kern_ctx ctx = {ops, 2, 0};
    struct kern_mat mat;
    struct ltd_err err = {0};
    const struct kern_rows part = {in.w, KERN_DTYPE_BF16, 0, ROWS};
    if (ops->mat_pack(&ctx, &mat, format, &part, 1, cols, &err) != 0)
        fail_msg("mat_pack: %s", err.msg);
    ops->matmul(&ctx, y, &mat, in.x, POS);
    kern_mat_fini(&mat);
}

static void compare(const struct kern_ops *ops, const struct kern_ops *ref, enum kern_format format,
                    enum special_kind kind, int32_t cols)
{
    static float found[ROWS * POS], expected[ROWS * POS];
    product(ref, format, cols, expected);
    product(ops, format, cols, found);
    for (size_t i = 0; i < ROWS * POS; i++)
        if (memcmp(&found[i], &expected[i], sizeof *found) != 0)
            fail_msg("%s in %s, kind %d, K %d, position %zu, row %zu: %a, the reference gives %a",
                     ops->name, kern_format_name(format), kind, cols, i / ROWS, i % ROWS,
                     (double)found[i], (double)expected[i]);
}

static void formats_but_f32_have_the_bits_of_the_reference_in_every_tier(void **state)
{
    static const int32_t lengths[] = {1, 2, 3, 16, 31, 32, 33, 47, 63, 64, 65, 96, 127, 130, 200};
    const struct kern_ops *ref = kern_tier_find("ref", NULL);
    uint64_t seed = 20261122;
    (void)state;
    for (int32_t t = 0; t < kern_tier_count(); t++) {
        struct kern_tier_info info;
        kern_tier_describe(t, &info);
        const struct kern_ops *ops = info.available ? kern_tier_find(info.name, NULL) : NULL;
        if (!ops || ops == ref)
            continue;
        for (int f = KERN_BF16; f < KERN_N_FORMATS; f++) {
            size_t done = 0;
            for (size_t i = 0; done < n_outputs && kern_tier_has(ops, (enum kern_format)f); i++) {
                enum special_kind kind = (enum special_kind)(i % SPECIAL_N_KINDS);
                int32_t cols = lengths[i / SPECIAL_N_KINDS % 15];
                draw(kind, cols, &seed);
                compare(ops, ref, (enum kern_format)f, kind, cols);
                done += (size_t)ROWS * POS;
            }
            if (done > 0)
                print_message("%s, %s: %zu outputs equal those of ref\n", ops->name,
                              kern_format_name((enum kern_format)f), done);
        }
    }
}

/* docs/numerics.md: the chains of bf16, without rounding of operands and without flushing. */
static float two_chains(const float *w, const float *x, int32_t n)
{
    float sum = 0.0f;
    for (int32_t begin = 0; begin < n; begin += 32) {
        float chain[2] = {0.0f, 0.0f};
        for (int32_t i = begin; i < begin + 32; i++)
            chain[i & 1] = fmaf(i < n ? w[i] : 0.0f, i < n ? x[i] : 0.0f, chain[i & 1]);
        sum += chain[0] + chain[1];
    }
    return isnan(sum) ? NAN : sum;
}

static void check_two_chains(const struct kern_ops *ops)
{
    static const int32_t lengths[] = {1, 2, 31, 32, 33, 64, 127, 200};
    static float w[ROWS * MOST_COLS], y[ROWS * POS];
    uint64_t seed = 5;
    for (size_t i = 0; i < 8 * SPECIAL_N_KINDS; i++) {
        enum special_kind kind = (enum special_kind)(i % SPECIAL_N_KINDS);
        size_t n = (size_t)lengths[i / SPECIAL_N_KINDS];
        draw(kind, (int32_t)n, &seed);
        kern_widen(w, in.w, KERN_DTYPE_BF16, (int64_t)(ROWS * n));
        product(ops, KERN_F32, (int32_t)n, y);
        for (size_t p = 0; p < POS; p++)
            for (size_t r = 0; r < ROWS; r++) {
                float expected = two_chains(w + r * n, in.x + p * n, (int32_t)n);
                if (memcmp(&y[p * ROWS + r], &expected, sizeof expected) != 0)
                    fail_msg("%s, kind %d, K %zu, position %zu, row %zu: %a, expected %a",
                             ops->name, kind, n, p, r, (double)y[p * ROWS + r], (double)expected);
            }
    }
}

static void f32_of_tiers_over_tiles_is_two_chains_per_tile(void **state)
{
    static const char *const names[] = {"amx", "avx512", "avx2"};
    int32_t n_checked = 0;
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const struct kern_ops *ops = kern_tier_find(names[i], NULL);
        if (ops)
            check_two_chains(ops);
        n_checked += ops != NULL;
    }
    if (n_checked == 0)
        skip();
}

/* A kernel that flushes denormals must not leave its caller, or the team, in that state. */
static void the_callers_treatment_of_denormals_stays(void **state)
{
    (void)state;
    for (int32_t t = 0; t < kern_tier_count(); t++) {
        struct kern_tier_info info;
        static float y[ROWS * POS];
        volatile float tiny = 0x1p-126f;
        uint64_t seed = 9;
        kern_tier_describe(t, &info);
        const struct kern_ops *ops = info.available ? kern_tier_find(info.name, NULL) : NULL;
        if (!ops || !kern_tier_has(ops, KERN_BF16))
            continue;
        draw(SPECIAL_ORDINARY, 64, &seed);
        product(ops, KERN_BF16, 64, y);
        int flushed = 0;
#pragma omp parallel num_threads(4) reduction(+ : flushed)
        flushed += tiny * 0.5f == 0.0f;
        assert_int_equal(flushed, 0);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(formats_but_f32_have_the_bits_of_the_reference_in_every_tier),
        cmocka_unit_test(f32_of_tiers_over_tiles_is_two_chains_per_tile),
        cmocka_unit_test(the_callers_treatment_of_denormals_stays),
    };
    if (argc > 1)
        n_outputs = (size_t)atoi(argv[1]) * 1000000 / SLOWER;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
