/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/kernels/test_kernels.c - products and row kernels of every tier that runs here.
 *
 * Tolerance of a product: any order of summing K products in f32 stays within
 * gamma = K u / (1 - K u), u = 2^-24, times the sum of absolute products (Higham, Accuracy and
 * Stability of Numerical Algorithms, §3.1). The oracle sums in double, whose own error is 2^29
 * times smaller and does not show.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/size.h"
#include "kernels/dispatch.h"
#include "kernels/kernels.h"
#include "random.h"

#define UNIT_ROUNDOFF 0x1p-24

static const int32_t lengths[] = {1,   2,    3,    4,    5,    7,    8,     15,    16,    17,
                                  31,  32,   33,   63,   64,   65,   84,    96,    127,   128,
                                  131, 1000, 4097, 5280, 5281, 9999, 10001, 10560, 17919, 17920};
#define N_LENGTHS (sizeof lengths / sizeof lengths[0])

static const struct kern_ops *tier_at(int32_t idx)
{
    struct kern_tier_info info;
    struct ltd_err err = {0};
    kern_tier_describe(idx, &info);
    if (!info.available)
        return NULL;
    const struct kern_ops *ops = kern_tier_find(info.name, &err);
    assert_non_null(ops);
    return ops;
}

static struct kern_ctx context(const struct kern_ops *ops, int32_t n_threads)
{
    return (struct kern_ctx){ops, n_threads, 0};
}

static float *floats(size_t n, float scale, uint64_t seed)
{
    float *out = ltd_alloc(n, sizeof *out);
    assert_non_null(out);
    random_fill(out, n, scale, seed);
    return out;
}

static struct kern_mat pack_as(const struct kern_ctx *ctx, enum kern_format format, const float *w,
                               int32_t begin, int32_t end, int32_t cols)
{
    struct kern_mat mat;
    struct ltd_err err = {0};
    const struct kern_rows rows = {w, KERN_DTYPE_F32, begin, end};
    if (ctx->ops->mat_pack(ctx, &mat, format, &rows, 1, cols, &err) != 0)
        fail_msg("mat_pack: %s", err.msg);
    return mat;
}

static struct kern_mat pack(const struct kern_ctx *ctx, const float *w, int32_t begin, int32_t end,
                            int32_t cols)
{
    return pack_as(ctx, KERN_F32, w, begin, end, cols);
}

/* Calls `check` for every tier that runs here, every format it has and n lengths. The reference is
 * spared long rows of narrow formats: it has one loop for all lengths, and needs a second a piece. */
static void for_all(const int32_t *some, size_t n,
                    void (*check)(const struct kern_ops *ops, enum kern_format format, int32_t cols,
                                  uint64_t seed))
{
    for (int32_t t = 0; t < kern_tier_count(); t++) {
        const struct kern_ops *ops = tier_at(t);
        for (int f = 0; ops && f < KERN_N_FORMATS; f++)
            for (size_t l = 0; l < n && kern_tier_has(ops, (enum kern_format)f); l++)
                if (f == KERN_F32 || some[l] <= 1000 || strcmp(ops->name, "ref") != 0)
                    check(ops, (enum kern_format)f, some[l], l);
    }
}

static void same_bits(const float *found, const float *expected, size_t n, const char *what,
                      const char *tier, int32_t cols)
{
    for (size_t i = 0; i < n; i++)
        if (memcmp(&found[i], &expected[i], sizeof *found) != 0)
            fail_msg("%s, tier %s, K %d: element %zu is %.9g, expected the bits of %.9g", what,
                     tier, cols, i, (double)found[i], (double)expected[i]);
}

static void check_product(const float *y, const float *w, const float *x, int32_t cols,
                          const char *tier)
{
    double sum = 0.0, magnitude = 0.0;
    for (int32_t i = 0; i < cols; i++) {
        sum += (double)w[i] * (double)x[i];
        magnitude += fabs((double)w[i] * (double)x[i]);
    }
    double gamma = cols * UNIT_ROUNDOFF / (1.0 - cols * UNIT_ROUNDOFF);
    if (!(fabs((double)*y - sum) <= gamma * magnitude))
        fail_msg("tier %s, K %d: %.9g, expected %.9g within %.2g", tier, cols, (double)*y, sum,
                 gamma * magnitude);
}

static void a_product_is_within_the_rounding_of_its_sum(void **state)
{
    enum { ROWS = 7, POS = 3 };
    (void)state;
    for (int32_t t = 0; t < kern_tier_count(); t++) {
        const struct kern_ops *ops = tier_at(t);
        for (size_t l = 0; ops && l < N_LENGTHS; l++) {
            size_t cols = (size_t)lengths[l];
            struct kern_ctx ctx = context(ops, 1);
            float *w = floats(ROWS * cols, 0.05f, l), *x = floats(POS * cols, 2.0f, l + 100);
            float y[ROWS * POS];
            struct kern_mat mat = pack(&ctx, w, 0, ROWS, lengths[l]);
            ops->matmul(&ctx, y, &mat, x, POS);
            for (size_t p = 0; p < POS; p++)
                for (size_t r = 0; r < ROWS; r++)
                    check_product(&y[p * ROWS + r], w + r * cols, x + p * cols, lengths[l],
                                  ops->name);
            kern_mat_fini(&mat);
            ltd_free(w);
            ltd_free(x);
        }
    }
}

static void the_reference_sums_in_index_order(void **state)
{
    (void)state;
    struct ltd_err err = {0};
    struct kern_ctx ctx = context(kern_tier_find("ref", &err), 2);
    for (size_t l = 0; l < N_LENGTHS; l++) {
        float *w = floats((size_t)lengths[l], 0.05f, l), *x = floats((size_t)lengths[l], 2.0f, 9);
        struct kern_mat mat = pack(&ctx, w, 0, 1, lengths[l]);
        float y, sum = 0.0f;
        ctx.ops->matmul(&ctx, &y, &mat, x, 1);
        for (int32_t i = 0; i < lengths[l]; i++)
            sum += w[i] * x[i];
        same_bits(&y, &sum, 1, "index order", "ref", lengths[l]);
        kern_mat_fini(&mat);
        ltd_free(w);
        ltd_free(x);
    }
}

static void check_row_splits(const struct kern_ops *ops, enum kern_format format, int32_t cols,
                             uint64_t seed)
{
    enum { ROWS = 37, POS = 2 };
    static const int32_t cuts[] = {0, 1, 1, 5, 16, 36, ROWS}; /* one share is empty */
    struct kern_ctx ctx = context(ops, 1);
    float *w = floats(ROWS * (size_t)cols, 0.05f, seed);
    float *x = floats(POS * (size_t)cols, 2.0f, seed + 7);
    float whole[ROWS * POS], part[ROWS * POS];
    struct kern_mat mat = pack_as(&ctx, format, w, 0, ROWS, cols);
    ops->matmul(&ctx, whole, &mat, x, POS);
    kern_mat_fini(&mat);
    for (size_t c = 0; c + 1 < sizeof cuts / sizeof cuts[0]; c++) {
        size_t rows = (size_t)(cuts[c + 1] - cuts[c]);
        mat = pack_as(&ctx, format, w, cuts[c], cuts[c + 1], cols);
        ops->matmul(&ctx, part, &mat, x, POS);
        for (size_t p = 0; p < POS; p++)
            same_bits(part + p * rows, whole + p * ROWS + cuts[c], rows, kern_format_name(format),
                      ops->name, cols);
        kern_mat_fini(&mat);
    }
    ltd_free(w);
    ltd_free(x);
}

static void an_element_does_not_depend_on_the_rows_beside_it(void **state)
{
    (void)state;
    for_all(lengths, N_LENGTHS, check_row_splits);
}

static void check_threads(const struct kern_ops *ops, enum kern_format format, int32_t cols,
                          uint64_t seed)
{
    enum { ROWS = 61, POS = 5 };
    float *w = floats(ROWS * (size_t)cols, 0.05f, seed);
    float *x = floats(POS * (size_t)cols, 2.0f, seed + 7);
    float one[ROWS * POS], many[ROWS * POS];
    for (int32_t n = 1; n <= 8; n++) {
        struct kern_ctx ctx = context(ops, n);
        struct kern_mat mat = pack_as(&ctx, format, w, 0, ROWS, cols);
        ops->matmul(&ctx, n == 1 ? one : many, &mat, x, POS);
        kern_mat_fini(&mat);
        if (n > 1)
            same_bits(many, one, ROWS * POS, kern_format_name(format), ops->name, cols);
    }
    ltd_free(w);
    ltd_free(x);
}

static void an_element_does_not_depend_on_the_number_of_threads(void **state)
{
    (void)state;
    for_all(lengths, N_LENGTHS, check_threads);
}

/* Reaches into the matrix: no tier keeps addresses in its data, so a shifted copy of it is the same
 * matrix at another address. */
static void check_alignment(const struct kern_ops *ops, enum kern_format format, int32_t cols,
                            uint64_t seed)
{
    enum { ROWS = 3 };
    struct kern_ctx ctx = context(ops, 1);
    size_t n = (size_t)cols;
    float *w = floats(ROWS * n, 0.05f, seed), *x = floats(n, 2.0f, seed + 3);
    float first[ROWS], y[ROWS];
    struct kern_mat packed = pack_as(&ctx, format, w, 0, ROWS, cols);
    ops->matmul(&ctx, first, &packed, x, 1);
    for (size_t a = 0; a < 16; a++)
        for (size_t b = 0; b < 16; b++) {
            float *shifted_w = ltd_alloc(packed.bytes + 16 * sizeof *w, 1);
            float *shifted_x = ltd_alloc(n + 16, sizeof *x);
            assert_true(shifted_w && shifted_x);
            memcpy(shifted_w + a, packed.data, packed.bytes);
            memcpy(shifted_x + b, x, n * sizeof *x);
            struct kern_mat mat = packed;
            mat.data = shifted_w + a;
            ops->matmul(&ctx, y, &mat, shifted_x + b, 1);
            same_bits(y, first, ROWS, kern_format_name(format), ops->name, cols);
            ltd_free(shifted_w);
            ltd_free(shifted_x);
        }
    kern_mat_fini(&packed);
    ltd_free(w);
    ltd_free(x);
}

static void an_element_does_not_depend_on_alignment(void **state)
{
    (void)state;
    for_all(lengths, N_LENGTHS, check_alignment);
}

/* Alone, in batches of every size, and the same position at another place in the batch. */
static void check_positions(const struct kern_ops *ops, enum kern_format format, int32_t cols,
                            uint64_t seed)
{
    enum { ROWS = 19, MOST = 130 };
    size_t n = (size_t)cols;
    struct kern_ctx ctx = context(ops, 2);
    float *w = floats(ROWS * n, 0.05f, seed), *x = floats(2 * MOST * n, 2.0f, seed + 7);
    float *alone = floats(MOST * ROWS, 0.0f, 0), *batch = floats(MOST * ROWS, 0.0f, 0);
    struct kern_mat mat = pack_as(&ctx, format, w, 0, ROWS, cols);
    for (size_t p = 0; p < MOST; p++)
        ops->matmul(&ctx, alone + p * ROWS, &mat, x + p * n, 1);
    /* Every count for short rows; long rows at the counts around block edges. */
    for (int32_t m = 1; m <= MOST; m += cols < 1000 || m < 9 || m > 126 ? 1 : 11) {
        ops->matmul(&ctx, batch, &mat, x, m);
        same_bits(batch, alone, (size_t)m * ROWS, kern_format_name(format), ops->name, cols);
    }
    memcpy(x + MOST * n, x, MOST * n * sizeof *x);
    for (size_t shift = 1; shift < MOST; shift += cols < 1000 ? 1 : 37) {
        ops->matmul(&ctx, batch, &mat, x + shift * n, MOST);
        same_bits(batch, alone + shift * ROWS, (MOST - shift) * ROWS, kern_format_name(format),
                  ops->name, cols);
        same_bits(batch + (MOST - shift) * ROWS, alone, shift * ROWS, kern_format_name(format),
                  ops->name, cols);
    }
    kern_mat_fini(&mat);
    ltd_free(w);
    ltd_free(x);
    ltd_free(alone);
    ltd_free(batch);
}

static void an_element_does_not_depend_on_the_positions_beside_it(void **state)
{
    static const int32_t some[] = {53, 333, 5280, 10001};
    (void)state;
    for_all(some, sizeof some / sizeof some[0], check_positions);
}

/* More positions than any tier takes at once, and columns in several blocks. */
static void hundreds_of_positions_are_those_of_one_after_the_other(void **state)
{
    enum { ROWS = 18, MOST = 300, COLS = 2200 };
    (void)state;
    for (int32_t t = 0; t < kern_tier_count(); t++) {
        const struct kern_ops *ops = tier_at(t);
        for (int f = 0; ops && f < KERN_N_FORMATS; f++) {
            if (!kern_tier_has(ops, (enum kern_format)f) || strcmp(ops->name, "ref") == 0)
                continue;
            struct kern_ctx ctx = context(ops, 3);
            float *w = floats(ROWS * COLS, 0.05f, 1), *x = floats(MOST * COLS, 2.0f, 2);
            float *batch = floats(MOST * ROWS, 0.0f, 0), alone[ROWS];
            struct kern_mat mat = pack_as(&ctx, (enum kern_format)f, w, 0, ROWS, COLS);
            ops->matmul(&ctx, batch, &mat, x, MOST);
            for (size_t p = 0; p < MOST; p++) {
                ops->matmul(&ctx, alone, &mat, x + p * COLS, 1);
                same_bits(batch + p * ROWS, alone, ROWS, "300 positions", ops->name, COLS);
            }
            kern_mat_fini(&mat);
            ltd_free(w);
            ltd_free(x);
            ltd_free(batch);
        }
    }
}

static void parts_are_stacked_in_their_order(void **state)
{
    enum { COLS = 5 };
    (void)state;
    for (int32_t t = 0; t < kern_tier_count(); t++) {
        const struct kern_ops *ops = tier_at(t);
        if (!ops)
            continue;
        struct kern_ctx ctx = context(ops, 2);
        float *w = floats(10 * COLS, 1.0f, 3), row[COLS];
        const struct kern_rows parts[] = {
            {w, KERN_DTYPE_F32, 7, 9}, {w, KERN_DTYPE_F32, 4, 4}, {w, KERN_DTYPE_F32, 0, 3}};
        static const int expected[] = {7, 8, 0, 1, 2};
        struct kern_mat mat;
        struct ltd_err err = {0};
        assert_int_equal(ops->mat_pack(&ctx, &mat, KERN_F32, parts, 3, COLS, &err), 0);
        assert_int_equal(mat.rows, 5);
        assert_true(mat.bytes >= 5 * COLS * sizeof(float));
        for (int32_t r = 0; r < 5; r++) {
            ops->mat_row(&ctx, &mat, r, row);
            same_bits(row, w + expected[r] * COLS, COLS, "stacked row", ops->name, COLS);
        }
        kern_mat_fini(&mat);
        ltd_free(w);
    }
}

static void a_matrix_without_rows_multiplies_to_nothing(void **state)
{
    (void)state;
    for (int32_t t = 0; t < kern_tier_count(); t++) {
        const struct kern_ops *ops = tier_at(t);
        if (!ops)
            continue;
        struct kern_ctx ctx = context(ops, 2);
        const float x[4] = {1, 2, 3, 4};
        float y = 5.0f;
        struct kern_mat mat = pack(&ctx, x, 0, 0, 4);
        ops->matmul(&ctx, &y, &mat, x, 1);
        assert_true(y == 5.0f);
        kern_mat_fini(&mat);
    }
}

static void weights_that_are_not_finite_are_refused(void **state)
{
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    (void)state;
    for (int32_t t = 0; t < kern_tier_count(); t++) {
        const struct kern_ops *ops = tier_at(t);
        for (int i = 0; ops && i < 3; i++) {
            struct kern_ctx ctx = context(ops, 2);
            float w[12] = {0};
            w[7] = bad[i]; /* row 1, column 3 */
            w[11] = NAN;
            const struct kern_rows rows = {w, KERN_DTYPE_F32, 0, 3};
            struct kern_mat mat = {0};
            struct ltd_err err = {0};
            assert_int_equal(ops->mat_pack(&ctx, &mat, KERN_F32, &rows, 1, 4, &err), -1);
            assert_int_equal(err.code, LTD_E_CORRUPT);
            assert_non_null(strstr(err.msg, "row 1 column 3"));
            assert_null(mat.data);
        }
    }
}

static void every_half_is_widened_exactly(void **state)
{
    (void)state;
    for (uint32_t bits = 0; bits < 65536; bits++) {
        uint16_t half = (uint16_t)bits;
        int exponent = (bits >> 10) & 31, fraction = bits & 1023;
        double sign = bits & 0x8000 ? -1.0 : 1.0;
        float found;
        kern_widen(&found, &half, KERN_DTYPE_F16, 1);
        if (exponent == 31) {
            assert_true(fraction ? isnan(found) : isinf(found) && (found < 0) == (sign < 0));
            continue;
        }
        double expected = exponent ? ldexp(1024 + fraction, exponent - 25) : ldexp(fraction, -24);
        if ((double)found != sign * expected || !signbit(found) != !(bits & 0x8000))
            fail_msg("half 0x%04x: %.9g, expected %.9g", bits, (double)found, sign * expected);
    }
}

static void every_bfloat_is_widened_exactly(void **state)
{
    (void)state;
    for (uint32_t bits = 0; bits < 65536; bits++) {
        uint8_t unaligned[3];
        uint16_t half = (uint16_t)bits;
        float found;
        uint32_t found_bits;
        memcpy(unaligned + 1, &half, 2);
        kern_widen(&found, unaligned + 1, KERN_DTYPE_BF16, 1);
        memcpy(&found_bits, &found, 4);
        assert_int_equal(found_bits, bits << 16);
    }
}

static void a_norm_scales_to_unit_mean_square(void **state)
{
    enum { N = 5280 };
    (void)state;
    for (int32_t t = 0; t < kern_tier_count(); t++) {
        const struct kern_ops *ops = tier_at(t);
        if (!ops)
            continue;
        float *x = floats(3 * N, 2.0f, 1), *w = floats(N, 1.0f, 2), *y = floats(3 * N, 0, 0);
        struct kern_ctx ctx = context(ops, 3);
        ops->rmsnorm(&ctx, y, x, w, N, 3, 1e-6f);
        for (int p = 0; p < 3; p++) {
            double squares = 0.0;
            for (int i = 0; i < N; i++)
                squares += (double)x[p * N + i] * (double)x[p * N + i];
            for (int i = 0; i < N; i++) {
                double expected = (double)x[p * N + i] / sqrt(squares / N + 1e-6) * (double)w[i];
                /* Six roundings lie between: mean, eps, root, inverse and two products. */
                double room = 6.0 * UNIT_ROUNDOFF * 2.0 * fabs(expected);
                if (!(fabs((double)y[p * N + i] - expected) <= room))
                    fail_msg("norm element %d: %.9g, expected %.9g", i, (double)y[p * N + i],
                             expected);
            }
        }
        ops->rmsnorm(&ctx, x, x, w, N, 3, 1e-6f);
        same_bits(x, y, 3 * N, "norm in place", ops->name, N);
        ltd_free(x);
        ltd_free(w);
        ltd_free(y);
    }
}

static void the_gate_is_the_first_half(void **state)
{
    (void)state;
    for (int32_t t = 0; t < kern_tier_count(); t++) {
        const struct kern_ops *ops = tier_at(t);
        if (!ops)
            continue;
        struct kern_ctx ctx = context(ops, 2);
        const float u[8] = {1.0f, -2.0f, 10.0f, 20.0f, -200.0f, 200.0f, 3.0f, 4.0f};
        float z[4];
        ops->silu_mul(&ctx, z, u, 2, 2);
        assert_float_equal(z[0], 10.0 * 1.0 / (1.0 + exp(-1.0)), 1e-5);
        assert_float_equal(z[1], 20.0 * -2.0 / (1.0 + exp(2.0)), 1e-5);
        assert_float_equal(z[2], 0.0, 1e-30); /* far below zero the gate closes without a NaN */
        assert_float_equal(z[3], 800.0, 1e-3);
    }
}

/* Norm, gate and sum of a position in a batch, on any number of threads and in any tier, have the
 * bits that `ref` gives it alone. The width is no multiple of a vector's. */
static void rows_know_nothing_of_each_other(void **state)
{
    (void)state;
    enum { WIDTH = 83, MOST = 11 };
    static float x[MOST * 2 * WIDTH], weight[WIDTH], found[MOST * WIDTH];
    static float norm[MOST * WIDTH], gate[MOST * WIDTH], sum[MOST * WIDTH];
    random_fill(x, MOST * 2 * WIDTH, 6.0f, 11);
    random_fill(weight, WIDTH, 1.0f, 12);
    struct ltd_err err = {0};
    struct kern_ctx alone = context(kern_tier_find("ref", &err), 1);
    for (int32_t p = 0; p < MOST; p++) {
        size_t at = (size_t)p * WIDTH;
        alone.ops->rmsnorm(&alone, norm + at, x + at, weight, WIDTH, 1, 1e-5f);
        alone.ops->silu_mul(&alone, gate + at, x + 2 * at, WIDTH, 1);
        alone.ops->add(&alone, sum + at, x + at, x + MOST * WIDTH + at, WIDTH);
    }
    for (int32_t t = 0; t < kern_tier_count(); t++)
        for (int32_t n_threads = 1; tier_at(t) && n_threads <= 3; n_threads++)
            for (int32_t n = 1; n <= MOST; n++) {
                struct kern_ctx ctx = context(tier_at(t), n_threads);
                size_t bytes = sizeof(float) * WIDTH * (size_t)n;
                ctx.ops->rmsnorm(&ctx, found, x, weight, WIDTH, n, 1e-5f);
                assert_memory_equal(found, norm, bytes);
                ctx.ops->silu_mul(&ctx, found, x, WIDTH, n);
                assert_memory_equal(found, gate, bytes);
                ctx.ops->add(&ctx, found, x, x + MOST * WIDTH, n * WIDTH);
                assert_memory_equal(found, sum, bytes);
            }
}

static void rotation_adds_the_bias_first_and_turns_pairs(void **state)
{
    (void)state;
    for (int32_t t = 0; t < kern_tier_count(); t++) {
        const struct kern_ops *ops = tier_at(t);
        if (!ops)
            continue;
        struct kern_ctx ctx = context(ops, 1);
        float x[8] = {1, 2, 3, 4, 5, 6, 7, 8};
        const float bias[8] = {0, 0, 1, 1, 0, 0, -7, -8};
        const float cos_sin[4] = {0, 1, 1, 0}; /* a quarter turn, and none */
        ops->rope(&ctx, x, bias, cos_sin, 2, 4);
        static const float expected[8] = {-2, 1, 4, 5, -6, 5, 0, 0};
        same_bits(x, expected, 8, "rotation", ops->name, 4);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_product_is_within_the_rounding_of_its_sum),
        cmocka_unit_test(the_reference_sums_in_index_order),
        cmocka_unit_test(an_element_does_not_depend_on_the_rows_beside_it),
        cmocka_unit_test(an_element_does_not_depend_on_the_number_of_threads),
        cmocka_unit_test(an_element_does_not_depend_on_alignment),
        cmocka_unit_test(an_element_does_not_depend_on_the_positions_beside_it),
        cmocka_unit_test(hundreds_of_positions_are_those_of_one_after_the_other),
        cmocka_unit_test(parts_are_stacked_in_their_order),
        cmocka_unit_test(a_matrix_without_rows_multiplies_to_nothing),
        cmocka_unit_test(weights_that_are_not_finite_are_refused),
        cmocka_unit_test(every_half_is_widened_exactly),
        cmocka_unit_test(every_bfloat_is_widened_exactly),
        cmocka_unit_test(a_norm_scales_to_unit_mean_square),
        cmocka_unit_test(the_gate_is_the_first_half),
        cmocka_unit_test(rows_know_nothing_of_each_other),
        cmocka_unit_test(rotation_adds_the_bias_first_and_turns_pairs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
