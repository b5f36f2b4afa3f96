/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/tiles.h - where a weight lies in memory for every tier that multiplies by vectors or
 * matrix units.
 *
 * A packed matrix is cut into panels of 16 output rows, a panel into tiles of 32 columns (int8 and
 * int4: 64), a tile into lines of 64 bytes that hold neighbouring columns of all 16 rows:
 *
 *     panel 0: tile 0, tile 1, ...   panel 1: ...          int8: then 16 scales per panel
 *     bf16 tile, 16 lines:  line i = row 0 columns 2i, 2i+1, row 1 columns 2i, 2i+1, ... row 15
 *     int8 tile, 16 lines:  line i = row 0 columns 4i .. 4i+3, row 1 ...
 *     f32 tile,  32 lines:  line i = row 0 column i, row 1 column i, ...
 *     int4 tile,  9 lines:  line i = row 0 columns 8i .. 8i+3 in the lower halves of four bytes and
 *                           columns 8i+4 .. 8i+7 in the upper ones, row 1 ...; integers plus 8
 *                           line 8 = row 0 scales (bf16) of columns 0 .. 31 and 32 .. 63, row 1 ...
 *
 * bf16 and int8 tiles of 1 KiB are the right-hand operands of AMX; the halves of an int4 line,
 * spread out, are two lines of int8. The scales of int4 lie in the stream, because they are an
 * eighth of it. Rows and columns that are missing at the end are zeros (int4: zero bytes, that is
 * -8 with a scale of 0 or an activation of 0). A thread reads its panels from first to last. Tiers
 * that share this layout share their matrices: packing is done here, once for all of them. Private
 * to kernels/ and its tests.
 *
 * What lies in files is this layout, too (kernels/packed.h), and a shard's rows need not begin
 * where panels do. So every format keeps two rules, for tiles and for scales: each panel has
 * equally many lines, and in a line each of the 16 rows has KERN_LINE_BYTES / 16 neighbouring
 * bytes, in the order of rows. A format that changes how it is laid down must change
 * KERN_PACKED_VERSION.
 */
#ifndef LATENTD_KERNELS_TILES_H
#define LATENTD_KERNELS_TILES_H

#include "kernels/int4.h"
#include "kernels/kernels.h"

#define KERN_PANEL_ROWS 16
#define KERN_LINE_BYTES 64

/* How a format fills a tile. */
struct kern_tile_layout {
    int32_t tile_cols;
    int32_t line_cols;     /* columns of each row in one line */
    int32_t element_bytes; /* int4: 0, see kern_tile_int4_at */
    int32_t scale_lines;   /* behind the lines of elements */
};

static inline struct kern_tile_layout kern_tile_layout_of(enum kern_format format)
{
    if (format == KERN_F32)
        return (struct kern_tile_layout){32, 1, 4, 0};
    if (format == KERN_BF16)
        return (struct kern_tile_layout){32, 2, 2, 0};
    if (format == KERN_INT4)
        return (struct kern_tile_layout){64, 8, 0, 1};
    return (struct kern_tile_layout){64, 4, 1, 0};
}

static inline int32_t kern_tiles(const struct kern_tile_layout *layout, int32_t cols)
{
    return (int32_t)(((int64_t)cols + layout->tile_cols - 1) / layout->tile_cols);
}

static inline int32_t kern_panels(int32_t rows)
{
    return (int32_t)(((int64_t)rows + KERN_PANEL_ROWS - 1) / KERN_PANEL_ROWS);
}

static inline size_t kern_tile_bytes(const struct kern_tile_layout *layout)
{
    int32_t lines = layout->tile_cols / layout->line_cols + layout->scale_lines;
    return (size_t)lines * KERN_LINE_BYTES;
}

static inline size_t kern_panel_bytes(const struct kern_tile_layout *layout, int32_t cols)
{
    return (size_t)kern_tiles(layout, cols) * kern_tile_bytes(layout);
}

/* Where element (row of the panel, column) of a panel begins; not for int4. */
static inline size_t kern_tile_element_at(const struct kern_tile_layout *layout, int32_t row,
                                          int32_t col)
{
    size_t line = (size_t)(col / layout->line_cols);
    size_t in_line = (size_t)(row * layout->line_cols + col % layout->line_cols);
    return line * KERN_LINE_BYTES + in_line * (size_t)layout->element_bytes;
}

/* Where the byte of an int4 element (row of the panel, column) lies in its panel, and how far to
 * the left in it. */
static inline size_t kern_tile_int4_at(int32_t row, int32_t col, int *shift)
{
    const struct kern_tile_layout layout = kern_tile_layout_of(KERN_INT4);
    int32_t in_tile = col % layout.tile_cols;
    *shift = in_tile % layout.line_cols / 4 * 4;
    return (size_t)(col / layout.tile_cols) * kern_tile_bytes(&layout) +
           (size_t)(in_tile / layout.line_cols * KERN_LINE_BYTES + row * 4 + in_tile % 4);
}

/* Where the scale (bf16) of the group of a column lies in its panel. */
static inline size_t kern_tile_int4_scale_at(int32_t row, int32_t col)
{
    const struct kern_tile_layout layout = kern_tile_layout_of(KERN_INT4);
    int32_t group = col % layout.tile_cols / KERN_INT4_GROUP;
    return (size_t)(col / layout.tile_cols + 1) * kern_tile_bytes(&layout) - KERN_LINE_BYTES +
           (size_t)(row * 2 + group) * sizeof(uint16_t);
}

/* Bytes of scales that go with a panel; behind the tiles of all panels, unless the matrix is
 * borrowed. */
static inline size_t kern_panel_scale_bytes(enum kern_format format)
{
    return format == KERN_INT8 ? KERN_PANEL_ROWS * sizeof(float) : 0;
}

/* The scales of an int8 matrix [panels * 16]. */
static inline float *kern_tile_scales(const struct kern_mat *mat)
{
    return mat->scales;
}

/* kern_tiles_check - LTD_E_UNIMPLEMENTED for a shape that the format cannot have. */
int kern_tiles_check(enum kern_format format, int32_t rows, int32_t cols, struct ltd_err *err);

/*
 * kern_tiles_alloc - zeros in the shape of a matrix; mat->rows, cols and format are set by the
 * caller.
 * Errors: LTD_E_EXHAUSTED; those of kern_tiles_check.
 */
int kern_tiles_alloc(struct kern_mat *mat, struct ltd_err *err);

/* mat_pack and mat_row of kernels/kernels.h for this layout. */
int kern_tiles_mat_pack(const struct kern_ctx *ctx, struct kern_mat *mat, enum kern_format format,
                        const struct kern_rows *parts, int32_t n_parts, int32_t cols,
                        struct ltd_err *err);
void kern_tiles_mat_row(const struct kern_ctx *ctx, const struct kern_mat *mat, int32_t row,
                        float *out);

#endif
