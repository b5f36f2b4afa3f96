/* SPDX-License-Identifier: Apache-2.0 */
/* tests/rpc/test_pings.c - which PINGs are too many. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "rpc/pings.h"

static void the_third_bad_ping_is_one_too_many(void **state)
{
    struct rpc_pings pings = {0};
    (void)state;
    assert_true(rpc_pings_heard(&pings, 1000, 10));
    assert_true(rpc_pings_heard(&pings, 1001, 10));
    assert_true(rpc_pings_heard(&pings, 1009, 10));
    assert_false(rpc_pings_heard(&pings, 1009, 10));
}

static void pings_at_the_allowed_interval_are_good_for_ever(void **state)
{
    struct rpc_pings pings = {0};
    (void)state;
    for (uint64_t now = 1; now < 10000; now += 10)
        assert_true(rpc_pings_heard(&pings, now, 10));
}

/* A bad one does not put off when the next good one may come. */
static void the_interval_begins_at_the_last_good_ping(void **state)
{
    struct rpc_pings pings = {0};
    (void)state;
    assert_true(rpc_pings_heard(&pings, 1000, 10));
    assert_true(rpc_pings_heard(&pings, 1009, 10));
    assert_true(rpc_pings_heard(&pings, 1010, 10));
    assert_int_equal(pings.strikes, 1);
}

static void something_useful_that_is_sent_forgets_all(void **state)
{
    struct rpc_pings pings = {0};
    (void)state;
    for (int i = 0; i < 1000; i++) {
        assert_true(rpc_pings_heard(&pings, 1000, 10));
        assert_true(rpc_pings_heard(&pings, 1000, 10));
        assert_true(rpc_pings_heard(&pings, 1000, 10));
        rpc_pings_forget(&pings);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_third_bad_ping_is_one_too_many),
        cmocka_unit_test(pings_at_the_allowed_interval_are_good_for_ever),
        cmocka_unit_test(the_interval_begins_at_the_last_good_ping),
        cmocka_unit_test(something_useful_that_is_sent_forgets_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
