/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tools/prompts.h - token sequences to run a model on: from the command line and from a file.
 *
 * A text is encoded with the model's own tokenizer, as the daemon encodes a prompt. A line of a
 * file is a JSON object with "prompt" (text, and "answer" behind it when there is one) or "tokens"
 * (ids), or else a text as it stands; empty lines are none. So the questions of an evaluation can
 * be read as they are.
 *
 * Threads: plain memory, one owner.
 */
#ifndef LATENTD_TOOLS_PROMPTS_H
#define LATENTD_TOOLS_PROMPTS_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "model/checkpoint.h"
#include "model/tokenizer.h"

struct tool_prompts {
    struct model_tokens *items; /* [n] owned, each with 1 to max_positions ids of the vocabulary */
    size_t n;
    /* what ids and lengths are checked against */
    int32_t vocab, max_positions;
    struct model_tokenizer *tokenizer; /* owned; NULL: ids only, and why */
    struct ltd_err no_text;
};

/* Errors: LTD_E_INVALID for a tokenizer.json that cannot be obeyed; none at all is fine. */
int tool_prompts_init(struct tool_prompts *prompts, const struct model_checkpoint *ckpt,
                      struct ltd_err *err);
void tool_prompts_fini(struct tool_prompts *prompts);

/* Each appends one prompt. Errors: LTD_E_INVALID (no tokenizer, no tokens, too many, outside the
 * vocabulary), LTD_E_EXHAUSTED. */
int tool_prompts_add_text(struct tool_prompts *prompts, const char *text, size_t len,
                          struct ltd_err *err);
int tool_prompts_add_ids(struct tool_prompts *prompts, const uint32_t *ids, size_t n,
                         struct ltd_err *err);

/* tool_prompts_add_file - the lines of a file, the first `most` of them that hold a prompt (0:
 * all). Errors: as above, with path and line in front. */
int tool_prompts_add_file(struct tool_prompts *prompts, const char *path, size_t most,
                          struct ltd_err *err);

#endif
