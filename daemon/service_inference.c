/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/service_inference.c - latentd.v1.Inference: answers within one call.
 *
 * Generate is a submission whose call then watches the job (daemon/watch.h). Score is work for the
 * engine that is no job: nothing of it is kept, and it ends with its call.
 *
 * Statuses: docs/api.md.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "daemon/auth.h"
#include "daemon/service.h"
#include "daemon/spec_decode.h"
#include "daemon/watch.h"
#include "model/detokenizer.h"

/* Ids of one Detokenize call when the context is shorter: more than any text worth one call. */
#define DETOKENIZE_IDS_MIN 65536

/* -------------------------------------------------------------------------------- generate */

static void ignore_answer(void *arg, const struct job *job, const struct ltd_err *err)
{
    (void)arg;
    (void)job;
    (void)err;
}

static void start_watch(void *arg, const struct job *job, const struct ltd_err *err)
{
    struct pending *pending = arg;
    struct service *service = pending->service;
    /* A call may join a job that was submitted, and that one is not its to end. */
    struct watch_options options = {
        .status_of_job = true, .cancel_on_end = !pending->keeps_job && job && job->is_attached};
    struct rpc_call *call = pending_take(pending);
    if (call && job)
        watch_start(service, call, job, &options);
    else if (call)
        service_fail(call, err);
    else if (job && options.cancel_on_end)
        job_table_cancel(service->jobs, job, ENGINE_FINISH_CANCELLED, ignore_answer, NULL);
}

void inference_generate(struct rpc_call *call, const uint8_t *request, size_t len, void *arg)
{
    struct service *service = arg;
    struct unpack u;
    struct ltd_err err = {0};
    char request_id[JOB_REQUEST_ID_CHARS + 1];
    Latentd__V1__GenerateRequest *m =
        service_unpack(call, &u, &latentd__v1__generate_request__descriptor, request, len);
    if (!m)
        return;
    bool keeps_job = m->keep_on_disconnect;
    struct job_spec *spec = NULL;
    if ((!keeps_job ||
         service_check_right(service, call, AUTH_JOBS, "keep_on_disconnect", &err) == 0) &&
        service_take_request_id(&m->request_id, request_id, &err) == 0)
        spec = service_decode_spec(service, call, m->spec, &err);
    unpack_free(&u);
    struct pending *pending = NULL;
    if (!spec)
        service_fail(call, &err);
    else
        pending = pending_make(call, service);
    if (!pending) {
        spec_destroy(spec);
        return;
    }
    pending->keeps_job = keeps_job;
    struct job_caller caller = service_caller(call);
    caller.is_attached = !keeps_job;
    job_table_submit(service->jobs, spec, &caller, request_id, start_watch, pending);
}

/* ----------------------------------------------------------------------------------- score */

struct score {
    struct work work; /* first */
    struct service *service;
    struct rpc_call *call;   /* NULL: it ended early */
    struct job_spec *spec;   /* owned */
    struct ltd_bytes answer; /* a packed ScoreResponse once SCORED came */
    char owner[RPC_IDENTITY_BYTES];
    struct score *prev, *next; /* service->scores */
};

static void link_score(struct score *score, struct service *service)
{
    score->service = service;
    score->next = service->scores;
    if (score->next)
        score->next->prev = score;
    service->scores = score;
}

uint32_t inference_n_waiting_scores(const struct service *service, const char *owner)
{
    uint32_t n = 0;
    for (const struct score *score = service->scores; score; score = score->next)
        n += !score->work.is_started && strcmp(score->owner, owner) == 0;
    return n;
}

static void destroy_score(struct score *score)
{
    *(score->prev ? &score->prev->next : &score->service->scores) = score->next;
    if (score->next)
        score->next->prev = score->prev;
    spec_destroy(score->spec);
    ltd_bytes_fini(&score->answer);
    free(score);
}

static void keep_scores(struct score *score, const struct engine_event *event)
{
    size_t n = (size_t)event->n_scores;
    const struct job_spec *spec = score->spec;
    Latentd__V1__ScoreResponse m = LATENTD__V1__SCORE_RESPONSE__INIT;
    protobuf_c_boolean *greedy = calloc(n, sizeof *greedy);
    uint32_t *numbers = calloc(2 * n, sizeof *numbers);
    if (!greedy || !numbers) {
        score->answer.failed = true;
    } else {
        for (size_t i = 0; i < n; i++) {
            numbers[i] = (uint32_t)spec->prompt[(size_t)spec->score_begin + i];
            numbers[n + i] = (uint32_t)event->score_steps[i];
            greedy[i] = event->score_greedy[i];
            m.sum += event->score_logprobs[i];
        }
        m.n_ids = m.n_logprobs = m.n_greedy = m.n_steps = n;
        m.ids = numbers;
        m.steps = numbers + n;
        m.greedy = greedy;
        m.logprobs = event->score_logprobs;
        m.context_tokens = (uint32_t)spec->score_begin;
        m.seed = spec->seed;
        m.tier = wire_text(score->service->served->tier, strlen(score->service->served->tier));
        wire_put_message(&score->answer, &m.base);
    }
    free(greedy);
    free(numbers);
}

static void answer_score(struct score *score, const struct engine_event *event)
{
    struct rpc_call *call = score->call;
    struct ltd_err err;
    switch (event->finish) {
    case ENGINE_FINISH_SCORED:
        score->service->n_scored++;
        service_reply_bytes(call, &score->answer);
        return;
    case ENGINE_FINISH_CANCELLED: /* the call is here, so nobody but the drain did it */
        ltd_fail(&err, LTD_E_UNAVAILABLE, "the service stops; ask again");
        service_fail(call, &err);
        return;
    case ENGINE_FINISH_ERROR:
        service_fail(call, &event->error);
        return;
    case ENGINE_FINISH_EOS:
    case ENGINE_FINISH_STOP:
    case ENGINE_FINISH_LENGTH:
    case ENGINE_FINISH_DEADLINE:
        break;
    }
    ltd_fail(&err, LTD_E_INTERNAL, "the scores ended without a result");
    service_fail(call, &err);
}

static void on_score_event(struct work *work, const struct engine_event *event)
{
    static const struct rpc_call_ops nothing = {0};
    struct score *score = (struct score *)work;
    if (event->kind == ENGINE_SCORED)
        keep_scores(score, event);
    if (event->kind != ENGINE_FINISHED)
        return;
    if (score->call) {
        rpc_call_set_ops(score->call, &nothing, NULL);
        answer_score(score, event);
    }
    service_charge(score->service, score->owner, event->total_steps, ltd_wall_us());
    destroy_score(score);
}

static void on_score_end(struct rpc_call *call, void *arg, enum rpc_end reason)
{
    struct score *score = arg;
    (void)call;
    (void)reason;
    score->call = NULL;
    work_queue_cancel(score->service->queue, &score->work, ENGINE_FINISH_CANCELLED);
}

static int check_admission(const struct service *service, const struct job_spec *spec,
                           struct ltd_err *err)
{
    if (job_table_is_closed(service->jobs))
        return ltd_fail(err, LTD_E_UNAVAILABLE, "the service is draining");
    if (engine_fits(service->engine, spec->n_prompt))
        return 0;
    ltd_fail(err, LTD_E_INVALID,
             "context and continuation: %d tokens do not fit the whole key-value cache (kv_memory)",
             spec->n_prompt);
    return ltd_err_reason(err, "PROMPT_TOO_LONG");
}

/* Hand the spec to the engine on behalf of the call. The spec is taken, also on failure. */
static int start_score(struct service *service, struct rpc_call *call, struct job_spec *take_spec,
                       struct ltd_err *err)
{
    static const struct rpc_call_ops ops = {.on_end = on_score_end};
    static const struct rpc_call_ops nothing = {0};
    struct score *score = calloc(1, sizeof *score);
    if (!score || check_admission(service, take_spec, err) != 0 ||
        service_may_score(service, call, err) != 0) {
        free(score);
        spec_destroy(take_spec);
        return err->code ? -1 : ltd_fail(err, LTD_E_EXHAUSTED, "no memory for a request");
    }
    link_score(score, service);
    score->call = call;
    snprintf(score->owner, sizeof score->owner, "%s", rpc_call_identity(call)->name);
    score->spec = take_spec;
    score->work.spec = take_spec;
    score->work.on_event = on_score_event;
    rpc_call_set_ops(call, &ops, score);
    if (work_queue_add(service->queue, &score->work, err) == 0)
        return 0;
    rpc_call_set_ops(call, &nothing, NULL);
    destroy_score(score);
    return -1;
}

void inference_score(struct rpc_call *call, const uint8_t *request, size_t len, void *arg)
{
    struct service *service = arg;
    struct unpack u;
    struct ltd_err err = {0};
    Latentd__V1__ScoreRequest *m =
        service_unpack(call, &u, &latentd__v1__score_request__descriptor, request, len);
    if (!m)
        return;
    struct job_spec *spec = spec_decode_score(m, service->served, &err);
    unpack_free(&u);
    if (spec && service_set_client(call, spec, &err) != 0) {
        spec_destroy(spec);
        spec = NULL;
    }
    if (!spec || start_score(service, call, spec, &err) != 0)
        service_fail(call, &err);
}

/* -------------------------------------------------------------------------------- tokenize */

static int check_tokenizer(const struct served *served, struct ltd_err *err)
{
    if (served->tokenizer)
        return 0;
    return ltd_fail(err, LTD_E_UNIMPLEMENTED, "%s has no tokenizer: %s", served->name,
                    served->no_text);
}

static int tokenize(const Latentd__V1__TokenizeRequest *m, const struct served *served,
                    struct model_tokens *tokens, struct ltd_err *err)
{
    if (check_tokenizer(served, err) != 0)
        return -1;
    switch (m->kind_case) {
    case LATENTD__V1__TOKENIZE_REQUEST__KIND_TEXT:
        return spec_encode_text(&m->text, m->no_special ? 0 : MODEL_ENCODE_HEAD, served, "text",
                                tokens, err);
    case LATENTD__V1__TOKENIZE_REQUEST__KIND_CHAT:
        return spec_render_chat(m->chat, served, "chat", tokens, err);
    case LATENTD__V1__TOKENIZE_REQUEST__KIND__NOT_SET:
        break;
    }
    return ltd_fail(err, LTD_E_INVALID, "kind: absent, expected text or chat");
}

static void reply_tokens(struct rpc_call *call, const struct served *served,
                         const struct model_tokens *tokens)
{
    Latentd__V1__TokenizeResponse m = LATENTD__V1__TOKENIZE_RESPONSE__INIT;
    ProtobufCBinaryData *pieces = calloc(tokens->n + 1, sizeof *pieces);
    if (!pieces) {
        service_reply_bytes(call, &(struct ltd_bytes){.failed = true});
        return;
    }
    for (size_t i = 0; i < tokens->n; i++)
        pieces[i].data = (uint8_t *)(uintptr_t)model_tokenizer_bytes(
            served->tokenizer, tokens->ids[i], &pieces[i].len);
    m.n_ids = m.n_pieces = tokens->n;
    m.ids = (uint32_t *)tokens->ids; /* ids are never negative */
    m.pieces = pieces;
    service_reply(call, &m.base);
    free(pieces);
}

void inference_tokenize(struct rpc_call *call, const uint8_t *request, size_t len, void *arg)
{
    struct service *service = arg;
    struct unpack u;
    struct ltd_err err = {0};
    struct model_tokens tokens;
    Latentd__V1__TokenizeRequest *m =
        service_unpack(call, &u, &latentd__v1__tokenize_request__descriptor, request, len);
    if (!m)
        return;
    model_tokens_init(&tokens);
    if (tokenize(m, service->served, &tokens, &err) == 0)
        reply_tokens(call, service->served, &tokens);
    else
        service_fail(call, &err);
    model_tokens_fini(&tokens);
    unpack_free(&u);
}

static int detokenize(const Latentd__V1__DetokenizeRequest *m, const struct served *served,
                      struct ltd_bytes *text, struct ltd_err *err)
{
    size_t max = (size_t)served->model.max_positions;
    if (max < DETOKENIZE_IDS_MIN)
        max = DETOKENIZE_IDS_MIN;
    if (check_tokenizer(served, err) != 0)
        return -1;
    if (m->n_ids > max)
        return ltd_fail(err, LTD_E_INVALID, "ids: found %zu, expected at most %zu", m->n_ids, max);
    for (size_t i = 0; i < m->n_ids; i++)
        if (m->ids[i] >= (uint32_t)served->model.vocab)
            return ltd_fail(err, LTD_E_INVALID, "ids[%zu]: found %u, expected a token id below %d",
                            i, m->ids[i], served->model.vocab);
    return model_detokenize(served->tokenizer, (const int32_t *)m->ids, m->n_ids, m->skip_special,
                            text, err);
}

void inference_detokenize(struct rpc_call *call, const uint8_t *request, size_t len, void *arg)
{
    struct service *service = arg;
    struct unpack u;
    struct ltd_err err = {0};
    struct ltd_bytes text;
    Latentd__V1__DetokenizeResponse response = LATENTD__V1__DETOKENIZE_RESPONSE__INIT;
    Latentd__V1__DetokenizeRequest *m =
        service_unpack(call, &u, &latentd__v1__detokenize_request__descriptor, request, len);
    if (!m)
        return;
    ltd_bytes_init(&text);
    if (detokenize(m, service->served, &text, &err) == 0) {
        response.text = wire_text((const char *)text.data, text.len);
        service_reply(call, &response.base);
    } else {
        service_fail(call, &err);
    }
    ltd_bytes_fini(&text);
    unpack_free(&u);
}
