/* SPDX-License-Identifier: Apache-2.0 */
/* tests/daemon/notify_rig.c - see tests/daemon/notify_rig.h. */
#include "tests/daemon/notify_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

int notify_rig_fd;
static char dir[] = "/tmp/latentd-notify-XXXXXX";
static struct sockaddr_un address = {.sun_family = AF_UNIX};

int notify_rig_open(void **state)
{
    struct timeval limit = {.tv_sec = 10};
    (void)state;
    assert_non_null(mkdtemp(dir));
    snprintf(address.sun_path, sizeof address.sun_path, "%s/notify", dir);
    notify_rig_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_true(notify_rig_fd >= 0);
    assert_int_equal(bind(notify_rig_fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(setsockopt(notify_rig_fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit), 0);
    setenv("NOTIFY_SOCKET", address.sun_path, 1);
    return 0;
}

int notify_rig_close(void **state)
{
    (void)state;
    unsetenv("NOTIFY_SOCKET");
    close(notify_rig_fd);
    unlink(address.sun_path);
    return rmdir(dir);
}

void notify_rig_expect(const char *expected)
{
    char found[500];
    ssize_t n = recv(notify_rig_fd, found, sizeof found - 1, 0);
    assert_true(n >= 0);
    found[n] = '\0';
    assert_string_equal(found, expected);
}
