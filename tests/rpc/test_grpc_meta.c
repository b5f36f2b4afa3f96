/* SPDX-License-Identifier: Apache-2.0 */
/* tests/rpc/test_grpc_meta.c - the small grammars of gRPC's headers, and the status tables. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <nghttp2/nghttp2.h>

#include "base/err.h"
#include "rpc/client.h"
#include "rpc/grpc_meta.h"
#include "rpc/status.h"

#define S 1000000000ull

static void timeouts_are_read_by_the_grammar(void **state)
{
    static const struct {
        const char *text;
        int rv;
        uint64_t ns;
    } rows[] = {
        {"1H", 0, 3600 * S},
        {"1M", 0, 60 * S},
        {"1S", 0, S},
        {"1m", 0, 1000000},
        {"1u", 0, 1000},
        {"1n", 0, 1},
        {"0n", 0, 0},
        {"00000012S", 0, 12 * S},
        {"99999999n", 0, 99999999},
        {"99999999S", 0, 99999999 * S},
        {"99999999H", 0, UINT64_MAX}, /* 3.6e20 ns: above 64 bits, so for ever */
        {"99999999M", 0, 99999999ull * 60 * S},
        {"", -1, 0},
        {"S", -1, 0},
        {"1", -1, 0},
        {"1s", -1, 0},
        {"1h", -1, 0},
        {"123456789S", -1, 0},
        {"+1S", -1, 0},
        {"-1S", -1, 0},
        {" 1S", -1, 0},
        {"1 S", -1, 0},
        {"1S ", -1, 0},
        {"1.0S", -1, 0},
        {"0x1S", -1, 0},
        {"1SS", -1, 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint64_t ns = 77;
        int rv = rpc_meta_timeout_parse((const uint8_t *)rows[i].text, strlen(rows[i].text), &ns);
        uint64_t expected = rows[i].rv == 0 ? rows[i].ns : 77;
        if (rv != rows[i].rv || ns != expected)
            fail_msg("'%s': %d, %llu ns; expected %d, %llu ns", rows[i].text, rv,
                     (unsigned long long)ns, rows[i].rv, (unsigned long long)expected);
    }
    uint64_t ns = 77;
    assert_int_equal(rpc_meta_timeout_parse((const uint8_t *)"1\0S", 3, &ns), -1);
}

static void a_timeout_that_was_written_is_never_shorter_when_read(void **state)
{
    const uint64_t values[] = {0,
                               1,
                               999,
                               1000,
                               99999999,
                               100000000,
                               100000001,
                               123456789012,
                               6000000000000ull,
                               UINT64_MAX / 1000000,
                               UINT64_MAX};
    (void)state;
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        char text[RPC_TIMEOUT_BYTES];
        uint64_t ns;
        size_t len = rpc_meta_timeout_format(values[i], text);
        assert_in_range(len, 2, 9);
        assert_int_equal(rpc_meta_timeout_parse((uint8_t *)text, len, &ns), 0);
        uint64_t want = values[i] > UINT64_MAX / 1000000 ? UINT64_MAX : values[i] * 1000000;
        if (ns < want)
            fail_msg("%llu ms became '%s'", (unsigned long long)values[i], text);
        if (values[i] <= 99999999)
            assert_int_equal(ns, want);
    }
}

static void messages_are_percent_encoded_and_decoded(void **state)
{
    static const struct {
        const char *plain, *coded;
    } rows[] = {
        {"", ""},
        {"plain text ~!", "plain text ~!"},
        {"100%", "100%25"},
        {"a\nb\tc\x7f", "a%0Ab%09c%7F"},
        {"\xe2\x98\xba", "%E2%98%BA"},
        {"%41", "%2541"},
        {"\x01\xff", "%01%FF"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char out[64];
        size_t len = strlen(rows[i].plain);
        size_t n = rpc_meta_percent_encode((const uint8_t *)rows[i].plain, len, out);
        assert_int_equal(n, strlen(rows[i].coded));
        assert_memory_equal(out, rows[i].coded, n);
        n = rpc_meta_percent_decode((uint8_t *)out, n, out);
        assert_int_equal(n, len);
        assert_memory_equal(out, rows[i].plain, n);
    }
}

static void a_message_that_was_not_encoded_stays_readable(void **state)
{
    static const char *const rows[][2] = {{"%", "%"},
                                          {"%4", "%4"},
                                          {"%4g", "%4g"},
                                          {"50% of", "50% of"},
                                          {"%e2%98%ba", "\xe2\x98\xba"},
                                          {"%%41", "%A"},
                                          {"\xc3\xa9", "\xc3\xa9"}};
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char out[32];
        size_t n = rpc_meta_percent_decode((const uint8_t *)rows[i][0], strlen(rows[i][0]), out);
        assert_int_equal(n, strlen(rows[i][1]));
        assert_memory_equal(out, rows[i][1], n);
    }
}

static void every_octet_survives_the_percent_code(void **state)
{
    uint8_t all[256];
    char coded[RPC_PERCENT_BYTES(256)];
    (void)state;
    for (int i = 0; i < 256; i++)
        all[i] = (uint8_t)i;
    size_t n = rpc_meta_percent_encode(all, 256, coded);
    for (size_t i = 0; i < n; i++)
        assert_in_range(coded[i], 0x20, 0x7e);
    n = rpc_meta_percent_decode((uint8_t *)coded, n, coded);
    assert_int_equal(n, 256);
    assert_memory_equal(coded, all, 256);
}

static void content_types_are_told_apart(void **state)
{
    static const char *const yes[] = {"application/grpc", "application/grpc+proto",
                                      "application/grpc;x=y", "APPLICATION/GRPC"};
    static const char *const no[] = {
        "",          "application/grp",  "application/grpcfoo", "application/grpc-web",
        "text/html", " application/grpc"};
    (void)state;
    for (size_t i = 0; i < sizeof yes / sizeof *yes; i++)
        assert_true(rpc_meta_is_grpc_content((const uint8_t *)yes[i], strlen(yes[i])));
    for (size_t i = 0; i < sizeof no / sizeof *no; i++)
        if (rpc_meta_is_grpc_content((const uint8_t *)no[i], strlen(no[i])))
            fail_msg("'%s' was taken for gRPC", no[i]);
}

static void a_status_is_up_to_three_digits(void **state)
{
    (void)state;
    assert_int_equal(rpc_meta_status_parse((const uint8_t *)"0", 1), 0);
    assert_int_equal(rpc_meta_status_parse((const uint8_t *)"16", 2), 16);
    assert_int_equal(rpc_meta_status_parse((const uint8_t *)"503", 3), 503);
    assert_int_equal(rpc_meta_status_parse((const uint8_t *)"", 0), -1);
    assert_int_equal(rpc_meta_status_parse((const uint8_t *)"1000", 4), -1);
    assert_int_equal(rpc_meta_status_parse((const uint8_t *)"-1", 2), -1);
    assert_int_equal(rpc_meta_status_parse((const uint8_t *)"1x", 2), -1);
}

static void every_status_has_its_own_name_and_codes_map_into_the_table(void **state)
{
    (void)state;
    for (int i = 0; i <= 16; i++) {
        assert_string_equal(rpc_status_name(i), latentd_status_name(i));
        for (int k = 0; k < i; k++)
            assert_string_not_equal(rpc_status_name(i), rpc_status_name(k));
    }
    assert_string_equal(rpc_status_name(RPC_UNAUTHENTICATED), "UNAUTHENTICATED");
    assert_int_equal(LATENTD_UNAUTHENTICATED, RPC_UNAUTHENTICATED);
    assert_string_equal(rpc_status_name(RPC_DATA_LOSS), "DATA_LOSS");
    assert_string_equal(rpc_status_name(-1), "UNKNOWN");
    assert_string_equal(rpc_status_name(17), "UNKNOWN");
    for (int code = 0; code < LTD_N_CODES; code++)
        assert_in_range(ltd_code_grpc((enum ltd_code)code), 0, 16);
}

static void foreign_numbers_become_statuses(void **state)
{
    static const struct {
        int http;
        enum rpc_status status;
    } https[] = {{400, RPC_INTERNAL},      {401, RPC_UNAUTHENTICATED}, {403, RPC_PERMISSION_DENIED},
                 {404, RPC_UNIMPLEMENTED}, {429, RPC_UNAVAILABLE},     {502, RPC_UNAVAILABLE},
                 {503, RPC_UNAVAILABLE},   {504, RPC_UNAVAILABLE},     {415, RPC_UNKNOWN},
                 {500, RPC_UNKNOWN},       {-1, RPC_UNKNOWN}};
    (void)state;
    for (size_t i = 0; i < sizeof https / sizeof *https; i++)
        assert_int_equal(rpc_status_from_http(https[i].http), https[i].status);
    for (uint32_t code = 0; code < 20; code++) {
        enum rpc_status expected = RPC_INTERNAL;
        if (code == NGHTTP2_REFUSED_STREAM)
            expected = RPC_UNAVAILABLE;
        if (code == NGHTTP2_CANCEL)
            expected = RPC_CANCELLED;
        if (code == NGHTTP2_ENHANCE_YOUR_CALM)
            expected = RPC_RESOURCE_EXHAUSTED;
        if (code == NGHTTP2_INADEQUATE_SECURITY)
            expected = RPC_PERMISSION_DENIED;
        assert_int_equal(rpc_status_from_h2(code), expected);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(timeouts_are_read_by_the_grammar),
        cmocka_unit_test(a_timeout_that_was_written_is_never_shorter_when_read),
        cmocka_unit_test(messages_are_percent_encoded_and_decoded),
        cmocka_unit_test(a_message_that_was_not_encoded_stays_readable),
        cmocka_unit_test(every_octet_survives_the_percent_code),
        cmocka_unit_test(content_types_are_told_apart),
        cmocka_unit_test(a_status_is_up_to_three_digits),
        cmocka_unit_test(every_status_has_its_own_name_and_codes_map_into_the_table),
        cmocka_unit_test(foreign_numbers_become_statuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
