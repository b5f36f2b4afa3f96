/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/daemon/test_store.c - the logs, in memory and on disk, keep the promises of daemon/store.h.
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
#include <uv.h>

#include "daemon/store.h"

#define HUGE ((size_t)1 << 40)

/* Every case runs against both logs: what a caller may rely on does not depend on which it is. */
static bool is_durable;
static uv_loop_t loop;
static char directory[64];

static struct store *open_store(size_t max_jobs, int64_t max_age_us, size_t max_bytes)
{
    struct store_retention keep = {max_jobs, max_age_us, max_bytes};
    struct ltd_err err = {0};
    char path[100];
    snprintf(path, sizeof path, "%s/jobs.db", directory);
    struct store_sqlite_config config = {.path = path, .retention = keep, .loop = &loop};
    struct store *store =
        is_durable ? store_sqlite_open(&config, &err) : store_memory_create(&keep, &err);
    if (!store)
        fail_msg("open: %s", err.msg);
    return store;
}

static void close_store(struct store *store)
{
    store_destroy(store);
    uv_run(&loop, UV_RUN_DEFAULT);
}

static int make_directory(void **state)
{
    (void)state;
    snprintf(directory, sizeof directory, "/tmp/latentd-store-XXXXXX");
    return mkdtemp(directory) && uv_loop_init(&loop) == 0 ? 0 : -1;
}

static int remove_directory(void **state)
{
    static const char *const names[] = {"jobs.db", "jobs.db-wal", "jobs.db-shm", "jobs.db.lock"};
    char path[100];
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(path, sizeof path, "%s/%s", directory, names[i]);
        unlink(path);
    }
    uv_run(&loop, UV_RUN_DEFAULT);
    return rmdir(directory) == 0 ? uv_loop_close(&loop) : -1;
}

static void keep_result(void *arg, const struct ltd_err *result)
{
    struct ltd_err *out = arg;
    assert_int_equal(out->code, LTD_N_CODES); /* it comes once */
    *out = *result;
}

/* Until nothing waits: answers come from the loop. */
static void settle(struct store *store)
{
    struct store_health health;
    store_health(store, &health);
    while (health.n_waiting > 0) {
        uv_run(&loop, UV_RUN_ONCE);
        store_health(store, &health);
    }
}

static enum ltd_code append(struct store *store, const char *id, struct job_event event)
{
    struct ltd_err result = {.code = LTD_N_CODES};
    store_append(store, id, &event, keep_result, &result);
    settle(store);
    return result.code;
}

static void must_succeed(void *arg, const struct ltd_err *result)
{
    (void)arg;
    assert_int_equal(result->code, LTD_OK);
}

/* Without waiting for the answer: settle does. */
static void append_later(struct store *store, const char *id, struct job_event event)
{
    store_append(store, id, &event, must_succeed, NULL);
}

static struct job_event queued(const char *request_id, const char *label)
{
    return (struct job_event){.kind = JOB_EV_QUEUED,
                              .time_us = 1,
                              .queued = {.request_id = request_id,
                                         .label = label,
                                         .tier = "ref",
                                         .client = "c",
                                         .continues = ""}};
}

static const struct job_event started = {.kind = JOB_EV_STARTED, .time_us = 2};

static struct job_event token(int32_t id, const char *text, size_t len)
{
    struct job_event e = {.kind = JOB_EV_TOKEN, .time_us = 3, .text = text, .text_len = len};
    e.token.id = id;
    e.token.n_top = -1;
    return e;
}

static struct job_event priority(uint8_t value)
{
    return (struct job_event){.kind = JOB_EV_PRIORITY, .time_us = 4, .priority = value};
}

static struct job_event finished(enum job_finish reason, int64_t end_us)
{
    struct job_event e = {.kind = job_finish_kind(reason), .time_us = end_us};
    e.finished.reason = reason;
    if (reason == JOB_FINISH_ERROR)
        ltd_fail(&e.finished.error, LTD_E_INTERNAL, "why");
    return e;
}

static const char *make_id(struct job_id_maker *maker, char id[JOB_ID_CHARS + 1])
{
    job_id_make(maker, id);
    return id;
}

/* A finished job; its id into `id`. */
static void add_finished(struct store *store, struct job_id_maker *maker, char *id, int64_t end_us)
{
    make_id(maker, id);
    assert_int_equal(append(store, id, queued("", "")), LTD_OK);
    assert_int_equal(append(store, id, finished(JOB_FINISH_CANCELLED, end_us)), LTD_OK);
}

/* ------------------------------------------------------------------------------- append */

static void a_job_begins_with_queued_and_is_found_by_both_ids(void **state)
{
    struct store *store = open_store(10, INT64_MAX, HUGE);
    struct job_id_maker maker = {0};
    char id[JOB_ID_CHARS + 1];
    (void)state;
    make_id(&maker, id);
    assert_int_equal(append(store, id, started), LTD_E_NOT_FOUND);
    assert_null(store_find(store, id));
    assert_int_equal(append(store, id, queued("req", "lab")), LTD_OK);
    const struct job *job = store_find(store, id);
    assert_non_null(job);
    assert_ptr_equal(store_find_request(store, "", "req"), job);
    assert_null(store_find_request(store, "", "other"));
    assert_null(store_find_request(store, "", ""));
    assert_int_equal(job->state, JOB_QUEUED);
    assert_string_equal(job->label, "lab");
    close_store(store);
}

static void an_id_or_a_request_id_makes_one_job_only(void **state)
{
    struct store *store = open_store(10, INT64_MAX, HUGE);
    struct job_id_maker maker = {0};
    char a[JOB_ID_CHARS + 1], b[JOB_ID_CHARS + 1];
    bool more;
    const struct job *out[4];
    struct store_query all = {0};
    (void)state;
    make_id(&maker, a);
    make_id(&maker, b);
    assert_int_equal(append(store, a, queued("req", "")), LTD_OK);
    assert_int_equal(append(store, a, queued("", "")), LTD_E_EXISTS);
    assert_int_equal(append(store, b, queued("req", "")), LTD_E_EXISTS);
    assert_int_equal(append(store, b, queued("", "")), LTD_OK);
    assert_int_equal(store_list(store, &all, out, 4, &more), 2);
    close_store(store);
}

static void an_impossible_event_is_refused_and_leaves_no_trace(void **state)
{
    struct store *store = open_store(10, INT64_MAX, HUGE);
    struct job_id_maker maker = {0};
    char id[JOB_ID_CHARS + 1];
    (void)state;
    make_id(&maker, id);
    assert_int_equal(append(store, id, queued("", "")), LTD_OK);
    assert_int_equal(append(store, id, token(1, "", 0)), LTD_E_CORRUPT);
    assert_int_equal(append(store, id, finished(JOB_FINISH_EOS, 5)), LTD_E_CORRUPT);
    assert_int_equal(store_find(store, id)->last_seq, 1);
    assert_int_equal(append(store, id, started), LTD_OK);
    assert_int_equal(store_find(store, id)->last_seq, 2);
    close_store(store);
}

/* One event of each kind. */
static struct job_event event_of(enum job_event_kind kind)
{
    static const enum job_finish reasons[JOB_EV_N_KINDS] = {
        [JOB_EV_SUCCEEDED] = JOB_FINISH_STOP,
        [JOB_EV_CANCELLED] = JOB_FINISH_CANCELLED,
        [JOB_EV_FAILED] = JOB_FINISH_DEADLINE,
    };
    switch (kind) {
    case JOB_EV_QUEUED:
        return queued("", "");
    case JOB_EV_STARTED:
        return started;
    case JOB_EV_TOKEN:
        return token(1, "t", 1);
    case JOB_EV_PRIORITY:
        return priority(7);
    case JOB_EV_SUCCEEDED:
    case JOB_EV_CANCELLED:
    case JOB_EV_FAILED:
    case JOB_EV_N_KINDS:
        break;
    }
    return finished(reasons[kind], 9);
}

/* The log asks the table about every pair, and a refused event leaves the job as it was. */
static void every_pair_of_state_and_event_is_kept_or_refused_as_the_table_says(void **state)
{
    static const enum job_event_kind ways[JOB_N_STATES][3] = {
        [JOB_QUEUED] = {JOB_EV_QUEUED},
        [JOB_RUNNING] = {JOB_EV_QUEUED, JOB_EV_STARTED},
        [JOB_SUCCEEDED] = {JOB_EV_QUEUED, JOB_EV_STARTED, JOB_EV_SUCCEEDED},
        [JOB_CANCELLED] = {JOB_EV_QUEUED, JOB_EV_STARTED, JOB_EV_CANCELLED},
        [JOB_FAILED] = {JOB_EV_QUEUED, JOB_EV_STARTED, JOB_EV_FAILED},
    };
    static const size_t lengths[JOB_N_STATES] = {0, 1, 2, 3, 3, 3};
    struct store *store = open_store(1000, INT64_MAX, HUGE);
    struct job_id_maker maker = {0};
    (void)state;
    for (int from = JOB_QUEUED; from < JOB_N_STATES; from++) {
        for (int kind = JOB_EV_STARTED; kind < JOB_EV_N_KINDS; kind++) {
            char id[JOB_ID_CHARS + 1];
            enum job_state to;
            make_id(&maker, id);
            for (size_t i = 0; i < lengths[from]; i++)
                assert_int_equal(append(store, id, event_of(ways[from][i])), LTD_OK);
            const struct job *job = store_find(store, id);
            struct job before = *job;
            assert_int_equal(before.state, from);
            bool is_row = job_next_state(before.state, (enum job_event_kind)kind, &to);
            enum ltd_code found = append(store, id, event_of((enum job_event_kind)kind));
            if (found != (is_row ? LTD_OK : LTD_E_CORRUPT))
                fail_msg("%s + %s: found code %d", job_state_name(before.state),
                         job_event_kind_name((enum job_event_kind)kind), found);
            if (is_row)
                assert_int_equal(job->state, to);
            else
                assert_memory_equal(job, &before, sizeof before);
        }
    }
    close_store(store);
}

/* --------------------------------------------------------------------------------- read */

struct seen {
    uint64_t seqs[300];
    int32_t ids[300];
    size_t n, stop_after;
};

static bool see(void *arg, const struct job_event *event)
{
    struct seen *seen = arg;
    seen->seqs[seen->n] = event->seq;
    seen->ids[seen->n++] = event->token.id;
    return seen->n != seen->stop_after;
}

static void reading_from_any_number_gives_the_same_events(void **state)
{
    struct store *store = open_store(10, INT64_MAX, HUGE);
    struct job_id_maker maker = {0};
    char id[JOB_ID_CHARS + 1];
    (void)state;
    make_id(&maker, id);
    assert_int_equal(append(store, id, queued("", "")), LTD_OK);
    assert_int_equal(append(store, id, started), LTD_OK);
    for (int32_t i = 0; i < 200; i++)
        assert_int_equal(append(store, id, token(1000 + i, "text", 4)), LTD_OK);
    const struct job *job = store_find(store, id);
    for (uint64_t after = 0; after <= 202; after++) {
        struct seen seen = {0};
        assert_int_equal(store_read(store, job, after, see, &seen, NULL), 0);
        assert_int_equal(seen.n, 202 - after);
        for (size_t i = 0; i < seen.n; i++) {
            assert_int_equal(seen.seqs[i], after + 1 + i);
            if (seen.seqs[i] > 2)
                assert_int_equal(seen.ids[i], 1000 + (int32_t)seen.seqs[i] - 3);
        }
    }
    struct seen few = {.stop_after = 3};
    store_read(store, job, 5, see, &few, NULL);
    assert_int_equal(few.n, 3);
    /* The end does not move what was there. */
    assert_int_equal(append(store, id, finished(JOB_FINISH_LENGTH, 9)), LTD_OK);
    struct seen whole = {0};
    store_read(store, job, 0, see, &whole, NULL);
    assert_int_equal(whole.n, 203);
    assert_int_equal(whole.ids[201], 1199);
    close_store(store);
}

static void a_log_stops_at_its_bound_and_can_still_be_finished(void **state)
{
    struct store *store = open_store(10, INT64_MAX, HUGE);
    struct job_id_maker maker = {0};
    char id[JOB_ID_CHARS + 1];
    size_t big = STORE_JOB_BYTES_MAX / 8, n = 0;
    char *text = calloc(1, big);
    (void)state;
    assert_non_null(text);
    make_id(&maker, id);
    append(store, id, queued("", ""));
    append(store, id, started);
    enum ltd_code code;
    while ((code = append(store, id, token(1, text, big))) == LTD_OK)
        n++;
    assert_int_equal(code, LTD_E_EXHAUSTED);
    assert_int_equal(n, 7);
    assert_int_equal(store_find(store, id)->state, JOB_RUNNING);
    assert_int_equal(append(store, id, finished(JOB_FINISH_ERROR, 9)), LTD_OK);
    assert_int_equal(store_find(store, id)->state, JOB_FAILED);
    free(text);
    close_store(store);
}

/* --------------------------------------------------------------------------------- list */

static void pages_of_a_list_hold_every_job_once_newest_first(void **state)
{
    struct store *store = open_store(100, INT64_MAX, HUGE);
    struct job_id_maker maker = {0};
    char ids[25][JOB_ID_CHARS + 1], before[JOB_ID_CHARS + 1] = "";
    size_t n = 0;
    bool more = true;
    (void)state;
    for (size_t i = 0; i < 25; i++)
        append(store, make_id(&maker, ids[i]), queued("", i % 5 == 0 ? "five" : ""));
    while (more) {
        const struct job *page[4];
        struct store_query query = {.before_id = before};
        size_t got = store_list(store, &query, page, 4, &more);
        for (size_t i = 0; i < got; i++)
            assert_string_equal(page[i]->id, ids[24 - n++]);
        memcpy(before, page[got - 1]->id, sizeof before);
        if (n == 8) { /* the job that the page ended with goes: the next page is the same */
            append(store, before, finished(JOB_FINISH_CANCELLED, 1));
            store_forget(store, store_find(store, before));
        }
    }
    assert_int_equal(n, 25);
    close_store(store);
}

static void lists_filter_by_state_and_label(void **state)
{
    struct store *store = open_store(100, INT64_MAX, HUGE);
    struct job_id_maker maker = {0};
    char id[JOB_ID_CHARS + 1];
    const struct job *out[20];
    bool more;
    (void)state;
    for (size_t i = 0; i < 12; i++) {
        make_id(&maker, id);
        append(store, id, queued("", i % 2 ? "odd" : ""));
        if (i >= 4)
            append(store, id, started);
        if (i >= 10)
            append(store, id, finished(JOB_FINISH_EOS, 1));
    }
    struct store_query odd = {.label = "odd"};
    struct store_query running = {.states = 1u << JOB_RUNNING};
    struct store_query both = {.states = 1u << JOB_QUEUED | 1u << JOB_SUCCEEDED, .label = "odd"};
    assert_int_equal(store_list(store, &odd, out, 20, &more), 6);
    assert_int_equal(store_list(store, &running, out, 20, &more), 6);
    assert_int_equal(store_list(store, &both, out, 20, &more), 3);
    assert_false(more);
    close_store(store);
}

/* --------------------------------------------------------------------------- retention */

static void only_finished_jobs_are_forgotten_oldest_end_first(void **state)
{
    struct store *store = open_store(3, INT64_MAX, HUGE);
    struct job_id_maker maker = {0};
    char running[JOB_ID_CHARS + 1], ids[6][JOB_ID_CHARS + 1];
    (void)state;
    append(store, make_id(&maker, running), queued("", ""));
    for (size_t i = 0; i < 6; i++)
        add_finished(store, &maker, ids[i], (int64_t)i);
    assert_int_equal(store_expire(store, 100), 3);
    for (size_t i = 0; i < 6; i++)
        assert_int_equal(store_find(store, ids[i]) != NULL, i >= 3);
    assert_non_null(store_find(store, running));
    assert_int_equal(store_expire(store, 100), 0);
    close_store(store);
}

static void jobs_are_forgotten_by_age(void **state)
{
    struct store *store = open_store(100, 50, HUGE);
    struct job_id_maker maker = {0};
    char ids[3][JOB_ID_CHARS + 1];
    (void)state;
    for (size_t i = 0; i < 3; i++)
        add_finished(store, &maker, ids[i], (int64_t)(100 + 10 * i));
    assert_int_equal(store_expire(store, 150), 0);
    assert_int_equal(store_expire(store, 161), 2);
    assert_null(store_find(store, ids[1]));
    assert_non_null(store_find(store, ids[2]));
    close_store(store);
}

static void jobs_are_forgotten_by_size(void **state)
{
    struct store *store = open_store(100, INT64_MAX, (size_t)300 << 10);
    struct job_id_maker maker = {0};
    char ids[5][JOB_ID_CHARS + 1];
    char *text = calloc(1, 100 << 10);
    (void)state;
    for (size_t i = 0; i < 5; i++) {
        append(store, make_id(&maker, ids[i]), queued("", ""));
        append(store, ids[i], started);
        append(store, ids[i], token(1, text, 100 << 10));
        append(store, ids[i], finished(JOB_FINISH_EOS, (int64_t)i));
    }
    assert_int_equal(store_expire(store, 10), 3); /* two of a bit more than 100 KiB fit in 300 */
    assert_non_null(store_find(store, ids[3]));
    free(text);
    close_store(store);
}

static void a_forgotten_request_id_is_free_again(void **state)
{
    struct store *store = open_store(0, INT64_MAX, HUGE);
    struct job_id_maker maker = {0};
    char id[JOB_ID_CHARS + 1];
    (void)state;
    append(store, make_id(&maker, id), queued("req", ""));
    append(store, id, finished(JOB_FINISH_CANCELLED, 1));
    assert_int_equal(append(store, make_id(&maker, id), queued("req", "")), LTD_E_EXISTS);
    assert_int_equal(store_expire(store, 2), 1);
    assert_int_equal(append(store, id, queued("req", "")), LTD_OK);
    close_store(store);
}

static void a_pinned_job_outlives_its_being_forgotten(void **state)
{
    struct store *store = open_store(0, INT64_MAX, HUGE);
    struct job_id_maker maker = {0};
    char id[JOB_ID_CHARS + 1];
    struct seen seen = {0};
    (void)state;
    add_finished(store, &maker, id, 1);
    const struct job *job = store_find(store, id);
    store_pin(store, job);
    store_pin(store, job); /* by two readers, say a watch and a continuation */
    assert_int_equal(store_expire(store, 100), 0); /* retention waits for readers */
    store_forget(store, job);                      /* delete does not */
    assert_null(store_find(store, id));
    assert_int_equal(store_read(store, job, 0, see, &seen, NULL), 0);
    assert_int_equal(seen.n, 2);
    assert_string_equal(job->id, id);
    store_unpin(store, job);
    assert_string_equal(job->id, id);
    store_unpin(store, job); /* freed here: the sanitizer build checks it */
    close_store(store);
}

static void thousands_of_jobs_are_found_and_leave_nothing(void **state)
{
    struct store *store = open_store(0, INT64_MAX, HUGE);
    struct job_id_maker maker = {0};
    static char ids[5000][JOB_ID_CHARS + 1];
    char request[20];
    const struct job *out[1];
    struct store_query all = {0};
    bool more;
    (void)state;
    for (size_t i = 0; i < 5000; i++) {
        snprintf(request, sizeof request, "req-%zu", i);
        append_later(store, make_id(&maker, ids[i]), queued(request, ""));
    }
    settle(store);
    for (size_t i = 0; i < 5000; i++) {
        snprintf(request, sizeof request, "req-%zu", i);
        assert_non_null(store_find(store, ids[i]));
        assert_ptr_equal(store_find_request(store, "", request), store_find(store, ids[i]));
        append_later(store, ids[i], finished(JOB_FINISH_CANCELLED, (int64_t)i));
    }
    settle(store);
    assert_int_equal(store_expire(store, 1), 5000);
    assert_int_equal(store_list(store, &all, out, 1, &more), 0);
    close_store(store);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, make_directory, remove_directory)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_job_begins_with_queued_and_is_found_by_both_ids),
        CASE(an_id_or_a_request_id_makes_one_job_only),
        CASE(an_impossible_event_is_refused_and_leaves_no_trace),
        CASE(every_pair_of_state_and_event_is_kept_or_refused_as_the_table_says),
        CASE(reading_from_any_number_gives_the_same_events),
        CASE(a_log_stops_at_its_bound_and_can_still_be_finished),
        CASE(pages_of_a_list_hold_every_job_once_newest_first),
        CASE(lists_filter_by_state_and_label),
        CASE(only_finished_jobs_are_forgotten_oldest_end_first),
        CASE(jobs_are_forgotten_by_age),
        CASE(jobs_are_forgotten_by_size),
        CASE(a_forgotten_request_id_is_free_again),
        CASE(a_pinned_job_outlives_its_being_forgotten),
        CASE(thousands_of_jobs_are_found_and_leave_nothing),
    };
    int n_failed = cmocka_run_group_tests_name("in memory", tests, NULL, NULL);
    is_durable = true;
    return n_failed + cmocka_run_group_tests_name("on disk", tests, NULL, NULL);
}
