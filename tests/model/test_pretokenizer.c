/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_pretokenizer.c - how text is cut: every behavior, every construct of a pattern that is
 * translated, and patterns that would run for ever.
 */
#include "tokenizer_fixture.h"

#include "base/bytes.h"
#include "base/utf8.h"
#include "model/pattern_dialect.h"
#include "model/pretokenizer.h"

#define BYTES "{\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"use_regex\": false}"

/* Pieces end with a bar in the output. */
static int take(void *arg, const char *piece, size_t len, struct ltd_err *err)
{
    (void)err;
    assert_true(len > 0);
    ltd_bytes_put(arg, piece, len);
    ltd_bytes_put_str(arg, "|");
    return 0;
}

/* Cut `text` by the JSON of a pre_tokenizer; returns what the last step said. */
static int cut(const char *json, const char *text, size_t len, struct ltd_bytes *out,
               struct ltd_err *err)
{
    struct model_pretokenizer pre;
    struct model_pretokenizer_run run;
    json_error_t why;
    json_t *value = json_loads(json, 0, &why);
    if (!value)
        fail_msg("%s: %s", json, why.text);
    if (model_pretokenizer_load(&pre, value, "f.json", err) != 0)
        fail_msg("%s", err->msg);
    assert_int_equal(model_pretokenizer_run_init(&run, len, take, out, err), 0);
    ltd_bytes_init(out);
    int rc = model_pretokenizer_cut(&pre, &run, text, len, err);
    model_pretokenizer_run_fini(&run);
    model_pretokenizer_fini(&pre);
    json_decref(value);
    return rc;
}

static void expect_pieces(const char *json, const char *text, const char *expected)
{
    struct ltd_bytes out;
    struct ltd_err err = {0};
    if (cut(json, text, strlen(text), &out, &err) != 0)
        fail_msg("%s", err.msg);
    if (!same_text(out.data, out.len, expected, strlen(expected)))
        fail_msg("%s on %s", json, text);
    ltd_bytes_fini(&out);
}

static void expect_split(const char *kind, const char *pattern, const char *behavior, bool invert,
                         const char *text, const char *expected)
{
    json_t *source = json_string(pattern);
    char *quoted = json_dumps(source, JSON_ENCODE_ANY);
    char json[1024];
    snprintf(json, sizeof json,
             "{\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"Split\", \"pattern\": "
             "{\"%s\": %s}, \"behavior\": \"%s\", \"invert\": %s}, " BYTES "]}",
             kind, quoted, behavior, invert ? "true" : "false");
    expect_pieces(json, text, expected);
    free(quoted);
    json_decref(source);
}

/* The first five rows are the examples in the documentation of the public library. */
static void each_behavior_does_with_matches_what_its_name_says(void **state)
{
    (void)state;
    static const struct {
        const char *behavior;
        bool invert;
        const char *text, *expected;
    } cases[] = {
        {"Removed", false, "the-final--countdown", "the|final|countdown|"},
        {"Isolated", false, "the-final--countdown", "the|-|final|-|-|countdown|"},
        {"MergedWithPrevious", false, "the-final--countdown", "the-|final-|-|countdown|"},
        {"MergedWithNext", false, "the-final--countdown", "the|-final|-|-countdown|"},
        {"Contiguous", false, "the-final--countdown", "the|-|final|--|countdown|"},
        {"Removed", true, "the-final--countdown", "-|-|-|"},
        {"Isolated", true, "the-final--countdown", "the|-|final|-|-|countdown|"},
        {"MergedWithPrevious", true, "-a--b-", "-a|-|-b|-|"},
        {"MergedWithNext", true, "a-b--c", "a-|b-|-|c|"},
        {"Contiguous", true, "-a--b", "-|a|--|b|"},
        {"Removed", false, "---", ""},
        {"Removed", false, "-a-", "a|"},
        {"Isolated", false, "-", "-|"},
        {"MergedWithPrevious", false, "--a", "-|-|a|"},
        {"MergedWithNext", false, "a--", "a|-|-|"},
        {"Contiguous", false, "--", "--|"},
        {"Isolated", false, "plain", "plain|"},
        {"Removed", true, "plain", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        expect_split("String", "-", cases[i].behavior, cases[i].invert, cases[i].text,
                     cases[i].expected);
        expect_split("Regex", "\\-", cases[i].behavior, cases[i].invert, cases[i].text,
                     cases[i].expected);
    }
}

static void a_string_pattern_is_taken_literally(void **state)
{
    (void)state;
    expect_split("String", "a.(b)*", "Isolated", false, "xa.(b)*a.b", "x|a.(b)*|a.b|");
    expect_split("String", "\xC3\xA9", "Removed", false, "caf\xC3\xA9s", "caf|s|");
}

static void empty_matches_cut_and_leave_no_empty_piece(void **state)
{
    (void)state;
    expect_split("Regex", "(?=b)", "Isolated", false, "abab", "a|ba|b|");
    expect_split("Regex", "x*", "Isolated", false, "axxb\xC3\xA9", "a|xx|b|\xC3\xA9|");
    expect_split("Regex", "\\b", "Isolated", false, "ab cd", "ab| |cd|");
    expect_split("Regex", "(?<=a)|b", "Removed", false, "aabb", "a|a|b|");
    expect_split("Regex", "", "Isolated", false, "abc", "a|b|c|");
    expect_split("Regex", "^", "MergedWithNext", false, "a\nb", "a\n|b|");
}

/* One row per construct that means something else in PCRE2, or needs care. Isolated matches. */
static void patterns_mean_what_they_mean_to_oniguruma(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *text, *expected;
    } cases[] = {
        {"\\s+",
         "a \xC2\xA0\xE2\x80\xA8"
         "b",
         "a| \xC2\xA0\xE2\x80\xA8|b|"},
        {"\\s",
         "a\xE1\xA0\x8E"
         "b",
         "a\xE1\xA0\x8E"
         "b|"}, /* U+180E is no white space */
        {"\\s",
         "a\xC2\x85"
         "b",
         "a|\xC2\x85|b|"}, /* U+0085 is */
        {"\\s",
         "a\xEF\xBB\xBF"
         "b",
         "a\xEF\xBB\xBF"
         "b|"}, /* U+FEFF is not */
        {"[^\\S\\n]+", "a \t\nb", "a| \t|\nb|"},
        {"\\d+", "a12\xD9\xA3\xC2\xBD", "a|12\xD9\xA3|\xC2\xBD|"}, /* Nd, not 1/2 */
        {"\\h", "xfgA", "x|f|g|A|"},
        {"\\H+", "xyfA", "xy|fA|"},
        {"[\\hz]+", "xyzfA", "xy|zfA|"},
        {"\\w+", "a_\xC3\xA9\xCC\x81!-", "a_\xC3\xA9\xCC\x81|!-|"},
        {"\\W+", "a!-b", "a|!-|b|"},
        {"\\bb", "ab b,b", "ab |b|,|b|"},
        {"\\Bb", "ab b", "a|b| b|"},
        {"b\\b", "b\xCC\x81 b", "b\xCC\x81 |b|"}, /* a mark is a word character */
        {"\\v", "a\x0B\nb", "a|\x0B|\nb|"},       /* only U+000B */
        {"\\a\\e", "x\x07\x1Bx", "x|\x07\x1B|x|"},
        {"\\x41|\\x{1F600}|\\u00e9", "xA\xF0\x9F\x98\x80\xC3\xA9",
         "x|A|\xF0\x9F\x98\x80|\xC3\xA9|"},
        {"\\p{Han}+", "a\xE6\xBC\xA2\xE3\x80\x81\xE3\x83\xBC",
         "a|\xE6\xBC\xA2|\xE3\x80\x81\xE3\x83\xBC|"},
        {"\\p{Hiragana}+", "\xE3\x81\x82\xE3\x83\xBC",
         "\xE3\x81\x82|\xE3\x83\xBC|"}, /* U+30FC is Common */
        {"\\p{^L}+", "ab12c", "ab|12|c|"},
        {"\\P{L}+", "ab12c", "ab|12|c|"},
        {"\\p{Letter}+|\\p{nd}",
         "a\xC3\xA9"
         "12",
         "a\xC3\xA9|1|2|"},
        {"\\p{Lu}\\p{Ll}*", "aBcD", "a|Bc|D|"},
        {"[\\p{P}\\p{S}]", "a+,\xE2\x82\xAC", "a|+|,|\xE2\x82\xAC|"},
        {"\\p{So}", "\xC2\xA9=", "\xC2\xA9|=|"},
        {"[[:alpha:]_]+", "a_1\xC3\xA9", "a_|1|\xC3\xA9|"},
        {"[^[:space:]]+",
         "a b\xE3\x80\x80"
         "c",
         "a| |b|\xE3\x80\x80|c|"},
        {"(?i:'s|'t)", "I's I'T I'\xC5\xBF", "I|'s| I|'T| I|'\xC5\xBF|"}, /* long s folds to s */
        {"(?i:k)x", "kx Kx kX \xE2\x84\xAAx", "kx| |Kx| kX |\xE2\x84\xAAx|"},
        {"(?i:[a-c\xC3\xA9])", "xB\xC3\x89", "x|B|\xC3\x89|"},
        {"(?i:[^a])", "aAb", "aA|b|"},
        {"^a", "aa\na", "a|a\n|a|"}, /* each line begins */
        {"x|^|a", "ba", "b|a|"},
        {"(?:a|^)b", "bcab", "b|c|ab|"}, /* a stray ^ in an alternation */
        {"a$", "aa\naa", "a|a|\na|a|"},
        {"a\\Z", "aa\n", "a|a|\n|"},
        {"a\\z", "aa\n", "aa\n|"},
        {"\\Aa", "aa", "a|a|"},
        {".+", "a\r\nb", "a\r|\n|b|"}, /* a dot takes CR */
        {"a{,2}b", "aaab", "a|aab|"},
        {"a{2}", "aaa", "aa|a|"},
        {"a{2,}", "aaab", "aaa|b|"},
        {"\\p{N}{1,2}+x", "123x", "123x|"}, /* no possessive repeat */
        {"a{1,2}*b", "aaaaab", "aaaaab|"},
        {"a{1,2}?", "aa", "a|a|"},
        {"(?:ab){2}+c", "ababababc", "ababababc|"},
        {"[ab]{2}+c", "ababc", "ababc|"},
        {"a++b", "aab", "aab|"},
        {"a?+ab", "ab", "ab|"}, /* possessive: takes the a */
        {"a*+a", "aaa", "aaa|"},
        {"a+?", "aa", "a|a|"},
        {"(?>a+)b", "aab", "aab|"},
        {"(a)(b)", "abc", "ab|c|"},
        {"a{b", "a{b", "a{b|"},
        {"a{}", "a{}", "a{}|"},
        {"a}|]", "a}]", "a}|]|"},
        {"[]a]", "x]a", "x|]|a|"},
        {"[^]a]", "x]a", "x|]a|"},
        {"[a-]", "a-b", "a|-|b|"},
        {"[-a]", "a-b", "a|-|b|"},
        {"[+--]", "+,-.", "+|,|-|.|"},
        {"[\\p{L}-]+", "a-1", "a-|1|"},
        {"[a^]", "a^b", "a|^|b|"},
        {"[\\b]", "a\bb", "a|\b|b|"},
        {"[.*+?(){}|$]", "a.b*|", "a|.|b|*|||"},
        {"\\#|\\ |\\-|\\/", "a# b-/", "a|#| |b|-|/|"},
        {"#", "a#b", "a|#|b|"},
        {"\xC3\xA9+", "x\xC3\xA9\xC3\xA9", "x|\xC3\xA9\xC3\xA9|"},
        {"[\xC3\xA0-\xC3\xBF]+", "x\xC3\xA9\xC3\xA8y", "x|\xC3\xA9\xC3\xA8|y|"},
        {"(?<=a)b(?=c)", "abcbc", "a|b|cbc|"},
        {"(?<!a)b(?!c)", "abbcbb", "abbc|b|b|"},
        {"a|ab", "ab", "a|b|"}, /* first, not longest */
        {"\\s+(?!\\S)|\\s+", "a   b  ", "a|  | |b|  |"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        expect_split("Regex", cases[i].pattern, "Isolated", false, cases[i].text,
                     cases[i].expected);
}

static void possessive_repeats_give_nothing_back(void **state)
{
    (void)state;
    expect_split("Regex", "a?+ab", "Isolated", false, "aab", "aab|");
    expect_split("Regex", "a++a", "Isolated", false, "aaa", "aaa|");
    expect_split("Regex", "(?>a|ab)c", "Isolated", false, "abc", "abc|");
}

static void digits_punctuation_and_white_space_are_cut_as_the_original_does(void **state)
{
    (void)state;
#define SEQ(step) "{\"type\": \"Sequence\", \"pretokenizers\": [" step ", " BYTES "]}"
    expect_pieces(SEQ("{\"type\": \"Digits\", \"individual_digits\": true}"),
                  "a12\xD9\xA3\xE2\x85\xA7", "a|1|2|\xD9\xA3|\xE2\x85\xA7|");
    expect_pieces(SEQ("{\"type\": \"Digits\", \"individual_digits\": false}"), "a12b3",
                  "a|12|b|3|");
    expect_pieces(SEQ("{\"type\": \"Digits\"}"), "12", "12|");
    expect_pieces(SEQ("{\"type\": \"Punctuation\"}"), "a+-\xC2\xBF$b", "a|+|-|\xC2\xBF|$|b|");
    expect_pieces(SEQ("{\"type\": \"Punctuation\", \"behavior\": \"Contiguous\"}"), "a+-b",
                  "a|+-|b|");
    expect_pieces(SEQ("{\"type\": \"Whitespace\"}"), "a_1 +-\xC3\xA9\n", "a_1|+-|\xC3\xA9|");
    expect_pieces(SEQ("{\"type\": \"WhitespaceSplit\"}"), " a+ \n b\xE3\x80\x80", "a+|b|");
}

static void a_prefix_space_is_put_before_each_piece_without_one(void **state)
{
    (void)state;
    expect_pieces("{\"type\": \"ByteLevel\", \"add_prefix_space\": true, \"use_regex\": true}",
                  "a b", " a| b|");
    expect_pieces("{\"type\": \"ByteLevel\", \"add_prefix_space\": true, \"use_regex\": true}",
                  " a", " a|");
    expect_pieces(
        "{\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"Digits\", "
        "\"individual_digits\": true}, {\"type\": \"ByteLevel\", \"add_prefix_space\": true,"
        " \"use_regex\": false}]}",
        "a1 b", " a| 1| b|");
}

/* Each would take longer than anybody lives, or all memory. */
static void a_pattern_without_end_is_given_up_by_name(void **state)
{
    (void)state;
    static const char *const patterns[] = {"(?:a|aa)+!", "(?:a|a)*b", "(?:a*)*c", "(?:a+a+)+d",
                                           "(?:(?=a)a|a)+!"};
    char text[4096];
    memset(text, 'a', sizeof text);
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++) {
        char json[512];
        struct ltd_bytes out;
        struct ltd_err err = {0};
        snprintf(json, sizeof json,
                 "{\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"Split\", \"pattern\": "
                 "{\"Regex\": \"%s\"}, \"behavior\": \"Isolated\"}, " BYTES "]}",
                 patterns[i]);
        assert_int_equal(cut(json, text, sizeof text, &out, &err), -1);
        if (err.code != LTD_E_EXHAUSTED ||
            !strstr(err.msg, "f.json: pre_tokenizer.pretokenizers[0].pattern: gave up"))
            fail_msg("%s: found \"%s\"", patterns[i], err.msg);
        ltd_bytes_fini(&out);
    }
}

static void translation_refuses_every_cut_or_survives_it(void **state)
{
    (void)state;
    static const char pattern[] =
        "(?i:'s|[^\\p{L}\\-z]{1,3}+)|\\x{41}\\u00e9(?<=[[:alpha:]]a)\\w*?$";
    for (size_t len = 0; len < sizeof pattern; len++) {
        struct ltd_bytes out;
        struct ltd_err err = {0};
        ltd_bytes_init(&out);
        int rc = model_pattern_translate(pattern, len, &out, "p", &err);
        if (rc == 0)
            assert_int_equal(ltd_utf8_valid_prefix(out.data, out.len), out.len);
        else
            assert_non_null(strstr(err.msg, "expected"));
        ltd_bytes_fini(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_behavior_does_with_matches_what_its_name_says),
        cmocka_unit_test(a_string_pattern_is_taken_literally),
        cmocka_unit_test(empty_matches_cut_and_leave_no_empty_piece),
        cmocka_unit_test(patterns_mean_what_they_mean_to_oniguruma),
        cmocka_unit_test(possessive_repeats_give_nothing_back),
        cmocka_unit_test(digits_punctuation_and_white_space_are_cut_as_the_original_does),
        cmocka_unit_test(a_prefix_space_is_put_before_each_piece_without_one),
        cmocka_unit_test(a_pattern_without_end_is_given_up_by_name),
        cmocka_unit_test(translation_refuses_every_cut_or_survives_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
