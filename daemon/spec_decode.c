/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/spec_decode.c - checks in the order of the message's fields, one function each.
 *
 * The first mistake is reported; a request is one thing that somebody just wrote, unlike a
 * configuration, and the status message has room for one.
 */
#include "daemon/spec_decode.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "daemon/spec_depth.h"

#define SCALE_MAX      100.0 /* temperature and init_scale: beyond it only noise is left */
#define CHAT_TURNS_MAX 4096  /* each takes at least a handful of tokens of the context */

/* What no context of this model can hold. */
static int prompt_too_long(struct ltd_err *err)
{
    return ltd_err_reason(err, "PROMPT_TOO_LONG");
}

static int bad_number(struct ltd_err *err, const char *field, double found, const char *expected)
{
    return ltd_fail(err, LTD_E_INVALID, "%s: found %g, expected %s", field, found, expected);
}

int spec_check_model(const ProtobufCBinaryData *name, const struct served *served,
                     struct ltd_err *err)
{
    if (name->len == 0 ||
        (name->len == strlen(served->name) && memcmp(name->data, served->name, name->len) == 0))
        return 0;
    ltd_fail(err, LTD_E_NOT_FOUND, "model: found \"%.*s\", expected \"\" or \"%s\"",
             name->len > 100 ? 100 : (int)name->len, (const char *)name->data, served->name);
    return ltd_err_reason(err, "MODEL_NOT_FOUND");
}

/* --------------------------------------------------------------------------------- prompt */

static int too_long(const char *where, size_t n_tokens, const struct served *served,
                    struct ltd_err *err)
{
    ltd_fail(err, LTD_E_INVALID, "%s: found %zu tokens, expected fewer than the context of %d",
             where, n_tokens, served->model.max_positions);
    return prompt_too_long(err);
}

int spec_encode_text(const ProtobufCBinaryData *text, unsigned flags, const struct served *served,
                     const char *where, struct model_tokens *out, struct ltd_err *err)
{
    if (!served->tokenizer)
        return ltd_fail(err, LTD_E_INVALID, "%s: text cannot be read (%s), expected token ids",
                        where, served->no_text);
    /* A token stands for so many bytes at most: what cannot fit is not worth the time to encode. */
    size_t bytes_max = (size_t)served->model.max_positions * served->token_bytes_max;
    if (text->len > bytes_max) {
        ltd_fail(err, LTD_E_INVALID,
                 "%s: found %zu bytes of text, expected at most %zu, which is what a context of %d "
                 "tokens can hold",
                 where, text->len, bytes_max, served->model.max_positions);
        return prompt_too_long(err);
    }
    if (model_tokenizer_encode(served->tokenizer, (const char *)text->data, text->len, flags, out,
                               err) != 0)
        return ltd_err_context(err, "%s", where);
    return 0;
}

int spec_render_chat(const Latentd__V1__Chat *chat, const struct served *served, const char *where,
                     struct model_tokens *out, struct ltd_err *err)
{
    if (!served->chat)
        return ltd_fail(err, LTD_E_INVALID,
                        "%s: no chat with this model (%s), expected text or "
                        "token ids",
                        where, served->no_chat);
    if (chat->n_messages == 0 || chat->n_messages > CHAT_TURNS_MAX)
        return ltd_fail(err, LTD_E_INVALID, "%s.messages: found %zu, expected 1 to %d", where,
                        chat->n_messages, CHAT_TURNS_MAX);
    struct model_chat_message *turns = calloc(chat->n_messages, sizeof *turns);
    if (!turns)
        return ltd_fail(err, LTD_E_EXHAUSTED, "%s: no memory for %zu messages", where,
                        chat->n_messages);
    size_t bytes = 0, bytes_max = (size_t)served->model.max_positions * served->token_bytes_max;
    for (size_t i = 0; i < chat->n_messages; i++) {
        const Latentd__V1__ChatMessage *m = chat->messages[i];
        turns[i] = (struct model_chat_message){(const char *)m->role.data, m->role.len,
                                               (const char *)m->content.data, m->content.len};
        bytes += m->content.len;
    }
    int rc = 0;
    if (bytes > bytes_max) {
        ltd_fail(err, LTD_E_INVALID, "%s: found %zu bytes of text, expected at most %zu", where,
                 bytes, bytes_max);
        rc = prompt_too_long(err);
    } else if (model_chat_render(served->chat, turns, chat->n_messages, true, out, err) != 0) {
        rc = ltd_err_context(err, "%s", where);
    }
    free(turns);
    return rc;
}

static int take_ids(const Latentd__V1__TokenIds *ids, const struct served *served,
                    const char *where, struct model_tokens *out, struct ltd_err *err)
{
    if (ids->n_ids > (size_t)served->model.max_positions)
        return too_long(where, ids->n_ids, served, err);
    for (size_t i = 0; i < ids->n_ids; i++) {
        if (ids->ids[i] >= (uint32_t)served->model.vocab)
            return ltd_fail(err, LTD_E_INVALID,
                            "%s.ids[%zu]: found %u, expected a token id below "
                            "%d",
                            where, i, ids->ids[i], served->model.vocab);
        if (model_tokens_push(out, (int32_t)ids->ids[i], err) != 0)
            return ltd_err_context(err, "%s", where);
    }
    return 0;
}

/* Append a prompt's tokens; `flags` are for text. */
static int take_prompt(const Latentd__V1__Prompt *prompt, unsigned flags,
                       const struct served *served, const char *where, struct model_tokens *out,
                       struct ltd_err *err)
{
    char field[64];
    Latentd__V1__Prompt__KindCase kind =
        prompt ? prompt->kind_case : LATENTD__V1__PROMPT__KIND__NOT_SET;
    const char *member = kind == LATENTD__V1__PROMPT__KIND_TEXT     ? "text"
                         : kind == LATENTD__V1__PROMPT__KIND_TOKENS ? "tokens"
                                                                    : "chat";
    snprintf(field, sizeof field, "%s.%s", where, member);
    switch (kind) {
    case LATENTD__V1__PROMPT__KIND_TEXT:
        return spec_encode_text(&prompt->text, flags, served, field, out, err);
    case LATENTD__V1__PROMPT__KIND_TOKENS:
        return take_ids(prompt->tokens, served, field, out, err);
    case LATENTD__V1__PROMPT__KIND_CHAT:
        return spec_render_chat(prompt->chat, served, field, out, err);
    case LATENTD__V1__PROMPT__KIND__NOT_SET:
        break;
    }
    return ltd_fail(err, LTD_E_INVALID, "%s: absent, expected text, tokens or chat", where);
}

/* The spec takes over the list. */
static int keep_prompt(struct job_spec *spec, struct model_tokens *tokens,
                       const struct served *served, const char *where, struct ltd_err *err)
{
    if (tokens->n == 0)
        return ltd_fail(err, LTD_E_INVALID, "%s: found no tokens, expected at least one", where);
    if (tokens->n > (size_t)served->model.max_positions)
        return too_long(where, tokens->n, served, err);
    spec->prompt = malloc(tokens->n * sizeof *spec->prompt);
    if (!spec->prompt)
        return ltd_fail(err, LTD_E_EXHAUSTED, "%s: no memory for %zu tokens", where, tokens->n);
    memcpy(spec->prompt, tokens->ids, tokens->n * sizeof *spec->prompt);
    spec->n_prompt = (int32_t)tokens->n;
    return 0;
}

static int decode_prompt(struct job_spec *spec, const Latentd__V1__JobSpec *message,
                         const struct served *served, struct ltd_err *err)
{
    struct model_tokens tokens;
    model_tokens_init(&tokens);
    int rc = take_prompt(message->prompt, MODEL_ENCODE_HEAD, served, "spec.prompt", &tokens, err);
    if (rc == 0)
        rc = keep_prompt(spec, &tokens, served, "spec.prompt", err);
    model_tokens_fini(&tokens);
    return rc;
}

/* --------------------------------------------------------------------- length, stop strings */

static int decode_max_tokens(struct job_spec *spec, const Latentd__V1__JobSpec *message,
                             const struct served *served, struct ltd_err *err)
{
    int32_t room = served->model.max_positions - spec->n_prompt;
    if (room < 1) {
        ltd_fail(err, LTD_E_INVALID,
                 "spec.prompt: found %d tokens, expected fewer than the context of %d, so that one "
                 "can be written",
                 spec->n_prompt, served->model.max_positions);
        return prompt_too_long(err);
    }
    if (message->max_tokens > (uint32_t)room) {
        ltd_fail(err, LTD_E_INVALID,
                 "spec.max_tokens: found %u behind a prompt of %d tokens, expected at most %d in a "
                 "context of %d",
                 message->max_tokens, spec->n_prompt, room, served->model.max_positions);
        return prompt_too_long(err);
    }
    spec->max_tokens = (int32_t)message->max_tokens;
    if (message->max_tokens == 0)
        spec->max_tokens = served->default_max_tokens < room ? served->default_max_tokens : room;
    return 0;
}

static int decode_stop(struct job_spec *spec, const Latentd__V1__JobSpec *message,
                       const struct served *served, struct ltd_err *err)
{
    if (message->n_stop > SPEC_STOP_MAX)
        return ltd_fail(err, LTD_E_INVALID, "spec.stop: found %zu strings, expected at most %d",
                        message->n_stop, SPEC_STOP_MAX);
    if (message->n_stop > 0 && !served->tokenizer)
        return ltd_fail(err, LTD_E_INVALID,
                        "spec.stop: there is no text to stop at (%s), expected "
                        "none",
                        served->no_text);
    for (size_t i = 0; i < message->n_stop; i++) {
        const ProtobufCBinaryData *stop = &message->stop[i];
        if (stop->len < 1 || stop->len > SPEC_STOP_BYTES_MAX)
            return ltd_fail(err, LTD_E_INVALID, "spec.stop[%zu]: found %zu bytes, expected 1 to %d",
                            i, stop->len, SPEC_STOP_BYTES_MAX);
        char *text = malloc(stop->len);
        if (!text)
            return ltd_fail(err, LTD_E_EXHAUSTED, "spec.stop[%zu]: no memory", i);
        memcpy(text, stop->data, stop->len);
        spec->stop[spec->n_stop++] = (struct spec_stop){text, stop->len};
    }
    return 0;
}

/* ------------------------------------------------------------------- depth, budget, priority */

/* A year. Times are counted in nanoseconds further on, and some of them are added up. */
#define BUDGET_MS_MAX (UINT64_C(366) * 86400 * 1000)

static int check_budget_ms(const char *field, uint64_t found, struct ltd_err *err)
{
    if (found <= BUDGET_MS_MAX)
        return 0;
    return ltd_fail(err, LTD_E_INVALID,
                    "spec.budget.%s: found %" PRIu64 ", expected at most %" PRIu64 ", a year",
                    field, found, BUDGET_MS_MAX);
}

static int decode_budget(struct job_spec *spec, const Latentd__V1__Budget *message,
                         struct ltd_err *err)
{
    if (!message)
        return 0;
    if (check_budget_ms("token_ms", message->token_ms, err) != 0 ||
        check_budget_ms("total_ms", message->total_ms, err) != 0)
        return -1;
    spec->budget = (struct spec_budget){message->token_ms, message->total_ms};
    if (spec->depth.is_tokenwise && spec_is_elastic(spec))
        return ltd_fail(err, LTD_E_INVALID,
                        "spec.depth.tokenwise: found together with a budget, expected no budget or "
                        "a fixed depth: how deep each position of the prompt was could not be told "
                        "again");
    return 0;
}

static int decode_depth(struct job_spec *spec, const Latentd__V1__JobSpec *message,
                        const struct served *served, struct ltd_err *err)
{
    if (spec_depth_decode(message->depth, served, false, &spec->depth, err) != 0)
        return ltd_err_context(err, "spec");
    return decode_budget(spec, message->budget, err);
}

static int decode_priority(struct job_spec *spec, const Latentd__V1__JobSpec *message,
                           struct ltd_err *err)
{
    spec->priority = SPEC_PRIORITY_DEFAULT;
    if (message->priority_set_case != LATENTD__V1__JOB_SPEC__PRIORITY_SET_PRIORITY)
        return 0;
    if (message->priority > SPEC_PRIORITY_MAX)
        return ltd_fail(err, LTD_E_INVALID, "spec.priority: found %u, expected 0 to %d",
                        message->priority, SPEC_PRIORITY_MAX);
    spec->priority = (int32_t)message->priority;
    return 0;
}

static int decode_client(struct job_spec *spec, const ProtobufCBinaryData *client,
                         struct ltd_err *err)
{
    if (client->len > SPEC_CLIENT_BYTES)
        return ltd_fail(err, LTD_E_INVALID,
                        "spec.client: found %zu characters, expected at most %d", client->len,
                        SPEC_CLIENT_BYTES);
    for (size_t i = 0; i < client->len; i++)
        if (client->data[i] < 0x20 || client->data[i] > 0x7E)
            return ltd_fail(err, LTD_E_INVALID,
                            "spec.client: found byte 0x%02x at %zu, expected printable ASCII",
                            client->data[i], i + 1);
    if (client->len)
        memcpy(spec->client, client->data, client->len);
    return 0;
}

/* -------------------------------------------------------------------------------- sampling */

static int check_range(const char *field, double found, double min, double max,
                       const char *expected, struct ltd_err *err)
{
    /* Written so that NaN fails. */
    if (found >= min && found <= max)
        return 0;
    return bad_number(err, field, found, expected);
}

static void default_sampling(struct spec_sampling *sampling, const struct model_generation *g)
{
    sampling->temperature = g->do_sample ? g->temperature : 0;
    sampling->top_k = g->top_k;
    sampling->top_p = g->top_p;
    sampling->min_p = g->min_p;
    sampling->repetition_penalty = g->repetition_penalty;
}

static int override_sampling(struct spec_sampling *s, const Latentd__V1__Sampling *m,
                             const struct served *served, struct ltd_err *err)
{
    if (m->temperature_set_case)
        s->temperature = m->temperature;
    if (m->top_k_set_case && m->top_k > (uint32_t)served->model.vocab)
        return ltd_fail(err, LTD_E_INVALID,
                        "spec.sampling.top_k: found %u, expected 0 to the "
                        "vocabulary of %d",
                        m->top_k, served->model.vocab);
    if (m->top_k_set_case)
        s->top_k = (int32_t)m->top_k;
    if (m->top_p_set_case)
        s->top_p = m->top_p;
    if (m->min_p_set_case)
        s->min_p = m->min_p;
    if (m->repetition_penalty_set_case)
        s->repetition_penalty = m->repetition_penalty;
    if (check_range("spec.sampling.temperature", s->temperature, 0, SCALE_MAX,
                    "a number from 0 to 100", err) != 0 ||
        check_range("spec.sampling.top_p", s->top_p, 0, 1, "a number from 0 to 1", err) != 0 ||
        check_range("spec.sampling.min_p", s->min_p, 0, 1, "a number from 0 to 1", err) != 0)
        return -1;
    if (!isfinite(s->repetition_penalty) || s->repetition_penalty <= 0)
        return bad_number(err, "spec.sampling.repetition_penalty", s->repetition_penalty,
                          "a finite number above 0");
    return 0;
}

static int pick_seed(struct job_spec *spec, struct ltd_err *err)
{
    if (getrandom(&spec->seed, sizeof spec->seed, 0) != (ssize_t)sizeof spec->seed)
        return ltd_fail(err, LTD_E_INTERNAL, "no random seed from the system");
    return 0;
}

static int decode_sampling(struct job_spec *spec, const Latentd__V1__Sampling *message,
                           const struct served *served, struct ltd_err *err)
{
    default_sampling(&spec->sampling, &served->generation);
    if (message && override_sampling(&spec->sampling, message, served, err) != 0)
        return -1;
    spec->seed_given = message && message->seed_set_case;
    if (!spec->seed_given)
        return pick_seed(spec, err);
    spec->seed = message->seed;
    return 0;
}

/* -------------------------------------------------------------------------------- the rest */

static int decode_init_scale(struct job_spec *spec, bool is_set, double value, const char *field,
                             struct ltd_err *err)
{
    spec->init_scale = 1;
    if (!is_set)
        return 0;
    if (check_range(field, value, 0, SCALE_MAX, "a number from 0 to 100", err) != 0)
        return -1;
    spec->init_scale = (float)value;
    return 0;
}

static int decode_logprobs(struct job_spec *spec, const Latentd__V1__JobSpec *message,
                           const struct served *served, struct ltd_err *err)
{
    int32_t max = served->model.vocab < SPEC_LOGPROBS_MAX ? served->model.vocab : SPEC_LOGPROBS_MAX;
    spec->n_logprobs = -1;
    if (!message->logprobs_set_case)
        return 0;
    if (message->logprobs > (uint32_t)max)
        return ltd_fail(err, LTD_E_INVALID, "spec.logprobs: found %u, expected 0 to %d",
                        message->logprobs, max);
    spec->n_logprobs = (int32_t)message->logprobs;
    return 0;
}

static int decode_label(struct job_spec *spec, const ProtobufCBinaryData *label,
                        struct ltd_err *err)
{
    if (label->len > SPEC_LABEL_BYTES)
        return ltd_fail(err, LTD_E_INVALID, "spec.label: found %zu bytes, expected at most %d",
                        label->len, SPEC_LABEL_BYTES);
    for (size_t i = 0; i < label->len; i++)
        if (label->data[i] < 0x20 || label->data[i] == 0x7F)
            return ltd_fail(err, LTD_E_INVALID,
                            "spec.label: found control character 0x%02x at "
                            "byte %zu, expected text on one line",
                            label->data[i], i + 1);
    if (label->len)
        memcpy(spec->label, label->data, label->len);
    return 0;
}

/* What the client sent, for Get and for comparing two submissions. Nothing unknown is in it. */
static int keep_wire(struct job_spec *spec, const Latentd__V1__JobSpec *message,
                     struct ltd_err *err)
{
    spec->wire_len = latentd__v1__job_spec__get_packed_size(message);
    spec->wire = malloc(spec->wire_len ? spec->wire_len : 1);
    if (!spec->wire)
        return ltd_fail(err, LTD_E_EXHAUSTED, "spec: no memory for %zu bytes", spec->wire_len);
    latentd__v1__job_spec__pack(message, spec->wire);
    return 0;
}

static int decode(struct job_spec *spec, const Latentd__V1__JobSpec *message,
                  const struct served *served, struct ltd_err *err)
{
    if (!message)
        return ltd_fail(err, LTD_E_INVALID, "spec: absent, expected a JobSpec");
    spec->kind = SPEC_GENERATE;
    spec->max_run_ms = message->max_run_ms;
    spec->ignore_eos = message->ignore_eos;
    if (spec_check_model(&message->model, served, err) != 0 ||
        decode_label(spec, &message->label, err) != 0 ||
        decode_logprobs(spec, message, served, err) != 0 ||
        decode_init_scale(spec, message->init_scale_set_case != 0, message->init_scale,
                          "spec.init_scale", err) != 0 ||
        decode_sampling(spec, message->sampling, served, err) != 0 ||
        decode_stop(spec, message, served, err) != 0 ||
        decode_depth(spec, message, served, err) != 0 || decode_priority(spec, message, err) != 0 ||
        decode_client(spec, &message->client, err) != 0)
        return -1;
    /* Last, because it is the only dear one. */
    if (decode_prompt(spec, message, served, err) != 0 ||
        decode_max_tokens(spec, message, served, err) != 0)
        return -1;
    if (spec_depth_check_at(&spec->depth, spec->max_tokens, err) != 0)
        return ltd_err_context(err, "spec");
    return keep_wire(spec, message, err);
}

struct job_spec *spec_decode(const Latentd__V1__JobSpec *message, const struct served *served,
                             struct ltd_err *err)
{
    struct job_spec *spec = calloc(1, sizeof *spec);
    if (!spec)
        return ltd_fail_null(err, LTD_E_EXHAUSTED, "spec: no memory");
    if (decode(spec, message, served, err) != 0) {
        spec_destroy(spec);
        return NULL;
    }
    return spec;
}

/* ---------------------------------------------------------------------------------- score */

/* Context, then continuation; the place where the second begins becomes score_begin. */
static int decode_score_tokens(struct job_spec *spec, const Latentd__V1__ScoreRequest *message,
                               const struct served *served, struct model_tokens *tokens,
                               struct ltd_err *err)
{
    if (message->continuation && message->continuation->kind_case == LATENTD__V1__PROMPT__KIND_CHAT)
        return ltd_fail(err, LTD_E_INVALID, "continuation: found a chat, expected text or tokens");
    if (message->context &&
        take_prompt(message->context, MODEL_ENCODE_HEAD, served, "context", tokens, err) != 0)
        return -1;
    size_t n_context = tokens->n;
    if (take_prompt(message->continuation, 0, served, "continuation", tokens, err) != 0)
        return -1;
    size_t score_begin = n_context ? n_context : 1;
    if (tokens->n <= score_begin)
        return ltd_fail(err, LTD_E_INVALID,
                        "continuation: found %zu tokens behind a context of "
                        "%zu, expected at least one that can be scored",
                        tokens->n - n_context, n_context);
    spec->score_begin = (int32_t)score_begin;
    return keep_prompt(spec, tokens, served, "context and continuation", err);
}

static int decode_score(struct job_spec *spec, const Latentd__V1__ScoreRequest *message,
                        const struct served *served, struct ltd_err *err)
{
    struct model_tokens tokens;
    spec->kind = SPEC_SCORE;
    spec->max_tokens = 1;
    spec->n_logprobs = -1;
    spec->priority = SPEC_PRIORITY_DEFAULT;
    spec->seed_given = message->seed_set_case != 0;
    spec->seed = message->seed;
    if (spec_check_model(&message->model, served, err) != 0 ||
        spec_depth_decode(message->depth, served, true, &spec->depth, err) != 0 ||
        decode_init_scale(spec, message->init_scale_set_case != 0, message->init_scale,
                          "init_scale", err) != 0 ||
        (!spec->seed_given && pick_seed(spec, err) != 0))
        return -1;
    model_tokens_init(&tokens);
    int rc = decode_score_tokens(spec, message, served, &tokens, err);
    model_tokens_fini(&tokens);
    return rc;
}

struct job_spec *spec_decode_score(const Latentd__V1__ScoreRequest *message,
                                   const struct served *served, struct ltd_err *err)
{
    struct job_spec *spec = calloc(1, sizeof *spec);
    if (!spec)
        return ltd_fail_null(err, LTD_E_EXHAUSTED, "no memory for a request");
    if (decode_score(spec, message, served, err) != 0) {
        spec_destroy(spec);
        return NULL;
    }
    return spec;
}
