/* SPDX-License-Identifier: Apache-2.0 */
/* daemon/store_lock.c - see daemon/store_lock.h. */
#include "daemon/store_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

static int tell_holder(int fd, const char *path, struct ltd_err *err)
{
    char text[32] = "";
    ssize_t n = pread(fd, text, sizeof text - 1, 0);
    long pid = n > 0 ? strtol(text, NULL, 10) : 0;
    if (pid > 0)
        return ltd_fail(err, LTD_E_EXISTS, "store %s: in use by process %ld", path, pid);
    return ltd_fail(err, LTD_E_EXISTS, "store %s: in use by another process", path);
}

/* Only for people: that it could not be written is no reason not to start. */
static void sign(int fd)
{
    char text[32];
    int n = snprintf(text, sizeof text, "%ld\n", (long)getpid());
    if (ftruncate(fd, 0) != 0 || pwrite(fd, text, (size_t)n, 0) != n)
        return;
}

int store_lock_acquire(const char *path, struct ltd_err *err)
{
    char name[4200];
    if (snprintf(name, sizeof name, "%s.lock", path) >= (int)sizeof name)
        return ltd_fail(err, LTD_E_INVALID, "store: a path of %zu bytes, at most %zu fit",
                        strlen(path), sizeof name - 6);
    int fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOCTTY, 0600);
    if (fd < 0)
        return ltd_fail(err, LTD_E_INVALID, "store %s: %s", name, strerror(errno));
    if (flock(fd, LOCK_EX | LOCK_NB) == 0) {
        sign(fd);
        return fd;
    }
    if (errno == EWOULDBLOCK)
        tell_holder(fd, path, err);
    else
        ltd_fail(err, LTD_E_INVALID, "store %s: lock: %s", name, strerror(errno));
    close(fd);
    return -1;
}

void store_lock_release(int fd)
{
    if (fd >= 0)
        close(fd);
}
