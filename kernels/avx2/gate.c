/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/avx2/gate.c - the loop of kernels/gate.h with vectors of AVX2.
 *
 * Compiled without fused multiply-adds, which would be other sums. For every tier that runs on
 * processors with AVX2; entered only after kern_avx2_init said yes.
 */
#include "kernels/avx2/avx2.h"
#include "kernels/gate.h"

void kern_avx2_silu_mul(const struct kern_ctx *ctx, float *z, const float *u, int32_t n,
                        int32_t n_pos)
{
    gate_all(ctx, z, u, n, n_pos);
}
