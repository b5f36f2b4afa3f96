/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/kernels/test_packed.c - a matrix that was laid down before gives the bits of one that is
 * packed now, used where it lies or copied, from whatever row on.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/dispatch.h"
#include "kernels/packed.h"
#include "random.h"

#define ROWS 75 /* four panels and eleven rows */
#define POS  3

static float weights[ROWS * 130], x[POS * 130];

static void draw(void)
{
    uint64_t seed = 11;
    for (size_t i = 0; i < sizeof weights / sizeof *weights; i++)
        weights[i] = (float)(int32_t)random_u32(&seed) * 0x1p-31f;
    for (size_t i = 0; i < sizeof x / sizeof *x; i++)
        x[i] = (float)(int32_t)random_u32(&seed) * 0x1p-31f;
}

static struct kern_mat pack(const struct kern_ctx *ctx, enum kern_format format, int32_t cols,
                            int32_t begin, int32_t end)
{
    const struct kern_rows part = {weights, KERN_DTYPE_F32, begin, end};
    struct kern_mat mat;
    struct ltd_err err = {0};
    if (ctx->ops->mat_pack(ctx, &mat, format, &part, 1, cols, &err) != 0)
        fail_msg("mat_pack: %s", err.msg);
    return mat;
}

static struct kern_packed whole_of(const struct kern_mat *mat)
{
    return (struct kern_packed){mat->format,
                                mat->rows,
                                mat->cols,
                                {kern_packed_part_of(mat, KERN_PACKED_TILES),
                                 kern_packed_part_of(mat, KERN_PACKED_SCALES)}};
}

/* Same shape, same bytes, same rows, same products. */
static void compare(const struct kern_ctx *ctx, const struct kern_mat *found,
                    const struct kern_mat *expected, int32_t begin)
{
    static float a[POS * ROWS], b[POS * ROWS], row_a[130], row_b[130];
    assert_int_equal(found->rows, expected->rows);
    assert_int_equal(found->cols, expected->cols);
    assert_int_equal(found->bytes, expected->bytes);
    ctx->ops->matmul(ctx, a, found, x, POS);
    ctx->ops->matmul(ctx, b, expected, x, POS);
    if (memcmp(a, b, (size_t)(POS * found->rows) * sizeof *a) != 0)
        fail_msg("%s, %s, K %d, rows [%d, +%d): products differ", ctx->ops->name,
                 kern_format_name(found->format), found->cols, begin, found->rows);
    for (int32_t r = 0; r < found->rows; r++) {
        ctx->ops->mat_row(ctx, found, r, row_a);
        ctx->ops->mat_row(ctx, expected, r, row_b);
        assert_memory_equal(row_a, row_b, (size_t)found->cols * sizeof *row_a);
    }
}

static void check_rows(const struct kern_ctx *ctx, const struct kern_packed *src, int32_t begin,
                       int32_t end)
{
    struct kern_mat expected = pack(ctx, src->format, src->cols, begin, end), found;
    struct ltd_err err = {0};
    if (kern_packed_new(&found, src->format, end - begin, src->cols, &err) != 0)
        fail_msg("kern_packed_new: %s", err.msg);
    kern_packed_copy_rows(&found, 0, src, begin, end - begin);
    compare(ctx, &found, &expected, begin);
    assert_false(found.is_borrowed);
    kern_mat_fini(&found);
    if (begin % KERN_PACKED_ROWS == 0 && (end % KERN_PACKED_ROWS == 0 || end == src->rows)) {
        if (kern_packed_borrow(&found, src, begin, end, &err) != 0)
            fail_msg("kern_packed_borrow: %s", err.msg);
        compare(ctx, &found, &expected, begin);
        assert_true(found.is_borrowed);
        kern_mat_fini(&found);
        assert_null(found.data);
    }
    kern_mat_fini(&expected);
}

/* What a tool writes is what a tier packs. */
static void expect_file_bytes(enum kern_format format, int32_t cols, const struct kern_mat *mat)
{
    const struct kern_rows part = {weights, KERN_DTYPE_F32, 0, ROWS};
    struct kern_mat written;
    struct ltd_err err = {0};
    if (kern_packed_pack(2, &written, format, &part, 1, cols, &err) != 0)
        fail_msg("kern_packed_pack: %s", err.msg);
    assert_int_equal(written.bytes, mat->bytes);
    assert_memory_equal(written.data, mat->data, mat->bytes);
    kern_mat_fini(&written);
}

static void check_format(const struct kern_ctx *ctx, enum kern_format format, int32_t cols)
{
    static const struct {
        int32_t begin, end;
    } ranges[] = {{0, ROWS}, {0, 16}, {16, 48}, {48, ROWS}, {64, ROWS}, {0, 0},
                  {1, 2},    {5, 37}, {15, 17}, {32, 41},   {33, ROWS}};
    struct kern_mat mat = pack(ctx, format, cols, 0, ROWS);
    struct kern_packed src = whole_of(&mat);
    size_t bytes;
    assert_true(kern_packed_bytes(format, ROWS, cols, &bytes));
    assert_int_equal(bytes, mat.bytes);
    expect_file_bytes(format, cols, &mat);
    for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++)
        check_rows(ctx, &src, ranges[i].begin, ranges[i].end);
    kern_mat_fini(&mat);
}

static void any_rows_of_a_packed_matrix_are_those_of_one_packed_now(void **state)
{
    int n_taken = 0;
    (void)state;
    draw();
    for (int32_t t = 0; t < kern_tier_count(); t++) {
        struct kern_tier_info info;
        kern_tier_describe(t, &info);
        struct kern_ctx ctx = {info.available ? kern_tier_find(info.name, NULL) : NULL, 2, 0};
        if (!ctx.ops || !kern_packed_taken_by(ctx.ops))
            continue;
        n_taken++;
        for (int f = 0; f < KERN_N_FORMATS; f++)
            for (int32_t cols = 1; cols <= 130; cols += cols < 32 ? 31 : 49)
                if (kern_tier_has(ctx.ops, (enum kern_format)f))
                    check_format(&ctx, (enum kern_format)f, cols);
    }
    if (n_taken == 0)
        print_message("no tier of this machine takes packed matrices\n");
    assert_false(kern_packed_taken_by(kern_tier_find("ref", NULL)));
}

static void shapes_that_a_format_cannot_have_are_refused(void **state)
{
    struct kern_mat mat;
    struct ltd_err err = {0};
    struct kern_packed src = {KERN_INT8, 16, 200000, {(const uint8_t *)"", (const uint8_t *)""}};
    (void)state;
    assert_int_equal(kern_packed_new(&mat, KERN_INT8, 16, 200000, &err), -1);
    assert_int_equal(err.code, LTD_E_UNIMPLEMENTED);
    assert_non_null(strstr(err.msg, "200000 columns in int8"));
    assert_int_equal(kern_packed_borrow(&mat, &src, 0, 16, &err), -1);
    assert_non_null(strstr(err.msg, "200000 columns in int8"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_rows_of_a_packed_matrix_are_those_of_one_packed_now),
        cmocka_unit_test(shapes_that_a_format_cannot_have_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
