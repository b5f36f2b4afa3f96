/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base/json.h - typed getters over jansson whose errors name the file and the key.
 *
 * A getter says what it found and what it expected: "DIR/config.json: key n_heads: string \"5\",
 * expected an integer in [1, 65536]". `where` is the text in front, normally the file's path.
 * Duplicate keys in an object are an error, because two readers could believe different ones.
 *
 * A parsed value takes more memory than its text: six to fifteen times for files of models,
 * eighty times for a list of empty objects. So a parse has a budget, by the size of its
 * text and never above LTD_JSON_MEMORY_MAX, and is given up when it runs out. To count, this file
 * gives jansson its own allocation functions, which only count: whoever frees a value, in whatever
 * thread, calls plain free.
 *
 * Threads: plain values, no shared state; each thread's parse has its own budget.
 */
#ifndef LATENTD_BASE_JSON_H
#define LATENTD_BASE_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "base/err.h"

/* Memory that a parse may take: so much for any text, so many times its size, at most so much. The
 * last has room for the largest vocabularies in use, 262,144 tokens with 520,000 merges. */
#define LTD_JSON_MEMORY_BASE   ((size_t)1 << 20)
#define LTD_JSON_MEMORY_FACTOR 64
#define LTD_JSON_MEMORY_MAX    ((size_t)512 << 20)

/*
 * ltd_json_load - read and parse a whole file of at most `max_bytes`.
 * Returns an owned reference (json_decref) or NULL: LTD_E_NOT_FOUND when the file cannot be opened,
 * LTD_E_INVALID when it is no JSON, too large, holds a NUL or takes more memory than a text of its
 * size may; the message has line and column.
 */
json_t *ltd_json_load(const char *path, size_t max_bytes, struct ltd_err *err);

/* ltd_json_parse - the same from memory; `where` names the text in messages. */
json_t *ltd_json_parse(const char *text, size_t len, const char *where, struct ltd_err *err);

/*
 * The getters: 0 and *out on success, 1 when the key is absent or null (*out untouched),
 * -1 with a message when it has the wrong type or lies outside [min, max].
 */
int ltd_json_get_int(const json_t *object, const char *key, int64_t min, int64_t max, int64_t *out,
                     const char *where, struct ltd_err *err);
int ltd_json_get_number(const json_t *object, const char *key, double min, double max, double *out,
                        const char *where, struct ltd_err *err);
int ltd_json_get_bool(const json_t *object, const char *key, bool *out, const char *where,
                      struct ltd_err *err);
/* *out is borrowed from `object`. */
int ltd_json_get_string(const json_t *object, const char *key, const char **out, const char *where,
                        struct ltd_err *err);

/* A short description of a value for messages: `string "abc"`, `integer 5`, `array of 3`. */
const char *ltd_json_describe(const json_t *value, char *buf, size_t size);

#endif
