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
#include "daemon/spec.h"

struct engine;

/* A snapshot for GetStatus; every field is a total since start unless said. */
struct engine_stats {
    uint64_t ticks;
    uint64_t tick_positions;
    uint64_t tokens;
    uint64_t token_steps;
    uint32_t jobs_waiting;            /* now: submitted, not admitted */
    uint32_t jobs_running;            /* now */
    uint32_t positions_running;       /* now: positions that own a latent */
    uint32_t pages_total, pages_used; /* now */
    double tick_ms_mean;              /* over the last 256 ticks */
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

/* Whether a job of `n_positions` (prompt + max_tokens - 1) could ever be admitted. */
bool engine_fits(const struct engine *engine, int32_t n_positions);

/* All events so far, oldest first, as a chain; free each with engine_event_destroy. Loop thread. */
struct engine_event *engine_take_events(struct engine *engine);

/* Any thread. */
void engine_get_stats(struct engine *engine, struct engine_stats *out);

/*
 * engine_stop - end every job (CANCELLED) within one tick, then the thread; joins it. Events that
 * wait can still be taken. Afterwards the group gets no more ticks.
 */
void engine_stop(struct engine *engine);
void engine_destroy(struct engine *engine);

#endif
