/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/exp.h - e^x in f32, the same bits from every compiler, C library and vector width.
 *
 *     t = x log2(e)    k = t to the nearest integer    e^x = 2^k 2^(t - k)
 *
 * in double, with products and sums that are rounded one by one, so vectors of it are vectors of the
 * same operations: the file that includes this decides how many lanes they have. The polynomial is
 * the best of its degree for 2^r on [-1/2, 1/2] that gives 2^0 exactly (Remez exchange; relative
 * error 2^-39.7), so one result in some hundred thousand is not the f32 that lies nearest, but the
 * one beside it. Overflow gives infinity, underflow denormals and zero, as the one rounding to f32 does;
 * NaN stays NaN. Private to kernels/ and its tests (docs/numerics.md#exp).
 */
#ifndef LATENTD_KERNELS_EXP_H
#define LATENTD_KERNELS_EXP_H

#include <stdint.h>
#include <string.h>

static inline __attribute__((always_inline)) float kern_exp(float x)
{
    static const double c[] = {0x1p+0,
                               0x1.62e42fef7a78dp-1,
                               0x1.ebfbdff7c5a8ap-3,
                               0x1.c6b08defc20b9p-5,
                               0x1.3b2ab7f3b1124p-7,
                               0x1.5d8729761e27cp-10,
                               0x1.4306c11a53d76p-13,
                               0x1.00ee06e852cf1p-16,
                               0x1.66348367dfc52p-20};
    /* Beyond these e^x is infinite, or less than half of the smallest denormal. */
    x = x > 89.0f ? 89.0f : x;
    x = x < -104.0f ? -104.0f : x;
    double t = (double)x * 0x1.71547652b82fep+0;
    /* Where one is the last place, k is what lies in the last places. */
    double shifted = t + 0x1.8p+52, r = t - (shifted - 0x1.8p+52);
    double p =
        ((((((((c[8] * r + c[7]) * r + c[6]) * r + c[5]) * r + c[4]) * r + c[3]) * r + c[2]) * r +
          c[1]) *
             r +
         c[0]);
    uint64_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    bits = (bits + 1023) << 52;
    double power;
    memcpy(&power, &bits, sizeof power);
    return (float)(p * power);
}

#endif
