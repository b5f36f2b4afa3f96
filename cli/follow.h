/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli/follow.h - watch a job to its end through lost connections.
 *
 *     Watch(after_seq = last) ──▶ events ──▶ Finished, OK ──▶ done
 *            ▲                       │
 *            └── pause ◀── lost ◀────┘    at most `retries` times in a row without a new event
 *
 * Resuming is the first read again with a larger after_seq, so there is one path. Events that were
 * seen already are dropped by their number.
 *
 * Threads: main thread.
 */
#ifndef LATENTD_CLI_FOLLOW_H
#define LATENTD_CLI_FOLLOW_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "cli/link.h"
#include "cli/show.h"

/*
 * Tries in a row: pauses of 0.25, 0.5, 1, 2, 4 and then 5 s sum up to about half a minute, which is
 * what a daemon that is started again needs to load a model of some GB.
 */
#define CLI_FOLLOW_RETRIES 10

/*
 * cli_follow - hand every event of `name` behind `after_seq` to `show`, until the job has ended.
 *
 * retries  how often in a row to connect again when the connection is lost or the daemon goes away
 * Errors:  the call's status when it cannot be resumed; show->err; LTD_E_CANCELLED after a signal.
 */
int cli_follow(struct cli_link *link, const char *name, uint64_t after_seq, uint32_t retries,
               struct cli_show *show, struct ltd_err *err);

/*
 * cli_follow_shown - print a job as it goes on, text or with `json` its events; what watch does.
 *
 * Errors:  those of cli_follow; how the job ended, as cli_answer_verdict says; those of writing to
 *          standard output.
 */
int cli_follow_shown(struct cli_link *link, const char *name, uint64_t after_seq, uint32_t retries,
                     bool json, struct ltd_err *err);

#endif
