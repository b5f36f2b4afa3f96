/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli/job_verb.h - what the verbs that are answered with one job have in common.
 *
 * Threads: main thread.
 */
#ifndef LATENTD_CLI_JOB_VERB_H
#define LATENTD_CLI_JOB_VERB_H

#include <stdbool.h>

#include "cli/link.h"

/*
 * cli_job_ask - one call that answers with a Job; print the job's name, or the job as JSON.
 *
 * with_state  print the state behind the name
 * Errors:  the call's; those of writing to standard output.
 */
int cli_job_ask(struct cli_link *link, const char *path, const ProtobufCMessage *request, bool json,
                bool with_state, struct ltd_err *err);

/*
 * cli_job_ask_and_watch - ask, and follow the job that the answer names to its end, as watch does.
 *
 * Errors:  the call's; those of cli_follow_shown.
 */
int cli_job_ask_and_watch(struct cli_link *link, const char *path, const ProtobufCMessage *request,
                          bool json, struct ltd_err *err);

#endif
