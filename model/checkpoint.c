/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model/checkpoint.c - open a model directory and hold it against its configuration.
 *
 * Order of the checks: config.json, the files by themselves, then names, shapes and types. So the
 * message names the first thing that an operator has to repair.
 */
#include "model/checkpoint_private.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"

#define CONFIG_MAX_BYTES ((size_t)1 << 20)

/* The bytes themselves are kept, because the model's hash covers them. */
static int read_config(struct model_checkpoint *ckpt, struct ltd_err *err)
{
    char path[PATH_MAX];
    if (snprintf(path, sizeof path, "%s/config.json", ckpt->dir) >= (int)sizeof path)
        return ltd_fail(err, LTD_E_INVALID, "%.100s/...: path is too long", ckpt->dir);
    ckpt->config_text = ltd_file_read(path, CONFIG_MAX_BYTES, &ckpt->config_bytes, err);
    if (!ckpt->config_text)
        return -1;
    return model_config_parse(ckpt->config_text, ckpt->config_bytes, path, &ckpt->config, err);
}

static void shape_text(char *out, size_t size, int32_t n_dims, const int64_t *shape)
{
    size_t used = (size_t)snprintf(out, size, "[");
    for (int32_t i = 0; i < n_dims && used < size; i++)
        used +=
            (size_t)snprintf(out + used, size - used, i ? ", %lld" : "%lld", (long long)shape[i]);
    if (used < size)
        snprintf(out + used, size - used, "]");
}

static int check_shape(const struct model_tensor *t, const struct model_layout_row *row,
                       const char *file, struct ltd_err *err)
{
    if (t->n_dims == row->n_dims &&
        memcmp(t->shape, row->shape, (size_t)t->n_dims * sizeof *t->shape) == 0)
        return 0;
    char found[160], expected[160];
    shape_text(found, sizeof found, t->n_dims, t->shape);
    shape_text(expected, sizeof expected, row->n_dims, row->shape);
    return ltd_fail(err, LTD_E_CORRUPT, "%s: tensor %.100s: shape %s, expected %s", file, t->name,
                    found, expected);
}

static int kernel_dtype(enum model_dtype dtype, enum kern_dtype *out)
{
    switch (dtype) {
    case MODEL_F32:
        *out = KERN_DTYPE_F32;
        return 0;
    case MODEL_BF16:
        *out = KERN_DTYPE_BF16;
        return 0;
    case MODEL_F16:
        *out = KERN_DTYPE_F16;
        return 0;
    case MODEL_F64:
    case MODEL_I64:
    case MODEL_I32:
    case MODEL_I16:
    case MODEL_I8:
    case MODEL_U8:
    case MODEL_BOOL:
    case MODEL_N_DTYPES:
        break;
    }
    return -1;
}

static int check_expected(const struct model_checkpoint *ckpt, struct ltd_err *err)
{
    for (int32_t i = 0; i < ckpt->layout.n_rows; i++) {
        const struct model_layout_row *row = &ckpt->layout.rows[i];
        const char *file = NULL;
        const struct model_tensor *t = model_index_find(&ckpt->index, row->name, &file);
        enum kern_dtype dtype;
        if (!t) {
            char expected[160];
            shape_text(expected, sizeof expected, row->n_dims, row->shape);
            return ltd_fail(err, LTD_E_CORRUPT, "%s: tensor %s is missing, expected with shape %s",
                            ckpt->dir, row->name, expected);
        }
        if (check_shape(t, row, file, err) != 0)
            return -1;
        if (kernel_dtype(t->dtype, &dtype) != 0)
            return ltd_fail(err, LTD_E_CORRUPT,
                            "%s: tensor %s: dtype %s, expected F32, BF16 or F16", file, row->name,
                            model_dtype_name(t->dtype));
    }
    return 0;
}

static int check_unknown(const struct model_checkpoint *ckpt, struct ltd_err *err)
{
    for (int32_t f = 0; f < ckpt->index.n_files; f++) {
        const struct model_safetensors *file = ckpt->index.files[f];
        for (int32_t i = 0; i < model_safetensors_count(file); i++) {
            const char *name = model_safetensors_at(file, i)->name;
            if (model_layout_find(&ckpt->layout, name) || strcmp(name, MODEL_NAME_FREQS) == 0 ||
                (ckpt->config.tied && strcmp(name, MODEL_NAME_HEAD) == 0))
                continue;
            return ltd_fail(err, LTD_E_CORRUPT,
                            "%s: tensor %.100s, expected only tensors of the model",
                            model_safetensors_path(file), name);
        }
    }
    return 0;
}

/* A second copy of a tied embedding that differs would make the answer depend on the reader. */
static int check_tied(const struct model_checkpoint *ckpt, struct ltd_err *err)
{
    const char *file = NULL;
    const struct model_tensor *head = model_index_find(&ckpt->index, MODEL_NAME_HEAD, &file);
    const struct model_tensor *wte = model_index_find(&ckpt->index, MODEL_NAME_WTE, NULL);
    if (!ckpt->config.tied || !head)
        return 0;
    if (check_shape(head, model_layout_find(&ckpt->layout, MODEL_NAME_WTE), file, err) != 0)
        return -1;
    if (head->dtype != wte->dtype)
        return ltd_fail(err, LTD_E_CORRUPT,
                        "%s: tensor %s: dtype %s, expected a copy of %s, which has %s", file,
                        MODEL_NAME_HEAD, model_dtype_name(head->dtype), MODEL_NAME_WTE,
                        model_dtype_name(wte->dtype));
    if (memcmp(head->data, wte->data, wte->bytes) == 0)
        return 0;
    size_t at = 0;
    while (head->data[at] == wte->data[at])
        at++;
    return ltd_fail(err, LTD_E_CORRUPT,
                    "%s: tensor %s differs from %s in element %zu, expected equal bits because "
                    "tie_embeddings is true",
                    file, MODEL_NAME_HEAD, MODEL_NAME_WTE, at / model_dtype_bytes(wte->dtype));
}

static int open_contents(struct model_checkpoint *ckpt, struct ltd_err *err)
{
    if (ckpt->index.is_packed) {
        ckpt->packed = model_packed_open(ckpt->dir, ckpt->index.files[0], &ckpt->layout, err);
        return ckpt->packed ? 0 : -1;
    }
    if (check_unknown(ckpt, err) != 0 || check_expected(ckpt, err) != 0)
        return -1;
    return check_tied(ckpt, err);
}

struct model_checkpoint *model_checkpoint_open(const char *dir, struct ltd_err *err)
{
    struct model_checkpoint *ckpt = calloc(1, sizeof *ckpt);
    if (!ckpt || !(ckpt->dir = strdup(dir))) {
        free(ckpt);
        return ltd_fail_null(err, LTD_E_EXHAUSTED, "open model %s: no memory", dir);
    }
    ckpt->loading = calloc(1, sizeof *ckpt->loading);
    if (!ckpt->loading)
        ltd_fail(err, LTD_E_EXHAUSTED, "open model %s: no memory", dir);
    if (!ckpt->loading || read_config(ckpt, err) != 0 ||
        model_layout_build(&ckpt->layout, &ckpt->config, err) != 0 ||
        model_index_open(&ckpt->index, dir, err) != 0 || open_contents(ckpt, err) != 0) {
        model_checkpoint_close(ckpt);
        return NULL;
    }
    return ckpt;
}

void model_checkpoint_close(struct model_checkpoint *ckpt)
{
    if (!ckpt)
        return;
    model_packed_close(ckpt->packed);
    model_index_close(&ckpt->index);
    free(ckpt->loading);
    free(ckpt->layout.rows);
    free(ckpt->config_text);
    free(ckpt->dir);
    free(ckpt);
}

const struct model_config *model_checkpoint_config(const struct model_checkpoint *ckpt)
{
    return &ckpt->config;
}

const char *model_checkpoint_dir(const struct model_checkpoint *ckpt)
{
    return ckpt->dir;
}

int32_t model_checkpoint_n_files(const struct model_checkpoint *ckpt)
{
    return ckpt->index.n_files;
}

const struct model_safetensors *model_checkpoint_file(const struct model_checkpoint *ckpt,
                                                      int32_t idx)
{
    return ckpt->index.files[idx];
}

/* The path of the file that holds a tensor, for messages. */
static const char *file_of(const struct model_checkpoint *ckpt, const char *name)
{
    const char *file = ckpt->dir;
    model_index_find(&ckpt->index, name, &file);
    return file;
}

const struct model_tensor *model_checkpoint_tensor(const struct model_checkpoint *ckpt,
                                                   const char *name, struct ltd_err *err)
{
    const struct model_layout_row *row = model_layout_find(&ckpt->layout, name);
    if (row && ckpt->packed && row->n_dims == 2)
        return ltd_fail_null(err, LTD_E_NOT_FOUND, "%s: tensor %.100s is packed", ckpt->dir, name);
    if (row)
        return model_index_find(&ckpt->index, name, NULL);
    return ltd_fail_null(err, LTD_E_NOT_FOUND, "%s: the model has no tensor %.100s", ckpt->dir,
                         name);
}

static int check_ranges(const struct model_layout_row *row, const struct model_pack *what,
                        struct ltd_err *err)
{
    if (row->n_dims != 2 || what->n_ranges > MODEL_PACK_MAX_RANGES)
        return ltd_fail(err, LTD_E_INTERNAL,
                        "tensor %s: %d dimensions in %d ranges, expected a "
                        "matrix in at most %d",
                        what->name, row->n_dims, what->n_ranges, MODEL_PACK_MAX_RANGES);
    for (int32_t i = 0; i < what->n_ranges; i++) {
        const struct model_row_range *r = &what->ranges[i];
        if (r->begin < 0 || r->begin > r->end || r->end > row->shape[0])
            return ltd_fail(err, LTD_E_INTERNAL, "tensor %s: rows [%d, %d), expected inside %lld",
                            what->name, r->begin, r->end, (long long)row->shape[0]);
    }
    return 0;
}

static int pack_now(const struct model_checkpoint *ckpt, const struct kern_ctx *ctx,
                    const struct model_pack *what, struct kern_mat *mat, struct ltd_err *err)
{
    const struct model_tensor *t = model_index_find(&ckpt->index, what->name, NULL);
    struct kern_rows rows[MODEL_PACK_MAX_RANGES];
    enum kern_dtype dtype;
    if (kernel_dtype(t->dtype, &dtype) != 0)
        return ltd_fail(err, LTD_E_INTERNAL, "tensor %s: dtype %s", what->name,
                        model_dtype_name(t->dtype));
    for (int32_t i = 0; i < what->n_ranges; i++)
        rows[i] = (struct kern_rows){t->data, dtype, what->ranges[i].begin, what->ranges[i].end};
    if (ctx->ops->mat_pack(ctx, mat, what->format, rows, what->n_ranges, (int32_t)t->shape[1],
                           err) != 0)
        return ltd_err_context(err, "%s: tensor %s", file_of(ckpt, what->name), what->name);
    return 0;
}

int model_checkpoint_pack(const struct model_checkpoint *ckpt, const struct kern_ctx *ctx,
                          const struct model_pack *what, struct kern_mat *mat, struct ltd_err *err)
{
    const struct model_layout_row *row = model_layout_find(&ckpt->layout, what->name);
    if (!row)
        return ltd_fail(err, LTD_E_NOT_FOUND, "%s: the model has no tensor %.100s", ckpt->dir,
                        what->name);
    if (check_ranges(row, what, err) != 0)
        return -1;
    int rc = ckpt->packed ? model_checkpoint_take(ckpt, ctx, what, row, mat, err)
                          : pack_now(ckpt, ctx, what, mat, err);
    if (rc == 0 && ckpt->loading->progress)
        ckpt->loading->progress(ckpt->loading->arg, (int64_t)mat->rows * mat->cols);
    return rc;
}

int model_checkpoint_floats(const struct model_checkpoint *ckpt, const char *name, int64_t begin,
                            int64_t count, float *out, struct ltd_err *err)
{
    const struct model_tensor *t = model_checkpoint_tensor(ckpt, name, err);
    enum kern_dtype dtype;
    if (!t)
        return -1;
    int64_t elements = (int64_t)(t->bytes / model_dtype_bytes(t->dtype));
    if (begin < 0 || count < 0 || begin > elements - count || kernel_dtype(t->dtype, &dtype) != 0)
        return ltd_fail(err, LTD_E_INTERNAL,
                        "tensor %s: elements [%lld, +%lld), expected inside "
                        "%lld",
                        name, (long long)begin, (long long)count, (long long)elements);
    if (ckpt->packed &&
        model_packed_read(ckpt->packed, t, (size_t)begin * sizeof(float),
                          (size_t)(begin + count) * sizeof(float), NULL, 1, err) != 0)
        return -1;
    kern_widen(out, t->data + (size_t)begin * kern_dtype_bytes(dtype), dtype, count);
    for (int64_t i = 0; i < count; i++)
        if (!isfinite(out[i]))
            return ltd_fail(err, LTD_E_CORRUPT,
                            "%s: tensor %s: element %lld is %g, expected a finite number",
                            file_of(ckpt, name), name, (long long)(begin + i), (double)out[i]);
    return 0;
}
