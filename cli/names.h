/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli/names.h - the words that enums and times of the contract have in output.
 *
 * These words are what scripts compare with, so they are part of docs/latentctl.md. A number that
 * this program does not know (a newer daemon) is "unknown", never an error.
 *
 * Threads: any; no state.
 */
#ifndef LATENTD_CLI_NAMES_H
#define LATENTD_CLI_NAMES_H

#include <stdint.h>

#include "cli/json_out.h"
#include "latentd/v1/latentd.pb-c.h"

/* "eos", "stop", "length", "cancelled", "deadline", "error"; NULL while there is none. */
const char *cli_finish_name(Latentd__V1__FinishReason reason);

/* "fixed", "converged", "max_steps", "budget". */
const char *cli_exit_name(Latentd__V1__ExitReason reason);

/* "queued", "running", "succeeded", "cancelled", "failed". */
const char *cli_state_name(Latentd__V1__JobState state);

/* The state called `name`; LATENTD__V1__JOB_STATE__JOB_STATE_UNSPECIFIED when there is none. */
Latentd__V1__JobState cli_state_find(const char *name);

/* All criteria, for texts. */
#define CLI_CRITERION_NAMES                                                                        \
    "latent-diff, cosine, acceleration, kl, minp-kl, entropy-diff or argmax-stability"

/* The criterion called `name`; LATENTD__V1__CRITERION__CRITERION_UNSPECIFIED when there is none. */
Latentd__V1__Criterion cli_criterion_find(const char *name);

/* "2031-05-12T08:30:00Z" into buf, "-" for 0. Returns buf. */
#define CLI_TIME_BYTES 32
const char *cli_time_name(int64_t time_us, char buf[CLI_TIME_BYTES]);

/* The fields of a job that say whose it is and when it is expected to end: priority, client,
 * continues, predicted_end_us. */
void cli_account_fields(struct cli_json *j, const Latentd__V1__Job *job);

/* The fields of a job without its answer: job, state, done, seed, tier, account, times, counts. */
void cli_job_fields(struct cli_json *j, const Latentd__V1__Job *job);

/* A bytes field of a message as JSON text. */
void cli_json_bytes(struct cli_json *j, const char *key, ProtobufCBinaryData text);

/* "error": {"code": …, "message": …}, or null when there is none. */
void cli_json_error(struct cli_json *j, const Latentd__V1__Error *error);

#endif
