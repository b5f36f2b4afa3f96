/* SPDX-License-Identifier: Apache-2.0 */
/* cli/eval_report.c - see cli/eval_report.h. */
#include "cli/eval_report.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cli/json_out.h"
#include "cli/names.h"
#include "cli/out.h"
#include "cli/table.h"

/* A column of text, the count, a column per depth, and the mean steps behind an adaptive one. */
static char *alignment(const struct cli_depths *depths)
{
    char *aligns = malloc(2 * depths->n + 3);
    if (!aligns)
        return NULL;
    size_t n = 0;
    aligns[n++] = 'l';
    aligns[n++] = 'r';
    for (size_t d = 0; d < depths->n; d++) {
        aligns[n++] = 'r';
        if (depths->items[d].adaptive)
            aligns[n++] = 'r';
    }
    aligns[n] = '\0';
    return aligns;
}

static void add_heads(struct cli_table *table, const char *what, const struct cli_depths *depths)
{
    char name[CLI_DEPTH_NAME_BYTES];
    cli_table_cell(table, "%s", what);
    cli_table_cell(table, "N");
    for (size_t d = 0; d < depths->n; d++) {
        cli_table_cell(table, "%s", cli_depth_name(&depths->items[d], name, sizeof name));
        if (depths->items[d].adaptive)
            cli_table_cell(table, "STEPS");
    }
}

static void add_rows(struct cli_table *table, const struct cli_tally *tally,
                     const struct cli_depths *depths)
{
    for (size_t g = 0; g < tally->n_groups; g++) {
        const struct cli_cell *cells = tally->cells + g * tally->n_depths;
        cli_table_cell(table, "%s", tally->groups[g].label);
        cli_table_cell(table, "%" PRIu64, cells[0].n);
        for (size_t d = 0; d < tally->n_depths; d++) {
            cli_table_cell(table, "%.1f%%", cli_cell_accuracy(&cells[d]));
            if (depths->items[d].adaptive)
                cli_table_cell(table, "%.2f", cli_cell_mean_steps(&cells[d]));
        }
    }
}

static int add_tally(struct cli_table *table, const struct cli_eval_plan *plan,
                     const struct cli_eval_results *results, enum cli_tally_by by,
                     struct ltd_err *err)
{
    struct cli_tally tally;
    if (cli_tally_build(plan->questions, results->results, plan->depths->n, by, &tally, err) != 0)
        return -1;
    add_rows(table, &tally, plan->depths);
    cli_tally_fini(&tally);
    return 0;
}

static int print_one(const struct cli_eval_plan *plan, const struct cli_eval_results *results,
                     const char *aligns, enum cli_tally_by by, struct ltd_err *err)
{
    struct cli_table table;
    cli_table_init(&table, aligns);
    add_heads(&table, by == CLI_TALLY_BY_FAMILY ? "FAMILY" : "DIFFICULTY", plan->depths);
    int rc = add_tally(&table, plan, results, by, err);
    if (rc == 0)
        rc = add_tally(&table, plan, results, CLI_TALLY_TOTAL, err);
    if (rc == 0)
        rc = cli_table_print(&table, err);
    cli_table_fini(&table);
    return rc;
}

int cli_eval_print_table(const struct cli_eval_plan *plan, const struct cli_eval_results *results,
                         struct ltd_err *err)
{
    char *aligns = alignment(plan->depths);
    if (!aligns)
        return ltd_fail(err, LTD_E_EXHAUSTED, "no memory for the evaluation's table");
    int rc = print_one(plan, results, aligns, CLI_TALLY_BY_DIFFICULTY, err);
    if (rc == 0 && plan->questions->has_families) {
        cli_out_printf("\n");
        rc = print_one(plan, results, aligns, CLI_TALLY_BY_FAMILY, err);
    }
    free(aligns);
    return rc == 0 ? cli_out_flush(err) : -1;
}

static void depth_item(struct cli_json *j, const char *key, const struct cli_depth *depth)
{
    if (depth->adaptive)
        cli_json_str(j, key, "adaptive");
    else
        cli_json_u64(j, key, depth->steps);
}

static void difficulty_item(struct cli_json *j, const struct cli_question *question)
{
    if (question->is_number)
        cli_json_i64(j, "difficulty", question->difficulty_number);
    else
        cli_json_str(j, "difficulty", question->difficulty);
}

static void cell_item(struct cli_json *j, const struct cli_tally *tally, size_t group,
                      size_t depth_idx, enum cli_tally_by by, const struct cli_depth *depth)
{
    const struct cli_cell *cell = &tally->cells[group * tally->n_depths + depth_idx];
    cli_json_begin(j, NULL, '{');
    if (by == CLI_TALLY_BY_DIFFICULTY)
        difficulty_item(j, tally->groups[group].example);
    if (by == CLI_TALLY_BY_FAMILY)
        cli_json_str(j, "family", tally->groups[group].label);
    depth_item(j, "depth", depth);
    cli_json_u64(j, "n", cell->n);
    cli_json_u64(j, "correct", cell->n_right);
    cli_json_double(j, "accuracy_percent", cli_cell_accuracy(cell));
    cli_json_u64(j, "tokens", cell->n_tokens);
    cli_json_double(j, "mean_steps", cli_cell_mean_steps(cell));
    cli_json_end(j);
}

static int cells_field(struct cli_json *j, const char *key, const struct cli_eval_plan *plan,
                       const struct cli_eval_results *results, enum cli_tally_by by,
                       struct ltd_err *err)
{
    struct cli_tally tally;
    if (cli_tally_build(plan->questions, results->results, plan->depths->n, by, &tally, err) != 0)
        return -1;
    cli_json_begin(j, key, '[');
    for (size_t g = 0; g < tally.n_groups; g++)
        for (size_t d = 0; d < tally.n_depths; d++)
            cell_item(j, &tally, g, d, by, &plan->depths->items[d]);
    cli_json_end(j);
    cli_tally_fini(&tally);
    return 0;
}

static void answers_field(struct cli_json *j, const struct cli_eval_plan *plan,
                          const struct cli_eval_results *results)
{
    cli_json_begin(j, "answers", '[');
    for (size_t i = 0; i < results->n; i++) {
        cli_json_begin(j, NULL, '{');
        cli_json_u64(j, "line", plan->questions->items[i % plan->questions->n]->line);
        depth_item(j, "depth", &plan->depths->items[i / plan->questions->n]);
        cli_json_text(j, "text", results->texts[i].data, results->texts[i].len);
        cli_json_bool(j, "correct", results->results[i].is_right);
        cli_json_u64(j, "tokens", results->results[i].n_tokens);
        cli_json_u64(j, "steps", results->results[i].n_steps);
        cli_json_end(j);
    }
    cli_json_end(j);
}

static void head_fields(struct cli_json *j, const struct cli_eval_plan *plan,
                        const Latentd__V1__Model *model)
{
    cli_json_str(j, "file", plan->path);
    cli_json_bytes(j, "model", model->name);
    cli_json_bytes(j, "hash", model->hash);
    cli_json_bytes(j, "tier", model->tier);
    cli_json_u64(j, "questions", plan->questions->n);
    cli_json_u64(j, "seed", plan->seed);
    cli_json_u64(j, "max_tokens", plan->max_tokens);
    cli_json_double(j, "temperature", plan->temperature);
    cli_json_begin(j, "depths", '[');
    for (size_t d = 0; d < plan->depths->n; d++)
        depth_item(j, NULL, &plan->depths->items[d]);
    cli_json_end(j);
}

int cli_eval_print_json(const struct cli_eval_plan *plan, const struct cli_eval_results *results,
                        const Latentd__V1__Model *model, bool answers, struct ltd_err *err)
{
    struct cli_json j;
    cli_json_init(&j);
    cli_json_begin(&j, NULL, '{');
    head_fields(&j, plan, model);
    int rc = cells_field(&j, "cells", plan, results, CLI_TALLY_BY_DIFFICULTY, err);
    if (rc == 0 && plan->questions->has_families)
        rc = cells_field(&j, "families", plan, results, CLI_TALLY_BY_FAMILY, err);
    if (rc == 0)
        rc = cells_field(&j, "totals", plan, results, CLI_TALLY_TOTAL, err);
    if (rc == 0 && answers)
        answers_field(&j, plan, results);
    cli_json_end(&j);
    if (rc == 0)
        return cli_json_print(&j, err);
    cli_json_fini(&j);
    return -1;
}
