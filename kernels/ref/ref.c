/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/ref/ref.c - norms, activation, rotation, and the table of the tier.
 */
#include "kernels/ref/ref.h"

#include <math.h>

#include "kernels/parallel.h"

/* The sum of squares is taken in double in index order: at a width of 5280 an f32 chain would lose
 * two digits, and a norm is cheap beside the products around it. The rest is f32, as published. */
static void rmsnorm_row(float *y, const float *x, const float *weight, int32_t n, float eps)
{
    double squares = 0.0;
    for (int32_t i = 0; i < n; i++)
        squares += (double)x[i] * (double)x[i];
    float mean = (float)(squares / n);
    float scale = 1.0f / sqrtf(mean + eps);
    for (int32_t i = 0; i < n; i++)
        y[i] = (x[i] * scale) * weight[i];
}

struct norms {
    float *y;
    const float *x, *weight;
    int32_t n, n_pos;
    float eps;
};

static void norm_share(void *arg, int t, int n)
{
    const struct norms *w = arg;
    int32_t end = (int32_t)kern_share(w->n_pos, t + 1, n);
    for (int32_t p = (int32_t)kern_share(w->n_pos, t, n); p < end; p++)
        rmsnorm_row(w->y + (size_t)p * (size_t)w->n, w->x + (size_t)p * (size_t)w->n, w->weight,
                    w->n, w->eps);
}

void kern_ref_rmsnorm(const struct kern_ctx *ctx, float *y, const float *x, const float *weight,
                      int32_t n, int32_t n_pos, float eps)
{
    struct norms work = {y, x, weight, n, n_pos, eps};
    kern_team(n_pos > 1 ? kern_threads(ctx, (int64_t)n * n_pos) : 1, norm_share, &work);
}

void kern_ref_add(const struct kern_ctx *ctx, float *y, const float *a, const float *b,
                  int64_t count)
{
    (void)ctx; /* bound by memory of one core's own cache: never worth a team */
    for (int64_t i = 0; i < count; i++)
        y[i] = a[i] + b[i];
}

struct gates {
    float *z;
    const float *u;
    int32_t n;
    int64_t count;
};

static void gate_share(void *arg, int t, int n)
{
    const struct gates *w = arg;
    int64_t end = kern_share(w->count, t + 1, n);
    for (int64_t item = kern_share(w->count, t, n); item < end; item++) {
        const float *row = w->u + item / w->n * 2 * w->n;
        int64_t i = item % w->n;
        float gate = row[i], up = row[w->n + i];
        w->z[item] = gate / (1.0f + expf(-gate)) * up;
    }
}

void kern_ref_silu_mul(const struct kern_ctx *ctx, float *z, const float *u, int32_t n,
                       int32_t n_pos)
{
    struct gates work = {z, u, n, (int64_t)n * n_pos};
    /* An exponential costs about as much as sixteen multiply-adds. */
    kern_team(kern_threads(ctx, 16 * work.count), gate_share, &work);
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
