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

/* Activations of a block: half of a second-level cache, within these bounds. They lie on the caller's
 * stack. */
#define LEAST_ACTIVATION_BYTES ((size_t)256 << 10)
#define MOST_ACTIVATION_BYTES  ((size_t)1 << 20)

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

/* Which way sums go: into a block of columns, out of it, or out of the last one. */
enum direction { SUMS_IN, SUMS_OUT, RESULTS_OUT };

/* Where a chunk begins: the first of its tiles in a block of columns, of each of its panels. */
struct place {
    struct share panels;
    int32_t tile;
};

/* ---- activations -------------------------------------------------------------------------- */

/* Tiles [begin, begin + count) of the matrix at one position; the first of them becomes tile `slot`
 * of the block of columns. Returns the sum of integers. */
static int32_t expand_tiles(const struct work *w, int32_t pos, struct columns tiles, int32_t slot)
{
    int32_t tile_cols = w->layout.tile_cols, col = tiles.begin * tile_cols;
    int32_t whole = (w->mat->cols - col) / tile_cols, left = w->mat->cols % tile_cols;
    struct kern_operands o = {.format = w->mat->format,
                              .scale = w->scales[pos],
                              .values = w->x + (size_t)pos * (size_t)w->mat->cols + col,
                              .n_tiles = whole < tiles.count ? whole : tiles.count,
                              .slots = w->activations + (size_t)pos * w->pos_bytes +
                                       (size_t)slot * w->tile_step_bytes,
                              .step_bytes = w->tile_step_bytes};
    int32_t sum = w->by->expand(&o);
    if (o.n_tiles == tiles.count)
        return sum;
    /* The last tile of a row is filled up with zeros. */
    float values[MOST_TILE_COLS] = {0};
    memcpy(values, o.values + (size_t)o.n_tiles * (size_t)tile_cols, (size_t)left * sizeof *values);
    o.values = values;
    o.slots += (size_t)o.n_tiles * o.step_bytes;
    o.n_tiles = 1;
    return sum + w->by->expand(&o);
}

/* Integers add up exactly in any order, so the threads that share a position just add. */
static void expand(const struct work *w, const struct columns *c, int t, int n)
{
    int64_t tiles = (int64_t)w->n_pos * c->count;
    int64_t end = kern_share(tiles, t + 1, n), some;
    for (int64_t i = kern_share(tiles, t, n); i < end; i += some) {
        int32_t pos = (int32_t)(i / c->count), slot = (int32_t)(i % c->count);
        some = c->count - slot < end - i ? c->count - slot : end - i;
        struct columns own = {.begin = c->begin + slot, .count = (int32_t)some};
        int32_t total = expand_tiles(w, pos, own, slot);
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

/* Sums of one panel, [n_pos], between two blocks of columns: out of y, or into it. */
static inline __attribute__((always_inline)) void move_panel(const struct work *w, int32_t row,
                                                             int32_t n,
                                                             float (*sums)[KERN_PANEL_ROWS],
                                                             enum direction direction)
{
    for (int32_t p = 0; p < w->n_pos; p++) {
        float *y = w->y + (size_t)p * (size_t)w->mat->rows + row;
        if (direction == RESULTS_OUT)
            finish(w, p, row, sums[p]);
        if (direction == SUMS_IN)
            memcpy(sums[p], y, (size_t)n * sizeof *y);
        else
            memcpy(y, sums[p], (size_t)n * sizeof *y);
    }
}

static void move_sums(const struct work *w, struct share panels, float (*sums)[KERN_PANEL_ROWS],
                      enum direction direction)
{
    for (int32_t panel = panels.begin; panel < panels.end; panel++, sums += w->n_pos) {
        int32_t row = panel * KERN_PANEL_ROWS, left = w->mat->rows - row;
        if (left >= KERN_PANEL_ROWS)
            move_panel(w, row, KERN_PANEL_ROWS, sums, direction);
        else
            move_panel(w, row, left, sums, direction);
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
        move_sums(w, at.panels, sums, SUMS_IN);
    for (; at.tile < columns->count; at.tile += w->tiles_per_chunk)
        multiply_chunk(w, columns, share, at, sums, cursor);
    move_sums(w, at.panels, sums, columns->is_last ? RESULTS_OUT : SUMS_OUT);
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

static size_t activation_bytes(void)
{
    size_t half = kern_level2_bytes() / 2;
    half = half > LEAST_ACTIVATION_BYTES ? half : LEAST_ACTIVATION_BYTES;
    return half < MOST_ACTIVATION_BYTES ? half : MOST_ACTIVATION_BYTES;
}

/* Blocks of columns: as many tiles as the activations of all positions leave room for. */
static void cut_columns(struct work *w)
{
    size_t slot = w->by->slot_bytes[w->mat->format];
    size_t pad = w->by->tile_by_tile ? 0 : STRIDE_PAD;
    size_t tiles = (activation_bytes() / (size_t)w->n_pos - pad) / slot;
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
    _Alignas(64) uint8_t activations[MOST_ACTIVATION_BYTES];
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
