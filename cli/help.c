/* SPDX-License-Identifier: Apache-2.0 */
/* cli/help.c - see cli/help.h. Texts are filled to 80 columns whatever the terminal is. */
#include "cli/help.h"

#include "cli/page.h"

void cli_help_usage(const struct cli_verb *verb, FILE *out)
{
    fprintf(out, "usage: latentctl %s %s\n", verb->name, verb->synopsis);
}

void cli_help_verb(const struct cli_verb *verb, FILE *out)
{
    cli_help_usage(verb, out);
    fprintf(out, "\n%s: %s.\n\n", verb->name, verb->summary);
    cli_page_fill(out, verb->details, 0, 0);
    cli_page_options(out, verb->groups);
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
