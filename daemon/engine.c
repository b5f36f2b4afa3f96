/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/engine.c - the engine's thread: commands in, runs admitted and ended, events out; and the
 * loop thread's side of it. One turn of work is engine_turn.c.
 */
#include "daemon/engine.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/size.h"
#include "daemon/engine_impl.h"

/* ---- life of a run ---- */

static void link_run(struct engine *engine, struct run *run)
{
    run->prev_run = NULL;
    run->next_run = engine->runs;
    if (engine->runs)
        engine->runs->prev_run = run;
    engine->runs = run;
}

static void unlink_run(struct engine *engine, struct run *run)
{
    *(run->prev_run ? &run->prev_run->next_run : &engine->runs) = run->next_run;
    if (run->next_run)
        run->next_run->prev_run = run->prev_run;
}

static bool is_done(enum engine_finish how)
{
    return how == ENGINE_FINISH_EOS || how == ENGINE_FINISH_STOP || how == ENGINE_FINISH_LENGTH;
}

void engine_end_run(struct engine *engine, struct run *run, enum engine_finish how,
                    const struct ltd_err *error)
{
    unlink_run(engine, run);
    sched_remove(engine->sched, &run->sched, ltd_now_ns());
    struct engine_event *end = engine_output_finished(&engine->output, run, how, error);
    if (!is_done(how) || !places_hold(&engine->places, run)) {
        places_give(&engine->places, run);
        run_destroy(run);
    }
    engine_stats_publish(engine);
    engine_output_tell(&engine->output, end);
}

static void note_stop(struct engine *engine, const struct run *run)
{
    if (run->stop_at_ns < engine->next_stop_ns)
        engine->next_stop_ns = run->stop_at_ns;
}

/* Take running runs out of the array: those that end, and those that give way at a boundary. */
static void sweep_running(struct engine *engine)
{
    int32_t kept = 0;
    for (int32_t i = 0; i < engine->n_running; i++) {
        struct run *run = engine->running[i];
        if (run->is_ending) {
            struct ltd_err error = run->last_event->error;
            engine_end_run(engine, run, run->ending, &error);
        } else if (run->sched.must_yield && run_at_boundary(run)) {
            places_give(&engine->places, run);
            run_strip(run);
            run_rewind(run);
            sched_yielded(engine->sched, &run->sched, ltd_now_ns());
            note_stop(engine, run);
            engine->counts.preemptions++;
        } else {
            engine->running[kept++] = run;
        }
    }
    engine->n_running = kept;
}

static void end_all(struct engine *engine, enum engine_finish how, const struct ltd_err *error)
{
    engine->n_running = 0;
    while (engine->runs)
        engine_end_run(engine, engine->runs, how, error);
    places_forget_all(&engine->places);
}

void engine_lose_group(struct engine *engine, const struct ltd_err *why)
{
    engine->lost = *why;
    ltd_error("rank group lost: %s", why->msg);
    sweep_running(engine); /* those whose end had come before */
    end_all(engine, ENGINE_FINISH_ERROR, why);
}

/* ---- admission ---- */

static void start(struct engine *engine, struct run *run)
{
    uint64_t now = ltd_now_ns();
    sched_admitted(engine->sched, &run->sched, now);
    engine->running[engine->n_running++] = run;
    run->n_tokens_admitted = run->n_tokens;
    if (run->is_started)
        return; /* it had given way, and nobody outside can tell */
    run->is_started = true;
    if (run->spec->max_run_ms)
        run->stop_at_ns = ltd_deadline_ns(run->spec->max_run_ms);
    engine->counts.prompt_tokens += (uint64_t)run->n_prompt;
    engine_histogram_add(&engine->counts.queue_hist, (double)(now - run->sched.added_ns) / 1e6);
    int64_t end_us = 0;
    if (run->sched.aim_ns != LTD_NEVER && run->sched.aim_ns > now)
        end_us = ltd_wall_us() + (int64_t)((run->sched.aim_ns - now) / 1000);
    engine_output_started(&engine->output, run, end_us);
}

static void admit(struct engine *engine)
{
    for (;;) {
        if (sched_n_waiting(engine->sched, -1) == 0)
            return;
        struct ltd_err err;
        struct sched_places free = places_free(&engine->places);
        struct run *run = (struct run *)sched_next(engine->sched, &free, ltd_now_ns());
        if (!run)
            return;
        if (ltd_now_ns() >= run->stop_at_ns) {
            engine_end_run(engine, run, ENGINE_FINISH_DEADLINE, NULL);
            continue;
        }
        if (run_equip(run, &engine->run_context, &err) != 0) {
            engine_end_run(engine, run, ENGINE_FINISH_ERROR, &err);
            continue;
        }
        if (!places_take(&engine->places, run)) {
            run_strip(run);
            return;
        }
        run_tell_sched(run);
        start(engine, run);
    }
}

/* Of those that gave way: a time that was set when they started goes on. */
static void end_overdue_waiting(struct engine *engine, uint64_t now)
{
    if (now < engine->next_stop_ns)
        return;
    engine->next_stop_ns = LTD_NEVER;
    for (struct run *run = engine->runs, *next; run; run = next) {
        next = run->next_run;
        if (run->is_placed)
            continue;
        if (now >= run->stop_at_ns)
            engine_end_run(engine, run, ENGINE_FINISH_DEADLINE, NULL);
        else
            note_stop(engine, run);
    }
}

static void end_overdue(struct engine *engine)
{
    uint64_t now = ltd_now_ns();
    end_overdue_waiting(engine, now);
    for (int32_t i = 0; i < engine->n_running; i++) {
        struct run *run = engine->running[i];
        if (now >= run->stop_at_ns && !run->is_ending) {
            run->is_ending = true;
            run->ending = ENGINE_FINISH_DEADLINE;
        }
    }
}

/* ---- commands ---- */

static struct run *find_run(struct engine *engine, uint64_t job)
{
    struct run *run = engine->runs;
    while (run && run->job != job)
        run = run->next_run;
    return run;
}

static void submit(struct engine *engine, struct run *take_run)
{
    struct run *run = take_run;
    struct ltd_err err = engine->lost;
    if (err.code == LTD_OK &&
        sched_add(engine->sched, &run->sched, run->spec->client, ltd_now_ns(), &err) == 0) {
        link_run(engine, run);
        return;
    }
    struct engine_event *end =
        engine_output_finished(&engine->output, run, ENGINE_FINISH_ERROR, &err);
    run_destroy(run);
    engine_output_tell(&engine->output, end);
}

static void cancel(struct engine *engine, uint64_t job, enum engine_finish how)
{
    struct run *run = find_run(engine, job);
    if (!run)
        return;
    if (!run->is_placed) {
        engine_end_run(engine, run, how, NULL);
        return;
    }
    run->is_ending = true;
    run->ending = how;
}

static void obey(struct engine *engine, struct engine_command *take_command)
{
    struct engine_command *command = take_command;
    struct run *run;
    switch (command->kind) {
    case ENGINE_COMMAND_SUBMIT:
        submit(engine, command->run);
        break;
    case ENGINE_COMMAND_CANCEL:
        cancel(engine, command->job, command->finish);
        break;
    case ENGINE_COMMAND_PRIORITY:
        run = find_run(engine, command->job);
        if (run)
            sched_set_priority(engine->sched, &run->sched, command->priority, ltd_now_ns());
        break;
    case ENGINE_COMMAND_STOP:
        engine->is_stopping = true;
        return; /* part of the engine, not of the heap */
    }
    free(command);
}

static void take_commands(struct engine *engine, bool wait)
{
    struct ltd_mail *mail = wait ? ltd_mailbox_wait(&engine->commands, engine->next_stop_ns)
                                 : ltd_mailbox_try_take(&engine->commands);
    for (; mail; mail = ltd_mailbox_try_take(&engine->commands))
        obey(engine, (struct engine_command *)mail);
}

/* ---- the thread ---- */

static void *engine_main(void *arg)
{
    struct engine *engine = arg;
    while (!engine->is_stopping) {
        /* Whatever waits while nothing runs is held back: only a command can change that, or the
         * end of its time. */
        take_commands(engine, engine->n_running == 0);
        end_overdue(engine);
        sweep_running(engine);
        admit(engine);
        if (!engine->is_stopping && engine->n_running > 0)
            engine_turn(engine);
        sweep_running(engine);
        admit(engine);
        engine_stats_publish(engine);
    }
    end_all(engine, ENGINE_FINISH_CANCELLED, NULL);
    engine_stats_publish(engine);
    return NULL;
}

/* ---- the loop thread's side ---- */

static void free_parts(struct engine *engine)
{
    places_fini(&engine->places);
    engine_output_fini(&engine->output);
    batch_fini(&engine->batch);
    sched_destroy(engine->sched);
    ltd_free(engine->running);
    ltd_free(engine->shares);
    ltd_free(engine->works);
    ltd_free(engine->depths);
    ltd_mailbox_fini(&engine->commands);
    ltd_mailbox_fini(&engine->events);
    pthread_mutex_destroy(&engine->stats_lock);
    free(engine);
}

static int make_arrays(struct engine *engine, struct ltd_err *err)
{
    size_t n = (size_t)engine->config.n_seqs;
    engine->running = ltd_alloc(n, sizeof *engine->running);
    engine->shares = ltd_alloc(n, sizeof *engine->shares);
    engine->works = ltd_alloc(n, sizeof *engine->works);
    engine->depths = ltd_alloc(1, sizeof *engine->depths);
    if (!engine->running || !engine->shares || !engine->works || !engine->depths)
        return ltd_fail(err, LTD_E_EXHAUSTED, "no memory for %zu running jobs", n);
    return 0;
}

static int make_parts(struct engine *engine, struct ltd_err *err)
{
    const struct engine_config *config = &engine->config;
    const struct sched_config sched = {
        .max_batch = config->max_batch,
        .prefill_chunk = config->prefill_chunk,
        .prefill_share = config->prefill_share,
        .ageing_ns = config->ageing_ns,
        .max_running = config->n_seqs,
        .max_waiting = config->max_waiting,
    };
    engine->run_context = (struct run_context){
        .n_embd = config->n_embd,
        .vocab_size = config->vocab_size,
        .prefill_chunk = config->prefill_chunk,
        .is_replayable = config->is_replayable,
        .tokenizer = config->tokenizer,
    };
    engine->sched = sched_create(&sched, err);
    if (!engine->sched || make_arrays(engine, err) != 0 ||
        batch_init(&engine->batch, config->max_batch, config->n_pages, config->n_seqs,
                   config->n_embd, err) != 0 ||
        places_init(&engine->places, config, &engine->batch, err) != 0)
        return -1;
    return engine_output_init(&engine->output, config, &engine->events, engine->sched,
                              &engine->places, err);
}

struct engine *engine_start(const struct engine_config *config, struct ltd_err *err)
{
    struct engine *engine = calloc(1, sizeof *engine);
    if (!engine)
        return ltd_fail_null(err, LTD_E_EXHAUSTED, "no memory for the engine");
    engine->config = *config;
    engine->next_stop_ns = LTD_NEVER;
    engine->stop_command.kind = ENGINE_COMMAND_STOP;
    ltd_mailbox_init(&engine->commands, NULL, NULL);
    ltd_mailbox_init(&engine->events, config->notify, config->notify_arg);
    pthread_mutex_init(&engine->stats_lock, NULL);
    if (make_parts(engine, err) != 0) {
        free_parts(engine);
        return NULL;
    }
    engine_stats_init(engine);
    engine_stats_publish(engine);
    int rc = pthread_create(&engine->thread, NULL, engine_main, engine);
    if (rc != 0) {
        ltd_fail(err, LTD_E_EXHAUSTED, "engine thread: %s", strerror(rc));
        free_parts(engine);
        return NULL;
    }
    return engine;
}

static struct engine_command *new_command(enum engine_command_kind kind, uint64_t job)
{
    struct engine_command *command = calloc(1, sizeof *command);
    if (command) {
        command->kind = kind;
        command->job = job;
    }
    return command;
}

int engine_submit(struct engine *engine, uint64_t job, const struct job_spec *spec,
                  struct ltd_err *err)
{
    struct engine_command *command = new_command(ENGINE_COMMAND_SUBMIT, job);
    if (!command)
        return ltd_fail(err, LTD_E_EXHAUSTED, "no memory for a job");
    command->run = run_create(job, spec, &engine->run_context, err);
    if (!command->run) {
        free(command);
        return -1;
    }
    ltd_mailbox_post(&engine->commands, &command->mail);
    return 0;
}

void engine_cancel(struct engine *engine, uint64_t job, enum engine_finish finish_as)
{
    struct engine_command *command = new_command(ENGINE_COMMAND_CANCEL, job);
    if (!command) {
        ltd_error("job %llu: no memory to cancel it", (unsigned long long)job);
        return;
    }
    command->finish = finish_as;
    ltd_mailbox_post(&engine->commands, &command->mail);
}

void engine_set_priority(struct engine *engine, uint64_t job, int32_t priority)
{
    struct engine_command *command = new_command(ENGINE_COMMAND_PRIORITY, job);
    if (!command) {
        ltd_error("job %llu: no memory to set its priority", (unsigned long long)job);
        return;
    }
    command->priority = priority;
    ltd_mailbox_post(&engine->commands, &command->mail);
}

bool engine_fits(const struct engine *engine, int32_t n_positions)
{
    int32_t n_pages = (n_positions + KERN_PAGE_POSITIONS - 1) / KERN_PAGE_POSITIONS;
    /* Rows are needed for the prompt only; asking for all positions keeps the rule simple. */
    return n_pages <= engine->config.n_pages && n_positions <= engine->config.n_rows;
}

struct engine_event *engine_take_events(struct engine *engine)
{
    return (struct engine_event *)ltd_mailbox_take_all(&engine->events);
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
        struct engine_command *command = (struct engine_command *)mail; /* came after the stop */
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
