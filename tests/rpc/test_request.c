/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/rpc/test_request.c - streams of requests, metadata, who calls, plain pages: byte by byte.
 *
 * The peer is raw: a test says where a message is cut and when the client ends.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fixture.h"
#include "raw_peer.h"

static struct fixture *f;

/* Says hello and acknowledges the server's SETTINGS, whose stream window counts from then on. */
static void begin_with(struct raw *raw, const struct rpc_limits *limits)
{
    f = fixture_start(limits);
    raw_connect(raw, f->address);
    raw_hello(raw);
    raw_send_frame(raw, NGHTTP2_SETTINGS, RAW_ACK, 0, NULL, 0);
}

static void begin(struct raw *raw)
{
    begin_with(raw, NULL);
}

static void finish(struct raw *raw)
{
    raw_close(raw);
    fixture_stop(f);
}

static void expect_status(const struct raw_answer *a, int status)
{
    if (a->grpc_status != status || a->http_status != 200)
        fail_msg("HTTP %d, grpc-status %d (%s), reset %lld; expected grpc-status %d",
                 a->http_status, a->grpc_status, a->message, (long long)a->reset, status);
}

static void expect_field(const struct raw_answer *a, const char *line)
{
    if (!strstr(a->fields, line))
        fail_msg("no field '%s' in:\n%s", line, a->fields);
}

static void expect_data(const struct raw_answer *a, const char *text)
{
    if (a->n_data_bytes != 5 + strlen(text) || memcmp(a->data + 5, text, strlen(text)) != 0)
        fail_msg("%zu bytes '%.*s', expected '%s'", a->n_data_bytes,
                 (int)(a->n_data_bytes < 5 ? 0 : a->n_data_bytes - 5), a->data + 5, text);
}

/* ---- streams ---- */

static void any_cut_of_a_stream_gives_the_same_messages(void **state)
{
    /* "one", "", "three" */
    static const char framed[] = "\0\0\0\0\3one\0\0\0\0\0\0\0\0\0\5three";
    const size_t len = sizeof framed - 1;
    struct raw raw;
    struct raw_answer a;
    uint32_t stream = 1;
    (void)state;
    begin(&raw);
    for (size_t i = 0; i <= len; i++)
        for (size_t k = i; k <= len; k += 3, stream += 2) {
            raw_request(&raw, stream, "/test.Echo/Chat", NULL, NULL);
            raw_send_frame(&raw, NGHTTP2_DATA, 0, stream, framed, i);
            raw_send_frame(&raw, NGHTTP2_DATA, 0, stream, framed + i, k - i);
            raw_send_frame(&raw, NGHTTP2_DATA, RAW_END_STREAM, stream, framed + k, len - k);
            raw_read_answer(&raw, stream, &a);
            expect_status(&a, 0);
            assert_int_equal(a.n_data_bytes, len);
            assert_memory_equal(a.data, framed, len);
        }
    finish(&raw);
}

static void a_stream_without_a_message_is_a_stream(void **state)
{
    struct raw raw;
    struct raw_answer a;
    (void)state;
    begin(&raw);
    raw_request(&raw, 1, "/test.Echo/Collect", NULL, NULL);
    raw_send_frame(&raw, NGHTTP2_DATA, RAW_END_STREAM, 1, NULL, 0);
    raw_read_answer(&raw, 1, &a);
    expect_status(&a, 0);
    expect_data(&a, "0 messages, 0 bytes");
    finish(&raw);
}

static void a_stream_cut_inside_a_message_is_internal_and_its_handler_hears_it(void **state)
{
    struct raw raw;
    struct raw_answer a;
    (void)state;
    begin(&raw);
    for (size_t cut = 1; cut < 8; cut++) {
        uint32_t stream = (uint32_t)cut * 2 - 1;
        raw_request(&raw, stream, "/test.Echo/Collect", NULL, NULL);
        raw_message(&raw, stream, 0, "whole", 5, 0);
        raw_send_frame(&raw, NGHTTP2_DATA, RAW_END_STREAM, stream, "\0\0\0\0\3abc", cut);
        raw_read_answer(&raw, stream, &a);
        expect_status(&a, 13);
        assert_string_equal(a.message, "the request ended inside a message");
    }
    assert_int_equal(atomic_load(&f->echo.ends[RPC_END_REFUSED]), 7);
    assert_int_equal(atomic_load(&f->echo.n_messages), 7);
    finish(&raw);
}

static void a_message_of_a_stream_over_the_limit_is_refused_from_its_prefix(void **state)
{
    struct raw raw;
    struct raw_answer a;
    (void)state;
    begin(&raw);
    raw_request(&raw, 1, "/test.Echo/Collect", NULL, NULL);
    raw_message(&raw, 1, 0, "whole", 5, 0);
    raw_send_frame(&raw, NGHTTP2_DATA, 0, 1, "\0\0\x10\0\1", 5);
    raw_read_answer(&raw, 1, &a);
    expect_status(&a, 8);
    assert_int_equal(a.reset, -1);
    assert_int_equal(atomic_load(&f->echo.ends[RPC_END_REFUSED]), 1);
    finish(&raw);
}

static void a_handler_may_end_a_stream_that_its_client_has_not_ended(void **state)
{
    struct raw raw;
    struct raw_answer a;
    (void)state;
    begin(&raw);
    raw_request(&raw, 1, "/test.Echo/Chat", NULL, NULL);
    raw_message(&raw, 1, 0, "bye!", 4, 0);
    raw_message(&raw, 1, 0, "more", 4, 0);
    raw_read_answer(&raw, 1, &a);
    expect_status(&a, 10);
    assert_int_equal(a.n_data_bytes, 0);
    wait_for("finished calls", &f->echo.ends[RPC_END_FINISHED], 1);
    finish(&raw);
}

static void a_reset_ends_a_stream_of_requests(void **state)
{
    struct raw raw;
    (void)state;
    begin(&raw);
    raw_request(&raw, 1, "/test.Echo/Collect", NULL, NULL);
    raw_message(&raw, 1, 0, "whole", 5, 0);
    wait_for("messages taken", &f->echo.n_messages, 1);
    raw_send_frame(&raw, NGHTTP2_RST_STREAM, 0, 1, "\0\0\0\x8", 4);
    wait_for("cancelled calls", &f->echo.ends[RPC_END_CANCELLED], 1);
    finish(&raw);
}

/* ---- flow control ---- */

static void ask_turn(struct raw *raw, uint32_t stream)
{
    raw_request(raw, stream, "/test.Echo/Turn", NULL, NULL);
    raw_message(raw, stream, 0, "", 0, RAW_END_STREAM);
}

static void turn(struct raw *raw, uint32_t stream)
{
    struct raw_answer a;
    ask_turn(raw, stream);
    raw_read_answer(raw, stream, &a);
    expect_status(&a, 0);
    expect_data(&a, "turned");
}

static void a_handler_that_takes_nothing_gives_no_window_back(void **state)
{
    static uint8_t text[16000];
    struct raw raw;
    struct raw_answer a;
    (void)state;
    begin(&raw);
    raw_request(&raw, 1, "/test.Echo/Tap", NULL, NULL);
    for (int i = 0; i < 16; i++) /* 256,080 of 262,144 bytes */
        raw_message(&raw, 1, 0, text, sizeof text, 0);
    raw_request(&raw, 3, "/test.Echo/Unary", NULL, NULL);
    raw_message(&raw, 3, 0, "ok", 2, RAW_END_STREAM);
    raw_read_answer(&raw, 3, &a);
    expect_status(&a, 0); /* a stream that stalls does not stall the others */
    assert_int_equal(raw.window[1], 0);
    assert_int_equal(atomic_load(&f->echo.n_messages), 0);
    uint32_t stream = 5;
    for (int i = 1; i <= 16; i++, stream += 2) {
        turn(&raw, stream);
        wait_for("messages taken", &f->echo.n_messages, i);
        assert_int_equal(atomic_load(&f->echo.n_messages), i);
    }
    assert_in_range(raw.window[1], 16000, 16 * 16005);
    raw_send_frame(&raw, NGHTTP2_DATA, RAW_END_STREAM, 1, NULL, 0);
    ask_turn(&raw, stream); /* its answer may come behind that of the stream */
    raw_read_answer(&raw, 1, &a);
    expect_status(&a, 0);
    expect_data(&a, "16 messages, 256000 bytes");
    finish(&raw);
}

static void a_message_larger_than_the_window_arrives(void **state)
{
    static uint8_t block[16384];
    struct raw raw;
    struct raw_answer a;
    struct raw_frame *frame = malloc(sizeof *frame);
    uint64_t sent = 5;
    const uint64_t size = 1 << 20;
    (void)state;
    begin(&raw);
    raw_request(&raw, 1, "/test.Echo/Collect", NULL, NULL);
    raw_send_frame(&raw, NGHTTP2_DATA, 0, 1, "\0\0\x10\0\0", 5);
    while (sent < size + 5) {
        size_t n = size + 5 - sent < sizeof block ? size + 5 - sent : sizeof block;
        while (sent + n > 65535 + raw.window[1] + (256 * 1024 - 65535) ||
               sent + n > 65535 + raw.window[0]) {
            assert_true(raw_recv_frame(&raw, frame));
            if (frame->type == NGHTTP2_WINDOW_UPDATE)
                raw.window[frame->stream] += (uint32_t)frame->payload[1] << 16 |
                                             (uint32_t)frame->payload[2] << 8 | frame->payload[3];
        }
        raw_send_frame(&raw, NGHTTP2_DATA, sent + n == size + 5, 1, block, n);
        sent += n;
    }
    raw_read_answer(&raw, 1, &a);
    expect_status(&a, 0);
    expect_data(&a, "1 messages, 1048576 bytes");
    free(frame);
    finish(&raw);
}

static void the_backlog_of_a_stream_counts_as_unfinished_request(void **state)
{
    static uint8_t text[16000];
    struct raw raw;
    struct raw_answer a;
    (void)state;
    begin_with(&raw, &(struct rpc_limits){.max_input_bytes = 100000});
    raw_request(&raw, 1, "/test.Echo/Tap", NULL, NULL);
    for (int i = 0; i < 7; i++)
        raw_message(&raw, 1, 0, text, sizeof text, 0);
    raw_read_answer(&raw, 1, &a);
    expect_status(&a, 8);
    raw_request(&raw, 3, "/test.Echo/Unary", NULL, NULL);
    raw_message(&raw, 3, 0, text, sizeof text, RAW_END_STREAM);
    raw_read_answer(&raw, 3, &a);
    expect_status(&a, 0); /* what the refused one held is free again */
    finish(&raw);
}

/* ---- metadata ---- */

static void send_meta(struct raw *raw, uint32_t stream, const char *names[], const char *values[],
                      const char *request)
{
    struct ltd_bytes block = {0};
    raw_request_fields(&block, "/test.Echo/Meta");
    for (int i = 0; names[i]; i++)
        raw_field(&block, names[i], values[i]);
    raw_send_frame(raw, NGHTTP2_HEADERS, RAW_END_HEADERS, stream, block.data, block.len);
    ltd_bytes_fini(&block);
    raw_message(raw, stream, 0, request, (uint32_t)strlen(request), RAW_END_STREAM);
}

static void metadata_comes_back_as_headers_and_trailers(void **state)
{
    struct raw raw;
    struct raw_answer a;
    const char *names[] = {"x-echo", "x-echo-bin", "x-echo", "x-echo-bin", NULL};
    const char *values[] = {"one", "AAE=", "two", "/w"};
    (void)state;
    begin(&raw);
    send_meta(&raw, 1, names, values, "hello");
    raw_read_answer(&raw, 1, &a);
    expect_status(&a, 0);
    expect_data(&a, "hello");
    assert_int_equal(a.n_headers, 2);
    expect_field(&a, "x-header: one,two\n");
    expect_field(&a, "x-trailer: one,two\n");
    expect_field(&a, "x-header-bin: AAEs/w\n"); /* 00 01 ',' ff */
    expect_field(&a, "x-trailer-bin: AAEs/w\n");
    /* Headers stay headers when a status is all that follows them. */
    send_meta(&raw, 3, names, values, "");
    raw_read_answer(&raw, 3, &a);
    expect_status(&a, 5);
    assert_int_equal(a.n_headers, 2);
    assert_int_equal(a.n_data_bytes, 0);
    expect_field(&a, "x-header: one,two\n");
    finish(&raw);
}

static void metadata_that_is_no_base64_is_refused(void **state)
{
    struct raw raw;
    struct raw_answer a;
    const char *names[] = {"x-echo-bin", NULL};
    const char *values[] = {"A"};
    (void)state;
    begin(&raw);
    send_meta(&raw, 1, names, values, "hello");
    raw_read_answer(&raw, 1, &a);
    expect_status(&a, 13);
    finish(&raw);
}

static void metadata_that_does_not_fit_an_answer_fails_the_call(void **state)
{
    struct raw raw;
    struct raw_answer a;
    char large[5000];
    const char *names[] = {"x-echo", NULL};
    const char *values[] = {large};
    (void)state;
    memset(large, 'x', sizeof large - 1);
    large[sizeof large - 1] = '\0';
    begin(&raw);
    send_meta(&raw, 1, names, values, "hello");
    raw_read_answer(&raw, 1, &a);
    expect_status(&a, 8);
    finish(&raw);
}

/* ---- who calls ---- */

static int guard(void *arg, const struct rpc_question *question, struct rpc_identity *out,
                 struct ltd_err *err)
{
    atomic_int *n_asked = arg;
    atomic_fetch_add(n_asked, 1);
    assert_non_null(question->method);
    assert_int_equal(question->rights, question->method->rights);
    assert_true(question->peer->is_loopback);
    assert_false(question->peer->is_tls);
    assert_null(question->peer->certificate);
    assert_non_null(question->peer->host);
    if (question->method->rights == 0)
        return 0;
    if (!question->bearer)
        return ltd_fail(err, LTD_E_UNAUTHENTICATED, "a token is needed");
    if (question->bearer_len == 4 && memcmp(question->bearer, "good", 4) == 0) {
        strcpy(out->name, "alice");
        out->rights = 6;
        return 0;
    }
    return ltd_fail(err, LTD_E_PERMISSION, "not with this token");
}

static void ask_who(struct raw *raw, uint32_t stream, const char *authorization,
                    struct raw_answer *a)
{
    raw_request(raw, stream, "/test.Echo/Who", authorization ? "authorization" : NULL,
                authorization);
    raw_message(raw, stream, 0, "", 0, RAW_END_STREAM);
    raw_read_answer(raw, stream, a);
}

static void the_authorize_function_decides_and_names_the_caller(void **state)
{
    struct raw raw;
    struct raw_answer a;
    atomic_int n_asked = 0;
    (void)state;
    f = fixture_start_guarded(NULL, guard, &n_asked);
    raw_connect(&raw, f->address);
    raw_hello(&raw);
    ask_who(&raw, 1, "bearer good", &a);
    expect_status(&a, 0);
    expect_data(&a, "alice 6");
    ask_who(&raw, 3, NULL, &a);
    expect_status(&a, 16);
    assert_int_equal(a.n_headers, 1);
    assert_string_equal(a.message, "a token is needed");
    ask_who(&raw, 5, "Basic good", &a);
    expect_status(&a, 16);
    ask_who(&raw, 7, "Bearer bad", &a);
    expect_status(&a, 7);
    assert_int_equal(atomic_load(&n_asked), 4);
    raw_request(&raw, 9, "/test.Echo/None", NULL, NULL); /* nobody is asked about nothing */
    raw_read_answer(&raw, 9, &a);
    expect_status(&a, 12);
    assert_int_equal(atomic_load(&n_asked), 4);
    finish(&raw);
}

static void a_refusal_comes_before_the_body_and_a_token_counts_once(void **state)
{
    struct raw raw;
    struct raw_answer a;
    atomic_int n_asked = 0;
    struct ltd_bytes block = {0};
    (void)state;
    f = fixture_start_guarded(NULL, guard, &n_asked);
    raw_connect(&raw, f->address);
    raw_hello(&raw);
    raw_request(&raw, 1, "/test.Echo/Who", NULL, NULL);
    raw_read_answer(&raw, 1, &a); /* no byte of a body was sent */
    expect_status(&a, 16);
    raw_request_fields(&block, "/test.Echo/Who");
    raw_field(&block, "authorization", "Bearer good");
    raw_field(&block, "authorization", "Bearer good");
    raw_send_frame(&raw, NGHTTP2_HEADERS, RAW_END_HEADERS, 3, block.data, block.len);
    ltd_bytes_fini(&block);
    raw_read_answer(&raw, 3, &a);
    expect_status(&a, 16);
    assert_int_equal(atomic_load(&n_asked), 1);
    finish(&raw);
}

static void without_an_authorize_function_a_caller_is_nobody(void **state)
{
    struct raw raw;
    struct raw_answer a;
    (void)state;
    begin(&raw);
    ask_who(&raw, 1, "Bearer good", &a);
    expect_status(&a, 0);
    expect_data(&a, " 0");
    finish(&raw);
}

/* ---- pages ---- */

static void send_plain(struct raw *raw, uint32_t stream, const char *verb, const char *path,
                       const char *authorization, uint8_t flags)
{
    struct ltd_bytes block = {0};
    raw_field(&block, ":path", path);
    raw_field(&block, ":method", verb);
    raw_field(&block, ":scheme", "http");
    raw_field(&block, ":authority", "test");
    if (authorization)
        raw_field(&block, "authorization", authorization);
    raw_send_frame(raw, NGHTTP2_HEADERS, RAW_END_HEADERS | flags, stream, block.data, block.len);
    ltd_bytes_fini(&block);
}

static void a_plain_request_gets_a_page(void **state)
{
    static const struct {
        const char *verb, *path;
        int status;
        const char *body;
    } cases[] = {{"GET", "/plain", 200, "plain\n"},
                 {"GET", "/plain?x=1", 200, "plain\n"},
                 {"HEAD", "/plain", 200, ""},
                 {"GET", "/none", 404, "there is no such page\n"},
                 {"HEAD", "/none", 404, ""},
                 {"POST", "/plain", 405, "pages are read with GET or HEAD\n"},
                 {"PUT", "/plain", 405, "pages are read with GET or HEAD\n"},
                 {"PUT", "/none", 405, ""},
                 {"GET", "/test.Echo/Unary", 405, ""},
                 {"POST", "/none", 415, ""}};
    struct raw raw;
    struct raw_answer a;
    (void)state;
    begin(&raw);
    for (uint32_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        send_plain(&raw, 1 + 2 * i, cases[i].verb, cases[i].path, NULL, RAW_END_STREAM);
        raw_read_answer(&raw, 1 + 2 * i, &a);
        if (a.http_status != cases[i].status || a.n_data_bytes != strlen(cases[i].body) ||
            memcmp(a.data, cases[i].body, a.n_data_bytes) != 0)
            fail_msg("%s %s: HTTP %d, %zu bytes, expected %d '%s'", cases[i].verb, cases[i].path,
                     a.http_status, a.n_data_bytes, cases[i].status, cases[i].body);
        assert_int_equal(a.grpc_status, -1);
        assert_int_equal(a.reset, -1);
        if (a.http_status == 200)
            expect_field(&a, "content-length: 6\n");
    }
    /* A call that says it is one is answered as one, whatever its path. */
    raw_request(&raw, 101, "/plain", NULL, NULL);
    raw_read_answer(&raw, 101, &a);
    expect_status(&a, 12);
    finish(&raw);
}

static int guard_page(void *arg, const struct rpc_question *question, struct rpc_identity *out,
                      struct ltd_err *err)
{
    (void)arg;
    (void)out;
    assert_null(question->method);
    if (question->bearer && question->bearer_len == 4 && memcmp(question->bearer, "good", 4) == 0)
        return 0;
    return ltd_fail(err, LTD_E_UNAUTHENTICATED, "a token is needed");
}

static void a_token_counts_once_for_a_page_too(void **state)
{
    static const struct {
        const char *first, *second;
        int status;
    } cases[] = {{"Bearer good", NULL, 200},
                 {"Bearer bad", NULL, 401},
                 {NULL, NULL, 401},
                 {"Bearer good", "Bearer bad", 400},
                 {"Bearer good", "Bearer good", 400},
                 {"Bearer bad", "Bearer good", 400},
                 {"Basic x", "Bearer good", 400}};
    struct raw raw;
    struct raw_answer a;
    (void)state;
    f = fixture_start_guarded(NULL, guard_page, NULL);
    raw_connect(&raw, f->address);
    raw_hello(&raw);
    for (uint32_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ltd_bytes block = {0};
        raw_field(&block, ":path", "/secret");
        raw_field(&block, ":method", "GET");
        raw_field(&block, ":scheme", "http");
        raw_field(&block, ":authority", "test");
        if (cases[i].first)
            raw_field(&block, "authorization", cases[i].first);
        if (cases[i].second)
            raw_field(&block, "authorization", cases[i].second);
        raw_send_frame(&raw, NGHTTP2_HEADERS, RAW_END_HEADERS | RAW_END_STREAM, 2 * i + 1,
                       block.data, block.len);
        ltd_bytes_fini(&block);
        raw_read_answer(&raw, 2 * i + 1, &a);
        if (a.http_status != cases[i].status)
            fail_msg("case %u: HTTP %d, expected %d", i, a.http_status, cases[i].status);
    }
    finish(&raw);
}

static void a_page_waits_for_the_end_of_its_request_and_takes_no_body(void **state)
{
    static uint8_t text[16000];
    struct raw raw;
    struct raw_answer a;
    (void)state;
    begin(&raw);
    send_plain(&raw, 1, "GET", "/plain", NULL, 0);
    for (int i = 0; i < 12; i++)
        raw_send_frame(&raw, NGHTTP2_DATA, 0, 1, text, sizeof text);
    raw_request(&raw, 3, "/test.Echo/Unary", NULL, NULL);
    raw_message(&raw, 3, 0, "ok", 2, RAW_END_STREAM);
    raw_read_answer(&raw, 3, &a); /* and reads nothing of stream 1 in between */
    expect_status(&a, 0);
    assert_true(raw.window[1] > 0);
    raw_send_frame(&raw, NGHTTP2_DATA, RAW_END_STREAM, 1, text, 10);
    raw_read_answer(&raw, 1, &a);
    assert_int_equal(a.http_status, 200);
    assert_int_equal(a.n_data_bytes, 6);
    finish(&raw);
}

static void a_plain_request_that_does_not_end_gets_a_408(void **state)
{
    struct raw raw;
    struct raw_answer a;
    (void)state;
    begin_with(&raw, &(struct rpc_limits){.request_ms = 100});
    send_plain(&raw, 1, "GET", "/plain", NULL, 0);
    raw_read_answer(&raw, 1, &a);
    assert_int_equal(a.http_status, 408);
    assert_int_equal(a.grpc_status, -1);
    finish(&raw);
}

static void a_page_larger_than_the_window_comes_as_it_is_opened(void **state)
{
    struct raw raw;
    struct raw_answer a;
    (void)state;
    begin(&raw);
    raw_send_frame(&raw, NGHTTP2_WINDOW_UPDATE, 0, 0, "\x7f\0\0\0", 4);
    send_plain(&raw, 1, "GET", "/big", NULL, RAW_END_STREAM);
    raw_send_frame(&raw, NGHTTP2_WINDOW_UPDATE, 0, 1, "\x7f\0\0\0", 4);
    raw_read_answer(&raw, 1, &a);
    assert_int_equal(a.http_status, 200);
    assert_int_equal(a.n_data_bytes, ECHO_BIG_BYTES);
    assert_int_equal(a.data[0], 'b');
    finish(&raw);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_cut_of_a_stream_gives_the_same_messages),
        cmocka_unit_test(a_stream_without_a_message_is_a_stream),
        cmocka_unit_test(a_stream_cut_inside_a_message_is_internal_and_its_handler_hears_it),
        cmocka_unit_test(a_message_of_a_stream_over_the_limit_is_refused_from_its_prefix),
        cmocka_unit_test(a_handler_may_end_a_stream_that_its_client_has_not_ended),
        cmocka_unit_test(a_reset_ends_a_stream_of_requests),
        cmocka_unit_test(a_handler_that_takes_nothing_gives_no_window_back),
        cmocka_unit_test(a_message_larger_than_the_window_arrives),
        cmocka_unit_test(the_backlog_of_a_stream_counts_as_unfinished_request),
        cmocka_unit_test(metadata_comes_back_as_headers_and_trailers),
        cmocka_unit_test(metadata_that_is_no_base64_is_refused),
        cmocka_unit_test(metadata_that_does_not_fit_an_answer_fails_the_call),
        cmocka_unit_test(the_authorize_function_decides_and_names_the_caller),
        cmocka_unit_test(a_refusal_comes_before_the_body_and_a_token_counts_once),
        cmocka_unit_test(without_an_authorize_function_a_caller_is_nobody),
        cmocka_unit_test(a_plain_request_gets_a_page),
        cmocka_unit_test(a_token_counts_once_for_a_page_too),
        cmocka_unit_test(a_page_waits_for_the_end_of_its_request_and_takes_no_body),
        cmocka_unit_test(a_plain_request_that_does_not_end_gets_a_408),
        cmocka_unit_test(a_page_larger_than_the_window_comes_as_it_is_opened),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
