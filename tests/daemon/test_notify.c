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
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/notify.h"

static int fd;
static char dir[] = "/tmp/latentd-notify-XXXXXX";
static struct sockaddr_un address = {.sun_family = AF_UNIX};

static int open_socket(void **state)
{
    struct timeval limit = {.tv_sec = 10};
    (void)state;
    assert_non_null(mkdtemp(dir));
    snprintf(address.sun_path, sizeof address.sun_path, "%s/notify", dir);
    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit), 0);
    setenv("NOTIFY_SOCKET", address.sun_path, 1);
    return 0;
}

static int close_socket(void **state)
{
    (void)state;
    unsetenv("NOTIFY_SOCKET");
    close(fd);
    unlink(address.sun_path);
    return rmdir(dir);
}

static void expect_datagram(const char *expected)
{
    char found[500];
    ssize_t n = recv(fd, found, sizeof found - 1, 0);
    assert_true(n >= 0);
    found[n] = '\0';
    assert_string_equal(found, expected);
}

static void each_call_is_one_datagram(void **state)
{
    (void)state;
    notify_extend_timeout(90);
    expect_datagram("EXTEND_TIMEOUT_USEC=90000000");
    notify_ready("serving models/demo");
    expect_datagram("READY=1\nSTATUS=serving models/demo");
    notify_status("3 jobs");
    expect_datagram("STATUS=3 jobs");
    notify_watchdog();
    expect_datagram("WATCHDOG=1");
    notify_stopping();
    expect_datagram("STOPPING=1\nSTATUS=draining");
}

static void without_a_socket_nothing_happens(void **state)
{
    (void)state;
    unsetenv("NOTIFY_SOCKET");
    notify_ready("x");
    setenv("NOTIFY_SOCKET", "/nonexistent/socket", 1);
    notify_ready("x");
    setenv("NOTIFY_SOCKET", address.sun_path, 1);
    notify_watchdog();
    expect_datagram("WATCHDOG=1"); /* and nothing in front of it */
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
    return cmocka_run_group_tests(tests, open_socket, close_socket);
}
