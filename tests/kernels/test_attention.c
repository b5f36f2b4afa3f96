/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/kernels/test_attention.c - attention over pages: against a double oracle, and equal bits in
 * every tier, for every number of threads and whatever else is in the call; over a bf16 pool the
 * bits of an f32 pool that holds the same numbers.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/size.h"
#include "kernels/bf16.h"
#include "kernels/dispatch.h"
#include "random.h"

#define HEADS     3
#define DIM       44 /* vectors of eight and four by the handful, alone, and what is left */
#define PLANES    4
#define MAX_KEYS  70
#define N_PAGES   8
#define N_QUERIES 40
#define STRIDE    96

struct scene {
    float *pool;
    uint16_t *halves;          /* of scene_new_rounded: the same numbers in bf16 */
    struct kern_kv_layer kv;   /* of pool */
    struct kern_kv_layer kv16; /* of halves */
    float q[N_QUERIES][HEADS * DIM];
    float out[N_QUERIES][HEADS * DIM];
    int16_t planes[N_QUERIES][MAX_KEYS];
    struct kern_query queries[N_QUERIES];
    float scores[8 * KERN_QUERIES_AT_ONCE * STRIDE];
};

/* Five pages cover 80 keys. Two tables with the same pages: only neighbours with one table share
 * reads, which must not show. */
static const int32_t page_order[] = {6, 0, 3, 7, 1}, same_order[] = {6, 0, 3, 7, 1};

/* Some queries read one plane throughout, some mix planes inside a page, some skip keys. */
static int16_t plane_for(int32_t query, int32_t key, uint64_t *random)
{
    if (query % 3 == 0)
        return (int16_t)(query % PLANES);
    if (query % 3 == 1)
        return (int16_t)(random_u32(random) % PLANES);
    return (int16_t)(random_u32(random) % 4 == 0 && key > 0 ? -1 : (int)(random_u32(random) % 2));
}

static struct scene *scene_new(void)
{
    struct scene *s = calloc(1, sizeof *s);
    assert_non_null(s);
    size_t plane = 2 * HEADS * DIM * KERN_PAGE_POSITIONS;
    s->pool = ltd_alloc(N_PAGES * PLANES * plane, sizeof *s->pool);
    assert_non_null(s->pool);
    random_fill(s->pool, N_PAGES * PLANES * plane, 1.5f, 11);
    s->kv = (struct kern_kv_layer){.pool = s->pool,
                                   .format = KERN_KV_F32,
                                   .page_stride = PLANES * plane,
                                   .plane_stride = plane,
                                   .n_heads = HEADS,
                                   .head_dim = DIM};
    uint64_t random = 5;
    for (int32_t i = 0; i < N_QUERIES; i++) {
        int32_t n_keys = 1 + (i * 7) % MAX_KEYS;
        random_fill(s->q[i], HEADS * DIM, 2.0f, (uint64_t)i + 50);
        for (int32_t j = 0; j < n_keys; j++)
            s->planes[i][j] = plane_for(i, j, &random);
        s->queries[i] = (struct kern_query){
            s->q[i], s->out[i], i % 11 < 4 ? same_order : page_order, s->planes[i], n_keys};
    }
    return s;
}

/* A scene whose numbers all are bf16, in both formats. */
static struct scene *scene_new_rounded(void)
{
    struct scene *s = scene_new();
    size_t n = N_PAGES * s->kv.page_stride;
    s->halves = ltd_alloc(n, sizeof *s->halves);
    assert_non_null(s->halves);
    for (size_t i = 0; i < n; i++) {
        s->halves[i] = kern_bf16_round(s->pool[i]);
        s->pool[i] = kern_bf16_widen(s->halves[i]);
    }
    s->kv16 = s->kv;
    s->kv16.pool = s->halves;
    s->kv16.format = KERN_KV_BF16;
    return s;
}

static void scene_free(struct scene *s)
{
    ltd_free(s->halves);
    ltd_free(s->pool);
    free(s);
}

static void run_over(struct scene *s, const struct kern_kv_layer *kv, const struct kern_ops *ops,
                     int32_t threads)
{
    struct kern_ctx ctx = {ops, threads, 0};
    memset(s->out, 0xFF, sizeof s->out);
    ops->attention(&ctx, kv, s->queries, N_QUERIES, s->scores, STRIDE);
}

static void run(struct scene *s, const struct kern_ops *ops, int32_t threads)
{
    run_over(s, &s->kv, ops, threads);
}

static const struct kern_ops *tier(const char *name)
{
    struct ltd_err err = {0};
    const struct kern_ops *ops = kern_tier_find(name, &err);
    assert_non_null(ops);
    return ops;
}

static double key_at(const struct scene *s, int32_t i, int32_t j, int32_t head, int32_t c)
{
    const float *plane = s->pool + (size_t)page_order[j / 16] * s->kv.page_stride +
                         (size_t)s->planes[i][j] * s->kv.plane_stride;
    return (double)plane[(head * DIM + c) * 16 + j % 16];
}

static double value_at(const struct scene *s, int32_t i, int32_t j, int32_t head, int32_t c)
{
    const float *plane = s->pool + (size_t)page_order[j / 16] * s->kv.page_stride +
                         (size_t)s->planes[i][j] * s->kv.plane_stride;
    return (double)plane[HEADS * DIM * 16 + (head * 16 + j % 16) * DIM + c];
}

static void check_against_double(const struct scene *s, int32_t i, int32_t head)
{
    double weights[MAX_KEYS], sum = 0.0;
    for (int32_t j = 0; j < s->queries[i].n_keys; j++) {
        double score = 0.0;
        weights[j] = 0.0;
        if (s->planes[i][j] < 0)
            continue;
        for (int32_t c = 0; c < DIM; c++)
            score += (double)s->q[i][head * DIM + c] * key_at(s, i, j, head, c);
        weights[j] = exp(score / sqrt(DIM));
        sum += weights[j];
    }
    for (int32_t c = 0; c < DIM; c++) {
        double expected = 0.0;
        for (int32_t j = 0; j < s->queries[i].n_keys; j++)
            if (s->planes[i][j] >= 0)
                expected += weights[j] / sum * value_at(s, i, j, head, c);
        /* Scores of at most 44 * 2 * 1.5 / sqrt(44) carry 44 roundings, which the exponential
         * passes
         * on: some 20 * 44 * 2^-24 relative, in a weight and in their sum, times values of at most
         * 1.5. */
        if (!(fabs((double)s->out[i][head * DIM + c] - expected) <= 1.6e-4))
            fail_msg("query %d head %d element %d: %.9g, expected %.9g", i, head, c,
                     (double)s->out[i][head * DIM + c], expected);
    }
}

static void attention_is_the_weighted_mean_of_visible_values(void **state)
{
    (void)state;
    struct scene *s = scene_new();
    for (int32_t t = 0; t < kern_tier_count(); t++) {
        struct kern_tier_info info;
        kern_tier_describe(t, &info);
        if (!info.available)
            continue;
        run(s, tier(info.name), 1);
        for (int32_t i = 0; i < N_QUERIES; i++)
            for (int32_t h = 0; h < HEADS; h++)
                check_against_double(s, i, h);
    }
    scene_free(s);
}

static void all_tiers_and_thread_counts_give_the_same_bits(void **state)
{
    static float expected[N_QUERIES][HEADS * DIM];
    (void)state;
    struct scene *s = scene_new();
    run(s, tier("ref"), 1);
    memcpy(expected, s->out, sizeof expected);
    for (int32_t t = 0; t < kern_tier_count(); t++) {
        struct kern_tier_info info;
        kern_tier_describe(t, &info);
        for (int32_t n = 1; info.available && n <= 8; n++) {
            run(s, tier(info.name), n);
            if (memcmp(expected, s->out, sizeof expected) != 0)
                fail_msg("tier %s with %d threads differs from ref", info.name, n);
        }
    }
    scene_free(s);
}

static void a_query_alone_and_in_company_has_the_same_bits(void **state)
{
    static float expected[N_QUERIES][HEADS * DIM];
    (void)state;
    struct scene *s = scene_new();
    const struct kern_ops *ops = tier("openblas");
    struct kern_ctx ctx = {ops, 2, 0};
    run(s, ops, 2);
    memcpy(expected, s->out, sizeof expected);
    memset(s->out, 0, sizeof s->out);
    for (int32_t i = N_QUERIES; i-- > 0;)
        ops->attention(&ctx, &s->kv, &s->queries[i], 1, s->scores, STRIDE);
    assert_memory_equal(expected, s->out, sizeof expected);
    scene_free(s);
}

/* What stands behind the last key or in a skipped one may be anything, even NaN. */
static void keys_that_are_not_visible_do_not_matter(void **state)
{
    static float expected[HEADS * DIM];
    (void)state;
    for (int t = 0; t < 2; t++) {
        struct scene *s = scene_new();
        const struct kern_ops *ops = tier(t ? "openblas" : "ref");
        struct kern_ctx ctx = {ops, 1, 0};
        struct kern_query query = s->queries[0];
        query.n_keys = 5;
        for (int32_t j = 0; j < 5; j++)
            s->planes[0][j] = 2;
        ops->attention(&ctx, &s->kv, &query, 1, s->scores, STRIDE);
        memcpy(expected, s->out[0], sizeof expected);
        float *plane = s->pool + (size_t)page_order[0] * s->kv.page_stride + 2 * s->kv.plane_stride;
        for (size_t row = 0; row < HEADS * DIM; row++)
            for (size_t lane = 5; lane < 16; lane++)
                plane[row * 16 + lane] = NAN;
        for (size_t h = 0; h < HEADS; h++)
            for (size_t lane = 5; lane < 16; lane++)
                plane[HEADS * DIM * 16 + (h * 16 + lane) * DIM] = NAN;
        ops->attention(&ctx, &s->kv, &query, 1, s->scores, STRIDE);
        assert_memory_equal(expected, s->out[0], sizeof expected);
        scene_free(s);
    }
}

static void bf16_attention_has_the_bits_of_f32_attention_over_the_same_numbers(void **state)
{
    static float expected[N_QUERIES][HEADS * DIM];
    (void)state;
    struct scene *s = scene_new_rounded();
    for (int32_t t = 0; t < kern_tier_count(); t++) {
        struct kern_tier_info info;
        kern_tier_describe(t, &info);
        if (!info.available)
            continue;
        run(s, tier(info.name), 1);
        memcpy(expected, s->out, sizeof expected);
        for (int32_t n = 1; n <= 8; n++) {
            run_over(s, &s->kv16, tier(info.name), n);
            if (memcmp(expected, s->out, sizeof expected) != 0)
                fail_msg("tier %s with %d threads: bf16 differs from f32", info.name, n);
        }
        for (int32_t i = 0; i < N_QUERIES; i++)
            for (int32_t h = 0; h < HEADS; h++)
                check_against_double(s, i, h);
    }
    scene_free(s);
}

/* Infinite and missing numbers must reach the sum as what they are. */
static void bf16_attention_sees_infinities_and_nans(void **state)
{
    (void)state;
    for (int t = 0; t < 2; t++) {
        struct scene *s = scene_new_rounded();
        size_t plane = (size_t)page_order[0] * s->kv.page_stride, value = HEADS * DIM * 16;
        const struct kern_ops *ops = tier(t ? "openblas" : "ref");
        s->halves[plane + value] = 0x7F80;     /* query 0: head 0, key 0, element 0 */
        s->halves[plane + value + 1] = 0x7FC0; /* element 1 */
        run_over(s, &s->kv16, ops, 1);
        assert_true(isinf(s->out[0][0]));
        assert_true(isnan(s->out[0][1]));
        assert_true(isfinite(s->out[0][2]));
        scene_free(s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(attention_is_the_weighted_mean_of_visible_values),
        cmocka_unit_test(all_tiers_and_thread_counts_give_the_same_bits),
        cmocka_unit_test(a_query_alone_and_in_company_has_the_same_bits),
        cmocka_unit_test(keys_that_are_not_visible_do_not_matter),
        cmocka_unit_test(bf16_attention_has_the_bits_of_f32_attention_over_the_same_numbers),
        cmocka_unit_test(bf16_attention_sees_infinities_and_nans),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
