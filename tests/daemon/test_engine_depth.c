/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tests of daemon/engine, the part that turns the dial: every exit rule against the official code,
 * depths of single tokens, jobs that give way and are replayed, jobs that are continued, prefixes
 * that are shared, all with equal bytes; and budgets, which are the one thing that may change them.
 */
#include "daemon/engine.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "engine_rig.h"

static void every_exit_rule_spends_the_steps_of_the_official_code(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        enum model_exit_kind kind;
    } rules[] = {{"cosine", MODEL_EXIT_COSINE},
                 {"kl", MODEL_EXIT_KL},
                 {"minp-kl", MODEL_EXIT_MINP_KL},
                 {"entropy-diff", MODEL_EXIT_ENTROPY_DIFF},
                 {"argmax-stability", MODEL_EXIT_ARGMAX_STABILITY}};
    static float values[20 * 32];
    int32_t prompt[32], steps[32], tokens[32];
    int32_t n_prompt = golden_ints("gen.prompt", prompt);
    for (int overlap = 0; overlap < 2; overlap++) {
        struct rig_options o = roomy;
        struct rig rig;
        o.overlap = overlap;
        o.prefill_chunk = overlap ? 4 : 16; /* the coda of the prompt comes in pieces, too */
        rig_open(&rig, &o);
        for (size_t c = 0; c < sizeof rules / sizeof *rules; c++) {
            char key[96];
            struct job_spec spec = plain_spec(prompt, n_prompt, 20, 32);
            spec.depth.rule.kind = rules[c].kind;
            spec.depth.rule.threshold = model_exit_default_threshold(rules[c].kind);
            const struct result *r = run_job(&rig, c, &spec);
            snprintf(key, sizeof key, "adaptive.%s.latest-m4.tokens", rules[c].name);
            golden_ints(key, tokens);
            snprintf(key, sizeof key, "adaptive.%s.latest-m4.steps", rules[c].name);
            golden_ints(key, steps);
            snprintf(key, sizeof key, "adaptive.%s.latest-m4.values", rules[c].name);
            int32_t n_checks = golden_floats(key, values, 20 * 32) / 20;
            for (int32_t i = 0; i < 20; i++) {
                assert_int_equal(r->tokens[i], tokens[i]);
                assert_int_equal(r->steps[i], steps[i]);
                float last = values[i * n_checks + steps[i] - 1];
                if (fabs(r->values[i] - (double)last) > 1e-4)
                    fail_msg("%s: token %d left at %g, expected %g", rules[c].name, i, r->values[i],
                             (double)last);
            }
        }
        struct engine_stats stats;
        engine_get_stats(rig.engine, &stats);
        assert_true(stats.check_rows > 0 && stats.check_rows <= stats.head_rows);
        assert_true(stats.check_positions <= stats.coda_positions);
        rig_close(&rig);
    }
}

/* Steps at which nothing is checked cannot end the thought; values are those of the checks. */
static void checks_come_when_the_rule_says(void **state)
{
    (void)state;
    static const enum model_exit_kind kinds[] = {MODEL_EXIT_LATENT_DIFF, MODEL_EXIT_ACCELERATION,
                                                 MODEL_EXIT_KL};
    int32_t prompt[32];
    int32_t n_prompt = golden_ints("gen.prompt", prompt);
    struct rig rig;
    rig_open(&rig, &roomy);
    for (uint64_t c = 0; c < 3; c++) {
        struct job_spec spec = plain_spec(prompt, n_prompt, 12, 40);
        spec.depth.rule.kind = kinds[c];
        spec.depth.rule.threshold = 0.05;
        spec.depth.rule.min_steps = 3;
        spec.depth.rule.check_every = 4;
        const struct result *r = run_job(&rig, c, &spec);
        for (int32_t i = 0; i < 12; i++) {
            bool is_check = r->steps[i] >= 3 && (r->steps[i] - 3) % 4 == 0;
            if (r->exits[i] == ENGINE_EXIT_CONVERGED)
                assert_true(is_check && r->values[i] < 0.05);
            else
                assert_int_equal(r->steps[i], 40);
        }
    }
    rig_close(&rig);
}

static void a_prompt_read_token_by_token_spends_the_steps_of_the_official_code(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        enum model_exit_kind kind;
    } rules[] = {{"latent-diff", MODEL_EXIT_LATENT_DIFF}, {"kl", MODEL_EXIT_KL}};
    static float logits[11 * 97];
    int32_t prompt[32], steps[32];
    int32_t n_prompt = golden_ints("gen.prompt", prompt);
    struct rig rig;
    rig_open(&rig, &roomy);
    for (uint64_t c = 0; c < 2; c++) {
        char key[64];
        struct job_spec spec = plain_spec(prompt, n_prompt, 1, 32);
        spec.kind = SPEC_SCORE;
        spec.score_begin = 1;
        spec.depth.is_tokenwise = true;
        spec.depth.rule.kind = rules[c].kind;
        spec.depth.rule.threshold = model_exit_default_threshold(rules[c].kind);
        const struct result *r = run_job(&rig, c, &spec);
        assert_int_equal(r->finish, ENGINE_FINISH_SCORED);
        snprintf(key, sizeof key, "tokenwise.%s.steps", rules[c].name);
        assert_int_equal(golden_ints(key, steps), n_prompt);
        snprintf(key, sizeof key, "tokenwise.%s.logits", rules[c].name);
        int32_t vocab = golden_floats(key, logits, 11 * 97) / n_prompt;
        for (int32_t i = 0; i + 1 < n_prompt; i++) {
            const float *row = logits + i * vocab;
            double sum = 0;
            for (int32_t v = 0; v < vocab; v++)
                sum += exp((double)row[v]);
            double expected = (double)row[prompt[i + 1]] - log(sum);
            assert_int_equal(r->score_steps[i], steps[i]);
            if (fabs((double)r->scores[i] - expected) > 1e-4)
                fail_msg("%s: position %d: logprob %g, expected %g", rules[c].name, i,
                         (double)r->scores[i], expected);
        }
        /* The last position writes: its depth is that of the first token. */
        spec.kind = SPEC_GENERATE;
        r = run_job(&rig, 10 + c, &spec);
        assert_int_equal(r->steps[0], steps[n_prompt - 1]);
    }
    rig_close(&rig);
}

/* A crowd of everything: prompts, depths, rules, samplers, single depths. */
static struct job_spec rich_spec(int32_t (*prompts)[32], int32_t i)
{
    static const enum model_exit_kind kinds[] = {MODEL_EXIT_KL, MODEL_EXIT_COSINE,
                                                 MODEL_EXIT_ACCELERATION, MODEL_EXIT_ENTROPY_DIFF,
                                                 MODEL_EXIT_ARGMAX_STABILITY};
    struct job_spec spec = varied_spec(prompts, i);
    if (i % 3 == 1) {
        spec.depth.rule.kind = kinds[i / 3 % 5];
        spec.depth.rule.threshold = spec.depth.rule.kind == MODEL_EXIT_ARGMAX_STABILITY ? 3 : 0.02;
        spec.depth.rule.max_steps = 16;
        spec.depth.rule.check_every = 1 + i % 2;
        spec.depth.is_tokenwise = i % 4 == 0;
    }
    if (i % 5 == 2 && spec.max_tokens > 3) {
        spec.depth.at[0].token = 1;
        spec.depth.at[0].steps = 13;
        spec.depth.n_at = 1;
    }
    return spec;
}

static void run_alone(const char *policy, struct job_spec *specs, struct result *alone, int32_t n)
{
    struct rig_options o = roomy;
    struct rig rig;
    o.kv_policy = policy;
    rig_open(&rig, &o);
    for (int32_t i = 0; i < n; i++) {
        alone[i] = *run_job(&rig, (uint64_t)i, &specs[i]);
        assert_int_equal(alone[i].n_tokens, specs[i].max_tokens);
    }
    rig_close(&rig);
}

/* Low jobs fill the pages; higher ones come again and again; every answer is the one that it is
 * alone, whether the lost positions can be replayed side by side or only one by one. */
static void a_job_that_gave_way_ends_with_the_same_bytes(void **state)
{
    (void)state;
    enum { N = 40 };
    static const char *const policies[] = {"latest-m4", "compress-s4", "latest-m4-compress-s16"};
    static int32_t prompts[N][32];
    static struct job_spec specs[N];
    static struct result alone[N];
    for (int32_t i = 0; i < N; i++)
        specs[i] = rich_spec(prompts, i);
    for (size_t c = 0; c < 3; c++) {
        run_alone(policies[c], specs, alone, N);
        for (int32_t overlap = 0; overlap < 2; overlap++) {
            struct rig_options o = {.kv_policy = policies[c],
                                    .n_pages = 6,
                                    .n_seqs = 3,
                                    .max_batch = 7,
                                    .prefill_chunk = 5,
                                    .n_cached_pages = overlap ? 4 : 0,
                                    .overlap = overlap};
            struct rig rig;
            struct engine_stats stats;
            rig_open(&rig, &o);
            for (int32_t i = 0; i < N; i++) {
                specs[i].priority = 1 + i * 30 / N;
                submit(&rig, (uint64_t)i, &specs[i]);
                if (i % 4 == 0)
                    wait_for(&rig, (uint64_t)i, has_written);
            }
            for (int32_t i = 0; i < N; i++) {
                wait_for(&rig, (uint64_t)i, is_finished);
                assert_int_equal(rig.results[i].n_started, 1);
                assert_same(&alone[i], &rig.results[i]);
                assert_int_equal(rig.results[i].total_steps, alone[i].total_steps);
                specs[i].priority = SPEC_PRIORITY_DEFAULT;
            }
            engine_get_stats(rig.engine, &stats);
            assert_true(stats.preemptions > 0 && stats.replay_positions > 0);
            rig_close(&rig);
        }
    }
}

/* What the loop does for Jobs.Continue: the tokens of `from` are known, `extra` more are asked. */
static struct job_spec continuation(const struct job_spec *spec, const struct result *from,
                                    int32_t n_known, int32_t max_tokens)
{
    struct job_spec next = *spec;
    next.max_tokens = max_tokens;
    next.known = (struct spec_known){.n = n_known,
                                     .ids = (int32_t *)(uintptr_t)from->tokens,
                                     .steps = (int32_t *)(uintptr_t)from->steps};
    snprintf(next.key, sizeof next.key, "next");
    snprintf(next.continues, sizeof next.continues, "%s", spec->key);
    return next;
}

static void assert_continues(const struct result *whole, const struct result *part, int32_t n_known)
{
    struct result rest = *whole;
    rest.n_tokens -= n_known;
    for (int32_t i = 0; i < rest.n_tokens; i++) {
        rest.tokens[i] = whole->tokens[n_known + i];
        rest.steps[i] = whole->steps[n_known + i];
        rest.exits[i] = whole->exits[n_known + i];
        rest.values[i] = whole->values[n_known + i];
        rest.logprobs[i] = whole->logprobs[n_known + i];
        memcpy(rest.top[i], whole->top[n_known + i], sizeof rest.top[i]);
    }
    assert_same(&rest, part);
    assert_int_equal(whole->total_steps, part->total_steps);
}

static void a_continued_job_writes_what_it_would_have_written_at_once(void **state)
{
    (void)state;
    enum { N = 20 };
    static const char *const policies[] = {"latest-m4", "compress-s4", "latest-m4-compress-s16"};
    static int32_t prompts[N][32];
    for (size_t c = 0; c < 3; c++) {
        for (int32_t n_held = 0; n_held < 2; n_held++) { /* by replay, or where it stopped */
            struct rig_options o = roomy;
            struct rig rig;
            o.kv_policy = policies[c];
            o.n_held_jobs = n_held;
            rig_open(&rig, &o);
            for (int32_t i = 0; i < N; i++) {
                struct job_spec first = rich_spec(prompts, i), whole;
                int32_t n_first = 1 + i % first.max_tokens;
                whole = first;
                whole.max_tokens += 4;
                first.max_tokens = n_first;
                snprintf(first.key, sizeof first.key, "job-%d", i);
                const struct result *begun = run_job(&rig, 0, &first);
                assert_int_equal(begun->n_tokens, n_first);
                struct job_spec more = continuation(&first, begun, n_first, whole.max_tokens);
                uint64_t replayed;
                struct engine_stats stats;
                engine_get_stats(rig.engine, &stats);
                replayed = stats.replay_positions;
                const struct result *rest = run_job(&rig, 1, &more);
                engine_get_stats(rig.engine, &stats);
                if (n_held)
                    assert_int_equal(stats.replay_positions, replayed);
                else
                    assert_true(stats.replay_positions > replayed || more.depth.is_tokenwise);
                assert_continues(run_job(&rig, 2, &whole), rest, n_first);
                memset(rig.results, 0, 3 * sizeof *rig.results);
            }
            rig_close(&rig);
        }
    }
}

static void a_thought_goes_on_as_if_it_had_been_deeper_at_once(void **state)
{
    (void)state;
    enum { N = 12 };
    static const char *const policies[] = {"latest-m4", "full", "compress-s4"};
    static int32_t prompts[N][32];
    for (size_t c = 0; c < 3; c++) {
        for (int32_t n_held = 0; n_held < 2; n_held++) {
            struct rig_options o = roomy;
            struct rig rig;
            o.kv_policy = policies[c];
            o.n_held_jobs = n_held;
            o.n_cached_pages = 8;
            rig_open(&rig, &o);
            for (int32_t i = 0; i < N; i++) {
                struct job_spec first = varied_spec(prompts, i), whole;
                int32_t n = i % 2 ? 1 : first.max_tokens; /* 1: the prompt itself is deepened */
                first.max_tokens = n;
                snprintf(first.key, sizeof first.key, "job-%d", i);
                const struct result *begun = run_job(&rig, 0, &first);
                whole = first;
                whole.max_tokens = n + 3;
                whole.depth.at[0].token = n - 1;
                whole.depth.at[0].steps = begun->steps[n - 1] + 20;
                whole.depth.n_at = 1;
                struct job_spec more = continuation(&first, begun, n - 1, n + 3);
                more.depth = whole.depth;
                const struct result *rest = run_job(&rig, 1, &more);
                assert_int_equal(rest->steps[0], begun->steps[n - 1] + 20);
                whole.key[0] = '\0';
                assert_continues(run_job(&rig, 2, &whole), rest, n - 1);
                memset(rig.results, 0, 3 * sizeof *rig.results);
            }
            rig_close(&rig);
        }
    }
}

/* Depth 8 at once, and 3 steps with 5 more: the same thought, asked for in two ways. */
static void more_steps_for_a_whole_prompt_equal_a_deeper_job(void **state)
{
    (void)state;
    int32_t prompt[32];
    int32_t n_prompt = golden_ints("gen.prompt", prompt);
    struct rig_options o = roomy;
    struct rig rig;
    o.n_held_jobs = 1;
    rig_open(&rig, &o);
    struct job_spec shallow = plain_spec(prompt, n_prompt, 1, 3);
    struct job_spec deep = plain_spec(prompt, n_prompt, 1, 8);
    snprintf(shallow.key, sizeof shallow.key, "shallow");
    const struct result *begun = run_job(&rig, 0, &shallow);
    struct job_spec more = continuation(&shallow, begun, 0, 1);
    more.depth.at[0] = (struct spec_depth_at){.token = 0, .steps = 8};
    more.depth.n_at = 1;
    struct engine_stats before, after;
    engine_get_stats(rig.engine, &before);
    run_job(&rig, 1, &more);
    engine_get_stats(rig.engine, &after);
    assert_int_equal(after.tick_positions - before.tick_positions, 5 * n_prompt);
    run_job(&rig, 2, &deep);
    assert_same(&rig.results[1], &rig.results[2]);
    rig_close(&rig);
}

/* Prompts that begin alike take each other's pages where the bytes allow it, and only there. */
static void shared_prefixes_save_work_and_change_nothing(void **state)
{
    (void)state;
    enum { N = 6, LONG = 60 };
    static int32_t prompts[N][64];
    static struct result alone[N];
    struct job_spec specs[N];
    struct rig_options o = roomy;
    struct rig rig;
    struct engine_stats stats;
    for (int32_t i = 0; i < N; i++) {
        for (int32_t p = 0; p < LONG; p++)
            prompts[i][p] = p < 40 ? p : (p * 7 + i) % 97; /* two whole pages and a half alike */
        specs[i] = plain_spec(prompts[i], LONG, 8, 6);
    }
    specs[2].depth.rule.max_steps = 7;                 /* another depth */
    specs[3].init_scale = 1, specs[3].seed = 5;        /* other initial latents */
    specs[4].depth.rule.kind = MODEL_EXIT_LATENT_DIFF; /* its depth is not known before */
    specs[4].depth.rule.threshold = 0.05;
    rig_open(&rig, &o);
    for (int32_t i = 0; i < N; i++)
        alone[i] = *run_job(&rig, (uint64_t)i, &specs[i]);
    engine_get_stats(rig.engine, &stats);
    assert_int_equal(stats.prefix_positions, 0);
    rig_close(&rig);

    o.n_cached_pages = 20;
    rig_open(&rig, &o);
    static const int32_t expected[N] = {0, 32, 0, 0, 0, 32};
    uint64_t before = 0;
    for (int32_t i = 0; i < N; i++) {
        assert_same(&alone[i], run_job(&rig, (uint64_t)i, &specs[i]));
        assert_int_equal(rig.results[i].total_steps, alone[i].total_steps);
        engine_get_stats(rig.engine, &stats);
        assert_int_equal(stats.prefix_positions - before, expected[i]);
        before = stats.prefix_positions;
    }
    for (int32_t i = 0; i < N; i++) /* the whole prompt again; all at once, beside each other */
        submit(&rig, (uint64_t)(10 + i), &specs[i]);
    for (int32_t i = 0; i < N; i++) {
        wait_for(&rig, (uint64_t)(10 + i), is_finished);
        assert_same(&alone[i], &rig.results[10 + i]);
    }
    engine_get_stats(rig.engine, &stats);
    assert_int_equal(stats.prefix_positions - before, 5 * 48);
    rig_close(&rig);

    o.kv_policy = "compress-s4"; /* planes are shared between steps: nothing can be taken over */
    rig_open(&rig, &o);
    run_job(&rig, 0, &specs[0]);
    run_job(&rig, 1, &specs[0]);
    engine_get_stats(rig.engine, &stats);
    assert_int_equal(stats.prefix_positions, 0);
    assert_same(&rig.results[0], &rig.results[1]);
    rig_close(&rig);
}

static void a_range_without_load_is_thought_to_its_end(void **state)
{
    (void)state;
    int32_t prompt[32];
    int32_t n_prompt = golden_ints("gen.prompt", prompt);
    struct rig rig;
    rig_open(&rig, &roomy);
    struct job_spec fixed = plain_spec(prompt, n_prompt, 6, 9), range = fixed;
    range.depth.is_range = true;
    range.depth.rule.min_steps = 2;
    run_job(&rig, 0, &fixed);
    run_job(&rig, 1, &range);
    for (int32_t i = 0; i < 6; i++) {
        assert_int_equal(rig.results[1].exits[i], ENGINE_EXIT_MAX_STEPS);
        rig.results[1].exits[i] = ENGINE_EXIT_FIXED;
    }
    assert_same(&rig.results[0], &rig.results[1]);
    rig_close(&rig);
}

/* A budget that nothing could meet buys the least; a generous one the most. */
static void a_budget_buys_depth_between_its_bounds(void **state)
{
    (void)state;
    int32_t prompt[32];
    int32_t n_prompt = golden_ints("gen.prompt", prompt);
    struct rig rig;
    rig_open(&rig, &roomy);
    struct job_spec spec = plain_spec(prompt, n_prompt, 50, 64);
    spec.depth.is_range = true;
    spec.depth.rule.min_steps = 60; /* 3,000 steps and more in 1 ms: no processor does that */
    run_job(&rig, 9, &spec);        /* the pace is learned */
    spec.budget.total_ms = 1;
    const struct result *tight = run_job(&rig, 0, &spec);
    assert_int_equal(tight->finish, ENGINE_FINISH_LENGTH);
    assert_int_equal(tight->steps[49], 60);
    assert_int_equal(tight->exits[49], ENGINE_EXIT_BUDGET);
    assert_true(tight->late);
    spec.budget.total_ms = 3600000; /* ends when it was said to end: a few steps may pay for that */
    const struct result *generous = run_job(&rig, 1, &spec);
    assert_in_range(generous->steps[49], 60, 64);
    assert_false(generous->late);
    spec.budget.total_ms = 0;
    spec.budget.token_ms = 3600000;
    const struct result *patient = run_job(&rig, 3, &spec);
    for (int32_t i = 0; i < 50; i++) {
        assert_int_equal(patient->steps[i], 64);
        assert_int_equal(patient->exits[i], ENGINE_EXIT_MAX_STEPS);
    }
    spec.budget.token_ms = 0;
    spec.depth.is_range = false; /* a fixed depth is a promise */
    spec.budget.total_ms = 1;
    const struct result *fixed = run_job(&rig, 2, &spec);
    for (int32_t i = 0; i < 50; i++)
        assert_int_equal(fixed->steps[i], 64);
    rig_close(&rig);
}

static void a_held_job_waits_for_a_priority(void **state)
{
    (void)state;
    int32_t prompt[32];
    int32_t n_prompt = golden_ints("gen.prompt", prompt);
    struct rig rig;
    rig_open(&rig, &roomy);
    struct job_spec spec = plain_spec(prompt, n_prompt, 4, 4), held = spec;
    held.priority = SPEC_PRIORITY_HOLD;
    submit(&rig, 0, &held);
    submit(&rig, 2, &held);
    run_job(&rig, 1, &spec);
    assert_int_equal(rig.results[0].n_started, 0);
    engine_set_priority(rig.engine, 0, 20);
    wait_for(&rig, 0, is_finished);
    assert_same(&rig.results[0], &rig.results[1]);
    engine_cancel(rig.engine, 2, ENGINE_FINISH_CANCELLED);
    wait_for(&rig, 2, is_finished);
    assert_int_equal(rig.results[2].n_started, 0);
    rig_close(&rig);
}

/* Every job has early steps of its own, some of them more than it has steps. */
static void early_steps_keep_every_promise(void **state)
{
    (void)state;
    enum { N = 15 };
    static int32_t prompts[N][32];
    static struct job_spec specs[N];
    static struct result alone[N], late[N];
    struct rig_options o = roomy;
    struct rig rig;
    struct engine_stats stats;
    o.has_early = true;
    rig_open(&rig, &o);
    for (int32_t i = 0; i < N; i++) {
        specs[i] = rich_spec(prompts, i);
        late[i] = *run_job(&rig, (uint64_t)i, &specs[i]);
    }
    engine_get_stats(rig.engine, &stats);
    assert_int_equal(stats.early_positions, 0);
    for (int32_t i = 0; i < N; i++) {
        static const int32_t early[] = {1, 3, 5, 64};
        specs[i].depth.early_steps = early[i % 4];
        alone[i] = *run_job(&rig, (uint64_t)(N + i), &specs[i]);
        assert_true(alone[i].logprobs[0] != late[i].logprobs[0]);
    }
    engine_get_stats(rig.engine, &stats);
    assert_true(stats.early_positions > 0);
    rig_close(&rig);

    o.n_pages = 6; /* they give way to each other, and are computed again side by side */
    o.n_seqs = 4;
    o.max_batch = 5;
    o.prefill_chunk = 3;
    rig_open(&rig, &o);
    for (int32_t i = 0; i < N; i++) {
        specs[i].priority = 1 + 2 * i;
        submit(&rig, (uint64_t)i, &specs[i]);
        if (i % 4 == 0)
            wait_for(&rig, (uint64_t)i, has_written);
    }
    for (int32_t i = 0; i < N; i++) {
        wait_for(&rig, (uint64_t)i, is_finished);
        assert_same(&alone[i], &rig.results[i]);
    }
    engine_get_stats(rig.engine, &stats);
    assert_true(stats.replay_positions > 0);
    rig_close(&rig);
}

/* The last early step of a thought and the first late one may lie on both sides of its end. */
static void a_thought_goes_on_in_the_format_that_is_its_turn(void **state)
{
    (void)state;
    static int32_t prompts[1][32];
    for (int32_t n_held = 0; n_held < 2; n_held++) {
        struct rig_options o = roomy;
        struct rig rig;
        struct engine_stats stats;
        uint64_t replayed = 0;
        o.has_early = true;
        o.n_held_jobs = n_held;
        rig_open(&rig, &o);
        for (int32_t early = 0; early < 9; early += 2) {
            struct job_spec first = varied_spec(prompts, 0), deep;
            first.depth = (struct spec_depth){.rule = {.kind = MODEL_EXIT_FIXED,
                                                       .min_steps = 1,
                                                       .max_steps = 4,
                                                       .check_every = 1},
                                              .early_steps = early};
            first.max_tokens = 3;
            snprintf(first.key, sizeof first.key, "job-%d", early);
            deep = first;
            deep.depth.at[0] = (struct spec_depth_at){.token = 2, .steps = 8};
            deep.depth.n_at = 1;
            const struct result *begun = run_job(&rig, 0, &first);
            struct job_spec more = continuation(&deep, begun, 2, 3);
            const struct result *rest = run_job(&rig, 1, &more);
            engine_get_stats(rig.engine, &stats);
            assert_int_equal(stats.replay_positions == replayed, n_held);
            assert_continues(run_job(&rig, 2, &deep), rest, 2);
            /* Of another ladder nothing can be taken over, held or not. */
            begun = run_job(&rig, 3, &first);
            engine_get_stats(rig.engine, &stats);
            replayed = stats.replay_positions;
            more.depth.early_steps = early + 1;
            run_job(&rig, 4, &more);
            engine_get_stats(rig.engine, &stats);
            assert_true(stats.replay_positions > replayed);
            replayed = stats.replay_positions;
            memset(rig.results, 0, 5 * sizeof *rig.results);
        }
        rig_close(&rig);
    }
}

static void only_jobs_of_equal_early_steps_share_pages(void **state)
{
    (void)state;
    enum { LONG = 40 };
    static int32_t prompt[64];
    struct rig_options o = roomy;
    struct rig rig;
    struct engine_stats stats;
    for (int32_t p = 0; p < LONG; p++)
        prompt[p] = p;
    struct job_spec none = plain_spec(prompt, LONG, 4, 6), two = none;
    two.depth.early_steps = 2;
    o.has_early = true;
    o.n_cached_pages = 20;
    rig_open(&rig, &o);
    const struct result *first = run_job(&rig, 0, &two);
    run_job(&rig, 1, &none);
    engine_get_stats(rig.engine, &stats);
    assert_int_equal(stats.prefix_positions, 0);
    assert_same(first, run_job(&rig, 2, &two));
    engine_get_stats(rig.engine, &stats);
    assert_int_equal(stats.prefix_positions, 32);
    rig_close(&rig);
}

/* KV in bf16: other numbers than in f32, and just as much one answer. */
static void bf16_caches_keep_every_promise(void **state)
{
    (void)state;
    enum { N = 12 };
    static int32_t prompts[N][32];
    static struct job_spec specs[N];
    static struct result alone[N];
    struct rig_options o = roomy;
    struct rig rig;
    bool differs = false;
    o.kv_format = MODEL_KV_BF16;
    rig_open(&rig, &o);
    for (int32_t i = 0; i < N; i++) {
        specs[i] = rich_spec(prompts, i);
        alone[i] = *run_job(&rig, (uint64_t)i, &specs[i]);
    }
    rig_close(&rig);
    o.n_pages = 6;
    o.n_seqs = 4;
    o.max_batch = 5;
    o.prefill_chunk = 3;
    rig_open(&rig, &o);
    for (int32_t i = 0; i < N; i++) {
        specs[i].priority = 1 + 2 * i;
        submit(&rig, (uint64_t)i, &specs[i]);
    }
    for (int32_t i = 0; i < N; i++) {
        wait_for(&rig, (uint64_t)i, is_finished);
        assert_same(&alone[i], &rig.results[i]);
    }
    rig_close(&rig);
    rig_open(&rig, &roomy);
    for (int32_t i = 0; i < N; i++)
        differs |= run_job(&rig, (uint64_t)i, &specs[i])->logprobs[0] != alone[i].logprobs[0];
    assert_true(differs);
    rig_close(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_exit_rule_spends_the_steps_of_the_official_code),
        cmocka_unit_test(checks_come_when_the_rule_says),
        cmocka_unit_test(a_prompt_read_token_by_token_spends_the_steps_of_the_official_code),
        cmocka_unit_test(a_job_that_gave_way_ends_with_the_same_bytes),
        cmocka_unit_test(a_continued_job_writes_what_it_would_have_written_at_once),
        cmocka_unit_test(a_thought_goes_on_as_if_it_had_been_deeper_at_once),
        cmocka_unit_test(more_steps_for_a_whole_prompt_equal_a_deeper_job),
        cmocka_unit_test(shared_prefixes_save_work_and_change_nothing),
        cmocka_unit_test(a_range_without_load_is_thought_to_its_end),
        cmocka_unit_test(a_budget_buys_depth_between_its_bounds),
        cmocka_unit_test(a_held_job_waits_for_a_priority),
        cmocka_unit_test(early_steps_keep_every_promise),
        cmocka_unit_test(a_thought_goes_on_in_the_format_that_is_its_turn),
        cmocka_unit_test(only_jobs_of_equal_early_steps_share_pages),
        cmocka_unit_test(bf16_caches_keep_every_promise),
    };
    return cmocka_run_group_tests(tests, rig_set_up, rig_tear_down);
}
