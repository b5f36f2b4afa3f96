/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/service_cluster.c - latentd.v1.Cluster: what is served, and how it is doing.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "daemon/service.h"
#include "daemon/spec_decode.h"
#include "kernels/dispatch.h"

static ProtobufCBinaryData text_of(const char *text)
{
    return wire_text(text, strlen(text));
}

/* --------------------------------------------------------------------------------- model */

#define TIERS_MAX 16

/* A tier that runs here may still not have the weights' format. */
static void look_at_format(const char *option, const char *format, struct kern_tier_info *info)
{
    enum kern_format wanted;
    const struct kern_ops *ops = info->available ? kern_tier_find(info->name, NULL) : NULL;
    if (!ops || kern_format_parse(format, &wanted) != 0 || kern_tier_has(ops, wanted))
        return;
    info->available = false;
    snprintf(info->refusal, sizeof info->refusal, "it has no %s weights (%s)", format, option);
}

static void look_at_tier(int32_t idx, const struct served *served, struct kern_tier_info *info)
{
    kern_tier_describe(idx, info);
    look_at_format("format", served->format, info);
    look_at_format("early_format", served->early_format, info);
}

static size_t fill_tiers(const struct served *served, Latentd__V1__TierInfo *tiers,
                         Latentd__V1__TierInfo **pointers, struct kern_tier_info *infos)
{
    size_t n = (size_t)kern_tier_count();
    n = n < TIERS_MAX ? n : TIERS_MAX;
    for (size_t i = 0; i < n; i++) {
        look_at_tier((int32_t)i, served, &infos[i]);
        latentd__v1__tier_info__init(&tiers[i]);
        tiers[i].name = text_of(infos[i].name);
        tiers[i].usable = infos[i].available;
        tiers[i].reason = text_of(infos[i].refusal);
        pointers[i] = &tiers[i];
    }
    return n;
}

static void fill_model(const struct served *served, Latentd__V1__Model *m)
{
    const struct model_config *c = &served->model;
    m->name = text_of(served->name);
    m->hash = text_of(served->hash);
    m->n_embd = (uint32_t)c->n_embd;
    m->n_heads = (uint32_t)c->n_heads;
    m->intermediate_size = (uint32_t)c->intermediate;
    m->vocab_size = (uint32_t)c->vocab;
    m->context_tokens = (uint32_t)c->max_positions;
    m->n_layers_in_prelude = (uint32_t)c->n_prelude;
    m->n_layers_in_recurrent_block = (uint32_t)c->n_core;
    m->n_layers_in_coda = (uint32_t)c->n_coda;
    m->default_steps = (uint32_t)served->default_steps;
    m->max_steps = (uint32_t)served->max_steps;
    m->parameters = served->parameters;
    m->has_tokenizer = served->tokenizer != NULL;
    m->has_chat = served->chat != NULL;
    m->tier = text_of(served->tier_id);
    m->format = text_of(served->format);
    m->early_format = text_of(served->early_format);
    m->default_early_steps = (uint32_t)served->early_steps;
    m->default_temperature = served->generation.do_sample ? served->generation.temperature : 0;
    m->default_max_tokens = (uint32_t)served->default_max_tokens;
    m->kv_policy = text_of(served->kv_policy);
    m->kv_format = text_of(served->kv_format);
    m->kv_bytes_per_position = served->kv_bytes_per_position;
    m->n_end_tokens = (size_t)served->n_end_tokens;
    m->end_tokens = (uint32_t *)(uintptr_t)served->end_tokens; /* ids are never negative */
}

void cluster_get_model(struct rpc_call *call, const uint8_t *request, size_t len, void *arg)
{
    struct service *service = arg;
    struct unpack u;
    struct ltd_err err = {0};
    struct kern_tier_info infos[TIERS_MAX];
    Latentd__V1__TierInfo tiers[TIERS_MAX], *pointers[TIERS_MAX];
    Latentd__V1__Model model = LATENTD__V1__MODEL__INIT;
    Latentd__V1__GetModelRequest *m =
        service_unpack(call, &u, &latentd__v1__get_model_request__descriptor, request, len);
    if (!m)
        return;
    int rc = spec_check_model(&m->name, service->served, &err);
    unpack_free(&u);
    if (rc != 0) {
        service_fail(call, &err);
        return;
    }
    fill_model(service->served, &model);
    model.n_tiers = fill_tiers(service->served, tiers, pointers, infos);
    model.tiers = pointers;
    service_reply(call, &model.base);
}

/* -------------------------------------------------------------------------------- status */

/* What GetStatus says, with the arrays that its message points into; some of them are long. */
struct status {
    Latentd__V1__ClusterStatus m;
    struct engine_stats stats;
    struct engine_depths depths;
    Latentd__V1__DepthCounts depth_counts[ENGINE_N_EXITS], *depth_pointers[ENGINE_N_EXITS];
    Latentd__V1__Histogram tick_ms, batch, queue_ms;
    Latentd__V1__PriorityCounts waiting[SCHED_PRIORITIES], *waiting_pointers[SCHED_PRIORITIES];
    Latentd__V1__Costs costs;
    Latentd__V1__RankStatus *ranks, **rank_pointers; /* owned, [served->n_ranks] */
};

static void fill_rank(const struct clus_rank_info *info, Latentd__V1__RankStatus *m)
{
    latentd__v1__rank_status__init(m);
    m->rank = (uint32_t)info->rank;
    m->host = text_of(info->host);
    m->threads = (uint32_t)info->n_threads;
    m->head_begin = (uint32_t)info->head_begin;
    m->head_end = (uint32_t)info->head_end;
    m->embd_begin = (uint32_t)info->embd_begin;
    m->embd_end = (uint32_t)info->embd_end;
    m->fc_begin = (uint32_t)info->fc_begin;
    m->fc_end = (uint32_t)info->fc_end;
}

static int fill_ranks(struct status *s, const struct served *served)
{
    size_t n = (size_t)served->n_ranks;
    s->ranks = calloc(n, sizeof *s->ranks);
    s->rank_pointers = calloc(n, sizeof *s->rank_pointers);
    if (!s->ranks || !s->rank_pointers)
        return -1;
    for (size_t i = 0; i < n; i++) {
        fill_rank(&served->ranks[i], &s->ranks[i]);
        s->rank_pointers[i] = &s->ranks[i];
    }
    s->m.n_ranks = n;
    s->m.ranks = s->rank_pointers;
    return 0;
}

/* One row per reason by which tokens left, as long as its deepest token. */
static void fill_depths(struct status *s)
{
    static const Latentd__V1__ExitReason reasons[ENGINE_N_EXITS] = {
        [ENGINE_EXIT_FIXED] = LATENTD__V1__EXIT_REASON__EXIT_REASON_FIXED,
        [ENGINE_EXIT_CONVERGED] = LATENTD__V1__EXIT_REASON__EXIT_REASON_CONVERGED,
        [ENGINE_EXIT_MAX_STEPS] = LATENTD__V1__EXIT_REASON__EXIT_REASON_MAX_STEPS,
        [ENGINE_EXIT_BUDGET] = LATENTD__V1__EXIT_REASON__EXIT_REASON_BUDGET,
    };
    s->m.depths = s->depth_pointers;
    for (int e = 0; e < ENGINE_N_EXITS; e++) {
        size_t n = (size_t)s->depths.n_steps;
        while (n > 0 && s->depths.counts[e][n - 1] == 0)
            n--;
        if (n == 0)
            continue;
        Latentd__V1__DepthCounts *m = &s->depth_counts[s->m.n_depths];
        latentd__v1__depth_counts__init(m);
        m->exit = reasons[e];
        m->n_tokens = n;
        m->tokens = s->depths.counts[e];
        s->depth_pointers[s->m.n_depths++] = m;
    }
}

static Latentd__V1__Histogram *fill_histogram(struct engine_histogram *from,
                                              Latentd__V1__Histogram *m)
{
    latentd__v1__histogram__init(m);
    m->n_bounds = ENGINE_BUCKETS - 1;
    m->bounds = from->bounds;
    m->n_counts = ENGINE_BUCKETS;
    m->counts = from->counts;
    m->sum = from->sum;
    return m;
}

static void fill_waiting(struct status *s)
{
    s->m.waiting = s->waiting_pointers;
    for (uint32_t p = 0; p < SCHED_PRIORITIES; p++) {
        if (s->stats.waiting[p] == 0)
            continue;
        Latentd__V1__PriorityCounts *m = &s->waiting[s->m.n_waiting];
        latentd__v1__priority_counts__init(m);
        m->priority = p;
        m->jobs = s->stats.waiting[p];
        s->waiting_pointers[s->m.n_waiting++] = m;
    }
}

static void fill_costs(struct status *s)
{
    const struct cost_line *lines = s->stats.costs;
    const double us = 1e-3; /* of a nanosecond */
    latentd__v1__costs__init(&s->costs);
    s->costs.tick_fixed_us = lines[SCHED_TICK].fixed_ns * us;
    s->costs.tick_each_us = lines[SCHED_TICK].each_ns * us;
    s->costs.prelude_fixed_us = lines[SCHED_PRELUDE].fixed_ns * us;
    s->costs.prelude_each_us = lines[SCHED_PRELUDE].each_ns * us;
    s->costs.coda_fixed_us = lines[SCHED_CODA].fixed_ns * us;
    s->costs.coda_each_us = lines[SCHED_CODA].each_ns * us;
    s->costs.head_fixed_us = lines[SCHED_HEAD].fixed_ns * us;
    s->costs.head_each_us = lines[SCHED_HEAD].each_ns * us;
    s->m.costs = &s->costs;
}

/* What was done since start. */
static void fill_totals(struct status *s)
{
    const struct engine_stats *stats = &s->stats;
    s->m.ticks = stats->ticks;
    s->m.tick_positions = stats->tick_positions;
    s->m.decode_positions = stats->decode_positions;
    s->m.prefill_positions = stats->prefill_positions;
    s->m.replay_positions = stats->replay_positions;
    s->m.early_positions = stats->early_positions;
    s->m.coda_positions = stats->coda_positions;
    s->m.check_positions = stats->check_positions;
    s->m.head_rows = stats->head_rows;
    s->m.check_rows = stats->check_rows;
    s->m.preemptions = stats->preemptions;
    s->m.prefix_positions = stats->prefix_positions;
    s->m.tokens_out = stats->tokens;
    s->m.steps_out = stats->token_steps;
    s->m.tick_ms = fill_histogram(&s->stats.tick_ms, &s->tick_ms);
    s->m.batch = fill_histogram(&s->stats.batch, &s->batch);
    s->m.queue_ms = fill_histogram(&s->stats.queue_ms, &s->queue_ms);
    fill_depths(s);
}

/* How things stand. */
static void fill_now(struct status *s, const struct service *service)
{
    const struct engine_stats *stats = &s->stats;
    s->m.version = text_of(LATENTD_VERSION);
    s->m.state = text_of(service->is_serving ? "serving" : "draining");
    s->m.uptime_ms = (ltd_now_ns() - service->served->start_ns) / LTD_NS_PER_MS;
    /* Everything unfinished is either started or not, scores included. */
    s->m.jobs_queued = work_queue_n_unstarted(service->queue);
    s->m.jobs_running = work_queue_n_unfinished(service->queue) - s->m.jobs_queued;
    s->m.jobs_finished = job_table_n_finished(service->jobs) + service->n_scored;
    s->m.jobs_held = stats->jobs_held;
    s->m.pages_total = stats->pages_total;
    s->m.pages_used = stats->pages_used;
    s->m.pages_shared = stats->pages_shared;
    s->m.pages_cached = stats->pages_cached;
    s->m.tick_ms_mean = stats->tick_ms_mean;
    s->m.positions_running = stats->positions_running;
    s->m.max_batch = (uint32_t)service->served->max_batch;
    s->m.load = stats->load;
    s->m.wait_ms = stats->wait_ms;
    fill_waiting(s);
    fill_costs(s);
}

void cluster_get_status(struct rpc_call *call, const uint8_t *request, size_t len, void *arg)
{
    struct service *service = arg;
    struct unpack u;
    if (!service_unpack(call, &u, &latentd__v1__get_status_request__descriptor, request, len))
        return;
    unpack_free(&u);
    struct status *status = calloc(1, sizeof *status);
    if (status)
        latentd__v1__cluster_status__init(&status->m);
    if (!status || fill_ranks(status, service->served) != 0) {
        service_reply_bytes(call, &(struct ltd_bytes){.failed = true});
    } else {
        engine_get_stats(service->engine, &status->stats);
        engine_get_depths(service->engine, &status->depths);
        fill_totals(status);
        fill_now(status, service);
        service_reply(call, &status->m.base);
    }
    if (status) {
        free(status->ranks);
        free(status->rank_pointers);
    }
    free(status);
}
