/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/dispatch.c - the ordered list of tiers; see kernels/dispatch.h.
 *
 * A new tier is one row here and one folder beside ref/.
 */
#include "kernels/dispatch.h"

#include <stdio.h>
#include <string.h>

#include "kernels/amx/amx.h"
#include "kernels/avx2/avx2.h"
#include "kernels/avx512/avx512.h"
#include "kernels/candidates.h"
#include "kernels/openblas/openblas.h"
#include "kernels/ref/ref.h"

static int always(char *why, size_t size)
{
    (void)why;
    (void)size;
    return 0;
}

static void ref_id(char *out, size_t size)
{
    snprintf(out, size, "ref");
}

/* Best first. Verdicts are filled in when they are asked for. */
static struct kern_candidate candidates[] = {
    {.ops = &kern_amx_ops,
     .what = "bf16 and int8 by matrix units, f32 and int4 by vectors, x86-64 with AMX",
     .check = kern_amx_init,
     .id = kern_amx_id},
    {.ops = &kern_avx512_ops,
     .what = "f32, bf16, int8 and int4 by 512-bit vectors, x86-64 with AVX-512 and VNNI",
     .check = kern_avx512_init,
     .id = kern_avx512_id},
    {.ops = &kern_avx2_ops,
     .what = "f32, bf16, int8 and int4 by 256-bit vectors, x86-64 with AVX2 and FMA",
     .check = kern_avx2_init,
     .id = kern_avx2_id},
    {.ops = &kern_openblas_ops,
     .what = "f32 products by OpenBLAS, any processor",
     .check = kern_openblas_init,
     .id = kern_openblas_id},
    {.ops = &kern_ref_ops,
     .what = "f32, bf16, int8 and int4 in plain loops, the specification; slow",
     .check = always,
     .id = ref_id},
};

#define N_CANDIDATES ((int32_t)(sizeof candidates / sizeof candidates[0]))

int32_t kern_tier_count(void)
{
    return N_CANDIDATES;
}

void kern_tier_describe(int32_t idx, struct kern_tier_info *out)
{
    kern_candidate_describe(&candidates[idx], out);
}

const struct kern_ops *kern_tier_find(const char *name, struct ltd_err *err)
{
    return kern_candidates_find(candidates, N_CANDIDATES, name, err);
}

void kern_tier_id(const struct kern_ops *ops, char *out, size_t out_bytes)
{
    for (int32_t i = 0; i < N_CANDIDATES; i++)
        if (candidates[i].ops == ops || strcmp(candidates[i].ops->name, ops->name) == 0) {
            candidates[i].id(out, out_bytes);
            return;
        }
    snprintf(out, out_bytes, "%s", ops->name);
}
