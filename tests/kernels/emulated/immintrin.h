/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/kernels/emulated/immintrin.h - AVX-512 on a processor that has only AVX2 and FMA.
 *
 * A test that is compiled with this folder in front of the compiler's own gets the same intrinsics
 * with SIMDe behind the 512-bit ones: two instructions of 256 bits each, fused and rounded as MXCSR
 * says, or plain integer arithmetic. So the very source of a tier runs where its instructions do
 * not.
 */
#ifndef LATENTD_TESTS_KERNELS_EMULATED_IMMINTRIN_H
#define LATENTD_TESTS_KERNELS_EMULATED_IMMINTRIN_H

#include_next <immintrin.h>

#if defined(__AVX512F__)
#error "compiled for AVX-512 itself: there is nothing to emulate"
#endif
#if !defined(__FMA__) || !defined(__AVX2__)
#error "without -mavx2 -mfma SIMDe rounds twice where a fused multiply-add rounds once"
#endif

#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>

#endif
