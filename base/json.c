/* SPDX-License-Identifier: Apache-2.0 */
/* base/json.c - see base/json.h. */
#include "base/json.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

json_t *ltd_json_parse(const char *text, size_t len, const char *where, struct ltd_err *err)
{
    json_error_t why;
    json_t *root = json_loadb(text, len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &why);
    if (!root)
        return ltd_fail_null(err, LTD_E_INVALID, "%s: line %d column %d: %s", where, why.line,
                             why.column, why.text);
    return root;
}

/* Read `size` bytes of an open file into a fresh block; NULL with a message when that fails. */
static char *read_all(int fd, size_t size, const char *path, struct ltd_err *err)
{
    char *text = malloc(size ? size : 1);
    if (!text)
        return ltd_fail_null(err, LTD_E_EXHAUSTED, "%s: no memory for %zu bytes", path, size);
    size_t done = 0;
    while (done < size) {
        ssize_t n = read(fd, text + done, size - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            ltd_fail(err, LTD_E_CORRUPT, "read %s: %s after %zu of %zu bytes", path,
                     n < 0 ? strerror(errno) : "file ends", done, size);
            free(text);
            return NULL;
        }
        done += (size_t)n;
    }
    return text;
}

json_t *ltd_json_load(const char *path, size_t max_bytes, struct ltd_err *err)
{
    json_t *root = NULL;
    /* Non-blocking, because opening a pipe would wait for a writer that never comes. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return ltd_fail_null(err, LTD_E_NOT_FOUND, "open %s: %s", path, strerror(errno));
    struct stat st;
    if (fstat(fd, &st) != 0) {
        ltd_fail(err, LTD_E_INTERNAL, "stat %s: %s", path, strerror(errno));
        goto out;
    }
    if (!S_ISREG(st.st_mode)) {
        ltd_fail(err, LTD_E_INVALID, "%s: not a regular file", path);
        goto out;
    }
    if (st.st_size < 0 || (size_t)st.st_size > max_bytes) {
        ltd_fail(err, LTD_E_INVALID, "%s: %lld bytes, expected at most %zu", path,
                 (long long)st.st_size, max_bytes);
        goto out;
    }
    char *text = read_all(fd, (size_t)st.st_size, path, err);
    if (text) {
        root = ltd_json_parse(text, (size_t)st.st_size, path, err);
        free(text);
    }
out:
    close(fd);
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
