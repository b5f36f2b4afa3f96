/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/fuzz_request.c - every request message of the daemon: unpacked with its budget,
 * checked, and jobs decoded against the demo model.
 *
 * Input: one byte that picks the message, then its bytes as a client would send them.
 * Checked: a refusal has a reason; unpacking gives its whole budget back; what is accepted packs to
 * bytes that are accepted again and pack to themselves; a job that comes out keeps every bound that
 * the engine relies on, and what is kept of the request decodes to the same job.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/spec_decode.h"
#include "daemon/unpack.h"
#include "grpc/health/v1/health.pb-c.h"
#include "tests/fuzz/demo.h"
#include "tests/fuzz/fuzz.h"

static const ProtobufCMessageDescriptor *const messages[] = {
    &latentd__v1__job_spec__descriptor, /* first: most of the checks are there */
    &latentd__v1__generate_request__descriptor,
    &latentd__v1__score_request__descriptor,
    &latentd__v1__submit_job_request__descriptor,
    &latentd__v1__tokenize_request__descriptor,
    &latentd__v1__detokenize_request__descriptor,
    &latentd__v1__watch_job_request__descriptor,
    &latentd__v1__get_job_request__descriptor,
    &latentd__v1__list_jobs_request__descriptor,
    &latentd__v1__cancel_job_request__descriptor,
    &latentd__v1__delete_job_request__descriptor,
    &latentd__v1__continue_job_request__descriptor,
    &latentd__v1__set_job_priority_request__descriptor,
    &latentd__v1__get_model_request__descriptor,
    &latentd__v1__get_status_request__descriptor,
    &grpc__health__v1__health_check_request__descriptor,
    &latentd__v1__drain_request__descriptor,
};
#define N_MESSAGES (sizeof messages / sizeof *messages)

/* Packed bytes of a message; owned by `out`. */
static void pack(const ProtobufCMessage *message, struct ltd_bytes *out)
{
    ltd_bytes_init(out);
    size_t n = protobuf_c_message_get_packed_size(message);
    uint8_t *room = ltd_bytes_reserve(out, n);
    FUZZ_CHECK(room, "no memory for %zu bytes", n);
    out->len = protobuf_c_message_pack(message, room);
    FUZZ_CHECK(out->len == n, "%zu bytes packed, %zu announced", out->len, n);
}

/* What was accepted once is accepted again, and is then the same bytes. */
static void check_canonical(const ProtobufCMessage *message)
{
    struct ltd_bytes first, second;
    struct ltd_err err = {0};
    struct unpack u;
    pack(message, &first);
    ProtobufCMessage *again = unpack_request(&u, message->descriptor, first.data, first.len, &err);
    /* Packed anew a message may be shorter (a field that stood twice), and its budget with it. */
    FUZZ_CHECK(again || err.code == LTD_E_EXHAUSTED, "accepted, packed, refused: %s", err.msg);
    if (again) {
        pack(again, &second);
        FUZZ_CHECK(first.len == second.len && memcmp(first.data, second.data, first.len) == 0,
                   "%s: %zu bytes became %zu", message->descriptor->name, first.len, second.len);
        ltd_bytes_fini(&second);
        unpack_free(&u);
    }
    ltd_bytes_fini(&first);
}

static void check_depth(const struct spec_depth *depth, const struct served *served)
{
    FUZZ_CHECK(depth->rule.max_steps >= 1 && depth->rule.max_steps <= served->max_steps, "%d steps",
               depth->rule.max_steps);
    FUZZ_CHECK(depth->n_at >= 0 && depth->n_at <= SPEC_DEPTH_AT_MAX, "%d depths", depth->n_at);
    for (int32_t i = 0; i < depth->n_at; i++)
        FUZZ_CHECK(depth->at[i].steps >= 1 && depth->at[i].steps <= served->max_steps &&
                       depth->at[i].token >= 0 &&
                       (i == 0 || depth->at[i].token > depth->at[i - 1].token),
                   "%d steps for token %d", depth->at[i].steps, depth->at[i].token);
}

static void check_spec(const struct job_spec *spec, const struct served *served)
{
    const struct spec_sampling *s = &spec->sampling;
    FUZZ_CHECK(spec->n_prompt >= 1 && spec->n_prompt <= served->model.max_positions, "%d tokens",
               spec->n_prompt);
    for (int32_t i = 0; i < spec->n_prompt; i++)
        FUZZ_CHECK(spec->prompt[i] >= 0 && spec->prompt[i] < served->model.vocab, "token id %d",
                   spec->prompt[i]);
    if (spec->kind == SPEC_SCORE)
        FUZZ_CHECK(spec->score_begin >= 1 && spec->score_begin < spec->n_prompt, "begin %d of %d",
                   spec->score_begin, spec->n_prompt);
    else
        FUZZ_CHECK(spec->max_tokens >= 1 &&
                       spec->n_prompt + spec->max_tokens <= served->model.max_positions,
                   "%d + %d tokens", spec->n_prompt, spec->max_tokens);
    check_depth(&spec->depth, served);
    FUZZ_CHECK(isfinite(spec->init_scale) && spec->init_scale >= 0, "init_scale %g",
               (double)spec->init_scale);
    FUZZ_CHECK(s->temperature >= 0 && s->temperature <= 100 && s->top_p >= 0 && s->top_p <= 1 &&
                   s->min_p >= 0 && s->min_p <= 1 && s->top_k >= 0 &&
                   (spec->kind == SPEC_SCORE || s->repetition_penalty > 0),
               "sampling %g %g %g %d %g", s->temperature, s->top_p, s->min_p, s->top_k,
               s->repetition_penalty);
    FUZZ_CHECK(spec->n_logprobs >= -1 && spec->n_logprobs <= SPEC_LOGPROBS_MAX &&
                   spec->n_stop >= 0 && spec->n_stop <= SPEC_STOP_MAX && spec->priority >= 0 &&
                   spec->priority <= SPEC_PRIORITY_MAX,
               "%d logprobs, %d stops, priority %d", spec->n_logprobs, spec->n_stop,
               spec->priority);
    for (int32_t i = 0; i < spec->n_stop; i++)
        FUZZ_CHECK(spec->stop[i].len >= 1 && spec->stop[i].len <= SPEC_STOP_BYTES_MAX,
                   "stop of %zu", spec->stop[i].len);
    FUZZ_CHECK(strlen(spec->label) <= SPEC_LABEL_BYTES && strlen(spec->client) <= SPEC_CLIENT_BYTES,
               "texts beyond their bounds");
}

/* A restart decodes what was kept of the request; it must be the job that was accepted. */
static void check_kept(const struct job_spec *spec, const struct served *served)
{
    struct ltd_err err = {0};
    struct unpack u;
    const Latentd__V1__JobSpec *kept =
        unpack_request(&u, &latentd__v1__job_spec__descriptor, spec->wire, spec->wire_len, &err);
    FUZZ_CHECK(kept, "what was kept is refused: %s", err.msg);
    struct job_spec *again = spec_decode(kept, served, &err);
    FUZZ_CHECK(again, "what was kept is no job: %s", err.msg);
    FUZZ_CHECK(
        again->n_prompt == spec->n_prompt && again->max_tokens == spec->max_tokens &&
            again->n_stop == spec->n_stop && again->priority == spec->priority &&
            again->depth.rule.max_steps == spec->depth.rule.max_steps &&
            memcmp(&again->sampling, &spec->sampling, sizeof spec->sampling) == 0 &&
            memcmp(again->prompt, spec->prompt, (size_t)spec->n_prompt * sizeof *spec->prompt) == 0,
        "what was kept is another job");
    spec_destroy(again);
    unpack_free(&u);
}

static void decode_job(const Latentd__V1__JobSpec *message)
{
    struct ltd_err err = {0};
    struct job_spec *spec = spec_decode(message, fuzz_demo(), &err);
    if (!spec) {
        fuzz_check_refusal(&err);
        return;
    }
    check_spec(spec, fuzz_demo());
    check_kept(spec, fuzz_demo());
    spec_destroy(spec);
}

static void decode_score(const Latentd__V1__ScoreRequest *message)
{
    struct ltd_err err = {0};
    struct job_spec *spec = spec_decode_score(message, fuzz_demo(), &err);
    if (!spec) {
        fuzz_check_refusal(&err);
        return;
    }
    check_spec(spec, fuzz_demo());
    spec_destroy(spec);
}

static void decode_tokenize(const Latentd__V1__TokenizeRequest *message)
{
    struct ltd_err err = {0};
    struct model_tokens tokens;
    int rc = 0;
    model_tokens_init(&tokens);
    if (message->kind_case == LATENTD__V1__TOKENIZE_REQUEST__KIND_TEXT)
        rc = spec_encode_text(&message->text, message->no_special ? 0 : MODEL_ENCODE_ADD_SPECIAL,
                              fuzz_demo(), "text", &tokens, &err);
    else if (message->kind_case == LATENTD__V1__TOKENIZE_REQUEST__KIND_CHAT)
        rc = spec_render_chat(message->chat, fuzz_demo(), "chat", &tokens, &err);
    if (rc != 0)
        fuzz_check_refusal(&err);
    for (size_t i = 0; i < tokens.n; i++)
        FUZZ_CHECK(tokens.ids[i] >= 0 && tokens.ids[i] < fuzz_demo()->model.vocab, "token id %d",
                   tokens.ids[i]);
    model_tokens_fini(&tokens);
}

static void use(const ProtobufCMessage *message)
{
    const void *m = message;
    if (message->descriptor == &latentd__v1__job_spec__descriptor)
        decode_job(m);
    else if (message->descriptor == &latentd__v1__generate_request__descriptor)
        decode_job(((const Latentd__V1__GenerateRequest *)m)->spec);
    else if (message->descriptor == &latentd__v1__submit_job_request__descriptor)
        decode_job(((const Latentd__V1__SubmitJobRequest *)m)->spec);
    else if (message->descriptor == &latentd__v1__score_request__descriptor)
        decode_score(m);
    else if (message->descriptor == &latentd__v1__tokenize_request__descriptor)
        decode_tokenize(m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct fuzz_input in = {data, len};
    const ProtobufCMessageDescriptor *descriptor = messages[fuzz_u8(&in) % N_MESSAGES];
    struct ltd_err err = {0};
    struct unpack u;
    uint8_t *copy = fuzz_copy(in.data, in.len);
    ProtobufCMessage *message = unpack_request(&u, descriptor, copy, in.len, &err);
    free(copy); /* nothing of a message may point into the bytes it came from */
    if (message) {
        check_canonical(message);
        use(message);
        unpack_free(&u);
    } else {
        fuzz_check_refusal(&err);
    }
    FUZZ_CHECK(u.budget_bytes == u.total_bytes, "%zu of %zu bytes given back", u.budget_bytes,
               u.total_bytes);
    return 0;
}
