/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_utf8.c - well-formed means exactly the table of RFC 3629 §4.
 *
 * The reference is the definition read backwards: a byte string is well formed when it is what the
 * encoder writes for some scalar value. All scalar values and all strings of up to three bytes (and
 * the four-byte ones that share a head with a valid one) are walked, so no range limit can be off by
 * one unnoticed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/utf8.h"

/* The plain definition, by range of the value; independent of the code under test. */
static int encode(uint32_t code, uint8_t *out)
{
    if (code < 0x80) {
        out[0] = (uint8_t)code;
        return 1;
    }
    if (code < 0x800) {
        out[0] = (uint8_t)(0xC0 + (code >> 6));
        out[1] = (uint8_t)(0x80 + code % 64);
        return 2;
    }
    if (code < 0x10000) {
        out[0] = (uint8_t)(0xE0 + (code >> 12));
        out[1] = (uint8_t)(0x80 + (code >> 6) % 64);
        out[2] = (uint8_t)(0x80 + code % 64);
        return 3;
    }
    out[0] = (uint8_t)(0xF0 + (code >> 18));
    out[1] = (uint8_t)(0x80 + (code >> 12) % 64);
    out[2] = (uint8_t)(0x80 + (code >> 6) % 64);
    out[3] = (uint8_t)(0x80 + code % 64);
    return 4;
}

static bool is_scalar(uint32_t code)
{
    return code <= 0x10FFFF && !(code >= 0xD800 && code <= 0xDFFF);
}

static void every_scalar_value_is_written_and_read_back(void **state)
{
    (void)state;
    for (uint32_t code = 0; code <= 0x10FFFF; code++) {
        if (!is_scalar(code))
            continue;
        uint8_t expected[4], out[4];
        int len = encode(code, expected);
        assert_int_equal(ltd_utf8_put(code, out), len);
        assert_memory_equal(out, expected, (size_t)len);
        uint32_t back = 0xFFFFFFFF;
        assert_int_equal(ltd_utf8_next(out, (size_t)len, &back), len);
        assert_int_equal(back, code);
    }
}

static void every_proper_prefix_of_a_code_point_is_incomplete_and_not_bad(void **state)
{
    (void)state;
    for (uint32_t code = 0x80; code <= 0x10FFFF; code += code < 0x1000 ? 1 : 37) {
        if (!is_scalar(code))
            continue;
        uint8_t bytes[4];
        int len = encode(code, bytes);
        for (int cut = 1; cut < len; cut++)
            assert_int_equal(ltd_utf8_next(bytes, (size_t)cut, NULL), LTD_UTF8_INCOMPLETE);
    }
}

/* 1: some scalar value begins with these bytes; table filled from the encoder. */
static uint8_t heads2[1 << 16], heads3[1 << 24];

static void collect_heads(void)
{
    for (uint32_t code = 0x80; code <= 0x10FFFF; code++) {
        uint8_t b[4];
        if (!is_scalar(code))
            continue;
        int len = encode(code, b);
        heads2[b[0] << 8 | b[1]] = (uint8_t)len;
        if (len >= 3)
            heads3[b[0] << 16 | b[1] << 8 | b[2]] = (uint8_t)len;
    }
}

static void every_string_of_two_and_three_bytes_is_judged_as_the_encoder_would(void **state)
{
    (void)state;
    collect_heads();
    for (uint32_t i = 0x8000; i < 1 << 16; i++) {
        uint8_t s[2] = {(uint8_t)(i >> 8), (uint8_t)i};
        int expected = heads2[i] == 0 ? LTD_UTF8_BAD : heads2[i] == 2 ? 2 : LTD_UTF8_INCOMPLETE;
        if (ltd_utf8_next(s, 2, NULL) != expected)
            fail_msg("%02x %02x: %d, expected %d", s[0], s[1], ltd_utf8_next(s, 2, NULL), expected);
    }
    for (uint32_t i = 0xE00000; i < 1 << 24; i++) {
        uint8_t s[3] = {(uint8_t)(i >> 16), (uint8_t)(i >> 8), (uint8_t)i};
        int expected = heads3[i] == 0 ? LTD_UTF8_BAD : heads3[i] == 3 ? 3 : LTD_UTF8_INCOMPLETE;
        if (ltd_utf8_next(s, 3, NULL) != expected)
            fail_msg("%02x %02x %02x: %d, expected %d", s[0], s[1], s[2], ltd_utf8_next(s, 3, NULL),
                     expected);
    }
}

static void the_last_byte_of_four_must_be_a_continuation(void **state)
{
    (void)state;
    for (int last = 0; last < 256; last++) {
        uint8_t s[4] = {0xF0, 0x9F, 0x99, (uint8_t)last};
        assert_int_equal(ltd_utf8_next(s, 4, NULL), last >= 0x80 && last < 0xC0 ? 4 : LTD_UTF8_BAD);
    }
}

static void the_valid_prefix_ends_at_the_first_bad_or_incomplete_byte(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t len, valid;
    } cases[] = {
        {"", 0, 0},
        {"plain", 5, 5},
        {"a\0b", 3, 3},
        {"caf\xC3\xA9", 5, 5},
        {"caf\xC3", 4, 3},
        {"\xF0\x9F\x99\x82!\xFF", 6, 5},
        {"x\xED\xA0\x80y", 5, 1},
        {"x\xC0\xAFy", 4, 1},
        {"\x80", 1, 0},
        {"x\xF4\x90\x80\x80", 5, 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(ltd_utf8_valid_prefix(cases[i].text, cases[i].len), cases[i].valid);
}

static void a_tidied_string_is_one_line_of_text(void **state)
{
    (void)state;
    static const struct {
        const char *text, *tidy;
    } cases[] = {
        {"", ""},
        {"plain caf\xC3\xA9", "plain caf\xC3\xA9"},
        {"two\nlines\t\x7F\x01", "two?lines???"},
        {"cut \xE2\x82", "cut "},
        {"cut \xE2\x82\" here", "cut ??\" here"},
        {"\xFF\x80", "??"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[32];
        strcpy(text, cases[i].text);
        ltd_utf8_tidy(text);
        assert_string_equal(text, cases[i].tidy);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_scalar_value_is_written_and_read_back),
        cmocka_unit_test(every_proper_prefix_of_a_code_point_is_incomplete_and_not_bad),
        cmocka_unit_test(every_string_of_two_and_three_bytes_is_judged_as_the_encoder_would),
        cmocka_unit_test(the_last_byte_of_four_must_be_a_continuation),
        cmocka_unit_test(the_valid_prefix_ends_at_the_first_bad_or_incomplete_byte),
        cmocka_unit_test(a_tidied_string_is_one_line_of_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
