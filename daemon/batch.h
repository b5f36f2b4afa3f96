/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/batch.h - what the next tick holds, while it is being put together.
 *
 * The engine offers runs; the batch takes as many positions of each as there is room for and fills
 * the arrays of a `struct clus_tick`. For positions at step 0 it also lists the work of the prelude,
 * whose outputs are the e that travel with the starts. Which positions stand together in a tick
 * never changes a result (kernels/kernels.h), only when it comes.
 *
 * Threads: engine thread only. Nothing is allocated after init.
 */
#ifndef LATENTD_DAEMON_BATCH_H
#define LATENTD_DAEMON_BATCH_H

#include <stdint.h>

#include "base/err.h"
#include "cluster/tick.h"
#include "daemon/run.h"
#include "model/border.h"

/* A run's share of the batch: entries [entry_begin, entry_end), by rising position. */
struct batch_part {
    struct run *run;
    int32_t entry_begin, entry_end;
};

struct batch {
    int32_t max_entries, n_embd;     /* configuration */
    struct clus_entry *entries;      /* [max_entries] */
    struct clus_start *starts;       /* [max_entries] */
    struct model_border_in *prelude; /* [max_entries] starts whose e is not known yet */
    float *injected;                 /* [max_entries][n_embd]: e of starts[i] */
    struct batch_part *parts;        /* [max_entries] */
    struct clus_page *pages;         /* [max_pages] assignments of this tick */
    int32_t *closed;                 /* [max_seqs] sequences given up that ranks still hold */
    int32_t n_entries, n_starts, n_prelude, n_parts, n_pages, n_closed, max_pages;
    int32_t n_closed_told, n_released_told; /* of those that wait: part of the tick under way */
};

/* Errors: LTD_E_EXHAUSTED. */
int batch_init(struct batch *batch, int32_t max_entries, int32_t max_pages, int32_t max_seqs,
               int32_t n_embd, struct ltd_err *err);
void batch_fini(struct batch *batch);

/* Forget entries, starts and parts. `closed` stays until ranks applied it (batch_applied). */
void batch_begin(struct batch *batch);

/*
 * batch_add - take up to `most` positions of the run's call at hand that take its step, in order.
 * Advances run->next. Returns how many were taken; 0 when the batch is full.
 */
int32_t batch_add(struct batch *batch, struct run *run, int32_t most);

/* What the entry's position has to do with its call: index into rows, latents, values. */
static inline size_t batch_index(const struct run *run, const struct clus_entry *entry)
{
    return (size_t)(entry->position - run->call_begin);
}

/* A sequence whose pages the ranks know was given up: they hear of it with the next tick. */
void batch_close_seq(struct batch *batch, int32_t seq);

/* The tick over the arrays; valid until the next batch_begin. `pages` has those to be released. */
struct clus_tick batch_tick(struct batch *batch, const struct pages *pages, uint64_t tick_id);

/*
 * The ranks applied the tick: they know the pages and the closed sequences. What was closed or
 * released after batch_tick waits for the next one. Not to be called for a
 * tick that they refused or never got: of that they know nothing, and the next one says it again.
 */
void batch_applied(struct batch *batch, struct pages *pages);

#endif
