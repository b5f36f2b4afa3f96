/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli/verb.h - what a verb of latentctl is, and the list of all of them.
 *
 * One verb per file, cmd_VERB.c. Each file defines one `struct cli_verb`; cli/verbs.c lists them in
 * the order in which help shows them; cli/main.c finds the one that was typed, parses its options
 * and calls run. Help, the manual page and the parser read the same rows.
 *
 * The args struct of every verb begins with `struct cli_common`.
 *
 * Threads: main thread only.
 */
#ifndef LATENTD_CLI_VERB_H
#define LATENTD_CLI_VERB_H

#include "base/err.h"
#include "cli/options.h"

/* The options that every verb has; first member of every args struct. */
struct cli_common {
    const char *server; /* NULL: $LATENTD_SERVER, else CLI_DEFAULT_SERVER */
    bool json;
    struct cli_number timeout_s; /* whole command; 0 = no limit; absent: the verb's default */
    bool no_retry;               /* a service that is away is an error at once */
    bool verbose;
    const char *tls_ca; /* PEM files, and NULL: cli/credentials.h */
    const char *tls_cert;
    const char *tls_key;
    const char *tls_name;
    const char *token_file;
    bool help;
};

#define CLI_DEFAULT_SERVER "127.0.0.1:7470"

extern const struct cli_option cli_common_rows[];
#define CLI_N_COMMON_ROWS 11
#define CLI_COMMON_GROUP                                                                           \
    {                                                                                              \
        cli_common_rows, CLI_N_COMMON_ROWS, 0                                                      \
    }

/* Groups of options of one verb, common ones and the end mark included. */
#define CLI_MAX_GROUPS 6

struct cli_verb {
    const char *name;
    const char *synopsis;                    /* behind "latentctl NAME ", for usage lines */
    const char *summary;                     /* one line, lower case, no full stop */
    const char *details;                     /* paragraphs of full sentences, "\n\n" between them */
    struct cli_group groups[CLI_MAX_GROUPS]; /* the verb's own first, the common ones last */
    size_t args_bytes;
    bool takes_stdin; /* the word "-" means standard input */
    size_t min_words; /* words that are not options */
    size_t max_words;
    /*
     * Do it. Returns the exit status of the program, or -1 with `err`, which main prints and turns
     * into an exit status.
     */
    int (*run)(const struct cli_words *words, const void *args, struct ltd_err *err);
};

/* [cli_n_verbs], in the order of help. */
extern const struct cli_verb *const cli_verbs[];
extern const size_t cli_n_verbs;

/* cli_verb_find - by exact name; NULL when there is none. */
const struct cli_verb *cli_verb_find(const char *name);

/* cli_verb_nearest - the verb that `name` is nearly, or NULL. */
const struct cli_verb *cli_verb_nearest(const char *name);

extern const struct cli_verb cli_think, cli_submit, cli_continue, cli_watch, cli_result, cli_jobs,
    cli_priority, cli_cancel, cli_delete, cli_tokenize, cli_detokenize, cli_score, cli_info,
    cli_top, cli_health, cli_drain, cli_store, cli_token, cli_eval, cli_plan;

#endif
