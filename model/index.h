/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model/index.h - the tensor files of a directory as one set of names.
 *
 * Either `packed.safetensors`, or `model.safetensors`, or the files of
 * `model.safetensors.index.json`, whose weight_map says which file holds which tensor. More than
 * one of them is refused, because readers could disagree on which counts. With an index, each
 * tensor must lie in the file that it names, and no file may hold one that the index does not give
 * to it; so every name is there exactly once.
 *
 * Private to model/checkpoint.c. Threads: read-only after open.
 */
#ifndef LATENTD_MODEL_INDEX_H
#define LATENTD_MODEL_INDEX_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "model/safetensors.h"

#define MODEL_MAX_FILES 1024

struct model_index {
    struct model_safetensors **files; /* owned */
    int32_t n_files;
    bool is_packed; /* the one file is a packed model's (model/packed.h) */
};

int model_index_open(struct model_index *index, const char *dir, struct ltd_err *err);
void model_index_close(struct model_index *index); /* accepts a zeroed struct */

/* NULL when no file has it; *file (may be NULL) gets the file's path. */
const struct model_tensor *model_index_find(const struct model_index *index, const char *name,
                                            const char **file);

#endif
