/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model/hash.h - the digest that names a model, over tensors wherever they are.
 *
 * What goes into it is docs/numerics.md#model-hash. model_checkpoint_hash feeds it from a
 * directory; tools/ feeds it from a model that is being made up, so that the name is known of a
 * directory that nobody has written.
 *
 * Threads: pure functions.
 */
#ifndef LATENTD_MODEL_HASH_H
#define LATENTD_MODEL_HASH_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "model/safetensors.h"

#define MODEL_HASH_HEX_BYTES   65 /* 64 digits and the NUL */
#define MODEL_HASH_PIECE_BYTES ((size_t)65536)

/* The tensors in bytewise order of their names. */
struct model_hash_source {
    const char *config_text; /* config.json, borrowed */
    size_t config_bytes;
    int32_t n_tensors;
    void *arg;
    /* Name, dtype, n_dims, shape and bytes of tensor `idx`; `data` is not used. */
    struct model_tensor (*describe)(void *arg, int32_t idx);
    /* Bytes [at, at + bytes) of tensor `idx`, at most MODEL_HASH_PIECE_BYTES of them; valid until
     * the next call. */
    const uint8_t *(*read)(void *arg, int32_t idx, size_t at, size_t bytes);
};

/* model_hash_compute - LTD_E_INTERNAL when the library refuses. */
int model_hash_compute(const struct model_hash_source *source, char hex[MODEL_HASH_HEX_BYTES],
                       struct ltd_err *err);

#endif
