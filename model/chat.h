/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model/chat.h - a conversation as the token ids that the model was trained to read.
 *
 *     <|begin_text|>
 *     <|begin_header|>user<|end_header|>\n\nWhat is a latent?<|end_turn|>
 *     <|begin_header|>Huginn<|end_header|>\n\n                            <- the model goes on here
 *
 * (line breaks of the picture are not part of it). Every message is a header with its role, two
 * newlines, the content without outer white space, and the end of the turn. The role "assistant"
 * is written "Huginn", as in training; all others are written as they are.
 *
 * Invariant: special tokens come from this file alone. Roles and contents are encoded as plain
 * text, so a content that spells <|end_turn|> is just its letters to the model, and nobody can
 * put words into another's turn.
 * Not here: which roles may follow each other, default system messages, and length limits.
 *
 * Threads: a struct model_chat never changes after init; any number of threads may render.
 */
#ifndef LATENTD_MODEL_CHAT_H
#define LATENTD_MODEL_CHAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "model/tokenizer.h"

/* A role is a name, not a text; the longest in use is "assistant". */
#define MODEL_CHAT_ROLE_MAX_BYTES 64

/* The ids of the format. Generation of a turn stops at end_turn or end_text. */
struct model_chat {
    const struct model_tokenizer *tok; /* borrowed; outlives the struct */
    int32_t begin_text;
    int32_t end_text;
    int32_t begin_header;
    int32_t end_header;
    int32_t end_turn;
};

struct model_chat_message {
    const char *role; /* [role_len] UTF-8, 1..MODEL_CHAT_ROLE_MAX_BYTES, no control characters */
    size_t role_len;
    const char *content; /* [content_len] UTF-8; may be empty, may hold NULs */
    size_t content_len;
};

/*
 * model_chat_init - look the five special tokens up.
 * Errors: LTD_E_UNIMPLEMENTED when the tokenizer has not all of them, or does not mark one special;
 *         the message names the token. The daemon then offers no chat.
 */
int model_chat_init(struct model_chat *chat, const struct model_tokenizer *tok,
                    struct ltd_err *err);

/*
 * model_chat_render - append the ids of a conversation to `out`.
 *
 * messages       in   [n], n >= 1
 * add_generation_prompt  true: end with the header of the model's own turn; false: <|end_text|>
 * out            out  on failure the list is as it was before the call
 *
 * Errors:  LTD_E_INVALID for no messages, a bad role, or bytes that are no UTF-8 (the message names
 *          the index and what is wrong); otherwise as model_tokenizer_encode.
 * Source:  the chat template published with Huginn-0125.
 */
int model_chat_render(const struct model_chat *chat, const struct model_chat_message *messages,
                      size_t n, bool add_generation_prompt, struct model_tokens *out,
                      struct ltd_err *err);

#endif
