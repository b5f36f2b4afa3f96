/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/daemon/test_notify.c - what systemd hears, on a socket as it would give us.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/notify.h"
#include "tests/daemon/notify_rig.h"

static void each_call_is_one_datagram(void **state)
{
    (void)state;
    notify_extend_timeout(90);
    notify_rig_expect("EXTEND_TIMEOUT_USEC=90000000");
    notify_ready("serving models/demo");
    notify_rig_expect("READY=1\nSTATUS=serving models/demo");
    notify_status("3 jobs");
    notify_rig_expect("STATUS=3 jobs");
    notify_watchdog();
    notify_rig_expect("WATCHDOG=1");
    notify_stopping();
    notify_rig_expect("STOPPING=1\nSTATUS=draining");
}

static void without_a_socket_nothing_happens(void **state)
{
    char *named = strdup(getenv("NOTIFY_SOCKET"));
    (void)state;
    assert_non_null(named);
    unsetenv("NOTIFY_SOCKET");
    notify_ready("x");
    setenv("NOTIFY_SOCKET", "/nonexistent/socket", 1);
    notify_ready("x");
    setenv("NOTIFY_SOCKET", named, 1);
    free(named);
    notify_watchdog();
    notify_rig_expect("WATCHDOG=1"); /* and nothing in front of it */
}

static void the_watchdog_is_read_whoever_it_is_meant_for(void **state)
{
    (void)state;
    unsetenv("WATCHDOG_USEC");
    assert_int_equal(notify_watchdog_usec(), 0);
    setenv("WATCHDOG_PID", "1", 1); /* mpirun's, not ours */
    setenv("WATCHDOG_USEC", "30000000", 1);
    assert_int_equal(notify_watchdog_usec(), 30000000);
    static const char *const bad[] = {"", "x", "-5", "5s", "99999999999999999999999"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        setenv("WATCHDOG_USEC", bad[i], 1);
        assert_int_equal(notify_watchdog_usec(), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_call_is_one_datagram),
        cmocka_unit_test(without_a_socket_nothing_happens),
        cmocka_unit_test(the_watchdog_is_read_whoever_it_is_meant_for),
    };
    return cmocka_run_group_tests(tests, notify_rig_open, notify_rig_close);
}
