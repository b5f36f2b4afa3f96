/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/places.h - what runs hold on the ranks: KV pages, rows of latents, a sequence.
 *
 * A run takes at admission all that it will ever need, so nothing runs out in the middle of a job.
 * Before it takes empty places it looks for places that hold its beginning already:
 *
 *     held run     a finished job keeps everything for a while; the job that continues it takes the
 *                  places over as they stand, in the middle of a thought if it asks for more steps
 *     shared page  where every step has its own plane, a full page with the same contents is shared
 *                  with whoever holds it, or taken from the cache of pages that nobody holds
 *
 * Both only save work: what is not found is computed, with the same bits (docs/numerics.md#kv-sharing).
 * When places are short, cached pages go first, then held runs, oldest first; running jobs are only
 * interrupted by the scheduler.
 *
 * Threads: engine thread only.
 */
#ifndef LATENTD_DAEMON_PLACES_H
#define LATENTD_DAEMON_PLACES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "daemon/batch.h"
#include "daemon/engine_config.h"
#include "daemon/idpool.h"
#include "daemon/pages.h"
#include "daemon/run.h"
#include "daemon/sched.h"

struct places {
    struct pages pages;
    struct idpool rows, seqs;
    struct batch *batch;     /* borrowed: hears of closed sequences */
    struct run *oldest_held; /* by next_held; owned */
    int32_t n_held, max_held, n_rows_held;
    uint64_t n_prefix_positions; /* taken over from shared pages, since start */
};

/* Errors: LTD_E_EXHAUSTED. `batch` is borrowed. */
int places_init(struct places *places, const struct engine_config *config, struct batch *batch,
                struct ltd_err *err);
/* Held runs end with it. */
void places_fini(struct places *places);

/* What a run could get now, held runs and cached pages counted as free. */
struct sched_places places_free(const struct places *places);

/*
 * places_take - give the run its places; true when it stands before its first call. False, and
 * nothing changed, when there are not enough. The run must be equipped.
 */
bool places_take(struct places *places, struct run *run);

/* places_give - the run's places are free. Safe for a run without places. */
void places_give(struct places *places, struct run *run);

/* places_shrink_rows - after the prompt a run has one position at a time and needs one row. */
void places_shrink_rows(struct places *places, struct run *run);

/* places_seal - full pages of what is done become known by their contents. */
void places_seal(struct places *places, struct run *run);

/*
 * places_hold - a run that ended with its last call done is kept to be continued; the caller gives
 * it up. False when that is not possible: the run is still the caller's, with its places.
 */
bool places_hold(struct places *places, struct run *take_run);

/* The ranks are gone: held runs and cached pages mean nothing any more. */
void places_forget_all(struct places *places);

#endif
