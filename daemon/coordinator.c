/* SPDX-License-Identifier: Apache-2.0 */
/* daemon/coordinator.c - see daemon/coordinator.h. */
#include "daemon/coordinator.h"

#include <assert.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/sha.h>

#include "base/clock.h"
#include "base/file.h"
#include "cluster/world.h"
#include "daemon/job.h"
#include "kernels/dispatch.h"
#include "model/border.h"

static int load_border(struct coordinator *c, const struct rank_setup *setup, struct ltd_err *err)
{
    struct model_border_options options = {
        .max_batch = setup->capacity.limits.max_batch,
        .max_positions = setup->capacity.limits.block_size,
        .n_pages = setup->capacity.limits.n_pages,
        .kv_format = setup->capacity.kv_format,
        .format = setup->format,
    };
    c->border = model_border_create(setup->checkpoint, &setup->kern, &options, err);
    return c->border ? 0 : -1;
}

/* ------------------------------------------------------------------------------------- text */

static size_t longest_token(const struct model_tokenizer *tokenizer)
{
    size_t longest = 0, len;
    for (int32_t id = 0; id < model_tokenizer_vocab_size(tokenizer); id++) {
        model_tokenizer_bytes(tokenizer, id, &len);
        longest = len > longest ? len : longest;
    }
    return longest;
}

static void load_chat(struct coordinator *c, struct served *served)
{
    struct ltd_err why = {0};
    if (model_chat_init(&c->chat, c->tokenizer, &why) == 0)
        served->chat = &c->chat;
    else
        snprintf(served->no_chat, sizeof served->no_chat, "%.200s", why.msg);
}

static int load_tokenizer(struct coordinator *c, const char *dir, struct served *served,
                          struct ltd_err *err)
{
    struct ltd_err why = {0};
    c->tokenizer = model_tokenizer_open(dir, served->model.vocab, &why);
    if (c->tokenizer) {
        served->tokenizer = c->tokenizer;
        served->token_bytes_max = longest_token(c->tokenizer);
        load_chat(c, served);
        return 0;
    }
    /* A file that is there and cannot be obeyed is refused: an operator who wants token ids alone
     * takes it away, and nobody learns it from the first client. */
    if (why.code != LTD_E_NOT_FOUND) {
        *err = why;
        return -1;
    }
    snprintf(served->no_text, sizeof served->no_text, "the model has no tokenizer.json");
    snprintf(served->no_chat, sizeof served->no_chat, "%s", served->no_text);
    return 0;
}

/* An answer ends where the model's authors say, and where the chat format does. */
static void collect_end_tokens(struct served *served)
{
    const struct model_generation *g = &served->generation;
    for (int32_t i = 0; i < g->n_eos; i++)
        served->end_tokens[served->n_end_tokens++] = g->eos[i];
    if (g->n_eos > 0 || !served->chat)
        return;
    served->end_tokens[served->n_end_tokens++] = served->chat->end_turn;
    served->end_tokens[served->n_end_tokens++] = served->chat->end_text;
}

/* ------------------------------------------------------------------------------------ facts */

/* The last component of the directory, symbolic links and "." resolved. */
static void name_model(const char *dir, struct served *served)
{
    char resolved[PATH_MAX];
    const char *path = realpath(dir, resolved) ? resolved : dir;
    const char *slash = strrchr(path, '/');
    snprintf(served->name, sizeof served->name, "models/%.140s",
             slash && slash[1] ? slash + 1 : path);
}

/* What makes tokens of a text, and what fills in what a job leaves open. The model's hash is over
 * weights and configuration, which all ranks have; these files are the coordinator's alone. */
#define TEXT_FILE_BYTES_MAX ((size_t)1 << 30)
#define TEXT_HASH_CHARS     16

static int hash_text_files(const char *dir, char hex[TEXT_HASH_CHARS + 1], struct ltd_err *err)
{
    static const char *const names[] = {"tokenizer.json", "generation_config.json"};
    uint8_t digests[2 * SHA256_DIGEST_LENGTH] = {0}, all[SHA256_DIGEST_LENGTH];
    for (size_t i = 0; i < 2; i++) {
        char path[PATH_MAX];
        size_t len;
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        if (ltd_file_is_absent(path))
            continue; /* its digest stays zero */
        char *data = ltd_file_read(path, TEXT_FILE_BYTES_MAX, &len, err);
        if (!data)
            return -1;
        SHA256((const uint8_t *)data, len, digests + i * SHA256_DIGEST_LENGTH);
        free(data);
    }
    SHA256(digests, sizeof digests, all);
    for (size_t i = 0; i < TEXT_HASH_CHARS / 2; i++)
        snprintf(hex + 2 * i, 3, "%02x", all[i]);
    return 0;
}

/* Recorded with each job, and compared whole, so nothing of it may be cut. */
static int name_numerics(const char *dir, uint64_t fingerprint, struct served *served,
                         struct ltd_err *err)
{
    char text[TEXT_HASH_CHARS + 1];
    if (hash_text_files(dir, text, err) != 0)
        return -1;
    static_assert(sizeof served->numerics >= sizeof served->hash + sizeof served->format +
                                                 sizeof served->tier_id + sizeof served->kv_format +
                                                 sizeof served->kv_policy + sizeof text + 80,
                  "room for all parts");
    static_assert(sizeof served->numerics + JOB_GIVEN_BYTES <= JOB_NUMERICS_BYTES,
                  "a job records it, and what defaults gave the job");
    snprintf(served->numerics, sizeof served->numerics,
             "model %s, text %s, %s, tier %s, arithmetic %016" PRIx64 ", keys %s, %s", served->hash,
             text, served->format, served->tier_id, fingerprint, served->kv_format,
             served->kv_policy);
    return 0;
}

static void fill_facts(const struct rank_setup *setup, const char *dir, struct served *served)
{
    name_model(dir, served);
    snprintf(served->hash, sizeof served->hash, "%s", setup->hash);
    served->model = setup->model;
    served->generation = setup->generation;
    served->default_steps = setup->capacity.default_steps;
    served->max_steps = setup->capacity.max_steps;
    served->default_max_tokens = setup->capacity.default_max_tokens;
    snprintf(served->tier, sizeof served->tier, "%s", setup->kern.ops->name);
    kern_tier_id(setup->kern.ops, served->tier_id, sizeof served->tier_id);
    snprintf(served->format, sizeof served->format, "%s", kern_format_name(setup->format));
    snprintf(served->early_format, sizeof served->early_format, "%s",
             setup->has_early ? kern_format_name(setup->early_format) : "");
    snprintf(served->kv_policy, sizeof served->kv_policy, "%s", setup->capacity.policy_text);
    snprintf(served->kv_format, sizeof served->kv_format, "%s",
             model_kv_format_name(setup->capacity.kv_format));
    served->kv_bytes_per_position = setup->capacity.position_bytes;
    served->max_batch = setup->capacity.limits.max_batch;
    served->parameters = capacity_parameters(&setup->model);
    served->start_us = ltd_wall_us();
    served->start_ns = ltd_now_ns();
}

int coordinator_load(struct coordinator *c, const struct rank_setup *setup,
                     const struct config *config, struct ltd_err *err)
{
    *c = (struct coordinator){.config = config};
    fill_facts(setup, config->model, &c->served);
    c->served.early_steps = (int32_t)config->early_steps;
    if (name_numerics(config->model, setup->fingerprint, &c->served, err) != 0 ||
        load_border(c, setup, err) != 0 || load_tokenizer(c, config->model, &c->served, err) != 0)
        return -1;
    collect_end_tokens(&c->served);
    return 0;
}

/* On one host the ranks want the processors that prelude and coda would compute with. */
static bool choose_overlap(const char *asked, const struct clus_world *world)
{
    if (strcmp(asked, "auto") == 0)
        return !clus_world_is_one_host(world);
    return strcmp(asked, "on") == 0;
}

struct engine_config coordinator_engine_config(const struct coordinator *c,
                                               const struct rank_setup *setup,
                                               struct clus_group *group)
{
    const struct capacity *capacity = &setup->capacity;
    const struct clus_limits *limits = &capacity->limits;
    struct engine_config config = {
        .border = c->border,
        .tokenizer = c->tokenizer,
        .group = group,
        .n_embd = limits->n_embd,
        .vocab_size = setup->model.vocab,
        .n_pages = limits->n_pages,
        .n_rows = limits->n_rows,
        .n_seqs = limits->n_seqs,
        .max_batch = limits->max_batch,
        .prefill_chunk = capacity->prefill_chunk,
        .prefill_share = c->config->prefill_share,
        .ageing_ns = (uint64_t)(c->config->priority_ageing_seconds * (double)LTD_NS_PER_S),
        /* Also without a queue a job may wait, for pages; the queue's bound is daemon/work.h's. */
        .max_waiting = c->config->max_queue > 0 ? (int32_t)c->config->max_queue : 1,
        .n_cached_pages = capacity->cached_pages,
        .n_held_jobs = (int32_t)c->config->held_jobs,
        .overlap = choose_overlap(c->config->overlap, setup->world),
        .is_replayable = model_kv_policy_replayable(&capacity->policy, capacity->max_steps),
        .max_steps = capacity->max_steps,
        .n_end_tokens = c->served.n_end_tokens,
    };
    memcpy(config.end_tokens, c->served.end_tokens, sizeof config.end_tokens);
    return config;
}

void coordinator_unload(struct coordinator *c)
{
    model_border_destroy(c->border);
    model_tokenizer_close(c->tokenizer);
    *c = (struct coordinator){0};
}
