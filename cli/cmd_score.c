/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli/cmd_score.c - how likely the model finds a text behind another one.
 */
#include "cli/verb.h"

#include <inttypes.h>
#include <stdlib.h>

#include "cli/link.h"
#include "cli/names.h"
#include "cli/out.h"
#include "cli/spec.h"
#include "cli/table.h"

struct score_args {
    struct cli_common common;
    struct cli_depth_args depth;
    const char *context;
    const char *continuation;
    struct cli_ids context_tokens;
    struct cli_ids continuation_tokens;
};

static const struct cli_option rows[] = {
    {"context", CLI_TEXT, offsetof(struct score_args, context), "TEXT", "what comes before"},
    {"continuation", CLI_TEXT, offsetof(struct score_args, continuation), "TEXT", "what is scored"},
    {"context-tokens", CLI_IDS, offsetof(struct score_args, context_tokens), "ID,ID,...",
     "--context as token ids"},
    {"continuation-tokens", CLI_IDS, offsetof(struct score_args, continuation_tokens), "ID,ID,...",
     "--continuation as token ids"},
};

/* A prompt from a text or from ids; NULL when neither is there. */
static Latentd__V1__Prompt *prompt_of(const char *text, const struct cli_ids *ids,
                                      struct cli_prompt_message *out)
{
    if (!text && !ids->set)
        return NULL;
    if (text)
        cli_prompt_text(out, cli_bytes(text), false, NULL);
    else
        cli_prompt_tokens(out, ids);
    return &out->prompt;
}

static int print_json(const Latentd__V1__ScoreResponse *answer, struct ltd_err *err)
{
    struct cli_json j;
    cli_json_init(&j);
    cli_json_begin(&j, NULL, '{');
    cli_json_u32s(&j, "tokens", answer->ids, answer->n_ids);
    cli_json_begin(&j, "logprobs", '[');
    for (size_t i = 0; i < answer->n_logprobs; i++)
        cli_json_float(&j, NULL, answer->logprobs[i]);
    cli_json_end(&j);
    cli_json_begin(&j, "greedy", '[');
    for (size_t i = 0; i < answer->n_greedy; i++)
        cli_json_bool(&j, NULL, answer->greedy[i]);
    cli_json_end(&j);
    cli_json_u32s(&j, "steps", answer->steps, answer->n_steps);
    cli_json_double(&j, "sum", answer->sum);
    cli_json_u64(&j, "context_tokens", answer->context_tokens);
    cli_json_u64(&j, "seed", answer->seed);
    cli_json_bytes(&j, "tier", answer->tier);
    cli_json_end(&j);
    return cli_json_print(&j, err);
}

static int print_table(const Latentd__V1__ScoreResponse *answer, struct ltd_err *err)
{
    struct cli_table table;
    cli_table_init(&table, "rrrl");
    cli_table_cell(&table, "TOKEN");
    cli_table_cell(&table, "LOGPROB");
    cli_table_cell(&table, "STEPS");
    cli_table_cell(&table, "LIKELIEST");
    for (size_t i = 0; i < answer->n_ids; i++) {
        cli_table_cell(&table, "%" PRIu32, answer->ids[i]);
        cli_table_cell(&table, "%.6f", i < answer->n_logprobs ? (double)answer->logprobs[i] : 0);
        cli_table_cell(&table, "%" PRIu32, i < answer->n_steps ? answer->steps[i] : 0);
        cli_table_cell(&table, "%s", i < answer->n_greedy && answer->greedy[i] ? "yes" : "no");
    }
    cli_table_cell(&table, "sum");
    cli_table_cell(&table, "%.6f", answer->sum);
    cli_table_cell(&table, "%s", "");
    cli_table_cell(&table, "%s", "");
    int rc = cli_table_print(&table, err);
    cli_table_fini(&table);
    return rc == 0 ? cli_out_flush(err) : -1;
}

static int ask(const struct score_args *args, const Latentd__V1__ScoreRequest *request,
               struct ltd_err *err)
{
    struct cli_link link;
    int rc = cli_link_open(&link, &args->common, CLI_TIMEOUT_NONE_MS, err);
    if (rc == 0) {
        Latentd__V1__ScoreResponse *answer =
            cli_link_ask(&link, "/latentd.v1.Inference/Score", &request->base,
                         &latentd__v1__score_response__descriptor, err);
        rc = !answer ? -1 : args->common.json ? print_json(answer, err) : print_table(answer, err);
        cli_link_free(answer);
    }
    cli_link_close(&link);
    return rc;
}

/* Both parts as words instead of flags: the short way to type it. */
static int take_words(const struct cli_words *words, struct score_args *args, struct ltd_err *err)
{
    if (words->n == 0)
        return 0;
    if (words->n != 2)
        return ltd_fail(err, LTD_E_INVALID, "one word, expected CONTEXT and CONTINUATION");
    if (args->context || args->continuation || args->context_tokens.set ||
        args->continuation_tokens.set)
        return ltd_fail(err, LTD_E_INVALID,
                        "CONTEXT and CONTINUATION as words and as flags: give one of them");
    args->context = words->items[0];
    args->continuation = words->items[1];
    return 0;
}

static int run(const struct cli_words *words, const void *verb_args, struct ltd_err *err)
{
    struct score_args with_words = *(const struct score_args *)verb_args;
    const struct score_args *args = &with_words;
    bool failed;
    struct cli_depth_message depth;
    struct cli_prompt_message context, continuation;
    Latentd__V1__ScoreRequest request = LATENTD__V1__SCORE_REQUEST__INIT;
    if (take_words(words, &with_words, err) != 0)
        return -1;
    if ((args->context && args->context_tokens.set) ||
        (args->continuation && args->continuation_tokens.set))
        return ltd_fail(err, LTD_E_INVALID,
                        "text and token ids of the same part: give one of them");
    request.context = prompt_of(args->context, &args->context_tokens, &context);
    request.continuation = prompt_of(args->continuation, &args->continuation_tokens, &continuation);
    if (!request.continuation)
        return ltd_fail(err, LTD_E_INVALID,
                        "nothing to score: expected --continuation or --continuation-tokens");
    request.depth = cli_depth_build(&args->depth, &depth, &failed, err);
    if (failed)
        return -1;
    if (args->depth.model)
        request.model = cli_bytes(args->depth.model);
    if (args->depth.init_scale.set)
        request.init_scale_set_case = LATENTD__V1__SCORE_REQUEST__INIT_SCALE_SET_INIT_SCALE;
    request.init_scale = args->depth.init_scale.value;
    if (args->depth.seed.set)
        request.seed_set_case = LATENTD__V1__SCORE_REQUEST__SEED_SET_SEED;
    request.seed = args->depth.seed.value;
    return ask(args, &request, err);
}

const struct cli_verb cli_score = {
    .name = "score",
    .synopsis = "[OPTION]... (CONTEXT CONTINUATION | [--context TEXT] --continuation TEXT)",
    .summary = "log-probabilities of a text behind another one",
    .details =
        "Prints each scored token with its natural log-probability, the steps spent on it, and "
        "whether it is the likeliest one there; the last line is the sum. Without a context the "
        "first token is not scored. A range of depths is refused: scores of a depth that the load "
        "chose compare with nothing.\n\n"
        "With --json one object: tokens, logprobs, greedy, steps, sum, context_tokens, seed, tier. "
        "There is no time limit unless --timeout sets one.",
    .groups = {{rows, sizeof rows / sizeof rows[0], 0},
               {cli_depth_rows, CLI_N_DEPTH_ROWS, offsetof(struct score_args, depth)},
               CLI_COMMON_GROUP},
    .args_bytes = sizeof(struct score_args),
    .min_words = 0,
    .max_words = 2,
    .run = run,
};
