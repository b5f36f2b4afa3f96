/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli/questions.h - the file that `latentctl eval` reads: one JSON object per line.
 *
 *     {"prompt": "3 + 4 =", "answer": "7", "difficulty": 1, "family": "sum"}
 *
 * prompt and answer are strings; difficulty is a whole number or a string; family is a string and
 * may be absent. Other keys belong to whoever made the file and are not looked at. Blank lines are
 * skipped. Everything else is refused with FILE:LINE, before any question is asked.
 *
 * Threads: plain memory.
 */
#ifndef LATENTD_CLI_QUESTIONS_H
#define LATENTD_CLI_QUESTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "base/err.h"

struct cli_question {
    json_t *object; /* owned: what the strings below point into */
    const char *prompt;
    const char *answer;
    const char *difficulty; /* as text: points into `object` or at `number` */
    const char *family;     /* NULL when absent */
    bool is_number;         /* the difficulty is one: groups are ordered by it */
    int64_t difficulty_number;
    char number[24];
    uint32_t line; /* in the file, from 1 */
};

struct cli_questions {
    struct cli_question **items; /* [n], owned */
    size_t n;
    bool has_families; /* at least one question has a family */
};

/* What a question file may be at most; far above any that can be asked in a day. */
#define CLI_QUESTIONS_MAX_BYTES ((size_t)256 * 1024 * 1024)

/*
 * cli_questions_load - read the file at `path`.
 *
 * limit  stop behind this many questions; 0 = all
 * Errors:  LTD_E_INVALID: the file cannot be read, a line is bad, or there is no question in it.
 *          `out` holds nothing then.
 */
int cli_questions_load(const char *path, size_t limit, struct cli_questions *out,
                       struct ltd_err *err);

void cli_questions_fini(struct cli_questions *questions);

/*
 * cli_question_is_right - is `text` (`len` bytes) the answer?
 *
 * The text up to its first line feed, without blanks at both ends, must equal the answer byte for
 * byte: what comes behind the first line is the model going on, not its answer.
 */
bool cli_question_is_right(const struct cli_question *question, const void *text, size_t len);

#endif
