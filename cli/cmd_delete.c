/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli/cmd_delete.c - make the daemon forget a job, its prompt and its answer.
 */
#include "cli/verb.h"

#include <stdbool.h>
#include <stdlib.h>

#include "cli/json_out.h"
#include "cli/link.h"
#include "cli/out.h"
#include "latentd/v1/latentd.pb-c.h"

static int print_deleted(const char *name, bool json, struct ltd_err *err)
{
    if (!json) {
        cli_out_printf("%s deleted\n", name);
        return cli_out_flush(err);
    }
    struct cli_json j;
    cli_json_init(&j);
    cli_json_begin(&j, NULL, '{');
    cli_json_str(&j, "job", name);
    cli_json_bool(&j, "deleted", true);
    cli_json_end(&j);
    return cli_json_print(&j, err);
}

static int delete_job(const struct cli_common *common, const char *name, struct ltd_err *err)
{
    struct cli_link link;
    Latentd__V1__DeleteJobRequest request = LATENTD__V1__DELETE_JOB_REQUEST__INIT;
    request.name = cli_bytes(name);
    int rc = cli_link_open(&link, common, CLI_TIMEOUT_ASK_MS, err);
    if (rc == 0) {
        void *answer = cli_link_ask(&link, "/latentd.v1.Jobs/Delete", &request.base,
                                    &latentd__v1__delete_job_response__descriptor, err);
        /* Unknown to the second request because the first, whose answer was lost, did it. */
        bool was_done = !answer && err->code == LTD_E_NOT_FOUND && link.n_repeats > 0;
        rc = answer || was_done ? print_deleted(name, common->json, err) : -1;
        cli_link_free(answer);
    }
    cli_link_close(&link);
    return rc;
}

static int run(const struct cli_words *words, const void *verb_args, struct ltd_err *err)
{
    char *name = cli_job_name(words->items[0], err);
    if (!name)
        return -1;
    int rc = delete_job(verb_args, name, err);
    free(name);
    return rc;
}

const struct cli_verb cli_delete = {
    .name = "delete",
    .synopsis = "[OPTION]... NAME",
    .summary = "forget a job, its prompt and its answer",
    .details =
        "A job that still runs is cancelled first. The name is unknown afterwards, so deleting "
        "twice gives exit status 3.\n\n"
        "With --json one object: job, deleted. --timeout is 30 s by default.",
    .groups = {CLI_COMMON_GROUP},
    .args_bytes = sizeof(struct cli_common),
    .min_words = 1,
    .max_words = 1,
    .run = run,
};
