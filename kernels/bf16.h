/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/bf16.h - the upper half of an f32: 1 sign, 8 exponent, 7 fraction.
 *
 * Every bf16 has an exact f32, so widening loses nothing. Rounding goes to nearest, ties to even; a
 * finite number above the largest bf16 becomes infinite, as IEEE 754 rounds; infinities and signs
 * stay, and NaN stays NaN (quiet). Pure functions of bits: the same on every processor.
 */
#ifndef LATENTD_KERNELS_BF16_H
#define LATENTD_KERNELS_BF16_H

#include <stdint.h>
#include <string.h>

static inline float kern_bf16_widen(uint16_t half)
{
    uint32_t bits = (uint32_t)half << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline uint16_t kern_bf16_round(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    /* A NaN whose payload lies in the lower half would become an infinity. */
    if ((bits & 0x7FFFFFFF) > 0x7F800000)
        return (uint16_t)(bits >> 16 | 0x40);
    /* Half of the last place, less one unless the last place is odd: what passes it carries over. */
    return (uint16_t)((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

#endif
