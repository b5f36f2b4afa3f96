/* SPDX-License-Identifier: Apache-2.0 */
/* cli/spec.c - see cli/spec.h. */
#include "cli/spec.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/link.h"
#include "cli/names.h"

#define DEPTH_ROW(field) offsetof(struct cli_depth_args, field)

const struct cli_option cli_depth_rows[] = {
    {"depth", CLI_DEPTH, DEPTH_ROW(depth), "N|adaptive|MIN..MAX",
     "recurrent steps for each token; or as many as each token needs; or as many as time and load "
     "allow between two bounds"},
    {"criterion", CLI_TEXT, DEPTH_ROW(criterion), "NAME",
     "adaptive: what tells that a thought has come to rest: " CLI_CRITERION_NAMES},
    {"threshold", CLI_NUMBER, DEPTH_ROW(threshold), "X",
     "adaptive: leave when the criterion's value is below this; argmax-stability: at least this"},
    {"min-steps", CLI_U32, DEPTH_ROW(min_steps), "N", "adaptive: no check before this many steps"},
    {"max-steps", CLI_U32, DEPTH_ROW(max_steps), "N", "adaptive: leave at the latest here"},
    {"check-every", CLI_U32, DEPTH_ROW(check_every), "N",
     "adaptive: steps from one check to the next; 1 by default"},
    {"tokenwise", CLI_FLAG, DEPTH_ROW(tokenwise), NULL,
     "every token of the prompt thinks by itself, one after the other, instead of the prompt as a "
     "whole"},
    {"early-steps", CLI_U32, DEPTH_ROW(early_steps), "N",
     "the first steps of each position in the daemon's early format; 0 is none, and what is not "
     "said "
     "is the daemon's default"},
    {"init-scale", CLI_NUMBER, DEPTH_ROW(init_scale), "X",
     "scale of the random initial latent; 0 starts from zero"},
    {"seed", CLI_U64, DEPTH_ROW(seed), "N",
     "fixes the initial latents and the sampler's draws; without it the daemon picks and reports "
     "one"},
    {"model", CLI_TEXT, DEPTH_ROW(model), "NAME", "refuse to run on any model but this one"},
};

_Static_assert(sizeof cli_depth_rows / sizeof cli_depth_rows[0] == CLI_N_DEPTH_ROWS, "rows");

#define PROMPT_ROW(field) offsetof(struct cli_prompt_args, field)

const struct cli_option cli_prompt_rows[] = {
    {"tokens", CLI_IDS, PROMPT_ROW(tokens), "ID,ID,...",
     "the prompt as token ids, instead of the word PROMPT"},
    {"chat", CLI_FLAG, PROMPT_ROW(chat), NULL,
     "PROMPT is a user's message, put into the model's chat format"},
    {"system", CLI_TEXT, PROMPT_ROW(system), "TEXT", "with --chat: the system message before it"},
};

_Static_assert(sizeof cli_prompt_rows / sizeof cli_prompt_rows[0] == CLI_N_PROMPT_ROWS, "rows");

#define JOB_ROW(field) offsetof(struct cli_job_args, field)

const struct cli_option cli_job_rows[] = {
    {"max-tokens", CLI_U32, JOB_ROW(max_tokens), "N", "end after this many tokens"},
    {"stop", CLI_TEXTS, JOB_ROW(stop), "TEXT", "end before this text; repeatable"},
    {"temperature", CLI_NUMBER, JOB_ROW(temperature), "X", "0 takes the likeliest token always"},
    {"top-k", CLI_U32, JOB_ROW(top_k), "N", "draw among the N likeliest tokens; 0 is off"},
    {"top-p", CLI_NUMBER, JOB_ROW(top_p), "X",
     "drop tokens whose cumulative probability exceeds this; 0 is off"},
    {"min-p", CLI_NUMBER, JOB_ROW(min_p), "X",
     "drop tokens below this share of the likeliest one's probability; 0 is off"},
    {"repetition-penalty", CLI_NUMBER, JOB_ROW(repetition_penalty), "X",
     "make tokens that occurred already less likely; 1 is off"},
    {"logprobs", CLI_U32, JOB_ROW(logprobs), "N",
     "report the log-probability of each token and of the N likeliest ones"},
    {"ignore-eos", CLI_FLAG, JOB_ROW(ignore_eos), NULL, "go on after an end token"},
    {"depth-at", CLI_DEPTH_ATS, JOB_ROW(depth_at), "TOKEN=STEPS",
     "exactly so many steps for this token of the answer, from 0; token 0 is written by the whole "
     "prompt; repeatable"},
    {"within", CLI_DURATION, JOB_ROW(within_ms), "DURATION",
     "the whole answer within 20s, 1500ms or 2m from now: adaptive depths and ranges think less "
     "when time is short, a fixed depth that cannot be in time is refused"},
    {"per-token", CLI_DURATION, JOB_ROW(per_token_ms), "DURATION",
     "the same for each token by itself"},
    {"max-run-ms", CLI_U64, JOB_ROW(max_run_ms), "MS",
     "end the job after this much run time; makes the answer depend on the clock"},
    {"priority", CLI_U32, JOB_ROW(priority), "N",
     "0 to 31, higher goes first; 0 holds the job back until \"latentctl priority\" gives it "
     "another; 16 by default"},
    {"client", CLI_TEXT, JOB_ROW(client), "NAME",
     "on whose account the steps go: clients share the daemon evenly; without it the address that "
     "the call comes from"},
    {"label", CLI_TEXT, JOB_ROW(label), "TEXT", "free text to find the job by"},
    {"request-id", CLI_TEXT, JOB_ROW(request_id), "ID",
     "the same id again gives the same job, not a second one"},
};

_Static_assert(sizeof cli_job_rows / sizeof cli_job_rows[0] == CLI_N_JOB_ROWS, "rows");

/*
 * Above what any daemon accepts in a prompt (its own limit is far lower and it says so); only here
 * to bound what is read before it can.
 */
#define STDIN_MAX_BYTES  ((size_t)64 * 1024 * 1024)
#define STDIN_READ_BYTES ((size_t)64 * 1024)

const char *cli_depth_adaptive_flag(const struct cli_depth_args *args)
{
    if (args->criterion)
        return "--criterion";
    if (args->threshold.set)
        return "--threshold";
    if (args->min_steps.set)
        return "--min-steps";
    if (args->max_steps.set)
        return "--max-steps";
    return args->check_every.set ? "--check-every" : NULL;
}

void cli_depth_forget_adaptive(struct cli_depth_args *args)
{
    args->criterion = NULL;
    args->threshold.set = false;
    args->min_steps.set = false;
    args->max_steps.set = false;
    args->check_every.set = false;
}

static int build_adaptive(const struct cli_depth_args *args, Latentd__V1__AdaptiveDepth *out,
                          struct ltd_err *err)
{
    latentd__v1__adaptive_depth__init(out);
    if (args->criterion) {
        out->criterion = cli_criterion_find(args->criterion);
        if (out->criterion == LATENTD__V1__CRITERION__CRITERION_UNSPECIFIED)
            return ltd_fail(err, LTD_E_INVALID,
                            "--criterion: \"%s\", expected " CLI_CRITERION_NAMES, args->criterion);
    }
    /* 0 stands for the default on the wire; "never check" is what --depth N is for. */
    if (args->check_every.set && args->check_every.value == 0)
        return ltd_fail(err, LTD_E_INVALID, "--check-every: 0, expected at least 1");
    out->min_steps = args->min_steps.value;
    out->max_steps = args->max_steps.value;
    out->check_every = args->check_every.value;
    if (args->threshold.set) {
        out->threshold_set_case = LATENTD__V1__ADAPTIVE_DEPTH__THRESHOLD_SET_THRESHOLD;
        out->threshold = args->threshold.value;
    }
    return 0;
}

static void set_fixed_or_range(const struct cli_depth *depth, struct cli_depth_message *out)
{
    if (!depth->range) {
        out->depth.mode_case = LATENTD__V1__DEPTH__MODE_FIXED_STEPS;
        out->depth.fixed_steps = depth->steps;
        return;
    }
    latentd__v1__depth_range__init(&out->range);
    out->range.min_steps = depth->min_steps;
    out->range.max_steps = depth->max_steps;
    out->depth.mode_case = LATENTD__V1__DEPTH__MODE_RANGE;
    out->depth.range = &out->range;
}

static int build_mode(const struct cli_depth_args *args, struct cli_depth_message *out,
                      struct ltd_err *err)
{
    const char *adaptive_flag = cli_depth_adaptive_flag(args);
    char name[CLI_DEPTH_NAME_BYTES];
    if (args->depth.set && !args->depth.adaptive) {
        if (adaptive_flag)
            return ltd_fail(err, LTD_E_INVALID, "%s goes with --depth adaptive, found --depth %s",
                            adaptive_flag, cli_depth_name(&args->depth, name, sizeof name));
        if (args->depth.range && args->tokenwise)
            return ltd_fail(err, LTD_E_INVALID,
                            "--tokenwise goes with a fixed or an adaptive depth, found --depth %s",
                            cli_depth_name(&args->depth, name, sizeof name));
        set_fixed_or_range(&args->depth, out);
    } else if (args->depth.set || adaptive_flag) {
        out->depth.mode_case = LATENTD__V1__DEPTH__MODE_ADAPTIVE;
        out->depth.adaptive = &out->adaptive;
        return build_adaptive(args, &out->adaptive, err);
    }
    return 0;
}

Latentd__V1__Depth *cli_depth_build(const struct cli_depth_args *args,
                                    struct cli_depth_message *out, bool *failed,
                                    struct ltd_err *err)
{
    latentd__v1__depth__init(&out->depth);
    out->depth.tokenwise = args->tokenwise;
    *failed = build_mode(args, out, err) != 0;
    if (args->early_steps.set) {
        out->depth.early_steps_set_case = LATENTD__V1__DEPTH__EARLY_STEPS_SET_EARLY_STEPS;
        out->depth.early_steps = args->early_steps.value;
    }
    bool says_something = out->depth.mode_case != LATENTD__V1__DEPTH__MODE__NOT_SET ||
                          args->tokenwise || args->early_steps.set;
    return *failed || !says_something ? NULL : &out->depth;
}

void cli_prompt_text(struct cli_prompt_message *out, ProtobufCBinaryData text, bool chat,
                     const char *system)
{
    latentd__v1__prompt__init(&out->prompt);
    latentd__v1__chat__init(&out->chat);
    if (!chat) {
        out->prompt.kind_case = LATENTD__V1__PROMPT__KIND_TEXT;
        out->prompt.text = text;
        return;
    }
    Latentd__V1__ChatMessage *next = out->messages;
    if (system) {
        latentd__v1__chat_message__init(next);
        next->role = cli_bytes("system");
        next->content = cli_bytes(system);
        next++;
    }
    latentd__v1__chat_message__init(next);
    next->role = cli_bytes("user");
    next->content = text;
    out->message_ptrs[0] = &out->messages[0];
    out->message_ptrs[1] = &out->messages[1];
    out->chat.n_messages = system ? 2 : 1;
    out->chat.messages = out->message_ptrs;
    out->prompt.kind_case = LATENTD__V1__PROMPT__KIND_CHAT;
    out->prompt.chat = &out->chat;
}

void cli_prompt_tokens(struct cli_prompt_message *out, const struct cli_ids *ids)
{
    latentd__v1__prompt__init(&out->prompt);
    latentd__v1__token_ids__init(&out->tokens);
    out->tokens.n_ids = ids->n;
    out->tokens.ids = ids->items;
    out->prompt.kind_case = LATENTD__V1__PROMPT__KIND_TOKENS;
    out->prompt.tokens = &out->tokens;
}

static int read_stdin(struct ltd_bytes *text, struct ltd_err *err)
{
    for (;;) {
        uint8_t *at = ltd_bytes_reserve(text, STDIN_READ_BYTES);
        if (!at)
            return ltd_fail(err, LTD_E_EXHAUSTED, "no memory for standard input");
        ssize_t n = read(STDIN_FILENO, at, STDIN_READ_BYTES);
        if (n < 0)
            return ltd_fail(err, LTD_E_INVALID, "read standard input: %s", strerror(errno));
        if (n == 0)
            return 0;
        text->len += (size_t)n;
        if (text->len > STDIN_MAX_BYTES)
            return ltd_fail(err, LTD_E_INVALID, "standard input: more than %zu bytes",
                            STDIN_MAX_BYTES);
    }
}

int cli_prompt_read(const char *word, struct ltd_bytes *text, struct ltd_err *err)
{
    if (strcmp(word, "-") == 0)
        return read_stdin(text, err);
    ltd_bytes_put_str(text, word);
    return text->failed ? ltd_fail(err, LTD_E_EXHAUSTED, "no memory for the prompt") : 0;
}

int cli_prompt_build(const struct cli_prompt_args *args, const struct cli_words *words,
                     struct ltd_bytes *text, struct cli_prompt_message *out, struct ltd_err *err)
{
    if (args->system && !args->chat)
        return ltd_fail(err, LTD_E_INVALID, "--system goes with --chat");
    if (args->tokens.set) {
        if (words->n > 0 || args->chat)
            return ltd_fail(err, LTD_E_INVALID, "--tokens is the whole prompt, found %s as well",
                            words->n > 0 ? "the word PROMPT" : "--chat");
        cli_prompt_tokens(out, &args->tokens);
        return 0;
    }
    if (words->n == 0)
        return ltd_fail(err, LTD_E_INVALID, "no prompt: expected a word, \"-\" or --tokens");
    if (cli_prompt_read(words->items[0], text, err) != 0)
        return -1;
    cli_prompt_text(out, (ProtobufCBinaryData){text->len, text->data}, args->chat, args->system);
    return 0;
}

static void build_sampling(const struct cli_job_args *args, const struct cli_depth_args *depth,
                           Latentd__V1__Sampling *out)
{
    latentd__v1__sampling__init(out);
    if (args->temperature.set)
        out->temperature_set_case = LATENTD__V1__SAMPLING__TEMPERATURE_SET_TEMPERATURE;
    if (args->top_k.set)
        out->top_k_set_case = LATENTD__V1__SAMPLING__TOP_K_SET_TOP_K;
    if (args->top_p.set)
        out->top_p_set_case = LATENTD__V1__SAMPLING__TOP_P_SET_TOP_P;
    if (args->min_p.set)
        out->min_p_set_case = LATENTD__V1__SAMPLING__MIN_P_SET_MIN_P;
    if (args->repetition_penalty.set)
        out->repetition_penalty_set_case =
            LATENTD__V1__SAMPLING__REPETITION_PENALTY_SET_REPETITION_PENALTY;
    if (depth->seed.set)
        out->seed_set_case = LATENTD__V1__SAMPLING__SEED_SET_SEED;
    out->temperature = args->temperature.value;
    out->top_k = args->top_k.value;
    out->top_p = args->top_p.value;
    out->min_p = args->min_p.value;
    out->repetition_penalty = args->repetition_penalty.value;
    out->seed = depth->seed.value;
}

static int build_stop(const struct cli_texts *stop, struct cli_spec_message *out,
                      struct ltd_err *err)
{
    if (stop->n == 0)
        return 0;
    out->stop = calloc(stop->n, sizeof *out->stop);
    if (!out->stop)
        return ltd_fail(err, LTD_E_EXHAUSTED, "no memory for %zu stop strings", stop->n);
    for (size_t i = 0; i < stop->n; i++)
        out->stop[i] = cli_bytes(stop->items[i]);
    out->spec.n_stop = stop->n;
    out->spec.stop = out->stop;
    return 0;
}

static int build_depth_at(const struct cli_depth_ats *list, struct cli_spec_message *out,
                          struct ltd_err *err)
{
    if (list->n == 0)
        return 0;
    out->at = calloc(list->n, sizeof *out->at);
    out->at_ptrs = calloc(list->n, sizeof *out->at_ptrs);
    if (!out->at || !out->at_ptrs)
        return ltd_fail(err, LTD_E_EXHAUSTED, "no memory for %zu depths of tokens", list->n);
    for (size_t i = 0; i < list->n; i++) {
        latentd__v1__depth_at__init(&out->at[i]);
        out->at[i].token = list->items[i].token;
        out->at[i].steps = list->items[i].steps;
        out->at_ptrs[i] = &out->at[i];
    }
    out->depth.depth.n_at = list->n;
    out->depth.depth.at = out->at_ptrs;
    out->spec.depth = &out->depth.depth;
    return 0;
}

/* What the answer may cost, when it should come, and who pays. */
static void build_account(const struct cli_job_args *args, struct cli_spec_message *out)
{
    Latentd__V1__JobSpec *spec = &out->spec;
    if (args->within_ms.set || args->per_token_ms.set) {
        latentd__v1__budget__init(&out->budget);
        out->budget.total_ms = args->within_ms.value;
        out->budget.token_ms = args->per_token_ms.value;
        spec->budget = &out->budget;
    }
    if (args->priority.set)
        spec->priority_set_case = LATENTD__V1__JOB_SPEC__PRIORITY_SET_PRIORITY;
    spec->priority = args->priority.value;
    if (args->client)
        spec->client = cli_bytes(args->client);
    if (args->label)
        spec->label = cli_bytes(args->label);
}

int cli_spec_build(const struct cli_job_args *args, const struct cli_depth_args *depth,
                   struct cli_spec_message *out, struct ltd_err *err)
{
    bool failed;
    Latentd__V1__JobSpec *spec = &out->spec;
    latentd__v1__job_spec__init(spec);
    out->stop = NULL;
    out->at = NULL;
    out->at_ptrs = NULL;
    spec->depth = cli_depth_build(depth, &out->depth, &failed, err);
    if (failed || build_stop(&args->stop, out, err) != 0 ||
        build_depth_at(&args->depth_at, out, err) != 0)
        return -1;
    build_account(args, out);
    build_sampling(args, depth, &out->sampling);
    spec->sampling = &out->sampling;
    spec->prompt = &out->prompt.prompt;
    if (depth->model)
        spec->model = cli_bytes(depth->model);
    spec->max_tokens = args->max_tokens.value;
    spec->max_run_ms = args->max_run_ms.value;
    spec->ignore_eos = args->ignore_eos;
    if (args->logprobs.set)
        spec->logprobs_set_case = LATENTD__V1__JOB_SPEC__LOGPROBS_SET_LOGPROBS;
    spec->logprobs = args->logprobs.value;
    if (depth->init_scale.set)
        spec->init_scale_set_case = LATENTD__V1__JOB_SPEC__INIT_SCALE_SET_INIT_SCALE;
    spec->init_scale = depth->init_scale.value;
    return 0;
}

void cli_spec_fini(struct cli_spec_message *spec)
{
    free(spec->stop);
    free(spec->at_ptrs);
    free(spec->at);
    spec->stop = NULL;
    spec->at_ptrs = NULL;
    spec->at = NULL;
}
