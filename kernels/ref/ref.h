/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/ref/ref.h - the tier that is the specification: every kernel as its plain loop.
 *
 * Complete, slow and obvious. Other tiers take over from this table what they have nothing better
 * for; a kernel that is not a product has the same bits in every tier (docs/numerics.md).
 * Private to kernels/ and its tests.
 */
#ifndef LATENTD_KERNELS_REF_REF_H
#define LATENTD_KERNELS_REF_REF_H

#include "kernels/kernels.h"

extern const struct kern_ops kern_ref_ops;

int kern_ref_mat_pack(const struct kern_ctx *ctx, struct kern_mat *mat, enum kern_format format,
                      const struct kern_rows *parts, int32_t n_parts, int32_t cols,
                      struct ltd_err *err);
void kern_ref_mat_row(const struct kern_ctx *ctx, const struct kern_mat *mat, int32_t row,
                      float *out);
void kern_ref_matmul(const struct kern_ctx *ctx, float *y, const struct kern_mat *mat,
                     const float *x, int32_t n_pos);
void kern_ref_rmsnorm(const struct kern_ctx *ctx, float *y, const float *x, const float *weight,
                      int32_t n, int32_t n_pos, float eps);
void kern_ref_add(const struct kern_ctx *ctx, float *y, const float *a, const float *b,
                  int64_t count);
void kern_ref_silu_mul(const struct kern_ctx *ctx, float *z, const float *u, int32_t n,
                       int32_t n_pos);
void kern_ref_rope(const struct kern_ctx *ctx, float *x, const float *bias, const float *cos_sin,
                   int32_t n_heads, int32_t head_dim);
void kern_ref_attention(const struct kern_ctx *ctx, const struct kern_kv_layer *kv,
                        const struct kern_query *queries, int32_t n_queries, float *scores,
                        size_t scores_stride);

#endif
