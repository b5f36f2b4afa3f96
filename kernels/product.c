/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/product.c - blocks of positions and columns, activations, threads: see kernels/product.h.
 *
 * Compiled for any processor: what may use wide instructions is the tier's `multiply`, and what is
 * here is done once per position or once per row of a panel, not once per multiplication. The
 * orders are those of docs/numerics.md#weight-formats.
 */
#include "kernels/product.h"

#include <math.h>
#include <string.h>

#include "kernels/int8.h"
#include "kernels/parallel.h"

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

/* Activations of a block: half of a 512 KiB second-level cache. It lies on the caller's stack. */
#define ACTIVATION_BYTES ((size_t)256 << 10)

/* Behind each position, so that positions never lie a multiple of 4 KiB apart, on one set of the
 * first-level cache. */
#define STRIDE_PAD ((size_t)64)

#define MOST_TILE_COLS 64

struct work {
    const struct kern_multiplier *by;
    const struct kern_mat *mat;
    struct kern_tile_layout layout;
    size_t panel_bytes, tile_bytes;
    int32_t panels_at_once, tiles_per_chunk;
    const float *x;                 /* [n_pos][cols] of the block of positions */
    float *y;                       /* [n_pos][rows] */
    int32_t n_pos;                  /* of this block */
    int32_t n_tiles, tiles_at_once; /* of a row; of a block of columns */
    uint8_t *activations;           /* where the operands lie: struct kern_chunk */
    size_t pos_bytes, tile_step_bytes;
    bool reads_ahead; /* through a cursor */
    float *scales;    /* [n_pos] of activations that become integers: int8 and int4 */
    int32_t
        *totals; /* [n_pos] sum of a position's integers, where the tier adds a bias to weights */
};

/* Tiles [begin, begin + count): one block of columns. */
struct columns {
    int32_t begin, count;
    bool is_first, is_last;
};

/* Panels [begin, end): of one thread, or some of them that are multiplied together. */
struct share {
    int32_t begin, end;
};

/* Where a chunk begins: the first of its tiles in a block of columns, of each of its panels. */
struct place {
    struct share panels;
    int32_t tile;
};

/* ---- activations -------------------------------------------------------------------------- */

/* Tile `tile` of the matrix becomes tile `slot` of the block of columns. Returns the sum of
 * integers. */
static int32_t expand_tile(const struct work *w, int32_t pos, int32_t tile, int32_t slot)
{
    uint8_t *at = w->activations + (size_t)pos * w->pos_bytes + (size_t)slot * w->tile_step_bytes;
    int32_t col = tile * w->layout.tile_cols, left = w->mat->cols - col;
    int32_t n = left < w->layout.tile_cols ? left : w->layout.tile_cols;
    float values[MOST_TILE_COLS] = {0};
    memcpy(values, w->x + (size_t)pos * (size_t)w->mat->cols + col, (size_t)n * sizeof *values);
    return w->by->expand(w->mat->format, at, values, w->scales[pos]);
}

/* Integers add up exactly in any order, so the threads that share a position just add. */
static void expand(const struct work *w, const struct columns *c, int t, int n)
{
    int64_t tiles = (int64_t)w->n_pos * c->count;
    int64_t i = kern_share(tiles, t, n), end = kern_share(tiles, t + 1, n);
    while (i < end) {
        int32_t pos = (int32_t)(i / c->count), total = 0;
        int64_t pos_end = (int64_t)(pos + 1) * c->count;
        for (; i < end && i < pos_end; i++) {
            int32_t tile = (int32_t)(i - (int64_t)pos * c->count);
            total += expand_tile(w, pos, c->begin + tile, tile);
        }
        if (w->mat->format == KERN_INT8 && w->by->int8_bias != 0)
            __atomic_fetch_add(&w->totals[pos], total, __ATOMIC_RELAXED);
    }
}

static void find_scales(const struct work *w, int t, int n)
{
    size_t cols = (size_t)w->mat->cols;
    for (int64_t p = kern_share(w->n_pos, t, n); p < kern_share(w->n_pos, t + 1, n); p++) {
        uint32_t largest = kern_largest_bits(w->x + (size_t)p * cols, (int64_t)cols, 0);
        w->scales[p] = kern_int8_scale(largest);
        w->totals[p] = 0;
    }
}

/* ---- some panels ---------------------------------------------------------------------------- */

/* The last step: int8 becomes f32, int4 gets the position's scale, and every NaN is one NaN. The
 * bias comes out modulo 2^32, which leaves the exact sum: that one fits (KERN_INT8_MAX_COLS). */
static void finish(const struct work *w, int32_t pos, int32_t row, float *sums)
{
    if (w->mat->format == KERN_INT8) {
        const float *scales = kern_tile_scales(w->mat) + row;
        uint32_t bias = (uint32_t)w->by->int8_bias * (uint32_t)w->totals[pos];
        for (int i = 0; i < KERN_PANEL_ROWS; i++) {
            uint32_t sum;
            memcpy(&sum, &sums[i], sizeof sum);
            sums[i] = kern_int8_result((int32_t)(sum - bias), scales[i], w->scales[pos]);
        }
    }
    for (int i = 0; w->mat->format == KERN_INT4 && i < KERN_PANEL_ROWS; i++)
        sums[i] *= w->scales[pos];
    for (int i = 0; i < KERN_PANEL_ROWS; i++)
        sums[i] = isnan(sums[i]) ? NAN : sums[i];
}

static const uint8_t *tile_at(const struct work *w, const struct columns *c, struct place at)
{
    return (const uint8_t *)w->mat->data + (size_t)at.panels.begin * w->panel_bytes +
           (size_t)(c->begin + at.tile) * w->tile_bytes;
}

/* The panels of a share from `begin` on that are multiplied together; none at its end. */
static struct place group_from(const struct work *w, struct share share, int32_t begin)
{
    int32_t left = share.end - begin;
    int32_t n = left < w->panels_at_once ? left : w->panels_at_once;
    return (struct place){.panels = {begin, begin + n}};
}

/* Where the thread goes on behind the chunk that begins here. */
static struct place behind(const struct work *w, const struct columns *c, struct share share,
                           struct place at)
{
    at.tile += w->tiles_per_chunk;
    return at.tile < c->count ? at : group_from(w, share, at.panels.end);
}

static int32_t chunk_tiles(const struct work *w, const struct columns *c, struct place at)
{
    int32_t left = c->count - at.tile;
    return left < w->tiles_per_chunk ? left : w->tiles_per_chunk;
}

/* A tier that takes several panels at once reads in an order that only chunks have, so its cursor
 * goes through one chunk, while the one before it is used. */
static void aim_cursor(const struct work *w, const struct columns *c, struct place at,
                       struct kern_cursor *cursor)
{
    const struct kern_stream stream = {.data = tile_at(w, c, at),
                                       .segment_bytes =
                                           (size_t)chunk_tiles(w, c, at) * w->tile_bytes,
                                       .n_segments = (size_t)(at.panels.end - at.panels.begin),
                                       .distance_bytes = w->panel_bytes};
    kern_cursor_init(cursor, &stream, w->by->ahead_pages);
}

/* Sums between two blocks of columns: out of y, or into it. */
static void move_sums(const struct work *w, const struct columns *c, struct share panels,
                      float (*sums)[KERN_PANEL_ROWS], bool out)
{
    size_t rows = (size_t)w->mat->rows;
    for (int32_t panel = panels.begin; panel < panels.end; panel++) {
        int32_t row = panel * KERN_PANEL_ROWS, left = w->mat->rows - row;
        size_t n = (size_t)(left < KERN_PANEL_ROWS ? left : KERN_PANEL_ROWS);
        for (int32_t p = 0; p < w->n_pos; p++, sums++) {
            float *y = w->y + (size_t)p * rows + row;
            if (out && c->is_last)
                finish(w, p, row, *sums);
            memcpy(out ? y : *sums, out ? *sums : y, n * sizeof *y);
        }
    }
}

static void multiply_chunk(const struct work *w, const struct columns *columns, struct share share,
                           struct place at, float (*sums)[KERN_PANEL_ROWS],
                           struct kern_cursor *cursor)
{
    struct place next = behind(w, columns, share, at);
    bool goes_on = next.panels.begin < next.panels.end;
    struct kern_chunk c = {.format = w->mat->format,
                           .tiles = tile_at(w, columns, at),
                           .next = goes_on ? tile_at(w, columns, next) : NULL,
                           .n_tiles = chunk_tiles(w, columns, at),
                           .tile_bytes = w->tile_bytes,
                           .n_panels = at.panels.end - at.panels.begin,
                           .panel_bytes = w->panel_bytes,
                           .activations = w->activations + (size_t)at.tile * w->tile_step_bytes,
                           .pos_bytes = w->pos_bytes,
                           .tile_step_bytes = w->tile_step_bytes,
                           .n_pos = w->n_pos,
                           .sums = sums,
                           .cursor = cursor};
    if (cursor && w->panels_at_once > 1 && goes_on) {
        kern_cursor_drain(cursor);
        aim_cursor(w, columns, next, cursor);
    }
    w->by->multiply(&c);
}

static void multiply_group(const struct work *w, const struct columns *columns, struct share share,
                           struct place at, struct kern_cursor *cursor)
{
    _Alignas(64) float sums[KERN_PRODUCT_MAX_PANELS * KERN_PRODUCT_MAX_POS][KERN_PANEL_ROWS];
    int32_t n_panels = at.panels.end - at.panels.begin;
    memset(sums, 0, sizeof *sums * (size_t)(n_panels * w->n_pos));
    if (!columns->is_first)
        move_sums(w, columns, at.panels, sums, false);
    for (; at.tile < columns->count; at.tile += w->tiles_per_chunk)
        multiply_chunk(w, columns, share, at, sums, cursor);
    move_sums(w, columns, at.panels, sums, true);
}

/* ---- the whole product ---------------------------------------------------------------------- */

static void multiply_share(const struct work *w, const struct columns *c, struct share share,
                           struct kern_cursor *cursor)
{
    for (int32_t p = share.begin; p < share.end; p += w->panels_at_once)
        multiply_group(w, c, share, group_from(w, share, p), cursor);
}

/* Its first block is asked for while the activations are brought to their form. */
static struct kern_cursor *start_cursor(const struct work *w, const struct columns *c,
                                        struct share share, struct kern_cursor *cursor)
{
    const struct kern_stream stream = {.data = tile_at(w, c, (struct place){.panels = share}),
                                       .segment_bytes = (size_t)c->count * w->tile_bytes,
                                       .n_segments = (size_t)(share.end - share.begin),
                                       .distance_bytes = w->panel_bytes};
    if (!w->reads_ahead)
        return NULL;
    if (w->panels_at_once > 1)
        aim_cursor(w, c, group_from(w, share, share.begin), cursor);
    else
        kern_cursor_init(cursor, &stream, w->by->ahead_pages);
    kern_cursor_fill(cursor);
    return cursor;
}

static unsigned flush_denormals(enum kern_format format)
{
#if defined(__x86_64__)
    unsigned before = _mm_getcsr();
    if (format == KERN_BF16)
        _mm_setcsr(before | 0x8040u); /* FTZ and DAZ */
    return before;
#else
    (void)format;
    return 0;
#endif
}

static void restore_denormals(unsigned before)
{
#if defined(__x86_64__)
    _mm_setcsr(before);
#else
    (void)before;
#endif
}

static void run_columns(const struct work *w, const struct columns *c, int t, int n)
{
    int32_t panels = kern_panels(w->mat->rows);
    struct share share = {(int32_t)kern_share(panels, t, n), (int32_t)kern_share(panels, t + 1, n)};
    struct kern_cursor space, *cursor = start_cursor(w, c, share, &space);
    expand(w, c, t, n);
#pragma omp barrier
    multiply_share(w, c, share, cursor);
#pragma omp barrier
}

static void run(void *arg, int t, int n)
{
    const struct work *w = arg;
    unsigned before = flush_denormals(w->mat->format);
    if (w->by->enter)
        w->by->enter(w->mat->format, w->n_pos);
    if (w->mat->format == KERN_INT8 || w->mat->format == KERN_INT4) {
        find_scales(w, t, n);
#pragma omp barrier
    }
    for (int32_t tile = 0; tile < w->n_tiles; tile += w->tiles_at_once) {
        int32_t left = w->n_tiles - tile;
        struct columns c = {.begin = tile,
                            .count = left < w->tiles_at_once ? left : w->tiles_at_once,
                            .is_first = tile == 0,
                            .is_last = left <= w->tiles_at_once};
        run_columns(w, &c, t, n);
    }
    if (w->by->leave)
        w->by->leave();
    restore_denormals(before);
}

/* Blocks of columns: as many tiles as the activations of all positions leave room for. */
static void cut_columns(struct work *w)
{
    size_t slot = w->by->slot_bytes[w->mat->format];
    size_t pad = w->by->tile_by_tile ? 0 : STRIDE_PAD;
    size_t tiles = (ACTIVATION_BYTES / (size_t)w->n_pos - pad) / slot;
    w->tiles_at_once = tiles < (size_t)w->n_tiles ? (int32_t)tiles : w->n_tiles;
    w->pos_bytes = w->by->tile_by_tile ? slot : (size_t)w->tiles_at_once * slot + pad;
    w->tile_step_bytes = w->by->tile_by_tile ? (size_t)w->n_pos * slot : slot;
}

static struct work whole_work(const struct kern_multiplier *by, const struct kern_mat *mat)
{
    struct work w = {.by = by, .mat = mat, .layout = kern_tile_layout_of(mat->format)};
    w.tile_bytes = kern_tile_bytes(&w.layout);
    w.panel_bytes = kern_panel_bytes(&w.layout, mat->cols);
    w.n_tiles = kern_tiles(&w.layout, mat->cols);
    w.panels_at_once = by->panels_at_once > 1 ? by->panels_at_once : 1;
    w.tiles_per_chunk = (int32_t)(by->chunk_bytes / w.tile_bytes);
    return w;
}

void kern_product(const struct kern_ctx *ctx, const struct kern_multiplier *by, float *y,
                  const struct kern_mat *mat, const float *x, int32_t n_pos)
{
    _Alignas(64) uint8_t activations[ACTIVATION_BYTES];
    float scales[KERN_PRODUCT_MAX_POS] = {0};
    int32_t totals[KERN_PRODUCT_MAX_POS];
    if (mat->rows == 0 || n_pos == 0)
        return;
    int threads = kern_threads(ctx, (int64_t)mat->rows * mat->cols * n_pos);
    int32_t blocks = (n_pos + KERN_PRODUCT_MAX_POS - 1) / KERN_PRODUCT_MAX_POS;
    struct work w = whole_work(by, mat);
    w.activations = activations;
    w.scales = scales;
    w.totals = totals;
    w.reads_ahead = by->ahead_pages > 0 && kern_prefetch_pays(mat->bytes / (size_t)threads);
    for (int32_t b = 0; b < blocks; b++) {
        int32_t begin = (int32_t)kern_share(n_pos, b, blocks);
        w.n_pos = (int32_t)kern_share(n_pos, b + 1, blocks) - begin;
        w.x = x + (size_t)begin * (size_t)mat->cols;
        w.y = y + (size_t)begin * (size_t)mat->rows;
        cut_columns(&w);
        kern_team(threads, run, &w);
    }
}
