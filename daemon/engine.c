/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/engine.c - the engine's thread: commands in, one turn per tick, events out.
 *
 * Lists: a run is in `waiting` (a queue, first come first served) or in `running` (an array, a ring
 * by turn_offset), never in both. leave() is the only way out of `running`, refuse() the only way
 * out of `waiting` without running; both post the run's FINISHED event and destroy it.
 */
#include "daemon/engine.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/size.h"
#include "cluster/group.h"
#include "daemon/batch.h"
#include "daemon/engine_output.h"
#include "daemon/idpool.h"
#include "daemon/run.h"
#include "kernels/kernels.h"
#include "model/border.h"

#define TICK_TIMES 256 /* ticks over which the mean tick time is taken */

enum command_kind { COMMAND_SUBMIT, COMMAND_CANCEL, COMMAND_STOP };

struct command {
    struct ltd_mail mail;
    enum command_kind kind;
    struct run *run;           /* SUBMIT: owned */
    uint64_t job;              /* CANCEL */
    enum engine_finish finish; /* CANCEL */
};

struct engine {
    struct engine_config config;
    struct ltd_mailbox commands, events;
    struct command stop_command; /* set aside, so that stopping cannot fail */
    pthread_t thread;

    /* Engine thread. */
    struct engine_output output;
    struct batch batch;
    struct idpool pages, rows, seqs;
    struct run *waiting, **waiting_end;
    struct run **running; /* [n_seqs] */
    int32_t n_running, turn_offset;
    struct output_call *leaving; /* [n_seqs] */
    uint64_t tick_id;
    bool is_stopping;
    struct ltd_err lost; /* not LTD_OK: the rank group is gone */
    double tick_ms[TICK_TIMES];

    /* Under stats_lock. */
    pthread_mutex_t stats_lock;
    struct engine_stats stats;
};

static int32_t pages_for(int32_t n_positions)
{
    return (n_positions + KERN_PAGE_POSITIONS - 1) / KERN_PAGE_POSITIONS;
}

/* ---- places ---- */

static bool place(struct engine *engine, struct run *run)
{
    int32_t n_pages = pages_for(run->n_positions), n_rows = run->spec->n_prompt;
    if (engine->seqs.n_free == 0 || engine->pages.n_free < n_pages || engine->rows.n_free < n_rows)
        return false;
    run->seq = idpool_acquire(&engine->seqs);
    idpool_acquire_n(&engine->pages, n_pages, run->pages);
    idpool_acquire_n(&engine->rows, n_rows, run->rows);
    run->n_pages = n_pages;
    run->n_rows = n_rows;
    run->is_placed = true;
    return true;
}

static void unplace(struct engine *engine, struct run *run)
{
    if (!run->is_placed)
        return;
    for (int32_t i = 0; i < run->n_pages; i++)
        model_border_release(engine->config.border, run->pages[i]);
    idpool_release_n(&engine->pages, run->n_pages, run->pages);
    idpool_release_n(&engine->rows, run->n_rows, run->rows);
    idpool_release(&engine->seqs, run->seq);
    if (run->pages_known)
        batch_close_seq(&engine->batch, run->seq);
    run->is_placed = false;
}

/* After the prompt a run has one position at a time and needs one row, here and on the ranks. */
static void shrink_rows(struct engine *engine, struct run *run)
{
    idpool_release_n(&engine->rows, run->n_rows - 1, run->rows + 1);
    run->n_rows = 1;
    float *one = calloc((size_t)run->n_embd, sizeof *one);
    if (!one)
        return; /* the many do as well */
    free(run->latents);
    run->latents = one;
}

/* ---- life of a run ---- */

static void finish(struct engine *engine, struct run *take_run, enum engine_finish how,
                   const struct ltd_err *error)
{
    unplace(engine, take_run);
    engine_output_finished(&engine->output, take_run, how, error);
    run_destroy(take_run);
}

/* The run at `index` of running ends as it was told to. */
static void leave(struct engine *engine, int32_t index)
{
    struct run *run = engine->running[index];
    struct ltd_err error = run->last_event->error;
    engine->running[index] = NULL;
    finish(engine, run, run->ending, &error);
}

static void sweep_running(struct engine *engine)
{
    int32_t kept = 0, turn_offset = 0;
    for (int32_t i = 0; i < engine->n_running; i++) {
        if (engine->running[i]->is_ending) {
            leave(engine, i);
            continue;
        }
        turn_offset += i < engine->turn_offset; /* whose turn it is stays so */
        engine->running[kept++] = engine->running[i];
    }
    engine->n_running = kept;
    engine->turn_offset = turn_offset;
}

static void refuse(struct engine *engine, struct run **link, enum engine_finish how,
                   const struct ltd_err *error)
{
    struct run *run = *link;
    *link = run->next_waiting;
    if (!*link)
        engine->waiting_end = link;
    finish(engine, run, how, error);
}

static void refuse_all_waiting(struct engine *engine, enum engine_finish how,
                               const struct ltd_err *error)
{
    while (engine->waiting)
        refuse(engine, &engine->waiting, how, error);
}

static void end_all_running(struct engine *engine, enum engine_finish how,
                            const struct ltd_err *error)
{
    for (int32_t i = 0; i < engine->n_running; i++) {
        struct run *run = engine->running[i];
        run->is_ending = true;
        run->ending = how;
        if (error)
            run->last_event->error = *error;
    }
    sweep_running(engine);
}

static void admit(struct engine *engine)
{
    while (engine->waiting && place(engine, engine->waiting)) {
        struct run *run = engine->waiting;
        engine->waiting = run->next_waiting;
        if (!engine->waiting)
            engine->waiting_end = &engine->waiting;
        run->next_waiting = NULL;
        engine->running[engine->n_running++] = run;
        if (run->spec->max_run_ms)
            run->stop_at_ns = ltd_deadline_ns(run->spec->max_run_ms);
        engine_output_started(&engine->output, run);
    }
}

/* ---- commands ---- */

static void cancel(struct engine *engine, uint64_t job, enum engine_finish how)
{
    for (int32_t i = 0; i < engine->n_running; i++) {
        if (engine->running[i]->job == job) {
            engine->running[i]->is_ending = true;
            engine->running[i]->ending = how;
            return;
        }
    }
    for (struct run **link = &engine->waiting; *link; link = &(*link)->next_waiting) {
        if ((*link)->job == job) {
            refuse(engine, link, how, NULL);
            return;
        }
    }
}

static void submit(struct engine *engine, struct run *take_run)
{
    if (engine->lost.code != LTD_OK) {
        finish(engine, take_run, ENGINE_FINISH_ERROR, &engine->lost);
        return;
    }
    *engine->waiting_end = take_run;
    engine->waiting_end = &take_run->next_waiting;
}

static void obey(struct engine *engine, struct command *take_command)
{
    switch (take_command->kind) {
    case COMMAND_SUBMIT:
        submit(engine, take_command->run);
        break;
    case COMMAND_CANCEL:
        cancel(engine, take_command->job, take_command->finish);
        break;
    case COMMAND_STOP:
        engine->is_stopping = true;
        return; /* part of the engine, not of the heap */
    }
    free(take_command);
}

static void take_commands(struct engine *engine)
{
    bool is_idle = engine->n_running == 0 && !engine->waiting;
    struct ltd_mail *mail = is_idle ? ltd_mailbox_wait(&engine->commands, LTD_NEVER)
                                    : ltd_mailbox_try_take(&engine->commands);
    for (; mail; mail = ltd_mailbox_try_take(&engine->commands))
        obey(engine, (struct command *)mail);
}

static void end_overdue(struct engine *engine)
{
    uint64_t now = ltd_now_ns();
    for (int32_t i = 0; i < engine->n_running; i++) {
        struct run *run = engine->running[i];
        if (now >= run->stop_at_ns && !run->is_ending) {
            run->is_ending = true;
            run->ending = ENGINE_FINISH_DEADLINE;
        }
    }
}

/* ---- one tick ---- */

static void fill_batch(struct engine *engine)
{
    batch_begin(&engine->batch);
    int32_t n = engine->n_running, first = n ? engine->turn_offset % n : 0;
    engine->turn_offset = 0;
    for (int32_t i = 0; i < n; i++) {
        struct run *run = engine->running[(first + i) % n];
        if (batch_add(&engine->batch, run, engine->config.prefill_chunk) == 0) {
            engine->turn_offset = (first + i) % n; /* it goes first next time */
            return;
        }
    }
}

/* What came back, in the order of the entries that asked for it, goes to the runs. */
static void scatter(struct engine *engine, const struct clus_reply *reply)
{
    const float *latent = reply->latents;
    const double *diff = reply->diffs;
    size_t n_embd = (size_t)engine->config.n_embd;
    for (int32_t p = 0; p < engine->batch.n_parts; p++) {
        const struct batch_part *part = &engine->batch.parts[p];
        struct run *run = part->run;
        const struct clus_entry *first = &engine->batch.entries[part->entry_begin];
        size_t n = (size_t)(part->entry_end - part->entry_begin);
        size_t at = (size_t)(first->position - run->call_begin);
        if (first->flags & CLUS_WANT_LATENT) {
            memcpy(run->latents + at * n_embd, latent, n * n_embd * sizeof *latent);
            latent += n * n_embd;
        }
        if (first->flags & CLUS_WANT_DIFF) {
            memcpy(run->diffs + at, diff, n * sizeof *diff);
            diff += n;
        }
    }
}

/* Calls whose step is complete advance; those that leave the recurrence are collected. */
static int32_t advance(struct engine *engine)
{
    int32_t n_leaving = 0;
    for (int32_t p = 0; p < engine->batch.n_parts; p++) {
        struct run *run = engine->batch.parts[p].run;
        enum engine_exit exit;
        if (run->next < run->call_end)
            continue; /* later chunks of the call still have to take this step */
        if (run_step_done(run, &exit))
            engine->leaving[n_leaving++] = (struct output_call){.run = run, .exit = exit};
    }
    return n_leaving;
}

static void lose_group(struct engine *engine, const struct ltd_err *why)
{
    engine->lost = *why;
    ltd_error("rank group lost: %s", why->msg);
    end_all_running(engine, ENGINE_FINISH_ERROR, why);
    refuse_all_waiting(engine, ENGINE_FINISH_ERROR, why);
}

/* A tick that could not be computed: the jobs in it cannot go on, the others can. */
static void fail_batch(struct engine *engine, const struct ltd_err *why)
{
    ltd_error("tick %llu failed: %s", (unsigned long long)engine->tick_id, why->msg);
    for (int32_t p = 0; p < engine->batch.n_parts; p++) {
        struct run *run = engine->batch.parts[p].run;
        run->is_ending = true;
        run->ending = ENGINE_FINISH_ERROR;
        run->last_event->error = *why;
    }
}

/* Send the batch and wait for its latents. 0; 1 when only this batch failed; -1 group lost. */
static int exchange_tick(struct engine *engine, struct clus_reply *reply, struct ltd_err *err)
{
    struct batch *batch = &engine->batch;
    if (model_border_prelude(engine->config.border, batch->prelude, batch->n_starts, err) != 0)
        return 1;
    struct clus_tick tick = batch_tick(batch, ++engine->tick_id);
    if (clus_group_submit(engine->config.group, &tick, err) != 0)
        return err->code == LTD_E_RANK ? -1 : 1;
    if (clus_group_wait(engine->config.group, reply, LTD_NEVER, err) != 0)
        return -1;
    if (reply->err.code != LTD_OK) {
        *err = reply->err;
        return 1;
    }
    batch_applied(batch);
    return 0;
}

static void note_tick(struct engine *engine, uint64_t began_ns)
{
    engine->tick_ms[engine->tick_id % TICK_TIMES] = (double)(ltd_now_ns() - began_ns) / 1e6;
    pthread_mutex_lock(&engine->stats_lock);
    engine->stats.ticks++;
    engine->stats.tick_positions += (uint64_t)engine->batch.n_entries;
    pthread_mutex_unlock(&engine->stats_lock);
}

static void tick(struct engine *engine)
{
    struct clus_reply reply;
    struct ltd_err why;
    uint64_t began_ns = ltd_now_ns();
    int rc = exchange_tick(engine, &reply, &why);
    if (rc < 0) {
        lose_group(engine, &why);
        return;
    }
    if (rc > 0) {
        fail_batch(engine, &why);
        return;
    }
    note_tick(engine, began_ns);
    scatter(engine, &reply);
    int32_t n_leaving = advance(engine);
    engine_output_calls(&engine->output, engine->leaving, n_leaving);
    for (int32_t i = 0; i < n_leaving; i++)
        if (!engine->leaving[i].run->is_ending && engine->leaving[i].run->n_rows > 1)
            shrink_rows(engine, engine->leaving[i].run);
    for (int32_t p = 0; p < engine->batch.n_parts; p++)
        if (!engine->batch.parts[p].run->is_ending)
            engine_output_thinking(&engine->output, engine->batch.parts[p].run);
}

static void publish_stats(struct engine *engine)
{
    uint32_t n_waiting = 0;
    for (const struct run *run = engine->waiting; run; run = run->next_waiting)
        n_waiting++;
    pthread_mutex_lock(&engine->stats_lock);
    struct engine_stats *stats = &engine->stats;
    stats->tokens = engine->output.n_tokens;
    stats->token_steps = engine->output.n_token_steps;
    stats->jobs_waiting = n_waiting;
    stats->jobs_running = (uint32_t)engine->n_running;
    stats->positions_running = (uint32_t)idpool_n_taken(&engine->rows);
    stats->pages_total = (uint32_t)engine->pages.n_total;
    stats->pages_used = (uint32_t)idpool_n_taken(&engine->pages);
    uint64_t n = stats->ticks < TICK_TIMES ? stats->ticks : TICK_TIMES;
    double sum = 0;
    for (uint64_t i = 0; i < TICK_TIMES; i++)
        sum += engine->tick_ms[i];
    stats->tick_ms_mean = n ? sum / (double)n : 0;
    pthread_mutex_unlock(&engine->stats_lock);
}

static void *engine_main(void *arg)
{
    struct engine *engine = arg;
    for (;;) {
        take_commands(engine);
        if (engine->is_stopping)
            break;
        end_overdue(engine);
        sweep_running(engine);
        admit(engine);
        fill_batch(engine);
        if (engine->batch.n_entries > 0)
            tick(engine);
        sweep_running(engine);
        publish_stats(engine);
    }
    end_all_running(engine, ENGINE_FINISH_CANCELLED, NULL);
    refuse_all_waiting(engine, ENGINE_FINISH_CANCELLED, NULL);
    publish_stats(engine);
    return NULL;
}

/* ---- the loop thread's side ---- */

static void free_parts(struct engine *engine)
{
    engine_output_fini(&engine->output);
    batch_fini(&engine->batch);
    idpool_fini(&engine->pages);
    idpool_fini(&engine->rows);
    idpool_fini(&engine->seqs);
    ltd_free(engine->running);
    ltd_free(engine->leaving);
    ltd_mailbox_fini(&engine->commands);
    ltd_mailbox_fini(&engine->events);
    pthread_mutex_destroy(&engine->stats_lock);
    free(engine);
}

static int make_parts(struct engine *engine, struct ltd_err *err)
{
    const struct engine_config *config = &engine->config;
    if (idpool_init(&engine->pages, config->n_pages, err) != 0 ||
        idpool_init(&engine->rows, config->n_rows, err) != 0 ||
        idpool_init(&engine->seqs, config->n_seqs, err) != 0 ||
        batch_init(&engine->batch, config->max_batch, config->n_pages, config->n_seqs,
                   config->n_embd, err) != 0 ||
        engine_output_init(&engine->output, config, &engine->events, err) != 0)
        return -1;
    engine->running = ltd_alloc((size_t)config->n_seqs, sizeof *engine->running);
    engine->leaving = ltd_alloc((size_t)config->n_seqs, sizeof *engine->leaving);
    if (!engine->running || !engine->leaving)
        return ltd_fail(err, LTD_E_EXHAUSTED, "no memory for %d running jobs", config->n_seqs);
    return 0;
}

struct engine *engine_start(const struct engine_config *config, struct ltd_err *err)
{
    struct engine *engine = calloc(1, sizeof *engine);
    if (!engine)
        return ltd_fail_null(err, LTD_E_EXHAUSTED, "no memory for the engine");
    engine->config = *config;
    engine->waiting_end = &engine->waiting;
    engine->stop_command.kind = COMMAND_STOP;
    ltd_mailbox_init(&engine->commands, NULL, NULL);
    ltd_mailbox_init(&engine->events, config->notify, config->notify_arg);
    pthread_mutex_init(&engine->stats_lock, NULL);
    if (make_parts(engine, err) != 0) {
        free_parts(engine);
        return NULL;
    }
    publish_stats(engine);
    int rc = pthread_create(&engine->thread, NULL, engine_main, engine);
    if (rc != 0) {
        ltd_fail(err, LTD_E_EXHAUSTED, "engine thread: %s", strerror(rc));
        free_parts(engine);
        return NULL;
    }
    return engine;
}

int engine_submit(struct engine *engine, uint64_t job, const struct job_spec *spec,
                  struct ltd_err *err)
{
    struct command *command = calloc(1, sizeof *command);
    if (!command)
        return ltd_fail(err, LTD_E_EXHAUSTED, "no memory for a job");
    command->kind = COMMAND_SUBMIT;
    command->run = run_create(job, spec, engine->config.n_embd, engine->config.tokenizer, err);
    if (!command->run) {
        free(command);
        return -1;
    }
    struct run *run = command->run;
    run->pages = ltd_alloc((size_t)pages_for(run->n_positions), sizeof *run->pages);
    if (!run->pages) {
        run_destroy(run);
        free(command);
        return ltd_fail(err, LTD_E_EXHAUSTED, "no memory for the pages of a job");
    }
    ltd_mailbox_post(&engine->commands, &command->mail);
    return 0;
}

void engine_cancel(struct engine *engine, uint64_t job, enum engine_finish finish_as)
{
    struct command *command = calloc(1, sizeof *command);
    if (!command) {
        ltd_error("job %llu: no memory to cancel it", (unsigned long long)job);
        return;
    }
    command->kind = COMMAND_CANCEL;
    command->job = job;
    command->finish = finish_as;
    ltd_mailbox_post(&engine->commands, &command->mail);
}

bool engine_fits(const struct engine *engine, int32_t n_positions)
{
    /* Rows are needed for the prompt only; asking for all positions keeps the rule simple. */
    return pages_for(n_positions) <= engine->config.n_pages && n_positions <= engine->config.n_rows;
}

struct engine_event *engine_take_events(struct engine *engine)
{
    return (struct engine_event *)ltd_mailbox_take_all(&engine->events);
}

void engine_get_stats(struct engine *engine, struct engine_stats *out)
{
    pthread_mutex_lock(&engine->stats_lock);
    *out = engine->stats;
    pthread_mutex_unlock(&engine->stats_lock);
}

void engine_stop(struct engine *engine)
{
    ltd_mailbox_post(&engine->commands, &engine->stop_command.mail);
    pthread_join(engine->thread, NULL);
}

void engine_destroy(struct engine *engine)
{
    if (!engine)
        return;
    struct ltd_mail *mail;
    while ((mail = ltd_mailbox_try_take(&engine->commands))) {
        struct command *command = (struct command *)mail; /* came after the stop */
        run_destroy(command->run);
        free(command);
    }
    struct engine_event *event = engine_take_events(engine);
    while (event) {
        struct engine_event *next = (struct engine_event *)event->mail.next;
        engine_event_destroy(event);
        event = next;
    }
    free_parts(engine);
}
