/* SPDX-License-Identifier: Apache-2.0 */
/* daemon/capacity.c - see daemon/capacity.h. */
#include "daemon/capacity.h"

#include <stdio.h>

#include "kernels/kernels.h"

#define MAX_STEPS_LEAST  64  /* gains of this model family saturate near it (arXiv 2502.05171) */
#define MAX_TOKENS_LEAST 256 /* where generation_config.json says nothing */

/* Latents and e of prompts under way: cheap beside KV pages, and memory is taken when used. */
#define ROWS_BYTES ((uint64_t)64 << 20)
#define ROWS_MAX   (1 << 20) /* what the tick stream can number (cluster/tick.c) */

static int32_t least(int32_t a, int32_t b)
{
    return a < b ? a : b;
}

static int plan_depth(const struct config *config, const struct model_config *model,
                      struct capacity *out, struct ltd_err *err)
{
    int32_t chosen = 2 * model->default_steps;
    if (chosen < MAX_STEPS_LEAST)
        chosen = MAX_STEPS_LEAST;
    out->max_steps =
        config->max_steps ? (int32_t)config->max_steps : least(chosen, MODEL_MAX_STEPS);
    if (config->max_steps > MODEL_MAX_STEPS)
        return ltd_fail(err, LTD_E_INVALID, "max_steps: found %lld, expected at most %d",
                        (long long)config->max_steps, MODEL_MAX_STEPS);
    out->default_steps = least(model->default_steps, out->max_steps);
    if (config->early_steps > out->max_steps)
        return ltd_fail(err, LTD_E_INVALID,
                        "early_steps: found %lld, expected at most %d (max_steps)",
                        (long long)config->early_steps, out->max_steps);
    return 0;
}

static int plan_policy(const struct config *config, const struct model_config *model,
                       struct capacity *out, struct ltd_err *err)
{
    if (*config->kv_policy) {
        if (model_kv_policy_parse(config->kv_policy, model->n_core, out->max_steps, &out->policy,
                                  err) != 0)
            return ltd_err_context(err, "kv_policy");
        snprintf(out->policy_text, sizeof out->policy_text, "%s", config->kv_policy);
        return 0;
    }
    int32_t n_planes = config->kv_slots ? (int32_t)config->kv_slots : out->max_steps;
    out->policy = (struct model_kv_policy){.n_planes = least(n_planes, out->max_steps),
                                           .holes = MODEL_KV_LATEST};
    if (out->policy.n_planes == out->max_steps)
        snprintf(out->policy_text, sizeof out->policy_text, "latest-m4");
    else
        snprintf(out->policy_text, sizeof out->policy_text, "kv_slots %d, latest",
                 out->policy.n_planes);
    return 0;
}

static uint64_t position_bytes(const struct model_config *model, int32_t n_planes,
                               enum model_kv_format format)
{
    uint64_t layers = (uint64_t)n_planes * (uint64_t)model->n_core + (uint64_t)model->n_prelude +
                      (uint64_t)model->n_coda;
    uint64_t element_bytes = format == MODEL_KV_BF16 ? 2 : 4;
    return element_bytes * 2u * (uint64_t)model->n_embd * layers;
}

static int plan_pages(const struct config *config, const struct model_config *model,
                      uint64_t host_memory_bytes, struct capacity *out, struct ltd_err *err)
{
    uint64_t per_context =
        ((uint64_t)model->max_positions + KERN_PAGE_POSITIONS - 1) / KERN_PAGE_POSITIONS;
    uint64_t page_bytes = out->position_bytes * KERN_PAGE_POSITIONS;
    uint64_t wanted = per_context * (uint64_t)config->max_jobs_running;
    uint64_t pages = host_memory_bytes / 4 / page_bytes;
    if (config->kv_memory)
        pages = ((uint64_t)config->kv_memory << 20) / page_bytes;
    if (config->kv_pages)
        pages = (uint64_t)config->kv_pages;
    if (pages > wanted)
        pages = wanted; /* no job could use more, and every page costs some 100 bytes of tables */
    if (pages < 1)
        return ltd_fail(err, LTD_E_INVALID,
                        "kv_memory: found %lld MiB, expected at least %llu, "
                        "which is one page of this model",
                        (long long)config->kv_memory, (unsigned long long)(page_bytes >> 20) + 1);
    if (pages > INT32_MAX / KERN_PAGE_POSITIONS)
        pages = INT32_MAX / KERN_PAGE_POSITIONS; /* positions are counted in 32 bits */
    out->limits.n_pages = (int32_t)pages;
    uint64_t cached = ((uint64_t)config->kv_cached_memory << 20) / page_bytes;
    out->cached_pages = (int32_t)(cached < pages ? cached : pages);
    return 0;
}

/* Enough for the longest prompt that fits, and for more prompts at once as memory is cheap. */
static void plan_rows(const struct model_config *model, struct capacity *out)
{
    uint64_t positions = (uint64_t)out->limits.n_pages * KERN_PAGE_POSITIONS;
    uint64_t rows = ROWS_BYTES / (8u * (uint64_t)model->n_embd);
    uint64_t needed = (uint64_t)model->max_positions + (uint64_t)out->limits.n_seqs;
    if (rows < needed)
        rows = needed;
    if (rows > positions)
        rows = positions;
    if (rows > ROWS_MAX)
        rows = ROWS_MAX;
    out->limits.n_rows = (int32_t)rows;
}

int capacity_plan(const struct config *config, const struct model_config *model,
                  const struct model_generation *generation, uint64_t host_memory_bytes,
                  struct capacity *out, struct ltd_err *err)
{
    *out = (struct capacity){0};
    out->limits.n_embd = model->n_embd;
    out->limits.block_size = model->max_positions;
    out->limits.page_positions = KERN_PAGE_POSITIONS;
    out->limits.n_seqs = (int32_t)config->max_jobs_running;
    out->limits.max_batch = (int32_t)config->max_batch;
    out->prefill_chunk = (int32_t)config->prefill_chunk;
    out->default_max_tokens = config->default_max_tokens   ? (int32_t)config->default_max_tokens
                              : generation->max_new_tokens ? generation->max_new_tokens
                                                           : MAX_TOKENS_LEAST;
    if (plan_depth(config, model, out, err) != 0 || plan_policy(config, model, out, err) != 0)
        return -1;
    if (model_kv_format_parse(config->kv_format, &out->kv_format, err) != 0)
        return ltd_err_context(err, "kv_format");
    out->position_bytes = position_bytes(model, out->policy.n_planes, out->kv_format);
    if (plan_pages(config, model, host_memory_bytes, out, err) != 0)
        return -1;
    plan_rows(model, out);
    return clus_limits_check(&out->limits, err);
}

int32_t capacity_threads(int64_t asked, int32_t n_processors, int32_t n_ranks_on_host)
{
    if (asked)
        return (int32_t)asked;
    int32_t n = n_processors / n_ranks_on_host;
    return n > 0 ? n : 1;
}

uint64_t capacity_parameters(const struct model_config *model)
{
    uint64_t n = (uint64_t)model->n_embd, mlp = (uint64_t)model->intermediate;
    uint64_t block = 4 * n * n + 3 * n * mlp + 4 * n + (model->qk_bias ? 2 * n : 0);
    uint64_t layers =
        (uint64_t)model->n_prelude + (uint64_t)model->n_core + (uint64_t)model->n_coda;
    uint64_t embedding = (uint64_t)model->vocab * n * (model->tied ? 1 : 2);
    return layers * block + 2 * n * n + embedding + n;
}
