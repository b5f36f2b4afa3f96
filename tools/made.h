/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tools/made.h - the tensors of a made-up model as a file would store them, from any place on.
 *
 * The numbers are those of tools/weights.h, in the storage type of the model, so a piece of a
 * tensor is known without the rest: for writing it, for packing it, and for the digest of a
 * directory that nobody has written.
 *
 * Threads: one at a time per struct.
 */
#ifndef LATENTD_TOOLS_MADE_H
#define LATENTD_TOOLS_MADE_H

#include <stdint.h>

#include "base/err.h"
#include "model/config.h"
#include "model/hash.h"
#include "model/layout.h"

struct tool_made {
    const struct model_config *shape;  /* borrowed */
    const struct model_layout *layout; /* borrowed */
    uint64_t seed;
    enum model_dtype dtype; /* MODEL_BF16 or MODEL_F32 */
    uint8_t piece[MODEL_HASH_PIECE_BYTES];
};

/* tool_made_bytes - elements [begin, begin + count) of a tensor into out [count * bytes of
 * dtype]. */
void tool_made_bytes(const struct tool_made *made, const struct model_layout_row *row,
                     uint64_t begin, uint64_t count, uint8_t *out);

/* tool_made_hash - the hash of the directory that tool_synth would write; `config_text` is its
 * config.json. Errors as model_hash_compute. */
int tool_made_hash(struct tool_made *made, const char *config_text, size_t config_bytes,
                   char hex[MODEL_HASH_HEX_BYTES], struct ltd_err *err);

#endif
