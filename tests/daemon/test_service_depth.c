/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/daemon/test_service_depth.c - depth as a resource, over real connections: who is refused and
 * told when to come back, whose account it goes on, priorities, jobs that go on from others, and
 * what GetStatus says of it all. The engine obeys the test.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "service_rig.h"

static int try_submit(struct rig *rig, const char *request_id, char *message)
{
    struct rig_spec s;
    rig_make_spec(&s, 50);
    return rig_submit_spec(rig, &s.spec, request_id, NULL, message);
}

static int set_priority(struct rig *rig, const char *name, uint32_t priority,
                        Latentd__V1__Job **job, char *message)
{
    Latentd__V1__SetJobPriorityRequest m = LATENTD__V1__SET_JOB_PRIORITY_REQUEST__INIT;
    m.name = wire_text(name, strlen(name));
    m.priority = priority;
    return rig_call(rig, "/latentd.v1.Jobs/SetPriority", &m.base, &latentd__v1__job__descriptor,
                    job, message);
}

static int continue_job(struct rig *rig, const char *name, uint32_t more_tokens,
                        uint32_t more_steps, const char *request_id, Latentd__V1__Job **job,
                        char *message)
{
    Latentd__V1__ContinueJobRequest m = LATENTD__V1__CONTINUE_JOB_REQUEST__INIT;
    m.name = wire_text(name, strlen(name));
    m.more_tokens = more_tokens;
    m.more_steps = more_steps;
    m.request_id = wire_text(request_id, strlen(request_id));
    return rig_call(rig, "/latentd.v1.Jobs/Continue", &m.base, &latentd__v1__job__descriptor, job,
                    message);
}

static int delete_job(struct rig *rig, const char *name)
{
    Latentd__V1__DeleteJobRequest m = LATENTD__V1__DELETE_JOB_REQUEST__INIT;
    m.name = wire_text(name, strlen(name));
    return rig_call(rig, "/latentd.v1.Jobs/Delete", &m.base,
                    &latentd__v1__delete_job_response__descriptor, NULL, NULL);
}

/* ----------------------------------------------------------------------------------- refusals */

/* The client learns how long the scheduler expects it to wait, however it asked. */
static void whoever_meets_a_full_queue_is_told_when_to_try_again(void **state)
{
    struct rig *rig = rig_open(0, 100);
    char message[480];
    (void)state;
    rig_submit(rig, 50, NULL);
    rig_submit(rig, 50, "mine");
    fake_engine_set_wait(rig->engine, 7300.2);
    EXPECT_STATUS(try_submit(rig, "", message), LATENTD_RESOURCE_EXHAUSTED);
    assert_int_equal(rig->retry_ms, 7301);
    struct rig_stream *generate = rig_generate(rig, 50, false, 60000);
    struct rig_stream *score = rig_score(rig);
    EXPECT_STATUS(rig_stream_end(generate), LATENTD_RESOURCE_EXHAUSTED);
    EXPECT_STATUS(rig_stream_end(score), LATENTD_RESOURCE_EXHAUSTED);
    assert_int_equal(generate->retry_ms, 7301);
    assert_int_equal(score->retry_ms, 7301);
    rig_stream_free(generate);
    rig_stream_free(score);
    /* What is wrong in itself never gets better by waiting. */
    EXPECT_STATUS(try_submit(rig, "tab\t", message), LATENTD_INVALID_ARGUMENT);
    assert_int_equal(rig->retry_ms, 0);
    EXPECT_STATUS(try_submit(rig, "mine", message), LATENTD_OK); /* it is there already */
    rig_close(rig);
}

/* A fixed depth cannot be made to fit: what would come late is refused while it is still early. */
static void a_fixed_depth_that_cannot_come_in_time_is_refused_with_a_hint(void **state)
{
    struct rig *rig = rig_open(10, 100);
    struct rig_spec s;
    char message[480];
    Latentd__V1__Budget budget = LATENTD__V1__BUDGET__INIT;
    Latentd__V1__Depth depth = LATENTD__V1__DEPTH__INIT;
    Latentd__V1__DepthRange range = LATENTD__V1__DEPTH_RANGE__INIT;
    (void)state;
    rig_make_spec(&s, 50);
    s.spec.budget = &budget;
    budget.total_ms = 20000;
    fake_engine_predict(rig->engine, UINT64_C(19000000000));
    EXPECT_STATUS(rig_submit_spec(rig, &s.spec, NULL, NULL, message), LATENTD_OK);
    fake_engine_predict(rig->engine, UINT64_C(21000000000));
    EXPECT_STATUS(rig_submit_spec(rig, &s.spec, NULL, NULL, message), LATENTD_RESOURCE_EXHAUSTED);
    assert_true(rig->retry_ms >= 1000);
    assert_non_null(strstr(message, "total_ms"));
    depth.mode_case = LATENTD__V1__DEPTH__MODE_RANGE;
    depth.range = &range;
    s.spec.depth = &depth;
    EXPECT_STATUS(rig_submit_spec(rig, &s.spec, NULL, NULL, message), LATENTD_OK);
    rig_close(rig);
}

/* ----------------------------------------------------------------------- account and priority */

static void a_job_goes_on_the_account_it_names_or_on_its_callers_address(void **state)
{
    struct rig *rig = rig_open(10, 100);
    struct rig_spec s;
    Latentd__V1__Job *job;
    (void)state;
    rig_make_spec(&s, 5);
    EXPECT_STATUS(rig_submit_spec(rig, &s.spec, NULL, &job, NULL), LATENTD_OK);
    rig_expect_text(job->client, "127.0.0.1");
    assert_int_equal(job->spec->client.len, 0); /* the spec stays as it was sent */
    assert_int_equal(job->priority, 16);
    latentd__v1__job__free_unpacked(job, NULL);
    s.spec.client = wire_text("team red", 8);
    s.spec.priority_set_case = LATENTD__V1__JOB_SPEC__PRIORITY_SET_PRIORITY;
    s.spec.priority = 0;
    EXPECT_STATUS(rig_submit_spec(rig, &s.spec, NULL, &job, NULL), LATENTD_OK);
    rig_expect_text(job->client, "team red");
    assert_int_equal(job->priority, 0);
    latentd__v1__job__free_unpacked(job, NULL);
    struct rig_stream *score = rig_score(rig);
    fake_engine_wait_jobs(rig->engine, 3);
    assert_string_equal(fake_engine_spec(rig->engine, 0)->client, "127.0.0.1");
    assert_string_equal(fake_engine_spec(rig->engine, 1)->client, "team red");
    assert_int_equal(fake_engine_spec(rig->engine, 1)->priority, 0);
    assert_string_equal(fake_engine_spec(rig->engine, 2)->client, "127.0.0.1");
    assert_int_equal(fake_engine_spec(rig->engine, 2)->priority, 16);
    rig_stream_cancel(score);
    rig_stream_end(score);
    rig_stream_free(score);
    rig_close(rig);
}

static void a_new_priority_reaches_the_scheduler_and_the_job(void **state)
{
    struct rig *rig = rig_open(10, 100);
    struct rig_name name = rig_submit(rig, 50, NULL);
    char message[480];
    Latentd__V1__Job *job;
    (void)state;
    fake_engine_wait_jobs(rig->engine, 1);
    static const uint32_t values[] = {0, 31, 7};
    for (size_t i = 0; i < 3; i++) {
        EXPECT_STATUS(set_priority(rig, name.text, values[i], &job, NULL), LATENTD_OK);
        assert_int_equal(job->priority, values[i]);
        latentd__v1__job__free_unpacked(job, NULL);
        assert_int_equal(fake_engine_priority(rig->engine, 0), values[i]);
    }
    EXPECT_STATUS(set_priority(rig, name.text, 32, NULL, message), LATENTD_INVALID_ARGUMENT);
    assert_string_equal(message, "priority: found 32, expected 0 to 31");
    EXPECT_STATUS(set_priority(rig, "jobs/x", 3, NULL, NULL), LATENTD_INVALID_ARGUMENT);
    EXPECT_STATUS(set_priority(rig, "jobs/0123456789abcdefghijklmnop", 3, NULL, NULL),
                  LATENTD_NOT_FOUND);
    rig_run_job(rig, 0, 2, ENGINE_FINISH_EOS);
    rig_await_end(rig, name.text);
    EXPECT_STATUS(set_priority(rig, name.text, 9, NULL, NULL), LATENTD_FAILED_PRECONDITION);
    assert_int_equal(fake_engine_priority(rig->engine, 0), 7);
    rig_close(rig);
}

/* ----------------------------------------------------------------------------------- continue */

static void a_continued_job_begins_with_what_the_old_one_wrote(void **state)
{
    struct rig *rig = rig_open(10, 100);
    struct rig_name old = rig_submit(rig, 3, NULL);
    struct rig_name name = {""}; /* of the new one */
    Latentd__V1__Job *job;
    (void)state;
    rig_run_job(rig, 0, 3, ENGINE_FINISH_LENGTH);
    rig_await_end(rig, old.text);
    EXPECT_STATUS(continue_job(rig, old.text, 2, 0, "go on", &job, NULL), LATENTD_OK);
    memcpy(name.text, job->name.data, job->name.len);
    assert_string_not_equal(name.text, old.text);
    rig_expect_text(job->continues, old.text);
    rig_expect_text(job->client, "127.0.0.1");
    assert_int_equal(job->spec->max_tokens, 5);
    latentd__v1__job__free_unpacked(job, NULL);
    fake_engine_wait_jobs(rig->engine, 2);
    const struct job_spec *spec = fake_engine_spec(rig->engine, 1);
    assert_int_equal(spec->max_tokens, 5);
    assert_int_equal(spec->known.n, 3);
    for (int32_t i = 0; i < 3; i++)
        assert_int_equal(spec->known.ids[i], 100 + i);
    fake_engine_start(rig->engine, 1);
    fake_engine_tokens(rig->engine, 1, 103, 2);
    fake_engine_finish(rig->engine, 1, ENGINE_FINISH_LENGTH, LTD_OK);
    struct rig_stream *s = rig_watch(rig, name.text, 0);
    EXPECT_STATUS(rig_stream_end(s), LATENTD_OK);
    rig_expect_ids(s, 100, 5);
    rig_stream_free(s);
    /* Asked again with the same id it is the same job; so is the old one, untouched. */
    EXPECT_STATUS(continue_job(rig, old.text, 2, 0, "go on", &job, NULL), LATENTD_OK);
    rig_expect_text(job->name, name.text);
    latentd__v1__job__free_unpacked(job, NULL);
    EXPECT_STATUS(continue_job(rig, old.text, 3, 0, "go on", NULL, NULL), LATENTD_ALREADY_EXISTS);
    job = rig_get(rig, old.text);
    assert_int_equal(job->state, JOB_SUCCEEDED);
    assert_int_equal(job->output->tokens->n_ids, 3);
    latentd__v1__job__free_unpacked(job, NULL);
    /* A repetition that comes after the old job went still names the new one; nothing else does. */
    EXPECT_STATUS(delete_job(rig, old.text), LATENTD_OK);
    EXPECT_STATUS(continue_job(rig, old.text, 2, 0, "go on", &job, NULL), LATENTD_OK);
    rig_expect_text(job->name, name.text);
    latentd__v1__job__free_unpacked(job, NULL);
    EXPECT_STATUS(continue_job(rig, old.text, 5, 0, "go on", NULL, NULL), LATENTD_ALREADY_EXISTS);
    EXPECT_STATUS(continue_job(rig, old.text, 2, 0, "", NULL, NULL), LATENTD_NOT_FOUND);
    EXPECT_STATUS(continue_job(rig, old.text, 2, 0, "other", NULL, NULL), LATENTD_NOT_FOUND);
    rig_close(rig);
}

static void a_last_thought_can_be_thought_further(void **state)
{
    struct rig *rig = rig_open(10, 100);
    struct rig_name old = rig_submit(rig, 3, NULL);
    char message[480];
    (void)state;
    rig_run_job(rig, 0, 3, ENGINE_FINISH_EOS); /* tokens of four steps each */
    rig_await_end(rig, old.text);
    EXPECT_STATUS(continue_job(rig, old.text, 1, 6, "", NULL, NULL), LATENTD_OK);
    fake_engine_wait_jobs(rig->engine, 2);
    const struct job_spec *spec = fake_engine_spec(rig->engine, 1);
    assert_int_equal(spec->max_tokens, 4);
    assert_int_equal(spec->known.n, 2); /* the third is chosen again */
    assert_int_equal(spec->depth.n_at, 1);
    assert_int_equal(spec->depth.at[0].token, 2);
    assert_int_equal(spec->depth.at[0].steps, 10);
    /* The new depth is checked like any other: 4 and 61 are more than 64. */
    EXPECT_STATUS(continue_job(rig, old.text, 0, 61, "", NULL, message), LATENTD_INVALID_ARGUMENT);
    assert_non_null(strstr(message, "depth.at[0].steps: found 65, expected 1 to 64"));
    rig_close(rig);
}

static void what_cannot_be_continued_is_refused_with_the_reason(void **state)
{
    struct rig *rig = rig_open(10, 100);
    struct rig_name name = rig_submit(rig, 3, NULL);
    char message[480];
    (void)state;
    EXPECT_STATUS(continue_job(rig, name.text, 1, 0, "", NULL, message),
                  LATENTD_FAILED_PRECONDITION);
    assert_non_null(strstr(message, "when it has finished"));
    EXPECT_STATUS(continue_job(rig, name.text, 1, 0, "tab\t", NULL, message),
                  LATENTD_INVALID_ARGUMENT);
    rig_run_job(rig, 0, 3, ENGINE_FINISH_EOS);
    rig_await_end(rig, name.text);
    EXPECT_STATUS(continue_job(rig, name.text, 0, 0, "", NULL, message), LATENTD_INVALID_ARGUMENT);
    assert_non_null(strstr(message, "expected at least one above 0"));
    EXPECT_STATUS(continue_job(rig, name.text, 1, 0, "", NULL, message),
                  LATENTD_FAILED_PRECONDITION);
    EXPECT_STATUS(continue_job(rig, "jobs/0123456789abcdefghijklmnop", 1, 0, "", NULL, message),
                  LATENTD_NOT_FOUND);
    EXPECT_STATUS(continue_job(rig, "last one", 1, 0, "", NULL, message), LATENTD_INVALID_ARGUMENT);
    assert_int_equal(fake_engine_n_jobs(rig->engine), 1);
    rig_close(rig);
}

/* ------------------------------------------------------------------------------------- status */

static void expect_histogram(const Latentd__V1__Histogram *h, double first_bound, uint64_t first)
{
    assert_non_null(h);
    assert_int_equal(h->n_bounds, ENGINE_BUCKETS - 1);
    assert_int_equal(h->n_counts, ENGINE_BUCKETS);
    assert_true(h->bounds[0] == first_bound && h->bounds[2] == 4 * first_bound);
    assert_int_equal(h->counts[0], first);
    assert_int_equal(h->counts[2], first + 20);
    assert_true(h->sum == 50 + (double)first);
}

/* The fake engine has another number for everything, so a mix-up shows. */
static void expect_numbers_of_the_fake_engine(const Latentd__V1__ClusterStatus *status)
{
    const uint64_t found[] = {status->ticks,
                              status->tick_positions,
                              status->decode_positions,
                              status->prefill_positions,
                              status->replay_positions,
                              status->coda_positions,
                              status->check_positions,
                              status->head_rows,
                              status->check_rows,
                              status->preemptions,
                              status->prefix_positions,
                              status->steps_out,
                              status->jobs_held,
                              status->positions_running,
                              status->pages_total,
                              status->pages_used,
                              status->pages_shared,
                              status->pages_cached,
                              status->max_batch};
    const uint64_t expected[] = {7, 70, 50, 15, 5, 31, 8, 33, 9, 3, 16, 120, 2, 12, 5, 4, 1, 6, 48};
    for (size_t i = 0; i < sizeof found / sizeof *found; i++)
        if (found[i] != expected[i])
            fail_msg("number %zu: found %llu, expected %llu", i, (unsigned long long)found[i],
                     (unsigned long long)expected[i]);
    assert_true(status->tick_ms_mean == 1.5 && status->load == 0.25 && status->wait_ms == 3.5);
    expect_histogram(status->tick_ms, 1, 10);
    expect_histogram(status->batch, 8, 11);
    expect_histogram(status->queue_ms, 100, 12);
}

static void the_status_has_every_number_of_the_engine(void **state)
{
    struct rig *rig = rig_open(10, 100);
    Latentd__V1__GetStatusRequest gs = LATENTD__V1__GET_STATUS_REQUEST__INIT;
    Latentd__V1__ClusterStatus *status;
    (void)state;
    fake_engine_set_wait(rig->engine, 3.5);
    EXPECT_STATUS(rig_call(rig, "/latentd.v1.Cluster/GetStatus", &gs.base,
                           &latentd__v1__cluster_status__descriptor, &status, NULL),
                  LATENTD_OK);
    expect_numbers_of_the_fake_engine(status);
    assert_int_equal(status->n_waiting, 3);
    static const uint32_t priorities[] = {0, 16, 31};
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(status->waiting[i]->priority, priorities[i]);
        assert_int_equal(status->waiting[i]->jobs, 17 + i);
    }
    const Latentd__V1__Costs *c = status->costs;
    assert_non_null(c);
    assert_true(c->tick_fixed_us == 1 && c->tick_each_us == 2);
    assert_true(c->prelude_fixed_us == 3 && c->prelude_each_us == 4);
    assert_true(c->coda_fixed_us == 5 && c->coda_each_us == 6);
    assert_true(c->head_fixed_us == 7 && c->head_each_us == 8);
    /* Reasons that occurred, each as long as its deepest token. */
    assert_int_equal(status->n_depths, 2);
    const Latentd__V1__DepthCounts *fixed = status->depths[0], *converged = status->depths[1];
    assert_int_equal(fixed->exit, LATENTD__V1__EXIT_REASON__EXIT_REASON_FIXED);
    assert_int_equal(fixed->n_tokens, 4);
    assert_int_equal(fixed->tokens[3], 11);
    assert_int_equal(fixed->tokens[0], 0);
    assert_int_equal(converged->exit, LATENTD__V1__EXIT_REASON__EXIT_REASON_CONVERGED);
    assert_int_equal(converged->n_tokens, 5);
    assert_int_equal(converged->tokens[4], 2);
    latentd__v1__cluster_status__free_unpacked(status, NULL);
    rig_close(rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whoever_meets_a_full_queue_is_told_when_to_try_again),
        cmocka_unit_test(a_fixed_depth_that_cannot_come_in_time_is_refused_with_a_hint),
        cmocka_unit_test(a_job_goes_on_the_account_it_names_or_on_its_callers_address),
        cmocka_unit_test(a_new_priority_reaches_the_scheduler_and_the_job),
        cmocka_unit_test(a_continued_job_begins_with_what_the_old_one_wrote),
        cmocka_unit_test(a_last_thought_can_be_thought_further),
        cmocka_unit_test(what_cannot_be_continued_is_refused_with_the_reason),
        cmocka_unit_test(the_status_has_every_number_of_the_engine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
