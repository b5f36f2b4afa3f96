/* SPDX-License-Identifier: Apache-2.0 */
/* model/tokenizer_json.c - see model/tokenizer_json.h. */
#include "model/tokenizer_json.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"

void model_where(char where[MODEL_WHERE_BYTES], const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vsnprintf(where, MODEL_WHERE_BYTES, fmt, args);
    va_end(args);
    where[ltd_utf8_valid_prefix(where, strlen(where))] = '\0';
}

struct model_excerpt model_excerpt(const char *text, size_t len)
{
    struct model_excerpt excerpt;
    size_t n = len < sizeof excerpt.text - 1 ? len : sizeof excerpt.text - 1;
    n = ltd_utf8_valid_prefix(text, n);
    memcpy(excerpt.text, text, n);
    excerpt.text[n] = '\0';
    return excerpt;
}

static int refuse(const json_t *value, const char *expected, const char *where, enum ltd_code code,
                  struct ltd_err *err)
{
    char found[96];
    if (json_is_string(value))
        return ltd_fail(err, code, "%s: found string \"%s\", expected %s", where,
                        model_excerpt(json_string_value(value), json_string_length(value)).text,
                        expected);
    return ltd_fail(err, code, "%s: found %s, expected %s", where,
                    value ? ltd_json_describe(value, found, sizeof found) : "nothing", expected);
}

int model_json_unsupported(const json_t *value, const char *expected, const char *where,
                           struct ltd_err *err)
{
    return refuse(value, expected, where, LTD_E_UNIMPLEMENTED, err);
}

int model_json_invalid(const json_t *value, const char *expected, const char *where,
                       struct ltd_err *err)
{
    return refuse(value, expected, where, LTD_E_INVALID, err);
}

int model_json_keys(const json_t *value, const char *const *keys, const char *where,
                    struct ltd_err *err)
{
    if (!json_is_object(value))
        return model_json_invalid(value, "an object", where, err);
    const char *key;
    json_t *item;
    json_object_foreach((json_t *)value, key, item)
    {
        size_t i = 0;
        while (keys[i] && strcmp(keys[i], key) != 0)
            i++;
        if (!keys[i])
            return ltd_fail(err, LTD_E_UNIMPLEMENTED,
                            "%s: found key \"%s\", expected only keys that "
                            "this program knows (the first is %s)",
                            where, model_excerpt(key, strlen(key)).text, keys[0]);
    }
    return 0;
}

int model_json_type(const json_t *value, const char **type, const char *where, struct ltd_err *err)
{
    if (!json_is_object(value))
        return model_json_invalid(value, "an object with a type", where, err);
    const char *found = json_string_value(json_object_get(value, "type"));
    if (!found)
        return ltd_fail(err, LTD_E_INVALID,
                        "%s: found an object without a type, expected "
                        "a string at key type",
                        where);
    *type = found;
    return 0;
}

int model_json_off(const json_t *object, const char *key, const char *where, struct ltd_err *err)
{
    const json_t *value = json_object_get(object, key);
    if (!value || json_is_null(value) || (json_is_string(value) && json_string_length(value) == 0))
        return 0;
    char item[MODEL_WHERE_BYTES];
    model_where(item, "%s.%s", where, key);
    return model_json_unsupported(value, "null", item, err);
}
