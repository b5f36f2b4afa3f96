/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of daemon/cost: a line is found, kept, and not led astray. */
#include "daemon/cost.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void assert_near(double found, double expected, double part)
{
    if (fabs(found - expected) > part * fabs(expected))
        fail_msg("%g, not %g within %g of it", found, expected, part);
}

static void feed(struct cost_line *line, int32_t n, double fixed, double each, int32_t times)
{
    for (int32_t i = 0; i < times; i++) {
        double wave = 1 + 0.05 * ((i % 3) - 1); /* five per cent up and down */
        cost_line_add(line, n, (uint64_t)((fixed + each * n) * wave));
    }
}

static void a_line_is_found_from_two_sizes(void **state)
{
    (void)state;
    struct cost_line line;
    cost_line_init(&line, 1000, 1000);
    feed(&line, 1, 8e6, 3e5, 30);
    feed(&line, 16, 8e6, 3e5, 30);
    assert_near(line.fixed_ns, 8e6, 0.02);
    assert_near(line.each_ns, 3e5, 0.05);
    assert_near(cost_line_ns(&line, 64), 8e6 + 64 * 3e5, 0.05);
}

static void one_measurement_replaces_the_guess_but_not_its_shape(void **state)
{
    (void)state;
    struct cost_line line;
    cost_line_init(&line, 3000, 1000);
    cost_line_add(&line, 4, 70000);
    assert_near(cost_line_ns(&line, 4), 70000, 1e-9);
    assert_near(line.fixed_ns, 30000, 1e-9);
    assert_near(line.each_ns, 10000, 1e-9);
}

static void an_hour_at_one_size_does_not_forget_the_others(void **state)
{
    (void)state;
    struct cost_line line;
    cost_line_init(&line, 1000, 1000);
    feed(&line, 1, 1e6, 2e6, 20);
    feed(&line, 16, 1e6, 2e6, 20);
    feed(&line, 16, 1e6, 2e6, 20000);
    assert_near(cost_line_ns(&line, 1), 3e6, 0.05);
    assert_near(cost_line_ns(&line, 16), 33e6, 0.05);
}

static void a_machine_that_changes_is_followed(void **state)
{
    (void)state;
    struct cost_line line;
    cost_line_init(&line, 1000, 1000);
    feed(&line, 2, 1e6, 1e5, 500);
    feed(&line, 32, 1e6, 1e5, 500);
    for (int32_t i = 0; i < 400; i++) {
        feed(&line, 2, 3e6, 2e5, 3);
        feed(&line, 32, 3e6, 2e5, 3);
    }
    assert_near(cost_line_ns(&line, 2), 3.4e6, 0.05);
    assert_near(cost_line_ns(&line, 32), 9.4e6, 0.05);
}

static void what_took_far_too_long_counts_only_up_to_a_bound(void **state)
{
    (void)state;
    struct cost_line line;
    cost_line_init(&line, 1000, 1000);
    feed(&line, 8, 1e6, 1e5, 100);
    cost_line_add(&line, 8,
                  (uint64_t)1e12); /* somebody else had the processor for a quarter hour */
    assert_near(cost_line_ns(&line, 8), 1.8e6, 0.1);
}

static void neither_part_is_ever_negative(void **state)
{
    (void)state;
    struct cost_line line;
    uint64_t random = 7;
    cost_line_init(&line, 0, 0);
    for (int32_t i = 0; i < 100000; i++) {
        random = random * 6364136223846793005ull + 1442695040888963407ull;
        int32_t n = 1 + (int32_t)((random >> 40) % 5000);
        cost_line_add(&line, n, (random >> 33) % (i % 7 == 0 ? 10 : 1000000000));
        if (!(line.fixed_ns >= 0 && line.each_ns >= 0 && isfinite(cost_line_ns(&line, 1 << 20))))
            fail_msg("after %d: %g + n * %g", i, line.fixed_ns, line.each_ns);
    }
}

static void nothing_costs_nothing(void **state)
{
    (void)state;
    struct cost_line line, same;
    cost_line_init(&line, 1000, 10);
    same = line;
    cost_line_add(&line, 0, 5000);
    assert_memory_equal(&line, &same, sizeof line);
    assert_true(cost_line_ns(&line, 0) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_is_found_from_two_sizes),
        cmocka_unit_test(one_measurement_replaces_the_guess_but_not_its_shape),
        cmocka_unit_test(an_hour_at_one_size_does_not_forget_the_others),
        cmocka_unit_test(a_machine_that_changes_is_followed),
        cmocka_unit_test(what_took_far_too_long_counts_only_up_to_a_bound),
        cmocka_unit_test(neither_part_is_ever_negative),
        cmocka_unit_test(nothing_costs_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
