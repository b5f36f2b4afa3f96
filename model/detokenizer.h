/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model/detokenizer.h - token ids back to text, all at once or one id at a time.
 *
 * A byte-level token may end in the middle of a code point, and a model may emit bytes that are no
 * UTF-8 at all. Readers of a stream must see neither: this file hands out whole code points only
 * and keeps the beginning of an unfinished one back until the next id or the flush.
 *
 *     ids       "caf" + C3     A9 + "!"     E2 82      <end>
 *     handed    "caf"          "é!"         ""         U+FFFD
 *
 * Rules, which are those of the public libraries (the Unicode standard's "maximal subpart" rule,
 * section 3.9): bytes that can never become a code point turn into U+FFFD, one for each longest
 * beginning of a code point, one for every other byte. A token in added_tokens is handed out as it
 * is written, which ends an unfinished code point before it; a special token that is skipped does
 * not, so the bytes on its two sides join. An id without a token stands for nothing.
 *
 * Invariant: what all pushes and the flush hand out, put together, equals model_detokenize of the
 * same ids, however they are cut; and each single hand-out is valid UTF-8.
 * Not here: stop strings, and the clean-up of spaces that some libraries offer, which would make
 * the text of a stream change after it was sent.
 *
 * Threads: a struct model_detok belongs to one thread at a time; the tokenizer under it is shared.
 */
#ifndef LATENTD_MODEL_DETOKENIZER_H
#define LATENTD_MODEL_DETOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"
#include "model/tokenizer.h"

/* One stream. Plain memory: copying the struct saves the stream's place, and nothing needs freeing.
 */
struct model_detok {
    const struct model_tokenizer *tok; /* borrowed; outlives the stream */
    bool skip_special;                 /* special tokens stand for nothing */
    uint8_t held[4];                   /* the beginning of a code point, not handed out yet */
    size_t n_held;                     /* 0..3 */
};

/* model_detok_init - start a stream; with `skip_special` special tokens are left out of the text.
 */
void model_detok_init(struct model_detok *detok, const struct model_tokenizer *tok,
                      bool skip_special);

/*
 * model_detok_push - take one id and append to `out` every code point that is complete now.
 *
 * out  appended to; may get nothing. Always valid UTF-8.
 *
 * Errors: LTD_E_INVALID for an id outside [0, vocab_size), LTD_E_EXHAUSTED for memory; the stream
 *         and `out` are then as they were.
 */
int model_detok_push(struct model_detok *detok, int32_t id, struct ltd_bytes *out,
                     struct ltd_err *err);

/*
 * model_detok_flush - the stream ends: append U+FFFD if a code point is unfinished.
 * The stream is empty afterwards and may be used again. Errors: LTD_E_EXHAUSTED.
 */
int model_detok_flush(struct model_detok *detok, struct ltd_bytes *out, struct ltd_err *err);

/*
 * model_detokenize - the text of `n` ids, appended to `out`.
 *
 * ids  in   [n], each in [0, vocab_size)
 * out  out  on failure the length is as it was before the call
 *
 * Errors: as model_detok_push; the message names the index.
 */
int model_detokenize(const struct model_tokenizer *tok, const int32_t *ids, size_t n,
                     bool skip_special, struct ltd_bytes *out, struct ltd_err *err);

#endif
