/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/engine_output.h - from latents that left the recurrence to tokens, text and events.
 *
 * The second half of an engine turn, for runs in phase CODA: coda and head; then the exit rule if it
 * only wanted to see logits, or a token by the sampler (or the log-probabilities of given tokens),
 * the text, the events that tell the loop, and the prelude of the position that comes next.
 * It decides how a job ends by itself; cancels, deadlines and lost ranks are the engine's.
 *
 * Threads: engine thread only. Memory is taken at init; events are allocated one by one, and when
 * that fails the job ends with an error through the event that was set aside for it.
 */
#ifndef LATENTD_DAEMON_ENGINE_OUTPUT_H
#define LATENTD_DAEMON_ENGINE_OUTPUT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/mailbox.h"
#include "daemon/engine.h"
#include "daemon/engine_config.h"
#include "daemon/engine_event.h"
#include "daemon/run.h"
#include "daemon/sched.h"
#include "model/border.h"

struct places;

/* A run in phase CODA, and how many positions of its call pass the coda in this turn. */
struct output_work {
    struct run *run;
    int32_t n_coda; /* > 0 */
};

/* Totals since start, for the statistics. */
struct output_counts {
    uint64_t tokens, token_steps;
    uint64_t coda_positions, check_positions; /* the second is part of the first */
    uint64_t head_rows, check_rows;
    struct engine_histogram first_token_ms, next_token_ms, job_ms;
};

struct engine_output {
    const struct engine_config *config; /* borrowed */
    struct ltd_mailbox *events;         /* borrowed: where events are posted */
    struct sched *sched;                /* borrowed: learns what things cost */
    struct places *places;              /* borrowed: hears of full pages */
    struct model_sampler *sampler;
    float *hidden;                   /* [16][n_embd] inputs of the head */
    float *logits;                   /* [16][vocab_size] */
    struct model_border_out *coda;   /* [coda_room] */
    struct model_border_in *prelude; /* [n_seqs] */
    struct run **heads;              /* [n_seqs] runs that wait for logits */
    size_t coda_room;
    struct ltd_bytes text; /* scratch */
    struct output_counts counts;
    struct engine_depths *depths; /* owned */
};

/* Errors: LTD_E_EXHAUSTED. */
int engine_output_init(struct engine_output *out, const struct engine_config *config,
                       struct ltd_mailbox *events, struct sched *sched, struct places *places,
                       struct ltd_err *err);
void engine_output_fini(struct engine_output *out);

/*
 * engine_output_run - the turn's coda work, and all that follows for calls that are through.
 * Afterwards each run stands before a step (of this call or the next), still has positions for the
 * coda, or has `is_ending` set with how it ends.
 */
void engine_output_run(struct engine_output *out, const struct output_work *works, int32_t n);

/* `predicted_end_us`: wall clock, 0 = unknown. */
void engine_output_started(struct engine_output *out, struct run *run, int64_t predicted_end_us);
/* At most a few times per second and run; see ENGINE_THINKING. */
void engine_output_thinking(struct engine_output *out, struct run *run);

/*
 * engine_output_finished - the last event of a run: how it ended. Owned; told when the run's places
 * are given back and the statistics say so, because whoever hears of an end may look at them.
 * `error` is read for ENGINE_FINISH_ERROR only.
 */
struct engine_event *engine_output_finished(struct engine_output *out, struct run *run,
                                            enum engine_finish finish, const struct ltd_err *error);
void engine_output_tell(struct engine_output *out, struct engine_event *take_event);

#endif
