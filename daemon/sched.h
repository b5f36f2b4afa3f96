/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/sched.h - who goes next, how many positions a tick holds, how deep a thought may go.
 *
 * Pure logic: no clock, no ranks, no kernels, no memory behind pages. The owner (daemon/engine.c, or
 * a simulation) embeds a `struct sched_job` in whatever it runs, says what is free and what things
 * cost, and does what it is told:
 *
 *     sched_add ──▶ WAITING ──sched_next, sched_admitted──▶ RUNNING ──sched_remove──▶ (out)
 *                      ▲                                       │
 *                      └──────────── sched_yielded ◀── must_yield: a more important job needs
 *                                                           its places; at a token boundary
 *
 *     each turn:  while ((job = sched_next(...)))  place it, sched_admitted
 *                 sched_plan  ──▶ shares of the next tick
 *                 tick, coda, head:  sched_measure;  then sched_ticked
 *
 * Order of importance. 1. Priority: a higher class goes first; a class that had no turn gains one
 * level per ageing_ns, so nobody starves. 2. In a class, the client who has been served fewer steps
 * (start-time fair queuing: a client that was away gets no credit for it). 3. For one client, the
 * job whose answer is due first, then the older one. The first in line is never overtaken at
 * admission, whatever it needs.
 *
 * Decoding jobs all step in every tick as long as max_batch holds them. Prompts come beside them, or
 * in the place of some when there is no room, as far as that costs those who decode no more than
 * prefill_share of their pace.
 *
 * Depth. An elastic job (a range, or a budget) gets as many steps as fit before its answer is due at
 * the pace measured, in [min_steps, max_steps]; when others wait, less, evenly over all elastic
 * jobs (sched_load), so that ranges shrink before anybody is refused or comes late.
 *
 * Threads: one at a time. Nothing is allocated after create, except per job and client in sched_add.
 * docs/scheduler.md has the reasons.
 */
#ifndef LATENTD_DAEMON_SCHED_H
#define LATENTD_DAEMON_SCHED_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "daemon/cost.h"

#define SCHED_PRIORITIES 32 /* 0 = held, never admitted */

struct sched;

struct sched_config {
    int32_t max_batch;     /* positions of one tick */
    int32_t prefill_chunk; /* prompt positions of one job in one tick, <= max_batch */
    double prefill_share;  /* (0, 1): how much of their pace decoding jobs may lose to prompts */
    uint64_t ageing_ns;    /* without a turn, a class gains one level per so long; > 0 */
    int32_t max_running;   /* jobs at once */
    int32_t max_waiting;   /* of the queue; at half of it ranges are down to min_steps */
};

enum sched_state { SCHED_OUT, SCHED_WAITING, SCHED_RUNNING };

struct sched_job {
    /* Set by the owner before sched_add; then only by the functions here. */
    int32_t priority;             /* 0 .. 31; afterwards: sched_set_priority */
    int32_t n_pages, n_rows;      /* places it needs to be admitted */
    int32_t min_steps, max_steps; /* of a call; not equal: time, load or an exit rule decides */
    bool is_elastic;              /* steps may be chosen in between, here */
    uint64_t token_ns;            /* budget per token, 0 = none */
    uint64_t due_ns;              /* when the answer is wanted, or LTD_NEVER */

    /* Kept up to date by the owner while RUNNING (and true of the first call while WAITING). */
    int32_t calls_left;     /* calls to be made, the one at hand included; an upper bound */
    int32_t call_positions; /* of the call at hand */
    int32_t step_idx;       /* steps that the call at hand has done */
    int32_t n_ready;        /* positions of it that can take step_idx now; 0: none, it waits */
    int32_t n_coda;         /* positions of a long call that left and waits for the coda */
    bool is_prefill;        /* the call at hand may be cut into chunks: prompt or replay */

    /* The scheduler's. */
    enum sched_state state;
    bool must_yield; /* give the places back at the next token boundary (sched_yielded) */
    uint64_t number; /* order of sched_add */
    uint64_t added_ns, admitted_ns;
    uint64_t aim_ns;   /* when the answer will be ready, as predicted at admission; LTD_NEVER
                             while no turn has been measured */
    uint64_t steer_ns; /* the end that steps are chosen for; LTD_NEVER: no due time */
    uint64_t key_ns;   /* order inside a class and client: due, or after long patience */
    int32_t level;     /* running: only higher classes may take its places */
    int32_t seen_calls, seen_steps; /* of the call at hand, in the last plan */
    int32_t n_calls;                /* finished, as far as steps_mean goes back */
    double steps_mean;              /* of finished calls */
    struct sched_client *client;
    struct sched_job *next, *prev;
};

/* What is free now, together with what the owner can make free at once (caches, held jobs). */
struct sched_places {
    int32_t n_pages, n_rows, n_seqs;
};

/* Errors: LTD_E_INVALID for a configuration out of range, LTD_E_EXHAUSTED. Returns owned. */
struct sched *sched_create(const struct sched_config *config, struct ltd_err *err);
void sched_destroy(struct sched *sched); /* jobs must be out; accepts NULL */

/*
 * sched_add - a job waits, on the account of `client`; its priority and costs are set.
 * Errors: LTD_E_EXHAUSTED without memory; the job then stays out.
 */
int sched_add(struct sched *sched, struct sched_job *job, const char *client, uint64_t now_ns,
              struct ltd_err *err);

/* sched_remove - the job is out, whatever it was. Its places are free when the owner says so. */
void sched_remove(struct sched *sched, struct sched_job *job, uint64_t now_ns);

void sched_set_priority(struct sched *sched, struct sched_job *job, int32_t priority,
                        uint64_t now_ns);

/*
 * sched_next - the waiting job to admit now, or NULL: nobody waits, or the first in line does not
 * fit. In the second case running jobs of lower priority are told to yield if that makes it fit:
 * lowest priority first, then youngest, and no more of them than needed.
 */
struct sched_job *sched_next(struct sched *sched, const struct sched_places *free, uint64_t now_ns);

/* sched_admitted - the owner has placed it: it runs, and aim_ns is set. */
void sched_admitted(struct sched *sched, struct sched_job *job, uint64_t now_ns);

/* sched_yielded - the owner took its places back: it waits again, with its old number. */
void sched_yielded(struct sched *sched, struct sched_job *job, uint64_t now_ns);

/* A job's part of the next turn. */
struct sched_share {
    struct sched_job *job;
    int32_t n_positions; /* that take a step; 0 for a share of coda work only */
    int32_t n_coda;      /* positions of its long call that go through the coda */
};

/*
 * sched_plan - what the next tick holds: at most max_batch positions over all shares.
 *
 * shares   out  [max_running]
 * returns       how many shares; 0 only when no running job is ready
 *
 * Calls of one position go through the coda at once and are never planned for it.
 */
int32_t sched_plan(struct sched *sched, struct sched_share *shares, uint64_t now_ns);

/* The four things that take time. */
enum sched_cost { SCHED_TICK, SCHED_PRELUDE, SCHED_CODA, SCHED_HEAD, SCHED_N_COSTS };

/* sched_measure - `n` positions (rows of logits for HEAD) took so long. */
void sched_measure(struct sched *sched, enum sched_cost what, int32_t n, uint64_t ns);

/*
 * sched_ticked - the turn of the last sched_plan is over: its steps are charged to the clients, and
 * `turn_ns`, the time of all of it, teaches the pace. Pass the shares as they were executed.
 */
void sched_ticked(struct sched *sched, const struct sched_share *shares, int32_t n_shares,
                  uint64_t turn_ns, uint64_t now_ns);

/*
 * sched_steps - how many steps the call at hand may take in all, now: max_steps unless the job is
 * elastic. At least min_steps, and at least one more than step_idx. May change from step to step.
 */
int32_t sched_steps(const struct sched *sched, const struct sched_job *job, uint64_t now_ns);

/* When the answer will be ready, absolute; of a job that is not running, counting the wait of one
 * that comes now. LTD_NEVER while no turn has been measured. */
uint64_t sched_predict_end(const struct sched *sched, const struct sched_job *job, uint64_t now_ns);

/* Now: 0 = elastic jobs may think as deep as they like, 1 = at min_steps. */
double sched_load(const struct sched *sched);

/* How long a new job of default priority would wait to be admitted, ns; 0 when a seat is free. */
uint64_t sched_wait_ns(const struct sched *sched, uint64_t now_ns);

/* Predicted time of one turn with the jobs that run now, ns; 0 while none has been measured. */
double sched_turn_ns(const struct sched *sched);

const struct cost_line *sched_cost(const struct sched *sched, enum sched_cost what);

/* Counts, now. */
int32_t sched_n_waiting(const struct sched *sched, int32_t priority); /* -1: of all priorities */
int32_t sched_n_running(const struct sched *sched);

/* Steps served to a client since it was last idle; 0 for one that is unknown. For tests, status. */
uint64_t sched_client_steps(const struct sched *sched, const char *client);

#endif
