/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli/answer.h - what a job has answered so far, put together from its events or from its record.
 *
 * The messages themselves are kept: an answer is a list of `Tokens` chunks in order, plus the
 * latest word on the job and on its end. Printing walks the chunks, so a long answer is stored
 * once.
 *
 *     events of Generate, Watch ──▶ cli_answer_take_event ─┐
 *     the Job of Get ─────────────▶ cli_answer_take_job ───┴──▶ cli_answer_fields, cli_answer_text
 *
 * Threads: plain memory, one owner.
 */
#ifndef LATENTD_CLI_ANSWER_H
#define LATENTD_CLI_ANSWER_H

#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"
#include "cli/json_out.h"
#include "latentd/v1/latentd.pb-c.h"

struct cli_answer {
    void **messages; /* [n_messages], owned: what everything below points into */
    size_t n_messages;
    const Latentd__V1__Tokens **chunks; /* [n_chunks], the array is owned */
    size_t n_chunks;
    const Latentd__V1__Job *job;           /* latest one seen, or NULL */
    const Latentd__V1__Finished *finished; /* or NULL */
    uint64_t last_seq;                     /* of the log; 0 = nothing yet */
    uint32_t prompt_tokens;
    int64_t predicted_end_us; /* since 1970 UTC; 0 = unknown */
    uint64_t n_tokens;        /* over all chunks */
    uint64_t n_steps;         /* over all tokens of all chunks */
    uint32_t last_steps;      /* of the last token */
    uint64_t n_text_bytes;    /* over all chunks and the tail */
};

/* An answer that is all zeros is empty and ready. */
void cli_answer_fini(struct cli_answer *answer);

/*
 * cli_answer_take_event - the next event; the answer owns it from now on, after a failure too.
 * Errors: LTD_E_EXHAUSTED.
 */
int cli_answer_take_event(struct cli_answer *answer, Latentd__V1__JobEvent *take_event,
                          struct ltd_err *err);

/* cli_answer_take_job - the job with its output; the same ownership and errors. */
int cli_answer_take_job(struct cli_answer *answer, Latentd__V1__Job *take_job, struct ltd_err *err);

/* Why it ended; UNSPECIFIED while it has not. */
Latentd__V1__FinishReason cli_answer_finish(const struct cli_answer *answer);

/* The whole text, held-back tail included, appended to `out`. */
void cli_answer_text(const struct cli_answer *answer, struct ltd_bytes *out);

/*
 * cli_answer_fields - the answer as the fields of the JSON object that is open in `j`.
 *
 * failure  how the call ended; decides `finish` and `error` when the job's own word on it did not
 *          arrive. NULL or LTD_OK: the call ended well.
 */
void cli_answer_fields(const struct cli_answer *answer, const struct ltd_err *failure,
                       struct cli_json *j);

/* cli_logprob_item - {"logprob": x, "top": [...]} as the next item of the array that is open. */
void cli_logprob_item(struct cli_json *j, const Latentd__V1__TokenLogprobs *token);

/*
 * cli_answer_verdict - 0 when the job ended by writing all it had to; else -1 with LTD_E_CANCELLED,
 * LTD_E_DEADLINE, the job's own error, or LTD_E_PRECONDITION for a job that has not ended.
 */
int cli_answer_verdict(const struct cli_answer *answer, struct ltd_err *err);

#endif
