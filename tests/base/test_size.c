/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_size.c - shapes from a hostile file cannot overflow, and blocks are zeroed and aligned.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/size.h"

static void a_product_that_does_not_fit_is_refused_and_leaves_the_result_alone(void **state)
{
    (void)state;
    size_t out = 77;
    assert_false(ltd_size_mul(SIZE_MAX / 2 + 1, 2, &out));
    assert_false(ltd_size_mul(SIZE_MAX, SIZE_MAX, &out));
    assert_int_equal(out, 77);
    assert_true(ltd_size_mul(SIZE_MAX / 2, 2, &out));
    assert_true(out == SIZE_MAX - 1);
    assert_true(ltd_size_mul(0, SIZE_MAX, &out));
    assert_int_equal(out, 0);
}

static void a_sum_that_does_not_fit_is_refused_and_leaves_the_result_alone(void **state)
{
    (void)state;
    size_t out = 77;
    assert_false(ltd_size_add(SIZE_MAX, 1, &out));
    assert_int_equal(out, 77);
    assert_true(ltd_size_add(SIZE_MAX - 1, 1, &out));
    assert_true(out == SIZE_MAX);
}

static void blocks_are_zeroed_and_aligned_for_kernels(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, 63, 64, 65, 4096, 1 << 20, 3 << 20};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        uint8_t *block = ltd_alloc(sizes[i], 1);
        assert_non_null(block);
        size_t align = sizes[i] >= (size_t)2 << 20 ? (size_t)2 << 20 : LTD_CACHE_LINE_BYTES;
        assert_int_equal((uintptr_t)block % align, 0);
        for (size_t at = 0; at < sizes[i]; at++)
            if (block[at] != 0)
                fail_msg("byte %zu of %zu is %d, expected 0", at, sizes[i], block[at]);
        ltd_free(block);
    }
}

static void an_impossible_block_is_null_and_not_a_crash(void **state)
{
    (void)state;
    assert_null(ltd_alloc(SIZE_MAX / 4, 8));
    assert_null(ltd_alloc(SIZE_MAX, 1));
    assert_null(ltd_alloc(SIZE_MAX - 10, 1));
}

static void an_empty_block_can_be_freed_like_any_other(void **state)
{
    (void)state;
    ltd_free(ltd_alloc(0, 8));
    errno = ENOENT;
    ltd_free(NULL);
    assert_int_equal(errno, ENOENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_product_that_does_not_fit_is_refused_and_leaves_the_result_alone),
        cmocka_unit_test(a_sum_that_does_not_fit_is_refused_and_leaves_the_result_alone),
        cmocka_unit_test(blocks_are_zeroed_and_aligned_for_kernels),
        cmocka_unit_test(an_impossible_block_is_null_and_not_a_crash),
        cmocka_unit_test(an_empty_block_can_be_freed_like_any_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
