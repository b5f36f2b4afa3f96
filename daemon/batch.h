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

/* A run's share of the batch: entries [entry_begin, entry_end), consecutive positions. */
struct batch_part {
    struct run *run;
    int32_t entry_begin, entry_end;
};

struct batch {
    int32_t max_entries, n_embd;     /* configuration */
    struct clus_entry *entries;      /* [max_entries] */
    struct clus_start *starts;       /* [max_entries] */
    struct model_border_in *prelude; /* [max_entries]; prelude[i] belongs to starts[i] */
    float *injected;                 /* [max_entries][n_embd]: e of starts[i] */
    struct batch_part *parts;        /* [max_entries] */
    struct clus_page *pages;         /* [max_pages] assignments of this tick */
    int32_t *closed;                 /* [max_seqs] sequences given up that ranks still hold */
    int32_t n_entries, n_starts, n_parts, n_pages, n_closed, max_pages;
};

/* Errors: LTD_E_EXHAUSTED. */
int batch_init(struct batch *batch, int32_t max_entries, int32_t max_pages, int32_t max_seqs,
               int32_t n_embd, struct ltd_err *err);
void batch_fini(struct batch *batch);

/* Forget entries, starts and parts. `closed` stays until ranks applied it (batch_applied). */
void batch_begin(struct batch *batch);

/*
 * batch_add - take up to `most` positions of the run's call at hand, in order.
 * Advances run->next. Returns how many were taken; 0 when the batch is full.
 */
int32_t batch_add(struct batch *batch, struct run *run, int32_t most);

/* A sequence whose pages the ranks know was given up: they hear of it with the next tick. */
void batch_close_seq(struct batch *batch, int32_t seq);

/* The tick over the arrays; valid until the next batch_begin. */
struct clus_tick batch_tick(const struct batch *batch, uint64_t tick_id);

/*
 * The ranks applied the tick: they know the pages and the closed sequences. Not to be called for a
 * tick that they refused or never got: of that they know nothing, and the next one says it again.
 */
void batch_applied(struct batch *batch);

#endif
