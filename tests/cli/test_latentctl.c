/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/cli/test_latentctl.c - the verbs of the real program against a server with canned answers.
 * Those that look at the daemon or the machine are in test_latentctl_state.c.
 *
 * Each case runs latentctl as a child and compares standard output, standard error and exit status;
 * fake_server.h says which request gets which answer.
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
#include "cli/help.h"
#include "tests/cli/cases.h"

/* ---- think ---- */

static void think_prints_text_and_one_line_feed(void **state)
{
    (void)state;
    expect("think think", 0, "deep thoug\xC3\xA4ht \"x\"\n", "");
}

static void think_json_is_one_object_with_everything(void **state)
{
    (void)state;
    struct run run;
    run_on_fake(&run, "think think --json");
    assert_int_equal(run.status, 0);
    assert_string_equal(run.err, "");
    /* Beyond what jansson's integers hold, so it is looked at as text. */
    assert_non_null(strstr(run.out, "\"seed\": 18446744073709551615"));
    char *seed = strstr(run.out, "18446744073709551615");
    memset(seed, ' ', strlen("18446744073709551615"));
    *seed = '7';
    json_t *value = run_json(&run);
    assert_string_equal(text_at(value, "job"), "jobs/big");
    assert_string_equal(text_at(value, "text"), "deep thoug\xC3\xA4ht \"x\"");
    assert_string_equal(text_at(value, "finish"), "stop");
    assert_string_equal(text_at(value, "tier"), "avx2");
    assert_true(json_is_null(json_object_get(value, "error")));
    assert_array(value, "tokens", "[11,12]");
    assert_array(value, "steps", "[16,24]");
    assert_array(value, "exits", "[\"converged\",\"converged\"]");
    assert_array(value, "criterion_values", "[0.1,0.1]");
    assert_int_equal(integer_at(value, "prompt_tokens"), 5);
    assert_int_equal(integer_at(value, "output_tokens"), 2);
    assert_int_equal(integer_at(value, "total_steps"), 80);
    const json_t *first = json_array_get(json_object_get(value, "logprobs"), 0);
    const json_t *top = json_array_get(json_object_get(first, "top"), 0);
    assert_true((float)json_real_value(json_object_get(first, "logprob")) == -0.1f);
    assert_int_equal(integer_at(top, "id"), 11);
    assert_true((float)json_real_value(json_object_get(top, "logprob")) == -1.17549435e-38f);
    json_decref(value);
    run_free(&run);
}

/* What each flag becomes in the request, written down by the fake. */
static const struct {
    const char *args;
    const char *spec;
} echoes[] = {
    {"think echo", "text[echo]"},
    {"think --depth 12 echo", "text[echo] fixed[12]"},
    {"think --depth=0 echo", "text[echo] fixed[0]"},
    {"think --depth adaptive echo", "text[echo] adaptive[min 0 max 0]"},
    {"think --depth adaptive --min-steps 2 --max-steps 64 --threshold 0.5 echo",
     "text[echo] adaptive[min 2 max 64 threshold 0.5]"},
    {"think --threshold nan echo", "text[echo] adaptive[min 0 max 0 threshold nan]"},
    {"think --depth 4..32 echo", "text[echo] range[4 32]"},
    {"think --criterion latent-diff echo", "text[echo] adaptive[min 0 max 0 criterion 1]"},
    {"think --criterion cosine echo", "text[echo] adaptive[min 0 max 0 criterion 2]"},
    {"think --criterion acceleration echo", "text[echo] adaptive[min 0 max 0 criterion 3]"},
    {"think --criterion kl echo", "text[echo] adaptive[min 0 max 0 criterion 4]"},
    {"think --criterion minp-kl echo", "text[echo] adaptive[min 0 max 0 criterion 5]"},
    {"think --criterion entropy-diff echo", "text[echo] adaptive[min 0 max 0 criterion 6]"},
    {"think --depth adaptive --criterion argmax-stability --threshold 5 --check-every 2 echo",
     "text[echo] adaptive[min 0 max 0 criterion 7 threshold 5 every 2]"},
    {"think --check-every 4 echo", "text[echo] adaptive[min 0 max 0 every 4]"},
    {"think --tokenwise echo", "text[echo] tokenwise"},
    {"think --depth 8 --tokenwise echo", "text[echo] fixed[8] tokenwise"},
    {"think --depth-at 3=9 --depth-at 0=64 echo", "text[echo] at[0=64] at[3=9]"},
    {"think --depth 2..4 --depth-at 1=9 echo", "text[echo] range[2 4] at[1=9]"},
    {"think --within 20s echo", "text[echo] budget[token 0 total 20000]"},
    {"think --per-token 1.5s --within 2m echo", "text[echo] budget[token 1500 total 120000]"},
    {"think --priority 0 --client batch echo", "text[echo] priority[0] client[batch]"},
    {"think --priority 31 --depth 4 --within 1s echo",
     "text[echo] fixed[4] budget[token 0 total 1000] priority[31]"},
    {"think --temperature 0 echo", "text[echo] temperature[0]"},
    {"think --temperature -1 --top-k 0 --top-p 0.9 --min-p 0 echo",
     "text[echo] temperature[-1] top_k[0] top_p[0.9] min_p[0]"},
    {"think --repetition-penalty 1.5 --seed 18446744073709551615 echo",
     "text[echo] penalty[1.5] seed[18446744073709551615]"},
    {"think --seed 0 echo", "text[echo] seed[0]"},
    {"think --max-tokens 9 --stop a --stop=b~c echo", "text[echo] max_tokens[9] stop[a] stop[b c]"},
    {"think --logprobs 0 --init-scale 0 echo", "text[echo] logprobs[0] init_scale[0]"},
    {"think --max-run-ms 5000 --label L --ignore-eos echo",
     "text[echo] max_run_ms[5000] label[L] ignore_eos"},
    {"think --model models/tiny --request-id r1 --keep echo",
     "text[echo] model[models/tiny] request_id[r1] keep"},
    {"think --chat hello", "chat[user:hello]"},
    {"think --chat --system be~brief hello", "chat[system:be brief]chat[user:hello]"},
    {"think -- --echo", "text[--echo]"},
    {"think echo~\xC3\xA4", "text[echo \xC3\xA4]"},
};

static void every_flag_of_think_reaches_the_request(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof echoes / sizeof echoes[0]; i++) {
        char expected[256];
        snprintf(expected, sizeof expected, "%s\n", echoes[i].spec);
        expect(echoes[i].args, 0, expected, "");
    }
}

static void an_empty_prompt_is_a_prompt(void **state)
{
    (void)state;
    struct run run;
    run_all(&run, &(struct run_options){.server = fake_address(fake), .input = ""}, "think -");
    assert_int_equal(run.status, 0);
    assert_string_equal(run.out, "text[]\n");
    run_free(&run);
}

static void a_prompt_from_standard_input_is_taken_byte_for_byte(void **state)
{
    (void)state;
    struct run run;
    run_all(&run, &(struct run_options){.server = fake_address(fake), .input = "echo me\n\n"},
            "think -");
    assert_int_equal(run.status, 0);
    assert_string_equal(run.out, "text[echo me\n\n]\n");
    run_free(&run);
}

static void a_model_without_words_answers_with_ids(void **state)
{
    (void)state;
    fake_set_tokenizer(fake, false);
    expect("think --tokens 1,2,3", 0, "7 8 9\n", "");
    expect("result ids", 0, "11 12\n", "");
    fake_set_tokenizer(fake, true);
    expect("think --tokens 1,2,3", 0, "", "");
    expect("result ids", 0, "", "");
    expect("think quiet", 0, "", "");
    json_t *value = expect_json("result --json ids", 0);
    assert_array(value, "tokens", "[11,12]");
    json_decref(value);
}

static void wrong_use_of_think_is_refused_before_anything_is_sent(void **state)
{
    (void)state;
    expect("think", 2, "",
           "latentctl: think: invalid: no prompt: expected a word, \"-\" or --tokens\n");
    expect("think a b", 2, "", NULL);
    expect("think --tokens 1 word", 2, "",
           "latentctl: think: invalid: --tokens is the whole prompt, found the word PROMPT as "
           "well\n");
    expect("think --tokens 1 --chat", 2, "", NULL);
    expect("think --system s hello", 2, "",
           "latentctl: think: invalid: --system goes with --chat\n");
    expect("think --seeds 4 x", 2, "",
           "latentctl: think: invalid: unknown option --seeds, did you mean --seed?\n"
           "usage: latentctl think [OPTION]... (PROMPT | - | --tokens ID,ID,...)\n"
           "try \"latentctl help think\"\n");
    expect("think --timeout -1 x", 2, "", NULL);
    expect("think --timeout nan x", 2, "", NULL);
}

/* Flags of depth that contradict each other, for every verb that has them. */
static const struct {
    const char *flags;
    const char *sentence;
} contradictions[] = {
    {"--depth 4 --threshold 1", "--threshold goes with --depth adaptive, found --depth 4"},
    {"--depth 4 --criterion kl", "--criterion goes with --depth adaptive, found --depth 4"},
    {"--depth 4 --min-steps 1", "--min-steps goes with --depth adaptive, found --depth 4"},
    {"--depth 4 --check-every 2", "--check-every goes with --depth adaptive, found --depth 4"},
    {"--depth 4..8 --max-steps 9", "--max-steps goes with --depth adaptive, found --depth 4..8"},
    {"--depth 4..8 --criterion kl", "--criterion goes with --depth adaptive, found --depth 4..8"},
    {"--criterion deep", "--criterion: \"deep\", expected latent-diff, cosine, acceleration, kl, "
                         "minp-kl, entropy-diff or argmax-stability"},
    {"--tokenwise --depth 4..8",
     "--tokenwise goes with a fixed or an adaptive depth, found --depth 4..8"},
    {"--check-every 0", "--check-every: 0, expected at least 1"},
};

static void contradictions_about_depth_are_refused_everywhere(void **state)
{
    (void)state;
    static const struct {
        const char *verb, *words;
    } verbs[] = {{"think", "x"}, {"submit", "x"}, {"score", "a b"}};
    for (size_t v = 0; v < sizeof verbs / sizeof verbs[0]; v++)
        for (size_t i = 0; i < sizeof contradictions / sizeof contradictions[0]; i++) {
            char args[160], err[240];
            snprintf(args, sizeof args, "%s %s %s", verbs[v].verb, contradictions[i].flags,
                     verbs[v].words);
            snprintf(err, sizeof err, "latentctl: %s: invalid: %s\n", verbs[v].verb,
                     contradictions[i].sentence);
            expect(args, 2, "", err);
        }
}

static void a_time_budget_that_ran_out_is_seen_in_the_answer(void **state)
{
    (void)state;
    expect("think hasty", 0, "hasty\n", "");
    json_t *value = expect_json("think --json hasty", 0);
    assert_array(value, "exits", "[\"budget\"]");
    assert_array(value, "steps", "[5]");
    assert_true(json_is_true(json_object_get(value, "late")));
    json_decref(value);
    value = expect_json("think --json quiet", 0);
    assert_true(json_is_false(json_object_get(value, "late")));
    json_decref(value);
}

/* ---- exit statuses ---- */

static void a_full_queue_says_when_to_come_again(void **state)
{
    (void)state;
    expect("think busy~1500", 5, "",
           "latentctl: think: exhausted: the queue is full; try again in 2 s\n");
    expect("think busy~3000", 5, "",
           "latentctl: think: exhausted: the queue is full; try again in 3 s\n");
    expect("think --json busy~20", 5, "",
           "latentctl: think: exhausted: the queue is full; try again in 1 s\n");
    expect("think busy~0", 5, "", "latentctl: think: exhausted: the queue is full\n");
}

static const struct {
    int grpc;
    int exit_status;
    const char *word;
} statuses[] = {
    {1, 7, "cancelled"},
    {2, 1, "internal: unknown"},
    {3, 2, "invalid"},
    {4, 6, "deadline"},
    {5, 3, "not found"},
    {6, 3, "exists"},
    {7, 9, "permission"},
    {8, 5, "exhausted"},
    {9, 3, "precondition"},
    {10, 1, "internal: aborted"},
    {11, 2, "out of range"},
    {12, 2, "unimplemented"},
    {13, 1, "internal"},
    {14, 4, "unavailable"},
    {15, 8, "corrupt"},
    {16, 9, "unauthenticated"},
};

static void every_status_of_a_call_has_its_exit_status(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof statuses / sizeof statuses[0]; i++) {
        char args[64], err[96];
        snprintf(args, sizeof args, "think --no-retry status~%d", statuses[i].grpc);
        snprintf(err, sizeof err, "latentctl: think: %s: as you wish\n", statuses[i].word);
        expect(args, statuses[i].exit_status, "", err);
        snprintf(args, sizeof args, "think --no-retry --json status~%d", statuses[i].grpc);
        expect(args, statuses[i].exit_status, "", err);
    }
}

static void a_job_that_breaks_gives_what_it_wrote_and_its_status(void **state)
{
    (void)state;
    expect("think broken~15", 8, "part\n", "latentctl: think: corrupt: rank 3 was lost\n");
    json_t *value = expect_json("think --json broken~14", 4);
    assert_string_equal(text_at(value, "finish"), "error");
    assert_string_equal(text_at(value, "text"), "part");
    assert_string_equal(text_at(json_object_get(value, "error"), "code"), "unavailable");
    assert_string_equal(text_at(json_object_get(value, "error"), "message"), "rank 3 was lost");
    json_decref(value);
}

static void a_job_whose_time_is_over_is_a_deadline(void **state)
{
    (void)state;
    expect("think late", 6, "part\n", NULL);
    json_t *value = expect_json("think --json late", 6);
    assert_string_equal(text_at(value, "finish"), "deadline");
    json_decref(value);
}

static void the_time_limit_of_the_command_is_a_deadline(void **state)
{
    (void)state;
    json_t *value = expect_json("think --json --timeout 0.3 hang", 6);
    assert_string_equal(text_at(value, "finish"), "deadline");
    assert_string_equal(text_at(value, "text"), "part");
    json_decref(value);
}

static void a_stream_without_an_end_is_the_servers_fault(void **state)
{
    (void)state;
    expect("think nothing", 4, "", "latentctl: think: peer: the stream ended before the job did\n");
}

static void a_message_that_cannot_be_read_is_the_servers_fault(void **state)
{
    (void)state;
    expect("think garbage", 4, "",
           "latentctl: think: peer: the server sent 3 bytes that are no latentd.v1.JobEvent\n");
}

static void no_daemon_is_unavailable(void **state)
{
    (void)state;
    static const char *const verbs[] = {"think x",
                                        "submit x",
                                        "watch x",
                                        "result x",
                                        "jobs",
                                        "cancel x",
                                        "delete x",
                                        "tokenize x",
                                        "detokenize 1",
                                        "score --continuation x",
                                        "info",
                                        "health",
                                        "continue x --tokens 1",
                                        "priority x 3",
                                        "top --once"};
    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++) {
        struct run run;
        char args[64];
        snprintf(args, sizeof args, "%s --no-retry", verbs[i]);
        run_all(&run, &(struct run_options){.server = "unix:/nonexistent/socket"}, args);
        if (run.status != 4 || !strstr(run.err, "unavailable: "))
            fail_msg("%s: exit %d, %s", verbs[i], run.status, run.err);
        run_free(&run);
    }
}

static void a_server_that_is_no_address_is_wrong_usage(void **state)
{
    (void)state;
    struct run run;
    run_all(&run, &(struct run_options){.server = "nonsense"}, "health");
    assert_int_equal(run.status, 2);
    run_free(&run);
}

/* ---- files of questions ---- */

static char questions_path[96];

static void write_questions(const char *text)
{
    snprintf(questions_path, sizeof questions_path, "%s", cases_write("q.jsonl", text));
}

#define QUESTION(prompt, answer, difficulty, more)                                                 \
    "{\"prompt\": \"" prompt "\", \"answer\": \"" answer "\", \"difficulty\": " difficulty more    \
    "}\n"

static const char *const questions = QUESTION("D1:7", "7", "1", ", \"family\": \"sum\"")
    QUESTION("D4:x y", "x y", "4", ", \"family\": \"word\"")
        QUESTION("D1:8", "9", "1", ", \"family\": \"sum\"")
            QUESTION("D4:12", "12", "4", ", \"family\": \"sum\"");

static void eval_at(char *args, size_t size, const char *rest)
{
    snprintf(args, size, "eval %s %s", rest, questions_path);
}

/* ---- interruption ---- */

/* Until a counter of the fake has reached `n`. */
static void wait_for(uint32_t (*counter)(const struct fake *), uint32_t n)
{
    uint64_t deadline = ltd_deadline_ns(30000);
    while (counter(fake) < n && ltd_now_ns() < deadline)
        usleep(1000);
    assert_true(counter(fake) >= n);
}

static void ctrl_c_cancels_the_call_and_keeps_what_came(void **state)
{
    (void)state;
    struct run run;
    uint32_t n_before = fake_n_cancelled(fake);
    run_start(&run, &(struct run_options){.server = fake_address(fake)}, "think hang");
    run_until_out(&run, "part");
    kill(run.pid, SIGINT);
    run_wait(&run);
    assert_int_equal(run.status, 130);
    assert_string_equal(run.out, "part\n");
    assert_string_equal(run.err, "latentctl: think: interrupted\n");
    wait_for(fake_n_cancelled, n_before + 1);
    run_free(&run);
}

static void ctrl_c_leaves_valid_json(void **state)
{
    (void)state;
    struct run run;
    uint32_t n_before = fake_n_generates(fake);
    run_start(&run, &(struct run_options){.server = fake_address(fake)}, "think --json hang");
    wait_for(fake_n_generates, n_before + 1);
    kill(run.pid, SIGTERM);
    run_wait(&run);
    assert_int_equal(run.status, 143);
    /* The signal may be faster than the first event; then there is no job to speak of. */
    if (run.out[0] != '\0') {
        json_t *value = run_json(&run);
        assert_string_equal(text_at(value, "finish"), "cancelled");
        json_decref(value);
    }
    run_free(&run);
}

static void ctrl_c_ends_a_watch_between_its_tries(void **state)
{
    (void)state;
    struct run run;
    uint32_t n_before = fake_n_watches(fake);
    run_start(&run, &(struct run_options){.server = fake_address(fake)}, "watch gone");
    wait_for(fake_n_watches, n_before + 3);
    kill(run.pid, SIGINT);
    run_wait(&run);
    assert_int_equal(run.status, 130);
    run_free(&run);
}

static void ctrl_c_ends_an_evaluation_without_a_table(void **state)
{
    (void)state;
    struct run run;
    char args[256];
    uint32_t n_before = fake_n_generates(fake);
    write_questions(QUESTION("hang", "7", "1", "") QUESTION("hang", "7", "1", ""));
    eval_at(args, sizeof args, "--depths 1");
    run_start(&run, &(struct run_options){.server = fake_address(fake)}, args);
    wait_for(fake_n_generates, n_before + 2);
    kill(run.pid, SIGINT);
    run_wait(&run);
    assert_int_equal(run.status, 130);
    assert_string_equal(run.out, "");
    assert_string_equal(run.err, "latentctl: eval: interrupted\n");
    run_free(&run);
}

static void a_full_disk_is_told(void **state)
{
    (void)state;
    static const char *const lines[] = {"think think", "think --json think", "jobs", "info"};
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        struct run run;
        run_all(&run, &(struct run_options){.server = fake_address(fake), .out_is_full = true},
                lines[i]);
        if (run.status != 1 || !strstr(run.err, "write to standard output: No space left"))
            fail_msg("%s: exit %d, %s", lines[i], run.status, run.err);
        run_free(&run);
    }
}

static void a_reader_that_goes_away_ends_the_program_quietly(void **state)
{
    (void)state;
    struct run run;
    run_start(&run, &(struct run_options){.server = fake_address(fake)}, "think think");
    run_close_out(&run);
    run_wait(&run);
    assert_int_equal(run.status, 141);
    assert_string_equal(run.err, "");
    run_free(&run);
}

/* ---- the terminal ---- */

static void progress_is_drawn_on_a_terminal_and_removed(void **state)
{
    (void)state;
    struct run run;
    run_all(&run, &(struct run_options){.server = fake_address(fake), .err_is_pty = true},
            "think think");
    assert_int_equal(run.status, 0);
    assert_string_equal(run.out, "deep thoug\xC3\xA4ht \"x\"\n");
    assert_non_null(strstr(run.err, "\0337[token 1  step 4 of 32  criterion 0.25]\0338"));
    assert_non_null(strstr(run.err, "\0337[token 2  step 9 of 32"));
    /* The last thing on the terminal is an erasure, not a line. */
    assert_string_equal(run.err + strlen(run.err) - 3, "\033[J");
    run_free(&run);
}

static void text_and_progress_share_a_terminal(void **state)
{
    (void)state;
    struct run run;
    run_all(
        &run,
        &(struct run_options){.server = fake_address(fake), .err_is_pty = true, .out_is_pty = true},
        "think think");
    assert_int_equal(run.status, 0);
    assert_non_null(strstr(run.err, "\033[Jdeep \033[J\0337[token 2"));
    assert_non_null(strstr(run.err, "\033[Jthoug\xC3\xA4"));
    run_free(&run);
}

static void text_cannot_steer_a_terminal(void **state)
{
    (void)state;
    struct run run;
    run_all(
        &run,
        &(struct run_options){.server = fake_address(fake), .err_is_pty = true, .out_is_pty = true},
        "think echo~\033[2Jx\x07");
    assert_int_equal(run.status, 0);
    assert_non_null(strstr(run.err, "text[echo ?[2Jx?]"));
    run_free(&run);
}

/* ---- jobs ---- */

static void submit_prints_the_name(void **state)
{
    (void)state;
    expect("submit --request-id r7 --label night echo", 0, "jobs/new1\n", "");
    struct run run;
    run_on_fake(&run, "submit --json --request-id r7 --label night echo");
    assert_int_equal(run.status, 0);
    assert_non_null(strstr(run.out, "\"job\": \"jobs/new1\""));
    assert_non_null(strstr(run.out, "\"state\": \"queued\""));
    assert_non_null(strstr(run.out, "\"request_id\": \"r7\""));
    assert_non_null(strstr(run.out, "\"label\": \"night\""));
    run_free(&run);
}

static void watch_prints_the_text_with_and_without_the_prefix(void **state)
{
    (void)state;
    expect("watch jobs/whole", 0, "one two\n", "");
    expect("watch whole", 0, "one two\n", "");
    expect("watch --after-seq 2 whole", 0, "two\n", "");
    expect("watch nosuch", 3, "", "latentctl: watch: not found: no such job\n");
    expect("watch", 2, "", NULL);
}

static void continue_makes_a_new_job_and_can_watch_it(void **state)
{
    (void)state;
    expect("continue old --tokens 20", 0, "jobs/t20s0\n", "");
    expect("continue jobs/old --steps 48", 0, "jobs/t0s48\n", "");
    expect("continue --tokens 2 --steps 48 old", 0, "jobs/t2s48\n", "");
    expect("continue whole --tokens 5 --watch", 0, "one two\n", "");
    expect("continue running --tokens 5", 3, "",
           "latentctl: continue: precondition: the job has not ended\n");
    static const char *const nothing[] = {"continue old", "continue old --tokens 0 --steps 0"};
    for (size_t i = 0; i < 2; i++)
        expect(nothing[i], 2, "",
               "latentctl: continue: invalid: nothing to go on with: expected --tokens or --steps "
               "above 0\n");
    expect("continue --tokens 1", 2, "", NULL);
    expect("continue old --tokens many", 2, "", NULL);
    json_t *job = expect_json("continue --json --request-id r9 --tokens 1 old", 0);
    assert_string_equal(text_at(job, "job"), "jobs/t1s0");
    assert_string_equal(text_at(job, "continues"), "jobs/old");
    assert_string_equal(text_at(job, "request_id"), "r9");
    json_decref(job);
    struct run run;
    run_on_fake(&run, "continue --json --watch --tokens 1 whole");
    assert_int_equal(run.status, 0);
    assert_non_null(strstr(run.out, "{\"job\": \"jobs/whole\", \"seq\": 1,"));
    run_free(&run);
}

static void priority_moves_a_job_and_says_where_to(void **state)
{
    (void)state;
    expect("priority running 20", 0, "jobs/running running priority 20\n", "");
    expect("priority jobs/running 0", 0, "jobs/running running priority 0\n", "");
    expect("priority running 32", 2, "",
           "latentctl: priority: invalid: priority: found 32, expected 0 to 31\n");
    expect("priority running high", 2, "",
           "latentctl: priority: invalid: PRIORITY: \"high\" is not a whole number\n");
    expect("priority nosuch 3", 3, "", "latentctl: priority: not found: no such job\n");
    expect("priority running", 2, "", NULL);
    json_t *job = expect_json("priority --json running 31", 0);
    assert_int_equal(integer_at(job, "priority"), 31);
    assert_string_equal(text_at(job, "client"), "unix:uid=7");
    json_decref(job);
}

static void watch_shows_changes_of_priority_and_the_predicted_end(void **state)
{
    (void)state;
    static const char *const pieces[] = {
        "\"event\": \"prioritized\", \"priority\": 31}",
        "\"event\": \"started\", \"predicted_end_us\": 1900000009000000}",
        "\"exits\": [\"budget\"]", "\"late\": true}"};
    struct run run;
    expect("watch moved", 0, "one\n", "");
    run_on_fake(&run, "watch --json moved");
    assert_int_equal(run.status, 0);
    for (size_t i = 0; i < sizeof pieces / sizeof pieces[0]; i++)
        if (!strstr(run.out, pieces[i]))
            fail_msg("no %s in: %s", pieces[i], run.out);
    run_free(&run);
}

static void watch_resumes_a_lost_call_without_repeating_anything(void **state)
{
    (void)state;
    uint32_t n_before = fake_n_watches(fake);
    expect("watch flaky", 0, "one two\n", "");
    assert_int_equal(fake_n_watches(fake), n_before + 2);
}

static void watch_resumes_over_a_server_that_comes_back(void **state)
{
    (void)state;
    expect("watch cut", 0, "one two\n", "");
}

static void watch_gives_up_after_its_retries(void **state)
{
    (void)state;
    uint32_t n_before = fake_n_watches(fake);
    expect("watch --retries 2 gone", 4, "", "latentctl: watch: unavailable: draining\n");
    assert_int_equal(fake_n_watches(fake), n_before + 3);
    expect("watch --retries 0 gone", 4, "", NULL);
    assert_int_equal(fake_n_watches(fake), n_before + 4);
}

static void watch_tells_the_fate_of_the_job(void **state)
{
    (void)state;
    expect("watch failed", 8, "one two\n",
           "latentctl: watch: corrupt: the job failed: rank 3 was lost\n");
    expect("watch cancelled", 7, "one two\n",
           "latentctl: watch: cancelled: the job was cancelled after 2 tokens\n");
}

static void watch_json_is_one_object_per_event(void **state)
{
    (void)state;
    struct run run;
    run_on_fake(&run, "watch --json whole");
    assert_int_equal(run.status, 0);
    static const char *const kinds[] = {"queued", "tokens", "tokens", "finished"};
    size_t n = 0;
    for (char *line = strtok(run.out, "\n"); line; line = strtok(NULL, "\n"), n++) {
        json_t *event = json_loads(line, 0, NULL);
        assert_true(n < 4);
        assert_non_null(event);
        assert_string_equal(text_at(event, "event"), kinds[n]);
        assert_string_equal(text_at(event, "job"), "jobs/whole");
        assert_int_equal(integer_at(event, "seq"), n + 1);
        if (n == 1)
            assert_array(event, "tokens", "[11]");
        if (n == 3)
            assert_string_equal(text_at(event, "finish"), "stop");
        json_decref(event);
    }
    assert_int_equal(n, 4);
    run_free(&run);
}

static void result_prints_the_record(void **state)
{
    (void)state;
    expect("result whole", 0, "one two\n", "");
    expect("result --wait jobs/whole", 0, "one two\n", "");
    expect("result running", 3, "one two\n",
           "latentctl: result: precondition: the job has not ended\n");
    expect("result failed", 8, "one two\n",
           "latentctl: result: corrupt: the job failed: rank 3 was lost\n");
    expect("result nosuch", 3, "", NULL);
    expect("result --wait nosuch", 3, "", NULL);
}

static void result_json_has_the_answer_and_the_state(void **state)
{
    (void)state;
    struct run run;
    run_on_fake(&run, "result --json whole");
    assert_int_equal(run.status, 0);
    assert_non_null(strstr(run.out, "\"tokens\": [11, 12], \"text\": \"one two\", \"steps\": [16, "
                                    "24], \"exits\": [\"fixed\", \"max_steps\"]"));
    assert_non_null(strstr(run.out, "\"finish\": \"stop\", \"error\": null"));
    assert_non_null(strstr(run.out, "\"late\": true, \"state\": \"succeeded\", \"done\": true"));
    assert_non_null(strstr(run.out, "\"priority\": 16, \"client\": \"unix:uid=7\", "
                                    "\"owner\": \"\", \"continues\": \"jobs/before\", "
                                    "\"predicted_end_us\": 1900000009000000"));
    run_free(&run);
    run_on_fake(&run, "result --json running");
    assert_int_equal(run.status, 3);
    assert_non_null(strstr(run.out, "\"finish\": null"));
    assert_non_null(strstr(run.out, "\"state\": \"running\", \"done\": false"));
    run_free(&run);
}

static void jobs_lists_all_pages(void **state)
{
    (void)state;
    expect("jobs", 0,
           "NAME    STATE      PRIO  CREATED               ENDS                  SECONDS  PROMPT  "
           "STEPS  CLIENT      OWNER  REQUEST-ID\n"
           "jobs/c  queued       16  2030-03-17T17:46:40Z  -                           -       5  "
           "   80  unix:uid=7\n"
           "jobs/b  running      16  2030-03-17T17:46:40Z  2030-03-17T17:46:49Z        -       5  "
           "   80  unix:uid=7\n"
           "jobs/a  succeeded    16  2030-03-17T17:46:40Z  late                      2.5       5  "
           "   80  unix:uid=7         req-a\n",
           "");
    expect("jobs --limit 1", 0,
           "NAME    STATE   PRIO  CREATED               ENDS  SECONDS  PROMPT  STEPS  CLIENT      "
           "OWNER  REQUEST-ID\n"
           "jobs/c  queued    16  2030-03-17T17:46:40Z  -           -       5     80  "
           "unix:uid=7\n",
           "");
    expect("jobs --state sleeping", 2, "",
           "latentctl: jobs: invalid: --state: \"sleeping\", expected queued, running, succeeded, "
           "cancelled or failed\n");
    expect("jobs -", 2, "", NULL);
}

static void jobs_filters_travel_and_json_is_one_object(void **state)
{
    (void)state;
    struct run run;
    run_on_fake(&run, "jobs --json --limit 0 --label night");
    assert_int_equal(run.status, 0);
    assert_memory_equal(run.out, "{\"jobs\": [{\"job\": \"jobs/c\"", 26);
    assert_non_null(strstr(run.out, "\"request_id\": \"night\""));
    run_free(&run);
    run_on_fake(&run, "jobs --state failed");
    assert_non_null(strstr(run.out, "jobs/filtered  failed"));
    run_free(&run);
}

static void cancel_and_delete_say_what_they_did(void **state)
{
    (void)state;
    expect("cancel whole", 0, "jobs/whole cancelled\n", "");
    expect("cancel nosuch", 3, "", "latentctl: cancel: not found: no such job\n");
    expect("delete jobs/whole", 0, "jobs/whole deleted\n", "");
    expect("delete --json whole", 0, "{\"job\": \"jobs/whole\", \"deleted\": true}\n", "");
    expect("delete nosuch", 3, "", NULL);
    struct run run;
    run_on_fake(&run, "cancel --json whole");
    assert_non_null(strstr(run.out, "\"state\": \"cancelled\", \"done\": true"));
    run_free(&run);
}

/* ---- text, scores, state ---- */

static void tokenize_shows_ids_and_exact_bytes(void **state)
{
    (void)state;
    expect("tokenize hello", 0,
           "    1  \"<s>\"\n  300  \"\\xe2\\x82\"\n65535  \"a \\\"b\\\"\\n\"\n", "");
    expect("tokenize --no-special --json hello", 0,
           "{\"tokens\": [300, 65535], \"pieces\": [\"\xEF\xBF\xBD\xEF\xBF\xBD\", \"a "
           "\\\"b\\\"\\n\"], \"pieces_hex\": [\"e282\", \"61202262220a\"]}\n",
           "");
    struct run run;
    run_on_fake(&run, "tokenize --chat --system s hello");
    assert_non_null(strstr(run.out, "\"system\""));
    run_free(&run);
    expect("tokenize --system s hello", 2, "", NULL);
}

static void detokenize_takes_words_and_lists(void **state)
{
    (void)state;
    expect("detokenize 1 2,3 4", 0, "4 ids\n", "");
    expect("detokenize --skip-special 1", 0, "1 ids, none special\n", "");
    expect("detokenize --json 1,2", 0, "{\"tokens\": [1, 2], \"text\": \"2 ids\"}\n", "");
    expect("detokenize 1 x", 2, "",
           "latentctl: detokenize: invalid: token id: \"x\" is not a whole number\n");
    expect("detokenize", 2, "", NULL);
}

static void score_shows_each_token_and_the_sum(void **state)
{
    (void)state;
    expect("score --context a --continuation b --depth 8", 0,
           "TOKEN    LOGPROB  STEPS  LIKELIEST\n"
           "    4  -0.500000      8  yes\n"
           "    5  -0.100000      8  no\n"
           "  sum  -0.600000\n",
           "");
    expect("score --json --context-tokens 1,2,3 --continuation-tokens 4,5 --seed 9 --depth 2", 0,
           "{\"tokens\": [4, 5], \"logprobs\": [-0.5, -0.1], \"greedy\": [true, false], "
           "\"steps\": [2, 2], \"sum\": -0.6000000014901161, \"context_tokens\": 3, \"seed\": 9, "
           "\"tier\": \"ref\"}\n",
           "");
    expect("score a b --depth 3", 0,
           "TOKEN    LOGPROB  STEPS  LIKELIEST\n"
           "    4  -0.500000      3  yes\n"
           "    5  -0.100000      3  no\n"
           "  sum  -0.600000\n",
           "");
    expect("score a", 2, "",
           "latentctl: score: invalid: one word, expected CONTEXT and CONTINUATION\n");
    expect("score a b --context c", 2, "", NULL);
    expect("score --context a", 2, "", NULL);
    expect("score --continuation a --continuation-tokens 1", 2, "", NULL);
}

static void health_is_a_word_and_a_status(void **state)
{
    (void)state;
    expect("health", 0, "serving\n", "");
    expect("health latentd.v1.Jobs", 0, "serving\n", "");
    expect("health nosuch", 3, "", "latentctl: health: not found: no such service\n");
    fake_set_health(fake, 2);
    expect("health", 1, "not serving\n", "");
    expect("health --json", 1, "{\"service\": \"\", \"status\": \"not serving\"}\n", "");
    fake_set_health(fake, 1);
}

/* ---- eval ---- */

static void eval_counts_by_difficulty_family_and_depth(void **state)
{
    (void)state;
    char args[256];
    write_questions(questions);
    eval_at(args, sizeof args, "--depths 1,4,adaptive --concurrency 3");
    expect(args, 0,
           "DIFFICULTY  N      1       4  adaptive  STEPS\n"
           "1           2  50.0%   50.0%     50.0%   1.00\n"
           "4           2   0.0%  100.0%    100.0%   4.00\n"
           "total       4  25.0%   75.0%     75.0%   2.50\n"
           "\n"
           "FAMILY  N      1       4  adaptive  STEPS\n"
           "sum     3  33.3%   66.7%     66.7%   2.00\n"
           "word    1   0.0%  100.0%    100.0%   4.00\n"
           "total   4  25.0%   75.0%     75.0%   2.50\n",
           "");
}

static void eval_json_has_all_cells_and_answers(void **state)
{
    (void)state;
    char args[256];
    write_questions(questions);
    eval_at(args, sizeof args, "--json --answers --depths 1,adaptive --seed 5");
    json_t *value = expect_json(args, 0);
    const json_t *cells = json_object_get(value, "cells");
    const json_t *cell = json_array_get(cells, 3);
    const json_t *answer = json_array_get(json_object_get(value, "answers"), 1);
    assert_string_equal(text_at(value, "model"), "models/tiny");
    assert_array(value, "depths", "[1,\"adaptive\"]");
    assert_int_equal(integer_at(value, "seed"), 5);
    assert_int_equal(json_array_size(cells), 4);
    assert_int_equal(json_array_size(json_object_get(value, "families")), 4);
    assert_int_equal(json_array_size(json_object_get(value, "totals")), 2);
    assert_int_equal(integer_at(cell, "difficulty"), 4);
    assert_string_equal(text_at(cell, "depth"), "adaptive");
    assert_int_equal(integer_at(cell, "n"), 2);
    assert_int_equal(integer_at(cell, "correct"), 2);
    assert_true(json_real_value(json_object_get(cell, "accuracy_percent")) == 100.0);
    assert_true(json_real_value(json_object_get(cell, "mean_steps")) == 4.0);
    assert_int_equal(json_array_size(json_object_get(value, "answers")), 8);
    assert_int_equal(integer_at(answer, "line"), 2);
    assert_string_equal(text_at(answer, "text"), "no");
    assert_true(json_is_false(json_object_get(answer, "correct")));
    json_decref(value);
}

/* Whatever the window and the order of answers: the same bytes. */
static void eval_is_the_same_at_any_concurrency(void **state)
{
    (void)state;
    static const char *const rests[] = {"--json --answers --depths 1,4 --concurrency 1",
                                        "--json --answers --depths 1,4 --concurrency 8"};
    struct run runs[2];
    write_questions(questions);
    for (size_t i = 0; i < 2; i++) {
        char args[256];
        eval_at(args, sizeof args, rests[i]);
        run_on_fake(&runs[i], args);
        assert_int_equal(runs[i].status, 0);
    }
    assert_string_equal(runs[0].out, runs[1].out);
    run_free(&runs[0]);
    run_free(&runs[1]);
}

static void eval_keeps_a_window_full_and_shrinks_it_when_refused(void **state)
{
    (void)state;
    char args[256], text[64 * 96] = "";
    for (int i = 0; i < 40; i++)
        strcat(text, QUESTION("D1:7", "7", "1", ""));
    write_questions(text);
    eval_at(args, sizeof args, "--depths 1");
    expect(args, 0, "DIFFICULTY   N       1\n1           40  100.0%\ntotal       40  100.0%\n", "");
    assert_int_equal(fake_most_waiting(fake), 16);
    assert_int_equal(fake_n_refused(fake), 0);
    fake_set_window(fake, 3);
    expect(args, 0, "DIFFICULTY   N       1\n1           40  100.0%\ntotal       40  100.0%\n", "");
    assert_true(fake_n_refused(fake) > 0);
    fake_set_window(fake, 0);
    expect(args, 5, "", NULL);
    fake_set_window(fake, 256);
}

static void eval_names_the_question_that_failed(void **state)
{
    (void)state;
    char args[256], err[256];
    write_questions(QUESTION("D1:7", "7", "1", "") QUESTION("status 15", "7", "1", ""));
    eval_at(args, sizeof args, "--depths 2 --concurrency 1");
    snprintf(err, sizeof err, "latentctl: eval: corrupt: %s:2 at depth 2: as you wish\n",
             questions_path);
    expect(args, 8, "", err);
}

static void eval_refuses_bad_files_and_flags_before_asking(void **state)
{
    (void)state;
    char args[256];
    struct run run;
    write_questions(QUESTION("D1:7", "7", "1", "") "{\"prompt\": 1}\n");
    eval_at(args, sizeof args, "--depths 1");
    run_on_fake(&run, args);
    assert_int_equal(run.status, 2);
    assert_non_null(strstr(run.err, "q.jsonl:2: key prompt: integer 1, expected a string"));
    run_free(&run);
    eval_at(args, sizeof args, "--depths 1 --limit 1");
    expect(args, 0, NULL, "");
    eval_at(args, sizeof args, "");
    expect(args, 2, "", "latentctl: eval: invalid: no depths: expected --depths N,N,...\n");
    eval_at(args, sizeof args, "--depths 1 --concurrency 0");
    expect(args, 2, "", NULL);
    eval_at(args, sizeof args, "--depths 1 --threshold 0.5");
    expect(args, 2, "", NULL);
    eval_at(args, sizeof args, "--depths 1 --answers");
    expect(args, 2, "", NULL);
    expect("eval --depths 1 /nonexistent.jsonl", 2, "", NULL);
}

static void eval_needs_a_tokenizer(void **state)
{
    (void)state;
    char args[256];
    write_questions(questions);
    eval_at(args, sizeof args, "--depths 1");
    fake_set_tokenizer(fake, false);
    expect(
        args, 3, "",
        "latentctl: eval: precondition: models/tiny has no tokenizer: its answers are no text\n");
    fake_set_tokenizer(fake, true);
}

/* ---- the program itself ---- */

static void the_environment_names_the_server(void **state)
{
    (void)state;
    struct run run;
    run_all(&run, &(struct run_options){.env = fake_address(fake)}, "health");
    assert_int_equal(run.status, 0);
    run_free(&run);
    run_all(&run, &(struct run_options){.env = "unix:/nonexistent", .server = fake_address(fake)},
            "health");
    assert_int_equal(run.status, 0);
    run_free(&run);
}

static void common_options_may_stand_before_the_verb(void **state)
{
    (void)state;
    struct run run;
    char args[160];
    snprintf(args, sizeof args, "--server %s --json health", fake_address(fake));
    run_all(&run, &(struct run_options){.server = NULL}, args);
    assert_int_equal(run.status, 0);
    assert_string_equal(run.out, "{\"service\": \"\", \"status\": \"serving\"}\n");
    run_free(&run);
    run_all(&run, &(struct run_options){.server = NULL}, "--depth 4 think x");
    assert_int_equal(run.status, 2);
    run_free(&run);
}

static void help_and_version_need_no_daemon(void **state)
{
    (void)state;
    static const char *const lines[] = {"help",         "help eval", "--help", "-h",
                                        "think --help", "--version", "jobs -h"};
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        struct run run;
        run_all(&run, &(struct run_options){.server = NULL}, lines[i]);
        if (run.status != 0 || run.out[0] == '\0' || run.err[0] != '\0')
            fail_msg("%s: exit %d, out %s, err %s", lines[i], run.status, run.out, run.err);
        run_free(&run);
    }
    static const char *const wrong[] = {"thnk", "", "help nosuch", "--nosuch", "-"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct run run;
        run_all(&run, &(struct run_options){.server = NULL}, wrong[i]);
        if (run.status != 2 || run.out[0] != '\0' || run.err[0] == '\0')
            fail_msg("%s: exit %d, out %s, err %s", wrong[i], run.status, run.out, run.err);
        run_free(&run);
    }
}

static char *read_whole(const char *path)
{
    FILE *file = fopen(path, "r");
    if (!file)
        fail_msg("open %s", path);
    char *text = calloc(1, 1 << 18);
    assert_non_null(text);
    assert_true(fread(text, 1, (1 << 18) - 1, file) > 0);
    fclose(file);
    return text;
}

static void the_manual_page_is_what_the_tables_say(void **state)
{
    (void)state;
    struct run run;
    char *page = read_whole(SOURCE_DIR "/docs/latentctl.1");
    run_all(&run, &(struct run_options){.server = NULL}, "help --man");
    if (strcmp(page, run.out) != 0)
        fail_msg("docs/latentctl.1 is old: latentctl help --man > docs/latentctl.1");
    free(page);
    run_free(&run);
}

static void the_handbook_names_every_verb_flag_and_exit_status(void **state)
{
    (void)state;
    char *text = read_whole(SOURCE_DIR "/docs/latentctl.md");
    char wanted[64];
    for (size_t v = 0; v < cli_n_verbs; v++) {
        snprintf(wanted, sizeof wanted, "## %s\n", cli_verbs[v]->name);
        if (!strstr(text, wanted))
            fail_msg("docs/latentctl.md has no section %s", cli_verbs[v]->name);
        for (const struct cli_group *g = cli_verbs[v]->groups; g->rows; g++)
            for (size_t i = 0; i < g->n_rows; i++) {
                snprintf(wanted, sizeof wanted, "`--%s", g->rows[i].name);
                if (!strstr(text, wanted))
                    fail_msg("docs/latentctl.md does not explain --%s", g->rows[i].name);
            }
    }
    for (const struct cli_exit_status *s = cli_exit_statuses; s->meaning; s++) {
        snprintf(wanted, sizeof wanted, "| %d | ", s->status);
        if (!strstr(text, wanted))
            fail_msg("docs/latentctl.md does not list exit status %d", s->status);
    }
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(think_prints_text_and_one_line_feed),
        cmocka_unit_test(think_json_is_one_object_with_everything),
        cmocka_unit_test(every_flag_of_think_reaches_the_request),
        cmocka_unit_test(an_empty_prompt_is_a_prompt),
        cmocka_unit_test(a_prompt_from_standard_input_is_taken_byte_for_byte),
        cmocka_unit_test(a_model_without_words_answers_with_ids),
        cmocka_unit_test(wrong_use_of_think_is_refused_before_anything_is_sent),
        cmocka_unit_test(contradictions_about_depth_are_refused_everywhere),
        cmocka_unit_test(a_time_budget_that_ran_out_is_seen_in_the_answer),
        cmocka_unit_test(every_status_of_a_call_has_its_exit_status),
        cmocka_unit_test(a_full_queue_says_when_to_come_again),
        cmocka_unit_test(a_job_that_breaks_gives_what_it_wrote_and_its_status),
        cmocka_unit_test(a_job_whose_time_is_over_is_a_deadline),
        cmocka_unit_test(the_time_limit_of_the_command_is_a_deadline),
        cmocka_unit_test(a_stream_without_an_end_is_the_servers_fault),
        cmocka_unit_test(a_message_that_cannot_be_read_is_the_servers_fault),
        cmocka_unit_test(no_daemon_is_unavailable),
        cmocka_unit_test(a_server_that_is_no_address_is_wrong_usage),
        cmocka_unit_test(ctrl_c_cancels_the_call_and_keeps_what_came),
        cmocka_unit_test(ctrl_c_leaves_valid_json),
        cmocka_unit_test(ctrl_c_ends_a_watch_between_its_tries),
        cmocka_unit_test(ctrl_c_ends_an_evaluation_without_a_table),
        cmocka_unit_test(a_full_disk_is_told),
        cmocka_unit_test(a_reader_that_goes_away_ends_the_program_quietly),
        cmocka_unit_test(progress_is_drawn_on_a_terminal_and_removed),
        cmocka_unit_test(text_and_progress_share_a_terminal),
        cmocka_unit_test(text_cannot_steer_a_terminal),
        cmocka_unit_test(submit_prints_the_name),
        cmocka_unit_test(watch_prints_the_text_with_and_without_the_prefix),
        cmocka_unit_test(continue_makes_a_new_job_and_can_watch_it),
        cmocka_unit_test(priority_moves_a_job_and_says_where_to),
        cmocka_unit_test(watch_shows_changes_of_priority_and_the_predicted_end),
        cmocka_unit_test(watch_resumes_a_lost_call_without_repeating_anything),
        cmocka_unit_test(watch_resumes_over_a_server_that_comes_back),
        cmocka_unit_test(watch_gives_up_after_its_retries),
        cmocka_unit_test(watch_tells_the_fate_of_the_job),
        cmocka_unit_test(watch_json_is_one_object_per_event),
        cmocka_unit_test(result_prints_the_record),
        cmocka_unit_test(result_json_has_the_answer_and_the_state),
        cmocka_unit_test(jobs_lists_all_pages),
        cmocka_unit_test(jobs_filters_travel_and_json_is_one_object),
        cmocka_unit_test(cancel_and_delete_say_what_they_did),
        cmocka_unit_test(tokenize_shows_ids_and_exact_bytes),
        cmocka_unit_test(detokenize_takes_words_and_lists),
        cmocka_unit_test(score_shows_each_token_and_the_sum),
        cmocka_unit_test(health_is_a_word_and_a_status),
        cmocka_unit_test(eval_counts_by_difficulty_family_and_depth),
        cmocka_unit_test(eval_json_has_all_cells_and_answers),
        cmocka_unit_test(eval_is_the_same_at_any_concurrency),
        cmocka_unit_test(eval_keeps_a_window_full_and_shrinks_it_when_refused),
        cmocka_unit_test(eval_names_the_question_that_failed),
        cmocka_unit_test(eval_refuses_bad_files_and_flags_before_asking),
        cmocka_unit_test(eval_needs_a_tokenizer),
        cmocka_unit_test(the_environment_names_the_server),
        cmocka_unit_test(common_options_may_stand_before_the_verb),
        cmocka_unit_test(help_and_version_need_no_daemon),
        cmocka_unit_test(the_manual_page_is_what_the_tables_say),
        cmocka_unit_test(the_handbook_names_every_verb_flag_and_exit_status),
    };
    return cmocka_run_group_tests(tests, cases_set_up, cases_tear_down);
}
