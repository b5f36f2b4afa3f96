/* SPDX-License-Identifier: Apache-2.0 */
/* base/file.c - see base/file.h. */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *kind(mode_t mode)
{
    if (S_ISDIR(mode))
        return "a directory";
    if (S_ISFIFO(mode))
        return "a pipe";
    return S_ISCHR(mode) || S_ISBLK(mode) ? "a device" : "a special file";
}

int ltd_file_open(const char *path, size_t *bytes, struct ltd_err *err)
{
    struct stat st;
    /* Non-blocking, because opening a pipe would wait; for a regular file it changes nothing. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return ltd_fail(err, LTD_E_NOT_FOUND, "open %s: %s, expected a readable regular file", path,
                        strerror(errno));
    if (fstat(fd, &st) != 0)
        ltd_fail(err, LTD_E_INTERNAL, "stat %s: %s", path, strerror(errno));
    else if (!S_ISREG(st.st_mode))
        ltd_fail(err, LTD_E_INVALID, "%s: %s, expected a regular file", path, kind(st.st_mode));
    else {
        *bytes = (size_t)st.st_size;
        return fd;
    }
    close(fd);
    return -1;
}

/* Exactly `bytes` bytes into `out`. */
static int read_all(int fd, char *out, size_t bytes, const char *path, struct ltd_err *err)
{
    size_t done = 0;
    while (done < bytes) {
        ssize_t n = read(fd, out + done, bytes - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return ltd_fail(err, LTD_E_CORRUPT, "read %s: %s after %zu bytes, expected %zu", path,
                            n < 0 ? strerror(errno) : "file ends", done, bytes);
        done += (size_t)n;
    }
    return 0;
}

char *ltd_file_read(const char *path, size_t max_bytes, size_t *len, struct ltd_err *err)
{
    size_t bytes;
    char *text = NULL;
    int fd = ltd_file_open(path, &bytes, err);
    if (fd < 0)
        return NULL;
    if (bytes > max_bytes) {
        ltd_fail(err, LTD_E_INVALID, "%s: %zu bytes, expected at most %zu", path, bytes, max_bytes);
    } else if (!(text = malloc(bytes + 1))) {
        ltd_fail(err, LTD_E_EXHAUSTED, "%s: no memory for %zu bytes", path, bytes);
    } else if (read_all(fd, text, bytes, path, err) != 0) {
        free(text);
        text = NULL;
    } else {
        text[bytes] = '\0';
        *len = bytes;
    }
    close(fd);
    return text;
}

bool ltd_file_is_absent(const char *path)
{
    struct stat st;
    return lstat(path, &st) != 0 && (errno == ENOENT || errno == ENOTDIR);
}
