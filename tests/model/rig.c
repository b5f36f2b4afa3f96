/* SPDX-License-Identifier: Apache-2.0 */
/* tests/model/rig.c - see tests/model/rig.h. */
#include "rig.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "model/exchange.h"
#include "model/shard.h"

struct rank {
    struct rig *rig;
    int32_t idx;
    pthread_t thread;
    struct model_core *core;
    struct model_exchange exchange;
    struct model_slot slots[RIG_MAX_SLOTS];
    float *latents;   /* [RIG_MAX_SLOTS][n] this rank's replicas */
    float *previous;  /* [RIG_MAX_SLOTS][n] likewise, for slots that keep it */
    const float *own; /* offered to the gather under way */
    enum model_part part;
    int32_t n_pos;
    int rc;
    struct ltd_err err;
};

struct rig {
    struct model_checkpoint *ckpt;
    struct model_border *border;
    int32_t n_ranks;
    struct rank ranks[RIG_MAX_RANKS];
    struct model_shard shards[RIG_MAX_RANKS];
    int32_t pages[RIG_MAX_SEQS][RIG_SEQ_PAGES];
    pthread_barrier_t gate;  /* ranks among themselves */
    pthread_barrier_t round; /* ranks and the test's thread */
    int32_t n_slots;         /* of the round; -1 ends the threads */
};

void rig_fail(const char *what, const struct ltd_err *err)
{
    fail_msg("%s: %s: %s", what, ltd_code_name(err->code), err->msg);
}

static int32_t cut(int32_t total, int32_t idx, int32_t n)
{
    return (int32_t)((int64_t)total * idx * idx / ((int64_t)n * n));
}

static struct model_shard share(const struct model_config *config, int32_t idx, int32_t n)
{
    return (struct model_shard){
        cut(config->n_heads, idx, n),      cut(config->n_heads, idx + 1, n),
        cut(config->n_embd, idx, n),       cut(config->n_embd, idx + 1, n),
        cut(config->intermediate, idx, n), cut(config->intermediate, idx + 1, n),
    };
}

static int gather(void *arg, enum model_part part, const float *own, float *full, int32_t n_pos,
                  struct ltd_err *err)
{
    struct rank *self = arg;
    struct rig *rig = self->rig;
    const struct model_config *config = model_core_config(self->core);
    size_t width = (size_t)model_part_width(part, config);
    self->own = own;
    self->part = part;
    self->n_pos = n_pos;
    pthread_barrier_wait(&rig->gate);
    int rc = 0;
    for (int32_t r = 0; r < rig->n_ranks; r++) {
        const struct rank *other = &rig->ranks[r];
        size_t count = (size_t)model_part_own(part, config, &rig->shards[r]);
        size_t begin = (size_t)model_part_begin(part, config, &rig->shards[r]);
        if (other->part != part || other->n_pos != n_pos || (count > 0) != (other->own != NULL))
            rc =
                ltd_fail(err, LTD_E_RANK, "ranks %d and %d are in different gathers", self->idx, r);
        for (int32_t p = 0; rc == 0 && count > 0 && p < n_pos; p++)
            memcpy(full + (size_t)p * width + begin, other->own + (size_t)p * count,
                   count * sizeof *full);
    }
    pthread_barrier_wait(&rig->gate);
    return rc;
}

static void *rank_main(void *arg)
{
    struct rank *self = arg;
    for (;;) {
        pthread_barrier_wait(&self->rig->round);
        if (self->rig->n_slots < 0)
            return NULL;
        self->rc = model_core_step(self->core, self->slots, self->rig->n_slots, &self->exchange,
                                   &self->err);
        pthread_barrier_wait(&self->rig->round);
    }
}

static float *rows_new(int32_t width)
{
    float *rows = calloc((size_t)RIG_MAX_SLOTS * (size_t)width, sizeof *rows);
    assert_non_null(rows);
    return rows;
}

static void start_rank(struct rig *rig, int32_t idx, const struct kern_ctx *ctx,
                       const struct model_kv_policy *policy, const struct rig_spec *spec)
{
    struct rank *rank = &rig->ranks[idx];
    struct ltd_err err = {0};
    const struct model_config *config = model_checkpoint_config(rig->ckpt);
    const struct model_core_options options = {
        .shard = rig->shards[idx],
        .max_slots = RIG_MAX_SLOTS,
        .max_positions = config->max_positions,
        .n_pages = RIG_MAX_SEQS * RIG_SEQ_PAGES,
        .policy = *policy,
        .kv_format = spec->kv_format,
        .format = spec->format,
        .has_early = spec->has_early,
        .early_format = spec->early_format,
    };
    rank->rig = rig;
    rank->idx = idx;
    rank->exchange = (struct model_exchange){gather, rank};
    rank->core = model_core_create(rig->ckpt, ctx, &options, &err);
    if (!rank->core)
        rig_fail("model_core_create", &err);
    rank->latents = rows_new(config->n_embd);
    rank->previous = rows_new(config->n_embd);
}

/* Page numbers of a sequence are far apart and descend, so nothing can rely on neighbours. */
static void scatter_pages(struct rig *rig)
{
    for (int32_t s = 0; s < RIG_MAX_SEQS; s++)
        for (int32_t i = 0; i < RIG_SEQ_PAGES; i++)
            rig->pages[s][i] = (RIG_SEQ_PAGES - 1 - i) * RIG_MAX_SEQS + s;
}

struct rig *rig_create(const struct rig_spec *spec)
{
    struct ltd_err err = {0};
    struct rig *rig = calloc(1, sizeof *rig);
    assert_non_null(rig);
    rig->ckpt = model_checkpoint_open(spec->dir, &err);
    if (!rig->ckpt)
        rig_fail("model_checkpoint_open", &err);
    const struct model_config *config = model_checkpoint_config(rig->ckpt);
    const struct kern_ctx ctx = {spec->ops, spec->n_threads, 0};
    /* Small and odd: longer calls are cut, which must not show. */
    const struct model_border_options border = {.max_batch = 7,
                                                .max_positions = config->max_positions,
                                                .n_pages = RIG_MAX_SEQS * RIG_SEQ_PAGES,
                                                .kv_format = spec->kv_format,
                                                .format = spec->border_format ? *spec->border_format
                                                                              : spec->format};
    rig->border = model_border_create(rig->ckpt, &ctx, &border, &err);
    if (!rig->border)
        rig_fail("model_border_create", &err);
    struct model_kv_policy policy;
    if (model_kv_policy_parse(spec->policy, config->n_core, RIG_MAX_STEPS, &policy, &err) != 0)
        rig_fail("model_kv_policy_parse", &err);
    scatter_pages(rig);
    rig->n_ranks = spec->n_ranks;
    for (int32_t r = 0; r < rig->n_ranks; r++) {
        rig->shards[r] = share(config, r, rig->n_ranks);
        start_rank(rig, r, &ctx, &policy, spec);
    }
    pthread_barrier_init(&rig->gate, NULL, (unsigned)rig->n_ranks);
    pthread_barrier_init(&rig->round, NULL, (unsigned)rig->n_ranks + 1);
    for (int32_t r = 0; r < rig->n_ranks; r++)
        assert_int_equal(pthread_create(&rig->ranks[r].thread, NULL, rank_main, &rig->ranks[r]), 0);
    return rig;
}

void rig_destroy(struct rig *rig)
{
    rig->n_slots = -1;
    pthread_barrier_wait(&rig->round);
    for (int32_t r = 0; r < rig->n_ranks; r++) {
        pthread_join(rig->ranks[r].thread, NULL);
        model_core_destroy(rig->ranks[r].core);
        free(rig->ranks[r].latents);
        free(rig->ranks[r].previous);
    }
    pthread_barrier_destroy(&rig->gate);
    pthread_barrier_destroy(&rig->round);
    model_border_destroy(rig->border);
    model_checkpoint_close(rig->ckpt);
    free(rig);
}

const struct model_config *rig_config(const struct rig *rig)
{
    return model_checkpoint_config(rig->ckpt);
}

struct model_border *rig_border(struct rig *rig)
{
    return rig->border;
}

struct model_place rig_place(const struct rig *rig, int32_t seq, int32_t position, int32_t step)
{
    return (struct model_place){rig->pages[seq], RIG_SEQ_PAGES, position, step};
}

void rig_release(struct rig *rig, int32_t seq)
{
    for (int32_t i = 0; i < RIG_SEQ_PAGES; i++) {
        model_border_release(rig->border, rig->pages[seq][i]);
        for (int32_t r = 0; r < rig->n_ranks; r++)
            model_kv_release(model_core_kv(rig->ranks[r].core), rig->pages[seq][i]);
    }
}

static void hand_out(struct rig *rig, const struct model_slot *slots, int32_t n_slots)
{
    size_t n = (size_t)rig_config(rig)->n_embd;
    for (int32_t r = 0; r < rig->n_ranks; r++)
        for (int32_t i = 0; i < n_slots; i++) {
            struct model_slot *copy = &rig->ranks[r].slots[i];
            *copy = slots[i];
            copy->latent = rig->ranks[r].latents + (size_t)i * n;
            memcpy(copy->latent, slots[i].latent, n * sizeof *copy->latent);
            if (!slots[i].previous)
                continue;
            copy->previous = rig->ranks[r].previous + (size_t)i * n;
            memcpy(copy->previous, slots[i].previous, n * sizeof *copy->previous);
        }
}

/* Slot `i` of a rank against the same slot of rank 0. */
static void same_slot(const struct rig *rig, int32_t rank, int32_t i)
{
    const struct model_slot *a = &rig->ranks[rank].slots[i], *b = &rig->ranks[0].slots[i];
    size_t bytes = (size_t)rig_config(rig)->n_embd * sizeof(float);
    if (memcmp(a->latent, b->latent, bytes) != 0)
        fail_msg("rank %d of %d holds another latent for slot %d than rank 0", rank, rig->n_ranks,
                 i);
    if (a->previous && memcmp(a->previous, b->previous, bytes) != 0)
        fail_msg("rank %d of %d holds another previous latent for slot %d than rank 0", rank,
                 rig->n_ranks, i);
    if (memcmp(&a->value, &b->value, sizeof a->value) != 0)
        fail_msg("rank %d of %d measures %.17g in slot %d, rank 0 %.17g", rank, rig->n_ranks,
                 a->value, i, b->value);
}

void rig_step(struct rig *rig, struct model_slot *slots, int32_t n_slots)
{
    size_t bytes = (size_t)rig_config(rig)->n_embd * sizeof(float);
    assert_in_range(n_slots, 1, RIG_MAX_SLOTS);
    hand_out(rig, slots, n_slots);
    rig->n_slots = n_slots;
    pthread_barrier_wait(&rig->round);
    pthread_barrier_wait(&rig->round);
    for (int32_t r = 0; r < rig->n_ranks; r++) {
        if (rig->ranks[r].rc != 0)
            rig_fail("model_core_step", &rig->ranks[r].err);
        for (int32_t i = 0; i < n_slots; i++)
            same_slot(rig, r, i);
    }
    for (int32_t i = 0; i < n_slots; i++) {
        const struct model_slot *done = &rig->ranks[0].slots[i];
        memcpy(slots[i].latent, done->latent, bytes);
        if (slots[i].previous)
            memcpy(slots[i].previous, done->previous, bytes);
        slots[i].value = done->value;
    }
}
