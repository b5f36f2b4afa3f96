/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli/follow.h - watch a job to its end through lost connections.
 *
 *     Watch(after_seq = last) ──▶ events ──▶ Finished, OK ──▶ done
 *            ▲                       │
 *            └── pause ◀── lost ◀────┘    (cli/outage.h)
 *
 * Lost is everything after which the same stream may be had: the connection or the daemon is away,
 * the daemon has cut a reader that was slow, or somebody between has reset the call. The latter two
 * are believed only so often in a row without news.
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

/* As often as it takes. */
#define CLI_FOLLOW_FOREVER UINT32_MAX

/*
 * cli_follow - hand every event of `name` behind `after_seq` to `show`, until the job has ended.
 *
 * retries  how often in a row to try again without a new event; CLI_FOLLOW_FOREVER: until the time
 *          limit of the command, if it has one
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
