/* SPDX-License-Identifier: Apache-2.0 */
/* bench/made_up.c - see bench/made_up.h. */
#include "bench/made_up.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/size.h"
#include "kernels/bf16.h"
#include "model/layout.h"
#include "tools/shape.h"

/* ---- a directory with a hole -------------------------------------------------------------- */

static uint64_t elements_of(const struct model_layout_row *row)
{
    uint64_t n = 1;
    for (int32_t i = 0; i < row->n_dims; i++)
        n *= (uint64_t)row->shape[i];
    return n;
}

/* Vectors are norms: written, in f32. Everything else stays a hole. */
static uint64_t bytes_of(const struct model_layout_row *row)
{
    return elements_of(row) * (row->n_dims == 1 ? 4 : 2);
}

static void put_text(struct ltd_bytes *out, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void put_text(struct ltd_bytes *out, const char *format, ...)
{
    char text[256];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    ltd_bytes_put_str(out, text);
}

static void put_row(struct ltd_bytes *out, const struct model_layout_row *row, uint64_t begin)
{
    put_text(out, "\"%s\":{\"dtype\":\"%s\",\"shape\":[", row->name,
             row->n_dims == 1 ? "F32" : "BF16");
    for (int32_t i = 0; i < row->n_dims; i++)
        put_text(out, i ? ",%" PRId64 : "%" PRId64, row->shape[i]);
    put_text(out, "],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}", begin, begin + bytes_of(row));
}

/* The header of the weight file with its length in front; *data_bytes behind it. */
static void put_header(struct ltd_bytes *out, const struct model_layout *layout,
                       uint64_t *data_bytes)
{
    struct ltd_bytes json;
    uint64_t at = 0;
    ltd_bytes_init(&json);
    for (int32_t i = 0; i < layout->n_rows; i++) {
        ltd_bytes_put_str(&json, i ? "," : "{");
        put_row(&json, &layout->rows[i], at);
        at += bytes_of(&layout->rows[i]);
    }
    ltd_bytes_put_str(&json, "}");
    while (json.len % 8)
        ltd_bytes_put_str(&json, " ");
    ltd_bytes_put_u64(out, json.len);
    ltd_bytes_put(out, json.data, json.len);
    out->failed |= json.failed;
    ltd_bytes_fini(&json);
    *data_bytes = at;
}

static bool write_at(int fd, const void *data, size_t bytes, uint64_t at)
{
    return pwrite(fd, data, bytes, (off_t)at) == (ssize_t)bytes;
}

static bool write_norms(int fd, const struct model_layout *layout, uint64_t at)
{
    bool ok = true;
    for (int32_t i = 0; i < layout->n_rows && ok; i++) {
        const struct model_layout_row *row = &layout->rows[i];
        if (row->n_dims == 1) {
            float *ones = calloc((size_t)row->shape[0], sizeof *ones);
            for (int64_t k = 0; ones && k < row->shape[0]; k++)
                ones[k] = 1.0f;
            ok = ones && write_at(fd, ones, bytes_of(row), at);
            free(ones);
        }
        at += bytes_of(row);
    }
    return ok;
}

static int write_weights(const char *path, const struct model_layout *layout, struct ltd_err *err)
{
    struct ltd_bytes header;
    uint64_t data_bytes;
    ltd_bytes_init(&header);
    put_header(&header, layout, &data_bytes);
    int fd = open(path, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
    bool ok = fd >= 0 && !header.failed && write_at(fd, header.data, header.len, 0) &&
              ftruncate(fd, (off_t)(header.len + data_bytes)) == 0 &&
              write_norms(fd, layout, header.len);
    int rc = ok ? 0 : ltd_fail(err, LTD_E_INTERNAL, "write %s: %s", path, strerror(errno));
    if (fd >= 0)
        close(fd);
    ltd_bytes_fini(&header);
    return rc;
}

static int write_config(const char *path, const struct model_config *shape, struct ltd_err *err)
{
    struct ltd_bytes text;
    ltd_bytes_init(&text);
    tool_shape_config_json(shape, "bfloat16", &text);
    FILE *f = fopen(path, "we");
    bool ok = f && !text.failed && fwrite(text.data, 1, text.len, f) == text.len;
    ok = (!f || fclose(f) == 0) && ok;
    ltd_bytes_fini(&text);
    return ok ? 0 : ltd_fail(err, LTD_E_INTERNAL, "write %s: %s", path, strerror(errno));
}

struct model_checkpoint *made_up_open(const struct model_config *shape, struct ltd_err *err)
{
    const char *tmp = getenv("TMPDIR");
    char dir[PATH_MAX], config[PATH_MAX + 32], weights[PATH_MAX + 32];
    struct model_layout layout;
    struct model_checkpoint *ckpt = NULL;
    snprintf(dir, sizeof dir, "%s/ltd-made-up-XXXXXX", tmp ? tmp : "/tmp");
    if (model_layout_build(&layout, shape, err) != 0)
        return NULL;
    if (!mkdtemp(dir)) {
        free(layout.rows);
        return ltd_fail_null(err, LTD_E_INTERNAL, "make a directory %s: %s", dir, strerror(errno));
    }
    snprintf(config, sizeof config, "%s/config.json", dir);
    snprintf(weights, sizeof weights, "%s/model.safetensors", dir);
    if (write_config(config, shape, err) == 0 && write_weights(weights, &layout, err) == 0)
        ckpt = model_checkpoint_open(dir, err);
    unlink(config); /* the mapping stays */
    unlink(weights);
    rmdir(dir);
    free(layout.rows);
    return ckpt;
}

/* ---- numbers ------------------------------------------------------------------------------ */

static const struct kern_ops *real;
static uint16_t *block; /* [MADE_UP_ROWS][max_cols], read with any number of columns up to that */

static int pack_made_up(const struct kern_ctx *ctx, struct kern_mat *mat, enum kern_format format,
                        const struct kern_rows *parts, int32_t n_parts, int32_t cols,
                        struct ltd_err *err)
{
    int32_t n_pieces = 0, most = 0;
    for (int32_t p = 0; p < n_parts; p++)
        most += (parts[p].row_end - parts[p].row_begin) / MADE_UP_ROWS + 2;
    struct kern_rows *pieces = calloc((size_t)most, sizeof *pieces);
    if (!pieces)
        return ltd_fail(err, LTD_E_EXHAUSTED, "no memory for %d pieces", most);
    for (int32_t p = 0; p < n_parts; p++)
        for (int32_t row = parts[p].row_begin; row < parts[p].row_end;) {
            int32_t at = row % MADE_UP_ROWS, left = parts[p].row_end - row;
            int32_t n = left < MADE_UP_ROWS - at ? left : MADE_UP_ROWS - at;
            pieces[n_pieces++] = (struct kern_rows){block, KERN_DTYPE_BF16, at, at + n};
            row += n;
        }
    int rc = real->mat_pack(ctx, mat, format, pieces, n_pieces, cols, err);
    free(pieces);
    return rc;
}

int made_up_ops(struct kern_ops *ops, const struct kern_ops *tier, int32_t max_cols,
                struct ltd_err *err)
{
    size_t n = (size_t)MADE_UP_ROWS * (size_t)max_cols;
    uint64_t state = 1;
    block = ltd_alloc(n, sizeof *block);
    if (!block)
        return ltd_fail(err, LTD_E_EXHAUSTED, "no memory for %zu numbers", n);
    for (size_t i = 0; i < n; i++) {
        state = state * 6364136223846793005ull + 1442695040888963407ull;
        /* Products of rows like these with normed vectors have about their size. */
        block[i] = kern_bf16_round(((float)(state >> 40) * 0x1p-24f - 0.5f) * 0.05f);
    }
    real = tier;
    *ops = *tier;
    ops->mat_pack = pack_made_up;
    return 0;
}

void made_up_forget(void)
{
    ltd_free(block);
    block = NULL;
}
