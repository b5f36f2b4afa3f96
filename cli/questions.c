/* SPDX-License-Identifier: Apache-2.0 */
/* cli/questions.c - see cli/questions.h. */
#include "cli/questions.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "base/json.h"

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == '\f' || c == '\v';
}

bool cli_question_is_right(const struct cli_question *question, const void *text, size_t len)
{
    const char *begin = text;
    const char *line_end = len > 0 ? memchr(begin, '\n', len) : NULL;
    if (line_end)
        len = (size_t)(line_end - begin);
    while (len > 0 && is_blank(begin[len - 1]))
        len--;
    while (len > 0 && is_blank(begin[0])) {
        begin++;
        len--;
    }
    return len == strlen(question->answer) &&
           (len == 0 || memcmp(begin, question->answer, len) == 0);
}

static void free_question(struct cli_question *question)
{
    if (!question)
        return;
    json_decref(question->object);
    free(question);
}

void cli_questions_fini(struct cli_questions *questions)
{
    for (size_t i = 0; i < questions->n; i++)
        free_question(questions->items[i]);
    free(questions->items);
    *questions = (struct cli_questions){.n = 0};
}

/* A string that must be there. */
static int read_string(const json_t *object, const char *key, const char **out, const char *where,
                       struct ltd_err *err)
{
    int rc = ltd_json_get_string(object, key, out, where, err);
    if (rc == 1)
        return ltd_fail(err, LTD_E_INVALID, "%s: key %s is missing, expected a string", where, key);
    return rc;
}

static int read_difficulty(struct cli_question *q, const char *where, struct ltd_err *err)
{
    char found[96];
    const json_t *value = json_object_get(q->object, "difficulty");
    if (json_is_integer(value)) {
        q->is_number = true;
        q->difficulty_number = json_integer_value(value);
        snprintf(q->number, sizeof q->number, "%" PRId64, q->difficulty_number);
        q->difficulty = q->number;
        return 0;
    }
    if (json_is_string(value)) {
        q->difficulty = json_string_value(value);
        return 0;
    }
    return ltd_fail(err, LTD_E_INVALID,
                    "%s: key difficulty: %s, expected a whole number or a string", where,
                    value ? ltd_json_describe(value, found, sizeof found) : "missing");
}

static int read_fields(struct cli_question *q, const char *where, struct ltd_err *err)
{
    char found[96];
    if (!json_is_object(q->object))
        return ltd_fail(err, LTD_E_INVALID, "%s: %s, expected an object", where,
                        ltd_json_describe(q->object, found, sizeof found));
    if (read_string(q->object, "prompt", &q->prompt, where, err) != 0 ||
        read_string(q->object, "answer", &q->answer, where, err) != 0 ||
        read_difficulty(q, where, err) != 0)
        return -1;
    return ltd_json_get_string(q->object, "family", &q->family, where, err) < 0 ? -1 : 0;
}

static struct cli_question *read_question(const char *text, size_t len, const char *where,
                                          uint32_t line, struct ltd_err *err)
{
    struct cli_question *q = calloc(1, sizeof *q);
    if (!q)
        return ltd_fail_null(err, LTD_E_EXHAUSTED, "%s: no memory", where);
    q->line = line;
    q->object = ltd_json_parse(text, len, where, err);
    if (!q->object || read_fields(q, where, err) != 0) {
        free_question(q);
        return NULL;
    }
    return q;
}

static int add_line(const char *text, size_t len, const char *path, uint32_t line,
                    struct cli_questions *out, struct ltd_err *err)
{
    while (len > 0 && is_blank(text[len - 1]))
        len--;
    if (len == 0)
        return 0;
    char where[LTD_ERR_MSG_BYTES / 2];
    snprintf(where, sizeof where, "%s:%" PRIu32, path, line);
    struct cli_question *q = read_question(text, len, where, line, err);
    if (!q)
        return -1;
    struct cli_question **grown =
        reallocarray(out->items, out->n + 1, sizeof(struct cli_question *));
    if (!grown) {
        free_question(q);
        return ltd_fail(err, LTD_E_EXHAUSTED, "%s: no memory", where);
    }
    out->items = grown;
    out->items[out->n++] = q;
    out->has_families |= q->family != NULL;
    return 0;
}

/* A directory opens like a file, and a pipe has no end to wait for. */
static FILE *open_regular(const char *path, struct ltd_err *err)
{
    struct stat st;
    FILE *file = fopen(path, "re");
    if (!file)
        return ltd_fail_null(err, LTD_E_INVALID, "open %s: %s", path, strerror(errno));
    if (fstat(fileno(file), &st) == 0 && S_ISREG(st.st_mode) &&
        (uint64_t)st.st_size <= CLI_QUESTIONS_MAX_BYTES)
        return file;
    fclose(file);
    return ltd_fail_null(err, LTD_E_INVALID, "%s: expected a regular file of at most %zu bytes",
                         path, CLI_QUESTIONS_MAX_BYTES);
}

int cli_questions_load(const char *path, size_t limit, struct cli_questions *out,
                       struct ltd_err *err)
{
    struct cli_questions read = {.n = 0};
    FILE *file = open_regular(path, err);
    if (!file)
        return -1;
    char *text = NULL;
    size_t capacity = 0;
    int rc = 0;
    for (uint32_t line = 1; rc == 0 && (limit == 0 || read.n < limit); line++) {
        ssize_t len = getline(&text, &capacity, file);
        if (len < 0)
            break;
        rc = add_line(text, (size_t)len, path, line, &read, err);
    }
    if (rc == 0 && ferror(file))
        rc = ltd_fail(err, LTD_E_INVALID, "read %s: %s", path, strerror(errno));
    if (rc == 0 && read.n == 0)
        rc = ltd_fail(err, LTD_E_INVALID, "%s: no question in it", path);
    free(text);
    fclose(file);
    if (rc != 0) {
        cli_questions_fini(&read);
        return -1;
    }
    *out = read;
    return 0;
}
