/* SPDX-License-Identifier: Apache-2.0 */
/* cli/spec.c - see cli/spec.h. */
#include "cli/spec.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/link.h"

#define DEPTH_ROW(field) offsetof(struct cli_depth_args, field)

const struct cli_option cli_depth_rows[] = {
    {"depth", CLI_DEPTH, DEPTH_ROW(depth), "N|adaptive",
     "recurrent steps for each token, or as many as each token needs"},
    {"min-steps", CLI_U32, DEPTH_ROW(min_steps), "N", "adaptive: no check before this many steps"},
    {"max-steps", CLI_U32, DEPTH_ROW(max_steps), "N", "adaptive: leave at the latest here"},
    {"threshold", CLI_NUMBER, DEPTH_ROW(threshold), "X",
     "adaptive: leave when the latent changes by less than this, relatively"},
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
    {"max-run-ms", CLI_U64, JOB_ROW(max_run_ms), "MS",
     "end the job after this much run time; makes the answer depend on the clock"},
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

Latentd__V1__Depth *cli_depth_build(const struct cli_depth_args *args,
                                    struct cli_depth_message *out, bool *failed,
                                    struct ltd_err *err)
{
    bool for_adaptive = args->min_steps.set || args->max_steps.set || args->threshold.set;
    *failed = false;
    if (!args->depth.set && !for_adaptive)
        return NULL;
    latentd__v1__depth__init(&out->depth);
    latentd__v1__adaptive_depth__init(&out->adaptive);
    if (args->depth.set && !args->depth.adaptive) {
        if (for_adaptive) {
            *failed = true;
            return ltd_fail_null(err, LTD_E_INVALID,
                                 "--min-steps, --max-steps and --threshold go with "
                                 "--depth adaptive, found --depth %u",
                                 args->depth.steps);
        }
        out->depth.mode_case = LATENTD__V1__DEPTH__MODE_FIXED_STEPS;
        out->depth.fixed_steps = args->depth.steps;
        return &out->depth;
    }
    out->depth.mode_case = LATENTD__V1__DEPTH__MODE_ADAPTIVE;
    out->depth.adaptive = &out->adaptive;
    out->adaptive.min_steps = args->min_steps.value;
    out->adaptive.max_steps = args->max_steps.value;
    if (args->threshold.set) {
        out->adaptive.threshold_set_case = LATENTD__V1__ADAPTIVE_DEPTH__THRESHOLD_SET_THRESHOLD;
        out->adaptive.threshold = args->threshold.value;
    }
    return &out->depth;
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

int cli_spec_build(const struct cli_job_args *args, const struct cli_depth_args *depth,
                   struct cli_spec_message *out, struct ltd_err *err)
{
    bool failed;
    Latentd__V1__JobSpec *spec = &out->spec;
    latentd__v1__job_spec__init(spec);
    out->stop = NULL;
    spec->depth = cli_depth_build(depth, &out->depth, &failed, err);
    if (failed || build_stop(&args->stop, out, err) != 0)
        return -1;
    build_sampling(args, depth, &out->sampling);
    spec->sampling = &out->sampling;
    spec->prompt = &out->prompt.prompt;
    if (depth->model)
        spec->model = cli_bytes(depth->model);
    if (args->label)
        spec->label = cli_bytes(args->label);
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
    spec->stop = NULL;
}
