/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_err.c - the table of codes is complete, and a message is always one short valid line.
 *
 * The table decides what a client sees, what a script's exit status is and how much is torn down, so
 * every row is compared with the rows written out here instead of with itself.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/utf8.h"

struct row {
    enum ltd_code code;
    const char *name;
    int grpc;
    int exit_status;
    enum ltd_radius radius;
};

static const struct row rows[] = {
    {LTD_OK, "ok", 0, 0, LTD_RADIUS_CALL},
    {LTD_E_CANCELLED, "cancelled", 1, 7, LTD_RADIUS_JOB},
    {LTD_E_INVALID, "invalid", 3, 2, LTD_RADIUS_CALL},
    {LTD_E_DEADLINE, "deadline", 4, 6, LTD_RADIUS_JOB},
    {LTD_E_NOT_FOUND, "not found", 5, 3, LTD_RADIUS_CALL},
    {LTD_E_EXISTS, "exists", 6, 3, LTD_RADIUS_CALL},
    {LTD_E_EXHAUSTED, "exhausted", 8, 5, LTD_RADIUS_CALL},
    {LTD_E_PRECONDITION, "precondition", 9, 3, LTD_RADIUS_CALL},
    {LTD_E_RANGE, "out of range", 11, 2, LTD_RADIUS_CALL},
    {LTD_E_UNIMPLEMENTED, "unimplemented", 12, 2, LTD_RADIUS_CALL},
    {LTD_E_UNAVAILABLE, "unavailable", 14, 4, LTD_RADIUS_CALL},
    {LTD_E_CORRUPT, "corrupt", 15, 8, LTD_RADIUS_JOB},
    {LTD_E_INTERNAL, "internal", 13, 1, LTD_RADIUS_CALL},
    {LTD_E_PEER, "peer", 14, 4, LTD_RADIUS_CONNECTION},
    {LTD_E_RANK, "rank", 14, 4, LTD_RADIUS_RANK_GROUP},
    {LTD_E_UNAUTHENTICATED, "unauthenticated", 16, 9, LTD_RADIUS_CALL},
    {LTD_E_PERMISSION, "permission", 7, 9, LTD_RADIUS_CALL},
};

static void every_code_has_a_name_a_status_an_exit_status_and_a_radius(void **state)
{
    (void)state;
    assert_int_equal(sizeof rows / sizeof *rows, LTD_N_CODES);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_int_equal(rows[i].code, i);
        assert_string_equal(ltd_code_name(rows[i].code), rows[i].name);
        assert_int_equal(ltd_code_grpc(rows[i].code), rows[i].grpc);
        assert_int_equal(ltd_code_exit_status(rows[i].code), rows[i].exit_status);
        assert_int_equal(ltd_code_radius(rows[i].code), rows[i].radius);
    }
}

static void only_ok_exits_with_zero(void **state)
{
    (void)state;
    for (int code = 0; code < LTD_N_CODES; code++)
        assert_int_equal(ltd_code_exit_status((enum ltd_code)code) == 0, code == LTD_OK);
}

static void a_status_from_the_wire_comes_back_as_a_code_with_the_same_status(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_int_equal(ltd_code_grpc(ltd_code_from_grpc(rows[i].grpc)), rows[i].grpc);
    assert_int_equal(ltd_code_from_grpc(14), LTD_E_UNAVAILABLE);
}

static void unknown_numbers_are_answered_and_never_read_past_the_table(void **state)
{
    (void)state;
    static const int codes[] = {-1, LTD_N_CODES, 1000, -1000};
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
        assert_string_equal(ltd_code_name((enum ltd_code)codes[i]), "unknown");
        assert_int_equal(ltd_code_grpc((enum ltd_code)codes[i]), 2);
        assert_int_not_equal(ltd_code_exit_status((enum ltd_code)codes[i]), 0);
    }
    static const int statuses[] = {-1, 17, 1000, -1000};
    for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++)
        assert_int_equal(ltd_code_from_grpc(statuses[i]), LTD_E_INTERNAL);
}

static void fail_fills_code_and_message_and_returns_minus_one(void **state)
{
    (void)state;
    struct ltd_err err = {0};
    assert_int_equal(ltd_fail(&err, LTD_E_CORRUPT, "tensor %s: %d bytes", "wte", 7), -1);
    assert_int_equal(err.code, LTD_E_CORRUPT);
    assert_string_equal(err.msg, "tensor wte: 7 bytes");
    assert_null(ltd_fail_null(&err, LTD_E_RANGE, "seq %d", 9));
    assert_int_equal(err.code, LTD_E_RANGE);
    assert_string_equal(err.msg, "seq 9");
    ltd_err_clear(&err);
    assert_int_equal(err.code, LTD_OK);
    assert_string_equal(err.msg, "");
}

static void a_caller_without_interest_may_pass_null(void **state)
{
    (void)state;
    assert_int_equal(ltd_fail(NULL, LTD_E_INVALID, "x"), -1);
    assert_null(ltd_fail_null(NULL, LTD_E_INVALID, "x"));
    assert_int_equal(ltd_err_context(NULL, "x"), -1);
}

static void context_stands_in_front_and_keeps_the_code(void **state)
{
    (void)state;
    struct ltd_err err = {0};
    ltd_fail(&err, LTD_E_NOT_FOUND, "open a.json: gone");
    assert_int_equal(ltd_err_context(&err, "loading shard %d", 3), -1);
    assert_string_equal(err.msg, "loading shard 3: open a.json: gone");
    assert_int_equal(err.code, LTD_E_NOT_FOUND);
}

static void a_hint_when_to_retry_lives_as_long_as_its_failure(void **state)
{
    (void)state;
    struct ltd_err err = {0};
    ltd_fail(&err, LTD_E_EXHAUSTED, "the queue is full");
    assert_int_equal(err.retry_after_ms, 0);
    assert_int_equal(ltd_err_retry_after(&err, 1500), -1);
    assert_int_equal(err.retry_after_ms, 1500);
    ltd_err_context(&err, "jobs/x");
    assert_int_equal(err.retry_after_ms, 1500);
    ltd_fail(&err, LTD_E_INVALID, "something else");
    assert_int_equal(err.retry_after_ms, 0);
    ltd_err_retry_after(&err, UINT32_MAX);
    ltd_err_clear(&err);
    assert_int_equal(err.retry_after_ms, 0);
    assert_int_equal(ltd_err_retry_after(NULL, 1), -1);
}

static void control_characters_never_make_a_second_line(void **state)
{
    (void)state;
    struct ltd_err err = {0};
    ltd_fail(&err, LTD_E_INVALID, "key %s", "a\nb\tc\x7f\x1b[31m");
    assert_string_equal(err.msg, "key a?b?c??[31m");
}

/* Every length around the limit, with a code point of each width lying across the cut. */
static void a_long_message_is_cut_at_a_code_point(void **state)
{
    (void)state;
    static const char *const tails[] = {"x", "\xC3\xA9", "\xE2\x82\xAC", "\xF0\x9F\x99\x82"};
    for (size_t t = 0; t < sizeof tails / sizeof *tails; t++) {
        for (size_t pad = LTD_ERR_MSG_BYTES - 12; pad < LTD_ERR_MSG_BYTES + 12; pad++) {
            char text[LTD_ERR_MSG_BYTES + 64];
            memset(text, 'a', pad);
            snprintf(text + pad, sizeof text - pad, "%s%s%s", tails[t], tails[t], tails[t]);
            struct ltd_err err = {0};
            ltd_fail(&err, LTD_E_INVALID, "%s", text);
            size_t len = strlen(err.msg);
            assert_true(len < LTD_ERR_MSG_BYTES);
            assert_int_equal(ltd_utf8_valid_prefix(err.msg, len), len);
            assert_memory_equal(err.msg, text, len);
            /* At most one code point is given up. */
            size_t whole = strlen(text) < LTD_ERR_MSG_BYTES ? strlen(text) : LTD_ERR_MSG_BYTES - 1;
            assert_in_range(len, whole - 4, whole);
        }
    }
}

static void a_context_that_fills_the_buffer_does_not_overrun_it(void **state)
{
    (void)state;
    char longer[2 * LTD_ERR_MSG_BYTES];
    memset(longer, 'b', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    struct ltd_err err = {0};
    ltd_fail(&err, LTD_E_INTERNAL, "inner");
    ltd_err_context(&err, "%s", longer);
    assert_int_equal(strlen(err.msg), LTD_ERR_MSG_BYTES - 1);
    for (int i = 0; i < 20; i++)
        ltd_err_context(&err, "again %d", i);
    assert_int_equal(strlen(err.msg), LTD_ERR_MSG_BYTES - 1);
    assert_int_equal(strncmp(err.msg, "again 19: again 18: ", 20), 0);
}

/* A precision such as %.3s may leave half a code point in the middle of a message. */
static void a_message_is_always_utf8(void **state)
{
    (void)state;
    struct ltd_err err;
    ltd_fail(&err, LTD_E_INVALID, "key \"%.3s\" of %s", "ab\xc3\xa9", "caf\xc3\xa9 \xff");
    assert_string_equal(err.msg, "key \"ab?\" of caf\xc3\xa9 ?");
    ltd_err_context(&err, "file %.1s", "\xe2\x82\xac");
    assert_string_equal(err.msg, "file ?: key \"ab?\" of caf\xc3\xa9 ?");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code_has_a_name_a_status_an_exit_status_and_a_radius),
        cmocka_unit_test(only_ok_exits_with_zero),
        cmocka_unit_test(a_status_from_the_wire_comes_back_as_a_code_with_the_same_status),
        cmocka_unit_test(unknown_numbers_are_answered_and_never_read_past_the_table),
        cmocka_unit_test(fail_fills_code_and_message_and_returns_minus_one),
        cmocka_unit_test(a_caller_without_interest_may_pass_null),
        cmocka_unit_test(context_stands_in_front_and_keeps_the_code),
        cmocka_unit_test(a_hint_when_to_retry_lives_as_long_as_its_failure),
        cmocka_unit_test(control_characters_never_make_a_second_line),
        cmocka_unit_test(a_long_message_is_cut_at_a_code_point),
        cmocka_unit_test(a_message_is_always_utf8),
        cmocka_unit_test(a_context_that_fills_the_buffer_does_not_overrun_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
