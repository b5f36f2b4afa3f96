/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/ref/matmul.c - products with weights kept row after row: the definition of each format.
 *
 *     f32    [rows][cols] floats
 *     bf16   [rows][cols] upper halves of floats
 *     int8   [rows] scales, then [rows][cols] integers
 *     int4   [rows][groups] scales as bf16, then [rows][(cols + 1) / 2] bytes: an even column in the
 *            lower half, the odd one behind it in the upper half, integers plus 8
 *
 * Orders are those of docs/numerics.md#weight-formats. f32: products are added to one accumulator,
 * starting from zero, in index order. The others below.
 */
#include "kernels/ref/ref.h"

#include <math.h>
#include <string.h>

#include "base/size.h"
#include "kernels/bf16.h"
#include "kernels/int4.h"
#include "kernels/int8.h"
#include "kernels/pack.h"
#include "kernels/parallel.h"

#define BF16_TILE 32 /* columns whose sum is rounded into the accumulator at once */

static float *scales_of(const struct kern_mat *mat)
{
    return mat->data;
}

static int8_t *integers_of(const struct kern_mat *mat, int32_t row)
{
    int8_t *first = (int8_t *)((float *)mat->data + mat->rows);
    return first + (size_t)row * (size_t)mat->cols;
}

static uint16_t *group_scales_of(const struct kern_mat *mat, int32_t row)
{
    return (uint16_t *)mat->data + (size_t)row * (size_t)kern_int4_groups(mat->cols);
}

static size_t int4_row_bytes(int32_t cols)
{
    return ((size_t)cols + 1) / 2;
}

static uint8_t *nibbles_of(const struct kern_mat *mat, int32_t row)
{
    uint8_t *first = (uint8_t *)group_scales_of(mat, mat->rows);
    return first + (size_t)row * int4_row_bytes(mat->cols);
}

static int8_t nibble(const uint8_t *nibbles, int32_t col)
{
    return (int8_t)((nibbles[col / 2] >> (col % 2 * 4) & 15) - 8);
}

static uint16_t *halves_of(const struct kern_mat *mat, int32_t row)
{
    return (uint16_t *)mat->data + (size_t)row * (size_t)mat->cols;
}

static float *floats_of(const struct kern_mat *mat, int32_t row)
{
    return (float *)mat->data + (size_t)row * (size_t)mat->cols;
}

static bool total_bytes(const struct kern_mat *mat, size_t *out)
{
    size_t elements;
    if (!ltd_size_mul((size_t)mat->rows, (size_t)mat->cols, &elements))
        return false;
    switch (mat->format) {
    case KERN_F32:
        return ltd_size_mul(elements, sizeof(float), out);
    case KERN_BF16:
        return ltd_size_mul(elements, sizeof(uint16_t), out);
    case KERN_INT8:
        return ltd_size_add(elements, (size_t)mat->rows * sizeof(float), out);
    case KERN_INT4:
        return ltd_size_mul((size_t)mat->rows,
                            (size_t)kern_int4_groups(mat->cols) * sizeof(uint16_t) +
                                int4_row_bytes(mat->cols),
                            out);
    case KERN_N_FORMATS:
        break;
    }
    return false;
}

/* `col` begins a group: pieces are whole groups. */
static void pack_int4(struct kern_mat *mat, int32_t row, int32_t col, const float *piece, int32_t n)
{
    int8_t integers[KERN_INT4_GROUP];
    for (int32_t g = 0; g < n; g += KERN_INT4_GROUP) {
        int32_t count = n - g < KERN_INT4_GROUP ? n - g : KERN_INT4_GROUP;
        uint16_t scale = kern_int4_scale(piece + g, count);
        group_scales_of(mat, row)[(col + g) / KERN_INT4_GROUP] = scale;
        kern_int4_round(integers, piece + g, count, kern_bf16_widen(scale));
        for (int32_t i = 0; i < count; i++) {
            uint8_t *at = nibbles_of(mat, row) + (col + g + i) / 2;
            *at = (uint8_t)(*at | (unsigned)(integers[i] + 8) << (i % 2 * 4));
        }
    }
}

static void pack_piece(struct kern_mat *mat, int32_t row, int32_t col, const float *piece,
                       int32_t n)
{
    switch (mat->format) {
    case KERN_F32:
        memcpy(floats_of(mat, row) + col, piece, (size_t)n * sizeof *piece);
        break;
    case KERN_BF16:
        for (int32_t i = 0; i < n; i++)
            halves_of(mat, row)[col + i] = kern_bf16_round(piece[i]);
        break;
    case KERN_INT8:
        kern_int8_round(integers_of(mat, row) + col, piece, n, scales_of(mat)[row]);
        break;
    case KERN_INT4:
        pack_int4(mat, row, col, piece, n);
        break;
    case KERN_N_FORMATS:
        break;
    }
}

/* False when the row cannot be kept in the format; then nothing was written. */
static bool pack_row(struct kern_mat *mat, const struct kern_rows *parts, int32_t row)
{
    float piece[KERN_PACK_PIECE];
    uint32_t largest = kern_pack_largest(parts, row, mat->cols);
    if (!kern_pack_fits(largest, mat->format))
        return false;
    if (mat->format == KERN_INT8)
        scales_of(mat)[row] = kern_int8_scale(largest);
    for (int32_t c = 0; c < mat->cols; c += KERN_PACK_PIECE) {
        int32_t n = mat->cols - c < KERN_PACK_PIECE ? mat->cols - c : KERN_PACK_PIECE;
        kern_pack_read(piece, parts, row, mat->cols, c, n);
        pack_piece(mat, row, c, piece, n);
    }
    return true;
}

int kern_ref_mat_pack(const struct kern_ctx *ctx, struct kern_mat *mat, enum kern_format format,
                      const struct kern_rows *parts, int32_t n_parts, int32_t cols,
                      struct ltd_err *err)
{
    int32_t rows = kern_pack_rows(parts, n_parts), bad_row = rows;
    struct kern_mat out = {.rows = rows, .cols = cols, .format = format};
    if (format == KERN_INT8 && cols > KERN_INT8_MAX_COLS)
        return ltd_fail(err, LTD_E_UNIMPLEMENTED, "%d columns in int8, expected at most %d", cols,
                        KERN_INT8_MAX_COLS);
    if (rows == 0) {
        *mat = out;
        return 0;
    }
    if (!total_bytes(&out, &out.bytes) || !(out.data = ltd_alloc(out.bytes, 1)))
        return ltd_fail(err, LTD_E_EXHAUSTED, "no memory for a matrix of %d x %d %s", rows, cols,
                        kern_format_name(format));
    int threads = kern_threads(ctx, (int64_t)rows * cols);
#pragma omp parallel for num_threads(threads) reduction(min : bad_row)
    for (int32_t r = 0; r < rows; r++)
        if (!pack_row(&out, parts, r) && r < bad_row)
            bad_row = r;
    if (bad_row < rows) {
        kern_mat_fini(&out);
        return kern_pack_refuse(parts, bad_row, cols, format, err);
    }
    *mat = out;
    return 0;
}

void kern_ref_mat_row(const struct kern_ctx *ctx, const struct kern_mat *mat, int32_t row,
                      float *out)
{
    (void)ctx;
    switch (mat->format) {
    case KERN_F32:
        memcpy(out, floats_of(mat, row), (size_t)mat->cols * sizeof *out);
        break;
    case KERN_BF16:
        for (int32_t c = 0; c < mat->cols; c++)
            out[c] = kern_bf16_widen(halves_of(mat, row)[c]);
        break;
    case KERN_INT8:
        for (int32_t c = 0; c < mat->cols; c++)
            out[c] = (float)integers_of(mat, row)[c] * scales_of(mat)[row];
        break;
    case KERN_INT4:
        for (int32_t c = 0; c < mat->cols; c++)
            out[c] = (float)nibble(nibbles_of(mat, row), c) *
                     kern_bf16_widen(group_scales_of(mat, row)[c / KERN_INT4_GROUP]);
        break;
    case KERN_N_FORMATS:
        break;
    }
}

static float dot_f32(const float *a, const float *b, int32_t n)
{
    float sum = 0.0f;
    for (int32_t i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

/* A denormal number becomes a zero of its sign; everything else stays. */
static float flush(float value)
{
    return kern_magnitude_bits(value) < 0x00800000 ? copysignf(0.0f, value) : value;
}

/* a * b + c for a and b of bf16, none of them denormal, as a processor computes it that flushes
 * denormal results: rounded once, and zero if the number rounded as if exponents had no end would
 * lie below 2^-126. fmaf has rounded to a multiple of 2^-149 instead, and so reaches 2^-126 already
 * from (1 - 2^-24) 2^-126 on, where 24 bits below 2^-126 would reach it only from (1 - 2^-25)
 * 2^-126 on. Between these two the sum in double is exact: a product of bf16 has 16 bits. */
static float fma_flushed(float a, float b, float c)
{
    float sum = fmaf(a, b, c);
    if (kern_magnitude_bits(sum) > 0x00800000)
        return sum;
    if (fabs((double)a * (double)b + (double)c) < 0x1.ffffffp-127)
        return copysignf(0.0f, sum);
    return flush(sum);
}

/* The order of AMX: in each tile the even and the odd columns are two chains of fused multiply-adds
 * from zero; their sum is added to the accumulator. Columns missing in the last tile are zeros, and
 * they are computed with: a chain that flushing left at -0 becomes +0 by one more of them. */
static float dot_bf16(const uint16_t *w, const float *x, int32_t n)
{
    float sum = 0.0f;
    for (int32_t begin = 0; begin < n; begin += BF16_TILE) {
        float chain[2] = {0.0f, 0.0f};
        for (int32_t i = begin; i < begin + BF16_TILE; i++) {
            float a = i < n ? flush(kern_bf16_widen(w[i])) : 0.0f;
            float b = i < n ? flush(kern_bf16_widen(kern_bf16_round(x[i]))) : 0.0f;
            chain[i & 1] = fma_flushed(a, b, chain[i & 1]);
        }
        sum = flush(sum + flush(chain[0] + chain[1]));
    }
    return sum;
}

static float dot_int8(const int8_t *w, float w_scale, const float *x, float x_scale, int32_t n)
{
    int8_t piece[KERN_PACK_PIECE];
    int32_t sum = 0;
    for (int32_t begin = 0; begin < n; begin += KERN_PACK_PIECE) {
        int32_t count = n - begin < KERN_PACK_PIECE ? n - begin : KERN_PACK_PIECE;
        kern_int8_round(piece, x + begin, count, x_scale);
        for (int32_t i = 0; i < count; i++)
            sum += (int32_t)w[begin + i] * (int32_t)piece[i];
    }
    return kern_int8_result(sum, w_scale, x_scale);
}

/* Groups in the order of their columns, one fused multiply-add each; the position's scale last. */
static float dot_int4(const uint8_t *w, const uint16_t *w_scales, const float *x, float x_scale,
                      int32_t n)
{
    int8_t piece[KERN_INT4_GROUP];
    float sum = 0.0f;
    for (int32_t begin = 0; begin < n; begin += KERN_INT4_GROUP) {
        int32_t count = n - begin < KERN_INT4_GROUP ? n - begin : KERN_INT4_GROUP, group_sum = 0;
        kern_int8_round(piece, x + begin, count, x_scale);
        for (int32_t i = 0; i < count; i++)
            group_sum += (int32_t)nibble(w, begin + i) * (int32_t)piece[i];
        sum = kern_int4_add(sum, group_sum, kern_bf16_widen(w_scales[begin / KERN_INT4_GROUP]));
    }
    return sum * x_scale;
}

/* NaN has many bit patterns, and which of them an operation hands on differs between processors. */
static float one_nan(float value)
{
    return isnan(value) ? NAN : value;
}

static float element(const struct kern_mat *mat, int32_t row, const float *x)
{
    switch (mat->format) {
    case KERN_F32:
        return dot_f32(floats_of(mat, row), x, mat->cols);
    case KERN_BF16:
        return one_nan(dot_bf16(halves_of(mat, row), x, mat->cols));
    case KERN_INT8:
        return one_nan(dot_int8(integers_of(mat, row), scales_of(mat)[row], x,
                                kern_int8_scale(kern_largest_bits(x, mat->cols, 0)), mat->cols));
    case KERN_INT4:
        return one_nan(dot_int4(nibbles_of(mat, row), group_scales_of(mat, row), x,
                                kern_int8_scale(kern_largest_bits(x, mat->cols, 0)), mat->cols));
    case KERN_N_FORMATS:
        break;
    }
    return NAN;
}

void kern_ref_matmul(const struct kern_ctx *ctx, float *y, const struct kern_mat *mat,
                     const float *x, int32_t n_pos)
{
    int32_t rows = mat->rows, cols = mat->cols;
    int threads = kern_threads(ctx, (int64_t)rows * cols * n_pos);
#pragma omp parallel for num_threads(threads)
    for (int32_t r = 0; r < rows; r++)
        for (int32_t p = 0; p < n_pos; p++)
            y[(size_t)p * (size_t)rows + (size_t)r] = element(mat, r, x + (size_t)p * (size_t)cols);
}
