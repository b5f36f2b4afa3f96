/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/service_cluster.c - latentd.v1.Cluster: what is served, and how it is doing.
 */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "cluster/build_id.h"
#include "daemon/service.h"
#include "daemon/spec_decode.h"
#include "kernels/dispatch.h"

static ProtobufCBinaryData text_of(const char *text)
{
    return wire_text(text, strlen(text));
}

/* --------------------------------------------------------------------------------- model */

#define TIERS_MAX 16

static size_t fill_tiers(Latentd__V1__TierInfo *tiers, Latentd__V1__TierInfo **pointers,
                         struct kern_tier_info *infos)
{
    size_t n = (size_t)kern_tier_count();
    n = n < TIERS_MAX ? n : TIERS_MAX;
    for (size_t i = 0; i < n; i++) {
        kern_tier_describe((int32_t)i, &infos[i]);
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
    m->default_temperature = served->generation.do_sample ? served->generation.temperature : 0;
    m->default_max_tokens = (uint32_t)served->default_max_tokens;
    m->kv_policy = text_of(served->kv_policy);
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
        rpc_call_finish_err(call, &err);
        return;
    }
    fill_model(service->served, &model);
    model.n_tiers = fill_tiers(tiers, pointers, infos);
    model.tiers = pointers;
    service_reply(call, &model.base);
}

/* -------------------------------------------------------------------------------- status */

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

static void fill_status(struct service *service, Latentd__V1__ClusterStatus *m)
{
    struct engine_stats stats = {0};
    engine_get_stats(service->engine, &stats);
    m->version = text_of(LATENTD_VERSION);
    m->state = text_of(service->is_serving ? "serving" : "draining");
    m->uptime_ms = (ltd_now_ns() - service->served->start_ns) / LTD_NS_PER_MS;
    /* Everything unfinished is either started or not, scores included. */
    m->jobs_queued = work_queue_n_unstarted(service->queue);
    m->jobs_running = work_queue_n_unfinished(service->queue) - m->jobs_queued;
    m->jobs_finished = job_table_n_finished(service->jobs) + service->n_scored;
    m->ticks = stats.ticks;
    m->tick_positions = stats.tick_positions;
    m->tokens_out = stats.tokens;
    m->steps_out = stats.token_steps;
    m->pages_total = stats.pages_total;
    m->pages_used = stats.pages_used;
    m->tick_ms_mean = stats.tick_ms_mean;
    m->positions_running = stats.positions_running;
}

void cluster_get_status(struct rpc_call *call, const uint8_t *request, size_t len, void *arg)
{
    struct service *service = arg;
    struct unpack u;
    Latentd__V1__ClusterStatus status = LATENTD__V1__CLUSTER_STATUS__INIT;
    if (!service_unpack(call, &u, &latentd__v1__get_status_request__descriptor, request, len))
        return;
    unpack_free(&u);
    size_t n = (size_t)service->served->n_ranks;
    Latentd__V1__RankStatus *ranks = calloc(n, sizeof *ranks);
    Latentd__V1__RankStatus **pointers = calloc(n, sizeof *pointers);
    if (!ranks || !pointers) {
        rpc_call_finish(call, LTD_E_EXHAUSTED, "no memory for an answer");
    } else {
        fill_status(service, &status);
        for (size_t i = 0; i < n; i++) {
            fill_rank(&service->served->ranks[i], &ranks[i]);
            pointers[i] = &ranks[i];
        }
        status.n_ranks = n;
        status.ranks = pointers;
        service_reply(call, &status.base);
    }
    free(ranks);
    free(pointers);
}
