/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/kernels/special.h - bf16 numbers that meet the edges of arithmetic.
 */
#ifndef LATENTD_TESTS_KERNELS_SPECIAL_H
#define LATENTD_TESTS_KERNELS_SPECIAL_H

#include <stddef.h>
#include <stdint.h>

#include "random.h"

enum special_kind {
    SPECIAL_ORDINARY,   /* exponents as activations and weights have them */
    SPECIAL_WIDE,       /* any finite number, denormals among them */
    SPECIAL_TINY,       /* products of two around 2^-126, so that sums are or become denormal */
    SPECIAL_EDGES,      /* ordinary ones with zeros of both signs, denormals, the largest */
    SPECIAL_NOT_FINITE, /* the same with a few infinities and NaN */
    SPECIAL_N_KINDS
};

static inline uint16_t special_half(enum special_kind kind, uint64_t *state)
{
    static const uint16_t edges[] = {0x0000, 0x8000, 0x0001, 0x8001, 0x007F, 0x807F,
                                     0x0080, 0x8080, 0x7F7F, 0xFF7F, 0x3F80, 0xBF80};
    static const uint16_t not_finite[] = {0x7F80, 0xFF80, 0x7FC0, 0xFFC1};
    uint32_t bits = random_u32(state);
    uint16_t sign_fraction = (uint16_t)(bits & 0x807F);
    uint16_t draw = (uint16_t)(bits >> 16);
    switch (kind) {
    case SPECIAL_WIDE:
        return (uint16_t)(sign_fraction | draw % 255 << 7);
    case SPECIAL_TINY: /* exponents 2^-68 .. 2^-59 */
        return (uint16_t)(sign_fraction | (59 + draw % 10) << 7);
    case SPECIAL_NOT_FINITE:
        if (draw % 97 == 0)
            return not_finite[draw / 97 % 4];
        /* fall through */
    case SPECIAL_EDGES:
        if (draw % 5 == 0)
            return edges[draw / 5 % 12];
        /* fall through */
    case SPECIAL_ORDINARY:
    case SPECIAL_N_KINDS:
        break;
    }
    return (uint16_t)(sign_fraction | (117 + draw % 11) << 7);
}

static inline void special_fill(uint16_t *out, size_t n, enum special_kind kind, uint64_t seed)
{
    for (size_t i = 0; i < n; i++)
        out[i] = special_half(kind, &seed);
}

#endif
