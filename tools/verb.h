/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tools/verb.h - the verbs of latentd-model, and the pages that are made from their tables.
 *
 * One verb per file, cmd_VERB.c. Each file defines one `struct tool_verb`; tools/verbs.c lists
 * them; tools/main.c parses options (cli/options.h) and calls run. Help and the manual page
 * docs/latentd-model.1 read the same rows. The args struct of every verb begins with `struct
 * tool_common`.
 *
 * Threads: main thread.
 */
#ifndef LATENTD_TOOLS_VERB_H
#define LATENTD_TOOLS_VERB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "base/err.h"
#include "cli/options.h"

struct tool_common {
    bool help;
};

extern const struct cli_option tool_common_rows[];
#define TOOL_COMMON_GROUP                                                                          \
    {                                                                                              \
        tool_common_rows, 1, 0                                                                     \
    }
#define TOOL_MAX_GROUPS 3

struct tool_verb {
    const char *name;
    const char *synopsis; /* behind "latentd-model NAME " */
    const char *summary;  /* one line, lower case, no full stop */
    const char *details;  /* paragraphs of full sentences, "\n\n" between them */
    struct cli_group groups[TOOL_MAX_GROUPS]; /* the verb's own first, the common one last */
    size_t args_bytes;
    /* Do it to the directory `dir`. Returns the exit status, or -1 with `err`, which main prints
     * and turns into an exit status. */
    int (*run)(const char *dir, const void *args, struct ltd_err *err);
};

/* [tool_n_verbs], in the order of help. */
extern const struct tool_verb *const tool_verbs[];
extern const size_t tool_n_verbs;

extern const struct tool_verb tool_verb_synth, tool_verb_pack, tool_verb_info, tool_verb_verify,
    tool_verb_checksum, tool_verb_compare;

/* By exact name; NULL when there is none. */
const struct tool_verb *tool_verb_find(const char *name);

/* The verb that `name` is nearly, or NULL. */
const struct tool_verb *tool_verb_nearest(const char *name);

/* Usage and the list of verbs; the one usage line of a verb; all about a verb. */
void tool_help_overview(FILE *out);
void tool_help_usage(const struct tool_verb *verb, FILE *out);
void tool_help_verb(const struct tool_verb *verb, FILE *out);

/* The manual page latentd-model(1) in man(7) markup; docs/latentd-model.1 is this output. */
void tool_manual_write(FILE *out);

#endif
