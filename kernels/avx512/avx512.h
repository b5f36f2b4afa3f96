/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/avx512/avx512.h - products by 512-bit fused multiply-adds and VNNI over the tiles of
 * kernels/tiles.h: the 16 rows of a panel are the lanes of one vector.
 *
 * Private to kernels/ and its tests.
 */
#ifndef LATENTD_KERNELS_AVX512_AVX512_H
#define LATENTD_KERNELS_AVX512_AVX512_H

#include "kernels/kernels.h"

extern const struct kern_ops kern_avx512_ops;

/* 0 when this processor has AVX-512 F, BW, VL and VNNI and the operating system saves its
 * registers, or -1 with a reason in why[size]. */
int kern_avx512_init(char *why, size_t size);

/* "avx512" */
void kern_avx512_id(char *out, size_t size);

/* matmul of kernels/kernels.h for every format that kern_tiles_mat_pack makes. */
void kern_avx512_matmul(const struct kern_ctx *ctx, float *y, const struct kern_mat *mat,
                        const float *x, int32_t n_pos);

#endif
