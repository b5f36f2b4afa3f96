/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_tokenizer.c - the same ids and the same text as the public library, and nothing lost.
 *
 * tests/data/tokenizer/NAME.vectors.json holds what npm's @huggingface/tokenizers makes of each
 * string of strings.json with NAME.tokenizer.json (tools/tokenizer_vectors/README.md).
 */
#include "tokenizer_fixture.h"

#include <pthread.h>

#include "base/bytes.h"
#include "model/detokenizer.h"

#define PUBLIC_FLAGS MODEL_ENCODE_PARSE_SPECIAL

/* One string against its vector, [ids] or [ids, decoded]; true when it agrees. */
static bool check_row(const struct model_tokenizer *tok, const json_t *string, const json_t *row)
{
    const char *text = json_string_value(string);
    size_t len = json_string_length(string);
    size_t n_expected;
    int32_t *expected = json_ids(json_array_get(row, 0), &n_expected);
    struct model_tokens found = encode(tok, text, len, PUBLIC_FLAGS);
    bool same = same_ids(found.ids, found.n, expected, n_expected);

    const json_t *decoded = json_array_size(row) > 1 ? json_array_get(row, 1) : string;
    struct ltd_bytes back;
    struct ltd_err err = {0};
    ltd_bytes_init(&back);
    assert_int_equal(model_detokenize(tok, expected, n_expected, false, &back, &err), 0);
    same &= same_text(back.data, back.len, json_string_value(decoded), json_string_length(decoded));
    if (!same)
        print_text("string  ", text, len);
    ltd_bytes_fini(&back);
    model_tokens_fini(&found);
    free(expected);
    return same;
}

static void ids_and_text_equal_those_of_the_public_library(void **state)
{
    (void)state;
    json_t *strings = load_json("strings.json");
    const json_t *list = json_object_get(strings, "strings");
    for (size_t f = 0; f < N_FIXTURES; f++) {
        char name[64];
        snprintf(name, sizeof name, "%s.vectors.json", fixture_names[f]);
        json_t *vectors = load_json(name);
        const json_t *rows = json_object_get(vectors, "encode");
        struct model_tokenizer *tok = open_fixture(fixture_names[f]);
        size_t n_checked = 0, n_wrong = 0;
        assert_int_equal(json_array_size(rows), json_array_size(list));
        for (size_t i = 0; i < json_array_size(rows); i++) {
            const json_t *row = json_array_get(rows, i);
            if (json_is_null(row))
                continue;
            n_checked++;
            if (!check_row(tok, json_array_get(list, i), row) && ++n_wrong > 10)
                fail_msg("%s: more than 10 strings differ", name);
        }
        print_message("%s: %zu strings\n", fixture_names[f], n_checked);
        assert_true(n_checked >= 2000);
        assert_int_equal(n_wrong, 0);
        model_tokenizer_close(tok);
        json_decref(vectors);
    }
    json_decref(strings);
}

static void the_template_puts_the_same_ids_around_a_text(void **state)
{
    (void)state;
    for (size_t f = 0; f < N_FIXTURES; f++) {
        char name[64];
        snprintf(name, sizeof name, "%s.vectors.json", fixture_names[f]);
        json_t *vectors = load_json(name);
        const json_t *rows = json_object_get(vectors, "with_special");
        struct model_tokenizer *tok = open_fixture(fixture_names[f]);
        assert_true(json_array_size(rows) >= 40);
        for (size_t i = 0; i < json_array_size(rows); i++) {
            const json_t *text = json_array_get(json_array_get(rows, i), 0);
            size_t n;
            int32_t *ids = json_ids(json_array_get(json_array_get(rows, i), 1), &n);
            struct model_tokens found =
                encode(tok, json_string_value(text), json_string_length(text),
                       PUBLIC_FLAGS | MODEL_ENCODE_ADD_SPECIAL);
            assert_true(same_ids(found.ids, found.n, ids, n));
            model_tokens_fini(&found);
            free(ids);
        }
        model_tokenizer_close(tok);
        json_decref(vectors);
    }
}

static void head_and_tail_can_be_asked_for_one_by_one(void **state)
{
    (void)state;
    struct model_tokenizer *tok = open_fixture("huginn");
    int32_t begin = model_tokenizer_find(tok, "<|begin_text|>");
    int32_t end = model_tokenizer_find(tok, "<|end_text|>");
    struct model_tokens head = encode(tok, "", 0, MODEL_ENCODE_HEAD);
    struct model_tokens tail = encode(tok, NULL, 0, MODEL_ENCODE_TAIL);
    struct model_tokens both = encode(tok, "", 0, MODEL_ENCODE_ADD_SPECIAL);
    assert_true(same_ids(head.ids, head.n, (int32_t[]){begin}, 1));
    assert_true(same_ids(tail.ids, tail.n, (int32_t[]){end}, 1));
    assert_true(same_ids(both.ids, both.n, (int32_t[]){begin, end}, 2));
    model_tokens_fini(&head);
    model_tokens_fini(&tail);
    model_tokens_fini(&both);
    model_tokenizer_close(tok);
}

static bool check_decoding(const struct model_tokenizer *tok, const int32_t *ids, size_t n,
                           bool skip, const json_t *expected)
{
    struct ltd_bytes text;
    struct ltd_err err = {0};
    ltd_bytes_init(&text);
    assert_int_equal(model_detokenize(tok, ids, n, skip, &text, &err), 0);
    bool same =
        same_text(text.data, text.len, json_string_value(expected), json_string_length(expected));
    if (!same)
        print_ids(skip ? "ids, special skipped" : "ids", ids, n);
    ltd_bytes_fini(&text);
    return same;
}

static void decoding_any_ids_equals_the_public_library(void **state)
{
    (void)state;
    for (size_t f = 0; f < N_FIXTURES; f++) {
        char name[64];
        snprintf(name, sizeof name, "%s.vectors.json", fixture_names[f]);
        json_t *vectors = load_json(name);
        const json_t *rows = json_object_get(vectors, "decode");
        struct model_tokenizer *tok = open_fixture(fixture_names[f]);
        size_t n_wrong = 0;
        assert_true(json_array_size(rows) >= 390);
        for (size_t i = 0; i < json_array_size(rows); i++) {
            const json_t *row = json_array_get(rows, i);
            size_t n;
            int32_t *ids = json_ids(json_array_get(row, 0), &n);
            n_wrong += !check_decoding(tok, ids, n, false, json_array_get(row, 1));
            n_wrong += !check_decoding(tok, ids, n, true, json_array_get(row, 2));
            free(ids);
        }
        assert_int_equal(n_wrong, 0);
        model_tokenizer_close(tok);
        json_decref(vectors);
    }
}

/* gpt2 and llama cut without dropping; huginn's pattern drops and nfc changes text. */
static void text_comes_back_unchanged(void **state)
{
    (void)state;
    static const char *const lossless[] = {"gpt2", "llama"};
    json_t *strings = load_json("strings.json");
    const json_t *list = json_object_get(strings, "strings");
    for (size_t f = 0; f < 2; f++) {
        struct model_tokenizer *tok = open_fixture(lossless[f]);
        for (size_t i = 0; i < json_array_size(list); i++) {
            const json_t *string = json_array_get(list, i);
            struct model_tokens ids =
                encode(tok, json_string_value(string), json_string_length(string), 0);
            struct ltd_bytes back;
            struct ltd_err err = {0};
            ltd_bytes_init(&back);
            assert_int_equal(model_detokenize(tok, ids.ids, ids.n, true, &back, &err), 0);
            assert_true(same_text(back.data, back.len, json_string_value(string),
                                  json_string_length(string)));
            ltd_bytes_fini(&back);
            model_tokens_fini(&ids);
        }
        model_tokenizer_close(tok);
    }
    json_decref(strings);
}

static void text_that_spells_a_special_token_stays_text_unless_asked(void **state)
{
    (void)state;
    for (size_t f = 0; f < N_FIXTURES; f++) {
        struct model_tokenizer *tok = open_fixture(fixture_names[f]);
        for (int32_t id = 0; id < model_tokenizer_vocab_size(tok); id++) {
            if (!model_tokenizer_is_special(tok, id))
                continue;
            const char *text = model_tokenizer_text(tok, id);
            struct model_tokens plain = encode(tok, text, strlen(text), 0);
            for (size_t i = 0; i < plain.n; i++)
                assert_false(model_tokenizer_is_special(tok, plain.ids[i]));
            struct model_tokens parsed = encode(tok, text, strlen(text), PUBLIC_FLAGS);
            assert_true(same_ids(parsed.ids, parsed.n, &id, 1));
            model_tokens_fini(&plain);
            model_tokens_fini(&parsed);
        }
        model_tokenizer_close(tok);
    }
}

static void bytes_that_are_no_utf8_are_refused_with_their_offset(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t len;
        const char *offset;
    } cases[] = {
        {"\xFF", 1, "offset 0 of 1"},
        {"abc\x80", 4, "offset 3 of 4"},
        {"a\xC3", 2, "offset 1 of 2"},
        {"\xED\xA0\x80", 3, "offset 0 of 3"},
        {"ok \xF0\x9F\x98", 6, "offset 3 of 6"},
        {"\xC0\x80", 2, "offset 0 of 2"},
        {"x\0y\xF5z", 5, "offset 3 of 5"},
    };
    struct model_tokenizer *tok = open_fixture("huginn");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ltd_err err = {0};
        struct model_tokens out;
        model_tokens_init(&out);
        assert_int_equal(model_tokens_push(&out, 7, &err), 0);
        assert_int_equal(model_tokenizer_encode(tok, cases[i].text, cases[i].len,
                                                MODEL_ENCODE_ADD_SPECIAL, &out, &err),
                         -1);
        assert_int_equal(err.code, LTD_E_INVALID);
        if (!strstr(err.msg, cases[i].offset))
            fail_msg("found \"%s\", expected \"%s\" in it", err.msg, cases[i].offset);
        assert_int_equal(out.n, 1); /* as it was */
        model_tokens_fini(&out);
    }
    model_tokenizer_close(tok);
}

static void a_text_beyond_the_limit_is_refused_before_any_work(void **state)
{
    (void)state;
    struct model_tokenizer *tok = open_fixture("gpt2");
    struct model_tokens out;
    struct ltd_err err = {0};
    model_tokens_init(&out);
    /* The bytes are never read, so one is enough to stand for them. */
    assert_int_equal(model_tokenizer_encode(tok, "a", MODEL_ENCODE_MAX_BYTES + 1, 0, &out, &err),
                     -1);
    assert_int_equal(err.code, LTD_E_EXHAUSTED);
    assert_non_null(strstr(err.msg, "16777217"));
    model_tokenizer_close(tok);
}

/* A million bytes that are one piece, or that make patterns look far: the test's own time limit
 * (tokenizer_tests.cmake) is what a quadratic step would break. */
static void a_mebibyte_of_anything_is_encoded_and_comes_back(void **state)
{
    (void)state;
    static const char *const units[] = {
        "a",           " ", "\n", "ab", "\t \n", "aB1!", " a", "\xCC\x81", "\xF0\x9F\x98\x80",
        "<|end_turn|", "<", "' "};
    const size_t len = (size_t)1 << 20;
    char *text = malloc(len);
    assert_non_null(text);
    for (size_t u = 0; u < sizeof units / sizeof *units; u++) {
        size_t unit = strlen(units[u]), used = len - len % unit;
        for (size_t i = 0; i < used; i++)
            text[i] = units[u][i % unit];
        for (size_t f = 0; f < N_FIXTURES; f++) {
            struct model_tokenizer *tok = open_fixture(fixture_names[f]);
            struct model_tokens ids = encode(tok, text, used, PUBLIC_FLAGS);
            struct ltd_bytes back;
            struct ltd_err err = {0};
            ltd_bytes_init(&back);
            assert_int_equal(model_detokenize(tok, ids.ids, ids.n, false, &back, &err), 0);
            if (f == 0 || f == 2)
                assert_true(same_text(back.data, back.len, text, used));
            ltd_bytes_fini(&back);
            model_tokens_fini(&ids);
            model_tokenizer_close(tok);
        }
    }
    free(text);
}

static void every_id_is_found_by_its_text_and_has_bytes(void **state)
{
    (void)state;
    for (size_t f = 0; f < N_FIXTURES; f++) {
        struct model_tokenizer *tok = open_fixture(fixture_names[f]);
        int32_t n = 0;
        size_t len;
        for (int32_t id = 0; id < model_tokenizer_vocab_size(tok); id++) {
            const char *text = model_tokenizer_text(tok, id);
            const uint8_t *bytes = model_tokenizer_bytes(tok, id, &len);
            assert_int_equal(text == NULL, bytes == NULL);
            if (!text)
                continue;
            n++;
            assert_true(len > 0);
            assert_int_equal(model_tokenizer_find(tok, text), id);
            if (model_tokenizer_is_special(tok, id))
                assert_true(model_tokenizer_is_added(tok, id));
        }
        assert_int_equal(n, model_tokenizer_n_tokens(tok));
        assert_true(n > 1000);
        assert_null(model_tokenizer_text(tok, -1));
        assert_null(model_tokenizer_text(tok, 4096));
        assert_null(model_tokenizer_bytes(tok, 4095, &len));
        assert_int_equal(len, 0);
        assert_int_equal(model_tokenizer_find(tok, "no such token"), -1);
        assert_false(model_tokenizer_is_special(tok, -5));
        model_tokenizer_close(tok);
    }
}

struct reader {
    const struct model_tokenizer *tok;
    const json_t *strings, *rows;
    size_t n_wrong;
};

static void *encode_all(void *arg)
{
    struct reader *r = arg;
    for (size_t i = 0; i < json_array_size(r->rows); i++) {
        const json_t *string = json_array_get(r->strings, i);
        const json_t *expected = json_array_get(json_array_get(r->rows, i), 0);
        struct model_tokens out;
        struct ltd_err err = {0};
        model_tokens_init(&out);
        r->n_wrong +=
            model_tokenizer_encode(r->tok, json_string_value(string), json_string_length(string),
                                   PUBLIC_FLAGS, &out, &err) != 0 ||
            out.n != json_array_size(expected);
        for (size_t k = 0; k < out.n; k++)
            r->n_wrong += out.ids[k] != json_integer_value(json_array_get(expected, k));
        model_tokens_fini(&out);
    }
    return NULL;
}

static void threads_share_a_tokenizer(void **state)
{
    (void)state;
    json_t *strings = load_json("strings.json");
    json_t *vectors = load_json("llama.vectors.json");
    struct model_tokenizer *tok = open_fixture("llama");
    struct reader readers[4];
    pthread_t threads[4];
    for (size_t i = 0; i < 4; i++) {
        readers[i] = (struct reader){.tok = tok,
                                     .strings = json_object_get(strings, "strings"),
                                     .rows = json_object_get(vectors, "encode")};
        assert_int_equal(pthread_create(&threads[i], NULL, encode_all, &readers[i]), 0);
    }
    for (size_t i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(readers[i].n_wrong, 0);
    }
    model_tokenizer_close(tok);
    json_decref(vectors);
    json_decref(strings);
}

static void ids_equal_for_any_text_that_stood_in_the_list_before(void **state)
{
    (void)state;
    struct model_tokenizer *tok = open_fixture("huginn");
    struct model_tokens one = encode(tok, "one two", 7, 0);
    struct ltd_err err = {0};
    size_t n = one.n;
    assert_int_equal(model_tokenizer_encode(tok, "one two", 7, 0, &one, &err), 0);
    assert_int_equal(one.n, 2 * n);
    assert_true(same_ids(one.ids + n, n, one.ids, n));
    model_tokens_fini(&one);
    model_tokenizer_close(tok);
}

/* An argument is a pattern of test names, for the run under the thread sanitizer. */
int main(int argc, char **argv)
{
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_and_text_equal_those_of_the_public_library),
        cmocka_unit_test(the_template_puts_the_same_ids_around_a_text),
        cmocka_unit_test(head_and_tail_can_be_asked_for_one_by_one),
        cmocka_unit_test(decoding_any_ids_equals_the_public_library),
        cmocka_unit_test(text_comes_back_unchanged),
        cmocka_unit_test(text_that_spells_a_special_token_stays_text_unless_asked),
        cmocka_unit_test(bytes_that_are_no_utf8_are_refused_with_their_offset),
        cmocka_unit_test(a_text_beyond_the_limit_is_refused_before_any_work),
        cmocka_unit_test(a_mebibyte_of_anything_is_encoded_and_comes_back),
        cmocka_unit_test(every_id_is_found_by_its_text_and_has_bytes),
        cmocka_unit_test(threads_share_a_tokenizer),
        cmocka_unit_test(ids_equal_for_any_text_that_stood_in_the_list_before),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
