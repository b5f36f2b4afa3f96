/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/rank_setup.h - what every rank does before the first tick: agree, then load its shard.
 *
 *     open ──▶ every rank checks configuration and model ──▶ handshake ──▶ load the shard ──▶ agree
 *
 * A rank that failed on the way still takes part in the handshake and brings its reason along, so
 * that every rank ends with the same verdict and rank 0 can print it; nobody waits for somebody
 * who left.
 *
 * Threads: main thread, before any other exists, and after they have ended.
 */
#ifndef LATENTD_DAEMON_RANK_SETUP_H
#define LATENTD_DAEMON_RANK_SETUP_H

#include <stdbool.h>

#include "base/err.h"
#include "cluster/executor.h"
#include "cluster/rank.h"
#include "daemon/capacity.h"
#include "daemon/config.h"
#include "daemon/loading.h"
#include "kernels/kernels.h"
#include "model/checkpoint.h"
#include "model/core.h"

struct clus_gather;
struct clus_world;

struct rank_setup {
    struct clus_world *world;            /* borrowed */
    struct model_checkpoint *checkpoint; /* open until rank_setup_drop_checkpoint, or the end */
    struct loading loading;
    struct model_config model;
    struct model_generation generation;
    struct capacity capacity;
    char hash[MODEL_HASH_HEX_BYTES];
    struct kern_ctx kern;
    uint64_t fingerprint;    /* of the tier's arithmetic, equal on all ranks */
    enum kern_format format; /* of the weight matrices, on every rank and the border */
    bool has_early;          /* ranks keep the recurrent block in early_format, too */
    enum kern_format early_format;
    struct model_shard *shards; /* [ranks of the world] */
    struct clus_gather *gather;
    struct model_core *core;
    struct clus_executor *executor;
};

/*
 * rank_setup_open - collective over the world; the same verdict on every rank.
 *
 * problem  LTD_OK, or why this rank cannot take part at all (its configuration)
 * Errors:  what is wrong with configuration or model (LTD_E_INVALID, LTD_E_NOT_FOUND,
 *          LTD_E_CORRUPT, LTD_E_UNIMPLEMENTED), LTD_E_EXHAUSTED, LTD_E_RANK (ranks differ).
 *          Call rank_setup_close also then.
 */
int rank_setup_open(struct rank_setup *setup, struct clus_world *world, const struct config *config,
                    const struct ltd_err *problem, struct ltd_err *err);

/* The weights are loaded: the files are not needed any more, unless matrices were lent from them;
 * then they stay open until rank_setup_close, which is behind everything that computes. */
void rank_setup_drop_checkpoint(struct rank_setup *setup);

void rank_setup_close(struct rank_setup *setup);

/* What clus_group_start and clus_rank_run want to know; borrows from setup and config. */
struct clus_rank_config rank_setup_config(const struct rank_setup *setup,
                                          const struct config *config);

#endif
