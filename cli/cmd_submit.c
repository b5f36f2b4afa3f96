/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli/cmd_submit.c - hand a job over and print its name.
 *
 * The daemon answers when QUEUED is in the job's log, so a name that was printed stands for a job
 * that was accepted.
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
};

static int submit(const struct submit_args *args, struct cli_spec_message *spec,
                  struct ltd_err *err)
{
    struct cli_link link;
    Latentd__V1__SubmitJobRequest request = LATENTD__V1__SUBMIT_JOB_REQUEST__INIT;
    request.spec = &spec->spec;
    if (args->job.request_id)
        request.request_id = cli_bytes(args->job.request_id);
    int rc = cli_link_open(&link, &args->common, CLI_TIMEOUT_ASK_MS, err);
    if (rc == 0)
        rc = cli_job_ask(&link, "/latentd.v1.Jobs/Submit", &request.base, args->common.json, false,
                         err);
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
        "becomes of this command, but jobs live in the daemon's memory and end with it. "
        "\"latentctl watch\" shows it thinking, \"latentctl result\" fetches the "
        "answer.\n\n"
        "PROMPT is one word, so quote it; \"-\" reads standard input, byte for byte. The flags are "
        "those of think.\n\n"
        "With --json the job is printed as one object. --timeout is 30 s by default.",
    .groups = {{cli_prompt_rows, CLI_N_PROMPT_ROWS, offsetof(struct submit_args, prompt)},
               {cli_depth_rows, CLI_N_DEPTH_ROWS, offsetof(struct submit_args, depth)},
               {cli_job_rows, CLI_N_JOB_ROWS, offsetof(struct submit_args, job)},
               CLI_COMMON_GROUP},
    .args_bytes = sizeof(struct submit_args),
    .takes_stdin = true,
    .min_words = 0,
    .max_words = 1,
    .run = run,
};
