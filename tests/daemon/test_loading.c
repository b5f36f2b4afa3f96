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

static int fd;
static char dir[] = "/tmp/latentd-loading-XXXXXX";
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
    expect_datagram("EXTEND_TIMEOUT_USEC=600000000");
    let_time_pass(&loading);
    loading_note(&loading, 100);
    expect_datagram("EXTEND_TIMEOUT_USEC=600000000");
    expect_datagram("STATUS=loading weights: 25 %");
    let_time_pass(&loading);
    loading_note(&loading, 299);
    expect_datagram("EXTEND_TIMEOUT_USEC=600000000");
    expect_datagram("STATUS=loading weights: 99 %");
    let_time_pass(&loading);
    loading_note(&loading, 1);
    expect_datagram("EXTEND_TIMEOUT_USEC=600000000");
    expect_datagram("STATUS=loading weights: 100 %");
}

static void expect_silence(void)
{
    char found[100];
    assert_int_equal(recv(fd, found, sizeof found, MSG_DONTWAIT), -1);
}

static void reports_are_a_second_apart_and_only_rank_0_makes_them(void **state)
{
    struct loading loading;
    uint64_t began_ns;
    (void)state;
    loading_begin(&loading, 400, true);
    expect_datagram("EXTEND_TIMEOUT_USEC=600000000");
    do { /* until the report before was surely less than a second ago */
        while (recv(fd, (char[100]){0}, 100, MSG_DONTWAIT) >= 0)
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
    return cmocka_run_group_tests(tests, open_socket, close_socket);
}
