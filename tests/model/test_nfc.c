/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_nfc.c - the composed normal form: known pairs, stability, and texts of marks alone.
 *
 * The strings of the vectors with nfc.tokenizer.json compare it with a JavaScript engine's.
 */
#include "tokenizer_fixture.h"

#include "base/bytes.h"
#include "base/utf8.h"
#include "model/nfc.h"
#include "model/nfc_table.h"

static struct ltd_bytes normal(const void *text, size_t len)
{
    struct ltd_bytes out;
    struct ltd_err err = {0};
    ltd_bytes_init(&out);
    if (model_nfc(text, len, &out, &err) != 0)
        fail_msg("%s", err.msg);
    return out;
}

static void known_texts_come_out_as_the_standard_has_them(void **state)
{
    (void)state;
    static const struct {
        const char *text, *expected;
    } cases[] = {
        {"plain", "plain"},
        {"", ""},
        {"e\xCC\x81", "\xC3\xA9"},
        {"\xC3\xA9", "\xC3\xA9"},
        {"q\xCC\x87\xCC\xA3", "q\xCC\xA3\xCC\x87"},               /* marks by class */
        {"s\xCC\x87\xCC\xA3", "\xE1\xB9\xA9"},                    /* then both composed */
        {"\xE1\xB8\x8B\xCC\xA3", "\xE1\xB8\x8D\xCC\x87"},         /* apart and together again */
        {"\xE2\x84\xAB", "\xC3\x85"},                             /* Angstrom sign */
        {"\xE2\x84\xA6", "\xCE\xA9"},                             /* Ohm sign */
        {"\xE0\xA5\x98", "\xE0\xA4\x95\xE0\xA4\xBC"},             /* excluded from composition */
        {"\xEF\xAC\x81", "\xEF\xAC\x81"},                         /* compatibility only */
        {"\xE1\x84\x92\xE1\x85\xA1\xE1\x86\xAB", "\xED\x95\x9C"}, /* Hangul */
        {"\xED\x95\x98\xE1\x86\xAB", "\xED\x95\x9C"},
        {"\xEA\xB0\x80\xE1\x86\xA7", "\xEA\xB0\x80\xE1\x86\xA7"}, /* U+11A7 is no tail */
        {"a\xCC\x81\xCC\x81", "\xC3\xA1\xCC\x81"},
        {"a\xCC\xAD\xCC\x81", "\xC3\xA1\xCC\xAD"},  /* not blocked: other class */
        {"a\xCC\x85\xCC\x81", "a\xCC\x85\xCC\x81"}, /* blocked: the same class */
        {"\xCC\x81"
         "a",
         "\xCC\x81"
         "a"},
        {"\xE1\xBE\x82", "\xE1\xBE\x82"}, /* four parts */
        {"\xCE\xB1\xCC\x93\xCC\x80\xCD\x85", "\xE1\xBE\x82"},
        {"e\xCD\x8F\xCC\x81", "e\xCD\x8F\xCC\x81"}, /* the grapheme joiner blocks */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ltd_bytes out = normal(cases[i].text, strlen(cases[i].text));
        if (!same_text(out.data, out.len, cases[i].expected, strlen(cases[i].expected)))
            fail_msg("case %zu", i);
        ltd_bytes_fini(&out);
    }
}

static void a_normal_text_stays_as_it_is_for_every_code_point(void **state)
{
    (void)state;
    for (uint32_t code = 1; code <= 0x10FFFF; code++) {
        uint8_t text[16] = {'e', 0};
        if (code >= 0xD800 && code <= 0xDFFF)
            continue;
        size_t len = 1 + (size_t)ltd_utf8_put(code, text + 1);
        memcpy(text + len, "\xCC\x81\xCC\xA3", 4);
        struct ltd_bytes once = normal(text, len + 4);
        struct ltd_bytes twice = normal(once.data, once.len);
        if (!same_text(twice.data, twice.len, once.data, once.len))
            fail_msg("U+%04X", (unsigned)code);
        ltd_bytes_fini(&once);
        ltd_bytes_fini(&twice);
    }
}

static void every_composition_is_undone_by_its_decomposition(void **state)
{
    (void)state;
    for (size_t i = 0; i < model_n_nfc_compositions; i++) {
        uint8_t text[8], code[4];
        int first = ltd_utf8_put(model_nfc_compositions[i].first, text);
        int both = first + ltd_utf8_put(model_nfc_compositions[i].second, text + first);
        int n_code = ltd_utf8_put(model_nfc_compositions[i].code, code);
        struct ltd_bytes out = normal(text, (size_t)both);
        if (!same_text(out.data, out.len, code, (size_t)n_code))
            fail_msg("U+%04X", (unsigned)model_nfc_compositions[i].code);
        ltd_bytes_fini(&out);
    }
}

static void a_mebibyte_of_unsorted_marks_is_sorted(void **state)
{
    (void)state;
    const size_t n = (size_t)1 << 19;
    uint8_t *text = malloc(2 * n);
    assert_non_null(text);
    for (size_t i = 0; i < n; i++)
        memcpy(text + 2 * i, i % 2 ? "\xCC\xA3" : "\xCC\x81", 2); /* class 220 and 230, in turn */
    struct ltd_bytes out = normal(text, 2 * n);
    assert_int_equal(out.len, 2 * n);
    for (size_t i = 0; i < n; i++)
        assert_memory_equal(out.data + 2 * i, i < n / 2 ? "\xCC\xA3" : "\xCC\x81", 2);
    ltd_bytes_fini(&out);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_texts_come_out_as_the_standard_has_them),
        cmocka_unit_test(a_normal_text_stays_as_it_is_for_every_code_point),
        cmocka_unit_test(every_composition_is_undone_by_its_decomposition),
        cmocka_unit_test(a_mebibyte_of_unsorted_marks_is_sorted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
