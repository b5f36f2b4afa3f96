/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tests of daemon/pages: the account of KV pages is exact, contents are found when and only when
 * they are equal from the first page on, and the cache gives way.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/pages.h"

#define N_PAGES 64

static int32_t n_released[N_PAGES];

static void note_release(void *arg, int32_t page)
{
    (void)arg;
    n_released[page]++;
}

static void open_pages(struct pages *pages, int32_t max_cached)
{
    struct ltd_err err;
    memset(n_released, 0, sizeof n_released);
    assert_int_equal(pages_init(pages, N_PAGES, max_cached, &err), 0);
    pages->on_release = note_release;
}

static struct pages_content content(uint64_t seed, int32_t idx, uint64_t before, int32_t token)
{
    struct pages_content c = {
        .origin = {.seed = seed, .init_scale = seed ? 1 : 0}, .page_idx = idx, .before = before};
    for (int32_t i = 0; i < KERN_PAGE_POSITIONS; i++) {
        c.tokens[i] = token + i;
        c.depths[i] = 4;
    }
    return c;
}

/* free + held + cached = total, recounted from the pages themselves. */
static void check_account(const struct pages *pages)
{
    int32_t n_held = 0, n_shared = 0, n_cached = 0, n_list = 0;
    for (int32_t i = 0; i < N_PAGES; i++) {
        const struct page *p = &pages->pages[i];
        n_held += p->n_refs > 0;
        n_shared += p->n_refs > 1;
        n_cached += p->n_refs == 0 && p->serial != 0;
    }
    for (int32_t i = pages->oldest; i >= 0; i = pages->pages[i].newer)
        n_list++;
    assert_int_equal(pages_n_held(pages), n_held);
    assert_int_equal(pages->n_shared, n_shared);
    assert_int_equal(pages->n_cached, n_cached);
    assert_int_equal(n_list, n_cached);
    assert_int_equal(pages->n_free + n_held + n_cached, N_PAGES);
    assert_true(n_cached <= pages->max_cached);
    for (int32_t i = 0; i < pages->n_free; i++) {
        assert_int_equal(pages->pages[pages->free[i]].n_refs, 0);
        assert_int_equal(pages->pages[pages->free[i]].serial, 0);
    }
}

static void a_page_is_found_by_its_contents_and_by_nothing_less(void **state)
{
    (void)state;
    struct pages pages;
    int32_t got[2];
    open_pages(&pages, 8);
    assert_true(pages_take(&pages, 2, got));
    struct pages_content first = content(7, 0, 0, 100), second;
    uint64_t serial = pages_seal(&pages, got[0], &first);
    second = content(7, 1, serial, 200);
    pages_seal(&pages, got[1], &second);
    assert_int_equal(pages_find(&pages, &first), got[0]);
    assert_int_equal(pages_find(&pages, &second), got[1]);

    struct pages_content other = first;
    other.tokens[15]++;
    assert_int_equal(pages_find(&pages, &other), -1);
    other = first;
    other.depths[0]++;
    assert_int_equal(pages_find(&pages, &other), -1);
    other = first;
    other.origin.seed++;
    assert_int_equal(pages_find(&pages, &other), -1);
    other = first;
    other.origin.init_scale = 2;
    assert_int_equal(pages_find(&pages, &other), -1);
    other = first;
    other.origin.early_steps = 1;
    assert_int_equal(pages_find(&pages, &other), -1);
    other = first;
    other.page_idx = 1;
    assert_int_equal(pages_find(&pages, &other), -1);
    other = second;
    other.before++;
    assert_int_equal(pages_find(&pages, &other), -1);
    pages_drop(&pages, got[0]);
    pages_drop(&pages, got[1]);
    check_account(&pages);
    pages_fini(&pages);
}

static void a_chain_is_not_mistaken_after_its_first_page_was_reused(void **state)
{
    (void)state;
    struct pages pages;
    int32_t got[2], again;
    open_pages(&pages, 1);
    assert_true(pages_take(&pages, 2, got));
    struct pages_content first = content(0, 0, 0, 1);
    uint64_t old = pages_seal(&pages, got[0], &first);
    struct pages_content second = content(0, 1, old, 50);
    pages_seal(&pages, got[1], &second);
    pages_drop(&pages, got[0]); /* cached */
    pages_drop(&pages, got[1]); /* cached, and the first is evicted */
    check_account(&pages);
    assert_int_equal(pages_find(&pages, &first), -1);
    assert_true(pages_take(&pages, 1, &again));
    uint64_t fresh = pages_seal(&pages, again, &first);
    assert_true(fresh != old);
    second.before = fresh;
    assert_int_equal(pages_find(&pages, &second), -1);
    pages_drop(&pages, again);
    pages_fini(&pages);
}

static void of_two_equal_pages_one_is_found_and_the_other_is_plain(void **state)
{
    (void)state;
    struct pages pages;
    int32_t got[2];
    open_pages(&pages, 8);
    assert_true(pages_take(&pages, 2, got));
    struct pages_content c = content(3, 0, 0, 9);
    uint64_t serial = pages_seal(&pages, got[0], &c);
    assert_true(pages_seal(&pages, got[1], &c) == serial);
    pages_drop(&pages, got[1]);
    assert_int_equal(n_released[got[1]], 1);
    assert_int_equal(pages_find(&pages, &c), got[0]);
    pages_drop(&pages, got[0]);
    assert_int_equal(n_released[got[0]], 0);
    assert_int_equal(pages.n_cached, 1);
    check_account(&pages);
    pages_fini(&pages);
}

static void a_page_freed_twice_between_two_ticks_is_told_once(void **state)
{
    (void)state;
    struct pages pages;
    int32_t page;
    open_pages(&pages, 0);
    for (int i = 0; i < 3; i++) {
        assert_true(pages_take(&pages, 1, &page));
        pages_drop(&pages, page);
    }
    assert_int_equal(n_released[page], 3);
    assert_int_equal(pages.n_released, 1);
    pages_clear_released(&pages, 1);
    assert_true(pages_take(&pages, 1, &page));
    pages_drop(&pages, page);
    assert_int_equal(pages.n_released, 1);
    pages_fini(&pages);
}

/* Pages of finished jobs are as good as free, but only when nobody else has them. */
static void a_page_is_idle_when_only_finished_jobs_have_it(void **state)
{
    (void)state;
    struct pages pages;
    struct pages_content c = content(1, 0, 0, 0);
    int32_t page;
    open_pages(&pages, 2);
    assert_true(pages_take(&pages, 1, &page));
    pages_seal(&pages, page, &c);
    pages_rest(&pages, page);
    assert_int_equal(pages.n_idle, 1);
    pages_share(&pages, page);
    assert_int_equal(pages.n_idle, 0);
    pages_rest(&pages, page);
    assert_int_equal(pages.n_idle, 1); /* both have finished */
    pages_share(&pages, page);
    assert_int_equal(pages.n_idle, 0);
    pages_drop(&pages, page);
    assert_int_equal(pages.n_idle, 1);
    for (int i = 0; i < 2; i++) {
        pages_wake(&pages, page);
        assert_int_equal(pages.n_idle, 0);
        pages_drop(&pages, page);
        assert_int_equal(pages.n_idle, i == 0);
    }
    assert_int_equal(pages.n_cached, 1);
    check_account(&pages);
    pages_fini(&pages);
}

/* A small crowd of holders that take, share, seal, unseal and drop at random. */
static void no_page_is_lost_whatever_happens(void **state)
{
    (void)state;
    struct pages pages;
    int32_t held[256], n_held = 0;
    unsigned seed = 20261121;
    open_pages(&pages, 10);
    for (int step = 0; step < 200000; step++) {
        int32_t page;
        int what = rand_r(&seed) % 6;
        if (what < 2 && n_held < 200 && pages_take(&pages, 1, &page)) {
            held[n_held++] = page;
        } else if (what == 2 && n_held > 0) {
            page = held[rand_r(&seed) % n_held];
            struct pages_content c = content(rand_r(&seed) % 3, rand_r(&seed) % 4, 0, 0);
            if (!pages.pages[page].serial)
                pages_seal(&pages, page, &c);
        } else if (what == 3 && n_held < 200) {
            struct pages_content c = content(rand_r(&seed) % 3, rand_r(&seed) % 4, 0, 0);
            page = pages_find(&pages, &c);
            if (page >= 0) {
                pages_share(&pages, page);
                held[n_held++] = page;
            }
        } else if (what == 4 && n_held > 0) {
            page = held[rand_r(&seed) % n_held];
            if (pages.pages[page].n_refs == 1)
                pages_unseal(&pages, page);
        } else if (n_held > 0) {
            int i = rand_r(&seed) % n_held;
            page = held[i];
            held[i] = held[--n_held];
            pages_drop(&pages, page);
        }
        if (step % 7 == 0)
            pages_clear_released(&pages, pages.n_released);
        if (step % 50 == 0)
            check_account(&pages);
    }
    while (n_held > 0)
        pages_drop(&pages, held[--n_held]);
    check_account(&pages);
    assert_int_equal(pages_n_held(&pages), 0);
    assert_int_equal(pages_n_available(&pages), N_PAGES);
    int32_t all[N_PAGES];
    assert_false(pages_take(&pages, N_PAGES + 1, all));
    assert_true(pages_take(&pages, N_PAGES, all));
    check_account(&pages);
    pages_fini(&pages);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_page_is_found_by_its_contents_and_by_nothing_less),
        cmocka_unit_test(a_chain_is_not_mistaken_after_its_first_page_was_reused),
        cmocka_unit_test(of_two_equal_pages_one_is_found_and_the_other_is_plain),
        cmocka_unit_test(a_page_freed_twice_between_two_ticks_is_told_once),
        cmocka_unit_test(a_page_is_idle_when_only_finished_jobs_have_it),
        cmocka_unit_test(no_page_is_lost_whatever_happens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
