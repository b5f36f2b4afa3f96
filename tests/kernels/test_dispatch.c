/* SPDX-License-Identifier: Apache-2.0 */
/* tests/kernels/test_dispatch.c - choosing a tier, and the fingerprint that ranks compare. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/dispatch.h"
#include "kernels/fingerprint.h"

static const struct kern_ops *base;

static void auto_takes_the_first_tier_that_runs(void **state)
{
    struct kern_tier_info info;
    struct ltd_err err = {0};
    (void)state;
    const struct kern_ops *ops = kern_tier_find("auto", &err);
    assert_non_null(ops);
    for (int32_t i = 0; i < kern_tier_count(); i++) {
        kern_tier_describe(i, &info);
        if (info.available)
            break;
        assert_true(info.refusal[0] != '\0');
    }
    assert_string_equal(ops->name, info.name);
}

static void every_tier_is_found_by_its_name_or_says_why_not(void **state)
{
    (void)state;
    for (int32_t i = 0; i < kern_tier_count(); i++) {
        struct kern_tier_info info;
        struct ltd_err err = {0};
        char id[64];
        kern_tier_describe(i, &info);
        const struct kern_ops *ops = kern_tier_find(info.name, &err);
        if (!info.available) {
            assert_null(ops);
            assert_non_null(strstr(err.msg, info.refusal));
            continue;
        }
        assert_string_equal(ops->name, info.name);
        kern_tier_id(ops, id, sizeof id);
        assert_memory_equal(id, info.name, strlen(info.name));
    }
}

static void an_unknown_tier_is_refused_with_the_known_ones(void **state)
{
    struct ltd_err err = {0};
    (void)state;
    assert_null(kern_tier_find("fastest", &err));
    assert_int_equal(err.code, LTD_E_NOT_FOUND);
    assert_non_null(strstr(err.msg, "fastest"));
    assert_non_null(strstr(err.msg, "openblas"));
    assert_non_null(strstr(err.msg, "ref"));
}

static uint64_t fingerprint(const struct kern_ops *ops, int32_t threads)
{
    struct kern_ctx ctx = {ops, threads, 0};
    struct ltd_err err = {0};
    uint64_t out = 0;
    if (kern_fingerprint(&ctx, &out, &err) != 0)
        fail_msg("kern_fingerprint: %s", err.msg);
    return out;
}

static void the_fingerprint_is_the_same_every_time_and_for_all_thread_counts(void **state)
{
    (void)state;
    for (int32_t i = 0; i < kern_tier_count(); i++) {
        struct kern_tier_info info;
        kern_tier_describe(i, &info);
        if (!info.available)
            continue;
        const struct kern_ops *ops = kern_tier_find(info.name, NULL);
        uint64_t first = fingerprint(ops, 1);
        assert_true(first == fingerprint(ops, 1));
        assert_true(first == fingerprint(ops, 3));
    }
}

static void matmul_one_bit_off(const struct kern_ctx *ctx, float *y, const struct kern_mat *mat,
                               const float *x, int32_t n_pos)
{
    base->matmul(ctx, y, mat, x, n_pos);
    if (mat->cols == 10560)
        y[5] = nextafterf(y[5], INFINITY);
}

static void rope_one_bit_off(const struct kern_ctx *ctx, float *x, const float *bias,
                             const float *cos_sin, int32_t n_heads, int32_t head_dim)
{
    base->rope(ctx, x, bias, cos_sin, n_heads, head_dim);
    x[n_heads * head_dim - 1] = nextafterf(x[n_heads * head_dim - 1], INFINITY);
}

static void bf16_attention_one_bit_off(const struct kern_ctx *ctx, const struct kern_kv_layer *kv,
                                       const struct kern_query *queries, int32_t n_queries,
                                       float *scores, size_t scores_stride)
{
    base->attention(ctx, kv, queries, n_queries, scores, scores_stride);
    if (kv->format == KERN_KV_BF16)
        queries[0].out[7] = nextafterf(queries[0].out[7], INFINITY);
}

static void the_fingerprint_sees_one_bit_of_one_kernel(void **state)
{
    (void)state;
    base = kern_tier_find("auto", NULL);
    uint64_t right = fingerprint(base, 1);
    struct kern_ops wrapped = *base;
    wrapped.matmul = matmul_one_bit_off;
    assert_true(fingerprint(&wrapped, 1) != right);
    wrapped = *base;
    wrapped.rope = rope_one_bit_off;
    assert_true(fingerprint(&wrapped, 1) != right);
    wrapped = *base;
    wrapped.attention = bf16_attention_one_bit_off;
    assert_true(fingerprint(&wrapped, 1) != right);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(auto_takes_the_first_tier_that_runs),
        cmocka_unit_test(every_tier_is_found_by_its_name_or_says_why_not),
        cmocka_unit_test(an_unknown_tier_is_refused_with_the_known_ones),
        cmocka_unit_test(the_fingerprint_is_the_same_every_time_and_for_all_thread_counts),
        cmocka_unit_test(the_fingerprint_sees_one_bit_of_one_kernel),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
