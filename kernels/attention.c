/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/attention.c - attention, sixteen keys side by side.
 *
 * The same sums in the same order as kernels/ref/attention.c, so the bits are equal: keys lie
 * across positions, and the scores of a page are sixteen independent chains over head_dim that the
 * compiler puts into vector lanes. Scores of keys behind the query or skipped ones are computed and
 * then not used. Elements of a bf16 pool are widened in the lanes. Plain C
 * without intrinsics: every tier but the reference takes it.
 */
#include "kernels/attention.h"

#include <math.h>
#include <omp.h>
#include <stdbool.h>

#include "kernels/kv_read.h"
#include "kernels/parallel.h"

#define LANES KERN_PAGE_POSITIONS

struct head_view {
    const struct kern_kv_layer *kv;
    const struct kern_query *query;
    size_t keys_at, values_at; /* offsets of this head's keys and values in a plane */
    const float *q;            /* [head_dim] */
    float scale;
};

KERN_KV_INLINE void page_scores(float *scores, const struct head_view *view, const void *keys,
                                enum kern_kv_format format)
{
    float sum[LANES] = {0};
    for (int32_t c = 0; c < view->kv->head_dim; c++)
        for (int i = 0; i < LANES; i++)
            sum[i] += view->q[c] * kern_kv_element(keys, (size_t)(c * LANES + i), format);
    for (int i = 0; i < LANES; i++)
        scores[i] = sum[i] * view->scale;
}

/* One score of a page whose keys are spread over several planes. */
KERN_KV_INLINE float lane_score(const struct head_view *view, const void *keys, int lane,
                                enum kern_kv_format format)
{
    float sum = 0.0f;
    for (int32_t c = 0; c < view->kv->head_dim; c++)
        sum += view->q[c] * kern_kv_element(keys, (size_t)(c * LANES + lane), format);
    return sum * view->scale;
}

static bool one_plane(const int16_t *planes, int32_t n)
{
    for (int32_t i = 1; i < n; i++)
        if (planes[i] != planes[0])
            return false;
    return planes[0] >= 0;
}

/* This head's keys in the plane that key j is read from. */
KERN_KV_INLINE const void *keys_of(const struct head_view *view, int32_t j,
                                   enum kern_kv_format format)
{
    return kern_kv_skip(kern_kv_plane(view->kv, view->query, j, format), view->keys_at, format);
}

/* Fill scores [n_keys rounded up to a page]; returns the largest one that is attended to. */
KERN_KV_INLINE float all_scores(const struct head_view *view, float *scores,
                                enum kern_kv_format format)
{
    float largest = -INFINITY;
    for (int32_t base = 0; base < view->query->n_keys; base += LANES) {
        const int16_t *planes = view->query->planes + base;
        int32_t left = view->query->n_keys - base;
        int32_t n = left < LANES ? left : LANES;
        if (one_plane(planes, n))
            page_scores(scores + base, view, keys_of(view, base, format), format);
        else
            for (int32_t i = 0; i < n; i++)
                if (planes[i] >= 0)
                    scores[base + i] = lane_score(view, keys_of(view, base + i, format), i, format);
        for (int32_t i = 0; i < n; i++)
            if (planes[i] >= 0 && scores[base + i] > largest)
                largest = scores[base + i];
    }
    return largest;
}

KERN_KV_INLINE void attend(const struct head_view *view, float *restrict out, float *scores,
                           enum kern_kv_format format)
{
    int32_t d = view->kv->head_dim;
    float largest = all_scores(view, scores, format);
    for (int32_t c = 0; c < d; c++)
        out[c] = 0.0f;
    double sum = 0.0;
    for (int32_t j = 0; j < view->query->n_keys; j++) {
        if (view->query->planes[j] < 0)
            continue;
        float weight = expf(scores[j] - largest);
        const void *restrict value =
            kern_kv_skip(kern_kv_plane(view->kv, view->query, j, format),
                         view->values_at + (size_t)(j % LANES) * (size_t)d, format);
        sum += (double)weight;
        for (int32_t c = 0; c < d; c++)
            out[c] += weight * kern_kv_element(value, (size_t)c, format);
    }
    for (int32_t c = 0; c < d; c++)
        out[c] /= (float)sum;
}

static void attend_head(const struct kern_kv_layer *kv, const struct kern_query *query,
                        int32_t head, float *scores)
{
    size_t d = (size_t)kv->head_dim;
    struct head_view view = {
        .kv = kv,
        .query = query,
        .keys_at = (size_t)head * d * LANES,
        .values_at = ((size_t)kv->n_heads + (size_t)head) * d * LANES,
        .q = query->q + (size_t)head * d,
        .scale = 1.0f / sqrtf((float)kv->head_dim),
    };
    if (kv->format == KERN_KV_F32)
        attend(&view, query->out + (size_t)head * d, scores, KERN_KV_F32);
    else
        attend(&view, query->out + (size_t)head * d, scores, KERN_KV_BF16);
}

void kern_paged_attention(const struct kern_ctx *ctx, const struct kern_kv_layer *kv,
                          const struct kern_query *queries, int32_t n_queries, float *scores,
                          size_t scores_stride)
{
    int64_t keys = 0;
    for (int32_t i = 0; i < n_queries; i++)
        keys += queries[i].n_keys;
    int64_t items = (int64_t)n_queries * kv->n_heads;
    int threads = kern_threads(ctx, 2 * keys * kv->n_heads * kv->head_dim);
    /* Dynamic, because queries of a prompt differ in length; who computes does not show. */
#pragma omp parallel for num_threads(threads) schedule(dynamic)
    for (int64_t item = 0; item < items; item++)
        attend_head(kv, &queries[item / kv->n_heads], (int32_t)(item % kv->n_heads),
                    scores + (size_t)omp_get_thread_num() * scores_stride);
}
