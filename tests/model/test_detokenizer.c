/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_detokenizer.c - a stream hands out whole code points only, and in the end the same text.
 */
#include "tokenizer_fixture.h"

#include "base/bytes.h"
#include "base/utf8.h"
#include "model/detokenizer.h"

#define REPLACEMENT "\xEF\xBF\xBD"

/* Ids 0..255 are bytes, 300 is special, 301 an added token, 302 one that spells an alphabet letter.
 */
static struct model_tokenizer *open_bytes(void)
{
    return open_small(&(struct small_file){
        .vocab = ", \"\\u00c3\\u00a9a\\u00c3\": 260, \"\\u2603\": 261",
        .added =
            "{\"id\": 300, \"content\": \"<end>\", \"special\": true}, "
            "{\"id\": 301, \"content\": \"<n>\"}, {\"id\": 302, \"content\": \"\\u0120\\u00e9\"}"});
}

static void push(struct model_detok *detok, int32_t id, struct ltd_bytes *out)
{
    struct ltd_err err = {0};
    if (model_detok_push(detok, id, out, &err) != 0)
        fail_msg("%s", err.msg);
    if (ltd_utf8_valid_prefix(out->data, out->len) != out->len) {
        print_text("found   ", out->data, out->len);
        fail_msg("handed out part of a code point after id %d", id);
    }
}

/* Feed ids one by one; the text must equal `expected` and never hold a cut code point. */
static void expect_stream(const struct model_tokenizer *tok, const int32_t *ids, size_t n,
                          bool skip, const char *expected, size_t n_expected)
{
    struct model_detok detok;
    struct ltd_bytes out, whole;
    struct ltd_err err = {0};
    ltd_bytes_init(&out);
    ltd_bytes_init(&whole);
    model_detok_init(&detok, tok, skip);
    for (size_t i = 0; i < n; i++)
        push(&detok, ids[i], &out);
    assert_int_equal(model_detok_flush(&detok, &out, &err), 0);
    assert_int_equal(model_detokenize(tok, ids, n, skip, &whole, &err), 0);
    if (!same_text(out.data, out.len, expected, n_expected) ||
        !same_text(whole.data, whole.len, expected, n_expected)) {
        print_ids("ids", ids, n);
        fail();
    }
    ltd_bytes_fini(&out);
    ltd_bytes_fini(&whole);
}

#define EXPECT_STREAM(tok, skip, expected, ...)                                                    \
    expect_stream(tok, (const int32_t[]){__VA_ARGS__},                                             \
                  sizeof((const int32_t[]){__VA_ARGS__}) / sizeof(int32_t), skip, expected,        \
                  strlen(expected))

static void broken_bytes_become_one_replacement_per_longest_beginning(void **state)
{
    (void)state;
    static const struct {
        const char *bytes, *expected;
    } cases[] = {
        {"abc", "abc"},
        {"caf\xC3\xA9", "caf\xC3\xA9"},
        {"\xC3", REPLACEMENT},
        {"\xE2\x82", REPLACEMENT},
        {"\xF0\x9F\x98", REPLACEMENT},
        {"\xF0\x9F\x98x", REPLACEMENT "x"},
        {"\xC3\xC3\xA9", REPLACEMENT "\xC3\xA9"},
        {"\x80\x80", REPLACEMENT REPLACEMENT},
        {"\xC0\xAF", REPLACEMENT REPLACEMENT},
        {"\xED\xA0\x80", REPLACEMENT REPLACEMENT REPLACEMENT},
        {"\xF4\x90\x80\x80", REPLACEMENT REPLACEMENT REPLACEMENT REPLACEMENT},
        {"\xE0\x80\x80", REPLACEMENT REPLACEMENT REPLACEMENT},
        {"\xF0\x80\x80\x41", REPLACEMENT REPLACEMENT REPLACEMENT "A"},
        {"\xE2\x82\xE2\x82\xAC", REPLACEMENT "\xE2\x82\xAC"},
        {"\xF0\x9F\xE2\x82\xAC\xF0", REPLACEMENT "\xE2\x82\xAC" REPLACEMENT},
        {"\xFF\xFE\xFD", REPLACEMENT REPLACEMENT REPLACEMENT},
        {"\xF1\x80\x80\xE1\x80\xC2\x62\x80\x63\x80\xBF\x64",
         REPLACEMENT REPLACEMENT REPLACEMENT "b" REPLACEMENT "c" REPLACEMENT REPLACEMENT "d"},
    };
    struct model_tokenizer *tok = open_bytes();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int32_t ids[16];
        size_t n = strlen(cases[i].bytes);
        for (size_t k = 0; k < n; k++)
            ids[k] = (uint8_t)cases[i].bytes[k];
        expect_stream(tok, ids, n, false, cases[i].expected, strlen(cases[i].expected));
    }
    model_tokenizer_close(tok);
}

static void added_tokens_end_a_code_point_and_skipped_ones_do_not(void **state)
{
    (void)state;
    struct model_tokenizer *tok = open_bytes();
    EXPECT_STREAM(tok, false, REPLACEMENT "<end>" REPLACEMENT, 0xC3, 300, 0xA9);
    EXPECT_STREAM(tok, true, "\xC3\xA9", 0xC3, 300, 0xA9);
    EXPECT_STREAM(tok, true, REPLACEMENT "<n>" REPLACEMENT, 0xC3, 301, 0xA9);
    EXPECT_STREAM(tok, true, "\xC4\xA0\xC3\xA9x", 302, 'x'); /* as it is written */
    EXPECT_STREAM(tok, false,
                  "\xC3\xA9"
                  "a\xC3\xA9",
                  260, 0xA9);
    EXPECT_STREAM(tok, false, "\xE2\x98\x83", 261); /* outside the byte alphabet */
    EXPECT_STREAM(tok, false, "ab", 'a', 900, 'b'); /* an id without a token */
    EXPECT_STREAM(tok, false, "\xC3\xA9", 0xC3, 900, 0xA9);
    expect_stream(tok, NULL, 0, false, "", 0);
    model_tokenizer_close(tok);
}

/* Id by id, for all id lists of the vectors, most of which break code points at token borders. */
static void the_text_of_a_stream_is_that_of_the_whole_for_every_split(void **state)
{
    (void)state;
    for (size_t f = 0; f < N_FIXTURES; f++) {
        char name[64];
        snprintf(name, sizeof name, "%s.vectors.json", fixture_names[f]);
        json_t *vectors = load_json(name);
        const json_t *rows = json_object_get(vectors, "decode");
        struct model_tokenizer *tok = open_fixture(fixture_names[f]);
        for (size_t i = 0; i < json_array_size(rows); i++) {
            size_t n;
            int32_t *ids = json_ids(json_array_get(json_array_get(rows, i), 0), &n);
            const json_t *all = json_array_get(json_array_get(rows, i), 1);
            const json_t *skipped = json_array_get(json_array_get(rows, i), 2);
            expect_stream(tok, ids, n, false, json_string_value(all), json_string_length(all));
            expect_stream(tok, ids, n, true, json_string_value(skipped),
                          json_string_length(skipped));
            free(ids);
        }
        model_tokenizer_close(tok);
        json_decref(vectors);
    }
}

static void a_code_point_is_handed_out_with_its_last_byte(void **state)
{
    (void)state;
    struct model_tokenizer *tok = open_bytes();
    struct model_detok detok;
    struct ltd_bytes out;
    ltd_bytes_init(&out);
    model_detok_init(&detok, tok, true);
    static const uint8_t smile[] = {0xF0, 0x9F, 0x98, 0x80};
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < 4; i++) {
            size_t before = out.len;
            push(&detok, smile[i], &out);
            assert_int_equal(out.len - before, i == 3 ? 4 : 0);
        }
    }
    ltd_bytes_fini(&out);
    model_tokenizer_close(tok);
}

static void a_copy_of_a_stream_goes_on_from_the_same_place(void **state)
{
    (void)state;
    struct model_tokenizer *tok = open_bytes();
    struct model_detok detok;
    struct ltd_bytes a, b;
    ltd_bytes_init(&a);
    ltd_bytes_init(&b);
    model_detok_init(&detok, tok, true);
    push(&detok, 0xE2, &a);
    push(&detok, 0x82, &a);
    struct model_detok copy = detok;
    push(&detok, 0xAC, &a);
    push(&copy, 'x', &b);
    assert_true(same_text(a.data, a.len, "\xE2\x82\xAC", 3));
    assert_true(same_text(b.data, b.len, REPLACEMENT "x", 4));
    ltd_bytes_fini(&a);
    ltd_bytes_fini(&b);
    model_tokenizer_close(tok);
}

static void ids_outside_the_vocabulary_are_refused_and_change_nothing(void **state)
{
    (void)state;
    struct model_tokenizer *tok = open_bytes();
    struct model_detok detok;
    struct ltd_bytes out;
    struct ltd_err err = {0};
    ltd_bytes_init(&out);
    ltd_bytes_put_str(&out, "before");
    model_detok_init(&detok, tok, false);
    push(&detok, 0xC3, &out);
    static const int32_t bad[] = {-1, 1024, INT32_MAX, INT32_MIN};
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(model_detok_push(&detok, bad[i], &out, &err), -1);
        assert_int_equal(err.code, LTD_E_INVALID);
        assert_non_null(strstr(err.msg, "[0, 1024)"));
        assert_int_equal(model_detokenize(tok, (int32_t[]){'a', bad[i]}, 2, false, &out, &err), -1);
        assert_non_null(strstr(err.msg, "token 1 of 2: found token id"));
    }
    push(&detok, 0xA9, &out);
    assert_true(same_text(out.data, out.len, "before\xC3\xA9", 8));
    ltd_bytes_fini(&out);
    model_tokenizer_close(tok);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(broken_bytes_become_one_replacement_per_longest_beginning),
        cmocka_unit_test(added_tokens_end_a_code_point_and_skipped_ones_do_not),
        cmocka_unit_test(the_text_of_a_stream_is_that_of_the_whole_for_every_split),
        cmocka_unit_test(a_code_point_is_handed_out_with_its_last_byte),
        cmocka_unit_test(a_copy_of_a_stream_goes_on_from_the_same_place),
        cmocka_unit_test(ids_outside_the_vocabulary_are_refused_and_change_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
