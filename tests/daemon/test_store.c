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

#include <cmocka.h>

#include "daemon/store.h"
#include "store_rig.h"

/* Every case runs against both logs: what a caller may rely on does not depend on which it is. */
static bool is_durable;

static struct store *open_store(size_t max_jobs, int64_t max_age_us, size_t max_bytes)
{
    struct store_retention keep = {max_jobs, max_age_us, max_bytes};
    if (is_durable)
        return rig_open_keeping(max_jobs, max_age_us, max_bytes);
    struct store *store = store_memory_create(&keep, NULL);
    assert_non_null(store);
    return store;
}

/* A finished job; its id into `id`. */
static void add_finished(struct store *store, struct job_id_maker *maker, char *id, int64_t end_us)
{
    rig_id(maker, id);
    assert_int_equal(rig_append(store, id, rig_queued("", "")), LTD_OK);
    assert_int_equal(rig_append(store, id, rig_finished(JOB_FINISH_CANCELLED, end_us)), LTD_OK);
}

/* ------------------------------------------------------------------------------- append */

static void a_job_begins_with_queued_and_is_found_by_both_ids(void **state)
{
    struct store *store = open_store(10, INT64_MAX, RIG_HUGE);
    struct job_id_maker maker = {0};
    char id[JOB_ID_CHARS + 1];
    (void)state;
    rig_id(&maker, id);
    assert_int_equal(rig_append(store, id, rig_started()), LTD_E_NOT_FOUND);
    assert_null(store_find(store, id));
    assert_int_equal(rig_append(store, id, rig_queued("req", "lab")), LTD_OK);
    const struct job *job = store_find(store, id);
    assert_non_null(job);
    assert_ptr_equal(store_find_request(store, "", "req"), job);
    assert_null(store_find_request(store, "", "other"));
    assert_null(store_find_request(store, "", ""));
    assert_int_equal(job->state, JOB_QUEUED);
    assert_string_equal(job->label, "lab");
    rig_close(store);
}

static void an_id_or_a_request_id_makes_one_job_only(void **state)
{
    struct store *store = open_store(10, INT64_MAX, RIG_HUGE);
    struct job_id_maker maker = {0};
    char a[JOB_ID_CHARS + 1], b[JOB_ID_CHARS + 1];
    bool more;
    const struct job *out[4];
    struct store_query all = {0};
    (void)state;
    rig_id(&maker, a);
    rig_id(&maker, b);
    assert_int_equal(rig_append(store, a, rig_queued("req", "")), LTD_OK);
    assert_int_equal(rig_append(store, a, rig_queued("", "")), LTD_E_EXISTS);
    assert_int_equal(rig_append(store, b, rig_queued("req", "")), LTD_E_EXISTS);
    assert_int_equal(rig_append(store, b, rig_queued("", "")), LTD_OK);
    assert_int_equal(store_list(store, &all, out, 4, &more), 2);
    rig_close(store);
}

static void an_impossible_event_is_refused_and_leaves_no_trace(void **state)
{
    struct store *store = open_store(10, INT64_MAX, RIG_HUGE);
    struct job_id_maker maker = {0};
    char id[JOB_ID_CHARS + 1];
    (void)state;
    rig_id(&maker, id);
    assert_int_equal(rig_append(store, id, rig_queued("", "")), LTD_OK);
    assert_int_equal(rig_append(store, id, rig_token(1, "", 0)), LTD_E_CORRUPT);
    assert_int_equal(rig_append(store, id, rig_finished(JOB_FINISH_EOS, 5)), LTD_E_CORRUPT);
    assert_int_equal(store_find(store, id)->last_seq, 1);
    assert_int_equal(rig_append(store, id, rig_started()), LTD_OK);
    assert_int_equal(store_find(store, id)->last_seq, 2);
    rig_close(store);
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
        return rig_queued("", "");
    case JOB_EV_STARTED:
        return rig_started();
    case JOB_EV_TOKEN:
        return rig_token(1, "t", 1);
    case JOB_EV_PRIORITY:
        return rig_priority(7);
    case JOB_EV_SUCCEEDED:
    case JOB_EV_CANCELLED:
    case JOB_EV_FAILED:
    case JOB_EV_N_KINDS:
        break;
    }
    return rig_finished(reasons[kind], 9);
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
    struct store *store = open_store(1000, INT64_MAX, RIG_HUGE);
    struct job_id_maker maker = {0};
    (void)state;
    for (int from = JOB_QUEUED; from < JOB_N_STATES; from++) {
        for (int kind = JOB_EV_STARTED; kind < JOB_EV_N_KINDS; kind++) {
            char id[JOB_ID_CHARS + 1];
            enum job_state to;
            rig_id(&maker, id);
            for (size_t i = 0; i < lengths[from]; i++)
                assert_int_equal(rig_append(store, id, event_of(ways[from][i])), LTD_OK);
            const struct job *job = store_find(store, id);
            struct job before = *job;
            assert_int_equal(before.state, from);
            bool is_row = job_next_state(before.state, (enum job_event_kind)kind, &to);
            enum ltd_code found = rig_append(store, id, event_of((enum job_event_kind)kind));
            if (found != (is_row ? LTD_OK : LTD_E_CORRUPT))
                fail_msg("%s + %s: found code %d", job_state_name(before.state),
                         job_event_kind_name((enum job_event_kind)kind), found);
            if (is_row)
                assert_int_equal(job->state, to);
            else
                assert_memory_equal(job, &before, sizeof before);
        }
    }
    rig_close(store);
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
    struct store *store = open_store(10, INT64_MAX, RIG_HUGE);
    struct job_id_maker maker = {0};
    char id[JOB_ID_CHARS + 1];
    (void)state;
    rig_id(&maker, id);
    assert_int_equal(rig_append(store, id, rig_queued("", "")), LTD_OK);
    assert_int_equal(rig_append(store, id, rig_started()), LTD_OK);
    for (int32_t i = 0; i < 200; i++)
        assert_int_equal(rig_append(store, id, rig_token(1000 + i, "text", 4)), LTD_OK);
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
    assert_int_equal(rig_append(store, id, rig_finished(JOB_FINISH_LENGTH, 9)), LTD_OK);
    struct seen whole = {0};
    store_read(store, job, 0, see, &whole, NULL);
    assert_int_equal(whole.n, 203);
    assert_int_equal(whole.ids[201], 1199);
    rig_close(store);
}

static void a_log_stops_at_its_bound_and_can_still_be_finished(void **state)
{
    struct store *store = open_store(10, INT64_MAX, RIG_HUGE);
    struct job_id_maker maker = {0};
    char id[JOB_ID_CHARS + 1];
    size_t big = STORE_JOB_BYTES_MAX / 8, n = 0;
    char *text = calloc(1, big);
    (void)state;
    assert_non_null(text);
    rig_id(&maker, id);
    rig_append(store, id, rig_queued("", ""));
    rig_append(store, id, rig_started());
    enum ltd_code code;
    while ((code = rig_append(store, id, rig_token(1, text, big))) == LTD_OK)
        n++;
    assert_int_equal(code, LTD_E_EXHAUSTED);
    assert_int_equal(n, 7);
    assert_int_equal(store_find(store, id)->state, JOB_RUNNING);
    assert_int_equal(rig_append(store, id, rig_finished(JOB_FINISH_ERROR, 9)), LTD_OK);
    assert_int_equal(store_find(store, id)->state, JOB_FAILED);
    free(text);
    rig_close(store);
}

/* --------------------------------------------------------------------------------- list */

static void pages_of_a_list_hold_every_job_once_newest_first(void **state)
{
    struct store *store = open_store(100, INT64_MAX, RIG_HUGE);
    struct job_id_maker maker = {0};
    char ids[25][JOB_ID_CHARS + 1], before[JOB_ID_CHARS + 1] = "";
    size_t n = 0;
    bool more = true;
    (void)state;
    for (size_t i = 0; i < 25; i++)
        rig_append(store, rig_id(&maker, ids[i]), rig_queued("", i % 5 == 0 ? "five" : ""));
    while (more) {
        const struct job *page[4];
        struct store_query query = {.before_id = before};
        size_t got = store_list(store, &query, page, 4, &more);
        for (size_t i = 0; i < got; i++)
            assert_string_equal(page[i]->id, ids[24 - n++]);
        memcpy(before, page[got - 1]->id, sizeof before);
        if (n == 8) { /* the job that the page ended with goes: the next page is the same */
            rig_append(store, before, rig_finished(JOB_FINISH_CANCELLED, 1));
            store_forget(store, store_find(store, before), NULL, NULL);
        }
    }
    assert_int_equal(n, 25);
    rig_close(store);
}

static void lists_filter_by_state_and_label(void **state)
{
    struct store *store = open_store(100, INT64_MAX, RIG_HUGE);
    struct job_id_maker maker = {0};
    char id[JOB_ID_CHARS + 1];
    const struct job *out[20];
    bool more;
    (void)state;
    for (size_t i = 0; i < 12; i++) {
        rig_id(&maker, id);
        rig_append(store, id, rig_queued("", i % 2 ? "odd" : ""));
        if (i >= 4)
            rig_append(store, id, rig_started());
        if (i >= 10)
            rig_append(store, id, rig_finished(JOB_FINISH_EOS, 1));
    }
    struct store_query odd = {.label = "odd"};
    struct store_query running = {.states = 1u << JOB_RUNNING};
    struct store_query both = {.states = 1u << JOB_QUEUED | 1u << JOB_SUCCEEDED, .label = "odd"};
    assert_int_equal(store_list(store, &odd, out, 20, &more), 6);
    assert_int_equal(store_list(store, &running, out, 20, &more), 6);
    assert_int_equal(store_list(store, &both, out, 20, &more), 3);
    assert_false(more);
    rig_close(store);
}

/* --------------------------------------------------------------------------- retention */

static void only_finished_jobs_are_forgotten_oldest_end_first(void **state)
{
    struct store *store = open_store(3, INT64_MAX, RIG_HUGE);
    struct job_id_maker maker = {0};
    char running[JOB_ID_CHARS + 1], ids[6][JOB_ID_CHARS + 1];
    (void)state;
    rig_append(store, rig_id(&maker, running), rig_queued("", ""));
    for (size_t i = 0; i < 6; i++)
        add_finished(store, &maker, ids[i], (int64_t)i);
    assert_int_equal(store_expire(store, 100), 3);
    for (size_t i = 0; i < 6; i++)
        assert_int_equal(store_find(store, ids[i]) != NULL, i >= 3);
    assert_non_null(store_find(store, running));
    assert_int_equal(store_expire(store, 100), 0);
    rig_close(store);
}

static void jobs_are_forgotten_by_age(void **state)
{
    struct store *store = open_store(100, 50, RIG_HUGE);
    struct job_id_maker maker = {0};
    char ids[3][JOB_ID_CHARS + 1];
    (void)state;
    for (size_t i = 0; i < 3; i++)
        add_finished(store, &maker, ids[i], (int64_t)(100 + 10 * i));
    assert_int_equal(store_expire(store, 150), 0);
    assert_int_equal(store_expire(store, 161), 2);
    assert_null(store_find(store, ids[1]));
    assert_non_null(store_find(store, ids[2]));
    rig_close(store);
}

static void jobs_are_forgotten_by_size(void **state)
{
    struct store *store = open_store(100, INT64_MAX, (size_t)300 << 10);
    struct job_id_maker maker = {0};
    char ids[5][JOB_ID_CHARS + 1];
    char *text = calloc(1, 100 << 10);
    (void)state;
    for (size_t i = 0; i < 5; i++) {
        rig_append(store, rig_id(&maker, ids[i]), rig_queued("", ""));
        rig_append(store, ids[i], rig_started());
        rig_append(store, ids[i], rig_token(1, text, 100 << 10));
        rig_append(store, ids[i], rig_finished(JOB_FINISH_EOS, (int64_t)i));
    }
    assert_int_equal(store_expire(store, 10), 3); /* two of a bit more than 100 KiB fit in 300 */
    assert_non_null(store_find(store, ids[3]));
    free(text);
    rig_close(store);
}

/* A store in which two jobs of the same size are all there is. */
static struct store *open_with_two(size_t max_bytes)
{
    struct store *store = open_store(100, INT64_MAX, max_bytes);
    struct job_id_maker maker = {0};
    struct store_usage usage;
    char id[JOB_ID_CHARS + 1];
    for (store_usage(store, "", &usage); usage.n_jobs < 2; store_usage(store, "", &usage))
        add_finished(store, &maker, id, 5);
    return store;
}

static void jobs_that_just_fit_are_kept(void **state)
{
    struct store_usage usage;
    (void)state;
    struct store *store = open_with_two(RIG_HUGE);
    store_usage(store, "", &usage);
    rig_close(store);
    store = open_with_two(usage.bytes);
    assert_int_equal(store_expire(store, 10), 0);
    rig_close(store);
    store = open_with_two(usage.bytes - 1);
    assert_int_equal(store_expire(store, 10), 1);
    rig_close(store);
}

static void a_forgotten_request_id_is_free_again(void **state)
{
    struct store *store = open_store(0, INT64_MAX, RIG_HUGE);
    struct job_id_maker maker = {0};
    char id[JOB_ID_CHARS + 1];
    (void)state;
    rig_append(store, rig_id(&maker, id), rig_queued("req", ""));
    rig_append(store, id, rig_finished(JOB_FINISH_CANCELLED, 1));
    assert_int_equal(rig_append(store, rig_id(&maker, id), rig_queued("req", "")), LTD_E_EXISTS);
    assert_int_equal(store_expire(store, 2), 1);
    assert_int_equal(rig_append(store, id, rig_queued("req", "")), LTD_OK);
    rig_close(store);
}

static void a_pinned_job_outlives_its_being_forgotten(void **state)
{
    struct store *store = open_store(0, INT64_MAX, RIG_HUGE);
    struct job_id_maker maker = {0};
    char id[JOB_ID_CHARS + 1];
    struct seen seen = {0};
    (void)state;
    add_finished(store, &maker, id, 1);
    const struct job *job = store_find(store, id);
    store_pin(store, job);
    store_pin(store, job); /* by two readers, say a watch and a continuation */
    assert_int_equal(store_expire(store, 100), 0); /* retention waits for readers */
    store_forget(store, job, NULL, NULL);                      /* delete does not */
    assert_null(store_find(store, id));
    assert_int_equal(store_read(store, job, 0, see, &seen, NULL), 0);
    assert_int_equal(seen.n, 2);
    assert_string_equal(job->id, id);
    store_unpin(store, job);
    assert_string_equal(job->id, id);
    store_unpin(store, job); /* freed here: the sanitizer build checks it */
    rig_close(store);
}

static void thousands_of_jobs_are_found_and_leave_nothing(void **state)
{
    struct store *store = open_store(0, INT64_MAX, RIG_HUGE);
    struct job_id_maker maker = {0};
    static char ids[5000][JOB_ID_CHARS + 1];
    char request[20];
    const struct job *out[1];
    struct store_query all = {0};
    bool more;
    (void)state;
    for (size_t i = 0; i < 5000; i++) {
        snprintf(request, sizeof request, "req-%zu", i);
        rig_append_later(store, rig_id(&maker, ids[i]), rig_queued(request, ""));
    }
    rig_settle(store);
    for (size_t i = 0; i < 5000; i++) {
        snprintf(request, sizeof request, "req-%zu", i);
        assert_non_null(store_find(store, ids[i]));
        assert_ptr_equal(store_find_request(store, "", request), store_find(store, ids[i]));
        rig_append_later(store, ids[i], rig_finished(JOB_FINISH_CANCELLED, (int64_t)i));
    }
    rig_settle(store);
    assert_int_equal(store_expire(store, 1), 5000);
    assert_int_equal(store_list(store, &all, out, 1, &more), 0);
    rig_close(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RIG_CASE(a_job_begins_with_queued_and_is_found_by_both_ids),
        RIG_CASE(an_id_or_a_request_id_makes_one_job_only),
        RIG_CASE(an_impossible_event_is_refused_and_leaves_no_trace),
        RIG_CASE(every_pair_of_state_and_event_is_kept_or_refused_as_the_table_says),
        RIG_CASE(reading_from_any_number_gives_the_same_events),
        RIG_CASE(a_log_stops_at_its_bound_and_can_still_be_finished),
        RIG_CASE(pages_of_a_list_hold_every_job_once_newest_first),
        RIG_CASE(lists_filter_by_state_and_label),
        RIG_CASE(only_finished_jobs_are_forgotten_oldest_end_first),
        RIG_CASE(jobs_are_forgotten_by_age),
        RIG_CASE(jobs_are_forgotten_by_size),
        RIG_CASE(jobs_that_just_fit_are_kept),
        RIG_CASE(a_forgotten_request_id_is_free_again),
        RIG_CASE(a_pinned_job_outlives_its_being_forgotten),
        RIG_CASE(thousands_of_jobs_are_found_and_leave_nothing),
    };
    int n_failed = cmocka_run_group_tests_name("in memory", tests, NULL, NULL);
    is_durable = true;
    return n_failed + cmocka_run_group_tests_name("on disk", tests, NULL, NULL);
}
