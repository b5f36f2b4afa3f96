/* SPDX-License-Identifier: Apache-2.0 */
/* tests/cli/test_cli_output.c - JSON, tables, quoting and the progress line, byte for byte. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "cli/answer.h"
#include "cli/json_out.h"
#include "cli/names.h"
#include "cli/out.h"
#include "cli/progress.h"
#include "cli/table.h"

/* ---- JSON ---- */

static char *text_of(struct cli_json *j)
{
    assert_false(j->text.failed);
    assert_int_equal(j->depth, 0);
    char *text = strndup((const char *)j->text.data, j->text.len);
    cli_json_fini(j);
    assert_non_null(text);
    return text;
}

static void assert_json(struct cli_json *j, const char *expected)
{
    char *text = text_of(j);
    assert_string_equal(text, expected);
    free(text);
}

static void nesting_and_commas_are_right(void **state)
{
    (void)state;
    struct cli_json j;
    cli_json_init(&j);
    cli_json_begin(&j, NULL, '{');
    cli_json_begin(&j, "a", '[');
    cli_json_end(&j);
    cli_json_begin(&j, "b", '[');
    cli_json_u64(&j, NULL, UINT64_MAX);
    cli_json_i64(&j, NULL, INT64_MIN);
    cli_json_begin(&j, NULL, '{');
    cli_json_end(&j);
    cli_json_end(&j);
    cli_json_bool(&j, "c", true);
    cli_json_str(&j, "d", NULL);
    cli_json_end(&j);
    assert_json(&j, "{\"a\": [], \"b\": [18446744073709551615, -9223372036854775808, {}], "
                    "\"c\": true, \"d\": null}");
}

static void text_of_any_bytes_stays_parsable(void **state)
{
    (void)state;
    struct cli_json j;
    cli_json_init(&j);
    cli_json_text(&j, NULL, "\"\\\n\t\0\x7F\xC2\x85z\xFF\xE2\x82", 12);
    assert_json(&j,
                "\"\\\"\\\\\\n\\u0009\\u0000\\u007f\\u0085z\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\"");
}

static void every_single_byte_becomes_json_that_jansson_reads(void **state)
{
    (void)state;
    for (unsigned byte = 0; byte < 256; byte++) {
        uint8_t b = (uint8_t)byte;
        struct cli_json j;
        cli_json_init(&j);
        cli_json_text(&j, NULL, &b, 1);
        char *text = text_of(&j);
        json_t *back = json_loads(text, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
        if (!back)
            fail_msg("byte %02x gives %s", byte, text);
        if (byte < 128)
            assert_int_equal((uint8_t)json_string_value(back)[0], byte);
        json_decref(back);
        free(text);
    }
}

/* A generator that reaches all exponents; the seed is fixed, so a failure can be repeated. */
static uint64_t next_bits(uint64_t *x)
{
    *x ^= *x << 13;
    *x ^= *x >> 7;
    *x ^= *x << 17;
    return *x;
}

static void floats_come_back_with_the_same_bits(void **state)
{
    (void)state;
    uint64_t x = 88172645463325252u;
    for (int i = 0; i < 20000; i++) {
        uint32_t bits = (uint32_t)next_bits(&x);
        float v, back;
        memcpy(&v, &bits, sizeof v);
        if (!isfinite(v))
            continue;
        struct cli_json j;
        cli_json_init(&j);
        cli_json_float(&j, NULL, v);
        char *text = text_of(&j);
        json_t *value = json_loads(text, JSON_DECODE_ANY, NULL);
        assert_true(json_is_real(value));
        back = (float)json_real_value(value);
        if (memcmp(&v, &back, sizeof v) != 0 || strlen(text) > 16)
            fail_msg("%.9g (bits %08x) became %s", (double)v, bits, text);
        json_decref(value);
        free(text);
    }
}

static void doubles_come_back_with_the_same_bits(void **state)
{
    (void)state;
    uint64_t x = 1442695040888963407u;
    for (int i = 0; i < 20000; i++) {
        uint64_t bits = next_bits(&x);
        double v, back;
        memcpy(&v, &bits, sizeof v);
        if (!isfinite(v))
            continue;
        struct cli_json j;
        cli_json_init(&j);
        cli_json_double(&j, NULL, v);
        char *text = text_of(&j);
        json_t *value = json_loads(text, JSON_DECODE_ANY, NULL);
        assert_true(json_is_real(value));
        back = json_real_value(value);
        if (memcmp(&v, &back, sizeof v) != 0)
            fail_msg("%.17g became %s", v, text);
        json_decref(value);
        free(text);
    }
}

static void reals_are_short_and_look_like_reals(void **state)
{
    (void)state;
    struct cli_json j;
    cli_json_init(&j);
    cli_json_begin(&j, NULL, '[');
    cli_json_float(&j, NULL, 0.1f);
    cli_json_float(&j, NULL, -0.0f);
    cli_json_float(&j, NULL, 1.0f);
    cli_json_float(&j, NULL, 1.17549435e-38f);
    cli_json_float(&j, NULL, NAN);
    cli_json_double(&j, NULL, 0.1);
    cli_json_double(&j, NULL, 100);
    cli_json_double(&j, NULL, -INFINITY);
    cli_json_end(&j);
    assert_json(&j, "[0.1, -0.0, 1.0, 1.1754944e-38, null, 0.1, 100.0, null]");
}

/* ---- an answer ---- */

static Latentd__V1__JobEvent *new_event(Latentd__V1__JobEvent__EventCase kind)
{
    Latentd__V1__JobEvent *event = calloc(1, sizeof *event);
    assert_non_null(event);
    latentd__v1__job_event__init(event);
    event->event_case = kind;
    return event;
}

static ProtobufCBinaryData new_bytes(const char *text)
{
    return (ProtobufCBinaryData){strlen(text), (uint8_t *)strdup(text)};
}

static Latentd__V1__JobEvent *new_tokens(uint64_t seq, uint32_t id, const char *text)
{
    Latentd__V1__JobEvent *event = new_event(LATENTD__V1__JOB_EVENT__EVENT_TOKENS);
    Latentd__V1__Tokens *tokens = calloc(1, sizeof *tokens);
    latentd__v1__tokens__init(tokens);
    event->seq = seq;
    event->tokens = tokens;
    tokens->text = new_bytes(text);
    tokens->n_ids = tokens->n_steps = 1;
    tokens->ids = calloc(1, sizeof *tokens->ids);
    tokens->steps = calloc(1, sizeof *tokens->steps);
    tokens->ids[0] = id;
    tokens->steps[0] = 10 * id;
    return event;
}

static Latentd__V1__JobEvent *new_finished(uint64_t seq, Latentd__V1__FinishReason reason)
{
    Latentd__V1__JobEvent *event = new_event(LATENTD__V1__JOB_EVENT__EVENT_FINISHED);
    event->seq = seq;
    event->finished = calloc(1, sizeof *event->finished);
    latentd__v1__finished__init(event->finished);
    event->finished->reason = reason;
    event->finished->text_tail = new_bytes("!");
    return event;
}

static json_t *answer_json(const struct cli_answer *answer, const struct ltd_err *failure)
{
    struct cli_json j;
    cli_json_init(&j);
    cli_json_begin(&j, NULL, '{');
    cli_answer_fields(answer, failure, &j);
    cli_json_end(&j);
    char *text = text_of(&j);
    json_t *value = json_loads(text, 0, NULL);
    if (!value)
        fail_msg("not JSON: %s", text);
    free(text);
    return value;
}

static void an_answer_is_its_chunks_in_order(void **state)
{
    (void)state;
    struct cli_answer answer = {.n_messages = 0};
    struct ltd_err err;
    for (uint32_t i = 1; i <= 9; i++)
        assert_int_equal(cli_answer_take_event(&answer, new_tokens(i, i, "x"), &err), 0);
    assert_int_equal(
        cli_answer_take_event(
            &answer, new_finished(10, LATENTD__V1__FINISH_REASON__FINISH_REASON_EOS), &err),
        0);
    json_t *value = answer_json(&answer, NULL);
    assert_string_equal(json_string_value(json_object_get(value, "text")), "xxxxxxxxx!");
    assert_int_equal(json_array_size(json_object_get(value, "tokens")), 9);
    assert_int_equal(json_integer_value(json_array_get(json_object_get(value, "tokens"), 8)), 9);
    assert_int_equal(json_integer_value(json_object_get(value, "output_tokens")), 9);
    assert_string_equal(json_string_value(json_object_get(value, "finish")), "eos");
    assert_true(json_is_null(json_object_get(value, "error")));
    assert_int_equal(answer.last_seq, 10);
    assert_int_equal(answer.n_steps, 450);
    assert_int_equal(cli_answer_verdict(&answer, &err), 0);
    json_decref(value);
    cli_answer_fini(&answer);
}

static void without_the_jobs_own_word_the_calls_failure_is_the_finish(void **state)
{
    (void)state;
    static const struct {
        enum ltd_code code;
        const char *finish;
    } cases[] = {
        {LTD_E_CANCELLED, "cancelled"}, {LTD_E_DEADLINE, "deadline"}, {LTD_E_UNAVAILABLE, "error"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct cli_answer answer = {.n_messages = 0};
        struct ltd_err failure = {.code = LTD_OK};
        ltd_fail(&failure, cases[i].code, "why");
        json_t *value = answer_json(&answer, &failure);
        json_t *error = json_object_get(value, "error");
        assert_string_equal(json_string_value(json_object_get(value, "finish")), cases[i].finish);
        assert_string_equal(json_string_value(json_object_get(error, "message")), "why");
        assert_string_equal(json_string_value(json_object_get(error, "code")),
                            ltd_code_name(cases[i].code));
        json_decref(value);
    }
}

static void names_of_unknown_numbers_are_unknown(void **state)
{
    (void)state;
    assert_string_equal(cli_exit_name((Latentd__V1__ExitReason)77), "unknown");
    assert_string_equal(cli_finish_name((Latentd__V1__FinishReason)-3), "unknown");
    assert_null(cli_finish_name(LATENTD__V1__FINISH_REASON__FINISH_REASON_UNSPECIFIED));
    assert_string_equal(cli_state_name((Latentd__V1__JobState)0), "unknown");
    assert_int_equal(cli_state_find("running"), LATENTD__V1__JOB_STATE__JOB_STATE_RUNNING);
    assert_int_equal(cli_state_find("unknown"), LATENTD__V1__JOB_STATE__JOB_STATE_UNSPECIFIED);
}

static void times_are_utc(void **state)
{
    (void)state;
    char buf[CLI_TIME_BYTES];
    assert_string_equal(cli_time_name(1900000000999999, buf), "2030-03-17T17:46:40Z");
    assert_string_equal(cli_time_name(0, buf), "-");
    assert_string_equal(cli_time_name(-5, buf), "-");
    assert_string_equal(cli_time_name(INT64_MAX, buf), "294247-01-10T04:00:54Z");
}

/* ---- text ---- */

static void quoting_shows_every_byte(void **state)
{
    (void)state;
    char buf[64];
    assert_string_equal(cli_out_quote("a\n\t\"\\\x1b\xC3\xA4\xFF\xE2\x82", 11, buf, sizeof buf),
                        "a\\n\\t\\\"\\\\\\x1b\xC3\xA4\\xff\\xe2\\x82");
    assert_string_equal(cli_out_quote("\xC3\xA4\xC3\xA4", 4, buf, 4), "\xC3\xA4");
    assert_string_equal(cli_out_quote("", 0, buf, 1), "");
}

static void control_characters_never_reach_a_terminal(void **state)
{
    (void)state;
    char out[16];
    cli_out_strip("a\033[2J\n\xC2\x9B\xFFz", 10, out);
    assert_memory_equal(out, "a?[2J\n???z", 10);
}

static void columns_count_characters(void **state)
{
    (void)state;
    assert_int_equal(cli_out_columns("abc", 3), 3);
    assert_int_equal(cli_out_columns("\xC3\xA4", 2), 1);
    assert_int_equal(cli_out_columns("\xE6\xBC\xA2", 3), 2); /* a Han character */
    assert_int_equal(cli_out_columns("\xFF\xFE", 2), 2);
}

/* What a table prints, caught by putting a file in the place of standard output. */
static char *printed(const struct cli_table *table)
{
    char *text = calloc(1, 4096);
    struct ltd_err err;
    FILE *file = tmpfile();
    assert_non_null(text);
    assert_non_null(file);
    fflush(stdout);
    int saved = dup(STDOUT_FILENO);
    dup2(fileno(file), STDOUT_FILENO);
    int rc = cli_table_print(table, &err);
    assert_int_equal(cli_out_flush(&err), 0);
    dup2(saved, STDOUT_FILENO);
    close(saved);
    assert_int_equal(rc, 0);
    rewind(file);
    assert_true(fread(text, 1, 4095, file) > 0);
    fclose(file);
    return text;
}

static void columns_of_a_table_line_up(void **state)
{
    (void)state;
    struct cli_table table;
    cli_table_init(&table, "lrl");
    static const char *const cells[] = {"NAME", "N",         "NOTE", "\xC3\xA4", "1000",
                                        "",     "long name", "2",    "x\ny"};
    for (size_t i = 0; i < 9; i++)
        cli_table_cell(&table, "%s", cells[i]);
    char *text = printed(&table);
    assert_string_equal(text, "NAME          N  NOTE\n"
                              "\xC3\xA4          1000\n"
                              "long name     2  x y\n");
    free(text);
    cli_table_fini(&table);
}

/* ---- progress ---- */

static void the_progress_line_says_token_step_rate_and_criterion(void **state)
{
    (void)state;
    char line[CLI_PROGRESS_BYTES];
    struct cli_progress_view view = {.token_idx = 8,
                                     .step = 14,
                                     .max_steps = 32,
                                     .steps_per_s = 52.125,
                                     .criterion_value = 0.04217};
    cli_progress_format(&view, 79, line);
    assert_string_equal(line, "[token 9  step 14 of 32  52.12 steps/s  criterion 0.0422]");
    view = (struct cli_progress_view){.step = 3, .max_steps = 8, .ends_in_s = 12};
    cli_progress_format(&view, 79, line);
    assert_string_equal(line, "[token 1  step 3 of 8  ends in 12 s]");
    view = (struct cli_progress_view){.token_idx = 0, .step = 3};
    cli_progress_format(&view, 79, line);
    assert_string_equal(line, "[token 1  step 3]");
    view = (struct cli_progress_view){.queued = true, .position = 7};
    cli_progress_format(&view, 79, line);
    assert_string_equal(line, "[queued, 7 in front]");
}

static void the_progress_line_fits_whatever_is_left(void **state)
{
    (void)state;
    char line[CLI_PROGRESS_BYTES];
    struct cli_progress_view view = {.token_idx = UINT32_MAX - 1,
                                     .step = UINT32_MAX,
                                     .max_steps = UINT32_MAX,
                                     .steps_per_s = 1e300,
                                     .criterion_value = 1e-300,
                                     .ends_in_s = UINT32_MAX};
    for (size_t columns = 0; columns < 300; columns++) {
        size_t len = cli_progress_format(&view, columns, line);
        assert_int_equal(len, strlen(line));
        assert_true(len <= columns);
        assert_true(len < CLI_PROGRESS_BYTES);
        if (columns < 16)
            assert_int_equal(len, 0);
        else
            assert_int_equal(line[len - 1], ']');
    }
}

static void the_rate_is_steps_over_time(void **state)
{
    (void)state;
    struct cli_progress p = {.on = false};
    assert_true(cli_progress_rate(&p, 10, 5000000000u) == 0);
    assert_true(cli_progress_rate(&p, 30, 7000000000u) == 10.0);
    assert_true(cli_progress_rate(&p, 10, 9000000000u) == 0);
}

static void the_cursor_is_followed_over_lines(void **state)
{
    (void)state;
    struct cli_progress p = {.on = false};
    cli_progress_moved(&p, "abc", 3);
    assert_int_equal(p.n_columns, 3);
    cli_progress_moved(&p, "d\nxy", 4);
    assert_int_equal(p.n_columns, 2);
    cli_progress_moved(&p, "\n", 1);
    assert_int_equal(p.n_columns, 0);
    cli_progress_moved(&p, "", 0);
    assert_int_equal(p.n_columns, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nesting_and_commas_are_right),
        cmocka_unit_test(text_of_any_bytes_stays_parsable),
        cmocka_unit_test(every_single_byte_becomes_json_that_jansson_reads),
        cmocka_unit_test(floats_come_back_with_the_same_bits),
        cmocka_unit_test(doubles_come_back_with_the_same_bits),
        cmocka_unit_test(reals_are_short_and_look_like_reals),
        cmocka_unit_test(an_answer_is_its_chunks_in_order),
        cmocka_unit_test(without_the_jobs_own_word_the_calls_failure_is_the_finish),
        cmocka_unit_test(names_of_unknown_numbers_are_unknown),
        cmocka_unit_test(times_are_utc),
        cmocka_unit_test(quoting_shows_every_byte),
        cmocka_unit_test(control_characters_never_reach_a_terminal),
        cmocka_unit_test(columns_count_characters),
        cmocka_unit_test(columns_of_a_table_line_up),
        cmocka_unit_test(the_progress_line_says_token_step_rate_and_criterion),
        cmocka_unit_test(the_progress_line_fits_whatever_is_left),
        cmocka_unit_test(the_rate_is_steps_over_time),
        cmocka_unit_test(the_cursor_is_followed_over_lines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
