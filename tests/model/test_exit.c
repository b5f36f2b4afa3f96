/* SPDX-License-Identifier: Apache-2.0 */
/* tests/model/test_exit.c - values and decisions of the exit rules. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "model/exit.h"

static void the_first_value_from_a_zero_latent_is_exactly_one(void **state)
{
    const float zero[3] = {0, 0, 0}, z[3] = {0.25f, -3.0f, 1e-3f};
    (void)state;
    assert_true(model_exit_diff(z, zero, 3) == 1.0);
}

static void the_value_is_the_relative_length_of_the_move(void **state)
{
    const float before[2] = {3, 0}, after[2] = {3, 4};
    (void)state;
    assert_true(model_exit_diff(after, before, 2) == 0.8);
    assert_true(model_exit_diff(after, after, 2) == 0.0);
}

static void a_zero_latent_never_exits(void **state)
{
    const float zero[2] = {0, 0}, z[2] = {1, 0};
    const struct model_exit_rule rule = {MODEL_EXIT_LATENT_DIFF, 1, 9, 1e30};
    (void)state;
    assert_true(isnan(model_exit_diff(zero, zero, 2)));
    assert_false(model_exit_now(&rule, 3, model_exit_diff(zero, zero, 2)));
    assert_true(isinf(model_exit_diff(zero, z, 2)));
    assert_false(model_exit_now(&rule, 3, model_exit_diff(zero, z, 2)));
}

static void the_mean_is_over_the_positions_of_the_call(void **state)
{
    const double values[4] = {0.5, 0.25, 0.125, 0.125};
    (void)state;
    assert_true(model_exit_mean(values, 4) == 0.25);
    assert_true(model_exit_mean(values, 1) == 0.5);
}

static void a_rule_holds_between_its_minimum_and_maximum(void **state)
{
    const struct model_exit_rule rule = {MODEL_EXIT_LATENT_DIFF, 4, 8, 0.03};
    static const struct {
        int32_t done;
        double value;
        bool wants, leaves;
    } rows[] = {
        {1, 0.0, false, false},  {3, 0.0, false, false}, {4, 0.03, true, false},
        {4, 0.0299, true, true}, {7, 0.5, true, false},  {7, 0.0, true, true},
        {8, 0.5, false, true},   {8, NAN, false, true},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_int_equal(model_exit_wants_value(&rule, rows[i].done), rows[i].wants);
        assert_int_equal(model_exit_now(&rule, rows[i].done, rows[i].value), rows[i].leaves);
    }
}

static void a_fixed_rule_looks_at_no_value(void **state)
{
    const struct model_exit_rule rule = {MODEL_EXIT_FIXED, 1, 5, 0.0};
    (void)state;
    for (int32_t done = 1; done <= 5; done++) {
        assert_false(model_exit_wants_value(&rule, done));
        assert_int_equal(model_exit_now(&rule, done, -1.0), done == 5);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_value_from_a_zero_latent_is_exactly_one),
        cmocka_unit_test(the_value_is_the_relative_length_of_the_move),
        cmocka_unit_test(a_zero_latent_never_exits),
        cmocka_unit_test(the_mean_is_over_the_positions_of_the_call),
        cmocka_unit_test(a_rule_holds_between_its_minimum_and_maximum),
        cmocka_unit_test(a_fixed_rule_looks_at_no_value),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
