/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/amx/amx.h - products in bf16 and int8 by the matrix units of AMX over the tiles of
 * kernels/tiles.h; f32 and int4 are those of kernels/avx512, or of
 * kernels/avx2 where that does not run: the same bits.
 *
 * Private to kernels/ and its tests.
 */
#ifndef LATENTD_KERNELS_AMX_AMX_H
#define LATENTD_KERNELS_AMX_AMX_H

#include "kernels/kernels.h"

extern const struct kern_ops kern_amx_ops;

/*
 * 0 when processor, operating system and this process may use tiles, or -1 with a reason in
 * why[size]. Asks Linux for the permission, which holds for the whole process: for the threads that
 * exist already as for those to come. Call it before there are any all the same: the request is
 * refused when a thread has an alternate signal stack that is too small for a frame with tiles.
 */
int kern_amx_init(char *why, size_t size);

/* "amx" */
void kern_amx_id(char *out, size_t size);

/* matmul of kernels/kernels.h for bf16 and int8 only. */
void kern_amx_matmul(const struct kern_ctx *ctx, float *y, const struct kern_mat *mat,
                     const float *x, int32_t n_pos);

#endif
