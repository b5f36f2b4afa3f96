/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/daemon/test_loading.c - how far the weights are, as systemd hears it on a socket of its
 * kind.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/log.h"
#include "daemon/loading.h"
#include "tests/daemon/notify_rig.h"

/* As if the last report had been long ago. */
static void let_time_pass(struct loading *loading)
{
    loading->told_ns = 0;
}

static void a_report_says_how_much_is_done_and_moves_the_timeout(void **state)
{
    struct loading loading;
    (void)state;
    loading_begin(&loading, 400, true);
    notify_rig_expect("EXTEND_TIMEOUT_USEC=600000000");
    let_time_pass(&loading);
    loading_note(&loading, 100);
    notify_rig_expect("EXTEND_TIMEOUT_USEC=600000000");
    notify_rig_expect("STATUS=loading weights: 25 %");
    let_time_pass(&loading);
    loading_note(&loading, 299);
    notify_rig_expect("EXTEND_TIMEOUT_USEC=600000000");
    notify_rig_expect("STATUS=loading weights: 99 %");
    let_time_pass(&loading);
    loading_note(&loading, 1);
    notify_rig_expect("EXTEND_TIMEOUT_USEC=600000000");
    notify_rig_expect("STATUS=loading weights: 100 %");
}

static void expect_silence(void)
{
    char found[100];
    assert_int_equal(recv(notify_rig_fd, found, sizeof found, MSG_DONTWAIT), -1);
}

static void reports_are_a_second_apart_and_only_rank_0_makes_them(void **state)
{
    struct loading loading;
    uint64_t began_ns;
    (void)state;
    loading_begin(&loading, 400, true);
    notify_rig_expect("EXTEND_TIMEOUT_USEC=600000000");
    do { /* until the report before was surely less than a second ago */
        while (recv(notify_rig_fd, (char[100]){0}, 100, MSG_DONTWAIT) >= 0)
            ;
        loading.done = 0;
        began_ns = loading.told_ns = ltd_now_ns();
        loading_note(&loading, 100);
    } while (ltd_now_ns() - began_ns >= LTD_NS_PER_S);
    assert_int_equal(loading_percent(&loading), 25);
    expect_silence();
    loading_begin(&loading, 400, false);
    let_time_pass(&loading);
    loading_note(&loading, 100);
    loading_end(&loading);
    assert_int_equal(loading_percent(&loading), 25);
    expect_silence();
}

static void counts_that_do_not_fit_stay_percentages(void **state)
{
    struct loading loading;
    (void)state;
    loading_begin(&loading, 0, false);
    assert_int_equal(loading_percent(&loading), 0);
    loading_note(&loading, 1000);
    assert_int_equal(loading_percent(&loading), 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_report_says_how_much_is_done_and_moves_the_timeout),
        cmocka_unit_test(reports_are_a_second_apart_and_only_rank_0_makes_them),
        cmocka_unit_test(counts_that_do_not_fit_stay_percentages),
    };
    return cmocka_run_group_tests(tests, notify_rig_open, notify_rig_close);
}
