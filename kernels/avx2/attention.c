/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/avx2/attention.c - the loops of kernels/attention_pages.h with vectors of eight.
 *
 * Compiled for AVX2 and without fused multiply-adds, which would be other sums. For every tier that
 * runs on processors with AVX2; entered only after kern_avx2_init said yes.
 */
#include "kernels/avx2/avx2.h"

#if defined(__AVX2__)

#include <immintrin.h>

#define VECTOR_FLOATS 8
#define WIDEN_HALVES(at)                                                                           \
    ((words)_mm256_slli_epi32(                                                                     \
        _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(const void *)(at))), 16))
#include "kernels/attention_pages.h"

void kern_avx2_attention(const struct kern_ctx *ctx, const struct kern_kv_layer *kv,
                         const struct kern_query *queries, int32_t n_queries, float *scores,
                         size_t scores_stride)
{
    attend_all(ctx, kv, queries, n_queries, scores, scores_stride);
}

#else

/* Never entered: kern_avx2_init has refused. */
void kern_avx2_attention(const struct kern_ctx *ctx, const struct kern_kv_layer *kv,
                         const struct kern_query *queries, int32_t n_queries, float *scores,
                         size_t scores_stride)
{
    (void)ctx, (void)kv, (void)queries, (void)n_queries, (void)scores, (void)scores_stride;
}

#endif
