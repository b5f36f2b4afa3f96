/* SPDX-License-Identifier: Apache-2.0 */
/* cli/eval_run.c - see cli/eval_run.h. */
#include "cli/eval_run.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/size.h"
#include "cli/answer.h"
#include "cli/progress.h"

struct eval;

struct trial {
    struct eval *eval;
    size_t idx;               /* depth_idx * n_questions + question_idx */
    struct cli_answer answer; /* while it is in flight */
};

struct eval {
    struct cli_link *link;
    const struct cli_eval_plan *plan;
    struct cli_eval_results out;
    struct trial *trials; /* [out.n] */
    size_t *refused;      /* [out.n] trials to ask again, a stack */
    size_t n_refused;
    size_t next; /* first trial that was never asked */
    size_t n_running;
    size_t n_done;
    size_t window;
    struct cli_progress progress;
    struct ltd_err err;  /* the first failure */
    struct ltd_err away; /* why nobody answers; LTD_OK while somebody does */
};

static const struct cli_question *question_of(const struct trial *trial)
{
    const struct cli_questions *questions = trial->eval->plan->questions;
    return questions->items[trial->idx % questions->n];
}

static const struct cli_depth *depth_of(const struct trial *trial)
{
    const struct cli_eval_plan *plan = trial->eval->plan;
    return &plan->depths->items[trial->idx / plan->questions->n];
}

/* The first failure is the one that is told; it ends all other calls. */
static void fail(struct trial *trial, const struct ltd_err *why)
{
    struct eval *eval = trial->eval;
    char depth[CLI_DEPTH_NAME_BYTES];
    if (eval->err.code != LTD_OK)
        return;
    eval->err = *why;
    ltd_err_context(&eval->err, "%s:%" PRIu32 " at depth %s", eval->plan->path,
                    question_of(trial)->line, cli_depth_name(depth_of(trial), depth, sizeof depth));
    latentd_client_cancel(eval->link->client);
}

/* What one trial asks. The answer ends with its first line, because only that is compared. */
static int pack_request(const struct trial *trial, struct ltd_bytes *out, struct ltd_err *err)
{
    const struct cli_eval_plan *plan = trial->eval->plan;
    struct cli_depth_args depth = *plan->depth;
    const char *stop = "\n";
    struct cli_job_args job = {.max_tokens = {true, plan->max_tokens},
                               .stop = {&stop, 1},
                               .temperature = {true, plan->temperature}};
    struct cli_spec_message spec;
    Latentd__V1__GenerateRequest request = LATENTD__V1__GENERATE_REQUEST__INIT;
    depth.depth = *depth_of(trial);
    depth.seed = (struct cli_u64){true, plan->seed + trial->idx % plan->questions->n};
    if (!depth.depth.adaptive)
        cli_depth_forget_adaptive(&depth);
    int rc = cli_spec_build(&job, &depth, &spec, err);
    if (rc == 0) {
        cli_prompt_text(&spec.prompt, cli_bytes(question_of(trial)->prompt), plan->chat, NULL);
        request.spec = &spec.spec;
        rc = cli_link_pack(&request.base, out, err);
    }
    cli_spec_fini(&spec);
    return rc;
}

static int on_message(void *arg, const uint8_t *data, size_t len)
{
    struct trial *trial = arg;
    struct ltd_err err = {.code = LTD_OK};
    Latentd__V1__JobEvent *event =
        cli_link_unpack(&latentd__v1__job_event__descriptor, data, len, &err);
    if (event && cli_answer_take_event(&trial->answer, event, &err) == 0)
        return 0;
    fail(trial, &err);
    return -1;
}

static int record(struct trial *trial, struct ltd_err *err)
{
    struct eval *eval = trial->eval;
    const struct cli_answer *answer = &trial->answer;
    struct ltd_bytes *text = &eval->out.texts[trial->idx];
    if (!answer->finished)
        return ltd_fail(err, LTD_E_PEER, "the stream ended before the job did");
    if (cli_answer_verdict(answer, err) != 0)
        return -1;
    cli_answer_text(answer, text);
    if (text->failed)
        return ltd_fail(err, LTD_E_EXHAUSTED, "no memory for the answer");
    /* Saying "that was all" is the same thought after every question; it would blur the depths. */
    bool has_end = answer->finished->reason == LATENTD__V1__FINISH_REASON__FINISH_REASON_EOS &&
                   answer->n_tokens > 1;
    eval->out.results[trial->idx] = (struct cli_trial_result){
        .is_right = cli_question_is_right(question_of(trial), text->data, text->len),
        .n_tokens = answer->n_tokens - has_end,
        .n_steps = answer->n_steps - (has_end ? answer->last_steps : 0),
    };
    return 0;
}

static void show_progress(struct eval *eval)
{
    char line[64];
    snprintf(line, sizeof line, "[%zu of %zu answered]", eval->n_done, eval->out.n);
    cli_progress_draw_text(&eval->progress, line);
}

static void start_some(struct eval *eval);

/*
 * A full queue is no failure while other trials of ours are in it: they will end. When none is
 * running the queue is full of somebody else's jobs, and that may last; so it is reported.
 */
static bool ask_later(struct trial *trial, const latentd_error *result)
{
    struct eval *eval = trial->eval;
    if (result->status != LATENTD_RESOURCE_EXHAUSTED || eval->n_running == 0)
        return false;
    eval->refused[eval->n_refused++] = trial->idx;
    eval->window = eval->n_running;
    return true;
}

/*
 * The answer is lost because the service is away. Nothing else is asked until what runs has ended;
 * then cli_eval_run waits. A job that says itself that it failed has failed.
 */
static bool ask_after_outage(struct trial *trial, const struct ltd_err *why)
{
    struct eval *eval = trial->eval;
    if (why->code != LTD_E_UNAVAILABLE || trial->answer.finished || eval->link->outage.is_off)
        return false;
    eval->refused[eval->n_refused++] = trial->idx;
    eval->away = *why;
    return true;
}

static void on_done(void *arg, const latentd_error *result)
{
    struct trial *trial = arg;
    struct eval *eval = trial->eval;
    struct ltd_err err = {.code = LTD_OK};
    /* The job has ended: that only the call's last word was lost is nobody's concern. */
    bool is_whole =
        result->status == LATENTD_OK ||
        (result->status == LATENTD_UNAVAILABLE && !result->from_server && trial->answer.finished);
    eval->n_running--;
    if (is_whole) {
        cli_outage_over(&eval->link->outage);
        if (record(trial, &err) != 0)
            fail(trial, &err);
        else
            eval->n_done++;
    } else if (!ask_later(trial, result)) {
        cli_link_fail(eval->link, result, &err);
        if (!ask_after_outage(trial, &err))
            fail(trial, &err);
    }
    cli_answer_fini(&trial->answer);
    show_progress(eval);
    start_some(eval);
}

static int start_one(struct trial *trial, struct ltd_err *err)
{
    static const latentd_call_events events = {on_message, on_done};
    struct eval *eval = trial->eval;
    struct ltd_bytes packed;
    latentd_error status;
    ltd_bytes_init(&packed);
    int rc = pack_request(trial, &packed, err);
    if (rc == 0) {
        latentd_request request = {.path = "/latentd.v1.Inference/Generate",
                                   .data = packed.data,
                                   .len = packed.len,
                                   .timeout_ms = cli_link_left_ms(eval->link)};
        if (!latentd_call_start(eval->link->client, &request, &events, trial, &status))
            rc = cli_link_fail(eval->link, &status, err);
    }
    ltd_bytes_fini(&packed);
    return rc;
}

static void start_some(struct eval *eval)
{
    while (eval->err.code == LTD_OK && eval->away.code == LTD_OK &&
           eval->n_running < eval->window && (eval->n_refused > 0 || eval->next < eval->out.n)) {
        size_t idx = eval->n_refused > 0 ? eval->refused[--eval->n_refused] : eval->next++;
        struct ltd_err err = {.code = LTD_OK};
        if (start_one(&eval->trials[idx], &err) == 0)
            eval->n_running++;
        else if (!ask_after_outage(&eval->trials[idx], &err))
            fail(&eval->trials[idx], &err);
    }
}

static int prepare(struct eval *eval, struct ltd_err *err)
{
    const struct cli_eval_plan *plan = eval->plan;
    size_t n;
    if (!ltd_size_mul(plan->questions->n, plan->depths->n, &n))
        return ltd_fail(err, LTD_E_EXHAUSTED, "too many questions and depths");
    eval->out.n = n;
    eval->out.results = calloc(n, sizeof *eval->out.results);
    eval->out.texts = calloc(n, sizeof *eval->out.texts);
    eval->trials = calloc(n, sizeof *eval->trials);
    eval->refused = calloc(n, sizeof *eval->refused);
    if (!eval->out.results || !eval->out.texts || !eval->trials || !eval->refused)
        return ltd_fail(err, LTD_E_EXHAUSTED, "no memory for %zu trials", n);
    for (size_t i = 0; i < n; i++) {
        ltd_bytes_init(&eval->out.texts[i]);
        eval->trials[i] = (struct trial){.eval = eval, .idx = i};
    }
    return 0;
}

void cli_eval_results_fini(struct cli_eval_results *results)
{
    for (size_t i = 0; results->texts && i < results->n; i++)
        ltd_bytes_fini(&results->texts[i]);
    free(results->texts);
    free(results->results);
    *results = (struct cli_eval_results){.n = 0};
}

/* All trials, through outages. */
static void run_trials(struct eval *eval)
{
    struct cli_link *link = eval->link;
    for (;;) {
        start_some(eval);
        latentd_client_run(link->client);
        if (eval->err.code != LTD_OK || eval->away.code == LTD_OK)
            return;
        if (!cli_outage_wait(&link->outage, link->deadline_ns, false, &eval->away)) {
            eval->err = eval->away;
            return;
        }
        ltd_err_clear(&eval->away);
    }
}

int cli_eval_run(struct cli_link *link, const struct cli_eval_plan *plan,
                 struct cli_eval_results *out, struct ltd_err *err)
{
    struct eval eval = {.link = link, .plan = plan, .window = plan->concurrency};
    cli_progress_init(&eval.progress, true);
    int rc = prepare(&eval, err);
    if (rc == 0) {
        link->outage.progress = &eval.progress;
        run_trials(&eval);
        link->outage.progress = NULL;
        if (eval.err.code != LTD_OK) {
            *err = eval.err;
            rc = -1;
        }
    }
    cli_progress_erase(&eval.progress);
    free(eval.trials);
    free(eval.refused);
    if (rc == 0)
        *out = eval.out;
    else
        cli_eval_results_fini(&eval.out);
    return rc;
}
