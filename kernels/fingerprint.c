/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/fingerprint.c - hash the bits of fixed computations; see kernels/fingerprint.h.
 *
 * Inputs come from a small integer generator and are scaled to the magnitudes that activations and
 * weights have. Lengths are those of the published model and awkward ones around vector widths.
 */
#include "kernels/fingerprint.h"

#include <math.h>
#include <string.h>

#include "base/size.h"
#include "kernels/bf16.h"

#define FNV_OFFSET 0xcbf29ce484222325ull
#define FNV_PRIME  0x100000001b3ull

#define MAX_LEN      17920 /* longest row of the published model */
#define N_ROWS       64
#define N_OTHER_ROWS 17
#define N_POS        3
#define N_MATH       4096
#define N_HEADS      3
#define HEAD_DIM     96
#define N_KEYS       (2 * KERN_PAGE_POSITIONS + 5)
#define N_PAGES      3
#define N_PLANES     2

#define PLANE_ELEMENTS ((size_t)2 * N_HEADS * HEAD_DIM * KERN_PAGE_POSITIONS)
#define POOL_ELEMENTS  (N_PAGES * N_PLANES * PLANE_ELEMENTS)

struct bench {
    const struct kern_ctx *ctx;
    float *weights;   /* [N_ROWS][MAX_LEN] */
    float *x;         /* [N_POS][MAX_LEN] */
    float *y;         /* [N_POS][MAX_LEN] */
    uint16_t *halves; /* [POOL_ELEMENTS] */
    uint64_t hash;
};

/* splitmix64: a full-period integer generator; here only a source of fixed inputs. */
static uint64_t next_u64(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15ull);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

/* Uniform in [-scale, scale), 24 bits. */
static void fill(float *out, size_t n, float scale, uint64_t seed)
{
    for (size_t i = 0; i < n; i++)
        out[i] = ((float)(next_u64(&seed) >> 40) * 0x1p-23f - 1.0f) * scale;
}

static void mix(struct bench *b, const void *data, size_t bytes)
{
    const uint8_t *p = data;
    for (size_t i = 0; i < bytes; i++)
        b->hash = (b->hash ^ p[i]) * FNV_PRIME;
}

static int mix_product(struct bench *b, enum kern_format format, int32_t rows, int32_t cols,
                       struct ltd_err *err)
{
    struct kern_rows part = {b->weights, KERN_DTYPE_F32, 0, rows};
    struct kern_mat mat = {0};
    if (b->ctx->ops->mat_pack(b->ctx, &mat, format, &part, 1, cols, err) != 0)
        return -1;
    b->ctx->ops->matmul(b->ctx, b->y, &mat, b->x, N_POS);
    mix(b, b->y, sizeof(float) * (size_t)rows * N_POS);
    kern_mat_fini(&mat);
    return 0;
}

/* Formats other than f32 take fewer rows: their sums are ours, the same code on every machine. */
static int mix_products(struct bench *b, struct ltd_err *err)
{
    static const int32_t lengths[] = {1,  2,   3,   7,   15,  31,   33,   40,   53,    84,
                                      96, 127, 131, 160, 333, 1000, 5280, 5281, 10560, MAX_LEN};
    for (int f = 0; f < KERN_N_FORMATS; f++)
        for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++)
            if (kern_tier_has(b->ctx->ops, (enum kern_format)f) &&
                mix_product(b, (enum kern_format)f, f == KERN_F32 ? N_ROWS : N_OTHER_ROWS,
                            lengths[i], err) != 0)
                return -1;
    return 0;
}

static void mix_rows(struct bench *b)
{
    const struct kern_ops *ops = b->ctx->ops;
    ops->rmsnorm(b->ctx, b->y, b->x, b->weights, 5280, N_POS, 1e-6f);
    mix(b, b->y, sizeof(float) * 5280 * N_POS);
    ops->silu_mul(b->ctx, b->y, b->x, MAX_LEN / 2, N_POS);
    mix(b, b->y, sizeof(float) * (MAX_LEN / 2) * N_POS);
    ops->add(b->ctx, b->y, b->x, b->weights, MAX_LEN);
    mix(b, b->y, sizeof(float) * MAX_LEN);
    memcpy(b->y, b->x, sizeof(float) * N_HEADS * HEAD_DIM);
    ops->rope(b->ctx, b->y, b->weights, b->weights + MAX_LEN, N_HEADS, HEAD_DIM);
    mix(b, b->y, sizeof(float) * N_HEADS * HEAD_DIM);
}

/* Keys on two planes with one skipped, over two whole pages and a begun one, in both formats. */
static void mix_attention(struct bench *b, float *scores, size_t scores_stride)
{
    static const int32_t pages[N_PAGES] = {2, 0, 1};
    int16_t planes[N_KEYS];
    for (int32_t j = 0; j < N_KEYS; j++)
        planes[j] = (int16_t)(j < KERN_PAGE_POSITIONS ? 0 : j == 20 ? -1 : j % N_PLANES);
    struct kern_kv_layer kv = {.pool = b->weights,
                               .format = KERN_KV_F32,
                               .page_stride = N_PLANES * PLANE_ELEMENTS,
                               .plane_stride = PLANE_ELEMENTS,
                               .n_heads = N_HEADS,
                               .head_dim = HEAD_DIM};
    struct kern_query query = {b->x, b->y, pages, planes, N_KEYS};
    b->ctx->ops->attention(b->ctx, &kv, &query, 1, scores, scores_stride);
    mix(b, b->y, sizeof(float) * N_HEADS * HEAD_DIM);
    for (size_t i = 0; i < POOL_ELEMENTS; i++)
        b->halves[i] = kern_bf16_round(b->weights[i]);
    mix(b, b->halves, sizeof(uint16_t) * POOL_ELEMENTS);
    kv.pool = b->halves;
    kv.format = KERN_KV_BF16;
    b->ctx->ops->attention(b->ctx, &kv, &query, 1, scores, scores_stride);
    mix(b, b->y, sizeof(float) * N_HEADS * HEAD_DIM);
}

/* Every library function that the layers above call on the way to an answer. */
static void mix_math(struct bench *b)
{
    for (size_t i = 0; i < N_MATH; i++) {
        float u = b->x[i]; /* [-2, 2) */
        float f[] = {cosf(2048.0f * u), sinf(2048.0f * u), sqrtf(u * u),
                     powf(50000.0f, fabsf(u) * 0.5f)};
        double d[] = {exp(8.0 * (double)u), log(1.0 + (double)u * (double)u),
                      sqrt(fabs((double)u))};
        mix(b, f, sizeof f);
        mix(b, d, sizeof d);
    }
}

int kern_fingerprint(const struct kern_ctx *ctx, uint64_t *out, struct ltd_err *err)
{
    size_t scores_stride = N_PAGES * KERN_PAGE_POSITIONS;
    size_t n_threads = (size_t)(ctx->n_threads > 0 ? ctx->n_threads : 1);
    size_t n_scores = n_threads * KERN_QUERIES_AT_ONCE * scores_stride;
    int rc = -1;
    struct bench b = {.ctx = ctx, .hash = FNV_OFFSET};
    b.weights = ltd_alloc((size_t)N_ROWS * MAX_LEN, sizeof(float));
    b.x = ltd_alloc((size_t)N_POS * MAX_LEN, sizeof(float));
    b.y = ltd_alloc((size_t)N_POS * MAX_LEN, sizeof(float));
    b.halves = ltd_alloc(POOL_ELEMENTS, sizeof(uint16_t));
    float *scores = ltd_alloc(n_scores, sizeof(float));
    if (!b.weights || !b.x || !b.y || !b.halves || !scores) {
        ltd_fail(err, LTD_E_EXHAUSTED, "kernel fingerprint: no memory");
        goto out;
    }
    fill(b.weights, (size_t)N_ROWS * MAX_LEN, 0.05f, 1);
    fill(b.x, (size_t)N_POS * MAX_LEN, 2.0f, 2);
    if (mix_products(&b, err) != 0)
        goto out;
    mix_rows(&b);
    mix_attention(&b, scores, scores_stride);
    mix_math(&b);
    *out = b.hash;
    rc = 0;
out:
    ltd_free(b.weights);
    ltd_free(b.x);
    ltd_free(b.y);
    ltd_free(b.halves);
    ltd_free(scores);
    return rc;
}
