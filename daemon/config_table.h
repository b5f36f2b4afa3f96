/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/config_table.h - the rows behind daemon/config.h; for config*.c and their tests only.
 */
#ifndef LATENTD_DAEMON_CONFIG_TABLE_H
#define LATENTD_DAEMON_CONFIG_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/config.h"

enum config_type {
    CONFIG_TYPE_INT,       /* int64_t, decimal digits */
    CONFIG_TYPE_NUMBER,    /* double, finite */
    CONFIG_TYPE_TEXT,      /* char *, checked by `check` when there is one */
    CONFIG_TYPE_ADDRESSES, /* the list of listen addresses; the key may stand several times */
};

#define CONFIG_WHY_BYTES 400

/* Is this text acceptable? false writes what would be right into why[CONFIG_WHY_BYTES]. */
typedef bool (*config_check_fn)(const char *text, char *why);

struct config_option {
    const char *name;
    enum config_type type;
    size_t offset;            /* of the field in struct config */
    const char *default_text; /* as one would type it; "" for an empty text */
    const char *unit;         /* "" when it has none */
    double min, max;          /* INT and NUMBER, both included */
    config_check_fn check;    /* TEXT and ADDRESSES; NULL accepts everything */
    const char *expected;     /* TEXT: shown in place of a range, "" for free text */
    const char *flag;         /* "--model", or NULL: reachable with --set only */
    const char *group;        /* heading; rows of one group stand together */
    const char *help;         /* what it is, one or two sentences */
    const char *effect;       /* when an operator would change it, and what that costs */
};

extern const struct config_option config_options[];
extern const int32_t config_n_options;

/* The row called `name` ([len] bytes), or NULL. */
const struct config_option *config_option_find(const char *name, size_t len);

/* The row whose name is nearest to `name`, or NULL when none is near enough to be meant. */
const struct config_option *config_option_nearest(const char *name, size_t len);

/* "a whole number in [0, 1024]", "a number in [0, 86400] s", … into out. */
void config_option_expected(const struct config_option *option, char *out, size_t size);

#endif
