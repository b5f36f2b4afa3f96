/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli/cmd_priority.c - move a job in the queue, hold it back, or let it go.
 */
#include "cli/verb.h"

#include <inttypes.h>
#include <stdlib.h>

#include "cli/json_out.h"
#include "cli/link.h"
#include "cli/names.h"
#include "cli/out.h"
#include "latentd/v1/latentd.pb-c.h"

static int print_json(const Latentd__V1__Job *job, struct ltd_err *err)
{
    struct cli_json j;
    cli_json_init(&j);
    cli_json_begin(&j, NULL, '{');
    cli_job_fields(&j, job);
    cli_json_end(&j);
    return cli_json_print(&j, err);
}

static int print_plain(const Latentd__V1__Job *job, struct ltd_err *err)
{
    cli_out_text(job->name.data, job->name.len);
    cli_out_printf(" %s priority %" PRIu32 "\n", cli_state_name(job->state), job->priority);
    return cli_out_flush(err);
}

static int set_priority(const struct cli_common *common, const char *name, uint32_t priority,
                        struct ltd_err *err)
{
    struct cli_link link;
    Latentd__V1__SetJobPriorityRequest request = LATENTD__V1__SET_JOB_PRIORITY_REQUEST__INIT;
    request.name = cli_bytes(name);
    request.priority = priority;
    int rc = cli_link_open(&link, common, CLI_TIMEOUT_ASK_MS, err);
    if (rc == 0) {
        Latentd__V1__Job *job = cli_link_ask(&link, "/latentd.v1.Jobs/SetPriority", &request.base,
                                             &latentd__v1__job__descriptor, err);
        rc = !job ? -1 : common->json ? print_json(job, err) : print_plain(job, err);
        cli_link_free(job);
    }
    cli_link_close(&link);
    return rc;
}

static int run(const struct cli_words *words, const void *verb_args, struct ltd_err *err)
{
    uint32_t priority;
    if (cli_u32_read(words->items[1], "PRIORITY", &priority, err) != 0)
        return -1;
    char *name = cli_job_name(words->items[0], err);
    if (!name)
        return -1;
    int rc = set_priority(verb_args, name, priority, err);
    free(name);
    return rc;
}

const struct cli_verb cli_priority = {
    .name = "priority",
    .synopsis = "[OPTION]... NAME PRIORITY",
    .summary = "move a job in the queue, hold it back, or let it go",
    .details =
        "PRIORITY is 0 to 31; a waiting job of a higher priority goes first, and may take the "
        "place "
        "of a running one of a lower priority, which goes on later with the same answer. Jobs have "
        "16 unless they ask otherwise. 0 holds the job back: it waits, without growing older in "
        "the "
        "queue, until it is given another priority.\n\n"
        "Prints name, state and priority. A job that has ended gives exit status 3.\n\n"
        "With --json the job is printed as one object. --timeout is 30 s by default.",
    .groups = {CLI_COMMON_GROUP},
    .args_bytes = sizeof(struct cli_common),
    .min_words = 2,
    .max_words = 2,
    .run = run,
};
