/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/cli/test_latentctl_admin.c - what operators do with latentctl: find jobs, drain, tokens, the
 * store.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "cli/token.h"
#include "tests/cli/cases.h"

/* ---- jobs ---- */

static const json_t *only_job(const json_t *list)
{
    assert_int_equal(json_array_size(json_object_get(list, "jobs")), 1);
    return json_array_get(json_object_get(list, "jobs"), 0);
}

static void filters_of_jobs_are_the_daemons_business(void **state)
{
    (void)state;
    int64_t before_us = ltd_wall_us();
    json_t *list =
        expect_json("jobs --json --owner alice --client alice/a --since 2h --before 1d", 0);
    int64_t after_us = ltd_wall_us();
    const json_t *job = only_job(list);
    assert_string_equal(text_at(job, "owner"), "alice");
    assert_string_equal(text_at(job, "client"), "alice/a");
    assert_in_range(integer_at(job, "start_us"), before_us - 7200000000, after_us - 7200000000);
    assert_in_range(integer_at(job, "end_us"), before_us - 86400000000, after_us - 86400000000);
    json_decref(list);
    list = expect_json("jobs --json --owner bob", 0);
    assert_int_equal(integer_at(only_job(list), "start_us"), 0);
    assert_int_equal(integer_at(only_job(list), "end_us"), 0);
    json_decref(list);
}

static void a_time_before_1970_is_no_filter_that_excludes_everything(void **state)
{
    (void)state;
    json_t *list = expect_json("jobs --json --owner bob --since 4000000d", 0);
    assert_int_equal(integer_at(only_job(list), "start_us"), 1);
    json_decref(list);
}

static void all_reads_every_page(void **state)
{
    (void)state;
    json_t *list = expect_json("jobs --json --all", 0);
    assert_int_equal(json_array_size(json_object_get(list, "jobs")), 3);
    json_decref(list);
    expect("jobs --all --limit 3", 2, "",
           "latentctl: jobs: invalid: --all and --limit: expected one of them\n");
}

/* The longest line between line ends of either kind. */
static size_t longest_line(const char *text)
{
    size_t longest = 0;
    while (*text) {
        size_t len = strcspn(text, "\r\n");
        longest = len > longest ? len : longest;
        text += len + (text[len] != '\0');
    }
    return longest;
}

static void a_list_on_a_terminal_has_the_columns_that_fit(void **state)
{
    (void)state;
    struct run run;
    run_all(
        &run,
        &(struct run_options){.server = fake_address(fake), .err_is_pty = true, .out_is_pty = true},
        "jobs");
    assert_int_equal(run.status, 0);
    assert_non_null(strstr(run.err, "STATE"));
    assert_null(strstr(run.err, "REQUEST-ID"));
    assert_in_range(longest_line(run.err), 60, 80);
    run_free(&run);
    run_on_fake(&run, "jobs");
    expect_piece(&run, "REQUEST-ID");
    expect_piece(&run, "OWNER");
    assert_true(longest_line(run.out) > 80);
    run_free(&run);
}

/* ---- drain, health ---- */

static void drain_says_what_it_found(void **state)
{
    (void)state;
    expect("drain", 0, "draining within 600 s: 2 running, 3 queued\n", "");
    expect("drain --grace 1.5", 0, "draining within 1.5 s: 2 running, 3 queued\n", "");
    expect("drain --grace 0", 0, "draining within 0 s: 2 running, 3 queued\n", "");
    expect("drain --grace 86401", 2, "",
           "latentctl: drain: invalid: grace_seconds: found 86401, expected 0 to 86400\n");
    expect("drain now", 2, "", NULL);
    expect("drain --json", 0,
           "{\"grace_seconds\": 600.0, \"jobs_queued\": 3, \"jobs_running\": 2}\n", "");
}

static void health_takes_the_service_as_an_option_too(void **state)
{
    (void)state;
    expect("health --service latentd.v1.Jobs", 0, "serving\n", "");
    expect("health --service nothing", 3, "", NULL);
    expect("health --service latentd.v1.Jobs latentd.v1.Jobs", 2, "", NULL);
}

/* ---- tokens ---- */

static void the_hash_of_a_token_is_its_sha256(void **state)
{
    (void)state;
    char hex[CLI_TOKEN_HASH_BYTES];
    struct ltd_err err;
    /* FIPS 180-2, appendix B.1. */
    assert_int_equal(cli_token_hash("abc", 3, hex, &err), 0);
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

static void hash_reads_a_token_and_writes_its_line(void **state)
{
    (void)state;
    struct run run;
    run_all(&run, &(struct run_options){.input = " abc\r\n"}, "token hash alice inference jobs");
    assert_int_equal(run.status, 0);
    assert_string_equal(run.err, "");
    assert_string_equal(run.out, "token sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410"
                                 "ff61f20015ad alice inference jobs\n");
    run_free(&run);
    run_all(&run, &(struct run_options){.input = "abc"}, "token hash alice");
    assert_non_null(strstr(run.out, "15ad alice inference jobs cluster\n"));
    run_free(&run);
    run_all(&run, &(struct run_options){.input = "abc"}, "token hash");
    assert_non_null(strstr(run.out, "15ad\n"));
    run_free(&run);
}

static void what_cannot_be_a_token_is_refused_and_not_repeated(void **state)
{
    (void)state;
    static const char *const wrong[] = {"", "\n \n", "secret one", "secret\ntwo", "secr\xC3\xA4t"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct run run;
        run_all(&run, &(struct run_options){.input = wrong[i]}, "token hash alice");
        assert_int_equal(run.status, 2);
        assert_string_equal(run.out, "");
        assert_null(strstr(run.err, "secr"));
        run_free(&run);
    }
    char *longer = calloc(1, CLI_TOKEN_MAX_BYTES + 2);
    assert_non_null(longer);
    memset(longer, 'x', CLI_TOKEN_MAX_BYTES + 1);
    struct run run;
    run_all(&run, &(struct run_options){.input = longer}, "token hash alice");
    assert_int_equal(run.status, 2);
    run_free(&run);
    longer[CLI_TOKEN_MAX_BYTES] = '\0';
    run_all(&run, &(struct run_options){.input = longer}, "token hash alice");
    assert_int_equal(run.status, 0);
    run_free(&run);
    free(longer);
}

static void assert_is_token(const char *text)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    assert_true(strncmp(text, "ltd_", 4) == 0);
    assert_int_equal(strspn(text + 4, digits), 43);
    assert_string_equal(text + 47, "\n");
}

static void a_new_token_fits_its_line_and_is_never_the_same(void **state)
{
    (void)state;
    struct run first, second, hash;
    run_all(&first, &(struct run_options){.server = NULL}, "token new alice jobs");
    run_all(&second, &(struct run_options){.server = NULL}, "token new alice jobs");
    assert_int_equal(first.status, 0);
    assert_is_token(first.out);
    assert_is_token(second.out);
    assert_string_not_equal(first.out, second.out);
    run_all(&hash, &(struct run_options){.input = first.out}, "token hash alice jobs");
    assert_string_equal(hash.out, first.err);
    run_free(&first);
    run_free(&second);
    run_free(&hash);
}

static void a_token_in_a_file_is_its_owners_only_and_replaces_nothing(void **state)
{
    (void)state;
    struct run run, hash;
    struct stat about;
    char args[160], path[96], text[128] = "";
    snprintf(path, sizeof path, "%s/token", cases_folder());
    snprintf(args, sizeof args, "token new bob --out %s", path);
    mode_t mask = umask(0);
    run_all(&run, &(struct run_options){.server = NULL}, args);
    umask(mask);
    assert_int_equal(run.status, 0);
    assert_string_equal(run.err, "");
    assert_int_equal(stat(path, &about), 0);
    assert_int_equal(about.st_mode & 0777, 0600);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    assert_non_null(fgets(text, sizeof text, file));
    fclose(file);
    assert_is_token(text);
    run_all(&hash, &(struct run_options){.input = text}, "token hash bob");
    assert_string_equal(hash.out, run.out);
    run_free(&hash);
    run_free(&run);
    run_all(&run, &(struct run_options){.server = NULL}, args);
    assert_int_equal(run.status, 3);
    assert_string_equal(run.out, "");
    run_free(&run);
    unlink(path);
}

static void tokens_as_json_show_a_secret_only_where_it_is_the_output(void **state)
{
    (void)state;
    char args[160], path[96];
    json_t *value = expect_json("token --json new alice", 0);
    assert_int_equal(strlen(text_at(value, "token")), 47);
    assert_non_null(strstr(text_at(value, "line"), " alice inference jobs cluster"));
    json_decref(value);
    snprintf(path, sizeof path, "%s/token", cases_folder());
    snprintf(args, sizeof args, "token new --json --out %s", path);
    value = expect_json(args, 0);
    assert_true(json_is_null(json_object_get(value, "token")));
    json_decref(value);
    unlink(path);
}

static void wrong_use_of_token_is_refused(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "token",
        "token make",
        "token new a~b",
        "token new -- -a",
        "token new @x",
        "token new alice all",
        "token new a jobs jobz",
        "token hash --out x",
        "token new aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", /* 49 letters */
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        expect(wrong[i], 2, "", NULL);
}

/* ---- store ---- */

/*
 * This program's latentctl stands in the build folder, where no latentd is beside it: so it takes
 * the one in $PATH, which is a script that says how it was called.
 */
static void store_becomes_a_latentd_and_its_exit_status(void **state)
{
    (void)state;
    char path[96], search[512], expected[64];
    static const char *const actions[] = {"check", "vacuum", "export"};
    const char *old = getenv("PATH");
    char *saved = strdup(old ? old : "");
    snprintf(path, sizeof path, "%s/latentd", cases_folder());
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs("#!/bin/sh\necho \"$#: $1 $2\"\necho damage >&2\nexit 8\n", file);
    fclose(file);
    assert_int_equal(chmod(path, 0700), 0);
    snprintf(search, sizeof search, "%s:/usr/bin:/bin", cases_folder());
    setenv("PATH", search, 1);
    for (size_t i = 0; i < 3; i++) {
        struct run run;
        char args[64];
        snprintf(args, sizeof args, "store %s some/jobs.db", actions[i]);
        snprintf(expected, sizeof expected, "2: --store-%s some/jobs.db\n", actions[i]);
        run_all(&run, &(struct run_options){.server = NULL}, args);
        assert_string_equal(run.out, expected);
        assert_string_equal(run.err, "damage\n");
        assert_int_equal(run.status, 8);
        run_free(&run);
    }
    unlink(path);
    setenv("PATH", cases_folder(), 1);
    expect("store check x", 3, "",
           "latentctl: store: not found: latentd, beside this program or in $PATH: No such file or "
           "directory\n");
    setenv("PATH", saved, 1);
    free(saved);
    expect("store burn x", 2, "",
           "latentctl: store: invalid: \"burn\", expected check, vacuum or export\n");
    expect("store check", 2, "", NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(filters_of_jobs_are_the_daemons_business),
        cmocka_unit_test(a_time_before_1970_is_no_filter_that_excludes_everything),
        cmocka_unit_test(all_reads_every_page),
        cmocka_unit_test(a_list_on_a_terminal_has_the_columns_that_fit),
        cmocka_unit_test(drain_says_what_it_found),
        cmocka_unit_test(health_takes_the_service_as_an_option_too),
        cmocka_unit_test(the_hash_of_a_token_is_its_sha256),
        cmocka_unit_test(hash_reads_a_token_and_writes_its_line),
        cmocka_unit_test(what_cannot_be_a_token_is_refused_and_not_repeated),
        cmocka_unit_test(a_new_token_fits_its_line_and_is_never_the_same),
        cmocka_unit_test(a_token_in_a_file_is_its_owners_only_and_replaces_nothing),
        cmocka_unit_test(tokens_as_json_show_a_secret_only_where_it_is_the_output),
        cmocka_unit_test(wrong_use_of_token_is_refused),
        cmocka_unit_test(store_becomes_a_latentd_and_its_exit_status),
    };
    return cmocka_run_group_tests(tests, cases_set_up, cases_tear_down);
}
