/* SPDX-License-Identifier: Apache-2.0 */
/* cli/json_out.c - see cli/json_out.h. */
#include "cli/json_out.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "cli/out.h"

void cli_json_init(struct cli_json *j)
{
    *j = (struct cli_json){.depth = 0};
    ltd_bytes_init(&j->text);
}

void cli_json_fini(struct cli_json *j)
{
    ltd_bytes_fini(&j->text);
}

static void put_escaped(struct ltd_bytes *b, const uint8_t *s, size_t n, uint32_t code)
{
    char escape[8];
    if (code == '"' || code == '\\')
        snprintf(escape, sizeof escape, "\\%c", (char)code);
    else if (code == '\n')
        strcpy(escape, "\\n");
    else if (code < 0x20 || (code >= 0x7F && code < 0xA0))
        snprintf(escape, sizeof escape, "\\u%04x", (unsigned)code);
    else {
        ltd_bytes_put(b, s, n);
        return;
    }
    ltd_bytes_put_str(b, escape);
}

static void put_string(struct ltd_bytes *b, const void *text, size_t len)
{
    const uint8_t *s = text;
    ltd_bytes_put_u8(b, '"');
    for (size_t i = 0; i < len;) {
        uint32_t code = 0;
        int n = ltd_utf8_next(s + i, len - i, &code);
        if (n > 0)
            put_escaped(b, s + i, (size_t)n, code);
        else
            ltd_bytes_put_str(b, "\xEF\xBF\xBD"); /* U+FFFD */
        i += n > 0 ? (size_t)n : 1;
    }
    ltd_bytes_put_u8(b, '"');
}

/* The comma before an item and the key in front of it. */
static void put_prefix(struct cli_json *j, const char *key)
{
    if (j->has_items[j->depth])
        ltd_bytes_put_str(&j->text, ", ");
    j->has_items[j->depth] = true;
    if (key) {
        put_string(&j->text, key, strlen(key));
        ltd_bytes_put_str(&j->text, ": ");
    }
}

void cli_json_begin(struct cli_json *j, const char *key, char opener)
{
    ltd_assert(j->depth < CLI_JSON_MAX_DEPTH, j->depth, CLI_JSON_MAX_DEPTH);
    put_prefix(j, key);
    ltd_bytes_put_u8(&j->text, (uint8_t)opener);
    j->closers[j->depth] = opener == '{' ? '}' : ']';
    j->has_items[++j->depth] = false;
}

void cli_json_end(struct cli_json *j)
{
    ltd_assert(j->depth > 0, j->depth, 0);
    ltd_bytes_put_u8(&j->text, (uint8_t)j->closers[--j->depth]);
}

static void put_item(struct cli_json *j, const char *key, const char *text)
{
    put_prefix(j, key);
    ltd_bytes_put_str(&j->text, text);
}

void cli_json_u64(struct cli_json *j, const char *key, uint64_t v)
{
    char text[24];
    snprintf(text, sizeof text, "%" PRIu64, v);
    put_item(j, key, text);
}

void cli_json_i64(struct cli_json *j, const char *key, int64_t v)
{
    char text[24];
    snprintf(text, sizeof text, "%" PRId64, v);
    put_item(j, key, text);
}

/* The longest real is "-1.7976931348623157e+308", 24 bytes. */
#define REAL_BYTES 40

/* Whole numbers below this, which a float holds exactly, are written out: "100.0", not "1e+02". */
#define WHOLE_LIMIT 1e7

/*
 * A real as its shortest digits `text`, but never as something that reads like an integer: parsers
 * give those another type.
 */
static void put_real(struct cli_json *j, const char *key, double v, char text[REAL_BYTES])
{
    if (strchr(text, 'e') && fabs(v) < WHOLE_LIMIT && v == trunc(v))
        snprintf(text, REAL_BYTES, "%.0f", v);
    if (!strpbrk(text, ".e"))
        strcat(text, ".0");
    put_item(j, key, text);
}

void cli_json_float(struct cli_json *j, const char *key, float v)
{
    char text[REAL_BYTES];
    if (!isfinite(v)) {
        cli_json_null(j, key);
        return;
    }
    for (int digits = 1; digits <= 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, (double)v);
        if (strtof(text, NULL) == v)
            break;
    }
    put_real(j, key, v, text);
}

void cli_json_double(struct cli_json *j, const char *key, double v)
{
    char text[REAL_BYTES];
    if (!isfinite(v)) {
        cli_json_null(j, key);
        return;
    }
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, v);
        if (strtod(text, NULL) == v)
            break;
    }
    put_real(j, key, v, text);
}

void cli_json_bool(struct cli_json *j, const char *key, bool v)
{
    put_item(j, key, v ? "true" : "false");
}

void cli_json_null(struct cli_json *j, const char *key)
{
    put_item(j, key, "null");
}

void cli_json_text(struct cli_json *j, const char *key, const void *text, size_t len)
{
    put_prefix(j, key);
    put_string(&j->text, text, len);
}

void cli_json_str(struct cli_json *j, const char *key, const char *text)
{
    if (text)
        cli_json_text(j, key, text, strlen(text));
    else
        cli_json_null(j, key);
}

void cli_json_u32s(struct cli_json *j, const char *key, const uint32_t *items, size_t n)
{
    cli_json_begin(j, key, '[');
    for (size_t i = 0; i < n; i++)
        cli_json_u64(j, NULL, items[i]);
    cli_json_end(j);
}

int cli_json_print(struct cli_json *j, struct ltd_err *err)
{
    ltd_assert(j->depth == 0, j->depth, 0);
    ltd_bytes_put_u8(&j->text, '\n');
    int rc = 0;
    if (j->text.failed)
        rc = ltd_fail(err, LTD_E_EXHAUSTED, "no memory for the JSON output");
    else
        cli_out_text(j->text.data, j->text.len);
    cli_json_fini(j);
    return rc == 0 ? cli_out_flush(err) : -1;
}
