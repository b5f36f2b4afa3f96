/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/daemon/test_engine_restart.c - a job that is begun anew behind any of its tokens writes the rest
 * with the same bits, and ends as it would have ended.
 *
 * What the job table does at a restart (daemon/job_restart.c): of n tokens in the log the first n - 1
 * are known, the last is chosen again. Here n runs over every length, the last token of the answer
 * included, where only the end is missing; where each step has a plane of its own (replayed side by
 * side) and where steps share planes (replayed one by one).
 */
#include "engine_rig.h"

#include <string.h>

#include "model/config.h"

enum { N_JOBS = 12 };

static struct job_spec behind(const struct job_spec *spec, const struct result *whole, int32_t n)
{
    struct job_spec next = *spec;
    next.known = (struct spec_known){.n = n,
                                     .ids = (int32_t *)(uintptr_t)whole->tokens,
                                     .steps = (int32_t *)(uintptr_t)whole->steps};
    return next;
}

static void assert_rest(const struct result *whole, const struct result *part, int32_t n)
{
    struct result rest = *whole;
    rest.n_tokens -= n;
    memmove(rest.tokens, whole->tokens + n, (size_t)rest.n_tokens * sizeof *rest.tokens);
    memmove(rest.steps, whole->steps + n, (size_t)rest.n_tokens * sizeof *rest.steps);
    memmove(rest.exits, whole->exits + n, (size_t)rest.n_tokens * sizeof *rest.exits);
    memmove(rest.values, whole->values + n, (size_t)rest.n_tokens * sizeof *rest.values);
    memmove(rest.logprobs, whole->logprobs + n, (size_t)rest.n_tokens * sizeof *rest.logprobs);
    memmove(rest.top, whole->top + n, (size_t)rest.n_tokens * sizeof *rest.top);
    assert_same(&rest, part);
    assert_int_equal(whole->finish, part->finish);
    assert_int_equal(whole->total_steps, part->total_steps);
}

/* Each job whole, then anew behind each of its tokens; `shape` may alter its spec. */
static void check_all(const char *policy, int32_t n_end_tokens,
                      void (*shape)(struct job_spec *spec, int32_t i))
{
    static int32_t prompts[N_JOBS][32];
    struct rig_options o = roomy;
    struct rig rig;
    o.kv_policy = policy;
    o.n_end_tokens = n_end_tokens;
    int32_t n_ended_early = 0;
    for (int32_t i = 0; i < N_JOBS; i++) {
        rig_open(&rig, &o);
        struct job_spec spec = varied_spec(prompts, i);
        spec.n_logprobs = 5;
        if (shape)
            shape(&spec, i);
        const struct result *whole = run_job(&rig, 0, &spec);
        assert_true(whole->n_tokens >= 1);
        n_ended_early += whole->finish == ENGINE_FINISH_EOS;
        for (int32_t n = 0; n < whole->n_tokens; n++) {
            struct job_spec next = behind(&spec, whole, n);
            assert_rest(whole, run_job(&rig, (uint64_t)n + 1, &next), n);
        }
        rig_close(&rig);
    }
    if (n_end_tokens)
        assert_true(n_ended_early > 0);
}

static void a_job_goes_on_behind_any_token_where_each_step_has_its_plane(void **state)
{
    (void)state;
    check_all("latest-m4", 0, NULL);
}

static void a_job_goes_on_behind_any_token_where_steps_share_planes(void **state)
{
    (void)state;
    check_all("compress-s4", 0, NULL);
}

static void an_answer_that_ended_by_itself_ends_there_again(void **state)
{
    (void)state;
    check_all("latest-m4", MODEL_MAX_EOS, NULL);
    check_all("compress-s4", MODEL_MAX_EOS, NULL);
}

static void think_one_by_one(struct job_spec *spec, int32_t i)
{
    spec->depth.is_tokenwise = i % 2 == 0;
}

static void prompts_that_think_one_by_one_do_so_again(void **state)
{
    (void)state;
    check_all("latest-m4", 0, think_one_by_one);
    check_all("compress-s4", 0, think_one_by_one);
}

static const enum model_exit_kind rules[] = {
    MODEL_EXIT_LATENT_DIFF, MODEL_EXIT_COSINE,       MODEL_EXIT_ACCELERATION,     MODEL_EXIT_KL,
    MODEL_EXIT_MINP_KL,     MODEL_EXIT_ENTROPY_DIFF, MODEL_EXIT_ARGMAX_STABILITY,
};

static void take_a_rule(struct job_spec *spec, int32_t i)
{
    size_t n_rules = sizeof rules / sizeof *rules;
    spec->depth.rule.kind = rules[(size_t)i % n_rules];
    spec->depth.rule.threshold = spec->depth.rule.kind == MODEL_EXIT_ARGMAX_STABILITY ? 3 : 0.02;
    spec->depth.rule.min_steps = 1;
    spec->depth.rule.max_steps = 20;
    spec->depth.rule.check_every = 1 + i % 2;
}

static void every_exit_rule_leaves_where_it_left(void **state)
{
    (void)state;
    check_all("latest-m4", 0, take_a_rule);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_job_goes_on_behind_any_token_where_each_step_has_its_plane),
        cmocka_unit_test(a_job_goes_on_behind_any_token_where_steps_share_planes),
        cmocka_unit_test(an_answer_that_ended_by_itself_ends_there_again),
        cmocka_unit_test(prompts_that_think_one_by_one_do_so_again),
        cmocka_unit_test(every_exit_rule_leaves_where_it_left),
    };
    return cmocka_run_group_tests(tests, rig_set_up, rig_tear_down);
}
