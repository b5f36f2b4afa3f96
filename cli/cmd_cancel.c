/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli/cmd_cancel.c - ask a job to end. A job that has ended already is no error: the call is
 * idempotent, and the state that is printed tells.
 */
#include "cli/verb.h"

#include <stdlib.h>

#include "cli/job_verb.h"
#include "cli/link.h"
#include "latentd/v1/latentd.pb-c.h"

static int run(const struct cli_words *words, const void *verb_args, struct ltd_err *err)
{
    const struct cli_common *common = verb_args;
    struct cli_link link;
    Latentd__V1__CancelJobRequest request = LATENTD__V1__CANCEL_JOB_REQUEST__INIT;
    char *name = cli_job_name(words->items[0], err);
    if (!name)
        return -1;
    request.name = cli_bytes(name);
    int rc = cli_link_open(&link, common, CLI_TIMEOUT_ASK_MS, err);
    if (rc == 0)
        rc = cli_job_ask(&link, "/latentd.v1.Jobs/Cancel", &request.base, common->json, true, err);
    cli_link_close(&link);
    free(name);
    return rc;
}

const struct cli_verb cli_cancel = {
    .name = "cancel",
    .synopsis = "[OPTION]... NAME",
    .summary = "end a job; what it wrote stays",
    .details =
        "Prints the job's name and the state it was in when the daemon answered: a running job may "
        "need one more step before it is \"cancelled\". A job that has ended is left as it is, and "
        "the exit status is 0.\n\n"
        "With --json the job is printed as one object. --timeout is 30 s by default.",
    .groups = {CLI_COMMON_GROUP},
    .args_bytes = sizeof(struct cli_common),
    .min_words = 1,
    .max_words = 1,
    .run = run,
};
