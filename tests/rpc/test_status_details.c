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
    size_t len = 0;
    char *text = rpc_status_details_encode(8, "full", 4, 2500, &len);
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
            size_t len = 0;
            char *text =
                rpc_status_details_encode(14, messages[m], strlen(messages[m]), delays[i], &len);
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
        cmocka_unit_test(broken_values_are_no_hint_and_harm_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
