/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli/outage.h - the service is away for a while: whether to try again, when, and who is told.
 *
 * A daemon that is started again, moves to another host or has lost a rank answers UNAVAILABLE, or
 * nobody answers at all. For a command that is a pause, not an error, as long as sending the request
 * again can do no harm; whether it can is the business of the caller (cli/link.h, cli/follow.h).
 *
 *     call ──▶ UNAVAILABLE ──▶ cli_outage_wait ──true──▶ the same call again
 *      │                             └────────false──▶ the command fails with the first reason
 *      └──▶ news ──▶ cli_outage_over
 *
 * Pauses begin at 0.1 s and double up to 5 s, each shortened by up to a half at random, so that a
 * thousand watchers of one daemon do not come back in the same moment; a pause that the daemon asked
 * for (retry_after_ms) is never shortened. It goes on until the time limit of the command. Commands
 * without one give up after 30 s, unless the caller says that this outage may last: somebody who
 * follows a job that is known to exist.
 *
 * Said of it: on a terminal one notice per outage; into files, pipes and beside --json nothing; with
 * --verbose a line on standard error for every try.
 *
 * Threads: plain memory, main thread.
 */
#ifndef LATENTD_CLI_OUTAGE_H
#define LATENTD_CLI_OUTAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "cli/verb.h"

/* How long commands without a time limit wait for a service that does not answer. */
#define CLI_OUTAGE_LIMIT_MS 30000

#define CLI_OUTAGE_FIRST_PAUSE_MS   100
#define CLI_OUTAGE_LONGEST_PAUSE_MS 5000

struct cli_progress;

struct cli_outage {
    bool is_off;                   /* --no-retry, or a verb that reports outages itself */
    bool is_verbose;               /* a line for every try */
    bool has_notice;               /* one notice, on a terminal */
    struct cli_progress *progress; /* draws the notice if it can; NULL: none, a line instead */
    uint32_t n_tries;              /* of this outage so far; 0: there is none */
    uint64_t begin_ns;
    struct ltd_err first; /* how it began */
};

/* cli_outage_init - as the options say: --no-retry, --verbose, --json. */
void cli_outage_init(struct cli_outage *outage, const struct cli_common *common);

/*
 * cli_outage_pause_ms - how long to wait before try `n_tries` (from 1).
 *
 * hint_ms  what the daemon said; 0 = nothing
 * random   any number; decides where between half of the pause and all of it
 */
uint32_t cli_outage_pause_ms(uint32_t n_tries, uint32_t hint_ms, uint32_t random);

/*
 * cli_outage_wait - a call failed with `err`: wait until it may be tried again.
 *
 * deadline_ns  of the command; LTD_NEVER without a limit
 * may_last     without a limit, go on for ever instead of CLI_OUTAGE_LIMIT_MS
 *
 * Returns true after the pause. False when it is no use: it is off, a signal came, `err` is not
 * UNAVAILABLE, or the time is over; when the time is over `err` becomes the failure that the outage
 * began with, which says more than "deadline".
 */
bool cli_outage_wait(struct cli_outage *outage, uint64_t deadline_ns, bool may_last,
                     struct ltd_err *err);

/* cli_outage_over - the service answers again. Nothing happens when it was not away. */
void cli_outage_over(struct cli_outage *outage);

#endif
