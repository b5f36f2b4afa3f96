/* SPDX-License-Identifier: Apache-2.0 */
/* cli/tally.c - see cli/tally.h. */
#include "cli/tally.h"

#include <stdlib.h>
#include <string.h>

static const char *label_of(const struct cli_question *q, enum cli_tally_by by)
{
    switch (by) {
    case CLI_TALLY_BY_DIFFICULTY:
        return q->difficulty;
    case CLI_TALLY_BY_FAMILY:
        return q->family ? q->family : "-";
    case CLI_TALLY_TOTAL:
        break;
    }
    return "total";
}

/* The number 1 and the string "1" are two difficulties: they would print alike but sort apart. */
static bool same_group(const struct cli_tally_group *group, const struct cli_question *q,
                       enum cli_tally_by by)
{
    if (by == CLI_TALLY_BY_DIFFICULTY && group->example->is_number != q->is_number)
        return false;
    return strcmp(group->label, label_of(q, by)) == 0;
}

static size_t find_group(const struct cli_tally *tally, const struct cli_question *q,
                         enum cli_tally_by by)
{
    size_t i = 0;
    while (i < tally->n_groups && !same_group(&tally->groups[i], q, by))
        i++;
    return i;
}

/* Where a new group belongs: before the first one that must follow it. */
static size_t place_of(const struct cli_tally *tally, const struct cli_question *q,
                       enum cli_tally_by by)
{
    size_t i = 0;
    if (by != CLI_TALLY_BY_DIFFICULTY || !q->is_number)
        return tally->n_groups;
    while (i < tally->n_groups && tally->groups[i].example->is_number &&
           tally->groups[i].example->difficulty_number < q->difficulty_number)
        i++;
    return i;
}

static int add_group(struct cli_tally *tally, const struct cli_question *q, enum cli_tally_by by,
                     struct ltd_err *err)
{
    if (tally->n_groups == CLI_TALLY_MAX_GROUPS)
        return ltd_fail(err, LTD_E_INVALID, "line %u: more than %d different %s", q->line,
                        CLI_TALLY_MAX_GROUPS,
                        by == CLI_TALLY_BY_FAMILY ? "families" : "difficulties");
    struct cli_tally_group *grown = reallocarray(tally->groups, tally->n_groups + 1, sizeof *grown);
    if (!grown)
        return ltd_fail(err, LTD_E_EXHAUSTED, "no memory for the evaluation's table");
    tally->groups = grown;
    size_t at = place_of(tally, q, by);
    memmove(grown + at + 1, grown + at, (tally->n_groups - at) * sizeof *grown);
    grown[at] = (struct cli_tally_group){label_of(q, by), q};
    tally->n_groups++;
    return 0;
}

static void add_result(struct cli_cell *cell, const struct cli_trial_result *result)
{
    cell->n++;
    cell->n_right += result->is_right;
    cell->n_tokens += result->n_tokens;
    cell->n_steps += result->n_steps;
}

int cli_tally_build(const struct cli_questions *questions, const struct cli_trial_result *results,
                    size_t n_depths, enum cli_tally_by by, struct cli_tally *out,
                    struct ltd_err *err)
{
    struct cli_tally tally = {.n_depths = n_depths};
    int rc = 0;
    for (size_t q = 0; rc == 0 && q < questions->n; q++)
        if (find_group(&tally, questions->items[q], by) == tally.n_groups)
            rc = add_group(&tally, questions->items[q], by, err);
    if (rc == 0) {
        tally.cells = calloc(tally.n_groups * n_depths + 1, sizeof *tally.cells);
        if (!tally.cells)
            rc = ltd_fail(err, LTD_E_EXHAUSTED, "no memory for the evaluation's table");
    }
    if (rc != 0) {
        cli_tally_fini(&tally);
        return -1;
    }
    for (size_t q = 0; q < questions->n; q++) {
        size_t group = find_group(&tally, questions->items[q], by);
        for (size_t d = 0; d < n_depths; d++)
            add_result(&tally.cells[group * n_depths + d], &results[d * questions->n + q]);
    }
    *out = tally;
    return 0;
}

void cli_tally_fini(struct cli_tally *tally)
{
    free(tally->groups);
    free(tally->cells);
    *tally = (struct cli_tally){.n_groups = 0};
}

double cli_cell_accuracy(const struct cli_cell *cell)
{
    return cell->n == 0 ? 0 : 100.0 * (double)cell->n_right / (double)cell->n;
}

double cli_cell_mean_steps(const struct cli_cell *cell)
{
    return cell->n_tokens == 0 ? 0 : (double)cell->n_steps / (double)cell->n_tokens;
}
