/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/product.h - the frame of a product over the tiles of kernels/tiles.h: everything but the
 * multiplication, for every tier that multiplies by vectors or matrix units.
 *
 *     for each block of up to 128 positions
 *         for each block of columns whose activations fill half of a second-level cache
 *             all threads bring the activations to the operand of the tier, once
 *             thread t, for each of its panels of 16 rows (or some at once), for each chunk
 *                 the tier multiplies: sums += tiles of the chunk times activations
 *
 * so weights are read from memory once per block of positions, and a chunk stays in the first-level
 * cache for all of them. With few positions all columns are one block and a thread reads its panels
 * straight through. Rows are lanes and positions are apart from each other, so no sum is ever cut
 * and no element knows what is computed beside it; between blocks of columns the sums lie in y, bit
 * by bit as they were.
 *
 * A tier describes itself by a `kern_multiplier`; its matmul is one call of kern_product. While it
 * is called for bf16, denormals are flushed as docs/numerics.md#weight-formats asks (MXCSR FTZ and
 * DAZ). Private to kernels/ and its tests.
 */
#ifndef LATENTD_KERNELS_PRODUCT_H
#define LATENTD_KERNELS_PRODUCT_H

#include "kernels/kernels.h"
#include "kernels/operand.h"
#include "kernels/prefetch.h"
#include "kernels/tiles.h"

#define KERN_PRODUCT_MAX_POS    128
#define KERN_PRODUCT_MAX_PANELS 8

/* Some tiles of one panel or several, and what they are multiplied by. A chunk of one panel is
 * small enough to stay in the first-level cache for all positions; where there are more panels, it
 * is the activations that stay for all of these. The slot (kernels/operand.h) of tile t at position
 * p begins at
 *     activations + p * pos_bytes + t * tile_step_bytes
 * and columns that are missing in the last tile of a row are zeros there. */
struct kern_chunk {
    enum kern_format format;
    const uint8_t *tiles;
    const uint8_t *next; /* tiles that this thread reads after them; NULL behind its last ones */
    int32_t n_tiles;
    size_t tile_bytes;
    int32_t n_panels;           /* 1 .. panels_at_once */
    size_t panel_bytes;         /* from one panel's tiles to those of the next one */
    const uint8_t *activations; /* 64-byte aligned, as pos_bytes and tile_step_bytes are */
    size_t pos_bytes, tile_step_bytes;
    int32_t n_pos;                  /* 1 .. KERN_PRODUCT_MAX_POS */
    float (*sums)[KERN_PANEL_ROWS]; /* in/out [n_panels][n_pos], 64-byte aligned; int8: int32 */
    struct kern_cursor *cursor;     /* NULL when nothing is to be asked for ahead */
};

struct kern_multiplier {
    size_t slot_bytes[KERN_N_FORMATS]; /* of the activations of a tile; multiples of 64 */
    /* Activations into their slots. int8: returns the sum of the integers, if the tier has a
     * bias. */
    int32_t (*expand)(const struct kern_operands *operands);
    /* Whether positions of one tile lie side by side, operands of a matrix unit (pos_bytes is that
     * of a slot), or the tiles of one position (tile_step_bytes is). */
    bool tile_by_tile;
    int32_t int8_bias;  /* added to each weight by `multiply`; taken out of the sums again here */
    size_t chunk_bytes; /* of one panel: half of the first-level cache or so */
    int32_t panels_at_once; /* of a chunk, at most KERN_PRODUCT_MAX_PANELS; 0: one */
    int32_t ahead_pages;    /* of the cursor, kernels/prefetch.h; 0: the tier has no use for it */
    /* Around all work of one thread on a block of positions, for state of the thread; NULL:
     * none. */
    void (*enter)(enum kern_format format, int32_t n_pos);
    void (*leave)(void);
    void (*multiply)(const struct kern_chunk *chunk);
};

/* kern_product - y[n_pos][rows] = x[n_pos][cols] times the transpose of mat, which
 * kern_tiles_mat_pack made. Allocates nothing; up to 1 MiB of the caller's stack, and 64 KiB of each
 * thread's. */
void kern_product(const struct kern_ctx *ctx, const struct kern_multiplier *by, float *y,
                  const struct kern_mat *mat, const float *x, int32_t n_pos);

#endif
