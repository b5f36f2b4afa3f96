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

#include "daemon/job_table.h"
#include "fake_engine.h"
#include "slow_store.h"

struct rig {
    uv_loop_t loop;
    struct store *store;
    struct work_queue *queue;
    struct engine *engine;
    struct job_table *table;
};

static struct rig *rig_open(void)
{
    struct rig *rig = calloc(1, sizeof *rig);
    struct ltd_err err = {0};
    struct work_limits limits = {.max_running = 2, .max_waiting = 10};
    assert_non_null(rig);
    assert_int_equal(uv_loop_init(&rig->loop), 0);
    rig->store = slow_store_create();
    rig->queue = work_queue_create(&rig->loop, &limits, &err);
    struct job_table_config config = {.store = rig->store, .queue = rig->queue, .tier = "ref"};
    rig->table = job_table_create(&config, &err);
    rig->engine = fake_engine_create(work_notify, rig->queue);
    work_queue_attach(rig->queue, rig->engine);
    job_table_attach(rig->table, rig->engine);
    return rig;
}

static void rig_close(struct rig *rig)
{
    slow_store_release_all(rig->store);
    job_table_stop_all(rig->table);
    work_queue_pump(rig->queue);
    slow_store_release_all(rig->store);
    job_table_destroy(rig->table);
    work_queue_close(rig->queue);
    uv_run(&rig->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&rig->loop), 0);
    store_destroy(rig->store);
    fake_engine_destroy(rig->engine);
    free(rig);
}

static struct job_spec *make_spec(uint8_t variant)
{
    struct job_spec *spec = calloc(1, sizeof *spec);
    assert_non_null(spec);
    spec->prompt = calloc(3, sizeof *spec->prompt);
    spec->wire = malloc(1);
    assert_true(spec->prompt && spec->wire);
    spec->n_prompt = 3;
    spec->max_tokens = 10;
    spec->n_logprobs = -1;
    spec->wire[0] = variant;
    spec->wire_len = 1;
    return spec;
}

/* What somebody who asked was told. */
struct told {
    int n;
    enum ltd_code code;
    const struct job *job;
    char id[JOB_ID_CHARS + 1];
};

static void tell(void *arg, const struct job *job, const struct ltd_err *err)
{
    struct told *told = arg;
    told->n++;
    told->code = err->code;
    told->job = job;
    if (job)
        memcpy(told->id, job->id, sizeof told->id);
}

static void submit(struct rig *rig, uint8_t variant, const char *request_id, struct told *told)
{
    *told = (struct told){0};
    job_table_submit(rig->table, make_spec(variant), request_id, tell, told);
}

struct witness {
    struct job_watcher watcher; /* first */
    const struct job *job;
    int n;
    uint64_t last_seq; /* of the job, when it was called last */
};

static void on_change(struct job_watcher *watcher)
{
    struct witness *w = (struct witness *)watcher;
    w->n++;
    w->last_seq = w->job->last_seq;
}

static void watch(struct rig *rig, const struct job *job, struct witness *w)
{
    *w = (struct witness){.watcher.on_change = on_change, .job = job};
    job_table_watch(rig->table, job, &w->watcher);
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
    assert_int_equal(told.code, LTD_OK);
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
    assert_int_equal(told.code, LTD_E_EXHAUSTED);
    assert_null(told.job);
    assert_int_equal(job_table_n_live(rig->table), 0);
    assert_int_equal(fake_engine_n_jobs(rig->engine), 0);
    submit(rig, 2, "req", &told); /* the request id is free */
    slow_store_release(rig->store, LTD_OK);
    assert_int_equal(told.code, LTD_OK);
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
    assert_int_equal(other.code, LTD_E_EXISTS);
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
    assert_int_equal(other.code, LTD_E_EXISTS);
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
    watch(rig, told.job, &w);
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
    watch(rig, told.job, &w);
    first = second = (struct told){0};
    job_table_cancel(rig->table, told.job, ENGINE_FINISH_CANCELLED, tell, &first);
    work_queue_pump(rig->queue);
    job_table_cancel(rig->table, told.job, ENGINE_FINISH_CANCELLED, tell, &second);
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

static void an_end_that_is_refused_once_is_tried_again_without_its_text(void **state)
{
    struct rig *rig = rig_open();
    struct told told, cancel = {0};
    (void)state;
    submit(rig, 1, "", &told);
    slow_store_release(rig->store, LTD_OK);
    job_table_cancel(rig->table, told.job, ENGINE_FINISH_CANCELLED, tell, &cancel);
    work_queue_pump(rig->queue);
    slow_store_release(rig->store, LTD_E_EXHAUSTED);
    assert_int_equal(cancel.n, 0);
    assert_int_equal(slow_store_n_waiting(rig->store), 1);
    slow_store_release(rig->store, LTD_OK);
    assert_int_equal(cancel.n, 1);
    assert_int_equal(cancel.job->state, JOB_CANCELLED);
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
    watch(rig, told.job, &w);
    job_table_cancel(rig->table, told.job, ENGINE_FINISH_CANCELLED, tell, &cancel);
    work_queue_pump(rig->queue);
    slow_store_release(rig->store, LTD_E_EXHAUSTED);
    slow_store_release(rig->store, LTD_E_EXHAUSTED);
    assert_int_equal(cancel.n, 1);
    assert_int_equal(cancel.code, LTD_E_EXHAUSTED);
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
    job_table_delete(rig->table, told.job, tell, &deleted);
    work_queue_pump(rig->queue);
    assert_non_null(store_find(rig->store, told.id));
    slow_store_release_all(rig->store);
    assert_int_equal(deleted.n, 1);
    assert_int_equal(deleted.code, LTD_OK);
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
    assert_int_equal(told.code, LTD_E_UNAVAILABLE);
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
    }
    assert_int_equal(fake_engine_n_jobs(rig->engine), 4); /* two run, two are looked ahead */
    assert_int_equal(work_queue_n_unstarted(rig->queue), 6);
    fake_engine_start(rig->engine, 0);
    fake_engine_start(rig->engine, 1);
    work_queue_pump(rig->queue);
    slow_store_release_all(rig->store);
    assert_int_equal(work_queue_n_unstarted(rig->queue), 4);
    assert_int_equal(job_table_n_queued(rig->table), 4);
    fake_engine_finish(rig->engine, 1, ENGINE_FINISH_LENGTH, LTD_OK);
    work_queue_pump(rig->queue);
    slow_store_release_all(rig->store);
    assert_int_equal(fake_engine_n_jobs(rig->engine), 5);
    assert_int_equal(job_table_n_finished(rig->table), 1);
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
        cmocka_unit_test(an_end_that_is_refused_once_is_tried_again_without_its_text),
        cmocka_unit_test(an_end_that_cannot_be_kept_is_told_as_an_error),
        cmocka_unit_test(a_delete_forgets_when_the_end_is_in_the_log),
        cmocka_unit_test(a_stop_reaches_jobs_that_are_not_in_the_log_yet),
        cmocka_unit_test(jobs_in_front_are_counted_when_a_job_is_queued),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
