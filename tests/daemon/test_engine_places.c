/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tests of daemon/engine, the part that lends places: what finished jobs hold is never in anybody's
 * way, what they left is taken over only where it is what would have been computed, and time runs for
 * jobs that gave way as well.
 */
#include "daemon/engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "daemon/run.h"
#include "engine_rig.h"

/* Two finished jobs hold the same pages; a third needs every page there is. */
static void pages_that_held_jobs_share_are_free_for_others(void **state)
{
    (void)state;
    enum { N_PROMPT = 40 };
    static int32_t prompt[N_PROMPT], other[60];
    for (int32_t i = 0; i < N_PROMPT; i++)
        prompt[i] = i;
    for (int32_t i = 0; i < 60; i++)
        other[i] = 96 - i;
    struct rig_options o = roomy;
    o.n_pages = 6;
    o.n_cached_pages = 6;
    o.n_held_jobs = 4;
    struct rig rig;
    struct engine_stats stats;
    rig_open(&rig, &o);
    struct job_spec a = plain_spec(prompt, N_PROMPT, 2, 2), b = a;
    snprintf(a.key, sizeof a.key, "a");
    snprintf(b.key, sizeof b.key, "b");
    run_job(&rig, 0, &a);
    run_job(&rig, 1, &b);
    run_job(&rig, 4, &b);
    struct job_spec big = plain_spec(other, 60, 6 * KERN_PAGE_POSITIONS - 60 + 1, 1);
    assert_true(engine_fits(rig.engine, 6 * KERN_PAGE_POSITIONS));
    assert_int_equal(run_job(&rig, 2, &big)->finish, ENGINE_FINISH_LENGTH);
    run_job(&rig, 3, &a);
    engine_stop(rig.engine);
    rig.is_stopped = true;
    engine_get_stats(rig.engine, &stats);
    assert_int_equal(stats.pages_used, 0);
    rig_close(&rig);
}

/* A depth for token 0 is one for the whole prompt, also where each position thought by itself. */
static void a_deeper_prompt_is_deeper_everywhere(void **state)
{
    (void)state;
    int32_t prompt[32];
    int32_t n_prompt = golden_ints("gen.prompt", prompt);
    for (int32_t n_held = 0; n_held < 2; n_held++) {
        struct rig_options o = roomy;
        struct rig rig;
        o.n_held_jobs = n_held;
        rig_open(&rig, &o);
        struct job_spec first = plain_spec(prompt, n_prompt, 1, 20);
        first.depth.is_tokenwise = true;
        first.depth.rule.kind = MODEL_EXIT_LATENT_DIFF;
        first.depth.rule.threshold = 0.1;
        snprintf(first.key, sizeof first.key, "first");
        const struct result *begun = run_job(&rig, 0, &first);
        struct job_spec whole = first, more;
        whole.max_tokens = 4;
        whole.depth.at[0] = (struct spec_depth_at){.token = 0, .steps = begun->steps[0] + 5};
        whole.depth.n_at = 1;
        whole.key[0] = '\0';
        more = whole;
        snprintf(more.continues, sizeof more.continues, "first");
        const struct result *rest = run_job(&rig, 1, &more);
        const struct result *at_once = run_job(&rig, 2, &whole);
        assert_same(at_once, rest);
        assert_int_equal(at_once->total_steps, rest->total_steps);
        rig_close(&rig);
    }
}

/*
 * A thinks about its prompt again while its pages are still held. Nobody may take what they held
 * before for what they hold now; and what B, which began alike, has taken over stays as it is.
 */
static void pages_that_are_thought_about_again_are_nobody_elses(void **state)
{
    (void)state;
    enum { N_PROMPT = 40 };
    static int32_t prompt[N_PROMPT], ids[MAX_TOKENS], steps[MAX_TOKENS];
    static struct result alone[3];
    for (int32_t i = 0; i < N_PROMPT; i++)
        prompt[i] = (i * 5) % 97;
    struct rig_options o = roomy;
    struct engine_stats stats;
    struct job_spec a = plain_spec(prompt, N_PROMPT, 1, 3), deep = a, b = a, b_more;
    snprintf(a.key, sizeof a.key, "a");
    snprintf(b.key, sizeof b.key, "b");
    deep.max_tokens = 3;
    deep.depth.at[0] = (struct spec_depth_at){.token = 0, .steps = 8};
    deep.depth.n_at = 1;
    b.max_tokens = 4;
    b_more = b;
    b_more.key[0] = '\0';
    b_more.max_tokens = 8;
    b_more.depth.at[0] = (struct spec_depth_at){.token = 6, .steps = 9};
    b_more.depth.n_at = 1;
    struct rig rig;
    rig_open(&rig, &o);
    alone[0] = *run_job(&rig, 0, &deep);
    alone[1] = *run_job(&rig, 1, &b);
    alone[2] = *run_job(&rig, 2, &b_more);
    rig_close(&rig);
    snprintf(deep.continues, sizeof deep.continues, "a");
    snprintf(b_more.continues, sizeof b_more.continues, "b");
    memcpy(ids, alone[1].tokens, sizeof ids);
    memcpy(steps, alone[1].steps, sizeof steps);
    b_more.known = (struct spec_known){.n = 4, .ids = ids, .steps = steps};
    o.n_cached_pages = 20;
    o.n_held_jobs = 4;
    for (int32_t is_b_before = 0; is_b_before < 2; is_b_before++) {
        rig_open(&rig, &o);
        run_job(&rig, 0, &a);
        if (is_b_before)
            assert_same(&alone[1], run_job(&rig, 1, &b));
        assert_same(&alone[0], run_job(&rig, 2, &deep));
        engine_get_stats(rig.engine, &stats);
        assert_int_equal(stats.replay_positions, 0); /* taken over, or thought from its start */
        assert_int_equal(stats.prefix_positions, is_b_before ? 32 : 0);
        if (!is_b_before)
            assert_same(&alone[1], run_job(&rig, 1, &b));
        const struct result *rest = run_job(&rig, 3, &b_more);
        for (int32_t i = 0; i < 4; i++) {
            assert_int_equal(alone[2].tokens[4 + i], rest->tokens[i]);
            assert_memory_equal(&alone[2].logprobs[4 + i], &rest->logprobs[i], sizeof(float));
        }
        engine_get_stats(rig.engine, &stats);
        assert_int_equal(stats.prefix_positions, is_b_before ? 32 : 0);
        rig_close(&rig);
    }
}

/* max_run_ms counts from the start, whoever has the places meanwhile. */
static void time_is_over_for_a_job_that_gave_way_too(void **state)
{
    (void)state;
    int32_t prompt[32];
    int32_t n_prompt = golden_ints("gen.prompt", prompt);
    struct rig rig;
    rig_open(&rig, &roomy);
    struct job_spec spec = plain_spec(prompt, n_prompt, 50, 64);
    spec.max_run_ms = 30;
    submit(&rig, 0, &spec);
    wait_for(&rig, 0, is_started);
    engine_set_priority(rig.engine, 0, SPEC_PRIORITY_HOLD);
    wait_for(&rig, 0, is_finished);
    assert_int_equal(rig.results[0].finish, ENGINE_FINISH_DEADLINE);
    rig_close(&rig);
}

/* What is known is read, not thought about; a prompt that thinks token by token takes longer. */
static void a_prediction_counts_the_calls_that_are_left(void **state)
{
    (void)state;
    static int32_t prompt[30], ids[40], steps[40];
    struct rig rig;
    rig_open(&rig, &roomy);
    struct job_spec spec = plain_spec(prompt, 30, 41, 8), known = spec, slow = spec, deep = spec;
    run_job(&rig, 0, &spec);
    engine_stop(rig.engine); /* nothing is measured any more: the same pace for all */
    rig.is_stopped = true;
    known.known = (struct spec_known){.n = 40, .ids = ids, .steps = steps};
    slow.depth.is_tokenwise = true;
    deep.depth.at[0] = (struct spec_depth_at){.token = 3, .steps = 64};
    deep.depth.n_at = 1;
    uint64_t begin = 1000, plain = engine_predict_end(rig.engine, &spec, begin);
    assert_true(plain > begin && plain != LTD_NEVER);
    assert_true(engine_predict_end(rig.engine, &known, begin) < plain);
    assert_true(engine_predict_end(rig.engine, &slow, begin) > plain);
    assert_true(engine_predict_end(rig.engine, &deep, begin) > plain);
    rig_close(&rig);
}

/* More known tokens than the answer can have would be written behind its end. */
static void a_job_with_nothing_left_to_write_is_refused(void **state)
{
    (void)state;
    static int32_t prompt[3] = {1, 2, 3}, ids[4] = {4, 5, 6, 7}, steps[4] = {2, 2, 2, 2};
    static const struct run_context context = {
        .n_embd = 8, .vocab_size = 97, .prefill_chunk = 4, .is_replayable = true};
    struct ltd_err err;
    struct job_spec spec = plain_spec(prompt, 3, 4, 2);
    spec.known = (struct spec_known){.n = 3, .ids = ids, .steps = steps};
    struct run *run = run_create(1, &spec, &context, &err);
    must(run);
    run_destroy(run);
    spec.known.n = 4;
    assert_null(run_create(1, &spec, &context, &err));
    assert_int_equal(err.code, LTD_E_INVALID);
}

/* What a replay costs to plan does not grow with the square of its length. */
static void the_positions_of_a_step_are_counted_once(void **state)
{
    (void)state;
    enum { N = 40 };
    static int32_t prompt[N], ids[N], steps[N];
    static const struct run_context context = {
        .n_embd = 8, .vocab_size = 97, .prefill_chunk = N, .is_replayable = true};
    struct ltd_err err;
    struct job_spec spec = plain_spec(prompt, N / 2, N / 2 + 1, 2);
    for (int32_t i = 0; i < N; i++)
        steps[i] = i ? 1 + i % 3 : 2;
    spec.known = (struct spec_known){.n = N / 2, .ids = ids, .steps = steps};
    struct run *run = run_create(1, &spec, &context, &err);
    must(run);
    assert_true(run->is_replay);
    for (int32_t step = 0; step < 3; step++) {
        for (;;) {
            int32_t n = 0;
            for (int32_t p = run->next; p < run->call_end; p++)
                n += run_takes_step(run, p);
            assert_int_equal(run->n_ready, n);
            if (run->next == run->call_end)
                break;
            assert_true(run_takes_step(run, run->next));
            run_position_taken(run);
        }
        run_step_done(run);
    }
    assert_int_equal(run->phase, RUN_CODA);
    run_destroy(run);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pages_that_held_jobs_share_are_free_for_others),
        cmocka_unit_test(a_deeper_prompt_is_deeper_everywhere),
        cmocka_unit_test(pages_that_are_thought_about_again_are_nobody_elses),
        cmocka_unit_test(time_is_over_for_a_job_that_gave_way_too),
        cmocka_unit_test(a_prediction_counts_the_calls_that_are_left),
        cmocka_unit_test(a_job_with_nothing_left_to_write_is_refused),
        cmocka_unit_test(the_positions_of_a_step_are_counted_once),
    };
    return cmocka_run_group_tests(tests, rig_set_up, rig_tear_down);
}
