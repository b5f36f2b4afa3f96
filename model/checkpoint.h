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
 * Or takes a packed directory (model/packed.h, docs/packed-models.md), whose matrices need no
 * packing: they are lent from the mapped file, or copied.
 *
 * Used at start only, by whoever loads weights; closed when the shards are packed, or, when
 * matrices were lent, behind the last of them.
 * Threads: read-only after open, but for the notes of loading: one thread loads at a time.
 */
#ifndef LATENTD_MODEL_CHECKPOINT_H
#define LATENTD_MODEL_CHECKPOINT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "kernels/kernels.h"
#include "model/config.h"
#include "model/hash.h"
#include "model/safetensors.h"

struct model_checkpoint;
struct model_packed;
struct model_packed_formats;

/* What becomes of the matrices of a packed directory. */
enum model_use {
    MODEL_USE_AUTO, /* lent where rows are whole panels and the matrix is not small, else copied */
    MODEL_USE_MMAP, /* lent where rows are whole panels */
    MODEL_USE_COPY, /* copied into private memory, huge pages where they are to be had */
};

/* model_use_parse - "auto", "mmap", "copy"; -1 and *out untouched for another text. */
int model_use_parse(const char *text, enum model_use *out);

/* Told after each matrix, by the thread that loads it: so many weights more. */
typedef void (*model_progress_fn)(void *arg, int64_t weights);

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

/* NULL for the published layout. */
const struct model_packed *model_checkpoint_packed(const struct model_checkpoint *ckpt);

/* model_checkpoint_format - the format to serve a directory in when nobody asks for one: f32, or
 * the first of a packed directory. */
enum kern_format model_checkpoint_format(const struct model_checkpoint *ckpt);

/*
 * model_checkpoint_offers - whether all matrices of the model can be had in `format` by `ops`
 * (NULL: by some tier). `only_block`: whether those of the recurrent block can.
 * Errors: LTD_E_INVALID with what the directory holds and what to set. Never for the published
 * layout.
 */
int model_checkpoint_offers(const struct model_checkpoint *ckpt, enum kern_format format,
                            bool only_block, const struct kern_ops *ops, struct ltd_err *err);

void model_checkpoint_set_use(struct model_checkpoint *ckpt, enum model_use use);
void model_checkpoint_set_progress(struct model_checkpoint *ckpt, model_progress_fn fn, void *arg);

/* True once a matrix was lent: the checkpoint must then outlive everything that was loaded from
 * it. */
bool model_checkpoint_is_lent(const struct model_checkpoint *ckpt);

/* A tensor of the model. NULL with LTD_E_NOT_FOUND for a name that the model has not, or, in a
 * packed directory, for a matrix. */
const struct model_tensor *model_checkpoint_tensor(const struct model_checkpoint *ckpt,
                                                   const char *name, struct ltd_err *err);

/*
 * model_checkpoint_hash - hex SHA-256 that names the model: two directories with the same hash give
 * the same answers. Over the bytes of config.json; then, by name, every tensor's name, dtype and
 * shape; then content: all of it when the tensors hold at most 64 MiB in total, else 16 blocks of 4
 * KiB per tensor, evenly spaced from its first to its last byte (docs/numerics.md#model-hash). A
 * second copy of a tied embedding and `freqs_cis` do not count. A packed directory has the hash of
 * the directory that it was made from.
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
 * model_checkpoint_pack - pack stacked row ranges of one matrix [rows][cols] for a tier, or take
 * them from a packed directory. Only these rows are read, and of a packed directory their checksums
 * compared. Errors: as kern_ops.mat_pack, with the tensor's name in front; of a packed directory
 * LTD_E_CORRUPT naming file, tensor and place, and those of model_checkpoint_offers.
 */
int model_checkpoint_pack(const struct model_checkpoint *ckpt, const struct kern_ctx *ctx,
                          const struct model_pack *what, struct kern_mat *mat, struct ltd_err *err);

/* model_checkpoint_floats - elements [begin, begin + count) of a tensor as f32; refuses NaN/inf. Of
 * a packed directory norms and biases only. */
int model_checkpoint_floats(const struct model_checkpoint *ckpt, const char *name, int64_t begin,
                            int64_t count, float *out, struct ltd_err *err);

#endif
