/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/engine_event.h - what the engine tells about a job.
 *
 * A job's events come in this order: STARTED, then any number of THINKING and TOKEN or one SCORED,
 * then exactly one FINISHED. A job that never ran has FINISHED alone. An event is a mail: the
 * engine thread makes it and the loop thread takes it over whole, with everything it points to.
 */
#ifndef LATENTD_DAEMON_ENGINE_EVENT_H
#define LATENTD_DAEMON_ENGINE_EVENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/mailbox.h"
#include "daemon/spec.h"

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

enum engine_exit {
    ENGINE_EXIT_FIXED,
    ENGINE_EXIT_CONVERGED,
    ENGINE_EXIT_MAX_STEPS,
    ENGINE_EXIT_BUDGET,
    ENGINE_N_EXITS
};

struct engine_top {
    int32_t id;
    float logprob;
};

/* What is known about one written token. */
struct engine_token {
    int32_t id;
    int32_t steps; /* recurrent steps spent; for the first token: on every prompt position */
    enum engine_exit exit;
    bool has_value;         /* of every token of an adaptive job, of no other */
    double criterion_value; /* last value of the exit rule; 0 where the depth was given */
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
    char *text; /* TOKEN: text that became certain; FINISHED: what was held back. Owned */
    size_t text_len;
    int64_t predicted_end_us;             /* STARTED: wall clock; 0 = unknown */
    bool late;                            /* FINISHED: budget.total_ms had passed */
    int32_t token_index, step, max_steps; /* THINKING */
    double criterion_value;               /* THINKING */
    enum engine_finish finish;            /* FINISHED */
    struct ltd_err error;                 /* FINISHED with ENGINE_FINISH_ERROR */
    uint64_t total_steps;                 /* FINISHED: steps over all positions */
    /* SCORED: one entry per scored token, owned. */
    int32_t n_scores;
    float *score_logprobs;
    bool *score_greedy;
    int32_t *score_steps; /* steps of the position that predicts the token */
};

/* Frees the event and what it points to; accepts NULL. */
void engine_event_destroy(struct engine_event *event);

#endif
