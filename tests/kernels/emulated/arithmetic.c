/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/kernels/emulated/arithmetic.c - single emulated instructions, for a test of the emulation.
 */
#include <immintrin.h>

#include "emulated.h"

void emulated_fmadd(float *out, const float *a, const float *b, const float *c)
{
    _mm512_storeu_ps(out,
                     _mm512_fmadd_ps(_mm512_loadu_ps(a), _mm512_loadu_ps(b), _mm512_loadu_ps(c)));
}

void emulated_add(float *out, const float *a, const float *b)
{
    _mm512_storeu_ps(out, _mm512_add_ps(_mm512_loadu_ps(a), _mm512_loadu_ps(b)));
}

void emulated_dpbusd(int32_t *out, const uint8_t *a, const int8_t *b)
{
    _mm512_storeu_si512(out, _mm512_dpbusd_epi32(_mm512_loadu_si512(out), _mm512_loadu_si512(a),
                                                 _mm512_loadu_si512(b)));
}
