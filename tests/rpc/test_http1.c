/* SPDX-License-Identifier: Apache-2.0 */
/* tests/rpc/test_http1.c - which requests are read, which are refused, and how; without a socket. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "echo.h"
#include "rpc/conn.h"
#include "rpc/http1.h"

static struct rpc_shared shared;
static const struct rpc_peer peer = {.address = "192.0.2.1:9", .host = "192.0.2.1"};

static int set_up(void **state)
{
    (void)state;
    shared.pages = echo_pages;
    shared.n_pages = ECHO_N_PAGES;
    return 0;
}

/* The whole answer to `text`, given in pieces of `piece` octets. */
static enum rpc_http1_next ask(const char *text, size_t len, size_t piece, char *out, size_t size)
{
    struct rpc_http1 http1;
    struct ltd_bytes answer;
    enum rpc_http1_next next = RPC_HTTP1_MORE;
    rpc_http1_init(&http1);
    ltd_bytes_init(&answer);
    for (size_t at = 0; at < len && next == RPC_HTTP1_MORE; at += piece) {
        size_t n = len - at < piece ? len - at : piece;
        assert_true(rpc_http1_put(&http1, text + at, n));
        next = rpc_http1_next(&http1, &shared, &peer, &answer);
    }
    snprintf(out, size, "%.*s", (int)answer.len, (const char *)answer.data);
    ltd_bytes_fini(&answer);
    rpc_http1_fini(&http1);
    return next;
}

static void expect_text(const char *answer, const char *text)
{
    if (!strstr(answer, text))
        fail_msg("no '%s' in the answer:\n%s", text, answer);
}

static void a_request_is_the_same_in_whatever_pieces_it_comes(void **state)
{
    static const char request[] = "GET /plain?x=y HTTP/1.1\r\nHost: here\r\nAccept: */*\r\n\r\n";
    char out[1000];
    (void)state;
    for (size_t piece = 1; piece <= sizeof request; piece++) {
        assert_int_equal(ask(request, sizeof request - 1, piece, out, sizeof out),
                         RPC_HTTP1_ANSWERED);
        assert_memory_equal(out, "HTTP/1.1 200 OK\r\nDate: ", 23);
        expect_text(out, "\r\nContent-Type: text/plain; charset=utf-8\r\n");
        expect_text(out, "\r\nContent-Length: 6\r\n");
        expect_text(out, "\r\nConnection: keep-alive\r\n\r\nplain\n");
    }
}

static void head_has_the_length_and_not_the_body(void **state)
{
    static const char request[] = "HEAD /big HTTP/1.1\r\nHost: here\r\n\r\n";
    char out[1000];
    (void)state;
    assert_int_equal(ask(request, sizeof request - 1, 1000, out, sizeof out), RPC_HTTP1_ANSWERED);
    expect_text(out, "\r\nContent-Length: 4194304\r\n");
    assert_string_equal(out + strlen(out) - 4, "\r\n\r\n");
    assert_null(strstr(out, "bbbb"));
}

/* Each row: a request, the status line's number, and whether the connection goes on. */
static void each_kind_of_request_gets_its_status(void **state)
{
    static const struct {
        const char *text;
        int status;
        bool goes_on;
    } rows[] = {
        {"GET /plain HTTP/1.1\r\nHost: x\r\n\r\n", 200, true},
        {"GET /plain HTTP/1.1\r\nhOST:x\r\n\r\n", 200, true},
        {"GET /plain HTTP/1.1\r\nHost:\r\n\r\n", 200, true},
        {"GET /plain HTTP/1.0\r\n\r\n", 200, false},
        {"GET /plain HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", 200, true},
        {"GET /plain HTTP/1.1\r\nHost: x\r\nConnection: Close\r\n\r\n", 200, false},
        {"GET /plain HTTP/1.1\r\nHost: x\r\nConnection: foo, close , bar\r\n\r\n", 200, false},
        {"GET /plain HTTP/1.1\r\nHost: x\r\nConnection: closed\r\n\r\n", 200, true},
        {"GET /plain HTTP/1.1\r\nHost: x\r\nConnection: close\r\nConnection: keep-alive\r\n\r\n",
         200, false},
        {"GET /plain HTTP/1.0\r\nConnection: close\r\nConnection: keep-alive\r\n\r\n", 200, false},
        {"GET /plain HTTP/1.1\r\nHost: x\r\nConnection: close, keep-alive\r\n\r\n", 200, false},
        {"GET /plain HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, close\r\n\r\n", 200, false},
        {"GET http://x:80/plain HTTP/1.1\r\nHost: x\r\n\r\n", 200, true},
        {"GET /plain HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", 200, true},
        {"GET /none HTTP/1.1\r\nHost: x\r\n\r\n", 404, true},
        {"POST /plain HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", 405, true},
        {"DELETE /plain HTTP/1.1\r\nHost: x\r\n\r\n", 405, true},
        {"POST /plain HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello", 400, false},
        {"GET /plain HTTP/1.1\r\nHost: x\r\nContent-Length: 00\r\n\r\n", 400, false},
        {"GET /plain HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", 400, false},
        {"GET /plain HTTP/1.1\r\n\r\n", 400, false},
        {"GET /plain HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400, false},
        {"GET /plain HTTP/1.1\r\nHost: x\r\nAuthorization: a\r\nAuthorization: b\r\n\r\n", 400,
         false},
        {"GET /plain HTTP/1.1\nHost: x\n\n", 400, false},
        {"GET /plain HTTP/1.1\r\nHost: x\n\r\n", 400, false},
        {"GET /plain HTTP/1.1\r\nHost : x\r\n\r\n", 400, false},
        {"GET /plain HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n", 400, false},
        {"GET /plain HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n", 400, false},
        {"GET /plain HTTP/1.1\r\nHost: x\r\n: y\r\n\r\n", 400, false},
        {"GET /plain HTTP/1.1\r\nHost: \x01\r\n\r\n", 400, false},
        {"GET /plain HTTP/1.1\r\nHost: a\rb\r\n\r\n", 400, false},
        {"GET  /plain HTTP/1.1\r\nHost: x\r\n\r\n", 400, false},
        {"GET /pl ain HTTP/1.1\r\nHost: x\r\n\r\n", 400, false},
        {"GET plain HTTP/1.1\r\nHost: x\r\n\r\n", 400, false},
        {"GET http://x HTTP/1.1\r\nHost: x\r\n\r\n", 400, false},
        {"GET /plain\r\n\r\n", 400, false},
        {"GET\r\n\r\n", 400, false},
        {"GET /plain HTTP/1.1 \r\nHost: x\r\n\r\n", 400, false},
        {"GET /plain http/1.1\r\nHost: x\r\n\r\n", 400, false},
        {"GET /plain HTTP/2.0\r\nHost: x\r\n\r\n", 505, false},
        {"GET /plain HTTP/1.2\r\nHost: x\r\n\r\n", 505, false},
        {"G(T /plain HTTP/1.1\r\nHost: x\r\n\r\n", 400, false},
        {"\r\n", 400, false},
    };
    char out[1000];
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        enum rpc_http1_next next = ask(rows[i].text, strlen(rows[i].text), 1000, out, sizeof out);
        int status = next == RPC_HTTP1_MORE ? 0 : atoi(out + strlen("HTTP/1.1 "));
        if (status != rows[i].status || (next == RPC_HTTP1_ANSWERED) != rows[i].goes_on)
            fail_msg("row %zu: status %d, goes on %d; expected %d, %d:\n%s", i, status,
                     next == RPC_HTTP1_ANSWERED, rows[i].status, rows[i].goes_on, rows[i].text);
        expect_text(out, rows[i].goes_on ? "\r\nConnection: keep-alive\r\n"
                                         : "\r\nConnection: close\r\n");
        assert_int_equal(strstr(out, "Allow: GET, HEAD") != NULL, status == 405);
    }
}

static void a_nul_in_a_request_is_refused(void **state)
{
    static const char request[] = "GET /plain HTTP/1.1\r\nHost: a\0b\r\n\r\n";
    char out[1000];
    (void)state;
    assert_int_equal(ask(request, sizeof request - 1, 1000, out, sizeof out), RPC_HTTP1_LAST);
    assert_memory_equal(out, "HTTP/1.1 400 ", 13);
}

static void a_head_over_eight_kibibytes_is_refused_and_one_of_eight_is_not(void **state)
{
    static char request[RPC_HTTP1_HEAD_BYTES + 100];
    char out[1000];
    (void)state;
    for (int over = 0; over < 2; over++) {
        size_t n = (size_t)sprintf(request, "GET /plain HTTP/1.1\r\nHost: ");
        while (n < RPC_HTTP1_HEAD_BYTES - 4 + (size_t)over)
            request[n++] = 'h';
        n += (size_t)sprintf(request + n, "\r\n\r\n");
        assert_int_equal(ask(request, n, 1000, out, sizeof out),
                         over ? RPC_HTTP1_LAST : RPC_HTTP1_ANSWERED);
        assert_memory_equal(out, over ? "HTTP/1.1 431 " : "HTTP/1.1 200 ", 13);
    }
}

static void requests_in_a_row_are_answered_in_their_order_and_not_without_bound(void **state)
{
    static const char request[] = "GET /plain HTTP/1.1\r\nHost: x\r\n\r\n";
    const size_t len = sizeof request - 1;
    struct rpc_http1 http1;
    struct ltd_bytes out;
    size_t n_put = 0, n_answered = 0;
    (void)state;
    rpc_http1_init(&http1);
    ltd_bytes_init(&out);
    while (rpc_http1_put(&http1, request, len))
        n_put++;
    assert_in_range(n_put, RPC_HTTP1_WAITING_BYTES / len - 1, RPC_HTTP1_WAITING_BYTES / len);
    while (rpc_http1_next(&http1, &shared, &peer, &out) == RPC_HTTP1_ANSWERED)
        n_answered++;
    assert_int_equal(n_answered, n_put);
    assert_true(rpc_http1_put(&http1, request, len));
    ltd_bytes_fini(&out);
    rpc_http1_fini(&http1);
}

static void a_connection_is_recognised_by_its_first_octets(void **state)
{
    (void)state;
    assert_int_equal(rpc_http1_recognise((const uint8_t *)"", 0), -1);
    assert_int_equal(rpc_http1_recognise((const uint8_t *)"G", 1), -1);
    assert_int_equal(rpc_http1_recognise((const uint8_t *)"GET", 3), -1);
    assert_int_equal(rpc_http1_recognise((const uint8_t *)"GET ", 4), 1);
    assert_int_equal(rpc_http1_recognise((const uint8_t *)"HEAD", 4), -1);
    assert_int_equal(rpc_http1_recognise((const uint8_t *)"HEAD ", 5), 1);
    assert_int_equal(rpc_http1_recognise((const uint8_t *)"P", 1), 0);
    assert_int_equal(rpc_http1_recognise((const uint8_t *)"GEX", 3), 0);
    assert_int_equal(rpc_http1_recognise((const uint8_t *)"HEADS", 5), 0);
    assert_int_equal(rpc_http1_recognise((const uint8_t *)"get ", 4), 0);
    assert_int_equal(rpc_http1_recognise((const uint8_t *)"POST ", 5), 0);
}

/* Whatever comes, it ends in an answer or in a wait, and never in a crash. */
static void changed_requests_break_nothing(void **state)
{
    static const char request[] = "GET http://x/plain HTTP/1.1\r\nHost: x\r\nConnection: a, "
                                  "close\r\nAuthorization: b\r\n\r\n";
    unsigned seed = 9112;
    char text[sizeof request], out[1000];
    (void)state;
    for (int round = 0; round < 20000; round++) {
        memcpy(text, request, sizeof text);
        for (int n = 1 + rand_r(&seed) % 3; n > 0; n--)
            text[(size_t)rand_r(&seed) % (sizeof text - 1)] = (char)(rand_r(&seed) >> 5);
        enum rpc_http1_next next =
            ask(text, sizeof text - 1, 1 + (size_t)rand_r(&seed) % 90, out, sizeof out);
        if (next != RPC_HTTP1_MORE)
            assert_memory_equal(out, "HTTP/1.1 ", 9);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_is_the_same_in_whatever_pieces_it_comes),
        cmocka_unit_test(head_has_the_length_and_not_the_body),
        cmocka_unit_test(each_kind_of_request_gets_its_status),
        cmocka_unit_test(a_nul_in_a_request_is_refused),
        cmocka_unit_test(a_head_over_eight_kibibytes_is_refused_and_one_of_eight_is_not),
        cmocka_unit_test(requests_in_a_row_are_answered_in_their_order_and_not_without_bound),
        cmocka_unit_test(a_connection_is_recognised_by_its_first_octets),
        cmocka_unit_test(changed_requests_break_nothing),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
