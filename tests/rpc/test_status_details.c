/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/rpc/test_status_details.c - the trailer that says when to try again, byte by byte.
 *
 * The golden value was put together by hand from google.rpc.Status and RetryInfo; that stock gRPC
 * reads ours is in test_grpcio.py.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "rpc/status_details.h"

/*
 * 08 08                        code 8
 * 12 04 "full"                 message
 * 1a 36                        details[0]: 54 octets
 *    0a 28 "type.goo…RetryInfo"   type_url
 *    12 0a                        value
 *       0a 08                        retry_delay
 *          08 02 10 80 ca b5 ee 01      2 s and 500,000,000 ns
 */
static const uint8_t golden[] = {
    0x08, 0x08, 0x12, 0x04, 'f',  'u',  'l',  'l',  0x1a, 0x36, 0x0a, 0x28, 't',  'y',  'p',  'e',
    '.',  'g',  'o',  'o',  'g',  'l',  'e',  'a',  'p',  'i',  's',  '.',  'c',  'o',  'm',  '/',
    'g',  'o',  'o',  'g',  'l',  'e',  '.',  'r',  'p',  'c',  '.',  'R',  'e',  't',  'r',  'y',
    'I',  'n',  'f',  'o',  0x12, 0x0a, 0x0a, 0x08, 0x08, 0x02, 0x10, 0x80, 0xca, 0xb5, 0xee, 0x01};

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/* Base64 by its definition: groups of 24 bits; `padded` adds '='. */
static size_t encode64(const uint8_t *in, size_t len, char *out, int padded)
{
    size_t n = 0;
    for (size_t i = 0; i < len; i += 3) {
        size_t have = len - i < 3 ? len - i : 3;
        uint32_t group = (uint32_t)in[i] << 16;
        if (have > 1)
            group |= (uint32_t)in[i + 1] << 8;
        if (have > 2)
            group |= in[i + 2];
        for (size_t d = 0; d < 4; d++)
            if (d <= have)
                out[n++] = digits[group >> (18 - 6 * d) & 63];
            else if (padded)
                out[n++] = '=';
    }
    return n;
}

static uint32_t read_ms(const uint8_t *message, size_t len)
{
    char text[400];
    size_t n = encode64(message, len, text, 0);
    uint32_t ms = rpc_status_details_retry_ms((const uint8_t *)text, n);
    n = encode64(message, len, text, 1);
    assert_int_equal(rpc_status_details_retry_ms((const uint8_t *)text, n), ms);
    return ms;
}

static void the_bytes_are_those_of_google_rpc(void **state)
{
    (void)state;
    char expected[200];
    size_t expected_len = encode64(golden, sizeof golden, expected, 0);
    char *text;
    struct ltd_err full = {.code = LTD_E_EXHAUSTED, .msg = "full", .retry_after_ms = 2500};
    size_t len = rpc_status_details_encode(&full, &text);
    assert_non_null(text);
    assert_int_equal(len, expected_len);
    assert_memory_equal(text, expected, len);
    free(text);
    assert_int_equal(read_ms(golden, sizeof golden), 2500);
}

static void every_delay_comes_back(void **state)
{
    (void)state;
    static const uint32_t delays[] = {1, 2, 999, 1000, 1001, 60000, 4294966999u, UINT32_MAX};
    /* Messages of every length modulo three, so that base64 ends in each of its ways. */
    static const char *const messages[] = {"", "a", "ab", "abc", "the queue is full"};
    for (size_t i = 0; i < sizeof delays / sizeof *delays; i++)
        for (size_t m = 0; m < sizeof messages / sizeof *messages; m++) {
            char *text;
            struct ltd_err err = {.code = LTD_E_UNAVAILABLE, .retry_after_ms = delays[i]};
            strcpy(err.msg, messages[m]);
            size_t len = rpc_status_details_encode(&err, &text);
            assert_non_null(text);
            assert_null(memchr(text, '=', len));
            assert_int_equal(rpc_status_details_retry_ms((const uint8_t *)text, len), delays[i]);
            free(text);
        }
}

/* The last octets of `golden` are the Duration; it is replaced and the three lengths follow. */
static uint32_t read_duration(const uint8_t *duration, size_t len)
{
    uint8_t message[128];
    const size_t head = sizeof golden - 8;
    memcpy(message, golden, head);
    memcpy(message + head, duration, len);
    message[9] = (uint8_t)(golden[9] - 8 + len);
    message[head - 3] = (uint8_t)(len + 2);
    message[head - 1] = (uint8_t)len;
    return read_ms(message, head + len);
}

#define DURATION(...)                                                                              \
    read_duration((const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

static void delays_of_others_are_rounded_up_and_bounded(void **state)
{
    (void)state;
    assert_int_equal(DURATION(0x08, 0x03), 3000);
    assert_int_equal(DURATION(0x10, 0x01), 1);             /* a nanosecond */
    assert_int_equal(DURATION(0x10, 0xc1, 0x84, 0x3d), 2); /* 1,000,001 ns */
    assert_int_equal(DURATION(0x08, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01), UINT32_MAX);
    assert_int_equal(DURATION(0x10, 0x80, 0x94, 0xeb, 0xdc, 0x03), 0); /* 10^9 ns is no nanos */
    assert_int_equal(DURATION(0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01), 0);
    assert_int_equal(DURATION(0x10, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01), 0);
}

static void a_detail_of_another_type_is_no_hint(void **state)
{
    (void)state;
    uint8_t message[sizeof golden];
    memcpy(message, golden, sizeof golden);
    message[51] = 'x';
    assert_int_equal(read_ms(message, sizeof message), 0);
    assert_int_equal(read_ms(golden, 8), 0); /* code and message alone */
}

static void a_reason_comes_back_beside_the_delay(void **state)
{
    (void)state;
    char *text, reason[RPC_REASON_BYTES] = "?";
    struct ltd_err err = {0};
    ltd_fail(&err, LTD_E_EXHAUSTED, "full");
    size_t len = rpc_status_details_encode(&err, &text);
    assert_int_equal(len, 0);
    assert_null(text); /* nothing that status and message do not say */
    ltd_err_reason(&err, "QUEUE_FULL");
    ltd_err_retry_after(&err, 70);
    len = rpc_status_details_encode(&err, &text);
    assert_true(rpc_status_details_reason((const uint8_t *)text, len, reason));
    assert_string_equal(reason, "QUEUE_FULL");
    assert_int_equal(rpc_status_details_retry_ms((const uint8_t *)text, len), 70);
    for (size_t cut = 0; cut < len; cut++)
        if (rpc_status_details_reason((const uint8_t *)text, cut, reason))
            assert_string_equal(reason, "QUEUE_FULL");
    free(text);
}

static void a_reason_of_another_form_or_domain_is_none(void **state)
{
    (void)state;
    /* code 8, one Any with ErrorInfo{reason, domain}, of which one letter each is replaced. */
    static const char good[] = "\x08\x08\x1a\x3f\x0a\x28type.googleapis.com/google.rpc.ErrorInfo"
                               "\x12\x13\x0a\x08REASON_1\x12\x07latentd";
    char bytes[sizeof good - 1], text[200], reason[RPC_REASON_BYTES];
    static const struct {
        size_t from_end;
        char letter;
        bool ok;
    } cases[] = {{1, 'd', true},  {1, 'x', false},  {7, 'L', false},
                 {17, 'R', true}, {17, '1', false}, {17, '_', false},
                 {10, '2', true}, {10, 'a', false}, {10, '\0', false}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        memcpy(bytes, good, sizeof bytes);
        bytes[sizeof bytes - cases[i].from_end] = cases[i].letter;
        size_t n = encode64((const uint8_t *)bytes, sizeof bytes, text, 0);
        bool ok = rpc_status_details_reason((const uint8_t *)text, n, reason);
        if (ok != cases[i].ok)
            fail_msg("'%c' at %zu from the end: %s", cases[i].letter, cases[i].from_end,
                     ok ? "read" : "not read");
        assert_int_equal(reason[0] != '\0', ok);
    }
}

static void a_field_s_path_ends_at_its_colon(void **state)
{
    (void)state;
    static const struct {
        const char *message;
        size_t len;
    } cases[] = {{"prompt: absent", 6},
                 {"spec.depth.at[3].steps: found 0", 22},
                 {"top_k2: found", 6},
                 {"a[0][1]: twice", 0},
                 {"a[]: nothing", 0},
                 {"a[1: open", 0},
                 {"a.: empty", 0},
                 {".a: empty", 0},
                 {"", 0},
                 {"a", 0},
                 {"a:", 0},
                 {"a:b", 0},
                 {"_a: b", 0},
                 {"Spec: b", 0},
                 {"jobs/7: gone", 0},
                 {"no such thing: b", 0}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (rpc_status_details_field(cases[i].message) != cases[i].len)
            fail_msg("'%s': %zu, expected %zu", cases[i].message,
                     rpc_status_details_field(cases[i].message), cases[i].len);
}

static void a_bad_field_is_named_only_for_a_bad_request(void **state)
{
    (void)state;
    char *text;
    struct ltd_err err = {0};
    ltd_fail(&err, LTD_E_INVALID, "a.b: found 1");
    size_t len = rpc_status_details_encode(&err, &text);
    assert_true(len > 0);
    free(text);
    ltd_fail(&err, LTD_E_NOT_FOUND, "a.b: found 1");
    assert_int_equal(rpc_status_details_encode(&err, &text), 0);
    /* The longest message an error can have. */
    char large[LTD_ERR_MSG_BYTES + 100];
    memset(large, 'x', sizeof large - 1);
    memcpy(large, "a.b: ", 5);
    large[sizeof large - 1] = '\0';
    ltd_fail(&err, LTD_E_INVALID, "%s", large);
    len = rpc_status_details_encode(&err, &text);
    assert_true(len > 2 * LTD_ERR_MSG_BYTES);
    free(text);
}

static void broken_values_are_no_hint_and_harm_nothing(void **state)
{
    (void)state;
    static const char *const texts[] = {"",          "=",
                                        "==",        "A",
                                        "A===",      "AA==",
                                        "====",      "****",
                                        "CAgS BGZ1", "CAgSBGZ1bGwa\n",
                                        "/////////", "CAgSBGZ1bGwaNg"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        assert_int_equal(rpc_status_details_retry_ms((const uint8_t *)texts[i], strlen(texts[i])),
                         0);
    /* Every cut, and every octet replaced by a few others: whatever is read, memory is sound (the
     * sanitizers' build looks at that) and a whole message stays what it is. */
    for (size_t len = 0; len < sizeof golden; len++)
        assert_int_equal(read_ms(golden, len), 0);
    for (size_t at = 0; at < sizeof golden; at++)
        for (int by = 1; by < 256; by += 37) {
            uint8_t message[sizeof golden];
            memcpy(message, golden, sizeof golden);
            message[at] ^= (uint8_t)by;
            read_ms(message, sizeof message);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_bytes_are_those_of_google_rpc),
        cmocka_unit_test(every_delay_comes_back),
        cmocka_unit_test(delays_of_others_are_rounded_up_and_bounded),
        cmocka_unit_test(a_detail_of_another_type_is_no_hint),
        cmocka_unit_test(a_reason_comes_back_beside_the_delay),
        cmocka_unit_test(a_reason_of_another_form_or_domain_is_none),
        cmocka_unit_test(a_field_s_path_ends_at_its_colon),
        cmocka_unit_test(a_bad_field_is_named_only_for_a_bad_request),
        cmocka_unit_test(broken_values_are_no_hint_and_harm_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
