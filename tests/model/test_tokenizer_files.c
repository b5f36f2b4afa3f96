/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_tokenizer_files.c - a tokenizer.json that is broken, hostile or beyond us is refused at
 * open, and the message names the file, the item, what was found and what was expected.
 */
#include "tokenizer_fixture.h"

#include <sys/stat.h>

#include "base/bytes.h"
#include "base/utf8.h"
#include "model/detokenizer.h"

#define SPLIT(pattern, rest)                                                                       \
    "{\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"Split\", \"pattern\": " pattern     \
    ", " rest "}, {\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"use_regex\": false}]}"
#define REGEX(text)                                                                                \
    SPLIT("{\"Regex\": \"" text "\"}", "\"behavior\": \"Isolated\", \"invert\": false")
#define TEMPLATE(single, specials)                                                                 \
    ", \"post_processor\": {\"type\": \"TemplateProcessing\", \"single\": " single                 \
    ", \"pair\": [], \"special_tokens\": " specials "}"
#define END_TOKEN "{\"id\": 300, \"content\": \"<end>\", \"special\": true}"

/* One refused file: how it differs from a good one, and what the message must hold. */
struct refusal {
    struct small_file file;
    enum ltd_code code;
    const char *item, *found, *expected;
};

static const struct refusal refusals[] = {
    /* the vocabulary */
    {{.vocab = ", \"xx\": 1024"}, LTD_E_INVALID, "model.vocab \"xx\"", "integer 1024", "[0, 1024)"},
    {{.vocab = ", \"xx\": -1"}, LTD_E_INVALID, "model.vocab \"xx\"", "integer -1", "[0, 1024)"},
    {{.vocab = ", \"xx\": \"5\""}, LTD_E_INVALID, "model.vocab \"xx\"", "string \"5\"", "an id"},
    {{.vocab = ", \"xx\": 97"}, LTD_E_INVALID, "model.vocab \"xx\"", "the id of \"a\"", "its own"},
    {{.vocab = ", \"a\": 300"}, LTD_E_INVALID, "line", "duplicate", "a"},
    {{.vocab = ", \"xx\": 99999999999999999999"}, LTD_E_INVALID, "line", "too big", ""},
    /* merges */
    {{.merges = "\"a zz\""}, LTD_E_INVALID, "model.merges[0]", "\"zz\"", "a token of it"},
    {{.merges = "\"a b\""}, LTD_E_INVALID, "model.merges[0]", "\"ab\"", "a token of it"},
    {{.vocab = ", \"ab\": 300", .merges = "\"a b\", [\"a\", \"b\"]"},
     LTD_E_INVALID,
     "model.merges[1]",
     "model.merges[0] again",
     "once"},
    {{.merges = "\"ab\""}, LTD_E_INVALID, "model.merges[0]", "string \"ab\"", "LEFT RIGHT"},
    {{.merges = "\"a b c\""}, LTD_E_INVALID, "model.merges[0]", "string \"a b c\"", "LEFT RIGHT"},
    {{.merges = "[\"a\"]"}, LTD_E_INVALID, "model.merges[0]", "array of 1", "LEFT"},
    {{.merges = "[\"a\", 5]"}, LTD_E_INVALID, "model.merges[0]", "array of 2", "LEFT"},
    {{.merges = "7"}, LTD_E_INVALID, "model.merges[0]", "integer 7", "LEFT"},
    {{.vocab = ", \"ab\": 300",
      .merges = "\"a b\"",
      .added = "{\"id\": 300, \"content\": \"ab\", \"special\": true}"},
     LTD_E_INVALID,
     "model.merges[0]",
     "special token \"ab\"",
     "no plain text"},
    {{.merges = "[\"a\", \"<end>\"]", .added = END_TOKEN},
     LTD_E_INVALID,
     "model.merges[0]",
     "\"<end>\"",
     "a token of it"},
    /* the model */
    {{.model_more = "\"dropout\": 0.1, "}, LTD_E_UNIMPLEMENTED, "model.dropout", "0.1", "null"},
    {{.model_more = "\"unk_token\": \"<unk>\", "},
     LTD_E_UNIMPLEMENTED,
     "model.unk_token",
     "string \"<unk>\"",
     "null"},
    {{.model_more = "\"byte_fallback\": true, "},
     LTD_E_UNIMPLEMENTED,
     "model.byte_fallback",
     "true",
     "false"},
    {{.model_more = "\"end_of_word_suffix\": \"</w>\", "},
     LTD_E_UNIMPLEMENTED,
     "model.end_of_word_suffix",
     "</w>",
     "null"},
    {{.model_more = "\"continuing_subword_prefix\": \"##\", "},
     LTD_E_UNIMPLEMENTED,
     "model.continuing_subword_prefix",
     "##",
     "null"},
    {{.model_more = "\"ignore_merges\": 1, "},
     LTD_E_INVALID,
     "model",
     "integer 1",
     "true or false"},
    {{.model_more = "\"novelty\": 1, "}, LTD_E_UNIMPLEMENTED, "model", "\"novelty\"", "knows"},
    /* added tokens */
    {{.added = "{\"id\": 1024, \"content\": \"<x>\"}"},
     LTD_E_INVALID,
     "added_tokens[0]",
     "integer 1024",
     "[0, 1024)"},
    {{.added = "{\"id\": 97, \"content\": \"<x>\"}"},
     LTD_E_INVALID,
     "added_tokens[0]",
     "the id of \"a\"",
     "its own"},
    {{.added = END_TOKEN ", " END_TOKEN}, LTD_E_INVALID, "added_tokens[1]", "\"<end>\"", "once"},
    {{.added = END_TOKEN ", {\"id\": 301, \"content\": \"<end>\"}"},
     LTD_E_INVALID,
     "added_tokens[1]",
     "id 301",
     "id 300"},
    {{.added = "{\"id\": 98, \"content\": \"a\"}"},
     LTD_E_INVALID,
     "added_tokens[0]",
     "id 98",
     "id 97"},
    {{.added = "{\"id\": 300, \"content\": \"\"}"},
     LTD_E_INVALID,
     "added_tokens[0]",
     "object",
     "non-empty"},
    {{.added = "{\"id\": 300}"}, LTD_E_INVALID, "added_tokens[0]", "object", "content"},
    {{.added = "{\"content\": \"<x>\"}"}, LTD_E_INVALID, "added_tokens[0]", "nothing", "an id"},
    {{.added = "5"}, LTD_E_INVALID, "added_tokens[0]", "integer 5", "object"},
    {{.added = "{\"id\": 300, \"content\": \"<x>\", \"lstrip\": \"no\"}"},
     LTD_E_INVALID,
     "added_tokens[0]",
     "string \"no\"",
     "true or false"},
    {{.added = "{\"id\": 300, \"content\": \"<x>\", \"colour\": 1}"},
     LTD_E_UNIMPLEMENTED,
     "added_tokens[0]",
     "\"colour\"",
     "knows"},
    /* pre-tokenizers and patterns */
    {{.pre_tokenizer = "null"}, LTD_E_UNIMPLEMENTED, "pre_tokenizer", "null", "ByteLevel"},
    {{.pre_tokenizer = "{\"type\": \"Metaspace\"}"},
     LTD_E_UNIMPLEMENTED,
     "pre_tokenizer",
     "Metaspace",
     "Split"},
    {{.pre_tokenizer = "{\"type\": \"Digits\", \"individual_digits\": true}"},
     LTD_E_UNIMPLEMENTED,
     "pre_tokenizer",
     "no ByteLevel",
     "last step"},
    {{.pre_tokenizer = "{\"type\": \"ByteLevel\"}"},
     LTD_E_INVALID,
     "pre_tokenizer",
     "no add_prefix_space",
     "true or false"},
    {{.pre_tokenizer = "{\"pretokenizers\": []}"},
     LTD_E_INVALID,
     "pre_tokenizer",
     "without a type",
     "type"},
    {{.pre_tokenizer = "{\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"ByteLevel\", "
                       "\"add_prefix_space\": false}, {\"type\": \"Digits\"}]}"},
     LTD_E_UNIMPLEMENTED,
     "pre_tokenizer.pretokenizers[1]",
     "Digits behind ByteLevel",
     "last"},
    {{.pre_tokenizer = "{\"type\": \"Sequence\", \"pretokenizers\": {}}"},
     LTD_E_INVALID,
     "pre_tokenizer.pretokenizers",
     "object of 0",
     "an array"},
    {{.pre_tokenizer = SPLIT("{\"Regex\": \"a\"}", "\"behavior\": \"Sometimes\"")},
     LTD_E_INVALID,
     "pretokenizers[0].behavior",
     "Sometimes",
     "MergedWithNext"},
    {{.pre_tokenizer = SPLIT("{\"Regex\": \"a\"}", "\"invert\": false")},
     LTD_E_INVALID,
     "pretokenizers[0].behavior",
     "nothing",
     "Removed"},
    {{.pre_tokenizer = SPLIT("\"a\"", "\"behavior\": \"Isolated\"")},
     LTD_E_INVALID,
     "pretokenizers[0].pattern",
     "string \"a\"",
     "an object"},
    {{.pre_tokenizer = SPLIT("{}", "\"behavior\": \"Isolated\"")},
     LTD_E_INVALID,
     "pretokenizers[0].pattern",
     "object of 0",
     "Regex or String"},
    {{.pre_tokenizer = REGEX("(a")},
     LTD_E_INVALID,
     "pretokenizers[0].pattern",
     "end of the pattern",
     "expected )"},
    {{.pre_tokenizer = REGEX("a)")}, LTD_E_INVALID, "pattern: at byte 1", "\")\"", "no ) without"},
    {{.pre_tokenizer = REGEX("[a-")}, LTD_E_INVALID, "pattern: at byte 0", "[a-", "ends"},
    {{.pre_tokenizer = REGEX("x**")}, LTD_E_INVALID, "pattern: at byte 2", "\"*\"", "one repeat"},
    {{.pre_tokenizer = REGEX("a|+b")}, LTD_E_INVALID, "pattern: at byte 2", "+b", "repeat"},
    {{.pre_tokenizer = REGEX("(a)\\\\1")},
     LTD_E_UNIMPLEMENTED,
     "pattern: at byte 3",
     "\\1",
     "docs/tokenizer.md"},
    {{.pre_tokenizer = REGEX("(?<n>a)")},
     LTD_E_UNIMPLEMENTED,
     "pattern: at byte 0",
     "(?<n>a)",
     "(?i:"},
    {{.pre_tokenizer = REGEX("(?R)")}, LTD_E_UNIMPLEMENTED, "pattern: at byte 0", "(?R)", "(?i:"},
    {{.pre_tokenizer = REGEX("[a[bc]]")},
     LTD_E_UNIMPLEMENTED,
     "pattern: at byte 2",
     "[bc]]",
     "no class inside"},
    {{.pre_tokenizer = REGEX("[a&&b]")},
     LTD_E_UNIMPLEMENTED,
     "pattern: at byte 2",
     "&&",
     "intersection"},
    {{.pre_tokenizer = REGEX("\\\\p{Klingon}")},
     LTD_E_INVALID,
     "pretokenizers[0].pattern",
     "Klingon",
     "regular expression"},
    {{.pre_tokenizer = REGEX("[z-a]")},
     LTD_E_INVALID,
     "pretokenizers[0].pattern",
     "[z-a]",
     "regular expression"},
    {{.pre_tokenizer = REGEX("[\\\\d-z]")}, LTD_E_INVALID, "pattern: at byte 3", "-z]", "no range"},
    {{.pre_tokenizer = REGEX("\\\\xff")}, LTD_E_UNIMPLEMENTED, "pattern: at byte 0", "\\xff", "x{"},
    {{.pre_tokenizer = REGEX("a\\\\")}, LTD_E_INVALID, "pattern: at byte 1", "\\", "backslash"},
    {{.pre_tokenizer = REGEX("(?<=a*)b")},
     LTD_E_INVALID,
     "pretokenizers[0].pattern",
     "lookbehind",
     "regular expression"},
    {{.pre_tokenizer = REGEX("(?:(?:(?:(?:a{1,999}){1,999}){1,999}){1,999})")},
     LTD_E_INVALID,
     "pretokenizers[0].pattern",
     "too",
     "regular expression"},
    /* everything around them */
    {{.more = ", \"normalizer\": {\"type\": \"Lowercase\"}"},
     LTD_E_UNIMPLEMENTED,
     "normalizer",
     "Lowercase",
     "null or NFC"},
    {{.more = ", \"normalizer\": {\"type\": \"NFKC\"}"},
     LTD_E_UNIMPLEMENTED,
     "normalizer",
     "NFKC",
     "null or NFC"},
    {{.more = ", \"postprocessor\": null"},
     LTD_E_UNIMPLEMENTED,
     ": found key",
     "\"postprocessor\"",
     "knows"},
    {{.more = ", \"post_processor\": {\"type\": \"RobertaProcessing\"}"},
     LTD_E_UNIMPLEMENTED,
     "post_processor",
     "RobertaProcessing",
     "TemplateProcessing"},
    {{.more = TEMPLATE("[{\"SpecialToken\": {\"id\": \"<s>\"}}, {\"Sequence\": {\"id\": \"A\"}}]",
                       "{}")},
     LTD_E_INVALID,
     "post_processor.single[0]",
     "\"<s>\"",
     "special_tokens"},
    {{.more = TEMPLATE("[{\"Sequence\": {\"id\": \"B\"}}]", "{}")},
     LTD_E_UNIMPLEMENTED,
     "post_processor.single[0]",
     "Sequence B",
     "A, once"},
    {{.more = TEMPLATE("[]", "{}")},
     LTD_E_INVALID,
     "post_processor.single",
     "no Sequence A",
     "one"},
    {{.added = END_TOKEN,
      .more =
          TEMPLATE("[{\"SpecialToken\": {\"id\": \"<end>\"}}]",
                   "{\"<end>\": {\"id\": \"<end>\", \"ids\": [301], \"tokens\": [\"<end>\"]}}")},
     LTD_E_INVALID,
     "post_processor.single[0]",
     "301",
     "300"},
    {{.added = END_TOKEN,
      .more =
          TEMPLATE("[{\"SpecialToken\": {\"id\": \"<end>\"}}]",
                   "{\"<end>\": {\"id\": \"<end>\", \"ids\": [300, 4], \"tokens\": [\"<end>\"]}}")},
     LTD_E_INVALID,
     "post_processor.single[0]",
     "object of 3",
     "one length"},
};

static void expect_in(const struct ltd_err *err, const char *part)
{
    if (!strstr(err->msg, part))
        fail_msg("found \"%s\", expected \"%s\" in it", err->msg, part);
}

static void check_refusal(const struct refusal *r)
{
    struct ltd_err err = {0};
    char *text = small_text(&r->file);
    struct model_tokenizer *tok = open_text(text, 1024, &err);
    free(text);
    if (tok)
        fail_msg("accepted a file that should be refused for %s: %s", r->item, r->found);
    expect_in(&err, "/tmp/latentd-tokenizer-");
    expect_in(&err, r->item);
    expect_in(&err, r->found);
    expect_in(&err, r->expected);
    if (err.code != r->code)
        fail_msg("found code %s, expected %s: %s", ltd_code_name(err.code), ltd_code_name(r->code),
                 err.msg);
    assert_int_equal(ltd_utf8_valid_prefix(err.msg, strlen(err.msg)), strlen(err.msg));
}

static void files_that_are_broken_or_beyond_us_are_refused_by_name(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++)
        check_refusal(&refusals[i]);
    print_message("%zu files refused\n", sizeof refusals / sizeof *refusals);
}

static void the_same_file_without_a_mistake_is_accepted(void **state)
{
    (void)state;
    struct small_file file = {
        .vocab = ", \"ab\": 256, \"<end>\": 300",
        .merges = "\"a b\"",
        .added = END_TOKEN,
        .pre_tokenizer = REGEX("(?i:'s|\\\\p{L})+(?!\\\\S)|^\\\\s"),
        .model_more = "\"dropout\": null, \"unk_token\": null, \"fuse_unk\": false, "
                      "\"end_of_word_suffix\": \"\", ",
        .more = ", \"normalizer\": null, \"truncation\": {\"max_length\": 5}, \"padding\": "
                "null" TEMPLATE(
                    "[{\"Sequence\": {\"id\": \"A\"}}, {\"SpecialToken\": {\"id\": \"<end>\"}}]",
                    "{\"<end>\": {\"id\": \"<end>\", \"ids\": [300], \"tokens\": [\"<end>\"]}}"),
    };
    struct model_tokenizer *tok = open_small(&file);
    struct model_tokens ids = encode(tok, "abba", 4, MODEL_ENCODE_ADD_SPECIAL);
    assert_true(same_ids(ids.ids, ids.n, (int32_t[]){256, 'b', 'a', 300}, 4));
    model_tokens_fini(&ids);
    model_tokenizer_close(tok);
}

static void decoders_other_than_byte_level_are_refused(void **state)
{
    (void)state;
    static const char *const decoders[] = {
        "null",
        "{\"type\": \"Metaspace\"}",
        "{\"type\": \"Sequence\", \"decoders\": []}",
        "{\"type\": \"Sequence\", \"decoders\": [{\"type\": \"ByteLevel\"}, {\"type\": "
        "\"Strip\"}]}",
        "{\"type\": \"Sequence\", \"decoders\": [{\"type\": \"Fuse\"}]}",
        "[]"};
    for (size_t i = 0; i < sizeof decoders / sizeof *decoders; i++) {
        char text[512];
        struct ltd_err err = {0};
        snprintf(text, sizeof text, "{\"decoder\": %s, \"model\": {\"vocab\": {}, \"merges\": []}}",
                 decoders[i]);
        assert_null(open_text(text, 16, &err));
        expect_in(&err, ": decoder");
        expect_in(&err, "expected");
    }
}

static void a_file_cut_anywhere_is_refused(void **state)
{
    (void)state;
    struct small_file file = {.vocab = ", \"ab\": 256", .merges = "\"a b\"", .added = END_TOKEN};
    char *text = small_text(&file);
    for (size_t len = 0; len < strlen(text); len += len < 400 ? 1 : 97) {
        char path[64];
        struct ltd_err err = {0};
        write_temp(path, text, len);
        struct model_tokenizer *tok = model_tokenizer_open(path, 1024, &err);
        unlink(path);
        if (tok)
            fail_msg("accepted the first %zu of %zu bytes", len, strlen(text));
        assert_int_equal(err.code, LTD_E_INVALID);
        expect_in(&err, path);
        expect_in(&err, "line ");
    }
    free(text);
}

/* A byte here and there replaced: refused, or a tokenizer that still encodes without harm. */
static void a_damaged_file_is_refused_or_harmless(void **state)
{
    (void)state;
    static const char bytes[] = "\"{}[],:0123456789-truefalsn\\abBL<>|^$*+?()\xC4\xA0\x00 ";
    struct small_file file = {
        .vocab = ", \"ab\": 256, \"abc\": 257, \"<end>\": 300",
        .merges = "\"a b\", [\"ab\", \"c\"]",
        .added = END_TOKEN ", {\"id\": 301, \"content\": \"<n>\", \"lstrip\": true}",
        .pre_tokenizer = REGEX("(?i:'s)|[^\\\\s\\\\p{N}]{1,3}+(?!\\\\S)|^\\\\s+"),
        .more = ", \"normalizer\": {\"type\": \"NFC\"}" TEMPLATE(
            "[{\"Sequence\": {\"id\": \"A\"}}, {\"SpecialToken\": {\"id\": \"<end>\"}}]",
            "{\"<end>\": {\"id\": \"<end>\", \"ids\": [300], \"tokens\": [\"<end>\"]}}"),
    };
    char *text = small_text(&file);
    size_t len = strlen(text), n_open = 0;
    /* Half of the damage goes to the vocabulary's 256 bytes unless places there are rare. */
    size_t vocab_begin = (size_t)(strstr(text, "\"vocab\"") - text) + 60;
    size_t vocab_end = (size_t)(strstr(text, "\"ab\"") - text) - 20;
    unsigned seed = 99;
    for (int round = 0; round < 4000; round++) {
        char *damaged = strdup(text);
        for (int i = 0; i <= round % 3; i++) {
            seed = seed * 1664525u + 1013904223u;
            size_t at = (seed >> 8) % len;
            if (at > vocab_begin && at < vocab_end && round % 16)
                at = len - 1 - at % (len - vocab_end);
            seed = seed * 1664525u + 1013904223u;
            damaged[at] = bytes[(seed >> 16) % (sizeof bytes - 1)];
        }
        char path[64];
        struct ltd_err err = {0};
        write_temp(path, damaged, len);
        struct model_tokenizer *tok = model_tokenizer_open(path, 1024, &err);
        unlink(path);
        free(damaged);
        if (!tok) {
            expect_in(&err, path);
            continue;
        }
        struct model_tokens out;
        model_tokens_init(&out);
        n_open++;
        model_tokenizer_encode(tok, "abc's <n> 12\n<end>e\xCC\x81", 22,
                               MODEL_ENCODE_ADD_SPECIAL | MODEL_ENCODE_PARSE_SPECIAL, &out, &err);
        for (size_t i = 0; i < out.n; i++)
            assert_non_null(model_tokenizer_text(tok, out.ids[i]));
        model_tokens_fini(&out);
        model_tokenizer_close(tok);
    }
    print_message("%zu of 4000 damaged files opened\n", n_open);
    assert_true(n_open > 10 && n_open < 3000);
    free(text);
}

static void whole_values_of_the_wrong_type_are_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "5",
        "[]",
        "\"x\"",
        "{}",
        "{\"model\": 5}",
        "{\"model\": []}",
        "null",
        "{\"decoder\": {\"type\": \"ByteLevel\"}, \"model\": {\"type\": \"Unigram\"}}",
        "{\"decoder\": {\"type\": \"ByteLevel\"}, \"model\": {\"type\": 5}}",
        "{\"decoder\": {\"type\": \"ByteLevel\"}, \"model\": {\"merges\": []}}",
        "{\"decoder\": {\"type\": \"ByteLevel\"}, \"model\": {\"vocab\": {}}}",
        "{\"decoder\": {\"type\": \"ByteLevel\"}, \"model\": {\"vocab\": [], \"merges\": []}}",
        "{\"decoder\": {\"type\": \"ByteLevel\"}, \"added_tokens\": {}, \"model\": {\"vocab\": {}, "
        "\"merges\": []}}",
        "{\"version\": \"2.0\", \"decoder\": {\"type\": \"ByteLevel\"}}",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct ltd_err err = {0};
        if (open_text(texts[i], 16, &err))
            fail_msg("accepted %s", texts[i]);
        expect_in(&err, "/tmp/latentd-tokenizer-");
        expect_in(&err, "expected");
    }
}

static void only_an_absent_file_is_called_not_found(void **state)
{
    (void)state;
    char dir[] = "/tmp/latentd-tokenizer-XXXXXX";
    char path[64];
    struct ltd_err err = {0};
    assert_non_null(mkdtemp(dir));
    assert_null(model_tokenizer_open(dir, 10, &err));
    assert_int_equal(err.code, LTD_E_NOT_FOUND);
    expect_in(&err, "/tokenizer.json");

    snprintf(path, sizeof path, "%s/tokenizer.json", dir);
    assert_int_equal(mkdir(path, 0700), 0); /* there, but nothing that can be read */
    err = (struct ltd_err){0};
    assert_null(model_tokenizer_open(dir, 10, &err));
    assert_int_not_equal(err.code, LTD_E_NOT_FOUND);
    expect_in(&err, path);
    rmdir(path);

    assert_int_equal(symlink("lost", path), 0); /* the model has one, and it is gone */
    err = (struct ltd_err){0};
    assert_null(model_tokenizer_open(dir, 10, &err));
    assert_int_equal(err.code, LTD_E_UNAVAILABLE);
    expect_in(&err, path);
    unlink(path);
    rmdir(dir);

    err = (struct ltd_err){0};
    assert_null(model_tokenizer_open("/dev/null", 10, &err));
    assert_int_equal(err.code, LTD_E_INVALID);
    assert_null(model_tokenizer_open(dir, 0, &err));
    assert_int_equal(err.code, LTD_E_INVALID);
    assert_null(model_tokenizer_open(dir, 10, NULL));
}

static void a_directory_stands_for_the_file_in_it(void **state)
{
    (void)state;
    char dir[] = "/tmp/latentd-tokenizer-XXXXXX";
    char path[64];
    struct ltd_err err = {0};
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/tokenizer.json", dir);
    char *text = small_text(&(struct small_file){.vocab = ""});
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
    free(text);
    struct model_tokenizer *tok = model_tokenizer_open(dir, 256, &err);
    assert_non_null(tok);
    assert_string_equal(model_tokenizer_path(tok), path);
    assert_int_equal(model_tokenizer_n_tokens(tok), 256);
    model_tokenizer_close(tok);
    unlink(path);
    rmdir(dir);
}

static void nesting_without_end_is_refused(void **state)
{
    (void)state;
    static const char open_list[] = "{\"type\": \"Sequence\", \"pretokenizers\": [";
    for (int depth = 2; depth <= 600; depth = depth * 2 + 1) {
        char *pre = calloc((size_t)depth * (sizeof open_list + 4) + 128, 1);
        assert_non_null(pre);
        for (int i = 0; i < depth; i++)
            strcat(pre, open_list);
        strcat(pre, "{\"type\": \"ByteLevel\", \"add_prefix_space\": false}");
        for (int i = 0; i < depth; i++)
            strcat(pre, "]}");
        struct ltd_err err = {0};
        struct small_file file = {.pre_tokenizer = pre};
        char *text = small_text(&file);
        struct model_tokenizer *tok = open_text(text, 1024, &err);
        if (depth <= 4) {
            assert_non_null(tok);
        } else {
            assert_null(tok);
            expect_in(&err, "at most 4 sequences");
        }
        model_tokenizer_close(tok);
        free(text);
        free(pre);
    }
}

static void a_byte_without_a_token_is_refused_when_a_text_has_it(void **state)
{
    (void)state;
    struct ltd_err err = {0};
    struct model_tokens out;
    model_tokens_init(&out);
    struct model_tokenizer *tok = open_text(
        "{\"decoder\": {\"type\": \"ByteLevel\"}, \"pre_tokenizer\": {\"type\": \"ByteLevel\", "
        "\"add_prefix_space\": false}, \"model\": {\"vocab\": {\"a\": 0, \"b\": 3}, \"merges\": "
        "[]}}",
        4, &err);
    assert_non_null(tok);
    assert_int_equal(model_tokenizer_encode(tok, "ab", 2, 0, &out, &err), 0);
    assert_true(same_ids(out.ids, out.n, (int32_t[]){0, 3}, 2));
    assert_int_equal(model_tokenizer_encode(tok, "abac", 4, 0, &out, &err), -1);
    assert_int_equal(err.code, LTD_E_INVALID);
    expect_in(&err, "0x63");
    assert_int_equal(out.n, 2);
    model_tokens_fini(&out);
    model_tokenizer_close(tok);
}

/* What a reader of the file would do by hand: the longest added token that fits, else one byte. */
static int32_t longest_by_hand(const struct model_tokenizer *tok, const char *text)
{
    int32_t best = (uint8_t)text[0];
    size_t best_len = 0;
    for (int32_t id = 0; id < model_tokenizer_vocab_size(tok); id++) {
        const char *token = model_tokenizer_text(tok, id);
        size_t len = token ? strlen(token) : 0;
        if (model_tokenizer_is_added(tok, id) && len > best_len && strncmp(text, token, len) == 0) {
            best = id;
            best_len = len;
        }
    }
    return best;
}

static void the_demo_model_reads_its_own_questions(void **state)
{
    (void)state;
    char line[4096];
    struct ltd_err err = {0};
    json_t *config = json_load_file(SOURCE_DIR "/models/demo/config.json", 0, NULL);
    FILE *questions = fopen(SOURCE_DIR "/models/demo/questions.jsonl", "r");
    if (!config || !questions)
        skip();
    int32_t vocab_size = (int32_t)json_integer_value(json_object_get(config, "vocab_size"));
    struct model_tokenizer *tok = model_tokenizer_open(SOURCE_DIR "/models/demo", vocab_size, &err);
    if (!tok)
        fail_msg("%s", err.msg);
    size_t n_questions = 0;
    while (fgets(line, sizeof line, questions)) {
        json_t *question = json_loads(line, 0, NULL);
        const char *prompt = json_string_value(json_object_get(question, "prompt"));
        assert_non_null(prompt);
        struct model_tokens ids = encode(tok, prompt, strlen(prompt), MODEL_ENCODE_PARSE_SPECIAL);
        const char *rest = prompt;
        for (size_t i = 0; i < ids.n; i++) {
            assert_int_equal(ids.ids[i], longest_by_hand(tok, rest));
            assert_true(model_tokenizer_is_added(tok, ids.ids[i]));
            rest += strlen(model_tokenizer_text(tok, ids.ids[i]));
        }
        assert_string_equal(rest, "");
        n_questions++;
        model_tokens_fini(&ids);
        json_decref(question);
    }
    print_message("%zu questions\n", n_questions);
    assert_true(n_questions > 0);
    model_tokenizer_close(tok);
    json_decref(config);
    fclose(questions);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_that_are_broken_or_beyond_us_are_refused_by_name),
        cmocka_unit_test(the_same_file_without_a_mistake_is_accepted),
        cmocka_unit_test(decoders_other_than_byte_level_are_refused),
        cmocka_unit_test(a_file_cut_anywhere_is_refused),
        cmocka_unit_test(a_damaged_file_is_refused_or_harmless),
        cmocka_unit_test(whole_values_of_the_wrong_type_are_refused),
        cmocka_unit_test(only_an_absent_file_is_called_not_found),
        cmocka_unit_test(a_directory_stands_for_the_file_in_it),
        cmocka_unit_test(nesting_without_end_is_refused),
        cmocka_unit_test(a_byte_without_a_token_is_refused_when_a_text_has_it),
        cmocka_unit_test(the_demo_model_reads_its_own_questions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
