/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/token_checks.h - what holds for any tokenizer and any text; the two targets of the
 * tokenizer use it.
 */
#ifndef LATENTD_TESTS_FUZZ_TOKEN_CHECKS_H
#define LATENTD_TESTS_FUZZ_TOKEN_CHECKS_H

#include "base/bytes.h"
#include "model/tokenizer.h"

/*
 * fuzz_check_text - encode twice and decode in two ways.
 *
 * Checked: both encodings are the same ids, all in the vocabulary; a refusal has a reason and
 * leaves the list alone; the ids as one text and pushed one by one are the same valid UTF-8.
 * text_out  the decoded text, or NULL when nobody wants it. Returns false when it was refused.
 */
bool fuzz_check_text(const struct model_tokenizer *tok, const char *text, size_t len,
                     unsigned flags, struct ltd_bytes *text_out);

#endif
