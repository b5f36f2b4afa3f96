/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli/cmd_think.c - ask, watch the answer come, print it: one Generate call.
 *
 * The job lives as long as the call unless --keep is given: Ctrl-C, --timeout and a lost connection
 * end both. What came before is printed in every case. So a call that was lost before anything came
 * can be made again, a later one cannot.
 *
 * With --keep the job goes on without the call, and has a request id: lost before its name came, it
 * is asked for again by that id; lost later, it is followed by its name, as watch does.
 */
#include "cli/verb.h"

#include <stdlib.h>
#include <string.h>

#include "cli/follow.h"
#include "cli/link.h"
#include "cli/show.h"
#include "cli/spec.h"

struct think_args {
    struct cli_common common;
    struct cli_prompt_args prompt;
    struct cli_depth_args depth;
    struct cli_job_args job;
    bool keep;
};

static const struct cli_option rows[] = {
    {"keep", CLI_FLAG, offsetof(struct think_args, keep), NULL,
     "let the job go on when this command ends early"},
};

/* The end of the stream as the command sees it: the call's failure, or the job's. */
static int judge(struct cli_show *show, int rc, struct ltd_err *err)
{
    if (show->err.code != LTD_OK) {
        *err = show->err;
        return -1;
    }
    /* The job has ended: that only the call's last word was lost is nobody's concern. */
    if (rc != 0 && !(show->answer.finished && err->code == LTD_E_UNAVAILABLE))
        return -1;
    if (!show->answer.finished)
        return ltd_fail(err, LTD_E_PEER, "the stream ended before the job did");
    return cli_answer_verdict(&show->answer, err);
}

/* Print what is left. A failure to print replaces success, never a reason that was there. */
static int finish(struct cli_show *show, int rc, struct ltd_err *err)
{
    struct ltd_err print_err = {.code = LTD_OK};
    int printed = 0;
    if (show->mode != CLI_SHOW_OBJECT)
        printed = cli_show_end(show, &print_err);
    else if (show->answer.job || show->answer.n_tokens > 0 || show->answer.finished)
        printed = cli_show_object(show, rc == 0 ? NULL : err, &print_err);
    if (rc == 0 && printed != 0) {
        *err = print_err;
        return -1;
    }
    return rc;
}

/* The job goes on elsewhere: the rest of it comes from its log. */
static int follow_kept(struct cli_link *link, struct cli_show *show, struct ltd_err *err)
{
    const Latentd__V1__Job *job = show->answer.job;
    char *name = strndup(job->name.len ? (const char *)job->name.data : "", job->name.len);
    if (!name)
        return ltd_fail(err, LTD_E_EXHAUSTED, "no memory for a job's name");
    int rc = cli_follow(link, name, show->answer.last_seq, CLI_FOLLOW_FOREVER, show, err);
    free(name);
    return rc;
}

/* One call; when the service is away, what may be done about it (see above). */
static int stream(struct cli_link *link, const Latentd__V1__GenerateRequest *request,
                  struct cli_show *show, struct ltd_err *err)
{
    bool keeps = request->keep_on_disconnect;
    for (;;) {
        int rc = cli_link_stream(link, "/latentd.v1.Inference/Generate", &request->base,
                                 cli_show_message, show, err);
        bool has_begun = show->answer.job || show->answer.last_seq > 0;
        if (rc == 0 || show->answer.finished || show->err.code != LTD_OK)
            return rc;
        if (keeps && show->answer.job) {
            if (!cli_outage_wait(&link->outage, link->deadline_ns, true, err))
                return -1;
            return follow_kept(link, show, err);
        }
        /* Without --keep an id of the caller's may stand for a job that ended with its call. */
        if (has_begun || (!keeps && request->request_id.len > 0) ||
            !cli_outage_wait(&link->outage, link->deadline_ns, false, err))
            return -1;
    }
}

static int generate(const struct think_args *args, const struct cli_spec_message *spec,
                    struct ltd_err *err)
{
    struct cli_link link;
    struct cli_show show;
    char id[CLI_REQUEST_ID_BYTES];
    Latentd__V1__GenerateRequest request = LATENTD__V1__GENERATE_REQUEST__INIT;
    Latentd__V1__JobSpec copy = spec->spec;
    request.spec = &copy;
    request.keep_on_disconnect = args->keep;
    if (args->job.request_id || args->keep)
        request.request_id = cli_bytes(cli_request_id(args->job.request_id, id));
    cli_show_init(&show, args->common.json         ? CLI_SHOW_OBJECT
                         : args->prompt.tokens.set ? CLI_SHOW_UNSURE
                                                   : CLI_SHOW_TEXT);
    int rc = cli_link_open(&link, &args->common, CLI_TIMEOUT_NONE_MS, err);
    if (rc == 0) {
        cli_show_settle(&show, &link);
        link.outage.progress = &show.progress;
        rc = stream(&link, &request, &show, err);
        rc = finish(&show, judge(&show, rc, err), err);
        link.outage.progress = NULL;
    }
    cli_show_fini(&show);
    cli_link_close(&link);
    return rc;
}

static int run(const struct cli_words *words, const void *verb_args, struct ltd_err *err)
{
    const struct think_args *args = verb_args;
    struct cli_spec_message spec;
    struct ltd_bytes text;
    ltd_bytes_init(&text);
    int rc = -1;
    if (cli_spec_build(&args->job, &args->depth, &spec, err) == 0 &&
        cli_prompt_build(&args->prompt, words, &text, &spec.prompt, err) == 0)
        rc = generate(args, &spec, err);
    cli_spec_fini(&spec);
    ltd_bytes_fini(&text);
    return rc;
}

const struct cli_verb cli_think = {
    .name = "think",
    .synopsis = "[OPTION]... (PROMPT | - | --tokens ID,ID,...)",
    .summary = "ask and print the answer as it comes",
    .details =
        "Text goes to standard output as the daemon sends it; a model without a tokenizer answers "
        "with token ids, blanks between them. When standard error is a terminal, a line there says "
        "which token and step is being computed; it is gone at the end.\n\n"
        "PROMPT is one word, so quote it; \"-\" reads standard input, byte for byte.\n\n"
        "With --json nothing is printed until the end, and then one object: job, tokens, text, "
        "steps, exits, logprobs, criterion_values, finish, error, seed, tier, prompt_tokens, "
        "output_tokens, total_steps, late. It is printed for a job that failed or was interrupted "
        "too.\n\n"
        "When the service is away before the job has begun, that is waited out for 30 s. When the "
        "connection is lost later the daemon cancels the job and the command fails; with --keep "
        "the job goes on, and so does the command when the service is back.\n\n"
        "Ctrl-C cancels the job, prints what came and exits with 130. There is no time limit "
        "unless --timeout sets one.",
    .groups = {{cli_prompt_rows, CLI_N_PROMPT_ROWS, offsetof(struct think_args, prompt)},
               {cli_depth_rows, CLI_N_DEPTH_ROWS, offsetof(struct think_args, depth)},
               {cli_job_rows, CLI_N_JOB_ROWS, offsetof(struct think_args, job)},
               {rows, sizeof rows / sizeof rows[0], 0},
               CLI_COMMON_GROUP},
    .args_bytes = sizeof(struct think_args),
    .takes_stdin = true,
    .min_words = 0,
    .max_words = 1,
    .run = run,
};
