/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli/page.h - words and options, as the two kinds of page that are made from tables show them: help
 * for a terminal of 80 columns, and man(7) markup.
 *
 * Knows no verb: latentctl and latentd-model have tables of their own and write their pages with
 * this.
 *
 * Threads: no state.
 */
#ifndef LATENTD_CLI_PAGE_H
#define LATENTD_CLI_PAGE_H

#include <stddef.h>
#include <stdio.h>

#include "cli/options.h"

/*
 * cli_page_fill - write `text` word by word from column `column` on; lines begin at `indent`. A
 * blank line between paragraphs stays one.
 */
void cli_page_fill(FILE *out, const char *text, size_t column, size_t indent);

/* cli_page_options - all options of a verb: each flag, and its help beside it. `groups` as in
 * cli_options_parse. */
void cli_page_options(FILE *out, const struct cli_group *groups);

/* cli_roff_text - text of ours, with what man(7) would take for markup made harmless. */
void cli_roff_text(FILE *out, const char *text);

/* cli_roff_option - a row of a table of options as a tagged paragraph. */
void cli_roff_option(FILE *out, const struct cli_option *row);

#endif
