/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/kernels/test_selfcheck.c - a tier that computes wrongly is found out and refused before
 * use.
 *
 * The wrong tiers are the reference with one bit of one element changed, or with a treatment of
 * denormals and NaN that somebody could have implemented.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/bf16.h"
#include "kernels/candidates.h"
#include "kernels/dispatch.h"
#include "kernels/ref/ref.h"
#include "kernels/selfcheck.h"
#include "kernels/tiles.h"

/* The element that comes out wrong: of products in this format with so many positions. */
static struct {
    enum kern_format format;
    int32_t n_pos, row, position;
    bool is_off;
} fault;

static bool is_fused; /* see f32_of_tiers_over_tiles_is_compared_too */

static void matmul_one_bit_off(const struct kern_ctx *ctx, float *y, const struct kern_mat *mat,
                               const float *x, int32_t n_pos)
{
    uint32_t bits;
    kern_ref_matmul(ctx, y, mat, x, n_pos);
    if (!fault.is_off || mat->format != fault.format || n_pos != fault.n_pos)
        return;
    float *element = &y[fault.position * mat->rows + fault.row];
    memcpy(&bits, element, sizeof bits);
    bits ^= 1;
    memcpy(element, &bits, sizeof bits);
}

static float zero_if_denormal(float value)
{
    return fabsf(value) < 0x1p-126f ? copysignf(0.0f, value) : value;
}

/* The product of bf16 that one gets without care: `n_chains` chains of fused multiply-adds whose
 * results are not flushed, operands if asked for. Two chains per tile are the order of the
 * definition. */
static void plain_bf16(float *y, const struct kern_mat *mat, const float *x, int32_t n_pos,
                       int32_t n_chains, bool flush_operands)
{
    for (int32_t i = 0; i < n_pos * mat->rows; i++) {
        const uint16_t *w = (const uint16_t *)mat->data + i % mat->rows * mat->cols;
        const float *v = x + i / mat->rows * mat->cols;
        float sum = 0.0f;
        for (int32_t begin = 0; begin < mat->cols; begin += 32) {
            float chain[2] = {0.0f, 0.0f};
            for (int32_t c = begin; c < begin + 32 && c < mat->cols; c++) {
                float left = kern_bf16_widen(w[c]);
                float right = kern_bf16_widen(kern_bf16_round(v[c]));
                left = flush_operands ? zero_if_denormal(left) : left;
                right = flush_operands ? zero_if_denormal(right) : right;
                chain[c % n_chains] = fmaf(left, right, chain[c % n_chains]);
            }
            sum += chain[0] + chain[1];
        }
        y[i] = isnan(sum) ? NAN : sum;
    }
}

static void matmul_without_flushing(const struct kern_ctx *ctx, float *y,
                                    const struct kern_mat *mat, const float *x, int32_t n_pos)
{
    if (mat->format == KERN_BF16)
        plain_bf16(y, mat, x, n_pos, 2, false);
    else
        kern_ref_matmul(ctx, y, mat, x, n_pos);
}

static void matmul_flushing_operands_only(const struct kern_ctx *ctx, float *y,
                                          const struct kern_mat *mat, const float *x, int32_t n_pos)
{
    if (mat->format == KERN_BF16)
        plain_bf16(y, mat, x, n_pos, 2, true);
    else
        kern_ref_matmul(ctx, y, mat, x, n_pos);
}

static void matmul_in_index_order(const struct kern_ctx *ctx, float *y, const struct kern_mat *mat,
                                  const float *x, int32_t n_pos)
{
    if (mat->format == KERN_BF16)
        plain_bf16(y, mat, x, n_pos, 1, true);
    else
        kern_ref_matmul(ctx, y, mat, x, n_pos);
}

/* A NaN as the processor made it. */
static void matmul_with_another_nan(const struct kern_ctx *ctx, float *y,
                                    const struct kern_mat *mat, const float *x, int32_t n_pos)
{
    kern_ref_matmul(ctx, y, mat, x, n_pos);
    for (int32_t i = 0; i < n_pos * mat->rows; i++)
        if (isnan(y[i]))
            y[i] = -y[i];
}

static struct kern_ops fake(void (*matmul)(const struct kern_ctx *, float *,
                                           const struct kern_mat *, const float *, int32_t))
{
    struct kern_ops ops = kern_ref_ops;
    ops.name = "fake";
    ops.matmul = matmul;
    return ops;
}

static void one_bit_of_any_element_is_noticed_and_named(void **state)
{
    static const int32_t positions[] = {1, 3, 17, 65};
    const struct kern_ops wrong = fake(matmul_one_bit_off);
    char why[KERN_REFUSAL_BYTES] = "", expected[120];
    (void)state;
    assert_int_equal(kern_self_check(&wrong, why, sizeof why), 0);
    fault.is_off = true;
    for (int f = KERN_BF16; f < KERN_N_FORMATS; f++)
        for (int i = 0; i < 8; i++) {
            fault.format = (enum kern_format)f;
            fault.n_pos = positions[i / 2];
            fault.row = i % 2 ? 15 : 0;
            fault.position = i % 2 ? fault.n_pos - 1 : 0;
            assert_int_equal(kern_self_check(&wrong, why, sizeof why), -1);
            snprintf(expected, sizeof expected,
                     "with %d positions differs from its definition at row %d, "
                     "position %d: 0x",
                     fault.n_pos, fault.row, fault.position);
            if (!strstr(why, expected) || !strstr(why, kern_format_name(fault.format)))
                fail_msg("\"%s\", expected \"%s\"", why, expected);
        }
    fault.is_off = false;
}

static void wrong_denormals_nans_and_orders_are_noticed(void **state)
{
    const struct kern_ops no_flush = fake(matmul_without_flushing);
    const struct kern_ops half_flush = fake(matmul_flushing_operands_only);
    const struct kern_ops other_order = fake(matmul_in_index_order);
    const struct kern_ops other_nan = fake(matmul_with_another_nan);
    char why[KERN_REFUSAL_BYTES];
    (void)state;
    assert_int_equal(kern_self_check(&no_flush, why, sizeof why), -1);
    assert_int_equal(kern_self_check(&half_flush, why, sizeof why), -1);
    assert_int_equal(kern_self_check(&other_order, why, sizeof why), -1);
    assert_int_equal(kern_self_check(&other_nan, why, sizeof why), -1);
    assert_non_null(strstr(why, "0x7fc00000"));
}

/* A chain that is not fused, in a tier over tiles. */
static void f32_with_rounded_products(const struct kern_ctx *ctx, float *y,
                                      const struct kern_mat *mat, const float *x, int32_t n_pos)
{
    (void)ctx;
    for (int32_t i = 0; i < n_pos * mat->rows; i++) {
        const float *v = x + i / mat->rows * mat->cols;
        const uint8_t *panel = mat->data;
        const struct kern_tile_layout layout = kern_tile_layout_of(KERN_F32);
        int32_t row = i % mat->rows;
        float sum = 0.0f;
        panel += (size_t)(row / KERN_PANEL_ROWS) * kern_panel_bytes(&layout, mat->cols);
        for (int32_t begin = 0; begin < mat->cols; begin += 32) {
            float chain[2] = {0.0f, 0.0f}, w;
            for (int32_t c = begin; c < begin + 32 && c < mat->cols; c++) {
                memcpy(&w, panel + kern_tile_element_at(&layout, row % KERN_PANEL_ROWS, c),
                       sizeof w);
                chain[c % 2] = is_fused ? fmaf(w, v[c], chain[c % 2]) : chain[c % 2] + w * v[c];
            }
            sum += chain[0] + chain[1];
        }
        y[i] = isnan(sum) ? NAN : sum;
    }
}

static void f32_of_tiers_over_tiles_is_compared_too(void **state)
{
    struct kern_ops ops = fake(f32_with_rounded_products);
    char why[KERN_REFUSAL_BYTES] = "";
    (void)state;
    ops.formats = 1u << KERN_F32;
    ops.mat_pack = kern_tiles_mat_pack;
    is_fused = true;
    if (kern_self_check(&ops, why, sizeof why) != 0)
        fail_msg("%s", why);
    is_fused = false;
    assert_int_equal(kern_self_check(&ops, why, sizeof why), -1);
    assert_non_null(strstr(why, "f32 product of"));
}

/* ---- the list ------------------------------------------------------------------------------- */

static int n_asked;

static int accept(char *why, size_t size)
{
    (void)why, (void)size;
    n_asked++;
    return 0;
}

static int decline(char *why, size_t size)
{
    snprintf(why, size, "it is made of wood");
    return -1;
}

static void name_it(char *out, size_t size)
{
    snprintf(out, size, "name");
}

static void a_tier_that_fails_its_check_is_refused_and_the_next_one_taken(void **state)
{
    struct kern_ops wrong = fake(matmul_one_bit_off), wooden = kern_ref_ops;
    struct kern_tier_info info;
    struct ltd_err err = {0};
    (void)state;
    wooden.name = "wooden";
    struct kern_candidate list[] = {
        {.ops = &wooden, .what = "none", .check = decline, .id = name_it},
        {.ops = &wrong, .what = "wrong", .check = accept, .id = name_it},
        {.ops = &kern_ref_ops, .what = "right", .check = accept, .id = name_it},
    };
    fault.is_off = true;
    fault.format = KERN_BF16;
    fault.n_pos = 17;
    fault.row = 3;
    fault.position = 2;
    assert_ptr_equal(kern_candidates_find(list, 3, "auto", &err), &kern_ref_ops);
    assert_null(kern_candidates_find(list, 3, "fake", &err));
    assert_int_equal(err.code, LTD_E_UNIMPLEMENTED);
    assert_non_null(strstr(err.msg, "kernel tier fake does not run here: self-check: bf16"));
    assert_non_null(strstr(err.msg, "row 3, position 2"));
    kern_candidate_describe(&list[1], &info);
    assert_false(info.available);
    assert_true(info.differs);
    assert_non_null(strstr(info.refusal, "row 3, position 2"));
    kern_candidate_describe(&list[0], &info);
    assert_string_equal(info.refusal, "it is made of wood");
    assert_false(info.differs);
    assert_null(kern_candidates_find(list, 2, "auto", &err));
    assert_non_null(strstr(err.msg, "row 3, position 2"));
    fault.is_off = false;
}

static void a_verdict_is_given_once(void **state)
{
    struct kern_ops right = fake(matmul_one_bit_off);
    struct kern_candidate list[] = {
        {.ops = &right, .what = "right", .check = accept, .id = name_it}};
    struct ltd_err err = {0};
    (void)state;
    n_asked = 0;
    assert_ptr_equal(kern_candidates_find(list, 1, "fake", &err), &right);
    fault.is_off = true;
    assert_ptr_equal(kern_candidates_find(list, 1, "auto", &err), &right);
    fault.is_off = false;
    assert_int_equal(n_asked, 1);
}

/* Tests that go through the tiers of a machine see a tier that is refused as one that is not
 * there. */
static void no_tier_of_this_build_is_refused_for_its_bits(void **state)
{
    (void)state;
    for (int32_t t = 0; t < kern_tier_count(); t++) {
        struct kern_tier_info info;
        kern_tier_describe(t, &info);
        if (strstr(info.refusal, "self-check"))
            fail_msg("tier %s: %s", info.name, info.refusal);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_bit_of_any_element_is_noticed_and_named),
        cmocka_unit_test(wrong_denormals_nans_and_orders_are_noticed),
        cmocka_unit_test(f32_of_tiers_over_tiles_is_compared_too),
        cmocka_unit_test(a_tier_that_fails_its_check_is_refused_and_the_next_one_taken),
        cmocka_unit_test(a_verdict_is_given_once),
        cmocka_unit_test(no_tier_of_this_build_is_refused_for_its_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
