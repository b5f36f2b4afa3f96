/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/engine_turn.c - one turn: plan, tick, exit rules, coda, tokens.
 *
 *     without overlap   plan │ prelude, tick ········│ exit rules │ coda, head, tokens
 *     with overlap      plan │ prelude, tick ········│ exit rules │        those that left go
 *                             │ coda, head, tokens of │            │        through the coda beside
 *                             │ those that left before│            │        the next tick
 *
 * With overlap a token costs its job one tick more and the others no waiting; worth it where the
 * ranks' processors are not the coordinator's (docs/engine.md).
 */
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "cluster/group.h"
#include "daemon/engine_impl.h"
#include "model/border.h"

static struct run *run_of(const struct sched_share *share)
{
    return (struct run *)share->job;
}

/* ---- plan ---- */

static void tell_sched(struct engine *engine)
{
    for (int32_t i = 0; i < engine->n_running; i++)
        run_tell_sched(engine->running[i]);
}

/* How deep the call may go is asked once per step, before its first chunk. */
static void limit_steps(struct engine *engine, struct run *run, uint64_t now_ns)
{
    if (run->sched.is_elastic && run->next == run->call_begin)
        run_limit_steps(run, sched_steps(engine->sched, &run->sched, now_ns));
}

/* Shares become entries; a share that found no room says so to the scheduler by being smaller. */
static void fill_batch(struct engine *engine, uint64_t now_ns)
{
    batch_begin(&engine->batch);
    for (int32_t i = 0; i < engine->n_shares; i++) {
        struct sched_share *share = &engine->shares[i];
        if (share->n_positions == 0)
            continue;
        limit_steps(engine, run_of(share), now_ns);
        share->n_positions = batch_add(&engine->batch, run_of(share), share->n_positions);
    }
}

/* ---- tick ---- */

static int run_prelude(struct engine *engine, struct ltd_err *err)
{
    struct batch *batch = &engine->batch;
    if (batch->n_prelude == 0)
        return 0;
    uint64_t began_ns = ltd_now_ns();
    int rc = model_border_prelude(engine->config.border, batch->prelude, batch->n_prelude, err);
    sched_measure(engine->sched, SCHED_PRELUDE, batch->n_prelude, ltd_now_ns() - began_ns);
    return rc;
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

/* 0 when the tick is under way; 1 when only this batch failed; -1 when the group is lost. */
static int send_tick(struct engine *engine, struct ltd_err *err)
{
    if (run_prelude(engine, err) != 0)
        return 1;
    engine->tick_sent_ns = ltd_now_ns();
    struct clus_tick tick = batch_tick(&engine->batch, &engine->places.pages, ++engine->tick_id);
    if (clus_group_submit(engine->config.group, &tick, err) != 0)
        return err->code == LTD_E_RANK ? -1 : 1;
    return 0;
}

/* What came back, in the order of the entries that asked for it, goes to the runs. */
static void scatter(struct engine *engine, const struct clus_reply *reply)
{
    const float *latent = reply->latents;
    const double *value = reply->values;
    size_t n_embd = (size_t)engine->config.n_embd;
    for (int32_t p = 0; p < engine->batch.n_parts; p++) {
        const struct batch_part *part = &engine->batch.parts[p];
        struct run *run = part->run;
        for (int32_t i = part->entry_begin; i < part->entry_end; i++) {
            const struct clus_entry *entry = &engine->batch.entries[i];
            size_t at = batch_index(run, entry);
            if (entry->flags & CLUS_WANT_LATENT) {
                memcpy(run->latents + at * n_embd, latent, n_embd * sizeof *latent);
                latent += n_embd;
            }
            if (entry->flags & CLUS_WANT_VALUE)
                run->values[at] = *value++;
        }
    }
}

/* Calls whose step is complete advance. */
static void advance(struct engine *engine)
{
    for (int32_t p = 0; p < engine->batch.n_parts; p++) {
        struct run *run = engine->batch.parts[p].run;
        if (run->next == run->call_end) /* else later chunks still have to take this step */
            run_step_done(run);
    }
}

/* The reply to the tick under way. As send_tick. */
static int receive_tick(struct engine *engine, struct ltd_err *err)
{
    struct clus_reply reply;
    if (clus_group_wait(engine->config.group, &reply, LTD_NEVER, err) != 0)
        return -1;
    if (reply.err.code != LTD_OK) {
        *err = reply.err;
        return 1;
    }
    batch_applied(&engine->batch, &engine->places.pages);
    scatter(engine, &reply);
    return 0;
}

/* ---- output ---- */

static void add_work(struct engine *engine, int32_t *n_works, struct run *run, int32_t n_coda)
{
    int32_t left = run->call_end - run->coda_next;
    if (run->phase != RUN_CODA || run->is_ending || n_coda < 1)
        return;
    engine->works[(*n_works)++] =
        (struct output_work){.run = run, .n_coda = n_coda < left ? n_coda : left};
}

/* Single positions go through the coda at once, long calls as far as the plan says. */
static void run_output(struct engine *engine)
{
    int32_t n_works = 0;
    for (int32_t i = 0; i < engine->n_running; i++)
        if (run_call_len(engine->running[i]) == 1)
            add_work(engine, &n_works, engine->running[i], 1);
    for (int32_t i = 0; i < engine->n_shares; i++)
        if (run_call_len(run_of(&engine->shares[i])) > 1)
            add_work(engine, &n_works, run_of(&engine->shares[i]), engine->shares[i].n_coda);
    engine_output_run(&engine->output, engine->works, n_works);
}

/* ---- the turn ---- */

static int tick_and_output(struct engine *engine, struct ltd_err *err)
{
    int rc = engine->batch.n_entries > 0 ? send_tick(engine, err) : 0;
    if (engine->config.overlap && rc >= 0)
        run_output(engine);
    if (rc == 0 && engine->batch.n_entries > 0) {
        rc = receive_tick(engine, err);
        uint64_t ns = ltd_now_ns() - engine->tick_sent_ns;
        if (rc == 0) {
            sched_measure(engine->sched, SCHED_TICK, engine->batch.n_entries, ns);
            engine_stats_tick(engine, ns);
            advance(engine);
        }
    }
    if (!engine->config.overlap && rc >= 0)
        run_output(engine);
    return rc;
}

void engine_turn(struct engine *engine)
{
    struct ltd_err why;
    uint64_t began_ns = ltd_now_ns();
    tell_sched(engine);
    engine->n_shares = sched_plan(engine->sched, engine->shares, began_ns);
    fill_batch(engine, began_ns);
    int rc = tick_and_output(engine, &why);
    if (rc < 0) {
        engine_lose_group(engine, &why);
        return;
    }
    if (rc > 0)
        fail_batch(engine, &why);
    uint64_t now_ns = ltd_now_ns();
    sched_ticked(engine->sched, engine->shares, engine->n_shares, now_ns - began_ns, now_ns);
    for (int32_t p = 0; p < engine->batch.n_parts; p++)
        if (!engine->batch.parts[p].run->is_ending)
            engine_output_thinking(&engine->output, engine->batch.parts[p].run);
}
