/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/engine_output.h - from latents that left the recurrence to tokens, text and events.
 *
 * The second half of an engine turn: coda and head for calls that left, then a token by the
 * sampler (or the log-probabilities of given tokens), the text, and the events that tell the loop.
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
#include "daemon/engine_config.h"
#include "daemon/engine_event.h"
#include "daemon/run.h"

/* A call that left the recurrence. */
struct output_call {
    struct run *run;
    enum engine_exit exit;
};

struct engine_output {
    const struct engine_config *config; /* borrowed */
    struct ltd_mailbox *events;         /* borrowed: where events are posted */
    struct model_sampler *sampler;
    int32_t max_rows;              /* rows of logits computed at once */
    float *hidden;                 /* [max_rows][n_embd] inputs of the head */
    float *logits;                 /* [max_rows][vocab_size] */
    struct model_border_out *coda; /* [coda_room] */
    size_t coda_room;
    struct ltd_bytes text;            /* scratch */
    uint64_t n_tokens, n_token_steps; /* totals for the statistics */
};

/* Errors: LTD_E_EXHAUSTED. */
int engine_output_init(struct engine_output *out, const struct engine_config *config,
                       struct ltd_mailbox *events, struct ltd_err *err);
void engine_output_fini(struct engine_output *out);

/*
 * engine_output_calls - coda, head and sampler for `n` calls.
 * Afterwards each run either stands before its next call or has `is_ending` set with how it ends.
 */
void engine_output_calls(struct engine_output *out, const struct output_call *calls, int32_t n);

void engine_output_started(struct engine_output *out, struct run *run);
/* At most a few times per second and run; see ENGINE_THINKING. */
void engine_output_thinking(struct engine_output *out, struct run *run);

/* The last event of a run: how it ended. `error` is read for ENGINE_FINISH_ERROR only. */
void engine_output_finished(struct engine_output *out, struct run *run, enum engine_finish finish,
                            const struct ltd_err *error);

#endif
