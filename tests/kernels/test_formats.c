/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/kernels/test_formats.c - bf16, int8 and int4 as docs/numerics.md#weight-formats defines
 * them.
 *
 * The reference tier is held against the processor's own flushing of denormals (bf16) and against
 * 64-bit integers (int8 and int4). Numbers are drawn so that sums meet every edge: ordinary ones,
 * wide exponents, products and sums near the smallest normal number, denormals, zeros of both
 * signs, infinities and NaN.
 *
 * usage: test_formats [millions of outputs compared with the processor]
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/size.h"
#include "kernels/bf16.h"
#include "kernels/dispatch.h"
#include "kernels/kernels.h"
#include "random.h"
#include "special.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

/* The reference sums a few million columns a second under sanitizers. */
#ifdef __SANITIZE_ADDRESS__
#define SLOWER 10
#else
#define SLOWER 1
#endif

static size_t n_outputs = 200000 / SLOWER;

static struct kern_ctx context(const char *tier)
{
    struct ltd_err err = {0};
    struct kern_ctx ctx = {kern_tier_find(tier, &err), 2, 0};
    if (!ctx.ops)
        fail_msg("tier %s: %s", tier, err.msg);
    return ctx;
}

static struct kern_mat pack(const struct kern_ctx *ctx, enum kern_format format, const void *w,
                            enum kern_dtype dtype, int32_t rows, int32_t cols)
{
    struct kern_mat mat;
    struct ltd_err err = {0};
    const struct kern_rows part = {w, dtype, 0, rows};
    if (ctx->ops->mat_pack(ctx, &mat, format, &part, 1, cols, &err) != 0)
        fail_msg("mat_pack: %s", err.msg);
    return mat;
}

static void formats_have_names(void **state)
{
    (void)state;
    for (int i = 0; i < KERN_N_FORMATS; i++) {
        enum kern_format format = KERN_N_FORMATS;
        assert_int_equal(kern_format_parse(kern_format_name((enum kern_format)i), &format), 0);
        assert_int_equal(format, i);
    }
    enum kern_format untouched = KERN_BF16;
    assert_int_equal(kern_format_parse("bf17", &untouched), -1);
    assert_int_equal(kern_format_parse("", &untouched), -1);
    assert_int_equal(untouched, KERN_BF16);
}

static void a_tier_packs_the_formats_that_it_names_and_refuses_others(void **state)
{
    const float w[4] = {1.0f, 2.0f, 3.0f, 4.0f};
    (void)state;
    for (int32_t t = 0; t < kern_tier_count(); t++) {
        struct kern_tier_info info;
        kern_tier_describe(t, &info);
        if (!info.available)
            continue;
        struct kern_ctx ctx = context(info.name);
        for (int f = 0; f < KERN_N_FORMATS; f++) {
            struct kern_mat mat = {0};
            struct ltd_err err = {0};
            const struct kern_rows part = {w, KERN_DTYPE_F32, 0, 2};
            int rc = ctx.ops->mat_pack(&ctx, &mat, (enum kern_format)f, &part, 1, 2, &err);
            assert_int_equal(rc, kern_tier_has(ctx.ops, (enum kern_format)f) ? 0 : -1);
            if (rc != 0) {
                assert_int_equal(err.code, LTD_E_UNIMPLEMENTED);
                assert_non_null(strstr(err.msg, kern_format_name((enum kern_format)f)));
                assert_null(mat.data);
            }
            kern_mat_fini(&mat);
        }
        assert_true(kern_tier_has(ctx.ops, KERN_F32));
        assert_false(kern_tier_has(ctx.ops, KERN_N_FORMATS));
    }
}

#if defined(__x86_64__)
/* What the processor itself gives in the order of the definition, flushing denormals. */
__attribute__((target("fma"))) static float flushed_dot(const uint16_t *w, const uint16_t *x,
                                                        int32_t n)
{
    unsigned before = _mm_getcsr();
    _mm_setcsr(before | 0x8040); /* flush results to zero, denormals are zeros */
    __m128 sum = _mm_setzero_ps();
    for (int32_t begin = 0; begin < n; begin += 32) {
        __m128 chain[2] = {_mm_setzero_ps(), _mm_setzero_ps()};
        for (int32_t i = begin; i < begin + 32; i++) {
            __m128 a = _mm_set_ss(i < n ? kern_bf16_widen(w[i]) : 0.0f);
            __m128 b = _mm_set_ss(i < n ? kern_bf16_widen(x[i]) : 0.0f);
            chain[i & 1] = _mm_fmadd_ss(a, b, chain[i & 1]);
        }
        sum = _mm_add_ss(sum, _mm_add_ss(chain[0], chain[1]));
    }
    _mm_setcsr(before);
    return _mm_cvtss_f32(sum);
}

static void compare_with_processor(const struct kern_ctx *ctx, enum special_kind kind, int32_t cols,
                                   uint64_t seed)
{
    enum { ROWS = 50, POS = 40 };
    size_t n = (size_t)cols;
    uint16_t *w = ltd_alloc(ROWS * n, sizeof *w), *x = ltd_alloc(POS * n, sizeof *x);
    float *wide = ltd_alloc(POS * n, sizeof *wide), y[ROWS * POS];
    assert_true(w && x && wide);
    special_fill(w, ROWS * n, kind == SPECIAL_NOT_FINITE ? SPECIAL_EDGES : kind, seed);
    special_fill(x, POS * n, kind, seed + 1);
    for (size_t i = 0; i < POS * n; i++)
        wide[i] = kern_bf16_widen(x[i]);
    struct kern_mat mat = pack(ctx, KERN_BF16, w, KERN_DTYPE_BF16, ROWS, cols);
    ctx->ops->matmul(ctx, y, &mat, wide, POS);
    for (size_t p = 0; p < POS; p++)
        for (size_t r = 0; r < ROWS; r++) {
            float expected = flushed_dot(w + r * n, x + p * n, cols), found = y[p * ROWS + r];
            if (isnan(expected))
                expected = NAN;
            if (memcmp(&found, &expected, sizeof found) != 0)
                fail_msg("kind %d, K %d, row %zu, position %zu: %a, the processor gives %a", kind,
                         cols, r, p, (double)found, (double)expected);
        }
    kern_mat_fini(&mat);
    ltd_free(w);
    ltd_free(x);
    ltd_free(wide);
}
#endif

static void bf16_of_the_reference_is_what_a_flushing_processor_gives(void **state)
{
    (void)state;
#if defined(__x86_64__)
    static const int32_t lengths[] = {1, 2, 5, 31, 32, 33, 64, 65};
    struct kern_ctx ctx = context("ref");
    if (!__builtin_cpu_supports("fma"))
        skip();
    for (size_t done = 0, round = 0; done < n_outputs; round++)
        for (int kind = 0; kind < SPECIAL_N_KINDS; kind++, done += 2000)
            compare_with_processor(&ctx, (enum special_kind)kind, lengths[round % 8],
                                   round * 1000 + (uint64_t)kind);
#else
    skip();
#endif
}

/* Three cases that tell this rounding from its neighbours. */
static void flushing_looks_at_the_number_rounded_without_an_end_of_exponents(void **state)
{
    struct kern_ctx ctx = context("ref");
    (void)state;
    /* 2^-126 - 2^-151 - 2^-166 rounds to 2^-126 as a denormal, and is zero here. */
    float w[4] = {0x1p-63f, 0.0f, 0x1.02p-76f, 0.0f}, x[4] = {0x1p-63f, 0.0f, 0.0f, 0.0f}, y;
    x[2] = -0x1.0p-76f;
    struct kern_mat mat = pack(&ctx, KERN_BF16, w, KERN_DTYPE_F32, 1, 4);
    ctx.ops->matmul(&ctx, &y, &mat, x, 1);
    assert_true(y == 0x1p-126f); /* 2^-152 is a quarter of the last place: nothing is lost */
    kern_mat_fini(&mat);
    w[2] = 0x1.02p-75f;
    mat = pack(&ctx, KERN_BF16, w, KERN_DTYPE_F32, 1, 4);
    ctx.ops->matmul(&ctx, &y, &mat, x, 1);
    assert_true(fmaf(-0x1p-76f, 0x1.02p-75f, 0x1p-126f) == 0x1p-126f);
    assert_true(y == 0.0f);
    kern_mat_fini(&mat);
    x[2] = 0x1p-130f; /* a denormal activation is zero, however large its weight */
    w[2] = 0x1p120f;
    x[0] = 0.0f;
    mat = pack(&ctx, KERN_BF16, w, KERN_DTYPE_F32, 1, 4);
    ctx.ops->matmul(&ctx, &y, &mat, x, 1);
    assert_true(y == 0.0f);
    kern_mat_fini(&mat);
}

static void bf16_keeps_halves_and_rounds_wider_storage(void **state)
{
    static const uint16_t halves[6] = {0x3F80, 0x8001, 0x0000, 0x8000, 0x7F7F, 0xC2F7};
    static const float floats[4] = {1.00390625f, 1.01171875f, -3.0f, 0x1.fep127f};
    static const float rounded[4] = {1.0f, 1.015625f, -3.0f, 0x1.fep127f};
    (void)state;
    for (int32_t t = 0; t < kern_tier_count(); t++) {
        struct kern_tier_info info;
        float row[6];
        kern_tier_describe(t, &info);
        struct kern_ctx ctx = info.available ? context(info.name) : (struct kern_ctx){0};
        if (!ctx.ops || !kern_tier_has(ctx.ops, KERN_BF16))
            continue;
        struct kern_mat mat = pack(&ctx, KERN_BF16, halves, KERN_DTYPE_BF16, 1, 6);
        ctx.ops->mat_row(&ctx, &mat, 0, row);
        for (int i = 0; i < 6; i++)
            assert_int_equal(kern_bf16_round(row[i]), halves[i]);
        kern_mat_fini(&mat);
        mat = pack(&ctx, KERN_BF16, floats, KERN_DTYPE_F32, 2, 2);
        for (int r = 0; r < 2; r++) {
            ctx.ops->mat_row(&ctx, &mat, r, row);
            assert_memory_equal(row, rounded + 2 * r, 2 * sizeof *row);
        }
        kern_mat_fini(&mat);
    }
}

/* Straight from the definition, with 64-bit integers and the library's rounding. */
static float int8_by_definition(const float *w, const float *x, int32_t n)
{
    float largest_w = 0.0f, largest_x = 0.0f;
    int64_t sum = 0;
    for (int32_t i = 0; i < n; i++) {
        if (!isfinite(x[i]))
            return NAN;
        largest_w = fmaxf(largest_w, fabsf(w[i]));
        largest_x = fmaxf(largest_x, fabsf(x[i]));
    }
    float scale_w = largest_w / 127.0f, scale_x = largest_x / 127.0f;
    for (int32_t i = 0; i < n && scale_w > 0.0f && scale_x > 0.0f; i++) {
        int64_t a = lrintf(w[i] / scale_w), b = lrintf(x[i] / scale_x);
        a = a > 127 ? 127 : a < -127 ? -127 : a;
        b = b > 127 ? 127 : b < -127 ? -127 : b;
        sum += a * b;
    }
    float y = (float)sum * (scale_w * scale_x);
    return isnan(y) ? NAN : y;
}

/* A group of int4 from its definition: the integers, and the scale. */
static float int4_group_by_definition(const float *w, int32_t n, int64_t *integers)
{
    float extreme = 0.0f;
    for (int32_t i = n; i-- > 0;) /* from the end: the first of equal ones stays */
        if (fabsf(w[i]) >= fabsf(extreme))
            extreme = w[i];
    float scale = kern_bf16_widen(kern_bf16_round(-extreme / 8.0f));
    for (int32_t i = 0; i < n; i++) {
        long q = scale == 0.0f ? 0 : lrintf(w[i] / scale);
        integers[i] = q > 7 ? 7 : q < -8 ? -8 : q;
    }
    return scale;
}

static float int4_by_definition(const float *w, const float *x, int32_t n)
{
    float largest = 0.0f, y = 0.0f;
    for (int32_t i = 0; i < n; i++) {
        if (!isfinite(x[i]))
            return NAN;
        largest = fmaxf(largest, fabsf(x[i]));
    }
    float scale_x = largest / 127.0f;
    for (int32_t begin = 0; begin < n; begin += 32) {
        int64_t integers[32], sum = 0;
        int32_t count = n - begin < 32 ? n - begin : 32;
        float scale = int4_group_by_definition(w + begin, count, integers);
        for (int32_t i = 0; i < count && scale_x > 0.0f; i++) {
            int64_t b = lrintf(x[begin + i] / scale_x);
            sum += integers[i] * (b > 127 ? 127 : b < -127 ? -127 : b);
        }
        y = fmaf((float)sum, scale, y);
    }
    y *= scale_x;
    return isnan(y) ? NAN : y;
}

/* Every row and position against `by_definition`. */
static void check_integers(const struct kern_ctx *ctx, enum kern_format format,
                           float (*by_definition)(const float *w, const float *x, int32_t n),
                           int32_t cols, uint64_t seed)
{
    enum { ROWS = 19, POS = 11 };
    size_t n = (size_t)cols;
    float *w = ltd_alloc(ROWS * n, sizeof *w), *x = ltd_alloc(POS * n, sizeof *x);
    float y[ROWS * POS];
    assert_true(w && x);
    random_fill(w, ROWS * n, 0.05f, seed);
    random_fill(x, POS * n, 2.0f, seed + 1);
    memset(w + 3 * n, 0, n * sizeof *w); /* a row of zeros has scale 0 */
    for (size_t i = 0; i < n; i++) {
        w[4 * n + i] *= 0x1p-140f;                    /* a row whose scale is denormal */
        w[5 * n + i] *= 0x1p127f;                     /* and one near the end */
        w[6 * n + i] = copysignf(3.0f, w[6 * n + i]); /* the first of equals has the say */
        x[2 * n + i] = 0.0f;
    }
    x[3 * n + n / 2] = seed % 2 ? INFINITY : NAN;
    struct kern_mat mat = pack(ctx, format, w, KERN_DTYPE_F32, ROWS, cols);
    ctx->ops->matmul(ctx, y, &mat, x, POS);
    for (size_t p = 0; p < POS; p++)
        for (size_t r = 0; r < ROWS; r++) {
            float expected = by_definition(w + r * n, x + p * n, cols);
            if (memcmp(&y[p * ROWS + r], &expected, sizeof expected) != 0)
                fail_msg("tier %s, %s, K %d, row %zu, position %zu: %a, expected %a",
                         ctx->ops->name, kern_format_name(format), cols, r, p,
                         (double)y[p * ROWS + r], (double)expected);
        }
    kern_mat_fini(&mat);
    ltd_free(w);
    ltd_free(x);
}

static void check_every_tier(enum kern_format format,
                             float (*by_definition)(const float *w, const float *x, int32_t n))
{
    static const int32_t lengths[] = {1, 2, 3, 31, 33, 64, 65, 127, 1000, 5280, 17920};
    int n_tiers = 0;
    for (int32_t t = 0; t < kern_tier_count(); t++) {
        struct kern_tier_info info;
        kern_tier_describe(t, &info);
        struct kern_ctx ctx = info.available ? context(info.name) : (struct kern_ctx){0};
        if (!ctx.ops || !kern_tier_has(ctx.ops, format))
            continue;
        n_tiers++;
        for (size_t l = 0; l < sizeof lengths / sizeof lengths[0]; l++)
            check_integers(&ctx, format, by_definition, lengths[l], l);
    }
    assert_true(n_tiers > 0);
}

static void int8_is_the_exact_sum_of_its_integers_times_both_scales(void **state)
{
    (void)state;
    check_every_tier(KERN_INT8, int8_by_definition);
}

static void int4_is_the_fused_sum_of_its_groups_times_the_positions_scale(void **state)
{
    (void)state;
    check_every_tier(KERN_INT4, int4_by_definition);
}

/* The largest sums that a group can have: every integer but one is 7, or -8. */
static void int4_sums_of_the_largest_integers_are_exact(void **state)
{
    enum { COLS = 96 };
    float w[2][COLS], x[2][COLS], y[4];
    (void)state;
    for (int i = 0; i < COLS; i++) {
        w[0][i] = i % 32 == 5 ? 8.0f : -7.0f; /* the scale is -1 */
        w[1][i] = 8.0f;
        x[0][i] = 127.0f;
        x[1][i] = -127.0f;
    }
    for (int32_t t = 0; t < kern_tier_count(); t++) {
        struct kern_tier_info info;
        kern_tier_describe(t, &info);
        struct kern_ctx ctx = info.available ? context(info.name) : (struct kern_ctx){0};
        if (!ctx.ops || !kern_tier_has(ctx.ops, KERN_INT4))
            continue;
        struct kern_mat mat = pack(&ctx, KERN_INT4, w, KERN_DTYPE_F32, 2, COLS);
        ctx.ops->matmul(&ctx, y, &mat, x[0], 2);
        const float expected[4] = {3 * 127.0f * (8 - 31 * 7), 3 * 127.0f * 32 * 8,
                                   3 * 127.0f * (31 * 7 - 8), -3 * 127.0f * 32 * 8};
        for (int i = 0; i < 4; i++)
            if (y[i] != expected[i])
                fail_msg("tier %s, result %d: %g, expected %g", ctx.ops->name, i, (double)y[i],
                         (double)expected[i]);
        kern_mat_fini(&mat);
    }
}

/* Embedding rows: of every tier the same numbers, each the nearest that its group can say. */
static void int4_rows_are_integers_times_the_scale_of_their_group(void **state)
{
    enum { ROWS = 37, COLS = 173 };
    static float w[ROWS * COLS], row[COLS];
    (void)state;
    random_fill(w, ROWS * COLS, 0.05f, 11);
    for (int32_t t = 0; t < kern_tier_count(); t++) {
        struct kern_tier_info info;
        kern_tier_describe(t, &info);
        struct kern_ctx ctx = info.available ? context(info.name) : (struct kern_ctx){0};
        if (!ctx.ops || !kern_tier_has(ctx.ops, KERN_INT4))
            continue;
        struct kern_mat mat = pack(&ctx, KERN_INT4, w, KERN_DTYPE_F32, ROWS, COLS);
        for (int32_t r = 0; r < ROWS; r++) {
            ctx.ops->mat_row(&ctx, &mat, r, row);
            for (int32_t c = 0; c < COLS; c++) {
                int64_t integers[32];
                int32_t begin = c / 32 * 32, count = COLS - begin < 32 ? COLS - begin : 32;
                float scale = int4_group_by_definition(w + r * COLS + begin, count, integers);
                float expected = (float)integers[c - begin] * scale;
                if (row[c] != expected)
                    fail_msg("tier %s, row %d, column %d: %a, expected %a", ctx.ops->name, r, c,
                             (double)row[c], (double)expected);
                /* Only the far end of the side without an eighth step can be off by more. */
                float off = fabsf(row[c] - w[r * COLS + c]);
                assert_true(off <= 0.51f * fabsf(scale) ||
                            (integers[c - begin] == 7 && off <= 1.05f * fabsf(scale)));
            }
        }
        kern_mat_fini(&mat);
    }
}

static void int8_sums_of_the_largest_integers_do_not_overflow(void **state)
{
    enum { COLS = 131072 };
    (void)state;
    float *w = ltd_alloc(COLS, sizeof *w), y;
    assert_non_null(w);
    for (size_t i = 0; i < COLS; i++)
        w[i] = 127.0f;
    for (int32_t t = 0; t < kern_tier_count(); t++) {
        struct kern_tier_info info;
        kern_tier_describe(t, &info);
        struct kern_ctx ctx = info.available ? context(info.name) : (struct kern_ctx){0};
        if (!ctx.ops || !kern_tier_has(ctx.ops, KERN_INT8))
            continue;
        struct kern_mat mat = pack(&ctx, KERN_INT8, w, KERN_DTYPE_F32, 1, COLS);
        ctx.ops->matmul(&ctx, &y, &mat, w, 1);
        assert_true(y == 127.0f * 127.0f * COLS);
        kern_mat_fini(&mat);
        struct ltd_err err = {0};
        const struct kern_rows none = {w, KERN_DTYPE_F32, 0, 0};
        assert_int_equal(ctx.ops->mat_pack(&ctx, &mat, KERN_INT8, &none, 1, COLS + 1, &err), -1);
        assert_int_equal(err.code, LTD_E_UNIMPLEMENTED);
        assert_non_null(strstr(err.msg, "131073 columns"));
    }
    ltd_free(w);
}

static void weights_that_a_format_cannot_keep_are_refused_by_place(void **state)
{
    static const float bad[] = {NAN, INFINITY, -INFINITY, 0x1.ffp127f};
    (void)state;
    for (int32_t t = 0; t < kern_tier_count(); t++) {
        struct kern_tier_info info;
        kern_tier_describe(t, &info);
        struct kern_ctx ctx = info.available ? context(info.name) : (struct kern_ctx){0};
        for (int f = 0; ctx.ops && f < KERN_N_FORMATS; f++)
            for (int i = 0; i < 4 && kern_tier_has(ctx.ops, (enum kern_format)f); i++) {
                float w[12] = {0};
                w[7] = bad[i]; /* row 1, column 3 */
                w[11] = NAN;
                /* The last one is finite, but bf16 rounds it to infinity. */
                const struct kern_rows part = {w, KERN_DTYPE_F32, 0, i == 3 ? 2 : 3};
                struct kern_mat mat = {0};
                struct ltd_err err = {0};
                int rc = ctx.ops->mat_pack(&ctx, &mat, (enum kern_format)f, &part, 1, 4, &err);
                if (i == 3 && f != KERN_BF16) {
                    assert_int_equal(rc, 0);
                    kern_mat_fini(&mat);
                    continue;
                }
                assert_int_equal(rc, -1);
                assert_int_equal(err.code, LTD_E_CORRUPT);
                assert_non_null(strstr(err.msg, "row 1 column 3"));
                assert_null(mat.data);
            }
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(formats_have_names),
        cmocka_unit_test(a_tier_packs_the_formats_that_it_names_and_refuses_others),
        cmocka_unit_test(bf16_of_the_reference_is_what_a_flushing_processor_gives),
        cmocka_unit_test(flushing_looks_at_the_number_rounded_without_an_end_of_exponents),
        cmocka_unit_test(bf16_keeps_halves_and_rounds_wider_storage),
        cmocka_unit_test(int8_is_the_exact_sum_of_its_integers_times_both_scales),
        cmocka_unit_test(int4_is_the_fused_sum_of_its_groups_times_the_positions_scale),
        cmocka_unit_test(int4_sums_of_the_largest_integers_are_exact),
        cmocka_unit_test(int4_rows_are_integers_times_the_scale_of_their_group),
        cmocka_unit_test(int8_sums_of_the_largest_integers_do_not_overflow),
        cmocka_unit_test(weights_that_a_format_cannot_keep_are_refused_by_place),
    };
    if (argc > 1)
        n_outputs = (size_t)atoi(argv[1]) * 1000000;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
