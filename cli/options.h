/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli/options.h - a table of options is the parser, the help text and the manual page.
 *
 * A verb describes its options as groups of rows. A row names the flag, what kind of value it takes
 * and where in the verb's own struct the value goes; cli_options_parse fills the struct, cli/help.c
 * and cli/manual.c print the same rows. Groups exist so that verbs share rows (depth, sampling,
 * server) and still keep a struct of their own: `base_bytes` is where the group's part begins.
 *
 *     struct think_args { struct cli_common common; struct cli_spec_args spec; bool keep; };
 *                         ▲ base 0                  ▲ base offsetof(…, spec)   ▲ base 0
 *
 * Rules of the command line: `--flag value` and `--flag=value` are the same; the value may begin
 * with '-'; of a flag given twice the last one counts, except for lists that say "repeatable"; `--`
 * ends the flags; a flag is never abbreviated, because an abbreviation that works today may be
 * ambiguous tomorrow. Values are checked for syntax only: ranges are the server's business, so that
 * one place decides and scripts see one message.
 *
 * Threads: plain memory, main thread.
 */
#ifndef LATENTD_CLI_OPTIONS_H
#define LATENTD_CLI_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* What stands at a row's offset, and what its value looks like. */
enum cli_kind {
    CLI_FLAG,      /* bool; takes no value */
    CLI_U32,       /* struct cli_u32; decimal digits */
    CLI_U64,       /* struct cli_u64; decimal digits */
    CLI_NUMBER,    /* struct cli_number; whatever strtod reads whole, "nan" and "inf" included */
    CLI_TEXT,      /* const char *; borrowed from argv */
    CLI_TEXTS,     /* struct cli_texts; repeatable */
    CLI_IDS,       /* struct cli_ids; "1,2,3" */
    CLI_DEPTH,     /* struct cli_depth; a number of steps, "adaptive", or "4..32" */
    CLI_DEPTHS,    /* struct cli_depths; "1,2,4,adaptive" */
    CLI_DEPTH_ATS, /* struct cli_depth_ats; "3=64", repeatable, at most once per token */
    CLI_DURATION,  /* struct cli_u64 in milliseconds; "1500ms", "20s", "1.5m", "2h", "7d" */
};

struct cli_u32 {
    bool set;
    uint32_t value;
};

struct cli_u64 {
    bool set;
    uint64_t value;
};

struct cli_number {
    bool set;
    double value;
};

struct cli_texts {
    const char **items; /* [n], the array is owned, the strings are borrowed from argv */
    size_t n;
};

struct cli_ids {
    bool set;
    uint32_t *items; /* [n], owned */
    size_t n;
};

/* At most one of `adaptive` and `range` is true; `steps` counts when neither is. */
struct cli_depth {
    bool set;
    bool adaptive;
    bool range;
    uint32_t steps;
    uint32_t min_steps, max_steps; /* of a range: 1 <= min_steps <= max_steps */
};

struct cli_depths {
    struct cli_depth *items; /* [n], owned */
    size_t n;
};

struct cli_depth_at {
    uint32_t token;
    uint32_t steps;
};

struct cli_depth_ats {
    struct cli_depth_at *items; /* [n], owned, by rising token */
    size_t n;
};

struct cli_option {
    const char *name; /* without the dashes */
    enum cli_kind kind;
    size_t offset;       /* from the group's base */
    const char *metavar; /* "N"; NULL for a CLI_FLAG */
    const char *help;    /* one sentence, lower case, no full stop */
};

struct cli_group {
    const struct cli_option *rows; /* NULL ends a list of groups */
    size_t n_rows;
    size_t base_bytes;
};

/* Words of the command line that are not options, in order. */
struct cli_words {
    const char **items; /* [n], the array is owned, the strings are borrowed from argv */
    size_t n;
};

/*
 * cli_options_parse - read `argv` into `args` and `words`.
 *
 * groups         ends with a group whose rows are NULL
 * argv           [argc], without the program's and the verb's name; must outlive `args` and `words`
 * args           zeroed by the caller; freed with cli_options_fini, after a failure too
 * dash_is_word   "-" alone is a word (it stands for standard input); else it is refused
 * words          filled; words->items freed by the caller, after a failure too
 *
 * Errors:  LTD_E_INVALID names the flag, what was found, and the nearest flag when one is unknown;
 *          LTD_E_EXHAUSTED without memory.
 */
int cli_options_parse(const struct cli_group *groups, int argc, const char *const *argv, void *args,
                      bool dash_is_word, struct cli_words *words, struct ltd_err *err);

/* cli_options_fini - free the lists that parsing allocated in `args`. */
void cli_options_fini(const struct cli_group *groups, void *args);

/* cli_option_find - the row called `name`, its group in `*group` (may be NULL); NULL if absent. */
const struct cli_option *cli_option_find(const struct cli_group *groups, const char *name,
                                         size_t name_len, const struct cli_group **group);

/*
 * cli_nearest_better - is `candidate` closer to `typed` than the best so far?
 *
 * best_distance  in/out; start with CLI_NEAREST_MAX + 1. Distance counts the letters to insert,
 *                delete, replace or swap with a neighbour.
 * Candidates farther than CLI_NEAREST_MAX are never better: a suggestion that is not nearly what
 * was typed confuses more than none. A candidate that begins with what was typed counts as
 * distance 1.
 */
#define CLI_NEAREST_MAX 2
bool cli_nearest_better(const char *typed, size_t typed_len, const char *candidate,
                        size_t *best_distance);

/*
 * cli_ids_append - read "1,2,3" behind what `ids` holds already; "" adds nothing.
 * `what` names the text in messages. Errors: LTD_E_INVALID, LTD_E_EXHAUSTED.
 */
int cli_ids_append(struct cli_ids *ids, const char *text, const char *what, struct ltd_err *err);

/*
 * cli_u32_read - `text` as a whole number of at most 32 bits; `what` names it in messages.
 * For words that are no option. Errors: LTD_E_INVALID.
 */
int cli_u32_read(const char *text, const char *what, uint32_t *out, struct ltd_err *err);

/* "adaptive", "4..32" or the number of steps; `buf` is used for the latter two. */
#define CLI_DEPTH_NAME_BYTES 24
const char *cli_depth_name(const struct cli_depth *depth, char *buf, size_t size);

#endif
