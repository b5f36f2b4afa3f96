/* SPDX-License-Identifier: Apache-2.0 */
/* cli/table.c - see cli/table.h. */
#include "cli/table.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/out.h"

void cli_table_init(struct cli_table *table, const char *aligns)
{
    *table = (struct cli_table){.aligns = aligns};
}

void cli_table_fini(struct cli_table *table)
{
    for (size_t i = 0; i < table->n_cells; i++)
        free(table->cells[i]);
    free(table->cells);
    table->cells = NULL;
    table->n_cells = 0;
}

void cli_table_cell(struct cli_table *table, const char *fmt, ...)
{
    char *text = NULL;
    va_list args;
    va_start(args, fmt);
    int n = vasprintf(&text, fmt, args);
    va_end(args);
    char **grown =
        n < 0 ? NULL : reallocarray(table->cells, table->n_cells + 1, sizeof *table->cells);
    if (!grown) {
        table->failed = true;
        if (n >= 0)
            free(text);
        return;
    }
    for (char *c = text; *c; c++)
        if (*c == '\n' || *c == '\t')
            *c = ' ';
    table->cells = grown;
    table->cells[table->n_cells++] = text;
}

static size_t width_of(const char *cell)
{
    return cli_out_columns(cell, strlen(cell));
}

/* The widest cell of each column; [n_columns], to be freed; NULL without memory. */
static size_t *column_widths(const struct cli_table *table, size_t n_columns)
{
    size_t *widths = calloc(n_columns, sizeof *widths);
    for (size_t i = 0; widths && i < table->n_cells; i++)
        if (width_of(table->cells[i]) > widths[i % n_columns])
            widths[i % n_columns] = width_of(table->cells[i]);
    return widths;
}

/* How many columns fit: each but the first has two blanks in front of it. */
static size_t fitting_columns(const size_t *widths, size_t n_columns, size_t max_width)
{
    size_t used = n_columns > 0 ? widths[0] : 0;
    size_t n = 1;
    if (max_width == 0)
        return n_columns;
    while (n < n_columns && used + 2 + widths[n] <= max_width)
        used += 2 + widths[n++];
    return n;
}

static void put_blanks(struct ltd_bytes *line, size_t n)
{
    while (n-- > 0)
        ltd_bytes_put_u8(line, ' ');
}

static void put_cell(struct ltd_bytes *line, const char *cell, char align, size_t width)
{
    size_t padding = width - width_of(cell);
    if (align == 'r')
        put_blanks(line, padding);
    ltd_bytes_put_str(line, cell);
    put_blanks(line, align == 'r' ? 2 : padding + 2);
}

/* One row. What pads its last cells, empty ones included, is cut off again. */
static void put_row(struct ltd_bytes *out, const struct cli_table *table, size_t first,
                    const size_t *widths, size_t n_shown)
{
    for (size_t i = 0; i < n_shown; i++)
        put_cell(out, table->cells[first + i], table->aligns[i], widths[i]);
    while (out->len > 0 && out->data[out->len - 1] == ' ')
        out->len--;
    ltd_bytes_put_u8(out, '\n');
}

void cli_table_put(const struct cli_table *table, struct ltd_bytes *out)
{
    size_t n_columns = strlen(table->aligns);
    size_t *widths = column_widths(table, n_columns);
    out->failed |= table->failed || !widths;
    size_t n_shown = widths ? fitting_columns(widths, n_columns, table->max_width) : 0;
    for (size_t i = 0; !out->failed && i < table->n_cells; i += n_columns) {
        ltd_assert(table->n_cells - i >= n_columns, table->n_cells - i, n_columns);
        put_row(out, table, i, widths, n_shown);
    }
    free(widths);
}

int cli_table_print(const struct cli_table *table, struct ltd_err *err)
{
    struct ltd_bytes text;
    ltd_bytes_init(&text);
    cli_table_put(table, &text);
    int rc = text.failed ? ltd_fail(err, LTD_E_EXHAUSTED, "no memory for a table") : 0;
    if (rc == 0)
        cli_out_text(text.data, text.len);
    ltd_bytes_fini(&text);
    return rc;
}
