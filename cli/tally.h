/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli/tally.h - from single answers to the table of an evaluation.
 *
 *                depth 1   depth 2   adaptive
 *     easy      [ cell ]  [ cell ]  [ cell ]     group 0
 *     hard      [ cell ]  [ cell ]  [ cell ]     group 1
 *
 * A group is all questions with one difficulty, or one family, or simply all. Cells are sums, so a
 * total is the same computation with one group.
 *
 * Threads: plain memory.
 */
#ifndef LATENTD_CLI_TALLY_H
#define LATENTD_CLI_TALLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "cli/questions.h"

/* One question at one depth, answered. */
struct cli_trial_result {
    bool is_right;
    uint64_t n_tokens; /* of the answer, its end token not counted */
    uint64_t n_steps;  /* over these tokens */
};

struct cli_cell {
    uint64_t n;
    uint64_t n_right;
    uint64_t n_tokens;
    uint64_t n_steps;
};

enum cli_tally_by { CLI_TALLY_BY_DIFFICULTY, CLI_TALLY_BY_FAMILY, CLI_TALLY_TOTAL };

/* More groups than this are a mistake in the file, not a table. */
#define CLI_TALLY_MAX_GROUPS 1000

struct cli_tally_group {
    const char *label;                  /* borrowed from the question */
    const struct cli_question *example; /* any question of the group */
};

struct cli_tally {
    struct cli_tally_group *groups; /* [n_groups], owned */
    size_t n_groups;
    size_t n_depths;
    struct cli_cell *cells; /* [n_groups][n_depths], owned */
};

/*
 * cli_tally_build - sum up.
 *
 * results  [n_depths][questions->n]
 * Groups are ordered: difficulties that are numbers by their number, then all others by their first
 * appearance in the file. A question without a family stands under "-".
 * Errors:  LTD_E_INVALID (too many groups), LTD_E_EXHAUSTED.
 */
int cli_tally_build(const struct cli_questions *questions, const struct cli_trial_result *results,
                    size_t n_depths, enum cli_tally_by by, struct cli_tally *out,
                    struct ltd_err *err);

void cli_tally_fini(struct cli_tally *tally);

/* Percent of the answers that are right; 0 for an empty cell. */
double cli_cell_accuracy(const struct cli_cell *cell);

/* Steps per token over all tokens of the cell; 0 when there are none. */
double cli_cell_mean_steps(const struct cli_cell *cell);

#endif
