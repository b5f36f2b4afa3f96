/* SPDX-License-Identifier: Apache-2.0 */
/* daemon/engine_output.c - see daemon/engine_output.h. */
#include "daemon/engine_output.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/size.h"
#include "model/border.h"

/* A watcher wants to see that a long thought is alive; more often than this helps nobody. */
#define THINKING_INTERVAL_NS (250 * LTD_NS_PER_MS)

/* Rows of logits at once: enough to share the reading of the head's weights, and with a vocabulary
 * of 65,536 still only 4 MiB. */
#define LOGIT_ROWS 16

int engine_output_init(struct engine_output *out, const struct engine_config *config,
                       struct ltd_mailbox *events, struct ltd_err *err)
{
    *out = (struct engine_output){.config = config, .events = events, .max_rows = LOGIT_ROWS};
    size_t n_rows = LOGIT_ROWS, hidden, logits;
    ltd_bytes_init(&out->text);
    if (!ltd_size_mul(n_rows, (size_t)config->n_embd, &hidden) ||
        !ltd_size_mul(n_rows, (size_t)config->vocab_size, &logits))
        return ltd_fail(err, LTD_E_EXHAUSTED, "vocabulary of %d is too large", config->vocab_size);
    out->hidden = ltd_alloc(hidden, sizeof *out->hidden);
    out->logits = ltd_alloc(logits, sizeof *out->logits);
    /* Every row that ranks hold may leave in the same turn. */
    out->coda_room = (size_t)config->n_rows;
    out->coda = ltd_alloc(out->coda_room, sizeof *out->coda);
    out->sampler = model_sampler_create(config->vocab_size, err);
    if (out->hidden && out->logits && out->coda && out->sampler)
        return 0;
    engine_output_fini(out);
    return ltd_fail(err, LTD_E_EXHAUSTED, "no memory for the output head");
}

void engine_output_fini(struct engine_output *out)
{
    ltd_free(out->hidden);
    ltd_free(out->logits);
    ltd_free(out->coda);
    model_sampler_destroy(out->sampler);
    ltd_bytes_fini(&out->text);
    *out = (struct engine_output){0};
}

static void end(struct run *run, enum engine_finish finish)
{
    run->is_ending = true;
    run->ending = finish;
}

static void end_with_error(struct run *run, const struct ltd_err *why)
{
    end(run, ENGINE_FINISH_ERROR);
    run->last_event->error = *why;
}

/* A fresh event of the run, or NULL after the run was told to end. */
static struct engine_event *new_event(struct run *run, enum engine_event_kind kind)
{
    struct engine_event *event = calloc(1, sizeof *event);
    if (!event) {
        struct ltd_err why;
        ltd_fail(&why, LTD_E_EXHAUSTED, "no memory for an event of the job");
        end_with_error(run, &why);
        return NULL;
    }
    event->kind = kind;
    event->job = run->job;
    return event;
}

static void post(struct engine_output *out, struct run *run, struct engine_event *take_event)
{
    take_event->time_us = ltd_wall_us();
    run->quiet_since_ns = ltd_now_ns();
    ltd_mailbox_post(out->events, &take_event->mail);
}

/* Move the scratch text into the event. */
static int give_text(struct engine_output *out, struct engine_event *event, struct ltd_err *err)
{
    if (out->text.len == 0)
        return 0;
    event->text = malloc(out->text.len);
    if (!event->text)
        return ltd_fail(err, LTD_E_EXHAUSTED, "no memory for %zu bytes of text", out->text.len);
    memcpy(event->text, out->text.data, out->text.len);
    event->text_len = out->text.len;
    return 0;
}

static bool is_end_token(const struct engine_config *config, int32_t token)
{
    for (int32_t i = 0; i < config->n_end_tokens; i++)
        if (config->end_tokens[i] == token)
            return true;
    return false;
}

static void fill_logprobs(struct engine_output *out, const struct run *run, const float *logits,
                          struct engine_token *token)
{
    struct model_logprob top[SPEC_LOGPROBS_MAX];
    int32_t n_top = run->spec->n_logprobs;
    token->n_top = -1;
    if (n_top < 0)
        return;
    if (n_top > out->config->vocab_size)
        n_top = out->config->vocab_size;
    model_sampler_logprobs(out->sampler, logits, token->id, &token->logprob, top, n_top);
    token->n_top = n_top;
    for (int32_t i = 0; i < n_top; i++)
        token->top[i] = (struct engine_top){.id = top[i].token, .logprob = top[i].logprob};
}

/* Text of the token and how the run goes on after it; 0, or -1 when the run cannot. */
static int continue_run(struct engine_output *out, struct run *run, struct engine_event *event,
                        struct ltd_err *err)
{
    int32_t token = event->token.id;
    ltd_bytes_clear(&out->text);
    if (is_end_token(out->config, token) && !run->spec->ignore_eos) {
        end(run, ENGINE_FINISH_EOS); /* an end token has no text */
        return 0;
    }
    if (textout_push(&run->text, token, &out->text, err) != 0 || give_text(out, event, err) != 0)
        return -1;
    if (run->text.stopped)
        end(run, ENGINE_FINISH_STOP);
    else if (run->n_tokens + 1 == run->spec->n_prompt + run->spec->max_tokens)
        end(run, ENGINE_FINISH_LENGTH);
    else
        run_next_call(run, token);
    return 0;
}

/* Choose a token from one row of logits, tell the loop, and move the run on. */
static void write_token(struct engine_output *out, const struct output_call *call,
                        const float *logits)
{
    struct run *run = call->run;
    struct ltd_err why;
    struct engine_event *event = new_event(run, ENGINE_TOKEN);
    if (!event)
        return;
    int32_t id = model_sampler_pick(out->sampler, &run->sampling, logits, run->tokens,
                                    run->n_tokens, run->call_end, &why);
    if (id < 0) {
        end_with_error(run, &why);
        engine_event_destroy(event);
        return;
    }
    event->token = (struct engine_token){
        .id = id,
        .steps = run->step_idx + 1,
        .exit = call->exit,
        .criterion_value = run->value,
    };
    fill_logprobs(out, run, logits, &event->token);
    out->n_tokens++;
    out->n_token_steps += (uint64_t)event->token.steps;
    if (continue_run(out, run, event, &why) != 0)
        end_with_error(run, &why);
    post(out, run, event);
}

/* ln_f, coda, ln_f over all positions of the calls; hidden states replace the latents. */
static int run_coda(struct engine_output *out, const struct output_call *calls, int32_t n,
                    struct ltd_err *err)
{
    size_t n_embd = (size_t)out->config->n_embd;
    int32_t n_rows = 0;
    for (int32_t c = 0; c < n; c++) {
        const struct run *run = calls[c].run;
        for (int32_t i = 0; i < run_call_len(run); i++) {
            ltd_assert((size_t)n_rows < out->coda_room, n_rows, out->coda_room);
            float *at = run->latents + (size_t)i * n_embd;
            out->coda[n_rows++] = (struct model_border_out){
                .place = {.pages = run->pages,
                          .n_pages = run->n_pages,
                          .position = run->call_begin + i},
                .latent = at,
                .hidden = at,
            };
        }
    }
    return model_border_coda(out->config->border, out->coda, n_rows, err);
}

/* The scored tokens' logits in blocks of max_rows; row r belongs to token at + r. */
static int score_tokens(struct engine_output *out, const struct run *run,
                        struct engine_event *event, struct ltd_err *err)
{
    const struct job_spec *spec = run->spec;
    size_t n_embd = (size_t)out->config->n_embd, vocab = (size_t)out->config->vocab_size;
    for (int32_t at = spec->score_begin; at < spec->n_prompt; at += out->max_rows) {
        int32_t n = spec->n_prompt - at < out->max_rows ? spec->n_prompt - at : out->max_rows;
        const float *hidden = run->latents + (size_t)(at - 1) * n_embd;
        model_border_head(out->config->border, hidden, n, out->logits);
        for (int32_t r = 0; r < n; r++) {
            struct model_logprob best;
            int32_t i = at + r - spec->score_begin;
            model_sampler_logprobs(out->sampler, out->logits + (size_t)r * vocab,
                                   run->tokens[at + r], &event->score_logprobs[i], &best, 1);
            event->score_greedy[i] = best.token == run->tokens[at + r];
            if (!isfinite(event->score_logprobs[i]))
                return ltd_fail(err, LTD_E_INTERNAL,
                                "log probability of token %d is %g, expected a finite number",
                                at + r, (double)event->score_logprobs[i]);
        }
    }
    return 0;
}

static void write_scores(struct engine_output *out, const struct output_call *call)
{
    struct run *run = call->run;
    struct engine_event *event = new_event(run, ENGINE_SCORED);
    if (!event)
        return;
    event->n_scores = run->spec->n_prompt - run->spec->score_begin;
    event->score_steps = run->step_idx + 1;
    event->score_logprobs = calloc((size_t)event->n_scores, sizeof *event->score_logprobs);
    event->score_greedy = calloc((size_t)event->n_scores, sizeof *event->score_greedy);
    struct ltd_err why;
    int rc = event->score_logprobs && event->score_greedy
                 ? score_tokens(out, run, event, &why)
                 : ltd_fail(&why, LTD_E_EXHAUSTED, "no memory for %d scores", event->n_scores);
    if (rc != 0) {
        end_with_error(run, &why);
        engine_event_destroy(event);
        return;
    }
    post(out, run, event);
    end(run, ENGINE_FINISH_SCORED);
}

/* The head for the last positions of calls that write a token, max_rows calls at a time. */
static void write_tokens(struct engine_output *out, const struct output_call *calls, int32_t n)
{
    size_t n_embd = (size_t)out->config->n_embd, vocab = (size_t)out->config->vocab_size;
    const struct output_call *block[LOGIT_ROWS];
    int32_t n_block = 0;
    for (int32_t c = 0; c < n; c++) {
        if (calls[c].run->spec->kind == SPEC_GENERATE) {
            const struct run *run = calls[c].run;
            memcpy(out->hidden + (size_t)n_block * n_embd,
                   run->latents + (size_t)(run_call_len(run) - 1) * n_embd,
                   n_embd * sizeof *out->hidden);
            block[n_block++] = &calls[c];
        }
        if (n_block == 0 || (n_block < out->max_rows && c + 1 < n))
            continue;
        model_border_head(out->config->border, out->hidden, n_block, out->logits);
        for (int32_t r = 0; r < n_block; r++)
            write_token(out, block[r], out->logits + (size_t)r * vocab);
        n_block = 0;
    }
}

void engine_output_calls(struct engine_output *out, const struct output_call *calls, int32_t n)
{
    if (n == 0)
        return;
    struct ltd_err why;
    if (run_coda(out, calls, n, &why) != 0) {
        for (int32_t c = 0; c < n; c++)
            end_with_error(calls[c].run, &why);
        return;
    }
    for (int32_t c = 0; c < n; c++)
        if (calls[c].run->spec->kind == SPEC_SCORE)
            write_scores(out, &calls[c]);
    write_tokens(out, calls, n);
}

void engine_output_started(struct engine_output *out, struct run *run)
{
    struct engine_event *event = new_event(run, ENGINE_STARTED);
    if (event)
        post(out, run, event);
}

void engine_output_thinking(struct engine_output *out, struct run *run)
{
    if (ltd_now_ns() - run->quiet_since_ns < THINKING_INTERVAL_NS)
        return;
    struct engine_event *event = calloc(1, sizeof *event);
    if (!event)
        return; /* only a sign of life */
    event->kind = ENGINE_THINKING;
    event->job = run->job;
    event->token_index = run->n_tokens - run->spec->n_prompt;
    event->step = run->step_idx;
    event->max_steps = run->rule.max_steps;
    event->criterion_value = run->value;
    post(out, run, event);
}

void engine_output_finished(struct engine_output *out, struct run *run, enum engine_finish finish,
                            const struct ltd_err *error)
{
    struct engine_event *event = run->last_event;
    struct ltd_err why;
    run->last_event = NULL;
    event->kind = ENGINE_FINISHED;
    event->job = run->job;
    event->finish = finish;
    event->total_steps = run->total_steps;
    if (finish == ENGINE_FINISH_ERROR)
        event->error = *error;
    ltd_bytes_clear(&out->text);
    if (finish != ENGINE_FINISH_STOP &&
        (textout_flush(&run->text, &out->text, &why) != 0 || give_text(out, event, &why) != 0)) {
        event->finish = ENGINE_FINISH_ERROR;
        event->error = why;
    }
    post(out, run, event);
}
