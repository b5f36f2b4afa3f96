/* SPDX-License-Identifier: Apache-2.0 */
/* tests/fuzz/fuzz.c - see tests/fuzz/fuzz.h. */
#include "tests/fuzz/fuzz.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/utf8.h"

void fuzz_broken(const char *file, int line, const char *condition, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, condition);
    vfprintf(stderr, fmt, args);
    fputc('\n', stderr);
    va_end(args);
    abort();
}

void fuzz_check_refusal(const struct ltd_err *err)
{
    size_t len = strlen(err->msg);
    FUZZ_CHECK(err->code != LTD_OK && len > 0, "refused without a reason, code %d", err->code);
    FUZZ_CHECK(ltd_utf8_valid_prefix(err->msg, len) == len, "message is no UTF-8: %s", err->msg);
    for (size_t i = 0; i < len; i++)
        FUZZ_CHECK((unsigned char)err->msg[i] >= 0x20 && err->msg[i] != 0x7F,
                   "control character 0x%02x in message %s", err->msg[i], err->msg);
}

uint8_t fuzz_u8(struct fuzz_input *in)
{
    if (in->len == 0)
        return 0;
    in->len--;
    return *in->data++;
}

uint32_t fuzz_u32(struct fuzz_input *in)
{
    uint32_t v = fuzz_u8(in);
    v = v << 8 | fuzz_u8(in);
    v = v << 8 | fuzz_u8(in);
    return v << 8 | fuzz_u8(in);
}

size_t fuzz_piece(uint32_t *seed, size_t max)
{
    *seed = *seed * 1664525u + 1013904223u;
    uint32_t r = *seed >> 8;
    /* Half of the pieces are small, since boundaries are where readers go wrong. */
    size_t limit = r & 1 ? max : max < 8 ? max : 8;
    return 1 + (r >> 1) % limit;
}

uint8_t *fuzz_copy(const uint8_t *data, size_t len)
{
    uint8_t *copy = malloc(len ? len : 1);
    FUZZ_CHECK(copy, "no memory for %zu bytes", len);
    if (len)
        memcpy(copy, data, len);
    return copy;
}

const char *fuzz_file(const void *data, size_t len)
{
    static int fd = -1;
    static char path[64];
    if (fd < 0) {
        fd = memfd_create("fuzz", MFD_CLOEXEC);
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    }
    FUZZ_CHECK(fd >= 0 && ftruncate(fd, 0) == 0, "no file in memory");
    for (size_t at = 0; at < len;) {
        ssize_t n = pwrite(fd, (const char *)data + at, len - at, (off_t)at);
        FUZZ_CHECK(n > 0, "cannot write %zu bytes", len);
        at += (size_t)n;
    }
    return path;
}
