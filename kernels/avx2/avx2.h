/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/avx2/avx2.h - products by 256-bit fused multiply-adds over the tiles of kernels/tiles.h.
 *
 * Private to kernels/ and its tests.
 */
#ifndef LATENTD_KERNELS_AVX2_AVX2_H
#define LATENTD_KERNELS_AVX2_AVX2_H

#include "kernels/kernels.h"

extern const struct kern_ops kern_avx2_ops;

/* 0 when this processor has AVX2 and FMA, or -1 with a reason in why[size]. */
int kern_avx2_init(char *why, size_t size);

/* "avx2" */
void kern_avx2_id(char *out, size_t size);

void kern_avx2_matmul(const struct kern_ctx *ctx, float *y, const struct kern_mat *mat,
                      const float *x, int32_t n_pos);

/* kern_ops.silu_mul with vectors of eight. */
void kern_avx2_silu_mul(const struct kern_ctx *ctx, float *z, const float *u, int32_t n,
                        int32_t n_pos);

/* kern_ops.attention: the loops of kernels/attention_pages.h with vectors of eight. */
void kern_avx2_attention(const struct kern_ctx *ctx, const struct kern_kv_layer *kv,
                         const struct kern_query *queries, int32_t n_queries, float *scores,
                         size_t scores_stride);

#endif
