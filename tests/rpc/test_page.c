/* SPDX-License-Identifier: Apache-2.0 */
/* tests/rpc/test_page.c - which page a request gets, and who may see it; without a network. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "rpc/conn.h"
#include "rpc/page.h"
#include "rpc/server.h"

static void make_hello(void *arg, struct rpc_page_answer *answer)
{
    ltd_bytes_put_str(&answer->body, arg);
}

static void make_busy(void *arg, struct rpc_page_answer *answer)
{
    (void)arg;
    answer->status = 503;
    answer->content_type = "application/json";
    ltd_bytes_put_str(&answer->body, "{}");
}

static void make_without_memory(void *arg, struct rpc_page_answer *answer)
{
    (void)arg;
    ltd_bytes_put_str(&answer->body, "half of it");
    answer->body.failed = true;
}

static const struct rpc_page pages[] = {
    {"/hello", make_hello, "hello\n", 0},
    {"/busy", make_busy, NULL, 0},
    {"/full", make_without_memory, NULL, 0},
    {"/secret", make_hello, "secret\n", 4},
};

/* "good" may see everything, "known" is known and may not, all others are nobody. */
static int authorize(void *arg, const struct rpc_question *question, struct rpc_identity *out,
                     struct ltd_err *err)
{
    (void)arg;
    (void)out;
    assert_null(question->method);
    assert_int_equal(question->rights, 4);
    assert_string_equal(question->peer->host, "192.0.2.1");
    if (!question->bearer)
        return ltd_fail(err, LTD_E_UNAUTHENTICATED, "no token");
    if (question->bearer_len == 4 && memcmp(question->bearer, "good", 4) == 0)
        return 0;
    if (question->bearer_len == 5 && memcmp(question->bearer, "known", 5) == 0)
        return ltd_fail(err, LTD_E_PERMISSION, "no right");
    return ltd_fail(err, LTD_E_UNAUTHENTICATED, "wrong token");
}

static const struct rpc_peer peer = {.address = "192.0.2.1:9", .host = "192.0.2.1"};
static struct rpc_shared shared;

static void set_up(rpc_authorize_fn fn)
{
    memset(&shared, 0, sizeof shared);
    shared.pages = pages;
    shared.n_pages = sizeof pages / sizeof *pages;
    shared.authorize = fn;
}

/* The status; the body goes to `body`. */
static int ask(const char *method, const char *path, const char *authorization, char body[200])
{
    const struct rpc_page_request request = {
        .peer = &peer,
        .method = method,
        .method_len = strlen(method),
        .path = path,
        .path_len = strlen(path),
        .authorization = authorization,
        .authorization_len = authorization ? strlen(authorization) : 0,
    };
    struct rpc_page_answer answer;
    rpc_page_make(&shared, &request, &answer);
    snprintf(body, 200, "%.*s", (int)answer.body.len, (const char *)answer.body.data);
    int status = answer.status;
    if (strcmp(path, "/busy") == 0)
        assert_string_equal(answer.content_type, "application/json");
    else
        assert_string_equal(answer.content_type, "text/plain; charset=utf-8");
    rpc_page_answer_fini(&answer);
    return status;
}

static void a_page_is_found_by_its_whole_path(void **state)
{
    char body[200];
    (void)state;
    set_up(NULL);
    assert_int_equal(ask("GET", "/hello", NULL, body), 200);
    assert_string_equal(body, "hello\n");
    assert_int_equal(ask("GET", "/hello?a=b", NULL, body), 200);
    assert_int_equal(ask("HEAD", "/hello", NULL, body), 200);
    assert_string_equal(body, "hello\n");
    assert_int_equal(ask("GET", "/hell", NULL, body), 404);
    assert_int_equal(ask("GET", "/hello/", NULL, body), 404);
    assert_int_equal(ask("GET", "/Hello", NULL, body), 404);
    assert_int_equal(ask("GET", "?", NULL, body), 404);
    assert_int_equal(ask("GET", "", NULL, body), 404);
}

static void a_page_is_read_and_not_written(void **state)
{
    char body[200];
    (void)state;
    set_up(NULL);
    assert_int_equal(ask("POST", "/hello", NULL, body), 405);
    assert_int_equal(ask("get", "/hello", NULL, body), 405);
    assert_int_equal(ask("POST", "/none", NULL, body), 404);
}

static void a_page_says_its_own_status_and_type(void **state)
{
    char body[200];
    (void)state;
    set_up(NULL);
    assert_int_equal(ask("GET", "/busy", NULL, body), 503);
    assert_string_equal(body, "{}");
}

static void a_page_that_had_no_memory_is_an_error_and_not_half_a_page(void **state)
{
    char body[200];
    (void)state;
    set_up(NULL);
    assert_int_equal(ask("GET", "/full", NULL, body), 500);
    assert_string_equal(body, "no memory for the page\n");
}

static void a_page_with_rights_is_for_those_who_have_them(void **state)
{
    char body[200];
    (void)state;
    set_up(authorize);
    assert_int_equal(ask("GET", "/secret", NULL, body), 401);
    assert_int_equal(ask("GET", "/secret", "Bearer bad", body), 401);
    assert_int_equal(ask("GET", "/secret", "Basic good", body), 401);
    assert_int_equal(ask("GET", "/secret", "Bearer known", body), 403);
    assert_int_equal(ask("GET", "/secret", "Bearer good", body), 200);
    assert_string_equal(body, "secret\n");
    assert_int_equal(ask("HEAD", "/secret", "bearer good", body), 200);
    assert_int_equal(ask("GET", "/hello", NULL, body), 200);
    set_up(NULL);
    assert_int_equal(ask("GET", "/secret", NULL, body), 200);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_page_is_found_by_its_whole_path),
        cmocka_unit_test(a_page_is_read_and_not_written),
        cmocka_unit_test(a_page_says_its_own_status_and_type),
        cmocka_unit_test(a_page_that_had_no_memory_is_an_error_and_not_half_a_page),
        cmocka_unit_test(a_page_with_rights_is_for_those_who_have_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
