/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/model/golden.h - replay everything that the golden vectors describe, into named arrays.
 *
 * tests/data/golden/<case>/golden.safetensors was computed by the authors' code. golden_run
 * computes the same quantities with this project's code for one tier and one rank group, under the
 * same names. Two runs can then be compared with the vectors (tolerances) and with each other
 * (bits).
 */
#ifndef LATENTD_TESTS_MODEL_GOLDEN_H
#define LATENTD_TESTS_MODEL_GOLDEN_H

#include <stdint.h>

#include "kernels/kernels.h"
#include "model/kv.h"
#include "model/safetensors.h"

struct golden_array {
    char name[96];
    int64_t count;
    float *floats; /* owned; NULL for integers */
    int64_t *ints; /* owned; NULL for floats */
};

struct golden_run {
    struct golden_array *arrays; /* owned */
    int32_t n_arrays;
};

/* How much of it. Rules of logits are looked at outside the ranks, at the price of as many steps as
 * all the rest: what only asks about ranks and threads leaves them out. */
enum golden_extent { GOLDEN_ALL, GOLDEN_NO_LOGIT_RULES, GOLDEN_FORWARD_ONLY };

struct golden_setup {
    const char *dir; /* of the case */
    const struct kern_ops *ops;
    int32_t n_ranks;
    int32_t n_threads;
    enum model_kv_format kv_format;
    enum kern_format format;
    enum golden_extent extent;
};

/* Fails the running test on any error. */
struct golden_run *golden_run(const struct golden_setup *setup);
void golden_free(struct golden_run *run);

const struct golden_array *golden_find(const struct golden_run *run, const char *name);

/* Name of the first array that differs in a bit between two runs, or NULL. */
const char *golden_first_difference(const struct golden_run *a, const struct golden_run *b);

#endif
