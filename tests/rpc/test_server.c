/* SPDX-License-Identifier: Apache-2.0 */
/* tests/rpc/test_server.c - our client against our server, in one process, over TCP and Unix. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "fixture.h"
#include "rpc/client.h"

static latentd_client *connect_to(const char *address)
{
    latentd_error err = {0};
    latentd_client *client = latentd_client_open(address, 5000, &err);
    if (!client)
        fail_msg("open %s: %s", address, err.message);
    return client;
}

static latentd_request request_of(const char *path, const char *text)
{
    return (latentd_request){.path = path, .data = text, .len = strlen(text), .timeout_ms = 20000};
}

/* One unary call that must succeed; the answer as text, to be freed. */
static char *ask(latentd_client *client, const char *path, const char *text)
{
    latentd_request request = request_of(path, text);
    latentd_bytes answer;
    latentd_error err = {0};
    if (latentd_client_unary(client, &request, &answer, &err) != 0)
        fail_msg("%s: %s: %s", path, latentd_status_name(err.status), err.message);
    char *out = strndup((char *)answer.data, answer.len);
    latentd_bytes_free(&answer);
    return out;
}

/* One unary call that must fail with `status`. */
static latentd_error ask_badly(latentd_client *client, const latentd_request *request, int status)
{
    latentd_bytes answer = {0};
    latentd_error err = {0};
    assert_int_equal(latentd_client_unary(client, request, &answer, &err), -1);
    if (err.status != status)
        fail_msg("%s: status %s (%s), expected %s", request->path, latentd_status_name(err.status),
                 err.message, latentd_status_name(status));
    assert_null(answer.data);
    return err;
}

static void echo_both_ways(const char *address, size_t len)
{
    latentd_client *client = connect_to(address);
    uint8_t *data = malloc(len ? len : 1);
    for (size_t i = 0; i < len; i++)
        data[i] = (uint8_t)(i * 7 + i / 251);
    latentd_request request = {
        .path = "/test.Echo/Unary", .data = data, .len = len, .timeout_ms = 20000};
    latentd_bytes answer;
    latentd_error err = {0};
    if (latentd_client_unary(client, &request, &answer, &err) != 0)
        fail_msg("%zu bytes: %s", len, err.message);
    assert_int_equal(answer.len, len);
    assert_non_null(answer.data);
    assert_memory_equal(answer.data, data, len);
    latentd_bytes_free(&answer);
    free(data);
    latentd_client_close(client);
}

static void a_unary_call_brings_back_what_was_sent(void **state)
{
    struct fixture *f;
    (void)state;
    f = fixture_start(NULL);
    const size_t sizes[] = {0, 1, 5, 16379, 16384, 65536, (size_t)1 << 20, ECHO_MAX_BYTES};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        echo_both_ways(f->address, sizes[i]);
        echo_both_ways(f->unix_address, sizes[i]);
    }
    fixture_stop(f);
}

static void a_server_tells_its_caller_s_name_and_deadline(void **state)
{
    struct fixture *f;
    (void)state;
    f = fixture_start(NULL);
    latentd_client *client = connect_to(f->address);
    char *text = ask(client, "/test.Echo/Peer", "");
    unsigned long long ms = 0;
    assert_int_equal(strncmp(text, "127.0.0.1:", 10), 0);
    assert_int_equal(sscanf(strchr(text, ' '), "%llu", &ms), 1);
    assert_in_range(ms, 1, 20001);
    free(text);
    latentd_client_close(client);

    client = connect_to(f->unix_address);
    text = ask(client, "/test.Echo/Peer", "");
    char expected[80];
    snprintf(expected, sizeof expected, "unix:uid=%u,pid=%d ", getuid(), getpid());
    assert_int_equal(strncmp(text, expected, strlen(expected)), 0);
    free(text);
    latentd_request request = {.path = "/test.Echo/Peer"};
    latentd_bytes answer;
    assert_int_equal(latentd_client_unary(client, &request, &answer, NULL), 0);
    assert_memory_equal(answer.data + answer.len - 5, " none", 5);
    latentd_bytes_free(&answer);
    latentd_client_close(client);
    fixture_stop(f);
}

static void a_caller_is_known_by_its_host_alone(void **state)
{
    (void)state;
    char user[40];
    snprintf(user, sizeof user, "unix:uid=%u", getuid());
    struct fixture *f = fixture_start(NULL);
    for (int i = 0; i < 2; i++) {
        latentd_client *client = connect_to(i == 0 ? f->address : f->unix_address);
        char *text = ask(client, "/test.Echo/Host", "");
        assert_string_equal(text, i == 0 ? "127.0.0.1" : user);
        free(text);
        latentd_client_close(client);
    }
    fixture_stop(f);
}

struct counting {
    uint64_t n, n_bytes;
    uint64_t slow_until; /* sleep a little per message before this index */
    uint64_t cancel_at;  /* 0: never */
};

static int count_message(void *arg, const uint8_t *data, size_t len)
{
    struct counting *c = arg;
    char text[25] = {0};
    memcpy(text, data, len < 24 ? len : 24);
    if (strtoull(text, NULL, 10) != c->n)
        fail_msg("message %llu came in place %llu", strtoull(text, NULL, 10),
                 (unsigned long long)c->n);
    c->n++;
    c->n_bytes += len;
    if (c->n < c->slow_until)
        usleep(500);
    return c->n == c->cancel_at;
}

static void a_long_stream_to_a_slow_reader_stays_within_its_queue(void **state)
{
    struct fixture *f;
    (void)state;
    f = fixture_start(NULL);
    const char *const addresses[] = {f->address, f->unix_address};
    for (int i = 0; i < 2; i++) {
        latentd_client *client = connect_to(addresses[i]);
        latentd_request request = request_of("/test.Echo/Stream", "10000 2000");
        struct counting c = {.slow_until = 400};
        latentd_error err = {0};
        request.timeout_ms = 0;
        if (latentd_client_stream(client, &request, count_message, &c, &err) != 0)
            fail_msg("stream: %s after %llu messages", err.message, (unsigned long long)c.n);
        assert_int_equal(c.n, 10000);
        assert_int_equal(c.n_bytes, 10000ull * 2000);
        latentd_client_close(client);
    }
    size_t most = atomic_load(&f->echo.max_queued);
    assert_in_range(most, 2000, RPC_CALL_QUEUE_BYTES + 2005);
    wait_for("finished streams", &f->echo.ends[RPC_END_FINISHED], 2);
    fixture_stop(f);
}

static void a_stream_of_nothing_is_ok(void **state)
{
    struct fixture *f;
    (void)state;
    f = fixture_start(NULL);
    latentd_client *client = connect_to(f->address);
    latentd_request request = request_of("/test.Echo/Stream", "0 0");
    struct counting c = {0};
    latentd_error err = {0};
    assert_int_equal(latentd_client_stream(client, &request, count_message, &c, &err), 0);
    assert_int_equal(c.n, 0);
    latentd_bytes answer;
    assert_int_equal(latentd_client_unary(client, &request, &answer, &err), -1);
    assert_int_equal(err.status, LATENTD_INTERNAL);
    request = request_of("/test.Echo/Stream", "2 30");
    assert_int_equal(latentd_client_unary(client, &request, &answer, &err), -1);
    assert_int_equal(err.status, LATENTD_INTERNAL);
    latentd_client_close(client);
    fixture_stop(f);
}

static void a_sender_that_does_not_ask_is_refused_and_bounded(void **state)
{
    struct fixture *f;
    (void)state;
    f = fixture_start(NULL);
    latentd_client *client = connect_to(f->address);
    latentd_request request = request_of("/test.Echo/Push", "100000 1000");
    struct counting c = {0};
    latentd_error err = {0};
    assert_int_equal(latentd_client_stream(client, &request, count_message, &c, &err), -1);
    assert_int_equal(err.status, LATENTD_RESOURCE_EXHAUSTED);
    assert_int_equal(atomic_load(&f->echo.n_refused), 1);
    assert_in_range(c.n, 1, RPC_CALL_QUEUE_BYTES / 1005 + 1);
    assert_in_range(atomic_load(&f->echo.max_queued), 1000, RPC_CALL_QUEUE_BYTES + 1005);
    latentd_client_close(client);
    fixture_stop(f);
}

struct many {
    int n_done, n_ok;
    uint8_t expect;
};

static int match_message(void *arg, const uint8_t *data, size_t len)
{
    struct many *m = arg;
    for (size_t i = 0; i < len; i++)
        if (data[i] != m->expect)
            return 1;
    m->n_ok++;
    return 0;
}

static void count_done(void *arg, const latentd_error *result)
{
    struct many *m = arg;
    m->n_done++;
    if (result->status != LATENTD_OK)
        fail_msg("concurrent call: %s: %s", latentd_status_name(result->status), result->message);
}

static void three_hundred_calls_run_at_once(void **state)
{
    struct fixture *f;
    (void)state;
    f = fixture_start(NULL);
    latentd_client *client = connect_to(f->address);
    static struct many m[300];
    uint8_t data[3000];
    memset(m, 0, sizeof m);
    const latentd_call_events events = {match_message, count_done};
    for (int i = 0; i < 300; i++) {
        memset(data, i, sizeof data);
        m[i].expect = (uint8_t)i;
        latentd_request request = {.path = "/test.Echo/Unary",
                                   .data = data,
                                   .len = sizeof data,
                                   .timeout_ms = i % 2 ? 30000 : 0};
        assert_non_null(latentd_call_start(client, &request, &events, &m[i], NULL));
    }
    latentd_client_run(client);
    for (int i = 0; i < 300; i++) {
        assert_int_equal(m[i].n_done, 1);
        assert_int_equal(m[i].n_ok, 1);
    }
    latentd_client_close(client);
    fixture_stop(f);
}

struct window {
    latentd_client *client;
    int n_left, n_done;
};

static void refill(void *arg, const latentd_error *result);
static const latentd_call_events window_events = {NULL, refill};

static void refill(void *arg, const latentd_error *result)
{
    struct window *w = arg;
    latentd_bytes ignored;
    latentd_error err;
    latentd_request request = request_of("/test.Echo/Unary", "x");
    assert_int_equal(result->status, LATENTD_OK);
    assert_int_equal(latentd_client_unary(w->client, &request, &ignored, &err), -1);
    assert_int_equal(err.status, LATENTD_FAILED_PRECONDITION);
    w->n_done++;
    if (w->n_left-- > 0)
        assert_non_null(latentd_call_start(w->client, &request, &window_events, w, NULL));
}

static void callbacks_keep_a_window_of_calls_full(void **state)
{
    struct fixture *f;
    (void)state;
    f = fixture_start(NULL);
    struct window w = {.client = connect_to(f->unix_address), .n_left = 992};
    latentd_request request = request_of("/test.Echo/Unary", "x");
    for (int i = 0; i < 8; i++)
        assert_non_null(latentd_call_start(w.client, &request, &window_events, &w, NULL));
    latentd_client_run(w.client);
    assert_int_equal(w.n_done, 1000);
    latentd_client_close(w.client);
    fixture_stop(f);
}

static void an_unknown_method_is_unimplemented(void **state)
{
    struct fixture *f;
    (void)state;
    f = fixture_start(NULL);
    latentd_client *client = connect_to(f->address);
    const char *const paths[] = {"/test.Echo/None", "/none.Such/Unary", "/test.echo/Unary",
                                 "/test.Echo/Unary/", "/"};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        latentd_request request = request_of(paths[i], "x");
        latentd_error err = ask_badly(client, &request, LATENTD_UNIMPLEMENTED);
        assert_int_equal(err.from_server, 1);
        assert_string_equal(err.message, "unknown service or method");
    }
    latentd_request request = request_of("no slash", "x");
    assert_int_equal(ask_badly(client, &request, LATENTD_INVALID_ARGUMENT).from_server, 0);
    latentd_client_close(client);
    fixture_stop(f);
}

static void a_message_over_the_limit_is_refused_on_either_side(void **state)
{
    struct fixture *f;
    (void)state;
    f = fixture_start(NULL);
    latentd_client *client = connect_to(f->address);
    char *big = calloc(1, (size_t)4 << 20);
    latentd_request request = {.path = "/test.Echo/Small", .data = big, .timeout_ms = 20000};
    latentd_bytes answer;
    request.len = 1024;
    assert_int_equal(latentd_client_unary(client, &request, &answer, NULL), 0);
    latentd_bytes_free(&answer);
    const size_t over[] = {1025, 100000, (size_t)4 << 20};
    for (size_t i = 0; i < 3; i++) {
        request.len = over[i];
        latentd_error err = ask_badly(client, &request, LATENTD_RESOURCE_EXHAUSTED);
        assert_int_equal(err.from_server, 1);
        assert_non_null(strstr(err.message, "at most 1024"));
    }
    request = (latentd_request){.path = "/test.Echo/Unary",
                                .data = big,
                                .len = 5000,
                                .timeout_ms = 20000,
                                .max_response_bytes = 4999};
    assert_int_equal(ask_badly(client, &request, LATENTD_RESOURCE_EXHAUSTED).from_server, 0);
    request.max_response_bytes = 5000;
    assert_int_equal(latentd_client_unary(client, &request, &answer, NULL), 0);
    latentd_bytes_free(&answer);
    free(big);
    latentd_client_close(client);
    fixture_stop(f);
}

static void every_status_and_any_message_comes_through(void **state)
{
    struct fixture *f;
    (void)state;
    f = fixture_start(NULL);
    latentd_client *client = connect_to(f->address);
    for (int status = 1; status <= 16; status++) {
        char text[80];
        snprintf(text, sizeof text, "%d 100%% d\xc3\xa9j\xc3\xa0 vu \xe2\x9c\x93", status);
        latentd_request request = request_of("/test.Echo/Fail", text);
        latentd_error err = ask_badly(client, &request, status);
        assert_string_equal(err.message, strchr(text, ' ') + 1);
        assert_int_equal(err.from_server, 1);
    }
    latentd_request request = request_of("/test.Echo/Fail", "5 two\nlines \xff end");
    assert_string_equal(ask_badly(client, &request, 5).message, "two?lines ? end");
    request = request_of("/test.Echo/Fail", "5");
    assert_string_equal(ask_badly(client, &request, 5).message, "");
    char *huge = malloc(30001);
    memset(huge, 'x', 30000);
    huge[30000] = '\0';
    memcpy(huge, "3 ", 2);
    request = request_of("/test.Echo/Fail", huge);
    assert_int_equal(strlen(ask_badly(client, &request, 3).message), 479);
    free(huge);
    latentd_client_close(client);
    fixture_stop(f);
}

/* The hint stands beside the status in one HEADERS frame, or in the trailers behind messages. */
static void a_failure_can_say_when_to_try_again(void **state)
{
    (void)state;
    struct fixture *f = fixture_start(NULL);
    latentd_client *client = connect_to(f->address);
    static const struct {
        const char *text;
        uint32_t ms;
    } rows[] = {{"0 1", 1},     {"0 1500", 1500},   {"0 4294967295", UINT32_MAX},
                {"1 250", 250}, {"3 61000", 61000}, {"0 0", 0},
                {"2 0", 0}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        latentd_request request = request_of("/test.Echo/Later", rows[i].text);
        latentd_error err = {.retry_after_ms = 77};
        assert_int_equal(latentd_client_stream(client, &request, NULL, NULL, &err), -1);
        assert_int_equal(err.status, LATENTD_RESOURCE_EXHAUSTED);
        assert_string_equal(err.message, "later \xe2\x9c\x93");
        assert_int_equal(err.retry_after_ms, rows[i].ms);
    }
    latentd_client_close(client);
    fixture_stop(f);
}

static void a_failure_tells_which_one_it_is(void **state)
{
    (void)state;
    struct fixture *f = fixture_start(NULL);
    latentd_client *client = connect_to(f->address);
    latentd_request request = request_of("/test.Echo/Wrong", "QUEUE_FULL 20 it is full");
    latentd_error err = ask_badly(client, &request, LATENTD_INVALID_ARGUMENT);
    assert_string_equal(err.reason, "QUEUE_FULL");
    assert_int_equal(err.retry_after_ms, 20);
    /* Another failure's reason does not stay behind. */
    request = request_of("/test.Echo/Fail", "5 none");
    snprintf(err.reason, sizeof err.reason, "OLD");
    assert_int_equal(latentd_client_stream(client, &request, NULL, NULL, &err), -1);
    assert_string_equal(err.reason, "");
    latentd_client_close(client);
    fixture_stop(f);
}

static void a_deadline_ends_the_call_on_both_sides(void **state)
{
    struct fixture *f;
    (void)state;
    f = fixture_start(NULL);
    latentd_client *client = connect_to(f->address);
    latentd_request request = request_of("/test.Echo/Hang", "");
    request.timeout_ms = 30;
    latentd_error err = ask_badly(client, &request, LATENTD_DEADLINE_EXCEEDED);
    assert_string_not_equal(err.message, "");
    wait_until_zero("live calls", &f->echo.n_live);
    assert_int_equal(atomic_load(&f->echo.ends[RPC_END_DEADLINE]) +
                         atomic_load(&f->echo.ends[RPC_END_CANCELLED]),
                     1);
    free(ask(client, "/test.Echo/Unary", "still alive"));
    latentd_client_close(client);
    fixture_stop(f);
}

static void cancelling_in_a_message_ends_the_call_on_the_server(void **state)
{
    struct fixture *f;
    (void)state;
    f = fixture_start(NULL);
    latentd_client *client = connect_to(f->address);
    latentd_request request = request_of("/test.Echo/Stream", "1000000 1000");
    struct counting c = {.cancel_at = 10};
    latentd_error err = {0};
    assert_int_equal(latentd_client_stream(client, &request, count_message, &c, &err), -1);
    assert_int_equal(err.status, LATENTD_CANCELLED);
    assert_int_equal(c.n, 10);
    wait_for("cancelled calls", &f->echo.ends[RPC_END_CANCELLED], 1);
    free(ask(client, "/test.Echo/Unary", "still alive"));
    latentd_client_close(client);
    fixture_stop(f);
}

static void *cancel_when_started(void *arg)
{
    void **two = arg;
    struct fixture *f = two[0];
    wait_for("started calls", &f->echo.n_started, 1);
    latentd_client_cancel(two[1]);
    return NULL;
}

static void another_thread_can_cancel_a_blocking_call(void **state)
{
    struct fixture *f;
    (void)state;
    f = fixture_start(NULL);
    latentd_client *client = connect_to(f->address);
    void *two[] = {f, client};
    pthread_t thread;
    pthread_create(&thread, NULL, cancel_when_started, two);
    latentd_request request = request_of("/test.Echo/Hang", "");
    latentd_error err = ask_badly(client, &request, LATENTD_CANCELLED);
    assert_int_equal(err.from_server, 0);
    pthread_join(thread, NULL);
    wait_for("cancelled calls", &f->echo.ends[RPC_END_CANCELLED], 1);
    free(ask(client, "/test.Echo/Unary", "still alive"));
    latentd_client_close(client);
    fixture_stop(f);
}

static void closing_a_client_ends_its_calls_on_the_server(void **state)
{
    struct fixture *f;
    (void)state;
    f = fixture_start(NULL);
    latentd_client *client = connect_to(f->address);
    struct many m = {0};
    const latentd_call_events events = {NULL, NULL};
    latentd_request request = request_of("/test.Echo/Hang", "");
    for (int i = 0; i < 5; i++)
        assert_non_null(latentd_call_start(client, &request, &events, &m, NULL));
    /* The calls are on their way only after the loop ran: a call that ends makes it run. */
    free(ask(client, "/test.Echo/Unary", "run"));
    wait_for("started calls", &f->echo.n_started, 5);
    latentd_client_close(client);
    wait_until_zero("live calls", &f->echo.n_live);
    assert_int_equal(atomic_load(&f->echo.ends[RPC_END_CANCELLED]) +
                         atomic_load(&f->echo.ends[RPC_END_CONNECTION]),
                     5);
    fixture_stop(f);
}

static void *drain_when_started(void *arg)
{
    struct fixture *f = arg;
    wait_for("started calls", &f->echo.n_started, 1);
    fixture_drain(f, 20000);
    return NULL;
}

static int slow_message(void *arg, const uint8_t *data, size_t len)
{
    struct counting *c = arg;
    c->slow_until = 200;
    return count_message(arg, data, len);
}

static void drain_lets_a_stream_finish_and_refuses_new_calls(void **state)
{
    struct fixture *f;
    (void)state;
    f = fixture_start(NULL);
    latentd_client *client = connect_to(f->address);
    pthread_t thread;
    pthread_create(&thread, NULL, drain_when_started, f);
    latentd_request request = request_of("/test.Echo/Stream", "3000 20000");
    struct counting c = {0};
    latentd_error err = {0};
    if (latentd_client_stream(client, &request, slow_message, &c, &err) != 0)
        fail_msg("running stream: %s after %llu", err.message, (unsigned long long)c.n);
    assert_int_equal(c.n, 3000);
    pthread_join(thread, NULL);
    wait_for("finished streams", &f->echo.ends[RPC_END_FINISHED], 1);
    request = request_of("/test.Echo/Unary", "new");
    ask_badly(client, &request, LATENTD_UNAVAILABLE);
    latentd_client_close(client);
    fixture_stop(f);
}

static void drain_ends_what_outlives_the_grace_time(void **state)
{
    struct fixture *f;
    (void)state;
    f = fixture_start(NULL);
    latentd_client *client = connect_to(f->address);
    fixture_drain(f, 30);
    latentd_request request = request_of("/test.Echo/Beat", "x");
    latentd_error err = {0};
    request.timeout_ms = 0;
    /* Either the call was refused because the drain came first, or it was ended by it. */
    assert_int_equal(latentd_client_stream(client, &request, NULL, NULL, &err), -1);
    assert_int_equal(err.status, LATENTD_UNAVAILABLE);
    latentd_client_close(client);
    assert_int_equal(atomic_load(&f->echo.ends[RPC_END_STOPPED]), atomic_load(&f->echo.n_started));
    fixture_stop(f);
}

static void a_stopped_server_gives_unavailable_and_a_reason(void **state)
{
    struct fixture *f;
    (void)state;
    f = fixture_start(NULL);
    char address[128];
    strcpy(address, f->address);
    latentd_client *client = connect_to(address);
    free(ask(client, "/test.Echo/Unary", "x"));
    fixture_stop(f);
    latentd_request request = request_of("/test.Echo/Unary", "x");
    latentd_error err = ask_badly(client, &request, LATENTD_UNAVAILABLE);
    assert_non_null(strstr(err.message, "connection refused: is latentd running?"));
    latentd_client_close(client);
}

static void a_connection_over_the_limit_is_closed_and_others_go_on(void **state)
{
    struct fixture *f;
    (void)state;
    f = fixture_start(&(struct rpc_limits){.max_connections = 2});
    latentd_client *a = connect_to(f->address);
    latentd_client *b = connect_to(f->address);
    free(ask(a, "/test.Echo/Unary", "x"));
    free(ask(b, "/test.Echo/Unary", "x"));
    latentd_client *c = connect_to(f->address);
    latentd_request request = request_of("/test.Echo/Unary", "x");
    ask_badly(c, &request, LATENTD_UNAVAILABLE);
    free(ask(a, "/test.Echo/Unary", "x"));
    latentd_client_close(a);
    latentd_client_close(b);
    latentd_client_close(c);
    fixture_stop(f);
}

static void an_idle_connection_is_closed_and_the_next_call_connects_again(void **state)
{
    struct fixture *f;
    (void)state;
    f = fixture_start(&(struct rpc_limits){.idle_ms = 20, .linger_ms = 20});
    latentd_client *client = connect_to(f->address);
    for (int i = 0; i < 3; i++) {
        free(ask(client, "/test.Echo/Unary", "x"));
        usleep(60000); /* longer than idle_ms: the server's timer is what is looked at */
    }
    latentd_client_close(client);
    fixture_stop(f);
}

static void a_peer_that_hears_nothing_is_pinged_and_kept(void **state)
{
    struct fixture *f;
    (void)state;
    f = fixture_start(&(struct rpc_limits){.keepalive_ms = 10, .keepalive_wait_ms = 5000});
    latentd_client *client = connect_to(f->address);
    char *text = ask(client, "/test.Echo/Sleep", "150");
    assert_string_equal(text, "slept");
    free(text);
    latentd_client_close(client);
    fixture_stop(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_unary_call_brings_back_what_was_sent),
        cmocka_unit_test(a_server_tells_its_caller_s_name_and_deadline),
        cmocka_unit_test(a_caller_is_known_by_its_host_alone),
        cmocka_unit_test(a_long_stream_to_a_slow_reader_stays_within_its_queue),
        cmocka_unit_test(a_stream_of_nothing_is_ok),
        cmocka_unit_test(a_sender_that_does_not_ask_is_refused_and_bounded),
        cmocka_unit_test(three_hundred_calls_run_at_once),
        cmocka_unit_test(callbacks_keep_a_window_of_calls_full),
        cmocka_unit_test(an_unknown_method_is_unimplemented),
        cmocka_unit_test(a_message_over_the_limit_is_refused_on_either_side),
        cmocka_unit_test(every_status_and_any_message_comes_through),
        cmocka_unit_test(a_failure_can_say_when_to_try_again),
        cmocka_unit_test(a_failure_tells_which_one_it_is),
        cmocka_unit_test(a_deadline_ends_the_call_on_both_sides),
        cmocka_unit_test(cancelling_in_a_message_ends_the_call_on_the_server),
        cmocka_unit_test(another_thread_can_cancel_a_blocking_call),
        cmocka_unit_test(closing_a_client_ends_its_calls_on_the_server),
        cmocka_unit_test(drain_lets_a_stream_finish_and_refuses_new_calls),
        cmocka_unit_test(drain_ends_what_outlives_the_grace_time),
        cmocka_unit_test(a_stopped_server_gives_unavailable_and_a_reason),
        cmocka_unit_test(a_connection_over_the_limit_is_closed_and_others_go_on),
        cmocka_unit_test(an_idle_connection_is_closed_and_the_next_call_connects_again),
        cmocka_unit_test(a_peer_that_hears_nothing_is_pinged_and_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
