/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/openblas/openblas.c - products by cblas_sdot, our own threads over output rows.
 *
 *     thread t owns rows [begin, end)
 *     for each block of rows that fits the second-level cache
 *         for each position            the block is read from memory once,
 *             for each row: sdot       and from cache for all further positions
 *
 * Independence holds by construction: an element's only inputs are its weight row and its
 * activation row, and the library sees nothing else.
 */
#include "kernels/openblas/openblas.h"

#include <cblas.h>
#include <omp.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "kernels/attention.h"
#include "kernels/parallel.h"
#include "kernels/ref/ref.h"

/* Half of a 512 KiB second-level cache, the smallest among current server cores: the other half
 * is for activations. */
#define BLOCK_BYTES ((size_t)256 << 10)

static int32_t rows_per_block(int32_t cols)
{
    size_t rows = BLOCK_BYTES / ((size_t)cols * sizeof(float));
    return rows < 1 ? 1 : rows > 1024 ? 1024 : (int32_t)rows;
}

static void block_times_positions(float *y, const struct kern_mat *mat, const float *x,
                                  int32_t n_pos, int32_t row_begin, int32_t row_end)
{
    const float *w = mat->data;
    size_t rows = (size_t)mat->rows, cols = (size_t)mat->cols;
    for (int32_t p = 0; p < n_pos; p++)
        for (int32_t r = row_begin; r < row_end; r++)
            y[(size_t)p * rows + (size_t)r] =
                cblas_sdot(mat->cols, w + (size_t)r * cols, 1, x + (size_t)p * cols, 1);
}

static int mat_pack(const struct kern_ctx *ctx, struct kern_mat *mat, enum kern_format format,
                    const struct kern_rows *parts, int32_t n_parts, int32_t cols,
                    struct ltd_err *err)
{
    if (format != KERN_F32)
        return ltd_fail(err, LTD_E_UNIMPLEMENTED, "kernel tier openblas has no format %s, only f32",
                        kern_format_name(format));
    return kern_ref_mat_pack(ctx, mat, format, parts, n_parts, cols, err);
}

static void matmul(const struct kern_ctx *ctx, float *y, const struct kern_mat *mat, const float *x,
                   int32_t n_pos)
{
    int32_t step = rows_per_block(mat->cols);
    int threads = kern_threads(ctx, (int64_t)mat->rows * mat->cols * n_pos);
#pragma omp parallel num_threads(threads)
    {
        int t = omp_get_thread_num(), n = omp_get_num_threads();
        int32_t begin = (int32_t)kern_share(mat->rows, t, n);
        int32_t end = (int32_t)kern_share(mat->rows, t + 1, n);
        for (int32_t r = begin; r < end; r += step)
            block_times_positions(y, mat, x, n_pos, r, r + step < end ? r + step : end);
    }
}

/* Does one sdot give the same bits wherever its operands lie in memory? True of every kernel of
 * the library that we could run; asked at start all the same, because the next release may add one
 * that peels up to an aligned address, and then an element would depend on its neighbours' size. */
static bool ignores_alignment(void)
{
    enum { LENGTH = 1333, LANES = 16 };
    static float a[LENGTH + LANES], b[LENGTH + LANES];
    float expected = 0.0f;
    for (int shift = 0; shift < LANES * LANES; shift++) {
        float *x = a + shift % LANES, *y = b + shift / LANES;
        for (int i = 0; i < LENGTH; i++) {
            x[i] = (float)((i * 7919) % 1009) * 0x1p-9f - 1.0f;
            y[i] = (float)((i * 104729) % 997) * 0x1p-9f - 1.0f;
        }
        float found = cblas_sdot(LENGTH, x, 1, y, 1);
        if (shift == 0)
            expected = found;
        else if (memcmp(&found, &expected, sizeof found) != 0)
            return false;
    }
    return true;
}

int kern_openblas_init(char *why, size_t size)
{
    openblas_set_num_threads(1);
    int threads = openblas_get_num_threads();
    if (threads != 1) {
        snprintf(why, size, "the library keeps %d threads of its own, expected 1", threads);
        return -1;
    }
    if (!ignores_alignment()) {
        snprintf(why, size, "sdot of the %s kernels depends on the alignment of its operands",
                 openblas_get_corename());
        return -1;
    }
    return 0;
}

void kern_openblas_id(char *out, size_t size)
{
    /* The configuration reads "OpenBLAS 0.3.21 NO_LAPACKE ...": take the word after the name. */
    const char *config = openblas_get_config();
    const char *version = strncmp(config, "OpenBLAS ", 9) == 0 ? config + 9 : config;
    snprintf(out, size, "openblas %.*s %s", (int)strcspn(version, " "), version,
             openblas_get_corename());
}

const struct kern_ops kern_openblas_ops = {
    .name = "openblas",
    .formats = 1u << KERN_F32,
    .mat_pack = mat_pack,
    .mat_row = kern_ref_mat_row,
    .matmul = matmul,
    .rmsnorm = kern_ref_rmsnorm,
    .add = kern_ref_add,
    .silu_mul = kern_ref_silu_mul,
    .rope = kern_ref_rope,
    .attention = kern_paged_attention,
};
