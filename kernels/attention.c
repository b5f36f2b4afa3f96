/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/attention.c - the loops of kernels/attention_pages.h for any processor: vectors of four,
 * which the compiler takes apart where there are none. For tiers without a wider copy.
 */
#include "kernels/attention.h"

#include <string.h>

typedef uint16_t eight_halves __attribute__((vector_size(16)));
typedef uint64_t two_u64 __attribute__((vector_size(16)));

/* Each of four halves with zeros in front of it, which is below it in a word. */
static inline __attribute__((always_inline)) eight_halves widen_four(const uint16_t *at)
{
    two_u64 four = {0};
    memcpy(&four, at, 4 * sizeof *at);
    return __builtin_shufflevector((eight_halves){0}, (eight_halves)four, 0, 8, 1, 9, 2, 10, 3, 11);
}

#define VECTOR_FLOATS    4
#define WIDEN_HALVES(at) ((words)widen_four(at))
#include "kernels/attention_pages.h"

void kern_paged_attention(const struct kern_ctx *ctx, const struct kern_kv_layer *kv,
                          const struct kern_query *queries, int32_t n_queries, float *scores,
                          size_t scores_stride)
{
    attend_all(ctx, kv, queries, n_queries, scores, scores_stride);
}
