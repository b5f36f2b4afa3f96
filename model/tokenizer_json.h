/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model/tokenizer_json.h - the questions that every part of tokenizer.json is asked.
 *
 * On top of base/json.h: is this an object of a known type, has it only keys that this program
 * knows, is what it does not support switched off. A key that nobody here has heard of may change
 * the ids, so it is refused instead of ignored.
 */
#ifndef LATENTD_MODEL_TOKENIZER_JSON_H
#define LATENTD_MODEL_TOKENIZER_JSON_H

#include <stddef.h>

#include "base/err.h"
#include "base/json.h"

/* Room for "PATH: item.item[17]"; a longer one is cut, which costs a message its middle. */
#define MODEL_WHERE_BYTES 256

/* model_where - write the name of an item, printf style, cut to MODEL_WHERE_BYTES. */
void model_where(char where[MODEL_WHERE_BYTES], const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* The beginning of a text from the file, cut at a code point so that a message stays UTF-8. */
struct model_excerpt {
    char text[64];
};

struct model_excerpt model_excerpt(const char *text, size_t len);

/* model_json_keys - `value` is an object and has no key outside `keys` (ends with NULL). */
int model_json_keys(const json_t *value, const char *const *keys, const char *where,
                    struct ltd_err *err);

/* model_json_type - *type is the string at "type" of an object; borrowed from `value`. */
int model_json_type(const json_t *value, const char **type, const char *where, struct ltd_err *err);

/* model_json_off - the key is absent, null, or an empty string: the feature is not used. */
int model_json_off(const json_t *object, const char *key, const char *where, struct ltd_err *err);

/* model_json_unsupported - refuse a value: "WHERE: found <value>, expected <expected>". -1. */
int model_json_unsupported(const json_t *value, const char *expected, const char *where,
                           struct ltd_err *err);

/* model_json_invalid - the same for a value that is broken rather than unknown. -1. */
int model_json_invalid(const json_t *value, const char *expected, const char *where,
                       struct ltd_err *err);

#endif
