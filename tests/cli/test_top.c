/* SPDX-License-Identifier: Apache-2.0 */
/* tests/cli/test_top.c - rates and percentiles from statuses, and what a screen is painted with. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cli/rates.h"
#include "cli/status_text.h"
#include "cli/terminal.h"
#include "cli/top_screen.h"

/* ---- histograms ---- */

struct histogram {
    Latentd__V1__Histogram message;
    double bounds[3];
    uint64_t counts[4];
};

static Latentd__V1__Histogram *histogram(struct histogram *h, uint64_t a, uint64_t b, uint64_t c,
                                         uint64_t above)
{
    *h = (struct histogram){.bounds = {1, 10, 100}, .counts = {a, b, c, above}};
    latentd__v1__histogram__init(&h->message);
    h->message.bounds = h->bounds;
    h->message.n_bounds = 3;
    h->message.counts = h->counts;
    h->message.n_counts = 4;
    return &h->message;
}

static void assert_percentile(const struct cli_percentile *p, const char *expected)
{
    char text[CLI_PERCENTILE_BYTES];
    assert_string_equal(cli_percentile_text(p, text), expected);
}

static void assert_at(const Latentd__V1__Histogram *before, const Latentd__V1__Histogram *now,
                      double share, const char *expected)
{
    struct cli_percentile p = cli_histogram_percentile(before, now, share);
    assert_percentile(&p, expected);
}

static void a_percentile_is_the_bound_of_its_bucket(void **state)
{
    (void)state;
    struct histogram h;
    histogram(&h, 50, 40, 9, 1);
    assert_at(NULL, &h.message, 0.5, "<=1");
    assert_at(NULL, &h.message, 0.51, "<=10");
    assert_at(NULL, &h.message, 0.9, "<=10");
    assert_at(NULL, &h.message, 0.99, "<=100");
    assert_at(NULL, &h.message, 1.0, ">100");
}

static void percentiles_of_an_interval_forget_what_was_before(void **state)
{
    (void)state;
    struct histogram before, now;
    histogram(&before, 1000, 0, 0, 0);
    histogram(&now, 1000, 0, 3, 1);
    assert_at(&before.message, &now.message, 0.5, "<=100");
    assert_at(&before.message, &now.message, 1.0, ">100");
    assert_at(NULL, &now.message, 0.5, "<=1");
}

static void an_empty_or_broken_histogram_has_no_percentile(void **state)
{
    (void)state;
    struct histogram h, other;
    histogram(&h, 0, 0, 0, 0);
    assert_at(NULL, &h.message, 0.5, "-");
    assert_at(NULL, NULL, 0.5, "-");
    assert_at(&h.message, &h.message, 0.5, "-");
    histogram(&h, 1, 2, 3, 4);
    h.message.n_counts = 3;
    assert_at(NULL, &h.message, 0.5, "-");
    h.message.n_counts = 0;
    assert_at(NULL, &h.message, 0.5, "-");
    histogram(&h, 1, 2, 3, 4);
    histogram(&other, 1, 1, 1, 1);
    other.bounds[1] = 11;
    assert_at(&other.message, &h.message, 0.5, "-");
    /* One bucket for everything says nothing about anything. */
    h.message.n_bounds = 0;
    h.message.n_counts = 1;
    assert_at(NULL, &h.message, 0.5, "-");
}

static void a_spread_has_the_mean_of_the_interval(void **state)
{
    (void)state;
    struct histogram before, now;
    histogram(&before, 2, 0, 0, 0)->sum = 1.5;
    histogram(&now, 2, 4, 0, 0)->sum = 21.5;
    struct cli_spread s = cli_histogram_spread(&before.message, &now.message);
    assert_true(s.mean == 5.0);
    assert_percentile(&s.p50, "<=10");
    s = cli_histogram_spread(&now.message, &now.message);
    assert_true(isnan(s.mean));
}

/* ---- rates ---- */

static Latentd__V1__ClusterStatus status_at(uint64_t uptime_ms, uint64_t n)
{
    Latentd__V1__ClusterStatus s = LATENTD__V1__CLUSTER_STATUS__INIT;
    s.uptime_ms = uptime_ms;
    s.ticks = 10 * n;
    s.tick_positions = 80 * n;
    s.decode_positions = 60 * n;
    s.prefill_positions = 20 * n;
    s.tokens_out = 4 * n;
    s.steps_out = 48 * n;
    s.coda_positions = 6 * n;
    s.check_positions = 2 * n;
    s.check_rows = n;
    return s;
}

static void rates_are_differences_over_the_daemons_own_clock(void **state)
{
    (void)state;
    Latentd__V1__ClusterStatus before = status_at(10000, 5), now = status_at(12000, 7);
    struct cli_rates r;
    cli_rates_between(&before, &now, &r);
    assert_false(r.is_since_start);
    assert_true(r.seconds == 2.0);
    assert_true(r.ticks_per_s == 10.0);
    assert_true(r.positions_per_s == 80.0);
    assert_true(r.positions_per_tick == 8.0);
    assert_true(r.decode_share == 0.75);
    assert_true(r.prefill_share == 0.25);
    assert_true(r.replay_share == 0.0);
    assert_true(r.tokens_per_s == 4.0);
    assert_true(r.mean_steps == 12.0);
    assert_true(r.coda_per_token == 1.5);
    assert_true(r.check_positions_per_token == 0.5);
    assert_true(r.check_rows_per_token == 0.25);
}

static void without_a_status_before_the_interval_is_the_daemons_life(void **state)
{
    (void)state;
    Latentd__V1__ClusterStatus now = status_at(4000, 2);
    struct cli_rates r;
    cli_rates_between(NULL, &now, &r);
    assert_true(r.is_since_start);
    assert_true(r.seconds == 4.0);
    assert_true(r.tokens_per_s == 2.0);
}

static void a_daemon_that_was_started_again_is_seen_from_its_start(void **state)
{
    (void)state;
    Latentd__V1__ClusterStatus before = status_at(90000, 50), now = status_at(1000, 1);
    struct cli_rates r;
    cli_rates_between(&before, &now, &r);
    assert_true(r.is_since_start);
    assert_true(r.seconds == 1.0);
    assert_true(r.ticks_per_s == 10.0);
}

static void what_did_not_happen_has_no_mean(void **state)
{
    (void)state;
    Latentd__V1__ClusterStatus now = status_at(5000, 3);
    struct cli_rates r;
    cli_rates_between(&now, &now, &r);
    assert_true(isnan(r.ticks_per_s)); /* no time has passed */
    assert_true(isnan(r.positions_per_tick));
    assert_true(isnan(r.mean_steps));
    assert_true(isnan(r.decode_share));
    assert_true(isnan(r.tick_ms.mean));
}

/* ---- depths ---- */

static void depths_are_counted_in_ranges_that_double(void **state)
{
    (void)state;
    uint64_t fixed[16] = {0}, budget[5] = {0, 2, 1, 4, 8};
    Latentd__V1__DepthCounts depths[2], *ptrs[2] = {&depths[0], &depths[1]};
    Latentd__V1__ClusterStatus s = LATENTD__V1__CLUSTER_STATUS__INIT;
    struct ltd_bytes out;
    fixed[15] = 3;
    latentd__v1__depth_counts__init(&depths[0]);
    latentd__v1__depth_counts__init(&depths[1]);
    depths[0].exit = LATENTD__V1__EXIT_REASON__EXIT_REASON_FIXED;
    depths[0].n_tokens = 16;
    depths[0].tokens = fixed;
    depths[1].exit = LATENTD__V1__EXIT_REASON__EXIT_REASON_BUDGET;
    depths[1].n_tokens = 5;
    depths[1].tokens = budget;
    s.n_depths = 2;
    s.depths = ptrs;
    ltd_bytes_init(&out);
    cli_depth_table(&s, &out);
    ltd_bytes_put_u8(&out, '\0');
    assert_string_equal((const char *)out.data, "EXIT    TOKENS   MEAN  2  3-4  5-8  9-16\n"
                                                "fixed        3  16.00  0    0    0     3\n"
                                                "budget      15   4.20  2    5    8     0\n");
    ltd_bytes_fini(&out);
}

static void without_tokens_there_is_no_table_of_depths(void **state)
{
    (void)state;
    Latentd__V1__ClusterStatus s = LATENTD__V1__CLUSTER_STATUS__INIT;
    struct ltd_bytes out;
    ltd_bytes_init(&out);
    cli_depth_table(&s, &out);
    assert_int_equal(out.len, 0);
    ltd_bytes_fini(&out);
}

/* Deeper than any daemon goes, and it still has a column. */
static void the_deepest_range_takes_whatever_is_deeper(void **state)
{
    (void)state;
    uint64_t *tokens = calloc(5000, sizeof *tokens);
    Latentd__V1__DepthCounts depths, *ptr = &depths;
    Latentd__V1__ClusterStatus s = LATENTD__V1__CLUSTER_STATUS__INIT;
    struct ltd_bytes out;
    assert_non_null(tokens);
    tokens[4999] = 1;
    latentd__v1__depth_counts__init(&depths);
    depths.exit = LATENTD__V1__EXIT_REASON__EXIT_REASON_MAX_STEPS;
    depths.n_tokens = 5000;
    depths.tokens = tokens;
    s.n_depths = 1;
    s.depths = &ptr;
    ltd_bytes_init(&out);
    cli_depth_table(&s, &out);
    ltd_bytes_put_u8(&out, '\0');
    assert_string_equal((const char *)out.data, "EXIT       TOKENS     MEAN  2049-4096\n"
                                                "max_steps       1  5000.00          1\n");
    ltd_bytes_fini(&out);
    free(tokens);
}

static void uptimes_are_days_and_a_clock(void **state)
{
    (void)state;
    char buf[CLI_UPTIME_BYTES];
    assert_string_equal(cli_uptime_text(0, buf), "00:00:00");
    assert_string_equal(cli_uptime_text(3723999, buf), "01:02:03");
    assert_string_equal(cli_uptime_text(90061000, buf), "1 d 01:01:01");
    assert_true(strlen(cli_uptime_text(UINT64_MAX, buf)) < CLI_UPTIME_BYTES);
}

/* ---- the screen ---- */

/* A daemon that says nothing must not take the screen down with it. */
static void an_empty_status_makes_a_screen(void **state)
{
    (void)state;
    Latentd__V1__ClusterStatus s = LATENTD__V1__CLUSTER_STATUS__INIT;
    struct ltd_err failure;
    struct cli_rates rates;
    struct ltd_bytes out;
    cli_rates_between(NULL, &s, &rates);
    ltd_fail(&failure, LTD_E_UNAVAILABLE, "nobody answers");
    const struct cli_top_view view = {.status = &s, .rates = &rates, .failure = &failure};
    ltd_bytes_init(&out);
    cli_top_screen(&view, &out);
    ltd_bytes_put_u8(&out, '\0');
    const char *text = (const char *)out.data;
    assert_non_null(strstr(text, "no newer status: unavailable: nobody answers\n"));
    assert_non_null(strstr(text, "waiting   nobody\n"));
    assert_non_null(strstr(text, "batch     [--------------------] - of 0 positions"));
    assert_non_null(strstr(text, "tick ms   mean -, p50 -, p90 -, p99 -\n"));
    assert_non_null(strstr(text, "kv pages  [--------------------] 0 used (0 shared), 0 cached"));
    assert_null(strstr(text, "nan"));
    ltd_bytes_fini(&out);
}

static void assert_frame(const char *text, size_t columns, size_t rows, const char *expected)
{
    struct ltd_bytes in, out;
    ltd_bytes_init(&in);
    ltd_bytes_init(&out);
    ltd_bytes_put_str(&in, text);
    cli_terminal_frame(&in, columns, rows, &out);
    ltd_bytes_put_u8(&out, '\0');
    assert_string_equal((const char *)out.data, expected);
    ltd_bytes_fini(&in);
    ltd_bytes_fini(&out);
}

static void a_frame_is_cut_at_the_edges_of_the_screen(void **state)
{
    (void)state;
    assert_frame("one\ntwo\n", 80, 24, "\033[Hone\033[K\r\ntwo\033[K\033[J");
    assert_frame("one\ntwo\n", 2, 24, "\033[Hon\033[K\r\ntw\033[K\033[J");
    assert_frame("one\ntwo\nthree\n", 80, 2, "\033[Hone\033[K\r\ntwo\033[K\033[J");
    assert_frame("a\n\nb", 80, 24, "\033[Ha\033[K\r\n\033[K\r\nb\033[K\033[J");
    assert_frame("", 80, 24, "\033[H\033[J");
}

static void a_frame_never_cuts_a_character_and_never_steers(void **state)
{
    (void)state;
    assert_frame("\xC3\xA4\xC3\xB6\xC3\xBC\n", 2, 5, "\033[H\xC3\xA4\xC3\xB6\033[K\033[J");
    /* A Han character needs two columns: the second one does not fit into three. */
    assert_frame("\xE6\xBC\xA2\xE6\xBC\xA2\n", 3, 5, "\033[H\xE6\xBC\xA2\033[K\033[J");
    assert_frame("host\033[2J\n", 80, 5, "\033[Hhost?[2J\033[K\033[J");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_percentile_is_the_bound_of_its_bucket),
        cmocka_unit_test(percentiles_of_an_interval_forget_what_was_before),
        cmocka_unit_test(an_empty_or_broken_histogram_has_no_percentile),
        cmocka_unit_test(a_spread_has_the_mean_of_the_interval),
        cmocka_unit_test(rates_are_differences_over_the_daemons_own_clock),
        cmocka_unit_test(without_a_status_before_the_interval_is_the_daemons_life),
        cmocka_unit_test(a_daemon_that_was_started_again_is_seen_from_its_start),
        cmocka_unit_test(what_did_not_happen_has_no_mean),
        cmocka_unit_test(depths_are_counted_in_ranges_that_double),
        cmocka_unit_test(without_tokens_there_is_no_table_of_depths),
        cmocka_unit_test(the_deepest_range_takes_whatever_is_deeper),
        cmocka_unit_test(uptimes_are_days_and_a_clock),
        cmocka_unit_test(an_empty_status_makes_a_screen),
        cmocka_unit_test(a_frame_is_cut_at_the_edges_of_the_screen),
        cmocka_unit_test(a_frame_never_cuts_a_character_and_never_steers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
