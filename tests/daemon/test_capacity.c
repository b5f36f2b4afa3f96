/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/daemon/test_capacity.c - what is chosen where an operator left 0, and what is refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/capacity.h"

#define GIB ((uint64_t)1 << 30)

static struct config config;
static struct model_config huginn, tiny;
static struct model_generation generation;
static char no_text[1] = "", f32[] = "f32", bf16[] = "bf16";

static int fill(void **state)
{
    (void)state;
    config = (struct config){.max_batch = 64,
                             .prefill_chunk = 32,
                             .max_jobs_running = 32,
                             .kv_policy = no_text,
                             .kv_format = f32,
                             .kv_cached_memory = 64,
                             .shares = no_text};
    huginn = (struct model_config){.n_embd = 5280,
                                   .n_heads = 55,
                                   .head_dim = 96,
                                   .intermediate = 17920,
                                   .vocab = 65536,
                                   .n_prelude = 2,
                                   .n_core = 4,
                                   .n_coda = 2,
                                   .max_positions = 4096,
                                   .default_steps = 32,
                                   .tied = true,
                                   .qk_bias = true};
    tiny = (struct model_config){.n_embd = 64,
                                 .n_heads = 4,
                                 .head_dim = 16,
                                 .intermediate = 192,
                                 .vocab = 341,
                                 .n_prelude = 1,
                                 .n_core = 1,
                                 .n_coda = 1,
                                 .max_positions = 128,
                                 .default_steps = 4,
                                 .tied = true,
                                 .qk_bias = true};
    generation = (struct model_generation){0};
    return 0;
}

static struct capacity plan(const struct model_config *model, uint64_t memory)
{
    struct capacity c;
    struct ltd_err err = {0};
    if (capacity_plan(&config, model, &generation, memory, &c, &err) != 0)
        fail_msg("%s", err.msg);
    return c;
}

static void expect_refusal(const struct model_config *model, const char *words)
{
    struct capacity c;
    struct ltd_err err = {0};
    if (capacity_plan(&config, model, &generation, 16 * GIB, &c, &err) == 0 ||
        !strstr(err.msg, words))
        fail_msg("expected a refusal with \"%s\", found \"%s\"", words, err.msg);
    assert_int_equal(err.code, LTD_E_INVALID);
}

/* The published counts: 3,564,976,800 unique parameters; 2 * 5280 floats per slot of a layer. */
static void sizes_agree_with_the_published_model(void **state)
{
    (void)state;
    assert_true(capacity_parameters(&huginn) == 3564976800ull);
    config.kv_slots = 32;
    struct capacity c = plan(&huginn, 64 * GIB);
    assert_true(c.position_bytes == (uint64_t)5575680); /* full, r = 32, fp32 */
    config.kv_slots = 1;
    c = plan(&huginn, 64 * GIB);
    assert_true(c.position_bytes == (uint64_t)337920); /* compress-s4 */
}

static void half_the_bytes_per_number_are_twice_the_pages(void **state)
{
    (void)state;
    config.kv_memory = 4096;
    struct capacity wide = plan(&huginn, 64 * GIB);
    config.kv_format = bf16;
    struct capacity narrow = plan(&huginn, 64 * GIB);
    assert_int_equal(wide.kv_format, MODEL_KV_F32);
    assert_int_equal(narrow.kv_format, MODEL_KV_BF16);
    assert_true(narrow.position_bytes * 2 == wide.position_bytes);
    assert_in_range(narrow.limits.n_pages, 2 * wide.limits.n_pages, 2 * wide.limits.n_pages + 1);
    char odd[] = "f16";
    config.kv_format = odd;
    expect_refusal(&huginn, "kv_format");
}

static void early_steps_are_at_most_the_deepest_depth(void **state)
{
    (void)state;
    config.early_steps = 64;
    assert_int_equal(plan(&huginn, 64 * GIB).max_steps, 64);
    config.early_steps = 65;
    expect_refusal(&huginn, "early_steps: found 65, expected at most 64 (max_steps)");
}

/* The plan and the pools must mean the same page, or memory would be more than was allowed. */
static void a_page_is_as_large_as_the_pools_make_it(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        config.kv_format = i == 0 ? f32 : bf16;
        config.kv_slots = 5;
        struct capacity c = plan(&huginn, 64 * GIB);
        struct model_kv_spec core = {.n_pages = 1,
                                     .n_layers = huginn.n_core,
                                     .n_heads = huginn.n_heads,
                                     .head_dim = huginn.head_dim,
                                     .policy = c.policy,
                                     .format = c.kv_format};
        struct model_kv_spec border = core;
        border.n_layers = huginn.n_prelude + huginn.n_coda;
        border.policy = (struct model_kv_policy){.n_planes = 1, .holes = MODEL_KV_LATEST};
        assert_int_equal(model_kv_page_bytes(&core) + model_kv_page_bytes(&border),
                         c.position_bytes * 16);
    }
}

static void finished_jobs_may_leave_so_many_pages_filled(void **state)
{
    (void)state;
    config.kv_slots = 1;
    struct capacity c = plan(&huginn, 64 * GIB);
    assert_int_equal(c.cached_pages, ((uint64_t)64 << 20) / (c.position_bytes * 16));
    assert_int_equal(c.cached_pages, 12);
    config.kv_cached_memory = 0;
    assert_int_equal(plan(&huginn, 64 * GIB).cached_pages, 0);
    config.kv_cached_memory = 16777216; /* there are no more than all */
    c = plan(&tiny, GIB);
    assert_int_equal(c.cached_pages, c.limits.n_pages);
}

static void depth_defaults_follow_the_model(void **state)
{
    (void)state;
    assert_int_equal(plan(&tiny, GIB).max_steps, 64);
    tiny.default_steps = 40;
    assert_int_equal(plan(&tiny, GIB).max_steps, 80);
    assert_int_equal(plan(&tiny, GIB).default_steps, 40);
    config.max_steps = 10; /* an operator may allow less than the model would like */
    struct capacity c = plan(&tiny, GIB);
    assert_int_equal(c.max_steps, 10);
    assert_int_equal(c.default_steps, 10);
    assert_int_equal(c.policy.n_planes, 10);
    assert_string_equal(c.policy_text, "latest-m4");
}

static void kv_slots_and_policies_choose_the_planes(void **state)
{
    (void)state;
    config.kv_slots = 3;
    struct capacity c = plan(&tiny, GIB);
    assert_int_equal(c.policy.n_planes, 3);
    assert_string_equal(c.policy_text, "kv_slots 3, latest");
    config.kv_slots = 4000; /* more than any job can use are as many as it can */
    assert_int_equal(plan(&tiny, GIB).policy.n_planes, 64);
    config.kv_slots = 0;
    char policy[] = "latest-m4-compress-s16";
    config.kv_policy = policy;
    c = plan(&huginn, 64 * GIB);
    assert_int_equal(c.policy.n_planes, 4);
    assert_string_equal(c.policy_text, policy);
    char odd[] = "compress-s6"; /* four layers cannot share six slots evenly */
    config.kv_policy = odd;
    expect_refusal(&huginn, "kv_policy");
}

static void pages_hold_all_contexts_or_a_quarter_of_memory(void **state)
{
    (void)state;
    assert_int_equal(plan(&tiny, 16 * GIB).limits.n_pages, 32 * 8);
    struct capacity c = plan(&huginn, 64 * GIB);
    uint64_t page = c.position_bytes * 16;
    assert_int_equal(c.limits.n_pages, 16 * GIB / page);
    config.kv_memory = 1024;
    c = plan(&huginn, 64 * GIB);
    assert_int_equal(c.limits.n_pages, GIB / page);
    config.kv_memory = 0;
    config.kv_pages = 7;
    assert_int_equal(plan(&huginn, 64 * GIB).limits.n_pages, 7);
}

static void pages_that_no_job_could_use_are_not_planned(void **state)
{
    (void)state;
    config.kv_memory = 16777216;
    assert_int_equal(plan(&tiny, 16 * GIB).limits.n_pages, 32 * 8);
    config.kv_pages = 16777216;
    assert_int_equal(plan(&tiny, 16 * GIB).limits.n_pages, 32 * 8);
}

static void memory_for_less_than_a_page_is_refused(void **state)
{
    (void)state;
    config.kv_memory = 1;
    expect_refusal(&huginn, "kv_memory: found 1 MiB, expected at least");
}

static void rows_are_enough_for_the_longest_prompt_that_pages_can_hold(void **state)
{
    (void)state;
    struct capacity c = plan(&huginn, 512 * GIB);
    assert_true(c.limits.n_rows >= 4096 + 32);
    config.kv_pages = 3;
    c = plan(&huginn, 512 * GIB);
    assert_int_equal(c.limits.n_rows, 48);
    c = plan(&tiny, GIB);
    assert_int_equal(c.limits.n_rows, 48);
}

static void default_length_is_the_options_the_models_or_256(void **state)
{
    (void)state;
    assert_int_equal(plan(&tiny, GIB).default_max_tokens, 256);
    generation.max_new_tokens = 4;
    assert_int_equal(plan(&tiny, GIB).default_max_tokens, 4);
    config.default_max_tokens = 9;
    assert_int_equal(plan(&tiny, GIB).default_max_tokens, 9);
}

static void threads_are_shared_by_the_ranks_of_a_host(void **state)
{
    (void)state;
    assert_int_equal(capacity_threads(0, 16, 1), 16);
    assert_int_equal(capacity_threads(0, 16, 3), 5);
    assert_int_equal(capacity_threads(0, 2, 7), 1);
    assert_int_equal(capacity_threads(9, 2, 7), 9);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(sizes_agree_with_the_published_model, fill),
        cmocka_unit_test_setup(half_the_bytes_per_number_are_twice_the_pages, fill),
        cmocka_unit_test_setup(early_steps_are_at_most_the_deepest_depth, fill),
        cmocka_unit_test_setup(a_page_is_as_large_as_the_pools_make_it, fill),
        cmocka_unit_test_setup(finished_jobs_may_leave_so_many_pages_filled, fill),
        cmocka_unit_test_setup(depth_defaults_follow_the_model, fill),
        cmocka_unit_test_setup(kv_slots_and_policies_choose_the_planes, fill),
        cmocka_unit_test_setup(pages_hold_all_contexts_or_a_quarter_of_memory, fill),
        cmocka_unit_test_setup(pages_that_no_job_could_use_are_not_planned, fill),
        cmocka_unit_test_setup(memory_for_less_than_a_page_is_refused, fill),
        cmocka_unit_test_setup(rows_are_enough_for_the_longest_prompt_that_pages_can_hold, fill),
        cmocka_unit_test_setup(default_length_is_the_options_the_models_or_256, fill),
        cmocka_unit_test_setup(threads_are_shared_by_the_ranks_of_a_host, fill),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
