/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/selfcheck.c - a few awkward products, compared with the reference; see
 * kernels/selfcheck.h.
 *
 * Shapes leave something over wherever a tier cuts: rows at 16, columns at 32 and 64, positions at
 * 2, 3, 16 and 64. Numbers are fixed and meet the edges of arithmetic: rows of weights and
 * positions of activations have a kind each, so that every pair of kinds meets.
 */
#include "kernels/selfcheck.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "kernels/ref/ref.h"
#include "kernels/tiles.h"

#define MOST_ROWS 37
#define MOST_COLS 320
#define MOST_POS  65

static const struct shape {
    int32_t rows, cols, n_pos;
} shapes[] = {{37, 161, 1}, {17, 320, 3}, {16, 70, 17}, {18, 97, 65}};

#define N_SHAPES ((int)(sizeof shapes / sizeof *shapes))

struct numbers {
    float w[MOST_ROWS * MOST_COLS], x[MOST_POS * MOST_COLS];
    float expected[MOST_POS * MOST_ROWS], found[MOST_POS * MOST_ROWS];
};

enum kind { ORDINARY, TINY, EDGES, INFINITE, NOT_A_NUMBER, N_KINDS };

/* Weights are finite: mat_pack refuses others. */
#define N_WEIGHT_KINDS 3

static uint32_t draw(uint64_t *state)
{
    *state = *state * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(*state >> 32);
}

/* TINY: products of two lie around 2^-126, where sums are denormal or become it. */
static float number(enum kind kind, uint64_t *state)
{
    static const uint32_t edges[] = {0x00000000, 0x80000000, 0x00010000, 0x807F8000,
                                     0x00800000, 0x80008000, 0x7E7F0000, 0x3F808000};
    uint32_t random = draw(state), pick = draw(state) >> 8;
    uint32_t exponent = kind == TINY ? 59 + pick % 9 : 117 + pick % 11;
    uint32_t bits = (random & 0x807FFFFF) | exponent << 23;
    float value;
    if (kind >= EDGES && pick % 3 == 0)
        bits = edges[pick / 3 % 8];
    if (kind == INFINITE && pick % 41 == 0)
        bits = 0x7F800000 | (random & 0x80000000);
    if (kind == NOT_A_NUMBER && pick % 41 == 0)
        bits = 0x7F800001 | (random & 0x803FFFFF);
    memcpy(&value, &bits, sizeof value);
    return value;
}

static void fill(float *out, int32_t rows, int32_t cols, int n_kinds, uint64_t seed)
{
    for (int32_t r = 0; r < rows; r++)
        for (int32_t c = 0; c < cols; c++)
            out[r * cols + c] = number((enum kind)(r % n_kinds), &seed);
}

static int multiply(const struct kern_ops *ops, enum kern_format format, const struct shape *s,
                    const struct numbers *n, float *y, struct ltd_err *err)
{
    const struct kern_ctx ctx = {.ops = ops, .n_threads = 1, .min_work = 0};
    const struct kern_rows part = {n->w, KERN_DTYPE_F32, 0, s->rows};
    struct kern_mat mat = {0};
    if (ops->mat_pack(&ctx, &mat, format, &part, 1, s->cols, err) != 0)
        return -1;
    ops->matmul(&ctx, y, &mat, n->x, s->n_pos);
    kern_mat_fini(&mat);
    return 0;
}

static int compare(enum kern_format format, const struct shape *s, const struct numbers *n,
                   char *why, size_t size)
{
    for (int32_t i = 0; i < s->n_pos * s->rows; i++) {
        uint32_t found, expected;
        memcpy(&found, &n->found[i], sizeof found);
        memcpy(&expected, &n->expected[i], sizeof expected);
        if (found == expected)
            continue;
        snprintf(why, size,
                 "self-check: %s product of %d x %d weights with %d positions differs from its "
                 "definition at "
                 "row %d, position %d: 0x%08x, expected 0x%08x",
                 kern_format_name(format), s->rows, s->cols, s->n_pos, i % s->rows, i / s->rows,
                 found, expected);
        return -1;
    }
    return 0;
}

/* What tiers over tiles have in common in f32 (docs/numerics.md#f32-of-avx2), where ref has an
 * order of its own: two chains of fused multiply-adds per 32 columns. Missing columns are zeros,
 * and a chain that is at -0 becomes +0 by one. */
static float dot_two_chains(const float *w, const float *x, int32_t n)
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

static void expect_f32(const struct shape *s, struct numbers *n)
{
    for (int32_t i = 0; i < s->n_pos * s->rows; i++)
        n->expected[i] =
            dot_two_chains(n->w + i % s->rows * s->cols, n->x + i / s->rows * s->cols, s->cols);
}

/* Has the format one definition that the tier must follow? f32 of a tier that packs rows has its
 * own. */
static bool is_defined(const struct kern_ops *ops, enum kern_format format)
{
    return kern_tier_has(ops, format) &&
           (format != KERN_F32 || ops->mat_pack == kern_tiles_mat_pack);
}

static int check_shape(const struct kern_ops *ops, enum kern_format format, const struct shape *s,
                       struct numbers *n, char *why, size_t size)
{
    struct ltd_err err = {0};
    fill(n->w, s->rows, s->cols, N_WEIGHT_KINDS, 1);
    fill(n->x, s->n_pos, s->cols, N_KINDS, 2);
    int rc = 0;
    if (format == KERN_F32)
        expect_f32(s, n);
    else
        rc = multiply(&kern_ref_ops, format, s, n, n->expected, &err);
    if (rc != 0 || multiply(ops, format, s, n, n->found, &err) != 0) {
        snprintf(why, size, "self-check: %s of %d x %d weights: %.80s", kern_format_name(format),
                 s->rows, s->cols, err.msg);
        return -1;
    }
    return compare(format, s, n, why, size);
}

int kern_self_check(const struct kern_ops *ops, char *why, size_t size)
{
    struct numbers n;
    if (ops == &kern_ref_ops)
        return 0;
    for (int f = 0; f < KERN_N_FORMATS; f++)
        for (int i = 0; i < N_SHAPES && is_defined(ops, (enum kern_format)f); i++)
            if (check_shape(ops, (enum kern_format)f, &shapes[i], &n, why, size) != 0)
                return -1;
    return 0;
}
