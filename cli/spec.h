/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli/spec.h - the flags that say what is asked of a model, and the messages they become.
 *
 * Three groups of options, each a struct with rows: how deep (cli_depth_args: think, submit, score,
 * eval), what prompt (cli_prompt_args: think, submit), and all the rest of a job (cli_job_args).
 * What the user did not say is left out of the message: the service's defaults are its own.
 *
 * The message structs here own nothing and point into the args and into each other, so they are
 * filled in place and never copied.
 *
 * Threads: plain memory.
 */
#ifndef LATENTD_CLI_SPEC_H
#define LATENTD_CLI_SPEC_H

#include <stdbool.h>
#include <stddef.h>

#include "base/bytes.h"
#include "base/err.h"
#include "cli/options.h"
#include "latentd/v1/latentd.pb-c.h"

struct cli_depth_args {
    struct cli_depth depth;
    const char *criterion; /* a name of cli/names.h; NULL: the service's default */
    struct cli_number threshold;
    struct cli_u32 min_steps;
    struct cli_u32 max_steps;
    struct cli_u32 check_every;
    bool tokenwise;
    struct cli_u32 early_steps;
    struct cli_number init_scale;
    struct cli_u64 seed;
    const char *model;
};

struct cli_prompt_args {
    struct cli_ids tokens;
    bool chat;
    const char *system;
};

struct cli_job_args {
    struct cli_u32 max_tokens;
    struct cli_texts stop;
    struct cli_number temperature;
    struct cli_u32 top_k;
    struct cli_number top_p;
    struct cli_number min_p;
    struct cli_number repetition_penalty;
    struct cli_u32 logprobs;
    bool ignore_eos;
    struct cli_depth_ats depth_at;
    struct cli_u64 within_ms;
    struct cli_u64 per_token_ms;
    struct cli_u64 max_run_ms;
    struct cli_u32 priority;
    const char *client;
    const char *label;
    const char *request_id;
};

extern const struct cli_option cli_depth_rows[];
extern const struct cli_option cli_prompt_rows[];
extern const struct cli_option cli_job_rows[];
#define CLI_N_DEPTH_ROWS  11
#define CLI_N_PROMPT_ROWS 3
#define CLI_N_JOB_ROWS    17

struct cli_depth_message {
    Latentd__V1__Depth depth;
    Latentd__V1__AdaptiveDepth adaptive;
    Latentd__V1__DepthRange range;
};

struct cli_prompt_message {
    Latentd__V1__Prompt prompt;
    Latentd__V1__TokenIds tokens;
    Latentd__V1__Chat chat;
    Latentd__V1__ChatMessage messages[2];
    Latentd__V1__ChatMessage *message_ptrs[2];
};

struct cli_spec_message {
    Latentd__V1__JobSpec spec;
    Latentd__V1__Sampling sampling;
    struct cli_depth_message depth;
    struct cli_prompt_message prompt;
    Latentd__V1__Budget budget;
    /* Owned; cli_spec_fini. */
    ProtobufCBinaryData *stop;      /* [args->stop.n] */
    Latentd__V1__DepthAt *at;       /* [args->depth_at.n] */
    Latentd__V1__DepthAt **at_ptrs; /* [args->depth_at.n], into `at` */
};

/*
 * cli_depth_adaptive_flag - the first flag among those that were given that only an adaptive depth
 * has (--criterion, --threshold, --min-steps, --max-steps, --check-every), with its dashes; NULL
 * when there is none.
 */
const char *cli_depth_adaptive_flag(const struct cli_depth_args *args);

/* cli_depth_forget_adaptive - as if none of those flags had been given. */
void cli_depth_forget_adaptive(struct cli_depth_args *args);

/*
 * cli_depth_build - fill `out`; returns the message to point at, or NULL when no flag said anything
 * about depth. `failed` is set with LTD_E_INVALID when a fixed depth or a range meets adaptive
 * flags, a range meets --tokenwise, or a criterion is unknown.
 *
 * Flags of an adaptive depth without --depth mean --depth adaptive.
 */
Latentd__V1__Depth *cli_depth_build(const struct cli_depth_args *args,
                                    struct cli_depth_message *out, bool *failed,
                                    struct ltd_err *err);

/*
 * cli_prompt_text - a prompt that is text, or a chat of one user message behind an optional system
 * message. `text` and `system` (may be NULL) are borrowed.
 */
void cli_prompt_text(struct cli_prompt_message *out, ProtobufCBinaryData text, bool chat,
                     const char *system);

/* cli_prompt_tokens - a prompt that is token ids; `ids` are borrowed. */
void cli_prompt_tokens(struct cli_prompt_message *out, const struct cli_ids *ids);

/*
 * cli_prompt_read - the text of the word PROMPT: itself, or all of standard input for "-".
 *
 * text  initialized by the caller; receives the bytes as they are, a final line feed included
 * Errors:  LTD_E_INVALID when standard input cannot be read or holds more than 64 MiB.
 */
int cli_prompt_read(const char *word, struct ltd_bytes *text, struct ltd_err *err);

/*
 * cli_prompt_build - one prompt from --tokens, or from the word PROMPT with --chat and --system.
 * Errors:  LTD_E_INVALID when there is no prompt, two of them, or flags that do not go together;
 *          those of cli_prompt_read.
 */
int cli_prompt_build(const struct cli_prompt_args *args, const struct cli_words *words,
                     struct ltd_bytes *text, struct cli_prompt_message *out, struct ltd_err *err);

/*
 * cli_spec_build - a whole JobSpec but for its prompt, which the caller builds into out->prompt.
 * Errors:  those of cli_depth_build; LTD_E_EXHAUSTED.
 */
int cli_spec_build(const struct cli_job_args *args, const struct cli_depth_args *depth,
                   struct cli_spec_message *out, struct ltd_err *err);

void cli_spec_fini(struct cli_spec_message *spec);

#endif
