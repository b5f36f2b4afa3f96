/* SPDX-License-Identifier: Apache-2.0 */
/* cli/page.c - see cli/page.h. */
#include "cli/page.h"

#include <stdbool.h>
#include <string.h>

#define HELP_COLUMNS 80

/* Where the explanations of options begin. */
#define OPTION_COLUMN 30

void cli_page_fill(FILE *out, const char *text, size_t column, size_t indent)
{
    while (*text) {
        size_t word = strcspn(text, " \n");
        if (column > indent && column + 1 + word > HELP_COLUMNS) {
            fputc('\n', out);
            column = 0;
        } else if (column > indent) {
            fputc(' ', out);
            column++;
        }
        if (column < indent) {
            fprintf(out, "%*s", (int)(indent - column), "");
            column = indent;
        }
        fwrite(text, 1, word, out);
        column += word;
        text += word;
        size_t n_breaks = strspn(text, " \n");
        if (memchr(text, '\n', n_breaks)) {
            fputs("\n\n", out);
            column = 0;
        }
        text += n_breaks;
    }
    fputc('\n', out);
}

static void put_option(FILE *out, const struct cli_option *row)
{
    char head[64];
    int n = snprintf(head, sizeof head, "  --%s%s%s", row->name, row->metavar ? " " : "",
                     row->metavar ? row->metavar : "");
    fputs(head, out);
    size_t column = (size_t)n;
    if (column + 2 > OPTION_COLUMN) {
        fputc('\n', out);
        column = 0;
    }
    fprintf(out, "%*s", (int)(OPTION_COLUMN - column), "");
    cli_page_fill(out, row->help, OPTION_COLUMN, OPTION_COLUMN);
}

void cli_page_options(FILE *out, const struct cli_group *groups)
{
    fputs("\noptions:\n", out);
    for (const struct cli_group *g = groups; g->rows; g++)
        for (size_t i = 0; i < g->n_rows; i++)
            put_option(out, &g->rows[i]);
}

/* Text of ours in roff: '-' would be a hyphen, '\\' an escape; '.' at line start a request. */
void cli_roff_text(FILE *out, const char *text)
{
    bool at_line_start = true;
    for (const char *c = text; *c; c++) {
        if (*c == '\n' && c[1] == '\n') {
            fputs("\n.PP\n", out);
            at_line_start = true;
            c++;
            continue;
        }
        if (at_line_start && (*c == '.' || *c == '\''))
            fputs("\\&", out);
        at_line_start = false;
        if (*c == '-')
            fputs("\\-", out);
        else if (*c == '\\')
            fputs("\\e", out);
        else
            fputc(*c, out);
    }
}

void cli_roff_option(FILE *out, const struct cli_option *row)
{
    fputs(".TP\n.B \\-\\-", out);
    cli_roff_text(out, row->name);
    if (row->metavar) {
        fputs(" \\fI", out);
        cli_roff_text(out, row->metavar);
        fputs("\\fR", out);
    }
    fputc('\n', out);
    cli_roff_text(out, row->help);
    fputs(".\n", out);
}
