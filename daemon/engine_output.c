/* SPDX-License-Identifier: Apache-2.0 */
/* daemon/engine_output.c - see daemon/engine_output.h. */
#include "daemon/engine_output.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/size.h"
#include "daemon/engine_impl.h"
#include "daemon/places.h"

/* A watcher wants to see that a long thought is alive; more often than this helps nobody. */
#define THINKING_INTERVAL_NS (250 * LTD_NS_PER_MS)

/* Rows of logits at once: enough to share the reading of the head's weights, and with a vocabulary
 * of 65,536 still only 4 MiB. */
#define LOGIT_ROWS 16

static bool allocate(struct engine_output *out, size_t hidden, size_t logits)
{
    size_t n_seqs = (size_t)out->config->n_seqs;
    out->hidden = ltd_alloc(hidden, sizeof *out->hidden);
    out->logits = ltd_alloc(logits, sizeof *out->logits);
    /* Every row that ranks hold may leave in the same turn. */
    out->coda_room = (size_t)out->config->n_rows;
    out->coda = ltd_alloc(out->coda_room, sizeof *out->coda);
    out->prelude = ltd_alloc(n_seqs, sizeof *out->prelude);
    out->heads = ltd_alloc(n_seqs, sizeof(struct run *));
    out->depths = ltd_alloc(1, sizeof *out->depths);
    return out->hidden && out->logits && out->coda && out->prelude && out->heads && out->depths;
}

int engine_output_init(struct engine_output *out, const struct engine_config *config,
                       struct ltd_mailbox *events, struct sched *sched, struct places *places,
                       struct ltd_err *err)
{
    size_t n_rows = LOGIT_ROWS, hidden, logits;
    *out = (struct engine_output){
        .config = config, .events = events, .sched = sched, .places = places};
    ltd_bytes_init(&out->text);
    if (!ltd_size_mul(n_rows, (size_t)config->n_embd, &hidden) ||
        !ltd_size_mul(n_rows, (size_t)config->vocab_size, &logits))
        return ltd_fail(err, LTD_E_EXHAUSTED, "vocabulary of %d is too large", config->vocab_size);
    out->sampler = model_sampler_create(config->vocab_size, err);
    if (allocate(out, hidden, logits) && out->sampler)
        return 0;
    engine_output_fini(out);
    return ltd_fail(err, LTD_E_EXHAUSTED, "no memory for the output head");
}

void engine_output_fini(struct engine_output *out)
{
    ltd_free(out->hidden);
    ltd_free(out->logits);
    ltd_free(out->coda);
    ltd_free(out->prelude);
    ltd_free(out->heads);
    ltd_free(out->depths);
    model_sampler_destroy(out->sampler);
    ltd_bytes_fini(&out->text);
    *out = (struct engine_output){0};
}

/* ---- events ---- */

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

/* ---- what a call that left has to say ---- */

/* Does the call at hand write the answer's next token? Not while its tokens are known. */
static bool writes_token(const struct run *run)
{
    return run->spec->kind == SPEC_GENERATE && run->call_end == run->n_tokens;
}

/* Logits of n <= LOGIT_ROWS rows of hidden states. */
static void head(struct engine_output *out, const float *hidden, int32_t n)
{
    uint64_t began_ns = ltd_now_ns();
    model_border_head(out->config->border, hidden, n, out->logits);
    sched_measure(out->sched, SCHED_HEAD, n, ltd_now_ns() - began_ns);
    out->counts.head_rows += (uint64_t)n;
}

/* Text of the token and how the run goes on after it; 0, or -1 when the run cannot. */
static int continue_run(struct engine_output *out, struct run *run, struct engine_event *event,
                        struct ltd_err *err)
{
    int32_t token = event->token.id;
    ltd_bytes_clear(&out->text);
    run->tokens[run->n_tokens++] = token;
    if (is_end_token(out->config, token) && !run->spec->ignore_eos) {
        end(run, ENGINE_FINISH_EOS); /* an end token has no text */
        return 0;
    }
    if (textout_push(&run->text, token, &out->text, err) != 0 || give_text(out, event, err) != 0)
        return -1;
    if (run->text.stopped)
        end(run, ENGINE_FINISH_STOP);
    else if (run_n_written(run) == run->spec->max_tokens)
        end(run, ENGINE_FINISH_LENGTH);
    else
        run_begin_call(run);
    return 0;
}

/* A pause because a job gave way to others is part of what its reader waits. */
static void count_wait(struct engine_output *out, struct run *run)
{
    uint64_t now = ltd_now_ns();
    if (run->token_ns)
        engine_histogram_add(&out->counts.next_token_ms, (double)(now - run->token_ns) / 1e6);
    else
        engine_histogram_add(&out->counts.first_token_ms,
                             (double)(now - run->sched.added_ns) / 1e6);
    run->token_ns = now;
}

static void count_token(struct engine_output *out, const struct engine_token *token)
{
    out->counts.tokens++;
    out->counts.token_steps += (uint64_t)token->steps;
    out->depths->counts[token->exit][token->steps - 1]++;
    if (token->steps > out->depths->n_steps)
        out->depths->n_steps = token->steps;
}

/* Choose a token from a row of logits, tell the loop, and move the run on. */
static void write_token(struct engine_output *out, struct run *run, const float *logits)
{
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
        .steps = run->depths[run->call_end - 1],
        .exit = run->exit,
        .has_value = run->spec->depth.rule.kind != MODEL_EXIT_FIXED,
        .criterion_value = run->value,
    };
    fill_logprobs(out, run, logits, &event->token);
    count_token(out, &event->token);
    count_wait(out, run);
    if (continue_run(out, run, event, &why) != 0)
        end_with_error(run, &why);
    post(out, run, event);
}

/* The event that collects a run's scores, call by call; made with the first of them. */
static int make_scores(struct run *run, struct ltd_err *err)
{
    int32_t n = run->spec->n_prompt - run->spec->score_begin;
    struct engine_event *event = calloc(1, sizeof *event);
    run->scores = event;
    if (!event)
        return ltd_fail(err, LTD_E_EXHAUSTED, "no memory for %d scores", n);
    event->kind = ENGINE_SCORED;
    event->job = run->job;
    event->n_scores = n;
    event->score_logprobs = calloc((size_t)n, sizeof *event->score_logprobs);
    event->score_greedy = calloc((size_t)n, sizeof *event->score_greedy);
    event->score_steps = calloc((size_t)n, sizeof *event->score_steps);
    if (event->score_logprobs && event->score_greedy && event->score_steps)
        return 0;
    return ltd_fail(err, LTD_E_EXHAUSTED, "no memory for %d scores", n);
}

/* What the logits behind `position` say of the token that is there. */
static int note_score(struct engine_output *out, struct run *run, int32_t position,
                      const float *logits, struct ltd_err *err)
{
    struct model_logprob best;
    struct engine_event *event = run->scores;
    int32_t i = position + 1 - run->spec->score_begin, token = run->tokens[position + 1];
    model_sampler_logprobs(out->sampler, logits, token, &event->score_logprobs[i], &best, 1);
    event->score_greedy[i] = best.token == token;
    event->score_steps[i] = run->step_idx + 1;
    if (isfinite(event->score_logprobs[i]))
        return 0;
    return ltd_fail(err, LTD_E_INTERNAL,
                    "log probability of token %d is %g, expected a finite number", position + 1,
                    (double)event->score_logprobs[i]);
}

/* Scores of the tokens behind positions [begin, end) of the call, which have passed the coda. */
static int score_positions(struct engine_output *out, struct run *run, int32_t begin, int32_t end,
                           struct ltd_err *err)
{
    size_t n_embd = (size_t)out->config->n_embd, vocab = (size_t)out->config->vocab_size;
    if (begin < run->spec->score_begin - 1)
        begin = run->spec->score_begin - 1;
    if (end > run->n_prompt - 1)
        end = run->n_prompt - 1;
    if (begin < end && !run->scores && make_scores(run, err) != 0)
        return -1;
    for (int32_t at = begin; at < end; at += LOGIT_ROWS) {
        int32_t n = end - at < LOGIT_ROWS ? end - at : LOGIT_ROWS;
        head(out, run->latents + (size_t)(at - run->call_begin) * n_embd, n);
        for (int32_t r = 0; r < n; r++)
            if (note_score(out, run, at + r, out->logits + (size_t)r * vocab, err) != 0)
                return -1;
    }
    return 0;
}

static void give_scores(struct engine_output *out, struct run *run)
{
    struct engine_event *event = run->scores;
    run->scores = NULL;
    post(out, run, event);
    end(run, ENGINE_FINISH_SCORED);
}

/* The call left and is through; `logits` of its last position, where they were asked for. */
static void end_call(struct engine_output *out, struct run *run, const float *logits)
{
    bool writes = writes_token(run);
    run_call_done(run);
    places_seal(out->places, run);
    if (writes)
        write_token(out, run, logits);
    else if (run->spec->kind == SPEC_SCORE && run->n_done == run->n_prompt)
        give_scores(out, run);
    else
        run_begin_call(run);
    /* While a prompt is read position by position, replays may still want their rows. */
    if (!run->is_ending && run->call_begin >= run->n_prompt && !run->is_replay) {
        places_shrink_rows(out->places, run);
        run_shrink(run);
    }
}

/* ---- coda ---- */

/* ln_f, coda, ln_f over the works' positions; hidden states replace the latents. */
static int run_coda(struct engine_output *out, const struct output_work *works, int32_t n,
                    struct ltd_err *err)
{
    size_t n_embd = (size_t)out->config->n_embd;
    int32_t n_rows = 0;
    uint64_t began_ns = ltd_now_ns();
    for (int32_t w = 0; w < n; w++) {
        const struct run *run = works[w].run;
        for (int32_t i = 0; i < works[w].n_coda; i++) {
            int32_t position = run->coda_next + i;
            ltd_assert((size_t)n_rows < out->coda_room, n_rows, out->coda_room);
            float *at = run->latents + (size_t)(position - run->call_begin) * n_embd;
            out->coda[n_rows++] = (struct model_border_out){
                .place = {.pages = run->pages, .n_pages = run->n_pages, .position = position},
                .latent = at,
                .hidden = at,
            };
        }
        out->counts.check_positions += run->is_check ? (uint64_t)works[w].n_coda : 0;
    }
    out->counts.coda_positions += (uint64_t)n_rows;
    int rc = model_border_coda(out->config->border, out->coda, n_rows, err);
    sched_measure(out->sched, SCHED_CODA, n_rows, ltd_now_ns() - began_ns);
    return rc;
}

/* Positions that have passed the coda move on; true when the whole call has. */
static bool pass_coda(struct engine_output *out, const struct output_work *work)
{
    struct run *run = work->run;
    int32_t begin = run->coda_next;
    struct ltd_err why;
    run->coda_next += work->n_coda;
    if (run->spec->kind == SPEC_SCORE && !run->is_check && !run->is_replay &&
        score_positions(out, run, begin, run->coda_next, &why) != 0) {
        end_with_error(run, &why);
        return false;
    }
    return run->coda_next == run->call_end;
}

/* ---- head ---- */

/* A row of logits came for the run: for its exit rule, for its token, or for both. */
static void take_logits(struct engine_output *out, struct run *run, const float *logits)
{
    if (run->is_check) {
        bool leaves = run_check_done(run, model_exit_memory_check(&run->memory, logits));
        if (!leaves)
            return;
        run->is_check = false;
        if (run->spec->kind == SPEC_SCORE)
            return; /* end_scored_calls */
    }
    end_call(out, run, logits);
}

/* Calls whose rule was met by logits are scored when those of the others are not needed any more. */
static void end_scored_calls(struct engine_output *out, const struct output_work *works, int32_t n)
{
    for (int32_t w = 0; w < n; w++) {
        struct run *run = works[w].run;
        struct ltd_err why;
        if (run->spec->kind != SPEC_SCORE || run->phase != RUN_CODA || run->is_ending ||
            run->is_check || run->coda_next < run->call_end)
            continue;
        if (score_positions(out, run, run->call_begin, run->call_end, &why) != 0)
            end_with_error(run, &why);
        else
            end_call(out, run, NULL);
    }
}

/* The head for the last positions of the runs in `heads`, LOGIT_ROWS of them at a time. */
static void run_heads(struct engine_output *out, int32_t n)
{
    size_t n_embd = (size_t)out->config->n_embd, vocab = (size_t)out->config->vocab_size;
    for (int32_t at = 0; at < n; at += LOGIT_ROWS) {
        int32_t n_rows = n - at < LOGIT_ROWS ? n - at : LOGIT_ROWS;
        for (int32_t r = 0; r < n_rows; r++) {
            const struct run *run = out->heads[at + r];
            memcpy(out->hidden + (size_t)r * n_embd,
                   run->latents + (size_t)(run_call_len(run) - 1) * n_embd,
                   n_embd * sizeof *out->hidden);
            out->counts.check_rows += run->is_check;
        }
        head(out, out->hidden, n_rows);
        for (int32_t r = 0; r < n_rows; r++)
            take_logits(out, out->heads[at + r], out->logits + (size_t)r * vocab);
    }
}

/* ---- prelude ---- */

/* e of the single positions that step next, all of them together. Prompts have theirs computed
 * chunk by chunk, with the tick that starts them. */
static void run_prelude(struct engine_output *out, const struct output_work *works, int32_t n)
{
    struct ltd_err why;
    int32_t n_rows = 0;
    uint64_t began_ns = ltd_now_ns();
    for (int32_t w = 0; w < n; w++) {
        struct run *run = works[w].run;
        if (run->is_ending || run->phase != RUN_STEPPING || run->step_idx > 0 ||
            run_call_len(run) > 1)
            continue;
        out->prelude[n_rows++] = (struct model_border_in){
            .place = {.pages = run->pages, .n_pages = run->n_pages, .position = run->call_begin},
            .token = run->tokens[run->call_begin],
            .e = run->injected,
        };
        run->has_injected = true;
    }
    if (n_rows == 0)
        return;
    int rc = model_border_prelude(out->config->border, out->prelude, n_rows, &why);
    sched_measure(out->sched, SCHED_PRELUDE, n_rows, ltd_now_ns() - began_ns);
    for (int32_t w = 0; rc != 0 && w < n; w++)
        if (works[w].run->has_injected && !works[w].run->is_ending)
            end_with_error(works[w].run, &why);
}

void engine_output_run(struct engine_output *out, const struct output_work *works, int32_t n)
{
    struct ltd_err why;
    if (n == 0)
        return;
    if (run_coda(out, works, n, &why) != 0) {
        for (int32_t w = 0; w < n; w++)
            end_with_error(works[w].run, &why);
        return;
    }
    int32_t n_heads = 0;
    for (int32_t w = 0; w < n; w++) {
        struct run *run = works[w].run;
        if (!pass_coda(out, &works[w]))
            continue;
        if (run->is_check || writes_token(run))
            out->heads[n_heads++] = run;
        else
            end_call(out, run, NULL);
    }
    run_heads(out, n_heads);
    end_scored_calls(out, works, n);
    run_prelude(out, works, n);
}

/* ---- the other events ---- */

void engine_output_started(struct engine_output *out, struct run *run, int64_t predicted_end_us)
{
    struct engine_event *event = new_event(run, ENGINE_STARTED);
    if (!event)
        return;
    event->predicted_end_us = predicted_end_us;
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
    event->token_index = run_n_written(run);
    event->step = run->step_idx;
    event->max_steps = run->rule.max_steps;
    event->criterion_value = run->value;
    post(out, run, event);
}

struct engine_event *engine_output_finished(struct engine_output *out, struct run *run,
                                            enum engine_finish finish, const struct ltd_err *error)
{
    struct engine_event *event = run->last_event;
    struct ltd_err why;
    run->last_event = NULL;
    event->kind = ENGINE_FINISHED;
    event->job = run->job;
    event->finish = finish;
    event->total_steps = run_total_steps(run);
    uint64_t now = ltd_now_ns();
    event->late = run->sched.due_ns != LTD_NEVER && now > run->sched.due_ns;
    if (run->spec->kind == SPEC_GENERATE && run->sched.added_ns) /* 0: it was refused */
        engine_histogram_add(&out->counts.job_ms, (double)(now - run->sched.added_ns) / 1e6);
    if (finish == ENGINE_FINISH_ERROR)
        event->error = *error;
    ltd_bytes_clear(&out->text);
    if (finish != ENGINE_FINISH_STOP &&
        (textout_flush(&run->text, &out->text, &why) != 0 || give_text(out, event, &why) != 0)) {
        event->finish = ENGINE_FINISH_ERROR;
        event->error = why;
    }
    event->time_us = ltd_wall_us();
    return event;
}

void engine_output_tell(struct engine_output *out, struct engine_event *take_event)
{
    ltd_mailbox_post(out->events, &take_event->mail);
}
