/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli/cmd_eval.c - does it think better when it thinks longer: accuracy by difficulty and depth.
 */
#include "cli/verb.h"

#include "cli/eval_report.h"
#include "cli/eval_run.h"
#include "cli/link.h"
#include "cli/questions.h"
#include "cli/spec.h"

#define DEFAULT_CONCURRENCY 16
#define DEFAULT_MAX_TOKENS  32
#define DEFAULT_SEED        1

struct eval_args {
    struct cli_common common;
    struct cli_depth_args depth;
    struct cli_depths depths;
    struct cli_u32 concurrency;
    struct cli_u32 limit;
    struct cli_u32 max_tokens;
    struct cli_number temperature;
    bool chat;
    bool answers;
};

static const struct cli_option rows[] = {
    {"depths", CLI_DEPTHS, offsetof(struct eval_args, depths), "N,N,...",
     "the depths to compare; \"adaptive\" may be one of them"},
    {"concurrency", CLI_U32, offsetof(struct eval_args, concurrency), "N",
     "questions in flight; 16 by default"},
    {"limit", CLI_U32, offsetof(struct eval_args, limit), "N",
     "only the first N questions of the file; 0 for all"},
    {"max-tokens", CLI_U32, offsetof(struct eval_args, max_tokens), "N",
     "longest answer; 32 by default"},
    {"temperature", CLI_NUMBER, offsetof(struct eval_args, temperature), "X",
     "0 by default: the likeliest token always"},
    {"chat", CLI_FLAG, offsetof(struct eval_args, chat), NULL,
     "prompts are user messages, put into the model's chat format"},
    {"answers", CLI_FLAG, offsetof(struct eval_args, answers), NULL,
     "with --json: every single answer too"},
};

static uint32_t or_default(struct cli_u32 given, uint32_t by_default)
{
    return given.set ? given.value : by_default;
}

static int check(const struct eval_args *args, struct ltd_err *err)
{
    bool has_adaptive = false;
    for (size_t i = 0; i < args->depths.n; i++)
        has_adaptive |= args->depths.items[i].adaptive;
    if (args->depths.n == 0)
        return ltd_fail(err, LTD_E_INVALID, "no depths: expected --depths N,N,...");
    if (args->concurrency.set && args->concurrency.value == 0)
        return ltd_fail(err, LTD_E_INVALID, "--concurrency: 0, expected at least 1");
    const char *adaptive_flag = cli_depth_adaptive_flag(&args->depth);
    if (!has_adaptive && adaptive_flag)
        return ltd_fail(err, LTD_E_INVALID, "%s goes with \"adaptive\" in --depths", adaptive_flag);
    if (args->answers && !args->common.json)
        return ltd_fail(err, LTD_E_INVALID, "--answers goes with --json");
    return 0;
}

static int evaluate(const struct eval_args *args, const struct cli_eval_plan *plan,
                    struct cli_link *link, struct ltd_err *err)
{
    Latentd__V1__GetModelRequest request = LATENTD__V1__GET_MODEL_REQUEST__INIT;
    struct cli_eval_results results = {.n = 0};
    Latentd__V1__Model *model = cli_link_ask(link, "/latentd.v1.Cluster/GetModel", &request.base,
                                             &latentd__v1__model__descriptor, err);
    if (!model)
        return -1;
    int rc = -1;
    if (!model->has_tokenizer)
        ltd_fail(err, LTD_E_PRECONDITION, "%.*s has no tokenizer: its answers are no text",
                 (int)model->name.len, (const char *)model->name.data);
    else if (cli_eval_run(link, plan, &results, err) == 0)
        rc = args->common.json ? cli_eval_print_json(plan, &results, model, args->answers, err)
                               : cli_eval_print_table(plan, &results, err);
    cli_eval_results_fini(&results);
    cli_link_free(model);
    return rc;
}

static int run(const struct cli_words *words, const void *verb_args, struct ltd_err *err)
{
    const struct eval_args *args = verb_args;
    struct cli_questions questions = {.n = 0};
    struct cli_link link;
    if (check(args, err) != 0 ||
        cli_questions_load(words->items[0], args->limit.value, &questions, err) != 0)
        return -1;
    const struct cli_eval_plan plan = {
        .path = words->items[0],
        .questions = &questions,
        .depths = &args->depths,
        .depth = &args->depth,
        .chat = args->chat,
        .max_tokens = or_default(args->max_tokens, DEFAULT_MAX_TOKENS),
        .temperature = args->temperature.value,
        .seed = args->depth.seed.set ? args->depth.seed.value : DEFAULT_SEED,
        .concurrency = or_default(args->concurrency, DEFAULT_CONCURRENCY),
    };
    int rc = cli_link_open(&link, &args->common, CLI_TIMEOUT_NONE_MS, err);
    if (rc == 0)
        rc = evaluate(args, &plan, &link, err);
    cli_link_close(&link);
    cli_questions_fini(&questions);
    return rc;
}

const struct cli_verb cli_eval = {
    .name = "eval",
    .synopsis = "[OPTION]... --depths N,N,... FILE",
    .summary = "accuracy on a file of questions, by difficulty and depth",
    .details =
        "FILE has one JSON object per line: prompt, answer, difficulty (a whole number or a "
        "string) and, if there are kinds of questions, family. An answer is right when its first "
        "line, without blanks at its ends, equals the expected one byte for byte. A bad line ends "
        "the command with exit status 2 before anything is asked.\n\n"
        "Question i (from 0) is asked with seed --seed + i at every depth; --seed is 1 by default. "
        "Nothing in the output depends on the clock or on --concurrency.\n\n"
        "The table has a row per difficulty, a column per depth, and percent of right answers in "
        "its cells; an adaptive depth also has the mean steps per token, end tokens not counted. "
        "Families come below.\n\n"
        "With --json one object: file, model, hash, tier, questions, seed, max_tokens, "
        "temperature, "
        "depths, cells, families, totals. Cells have difficulty or family, depth, n, correct, "
        "accuracy_percent, tokens, mean_steps. There is no time limit unless --timeout sets one.",
    /* Without the first row of the depth group, --depth: --depths takes its place. */
    .groups = {{rows, sizeof rows / sizeof rows[0], 0},
               {cli_depth_rows + 1, CLI_N_DEPTH_ROWS - 1, offsetof(struct eval_args, depth)},
               CLI_COMMON_GROUP},
    .args_bytes = sizeof(struct eval_args),
    .min_words = 1,
    .max_words = 1,
    .run = run,
};
