/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/daemon/test_continuation.c - the spec of a continuation is what would have been asked at
 * once, and its known tokens are those of the old log.
 *
 * Specs are compared as packed bytes: a field that was forgotten, or that should not have changed,
 * shows whatever it is called.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/continuation.h"

/* ----------------------------------------------------------------------------- the old spec */

/* A spec with room for everything that it points to. */
struct old_spec {
    Latentd__V1__JobSpec spec;
    Latentd__V1__Prompt prompt;
    Latentd__V1__TokenIds ids;
    uint32_t prompt_ids[3];
    Latentd__V1__Sampling sampling;
    Latentd__V1__Depth depth;
    Latentd__V1__AdaptiveDepth adaptive;
    Latentd__V1__DepthAt at[40];
    Latentd__V1__DepthAt *ats[40];
    ProtobufCBinaryData stop[1];
};

static void init_old(struct old_spec *old)
{
    memset(old, 0, sizeof *old);
    latentd__v1__job_spec__init(&old->spec);
    latentd__v1__prompt__init(&old->prompt);
    latentd__v1__token_ids__init(&old->ids);
    latentd__v1__sampling__init(&old->sampling);
    latentd__v1__depth__init(&old->depth);
    latentd__v1__adaptive_depth__init(&old->adaptive);
    old->prompt_ids[0] = 9;
    old->prompt_ids[2] = 300;
    old->ids.ids = old->prompt_ids;
    old->ids.n_ids = 3;
    old->prompt.kind_case = LATENTD__V1__PROMPT__KIND_TOKENS;
    old->prompt.tokens = &old->ids;
    old->spec.prompt = &old->prompt;
    old->spec.max_tokens = 5;
}

/* Everything that a spec can say. */
static void init_full(struct old_spec *old)
{
    init_old(old);
    old->stop[0] = (ProtobufCBinaryData){.len = 3, .data = (uint8_t *)(uintptr_t) "end"};
    old->spec.stop = old->stop;
    old->spec.n_stop = 1;
    old->sampling.temperature_set_case = LATENTD__V1__SAMPLING__TEMPERATURE_SET_TEMPERATURE;
    old->sampling.temperature = 0.7;
    old->spec.sampling = &old->sampling;
    old->adaptive.criterion = LATENTD__V1__CRITERION__CRITERION_KL;
    old->adaptive.max_steps = 20;
    old->depth.mode_case = LATENTD__V1__DEPTH__MODE_ADAPTIVE;
    old->depth.adaptive = &old->adaptive;
    old->depth.tokenwise = true;
    old->depth.at = old->ats;
    old->spec.depth = &old->depth;
    old->spec.logprobs_set_case = LATENTD__V1__JOB_SPEC__LOGPROBS_SET_LOGPROBS;
    old->spec.logprobs = 4;
    old->spec.init_scale_set_case = LATENTD__V1__JOB_SPEC__INIT_SCALE_SET_INIT_SCALE;
    old->spec.max_run_ms = 1234;
    old->spec.label = (ProtobufCBinaryData){.len = 5, .data = (uint8_t *)(uintptr_t) "label"};
    old->spec.ignore_eos = true;
    old->spec.client = (ProtobufCBinaryData){.len = 2, .data = (uint8_t *)(uintptr_t) "me"};
}

static void add_depth(struct old_spec *old, uint32_t token, uint32_t steps)
{
    size_t n = old->depth.n_at++;
    assert_true(n < 40);
    latentd__v1__depth_at__init(&old->at[n]);
    old->at[n].token = token;
    old->at[n].steps = steps;
    old->ats[n] = &old->at[n];
    old->depth.at = old->ats;
    old->spec.depth = &old->depth;
}

static void set_seed(struct old_spec *old, uint64_t seed)
{
    old->sampling.seed_set_case = LATENTD__V1__SAMPLING__SEED_SET_SEED;
    old->sampling.seed = seed;
    old->spec.sampling = &old->sampling;
}

static void pack(const Latentd__V1__JobSpec *spec, struct ltd_bytes *out)
{
    ltd_bytes_init(out);
    uint8_t *at = ltd_bytes_reserve(out, latentd__v1__job_spec__get_packed_size(spec));
    assert_non_null(at);
    out->len = latentd__v1__job_spec__pack(spec, at);
}

static void expect_same(const Latentd__V1__JobSpec *found, const Latentd__V1__JobSpec *expected)
{
    struct ltd_bytes a, b;
    pack(found, &a);
    pack(expected, &b);
    if (a.len != b.len || memcmp(a.data, b.data, a.len) != 0) {
        print_message("found:   ");
        for (size_t i = 0; i < a.len; i++)
            print_message(" %02x", a.data[i]);
        print_message("\nexpected:");
        for (size_t i = 0; i < b.len; i++)
            print_message(" %02x", b.data[i]);
        fail_msg("the specs differ");
    }
    ltd_bytes_fini(&a);
    ltd_bytes_fini(&b);
}

static struct continuation_from from_of(const struct old_spec *old, uint32_t n_written,
                                        uint32_t last_steps)
{
    return (struct continuation_from){.spec = &old->spec,
                                      .seed = 77,
                                      .priority = SPEC_PRIORITY_DEFAULT,
                                      .n_written = n_written,
                                      .last_steps = last_steps};
}

static void rewrite(struct continuation_spec *out, const struct continuation_from *from,
                    uint32_t more_tokens, uint32_t more_steps)
{
    struct continuation_ask ask = {more_tokens, more_steps};
    struct ltd_err err = {0};
    if (continuation_rewrite(out, from, &ask, &err) != 0)
        fail_msg("%s", err.msg);
}

/* ------------------------------------------------------------------------------- rewriting */

static void more_tokens_change_the_length_and_name_the_seed(void **state)
{
    struct old_spec old, expected;
    struct continuation_spec next;
    (void)state;
    init_old(&old);
    struct continuation_from from = from_of(&old, 5, 16);
    rewrite(&next, &from, 3, 0);
    init_old(&expected);
    expected.spec.max_tokens = 8;
    set_seed(&expected, 77);
    expect_same(&next.spec, &expected.spec);
    assert_null(next.spec.depth); /* still the service's own depth */
}

static void everything_else_is_as_it_was_asked(void **state)
{
    struct old_spec old, expected;
    struct continuation_spec next;
    (void)state;
    init_full(&old);
    init_full(&expected);
    struct continuation_from from = from_of(&old, 4, 11);
    rewrite(&next, &from, 100, 48);
    expected.spec.max_tokens = 104;
    set_seed(&expected, 77);
    add_depth(&expected, 3, 59);
    expect_same(&next.spec, &expected.spec);
}

static void the_old_spec_is_not_touched(void **state)
{
    struct old_spec old, same;
    struct continuation_spec next;
    (void)state;
    init_full(&old);
    init_full(&same);
    add_depth(&old, 2, 5);
    add_depth(&same, 2, 5);
    struct continuation_from from = from_of(&old, 3, 5);
    rewrite(&next, &from, 1, 1);
    expect_same(&old.spec, &same.spec);
}

static void more_steps_alone_write_as_many_tokens_as_there_were(void **state)
{
    struct old_spec old, expected;
    struct continuation_spec next;
    (void)state;
    init_old(&old);
    struct continuation_from from = from_of(&old, 1, 16);
    rewrite(&next, &from, 0, 48);
    init_old(&expected);
    expected.spec.max_tokens = 1;
    set_seed(&expected, 77);
    add_depth(&expected, 0, 64); /* the prompt's own call */
    expect_same(&next.spec, &expected.spec);
}

static void depths_of_single_tokens_stay_in_order_and_within_the_length(void **state)
{
    struct old_spec old, expected;
    struct continuation_spec next;
    (void)state;
    init_full(&old);
    add_depth(&old, 1, 30);
    add_depth(&old, 3, 31); /* the last one that was written */
    add_depth(&old, 5, 32);
    add_depth(&old, 9, 33);
    struct continuation_from from = from_of(&old, 4, 31);
    rewrite(&next, &from, 2, 9); /* tokens 0 to 5 */
    init_full(&expected);
    expected.spec.max_tokens = 6;
    set_seed(&expected, 77);
    add_depth(&expected, 1, 30);
    add_depth(&expected, 3, 40);
    add_depth(&expected, 5, 32);
    expect_same(&next.spec, &expected.spec);

    rewrite(&next, &from, 6, 0); /* tokens 0 to 9, nothing is thought again */
    init_full(&expected);
    expected.spec.max_tokens = 10;
    set_seed(&expected, 77);
    for (size_t i = 0; i < 4; i++)
        add_depth(&expected, old.at[i].token, old.at[i].steps);
    expect_same(&next.spec, &expected.spec);
}

static void as_many_tokens_have_their_own_depth_as_a_spec_can_hold(void **state)
{
    struct old_spec old;
    struct continuation_spec next;
    struct continuation_ask ask = {.more_tokens = 10, .more_steps = 1};
    struct ltd_err err = {0};
    (void)state;
    init_full(&old);
    for (uint32_t i = 0; i < SPEC_DEPTH_AT_MAX; i++)
        add_depth(&old, 2 * i, 5);
    struct continuation_from from = from_of(&old, 2 * SPEC_DEPTH_AT_MAX, 5);
    assert_int_equal(continuation_rewrite(&next, &from, &ask, &err), -1); /* an odd one: new */
    assert_int_equal(err.code, LTD_E_PRECONDITION);
    from.n_written = 21; /* the new one stands before others, and all of them are still needed */
    ask.more_tokens = 100;
    from.spec = &old.spec;
    rewrite(&next, &from, 100, 1); /* token 20 has one: replaced */
    assert_int_equal(next.spec.depth->n_at, SPEC_DEPTH_AT_MAX);
    assert_int_equal(next.at[10]->token, 20);
    assert_int_equal(next.at[10]->steps, 6);
    from.n_written = 22;
    assert_int_equal(continuation_rewrite(&next, &from, &ask, &err), -1);
    assert_int_equal(err.code, LTD_E_PRECONDITION);
    rewrite(&next, &from, 10, 1); /* those behind token 31 are dropped, so there is room */
    assert_int_equal(next.spec.depth->n_at, 17);
    rewrite(&next, &from, 100, 0); /* none is added */
    assert_int_equal(next.spec.depth->n_at, SPEC_DEPTH_AT_MAX);
}

/* As the seed: what the old job had by default is what the new one asks for. */
static void early_steps_are_written_down_where_there_were_any(void **state)
{
    (void)state;
    for (int says = 0; says < 2; says++) {
        struct old_spec old, expected;
        struct continuation_spec out;
        init_old(&old);
        init_old(&expected);
        set_seed(&expected, 77);
        Latentd__V1__Depth old_depth = LATENTD__V1__DEPTH__INIT, new_depth;
        old_depth.tokenwise = true;
        new_depth = old_depth;
        new_depth.early_steps_set_case = LATENTD__V1__DEPTH__EARLY_STEPS_SET_EARLY_STEPS;
        new_depth.early_steps = 6;
        old.spec.depth = says ? &old_depth : NULL;
        new_depth.tokenwise = says;
        expected.spec.depth = &new_depth;
        struct continuation_from from = from_of(&old, 5, 16);
        from.early_steps = 6;
        rewrite(&out, &from, 3, 0);
        expected.spec.max_tokens = 8;
        expect_same(&out.spec, &expected.spec);
    }
}

static void sums_beyond_32_bits_are_refused(void **state)
{
    struct old_spec old;
    struct continuation_spec next;
    struct continuation_ask tokens = {.more_tokens = UINT32_MAX},
                            steps = {.more_steps = UINT32_MAX};
    struct ltd_err err = {0};
    (void)state;
    init_old(&old);
    struct continuation_from from = from_of(&old, 1, 1);
    assert_int_equal(continuation_rewrite(&next, &from, &tokens, &err), -1);
    assert_int_equal(err.code, LTD_E_INVALID);
    assert_non_null(strstr(err.msg, "more_tokens"));
    assert_int_equal(continuation_rewrite(&next, &from, &steps, &err), -1);
    assert_int_equal(err.code, LTD_E_INVALID);
    assert_non_null(strstr(err.msg, "more_steps"));
    rewrite(&next, &from, UINT32_MAX - 1, UINT32_MAX - 1);
    assert_int_equal(next.spec.max_tokens, UINT32_MAX);
    assert_int_equal(next.last.steps, UINT32_MAX);
}

static void the_priority_is_the_last_one_that_the_old_job_had(void **state)
{
    const struct {
        bool is_set;
        uint32_t asked, last;
        bool is_set_then;
    } cases[] = {
        {false, 0, 16, false}, /* the default is left to be the default */
        {false, 0, 20, true},  {true, 16, 16, true},
        {true, 3, 3, true},    {true, 0, 16, true}, /* held at first: it is not held again */
        {true, 16, 0, true},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct old_spec old;
        struct continuation_spec next;
        init_old(&old);
        if (cases[i].is_set)
            old.spec.priority_set_case = LATENTD__V1__JOB_SPEC__PRIORITY_SET_PRIORITY;
        old.spec.priority = cases[i].asked;
        struct continuation_from from = from_of(&old, 1, 1);
        from.priority = cases[i].last;
        rewrite(&next, &from, 1, 0);
        assert_int_equal(next.spec.priority_set_case != 0, cases[i].is_set_then);
        if (cases[i].is_set_then)
            assert_int_equal(next.spec.priority, cases[i].last);
    }
}

/* Whatever was made of an old job is known again from the new spec alone. */
static void a_spec_tells_what_it_can_have_been_asked_for(void **state)
{
    (void)state;
    for (uint32_t n_written = 1; n_written <= 3; n_written++)
        for (uint32_t more_tokens = 0; more_tokens <= 3; more_tokens++)
            for (uint32_t more_steps = more_tokens == 0; more_steps <= 3; more_steps++) {
                const struct continuation_ask ask = {more_tokens, more_steps};
                const struct continuation_ask longer = {more_tokens + n_written, more_steps};
                const struct continuation_ask deeper = {more_tokens, more_steps + 8};
                const struct continuation_ask nothing = {0, 0};
                struct old_spec old;
                struct continuation_spec next;
                init_old(&old);
                add_depth(&old, 0, 5);
                struct continuation_from from = from_of(&old, n_written, 8);
                rewrite(&next, &from, more_tokens, more_steps);
                assert_true(continuation_could_give(&next.spec, &ask));
                assert_false(continuation_could_give(&next.spec, &longer));
                assert_false(continuation_could_give(&next.spec, &deeper));
                assert_false(continuation_could_give(&next.spec, &nothing));
            }
}

/* One continuation after the other asks for what one of them would have asked for. */
static void two_continuations_are_as_good_as_one(void **state)
{
    struct old_spec old;
    struct continuation_spec first, second, both;
    (void)state;
    init_full(&old);
    add_depth(&old, 1, 30);
    struct continuation_from from = from_of(&old, 4, 8);
    rewrite(&first, &from, 3, 0); /* 7 tokens */
    struct continuation_from then = from;
    then.spec = &first.spec;
    then.n_written = 7;
    rewrite(&second, &then, 5, 0); /* 12 tokens */
    rewrite(&both, &from, 8, 0);
    expect_same(&second.spec, &both.spec);

    rewrite(&first, &from, 0, 10); /* 4 tokens, the last with 18 steps */
    then.spec = &first.spec;
    then.n_written = 4;
    then.last_steps = 18;
    rewrite(&second, &then, 2, 30); /* 6 tokens, token 3 with 48 steps */
    rewrite(&both, &from, 2, 40);
    expect_same(&second.spec, &both.spec);
}

/* ---------------------------------------------------------------------------------- checks */

static void a_job_is_continued_when_there_is_something_to_go_on_with(void **state)
{
    enum { NO, TOKENS, STEPS, BOTH };
    /* By the old job's state and end, with 0 tokens and with some: what may be asked for? */
    const struct {
        enum job_state state;
        enum job_finish finish;
        int allowed; /* bits: more tokens alone, more steps */
    } cases[] = {
        {JOB_NONE, JOB_FINISH_NONE, NO},
        {JOB_QUEUED, JOB_FINISH_NONE, NO},
        {JOB_RUNNING, JOB_FINISH_NONE, NO},
        {JOB_SUCCEEDED, JOB_FINISH_EOS, STEPS},
        {JOB_SUCCEEDED, JOB_FINISH_STOP, STEPS},
        {JOB_SUCCEEDED, JOB_FINISH_LENGTH, BOTH},
        {JOB_CANCELLED, JOB_FINISH_CANCELLED, BOTH},
        {JOB_FAILED, JOB_FINISH_DEADLINE, BOTH},
        {JOB_FAILED, JOB_FINISH_ERROR, NO},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (uint32_t n_written = 0; n_written < 3; n_written++) {
            for (uint32_t bits = 0; bits < 4; bits++) {
                struct continuation_ask ask = {bits & 1 ? 5 : 0, bits & 2 ? 5 : 0};
                struct ltd_err err = {0};
                struct job job;
                job_init(&job, "0123456789abcdefghijklmnop");
                job.state = cases[i].state;
                job.finish = cases[i].finish;
                job.output_tokens = n_written;
                bool is_fine = n_written > 0 && bits != 0 &&
                               (bits & 2 ? cases[i].allowed & STEPS : cases[i].allowed & TOKENS);
                enum ltd_code expected = is_fine     ? LTD_OK
                                         : bits == 0 ? LTD_E_INVALID
                                                     : LTD_E_PRECONDITION;
                int rc = continuation_check(&job, &ask, &err);
                if (err.code != expected || (rc == 0) != is_fine)
                    fail_msg("state %s, finish %d, %u tokens, ask %u: found %d, \"%s\", expected "
                             "code %d",
                             job_state_name(job.state), job.finish, n_written, bits, rc, err.msg,
                             expected);
            }
        }
    }
}

/* ------------------------------------------------------------------------ from the old log */

struct log_rig {
    struct store *store;
    const struct job *job;
    char id[JOB_ID_CHARS + 1];
};

static void keep_result(void *arg, const struct ltd_err *result)
{
    *(struct ltd_err *)arg = *result;
}

static void append(struct log_rig *rig, struct job_event event)
{
    struct ltd_err result = {0};
    store_append(rig->store, rig->id, &event, keep_result, &result);
    if (result.code != LTD_OK)
        fail_msg("%s", result.msg);
}

#define N_WRITTEN 6

/* The token that the test's job wrote at place i. */
static struct job_event written(int32_t i)
{
    static const char *const texts[N_WRITTEN] = {"a", "", "\xe2\x82\xac", "d", "", "f"};
    struct job_event e = {.kind = JOB_EV_TOKEN, .time_us = 100 + i};
    e.token = (struct engine_token){.id = 40 + i,
                                    .steps = 10 + i,
                                    .exit = ENGINE_EXIT_CONVERGED,
                                    .has_value = true,
                                    .criterion_value = 0.5 * i,
                                    .logprob = -0.25f * (float)i,
                                    .n_top = 1,
                                    .top = {{40 + i, -0.25f * (float)i}}};
    e.text = texts[i];
    e.text_len = strlen(texts[i]);
    return e;
}

static void open_log(struct log_rig *rig, const struct old_spec *old, enum job_finish reason)
{
    struct store_retention keep = {100, INT64_MAX, SIZE_MAX};
    struct ltd_bytes wire;
    struct job_id_maker maker = {0};
    pack(&old->spec, &wire);
    rig->store = store_memory_create(&keep, NULL);
    assert_non_null(rig->store);
    job_id_make(&maker, rig->id);
    append(rig, (struct job_event){.kind = JOB_EV_QUEUED,
                                   .queued = {.request_id = "",
                                              .label = "",
                                              .tier = "ref",
                                              .client = "",
                                              .continues = "",
                                              .seed = 77,
                                              .priority = SPEC_PRIORITY_DEFAULT,
                                              .spec = wire.data,
                                              .spec_len = wire.len}});
    append(rig, (struct job_event){.kind = JOB_EV_STARTED});
    for (int32_t i = 0; i < N_WRITTEN; i++) {
        append(rig, written(i));
        if (i == 2) /* something that is no token in between */
            append(rig, (struct job_event){.kind = JOB_EV_PRIORITY, .priority = 20});
    }
    struct job_event end = {.kind = job_finish_kind(reason), .text = "tail", .text_len = 4};
    end.finished.reason = reason;
    append(rig, end);
    rig->job = store_find(rig->store, rig->id);
    ltd_bytes_fini(&wire);
}

static void the_known_tokens_are_those_of_the_log(void **state)
{
    struct old_spec old, expected;
    struct log_rig rig;
    struct continuation c;
    struct ltd_err err = {0};
    (void)state;
    init_full(&old);
    open_log(&rig, &old, JOB_FINISH_LENGTH);
    for (uint32_t more_steps = 0; more_steps <= 7; more_steps += 7) {
        struct continuation_ask ask = {.more_tokens = 4, .more_steps = more_steps};
        assert_int_equal(continuation_read(&c, rig.store, rig.job, &ask, &err), 0);
        /* The last token is chosen again when it is thought about again. */
        assert_int_equal(c.known.n, more_steps ? N_WRITTEN - 1 : N_WRITTEN);
        for (int32_t i = 0; i < c.known.n; i++) {
            assert_int_equal(c.known.ids[i], 40 + i);
            assert_int_equal(c.known.steps[i], 10 + i);
        }
        init_full(&expected);
        set_seed(&expected, 77);
        expected.spec.max_tokens = N_WRITTEN + 4;
        expected.spec.priority_set_case = LATENTD__V1__JOB_SPEC__PRIORITY_SET_PRIORITY;
        expected.spec.priority = 20;
        if (more_steps)
            add_depth(&expected, N_WRITTEN - 1, 10 + N_WRITTEN - 1 + 7);
        expect_same(&c.next.spec, &expected.spec);
        continuation_fini(&c);
    }
    store_destroy(rig.store);
}

static void every_finish_reason_decides_what_is_known(void **state)
{
    const struct {
        enum job_finish reason;
        bool tokens, steps;
    } cases[] = {
        {JOB_FINISH_EOS, false, true},     {JOB_FINISH_STOP, false, true},
        {JOB_FINISH_LENGTH, true, true},   {JOB_FINISH_CANCELLED, true, true},
        {JOB_FINISH_DEADLINE, true, true},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct continuation_ask tokens = {.more_tokens = 1}, steps = {.more_steps = 1};
        struct old_spec old;
        struct log_rig rig;
        struct continuation c;
        struct ltd_err err = {0};
        init_old(&old);
        open_log(&rig, &old, cases[i].reason);
        bool is_read = continuation_read(&c, rig.store, rig.job, &tokens, &err) == 0;
        assert_int_equal(is_read, cases[i].tokens);
        if (is_read)
            assert_int_equal(c.known.n, N_WRITTEN);
        else
            assert_int_equal(err.code, LTD_E_PRECONDITION);
        continuation_fini(&c);
        is_read = continuation_read(&c, rig.store, rig.job, &steps, &err) == 0;
        assert_int_equal(is_read, cases[i].steps);
        assert_int_equal(c.known.n, N_WRITTEN - 1);
        continuation_fini(&c);
        store_destroy(rig.store);
    }
}

static void a_spec_that_cannot_be_read_is_an_error(void **state)
{
    struct store_retention keep = {100, INT64_MAX, SIZE_MAX};
    struct log_rig rig = {.store = store_memory_create(&keep, NULL)};
    struct job_id_maker maker = {0};
    struct continuation_ask ask = {.more_tokens = 1};
    struct continuation c;
    struct ltd_err err = {0};
    struct job_event end = {.kind = JOB_EV_SUCCEEDED};
    (void)state;
    job_id_make(&maker, rig.id);
    append(&rig, (struct job_event){.kind = JOB_EV_QUEUED,
                                    .queued = {.request_id = "",
                                               .label = "",
                                               .tier = "",
                                               .client = "",
                                               .continues = "",
                                               .spec = (const uint8_t *)"\x0a\x7f",
                                               .spec_len = 2}});
    append(&rig, (struct job_event){.kind = JOB_EV_STARTED});
    append(&rig, written(0));
    end.finished.reason = JOB_FINISH_LENGTH;
    append(&rig, end);
    assert_int_equal(continuation_read(&c, rig.store, store_find(rig.store, rig.id), &ask, &err),
                     -1);
    assert_int_equal(err.code, LTD_E_CORRUPT);
    assert_null(c.old);
    store_destroy(rig.store);
}

/* ----------------------------------------------------------------------------- known tokens */

static void expect_stored_equal(const struct job_event *a, const struct job_event *b)
{
    struct ltd_bytes x, y;
    ltd_bytes_init(&x);
    ltd_bytes_init(&y);
    job_event_encode(a, &x);
    job_event_encode(b, &y);
    assert_int_equal(x.len, y.len);
    assert_memory_equal(x.data, y.data, x.len);
    ltd_bytes_fini(&x);
    ltd_bytes_fini(&y);
}

/* Also while the log that they come from is a job that was deleted. */
static void the_tokens_of_a_log_come_one_by_one_and_whole(void **state)
{
    struct old_spec old;
    struct log_rig rig;
    struct continuation_tokens tokens;
    struct ltd_err err = {0};
    (void)state;
    init_old(&old);
    open_log(&rig, &old, JOB_FINISH_CANCELLED);
    store_pin(rig.store, rig.job);
    continuation_tokens_init(&tokens, rig.store, rig.job);
    for (int32_t i = 0; i < N_WRITTEN; i++) {
        struct job_event expected = written(i);
        struct job_event *found = continuation_tokens_next(&tokens, &err);
        if (!found)
            fail_msg("token %d: %s", i, err.msg);
        expect_stored_equal(found, &expected);
        if (i == 1)
            store_forget(rig.store, rig.job, NULL, NULL);
    }
    assert_null(continuation_tokens_next(&tokens, &err));
    assert_int_equal(err.code, LTD_E_CORRUPT);
    continuation_tokens_fini(&tokens);
    store_unpin(rig.store, rig.job);
    store_destroy(rig.store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(more_tokens_change_the_length_and_name_the_seed),
        cmocka_unit_test(everything_else_is_as_it_was_asked),
        cmocka_unit_test(the_old_spec_is_not_touched),
        cmocka_unit_test(more_steps_alone_write_as_many_tokens_as_there_were),
        cmocka_unit_test(depths_of_single_tokens_stay_in_order_and_within_the_length),
        cmocka_unit_test(as_many_tokens_have_their_own_depth_as_a_spec_can_hold),
        cmocka_unit_test(early_steps_are_written_down_where_there_were_any),
        cmocka_unit_test(sums_beyond_32_bits_are_refused),
        cmocka_unit_test(the_priority_is_the_last_one_that_the_old_job_had),
        cmocka_unit_test(a_spec_tells_what_it_can_have_been_asked_for),
        cmocka_unit_test(two_continuations_are_as_good_as_one),
        cmocka_unit_test(a_job_is_continued_when_there_is_something_to_go_on_with),
        cmocka_unit_test(the_known_tokens_are_those_of_the_log),
        cmocka_unit_test(every_finish_reason_decides_what_is_known),
        cmocka_unit_test(a_spec_that_cannot_be_read_is_an_error),
        cmocka_unit_test(the_tokens_of_a_log_come_one_by_one_and_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
