/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model/packed.h - a model directory whose matrices were laid down for the kernels beforehand.
 *
 *     config.json, tokenizer.json, ...   copies
 *     packed.safetensors                 NAME@FORMAT  U8 [bytes]  a whole matrix (kernels/packed.h)
 *                                        NAME         F32         a norm or a bias
 *                                        padding.K    U8          zeros, so that matrices begin on pages
 *                                        checksums    U8          model/seal.h, the last one
 *
 * The first format holds every matrix; further ones hold the recurrent block once more. Metadata of
 * the
 * file: kind, version and name of the layout, formats, the digest of the source, and the shape of
 * each matrix. docs/packed-models.md says why.
 *
 * Opening checks all but the weights, copied files included; weights are checked when they are
 * read, and only those that are. Private to model/ and tools/.
 *
 * Threads: read-only after open.
 */
#ifndef LATENTD_MODEL_PACKED_H
#define LATENTD_MODEL_PACKED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "kernels/packed.h"
#include "model/layout.h"
#include "model/safetensors.h"

#define MODEL_PACKED_FILE    "packed.safetensors"
#define MODEL_PACKED_KIND    "latentd-packed"
#define MODEL_PACKED_SEAL    "checksums"
#define MODEL_PACKED_PADDING "padding."
#define MODEL_PACKED_ALIGN   ((size_t)4096) /* of matrices, in the file and so in memory */

#define MODEL_PACKED_NAME_BYTES    (MODEL_NAME_BYTES + 16)
#define MODEL_PACKED_FORMATS_BYTES 64

/* In order of preference: [0] holds every matrix. */
struct model_packed_formats {
    enum kern_format items[KERN_N_FORMATS];
    int32_t n;
};

/* model_packed_formats_parse - "bf16" or "bf16,int8"; LTD_E_INVALID, also for one named twice. */
int model_packed_formats_parse(const char *text, struct model_packed_formats *out,
                               struct ltd_err *err);

/* "bf16,int8" into out [MODEL_PACKED_FORMATS_BYTES]; returns it. */
const char *model_packed_formats_text(const struct model_packed_formats *formats, char *out);

/* model_packed_holds - whether a matrix of the model is there in the format. */
bool model_packed_holds(const struct model_packed_formats *formats, const char *tensor,
                        enum kern_format format);

/* The tensor that holds a matrix in a format: "NAME@bf16". Returns `out`. */
const char *model_packed_name(char out[MODEL_PACKED_NAME_BYTES], const char *tensor,
                              enum kern_format format);

/* What the metadata says of a matrix: key "shape NAME", value "ROWS COLS". */
void model_packed_shape(const struct model_layout_row *row, char key[MODEL_PACKED_NAME_BYTES],
                        char value[48]);

struct model_packed;

/*
 * model_packed_open - check what is there of a packed directory besides the bytes of weights.
 *
 * file    its MODEL_PACKED_FILE, borrowed until close
 * layout  of the model that config.json describes
 * Errors: LTD_E_CORRUPT naming file, tensor or copied file, what was found and expected;
 * LTD_E_INVALID for a layout of another version.
 */
struct model_packed *model_packed_open(const char *dir, const struct model_safetensors *file,
                                       const struct model_layout *layout, struct ltd_err *err);
void model_packed_close(struct model_packed *packed); /* accepts NULL */

const struct model_packed_formats *model_packed_formats(const struct model_packed *packed);
const char *model_packed_source(const struct model_packed *packed); /* digest, 64 digits */

/*
 * model_packed_read - bytes [begin, end) of a tensor, checked on the way.
 *
 * dst        where to put them, or NULL: only checked
 * n_threads  that share the work
 * Errors: LTD_E_CORRUPT naming file, tensor and the place of the first block that differs; what was
 * copied by then is not to be used.
 * Cost: reads whole blocks of model/seal.h, once.
 */
int model_packed_read(const struct model_packed *packed, const struct model_tensor *tensor,
                      size_t begin, size_t end, uint8_t *dst, int32_t n_threads,
                      struct ltd_err *err);

#endif
