/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/daemon/sched_sim.h - a service without a model: places, calls, time, and the real scheduler.
 *
 * Jobs have prompts and tokens, and a depth at which their exit rule would be met; turns take what
 * the cost lines say, with noise; a preempted job replays what it had. Time is a number. After every
 * call the simulation checks what must always be true (places, limits of a plan, states) and fails
 * the test with what it found.
 *
 *     sim_create ─▶ sim_job ... ─▶ sim_turn / sim_run ─▶ read the jobs ─▶ sim_destroy
 */
#ifndef LATENTD_TESTS_DAEMON_SCHED_SIM_H
#define LATENTD_TESTS_DAEMON_SCHED_SIM_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "daemon/sched.h"

struct sim_line {
    double fixed_ns, each_ns;
};

struct sim_config {
    struct sched_config sched;
    struct sched_places places;
    struct sim_line costs[SCHED_N_COSTS];
    double overhead_ns; /* of a turn, that no cost line explains */
    double key_ns;      /* of attention: per position of a tick and position that it reads */
    bool overlap;       /* single positions go through the coda beside the next tick */
    double noise;       /* each cost is drawn from (1 - noise, 1 + noise) */
    uint64_t seed;
};

enum sim_end { SIM_OPEN, SIM_DONE, SIM_CANCELLED, SIM_REFUSED };

struct sim_job {
    /* Set by the test before the first turn. */
    struct sched_job sched; /* first; priority, steps, budgets; due_ns relative to arrival */
    char client[16];
    uint64_t arrives_ns, cancels_ns; /* LTD_NEVER: not cancelled */
    uint64_t releases_ns;            /* priority becomes 16 then; LTD_NEVER: stays */
    int32_t n_prompt, max_tokens;
    int32_t n_tokens;   /* that it writes before it ends by itself, <= max_tokens */
    int32_t exit_steps; /* its exit rule is met then; 0: never */

    /* Results. */
    enum sim_end end;
    uint64_t started_ns, first_ns, ended_ns; /* first admission, first token, end */
    uint64_t aim_ns;                         /* as said at the first admission */
    uint64_t due_ns;                         /* absolute */
    uint64_t start_turn, end_turn;
    int32_t n_written, n_yields;
    uint64_t steps, calls, positions; /* of calls that were not replays; positions * steps */
    int32_t least_steps, most_steps;

    /* The simulation's. */
    int32_t next_ready; /* positions of the call that took this step */
    bool is_replay, is_boundary, has_left, is_pending;
    int32_t held_pages, held_rows;
    int32_t index;
};

struct sim {
    struct sim_config config;
    struct sched *sched;
    struct sched_places free;
    uint64_t now_ns, turn, random;
    struct sim_job **jobs; /* in order of sim_job until the first turn, then of arrival */
    struct sim_job **live; /* arrived, not ended */
    int32_t n_jobs, n_arrived, n_live, n_open, n_refused;
    struct sched_share *shares;
    int32_t n_shares, n_decode, n_prompt, n_coda; /* of the last turn: positions */
    uint64_t turn_ns;
    bool is_full; /* the last turn had no room for all that was ready */
    void (*on_turn)(struct sim *sim, void *arg); /* after every turn that ticked */
    void *arg;
};

struct sim *sim_create(const struct sim_config *config);
void sim_destroy(struct sim *sim);

/* A decode-only job of one client, to be changed by the caller; owned by the simulation. */
struct sim_job *sim_job(struct sim *sim, const char *client, uint64_t arrives_ns, int32_t n_tokens,
                        int32_t steps);

/* One turn. Returns false when nothing is left to do, ever: all jobs ended, or all that wait are held. */
bool sim_turn(struct sim *sim);

/* Until nothing is left to do; fails after `max_turns`. */
void sim_run(struct sim *sim, uint64_t max_turns);

/* Of the simulation's own sequence: whole numbers in [low, high], reals in [0, 1). */
int32_t sim_pick(struct sim *sim, int32_t low, int32_t high);
double sim_real(struct sim *sim);

/* All places are free and nobody is in; what every test ends with. */
void sim_check_empty(const struct sim *sim);

#endif
