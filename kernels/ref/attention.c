/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/ref/attention.c - one query, one head, one key at a time.
 *
 * Order, which every tier keeps: a score is one f32 sum over head_dim in index order, times the f32
 * 1/sqrt(head_dim); weights are e^(score - largest score); their sum is taken in double in
 * position order; values are added, weight times value, in f32 in position order and the total is
 * divided by the f32 sum. Keys with a negative plane take no part in anything. Elements of a bf16
 * pool are widened before they are used.
 */
#include "kernels/ref/ref.h"

#include <math.h>

#include "kernels/exp.h"
#include "kernels/kv_read.h"
#include "kernels/parallel.h"

KERN_KV_INLINE float score_of(const struct kern_kv_layer *kv, const struct kern_query *query,
                              int32_t head, int32_t j, enum kern_kv_format format)
{
    size_t d = (size_t)kv->head_dim;
    size_t lane = (size_t)(j % KERN_PAGE_POSITIONS);
    const float *q = query->q + (size_t)head * d;
    const void *keys = kern_kv_skip(kern_kv_plane(kv, query, j, format),
                                    (size_t)head * d * KERN_PAGE_POSITIONS, format);
    float sum = 0.0f;
    for (size_t c = 0; c < d; c++)
        sum += q[c] * kern_kv_element(keys, c * KERN_PAGE_POSITIONS + lane, format);
    return sum * (1.0f / sqrtf((float)kv->head_dim));
}

KERN_KV_INLINE const void *value_of(const struct kern_kv_layer *kv, const struct kern_query *query,
                                    int32_t head, int32_t j, enum kern_kv_format format)
{
    size_t d = (size_t)kv->head_dim;
    size_t lane = (size_t)(j % KERN_PAGE_POSITIONS);
    size_t values = ((size_t)kv->n_heads + (size_t)head) * d * KERN_PAGE_POSITIONS;
    return kern_kv_skip(kern_kv_plane(kv, query, j, format), values + lane * d, format);
}

KERN_KV_INLINE void attend(const struct kern_kv_layer *kv, const struct kern_query *query,
                           int32_t head, float *scores, enum kern_kv_format format)
{
    float *out = query->out + (size_t)head * (size_t)kv->head_dim;
    float largest = -INFINITY;
    for (int32_t j = 0; j < query->n_keys; j++) {
        if (query->planes[j] < 0)
            continue;
        scores[j] = score_of(kv, query, head, j, format);
        if (scores[j] > largest)
            largest = scores[j];
    }
    for (int32_t c = 0; c < kv->head_dim; c++)
        out[c] = 0.0f;
    double sum = 0.0;
    for (int32_t j = 0; j < query->n_keys; j++) {
        if (query->planes[j] < 0)
            continue;
        float weight = kern_exp(scores[j] - largest);
        const void *value = value_of(kv, query, head, j, format);
        sum += (double)weight;
        for (int32_t c = 0; c < kv->head_dim; c++)
            out[c] += weight * kern_kv_element(value, (size_t)c, format);
    }
    for (int32_t c = 0; c < kv->head_dim; c++)
        out[c] /= (float)sum;
}

static void attend_head(const struct kern_kv_layer *kv, const struct kern_query *query,
                        int32_t head, float *scores)
{
    if (kv->format == KERN_KV_F32)
        attend(kv, query, head, scores, KERN_KV_F32);
    else
        attend(kv, query, head, scores, KERN_KV_BF16);
}

struct heads {
    const struct kern_kv_layer *kv;
    const struct kern_query *queries;
    int64_t items;
    float *scores;
    size_t scores_stride;
};

static void attend_share(void *arg, int t, int n)
{
    const struct heads *w = arg;
    (void)n;
#pragma omp for schedule(dynamic)
    for (int64_t item = 0; item < w->items; item++)
        attend_head(w->kv, &w->queries[item / w->kv->n_heads], (int32_t)(item % w->kv->n_heads),
                    w->scores + (size_t)t * w->scores_stride);
}

void kern_ref_attention(const struct kern_ctx *ctx, const struct kern_kv_layer *kv,
                        const struct kern_query *queries, int32_t n_queries, float *scores,
                        size_t scores_stride)
{
    int64_t keys = 0;
    for (int32_t i = 0; i < n_queries; i++)
        keys += queries[i].n_keys;
    struct heads work = {kv, queries, (int64_t)n_queries * kv->n_heads, scores, scores_stride};
    kern_team(kern_threads(ctx, 2 * keys * kv->n_heads * kv->head_dim), attend_share, &work);
}
