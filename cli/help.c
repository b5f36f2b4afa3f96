/* SPDX-License-Identifier: Apache-2.0 */
/* cli/help.c - see cli/help.h. Texts are filled to 80 columns whatever the terminal is. */
#include "cli/help.h"

#include <string.h>

#define HELP_COLUMNS 80

/* Where the explanations of options begin. */
#define OPTION_COLUMN 30

/*
 * Write `text` word by word from column `column` on; lines begin at `indent`. A blank line between
 * paragraphs stays one.
 */
static void fill(FILE *out, const char *text, size_t column, size_t indent)
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

static void print_option(FILE *out, const struct cli_option *row)
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
    fill(out, row->help, OPTION_COLUMN, OPTION_COLUMN);
}

void cli_help_usage(const struct cli_verb *verb, FILE *out)
{
    fprintf(out, "usage: latentctl %s %s\n", verb->name, verb->synopsis);
}

void cli_help_verb(const struct cli_verb *verb, FILE *out)
{
    cli_help_usage(verb, out);
    fprintf(out, "\n%s: %s.\n\n", verb->name, verb->summary);
    fill(out, verb->details, 0, 0);
    fputs("\noptions:\n", out);
    for (const struct cli_group *g = verb->groups; g->rows; g++)
        for (size_t i = 0; i < g->n_rows; i++)
            print_option(out, &g->rows[i]);
}

void cli_help_overview(FILE *out)
{
    fputs("usage: latentctl VERB [OPTION]...\n\nverbs:\n", out);
    for (size_t i = 0; i < cli_n_verbs; i++)
        fprintf(out, "  %-12s %s\n", cli_verbs[i]->name, cli_verbs[i]->summary);
    fputs("\nEvery verb takes --server, --json, --timeout and what else \"latentctl help VERB\" "
          "lists\nbehind its own options.\n"
          "\"latentctl help VERB\" explains a verb, \"latentctl help --man\" prints the manual "
          "page,\n\"latentctl --version\" the version.\n",
          out);
}
