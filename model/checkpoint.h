/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model/checkpoint.h - a model directory: configuration and every tensor, checked by name.
 *
 * Takes `config.json` and either `model.safetensors` or the files of
 * `model.safetensors.index.json`. After open, each tensor of the model is known to exist once, in
 * the file that the index names, with the right shape and a storage type that can be widened
 * exactly (F32, BF16, F16); nothing unknown is there. `lm_head.weight` beside tied embeddings must
 * equal `transformer.wte.weight` bit for bit; `freqs_cis` is ignored, because it is computed.
 *
 * Used at start only, by whoever loads weights; closed when the shards are packed.
 * Threads: read-only after open.
 */
#ifndef LATENTD_MODEL_CHECKPOINT_H
#define LATENTD_MODEL_CHECKPOINT_H

#include <stdint.h>

#include "base/err.h"
#include "kernels/kernels.h"
#include "model/config.h"
#include "model/safetensors.h"

#define MODEL_HASH_HEX_BYTES 65 /* 64 digits and the NUL */

struct model_checkpoint;

/* Errors: LTD_E_NOT_FOUND, LTD_E_INVALID (config, index), LTD_E_CORRUPT (tensors). */
struct model_checkpoint *model_checkpoint_open(const char *dir, struct ltd_err *err);
void model_checkpoint_close(struct model_checkpoint *ckpt); /* accepts NULL */

const struct model_config *model_checkpoint_config(const struct model_checkpoint *ckpt);
const char *model_checkpoint_dir(const struct model_checkpoint *ckpt);

/* The files of weights; what is not read (`freqs_cis`, a copy of a tied embedding) is in there too.
 * idx in [0, n_files). */
int32_t model_checkpoint_n_files(const struct model_checkpoint *ckpt);
const struct model_safetensors *model_checkpoint_file(const struct model_checkpoint *ckpt,
                                                      int32_t idx);

/* A tensor of the model. NULL with LTD_E_NOT_FOUND only for a name that the model has not. */
const struct model_tensor *model_checkpoint_tensor(const struct model_checkpoint *ckpt,
                                                   const char *name, struct ltd_err *err);

/*
 * model_checkpoint_hash - hex SHA-256 that names the model: two directories with the same hash give
 * the same answers. Over the bytes of config.json; then, by name, every tensor's name, dtype and
 * shape; then content: all of it when the tensors hold at most 64 MiB in total, else 16 blocks of
 * 4 KiB per tensor, evenly spaced from its first to its last byte (docs/numerics.md#model-hash).
 * A second copy of a tied embedding and `freqs_cis` do not count.
 * Cost: reads at most 64 MiB, or 64 KiB per tensor. Errors: LTD_E_INTERNAL from the hash library.
 */
int model_checkpoint_hash(const struct model_checkpoint *ckpt, char hex[MODEL_HASH_HEX_BYTES],
                          struct ltd_err *err);

/* Rows of a matrix, and how they are to be kept. */
#define MODEL_PACK_MAX_RANGES 4
struct model_row_range {
    int32_t begin, end;
};
struct model_pack {
    const char *name;                     /* of the tensor, borrowed */
    enum kern_format format;              /* one that the tier has */
    const struct model_row_range *ranges; /* stacked in this order; any may be empty */
    int32_t n_ranges;                     /* at most MODEL_PACK_MAX_RANGES */
};

/*
 * model_checkpoint_pack - pack stacked row ranges of one matrix [rows][cols] for a tier.
 * Only these rows are read. Errors: as kern_ops.mat_pack, with the tensor's name in front.
 */
int model_checkpoint_pack(const struct model_checkpoint *ckpt, const struct kern_ctx *ctx,
                          const struct model_pack *what, struct kern_mat *mat, struct ltd_err *err);

/* model_checkpoint_floats - elements [begin, begin + count) of a tensor as f32; refuses NaN/inf. */
int model_checkpoint_floats(const struct model_checkpoint *ckpt, const char *name, int64_t begin,
                            int64_t count, float *out, struct ltd_err *err);

#endif
