/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/kernels/emulated/emulated.h - tiers compiled a second time, for a processor with AVX2 and
 * FMA.
 */
#ifndef LATENTD_TESTS_KERNELS_EMULATED_EMULATED_H
#define LATENTD_TESTS_KERNELS_EMULATED_EMULATED_H

#include <stdint.h>

#include "kernels/kernels.h"

/* kernels/avx512/avx512.c and matmul.c, with emulated/immintrin.h in front of the compiler's. */
extern const struct kern_ops emulated_avx512_ops;

/* One emulated instruction each, over 16 lanes. */
void emulated_fmadd(float *out, const float *a, const float *b, const float *c);
void emulated_add(float *out, const float *a, const float *b);
/* out[i] += the four products of bytes 4i .. 4i+3. */
void emulated_dpbusd(int32_t *out, const uint8_t *a, const int8_t *b);

#endif
