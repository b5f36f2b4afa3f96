/* SPDX-License-Identifier: Apache-2.0 */
/* daemon/run.c - see daemon/run.h. */
#include "daemon/run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/size.h"

/* ---- making and unmaking ---- */

static void set_sampling(struct run *run, const struct job_spec *spec)
{
    run->sampling = (struct model_sampling){
        .greedy = spec->sampling.temperature == 0,
        .temperature = spec->sampling.temperature,
        .top_k = spec->sampling.top_k,
        .top_p = spec->sampling.top_p,
        .min_p = spec->sampling.min_p,
        .repetition_penalty = spec->sampling.repetition_penalty,
        .seed = spec->seed,
    };
    if (spec->init_scale > 0)
        run->origin = (struct pages_origin){.seed = spec->seed, .init_scale = spec->init_scale};
    run->origin.early_steps = spec->depth.early_steps;
}

static void set_sched(struct run *run, const struct job_spec *spec)
{
    const struct model_exit_rule *rule = &spec->depth.rule;
    bool is_elastic = spec_is_elastic(spec);
    bool is_exact = rule->kind == MODEL_EXIT_FIXED && !spec->depth.is_range;
    run->sched.priority = spec->priority;
    run->sched.is_elastic = is_elastic;
    run->sched.min_steps = is_exact ? rule->max_steps : rule->min_steps;
    run->sched.max_steps = rule->max_steps;
    run->sched.token_ns = is_elastic ? spec->budget.token_ms * LTD_NS_PER_MS : 0;
    run->sched.due_ns = spec->budget.total_ms ? ltd_deadline_ns(spec->budget.total_ms) : LTD_NEVER;
    run->sched.n_pages = (run->n_positions + KERN_PAGE_POSITIONS - 1) / KERN_PAGE_POSITIONS;
}

/* The depth asked for by name for the call that writes token `token` of the answer, or 0. */
static int32_t depth_at(const struct job_spec *spec, int32_t token)
{
    for (int32_t i = 0; i < spec->depth.n_at; i++)
        if (spec->depth.at[i].token == token)
            return spec->depth.at[i].steps;
    return 0;
}

/* The answer's token that the call of `position` writes or would have written. */
static int32_t token_of(const struct run *run, int32_t position)
{
    return position < run->n_prompt ? 0 : position - run->n_prompt + 1;
}

/* Tokens of an earlier job: in the sequence, in the text, and with the depths that they had. */
static int take_known(struct run *run, struct ltd_err *err)
{
    const struct spec_known *known = &run->spec->known;
    struct ltd_bytes dropped; /* the log has this text already */
    int rc = 0;
    if (known->n > 0 && known->n >= run->spec->max_tokens)
        return ltd_fail(err, LTD_E_INVALID,
                        "%d tokens are known, expected less than max_tokens, %d", known->n,
                        run->spec->max_tokens);
    ltd_bytes_init(&dropped);
    for (int32_t i = 0; i < known->n && rc == 0; i++) {
        run->tokens[run->n_tokens++] = known->ids[i];
        ltd_bytes_clear(&dropped);
        rc = textout_push(&run->text, known->ids[i], &dropped, err);
        if (i > 0)
            run->depths[run->n_prompt + i - 1] = known->steps[i];
    }
    /* Of a prompt whose positions think one by one only the last depth is on record; its rule finds
     * the same depths again. */
    for (int32_t p = 0; known->n > 0 && !run->spec->depth.is_tokenwise && p < run->n_prompt; p++)
        run->depths[p] = known->steps[0];
    ltd_bytes_fini(&dropped);
    return rc;
}

static bool allocate(struct run *run)
{
    size_t n = (size_t)run->n_positions;
    run->pages = ltd_alloc((size_t)run->sched.n_pages, sizeof *run->pages);
    run->rows = ltd_alloc((size_t)run->rows_room, sizeof *run->rows);
    run->tokens = ltd_alloc(n + 1, sizeof *run->tokens);
    run->depths = ltd_alloc(n, sizeof *run->depths);
    run->last_event = calloc(1, sizeof *run->last_event);
    return run->pages && run->rows && run->tokens && run->depths && run->last_event;
}

struct run *run_create(uint64_t job, const struct job_spec *spec, const struct run_context *context,
                       struct ltd_err *err)
{
    struct run *run = calloc(1, sizeof *run);
    if (!run)
        return ltd_fail_null(err, LTD_E_EXHAUSTED, "no memory for a job");
    run->job = job;
    run->spec = spec;
    snprintf(run->key, sizeof run->key, "%s", spec->key);
    run->n_embd = context->n_embd;
    run->n_prompt = spec->n_prompt;
    run->n_positions =
        spec->kind == SPEC_SCORE ? spec->n_prompt : spec->n_prompt + spec->max_tokens - 1;
    run->is_replayable = context->is_replayable;
    run->prefill_chunk = context->prefill_chunk;
    run->rows_room =
        spec->n_prompt > context->prefill_chunk ? spec->n_prompt : context->prefill_chunk;
    run->stop_at_ns = LTD_NEVER;
    set_sampling(run, spec);
    set_sched(run, spec);
    textout_init(&run->text, spec, context->tokenizer);
    if (!allocate(run)) {
        run_destroy(run);
        return ltd_fail_null(err, LTD_E_EXHAUSTED, "no memory for a job of %d prompt tokens",
                             spec->n_prompt);
    }
    memcpy(run->tokens, spec->prompt, (size_t)spec->n_prompt * sizeof *run->tokens);
    run->n_tokens = spec->n_prompt;
    if (take_known(run, err) != 0) {
        run_destroy(run);
        return NULL;
    }
    run->sched.n_rows = run_rows_needed(run);
    run_begin_call(run);
    run_tell_sched(run);
    return run;
}

void run_destroy(struct run *run)
{
    if (!run)
        return;
    ltd_assert(!run->is_placed, run->job, run->seq);
    run_strip(run);
    ltd_free(run->pages);
    ltd_free(run->rows);
    ltd_free(run->tokens);
    ltd_free(run->depths);
    engine_event_destroy(run->last_event);
    engine_event_destroy(run->scores);
    textout_fini(&run->text);
    free(run);
}

int run_equip(struct run *run, const struct run_context *context, struct ltd_err *err)
{
    enum model_exit_kind kind = run->spec->depth.rule.kind;
    size_t n = (size_t)run->n_embd, room = (size_t)run->rows_room;
    if (model_exit_uses_logits(kind) &&
        model_exit_memory_init(&run->memory, kind, context->vocab_size, err) != 0)
        return -1;
    /* Only touched as far as it is used: for a long prompt these are megabytes. */
    run->latents = calloc(room, n * sizeof *run->latents);
    run->injected = ltd_alloc(n, sizeof *run->injected);
    run->values = ltd_alloc(room, sizeof *run->values);
    run->n_latents = run->rows_room;
    if (run->latents && run->injected && run->values)
        return 0;
    run_strip(run);
    return ltd_fail(err, LTD_E_EXHAUSTED, "no memory for the latents of %d positions",
                    run->rows_room);
}

void run_strip(struct run *run)
{
    model_exit_memory_fini(&run->memory);
    free(run->latents);
    ltd_free(run->injected);
    ltd_free(run->values);
    run->latents = NULL;
    run->injected = NULL;
    run->values = NULL;
}

void run_shrink(struct run *run)
{
    if (run->n_latents <= 1)
        return;
    float *one = calloc(1, (size_t)run->n_embd * sizeof *one);
    if (!one)
        return; /* the many do as well */
    free(run->latents);
    run->latents = one;
    run->n_latents = 1;
}

/* ---- depths ---- */

int32_t run_sure_depth(const struct run *run, int32_t position)
{
    if (run->depths[position] > 0)
        return run->depths[position];
    int32_t named = depth_at(run->spec, token_of(run, position));
    if (named > 0)
        return named;
    const struct spec_depth *depth = &run->spec->depth;
    return depth->rule.kind == MODEL_EXIT_FIXED && !depth->is_range ? depth->rule.max_steps : 0;
}

int32_t run_n_shareable(const struct run *run)
{
    if (!run->is_replayable)
        return 0;
    int32_t end = run->n_tokens - 1; /* its latent writes the next token */
    if (run->spec->kind == SPEC_SCORE)
        end = run->spec->score_begin - 1;
    int32_t n = 0;
    while (n < end && run_sure_depth(run, n) > 0)
        n++;
    return n;
}

void run_take_over(struct run *run, int32_t n)
{
    for (int32_t p = 0; p < n; p++)
        run->depths[p] = run_sure_depth(run, p);
    run->n_done = n;
}

int32_t run_rows_needed(const struct run *run)
{
    if (run->depths[0] == 0 || !run->is_replayable)
        return run->spec->depth.is_tokenwise ? 1 : run->n_prompt;
    int32_t n = 0;
    while (n < run->rows_room && n < run->n_positions && run->depths[n] > 0)
        n++;
    return n > run->n_prompt || run->spec->depth.is_tokenwise ? n : run->n_prompt;
}

uint64_t run_total_steps(const struct run *run)
{
    uint64_t steps = 0;
    for (int32_t p = 0; p < run->n_positions; p++)
        steps += (uint64_t)run->depths[p];
    if (run->is_replay || run->n_done == run->call_end)
        return steps;
    int32_t done = run->phase == RUN_CODA ? run->step_idx + 1 : run->step_idx;
    return steps + (uint64_t)done * (uint64_t)run_call_len(run);
}

/* ---- calls ---- */

static int32_t end_of_replay(const struct run *run, int32_t begin)
{
    if (!run->is_replayable)
        return begin == 0 && !run->spec->depth.is_tokenwise ? run->n_prompt : begin + 1;
    int32_t room = run->is_placed ? run->n_rows : run->rows_room;
    int32_t end = begin;
    while (end < run->n_positions && end - begin < room && run->depths[end] > 0)
        end++;
    return end;
}

static void set_rule(struct run *run)
{
    run->rule = run->spec->depth.rule;
    int32_t named = depth_at(run->spec, token_of(run, run->call_begin));
    if (named > 0)
        run->rule = (struct model_exit_rule){
            .kind = MODEL_EXIT_FIXED, .min_steps = named, .max_steps = named, .check_every = 1};
    else if (run->rule.kind == MODEL_EXIT_FIXED && !run->spec->depth.is_range)
        run->rule.min_steps = run->rule.max_steps;
    run->step_limit = run->rule.max_steps;
    if (!run->is_replay)
        return;
    run->rule.kind = MODEL_EXIT_FIXED;
    run->step_limit = 0;
    for (int32_t p = run->call_begin; p < run->call_end; p++)
        if (run->depths[p] > run->step_limit)
            run->step_limit = run->depths[p];
    run->rule.min_steps = run->rule.max_steps = run->step_limit;
}

static int32_t n_takers(const struct run *run)
{
    int32_t n = 0;
    for (int32_t p = run->call_begin; p < run->call_end; p++)
        n += run_takes_step(run, p);
    return n;
}

/* `next` becomes the first position from there on that takes the step. */
static void advance_next(struct run *run, int32_t next)
{
    while (next < run->call_end && !run_takes_step(run, next))
        next++;
    run->next = next;
}

static void stand_before_step(struct run *run, int32_t step_idx)
{
    run->phase = RUN_STEPPING;
    run->is_check = false;
    run->step_idx = step_idx;
    run->n_ready = run->is_replay ? n_takers(run) : run_call_len(run);
    advance_next(run, run->call_begin);
}

void run_begin_call(struct run *run)
{
    int32_t begin = run->n_done;
    run->call_begin = begin;
    run->is_replay = run->depths[begin] > 0;
    if (run->is_replay)
        run->call_end = end_of_replay(run, begin);
    else if (begin < run->n_prompt && !run->spec->depth.is_tokenwise)
        run->call_end = run->n_prompt;
    else
        run->call_end = begin + 1;
    run->value = 0;
    run->has_injected = false;
    set_rule(run);
    if (run->memory.kind != MODEL_EXIT_FIXED)
        model_exit_memory_reset(&run->memory);
    stand_before_step(run, 0);
}

void run_resume_call(struct run *run, int32_t begin, int32_t steps)
{
    run->call_begin = begin;
    run->call_end = run->n_done;
    run->n_done = begin;
    for (int32_t p = begin; p < run->call_end; p++)
        run->depths[p] = 0;
    run->is_replay = false;
    run->has_injected = false;
    set_rule(run);
    stand_before_step(run, steps);
}

void run_limit_steps(struct run *run, int32_t steps)
{
    if (run->is_replay || run->rule.min_steps == run->rule.max_steps)
        return;
    int32_t least =
        run->step_idx + 1 > run->rule.min_steps ? run->step_idx + 1 : run->rule.min_steps;
    run->step_limit = steps < least ? least : steps;
    if (run->step_limit > run->rule.max_steps)
        run->step_limit = run->rule.max_steps;
}

bool run_takes_step(const struct run *run, int32_t position)
{
    return !run->is_replay || run->depths[position] > run->step_idx;
}

static bool is_value_due(const struct run *run)
{
    return model_exit_is_due(&run->rule, run->step_idx + 1);
}

bool run_is_early(const struct run *run)
{
    return run->step_idx < run->origin.early_steps;
}

uint32_t run_wants(const struct run *run, int32_t position)
{
    int32_t steps_done = run->step_idx + 1;
    if (run->is_replay)
        return run->depths[position] == steps_done ? CLUS_WANT_LATENT : 0;
    uint32_t flags = steps_done >= run->step_limit ? CLUS_WANT_LATENT : 0;
    if (!is_value_due(run))
        return flags;
    switch (model_exit_value_of(run->rule.kind)) {
    case MODEL_VALUE_NONE:
        return CLUS_WANT_LATENT;
    case MODEL_VALUE_DIFF:
        return CLUS_WANT_LATENT | CLUS_WANT_DIFF;
    case MODEL_VALUE_COSINE:
        return CLUS_WANT_LATENT | CLUS_WANT_COSINE;
    case MODEL_VALUE_ACCELERATION:
        return CLUS_WANT_LATENT | CLUS_WANT_ACCELERATION;
    case MODEL_N_VALUES:
        break;
    }
    return flags;
}

void run_position_taken(struct run *run)
{
    run->n_ready--;
    advance_next(run, run->next + 1);
}

static void enter_coda(struct run *run, bool is_check)
{
    run->phase = RUN_CODA;
    run->is_check = is_check;
    run->coda_next = run->call_begin;
    run->n_ready = 0;
}

static void note_exit(struct run *run, bool is_met)
{
    bool is_exact =
        run->rule.kind == MODEL_EXIT_FIXED && run->rule.min_steps == run->rule.max_steps;
    if (is_exact)
        run->exit = ENGINE_EXIT_FIXED;
    else if (is_met)
        run->exit = ENGINE_EXIT_CONVERGED;
    else if (run->step_idx + 1 >= run->rule.max_steps)
        run->exit = ENGINE_EXIT_MAX_STEPS;
    else
        run->exit = ENGINE_EXIT_BUDGET;
}

void run_step_done(struct run *run)
{
    bool is_last = run->step_idx + 1 >= run->step_limit;
    bool is_due = !run->is_replay && is_value_due(run);
    if (is_due && model_exit_uses_logits(run->rule.kind)) {
        enter_coda(run, true);
        return;
    }
    if (is_due)
        run->value = model_exit_mean(run->values, run_call_len(run));
    bool is_met = is_due && model_exit_is_met(&run->rule, run->value);
    if (!is_last && !is_met) {
        stand_before_step(run, run->step_idx + 1);
        return;
    }
    note_exit(run, is_met);
    enter_coda(run, false);
}

bool run_check_done(struct run *run, double value)
{
    bool is_met = model_exit_is_met(&run->rule, value);
    run->value = value;
    if (!is_met && run->step_idx + 1 < run->step_limit) {
        stand_before_step(run, run->step_idx + 1);
        return false;
    }
    note_exit(run, is_met);
    return true;
}

void run_call_done(struct run *run)
{
    for (int32_t p = run->call_begin; !run->is_replay && p < run->call_end; p++)
        run->depths[p] = run->step_idx + 1;
    run->n_done = run->call_end;
}

void run_rewind(struct run *run)
{
    run->n_done = run->n_shared = run->n_sealed = run->n_pages_told = 0;
    run->last_serial = 0;
    run->sched.n_rows = run_rows_needed(run);
    run_begin_call(run);
    run_tell_sched(run);
}

bool run_at_boundary(const struct run *run)
{
    bool is_untouched =
        run->phase == RUN_STEPPING && run->step_idx == 0 && run->next == run->call_begin;
    return is_untouched || run->n_tokens == run->n_tokens_admitted;
}

void run_tell_sched(struct run *run)
{
    struct sched_job *sched = &run->sched;
    int32_t to_write = run->n_prompt + run->spec->max_tokens - run->n_tokens;
    int32_t len = run_call_len(run);
    sched->calls_left = run->spec->kind == SPEC_SCORE ? 1 : to_write;
    if (run->spec->depth.is_tokenwise && run->n_done < run->n_prompt)
        sched->calls_left += run->n_prompt - run->call_end;
    if (run->is_replay)
        sched->calls_left++;
    sched->call_positions = len;
    sched->step_idx = run->phase == RUN_CODA ? run->step_idx + 1 : run->step_idx;
    sched->n_ready = run->phase == RUN_STEPPING ? run->n_ready : 0;
    sched->n_coda = run->phase == RUN_CODA && len > 1 ? run->call_end - run->coda_next : 0;
    sched->is_prefill = len > 1;
}
