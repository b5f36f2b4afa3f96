/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tests of daemon/engine with a real rank group of one on the golden model: the numbers of the
 * official code come out of the event stream, and nothing that the scheduler decides (chunks,
 * neighbours, order of arrival, scarce places) changes one bit of them.
 */
#include "daemon/engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine_rig.h"

static void greedy_tokens_are_those_of_the_official_code(void **state)
{
    (void)state;
    static const struct {
        const char *key, *policy;
        int32_t steps;
    } cases[] = {{"gen.full.r8.tokens", "full", 8},
                 {"gen.full.r32.tokens", "full", 32},
                 {"gen.compress-s4.r8.tokens", "compress-s4", 8},
                 {"gen.compress-s16.r8.tokens", "compress-s16", 8},
                 {"gen.compress-anchor.r13.tokens", "compress-anchor", 13}};
    int32_t prompt[32], expected[32];
    int32_t n_prompt = golden_ints("gen.prompt", prompt);
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        struct rig_options o = roomy;
        struct rig rig;
        o.kv_policy = cases[c].policy;
        rig_open(&rig, &o);
        struct job_spec spec = plain_spec(prompt, n_prompt, 20, cases[c].steps);
        submit(&rig, 0, &spec);
        wait_for(&rig, 0, is_finished);
        assert_int_equal(rig.results[0].finish, ENGINE_FINISH_LENGTH);
        assert_int_equal(rig.results[0].n_tokens, golden_ints(cases[c].key, expected));
        for (int32_t i = 0; i < 20; i++)
            assert_int_equal(rig.results[0].tokens[i], expected[i]);
        assert_int_equal(rig.results[0].total_steps, (uint64_t)(n_prompt + 19) * cases[c].steps);
        rig_close(&rig);
    }
}

static void adaptive_depth_spends_the_steps_of_the_official_code(void **state)
{
    (void)state;
    static const char *const policies[] = {"full", "latest-m4", "latest-m4-compress-s16"};
    int32_t prompt[32], steps[32], tokens[32];
    int32_t n_prompt = golden_ints("gen.prompt", prompt);
    for (size_t c = 0; c < sizeof policies / sizeof *policies; c++) {
        char key[96];
        struct rig_options o = roomy;
        struct rig rig;
        o.kv_policy = policies[c];
        rig_open(&rig, &o);
        struct job_spec spec = plain_spec(prompt, n_prompt, 20, 32);
        spec.depth.rule.kind = MODEL_EXIT_LATENT_DIFF;
        spec.depth.rule.threshold = 0.03;
        submit(&rig, 0, &spec);
        wait_for(&rig, 0, is_finished);
        snprintf(key, sizeof key, "adaptive.latent-diff.%s.tokens", policies[c]);
        golden_ints(key, tokens);
        snprintf(key, sizeof key, "adaptive.latent-diff.%s.steps", policies[c]);
        golden_ints(key, steps);
        for (int32_t i = 0; i < 20; i++) {
            assert_int_equal(rig.results[0].tokens[i], tokens[i]);
            assert_int_equal(rig.results[0].steps[i], steps[i]);
        }
        rig_close(&rig);
    }
}

static void nothing_the_scheduler_decides_changes_a_bit(void **state)
{
    (void)state;
    enum { N = 24 };
    static int32_t prompts[N][32];
    static const struct rig_options crowded[] = {
        {"latest-m4", 200, 32, 64, 16, NULL, 0, 0, false, MODEL_KV_F32, 0, 0, false},
        {"latest-m4", 200, 32, 64, 1, NULL, 0, 0, false, MODEL_KV_F32, 0, 0, false},
        {"latest-m4", 200, 32, 5, 3, NULL, 0, 0, true, MODEL_KV_F32, 0, 0, false},
        {"latest-m4", 200, 32, 1, 1, NULL, 0, 0, false, MODEL_KV_F32, 0, 0, false},
        {"latest-m4", 9, 4, 7, 7, NULL, 4, 2, true, MODEL_KV_F32, 0, 0, false}};
    struct job_spec specs[N];
    struct result alone[N];
    struct rig rig;
    rig_open(&rig, &roomy);
    for (int32_t i = 0; i < N; i++) {
        specs[i] = varied_spec(prompts, i);
        submit(&rig, (uint64_t)i, &specs[i]);
        wait_for(&rig, (uint64_t)i, is_finished);
        alone[i] = rig.results[i];
        assert_int_equal(alone[i].n_tokens, specs[i].max_tokens);
    }
    rig_close(&rig);
    for (size_t c = 0; c < sizeof crowded / sizeof *crowded; c++) {
        rig_open(&rig, &crowded[c]);
        for (int32_t i = 0; i < N; i++) {
            int32_t job = c % 2 ? N - 1 - i : i; /* another order of arrival */
            submit(&rig, (uint64_t)job, &specs[job]);
        }
        for (int32_t i = 0; i < N; i++) {
            wait_for(&rig, (uint64_t)i, is_finished);
            assert_same(&alone[i], &rig.results[i]);
        }
        rig_close(&rig);
    }
}

/* The choice is greedy here, so only the initial latents can tell the seeds apart. */
static void another_seed_is_another_answer_and_zero_scale_has_none(void **state)
{
    (void)state;
    int32_t prompt[32];
    int32_t n_prompt = golden_ints("gen.prompt", prompt);
    struct rig rig;
    rig_open(&rig, &roomy);
    struct job_spec specs[4];
    for (uint64_t i = 0; i < 4; i++) {
        specs[i] = plain_spec(prompt, n_prompt, 3, 2);
        specs[i].seed = 1 + i % 2;
        specs[i].init_scale = i < 2 ? 1.0f : 0.0f;
        submit(&rig, i, &specs[i]);
        wait_for(&rig, i, is_finished);
    }
    assert_true(rig.results[0].logprobs[0] != rig.results[1].logprobs[0]);
    assert_same(&rig.results[2], &rig.results[3]);
    rig_close(&rig);
}

static void scores_are_the_logprobs_that_generation_reported(void **state)
{
    (void)state;
    int32_t prompt[32], both[64];
    int32_t n_prompt = golden_ints("gen.prompt", prompt);
    struct rig rig;
    rig_open(&rig, &roomy);
    struct job_spec spec = plain_spec(prompt, n_prompt, 20, 6);
    spec.seed = 99;
    spec.init_scale = 1;
    submit(&rig, 0, &spec);
    wait_for(&rig, 0, is_finished);
    const struct result *written = &rig.results[0];
    memcpy(both, prompt, (size_t)n_prompt * sizeof *both);
    memcpy(both + n_prompt, written->tokens, 20 * sizeof *both);
    struct job_spec score = spec;
    score.kind = SPEC_SCORE;
    score.prompt = both;
    score.n_prompt = n_prompt + 20;
    score.score_begin = n_prompt;
    submit(&rig, 1, &score);
    wait_for(&rig, 1, is_finished);
    assert_int_equal(rig.results[1].finish, ENGINE_FINISH_SCORED);
    assert_int_equal(rig.results[1].n_scores, 20);
    for (int32_t i = 0; i < 20; i++) {
        assert_memory_equal(&rig.results[1].scores[i], &written->logprobs[i], sizeof(float));
        assert_true(rig.results[1].greedy[i]);
    }
    rig_close(&rig);
}

static void a_cancelled_job_ends_and_gives_everything_back(void **state)
{
    (void)state;
    int32_t prompt[32];
    int32_t n_prompt = golden_ints("gen.prompt", prompt);
    struct rig_options o = roomy;
    o.n_pages = 5; /* one long job fills it, the next one has to wait */
    struct rig rig;
    rig_open(&rig, &o);
    struct job_spec spec = plain_spec(prompt, n_prompt, 60, 64);
    submit(&rig, 0, &spec);
    submit(&rig, 1, &spec);
    wait_for(&rig, 0, is_started);
    assert_int_equal(rig.results[1].n_started, 0);
    engine_cancel(rig.engine, 1, ENGINE_FINISH_CANCELLED);
    wait_for(&rig, 1, is_finished);
    assert_int_equal(rig.results[1].finish, ENGINE_FINISH_CANCELLED);
    assert_int_equal(rig.results[1].n_tokens, 0);
    engine_cancel(rig.engine, 0, ENGINE_FINISH_DEADLINE);
    engine_cancel(rig.engine, 17, ENGINE_FINISH_CANCELLED); /* nobody of that name */
    wait_for(&rig, 0, is_finished);
    assert_int_equal(rig.results[0].finish, ENGINE_FINISH_DEADLINE);
    assert_true(rig.results[0].n_tokens < 60);
    struct job_spec small = plain_spec(prompt, n_prompt, 2, 2);
    submit(&rig, 2, &small);
    wait_for(&rig, 2, is_finished);
    assert_int_equal(rig.results[2].finish, ENGINE_FINISH_LENGTH);
    rig_close(&rig);
}

static void a_job_out_of_time_keeps_what_it_wrote(void **state)
{
    (void)state;
    int32_t prompt[32];
    int32_t n_prompt = golden_ints("gen.prompt", prompt);
    struct rig_options o = roomy;
    struct rig rig;
    rig_open(&rig, &o);
    struct job_spec spec = plain_spec(prompt, n_prompt, 60, 64);
    spec.max_run_ms = 1;
    submit(&rig, 0, &spec);
    wait_for(&rig, 0, is_finished);
    assert_int_equal(rig.results[0].finish, ENGINE_FINISH_DEADLINE);
    assert_true(rig.results[0].n_tokens < 60);
    rig_close(&rig);
}

static void stopping_ends_every_job_once(void **state)
{
    (void)state;
    int32_t prompt[32];
    int32_t n_prompt = golden_ints("gen.prompt", prompt);
    struct rig_options o = roomy;
    o.n_seqs = 3;
    struct rig rig;
    rig_open(&rig, &o);
    struct job_spec spec = plain_spec(prompt, n_prompt, 60, 64);
    for (uint64_t i = 0; i < 10; i++)
        submit(&rig, i, &spec);
    wait_for(&rig, 0, is_started);
    engine_stop(rig.engine);
    rig.is_stopped = true;
    pump(&rig);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(rig.results[i].n_finished, 1);
        assert_int_equal(rig.results[i].finish, ENGINE_FINISH_CANCELLED);
    }
    rig_close(&rig);
}

static void when_the_group_is_lost_every_job_ends_once_with_the_reason(void **state)
{
    (void)state;
    enum { N = 12 };
    int32_t prompt[32];
    int32_t n_prompt = golden_ints("gen.prompt", prompt);
    struct rig_options o = roomy;
    o.n_seqs = 3; /* the others wait */
    struct rig rig;
    rig_open(&rig, &o);
    struct job_spec spec = plain_spec(prompt, n_prompt, 60, 64);
    for (uint64_t i = 0; i < N; i++)
        submit(&rig, i, &spec);
    wait_for(&rig, 2, is_started);
    rig_break_gather();
    for (uint64_t i = 0; i < N; i++)
        wait_for(&rig, i, is_finished);
    submit(&rig, N, &spec); /* too late */
    wait_for(&rig, N, is_finished);
    for (int32_t i = 0; i <= N; i++) {
        assert_int_equal(rig.results[i].finish, ENGINE_FINISH_ERROR);
        assert_int_equal(rig.results[i].error.code, LTD_E_RANK);
        assert_non_null(strstr(rig.results[i].error.msg, "the cable is cut"));
        assert_int_equal(rig.results[i].n_started, i < 3);
    }
    rig_close(&rig);
}

/* Jobs come, are cancelled or run out of time at any moment, and their places go to others. */
static void jobs_that_are_ended_at_any_moment_leave_no_trace_in_others(void **state)
{
    (void)state;
    enum { N = MAX_JOBS };
    static int32_t prompts[N][32];
    static struct job_spec specs[N];
    static struct result alone[N];
    struct rig rig;
    rig_open(&rig, &roomy);
    for (int32_t i = 0; i < N; i++) {
        specs[i] = varied_spec(prompts, i);
        submit(&rig, (uint64_t)i, &specs[i]);
        wait_for(&rig, (uint64_t)i, is_finished);
        alone[i] = rig.results[i];
    }
    rig_close(&rig);
    uint32_t random = 12345;
    for (int32_t round = 0; round < 3; round++) {
        struct rig_options o = {"latest-m4",
                                7 + 2 * round,
                                3 + 2 * round,
                                6,
                                1 + 2 * round,
                                NULL,
                                0,
                                0,
                                false,
                                MODEL_KV_F32,
                                0,
                                0,
                                false};
        rig_open(&rig, &o);
        for (int32_t i = 0; i < N; i++) {
            submit(&rig, (uint64_t)i, &specs[i]);
            random = random * 1664525 + 1013904223;
            int32_t victim = (int32_t)(random >> 16) % (i + 1);
            if (victim % 3 != 2) /* the others may live */
                engine_cancel(rig.engine, (uint64_t)victim, ENGINE_FINISH_CANCELLED);
            if (random & 0x800)
                wait_for(&rig, (uint64_t)(i / 2), is_finished);
        }
        for (int32_t i = 0; i < N; i++) {
            wait_for(&rig, (uint64_t)i, is_finished);
            assert_begins(&alone[i], &rig.results[i]);
            if (rig.results[i].finish != ENGINE_FINISH_CANCELLED)
                assert_same(&alone[i], &rig.results[i]);
            if (i % 3 == 2)
                assert_int_equal(rig.results[i].finish, ENGINE_FINISH_LENGTH);
        }
        rig_close(&rig);
    }
}

/* Places that a failed tick should have given out are given out again: the next jobs meet them. */
static void a_job_that_cannot_be_computed_leaves_its_successors_alone(void **state)
{
    (void)state;
    int32_t prompt[32], nonsense[] = {1, 100000, 2};
    int32_t n_prompt = golden_ints("gen.prompt", prompt);
    struct rig rig;
    rig_open(&rig, &roomy);
    struct job_spec good = plain_spec(prompt, n_prompt, 5, 4);
    struct job_spec bad = plain_spec(nonsense, 3, 5, 4);
    for (uint64_t i = 0; i < 5; i++) {
        submit(&rig, i, i == 1 || i == 2 ? &bad : &good);
        wait_for(&rig, i, is_finished);
    }
    assert_int_equal(rig.results[1].finish, ENGINE_FINISH_ERROR);
    assert_non_null(strstr(rig.results[1].error.msg, "token 100000"));
    assert_int_equal(rig.results[2].finish, ENGINE_FINISH_ERROR);
    for (int32_t i = 3; i < 5; i++) {
        if (rig.results[i].finish != ENGINE_FINISH_LENGTH)
            fail_msg("job %d: finish %d, %s", i, (int)rig.results[i].finish,
                     rig.results[i].error.msg);
        assert_same(&rig.results[0], &rig.results[i]);
    }
    rig_close(&rig);
}

/* One position per tick, one long job and many of one step: nobody is passed over in the ring when
 * those before leave it, so the short ones end in the order in which they came. */
static void jobs_that_share_scarce_ticks_take_turns_in_their_order(void **state)
{
    (void)state;
    enum { N = 30 };
    int32_t prompt[32];
    int32_t n_prompt = golden_ints("gen.prompt", prompt);
    struct rig_options o = roomy;
    o.max_batch = o.prefill_chunk = 1;
    struct rig rig;
    rig_open(&rig, &o);
    struct job_spec endless = plain_spec(prompt, n_prompt, 60, 64);
    struct job_spec quick = plain_spec(prompt, 1, 1, 1);
    submit(&rig, 0, &endless);
    for (uint64_t i = 1; i <= N; i++)
        submit(&rig, i, &quick);
    for (uint64_t i = 1; i <= N; i++)
        wait_for(&rig, i, is_finished);
    for (int32_t i = 1; i <= N; i++)
        if (rig.results[i].finish_rank != i - 1)
            fail_msg("job %d ended as number %d, expected %d", i, rig.results[i].finish_rank,
                     i - 1);
    assert_int_equal(rig.results[0].n_finished, 0);
    rig_close(&rig);
}

static void copy_file(const char *from, const char *to, const char *scaled_tensor)
{
    FILE *in = fopen(from, "rb"), *out = fopen(to, "wb");
    assert_true(in && out);
    static char bytes[1 << 20];
    size_t len = fread(bytes, 1, sizeof bytes - 1, in);
    uint64_t header_len;
    memcpy(&header_len, bytes, sizeof header_len);
    const char *entry = scaled_tensor ? strstr(bytes + 8, scaled_tensor) : NULL;
    const char *offsets = entry ? strstr(entry, "\"data_offsets\"") : NULL;
    assert_true(!scaled_tensor || offsets);
    size_t begin = 0, end = 0;
    if (offsets)
        assert_int_equal(sscanf(offsets, "\"data_offsets\": [%zu, %zu]", &begin, &end) == 2 ||
                             sscanf(offsets, "\"data_offsets\":[%zu,%zu]", &begin, &end) == 2,
                         1);
    for (size_t at = begin; at < end; at += sizeof(float)) {
        const float huge = 3e38f;
        memcpy(bytes + 8 + header_len + at, &huge, sizeof huge);
    }
    assert_int_equal(fwrite(bytes, 1, len, out), len);
    fclose(in);
    fclose(out);
}

/* Weights are finite, but so large that the norm before the head overflows. */
static void numbers_that_overflow_are_an_error_and_never_an_answer(void **state)
{
    (void)state;
    char dir[] = "/tmp/ltd-engine-XXXXXX", config[64], weights[64];
    int32_t prompt[32];
    int32_t n_prompt = golden_ints("gen.prompt", prompt);
    assert_non_null(mkdtemp(dir));
    snprintf(config, sizeof config, "%s/config.json", dir);
    snprintf(weights, sizeof weights, "%s/model.safetensors", dir);
    copy_file(GOLDEN "/config.json", config, NULL);
    copy_file(GOLDEN "/model.safetensors", weights, "transformer.ln_f.weight");
    struct rig_options o = roomy;
    o.model = dir;
    struct rig rig;
    rig_open(&rig, &o);
    struct job_spec write = plain_spec(prompt, n_prompt, 5, 4), score = write;
    score.kind = SPEC_SCORE;
    score.score_begin = 1;
    submit(&rig, 0, &write);
    submit(&rig, 1, &score);
    for (uint64_t i = 0; i < 2; i++) {
        wait_for(&rig, i, is_finished);
        assert_int_equal(rig.results[i].finish, ENGINE_FINISH_ERROR);
        assert_non_null(strstr(rig.results[i].error.msg, "expected a finite number"));
    }
    assert_int_equal(rig.results[1].n_scores, 0);
    rig_close(&rig);
    unlink(config);
    unlink(weights);
    rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(greedy_tokens_are_those_of_the_official_code),
        cmocka_unit_test(adaptive_depth_spends_the_steps_of_the_official_code),
        cmocka_unit_test(nothing_the_scheduler_decides_changes_a_bit),
        cmocka_unit_test(another_seed_is_another_answer_and_zero_scale_has_none),
        cmocka_unit_test(scores_are_the_logprobs_that_generation_reported),
        cmocka_unit_test(a_cancelled_job_ends_and_gives_everything_back),
        cmocka_unit_test(a_job_out_of_time_keeps_what_it_wrote),
        cmocka_unit_test(stopping_ends_every_job_once),
        cmocka_unit_test(when_the_group_is_lost_every_job_ends_once_with_the_reason),
        cmocka_unit_test(jobs_that_are_ended_at_any_moment_leave_no_trace_in_others),
        cmocka_unit_test(a_job_that_cannot_be_computed_leaves_its_successors_alone),
        cmocka_unit_test(jobs_that_share_scarce_ticks_take_turns_in_their_order),
        cmocka_unit_test(numbers_that_overflow_are_an_error_and_never_an_answer),
    };
    return cmocka_run_group_tests(tests, rig_set_up, rig_tear_down);
}
