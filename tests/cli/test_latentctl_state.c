/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/cli/test_latentctl_state.c - info, top and plan: the verbs of the real program that look at
 * a daemon's state or at a machine, against a server whose status moves on evenly (fake_status.h).
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "tests/cli/cases.h"

/* ---- info ---- */

static void info_shows_model_tiers_ranks_and_counters(void **state)
{
    (void)state;
    struct run run;
    fake_rewind_status(fake);
    run_on_fake(&run, "info");
    assert_int_equal(run.status, 0);
    static const char *const pieces[] = {
        "model       models/tiny\n",
        "parameters  3.500 G\n",
        "kv cache    latest-m4, f32, 337920 bytes a position\n",
        "amx   no      the processor has no amx-bf16\n",
        "avx2  yes\n",
        "   1  node-b        4  28..55",
        "uptime    1 d 01:01:01\n",
        "2.50 of 16 positions a tick",
        "mean depth 16.00, 5 in all\n",
        "EXIT       TOKENS   MEAN  3-4  5-8  9-16  17-32\n",
    };
    for (size_t i = 0; i < sizeof pieces / sizeof pieces[0]; i++)
        expect_piece(&run, pieces[i]);
    run_free(&run);
}

static void info_json_has_every_field_of_the_status(void **state)
{
    (void)state;
    fake_rewind_status(fake);
    json_t *value = expect_json("info --json", 0);
    const json_t *model = json_object_get(value, "model");
    const json_t *status = json_object_get(value, "status");
    assert_string_equal(text_at(model, "name"), "models/tiny");
    assert_array(model, "end_tokens", "[2,65505]");
    assert_true(real_at(model, "default_temperature") == 0.7);
    assert_int_equal(json_array_size(json_object_get(model, "tiers")), 2);
    assert_string_equal(text_at(model, "kv_format"), "f32");
    assert_int_equal(integer_at(model, "kv_bytes_per_position"), 337920);
    assert_string_equal(text_at(status, "state"), "serving");
    assert_array(json_array_get(json_object_get(status, "ranks"), 1), "heads", "[28,55]");
    static const struct {
        const char *key;
        json_int_t value;
    } numbers[] = {
        {"jobs_queued", 4},      {"jobs_running", 2},      {"jobs_finished", 7},
        {"jobs_held", 1},        {"positions_running", 9}, {"ticks", 4},
        {"tick_positions", 10},  {"decode_positions", 6},  {"prefill_positions", 3},
        {"replay_positions", 1}, {"max_batch", 16},        {"preemptions", 2},
        {"tokens_out", 5},       {"steps_out", 80},        {"coda_positions", 6},
        {"check_positions", 1},  {"head_rows", 6},         {"check_rows", 1},
        {"pages_total", 100},    {"pages_used", 40},       {"pages_shared", 10},
        {"pages_cached", 20},    {"prefix_positions", 48}, {"uptime_ms", 90061000},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        if (integer_at(status, numbers[i].key) != numbers[i].value)
            fail_msg("%s: %lld, expected %lld", numbers[i].key,
                     (long long)integer_at(status, numbers[i].key), (long long)numbers[i].value);
    assert_true(real_at(status, "load") == 0.25);
    assert_true(real_at(status, "wait_ms") == 1500);
    assert_array(status, "waiting",
                 "[{\"priority\":0,\"jobs\":1},{\"priority\":16,\"jobs\":2},"
                 "{\"priority\":20,\"jobs\":1}]");
    assert_array(status, "queue_ms",
                 "{\"bounds\":[1.0,10.0,100.0],\"counts\":[0,0,1,1],\"sum\":600.0}");
    assert_array(json_object_get(status, "tick_ms"), "counts", "[1,1,1,1,0,0,0]");
    assert_array(json_object_get(status, "batch"), "counts", "[2,0,2,0,0,0]");
    const json_t *depths = json_array_get(json_object_get(status, "depths"), 0);
    assert_string_equal(text_at(depths, "exit"), "fixed");
    assert_array(depths, "tokens", "[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,3]");
    const json_t *costs = json_object_get(status, "costs");
    assert_true(real_at(costs, "tick_each_us") == 250);
    assert_int_equal(json_object_size(costs), 8);
    json_decref(value);
}

/* ---- top ---- */

/* What the first status looks like, with rates since the daemon's start. */
#define FIRST_SCREEN                                                                               \
    "latentd 0.1.0, serving models/tiny, up 1 d 01:01:01, 2 ranks, 8 threads\n"                    \
    "rates since the daemon's start\n"                                                             \
    "\n"                                                                                           \
    "jobs      2 running, 4 queued, 7 finished, 1 of them kept for continue\n"                     \
    "waiting   1 of priority 20, 2 of priority 16, 1 on hold\n"                                    \
    "load      0.25 (0: ranges get their most steps, 1: their least)\n"                            \
    "wait      1.5 s until a new job would start\n"                                                \
    "batch     [###-----------------] 2.50 of 16 positions a tick, p50 <=1, p99 <=4\n"             \
    "mix       decode 60.0%, prefill 30.0%, replay 10.0%; 9 positions running\n"                   \
    "ticks     0.0/s of 0.0 positions/s, lately 2.50 ms each, 4 in all\n"                          \
    "tick ms   mean 2.25, p50 <=2, p90 <=10, p99 <=10\n"                                           \
    "queue ms  mean 300.00, p50 <=100, p90 >100, p99 >100\n"                                       \
    "tokens    0.0/s, mean depth 16.00, 5 in all\n"                                                \
    "checks    0.20 rows of logits a token for exit checks, 0.20 of 1.20 coda passes\n"            \
    "kv pages  [########====--------] 40 used (10 shared), 20 cached, 40 free\n"                   \
    "reuse     48 prompt positions taken over, 2 preemptions\n"                                    \
    "costs ms  tick 5 + 0.25 n, prelude 0 + 0 n, coda 0 + 0 n, head 0 + 0.0015 n\n"                \
    "\n"                                                                                           \
    "EXIT       TOKENS   MEAN  3-4  5-8  9-16  17-32\n"                                            \
    "fixed           3  16.00    0    0     3      0\n"                                            \
    "converged       2  17.00    1    0     0      1\n"

static void top_once_is_one_screen_as_text(void **state)
{
    (void)state;
    fake_rewind_status(fake);
    expect("top --once", 0, FIRST_SCREEN, "");
    assert_int_equal(fake_n_statuses(fake), 1);
}

static void top_batch_has_the_rates_between_two_statuses(void **state)
{
    (void)state;
    static const char *const pieces[] = {
        "\n\nlatentd 0.1.0, serving models/tiny, up 1 d 01:01:02, 2 ranks, 8 threads\n"
        "rates of the last 1.0 s\n",
        "batch     [##########----------] 8.00 of 16 positions a tick, p50 <=8, p99 <=8\n",
        "mix       decode 75.0%, prefill 18.8%, replay 6.2%; 9 positions running\n",
        "ticks     100.0/s of 800.0 positions/s, lately 2.50 ms each, 104 in all\n",
        "tick ms   mean 3.00, p50 <=2, p90 <=5, p99 <=10\n",
        "queue ms  mean 300.00, p50 <=100, p90 >100, p99 >100 (since start)\n",
        "tokens    20.0/s, mean depth 12.00, 25 in all\n",
        "checks    0.50 rows of logits a token for exit checks, 0.50 of 1.50 coda passes\n",
    };
    struct run run;
    fake_rewind_status(fake);
    run_on_fake(&run, "top --batch --count 2 --interval 0.1");
    assert_int_equal(run.status, 0);
    assert_memory_equal(run.out, FIRST_SCREEN, strlen(FIRST_SCREEN));
    for (size_t i = 0; i < sizeof pieces / sizeof pieces[0]; i++)
        expect_piece(&run, pieces[i]);
    assert_int_equal(fake_n_statuses(fake), 2);
    run_free(&run);
}

static void top_json_is_one_object_per_status(void **state)
{
    (void)state;
    struct run run;
    fake_rewind_status(fake);
    run_on_fake(&run, "top --json --count 2 --interval 0.1");
    assert_int_equal(run.status, 0);
    assert_non_null(strtok(run.out, "\n"));
    json_t *value = json_loads(strtok(NULL, "\n"), 0, NULL);
    assert_non_null(value);
    const json_t *rates = json_object_get(value, "rates");
    const json_t *tick_ms = json_object_get(rates, "tick_ms");
    assert_true(json_is_false(json_object_get(rates, "since_start")));
    assert_true(real_at(rates, "tokens_per_s") == 20);
    assert_true(real_at(rates, "decode_share") == 0.75);
    assert_true(real_at(tick_ms, "p90") == 5);
    assert_true(json_is_null(json_object_get(json_object_get(rates, "queue_ms"), "p50")));
    assert_int_equal(integer_at(json_object_get(value, "status"), "ticks"), 104);
    assert_null(strtok(NULL, "\n"));
    json_decref(value);
    run_free(&run);
}

static const struct run_options *on_terminal(void)
{
    static struct run_options options = {.err_is_pty = true, .out_is_pty = true, .in_is_pty = true};
    options.server = fake_address(fake);
    return &options;
}

#define SCREEN_BEGIN "\033[?1049h\033[?25l"
#define SCREEN_END   "\033[?25h\033[?1049l"

static void top_on_a_terminal_is_a_screen_that_goes_away_again(void **state)
{
    (void)state;
    struct run run;
    fake_rewind_status(fake);
    run_start(&run, on_terminal(), "top --interval 0.1");
    run_until_err(&run, "rates of the last 1.0 s");
    run_type(&run, "xq");
    run_wait(&run);
    assert_int_equal(run.status, 0);
    assert_memory_equal(run.err, SCREEN_BEGIN, strlen(SCREEN_BEGIN));
    assert_non_null(strstr(run.err, "\033[Hlatentd 0.1.0, serving models/tiny"));
    assert_string_equal(run.err + strlen(run.err) - strlen(SCREEN_END), SCREEN_END);
    /* What was typed is not echoed between the screens. */
    assert_null(strstr(run.err, "xq"));
    run_free(&run);
}

static void ctrl_c_gives_the_terminal_back(void **state)
{
    (void)state;
    struct run run;
    fake_rewind_status(fake);
    run_start(&run, on_terminal(), "top --interval 3600");
    run_until_err(&run, "rates since the daemon's start");
    kill(run.pid, SIGINT);
    run_wait(&run);
    assert_int_equal(run.status, 130);
    assert_non_null(strstr(run.err, SCREEN_END "latentctl: top: interrupted"));
    run_free(&run);
}

static void top_outlives_a_daemon_that_is_away(void **state)
{
    (void)state;
    struct run run;
    fake_rewind_status(fake);
    run_start(&run, on_terminal(), "top --interval 0.1");
    run_until_err(&run, "rates of the last 1.0 s");
    fake_set_away(fake, true);
    run_until_err(&run, "no newer status: unavailable: restarting");
    uint64_t n_before = fake_n_statuses(fake);
    fake_set_away(fake, false);
    uint64_t deadline = ltd_deadline_ns(30000);
    while (fake_n_statuses(fake) < n_before + 2 && ltd_now_ns() < deadline)
        usleep(1000);
    assert_true(fake_n_statuses(fake) >= n_before + 2);
    run_type(&run, "q");
    run_wait(&run);
    assert_int_equal(run.status, 0);
    run_free(&run);
}

static void wrong_use_of_top_is_refused(void **state)
{
    (void)state;
    fake_set_away(fake, true);
    expect("top --once", 4, "", "latentctl: top: unavailable: restarting\n");
    expect("top --batch", 4, "", "latentctl: top: unavailable: restarting\n");
    fake_set_away(fake, false);
    expect("top", 2, "",
           "latentctl: top: invalid: standard output is no terminal that can be drawn on: expected "
           "one, or --once, --batch or --json\n");
    expect("top --once --interval 0", 2, "",
           "latentctl: top: invalid: --interval: 0, expected 0.1 to 3600 seconds\n");
    expect("top --once --interval nan", 2, "", NULL);
    expect("top --once --count 3", 2, "",
           "latentctl: top: invalid: --once and --count: give one of them\n");
    expect("top --batch --timeout 0.4", 6, NULL, NULL);
}

/* ---- plan ---- */

#define HUGINN                                                                                     \
    "{\"model_type\": \"huginn_raven\", \"n_embd\": 5280, \"num_attention_heads\": 55, "           \
    "\"intermediate_size\": 17920, \"n_layers_in_prelude\": 2, "                                   \
    "\"n_layers_in_recurrent_block\": 4, \"n_layers_in_coda\": 2, \"vocab_size\": 65536}"

static void plan_prints_the_costs_of_a_model(void **state)
{
    (void)state;
    static const char *const pieces[] = {
        "recurrent block          1581592320\n",
        "total                    3564976800\n",
        "Read bandwidth of a host: 20.00 GB/s, as given.\n",
        "Cache of a host: 64.0 MiB, as given.\n",
        "f32         6.549 GB             7.710 GB  yes\n",
        "bf16        3.274 GB             3.855 GB  yes\n",
        "int8        1.638 GB             1.929 GB  yes\n",
        "int4      920.938 MB             1.084 GB  yes\n",
        "bf16    1      356.5 ms  847.6 ms   1.503 s   2.812 s   5.432 s  10.671 s\n",
        "full, max_steps 32       32    5575680             12     2787840             24\n",
        "kv_slots 3                3     675840             99      337920            198\n",
    };
    struct run run;
    char args[160];
    cases_write("config.json", HUGINN);
    snprintf(args, sizeof args, "plan --bandwidth 20 --cache 64 --kv-slots 3 --ranks 1,64 %s",
             cases_folder());
    run_on_fake(&run, args);
    assert_int_equal(run.status, 0);
    for (size_t i = 0; i < sizeof pieces / sizeof pieces[0]; i++)
        expect_piece(&run, pieces[i]);
    run_free(&run);
}

static void plan_json_has_the_exact_numbers(void **state)
{
    (void)state;
    char args[160];
    cases_write("config.json", HUGINN);
    snprintf(args, sizeof args,
             "plan --json --bandwidth 20 --cache 1.5 --ranks 2,3 --kv-format bf16 %s",
             cases_folder());
    json_t *value = expect_json(args, 0);
    assert_int_equal(integer_at(value, "step_entries"), 1637222400);
    assert_int_equal(integer_at(value, "fixed_entries"), 1927495680);
    assert_int_equal(integer_at(value, "cache_bytes"), 1572864);
    assert_true(json_is_null(json_object_get(value, "measured")));
    assert_array(value, "depths", "[1,4,8,16,32,64]");
    assert_int_equal(integer_at(json_object_get(value, "parameters"), "total"), 3564976800);
    const json_t *f32 = json_array_get(json_object_get(value, "formats"), 0);
    const json_t *int4 = json_array_get(json_object_get(value, "formats"), 3);
    assert_string_equal(text_at(f32, "format"), "f32");
    assert_true(json_is_true(json_object_get(f32, "served")));
    assert_true(json_is_true(json_object_get(int4, "served")));
    assert_int_equal(integer_at(f32, "step_bytes"), 6548889600);
    assert_true(json_is_null(json_object_get(f32, "ranks_to_fit_cache")));
    const json_t *two = json_array_get(json_object_get(f32, "ranks"), 0);
    assert_int_equal(integer_at(two, "ranks"), 2);
    assert_int_equal(json_array_size(json_object_get(two, "token_seconds")), 6);
    const json_t *kv = json_object_get(value, "kv");
    assert_int_equal(json_array_size(kv), 7);
    assert_string_equal(text_at(json_array_get(kv, 0), "format"), "bf16");
    assert_int_equal(integer_at(json_array_get(kv, 3), "bytes_per_token"), 168960);
    assert_int_equal(integer_at(json_array_get(kv, 3), "pages_per_gib"), 397);
    assert_true(json_is_null(json_object_get(value, "ladder")));
    json_decref(value);
}

/* 24 steps of 1.638 GB (half of it and 28 of 55 heads with two ranks) and 8 of 3.274 GB, and 3.855 GB once. */
static void plan_of_a_ladder_counts_both_copies(void **state)
{
    (void)state;
    struct run run;
    char args[200];
    cases_write("config.json", HUGINN);
    snprintf(args, sizeof args,
             "plan --bandwidth 20 --cache 64 --ranks 1,2 --early-format int8 --early-steps 24 %s",
             cases_folder());
    run_on_fake(&run, args);
    assert_int_equal(run.status, 0);
    expect_piece(&run, "The ladder: the first 24 steps in int8, the others and all else in bf16.");
    expect_piece(
        &run, "1         4.913 GB  274.7 ms  520.4 ms  848.0 ms   1.503 s   3.468 s   8.708 s\n");
    run_free(&run);

    snprintf(args, sizeof args,
             "plan --json --bandwidth 20 --cache 5000 --ranks 1 --format f32 --early-format int4 "
             "--early-steps 2 %s",
             cases_folder());
    json_t *value = expect_json(args, 0);
    const json_t *ladder = json_object_get(value, "ladder");
    assert_string_equal(text_at(ladder, "format"), "f32");
    assert_string_equal(text_at(ladder, "early_format"), "int4");
    assert_int_equal(integer_at(ladder, "early_steps"), 2);
    const json_t *one = json_array_get(json_object_get(ladder, "ranks"), 0);
    uint64_t int4 = 818611200 + 1637222400 / 16, f32 = 6548889600;
    assert_int_equal(integer_at(one, "shard_bytes"), int4 + f32);
    assert_true(json_is_false(json_object_get(one, "fits_cache")));
    double four = json_real_value(json_array_get(json_object_get(one, "token_seconds"), 1));
    assert_float_equal(four, (7709982720.0 + 2.0 * (double)int4 + 2.0 * (double)f32) / 20e9, 1e-9);
    json_decref(value);
}

static void plan_measures_what_is_not_given(void **state)
{
    (void)state;
    char args[160];
    cases_write("config.json", HUGINN);
    snprintf(args, sizeof args, "plan --json --cache 8 --threads 2 %s", cases_folder());
    json_t *value = expect_json(args, 0);
    const json_t *measured = json_object_get(value, "measured");
    assert_int_equal(integer_at(measured, "threads"), 2);
    assert_true(integer_at(measured, "buffer_bytes") >= 64 << 20);
    assert_true(real_at(measured, "median_bytes_per_s") > 0);
    assert_true(real_at(value, "bandwidth_bytes_per_s") == real_at(measured, "median_bytes_per_s"));
    json_decref(value);
}

static const struct {
    const char *flags;
    const char *sentence;
} plan_refusals[] = {
    {"--bandwidth 0", "--bandwidth: 0, expected above 0, at most 1e6 GB/s"},
    {"--bandwidth nan", "--bandwidth: nan, expected above 0, at most 1e6 GB/s"},
    {"--bandwidth 1 --cache -1", "--cache: -1, expected above 0, at most 1e9 MiB"},
    {"--bandwidth 1 --ranks 1,0", "--ranks: 0, expected 1 to 4096"},
    {"--bandwidth 1 --ranks 4097", "--ranks: 4097, expected 1 to 4096"},
    {"--bandwidth 1 --ranks=", "--ranks: empty, expected N,N,..."},
    {"--bandwidth 1 --threads 2", "--threads goes with measuring, and --bandwidth is given"},
    {"--threads 0", "--threads: 0, expected 1 to 1024"},
    {"--bandwidth 1 --kv-format int8", "--kv-format: \"int8\", expected f32 or bf16"},
    {"--bandwidth 1 --kv-slots 0", "--kv-slots: 0, expected 1 to 4096"},
    {"--bandwidth 1 --early-format int8", "--early-format goes with --early-steps"},
    {"--bandwidth 1 --early-steps 8", "--early-steps goes with --early-format"},
    {"--bandwidth 1 --format int8", "--format goes with --early-format"},
    {"--bandwidth 1 --early-steps 8 --early-format bf16",
     "--early-format: bf16, as --format, expected another one"},
    {"--bandwidth 1 --early-steps 8 --early-format q8",
     "--early-format: \"q8\", expected f32, bf16, int8 or int4"},
    {"--bandwidth 1 --early-steps 8 --early-format int8 --format q8",
     "--format: \"q8\", expected f32, bf16, int8 or int4"},
};

static void wrong_use_of_plan_is_refused(void **state)
{
    (void)state;
    cases_write("config.json", HUGINN);
    for (size_t i = 0; i < sizeof plan_refusals / sizeof plan_refusals[0]; i++) {
        char args[160], err[160];
        snprintf(args, sizeof args, "plan %s %s", plan_refusals[i].flags, cases_folder());
        snprintf(err, sizeof err, "latentctl: plan: invalid: %s\n", plan_refusals[i].sentence);
        expect(args, 2, "", err);
    }
    expect("plan", 2, "", NULL);
    expect("plan --bandwidth 1 /nonexistent", 3, "", NULL);
    cases_write("config.json", "{\"model_type\": \"llama\"}");
    char args[160], err[240];
    snprintf(args, sizeof args, "plan --bandwidth 1 %s", cases_folder());
    snprintf(err, sizeof err,
             "latentctl: plan: invalid: %s/config.json: key model_type: string \"llama\", expected "
             "\"huginn_raven\"\n",
             cases_folder());
    expect(args, 2, "", err);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(info_shows_model_tiers_ranks_and_counters),
        cmocka_unit_test(info_json_has_every_field_of_the_status),
        cmocka_unit_test(top_once_is_one_screen_as_text),
        cmocka_unit_test(top_batch_has_the_rates_between_two_statuses),
        cmocka_unit_test(top_json_is_one_object_per_status),
        cmocka_unit_test(top_on_a_terminal_is_a_screen_that_goes_away_again),
        cmocka_unit_test(ctrl_c_gives_the_terminal_back),
        cmocka_unit_test(top_outlives_a_daemon_that_is_away),
        cmocka_unit_test(wrong_use_of_top_is_refused),
        cmocka_unit_test(plan_prints_the_costs_of_a_model),
        cmocka_unit_test(plan_json_has_the_exact_numbers),
        cmocka_unit_test(plan_of_a_ladder_counts_both_copies),
        cmocka_unit_test(plan_measures_what_is_not_given),
        cmocka_unit_test(wrong_use_of_plan_is_refused),
    };
    return cmocka_run_group_tests(tests, cases_set_up, cases_tear_down);
}
