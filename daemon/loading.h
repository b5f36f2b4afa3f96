/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/loading.h - how far the weights are, told to people and to systemd while they load.
 *
 * Rank 0 counts its own: rows of the recurrent block, then prelude, coda, embedding and head. It
 * has more than any other rank of equal share, and all load at the same time, so no rank needs to
 * be asked. Every report moves systemd's start timeout, which so bounds a standstill and not the
 * size of a model.
 *
 * Threads: main thread, before any other exists.
 */
#ifndef LATENTD_DAEMON_LOADING_H
#define LATENTD_DAEMON_LOADING_H

#include <stdbool.h>
#include <stdint.h>

struct loading {
    int64_t total, done; /* weights */
    bool is_told;        /* rank 0's; others count for nobody */
    uint64_t start_ns, told_ns, logged_ns;
};

/* Loading may stand still for so long before systemd gives up: a large matrix on a slow disk. */
#define LOADING_STEP_SECONDS 600

/* loading_begin - `total` weights are to come. */
void loading_begin(struct loading *loading, int64_t total, bool is_told);

/* loading_note - so many more; a model_progress_fn, `arg` is the struct. Says so once per second to
 * systemd, and every few seconds to the log, so that what loads in a moment leaves no lines. */
void loading_note(void *arg, int64_t weights);

/* loading_percent - 0 to 100; 100 only when all is done. */
int loading_percent(const struct loading *loading);

/* loading_end - all is there: one line in the log. */
void loading_end(const struct loading *loading);

#endif
