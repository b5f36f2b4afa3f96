/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/engine_impl.h - the engine's inside, shared by engine.c (commands, life of runs, the other
 * threads' side), engine_turn.c (one turn), engine_output.c (what is written) and engine_stats.c
 * (what is counted).
 *
 * Lists: a run is either known to the scheduler (waiting, or running and then also in `running`) or
 * held by `places` after its end. engine_end_run is the only way out of the first; it posts the
 * run's FINISHED event.
 */
#ifndef LATENTD_DAEMON_ENGINE_IMPL_H
#define LATENTD_DAEMON_ENGINE_IMPL_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/mailbox.h"
#include "daemon/batch.h"
#include "daemon/engine.h"
#include "daemon/engine_output.h"
#include "daemon/places.h"
#include "daemon/run.h"
#include "daemon/sched.h"

#define ENGINE_TICK_TIMES 256 /* ticks over which the mean tick time is taken */

enum engine_command_kind {
    ENGINE_COMMAND_SUBMIT,
    ENGINE_COMMAND_CANCEL,
    ENGINE_COMMAND_PRIORITY,
    ENGINE_COMMAND_STOP,
};

struct engine_command {
    struct ltd_mail mail;
    enum engine_command_kind kind;
    struct run *run;           /* SUBMIT: owned */
    uint64_t job;              /* CANCEL, PRIORITY */
    enum engine_finish finish; /* CANCEL */
    int32_t priority;          /* PRIORITY */
};

/* What is counted on the engine thread and copied out once per turn. */
struct engine_counts {
    uint64_t ticks, decode_positions, prefill_positions, replay_positions, preemptions;
    uint64_t early_positions;
    uint64_t prompt_tokens;
    double tick_ms[ENGINE_TICK_TIMES];
    struct engine_histogram tick_hist, batch_hist, queue_hist;
};

struct engine {
    struct engine_config config;
    struct run_context run_context;
    struct ltd_mailbox commands, events;
    struct engine_command stop_command; /* set aside, so that stopping cannot fail */
    pthread_t thread;

    /* Engine thread. */
    struct sched *sched;
    struct places places;
    struct engine_output output;
    struct batch batch;
    struct run *runs;     /* all that the scheduler knows, newest first */
    struct run **running; /* [n_seqs] */
    int32_t n_running;
    uint64_t next_stop_ns;      /* no run that gave way has to stop before, or LTD_NEVER */
    struct sched_share *shares; /* [n_seqs] of the turn */
    int32_t n_shares;
    struct output_work *works; /* [n_seqs] of the turn */
    uint64_t tick_id, tick_sent_ns;
    bool is_stopping;
    struct ltd_err lost; /* not LTD_OK: the rank group is gone */
    struct engine_counts counts;

    /* Under stats_lock. */
    pthread_mutex_t stats_lock;
    struct engine_stats stats;
    struct engine_depths *depths; /* owned copy */
};

/* engine.c: the run leaves the scheduler, and ends as said. `error` for ENGINE_FINISH_ERROR. */
void engine_end_run(struct engine *engine, struct run *run, enum engine_finish how,
                    const struct ltd_err *error);
/* All runs end; the rank group is of no use any more. */
void engine_lose_group(struct engine *engine, const struct ltd_err *why);

/* engine_turn.c: plan, tick, coda; every running run that has something to do does it. */
void engine_turn(struct engine *engine);

/* engine_stats.c */
void engine_stats_init(struct engine *engine);
void engine_stats_publish(struct engine *engine);
void engine_stats_tick(struct engine *engine, uint64_t ns);
void engine_histogram_add(struct engine_histogram *histogram, double value);

#endif
