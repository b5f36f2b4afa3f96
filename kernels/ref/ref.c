/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/ref/ref.c - norms, activation, rotation, and the table of the tier.
 */
#include "kernels/ref/ref.h"

#include <math.h>

#include "kernels/gate.h"
#include "kernels/parallel.h"

/* Positions whose sums advance together: one sum alone waits for its own last addition. */
#define NORMS_AT_ONCE 4

struct norms {
    float *y;
    const float *x, *weight;
    int32_t n, n_pos;
    float eps;
};

static void scale_row(const struct norms *w, int32_t pos, double squares)
{
    const float *x = w->x + (size_t)pos * (size_t)w->n;
    float *y = w->y + (size_t)pos * (size_t)w->n;
    float mean = (float)(squares / w->n);
    float scale = 1.0f / sqrtf(mean + w->eps);
    for (int32_t i = 0; i < w->n; i++)
        y[i] = (x[i] * scale) * w->weight[i];
}

/* The sum of squares is taken in double in index order: at a width of 5280 an f32 chain would lose
 * two digits, and a norm is cheap beside the products around it. The rest is f32, as published. */
static inline __attribute__((always_inline)) void norm_some(const struct norms *w, int32_t pos,
                                                            int count)
{
    const float *x = w->x + (size_t)pos * (size_t)w->n;
    double squares[NORMS_AT_ONCE] = {0};
    for (int32_t i = 0; i < w->n; i++)
        for (int k = 0; k < count; k++) {
            double value = (double)x[(size_t)k * (size_t)w->n + (size_t)i];
            squares[k] += value * value;
        }
    for (int k = 0; k < count; k++)
        scale_row(w, pos + k, squares[k]);
}

static void norm_share(void *arg, int t, int n)
{
    const struct norms *w = arg;
    int32_t pos = (int32_t)kern_share(w->n_pos, t, n),
            end = (int32_t)kern_share(w->n_pos, t + 1, n);
    for (; pos + NORMS_AT_ONCE <= end; pos += NORMS_AT_ONCE)
        norm_some(w, pos, NORMS_AT_ONCE);
    for (; pos < end; pos++)
        norm_some(w, pos, 1);
}

void kern_ref_rmsnorm(const struct kern_ctx *ctx, float *y, const float *x, const float *weight,
                      int32_t n, int32_t n_pos, float eps)
{
    struct norms work = {y, x, weight, n, n_pos, eps};
    kern_team(n_pos > 1 ? kern_threads(ctx, (int64_t)n * n_pos) : 1, norm_share, &work);
}

struct sums {
    float *y;
    const float *a, *b;
    int64_t count;
};

static void add_share(void *arg, int t, int n)
{
    const struct sums *w = arg;
    int64_t end = kern_share(w->count, t + 1, n);
    for (int64_t i = kern_share(w->count, t, n); i < end; i++)
        w->y[i] = w->a[i] + w->b[i];
}

void kern_ref_add(const struct kern_ctx *ctx, float *y, const float *a, const float *b,
                  int64_t count)
{
    struct sums work = {y, a, b, count};
    kern_team(kern_threads(ctx, count), add_share, &work);
}

void kern_ref_silu_mul(const struct kern_ctx *ctx, float *z, const float *u, int32_t n,
                       int32_t n_pos)
{
    gate_all(ctx, z, u, n, n_pos);
}

void kern_ref_rope(const struct kern_ctx *ctx, float *x, const float *bias, const float *cos_sin,
                   int32_t n_heads, int32_t head_dim)
{
    (void)ctx;
    for (int32_t h = 0; h < n_heads; h++) {
        for (int32_t i = 0; i < head_dim / 2; i++) {
            float *pair = x + (size_t)h * (size_t)head_dim + 2 * i;
            const float *shift = bias ? bias + (size_t)h * (size_t)head_dim + 2 * i : NULL;
            float a = shift ? pair[0] + shift[0] : pair[0];
            float b = shift ? pair[1] + shift[1] : pair[1];
            float c = cos_sin[2 * i], s = cos_sin[2 * i + 1];
            pair[0] = a * c - b * s;
            pair[1] = b * c + a * s;
        }
    }
}

const struct kern_ops kern_ref_ops = {
    .name = "ref",
    .formats = 1u << KERN_F32 | 1u << KERN_BF16 | 1u << KERN_INT8 | 1u << KERN_INT4,
    .mat_pack = kern_ref_mat_pack,
    .mat_row = kern_ref_mat_row,
    .matmul = kern_ref_matmul,
    .rmsnorm = kern_ref_rmsnorm,
    .add = kern_ref_add,
    .silu_mul = kern_ref_silu_mul,
    .rope = kern_ref_rope,
    .attention = kern_ref_attention,
};
