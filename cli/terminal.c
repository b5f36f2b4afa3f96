/* SPDX-License-Identifier: Apache-2.0 */
/* cli/terminal.c - see cli/terminal.h. */
#include "cli/terminal.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "base/utf8.h"
#include "cli/interrupt.h"
#include "cli/out.h"

#define ENTER       "\033[?1049h\033[?25l" /* alternate screen, no cursor */
#define LEAVE       "\033[?25h\033[?1049l"
#define HOME        "\033[H"
#define ERASE_LINE  "\033[K"
#define ERASE_BELOW "\033[J"

static struct {
    bool is_open;
    bool has_keys; /* standard input is a terminal too; `saved` is how it was */
    struct termios saved;
} terminal;

/* Async-signal-safe: two system calls. A failure has nobody left to hear of it. */
static void restore(void)
{
    ssize_t n = write(STDOUT_FILENO, LEAVE, strlen(LEAVE));
    (void)n;
    if (terminal.has_keys)
        tcsetattr(STDIN_FILENO, TCSANOW, &terminal.saved);
}

static void take_keys(void)
{
    struct termios raw;
    if (tcgetattr(STDIN_FILENO, &terminal.saved) != 0)
        return;
    raw = terminal.saved;
    raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
    raw.c_cc[VMIN] = 1;
    raw.c_cc[VTIME] = 0;
    raw.c_cc[VSUSP] = _POSIX_VDISABLE;
    raw.c_cc[VQUIT] = _POSIX_VDISABLE;
    terminal.has_keys = tcsetattr(STDIN_FILENO, TCSANOW, &raw) == 0;
}

static int write_all(const void *data, size_t len, struct ltd_err *err)
{
    const char *at = data;
    while (len > 0) {
        ssize_t n = write(STDOUT_FILENO, at, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return ltd_fail(err, LTD_E_INTERNAL, "write to the terminal: %s", strerror(errno));
        at += n;
        len -= (size_t)n;
    }
    return 0;
}

int cli_terminal_open(struct ltd_err *err)
{
    const char *term = getenv("TERM");
    if (isatty(STDOUT_FILENO) != 1 || !term || !*term || strcmp(term, "dumb") == 0)
        return ltd_fail(err, LTD_E_INVALID,
                        "standard output is no terminal that can be drawn on: expected one, or "
                        "--once, --batch or --json");
    if (isatty(STDIN_FILENO) == 1)
        take_keys();
    cli_interrupt_set_undo(restore);
    terminal.is_open = true;
    if (write_all(ENTER, strlen(ENTER), err) != 0) {
        cli_terminal_close();
        return -1;
    }
    return 0;
}

void cli_terminal_close(void)
{
    if (!terminal.is_open)
        return;
    cli_interrupt_set_undo(NULL);
    restore();
    terminal.is_open = false;
    terminal.has_keys = false;
}

void cli_terminal_size(size_t *columns, size_t *rows)
{
    struct winsize size;
    bool is_known = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0;
    *columns = is_known && size.ws_col > 0 ? size.ws_col : 80;
    *rows = is_known && size.ws_row > 0 ? size.ws_row : 24;
}

/* The longest beginning of a line that `columns` columns hold, in bytes. */
static size_t fitting_bytes(const uint8_t *line, size_t len, size_t columns)
{
    size_t i = 0, used = 0;
    while (i < len) {
        uint32_t code = 0;
        int n = ltd_utf8_next(line + i, len - i, &code);
        size_t step = n > 0 ? (size_t)n : 1;
        size_t width = cli_out_columns(line + i, step);
        if (used + width > columns)
            break;
        used += width;
        i += step;
    }
    return i;
}

static void put_line(struct ltd_bytes *out, const uint8_t *line, size_t len, size_t columns)
{
    size_t n = fitting_bytes(line, len, columns);
    uint8_t *at = ltd_bytes_reserve(out, n);
    if (!at)
        return;
    cli_out_strip(line, n, (char *)at);
    out->len += n;
    ltd_bytes_put_str(out, ERASE_LINE);
}

void cli_terminal_frame(const struct ltd_bytes *text, size_t columns, size_t rows,
                        struct ltd_bytes *out)
{
    const uint8_t *at = text->data;
    size_t left = text->len;
    ltd_bytes_put_str(out, HOME);
    for (size_t row = 0; row < rows && left > 0; row++) {
        const uint8_t *end = memchr(at, '\n', left);
        size_t len = end ? (size_t)(end - at) : left;
        /* No line feed behind the last row: it would scroll the first one away. */
        if (row > 0)
            ltd_bytes_put_str(out, "\r\n");
        put_line(out, at, len, columns);
        size_t step = end ? len + 1 : len;
        at += step;
        left -= step;
    }
    ltd_bytes_put_str(out, ERASE_BELOW);
}

int cli_terminal_paint(const struct ltd_bytes *text, struct ltd_err *err)
{
    size_t columns, rows;
    struct ltd_bytes frame;
    ltd_bytes_init(&frame);
    cli_terminal_size(&columns, &rows);
    cli_terminal_frame(text, columns, rows, &frame);
    int rc = text->failed || frame.failed
                 ? ltd_fail(err, LTD_E_EXHAUSTED, "no memory for the screen")
                 : write_all(frame.data, frame.len, err);
    ltd_bytes_fini(&frame);
    return rc;
}

char cli_terminal_wait(uint32_t ms)
{
    char key = 0;
    if (!cli_interrupt_wait(terminal.has_keys ? STDIN_FILENO : -1, ms))
        return 0;
    ssize_t n = read(STDIN_FILENO, &key, 1);
    /* An input that is at its end would be readable for ever. */
    if (n <= 0 && !(n < 0 && errno == EINTR)) {
        tcsetattr(STDIN_FILENO, TCSANOW, &terminal.saved);
        terminal.has_keys = false;
    }
    return n == 1 ? key : 0;
}
