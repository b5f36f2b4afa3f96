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
 * so the numbers are those of one big batch, however it was cut (docs/engine.md). A call stands in
 * one of two phases: STEPPING through the recurrence, or in the CODA, because it left or because
 * its exit rule wants to see logits.
 *
 * A position whose depth is given is replayed: it was computed before and its keys and values were
 * lost (preemption), or a former job computed it (Continue). Where every step has a plane of its
 * own any number of replayed positions form one call, each leaving at its own depth; otherwise the
 * calls are those that there were. Nothing is written for tokens that are known.
 *
 * Threads: engine thread only, but for run_create.
 */
#ifndef LATENTD_DAEMON_RUN_H
#define LATENTD_DAEMON_RUN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "cluster/tick.h"
#include "daemon/engine_event.h"
#include "daemon/pages.h"
#include "daemon/sched.h"
#include "daemon/spec.h"
#include "daemon/textout.h"
#include "model/exit.h"
#include "model/sampler.h"

#define RUN_NO_SEAL (-1) /* n_sealed: its pages are not made known by contents any more */

enum run_phase { RUN_STEPPING, RUN_CODA };

struct run {
    struct sched_job sched; /* first: shares of a plan name runs */

    /* Identity and configuration; never change. */
    uint64_t job;
    const struct job_spec *spec; /* borrowed until the FINISHED event; then NULL */
    char key[SPEC_KEY_BYTES];    /* of the job, by which it may be continued */
    struct pages_origin origin;
    int32_t n_embd;
    int32_t n_positions; /* that ever enter the model: prompt + max_tokens - 1 */
    int32_t n_prompt;
    int32_t rows_room; /* of `rows`, `latents`, `values` */
    int32_t prefill_chunk;
    bool is_replayable; /* each step has its own plane: positions may be replayed side by side */
    struct model_sampling sampling;
    struct run *next_run, *prev_run; /* of all that the engine works on */
    struct run *next_held;

    /* Places held from admission to the end. */
    int32_t seq;
    int32_t *pages;                /* owned [pages_for(n_positions)] */
    int32_t n_pages, n_pages_told; /* the ranks know the first n_pages_told */
    int32_t n_shared;              /* of the first pages: taken over from others */
    int32_t n_sealed;              /* pages that are full and known by contents */
    uint64_t last_serial;          /* contents of the last sealed page; 0 = none, or no chain */
    int32_t *rows; /* owned [rows_room]; the first n_rows are held; rows[i]: call_begin + i */
    int32_t n_rows;
    bool is_placed;

    /* What is done. */
    int32_t *tokens; /* owned [n_positions + 1]: prompt, known tokens, then output */
    int32_t n_tokens;
    int32_t *depths;           /* owned [n_positions]: steps of each position; 0 = not decided */
    int32_t n_done;            /* positions [0, n_done) are in pages, through the coda */
    int32_t n_tokens_admitted; /* n_tokens when it was admitted last */

    /* The call at hand. */
    enum run_phase phase;
    struct model_exit_rule rule;
    int32_t call_begin, call_end; /* absolute positions */
    bool is_replay;               /* depths of its positions are given */
    int32_t step_idx;             /* step that the call is taking; steps done in phase CODA */
    int32_t step_limit;           /* the call leaves after so many steps in any case */
    int32_t next;                 /* first position of the call that has not taken it */
    int32_t n_ready;              /* positions from next on that take it */
    int32_t coda_next;            /* phase CODA: first position that has not passed it */
    bool is_check;                /* phase CODA: logits are for the exit rule */
    float *latents;               /* owned [n_latents][n_embd]: what came back last */
    int32_t n_latents;
    float *injected; /* owned [n_embd]: e of a single position, when has_injected */
    bool has_injected;
    double *values;        /* owned [rows_room]: the rule's value per position; latent rules only */
    double value;          /* of the exit rule at its last check */
    enum engine_exit exit; /* why the call left */
    struct model_exit_memory memory; /* rules of logits only */

    /* What was written. */
    struct textout text;
    struct engine_event *scores; /* owned; SPEC_SCORE: what is known so far, or NULL */
    uint64_t stop_at_ns;         /* max_run_ms counted from admission, or LTD_NEVER */
    uint64_t quiet_since_ns;     /* last event that a watcher could see */
    uint64_t token_ns;           /* when it wrote its last token; 0: none yet */
    bool is_started;             /* STARTED was said */

    /* Set aside so that a job can always end, also when memory is out. */
    struct engine_event *last_event; /* owned */
    bool is_ending;                  /* a cancel or a deadline has come, or it is done */
    enum engine_finish ending;
};

/* What a run needs to know of the service. */
struct run_context {
    int32_t n_embd, vocab_size;
    int32_t prefill_chunk;
    bool is_replayable;                      /* model_kv_policy_replayable, deepest depth */
    const struct model_tokenizer *tokenizer; /* NULL: no text */
};

/*
 * run_create - everything a run needs while it waits; known tokens are taken in, text included.
 * Errors: LTD_E_EXHAUSTED. Returns owned. Threads: any.
 */
struct run *run_create(uint64_t job, const struct job_spec *spec, const struct run_context *context,
                       struct ltd_err *err);
/* Places must have been given back. Accepts NULL. */
void run_destroy(struct run *run);

/* run_equip - the memory of a run that runs. Errors: LTD_E_EXHAUSTED; run_strip frees it. */
int run_equip(struct run *run, const struct run_context *context, struct ltd_err *err);
void run_strip(struct run *run);
/* run_shrink - from now on calls have one position: memory for the latents of a prompt goes. */
void run_shrink(struct run *run);

static inline int32_t run_call_len(const struct run *run)
{
    return run->call_end - run->call_begin;
}

/* Tokens of the answer so far, known ones included. */
static inline int32_t run_n_written(const struct run *run)
{
    return run->n_tokens - run->n_prompt;
}

/* Positions, from 0 on, whose depth is known before they are computed; what may be taken over from
 * other jobs' pages ends there, and before the first position whose latent is still needed. */
int32_t run_n_shareable(const struct run *run);

/* The depth that `position` will have whatever happens, or 0 when a rule, time or load decides. */
int32_t run_sure_depth(const struct run *run, int32_t position);

/* Positions [0, n) were taken over from others: they are done. Before run_begin_call. */
void run_take_over(struct run *run, int32_t n);

/* Rows that its first call needs after admission. */
int32_t run_rows_needed(const struct run *run);

/* Steps over all positions that are done, and so far of those that are not. */
uint64_t run_total_steps(const struct run *run);

/* run_begin_call - stand before the first step of the call that starts at n_done. */
void run_begin_call(struct run *run);

/*
 * run_resume_call - instead: the call [begin, n_done), whose positions left after `steps` and still
 * own their rows, goes on to a greater depth, which is given.
 */
void run_resume_call(struct run *run, int32_t begin, int32_t steps);

/* Before the first chunk of a step: how deep the call may go now (sched_steps). */
void run_limit_steps(struct run *run, int32_t steps);

/* Does the position take part in the step at hand, and is it the last step for it? */
bool run_takes_step(const struct run *run, int32_t position);
/* Is the step at hand made with the early copy? The same for all positions: they are at one
 * step. */
bool run_is_early(const struct run *run);
/* What has to come back from the ranks for the position's step: CLUS_WANT_* (cluster/tick.h). */
uint32_t run_wants(const struct run *run, int32_t position);

/* run_position_taken - `next` is in the batch: go on to the next one that takes the step. */
void run_position_taken(struct run *run);

/*
 * run_step_done - all positions of the call took step_idx: decide. The call then stands before its
 * next step, or in phase CODA.
 */
void run_step_done(struct run *run);

/*
 * run_check_done - phase CODA and is_check: the rule has seen the logits and said `value`. True
 * when the call leaves; otherwise it stands before its next step.
 */
bool run_check_done(struct run *run, double value);

/* run_call_done - the call has left and passed the coda: its positions are done. */
void run_call_done(struct run *run);

/* run_rewind - places are lost: everything is to be replayed. */
void run_rewind(struct run *run);

/* True between two calls, and while nothing was written since the run was admitted. */
bool run_at_boundary(const struct run *run);

/* Tell the scheduler where the run stands. */
void run_tell_sched(struct run *run);

#endif
