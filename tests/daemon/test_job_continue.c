/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/daemon/test_job_continue.c - a continued job looks like one that was asked for at once.
 *
 * The job table's side of Jobs.Continue: what is handed to the engine, which tokens stand in the
 * new log and when, and what happens when the old job, the log or the client goes away in between.
 * daemon/continuation.c has its own test.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "table_rig.h"

#define N_OLD 5 /* tokens that the old job wrote */

/* The token at place i of any answer; `more` steps than usual. */
static struct engine_token token_at(int32_t i, int32_t more)
{
    return (struct engine_token){.id = 40 + i,
                                 .steps = 10 + i + more,
                                 .exit = ENGINE_EXIT_CONVERGED,
                                 .has_value = true,
                                 .criterion_value = 0.25 * i,
                                 .logprob = -0.5f * (float)i,
                                 .n_top = 1,
                                 .top = {{40 + i, -0.5f * (float)i}}};
}

static const char *text_at(int32_t i)
{
    static const char *const texts[] = {"one ", "",
                                        "thr\xc3\xa9"
                                        "e ",
                                        "four ", "five"};
    return texts[i % 5];
}

static void write_tokens(struct rig *rig, size_t job_idx, int32_t begin, int32_t end)
{
    for (int32_t i = begin; i < end; i++) {
        struct engine_token token = token_at(i, 0);
        fake_engine_write(rig->engine, job_idx, &token, text_at(i), strlen(text_at(i)));
    }
}

static struct job_spec *make_spec(uint32_t max_tokens)
{
    Latentd__V1__JobSpec message = LATENTD__V1__JOB_SPEC__INIT;
    Latentd__V1__Sampling sampling = LATENTD__V1__SAMPLING__INIT;
    sampling.seed_set_case = LATENTD__V1__SAMPLING__SEED_SET_SEED;
    sampling.seed = 7;
    message.max_tokens = max_tokens;
    message.sampling = &sampling;
    return rig_decode(NULL, &message, NULL);
}

/* A job that wrote `n` tokens and ended so; it is the engine's next one. */
static const struct job *finished_job(struct rig *rig, int32_t n, enum engine_finish finish,
                                      enum ltd_code error)
{
    struct told told;
    size_t idx = fake_engine_n_jobs(rig->engine);
    rig_submit(rig, make_spec((uint32_t)n), "", &told);
    slow_store_release_all(rig->store);
    assert_int_equal(told.err.code, LTD_OK);
    fake_engine_start(rig->engine, idx);
    write_tokens(rig, idx, 0, n);
    fake_engine_finish(rig->engine, idx, finish, error);
    rig_pump(rig);
    assert_true(job_state_is_final(told.job->state));
    return told.job;
}

static void ask_more(struct rig *rig, const struct job *job, uint32_t more_tokens,
                     uint32_t more_steps, const char *request_id, struct told *told)
{
    struct job_continue how = {.job = job,
                               .caller = &(struct job_caller){0},
                               .ask = {more_tokens, more_steps},
                               .request_id = request_id,
                               .decode = rig_decode};
    *told = (struct told){0};
    job_table_continue(rig->table, &how, rig_tell, told);
}

/* --------------------------------------------------------------------------- comparing logs */

/* The job as Get shows it, without what must differ: its name, its times, what it continues. */
static void get_output(struct rig *rig, const struct job *job, struct ltd_bytes *out)
{
    struct ltd_bytes bytes;
    struct ltd_err err = {0};
    ltd_bytes_init(&bytes);
    ltd_bytes_init(out);
    assert_int_equal(wire_put_job(rig->store, job, WIRE_JOB_SPEC | WIRE_JOB_OUTPUT, &bytes, &err),
                     0);
    Latentd__V1__Job *m = latentd__v1__job__unpack(NULL, bytes.len, bytes.data);
    assert_non_null(m);
    assert_int_equal(m->output->tokens->n_ids, job->output_tokens);
    Latentd__V1__Job same = LATENTD__V1__JOB__INIT;
    same.state = m->state;
    same.done = m->done;
    same.spec = m->spec;
    same.output = m->output;
    same.seed = m->seed;
    same.prompt_tokens = m->prompt_tokens;
    same.total_steps = m->total_steps;
    same.last_seq = m->last_seq;
    wire_put_message(out, &same.base);
    latentd__v1__job__free_unpacked(m, NULL);
    ltd_bytes_fini(&bytes);
}

static void expect_same_output(struct rig *rig, const struct job *found, const struct job *expected)
{
    struct ltd_bytes a, b;
    get_output(rig, found, &a);
    get_output(rig, expected, &b);
    if (a.len != b.len || memcmp(a.data, b.data, a.len) != 0)
        fail_msg("job %s shows %zu bytes, job %s shows %zu others", found->id, a.len, expected->id,
                 b.len);
    ltd_bytes_fini(&a);
    ltd_bytes_fini(&b);
}

struct log_copy {
    struct ltd_bytes bytes;
    int64_t first_token_us;
    uint32_t n_tokens;
};

static bool copy_event(void *arg, const struct job_event *event)
{
    struct log_copy *copy = arg;
    struct job_event timeless = *event;
    if (event->kind == JOB_EV_QUEUED)
        return true; /* who asked, and when, may differ */
    if (event->kind == JOB_EV_TOKEN && copy->n_tokens++ == 0)
        copy->first_token_us = event->time_us;
    timeless.time_us = 0;
    job_event_encode(&timeless, &copy->bytes);
    return true;
}

/* All events but the first are the same, byte for byte, apart from their times. */
static void expect_same_log(struct rig *rig, const struct job *found, const struct job *expected)
{
    struct log_copy a = {0}, b = {0};
    assert_int_equal(store_read(rig->store, found, 0, copy_event, &a, NULL), 0);
    assert_int_equal(store_read(rig->store, expected, 0, copy_event, &b, NULL), 0);
    assert_int_equal(a.n_tokens, b.n_tokens);
    assert_int_equal(a.bytes.len, b.bytes.len);
    assert_memory_equal(a.bytes.data, b.bytes.data, a.bytes.len);
    assert_true(a.first_token_us >= found->start_us); /* the old times are the old job's */
    ltd_bytes_fini(&a.bytes);
    ltd_bytes_fini(&b.bytes);
}

/* ------------------------------------------------------------------------------- the answer */

static void more_tokens_give_the_job_that_would_have_been_asked_for(void **state)
{
    struct rig *rig = rig_open();
    struct told told;
    (void)state;
    const struct job *old = finished_job(rig, N_OLD, ENGINE_FINISH_LENGTH, LTD_OK);
    ask_more(rig, old, 3, 0, "", &told);
    assert_int_equal(told.n, 0); /* not before it is in the log */
    slow_store_release_all(rig->store);
    assert_int_equal(told.n, 1);
    assert_string_equal(told.job->continues, old->id);
    const struct job_spec *spec = fake_engine_spec(rig->engine, 1);
    assert_string_equal(spec->continues, old->id);
    assert_string_equal(spec->key, told.id);
    assert_int_equal(spec->max_tokens, N_OLD + 3);
    assert_int_equal(spec->known.n, N_OLD);
    for (int32_t i = 0; i < N_OLD; i++) {
        assert_int_equal(spec->known.ids[i], 40 + i);
        assert_int_equal(spec->known.steps[i], 10 + i);
    }
    fake_engine_start(rig->engine, 1);
    write_tokens(rig, 1, N_OLD, N_OLD + 3); /* the engine is silent about the known ones */
    fake_engine_finish(rig->engine, 1, ENGINE_FINISH_LENGTH, LTD_OK);
    rig_pump(rig);
    const struct job *at_once = finished_job(rig, N_OLD + 3, ENGINE_FINISH_LENGTH, LTD_OK);
    assert_int_equal(told.job->output_tokens, N_OLD + 3);
    expect_same_log(rig, told.job, at_once);
    expect_same_output(rig, told.job, at_once);
    rig_close(rig);
}

static void more_steps_let_the_last_token_be_written_again(void **state)
{
    struct rig *rig = rig_open();
    struct told told;
    (void)state;
    const struct job *old = finished_job(rig, N_OLD, ENGINE_FINISH_EOS, LTD_OK);
    ask_more(rig, old, 1, 48, "", &told);
    slow_store_release_all(rig->store);
    const struct job_spec *spec = fake_engine_spec(rig->engine, 1);
    assert_int_equal(spec->known.n, N_OLD - 1);
    assert_int_equal(spec->max_tokens, N_OLD + 1);
    fake_engine_start(rig->engine, 1);
    struct engine_token deep = token_at(N_OLD - 1, 48);
    fake_engine_write(rig->engine, 1, &deep, "deep", 4);
    write_tokens(rig, 1, N_OLD, N_OLD + 1);
    fake_engine_finish(rig->engine, 1, ENGINE_FINISH_LENGTH, LTD_OK);
    rig_pump(rig);
    assert_int_equal(told.job->state, JOB_SUCCEEDED);
    assert_int_equal(told.job->output_tokens, N_OLD + 1);
    /* The wire spec asks for it in so many words. */
    struct ltd_bytes bytes;
    ltd_bytes_init(&bytes);
    assert_int_equal(wire_stored_spec(rig->store, told.job, &bytes, NULL), 0);
    Latentd__V1__JobSpec *m = latentd__v1__job_spec__unpack(NULL, bytes.len, bytes.data);
    assert_non_null(m);
    assert_int_equal(m->depth->n_at, 1);
    assert_int_equal(m->depth->at[0]->token, N_OLD - 1);
    assert_int_equal(m->depth->at[0]->steps, 10 + N_OLD - 1 + 48);
    latentd__v1__job_spec__free_unpacked(m, NULL);
    ltd_bytes_fini(&bytes);
    rig_close(rig);
}

static void a_single_token_that_is_thought_again_leaves_nothing_known(void **state)
{
    struct rig *rig = rig_open();
    struct told told;
    (void)state;
    const struct job *old = finished_job(rig, 1, ENGINE_FINISH_LENGTH, LTD_OK);
    ask_more(rig, old, 0, 5, "", &told);
    slow_store_release_all(rig->store);
    assert_int_equal(fake_engine_spec(rig->engine, 1)->known.n, 0);
    assert_string_equal(fake_engine_spec(rig->engine, 1)->continues, old->id);
    fake_engine_start(rig->engine, 1);
    rig_pump(rig);
    assert_int_equal(told.job->output_tokens, 0);
    assert_int_equal(told.job->last_seq, 2);
    rig_close(rig);
}

static void continuing_what_was_continued_keeps_every_token(void **state)
{
    struct rig *rig = rig_open();
    struct told told;
    (void)state;
    const struct job *job = finished_job(rig, 2, ENGINE_FINISH_LENGTH, LTD_OK);
    for (int32_t n = 2; n < 8; n += 2) {
        size_t idx = fake_engine_n_jobs(rig->engine);
        ask_more(rig, job, 2, 0, "", &told);
        slow_store_release_all(rig->store);
        assert_int_equal(fake_engine_spec(rig->engine, idx)->known.n, n);
        fake_engine_start(rig->engine, idx);
        write_tokens(rig, idx, n, n + 2);
        fake_engine_finish(rig->engine, idx, ENGINE_FINISH_LENGTH, LTD_OK);
        rig_pump(rig);
        job = told.job;
    }
    const struct job *at_once = finished_job(rig, 8, ENGINE_FINISH_LENGTH, LTD_OK);
    expect_same_log(rig, job, at_once);
    expect_same_output(rig, job, at_once);
    rig_close(rig);
}

static void every_end_allows_what_it_can(void **state)
{
    const struct {
        enum engine_finish finish;
        enum ltd_code error, tokens, steps;
    } cases[] = {
        {ENGINE_FINISH_EOS, LTD_OK, LTD_E_PRECONDITION, LTD_OK},
        {ENGINE_FINISH_STOP, LTD_OK, LTD_E_PRECONDITION, LTD_OK},
        {ENGINE_FINISH_LENGTH, LTD_OK, LTD_OK, LTD_OK},
        {ENGINE_FINISH_CANCELLED, LTD_OK, LTD_OK, LTD_OK},
        {ENGINE_FINISH_DEADLINE, LTD_OK, LTD_OK, LTD_OK},
        {ENGINE_FINISH_ERROR, LTD_E_RANK, LTD_E_PRECONDITION, LTD_E_PRECONDITION},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct rig *rig = rig_open();
        struct told tokens, steps;
        const struct job *old = finished_job(rig, N_OLD, cases[i].finish, cases[i].error);
        ask_more(rig, old, 2, 0, "", &tokens);
        ask_more(rig, old, 0, 2, "", &steps);
        slow_store_release_all(rig->store);
        if (tokens.err.code != cases[i].tokens || steps.err.code != cases[i].steps)
            fail_msg("end %d: more tokens gave %d \"%s\", more steps %d \"%s\"", cases[i].finish,
                     tokens.err.code, tokens.err.msg, steps.err.code, steps.err.msg);
        assert_int_equal(tokens.n, 1);
        assert_int_equal(steps.n, 1);
        rig_close(rig);
    }
}

static void a_job_that_is_not_finished_or_wrote_nothing_is_not_continued(void **state)
{
    struct rig *rig = rig_open();
    struct told told, more;
    (void)state;
    rig_submit(rig, make_spec(9), "", &told);
    slow_store_release_all(rig->store);
    ask_more(rig, told.job, 1, 0, "", &more);
    assert_int_equal(more.err.code, LTD_E_PRECONDITION);
    fake_engine_start(rig->engine, 0);
    rig_pump(rig);
    ask_more(rig, told.job, 1, 0, "", &more);
    assert_int_equal(more.err.code, LTD_E_PRECONDITION);
    fake_engine_finish(rig->engine, 0, ENGINE_FINISH_CANCELLED, LTD_OK);
    rig_pump(rig);
    ask_more(rig, told.job, 1, 1, "", &more);
    assert_int_equal(more.err.code, LTD_E_PRECONDITION);
    assert_int_equal(more.n, 1);
    assert_null(more.job);
    rig_close(rig);
}

static struct job_spec *refuse(void *arg, const Latentd__V1__JobSpec *message, struct ltd_err *err)
{
    (void)arg;
    return ltd_fail_null(err, LTD_E_INVALID, "spec.max_tokens: found %u", message->max_tokens);
}

static void what_the_spec_may_not_be_is_refused_before_anything_happens(void **state)
{
    struct rig *rig = rig_open();
    struct told told = {0};
    (void)state;
    const struct job *old = finished_job(rig, N_OLD, ENGINE_FINISH_LENGTH, LTD_OK);
    struct job_continue how = {.job = old,
                               .caller = &(struct job_caller){0},
                               .ask = {.more_tokens = 1000},
                               .request_id = "",
                               .decode = refuse};
    job_table_continue(rig->table, &how, rig_tell, &told);
    assert_int_equal(told.n, 1);
    assert_int_equal(told.err.code, LTD_E_INVALID);
    assert_string_equal(told.err.msg, "spec.max_tokens: found 1005");
    assert_int_equal(slow_store_n_waiting(rig->store), 0);
    assert_int_equal(job_table_n_live(rig->table), 0);
    job_table_close(rig->table);
    ask_more(rig, old, 1, 0, "", &told);
    assert_int_equal(told.err.code, LTD_E_UNAVAILABLE);
    rig_close(rig);
}

/* ------------------------------------------------------------------------------ request ids */

static void a_repeated_continuation_is_the_same_job(void **state)
{
    struct rig *rig = rig_open();
    struct told first, again, other, late;
    (void)state;
    const struct job *old = finished_job(rig, N_OLD, ENGINE_FINISH_LENGTH, LTD_OK);
    const struct job *twin = finished_job(rig, N_OLD, ENGINE_FINISH_LENGTH, LTD_OK);
    for (int round = 0; round < 2; round++) { /* on its way into the log; in it */
        if (round == 0)
            ask_more(rig, old, 3, 0, "req", &first);
        ask_more(rig, old, 3, 0, "req", &again);
        ask_more(rig, old, 4, 0, "req", &other);
        assert_int_equal(other.err.code, LTD_E_EXISTS);
        ask_more(rig, twin, 3, 0, "req", &other); /* the same spec, but of another job */
        assert_int_equal(other.err.code, LTD_E_EXISTS);
        rig_submit(rig, make_spec(N_OLD + 3), "req", &other); /* the same spec, of no job */
        assert_int_equal(other.err.code, LTD_E_EXISTS);
        assert_int_equal(slow_store_n_waiting(rig->store), round == 0);
        slow_store_release_all(rig->store);
        assert_int_equal(again.n, 1);
        assert_string_equal(again.id, first.id);
    }
    ask_more(rig, old, 3, 0, "", &late); /* without an id it is another job */
    slow_store_release_all(rig->store);
    assert_string_not_equal(late.id, first.id);
    assert_int_equal(fake_engine_n_jobs(rig->engine), 4);
    rig_close(rig);
}

static void repeat(struct rig *rig, const char *old_id, uint32_t more_tokens, uint32_t more_steps,
                   const char *request_id, struct told *told)
{
    struct job_continue_again how = {
        .old_id = old_id, .ask = {more_tokens, more_steps}, .owner = "", .request_id = request_id};
    *told = (struct told){0};
    job_table_continue_again(rig->table, &how, rig_tell, told);
}

/* Whoever lost the answer asks again, and may be late: retention, or its owner, was faster. */
static void a_continuation_can_be_repeated_when_the_old_job_is_forgotten(void **state)
{
    struct rig *rig = rig_open();
    struct told first, plain, told;
    (void)state;
    const struct job *old = finished_job(rig, N_OLD, ENGINE_FINISH_LENGTH, LTD_OK);
    char old_id[JOB_ID_CHARS + 1];
    memcpy(old_id, old->id, sizeof old_id);
    rig_submit(rig, make_spec(N_OLD + 3), "plain", &plain);
    slow_store_release_all(rig->store);
    ask_more(rig, old, 3, 6, "req", &first);
    store_forget(rig->store, old, NULL, NULL);
    for (int round = 0; round < 2; round++) { /* on its way into the log; in it */
        repeat(rig, old_id, 3, 6, "req", &told);
        slow_store_release_all(rig->store);
        assert_int_equal(told.n, 1);
        assert_int_equal(told.err.code, LTD_OK);
        assert_string_equal(told.id, first.id);
    }
    repeat(rig, old_id, 2, 6, "req", &told); /* another continuation */
    assert_int_equal(told.err.code, LTD_E_EXISTS);
    repeat(rig, old_id, 3, 20, "req", &told); /* the last token has 20 in all */
    assert_int_equal(told.err.code, LTD_E_EXISTS);
    repeat(rig, old_id, N_OLD + 3, 0, "req", &told);
    assert_int_equal(told.err.code, LTD_E_EXISTS);
    repeat(rig, old_id, 0, 0, "req", &told);
    assert_int_equal(told.err.code, LTD_E_EXISTS);
    repeat(rig, old_id, 3, 0, "plain", &told); /* the id is a job's that continues no other */
    assert_int_equal(told.err.code, LTD_E_NOT_FOUND);
    repeat(rig, first.id, 3, 6, "req", &told); /* of another old job */
    assert_int_equal(told.err.code, LTD_E_NOT_FOUND);
    repeat(rig, old_id, 3, 6, "never", &told);
    assert_int_equal(told.err.code, LTD_E_NOT_FOUND);
    repeat(rig, old_id, 3, 6, "", &told);
    assert_int_equal(told.err.code, LTD_E_NOT_FOUND);
    assert_int_equal(fake_engine_n_jobs(rig->engine), 3);
    rig_close(rig);
}

/* ------------------------------------------------------------------- what goes on meanwhile */

static void known_tokens_follow_the_start_and_watchers_hear_of_them_once_they_are_kept(void **state)
{
    struct rig *rig = rig_open();
    struct told told;
    struct witness w;
    (void)state;
    const struct job *old = finished_job(rig, N_OLD, ENGINE_FINISH_LENGTH, LTD_OK);
    ask_more(rig, old, 3, 0, "", &told);
    slow_store_release_all(rig->store);
    rig_watch(rig, told.job, &w);
    assert_int_equal(told.job->output_tokens, 0); /* queued: nothing is written yet */
    fake_engine_start(rig->engine, 1);
    write_tokens(rig, 1, N_OLD, N_OLD + 1);
    work_queue_pump(rig->queue);
    assert_int_equal(slow_store_n_waiting(rig->store), 1 + N_OLD + 1);
    assert_int_equal(w.n, 0);
    slow_store_release(rig->store, LTD_OK);
    assert_int_equal(told.job->state, JOB_RUNNING);
    assert_int_equal(told.job->output_tokens, 0);
    for (int32_t i = 1; i <= N_OLD + 1; i++) {
        slow_store_release(rig->store, LTD_OK);
        assert_int_equal(told.job->output_tokens, i);
        assert_int_equal(w.n, 1 + i);
    }
    job_table_unwatch(&w.watcher);
    rig_close(rig);
}

/* With a log that answers at once everything happens inside one event, and readers get the known
 * tokens in one piece. */
static void a_log_that_answers_at_once_gives_all_known_tokens_together(void **state)
{
    struct rig *rig = rig_open();
    struct told told, deleted = {0};
    struct witness w;
    (void)state;
    slow_store_hurry(rig->store);
    const struct job *old = finished_job(rig, N_OLD, ENGINE_FINISH_LENGTH, LTD_OK);
    ask_more(rig, old, 3, 0, "", &told);
    assert_int_equal(told.n, 1);
    job_table_delete(rig->table, old, rig_tell, &deleted);
    assert_int_equal(deleted.n, 1);
    rig_watch(rig, told.job, &w);
    fake_engine_start(rig->engine, 1);
    work_queue_pump(rig->queue);
    assert_int_equal(told.job->output_tokens, N_OLD);
    assert_int_equal(w.n, 2); /* the start, and all of them */
    assert_int_equal(w.last_seq, 2 + N_OLD);
    job_table_unwatch(&w.watcher);
    write_tokens(rig, 1, N_OLD, N_OLD + 3);
    fake_engine_finish(rig->engine, 1, ENGINE_FINISH_LENGTH, LTD_OK);
    work_queue_pump(rig->queue);
    const struct job *at_once = finished_job(rig, N_OLD + 3, ENGINE_FINISH_LENGTH, LTD_OK);
    expect_same_log(rig, told.job, at_once);
    expect_same_output(rig, told.job, at_once);
    rig_close(rig);
}

static void delete_and_answer(struct rig *rig, const struct job *job)
{
    struct told deleted = {0};
    job_table_delete(rig->table, job, rig_tell, &deleted);
    slow_store_release_all(rig->store);
    assert_int_equal(deleted.n, 1);
    assert_int_equal(deleted.err.code, LTD_OK);
}

/* The old job goes at every moment from the request to the last copied token. */
static void the_old_job_may_be_deleted_at_any_time(void **state)
{
    enum { AT_ONCE, WHEN_QUEUED, WHEN_STARTED, WHILE_COPYING, N_MOMENTS };
    (void)state;
    for (int moment = 0; moment < N_MOMENTS; moment++) {
        struct rig *rig = rig_open();
        struct told told;
        const struct job *old = finished_job(rig, N_OLD, ENGINE_FINISH_LENGTH, LTD_OK);
        char old_id[JOB_ID_CHARS + 1];
        memcpy(old_id, old->id, sizeof old_id);
        ask_more(rig, old, 3, 0, "", &told);
        if (moment == AT_ONCE)
            delete_and_answer(rig, old);
        slow_store_release_all(rig->store);
        if (moment == WHEN_QUEUED)
            delete_and_answer(rig, old);
        fake_engine_start(rig->engine, 1);
        if (moment == WHEN_STARTED)
            delete_and_answer(rig, old);
        work_queue_pump(rig->queue);
        if (moment == WHILE_COPYING) {
            slow_store_release(rig->store, LTD_OK); /* started */
            slow_store_release(rig->store, LTD_OK); /* one of the tokens */
            delete_and_answer(rig, old);
        }
        slow_store_release_all(rig->store);
        assert_null(store_find(rig->store, old_id));
        write_tokens(rig, 1, N_OLD, N_OLD + 3);
        fake_engine_finish(rig->engine, 1, ENGINE_FINISH_LENGTH, LTD_OK);
        rig_pump(rig);
        assert_string_equal(told.job->continues, old_id);
        const struct job *at_once = finished_job(rig, N_OLD + 3, ENGINE_FINISH_LENGTH, LTD_OK);
        expect_same_log(rig, told.job, at_once);
        rig_close(rig);
    }
}

static void retention_waits_for_a_job_that_is_being_continued(void **state)
{
    struct rig *rig = rig_open();
    struct told told;
    (void)state;
    const struct job *old = finished_job(rig, N_OLD, ENGINE_FINISH_LENGTH, LTD_OK);
    ask_more(rig, old, 3, 0, "", &told);
    slow_store_release_all(rig->store);
    assert_int_equal(store_expire(rig->store, INT64_MAX), 0);
    fake_engine_start(rig->engine, 1);
    rig_pump(rig);
    assert_int_equal(store_expire(rig->store, INT64_MAX), 1); /* copied: nobody needs it */
    assert_int_equal(told.job->output_tokens, N_OLD);
    rig_close(rig);
}

static void a_continuation_that_the_log_refuses_lets_go_of_the_old_job(void **state)
{
    struct rig *rig = rig_open();
    struct told told;
    (void)state;
    const struct job *old = finished_job(rig, N_OLD, ENGINE_FINISH_LENGTH, LTD_OK);
    ask_more(rig, old, 3, 0, "", &told);
    slow_store_release(rig->store, LTD_E_EXHAUSTED);
    assert_int_equal(told.err.code, LTD_E_EXHAUSTED);
    assert_int_equal(job_table_n_live(rig->table), 0);
    assert_int_equal(store_expire(rig->store, INT64_MAX), 1);
    rig_close(rig);
}

static void a_continuation_that_is_cancelled_before_it_starts_wrote_nothing(void **state)
{
    struct rig *rig = rig_open();
    struct told told, cancel = {0};
    (void)state;
    const struct job *old = finished_job(rig, N_OLD, ENGINE_FINISH_LENGTH, LTD_OK);
    ask_more(rig, old, 3, 0, "", &told);
    slow_store_release_all(rig->store);
    job_table_cancel(rig->table, told.job, ENGINE_FINISH_CANCELLED, rig_tell, &cancel);
    rig_pump(rig);
    assert_int_equal(cancel.n, 1);
    assert_int_equal(told.job->state, JOB_CANCELLED);
    assert_int_equal(told.job->output_tokens, 0);
    ask_more(rig, told.job, 1, 0, "", &cancel);
    assert_int_equal(cancel.err.code, LTD_E_PRECONDITION);
    ask_more(rig, old, 1, 0, "", &cancel); /* the old one is as good as it was */
    slow_store_release_all(rig->store);
    assert_int_equal(cancel.err.code, LTD_OK);
    rig_close(rig);
}

static void a_known_token_that_the_log_refuses_ends_the_job(void **state)
{
    struct rig *rig = rig_open();
    struct told told;
    (void)state;
    const struct job *old = finished_job(rig, N_OLD, ENGINE_FINISH_LENGTH, LTD_OK);
    ask_more(rig, old, 3, 0, "", &told);
    slow_store_release_all(rig->store);
    fake_engine_start(rig->engine, 1);
    work_queue_pump(rig->queue);
    slow_store_release(rig->store, LTD_OK);          /* started */
    slow_store_release(rig->store, LTD_OK);          /* token 0 */
    slow_store_release(rig->store, LTD_E_EXHAUSTED); /* token 1 */
    fake_engine_wait_cancels(rig->engine, 1);
    slow_store_release_all(rig->store); /* those behind it are refused with it */
    rig_pump(rig);
    assert_int_equal(told.job->state, JOB_FAILED);
    assert_int_equal(told.job->output_tokens, 1);
    assert_string_equal(told.job->error_msg, "the disk is full");
    rig_close(rig);
}

static void a_full_queue_refuses_a_continuation_with_a_hint(void **state)
{
    struct rig *rig = rig_open();
    struct told told;
    (void)state;
    const struct job *old = finished_job(rig, N_OLD, ENGINE_FINISH_LENGTH, LTD_OK);
    for (uint32_t i = 0; i < RIG_MAX_RUNNING + RIG_MAX_WAITING; i++) {
        ask_more(rig, old, i + 1, 0, "", &told);
        slow_store_release_all(rig->store);
        assert_int_equal(told.err.code, LTD_OK);
    }
    ask_more(rig, old, 1, 0, "", &told);
    assert_int_equal(told.err.code, LTD_E_EXHAUSTED);
    assert_int_equal(told.err.retry_after_ms, 1000);
    rig_close(rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(more_tokens_give_the_job_that_would_have_been_asked_for),
        cmocka_unit_test(more_steps_let_the_last_token_be_written_again),
        cmocka_unit_test(a_single_token_that_is_thought_again_leaves_nothing_known),
        cmocka_unit_test(continuing_what_was_continued_keeps_every_token),
        cmocka_unit_test(every_end_allows_what_it_can),
        cmocka_unit_test(a_job_that_is_not_finished_or_wrote_nothing_is_not_continued),
        cmocka_unit_test(what_the_spec_may_not_be_is_refused_before_anything_happens),
        cmocka_unit_test(a_repeated_continuation_is_the_same_job),
        cmocka_unit_test(a_continuation_can_be_repeated_when_the_old_job_is_forgotten),
        cmocka_unit_test(
            known_tokens_follow_the_start_and_watchers_hear_of_them_once_they_are_kept),
        cmocka_unit_test(a_log_that_answers_at_once_gives_all_known_tokens_together),
        cmocka_unit_test(the_old_job_may_be_deleted_at_any_time),
        cmocka_unit_test(retention_waits_for_a_job_that_is_being_continued),
        cmocka_unit_test(a_continuation_that_the_log_refuses_lets_go_of_the_old_job),
        cmocka_unit_test(a_continuation_that_is_cancelled_before_it_starts_wrote_nothing),
        cmocka_unit_test(a_known_token_that_the_log_refuses_ends_the_job),
        cmocka_unit_test(a_full_queue_refuses_a_continuation_with_a_hint),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
