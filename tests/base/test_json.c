/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_json.c - a message about a wrong value names the file, the key, what was found, what was wanted.
 */
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/json.h"

static json_t *parse(const char *text)
{
    struct ltd_err err = {0};
    json_t *value = ltd_json_parse(text, strlen(text), "f.json", &err);
    if (!value)
        fail_msg("%s: %s", text, err.msg);
    return value;
}

static void broken_text_is_refused_with_line_and_column(void **state)
{
    (void)state;
    static const char *const broken[] = {"",           "{",        "{\"a\":1,}", "[1 2]",
                                         "{\"a\":1}x", "\"\xFF\"", "nul",        "{\"a\":1e999}"};
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        struct ltd_err err = {0};
        assert_null(ltd_json_parse(broken[i], strlen(broken[i]), "dir/f.json", &err));
        assert_int_equal(err.code, LTD_E_INVALID);
        assert_int_equal(strncmp(err.msg, "dir/f.json: line ", 17), 0);
        assert_non_null(strstr(err.msg, " column "));
        assert_non_null(strstr(err.msg, "expected valid JSON"));
    }
}

static void a_key_that_stands_twice_is_refused(void **state)
{
    (void)state;
    struct ltd_err err = {0};
    const char *text = "{\"n\":1,\n \"n\":2}";
    assert_null(ltd_json_parse(text, strlen(text), "f.json", &err));
    assert_non_null(strstr(err.msg, "line 2"));
}

static void deep_nesting_is_refused_and_does_not_exhaust_the_stack(void **state)
{
    (void)state;
    size_t n = 1000000;
    char *text = malloc(n);
    memset(text, '[', n);
    struct ltd_err err = {0};
    assert_null(ltd_json_parse(text, n, "f.json", &err));
    assert_int_equal(err.code, LTD_E_INVALID);
    free(text);
}

/* `n` times `item` in a list, which is what makes a small text a large value. */
static char *list_of(const char *item, size_t n, size_t *len)
{
    size_t item_len = strlen(item);
    char *text = malloc(n * (item_len + 1) + 2), *at = text;
    assert_non_null(text);
    *at++ = '[';
    for (size_t i = 0; i < n; i++) {
        memcpy(at, item, item_len);
        at += item_len;
        *at++ = i + 1 < n ? ',' : ']';
    }
    *len = (size_t)(at - text);
    return text;
}

static void a_text_whose_values_take_too_much_memory_is_given_up(void **state)
{
    (void)state;
    static const char *const items[] = {"{}", "[]", "{\"\":{\"\":{}}}", "[[],[]]"};
    size_t n_refused = 0;
    for (size_t i = 0; i < sizeof items / sizeof *items; i++) {
        struct ltd_err err = {0};
        size_t len;
        char *text = list_of(items[i], ((size_t)16 << 20) / (strlen(items[i]) + 1), &len);
        struct mallinfo2 before = mallinfo2();
        json_t *value = ltd_json_parse(text, len, "f.json", &err);
        struct mallinfo2 after = mallinfo2();
        size_t taken = after.uordblks > before.uordblks ? after.uordblks - before.uordblks : 0;
        print_message("16 MiB of %s: %s, %zu MiB kept\n", items[i], value ? "taken" : "refused",
                      taken >> 20);
        if (!value) {
            n_refused++;
            assert_int_equal(err.code, LTD_E_INVALID);
            assert_non_null(strstr(err.msg, "need more than 512 MiB"));
            assert_in_range(taken, 0, 1 << 20);
        }
        json_decref(value);
        free(text);
    }
    assert_in_range(n_refused, 2, sizeof items / sizeof *items);
}

/* Counting is per parse: what an earlier one took, and gave back or still holds, is not counted. */
static void a_parse_begins_with_a_whole_budget_whatever_was_parsed_before(void **state)
{
    (void)state;
    json_t *kept[64];
    size_t len;
    char *text = list_of("{\"id\":1}", 16384, &len);
    for (size_t i = 0; i < 64; i++) {
        struct ltd_err err = {0};
        kept[i] = ltd_json_parse(text, len, "f.json", &err);
        if (!kept[i])
            fail_msg("parse %zu: %s", i, err.msg);
    }
    for (size_t i = 0; i < 64; i++)
        json_decref(kept[i]);
    free(text);
}

static void an_integer_out_of_range_or_of_another_kind_names_key_found_and_expected(void **state)
{
    (void)state;
    json_t *o = parse("{\"low\":0,\"high\":11,\"real\":5.0,\"text\":\"5\",\"yes\":true,\"good\":7,"
                      "\"list\":[1,2],\"empty\":null}");
    static const struct {
        const char *key, *found;
    } bad[] = {
        {"low", "integer 0"},     {"high", "integer 11"}, {"real", "number 5"},
        {"text", "string \"5\""}, {"yes", "true"},        {"list", "array of 2"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct ltd_err err = {0};
        int64_t out = 99;
        char expected[128];
        snprintf(expected, sizeof expected, "c.json: key %s: %s, expected an integer in [1, 10]",
                 bad[i].key, bad[i].found);
        assert_int_equal(ltd_json_get_int(o, bad[i].key, 1, 10, &out, "c.json", &err), -1);
        assert_string_equal(err.msg, expected);
        assert_int_equal(err.code, LTD_E_INVALID);
        assert_int_equal(out, 99);
    }
    int64_t out = 99;
    assert_int_equal(ltd_json_get_int(o, "good", 1, 10, &out, "c.json", NULL), 0);
    assert_int_equal(out, 7);
    out = 99;
    assert_int_equal(ltd_json_get_int(o, "absent", 1, 10, &out, "c.json", NULL), 1);
    assert_int_equal(ltd_json_get_int(o, "empty", 1, 10, &out, "c.json", NULL), 1);
    assert_int_equal(out, 99);
    json_decref(o);
}

static void a_number_takes_integers_and_reals_and_refuses_the_rest(void **state)
{
    (void)state;
    json_t *o = parse("{\"i\":3,\"r\":0.5,\"big\":1e300,\"s\":\"1\"}");
    double out = -1;
    struct ltd_err err = {0};
    assert_int_equal(ltd_json_get_number(o, "i", 0, 10, &out, "c", &err), 0);
    assert_true(out == 3.0);
    assert_int_equal(ltd_json_get_number(o, "r", 0, 10, &out, "c", &err), 0);
    assert_true(out == 0.5);
    assert_int_equal(ltd_json_get_number(o, "big", 0, 10, &out, "c", &err), -1);
    assert_string_equal(err.msg, "c: key big: number 1e+300, expected a number in [0, 10]");
    assert_int_equal(ltd_json_get_number(o, "s", 0, 10, &out, "c", &err), -1);
    assert_int_equal(ltd_json_get_number(o, "none", 0, 10, &out, "c", &err), 1);
    assert_true(out == 0.5);
    json_decref(o);
}

static void booleans_and_strings_are_not_guessed_from_other_kinds(void **state)
{
    (void)state;
    json_t *o = parse("{\"t\":true,\"f\":false,\"one\":1,\"s\":\"text\",\"o\":{\"a\":1}}");
    bool flag = false;
    const char *text = NULL;
    struct ltd_err err = {0};
    assert_int_equal(ltd_json_get_bool(o, "t", &flag, "c", &err), 0);
    assert_true(flag);
    assert_int_equal(ltd_json_get_bool(o, "f", &flag, "c", &err), 0);
    assert_false(flag);
    assert_int_equal(ltd_json_get_bool(o, "one", &flag, "c", &err), -1);
    assert_string_equal(err.msg, "c: key one: integer 1, expected true or false");
    assert_int_equal(ltd_json_get_string(o, "s", &text, "c", &err), 0);
    assert_string_equal(text, "text");
    assert_int_equal(ltd_json_get_string(o, "o", &text, "c", &err), -1);
    assert_string_equal(err.msg, "c: key o: object of 1, expected a string");
    assert_int_equal(ltd_json_get_string(o, "none", &text, "c", &err), 1);
    json_decref(o);
}

static char *temp_file(const char *text)
{
    static char path[] = "/tmp/test_json.XXXXXX";
    strcpy(path, "/tmp/test_json.XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
    return path;
}

static void a_file_is_read_whole_or_refused_with_its_name(void **state)
{
    (void)state;
    struct ltd_err err = {0};
    char *path = temp_file("{\"a\": [1, 2, 3]}");
    json_t *value = ltd_json_load(path, 1000, &err);
    assert_non_null(value);
    assert_int_equal(json_array_size(json_object_get(value, "a")), 3);
    json_decref(value);

    assert_null(ltd_json_load(path, 5, &err));
    assert_int_equal(err.code, LTD_E_INVALID);
    assert_non_null(strstr(err.msg, path));
    assert_non_null(strstr(err.msg, "16 bytes, expected at most 5"));
    unlink(path);

    assert_null(ltd_json_load(path, 1000, &err));
    assert_int_equal(err.code, LTD_E_NOT_FOUND);
    assert_non_null(strstr(err.msg, path));

    assert_null(ltd_json_load("/tmp", 1000, &err));
    assert_int_equal(err.code, LTD_E_INVALID);
    assert_string_equal(err.msg, "/tmp: a directory, expected a regular file");
}

static void a_pipe_in_place_of_a_file_is_refused_and_not_waited_for(void **state)
{
    (void)state;
    char *path = temp_file("");
    unlink(path);
    assert_int_equal(mkfifo(path, 0600), 0);
    struct ltd_err err = {0};
    alarm(60); /* opening a pipe without a writer would wait for ever */
    assert_null(ltd_json_load(path, 1000, &err));
    alarm(0);
    assert_int_equal(err.code, LTD_E_INVALID);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(broken_text_is_refused_with_line_and_column),
        cmocka_unit_test(a_key_that_stands_twice_is_refused),
        cmocka_unit_test(deep_nesting_is_refused_and_does_not_exhaust_the_stack),
        cmocka_unit_test(a_text_whose_values_take_too_much_memory_is_given_up),
        cmocka_unit_test(a_parse_begins_with_a_whole_budget_whatever_was_parsed_before),
        cmocka_unit_test(an_integer_out_of_range_or_of_another_kind_names_key_found_and_expected),
        cmocka_unit_test(a_number_takes_integers_and_reals_and_refuses_the_rest),
        cmocka_unit_test(booleans_and_strings_are_not_guessed_from_other_kinds),
        cmocka_unit_test(a_file_is_read_whole_or_refused_with_its_name),
        cmocka_unit_test(a_pipe_in_place_of_a_file_is_refused_and_not_waited_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
