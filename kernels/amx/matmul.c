/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/amx/matmul.c - sums += activations times weights, by tiles of 16 x 64 bytes.
 *
 * The frame of kernels/product.h brings 8 panels of 16 rows at a time, 8 tiles of columns of each,
 * and the activations of up to 128 positions, tile by tile: 64 positions of 8 tiles are 32 KiB and
 * stay in the first-level cache for all panels, and each tile of weights is loaded once per 64
 * positions. Sums wait in memory between two such chunks; they are f32 or int32 in tiles, too, so
 * no bit is lost.
 *
 *     positions   sums in tiles 0 .. 3              activations ("left")    weights ("right")
 *     1 .. 16     4 panels                          7                       4, 5, 6
 *     17 .. 32    2 panels x (16, rest)             6 and 7 = rest          4, 5
 *     33 .. 64    1 panel x (16, 16, 16, rest)      5, 6 and 7 = rest       4
 *
 * The last group of positions has tiles of its own (7 and the last sums), because their number of
 * rows is another one. Rows are apart from each other, so an element's bits do not depend on this
 * choice. Denormals are flushed by the instruction itself, whatever MXCSR says.
 *
 * The only file of the tier with instructions of AMX; entered only after kern_amx_init said yes. It
 * holds no others that a processor of the tests may lack, so that tests can execute these by
 * emulation (tests/kernels/amx_emulator.h).
 */
#include "kernels/amx/amx.h"

#include "kernels/operand.h"
#include "kernels/product.h"

#if defined(__x86_64__) && defined(__linux__)
#include <immintrin.h>

#define INLINE static inline __attribute__((always_inline))

#define TILE_ROWS 16
#define MOST_LEFT 4 /* groups of 16 positions that sums have tiles for */

/* What ldtilecfg reads. */
struct tile_config {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
};

_Static_assert(sizeof(struct tile_config) == 64, "a tile configuration has 64 bytes");

/* One call: some panels times up to 64 positions. */
struct part {
    const uint8_t *right;           /* first tile of the first panel */
    size_t panel_bytes;             /* from a panel's tiles to those of the next */
    const uint8_t *left;            /* first position at the first tile: rows of 64 bytes */
    size_t left_bytes;              /* from one tile of columns to the next */
    float (*sums)[KERN_PANEL_ROWS]; /* of the first panel and position */
    size_t panel_sums;              /* from one panel to the next, in positions */
    int32_t n_tiles;
    struct kern_cursor *cursor;
};

/* gcc 12 tells its optimiser that ldtilecfg reads 8 of the 64 bytes, so it may leave out the stores
 * of all others. The empty assembly takes the address and claims to look at all memory. */
static void load_config(const struct tile_config *config)
{
    __asm__ volatile("" ::"r"(config) : "memory");
    _tile_loadconfig(config);
}

/* Groups of 16 positions, and how many are in the last one. */
static int32_t left_tiles(int32_t n_pos)
{
    return (n_pos + TILE_ROWS - 1) / TILE_ROWS;
}

/* Which sums are of the last group: the picture above. */
static void configure(int32_t n_pos)
{
    int32_t n_left = left_tiles(n_pos);
    uint8_t last = (uint8_t)(n_pos - (n_left - 1) * TILE_ROWS);
    struct tile_config config = {.palette = 1};
    for (int t = 0; t < 8; t++) {
        config.rows[t] = TILE_ROWS;
        config.row_bytes[t] = KERN_LINE_BYTES;
    }
    for (int t = n_left == 1 ? 0 : n_left == 2 ? 2 : 3; t < 4; t++)
        config.rows[t] = last;
    config.rows[7] = last;
    load_config(&config);
}

/* ---- tiles ---------------------------------------------------------------------------------- */

#define SUM_AT(panel, group) (p->sums + (size_t)(panel)*p->panel_sums + (size_t)(group)*TILE_ROWS)

#define LOAD_SUM(tile, panel, group)  _tile_loadd(tile, SUM_AT(panel, group), KERN_LINE_BYTES)
#define STORE_SUM(tile, panel, group) _tile_stored(tile, SUM_AT(panel, group), KERN_LINE_BYTES)

/* Tile t of columns. */
#define LOAD_RIGHT(tile, panel)                                                                    \
    _tile_loadd(tile, p->right + (size_t)(panel)*p->panel_bytes + (size_t)t * TILE_BYTES,          \
                KERN_LINE_BYTES)
#define LOAD_LEFT(tile, group)                                                                     \
    _tile_loadd(tile, p->left + (size_t)t * p->left_bytes + (size_t)(group)*TILE_BYTES,            \
                KERN_LINE_BYTES)

#define TILE_BYTES (TILE_ROWS * KERN_LINE_BYTES)

#define MULTIPLY(sum, left, right)                                                                 \
    do {                                                                                           \
        if (format == KERN_INT8)                                                                   \
            _tile_dpbssd(sum, left, right);                                                        \
        else                                                                                       \
            _tile_dpbf16ps(sum, left, right);                                                      \
    } while (0)

/* 4 panels times 1 to 16 positions. */
INLINE void wide(enum kern_format format, const struct part *p)
{
    LOAD_SUM(0, 0, 0);
    LOAD_SUM(1, 1, 0);
    LOAD_SUM(2, 2, 0);
    LOAD_SUM(3, 3, 0);
    for (int32_t t = 0; t < p->n_tiles; t++) {
        LOAD_LEFT(7, 0);
        LOAD_RIGHT(4, 0);
        MULTIPLY(0, 7, 4);
        LOAD_RIGHT(5, 1);
        MULTIPLY(1, 7, 5);
        LOAD_RIGHT(6, 2);
        MULTIPLY(2, 7, 6);
        LOAD_RIGHT(4, 3);
        MULTIPLY(3, 7, 4);
        kern_cursor_used(p->cursor, 4 * TILE_BYTES);
    }
    STORE_SUM(0, 0, 0);
    STORE_SUM(1, 1, 0);
    STORE_SUM(2, 2, 0);
    STORE_SUM(3, 3, 0);
}

/* 2 panels times 17 to 32 positions. */
INLINE void square(enum kern_format format, const struct part *p)
{
    LOAD_SUM(0, 0, 0);
    LOAD_SUM(1, 1, 0);
    LOAD_SUM(2, 0, 1);
    LOAD_SUM(3, 1, 1);
    for (int32_t t = 0; t < p->n_tiles; t++) {
        LOAD_LEFT(6, 0);
        LOAD_RIGHT(4, 0);
        MULTIPLY(0, 6, 4);
        LOAD_RIGHT(5, 1);
        MULTIPLY(1, 6, 5);
        LOAD_LEFT(7, 1);
        MULTIPLY(2, 7, 4);
        MULTIPLY(3, 7, 5);
        kern_cursor_used(p->cursor, 2 * TILE_BYTES);
    }
    STORE_SUM(0, 0, 0);
    STORE_SUM(1, 1, 0);
    STORE_SUM(2, 0, 1);
    STORE_SUM(3, 1, 1);
}

/* 1 panel times n_left groups of positions, the last of which may be short. */
INLINE void tall(enum kern_format format, int n_left, const struct part *p)
{
    if (n_left > 1)
        LOAD_SUM(0, 0, 0);
    if (n_left > 2)
        LOAD_SUM(1, 0, 1);
    if (n_left > 3)
        LOAD_SUM(2, 0, 2);
    LOAD_SUM(3, 0, n_left - 1);
    for (int32_t t = 0; t < p->n_tiles; t++) {
        LOAD_RIGHT(4, 0);
        if (n_left > 1) {
            LOAD_LEFT(5, 0);
            MULTIPLY(0, 5, 4);
        }
        if (n_left > 2) {
            LOAD_LEFT(6, 1);
            MULTIPLY(1, 6, 4);
        }
        if (n_left > 3) {
            LOAD_LEFT(5, 2);
            MULTIPLY(2, 5, 4);
        }
        LOAD_LEFT(7, n_left - 1);
        MULTIPLY(3, 7, 4);
        kern_cursor_used(p->cursor, TILE_BYTES);
    }
    if (n_left > 1)
        STORE_SUM(0, 0, 0);
    if (n_left > 2)
        STORE_SUM(1, 0, 1);
    if (n_left > 3)
        STORE_SUM(2, 0, 2);
    STORE_SUM(3, 0, n_left - 1);
}

/* ---- a chunk -------------------------------------------------------------------------------- */

INLINE void one_part(enum kern_format format, int32_t n_left, int32_t n_panels,
                     const struct part *p)
{
    if (n_panels == 4)
        wide(format, p);
    else if (n_panels == 2)
        square(format, p);
    else if (n_left == 1)
        tall(format, 1, p);
    else if (n_left == 2)
        tall(format, 2, p);
    else if (n_left == 3)
        tall(format, 3, p);
    else
        tall(format, 4, p);
}

/* Panels whose sums have tiles at the same time. */
static int32_t panels_of(int32_t n_left, int32_t panels_left)
{
    if (n_left == 1 && panels_left >= 4)
        return 4;
    return n_left == 2 && panels_left >= 2 ? 2 : 1;
}

INLINE void all_panels(enum kern_format format, const struct kern_chunk *c, int32_t pos,
                       int32_t n_pos)
{
    int32_t n_left = left_tiles(n_pos);
    for (int32_t panel = 0, n; panel < c->n_panels; panel += n) {
        n = panels_of(n_left, c->n_panels - panel);
        const struct part part = {.right = c->tiles + (size_t)panel * c->panel_bytes,
                                  .panel_bytes = c->panel_bytes,
                                  .left = c->activations + (size_t)pos * KERN_LINE_BYTES,
                                  .left_bytes = c->tile_step_bytes,
                                  .sums = c->sums + (size_t)panel * (size_t)c->n_pos + pos,
                                  .panel_sums = (size_t)c->n_pos,
                                  .n_tiles = c->n_tiles,
                                  .cursor = c->cursor};
        one_part(format, n_left, n, &part);
    }
}

static void multiply(const struct kern_chunk *c)
{
    int32_t groups = left_tiles(c->n_pos), blocks = (groups + MOST_LEFT - 1) / MOST_LEFT;
    if (c->cursor)
        c->cursor->price = (size_t)blocks;
    for (int32_t b = 0; b < blocks; b++) {
        int32_t begin = groups * b / blocks * TILE_ROWS,
                end = groups * (b + 1) / blocks * TILE_ROWS;
        int32_t n_pos = (end < c->n_pos ? end : c->n_pos) - begin;
        if (blocks > 1)
            configure(n_pos);
        if (c->format == KERN_INT8)
            all_panels(KERN_INT8, c, begin, n_pos);
        else
            all_panels(KERN_BF16, c, begin, n_pos);
    }
}

/* With more positions each block configures for itself. */
static void enter(enum kern_format format, int32_t n_pos)
{
    (void)format;
    configure(n_pos < MOST_LEFT * TILE_ROWS ? n_pos : MOST_LEFT * TILE_ROWS);
}

/* Tiles that are in use are saved and restored at every switch of threads, 8 KiB of them, and keep
 * the core from its deeper sleep while the team waits for the next product. */
static void leave(void)
{
    _tile_release();
}

static int32_t expand(const struct kern_operands *o)
{
    return o->format == KERN_INT8 ? kern_each_operand(o, 64, kern_operand_int8)
                                  : kern_each_operand(o, 32, kern_operand_bf16);
}

static const struct kern_multiplier by_amx = {
    .slot_bytes = {[KERN_BF16] = KERN_LINE_BYTES, [KERN_INT8] = KERN_LINE_BYTES},
    .expand = expand,
    .tile_by_tile = true,
    .chunk_bytes = (size_t)8 * TILE_BYTES,
    .panels_at_once = KERN_PRODUCT_MAX_PANELS,
    .ahead_pages = 16,
    .enter = enter,
    .leave = leave,
    .multiply = multiply,
};

void kern_amx_matmul(const struct kern_ctx *ctx, float *y, const struct kern_mat *mat,
                     const float *x, int32_t n_pos)
{
    kern_product(ctx, &by_amx, y, mat, x, n_pos);
}

#else

/* Never entered: kern_amx_init has refused. */
void kern_amx_matmul(const struct kern_ctx *ctx, float *y, const struct kern_mat *mat,
                     const float *x, int32_t n_pos)
{
    (void)ctx, (void)y, (void)mat, (void)x, (void)n_pos;
}

#endif
