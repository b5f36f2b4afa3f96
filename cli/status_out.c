/* SPDX-License-Identifier: Apache-2.0 */
/* cli/status_out.c - see cli/status_out.h. */
#include "cli/status_out.h"

#include <math.h>

#include "cli/names.h"

static void tiers_field(const Latentd__V1__Model *model, struct cli_json *j)
{
    cli_json_begin(j, "tiers", '[');
    for (size_t i = 0; i < model->n_tiers; i++) {
        cli_json_begin(j, NULL, '{');
        cli_json_bytes(j, "name", model->tiers[i]->name);
        cli_json_bool(j, "usable", model->tiers[i]->usable);
        cli_json_bytes(j, "reason", model->tiers[i]->reason);
        cli_json_end(j);
    }
    cli_json_end(j);
}

void cli_model_field(struct cli_json *j, const Latentd__V1__Model *model)
{
    cli_json_begin(j, "model", '{');
    cli_json_bytes(j, "name", model->name);
    cli_json_bytes(j, "hash", model->hash);
    cli_json_u64(j, "n_embd", model->n_embd);
    cli_json_u64(j, "n_heads", model->n_heads);
    cli_json_u64(j, "intermediate_size", model->intermediate_size);
    cli_json_u64(j, "vocab_size", model->vocab_size);
    cli_json_u64(j, "context_tokens", model->context_tokens);
    cli_json_u64(j, "n_layers_in_prelude", model->n_layers_in_prelude);
    cli_json_u64(j, "n_layers_in_recurrent_block", model->n_layers_in_recurrent_block);
    cli_json_u64(j, "n_layers_in_coda", model->n_layers_in_coda);
    cli_json_u64(j, "default_steps", model->default_steps);
    cli_json_u64(j, "max_steps", model->max_steps);
    cli_json_u64(j, "parameters", model->parameters);
    cli_json_bool(j, "has_tokenizer", model->has_tokenizer);
    cli_json_bool(j, "has_chat", model->has_chat);
    cli_json_bytes(j, "tier", model->tier);
    cli_json_bytes(j, "format", model->format);
    cli_json_bytes(j, "early_format", model->early_format);
    cli_json_u64(j, "default_early_steps", model->default_early_steps);
    cli_json_u32s(j, "end_tokens", model->end_tokens, model->n_end_tokens);
    cli_json_double(j, "default_temperature", model->default_temperature);
    cli_json_u64(j, "default_max_tokens", model->default_max_tokens);
    cli_json_bytes(j, "kv_policy", model->kv_policy);
    cli_json_bytes(j, "kv_format", model->kv_format);
    cli_json_u64(j, "kv_bytes_per_position", model->kv_bytes_per_position);
    tiers_field(model, j);
    cli_json_end(j);
}

static void range_field(struct cli_json *j, const char *key, uint32_t begin, uint32_t end)
{
    const uint32_t range[2] = {begin, end};
    cli_json_u32s(j, key, range, 2);
}

static void ranks_field(const Latentd__V1__ClusterStatus *status, struct cli_json *j)
{
    cli_json_begin(j, "ranks", '[');
    for (size_t i = 0; i < status->n_ranks; i++) {
        const Latentd__V1__RankStatus *rank = status->ranks[i];
        cli_json_begin(j, NULL, '{');
        cli_json_u64(j, "rank", rank->rank);
        cli_json_bytes(j, "host", rank->host);
        cli_json_u64(j, "threads", rank->threads);
        range_field(j, "heads", rank->head_begin, rank->head_end);
        range_field(j, "embd", rank->embd_begin, rank->embd_end);
        range_field(j, "fc", rank->fc_begin, rank->fc_end);
        cli_json_end(j);
    }
    cli_json_end(j);
}

static void histogram_field(struct cli_json *j, const char *key, const Latentd__V1__Histogram *h)
{
    if (!h) {
        cli_json_null(j, key);
        return;
    }
    cli_json_begin(j, key, '{');
    cli_json_begin(j, "bounds", '[');
    for (size_t i = 0; i < h->n_bounds; i++)
        cli_json_double(j, NULL, h->bounds[i]);
    cli_json_end(j);
    cli_json_begin(j, "counts", '[');
    for (size_t i = 0; i < h->n_counts; i++)
        cli_json_u64(j, NULL, h->counts[i]);
    cli_json_end(j);
    cli_json_double(j, "sum", h->sum);
    cli_json_end(j);
}

static void depths_field(struct cli_json *j, const Latentd__V1__ClusterStatus *status)
{
    cli_json_begin(j, "depths", '[');
    for (size_t i = 0; i < status->n_depths; i++) {
        const Latentd__V1__DepthCounts *depths = status->depths[i];
        cli_json_begin(j, NULL, '{');
        cli_json_str(j, "exit", cli_exit_name(depths->exit));
        cli_json_begin(j, "tokens", '[');
        for (size_t k = 0; k < depths->n_tokens; k++)
            cli_json_u64(j, NULL, depths->tokens[k]);
        cli_json_end(j);
        cli_json_end(j);
    }
    cli_json_end(j);
}

static void waiting_field(struct cli_json *j, const Latentd__V1__ClusterStatus *status)
{
    cli_json_begin(j, "waiting", '[');
    for (size_t i = 0; i < status->n_waiting; i++) {
        cli_json_begin(j, NULL, '{');
        cli_json_u64(j, "priority", status->waiting[i]->priority);
        cli_json_u64(j, "jobs", status->waiting[i]->jobs);
        cli_json_end(j);
    }
    cli_json_end(j);
}

static void costs_field(struct cli_json *j, const Latentd__V1__Costs *costs)
{
    if (!costs) {
        cli_json_null(j, "costs");
        return;
    }
    cli_json_begin(j, "costs", '{');
    cli_json_double(j, "tick_fixed_us", costs->tick_fixed_us);
    cli_json_double(j, "tick_each_us", costs->tick_each_us);
    cli_json_double(j, "prelude_fixed_us", costs->prelude_fixed_us);
    cli_json_double(j, "prelude_each_us", costs->prelude_each_us);
    cli_json_double(j, "coda_fixed_us", costs->coda_fixed_us);
    cli_json_double(j, "coda_each_us", costs->coda_each_us);
    cli_json_double(j, "head_fixed_us", costs->head_fixed_us);
    cli_json_double(j, "head_each_us", costs->head_each_us);
    cli_json_end(j);
}

static void job_fields(struct cli_json *j, const Latentd__V1__ClusterStatus *status)
{
    cli_json_u64(j, "jobs_queued", status->jobs_queued);
    cli_json_u64(j, "jobs_running", status->jobs_running);
    cli_json_u64(j, "jobs_finished", status->jobs_finished);
    cli_json_u64(j, "jobs_held", status->jobs_held);
    waiting_field(j, status);
    cli_json_u64(j, "positions_running", status->positions_running);
    cli_json_double(j, "load", status->load);
    cli_json_double(j, "wait_ms", status->wait_ms);
    histogram_field(j, "queue_ms", status->queue_ms);
}

static void work_fields(struct cli_json *j, const Latentd__V1__ClusterStatus *status)
{
    cli_json_u64(j, "ticks", status->ticks);
    cli_json_u64(j, "tick_positions", status->tick_positions);
    cli_json_u64(j, "decode_positions", status->decode_positions);
    cli_json_u64(j, "prefill_positions", status->prefill_positions);
    cli_json_u64(j, "replay_positions", status->replay_positions);
    cli_json_u64(j, "early_positions", status->early_positions);
    cli_json_u64(j, "max_batch", status->max_batch);
    cli_json_double(j, "tick_ms_mean", status->tick_ms_mean);
    histogram_field(j, "tick_ms", status->tick_ms);
    histogram_field(j, "batch", status->batch);
    cli_json_u64(j, "preemptions", status->preemptions);
    costs_field(j, status->costs);
}

static void token_fields(struct cli_json *j, const Latentd__V1__ClusterStatus *status)
{
    cli_json_u64(j, "tokens_out", status->tokens_out);
    cli_json_u64(j, "steps_out", status->steps_out);
    depths_field(j, status);
    cli_json_u64(j, "coda_positions", status->coda_positions);
    cli_json_u64(j, "check_positions", status->check_positions);
    cli_json_u64(j, "head_rows", status->head_rows);
    cli_json_u64(j, "check_rows", status->check_rows);
}

static void page_fields(struct cli_json *j, const Latentd__V1__ClusterStatus *status)
{
    cli_json_u64(j, "pages_total", status->pages_total);
    cli_json_u64(j, "pages_used", status->pages_used);
    cli_json_u64(j, "pages_shared", status->pages_shared);
    cli_json_u64(j, "pages_cached", status->pages_cached);
    cli_json_u64(j, "prefix_positions", status->prefix_positions);
}

void cli_status_field(struct cli_json *j, const Latentd__V1__ClusterStatus *status)
{
    cli_json_begin(j, "status", '{');
    cli_json_bytes(j, "version", status->version);
    cli_json_bytes(j, "state", status->state);
    cli_json_u64(j, "uptime_ms", status->uptime_ms);
    job_fields(j, status);
    work_fields(j, status);
    token_fields(j, status);
    page_fields(j, status);
    ranks_field(status, j);
    cli_json_end(j);
}

static void spread_field(struct cli_json *j, const char *key, const struct cli_spread *spread)
{
    const struct {
        const char *key;
        const struct cli_percentile *p;
    } rows[] = {{"p50", &spread->p50}, {"p90", &spread->p90}, {"p99", &spread->p99}};
    cli_json_begin(j, key, '{');
    cli_json_double(j, "mean", spread->mean);
    /* Beyond the last bound nothing is known, not even a bound. */
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        cli_json_double(j, rows[i].key,
                        rows[i].p->is_known && !rows[i].p->is_above ? rows[i].p->bound : NAN);
    cli_json_end(j);
}

void cli_rates_field(struct cli_json *j, const struct cli_rates *rates)
{
    cli_json_begin(j, "rates", '{');
    cli_json_bool(j, "since_start", rates->is_since_start);
    cli_json_double(j, "seconds", rates->seconds);
    cli_json_double(j, "ticks_per_s", rates->ticks_per_s);
    cli_json_double(j, "positions_per_s", rates->positions_per_s);
    cli_json_double(j, "tokens_per_s", rates->tokens_per_s);
    cli_json_double(j, "positions_per_tick", rates->positions_per_tick);
    cli_json_double(j, "decode_share", rates->decode_share);
    cli_json_double(j, "prefill_share", rates->prefill_share);
    cli_json_double(j, "replay_share", rates->replay_share);
    cli_json_double(j, "mean_steps", rates->mean_steps);
    cli_json_double(j, "coda_per_token", rates->coda_per_token);
    cli_json_double(j, "check_positions_per_token", rates->check_positions_per_token);
    cli_json_double(j, "check_rows_per_token", rates->check_rows_per_token);
    spread_field(j, "tick_ms", &rates->tick_ms);
    spread_field(j, "queue_ms", &rates->queue_ms);
    spread_field(j, "batch", &rates->batch);
    cli_json_end(j);
}
