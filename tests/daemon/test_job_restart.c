/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/daemon/test_job_restart.c - jobs outlive the process: parked, recovered, gone on with.
 *
 * One log, and one job table after the other over it; the engine does what the test says. That the
 * real engine's bytes are the same after a restart is for test_engine_restart and the programs
 * under tests/e2e; here it is what the table makes of what the log holds.
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
#include "daemon/job_given.h"
#include "table_rig.h"

/* A spec that can be read back; `change` may alter it first. */
static struct job_spec *make_spec(void (*change)(Latentd__V1__JobSpec *message))
{
    Latentd__V1__JobSpec message = LATENTD__V1__JOB_SPEC__INIT;
    message.max_tokens = 10;
    if (change)
        change(&message);
    return rig_decode(NULL, &message, NULL);
}

static const struct job *submit_as(struct rig *rig, const struct job_caller *caller,
                                   struct job_spec *take_spec, const char *request_id)
{
    struct told told = {0};
    job_table_submit(rig->table, take_spec, caller, request_id, rig_tell, &told);
    slow_store_release_all(rig->store);
    assert_int_equal(told.err.code, LTD_OK);
    return told.job;
}

static const struct job *submit(struct rig *rig, void (*change)(Latentd__V1__JobSpec *message))
{
    return submit_as(rig, &(struct job_caller){0}, make_spec(change), "");
}

/* Tokens begin .. end - 1; token i has id 100 + i, 4 + i steps, and its number as text. */
static void write_tokens(struct rig *rig, size_t job_idx, int32_t begin, int32_t end)
{
    char text[16];
    for (int32_t i = begin; i < end; i++) {
        struct engine_token token = {.id = 100 + i, .steps = 4 + i, .n_top = -1};
        snprintf(text, sizeof text, "%d ", i);
        fake_engine_write(rig->engine, job_idx, &token, text, strlen(text));
    }
}

/* A job that has written `n` tokens. */
static void begin_job(struct rig *rig, void (*change)(Latentd__V1__JobSpec *message), int32_t n,
                      char id[JOB_ID_CHARS + 1])
{
    memcpy(id, submit(rig, change)->id, JOB_ID_CHARS + 1);
    fake_engine_start(rig->engine, 0);
    write_tokens(rig, 0, 0, n);
    rig_pump(rig);
}

/* Job 0 of the engine begins and ends. */
static void run_first(struct rig *rig)
{
    fake_engine_start(rig->engine, 0);
    fake_engine_finish(rig->engine, 0, ENGINE_FINISH_EOS, LTD_OK);
    rig_pump(rig);
}

/* The process ends, and the next one finds `n` unfinished jobs. */
static void restart(struct rig *rig, int n)
{
    rig_end(rig);
    rig_begin(rig);
    assert_int_equal(rig_recover(rig), n);
}

static void restart_behind(struct rig *rig, void (*change)(Latentd__V1__JobSpec *message),
                           int32_t n, char id[JOB_ID_CHARS + 1])
{
    begin_job(rig, change, n, id);
    restart(rig, 1);
}

/* The id again: handles of a log that is a memory stay, but that is no promise. */
static const struct job *find(struct rig *rig, const char *id)
{
    return store_find(rig->store, id);
}

struct seen {
    uint64_t n_started, n_tokens, last_seq;
};

static bool check_event(void *arg, const struct job_event *event)
{
    struct seen *seen = arg;
    assert_int_equal(event->seq, ++seen->last_seq);
    seen->n_started += event->kind == JOB_EV_STARTED;
    if (event->kind != JOB_EV_TOKEN)
        return true;
    assert_int_equal(event->token.id, 100 + (int32_t)seen->n_tokens++);
    return true;
}

/* The log of an undisturbed job: started once, tokens 0 .. n - 1 once each. */
static void assert_log(struct rig *rig, const struct job *job, uint64_t n)
{
    struct seen seen = {0};
    assert_int_equal(store_read(rig->store, job, 0, check_event, &seen, NULL), 0);
    assert_int_equal(seen.n_started, 1);
    assert_int_equal(seen.n_tokens, n);
}

/* --------------------------------------------------------------------------------------- */

static void a_job_goes_on_behind_its_last_token(void **state)
{
    struct rig *rig = rig_open_durable();
    char id[JOB_ID_CHARS + 1];
    (void)state;
    begin_job(rig, NULL, 3, id);
    rig_end(rig);
    assert_int_equal(find(rig, id)->state, JOB_RUNNING);

    rig_begin(rig);
    assert_int_equal(rig_recover(rig), 1);
    const struct job_spec *spec = fake_engine_spec(rig->engine, 0);
    assert_string_equal(spec->key, id);
    assert_int_equal(spec->known.n, 2); /* the third is chosen again */
    assert_int_equal(spec->known.ids[1], 101);
    assert_int_equal(spec->known.steps[1], 5);
    fake_engine_start(rig->engine, 0);
    write_tokens(rig, 0, 2, 5);
    fake_engine_finish(rig->engine, 0, ENGINE_FINISH_LENGTH, LTD_OK);
    rig_pump(rig);
    assert_int_equal(find(rig, id)->state, JOB_SUCCEEDED);
    assert_log(rig, find(rig, id), 5);
    rig_close(rig);
}

static void a_job_survives_many_restarts(void **state)
{
    struct rig *rig = rig_open_durable();
    char id[JOB_ID_CHARS + 1];
    (void)state;
    memcpy(id, submit(rig, NULL)->id, sizeof id);
    for (int32_t n = 0; n < 9; n++) {
        fake_engine_start(rig->engine, 0);
        write_tokens(rig, 0, n > 0 ? n - 1 : 0, n + 1);
        rig_pump(rig);
        restart(rig, 1);
        assert_int_equal(fake_engine_spec(rig->engine, 0)->known.n, n);
    }
    fake_engine_start(rig->engine, 0);
    write_tokens(rig, 0, 8, 10);
    fake_engine_finish(rig->engine, 0, ENGINE_FINISH_LENGTH, LTD_OK);
    rig_pump(rig);
    assert_log(rig, find(rig, id), 10);
    rig_close(rig);
}

static void jobs_that_had_not_begun_begin_in_their_order(void **state)
{
    struct rig *rig = rig_open_durable();
    char ids[3][JOB_ID_CHARS + 1];
    (void)state;
    for (int i = 0; i < 3; i++)
        memcpy(ids[i], submit(rig, NULL)->id, sizeof ids[i]);
    restart(rig, 3);
    assert_int_equal(job_table_n_queued(rig->table), 3);
    for (size_t i = 0; i < 3; i++)
        assert_string_equal(fake_engine_spec(rig->engine, i)->key, ids[i]);
    rig_close(rig);
}

static void another_token_than_before_ends_the_job_and_is_not_appended(void **state)
{
    struct rig *rig = rig_open_durable();
    char id[JOB_ID_CHARS + 1];
    (void)state;
    restart_behind(rig, NULL, 3, id);
    fake_engine_start(rig->engine, 0);
    struct engine_token token = {.id = 103, .steps = 6, .n_top = -1};
    fake_engine_write(rig->engine, 0, &token, "2 ", 2);
    write_tokens(rig, 0, 3, 4);
    rig_pump(rig);
    rig_pump(rig);
    const struct job *job = find(rig, id);
    assert_int_equal(job->state, JOB_FAILED);
    assert_int_equal(job->error_code, LTD_E_CORRUPT);
    assert_non_null(strstr(job->error_msg, "102"));
    assert_int_equal(job->output_tokens, 3);
    rig_close(rig);
}

struct tail {
    size_t len;
};

static bool note_tail(void *arg, const struct job_event *event)
{
    if (event->kind >= JOB_EV_SUCCEEDED && event->kind <= JOB_EV_FAILED)
        ((struct tail *)arg)->len = event->text_len;
    return true;
}

static size_t tail_of(struct rig *rig, const struct job *job)
{
    struct tail tail = {SIZE_MAX};
    assert_int_equal(store_read(rig->store, job, 0, note_tail, &tail, NULL), 0);
    return tail.len;
}

/* What the engine holds back then lies before the last token, whose text the log has. */
static void an_end_before_the_last_token_came_again_repeats_no_text(void **state)
{
    struct rig *rig = rig_open_durable();
    char id[JOB_ID_CHARS + 1];
    (void)state;
    memcpy(id, submit(rig, NULL)->id, sizeof id);
    fake_engine_start(rig->engine, 0);
    write_tokens(rig, 0, 0, 3);
    struct engine_token deep = {
        .id = 103, .steps = 1000, .n_top = -1}; /* more than the engine says */
    fake_engine_write(rig->engine, 0, &deep, "3 ", 2);
    rig_pump(rig);
    uint64_t steps = find(rig, id)->total_steps;
    restart(rig, 1);
    fake_engine_start(rig->engine, 0);
    fake_engine_finish_late(rig->engine, 0, ENGINE_FINISH_DEADLINE, "1 ");
    rig_pump(rig);
    const struct job *job = find(rig, id);
    assert_int_equal(job->finish, JOB_FINISH_DEADLINE);
    assert_int_equal(tail_of(rig, job), 0);
    assert_int_equal(job->total_steps, steps);
    rig_close(rig);
}

static void text_behind_a_token_that_is_not_in_the_log_is_not_in_it_either(void **state)
{
    struct rig *rig = rig_open_durable();
    char id[JOB_ID_CHARS + 1];
    (void)state;
    restart_behind(rig, NULL, 1, id);
    fake_engine_obey_cancels(rig->engine, false);
    fake_engine_start(rig->engine, 0);
    write_tokens(rig, 0, 1, 2);
    fake_engine_finish_late(rig->engine, 0, ENGINE_FINISH_EOS, "held");
    rig_pump(rig);
    const struct job *job = find(rig, id);
    assert_int_equal(job->error_code, LTD_E_CORRUPT);
    assert_int_equal(tail_of(rig, job), 0);
    rig_close(rig);
}

/* The log has token 100 after 4 steps with the text "0 ". */
static void assert_refused(int32_t id, int32_t steps, const char *text)
{
    struct rig *rig = rig_open_durable();
    char job_id[JOB_ID_CHARS + 1];
    restart_behind(rig, NULL, 1, job_id);
    fake_engine_start(rig->engine, 0);
    struct engine_token token = {.id = id, .steps = steps, .n_top = -1};
    fake_engine_write(rig->engine, 0, &token, text, strlen(text));
    rig_pump(rig);
    rig_pump(rig);
    assert_int_equal(find(rig, job_id)->error_code, LTD_E_CORRUPT);
    assert_int_equal(find(rig, job_id)->output_tokens, 1);
    rig_close(rig);
}

static void other_text_or_depth_of_the_same_token_ends_the_job_too(void **state)
{
    (void)state;
    assert_refused(100, 4, "x ");
    assert_refused(100, 4, "0 0");
    assert_refused(100, 4, "0");
    assert_refused(100, 5, "0 ");
    assert_refused(101, 4, "0 ");
}

static void a_job_of_a_call_ends_with_the_process(void **state)
{
    struct rig *rig = rig_open_durable();
    struct job_caller caller = {.is_attached = true};
    const struct job *job = submit_as(rig, &caller, make_spec(NULL), "");
    char id[JOB_ID_CHARS + 1];
    (void)state;
    memcpy(id, job->id, sizeof id);
    fake_engine_start(rig->engine, 0);
    rig_pump(rig);
    job_table_park(rig->table); /* not touched: its caller may still be there */
    rig_pump(rig);
    assert_int_equal(job_table_n_live(rig->table), 1);
    job_table_stop_all(rig->table);
    rig_pump(rig);
    assert_int_equal(find(rig, id)->state, JOB_FAILED);
    assert_int_equal(find(rig, id)->error_code, LTD_E_UNAVAILABLE);
    rig_end(rig);
    rig_begin(rig);
    rig_close(rig);
}

static void ignore_kept(void *arg, const struct ltd_err *result)
{
    (void)arg;
    assert_int_equal(result->code, LTD_OK);
}

static void a_job_whose_call_died_with_the_process_has_failed(void **state)
{
    struct rig *rig = rig_open_durable();
    char id[JOB_ID_CHARS + 1];
    (void)state;
    struct job_event event = {.kind = JOB_EV_QUEUED, .time_us = 5};
    struct job_id_maker maker = {0};
    uint8_t nothing = 0;
    job_id_make(&maker, id);
    event.queued = (struct job_queued){.request_id = "",
                                       .label = "",
                                       .tier = "ref",
                                       .client = "",
                                       .continues = "",
                                       .numerics = "elsewhere", /* it fails whatever it needs */
                                       .is_attached = true,
                                       .spec = &nothing};
    store_append(rig->store, id, &event, ignore_kept, NULL);
    slow_store_release_all(rig->store);
    assert_int_equal(rig_recover(rig), 1);
    assert_int_equal(find(rig, id)->error_code, LTD_E_UNAVAILABLE);
    assert_int_equal(fake_engine_n_jobs(rig->engine), 0);
    rig_close(rig);
}

static void a_job_of_other_numerics_waits_and_can_be_cancelled(void **state)
{
    struct rig *rig = rig_open_durable();
    struct told told = {0};
    char id[JOB_ID_CHARS + 1];
    (void)state;
    memcpy(id, submit(rig, NULL)->id, sizeof id);
    rig_end(rig);
    rig->config.numerics = "elsewhere";
    rig_begin(rig);
    assert_int_equal(rig_recover(rig), 1);
    assert_int_equal(fake_engine_n_jobs(rig->engine), 0);
    assert_int_equal(find(rig, id)->state, JOB_QUEUED);
    submit(rig, NULL); /* others are not held up */
    assert_int_equal(fake_engine_n_jobs(rig->engine), 1);
    rig_end(rig); /* and it waits as long as it must */

    rig_begin(rig);
    assert_int_equal(rig_recover(rig), 2);
    job_table_cancel(rig->table, find(rig, id), ENGINE_FINISH_CANCELLED, rig_tell, &told);
    slow_store_release_all(rig->store);
    assert_int_equal(told.n, 1);
    assert_int_equal(find(rig, id)->state, JOB_CANCELLED);
    rig_end(rig);

    rig->config.numerics = "here";
    rig_begin(rig);
    assert_int_equal(rig_recover(rig), 1); /* the one that was begun elsewhere waits here */
    assert_int_equal(fake_engine_n_jobs(rig->engine), 0);
    rig->config.numerics = "elsewhere";
    restart(rig, 1);
    assert_int_equal(fake_engine_n_jobs(rig->engine), 1);
    rig_close(rig);
}

static void a_job_of_other_numerics_fails_where_that_is_configured(void **state)
{
    struct rig *rig = rig_open_durable();
    char id[JOB_ID_CHARS + 1];
    (void)state;
    memcpy(id, submit(rig, NULL)->id, sizeof id);
    rig_end(rig);
    rig->config.numerics = "elsewhere";
    rig->config.fails_foreign = true;
    rig_begin(rig);
    assert_int_equal(rig_recover(rig), 1);
    const struct job *job = find(rig, id);
    assert_int_equal(job->state, JOB_FAILED);
    assert_int_equal(job->error_code, LTD_E_PRECONDITION);
    assert_non_null(strstr(job->error_msg, "here"));
    assert_non_null(strstr(job->error_msg, "elsewhere"));
    rig_close(rig);
}

static void leave_open(Latentd__V1__JobSpec *message)
{
    message->max_tokens = 0;
}

static void what_a_default_gave_a_job_stays_when_the_default_changes(void **state)
{
    struct rig *rig = rig_open_durable();
    (void)state;
    submit(rig, leave_open);
    int32_t max_tokens = fake_engine_spec(rig->engine, 0)->max_tokens;
    rig_end(rig);
    rig_begin(rig);
    rig_default_tokens = max_tokens - 3;
    assert_int_equal(rig_recover(rig), 1);
    rig_default_tokens = max_tokens;
    assert_int_equal(fake_engine_spec(rig->engine, 0)->max_tokens, max_tokens);
    rig_close(rig);
}

static void early_steps_stay_what_they_were_when_the_default_changes(void **state)
{
    static const int32_t had[] = {5, 0};
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct rig *rig = rig_open_durable();
        rig_default_early_steps = had[i];
        const struct job *job = submit(rig, NULL);
        assert_int_equal(job_early_steps(job), had[i]);
        rig_end(rig);
        rig_begin(rig);
        rig_default_early_steps = 3;
        assert_int_equal(rig_recover(rig), 1);
        rig_default_early_steps = 0;
        assert_int_equal(fake_engine_spec(rig->engine, 0)->depth.early_steps, had[i]);
        rig_close(rig);
    }
}

/* An early copy in another format, or none, is of no matter to a job without early steps. */
static void a_job_with_early_steps_waits_for_the_format_they_are_made_in(void **state)
{
    struct rig *rig = rig_open_durable();
    char with[JOB_ID_CHARS + 1];
    (void)state;
    rig_default_early_steps = 5;
    memcpy(with, submit(rig, NULL)->id, sizeof with);
    rig_default_early_steps = 0;
    submit(rig, NULL);
    rig_end(rig);
    rig->config.early_format = "int4";
    rig_begin(rig);
    assert_int_equal(rig_recover(rig), 2);
    assert_int_equal(fake_engine_n_jobs(rig->engine), 1);
    assert_int_equal(fake_engine_spec(rig->engine, 0)->depth.early_steps, 0);
    rig->config.early_format = "";
    restart(rig, 2);
    assert_int_equal(fake_engine_n_jobs(rig->engine), 1);
    rig->config.early_format = "int8";
    restart(rig, 2);
    assert_int_equal(fake_engine_n_jobs(rig->engine), 2);
    assert_string_equal(fake_engine_spec(rig->engine, 0)->key, with);
    assert_int_equal(fake_engine_spec(rig->engine, 0)->depth.early_steps, 5);
    rig_close(rig);
}

static void the_priority_is_the_last_one_it_had(void **state)
{
    struct rig *rig = rig_open_durable();
    struct told told = {0};
    (void)state;
    const struct job *job = submit(rig, NULL);
    job_table_set_priority(rig->table, job, 29, rig_tell, &told);
    slow_store_release_all(rig->store);
    assert_int_equal(told.err.code, LTD_OK);
    restart(rig, 1);
    assert_int_equal(fake_engine_spec(rig->engine, 0)->priority, 29);
    rig_close(rig);
}

static void take_range(Latentd__V1__JobSpec *message)
{
    static Latentd__V1__Depth depth = LATENTD__V1__DEPTH__INIT;
    static Latentd__V1__DepthRange range = LATENTD__V1__DEPTH_RANGE__INIT;
    depth.mode_case = LATENTD__V1__DEPTH__MODE_RANGE;
    depth.range = &range;
    message->depth = &depth;
}

static void a_depth_that_the_clock_chose_is_taken_from_the_log(void **state)
{
    struct rig *rig = rig_open_durable();
    char id[JOB_ID_CHARS + 1];
    (void)state;
    restart_behind(rig, take_range, 3, id);
    const struct spec_depth *depth = &fake_engine_spec(rig->engine, 0)->depth;
    assert_int_equal(depth->n_at, 1);
    assert_int_equal(depth->at[0].token, 2);
    assert_int_equal(depth->at[0].steps, 6);
    rig_close(rig);
}

static void limit_run(Latentd__V1__JobSpec *message)
{
    message->max_run_ms = 1000000;
}

static void time_limits_go_on_counting_while_nobody_serves(void **state)
{
    struct rig *rig = rig_open_durable();
    (void)state;
    const struct job *job = submit(rig, limit_run);
    fake_engine_start(rig->engine, 0);
    rig_pump(rig);
    rig_end(rig);
    ((struct job *)(uintptr_t)job)->start_us = ltd_wall_us() - (int64_t)400 * 1000 * 1000;
    rig_begin(rig);
    rig_recover(rig);
    uint64_t left = fake_engine_spec(rig->engine, 0)->max_run_ms;
    assert_true(left > 500000 && left <= 600000);
    rig_end(rig);
    ((struct job *)(uintptr_t)job)->start_us = ltd_wall_us() - (int64_t)4000 * 1000 * 1000;
    rig_begin(rig);
    rig_recover(rig);
    assert_int_equal(fake_engine_spec(rig->engine, 0)->max_run_ms, 1);
    rig_end(rig);
    ((struct job *)(uintptr_t)job)->start_us = ltd_wall_us() + (int64_t)4000 * 1000 * 1000;
    rig_begin(rig);
    rig_recover(rig); /* the clock was set back: no time is taken */
    assert_int_equal(fake_engine_spec(rig->engine, 0)->max_run_ms, 1000000);
    rig_close(rig);
}

static void a_lost_rank_takes_no_job_with_it(void **state)
{
    struct rig *rig = rig_open_durable();
    char id[JOB_ID_CHARS + 1];
    (void)state;
    memcpy(id, submit(rig, NULL)->id, sizeof id);
    fake_engine_start(rig->engine, 0);
    write_tokens(rig, 0, 0, 2);
    fake_engine_finish(rig->engine, 0, ENGINE_FINISH_ERROR, LTD_E_RANK);
    rig_pump(rig);
    assert_int_equal(job_table_n_live(rig->table), 0);
    assert_int_equal(find(rig, id)->state, JOB_RUNNING);
    assert_int_equal(find(rig, id)->output_tokens, 2);
    restart(rig, 1);
    rig_close(rig);
}

static void a_job_that_is_on_its_way_into_the_log_is_answered_and_parked(void **state)
{
    struct rig *rig = rig_open_durable();
    struct told told;
    (void)state;
    rig_submit(rig, make_spec(NULL), "req", &told);
    job_table_close(rig->table);
    job_table_park(rig->table);
    assert_int_equal(told.n, 0);
    slow_store_release(rig->store, LTD_OK);
    assert_int_equal(told.n, 1);
    assert_int_equal(told.err.code, LTD_OK);
    assert_int_equal(job_table_n_live(rig->table), 0);
    restart(rig, 1);
    struct told again;
    rig_submit(rig, make_spec(NULL), "req", &again); /* and the retry of its client finds it */
    assert_int_equal(again.n, 1);
    assert_string_equal(again.id, told.id);
    assert_int_equal(fake_engine_n_jobs(rig->engine), 1);
    rig_close(rig);
}

static void parking_waits_for_events_on_their_way_into_the_log(void **state)
{
    struct rig *rig = rig_open_durable();
    struct witness w;
    (void)state;
    const struct job *job = submit(rig, NULL);
    rig_watch(rig, job, &w);
    fake_engine_start(rig->engine, 0);
    write_tokens(rig, 0, 0, 2);
    work_queue_pump(rig->queue);
    job_table_park(rig->table);
    work_queue_pump(rig->queue);
    assert_int_equal(job_table_n_live(rig->table), 1); /* three appends are not answered */
    assert_null(w.watcher.live);
    assert_true(w.watcher.is_parked);
    slow_store_release_all(rig->store);
    assert_int_equal(job_table_n_live(rig->table), 0);
    assert_int_equal(job->output_tokens, 2);
    rig_close(rig);
}

static void a_cancel_that_is_under_way_is_obeyed_before_the_stop(void **state)
{
    struct rig *rig = rig_open_durable();
    struct told told = {0};
    (void)state;
    const struct job *job = submit(rig, NULL);
    job_table_cancel(rig->table, job, ENGINE_FINISH_CANCELLED, rig_tell, &told);
    job_table_park(rig->table);
    rig_pump(rig);
    assert_int_equal(told.n, 1);
    assert_int_equal(job->state, JOB_CANCELLED);
    rig_close(rig);
}

static void what_ends_by_itself_while_it_is_parked_has_ended(void **state)
{
    struct rig *rig = rig_open_durable();
    (void)state;
    const struct job *job = submit(rig, NULL);
    fake_engine_obey_cancels(rig->engine, false);
    fake_engine_start(rig->engine, 0);
    job_table_park(rig->table);
    write_tokens(rig, 0, 0, 1);
    fake_engine_finish(rig->engine, 0, ENGINE_FINISH_EOS, LTD_OK);
    rig_pump(rig);
    assert_int_equal(job->state, JOB_SUCCEEDED);
    rig_close(rig);
}

/* Nobody stops the service, so there is no later process to leave it to. */
static void a_job_that_is_cancelled_while_nothing_stops_is_not_parked(void **state)
{
    struct rig *rig = rig_open_durable();
    char id[JOB_ID_CHARS + 1];
    (void)state;
    begin_job(rig, NULL, 2, id);
    fake_engine_finish(rig->engine, 0, ENGINE_FINISH_CANCELLED, LTD_OK);
    rig_pump(rig);
    assert_int_equal(find(rig, id)->state, JOB_CANCELLED);
    rig_close(rig);
}

static void request_ids_of_two_owners_are_two(void **state)
{
    struct rig *rig = rig_open();
    struct job_caller alice = {.owner = "alice"}, bob = {.owner = "bob"};
    (void)state;
    const struct job *first = submit_as(rig, &alice, make_spec(NULL), "req");
    const struct job *second = submit_as(rig, &bob, make_spec(NULL), "req");
    const struct job *again = submit_as(rig, &alice, make_spec(NULL), "req");
    assert_ptr_not_equal(first, second);
    assert_ptr_equal(first, again);
    assert_string_equal(first->owner, "alice");
    assert_string_equal(first->numerics, "here, max_tokens 10, max_steps 0");
    rig_close(rig);
}

static uint32_t one_at_once(void *arg, const char *owner)
{
    (void)arg;
    return strcmp(owner, "alice") == 0 ? 1 : 0;
}

static struct rig *open_with_one_at_once(void)
{
    struct rig *rig = rig_open_durable();
    rig_end(rig);
    rig->config.max_running = one_at_once;
    rig_begin(rig);
    return rig;
}

static void an_owners_jobs_wait_for_each_other_and_nobody_else(void **state)
{
    struct rig *rig = open_with_one_at_once();
    struct job_caller alice = {.owner = "alice"}, bob = {.owner = "bob"};
    (void)state;
    submit_as(rig, &alice, make_spec(NULL), "");
    const struct job *second = submit_as(rig, &alice, make_spec(NULL), "");
    const struct job *third = submit_as(rig, &alice, make_spec(NULL), "");
    submit_as(rig, &bob, make_spec(NULL), "");
    submit_as(rig, &bob, make_spec(NULL), "");
    assert_int_equal(fake_engine_n_jobs(rig->engine), 3);
    struct told told = {0};
    job_table_set_priority(rig->table, second, 30, rig_tell, &told);
    slow_store_release_all(rig->store);
    assert_int_equal(told.err.code, LTD_OK);
    run_first(rig);
    assert_int_equal(fake_engine_n_jobs(rig->engine), 4);
    assert_string_equal(fake_engine_spec(rig->engine, 3)->key, second->id);
    assert_int_equal(fake_engine_spec(rig->engine, 3)->priority, 30);
    job_table_cancel(rig->table, third, ENGINE_FINISH_CANCELLED, rig_tell, &told);
    slow_store_release_all(rig->store);
    assert_int_equal(third->state, JOB_CANCELLED);
    restart(rig, 3); /* what waits is parked like the others */
    assert_int_equal(fake_engine_n_jobs(rig->engine), 3);
    rig_close(rig);
}

static uint32_t as_many_as_said(void *arg, const char *owner)
{
    const uint32_t *n = arg;
    (void)owner;
    return *n;
}

static void a_limit_that_is_raised_lets_waiting_jobs_begin_at_once(void **state)
{
    struct rig *rig = rig_open_durable();
    struct job_caller alice = {.owner = "alice"};
    uint32_t most = 1;
    (void)state;
    rig_end(rig);
    rig->config.max_running = as_many_as_said;
    rig->config.hook_arg = &most;
    rig_begin(rig);
    for (int i = 0; i < 4; i++)
        submit_as(rig, &alice, make_spec(NULL), "");
    assert_int_equal(fake_engine_n_jobs(rig->engine), 1);
    job_table_limits_changed(rig->table);
    assert_int_equal(fake_engine_n_jobs(rig->engine), 1);
    most = 3;
    job_table_limits_changed(rig->table);
    assert_int_equal(fake_engine_n_jobs(rig->engine), 3);
    most = 0; /* no limit */
    job_table_limits_changed(rig->table);
    assert_int_equal(fake_engine_n_jobs(rig->engine), 4);
    rig_close(rig);
}

static void hold(Latentd__V1__JobSpec *message)
{
    message->priority_set_case = LATENTD__V1__JOB_SPEC__PRIORITY_SET_PRIORITY;
    message->priority = SPEC_PRIORITY_HOLD;
}

static void a_held_job_takes_no_place_from_its_owners_others(void **state)
{
    struct rig *rig = open_with_one_at_once();
    struct job_caller alice = {.owner = "alice"};
    struct told told = {0};
    (void)state;
    const struct job *held = submit_as(rig, &alice, make_spec(hold), "");
    const struct job *second = submit_as(rig, &alice, make_spec(NULL), "");
    assert_int_equal(fake_engine_n_jobs(rig->engine), 1);
    assert_string_equal(fake_engine_spec(rig->engine, 0)->key, second->id);
    run_first(rig);
    assert_int_equal(fake_engine_n_jobs(rig->engine), 1);
    job_table_set_priority(rig->table, held, 5, rig_tell, &told);
    slow_store_release_all(rig->store);
    assert_int_equal(fake_engine_n_jobs(rig->engine), 2); /* let go, it begins */
    assert_int_equal(fake_engine_spec(rig->engine, 1)->priority, 5);
    rig_close(rig);
}

static void more_jobs_than_there_is_room_for_wait_for_it(void **state)
{
    struct rig *rig = rig_open_durable();
    (void)state;
    int32_t room = RIG_MAX_RUNNING + RIG_MAX_WAITING;
    for (int32_t i = 0; i < room; i++)
        submit(rig, NULL);
    rig_end(rig);
    rig_begin(rig);
    submit(rig, NULL); /* takes one of the places before the others come back */
    assert_int_equal(rig_recover(rig), room + 1);
    assert_int_equal(fake_engine_n_jobs(rig->engine), (size_t)room);
    run_first(rig);
    assert_int_equal(fake_engine_n_jobs(rig->engine), (size_t)room + 1);
    rig_close(rig);
}

static void a_job_that_does_not_fit_any_more_fails(void **state)
{
    struct rig *rig = rig_open_durable();
    (void)state;
    const struct job *job = submit(rig, NULL);
    rig_end(rig);
    rig_begin(rig);
    fake_engine_set_room(rig->engine, 5);
    rig_recover(rig);
    assert_int_equal(job->error_code, LTD_E_PRECONDITION);
    rig_close(rig);
}

/* What a process that leaves a job to the next one may say about it: nothing but "ask that one". */
static void assert_left_alone(struct rig *rig, const struct job *job)
{
    struct told told = {0};
    struct witness w;
    job_table_cancel(rig->table, job, ENGINE_FINISH_CANCELLED, rig_tell, &told);
    assert_int_equal(told.n, 1);
    assert_int_equal(told.err.code, LTD_E_UNAVAILABLE);
    job_table_delete(rig->table, job, rig_tell, &told);
    assert_int_equal(told.n, 2);
    assert_int_equal(told.err.code, LTD_E_UNAVAILABLE);
    job_table_set_priority(rig->table, job, 30, rig_tell, &told);
    assert_int_equal(told.n, 3);
    assert_int_equal(told.err.code, LTD_E_UNAVAILABLE);
    rig_watch(rig, job, &w);
    assert_null(w.watcher.live);
    assert_true(w.watcher.is_parked);
}

static void a_parked_job_is_neither_cancelled_nor_deleted_nor_changed(void **state)
{
    struct rig *rig = rig_open_durable();
    (void)state;
    const struct job *job = submit(rig, NULL);
    fake_engine_start(rig->engine, 0);
    write_tokens(rig, 0, 0, 2);
    work_queue_pump(rig->queue);
    job_table_park(rig->table);
    work_queue_pump(rig->queue);
    assert_int_equal(job_table_n_live(rig->table), 1); /* its tokens are on their way */
    assert_left_alone(rig, job);
    slow_store_release_all(rig->store);
    assert_int_equal(job_table_n_live(rig->table), 0);
    assert_left_alone(rig, job);
    assert_int_equal(job->state, JOB_RUNNING);
    rig_close(rig);
}

static void a_cancel_that_comes_while_the_work_stops_is_a_cancel(void **state)
{
    struct rig *rig = rig_open_durable();
    struct told told = {0};
    (void)state;
    const struct job *job = submit(rig, NULL);
    fake_engine_start(rig->engine, 0);
    rig_pump(rig);
    fake_engine_obey_cancels(rig->engine, false);
    job_table_park(rig->table);
    job_table_cancel(rig->table, job, ENGINE_FINISH_CANCELLED, rig_tell, &told);
    fake_engine_finish(rig->engine, 0, ENGINE_FINISH_CANCELLED, LTD_OK);
    rig_pump(rig);
    assert_int_equal(told.n, 1);
    assert_int_equal(told.err.code, LTD_OK);
    assert_int_equal(job->state, JOB_CANCELLED);
    rig_close(rig);
}

struct hasty {
    struct rig *rig;
    struct told told;
};

static void cancel_at_once(void *arg, const struct job *job, const struct ltd_err *err)
{
    struct hasty *hasty = arg;
    assert_int_equal(err->code, LTD_OK);
    job_table_cancel(hasty->rig->table, job, ENGINE_FINISH_CANCELLED, rig_tell, &hasty->told);
}

/* As a call does that ended while its job was on its way into the log. */
static void a_cancel_in_the_answer_of_a_submit_is_obeyed(void **state)
{
    struct rig *rig = rig_open_durable();
    struct hasty hasty = {.rig = rig};
    (void)state;
    job_table_submit(rig->table, make_spec(NULL), &(struct job_caller){.is_attached = true}, "",
                     cancel_at_once, &hasty);
    slow_store_release_all(rig->store);
    assert_int_equal(hasty.told.n, 1);
    assert_int_equal(hasty.told.job->state, JOB_CANCELLED);
    assert_int_equal(fake_engine_n_jobs(rig->engine), 0);
    rig_close(rig);
}

static void room_that_a_refused_job_gives_back_is_taken(void **state)
{
    struct rig *rig = rig_open_durable();
    struct told told;
    (void)state;
    struct job_caller alice = {.owner = "alice"};
    size_t room = RIG_MAX_RUNNING + RIG_MAX_WAITING;
    rig->config.max_running = one_at_once;
    submit_as(rig, &alice, make_spec(NULL), "");
    submit_as(rig, &alice, make_spec(NULL), "");
    for (size_t i = 2; i < room; i++)
        submit(rig, NULL);
    restart(rig, (int)room); /* the second one waits for its owner's first, without a place */
    submit(rig, NULL);
    assert_int_equal(fake_engine_n_jobs(rig->engine), room);
    fake_engine_start(rig->engine, 0);
    rig_pump(rig);
    fake_engine_finish(rig->engine, 0, ENGINE_FINISH_EOS, LTD_OK);
    work_queue_pump(rig->queue);
    rig_submit(rig, make_spec(NULL), "", &told); /* faster than the end of the first */
    slow_store_release(rig->store, LTD_OK);
    assert_int_equal(fake_engine_n_jobs(rig->engine), room);
    slow_store_release(rig->store, LTD_E_UNAVAILABLE);
    assert_int_equal(told.err.code, LTD_E_UNAVAILABLE);
    assert_int_equal(fake_engine_n_jobs(rig->engine), room + 1);
    rig_close(rig);
}

static void time_runs_for_a_job_that_waits_for_its_owners_others(void **state)
{
    struct rig *rig = open_with_one_at_once();
    struct job_caller alice = {.owner = "alice"};
    (void)state;
    submit_as(rig, &alice, make_spec(NULL), "");
    struct job_spec *spec = make_spec(take_range);
    spec->budget.total_ms = 100000;
    const struct job *second = submit_as(rig, &alice, spec, "");
    while (ltd_wall_us() < second->create_us + 20000)
        ; /* the clock itself is what is waited for */
    run_first(rig);
    assert_int_equal(fake_engine_n_jobs(rig->engine), 2);
    assert_in_range(fake_engine_spec(rig->engine, 1)->budget.total_ms, 1, 100000 - 20);
    rig_close(rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_job_goes_on_behind_its_last_token),
        cmocka_unit_test(a_job_survives_many_restarts),
        cmocka_unit_test(jobs_that_had_not_begun_begin_in_their_order),
        cmocka_unit_test(another_token_than_before_ends_the_job_and_is_not_appended),
        cmocka_unit_test(an_end_before_the_last_token_came_again_repeats_no_text),
        cmocka_unit_test(text_behind_a_token_that_is_not_in_the_log_is_not_in_it_either),
        cmocka_unit_test(other_text_or_depth_of_the_same_token_ends_the_job_too),
        cmocka_unit_test(a_job_of_a_call_ends_with_the_process),
        cmocka_unit_test(a_job_whose_call_died_with_the_process_has_failed),
        cmocka_unit_test(a_job_of_other_numerics_waits_and_can_be_cancelled),
        cmocka_unit_test(a_job_of_other_numerics_fails_where_that_is_configured),
        cmocka_unit_test(what_a_default_gave_a_job_stays_when_the_default_changes),
        cmocka_unit_test(early_steps_stay_what_they_were_when_the_default_changes),
        cmocka_unit_test(a_job_with_early_steps_waits_for_the_format_they_are_made_in),
        cmocka_unit_test(the_priority_is_the_last_one_it_had),
        cmocka_unit_test(a_depth_that_the_clock_chose_is_taken_from_the_log),
        cmocka_unit_test(time_limits_go_on_counting_while_nobody_serves),
        cmocka_unit_test(a_lost_rank_takes_no_job_with_it),
        cmocka_unit_test(a_job_that_is_on_its_way_into_the_log_is_answered_and_parked),
        cmocka_unit_test(parking_waits_for_events_on_their_way_into_the_log),
        cmocka_unit_test(a_cancel_that_is_under_way_is_obeyed_before_the_stop),
        cmocka_unit_test(what_ends_by_itself_while_it_is_parked_has_ended),
        cmocka_unit_test(a_job_that_is_cancelled_while_nothing_stops_is_not_parked),
        cmocka_unit_test(request_ids_of_two_owners_are_two),
        cmocka_unit_test(an_owners_jobs_wait_for_each_other_and_nobody_else),
        cmocka_unit_test(a_limit_that_is_raised_lets_waiting_jobs_begin_at_once),
        cmocka_unit_test(a_held_job_takes_no_place_from_its_owners_others),
        cmocka_unit_test(more_jobs_than_there_is_room_for_wait_for_it),
        cmocka_unit_test(a_job_that_does_not_fit_any_more_fails),
        cmocka_unit_test(a_parked_job_is_neither_cancelled_nor_deleted_nor_changed),
        cmocka_unit_test(a_cancel_that_comes_while_the_work_stops_is_a_cancel),
        cmocka_unit_test(a_cancel_in_the_answer_of_a_submit_is_obeyed),
        cmocka_unit_test(room_that_a_refused_job_gives_back_is_taken),
        cmocka_unit_test(time_runs_for_a_job_that_waits_for_its_owners_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
