/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/tools/test_compare.c - a format against itself is nothing, and against another one what it
 * is.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/dispatch.h"
#include "scratch.h"
#include "tools/compare.h"

#define DEPTH 5

static struct model_checkpoint *ckpt;

/* Three prompts; the longest crosses a batch and several pages. */
static void give_prompts(struct tool_prompts *prompts)
{
    struct ltd_err err = {0};
    uint32_t ids[70];
    for (uint32_t i = 0; i < 70; i++)
        ids[i] = i * 37 % 250;
    scratch_good(tool_prompts_init(prompts, ckpt, &err), &err);
    scratch_good(tool_prompts_add_ids(prompts, ids, 70, &err), &err);
    scratch_good(tool_prompts_add_ids(prompts, ids, 1, &err), &err);
    scratch_good(tool_prompts_add_ids(prompts, ids + 9, 17, &err), &err);
}

static int open_model(void **state)
{
    struct ltd_err err = {0};
    if (scratch_make(state) != 0)
        return -1;
    const struct tool_synth_options options = scratch_options("tiny", 3);
    ckpt = model_checkpoint_open(scratch_synth("m", &options), &err);
    return ckpt ? 0 : -1;
}

static int close_model(void **state)
{
    model_checkpoint_close(ckpt);
    return scratch_remove(state);
}

static struct tool_compare_options options_of(enum kern_format format, enum kern_format against)
{
    static const int32_t none[1] = {0};
    return (struct tool_compare_options){.ops = kern_tier_find("auto", NULL),
                                         .n_threads = 1,
                                         .format = format,
                                         .against = against,
                                         .early_steps = none,
                                         .n_ladders = 1,
                                         .depth = DEPTH,
                                         .seed = 1};
}

static struct tool_comparison compare(const struct tool_compare_options *options)
{
    struct ltd_err err = {0};
    struct tool_prompts prompts;
    struct tool_comparison found;
    give_prompts(&prompts);
    scratch_good(tool_compare(ckpt, &prompts, options, &found, &err), &err);
    tool_prompts_fini(&prompts);
    return found;
}

static void a_format_is_not_different_from_itself(void **state)
{
    (void)state;
    for (int f = 0; f < 3; f++) {
        struct tool_compare_options o = options_of((enum kern_format)f, (enum kern_format)f);
        struct tool_comparison c = compare(&o);
        assert_int_equal(c.n_rows, 4); /* 1, 2, 4, 5 */
        for (size_t i = 0; i < c.n_rows; i++) {
            assert_int_equal(c.rows[i].n_positions, 70 + 1 + 17);
            assert_int_equal(c.rows[i].n_same, 70 + 1 + 17);
            assert_true(c.rows[i].kl_mean == 0 && c.rows[i].kl_max == 0 && c.rows[i].drift == 0);
            assert_true(c.rows[i].step_bytes == (double)c.against_bytes);
        }
        assert_int_equal(c.rows[3].depth, DEPTH);
        tool_comparison_fini(&c);
    }
}

static void a_coarser_format_is_farther_from_f32(void **state)
{
    (void)state;
    struct tool_compare_options o = options_of(KERN_BF16, KERN_F32);
    struct tool_comparison bf16 = compare(&o);
    o.format = KERN_INT8;
    struct tool_comparison int8 = compare(&o);
    for (size_t i = 0; i < bf16.n_rows; i++) {
        assert_true(bf16.rows[i].kl_mean > 0 && bf16.rows[i].drift > 0);
        assert_true(int8.rows[i].kl_mean > bf16.rows[i].kl_mean);
        assert_true(int8.rows[i].drift > bf16.rows[i].drift);
        assert_true(int8.rows[i].kl_max >= int8.rows[i].kl_mean);
        assert_true(int8.rows[i].step_bytes < bf16.rows[i].step_bytes);
    }
    tool_comparison_fini(&bf16);
    tool_comparison_fini(&int8);
}

/* Ladders of one run share batches; each must be as it is alone, whatever the threads. */
static void a_ladder_is_the_same_alone_and_beside_others(void **state)
{
    static const int32_t many[] = {0, 2, 3, DEPTH, 99};
    (void)state;
    struct tool_compare_options o = options_of(KERN_BF16, KERN_BF16);
    o.has_early = true;
    o.early_format = KERN_INT8;
    o.early_steps = many;
    o.n_ladders = 5;
    o.n_threads = 2;
    struct tool_comparison all = compare(&o);
    assert_int_equal(all.n_rows, 20);
    o.n_ladders = 1;
    o.n_threads = 1;
    for (size_t l = 0; l < 5; l++) {
        o.early_steps = &many[l];
        struct tool_comparison alone = compare(&o);
        assert_memory_equal(&all.rows[4 * l], alone.rows, 4 * sizeof *alone.rows);
        tool_comparison_fini(&alone);
    }
    const struct tool_compare_row *none = &all.rows[3], *two = &all.rows[7], *every = &all.rows[15];
    assert_true(none->kl_mean == 0 && none->drift == 0);
    assert_true(two->drift > 0 && two->drift < every->drift);
    assert_true(two->step_bytes < none->step_bytes && every->step_bytes < two->step_bytes);
    for (size_t i = 12; i < 16; i++) /* more early steps than steps are every step */
        assert_true(all.rows[i].drift == all.rows[i + 4].drift);
    tool_comparison_fini(&all);
}

static void divergences_are_those_of_the_textbook(void **state)
{
    (void)state;
    const float even[2] = {3, 3}, one_to_three[2] = {0, logf(3)}, shifted[2] = {7, 7 + logf(3)};
    assert_true(fabs(tool_compare_kl(even, one_to_three, 2) - 0.5 * log(4.0 / 3)) < 1e-7);
    assert_true(fabs(tool_compare_kl(one_to_three, even, 2) - (0.25 * log(0.5) + 0.75 * log(1.5))) <
                1e-7);
    assert_true(tool_compare_kl(shifted, one_to_three, 2) < 1e-12);
    assert_true(tool_compare_kl(even, even, 2) == 0);
    const float far[2] = {0, -1e6f}, bad[2] = {NAN, 0};
    assert_true(tool_compare_kl(far, even, 2) - log(2) < 1e-12);
    assert_true(isnan(tool_compare_kl(bad, even, 2)));
}

static void prompts_come_from_lines_of_every_kind(void **state)
{
    static const char lines[] = "{\"tokens\": [1, 2, 3]}\n\n{\"tokens\": [7]}";
    static const char *const bad[][2] = {
        {"{\"tokens\": [1, 256]}", "lines:1: tokens[1]: expected an id below 256"},
        {"{\"tokens\": [-1]}", "tokens[0]"},
        {"{\"tokens\": []}", "a prompt of 0 tokens"},
        {"{\"tokens\": [1]}\n{}", "lines:2: an object without"},
        {"{\"prompt\": 5}", "lines:1"},
        {"{", "lines:1"},
        {"some text", "a text, expected token ids"},
    };
    struct tool_prompts prompts;
    struct ltd_err err = {0};
    (void)state;
    scratch_good(tool_prompts_init(&prompts, ckpt, &err), &err);
    scratch_write(scratch_path("lines"), lines, sizeof lines - 1);
    scratch_good(tool_prompts_add_file(&prompts, scratch_path("lines"), 0, &err), &err);
    scratch_good(tool_prompts_add_file(&prompts, scratch_path("lines"), 1, &err), &err);
    assert_int_equal(prompts.n, 3);
    assert_int_equal(prompts.items[0].n, 3);
    assert_int_equal(prompts.items[1].ids[0], 7);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        scratch_write(scratch_path("lines"), bad[i][0], strlen(bad[i][0]));
        scratch_bad(tool_prompts_add_file(&prompts, scratch_path("lines"), 0, &err), &err,
                    LTD_E_INVALID, bad[i][1], NULL);
    }
    tool_prompts_fini(&prompts);
}

static void what_cannot_be_compared_is_refused(void **state)
{
    static const int32_t two[1] = {2}, negative[1] = {-1};
    (void)state;
    struct tool_compare_options good = options_of(KERN_BF16, KERN_F32), o;
    struct tool_comparison c;
    struct tool_prompts prompts, none = {0};
    struct ltd_err err = {0};
    give_prompts(&prompts);
    scratch_bad(tool_compare(ckpt, &none, &good, &c, &err), &err, LTD_E_INVALID, "no prompts",
                NULL);
    o = good, o.depth = 0;
    scratch_bad(tool_compare(ckpt, &prompts, &o, &c, &err), &err, LTD_E_INVALID, "depth 0", NULL);
    o = good, o.early_steps = two;
    scratch_bad(tool_compare(ckpt, &prompts, &o, &c, &err), &err, LTD_E_INVALID,
                "2 early steps, expected none without an early format", NULL);
    o = good, o.early_steps = negative, o.has_early = true;
    scratch_bad(tool_compare(ckpt, &prompts, &o, &c, &err), &err, LTD_E_INVALID, "-1 early", NULL);
    o = good, o.n_ladders = 0;
    scratch_bad(tool_compare(ckpt, &prompts, &o, &c, &err), &err, LTD_E_INVALID, "0 numbers", NULL);
    tool_prompts_fini(&prompts);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_format_is_not_different_from_itself),
        cmocka_unit_test(a_coarser_format_is_farther_from_f32),
        cmocka_unit_test(a_ladder_is_the_same_alone_and_beside_others),
        cmocka_unit_test(divergences_are_those_of_the_textbook),
        cmocka_unit_test(prompts_come_from_lines_of_every_kind),
        cmocka_unit_test(what_cannot_be_compared_is_refused),
    };
    return cmocka_run_group_tests(tests, open_model, close_model);
}
