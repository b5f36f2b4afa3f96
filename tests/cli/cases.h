/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/cli/cases.h - what programs that test the real latentctl have in common.
 *
 * One fake server for all cases of a program, on a Unix socket in a folder of its own, which is gone
 * with everything in it at the end.
 */
#ifndef LATENTD_TESTS_CLI_CASES_H
#define LATENTD_TESTS_CLI_CASES_H

#include <jansson.h>

#include "tests/cli/fake_server.h"
#include "tests/cli/run.h"

extern struct fake *fake;

/* For cmocka_run_group_tests. */
int cases_set_up(void **state);
int cases_tear_down(void **state);

/* Write FOLDER/NAME, for a name that tear-down knows: "q.jsonl", "config.json". Returns its path. */
const char *cases_write(const char *name, const char *text);

/* The folder. */
const char *cases_folder(void);

/* Run latentctl with the words of `args` against the fake server. */
void run_on_fake(struct run *run, const char *args);

/* Run and compare all three. NULL: not compared. */
void expect(const char *args, int status, const char *out, const char *err);

/* Run with --json; the caller drops the value. */
json_t *expect_json(const char *args, int status);

/* A piece that standard output of `run` must have. */
void expect_piece(const struct run *run, const char *piece);

const char *text_at(const json_t *object, const char *key); /* "(no string)" for others */
json_int_t integer_at(const json_t *object, const char *key);
double real_at(const json_t *object, const char *key);

/* The value as compact JSON. */
void assert_array(const json_t *object, const char *key, const char *expected);

#endif
