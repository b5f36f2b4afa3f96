/* SPDX-License-Identifier: Apache-2.0 */
/* tests/model/test_exit.c - values and decisions of the exit rules, computed by hand. */
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "model/exit.h"

#define N_LOGIT_RULES 4

static const enum model_exit_kind logit_rules[N_LOGIT_RULES] = {
    MODEL_EXIT_KL, MODEL_EXIT_MINP_KL, MODEL_EXIT_ENTROPY_DIFF, MODEL_EXIT_ARGMAX_STABILITY};

static void near(double found, double expected, double tolerance)
{
    if (!(fabs(found - expected) <= tolerance))
        fail_msg("%.17g, expected %.17g within %g", found, expected, tolerance);
}

static void same(double found, double expected)
{
    if (found != expected)
        fail_msg("%.17g, expected exactly %.17g", found, expected);
}

static void not_a_number(double found)
{
    if (!isnan(found))
        fail_msg("%.17g, expected not a number", found);
}

static struct model_exit_rule rule_of(enum model_exit_kind kind, int32_t min_steps,
                                      int32_t max_steps, int32_t check_every, double threshold)
{
    return (struct model_exit_rule){.kind = kind,
                                    .min_steps = min_steps,
                                    .max_steps = max_steps,
                                    .check_every = check_every,
                                    .threshold = threshold};
}

/* ---- what is known about a rule ---- */

static void every_rule_has_its_published_name_and_threshold(void **state)
{
    static const struct {
        enum model_exit_kind kind;
        const char *name;
        double threshold;
        enum model_exit_value value;
        bool uses_logits;
    } rows[] = {
        {MODEL_EXIT_FIXED, "fixed", 0.0, MODEL_VALUE_NONE, false},
        {MODEL_EXIT_LATENT_DIFF, "latent-diff", 0.03, MODEL_VALUE_DIFF, false},
        {MODEL_EXIT_COSINE, "cosine", 1e-3, MODEL_VALUE_COSINE, false},
        {MODEL_EXIT_ACCELERATION, "acceleration", 0.03, MODEL_VALUE_ACCELERATION, false},
        {MODEL_EXIT_KL, "kl", 1e-3, MODEL_VALUE_NONE, true},
        {MODEL_EXIT_MINP_KL, "minp-kl", 1e-5, MODEL_VALUE_NONE, true},
        {MODEL_EXIT_ENTROPY_DIFF, "entropy-diff", 1e-3, MODEL_VALUE_NONE, true},
        {MODEL_EXIT_ARGMAX_STABILITY, "argmax-stability", 5.0, MODEL_VALUE_NONE, true},
    };
    (void)state;
    assert_int_equal(sizeof rows / sizeof rows[0], MODEL_N_EXITS);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_string_equal(model_exit_name(rows[i].kind), rows[i].name);
        same(model_exit_default_threshold(rows[i].kind), rows[i].threshold);
        assert_int_equal(model_exit_value_of(rows[i].kind), rows[i].value);
        assert_int_equal(model_exit_uses_logits(rows[i].kind), rows[i].uses_logits);
    }
}

/* ---- values of the latent ---- */

static void the_first_difference_from_a_zero_latent_is_exactly_one(void **state)
{
    const float zero[3] = {0, 0, 0}, z[3] = {0.25f, -3.0f, 1e-3f};
    (void)state;
    same(model_exit_diff(z, zero, 3), 1.0);
}

static void the_difference_is_the_relative_length_of_the_move(void **state)
{
    const float before[2] = {3, 0}, after[2] = {3, 4};
    (void)state;
    same(model_exit_diff(after, before, 2), 0.8);
    same(model_exit_diff(after, after, 2), 0.0);
}

static void the_cosine_value_is_of_the_direction_alone(void **state)
{
    const float z[2] = {3, 4}, mirrored[2] = {4, 3}, longer[2] = {6, 8};
    const float across[2] = {-4, 3}, opposite[2] = {-3, -4};
    (void)state;
    near(model_exit_cosine(z, mirrored, 2), 0.04, 1e-15);
    same(model_exit_cosine(z, longer, 2), 0.0);
    same(model_exit_cosine(z, across, 2), 1.0);
    same(model_exit_cosine(z, opposite, 2), 2.0);
}

/* A threshold of 0 asks for all steps; a rounded cosine above 1 must not end them. */
static void rounding_never_makes_a_cosine_value_negative(void **state)
{
    int n_rounded_up = 0;
    (void)state;
    for (int i = 1; i <= 2000; i++) {
        const float z[3] = {0.1f * (float)i, 1.0f / (float)i, 0.3f};
        const float z_prev[3] = {3.0f * z[0], 3.0f * z[1], 3.0f * z[2]};
        double product = 0.0, length = 0.0, length_prev = 0.0;
        for (int c = 0; c < 3; c++) {
            product += (double)z[c] * (double)z_prev[c];
            length += (double)z[c] * (double)z[c];
            length_prev += (double)z_prev[c] * (double)z_prev[c];
        }
        n_rounded_up += product / (sqrt(length) * sqrt(length_prev)) > 1.0;
        if (!(model_exit_cosine(z, z_prev, 3) >= 0.0))
            fail_msg("%.17g for %d, expected at least 0", model_exit_cosine(z, z_prev, 3), i);
    }
    assert_true(n_rounded_up > 0); /* else nothing was tried */
}

static void acceleration_is_the_change_of_the_move(void **state)
{
    const float z0[2] = {0, 1}, z1[2] = {0, 4}, z2[2] = {0, 8}, straight[2] = {0, 7};
    const float turned[2] = {3, 4};
    (void)state;
    same(model_exit_acceleration(z2, z1, z0, 2), 0.125);     /* moves 3, then 4; length 8 */
    same(model_exit_acceleration(straight, z1, z0, 2), 0.0); /* moves 3, then 3 */
    near(model_exit_acceleration(turned, z1, z0, 2), sqrt(18.0) / 5.0, 1e-15);
}

static void a_zero_latent_never_exits(void **state)
{
    const float zero[2] = {0, 0}, z[2] = {1, 0};
    const struct model_exit_rule diff = rule_of(MODEL_EXIT_LATENT_DIFF, 1, 9, 1, 1e30);
    const struct model_exit_rule cosine = rule_of(MODEL_EXIT_COSINE, 1, 9, 1, 1e30);
    const struct model_exit_rule pace = rule_of(MODEL_EXIT_ACCELERATION, 1, 9, 1, 1e30);
    (void)state;
    not_a_number(model_exit_diff(zero, zero, 2));
    assert_false(model_exit_now(&diff, 3, model_exit_diff(zero, zero, 2)));
    assert_true(isinf(model_exit_diff(zero, z, 2)));
    assert_false(model_exit_now(&diff, 3, model_exit_diff(zero, z, 2)));
    not_a_number(model_exit_cosine(zero, z, 2));
    not_a_number(model_exit_cosine(z, zero, 2));
    assert_false(model_exit_now(&cosine, 3, model_exit_cosine(z, zero, 2)));
    not_a_number(model_exit_acceleration(zero, zero, zero, 2));
    assert_true(isinf(model_exit_acceleration(zero, z, zero, 2)));
    assert_false(model_exit_now(&pace, 3, model_exit_acceleration(zero, z, zero, 2)));
}

/* Squares of the largest floats would overflow in single precision. */
static void the_largest_latents_have_finite_values(void **state)
{
    const float z[2] = {FLT_MAX, FLT_MAX}, back[2] = {-FLT_MAX, -FLT_MAX};
    (void)state;
    same(model_exit_diff(z, back, 2), 2.0);
    near(model_exit_cosine(z, back, 2), 2.0, 1e-15);
    near(model_exit_acceleration(z, back, z, 2), 4.0, 1e-15);
}

static void the_mean_is_over_the_positions_of_the_call(void **state)
{
    const double values[4] = {0.5, 0.25, 0.125, 0.125};
    const double broken[3] = {0.5, NAN, 0.5};
    (void)state;
    same(model_exit_mean(values, 4), 0.25);
    same(model_exit_mean(values, 1), 0.5);
    not_a_number(model_exit_mean(broken, 3));
}

/* ---- decisions ---- */

static void checks_fall_on_the_minimum_and_every_nth_step_from_there(void **state)
{
    struct model_exit_rule rule = rule_of(MODEL_EXIT_KL, 3, 12, 4, 1e-3);
    (void)state;
    for (int32_t done = 1; done <= 16; done++)
        assert_int_equal(model_exit_is_due(&rule, done), done == 3 || done == 7 || done == 11);
    rule.max_steps = 11; /* decides nothing there, but is reported */
    assert_true(model_exit_is_due(&rule, 11));
    rule.max_steps = 10;
    assert_false(model_exit_is_due(&rule, 11));
    rule = rule_of(MODEL_EXIT_KL, 1, INT32_MAX, INT32_MAX, 1e-3);
    assert_true(model_exit_is_due(&rule, 1));
    assert_false(model_exit_is_due(&rule, INT32_MAX));
}

static void a_rule_holds_between_its_minimum_and_maximum(void **state)
{
    const struct model_exit_rule rule = rule_of(MODEL_EXIT_LATENT_DIFF, 4, 8, 1, 0.03);
    static const struct {
        int32_t done;
        double value;
        bool is_due, leaves;
    } rows[] = {
        {1, 0.0, false, false},  {3, 0.0, false, false}, {4, 0.03, true, false},
        {4, 0.0299, true, true}, {7, 0.5, true, false},  {7, 0.0, true, true},
        {7, NAN, true, false},   {8, 0.5, true, true},   {8, NAN, true, true},
        {9, 0.5, false, true},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_int_equal(model_exit_is_due(&rule, rows[i].done), rows[i].is_due);
        assert_int_equal(model_exit_now(&rule, rows[i].done, rows[i].value), rows[i].leaves);
    }
}

static void between_two_checks_no_value_ends_the_thought(void **state)
{
    const struct model_exit_rule rule = rule_of(MODEL_EXIT_COSINE, 2, 9, 3, 1e-3);
    (void)state;
    for (int32_t done = 1; done <= 9; done++)
        assert_int_equal(model_exit_now(&rule, done, 0.0), done == 2 || done == 5 || done >= 8);
}

static void every_rule_but_one_asks_for_a_value_below_its_threshold(void **state)
{
    (void)state;
    for (int k = MODEL_EXIT_LATENT_DIFF; k < MODEL_EXIT_ARGMAX_STABILITY; k++) {
        const struct model_exit_rule rule = rule_of((enum model_exit_kind)k, 1, 9, 1, 0.5);
        assert_true(model_exit_is_met(&rule, 0.4999));
        assert_false(model_exit_is_met(&rule, 0.5));
        assert_false(model_exit_is_met(&rule, INFINITY));
        assert_false(model_exit_is_met(&rule, NAN));
    }
    const struct model_exit_rule stable = rule_of(MODEL_EXIT_ARGMAX_STABILITY, 1, 9, 1, 5.0);
    assert_false(model_exit_is_met(&stable, 4.0));
    assert_true(model_exit_is_met(&stable, 5.0));
    assert_true(model_exit_is_met(&stable, 6.0));
    assert_false(model_exit_is_met(&stable, NAN));
}

static void a_fixed_rule_looks_at_no_value(void **state)
{
    const struct model_exit_rule rule = rule_of(MODEL_EXIT_FIXED, 1, 5, 1, 0.0);
    (void)state;
    for (int32_t done = 1; done <= 5; done++) {
        assert_false(model_exit_is_due(&rule, done));
        assert_int_equal(model_exit_now(&rule, done, -1.0), done == 5);
    }
    assert_false(model_exit_is_met(&rule, -1.0));
}

/* ---- values of the logits ---- */

static struct model_exit_memory memory_of(enum model_exit_kind kind, int32_t vocab)
{
    struct model_exit_memory memory;
    struct ltd_err err = {0};
    if (model_exit_memory_init(&memory, kind, vocab, &err) != 0)
        fail_msg("model_exit_memory_init: %s", err.msg);
    return memory;
}

/* Probabilities 3/4 and 1/4. */
static const float three_to_one[2] = {1.0986122886681098f, 0.0f};
static const float even[2] = {0.0f, 0.0f};

static void divergence_is_of_the_check_before_from_this_one(void **state)
{
    struct model_exit_memory m = memory_of(MODEL_EXIT_KL, 2);
    (void)state;
    /* from uniform: ln(4/3) / 2 */
    near(model_exit_memory_check(&m, three_to_one), 0.14384103622589042, 1e-7);
    /* 3/4 ln(3/2) + 1/4 ln(1/2); the other way round it would be 0.1438 again */
    near(model_exit_memory_check(&m, even), 0.13081203594113694, 1e-7);
    near(model_exit_memory_check(&m, even), 0.0, 1e-15);
    model_exit_memory_fini(&m);
}

static void a_constant_added_to_all_logits_changes_no_value(void **state)
{
    const float shifted[2] = {three_to_one[0] + 64.0f, 64.0f};
    (void)state;
    for (int i = 0; i < N_LOGIT_RULES; i++) {
        struct model_exit_memory a = memory_of(logit_rules[i], 2);
        struct model_exit_memory b = memory_of(logit_rules[i], 2);
        near(model_exit_memory_check(&a, shifted), model_exit_memory_check(&b, three_to_one), 1e-5);
        model_exit_memory_fini(&a);
        model_exit_memory_fini(&b);
    }
}

/* Probabilities 100, 50, 4, 4 of 158: the last two are below a tenth of the first and become 1/4
 * each; the sum is then 150/158 + 1/2 = 229/158, which makes it 100, 50, 39.5, 39.5 of 229. */
static void small_probabilities_are_flattened_before_they_are_compared(void **state)
{
    const float first[4] = {logf(100), logf(50), logf(4), logf(4)};
    const float other_tail[4] = {logf(100), logf(50), logf(7), logf(1)};
    const float other_head[4] = {logf(50), logf(100), logf(4), logf(4)};
    const double p[4] = {100.0 / 229, 50.0 / 229, 39.5 / 229, 39.5 / 229};
    double from_uniform = 0.0;
    struct model_exit_memory minp = memory_of(MODEL_EXIT_MINP_KL, 4);
    struct model_exit_memory kl = memory_of(MODEL_EXIT_KL, 4);
    (void)state;
    for (int i = 0; i < 4; i++)
        from_uniform += 0.25 * log(0.25 / p[i]);
    near(model_exit_memory_check(&minp, first), from_uniform, 1e-7);
    model_exit_memory_check(&kl, first);
    /* Noise in the tail is what the rule exists to overlook. */
    near(model_exit_memory_check(&minp, other_tail), 0.0, 1e-12);
    assert_true(model_exit_memory_check(&kl, other_tail) > 0.01);
    near(model_exit_memory_check(&minp, other_head), (p[0] - p[1]) * log(p[0] / p[1]), 1e-6);
    model_exit_memory_fini(&minp);
    model_exit_memory_fini(&kl);
}

static void a_probability_just_above_a_tenth_of_the_largest_stays(void **state)
{
    /* Their exponentials are 1, a hair more than 0.1, and 0.2. */
    const float kept[3] = {0.0f, -2.302585f, -1.609438f};
    struct model_exit_memory m = memory_of(MODEL_EXIT_MINP_KL, 3);
    (void)state;
    assert_true(exp((double)kept[1]) > 0.1);
    near(model_exit_memory_check(&m, kept),
         (log(1.3 / 3.0) + log(1.3 / 0.3) + log(1.3 / 0.6)) / 3.0, 1e-6);
    model_exit_memory_fini(&m);
}

static void entropy_is_compared_with_the_check_before_and_first_with_100(void **state)
{
    const float flat[4] = {7, 7, 7, 7}, certain[4] = {0, 200, 0, 0};
    struct model_exit_memory m = memory_of(MODEL_EXIT_ENTROPY_DIFF, 4);
    (void)state;
    /* ln 4 less 4e-10 for the floor inside the logarithm */
    near(model_exit_memory_check(&m, flat), 100.0 - 1.3862943607198906, 1e-12);
    near(model_exit_memory_check(&m, certain), 1.3862943607198906 + 1e-10, 1e-12);
    same(model_exit_memory_check(&m, certain), 0.0);
    near(model_exit_memory_check(&m, flat), 1.3862943607198906 + 1e-10, 1e-12);
    model_exit_memory_fini(&m);
}

static void stability_counts_checks_that_name_the_token_of_the_check_before(void **state)
{
    static const float rows[][3] = {{0, 1, 5}, {2, 1, 5}, {0, 4, 5}, {0, 6, 5},
                                    {0, 6, 5}, {0, 1, 5}, {0, 6, 5}};
    static const double counts[] = {0, 1, 2, 0, 1, 0, 0};
    struct model_exit_memory m = memory_of(MODEL_EXIT_ARGMAX_STABILITY, 3);
    (void)state;
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++)
        same(model_exit_memory_check(&m, rows[i]), counts[i]);
    model_exit_memory_fini(&m);
}

static void the_lowest_of_equal_logits_is_the_token(void **state)
{
    static const float all[3] = {2, 2, 2}, last_two[3] = {1, 2, 2}, second[3] = {0, 9, 0};
    struct model_exit_memory m = memory_of(MODEL_EXIT_ARGMAX_STABILITY, 3);
    (void)state;
    same(model_exit_memory_check(&m, last_two), 0.0);
    same(model_exit_memory_check(&m, second), 1.0); /* 1 is the token of both */
    same(model_exit_memory_check(&m, all), 0.0);    /* 0 */
    same(model_exit_memory_check(&m, all), 1.0);
    model_exit_memory_fini(&m);
}

static void a_new_call_begins_where_the_first_one_did(void **state)
{
    (void)state;
    for (int i = 0; i < N_LOGIT_RULES; i++) {
        struct model_exit_memory m = memory_of(logit_rules[i], 2);
        double first[3], again[3];
        for (int c = 0; c < 3; c++)
            first[c] = model_exit_memory_check(&m, c == 1 ? even : three_to_one);
        model_exit_memory_reset(&m);
        for (int c = 0; c < 3; c++)
            again[c] = model_exit_memory_check(&m, c == 1 ? even : three_to_one);
        assert_memory_equal(first, again, sizeof first);
        model_exit_memory_fini(&m);
    }
}

static void a_vocabulary_of_one_token_is_always_at_rest(void **state)
{
    const float only[1] = {-3.5f};
    (void)state;
    for (int i = 0; i < N_LOGIT_RULES; i++) {
        enum model_exit_kind kind = logit_rules[i];
        struct model_exit_memory m = memory_of(kind, 1);
        bool counts = kind == MODEL_EXIT_ARGMAX_STABILITY;
        double start = kind == MODEL_EXIT_ENTROPY_DIFF ? 100.0 : 0.0;
        near(model_exit_memory_check(&m, only), start, 1e-9);
        same(model_exit_memory_check(&m, only), counts ? 1.0 : 0.0);
        same(model_exit_memory_check(&m, only), counts ? 2.0 : 0.0);
        model_exit_memory_fini(&m);
    }
}

/* Wherever it stands: one NaN makes the check and, for want of a comparison, the next one void. */
static void logits_with_a_nan_never_exit_and_are_forgotten(void **state)
{
    const float sound[3] = {1, 3, 2};
    (void)state;
    for (int i = 0; i < N_LOGIT_RULES; i++)
        for (int at = 0; at < 3; at++) {
            const struct model_exit_rule rule = rule_of(logit_rules[i], 1, 9, 1, -1.0);
            struct model_exit_memory m = memory_of(logit_rules[i], 3);
            bool counts = logit_rules[i] == MODEL_EXIT_ARGMAX_STABILITY;
            float broken[3] = {1, 3, 2};
            broken[at] = NAN;
            model_exit_memory_check(&m, sound);
            double value = model_exit_memory_check(&m, broken);
            not_a_number(value);
            assert_false(model_exit_is_met(&rule, value));
            value = model_exit_memory_check(&m, sound);
            if (counts)
                same(value, 0.0);
            else
                not_a_number(value);
            same(model_exit_memory_check(&m, sound), counts ? 1.0 : 0.0);
            model_exit_memory_fini(&m);
        }
}

static void an_infinite_largest_logit_is_no_distribution(void **state)
{
    const float up[3] = {0, INFINITY, 0}, down[3] = {-INFINITY, -INFINITY, -INFINITY};
    (void)state;
    for (int i = 0; i < N_LOGIT_RULES; i++) {
        struct model_exit_memory m = memory_of(logit_rules[i], 3);
        bool counts = logit_rules[i] == MODEL_EXIT_ARGMAX_STABILITY;
        double a = model_exit_memory_check(&m, up), b = model_exit_memory_check(&m, down);
        if (counts) {
            same(a, 0.0); /* token 1 */
            same(b, 0.0); /* token 0: all are equal */
        } else {
            not_a_number(a);
            not_a_number(b);
        }
        model_exit_memory_fini(&m);
    }
}

static void an_impossible_token_is_infinitely_far_once_and_then_ignored(void **state)
{
    const float masked[3] = {0, -INFINITY, 0};
    struct model_exit_memory m = memory_of(MODEL_EXIT_KL, 3);
    const struct model_exit_rule rule = rule_of(MODEL_EXIT_KL, 1, 9, 1, 1e30);
    (void)state;
    double first = model_exit_memory_check(&m, masked); /* uniform gave it a third */
    assert_true(isinf(first) && first > 0);
    assert_false(model_exit_is_met(&rule, first));
    near(model_exit_memory_check(&m, masked), 0.0, 1e-15);
    model_exit_memory_fini(&m);

    m = memory_of(MODEL_EXIT_ENTROPY_DIFF, 3);
    near(model_exit_memory_check(&m, masked), 100.0 - log(2.0), 1e-9);
    same(model_exit_memory_check(&m, masked), 0.0);
    model_exit_memory_fini(&m);
}

static void the_largest_logits_have_values(void **state)
{
    const float wide[2] = {FLT_MAX, -FLT_MAX};
    (void)state;
    for (int i = 0; i < N_LOGIT_RULES; i++) {
        struct model_exit_memory m = memory_of(logit_rules[i], 2);
        double value = model_exit_memory_check(&m, wide);
        if (!isfinite(value) || value < 0.0)
            fail_msg("%s: %g, expected a finite value", model_exit_name(logit_rules[i]), value);
        value = model_exit_memory_check(&m, wide);
        same(value, logit_rules[i] == MODEL_EXIT_ARGMAX_STABILITY ? 1.0 : 0.0);
        model_exit_memory_fini(&m);
    }
}

/* A threshold of 0 asks for all steps; small sums of both signs must not end them. */
static void rounding_never_makes_a_divergence_negative(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct model_exit_memory m = memory_of(logit_rules[i], 97);
        float logits[97];
        for (int round = 0; round < 200; round++) {
            for (int t = 0; t < 97; t++)
                logits[t] = 0.01f * (float)((t * 31 + round / 2 * 7) % 101);
            /* every second check repeats the one before, but from other sums */
            for (int t = 0; t < 97 && round % 2; t++)
                logits[t] = nextafterf(logits[t], 9.0f);
            double value = model_exit_memory_check(&m, logits);
            if (!(value >= 0.0))
                fail_msg("%s: %g, expected at least 0", model_exit_name(logit_rules[i]), value);
        }
        model_exit_memory_fini(&m);
    }
}

static void a_memory_may_be_given_up_twice(void **state)
{
    (void)state;
    for (int i = 0; i < N_LOGIT_RULES; i++) {
        struct model_exit_memory m = memory_of(logit_rules[i], 5);
        model_exit_memory_fini(&m);
        assert_null(m.before);
        assert_null(m.scratch);
        model_exit_memory_fini(&m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_rule_has_its_published_name_and_threshold),
        cmocka_unit_test(the_first_difference_from_a_zero_latent_is_exactly_one),
        cmocka_unit_test(the_difference_is_the_relative_length_of_the_move),
        cmocka_unit_test(the_cosine_value_is_of_the_direction_alone),
        cmocka_unit_test(rounding_never_makes_a_cosine_value_negative),
        cmocka_unit_test(acceleration_is_the_change_of_the_move),
        cmocka_unit_test(a_zero_latent_never_exits),
        cmocka_unit_test(the_largest_latents_have_finite_values),
        cmocka_unit_test(the_mean_is_over_the_positions_of_the_call),
        cmocka_unit_test(checks_fall_on_the_minimum_and_every_nth_step_from_there),
        cmocka_unit_test(a_rule_holds_between_its_minimum_and_maximum),
        cmocka_unit_test(between_two_checks_no_value_ends_the_thought),
        cmocka_unit_test(every_rule_but_one_asks_for_a_value_below_its_threshold),
        cmocka_unit_test(a_fixed_rule_looks_at_no_value),
        cmocka_unit_test(divergence_is_of_the_check_before_from_this_one),
        cmocka_unit_test(a_constant_added_to_all_logits_changes_no_value),
        cmocka_unit_test(small_probabilities_are_flattened_before_they_are_compared),
        cmocka_unit_test(a_probability_just_above_a_tenth_of_the_largest_stays),
        cmocka_unit_test(entropy_is_compared_with_the_check_before_and_first_with_100),
        cmocka_unit_test(stability_counts_checks_that_name_the_token_of_the_check_before),
        cmocka_unit_test(the_lowest_of_equal_logits_is_the_token),
        cmocka_unit_test(a_new_call_begins_where_the_first_one_did),
        cmocka_unit_test(a_vocabulary_of_one_token_is_always_at_rest),
        cmocka_unit_test(logits_with_a_nan_never_exit_and_are_forgotten),
        cmocka_unit_test(an_infinite_largest_logit_is_no_distribution),
        cmocka_unit_test(an_impossible_token_is_infinitely_far_once_and_then_ignored),
        cmocka_unit_test(the_largest_logits_have_values),
        cmocka_unit_test(rounding_never_makes_a_divergence_negative),
        cmocka_unit_test(a_memory_may_be_given_up_twice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
