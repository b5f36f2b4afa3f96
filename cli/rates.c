/* SPDX-License-Identifier: Apache-2.0 */
/* cli/rates.c - see cli/rates.h. */
#include "cli/rates.h"

#include <math.h>
#include <stdio.h>

/* What a counter grew by. A counter never shrinks while a daemon runs; one that did counts anew. */
static double grown(uint64_t before, uint64_t now)
{
    return now >= before ? (double)(now - before) : (double)now;
}

static double per(double what, double of)
{
    return of > 0 ? what / of : NAN;
}

static bool is_readable(const Latentd__V1__Histogram *h)
{
    return h && h->n_counts > 0 && h->n_counts == h->n_bounds + 1;
}

static bool has_same_bounds(const Latentd__V1__Histogram *a, const Latentd__V1__Histogram *b)
{
    if (a->n_bounds != b->n_bounds)
        return false;
    for (size_t i = 0; i < a->n_bounds; i++)
        if (a->bounds[i] != b->bounds[i])
            return false;
    return true;
}

static double bucket(const Latentd__V1__Histogram *before, const Latentd__V1__Histogram *now,
                     size_t i)
{
    return grown(before ? before->counts[i] : 0, now->counts[i]);
}

/* True when the difference of the two means something; `before` may be NULL. */
static bool can_subtract(const Latentd__V1__Histogram *before, const Latentd__V1__Histogram *now)
{
    return is_readable(now) && (!before || (is_readable(before) && has_same_bounds(before, now)));
}

static double n_values(const Latentd__V1__Histogram *before, const Latentd__V1__Histogram *now)
{
    double n = 0;
    for (size_t i = 0; i < now->n_counts; i++)
        n += bucket(before, now, i);
    return n;
}

struct cli_percentile cli_histogram_percentile(const Latentd__V1__Histogram *before,
                                               const Latentd__V1__Histogram *now, double share)
{
    struct cli_percentile p = {.is_known = false};
    if (!can_subtract(before, now))
        return p;
    double wanted = share * n_values(before, now), seen = 0;
    for (size_t i = 0; i < now->n_counts && !p.is_known; i++) {
        double n = bucket(before, now, i);
        seen += n;
        if (n == 0 || seen < wanted)
            continue;
        p.is_known = now->n_bounds > 0;
        p.is_above = i == now->n_bounds;
        if (p.is_known)
            p.bound = now->bounds[p.is_above ? i - 1 : i];
    }
    return p;
}

struct cli_spread cli_histogram_spread(const Latentd__V1__Histogram *before,
                                       const Latentd__V1__Histogram *now)
{
    struct cli_spread s = {.p50 = cli_histogram_percentile(before, now, 0.5),
                           .p90 = cli_histogram_percentile(before, now, 0.9),
                           .p99 = cli_histogram_percentile(before, now, 0.99),
                           .mean = NAN};
    if (can_subtract(before, now))
        s.mean = per(now->sum - (before ? before->sum : 0), n_values(before, now));
    return s;
}

static void set_work(const Latentd__V1__ClusterStatus *b, const Latentd__V1__ClusterStatus *n,
                     struct cli_rates *out)
{
    double ticks = grown(b->ticks, n->ticks);
    double positions = grown(b->tick_positions, n->tick_positions);
    out->ticks_per_s = per(ticks, out->seconds);
    out->positions_per_s = per(positions, out->seconds);
    out->positions_per_tick = per(positions, ticks);
    out->decode_share = per(grown(b->decode_positions, n->decode_positions), positions);
    out->prefill_share = per(grown(b->prefill_positions, n->prefill_positions), positions);
    out->replay_share = per(grown(b->replay_positions, n->replay_positions), positions);
}

static void set_tokens(const Latentd__V1__ClusterStatus *b, const Latentd__V1__ClusterStatus *n,
                       struct cli_rates *out)
{
    double tokens = grown(b->tokens_out, n->tokens_out);
    out->tokens_per_s = per(tokens, out->seconds);
    out->mean_steps = per(grown(b->steps_out, n->steps_out), tokens);
    out->coda_per_token = per(grown(b->coda_positions, n->coda_positions), tokens);
    out->check_positions_per_token = per(grown(b->check_positions, n->check_positions), tokens);
    out->check_rows_per_token = per(grown(b->check_rows, n->check_rows), tokens);
}

void cli_rates_between(const Latentd__V1__ClusterStatus *before,
                       const Latentd__V1__ClusterStatus *now, struct cli_rates *out)
{
    static const Latentd__V1__ClusterStatus nothing = LATENTD__V1__CLUSTER_STATUS__INIT;
    bool has_before = before && before->uptime_ms <= now->uptime_ms;
    const Latentd__V1__ClusterStatus *from = has_before ? before : &nothing;
    *out = (struct cli_rates){.is_since_start = !has_before};
    out->seconds = (double)(now->uptime_ms - from->uptime_ms) / 1000;
    set_work(from, now, out);
    set_tokens(from, now, out);
    out->tick_ms = cli_histogram_spread(from->tick_ms, now->tick_ms);
    out->queue_ms = cli_histogram_spread(from->queue_ms, now->queue_ms);
    out->batch = cli_histogram_spread(from->batch, now->batch);
}

uint64_t cli_depth_tokens(const Latentd__V1__DepthCounts *depths)
{
    uint64_t n = 0;
    for (size_t i = 0; i < depths->n_tokens; i++)
        n += depths->tokens[i];
    return n;
}

double cli_depth_mean(const Latentd__V1__DepthCounts *depths)
{
    double steps = 0;
    for (size_t i = 0; i < depths->n_tokens; i++)
        steps += (double)(i + 1) * (double)depths->tokens[i];
    return per(steps, (double)cli_depth_tokens(depths));
}

const char *cli_percentile_text(const struct cli_percentile *p, char buf[CLI_PERCENTILE_BYTES])
{
    if (p->is_known)
        snprintf(buf, CLI_PERCENTILE_BYTES, "%s%.6g", p->is_above ? ">" : "<=", p->bound);
    else
        snprintf(buf, CLI_PERCENTILE_BYTES, "-");
    return buf;
}
