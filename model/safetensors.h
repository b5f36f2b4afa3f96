/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model/safetensors.h - one tensor file, mapped and checked.
 *
 *     [u64 header bytes, little endian][JSON header][data ...]
 *     header: {"name": {"dtype": "F32", "shape": [..], "data_offsets": [begin, end]}, ...,
 *              "__metadata__": {string: string}}
 *
 * Opening checks everything that can be checked without reading data: header size, JSON, known
 * dtypes, shape times element size equals the range, ranges inside the file, without gap or
 * overlap, no name twice. After that, a tensor's pointer may be read over its whole length.
 * The file must not be changed while it is open: a truncated mapping is a bus error, which no
 * check here can prevent. Callers copy what they need and close.
 *
 * Threads: read-only after open; any thread.
 * Source: the format's public specification (huggingface/safetensors, README "Format").
 */
#ifndef LATENTD_MODEL_SAFETENSORS_H
#define LATENTD_MODEL_SAFETENSORS_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define MODEL_TENSOR_MAX_DIMS 8
/* The format allows 100 MB, six gigabytes once they are parsed. This is room for 100,000 tensors;
 * the models of this family have a few hundred. */
#define MODEL_HEADER_MAX_BYTES (16 << 20)

enum model_dtype {
    MODEL_F64,
    MODEL_F32,
    MODEL_F16,
    MODEL_BF16,
    MODEL_I64,
    MODEL_I32,
    MODEL_I16,
    MODEL_I8,
    MODEL_U8,
    MODEL_BOOL,
    MODEL_N_DTYPES
};

struct model_tensor {
    const char *name; /* borrowed from the file */
    enum model_dtype dtype;
    int32_t n_dims;
    int64_t shape[MODEL_TENSOR_MAX_DIMS];
    const uint8_t *data; /* [bytes], borrowed from the mapping; any alignment */
    size_t bytes;
};

struct model_safetensors;

/* Errors: LTD_E_NOT_FOUND (open), LTD_E_INVALID (no regular file), LTD_E_CORRUPT (contents; names
 * file, tensor, found, expected). */
struct model_safetensors *model_safetensors_open(const char *path, struct ltd_err *err);
void model_safetensors_close(struct model_safetensors *file); /* accepts NULL */

const char *model_safetensors_path(const struct model_safetensors *file);
/* The bytes in front of the data: the header's length and the header with its padding. So head and
 * tensors together are the whole file. Borrowed from the mapping. */
const uint8_t *model_safetensors_head(const struct model_safetensors *file, size_t *bytes);
/* A text of the header's `__metadata__`; NULL when there is none. */
const char *model_safetensors_metadata(const struct model_safetensors *file, const char *key);
int32_t model_safetensors_count(const struct model_safetensors *file);
/* Tensors in order of their names (bytewise); idx in [0, count). */
const struct model_tensor *model_safetensors_at(const struct model_safetensors *file, int32_t idx);
/* NULL when there is none of that name. */
const struct model_tensor *model_safetensors_find(const struct model_safetensors *file,
                                                  const char *name);

const char *model_dtype_name(enum model_dtype dtype); /* "F32" ... */
size_t model_dtype_bytes(enum model_dtype dtype);

#endif
