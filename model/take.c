/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model/take.c - matrices of a packed directory: lent, or copied, and checked on the way.
 *
 *     rows are whole panels, in one range     lent: the matrix lies in the mapped file
 *     rows are whole panels, in several       copied as bytes, block by block behind its checksum
 *     anything else                           checked, then copied row by row
 *
 * Every byte of the source is read once in the first two cases. Which case it is changes no result.
 */
#include <string.h>

#include "model/checkpoint_private.h"

#define PANEL KERN_PACKED_ROWS
/* Below this a copy costs nothing, and huge pages make a matrix that stays in a cache faster. */
#define LEND_BYTES ((size_t)8 << 20)

#define SMALL_WEIGHTS (1 << 18) /* waking threads for fewer costs more than it wins */

/* A matrix on its way from the file to the kernels. */
struct taking {
    const struct model_packed *packed;
    const struct model_tensor *tensor;
    struct kern_packed src;
    struct model_row_range ranges[MODEL_PACK_MAX_RANGES]; /* neighbours joined, none empty */
    int32_t n_ranges;
    int32_t n_threads;
};

static void join_ranges(struct taking *t, const struct model_pack *what)
{
    for (int32_t i = 0; i < what->n_ranges; i++) {
        const struct model_row_range *r = &what->ranges[i];
        if (r->begin == r->end)
            continue;
        if (t->n_ranges > 0 && t->ranges[t->n_ranges - 1].end == r->begin)
            t->ranges[t->n_ranges - 1].end = r->end;
        else
            t->ranges[t->n_ranges++] = *r;
    }
}

static int32_t count_rows(const struct taking *t)
{
    int32_t rows = 0;
    for (int32_t i = 0; i < t->n_ranges; i++)
        rows += t->ranges[i].end - t->ranges[i].begin;
    return rows;
}

/* Panels of the file are panels of the matrix: only at the end of both may one be cut. */
static bool is_whole_panels(const struct taking *t)
{
    for (int32_t i = 0; i < t->n_ranges; i++) {
        const struct model_row_range *r = &t->ranges[i];
        bool ends = r->end % PANEL == 0 || (r->end == t->src.rows && i == t->n_ranges - 1);
        if (r->begin % PANEL != 0 || !ends)
            return false;
    }
    return true;
}

static size_t panel_bytes(const struct taking *t, enum kern_packed_part part)
{
    return kern_packed_panel_bytes(t->src.format, t->src.cols, part);
}

/* Check the panels of a range in both parts, and copy them to panel `to` of `mat` unless it is
 * NULL. */
static int read_panels(const struct taking *t, const struct model_row_range *r,
                       const struct kern_mat *mat, int32_t to, struct ltd_err *err)
{
    size_t first = (size_t)(r->begin / PANEL), last = (size_t)kern_packed_panels(r->end);
    for (int i = 0; i < KERN_PACKED_N_PARTS; i++) {
        enum kern_packed_part part = (enum kern_packed_part)i;
        size_t bytes = panel_bytes(t, part), at = (size_t)(t->src.parts[i] - t->tensor->data);
        if (bytes == 0)
            continue;
        uint8_t *dst = mat ? kern_packed_part_of(mat, part) + (size_t)to * bytes : NULL;
        if (model_packed_read(t->packed, t->tensor, at + first * bytes, at + last * bytes, dst,
                              t->n_threads, err) != 0)
            return -1;
    }
    return 0;
}

static void copy_rows(const struct taking *t, const struct model_row_range *r, struct kern_mat *mat,
                      int32_t to)
{
    int32_t n = r->end - r->begin;
    bool is_small = (int64_t)n * t->src.cols < SMALL_WEIGHTS || t->n_threads < 1;
    int threads = is_small ? 1 : (int)t->n_threads;
#pragma omp parallel for num_threads(threads)
    for (int32_t i = 0; i < n; i++)
        kern_packed_copy_rows(mat, to + i, &t->src, r->begin + i, 1);
}

static int copy(const struct taking *t, struct kern_mat *mat, struct ltd_err *err)
{
    bool as_bytes = is_whole_panels(t);
    if (kern_packed_new(mat, t->src.format, count_rows(t), t->src.cols, err) != 0)
        return -1;
    for (int32_t i = 0, to = 0; i < t->n_ranges; i++) {
        const struct model_row_range *r = &t->ranges[i];
        if (read_panels(t, r, as_bytes ? mat : NULL, to / PANEL, err) != 0) {
            kern_mat_fini(mat);
            return -1;
        }
        if (!as_bytes)
            copy_rows(t, r, mat, to);
        to += r->end - r->begin;
    }
    return 0;
}

static bool is_to_be_lent(const struct taking *t, enum model_use use)
{
    size_t bytes;
    if (t->n_ranges != 1 || !is_whole_panels(t) || use == MODEL_USE_COPY)
        return false;
    return use == MODEL_USE_MMAP ||
           (kern_packed_bytes(t->src.format, count_rows(t), t->src.cols, &bytes) &&
            bytes >= LEND_BYTES);
}

int model_checkpoint_take(const struct model_checkpoint *ckpt, const struct kern_ctx *ctx,
                          const struct model_pack *what, const struct model_layout_row *row,
                          struct kern_mat *mat, struct ltd_err *err)
{
    char name[MODEL_PACKED_NAME_BYTES];
    if (model_checkpoint_offers(ckpt, what->format, true, ctx->ops, err) != 0)
        return -1;
    const struct model_tensor *tensor =
        model_index_find(&ckpt->index, model_packed_name(name, what->name, what->format), NULL);
    if (!tensor)
        return model_checkpoint_offers(ckpt, what->format, false, ctx->ops, err);
    int32_t rows = (int32_t)row->shape[0], cols = (int32_t)row->shape[1];
    size_t tiles = (size_t)kern_packed_panels(rows) *
                   kern_packed_panel_bytes(what->format, cols, KERN_PACKED_TILES);
    struct taking t = {
        .packed = ckpt->packed,
        .tensor = tensor,
        .src = {what->format, rows, cols, {tensor->data, tensor->data + tiles}},
        .n_threads = ctx->n_threads,
    };
    join_ranges(&t, what);
    if (!is_to_be_lent(&t, ckpt->loading->use))
        return copy(&t, mat, err);
    if (read_panels(&t, &t.ranges[0], NULL, 0, err) != 0 ||
        kern_packed_borrow(mat, &t.src, t.ranges[0].begin, t.ranges[0].end, err) != 0)
        return -1;
    ckpt->loading->is_lent = true;
    return 0;
}

/* ------------------------------------------------------------------------------------ terms */

const struct model_packed *model_checkpoint_packed(const struct model_checkpoint *ckpt)
{
    return ckpt->packed;
}

enum kern_format model_checkpoint_format(const struct model_checkpoint *ckpt)
{
    return ckpt->packed ? model_packed_formats(ckpt->packed)->items[0] : KERN_F32;
}

int model_checkpoint_offers(const struct model_checkpoint *ckpt, enum kern_format format,
                            bool only_block, const struct kern_ops *ops, struct ltd_err *err)
{
    char text[MODEL_PACKED_FORMATS_BYTES];
    if (!ckpt->packed)
        return 0;
    const struct model_packed_formats *formats = model_packed_formats(ckpt->packed);
    const char *first = kern_format_name(formats->items[0]);
    if (ops && !kern_packed_taken_by(ops))
        return ltd_fail(err, LTD_E_INVALID,
                        "%s is packed for tiers that keep weights in " KERN_PACKED_LAYOUT
                        ", tier %s does not: expected another tier, or the directory that was "
                        "packed",
                        ckpt->dir, ops->name);
    if (model_packed_holds(formats, only_block ? MODEL_NAME_ADAPTER : MODEL_NAME_WTE, format))
        return 0;
    return ltd_fail(err, LTD_E_INVALID,
                    "%s is packed in %s%s, not in %s: expected format = %s, or another packed "
                    "directory",
                    ckpt->dir, model_packed_formats_text(formats, text),
                    formats->n > 1 ? " (all but the first for the recurrent block alone)" : "",
                    kern_format_name(format), first);
}

int model_use_parse(const char *text, enum model_use *out)
{
    static const char *const names[] = {
        [MODEL_USE_AUTO] = "auto", [MODEL_USE_MMAP] = "mmap", [MODEL_USE_COPY] = "copy"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(text, names[i]) == 0) {
            *out = (enum model_use)i;
            return 0;
        }
    return -1;
}

void model_checkpoint_set_use(struct model_checkpoint *ckpt, enum model_use use)
{
    ckpt->loading->use = use;
}

void model_checkpoint_set_progress(struct model_checkpoint *ckpt, model_progress_fn fn, void *arg)
{
    ckpt->loading->progress = fn;
    ckpt->loading->arg = arg;
}

bool model_checkpoint_is_lent(const struct model_checkpoint *ckpt)
{
    return ckpt->loading->is_lent;
}
