/* SPDX-License-Identifier: Apache-2.0 */
/* daemon/engine_stats.c - what the engine counts, and the snapshot that other threads read. */
#include <math.h>
#include <string.h>

#include "base/clock.h"
#include "daemon/engine_impl.h"

/* Bounds that grow by `factor` from `first` on. */
static void set_bounds(struct engine_histogram *histogram, double first, double factor)
{
    for (int i = 0; i < ENGINE_BUCKETS - 1; i++, first *= factor)
        histogram->bounds[i] = first;
}

void engine_histogram_add(struct engine_histogram *histogram, double value)
{
    int i = 0;
    while (i < ENGINE_BUCKETS - 1 && value > histogram->bounds[i])
        i++;
    histogram->counts[i]++;
    histogram->sum += value;
}

void engine_stats_init(struct engine *engine)
{
    struct engine_counts *counts = &engine->counts;
    struct output_counts *out = &engine->output.counts;
    set_bounds(&counts->tick_hist, 0.125, 2); /* up to 2 s */
    set_bounds(&counts->batch_hist, 1, 2);    /* up to 16,384 positions */
    set_bounds(&counts->queue_hist, 1, 2);    /* up to 16 s */
    set_bounds(&out->first_token_ms, 8, 2);   /* up to 131 s: a prompt may be long */
    set_bounds(&out->next_token_ms, 1, 2);    /* up to 16 s */
    set_bounds(&out->job_ms, 1, 4);           /* up to three days: a thought may be, too */
}

void engine_stats_tick(struct engine *engine, uint64_t ns)
{
    struct engine_counts *counts = &engine->counts;
    double ms = (double)ns / 1e6;
    counts->tick_ms[counts->ticks++ % ENGINE_TICK_TIMES] = ms;
    engine_histogram_add(&counts->tick_hist, ms);
    engine_histogram_add(&counts->batch_hist, engine->batch.n_entries);
    for (int32_t p = 0; p < engine->batch.n_parts; p++) {
        const struct batch_part *part = &engine->batch.parts[p];
        uint64_t n = (uint64_t)(part->entry_end - part->entry_begin);
        if (run_is_early(part->run))
            counts->early_positions += n;
        if (part->run->is_replay)
            counts->replay_positions += n;
        else if (part->run->call_begin < part->run->n_prompt)
            counts->prefill_positions += n;
        else
            counts->decode_positions += n;
    }
}

static double tick_ms_mean(const struct engine_counts *counts)
{
    uint64_t n = counts->ticks < ENGINE_TICK_TIMES ? counts->ticks : ENGINE_TICK_TIMES;
    double sum = 0;
    for (uint64_t i = 0; i < n; i++)
        sum += counts->tick_ms[i];
    return n ? sum / (double)n : 0;
}

static void fill_totals(struct engine_stats *stats, const struct engine *engine)
{
    const struct engine_counts *counts = &engine->counts;
    const struct output_counts *out = &engine->output.counts;
    stats->ticks = counts->ticks;
    stats->decode_positions = counts->decode_positions;
    stats->prefill_positions = counts->prefill_positions;
    stats->replay_positions = counts->replay_positions;
    stats->early_positions = counts->early_positions;
    stats->tick_positions =
        counts->decode_positions + counts->prefill_positions + counts->replay_positions;
    stats->coda_positions = out->coda_positions;
    stats->check_positions = out->check_positions;
    stats->head_rows = out->head_rows;
    stats->check_rows = out->check_rows;
    stats->preemptions = counts->preemptions;
    stats->prefix_positions = engine->places.n_prefix_positions;
    stats->tokens = out->tokens;
    stats->token_steps = out->token_steps;
    stats->prompt_tokens = counts->prompt_tokens;
    stats->tick_ms_mean = tick_ms_mean(counts);
    stats->tick_ms = counts->tick_hist;
    stats->batch = counts->batch_hist;
    stats->queue_ms = counts->queue_hist;
    stats->first_token_ms = out->first_token_ms;
    stats->next_token_ms = out->next_token_ms;
    stats->job_ms = out->job_ms;
}

static void fill_now(struct engine_stats *stats, const struct engine *engine)
{
    const struct pages *pages = &engine->places.pages;
    /* What finished jobs hold is given up as soon as somebody needs it. */
    struct sched_places free = places_free(&engine->places);
    uint64_t now = ltd_now_ns();
    stats->jobs_running = (uint32_t)engine->n_running;
    stats->jobs_held = (uint32_t)engine->places.n_held;
    stats->positions_running = (uint32_t)(engine->places.rows.n_total - free.n_rows);
    stats->pages_total = (uint32_t)pages->n_total;
    stats->pages_used = (uint32_t)(pages->n_total - free.n_pages);
    stats->pages_shared = (uint32_t)pages->n_shared;
    stats->pages_cached = (uint32_t)(free.n_pages - pages->n_free);
    for (int32_t p = 0; p < SCHED_PRIORITIES; p++)
        stats->waiting[p] = (uint32_t)sched_n_waiting(engine->sched, p);
    stats->load = sched_load(engine->sched);
    stats->wait_ms = (double)sched_wait_ns(engine->sched, now) / 1e6;
    stats->turn_ms = sched_turn_ns(engine->sched) / 1e6;
    for (int c = 0; c < SCHED_N_COSTS; c++)
        stats->costs[c] = *sched_cost(engine->sched, (enum sched_cost)c);
}

void engine_stats_publish(struct engine *engine)
{
    const struct engine_depths *depths = engine->output.depths;
    pthread_mutex_lock(&engine->stats_lock);
    fill_totals(&engine->stats, engine);
    fill_now(&engine->stats, engine);
    engine->depths->n_steps = depths->n_steps;
    for (int e = 0; e < ENGINE_N_EXITS; e++)
        memcpy(engine->depths->counts[e], depths->counts[e],
               (size_t)depths->n_steps * sizeof depths->counts[e][0]);
    pthread_mutex_unlock(&engine->stats_lock);
}

void engine_get_stats(struct engine *engine, struct engine_stats *out)
{
    pthread_mutex_lock(&engine->stats_lock);
    *out = engine->stats;
    pthread_mutex_unlock(&engine->stats_lock);
}

void engine_get_depths(struct engine *engine, struct engine_depths *out)
{
    pthread_mutex_lock(&engine->stats_lock);
    *out = *engine->depths;
    pthread_mutex_unlock(&engine->stats_lock);
}

/* Turns that the job takes part in when nobody is in its way. */
static double n_turns(const struct engine_config *config, const struct job_spec *spec)
{
    const struct spec_depth *depth = &spec->depth;
    int32_t chunk = depth->is_tokenwise ? 1 : config->prefill_chunk;
    int32_t n_known = spec->known.n > 0 ? spec->known.n - 1 : 0; /* replayed beside each other */
    double prompt = ((double)spec->n_prompt + n_known + chunk - 1) / chunk;
    int32_t n_calls = spec->max_tokens - 1 - n_known;
    double turns = (floor(prompt) + n_calls) * depth->rule.max_steps;
    for (int32_t i = 0; i < depth->n_at; i++) {
        int32_t token = depth->at[i].token, more = depth->at[i].steps - depth->rule.max_steps;
        if (token == 0)
            turns += floor(prompt) * more;
        else if (token > n_known)
            turns += more;
    }
    return turns;
}

uint64_t engine_predict_end(struct engine *engine, const struct job_spec *spec, uint64_t now_ns)
{
    struct engine_stats stats;
    engine_get_stats(engine, &stats);
    double turns = n_turns(&engine->config, spec);
    double ns = stats.wait_ms * 1e6 + turns * stats.turn_ms * 1e6;
    return ns < 9e18 ? now_ns + (uint64_t)ns : LTD_NEVER;
}
