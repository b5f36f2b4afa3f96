/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model/seal.h - the checksums of a packed directory: one table that covers every byte of it.
 *
 *     u64 magic
 *     u64 n_blocks, u64 sum of each block     tensors in the order of their places, each cut into blocks
 *                                             of MODEL_SEAL_BLOCK_BYTES, the last one shorter
 *     u64 sum of what stands in front of the tensors
 *     u64 n_files, then for each: u64 bytes, u64 sum, u64 length of the name, the name
 *     u64 sum of all of the above
 *
 * Numbers are little endian, a sum is XXH3 with 64 bits. The table is the last tensor of the file
 * of weights and is no part of its own blocks; its last number covers it. Sums find damage, not
 * malice.
 *
 * Threads: pure functions.
 */
#ifndef LATENTD_MODEL_SEAL_H
#define LATENTD_MODEL_SEAL_H

#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"

/* Small enough that a rank reads little more than its rows, large enough that sums are no work. */
#define MODEL_SEAL_BLOCK_BYTES ((size_t)64 << 10)
#define MODEL_SEAL_MAX_FILES   64
#define MODEL_SEAL_NAME_BYTES  128

struct model_seal_file {
    char name[MODEL_SEAL_NAME_BYTES]; /* in the directory: no slash, no leading dot */
    uint64_t bytes, sum;
};

struct model_seal {
    uint64_t n_blocks;
    const uint8_t *sums; /* [n_blocks] u64, borrowed */
    uint64_t head_sum;
    int32_t n_files;
    struct model_seal_file files[MODEL_SEAL_MAX_FILES];
};

uint64_t model_seal_sum(const void *data, size_t bytes);

/* The sum of block `idx`. */
uint64_t model_seal_block(const struct model_seal *seal, uint64_t idx);

/* Blocks of a tensor of so many bytes. */
static inline uint64_t model_seal_n_blocks(uint64_t bytes)
{
    return (bytes + MODEL_SEAL_BLOCK_BYTES - 1) / MODEL_SEAL_BLOCK_BYTES;
}

/* Bytes of the table, which are known before any sum is. */
size_t model_seal_bytes(const struct model_seal *seal);

/* Append the table; a failed allocation is remembered by `out`. */
void model_seal_encode(const struct model_seal *seal, struct ltd_bytes *out);

/* model_seal_decode - LTD_E_CORRUPT for what is not such a table, damaged above all. `out->sums`
 * points into `data`. */
int model_seal_decode(const uint8_t *data, size_t bytes, struct model_seal *out,
                      struct ltd_err *err);

#endif
