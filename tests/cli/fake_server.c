/* SPDX-License-Identifier: Apache-2.0 */
/* tests/cli/fake_server.c - see tests/cli/fake_server.h. */
#include "tests/cli/fake_server.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "grpc/health/v1/health.pb-c.h"
#include "latentd/v1/latentd.pb-c.h"
#include "rpc/call.h"
#include "rpc/server.h"
#include "tests/cli/fake_long.h"
#include "tests/cli/fake_status.h"

/* Questions of an evaluation wait here for the next turn of the loop. */
struct waiting {
    struct rpc_call *call;
    char text[64];
    uint32_t steps;
    bool adaptive;
};

#define MAX_WAITING     256
#define MAX_SUBMISSIONS 256

struct fake {
    uv_loop_t loop;
    uv_async_t stop;
    uv_timer_t answer_timer;
    uv_timer_t cut_timer;
    struct rpc_server *server;
    char address[128];
    pthread_t thread;
    struct waiting waiting[MAX_WAITING];
    uint32_t n_waiting;
    bool is_cut; /* "jobs/cut" was cut once */
    bool is_flaky;
    bool is_deleted; /* "jobs/once" */
    struct submission {
        char id[80];
    } submissions[MAX_SUBMISSIONS]; /* with different request ids */
    atomic_uint n_submissions, n_submits;
    atomic_uint window, n_cancelled, most_waiting, n_refused, n_watches, n_generates;
    atomic_ullong n_statuses; /* answered since fake_rewind_status */
    atomic_bool has_tokenizer, is_away;
    atomic_int health;
};

static ProtobufCBinaryData bytes(const char *text)
{
    return (ProtobufCBinaryData){strlen(text), (uint8_t *)(uintptr_t)text};
}

static void must(bool ok, const char *what)
{
    if (!ok) {
        fprintf(stderr, "fake server: %s\n", what);
        abort();
    }
}

static uint8_t *pack(const ProtobufCMessage *message, size_t *len)
{
    uint8_t *data = malloc(protobuf_c_message_get_packed_size(message) + 1);
    must(data, "no memory");
    *len = protobuf_c_message_pack(message, data);
    return data;
}

static void reply(struct rpc_call *call, const ProtobufCMessage *message)
{
    size_t len;
    uint8_t *data = pack(message, &len);
    rpc_call_reply(call, data, len);
    free(data);
}

static void send_message(struct rpc_call *call, const ProtobufCMessage *message)
{
    size_t len;
    uint8_t *data = pack(message, &len);
    must(rpc_call_send(call, data, len, NULL) == 0, "send refused");
    free(data);
}

static void *unpack(const ProtobufCMessageDescriptor *kind, const uint8_t *data, size_t len)
{
    void *message = protobuf_c_message_unpack(kind, NULL, len, data);
    must(message, "request cannot be read");
    return message;
}

static void drop(void *message)
{
    protobuf_c_message_free_unpacked(message, NULL);
}

/* ---- what was asked, as text ---- */

static void describe_prompt(FILE *out, const Latentd__V1__Prompt *prompt)
{
    switch (prompt->kind_case) {
    case LATENTD__V1__PROMPT__KIND_TEXT:
        fprintf(out, "text[%.*s]", (int)prompt->text.len, (const char *)prompt->text.data);
        break;
    case LATENTD__V1__PROMPT__KIND_TOKENS:
        fprintf(out, "tokens[%zu]", prompt->tokens->n_ids);
        break;
    case LATENTD__V1__PROMPT__KIND_CHAT:
        for (size_t i = 0; i < prompt->chat->n_messages; i++)
            fprintf(out, "chat[%.*s:%.*s]", (int)prompt->chat->messages[i]->role.len,
                    (const char *)prompt->chat->messages[i]->role.data,
                    (int)prompt->chat->messages[i]->content.len,
                    (const char *)prompt->chat->messages[i]->content.data);
        break;
    case LATENTD__V1__PROMPT__KIND__NOT_SET:
    case _LATENTD__V1__PROMPT__KIND__CASE_IS_INT_SIZE:
        fprintf(out, "no prompt");
        break;
    }
}

static void describe_adaptive(FILE *out, const Latentd__V1__AdaptiveDepth *adaptive)
{
    fprintf(out, " adaptive[min %" PRIu32 " max %" PRIu32, adaptive->min_steps,
            adaptive->max_steps);
    if (adaptive->criterion)
        fprintf(out, " criterion %d", (int)adaptive->criterion);
    if (adaptive->threshold_set_case)
        fprintf(out, " threshold %g", adaptive->threshold);
    if (adaptive->check_every)
        fprintf(out, " every %" PRIu32, adaptive->check_every);
    fprintf(out, "]");
}

static void describe_depth(FILE *out, const Latentd__V1__Depth *depth)
{
    if (!depth)
        return;
    if (depth->mode_case == LATENTD__V1__DEPTH__MODE_FIXED_STEPS)
        fprintf(out, " fixed[%" PRIu32 "]", depth->fixed_steps);
    if (depth->mode_case == LATENTD__V1__DEPTH__MODE_RANGE)
        fprintf(out, " range[%" PRIu32 " %" PRIu32 "]", depth->range->min_steps,
                depth->range->max_steps);
    if (depth->mode_case == LATENTD__V1__DEPTH__MODE_ADAPTIVE)
        describe_adaptive(out, depth->adaptive);
    if (depth->tokenwise)
        fprintf(out, " tokenwise");
    for (size_t i = 0; i < depth->n_at; i++)
        fprintf(out, " at[%" PRIu32 "=%" PRIu32 "]", depth->at[i]->token, depth->at[i]->steps);
}

static void describe_account(FILE *out, const Latentd__V1__JobSpec *spec)
{
    if (spec->budget)
        fprintf(out, " budget[token %" PRIu64 " total %" PRIu64 "]", spec->budget->token_ms,
                spec->budget->total_ms);
    if (spec->priority_set_case)
        fprintf(out, " priority[%" PRIu32 "]", spec->priority);
    if (spec->client.len)
        fprintf(out, " client[%.*s]", (int)spec->client.len, (const char *)spec->client.data);
}

static void describe_sampling(FILE *out, const Latentd__V1__Sampling *s)
{
    if (s->temperature_set_case)
        fprintf(out, " temperature[%g]", s->temperature);
    if (s->top_k_set_case)
        fprintf(out, " top_k[%" PRIu32 "]", s->top_k);
    if (s->top_p_set_case)
        fprintf(out, " top_p[%g]", s->top_p);
    if (s->min_p_set_case)
        fprintf(out, " min_p[%g]", s->min_p);
    if (s->repetition_penalty_set_case)
        fprintf(out, " penalty[%g]", s->repetition_penalty);
    if (s->seed_set_case)
        fprintf(out, " seed[%" PRIu64 "]", s->seed);
}

static void describe_spec(FILE *out, const Latentd__V1__JobSpec *spec)
{
    describe_prompt(out, spec->prompt);
    describe_depth(out, spec->depth);
    describe_sampling(out, spec->sampling);
    describe_account(out, spec);
    if (spec->model.len)
        fprintf(out, " model[%.*s]", (int)spec->model.len, (const char *)spec->model.data);
    if (spec->max_tokens)
        fprintf(out, " max_tokens[%" PRIu32 "]", spec->max_tokens);
    for (size_t i = 0; i < spec->n_stop; i++)
        fprintf(out, " stop[%.*s]", (int)spec->stop[i].len, (const char *)spec->stop[i].data);
    if (spec->logprobs_set_case)
        fprintf(out, " logprobs[%" PRIu32 "]", spec->logprobs);
    if (spec->init_scale_set_case)
        fprintf(out, " init_scale[%g]", spec->init_scale);
    if (spec->max_run_ms)
        fprintf(out, " max_run_ms[%" PRIu64 "]", spec->max_run_ms);
    if (spec->label.len)
        fprintf(out, " label[%.*s]", (int)spec->label.len, (const char *)spec->label.data);
    if (spec->ignore_eos)
        fprintf(out, " ignore_eos");
}

/* ---- events ---- */

static void fill_job(Latentd__V1__Job *job, const char *name, Latentd__V1__JobState state)
{
    latentd__v1__job__init(job);
    job->name = bytes(name);
    job->state = state;
    job->done = state >= LATENTD__V1__JOB_STATE__JOB_STATE_SUCCEEDED;
    /* One job has a seed beyond what signed 64 bits hold. */
    job->seed = strcmp(name, "jobs/big") == 0 ? UINT64_MAX : 7;
    job->tier = bytes("avx2");
    job->prompt_tokens = 5;
    job->total_steps = 80;
    job->last_seq = 4;
    job->create_us = 1900000000000000;
    job->start_us = 1900000001000000;
    job->end_us = job->done ? 1900000003500000 : 0;
    job->priority = 16;
    job->client = bytes("unix:uid=7");
    job->continues = bytes("jobs/before");
    /* Unknown where a progress line is looked at: it counts seconds of the real clock. */
    if (state != LATENTD__V1__JOB_STATE__JOB_STATE_QUEUED && strcmp(name, "jobs/big") != 0)
        job->predicted_end_us = 1900000009000000;
    job->late = state == LATENTD__V1__JOB_STATE__JOB_STATE_SUCCEEDED;
}

static void send_queued(struct rpc_call *call, const char *name, bool with_job)
{
    Latentd__V1__JobEvent event = LATENTD__V1__JOB_EVENT__INIT;
    Latentd__V1__Queued queued = LATENTD__V1__QUEUED__INIT;
    Latentd__V1__Job job;
    fill_job(&job, name, LATENTD__V1__JOB_STATE__JOB_STATE_QUEUED);
    event.name = bytes(name);
    event.seq = 1;
    event.time_us = 1900000000000000;
    event.event_case = LATENTD__V1__JOB_EVENT__EVENT_QUEUED;
    event.queued = &queued;
    queued.prompt_tokens = 5;
    event.job = with_job ? &job : NULL;
    send_message(call, &event.base);
}

static void send_started(struct rpc_call *call, const char *name)
{
    Latentd__V1__JobEvent event = LATENTD__V1__JOB_EVENT__INIT;
    Latentd__V1__Started started = LATENTD__V1__STARTED__INIT;
    event.name = bytes(name);
    event.seq = strcmp(name, "jobs/moved") == 0 ? 3 : 2;
    event.event_case = LATENTD__V1__JOB_EVENT__EVENT_STARTED;
    event.started = &started;
    started.predicted_end_us = 1900000009000000;
    send_message(call, &event.base);
}

static void send_prioritized(struct rpc_call *call, const char *name, uint64_t seq,
                             uint32_t priority)
{
    Latentd__V1__JobEvent event = LATENTD__V1__JOB_EVENT__INIT;
    Latentd__V1__Prioritized prioritized = LATENTD__V1__PRIORITIZED__INIT;
    event.name = bytes(name);
    event.seq = seq;
    event.event_case = LATENTD__V1__JOB_EVENT__EVENT_PRIORITIZED;
    event.prioritized = &prioritized;
    prioritized.priority = priority;
    send_message(call, &event.base);
}

struct token {
    uint64_t seq;
    uint32_t id;
    const char *text;
    uint32_t steps;
    bool adaptive;
    bool logprobs;
    bool budget; /* time or load ended the thought */
};

static void fill_logprobs(Latentd__V1__TokenLogprobs *logprobs, Latentd__V1__TopLogprob *top,
                          Latentd__V1__TopLogprob **top_ptr, uint32_t id)
{
    latentd__v1__token_logprobs__init(logprobs);
    latentd__v1__top_logprob__init(top);
    logprobs->logprob = -0.1f;
    top->id = id;
    top->logprob = -1.17549435e-38f;
    *top_ptr = top;
    logprobs->n_top = 1;
    logprobs->top = top_ptr;
}

static void send_token(struct rpc_call *call, const char *name, const struct token *token)
{
    Latentd__V1__JobEvent event = LATENTD__V1__JOB_EVENT__INIT;
    Latentd__V1__Tokens tokens = LATENTD__V1__TOKENS__INIT;
    Latentd__V1__ExitReason exit_reason =
        token->budget     ? LATENTD__V1__EXIT_REASON__EXIT_REASON_BUDGET
        : token->adaptive ? LATENTD__V1__EXIT_REASON__EXIT_REASON_CONVERGED
                          : LATENTD__V1__EXIT_REASON__EXIT_REASON_FIXED;
    Latentd__V1__TokenLogprobs logprobs, *logprobs_ptr = &logprobs;
    Latentd__V1__TopLogprob top, *top_ptr;
    double criterion_value = 0.1;
    uint32_t id = token->id, steps = token->steps;
    event.name = bytes(name);
    event.seq = token->seq;
    event.event_case = LATENTD__V1__JOB_EVENT__EVENT_TOKENS;
    event.tokens = &tokens;
    tokens.n_ids = tokens.n_steps = tokens.n_exits = 1;
    tokens.ids = &id;
    tokens.steps = &steps;
    tokens.exits = &exit_reason;
    tokens.text = bytes(token->text);
    tokens.n_criterion_values = token->adaptive;
    tokens.criterion_values = &criterion_value;
    if (token->logprobs) {
        fill_logprobs(&logprobs, &top, &top_ptr, id);
        tokens.n_logprobs = 1;
        tokens.logprobs = &logprobs_ptr;
    }
    send_message(call, &event.base);
}

static void send_thinking(struct rpc_call *call, const char *name, uint32_t token_idx,
                          uint32_t step)
{
    Latentd__V1__JobEvent event = LATENTD__V1__JOB_EVENT__INIT;
    Latentd__V1__Thinking thinking = LATENTD__V1__THINKING__INIT;
    event.name = bytes(name);
    event.event_case = LATENTD__V1__JOB_EVENT__EVENT_THINKING;
    event.thinking = &thinking;
    thinking.token_index = token_idx;
    thinking.step = step;
    thinking.max_steps = 32;
    thinking.criterion_value = 0.25;
    send_message(call, &event.base);
}

struct ending {
    uint64_t seq;
    Latentd__V1__FinishReason reason;
    int status; /* of the error, 0 = none */
    const char *tail;
    bool late;
};

static void send_finished(struct rpc_call *call, const char *name, const struct ending *ending)
{
    Latentd__V1__JobEvent event = LATENTD__V1__JOB_EVENT__INIT;
    Latentd__V1__Finished finished = LATENTD__V1__FINISHED__INIT;
    Latentd__V1__Error error = LATENTD__V1__ERROR__INIT;
    event.name = bytes(name);
    event.seq = ending->seq;
    event.event_case = LATENTD__V1__JOB_EVENT__EVENT_FINISHED;
    event.finished = &finished;
    finished.reason = ending->reason;
    finished.prompt_tokens = 5;
    finished.output_tokens = 2;
    finished.total_steps = 80;
    finished.text_tail = bytes(ending->tail ? ending->tail : "");
    finished.late = ending->late;
    if (ending->status) {
        error.code = ending->status;
        error.message = bytes("rank 3 was lost");
        finished.error = &error;
    }
    send_message(call, &event.base);
}

#define REASON(name) LATENTD__V1__FINISH_REASON__FINISH_REASON_##name

/* ---- Generate ---- */

static void on_end(struct rpc_call *call, void *arg, enum rpc_end reason)
{
    struct fake *fake = arg;
    for (uint32_t i = 0; i < fake->n_waiting; i++)
        if (fake->waiting[i].call == call)
            fake->waiting[i].call = NULL;
    if (reason == RPC_END_CANCELLED)
        atomic_fetch_add(&fake->n_cancelled, 1);
}

static const struct rpc_call_ops ops = {.on_end = on_end};

static void answer_whole(struct rpc_call *call, const struct token *token)
{
    send_queued(call, "jobs/now", true);
    send_started(call, "jobs/now");
    send_token(call, "jobs/now", token);
    send_finished(call, "jobs/now", &(struct ending){.seq = 4, .reason = REASON(LENGTH)});
    rpc_call_finish(call, LTD_OK, NULL);
}

static void on_answer_timer(uv_timer_t *timer)
{
    struct fake *fake = timer->data;
    struct waiting batch[MAX_WAITING];
    uint32_t n = fake->n_waiting;
    memcpy(batch, fake->waiting, n * sizeof batch[0]);
    fake->n_waiting = 0;
    for (uint32_t i = 0; i < n; i++)
        if (batch[i].call)
            answer_whole(batch[i].call, &(struct token){.seq = 3,
                                                        .id = 1,
                                                        .text = batch[i].text,
                                                        .steps = batch[i].steps,
                                                        .adaptive = batch[i].adaptive});
}

static void generate_question(struct fake *fake, struct rpc_call *call, const char *text,
                              const Latentd__V1__Depth *depth)
{
    if (fake->n_waiting >= atomic_load(&fake->window)) {
        atomic_fetch_add(&fake->n_refused, 1);
        rpc_call_finish(call, LTD_E_EXHAUSTED, "the queue is full");
        return;
    }
    uint32_t needed = (uint32_t)strtoul(text + 1, NULL, 10);
    struct waiting *w = &fake->waiting[fake->n_waiting++];
    w->call = call;
    w->adaptive = depth && depth->mode_case == LATENTD__V1__DEPTH__MODE_ADAPTIVE;
    w->steps = w->adaptive ? needed : depth ? depth->fixed_steps : 1;
    snprintf(w->text, sizeof w->text, "%s", w->steps >= needed ? strchr(text, ':') + 1 : "no");
    if (fake->n_waiting > atomic_load(&fake->most_waiting))
        atomic_store(&fake->most_waiting, fake->n_waiting);
    if (!uv_is_active((uv_handle_t *)&fake->answer_timer))
        uv_timer_start(&fake->answer_timer, on_answer_timer, 5, 0);
}

static void generate_echo(struct rpc_call *call, const Latentd__V1__GenerateRequest *request)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    describe_spec(out, request->spec);
    if (request->request_id.len)
        fprintf(out, " request_id[%.*s]", (int)request->request_id.len,
                (const char *)request->request_id.data);
    if (request->keep_on_disconnect)
        fprintf(out, " keep");
    fclose(out);
    answer_whole(call, &(struct token){.seq = 3,
                                       .id = 1,
                                       .text = text,
                                       .steps = 32,
                                       .logprobs = request->spec->logprobs_set_case != 0});
    free(text);
}

static void generate_think(struct rpc_call *call)
{
    const char *name = "jobs/big";
    send_queued(call, name, true);
    send_thinking(call, name, 0, 4);
    send_token(
        call, name,
        &(struct token){
            .seq = 3, .id = 11, .text = "deep ", .steps = 16, .adaptive = true, .logprobs = true});
    send_thinking(call, name, 1, 9);
    send_token(call, name,
               &(struct token){.seq = 4,
                               .id = 12,
                               .text = "thoug\xC3\xA4",
                               .steps = 24,
                               .adaptive = true,
                               .logprobs = true});
    send_finished(call, name,
                  &(struct ending){.seq = 5, .reason = REASON(STOP), .tail = "ht \"x\""});
    rpc_call_finish(call, LTD_OK, NULL);
}

static void generate_ids(struct rpc_call *call)
{
    const char *name = "jobs/now";
    send_queued(call, name, true);
    for (uint32_t i = 0; i < 3; i++)
        send_token(call, name, &(struct token){.seq = 2 + i, .id = 7 + i, .text = "", .steps = 4});
    send_finished(call, name, &(struct ending){.seq = 5, .reason = REASON(LENGTH)});
    rpc_call_finish(call, LTD_OK, NULL);
}

static void generate_broken(struct rpc_call *call, Latentd__V1__FinishReason reason, int status)
{
    const char *name = "jobs/now";
    send_queued(call, name, true);
    send_token(call, name, &(struct token){.seq = 3, .id = 11, .text = "part", .steps = 16});
    send_finished(call, name,
                  &(struct ending){
                      .seq = 4, .reason = reason, .status = reason == REASON(ERROR) ? status : 0});
    rpc_call_finish_status(call, (enum rpc_status)status, "rank 3 was lost");
}

/* Too many jobs, and a word on when to come again. */
static void generate_busy(struct rpc_call *call, const char *ms)
{
    struct ltd_err err;
    ltd_fail(&err, LTD_E_EXHAUSTED, "the queue is full");
    ltd_err_retry_after(&err, (uint32_t)strtoul(ms, NULL, 10));
    rpc_call_finish_err(call, &err);
}

/* A range that ran short of time. */
static void generate_late(struct rpc_call *call)
{
    send_queued(call, "jobs/now", true);
    send_prioritized(call, "jobs/now", 2, 20);
    send_token(call, "jobs/now",
               &(struct token){.seq = 3, .id = 11, .text = "hasty", .steps = 5, .budget = true});
    send_finished(call, "jobs/now",
                  &(struct ending){.seq = 4, .reason = REASON(LENGTH), .late = true});
    rpc_call_finish(call, LTD_OK, NULL);
}

static void generate_text(struct fake *fake, struct rpc_call *call, const char *text,
                          const Latentd__V1__GenerateRequest *request)
{
    if (strncmp(text, "status ", 7) == 0) {
        rpc_call_finish_status(call, (enum rpc_status)atoi(text + 7), "as you wish");
    } else if (strncmp(text, "broken ", 7) == 0) {
        generate_broken(call, REASON(ERROR), atoi(text + 7));
    } else if (strncmp(text, "busy ", 5) == 0) {
        generate_busy(call, text + 5);
    } else if (strcmp(text, "long") == 0) {
        fake_long_send(call, FAKE_LONG_NAME, 0, FAKE_LONG_LAST_SEQ);
        rpc_call_finish(call, LTD_OK, NULL);
    } else if (strcmp(text, "hasty") == 0) {
        generate_late(call);
    } else if (strcmp(text, "late") == 0) {
        generate_broken(call, REASON(DEADLINE), RPC_DEADLINE_EXCEEDED);
    } else if (strcmp(text, "hang") == 0) {
        send_queued(call, "jobs/now", true);
        send_started(call, "jobs/now");
        send_token(call, "jobs/now",
                   &(struct token){.seq = 3, .id = 11, .text = "part", .steps = 16});
    } else if (strcmp(text, "think") == 0) {
        generate_think(call);
    } else if (strcmp(text, "nothing") == 0) {
        rpc_call_finish(call, LTD_OK, NULL);
    } else if (strcmp(text, "garbage") == 0) {
        rpc_call_reply(call, "\xFF\xFF\xFF", 3);
    } else if (strcmp(text, "quiet") == 0) {
        answer_whole(call, &(struct token){.seq = 3, .id = 2, .text = "", .steps = 8});
    } else if (text[0] == 'D') {
        generate_question(fake, call, text, request->spec->depth);
    } else {
        generate_echo(call, request);
    }
}

static void on_generate(struct rpc_call *call, const uint8_t *data, size_t len, void *arg)
{
    Latentd__V1__GenerateRequest *request =
        unpack(&latentd__v1__generate_request__descriptor, data, len);
    rpc_call_set_ops(call, &ops, arg);
    atomic_fetch_add(&((struct fake *)arg)->n_generates, 1);
    const Latentd__V1__Prompt *prompt = request->spec->prompt;
    if (prompt->kind_case == LATENTD__V1__PROMPT__KIND_TOKENS) {
        generate_ids(call);
    } else if (prompt->kind_case == LATENTD__V1__PROMPT__KIND_TEXT) {
        char text[256];
        snprintf(text, sizeof text, "%.*s", (int)prompt->text.len,
                 prompt->text.len ? (const char *)prompt->text.data : "");
        generate_text(arg, call, text, request);
    } else {
        generate_echo(call, request);
    }
    drop(request);
}

/* ---- Jobs ---- */

static bool name_is(ProtobufCBinaryData name, const char *expected)
{
    return name.len > 0 && name.len == strlen(expected) &&
           memcmp(name.data, expected, name.len) == 0;
}

static bool is_text(const Latentd__V1__Prompt *prompt, const char *expected)
{
    return prompt->kind_case == LATENTD__V1__PROMPT__KIND_TEXT && name_is(prompt->text, expected);
}

/* One job per request id, as the contract has it; without one every request is a job. */
static void note_submission(struct fake *fake, ProtobufCBinaryData id)
{
    char text[sizeof fake->submissions[0].id];
    unsigned n = atomic_load(&fake->n_submissions);
    snprintf(text, sizeof text, "%.*s", (int)id.len, id.len ? (const char *)id.data : "");
    atomic_fetch_add(&fake->n_submits, 1);
    for (unsigned i = 0; text[0] && i < n; i++)
        if (strcmp(fake->submissions[i].id, text) == 0)
            return;
    must(n < MAX_SUBMISSIONS, "too many submissions");
    memcpy(fake->submissions[n].id, text, sizeof text);
    atomic_store(&fake->n_submissions, n + 1);
}

static void on_submit(struct rpc_call *call, const uint8_t *data, size_t len, void *arg)
{
    Latentd__V1__SubmitJobRequest *request =
        unpack(&latentd__v1__submit_job_request__descriptor, data, len);
    Latentd__V1__Job job;
    note_submission(arg, request->request_id);
    fill_job(&job, is_text(request->spec->prompt, "long") ? FAKE_LONG_NAME : "jobs/new1",
             LATENTD__V1__JOB_STATE__JOB_STATE_QUEUED);
    job.request_id = request->request_id;
    job.spec = request->spec;
    reply(call, &job.base);
    drop(request);
}

static void start_server(struct fake *fake);

static void on_cut_timer(uv_timer_t *timer)
{
    struct fake *fake = timer->data;
    rpc_server_destroy(fake->server);
    start_server(fake);
}

/* One event per call, and then in turn each way in which a call can end that may be made again. */
static void watch_one(struct fake *fake, struct rpc_call *call, uint64_t after_seq)
{
    struct ltd_err slow;
    fake_long_send(call, "jobs/slow", after_seq, after_seq + 1);
    if (after_seq + 1 >= FAKE_LONG_LAST_SEQ) {
        rpc_call_finish(call, LTD_OK, NULL);
    } else if (after_seq % 9 == 8) {
        uv_timer_start(&fake->cut_timer, on_cut_timer, 20, 0);
    } else if (after_seq % 2) {
        rpc_call_finish(call, LTD_E_UNAVAILABLE, "draining");
    } else {
        ltd_fail(&slow, LTD_E_EXHAUSTED, "the reader is too slow");
        ltd_err_reason(&slow, "SLOW_CONSUMER");
        rpc_call_finish_err(call, &slow);
    }
}

/* Events of a job of two tokens, those behind after_seq. */
static void send_log(struct rpc_call *call, const char *name, uint64_t after_seq, uint64_t up_to,
                     const struct ending *ending)
{
    if (after_seq < 1 && up_to >= 1)
        send_queued(call, name, true);
    if (after_seq < 2 && up_to >= 2)
        send_token(call, name, &(struct token){.seq = 2, .id = 11, .text = "one ", .steps = 16});
    if (after_seq < 3 && up_to >= 3)
        send_token(call, name, &(struct token){.seq = 3, .id = 12, .text = "two", .steps = 16});
    if (after_seq < 4 && up_to >= 4)
        send_finished(call, name, ending);
}

static void on_watch(struct rpc_call *call, const uint8_t *data, size_t len, void *arg)
{
    struct fake *fake = arg;
    Latentd__V1__WatchJobRequest *request =
        unpack(&latentd__v1__watch_job_request__descriptor, data, len);
    uint64_t after = request->after_seq;
    struct ending stop = {.seq = 4, .reason = REASON(STOP)};
    atomic_fetch_add(&fake->n_watches, 1);
    rpc_call_set_ops(call, &ops, fake);
    if (name_is(request->name, FAKE_LONG_NAME)) {
        fake_long_send(call, FAKE_LONG_NAME, after, FAKE_LONG_LAST_SEQ);
        rpc_call_finish(call, LTD_OK, NULL);
    } else if (name_is(request->name, "jobs/slow")) {
        watch_one(fake, call, after);
    } else if (name_is(request->name, "jobs/whole")) {
        send_log(call, "jobs/whole", after, 4, &stop);
        rpc_call_finish(call, LTD_OK, NULL);
    } else if (name_is(request->name, "jobs/flaky") && !fake->is_flaky) {
        fake->is_flaky = true;
        send_log(call, "jobs/flaky", after, 2, &stop);
        rpc_call_finish(call, LTD_E_UNAVAILABLE, "restarting");
    } else if (name_is(request->name, "jobs/flaky")) {
        send_log(call, "jobs/flaky", after - 1, 4, &stop);
        rpc_call_finish(call, LTD_OK, NULL);
    } else if (name_is(request->name, "jobs/cut") && !fake->is_cut) {
        fake->is_cut = true;
        send_log(call, "jobs/cut", after, 2, &stop);
        uv_timer_start(&fake->cut_timer, on_cut_timer, 20, 0);
    } else if (name_is(request->name, "jobs/cut")) {
        send_log(call, "jobs/cut", after, 4, &stop);
        rpc_call_finish(call, LTD_OK, NULL);
    } else if (name_is(request->name, "jobs/failed")) {
        struct ending failed = {.seq = 4, .reason = REASON(ERROR), .status = RPC_DATA_LOSS};
        send_log(call, "jobs/failed", after, 4, &failed);
        rpc_call_finish(call, LTD_OK, NULL);
    } else if (name_is(request->name, "jobs/cancelled")) {
        struct ending cancelled = {.seq = 4, .reason = REASON(CANCELLED)};
        send_log(call, "jobs/cancelled", after, 4, &cancelled);
        rpc_call_finish(call, LTD_OK, NULL);
    } else if (name_is(request->name, "jobs/moved")) {
        send_queued(call, "jobs/moved", true);
        send_prioritized(call, "jobs/moved", 2, 31);
        send_started(call, "jobs/moved");
        send_token(call, "jobs/moved",
                   &(struct token){.seq = 4, .id = 11, .text = "one", .steps = 5, .budget = true});
        send_finished(call, "jobs/moved",
                      &(struct ending){.seq = 5, .reason = REASON(STOP), .late = true});
        rpc_call_finish(call, LTD_OK, NULL);
    } else if (name_is(request->name, "jobs/gone")) {
        rpc_call_finish(call, LTD_E_UNAVAILABLE, "draining");
    } else {
        rpc_call_finish(call, LTD_E_NOT_FOUND, "no such job");
    }
    drop(request);
}

static void reply_record(struct rpc_call *call, const char *name, Latentd__V1__JobState state,
                         Latentd__V1__FinishReason reason, bool has_text)
{
    uint32_t ids[] = {11, 12}, steps[] = {16, 24};
    Latentd__V1__ExitReason exits[] = {LATENTD__V1__EXIT_REASON__EXIT_REASON_FIXED,
                                       LATENTD__V1__EXIT_REASON__EXIT_REASON_MAX_STEPS};
    Latentd__V1__Job job;
    Latentd__V1__Output output = LATENTD__V1__OUTPUT__INIT;
    Latentd__V1__Tokens tokens = LATENTD__V1__TOKENS__INIT;
    Latentd__V1__Error error = LATENTD__V1__ERROR__INIT;
    fill_job(&job, name, state);
    tokens.n_ids = tokens.n_steps = tokens.n_exits = 2;
    tokens.ids = ids;
    tokens.steps = steps;
    tokens.exits = exits;
    tokens.text = bytes(has_text ? "one two" : "");
    output.tokens = &tokens;
    output.finish = reason;
    job.output = &output;
    error.code = RPC_DATA_LOSS;
    error.message = bytes("rank 3 was lost");
    if (reason == REASON(ERROR))
        job.error = &error;
    reply(call, &job.base);
}

static void on_get(struct rpc_call *call, const uint8_t *data, size_t len, void *arg)
{
    (void)arg;
    Latentd__V1__GetJobRequest *request =
        unpack(&latentd__v1__get_job_request__descriptor, data, len);
    if (name_is(request->name, FAKE_LONG_NAME))
        reply_record(call, FAKE_LONG_NAME, LATENTD__V1__JOB_STATE__JOB_STATE_SUCCEEDED,
                     REASON(STOP), true);
    else if (name_is(request->name, "jobs/whole"))
        reply_record(call, "jobs/whole", LATENTD__V1__JOB_STATE__JOB_STATE_SUCCEEDED, REASON(STOP),
                     true);
    else if (name_is(request->name, "jobs/ids"))
        reply_record(call, "jobs/ids", LATENTD__V1__JOB_STATE__JOB_STATE_SUCCEEDED, REASON(LENGTH),
                     false);
    else if (name_is(request->name, "jobs/running"))
        reply_record(call, "jobs/running", LATENTD__V1__JOB_STATE__JOB_STATE_RUNNING,
                     REASON(UNSPECIFIED), true);
    else if (name_is(request->name, "jobs/failed"))
        reply_record(call, "jobs/failed", LATENTD__V1__JOB_STATE__JOB_STATE_FAILED, REASON(ERROR),
                     true);
    else
        rpc_call_finish(call, LTD_E_NOT_FOUND, "no such job");
    drop(request);
}

/* Three jobs on two pages, the second one asked for by token; a label filters all but one away. */
static void on_list(struct rpc_call *call, const uint8_t *data, size_t len, void *arg)
{
    (void)arg;
    Latentd__V1__ListJobsRequest *request =
        unpack(&latentd__v1__list_jobs_request__descriptor, data, len);
    Latentd__V1__ListJobsResponse page = LATENTD__V1__LIST_JOBS_RESPONSE__INIT;
    Latentd__V1__Job jobs[2], *ptrs[2] = {&jobs[0], &jobs[1]};
    page.jobs = ptrs;
    if (request->owner.len || request->client.len) {
        /* What the filters were, in a job. */
        fill_job(&jobs[0], "jobs/filtered", LATENTD__V1__JOB_STATE__JOB_STATE_QUEUED);
        jobs[0].owner = request->owner;
        jobs[0].client = request->client;
        jobs[0].start_us = request->created_after_us;
        jobs[0].end_us = request->created_before_us;
        page.n_jobs = 1;
    } else if (request->n_states == 1) {
        fill_job(&jobs[0], "jobs/filtered", request->states[0]);
        page.n_jobs = 1;
    } else if (request->page_token.len == 0) {
        fill_job(&jobs[0], "jobs/c", LATENTD__V1__JOB_STATE__JOB_STATE_QUEUED);
        fill_job(&jobs[1], "jobs/b", LATENTD__V1__JOB_STATE__JOB_STATE_RUNNING);
        jobs[0].start_us = 0;
        page.n_jobs = 2;
        page.next_page_token = bytes("second");
    } else {
        fill_job(&jobs[0], "jobs/a", LATENTD__V1__JOB_STATE__JOB_STATE_SUCCEEDED);
        jobs[0].request_id = request->label.len ? request->label : bytes("req-a");
        page.n_jobs = 1;
    }
    reply(call, &page.base);
    drop(request);
}

static void on_cancel(struct rpc_call *call, const uint8_t *data, size_t len, void *arg)
{
    (void)arg;
    Latentd__V1__CancelJobRequest *request =
        unpack(&latentd__v1__cancel_job_request__descriptor, data, len);
    Latentd__V1__Job job;
    fill_job(&job, "jobs/whole", LATENTD__V1__JOB_STATE__JOB_STATE_CANCELLED);
    if (name_is(request->name, "jobs/whole"))
        reply(call, &job.base);
    else
        rpc_call_finish(call, LTD_E_NOT_FOUND, "no such job");
    drop(request);
}

/* What goes on is called after what was asked: "jobs/whole" is, so that it can be watched. */
static void on_continue(struct rpc_call *call, const uint8_t *data, size_t len, void *arg)
{
    (void)arg;
    Latentd__V1__ContinueJobRequest *request =
        unpack(&latentd__v1__continue_job_request__descriptor, data, len);
    Latentd__V1__Job job;
    char name[64];
    snprintf(name, sizeof name, "jobs/t%" PRIu32 "s%" PRIu32, request->more_tokens,
             request->more_steps);
    bool is_whole = name_is(request->name, "jobs/whole");
    fill_job(&job, is_whole ? "jobs/whole" : name, LATENTD__V1__JOB_STATE__JOB_STATE_QUEUED);
    job.continues = request->name;
    job.request_id = request->request_id;
    if (name_is(request->name, "jobs/running"))
        rpc_call_finish(call, LTD_E_PRECONDITION, "the job has not ended");
    else
        reply(call, &job.base);
    drop(request);
}

static void on_set_priority(struct rpc_call *call, const uint8_t *data, size_t len, void *arg)
{
    (void)arg;
    Latentd__V1__SetJobPriorityRequest *request =
        unpack(&latentd__v1__set_job_priority_request__descriptor, data, len);
    Latentd__V1__Job job;
    fill_job(&job, "jobs/running", LATENTD__V1__JOB_STATE__JOB_STATE_RUNNING);
    job.priority = request->priority;
    if (request->priority > 31)
        rpc_call_finish(call, LTD_E_INVALID, "priority: found 32, expected 0 to 31");
    else if (name_is(request->name, "jobs/running"))
        reply(call, &job.base);
    else
        rpc_call_finish(call, LTD_E_NOT_FOUND, "no such job");
    drop(request);
}

static void on_delete(struct rpc_call *call, const uint8_t *data, size_t len, void *arg)
{
    struct fake *fake = arg;
    Latentd__V1__DeleteJobRequest *request =
        unpack(&latentd__v1__delete_job_request__descriptor, data, len);
    Latentd__V1__DeleteJobResponse answer = LATENTD__V1__DELETE_JOB_RESPONSE__INIT;
    if (name_is(request->name, "jobs/whole"))
        reply(call, &answer.base);
    else if (name_is(request->name, "jobs/once") && !fake->is_deleted) {
        /* It is gone, and so is the server before it says so. */
        fake->is_deleted = true;
        rpc_call_set_ops(call, &ops, fake);
        uv_timer_start(&fake->cut_timer, on_cut_timer, 0, 0);
    } else
        rpc_call_finish(call, LTD_E_NOT_FOUND, "no such job");
    drop(request);
}

/* ---- the other services ---- */

static void on_tokenize(struct rpc_call *call, const uint8_t *data, size_t len, void *arg)
{
    (void)arg;
    Latentd__V1__TokenizeRequest *request =
        unpack(&latentd__v1__tokenize_request__descriptor, data, len);
    Latentd__V1__TokenizeResponse answer = LATENTD__V1__TOKENIZE_RESPONSE__INIT;
    uint32_t ids[] = {1, 300, 65535};
    ProtobufCBinaryData pieces[] = {bytes("<s>"), bytes("\xE2\x82"), bytes("a \"b\"\n")};
    size_t first = request->no_special ? 1 : 0;
    answer.n_ids = answer.n_pieces = 3 - first;
    answer.ids = ids + first;
    answer.pieces = pieces + first;
    if (request->kind_case == LATENTD__V1__TOKENIZE_REQUEST__KIND_CHAT)
        pieces[0] = request->chat->messages[0]->role;
    reply(call, &answer.base);
    drop(request);
}

static void on_detokenize(struct rpc_call *call, const uint8_t *data, size_t len, void *arg)
{
    (void)arg;
    Latentd__V1__DetokenizeRequest *request =
        unpack(&latentd__v1__detokenize_request__descriptor, data, len);
    Latentd__V1__DetokenizeResponse answer = LATENTD__V1__DETOKENIZE_RESPONSE__INIT;
    char text[64];
    snprintf(text, sizeof text, "%zu ids%s", request->n_ids,
             request->skip_special ? ", none special" : "");
    answer.text = bytes(text);
    reply(call, &answer.base);
    drop(request);
}

static void on_score(struct rpc_call *call, const uint8_t *data, size_t len, void *arg)
{
    (void)arg;
    Latentd__V1__ScoreRequest *request = unpack(&latentd__v1__score_request__descriptor, data, len);
    Latentd__V1__ScoreResponse answer = LATENTD__V1__SCORE_RESPONSE__INIT;
    uint32_t ids[] = {4, 5};
    uint32_t depth = request->depth ? request->depth->fixed_steps : 0;
    uint32_t steps[] = {depth, depth};
    float logprobs[] = {-0.5f, -0.1f};
    protobuf_c_boolean greedy[] = {1, 0};
    answer.n_ids = answer.n_logprobs = answer.n_greedy = answer.n_steps = 2;
    answer.ids = ids;
    answer.steps = steps;
    answer.logprobs = logprobs;
    answer.greedy = greedy;
    answer.sum = -0.6000000014901161;
    answer.context_tokens =
        request->context && request->context->kind_case == LATENTD__V1__PROMPT__KIND_TOKENS
            ? (uint32_t)request->context->tokens->n_ids
            : 0;
    answer.seed = request->seed;
    answer.tier = bytes("ref");
    reply(call, &answer.base);
    drop(request);
}

static void on_model(struct rpc_call *call, const uint8_t *data, size_t len, void *arg)
{
    (void)data;
    (void)len;
    struct fake *fake = arg;
    Latentd__V1__Model model = LATENTD__V1__MODEL__INIT;
    Latentd__V1__TierInfo tiers[2], *ptrs[2] = {&tiers[0], &tiers[1]};
    uint32_t end_tokens[] = {2, 65505};
    latentd__v1__tier_info__init(&tiers[0]);
    latentd__v1__tier_info__init(&tiers[1]);
    tiers[0].name = bytes("amx");
    tiers[0].reason = bytes("the processor has no amx-bf16");
    tiers[1].name = bytes("avx2");
    tiers[1].usable = true;
    model.name = bytes("models/tiny");
    model.hash = bytes("00ff");
    model.n_embd = 64;
    model.parameters = 3500000000;
    model.max_steps = 256;
    model.default_steps = 32;
    model.has_tokenizer = atomic_load(&fake->has_tokenizer);
    model.tier = bytes("avx2");
    model.end_tokens = end_tokens;
    model.n_end_tokens = 2;
    model.default_temperature = 0.7;
    model.kv_policy = bytes("latest-m4");
    model.kv_format = bytes("f32");
    model.kv_bytes_per_position = 337920;
    model.tiers = ptrs;
    model.n_tiers = 2;
    reply(call, &model.base);
}

static void on_status(struct rpc_call *call, const uint8_t *data, size_t len, void *arg)
{
    (void)data;
    (void)len;
    struct fake *fake = arg;
    struct fake_status status;
    if (atomic_load(&fake->is_away)) {
        rpc_call_finish(call, LTD_E_UNAVAILABLE, "restarting");
        return;
    }
    fake_status_fill(&status, atomic_fetch_add(&fake->n_statuses, 1));
    reply(call, &status.message.base);
}

static void on_health(struct rpc_call *call, const uint8_t *data, size_t len, void *arg)
{
    struct fake *fake = arg;
    Grpc__Health__V1__HealthCheckRequest *request =
        unpack(&grpc__health__v1__health_check_request__descriptor, data, len);
    Grpc__Health__V1__HealthCheckResponse answer = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__INIT;
    answer.status =
        (Grpc__Health__V1__HealthCheckResponse__ServingStatus)atomic_load(&fake->health);
    if (request->service.len == 0 || name_is(request->service, "latentd.v1.Jobs"))
        reply(call, &answer.base);
    else
        rpc_call_finish(call, LTD_E_NOT_FOUND, "no such service");
    drop(request);
}

static void on_drain(struct rpc_call *call, const uint8_t *data, size_t len, void *arg)
{
    (void)arg;
    Latentd__V1__DrainRequest *request = unpack(&latentd__v1__drain_request__descriptor, data, len);
    Latentd__V1__DrainResponse answer = LATENTD__V1__DRAIN_RESPONSE__INIT;
    answer.grace_seconds = request->grace_seconds_set_case ? request->grace_seconds : 600;
    answer.jobs_queued = 3;
    answer.jobs_running = 2;
    if (answer.grace_seconds > 86400)
        rpc_call_finish(call, LTD_E_INVALID, "grace_seconds: found 86401, expected 0 to 86400");
    else
        reply(call, &answer.base);
    drop(request);
}

/* ---- life ---- */

static void start_server(struct fake *fake)
{
    static struct rpc_method methods[16];
    static const struct {
        const char *path;
        rpc_handler_fn handler;
    } table[] = {
        {"/latentd.v1.Inference/Generate", on_generate},
        {"/latentd.v1.Inference/Score", on_score},
        {"/latentd.v1.Inference/Tokenize", on_tokenize},
        {"/latentd.v1.Inference/Detokenize", on_detokenize},
        {"/latentd.v1.Jobs/Submit", on_submit},
        {"/latentd.v1.Jobs/Watch", on_watch},
        {"/latentd.v1.Jobs/Get", on_get},
        {"/latentd.v1.Jobs/List", on_list},
        {"/latentd.v1.Jobs/Cancel", on_cancel},
        {"/latentd.v1.Jobs/Delete", on_delete},
        {"/latentd.v1.Jobs/Continue", on_continue},
        {"/latentd.v1.Jobs/SetPriority", on_set_priority},
        {"/latentd.v1.Cluster/GetModel", on_model},
        {"/latentd.v1.Cluster/GetStatus", on_status},
        {"/latentd.v1.Admin/Drain", on_drain},
        {"/grpc.health.v1.Health/Check", on_health},
    };
    struct ltd_err err = {.code = LTD_OK};
    size_t n = sizeof table / sizeof table[0];
    for (size_t i = 0; i < n; i++)
        methods[i] = (struct rpc_method){.path = table[i].path,
                                         .max_request_bytes = 1 << 20,
                                         .handler = table[i].handler,
                                         .arg = fake};
    fake->server = rpc_server_create(&fake->loop, methods, n, NULL, &err);
    must(fake->server, err.msg);
    must(rpc_server_listen(fake->server, fake->address, &err) == 0, err.msg);
    snprintf(fake->address, sizeof fake->address, "%s", rpc_server_address(fake->server, 0));
}

static void close_handle(uv_handle_t *handle, void *arg)
{
    (void)arg;
    if (!uv_is_closing(handle))
        uv_close(handle, NULL);
}

static void on_stop(uv_async_t *async)
{
    struct fake *fake = async->data;
    rpc_server_destroy(fake->server);
    uv_close((uv_handle_t *)&fake->stop, NULL);
    uv_close((uv_handle_t *)&fake->answer_timer, NULL);
    uv_close((uv_handle_t *)&fake->cut_timer, NULL);
}

static void *run_loop(void *arg)
{
    struct fake *fake = arg;
    uv_run(&fake->loop, UV_RUN_DEFAULT);
    uv_walk(&fake->loop, close_handle, NULL);
    uv_run(&fake->loop, UV_RUN_DEFAULT);
    must(uv_loop_close(&fake->loop) == 0, "the loop still has handles");
    return NULL;
}

struct fake *fake_start(const char *address)
{
    struct fake *fake = calloc(1, sizeof *fake);
    must(fake, "no memory");
    atomic_store(&fake->window, MAX_WAITING);
    atomic_store(&fake->has_tokenizer, true);
    atomic_store(&fake->health, 1);
    snprintf(fake->address, sizeof fake->address, "%s", address);
    uv_loop_init(&fake->loop);
    uv_async_init(&fake->loop, &fake->stop, on_stop);
    uv_timer_init(&fake->loop, &fake->answer_timer);
    uv_timer_init(&fake->loop, &fake->cut_timer);
    fake->stop.data = fake->answer_timer.data = fake->cut_timer.data = fake;
    start_server(fake);
    must(pthread_create(&fake->thread, NULL, run_loop, fake) == 0, "no thread");
    return fake;
}

void fake_stop(struct fake *fake)
{
    uv_async_send(&fake->stop);
    pthread_join(fake->thread, NULL);
    free(fake);
}

const char *fake_address(const struct fake *fake)
{
    return fake->address;
}

void fake_set_window(struct fake *fake, uint32_t window)
{
    atomic_store(&fake->window, window);
}

void fake_set_tokenizer(struct fake *fake, bool has_tokenizer)
{
    atomic_store(&fake->has_tokenizer, has_tokenizer);
}

void fake_set_health(struct fake *fake, int status)
{
    atomic_store(&fake->health, status);
}

void fake_rewind_status(struct fake *fake)
{
    atomic_store(&fake->n_statuses, 0);
}

uint64_t fake_n_statuses(const struct fake *fake)
{
    return atomic_load(&fake->n_statuses);
}

void fake_set_away(struct fake *fake, bool is_away)
{
    atomic_store(&fake->is_away, is_away);
}

uint32_t fake_n_cancelled(const struct fake *fake)
{
    return atomic_load(&fake->n_cancelled);
}

uint32_t fake_most_waiting(const struct fake *fake)
{
    return atomic_load(&fake->most_waiting);
}

uint32_t fake_n_refused(const struct fake *fake)
{
    return atomic_load(&fake->n_refused);
}

uint32_t fake_n_watches(const struct fake *fake)
{
    return atomic_load(&fake->n_watches);
}

uint32_t fake_n_generates(const struct fake *fake)
{
    return atomic_load(&fake->n_generates);
}

uint32_t fake_n_submits(const struct fake *fake)
{
    return atomic_load(&fake->n_submits);
}

uint32_t fake_n_submissions(const struct fake *fake)
{
    return atomic_load(&fake->n_submissions);
}
