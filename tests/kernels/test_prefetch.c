/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/kernels/test_prefetch.c - the cursor asks for every byte once, in the promised order, one
 * block ahead of what is used.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "kernels/prefetch.h"

#define PAGES 8
#define BLOCK ((size_t)PAGES * KERN_PREFETCH_PAGE)

/* Never read: the cursor's addresses are compared, not followed. */
static const uint8_t *const data = (const uint8_t *)(uintptr_t)(1u << 20);

static struct kern_cursor cursor_over(size_t segment_bytes, size_t n_segments, size_t distance)
{
    struct kern_cursor c;
    const struct kern_stream stream = {data, segment_bytes, n_segments, distance};
    kern_cursor_init(&c, &stream, PAGES);
    return c;
}

static void a_block_is_asked_for_a_step_of_each_page_in_turn(void **state)
{
    struct kern_cursor c = cursor_over(2 * BLOCK, 1, 0);
    (void)state;
    for (size_t block = 0; block < 2; block++)
        for (size_t part = 0; part < 8; part++)
            for (size_t page = 0; page < PAGES; page++) {
                size_t expected = block * BLOCK + page * 4096 + part * 512;
                assert_int_equal(kern_cursor_next(&c) - data, expected);
            }
    assert_null(kern_cursor_next(&c));
    assert_null(kern_cursor_next(&c));
}

/* Segments and gaps of any size, the last block short. */
static void every_byte_of_every_segment_is_asked_for_once_and_nothing_else(void **state)
{
    static const size_t shapes[][3] = {{512, 1, 512},         {1024, 7, 169984},
                                       {16384, 5, 169984},    {169984, 3, 169984},
                                       {33 * 512, 20, 40960}, {4096 * 9, 2, 90112}};
    (void)state;
    for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++) {
        size_t bytes = shapes[s][0], n = shapes[s][1], distance = shapes[s][2];
        size_t slots = n * distance / KERN_PREFETCH_STEP + 1;
        uint8_t *seen = calloc(slots, 1);
        assert_non_null(seen);
        struct kern_cursor c = cursor_over(bytes, n, distance);
        const uint8_t *at;
        while ((at = kern_cursor_next(&c)) != NULL) {
            size_t offset = (size_t)(at - data);
            assert_int_equal(offset % KERN_PREFETCH_STEP, 0);
            assert_in_range(offset / KERN_PREFETCH_STEP, 0, slots - 1);
            seen[offset / KERN_PREFETCH_STEP]++;
        }
        for (size_t i = 0; i < slots; i++) {
            size_t offset = i * KERN_PREFETCH_STEP;
            int expected = offset / distance < n && offset % distance < bytes;
            if (seen[i] != expected)
                fail_msg("shape %zu: byte %zu asked for %d times, expected %d", s, offset, seen[i],
                         expected);
        }
        free(seen);
    }
}

/* Segments side by side are one piece, whatever their size. */
static void pieces_that_touch_are_asked_for_as_one(void **state)
{
    struct kern_cursor c = cursor_over(9 * 576, 3, 9 * 576);
    uint64_t seen = 0;
    const uint8_t *at;
    (void)state;
    while ((at = kern_cursor_next(&c)) != NULL)
        seen |= 1ull << ((size_t)(at - data) / KERN_PREFETCH_STEP);
    assert_int_equal(seen, (1ull << (27 * 576 + 511) / KERN_PREFETCH_STEP) - 1);
}

/* Bytes that the cursor has asked for so far; total_bytes is a whole number of blocks. */
static size_t asked(const struct kern_cursor *c)
{
    return c->block + (c->part * c->n_pages + c->page) * KERN_PREFETCH_STEP;
}

static void what_is_asked_for_stays_one_block_ahead_of_what_is_used(void **state)
{
    (void)state;
    for (size_t price = 1; price <= 11; price++) {
        struct kern_cursor c = cursor_over(4 * BLOCK, 1, 0);
        c.price = price;
        kern_cursor_fill(&c);
        assert_int_equal(asked(&c), BLOCK);
        /* Chunks of 16 KiB, each used once for every group of positions, tile by tile. */
        for (size_t chunk = 0; chunk < 3 * BLOCK / 16384; chunk++)
            for (size_t group = 0; group < price; group++)
                for (size_t tile = 0; tile < 16; tile++) {
                    size_t paid = chunk * 16384 + (group * 16 + tile + 1) * 1024 / price;
                    kern_cursor_used(&c, 1024);
                    assert_in_range(asked(&c), BLOCK + paid - 511, BLOCK + paid);
                }
        assert_int_equal(asked(&c), 4 * BLOCK);
        kern_cursor_used(&c, BLOCK * price);
        assert_int_equal(asked(&c), 4 * BLOCK);
    }
    kern_cursor_used(NULL, 1024);
}

static void asking_pays_for_more_than_a_cache_and_not_for_a_few_lines(void **state)
{
    (void)state;
    assert_true(kern_prefetch_pays((size_t)1 << 40));
    assert_true(kern_prefetch_pays((size_t)1 << 40));
    long bytes = sysconf(_SC_LEVEL2_CACHE_SIZE);
    if (bytes > 0) {
        assert_false(kern_prefetch_pays(4096));
        assert_true(kern_prefetch_pays((size_t)bytes));
    } else {
        assert_true(kern_prefetch_pays(4096));
    }
}

static void what_is_left_is_asked_for_at_once(void **state)
{
    struct kern_cursor c = cursor_over(BLOCK, 1, 0);
    (void)state;
    kern_cursor_used(&c, BLOCK / 2);
    assert_int_equal(c.block, 0);
    kern_cursor_drain(&c);
    assert_null(kern_cursor_next(&c));
    kern_cursor_drain(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_block_is_asked_for_a_step_of_each_page_in_turn),
        cmocka_unit_test(every_byte_of_every_segment_is_asked_for_once_and_nothing_else),
        cmocka_unit_test(pieces_that_touch_are_asked_for_as_one),
        cmocka_unit_test(what_is_asked_for_stays_one_block_ahead_of_what_is_used),
        cmocka_unit_test(asking_pays_for_more_than_a_cache_and_not_for_a_few_lines),
        cmocka_unit_test(what_is_left_is_asked_for_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
