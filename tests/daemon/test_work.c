/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/daemon/test_work.c - every work reaches the engine, and every event its work.
 *
 * The queue of works over an engine that does what the test says; one thread.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/work.h"
#include "fake_engine.h"

#define N_RUNNING 3
#define N_WAITING 5
#define N_ROOM    (N_RUNNING + N_WAITING)

struct rig {
    uv_loop_t loop;
    struct work_queue *queue;
    struct engine *engine;
    int n_lost;
};

/* A work that counts what it hears. */
struct item {
    struct work work; /* first */
    struct job_spec spec;
    size_t job_idx; /* the engine's */
    int n_started, n_tokens, n_finished;
    enum engine_finish finish;
};

static void on_event(struct work *work, const struct engine_event *event)
{
    struct item *item = (struct item *)work;
    assert_int_equal(item->n_finished, 0); /* FINISHED is the last */
    item->n_started += event->kind == ENGINE_STARTED;
    item->n_tokens += event->kind == ENGINE_TOKEN;
    item->n_finished += event->kind == ENGINE_FINISHED;
    if (event->kind == ENGINE_TOKEN)
        assert_int_equal(event->token.id, item->job_idx);
    item->finish = event->finish;
}

static void on_lost(void *arg, const struct ltd_err *why)
{
    struct rig *rig = arg;
    assert_int_equal(why->code, LTD_E_RANK);
    rig->n_lost++;
}

static struct rig *rig_open(void)
{
    struct rig *rig = calloc(1, sizeof *rig);
    struct ltd_err err = {0};
    struct work_limits limits = {N_RUNNING, N_WAITING, on_lost, rig};
    assert_non_null(rig);
    assert_int_equal(uv_loop_init(&rig->loop), 0);
    rig->queue = work_queue_create(&rig->loop, &limits, &err);
    assert_non_null(rig->queue);
    work_queue_pump(rig->queue); /* harmless before there is an engine */
    rig->engine = fake_engine_create(work_notify, rig->queue);
    work_queue_attach(rig->queue, rig->engine);
    return rig;
}

static void rig_close(struct rig *rig)
{
    work_queue_close(rig->queue);
    uv_run(&rig->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&rig->loop), 0);
    fake_engine_destroy(rig->engine);
    free(rig);
}

static int add(struct rig *rig, struct item *item, struct ltd_err *err)
{
    if (!item->work.is_reserved)
        *item = (struct item){0};
    item->work.spec = &item->spec;
    item->work.on_event = on_event;
    item->job_idx = fake_engine_n_jobs(rig->engine);
    return work_queue_add(rig->queue, &item->work, err);
}

/* --------------------------------------------------------------------------------------- */

static void works_beyond_the_room_are_refused_and_nothing_is_taken(void **state)
{
    struct rig *rig = rig_open();
    struct item items[N_ROOM + 1] = {0};
    struct ltd_err err = {0};
    (void)state;
    for (size_t i = 0; i < N_ROOM; i++)
        assert_int_equal(add(rig, &items[i], &err), 0);
    assert_int_equal(fake_engine_n_jobs(rig->engine), N_ROOM);
    assert_int_equal(add(rig, &items[N_ROOM], &err), -1);
    assert_int_equal(err.code, LTD_E_EXHAUSTED);
    assert_true(err.retry_after_ms >= 1000);
    assert_int_equal(work_queue_n_unfinished(rig->queue), N_ROOM);
    assert_int_equal(work_queue_n_unstarted(rig->queue), N_ROOM);
    work_queue_cancel_all(rig->queue);
    assert_int_equal(items[0].n_finished, 0); /* never inside a call */
    work_queue_pump(rig->queue);
    for (size_t i = 0; i < N_ROOM; i++) {
        assert_int_equal(items[i].n_finished, 1);
        assert_int_equal(items[i].finish, ENGINE_FINISH_CANCELLED);
    }
    assert_int_equal(work_queue_n_unfinished(rig->queue), 0);
    assert_int_equal(work_queue_n_unstarted(rig->queue), 0);
    assert_int_equal(add(rig, &items[N_ROOM], &err), 0);
    work_queue_cancel(rig->queue, &items[N_ROOM].work, ENGINE_FINISH_DEADLINE);
    work_queue_pump(rig->queue);
    assert_int_equal(items[N_ROOM].finish, ENGINE_FINISH_DEADLINE);
    rig_close(rig);
}

/* Whoever comes next has the place, and must not hear what was meant for the one before. */
static void an_event_of_a_work_that_is_over_reaches_nobody(void **state)
{
    struct rig *rig = rig_open();
    struct item first = {0}, next = {0};
    struct ltd_err err = {0};
    (void)state;
    assert_int_equal(add(rig, &first, &err), 0);
    fake_engine_finish(rig->engine, first.job_idx, ENGINE_FINISH_EOS, LTD_OK);
    work_queue_pump(rig->queue);
    assert_int_equal(add(rig, &next, &err), 0);
    fake_engine_start(rig->engine, first.job_idx);
    fake_engine_token(rig->engine, first.job_idx, (int32_t)next.job_idx, "", 0);
    fake_engine_finish(rig->engine, first.job_idx, ENGINE_FINISH_EOS, LTD_OK);
    work_queue_pump(rig->queue);
    assert_int_equal(next.n_started + next.n_tokens + next.n_finished, 0);
    assert_int_equal(work_queue_n_unfinished(rig->queue), 1);
    assert_int_equal(work_queue_n_unstarted(rig->queue), 1);
    fake_engine_finish(rig->engine, next.job_idx, ENGINE_FINISH_EOS, LTD_OK);
    work_queue_pump(rig->queue);
    assert_int_equal(next.n_finished, 1);
    rig_close(rig);
}

static void reserved_room_is_kept_used_or_given_back(void **state)
{
    struct rig *rig = rig_open();
    struct item items[N_ROOM + 1] = {0};
    struct ltd_err err = {0};
    (void)state;
    for (size_t i = 0; i < N_ROOM; i++)
        assert_int_equal(work_queue_reserve(rig->queue, &items[i].work, &err), 0);
    assert_int_equal(work_queue_n_unfinished(rig->queue), 0); /* a promise is no work */
    assert_int_equal(add(rig, &items[N_ROOM], &err), -1);
    assert_int_equal(work_queue_reserve(rig->queue, &items[N_ROOM].work, &err), -1);
    assert_int_equal(add(rig, &items[0], &err), 0);
    assert_int_equal(add(rig, &items[N_ROOM], &err), -1);
    work_queue_release(rig->queue, &items[1].work);
    work_queue_release(rig->queue, &items[1].work); /* twice is once */
    assert_int_equal(add(rig, &items[N_ROOM], &err), 0);
    assert_int_equal(add(rig, &items[1], &err), -1);
    for (size_t i = 2; i < N_ROOM; i++)
        work_queue_release(rig->queue, &items[i].work);
    work_queue_cancel_all(rig->queue);
    work_queue_pump(rig->queue);
    rig_close(rig);
}

static void a_work_that_the_engine_refuses_leaves_no_trace(void **state)
{
    struct rig *rig = rig_open();
    struct item item = {0};
    struct ltd_err err = {0};
    (void)state;
    fake_engine_refuse(rig->engine, LTD_E_INTERNAL);
    for (size_t i = 0; i < 3 * N_ROOM; i++) {
        assert_int_equal(add(rig, &item, &err), -1);
        assert_int_equal(err.code, LTD_E_INTERNAL);
    }
    assert_int_equal(work_queue_n_unfinished(rig->queue), 0);
    assert_int_equal(item.n_finished, 0);
    rig_close(rig);
}

static void the_wait_is_the_engines_and_never_below_a_second(void **state)
{
    static const struct {
        double ms;
        uint32_t expected;
    } cases[] = {
        {0, 1000},      {-5, 1000},          {999.9, 1000},     {1000.2, 1001},
        {60000, 60000}, {1e300, UINT32_MAX}, {0.0 / 0.0, 1000}, {4294967295.0, UINT32_MAX}};
    struct rig *rig = rig_open();
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fake_engine_set_wait(rig->engine, cases[i].ms);
        uint32_t found = work_queue_wait_ms(rig->queue);
        if (found != cases[i].expected)
            fail_msg("%g ms: found %u, expected %u", cases[i].ms, found, cases[i].expected);
    }
    rig_close(rig);
}

static void a_priority_goes_to_the_work_that_it_is_for(void **state)
{
    struct rig *rig = rig_open();
    struct item items[3] = {0};
    (void)state;
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(add(rig, &items[i], NULL), 0);
    work_queue_set_priority(rig->queue, &items[1].work, 0);
    assert_int_equal(fake_engine_priority(rig->engine, 0), -1);
    assert_int_equal(fake_engine_priority(rig->engine, 1), 0);
    assert_int_equal(fake_engine_priority(rig->engine, 2), -1);
    work_queue_cancel_all(rig->queue);
    work_queue_pump(rig->queue);
    rig_close(rig);
}

static void a_lost_rank_group_is_told(void **state)
{
    struct rig *rig = rig_open();
    struct item items[2] = {0};
    (void)state;
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(add(rig, &items[i], NULL), 0);
    fake_engine_finish(rig->engine, 0, ENGINE_FINISH_ERROR, LTD_E_INTERNAL);
    work_queue_pump(rig->queue);
    assert_int_equal(rig->n_lost, 0);
    fake_engine_finish(rig->engine, 1, ENGINE_FINISH_ERROR, LTD_E_RANK);
    work_queue_pump(rig->queue);
    assert_int_equal(rig->n_lost, 1);
    rig_close(rig);
}

/* Hundreds of works through a few places, in an order of chance: no event goes astray. */
static void places_are_used_again_and_no_event_goes_astray(void **state)
{
    enum { N = 400 };
    struct rig *rig = rig_open();
    static struct item items[N];
    size_t n_added = 0, open[N_ROOM], n_open = 0;
    uint32_t chance = 12345, n_unstarted = 0;
    (void)state;
    memset(items, 0, sizeof items);
    while (n_added < N || n_open > 0) {
        chance = chance * 1664525u + 1013904223u;
        size_t pick = n_open ? (chance >> 16) % n_open : 0;
        if (n_added < N && n_open < N_ROOM && chance >> 31) {
            assert_int_equal(add(rig, &items[n_added], NULL), 0);
            open[n_open++] = n_added++;
            n_unstarted++;
        } else if (n_open > 0) {
            struct item *item = &items[open[pick]];
            if (item->n_started == 0 && chance >> 30 & 1) {
                fake_engine_start(rig->engine, item->job_idx);
                n_unstarted--;
            } else if (item->n_started && item->n_tokens < 3) {
                fake_engine_token(rig->engine, item->job_idx, (int32_t)item->job_idx, "", 0);
            } else {
                n_unstarted -= item->n_started == 0;
                work_queue_cancel(rig->queue, &item->work, ENGINE_FINISH_DEADLINE);
                open[pick] = open[--n_open];
            }
        }
        work_queue_pump(rig->queue);
        assert_int_equal(work_queue_n_unfinished(rig->queue), n_open);
        assert_int_equal(work_queue_n_unstarted(rig->queue), n_unstarted);
    }
    for (size_t i = 0; i < N; i++) {
        assert_int_equal(items[i].n_finished, 1);
        assert_int_equal(items[i].finish, ENGINE_FINISH_DEADLINE);
    }
    rig_close(rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(works_beyond_the_room_are_refused_and_nothing_is_taken),
        cmocka_unit_test(an_event_of_a_work_that_is_over_reaches_nobody),
        cmocka_unit_test(reserved_room_is_kept_used_or_given_back),
        cmocka_unit_test(a_work_that_the_engine_refuses_leaves_no_trace),
        cmocka_unit_test(the_wait_is_the_engines_and_never_below_a_second),
        cmocka_unit_test(a_priority_goes_to_the_work_that_it_is_for),
        cmocka_unit_test(a_lost_rank_group_is_told),
        cmocka_unit_test(places_are_used_again_and_no_event_goes_astray),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
