/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/candidates.h - a list of tiers, and the verdict on each: what kernels/dispatch.h does for
 * the tiers of this build, over any list. Private to kernels/ and its tests.
 *
 * A candidate is asked once per process, when somebody first wants to know: its own check, then the
 * comparison with the reference (kernels/selfcheck.h). The verdict stays. Any thread may ask.
 */
#ifndef LATENTD_KERNELS_CANDIDATES_H
#define LATENTD_KERNELS_CANDIDATES_H

#include "kernels/dispatch.h"

/* Refused: it declined by itself. Differs: it gave other bits than the reference. */
enum kern_verdict { KERN_NOT_ASKED, KERN_ACCEPTED, KERN_REFUSED, KERN_DIFFERS };

struct kern_candidate {
    const struct kern_ops *ops;
    const char *what;
    int (*check)(char *why, size_t size); /* initialises the tier; 0, or -1 with a sentence */
    void (*id)(char *out, size_t size);
    enum kern_verdict verdict; /* this and the next: written once, under a lock */
    char refusal[KERN_REFUSAL_BYTES];
};

/* kern_candidate_refusal - NULL when the tier runs here, or why not; lives as long as the
 * process. */
const char *kern_candidate_refusal(struct kern_candidate *c);

/* kern_tier_describe and kern_tier_find for a list, best first. */
void kern_candidate_describe(struct kern_candidate *c, struct kern_tier_info *out);
const struct kern_ops *kern_candidates_find(struct kern_candidate *list, int32_t n,
                                            const char *name, struct ltd_err *err);

#endif
