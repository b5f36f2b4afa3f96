/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli/cmd_result.c - the answer of a job, whole.
 *
 * --wait follows the job first, by the same path as watch, and then asks for the record as well:
 * the record is what the daemon keeps, so it is what is printed.
 */
#include "cli/verb.h"

#include <inttypes.h>
#include <stdlib.h>

#include "cli/answer.h"
#include "cli/follow.h"
#include "cli/link.h"
#include "cli/names.h"
#include "cli/out.h"
#include "cli/show.h"

struct result_args {
    struct cli_common common;
    bool wait;
};

static const struct cli_option rows[] = {
    {"wait", CLI_FLAG, offsetof(struct result_args, wait), NULL, "until the job has ended"},
};

static int wait_for_end(struct cli_link *link, const char *name, struct ltd_err *err)
{
    struct cli_show show;
    cli_show_init(&show, CLI_SHOW_NOTHING);
    int rc = cli_follow(link, name, 0, CLI_FOLLOW_FOREVER, &show, err);
    cli_show_fini(&show);
    return rc;
}

static int print_json(const struct cli_answer *answer, struct ltd_err *err)
{
    const Latentd__V1__Job *job = answer->job;
    struct cli_json j;
    cli_json_init(&j);
    cli_json_begin(&j, NULL, '{');
    cli_answer_fields(answer, NULL, &j);
    cli_json_str(&j, "state", cli_state_name(job->state));
    cli_json_bool(&j, "done", job->done);
    cli_json_u64(&j, "last_seq", job->last_seq);
    cli_account_fields(&j, job);
    cli_json_i64(&j, "create_us", job->create_us);
    cli_json_i64(&j, "start_us", job->start_us);
    cli_json_i64(&j, "end_us", job->end_us);
    cli_json_end(&j);
    return cli_json_print(&j, err);
}

/* An answer without text is ids, unless the model has words and just wrote none. */
static bool is_ids_only(struct cli_link *link, const struct cli_answer *answer)
{
    struct cli_show show;
    if (answer->n_tokens == 0 || answer->n_text_bytes > 0)
        return false;
    cli_show_init(&show, CLI_SHOW_UNSURE);
    cli_show_settle(&show, link);
    bool has_words = show.mode == CLI_SHOW_TEXT;
    cli_show_fini(&show);
    return !has_words;
}

static int print_plain(struct cli_link *link, const struct cli_answer *answer, struct ltd_err *err)
{
    if (is_ids_only(link, answer)) {
        const Latentd__V1__Tokens *tokens = answer->chunks[0];
        for (size_t i = 0; i < tokens->n_ids; i++)
            cli_out_printf("%s%" PRIu32, i > 0 ? " " : "", tokens->ids[i]);
    }
    struct ltd_bytes text;
    ltd_bytes_init(&text);
    cli_answer_text(answer, &text);
    cli_out_text(text.data, text.len);
    ltd_bytes_fini(&text);
    if (cli_out_mid_line())
        cli_out_text("\n", 1);
    return cli_out_flush(err);
}

static int fetch(const struct result_args *args, const char *name, struct cli_link *link,
                 struct ltd_err *err)
{
    if (args->wait && wait_for_end(link, name, err) != 0)
        return -1;
    Latentd__V1__GetJobRequest request = LATENTD__V1__GET_JOB_REQUEST__INIT;
    request.name = cli_bytes(name);
    Latentd__V1__Job *job = cli_link_ask(link, "/latentd.v1.Jobs/Get", &request.base,
                                         &latentd__v1__job__descriptor, err);
    if (!job)
        return -1;
    struct cli_answer answer = {.n_messages = 0};
    int rc = cli_answer_take_job(&answer, job, err);
    if (rc == 0)
        rc = args->common.json ? print_json(&answer, err) : print_plain(link, &answer, err);
    if (rc == 0)
        rc = cli_answer_verdict(&answer, err);
    cli_answer_fini(&answer);
    return rc;
}

static int run(const struct cli_words *words, const void *verb_args, struct ltd_err *err)
{
    const struct result_args *args = verb_args;
    struct cli_link link;
    char *name = cli_job_name(words->items[0], err);
    if (!name)
        return -1;
    uint32_t limit_ms = args->wait ? CLI_TIMEOUT_NONE_MS : CLI_TIMEOUT_ASK_MS;
    int rc = cli_link_open(&link, &args->common, limit_ms, err);
    if (rc == 0)
        rc = fetch(args, name, &link, err);
    cli_link_close(&link);
    free(name);
    return rc;
}

const struct cli_verb cli_result = {
    .name = "result",
    .synopsis = "[OPTION]... NAME",
    .summary = "print the answer of a job",
    .details =
        "A job that has not ended gives what there is so far and exit status 3; --wait follows it "
        "to its end first.\n\n"
        "With --json one object: what think --json prints, and state, done, last_seq, priority, "
        "client, owner, continues, predicted_end_us, create_us, start_us, end_us (microseconds "
        "since "
        "1970 UTC, 0 for not yet or unknown).\n\n"
        "The exit status is that of the job, as with watch. --timeout is 30 s by default, none "
        "with --wait.",
    .groups = {{rows, sizeof rows / sizeof rows[0], 0}, CLI_COMMON_GROUP},
    .args_bytes = sizeof(struct result_args),
    .min_words = 1,
    .max_words = 1,
    .run = run,
};
