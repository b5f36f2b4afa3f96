/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/wire.c - see daemon/wire.h. Field numbers are those of proto/latentd/v1/job.proto, and the
 * test decodes every answer with the generated code, so a wrong one cannot stay.
 */
#include "base/clock.h"
#include "daemon/job_given.h"
#include "daemon/wire.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

enum field_numbers {
    TOKENS_IDS = 1,
    TOKENS_TEXT = 2,
    TOKENS_STEPS = 3,
    TOKENS_EXITS = 4,
    TOKENS_LOGPROBS = 5,
    TOKENS_VALUES = 6,
    EVENT_TOKENS = 6,
    EVENT_JOB = 9,
    JOB_SPEC = 4,
    JOB_OUTPUT = 9,
    OUTPUT_TOKENS = 1,
};

/* The numbers agree, so states, reasons and exits are cast. */
static_assert((int)JOB_QUEUED == LATENTD__V1__JOB_STATE__JOB_STATE_QUEUED &&
                  (int)JOB_FAILED == LATENTD__V1__JOB_STATE__JOB_STATE_FAILED,
              "states are cast");
static_assert((int)JOB_FINISH_EOS == LATENTD__V1__FINISH_REASON__FINISH_REASON_EOS &&
                  (int)JOB_FINISH_ERROR == LATENTD__V1__FINISH_REASON__FINISH_REASON_ERROR,
              "reasons are cast");
static_assert((int)ENGINE_EXIT_FIXED + 1 == LATENTD__V1__EXIT_REASON__EXIT_REASON_FIXED &&
                  (int)ENGINE_EXIT_MAX_STEPS + 1 ==
                      LATENTD__V1__EXIT_REASON__EXIT_REASON_MAX_STEPS &&
                  (int)ENGINE_EXIT_BUDGET + 1 == LATENTD__V1__EXIT_REASON__EXIT_REASON_BUDGET,
              "exits are cast");

/* ------------------------------------------------------------------------------ primitives */

static void put_varint(struct ltd_bytes *out, uint64_t v)
{
    uint8_t buf[10];
    size_t n = 0;
    for (; v >= 0x80; v >>= 7)
        buf[n++] = (uint8_t)(v | 0x80);
    buf[n++] = (uint8_t)v;
    ltd_bytes_put(out, buf, n);
}

void wire_put_field(struct ltd_bytes *out, uint32_t number, const void *data, size_t len)
{
    put_varint(out, (uint64_t)number << 3 | 2);
    put_varint(out, len);
    ltd_bytes_put(out, data, len);
}

void wire_put_message(struct ltd_bytes *out, const ProtobufCMessage *message)
{
    size_t len = protobuf_c_message_get_packed_size(message);
    uint8_t *at = ltd_bytes_reserve(out, len);
    if (at)
        out->len += protobuf_c_message_pack(message, at);
}

/* A part as a field of `out`; a part that failed makes the whole fail. */
static void put_part(struct ltd_bytes *out, uint32_t number, const struct ltd_bytes *part)
{
    if (part->failed)
        out->failed = true;
    wire_put_field(out, number, part->data, part->len);
}

static void put_part_unless_empty(struct ltd_bytes *out, uint32_t number,
                                  const struct ltd_bytes *part)
{
    if (part->len > 0 || part->failed)
        put_part(out, number, part);
}

static int check_failed(const struct ltd_bytes *out, struct ltd_err *err)
{
    return out->failed ? ltd_fail(err, LTD_E_EXHAUSTED, "no memory for an answer") : 0;
}

/* ----------------------------------------------------------------------------------- tokens */

void wire_tokens_init(struct wire_tokens *tokens)
{
    memset(tokens, 0, sizeof *tokens);
}

void wire_tokens_fini(struct wire_tokens *tokens)
{
    ltd_bytes_fini(&tokens->ids);
    ltd_bytes_fini(&tokens->text);
    ltd_bytes_fini(&tokens->steps);
    ltd_bytes_fini(&tokens->exits);
    ltd_bytes_fini(&tokens->values);
    ltd_bytes_fini(&tokens->logprobs);
}

static void add_logprobs(struct ltd_bytes *out, const struct engine_token *token)
{
    Latentd__V1__TopLogprob top[SPEC_LOGPROBS_MAX], *tops[SPEC_LOGPROBS_MAX];
    Latentd__V1__TokenLogprobs message = LATENTD__V1__TOKEN_LOGPROBS__INIT;
    message.logprob = token->logprob;
    message.n_top = (size_t)token->n_top;
    message.top = tops;
    for (int32_t i = 0; i < token->n_top; i++) {
        latentd__v1__top_logprob__init(&top[i]);
        top[i].id = (uint32_t)token->top[i].id;
        top[i].logprob = token->top[i].logprob;
        tops[i] = &top[i];
    }
    put_varint(out, TOKENS_LOGPROBS << 3 | 2);
    put_varint(out, latentd__v1__token_logprobs__get_packed_size(&message));
    wire_put_message(out, &message.base);
}

void wire_tokens_add(struct wire_tokens *tokens, const struct engine_token *token, const char *text,
                     size_t text_len)
{
    uint64_t bits;
    memcpy(&bits, &token->criterion_value, sizeof bits);
    put_varint(&tokens->ids, (uint64_t)token->id);
    put_varint(&tokens->steps, (uint64_t)token->steps);
    put_varint(&tokens->exits, (uint64_t)token->exit + 1);
    ltd_bytes_put_u64(&tokens->values, bits);
    ltd_bytes_put(&tokens->text, text, text_len);
    if (token->n_top >= 0)
        add_logprobs(&tokens->logprobs, token);
    tokens->has_values |= token->has_value;
    tokens->n++;
}

size_t wire_tokens_bytes(const struct wire_tokens *tokens)
{
    return tokens->ids.len + tokens->text.len + tokens->steps.len + tokens->exits.len +
           tokens->values.len + tokens->logprobs.len;
}

void wire_tokens_put(const struct wire_tokens *tokens, struct ltd_bytes *out)
{
    put_part_unless_empty(out, TOKENS_IDS, &tokens->ids);
    put_part_unless_empty(out, TOKENS_TEXT, &tokens->text);
    put_part_unless_empty(out, TOKENS_STEPS, &tokens->steps);
    put_part_unless_empty(out, TOKENS_EXITS, &tokens->exits);
    if (tokens->has_values)
        put_part(out, TOKENS_VALUES, &tokens->values);
    ltd_bytes_put(out, tokens->logprobs.data, tokens->logprobs.len);
    out->failed |= tokens->logprobs.failed;
}

static void put_tokens_field(struct ltd_bytes *out, uint32_t number,
                             const struct wire_tokens *tokens)
{
    struct ltd_bytes message;
    ltd_bytes_init(&message);
    wire_tokens_put(tokens, &message);
    put_part(out, number, &message);
    ltd_bytes_fini(&message);
}

/* -------------------------------------------------------------------------------------- job */

static void put_name(const char *id, char name[WIRE_JOB_NAME_BYTES])
{
    snprintf(name, WIRE_JOB_NAME_BYTES, "jobs/%s", id);
}

void wire_job_name(const struct job *job, char name[WIRE_JOB_NAME_BYTES])
{
    put_name(job->id, name);
}

/* The facts that need no look into the log. */
static void put_job_facts(const struct job *job, struct ltd_bytes *out)
{
    char name[WIRE_JOB_NAME_BYTES], continues[WIRE_JOB_NAME_BYTES];
    Latentd__V1__Error error = LATENTD__V1__ERROR__INIT;
    Latentd__V1__Job m = LATENTD__V1__JOB__INIT;
    wire_job_name(job, name);
    m.name = wire_text(name, strlen(name));
    m.state = (Latentd__V1__JobState)job->state;
    m.done = job_state_is_final(job->state);
    m.last_seq = job->last_seq;
    m.create_us = job->create_us;
    m.start_us = job->start_us;
    m.end_us = job->end_us;
    m.seed = job->seed;
    m.request_id = wire_text(job->request_id, strlen(job->request_id));
    m.tier = wire_text(job->tier, strlen(job->tier));
    m.prompt_tokens = job->prompt_tokens;
    m.total_steps = job->total_steps;
    m.priority = job->priority;
    m.client = wire_text(job->client, strlen(job->client));
    m.owner = wire_text(job->owner, strlen(job->owner));
    m.early_steps = (uint32_t)job_early_steps(job);
    m.predicted_end_us = job->predicted_end_us;
    m.late = job->late;
    if (job->continues[0]) {
        put_name(job->continues, continues);
        m.continues = wire_text(continues, strlen(continues));
    }
    if (job->finish == JOB_FINISH_ERROR) {
        error.code = ltd_code_grpc(job->error_code);
        error.message = wire_text(job->error_msg, strlen(job->error_msg));
        m.error = &error;
    }
    wire_put_message(out, &m.base);
}

static bool take_spec(void *arg, const struct job_event *event)
{
    ltd_bytes_put(arg, event->queued.spec, event->queued.spec_len);
    return false;
}

int wire_stored_spec(struct store *store, const struct job *job, struct ltd_bytes *out,
                     struct ltd_err *err)
{
    if (store_read(store, job, 0, take_spec, out, err) != 0)
        return -1;
    return check_failed(out, err);
}

/* Tokens and, from FINISHED, the tail of the text. The other kinds have no text. */
static bool take_output(void *arg, const struct job_event *event)
{
    struct wire_tokens *tokens = arg;
    if (event->kind == JOB_EV_TOKEN)
        wire_tokens_add(tokens, &event->token, event->text, event->text_len);
    else
        ltd_bytes_put(&tokens->text, event->text, event->text_len);
    return true;
}

static int put_output(struct store *store, const struct job *job, struct ltd_bytes *out,
                      struct ltd_err *err)
{
    struct wire_tokens tokens;
    struct ltd_bytes message;
    Latentd__V1__Output output = LATENTD__V1__OUTPUT__INIT;
    wire_tokens_init(&tokens);
    ltd_bytes_init(&message);
    int rc = store_read(store, job, 0, take_output, &tokens, err);
    if (rc == 0) {
        output.finish = (Latentd__V1__FinishReason)job->finish;
        wire_put_message(&message, &output.base);
        put_tokens_field(&message, OUTPUT_TOKENS, &tokens);
        put_part(out, JOB_OUTPUT, &message);
    }
    wire_tokens_fini(&tokens);
    ltd_bytes_fini(&message);
    return rc;
}

int wire_put_job(struct store *store, const struct job *job, unsigned parts, struct ltd_bytes *out,
                 struct ltd_err *err)
{
    put_job_facts(job, out);
    if (parts & WIRE_JOB_SPEC) {
        struct ltd_bytes spec;
        ltd_bytes_init(&spec);
        int rc = wire_stored_spec(store, job, &spec, err);
        put_part(out, JOB_SPEC, &spec);
        ltd_bytes_fini(&spec);
        if (rc != 0)
            return -1;
    }
    if (parts & WIRE_JOB_OUTPUT && put_output(store, job, out, err) != 0)
        return -1;
    return check_failed(out, err);
}

static int put_job_field(struct store *store, const struct job *job, struct ltd_bytes *out,
                         struct ltd_err *err)
{
    struct ltd_bytes message;
    ltd_bytes_init(&message);
    int rc = wire_put_job(store, job, WIRE_JOB_SPEC, &message, err);
    if (rc == 0)
        put_part(out, EVENT_JOB, &message);
    ltd_bytes_fini(&message);
    return rc;
}

/* ----------------------------------------------------------------------------------- events */

/* One message while it is put together from one or more events. */
struct reading {
    struct ltd_bytes *out;
    const struct job *job;
    struct wire_tokens tokens;
    uint64_t seq; /* of the last event taken; 0: none yet */
    int64_t time_us;
};

static void put_event(struct reading *r, Latentd__V1__JobEvent *m)
{
    char name[WIRE_JOB_NAME_BYTES];
    wire_job_name(r->job, name);
    m->name = wire_text(name, strlen(name));
    m->seq = r->seq;
    m->time_us = r->time_us;
    wire_put_message(r->out, &m->base);
}

static void put_finished(struct reading *r, const struct job_event *event)
{
    Latentd__V1__Error error = LATENTD__V1__ERROR__INIT;
    Latentd__V1__Finished finished = LATENTD__V1__FINISHED__INIT;
    Latentd__V1__JobEvent m = LATENTD__V1__JOB_EVENT__INIT;
    finished.reason = (Latentd__V1__FinishReason)event->finished.reason;
    finished.prompt_tokens = r->job->prompt_tokens;
    finished.output_tokens = r->job->output_tokens;
    finished.total_steps = event->finished.total_steps;
    finished.text_tail = wire_text(event->text, event->text_len);
    finished.late = event->finished.late;
    if (event->finished.reason == JOB_FINISH_ERROR) {
        error.code = ltd_code_grpc(event->finished.error.code);
        error.message = wire_text(event->finished.error.msg, strlen(event->finished.error.msg));
        finished.error = &error;
    }
    m.event_case = LATENTD__V1__JOB_EVENT__EVENT_FINISHED;
    m.finished = &finished;
    put_event(r, &m);
}

static void put_queued(struct reading *r, const struct job_event *event)
{
    Latentd__V1__Queued queued = LATENTD__V1__QUEUED__INIT;
    Latentd__V1__JobEvent m = LATENTD__V1__JOB_EVENT__INIT;
    queued.position = event->queued.position;
    queued.prompt_tokens = event->queued.prompt_tokens;
    m.event_case = LATENTD__V1__JOB_EVENT__EVENT_QUEUED;
    m.queued = &queued;
    put_event(r, &m);
}

static void put_started(struct reading *r, const struct job_event *event)
{
    Latentd__V1__Started started = LATENTD__V1__STARTED__INIT;
    Latentd__V1__JobEvent m = LATENTD__V1__JOB_EVENT__INIT;
    started.predicted_end_us = event->started.predicted_end_us;
    m.event_case = LATENTD__V1__JOB_EVENT__EVENT_STARTED;
    m.started = &started;
    put_event(r, &m);
}

static void put_prioritized(struct reading *r, const struct job_event *event)
{
    Latentd__V1__Prioritized prioritized = LATENTD__V1__PRIORITIZED__INIT;
    Latentd__V1__JobEvent m = LATENTD__V1__JOB_EVENT__INIT;
    prioritized.priority = event->priority;
    m.event_case = LATENTD__V1__JOB_EVENT__EVENT_PRIORITIZED;
    m.prioritized = &prioritized;
    put_event(r, &m);
}

/* Takes tokens as long as they follow each other; anything else is a message of its own. */
static bool take_event(void *arg, const struct job_event *event)
{
    struct reading *r = arg;
    if (r->tokens.n > 0 &&
        (event->kind != JOB_EV_TOKEN || wire_tokens_bytes(&r->tokens) >= WIRE_TOKENS_BYTES))
        return false;
    r->seq = event->seq;
    r->time_us = event->time_us;
    switch (event->kind) {
    case JOB_EV_QUEUED:
        put_queued(r, event);
        return false;
    case JOB_EV_STARTED:
        put_started(r, event);
        return false;
    case JOB_EV_PRIORITY:
        put_prioritized(r, event);
        return false;
    case JOB_EV_TOKEN:
        wire_tokens_add(&r->tokens, &event->token, event->text, event->text_len);
        return true;
    case JOB_EV_SUCCEEDED:
    case JOB_EV_CANCELLED:
    case JOB_EV_FAILED:
        put_finished(r, event);
        return false;
    case JOB_EV_N_KINDS:
        break;
    }
    return false;
}

int wire_put_events(struct store *store, const struct job *job, uint64_t *seq, bool first,
                    struct ltd_bytes *out, struct ltd_err *err)
{
    struct reading r = {.out = out, .job = job};
    wire_tokens_init(&r.tokens);
    int rc = store_read(store, job, *seq, take_event, &r, err);
    if (rc == 0 && r.tokens.n > 0) {
        Latentd__V1__JobEvent m = LATENTD__V1__JOB_EVENT__INIT;
        put_event(&r, &m);
        put_tokens_field(out, EVENT_TOKENS, &r.tokens);
    }
    wire_tokens_fini(&r.tokens);
    if (rc == 0 && first)
        rc = put_job_field(store, job, out, err);
    if (rc == 0)
        rc = check_failed(out, err);
    if (rc == 0)
        *seq = r.seq;
    return rc;
}

int wire_put_thinking(struct store *store, const struct job *job,
                      const struct wire_thinking *thinking, bool first, struct ltd_bytes *out,
                      struct ltd_err *err)
{
    struct reading r = {.out = out, .job = job, .time_us = thinking->time_us};
    Latentd__V1__Thinking t = LATENTD__V1__THINKING__INIT;
    Latentd__V1__JobEvent m = LATENTD__V1__JOB_EVENT__INIT;
    t.token_index = thinking->token_index;
    t.step = thinking->step;
    t.max_steps = thinking->max_steps;
    t.criterion_value = thinking->criterion_value;
    m.event_case = LATENTD__V1__JOB_EVENT__EVENT_THINKING;
    m.thinking = &t;
    put_event(&r, &m);
    if (first && put_job_field(store, job, out, err) != 0)
        return -1;
    return check_failed(out, err);
}

void wire_put_heartbeat(const struct job *job, struct ltd_bytes *out)
{
    struct reading r = {.out = out, .job = job, .time_us = ltd_wall_us()};
    Latentd__V1__Heartbeat nothing = LATENTD__V1__HEARTBEAT__INIT;
    Latentd__V1__JobEvent m = LATENTD__V1__JOB_EVENT__INIT;
    m.event_case = LATENTD__V1__JOB_EVENT__EVENT_HEARTBEAT;
    m.heartbeat = &nothing;
    put_event(&r, &m);
}
