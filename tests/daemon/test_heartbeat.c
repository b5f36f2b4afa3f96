/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/daemon/test_heartbeat.c - readers of a silent job hear that the connection lives.
 *
 * The clock of the beats is the test's. That no beat was sent is seen by what came next: messages of
 * a call arrive in the order in which they were sent.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/clock.h"
#include "daemon/watch.h"
#include "service_rig.h"

#define BEAT_NS (WATCH_BEAT_SECONDS * LTD_NS_PER_S)

static uint64_t errand_now_ns;
static bool has_watch;

static void beat(struct rig *rig)
{
    watch_beat_all(&rig->service, errand_now_ns);
}

/* What the timer would do at that time. */
static void beat_at(struct rig *rig, uint64_t now_ns)
{
    errand_now_ns = now_ns;
    rig_on_loop(rig, beat);
}

static void look_for_watch(struct rig *rig)
{
    has_watch = rig->service.watches != NULL;
}

/* A watch that has nothing to say cannot be seen by its reader. */
static void await_watch(struct rig *rig)
{
    has_watch = false;
    for (uint64_t until_ns = ltd_deadline_ns(60000); !has_watch && ltd_now_ns() < until_ns;)
        rig_on_loop(rig, look_for_watch);
    assert_true(has_watch);
}

static void a_reader_that_heard_nothing_for_a_while_gets_a_heartbeat_without_a_number(void **state)
{
    (void)state;
    struct rig *rig = rig_open(10, 100);
    struct rig_name name = rig_submit(rig, 50, NULL);
    fake_engine_wait_jobs(rig->engine, 1);
    struct rig_stream *s = rig_watch(rig, name.text, 0);
    rig_stream_wait_messages(s, 1);
    uint64_t heard_ns = ltd_now_ns();
    beat_at(rig, heard_ns + BEAT_NS);
    rig_stream_wait_beats(s, 1);
    assert_int_equal(s->last_seq, 1); /* QUEUED */
    beat_at(rig, ltd_now_ns() + BEAT_NS);
    rig_stream_wait_beats(s, 2);
    rig_run_job(rig, 0, 50, ENGINE_FINISH_LENGTH);
    EXPECT_STATUS(rig_stream_end(s), LATENTD_OK);
    assert_int_equal(s->n_beats, 2);
    assert_int_equal(s->last_seq, 53);
    rig_expect_ids(s, 100, 50);
    rig_stream_free(s);
    rig_close(rig);
}

static void a_reader_that_just_got_an_event_or_a_heartbeat_gets_none(void **state)
{
    (void)state;
    struct rig *rig = rig_open(10, 100);
    struct rig_name name = rig_submit(rig, 50, NULL);
    struct rig_stream *s = rig_watch(rig, name.text, 0);
    rig_stream_wait_messages(s, 1);
    fake_engine_wait_jobs(rig->engine, 1);
    fake_engine_start(rig->engine, 0);
    uint64_t before_ns = ltd_now_ns();
    fake_engine_tokens(rig->engine, 0, 100, 1);
    rig_stream_wait_tokens(s, 1);
    beat_at(rig, before_ns + BEAT_NS - 1);
    fake_engine_tokens(rig->engine, 0, 101, 1);
    rig_stream_wait_tokens(s, 2);
    assert_int_equal(s->n_beats, 0);
    before_ns = ltd_now_ns();
    beat_at(rig, before_ns + BEAT_NS);
    rig_stream_wait_beats(s, 1);
    beat_at(rig, before_ns + BEAT_NS - 1);
    fake_engine_tokens(rig->engine, 0, 102, 1);
    rig_stream_wait_tokens(s, 3);
    assert_int_equal(s->n_beats, 1);
    fake_engine_finish(rig->engine, 0, ENGINE_FINISH_LENGTH, LTD_OK);
    EXPECT_STATUS(rig_stream_end(s), LATENTD_OK);
    rig_stream_free(s);
    rig_close(rig);
}

static void a_heartbeat_before_the_first_event_leaves_the_job_to_that_event(void **state)
{
    (void)state;
    struct rig *rig = rig_open(10, 100);
    struct rig_name name = rig_submit(rig, 50, NULL);
    struct rig_stream *s = rig_watch(rig, name.text, 1);
    await_watch(rig);
    beat_at(rig, ltd_now_ns() + BEAT_NS);
    rig_stream_wait_beats(s, 1);
    assert_int_equal(s->last_seq, 0);
    rig_run_job(rig, 0, 3, ENGINE_FINISH_LENGTH);
    EXPECT_STATUS(rig_stream_end(s), LATENTD_OK);
    assert_true(s->has_job);
    assert_int_equal(s->last_seq, 6);
    rig_stream_free(s);
    rig_close(rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_reader_that_heard_nothing_for_a_while_gets_a_heartbeat_without_a_number),
        cmocka_unit_test(a_reader_that_just_got_an_event_or_a_heartbeat_gets_none),
        cmocka_unit_test(a_heartbeat_before_the_first_event_leaves_the_job_to_that_event),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
