/* SPDX-License-Identifier: Apache-2.0 */
/* tests/model/test_sampler.c - each filter by itself, ties, the draw and the log probabilities. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "model/sampler.h"

#define VOCAB 8

/* Logits whose softmax at temperature 1 is .4 .2 .2 .1 .05 .03 .01 .01, shuffled. */
static const double wanted[VOCAB] = {0.05, 0.2, 0.01, 0.4, 0.2, 0.1, 0.03, 0.01};
static float logits[VOCAB];

static const struct model_sampling plain = {.temperature = 1.0, .repetition_penalty = 1.0};

static int make_logits(void **state)
{
    (void)state;
    for (int i = 0; i < VOCAB; i++)
        logits[i] = (float)log(wanted[i]);
    /* Ties must be ties in f32 too. */
    logits[4] = logits[1];
    logits[7] = logits[2];
    return 0;
}

static void probs_of(const struct model_sampling *sampling, const int32_t *history, int32_t n,
                     double probs[VOCAB])
{
    struct ltd_err err = {0};
    struct model_sampler *s = model_sampler_create(VOCAB, &err);
    assert_non_null(s);
    if (model_sampler_probs(s, sampling, logits, history, n, probs, &err) != 0)
        fail_msg("model_sampler_probs: %s", err.msg);
    model_sampler_destroy(s);
}

static void expect(const double probs[VOCAB], const double expected[VOCAB])
{
    double sum = 0.0;
    for (int i = 0; i < VOCAB; i++)
        sum += expected[i];
    for (int i = 0; i < VOCAB; i++)
        if (!(fabs(probs[i] - expected[i] / sum) <= 1e-6))
            fail_msg("token %d: %.9g, expected %.9g", i, probs[i], expected[i] / sum);
}

static void without_filters_it_is_the_softmax(void **state)
{
    double probs[VOCAB];
    (void)state;
    probs_of(&plain, NULL, 0, probs);
    expect(probs, wanted);
}

static void greedy_takes_the_lowest_of_equal_logits(void **state)
{
    struct ltd_err err = {0};
    const float equal[VOCAB] = {0, 1, 3, 3, 2, 3, 0, 1};
    (void)state;
    struct model_sampler *s = model_sampler_create(VOCAB, &err);
    struct model_sampling greedy = plain, cold = plain;
    greedy.greedy = true;
    cold.temperature = 0.0;
    assert_int_equal(model_sampler_pick(s, &greedy, equal, NULL, 0, 5, &err), 2);
    assert_int_equal(model_sampler_pick(s, &cold, equal, NULL, 0, 5, &err), 2);
    model_sampler_destroy(s);
}

static void top_k_keeps_ties_with_the_last_one(void **state)
{
    static const double two[VOCAB] = {0, 0.2, 0, 0.4, 0.2, 0, 0, 0};
    double probs[VOCAB];
    (void)state;
    struct model_sampling s = plain;
    s.top_k = 2;
    probs_of(&s, NULL, 0, probs);
    expect(probs, two);
    s.top_k = 3;
    probs_of(&s, NULL, 0, probs);
    expect(probs, two);
    s.top_k = VOCAB + 5;
    probs_of(&s, NULL, 0, probs);
    expect(probs, wanted);
}

static void top_p_drops_the_entry_that_crosses(void **state)
{
    static const struct {
        double top_p;
        double expected[VOCAB];
    } rows[] = {
        {0.1, {0, 0, 0, 0.4, 0, 0, 0, 0}}, /* the first stays, whatever it is */
        {0.5, {0, 0, 0, 0.4, 0, 0, 0, 0}},
        {0.61, {0, 0.2, 0, 0.4, 0, 0, 0, 0}}, /* of two ties the lower id comes first */
        {0.85, {0, 0.2, 0, 0.4, 0.2, 0, 0, 0}},
        {1.0, {0.05, 0.2, 0.01, 0.4, 0.2, 0.1, 0.03, 0.01}},
        {0.0, {0.05, 0.2, 0.01, 0.4, 0.2, 0.1, 0.03, 0.01}},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        double probs[VOCAB];
        struct model_sampling s = plain;
        s.top_p = rows[i].top_p;
        probs_of(&s, NULL, 0, probs);
        expect(probs, rows[i].expected);
    }
}

static void top_p_counts_the_probabilities_before_renormalising(void **state)
{
    /* After top_k 3 the kept ones are .4 .2 .2: without renormalising they stay below .85. */
    static const double three[VOCAB] = {0, 0.2, 0, 0.4, 0.2, 0, 0, 0};
    double probs[VOCAB];
    (void)state;
    struct model_sampling s = plain;
    s.top_k = 3;
    s.top_p = 0.85;
    probs_of(&s, NULL, 0, probs);
    expect(probs, three);
}

static void min_p_is_relative_to_the_largest(void **state)
{
    static const double kept[VOCAB] = {0.05, 0.2, 0, 0.4, 0.2, 0.1, 0, 0};
    double probs[VOCAB];
    (void)state;
    struct model_sampling s = plain;
    s.min_p = 0.1;
    probs_of(&s, NULL, 0, probs);
    expect(probs, kept);
}

static void temperature_divides_the_logits(void **state)
{
    double probs[VOCAB], squared[VOCAB];
    (void)state;
    struct model_sampling s = plain;
    s.temperature = 0.5;
    for (int i = 0; i < VOCAB; i++)
        squared[i] = wanted[i] * wanted[i];
    probs_of(&s, NULL, 0, probs);
    expect(probs, squared);
}

static void a_repeated_token_is_penalised_once(void **state)
{
    static const int32_t once[] = {3}, often[] = {3, 3, -1, 99, 3};
    double a[VOCAB], b[VOCAB], expected[VOCAB];
    (void)state;
    struct model_sampling s = plain;
    s.repetition_penalty = 2.0;
    memcpy(expected, wanted, sizeof expected);
    expected[3] = 0.4 * 0.4; /* a negative logit is multiplied */
    probs_of(&s, once, 1, a);
    expect(a, expected);
    probs_of(&s, often, 5, b);
    assert_memory_equal(a, b, sizeof a);
}

static void a_positive_logit_is_divided_by_the_penalty(void **state)
{
    struct ltd_err err = {0};
    const float x[VOCAB] = {4, 3, 0, 0, 0, 0, 0, 0};
    static const int32_t history[] = {0};
    (void)state;
    struct model_sampler *s = model_sampler_create(VOCAB, &err);
    struct model_sampling greedy = plain;
    greedy.greedy = true;
    greedy.repetition_penalty = 1.5;
    assert_int_equal(model_sampler_pick(s, &greedy, x, history, 1, 0, &err), 1);
    assert_int_equal(model_sampler_pick(s, &greedy, x, history, 0, 0, &err), 0);
    model_sampler_destroy(s);
}

static void draws_follow_the_probabilities_and_repeat(void **state)
{
    enum { DRAWS = 20000 };
    struct ltd_err err = {0};
    int counts[VOCAB] = {0};
    (void)state;
    struct model_sampler *s = model_sampler_create(VOCAB, &err);
    struct model_sampling sampling = plain;
    sampling.seed = 1234;
    for (int32_t p = 0; p < DRAWS; p++) {
        int32_t token = model_sampler_pick(s, &sampling, logits, NULL, 0, p, &err);
        assert_in_range(token, 0, VOCAB - 1);
        assert_int_equal(token, model_sampler_pick(s, &sampling, logits, NULL, 0, p, &err));
        counts[token]++;
    }
    double chi = 0.0;
    for (int i = 0; i < VOCAB; i++)
        chi += pow(counts[i] - wanted[i] * DRAWS, 2.0) / (wanted[i] * DRAWS);
    if (!(chi < 24.3)) /* 7 degrees of freedom, one in a thousand; the seed is fixed */
        fail_msg("chi square %.1f, expected below 24.3", chi);
    model_sampler_destroy(s);
}

static void a_filtered_token_is_never_drawn(void **state)
{
    struct ltd_err err = {0};
    (void)state;
    struct model_sampler *s = model_sampler_create(VOCAB, &err);
    struct model_sampling sampling = plain;
    sampling.top_k = 1;
    for (int32_t p = 0; p < 2000; p++)
        assert_int_equal(model_sampler_pick(s, &sampling, logits, NULL, 0, p, &err), 3);
    model_sampler_destroy(s);
}

static void a_logit_that_is_not_finite_is_an_error(void **state)
{
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    (void)state;
    for (int i = 0; i < 3; i++) {
        struct ltd_err err = {0};
        float x[VOCAB] = {0};
        x[6] = bad[i];
        struct model_sampler *s = model_sampler_create(VOCAB, &err);
        assert_int_equal(model_sampler_pick(s, &plain, x, NULL, 0, 0, &err), -1);
        assert_int_equal(err.code, LTD_E_INTERNAL);
        assert_non_null(strstr(err.msg, "token 6"));
        model_sampler_destroy(s);
    }
}

static void logprobs_are_those_of_the_raw_logits(void **state)
{
    static const int32_t order[VOCAB] = {3, 1, 4, 5, 0, 6, 2, 7};
    struct model_logprob top[VOCAB + 4];
    struct ltd_err err = {0};
    float chosen;
    (void)state;
    struct model_sampler *s = model_sampler_create(VOCAB, &err);
    for (int round = 0; round < 2; round++) { /* the second finds clean scratch */
        model_sampler_logprobs(s, logits, 5, &chosen, top, VOCAB + 4);
        assert_float_equal(chosen, log(0.1), 1e-6);
        for (int i = 0; i < VOCAB; i++) {
            assert_int_equal(top[i].token, order[i]);
            assert_float_equal(top[i].logprob, log(wanted[order[i]]), 1e-6);
        }
    }
    model_sampler_destroy(s);
}

static void parameters_out_of_range_are_refused_by_name(void **state)
{
    static const struct {
        struct model_sampling sampling;
        const char *name;
    } rows[] = {
        {{.temperature = -0.1, .repetition_penalty = 1}, "temperature"},
        {{.temperature = NAN, .repetition_penalty = 1}, "temperature"},
        {{.temperature = INFINITY, .repetition_penalty = 1}, "temperature"},
        {{.temperature = 1, .top_k = -1, .repetition_penalty = 1}, "top_k"},
        {{.temperature = 1, .top_p = 1.01, .repetition_penalty = 1}, "top_p"},
        {{.temperature = 1, .top_p = NAN, .repetition_penalty = 1}, "top_p"},
        {{.temperature = 1, .min_p = 1.0, .repetition_penalty = 1}, "min_p"},
        {{.temperature = 1, .min_p = -0.5, .repetition_penalty = 1}, "min_p"},
        {{.temperature = 1, .repetition_penalty = 0}, "repetition_penalty"},
        {{.temperature = 1, .repetition_penalty = NAN}, "repetition_penalty"},
    };
    struct ltd_err err = {0};
    (void)state;
    assert_int_equal(model_sampling_check(&plain, &err), 0);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        ltd_err_clear(&err);
        assert_int_equal(model_sampling_check(&rows[i].sampling, &err), -1);
        assert_int_equal(err.code, LTD_E_INVALID);
        assert_memory_equal(err.msg, rows[i].name, strlen(rows[i].name));
        assert_non_null(strstr(err.msg, "expected"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_filters_it_is_the_softmax),
        cmocka_unit_test(greedy_takes_the_lowest_of_equal_logits),
        cmocka_unit_test(top_k_keeps_ties_with_the_last_one),
        cmocka_unit_test(top_p_drops_the_entry_that_crosses),
        cmocka_unit_test(top_p_counts_the_probabilities_before_renormalising),
        cmocka_unit_test(min_p_is_relative_to_the_largest),
        cmocka_unit_test(temperature_divides_the_logits),
        cmocka_unit_test(a_repeated_token_is_penalised_once),
        cmocka_unit_test(a_positive_logit_is_divided_by_the_penalty),
        cmocka_unit_test(draws_follow_the_probabilities_and_repeat),
        cmocka_unit_test(a_filtered_token_is_never_drawn),
        cmocka_unit_test(a_logit_that_is_not_finite_is_an_error),
        cmocka_unit_test(logprobs_are_those_of_the_raw_logits),
        cmocka_unit_test(parameters_out_of_range_are_refused_by_name),
    };
    return cmocka_run_group_tests(tests, make_logits, NULL);
}
