/* SPDX-License-Identifier: Apache-2.0 */
/* tests/cli/test_cli_options.c - a command line becomes the struct it describes, or a sentence. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cli/options.h"
#include "cli/verb.h"

struct inner {
    struct cli_u32 count;
    struct cli_ids ids;
};

struct args {
    bool loud;
    struct cli_u64 seed;
    struct cli_number heat;
    const char *label;
    struct cli_texts stop;
    struct cli_depth depth;
    struct cli_depths depths;
    struct cli_depth_ats ats;
    struct cli_u64 within_ms;
    struct inner inner;
};

static const struct cli_option own_rows[] = {
    {"loud", CLI_FLAG, offsetof(struct args, loud), NULL, "be loud"},
    {"seed", CLI_U64, offsetof(struct args, seed), "N", "the seed"},
    {"heat", CLI_NUMBER, offsetof(struct args, heat), "X", "the heat"},
    {"label", CLI_TEXT, offsetof(struct args, label), "TEXT", "the label"},
    {"stop", CLI_TEXTS, offsetof(struct args, stop), "TEXT", "where to stop"},
    {"depth", CLI_DEPTH, offsetof(struct args, depth), "N", "how deep"},
    {"depths", CLI_DEPTHS, offsetof(struct args, depths), "N,N", "how deep, all"},
    {"at", CLI_DEPTH_ATS, offsetof(struct args, ats), "T=N", "how deep, one"},
    {"within", CLI_DURATION, offsetof(struct args, within_ms), "DURATION", "how long"},
};

static const struct cli_option inner_rows[] = {
    {"count", CLI_U32, offsetof(struct inner, count), "N", "how many"},
    {"ids", CLI_IDS, offsetof(struct inner, ids), "ID,ID", "which"},
};

static const struct cli_group groups[] = {
    {own_rows, sizeof own_rows / sizeof own_rows[0], 0},
    {inner_rows, sizeof inner_rows / sizeof inner_rows[0], offsetof(struct args, inner)},
    {NULL, 0, 0},
};

struct parsed {
    struct args args;
    struct cli_words words;
    struct ltd_err err;
    int rc;
    char *line;
    const char *argv[32];
};

/* Parse one command line; words are parted by single blanks, and "" is an empty word. */
static void parse(struct parsed *p, const char *line, bool dash_is_word)
{
    int argc = 0;
    *p = (struct parsed){.line = strdup(line)};
    for (char *at = p->line; at && *line;) {
        p->argv[argc++] = at;
        at = strchr(at, ' ');
        if (at)
            *at++ = '\0';
    }
    p->rc = cli_options_parse(groups, argc, p->argv, &p->args, dash_is_word, &p->words, &p->err);
}

static void drop(struct parsed *p)
{
    cli_options_fini(groups, &p->args);
    free(p->words.items);
    free(p->line);
}

static void every_kind_of_value_arrives(void **state)
{
    (void)state;
    struct parsed p;
    parse(&p,
          "word --loud --seed 18446744073709551615 --heat=-0.5 --label --x --stop a --stop=b=c "
          "--depth adaptive --depths 1,2,adaptive --count 4294967295 --ids 1,2,65535 last",
          false);
    if (p.rc != 0)
        fail_msg("%s", p.err.msg);
    assert_true(p.args.loud);
    assert_true(p.args.seed.set);
    assert_true(p.args.seed.value == UINT64_MAX);
    assert_true(p.args.heat.value == -0.5);
    assert_string_equal(p.args.label, "--x");
    assert_int_equal(p.args.stop.n, 2);
    assert_string_equal(p.args.stop.items[1], "b=c");
    assert_true(p.args.depth.adaptive);
    assert_int_equal(p.args.depths.n, 3);
    assert_int_equal(p.args.depths.items[1].steps, 2);
    assert_true(p.args.depths.items[2].adaptive);
    assert_int_equal(p.args.inner.count.value, UINT32_MAX);
    assert_int_equal(p.args.inner.ids.n, 3);
    assert_int_equal(p.args.inner.ids.items[2], 65535);
    assert_int_equal(p.words.n, 2);
    assert_string_equal(p.words.items[1], "last");
    drop(&p);
}

static void a_range_of_depths_is_two_numbers(void **state)
{
    (void)state;
    struct parsed p;
    char name[CLI_DEPTH_NAME_BYTES];
    parse(&p, "--depth 4..4294967295", false);
    assert_int_equal(p.rc, 0);
    assert_true(p.args.depth.set && p.args.depth.range);
    assert_false(p.args.depth.adaptive);
    assert_int_equal(p.args.depth.min_steps, 4);
    assert_int_equal(p.args.depth.max_steps, UINT32_MAX);
    assert_string_equal(cli_depth_name(&p.args.depth, name, sizeof name), "4..4294967295");
    drop(&p);
    parse(&p, "--depth 4..4 --depth 7", false);
    assert_int_equal(p.rc, 0);
    assert_false(p.args.depth.range);
    assert_int_equal(p.args.depth.steps, 7);
    drop(&p);
}

static void depths_of_tokens_are_sorted_by_token(void **state)
{
    (void)state;
    struct parsed p;
    parse(&p, "--at 7=1 --at 0=64 --at=3=9 --at 9=0", false);
    if (p.rc != 0)
        fail_msg("%s", p.err.msg);
    static const struct cli_depth_at expected[] = {{0, 64}, {3, 9}, {7, 1}, {9, 0}};
    assert_int_equal(p.args.ats.n, 4);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(p.args.ats.items[i].token, expected[i].token);
        assert_int_equal(p.args.ats.items[i].steps, expected[i].steps);
    }
    drop(&p);
}

static void durations_have_units_and_are_whole_milliseconds(void **state)
{
    (void)state;
    static const struct {
        const char *line;
        uint64_t ms;
    } durations[] = {
        {"--within 20s", 20000},
        {"--within 1500ms", 1500},
        {"--within=2m", 120000},
        {"--within 1h", 3600000},
        {"--within 1.5s", 1500},
        {"--within 0.001s", 1},
        {"--within 0.0001m", 6},
        {"--within 1.250000000s", 1250},
        {"--within 18446744073709551615ms", UINT64_MAX},
        {"--within 1s --within 2s", 2000},
    };
    for (size_t i = 0; i < sizeof durations / sizeof durations[0]; i++) {
        struct parsed p;
        parse(&p, durations[i].line, false);
        if (p.rc != 0 || !p.args.within_ms.set || p.args.within_ms.value != durations[i].ms)
            fail_msg("%s: rc %d, %llu ms, expected %llu; %s", durations[i].line, p.rc,
                     (unsigned long long)p.args.within_ms.value,
                     (unsigned long long)durations[i].ms, p.err.msg);
        drop(&p);
    }
}

static void what_was_not_said_stays_unset(void **state)
{
    (void)state;
    struct parsed p;
    parse(&p, "", false);
    assert_int_equal(p.rc, 0);
    assert_false(p.args.seed.set || p.args.heat.set || p.args.depth.set || p.args.inner.ids.set);
    assert_null(p.args.label);
    assert_int_equal(p.words.n, 0);
    drop(&p);
}

static void an_empty_list_of_ids_is_a_list(void **state)
{
    (void)state;
    struct parsed p;
    parse(&p, "--ids=", false);
    assert_int_equal(p.rc, 0);
    assert_true(p.args.inner.ids.set);
    assert_int_equal(p.args.inner.ids.n, 0);
    drop(&p);
}

static void the_last_of_two_values_counts(void **state)
{
    (void)state;
    struct parsed p;
    parse(&p, "--seed 1 --ids 1,2 --depths 1,2 --seed 5 --ids 3 --depths 9", false);
    assert_int_equal(p.rc, 0);
    assert_int_equal(p.args.seed.value, 5);
    assert_int_equal(p.args.inner.ids.n, 1);
    assert_int_equal(p.args.inner.ids.items[0], 3);
    assert_int_equal(p.args.depths.n, 1);
    drop(&p);
}

static void everything_behind_two_dashes_is_a_word(void **state)
{
    (void)state;
    struct parsed p;
    parse(&p, "--loud -- --seed - -h --", false);
    assert_int_equal(p.rc, 0);
    assert_int_equal(p.words.n, 4);
    assert_string_equal(p.words.items[0], "--seed");
    assert_string_equal(p.words.items[2], "-h");
    assert_string_equal(p.words.items[3], "--");
    drop(&p);
}

static void a_lone_dash_is_a_word_only_where_input_is_read(void **state)
{
    (void)state;
    struct parsed p;
    parse(&p, "-", true);
    assert_int_equal(p.rc, 0);
    assert_string_equal(p.words.items[0], "-");
    drop(&p);
    parse(&p, "-", false);
    assert_int_equal(p.rc, -1);
    assert_non_null(strstr(p.err.msg, "standard input"));
    drop(&p);
}

static void nan_and_infinity_are_numbers_for_the_server_to_judge(void **state)
{
    (void)state;
    static const char *const lines[] = {"--heat nan", "--heat -inf", "--heat 1e400",
                                        "--heat 0x1p3"};
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        struct parsed p;
        parse(&p, lines[i], false);
        if (p.rc != 0)
            fail_msg("%s: %s", lines[i], p.err.msg);
        drop(&p);
    }
}

/* What is refused, and a piece of the sentence. */
static const struct {
    const char *line;
    const char *expected;
} refusals[] = {
    {"--sed 1", "unknown option --sed, did you mean --seed?"},
    {"--dpeth 1", "did you mean --depth?"},
    {"--dep 1", "did you mean --depth"},
    {"--zzzzzz", "unknown option --zzzzzz"},
    {"--seed", "--seed needs a value: --seed N"},
    {"--seed x", "--seed: \"x\" is not a whole number"},
    {"--seed -1", "--seed: \"-1\" is not a whole number"},
    {"--seed +1", "is not a whole number"},
    {"--seed=", "--seed: empty"},
    {"--seed 18446744073709551616", "--seed: 18446744073709551616 does not fit"},
    {"--count 4294967296", "--count: 4294967296 does not fit, the largest is 4294967295"},
    {"--heat warm", "--heat: \"warm\" is not a number"},
    {"--heat 1.0x", "is not a number"},
    {"--heat=", "is not a number"},
    {"--loud=yes", "--loud takes no value, found \"yes\""},
    {"--depth deep", "--depth: \"deep\", expected a number of steps, adaptive or MIN..MAX"},
    {"--depth -4", "expected a number of steps, adaptive or MIN..MAX"},
    {"--depth 4..", "--depth: empty, expected a whole number"},
    {"--depth ..4", "--depth: empty, expected a whole number"},
    {"--depth 4..x", "--depth: \"x\" is not a whole number"},
    {"--depth 4...8", "--depth: \".8\" is not a whole number"},
    {"--depth 8..4", "--depth: 8..4, expected MIN..MAX with 1 <= MIN <= MAX"},
    {"--depth 0..4", "--depth: 0..4, expected MIN..MAX with 1 <= MIN <= MAX"},
    {"--depth 1..4294967296", "does not fit"},
    {"--depths 1,4..8", "--depths: \"4..8\" is not a whole number"},
    {"--at 3", "--at: \"3\", expected TOKEN=STEPS"},
    {"--at =3", "--at: empty"},
    {"--at 3=", "--at: empty"},
    {"--at 3=x", "--at: \"x\" is not a whole number"},
    {"--at 3=4 --at 1=4 --at 3=5", "--at: token 3 is given twice"},
    {"--within 20", "--within: \"20\" is no duration, expected a number and ms, s, m, h or d"},
    {"--within s", "is no duration"},
    {"--within .5s", "is no duration"},
    {"--within -1s", "is no duration"},
    {"--within 1w", "is no duration"},
    {"--within 1s2", "is no duration"},
    {"--within 0s", "--within: 0s, expected more than 0"},
    {"--within 0.0ms", "expected more than 0"},
    {"--within 0.0001s", "--within: 0.0001s, expected whole milliseconds"},
    {"--within 1.s", "expected whole milliseconds"},
    {"--within 1.0000000000s", "expected whole milliseconds"},
    {"--within 18446744073709551615s", "--within: 18446744073709551615s does not fit"},
    {"--within 99999999999999999999ms", "does not fit"},
    {"--depths 1,,2", "expected a number of steps or adaptive"},
    {"--depths 1,2,1", "depth 1 is listed twice"},
    {"--depths adaptive,adaptive", "depth adaptive is listed twice"},
    {"--ids 1,,2", "--ids: empty"},
    {"--ids 1,2,", "--ids: empty"},
    {"--ids 1;2", "--ids: \"1;2\" is not a whole number"},
    {"--ids 4294967296", "does not fit"},
    {"-s", "flags begin with two dashes"},
    {"-seed 5", "flags begin with two dashes"},
    {"--=5", "unknown option --"},
};

static void wrong_input_is_refused_with_a_sentence(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++) {
        struct parsed p;
        parse(&p, refusals[i].line, false);
        if (p.rc != -1 || p.err.code != LTD_E_INVALID || !strstr(p.err.msg, refusals[i].expected))
            fail_msg("%s: rc %d, \"%s\", expected \"%s\"", refusals[i].line, p.rc, p.err.msg,
                     refusals[i].expected);
        drop(&p);
    }
}

static void help_is_h_as_well(void **state)
{
    (void)state;
    for (size_t v = 0; v < cli_n_verbs; v++) {
        const char *argv[] = {"-h"};
        struct cli_words words;
        struct ltd_err err;
        struct cli_common *args = calloc(1, cli_verbs[v]->args_bytes);
        assert_non_null(args);
        assert_int_equal(
            cli_options_parse(cli_verbs[v]->groups, 1, argv, args, false, &words, &err), 0);
        assert_true(args->help);
        cli_options_fini(cli_verbs[v]->groups, args);
        free(words.items);
        free(args);
    }
}

/* A row that points outside its struct would write over somebody else's memory. */
static void every_row_of_every_verb_is_sound(void **state)
{
    (void)state;
    for (size_t v = 0; v < cli_n_verbs; v++) {
        const struct cli_verb *verb = cli_verbs[v];
        size_t n_groups = 0;
        for (const struct cli_group *g = verb->groups; g->rows; g++, n_groups++)
            for (size_t i = 0; i < g->n_rows; i++) {
                const struct cli_option *row = &g->rows[i];
                if (g->base_bytes + row->offset >= verb->args_bytes)
                    fail_msg("%s --%s lies outside its struct", verb->name, row->name);
                assert_int_equal(row->metavar == NULL, row->kind == CLI_FLAG);
                const struct cli_option *found =
                    cli_option_find(verb->groups, row->name, strlen(row->name), NULL);
                if (found != row)
                    fail_msg("%s has two options --%s", verb->name, row->name);
            }
        assert_true(n_groups < CLI_MAX_GROUPS);
        assert_non_null(cli_option_find(verb->groups, "json", 4, NULL));
        assert_ptr_equal(cli_verb_find(verb->name), verb);
    }
}

static void a_verb_that_is_nearly_right_is_suggested(void **state)
{
    (void)state;
    assert_ptr_equal(cli_verb_nearest("thnik"), &cli_think);
    assert_ptr_equal(cli_verb_nearest("subnit"), &cli_submit);
    assert_ptr_equal(cli_verb_nearest("tok"), &cli_tokenize);
    assert_null(cli_verb_nearest("frobnicate"));
    assert_null(cli_verb_nearest(""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_of_value_arrives),
        cmocka_unit_test(a_range_of_depths_is_two_numbers),
        cmocka_unit_test(depths_of_tokens_are_sorted_by_token),
        cmocka_unit_test(durations_have_units_and_are_whole_milliseconds),
        cmocka_unit_test(what_was_not_said_stays_unset),
        cmocka_unit_test(an_empty_list_of_ids_is_a_list),
        cmocka_unit_test(the_last_of_two_values_counts),
        cmocka_unit_test(everything_behind_two_dashes_is_a_word),
        cmocka_unit_test(a_lone_dash_is_a_word_only_where_input_is_read),
        cmocka_unit_test(nan_and_infinity_are_numbers_for_the_server_to_judge),
        cmocka_unit_test(wrong_input_is_refused_with_a_sentence),
        cmocka_unit_test(help_is_h_as_well),
        cmocka_unit_test(every_row_of_every_verb_is_sound),
        cmocka_unit_test(a_verb_that_is_nearly_right_is_suggested),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
