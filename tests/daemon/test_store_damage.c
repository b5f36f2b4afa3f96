/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/daemon/test_store_damage.c - a durable log whose file was damaged is refused, or serves
 * exactly what is whole (docs/store.md#damage); it never crashes and never gives wrong bytes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <fcntl.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log.h"
#include "store_rig.h"

#define N_JOBS 3

/* Thousands of refusals are logged while files are damaged byte by byte; only a failure is news. */
static int kept_stderr = -1;

static void silence(void)
{
    int null = open("/dev/null", O_WRONLY);
    kept_stderr = dup(STDERR_FILENO);
    dup2(null, STDERR_FILENO);
    close(null);
}

static void speak(void)
{
    if (kept_stderr < 0)
        return;
    dup2(kept_stderr, STDERR_FILENO);
    close(kept_stderr);
    kept_stderr = -1;
}

#define FAIL(...)                                                                                  \
    do {                                                                                           \
        speak();                                                                                   \
        fail_msg(__VA_ARGS__);                                                                     \
    } while (0)

/* What was stored, to compare with. */
struct original {
    char id[JOB_ID_CHARS + 1];
    struct job fold;
    uint8_t *bytes; /* rig_read_all */
    size_t len, n;
};

/* A finished job, a running one and a queued one, in a file of small pages: every kind of page is
 * there and few bytes are spare. */
static void make_log(struct original originals[N_JOBS])
{
    struct store *store = rig_open();
    struct job_id_maker maker = {0};
    for (int i = 0; i < N_JOBS; i++) {
        struct original *o = &originals[i];
        char request[] = {'r', (char)('0' + i), '\0'};
        struct job_event event = rig_queued(request, "label");
        event.queued.owner = "ann";
        event.queued.spec = (const uint8_t *)"spec";
        event.queued.spec_len = 4;
        rig_append_later(store, rig_id(&maker, o->id), event);
        if (i < 2)
            rig_append_later(store, o->id, rig_started());
        for (int32_t t = 0; i < 2 && t < 4; t++)
            rig_append_later(store, o->id, rig_token(t, "some text", 9));
        if (i == 0)
            rig_append_later(store, o->id, rig_finished(JOB_FINISH_LENGTH, 77));
    }
    rig_settle(store);
    for (int i = 0; i < N_JOBS; i++) {
        struct original *o = &originals[i];
        o->fold = *store_find(store, o->id);
        o->bytes = rig_read_all(store, store_find(store, o->id), &o->len, &o->n, NULL);
    }
    rig_close(store);
    rig_sql("PRAGMA journal_mode = DELETE; PRAGMA page_size = 512; VACUUM");
}

static void free_originals(struct original originals[N_JOBS])
{
    for (int i = 0; i < N_JOBS; i++)
        free(originals[i].bytes);
}

static const struct original *original_of(const struct original originals[N_JOBS], const char *id)
{
    for (int i = 0; i < N_JOBS; i++)
        if (strcmp(originals[i].id, id) == 0)
            return &originals[i];
    return NULL;
}

/* Whatever can be read is a prefix of what was written, and who is told that it is whole is right. */
static void check_job(struct store *store, const struct job *job,
                      const struct original originals[N_JOBS], size_t at)
{
    const struct original *o = original_of(originals, job->id);
    struct ltd_err err = {0};
    size_t len, n;
    uint8_t *bytes = rig_read_all(store, job, &len, &n, &err);
    if (!o && n > 0)
        FAIL("byte %zu: a job that never was has %zu events", at, n);
    if (o && (len > o->len || (len && memcmp(bytes, o->bytes, len) != 0)))
        FAIL("byte %zu: job %s has other events than were stored", at, job->id);
    bool is_damaged = job->state == JOB_FAILED;
    if (is_damaged && (err.code != LTD_E_CORRUPT || job->error_code != LTD_E_CORRUPT))
        FAIL("byte %zu: job %s failed, and reading it says %d", at, job->id, err.code);
    if (!is_damaged && (err.code != LTD_OK || n != job->last_seq))
        FAIL("byte %zu: job %s: %s", at, job->id, err.msg);
    if (!is_damaged && job_state_is_final(job->state) && memcmp(job, &o->fold, sizeof *job) != 0)
        FAIL("byte %zu: job %s is not what it was", at, job->id);
    free(bytes);
}

static void take_any(void *arg, const struct ltd_err *result)
{
    (void)arg;
    (void)result;
}

/* It goes on working, or says that it does not: a new job, and more of those that are unfinished. */
static void use(struct store *store, const struct job **jobs, size_t n)
{
    struct job_id_maker maker = {0};
    char id[JOB_ID_CHARS + 1];
    struct job_event event = rig_queued("new", "");
    struct store_health health = {0};
    store_append(store, rig_id(&maker, id), &event, take_any, NULL);
    for (size_t i = 0; i < n; i++) {
        event = rig_finished(JOB_FINISH_CANCELLED, 88);
        if (!job_state_is_final(jobs[i]->state))
            store_append(store, jobs[i]->id, &event, take_any, NULL);
    }
    do {
        uv_run(&rig_loop, UV_RUN_ONCE);
        store_health(store, &health);
    } while (health.n_waiting > 0 && !health.is_stalled);
}

/* True when it was opened. */
static bool try_damaged(const struct original originals[N_JOBS], size_t at)
{
    struct ltd_err err = {0};
    struct store *store = rig_try_open(&err);
    if (!store) {
        uv_run(&rig_loop, UV_RUN_DEFAULT);
        if (err.code != LTD_E_CORRUPT && err.code != LTD_E_PRECONDITION &&
            err.code != LTD_E_INVALID)
            FAIL("byte %zu: refused with %s: %s", at, ltd_code_name(err.code), err.msg);
        if (!strstr(err.msg, "store"))
            FAIL("byte %zu: a refusal that does not name the file: %s", at, err.msg);
        return false;
    }
    const struct job *jobs[16];
    struct store_query all = {0};
    bool more;
    size_t n = store_list(store, &all, jobs, 16, &more);
    for (size_t i = 0; i < n; i++)
        check_job(store, jobs[i], originals, at);
    use(store, jobs, n);
    rig_close(store);
    return true;
}

static void remove_side_files(void)
{
    static const char *const suffixes[] = {"-wal", "-shm", "-journal"};
    for (size_t i = 0; i < 3; i++) {
        char path[120];
        snprintf(path, sizeof path, "%s%s", rig_path, suffixes[i]);
        unlink(path);
    }
}

static void every_damaged_byte_is_refused_or_served_as_documented(void **state)
{
    static const uint8_t flips[] = {0xff, 0x01};
    struct original originals[N_JOBS];
    size_t len, n_opened = 0;
    (void)state;
    make_log(originals);
    uint8_t *file = rig_load_file(rig_path, &len);
    silence();
    for (size_t f = 0; f < sizeof flips; f++)
        for (size_t at = 0; at < len; at++) {
            file[at] ^= flips[f];
            remove_side_files();
            rig_save_file(rig_path, file, len);
            n_opened += try_damaged(originals, at);
            file[at] ^= flips[f];
        }
    speak();
    print_message("%zu damaged files, %zu of them could be opened\n", 2 * len, n_opened);
    assert_true(n_opened > 0 && n_opened < 2 * len);
    free(file);
    free_originals(originals);
}

static void a_file_that_ends_early_is_refused_or_served_as_documented(void **state)
{
    struct original originals[N_JOBS];
    size_t len;
    (void)state;
    make_log(originals);
    uint8_t *file = rig_load_file(rig_path, &len);
    silence();
    for (size_t keep = 1; keep < len; keep += 61) {
        remove_side_files();
        rig_save_file(rig_path, file, keep);
        try_damaged(originals, keep);
    }
    speak();
    free(file);
    free_originals(originals);
}

/* ------------------------------------------------------------------------------ by one's hand */

static void an_unfinished_job_is_cut_to_what_is_whole_and_goes_on(void **state)
{
    struct original originals[N_JOBS];
    (void)state;
    make_log(originals);
    rig_sql("UPDATE events SET payload = x'0302' WHERE job = 2 AND seq = 4");
    for (int opened = 0; opened < 2; opened++) {
        struct store *store = rig_open();
        const struct job *job = store_find(store, originals[1].id);
        assert_int_equal(job->state, JOB_RUNNING);
        assert_int_equal(job->last_seq, 3 + opened);
        if (opened == 0) {
            assert_int_equal(rig_append(store, job->id, rig_token(1, "some text", 9)), LTD_OK);
            size_t len, n;
            uint8_t *bytes = rig_read_all(store, job, &len, &n, NULL);
            assert_memory_equal(bytes, originals[1].bytes, len); /* as if nothing had been */
            free(bytes);
        }
        rig_close(store);
    }
    assert_int_equal(rig_sql("SELECT count(*) FROM events WHERE job = 2"), 4);
    free_originals(originals);
}

static void a_job_that_cannot_be_made_whole_is_listed_as_failed(void **state)
{
    struct original originals[N_JOBS];
    (void)state;
    make_log(originals);
    rig_sql("UPDATE events SET crc = 1 WHERE job = 1 AND seq = 5;"
            "DELETE FROM events WHERE job = 3");
    struct store *store = rig_open();
    const struct job *ended = store_find_request(store, "ann", "r0");
    const struct job *never = store_find_request(store, "ann", "r2");
    assert_string_equal(ended->id, originals[0].id);
    assert_string_equal(never->id, originals[2].id);
    assert_int_equal(ended->state, JOB_FAILED);
    assert_int_equal(ended->error_code, LTD_E_CORRUPT);
    assert_string_equal(ended->error_msg, "stored events are damaged from event 5 on");
    assert_int_equal(ended->last_seq, 4);
    assert_int_equal(never->state, JOB_FAILED);
    struct ltd_err err = {0};
    size_t len, n;
    free(rig_read_all(store, ended, &len, &n, &err));
    assert_int_equal(n, 4);
    assert_int_equal(err.code, LTD_E_CORRUPT);
    assert_non_null(strstr(err.msg, "damaged from event 5 on"));
    assert_int_equal(rig_sql("SELECT count(*) FROM events WHERE job = 1"), 7); /* left as it was */
    assert_int_equal(rig_append(store, ended->id, rig_priority(3)), LTD_E_CORRUPT);
    store_forget(store, ended, NULL, NULL); /* an operator may delete it */
    rig_close(store);
    store = rig_open();
    assert_null(store_find(store, originals[0].id));
    rig_close(store);
    free_originals(originals);
}

static void damage_that_comes_while_a_log_is_open_is_told_to_its_reader(void **state)
{
    struct original originals[N_JOBS];
    (void)state;
    make_log(originals);
    struct store *store = rig_open();
    rig_sql("UPDATE events SET payload = x'00' WHERE job = 1 AND seq = 3");
    struct ltd_err err = {0};
    size_t len, n;
    free(rig_read_all(store, store_find(store, originals[0].id), &len, &n, &err));
    assert_int_equal(n, 2);
    assert_int_equal(err.code, LTD_E_CORRUPT);
    rig_close(store);
    free_originals(originals);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RIG_CASE(every_damaged_byte_is_refused_or_served_as_documented),
        RIG_CASE(a_file_that_ends_early_is_refused_or_served_as_documented),
        RIG_CASE(an_unfinished_job_is_cut_to_what_is_whole_and_goes_on),
        RIG_CASE(a_job_that_cannot_be_made_whole_is_listed_as_failed),
        RIG_CASE(damage_that_comes_while_a_log_is_open_is_told_to_its_reader),
    };
    ltd_log_init(LTD_LOG_ERROR, -1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
