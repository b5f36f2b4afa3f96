/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli/manual.c - latentctl(1), from the tables; see cli/help.h.
 *
 * docs/latentctl.1 is this output; a test compares them, so neither can change alone.
 */
#include "cli/help.h"

#include "cli/page.h"

const struct cli_exit_status cli_exit_statuses[] = {
    {0, "done; for a job: it ended by itself"},
    {1, "an internal error, or standard output cannot be written; health: not serving"},
    {2, "wrong usage, an invalid request, a bad question file, or a feature that the daemon lacks"},
    {3, "no such job, model or service; a request id that was used for another job; a job that is "
        "not in the state for it"},
    {4, "unavailable: nobody answers, the daemon is starting or stopping, or the connection was "
        "lost"},
    {5, "exhausted: the queue is full, or a limit was met"},
    {6, "the time was over: --timeout or the job's own limit"},
    {7, "the job was cancelled"},
    {8, "data is corrupt"},
    {9, "not known to the daemon, or not allowed"},
    {130, "interrupted by Ctrl-C"},
    {141, "the reader of standard output went away"},
    {143, "terminated by SIGTERM"},
    {0, NULL},
};

static void put_verb(FILE *out, const struct cli_verb *verb)
{
    fprintf(out, ".SS %s\n.B latentctl %s\n", verb->name, verb->name);
    cli_roff_text(out, verb->synopsis);
    fputs("\n.PP\n", out);
    cli_roff_text(out, verb->details);
    fputc('\n', out);
    for (const struct cli_group *g = verb->groups; g->rows && g->rows != cli_common_rows; g++)
        for (size_t i = 0; i < g->n_rows; i++)
            cli_roff_option(out, &g->rows[i]);
}

static void put_head(FILE *out)
{
    fputs(".\\\" Written by \"latentctl help --man\"; change cli/, not this file.\n"
          ".TH LATENTCTL 1 \"\" latentd \"User Commands\"\n"
          ".SH NAME\nlatentctl \\- talk to a latentd\n"
          ".SH SYNOPSIS\n.B latentctl\n.I VERB\n[\\fIOPTION\\fR]...\n.br\n"
          ".B latentctl help\n[\\fIVERB\\fR]\n"
          ".SH DESCRIPTION\n",
          out);
    cli_roff_text(
        out,
        "latentctl asks a latentd, a daemon that serves recurrent-depth language models, to "
        "think: in one call that waits for the answer, or as a job that goes on without it.\n\n"
        "\"--flag value\" and \"--flag=value\" are the same. Of a flag given twice the last "
        "one counts, unless it is repeatable. \"--\" ends the flags, so a prompt that begins "
        "with a dash goes behind it. Values are checked for syntax here and for range by the "
        "daemon, which refuses what is out of range and never changes it silently.\n\n"
        "Names of jobs are accepted with or without \"jobs/\". The options under EVERY VERB "
        "may stand before the verb too.\n\n"
        "Numbers in JSON have as many digits as give the same float or double back; NaN and "
        "infinities are null, bytes that are no UTF-8 are U+FFFD. Errors go to standard error "
        "as one line: latentctl: VERB: CODE: MESSAGE. Behind it stands in parentheses the daemon's "
        "own "
        "word for the failure where there is one (docs/api.md lists them), and \"try again in N "
        "s\" "
        "when the daemon says so. A DURATION is a number and a unit: 1500ms, 20s, 1.5m, 2h, 7d.");
    fputc('\n', out);
}

static void put_statuses(FILE *out)
{
    fputs(".SH EXIT STATUS\n", out);
    for (const struct cli_exit_status *s = cli_exit_statuses; s->meaning; s++) {
        fprintf(out, ".TP\n.B %d\n", s->status);
        cli_roff_text(out, s->meaning);
        fputs(".\n", out);
    }
}

static void put_tail(FILE *out)
{
    fputs(
        ".SH ENVIRONMENT\n.TP\n.B LATENTD_SERVER\nThe daemon's address when \\-\\-server is "
        "absent; " CLI_DEFAULT_SERVER " without both.\n"
        ".TP\n.B LATENTD_TOKEN\nThe access token when \\-\\-token\\-file is absent.\n"
        ".TP\n.B LATENTD_TOKEN_FILE\nA file that holds it, when both are absent.\n"
        ".TP\n.B LATENTD_TLS_CA, LATENTD_TLS_CERT, LATENTD_TLS_KEY, LATENTD_TLS_NAME\n"
        "What stands for \\-\\-tls\\-ca and so on when those are absent and the address begins "
        "with "
        "tls:.\n"
        ".SH EXAMPLES\n.nf\n"
        "latentctl think \\-\\-chat \\-\\-depth 32 \"Why is the sky blue?\"\n"
        "name=$(latentctl submit \\-\\-depth adaptive \\-\\-request\\-id night1 \\- < prompt.txt)\n"
        "latentctl watch \"$name\"\n"
        "latentctl result \\-\\-wait \\-\\-json \"$name\"\n"
        "latentctl continue \\-\\-steps 48 \\-\\-watch \"$name\"\n"
        "latentctl think \\-\\-depth 4..64 \\-\\-within 20s \"Is 2027 prime?\"\n"
        "latentctl top\n"
        "latentctl plan \\-\\-ranks 1,4,16 models/huginn\n"
        "latentctl eval \\-\\-depths 1,4,16,adaptive questions.jsonl\n"
        ".fi\n.SH SEE ALSO\n.BR latentd (8)\n",
        out);
}

void cli_manual_write(FILE *out)
{
    put_head(out);
    fputs(".SH EVERY VERB\n", out);
    for (size_t i = 0; i < CLI_N_COMMON_ROWS; i++)
        cli_roff_option(out, &cli_common_rows[i]);
    fputs(".SH VERBS\n", out);
    for (size_t i = 0; i < cli_n_verbs; i++)
        put_verb(out, cli_verbs[i]);
    put_statuses(out);
    put_tail(out);
}
