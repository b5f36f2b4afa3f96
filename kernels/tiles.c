/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/tiles.c - laying weights down in panels, tiles and lines (kernels/tiles.h).
 *
 * Panels are packed side by side by the threads; within one, a row is read piece by piece and its
 * elements are put where they belong. ltd_alloc gives zeros, so what is missing stays zero.
 */
#include "kernels/tiles.h"

#include <string.h>

#include "base/size.h"
#include "kernels/bf16.h"
#include "kernels/int8.h"
#include "kernels/pack.h"
#include "kernels/parallel.h"

/* Bounds the activations of one position in the kernels, far above any model. */
#define MAX_COLS (1 << 24)

int kern_tiles_check(enum kern_format format, int32_t rows, int32_t cols, struct ltd_err *err)
{
    int32_t most = format == KERN_INT8 ? KERN_INT8_MAX_COLS : MAX_COLS;
    if (cols > most)
        return ltd_fail(err, LTD_E_UNIMPLEMENTED, "%d columns in %s, expected at most %d", cols,
                        kern_format_name(format), most);
    if (rows > INT32_MAX - KERN_PANEL_ROWS)
        return ltd_fail(err, LTD_E_UNIMPLEMENTED, "%d rows, expected at most %d", rows,
                        INT32_MAX - KERN_PANEL_ROWS);
    return 0;
}

int kern_tiles_alloc(struct kern_mat *mat, struct ltd_err *err)
{
    const struct kern_tile_layout layout = kern_tile_layout_of(mat->format);
    size_t panels = (size_t)kern_panels(mat->rows), tiles, scales;
    if (kern_tiles_check(mat->format, mat->rows, mat->cols, err) != 0)
        return -1;
    mat->data = mat->scales = NULL;
    mat->bytes = 0;
    mat->is_borrowed = false;
    if (mat->rows == 0)
        return 0;
    if (!ltd_size_mul(panels, kern_panel_bytes(&layout, mat->cols), &tiles) ||
        !ltd_size_mul(panels, kern_panel_scale_bytes(mat->format), &scales) ||
        !ltd_size_add(tiles, scales, &mat->bytes) || !(mat->data = ltd_alloc(mat->bytes, 1)))
        return ltd_fail(err, LTD_E_EXHAUSTED, "no memory for a matrix of %d x %d %s", mat->rows,
                        mat->cols, kern_format_name(mat->format));
    if (scales > 0)
        mat->scales = (uint8_t *)mat->data + tiles;
    return 0;
}

static void put_f32(uint8_t *panel, int32_t row, int32_t col, const float *piece, int32_t n)
{
    const struct kern_tile_layout layout = kern_tile_layout_of(KERN_F32);
    for (int32_t i = 0; i < n; i++)
        memcpy(panel + kern_tile_element_at(&layout, row, col + i), &piece[i], sizeof *piece);
}

static void put_bf16(uint8_t *panel, int32_t row, int32_t col, const float *piece, int32_t n)
{
    const struct kern_tile_layout layout = kern_tile_layout_of(KERN_BF16);
    for (int32_t i = 0; i < n; i++) {
        uint16_t half = kern_bf16_round(piece[i]);
        memcpy(panel + kern_tile_element_at(&layout, row, col + i), &half, sizeof half);
    }
}

static void put_int8(uint8_t *panel, int32_t row, int32_t col, const float *piece, int32_t n,
                     float scale)
{
    const struct kern_tile_layout layout = kern_tile_layout_of(KERN_INT8);
    int8_t integers[KERN_PACK_PIECE];
    kern_int8_round(integers, piece, n, scale);
    for (int32_t i = 0; i < n; i++)
        panel[kern_tile_element_at(&layout, row, col + i)] = (uint8_t)integers[i];
}

/* `col` begins a group: pieces are whole groups. */
static void put_int4(uint8_t *panel, int32_t row, int32_t col, const float *piece, int32_t n)
{
    int8_t integers[KERN_INT4_GROUP];
    for (int32_t g = 0; g < n; g += KERN_INT4_GROUP) {
        int32_t count = n - g < KERN_INT4_GROUP ? n - g : KERN_INT4_GROUP;
        uint16_t scale = kern_int4_scale(piece + g, count);
        memcpy(panel + kern_tile_int4_scale_at(row, col + g), &scale, sizeof scale);
        kern_int4_round(integers, piece + g, count, kern_bf16_widen(scale));
        for (int32_t i = 0; i < count; i++) {
            int shift;
            uint8_t *at = panel + kern_tile_int4_at(row, col + g + i, &shift);
            *at = (uint8_t)(*at | (unsigned)(integers[i] + 8) << shift);
        }
    }
}

static void put(struct kern_mat *mat, int32_t row, int32_t col, const float *piece, int32_t n)
{
    const struct kern_tile_layout layout = kern_tile_layout_of(mat->format);
    size_t panel_bytes = kern_panel_bytes(&layout, mat->cols);
    uint8_t *panel = (uint8_t *)mat->data + (size_t)(row / KERN_PANEL_ROWS) * panel_bytes;
    int32_t in_panel = row % KERN_PANEL_ROWS;
    switch (mat->format) {
    case KERN_F32:
        put_f32(panel, in_panel, col, piece, n);
        break;
    case KERN_BF16:
        put_bf16(panel, in_panel, col, piece, n);
        break;
    case KERN_INT8:
        put_int8(panel, in_panel, col, piece, n, kern_tile_scales(mat)[row]);
        break;
    case KERN_INT4:
        put_int4(panel, in_panel, col, piece, n);
        break;
    case KERN_N_FORMATS:
        break;
    }
}

/* Packs the rows of one panel; the first row that cannot be kept, or `none`. */
static int32_t pack_panel(struct kern_mat *mat, const struct kern_rows *parts, int32_t panel,
                          int32_t none)
{
    int32_t begin = panel * KERN_PANEL_ROWS, cols = mat->cols;
    int32_t end = mat->rows - begin < KERN_PANEL_ROWS ? mat->rows : begin + KERN_PANEL_ROWS;
    float piece[KERN_PACK_PIECE];
    for (int32_t row = begin; row < end; row++) {
        uint32_t largest = kern_pack_largest(parts, row, cols);
        if (!kern_pack_fits(largest, mat->format))
            return row;
        if (mat->format == KERN_INT8)
            kern_tile_scales(mat)[row] = kern_int8_scale(largest);
    }
    /* Column by column of pieces, so that a line is filled while it is in the first-level cache. */
    for (int32_t c = 0; c < cols; c += KERN_PACK_PIECE)
        for (int32_t row = begin; row < end; row++) {
            int32_t n = cols - c < KERN_PACK_PIECE ? cols - c : KERN_PACK_PIECE;
            kern_pack_read(piece, parts, row, cols, c, n);
            put(mat, row, c, piece, n);
        }
    return none;
}

int kern_tiles_mat_pack(const struct kern_ctx *ctx, struct kern_mat *mat, enum kern_format format,
                        const struct kern_rows *parts, int32_t n_parts, int32_t cols,
                        struct ltd_err *err)
{
    int32_t rows = kern_pack_rows(parts, n_parts), bad_row = rows;
    struct kern_mat out = {.rows = rows, .cols = cols, .format = format};
    if (!kern_tier_has(ctx->ops, format))
        return ltd_fail(err, LTD_E_UNIMPLEMENTED, "kernel tier %s has no format %d", ctx->ops->name,
                        format);
    if (kern_tiles_alloc(&out, err) != 0)
        return -1;
    int threads = kern_threads(ctx, (int64_t)rows * cols);
#pragma omp parallel for num_threads(threads) reduction(min : bad_row)
    for (int32_t p = 0; p < kern_panels(rows); p++) {
        int32_t row = pack_panel(&out, parts, p, rows);
        bad_row = row < bad_row ? row : bad_row;
    }
    if (bad_row < rows) {
        kern_mat_fini(&out);
        return kern_pack_refuse(parts, bad_row, cols, format, err);
    }
    *mat = out;
    return 0;
}

static float int4_element(const uint8_t *panel, int32_t row, int32_t col)
{
    int shift;
    uint16_t scale;
    memcpy(&scale, panel + kern_tile_int4_scale_at(row, col), sizeof scale);
    int integer = panel[kern_tile_int4_at(row, col, &shift)];
    integer = (integer >> shift & 15) - 8;
    return (float)integer * kern_bf16_widen(scale);
}

void kern_tiles_mat_row(const struct kern_ctx *ctx, const struct kern_mat *mat, int32_t row,
                        float *out)
{
    (void)ctx;
    const struct kern_tile_layout layout = kern_tile_layout_of(mat->format);
    const uint8_t *panel = (const uint8_t *)mat->data +
                           (size_t)(row / KERN_PANEL_ROWS) * kern_panel_bytes(&layout, mat->cols);
    for (int32_t c = 0; c < mat->cols; c++) {
        const uint8_t *at = panel + kern_tile_element_at(&layout, row % KERN_PANEL_ROWS, c);
        uint16_t half;
        switch (mat->format) {
        case KERN_F32:
            memcpy(&out[c], at, sizeof *out);
            break;
        case KERN_BF16:
            memcpy(&half, at, sizeof half);
            out[c] = kern_bf16_widen(half);
            break;
        case KERN_INT8:
            out[c] = (float)(int8_t)*at * kern_tile_scales(mat)[row];
            break;
        case KERN_INT4:
            out[c] = int4_element(panel, row % KERN_PANEL_ROWS, c);
            break;
        case KERN_N_FORMATS:
            break;
        }
    }
}
