/* SPDX-License-Identifier: Apache-2.0 */
/* model/pattern.c - see model/pattern.h. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "model/pattern.h"

#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "model/pattern_dialect.h"
#include "model/tokenizer_json.h"

/* A word of ordinary text needs a handful of steps, because its letters are one greedy repeat. */
#define STEPS_FIRST  256u
#define STEPS_FACTOR 8u
/* The budget beyond small tries. The patterns in use retry once over a run of white space or
 * letters, about 3 steps per byte; the growth of the limit at most multiplies that by 8/7 * 8. */
#define BUDGET_BASE     ((uint64_t)1 << 20)
#define BUDGET_PER_BYTE 64u
/* PCRE2 keeps one frame of some 130 bytes per repeat of a group: a run of a million such repeats.
 */
#define HEAP_MAX_KIB (256u * 1024)

struct model_pattern {
    pcre2_code *code;
    char where[MODEL_WHERE_BYTES];
};

/* A pattern is matched at one place only, so it is anchored, and PCRE2's search for a good place to
 * start, which may scan far ahead, is off. Lines end with LF alone, as in Oniguruma. */
static pcre2_code *compile(const uint8_t *text, size_t len, uint32_t options, const char *where,
                           struct ltd_err *err)
{
    pcre2_compile_context *context = pcre2_compile_context_create(NULL);
    if (!context)
        return ltd_fail_null(err, LTD_E_EXHAUSTED, "%s: no memory", where);
    pcre2_set_newline(context, PCRE2_NEWLINE_LF);
    int why;
    PCRE2_SIZE at;
    pcre2_code *code = pcre2_compile(text, len, options | PCRE2_ANCHORED | PCRE2_NO_START_OPTIMIZE,
                                     &why, &at, context);
    pcre2_compile_context_free(context);
    if (!code) {
        uint8_t message[128] = "";
        pcre2_get_error_message(why, message, sizeof message);
        ltd_fail(err, LTD_E_INVALID,
                 "%s: found \"%s\" (as translated), where at byte %zu: %s; "
                 "expected a regular expression",
                 where, model_excerpt((const char *)text, len).text, at, (char *)message);
    }
    return code;
}

static pcre2_code *compile_regex(const char *source, size_t len, const char *where,
                                 struct ltd_err *err)
{
    struct ltd_bytes text;
    ltd_bytes_init(&text);
    pcre2_code *code = NULL;
    if (model_pattern_translate(source, len, &text, where, err) == 0)
        code =
            compile(text.data ? text.data : (const uint8_t *)"", text.len,
                    PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, where, err);
    ltd_bytes_fini(&text);
    return code;
}

struct model_pattern *model_pattern_compile(const char *source, size_t len, bool literal,
                                            const char *where, struct ltd_err *err)
{
    if (len > MODEL_PATTERN_MAX_BYTES)
        return ltd_fail_null(err, LTD_E_INVALID, "%s: found %zu bytes, expected at most %d", where,
                             len, MODEL_PATTERN_MAX_BYTES);
    struct model_pattern *pattern = calloc(1, sizeof *pattern);
    if (!pattern)
        return ltd_fail_null(err, LTD_E_EXHAUSTED, "%s: no memory", where);
    model_where(pattern->where, "%s", where);
    pattern->code =
        literal ? compile((const uint8_t *)source, len, PCRE2_UTF | PCRE2_LITERAL, where, err)
                : compile_regex(source, len, where, err);
    if (!pattern->code) {
        free(pattern);
        return NULL;
    }
    return pattern;
}

void model_pattern_free(struct model_pattern *pattern)
{
    if (!pattern)
        return;
    pcre2_code_free(pattern->code);
    free(pattern);
}

int model_pattern_run_init(struct model_pattern_run *run, size_t n_bytes, struct ltd_err *err)
{
    run->budget = BUDGET_BASE + BUDGET_PER_BYTE * (uint64_t)n_bytes;
    run->data = pcre2_match_data_create(1, NULL);
    run->context = pcre2_match_context_create(NULL);
    if (!run->data || !run->context) {
        model_pattern_run_fini(run);
        return ltd_fail(err, LTD_E_EXHAUSTED, "no memory to match a pattern");
    }
    pcre2_set_heap_limit(run->context, HEAP_MAX_KIB);
    return 0;
}

void model_pattern_run_fini(struct model_pattern_run *run)
{
    pcre2_match_data_free(run->data);
    pcre2_match_context_free(run->context);
    memset(run, 0, sizeof *run);
}

/* One try with ever larger limits; the result of PCRE2, or a limit error when the budget ends. */
static int try_match(const struct model_pattern *pattern, struct model_pattern_run *run,
                     const char *text, size_t len, size_t at)
{
    for (uint64_t limit = STEPS_FIRST;; limit *= STEPS_FACTOR) {
        pcre2_set_match_limit(run->context, limit < UINT32_MAX ? (uint32_t)limit : UINT32_MAX);
        int rc = pcre2_match(pattern->code, (PCRE2_SPTR)text, len, at, PCRE2_NO_UTF_CHECK,
                             run->data, run->context);
        if (rc != PCRE2_ERROR_MATCHLIMIT || run->budget < limit || limit > UINT32_MAX)
            return rc;
        run->budget -= limit;
    }
}

int model_pattern_match_at(const struct model_pattern *pattern, struct model_pattern_run *run,
                           const char *text, size_t len, size_t at, size_t *end,
                           struct ltd_err *err)
{
    int rc = try_match(pattern, run, text, len, at);
    if (rc == PCRE2_ERROR_NOMATCH)
        return 0;
    if (rc >= 0) {
        *end = pcre2_get_ovector_pointer(run->data)[1];
        return 1;
    }
    uint8_t why[128] = "";
    pcre2_get_error_message(rc, why, sizeof why);
    enum ltd_code code = rc == PCRE2_ERROR_MATCHLIMIT || rc == PCRE2_ERROR_HEAPLIMIT ||
                                 rc == PCRE2_ERROR_DEPTHLIMIT || rc == PCRE2_ERROR_NOMEMORY
                             ? LTD_E_EXHAUSTED
                             : LTD_E_INTERNAL;
    return ltd_fail(err, code, "%s: gave up matching at byte %zu of %zu of the text: %s",
                    pattern->where, at, len, (char *)why);
}
