/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/run.h - one job while the engine works on it.
 *
 * A run goes through calls. The first call is the whole prompt, each later one is the one new
 * position. All positions of a call stand at the same step, and leave the recurrence together:
 *
 *     tokens      t0 t1 t2 t3 | t4 | t5            call 0 = positions 0..3, call 1 = 4, call 2 = 5
 *     step 0      chunk chunk                      a long call enters ticks in chunks: every chunk
 *     step 1      chunk chunk                      takes step k before any chunk takes step k + 1
 *
 * so the numbers are those of one big batch, however it was cut (docs/engine.md).
 *
 * Threads: engine thread only.
 */
#ifndef LATENTD_DAEMON_RUN_H
#define LATENTD_DAEMON_RUN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "cluster/tick.h"
#include "daemon/engine_event.h"
#include "daemon/spec.h"
#include "daemon/textout.h"
#include "model/exit.h"
#include "model/sampler.h"

struct run {
    /* Identity and configuration; never change. */
    uint64_t job;
    const struct job_spec *spec; /* borrowed until the FINISHED event */
    int32_t n_embd;
    int32_t n_positions; /* that ever enter the model: prompt + max_tokens - 1 */
    struct model_exit_rule rule;
    struct model_sampling sampling;

    struct run *next_waiting; /* queue before admission */

    /* Places held from admission to the end. */
    int32_t seq;
    int32_t *pages; /* owned [n_pages] */
    int32_t n_pages;
    bool is_placed;   /* seq, pages and rows are held */
    bool pages_known; /* to the ranks */
    int32_t *rows;    /* owned [n_prompt]; the first n_rows are held; rows[i]: call_begin + i */
    int32_t n_rows;

    /* The call at hand. */
    int32_t call_begin, call_end; /* absolute positions */
    int32_t step_idx;             /* step that the call is taking */
    int32_t next;                 /* first position of the call that has not taken it */
    float *latents;               /* owned [n_rows at least][n_embd]: what came back last */
    double *diffs; /* owned [n_prompt]: how far each moved in the step; adaptive only */
    double value;  /* of the exit rule at its last check */

    /* What was written. */
    int32_t *tokens; /* owned [n_positions + 1]: prompt, then output */
    int32_t n_tokens;
    struct textout text;
    uint64_t total_steps;
    uint64_t stop_at_ns;     /* max_run_ms counted from admission, or LTD_NEVER */
    uint64_t quiet_since_ns; /* last event that a watcher could see */

    /* Set aside so that a job can always end, also when memory is out. */
    struct engine_event *last_event; /* owned */
    bool is_ending;                  /* a cancel or a deadline has come */
    enum engine_finish ending;
};

/* Everything a run needs but places. Errors: LTD_E_EXHAUSTED. Returns owned. */
struct run *run_create(uint64_t job, const struct job_spec *spec, int32_t n_embd,
                       const struct model_tokenizer *tokenizer, struct ltd_err *err);
/* Places must have been given back. Accepts NULL. */
void run_destroy(struct run *run);

/* Positions in the call at hand, and the index in it of an absolute position. */
static inline int32_t run_call_len(const struct run *run)
{
    return run->call_end - run->call_begin;
}

/* What has to come back from the ranks for the step at hand: CLUS_WANT_* (cluster/tick.h). */
uint32_t run_wants(const struct run *run);

/*
 * run_step_done - all positions of the call took step_idx: decide. True when the call leaves the
 * recurrence; otherwise the call stands before its next step.
 */
bool run_step_done(struct run *run, enum engine_exit *exit);

/* run_next_call - `token` was written and becomes the next position's input. */
void run_next_call(struct run *run, int32_t token);

#endif
