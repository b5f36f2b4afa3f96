/* SPDX-License-Identifier: Apache-2.0 */
/* bench/timed.c - see bench/timed.h. */
#include "bench/timed.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/size.h"
#include "cluster/comm.h"

static const struct kern_ops *real;
static struct model_exchange real_exchange;
static uint64_t spent[TIMED_N_PARTS];
static struct timed_call *calls;                   /* [n_room] */
static uint64_t *arrivals, *departures, *everyone; /* [n_room]; everyone [ranks][n_room] */
static int32_t n_room, n_calls, n_gathers;

int timed_init(int32_t n_core, int32_t n_steps, struct ltd_err *err)
{
    n_room = (4 * n_core + 1) * n_steps;
    calls = calloc((size_t)n_room, sizeof *calls);
    arrivals = calloc((size_t)n_room, sizeof *arrivals);
    departures = calloc((size_t)n_room, sizeof *departures);
    if (calls && arrivals && departures)
        return 0;
    return ltd_fail(err, LTD_E_EXHAUSTED, "no memory for the times of %d steps", n_steps);
}

void timed_fini(void)
{
    free(calls);
    free(arrivals);
    free(departures);
    free(everyone);
}

static void matmul(const struct kern_ctx *ctx, float *y, const struct kern_mat *mat, const float *x,
                   int32_t n_pos)
{
    ltd_assert(n_calls < n_room, n_calls, n_room);
    calls[n_calls++] = (struct timed_call){mat, n_pos};
    uint64_t begin = ltd_now_ns();
    real->matmul(ctx, y, mat, x, n_pos);
    spent[TIMED_PRODUCTS] += ltd_now_ns() - begin;
}

static void rmsnorm(const struct kern_ctx *ctx, float *y, const float *x, const float *weight,
                    int32_t n, int32_t n_pos, float eps)
{
    uint64_t begin = ltd_now_ns();
    real->rmsnorm(ctx, y, x, weight, n, n_pos, eps);
    spent[TIMED_NORMS] += ltd_now_ns() - begin;
}

static void add(const struct kern_ctx *ctx, float *y, const float *a, const float *b, int64_t count)
{
    uint64_t begin = ltd_now_ns();
    real->add(ctx, y, a, b, count);
    spent[TIMED_ELEMENTWISE] += ltd_now_ns() - begin;
}

static void silu_mul(const struct kern_ctx *ctx, float *z, const float *u, int32_t n, int32_t n_pos)
{
    uint64_t begin = ltd_now_ns();
    real->silu_mul(ctx, z, u, n, n_pos);
    spent[TIMED_ELEMENTWISE] += ltd_now_ns() - begin;
}

static void rope(const struct kern_ctx *ctx, float *x, const float *bias, const float *cos_sin,
                 int32_t n_heads, int32_t head_dim)
{
    uint64_t begin = ltd_now_ns();
    real->rope(ctx, x, bias, cos_sin, n_heads, head_dim);
    spent[TIMED_ELEMENTWISE] += ltd_now_ns() - begin;
}

static void attention(const struct kern_ctx *ctx, const struct kern_kv_layer *kv,
                      const struct kern_query *queries, int32_t n_queries, float *scores,
                      size_t scores_stride)
{
    uint64_t begin = ltd_now_ns();
    real->attention(ctx, kv, queries, n_queries, scores, scores_stride);
    spent[TIMED_ATTENTION] += ltd_now_ns() - begin;
}

void timed_ops(struct kern_ops *ops, const struct kern_ops *tier)
{
    real = tier;
    *ops = *tier;
    ops->matmul = matmul;
    ops->rmsnorm = rmsnorm;
    ops->add = add;
    ops->silu_mul = silu_mul;
    ops->rope = rope;
    ops->attention = attention;
}

static int gather(void *arg, enum model_part part, const float *own, float *full, int32_t n_pos,
                  struct ltd_err *err)
{
    ltd_assert(n_gathers < n_room, n_gathers, n_room);
    arrivals[n_gathers] = ltd_now_ns();
    int rc = real_exchange.gather(arg, part, own, full, n_pos, err);
    departures[n_gathers++] = ltd_now_ns();
    return rc;
}

struct model_exchange timed_exchange(struct model_exchange exchange)
{
    real_exchange = exchange;
    exchange.gather = gather;
    return exchange;
}

void timed_begin(void)
{
    memset(spent, 0, sizeof spent);
    n_calls = n_gathers = 0;
}

int timed_end(struct clus_world *world, uint64_t ns[TIMED_N_PARTS], struct ltd_err *err)
{
    int32_t n_ranks = clus_world_size(world);
    if (!everyone)
        everyone = calloc((size_t)n_room * (size_t)n_ranks, sizeof *everyone);
    if (!everyone)
        return ltd_fail(err, LTD_E_EXHAUSTED, "no memory for the times of %d ranks", n_ranks);
    if (clus_comm_all_gather(world, arrivals, everyone, (size_t)n_gathers * sizeof *arrivals,
                             err) != 0)
        return -1;
    for (int32_t g = 0; g < n_gathers; g++) {
        uint64_t last = arrivals[g];
        for (int32_t r = 0; r < n_ranks; r++) {
            uint64_t arrival = everyone[r * n_gathers + g];
            last = arrival > last ? arrival : last;
        }
        /* A rank that was put off its processor may leave before it read the clock that says so. */
        last = last < departures[g] ? last : departures[g];
        spent[TIMED_WAIT] += last - arrivals[g];
        spent[TIMED_GATHER] += departures[g] - last;
    }
    memcpy(ns, spent, sizeof spent);
    return 0;
}

const struct timed_call *timed_calls(int32_t *n)
{
    *n = n_calls;
    return calls;
}
