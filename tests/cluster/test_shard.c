/* SPDX-License-Identifier: Apache-2.0 */
/* tests/cluster/test_shard.c - the shard plan covers everything once, whatever ranks and shares. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "cluster/shard.h"
#include "model/shard.h"

/* A small generator of our own, so that a failure is the same on every run. */
static uint64_t next_random(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return *state >> 33;
}

static void assert_message(const struct ltd_err *err, const char *part)
{
    if (!strstr(err->msg, part))
        fail_msg("message \"%s\" does not have \"%s\"", err->msg, part);
}

static void parts_tile_the_total_and_stay_within_one_row_of_their_quota(void **state)
{
    (void)state;
    uint64_t random = 1;
    for (int round = 0; round < 2000; round++) {
        int32_t n = 1 + (int32_t)(next_random(&random) % 40);
        int32_t total = (int32_t)(next_random(&random) % 20000);
        double shares[40], sum = 0.0;
        int32_t begin[41];
        for (int32_t i = 0; i < n; i++)
            sum += shares[i] = 0.001 * (double)(1 + next_random(&random) % 100000);
        clus_split(total, shares, n, begin);
        assert_int_equal(begin[0], 0);
        assert_int_equal(begin[n], total);
        for (int32_t i = 0; i < n; i++) {
            double quota = total * (shares[i] / sum);
            double size = begin[i + 1] - begin[i];
            if (size < 0 || fabs(size - quota) > 1.0 + 1e-9)
                fail_msg("total %d, part %d of %d: %g rows for a quota of %g", total, i, n, size,
                         quota);
        }
    }
}

static void equal_shares_differ_by_at_most_one_row_and_the_first_ranks_have_more(void **state)
{
    (void)state;
    for (int32_t n = 1; n <= 64; n++) {
        double shares[64];
        int32_t begin[65];
        for (int32_t i = 0; i < n; i++)
            shares[i] = 1.0;
        clus_split(55, shares, n, begin);
        for (int32_t i = 0; i < n; i++)
            assert_int_equal(begin[i + 1] - begin[i], 55 / n + (i < 55 % n));
    }
}

static void scaling_all_shares_by_a_power_of_two_changes_nothing(void **state)
{
    (void)state;
    const double shares[] = {1, 3, 2.5, 0.25}, scaled[] = {4, 12, 10, 1};
    int32_t a[5], b[5];
    clus_split(17920, shares, 4, a);
    clus_split(17920, scaled, 4, b);
    assert_memory_equal(a, b, sizeof a);
}

static void plan_of_the_published_shape_on_three_ranks_is_the_one_in_the_header(void **state)
{
    (void)state;
    const struct clus_shard_shape shape = {.n_heads = 55, .n_embd = 5280, .intermediate = 17920};
    struct model_shard shards[3];
    double shares[3];
    struct ltd_err err = {0};
    assert_int_equal(clus_shares_parse("1,1,2", 3, shares, &err), 0);
    assert_int_equal(clus_shard_plan(&shape, shares, 3, shards, &err), 0);
    assert_int_equal(shards[0].head_end, 14);
    assert_int_equal(shards[1].head_end, 28);
    assert_int_equal(shards[2].head_end, 55);
    assert_int_equal(shards[1].embd_end, 2640);
    assert_int_equal(shards[2].fc_begin, 8960);
    assert_int_equal(shards[2].fc_end, 17920);
}

/* Whole panels are what a packed model lends, docs/packed-models.md. */
static void rows_are_cut_in_panels_where_ranks_have_several_and_cover_everything(void **state)
{
    (void)state;
    uint64_t random = 3;
    int n_cut = 0;
    for (int round = 0; round < 2000; round++) {
        const struct clus_shard_shape shape = {.n_heads = 1 + (int32_t)(next_random(&random) % 60),
                                               .n_embd = 1 + (int32_t)(next_random(&random) % 6000),
                                               .intermediate =
                                                   1 + (int32_t)(next_random(&random) % 18000)};
        int32_t n = 1 + (int32_t)(next_random(&random) % 40);
        struct model_shard shards[40];
        double shares[40];
        for (int32_t i = 0; i < n; i++)
            shares[i] = 0.1 * (double)(1 + next_random(&random) % 30);
        assert_int_equal(clus_shard_plan(&shape, shares, n, shards, NULL), 0);
        int32_t embd = 0, fc = 0;
        for (int32_t i = 0; i < n; i++) {
            assert_int_equal(shards[i].embd_begin, embd);
            assert_int_equal(shards[i].fc_begin, fc);
            assert_true(shards[i].embd_end >= embd && shards[i].fc_end >= fc);
            embd = shards[i].embd_end;
            fc = shards[i].fc_end;
            bool is_last = embd == shape.n_embd;
            if (!is_last && shape.n_embd / 16 >= 4 * n) {
                assert_int_equal(embd % 16, 0);
                n_cut++;
            }
            if (fc < shape.intermediate && shape.intermediate / 16 >= 4 * n)
                assert_int_equal(fc % 16, 0);
        }
        assert_int_equal(embd, shape.n_embd);
        assert_int_equal(fc, shape.intermediate);
    }
    assert_true(n_cut > 1000);
}

static void more_ranks_than_heads_leave_some_ranks_without_heads(void **state)
{
    (void)state;
    const struct clus_shard_shape shape = {.n_heads = 3, .n_embd = 40, .intermediate = 53};
    struct model_shard shards[7];
    double shares[7] = {1, 1, 1, 1, 1, 1, 1};
    int n_without = 0;
    assert_int_equal(clus_shard_plan(&shape, shares, 7, shards, NULL), 0);
    for (int i = 0; i < 7; i++) {
        n_without += shards[i].head_begin == shards[i].head_end;
        assert_true(shards[i].embd_end > shards[i].embd_begin);
    }
    assert_int_equal(n_without, 4);
    assert_int_equal(shards[6].head_end, 3);
}

static void absent_shares_are_equal_shares(void **state)
{
    (void)state;
    const char *const texts[] = {NULL, "", "  "};
    for (int t = 0; t < 3; t++) {
        double shares[3] = {0};
        assert_int_equal(clus_shares_parse(texts[t], 3, shares, NULL), 0);
        for (int i = 0; i < 3; i++)
            assert_true(shares[i] == 1.0);
    }
}

static void shares_may_have_spaces_and_fractions(void **state)
{
    (void)state;
    double shares[3];
    assert_int_equal(clus_shares_parse(" 0.5 ,1, 2e1 ", 3, shares, NULL), 0);
    assert_true(shares[0] == 0.5 && shares[1] == 1.0 && shares[2] == 20.0);
}

static void wrong_shares_are_refused_with_the_item_and_the_value(void **state)
{
    (void)state;
    const struct {
        const char *text, *part;
    } cases[] = {
        {"1,2", "2 numbers, expected one for each of 3 ranks"},
        {"1,2,3,4", "4 numbers"},
        {"1,,3", "item 2 is \"\""},
        {"1,x,3", "item 2 is \"x\""},
        {"1,2,3x", "item 3 is \"3x\""},
        {"1,2 2,3", "item 2 is \"2 2\""},
        {"0,1,1", "item 1 is 0"},
        {"1,-1,1", "item 2 is -1"},
        {"1,1,1e9", "item 3 is 1e+09"},
        {"1,nan,1", "item 2 is \"nan\""},
        {"inf,1,1", "item 1 is \"inf\""},
        {"0x10,1,1", "item 1 is \"0x10\""},
        {"1,1,", "item 3 is \"\""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        double shares[3];
        struct ltd_err err = {0};
        assert_int_equal(clus_shares_parse(cases[i].text, 3, shares, &err), -1);
        assert_int_equal(err.code, LTD_E_INVALID);
        assert_message(&err, cases[i].part);
    }
}

static void impossible_shapes_and_rank_counts_are_refused(void **state)
{
    (void)state;
    struct clus_shard_shape shape = {.n_heads = 0, .n_embd = 40, .intermediate = 53};
    struct model_shard shard;
    double share = 1.0;
    struct ltd_err err = {0};
    assert_int_equal(clus_shard_plan(&shape, &share, 1, &shard, &err), -1);
    assert_message(&err, "0 heads");
    shape.n_heads = 5;
    assert_int_equal(clus_shard_plan(&shape, &share, 0, &shard, &err), -1);
    assert_message(&err, "0 ranks");
    assert_int_equal(clus_shares_parse("", CLUS_MAX_RANKS + 1, &share, &err), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts_tile_the_total_and_stay_within_one_row_of_their_quota),
        cmocka_unit_test(equal_shares_differ_by_at_most_one_row_and_the_first_ranks_have_more),
        cmocka_unit_test(scaling_all_shares_by_a_power_of_two_changes_nothing),
        cmocka_unit_test(plan_of_the_published_shape_on_three_ranks_is_the_one_in_the_header),
        cmocka_unit_test(rows_are_cut_in_panels_where_ranks_have_several_and_cover_everything),
        cmocka_unit_test(more_ranks_than_heads_leave_some_ranks_without_heads),
        cmocka_unit_test(absent_shares_are_equal_shares),
        cmocka_unit_test(shares_may_have_spaces_and_fractions),
        cmocka_unit_test(wrong_shares_are_refused_with_the_item_and_the_value),
        cmocka_unit_test(impossible_shapes_and_rank_counts_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
