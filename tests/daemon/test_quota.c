/* SPDX-License-Identifier: Apache-2.0 */
/* tests/daemon/test_quota.c - an owner's hour, and who is refused. The clock is the test's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/quota.h"

#define MINUTE INT64_C(60000000)
#define NOON   (INT64_C(28000000) * MINUTE) /* some minute's beginning */

static struct quota *make(void)
{
    struct ltd_err err = {0};
    struct quota *quota = quota_create(&err);
    assert_non_null(quota);
    return quota;
}

static int ask(const struct quota *quota, const struct quota_limits *limits,
               const struct quota_use *use, int64_t now_us, struct ltd_err *err)
{
    *err = (struct ltd_err){0};
    return quota_may_submit(quota, "alice", limits, use, 1500, now_us, err);
}

static void steps_leave_the_hour_after_sixty_minutes(void **state)
{
    struct quota *quota = make();
    (void)state;
    assert_int_equal(quota_steps(quota, "alice", NOON), 0);
    quota_charge_steps(quota, "alice", 100, NOON + 5);
    quota_charge_steps(quota, "alice", 20, NOON + 30 * MINUTE);
    quota_charge_steps(quota, "alice", 3, NOON + 59 * MINUTE + 59);
    quota_charge_steps(quota, "bob", 7000, NOON);
    assert_int_equal(quota_steps(quota, "alice", NOON + MINUTE), 100);
    assert_int_equal(quota_steps(quota, "alice", NOON + 59 * MINUTE + 60), 123);
    assert_int_equal(quota_steps(quota, "alice", NOON + 60 * MINUTE), 23);
    assert_int_equal(quota_steps(quota, "alice", NOON + 90 * MINUTE), 3);
    assert_int_equal(quota_steps(quota, "alice", NOON + 119 * MINUTE), 0);
    quota_destroy(quota);
}

/* The slow way: every charge is kept, and those of the last 60 minutes are added up. */
static void the_hour_is_what_adding_up_gives(void **state)
{
    enum { N = 2000 };
    static struct {
        int64_t minute;
        uint64_t steps;
    } all[N];
    struct quota *quota = make();
    int64_t now = NOON;
    (void)state;
    srand(5);
    for (int i = 0; i < N; i++) {
        now += rand() % 3 ? 0 : (int64_t)(rand() % 4) * MINUTE;
        now += rand() % 50 == 0 ? 70 * MINUTE : 0;
        /* Some come late, as after a restart. */
        int64_t at = now - (rand() % 4 ? 0 : (int64_t)(rand() % 59) * MINUTE);
        all[i].minute = at / MINUTE;
        all[i].steps = (uint64_t)rand() % 1000;
        quota_charge_steps(quota, "alice", all[i].steps, at);
        uint64_t expected = 0;
        for (int k = 0; k <= i; k++)
            if (all[k].minute > now / MINUTE - 60)
                expected += all[k].steps;
        uint64_t found = quota_steps(quota, "alice", now);
        if (found != expected)
            fail_msg("charge %d: found %llu steps, expected %llu", i, (unsigned long long)found,
                     (unsigned long long)expected);
    }
    quota_destroy(quota);
}

static void a_charge_from_before_the_hour_changes_nothing(void **state)
{
    struct quota *quota = make();
    (void)state;
    quota_charge_steps(quota, "alice", 10, NOON + 60 * MINUTE);
    quota_charge_steps(quota, "alice", 5000, NOON);                /* the same place in the ring */
    quota_charge_steps(quota, "alice", 5000, NOON - 100 * MINUTE); /* another one */
    quota_charge_steps(quota, "alice", 5000, 0);
    quota_charge_steps(quota, "alice", 5000, -MINUTE);
    assert_int_equal(quota_steps(quota, "alice", NOON + 60 * MINUTE), 10);
    quota_destroy(quota);
}

static void no_limit_refuses_nothing(void **state)
{
    struct quota *quota = make();
    struct ltd_err err;
    struct quota_use much = {1000000, UINT64_MAX, UINT64_MAX};
    (void)state;
    quota_charge_steps(quota, "alice", UINT64_MAX, NOON);
    quota_charge_steps(quota, "alice", UINT64_MAX, NOON);
    assert_int_equal(quota_steps(quota, "alice", NOON), UINT64_MAX);
    assert_int_equal(ask(quota, &(struct quota_limits){0}, &much, NOON, &err), 0);
    quota_destroy(quota);
}

static void waiting_jobs_are_counted_and_refused_with_the_queue_s_hint(void **state)
{
    struct quota *quota = make();
    struct ltd_err err;
    struct quota_limits limits = {.max_queued = 3};
    (void)state;
    assert_int_equal(ask(quota, &limits, &(struct quota_use){.n_queued = 2}, NOON, &err), 0);
    assert_int_equal(ask(quota, &limits, &(struct quota_use){.n_queued = 3}, NOON, &err), -1);
    assert_int_equal(err.code, LTD_E_EXHAUSTED);
    assert_string_equal(err.reason, "QUOTA");
    assert_int_equal(err.retry_after_ms, 1500);
    assert_non_null(strstr(err.msg, "3 jobs of alice wait already, at most 3 may"));
    quota_destroy(quota);
}

static void stored_bytes_are_refused_without_a_hint(void **state)
{
    struct quota *quota = make();
    struct ltd_err err;
    struct quota_limits limits = {.max_stored_bytes = 1 << 20};
    (void)state;
    assert_int_equal(
        ask(quota, &limits, &(struct quota_use){.stored_bytes = (1 << 20) - 1}, NOON, &err), 0);
    assert_int_equal(ask(quota, &limits, &(struct quota_use){.stored_bytes = 1 << 20}, NOON, &err),
                     -1);
    assert_int_equal(err.code, LTD_E_EXHAUSTED);
    assert_string_equal(err.reason, "QUOTA");
    assert_int_equal(err.retry_after_ms, 0);
    quota_destroy(quota);
}

/* The hint is exact: refused a millisecond before it, accepted when it is over. */
static void steps_are_refused_until_enough_of_the_hour_has_passed(void **state)
{
    struct quota *quota = make();
    struct ltd_err err;
    struct quota_limits limits = {.max_steps_per_hour = 1000};
    const struct quota_use none = {0};
    int64_t now = NOON + 40 * MINUTE + 12345678;
    (void)state;
    quota_charge_steps(quota, "alice", 400, NOON);
    quota_charge_steps(quota, "alice", 500, NOON + 10 * MINUTE);
    assert_int_equal(ask(quota, &limits, &none, now, &err), 0);
    quota_charge_steps(quota, "alice", 600, NOON + 20 * MINUTE); /* 1500: 501 must go */
    assert_int_equal(ask(quota, &limits, &none, now, &err), -1);
    assert_int_equal(err.code, LTD_E_EXHAUSTED);
    assert_string_equal(err.reason, "QUOTA");
    int64_t later = now + (int64_t)err.retry_after_ms * 1000;
    assert_in_range(later, NOON + 70 * MINUTE, NOON + 70 * MINUTE + 999);
    assert_int_equal(ask(quota, &limits, &none, later - 1000, &err), -1);
    assert_int_equal(ask(quota, &limits, &none, later, &err), 0);
    quota_destroy(quota);
}

static void steps_of_running_jobs_count_before_they_are_charged(void **state)
{
    struct quota *quota = make();
    struct ltd_err err;
    struct quota_limits limits = {.max_steps_per_hour = 1000};
    (void)state;
    assert_int_equal(ask(quota, &limits, &(struct quota_use){.running_steps = 999}, NOON, &err), 0);
    assert_int_equal(ask(quota, &limits, &(struct quota_use){.running_steps = 1000}, NOON, &err),
                     -1);
    assert_int_equal(err.retry_after_ms, 3600000);
    quota_charge_steps(quota, "alice", 600, NOON);
    assert_int_equal(ask(quota, &limits, &(struct quota_use){.running_steps = 399}, NOON, &err), 0);
    assert_int_equal(ask(quota, &limits, &(struct quota_use){.running_steps = 400}, NOON, &err),
                     -1);
    assert_int_equal(err.retry_after_ms, 3600000);
    quota_destroy(quota);
}

static void other_owners_do_not_count(void **state)
{
    struct quota *quota = make();
    struct ltd_err err;
    struct quota_limits limits = {.max_steps_per_hour = 10};
    (void)state;
    quota_charge_steps(quota, "alicia", 1000, NOON);
    quota_charge_steps(quota, "", 1000, NOON);
    assert_int_equal(ask(quota, &limits, &(struct quota_use){0}, NOON, &err), 0);
    quota_destroy(quota);
}

/* Names come and go with reloads of the access file; those whose hour is empty are forgotten. */
static void thousands_of_owners_are_kept_apart_and_forgotten(void **state)
{
    struct quota *quota = make();
    char name[32];
    (void)state;
    for (int hour = 0; hour < 5; hour++) {
        int64_t now = NOON + hour * 60 * MINUTE;
        for (int i = 0; i < 3000; i++) {
            snprintf(name, sizeof name, "name-%d-%d", hour, i);
            quota_charge_steps(quota, name, (uint64_t)i + 1, now);
        }
        for (int i = 0; i < 3000; i++) {
            snprintf(name, sizeof name, "name-%d-%d", hour, i);
            assert_int_equal(quota_steps(quota, name, now), i + 1);
            snprintf(name, sizeof name, "name-%d-%d", hour - 1, i);
            assert_int_equal(quota_steps(quota, name, now), 0);
        }
    }
    quota_destroy(quota);
    quota_destroy(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steps_leave_the_hour_after_sixty_minutes),
        cmocka_unit_test(the_hour_is_what_adding_up_gives),
        cmocka_unit_test(a_charge_from_before_the_hour_changes_nothing),
        cmocka_unit_test(no_limit_refuses_nothing),
        cmocka_unit_test(waiting_jobs_are_counted_and_refused_with_the_queue_s_hint),
        cmocka_unit_test(stored_bytes_are_refused_without_a_hint),
        cmocka_unit_test(steps_are_refused_until_enough_of_the_hour_has_passed),
        cmocka_unit_test(steps_of_running_jobs_count_before_they_are_charged),
        cmocka_unit_test(other_owners_do_not_count),
        cmocka_unit_test(thousands_of_owners_are_kept_apart_and_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
