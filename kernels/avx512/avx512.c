/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/avx512/avx512.c - whether the tier runs here, and its table.
 *
 * This file runs before anybody knows what the processor can do, so it is compiled for any.
 */
#include "kernels/avx512/avx512.h"

#include <stdio.h>

#include "kernels/avx2/avx2.h"
#include "kernels/ref/ref.h"
#include "kernels/tiles.h"

#if defined(__x86_64__)
static int refuse(char *why, size_t size, const char *what)
{
    snprintf(why, size, "the processor has no %s", what);
    return -1;
}
#endif

int kern_avx512_init(char *why, size_t size)
{
#if defined(__x86_64__)
    /* The compiler's check includes that the operating system saves the wide registers. */
    if (!__builtin_cpu_supports("avx512f")) {
        snprintf(why, size, "the processor or the operating system has no AVX-512");
        return -1;
    }
    if (!__builtin_cpu_supports("avx512bw"))
        return refuse(why, size, "AVX-512 for bytes and words (BW)");
    if (!__builtin_cpu_supports("avx512vl"))
        return refuse(why, size, "AVX-512 for shorter vectors (VL)");
    if (!__builtin_cpu_supports("avx512vnni"))
        return refuse(why, size, "AVX-512 for products of bytes (VNNI)");
    return 0;
#else
    snprintf(why, size, "this is a build for another processor than x86-64");
    return -1;
#endif
}

void kern_avx512_id(char *out, size_t size)
{
    snprintf(out, size, "avx512");
}

const struct kern_ops kern_avx512_ops = {
    .name = "avx512",
    .formats = 1u << KERN_F32 | 1u << KERN_BF16 | 1u << KERN_INT8 | 1u << KERN_INT4,
    .mat_pack = kern_tiles_mat_pack,
    .mat_row = kern_tiles_mat_row,
    .matmul = kern_avx512_matmul,
    .rmsnorm = kern_ref_rmsnorm,
    .add = kern_ref_add,
    .silu_mul = kern_avx2_silu_mul,
    .rope = kern_ref_rope,
    .attention = kern_avx2_attention,
};
