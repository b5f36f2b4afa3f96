/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/tools/scratch.h - a directory of a test's own, and models in it.
 *
 * Everything fails the running test on an error.
 */
#ifndef LATENTD_TESTS_TOOLS_SCRATCH_H
#define LATENTD_TESTS_TOOLS_SCRATCH_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "tools/synth.h"

/* For cmocka's group set-up and tear-down: made anew, and removed with all that is in it. */
int scratch_make(void **state);
int scratch_remove(void **state);

/* "SCRATCH/name", valid until the eighth call from now. */
const char *scratch_path(const char *name);

/* How many entries the scratch directory has. */
int scratch_count(void);

/* What --like NAME --seed SEED means, in bf16 and one file. */
struct tool_synth_options scratch_options(const char *like, uint64_t seed);

/* Make the model SCRATCH/name; returns its path. */
const char *scratch_synth(const char *name, const struct tool_synth_options *options);

/* A whole file, owned, with a NUL behind it. */
char *scratch_read(const char *path, size_t *bytes);

void scratch_write(const char *path, const void *data, size_t bytes);

/* Fails the test when `rc` is not what it should be, with the message. */
void scratch_good(int rc, const struct ltd_err *err);

/* The call failed with this code, and its message holds both texts (NULL: not looked for). */
void scratch_bad(int rc, const struct ltd_err *err, enum ltd_code code, const char *text,
                 const char *more);

#endif
