/* SPDX-License-Identifier: Apache-2.0 */
/* tests/cluster/team.c - see tests/cluster/team.h. */
#include "team.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cluster/shard.h"
#include "kernels/dispatch.h"

struct member {
    struct team *team;
    int32_t rank;
    pthread_t thread;
    struct model_core *core;
    struct clus_executor *executor;
    const float *own; /* offered to the gather under way */
    struct clus_reply reply;
    struct ltd_bytes reply_bytes;
    int rc;
    struct ltd_err err;
};

struct team {
    struct model_checkpoint *ckpt;
    struct model_border *border;
    struct clus_limits limits;
    int32_t n_ranks;
    struct model_shard shards[TEAM_MAX_RANKS];
    struct member members[TEAM_MAX_RANKS];
    pthread_barrier_t gate;       /* members among themselves */
    pthread_barrier_t round;      /* members and the test's thread */
    const struct clus_tick *tick; /* of the round; NULL ends the threads */
    bool is_broken;
};

static int gather(void *arg, enum model_part part, const float *own, float *full, int32_t n_pos,
                  struct ltd_err *err)
{
    struct member *self = arg;
    struct team *team = self->team;
    const struct model_config *config = model_core_config(self->core);
    size_t width = (size_t)model_part_width(part, config);
    if (team->is_broken)
        return ltd_fail(err, LTD_E_RANK, "the cable was pulled");
    self->own = own;
    pthread_barrier_wait(&team->gate);
    for (int32_t r = 0; r < team->n_ranks; r++) {
        size_t count = (size_t)model_part_own(part, config, &team->shards[r]);
        size_t begin = (size_t)model_part_begin(part, config, &team->shards[r]);
        for (int32_t p = 0; count > 0 && p < n_pos; p++)
            memcpy(full + (size_t)p * width + begin, team->members[r].own + (size_t)p * count,
                   count * sizeof *full);
    }
    pthread_barrier_wait(&team->gate);
    return 0;
}

static void *member_main(void *arg)
{
    struct member *self = arg;
    for (;;) {
        pthread_barrier_wait(&self->team->round);
        if (!self->team->tick)
            return NULL;
        self->rc = clus_executor_run(self->executor, self->team->tick, &self->reply, &self->err);
        pthread_barrier_wait(&self->team->round);
    }
}

static void check(int rc, const char *what, const struct ltd_err *err)
{
    if (rc)
        fail_msg("%s: %s", what, err->msg);
}

static void create_member(struct team *team, int32_t rank, const struct team_spec *spec,
                          const struct kern_ctx *ctx)
{
    struct member *self = &team->members[rank];
    struct ltd_err err = {0};
    struct model_core_options options = {.shard = team->shards[rank],
                                         .max_slots = team->limits.max_batch,
                                         .max_positions = team->limits.block_size,
                                         .n_pages = team->limits.n_pages,
                                         .kv_format = spec->kv_format,
                                         .format = spec->format,
                                         .has_early = spec->has_early,
                                         .early_format = spec->early_format};
    self->team = team;
    self->rank = rank;
    ltd_bytes_init(&self->reply_bytes);
    check(model_kv_policy_parse(spec->policy, model_checkpoint_config(team->ckpt)->n_core,
                                DRIVER_MAX_STEPS, &options.policy, &err),
          "policy", &err);
    self->core = model_core_create(team->ckpt, ctx, &options, &err);
    check(!self->core, "core", &err);
    const struct clus_executor_config config = {.core = self->core,
                                                .exchange = {gather, self},
                                                .limits = team->limits,
                                                .shard = team->shards[rank],
                                                .n_threads = spec->n_threads};
    self->executor = clus_executor_create(&config, &err);
    check(!self->executor, "executor", &err);
}

static void plan(struct team *team, const struct team_spec *spec)
{
    const struct model_config *config = model_checkpoint_config(team->ckpt);
    const struct clus_shard_shape shape = {config->n_heads, config->n_embd, config->intermediate};
    double shares[TEAM_MAX_RANKS];
    struct ltd_err err = {0};
    check(clus_shares_parse(spec->shares, spec->n_ranks, shares, &err), "shares", &err);
    check(clus_shard_plan(&shape, shares, spec->n_ranks, team->shards, &err), "plan", &err);
}

struct team *team_create(const struct team_spec *spec)
{
    struct ltd_err err = {0};
    struct team *team = calloc(1, sizeof *team);
    assert_non_null(team);
    team->ckpt = model_checkpoint_open(spec->dir, &err);
    check(!team->ckpt, spec->dir, &err);
    const struct kern_ops *ops = kern_tier_find(spec->tier, &err);
    check(!ops, spec->tier, &err);
    const struct kern_ctx ctx = {ops, spec->n_threads, 0};
    team->limits = driver_limits(model_checkpoint_config(team->ckpt));
    const struct model_border_options options = {.max_batch = team->limits.max_batch,
                                                 .max_positions = team->limits.block_size,
                                                 .n_pages = team->limits.n_pages,
                                                 .kv_format = spec->kv_format,
                                                 .format = spec->format};
    team->border = model_border_create(team->ckpt, &ctx, &options, &err);
    check(!team->border, "border", &err);
    team->n_ranks = spec->n_ranks;
    plan(team, spec);
    pthread_barrier_init(&team->gate, NULL, (unsigned)team->n_ranks);
    pthread_barrier_init(&team->round, NULL, (unsigned)team->n_ranks + 1);
    for (int32_t r = 0; r < team->n_ranks; r++)
        create_member(team, r, spec, &ctx);
    for (int32_t r = 0; r < team->n_ranks; r++)
        assert_int_equal(
            pthread_create(&team->members[r].thread, NULL, member_main, &team->members[r]), 0);
    return team;
}

void team_destroy(struct team *team)
{
    team->tick = NULL;
    pthread_barrier_wait(&team->round);
    for (int32_t r = 0; r < team->n_ranks; r++) {
        struct member *member = &team->members[r];
        pthread_join(member->thread, NULL);
        clus_executor_destroy(member->executor);
        model_core_destroy(member->core);
        ltd_bytes_fini(&member->reply_bytes);
    }
    pthread_barrier_destroy(&team->gate);
    pthread_barrier_destroy(&team->round);
    model_border_destroy(team->border);
    model_checkpoint_close(team->ckpt);
    free(team);
}

const struct clus_limits *team_limits(const struct team *team)
{
    return &team->limits;
}

struct model_border *team_border(struct team *team)
{
    return team->border;
}

const struct clus_executor *team_executor(const struct team *team, int32_t rank)
{
    return team->members[rank].executor;
}

void team_break_gather(struct team *team)
{
    team->is_broken = true;
}

static int compare_replies(struct team *team, struct ltd_err *err)
{
    for (int32_t r = 0; r < team->n_ranks; r++) {
        struct member *member = &team->members[r];
        const struct ltd_bytes *first = &team->members[0].reply_bytes;
        if (member->rc) {
            *err = member->err;
            return -1;
        }
        ltd_bytes_clear(&member->reply_bytes);
        if (clus_reply_encode(&member->reply, &team->limits, &member->reply_bytes, err))
            return -1;
        if (member->reply_bytes.len != first->len ||
            memcmp(member->reply_bytes.data, first->data, first->len) != 0)
            return ltd_fail(err, LTD_E_RANK, "tick %llu: rank %d replies other bytes than rank 0",
                            (unsigned long long)team->tick->tick_id, r);
    }
    return 0;
}

static int team_run(void *arg, const struct clus_tick *tick, struct clus_reply *reply,
                    struct ltd_err *err)
{
    struct team *team = arg;
    team->tick = tick;
    pthread_barrier_wait(&team->round);
    pthread_barrier_wait(&team->round);
    if (compare_replies(team, err))
        return -1;
    *reply = team->members[0].reply;
    return 0;
}

struct clus_reply team_run_good(struct team *team, const struct clus_tick *tick)
{
    struct clus_reply reply;
    struct ltd_err err = {0};
    if (team_run(team, tick, &reply, &err))
        fail_msg("lost: %s", err.msg);
    if (reply.err.code != LTD_OK)
        fail_msg("refused: %s", reply.err.msg);
    return reply;
}

void team_expect_refused(struct team *team, const struct clus_tick *tick, const char *part)
{
    struct clus_reply reply;
    struct ltd_err err = {0};
    if (team_run(team, tick, &reply, &err))
        fail_msg("lost: %s", err.msg);
    if (reply.err.code == LTD_OK)
        fail_msg("accepted, expected \"%s\"", part);
    if (!strstr(reply.err.msg, part))
        fail_msg("refused with \"%s\", expected \"%s\"", reply.err.msg, part);
    assert_int_equal(reply.n_latents, 0);
    assert_int_equal(reply.n_values, 0);
}

struct driver_port team_port(struct team *team)
{
    bool has_early = model_core_has_early(team->members[0].core);
    return (struct driver_port){team_run, team, has_early};
}
