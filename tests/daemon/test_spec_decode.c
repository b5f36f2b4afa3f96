/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/daemon/test_spec_decode.c - requests as they arrive: what is accepted, and what is said of
 * the rest.
 *
 * Every request goes the whole way: packed by the generated code, unpacked with the budget,
 * decoded. A bad request is a good one with one thing wrong; the table says which status and which
 * words.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/spec_decode.h"
#include "daemon/unpack.h"

#define TOKENIZER TEST_DATA_DIR "/tokenizer/huginn.tokenizer.json"
#define CONTEXT   64
#define VOCAB     2056

static struct served text_model, plain_model;
static struct model_tokenizer *tokenizer;
static struct model_chat chat;

static int open_models(void **state)
{
    struct ltd_err err = {0};
    (void)state;
    snprintf(plain_model.name, sizeof plain_model.name, "models/tiny");
    plain_model.model.vocab = VOCAB;
    plain_model.model.max_positions = CONTEXT;
    plain_model.default_steps = 8;
    plain_model.max_steps = 16;
    plain_model.default_max_tokens = 20;
    plain_model.generation = (struct model_generation){
        .temperature = 0.7, .top_k = 40, .top_p = 0.9, .min_p = 0.05, .repetition_penalty = 1.1};
    snprintf(plain_model.no_text, sizeof plain_model.no_text, "no tokenizer.json");
    snprintf(plain_model.no_chat, sizeof plain_model.no_chat, "no chat tokens");
    text_model = plain_model;
    snprintf(text_model.early_format, sizeof text_model.early_format, "int8");
    text_model.early_steps = 3;
    tokenizer = model_tokenizer_open(TOKENIZER, VOCAB, &err);
    if (!tokenizer || model_chat_init(&chat, tokenizer, &err) != 0)
        fail_msg("%s", err.msg);
    text_model.tokenizer = tokenizer;
    text_model.token_bytes_max = 32;
    text_model.chat = &chat;
    return 0;
}

static int close_models(void **state)
{
    (void)state;
    model_tokenizer_close(tokenizer);
    return 0;
}

static ProtobufCBinaryData bytes_of(const char *text)
{
    return (ProtobufCBinaryData){strlen(text), (uint8_t *)(uintptr_t)text};
}

/* A request with all its parts, so that a row of a table can spoil any of them. */
struct request {
    Latentd__V1__JobSpec spec;
    Latentd__V1__Prompt prompt;
    Latentd__V1__TokenIds ids;
    uint32_t id[200];
    Latentd__V1__Chat chat;
    Latentd__V1__ChatMessage turn;
    Latentd__V1__ChatMessage *turns[1];
    Latentd__V1__Depth depth;
    Latentd__V1__AdaptiveDepth adaptive;
    Latentd__V1__DepthRange range;
    Latentd__V1__DepthAt at[40], *ats[40];
    Latentd__V1__Budget budget;
    Latentd__V1__Sampling sampling;
    ProtobufCBinaryData stop[20];
};

static void init_request(struct request *r)
{
    latentd__v1__job_spec__init(&r->spec);
    latentd__v1__prompt__init(&r->prompt);
    latentd__v1__token_ids__init(&r->ids);
    latentd__v1__chat__init(&r->chat);
    latentd__v1__chat_message__init(&r->turn);
    latentd__v1__depth__init(&r->depth);
    latentd__v1__adaptive_depth__init(&r->adaptive);
    latentd__v1__depth_range__init(&r->range);
    latentd__v1__budget__init(&r->budget);
    latentd__v1__sampling__init(&r->sampling);
    for (uint32_t i = 0; i < 40; i++) {
        latentd__v1__depth_at__init(&r->at[i]);
        r->at[i].token = i;
        r->at[i].steps = 5;
        r->ats[i] = &r->at[i];
    }
    r->depth.at = r->ats;
    for (uint32_t i = 0; i < 200; i++)
        r->id[i] = i;
    r->ids.n_ids = 3;
    r->ids.ids = r->id;
    r->turns[0] = &r->turn;
    r->turn.role = bytes_of("user");
    r->turn.content = bytes_of("hello");
    r->chat.n_messages = 1;
    r->chat.messages = r->turns;
    r->prompt.kind_case = LATENTD__V1__PROMPT__KIND_TOKENS;
    r->prompt.tokens = &r->ids;
    r->spec.prompt = &r->prompt;
    r->spec.depth = &r->depth;
    r->spec.sampling = &r->sampling;
    for (size_t i = 0; i < 20; i++)
        r->stop[i] = bytes_of("x");
    r->spec.stop = r->stop;
}

/* Over the wire and back; NULL with *err when it was refused. */
static struct job_spec *send_request(const struct request *r, const struct served *served,
                                     struct ltd_err *err)
{
    struct unpack u;
    size_t len = latentd__v1__job_spec__get_packed_size(&r->spec);
    uint8_t *wire = malloc(len + 1);
    assert_non_null(wire);
    latentd__v1__job_spec__pack(&r->spec, wire);
    Latentd__V1__JobSpec *m =
        unpack_request(&u, &latentd__v1__job_spec__descriptor, wire, len, err);
    struct job_spec *spec = m ? spec_decode(m, served, err) : NULL;
    if (m)
        unpack_free(&u);
    free(wire);
    return spec;
}

static struct job_spec *accept(const struct request *r, const struct served *served)
{
    struct ltd_err err = {0};
    struct job_spec *spec = send_request(r, served, &err);
    if (!spec)
        fail_msg("refused: %s", err.msg);
    return spec;
}

/* --------------------------------------------------------------------------------- good */

static void defaults_come_from_the_served_model(void **state)
{
    struct request r;
    (void)state;
    init_request(&r);
    r.spec.depth = NULL;
    r.spec.sampling = NULL;
    struct job_spec *spec = accept(&r, &plain_model);
    assert_int_equal(spec->kind, SPEC_GENERATE);
    assert_int_equal(spec->n_prompt, 3);
    assert_int_equal(spec->max_tokens, 20);
    assert_int_equal(spec->depth.rule.kind, MODEL_EXIT_FIXED);
    assert_int_equal(spec->depth.rule.max_steps, 8);
    assert_false(spec->depth.is_range || spec->depth.is_tokenwise);
    assert_int_equal(spec->depth.n_at, 0);
    assert_false(spec_is_elastic(spec));
    assert_true(spec->budget.token_ms == 0 && spec->budget.total_ms == 0);
    assert_int_equal(spec->priority, 16);
    assert_string_equal(spec->client, "");
    assert_true(spec->sampling.temperature == 0); /* do_sample is false */
    assert_int_equal(spec->sampling.top_k, 40);
    assert_true(spec->sampling.top_p == 0.9 && spec->sampling.min_p == 0.05);
    assert_true(spec->sampling.repetition_penalty == 1.1);
    assert_true(spec->init_scale == 1);
    assert_int_equal(spec->n_logprobs, -1);
    assert_false(spec->seed_given);
    spec_destroy(spec);
    struct served sampled = plain_model;
    sampled.generation.do_sample = true;
    spec = accept(&r, &sampled);
    assert_true(spec->sampling.temperature == 0.7);
    spec_destroy(spec);
}

static void values_that_are_given_are_kept_zero_included(void **state)
{
    struct request r;
    (void)state;
    init_request(&r);
    r.spec.model = bytes_of("models/tiny");
    r.spec.max_tokens = 61;
    r.depth.mode_case = LATENTD__V1__DEPTH__MODE_FIXED_STEPS;
    r.depth.fixed_steps = 16;
    r.sampling.temperature_set_case = LATENTD__V1__SAMPLING__TEMPERATURE_SET_TEMPERATURE;
    r.sampling.temperature = 0.25;
    r.sampling.top_k_set_case = LATENTD__V1__SAMPLING__TOP_K_SET_TOP_K;
    r.sampling.top_p_set_case = LATENTD__V1__SAMPLING__TOP_P_SET_TOP_P;
    r.sampling.min_p_set_case = LATENTD__V1__SAMPLING__MIN_P_SET_MIN_P;
    r.sampling.seed_set_case = LATENTD__V1__SAMPLING__SEED_SET_SEED;
    r.spec.logprobs_set_case = LATENTD__V1__JOB_SPEC__LOGPROBS_SET_LOGPROBS;
    r.spec.init_scale_set_case = LATENTD__V1__JOB_SPEC__INIT_SCALE_SET_INIT_SCALE;
    r.spec.max_run_ms = UINT64_MAX;
    r.spec.label = bytes_of("nightly \xc3\xa4");
    r.spec.ignore_eos = 1;
    struct job_spec *spec = accept(&r, &plain_model);
    assert_int_equal(spec->max_tokens, 61); /* 3 + 61 fill the context of 64 */
    assert_int_equal(spec->depth.rule.max_steps, 16);
    assert_true(spec->sampling.temperature == 0.25);
    assert_true(spec->sampling.top_k == 0 && spec->sampling.top_p == 0 &&
                spec->sampling.min_p == 0);
    assert_true(spec->seed_given && spec->seed == 0);
    assert_int_equal(spec->n_logprobs, 0);
    assert_true(spec->init_scale == 0);
    assert_true(spec->max_run_ms == UINT64_MAX);
    assert_string_equal(spec->label, "nightly \xc3\xa4");
    assert_true(spec->ignore_eos);
    spec_destroy(spec);
}

static void an_adaptive_depth_has_its_own_defaults(void **state)
{
    struct request r;
    (void)state;
    init_request(&r);
    r.depth.mode_case = LATENTD__V1__DEPTH__MODE_ADAPTIVE;
    r.depth.adaptive = &r.adaptive;
    struct job_spec *spec = accept(&r, &plain_model);
    assert_int_equal(spec->depth.rule.kind, MODEL_EXIT_LATENT_DIFF);
    assert_int_equal(spec->depth.rule.min_steps, 1);
    assert_int_equal(spec->depth.rule.max_steps, 16);
    assert_int_equal(spec->depth.rule.check_every, 1);
    assert_true(spec->depth.rule.threshold == 0.03);
    spec_destroy(spec);
    r.adaptive.min_steps = 4;
    r.adaptive.max_steps = 4;
    r.adaptive.threshold_set_case = LATENTD__V1__ADAPTIVE_DEPTH__THRESHOLD_SET_THRESHOLD;
    r.adaptive.threshold = 1e-9;
    spec = accept(&r, &plain_model);
    assert_int_equal(spec->depth.rule.min_steps, 4);
    assert_int_equal(spec->depth.rule.max_steps, 4);
    assert_true(spec->depth.rule.threshold == 1e-9);
    spec_destroy(spec);
}

/* The numbers of the wire, the rules and their published thresholds, written out. */
static void every_criterion_has_its_own_rule_and_threshold(void **state)
{
    static const struct {
        int criterion;
        enum model_exit_kind kind;
        double threshold;
    } rows[] = {
        {0, MODEL_EXIT_LATENT_DIFF, 0.03},  {1, MODEL_EXIT_LATENT_DIFF, 0.03},
        {2, MODEL_EXIT_COSINE, 1e-3},       {3, MODEL_EXIT_ACCELERATION, 0.03},
        {4, MODEL_EXIT_KL, 1e-3},           {5, MODEL_EXIT_MINP_KL, 1e-5},
        {6, MODEL_EXIT_ENTROPY_DIFF, 1e-3}, {7, MODEL_EXIT_ARGMAX_STABILITY, 5},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct request r;
        init_request(&r);
        r.depth.mode_case = LATENTD__V1__DEPTH__MODE_ADAPTIVE;
        r.depth.adaptive = &r.adaptive;
        r.depth.tokenwise = true;
        r.adaptive.criterion = (Latentd__V1__Criterion)rows[i].criterion;
        r.adaptive.check_every = (uint32_t)i;
        struct job_spec *spec = accept(&r, &plain_model);
        const struct model_exit_rule *rule = &spec->depth.rule;
        if (rule->kind != rows[i].kind || rule->threshold != rows[i].threshold)
            fail_msg("criterion %d: rule %d with %g, expected %d with %g", rows[i].criterion,
                     rule->kind, rule->threshold, rows[i].kind, rows[i].threshold);
        assert_int_equal(rule->check_every, i ? i : 1);
        assert_true(spec->depth.is_tokenwise);
        assert_false(spec_is_elastic(spec));
        spec_destroy(spec);
    }
}

static void a_range_and_a_budget_let_time_choose(void **state)
{
    struct request r;
    (void)state;
    init_request(&r);
    r.depth.mode_case = LATENTD__V1__DEPTH__MODE_RANGE;
    r.depth.range = &r.range;
    struct job_spec *spec = accept(&r, &plain_model);
    assert_true(spec->depth.is_range);
    assert_int_equal(spec->depth.rule.kind, MODEL_EXIT_FIXED);
    assert_int_equal(spec->depth.rule.min_steps, 1);
    assert_int_equal(spec->depth.rule.max_steps, 16);
    assert_true(spec_is_elastic(spec));
    spec_destroy(spec);
    r.range.min_steps = 5;
    r.range.max_steps = 9;
    r.spec.budget = &r.budget;
    r.budget.token_ms = 40;
    r.budget.total_ms = 20000;
    spec = accept(&r, &plain_model);
    assert_int_equal(spec->depth.rule.min_steps, 5);
    assert_int_equal(spec->depth.rule.max_steps, 9);
    assert_true(spec->budget.token_ms == 40 && spec->budget.total_ms == 20000);
    spec_destroy(spec);
    /* A budget makes an adaptive depth elastic and leaves a fixed one alone. */
    r.depth.mode_case = LATENTD__V1__DEPTH__MODE_ADAPTIVE;
    r.depth.adaptive = &r.adaptive;
    spec = accept(&r, &plain_model);
    assert_false(spec->depth.is_range);
    assert_true(spec_is_elastic(spec));
    spec_destroy(spec);
    r.depth.mode_case = LATENTD__V1__DEPTH__MODE_FIXED_STEPS;
    r.depth.fixed_steps = 3;
    r.depth.tokenwise = true;
    spec = accept(&r, &plain_model);
    assert_false(spec_is_elastic(spec));
    assert_true(spec->budget.total_ms == 20000);
    spec_destroy(spec);
}

static void single_tokens_may_have_depths_of_their_own(void **state)
{
    struct request r;
    (void)state;
    init_request(&r);
    r.depth.n_at = 32;
    r.spec.max_tokens = 61;
    r.at[31].token = 60;
    r.at[31].steps = 16;
    struct job_spec *spec = accept(&r, &plain_model);
    assert_int_equal(spec->depth.n_at, 32);
    assert_int_equal(spec->depth.at[0].token, 0);
    assert_int_equal(spec->depth.at[0].steps, 5);
    assert_int_equal(spec->depth.at[31].token, 60);
    assert_int_equal(spec->depth.at[31].steps, 16);
    spec_destroy(spec);
    /* Without max_tokens the default counts. */
    r.spec.max_tokens = 0;
    r.depth.n_at = 1;
    r.at[0].token = 19;
    spec = accept(&r, &plain_model);
    assert_int_equal(spec->depth.at[0].token, 19);
    spec_destroy(spec);
}

static void priority_and_client_are_kept(void **state)
{
    struct request r;
    (void)state;
    static const uint32_t priorities[] = {0, 1, 31};
    static const char longest[] =
        "0123456789 abcdefghijklmnopqrstuvwxyz ~ ABCDEFGHIJKLMNOPQRSTUVWX";
    assert_int_equal(sizeof longest - 1, SPEC_CLIENT_BYTES);
    for (size_t i = 0; i < sizeof priorities / sizeof *priorities; i++) {
        init_request(&r);
        r.spec.priority_set_case = LATENTD__V1__JOB_SPEC__PRIORITY_SET_PRIORITY;
        r.spec.priority = priorities[i];
        r.spec.client = bytes_of(longest);
        struct job_spec *spec = accept(&r, &plain_model);
        assert_int_equal(spec->priority, priorities[i]);
        assert_string_equal(spec->client, longest);
        spec_destroy(spec);
    }
}

static void a_default_length_stops_at_the_context(void **state)
{
    struct request r;
    (void)state;
    init_request(&r);
    r.ids.n_ids = 60;
    struct job_spec *spec = accept(&r, &plain_model);
    assert_int_equal(spec->max_tokens, 4);
    spec_destroy(spec);
}

static void a_seed_is_picked_anew_for_each_job(void **state)
{
    struct request r;
    (void)state;
    init_request(&r);
    struct job_spec *a = accept(&r, &plain_model), *b = accept(&r, &plain_model);
    assert_true(a->seed != b->seed);
    assert_int_equal(a->wire_len, b->wire_len);
    assert_memory_equal(a->wire, b->wire, a->wire_len);
    spec_destroy(a);
    spec_destroy(b);
}

static void text_and_chat_become_tokens(void **state)
{
    struct request r;
    (void)state;
    init_request(&r);
    r.prompt.kind_case = LATENTD__V1__PROMPT__KIND_TEXT;
    r.prompt.text = bytes_of("hello");
    r.spec.n_stop = 2;
    r.stop[0] = (ProtobufCBinaryData){3, (uint8_t *)(uintptr_t) "a\0b"};
    struct job_spec *spec = accept(&r, &text_model);
    assert_int_equal(spec->prompt[0], chat.begin_text); /* the template's head, */
    assert_int_not_equal(spec->prompt[spec->n_prompt - 1], chat.end_text); /* not its tail */
    assert_int_equal(spec->n_stop, 2);
    assert_int_equal(spec->stop[0].len, 3);
    assert_memory_equal(spec->stop[0].text, "a\0b", 3);
    spec_destroy(spec);
    /* Text that spells a special token is text. */
    r.prompt.text = bytes_of("<|end_text|>");
    spec = accept(&r, &text_model);
    for (int32_t i = 1; i < spec->n_prompt; i++)
        assert_int_not_equal(spec->prompt[i], chat.end_text);
    spec_destroy(spec);
    r.prompt.kind_case = LATENTD__V1__PROMPT__KIND_CHAT;
    r.prompt.chat = &r.chat;
    spec = accept(&r, &text_model);
    assert_int_equal(spec->prompt[0], chat.begin_text);
    assert_int_equal(spec->prompt[1], chat.begin_header);
    spec_destroy(spec);
}

/* ----------------------------------------------------------------------------- bad */

static char long_text[70000];

static void no_prompt(struct request *r)
{
    r->spec.prompt = NULL;
}
static void empty_prompt(struct request *r)
{
    r->prompt.kind_case = 0;
}
static void no_ids(struct request *r)
{
    r->ids.n_ids = 0;
}
static void id_at_vocab(struct request *r)
{
    r->id[1] = VOCAB;
}
static void id_huge(struct request *r)
{
    r->id[2] = UINT32_MAX;
}
static void prompt_too_long(struct request *r)
{
    r->ids.n_ids = CONTEXT + 1;
}
static void prompt_fills(struct request *r)
{
    r->ids.n_ids = CONTEXT;
}
static void too_many_tokens(struct request *r)
{
    r->spec.max_tokens = 62;
}
static void tokens_overflow(struct request *r)
{
    r->spec.max_tokens = UINT32_MAX;
}
static void other_model(struct request *r)
{
    r->spec.model = bytes_of("models/big");
}
static void model_prefix(struct request *r)
{
    r->spec.model = bytes_of("models/tin");
}
static void model_not_text(struct request *r)
{
    r->spec.model = bytes_of("\xff");
}

static void set_temperature(struct request *r, double v)
{
    r->sampling.temperature_set_case = LATENTD__V1__SAMPLING__TEMPERATURE_SET_TEMPERATURE;
    r->sampling.temperature = v;
}
static void cold(struct request *r)
{
    set_temperature(r, -0.1);
}
static void hot(struct request *r)
{
    set_temperature(r, 100.5);
}
static void temperature_nan(struct request *r)
{
    set_temperature(r, NAN);
}
static void temperature_inf(struct request *r)
{
    set_temperature(r, INFINITY);
}
static void top_k_high(struct request *r)
{
    r->sampling.top_k_set_case = LATENTD__V1__SAMPLING__TOP_K_SET_TOP_K;
    r->sampling.top_k = VOCAB + 1;
}
static void top_p_high(struct request *r)
{
    r->sampling.top_p_set_case = LATENTD__V1__SAMPLING__TOP_P_SET_TOP_P;
    r->sampling.top_p = 1.01;
}
static void min_p_nan(struct request *r)
{
    r->sampling.min_p_set_case = LATENTD__V1__SAMPLING__MIN_P_SET_MIN_P;
    r->sampling.min_p = NAN;
}
static void set_penalty(struct request *r, double v)
{
    r->sampling.repetition_penalty_set_case =
        LATENTD__V1__SAMPLING__REPETITION_PENALTY_SET_REPETITION_PENALTY;
    r->sampling.repetition_penalty = v;
}
static void no_penalty(struct request *r)
{
    set_penalty(r, 0);
}
static void penalty_inf(struct request *r)
{
    set_penalty(r, INFINITY);
}
static void set_fixed(struct request *r, uint32_t steps)
{
    r->depth.mode_case = LATENTD__V1__DEPTH__MODE_FIXED_STEPS;
    r->depth.fixed_steps = steps;
}
static void no_steps(struct request *r)
{
    set_fixed(r, 0);
}
static void too_deep(struct request *r)
{
    set_fixed(r, 17);
}
static void set_adaptive(struct request *r)
{
    r->depth.mode_case = LATENTD__V1__DEPTH__MODE_ADAPTIVE;
    r->depth.adaptive = &r->adaptive;
}
static void criterion_unknown(struct request *r)
{
    set_adaptive(r);
    r->adaptive.criterion = (Latentd__V1__Criterion)8;
}
static void criterion_negative(struct request *r)
{
    set_adaptive(r);
    r->adaptive.criterion = (Latentd__V1__Criterion)-1;
}
static void set_threshold(struct request *r, double v)
{
    set_adaptive(r);
    r->adaptive.threshold_set_case = LATENTD__V1__ADAPTIVE_DEPTH__THRESHOLD_SET_THRESHOLD;
    r->adaptive.threshold = v;
}
static void threshold_zero(struct request *r)
{
    set_threshold(r, 0);
}
static void threshold_nan(struct request *r)
{
    set_threshold(r, NAN);
}
static void threshold_inf(struct request *r)
{
    set_threshold(r, INFINITY);
}
static void adaptive_too_deep(struct request *r)
{
    set_adaptive(r);
    r->adaptive.max_steps = 17;
}
static void min_above_max(struct request *r)
{
    set_adaptive(r);
    r->adaptive.min_steps = 9;
    r->adaptive.max_steps = 8;
}
static void min_above_default_max(struct request *r)
{
    set_adaptive(r);
    r->adaptive.min_steps = 17;
}
static void criterion_half_counted(struct request *r)
{
    set_threshold(r, 2.5);
    r->adaptive.criterion = LATENTD__V1__CRITERION__CRITERION_ARGMAX_STABILITY;
}
static void criterion_uncounted(struct request *r)
{
    set_threshold(r, 0);
    r->adaptive.criterion = LATENTD__V1__CRITERION__CRITERION_ARGMAX_STABILITY;
}
static void checks_too_rare(struct request *r)
{
    set_adaptive(r);
    r->adaptive.max_steps = 8;
    r->adaptive.check_every = 9;
}
static void set_range(struct request *r)
{
    r->depth.mode_case = LATENTD__V1__DEPTH__MODE_RANGE;
    r->depth.range = &r->range;
}
static void range_too_deep(struct request *r)
{
    set_range(r);
    r->range.max_steps = 17;
}
static void range_upside_down(struct request *r)
{
    set_range(r);
    r->range.min_steps = 6;
    r->range.max_steps = 5;
}
static void range_tokenwise(struct request *r)
{
    set_range(r);
    r->depth.tokenwise = true;
}
static void set_total_ms(struct request *r, uint64_t ms)
{
    r->spec.budget = &r->budget;
    r->budget.total_ms = ms;
}
static void budget_tokenwise(struct request *r)
{
    set_adaptive(r);
    set_total_ms(r, 1000);
    r->depth.tokenwise = true;
}
static void budget_too_long(struct request *r)
{
    set_total_ms(r, UINT64_MAX);
}
static void token_budget_too_long(struct request *r)
{
    r->spec.budget = &r->budget;
    r->budget.token_ms = 31622400001;
}
static void too_many_depths(struct request *r)
{
    r->depth.n_at = 33;
}
static void depth_twice(struct request *r)
{
    r->depth.n_at = 3;
    r->at[2].token = 1;
}
static void depth_far_off(struct request *r)
{
    r->depth.n_at = 1;
    r->at[0].token = UINT32_MAX;
}
static void depth_behind_the_end(struct request *r)
{
    r->depth.n_at = 5;
    r->spec.max_tokens = 4;
}
static void depth_of_nothing(struct request *r)
{
    r->depth.n_at = 2;
    r->at[1].steps = 0;
}
static void depth_too_deep(struct request *r)
{
    r->depth.n_at = 2;
    r->at[1].steps = 17;
}
static void set_early(struct request *r, uint32_t steps)
{
    r->depth.early_steps_set_case = LATENTD__V1__DEPTH__EARLY_STEPS_SET_EARLY_STEPS;
    r->depth.early_steps = steps;
}
static void early_one(struct request *r)
{
    set_early(r, 1);
}
static void early_too_many(struct request *r)
{
    set_early(r, 17);
}
static void early_huge(struct request *r)
{
    set_early(r, UINT32_MAX);
}
static void priority_too_high(struct request *r)
{
    r->spec.priority_set_case = LATENTD__V1__JOB_SPEC__PRIORITY_SET_PRIORITY;
    r->spec.priority = 32;
}
static void client_too_long(struct request *r)
{
    r->spec.client = bytes_of("0123456789 abcdefghijklmnopqrstuvwxyz ~ ABCDEFGHIJKLMNOPQRSTUVWXY");
}
static void client_not_ascii(struct request *r)
{
    r->spec.client = bytes_of("h\xc3\xa4ns");
}
static void client_with_newline(struct request *r)
{
    r->spec.client = bytes_of("me\n");
}
static void too_many_logprobs(struct request *r)
{
    r->spec.logprobs_set_case = LATENTD__V1__JOB_SPEC__LOGPROBS_SET_LOGPROBS;
    r->spec.logprobs = 33;
}
static void set_scale(struct request *r, double v)
{
    r->spec.init_scale_set_case = LATENTD__V1__JOB_SPEC__INIT_SCALE_SET_INIT_SCALE;
    r->spec.init_scale = v;
}
static void scale_negative(struct request *r)
{
    set_scale(r, -1);
}
static void scale_nan(struct request *r)
{
    set_scale(r, NAN);
}
static void scale_high(struct request *r)
{
    set_scale(r, 1e300);
}
static void too_many_stops(struct request *r)
{
    r->spec.n_stop = 17;
}
static void empty_stop(struct request *r)
{
    r->spec.n_stop = 2;
    r->stop[1].len = 0;
}
static void long_stop(struct request *r)
{
    r->spec.n_stop = 1;
    r->stop[0] = (ProtobufCBinaryData){257, (uint8_t *)long_text};
}
static void stop_not_text(struct request *r)
{
    r->spec.n_stop = 2;
    r->stop[1] = bytes_of("ab\xc3");
}
static void stop_one(struct request *r)
{
    r->spec.n_stop = 1;
}
static void long_label(struct request *r)
{
    r->spec.label = (ProtobufCBinaryData){129, (uint8_t *)long_text};
}
static void label_with_nul(struct request *r)
{
    r->spec.label = (ProtobufCBinaryData){3, (uint8_t *)(uintptr_t) "a\0b"};
}
static void label_with_newline(struct request *r)
{
    r->spec.label = bytes_of("a\nb");
}
static void set_text(struct request *r, const char *text, size_t len)
{
    r->prompt.kind_case = LATENTD__V1__PROMPT__KIND_TEXT;
    r->prompt.text = (ProtobufCBinaryData){len, (uint8_t *)(uintptr_t)text};
}
static void text_hello(struct request *r)
{
    set_text(r, "hello", 5);
}
static void text_overlong(struct request *r)
{
    set_text(r, "ab\xc0\x80", 4);
}
static void text_surrogate(struct request *r)
{
    set_text(r, "\xed\xa0\x80", 3);
}
static void text_cut(struct request *r)
{
    set_text(r, "\xe2\x82", 2);
}
static void text_too_long(struct request *r)
{
    set_text(r, long_text, 2000);
}
static void text_far_too_long(struct request *r)
{
    set_text(r, long_text, 70000);
}
static void set_chat(struct request *r)
{
    r->prompt.kind_case = LATENTD__V1__PROMPT__KIND_CHAT;
    r->prompt.chat = &r->chat;
}
static void chat_silent(struct request *r)
{
    set_chat(r);
    r->chat.n_messages = 0;
}
static void chat_no_role(struct request *r)
{
    set_chat(r);
    r->turn.role.len = 0;
}
static void chat_not_text(struct request *r)
{
    set_chat(r);
    r->turn.content = bytes_of("\x80");
}

static const struct bad {
    void (*spoil)(struct request *r);
    const struct served *served;
    enum ltd_code code;
    const char *words;
} bad[] = {
    {no_prompt, &plain_model, LTD_E_INVALID, "spec.prompt: absent, expected text, tokens or chat"},
    {empty_prompt, &plain_model, LTD_E_INVALID, "spec.prompt: absent"},
    {no_ids, &plain_model, LTD_E_INVALID, "spec.prompt: found no tokens, expected at least one"},
    {id_at_vocab, &plain_model, LTD_E_INVALID,
     "spec.prompt.tokens.ids[1]: found 2056, expected a token id below 2056"},
    {id_huge, &plain_model, LTD_E_INVALID, "spec.prompt.tokens.ids[2]: found 4294967295"},
    {prompt_too_long, &plain_model, LTD_E_INVALID,
     "spec.prompt.tokens: found 65 tokens, expected fewer than the context of 64"},
    {prompt_fills, &plain_model, LTD_E_INVALID, "spec.prompt: found 64 tokens, expected fewer"},
    {too_many_tokens, &plain_model, LTD_E_INVALID,
     "spec.max_tokens: found 62 behind a prompt of 3 tokens, expected at most 61 in a context of "
     "64"},
    {tokens_overflow, &plain_model, LTD_E_INVALID, "spec.max_tokens: found 4294967295"},
    {other_model, &plain_model, LTD_E_NOT_FOUND,
     "model: found \"models/big\", expected \"\" or \"models/tiny\""},
    {model_prefix, &plain_model, LTD_E_NOT_FOUND, "found \"models/tin\""},
    {model_not_text, &plain_model, LTD_E_INVALID, "model: byte 1 of 1 is not UTF-8"},
    {cold, &plain_model, LTD_E_INVALID,
     "spec.sampling.temperature: found -0.1, expected a number from 0 to 100"},
    {hot, &plain_model, LTD_E_INVALID, "spec.sampling.temperature: found 100.5"},
    {temperature_nan, &plain_model, LTD_E_INVALID, "spec.sampling.temperature: found nan"},
    {temperature_inf, &plain_model, LTD_E_INVALID, "spec.sampling.temperature: found inf"},
    {top_k_high, &plain_model, LTD_E_INVALID, "spec.sampling.top_k: found 2057"},
    {top_p_high, &plain_model, LTD_E_INVALID, "spec.sampling.top_p: found 1.01"},
    {min_p_nan, &plain_model, LTD_E_INVALID, "spec.sampling.min_p: found nan"},
    {no_penalty, &plain_model, LTD_E_INVALID,
     "spec.sampling.repetition_penalty: found 0, expected a finite number above 0"},
    {penalty_inf, &plain_model, LTD_E_INVALID, "spec.sampling.repetition_penalty: found inf"},
    {no_steps, &plain_model, LTD_E_INVALID, "spec: depth.fixed_steps: found 0, expected 1 to 16"},
    {too_deep, &plain_model, LTD_E_INVALID, "depth.fixed_steps: found 17, expected 1 to 16"},
    {criterion_unknown, &plain_model, LTD_E_UNIMPLEMENTED, "depth.adaptive.criterion: found 8"},
    {criterion_negative, &plain_model, LTD_E_UNIMPLEMENTED, "depth.adaptive.criterion: found -1"},
    {threshold_zero, &plain_model, LTD_E_INVALID,
     "depth.adaptive.threshold: found 0, expected a finite number above 0"},
    {threshold_nan, &plain_model, LTD_E_INVALID, "depth.adaptive.threshold: found nan"},
    {threshold_inf, &plain_model, LTD_E_INVALID, "depth.adaptive.threshold: found inf"},
    {adaptive_too_deep, &plain_model, LTD_E_INVALID, "depth.adaptive.max_steps: found 17"},
    {min_above_max, &plain_model, LTD_E_INVALID,
     "depth.adaptive.min_steps: found 9, expected at most max_steps, which is 8"},
    {min_above_default_max, &plain_model, LTD_E_INVALID, "depth.adaptive.min_steps: found 17"},
    {criterion_half_counted, &plain_model, LTD_E_INVALID,
     "spec: depth.adaptive.threshold: found 2.5, expected a whole number of checks, at least 1"},
    {criterion_uncounted, &plain_model, LTD_E_INVALID, "found 0, expected a whole number"},
    {checks_too_rare, &plain_model, LTD_E_INVALID,
     "depth.adaptive.check_every: found 9, expected at most max_steps, which is 8"},
    {range_too_deep, &plain_model, LTD_E_INVALID,
     "spec: depth.range.max_steps: found 17, expected at most 16"},
    {range_upside_down, &plain_model, LTD_E_INVALID,
     "depth.range.min_steps: found 6, expected at most max_steps, which is 5"},
    {range_tokenwise, &plain_model, LTD_E_INVALID,
     "spec: depth.tokenwise: found together with a range, expected a fixed or an adaptive depth"},
    {budget_tokenwise, &plain_model, LTD_E_INVALID,
     "spec.depth.tokenwise: found together with a budget, expected no budget or a fixed depth"},
    {budget_too_long, &plain_model, LTD_E_INVALID,
     "spec.budget.total_ms: found 18446744073709551615, expected at most 31622400000, a year"},
    {token_budget_too_long, &plain_model, LTD_E_INVALID,
     "spec.budget.token_ms: found 31622400001, expected at most 31622400000"},
    {too_many_depths, &plain_model, LTD_E_INVALID,
     "spec: depth.at: found 33 tokens, expected at most 32"},
    {depth_twice, &plain_model, LTD_E_INVALID,
     "depth.at[2].token: found 1, expected rising indices of tokens, each once"},
    {depth_far_off, &plain_model, LTD_E_INVALID, "depth.at[0].token: found 4294967295"},
    {depth_behind_the_end, &plain_model, LTD_E_INVALID,
     "spec: depth.at[4].token: found 4, expected an index below max_tokens, which is 4"},
    {depth_of_nothing, &plain_model, LTD_E_INVALID, "depth.at[1].steps: found 0, expected 1 to 16"},
    {depth_too_deep, &plain_model, LTD_E_INVALID, "depth.at[1].steps: found 17, expected 1 to 16"},
    {early_one, &plain_model, LTD_E_INVALID,
     "spec: depth.early_steps: found 1, expected 0: this service holds its weights in one format"},
    {early_too_many, &text_model, LTD_E_INVALID,
     "spec: depth.early_steps: found 17, expected 0 to 16"},
    {early_huge, &text_model, LTD_E_INVALID, "depth.early_steps: found 4294967295"},
    {priority_too_high, &plain_model, LTD_E_INVALID, "spec.priority: found 32, expected 0 to 31"},
    {client_too_long, &plain_model, LTD_E_INVALID,
     "spec.client: found 65 characters, expected at most 64"},
    {client_not_ascii, &plain_model, LTD_E_INVALID,
     "spec.client: found byte 0xc3 at 2, expected printable ASCII"},
    {client_with_newline, &plain_model, LTD_E_INVALID, "spec.client: found byte 0x0a at 3"},
    {too_many_logprobs, &plain_model, LTD_E_INVALID, "spec.logprobs: found 33, expected 0 to 32"},
    {scale_negative, &plain_model, LTD_E_INVALID, "spec.init_scale: found -1"},
    {scale_nan, &plain_model, LTD_E_INVALID, "spec.init_scale: found nan"},
    {scale_high, &plain_model, LTD_E_INVALID, "spec.init_scale: found 1e+300"},
    {too_many_stops, &text_model, LTD_E_INVALID,
     "spec.stop: found 17 strings, expected at most 16"},
    {empty_stop, &text_model, LTD_E_INVALID, "spec.stop[1]: found 0 bytes, expected 1 to 256"},
    {long_stop, &text_model, LTD_E_INVALID, "spec.stop[0]: found 257 bytes"},
    {stop_not_text, &text_model, LTD_E_INVALID, "stop[1]: byte 3 of 3 is not UTF-8"},
    {stop_one, &plain_model, LTD_E_INVALID, "spec.stop: there is no text to stop at"},
    {long_label, &plain_model, LTD_E_INVALID, "spec.label: found 129 bytes, expected at most 128"},
    {label_with_nul, &plain_model, LTD_E_INVALID, "spec.label: found control character 0x00"},
    {label_with_newline, &plain_model, LTD_E_INVALID, "spec.label: found control character 0x0a"},
    {text_hello, &plain_model, LTD_E_INVALID,
     "spec.prompt.text: text cannot be read (no tokenizer.json), expected token ids"},
    {text_overlong, &text_model, LTD_E_INVALID, "prompt.text: byte 3 of 4 is not UTF-8"},
    {text_surrogate, &text_model, LTD_E_INVALID, "prompt.text: byte 1 of 3 is not UTF-8"},
    {text_cut, &text_model, LTD_E_INVALID, "prompt.text: byte 1 of 2 is not UTF-8"},
    {text_too_long, &text_model, LTD_E_INVALID, "expected fewer than the context of 64"},
    {text_far_too_long, &text_model, LTD_E_INVALID,
     "spec.prompt.text: found 70000 bytes of text, expected at most 2048"},
    {set_chat, &plain_model, LTD_E_INVALID, "spec.prompt.chat: no chat with this model"},
    {chat_silent, &text_model, LTD_E_INVALID, "spec.prompt.chat.messages: found 0, expected 1"},
    {chat_no_role, &text_model, LTD_E_INVALID, "spec.prompt.chat"},
    {chat_not_text, &text_model, LTD_E_INVALID,
     "prompt.chat.messages[0].content: byte 1 of 1 is not UTF-8"},
};

static void every_bad_request_is_refused_with_field_found_and_expected(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof long_text; i++)
        long_text[i] = (char)('a' + i * 7 % 26);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct request r;
        struct ltd_err err = {0};
        init_request(&r);
        bad[i].spoil(&r);
        struct job_spec *spec = send_request(&r, bad[i].served, &err);
        if (spec || err.code != bad[i].code || !strstr(err.msg, bad[i].words))
            fail_msg("row %zu: expected %s: %s\nfound %s: %s", i, ltd_code_name(bad[i].code),
                     bad[i].words, ltd_code_name(err.code), err.msg);
    }
}

static void early_steps_are_the_services_unless_the_job_says(void **state)
{
    struct request r;
    (void)state;
    init_request(&r);
    const struct {
        bool says;
        uint32_t steps;
        const struct served *served;
        int32_t expected;
    } rows[] = {{false, 0, &plain_model, 0},
                {false, 0, &text_model, 3},
                {true, 0, &plain_model, 0},
                {true, 0, &text_model, 0},
                {true, 16, &text_model, 16}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        init_request(&r);
        if (rows[i].says)
            set_early(&r, rows[i].steps);
        struct job_spec *spec = accept(&r, rows[i].served);
        assert_int_equal(spec->depth.early_steps, rows[i].expected);
        spec_destroy(spec);
        r.spec.depth = NULL;
        spec = accept(&r, rows[i].served);
        assert_int_equal(spec->depth.early_steps, rows[i].served->early_steps);
        spec_destroy(spec);
    }
}

static void an_absent_spec_is_refused(void **state)
{
    struct ltd_err err = {0};
    (void)state;
    assert_null(spec_decode(NULL, &plain_model, &err));
    assert_int_equal(err.code, LTD_E_INVALID);
    assert_non_null(strstr(err.msg, "spec: absent"));
}

/* -------------------------------------------------------------------------------- score */

struct score_request {
    Latentd__V1__ScoreRequest m;
    Latentd__V1__Prompt context, continuation;
    Latentd__V1__TokenIds ids[2];
    uint32_t id[80];
};

static void init_score(struct score_request *r, size_t n_context, size_t n_continuation)
{
    latentd__v1__score_request__init(&r->m);
    Latentd__V1__Prompt *prompts[2] = {&r->context, &r->continuation};
    size_t n[2] = {n_context, n_continuation};
    for (size_t i = 0; i < 80; i++)
        r->id[i] = (uint32_t)i;
    for (size_t i = 0; i < 2; i++) {
        latentd__v1__prompt__init(prompts[i]);
        latentd__v1__token_ids__init(&r->ids[i]);
        r->ids[i].n_ids = n[i];
        r->ids[i].ids = r->id;
        prompts[i]->kind_case = LATENTD__V1__PROMPT__KIND_TOKENS;
        prompts[i]->tokens = &r->ids[i];
    }
    r->m.context = &r->context;
    r->m.continuation = &r->continuation;
}

static void a_score_request_marks_where_the_continuation_begins(void **state)
{
    struct score_request r;
    struct ltd_err err = {0};
    (void)state;
    init_score(&r, 5, 3);
    struct job_spec *spec = spec_decode_score(&r.m, &plain_model, &err);
    assert_non_null(spec);
    assert_int_equal(spec->kind, SPEC_SCORE);
    assert_int_equal(spec->n_prompt, 8);
    assert_int_equal(spec->score_begin, 5);
    spec_destroy(spec);
    r.m.context = NULL; /* the first token has nothing in front of it */
    spec = spec_decode_score(&r.m, &plain_model, &err);
    assert_non_null(spec);
    assert_int_equal(spec->n_prompt, 3);
    assert_int_equal(spec->score_begin, 1);
    spec_destroy(spec);
    init_score(&r, 32, 32); /* exactly the context */
    spec = spec_decode_score(&r.m, &plain_model, &err);
    assert_non_null(spec);
    spec_destroy(spec);
}

static void a_score_request_may_think_by_tokens_but_not_by_the_clock(void **state)
{
    struct score_request r;
    struct ltd_err err = {0};
    Latentd__V1__Depth depth = LATENTD__V1__DEPTH__INIT;
    Latentd__V1__AdaptiveDepth adaptive = LATENTD__V1__ADAPTIVE_DEPTH__INIT;
    Latentd__V1__DepthRange range = LATENTD__V1__DEPTH_RANGE__INIT;
    Latentd__V1__DepthAt at = LATENTD__V1__DEPTH_AT__INIT, *ats[1] = {&at};
    (void)state;
    init_score(&r, 5, 3);
    r.m.depth = &depth;
    depth.mode_case = LATENTD__V1__DEPTH__MODE_ADAPTIVE;
    depth.adaptive = &adaptive;
    depth.tokenwise = true;
    adaptive.criterion = LATENTD__V1__CRITERION__CRITERION_KL;
    struct job_spec *spec = spec_decode_score(&r.m, &plain_model, &err);
    if (!spec)
        fail_msg("%s", err.msg);
    assert_true(spec->depth.is_tokenwise);
    assert_int_equal(spec->depth.rule.kind, MODEL_EXIT_KL);
    assert_int_equal(spec->priority, 16);
    spec_destroy(spec);
    at.steps = 2;
    depth.at = ats;
    depth.n_at = 1;
    assert_null(spec_decode_score(&r.m, &plain_model, &err));
    assert_non_null(strstr(err.msg, "depth.at: found 1 tokens in a request to score"));
    depth.n_at = 0;
    depth.tokenwise = false;
    depth.mode_case = LATENTD__V1__DEPTH__MODE_RANGE;
    depth.range = &range;
    assert_null(spec_decode_score(&r.m, &plain_model, &err));
    assert_int_equal(err.code, LTD_E_INVALID);
    assert_non_null(strstr(err.msg, "depth.range: found one in a request to score"));
}

static void what_a_job_knows_goes_with_its_spec(void **state)
{
    struct request r;
    (void)state;
    init_request(&r);
    struct job_spec *spec = accept(&r, &plain_model);
    spec->known.n = 3;
    spec->known.ids = calloc(3, sizeof *spec->known.ids);
    spec->known.steps = calloc(3, sizeof *spec->known.steps);
    spec_destroy(spec); /* the sanitizers' build sees what is left behind */
}

static void bad_score_requests_are_refused(void **state)
{
    struct score_request r;
    struct ltd_err err = {0};
    (void)state;
    init_score(&r, 5, 0);
    assert_null(spec_decode_score(&r.m, &plain_model, &err));
    assert_non_null(strstr(err.msg, "continuation: found 0 tokens behind a context of 5"));
    init_score(&r, 0, 1);
    assert_null(spec_decode_score(&r.m, &plain_model, &err));
    assert_non_null(strstr(err.msg, "continuation: found 1 tokens behind a context of 0"));
    init_score(&r, 33, 32);
    assert_null(spec_decode_score(&r.m, &plain_model, &err));
    assert_non_null(strstr(err.msg, "found 65 tokens, expected fewer than the context of 64"));
    init_score(&r, 1, 1);
    r.m.continuation = NULL;
    assert_null(spec_decode_score(&r.m, &plain_model, &err));
    assert_non_null(strstr(err.msg, "continuation: absent"));
    init_score(&r, 1, 1);
    r.continuation.kind_case = LATENTD__V1__PROMPT__KIND_CHAT;
    assert_null(spec_decode_score(&r.m, &plain_model, &err));
    assert_non_null(strstr(err.msg, "continuation: found a chat"));
    init_score(&r, 1, 1);
    r.m.model = bytes_of("models/x");
    assert_null(spec_decode_score(&r.m, &plain_model, &err));
    assert_int_equal(err.code, LTD_E_NOT_FOUND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_come_from_the_served_model),
        cmocka_unit_test(values_that_are_given_are_kept_zero_included),
        cmocka_unit_test(an_adaptive_depth_has_its_own_defaults),
        cmocka_unit_test(every_criterion_has_its_own_rule_and_threshold),
        cmocka_unit_test(a_range_and_a_budget_let_time_choose),
        cmocka_unit_test(single_tokens_may_have_depths_of_their_own),
        cmocka_unit_test(priority_and_client_are_kept),
        cmocka_unit_test(a_default_length_stops_at_the_context),
        cmocka_unit_test(a_seed_is_picked_anew_for_each_job),
        cmocka_unit_test(text_and_chat_become_tokens),
        cmocka_unit_test(every_bad_request_is_refused_with_field_found_and_expected),
        cmocka_unit_test(early_steps_are_the_services_unless_the_job_says),
        cmocka_unit_test(an_absent_spec_is_refused),
        cmocka_unit_test(a_score_request_marks_where_the_continuation_begins),
        cmocka_unit_test(a_score_request_may_think_by_tokens_but_not_by_the_clock),
        cmocka_unit_test(what_a_job_knows_goes_with_its_spec),
        cmocka_unit_test(bad_score_requests_are_refused),
    };
    return cmocka_run_group_tests(tests, open_models, close_models);
}
