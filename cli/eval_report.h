/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli/eval_report.h - print an evaluation: a table for people, one object for programs.
 *
 * Nothing in it depends on the clock or on the order of answers, so two runs can be compared with
 * diff.
 *
 * Threads: main thread.
 */
#ifndef LATENTD_CLI_EVAL_REPORT_H
#define LATENTD_CLI_EVAL_REPORT_H

#include <stdbool.h>

#include "base/err.h"
#include "cli/eval_run.h"
#include "latentd/v1/latentd.pb-c.h"

/* cli_eval_print_table - rows difficulty, columns depth, percent right; families below. */
int cli_eval_print_table(const struct cli_eval_plan *plan, const struct cli_eval_results *results,
                         struct ltd_err *err);

/* cli_eval_print_json - all cells, and with `answers` every answer. */
int cli_eval_print_json(const struct cli_eval_plan *plan, const struct cli_eval_results *results,
                        const Latentd__V1__Model *model, bool answers, struct ltd_err *err);

#endif
