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
#include "base/mailbox.h"
#include "daemon/spec.h"

struct engine;
struct clus_group;
struct model_border;
struct model_tokenizer;
struct kern_ctx;

/* Never changes after engine_start. */
struct engine_config {
    struct model_border *border;             /* borrowed; the engine thread's alone from now on */
    const struct model_tokenizer *tokenizer; /* borrowed; NULL: jobs write token ids only */
    struct clus_group *group;                /* borrowed; the engine thread's alone from now on */
    int32_t n_embd;
    int32_t vocab_size;
    int32_t n_pages;       /* KV pages, the same ids on every rank and in the border */
    int32_t n_rows;        /* latents of running positions that ranks hold */
    int32_t n_seqs;        /* jobs that run at once */
    int32_t max_batch;     /* positions per tick */
    int32_t prefill_chunk; /* prompt positions of one job per tick; <= max_batch */
    int32_t end_tokens[16];
    int32_t n_end_tokens;
    /* Called on the engine thread when events wait and none did before; must only wake the loop. */
    ltd_mailbox_notify_fn notify;
    void *notify_arg;
};

enum engine_event_kind {
    ENGINE_STARTED,
    ENGINE_TOKEN,
    ENGINE_THINKING,
    ENGINE_SCORED,
    ENGINE_FINISHED,
};

enum engine_finish {
    ENGINE_FINISH_EOS,
    ENGINE_FINISH_STOP,
    ENGINE_FINISH_LENGTH,
    ENGINE_FINISH_CANCELLED,
    ENGINE_FINISH_DEADLINE,
    ENGINE_FINISH_ERROR,
    ENGINE_FINISH_SCORED,
};

enum engine_exit { ENGINE_EXIT_FIXED, ENGINE_EXIT_CONVERGED, ENGINE_EXIT_MAX_STEPS };

struct engine_top {
    int32_t id;
    float logprob;
};

/* What is known about one written token. */
struct engine_token {
    int32_t id;
    int32_t steps; /* recurrent steps spent; for the first token: on every prompt position */
    enum engine_exit exit;
    double criterion_value; /* last value of the exit rule; 0 for a fixed depth */
    float logprob;          /* valid when n_top >= 0 */
    int32_t n_top;          /* -1: logprobs were not asked for */
    struct engine_top top[SPEC_LOGPROBS_MAX];
};

struct engine_event {
    struct ltd_mail mail; /* first: an event is a mail */
    enum engine_event_kind kind;
    uint64_t job;
    int64_t time_us;           /* wall clock, for the record */
    struct engine_token token; /* TOKEN */
    char *text;                /* TOKEN: text that became certain; FINISHED: what was held back. Owned */
    size_t text_len;
    int32_t token_index, step, max_steps; /* THINKING */
    double criterion_value;               /* THINKING */
    enum engine_finish finish;            /* FINISHED */
    struct ltd_err error;                 /* FINISHED with ENGINE_FINISH_ERROR */
    uint64_t total_steps;                 /* FINISHED: steps over all positions */
    /* SCORED: one entry per scored token, owned. */
    int32_t n_scores;
    float *score_logprobs;
    bool *score_greedy;
    int32_t score_steps; /* steps spent on every position */
};

/* A snapshot for GetStatus; every field is a total since start unless said. */
struct engine_stats {
    uint64_t ticks;
    uint64_t tick_positions;
    uint64_t tokens;
    uint64_t token_steps;
    uint32_t jobs_waiting;      /* now: submitted, not admitted */
    uint32_t jobs_running;      /* now */
    uint32_t positions_running; /* now: positions that own a latent */
    uint32_t pages_total, pages_used; /* now */
    double tick_ms_mean;        /* over the last 256 ticks */
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
void engine_event_destroy(struct engine_event *event);

/* Any thread. */
void engine_get_stats(struct engine *engine, struct engine_stats *out);

/*
 * engine_stop - end every job (CANCELLED) within one tick, then the thread; joins it. Events that
 * wait can still be taken. Afterwards the group gets no more ticks.
 */
void engine_stop(struct engine *engine);
void engine_destroy(struct engine *engine);

#endif
