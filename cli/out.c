/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli/out.c - see cli/out.h.
 */
#include "cli/out.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/utf8.h"

/* What is known of standard output; the first error is the one that is reported. */
static struct {
    int first_errno;
    bool is_open;
    bool is_terminal;
    bool mid_line;
} out;

static void note(bool ok)
{
    if (!ok && out.first_errno == 0)
        out.first_errno = errno ? errno : EIO;
}

/* After a failed write more output is pointless, and some of it might get through by chance. */
static bool usable(void)
{
    if (!out.is_open) {
        out.is_open = true;
        out.is_terminal = isatty(STDOUT_FILENO) == 1;
    }
    return out.first_errno == 0;
}

static void write_bytes(const void *text, size_t len)
{
    if (len == 0)
        return;
    note(fwrite(text, 1, len, stdout) == len);
    out.mid_line = ((const char *)text)[len - 1] != '\n';
}

/* U+0080..U+009F steer terminals as well as the control characters of ASCII do. */
static bool is_control(uint32_t code)
{
    return (code < 0x20 && code != '\n' && code != '\t') || (code >= 0x7F && code < 0xA0);
}

void cli_out_strip(const void *text, size_t len, char *result)
{
    const uint8_t *s = text;
    memcpy(result, text, len);
    for (size_t i = 0; i < len;) {
        uint32_t code = 0;
        int n = ltd_utf8_next(s + i, len - i, &code);
        size_t step = n > 0 ? (size_t)n : 1;
        if (n <= 0 || is_control(code))
            memset(result + i, '?', step);
        i += step;
    }
}

void cli_out_text(const void *text, size_t len)
{
    if (!usable() || len == 0)
        return;
    if (!out.is_terminal) {
        write_bytes(text, len);
        return;
    }
    char *clean = malloc(len);
    if (!clean) {
        out.first_errno = ENOMEM;
        return;
    }
    cli_out_strip(text, len, clean);
    write_bytes(clean, len);
    free(clean);
}

bool cli_out_mid_line(void)
{
    return out.mid_line;
}

void cli_out_printf(const char *fmt, ...)
{
    if (!usable())
        return;
    char *line = NULL;
    va_list args;
    va_start(args, fmt);
    int n = vasprintf(&line, fmt, args);
    va_end(args);
    note(n >= 0);
    if (n < 0)
        return;
    write_bytes(line, (size_t)n);
    free(line);
}

int cli_out_flush(struct ltd_err *err)
{
    if (usable())
        note(fflush(stdout) == 0);
    if (out.first_errno == 0)
        return 0;
    return ltd_fail(err, LTD_E_INTERNAL, "write to standard output: %s", strerror(out.first_errno));
}

bool cli_out_is_broken(void)
{
    return out.first_errno == EPIPE;
}

/* One character as it stands inside quotes; at most 4 bytes and a NUL, so `piece` holds 5. */
static size_t quote_one(const uint8_t *s, size_t left, char piece[5])
{
    uint32_t code = 0;
    int n = ltd_utf8_next(s, left, &code);
    if (n <= 0 || is_control(code) || code == '\n' || code == '\t' || code == '"' || code == '\\') {
        if (n > 0 && code == '\n')
            strcpy(piece, "\\n");
        else if (n > 0 && code == '\t')
            strcpy(piece, "\\t");
        else if (n > 0 && (code == '"' || code == '\\'))
            snprintf(piece, 5, "\\%c", (char)code);
        else
            snprintf(piece, 5, "\\x%02x", s[0]);
        return 1;
    }
    memcpy(piece, s, (size_t)n);
    piece[n] = '\0';
    return (size_t)n;
}

const char *cli_out_quote(const void *text, size_t len, char *buf, size_t size)
{
    const uint8_t *s = text;
    size_t used = 0;
    for (size_t i = 0; i < len;) {
        char piece[5];
        i += quote_one(s + i, len - i, piece);
        size_t piece_len = strlen(piece);
        if (used + piece_len >= size)
            break;
        memcpy(buf + used, piece, piece_len);
        used += piece_len;
    }
    buf[used] = '\0';
    return buf;
}

/*
 * East Asian scripts and emoji take two columns. The ranges are coarse on purpose: a mistake moves
 * a progress line or a column by one, nothing else.
 */
static size_t columns_of(uint32_t code)
{
    bool wide = (code >= 0x1100 && code <= 0x115F) || (code >= 0x2E80 && code <= 0xA4CF) ||
                (code >= 0xAC00 && code <= 0xD7A3) || (code >= 0xF900 && code <= 0xFAFF) ||
                (code >= 0xFE30 && code <= 0xFE4F) || (code >= 0xFF00 && code <= 0xFF60) ||
                (code >= 0x1F300 && code <= 0x1FAFF) || (code >= 0x20000 && code <= 0x3FFFD);
    return wide ? 2 : 1;
}

size_t cli_out_columns(const void *text, size_t len)
{
    const uint8_t *s = text;
    size_t columns = 0;
    for (size_t i = 0; i < len;) {
        uint32_t code = 0;
        int n = ltd_utf8_next(s + i, len - i, &code);
        columns += n > 0 ? columns_of(code) : 1;
        i += n > 0 ? (size_t)n : 1;
    }
    return columns;
}
