/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli/cmd_continue.c - let a finished job go on: more tokens, or its last thought for more steps.
 *
 * What goes on is a new job; the old one stays as it is. The new job's answer begins with the old
 * one's, so watching it shows all of it.
 */
#include "cli/verb.h"

#include <stdlib.h>

#include "cli/job_verb.h"
#include "cli/link.h"
#include "latentd/v1/latentd.pb-c.h"

struct continue_args {
    struct cli_common common;
    struct cli_u32 tokens;
    struct cli_u32 steps;
    const char *request_id;
    bool watch;
};

static const struct cli_option rows[] = {
    {"tokens", CLI_U32, offsetof(struct continue_args, tokens), "N",
     "write at most so many tokens more"},
    {"steps", CLI_U32, offsetof(struct continue_args, steps), "N",
     "think so many steps more about the last token, and choose it again"},
    {"request-id", CLI_TEXT, offsetof(struct continue_args, request_id), "ID",
     "the same id again gives the same job, not a second one"},
    {"watch", CLI_FLAG, offsetof(struct continue_args, watch), NULL,
     "follow the new job to its end, as watch does"},
};

static int ask(const struct continue_args *args, const char *name, struct ltd_err *err)
{
    struct cli_link link;
    Latentd__V1__ContinueJobRequest request = LATENTD__V1__CONTINUE_JOB_REQUEST__INIT;
    request.name = cli_bytes(name);
    request.more_tokens = args->tokens.value;
    request.more_steps = args->steps.value;
    char id[CLI_REQUEST_ID_BYTES];
    request.request_id = cli_bytes(cli_request_id(args->request_id, id));
    uint32_t limit_ms = args->watch ? CLI_TIMEOUT_NONE_MS : CLI_TIMEOUT_ASK_MS;
    int rc = cli_link_open(&link, &args->common, limit_ms, err);
    if (rc == 0)
        rc = args->watch ? cli_job_ask_and_watch(&link, "/latentd.v1.Jobs/Continue", &request.base,
                                                 args->common.json, err)
                         : cli_job_ask(&link, "/latentd.v1.Jobs/Continue", &request.base,
                                       args->common.json, false, err);
    cli_link_close(&link);
    return rc;
}

static int run(const struct cli_words *words, const void *verb_args, struct ltd_err *err)
{
    const struct continue_args *args = verb_args;
    if (args->tokens.value == 0 && args->steps.value == 0)
        return ltd_fail(err, LTD_E_INVALID,
                        "nothing to go on with: expected --tokens or --steps above 0");
    char *name = cli_job_name(words->items[0], err);
    if (!name)
        return -1;
    int rc = ask(args, name, err);
    free(name);
    return rc;
}

const struct cli_verb cli_continue = {
    .name = "continue",
    .synopsis = "[OPTION]... NAME (--tokens N | --steps N)",
    .summary = "let a finished job go on: more tokens, or more thought",
    .details =
        "Makes a new job that goes on where the finished one stopped, and prints its name. "
        "--tokens "
        "lets it write more; --steps lets the thought behind its last token go on before the token "
        "is chosen, again. Both may be given. The new job's answer begins with the old one's and "
        "has "
        "the same bytes as if all of it had been asked for at once. The old job stays as it is.\n\n"
        "A job that has not ended, wrote nothing, or failed cannot go on: exit status 3.\n\n"
        "With --json the new job is printed as one object; with --watch the output is that of "
        "watch. --timeout is 30 s by default, none with --watch.",
    .groups = {{rows, sizeof rows / sizeof rows[0], 0}, CLI_COMMON_GROUP},
    .args_bytes = sizeof(struct continue_args),
    .min_words = 1,
    .max_words = 1,
    .run = run,
};
