/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli/json_out.h - write one JSON value, exactly.
 *
 * The parser of this project is jansson (base/json.h); the writer is not, for two reasons:
 * jansson's integers end at 2^63 - 1 while seeds go to 2^64 - 1, and it prints all reals of a
 * document with one precision while a contract has floats beside doubles. Here a float is printed
 * with the fewest digits (at most 9) that give the same float back, a double likewise (at most 17),
 * so bits survive the way through text. What JSON cannot say (NaN, infinity) is null.
 *
 * Text may be any bytes: those that are no UTF-8 become U+FFFD each, so the output always parses.
 *
 * Commas and nesting are kept track of; keys are NULL inside arrays and at the top. A failed
 * allocation is remembered and reported by cli_json_print.
 *
 *     struct cli_json j;
 *     cli_json_init(&j);
 *     cli_json_begin(&j, NULL, '{');
 *     cli_json_u64(&j, "seed", 7);
 *     cli_json_end(&j);
 *     int rc = cli_json_print(&j, err);
 *
 * Threads: plain memory, one owner.
 */
#ifndef LATENTD_CLI_JSON_OUT_H
#define LATENTD_CLI_JSON_OUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"

#define CLI_JSON_MAX_DEPTH 16

struct cli_json {
    struct ltd_bytes text;            /* what was written so far */
    char closers[CLI_JSON_MAX_DEPTH]; /* '}' or ']' of each open level */
    bool has_items[CLI_JSON_MAX_DEPTH + 1];
    size_t depth;
};

void cli_json_init(struct cli_json *j);
void cli_json_fini(struct cli_json *j);

/* Open an object ('{') or an array ('['). At most CLI_JSON_MAX_DEPTH levels: ours are 5 deep. */
void cli_json_begin(struct cli_json *j, const char *key, char opener);
void cli_json_end(struct cli_json *j);

void cli_json_u64(struct cli_json *j, const char *key, uint64_t v);
void cli_json_i64(struct cli_json *j, const char *key, int64_t v);
void cli_json_float(struct cli_json *j, const char *key, float v);
void cli_json_double(struct cli_json *j, const char *key, double v);
void cli_json_bool(struct cli_json *j, const char *key, bool v);
void cli_json_null(struct cli_json *j, const char *key);
void cli_json_text(struct cli_json *j, const char *key, const void *text, size_t len);
void cli_json_str(struct cli_json *j, const char *key, const char *text); /* NULL: null */

/* An array of unsigned integers. */
void cli_json_u32s(struct cli_json *j, const char *key, const uint32_t *items, size_t n);

/*
 * cli_json_print - write the value and a line feed to standard output, and free it.
 * Errors: LTD_E_EXHAUSTED when memory was out on the way; those of cli_out_flush.
 */
int cli_json_print(struct cli_json *j, struct ltd_err *err);

#endif
