/* SPDX-License-Identifier: Apache-2.0 */
/* tests/cli/run.c - see tests/cli/run.h. */
#include "tests/cli/run.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"

/* Generous: sanitizer builds on a loaded machine. */
#define RUN_DEADLINE_MS 60000

struct child_ends {
    int in, out, err;
};

static void redirect(int from, int to)
{
    if (dup2(from, to) < 0)
        _exit(99);
}

static void become(const struct child_ends *ends, char **argv)
{
    redirect(ends->in, 0);
    redirect(ends->out, 1);
    redirect(ends->err, 2);
    /* cmocka catches signals; the program must begin as a shell would start it. */
    signal(SIGINT, SIG_DFL);
    signal(SIGPIPE, SIG_DFL);
    execv(LATENTCTL, argv);
    _exit(98);
}

/* A file that holds the input: it can be read at any pace and has an end. */
static int input_file(const char *input)
{
    FILE *file = tmpfile();
    assert_non_null(file);
    if (input)
        assert_int_equal(fwrite(input, 1, strlen(input), file), strlen(input));
    fflush(file);
    int fd = dup(fileno(file));
    fclose(file);
    lseek(fd, 0, SEEK_SET);
    return fd;
}

static void make_pipe(int *read_end, int *write_end)
{
    int fds[2];
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    *read_end = fds[0];
    *write_end = fds[1];
}

static void make_terminal(int *master, int *slave)
{
    struct winsize size = {.ws_row = 24, .ws_col = 80};
    assert_int_equal(openpty(master, slave, NULL, NULL, &size), 0);
}

/* "eval --depths 1,2" and the server, as words; '~' becomes a blank. */
static char **split(const char *args, const char *server, char *copy)
{
    char **argv = calloc(RUN_MAX_ARGS, sizeof *argv);
    size_t n = 0;
    assert_non_null(argv);
    argv[n++] = (char *)(uintptr_t) "latentctl";
    strcpy(copy, args);
    for (char *word = strtok(copy, " "); word; word = strtok(NULL, " ")) {
        assert_true(n + 4 < RUN_MAX_ARGS);
        for (char *c = word; *c; c++)
            if (*c == '~')
                *c = ' ';
        argv[n++] = word;
        if (n == 2 && server) {
            argv[n++] = (char *)(uintptr_t) "--server";
            argv[n++] = (char *)(uintptr_t)server;
        }
    }
    return argv;
}

void run_start(struct run *run, const struct run_options *options, const char *args)
{
    struct child_ends ends;
    char *copy = malloc(strlen(args) + 1);
    assert_non_null(copy);
    char **argv = split(args, options->server, copy);
    *run = (struct run){.out = calloc(1, 1), .err = calloc(1, 1)};
    setenv("TERM", "vt100", 1);
    if (options->env)
        setenv("LATENTD_SERVER", options->env, 1);
    else
        unsetenv("LATENTD_SERVER");
    if (options->err_is_pty)
        make_terminal(&run->err_fd, &ends.err);
    else
        make_pipe(&run->err_fd, &ends.err);
    ends.in = options->in_is_pty ? dup(ends.err) : input_file(options->input);
    if (options->out_is_pty) {
        ends.out = dup(ends.err);
        run->out_fd = -1;
    } else if (options->out_is_full) {
        ends.out = open("/dev/full", O_WRONLY | O_CLOEXEC);
        run->out_fd = -1;
    } else {
        make_pipe(&run->out_fd, &ends.out);
    }
    run->pid = fork();
    assert_true(run->pid >= 0);
    if (run->pid == 0)
        become(&ends, argv);
    close(ends.in);
    close(ends.out);
    close(ends.err);
    free(argv);
    free(copy);
}

/* Read what is there; a closed end (or a terminal without writers) becomes -1. */
static void read_some(int *fd, char **text, size_t *len)
{
    char block[4096];
    ssize_t n = read(*fd, block, sizeof block);
    if (n < 0 && errno == EINTR)
        return;
    if (n <= 0) {
        close(*fd);
        *fd = -1;
        return;
    }
    *text = realloc(*text, *len + (size_t)n + 1);
    assert_non_null(*text);
    memcpy(*text + *len, block, (size_t)n);
    *len += (size_t)n;
    (*text)[*len] = '\0';
}

static void kill_late(struct run *run, const char *what)
{
    kill(run->pid, SIGKILL);
    waitpid(run->pid, NULL, 0);
    fail_msg("latentctl did not %s in time; out: %s; err: %s", what, run->out, run->err);
}

/* One round of reading; false when both ends are closed. */
static bool pump(struct run *run, uint64_t deadline_ns, const char *what)
{
    struct pollfd fds[2] = {{run->out_fd, POLLIN, 0}, {run->err_fd, POLLIN, 0}};
    if (run->out_fd < 0 && run->err_fd < 0)
        return false;
    uint64_t now = ltd_now_ns();
    if (now >= deadline_ns)
        kill_late(run, what);
    poll(fds, 2, (int)((deadline_ns - now) / LTD_NS_PER_MS) + 1);
    if (fds[0].revents)
        read_some(&run->out_fd, &run->out, &run->out_len);
    if (fds[1].revents)
        read_some(&run->err_fd, &run->err, &run->err_len);
    return true;
}

void run_until_out(struct run *run, const char *text)
{
    uint64_t deadline = ltd_deadline_ns(RUN_DEADLINE_MS);
    while (!strstr(run->out, text))
        if (!pump(run, deadline, "print what was waited for"))
            fail_msg("latentctl ended without \"%s\"; out: %s; err: %s", text, run->out, run->err);
}

void run_until_err(struct run *run, const char *text)
{
    uint64_t deadline = ltd_deadline_ns(RUN_DEADLINE_MS);
    while (!strstr(run->err, text))
        if (!pump(run, deadline, "show what was waited for"))
            fail_msg("latentctl ended without \"%s\"; err: %s", text, run->err);
}

void run_type(struct run *run, const char *keys)
{
    assert_int_equal(write(run->err_fd, keys, strlen(keys)), strlen(keys));
}

void run_wait(struct run *run)
{
    uint64_t deadline = ltd_deadline_ns(RUN_DEADLINE_MS);
    int status;
    while (pump(run, deadline, "end"))
        ;
    assert_int_equal(waitpid(run->pid, &status, 0), run->pid);
    run->status = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

void run_all(struct run *run, const struct run_options *options, const char *args)
{
    run_start(run, options, args);
    run_wait(run);
}

void run_close_out(struct run *run)
{
    close(run->out_fd);
    run->out_fd = -1;
}

void run_free(struct run *run)
{
    free(run->out);
    free(run->err);
}

json_t *run_json(const struct run *run)
{
    json_error_t why;
    json_t *value = json_loads(run->out, JSON_REJECT_DUPLICATES, &why);
    if (!value)
        fail_msg("not JSON: %s at %d: %s", why.text, why.position, run->out);
    return value;
}
