/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/daemon/test_job_table.c - nobody hears of an event that the log has not accepted.
 *
 * The job table over a log that answers when the test lets it, and an engine that does what the
 * test says; one thread, no sockets. What a log on disk will do, orders of completion and refusals
 * included, is played through here.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "table_rig.h"

static void submit(struct rig *rig, uint8_t variant, const char *request_id, struct told *told)
{
    rig_submit(rig, rig_make_spec(variant), request_id, told);
}

/* --------------------------------------------------------------------------------------- */

static void a_job_is_answered_and_begun_when_it_is_in_the_log(void **state)
{
    struct rig *rig = rig_open();
    struct told told;
    (void)state;
    submit(rig, 1, "", &told);
    assert_int_equal(told.n, 0);
    assert_int_equal(fake_engine_n_jobs(rig->engine), 0);
    slow_store_release(rig->store, LTD_OK);
    assert_int_equal(told.n, 1);
    assert_int_equal(told.err.code, LTD_OK);
    assert_int_equal(told.job->state, JOB_QUEUED);
    assert_int_equal(fake_engine_n_jobs(rig->engine), 1);
    assert_int_equal(job_table_n_queued(rig->table), 1);
    rig_close(rig);
}

static void a_job_that_the_log_refuses_never_was(void **state)
{
    struct rig *rig = rig_open();
    struct told told;
    (void)state;
    submit(rig, 1, "req", &told);
    slow_store_release(rig->store, LTD_E_EXHAUSTED);
    assert_int_equal(told.n, 1);
    assert_int_equal(told.err.code, LTD_E_EXHAUSTED);
    assert_null(told.job);
    assert_int_equal(job_table_n_live(rig->table), 0);
    assert_int_equal(fake_engine_n_jobs(rig->engine), 0);
    submit(rig, 2, "req", &told); /* the request id is free */
    slow_store_release(rig->store, LTD_OK);
    assert_int_equal(told.err.code, LTD_OK);
    rig_close(rig);
}

static void a_repeated_request_waits_for_the_first_one(void **state)
{
    struct rig *rig = rig_open();
    struct told first, again, other, late;
    (void)state;
    submit(rig, 1, "req", &first);
    submit(rig, 1, "req", &again);
    submit(rig, 2, "req", &other);
    assert_int_equal(other.err.code, LTD_E_EXISTS);
    assert_int_equal(first.n + again.n, 0);
    assert_int_equal(slow_store_n_waiting(rig->store), 1);
    slow_store_release(rig->store, LTD_OK);
    assert_int_equal(first.n, 1);
    assert_int_equal(again.n, 1);
    assert_string_equal(first.id, again.id);
    submit(rig, 1, "req", &late);
    assert_int_equal(late.n, 1);
    assert_string_equal(first.id, late.id);
    submit(rig, 2, "req", &other);
    assert_int_equal(other.err.code, LTD_E_EXISTS);
    assert_int_equal(fake_engine_n_jobs(rig->engine), 1);
    rig_close(rig);
}

static void watchers_hear_of_tokens_when_they_are_in_the_log(void **state)
{
    struct rig *rig = rig_open();
    struct told told;
    struct witness w;
    (void)state;
    submit(rig, 1, "", &told);
    slow_store_release(rig->store, LTD_OK);
    rig_watch(rig, told.job, &w);
    fake_engine_start(rig->engine, 0);
    fake_engine_tokens(rig->engine, 0, 5, 3);
    work_queue_pump(rig->queue);
    assert_int_equal(slow_store_n_waiting(rig->store), 4);
    assert_int_equal(w.n, 0);
    assert_int_equal(told.job->last_seq, 1);
    for (uint64_t seq = 2; seq <= 5; seq++) {
        slow_store_release(rig->store, LTD_OK);
        assert_int_equal(w.n, (int)seq - 1);
        assert_int_equal(w.last_seq, seq);
    }
    job_table_unwatch(&w.watcher);
    job_table_unwatch(&w.watcher); /* twice is once */
    rig_close(rig);
    assert_int_equal(w.n, 4);
}

static void a_cancel_is_answered_when_the_end_is_in_the_log(void **state)
{
    struct rig *rig = rig_open();
    struct told told, first, second;
    struct witness w;
    (void)state;
    submit(rig, 1, "", &told);
    slow_store_release(rig->store, LTD_OK);
    rig_watch(rig, told.job, &w);
    first = second = (struct told){0};
    job_table_cancel(rig->table, told.job, ENGINE_FINISH_CANCELLED, rig_tell, &first);
    work_queue_pump(rig->queue);
    job_table_cancel(rig->table, told.job, ENGINE_FINISH_CANCELLED, rig_tell, &second);
    assert_int_equal(first.n + second.n, 0);
    assert_non_null(w.watcher.live);
    slow_store_release_all(rig->store);
    assert_int_equal(first.n, 1);
    assert_int_equal(second.n, 1);
    assert_int_equal(first.job->state, JOB_CANCELLED);
    assert_null(w.watcher.live);
    assert_int_equal(w.last_seq, 2);
    assert_int_equal(job_table_n_live(rig->table), 0);
    assert_int_equal(job_table_n_queued(rig->table), 0);
    rig_close(rig);
}

static void a_token_that_the_log_refuses_ends_the_job_and_nothing_follows_it(void **state)
{
    struct rig *rig = rig_open();
    struct told told;
    (void)state;
    submit(rig, 1, "", &told);
    slow_store_release(rig->store, LTD_OK);
    store_pin(rig->store, told.job);
    fake_engine_obey_cancels(rig->engine, false);
    fake_engine_start(rig->engine, 0);
    fake_engine_tokens(rig->engine, 0, 5, 2);
    work_queue_pump(rig->queue);
    slow_store_release(rig->store, LTD_OK);          /* started */
    slow_store_release(rig->store, LTD_OK);          /* token 5 */
    slow_store_release(rig->store, LTD_E_EXHAUSTED); /* token 6 */
    fake_engine_wait_cancels(rig->engine, 1);
    fake_engine_tokens(rig->engine, 0, 7, 2); /* were on their way already */
    fake_engine_finish(rig->engine, 0, ENGINE_FINISH_CANCELLED, LTD_OK);
    work_queue_pump(rig->queue);
    slow_store_release_all(rig->store);
    assert_int_equal(told.job->state, JOB_FAILED);
    assert_int_equal(told.job->output_tokens, 1);
    assert_int_equal(told.job->last_seq, 4);
    assert_string_equal(told.job->error_msg, "the disk is full");
    store_unpin(rig->store, told.job);
    rig_close(rig);
}

/* The end was on its way when a token before it was refused: the answer is not whole, so the job has
 * not succeeded, whatever the engine said. */
static void an_end_behind_a_refused_token_is_the_failure_that_it_is(void **state)
{
    struct rig *rig = rig_open();
    struct told told;
    (void)state;
    submit(rig, 1, "", &told);
    slow_store_release(rig->store, LTD_OK);
    fake_engine_start(rig->engine, 0);
    fake_engine_tokens(rig->engine, 0, 5, 3);
    fake_engine_finish(rig->engine, 0, ENGINE_FINISH_LENGTH, LTD_OK);
    work_queue_pump(rig->queue);
    assert_int_equal(slow_store_n_waiting(rig->store), 5);
    slow_store_release(rig->store, LTD_OK);          /* started */
    slow_store_release(rig->store, LTD_OK);          /* token 5 */
    slow_store_release(rig->store, LTD_E_EXHAUSTED); /* token 6 */
    slow_store_release_all(rig->store);
    assert_int_equal(told.job->state, JOB_FAILED);
    assert_int_equal(told.job->finish, JOB_FINISH_ERROR);
    assert_int_equal(told.job->output_tokens, 1);
    assert_string_equal(told.job->error_msg, "the disk is full");
    assert_int_equal(job_table_n_live(rig->table), 0);
    rig_close(rig);
}

static void an_end_that_is_refused_once_is_tried_again_without_its_text(void **state)
{
    struct rig *rig = rig_open();
    struct told told, cancel = {0};
    (void)state;
    submit(rig, 1, "", &told);
    slow_store_release(rig->store, LTD_OK);
    job_table_cancel(rig->table, told.job, ENGINE_FINISH_CANCELLED, rig_tell, &cancel);
    work_queue_pump(rig->queue);
    slow_store_release(rig->store, LTD_E_EXHAUSTED);
    assert_int_equal(cancel.n, 0);
    assert_int_equal(slow_store_n_waiting(rig->store), 1);
    slow_store_release(rig->store, LTD_OK);
    assert_int_equal(cancel.n, 1);
    assert_int_equal(cancel.job->state, JOB_CANCELLED);
    rig_close(rig);
}

/* A refused change of priority takes what waits behind it with it; the job is none the worse. */
static void an_end_behind_a_refused_priority_keeps_its_text(void **state)
{
    struct rig *rig = rig_open();
    struct told told, changed = {0};
    struct ltd_bytes bytes;
    struct ltd_err err = {0};
    (void)state;
    submit(rig, 1, "", &told);
    slow_store_release(rig->store, LTD_OK);
    store_pin(rig->store, told.job);
    fake_engine_start(rig->engine, 0);
    rig_pump(rig);
    job_table_set_priority(rig->table, told.job, 20, rig_tell, &changed);
    fake_engine_finish_late(rig->engine, 0, ENGINE_FINISH_LENGTH, "held back");
    work_queue_pump(rig->queue);
    slow_store_release(rig->store, LTD_E_EXHAUSTED); /* the priority, and so the end behind it */
    slow_store_release_all(rig->store);
    assert_int_equal(changed.err.code, LTD_E_EXHAUSTED);
    assert_int_equal(told.job->state, JOB_SUCCEEDED);
    assert_int_equal(told.job->last_seq, 3);
    ltd_bytes_init(&bytes);
    assert_int_equal(wire_put_job(rig->store, told.job, WIRE_JOB_OUTPUT, &bytes, &err), 0);
    Latentd__V1__Job *job = latentd__v1__job__unpack(NULL, bytes.len, bytes.data);
    assert_non_null(job);
    assert_int_equal(job->output->tokens->text.len, strlen("held back"));
    latentd__v1__job__free_unpacked(job, NULL);
    ltd_bytes_fini(&bytes);
    store_unpin(rig->store, told.job);
    rig_close(rig);
}

static void an_end_that_cannot_be_kept_is_told_as_an_error(void **state)
{
    struct rig *rig = rig_open();
    struct told told, cancel = {0};
    struct witness w;
    (void)state;
    submit(rig, 1, "", &told);
    slow_store_release(rig->store, LTD_OK);
    rig_watch(rig, told.job, &w);
    job_table_cancel(rig->table, told.job, ENGINE_FINISH_CANCELLED, rig_tell, &cancel);
    work_queue_pump(rig->queue);
    slow_store_release(rig->store, LTD_E_EXHAUSTED);
    slow_store_release(rig->store, LTD_E_EXHAUSTED);
    assert_int_equal(cancel.n, 1);
    assert_int_equal(cancel.err.code, LTD_E_EXHAUSTED);
    assert_int_equal(w.n, 1);
    assert_null(w.watcher.live);
    assert_int_equal(w.job->state, JOB_QUEUED); /* the log does not say otherwise */
    assert_int_equal(job_table_n_live(rig->table), 0);
    rig_close(rig);
}

static void a_delete_forgets_when_the_end_is_in_the_log(void **state)
{
    struct rig *rig = rig_open();
    struct told told, deleted = {0};
    (void)state;
    submit(rig, 1, "req", &told);
    slow_store_release(rig->store, LTD_OK);
    fake_engine_start(rig->engine, 0);
    work_queue_pump(rig->queue);
    job_table_delete(rig->table, told.job, rig_tell, &deleted);
    work_queue_pump(rig->queue);
    assert_non_null(store_find(rig->store, told.id));
    slow_store_release_all(rig->store);
    assert_int_equal(deleted.n, 1);
    assert_int_equal(deleted.err.code, LTD_OK);
    assert_null(deleted.job);
    assert_null(store_find(rig->store, told.id));
    rig_close(rig);
}

static void a_stop_reaches_jobs_that_are_not_in_the_log_yet(void **state)
{
    struct rig *rig = rig_open();
    struct told told;
    (void)state;
    submit(rig, 1, "", &told);
    job_table_close(rig->table);
    job_table_stop_all(rig->table);
    slow_store_release(rig->store, LTD_OK);
    assert_int_equal(told.n, 1); /* it was accepted, */
    store_pin(rig->store, told.job);
    slow_store_release_all(rig->store);
    assert_int_equal(told.job->state, JOB_FAILED); /* and then ended, with the reason */
    assert_int_equal(told.job->error_code, LTD_E_UNAVAILABLE);
    assert_int_equal(fake_engine_n_jobs(rig->engine), 0);
    store_unpin(rig->store, told.job);
    submit(rig, 2, "", &told);
    assert_int_equal(told.err.code, LTD_E_UNAVAILABLE);
    rig_close(rig);
}

/* Once the service drains nobody can reach it to let a held job go, so waiting for one is for
 * nothing; all others have their time. */
static void a_drain_ends_what_is_held_back_and_nothing_else(void **state)
{
    struct rig *rig = rig_open();
    struct told held, waiting, running, changed, unlogged;
    (void)state;
    struct job_spec *spec = rig_make_spec(1);
    spec->priority = SPEC_PRIORITY_HOLD;
    rig_submit(rig, spec, "", &held);
    submit(rig, 2, "", &waiting);
    submit(rig, 3, "", &running);
    slow_store_release_all(rig->store);
    fake_engine_start(rig->engine, 2);
    rig_pump(rig);
    changed = (struct told){0}; /* a job that runs goes on, whatever its priority became */
    job_table_set_priority(rig->table, running.job, SPEC_PRIORITY_HOLD, rig_tell, &changed);
    slow_store_release_all(rig->store);
    assert_int_equal(changed.err.code, LTD_OK);
    spec = rig_make_spec(4);
    spec->priority = SPEC_PRIORITY_HOLD;
    rig_submit(rig, spec, "", &unlogged); /* its QUEUED still waits for the log */
    job_table_close(rig->table);
    rig_pump(rig);
    assert_int_equal(held.job->state, JOB_FAILED);
    assert_int_equal(held.job->error_code, LTD_E_UNAVAILABLE);
    assert_int_equal(unlogged.job->state, JOB_FAILED);
    assert_int_equal(unlogged.job->error_code, LTD_E_UNAVAILABLE);
    assert_int_equal(waiting.job->state, JOB_QUEUED);
    assert_int_equal(running.job->state, JOB_RUNNING);
    assert_int_equal(work_queue_n_unfinished(rig->queue), 2);
    assert_int_equal(job_table_n_queued(rig->table), 1);
    rig_close(rig);
}

static void jobs_in_front_are_counted_when_a_job_is_queued(void **state)
{
    struct rig *rig = rig_open();
    struct told told;
    (void)state;
    for (uint8_t i = 0; i < 6; i++) {
        submit(rig, i, "", &told);
        slow_store_release_all(rig->store);
        assert_int_equal(fake_engine_n_jobs(rig->engine), i + 1); /* the scheduler sees them all */
    }
    assert_int_equal(work_queue_n_unstarted(rig->queue), 6);
    fake_engine_start(rig->engine, 0);
    fake_engine_start(rig->engine, 1);
    rig_pump(rig);
    assert_int_equal(work_queue_n_unstarted(rig->queue), 4);
    assert_int_equal(work_queue_n_unfinished(rig->queue), 6);
    assert_int_equal(job_table_n_queued(rig->table), 4);
    fake_engine_finish(rig->engine, 1, ENGINE_FINISH_LENGTH, LTD_OK);
    rig_pump(rig);
    assert_int_equal(work_queue_n_unfinished(rig->queue), 5);
    assert_int_equal(job_table_n_finished(rig->table), 1);
    rig_close(rig);
}

/* ------------------------------------------------------------------------------------ room */

static void a_full_queue_says_when_to_try_again(void **state)
{
    struct rig *rig = rig_open();
    struct told told;
    (void)state;
    for (uint8_t i = 0; i < RIG_MAX_RUNNING + RIG_MAX_WAITING; i++) {
        submit(rig, i, "", &told);
        slow_store_release_all(rig->store);
        assert_int_equal(told.err.code, LTD_OK);
    }
    submit(rig, 99, "", &told);
    assert_int_equal(told.n, 1);
    assert_int_equal(told.err.code, LTD_E_EXHAUSTED);
    assert_int_equal(told.err.retry_after_ms, 1000); /* never sooner */
    assert_int_equal(slow_store_n_waiting(rig->store), 0);
    fake_engine_set_wait(rig->engine, 2345.1);
    submit(rig, 99, "", &told);
    assert_int_equal(told.err.retry_after_ms, 2346);
    fake_engine_finish(rig->engine, 5, ENGINE_FINISH_CANCELLED, LTD_OK);
    rig_pump(rig);
    submit(rig, 99, "", &told); /* one place is free: it was the sixth one's */
    slow_store_release_all(rig->store);
    assert_int_equal(told.err.code, LTD_OK);
    fake_engine_start(rig->engine, 12);
    rig_pump(rig);
    assert_int_equal(told.job->state, JOB_RUNNING);
    rig_close(rig);
}

/* A job that waits for the log has its place already: what is accepted is never refused later. */
static void jobs_that_wait_for_the_log_have_their_place(void **state)
{
    enum { N = RIG_MAX_RUNNING + RIG_MAX_WAITING };
    struct rig *rig = rig_open();
    struct told told[N], late;
    (void)state;
    for (uint8_t i = 0; i < N; i++)
        submit(rig, i, "", &told[i]);
    submit(rig, 99, "", &late);
    assert_int_equal(late.err.code, LTD_E_EXHAUSTED);
    slow_store_release(rig->store, LTD_E_EXHAUSTED); /* the first one never was */
    submit(rig, 99, "", &late);
    assert_int_equal(late.n, 0);
    slow_store_release_all(rig->store);
    assert_int_equal(told[0].err.code, LTD_E_EXHAUSTED);
    for (size_t i = 1; i < N; i++)
        assert_int_equal(told[i].job->state, JOB_QUEUED);
    assert_int_equal(late.job->state, JOB_QUEUED);
    assert_int_equal(fake_engine_n_jobs(rig->engine), N);
    rig_close(rig);
}

static void a_job_that_the_engine_refuses_fails_with_its_reason(void **state)
{
    struct rig *rig = rig_open();
    struct told told;
    (void)state;
    fake_engine_refuse(rig->engine, LTD_E_EXHAUSTED);
    submit(rig, 1, "", &told);
    slow_store_release_all(rig->store);
    assert_int_equal(told.n, 1);
    assert_int_equal(store_find(rig->store, told.id)->state, JOB_FAILED);
    assert_int_equal(store_find(rig->store, told.id)->error_code, LTD_E_EXHAUSTED);
    assert_int_equal(work_queue_n_unfinished(rig->queue), 0);
    rig_close(rig);
}

/* ------------------------------------------------------------------------- what is recorded */

static void a_job_carries_its_client_its_priority_and_its_own_name(void **state)
{
    struct rig *rig = rig_open();
    struct told told;
    struct job_spec *spec = rig_make_spec(1);
    (void)state;
    spec->priority = 9;
    snprintf(spec->client, sizeof spec->client, "10.1.2.3");
    rig_submit(rig, spec, "", &told);
    slow_store_release_all(rig->store);
    assert_int_equal(told.job->priority, 9);
    assert_string_equal(told.job->client, "10.1.2.3");
    assert_string_equal(told.job->continues, "");
    assert_string_equal(fake_engine_spec(rig->engine, 0)->key, told.id);
    assert_string_equal(fake_engine_spec(rig->engine, 0)->continues, "");
    rig_close(rig);
}

static void the_predicted_end_and_lateness_are_recorded(void **state)
{
    struct rig *rig = rig_open();
    struct told told;
    (void)state;
    submit(rig, 1, "", &told);
    slow_store_release_all(rig->store);
    fake_engine_start_predicted(rig->engine, 0, 123456789);
    rig_pump(rig);
    assert_int_equal(told.job->predicted_end_us, 123456789);
    fake_engine_finish_late(rig->engine, 0, ENGINE_FINISH_LENGTH, "x");
    rig_pump(rig);
    assert_int_equal(told.job->state, JOB_SUCCEEDED);
    assert_true(told.job->late);
    rig_close(rig);
}

/* ------------------------------------------------------------------------------------ time */

static struct job_spec *spec_with_time(uint64_t total_ms)
{
    struct job_spec *spec = rig_make_spec(1);
    spec->budget.total_ms = total_ms;
    return spec;
}

static void a_fixed_depth_that_comes_late_is_refused_with_both_times(void **state)
{
    struct rig *rig = rig_open();
    struct told told;
    (void)state;
    fake_engine_predict(rig->engine, 2000 * LTD_NS_PER_MS + 1);
    fake_engine_set_wait(rig->engine, 1500);
    rig_submit(rig, spec_with_time(2000), "", &told);
    assert_int_equal(told.err.code, LTD_E_EXHAUSTED);
    assert_non_null(strstr(told.err.msg, "2000"));
    assert_non_null(strstr(told.err.msg, "2001"));
    assert_int_equal(told.err.retry_after_ms, 1500);
    assert_int_equal(slow_store_n_waiting(rig->store), 0);
    assert_int_equal(job_table_n_live(rig->table), 0);
    fake_engine_predict(rig->engine, UINT64_MAX); /* as far as anybody can see: never */
    rig_submit(rig, spec_with_time(UINT64_MAX / LTD_NS_PER_MS / 2), "", &told);
    assert_int_equal(told.err.code, LTD_E_EXHAUSTED);
    rig_close(rig);
}

static void a_depth_that_fits_its_time_or_can_be_fitted_is_accepted(void **state)
{
    struct rig *rig = rig_open();
    struct told told;
    (void)state;
    fake_engine_predict(rig->engine, 2000 * LTD_NS_PER_MS);
    struct job_spec *just = spec_with_time(2000), *range = spec_with_time(1),
                    *adaptive = spec_with_time(1), *held = spec_with_time(1),
                    *timeless = spec_with_time(0);
    range->depth.is_range = true;
    adaptive->depth.rule.kind = MODEL_EXIT_LATENT_DIFF;
    held->priority = SPEC_PRIORITY_HOLD; /* waits for its owner, who knows when */
    timeless->budget.token_ms = 1;
    struct job_spec *all[] = {just, range, adaptive, held, timeless};
    for (size_t i = 0; i < 5; i++) {
        rig_submit(rig, all[i], "", &told);
        slow_store_release_all(rig->store);
        if (told.err.code != LTD_OK)
            fail_msg("case %zu: %s", i, told.err.msg);
    }
    rig_close(rig);
}

/* -------------------------------------------------------------------------------- priority */

static void set_priority(struct rig *rig, const struct job *job, uint32_t priority,
                         struct told *told)
{
    *told = (struct told){0};
    job_table_set_priority(rig->table, job, priority, rig_tell, told);
}

static void a_priority_is_told_to_the_engine_when_it_is_in_the_log(void **state)
{
    struct rig *rig = rig_open();
    struct told told, first, second;
    struct witness w;
    (void)state;
    submit(rig, 1, "", &told);
    slow_store_release_all(rig->store);
    rig_watch(rig, told.job, &w);
    for (int round = 0; round < 2; round++) { /* queued, then running */
        set_priority(rig, told.job, 0, &first);
        set_priority(rig, told.job, 31, &second);
        assert_int_equal(first.n + second.n, 0);
        assert_int_equal(fake_engine_n_priorities(rig->engine), 2 * round);
        slow_store_release(rig->store, LTD_OK);
        assert_int_equal(first.n, 1);
        assert_int_equal(first.job->priority, 0);
        assert_int_equal(second.n, 0);
        assert_int_equal(fake_engine_priority(rig->engine, 0), 0);
        slow_store_release(rig->store, LTD_OK);
        assert_int_equal(second.job->priority, 31);
        assert_int_equal(fake_engine_priority(rig->engine, 0), 31);
        assert_int_equal(w.n, 3 * round + 2);
        assert_int_equal(w.last_seq, told.job->last_seq);
        if (round == 0)
            fake_engine_start(rig->engine, 0);
        rig_pump(rig);
    }
    assert_int_equal(told.job->state, JOB_RUNNING);
    assert_int_equal(told.job->n_priority_changes, 4);
    job_table_unwatch(&w.watcher);
    fake_engine_finish(rig->engine, 0, ENGINE_FINISH_LENGTH, LTD_OK);
    rig_close(rig);
}

static void the_priority_that_a_job_has_is_no_change(void **state)
{
    struct rig *rig = rig_open();
    struct told told, answer, first;
    (void)state;
    submit(rig, 1, "", &told);
    slow_store_release_all(rig->store);
    set_priority(rig, told.job, SPEC_PRIORITY_DEFAULT, &answer);
    assert_int_equal(answer.n, 1);
    assert_ptr_equal(answer.job, told.job);
    assert_int_equal(told.job->last_seq, 1);
    /* But it is one while another change is on its way. */
    set_priority(rig, told.job, 3, &first);
    set_priority(rig, told.job, SPEC_PRIORITY_DEFAULT, &answer);
    assert_int_equal(answer.n, 0);
    slow_store_release_all(rig->store);
    assert_int_equal(answer.job->priority, SPEC_PRIORITY_DEFAULT);
    assert_int_equal(fake_engine_priority(rig->engine, 0), SPEC_PRIORITY_DEFAULT);
    rig_close(rig);
}

static void a_priority_that_the_log_refuses_is_no_change_and_the_job_goes_on(void **state)
{
    struct rig *rig = rig_open();
    struct told told, answer;
    struct witness w;
    (void)state;
    submit(rig, 1, "", &told);
    slow_store_release_all(rig->store);
    rig_watch(rig, told.job, &w);
    set_priority(rig, told.job, 3, &answer);
    slow_store_release(rig->store, LTD_E_EXHAUSTED);
    assert_int_equal(answer.n, 1);
    assert_int_equal(answer.err.code, LTD_E_EXHAUSTED);
    assert_int_equal(told.job->priority, SPEC_PRIORITY_DEFAULT);
    assert_int_equal(fake_engine_n_priorities(rig->engine), 0);
    assert_int_equal(w.n, 0);
    fake_engine_start(rig->engine, 0);
    fake_engine_token(rig->engine, 0, 5, "a", 1);
    rig_pump(rig);
    assert_int_equal(told.job->output_tokens, 1);
    job_table_unwatch(&w.watcher);
    rig_close(rig);
}

static void a_job_that_ends_has_no_priority_any_more(void **state)
{
    struct rig *rig = rig_open();
    struct told told, early, late;
    (void)state;
    submit(rig, 1, "", &told);
    slow_store_release_all(rig->store);
    set_priority(rig, told.job, 3, &early); /* before the end, in the log and in fact */
    fake_engine_finish(rig->engine, 0, ENGINE_FINISH_CANCELLED, LTD_OK);
    work_queue_pump(rig->queue);
    set_priority(rig, told.job, 4, &late); /* the end is on its way into the log */
    assert_int_equal(late.err.code, LTD_E_PRECONDITION);
    slow_store_release_all(rig->store);
    assert_int_equal(early.n, 1);
    assert_int_equal(early.err.code, LTD_OK);
    assert_int_equal(told.job->priority, 3);
    assert_int_equal(told.job->state, JOB_CANCELLED);
    set_priority(rig, told.job, 3, &late);
    assert_int_equal(late.n, 1);
    assert_int_equal(late.err.code, LTD_E_PRECONDITION);
    assert_int_equal(fake_engine_n_priorities(rig->engine), 0);
    rig_close(rig);
}

/* The log of a job is bounded when it is accepted, so the events that others can cause are too. */
static void a_priority_can_be_changed_so_often(void **state)
{
    struct rig *rig = rig_open();
    struct told told, answer;
    (void)state;
    submit(rig, 1, "", &told);
    slow_store_release_all(rig->store);
    for (uint32_t i = 0; i < JOB_PRIORITY_CHANGES_MAX; i++) {
        set_priority(rig, told.job, i % 2, &answer);
        if (i % 10 == 0)
            slow_store_release_all(rig->store);
    }
    set_priority(rig, told.job, 5, &answer); /* those that wait for the log count */
    assert_int_equal(answer.n, 1);
    assert_int_equal(answer.err.code, LTD_E_EXHAUSTED);
    slow_store_release_all(rig->store);
    assert_int_equal(told.job->n_priority_changes, JOB_PRIORITY_CHANGES_MAX);
    fake_engine_start(rig->engine, 0);
    fake_engine_finish(rig->engine, 0, ENGINE_FINISH_LENGTH, LTD_OK);
    rig_pump(rig);
    assert_int_equal(told.job->state, JOB_SUCCEEDED);
    rig_close(rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_job_is_answered_and_begun_when_it_is_in_the_log),
        cmocka_unit_test(a_job_that_the_log_refuses_never_was),
        cmocka_unit_test(a_repeated_request_waits_for_the_first_one),
        cmocka_unit_test(watchers_hear_of_tokens_when_they_are_in_the_log),
        cmocka_unit_test(a_cancel_is_answered_when_the_end_is_in_the_log),
        cmocka_unit_test(a_token_that_the_log_refuses_ends_the_job_and_nothing_follows_it),
        cmocka_unit_test(an_end_behind_a_refused_token_is_the_failure_that_it_is),
        cmocka_unit_test(an_end_that_is_refused_once_is_tried_again_without_its_text),
        cmocka_unit_test(an_end_behind_a_refused_priority_keeps_its_text),
        cmocka_unit_test(an_end_that_cannot_be_kept_is_told_as_an_error),
        cmocka_unit_test(a_delete_forgets_when_the_end_is_in_the_log),
        cmocka_unit_test(a_stop_reaches_jobs_that_are_not_in_the_log_yet),
        cmocka_unit_test(a_drain_ends_what_is_held_back_and_nothing_else),
        cmocka_unit_test(jobs_in_front_are_counted_when_a_job_is_queued),
        cmocka_unit_test(a_full_queue_says_when_to_try_again),
        cmocka_unit_test(jobs_that_wait_for_the_log_have_their_place),
        cmocka_unit_test(a_job_that_the_engine_refuses_fails_with_its_reason),
        cmocka_unit_test(a_job_carries_its_client_its_priority_and_its_own_name),
        cmocka_unit_test(the_predicted_end_and_lateness_are_recorded),
        cmocka_unit_test(a_fixed_depth_that_comes_late_is_refused_with_both_times),
        cmocka_unit_test(a_depth_that_fits_its_time_or_can_be_fitted_is_accepted),
        cmocka_unit_test(a_priority_is_told_to_the_engine_when_it_is_in_the_log),
        cmocka_unit_test(the_priority_that_a_job_has_is_no_change),
        cmocka_unit_test(a_priority_that_the_log_refuses_is_no_change_and_the_job_goes_on),
        cmocka_unit_test(a_job_that_ends_has_no_priority_any_more),
        cmocka_unit_test(a_priority_can_be_changed_so_often),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
