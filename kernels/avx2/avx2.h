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

#endif
