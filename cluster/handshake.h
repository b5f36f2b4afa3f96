/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cluster/handshake.h - before the first tick all ranks must be the same thing.
 *
 * Every rank puts an offer on the table: the stream version, the build, the model, the plan, the
 * kernel tiers its processor can run, and whether it failed on the way here. Each rank sees all
 * offers and judges them by the same pure function, so all reach the same verdict without another
 * word. One collective, of a fixed size, whatever has failed: nobody waits for somebody who left.
 *
 * The price of a missing check would be a wrong answer, not a crash: ranks with other weights or
 * another tier gather numbers that fit nowhere.
 *
 * Threads: the thread that may call MPI.
 */
#ifndef LATENTD_CLUSTER_HANDSHAKE_H
#define LATENTD_CLUSTER_HANDSHAKE_H

#include <stdint.h>

#include "base/err.h"
#include "cluster/tick.h"

struct clus_world;

#define CLUS_MAX_TIERS        8
#define CLUS_TIER_NAME_BYTES  16
#define CLUS_TIER_WHAT_BYTES  64
#define CLUS_BUILD_BYTES      160
#define CLUS_MODEL_HASH_BYTES 72 /* hex text of up to 256 bits, with its NUL */
#define CLUS_PLAN_TEXT_BYTES  256
#define CLUS_KV_FORMAT_BYTES  16

struct clus_tier_offer {
    char name[CLUS_TIER_NAME_BYTES]; /* kern_ops.name */
    char what[CLUS_TIER_WHAT_BYTES]; /* kern_tier_id, for messages */
    uint64_t fingerprint; /* kernels/fingerprint.h: equal fingerprints promise equal bits */
};

struct clus_offer {
    uint32_t stream_version;
    char build[CLUS_BUILD_BYTES];
    char model_hash[CLUS_MODEL_HASH_BYTES];
    struct clus_limits limits;
    char shares[CLUS_PLAN_TEXT_BYTES];    /* clus_offer_set_shares; "" for equal */
    char numerics[CLUS_PLAN_TEXT_BYTES];  /* weight format, KV policy and the like, as text */
    char kv_format[CLUS_KV_FORMAT_BYTES]; /* model_kv_format_name */
    struct clus_tier_offer tiers[CLUS_MAX_TIERS]; /* usable here, best first */
    int32_t n_tiers;
    char pinned_tier[CLUS_TIER_NAME_BYTES]; /* "" or the only tier that will do; rank 0's counts */
    struct ltd_err status;                  /* LTD_OK, or why this rank cannot take part */
};

/* Version and build of this program; everything else empty, status LTD_OK. */
void clus_offer_init(struct clus_offer *offer);

/* The text of the option; the end of one that is too long for its field is told by a hash of all of
 * it, so that two that differ anywhere are never taken for equal. */
void clus_offer_set_shares(struct clus_offer *offer, const char *shares);

/*
 * clus_handshake - compare the offers of all ranks.
 *
 * offer     in   this rank's
 * tier      out  the tier that all ranks will run: the pinned one, or the first of rank 0's that
 *                every rank has with an equal fingerprint
 *
 * Collective: every rank must call it, also one that failed (with its reason in offer->status).
 * Returns the same on every rank, with the same message.
 * Errors: the status of the lowest rank that failed, "rank N on host H: ..." in front;
 *         LTD_E_RANK naming who differs from rank 0, in what, what was found and expected.
 */
int clus_handshake(struct clus_world *world, const struct clus_offer *offer,
                   struct clus_tier_offer *tier, struct ltd_err *err);

/*
 * clus_agree - "did that work for everybody?", for steps after the handshake such as loading.
 *
 * status    in   this rank's: LTD_OK or its failure
 *
 * Collective. Returns 0 when every rank says LTD_OK; else -1 on every rank, with the message of the
 * lowest rank that failed.
 */
int clus_agree(struct clus_world *world, const struct ltd_err *status, struct ltd_err *err);

/*
 * clus_handshake_judge - the verdict over offers that lie side by side. Pure; what clus_handshake
 * calls, and what tests feed with everything that can go wrong.
 *
 * offers, hosts   [n_ranks]
 */
int clus_handshake_judge(const struct clus_offer *offers, const char *const *hosts, int32_t n_ranks,
                         struct clus_tier_offer *tier, struct ltd_err *err);

#endif
