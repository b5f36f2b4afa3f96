/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/attention.c - the loops of kernels/attention_pages.h for any processor: vectors of four,
 * which the compiler takes apart where there are none. For tiers without a wider copy.
 */
#include "kernels/attention.h"

#define VECTOR_FLOATS        4
#define WIDEN_HALVES(narrow) __builtin_convertvector(narrow, words)
#include "kernels/attention_pages.h"

void kern_paged_attention(const struct kern_ctx *ctx, const struct kern_kv_layer *kv,
                          const struct kern_query *queries, int32_t n_queries, float *scores,
                          size_t scores_stride)
{
    attend_all(ctx, kv, queries, n_queries, scores, scores_stride);
}
