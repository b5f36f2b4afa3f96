/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/cli/run.h - run the real latentctl and see what it prints and how it ends.
 *
 * Every wait has a deadline; a program that does not end in time is killed and the test fails.
 */
#ifndef LATENTD_TESTS_CLI_RUN_H
#define LATENTD_TESTS_CLI_RUN_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include <jansson.h>

#define RUN_MAX_ARGS 40

struct run {
    int status; /* exit status, or 128 + signal */
    char *out;  /* owned, NUL-terminated; run_free */
    char *err;
    /* while it runs */
    pid_t pid;
    int out_fd, err_fd;
    size_t out_len, err_len;
};

struct run_options {
    const char *server; /* --server is put behind the verb; NULL: not */
    const char *env;    /* $LATENTD_SERVER; NULL: not set */
    const char *input;  /* standard input; NULL: empty */
    bool out_is_full;   /* standard output is /dev/full: no write succeeds */
    bool err_is_pty;    /* standard error is a terminal of 80 columns */
    bool out_is_pty;    /* standard output is the same terminal */
    bool in_is_pty;     /* and so is standard input: run_type */
};

/* Start it with the words in `args` (split at blanks; '~' stands for a blank inside a word). */
void run_start(struct run *run, const struct run_options *options, const char *args);

/* Read until standard output holds `text`. */
void run_until_out(struct run *run, const char *text);

/* Read until standard error, which is the terminal if there is one, holds `text`. */
void run_until_err(struct run *run, const char *text);

/* Type at the terminal. */
void run_type(struct run *run, const char *keys);

/* Read to the end and wait for it. */
void run_wait(struct run *run);

/* All of it. */
void run_all(struct run *run, const struct run_options *options, const char *args);

/* Close the read end of its standard output now. */
void run_close_out(struct run *run);

void run_free(struct run *run);

/* Standard output as JSON; the test fails when it is none. */
json_t *run_json(const struct run *run);

#endif
