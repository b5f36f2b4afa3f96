/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/avx2/matmul.c - one chunk of a panel times one to many positions, in the frame of
 * kernels/product.h: for each few positions the lines times broadcast activations.
 *
 * The orders are those of docs/numerics.md#weight-formats. Rows are lanes: what an element adds up
 * does not depend on how many positions are computed beside it.
 *
 * The only file of the tier that is compiled for AVX2; entered only after kern_avx2_init said yes.
 */
#include "kernels/avx2/avx2.h"

#include <string.h>

#include "kernels/operand.h"
#include "kernels/product.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define INLINE static inline __attribute__((always_inline))

/* Half of a 32 KiB first-level cache; the other half is for activations and sums. */
#define CHUNK_BYTES ((size_t)16 << 10)

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

INLINE void float_chunk(enum kern_format format, int n, const struct kern_chunk *c, int32_t pos,
                        const struct ahead *ahead)
{
    const float *x = (const float *)(const void *)(c->activations + (size_t)pos * c->pos_bytes);
    for (int32_t t = 0; t < c->n_tiles; t++) {
        read_ahead(ahead, t);
        float_tile(format, n, c->tiles + (size_t)t * c->tile_bytes, x + 32 * (size_t)t,
                   c->pos_bytes / sizeof *x, c->sums + pos);
    }
}

/* One line times four activations of n positions. Each vector of 8 sums holds two for each of 4
 * rows. Products of neighbouring columns are added in pairs by one instruction, exact in int32. */
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

INLINE void int8_chunk(int n, const struct kern_chunk *c, int32_t pos, const struct ahead *ahead)
{
    const int16_t *x = (const int16_t *)(const void *)(c->activations + (size_t)pos * c->pos_bytes);
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
                      x + 64 * (size_t)t + 4 * i, c->pos_bytes / sizeof *x, acc);
    }
    /* The two sums of each row are neighbours; after the pairwise add rows come as 0 1 4 5 2 3 6
     * 7. */
#pragma GCC unroll 2
    for (int p = 0; p < n; p++)
        for (int half = 0; half < 2; half++) {
            __m256i *sum = (__m256i *)(void *)c->sums[pos + p] + half;
            __m256i both = _mm256_hadd_epi32(acc[p][2 * half], acc[p][2 * half + 1]);
            both = _mm256_permute4x64_epi64(both, 0xD8);
            _mm256_store_si256(sum, _mm256_add_epi32(_mm256_load_si256(sum), both));
        }
}

/* The integers of 8 rows in 4 columns each, 0 .. 15: the lower halves of half a line, or the
 * upper. */
INLINE __m256i load_nibbles(const uint8_t *line, int half, int upper)
{
    __m256i both = _mm256_loadu_si256((const __m256i *)(const void *)line + half);
    return _mm256_and_si256(upper ? _mm256_srli_epi16(both, 4) : both, _mm256_set1_epi8(15));
}

INLINE __m256i broadcast_four(const int8_t *x)
{
    int32_t four;
    memcpy(&four, x, sizeof four);
    return _mm256_set1_epi32(four);
}

/* Exact sums of one group over the lines of it. An instruction adds two products of magnitude 15 *
 * 127 in int16, and eight of those sums are 30480: less than int16 holds. */
INLINE void int4_group(int n, const uint8_t *lines, const int8_t *x, size_t stride,
                       __m256i sums[4][2])
{
#pragma GCC unroll 4
    for (int p = 0; p < n; p++)
        sums[p][0] = sums[p][1] = _mm256_setzero_si256();
#pragma GCC unroll 8
    for (int i = 0; i < KERN_INT4_GROUP / 4; i++) {
        const uint8_t *line = lines + i / 2 * KERN_LINE_BYTES;
        __m256i w0 = load_nibbles(line, 0, i % 2), w1 = load_nibbles(line, 1, i % 2);
#pragma GCC unroll 4
        for (int p = 0; p < n; p++) {
            __m256i a = broadcast_four(x + (size_t)p * stride + 4 * i);
            sums[p][0] = _mm256_add_epi16(sums[p][0], _mm256_maddubs_epi16(w0, a));
            sums[p][1] = _mm256_add_epi16(sums[p][1], _mm256_maddubs_epi16(w1, a));
            /* Keeps the compiler from making a tree of these sums, whose leaves it would spill. */
            __asm__("" : "+x"(sums[p][0]), "+x"(sums[p][1]));
        }
    }
}

/* Sums of 8 rows as they are: pairs of int16 added, and what the weights were too large by. */
INLINE __m256 int4_group_sum(__m256i pairs, int32_t too_much)
{
    __m256i sum = _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
    return _mm256_cvtepi32_ps(_mm256_sub_epi32(sum, _mm256_set1_epi32(too_much)));
}

INLINE void int4_tile(int n, const uint8_t *tile, const uint8_t *activations, size_t stride,
                      __m256 acc[4][2])
{
    const struct kern_int4_slot *slot = (const void *)activations;
#pragma GCC unroll 2
    for (int g = 0; g < 2; g++) {
        __m256i sums[4][2];
        int4_group(n, tile + 4 * g * KERN_LINE_BYTES, slot->integers + g * KERN_INT4_GROUP, stride,
                   sums);
#pragma GCC unroll 2
        for (int half = 0; half < 2; half++) {
            /* The scales lie like a line of bf16 weights. */
            __m256 scales = load_weights(KERN_BF16, tile + 8 * KERN_LINE_BYTES, 0, g, half);
#pragma GCC unroll 4
            for (int p = 0; p < n; p++) {
                const struct kern_int4_slot *own = (const void *)(activations + (size_t)p * stride);
                acc[p][half] = _mm256_fmadd_ps(int4_group_sum(sums[p][half], own->too_much[g]),
                                               scales, acc[p][half]);
            }
        }
    }
}

INLINE void int4_chunk(int n, const struct kern_chunk *c, int32_t pos, const struct ahead *ahead)
{
    const uint8_t *x = c->activations + (size_t)pos * c->pos_bytes;
    __m256 acc[4][2];
#pragma GCC unroll 4
    for (int p = 0; p < n; p++)
        for (int half = 0; half < 2; half++)
            acc[p][half] = _mm256_load_ps(c->sums[pos + p] + 8 * half);
    for (int32_t t = 0; t < c->n_tiles; t++) {
        read_ahead(ahead, t);
        int4_tile(n, c->tiles + (size_t)t * c->tile_bytes, x + (size_t)t * c->tile_step_bytes,
                  c->pos_bytes, acc);
    }
#pragma GCC unroll 4
    for (int p = 0; p < n; p++)
        for (int half = 0; half < 2; half++)
            _mm256_store_ps(c->sums[pos + p] + 8 * half, acc[p][half]);
}

INLINE void multiply(enum kern_format format, int n, const struct kern_chunk *c, int32_t pos,
                     const struct ahead *ahead)
{
    if (format == KERN_INT8)
        int8_chunk(n, c, pos, ahead);
    else if (format == KERN_INT4)
        int4_chunk(n, c, pos, ahead);
    else
        float_chunk(format, n, c, pos, ahead);
}

/* Positions that registers hold accumulators for. */
INLINE int32_t largest_group(enum kern_format format)
{
    return format == KERN_INT4 ? 4 : format == KERN_INT8 ? 2 : 3;
}

/* Positions that are computed side by side, never one alone if that can be helped. An element does
 * not depend on it. */
static int32_t group_of(enum kern_format format, int32_t left)
{
    int32_t most = largest_group(format);
    if (left <= most)
        return left;
    return left == most + 1 && most > 2 ? most - 1 : most;
}

/* The next chunk is read while all but the first group compute: the first one still waits for this
 * chunk, and where there is only one, the processor's own reading ahead does as well. */
static struct ahead ahead_of(const struct kern_chunk *c, int32_t group, int32_t n_groups)
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

INLINE void all_positions(enum kern_format format, const struct kern_chunk *c)
{
    int32_t n_pos = c->n_pos;
    int32_t size = largest_group(format), n_groups = (n_pos + size - 1) / size;
    for (int32_t pos = 0, g = 0; pos < n_pos; g++) {
        struct ahead ahead = ahead_of(c, g, n_groups);
        int32_t n = group_of(format, n_pos - pos);
        if (n == 1)
            multiply(format, 1, c, pos, &ahead);
        else if (n == 2)
            multiply(format, 2, c, pos, &ahead);
        else if (n == 3 && format != KERN_INT8)
            multiply(format, 3, c, pos, &ahead);
        else if (format == KERN_INT4)
            multiply(format, 4, c, pos, &ahead);
        pos += n;
    }
}

static void multiply_chunk(const struct kern_chunk *c)
{
    switch (c->format) {
    case KERN_F32:
        all_positions(KERN_F32, c);
        break;
    case KERN_BF16:
        all_positions(KERN_BF16, c);
        break;
    case KERN_INT8:
        all_positions(KERN_INT8, c);
        break;
    case KERN_INT4:
        all_positions(KERN_INT4, c);
        break;
    case KERN_N_FORMATS:
        break;
    }
}

static int32_t expand(const struct kern_operands *o)
{
    switch (o->format) {
    case KERN_F32:
        return kern_each_operand(o, 32, kern_operand_f32);
    case KERN_BF16:
        return kern_each_operand(o, 32, kern_operand_bf16_wide);
    case KERN_INT8:
        return kern_each_operand(o, 64, kern_operand_int8_wide);
    case KERN_INT4:
        return kern_each_operand(o, 64, kern_operand_int4);
    case KERN_N_FORMATS:
        break;
    }
    return 0;
}

static const struct kern_multiplier by_avx2 = {
    .slot_bytes = {128, 128, 128, sizeof(struct kern_int4_slot)},
    .expand = expand,
    .chunk_bytes = CHUNK_BYTES,
    .multiply = multiply_chunk,
};

void kern_avx2_matmul(const struct kern_ctx *ctx, float *y, const struct kern_mat *mat,
                      const float *x, int32_t n_pos)
{
    kern_product(ctx, &by_avx2, y, mat, x, n_pos);
}

#else

/* Never entered: kern_avx2_init has refused. */
void kern_avx2_matmul(const struct kern_ctx *ctx, float *y, const struct kern_mat *mat,
                      const float *x, int32_t n_pos)
{
    (void)ctx, (void)y, (void)mat, (void)x, (void)n_pos;
}

#endif
