/* SPDX-License-Identifier: Apache-2.0 */
/* daemon/run.c - see daemon/run.h. */
#include "daemon/run.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/size.h"

static void set_rules(struct run *run, const struct job_spec *spec)
{
    run->rule = (struct model_exit_rule){
        .kind = spec->depth.adaptive ? MODEL_EXIT_LATENT_DIFF : MODEL_EXIT_FIXED,
        .min_steps = spec->depth.min_steps,
        .max_steps = spec->depth.max_steps,
        .threshold = spec->depth.threshold,
    };
    run->sampling = (struct model_sampling){
        .greedy = spec->sampling.temperature == 0,
        .temperature = spec->sampling.temperature,
        .top_k = spec->sampling.top_k,
        .top_p = spec->sampling.top_p,
        .min_p = spec->sampling.min_p,
        .repetition_penalty = spec->sampling.repetition_penalty,
        .seed = spec->seed,
    };
}

static bool allocate(struct run *run)
{
    size_t n_call = (size_t)run->spec->n_prompt, n = (size_t)run->n_embd;
    size_t vector;
    if (!ltd_size_mul(n_call, n, &vector))
        return false;
    run->rows = ltd_alloc(n_call, sizeof *run->rows);
    run->tokens = ltd_alloc((size_t)run->n_positions + 1, sizeof *run->tokens);
    /* Not touched here: for a long prompt these are megabytes, and this is the loop thread. */
    run->latents = calloc(vector, sizeof *run->latents);
    run->last_event = calloc(1, sizeof *run->last_event);
    if (!run->rows || !run->tokens || !run->latents || !run->last_event)
        return false;
    if (run->spec->depth.adaptive)
        run->diffs = ltd_alloc(n_call, sizeof *run->diffs);
    return run->diffs || !run->spec->depth.adaptive;
}

struct run *run_create(uint64_t job, const struct job_spec *spec, int32_t n_embd,
                       const struct model_tokenizer *tokenizer, struct ltd_err *err)
{
    struct run *run = calloc(1, sizeof *run);
    if (!run)
        return ltd_fail_null(err, LTD_E_EXHAUSTED, "no memory for a job");
    run->job = job;
    run->spec = spec;
    run->n_embd = n_embd;
    run->n_positions =
        spec->kind == SPEC_SCORE ? spec->n_prompt : spec->n_prompt + spec->max_tokens - 1;
    set_rules(run, spec);
    textout_init(&run->text, spec, tokenizer);
    if (!allocate(run)) {
        run_destroy(run);
        return ltd_fail_null(err, LTD_E_EXHAUSTED, "no memory for a job of %d prompt tokens",
                             spec->n_prompt);
    }
    memcpy(run->tokens, spec->prompt, (size_t)spec->n_prompt * sizeof *run->tokens);
    run->n_tokens = spec->n_prompt;
    run->call_end = spec->n_prompt;
    run->stop_at_ns = LTD_NEVER;
    return run;
}

void run_destroy(struct run *run)
{
    if (!run)
        return;
    ltd_assert(!run->is_placed, run->job, run->seq);
    ltd_free(run->pages);
    ltd_free(run->rows);
    ltd_free(run->tokens);
    free(run->latents);
    ltd_free(run->diffs);
    engine_event_destroy(run->last_event);
    textout_fini(&run->text);
    free(run);
}

uint32_t run_wants(const struct run *run)
{
    int32_t steps_done = run->step_idx + 1;
    bool is_last = steps_done == run->rule.max_steps;
    if (run->rule.kind == MODEL_EXIT_FIXED)
        return is_last ? CLUS_WANT_LATENT : 0;
    /* At the last step the value decides nothing, but the result says whether it was met. */
    if (is_last || model_exit_wants_value(&run->rule, steps_done))
        return CLUS_WANT_LATENT | CLUS_WANT_DIFF;
    return 0;
}

bool run_step_done(struct run *run, enum engine_exit *exit)
{
    int32_t steps_done = run->step_idx + 1;
    run->total_steps += (uint64_t)run_call_len(run);
    if (run_wants(run) & CLUS_WANT_DIFF)
        run->value = model_exit_mean(run->diffs, run_call_len(run));
    if (!model_exit_now(&run->rule, steps_done, run->value)) {
        run->step_idx++;
        run->next = run->call_begin;
        return false;
    }
    if (run->rule.kind == MODEL_EXIT_FIXED)
        *exit = ENGINE_EXIT_FIXED;
    else if (run->value < run->rule.threshold)
        *exit = ENGINE_EXIT_CONVERGED;
    else
        *exit = ENGINE_EXIT_MAX_STEPS;
    return true;
}

void run_next_call(struct run *run, int32_t token)
{
    ltd_assert(run->n_tokens == run->call_end, run->n_tokens, run->call_end);
    run->tokens[run->n_tokens++] = token;
    run->call_begin = run->call_end;
    run->call_end++;
    run->next = run->call_begin;
    run->step_idx = 0;
    run->value = 0;
}
