/* SPDX-License-Identifier: Apache-2.0 */
/* cli/job_verb.c - see cli/job_verb.h. */
#include "cli/job_verb.h"

#include <stdlib.h>
#include <string.h>

#include "cli/follow.h"
#include "cli/json_out.h"
#include "cli/names.h"
#include "cli/out.h"

static int print_json(const Latentd__V1__Job *job, struct ltd_err *err)
{
    struct cli_json j;
    cli_json_init(&j);
    cli_json_begin(&j, NULL, '{');
    cli_job_fields(&j, job);
    cli_json_end(&j);
    return cli_json_print(&j, err);
}

int cli_job_ask(struct cli_link *link, const char *path, const ProtobufCMessage *request, bool json,
                bool with_state, struct ltd_err *err)
{
    Latentd__V1__Job *job = cli_link_ask(link, path, request, &latentd__v1__job__descriptor, err);
    if (!job)
        return -1;
    int rc;
    if (json) {
        rc = print_json(job, err);
    } else {
        cli_out_text(job->name.data, job->name.len);
        if (with_state)
            cli_out_printf(" %s", cli_state_name(job->state));
        cli_out_printf("\n");
        rc = cli_out_flush(err);
    }
    cli_link_free(job);
    return rc;
}

int cli_job_ask_and_watch(struct cli_link *link, const char *path, const ProtobufCMessage *request,
                          bool json, struct ltd_err *err)
{
    Latentd__V1__Job *job = cli_link_ask(link, path, request, &latentd__v1__job__descriptor, err);
    if (!job)
        return -1;
    int rc = -1;
    char *name = strndup(job->name.len ? (const char *)job->name.data : "", job->name.len);
    cli_link_free(job);
    if (name)
        rc = cli_follow_shown(link, name, 0, CLI_FOLLOW_FOREVER, json, err);
    else
        ltd_fail(err, LTD_E_EXHAUSTED, "no memory for a job's name");
    free(name);
    return rc;
}
