/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/operand.h - what the activations of one tile become before they are multiplied.
 *
 * A slot is the operand of one position and one tile: 32 activations for f32 and bf16, 64 for int8
 * and int4. Which form a tier wants is its own choice; what the numbers are is not
 * (docs/numerics.md). A function of one tile returns the sum of its integers, 0 where there are
 * none. Inline, so that each tier compiles them for its own processor. Private to kernels/ and its
 * tests.
 */
#ifndef LATENTD_KERNELS_OPERAND_H
#define LATENTD_KERNELS_OPERAND_H

#include <stdint.h>
#include <string.h>

#include "kernels/bf16.h"
#include "kernels/int4.h"
#include "kernels/int8.h"
#include "kernels/kernels.h"

typedef int32_t kern_operand_fn(void *slot, const float *values, float scale);

/* Neighbouring whole tiles of one position. */
struct kern_operands {
    enum kern_format format;
    float scale;         /* int8 and int4: of the position */
    const float *values; /* [n_tiles][columns of a tile] */
    int32_t n_tiles;
    uint8_t *slots; /* 64-byte aligned; from one to the next: */
    size_t step_bytes;
};

/* Each tile by `one`, which has `tile_cols` columns. Returns the sum of all integers. */
static inline __attribute__((always_inline)) int32_t
kern_each_operand(const struct kern_operands *o, int32_t tile_cols, kern_operand_fn *one)
{
    int32_t sum = 0;
    for (int32_t t = 0; t < o->n_tiles; t++)
        sum += one(o->slots + (size_t)t * o->step_bytes, o->values + (size_t)t * (size_t)tile_cols,
                   o->scale);
    return sum;
}

/* f32 as they are: 128 bytes. */
static inline int32_t kern_operand_f32(void *slot, const float *values, float scale)
{
    (void)scale;
    memcpy(slot, values, 32 * sizeof *values);
    return 0;
}

/* Rounded to bf16: 64 bytes. */
static inline int32_t kern_operand_bf16(void *slot, const float *values, float scale)
{
    uint16_t *restrict halves = slot;
    (void)scale;
    for (int i = 0; i < 32; i++)
        halves[i] = kern_bf16_round(values[i]);
    return 0;
}

/* Rounded to bf16, then widened again: 128 bytes. */
static inline int32_t kern_operand_bf16_wide(void *slot, const float *values, float scale)
{
    float *restrict wide = slot;
    (void)scale;
    for (int i = 0; i < 32; i++)
        wide[i] = kern_bf16_widen(kern_bf16_round(values[i]));
    return 0;
}

/* int8: 64 bytes. */
static inline int32_t kern_operand_int8(void *slot, const float *values, float scale)
{
    int8_t *restrict integers = slot;
    int32_t sum = 0;
    kern_int8_round(integers, values, 64, scale);
    for (int i = 0; i < 64; i++)
        sum += integers[i];
    return sum;
}

/* int8 as int16, for a tier that needs no sum: 128 bytes. */
static inline int32_t kern_operand_int8_wide(void *slot, const float *values, float scale)
{
    int8_t integers[64];
    int16_t *restrict wide = slot;
    kern_int8_round(integers, values, 64, scale);
    for (int i = 0; i < 64; i++)
        wide[i] = integers[i];
    return 0;
}

/* For int4, where a tier multiplies by weights plus 8: the integers, and what each group's sum will
 * be too large by, eight times the sum of its activations. A multiple of 64 bytes. */
struct kern_int4_slot {
    _Alignas(64) int8_t integers[2 * KERN_INT4_GROUP];
    int32_t too_much[2];
};

static inline int32_t kern_operand_int4(void *slot, const float *values, float scale)
{
    struct kern_int4_slot *restrict out = slot;
    kern_int8_round(out->integers, values, 2 * KERN_INT4_GROUP, scale);
    for (int g = 0; g < 2; g++) {
        int32_t sum = 0;
        for (int i = 0; i < KERN_INT4_GROUP; i++)
            sum += out->integers[g * KERN_INT4_GROUP + i];
        out->too_much[g] = 8 * sum;
    }
    return 0;
}

#endif
