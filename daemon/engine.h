/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/engine.h - the only door between the loop thread and the thread that computes.
 *
 *      loop thread                                     engine thread
 *   engine_submit / cancel / stop ──▶ [commands] ──▶  admit, tick, exit rules, coda, sampling
 *   on_event (after notify)       ◀── [events]   ◀──  STARTED, TOKEN, THINKING, SCORED, FINISHED
 *
 * The engine owns the batch: slots, KV pages, the prelude and coda, the sampler, the text of a job
 * while it runs. It knows neither RPC nor the job table; a job is a number and a spec to it. Every
 * submitted job gets exactly one FINISHED event, the last one that names it; until then its spec
 * must stay alive. The stream of ticks to the rank group (cluster/group.h) is the only thing the
 * engine and the ranks share.
 *
 * Order of work, one turn of the engine: take commands, admit jobs while pages and rows last, run
 * the prelude for new positions, send one tick (one recurrent step for every position that is due),
 * apply the exit rules to what comes back, run coda, head and sampler for those that left, repeat.
 * docs/engine.md has the picture.
 */
#ifndef LATENTD_DAEMON_ENGINE_H
#define LATENTD_DAEMON_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "daemon/engine_config.h"
#include "daemon/engine_event.h"
#include "daemon/sched.h"
#include "daemon/spec.h"

struct engine;

#define ENGINE_DEPTHS_MAX 4096 /* MODEL_MAX_STEPS: deepest that can be counted */
#define ENGINE_BUCKETS    16

/* Values by size: counts[i] were at most bounds[i]; the last bucket has no bound. */
struct engine_histogram {
    double bounds[ENGINE_BUCKETS - 1];
    uint64_t counts[ENGINE_BUCKETS];
    double sum;
};

/* A snapshot for GetStatus; every field is a total since start unless said. */
struct engine_stats {
    uint64_t ticks;
    uint64_t tick_positions; /* decode + prefill + replay */
    uint64_t decode_positions, prefill_positions, replay_positions;
    uint64_t early_positions;                 /* of tick_positions: with the early copy */
    uint64_t coda_positions, check_positions; /* the second is part of the first */
    uint64_t head_rows, check_rows;           /* the same */
    uint64_t preemptions;
    uint64_t prefix_positions; /* taken over from pages of other jobs */
    uint64_t tokens;
    uint64_t token_steps;
    uint64_t prompt_tokens;                /* of jobs that were admitted, known ones included */
    uint32_t jobs_running;                 /* now */
    uint32_t jobs_held;                    /* now: finished, places kept to be continued */
    uint32_t positions_running;            /* now: positions of running jobs that own a latent */
    uint32_t pages_total, pages_used;      /* now; used: by jobs that run */
    uint32_t pages_shared;                 /* now: by more than one job */
    uint32_t pages_cached;                 /* now: by no job that runs, contents kept */
    uint32_t waiting[SCHED_PRIORITIES];    /* now: by priority */
    double tick_ms_mean;                   /* over the last 256 ticks */
    double load;                           /* now: sched_load */
    double wait_ms;                        /* now: sched_wait_ns */
    double turn_ms;                        /* now: sched_turn_ns */
    struct cost_line costs[SCHED_N_COSTS]; /* now */
    struct engine_histogram tick_ms, batch, queue_ms;
    /* Of generating jobs, as far as this process had them: from submission to the first token that
     * it wrote, between two tokens, from submission to the end. */
    struct engine_histogram first_token_ms, next_token_ms, job_ms;
};

/* Tokens by depth: counts[e][s] tokens left after s + 1 steps by exit reason e. */
struct engine_depths {
    int32_t n_steps; /* deepest that occurred */
    uint64_t counts[ENGINE_N_EXITS][ENGINE_DEPTHS_MAX];
};

/*
 * engine_start - make the engine and its thread.
 * Errors: LTD_E_EXHAUSTED when memory is short. Returns owned (engine_destroy after engine_stop).
 */
struct engine *engine_start(const struct engine_config *config, struct ltd_err *err);

/*
 * engine_submit - hand over a job. `spec` is borrowed until the job's FINISHED event.
 * Threads: loop thread. Cannot fail once it returned 0; LTD_E_EXHAUSTED when memory is short.
 */
int engine_submit(struct engine *engine, uint64_t job, const struct job_spec *spec,
                  struct ltd_err *err);

/*
 * engine_cancel - ask a job to end; its FINISHED event then says `finish` (CANCELLED or DEADLINE),
 * unless it ended by itself before. Unknown jobs are ignored. Threads: loop thread.
 */
void engine_cancel(struct engine *engine, uint64_t job, enum engine_finish finish);

/* engine_set_priority - 0 .. 31; unknown jobs are ignored. Threads: loop thread. */
void engine_set_priority(struct engine *engine, uint64_t job, int32_t priority);

/* Whether a job of `n_positions` (prompt + max_tokens - 1) could ever be admitted. */
bool engine_fits(const struct engine *engine, int32_t n_positions);

/* All events so far, oldest first, as a chain; free each with engine_event_destroy. Loop thread. */
struct engine_event *engine_take_events(struct engine *engine);

/* Any thread. */
void engine_get_stats(struct engine *engine, struct engine_stats *out);
void engine_get_depths(struct engine *engine, struct engine_depths *out);

/*
 * engine_predict - when a job that is submitted now would end, as far as the load is known:
 * absolute monotonic ns. For admission of jobs that must end in time and for RetryInfo. Any thread.
 */
uint64_t engine_predict_end(struct engine *engine, const struct job_spec *spec, uint64_t now_ns);

/*
 * engine_stop - end every job (CANCELLED) within one tick, then the thread; joins it. Events that
 * wait can still be taken. Afterwards the group gets no more ticks.
 */
void engine_stop(struct engine *engine);
void engine_destroy(struct engine *engine);

#endif
