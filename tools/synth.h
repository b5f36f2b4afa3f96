/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tools/synth.h - a model directory of any shape, filled with numbers that nobody has trained.
 *
 * The published layout: config.json, generation_config.json, and the tensors in name order in
 * `model.safetensors`, or, when one file would be larger than asked, in `model-0000k-of-0000n.
 * safetensors` beside `model.safetensors.index.json`. No tokenizer: such a model is asked in token
 * ids. What the numbers are: tools/weights.h.
 *
 * Written as a stream: memory is one buffer and the names, whatever the size of the model. The same
 * options give the same bytes, and the size of files changes no tensor. The directory appears whole
 * or not at all (tools/folder.h).
 *
 * Threads: main thread.
 */
#ifndef LATENTD_TOOLS_SYNTH_H
#define LATENTD_TOOLS_SYNTH_H

#include <stdint.h>

#include "base/err.h"
#include "model/config.h"
#include "model/safetensors.h"
#include "tools/packer.h"

struct tool_synth_options {
    struct model_config shape;
    uint64_t seed;
    enum model_dtype dtype; /* MODEL_BF16 or MODEL_F32 */
    uint64_t
        max_shard_bytes; /* of the tensors in a file; one larger tensor has a file of its own */
};

#define TOOL_SYNTH_SHARD_BYTES ((uint64_t)5000000000) /* what the published tools write */

struct tool_synth_result {
    uint64_t parameters;
    uint64_t bytes; /* of the tensors */
    int32_t n_files;
};

/* tool_synth_settings - config.json and generation_config.json of the model, appended. */
void tool_synth_settings(const struct tool_synth_options *options, struct ltd_bytes *config,
                         struct ltd_bytes *generation);

/*
 * tool_synth_packed - the packed directory that `pack` would make from what tool_synth would write,
 * without writing that. max_shard_bytes is not used. Errors as tool_pack.
 */
int tool_synth_packed(const struct tool_synth_options *options,
                      const struct model_packed_formats *formats, const char *path,
                      struct tool_pack_result *result, struct ltd_err *err);

/*
 * tool_synth - write the directory `path`, which nothing may have as its name.
 * Errors: LTD_E_INVALID (more than MODEL_MAX_FILES files), those of tool_folder_begin and of
 * writing, LTD_E_CANCELLED after a signal (tools/stop.h). After any of them nothing is left, unless
 * the very last step failed: the directory has its name and is whole, but the disk has not
 * confirmed the name.
 */
int tool_synth(const struct tool_synth_options *options, const char *path,
               struct tool_synth_result *result, struct ltd_err *err);

#endif
