/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/kernels/emulated/tiers.c - kernels/dispatch.h over tiers whose instructions are emulated.
 *
 * A test of all tiers that is linked with this file in place of kernels/dispatch.c runs on these:
 * what it asks of every tier is then asked of kernels that this processor could not execute. `ref`
 * is what they are compared with. There is no self-check: a tier that it refused would not be
 * tested.
 */
#include <stdio.h>
#include <string.h>

#include "kernels/avx2/avx2.h"
#include "kernels/candidates.h"
#include "kernels/ref/ref.h"
#include "emulated.h"

static int always(char *why, size_t size)
{
    (void)why;
    (void)size;
    return 0;
}

static void plain_id(char *out, size_t size)
{
    snprintf(out, size, "emulated");
}

static struct kern_candidate candidates[] = {
    {.ops = &emulated_avx512_ops,
     .what = "AVX-512 by AVX2 and FMA",
     .check = kern_avx2_init,
     .id = plain_id},
    {.ops = &kern_ref_ops, .what = "the specification", .check = always, .id = plain_id},
};

#define N_CANDIDATES ((int32_t)(sizeof candidates / sizeof candidates[0]))

static void settle_verdicts(void)
{
    for (int32_t i = 0; i < N_CANDIDATES; i++) {
        struct kern_candidate *c = &candidates[i];
        if (c->verdict == KERN_NOT_ASKED)
            c->verdict =
                c->check(c->refusal, sizeof c->refusal) == 0 ? KERN_ACCEPTED : KERN_REFUSED;
    }
}

int32_t kern_tier_count(void)
{
    return N_CANDIDATES;
}

void kern_tier_describe(int32_t idx, struct kern_tier_info *out)
{
    settle_verdicts();
    kern_candidate_describe(&candidates[idx], out);
}

const struct kern_ops *kern_tier_find(const char *name, struct ltd_err *err)
{
    settle_verdicts();
    return kern_candidates_find(candidates, N_CANDIDATES, name, err);
}

void kern_tier_id(const struct kern_ops *ops, char *out, size_t out_bytes)
{
    (void)ops;
    plain_id(out, out_bytes);
}
