/* SPDX-License-Identifier: Apache-2.0 */
/* tests/cli/fake_status.c - see tests/cli/fake_status.h. */
#include "tests/cli/fake_status.h"

#include <string.h>

static ProtobufCBinaryData bytes(const char *text)
{
    return (ProtobufCBinaryData){strlen(text), (uint8_t *)(uintptr_t)text};
}

static void fill_histogram(struct fake_histogram *h, size_t n_bounds)
{
    latentd__v1__histogram__init(&h->message);
    h->message.n_bounds = n_bounds;
    h->message.bounds = h->bounds;
    h->message.n_counts = n_bounds + 1;
    h->message.counts = h->counts;
}

/* 100 ticks between two calls: 50 of at most 2 ms, 40 more of at most 5, 9 of 10, one beyond 50. */
static void fill_tick_ms(struct fake_histogram *h, uint64_t n)
{
    *h = (struct fake_histogram){.bounds = {1, 2, 5, 10, 20, 50},
                                 .counts = {1, 1 + 50 * n, 1 + 40 * n, 1 + 9 * n, 0, 0, n}};
    fill_histogram(h, 6);
    h->message.sum = 9 + 300 * (double)n;
}

static void fill_batch(struct fake_histogram *h, uint64_t n)
{
    *h = (struct fake_histogram){.bounds = {1, 2, 4, 8, 16}, .counts = {2, 0, 2, 100 * n, 0, 0}};
    fill_histogram(h, 5);
    h->message.sum = 10 + 800 * (double)n;
}

static void fill_queue_ms(struct fake_histogram *h)
{
    *h = (struct fake_histogram){.bounds = {1, 10, 100}, .counts = {0, 0, 1, 1}};
    fill_histogram(h, 3);
    h->message.sum = 600;
}

static void fill_ranks(Latentd__V1__RankStatus ranks[2])
{
    for (uint32_t i = 0; i < 2; i++) {
        latentd__v1__rank_status__init(&ranks[i]);
        ranks[i].rank = i;
        ranks[i].host = bytes(i ? "node-b" : "node-a");
        ranks[i].threads = 4;
        ranks[i].head_begin = i * 28;
        ranks[i].head_end = 28 + i * 27;
    }
}

static void fill_waiting(Latentd__V1__PriorityCounts waiting[3])
{
    static const uint32_t priorities[] = {0, 16, 20}, jobs[] = {1, 2, 1};
    for (size_t i = 0; i < 3; i++) {
        latentd__v1__priority_counts__init(&waiting[i]);
        waiting[i].priority = priorities[i];
        waiting[i].jobs = jobs[i];
    }
}

static void fill_costs(Latentd__V1__Costs *costs)
{
    latentd__v1__costs__init(costs);
    costs->tick_fixed_us = 5000;
    costs->tick_each_us = 250;
    costs->head_each_us = 1.5;
}

static void fill_counters(Latentd__V1__ClusterStatus *status, uint64_t n)
{
    status->uptime_ms = 90061000 + 1000 * n;
    status->ticks = 4 + 100 * n;
    status->tick_positions = 10 + 800 * n;
    status->decode_positions = 6 + 600 * n;
    status->prefill_positions = 3 + 150 * n;
    status->replay_positions = 1 + 50 * n;
    status->tokens_out = 5 + 20 * n;
    status->steps_out = 80 + 240 * n;
    status->coda_positions = 6 + 30 * n;
    status->head_rows = 6 + 30 * n;
    status->check_positions = 1 + 10 * n;
    status->check_rows = 1 + 10 * n;
}

static void fill_places(Latentd__V1__ClusterStatus *status)
{
    status->jobs_queued = 4;
    status->jobs_running = 2;
    status->jobs_finished = 7;
    status->jobs_held = 1;
    status->positions_running = 9;
    status->pages_total = 100;
    status->pages_used = 40;
    status->pages_shared = 10;
    status->pages_cached = 20;
    status->prefix_positions = 48;
    status->preemptions = 2;
    status->max_batch = 16;
    status->tick_ms_mean = 2.5;
    status->load = 0.25;
    status->wait_ms = 1500;
}

/* Three tokens at 16 fixed steps; of two that converged one took 4 steps and one 30. */
static void fill_depths(Latentd__V1__DepthCounts depths[2], uint64_t tokens[2][30])
{
    tokens[0][15] = 3;
    tokens[1][3] = tokens[1][29] = 1;
    latentd__v1__depth_counts__init(&depths[0]);
    latentd__v1__depth_counts__init(&depths[1]);
    depths[0].exit = LATENTD__V1__EXIT_REASON__EXIT_REASON_FIXED;
    depths[0].n_tokens = 16;
    depths[0].tokens = tokens[0];
    depths[1].exit = LATENTD__V1__EXIT_REASON__EXIT_REASON_CONVERGED;
    depths[1].n_tokens = 30;
    depths[1].tokens = tokens[1];
}

static void point_at_parts(struct fake_status *s)
{
    for (size_t i = 0; i < 2; i++)
        s->rank_ptrs[i] = &s->ranks[i];
    for (size_t i = 0; i < 3; i++)
        s->waiting_ptrs[i] = &s->waiting[i];
    for (size_t i = 0; i < 2; i++)
        s->depth_ptrs[i] = &s->depths[i];
    s->message.n_ranks = 2;
    s->message.ranks = s->rank_ptrs;
    s->message.n_waiting = 3;
    s->message.waiting = s->waiting_ptrs;
    s->message.n_depths = 2;
    s->message.depths = s->depth_ptrs;
    s->message.costs = &s->costs;
    s->message.tick_ms = &s->tick_ms.message;
    s->message.batch = &s->batch.message;
    s->message.queue_ms = &s->queue_ms.message;
}

void fake_status_fill(struct fake_status *s, uint64_t n)
{
    memset(s, 0, sizeof *s);
    latentd__v1__cluster_status__init(&s->message);
    s->message.version = bytes("0.1.0");
    s->message.state = bytes("serving");
    fill_ranks(s->ranks);
    fill_waiting(s->waiting);
    fill_costs(&s->costs);
    fill_depths(s->depths, s->tokens);
    fill_counters(&s->message, n);
    fill_places(&s->message);
    fill_tick_ms(&s->tick_ms, n);
    fill_batch(&s->batch, n);
    fill_queue_ms(&s->queue_ms);
    point_at_parts(s);
}
