/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model/vocab.h - every token of a tokenizer: id, text in the file, bytes it stands for.
 *
 * Filled from two lists of tokenizer.json that may overlap: model.vocab (what merges produce) and
 * added_tokens (what is matched as a whole). They must agree where they overlap, and no id and no
 * text may be given twice: two readers of the file could otherwise believe different things.
 *
 *     tokens[id] = { text "Ġthe", bytes " the", flags MODEL }
 *     tokens[id] = { text "<|end_turn|>", bytes "<|end_turn|>", flags ADDED | SPECIAL [| MODEL] }
 *
 * Invariant: a token that is special is never found by its bytes, so no plain text can become it.
 *
 * Threads: immutable after load.
 */
#ifndef LATENTD_MODEL_VOCAB_H
#define LATENTD_MODEL_VOCAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "base/err.h"
#include "model/string_map.h"

enum model_token_flag {
    MODEL_TOKEN_MODEL = 1,   /* in model.vocab: merges may use and make it */
    MODEL_TOKEN_ADDED = 2,   /* in added_tokens */
    MODEL_TOKEN_SPECIAL = 4, /* in added_tokens and marked special */
};

struct model_vocab_token {
    const char *text;     /* [text_len], NUL-terminated; in the arena */
    const uint8_t *bytes; /* [n_bytes]; in the arena, may be `text` itself */
    uint32_t text_len;
    uint32_t n_bytes;
    unsigned flags; /* enum model_token_flag, or-ed; 0 when no token has this id */
};

struct model_vocab {
    struct model_vocab_token *tokens; /* owned; [size] */
    int32_t size;                     /* ids are in [0, size) */
    int32_t n_tokens;                 /* entries with flags */
    int32_t byte_ids[256];            /* the token of a single byte, -1 when there is none */
    struct model_string_map by_text;  /* every token */
    struct model_string_map by_bytes; /* tokens that plain text may become; see the invariant */
    char *arena;                      /* owned; all texts and bytes */
    size_t arena_used;
};

/*
 * model_vocab_load - fill `vocab` from the two parts of a tokenizer.json.
 *
 * model_vocab  the object model.vocab, text to id; NULL is refused
 * added        the array added_tokens; only content, id and special are read here; may be NULL
 * size         ids must be below it
 * path         names the file in messages
 *
 * On failure nothing needs model_vocab_fini. Errors: LTD_E_INVALID naming the entry,
 * LTD_E_EXHAUSTED.
 */
int model_vocab_load(struct model_vocab *vocab, const json_t *model_vocab, const json_t *added,
                     int32_t size, const char *path, struct ltd_err *err);

void model_vocab_fini(struct model_vocab *vocab);

/* The id of a text as written in the file, -1 when there is none. */
int32_t model_vocab_find(const struct model_vocab *vocab, const char *text, size_t len);

/* The entry of an id, NULL when no token has it or it is out of range. */
const struct model_vocab_token *model_vocab_at(const struct model_vocab *vocab, int32_t id);

#endif
