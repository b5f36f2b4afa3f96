/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/rpc/test_wire.c - what the server does with bytes no stock client sends.
 *
 * After every kind of misbehaviour a second, well-behaved client must be served: one connection's
 * trouble is its own.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "base/clock.h"
#include "fixture.h"
#include "raw_peer.h"
#include "rpc/client.h"

static struct fixture *f;

static void start(struct raw *raw, const struct rpc_limits *limits)
{
    f = fixture_start(limits);
    raw_connect(raw, f->address);
}

/* A second client is still served. */
static void stop(struct raw *raw)
{
    latentd_error err = {0};
    latentd_bytes answer;
    latentd_request request = {
        .path = "/test.Echo/Unary", .data = "ok", .len = 2, .timeout_ms = 10000};
    latentd_client *other = latentd_client_open(f->address, 5000, &err);
    if (!other || latentd_client_unary(other, &request, &answer, &err) != 0)
        fail_msg("a second client was not served: %s", err.message);
    latentd_bytes_free(&answer);
    latentd_client_close(other);
    raw_close(raw);
    fixture_stop(f);
}

static void expect_status(const struct raw_answer *a, int status)
{
    if (a->grpc_status != status || a->http_status != 200)
        fail_msg("HTTP %d, grpc-status %d (%s), reset %lld; expected grpc-status %d",
                 a->http_status, a->grpc_status, a->message, (long long)a->reset, status);
}

static void a_good_request_gets_headers_data_and_trailers(void **state)
{
    struct raw raw;
    struct raw_answer a;
    (void)state;
    start(&raw, NULL);
    raw_hello(&raw);
    raw_request(&raw, 1, "/test.Echo/Unary", NULL, NULL);
    raw_message(&raw, 1, 0, "hello", 5, RAW_END_STREAM);
    raw_read_answer(&raw, 1, &a);
    expect_status(&a, 0);
    assert_int_equal(a.n_headers, 2);
    assert_int_equal(a.n_data_bytes, 10);
    assert_memory_equal(a.data, "\0\0\0\0\5hello", 10);
    assert_string_equal(a.encodings, "identity,gzip,deflate");
    assert_int_equal(a.reset, -1);
    stop(&raw);
}

static void any_split_of_a_message_into_frames_is_the_same_message(void **state)
{
    struct raw raw;
    struct raw_answer a;
    const char framed[] = "\0\0\0\0\x06golden";
    const size_t len = sizeof framed - 1;
    uint32_t stream = 1;
    (void)state;
    start(&raw, NULL);
    raw_hello(&raw);
    for (size_t i = 0; i <= len; i++)
        for (size_t k = i; k <= len; k++, stream += 2) {
            raw_request(&raw, stream, "/test.Echo/Unary", NULL, NULL);
            raw_send_frame(&raw, NGHTTP2_DATA, 0, stream, framed, i);
            raw_send_frame(&raw, NGHTTP2_DATA, 0, stream, framed + i, k - i);
            raw_send_frame(&raw, NGHTTP2_DATA, RAW_END_STREAM, stream, framed + k, len - k);
            raw_read_answer(&raw, stream, &a);
            expect_status(&a, 0);
            assert_memory_equal(a.data, framed, len);
        }
    stop(&raw);
}

static void a_message_in_frames_of_one_octet_arrives(void **state)
{
    struct raw raw;
    struct raw_answer a;
    char text[700];
    (void)state;
    start(&raw, NULL);
    raw_hello(&raw);
    memset(text, 'a', sizeof text);
    memcpy(text, "\0\0\0\2\xb7", 5);
    raw_request(&raw, 1, "/test.Echo/Unary", NULL, NULL);
    for (size_t i = 0; i < sizeof text; i++)
        raw_send_frame(&raw, NGHTTP2_DATA, i + 1 == sizeof text, 1, text + i, 1);
    raw_read_answer(&raw, 1, &a);
    expect_status(&a, 0);
    assert_int_equal(a.n_data_bytes, sizeof text);
    assert_memory_equal(a.data, text, sizeof text);
    stop(&raw);
}

static void a_wrong_preface_closes_the_connection(void **state)
{
    static const char *const prefaces[] = {"POST / HTTP/1.1\r\nHost: x\r\n\r\n",
                                           "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 hello",
                                           "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n"};
    for (size_t i = 0; i < sizeof prefaces / sizeof *prefaces; i++) {
        struct raw raw;
        struct raw_answer a;
        (void)state;
        start(&raw, NULL);
        raw_send(&raw, prefaces[i], strlen(prefaces[i]));
        raw_send(&raw, "                        ", 24);
        raw_read_to_end(&raw, &a);
        assert_true(a.closed);
        stop(&raw);
    }
}

/* A request made of the usual fields, with one replaced (value NULL: left out). */
static void request_with(struct raw *raw, uint32_t stream, const char *name, const char *value)
{
    static const char *const fields[][2] = {
        {":method", "POST"},    {":scheme", "http"}, {":path", "/test.Echo/Unary"},
        {":authority", "test"}, {"te", "trailers"},  {"content-type", "application/grpc"}};
    struct ltd_bytes block = {0};
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        const char *v = strcmp(fields[i][0], name) == 0 ? value : fields[i][1];
        if (v)
            raw_field(&block, fields[i][0], v);
    }
    raw_send_frame(raw, NGHTTP2_HEADERS, RAW_END_HEADERS, stream, block.data, block.len);
    raw_message(raw, stream, 0, "x", 1, RAW_END_STREAM);
    ltd_bytes_fini(&block);
}

static void another_content_type_or_verb_gets_an_http_status_only(void **state)
{
    static const struct {
        const char *name, *value;
        int http;
    } rows[] = {{"content-type", "application/json", 415},
                {"content-type", "application/grpcfoo", 415},
                {"content-type", NULL, 415},
                {"content-type", "application/grpc+proto", 200},
                {"content-type", "application/grpc;charset=x", 200},
                {"content-type", "Application/gRPC", 200},
                {":method", "GET", 405},
                {":method", "PUT", 405},
                {"te", NULL, 200}};
    struct raw raw;
    struct raw_answer a;
    (void)state;
    start(&raw, NULL);
    raw_hello(&raw);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        request_with(&raw, (uint32_t)(2 * i + 1), rows[i].name, rows[i].value);
        raw_read_answer(&raw, (uint32_t)(2 * i + 1), &a);
        if (a.http_status != rows[i].http)
            fail_msg("%s '%s': HTTP %d, expected %d", rows[i].name,
                     rows[i].value ? rows[i].value : "(none)", a.http_status, rows[i].http);
        assert_int_equal(a.grpc_status, rows[i].http == 200 ? 0 : -1);
    }
    stop(&raw);
}

static void a_malformed_request_is_reset(void **state)
{
    struct raw raw;
    struct raw_answer a;
    (void)state;
    start(&raw, NULL);
    raw_hello(&raw);
    request_with(&raw, 1, "te", "gzip");
    raw_read_answer(&raw, 1, &a);
    assert_int_equal(a.reset, NGHTTP2_PROTOCOL_ERROR);
    request_with(&raw, 3, ":path", NULL);
    raw_read_answer(&raw, 3, &a);
    assert_int_equal(a.reset, NGHTTP2_PROTOCOL_ERROR);
    request_with(&raw, 5, "none", NULL);
    raw_read_answer(&raw, 5, &a);
    expect_status(&a, 0);
    stop(&raw);
}

static void an_unknown_path_is_answered_by_trailers_only(void **state)
{
    struct raw raw;
    struct raw_answer a;
    (void)state;
    start(&raw, NULL);
    raw_hello(&raw);
    raw_request(&raw, 1, "/test.Echo/unary", NULL, NULL);
    raw_read_answer(&raw, 1, &a);
    expect_status(&a, 12);
    assert_int_equal(a.n_headers, 1);
    /* The request was not ended: the slot is given back by a reset without error. */
    struct raw_frame *frame = malloc(sizeof *frame);
    do
        assert_true(raw_recv_frame(&raw, frame));
    while (frame->type != NGHTTP2_RST_STREAM);
    assert_int_equal(frame->stream, 1);
    assert_memory_equal(frame->payload, "\0\0\0\0", 4);
    free(frame);
    stop(&raw);
}

static void zero_or_two_messages_are_unimplemented(void **state)
{
    struct raw raw;
    struct raw_answer a;
    (void)state;
    start(&raw, NULL);
    raw_hello(&raw);
    raw_request(&raw, 1, "/test.Echo/Unary", NULL, NULL);
    raw_send_frame(&raw, NGHTTP2_DATA, RAW_END_STREAM, 1, NULL, 0);
    raw_read_answer(&raw, 1, &a);
    expect_status(&a, 12);
    raw_request(&raw, 3, "/test.Echo/Unary", NULL, NULL);
    raw_message(&raw, 3, 0, "one", 3, 0);
    raw_message(&raw, 3, 0, "two", 3, RAW_END_STREAM);
    raw_read_answer(&raw, 3, &a);
    expect_status(&a, 12);
    raw_request(&raw, 5, "/test.Echo/Unary", NULL, NULL);
    raw_send_frame(&raw, NGHTTP2_DATA, RAW_END_STREAM, 5, "\0\0\0\0\0\0\0\0\0\0", 10);
    raw_read_answer(&raw, 5, &a);
    expect_status(&a, 12);
    assert_int_equal(a.n_data_bytes, 0);
    stop(&raw);
}

static void a_compressed_message_is_refused_by_what_was_declared(void **state)
{
    struct raw raw;
    struct raw_answer a;
    (void)state;
    start(&raw, NULL);
    raw_hello(&raw);
    raw_request(&raw, 1, "/test.Echo/Unary", NULL, NULL);
    raw_message(&raw, 1, 1, "x", 1, RAW_END_STREAM);
    raw_read_answer(&raw, 1, &a);
    expect_status(&a, 13);
    raw_request(&raw, 3, "/test.Echo/Unary", "grpc-encoding", "snappy");
    raw_message(&raw, 3, 1, "x", 1, RAW_END_STREAM);
    raw_read_answer(&raw, 3, &a);
    expect_status(&a, 12);
    assert_string_equal(a.encodings, "identity,gzip,deflate");
    raw_request(&raw, 5, "/test.Echo/Unary", "grpc-encoding", "identity");
    raw_message(&raw, 5, 1, "x", 1, RAW_END_STREAM);
    raw_read_answer(&raw, 5, &a);
    expect_status(&a, 13);
    raw_request(&raw, 7, "/test.Echo/Unary", "grpc-encoding", "snappy");
    raw_message(&raw, 7, 0, "x", 1, RAW_END_STREAM);
    raw_read_answer(&raw, 7, &a);
    expect_status(&a, 0);
    raw_request(&raw, 9, "/test.Echo/Unary", NULL, NULL);
    raw_message(&raw, 9, 2, "x", 1, RAW_END_STREAM);
    raw_read_answer(&raw, 9, &a);
    expect_status(&a, 13);
    stop(&raw);
}

static void a_request_cut_inside_a_message_is_internal(void **state)
{
    struct raw raw;
    struct raw_answer a;
    const char framed[] = "\0\0\0\0\3abc";
    (void)state;
    start(&raw, NULL);
    raw_hello(&raw);
    for (uint32_t len = 1; len < sizeof framed - 1; len++) {
        raw_request(&raw, 2 * len - 1, "/test.Echo/Unary", NULL, NULL);
        raw_send_frame(&raw, NGHTTP2_DATA, RAW_END_STREAM, 2 * len - 1, framed, len);
        raw_read_answer(&raw, 2 * len - 1, &a);
        expect_status(&a, 13);
    }
    stop(&raw);
}

static void a_size_is_judged_from_the_prefix_alone(void **state)
{
    struct raw raw;
    struct raw_answer a;
    (void)state;
    start(&raw, NULL);
    raw_hello(&raw);
    raw_request(&raw, 1, "/test.Echo/Small", NULL, NULL);
    raw_send_frame(&raw, NGHTTP2_DATA, 0, 1, "\0\0\0\4\1", 5);
    raw_read_answer(&raw, 1, &a);
    expect_status(&a, 8);
    raw_request(&raw, 3, "/test.Echo/Small", NULL, NULL);
    raw_send_frame(&raw, NGHTTP2_DATA, 0, 3, "\0\xff\xff\xff\xff", 5);
    raw_read_answer(&raw, 3, &a);
    expect_status(&a, 8);
    stop(&raw);
}

static void a_timeout_that_cannot_be_read_is_internal(void **state)
{
    static const char *const bad[] = {"",    "5",   "S",   "123456789S", "1x",
                                      "-1S", "1 S", " 1S", "1.5S"};
    struct raw raw;
    struct raw_answer a;
    uint32_t stream = 1;
    (void)state;
    start(&raw, NULL);
    raw_hello(&raw);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++, stream += 2) {
        raw_request(&raw, stream, "/test.Echo/Unary", "grpc-timeout", bad[i]);
        raw_message(&raw, stream, 0, "x", 1, RAW_END_STREAM);
        raw_read_answer(&raw, stream, &a);
        /* Leading and trailing blanks are a malformed field already to HTTP/2. */
        if (a.reset != NGHTTP2_PROTOCOL_ERROR)
            expect_status(&a, 13);
    }
    raw_request(&raw, stream, "/test.Echo/Unary", "grpc-timeout", "1n");
    raw_message(&raw, stream, 0, "x", 1, RAW_END_STREAM);
    raw_read_answer(&raw, stream, &a);
    expect_status(&a, 4);
    raw_request(&raw, stream + 2, "/test.Echo/Unary", "grpc-timeout", "99999999H");
    raw_message(&raw, stream + 2, 0, "x", 1, RAW_END_STREAM);
    raw_read_answer(&raw, stream + 2, &a);
    expect_status(&a, 0);
    stop(&raw);
}

static void the_server_s_own_timer_ends_a_call_whose_peer_does_not(void **state)
{
    struct raw raw;
    struct raw_answer a;
    (void)state;
    start(&raw, NULL);
    raw_hello(&raw);
    raw_request(&raw, 1, "/test.Echo/Hang", "grpc-timeout", "20m");
    raw_message(&raw, 1, 0, "", 0, RAW_END_STREAM);
    raw_read_answer(&raw, 1, &a);
    expect_status(&a, 4);
    assert_int_equal(a.n_headers, 1);
    assert_int_equal(atomic_load(&f->echo.ends[RPC_END_DEADLINE]), 1);
    /* After a message the status comes in trailers. */
    raw_request(&raw, 3, "/test.Echo/Beat", "grpc-timeout", "20m");
    raw_message(&raw, 3, 0, "tick", 4, RAW_END_STREAM);
    raw_read_answer(&raw, 3, &a);
    expect_status(&a, 4);
    assert_int_equal(a.n_headers, 2);
    assert_int_equal(a.n_data_bytes, 9);
    /* And while the request has not come to its end. */
    raw_request(&raw, 5, "/test.Echo/Unary", "grpc-timeout", "20m");
    raw_read_answer(&raw, 5, &a);
    expect_status(&a, 4);
    assert_int_equal(atomic_load(&f->echo.ends[RPC_END_DEADLINE]), 2);
    stop(&raw);
}

static void a_deadline_passes_while_the_reader_gives_no_window(void **state)
{
    struct raw raw;
    struct raw_answer a;
    (void)state;
    start(&raw, NULL);
    raw_hello(&raw);
    raw_request(&raw, 1, "/test.Echo/Stream", "grpc-timeout", "100m");
    raw_message(&raw, 1, 0, "1000 1000", 9, RAW_END_STREAM);
    raw_read_answer(&raw, 1, &a);
    assert_int_equal(a.reset, NGHTTP2_CANCEL);
    assert_int_equal(a.n_data_bytes, 65535);
    assert_int_equal(atomic_load(&f->echo.ends[RPC_END_DEADLINE]), 1);
    assert_in_range(atomic_load(&f->echo.max_queued), 1, RPC_CALL_QUEUE_BYTES + 1005);
    stop(&raw);
}

static void a_reader_that_takes_nothing_is_given_up(void **state)
{
    struct raw raw;
    struct raw_answer a;
    (void)state;
    start(&raw, &(struct rpc_limits){.write_stall_ms = 50});
    raw_hello(&raw);
    raw_request(&raw, 1, "/test.Echo/Stream", NULL, NULL);
    raw_message(&raw, 1, 0, "1000 1000", 9, RAW_END_STREAM);
    raw_read_answer(&raw, 1, &a);
    assert_int_equal(a.reset, NGHTTP2_ENHANCE_YOUR_CALM);
    assert_int_equal(atomic_load(&f->echo.ends[RPC_END_STALLED]), 1);
    stop(&raw);
}

static void a_reset_reaches_the_handler_in_the_same_turn(void **state)
{
    struct raw raw;
    struct raw_answer a;
    (void)state;
    start(&raw, NULL);
    raw_hello(&raw);
    raw_request(&raw, 1, "/test.Echo/Hang", NULL, NULL);
    raw_message(&raw, 1, 0, "", 0, RAW_END_STREAM);
    wait_for("started calls", &f->echo.n_started, 1);
    /* One write: the reset and a request for the counters, so one read of the server. */
    struct ltd_bytes both = {0};
    struct ltd_bytes block = {0};
    ltd_bytes_put(&both, "\0\0\4\3\0\0\0\0\1\0\0\0\x08", 13);
    raw_request_fields(&block, "/test.Echo/Ends");
    const uint8_t head[9] = {0, 0, (uint8_t)block.len, 1, RAW_END_HEADERS, 0, 0, 0, 3};
    ltd_bytes_put(&both, head, 9);
    ltd_bytes_put(&both, block.data, block.len);
    ltd_bytes_put(&both, "\0\0\5\0\1\0\0\0\3\0\0\0\0\0", 14);
    raw_send(&raw, both.data, both.len);
    raw_read_answer(&raw, 3, &a);
    expect_status(&a, 0);
    a.data[a.n_data_bytes] = '\0';
    assert_non_null(strstr((char *)a.data + 5, "cancelled=1"));
    ltd_bytes_fini(&both);
    ltd_bytes_fini(&block);
    stop(&raw);
}

static void a_lost_connection_ends_its_calls(void **state)
{
    struct raw raw;
    (void)state;
    start(&raw, NULL);
    raw_hello(&raw);
    for (uint32_t stream = 1; stream < 20; stream += 2) {
        raw_request(&raw, stream, "/test.Echo/Hang", NULL, NULL);
        raw_message(&raw, stream, 0, "", 0, RAW_END_STREAM);
    }
    wait_for("started calls", &f->echo.n_started, 10);
    shutdown(raw.fd, SHUT_RDWR);
    wait_for("calls ended by the loss", &f->echo.ends[RPC_END_CONNECTION], 10);
    stop(&raw);
}

static void calls_over_the_stream_limit_are_refused_by_reset(void **state)
{
    struct raw raw;
    struct raw_answer a;
    (void)state;
    start(&raw, &(struct rpc_limits){.max_streams = 2});
    raw_hello(&raw);
    for (uint32_t stream = 1; stream <= 5; stream += 2) {
        raw_request(&raw, stream, "/test.Echo/Hang", NULL, NULL);
        raw_message(&raw, stream, 0, "", 0, RAW_END_STREAM);
    }
    raw_read_answer(&raw, 5, &a);
    assert_int_equal(a.reset, NGHTTP2_REFUSED_STREAM);
    wait_for("started calls", &f->echo.n_started, 2);
    /* A peer that has acknowledged the limit and breaks it has broken the protocol. */
    raw_send_frame(&raw, NGHTTP2_SETTINGS, RAW_ACK, 0, NULL, 0);
    raw_request(&raw, 7, "/test.Echo/Hang", NULL, NULL);
    raw_read_to_end(&raw, &a);
    assert_int_equal(a.goaway, NGHTTP2_PROTOCOL_ERROR);
    assert_int_equal(atomic_load(&f->echo.n_started), 2);
    stop(&raw);
}

static void headers_over_the_limit_are_refused_and_floods_are_cut(void **state)
{
    struct raw raw;
    struct raw_answer a;
    struct ltd_bytes block = {0};
    char value[4000];
    (void)state;
    start(&raw, NULL);
    raw_hello(&raw);
    memset(value, 'v', sizeof value);
    value[sizeof value - 1] = '\0';
    raw_request_fields(&block, "/test.Echo/Unary");
    for (int i = 0; i < 5; i++)
        raw_field(&block, "x-filler", value);
    assert_in_range(block.len, 16384, 32768);
    raw_send_frame(&raw, NGHTTP2_HEADERS, 0, 1, block.data, 16384);
    raw_send_frame(&raw, NGHTTP2_CONTINUATION, RAW_END_HEADERS, 1, block.data + 16384,
                   block.len - 16384);
    raw_message(&raw, 1, 0, "x", 1, RAW_END_STREAM);
    raw_read_answer(&raw, 1, &a);
    expect_status(&a, 8);
    ltd_bytes_fini(&block);

    /* One octet stands for an indexed field of 3 KiB: 16 KiB of them are 48 MiB of headers. */
    ltd_bytes_init(&block);
    raw_request_fields(&block, "/test.Echo/Unary");
    ltd_bytes_put_u8(&block, 0x40); /* literal with indexing */
    value[3000] = '\0';
    ltd_bytes_put_u8(&block, 1);
    ltd_bytes_put(&block, "x", 1);
    ltd_bytes_put(&block, "\x7f\xb9\x16", 3); /* 3000 = 127 + 57 + 22 * 128 */
    ltd_bytes_put(&block, value, 3000);
    while (block.len < 16000)
        ltd_bytes_put_u8(&block, 0x80 | 62);
    raw_send_frame(&raw, NGHTTP2_HEADERS, RAW_END_HEADERS, 3, block.data, block.len);
    raw_read_to_end(&raw, &a);
    assert_int_equal(a.goaway, NGHTTP2_ENHANCE_YOUR_CALM);
    ltd_bytes_fini(&block);
    stop(&raw);
}

static void a_continuation_flood_is_cut(void **state)
{
    struct raw raw;
    struct raw_answer a;
    struct ltd_bytes block = {0};
    (void)state;
    start(&raw, NULL);
    raw_hello(&raw);
    raw_request_fields(&block, "/test.Echo/Unary");
    raw_send_frame(&raw, NGHTTP2_HEADERS, 0, 1, block.data, block.len);
    for (int i = 0; i < 100000; i++)
        if (!raw_send_frame(&raw, NGHTTP2_CONTINUATION, 0, 1, NULL, 0))
            break;
    raw_read_to_end(&raw, &a);
    assert_true(a.closed);
    ltd_bytes_fini(&block);
    stop(&raw);
}

/* Send one frame 100,000 times; the server must say ENHANCE_YOUR_CALM and close. */
static void flood(uint8_t type, uint8_t flags, uint32_t stream, const void *payload, size_t len)
{
    struct raw raw;
    struct raw_answer a;
    start(&raw, NULL);
    raw_hello(&raw);
    raw_request(&raw, 1, "/test.Echo/Unary", NULL, NULL);
    int sent = 0;
    while (sent < 100000 && raw_send_frame(&raw, type, flags, stream, payload, len))
        sent++;
    raw_read_to_end(&raw, &a);
    /* A sender that does not read may lose the GOAWAY to the reset of its own making. */
    if (a.goaway != -1 && a.goaway != NGHTTP2_ENHANCE_YOUR_CALM)
        fail_msg("frame type %d: GOAWAY %lld", type, (long long)a.goaway);
    assert_true(a.closed);
    stop(&raw);
}

static void floods_of_useless_frames_are_cut(void **state)
{
    (void)state;
    flood(NGHTTP2_PING, 0, 0, "12345678", 8);
    flood(NGHTTP2_SETTINGS, 0, 0, NULL, 0);
    flood(NGHTTP2_PRIORITY, 0, 7, "\0\0\0\0\1", 5);
    flood(NGHTTP2_WINDOW_UPDATE, 0, 0, "\0\0\0\1", 4);
    flood(NGHTTP2_DATA, 0, 1, NULL, 0);
    flood(0x42, 0, 0, "unknown", 7);
}

static void a_flood_of_resets_is_cut_with_enhance_your_calm(void **state)
{
    struct raw raw;
    struct raw_answer a;
    struct ltd_bytes all = {0};
    struct ltd_bytes block = {0};
    (void)state;
    start(&raw, NULL);
    raw_hello(&raw);
    raw_request_fields(&block, "/test.Echo/Hang");
    for (uint32_t stream = 1; stream < 600; stream += 2) {
        const uint8_t head[9] = {0,
                                 0,
                                 (uint8_t)block.len,
                                 1,
                                 RAW_END_HEADERS,
                                 0,
                                 0,
                                 (uint8_t)(stream >> 8),
                                 (uint8_t)stream};
        const uint8_t reset[13] = {0, 0, 4, 3, 0, 0, 0, (uint8_t)(stream >> 8), (uint8_t)stream,
                                   0, 0, 0, 8};
        ltd_bytes_put(&all, head, sizeof head);
        ltd_bytes_put(&all, block.data, block.len);
        ltd_bytes_put(&all, reset, sizeof reset);
    }
    raw_send(&raw, all.data, all.len);
    raw_read_to_end(&raw, &a);
    assert_int_equal(a.goaway, NGHTTP2_ENHANCE_YOUR_CALM);
    assert_string_equal(a.goaway_text, "too_many_useless_frames");
    ltd_bytes_fini(&all);
    ltd_bytes_fini(&block);
    stop(&raw);
}

static void malformed_requests_in_a_row_are_cut(void **state)
{
    struct raw raw;
    struct raw_answer a;
    (void)state;
    start(&raw, NULL);
    raw_hello(&raw);
    for (uint32_t stream = 1; stream < 400; stream += 2)
        request_with(&raw, stream, "te", "gzip");
    raw_read_to_end(&raw, &a);
    assert_int_equal(a.goaway, NGHTTP2_ENHANCE_YOUR_CALM);
    stop(&raw);
}

static void a_silent_or_half_open_connection_is_closed_in_time(void **state)
{
    struct raw raw;
    struct raw_answer a;
    (void)state;
    const struct rpc_limits limits = {.handshake_ms = 30, .linger_ms = 20};
    start(&raw, &limits);
    raw_read_to_end(&raw, &a);
    stop(&raw);
    start(&raw, &limits);
    raw_send(&raw, NGHTTP2_CLIENT_MAGIC, 10);
    raw_read_to_end(&raw, &a);
    stop(&raw);
    start(&raw, &limits);
    raw_send(&raw, NGHTTP2_CLIENT_MAGIC, NGHTTP2_CLIENT_MAGIC_LEN);
    raw_read_to_end(&raw, &a);
    assert_int_equal(a.goaway, NGHTTP2_SETTINGS_TIMEOUT);
    stop(&raw);
}

static void a_request_that_does_not_end_is_ended(void **state)
{
    struct raw raw;
    struct raw_answer a;
    (void)state;
    const struct rpc_limits limits = {.request_ms = 30};
    start(&raw, &limits);
    raw_hello(&raw);
    raw_request(&raw, 1, "/test.Echo/Unary", NULL, NULL);
    raw_send_frame(&raw, NGHTTP2_DATA, 0, 1, "\0\0\0\0\5he", 7);
    raw_read_answer(&raw, 1, &a);
    expect_status(&a, 4);
    /* A header block that stays open blocks the whole connection, so that is what is closed. */
    struct ltd_bytes block = {0};
    raw_request_fields(&block, "/test.Echo/Unary");
    raw_send_frame(&raw, NGHTTP2_HEADERS, 0, 3, block.data, block.len);
    raw_read_to_end(&raw, &a);
    assert_int_equal(a.goaway, NGHTTP2_PROTOCOL_ERROR);
    ltd_bytes_fini(&block);
    stop(&raw);
}

static void unfinished_requests_share_one_input_budget(void **state)
{
    struct raw raw;
    struct raw_answer a;
    static uint8_t chunk[16384];
    (void)state;
    start(&raw, &(struct rpc_limits){.max_input_bytes = 100000});
    raw_hello(&raw);
    memcpy(chunk, "\0\0\7\0\0", 5);
    for (uint32_t stream = 1; stream < 20; stream += 2) {
        raw_request(&raw, stream, "/test.Echo/Unary", NULL, NULL);
        raw_send_frame(&raw, NGHTTP2_DATA, 0, stream, chunk, sizeof chunk);
    }
    raw_read_answer(&raw, 13, &a);
    expect_status(&a, 8);
    stop(&raw);
}

static void answers_over_the_output_budget_are_refused_and_the_others_arrive_whole(void **state)
{
    struct raw raw;
    size_t got[20] = {0};
    int n_whole = 0;
    (void)state;
    start(&raw, &(struct rpc_limits){.max_output_bytes = 300000});
    raw_hello(&raw);
    /* No window beyond the first 64 KiB: what is sent waits in the server. */
    for (uint32_t stream = 1; stream < 20; stream += 2) {
        raw_request(&raw, stream, "/test.Echo/Push", NULL, NULL);
        raw_message(&raw, stream, 0, "1 100000", 8, RAW_END_STREAM);
    }
    wait_for("started calls", &f->echo.n_started, 10);
    raw_send_frame(&raw, NGHTTP2_WINDOW_UPDATE, 0, 0, "\0\x10\0\0", 4);
    for (uint32_t stream = 1; stream < 20; stream += 2) {
        const uint8_t update[13] = {0, 0, 4, 8, 0, 0, 0, 0, (uint8_t)stream, 0, 0x10, 0, 0};
        raw_send(&raw, update, sizeof update);
    }
    /* Trailers of refused calls were sent before any of this: what ends now must be whole. */
    wait_for("finished calls", &f->echo.ends[RPC_END_FINISHED], 10);
    raw_send_frame(&raw, NGHTTP2_GOAWAY, 0, 0, "\0\0\0\0\0\0\0\0", 8);
    struct raw_frame *frame = malloc(sizeof *frame);
    while (raw_recv_frame(&raw, frame))
        if (frame->type == NGHTTP2_DATA)
            got[frame->stream % 20] += frame->len;
    for (int stream = 1; stream < 20; stream += 2) {
        if (got[stream] != 0 && got[stream] != 100005)
            fail_msg("stream %d: %zu bytes, expected none or 100005", stream, got[stream]);
        n_whole += got[stream] != 0;
    }
    assert_in_range(n_whole, 3, 4); /* 3 fill the budget, one more when 64 KiB had left by then */
    assert_int_equal(n_whole, 10 - atomic_load(&f->echo.n_refused));
    free(frame);
    stop(&raw);
}

static void a_peer_that_does_not_answer_a_ping_is_dropped(void **state)
{
    struct raw raw;
    struct raw_answer a;
    (void)state;
    start(&raw, &(struct rpc_limits){.keepalive_ms = 20, .keepalive_wait_ms = 20, .linger_ms = 20});
    raw_hello(&raw);
    raw_request(&raw, 1, "/test.Echo/Hang", NULL, NULL);
    raw_message(&raw, 1, 0, "", 0, RAW_END_STREAM);
    raw_read_to_end(&raw, &a);
    assert_string_equal(a.goaway_text, "ping_timeout");
    assert_int_equal(atomic_load(&f->echo.ends[RPC_END_CONNECTION]), 1);
    stop(&raw);
}

static void a_drain_announces_itself_twice(void **state)
{
    struct raw raw;
    struct raw_answer a;
    struct raw_frame *frame = malloc(sizeof *frame);
    (void)state;
    start(&raw, NULL);
    raw_hello(&raw);
    raw_request(&raw, 1, "/test.Echo/Hang", NULL, NULL);
    raw_message(&raw, 1, 0, "", 0, RAW_END_STREAM);
    wait_for("started calls", &f->echo.n_started, 1);
    fixture_drain(f, 200);
    do
        assert_true(raw_recv_frame(&raw, frame));
    while (frame->type != NGHTTP2_GOAWAY);
    assert_memory_equal(frame->payload, "\x7f\xff\xff\xff\0\0\0\0", 8);
    do
        assert_true(raw_recv_frame(&raw, frame));
    while (frame->type != NGHTTP2_PING);
    /* A call that crosses the notice is told to go elsewhere. */
    raw_request(&raw, 3, "/test.Echo/Unary", NULL, NULL);
    raw_message(&raw, 3, 0, "", 0, RAW_END_STREAM);
    raw_read_answer(&raw, 3, &a);
    expect_status(&a, 14);
    raw_send_frame(&raw, NGHTTP2_PING, RAW_ACK, 0, frame->payload, 8);
    do
        assert_true(raw_recv_frame(&raw, frame));
    while (frame->type != NGHTTP2_GOAWAY);
    assert_memory_equal(frame->payload, "\0\0\0\3\0\0\0\0", 8);
    raw_read_answer(&raw, 1, &a);
    expect_status(&a, 14);
    assert_int_equal(atomic_load(&f->echo.ends[RPC_END_STOPPED]), 1);
    raw_read_to_end(&raw, &a);
    free(frame);
    raw_close(&raw);
    fixture_stop(f);
}

static void random_bytes_after_the_preface_break_nothing(void **state)
{
    unsigned seed = 20240229;
    (void)state;
    struct raw raw;
    start(&raw, NULL);
    for (int round = 0; round < 300; round++) {
        struct raw one;
        uint8_t noise[600];
        raw_connect(&one, round % 2 ? f->address : f->unix_address);
        raw_hello(&one);
        raw_request(&one, 1, "/test.Echo/Unary", NULL, NULL);
        for (size_t i = 0; i < sizeof noise; i++)
            noise[i] = (uint8_t)(rand_r(&seed) >> 7);
        /* Heads that make sense more often than chance would: small lengths, known types. */
        for (size_t i = 0; i + 9 < sizeof noise; i += 9 + noise[i + 2]) {
            noise[i] = noise[i + 1] = 0;
            noise[i + 2] %= 40;
            noise[i + 3] %= 11;
            noise[i + 5] = noise[i + 6] = noise[i + 7] = 0;
            noise[i + 8] %= 8;
        }
        raw_send(&one, noise, sizeof noise);
        raw_close(&one);
    }
    stop(&raw);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_good_request_gets_headers_data_and_trailers),
        cmocka_unit_test(any_split_of_a_message_into_frames_is_the_same_message),
        cmocka_unit_test(a_message_in_frames_of_one_octet_arrives),
        cmocka_unit_test(a_wrong_preface_closes_the_connection),
        cmocka_unit_test(another_content_type_or_verb_gets_an_http_status_only),
        cmocka_unit_test(a_malformed_request_is_reset),
        cmocka_unit_test(an_unknown_path_is_answered_by_trailers_only),
        cmocka_unit_test(zero_or_two_messages_are_unimplemented),
        cmocka_unit_test(a_compressed_message_is_refused_by_what_was_declared),
        cmocka_unit_test(a_request_cut_inside_a_message_is_internal),
        cmocka_unit_test(a_size_is_judged_from_the_prefix_alone),
        cmocka_unit_test(a_timeout_that_cannot_be_read_is_internal),
        cmocka_unit_test(the_server_s_own_timer_ends_a_call_whose_peer_does_not),
        cmocka_unit_test(a_deadline_passes_while_the_reader_gives_no_window),
        cmocka_unit_test(a_reader_that_takes_nothing_is_given_up),
        cmocka_unit_test(a_reset_reaches_the_handler_in_the_same_turn),
        cmocka_unit_test(a_lost_connection_ends_its_calls),
        cmocka_unit_test(calls_over_the_stream_limit_are_refused_by_reset),
        cmocka_unit_test(headers_over_the_limit_are_refused_and_floods_are_cut),
        cmocka_unit_test(a_continuation_flood_is_cut),
        cmocka_unit_test(floods_of_useless_frames_are_cut),
        cmocka_unit_test(a_flood_of_resets_is_cut_with_enhance_your_calm),
        cmocka_unit_test(malformed_requests_in_a_row_are_cut),
        cmocka_unit_test(a_silent_or_half_open_connection_is_closed_in_time),
        cmocka_unit_test(a_request_that_does_not_end_is_ended),
        cmocka_unit_test(unfinished_requests_share_one_input_budget),
        cmocka_unit_test(answers_over_the_output_budget_are_refused_and_the_others_arrive_whole),
        cmocka_unit_test(a_peer_that_does_not_answer_a_ping_is_dropped),
        cmocka_unit_test(a_drain_announces_itself_twice),
        cmocka_unit_test(random_bytes_after_the_preface_break_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
