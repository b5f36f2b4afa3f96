/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model/hash.c - a name for what a model directory holds; see model_checkpoint_hash.
 *
 * Ranks compare it before they serve together, and a job remembers it. A large model is sampled,
 * because reading 15 GB at every start would cost a minute; the sample finds another checkpoint, a
 * half-copied file and a zeroed tail, not a single flipped bit.
 */
#include "model/hash.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <openssl/evp.h>

#include "model/checkpoint_private.h"

#define HASH_ALL_BYTES   ((size_t)64 << 20)
#define HASH_BLOCK_BYTES ((size_t)4096)
#define HASH_BLOCKS      16

/* Lengths go in front of variable parts, so that no two models give the same stream. */
static int put(EVP_MD_CTX *md, const void *data, size_t bytes)
{
    return EVP_DigestUpdate(md, data, bytes) == 1 ? 0 : -1;
}

static int put_u64(EVP_MD_CTX *md, uint64_t value)
{
    uint8_t bytes[8];
    for (int i = 0; i < 8; i++)
        bytes[i] = (uint8_t)(value >> (8 * i));
    return put(md, bytes, sizeof bytes);
}

static int put_text(EVP_MD_CTX *md, const char *text, size_t bytes)
{
    return put_u64(md, bytes) != 0 ? -1 : put(md, text, bytes);
}

static int put_head(EVP_MD_CTX *md, const struct model_tensor *t)
{
    const char *dtype = model_dtype_name(t->dtype);
    if (put_text(md, t->name, strlen(t->name)) != 0 || put_text(md, dtype, strlen(dtype)) != 0 ||
        put_u64(md, (uint64_t)t->n_dims) != 0)
        return -1;
    for (int32_t i = 0; i < t->n_dims; i++)
        if (put_u64(md, (uint64_t)t->shape[i]) != 0)
            return -1;
    return 0;
}

static int put_range(EVP_MD_CTX *md, const struct model_hash_source *source, int32_t idx, size_t at,
                     size_t end)
{
    for (; at < end; at += MODEL_HASH_PIECE_BYTES) {
        size_t bytes = end - at < MODEL_HASH_PIECE_BYTES ? end - at : MODEL_HASH_PIECE_BYTES;
        if (put(md, source->read(source->arg, idx, at, bytes), bytes) != 0)
            return -1;
    }
    return 0;
}

static int put_content(EVP_MD_CTX *md, const struct model_hash_source *source, int32_t idx,
                       size_t tensor_bytes, bool all)
{
    if (all || tensor_bytes <= HASH_BLOCKS * HASH_BLOCK_BYTES)
        return put_range(md, source, idx, 0, tensor_bytes);
    size_t last = tensor_bytes - HASH_BLOCK_BYTES; /* where the last block begins */
    for (size_t i = 0; i < HASH_BLOCKS; i++) {
        size_t at = i + 1 == HASH_BLOCKS ? last : last / (HASH_BLOCKS - 1) * i;
        if (put_range(md, source, idx, at, at + HASH_BLOCK_BYTES) != 0)
            return -1;
    }
    return 0;
}

static int put_model(EVP_MD_CTX *md, const struct model_hash_source *source)
{
    size_t total = 0;
    if (put_text(md, source->config_text, source->config_bytes) != 0)
        return -1;
    for (int32_t i = 0; i < source->n_tensors; i++) {
        struct model_tensor t = source->describe(source->arg, i);
        total += t.bytes; /* cannot overflow: ranges of mapped files, or of files to be written */
        if (put_head(md, &t) != 0)
            return -1;
    }
    for (int32_t i = 0; i < source->n_tensors; i++) {
        struct model_tensor t = source->describe(source->arg, i);
        if (put_content(md, source, i, t.bytes, total <= HASH_ALL_BYTES) != 0)
            return -1;
    }
    return 0;
}

int model_hash_compute(const struct model_hash_source *source, char hex[MODEL_HASH_HEX_BYTES],
                       struct ltd_err *err)
{
    uint8_t digest[32];
    unsigned int length = 0;
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    bool good = md && EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1 &&
                put_model(md, source) == 0 && EVP_DigestFinal_ex(md, digest, &length) == 1 &&
                length == sizeof digest;
    EVP_MD_CTX_free(md);
    if (!good)
        return ltd_fail(err, LTD_E_INTERNAL, "the library refused to compute SHA-256");
    for (size_t i = 0; i < sizeof digest; i++)
        snprintf(hex + 2 * i, 3, "%02x", digest[i]);
    return 0;
}

/* ------------------------------------------------------------------------------ checkpoints */

static struct model_tensor describe(void *arg, int32_t idx)
{
    const struct model_checkpoint *ckpt = arg;
    return *model_index_find(&ckpt->index, ckpt->layout.rows[idx].name, NULL);
}

static const uint8_t *read_bytes(void *arg, int32_t idx, size_t at, size_t bytes)
{
    (void)bytes;
    return describe(arg, idx).data + at;
}

/* What was packed goes by the name of what it was packed from (docs/packed-models.md#identity). */
int model_checkpoint_hash(const struct model_checkpoint *ckpt, char hex[MODEL_HASH_HEX_BYTES],
                          struct ltd_err *err)
{
    union {
        const struct model_checkpoint *from;
        void *to;
    } arg = {.from = ckpt};
    const struct model_hash_source source = {
        .config_text = ckpt->config_text,
        .config_bytes = ckpt->config_bytes,
        .n_tensors = ckpt->layout.n_rows,
        .arg = arg.to,
        .describe = describe,
        .read = read_bytes,
    };
    if (ckpt->packed) {
        snprintf(hex, MODEL_HASH_HEX_BYTES, "%s", model_packed_source(ckpt->packed));
        return 0;
    }
    if (model_hash_compute(&source, hex, err) != 0)
        return ltd_err_context(err, "%s", ckpt->dir);
    return 0;
}
