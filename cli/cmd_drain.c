/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli/cmd_drain.c - let a daemon end: no new jobs, a while for those that run, then it is gone.
 *
 * The answer comes when the drain has begun, not when it is over. Nothing is tried again: a daemon
 * that does not answer may be draining already, and whoever ordered it wants to know now.
 */
#include "cli/verb.h"

#include <inttypes.h>

#include "cli/json_out.h"
#include "cli/link.h"
#include "cli/out.h"
#include "latentd/v1/latentd.pb-c.h"

struct drain_args {
    struct cli_common common;
    struct cli_number grace_s;
};

static const struct cli_option rows[] = {
    {"grace", CLI_NUMBER, offsetof(struct drain_args, grace_s), "SECONDS",
     "how long running jobs may go on; without it the daemon's own drain_seconds"},
};

static int print_drain(const Latentd__V1__DrainResponse *answer, bool json, struct ltd_err *err)
{
    if (!json) {
        cli_out_printf("draining within %g s: %" PRIu32 " running, %" PRIu32 " queued\n",
                       answer->grace_seconds, answer->jobs_running, answer->jobs_queued);
        return cli_out_flush(err);
    }
    struct cli_json j;
    cli_json_init(&j);
    cli_json_begin(&j, NULL, '{');
    cli_json_double(&j, "grace_seconds", answer->grace_seconds);
    cli_json_u64(&j, "jobs_queued", answer->jobs_queued);
    cli_json_u64(&j, "jobs_running", answer->jobs_running);
    cli_json_end(&j);
    return cli_json_print(&j, err);
}

static int run(const struct cli_words *words, const void *verb_args, struct ltd_err *err)
{
    (void)words;
    const struct drain_args *args = verb_args;
    struct cli_link link;
    Latentd__V1__DrainRequest request = LATENTD__V1__DRAIN_REQUEST__INIT;
    if (args->grace_s.set) {
        request.grace_seconds_set_case =
            LATENTD__V1__DRAIN_REQUEST__GRACE_SECONDS_SET_GRACE_SECONDS;
        request.grace_seconds = args->grace_s.value;
    }
    int rc = cli_link_open_once(&link, &args->common, CLI_TIMEOUT_ASK_MS, err);
    if (rc == 0) {
        Latentd__V1__DrainResponse *answer =
            cli_link_ask(&link, "/latentd.v1.Admin/Drain", &request.base,
                         &latentd__v1__drain_response__descriptor, err);
        rc = answer ? print_drain(answer, args->common.json, err) : -1;
        cli_link_free(answer);
    }
    cli_link_close(&link);
    return rc;
}

const struct cli_verb cli_drain = {
    .name = "drain",
    .synopsis = "[OPTION]...",
    .summary = "let the daemon take no new jobs and end",
    .details =
        "The daemon refuses new jobs from now on, gives those that run --grace seconds, and ends. "
        "Jobs that it keeps in a file go on where they were when it is started again. Needs the "
        "right admin. Prints how long it will take at most and what there is when it begins; the "
        "command does not wait for the end, and a daemon that does not answer is exit status 4 at "
        "once.\n\n"
        "With --json one object: grace_seconds, jobs_queued, jobs_running. --timeout is 30 s by "
        "default.",
    .groups = {{rows, sizeof rows / sizeof rows[0], 0}, CLI_COMMON_GROUP},
    .args_bytes = sizeof(struct drain_args),
    .min_words = 0,
    .max_words = 0,
    .run = run,
};
