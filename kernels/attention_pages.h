/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/attention_pages.h - attention, many keys side by side and many queries per read of a
 * page.
 *
 * The sums of kernels/ref/attention.c in their order, so the bits are equal. What differs is only
 * what is computed at the same time:
 *
 *     scores   keys lie across positions: sixteen sums over head_dim are one page's scores, and
 *              PAGES_AT_ONCE pages advance together, because a sum waits for its own last addition
 *     values   sums over positions for several elements at once, in registers
 *     queries  up to KERN_QUERIES_AT_ONCE that follow each other and read one page table (positions of
 *              a prompt) take their turn page by page: what the first has read is in the cache
 *
 *     for each head, for each run of such queries
 *         for each page:  every query's scores
 *         every query:    largest score, weights in place of the scores, their sum
 *         for each page:  every query's values
 *
 * A page is read once per plane that it is attended to in: the sixteen lanes of a plane lie in the
 * same cache lines, so computing all of them and keeping some is what reading one of them costs.
 *
 * Plain C with the compiler's vectors. The file that includes this says how many floats its vectors
 * hold, VECTOR_FLOATS, and how as many halves at an address become the words that they widen to,
 * WIDEN_HALVES: the compiler's own conversion takes twice the instructions. Private to kernels/.
 */
#ifndef LATENTD_KERNELS_ATTENTION_PAGES_H
#define LATENTD_KERNELS_ATTENTION_PAGES_H

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "kernels/exp.h"
#include "kernels/kv_read.h"
#include "kernels/parallel.h"

#define LANES KERN_PAGE_POSITIONS

#define VECTORS_PER_PAGE (LANES / VECTOR_FLOATS)
/* Eight vectors of sums: half of the sixteen registers, the other half is for what they
 * multiply. */
#define PAGES_AT_ONCE  (8 / VECTORS_PER_PAGE)
#define VALUES_AT_ONCE 4 /* vectors */

typedef float floats __attribute__((vector_size(VECTOR_FLOATS * 4)));
typedef uint32_t words __attribute__((vector_size(VECTOR_FLOATS * 4)));

/* Queries [0, n) of one page table, and one head of them. */
struct run {
    const struct kern_kv_layer *kv;
    const struct kern_query *queries;
    int32_t n, head, longest;  /* longest: the largest n_keys */
    size_t keys_at, values_at; /* offsets of this head's keys and values in a plane */
    float *scores;             /* [n][stride]; weights after the scores are complete */
    size_t stride;
};

/* Sixteen keys of one plane. */
struct keys {
    const void *at;
    int32_t base; /* position of the first */
    int16_t plane;
};

/* Ask for the line of element i behind `at`. A page's keys of one head are too short for the
 * processor to foresee the next page's. */
KERN_KV_INLINE void ask_for(const void *at, size_t i, enum kern_kv_format format)
{
    __builtin_prefetch(kern_kv_skip(at, i, format), 0, 2);
}

/* Elements [i, i + VECTOR_FLOATS) behind `at`. */
KERN_KV_INLINE floats load_floats(const void *at, size_t i, enum kern_kv_format format)
{
    floats out;
    if (format == KERN_KV_F32) {
        memcpy(&out, (const float *)at + i, sizeof out);
        return out;
    }
    words wide = WIDEN_HALVES((const uint16_t *)at + i);
    memcpy(&out, &wide, sizeof out);
    return out;
}

/* ---- scores ------------------------------------------------------------------------------- */

/* scores[p][lane] of PAGES_AT_ONCE blocks of keys. `next`: NULL, or as many that will be read after
 * them. */
KERN_KV_INLINE void key_scores(float (*scores)[LANES], const float *q, int32_t d,
                               const struct keys *keys, const void *const *next,
                               enum kern_kv_format format)
{
    floats sums[PAGES_AT_ONCE][VECTORS_PER_PAGE] = {0};
    float scale = 1.0f / sqrtf((float)d);
    const void *at[PAGES_AT_ONCE];
    for (int p = 0; p < PAGES_AT_ONCE; p++)
        at[p] = keys[p].at;
    for (int32_t c = 0; c < d; c++) {
        for (int p = 0; next && p < PAGES_AT_ONCE; p++)
            ask_for(next[p], (size_t)(c * LANES), format);
#pragma GCC unroll 8
        for (int p = 0; p < PAGES_AT_ONCE; p++)
#pragma GCC unroll 8
            for (int v = 0; v < VECTORS_PER_PAGE; v++)
                sums[p][v] +=
                    q[c] * load_floats(at[p], (size_t)(c * LANES + v * VECTOR_FLOATS), format);
    }
#pragma GCC unroll 8
    for (int p = 0; p < PAGES_AT_ONCE; p++)
#pragma GCC unroll 8
        for (int v = 0; v < VECTORS_PER_PAGE; v++) {
            floats score = sums[p][v] * scale;
            memcpy(&scores[p][v * VECTOR_FLOATS], &score, sizeof score);
        }
}

/* The planes that a query reads a page's keys from, each once; returns how many. */
KERN_KV_INLINE int list_keys(struct keys *out, const struct run *run,
                             const struct kern_query *query, int32_t base,
                             enum kern_kv_format format)
{
    int32_t left = query->n_keys - base, n = left < LANES ? left : LANES;
    const int16_t *planes = query->planes + base;
    uint32_t listed = 0; /* bit i: the plane of key i is */
    int count = 0;
    for (int32_t i = 0; i < n; i++) {
        if (planes[i] < 0 || (listed >> i & 1))
            continue;
        for (int32_t k = i; k < n; k++)
            listed |= (uint32_t)(planes[k] == planes[i]) << k;
        const void *plane = kern_kv_plane(run->kv, query, base + i, format);
        out[count++] = (struct keys){kern_kv_skip(plane, run->keys_at, format), base, planes[i]};
    }
    return count;
}

/* Scores of those keys that the query reads in these planes. */
KERN_KV_INLINE void score_keys(const struct run *run, int32_t idx, const struct keys *keys,
                               int count, const void *const *next, enum kern_kv_format format)
{
    const struct kern_query *query = &run->queries[idx];
    float *scores = run->scores + (size_t)idx * run->stride;
    int32_t d = run->kv->head_dim;
    float found[PAGES_AT_ONCE][LANES];
    if (next)
        key_scores(found, query->q + (size_t)run->head * (size_t)d, d, keys, next, format);
    else
        key_scores(found, query->q + (size_t)run->head * (size_t)d, d, keys, NULL, format);
    for (int p = 0; p < count; p++) {
        const int16_t *planes = query->planes + keys[p].base;
        int32_t left = query->n_keys - keys[p].base, n = left < LANES ? left : LANES;
        for (int32_t i = 0; i < n; i++)
            if (planes[i] == keys[p].plane)
                scores[keys[p].base + i] = found[p][i];
    }
}

/* What the run's first query will read when it is through with the pages at `base`. */
KERN_KV_INLINE void list_next(const void **next, const struct run *run, int32_t base,
                              enum kern_kv_format format)
{
    const struct kern_query *query = &run->queries[0];
    for (int p = 0; p < PAGES_AT_ONCE; p++) {
        int32_t j = base + (PAGES_AT_ONCE + p) * LANES;
        j = j < query->n_keys && query->planes[j] >= 0 ? j : -1;
        next[p] =
            j < 0 ? query->q
                  : kern_kv_skip(kern_kv_plane(run->kv, query, j, format), run->keys_at, format);
    }
}

/* One query's scores of the pages in [base, base + PAGES_AT_ONCE * LANES). */
KERN_KV_INLINE void score_pages(const struct run *run, int32_t idx, int32_t base,
                                enum kern_kv_format format)
{
    struct keys keys[PAGES_AT_ONCE * LANES + PAGES_AT_ONCE];
    const struct kern_query *query = &run->queries[idx];
    const void *next[PAGES_AT_ONCE];
    int count = 0;
    for (int p = 0; p < PAGES_AT_ONCE && base + p * LANES < query->n_keys; p++)
        count += list_keys(keys + count, run, query, base + p * LANES, format);
    if (count == 0)
        return;
    /* The last ones are filled up with the first: read already, and their scores are not kept. */
    for (int p = 0; p < PAGES_AT_ONCE; p++)
        keys[count + p] = keys[0];
    list_next(next, run, base, format);
    for (int k = 0; k < count; k += PAGES_AT_ONCE)
        score_keys(run, idx, keys + k, count - k < PAGES_AT_ONCE ? count - k : PAGES_AT_ONCE,
                   idx == 0 && k == 0 ? next : NULL, format);
}

/* ---- weights and values ------------------------------------------------------------------- */

/* Keys of one page, up to LANES of them. */
struct lanes {
    float *scores;
    const int16_t *planes; /* negative: the key takes no part, its score is anything */
};

/* The largest of each lane so far. */
KERN_KV_INLINE void keep_largest(float *largest, struct lanes at, int n)
{
    for (int i = 0; i < n; i++) {
        float score = at.planes[i] >= 0 ? at.scores[i] : -INFINITY;
        largest[i] = score > largest[i] ? score : largest[i];
    }
}

KERN_KV_INLINE void weights_of(struct lanes at, int n, float largest)
{
    for (int i = 0; i < n; i++)
        at.scores[i] = kern_exp((at.planes[i] >= 0 ? at.scores[i] : largest) - largest);
}

static float largest_score(float *scores, const int16_t *planes, int32_t n)
{
    float lanes[LANES], largest = -INFINITY;
    for (int i = 0; i < LANES; i++)
        lanes[i] = -INFINITY;
    int32_t j = 0;
    for (; j + LANES <= n; j += LANES)
        keep_largest(lanes, (struct lanes){scores + j, planes + j}, LANES);
    keep_largest(lanes, (struct lanes){scores + j, planes + j}, n - j);
    for (int i = 0; i < LANES; i++)
        largest = lanes[i] > largest ? lanes[i] : largest;
    return largest;
}

/* Scores become weights; returns their sum, in position order. */
static double weigh(const struct run *run, int32_t idx)
{
    const struct kern_query *query = &run->queries[idx];
    const int16_t *planes = query->planes;
    float *scores = run->scores + (size_t)idx * run->stride;
    int32_t j = 0, n = query->n_keys;
    float largest = largest_score(scores, planes, n);
    double sum = 0.0;
    for (; j + LANES <= n; j += LANES)
        weights_of((struct lanes){scores + j, planes + j}, LANES, largest);
    weights_of((struct lanes){scores + j, planes + j}, n - j, largest);
    for (j = 0; j < n; j++)
        if (planes[j] >= 0)
            sum += (double)scores[j];
    return sum;
}

/* out[VECTOR_FLOATS * n_vectors] += weights[j] * values[j] in the order of j. */
KERN_KV_INLINE void add_vectors(float *out, size_t c, int n_vectors, const float *weights,
                                const void *const *values, int n, const void *next,
                                enum kern_kv_format format)
{
    floats sums[VALUES_AT_ONCE];
#pragma GCC unroll 4
    for (int v = 0; v < n_vectors; v++)
        memcpy(&sums[v], out + c + (size_t)v * VECTOR_FLOATS, sizeof sums[v]);
    for (int j = 0; j < n; j++) {
        for (int v = 0; next && v < n_vectors; v += LANES / VECTOR_FLOATS)
            ask_for(next, c * LANES + (size_t)(j * n_vectors + v) * VECTOR_FLOATS, format);
#pragma GCC unroll 4
        for (int v = 0; v < n_vectors; v++)
            sums[v] += weights[j] * load_floats(values[j], c + (size_t)v * VECTOR_FLOATS, format);
    }
#pragma GCC unroll 4
    for (int v = 0; v < n_vectors; v++)
        memcpy(out + c + (size_t)v * VECTOR_FLOATS, &sums[v], sizeof sums[v]);
}

KERN_KV_INLINE void add_values(float *out, size_t d, const float *weights,
                               const void *const *values, int n, const void *next,
                               enum kern_kv_format format)
{
    size_t c = 0;
    for (; c + VALUES_AT_ONCE * VECTOR_FLOATS <= d; c += VALUES_AT_ONCE * VECTOR_FLOATS)
        add_vectors(out, c, VALUES_AT_ONCE, weights, values, n, next, format);
    for (; c + VECTOR_FLOATS <= d; c += VECTOR_FLOATS)
        add_vectors(out, c, 1, weights, values, n, NULL, format);
    for (; c < d; c++)
        for (int j = 0; j < n; j++)
            out[c] += weights[j] * kern_kv_element(values[j], c, format);
}

KERN_KV_INLINE void add_page(const struct run *run, int32_t idx, int32_t base,
                             enum kern_kv_format format)
{
    const struct kern_query *query = &run->queries[idx];
    const float *all = run->scores + (size_t)idx * run->stride;
    size_t d = (size_t)run->kv->head_dim;
    float weights[LANES];
    const void *values[LANES];
    int n = 0;
    for (int32_t j = base; j < query->n_keys && j < base + LANES; j++) {
        if (query->planes[j] < 0)
            continue;
        weights[n] = all[j];
        values[n++] = kern_kv_skip(kern_kv_plane(run->kv, query, j, format),
                                   run->values_at + (size_t)(j - base) * d, format);
    }
    float *out = query->out + (size_t)run->head * d;
    int32_t j = base + LANES;
    if (idx == 0 && j < query->n_keys && query->planes[j] >= 0)
        add_values(out, d, weights, values, n,
                   kern_kv_skip(kern_kv_plane(run->kv, query, j, format), run->values_at, format),
                   format);
    else
        add_values(out, d, weights, values, n, NULL, format);
}

/* ---- the whole ---------------------------------------------------------------------------- */

KERN_KV_INLINE void attend_run(const struct run *run, enum kern_kv_format format)
{
    size_t d = (size_t)run->kv->head_dim, at = (size_t)run->head * d;
    double sums[KERN_QUERIES_AT_ONCE];
    for (int32_t base = 0; base < run->longest; base += PAGES_AT_ONCE * LANES)
        for (int32_t i = 0; i < run->n; i++)
            if (base < run->queries[i].n_keys)
                score_pages(run, i, base, format);
    for (int32_t i = 0; i < run->n; i++) {
        sums[i] = weigh(run, i);
        memset(run->queries[i].out + at, 0, d * sizeof(float));
    }
    for (int32_t base = 0; base < run->longest; base += LANES)
        for (int32_t i = 0; i < run->n; i++)
            if (base < run->queries[i].n_keys)
                add_page(run, i, base, format);
    for (int32_t i = 0; i < run->n; i++)
        for (size_t c = 0; c < d; c++)
            run->queries[i].out[at + c] /= (float)sums[i];
}

/* Some queries that follow each other, one head: run after run of the same page table. */
static void attend_some(const struct kern_kv_layer *kv, const struct kern_query *queries, int32_t n,
                        int32_t head, float *scores, size_t scores_stride)
{
    size_t d = (size_t)kv->head_dim;
    for (int32_t begin = 0, end; begin < n; begin = end) {
        struct run run = {.kv = kv,
                          .queries = queries + begin,
                          .head = head,
                          .keys_at = (size_t)head * d * LANES,
                          .values_at = ((size_t)kv->n_heads + (size_t)head) * d * LANES,
                          .scores = scores,
                          .stride = scores_stride};
        for (end = begin; end < n && queries[end].pages == queries[begin].pages; end++)
            if (queries[end].n_keys > run.longest)
                run.longest = queries[end].n_keys;
        run.n = end - begin;
        if (kv->format == KERN_KV_F32)
            attend_run(&run, KERN_KV_F32);
        else
            attend_run(&run, KERN_KV_BF16);
    }
}

struct attention {
    const struct kern_kv_layer *kv;
    const struct kern_query *queries;
    int32_t n_queries, some; /* of them are computed side by side */
    float *scores;
    size_t scores_stride;
};

static void attend_share(void *arg, int t, int n)
{
    const struct attention *w = arg;
    int32_t heads = w->kv->n_heads, items = (w->n_queries + w->some - 1) / w->some * heads;
    float *scores = w->scores + (size_t)t * KERN_QUERIES_AT_ONCE * w->scores_stride;
    (void)n;
    /* Dynamic, because queries of a prompt differ in length; who computes does not show. */
#pragma omp for schedule(dynamic)
    for (int32_t item = 0; item < items; item++) {
        int32_t begin = item / heads * w->some, left = w->n_queries - begin;
        attend_some(w->kv, w->queries + begin, left < w->some ? left : w->some, item % heads,
                    scores, w->scores_stride);
    }
}

/* As kern_ops.attention. */
static void attend_all(const struct kern_ctx *ctx, const struct kern_kv_layer *kv,
                       const struct kern_query *queries, int32_t n_queries, float *scores,
                       size_t scores_stride)
{
    int64_t keys = 0;
    for (int32_t i = 0; i < n_queries; i++)
        keys += queries[i].n_keys;
    int threads = kern_threads(ctx, 2 * keys * kv->n_heads * kv->head_dim);
    struct attention work = {kv, queries, n_queries, KERN_QUERIES_AT_ONCE, scores, scores_stride};
    /* Work for all threads comes before fewer reads. */
    while (work.some > 1 && (n_queries + work.some - 1) / work.some * kv->n_heads < 2 * threads)
        work.some /= 2;
    kern_team(threads, attend_share, &work);
}

#endif
