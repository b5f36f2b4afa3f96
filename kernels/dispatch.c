/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/dispatch.c - the ordered list of tiers; see kernels/dispatch.h.
 *
 * A new tier is one row here and one folder beside ref/.
 */
#include "kernels/dispatch.h"

#include <stdio.h>
#include <string.h>

#include "kernels/avx2/avx2.h"
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

/* Best first. `check` initialises the tier and returns 0, or -1 with a sentence. */
static const struct candidate {
    const struct kern_ops *ops;
    const char *what;
    int (*check)(char *why, size_t size);
    void (*id)(char *out, size_t size);
} candidates[] = {
    {&kern_avx2_ops, "f32, bf16 and int8 by 256-bit vectors, x86-64 with AVX2 and FMA",
     kern_avx2_init, kern_avx2_id},
    {&kern_openblas_ops, "f32 products by OpenBLAS, any processor", kern_openblas_init,
     kern_openblas_id},
    {&kern_ref_ops, "f32, bf16 and int8 in plain loops, the specification; slow", always, ref_id},
};

#define N_CANDIDATES ((int32_t)(sizeof candidates / sizeof candidates[0]))

int32_t kern_tier_count(void)
{
    return N_CANDIDATES;
}

void kern_tier_describe(int32_t idx, struct kern_tier_info *out)
{
    const struct candidate *c = &candidates[idx];
    *out = (struct kern_tier_info){.name = c->ops->name, .what = c->what};
    out->available = c->check(out->refusal, sizeof out->refusal) == 0;
}

static const struct kern_ops *find_best(struct ltd_err *err)
{
    char why[160] = "";
    for (int32_t i = 0; i < N_CANDIDATES; i++)
        if (candidates[i].check(why, sizeof why) == 0)
            return candidates[i].ops;
    return ltd_fail_null(err, LTD_E_UNIMPLEMENTED, "no kernel tier runs here; the last said: %s",
                         why);
}

static void list_names(char *out, size_t size)
{
    size_t used = 0;
    out[0] = '\0';
    for (int32_t i = 0; i < N_CANDIDATES && used < size; i++)
        used += (size_t)snprintf(out + used, size - used, ", %s", candidates[i].ops->name);
}

const struct kern_ops *kern_tier_find(const char *name, struct ltd_err *err)
{
    if (strcmp(name, "auto") == 0)
        return find_best(err);
    for (int32_t i = 0; i < N_CANDIDATES; i++) {
        if (strcmp(name, candidates[i].ops->name) != 0)
            continue;
        char why[160] = "";
        if (candidates[i].check(why, sizeof why) == 0)
            return candidates[i].ops;
        return ltd_fail_null(err, LTD_E_UNIMPLEMENTED, "kernel tier %s does not run here: %s", name,
                             why);
    }
    char names[160];
    list_names(names, sizeof names);
    return ltd_fail_null(err, LTD_E_NOT_FOUND, "kernel tier \"%.40s\", expected one of auto%s",
                         name, names);
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
