/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/cli/test_latentctl_access.c - latentctl over TLS, with certificates and tokens, against a
 * server that says whom it took the caller for.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/cli/cases.h"
#include "tests/cli/fake_guard.h"
#include "tests/rpc/certs.h"

#define TOKEN "ltd_right"

static char folder[] = "/tmp/latentctl-access-XXXXXX";
static struct fake_guard *guard;

static char *in_folder(const char *name)
{
    char *path = NULL;
    assert_true(asprintf(&path, "%s/%s", folder, name) > 0);
    return path;
}

static void write_file(const char *name, const char *text, mode_t mode)
{
    char *path = in_folder(name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
    assert_int_equal(chmod(path, mode), 0);
    free(path);
}

static const char *const variables[] = {"LATENTD_TOKEN",   "LATENTD_TOKEN_FILE",
                                        "LATENTD_TLS_CA",  "LATENTD_TLS_CERT",
                                        "LATENTD_TLS_KEY", "LATENTD_TLS_NAME"};

static int set_up(void **state)
{
    (void)state;
    if (!mkdtemp(folder))
        return -1;
    certs_make(folder);
    write_file("token", TOKEN "\n", 0600);
    write_file("wrong", "ltd_wrong\n", 0600);
    write_file("public", TOKEN "\n", 0644);
    write_file("empty", "\n", 0600);
    guard = fake_guard_start(folder, TOKEN);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    static const char *const names[] = {"ca",    "server", "alice",  "stranger-ca", "stranger",
                                        "token", "wrong",  "public", "empty"};
    fake_guard_stop(guard);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char path[128];
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        unlink(path);
        snprintf(path, sizeof path, "%s/%s.pem", folder, names[i]);
        unlink(path);
        snprintf(path, sizeof path, "%s/%s.key", folder, names[i]);
        unlink(path);
    }
    return rmdir(folder);
}

static int no_environment(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof variables / sizeof variables[0]; i++)
        unsetenv(variables[i]);
    return 0;
}

/* The words of `args`, each '@' in them replaced by the folder's path and a slash. */
static void run_at(struct run *run, const char *server, const char *args)
{
    char words[1024] = "";
    for (const char *c = args; *c; c++) {
        size_t len = strlen(words);
        if (*c == '@')
            snprintf(words + len, sizeof words - len, "%s/", folder);
        else
            snprintf(words + len, sizeof words - len, "%c", *c);
    }
    run_all(run, &(struct run_options){.server = server}, words);
}

static void expect_owner(const char *server, const char *args, const char *owner)
{
    struct run run;
    char piece[64];
    run_at(&run, server, args);
    snprintf(piece, sizeof piece, "\"owner\": \"%s\"", owner);
    if (run.status != 0 || !strstr(run.out, piece))
        fail_msg("latentctl %s: exit %d, no %s in: %s; err: %s", args, run.status, piece, run.out,
                 run.err);
    run_free(&run);
}

static void expect_refusal(const char *server, const char *args, int status, const char *piece)
{
    struct run run;
    run_at(&run, server, args);
    if (run.status != status || run.out[0] || !strstr(run.err, piece))
        fail_msg("latentctl %s: exit %d, expected %d; no \"%s\" in: %s", args, run.status, status,
                 piece, run.err);
    assert_null(strstr(run.err, "ltd_"));
    run_free(&run);
}

#define CA    "--tls-ca @ca.pem "
#define ALICE "--tls-cert @alice.pem --tls-key @alice.key "

static void the_daemon_is_known_by_its_ca_and_its_name(void **state)
{
    (void)state;
    const char *address = fake_guard_tls_address(guard);
    expect_owner(address, "jobs --json " CA, "nobody");
    expect_owner(address, "jobs --json --tls-name localhost " CA, "nobody");
    expect_refusal(address, "jobs", 9, "unauthenticated: ");
    expect_refusal(address, "jobs --tls-ca @stranger-ca.pem", 9, "unauthenticated: ");
    expect_refusal(address, "jobs --tls-name elsewhere " CA, 9, "unauthenticated: ");
}

static void the_caller_is_known_by_certificate_or_token(void **state)
{
    (void)state;
    const char *address = fake_guard_tls_address(guard);
    expect_owner(address, "jobs --json " CA ALICE, "cert:alice");
    expect_owner(address, "jobs --json --token-file @token " CA, "token");
    expect_owner(address, "jobs --json --token-file @token " CA ALICE, "token");
    expect_owner(fake_guard_plain_address(guard), "jobs --json --token-file @token", "token");
}

static void who_may_not_is_told_which_failure_it_is(void **state)
{
    (void)state;
    struct run run;
    const char *address = fake_guard_plain_address(guard);
    run_at(&run, address, "jobs --token-file @wrong");
    assert_int_equal(run.status, 9);
    assert_string_equal(run.err,
                        "latentctl: jobs: unauthenticated: nobody has this token (TOKEN_WRONG)\n");
    run_free(&run);
    run_at(&run, address, "delete x");
    assert_int_equal(run.status, 9);
    assert_string_equal(run.err, "latentctl: delete: permission: you may not (ROLE)\n");
    run_free(&run);
}

static void the_environment_stands_in_for_options(void **state)
{
    (void)state;
    const char *address = fake_guard_tls_address(guard);
    const char *plain = fake_guard_plain_address(guard);
    char *ca = in_folder("ca.pem"), *token = in_folder("token"), *wrong = in_folder("wrong");
    char *certificate = in_folder("alice.pem"), *key = in_folder("alice.key");
    setenv("LATENTD_TLS_CA", ca, 1);
    expect_owner(address, "jobs --json", "nobody");
    expect_owner(plain, "jobs --json", "nobody"); /* not for it: not looked at */
    setenv("LATENTD_TLS_CERT", certificate, 1);
    setenv("LATENTD_TLS_KEY", key, 1);
    expect_owner(address, "jobs --json", "cert:alice");
    setenv("LATENTD_TLS_NAME", "elsewhere", 1);
    expect_refusal(address, "jobs", 9, "unauthenticated: ");
    expect_owner(address, "jobs --json --tls-name localhost", "cert:alice");
    setenv("LATENTD_TOKEN_FILE", token, 1);
    expect_owner(plain, "jobs --json", "token");
    setenv("LATENTD_TOKEN_FILE", wrong, 1);
    setenv("LATENTD_TOKEN", TOKEN, 1);
    expect_owner(plain, "jobs --json", "token");
    setenv("LATENTD_TOKEN", "ltd_wrong", 1);
    expect_refusal(plain, "jobs", 9, "(TOKEN_WRONG)");
    expect_owner(plain, "jobs --json --token-file @token", "token");
    setenv("LATENTD_TOKEN", "", 1);
    setenv("LATENTD_TOKEN_FILE", "", 1);
    expect_owner(plain, "jobs --json", "nobody");
    setenv("LATENTD_TOKEN", "ltd_ a", 1);
    expect_refusal(plain, "jobs", 2, "$LATENTD_TOKEN: character 5 cannot be part of a token");
    free(ca);
    free(token);
    free(wrong);
    free(certificate);
    free(key);
}

static void what_holds_no_secret_token_is_refused(void **state)
{
    (void)state;
    const char *plain = fake_guard_plain_address(guard);
    expect_refusal(plain, "jobs --token-file @public", 2, "everybody can read or write it");
    expect_refusal(plain, "jobs --token-file @empty", 2, "holds no token");
    expect_refusal(plain, "jobs --token-file @absent", 2, "No such file");
    expect_refusal(plain, "jobs --token-file @", 2, "invalid: --token-file: ");
}

static void a_forgotten_tls_is_noticed(void **state)
{
    (void)state;
    expect_refusal(fake_guard_plain_address(guard), "jobs " CA, 2, "invalid: ");
    expect_refusal(fake_guard_tls_address(guard), "jobs " CA "--tls-cert @alice.pem", 2,
                   "invalid: ");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_daemon_is_known_by_its_ca_and_its_name),
        cmocka_unit_test(the_caller_is_known_by_certificate_or_token),
        cmocka_unit_test(who_may_not_is_told_which_failure_it_is),
        cmocka_unit_test_setup_teardown(the_environment_stands_in_for_options, no_environment,
                                        no_environment),
        cmocka_unit_test(what_holds_no_secret_token_is_refused),
        cmocka_unit_test(a_forgotten_tls_is_noticed),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
