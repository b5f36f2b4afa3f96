/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/daemon/test_job.c - the transition table, the fold, the stored form, ids.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/job.h"
#include "daemon/job_given.h"

/* --------------------------------------------------------------------------- the table */

/* docs/job-events.md, written a second time: every pair that is not here must be refused. */
static const struct {
    enum job_state from;
    enum job_event_kind kind;
    enum job_state to;
} rows[] = {
    {JOB_NONE, JOB_EV_QUEUED, JOB_QUEUED},          {JOB_QUEUED, JOB_EV_STARTED, JOB_RUNNING},
    {JOB_QUEUED, JOB_EV_CANCELLED, JOB_CANCELLED},  {JOB_QUEUED, JOB_EV_FAILED, JOB_FAILED},
    {JOB_RUNNING, JOB_EV_TOKEN, JOB_RUNNING},       {JOB_RUNNING, JOB_EV_SUCCEEDED, JOB_SUCCEEDED},
    {JOB_RUNNING, JOB_EV_CANCELLED, JOB_CANCELLED}, {JOB_RUNNING, JOB_EV_FAILED, JOB_FAILED},
    {JOB_QUEUED, JOB_EV_PRIORITY, JOB_QUEUED},      {JOB_RUNNING, JOB_EV_PRIORITY, JOB_RUNNING},
};
#define N_ROWS (sizeof rows / sizeof *rows)

static void all_pairs_are_as_documented_and_all_others_are_refused(void **state)
{
    size_t n_allowed = 0;
    (void)state;
    for (int from = 0; from < JOB_N_STATES; from++) {
        for (int kind = 0; kind < JOB_EV_N_KINDS; kind++) {
            enum job_state to = JOB_N_STATES, expected = JOB_N_STATES;
            for (size_t i = 0; i < N_ROWS; i++)
                if ((int)rows[i].from == from && (int)rows[i].kind == kind)
                    expected = rows[i].to;
            bool allowed = job_next_state((enum job_state)from, (enum job_event_kind)kind, &to);
            if (allowed != (expected != JOB_N_STATES) || to != expected)
                fail_msg("%s + %s: found %d to %d, expected %d",
                         job_state_name((enum job_state)from),
                         job_event_kind_name((enum job_event_kind)kind), allowed, to, expected);
            n_allowed += allowed;
        }
    }
    assert_int_equal(n_allowed, N_ROWS);
}

static void final_states_have_no_way_out(void **state)
{
    (void)state;
    for (int from = 0; from < JOB_N_STATES; from++) {
        enum job_state to;
        bool leaves = false;
        for (int kind = 0; kind < JOB_EV_N_KINDS; kind++)
            leaves |= job_next_state((enum job_state)from, (enum job_event_kind)kind, &to);
        assert_int_equal(leaves, !job_state_is_final((enum job_state)from));
    }
}

/* -------------------------------------------------------------------------- the fold */

static struct job_event queued(void)
{
    return (struct job_event){
        .kind = JOB_EV_QUEUED,
        .seq = 1,
        .time_us = 1000,
        .queued = {.request_id = "r-1",
                   .label = "l\xc3\xa4",
                   .tier = "ref",
                   .client = "unix:uid=7",
                   .continues = "0123456789abcdefghijklmnop",
                   .owner = "alice",
                   .numerics = "model a, tier b",
                   .is_attached = true,
                   .seed = 42,
                   .prompt_tokens = 3,
                   .position = 2,
                   .priority = 16,
                   .spec = (const uint8_t *)"sp\0ec",
                   .spec_len = 5},
    };
}

static struct job_event started(uint64_t seq)
{
    struct job_event e = {.kind = JOB_EV_STARTED, .seq = seq, .time_us = 1500};
    e.started.predicted_end_us = 8000;
    return e;
}

static struct job_event priority(uint64_t seq, uint8_t value)
{
    return (struct job_event){
        .kind = JOB_EV_PRIORITY, .seq = seq, .time_us = 1600, .priority = value};
}

static struct job_event token(uint64_t seq, int32_t id, int32_t steps, const char *text)
{
    struct job_event e = {.kind = JOB_EV_TOKEN, .seq = seq, .time_us = 2000 + (int64_t)seq};
    e.token.id = id;
    e.token.steps = steps;
    e.token.exit = ENGINE_EXIT_CONVERGED;
    e.token.has_value = true;
    e.token.criterion_value = 0.25;
    e.token.n_top = 2;
    e.token.logprob = -0.5f;
    e.token.top[0] = (struct engine_top){id, -0.5f};
    e.token.top[1] = (struct engine_top){7, -1.5f};
    e.text = text;
    e.text_len = strlen(text);
    return e;
}

static struct job_event finished(uint64_t seq, enum job_finish reason)
{
    struct job_event e = {.seq = seq, .time_us = 9000, .kind = job_finish_kind(reason)};
    e.finished.reason = reason;
    e.finished.total_steps = 77;
    e.finished.late = reason == JOB_FINISH_EOS;
    if (reason == JOB_FINISH_ERROR)
        ltd_fail(&e.finished.error, LTD_E_RANK, "rank 2 is gone");
    e.text = "tail";
    e.text_len = 4;
    return e;
}

static void a_job_is_what_its_events_say(void **state)
{
    struct job job;
    struct ltd_err err = {0};
    struct job_event events[] = {queued(), started(2), token(3, 5, 4, "a"), token(4, 6, 8, "b"),
                                 finished(5, JOB_FINISH_ERROR)};
    (void)state;
    job_init(&job, "0123456789abcdefghijklmnop");
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(job_apply(&job, &events[i], &err), 0);
    assert_int_equal(job.state, JOB_RUNNING);
    assert_string_equal(job.request_id, "r-1");
    assert_string_equal(job.label, "l\xc3\xa4");
    assert_string_equal(job.tier, "ref");
    assert_string_equal(job.client, "unix:uid=7");
    assert_string_equal(job.owner, "alice");
    assert_string_equal(job.numerics, "model a, tier b");
    assert_true(job.is_attached);
    assert_string_equal(job.continues, "0123456789abcdefghijklmnop");
    assert_int_equal(job.priority, 16);
    assert_int_equal(job.predicted_end_us, 8000);
    assert_int_equal(job.seed, 42);
    assert_int_equal(job.create_us, 1000);
    assert_int_equal(job.start_us, 1500);
    assert_int_equal(job.end_us, 0);
    assert_int_equal(job.output_tokens, 2);
    assert_int_equal(job.total_steps, 3 * 4 + 8);
    assert_int_equal(job_apply(&job, &events[4], &err), 0);
    assert_int_equal(job.state, JOB_FAILED);
    assert_int_equal(job.total_steps, 77);
    assert_int_equal(job.end_us, 9000);
    assert_int_equal(job.error_code, LTD_E_RANK);
    assert_string_equal(job.error_msg, "rank 2 is gone");
    assert_false(job.late);
    assert_int_equal(job.last_seq, 5);
}

static void a_late_end_is_remembered(void **state)
{
    struct job job;
    struct job_event events[] = {queued(), started(2), finished(3, JOB_FINISH_EOS)};
    (void)state;
    job_init(&job, "0123456789abcdefghijklmnop");
    for (size_t i = 0; i < 3; i++) {
        assert_false(job.late);
        assert_int_equal(job_apply(&job, &events[i], NULL), 0);
    }
    assert_true(job.late);
}

static void the_last_priority_holds_and_changes_nothing_else(void **state)
{
    struct job job, before;
    struct job_event events[] = {queued(), priority(2, 0), started(3), priority(4, 31)};
    (void)state;
    job_init(&job, "0123456789abcdefghijklmnop");
    for (size_t i = 0; i < 4; i++) {
        before = job;
        assert_int_equal(job_apply(&job, &events[i], NULL), 0);
        if (events[i].kind != JOB_EV_PRIORITY)
            continue;
        assert_int_equal(job.priority, events[i].priority);
        before.priority = job.priority;
        before.n_priority_changes++;
        before.last_seq++;
        assert_memory_equal(&before, &job, sizeof job);
    }
    assert_int_equal(job.state, JOB_RUNNING);
    assert_int_equal(job.n_priority_changes, 2);
}

static void a_priority_is_changed_so_often_and_no_more(void **state)
{
    struct job job, before;
    struct job_event first = queued();
    struct ltd_err err = {0};
    (void)state;
    job_init(&job, "0123456789abcdefghijklmnop");
    assert_int_equal(job_apply(&job, &first, NULL), 0);
    for (uint64_t i = 0; i < JOB_PRIORITY_CHANGES_MAX; i++) {
        struct job_event e = priority(i + 2, (uint8_t)(i % 32));
        assert_int_equal(job_apply(&job, &e, NULL), 0);
    }
    before = job;
    struct job_event one_more = priority(JOB_PRIORITY_CHANGES_MAX + 2, 3);
    assert_int_equal(job_apply(&job, &one_more, &err), -1);
    assert_int_equal(err.code, LTD_E_CORRUPT);
    assert_memory_equal(&job, &before, sizeof job);
}

static void a_refused_event_changes_nothing(void **state)
{
    struct job job, before;
    struct ltd_err err = {0};
    struct job_event first = queued(), early = token(2, 1, 1, ""), gap = first, twice = first;
    (void)state;
    job_init(&job, "0123456789abcdefghijklmnop");
    assert_int_equal(job_apply(&job, &first, &err), 0);
    before = job;
    assert_int_equal(job_apply(&job, &early, &err), -1);
    assert_int_equal(err.code, LTD_E_CORRUPT);
    assert_non_null(strstr(err.msg, "event 2 is token, impossible in state queued"));
    gap.kind = JOB_EV_STARTED;
    gap.seq = 3;
    assert_int_equal(job_apply(&job, &gap, &err), -1);
    assert_non_null(strstr(err.msg, "event 3 found, 2 expected"));
    twice.seq = 2;
    assert_int_equal(job_apply(&job, &twice, &err), -1);
    assert_memory_equal(&job, &before, sizeof job);
}

/* ------------------------------------------------------------------------ stored form */

static void expect_equal(const struct job_event *a, const struct job_event *b)
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

static size_t all_events(struct job_event *out)
{
    struct job_event plain = token(4, 300, 2, "");
    struct job_event bare = token(5, 0, 1, "x");
    plain.token.n_top = -1;
    plain.token.exit = ENGINE_EXIT_FIXED;
    plain.token.has_value = false;
    plain.token.criterion_value = 0;
    bare.token.n_top = 0;
    bare.token.exit = ENGINE_EXIT_MAX_STEPS;
    struct job_event short_of_time = token(5, 9, 3, "y");
    short_of_time.token.exit = ENGINE_EXIT_BUDGET;
    const struct job_event all[] = {queued(),
                                    started(2),
                                    priority(3, 31),
                                    priority(3, 0),
                                    token(3, 5, 4, "\xe2\x82\xac"),
                                    plain,
                                    bare,
                                    short_of_time,
                                    finished(6, JOB_FINISH_EOS),
                                    finished(6, JOB_FINISH_CANCELLED),
                                    finished(6, JOB_FINISH_DEADLINE),
                                    finished(6, JOB_FINISH_ERROR)};
    memcpy(out, all, sizeof all);
    return sizeof all / sizeof *all;
}

static void every_event_survives_being_stored(void **state)
{
    struct job_event events[16], back;
    struct ltd_err err = {0};
    size_t n = all_events(events);
    (void)state;
    for (size_t i = 0; i < n; i++) {
        struct ltd_bytes bytes;
        ltd_bytes_init(&bytes);
        job_event_encode(&events[i], &bytes);
        assert_int_equal(job_event_decode(bytes.data, bytes.len, &back, &err), 0);
        assert_int_equal(back.kind, events[i].kind);
        assert_int_equal(back.time_us, events[i].time_us);
        assert_int_equal(back.text_len, events[i].text_len);
        assert_int_equal(back.priority, events[i].priority);
        assert_int_equal(back.started.predicted_end_us, events[i].started.predicted_end_us);
        assert_int_equal(back.finished.late, events[i].finished.late);
        assert_int_equal(back.queued.priority, events[i].queued.priority);
        assert_int_equal(back.token.exit, events[i].token.exit);
        if (events[i].kind == JOB_EV_QUEUED) {
            assert_string_equal(back.queued.client, events[i].queued.client);
            assert_string_equal(back.queued.owner, events[i].queued.owner);
            assert_string_equal(back.queued.numerics, events[i].queued.numerics);
            assert_int_equal(back.queued.is_attached, events[i].queued.is_attached);
            assert_string_equal(back.queued.continues, events[i].queued.continues);
        }
        assert_int_equal(back.token.criterion_value * 8, events[i].token.criterion_value * 8);
        expect_equal(&events[i], &back);
        ltd_bytes_fini(&bytes);
    }
}

static void a_stored_event_cut_or_extended_anywhere_is_refused(void **state)
{
    struct job_event events[16], back;
    struct ltd_err err = {0};
    size_t n = all_events(events);
    (void)state;
    for (size_t i = 0; i < n; i++) {
        struct ltd_bytes bytes;
        ltd_bytes_init(&bytes);
        job_event_encode(&events[i], &bytes);
        for (size_t len = 0; len < bytes.len; len++) {
            if (job_event_decode(bytes.data, len, &back, &err) == 0)
                fail_msg("event %zu cut to %zu of %zu bytes was accepted", i, len, bytes.len);
            assert_int_equal(err.code, LTD_E_CORRUPT);
        }
        ltd_bytes_put_u8(&bytes, 0);
        assert_int_equal(job_event_decode(bytes.data, bytes.len, &back, &err), -1);
        ltd_bytes_fini(&bytes);
    }
}

/* Flip every bit: nothing may crash, and what is accepted must be encodable again. */
static void a_stored_event_with_any_bit_flipped_is_refused_or_harmless(void **state)
{
    struct job_event events[16], back;
    size_t n = all_events(events);
    (void)state;
    for (size_t i = 0; i < n; i++) {
        struct ltd_bytes bytes, again;
        ltd_bytes_init(&bytes);
        job_event_encode(&events[i], &bytes);
        for (size_t bit = 0; bit < 8 * bytes.len; bit++) {
            bytes.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
            if (job_event_decode(bytes.data, bytes.len, &back, NULL) == 0) {
                ltd_bytes_init(&again);
                job_event_encode(&back, &again);
                assert_true(again.len <= bytes.len + 8);
                ltd_bytes_fini(&again);
            }
            bytes.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
        }
        ltd_bytes_fini(&bytes);
    }
}

/* What no event can say is refused: where the number stands, and the least that is too much. */
static void stored_numbers_out_of_range_are_refused(void **state)
{
    const struct {
        struct job_event event;
        size_t at;
        uint8_t value;
    } cases[] = {
        {queued(), 0, 1},                            /* format */
        {queued(), 10 + 16, SPEC_PRIORITY_MAX + 1},  /* priority behind seed and two counts */
        {priority(2, 3), 10, SPEC_PRIORITY_MAX + 1}, /* the only number */
        {priority(2, 3), 1, JOB_EV_N_KINDS},         /* kind */
        {token(3, 1, 1, ""), 11, ENGINE_N_EXITS},    /* exit behind flags */
        {finished(4, JOB_FINISH_EOS), 11, 2},        /* late behind the reason */
        {finished(4, JOB_FINISH_EOS), 10, JOB_FINISH_CANCELLED},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ltd_bytes bytes;
        struct job_event back;
        struct ltd_err err = {0};
        ltd_bytes_init(&bytes);
        job_event_encode(&cases[i].event, &bytes);
        assert_int_equal(job_event_decode(bytes.data, bytes.len, &back, &err), 0);
        bytes.data[cases[i].at] = cases[i].value;
        if (job_event_decode(bytes.data, bytes.len, &back, &err) == 0)
            fail_msg("case %zu: %u at byte %zu was accepted", i, cases[i].value, cases[i].at);
        assert_int_equal(err.code, LTD_E_CORRUPT);
        ltd_bytes_fini(&bytes);
    }
}

/* Any prefix of a log, stored and read back, folds to what the events folded to. */
static void replay_cut_after_every_event_gives_the_same_job(void **state)
{
    struct job_event events[16] = {queued(), priority(2, 5), started(3), priority(4, 31)};
    size_t n = 4;
    (void)state;
    for (; n < 13; n++)
        events[n] = n == 8 ? priority(n + 1, 0) : token(n + 1, (int32_t)n, (int32_t)n, "text");
    events[n] = finished(n + 1, JOB_FINISH_STOP);
    n++;
    for (size_t cut = 0; cut <= n; cut++) {
        struct job direct, replayed;
        struct ltd_err err = {0};
        job_init(&direct, "0123456789abcdefghijklmnop");
        job_init(&replayed, "0123456789abcdefghijklmnop");
        for (size_t i = 0; i < cut; i++) {
            struct ltd_bytes bytes;
            struct job_event back;
            ltd_bytes_init(&bytes);
            job_event_encode(&events[i], &bytes);
            assert_int_equal(job_event_decode(bytes.data, bytes.len, &back, &err), 0);
            back.seq = i + 1;
            assert_int_equal(job_apply(&direct, &events[i], &err), 0);
            assert_int_equal(job_apply(&replayed, &back, &err), 0);
            ltd_bytes_fini(&bytes);
        }
        assert_memory_equal(&direct, &replayed, sizeof direct);
    }
}

static void what_a_job_was_given_reads_back_as_it_was(void **state)
{
    static const struct job_given all[] = {
        {1, 1, 0, ""}, {INT32_MAX, 4096, 4096, "int8"}, {256, 64, 1, "fifteenletters."}};
    static const char *const bad[] = {",",
                                      ", max_tokens 4",
                                      ", max_tokens 4, max_steps 5 more",
                                      ", max_tokens 4, max_steps 5, early_steps 2",
                                      ", max_tokens 4, max_steps 5, early_steps 2 in ",
                                      ", max_tokens 4, max_steps 5, early_steps 0 in int8",
                                      ", max_tokens 4, max_steps 5, early_steps 2 in int8 more"};
    char text[JOB_NUMERICS_BYTES], longest[JOB_NUMERICS_BYTES - JOB_GIVEN_BYTES];
    struct job_given given;
    (void)state;
    memset(longest, 'n', sizeof longest);
    longest[sizeof longest - 1] = '\0';
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        struct job job = {0};
        job_given_put(longest, &all[i], text);
        assert_true(job_given_take(text + strlen(longest), &given));
        assert_memory_equal(&given, &all[i], sizeof given);
        memcpy(job.numerics, text, sizeof text);
        assert_int_equal(job_early_steps(&job), all[i].early_steps);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (job_given_take(bad[i], &given))
            fail_msg("taken: \"%s\"", bad[i]);
    assert_true(job_given_take("", &given)); /* logs of the first versions */
    assert_int_equal(given.max_tokens + given.max_steps + given.early_steps, 0);
}

static void the_bound_of_a_log_is_never_exceeded(void **state)
{
    uint8_t wire[100] = {0};
    struct job_spec spec = {.max_tokens = 50, .n_logprobs = SPEC_LOGPROBS_MAX, .wire_len = 100};
    struct ltd_bytes log;
    struct job_event e = queued();
    char request_id[JOB_REQUEST_ID_CHARS + 1], label[SPEC_LABEL_BYTES + 1];
    char tier[JOB_TIER_BYTES], client[SPEC_CLIENT_BYTES + 1];
    char owner[JOB_OWNER_BYTES], numerics[JOB_NUMERICS_BYTES];
    struct job_event start = started(2);
    (void)state;
    memset(request_id, 'r', sizeof request_id);
    memset(label, 'l', sizeof label);
    memset(tier, 't', sizeof tier);
    memset(client, 'c', sizeof client);
    memset(owner, 'o', sizeof owner);
    memset(numerics, 'n', sizeof numerics);
    client[SPEC_CLIENT_BYTES] = owner[JOB_OWNER_BYTES - 1] = numerics[JOB_NUMERICS_BYTES - 1] =
        '\0';
    request_id[JOB_REQUEST_ID_CHARS] = label[SPEC_LABEL_BYTES] = tier[JOB_TIER_BYTES - 1] = '\0';
    e.queued.request_id = request_id;
    e.queued.label = label;
    e.queued.tier = tier;
    e.queued.client = client;
    e.queued.owner = owner;
    e.queued.numerics = numerics;
    e.queued.spec = wire;
    e.queued.spec_len = sizeof wire;
    ltd_bytes_init(&log);
    job_event_encode(&e, &log);
    job_event_encode(&start, &log);
    for (int i = 0; i < JOB_PRIORITY_CHANGES_MAX; i++) {
        struct job_event p = priority(3, 31);
        job_event_encode(&p, &log);
    }
    for (int32_t i = 0; i < spec.max_tokens; i++) {
        struct job_event t = token(3, 1, 1, "0123456789");
        t.token.n_top = SPEC_LOGPROBS_MAX;
        job_event_encode(&t, &log);
    }
    struct job_event end = finished(60, JOB_FINISH_ERROR);
    memset(end.finished.error.msg, 'm', LTD_ERR_MSG_BYTES - 1);
    end.text_len = 0;
    size_t before = log.len;
    job_event_encode(&end, &log);
    assert_true(log.len - before <= JOB_FINISHED_BYTES_MAX);
    assert_true(log.len <= job_log_bytes_bound(&spec, 10));
    assert_true(log.len + 1100 > job_log_bytes_bound(&spec, 10)); /* and it is no wild guess */
    ltd_bytes_fini(&log);
}

/* -------------------------------------------------------------------------------- ids */

static void ids_rise_strictly_and_are_valid(void **state)
{
    struct job_id_maker maker = {0};
    char id[JOB_ID_CHARS + 1], last[JOB_ID_CHARS + 1] = "";
    (void)state;
    for (int i = 0; i < 20000; i++) {
        job_id_make(&maker, id);
        assert_int_equal(strlen(id), JOB_ID_CHARS);
        assert_true(job_id_is_valid(id, JOB_ID_CHARS));
        if (strcmp(id, last) <= 0)
            fail_msg("id %s after %s", id, last);
        memcpy(last, id, sizeof last);
    }
}

static void ids_rise_when_the_clock_goes_back_and_chance_runs_over(void **state)
{
    struct job_id_maker maker = {.last_ms = 0xFFFFFFFFFFF0ull};
    char first[JOB_ID_CHARS + 1], second[JOB_ID_CHARS + 1];
    (void)state;
    memset(maker.chance, 0xFF, sizeof maker.chance);
    maker.chance[9] = 0xFE;
    job_id_make(&maker, first);
    job_id_make(&maker, second);
    assert_true(strcmp(second, first) > 0);
    assert_int_equal(maker.last_ms, 0xFFFFFFFFFFF1ull);
}

static void ids_of_two_processes_differ(void **state)
{
    struct job_id_maker a = {0}, b = {0};
    char x[JOB_ID_CHARS + 1], y[JOB_ID_CHARS + 1];
    (void)state;
    job_id_make(&a, x);
    job_id_make(&b, y);
    assert_string_not_equal(x, y);
}

static void other_texts_are_no_ids(void **state)
{
    (void)state;
    assert_false(job_id_is_valid("", 0));
    assert_false(job_id_is_valid("0123456789abcdefghijklmno", 25));
    assert_false(job_id_is_valid("0123456789abcdefghijklmnopq", 27));
    assert_false(job_id_is_valid("0123456789ABCDEFGHIJKLMNOP", 26));
    assert_false(job_id_is_valid("0123456789abcdefghijklmnow", 26));
    assert_false(job_id_is_valid("8123456789abcdefghijklmnop", 26));
    assert_false(job_id_is_valid("0123456789abc\0efghijklmnop", 26));
    assert_true(job_id_is_valid("0123456789abcdefghijklmnop", 26));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_pairs_are_as_documented_and_all_others_are_refused),
        cmocka_unit_test(final_states_have_no_way_out),
        cmocka_unit_test(a_job_is_what_its_events_say),
        cmocka_unit_test(a_late_end_is_remembered),
        cmocka_unit_test(the_last_priority_holds_and_changes_nothing_else),
        cmocka_unit_test(a_priority_is_changed_so_often_and_no_more),
        cmocka_unit_test(a_refused_event_changes_nothing),
        cmocka_unit_test(every_event_survives_being_stored),
        cmocka_unit_test(a_stored_event_cut_or_extended_anywhere_is_refused),
        cmocka_unit_test(a_stored_event_with_any_bit_flipped_is_refused_or_harmless),
        cmocka_unit_test(stored_numbers_out_of_range_are_refused),
        cmocka_unit_test(replay_cut_after_every_event_gives_the_same_job),
        cmocka_unit_test(what_a_job_was_given_reads_back_as_it_was),
        cmocka_unit_test(the_bound_of_a_log_is_never_exceeded),
        cmocka_unit_test(ids_rise_strictly_and_are_valid),
        cmocka_unit_test(ids_rise_when_the_clock_goes_back_and_chance_runs_over),
        cmocka_unit_test(ids_of_two_processes_differ),
        cmocka_unit_test(other_texts_are_no_ids),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
