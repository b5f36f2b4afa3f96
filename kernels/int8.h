/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/int8.h - eight-bit integers with a scale: what a row of weights or a position becomes.
 *
 *     scale = (largest magnitude) / 127        element = value / scale, to nearest, ties to even
 *
 * One definition for weights and activations and for all tiers (docs/numerics.md#weight-formats).
 * Private to kernels/ and its tests.
 */
#ifndef LATENTD_KERNELS_INT8_H
#define LATENTD_KERNELS_INT8_H

#include <stdint.h>
#include <string.h>

/* With more columns a sum of products of magnitude 127 * 127 could leave int32. */
#define KERN_INT8_MAX_COLS 131072

/* Bits of an f32 without its sign: they order like magnitudes, infinity and NaN on top. */
static inline uint32_t kern_magnitude_bits(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits & 0x7FFFFFFF;
}

/* The largest of kern_magnitude_bits over n values, and of `largest`. */
static inline uint32_t kern_largest_bits(const float *values, int64_t n, uint32_t largest)
{
    for (int64_t i = 0; i < n; i++) {
        uint32_t bits = kern_magnitude_bits(values[i]);
        largest = bits > largest ? bits : largest;
    }
    return largest;
}

/* The scale for that largest magnitude; NaN when it is not finite. 0 for zeros, and for numbers so
 * small that a 127th of them is nothing. */
static inline float kern_int8_scale(uint32_t largest_bits)
{
    float largest;
    if (largest_bits >= 0x7F800000)
        largest_bits = 0x7FC00000;
    memcpy(&largest, &largest_bits, sizeof largest);
    return largest / 127.0f;
}

/* n values over `scale`; zeros when the scale is 0 or NaN. A denormal scale is rounded so coarsely
 * that a quotient can pass 127, hence the bounds. Adding and taking away 1.5 * 2^23 rounds to an
 * integer, to nearest and ties to even, without a call. */
static inline void kern_int8_round(int8_t *out, const float *values, int64_t n, float scale)
{
    if (!(scale > 0.0f)) {
        memset(out, 0, (size_t)n);
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        float q = (values[i] / scale + 0x1.8p23f) - 0x1.8p23f;
        q = q > 127.0f ? 127.0f : q;
        q = q < -127.0f ? -127.0f : q;
        out[i] = (int8_t)q;
    }
}

/* What a sum of integer products stands for. A position that is not finite has a NaN scale. */
static inline float kern_int8_result(int32_t sum, float weight_scale, float position_scale)
{
    return (float)sum * (weight_scale * position_scale);
}

#endif
