/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cluster/executor.h - what a rank does with a decoded tick. No MPI, no bytes.
 *
 * Owns the table of rows (latent, the one before it, and e of every running position, replicated on
 * all ranks), the page tables of sequences and the references of pages; drives model_core_step over
 * the entries. It decides nothing: it checks every index and every step number against what it
 * knows, refuses the whole tick with a sentence before anything is changed, or applies all of it.
 * The check uses only what is equal on all ranks, so all ranks refuse the same ticks.
 *
 * Rows take memory in blocks when they are first used; everything else is reserved at creation.
 *
 * Threads: the rank thread.
 */
#ifndef LATENTD_CLUSTER_EXECUTOR_H
#define LATENTD_CLUSTER_EXECUTOR_H

#include <stdint.h>

#include "base/err.h"
#include "cluster/tick.h"
#include "model/core.h"
#include "model/exchange.h"

struct clus_executor;

struct clus_executor_config {
    struct model_core *core; /* borrowed; n_pages, max_slots and max_positions as in limits */
    struct model_exchange exchange; /* of this rank */
    struct clus_limits limits;
    struct model_shard shard; /* of this rank; only reported (cluster/rank.h) */
    int32_t n_threads;        /* that draw initial latents, >= 1 */
};

/* Errors: LTD_E_INVALID for limits that contradict the core; LTD_E_EXHAUSTED. */
struct clus_executor *clus_executor_create(const struct clus_executor_config *config,
                                           struct ltd_err *err);
void clus_executor_destroy(struct clus_executor *executor); /* accepts NULL */

const struct clus_executor_config *clus_executor_config(const struct clus_executor *executor);

/*
 * clus_executor_run - one tick.
 *
 * tick     in   borrowed for the call
 * reply    out  results, or why the tick was refused; borrows until the next call
 *
 * Order:   closed sequences, released pages, pages, starts, entries (docs/tick-stream.md).
 * Threads: rank thread. Collective: every rank must run the same ticks in the same order.
 * Errors:  -1 only when this rank cannot go on (LTD_E_RANK: gather failed, no memory for rows);
 *          its state is then unspecified and the group is lost.
 */
int clus_executor_run(struct clus_executor *executor, const struct clus_tick *tick,
                      struct clus_reply *reply, struct ltd_err *err);

/* clus_executor_page_refs - open sequences that have page [0, n_pages) in their tables. */
int32_t clus_executor_page_refs(const struct clus_executor *executor, int32_t page_id);

/*
 * clus_executor_audit - count again what is kept up to date by increments, and compare: references
 * of pages with the tables of sequences, positions of sequences with the KV pool. For tests and for
 * looking into a rank; costs a walk over all tables.
 * Errors: LTD_E_INTERNAL naming the first contradiction; LTD_E_EXHAUSTED.
 */
int clus_executor_audit(const struct clus_executor *executor, struct ltd_err *err);

#endif
