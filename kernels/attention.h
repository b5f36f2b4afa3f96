/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/attention.h - attention with the keys of a page side by side: the bits of the reference,
 * in less time. As kern_ops.attention: the path of tiers without a wider copy (kernels/avx2).
 * Private to kernels/.
 */
#ifndef LATENTD_KERNELS_ATTENTION_H
#define LATENTD_KERNELS_ATTENTION_H

#include "kernels/kernels.h"

void kern_paged_attention(const struct kern_ctx *ctx, const struct kern_kv_layer *kv,
                          const struct kern_query *queries, int32_t n_queries, float *scores,
                          size_t scores_stride);

#endif
