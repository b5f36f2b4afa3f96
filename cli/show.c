/* SPDX-License-Identifier: Apache-2.0 */
/* cli/show.c - see cli/show.h. */
#include "cli/show.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "cli/names.h"
#include "cli/out.h"

void cli_show_init(struct cli_show *show, enum cli_show_mode mode)
{
    *show = (struct cli_show){.mode = mode};
    cli_progress_init(&show->progress, true);
}

void cli_show_fini(struct cli_show *show)
{
    cli_progress_erase(&show->progress);
    cli_answer_fini(&show->answer);
}

void cli_show_settle(struct cli_show *show, struct cli_link *link)
{
    if (show->mode != CLI_SHOW_UNSURE)
        return;
    Latentd__V1__GetModelRequest request = LATENTD__V1__GET_MODEL_REQUEST__INIT;
    Latentd__V1__Model *model = cli_link_ask(link, "/latentd.v1.Cluster/GetModel", &request.base,
                                             &latentd__v1__model__descriptor, NULL);
    if (model)
        show->mode = model->has_tokenizer ? CLI_SHOW_TEXT : CLI_SHOW_IDS;
    cli_link_free(model);
}

static void print_text(struct cli_show *show, ProtobufCBinaryData text)
{
    cli_out_text(text.data, text.len);
    cli_progress_moved(&show->progress, text.data, text.len);
}

static void print_ids(struct cli_show *show, const Latentd__V1__Tokens *tokens)
{
    for (size_t i = 0; i < tokens->n_ids; i++) {
        char id[16];
        int n =
            snprintf(id, sizeof id, "%s%" PRIu32, show->n_shown++ > 0 ? " " : "", tokens->ids[i]);
        cli_out_text(id, (size_t)n);
        cli_progress_moved(&show->progress, id, (size_t)n);
    }
}

static void print_event(struct cli_show *show, const Latentd__V1__JobEvent *event)
{
    if (event->event_case == LATENTD__V1__JOB_EVENT__EVENT_TOKENS) {
        if (show->mode == CLI_SHOW_IDS)
            print_ids(show, event->tokens);
        else
            print_text(show, event->tokens->text);
    }
    if (event->event_case == LATENTD__V1__JOB_EVENT__EVENT_FINISHED && show->mode != CLI_SHOW_IDS)
        print_text(show, event->finished->text_tail);
}

/* What only jobs have that asked for it, or whose depth adapts. */
static void token_extras(const Latentd__V1__Tokens *tokens, struct cli_json *j)
{
    if (tokens->n_logprobs > 0) {
        cli_json_begin(j, "logprobs", '[');
        for (size_t i = 0; i < tokens->n_logprobs; i++)
            cli_logprob_item(j, tokens->logprobs[i]);
        cli_json_end(j);
    }
    if (tokens->n_criterion_values > 0) {
        cli_json_begin(j, "criterion_values", '[');
        for (size_t i = 0; i < tokens->n_criterion_values; i++)
            cli_json_double(j, NULL, tokens->criterion_values[i]);
        cli_json_end(j);
    }
}

static void tokens_fields(const Latentd__V1__Tokens *tokens, struct cli_json *j)
{
    cli_json_u32s(j, "tokens", tokens->ids, tokens->n_ids);
    cli_json_bytes(j, "text", tokens->text);
    cli_json_u32s(j, "steps", tokens->steps, tokens->n_steps);
    cli_json_begin(j, "exits", '[');
    for (size_t i = 0; i < tokens->n_exits; i++)
        cli_json_str(j, NULL, cli_exit_name(tokens->exits[i]));
    cli_json_end(j);
    token_extras(tokens, j);
}

static void finished_fields(const Latentd__V1__Finished *finished, struct cli_json *j)
{
    cli_json_str(j, "finish", cli_finish_name(finished->reason));
    cli_json_error(j, finished->error);
    cli_json_bytes(j, "text_tail", finished->text_tail);
    cli_json_u64(j, "prompt_tokens", finished->prompt_tokens);
    cli_json_u64(j, "output_tokens", finished->output_tokens);
    cli_json_u64(j, "total_steps", finished->total_steps);
    cli_json_bool(j, "late", finished->late);
}

/* What kind of event it is, and the fields that only this kind has. */
static void event_fields(const Latentd__V1__JobEvent *event, struct cli_json *j)
{
    switch (event->event_case) {
    case LATENTD__V1__JOB_EVENT__EVENT_QUEUED:
        cli_json_str(j, "event", "queued");
        cli_json_u64(j, "position", event->queued->position);
        cli_json_u64(j, "prompt_tokens", event->queued->prompt_tokens);
        break;
    case LATENTD__V1__JOB_EVENT__EVENT_STARTED:
        cli_json_str(j, "event", "started");
        cli_json_i64(j, "predicted_end_us", event->started->predicted_end_us);
        break;
    case LATENTD__V1__JOB_EVENT__EVENT_TOKENS:
        cli_json_str(j, "event", "tokens");
        tokens_fields(event->tokens, j);
        break;
    case LATENTD__V1__JOB_EVENT__EVENT_THINKING:
        cli_json_str(j, "event", "thinking");
        cli_json_u64(j, "token_index", event->thinking->token_index);
        cli_json_u64(j, "step", event->thinking->step);
        cli_json_u64(j, "max_steps", event->thinking->max_steps);
        cli_json_double(j, "criterion_value", event->thinking->criterion_value);
        break;
    case LATENTD__V1__JOB_EVENT__EVENT_FINISHED:
        cli_json_str(j, "event", "finished");
        finished_fields(event->finished, j);
        break;
    case LATENTD__V1__JOB_EVENT__EVENT_PRIORITIZED:
        cli_json_str(j, "event", "prioritized");
        cli_json_u64(j, "priority", event->prioritized->priority);
        break;
    case LATENTD__V1__JOB_EVENT__EVENT_HEARTBEAT:
        cli_json_str(j, "event", "heartbeat");
        break;
    case LATENTD__V1__JOB_EVENT__EVENT__NOT_SET:
    case _LATENTD__V1__JOB_EVENT__EVENT__CASE_IS_INT_SIZE:
        cli_json_null(j, "event");
        break;
    }
}

static int print_json_event(const Latentd__V1__JobEvent *event, struct ltd_err *err)
{
    struct cli_json j;
    cli_json_init(&j);
    cli_json_begin(&j, NULL, '{');
    cli_json_bytes(&j, "job", event->name);
    cli_json_u64(&j, "seq", event->seq);
    cli_json_i64(&j, "time_us", event->time_us);
    event_fields(event, &j);
    cli_json_end(&j);
    return cli_json_print(&j, err);
}

/* Whole seconds until a moment, 1 for less; 0 when it is unknown or has passed. */
static uint32_t seconds_until(int64_t moment_us)
{
    int64_t left_us = moment_us - ltd_wall_us();
    if (moment_us <= 0 || left_us <= 0)
        return 0;
    int64_t left_s = (left_us + 999999) / 1000000;
    return left_s > UINT32_MAX ? UINT32_MAX : (uint32_t)left_s;
}

/* The progress line after this event; events that bring text redraw it behind the text. */
static void draw_progress(struct cli_show *show, const Latentd__V1__JobEvent *event)
{
    struct cli_progress_view view = {.queued = false};
    if (event->event_case == LATENTD__V1__JOB_EVENT__EVENT_QUEUED) {
        view.queued = true;
        view.position = event->queued->position;
    } else if (event->event_case == LATENTD__V1__JOB_EVENT__EVENT_THINKING) {
        view.token_idx = event->thinking->token_index;
        view.step = event->thinking->step;
        view.max_steps = event->thinking->max_steps;
        view.criterion_value = event->thinking->criterion_value;
        view.steps_per_s =
            cli_progress_rate(&show->progress, show->answer.n_steps + view.step, ltd_now_ns());
        view.ends_in_s = seconds_until(show->answer.predicted_end_us);
    } else {
        return;
    }
    cli_progress_draw(&show->progress, &view);
}

int cli_show_event(struct cli_show *show, Latentd__V1__JobEvent *take_event)
{
    if (take_event->event_case == LATENTD__V1__JOB_EVENT__EVENT_HEARTBEAT &&
        show->mode != CLI_SHOW_EVENTS)
        return cli_answer_take_event(&show->answer, take_event, &show->err);
    cli_progress_erase(&show->progress);
    int rc = 0;
    switch (show->mode) {
    case CLI_SHOW_TEXT:
    case CLI_SHOW_IDS:
    case CLI_SHOW_UNSURE:
        print_event(show, take_event);
        rc = cli_out_flush(&show->err);
        break;
    case CLI_SHOW_EVENTS:
        rc = print_json_event(take_event, &show->err);
        break;
    case CLI_SHOW_OBJECT:
    case CLI_SHOW_NOTHING:
        break;
    }
    draw_progress(show, take_event);
    if (rc != 0) {
        cli_link_free(take_event);
        return -1;
    }
    return cli_answer_take_event(&show->answer, take_event, &show->err);
}

int cli_show_message(void *arg, const uint8_t *data, size_t len)
{
    struct cli_show *show = arg;
    Latentd__V1__JobEvent *event =
        cli_link_unpack(&latentd__v1__job_event__descriptor, data, len, &show->err);
    return event ? cli_show_event(show, event) : -1;
}

int cli_show_end(struct cli_show *show, struct ltd_err *err)
{
    cli_progress_erase(&show->progress);
    if (show->mode == CLI_SHOW_UNSURE && show->answer.n_text_bytes == 0)
        for (size_t i = 0; i < show->answer.n_chunks; i++)
            print_ids(show, show->answer.chunks[i]);
    if (cli_out_mid_line())
        cli_out_text("\n", 1);
    return cli_out_flush(err);
}

int cli_show_object(struct cli_show *show, const struct ltd_err *failure, struct ltd_err *err)
{
    struct cli_json j;
    cli_json_init(&j);
    cli_json_begin(&j, NULL, '{');
    cli_answer_fields(&show->answer, failure, &j);
    cli_json_end(&j);
    return cli_json_print(&j, err);
}
