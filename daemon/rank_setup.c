/* SPDX-License-Identifier: Apache-2.0 */
/* daemon/rank_setup.c - see daemon/rank_setup.h. */
#include "daemon/rank_setup.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "cluster/comm.h"
#include "cluster/handshake.h"
#include "cluster/shard.h"
#include "cluster/world.h"
#include "kernels/dispatch.h"
#include "kernels/fingerprint.h"

static int32_t count_processors(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0)
        return CPU_COUNT(&set);
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 ? (int32_t)n : 1;
}

static int32_t count_ranks_here(const struct clus_world *world)
{
    int32_t n = 0;
    for (int32_t r = 0; r < clus_world_size(world); r++)
        n += strcmp(clus_world_host_of(world, r), clus_world_host(world)) == 0;
    return n;
}

/* Of rank 0's host, on every rank: the plan must be the same everywhere. */
static int share_host_memory(struct clus_world *world, uint64_t *bytes, struct ltd_err *err)
{
    long pages = sysconf(_SC_PHYS_PAGES), page_bytes = sysconf(_SC_PAGESIZE);
    *bytes = pages > 0 && page_bytes > 0 ? (uint64_t)pages * (uint64_t)page_bytes : 0;
    return clus_comm_broadcast(world, bytes, sizeof *bytes, err);
}

/* ------------------------------------------------------------------------- check and plan */

static int read_model(struct rank_setup *s, const struct config *config, struct ltd_err *err)
{
    char path[4096];
    s->checkpoint = model_checkpoint_open(config->model, err);
    if (!s->checkpoint)
        return -1;
    s->model = *model_checkpoint_config(s->checkpoint);
    int n = snprintf(path, sizeof path, "%s/generation_config.json", config->model);
    if (n >= (int)sizeof path)
        return ltd_fail(err, LTD_E_INVALID,
                        "model: found a path of %d bytes, expected less than "
                        "%zu",
                        n, sizeof path);
    if (model_generation_load(path, s->model.vocab, &s->generation, err) != 0)
        return -1;
    return model_checkpoint_hash(s->checkpoint, s->hash, err);
}

static int plan_shards(struct rank_setup *s, const struct config *config, struct ltd_err *err)
{
    int32_t n = clus_world_size(s->world);
    struct clus_shard_shape shape = {s->model.n_heads, s->model.n_embd, s->model.intermediate};
    double *shares = calloc((size_t)n, sizeof *shares);
    s->shards = calloc((size_t)n, sizeof *s->shards);
    int rc = -1;
    if (!shares || !s->shards)
        ltd_fail(err, LTD_E_EXHAUSTED, "no memory for %d shards", n);
    else if (clus_shares_parse(config->shares, n, shares, err) != 0)
        ltd_err_context(err, "shares");
    else
        rc = clus_shard_plan(&shape, shares, n, s->shards, err);
    free(shares);
    return rc;
}

/* The tiers that this processor can run in the formats asked for, with what their arithmetic
 * gives. */
static int offer_tiers(struct rank_setup *s, const struct config *config, struct clus_offer *offer,
                       struct ltd_err *err)
{
    bool is_pinned = strcmp(config->tier, "auto") != 0;
    struct ltd_err declined = {0};
    if (is_pinned)
        snprintf(offer->pinned_tier, sizeof offer->pinned_tier, "%s", config->tier);
    for (int32_t i = 0; i < kern_tier_count() && offer->n_tiers < CLUS_MAX_TIERS; i++) {
        struct kern_tier_info info;
        kern_tier_describe(i, &info);
        if (info.differs)
            ltd_warning("tier %s is not used: %s", info.name, info.refusal);
        if (!info.available || (is_pinned && strcmp(info.name, config->tier) != 0))
            continue;
        struct kern_ctx ctx = s->kern;
        struct clus_tier_offer *tier = &offer->tiers[offer->n_tiers];
        ctx.ops = kern_tier_find(info.name, err);
        if (!ctx.ops)
            return -1;
        if (!kern_tier_has(ctx.ops, s->format) ||
            (s->has_early && !kern_tier_has(ctx.ops, s->early_format)) ||
            model_checkpoint_offers(s->checkpoint, s->format, false, ctx.ops, &declined) != 0)
            continue;
        if (kern_fingerprint(&ctx, &tier->fingerprint, err) != 0)
            return -1;
        snprintf(tier->name, sizeof tier->name, "%s", info.name);
        kern_tier_id(ctx.ops, tier->what, sizeof tier->what);
        offer->n_tiers++;
    }
    /* Tiers that were left out only because of how the weights lie: say that, not that there are
     * none. */
    if (offer->n_tiers == 0 && declined.code != LTD_OK) {
        *err = declined;
        return -1;
    }
    return 0;
}

static int read_formats(struct rank_setup *s, const struct config *config, struct ltd_err *err)
{
    if (kern_format_parse(config->format, &s->format) != 0)
        return ltd_fail(err, LTD_E_INVALID, "format: \"%.40s\", expected f32, bf16, int8 or int4",
                        config->format);
    s->has_early = strcmp(config->early_format, "none") != 0;
    if (s->has_early && kern_format_parse(config->early_format, &s->early_format) != 0)
        return ltd_fail(err, LTD_E_INVALID,
                        "early_format: \"%.40s\", expected none, f32, bf16, int8 or int4",
                        config->early_format);
    return 0;
}

/* Of a packed directory only what it holds can be served. */
static int check_packed(struct rank_setup *s, const struct config *config, struct ltd_err *err)
{
    enum model_use use;
    if (model_use_parse(config->weights, &use) != 0)
        return ltd_fail(err, LTD_E_INVALID, "weights: \"%.40s\", expected auto, mmap or copy",
                        config->weights);
    model_checkpoint_set_use(s->checkpoint, use);
    if (model_checkpoint_offers(s->checkpoint, s->format, false, NULL, err) != 0)
        return -1;
    return s->has_early ? model_checkpoint_offers(s->checkpoint, s->early_format, true, NULL, err)
                        : 0;
}

/* Everything that can be wrong before weights are loaded; fills the offer on the way. */
static int prepare(struct rank_setup *s, const struct config *config, uint64_t host_memory_bytes,
                   struct clus_offer *offer, struct ltd_err *err)
{
    s->kern.min_work = KERN_MIN_WORK_DEFAULT;
    s->kern.n_threads =
        capacity_threads(config->threads, count_processors(), count_ranks_here(s->world));
    if (read_formats(s, config, err) != 0 || read_model(s, config, err) != 0 ||
        check_packed(s, config, err) != 0 ||
        capacity_plan(config, &s->model, &s->generation, host_memory_bytes, &s->capacity, err) !=
            0 ||
        plan_shards(s, config, err) != 0 || offer_tiers(s, config, offer, err) != 0)
        return -1;
    snprintf(offer->model_hash, sizeof offer->model_hash, "%s", s->hash);
    clus_offer_set_shares(offer, config->shares);
    snprintf(offer->numerics, sizeof offer->numerics, "weights %s, early %s, kv %s, max_steps %d",
             kern_format_name(s->format), s->has_early ? kern_format_name(s->early_format) : "none",
             s->capacity.policy_text, s->capacity.max_steps);
    snprintf(offer->kv_format, sizeof offer->kv_format, "%s",
             model_kv_format_name(s->capacity.kv_format));
    offer->limits = s->capacity.limits;
    return 0;
}

/* ----------------------------------------------------------------------------------- load */

/* Rank 0 loads prelude, coda, embedding and head as well (daemon/coordinator.c). */
static void watch_loading(struct rank_setup *s, const struct model_shard *own)
{
    const struct model_shard all = model_shard_all(&s->model);
    bool is_first = clus_world_rank(s->world) == 0;
    int64_t weights = model_shard_weights(own, &s->model) * (s->has_early ? 2 : 1);
    if (is_first)
        weights += (int64_t)capacity_parameters(&s->model) - model_shard_weights(&all, &s->model);
    loading_begin(&s->loading, weights, is_first);
    model_checkpoint_set_progress(s->checkpoint, loading_note, &s->loading);
}

static int load(struct rank_setup *s, struct ltd_err *err)
{
    const struct model_shard *own = &s->shards[clus_world_rank(s->world)];
    const struct clus_limits *limits = &s->capacity.limits;
    watch_loading(s, own);
    s->gather = clus_gather_create(s->world, &s->model, s->shards, limits->max_batch, err);
    if (!s->gather)
        return -1;
    struct model_core_options options = {
        .shard = *own,
        .max_slots = limits->max_batch,
        .max_positions = limits->block_size,
        .n_pages = limits->n_pages,
        .policy = s->capacity.policy,
        .kv_format = s->capacity.kv_format,
        .format = s->format,
        .has_early = s->has_early,
        .early_format = s->early_format,
    };
    s->core = model_core_create(s->checkpoint, &s->kern, &options, err);
    if (!s->core)
        return -1;
    struct clus_executor_config config = {
        .core = s->core,
        .exchange = clus_gather_exchange(s->gather),
        .limits = *limits,
        .shard = *own,
        .n_threads = s->kern.n_threads,
    };
    s->executor = clus_executor_create(&config, err);
    return s->executor ? 0 : -1;
}

int rank_setup_open(struct rank_setup *s, struct clus_world *world, const struct config *config,
                    const struct ltd_err *problem, struct ltd_err *err)
{
    uint64_t host_memory_bytes = 0;
    struct clus_offer offer;
    struct clus_tier_offer tier;
    struct ltd_err status = *problem;
    *s = (struct rank_setup){.world = world};
    clus_offer_init(&offer);
    if (share_host_memory(world, &host_memory_bytes, err) != 0)
        return -1;
    if (status.code == LTD_OK)
        prepare(s, config, host_memory_bytes, &offer, &status);
    offer.status = status;
    if (status.code != LTD_OK && clus_world_size(world) == 1) {
        *err = status; /* nobody else to tell, and no rank to name */
        return -1;
    }
    if (clus_handshake(world, &offer, &tier, err) != 0)
        return -1;
    s->kern.ops = kern_tier_find(tier.name, &status);
    s->fingerprint = tier.fingerprint;
    if (s->kern.ops)
        load(s, &status);
    if (status.code != LTD_OK && clus_world_size(world) == 1) {
        *err = status;
        return -1;
    }
    return clus_agree(world, &status, err);
}

void rank_setup_drop_checkpoint(struct rank_setup *s)
{
    loading_end(&s->loading);
    if (model_checkpoint_is_lent(s->checkpoint))
        return;
    model_checkpoint_close(s->checkpoint);
    s->checkpoint = NULL;
}

void rank_setup_close(struct rank_setup *s)
{
    clus_executor_destroy(s->executor);
    model_core_destroy(s->core);
    clus_gather_destroy(s->gather);
    free(s->shards);
    model_checkpoint_close(s->checkpoint);
    *s = (struct rank_setup){0};
}

struct clus_rank_config rank_setup_config(const struct rank_setup *s, const struct config *config)
{
    return (struct clus_rank_config){
        .world = s->world,
        .executor = s->executor,
        .linger_ns = (uint64_t)(config->linger_ms * 1e6),
        .control_address = *config->control_interface ? config->control_interface : NULL,
        .n_threads = s->kern.n_threads,
        .weight_bytes = model_core_weight_bytes(s->core),
    };
}
