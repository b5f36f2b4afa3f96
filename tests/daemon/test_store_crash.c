/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/daemon/test_store_crash.c - the durable log when its process is killed, and when the disk
 * takes no more.
 *
 * A child appends and reports through a pipe what was accepted; the parent kills it without warning
 * and looks what is there.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/log.h"
#include "daemon/store_file.h"
#include "store_rig.h"

/* ------------------------------------------------------------------------------------ killed */

#define N_KILLS    50
#define N_LIVE     4
#define LAST_TOKEN 30
#define KEPT       5

/* What the child says: this event was accepted. */
struct report {
    char id[JOB_ID_CHARS + 1];
    bool is_last;
    uint64_t seq;
};

struct slot {
    char id[JOB_ID_CHARS + 1];
    int pipe;
    uint64_t n_asked;
};

struct asked {
    struct report report;
    int pipe;
};

/* Every event is a function of its job and its number, so the parent knows what it must find. */
static struct job_event event_number(const char *id, uint64_t seq, char text[32])
{
    snprintf(text, 32, "%.12s:%llu", id + 14, (unsigned long long)seq);
    if (seq == 1)
        return rig_queued("", id + 14);
    if (seq == 2)
        return rig_started();
    if (seq == LAST_TOKEN + 1) {
        struct job_event last = rig_finished(JOB_FINISH_LENGTH, (int64_t)seq);
        last.text = text;
        last.text_len = strlen(text);
        return last;
    }
    return rig_token((int32_t)(seq * 7919 % 50000), text, strlen(text));
}

static void tell_parent(void *arg, const struct ltd_err *result)
{
    struct asked *a = arg;
    if (result->code != LTD_OK || write(a->pipe, &a->report, sizeof a->report) < 0)
        _exit(90);
    free(a);
}

static void append_next(struct store *store, struct job_id_maker *maker, struct slot *slot)
{
    char text[32];
    if (slot->n_asked == LAST_TOKEN + 1)
        slot->n_asked = 0;
    if (slot->n_asked == 0)
        rig_id(maker, slot->id);
    struct asked *a = calloc(1, sizeof *a);
    struct job_event event = event_number(slot->id, ++slot->n_asked, text);
    a->pipe = slot->pipe;
    a->report.seq = slot->n_asked;
    a->report.is_last = slot->n_asked == LAST_TOKEN + 1;
    memcpy(a->report.id, slot->id, sizeof slot->id);
    store_append(store, slot->id, &event, tell_parent, a);
}

/* Append for ever; finished jobs are forgotten beside, so that deleting is killed too. */
_Noreturn static void child_main(int pipe, uint64_t seed)
{
    struct store *store = rig_open_keeping(KEPT, INT64_MAX, RIG_HUGE);
    struct job_id_maker maker = {0};
    struct slot slots[N_LIVE];
    memset(slots, 0, sizeof slots);
    for (int i = 0; i < N_LIVE; i++)
        slots[i].pipe = pipe;
    for (;;) {
        for (uint64_t n = 1 + seed++ % 7; n-- > 0;)
            append_next(store, &maker, &slots[(seed + n) % N_LIVE]);
        rig_settle(store);
        store_expire(store, 1000);
    }
}

/* Read reports until `n` came, then kill; the rest of the pipe still counts. */
static size_t run_and_kill(size_t n, uint64_t seed, struct report *reports, size_t max)
{
    int ends[2], status;
    size_t n_read = 0;
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        close(ends[0]);
        child_main(ends[1], seed);
    }
    close(ends[1]);
    while (n_read < max && read(ends[0], &reports[n_read], sizeof *reports) == sizeof *reports)
        if (++n_read == n)
            kill(child, SIGKILL);
    close(ends[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    return n_read;
}

struct expected {
    const char *id;
    uint64_t n;
};

static bool is_expected(void *arg, const struct job_event *event)
{
    struct expected *e = arg;
    char text[32];
    struct job_event wanted = event_number(e->id, ++e->n, text);
    assert_int_equal(event->seq, e->n);
    assert_int_equal(event->kind, wanted.kind);
    assert_int_equal(event->token.id, wanted.token.id);
    assert_int_equal(event->text_len, wanted.text_len);
    if (wanted.text_len)
        assert_memory_equal(event->text, wanted.text, wanted.text_len);
    return true;
}

static void check_every_job(struct store *store)
{
    static const struct job *jobs[4096];
    struct store_query all = {0};
    bool more;
    size_t n = store_list(store, &all, jobs, 4096, &more);
    assert_false(more);
    for (size_t i = 0; i < n; i++) {
        struct expected e = {.id = jobs[i]->id};
        struct ltd_err err = {0};
        if (store_read(store, jobs[i], 0, is_expected, &e, &err) != 0)
            fail_msg("%s", err.msg);
        assert_int_equal(e.n, jobs[i]->last_seq);
    }
}

/* A job whose end was reported may be forgotten by now; nothing else may be missing. */
static void check_reports(struct store *store, const struct report *reports, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const struct job *job = store_find(store, reports[i].id);
        bool has_ended = false;
        for (size_t k = i; k < n && !has_ended; k++)
            has_ended = reports[k].is_last && strcmp(reports[k].id, reports[i].id) == 0;
        if (!job && !has_ended)
            fail_msg("job %s, event %llu was accepted and is gone", reports[i].id,
                     (unsigned long long)reports[i].seq);
        if (job && job->last_seq < reports[i].seq)
            fail_msg("job %s: event %llu was accepted, %llu are there", reports[i].id,
                     (unsigned long long)reports[i].seq, (unsigned long long)job->last_seq);
    }
}

static void what_was_accepted_is_there_after_any_kill(void **state)
{
    static struct report reports[20000];
    (void)state;
    for (size_t round = 0; round < N_KILLS; round++) {
        size_t n = run_and_kill(1 + round * 37 % 400, round * 11, reports, 20000);
        struct store *store = rig_open();
        check_reports(store, reports, n);
        check_every_job(store);
        rig_close(store);
    }
}

/* --------------------------------------------------------------------------------- migration */

static const char to_version_1[] =
    "BEGIN; CREATE TABLE e1(job INTEGER NOT NULL, seq INTEGER NOT NULL, payload BLOB NOT NULL, "
    "PRIMARY KEY(job, seq)) WITHOUT ROWID; INSERT INTO e1 SELECT job, seq, payload FROM events;"
    "DROP TABLE events; ALTER TABLE e1 RENAME TO events; PRAGMA user_version = 1; COMMIT;"
    "PRAGMA wal_checkpoint(TRUNCATE)";

static void fill(struct store *store, int n_jobs)
{
    struct job_id_maker maker = {0};
    char id[JOB_ID_CHARS + 1], text[32];
    for (int i = 0; i < n_jobs; i++) {
        rig_id(&maker, id);
        for (uint64_t seq = 1; seq <= LAST_TOKEN + (uint64_t)(i % 2); seq++)
            rig_append_later(store, id, event_number(id, seq, text));
    }
    rig_settle(store);
}

static void check_filled(int n_jobs)
{
    struct store *store = rig_open();
    struct store_health health;
    store_health(store, &health);
    assert_int_equal(health.n_jobs, n_jobs);
    check_every_job(store);
    rig_close(store);
}

static void a_log_of_version_1_is_brought_up_with_everything_in_it(void **state)
{
    struct store *store = rig_open();
    (void)state;
    fill(store, 9);
    rig_close(store);
    rig_sql(to_version_1);
    check_filled(9);
    assert_int_equal(rig_sql("PRAGMA user_version"), 2);
    assert_int_equal(rig_sql("SELECT count(*) FROM events WHERE crc = 0"), 0);
    check_filled(9);
}

/* The child says when it begins; the parent waits a little, each round another while. */
static void open_and_kill(uint32_t wait_us)
{
    int ends[2], status;
    char byte;
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        if (write(ends[1], "", 1) != 1)
            _exit(90);
        rig_open();
        pause();
    }
    assert_int_equal(read(ends[0], &byte, 1), 1);
    uint64_t until_ns = ltd_now_ns() + wait_us * 1000ull;
    while (ltd_now_ns() < until_ns)
        ;
    kill(child, SIGKILL);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    close(ends[0]);
    close(ends[1]);
}

static void a_kill_leaves_version_1_or_version_2_and_nothing_between(void **state)
{
    struct store *store = rig_open();
    bool seen[3] = {false};
    size_t len;
    (void)state;
    fill(store, 300);
    rig_close(store);
    rig_sql(to_version_1);
    uint8_t *old = rig_load_file(rig_path, &len);
    for (uint32_t round = 0; round < 24; round++) {
        char wal[120], shm[120];
        snprintf(wal, sizeof wal, "%s-wal", rig_path);
        snprintf(shm, sizeof shm, "%s-shm", rig_path);
        unlink(wal);
        unlink(shm);
        rig_save_file(rig_path, old, len);
        open_and_kill(round * 4000);
        int64_t version = rig_sql("PRAGMA user_version");
        assert_true(version == 1 || version == 2);
        seen[version] = true;
        struct ltd_err err = {0};
        struct store_file *file = store_file_open(rig_path, STORE_FILE_READ, &err);
        if (!file)
            fail_msg("%s", err.msg);
        assert_int_equal(store_file_found_version(file), version);
        store_file_close(file);
        check_filled(300);
    }
    free(old);
    assert_true(seen[1]); /* the first round kills at once */
}

/* ----------------------------------------------------------------------------- the disk is full */

struct answer {
    bool has_come;
    int place;
    struct ltd_err result;
};

static int n_answers;

static void note(void *arg, const struct ltd_err *result)
{
    struct answer *a = arg;
    assert_false(a->has_come);
    a->has_come = true;
    a->place = n_answers++;
    a->result = *result;
}

static void ask(struct store *store, struct answer *a, const char *id, struct job_event event)
{
    *a = (struct answer){0};
    store_append(store, id, &event, note, a);
}

static void on_tick(uv_timer_t *timer)
{
    (void)timer;
}

static void await_stall(struct store *store, bool is_stalled)
{
    struct store_health health;
    uv_timer_t tick; /* a loop that waits for nothing would not turn */
    uint64_t deadline_ns = ltd_deadline_ns(30000);
    uv_timer_init(&rig_loop, &tick);
    store_health(store, &health);
    while (health.is_stalled != is_stalled) {
        assert_true(ltd_now_ns() < deadline_ns);
        uv_timer_start(&tick, on_tick, 10, 0);
        uv_run(&rig_loop, UV_RUN_ONCE);
        store_health(store, &health);
    }
    uv_close((uv_handle_t *)&tick, NULL);
    uv_run(&rig_loop, UV_RUN_NOWAIT);
    assert_int_equal(strlen(health.reason) > 0, is_stalled);
}

static void assert_refused(const struct answer *a)
{
    assert_true(a->has_come);
    assert_int_equal(a->result.code, LTD_E_UNAVAILABLE);
    assert_string_equal(a->result.reason, "STORE_STALLED");
    assert_true(a->result.retry_after_ms > 0);
}

/* The same for every reason why nothing can be written: `fill` makes it so, `heal` ends it. */
static void stall_and_heal(void (*make_full)(void), void (*heal)(void))
{
    struct store *store = rig_open();
    struct job_id_maker maker = {0};
    char a[JOB_ID_CHARS + 1], b[JOB_ID_CHARS + 1], c[JOB_ID_CHARS + 1], d[JOB_ID_CHARS + 1];
    char *text = calloc(1, 300 << 10);
    struct answer big, tokens[3], middle, last, finish, new_job, follower, changed, late,
        late_change;
    assert_int_equal(rig_append(store, rig_id(&maker, a), rig_queued("a", "")), LTD_OK);
    assert_int_equal(rig_append(store, a, rig_started()), LTD_OK);
    assert_int_equal(rig_append(store, rig_id(&maker, c), rig_queued("c", "")), LTD_OK);
    make_full();
    ask(store, &big, a, rig_token(1, text, 300 << 10));
    ask(store, &middle, a, rig_priority(9)); /* something waits behind it: it waits too */
    ask(store, &tokens[0], a, rig_token(2, "x", 1));
    ask(store, &new_job, rig_id(&maker, b), rig_queued("b", ""));
    ask(store, &follower, b, rig_finished(JOB_FINISH_CANCELLED, 1));
    ask(store, &changed, c, rig_priority(5));
    ask(store, &last, c, rig_priority(6));
    await_stall(store, true);
    assert_refused(&new_job);
    assert_int_equal(follower.result.code, LTD_E_UNAVAILABLE);
    assert_refused(&changed);
    assert_refused(&last);
    assert_int_equal(store_find(store, c)->priority, 0);
    assert_null(store_find_request(store, "", "b"));
    assert_false(big.has_come || middle.has_come || tokens[0].has_come);
    assert_int_equal(store_find(store, a)->last_seq, 2);
    /* While it lasts. */
    ask(store, &late, rig_id(&maker, d), rig_queued("d", ""));
    ask(store, &late_change, a, rig_priority(3));
    ask(store, &tokens[1], a, rig_token(3, "y", 1));
    ask(store, &tokens[2], a, rig_token(4, "z", 1));
    ask(store, &finish, a, rig_finished(JOB_FINISH_LENGTH, 9));
    for (int i = 0; i < 3; i++)
        uv_run(&rig_loop, UV_RUN_ONCE); /* at once, without waiting for the next attempt */
    assert_refused(&late);
    assert_refused(&late_change);
    assert_false(tokens[1].has_come);
    heal();
    await_stall(store, false);
    rig_settle(store);
    const struct answer *in_order[] = {&big, &middle, &tokens[0], &tokens[1], &tokens[2], &finish};
    for (size_t i = 0; i < 6; i++) {
        assert_int_equal(in_order[i]->result.code, LTD_OK);
        assert_true(in_order[i]->has_come &&
                    (i == 0 || in_order[i]->place > in_order[i - 1]->place));
    }
    assert_int_equal(rig_append(store, d, rig_queued("d", "")), LTD_OK);
    rig_close(store);
    store = rig_open();
    assert_int_equal(store_find(store, a)->state, JOB_SUCCEEDED);
    assert_int_equal(store_find(store, a)->priority, 9);
    assert_int_equal(store_find(store, a)->last_seq, 8);
    assert_int_equal(store_find(store, c)->last_seq, 1);
    assert_null(store_find(store, b));
    assert_non_null(store_find(store, d));
    rig_close(store);
    free(text);
}

static void limit_files(void)
{
    /* Smaller than the write-ahead log is by now: not even the next page fits. */
    struct rlimit limit;
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &limit);
    limit.rlim_cur = 4096;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void unlimit_files(void)
{
    struct rlimit limit;
    getrlimit(RLIMIT_FSIZE, &limit);
    limit.rlim_cur = limit.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void a_file_that_may_not_grow_stalls_the_log_until_it_may(void **state)
{
    (void)state;
    stall_and_heal(limit_files, unlimit_files);
}

static void fill_disk(void)
{
    char path[120], zeros[4096] = "";
    snprintf(path, sizeof path, "%s/filler", rig_directory);
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    assert_true(fd >= 0);
    while (write(fd, zeros, sizeof zeros) > 0)
        ;
    close(fd);
}

static void free_disk(void)
{
    char path[120];
    snprintf(path, sizeof path, "%s/filler", rig_directory);
    assert_int_equal(unlink(path), 0);
}

/* A real file system without room, where one may be mounted; the case above runs everywhere. */
static void a_full_disk_stalls_the_log_until_there_is_room(void **state)
{
    (void)state;
    if (mount("latentd-test", rig_directory, "tmpfs", 0, "size=2m") != 0) {
        print_message("nothing may be mounted here; the case with a limit stands for it\n");
        return;
    }
    stall_and_heal(fill_disk, free_disk);
    assert_int_equal(umount2(rig_directory, MNT_DETACH), 0);
}

/* A log that is stalled to the end loses what nobody was told of, and says so. */
static void a_stalled_log_is_left_in_bounded_time(void **state)
{
    struct store *store = rig_open();
    struct job_id_maker maker = {0};
    char id[JOB_ID_CHARS + 1];
    char *text = calloc(1, 300 << 10);
    struct answer unwritten;
    (void)state;
    rig_append(store, rig_id(&maker, id), rig_queued("", ""));
    rig_append(store, id, rig_started());
    limit_files();
    ask(store, &unwritten, id, rig_token(1, text, 300 << 10));
    await_stall(store, true);
    assert_false(unwritten.has_come);
    store_stop(store);
    assert_true(unwritten.has_come);
    assert_int_equal(unwritten.result.code, LTD_E_UNAVAILABLE);
    rig_close(store);
    unlimit_files();
    store = rig_open();
    assert_int_equal(store_find(store, id)->last_seq, 2);
    rig_close(store);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RIG_CASE(what_was_accepted_is_there_after_any_kill),
        RIG_CASE(a_log_of_version_1_is_brought_up_with_everything_in_it),
        RIG_CASE(a_kill_leaves_version_1_or_version_2_and_nothing_between),
        RIG_CASE(a_file_that_may_not_grow_stalls_the_log_until_it_may),
        RIG_CASE(a_full_disk_stalls_the_log_until_there_is_room),
        RIG_CASE(a_stalled_log_is_left_in_bounded_time),
    };
    ltd_log_init(LTD_LOG_ERROR, -1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
