/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/dispatch.h - which tiers exist, which of them this machine can run, and why not.
 *
 * One ordered list of candidates, best first. "auto" takes the first that does not decline; a
 * candidate that declines says why, and `latentctl info` shows the sentence. The choice is a fact
 * about an answer's bits (kernels/kernels.h), so it is made once at start and agreed on by ranks.
 *
 * A tier that does not decline is compared with the reference before its first use, a few
 * milliseconds (kernels/selfcheck.h); one that differs is refused like one that declines.
 *
 * Threads: any may call. A tier is asked once per process, by the first call that concerns it,
 * which initialises what lies behind it; let that be before other threads exist.
 */
#ifndef LATENTD_KERNELS_DISPATCH_H
#define LATENTD_KERNELS_DISPATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "kernels/kernels.h"

/* A refusal is one sentence, with its end. */
#define KERN_REFUSAL_BYTES 240

struct kern_tier_info {
    const char *name;
    const char *what; /* one line for people */
    bool available;
    bool differs; /* refused because it gave other bits than the reference: a broken machine */
    char refusal[KERN_REFUSAL_BYTES]; /* why it is not available; empty when it is */
};

/* Number of candidates, and what is known about candidate `idx`, 0 being the most preferred. */
int32_t kern_tier_count(void);
void kern_tier_describe(int32_t idx, struct kern_tier_info *out);

/*
 * kern_tier_find - the table of the tier called `name`, or with "auto" the best available one.
 * LTD_E_NOT_FOUND for an unknown name (the message lists the known ones), LTD_E_UNIMPLEMENTED with
 * the reason when the tier declines on this machine. The table lives as long as the process.
 */
const struct kern_ops *kern_tier_find(const char *name, struct ltd_err *err);

/*
 * kern_tier_id - what stands behind the tier, for example "openblas 0.3.21 Haswell" or "ref".
 * Ranks compare it for the message; equality of bits is decided by the fingerprint.
 */
void kern_tier_id(const struct kern_ops *ops, char *out, size_t out_bytes);

#endif
