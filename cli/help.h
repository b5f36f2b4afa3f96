/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli/help.h - help texts and the manual page, made from the rows that the parser reads.
 *
 * Threads: main thread.
 */
#ifndef LATENTD_CLI_HELP_H
#define LATENTD_CLI_HELP_H

#include <stdio.h>

#include "cli/verb.h"

/* What an exit status means, for the manual. */
struct cli_exit_status {
    int status;
    const char *meaning; /* full sentence, no full stop */
};

/* Ends with a NULL meaning. */
extern const struct cli_exit_status cli_exit_statuses[];

/* cli_help_overview - usage and the list of verbs. */
void cli_help_overview(FILE *out);

/* cli_help_usage - the one line "usage: latentctl VERB …". */
void cli_help_usage(const struct cli_verb *verb, FILE *out);

/* cli_help_verb - usage, details and every option of a verb. */
void cli_help_verb(const struct cli_verb *verb, FILE *out);

/* cli_manual_write - the manual page latentctl(1) in man(7) markup. */
void cli_manual_write(FILE *out);

#endif
