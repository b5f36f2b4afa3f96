/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/openblas/attention.c - attention, sixteen keys side by side.
 *
 * The same sums in the same order as kernels/ref/attention.c, so the bits are equal: keys lie
 * across positions, and the scores of a page are sixteen independent chains over head_dim that the
 * compiler puts into vector lanes. Scores of keys behind the query or skipped ones are computed and
 * then not used. No BLAS here; the file belongs to the tier because the plain loop is the
 * reference's.
 */
#include "kernels/openblas/openblas.h"

#include <math.h>
#include <omp.h>
#include <stdbool.h>

#include "kernels/parallel.h"

#define LANES KERN_PAGE_POSITIONS

struct head_view {
    const struct kern_kv_layer *kv;
    const struct kern_query *query;
    size_t keys_at, values_at; /* offsets of this head's keys and values in a plane */
    const float *q;            /* [head_dim] */
    float scale;
};

static void page_scores(float *scores, const struct head_view *view, const float *plane)
{
    const float *keys = plane + view->keys_at;
    float sum[LANES] = {0};
    for (int32_t c = 0; c < view->kv->head_dim; c++)
        for (int i = 0; i < LANES; i++)
            sum[i] += view->q[c] * keys[c * LANES + i];
    for (int i = 0; i < LANES; i++)
        scores[i] = sum[i] * view->scale;
}

/* One score of a page whose keys are spread over several planes. */
static float lane_score(const struct head_view *view, const float *plane, int lane)
{
    const float *keys = plane + view->keys_at;
    float sum = 0.0f;
    for (int32_t c = 0; c < view->kv->head_dim; c++)
        sum += view->q[c] * keys[c * LANES + lane];
    return sum * view->scale;
}

static bool one_plane(const int16_t *planes, int32_t n)
{
    for (int32_t i = 1; i < n; i++)
        if (planes[i] != planes[0])
            return false;
    return planes[0] >= 0;
}

static const float *plane_of(const struct head_view *view, int32_t page, int16_t plane)
{
    return view->kv->pool + (size_t)view->query->pages[page] * view->kv->page_stride +
           (size_t)plane * view->kv->plane_stride;
}

/* Fill scores [n_keys rounded up to a page]; returns the largest one that is attended to. */
static float all_scores(const struct head_view *view, float *scores)
{
    float largest = -INFINITY;
    for (int32_t base = 0; base < view->query->n_keys; base += LANES) {
        const int16_t *planes = view->query->planes + base;
        int32_t left = view->query->n_keys - base;
        int32_t n = left < LANES ? left : LANES;
        if (one_plane(planes, n))
            page_scores(scores + base, view, plane_of(view, base / LANES, planes[0]));
        else
            for (int32_t i = 0; i < n; i++)
                if (planes[i] >= 0)
                    scores[base + i] = lane_score(view, plane_of(view, base / LANES, planes[i]), i);
        for (int32_t i = 0; i < n; i++)
            if (planes[i] >= 0 && scores[base + i] > largest)
                largest = scores[base + i];
    }
    return largest;
}

static void attend(const struct head_view *view, float *restrict out, float *scores)
{
    int32_t d = view->kv->head_dim;
    float largest = all_scores(view, scores);
    for (int32_t c = 0; c < d; c++)
        out[c] = 0.0f;
    double sum = 0.0;
    for (int32_t j = 0; j < view->query->n_keys; j++) {
        int16_t plane = view->query->planes[j];
        if (plane < 0)
            continue;
        float weight = expf(scores[j] - largest);
        const float *restrict value =
            plane_of(view, j / LANES, plane) + view->values_at + (size_t)(j % LANES) * (size_t)d;
        sum += (double)weight;
        for (int32_t c = 0; c < d; c++)
            out[c] += weight * value[c];
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
    attend(&view, query->out + (size_t)head * d, scores);
}

void kern_openblas_attention(const struct kern_ctx *ctx, const struct kern_kv_layer *kv,
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
