/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/ref/matmul.c - products with f32 weights kept row after row.
 *
 * Order: products are added to one f32 accumulator, starting from zero, in index order.
 */
#include "kernels/ref/ref.h"

#include <math.h>
#include <omp.h>
#include <string.h>

#include "base/size.h"
#include "kernels/parallel.h"

/* The part and the row inside it that packed row `row` comes from. */
static const uint8_t *source_row(const struct kern_rows *parts, int32_t row, int32_t cols,
                                 enum kern_dtype *dtype)
{
    while (row >= parts->row_end - parts->row_begin) {
        row -= parts->row_end - parts->row_begin;
        parts++;
    }
    *dtype = parts->dtype;
    size_t row_bytes = (size_t)cols * kern_dtype_bytes(parts->dtype);
    return (const uint8_t *)parts->data + (size_t)(parts->row_begin + row) * row_bytes;
}

/* Index of the first element that is not finite, or -1. */
static int32_t first_not_finite(const float *row, int32_t cols)
{
    for (int32_t c = 0; c < cols; c++)
        if (!isfinite(row[c]))
            return c;
    return -1;
}

static int32_t count_rows(const struct kern_rows *parts, int32_t n_parts)
{
    int32_t rows = 0;
    for (int32_t p = 0; p < n_parts; p++)
        rows += parts[p].row_end - parts[p].row_begin;
    return rows;
}

int kern_ref_mat_pack(const struct kern_ctx *ctx, struct kern_mat *mat,
                      const struct kern_rows *parts, int32_t n_parts, int32_t cols,
                      struct ltd_err *err)
{
    int32_t rows = count_rows(parts, n_parts);
    struct kern_mat out = {.rows = rows, .cols = cols, .format = KERN_F32};
    if (rows == 0) {
        *mat = out;
        return 0;
    }
    size_t elements;
    if (!ltd_size_mul((size_t)rows, (size_t)cols, &elements) ||
        !(out.data = ltd_alloc(elements, sizeof(float))))
        return ltd_fail(err, LTD_E_EXHAUSTED, "no memory for a matrix of %d x %d f32", rows, cols);
    out.bytes = elements * sizeof(float);
    float *data = out.data;
    int32_t bad_row = rows;
#pragma omp parallel for num_threads(kern_threads(ctx, (int64_t)elements)) reduction(min : bad_row)
    for (int32_t r = 0; r < rows; r++) {
        enum kern_dtype dtype;
        const uint8_t *src = source_row(parts, r, cols, &dtype);
        kern_widen(data + (size_t)r * (size_t)cols, src, dtype, cols);
        if (first_not_finite(data + (size_t)r * (size_t)cols, cols) >= 0 && r < bad_row)
            bad_row = r;
    }
    if (bad_row < rows) {
        const float *row = data + (size_t)bad_row * (size_t)cols;
        int32_t col = first_not_finite(row, cols);
        ltd_fail(err, LTD_E_CORRUPT,
                 "row %d column %d of the shard is %g, expected a finite number", bad_row, col,
                 (double)row[col]);
        ltd_free(out.data);
        return -1;
    }
    *mat = out;
    return 0;
}

void kern_ref_mat_row(const struct kern_ctx *ctx, const struct kern_mat *mat, int32_t row,
                      float *out)
{
    (void)ctx;
    const float *data = mat->data;
    memcpy(out, data + (size_t)row * (size_t)mat->cols, (size_t)mat->cols * sizeof *out);
}

static float dot(const float *a, const float *b, int32_t n)
{
    float sum = 0.0f;
    for (int32_t i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

void kern_ref_matmul(const struct kern_ctx *ctx, float *y, const struct kern_mat *mat,
                     const float *x, int32_t n_pos)
{
    const float *w = mat->data;
    int32_t rows = mat->rows, cols = mat->cols;
    int threads = kern_threads(ctx, (int64_t)rows * cols * n_pos);
#pragma omp parallel for num_threads(threads)
    for (int32_t r = 0; r < rows; r++)
        for (int32_t p = 0; p < n_pos; p++)
            y[(size_t)p * (size_t)rows + (size_t)r] =
                dot(w + (size_t)r * (size_t)cols, x + (size_t)p * (size_t)cols, cols);
}
