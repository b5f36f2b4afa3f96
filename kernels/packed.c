/* SPDX-License-Identifier: Apache-2.0 */
/* kernels/packed.c - see kernels/packed.h. */
#include "kernels/packed.h"

#include <string.h>

#include "base/size.h"
#include "kernels/tiles.h"

#define ROW_BYTES (KERN_LINE_BYTES / KERN_PANEL_ROWS) /* of one row in a line */

_Static_assert(KERN_PACKED_ROWS == KERN_PANEL_ROWS, "a panel is a panel");

/* Reading a row is what tells a layout: whoever reads tiles keeps tiles. */
bool kern_packed_taken_by(const struct kern_ops *ops)
{
    return ops->mat_row == kern_tiles_mat_row;
}

int32_t kern_packed_panels(int32_t rows)
{
    return kern_panels(rows);
}

size_t kern_packed_panel_bytes(enum kern_format format, int32_t cols, enum kern_packed_part part)
{
    const struct kern_tile_layout layout = kern_tile_layout_of(format);
    return part == KERN_PACKED_TILES ? kern_panel_bytes(&layout, cols)
                                     : kern_panel_scale_bytes(format);
}

bool kern_packed_bytes(enum kern_format format, int32_t rows, int32_t cols, size_t *out)
{
    size_t panel = kern_packed_panel_bytes(format, cols, KERN_PACKED_TILES) +
                   kern_packed_panel_bytes(format, cols, KERN_PACKED_SCALES);
    return ltd_size_mul((size_t)kern_panels(rows), panel, out);
}

int kern_packed_new(struct kern_mat *mat, enum kern_format format, int32_t rows, int32_t cols,
                    struct ltd_err *err)
{
    struct kern_mat out = {.rows = rows, .cols = cols, .format = format};
    if (kern_tiles_alloc(&out, err) != 0)
        return -1;
    *mat = out;
    return 0;
}

int kern_packed_pack(int32_t n_threads, struct kern_mat *mat, enum kern_format format,
                     const struct kern_rows *parts, int32_t n_parts, int32_t cols,
                     struct ltd_err *err)
{
    static const struct kern_ops layout = {.name = "packed", .formats = UINT32_MAX};
    const struct kern_ctx ctx = {&layout, n_threads, KERN_MIN_WORK_DEFAULT};
    return kern_tiles_mat_pack(&ctx, mat, format, parts, n_parts, cols, err);
}

uint8_t *kern_packed_part_of(const struct kern_mat *mat, enum kern_packed_part part)
{
    return part == KERN_PACKED_TILES ? mat->data : mat->scales;
}

static void copy_row(uint8_t *dst, int32_t dst_row, const uint8_t *src, int32_t src_row,
                     size_t panel_bytes)
{
    dst +=
        (size_t)(dst_row / KERN_PANEL_ROWS) * panel_bytes + dst_row % KERN_PANEL_ROWS * ROW_BYTES;
    src +=
        (size_t)(src_row / KERN_PANEL_ROWS) * panel_bytes + src_row % KERN_PANEL_ROWS * ROW_BYTES;
    for (size_t at = 0; at < panel_bytes; at += KERN_LINE_BYTES)
        memcpy(dst + at, src + at, ROW_BYTES);
}

void kern_packed_copy_rows(struct kern_mat *mat, int32_t dst_row, const struct kern_packed *src,
                           int32_t src_row, int32_t n)
{
    for (int p = 0; p < KERN_PACKED_N_PARTS; p++) {
        size_t panel_bytes =
            kern_packed_panel_bytes(src->format, src->cols, (enum kern_packed_part)p);
        for (int32_t i = 0; panel_bytes > 0 && i < n; i++)
            copy_row(kern_packed_part_of(mat, (enum kern_packed_part)p), dst_row + i, src->parts[p],
                     src_row + i, panel_bytes);
    }
}

int kern_packed_borrow(struct kern_mat *mat, const struct kern_packed *src, int32_t begin,
                       int32_t end, struct ltd_err *err)
{
    union {
        const uint8_t *from;
        void *to;
    } parts[KERN_PACKED_N_PARTS] = {{NULL}, {NULL}};
    struct kern_mat out = {
        .rows = end - begin, .cols = src->cols, .format = src->format, .is_borrowed = true};
    ltd_assert(begin % KERN_PANEL_ROWS == 0 && (end % KERN_PANEL_ROWS == 0 || end == src->rows),
               begin, end);
    if (kern_tiles_check(src->format, src->rows, src->cols, err) != 0)
        return -1;
    for (int p = 0; p < KERN_PACKED_N_PARTS && out.rows > 0; p++) {
        size_t panel_bytes =
            kern_packed_panel_bytes(src->format, src->cols, (enum kern_packed_part)p);
        if (panel_bytes == 0)
            continue;
        parts[p].from = src->parts[p] + (size_t)(begin / KERN_PANEL_ROWS) * panel_bytes;
        out.bytes += (size_t)kern_panels(out.rows) * panel_bytes;
    }
    out.data = parts[KERN_PACKED_TILES].to;
    out.scales = parts[KERN_PACKED_SCALES].to;
    *mat = out;
    return 0;
}
