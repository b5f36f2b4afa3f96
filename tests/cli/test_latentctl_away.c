/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/cli/test_latentctl_away.c - a service that is away for a while is a pause, not an error.
 *
 * Between the real program and the fake server is a wire that breaks at chosen bytes. What is
 * printed must be what is printed undisturbed, and what was asked for must happen once.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "cli/outage.h"
#include "tests/cli/cases.h"
#include "tests/cli/fake_long.h"
#include "tests/cli/proxy.h"

static struct proxy *proxy;
static char proxy_path[96], proxy_address[104];

static int set_up(void **state)
{
    if (cases_set_up(state) != 0)
        return -1;
    snprintf(proxy_path, sizeof proxy_path, "%s/p", cases_folder());
    snprintf(proxy_address, sizeof proxy_address, "unix:%s", proxy_path);
    proxy = proxy_start(proxy_path, fake_address(fake) + strlen("unix:"));
    return 0;
}

static int tear_down(void **state)
{
    proxy_stop(proxy);
    return cases_tear_down(state);
}

static const struct run_options through_proxy = {.server = proxy_address};

/* Run with the wire cut as planned, and compare. */
static void expect_cut(const uint32_t *cuts, size_t n, const char *args, const char *out)
{
    struct run run;
    proxy_plan(proxy, cuts, n);
    run_all(&run, &through_proxy, args);
    if (run.status != 0 || strcmp(run.out, out) != 0 || run.err[0])
        fail_msg("latentctl %s, cut after %u bytes and %zu times more: exit %d, expected 0\nout: "
                 "%s\nexpected: %s\nerr: %s",
                 args, n ? (unsigned)cuts[0] : 0, n ? n - 1 : 0, run.status, run.out, out, run.err);
    run_free(&run);
}

static char *undisturbed(const char *args, uint64_t *n_bytes)
{
    struct run run;
    proxy_plan(proxy, NULL, 0);
    run_all(&run, &through_proxy, args);
    assert_int_equal(run.status, 0);
    *n_bytes = proxy_n_bytes(proxy);
    char *out = strdup(run.out);
    assert_non_null(out);
    run_free(&run);
    return out;
}

/* Lines of JSON without the events that are news, not history. */
static void drop_news(char *lines)
{
    char *to = lines;
    for (char *line = lines, *next; *line; line = next) {
        char *end = strchr(line, '\n');
        next = end ? end + 1 : line + strlen(line);
        if (strstr(line, "\"seq\": 0,") && strstr(line, "\"seq\": 0,") < next)
            continue;
        memmove(to, line, (size_t)(next - line));
        to += next - line;
    }
    *to = '\0';
}

static void watch_prints_the_same_wherever_it_is_cut(void **state)
{
    (void)state;
    uint64_t n_bytes;
    char *out = undisturbed("watch long", &n_bytes);
    assert_true(strncmp(out, fake_long_text(), strlen(fake_long_text())) == 0);
    assert_true(n_bytes > 1000);
    for (uint32_t cut = 0; cut < n_bytes; cut += 61)
        expect_cut(&cut, 1, "watch long", out);
    free(out);
}

/* A number that depends on nothing but the ones before it. */
static uint32_t next_random(uint32_t *random)
{
    *random = *random * 1664525u + 1013904223u;
    return *random >> 8;
}

static void watch_survives_one_cut_after_the_other(void **state)
{
    (void)state;
    uint64_t n_bytes;
    char *out = undisturbed("watch long", &n_bytes);
    for (uint32_t seed = 1; seed <= 6; seed++) {
        uint32_t cuts[10], random = seed;
        for (size_t i = 0; i < 10; i++)
            cuts[i] = next_random(&random) % 700;
        expect_cut(cuts, 10, "watch long", out);
        assert_true(proxy_n_cut(proxy) > 0);
    }
    free(out);
}

static void the_events_of_watch_come_once_each_and_in_order(void **state)
{
    (void)state;
    uint64_t n_bytes;
    char *out = undisturbed("watch --json long", &n_bytes);
    drop_news(out);
    for (uint32_t cut = 200; cut < n_bytes; cut += 577) {
        struct run run;
        uint32_t cuts[] = {cut, 300, 900};
        proxy_plan(proxy, cuts, 3);
        run_all(&run, &through_proxy, "watch --json long");
        drop_news(run.out);
        assert_int_equal(run.status, 0);
        assert_string_equal(run.out, out);
        assert_string_equal(run.err, "");
        run_free(&run);
    }
    free(out);
}

static void watch_goes_on_whatever_ended_the_call(void **state)
{
    (void)state;
    struct run run;
    uint32_t n_watches = fake_n_watches(fake);
    run_on_fake(&run, "watch slow");
    assert_string_equal(run.err, "");
    assert_int_equal(run.status, 0);
    assert_true(strncmp(run.out, fake_long_text(), strlen(fake_long_text())) == 0);
    assert_int_equal(fake_n_watches(fake) - n_watches, FAKE_LONG_LAST_SEQ);
    run_free(&run);
}

static void result_waits_through_an_outage(void **state)
{
    (void)state;
    for (uint32_t cut = 0; cut < 3000; cut += 499)
        expect_cut(&cut, 1, "result --wait long", "one two\n");
}

static void idempotent_verbs_are_tried_again(void **state)
{
    (void)state;
    static const char *const verbs[] = {"result whole",       "jobs",
                                        "cancel whole",       "delete whole",
                                        "priority running 3", "tokenize --json x"};
    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++) {
        uint64_t n_bytes;
        char *out = undisturbed(verbs[i], &n_bytes);
        for (uint32_t k = 0; k < 4; k++) {
            uint32_t cut = (uint32_t)(n_bytes - 1) * k / 3;
            expect_cut(&cut, 1, verbs[i], out);
        }
        free(out);
    }
}

static void a_submit_is_carried_out_once_wherever_it_is_cut(void **state)
{
    (void)state;
    uint64_t n_bytes;
    free(undisturbed("submit x", &n_bytes));
    uint32_t n_before = fake_n_submissions(fake), n_calls = fake_n_submits(fake), n_runs = 0;
    for (uint32_t cut = 0; cut < n_bytes; cut += 7, n_runs++)
        expect_cut(&cut, 1, "submit x", "jobs/new1\n");
    assert_int_equal(fake_n_submissions(fake) - n_before, n_runs);
    /* Some of the cuts came behind the request: those were sent twice. */
    assert_true(fake_n_submits(fake) - n_calls > n_runs);
}

static void submit_has_a_new_request_id_each_time_unless_it_is_given(void **state)
{
    (void)state;
    json_t *first = expect_json("submit --json x", 0);
    json_t *second = expect_json("submit --json x", 0);
    json_t *given = expect_json("submit --json --request-id night1 x", 0);
    assert_int_equal(strlen(text_at(first, "request_id")), 36);
    assert_string_not_equal(text_at(first, "request_id"), text_at(second, "request_id"));
    assert_string_equal(text_at(given, "request_id"), "night1");
    json_decref(first);
    json_decref(second);
    json_decref(given);
}

static void submit_and_watch_is_one_job_and_its_whole_text(void **state)
{
    (void)state;
    char out[2048];
    uint32_t n_before = fake_n_submissions(fake);
    uint32_t cuts[] = {100, 0, 700, 1200};
    snprintf(out, sizeof out, "%s\n", fake_long_text());
    expect_cut(cuts, 4, "submit --watch long", out);
    assert_int_equal(fake_n_submissions(fake) - n_before, 1);
}

static void continue_has_a_request_id_and_is_tried_again(void **state)
{
    (void)state;
    uint32_t cut = 90;
    expect_cut(&cut, 1, "continue --tokens 4 --watch whole", "one two\n");
    json_t *job = expect_json("continue --json --tokens 4 before", 0);
    assert_int_equal(strlen(text_at(job, "request_id")), 36);
    json_decref(job);
}

static void a_delete_that_found_nothing_the_second_time_was_done_the_first(void **state)
{
    (void)state;
    expect("delete once", 0, "jobs/once deleted\n", "");
    expect("delete once", 3, "", "latentctl: delete: not found: no such job\n");
}

static void think_that_keeps_its_job_goes_on_where_it_was(void **state)
{
    (void)state;
    char out[2048];
    snprintf(out, sizeof out, "%s\n", fake_long_text());
    for (uint32_t cut = 0; cut < 3000; cut += 331) {
        uint32_t cuts[] = {cut, 500};
        expect_cut(cuts, 2, "think --keep long", out);
    }
}

static void think_that_was_lost_in_the_middle_fails_with_what_came(void **state)
{
    (void)state;
    struct run run;
    uint32_t cut = 0;
    char out[2048];
    snprintf(out, sizeof out, "%s\n", fake_long_text());
    expect_cut(&cut, 1, "think long", out); /* before it began */
    cut = 1500;
    proxy_plan(proxy, &cut, 1);
    run_all(&run, &through_proxy, "think long");
    assert_int_equal(run.status, 4);
    assert_true(strlen(run.out) > 3 && strlen(run.out) < strlen(out));
    assert_true(strncmp(run.out, out, strlen(run.out) - 1) == 0);
    run_free(&run);
}

static void an_evaluation_asks_again_for_what_was_lost(void **state)
{
    (void)state;
    uint64_t n_bytes;
    char args[160];
    const char *path =
        cases_write("q.jsonl", "{\"prompt\":\"D1:a\",\"answer\":\"a\",\"difficulty\":1}\n"
                               "{\"prompt\":\"D2:b\",\"answer\":\"b\",\"difficulty\":1}\n"
                               "{\"prompt\":\"D4:c\",\"answer\":\"c\",\"difficulty\":2}\n");
    snprintf(args, sizeof args, "eval --depths 1,4 --concurrency 2 %s", path);
    char *out = undisturbed(args, &n_bytes);
    for (uint32_t cut = 0; cut < n_bytes; cut += 173) {
        uint32_t cuts[] = {cut, 60, 300};
        expect_cut(cuts, 3, args, out);
    }
    free(out);
}

static void nothing_is_tried_again_when_that_is_not_wanted(void **state)
{
    (void)state;
    struct run run;
    uint32_t cut = 1500, n_watches = fake_n_watches(fake);
    proxy_plan(proxy, &cut, 1);
    run_all(&run, &through_proxy, "watch --no-retry long");
    assert_int_equal(run.status, 4);
    assert_int_equal(fake_n_watches(fake) - n_watches, 1);
    run_free(&run);
    expect("watch --no-retry gone", 4, "", "latentctl: watch: unavailable: draining\n");
    expect("think --no-retry status~14", 4, "", "latentctl: think: unavailable: as you wish\n");
    assert_int_equal(fake_n_watches(fake) - n_watches, 2);
}

static void the_time_limit_bounds_the_waiting_and_the_reason_is_the_outage(void **state)
{
    (void)state;
    expect("watch --timeout 0.7 gone", 4, "", "latentctl: watch: unavailable: draining\n");
    expect("think --timeout 0.7 status~14", 4, "", "latentctl: think: unavailable: as you wish\n");
    struct run run;
    run_all(&run, &(struct run_options){.server = "unix:/nonexistent/socket"},
            "jobs --timeout 0.5");
    assert_int_equal(run.status, 4);
    assert_non_null(strstr(run.err, "latentctl: jobs: unavailable: "));
    run_free(&run);
}

static void a_service_that_comes_later_is_waited_for(void **state)
{
    (void)state;
    struct run run;
    char path[96], address[104];
    snprintf(path, sizeof path, "%s/late", cases_folder());
    snprintf(address, sizeof address, "unix:%s", path);
    run_start(&run, &(struct run_options){.server = address}, "watch --verbose whole");
    run_until_err(&run, "next try in ");
    struct proxy *late = proxy_start(path, fake_address(fake) + strlen("unix:"));
    run_wait(&run);
    proxy_stop(late);
    assert_int_equal(run.status, 0);
    assert_string_equal(run.out, "one two\n");
    run_free(&run);
}

/* Twice, because a connection that is lost before anything was asked is replaced without a word: only
 * the second loss is sure to meet a request. */
static const uint32_t at_once[] = {0, 0};

static void a_terminal_is_told_and_pipes_are_not(void **state)
{
    (void)state;
    struct run run;
    uint32_t cuts[] = {1500, 0};
    proxy_plan(proxy, cuts, 2);
    run_all(&run, &(struct run_options){.server = proxy_address, .err_is_pty = true}, "watch long");
    assert_int_equal(run.status, 0);
    assert_non_null(strstr(run.err, "[connection lost, waiting for the service...]"));
    run_free(&run);
    proxy_plan(proxy, cuts, 2);
    run_all(&run, &(struct run_options){.server = proxy_address, .err_is_pty = true},
            "watch --json long");
    assert_int_equal(run.status, 0);
    assert_null(strstr(run.err, "lost"));
    run_free(&run);
    proxy_plan(proxy, at_once, 2);
    run_all(&run, &(struct run_options){.server = proxy_address, .err_is_pty = true}, "jobs");
    assert_int_equal(run.status, 0);
    assert_non_null(strstr(run.err, "; waiting for the service..."));
    run_free(&run);
}

static void verbose_tells_of_each_try_and_of_the_end(void **state)
{
    (void)state;
    struct run run;
    uint32_t cuts[] = {1500, 0};
    proxy_plan(proxy, cuts, 2);
    run_all(&run, &through_proxy, "watch --json --verbose long");
    assert_int_equal(run.status, 0);
    const char *first = strstr(run.err, "; next try in 0.");
    assert_non_null(first);
    assert_non_null(strstr(first + 1, "; next try in 0."));
    assert_non_null(strstr(run.err, "latentctl: the service answers again after "));
    run_free(&run);
}

static void ctrl_c_ends_the_waiting(void **state)
{
    (void)state;
    struct run run;
    run_start(&run, &(struct run_options){.server = fake_address(fake)}, "watch --verbose gone");
    run_until_err(&run, "next try in ");
    kill(run.pid, SIGINT);
    run_wait(&run);
    assert_int_equal(run.status, 130);
    run_free(&run);
}

static void a_probe_does_not_wait(void **state)
{
    (void)state;
    struct run run;
    static const char *const verbs[] = {"health", "drain", "top --once"};
    for (size_t i = 0; i < 3; i++) {
        proxy_plan(proxy, at_once, 2);
        run_all(&run, &through_proxy, verbs[i]);
        assert_int_equal(run.status, 4);
        run_free(&run);
    }
}

static void pauses_grow_vary_and_respect_what_the_daemon_said(void **state)
{
    (void)state;
    static const uint32_t whole[] = {100, 200, 400, 800, 1600, 3200, 5000, 5000};
    for (uint32_t i = 0; i < 8; i++) {
        assert_int_equal(cli_outage_pause_ms(i + 1, 0, 0), whole[i]);
        for (uint32_t random = 0; random < 20000; random += 77)
            assert_in_range(cli_outage_pause_ms(i + 1, 0, random), whole[i] - whole[i] / 2,
                            whole[i]);
    }
    assert_int_equal(cli_outage_pause_ms(UINT32_MAX, 0, 0), 5000);
    assert_int_equal(cli_outage_pause_ms(1, 7000, 12345), 7000);
    assert_int_equal(cli_outage_pause_ms(8, 10, 0), 5000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(watch_prints_the_same_wherever_it_is_cut),
        cmocka_unit_test(watch_survives_one_cut_after_the_other),
        cmocka_unit_test(the_events_of_watch_come_once_each_and_in_order),
        cmocka_unit_test(watch_goes_on_whatever_ended_the_call),
        cmocka_unit_test(result_waits_through_an_outage),
        cmocka_unit_test(idempotent_verbs_are_tried_again),
        cmocka_unit_test(a_submit_is_carried_out_once_wherever_it_is_cut),
        cmocka_unit_test(submit_has_a_new_request_id_each_time_unless_it_is_given),
        cmocka_unit_test(submit_and_watch_is_one_job_and_its_whole_text),
        cmocka_unit_test(continue_has_a_request_id_and_is_tried_again),
        cmocka_unit_test(a_delete_that_found_nothing_the_second_time_was_done_the_first),
        cmocka_unit_test(think_that_keeps_its_job_goes_on_where_it_was),
        cmocka_unit_test(think_that_was_lost_in_the_middle_fails_with_what_came),
        cmocka_unit_test(an_evaluation_asks_again_for_what_was_lost),
        cmocka_unit_test(nothing_is_tried_again_when_that_is_not_wanted),
        cmocka_unit_test(the_time_limit_bounds_the_waiting_and_the_reason_is_the_outage),
        cmocka_unit_test(a_service_that_comes_later_is_waited_for),
        cmocka_unit_test(a_terminal_is_told_and_pipes_are_not),
        cmocka_unit_test(verbose_tells_of_each_try_and_of_the_end),
        cmocka_unit_test(ctrl_c_ends_the_waiting),
        cmocka_unit_test(a_probe_does_not_wait),
        cmocka_unit_test(pauses_grow_vary_and_respect_what_the_daemon_said),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
