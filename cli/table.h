/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli/table.h - rows of cells, printed with columns that line up.
 *
 * Cells are added from left to right, a row at a time; widths are known at the end. Numbers go to
 * the right of their column and text to the left, and no line has blanks at its end. Two blanks
 * part columns: easy for people and for awk alike. A table that is wider than it may be loses whole
 * columns, from the right; the first one stays.
 *
 * Threads: plain memory, one owner.
 */
#ifndef LATENTD_CLI_TABLE_H
#define LATENTD_CLI_TABLE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/bytes.h"
#include "base/err.h"

struct cli_table {
    const char *aligns; /* one letter per column: 'l' or 'r'; borrowed */
    char **cells;       /* [n_cells], owned strings, row after row */
    size_t n_cells;
    size_t max_width; /* columns at the right end that do not fit are left out; 0 = all fit */
    bool failed;      /* memory was out: printing reports it */
};

void cli_table_init(struct cli_table *table, const char *aligns);
void cli_table_fini(struct cli_table *table);

/* The next cell: formatted text. Control characters are replaced. */
void cli_table_cell(struct cli_table *table, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* cli_table_put - appended to `out`, which remembers when memory is out, as the table does. */
void cli_table_put(const struct cli_table *table, struct ltd_bytes *out);

/* cli_table_print - to standard output. LTD_E_EXHAUSTED when memory was out on the way. */
int cli_table_print(const struct cli_table *table, struct ltd_err *err);

#endif
