/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model/pattern_dialect.h - from the regular expressions of tokenizer.json to those of PCRE2.
 *
 * The files are written for Oniguruma in its Ruby syntax. Most of a pattern means the same in
 * PCRE2; what does not is spelt out here, and what has no equal is refused, because a pattern that
 * is almost right cuts text almost right and nobody notices.
 *
 *     Oniguruma                        PCRE2 gets
 *     \s \S                            \p{White_Space} (PCRE2's own \s has U+180E too)
 *     \d \D \h \H \w \W \b \B          classes and look-arounds over Unicode properties
 *     \v \a \e  \x{..} \uHHHH          \x{..}
 *     \p{Han} (a script)               \p{sc:Han} (PCRE2's own \p{Han} is script extensions)
 *     \p{Letter} ...                   \p{L} ...
 *     (?i:...)                         itself
 *     x{1,3}+                          (?:x{1,3})+ (in Ruby syntax it is no possessive repeat)
 *     ^ and $                          themselves, with every line counted (PCRE2_MULTILINE)
 *     (...)                            (?:...); nothing reads a group
 *
 * Under (?i:...) both fold single characters by Unicode, so (?i:'s) matches U+017F (long s) behind
 * an apostrophe. Oniguruma also folds some characters to two ("ss" matches U+00DF); PCRE2 does not.
 *
 * Refused: back-references, named groups, other inline options, conditions, comments, classes
 * inside classes and intersections (&&), \xHH from 80 up (a byte, not a code point), and escapes of
 * other letters (\R, \X, \K, \G and so on).
 *
 * Threads: pure functions.
 */
#ifndef LATENTD_MODEL_PATTERN_DIALECT_H
#define LATENTD_MODEL_PATTERN_DIALECT_H

#include <stddef.h>

#include "base/bytes.h"
#include "base/err.h"

/* PCRE2's own limit of nested groups is 250; ours comes first so that the message is ours. */
#define MODEL_PATTERN_DEPTH_MAX 200

/*
 * model_pattern_translate - append to `out` the PCRE2 pattern that means what `source` means.
 *
 * source  in   [len] UTF-8, checked here
 * where        names the pattern in messages
 *
 * The result may still be refused by PCRE2's compiler.
 * Errors: LTD_E_INVALID for what is no pattern, LTD_E_UNIMPLEMENTED for what has no equal; the
 *         message has the byte offset. LTD_E_EXHAUSTED.
 */
int model_pattern_translate(const char *source, size_t len, struct ltd_bytes *out,
                            const char *where, struct ltd_err *err);

#endif
