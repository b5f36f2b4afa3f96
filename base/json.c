/* SPDX-License-Identifier: Apache-2.0 */
/* base/json.c - see base/json.h. */
#include "base/json.h"

#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/file.h"

/* ---- what a parse may take ---- */

struct budget {
    size_t total, left;
    bool is_over; /* an allocation was refused */
};

/* Of the parse that runs in this thread; NULL between parses, when nothing is counted. */
static _Thread_local struct budget *running;

static void *counted_malloc(size_t size)
{
    struct budget *b = running;
    if (b && size > b->left) {
        b->is_over = true;
        return NULL;
    }
    void *block = malloc(size);
    if (b && block) {
        /* What the block really takes: small ones are a good deal larger than asked for. */
        size_t taken = malloc_usable_size(block);
        b->left -= taken < b->left ? taken : b->left;
    }
    return block;
}

static void counted_free(void *block)
{
    struct budget *b = running;
    if (b && block) {
        size_t taken = malloc_usable_size(block);
        b->left += taken < b->total - b->left ? taken : b->total - b->left;
    }
    free(block);
}

static void count_allocations(void)
{
    json_set_alloc_funcs(counted_malloc, counted_free);
}

static size_t memory_for(size_t len)
{
    const size_t most = LTD_JSON_MEMORY_MAX - LTD_JSON_MEMORY_BASE;
    if (len > most / LTD_JSON_MEMORY_FACTOR)
        return LTD_JSON_MEMORY_MAX;
    return LTD_JSON_MEMORY_BASE + len * LTD_JSON_MEMORY_FACTOR;
}

json_t *ltd_json_parse(const char *text, size_t len, const char *where, struct ltd_err *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct budget budget = {.total = memory_for(len), .left = memory_for(len)};
    json_error_t why;
    pthread_once(&once, count_allocations);
    running = &budget;
    json_t *root = json_loadb(text, len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &why);
    running = NULL;
    if (!root && budget.is_over)
        return ltd_fail_null(err, LTD_E_INVALID,
                             "%s: line %d column %d: %zu bytes of JSON need more than %zu MiB of "
                             "memory, expected a text of fewer and larger values",
                             where, why.line, why.column, len, budget.total >> 20);
    if (!root)
        return ltd_fail_null(err, LTD_E_INVALID, "%s: line %d column %d: %s, expected valid JSON",
                             where, why.line, why.column, why.text);
    return root;
}

json_t *ltd_json_load(const char *path, size_t max_bytes, struct ltd_err *err)
{
    size_t len;
    char *text = ltd_file_read(path, max_bytes, &len, err);
    json_t *root = text ? ltd_json_parse(text, len, path, err) : NULL;
    free(text);
    return root;
}

const char *ltd_json_describe(const json_t *value, char *buf, size_t size)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        snprintf(buf, size, "object of %zu", json_object_size(value));
        break;
    case JSON_ARRAY:
        snprintf(buf, size, "array of %zu", json_array_size(value));
        break;
    case JSON_STRING:
        snprintf(buf, size, "string \"%.60s\"", json_string_value(value));
        break;
    case JSON_INTEGER:
        snprintf(buf, size, "integer %lld", (long long)json_integer_value(value));
        break;
    case JSON_REAL:
        snprintf(buf, size, "number %g", json_real_value(value));
        break;
    case JSON_TRUE:
        snprintf(buf, size, "true");
        break;
    case JSON_FALSE:
        snprintf(buf, size, "false");
        break;
    case JSON_NULL:
        snprintf(buf, size, "null");
        break;
    }
    return buf;
}

static const json_t *find(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return value && !json_is_null(value) ? value : NULL;
}

int ltd_json_get_int(const json_t *object, const char *key, int64_t min, int64_t max, int64_t *out,
                     const char *where, struct ltd_err *err)
{
    char found[96];
    const json_t *value = find(object, key);
    if (!value)
        return 1;
    if (!json_is_integer(value) || json_integer_value(value) < min ||
        json_integer_value(value) > max)
        return ltd_fail(err, LTD_E_INVALID, "%s: key %s: %s, expected an integer in [%lld, %lld]",
                        where, key, ltd_json_describe(value, found, sizeof found), (long long)min,
                        (long long)max);
    *out = json_integer_value(value);
    return 0;
}

int ltd_json_get_number(const json_t *object, const char *key, double min, double max, double *out,
                        const char *where, struct ltd_err *err)
{
    char found[96];
    const json_t *value = find(object, key);
    if (!value)
        return 1;
    double v = json_number_value(value);
    if (!json_is_number(value) || !(v >= min && v <= max))
        return ltd_fail(err, LTD_E_INVALID, "%s: key %s: %s, expected a number in [%g, %g]", where,
                        key, ltd_json_describe(value, found, sizeof found), min, max);
    *out = v;
    return 0;
}

int ltd_json_get_bool(const json_t *object, const char *key, bool *out, const char *where,
                      struct ltd_err *err)
{
    char found[96];
    const json_t *value = find(object, key);
    if (!value)
        return 1;
    if (!json_is_boolean(value))
        return ltd_fail(err, LTD_E_INVALID, "%s: key %s: %s, expected true or false", where, key,
                        ltd_json_describe(value, found, sizeof found));
    *out = json_is_true(value);
    return 0;
}

int ltd_json_get_string(const json_t *object, const char *key, const char **out, const char *where,
                        struct ltd_err *err)
{
    char found[96];
    const json_t *value = find(object, key);
    if (!value)
        return 1;
    if (!json_is_string(value))
        return ltd_fail(err, LTD_E_INVALID, "%s: key %s: %s, expected a string", where, key,
                        ltd_json_describe(value, found, sizeof found));
    *out = json_string_value(value);
    return 0;
}
