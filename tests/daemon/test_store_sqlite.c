/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/daemon/test_store_sqlite.c - what the durable log promises beyond daemon/store.h's common
 * rules: order of answers, groups, opening again, forgetting, who may open it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "store_rig.h"

#define N_JOBS 6

/* ------------------------------------------------------------------------------------ order */

struct order {
    int next;
};

struct answer {
    struct order *order;
    int place; /* -1: none yet */
    struct ltd_err result;
};

static void note(void *arg, const struct ltd_err *result)
{
    struct answer *a = arg;
    assert_int_equal(a->place, -1);
    a->place = a->order->next++;
    a->result = *result;
}

static void ask(struct store *store, struct answer *a, struct order *order, const char *id,
                struct job_event event)
{
    *a = (struct answer){.order = order, .place = -1};
    store_append(store, id, &event, note, a);
    assert_int_equal(a->place, -1); /* never from inside */
}

static void appends_of_one_turn_are_one_commit_and_answered_in_order(void **state)
{
    struct store *store = rig_open();
    struct job_id_maker maker = {0};
    char ids[N_JOBS][JOB_ID_CHARS + 1];
    struct answer answers[N_JOBS * 30];
    struct order order = {0};
    struct store_health before, after;
    int n = 0;
    (void)state;
    store_health(store, &before);
    assert_true(before.is_durable);
    for (int i = 0; i < N_JOBS; i++)
        ask(store, &answers[n++], &order, rig_id(&maker, ids[i]), rig_queued("", ""));
    for (int e = 0; e < 29; e++)
        for (int i = 0; i < N_JOBS; i++)
            ask(store, &answers[n++], &order, ids[i],
                e == 0 ? rig_started() : rig_token(e, "text", 4));
    store_health(store, &after);
    assert_int_equal(after.n_waiting, n);
    rig_settle(store);
    store_health(store, &after);
    for (int i = 0; i < n; i++) {
        assert_int_equal(answers[i].place, i);
        assert_int_equal(answers[i].result.code, LTD_OK);
    }
    assert_int_equal(after.n_commits - before.n_commits, 1);
    assert_int_equal(after.n_events, n);
    assert_true(after.commit_ms_max > 0);
    assert_true(after.bytes > 0);
    rig_close(store);
}

static void a_refusal_keeps_its_turn_and_takes_what_waits_behind_it(void **state)
{
    struct store *store = rig_open();
    struct job_id_maker maker = {0};
    char a[JOB_ID_CHARS + 1], b[JOB_ID_CHARS + 1];
    struct answer answers[6];
    struct order order = {0};
    static const enum ltd_code expected[] = {LTD_OK,          LTD_E_CORRUPT, LTD_E_CORRUPT,
                                             LTD_E_NOT_FOUND, LTD_OK,        LTD_E_EXISTS};
    (void)state;
    rig_id(&maker, a);
    rig_id(&maker, b);
    ask(store, &answers[0], &order, a, rig_queued("req", ""));
    ask(store, &answers[1], &order, a, rig_token(1, "", 0)); /* not started */
    ask(store, &answers[2], &order, a, rig_started());
    ask(store, &answers[3], &order, b, rig_started());
    ask(store, &answers[4], &order, b, rig_queued("", ""));
    ask(store, &answers[5], &order, rig_id(&maker, b), rig_queued("req", ""));
    rig_settle(store);
    for (int i = 0; i < 6; i++) {
        assert_int_equal(answers[i].place, i);
        assert_int_equal(answers[i].result.code, expected[i]);
    }
    assert_int_equal(rig_append(store, a, rig_started()), LTD_OK);
    rig_close(store);
}

static void a_job_is_shown_when_it_is_on_disk_and_its_names_are_taken_before(void **state)
{
    struct store *store = rig_open();
    struct job_id_maker maker = {0};
    char a[JOB_ID_CHARS + 1], b[JOB_ID_CHARS + 1];
    struct answer first, second, other;
    struct order order = {0};
    const struct job *out[2];
    struct store_query all = {0};
    struct store_usage usage;
    struct job_event theirs = rig_queued("req", "");
    bool more;
    (void)state;
    theirs.queued.owner = "eve";
    ask(store, &first, &order, rig_id(&maker, a), rig_queued("req", ""));
    assert_null(store_find(store, a));
    assert_null(store_find_request(store, "", "req"));
    assert_int_equal(store_list(store, &all, out, 2, &more), 0);
    store_usage(store, "", &usage);
    assert_int_equal(usage.n_unfinished, 1); /* quotas count what is on its way */
    ask(store, &second, &order, rig_id(&maker, b), rig_queued("req", ""));
    ask(store, &other, &order, rig_id(&maker, b), theirs);
    rig_settle(store);
    assert_int_equal(first.result.code, LTD_OK);
    assert_int_equal(second.result.code, LTD_E_EXISTS);
    assert_int_equal(other.result.code, LTD_OK); /* another owner's ids are his own */
    assert_non_null(store_find(store, a));
    assert_string_equal(store_find_request(store, "eve", "req")->id, b);
    assert_string_equal(store_find_request(store, "", "req")->id, a);
    rig_close(store);
}

static void usage_is_counted_by_owner(void **state)
{
    struct store *store = rig_open();
    struct job_id_maker maker = {0};
    char id[JOB_ID_CHARS + 1];
    struct store_usage usage;
    (void)state;
    for (int i = 0; i < 3; i++) {
        struct job_event event = rig_queued("", "");
        event.queued.owner = i < 2 ? "ann" : "bob";
        assert_int_equal(rig_append(store, rig_id(&maker, id), event), LTD_OK);
        if (i == 1)
            rig_append(store, id, rig_finished(JOB_FINISH_CANCELLED, 5));
    }
    for (int opened = 0; opened < 2; opened++) {
        store_usage(store, "ann", &usage);
        assert_int_equal(usage.n_jobs, 2);
        assert_int_equal(usage.n_unfinished, 1);
        uint64_t bytes = usage.bytes;
        store_usage(store, "bob", &usage);
        assert_int_equal(usage.n_jobs, 1);
        assert_true(usage.bytes > 0 && usage.bytes < bytes);
        store_usage(store, "carol", &usage);
        assert_int_equal(usage.n_jobs, 0);
        rig_close(store);
        store = rig_open();
    }
    rig_close(store);
}

/* -------------------------------------------------------------------------------------- disk */

/* SQLite's calls for the disk come here first: the program's own functions go before the libraries'. */
static _Atomic int n_wal_syncs;

static void count_sync(int fd)
{
    char link[64], path[200];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t len = readlink(link, path, sizeof path);
    n_wal_syncs += len > 4 && memcmp(path + len - 4, "-wal", 4) == 0;
}

int fsync(int fd)
{
    count_sync(fd);
    return (int)syscall(SYS_fsync, fd);
}

int fdatasync(int fd)
{
    count_sync(fd);
    return (int)syscall(SYS_fdatasync, fd);
}

/* No kill notices it, because what the kernel has outlives the process; a power cut does. */
static void every_answer_comes_behind_a_sync_of_the_disk(void **state)
{
    struct store *store = rig_open();
    struct job_id_maker maker = {0};
    char id[JOB_ID_CHARS + 1];
    (void)state;
    rig_id(&maker, id);
    for (int i = 0; i < 8; i++) {
        int before = n_wal_syncs;
        struct job_event event = i == 0   ? rig_queued("", "")
                                 : i == 1 ? rig_started()
                                 : i == 7 ? rig_finished(JOB_FINISH_EOS, 5)
                                          : rig_token(i, "text", 4);
        assert_int_equal(rig_append(store, id, event), LTD_OK);
        if (n_wal_syncs == before)
            fail_msg("event %d was answered, and the log was not synced for it", i + 1);
    }
    rig_close(store);
}

/* ----------------------------------------------------------------------------- opening again */

static uint32_t chance(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(*seed >> 33);
}

/* A random event that may follow. */
static struct job_event random_event(uint64_t *seed, enum job_state from, char text[64])
{
    struct job_event event = {0};
    enum job_state to;
    for (size_t i = 0; i < 64; i++)
        text[i] = (char)('a' + chance(seed) % 26);
    do {
        enum job_finish reason = (enum job_finish)(1 + chance(seed) % 6);
        bool ends = chance(seed) % 20 == 0;
        switch (ends ? 4 : chance(seed) % 4) {
        case 0:
            event = rig_started();
            break;
        case 1:
            event = rig_priority((uint8_t)(chance(seed) % 32));
            break;
        case 4:
            event = rig_finished(reason, (int64_t)chance(seed));
            event.text = text;
            event.text_len = chance(seed) % 64;
            break;
        default:
            event = rig_token((int32_t)(chance(seed) % 1000), text, chance(seed) % 64);
            event.token.steps = (int32_t)(chance(seed) % 64);
            event.token.n_top = (int32_t)(chance(seed) % 3) - 1;
            event.token.logprob = -0.5f;
            event.token.top[0].id = 7;
            event.token.top[0].logprob = -1.5f;
        }
    } while (!job_next_state(from, event.kind, &to));
    event.time_us = (int64_t)chance(seed);
    return event;
}

static void a_log_that_is_opened_again_holds_the_same_at_every_prefix(void **state)
{
    uint64_t seed = 20240607;
    struct job_id_maker maker = {0};
    char ids[3][JOB_ID_CHARS + 1], text[64];
    struct store *store = rig_open();
    (void)state;
    for (int i = 0; i < 3; i++) {
        struct job_event event = rig_queued(i ? "r" : "", "label");
        event.queued.owner = i == 1 ? "ann" : i == 2 ? "bob" : NULL;
        event.queued.spec = (const uint8_t *)"spec\0bytes";
        event.queued.spec_len = 10;
        event.queued.numerics = "avx2 f32";
        assert_int_equal(rig_append(store, rig_id(&maker, ids[i]), event), LTD_OK);
    }
    for (int n = 0; n < 60; n++) {
        const char *id = ids[chance(&seed) % 3];
        enum job_state from = store_find(store, id)->state;
        if (!job_state_is_final(from))
            assert_int_equal(rig_append(store, id, random_event(&seed, from, text)), LTD_OK);
        struct job folds[3];
        uint8_t *events[3];
        size_t lens[3], counts[3];
        for (int i = 0; i < 3; i++) {
            folds[i] = *store_find(store, ids[i]);
            events[i] = rig_read_all(store, store_find(store, ids[i]), &lens[i], &counts[i], NULL);
            assert_int_equal(counts[i], folds[i].last_seq);
        }
        rig_close(store);
        store = rig_open();
        for (int i = 0; i < 3; i++) {
            size_t len, count;
            const struct job *job = store_find(store, ids[i]);
            uint8_t *again = rig_read_all(store, job, &len, &count, NULL);
            assert_memory_equal(job, &folds[i], sizeof *job);
            assert_int_equal(len, lens[i]);
            assert_memory_equal(again, events[i], len);
            free(again);
            free(events[i]);
        }
    }
    rig_close(store);
}

static void a_clock_that_was_set_back_changes_neither_order_nor_age(void **state)
{
    struct store *store = rig_open_keeping(100, 50, RIG_HUGE);
    struct job_id_maker late = {0}, early = {.last_ms = 1};
    char ids[3][JOB_ID_CHARS + 1];
    const struct job *out[3];
    struct store_query all = {0};
    bool more;
    (void)state;
    rig_id(&late, ids[2]);
    job_id_make(&early, ids[0]);
    /* An id of 1970: its time is the first ten characters. */
    memset(ids[0], '0', 10);
    rig_id(&late, ids[1]);
    assert_int_equal(rig_append(store, ids[2], rig_queued("", "")), LTD_OK);
    assert_int_equal(rig_append(store, ids[1], rig_queued("", "")), LTD_OK);
    assert_int_equal(rig_append(store, ids[0], rig_queued("", "")), LTD_OK);
    assert_int_equal(store_list(store, &all, out, 3, &more), 3);
    assert_string_equal(out[0]->id, ids[1]);
    assert_string_equal(out[1]->id, ids[2]);
    assert_string_equal(out[2]->id, ids[0]);
    rig_append(store, ids[0], rig_finished(JOB_FINISH_CANCELLED, INT64_MAX));
    rig_append(store, ids[1], rig_finished(JOB_FINISH_CANCELLED, 100));
    assert_int_equal(store_expire(store, 120), 0);
    assert_int_equal(store_expire(store, INT64_MIN), 0);
    assert_int_equal(store_expire(store, 151), 1); /* also behind one that ended in the future */
    assert_null(store_find(store, ids[1]));
    rig_close(store);
}

/* --------------------------------------------------------------------------------- forgetting */

static void make_long_job(struct store *store, const char *id, int n)
{
    rig_append_later(store, id, rig_queued("req", ""));
    rig_append_later(store, id, rig_started());
    for (int i = 0; i < n; i++)
        rig_append_later(store, id, rig_token(i, "word", 4));
    rig_append_later(store, id, rig_finished(JOB_FINISH_LENGTH, 5));
    rig_settle(store);
}

/* Deleting goes on between other things: turn the loop until the file says so. */
static void await_rows(struct store *store, const char *sql, int64_t expected)
{
    struct job_id_maker maker = {0};
    char id[JOB_ID_CHARS + 1];
    uint64_t deadline_ns = ltd_deadline_ns(30000);
    while (rig_sql(sql) != expected) {
        if (ltd_now_ns() > deadline_ns)
            fail_msg("%s: %lld found, %lld expected", sql, (long long)rig_sql(sql),
                     (long long)expected);
        rig_append(store, rig_id(&maker, id), rig_queued("", "ticks"));
    }
}

static void forgetting_deletes_bit_by_bit_and_frees_the_names_at_once(void **state)
{
    struct store *store = rig_open();
    struct job_id_maker maker = {0};
    char id[JOB_ID_CHARS + 1];
    (void)state;
    make_long_job(store, rig_id(&maker, id), 5000);
    assert_int_equal(rig_sql("SELECT count(*) FROM events"), 5003);
    store_forget(store, store_find(store, id), NULL, NULL);
    assert_null(store_find(store, id));
    assert_null(store_find_request(store, "", "req"));
    assert_int_equal(rig_append(store, rig_id(&maker, id), rig_queued("req", "")), LTD_OK);
    assert_true(rig_sql("SELECT count(*) FROM events") > 1000); /* not in one go */
    await_rows(store, "SELECT count(*) FROM events WHERE job = 1", 0);
    await_rows(store, "SELECT count(*) FROM purges", 0);
    rig_close(store);
}

static void what_was_forgotten_stays_so_and_is_deleted_by_the_next_process(void **state)
{
    struct store *store = rig_open();
    struct job_id_maker maker = {0};
    char id[JOB_ID_CHARS + 1];
    (void)state;
    make_long_job(store, rig_id(&maker, id), 5000);
    store_forget(store, store_find(store, id), NULL, NULL);
    rig_close(store);
    assert_int_equal(rig_sql("SELECT count(*) FROM purges"), 1);
    store = rig_open();
    assert_null(store_find(store, id));
    await_rows(store, "SELECT count(*) FROM events WHERE job = 1", 0);
    await_rows(store, "SELECT count(*) FROM purges", 0);
    /* A number is not used again while anything of it may be left. */
    assert_int_equal(rig_sql("SELECT min(job) > 1 FROM events"), 1);
    rig_close(store);
}

struct forgotten {
    int n;
    enum ltd_code code;
    int64_t n_rows; /* of jobs, when it was told */
};

static void note_forgotten(void *arg, const struct ltd_err *result)
{
    struct forgotten *f = arg;
    f->n++;
    f->code = result->code;
    f->n_rows = rig_sql("SELECT count(*) FROM jobs");
}

static void who_deletes_is_told_when_a_kill_cannot_bring_the_job_back(void **state)
{
    struct store *store = rig_open();
    struct job_id_maker maker = {0};
    struct forgotten told = {0}, last = {0};
    char ids[2][JOB_ID_CHARS + 1];
    (void)state;
    make_long_job(store, rig_id(&maker, ids[0]), 5);
    assert_int_equal(rig_append(store, rig_id(&maker, ids[1]), rig_queued("", "")), LTD_OK);
    assert_int_equal(rig_append(store, ids[1], rig_finished(JOB_FINISH_CANCELLED, 5)), LTD_OK);
    const struct job *second = store_find(store, ids[1]);
    store_forget(store, store_find(store, ids[0]), note_forgotten, &told);
    assert_int_equal(told.n, 0);
    assert_null(store_find(store, ids[0]));
    rig_settle(store);
    assert_int_equal(told.n, 1);
    assert_int_equal(told.code, LTD_OK);
    assert_int_equal(told.n_rows, 1);
    store_forget(store, second, note_forgotten, &last);
    store_stop(store); /* commits what waits, and answers it */
    assert_int_equal(last.n, 1);
    assert_int_equal(last.code, LTD_OK);
    assert_int_equal(last.n_rows, 0);
    rig_close(store);
}

static void a_reader_keeps_a_forgotten_job_on_disk(void **state)
{
    struct store *store = rig_open();
    struct job_id_maker maker = {0};
    char id[JOB_ID_CHARS + 1], other[JOB_ID_CHARS + 1];
    size_t len, n;
    (void)state;
    make_long_job(store, rig_id(&maker, id), 50);
    const struct job *job = store_find(store, id);
    store_pin(store, job);
    store_forget(store, job, NULL, NULL);
    for (int i = 0; i < 5; i++)
        rig_append(store, rig_id(&maker, other), rig_queued("", ""));
    assert_int_equal(rig_sql("SELECT count(*) FROM jobs WHERE num = 1"), 0);
    free(rig_read_all(store, job, &len, &n, NULL));
    assert_int_equal(n, 53);
    store_unpin(store, job);
    await_rows(store, "SELECT count(*) FROM events WHERE job = 1", 0);
    rig_close(store);
}

/* --------------------------------------------------------------------------------------- stop */

static void a_log_that_is_stopped_has_answered_everything(void **state)
{
    struct store *store = rig_open();
    struct job_id_maker maker = {0};
    char id[JOB_ID_CHARS + 1];
    struct order order = {0};
    struct answer queued, begun;
    struct ltd_err late = {.code = LTD_N_CODES};
    struct store_health health;
    struct job_event event = rig_token(1, "", 0);
    (void)state;
    ask(store, &queued, &order, rig_id(&maker, id), rig_queued("", ""));
    ask(store, &begun, &order, id, rig_started());
    store_stop(store);
    assert_int_equal(queued.place, 0);
    assert_int_equal(begun.result.code, LTD_OK);
    store_health(store, &health);
    assert_int_equal(health.n_waiting, 0);
    struct answer refused = {.order = &order, .place = -1};
    store_append(store, id, &event, note, &refused);
    late = refused.result;
    assert_int_equal(late.code, LTD_E_UNAVAILABLE);
    rig_close(store);
    store = rig_open();
    assert_int_equal(store_find(store, id)->last_seq, 2);
    rig_close(store);
}

/* ---------------------------------------------------------------------------- who may open it */

static void a_log_has_one_daemon_and_says_which(void **state)
{
    struct store *store = rig_open();
    struct ltd_err err = {0};
    struct stat st;
    char pid[32];
    (void)state;
    assert_null(rig_try_open(&err));
    assert_int_equal(err.code, LTD_E_EXISTS);
    snprintf(pid, sizeof pid, "process %ld", (long)getpid());
    assert_non_null(strstr(err.msg, pid));
    assert_int_equal(stat(rig_path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    rig_close(store);
    store = rig_open();
    rig_close(store);
}

static enum ltd_code open_code(void)
{
    struct ltd_err err = {0};
    struct store *store = rig_try_open(&err);
    if (store)
        rig_close(store);
    else
        uv_run(&rig_loop, UV_RUN_DEFAULT);
    return err.code;
}

static void other_databases_and_newer_ones_are_refused(void **state)
{
    struct store *store = rig_open();
    (void)state;
    rig_close(store);
    rig_sql("PRAGMA user_version = 3");
    assert_int_equal(open_code(), LTD_E_PRECONDITION);
    rig_sql("PRAGMA user_version = 1"); /* its tables are those of 2 */
    assert_int_equal(open_code(), LTD_E_CORRUPT);
    rig_sql("PRAGMA user_version = 2");
    assert_int_equal(open_code(), LTD_OK);
    rig_sql("PRAGMA application_id = 7");
    assert_int_equal(open_code(), LTD_E_CORRUPT);
    rig_save_file(rig_path, (const uint8_t *)"this is a text, and not a short one either", 42);
    assert_int_equal(open_code(), LTD_E_CORRUPT);
}

/* Root may write everywhere, so it is somebody else who tries. */
static void a_place_that_cannot_be_written_is_refused(void **state)
{
    char kept[sizeof rig_path];
    int status;
    (void)state;
    rig_close(rig_open());
    assert_int_equal(chmod(rig_directory, 0555), 0);
    assert_int_equal(chmod(rig_path, 0444), 0);
    pid_t child = fork();
    if (child == 0) {
        struct ltd_err err = {0};
        if (geteuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0))
            _exit(99);
        _exit(rig_try_open(&err) ? 0 : (int)err.code);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(WEXITSTATUS(status), LTD_E_INVALID);
    assert_int_equal(chmod(rig_directory, 0755), 0);
    assert_int_equal(chmod(rig_path, 0600), 0);
    memcpy(kept, rig_path, sizeof kept);
    snprintf(rig_path, sizeof rig_path, "%s/nowhere/jobs.db", rig_directory);
    assert_int_equal(open_code(), LTD_E_INVALID);
    memcpy(rig_path, kept, sizeof kept);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RIG_CASE(appends_of_one_turn_are_one_commit_and_answered_in_order),
        RIG_CASE(a_refusal_keeps_its_turn_and_takes_what_waits_behind_it),
        RIG_CASE(every_answer_comes_behind_a_sync_of_the_disk),
        RIG_CASE(a_job_is_shown_when_it_is_on_disk_and_its_names_are_taken_before),
        RIG_CASE(usage_is_counted_by_owner),
        RIG_CASE(a_log_that_is_opened_again_holds_the_same_at_every_prefix),
        RIG_CASE(a_clock_that_was_set_back_changes_neither_order_nor_age),
        RIG_CASE(who_deletes_is_told_when_a_kill_cannot_bring_the_job_back),
        RIG_CASE(forgetting_deletes_bit_by_bit_and_frees_the_names_at_once),
        RIG_CASE(what_was_forgotten_stays_so_and_is_deleted_by_the_next_process),
        RIG_CASE(a_reader_keeps_a_forgotten_job_on_disk),
        RIG_CASE(a_log_that_is_stopped_has_answered_everything),
        RIG_CASE(a_log_has_one_daemon_and_says_which),
        RIG_CASE(other_databases_and_newer_ones_are_refused),
        RIG_CASE(a_place_that_cannot_be_written_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
