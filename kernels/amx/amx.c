/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/amx/amx.c - whether the tier runs here, and its table.
 *
 * This file runs before anybody knows what the processor can do, so it is compiled for any.
 */
#include "kernels/amx/amx.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "kernels/avx2/avx2.h"
#include "kernels/avx512/avx512.h"
#include "kernels/ref/ref.h"
#include "kernels/tiles.h"

static bool has_avx512; /* written by kern_amx_init */

#if defined(__x86_64__) && defined(__linux__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Leaf 7 of cpuid, edx. */
#define HAS_BF16  (1u << 22)
#define HAS_TILES (1u << 24)
#define HAS_INT8  (1u << 25)

/* Leaf 1, ecx: the operating system saves extended state, and xgetbv says which. */
#define HAS_XGETBV (1u << 27)

/* Components of extended state: configuration and contents of tiles. Contents are also the number
 * that Linux is asked for (asm/prctl.h: since 5.16). */
#define STATE_TILE_CONFIG   17
#define STATE_TILE_CONTENTS 18
#define ARCH_REQ_XCOMP_PERM 0x1023

static uint64_t saved_state(void)
{
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

/* Leaf 29: palette 1 must be the one that kernels/amx/matmul.c is written for. */
static bool has_palette(void)
{
    unsigned a, b, c, d;
    if (!__get_cpuid_count(29, 0, &a, &b, &c, &d) || a < 1)
        return false;
    if (!__get_cpuid_count(29, 1, &a, &b, &c, &d))
        return false;
    return a >> 16 == 1024 && (b & 0xFFFF) == 64 && b >> 16 >= 8 && (c & 0xFFFF) >= 16;
}

/* NULL when the processor has everything, or what is missing. */
static const char *missing(void)
{
    unsigned a, b, c, d;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(d & HAS_TILES))
        return "the processor has no AMX (amx-tile)";
    if (!(d & HAS_BF16))
        return "the processor's AMX has no bf16 (amx-bf16)";
    if (!(d & HAS_INT8))
        return "the processor's AMX has no int8 (amx-int8)";
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & HAS_XGETBV) ||
        (saved_state() >> STATE_TILE_CONFIG & 1) == 0 ||
        (saved_state() >> STATE_TILE_CONTENTS & 1) == 0)
        return "the operating system does not save the tiles of AMX (XCR0 bits 17 and 18)";
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma"))
        return "the processor has no AVX2 or no FMA beside its AMX";
    if (!has_palette())
        return "the processor's AMX has no palette 1 of 8 tiles with 16 rows of 64 bytes";
    return NULL;
}

int kern_amx_init(char *why, size_t size)
{
    const char *what = missing();
    char reason[160]; /* nobody asked */
    if (what) {
        snprintf(why, size, "%s", what);
        return -1;
    }
    if (syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, STATE_TILE_CONTENTS) != 0) {
        snprintf(why, size, "Linux does not let this process use tiles: arch_prctl: %s",
                 strerror(errno));
        return -1;
    }
    has_avx512 = kern_avx512_init(reason, sizeof reason) == 0;
    return 0;
}

#else

int kern_amx_init(char *why, size_t size)
{
    snprintf(why, size, "this is a build for something else than Linux on x86-64");
    return -1;
}

#endif

/* f32, which AMX does not have, and int4, whose groups of 32 columns would leave it nothing to win,
 * are the business of vectors. A virtual machine may show AMX without AVX-512. */
static void matmul(const struct kern_ctx *ctx, float *y, const struct kern_mat *mat, const float *x,
                   int32_t n_pos)
{
    if (mat->format == KERN_BF16 || mat->format == KERN_INT8)
        kern_amx_matmul(ctx, y, mat, x, n_pos);
    else if (has_avx512)
        kern_avx512_matmul(ctx, y, mat, x, n_pos);
    else
        kern_avx2_matmul(ctx, y, mat, x, n_pos);
}

void kern_amx_id(char *out, size_t size)
{
    snprintf(out, size, "amx");
}

const struct kern_ops kern_amx_ops = {
    .name = "amx",
    .formats = 1u << KERN_F32 | 1u << KERN_BF16 | 1u << KERN_INT8 | 1u << KERN_INT4,
    .mat_pack = kern_tiles_mat_pack,
    .mat_row = kern_tiles_mat_row,
    .matmul = matmul,
    .rmsnorm = kern_ref_rmsnorm,
    .add = kern_ref_add,
    .silu_mul = kern_avx2_silu_mul,
    .rope = kern_ref_rope,
    .attention = kern_avx2_attention,
};
