/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model/tokenizer.h - text to token ids, by the rules that the model's own tokenizer.json gives.
 *
 * The daemon opens one tokenizer at start and keeps it as long as the model. Nothing about a text
 * is decided here that the file does not say: the vocabulary, the merges, the pattern that cuts
 * text into pieces and the special tokens are all read, and whatever this program would not do
 * exactly as the public libraries do is refused at open, by name. docs/tokenizer.md lists what is
 * supported.
 *
 *     text -> added tokens cut out -> NFC, if the file asks -> pieces by pattern -> bytes -> BPE
 *
 * Invariant: encoding is a pure function of the file and the text, and nothing of the text is lost
 * unless the file's pattern drops it.
 * Not here: ids back to text (model/detokenizer.h), the chat format (model/chat.h), and any limit
 * on the number of tokens, which is the job's business.
 *
 * Threads: a tokenizer never changes after open; any number of threads may use it at once.
 */
#ifndef LATENTD_MODEL_TOKENIZER_H
#define LATENTD_MODEL_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct model_tokenizer;

/* The longest text that one call encodes. A 4096-token context is below 64 KiB of English; this is
 * the bound that keeps the working memory of a call (about 60 bytes per byte of text) finite. */
#define MODEL_ENCODE_MAX_BYTES ((size_t)16 << 20)

/* Flags of model_tokenizer_encode. */
enum {
    /* Put the ids in front that the file's template puts there, <|begin_text|> in Huginn. */
    MODEL_ENCODE_HEAD = 1,
    /* Append the ids that the template puts behind, <|end_text|> in Huginn. A prompt that shall be
     * continued must not have them. */
    MODEL_ENCODE_TAIL = 2,
    /* What the public libraries call add_special_tokens. */
    MODEL_ENCODE_ADD_SPECIAL = MODEL_ENCODE_HEAD | MODEL_ENCODE_TAIL,
    /* Text that spells a special token becomes that token. Without this flag it is plain text,
     * which is the only safe choice for text from somebody who may not end a turn. Added tokens
     * that the file does not mark special are recognised either way. */
    MODEL_ENCODE_PARSE_SPECIAL = 4,
};

/* A growable list of token ids. Zero it or call init before use. */
struct model_tokens {
    int32_t *ids;    /* owned; [n], every id in [0, vocab_size) */
    size_t n;        /* ids in use */
    size_t capacity; /* ids allocated */
};

void model_tokens_init(struct model_tokens *tokens);
void model_tokens_fini(struct model_tokens *tokens);

/* model_tokens_push - append one id. Errors: LTD_E_EXHAUSTED, the list then is as before. */
int model_tokens_push(struct model_tokens *tokens, int32_t id, struct ltd_err *err);

/*
 * model_tokenizer_open - read and check a tokenizer.json.
 *
 * dir_or_path  the file itself, or the model's directory that holds tokenizer.json
 * vocab_size   rows of the model's embedding, > 0; every id of the file must be below it, while
 *              ids that the file leaves unused (padding of the embedding) are fine
 *
 * Returns an owned tokenizer, or NULL.
 * Errors:  LTD_E_NOT_FOUND only when there is no such file: the daemon then serves token ids alone.
 *          LTD_E_INVALID for a file that is broken, LTD_E_UNIMPLEMENTED for one that asks for what
 *          this program does not do; both messages name file, item, found and expected.
 *          LTD_E_EXHAUSTED, LTD_E_UNAVAILABLE when memory is out or the file cannot be read.
 */
struct model_tokenizer *model_tokenizer_open(const char *dir_or_path, int32_t vocab_size,
                                             struct ltd_err *err);

/* model_tokenizer_close - accepts NULL. No call may be running in another thread. */
void model_tokenizer_close(struct model_tokenizer *tok);

/*
 * model_tokenizer_encode - append the ids of `text` to `out`.
 *
 * text   in   [len] UTF-8; may hold NULs, may be NULL when len is 0
 * flags       MODEL_ENCODE_*, or-ed
 * out    out  ids are appended; on failure the list is as it was before the call
 *
 * Cost:    O(len log len) for any text; a pattern that backtracks without end is given up.
 * Threads: any, concurrently.
 * Errors:  LTD_E_INVALID for bytes that are no UTF-8 (the message has the offset) or a text that
 *          has no tokens in this vocabulary; LTD_E_EXHAUSTED for a text longer than
 *          MODEL_ENCODE_MAX_BYTES, a pattern that used up its budget (the message names it), or
 *          memory.
 */
int model_tokenizer_encode(const struct model_tokenizer *tok, const char *text, size_t len,
                           unsigned flags, struct model_tokens *out, struct ltd_err *err);

/* The path that was read, for messages. Never NULL. */
const char *model_tokenizer_path(const struct model_tokenizer *tok);

/* The `vocab_size` given to open. */
int32_t model_tokenizer_vocab_size(const struct model_tokenizer *tok);

/* How many ids have a token in the file; at most vocab_size. */
int32_t model_tokenizer_n_tokens(const struct model_tokenizer *tok);

/*
 * model_tokenizer_text - a token as it is written in the file ("Ġthe", "<|end_turn|>").
 * Borrowed, NUL-terminated, valid until close. NULL when no token has this id.
 */
const char *model_tokenizer_text(const struct model_tokenizer *tok, int32_t id);

/*
 * model_tokenizer_bytes - the bytes that a token stands for (" the"); alone they need not be UTF-8.
 * Borrowed until close; *len is their number. NULL (and *len 0) when no token has this id.
 */
const uint8_t *model_tokenizer_bytes(const struct model_tokenizer *tok, int32_t id, size_t *len);

/* model_tokenizer_find - the id of a token as it is written in the file, -1 when there is none. */
int32_t model_tokenizer_find(const struct model_tokenizer *tok, const char *text);

/* True for tokens that the file adds and marks special; false for every other id, valid or not. */
bool model_tokenizer_is_special(const struct model_tokenizer *tok, int32_t id);

/* True for tokens in the file's added_tokens, special or not. */
bool model_tokenizer_is_added(const struct model_tokenizer *tok, int32_t id);

#endif
