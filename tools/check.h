/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tools/check.h - one pass over all that a daemon would load from a model directory.
 *
 * Opens the directory as a daemon does, so the same things are refused with the same words: first
 * config.json, index, headers, names, shapes and types, then generation_config.json and
 * tokenizer.json, and then, tensor by tensor, numbers that are not finite. On the way it can hand
 * out a SHA-256 of every piece:
 *
 *     every small file that a daemon reads      whole
 *     every file of weights                     its head (length, header, padding), each tensor
 *
 * A file of weights is its head and its tensors without a gap (model/safetensors.h), so together
 * the pieces are every byte that a daemon may read.
 *
 * Threads: main thread. A bar is drawn meanwhile (tools/bar.h).
 */
#ifndef LATENTD_TOOLS_CHECK_H
#define LATENTD_TOOLS_CHECK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "model/checkpoint.h"

enum tool_piece_kind {
    TOOL_PIECE_FILE,   /* a small file, whole */
    TOOL_PIECE_HEAD,   /* what stands in front of the tensors of a file; its tensors follow */
    TOOL_PIECE_TENSOR, /* of the file of the last head */
};

struct tool_piece {
    enum tool_piece_kind kind;
    const char *path;   /* of the file */
    const char *tensor; /* NULL but for a TOOL_PIECE_TENSOR */
    char sha256[MODEL_HASH_HEX_BYTES];
};

/* tool_piece_fn - called for each piece; -1 with `err` ends the pass. */
typedef int (*tool_piece_fn)(void *arg, const struct tool_piece *piece, struct ltd_err *err);

struct tool_check_result {
    int32_t n_files; /* of weights */
    int32_t n_tensors;
    uint64_t bytes; /* of tensors */
    bool is_packed; /* checksums are in the directory itself, and all were compared */
};

/*
 * tool_check - the pass. `piece` NULL: nothing is hashed. Of a packed directory every byte is held
 * against its own checksums, and `piece` is refused (LTD_E_INVALID).
 * Errors: those of model_checkpoint_open, model_generation_load and model_tokenizer_open;
 * LTD_E_CORRUPT naming file and tensor for a number that is not finite; LTD_E_CANCELLED after a
 * signal; those of `piece`.
 */
int tool_check(const char *dir, tool_piece_fn piece, void *arg, struct tool_check_result *result,
               struct ltd_err *err);

/* tool_check_open_text - the small files besides config.json, obeyed as a daemon obeys them.
 * *has_tokenizer and `generation` may be NULL. */
int tool_check_open_text(const struct model_checkpoint *ckpt, bool *has_tokenizer,
                         struct model_generation *generation, struct ltd_err *err);

#endif
