/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/candidates.c - asking a list of tiers whether they run here; see kernels/candidates.h.
 */
#include "kernels/candidates.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "kernels/selfcheck.h"

const char *kern_candidate_refusal(struct kern_candidate *c)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    pthread_mutex_lock(&lock);
    if (c->verdict == KERN_NOT_ASKED) {
        if (c->check(c->refusal, sizeof c->refusal) != 0)
            c->verdict = KERN_REFUSED;
        else if (kern_self_check(c->ops, c->refusal, sizeof c->refusal) != 0)
            c->verdict = KERN_DIFFERS;
        else
            c->verdict = KERN_ACCEPTED;
    }
    pthread_mutex_unlock(&lock);
    return c->verdict == KERN_ACCEPTED ? NULL : c->refusal;
}

void kern_candidate_describe(struct kern_candidate *c, struct kern_tier_info *out)
{
    const char *refusal = kern_candidate_refusal(c);
    *out = (struct kern_tier_info){.name = c->ops->name, .what = c->what, .available = !refusal};
    out->differs = c->verdict == KERN_DIFFERS;
    if (refusal)
        snprintf(out->refusal, sizeof out->refusal, "%s", refusal);
}

static const struct kern_ops *find_best(struct kern_candidate *list, int32_t n, struct ltd_err *err)
{
    const char *refusal = "there is none";
    for (int32_t i = 0; i < n; i++) {
        refusal = kern_candidate_refusal(&list[i]);
        if (!refusal)
            return list[i].ops;
    }
    return ltd_fail_null(err, LTD_E_UNIMPLEMENTED, "no kernel tier runs here; the last said: %s",
                         refusal);
}

static void list_names(const struct kern_candidate *list, int32_t n, char *out, size_t size)
{
    size_t used = 0;
    out[0] = '\0';
    for (int32_t i = 0; i < n && used < size; i++)
        used += (size_t)snprintf(out + used, size - used, ", %s", list[i].ops->name);
}

const struct kern_ops *kern_candidates_find(struct kern_candidate *list, int32_t n,
                                            const char *name, struct ltd_err *err)
{
    if (strcmp(name, "auto") == 0)
        return find_best(list, n, err);
    for (int32_t i = 0; i < n; i++) {
        if (strcmp(name, list[i].ops->name) != 0)
            continue;
        const char *refusal = kern_candidate_refusal(&list[i]);
        if (!refusal)
            return list[i].ops;
        return ltd_fail_null(err, LTD_E_UNIMPLEMENTED, "kernel tier %s does not run here: %s", name,
                             refusal);
    }
    char names[160];
    list_names(list, n, names, sizeof names);
    return ltd_fail_null(err, LTD_E_NOT_FOUND, "kernel tier \"%.40s\", expected one of auto%s",
                         name, names);
}
