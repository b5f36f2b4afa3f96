/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base/json.h - typed getters over jansson whose errors name the file and the key.
 *
 * A getter says what it found and what it expected: "DIR/config.json: key n_heads: string \"5\",
 * expected an integer in [1, 65536]". `where` is the text in front, normally the file's path.
 * Duplicate keys in an object are an error, because two readers could believe different ones.
 *
 * Threads: plain values, no shared state.
 */
#ifndef LATENTD_BASE_JSON_H
#define LATENTD_BASE_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "base/err.h"

/*
 * ltd_json_load - read and parse a whole file of at most `max_bytes`.
 * Returns an owned reference (json_decref) or NULL: LTD_E_NOT_FOUND when the file cannot be opened,
 * LTD_E_INVALID when it is no JSON, too large or holds a NUL; the message has line and column.
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
