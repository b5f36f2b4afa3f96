/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_added_tokens.c - tokens matched as a whole: which one wins, what they may touch, and what
 * white space goes with them.
 */
#include "tokenizer_fixture.h"

#define ADDED(id, content, more) "{\"id\": " #id ", \"content\": \"" content "\"" more "}"

/* A string of tokens' texts, each with a bar behind, since ids are hard to read in a test. */
static void expect_tokens(const struct model_tokenizer *tok, const char *text, unsigned flags,
                          const char *expected)
{
    char found[512] = "";
    struct model_tokens ids = encode(tok, text, strlen(text), flags);
    for (size_t i = 0; i < ids.n; i++) {
        strcat(found, model_tokenizer_text(tok, ids.ids[i]));
        strcat(found, "|");
    }
    if (strcmp(found, expected) != 0)
        fail_msg("%s: found %s, expected %s", text, found, expected);
    model_tokens_fini(&ids);
}

static void overlapping_tokens_are_taken_from_the_left(void **state)
{
    (void)state;
    struct model_tokenizer *tok = open_small(&(struct small_file){
        .added = ADDED(300, "<a>", "") ", " ADDED(301, "<a><b>", "") ", " ADDED(
            302, "<b>x", "") ", " ADDED(303, "<b>", "") ", " ADDED(304, "<b>xyz", "")});
    expect_tokens(tok, "<a><b>", 0, "<a><b>|");
    expect_tokens(tok, "<a><b>xyz", 0, "<a><b>|x|y|z|");
    expect_tokens(tok, "<b>xy", 0, "<b>x|y|");
    expect_tokens(tok, "<b>xyz", 0, "<b>xyz|");
    expect_tokens(tok, "<b<b>", 0, "<|b|<b>|");
    expect_tokens(tok, "<a><a", 0, "<a>|<|a|");
    expect_tokens(tok, "<<a>", 0, "<|<a>|");
    model_tokenizer_close(tok);
}

static void strip_takes_white_space_and_never_a_neighbours(void **state)
{
    (void)state;
    struct model_tokenizer *tok = open_small(&(struct small_file){
        .added = ADDED(300, "<l>", ", \"lstrip\": true") ", " ADDED(
            301, "<r>", ", \"rstrip\": true") ", " ADDED(302, "<b>",
                                                         ", \"lstrip\": true, \"rstrip\": true")});
    expect_tokens(tok, "x \xC2\xA0\xE3\x80\x80<l> y", 0, "x|<l>|\xC4\xA0|y|");
    expect_tokens(tok, "x <r> \n y", 0, "x|\xC4\xA0|<r>|y|");
    expect_tokens(tok, " <b> ", 0, "<b>|");
    expect_tokens(tok, "<r> <l>", 0, "<r>|<l>|");
    expect_tokens(tok, "<b>  <b>  <b>", 0, "<b>|<b>|<b>|");
    expect_tokens(tok, " \n ", 0, "\xC4\xA0|\xC4\x8A|\xC4\xA0|");
    model_tokenizer_close(tok);
}

static void a_single_word_token_is_not_part_of_a_word(void **state)
{
    (void)state;
    struct model_tokenizer *tok =
        open_small(&(struct small_file){.added = ADDED(300, "ab", ", \"single_word\": true")});
    expect_tokens(tok, "ab", 0, "ab|");
    expect_tokens(tok, "ab ab,ab", 0, "ab|\xC4\xA0|ab|,|ab|");
    expect_tokens(tok, "xab", 0, "x|a|b|");
    expect_tokens(tok, "abx", 0, "a|b|x|");
    expect_tokens(tok, "ab_", 0, "a|b|_|");
    expect_tokens(tok, "abab", 0, "a|b|a|b|");
    expect_tokens(tok,
                  "\xE6\xBC\xA2"
                  "ab",
                  0, "\xC3\xA6|\xC2\xBC|\xC2\xA2|a|b|");
    model_tokenizer_close(tok);
}

static void special_tokens_are_text_when_not_asked_for_others_never_are(void **state)
{
    (void)state;
    struct model_tokenizer *tok = open_small(
        &(struct small_file){.added = ADDED(300, "<s>", ", \"special\": true") ", " ADDED(
                                 301, "<n>", "") ", " ADDED(302, "<s><n>", ", \"special\": true")});
    expect_tokens(tok, "<s> <n>", MODEL_ENCODE_PARSE_SPECIAL, "<s>|\xC4\xA0|<n>|");
    expect_tokens(tok, "<s> <n>", 0, "<|s|>|\xC4\xA0|<n>|");
    expect_tokens(tok, "<s><n>", MODEL_ENCODE_PARSE_SPECIAL, "<s><n>|");
    model_tokenizer_close(tok);
}

static void tokens_of_the_text_as_it_came_go_before_normalised_ones(void **state)
{
    (void)state;
    struct model_tokenizer *tok = open_small(
        &(struct small_file){.added = ADDED(300, "e\\u0301!", ", \"normalized\": true") ", " ADDED(
                                 301, "e\\u0301?", ", \"normalized\": false"),
                             .more = ", \"normalizer\": {\"type\": \"NFC\"}"});
    expect_tokens(tok, "xe\xCC\x81!", 0, "x|e\xCC\x81!|");
    expect_tokens(tok, "x\xC3\xA9!", 0, "x|e\xCC\x81!|"); /* the composed form is the same text */
    expect_tokens(tok, "xe\xCC\x81?", 0, "x|e\xCC\x81?|");
    expect_tokens(tok, "x\xC3\xA9?", 0, "x|\xC3\x83|\xC2\xA9|?|"); /* here it is not */
    model_tokenizer_close(tok);
}

static void tokens_equal_after_normalisation_are_refused(void **state)
{
    (void)state;
    struct ltd_err err = {0};
    struct small_file file = {.added = ADDED(300, "e\\u0301!", ", \"normalized\": true") ", " ADDED(
                                  301, "\\u00e9!", ", \"normalized\": true"),
                              .more = ", \"normalizer\": {\"type\": \"NFC\"}"};
    char *text = small_text(&file);
    assert_null(open_text(text, 1024, &err));
    assert_non_null(strstr(err.msg, "with ids"));
    free(text);
}

/* Against a search that tries every token at every place. */
static void random_texts_are_searched_as_by_hand(void **state)
{
    (void)state;
    static const char *const tokens[] = {"a",    "ab", "abc", "b<",   "<a",
                                         "<ab>", "c",  "ca",  "cab<", ">>"};
    const size_t n_tokens = sizeof tokens / sizeof *tokens;
    char added[1024] = "";
    for (size_t i = 0; i < n_tokens; i++)
        if (strlen(tokens[i]) > 1)
            sprintf(added + strlen(added), "%s{\"id\": %zu, \"content\": \"%s\"}",
                    *added ? ", " : "", 300 + i, tokens[i]);
    struct model_tokenizer *tok = open_small(&(struct small_file){.added = added});
    unsigned seed = 7;
    for (int round = 0; round < 2000; round++) {
        char text[33];
        int32_t expected[33];
        size_t n = 0;
        for (size_t i = 0; i < 32; i++)
            text[i] = "abc<>"[(seed = seed * 1664525u + 1013904223u) >> 16 & 3];
        text[32] = '\0';
        for (size_t at = 0; at < 32;) {
            size_t best = 0, best_len = 1;
            for (size_t i = 0; i < n_tokens; i++)
                if (strlen(tokens[i]) > best_len &&
                    strncmp(text + at, tokens[i], strlen(tokens[i])) == 0) {
                    best = 300 + i;
                    best_len = strlen(tokens[i]);
                }
            expected[n++] = best ? (int32_t)best : (uint8_t)text[at];
            at += best_len;
        }
        struct model_tokens found = encode(tok, text, 32, 0);
        if (!same_ids(found.ids, found.n, expected, n))
            fail_msg("%s", text);
        model_tokens_fini(&found);
    }
    model_tokenizer_close(tok);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(overlapping_tokens_are_taken_from_the_left),
        cmocka_unit_test(strip_takes_white_space_and_never_a_neighbours),
        cmocka_unit_test(a_single_word_token_is_not_part_of_a_word),
        cmocka_unit_test(special_tokens_are_text_when_not_asked_for_others_never_are),
        cmocka_unit_test(tokens_of_the_text_as_it_came_go_before_normalised_ones),
        cmocka_unit_test(tokens_equal_after_normalisation_are_refused),
        cmocka_unit_test(random_texts_are_searched_as_by_hand),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
