/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tests of daemon/textout on the demo model's tokenizer, whose 256 byte tokens can spell any text,
 * so every cut of a text into tokens can be tried.
 */
#include "daemon/textout.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "model/tokenizer.h"

static struct model_tokenizer *tokenizer;
static int32_t byte_ids[256];

/* The id of the token that stands for each single byte. */
static int open_tokenizer(void **state)
{
    (void)state;
    struct ltd_err err;
    tokenizer = model_tokenizer_open(SOURCE_DIR "/models/demo", 65536, &err);
    if (!tokenizer) {
        print_error("%s\n", err.msg);
        return -1;
    }
    memset(byte_ids, -1, sizeof byte_ids);
    for (int32_t id = 0; id < model_tokenizer_n_tokens(tokenizer); id++) {
        size_t len;
        const uint8_t *bytes = model_tokenizer_bytes(tokenizer, id, &len);
        if (bytes && len == 1 && !model_tokenizer_is_added(tokenizer, id))
            byte_ids[*bytes] = id;
    }
    return 0;
}

static int close_tokenizer(void **state)
{
    (void)state;
    model_tokenizer_close(tokenizer);
    return 0;
}

/* Feed `in` byte by byte with the given stop strings; compare all text that comes out. */
static void check(const char *in, const char *const *stops, const char *expected, bool stopped)
{
    struct job_spec spec = {0};
    struct textout out;
    struct ltd_bytes text;
    struct ltd_err err;
    for (; stops[spec.n_stop]; spec.n_stop++)
        spec.stop[spec.n_stop] = (struct spec_stop){.text = (char *)(uintptr_t)stops[spec.n_stop],
                                                    .len = strlen(stops[spec.n_stop])};
    textout_init(&out, &spec, tokenizer);
    ltd_bytes_init(&text);
    for (const char *c = in; *c && !out.stopped; c++) {
        assert_int_equal(textout_push(&out, byte_ids[(uint8_t)*c], &text, &err), 0);
        if (!out.stopped && out.held.len > 0)
            assert_true(out.held.len < SPEC_STOP_BYTES_MAX);
    }
    assert_int_equal(out.stopped, stopped);
    assert_int_equal(textout_flush(&out, &text, &err), 0);
    ltd_bytes_put_u8(&text, 0);
    assert_string_equal((char *)text.data, expected);
    ltd_bytes_fini(&text);
    textout_fini(&out);
}

static void text_without_stop_strings_passes_unchanged(void **state)
{
    (void)state;
    const char *none[] = {NULL};
    check("plain", none, "plain", false);
    check("caf\xc3\xa9 \xf0\x9f\x98\x80", none, "caf\xc3\xa9 \xf0\x9f\x98\x80", false);
}

static void text_ends_before_a_stop_string(void **state)
{
    (void)state;
    const char *stops[] = {"END", "\n\n", NULL};
    check("one END two", stops, "one ", true);
    check("one\n\ntwo", stops, "one", true);
    check("END", stops, "", true);
}

static void beginning_of_a_stop_string_is_not_lost(void **state)
{
    (void)state;
    const char *stops[] = {"END", NULL};
    check("EN E EEN", stops, "EN E EEN", false);
    check("EENEND", stops, "EEN", true);
}

static void first_complete_stop_string_wins_and_the_longer_of_two(void **state)
{
    (void)state;
    const char *stops[] = {"ab", "xabc", NULL};
    check("xabc", stops, "x", true);
    const char *nested[] = {"bc", "abc", NULL};
    check("zabc", nested, "z", true);
}

static void unfinished_code_point_becomes_a_replacement_at_the_end(void **state)
{
    (void)state;
    const char *none[] = {NULL};
    check("a\xe2\x82", none, "a\xef\xbf\xbd", false);
}

static void held_text_is_only_what_may_become_a_stop_string(void **state)
{
    (void)state;
    struct job_spec spec = {.n_stop = 1};
    spec.stop[0] = (struct spec_stop){.text = (char *)(uintptr_t) "abcabd", .len = 6};
    struct textout out;
    struct ltd_bytes text;
    struct ltd_err err;
    textout_init(&out, &spec, tokenizer);
    ltd_bytes_init(&text);
    const char *in = "abcabc";
    const size_t held[] = {1, 2, 3, 4, 5, 3};
    for (size_t i = 0; in[i]; i++) {
        assert_int_equal(textout_push(&out, byte_ids[(uint8_t)in[i]], &text, &err), 0);
        assert_int_equal(out.held.len, held[i]);
    }
    ltd_bytes_fini(&text);
    textout_fini(&out);
}

static void without_a_tokenizer_there_is_no_text(void **state)
{
    (void)state;
    struct job_spec spec = {0};
    struct textout out;
    struct ltd_bytes text;
    struct ltd_err err;
    textout_init(&out, &spec, NULL);
    ltd_bytes_init(&text);
    assert_int_equal(textout_push(&out, 5, &text, &err), 0);
    assert_int_equal(textout_flush(&out, &text, &err), 0);
    assert_int_equal(text.len, 0);
    textout_fini(&out);
    ltd_bytes_fini(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_without_stop_strings_passes_unchanged),
        cmocka_unit_test(text_ends_before_a_stop_string),
        cmocka_unit_test(beginning_of_a_stop_string_is_not_lost),
        cmocka_unit_test(first_complete_stop_string_wins_and_the_longer_of_two),
        cmocka_unit_test(unfinished_code_point_becomes_a_replacement_at_the_end),
        cmocka_unit_test(held_text_is_only_what_may_become_a_stop_string),
        cmocka_unit_test(without_a_tokenizer_there_is_no_text),
    };
    return cmocka_run_group_tests(tests, open_tokenizer, close_tokenizer);
}
