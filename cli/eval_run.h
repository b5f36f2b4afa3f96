/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli/eval_run.h - ask every question at every depth, many at once.
 *
 * A trial is one question at one depth: one Generate call. A window of trials is in flight; each
 * that ends starts the next. A daemon whose queue is full refuses a trial: it is asked again later,
 * and the window shrinks to what the daemon took, so any --concurrency works with any daemon. Any
 * other failure ends the evaluation: a table with holes would be read as a result.
 *
 * What a trial asks depends on the file, the depth and the seed only, never on the order in which
 * answers come; with the daemon's promise of one answer, so does the table.
 *
 * Threads: main thread.
 */
#ifndef LATENTD_CLI_EVAL_RUN_H
#define LATENTD_CLI_EVAL_RUN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"
#include "cli/link.h"
#include "cli/questions.h"
#include "cli/spec.h"
#include "cli/tally.h"

struct cli_eval_plan {
    const char *path; /* of the question file, for messages */
    const struct cli_questions *questions;
    const struct cli_depths *depths;
    const struct cli_depth_args *depth; /* flags of the adaptive depth, init scale, model */
    bool chat;
    uint32_t max_tokens;
    double temperature;
    uint64_t seed; /* question i (from 0) is asked with seed + i, at every depth */
    uint32_t concurrency;
};

struct cli_eval_results {
    struct cli_trial_result *results; /* [n_depths][n_questions], owned */
    struct ltd_bytes *texts;          /* same shape, owned */
    size_t n;
};

/*
 * cli_eval_run - all trials; fills `out`, which cli_eval_results_fini frees after success.
 * Errors:  the first trial's that failed, with file, line and depth in front.
 */
int cli_eval_run(struct cli_link *link, const struct cli_eval_plan *plan,
                 struct cli_eval_results *out, struct ltd_err *err);

void cli_eval_results_fini(struct cli_eval_results *results);

#endif
