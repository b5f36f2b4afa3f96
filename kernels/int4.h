/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/int4.h - four-bit integers with a scale for each group of columns: what a row of weights
 * becomes.
 *
 *     e = the element of largest magnitude of the group, the first of them
 *     scale = e / -8, rounded to bf16        element = value / scale, to nearest, ties to even, -8 .. 7
 *
 * so the largest element takes the end that has the extra integer. Activations are those of
 * kernels/int8.h. The sums of the groups, exact integers, are multiplied and added in the order of
 * the columns (docs/numerics.md#int4, which also says what was measured before these were chosen).
 * One definition for all tiers. Private to kernels/ and its tests.
 */
#ifndef LATENTD_KERNELS_INT4_H
#define LATENTD_KERNELS_INT4_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "kernels/bf16.h"

/* Columns that share a scale; the last group of a row may have fewer. A sum over a group, at most
 * 32 * 8 * 127 in magnitude, is exact as f32. */
#define KERN_INT4_GROUP 32

/* Groups of a row. */
static inline int32_t kern_int4_groups(int32_t cols)
{
    return (int32_t)(((int64_t)cols + KERN_INT4_GROUP - 1) / KERN_INT4_GROUP);
}

/* The scale of n finite values as bf16; 0 for zeros, and for numbers so small that an eighth of
 * them is nothing. Never infinite. */
static inline uint16_t kern_int4_scale(const float *values, int32_t n)
{
    float extreme = 0.0f;
    for (int32_t i = 0; i < n; i++)
        extreme = fabsf(values[i]) > fabsf(extreme) ? values[i] : extreme;
    uint16_t half = kern_bf16_round(extreme / -8.0f);
    return (half & 0x7FFF) == 0 ? 0 : half;
}

/* n values over a scale of either sign; zeros when it is 0. The bounds and the rounding: see
 * kern_int8_round. */
static inline void kern_int4_round(int8_t *out, const float *values, int32_t n, float scale)
{
    if (scale == 0.0f) {
        memset(out, 0, (size_t)n);
        return;
    }
    for (int32_t i = 0; i < n; i++) {
        float q = (values[i] / scale + 0x1.8p23f) - 0x1.8p23f;
        q = q > 7.0f ? 7.0f : q;
        q = q < -8.0f ? -8.0f : q;
        out[i] = (int8_t)q;
    }
}

/* One group more in the sum of an element: rounded once. */
static inline float kern_int4_add(float sum, int32_t group_sum, float scale)
{
    return fmaf((float)group_sum, scale, sum);
}

#endif
