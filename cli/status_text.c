/* SPDX-License-Identifier: Apache-2.0 */
/* cli/status_text.c - see cli/status_text.h. */
#include "cli/status_text.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "cli/names.h"

/* The value of one row; what does not fit is cut, which no row of ours comes near. */
struct line {
    char text[240];
};

static void add(struct line *line, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void add(struct line *line, const char *fmt, ...)
{
    size_t len = strlen(line->text);
    va_list args;
    va_start(args, fmt);
    vsnprintf(line->text + len, sizeof line->text - len, fmt, args);
    va_end(args);
}

/* A figure that may not exist. */
static void add_figure(struct line *line, int digits, double v)
{
    if (isnan(v))
        add(line, "-");
    else
        add(line, "%.*f", digits, v);
}

static void add_percent(struct line *line, const char *what, double share)
{
    add(line, "%s ", what);
    add_figure(line, 1, share * 100);
    add(line, isnan(share) ? "" : "%%");
}

#define BAR_COLUMNS 20

/* "[####==------]": the first share in '#', what is then up to the second in '=', the rest empty. */
static void add_bar(struct line *line, double first, double second)
{
    char bar[BAR_COLUMNS + 1];
    for (int i = 0; i < BAR_COLUMNS; i++) {
        double at = (i + 0.5) / BAR_COLUMNS;
        bar[i] = at < first ? '#' : at < second ? '=' : '-';
    }
    bar[BAR_COLUMNS] = '\0';
    add(line, "[%s] ", bar);
}

static void add_spread(struct line *line, const struct cli_spread *spread)
{
    char p50[CLI_PERCENTILE_BYTES], p90[CLI_PERCENTILE_BYTES], p99[CLI_PERCENTILE_BYTES];
    add(line, "mean ");
    add_figure(line, 2, spread->mean);
    add(line, ", p50 %s, p90 %s, p99 %s", cli_percentile_text(&spread->p50, p50),
        cli_percentile_text(&spread->p90, p90), cli_percentile_text(&spread->p99, p99));
}

static void put(struct cli_table *table, const char *label, const struct line *line)
{
    cli_table_cell(table, "%s", label);
    cli_table_cell(table, "%s", line->text);
}

static void put_jobs(struct cli_table *table, const Latentd__V1__ClusterStatus *s)
{
    struct line line = {""};
    add(&line, "%" PRIu32 " running, %" PRIu32 " queued, %" PRIu64 " finished", s->jobs_running,
        s->jobs_queued, s->jobs_finished);
    if (s->jobs_held > 0)
        add(&line, ", %" PRIu32 " of them kept for continue", s->jobs_held);
    put(table, "jobs", &line);
}

/* Who waits, most important first; priority 0 does not wait, it is held back. */
static void put_waiting(struct cli_table *table, const Latentd__V1__ClusterStatus *s)
{
    struct line line = {""};
    for (uint32_t priority = 31; priority > 0; priority--)
        for (size_t i = 0; i < s->n_waiting; i++)
            if (s->waiting[i]->priority == priority && s->waiting[i]->jobs > 0)
                add(&line, "%s%" PRIu32 " of priority %" PRIu32, line.text[0] ? ", " : "",
                    s->waiting[i]->jobs, priority);
    for (size_t i = 0; i < s->n_waiting; i++)
        if (s->waiting[i]->priority == 0 && s->waiting[i]->jobs > 0)
            add(&line, "%s%" PRIu32 " on hold", line.text[0] ? ", " : "", s->waiting[i]->jobs);
    if (line.text[0] == '\0')
        add(&line, "nobody");
    put(table, "waiting", &line);
}

static void put_load(struct cli_table *table, const Latentd__V1__ClusterStatus *s)
{
    struct line line = {""};
    add(&line, "%.2f (0: ranges get their most steps, 1: their least)", s->load);
    put(table, "load", &line);
    line.text[0] = '\0';
    add(&line, "%.3g s until a new job would start", s->wait_ms / 1000);
    put(table, "wait", &line);
}

static void put_batch(struct cli_table *table, const Latentd__V1__ClusterStatus *s,
                      const struct cli_rates *rates)
{
    struct line line = {""};
    char p50[CLI_PERCENTILE_BYTES], p99[CLI_PERCENTILE_BYTES];
    double share = s->max_batch > 0 ? rates->positions_per_tick / s->max_batch : NAN;
    add_bar(&line, isnan(share) ? 0 : share, 0);
    add_figure(&line, 2, rates->positions_per_tick);
    add(&line, " of %" PRIu32 " positions a tick, p50 %s, p99 %s", s->max_batch,
        cli_percentile_text(&rates->batch.p50, p50), cli_percentile_text(&rates->batch.p99, p99));
    put(table, "batch", &line);
}

static void put_work(struct cli_table *table, const Latentd__V1__ClusterStatus *s,
                     const struct cli_rates *rates)
{
    struct line line = {""};
    add_percent(&line, "decode", rates->decode_share);
    add_percent(&line, ", prefill", rates->prefill_share);
    add_percent(&line, ", replay", rates->replay_share);
    add(&line, "; %" PRIu32 " positions running", s->positions_running);
    put(table, "mix", &line);
    line.text[0] = '\0';
    add_figure(&line, 1, rates->ticks_per_s);
    add(&line, "/s of ");
    add_figure(&line, 1, rates->positions_per_s);
    add(&line, " positions/s, lately %.2f ms each, %" PRIu64 " in all", s->tick_ms_mean, s->ticks);
    put(table, "ticks", &line);
}

/* Of the interval; of the daemon's life when nothing happened in it, because jobs start rarely. */
static void put_spread(struct cli_table *table, const char *label, const struct cli_spread *spread,
                       const Latentd__V1__Histogram *all)
{
    struct line line = {""};
    struct cli_spread of_all = cli_histogram_spread(NULL, all);
    bool is_old = isnan(spread->mean) && !isnan(of_all.mean);
    add_spread(&line, is_old ? &of_all : spread);
    if (is_old)
        add(&line, " (since start)");
    put(table, label, &line);
}

static void put_tokens(struct cli_table *table, const Latentd__V1__ClusterStatus *s,
                       const struct cli_rates *rates)
{
    struct line line = {""};
    add_figure(&line, 1, rates->tokens_per_s);
    add(&line, "/s, mean depth ");
    add_figure(&line, 2, rates->mean_steps);
    add(&line, ", %" PRIu64 " in all", s->tokens_out);
    put(table, "tokens", &line);
}

/* What a token costs besides its steps: exit rules that look at logits need coda and head. */
static void put_checks(struct cli_table *table, const struct cli_rates *rates)
{
    struct line line = {""};
    add_figure(&line, 2, rates->check_rows_per_token);
    add(&line, " rows of logits a token for exit checks, ");
    add_figure(&line, 2, rates->check_positions_per_token);
    add(&line, " of ");
    add_figure(&line, 2, rates->coda_per_token);
    add(&line, " coda passes");
    put(table, "checks", &line);
}

static void put_pages(struct cli_table *table, const Latentd__V1__ClusterStatus *s)
{
    struct line line = {""};
    uint64_t taken = (uint64_t)s->pages_used + s->pages_cached;
    uint64_t left = s->pages_total > taken ? s->pages_total - taken : 0;
    double total = s->pages_total > 0 ? s->pages_total : 1;
    add_bar(&line, s->pages_used / total, (double)taken / total);
    add(&line, "%" PRIu32 " used (%" PRIu32 " shared), %" PRIu32 " cached, %" PRIu64 " free",
        s->pages_used, s->pages_shared, s->pages_cached, left);
    put(table, "kv pages", &line);
    line.text[0] = '\0';
    add(&line, "%" PRIu64 " prompt positions taken over, %" PRIu64 " preemptions",
        s->prefix_positions, s->preemptions);
    put(table, "reuse", &line);
}

static void add_cost(struct line *line, const char *what, double fixed_us, double each_us)
{
    add(line, "%s%s %.3g + %.3g n", line->text[0] ? ", " : "", what, fixed_us / 1000,
        each_us / 1000);
}

static void put_costs(struct cli_table *table, const Latentd__V1__Costs *costs)
{
    struct line line = {""};
    if (!costs)
        return;
    add_cost(&line, "tick", costs->tick_fixed_us, costs->tick_each_us);
    add_cost(&line, "prelude", costs->prelude_fixed_us, costs->prelude_each_us);
    add_cost(&line, "coda", costs->coda_fixed_us, costs->coda_each_us);
    add_cost(&line, "head", costs->head_fixed_us, costs->head_each_us);
    put(table, "costs ms", &line);
}

void cli_status_rows(struct cli_table *table, const Latentd__V1__ClusterStatus *status,
                     const struct cli_rates *rates)
{
    put_jobs(table, status);
    put_waiting(table, status);
    put_load(table, status);
    put_batch(table, status, rates);
    put_work(table, status, rates);
    put_spread(table, "tick ms", &rates->tick_ms, status->tick_ms);
    put_spread(table, "queue ms", &rates->queue_ms, status->queue_ms);
    put_tokens(table, status, rates);
    put_checks(table, rates);
    put_pages(table, status);
    put_costs(table, status->costs);
}

/* ---- depths ---- */

/* Ranges of depths that double: 1, 2, 3-4, 5-8, ... 2049-4096; deeper is none of ours. */
#define N_RANGES 13

static size_t range_of(size_t steps)
{
    size_t range = 0;
    while (range + 1 < N_RANGES && steps > (size_t)1 << range)
        range++;
    return range;
}

static void count_ranges(const Latentd__V1__DepthCounts *depths, uint64_t counts[N_RANGES])
{
    for (size_t i = 0; i < N_RANGES; i++)
        counts[i] = 0;
    for (size_t i = 0; i < depths->n_tokens; i++)
        counts[range_of(i + 1)] += depths->tokens[i];
}

static void add_range_head(struct cli_table *table, size_t range)
{
    unsigned last = 1u << range;
    if (range < 2)
        cli_table_cell(table, "%u", last);
    else
        cli_table_cell(table, "%u-%u", last / 2 + 1, last);
}

/* The first and the last range that hold a token of any reason; false when there is no token. */
static bool find_ends(const Latentd__V1__ClusterStatus *status, size_t *first, size_t *last)
{
    uint64_t counts[N_RANGES];
    *first = N_RANGES;
    *last = 0;
    for (size_t i = 0; i < status->n_depths; i++) {
        count_ranges(status->depths[i], counts);
        for (size_t r = 0; r < N_RANGES; r++) {
            if (counts[r] == 0)
                continue;
            *first = r < *first ? r : *first;
            *last = r > *last ? r : *last;
        }
    }
    return *first < N_RANGES;
}

static void add_depths(struct cli_table *table, const Latentd__V1__DepthCounts *depths,
                       size_t first, size_t last)
{
    uint64_t counts[N_RANGES];
    struct line mean = {""};
    count_ranges(depths, counts);
    add_figure(&mean, 2, cli_depth_mean(depths));
    cli_table_cell(table, "%s", cli_exit_name(depths->exit));
    cli_table_cell(table, "%" PRIu64, cli_depth_tokens(depths));
    cli_table_cell(table, "%s", mean.text);
    for (size_t r = first; r <= last; r++)
        cli_table_cell(table, "%" PRIu64, counts[r]);
}

void cli_depth_table(const Latentd__V1__ClusterStatus *status, struct ltd_bytes *out)
{
    char aligns[3 + N_RANGES + 1] = "lrr";
    struct cli_table table;
    size_t first, last;
    if (!find_ends(status, &first, &last))
        return;
    for (size_t r = first; r <= last; r++)
        strcat(aligns, "r");
    cli_table_init(&table, aligns);
    cli_table_cell(&table, "EXIT");
    cli_table_cell(&table, "TOKENS");
    cli_table_cell(&table, "MEAN");
    for (size_t r = first; r <= last; r++)
        add_range_head(&table, r);
    for (size_t i = 0; i < status->n_depths; i++)
        add_depths(&table, status->depths[i], first, last);
    cli_table_put(&table, out);
    cli_table_fini(&table);
}

const char *cli_uptime_text(uint64_t ms, char buf[CLI_UPTIME_BYTES])
{
    uint64_t s = ms / 1000, days = s / 86400;
    unsigned hours = (unsigned)(s / 3600 % 24), minutes = (unsigned)(s / 60 % 60);
    int n = days > 0 ? snprintf(buf, CLI_UPTIME_BYTES, "%" PRIu64 " d ", days) : 0;
    snprintf(buf + n, CLI_UPTIME_BYTES - (size_t)n, "%02u:%02u:%02u", hours, minutes,
             (unsigned)(s % 60));
    return buf;
}
