/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model/pattern.h - one compiled pattern of tokenizer.json and the bounded work of matching it.
 *
 * Patterns come from a file that anybody may have written and texts from anybody at all, and a
 * backtracking matcher can be made to take hours on either. So matching is tried at one place at a
 * time, with a step limit that is small at first and grows eightfold when it was too small; what a
 * failed try used is charged to the budget of the whole call. A text of n bytes thus costs at most
 * n small tries plus the budget, which is linear in n, and a pattern that needs more is given up
 * with an error. Steps are counted by PCRE2, so the outcome does not depend on the clock.
 *
 * Not here: what is done with matches and the text between them (model/pretokenizer.h).
 *
 * Threads: a struct model_pattern is immutable; a struct model_pattern_run belongs to one call.
 */
#ifndef LATENTD_MODEL_PATTERN_H
#define LATENTD_MODEL_PATTERN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* Real patterns have 30 to 700 bytes. */
#define MODEL_PATTERN_MAX_BYTES 8192

struct model_pattern;

/*
 * model_pattern_compile - a pattern, or a plain string when `literal`.
 *
 * source  [len] UTF-8, Oniguruma's Ruby syntax (model/pattern_dialect.h)
 * where   names the pattern in messages of this call and of later matches; copied
 *
 * Returns an owned pattern or NULL. Errors: LTD_E_INVALID, LTD_E_UNIMPLEMENTED, LTD_E_EXHAUSTED;
 * the message has the offset and what is wrong there.
 */
struct model_pattern *model_pattern_compile(const char *source, size_t len, bool literal,
                                            const char *where, struct ltd_err *err);

/* model_pattern_free - accepts NULL. */
void model_pattern_free(struct model_pattern *pattern);

/* What one encoding call needs to match: PCRE2's memory and what is left of the budget. */
struct model_pattern_run {
    struct pcre2_real_match_data_8 *data;       /* owned */
    struct pcre2_real_match_context_8 *context; /* owned */
    uint64_t budget;                            /* steps left for tries that need many */
};

/* model_pattern_run_init - for a text of `n_bytes`. Errors: LTD_E_EXHAUSTED. */
int model_pattern_run_init(struct model_pattern_run *run, size_t n_bytes, struct ltd_err *err);

void model_pattern_run_fini(struct model_pattern_run *run);

/*
 * model_pattern_match_at - does the pattern match from `at` on, and up to where.
 *
 * text  [len] well-formed UTF-8; look-behinds see what stands before `at`
 * at    a code point boundary, at most len
 * end   out, a code point boundary in [at, len]; only written on a match
 *
 * Returns 1 for a match, 0 for none, -1 with a message. Errors: LTD_E_EXHAUSTED when the budget or
 * PCRE2's memory limit is used up; the message names the pattern and the offset.
 */
int model_pattern_match_at(const struct model_pattern *pattern, struct model_pattern_run *run,
                           const char *text, size_t len, size_t at, size_t *end,
                           struct ltd_err *err);

#endif
