/* SPDX-License-Identifier: Apache-2.0 */
/* tests/cli/test_eval_table.c - the question file, the judgement of an answer, the table's sums. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "cli/questions.h"
#include "cli/tally.h"

/* A file of `len` bytes with a name; the caller unlinks and frees it. */
static char *file_of(const char *text, size_t len)
{
    char *path = strdup("/tmp/latentctl-questions-XXXXXX");
    assert_non_null(path);
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, len), (ssize_t)len);
    close(fd);
    return path;
}

static int load(const char *text, size_t limit, struct cli_questions *out, struct ltd_err *err)
{
    char *path = file_of(text, strlen(text));
    int rc = cli_questions_load(path, limit, out, err);
    unlink(path);
    free(path);
    return rc;
}

#define Q(difficulty) "{\"prompt\": \"p\", \"answer\": \"a\", \"difficulty\": " difficulty "}\n"

static void a_file_of_questions_is_read(void **state)
{
    (void)state;
    struct cli_questions q;
    struct ltd_err err;
    const char *text = "{\"prompt\": \"3+4=\", \"answer\": \"7\", \"difficulty\": 12, \"family\": "
                       "\"sum\", \"note\": [1]}\r\n"
                       "\n  \t\n"
                       "{\"prompt\": \"\\u00e4\\n\", \"answer\": \"\", \"difficulty\": \"hard\"}";
    if (load(text, 0, &q, &err) != 0)
        fail_msg("%s", err.msg);
    assert_int_equal(q.n, 2);
    assert_true(q.has_families);
    assert_string_equal(q.items[0]->prompt, "3+4=");
    assert_string_equal(q.items[0]->answer, "7");
    assert_string_equal(q.items[0]->difficulty, "12");
    assert_true(q.items[0]->is_number);
    assert_string_equal(q.items[0]->family, "sum");
    assert_string_equal(q.items[1]->prompt, "\xC3\xA4\n");
    assert_string_equal(q.items[1]->difficulty, "hard");
    assert_null(q.items[1]->family);
    assert_int_equal(q.items[1]->line, 4);
    cli_questions_fini(&q);
}

static void a_limit_stops_before_lines_that_are_not_needed(void **state)
{
    (void)state;
    struct cli_questions q;
    struct ltd_err err;
    assert_int_equal(load(Q("1") Q("2") "garbage\n", 2, &q, &err), 0);
    assert_int_equal(q.n, 2);
    cli_questions_fini(&q);
}

static const struct {
    const char *text;
    const char *expected; /* pieces of the message, parted by '|' */
} bad_files[] = {
    {Q("1") "garbage\n", ":2: |column 7"},
    {Q("1") "\n[1]\n", ":3: |array of 1, expected an object"},
    {"{\"answer\": \"a\", \"difficulty\": 1}\n", ":1: |key prompt is missing"},
    {"{\"prompt\": \"p\", \"difficulty\": 1}\n", "key answer is missing"},
    {"{\"prompt\": \"p\", \"answer\": 7, \"difficulty\": 1}\n", "key answer: integer 7"},
    {"{\"prompt\": \"p\", \"answer\": \"a\"}\n", "key difficulty: missing"},
    {"{\"prompt\": \"p\", \"answer\": \"a\", \"difficulty\": 1.5}\n", "difficulty: number 1.5"},
    {"{\"prompt\": \"p\", \"answer\": \"a\", \"difficulty\": null}\n", "difficulty: null"},
    {"{\"prompt\": \"p\", \"answer\": \"a\", \"difficulty\": 1, \"family\": 2}\n",
     "family: integer"},
    {"{\"prompt\": \"p\", \"prompt\": \"q\", \"answer\": \"a\", \"difficulty\": 1}\n", ":1: "},
    {"{\"prompt\": \"\xFF\", \"answer\": \"a\", \"difficulty\": 1}\n", ":1: "},
    {"{\"prompt\": \"\\u0000\", \"answer\": \"a\", \"difficulty\": 1}\n", ":1: "},
    {Q("1") "{\"prompt\": \"p\",", ":2: "},
    {"", "no question in it"},
    {"\n\n", "no question in it"},
};

static void assert_pieces(const char *msg, const char *pieces)
{
    char copy[128];
    snprintf(copy, sizeof copy, "%s", pieces);
    for (char *piece = strtok(copy, "|"); piece; piece = strtok(NULL, "|"))
        if (!strstr(msg, piece))
            fail_msg("\"%s\" lacks \"%s\"", msg, piece);
}

static void a_bad_line_is_named_and_nothing_is_kept(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad_files / sizeof bad_files[0]; i++) {
        struct cli_questions q = {.n = 0};
        struct ltd_err err = {.code = LTD_OK};
        if (load(bad_files[i].text, 0, &q, &err) != -1)
            fail_msg("taken: %s", bad_files[i].text);
        assert_int_equal(err.code, LTD_E_INVALID);
        assert_int_equal(q.n, 0);
        assert_pieces(err.msg, bad_files[i].expected);
    }
}

static void what_is_no_file_is_refused(void **state)
{
    (void)state;
    struct cli_questions q;
    struct ltd_err err;
    assert_int_equal(cli_questions_load("/nonexistent/q.jsonl", 0, &q, &err), -1);
    assert_int_equal(err.code, LTD_E_INVALID);
    assert_int_equal(cli_questions_load("/tmp", 0, &q, &err), -1);
    assert_int_equal(cli_questions_load("/dev/zero", 0, &q, &err), -1);
    assert_non_null(strstr(err.msg, "regular file"));
}

static void an_answer_is_its_first_line_without_blanks(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *answer;
        bool right;
    } cases[] = {
        {"7", "7", true},           {" 7 \n", "7", true},   {"7\nmore", "7", true},
        {"\t7\r\nmore", "7", true}, {"77", "7", false},     {"7.", "7", false},
        {"\n7", "7", false},        {"", "", true},         {" \n7", "", true},
        {"a b", "a b", true},       {"a  b", "a b", false}, {"A", "a", false},
        {"", "7", false},           {"7", "", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct cli_question q = {.answer = cases[i].answer};
        if (cli_question_is_right(&q, cases[i].text, strlen(cases[i].text)) != cases[i].right)
            fail_msg("\"%s\" against \"%s\": expected %d", cases[i].text, cases[i].answer,
                     cases[i].right);
    }
    struct cli_question q = {.answer = "7"};
    assert_false(cli_question_is_right(&q, NULL, 0));
    assert_false(cli_question_is_right(&q, "7\0", 2));
}

/* Five questions at two depths; right at the second depth but for one. */
static void cells_are_sums_in_the_order_of_difficulty(void **state)
{
    (void)state;
    struct cli_questions q;
    struct ltd_err err;
    struct cli_tally tally;
    assert_int_equal(load(Q("10") Q("\"easy\"") Q("2") Q("\"10\"") Q("10"), 0, &q, &err), 0);
    struct cli_trial_result results[10] = {
        {true, 1, 4},  {false, 1, 4}, {true, 1, 4},   {true, 2, 8},  {false, 1, 4},
        {true, 1, 16}, {true, 1, 16}, {false, 3, 48}, {true, 1, 16}, {true, 5, 70},
    };
    assert_int_equal(cli_tally_build(&q, results, 2, CLI_TALLY_BY_DIFFICULTY, &tally, &err), 0);
    assert_int_equal(tally.n_groups, 4);
    assert_string_equal(tally.groups[0].label, "2");
    assert_string_equal(tally.groups[1].label, "10");
    assert_true(tally.groups[1].example->is_number);
    assert_string_equal(tally.groups[2].label, "easy");
    assert_string_equal(tally.groups[3].label, "10");
    const struct cli_cell *ten = &tally.cells[1 * 2];
    assert_int_equal(ten[0].n, 2);
    assert_int_equal(ten[0].n_right, 1);
    assert_int_equal(ten[1].n_right, 2);
    assert_int_equal(ten[1].n_steps, 86);
    assert_true(cli_cell_accuracy(&ten[0]) == 50.0);
    assert_true(cli_cell_mean_steps(&ten[1]) == 86.0 / 6.0);
    assert_true(cli_cell_accuracy(&tally.cells[1]) == 0.0);
    cli_tally_fini(&tally);
    assert_int_equal(cli_tally_build(&q, results, 2, CLI_TALLY_TOTAL, &tally, &err), 0);
    assert_int_equal(tally.n_groups, 1);
    assert_int_equal(tally.cells[0].n, 5);
    assert_int_equal(tally.cells[0].n_right, 3);
    assert_int_equal(tally.cells[1].n_right, 4);
    cli_tally_fini(&tally);
    cli_questions_fini(&q);
}

static void an_empty_cell_divides_nothing(void **state)
{
    (void)state;
    struct cli_cell cell = {.n = 0};
    assert_true(cli_cell_accuracy(&cell) == 0);
    assert_true(cli_cell_mean_steps(&cell) == 0);
}

static void too_many_difficulties_are_refused(void **state)
{
    (void)state;
    size_t n = CLI_TALLY_MAX_GROUPS + 1;
    struct cli_question *all = calloc(n, sizeof *all);
    struct cli_question **items = calloc(n, sizeof *items);
    struct cli_trial_result *results = calloc(n, sizeof *results);
    struct cli_tally tally;
    struct ltd_err err;
    for (size_t i = 0; i < n; i++) {
        snprintf(all[i].number, sizeof all[i].number, "%zu", i);
        all[i].difficulty = all[i].number;
        all[i].is_number = true;
        all[i].difficulty_number = (int64_t)i;
        items[i] = &all[i];
    }
    struct cli_questions q = {.items = items, .n = n};
    assert_int_equal(cli_tally_build(&q, results, 1, CLI_TALLY_BY_DIFFICULTY, &tally, &err), -1);
    assert_int_equal(err.code, LTD_E_INVALID);
    q.n = n - 1;
    assert_int_equal(cli_tally_build(&q, results, 1, CLI_TALLY_BY_DIFFICULTY, &tally, &err), 0);
    cli_tally_fini(&tally);
    free(results);
    free(items);
    free(all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_of_questions_is_read),
        cmocka_unit_test(a_limit_stops_before_lines_that_are_not_needed),
        cmocka_unit_test(a_bad_line_is_named_and_nothing_is_kept),
        cmocka_unit_test(what_is_no_file_is_refused),
        cmocka_unit_test(an_answer_is_its_first_line_without_blanks),
        cmocka_unit_test(cells_are_sums_in_the_order_of_difficulty),
        cmocka_unit_test(an_empty_cell_divides_nothing),
        cmocka_unit_test(too_many_difficulties_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
