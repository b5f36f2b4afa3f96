/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/avx512/matmul.c - one chunk of a panel times one to many positions, in the frame of
 * kernels/product.h.
 *
 * A line of a tile is one vector, a row of the panel one lane, and up to twelve positions are
 * computed side by side:
 *
 *     f32, bf16   two chains for each position: 24 accumulators, 2 vectors of weights
 *     int8        one accumulator for each position (four for a single one), 1 vector of weights
 *     int4        an accumulator and the sum of a group for each position, 1 vector of weights
 *
 * of 32 registers. Activations are broadcast on their way from the first-level cache. Twelve
 * multiplications of a line then share the one or two instructions that unpack it, and their chains
 * are long enough to hide the latency of a fused multiply-add (4 cycles, two a cycle). Wider groups
 * would fit (int8) and gain little; two panels at a time would halve the broadcasts, but need both
 * of them in the first level and two streams from memory.
 *
 * bf16 is summed in the order of AMX (docs/numerics.md#weight-formats) by ordinary fused
 * multiply-adds. vdpbf16ps is another sum and must never be used here.
 *
 * int8 is vpdpbusd, which wants one operand unsigned: the weights, plus 128 by turning their sign
 * bit over. What that adds is 128 times the sum of a position's integers, the same for all rows, so
 * the packed matrix needs no sums of its rows, and the frame takes it out (int8_bias). The other
 * way round, activations unsigned, each row would need a sum of its weights: stored, they change
 * the layout that tiers share; computed at use, they cost a single position as much as its product.
 * Nothing saturates: it is vpdpbusd and not vpdpbusds, and sums that wrap come back when the bias
 * is taken out. int4 is the same with weights plus 8, which is how they are stored; there a slot
 * says what the sum of a group is too large by.
 *
 * The only file of the tier that is compiled for AVX-512; entered only after kern_avx512_init said
 * yes.
 */
#include "kernels/avx512/avx512.h"

#include <string.h>

#include "kernels/operand.h"
#include "kernels/product.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define INLINE static inline __attribute__((always_inline))

/* A third of a 48 KiB first-level cache, half of a smaller one; the rest is for activations. */
#define CHUNK_BYTES ((size_t)16 << 10)

#define GROUP 12

/* Eight pages side by side: the next 32 KiB. */
#define AHEAD_PAGES 8

/* The weights of a tile's columns 2i (odd 0) or 2i + 1 as f32. */
INLINE __m512 load_weights(enum kern_format format, const uint8_t *tile, int i, int odd)
{
    if (format == KERN_F32)
        return _mm512_loadu_ps((const float *)(const void *)(tile + 128 * i + 64 * odd));
    __m512i both = _mm512_loadu_si512((const void *)(tile + 64 * i));
    return _mm512_castsi512_ps(odd ? _mm512_and_si512(both, _mm512_set1_epi32((int)0xFFFF0000u))
                                   : _mm512_slli_epi32(both, 16));
}

/* Two chains per element over the 32 columns of a tile, their sum into the accumulators. */
INLINE void float_tile(enum kern_format format, int n, const uint8_t *tile, const float *x,
                       size_t stride, float (*sums)[KERN_PANEL_ROWS])
{
    __m512 e[GROUP], o[GROUP];
#pragma GCC unroll 12
    for (int p = 0; p < n; p++)
        e[p] = o[p] = _mm512_setzero_ps();
#pragma GCC unroll 1
    for (int i = 0; i < 16; i++) {
        __m512 even = load_weights(format, tile, i, 0), odd = load_weights(format, tile, i, 1);
#pragma GCC unroll 12
        for (int p = 0; p < n; p++) {
            const float *at = x + (size_t)p * stride + 2 * i;
            e[p] = _mm512_fmadd_ps(even, _mm512_set1_ps(at[0]), e[p]);
            o[p] = _mm512_fmadd_ps(odd, _mm512_set1_ps(at[1]), o[p]);
        }
    }
#pragma GCC unroll 12
    for (int p = 0; p < n; p++) {
        __m512 both = _mm512_add_ps(e[p], o[p]);
        _mm512_storeu_ps(sums[p], _mm512_add_ps(_mm512_loadu_ps(sums[p]), both));
    }
}

INLINE void float_chunk(enum kern_format format, int n, const struct kern_chunk *c, int32_t pos)
{
    const uint8_t *x = c->activations + (size_t)pos * c->pos_bytes;
    for (int32_t t = 0; t < c->n_tiles; t++) {
        kern_cursor_used(c->cursor, c->tile_bytes);
        float_tile(format, n, c->tiles + (size_t)t * c->tile_bytes,
                   (const float *)(const void *)(x + (size_t)t * c->tile_step_bytes),
                   c->pos_bytes / sizeof(float), c->sums + pos);
    }
}

/* A vector of weights times four activations of n positions. */
INLINE void add_products(int n, __m512i weights, const uint8_t *x, size_t stride, __m512i *acc)
{
#pragma GCC unroll 12
    for (int p = 0; p < n; p++) {
        int32_t four;
        memcpy(&four, x + (size_t)p * stride, sizeof four);
        acc[p] = _mm512_dpbusd_epi32(acc[p], weights, _mm512_set1_epi32(four));
    }
}

/* The weights of a line plus 128. */
INLINE __m512i load_biased(const uint8_t *line)
{
    return _mm512_xor_si512(_mm512_loadu_si512((const void *)line),
                            _mm512_set1_epi32((int)0x80808080u));
}

/* A single position has four accumulators, so that lines need not wait for each other. */
INLINE void int8_chunk(int n, const struct kern_chunk *c, int32_t pos)
{
    const uint8_t *x = c->activations + (size_t)pos * c->pos_bytes;
    const int chains = n == 1 ? 4 : 1;
    __m512i acc[GROUP];
#pragma GCC unroll 12
    for (int p = 0; p < n * chains; p++)
        acc[p] = _mm512_setzero_si512();
    for (int32_t t = 0; t < c->n_tiles; t++) {
        const uint8_t *tile = c->tiles + (size_t)t * c->tile_bytes;
        const uint8_t *at = x + (size_t)t * c->tile_step_bytes;
        kern_cursor_used(c->cursor, c->tile_bytes);
#pragma GCC unroll 1
        for (int i = 0; i < 16; i += chains)
#pragma GCC unroll 4
            for (int k = 0; k < chains; k++)
                add_products(n, load_biased(tile + (i + k) * KERN_LINE_BYTES), at + 4 * (i + k),
                             c->pos_bytes, acc + k);
    }
    if (n == 1)
        acc[0] =
            _mm512_add_epi32(_mm512_add_epi32(acc[0], acc[1]), _mm512_add_epi32(acc[2], acc[3]));
#pragma GCC unroll 12
    for (int p = 0; p < n; p++) {
        void *sum = c->sums[pos + p];
        _mm512_storeu_si512(sum, _mm512_add_epi32(_mm512_loadu_si512(sum), acc[p]));
    }
}

/* The integers of 16 rows in 4 columns each, 0 .. 15: the lower halves of a line's bytes, or the
 * upper. */
INLINE __m512i load_nibbles(const uint8_t *line, int upper)
{
    __m512i both = _mm512_loadu_si512((const void *)line);
    return _mm512_and_si512(upper ? _mm512_srli_epi32(both, 4) : both,
                            _mm512_set1_epi32(0x0F0F0F0F));
}

/* Adds group g of a tile to the accumulators. Its sum, at most 32 * 8 * 127 in magnitude, is
 * counted from the bits of 1.5 * 2^23: there the integer above it is the float above it, and taking
 * 1.5 * 2^23 away is exact. */
INLINE void int4_group(int n, int g, const uint8_t *tile, const uint8_t *slots, size_t stride,
                       __m512 *acc)
{
    const uint8_t *lines = tile + 4 * g * KERN_LINE_BYTES;
    __m512i sums[GROUP];
#pragma GCC unroll 12
    for (int p = 0; p < n; p++) {
        const struct kern_int4_slot *slot = (const void *)(slots + (size_t)p * stride);
        sums[p] =
            _mm512_sub_epi32(_mm512_set1_epi32(0x4B400000), _mm512_set1_epi32(slot->too_much[g]));
    }
#pragma GCC unroll 2
    for (int upper = 0; upper < 2; upper++)
#pragma GCC unroll 1
        for (int i = 0; i < 4; i++)
            add_products(n, load_nibbles(lines + i * KERN_LINE_BYTES, upper),
                         slots + KERN_INT4_GROUP * g + 8 * i + 4 * upper, stride, sums);
    /* The scales lie like a line of bf16 weights. */
    __m512 scales = load_weights(KERN_BF16, tile + 8 * KERN_LINE_BYTES, 0, g);
#pragma GCC unroll 12
    for (int p = 0; p < n; p++)
        acc[p] = _mm512_fmadd_ps(
            _mm512_sub_ps(_mm512_castsi512_ps(sums[p]), _mm512_set1_ps(0x1.8p23f)), scales, acc[p]);
}

INLINE void int4_chunk(int n, const struct kern_chunk *c, int32_t pos)
{
    const uint8_t *x = c->activations + (size_t)pos * c->pos_bytes;
    __m512 acc[GROUP];
#pragma GCC unroll 12
    for (int p = 0; p < n; p++)
        acc[p] = _mm512_loadu_ps(c->sums[pos + p]);
    for (int32_t t = 0; t < c->n_tiles; t++) {
        const uint8_t *tile = c->tiles + (size_t)t * c->tile_bytes;
        const uint8_t *slots = x + (size_t)t * c->tile_step_bytes;
        kern_cursor_used(c->cursor, c->tile_bytes);
        int4_group(n, 0, tile, slots, c->pos_bytes, acc);
        int4_group(n, 1, tile, slots, c->pos_bytes, acc);
    }
#pragma GCC unroll 12
    for (int p = 0; p < n; p++)
        _mm512_storeu_ps(c->sums[pos + p], acc[p]);
}

/* n is a constant wherever this is expanded, so accumulators are registers. */
INLINE void multiply(enum kern_format format, int n, const struct kern_chunk *c, int32_t pos)
{
    if (format == KERN_INT8)
        int8_chunk(n, c, pos);
    else if (format == KERN_INT4)
        int4_chunk(n, c, pos);
    else
        float_chunk(format, n, c, pos);
}

INLINE void multiply_group(enum kern_format format, int32_t n, const struct kern_chunk *c,
                           int32_t pos)
{
    switch (n) {
    case 1:
        multiply(format, 1, c, pos);
        break;
    case 2:
        multiply(format, 2, c, pos);
        break;
    case 3:
        multiply(format, 3, c, pos);
        break;
    case 4:
        multiply(format, 4, c, pos);
        break;
    case 5:
        multiply(format, 5, c, pos);
        break;
    case 6:
        multiply(format, 6, c, pos);
        break;
    case 7:
        multiply(format, 7, c, pos);
        break;
    case 8:
        multiply(format, 8, c, pos);
        break;
    case 9:
        multiply(format, 9, c, pos);
        break;
    case 10:
        multiply(format, 10, c, pos);
        break;
    case 11:
        multiply(format, 11, c, pos);
        break;
    case 12:
        multiply(format, 12, c, pos);
        break;
    }
}

/* As few groups as there can be, all about as large. An element does not depend on its group. */
INLINE void all_positions(enum kern_format format, const struct kern_chunk *c)
{
    int32_t n_groups = (c->n_pos + GROUP - 1) / GROUP;
    if (c->cursor)
        c->cursor->price = (size_t)n_groups;
    for (int32_t g = 0; g < n_groups; g++) {
        int32_t begin = c->n_pos * g / n_groups, end = c->n_pos * (g + 1) / n_groups;
        multiply_group(format, end - begin, c, begin);
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
        return kern_each_operand(o, 64, kern_operand_int8);
    case KERN_INT4:
        return kern_each_operand(o, 64, kern_operand_int4);
    case KERN_N_FORMATS:
        break;
    }
    return 0;
}

static const struct kern_multiplier by_avx512 = {
    .slot_bytes = {[KERN_F32] = 128,
                   [KERN_BF16] = 128,
                   [KERN_INT8] = 64,
                   [KERN_INT4] = sizeof(struct kern_int4_slot)},
    .expand = expand,
    .int8_bias = 128,
    .chunk_bytes = CHUNK_BYTES,
    .ahead_pages = AHEAD_PAGES,
    .multiply = multiply_chunk,
};

void kern_avx512_matmul(const struct kern_ctx *ctx, float *y, const struct kern_mat *mat,
                        const float *x, int32_t n_pos)
{
    kern_product(ctx, &by_avx512, y, mat, x, n_pos);
}

#else

/* Never entered: kern_avx512_init has refused. */
void kern_avx512_matmul(const struct kern_ctx *ctx, float *y, const struct kern_mat *mat,
                        const float *x, int32_t n_pos)
{
    (void)ctx, (void)y, (void)mat, (void)x, (void)n_pos;
}

#endif
