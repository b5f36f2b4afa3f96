/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/avx2/matmul.c - products of one to many positions from one packed matrix.
 *
 *     for each block of up to 128 positions
 *         for each block of columns that a quarter MiB of activations fills
 *             all threads bring the activations to the format, once
 *             thread t, for each of its panels of 16 rows, for each 16 KiB of the panel
 *                 for each three positions: the lines times broadcast activations
 *
 * so weights are read from memory once per block of positions and stay in the first-level cache for
 * all of them. With few positions all columns are one block and a thread reads its panels straight
 * through.
 *
 * The orders are those of docs/numerics.md#weight-formats. Rows are lanes: no sum is ever cut, and
 * what an element adds up does not depend on how many positions are computed beside it. Between
 * blocks of columns the accumulators lie in y, which changes no bit (int8 keeps its int32 there).
 *
 * The only file of the tier that is compiled for AVX2; entered only after kern_avx2_init said yes.
 */
#include "kernels/avx2/avx2.h"

#include <omp.h>
#include <string.h>

#include "kernels/bf16.h"
#include "kernels/int8.h"
#include "kernels/parallel.h"
#include "kernels/tiles.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define INLINE static inline __attribute__((always_inline))

/* Activations of a block: half of a 512 KiB second-level cache. It lies on the caller's stack. */
#define ACTIVATION_BYTES ((size_t)256 << 10)
#define MAX_POS          128

/* Half of a 32 KiB first-level cache; the other half is for activations and sums. */
#define CHUNK_BYTES ((size_t)16 << 10)

/* Behind each position, so that positions never lie a multiple of 4 KiB apart, on one set of the
 * first-level cache. */
#define STRIDE_PAD ((size_t)64)

/* FTZ and DAZ of MXCSR. */
#define FLUSH_DENORMALS 0x8040u

struct work {
    const struct kern_mat *mat;
    struct kern_tile_layout layout;
    size_t panel_bytes, tile_bytes;
    const float *x;                 /* [n_pos][cols] of the block of positions */
    float *y;                       /* [n_pos][rows] */
    int32_t n_pos;                  /* of this block */
    int32_t n_tiles, tiles_at_once; /* of a row; of a block of columns */
    void *activations; /* [n_pos] rows of f32, or int16 for int8: tiles of the block of columns */
    size_t element_bytes, stride_bytes; /* of activations; from one position to the next */
    float *scales;                      /* [n_pos] int8 only */
};

/* Tiles [begin, begin + count): one block of columns. */
struct columns {
    int32_t begin, count;
    bool is_first, is_last;
};

/* ---- activations -------------------------------------------------------------------------- */

/* Tile `tile` of the matrix becomes tile `slot` of the block of columns. */
static void expand_tile(const struct work *w, int32_t pos, int32_t tile, int32_t slot)
{
    uint8_t *at = (uint8_t *)w->activations + (size_t)pos * w->stride_bytes +
                  (size_t)(slot * w->layout.tile_cols) * w->element_bytes;
    int32_t col = tile * w->layout.tile_cols, left = w->mat->cols - col;
    int32_t n = left < w->layout.tile_cols ? left : w->layout.tile_cols;
    float values[64] = {0};
    int8_t integers[64];
    memcpy(values, w->x + (size_t)pos * (size_t)w->mat->cols + col, (size_t)n * sizeof *values);
    float *wide = (float *)(void *)at;
    int16_t *narrow = (int16_t *)(void *)at;
    switch (w->mat->format) {
    case KERN_F32:
        memcpy(wide, values, 32 * sizeof *values);
        break;
    case KERN_BF16:
        for (int i = 0; i < 32; i++)
            wide[i] = kern_bf16_widen(kern_bf16_round(values[i]));
        break;
    case KERN_INT8:
        kern_int8_round(integers, values, 64, w->scales[pos]);
        for (int i = 0; i < 64; i++)
            narrow[i] = integers[i];
        break;
    case KERN_N_FORMATS:
        break;
    }
}

static void expand(const struct work *w, const struct columns *c, int t, int n)
{
    int64_t tiles = (int64_t)w->n_pos * c->count;
    for (int64_t i = kern_share(tiles, t, n); i < kern_share(tiles, t + 1, n); i++) {
        int32_t pos = (int32_t)(i / c->count), tile = (int32_t)(i % c->count);
        expand_tile(w, pos, c->begin + tile, tile);
    }
}

static void find_scales(const struct work *w, int t, int n)
{
    size_t cols = (size_t)w->mat->cols;
    for (int64_t p = kern_share(w->n_pos, t, n); p < kern_share(w->n_pos, t + 1, n); p++)
        w->scales[p] =
            kern_int8_scale(kern_largest_bits(w->x + (size_t)p * cols, (int64_t)cols, 0));
}

/* ---- one panel times some positions --------------------------------------------------------- */

/* Tiles of one panel, few enough to stay in the first-level cache for all groups of positions, and
 * the tiles that come after them in memory: while the last groups compute, those are asked for. */
struct chunk {
    const uint8_t *tiles, *next; /* next: NULL behind the thread's last one */
    int32_t n_tiles;
    size_t tile_bytes;
    const uint8_t *activations;     /* of position 0 at the first of these tiles */
    size_t stride_bytes;            /* from one position to the next */
    float (*sums)[KERN_PANEL_ROWS]; /* [n_pos] */
};

/* What one group asks for per tile: `lines` of them, from `next` on. */
struct ahead {
    const uint8_t *next;
    int32_t lines;
};

INLINE void read_ahead(const struct ahead *ahead, int32_t tile)
{
    const char *at = (const char *)ahead->next + (size_t)(tile * ahead->lines) * KERN_LINE_BYTES;
    for (int32_t i = 0; i < ahead->lines; i++)
        _mm_prefetch(at + i * KERN_LINE_BYTES, _MM_HINT_T1);
}

/* The weights of 8 rows of a tile in columns 2i (odd 0) or 2i + 1, as f32. */
INLINE __m256 load_weights(enum kern_format format, const uint8_t *tile, int i, int odd, int half)
{
    if (format == KERN_F32)
        return _mm256_loadu_ps((const float *)(const void *)(tile + 128 * i + 64 * odd) + 8 * half);
    __m256i both = _mm256_loadu_si256((const __m256i *)(const void *)(tile + 64 * i) + half);
    return _mm256_castsi256_ps(odd ? _mm256_and_si256(both, _mm256_set1_epi32((int)0xFFFF0000u))
                                   : _mm256_slli_epi32(both, 16));
}

/* Two chains per element over the 32 columns of a tile, their sum into the accumulators. n <= 3:
 * their 12 vectors, two of weights and one of activations are what 16 registers hold. */
INLINE void float_tile(enum kern_format format, int n, const uint8_t *tile, const float *x,
                       size_t stride, float (*sums)[KERN_PANEL_ROWS])
{
    __m256 e[3][2], o[3][2];
#pragma GCC unroll 4
    for (int p = 0; p < n; p++)
        e[p][0] = e[p][1] = o[p][0] = o[p][1] = _mm256_setzero_ps();
#pragma GCC unroll 4
    for (int i = 0; i < 16; i++) {
        __m256 w0 = load_weights(format, tile, i, 0, 0), w1 = load_weights(format, tile, i, 0, 1);
#pragma GCC unroll 4
        for (int p = 0; p < n; p++) {
            __m256 a = _mm256_broadcast_ss(x + (size_t)p * stride + 2 * i);
            e[p][0] = _mm256_fmadd_ps(w0, a, e[p][0]);
            e[p][1] = _mm256_fmadd_ps(w1, a, e[p][1]);
        }
        /* Makes the compiler read the line a second time instead of keeping it: 12 accumulators, 2
         * weights, an activation and two halves of a line do not fit in 16 registers, and what it
         * would spill costs more than the second read. */
        __asm__("" : "+r"(tile));
        w0 = load_weights(format, tile, i, 1, 0), w1 = load_weights(format, tile, i, 1, 1);
#pragma GCC unroll 4
        for (int p = 0; p < n; p++) {
            __m256 a = _mm256_broadcast_ss(x + (size_t)p * stride + 2 * i + 1);
            o[p][0] = _mm256_fmadd_ps(w0, a, o[p][0]);
            o[p][1] = _mm256_fmadd_ps(w1, a, o[p][1]);
        }
    }
#pragma GCC unroll 4
    for (int p = 0; p < n; p++)
        for (int half = 0; half < 2; half++) {
            float *sum = sums[p] + 8 * half;
            __m256 both = _mm256_add_ps(e[p][half], o[p][half]);
            _mm256_store_ps(sum, _mm256_add_ps(_mm256_load_ps(sum), both));
        }
}

INLINE void float_chunk(enum kern_format format, int n, const struct chunk *c, int32_t pos,
                        const struct ahead *ahead)
{
    const float *x = (const float *)(const void *)(c->activations + (size_t)pos * c->stride_bytes);
    for (int32_t t = 0; t < c->n_tiles; t++) {
        read_ahead(ahead, t);
        float_tile(format, n, c->tiles + (size_t)t * c->tile_bytes, x + 32 * (size_t)t,
                   c->stride_bytes / sizeof *x, c->sums + pos);
    }
}

/* One line times four activations of n positions. Each vector of 8 sums holds two for each of 4 rows.
 * Products of neighbouring columns are added in pairs by one instruction, exact in int32. */
INLINE void int8_line(int n, const uint8_t *line, const int16_t *x, size_t stride,
                      __m256i acc[2][4])
{
    __m256i a[2];
#pragma GCC unroll 2
    for (int p = 0; p < n; p++) {
        long long four;
        memcpy(&four, x + (size_t)p * stride, sizeof four);
        a[p] = _mm256_set1_epi64x(four);
    }
#pragma GCC unroll 4
    for (int q = 0; q < 4; q++) {
        __m256i weights =
            _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(const void *)line + q));
#pragma GCC unroll 2
        for (int p = 0; p < n; p++)
            acc[p][q] = _mm256_add_epi32(acc[p][q], _mm256_madd_epi16(weights, a[p]));
    }
}

INLINE void int8_chunk(int n, const struct chunk *c, int32_t pos, const struct ahead *ahead)
{
    const int16_t *x =
        (const int16_t *)(const void *)(c->activations + (size_t)pos * c->stride_bytes);
    __m256i acc[2][4];
#pragma GCC unroll 2
    for (int p = 0; p < n; p++)
#pragma GCC unroll 4
        for (int q = 0; q < 4; q++)
            acc[p][q] = _mm256_setzero_si256();
    for (int32_t t = 0; t < c->n_tiles; t++) {
        read_ahead(ahead, t);
#pragma GCC unroll 2
        for (int i = 0; i < 16; i++)
            int8_line(n, c->tiles + (size_t)t * c->tile_bytes + i * KERN_LINE_BYTES,
                      x + 64 * (size_t)t + 4 * i, c->stride_bytes / sizeof *x, acc);
    }
    /* The two sums of each row are neighbours; after the pairwise add rows come as 0 1 4 5 2 3 6 7. */
#pragma GCC unroll 2
    for (int p = 0; p < n; p++)
        for (int half = 0; half < 2; half++) {
            __m256i *sum = (__m256i *)(void *)c->sums[pos + p] + half;
            __m256i both = _mm256_hadd_epi32(acc[p][2 * half], acc[p][2 * half + 1]);
            both = _mm256_permute4x64_epi64(both, 0xD8);
            _mm256_store_si256(sum, _mm256_add_epi32(_mm256_load_si256(sum), both));
        }
}

INLINE void multiply(enum kern_format format, int n, const struct chunk *c, int32_t pos,
                     const struct ahead *ahead)
{
    if (format == KERN_INT8)
        int8_chunk(n, c, pos, ahead);
    else
        float_chunk(format, n, c, pos, ahead);
}

/* Positions that are computed side by side: as many as registers hold accumulators for, and never one
 * alone if that can be helped. An element does not depend on it. */
static int32_t group_of(enum kern_format format, int32_t left)
{
    if (left == 1)
        return 1;
    return format == KERN_INT8 || left == 2 || left == 4 ? 2 : 3;
}

/* The next chunk is read while all but the first group compute: the first one still waits for this
 * chunk, and where there is only one, the processor's own reading ahead does as well. */
static struct ahead ahead_of(const struct chunk *c, int32_t group, int32_t n_groups)
{
    struct ahead none = {c->tiles, 0};
    if (!c->next || group == 0)
        return none;
    int32_t per_tile = (int32_t)(c->tile_bytes / KERN_LINE_BYTES);
    int32_t lines = (per_tile + n_groups - 2) / (n_groups - 1);
    int32_t begin = (group - 1) * lines;
    if (begin >= per_tile)
        return none;
    return (struct ahead){c->next + (size_t)(begin * c->n_tiles) * KERN_LINE_BYTES,
                          begin + lines <= per_tile ? lines : per_tile - begin};
}

INLINE void all_positions(enum kern_format format, const struct chunk *c, int32_t n_pos)
{
    int32_t size = format == KERN_INT8 ? 2 : 3, n_groups = (n_pos + size - 1) / size;
    for (int32_t pos = 0, g = 0; pos < n_pos; g++) {
        struct ahead ahead = ahead_of(c, g, n_groups);
        int32_t n = group_of(format, n_pos - pos);
        if (n == 1)
            multiply(format, 1, c, pos, &ahead);
        else if (n == 2)
            multiply(format, 2, c, pos, &ahead);
        else if (format != KERN_INT8)
            multiply(format, 3, c, pos, &ahead);
        pos += n;
    }
}

/* The last step: int8 becomes f32, and every NaN one NaN. */
static void finish(const struct work *w, int32_t pos, int32_t row, float *sums)
{
    for (int half = 0; half < 2; half++) {
        __m256 y = _mm256_load_ps(sums + 8 * half);
        if (w->mat->format == KERN_INT8) {
            __m256 scale = _mm256_mul_ps(_mm256_loadu_ps(kern_tile_scales(w->mat) + row + 8 * half),
                                         _mm256_set1_ps(w->scales[pos]));
            y = _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_castps_si256(y)), scale);
        }
        __m256 nan = _mm256_castsi256_ps(_mm256_set1_epi32(0x7FC00000));
        y = _mm256_blendv_ps(y, nan, _mm256_cmp_ps(y, y, _CMP_UNORD_Q));
        _mm256_store_ps(sums + 8 * half, y);
    }
}

static void multiply_chunk(const struct work *w, const struct chunk *c)
{
    switch (w->mat->format) {
    case KERN_F32:
        all_positions(KERN_F32, c, w->n_pos);
        break;
    case KERN_BF16:
        all_positions(KERN_BF16, c, w->n_pos);
        break;
    case KERN_INT8:
        all_positions(KERN_INT8, c, w->n_pos);
        break;
    case KERN_N_FORMATS:
        break;
    }
}

/* One panel in a block of columns; `tiles` is its first tile there, `next_panel` that of the next. */
static void multiply_panel(const struct work *w, const struct columns *columns, int32_t row,
                           const uint8_t *tiles, const uint8_t *next_panel)
{
    _Alignas(64) float sums[MAX_POS][KERN_PANEL_ROWS];
    size_t rows = (size_t)w->mat->rows, left = rows - (size_t)row;
    size_t bytes = sizeof(float) * (left < KERN_PANEL_ROWS ? left : KERN_PANEL_ROWS);
    int32_t step = (int32_t)(CHUNK_BYTES / w->tile_bytes);
    memset(sums, 0, sizeof *sums * (size_t)w->n_pos);
    for (int32_t p = 0; p < w->n_pos && !columns->is_first; p++)
        memcpy(sums[p], w->y + (size_t)p * rows + row, bytes);
    for (int32_t t = 0; t < columns->count; t += step) {
        bool is_last = columns->count - t <= step;
        const uint8_t *here = tiles + (size_t)t * w->tile_bytes;
        struct chunk c = {.tiles = here,
                          .next = is_last ? next_panel : here + CHUNK_BYTES,
                          .n_tiles = is_last ? columns->count - t : step,
                          .tile_bytes = w->tile_bytes,
                          .activations = (const uint8_t *)w->activations +
                                         (size_t)(t * w->layout.tile_cols) * w->element_bytes,
                          .stride_bytes = w->stride_bytes,
                          .sums = sums};
        multiply_chunk(w, &c);
    }
    for (int32_t p = 0; p < w->n_pos; p++) {
        if (columns->is_last)
            finish(w, p, row, sums[p]);
        memcpy(w->y + (size_t)p * rows + row, sums[p], bytes);
    }
}

/* ---- the whole product ---------------------------------------------------------------------- */

static void share_of_columns(const struct work *w, const struct columns *c, int t, int n)
{
    int32_t panels = kern_panels(w->mat->rows);
    int32_t begin = (int32_t)kern_share(panels, t, n), end = (int32_t)kern_share(panels, t + 1, n);
    const uint8_t *tiles = (const uint8_t *)w->mat->data + (size_t)begin * w->panel_bytes +
                           (size_t)c->begin * w->tile_bytes;
    for (int32_t p = begin; p < end; p++, tiles += w->panel_bytes)
        multiply_panel(w, c, p * KERN_PANEL_ROWS, tiles,
                       p + 1 < end ? tiles + w->panel_bytes : NULL);
}

/* Called by every thread of the team. */
static void run(const struct work *w, int t, int n)
{
    unsigned before = _mm_getcsr();
    if (w->mat->format == KERN_BF16)
        _mm_setcsr(before | FLUSH_DENORMALS);
    if (w->mat->format == KERN_INT8) {
        find_scales(w, t, n);
#pragma omp barrier
    }
    for (int32_t tile = 0; tile < w->n_tiles; tile += w->tiles_at_once) {
        int32_t left = w->n_tiles - tile;
        struct columns c = {.begin = tile,
                            .count = left < w->tiles_at_once ? left : w->tiles_at_once,
                            .is_first = tile == 0,
                            .is_last = left <= w->tiles_at_once};
        expand(w, &c, t, n);
#pragma omp barrier
        share_of_columns(w, &c, t, n);
#pragma omp barrier
    }
    _mm_setcsr(before);
}

/* Blocks of columns: as many tiles as the activations of all positions leave room for. */
static void cut_columns(struct work *w)
{
    size_t tile = (size_t)w->layout.tile_cols * w->element_bytes;
    size_t tiles = (ACTIVATION_BYTES / (size_t)w->n_pos - STRIDE_PAD) / tile;
    w->tiles_at_once = tiles < (size_t)w->n_tiles ? (int32_t)tiles : w->n_tiles;
    w->stride_bytes = (size_t)w->tiles_at_once * tile + STRIDE_PAD;
}

static struct work whole_work(const struct kern_mat *mat)
{
    struct work w = {.mat = mat, .layout = kern_tile_layout_of(mat->format)};
    w.tile_bytes = kern_tile_bytes(&w.layout);
    w.panel_bytes = kern_panel_bytes(&w.layout, mat->cols);
    w.n_tiles = kern_tiles(&w.layout, mat->cols);
    w.element_bytes = mat->format == KERN_INT8 ? sizeof(int16_t) : sizeof(float);
    return w;
}

void kern_avx2_matmul(const struct kern_ctx *ctx, float *y, const struct kern_mat *mat,
                      const float *x, int32_t n_pos)
{
    _Alignas(64) uint8_t activations[ACTIVATION_BYTES];
    float scales[MAX_POS];
    if (mat->rows == 0 || n_pos == 0)
        return;
    int threads = kern_threads(ctx, (int64_t)mat->rows * mat->cols * n_pos);
    int32_t blocks = (n_pos + MAX_POS - 1) / MAX_POS;
    struct work w = whole_work(mat);
    w.activations = activations;
    w.scales = scales;
    for (int32_t b = 0; b < blocks; b++) {
        int32_t begin = (int32_t)kern_share(n_pos, b, blocks);
        w.n_pos = (int32_t)kern_share(n_pos, b + 1, blocks) - begin;
        w.x = x + (size_t)begin * (size_t)mat->cols;
        w.y = y + (size_t)begin * (size_t)mat->rows;
        cut_columns(&w);
#pragma omp parallel num_threads(threads)
        run(&w, omp_get_thread_num(), omp_get_num_threads());
    }
}

#else

/* Never entered: kern_avx2_init has refused. */
void kern_avx2_matmul(const struct kern_ctx *ctx, float *y, const struct kern_mat *mat,
                      const float *x, int32_t n_pos)
{
    (void)ctx, (void)y, (void)mat, (void)x, (void)n_pos;
}

#endif
