/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/daemon/test_wire.c - jobs and events as messages: what the generated code reads back.
 *
 * Tokens and stored specs are written by hand in daemon/wire.c, so every field is looked at through
 * the other door.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/wire.h"

#define OLD_ID "0123456789abcdefghijklmnop"

struct rig {
    struct store *store;
    const struct job *job;
    char id[JOB_ID_CHARS + 1];
};

static void keep_result(void *arg, const struct ltd_err *result)
{
    *(struct ltd_err *)arg = *result;
}

static void append(struct rig *rig, struct job_event event)
{
    struct ltd_err result = {0};
    store_append(rig->store, rig->id, &event, keep_result, &result);
    if (result.code != LTD_OK)
        fail_msg("%s", result.msg);
    rig->job = store_find(rig->store, rig->id);
}

static void queue(struct rig *rig, const char *continues)
{
    struct store_retention keep = {100, INT64_MAX, SIZE_MAX};
    struct job_id_maker maker = {0};
    rig->store = store_memory_create(&keep, NULL);
    assert_non_null(rig->store);
    job_id_make(&maker, rig->id);
    append(rig, (struct job_event){.kind = JOB_EV_QUEUED,
                                   .time_us = 100,
                                   .queued = {.request_id = "req",
                                              .label = "",
                                              .tier = "ref",
                                              .client = "unix:uid=7",
                                              .continues = continues,
                                              .seed = 1ull << 63,
                                              .prompt_tokens = 3,
                                              .position = 4,
                                              .priority = 31}});
}

static struct job_event token(int32_t id, enum engine_exit exit, double value)
{
    struct job_event e = {.kind = JOB_EV_TOKEN, .time_us = 300, .text = "x", .text_len = 1};
    e.token = (struct engine_token){
        .id = id, .steps = id + 1, .exit = exit, .criterion_value = value, .n_top = -1};
    e.token.has_value = exit != ENGINE_EXIT_FIXED;
    return e;
}

static struct job_event finished(enum job_finish reason, bool late)
{
    struct job_event e = {.kind = job_finish_kind(reason), .time_us = 400};
    e.finished.reason = reason;
    e.finished.late = late;
    e.finished.total_steps = 1ull << 40;
    e.text = "tail";
    e.text_len = 4;
    return e;
}

static Latentd__V1__Job *get(struct rig *rig, unsigned parts)
{
    struct ltd_bytes bytes;
    struct ltd_err err = {0};
    ltd_bytes_init(&bytes);
    if (wire_put_job(rig->store, rig->job, parts, &bytes, &err) != 0)
        fail_msg("%s", err.msg);
    Latentd__V1__Job *m = latentd__v1__job__unpack(NULL, bytes.len, bytes.data);
    assert_non_null(m);
    ltd_bytes_fini(&bytes);
    return m;
}

static Latentd__V1__JobEvent *next_event(struct rig *rig, uint64_t *seq)
{
    struct ltd_bytes bytes;
    struct ltd_err err = {0};
    ltd_bytes_init(&bytes);
    if (wire_put_events(rig->store, rig->job, seq, false, &bytes, &err) != 0)
        fail_msg("%s", err.msg);
    Latentd__V1__JobEvent *m = latentd__v1__job_event__unpack(NULL, bytes.len, bytes.data);
    assert_non_null(m);
    assert_int_equal(m->seq, *seq);
    ltd_bytes_fini(&bytes);
    return m;
}

static void expect_text(const ProtobufCBinaryData *found, const char *expected)
{
    if (found->len != strlen(expected) || memcmp(found->data, expected, found->len) != 0)
        fail_msg("found \"%.*s\", expected \"%s\"", (int)found->len, (const char *)found->data,
                 expected);
}

/* --------------------------------------------------------------------------------------- */

static void a_job_shows_on_whose_account_how_important_and_what_before(void **state)
{
    struct rig rig;
    (void)state;
    queue(&rig, OLD_ID);
    Latentd__V1__Job *m = get(&rig, 0);
    expect_text(&m->client, "unix:uid=7");
    expect_text(&m->continues, "jobs/" OLD_ID);
    assert_int_equal(m->priority, 31);
    assert_int_equal(m->predicted_end_us, 0);
    assert_int_equal(m->seed, 1ull << 63);
    assert_false(m->late);
    latentd__v1__job__free_unpacked(m, NULL);

    append(&rig, (struct job_event){.kind = JOB_EV_PRIORITY, .priority = 0});
    append(&rig, (struct job_event){.kind = JOB_EV_STARTED, .started = {.predicted_end_us = 987}});
    append(&rig, finished(JOB_FINISH_DEADLINE, true));
    m = get(&rig, WIRE_JOB_OUTPUT);
    assert_int_equal(m->priority, 0);
    assert_int_equal(m->predicted_end_us, 987);
    assert_true(m->late);
    expect_text(&m->output->tokens->text, "tail");
    latentd__v1__job__free_unpacked(m, NULL);
    store_destroy(rig.store);
}

static void a_job_that_continues_none_says_so(void **state)
{
    struct rig rig;
    (void)state;
    queue(&rig, "");
    Latentd__V1__Job *m = get(&rig, 0);
    assert_int_equal(m->continues.len, 0);
    latentd__v1__job__free_unpacked(m, NULL);
    store_destroy(rig.store);
}

static void every_event_is_a_message_with_what_it_carries(void **state)
{
    struct rig rig;
    uint64_t seq = 0;
    (void)state;
    queue(&rig, "");
    append(&rig, (struct job_event){.kind = JOB_EV_PRIORITY, .time_us = 150, .priority = 5});
    append(&rig, (struct job_event){.kind = JOB_EV_STARTED, .started = {.predicted_end_us = 987}});
    append(&rig, token(1, ENGINE_EXIT_CONVERGED, 0.5));
    append(&rig, token(2, ENGINE_EXIT_BUDGET, 0.75));
    append(&rig, (struct job_event){.kind = JOB_EV_PRIORITY, .priority = 0});
    append(&rig, token(3, ENGINE_EXIT_FIXED, 0));
    append(&rig, finished(JOB_FINISH_LENGTH, true));

    Latentd__V1__JobEvent *m = next_event(&rig, &seq);
    assert_int_equal(m->event_case, LATENTD__V1__JOB_EVENT__EVENT_QUEUED);
    assert_int_equal(m->queued->position, 4);
    latentd__v1__job_event__free_unpacked(m, NULL);
    m = next_event(&rig, &seq);
    assert_int_equal(m->event_case, LATENTD__V1__JOB_EVENT__EVENT_PRIORITIZED);
    assert_int_equal(m->prioritized->priority, 5);
    assert_int_equal(m->time_us, 150);
    latentd__v1__job_event__free_unpacked(m, NULL);
    m = next_event(&rig, &seq);
    assert_int_equal(m->event_case, LATENTD__V1__JOB_EVENT__EVENT_STARTED);
    assert_int_equal(m->started->predicted_end_us, 987);
    latentd__v1__job_event__free_unpacked(m, NULL);

    m = next_event(&rig, &seq); /* two tokens in one message, which another event ends */
    assert_int_equal(seq, 5);
    assert_int_equal(m->event_case, LATENTD__V1__JOB_EVENT__EVENT_TOKENS);
    assert_int_equal(m->tokens->n_ids, 2);
    assert_int_equal(m->tokens->steps[1], 3);
    assert_int_equal(m->tokens->exits[0], LATENTD__V1__EXIT_REASON__EXIT_REASON_CONVERGED);
    assert_int_equal(m->tokens->exits[1], LATENTD__V1__EXIT_REASON__EXIT_REASON_BUDGET);
    assert_int_equal(m->tokens->criterion_values[1] * 4, 3);
    latentd__v1__job_event__free_unpacked(m, NULL);

    m = next_event(&rig, &seq); /* priority 0 is a value, not an absence */
    assert_int_equal(m->event_case, LATENTD__V1__JOB_EVENT__EVENT_PRIORITIZED);
    assert_int_equal(m->prioritized->priority, 0);
    latentd__v1__job_event__free_unpacked(m, NULL);
    m = next_event(&rig, &seq);
    assert_int_equal(m->tokens->n_ids, 1);
    assert_int_equal(m->tokens->n_criterion_values, 0); /* a fixed depth has none */
    latentd__v1__job_event__free_unpacked(m, NULL);
    m = next_event(&rig, &seq);
    assert_int_equal(seq, rig.job->last_seq);
    assert_int_equal(m->event_case, LATENTD__V1__JOB_EVENT__EVENT_FINISHED);
    assert_true(m->finished->late);
    assert_int_equal(m->finished->output_tokens, 3);
    assert_int_equal(m->finished->total_steps, 1ull << 40);
    expect_text(&m->finished->text_tail, "tail");
    latentd__v1__job_event__free_unpacked(m, NULL);
    store_destroy(rig.store);
}

/* Every token of an adaptive job has a value, also one whose depth was given or whose rule had
 * nothing to compare with: what is merged must not shift. */
static void values_stand_beside_their_tokens_whatever_they_are(void **state)
{
    const double values[] = {0.5, 0, NAN, INFINITY, -0.0, 5e-324};
    const size_t n = sizeof values / sizeof *values;
    struct rig rig;
    uint64_t seq = 2;
    (void)state;
    queue(&rig, "");
    append(&rig, (struct job_event){.kind = JOB_EV_STARTED});
    for (size_t i = 0; i < n; i++) {
        struct job_event e = token((int32_t)i, ENGINE_EXIT_CONVERGED, values[i]);
        if (values[i] == 0)
            e.token.exit = ENGINE_EXIT_FIXED;
        append(&rig, e);
    }
    Latentd__V1__JobEvent *m = next_event(&rig, &seq);
    Latentd__V1__Job *job = get(&rig, WIRE_JOB_OUTPUT);
    assert_int_equal(m->tokens->n_criterion_values, n);
    assert_memory_equal(m->tokens->criterion_values, values, sizeof values);
    assert_int_equal(job->output->tokens->n_criterion_values, n);
    assert_memory_equal(job->output->tokens->criterion_values, values, sizeof values);
    latentd__v1__job_event__free_unpacked(m, NULL);
    latentd__v1__job__free_unpacked(job, NULL);
    store_destroy(rig.store);
}

/* From whatever event a reader goes on, it gets the rest and nothing twice. */
static void events_can_be_read_from_any_number(void **state)
{
    struct rig rig;
    uint32_t n_before[64] = {0}; /* tokens up to and with event i */
    (void)state;
    queue(&rig, "");
    append(&rig, (struct job_event){.kind = JOB_EV_STARTED});
    for (int32_t i = 0; i < 30; i++) {
        bool is_token = i % 7 != 3;
        if (is_token)
            append(&rig, token(i, ENGINE_EXIT_MAX_STEPS, i));
        else
            append(&rig, (struct job_event){.kind = JOB_EV_PRIORITY, .priority = 1});
        n_before[rig.job->last_seq] = rig.job->output_tokens;
    }
    append(&rig, finished(JOB_FINISH_STOP, false));
    n_before[rig.job->last_seq] = rig.job->output_tokens;
    for (uint64_t after = 0; after < rig.job->last_seq; after++) {
        uint64_t seq = after;
        uint32_t n = n_before[after];
        while (seq < rig.job->last_seq) {
            Latentd__V1__JobEvent *m = next_event(&rig, &seq);
            if (m->event_case == LATENTD__V1__JOB_EVENT__EVENT_TOKENS)
                n += (uint32_t)m->tokens->n_ids;
            assert_int_equal(n, n_before[seq]);
            latentd__v1__job_event__free_unpacked(m, NULL);
        }
        assert_int_equal(n, rig.job->output_tokens);
    }
    store_destroy(rig.store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_job_shows_on_whose_account_how_important_and_what_before),
        cmocka_unit_test(a_job_that_continues_none_says_so),
        cmocka_unit_test(every_event_is_a_message_with_what_it_carries),
        cmocka_unit_test(values_stand_beside_their_tokens_whatever_they_are),
        cmocka_unit_test(events_can_be_read_from_any_number),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
