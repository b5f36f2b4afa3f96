/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/avx2/avx2.c - whether the tier runs here, and its table.
 *
 * This file runs before anybody knows what the processor can do, so it is compiled for any.
 */
#include "kernels/avx2/avx2.h"

#include <stdio.h>

#include "kernels/ref/ref.h"
#include "kernels/tiles.h"

int kern_avx2_init(char *why, size_t size)
{
#if defined(__x86_64__)
    /* The compiler's check includes that the operating system saves the wide registers. */
    if (!__builtin_cpu_supports("avx2")) {
        snprintf(why, size, "the processor or the operating system has no AVX2");
        return -1;
    }
    if (!__builtin_cpu_supports("fma")) {
        snprintf(why, size, "the processor has no fused multiply-add (FMA)");
        return -1;
    }
    return 0;
#else
    snprintf(why, size, "this is a build for another processor than x86-64");
    return -1;
#endif
}

void kern_avx2_id(char *out, size_t size)
{
    snprintf(out, size, "avx2");
}

const struct kern_ops kern_avx2_ops = {
    .name = "avx2",
    .formats = 1u << KERN_F32 | 1u << KERN_BF16 | 1u << KERN_INT8 | 1u << KERN_INT4,
    .mat_pack = kern_tiles_mat_pack,
    .mat_row = kern_tiles_mat_row,
    .matmul = kern_avx2_matmul,
    .rmsnorm = kern_ref_rmsnorm,
    .add = kern_ref_add,
    .silu_mul = kern_avx2_silu_mul,
    .rope = kern_ref_rope,
    .attention = kern_avx2_attention,
};
