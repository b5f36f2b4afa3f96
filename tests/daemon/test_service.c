/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/daemon/test_service.c - every method over real connections, with an engine that obeys the
 * test.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "grpc/health/v1/health.pb-c.h"
#include "service_rig.h"

static int cancel_job(struct rig *rig, const char *name, int *state)
{
    Latentd__V1__Job *job;
    Latentd__V1__CancelJobRequest m = LATENTD__V1__CANCEL_JOB_REQUEST__INIT;
    m.name = wire_text(name, strlen(name));
    int status = rig_call(rig, "/latentd.v1.Jobs/Cancel", &m.base, &latentd__v1__job__descriptor,
                          &job, NULL);
    if (job) {
        *state = (int)job->state;
        latentd__v1__job__free_unpacked(job, NULL);
    }
    return status;
}

static int delete_job(struct rig *rig, const char *name)
{
    Latentd__V1__DeleteJobRequest m = LATENTD__V1__DELETE_JOB_REQUEST__INIT;
    m.name = wire_text(name, strlen(name));
    return rig_call(rig, "/latentd.v1.Jobs/Delete", &m.base,
                    &latentd__v1__delete_job_response__descriptor, NULL, NULL);
}

static int try_submit(struct rig *rig, uint32_t max_tokens, const char *request_id, char *message)
{
    struct rig_spec s;
    rig_make_spec(&s, max_tokens);
    return rig_submit_spec(rig, &s.spec, request_id, NULL, message);
}

static int state_of(struct rig *rig, const char *name)
{
    Latentd__V1__Job *job = rig_get(rig, name);
    if (!job)
        return -1;
    int state = (int)job->state;
    latentd__v1__job__free_unpacked(job, NULL);
    return state;
}

/* ------------------------------------------------------------------------- submit, watch */

static void a_submitted_job_is_computed_and_can_be_read_from_any_event_on(void **state)
{
    struct rig *rig = rig_open(10, 100);
    struct rig_name name = rig_submit(rig, 50, NULL);
    (void)state;
    rig_run_job(rig, 0, 50, ENGINE_FINISH_LENGTH);
    struct rig_stream *whole = rig_watch(rig, name.text, 0);
    EXPECT_STATUS(rig_stream_end(whole), LATENTD_OK);
    rig_expect_ids(whole, 100, 50);
    assert_int_equal(whole->last_seq, 53);
    assert_true(whole->has_job && whole->is_finished);
    assert_int_equal(whole->text.len, 100);
    rig_stream_free(whole);
    for (uint64_t after = 1; after <= 53; after++) {
        struct rig_stream *rest = rig_watch(rig, name.text, after);
        EXPECT_STATUS(rig_stream_end(rest), LATENTD_OK);
        size_t n = after < 2 ? 50 : after >= 52 ? 0 : 52 - (size_t)after;
        rig_expect_ids(rest, 150 - (int32_t)n, n);
        assert_int_equal(rest->has_job, after < 53);
        rig_stream_free(rest);
    }
    struct rig_stream *ahead = rig_watch(rig, name.text, 54);
    EXPECT_STATUS(rig_stream_end(ahead), LATENTD_OUT_OF_RANGE);
    assert_string_equal(strstr(ahead->message, "found 54, expected at most 53") ? "" : "no", "");
    rig_stream_free(ahead);
    rig_close(rig);
}

static void a_watch_gets_tokens_as_they_are_written_and_ends_behind_finished(void **state)
{
    struct rig *rig = rig_open(10, 100);
    struct rig_name name = rig_submit(rig, 50, NULL);
    struct rig_stream *a = rig_watch(rig, name.text, 0), *b = rig_watch(rig, name.text, 1);
    (void)state;
    fake_engine_wait_jobs(rig->engine, 1);
    fake_engine_start(rig->engine, 0);
    for (int32_t i = 0; i < 5; i++) {
        fake_engine_token(rig->engine, 0, 100 + i, "x", 1);
        rig_stream_wait_tokens(a, (size_t)i + 1);
        rig_stream_wait_tokens(b, (size_t)i + 1);
    }
    fake_engine_finish(rig->engine, 0, ENGINE_FINISH_EOS, LTD_OK);
    EXPECT_STATUS(rig_stream_end(a), LATENTD_OK);
    EXPECT_STATUS(rig_stream_end(b), LATENTD_OK);
    rig_expect_ids(a, 100, 5);
    assert_int_equal(a->finish_reason, JOB_FINISH_EOS);
    rig_stream_free(a);
    rig_stream_free(b);
    rig_close(rig);
}

static void a_backlog_is_merged_and_nothing_of_it_is_lost(void **state)
{
    struct rig *rig = rig_open(10, 100);
    struct rig_name name = rig_submit(rig, 20000, NULL);
    (void)state;
    rig_run_job(rig, 0, 20000, ENGINE_FINISH_LENGTH);
    struct rig_stream *s = rig_watch(rig, name.text, 0);
    EXPECT_STATUS(rig_stream_end(s), LATENTD_OK);
    rig_expect_ids(s, 100, 20000);
    assert_int_equal(s->text.len, 40000);
    if (s->n_messages > 20)
        fail_msg("20000 tokens that were there already came in %zu messages", s->n_messages);
    rig_stream_free(s);
    rig_close(rig);
}

static void a_reader_that_stops_reading_gets_everything_when_it_goes_on(void **state)
{
    struct rig *rig = rig_open(10, 100);
    struct rig_name name = rig_submit(rig, 20000, NULL);
    Latentd__V1__WatchJobRequest m = LATENTD__V1__WATCH_JOB_REQUEST__INIT;
    (void)state;
    m.name = wire_text(name.text, strlen(name.text));
    struct rig_stream *slow = rig_stream_open(rig, "/latentd.v1.Jobs/Watch", &m.base, 60000, true);
    rig_run_job(rig, 0, 20000, ENGINE_FINISH_LENGTH);
    /* Another reader comes through while the first one holds still. */
    struct rig_stream *quick = rig_watch(rig, name.text, 0);
    EXPECT_STATUS(rig_stream_end(quick), LATENTD_OK);
    rig_stream_free(quick);
    rig_stream_release(slow);
    EXPECT_STATUS(rig_stream_end(slow), LATENTD_OK);
    rig_expect_ids(slow, 100, 20000);
    rig_stream_free(slow);
    rig_close(rig);
}

static void thoughts_are_shown_live_and_are_not_in_the_log(void **state)
{
    struct rig *rig = rig_open(10, 100);
    struct rig_name name = rig_submit(rig, 50, NULL);
    struct rig_stream *s = rig_watch(rig, name.text, 1);
    (void)state;
    fake_engine_wait_jobs(rig->engine, 1);
    fake_engine_start(rig->engine, 0);
    rig_stream_wait_messages(s, 1);
    for (int32_t i = 1; i <= 3; i++) {
        fake_engine_think(rig->engine, 0, 8 * i);
        rig_stream_wait_thinking(s, (size_t)i);
    }
    fake_engine_tokens(rig->engine, 0, 100, 2);
    fake_engine_finish(rig->engine, 0, ENGINE_FINISH_EOS, LTD_OK);
    EXPECT_STATUS(rig_stream_end(s), LATENTD_OK);
    assert_int_equal(s->last_seq, 5);
    rig_stream_free(s);
    s = rig_watch(rig, name.text, 0);
    EXPECT_STATUS(rig_stream_end(s), LATENTD_OK);
    assert_int_equal(s->n_thinking, 0);
    rig_stream_free(s);
    rig_close(rig);
}

static void the_watch_of_a_failed_job_is_a_good_watch(void **state)
{
    struct rig *rig = rig_open(10, 100);
    struct rig_name name = rig_submit(rig, 50, NULL);
    (void)state;
    fake_engine_wait_jobs(rig->engine, 1);
    fake_engine_start(rig->engine, 0);
    fake_engine_finish(rig->engine, 0, ENGINE_FINISH_ERROR, LTD_E_RANK);
    struct rig_stream *s = rig_watch(rig, name.text, 0);
    EXPECT_STATUS(rig_stream_end(s), LATENTD_OK);
    assert_int_equal(s->finish_reason, JOB_FINISH_ERROR);
    assert_int_equal(s->error_code, LATENTD_UNAVAILABLE);
    assert_int_equal(state_of(rig, name.text), JOB_FAILED);
    rig_stream_free(s);
    rig_close(rig);
}

/* --------------------------------------------------------------------------- idempotency */

static void the_same_request_id_and_spec_give_the_same_job(void **state)
{
    struct rig *rig = rig_open(10, 100);
    struct rig_name a = rig_submit(rig, 50, "once"), b = rig_submit(rig, 50, "once");
    char message[480];
    (void)state;
    assert_string_equal(a.text, b.text);
    EXPECT_STATUS(try_submit(rig, 51, "once", message), LATENTD_ALREADY_EXISTS);
    assert_non_null(strstr(message, "\"once\" was used for job"));
    rig_run_job(rig, 0, 1, ENGINE_FINISH_EOS);
    assert_int_equal(fake_engine_n_jobs(rig->engine), 1);
    struct rig_stream *s = rig_watch(rig, a.text, 0);
    EXPECT_STATUS(rig_stream_end(s), LATENTD_OK);
    rig_stream_free(s);
    b = rig_submit(rig, 50, "once"); /* also when it has finished */
    assert_string_equal(a.text, b.text);
    struct rig_name c = rig_submit(rig, 50, NULL), d = rig_submit(rig, 50, NULL);
    assert_string_not_equal(c.text, d.text);
    rig_close(rig);
}

static void a_request_id_is_short_printable_ascii(void **state)
{
    struct rig *rig = rig_open(10, 100);
    char message[480], longest[66];
    (void)state;
    memset(longest, 'a', sizeof longest);
    longest[64] = '\0';
    EXPECT_STATUS(try_submit(rig, 5, longest, message), LATENTD_OK);
    longest[64] = 'a';
    longest[65] = '\0';
    EXPECT_STATUS(try_submit(rig, 5, longest, message), LATENTD_INVALID_ARGUMENT);
    assert_non_null(strstr(message, "request_id: found 65 characters, expected at most 64"));
    EXPECT_STATUS(try_submit(rig, 5, "tab\t", message), LATENTD_INVALID_ARGUMENT);
    EXPECT_STATUS(try_submit(rig, 5, "\xc3\xa4", message), LATENTD_INVALID_ARGUMENT);
    rig_close(rig);
}

/* -------------------------------------------------------------------------------- limits */

static void a_full_queue_is_refused_and_a_cancelled_job_makes_room(void **state)
{
    struct rig *rig = rig_open(1, 100); /* two may run, one more may wait */
    struct rig_name names[3];
    char message[480];
    int end_state = 0;
    (void)state;
    for (size_t i = 0; i < 3; i++)
        names[i] = rig_submit(rig, 50, NULL);
    EXPECT_STATUS(try_submit(rig, 50, "", message), LATENTD_RESOURCE_EXHAUSTED);
    assert_non_null(strstr(message, "queue full"));
    EXPECT_STATUS(cancel_job(rig, names[2].text, &end_state), LATENTD_OK);
    assert_int_equal(end_state, JOB_CANCELLED);
    EXPECT_STATUS(try_submit(rig, 50, "", message), LATENTD_OK);
    EXPECT_STATUS(try_submit(rig, 50, "", message), LATENTD_RESOURCE_EXHAUSTED);
    fake_engine_start(rig->engine, 0);
    fake_engine_finish(rig->engine, 0, ENGINE_FINISH_LENGTH, LTD_OK);
    rig_await_end(rig, names[0].text);
    EXPECT_STATUS(try_submit(rig, 50, "", message), LATENTD_OK);
    rig_close(rig);
}

static void a_job_that_could_never_fit_is_refused_at_once(void **state)
{
    struct rig *rig = rig_open(10, 100);
    char message[480];
    (void)state;
    fake_engine_set_room(rig->engine, 10);
    EXPECT_STATUS(try_submit(rig, 8, "", message), LATENTD_OK); /* 3 + 8 - 1 positions */
    EXPECT_STATUS(try_submit(rig, 9, "", message), LATENTD_INVALID_ARGUMENT);
    assert_non_null(strstr(message, "do not fit the whole key-value cache"));
    rig_close(rig);
}

static void a_job_that_the_engine_refuses_fails_with_its_reason(void **state)
{
    struct rig *rig = rig_open(10, 100);
    (void)state;
    fake_engine_refuse(rig->engine, LTD_E_EXHAUSTED);
    struct rig_name name = rig_submit(rig, 5, NULL);
    struct rig_stream *s = rig_watch(rig, name.text, 0);
    EXPECT_STATUS(rig_stream_end(s), LATENTD_OK);
    assert_int_equal(s->error_code, LATENTD_RESOURCE_EXHAUSTED);
    rig_stream_free(s);
    rig_close(rig);
}

static void a_log_that_takes_no_more_ends_the_job_with_an_error(void **state)
{
    struct rig *rig = rig_open(10, 100);
    struct rig_name name = rig_submit(rig, 50, NULL);
    size_t big = STORE_JOB_BYTES_MAX / 3;
    char *text = calloc(1, big);
    (void)state;
    assert_non_null(text);
    fake_engine_wait_jobs(rig->engine, 1);
    fake_engine_start(rig->engine, 0);
    for (int32_t i = 0; i < 4; i++)
        fake_engine_token(rig->engine, 0, i, text, big);
    assert_int_equal(fake_engine_wait_cancels(rig->engine, 1), ENGINE_FINISH_CANCELLED);
    struct rig_stream *s = rig_watch(rig, name.text, 4);
    EXPECT_STATUS(rig_stream_end(s), LATENTD_OK);
    assert_int_equal(s->finish_reason, JOB_FINISH_ERROR);
    assert_int_equal(s->error_code, LATENTD_RESOURCE_EXHAUSTED);
    rig_stream_free(s);
    free(text);
    rig_close(rig);
}

static void finished_jobs_beyond_the_kept_ones_are_forgotten(void **state)
{
    struct rig *rig = rig_open(10, 2);
    struct rig_name names[4];
    (void)state;
    for (size_t i = 0; i < 4; i++) {
        names[i] = rig_submit(rig, 5, NULL);
        rig_run_job(rig, i, 1, ENGINE_FINISH_EOS);
        struct rig_stream *s = rig_watch(rig, names[i].text, 0);
        EXPECT_STATUS(rig_stream_end(s), LATENTD_OK);
        rig_stream_free(s);
    }
    /* The watches are over but their pins may go a moment later: the next end sweeps again. */
    struct rig_name last = rig_submit(rig, 5, NULL);
    rig_run_job(rig, 4, 1, ENGINE_FINISH_EOS);
    struct rig_stream *s = rig_watch(rig, last.text, 0);
    EXPECT_STATUS(rig_stream_end(s), LATENTD_OK);
    rig_stream_free(s);
    assert_int_equal(state_of(rig, names[0].text), -1);
    assert_int_equal(state_of(rig, names[1].text), -1);
    assert_int_equal(state_of(rig, last.text), JOB_SUCCEEDED);
    rig_close(rig);
}

/* -------------------------------------------------------------------------- cancel, delete */

static void a_cancel_is_answered_when_the_job_has_ended_and_again_later(void **state)
{
    struct rig *rig = rig_open(10, 100);
    struct rig_name name = rig_submit(rig, 50, NULL);
    int end_state = 0;
    (void)state;
    fake_engine_wait_jobs(rig->engine, 1);
    fake_engine_start(rig->engine, 0);
    fake_engine_tokens(rig->engine, 0, 100, 3);
    EXPECT_STATUS(cancel_job(rig, name.text, &end_state), LATENTD_OK);
    assert_int_equal(end_state, JOB_CANCELLED);
    EXPECT_STATUS(cancel_job(rig, name.text, &end_state), LATENTD_OK);
    assert_int_equal(end_state, JOB_CANCELLED);
    Latentd__V1__Job *job = rig_get(rig, name.text);
    assert_int_equal(job->output->tokens->n_ids, 3); /* what was written stays */
    assert_int_equal(job->output->finish, JOB_FINISH_CANCELLED);
    latentd__v1__job__free_unpacked(job, NULL);
    rig_close(rig);
}

static void a_cancel_that_comes_too_late_leaves_the_job_as_it_ended(void **state)
{
    struct rig *rig = rig_open(10, 100);
    struct rig_name name = rig_submit(rig, 50, NULL);
    int end_state = 0;
    (void)state;
    rig_run_job(rig, 0, 2, ENGINE_FINISH_EOS);
    struct rig_stream *s = rig_watch(rig, name.text, 0);
    EXPECT_STATUS(rig_stream_end(s), LATENTD_OK);
    rig_stream_free(s);
    EXPECT_STATUS(cancel_job(rig, name.text, &end_state), LATENTD_OK);
    assert_int_equal(end_state, JOB_SUCCEEDED);
    rig_close(rig);
}

static void delete_cancels_first_and_then_forgets(void **state)
{
    struct rig *rig = rig_open(10, 100);
    struct rig_name name = rig_submit(rig, 50, "mine");
    (void)state;
    fake_engine_wait_jobs(rig->engine, 1);
    fake_engine_start(rig->engine, 0);
    struct rig_stream *s = rig_watch(rig, name.text, 0);
    rig_stream_wait_messages(s, 2);
    EXPECT_STATUS(delete_job(rig, name.text), LATENTD_OK);
    EXPECT_STATUS(rig_stream_end(s), LATENTD_OK); /* who watched sees the end */
    assert_int_equal(s->finish_reason, JOB_FINISH_CANCELLED);
    rig_stream_free(s);
    assert_int_equal(state_of(rig, name.text), -1);
    EXPECT_STATUS(delete_job(rig, name.text), LATENTD_NOT_FOUND);
    struct rig_name again = rig_submit(rig, 50, "mine");
    assert_string_not_equal(again.text, name.text);
    rig_close(rig);
}

static void names_that_are_none_are_refused(void **state)
{
    struct rig *rig = rig_open(10, 100);
    int end_state;
    static const char *const bad[] = {"", "jobs/", "jobs/x", "job/0123456789abcdefghijklmnop",
                                      "jobs/0123456789ABCDEFGHIJKLMNOP"};
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        EXPECT_STATUS(cancel_job(rig, bad[i], &end_state), LATENTD_INVALID_ARGUMENT);
    EXPECT_STATUS(cancel_job(rig, "jobs/0123456789abcdefghijklmnop", &end_state),
                  LATENTD_NOT_FOUND);
    rig_close(rig);
}

/* ------------------------------------------------------------------------------ generate */

static void generate_streams_the_job_and_ends_with_its_fate(void **state)
{
    static const struct {
        enum engine_finish finish;
        enum ltd_code error;
        int status;
    } fates[] = {
        {ENGINE_FINISH_EOS, LTD_OK, LATENTD_OK},
        {ENGINE_FINISH_STOP, LTD_OK, LATENTD_OK},
        {ENGINE_FINISH_LENGTH, LTD_OK, LATENTD_OK},
        {ENGINE_FINISH_CANCELLED, LTD_OK, LATENTD_CANCELLED},
        {ENGINE_FINISH_DEADLINE, LTD_OK, LATENTD_DEADLINE_EXCEEDED},
        {ENGINE_FINISH_ERROR, LTD_E_RANK, LATENTD_UNAVAILABLE},
        {ENGINE_FINISH_ERROR, LTD_E_CORRUPT, LATENTD_DATA_LOSS},
    };
    struct rig *rig = rig_open(10, 100);
    (void)state;
    for (size_t i = 0; i < sizeof fates / sizeof *fates; i++) {
        struct rig_stream *s = rig_generate(rig, 50, false, 60000);
        fake_engine_wait_jobs(rig->engine, i + 1);
        fake_engine_start(rig->engine, i);
        fake_engine_tokens(rig->engine, i, 100, 4);
        fake_engine_finish(rig->engine, i, fates[i].finish, fates[i].error);
        EXPECT_STATUS(rig_stream_end(s), fates[i].status);
        rig_expect_ids(s, 100, 4);
        assert_true(s->is_finished);
        rig_stream_free(s);
    }
    rig_close(rig);
}

static void a_job_ends_with_the_call_that_made_it(void **state)
{
    struct rig *rig = rig_open(10, 100);
    struct rig_stream *s = rig_generate(rig, 50, false, 60000);
    (void)state;
    fake_engine_wait_jobs(rig->engine, 1);
    fake_engine_start(rig->engine, 0);
    fake_engine_tokens(rig->engine, 0, 100, 1);
    rig_stream_wait_tokens(s, 1);
    rig_stream_cancel(s);
    EXPECT_STATUS(rig_stream_end(s), LATENTD_CANCELLED);
    assert_int_equal(fake_engine_wait_cancels(rig->engine, 1), ENGINE_FINISH_CANCELLED);
    rig_stream_free(s);
    rig_close(rig);
}

static void a_job_that_is_kept_outlives_its_call(void **state)
{
    struct rig *rig = rig_open(10, 100);
    struct rig_stream *s = rig_generate(rig, 50, true, 60000);
    Latentd__V1__ListJobsRequest m = LATENTD__V1__LIST_JOBS_REQUEST__INIT;
    Latentd__V1__ListJobsResponse *list;
    char name[WIRE_JOB_NAME_BYTES] = "";
    (void)state;
    fake_engine_wait_jobs(rig->engine, 1);
    fake_engine_start(rig->engine, 0);
    fake_engine_tokens(rig->engine, 0, 100, 1);
    rig_stream_wait_tokens(s, 1);
    rig_stream_cancel(s);
    rig_stream_end(s);
    rig_stream_free(s);
    rig_call(rig, "/latentd.v1.Jobs/List", &m.base, &latentd__v1__list_jobs_response__descriptor,
             &list, NULL);
    assert_int_equal(list->n_jobs, 1);
    memcpy(name, list->jobs[0]->name.data, list->jobs[0]->name.len);
    latentd__v1__list_jobs_response__free_unpacked(list, NULL);
    fake_engine_tokens(rig->engine, 0, 101, 5);
    fake_engine_finish(rig->engine, 0, ENGINE_FINISH_EOS, LTD_OK);
    s = rig_watch(rig, name, 3); /* come back behind the token that was seen */
    EXPECT_STATUS(rig_stream_end(s), LATENTD_OK);
    rig_expect_ids(s, 101, 5);
    assert_int_equal(s->finish_reason, JOB_FINISH_EOS);
    rig_stream_free(s);
    rig_close(rig);
}

static void the_deadline_of_the_call_is_the_deadline_of_the_job(void **state)
{
    struct rig *rig = rig_open(10, 100);
    struct rig_stream *s = rig_generate(rig, 50, false, 200);
    (void)state;
    fake_engine_wait_jobs(rig->engine, 1);
    EXPECT_STATUS(rig_stream_end(s), LATENTD_DEADLINE_EXCEEDED);
    assert_int_equal(fake_engine_wait_cancels(rig->engine, 1), ENGINE_FINISH_DEADLINE);
    rig_stream_free(s);
    rig_close(rig);
}

/* -------------------------------------------------------------------------------- lists */

static void lists_come_in_pages_newest_first(void **state)
{
    struct rig *rig = rig_open(100, 100);
    struct rig_name names[7];
    Latentd__V1__ListJobsRequest m = LATENTD__V1__LIST_JOBS_REQUEST__INIT;
    char token[64] = "", message[480];
    size_t n = 0;
    (void)state;
    for (size_t i = 0; i < 7; i++)
        names[i] = rig_submit(rig, 5, NULL);
    do {
        Latentd__V1__ListJobsResponse *list;
        m.page_size = 3;
        m.page_token = wire_text(token, strlen(token));
        EXPECT_STATUS(rig_call(rig, "/latentd.v1.Jobs/List", &m.base,
                               &latentd__v1__list_jobs_response__descriptor, &list, NULL),
                      LATENTD_OK);
        for (size_t i = 0; i < list->n_jobs; i++, n++) {
            assert_true(n < 7);
            assert_memory_equal(list->jobs[i]->name.data, names[6 - n].text,
                                WIRE_JOB_NAME_BYTES - 1);
            assert_null(list->jobs[i]->spec);
        }
        snprintf(token, sizeof token, "%.*s", (int)list->next_page_token.len,
                 (char *)list->next_page_token.data);
        latentd__v1__list_jobs_response__free_unpacked(list, NULL);
    } while (*token);
    assert_int_equal(n, 7);
    m.page_token = wire_text("nonsense", 8);
    EXPECT_STATUS(rig_call(rig, "/latentd.v1.Jobs/List", &m.base,
                           &latentd__v1__list_jobs_response__descriptor, NULL, message),
                  LATENTD_INVALID_ARGUMENT);
    m.page_token = wire_text("", 0);
    m.page_size = 501;
    EXPECT_STATUS(rig_call(rig, "/latentd.v1.Jobs/List", &m.base,
                           &latentd__v1__list_jobs_response__descriptor, NULL, message),
                  LATENTD_INVALID_ARGUMENT);
    assert_non_null(strstr(message, "page_size: found 501, expected at most 500"));
    rig_close(rig);
}

/* What Submit has promised is not a call's to take back, whoever joins it. */
static void a_call_that_joins_a_submitted_job_does_not_end_it(void **state)
{
    struct rig *rig = rig_open(10, 100);
    struct rig_spec s;
    Latentd__V1__GenerateRequest r = LATENTD__V1__GENERATE_REQUEST__INIT;
    (void)state;
    rig_make_spec(&s, 5);
    struct rig_name name = rig_submit(rig, 5, "mine");
    fake_engine_wait_jobs(rig->engine, 1);
    r.spec = &s.spec;
    r.request_id = (ProtobufCBinaryData){4, (uint8_t *)"mine"};
    struct rig_stream *joins =
        rig_stream_open(rig, "/latentd.v1.Inference/Generate", &r.base, 60000, false);
    rig_stream_wait_messages(joins, 1);
    rig_stream_cancel(joins);
    rig_stream_end(joins);
    rig_stream_free(joins);
    /* One that made its job itself does, and that is seen behind the first. */
    struct rig_stream *owns = rig_generate(rig, 5, false, 60000);
    rig_stream_wait_messages(owns, 1);
    fake_engine_wait_jobs(rig->engine, 2);
    rig_stream_cancel(owns);
    rig_stream_end(owns);
    rig_stream_free(owns);
    fake_engine_wait_cancels(rig->engine, 1);
    rig_run_job(rig, 0, 2, ENGINE_FINISH_EOS);
    rig_await_end(rig, name.text);
    Latentd__V1__Job *job = rig_get(rig, name.text);
    assert_int_equal(job->state, JOB_SUCCEEDED);
    latentd__v1__job__free_unpacked(job, NULL);
    rig_close(rig);
}

/* -------------------------------------------------------------------------------- score */

/* The engine's part of a Score call, while the test's thread waits for the answer. */
static void *serve_score(void *arg)
{
    struct rig *rig = arg;
    static const float logprobs[3] = {-1.5f, -0.25f, -4.0f};
    fake_engine_wait_jobs(rig->engine, 1);
    fake_engine_start(rig->engine, 0);
    fake_engine_score(rig->engine, 0, logprobs, 3);
    fake_engine_finish(rig->engine, 0, ENGINE_FINISH_SCORED, LTD_OK);
    return NULL;
}

static void score_answers_with_what_the_engine_found(void **state)
{
    struct rig *rig = rig_open(10, 100);
    struct rig_score_request r;
    Latentd__V1__ScoreResponse *answer;
    pthread_t thread;
    (void)state;
    rig_make_score(&r);
    r.m.seed_set_case = LATENTD__V1__SCORE_REQUEST__SEED_SET_SEED;
    r.m.seed = 77;
    assert_int_equal(pthread_create(&thread, NULL, serve_score, rig), 0);
    EXPECT_STATUS(rig_call(rig, "/latentd.v1.Inference/Score", &r.m.base,
                           &latentd__v1__score_response__descriptor, &answer, NULL),
                  LATENTD_OK);
    pthread_join(thread, NULL);
    assert_int_equal(answer->n_ids, 3);
    assert_int_equal(answer->ids[2], 12);
    assert_true(answer->logprobs[1] == -0.25f);
    assert_true(answer->greedy[0] && !answer->greedy[1] && answer->greedy[2]);
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(answer->steps[i], 9 + i); /* each position has its own */
    assert_true(answer->sum == -5.75);
    assert_int_equal(answer->context_tokens, 3);
    assert_int_equal(answer->seed, 77);
    latentd__v1__score_response__free_unpacked(answer, NULL);
    rig_close(rig);
}

static void a_score_call_that_ends_early_frees_its_place(void **state)
{
    struct rig *rig = rig_open(10, 100);
    struct rig_stream *s = rig_score(rig);
    (void)state;
    fake_engine_wait_jobs(rig->engine, 1);
    rig_stream_cancel(s);
    rig_stream_end(s);
    rig_stream_free(s);
    assert_int_equal(fake_engine_wait_cancels(rig->engine, 1), ENGINE_FINISH_CANCELLED);
    rig_close(rig);
}

static void pump(struct rig *rig)
{
    work_queue_pump(rig->service.queue);
}

static void expect_submit(struct rig *rig, const char *request_id, int status)
{
    struct rig_spec s;
    rig_make_spec(&s, 5);
    EXPECT_STATUS(rig_submit_spec(rig, &s.spec, request_id, NULL, NULL), status);
    assert_string_equal(rig->reason, status == LATENTD_OK ? "" : "QUOTA");
}

/* Alice may have two that wait, be they jobs or Scores. */
static void score_calls_that_wait_count_as_queued(void **state)
{
    char path[] = "/tmp/test_service.XXXXXX";
    static const char text[] =
        "token sha256:f52fbd32b2b3b86ff88ef6c490628285f482af15ddcb29541f94bcf526a3f6c7 alice jobs "
        "inference\n"
        "limits alice queued=2\n"; /* "hunter2" */
    (void)state;
    int fd = mkstemp(path);
    assert_true(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    close(fd);
    struct rig *rig = rig_open_access(10, 100, path);
    unlink(path);
    rig_log_in(rig, "hunter2");
    expect_submit(rig, "one", LATENTD_OK);
    fake_engine_wait_jobs(rig->engine, 1);
    struct rig_stream *first = rig_score(rig);
    fake_engine_wait_jobs(rig->engine, 2);
    struct rig_stream *second = rig_score(rig);
    EXPECT_STATUS(rig_stream_end(second), LATENTD_RESOURCE_EXHAUSTED);
    assert_string_equal(second->reason, "QUOTA");
    expect_submit(rig, "two", LATENTD_RESOURCE_EXHAUSTED);

    fake_engine_start(rig->engine, 1); /* the Score waits no more */
    rig_on_loop(rig, pump);
    expect_submit(rig, "three", LATENTD_OK);
    expect_submit(rig, "four", LATENTD_RESOURCE_EXHAUSTED);
    rig_stream_cancel(first);
    rig_stream_end(first);
    rig_stream_free(first);
    rig_stream_free(second);
    rig_close(rig);
}

/* ----------------------------------------------------------------- what needs a tokenizer */

static void text_methods_say_why_there_is_no_text(void **state)
{
    struct rig *rig = rig_open(10, 100);
    char message[480];
    Latentd__V1__TokenizeRequest t = LATENTD__V1__TOKENIZE_REQUEST__INIT;
    Latentd__V1__DetokenizeRequest d = LATENTD__V1__DETOKENIZE_REQUEST__INIT;
    (void)state;
    EXPECT_STATUS(rig_call(rig, "/latentd.v1.Inference/Tokenize", &t.base,
                           &latentd__v1__tokenize_response__descriptor, NULL, message),
                  LATENTD_UNIMPLEMENTED);
    assert_non_null(strstr(message, "models/fake has no tokenizer: no tokenizer.json"));
    EXPECT_STATUS(rig_call(rig, "/latentd.v1.Inference/Detokenize", &d.base,
                           &latentd__v1__detokenize_response__descriptor, NULL, message),
                  LATENTD_UNIMPLEMENTED);
    rig_close(rig);
}

/* --------------------------------------------------------------------------- cluster */

static const Latentd__V1__TierInfo *find_tier(const Latentd__V1__Model *model, const char *name)
{
    for (size_t i = 0; i < model->n_tiers; i++)
        if (model->tiers[i]->name.len == strlen(name) &&
            memcmp(model->tiers[i]->name.data, name, strlen(name)) == 0)
            return model->tiers[i];
    fail_msg("the model's tiers have no %s", name);
    return NULL;
}

/* A tier that runs here and has not the format of the weights is of no more use than one that does
 * not run. */
static void expect_tiers_of_int8(const Latentd__V1__Model *model)
{
    const Latentd__V1__TierInfo *openblas = find_tier(model, "openblas");
    assert_true(find_tier(model, "ref")->usable);
    assert_int_equal(find_tier(model, "ref")->reason.len, 0);
    assert_false(openblas->usable);
    rig_expect_text(openblas->reason, "it has no int8 weights (format)");
}

static void model_and_status_tell_what_is_served(void **state)
{
    struct rig *rig = rig_open(10, 100);
    Latentd__V1__GetModelRequest gm = LATENTD__V1__GET_MODEL_REQUEST__INIT;
    Latentd__V1__GetStatusRequest gs = LATENTD__V1__GET_STATUS_REQUEST__INIT;
    Latentd__V1__Model *model;
    Latentd__V1__ClusterStatus *status;
    (void)state;
    EXPECT_STATUS(rig_call(rig, "/latentd.v1.Cluster/GetModel", &gm.base,
                           &latentd__v1__model__descriptor, &model, NULL),
                  LATENTD_OK);
    assert_int_equal(model->vocab_size, 1 << 16);
    assert_int_equal(model->max_steps, 64);
    assert_true(model->n_tiers >= 2);
    rig_expect_text(model->format, "int8");
    rig_expect_text(model->kv_format, "bf16");
    expect_tiers_of_int8(model);
    assert_true(model->kv_bytes_per_position == UINT64_C(123456789012));
    latentd__v1__model__free_unpacked(model, NULL);
    gm.name = wire_text("models/other", 12);
    EXPECT_STATUS(rig_call(rig, "/latentd.v1.Cluster/GetModel", &gm.base,
                           &latentd__v1__model__descriptor, NULL, NULL),
                  LATENTD_NOT_FOUND);
    for (size_t i = 0; i < 3; i++)
        rig_submit(rig, 5, NULL);
    rig_run_job(rig, 0, 1, ENGINE_FINISH_EOS);
    fake_engine_start(rig->engine, 1);
    struct rig_name last = rig_submit(rig, 5, NULL);
    struct rig_stream *s = rig_watch(rig, last.text, 0); /* the loop has seen the events above */
    rig_stream_wait_messages(s, 1);
    EXPECT_STATUS(rig_call(rig, "/latentd.v1.Cluster/GetStatus", &gs.base,
                           &latentd__v1__cluster_status__descriptor, &status, NULL),
                  LATENTD_OK);
    assert_int_equal(status->jobs_finished, 1);
    assert_int_equal(status->jobs_running, 1);
    assert_int_equal(status->jobs_queued, 2);
    assert_int_equal(status->ticks, 7);
    latentd__v1__cluster_status__free_unpacked(status, NULL);
    rig_stream_cancel(s);
    rig_stream_end(s);
    rig_stream_free(s);
    rig_close(rig);
}

/* ------------------------------------------------------------------------------ health */

static int check_health(struct rig *rig, const char *service, int *serving)
{
    Grpc__Health__V1__HealthCheckRequest m = GRPC__HEALTH__V1__HEALTH_CHECK_REQUEST__INIT;
    Grpc__Health__V1__HealthCheckResponse *answer;
    m.service = wire_text(service, strlen(service));
    int status = rig_call(rig, "/grpc.health.v1.Health/Check", &m.base,
                          &grpc__health__v1__health_check_response__descriptor, &answer, NULL);
    if (answer) {
        *serving = (int)answer->status;
        grpc__health__v1__health_check_response__free_unpacked(answer, NULL);
    }
    return status;
}

static struct rig_stream *watch_health(struct rig *rig, const char *service)
{
    Grpc__Health__V1__HealthCheckRequest m = GRPC__HEALTH__V1__HEALTH_CHECK_REQUEST__INIT;
    m.service = wire_text(service, strlen(service));
    return rig_stream_open(rig, "/grpc.health.v1.Health/Watch", &m.base, 0, false);
}

static void stop_serving(struct rig *rig)
{
    service_set_serving(&rig->service, false);
    service_set_serving(&rig->service, false); /* no change, no message */
}

static void end_watches(struct rig *rig)
{
    service_end_health_watches(&rig->service);
}

static void health_is_pushed_on_change_only(void **state)
{
    struct rig *rig = rig_open(10, 100);
    static const char *const names[] = {"", "latentd.v1.Inference", "latentd.v1.Jobs",
                                        "latentd.v1.Cluster", "grpc.health.v1.Health"};
    /* A part of a name, a method, and more than a name are no services. */
    static const char *const others[] = {"latentd.v1.Nothing", "latentd.v1.Job",
                                         "latentd.v1.Jobs/Get", "/latentd.v1.Jobs", "/"};
    int serving = 0;
    (void)state;
    for (size_t i = 0; i < 5; i++) {
        EXPECT_STATUS(check_health(rig, names[i], &serving), LATENTD_OK);
        assert_int_equal(serving, 1);
    }
    for (size_t i = 0; i < 5; i++)
        EXPECT_STATUS(check_health(rig, others[i], &serving), LATENTD_NOT_FOUND);
    struct rig_stream *whole = watch_health(rig, ""), *unknown = watch_health(rig, "nothing");
    rig_stream_wait_messages(whole, 1);
    rig_stream_wait_messages(unknown, 1);
    rig_on_loop(rig, stop_serving);
    rig_stream_wait_messages(whole, 2);
    EXPECT_STATUS(check_health(rig, "", &serving), LATENTD_OK);
    assert_int_equal(serving, 2);
    rig_on_loop(rig, end_watches);
    EXPECT_STATUS(rig_stream_end(whole), LATENTD_UNAVAILABLE);
    EXPECT_STATUS(rig_stream_end(unknown), LATENTD_UNAVAILABLE);
    assert_int_equal(whole->n_messages, 2);
    assert_int_equal(whole->health[0], 1);
    assert_int_equal(whole->health[1], 2);
    assert_int_equal(unknown->n_messages, 1);
    assert_int_equal(unknown->health[0], 3);
    rig_stream_free(whole);
    rig_stream_free(unknown);
    rig_close(rig);
}

/* A message is five bytes of prefix and two of state. */
#define HEALTH_MESSAGES_THAT_WAIT ((RPC_CALL_QUEUE_BYTES + 6) / 7)

/* In one turn of the loop, in which nothing leaves: more than the call's queue takes. */
static void change_often(struct rig *rig)
{
    for (size_t i = 0; i < 2 * HEALTH_MESSAGES_THAT_WAIT; i++)
        service_set_serving(&rig->service, i % 2 == 1);
    service_set_serving(&rig->service, false);
}

static void do_nothing(struct rig *rig)
{
    (void)rig;
}

static void a_health_watcher_whose_queue_was_full_hears_the_newest_state(void **state)
{
    struct rig *rig = rig_open(10, 100);
    (void)state;
    struct rig_stream *s = watch_health(rig, "");
    rig_stream_wait_messages(s, 1);
    rig_on_loop(rig, do_nothing);
    rig_on_loop(rig, change_often);
    rig_stream_wait_messages(s, 1 + HEALTH_MESSAGES_THAT_WAIT + 1);
    assert_int_equal(s->n_messages, 1 + HEALTH_MESSAGES_THAT_WAIT + 1);
    assert_int_equal(s->health[19], 2);
    rig_on_loop(rig, end_watches);
    EXPECT_STATUS(rig_stream_end(s), LATENTD_UNAVAILABLE);
    rig_stream_free(s);
    rig_close(rig);
}

/* ------------------------------------------------------------------------------- drain */

static void close_table(struct rig *rig)
{
    job_table_close(rig->service.jobs);
}

static void stop_jobs(struct rig *rig)
{
    job_table_stop_all(rig->service.jobs);
}

static void a_drain_refuses_new_jobs_and_ends_old_ones_as_unavailable(void **state)
{
    struct rig *rig = rig_open(10, 100);
    char message[480];
    (void)state;
    rig_submit(rig, 50, "known");
    struct rig_stream *call = rig_generate(rig, 50, false, 60000);
    fake_engine_wait_jobs(rig->engine, 2);
    fake_engine_start(rig->engine, 1);
    fake_engine_tokens(rig->engine, 1, 100, 2);
    rig_stream_wait_tokens(call, 2);
    rig_on_loop(rig, close_table);
    EXPECT_STATUS(try_submit(rig, 50, "", message), LATENTD_UNAVAILABLE);
    assert_non_null(strstr(message, "draining"));
    EXPECT_STATUS(try_submit(rig, 50, "known", message), LATENTD_OK); /* it is accepted already */
    fake_engine_tokens(rig->engine, 1, 102, 1);                       /* running jobs go on */
    rig_stream_wait_tokens(call, 3);
    rig_on_loop(rig, stop_jobs);
    EXPECT_STATUS(rig_stream_end(call), LATENTD_UNAVAILABLE);
    assert_int_equal(call->finish_reason, JOB_FINISH_ERROR);
    assert_non_null(strstr(call->message, "submit the job again"));
    rig_stream_free(call);
    rig_close(rig);
}

/* ---------------------------------------------------------------------------- bad bytes */

static void bytes_that_are_no_message_are_internal_on_every_method(void **state)
{
    struct rig *rig = rig_open(10, 100);
    static const uint8_t garbage[] = {0xFF, 0xFF, 0xFF};
    (void)state;
    for (size_t i = 0; i < SERVICE_N_METHODS; i++) {
        latentd_error error;
        latentd_bytes bytes;
        latentd_request req = {
            .path = rig->methods[i].path, .data = garbage, .len = 3, .timeout_ms = 60000};
        assert_int_equal(latentd_client_unary(rig->client, &req, &bytes, &error), -1);
        if (error.status != LATENTD_INTERNAL)
            fail_msg("%s: %s: %s", req.path, latentd_status_name(error.status), error.message);
    }
    rig_close(rig);
}

/* ---------------------------------------------------------------------------------- owners */

/* sha256 of "hunter2", "hunter4", "hunter5" */
#define OWNERS                                                                                     \
    "token sha256:f52fbd32b2b3b86ff88ef6c490628285f482af15ddcb29541f94bcf526a3f6c7 alice jobs\n"   \
    "token sha256:18183dd9009f2b7e1b44f9c4af287589c2415bc6258f547815b246ffeb955122 bob jobs\n"     \
    "token sha256:cfca1aebe161e09926c86f76d4e2f1b405272361abd373c71531a759ecffaa34 root admin "    \
    "jobs\n"

static struct rig *open_for_owners(void)
{
    char path[] = "/tmp/test_service.XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0 && write(fd, OWNERS, sizeof OWNERS - 1) == (ssize_t)sizeof OWNERS - 1);
    close(fd);
    struct rig *rig = rig_open_access(10, 100, path);
    unlink(path);
    return rig;
}

static size_t n_listed(struct rig *rig)
{
    Latentd__V1__ListJobsRequest m = LATENTD__V1__LIST_JOBS_REQUEST__INIT;
    Latentd__V1__ListJobsResponse *list;
    EXPECT_STATUS(rig_call(rig, "/latentd.v1.Jobs/List", &m.base,
                           &latentd__v1__list_jobs_response__descriptor, &list, NULL),
                  LATENTD_OK);
    size_t n = list->n_jobs;
    latentd__v1__list_jobs_response__free_unpacked(list, NULL);
    return n;
}

static int continue_job(struct rig *rig, const char *name)
{
    Latentd__V1__ContinueJobRequest m = LATENTD__V1__CONTINUE_JOB_REQUEST__INIT;
    m.name = wire_text(name, strlen(name));
    m.more_tokens = 1;
    return rig_call(rig, "/latentd.v1.Jobs/Continue", &m.base, &latentd__v1__job__descriptor, NULL,
                    NULL);
}

static void anothers_job_is_for_an_admin_alone(void **state)
{
    struct rig *rig = open_for_owners();
    int found;
    (void)state;
    rig_log_in(rig, "hunter2");
    struct rig_name name = rig_submit(rig, 3, NULL);
    rig_run_job(rig, 0, 3, ENGINE_FINISH_LENGTH);
    rig_await_end(rig, name.text);
    assert_int_equal(n_listed(rig), 1);
    rig_log_in(rig, "hunter4");
    assert_int_equal(state_of(rig, name.text), -1);
    assert_int_equal(n_listed(rig), 0);
    EXPECT_STATUS(cancel_job(rig, name.text, &found), LATENTD_NOT_FOUND);
    EXPECT_STATUS(continue_job(rig, name.text), LATENTD_NOT_FOUND);
    struct rig_stream *s = rig_watch(rig, name.text, 0);
    EXPECT_STATUS(rig_stream_end(s), LATENTD_NOT_FOUND);
    assert_int_equal(s->n_messages, 0);
    rig_stream_free(s);
    EXPECT_STATUS(delete_job(rig, name.text), LATENTD_NOT_FOUND);
    rig_log_in(rig, "hunter5");
    assert_int_equal(n_listed(rig), 1);
    assert_int_equal(state_of(rig, name.text), LATENTD__V1__JOB_STATE__JOB_STATE_SUCCEEDED);
    EXPECT_STATUS(delete_job(rig, name.text), LATENTD_OK);
    rig_close(rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_submitted_job_is_computed_and_can_be_read_from_any_event_on),
        cmocka_unit_test(a_watch_gets_tokens_as_they_are_written_and_ends_behind_finished),
        cmocka_unit_test(a_backlog_is_merged_and_nothing_of_it_is_lost),
        cmocka_unit_test(a_reader_that_stops_reading_gets_everything_when_it_goes_on),
        cmocka_unit_test(thoughts_are_shown_live_and_are_not_in_the_log),
        cmocka_unit_test(the_watch_of_a_failed_job_is_a_good_watch),
        cmocka_unit_test(the_same_request_id_and_spec_give_the_same_job),
        cmocka_unit_test(a_request_id_is_short_printable_ascii),
        cmocka_unit_test(a_full_queue_is_refused_and_a_cancelled_job_makes_room),
        cmocka_unit_test(a_job_that_could_never_fit_is_refused_at_once),
        cmocka_unit_test(a_job_that_the_engine_refuses_fails_with_its_reason),
        cmocka_unit_test(a_log_that_takes_no_more_ends_the_job_with_an_error),
        cmocka_unit_test(finished_jobs_beyond_the_kept_ones_are_forgotten),
        cmocka_unit_test(a_cancel_is_answered_when_the_job_has_ended_and_again_later),
        cmocka_unit_test(a_cancel_that_comes_too_late_leaves_the_job_as_it_ended),
        cmocka_unit_test(delete_cancels_first_and_then_forgets),
        cmocka_unit_test(names_that_are_none_are_refused),
        cmocka_unit_test(generate_streams_the_job_and_ends_with_its_fate),
        cmocka_unit_test(a_job_ends_with_the_call_that_made_it),
        cmocka_unit_test(a_job_that_is_kept_outlives_its_call),
        cmocka_unit_test(the_deadline_of_the_call_is_the_deadline_of_the_job),
        cmocka_unit_test(lists_come_in_pages_newest_first),
        cmocka_unit_test(score_answers_with_what_the_engine_found),
        cmocka_unit_test(a_score_call_that_ends_early_frees_its_place),
        cmocka_unit_test(score_calls_that_wait_count_as_queued),
        cmocka_unit_test(a_call_that_joins_a_submitted_job_does_not_end_it),
        cmocka_unit_test(text_methods_say_why_there_is_no_text),
        cmocka_unit_test(model_and_status_tell_what_is_served),
        cmocka_unit_test(health_is_pushed_on_change_only),
        cmocka_unit_test(a_health_watcher_whose_queue_was_full_hears_the_newest_state),
        cmocka_unit_test(a_drain_refuses_new_jobs_and_ends_old_ones_as_unavailable),
        cmocka_unit_test(bytes_that_are_no_message_are_internal_on_every_method),
        cmocka_unit_test(anothers_job_is_for_an_admin_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
