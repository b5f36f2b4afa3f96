/* SPDX-License-Identifier: Apache-2.0 */
/* tools/verbs.c - the table of verbs, and its pages; see tools/verb.h. */
#include "tools/verb.h"

#include <string.h>

#include "cli/page.h"

const struct tool_verb *const tool_verbs[] = {&tool_verb_synth,    &tool_verb_pack,
                                              &tool_verb_info,     &tool_verb_verify,
                                              &tool_verb_checksum, &tool_verb_compare};

const size_t tool_n_verbs = sizeof tool_verbs / sizeof tool_verbs[0];

const struct cli_option tool_common_rows[] = {
    {"help", CLI_FLAG, offsetof(struct tool_common, help), NULL, "print this and exit"},
};

static const struct {
    int status;
    const char *meaning;
} exit_statuses[] = {
    {0, "done; for verify: a daemon would load the model, and every checksum agrees"},
    {1,
     "verify: it would not, or one does not; others: an internal error, or standard output cannot "
     "be written"},
    {2, "wrong usage, or a file that is not what it should be"},
    {3, "a file is absent, or one that should not be there is"},
    {5, "not enough space or memory"},
    {8, "the model is damaged"},
    {9, "a file may not be read or written"},
    {130, "interrupted by Ctrl-C; nothing partial is left behind"},
    {141, "the reader of standard output went away"},
    {143, "terminated by SIGTERM; nothing partial is left behind"},
};

const struct tool_verb *tool_verb_find(const char *name)
{
    for (size_t i = 0; i < tool_n_verbs; i++)
        if (strcmp(tool_verbs[i]->name, name) == 0)
            return tool_verbs[i];
    return NULL;
}

const struct tool_verb *tool_verb_nearest(const char *name)
{
    const struct tool_verb *nearest = NULL;
    size_t distance = CLI_NEAREST_MAX + 1;
    for (size_t i = 0; i < tool_n_verbs; i++)
        if (cli_nearest_better(name, strlen(name), tool_verbs[i]->name, &distance))
            nearest = tool_verbs[i];
    return nearest;
}

void tool_help_usage(const struct tool_verb *verb, FILE *out)
{
    fprintf(out, "usage: latentd-model %s %s\n", verb->name, verb->synopsis);
}

void tool_help_overview(FILE *out)
{
    fputs("usage: latentd-model VERB [OPTION]... DIR\n\nverbs:\n", out);
    for (size_t i = 0; i < tool_n_verbs; i++)
        fprintf(out, "  %-12s %s\n", tool_verbs[i]->name, tool_verbs[i]->summary);
    fputs("\n\"latentd-model help VERB\" explains a verb, \"latentd-model help --man\" prints the "
          "manual\npage, \"latentd-model --version\" the version.\n",
          out);
}

void tool_help_verb(const struct tool_verb *verb, FILE *out)
{
    tool_help_usage(verb, out);
    fprintf(out, "\n%s: %s.\n\n", verb->name, verb->summary);
    cli_page_fill(out, verb->details, 0, 0);
    cli_page_options(out, verb->groups);
}

static void put_verb(FILE *out, const struct tool_verb *verb)
{
    fprintf(out, ".SS %s\n.B latentd\\-model %s\n", verb->name, verb->name);
    cli_roff_text(out, verb->synopsis);
    fputs("\n.PP\n", out);
    cli_roff_text(out, verb->details);
    fputc('\n', out);
    for (const struct cli_group *g = verb->groups; g->rows && g->rows != tool_common_rows; g++)
        for (size_t i = 0; i < g->n_rows; i++)
            cli_roff_option(out, &g->rows[i]);
}

static void put_tail(FILE *out)
{
    fputs(".SH EXIT STATUS\n", out);
    for (size_t i = 0; i < sizeof exit_statuses / sizeof exit_statuses[0]; i++) {
        fprintf(out, ".TP\n.B %d\n", exit_statuses[i].status);
        cli_roff_text(out, exit_statuses[i].meaning);
        fputs(".\n", out);
    }
    fputs(".SH EXAMPLES\n.nf\n"
          "latentd\\-model synth \\-\\-like huginn\\-0125 \\-\\-seed 1 /var/tmp/big\n"
          "latentd\\-model pack \\-\\-format bf16 \\-\\-out /var/tmp/packed /var/tmp/big\n"
          "latentd\\-model info \\-\\-ranks 4 /var/tmp/big\n"
          "latentd\\-model checksum /var/tmp/big\n"
          "latentd\\-model verify /var/tmp/big\n"
          "latentd\\-model compare \\-\\-format int8 \\-\\-tokens 1,2,3 /var/tmp/big\n"
          ".fi\n.SH SEE ALSO\n.BR latentd (8),\n.BR latentctl (1)\n",
          out);
}

void tool_manual_write(FILE *out)
{
    fputs(".\\\" Written by \"latentd-model help --man\"; change tools/, not this file.\n"
          ".TH LATENTD\\-MODEL 1 \"\" latentd \"User Commands\"\n"
          ".SH NAME\nlatentd\\-model \\- make, pack, describe and check model directories\n"
          ".SH SYNOPSIS\n.B latentd\\-model\n.I VERB\n[\\fIOPTION\\fR]...\n.I DIR\n.br\n"
          ".B latentd\\-model help\n[\\fIVERB\\fR]\n"
          ".SH DESCRIPTION\n",
          out);
    cli_roff_text(
        out, "latentd-model works on model directories in the published layout, the ones that "
             "latentd loads, without a daemon.\n\n"
             "Errors go to standard error as one line: latentd-model: VERB: CODE: MESSAGE. What "
             "takes long shows a bar where standard error is a terminal. \"--flag value\" and "
             "\"--flag=value\" are the same; \"--\" ends the flags. Every verb takes --help.");
    fputs("\n.SH VERBS\n", out);
    for (size_t i = 0; i < tool_n_verbs; i++)
        put_verb(out, tool_verbs[i]);
    put_tail(out);
}
