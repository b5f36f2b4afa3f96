/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli/cmd_submit.c - hand a job over and print its name.
 *
 * The daemon answers when QUEUED is in the job's log, so a name that was printed stands for a job
 * that was accepted. The request always has a request id, so it can be sent again when no answer
 * came: the daemon makes one job of it.
 */
#include "cli/verb.h"

#include "cli/job_verb.h"
#include "cli/link.h"
#include "cli/spec.h"

struct submit_args {
    struct cli_common common;
    struct cli_prompt_args prompt;
    struct cli_depth_args depth;
    struct cli_job_args job;
    bool watch;
};

static const struct cli_option rows[] = {
    {"watch", CLI_FLAG, offsetof(struct submit_args, watch), NULL,
     "follow the job to its end, as watch does, instead of printing its name"},
};

static int submit(const struct submit_args *args, struct cli_spec_message *spec,
                  struct ltd_err *err)
{
    struct cli_link link;
    Latentd__V1__SubmitJobRequest request = LATENTD__V1__SUBMIT_JOB_REQUEST__INIT;
    request.spec = &spec->spec;
    char id[CLI_REQUEST_ID_BYTES];
    request.request_id = cli_bytes(cli_request_id(args->job.request_id, id));
    uint32_t limit_ms = args->watch ? CLI_TIMEOUT_NONE_MS : CLI_TIMEOUT_ASK_MS;
    int rc = cli_link_open(&link, &args->common, limit_ms, err);
    if (rc == 0)
        rc = args->watch ? cli_job_ask_and_watch(&link, "/latentd.v1.Jobs/Submit", &request.base,
                                                 args->common.json, err)
                         : cli_job_ask(&link, "/latentd.v1.Jobs/Submit", &request.base,
                                       args->common.json, false, err);
    cli_link_close(&link);
    return rc;
}

static int run(const struct cli_words *words, const void *verb_args, struct ltd_err *err)
{
    const struct submit_args *args = verb_args;
    struct cli_spec_message spec;
    struct ltd_bytes text;
    ltd_bytes_init(&text);
    int rc = -1;
    if (cli_spec_build(&args->job, &args->depth, &spec, err) == 0 &&
        cli_prompt_build(&args->prompt, words, &text, &spec.prompt, err) == 0)
        rc = submit(args, &spec, err);
    cli_spec_fini(&spec);
    ltd_bytes_fini(&text);
    return rc;
}

const struct cli_verb cli_submit = {
    .name = "submit",
    .synopsis = "[OPTION]... (PROMPT | - | --tokens ID,ID,...)",
    .summary = "start a job that goes on without you and print its name",
    .details =
        "The name (jobs/...) is printed when the daemon has accepted the job. It goes on whatever "
        "becomes of this command, and of the daemon if that keeps its jobs in a file. "
        "\"latentctl watch\" shows it thinking, \"latentctl result\" fetches the "
        "answer.\n\n"
        "PROMPT is one word, so quote it; \"-\" reads standard input, byte for byte. The flags are "
        "those of think.\n\n"
        "The request has an id, a random one without --request-id, so that it can be sent again "
        "when the service was away: there is one job of it.\n\n"
        "With --json the job is printed as one object, with --watch the output is that of watch. "
        "--timeout is 30 s by default, none with --watch.",
    .groups = {{cli_prompt_rows, CLI_N_PROMPT_ROWS, offsetof(struct submit_args, prompt)},
               {cli_depth_rows, CLI_N_DEPTH_ROWS, offsetof(struct submit_args, depth)},
               {cli_job_rows, CLI_N_JOB_ROWS, offsetof(struct submit_args, job)},
               {rows, sizeof rows / sizeof rows[0], 0},
               CLI_COMMON_GROUP},
    .args_bytes = sizeof(struct submit_args),
    .takes_stdin = true,
    .min_words = 0,
    .max_words = 1,
    .run = run,
};
