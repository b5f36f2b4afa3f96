/* SPDX-License-Identifier: Apache-2.0 */
/* tests/rpc/test_fields.c - metadata: base64, names, values, and fields that come several times. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "rpc/authorize.h"
#include "rpc/base64.h"
#include "rpc/fields.h"

static int receive(struct rpc_fields *fields, const char *name, const char *value, bool *bad)
{
    return rpc_fields_receive(fields, (const uint8_t *)name, strlen(name), (const uint8_t *)value,
                              strlen(value), bad);
}

static void holds(const struct rpc_fields *fields, const char *name, const void *value, size_t len)
{
    const struct rpc_field *field = rpc_fields_find(fields, name, strlen(name));
    if (!field)
        fail_msg("no field %s", name);
    assert_int_equal(field->value_len, len);
    assert_memory_equal(rpc_field_value(field), value, len);
}

static void octets_of_every_length_come_back_from_base64(void **state)
{
    uint8_t raw[64], back[64 * 4];
    char text[100];
    (void)state;
    for (size_t len = 0; len <= sizeof raw; len++) {
        for (size_t i = 0; i < len; i++)
            raw[i] = (uint8_t)(i * 37 + len * 11);
        size_t text_len = rpc_base64_bytes(len);
        rpc_base64_encode(raw, len, text);
        assert_int_equal(rpc_base64_decode((const uint8_t *)text, text_len, back), len);
        assert_memory_equal(back, raw, len);
        while (text_len % 4)
            text[text_len++] = '=';
        assert_int_equal(rpc_base64_decode((const uint8_t *)text, text_len, back), len);
        assert_memory_equal(back, raw, len);
    }
}

static void what_is_no_base64_is_refused(void **state)
{
    static const char *const bad[] = {"A", "=", "AAAAA", "A===", "====", "AA=A", "AA A", "AA\nA"};
    uint8_t out[16];
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (rpc_base64_decode((const uint8_t *)bad[i], strlen(bad[i]), out) >= 0)
            fail_msg("'%s' was read as base64", bad[i]);
}

static void fields_of_one_name_are_joined_and_binary_ones_are_decoded(void **state)
{
    struct rpc_fields fields = {0};
    bool bad;
    (void)state;
    assert_int_equal(receive(&fields, "x-a", "one", &bad), 0);
    assert_int_equal(receive(&fields, "x-b-bin", "AAEC", &bad), 0);
    assert_int_equal(receive(&fields, "x-a", "two", &bad), 0);
    assert_int_equal(receive(&fields, "x-b-bin", "/w==,,/w", &bad), 0);
    holds(&fields, "x-a", "one,two", 7);
    holds(&fields, "x-b-bin", "\0\1\2,\xff,,\xff", 8);
    assert_null(rpc_fields_find(&fields, "x-", 2));
    assert_int_equal(fields.n, 2);
    assert_int_equal(fields.bytes, 3 + 7 + 32 + 7 + 8 + 32);
    assert_int_equal(receive(&fields, "x-c-bin", "AAE=,*", &bad), -1);
    assert_true(bad);
    rpc_fields_fini(&fields);
    assert_null(fields.first);
}

static void only_names_of_the_application_s_own_are_custom(void **state)
{
    static const char *const custom[] = {"x", "x-latentd", "a_b.c-1", "user-agent", "x-bin"};
    static const char *const taken[] = {"",          ":path",         "X",   "grpc-status",
                                        "te",        "authorization", "a b", "content-type",
                                        "x\xc3\xa4", "content-length"};
    (void)state;
    for (size_t i = 0; i < sizeof custom / sizeof *custom; i++)
        if (!rpc_field_is_custom((const uint8_t *)custom[i], strlen(custom[i])))
            fail_msg("'%s' is taken", custom[i]);
    for (size_t i = 0; i < sizeof taken / sizeof *taken; i++)
        if (rpc_field_is_custom((const uint8_t *)taken[i], strlen(taken[i])))
            fail_msg("'%s' is custom", taken[i]);
    assert_true(rpc_field_is_ascii((const uint8_t *)"a b", 3));
    assert_false(rpc_field_is_ascii((const uint8_t *)" a", 2));
    assert_false(rpc_field_is_ascii((const uint8_t *)"a\n", 2));
    assert_false(rpc_field_is_ascii((const uint8_t *)"\x7f", 1));
}

static void a_bearer_is_read_once_whatever_the_case_of_its_scheme(void **state)
{
    static const char *const good[] = {"Bearer abc", "bearer abc", "BEARER abc"};
    static const char *const other[] = {"", "Bearer", "Basic abc", "Bearerabc", "abc"};
    struct rpc_bearer bearer = {0};
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        rpc_bearer_take(&bearer, (const uint8_t *)good[i], strlen(good[i]));
        assert_int_equal(bearer.len, 3);
        assert_memory_equal(bearer.text, "abc", 3);
        assert_int_equal(bearer.value_len, 10);
        rpc_bearer_wipe(&bearer);
        assert_null(bearer.text);
    }
    for (size_t i = 0; i < sizeof other / sizeof *other; i++) {
        rpc_bearer_take(&bearer, (const uint8_t *)other[i], strlen(other[i]));
        assert_null(bearer.text);
        assert_false(bearer.broken);
        rpc_bearer_wipe(&bearer);
    }
    rpc_bearer_take(&bearer, (const uint8_t *)"Bearer abc", 10);
    rpc_bearer_take(&bearer, (const uint8_t *)"Bearer abc", 10);
    assert_true(bearer.broken);
    rpc_bearer_wipe(&bearer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(octets_of_every_length_come_back_from_base64),
        cmocka_unit_test(what_is_no_base64_is_refused),
        cmocka_unit_test(fields_of_one_name_are_joined_and_binary_ones_are_decoded),
        cmocka_unit_test(only_names_of_the_application_s_own_are_custom),
        cmocka_unit_test(a_bearer_is_read_once_whatever_the_case_of_its_scheme),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
