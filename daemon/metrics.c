/* SPDX-License-Identifier: Apache-2.0 */
/* daemon/metrics.c - see daemon/metrics.h. */
#include "daemon/metrics.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "cluster/build_id.h"
#include "daemon/auth.h"
#include "daemon/prometheus.h"
#include "rpc/status.h"

#define LABEL_BYTES 256 /* of an escaped value */

/* ----------------------------------------------------------------------------------- build */

static void put_build(struct prom *w, const struct served *served)
{
    char build[200], name[200], build_label[120], tier[120];
    clus_build_id(build, sizeof build);
    prom_escape(build, build_label, sizeof build_label);
    prom_escape(served->name, name, sizeof name);
    prom_escape(served->tier_id, tier, sizeof tier);
    prom_family(w, "latentd_build_info", PROM_GAUGE, "What runs here; always 1.");
    prom_u64(w, 1, "version=\"%s\",build=\"%s\"", LATENTD_VERSION, build_label);
    prom_family(w, "latentd_model_info", PROM_GAUGE, "What is served; always 1.");
    prom_u64(w, 1,
             "model=\"%s\",hash=\"%s\",tier=\"%s\",format=\"%s\",early_format=\"%s\","
             "kv_format=\"%s\"",
             name, served->hash, tier, served->format,
             *served->early_format ? served->early_format : "none", served->kv_format);
}

/* --------------------------------------------------------------------------------- process */

static size_t count_open_files(void)
{
    DIR *dir = opendir("/proc/self/fd");
    size_t n = 0;
    if (!dir)
        return 0;
    for (const struct dirent *entry; (entry = readdir(dir));)
        n += entry->d_name[0] != '.';
    closedir(dir);
    return n - 1; /* without the one that reads the directory */
}

static double resident_bytes(void)
{
    unsigned long size = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (file && fscanf(file, "%lu %lu", &size, &resident) != 2)
        resident = 0;
    if (file)
        fclose(file);
    return (double)resident * (double)sysconf(_SC_PAGESIZE);
}

static double seconds(struct timeval time)
{
    return (double)time.tv_sec + (double)time.tv_usec * 1e-6;
}

static void put_process(struct prom *w, const struct served *served)
{
    struct rusage usage = {0};
    struct rlimit files = {0};
    getrusage(RUSAGE_SELF, &usage);
    getrlimit(RLIMIT_NOFILE, &files);
    prom_gauge(w, "latentd_process_start_time_seconds", "When this process began, since 1970.",
               (double)served->start_us * 1e-6);
    prom_family(w, "latentd_process_cpu_seconds_total", PROM_COUNTER,
                "Processor time of rank 0's process, all threads.");
    prom_f64(w, seconds(usage.ru_utime) + seconds(usage.ru_stime), NULL);
    prom_gauge(w, "latentd_process_resident_memory_bytes", "Memory of rank 0's process.",
               resident_bytes());
    prom_gauge(w, "latentd_process_open_fds", "Open files and sockets.",
               (double)count_open_files());
    prom_gauge(w, "latentd_process_max_fds", "How many may be open.", (double)files.rlim_cur);
}

/* ------------------------------------------------------------------------------------ jobs */

static void put_jobs(struct prom *w, const struct service *service,
                     const struct engine_stats *stats)
{
    static const enum job_state ends[] = {JOB_SUCCEEDED, JOB_CANCELLED, JOB_FAILED};
    uint32_t queued = work_queue_n_unstarted(service->queue);
    prom_gauge(w, "latentd_serving", "1 while new jobs are taken, as Health says.",
               service->is_serving);
    prom_family(w, "latentd_jobs", PROM_GAUGE, "Jobs and scores that are not finished, by state.");
    prom_u64(w, queued, "state=\"queued\"");
    prom_u64(w, work_queue_n_unfinished(service->queue) - queued, "state=\"running\"");
    prom_family(w, "latentd_jobs_ended_total", PROM_COUNTER, "Jobs that ended, by how.");
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        prom_u64(w, job_table_n_ended(service->jobs, ends[i]), "state=\"%s\"",
                 job_state_name(ends[i]));
    prom_counter(w, "latentd_scores_total", "Score calls that were answered.", service->n_scored);
    prom_gauge(w, "latentd_jobs_held", "Finished jobs whose places are kept to be continued.",
               stats->jobs_held);
    prom_family(w, "latentd_queue_jobs", PROM_GAUGE,
                "Jobs that wait, by priority; those of 0 wait for somebody to let them go.");
    for (int p = 0; p < SCHED_PRIORITIES; p++)
        prom_u64(w, stats->waiting[p], "priority=\"%d\"", p);
    prom_gauge(w, "latentd_load", "How far ranges of depth are shortened for who waits, 0 to 1.",
               stats->load);
    prom_gauge(w, "latentd_predicted_wait_seconds",
               "How long a job that comes now is thought to wait before it starts.",
               stats->wait_ms * 1e-3);
    prom_gauge(w, "latentd_predicted_turn_seconds",
               "What one step of everything that runs is thought to take.", stats->turn_ms * 1e-3);
}

/* ----------------------------------------------------------------------------------- times */

static void put_histogram(struct prom *w, const char *name, const char *help,
                          const struct engine_histogram *histogram, double scale)
{
    struct prom_buckets buckets = {.bounds = histogram->bounds,
                                   .counts = histogram->counts,
                                   .n = ENGINE_BUCKETS,
                                   .sum = histogram->sum,
                                   .scale = scale};
    prom_family(w, name, PROM_HISTOGRAM, help);
    prom_histogram(w, &buckets);
}

static void put_times(struct prom *w, const struct engine_stats *stats)
{
    const double ms = 1e-3;
    put_histogram(w, "latentd_queue_seconds", "From submission to start.", &stats->queue_ms, ms);
    put_histogram(w, "latentd_first_token_seconds", "From submission to the first token.",
                  &stats->first_token_ms, ms);
    put_histogram(w, "latentd_next_token_seconds",
                  "From one token of a job to its next, pauses included.", &stats->next_token_ms,
                  ms);
    put_histogram(w, "latentd_job_seconds", "From submission to the end.", &stats->job_ms, ms);
    put_histogram(w, "latentd_tick_seconds",
                  "One step of the recurrent block over the ranks, for a batch.", &stats->tick_ms,
                  ms);
    put_histogram(w, "latentd_batch_positions", "Positions in a tick.", &stats->batch, 1);
}

/* ------------------------------------------------------------------------------------ work */

#define STEP_BUCKETS 14 /* 1, 2, 4, … 4096 steps, and a last one that stays empty */

/* The counts by depth are exact; thousands of series would not be worth it. */
static void put_exit_depths(struct prom *w, const char *labels, const uint64_t *counts,
                            int32_t n_steps)
{
    double bounds[STEP_BUCKETS - 1];
    uint64_t buckets[STEP_BUCKETS] = {0};
    struct prom_buckets b = {
        .bounds = bounds, .counts = buckets, .n = STEP_BUCKETS, .scale = 1, .labels = labels};
    for (int i = 0; i < STEP_BUCKETS - 1; i++)
        bounds[i] = (double)(1 << i);
    for (int32_t s = 0; s < n_steps; s++) {
        int i = 0;
        while (i < STEP_BUCKETS - 1 && s + 1 > 1 << i)
            i++;
        buckets[i] += counts[s];
        b.sum += (double)counts[s] * (s + 1);
    }
    prom_histogram(w, &b);
}

static void put_depths(struct prom *w, const struct engine_depths *depths)
{
    static const char *const labels[ENGINE_N_EXITS] = {
        [ENGINE_EXIT_FIXED] = "exit=\"fixed\"",
        [ENGINE_EXIT_CONVERGED] = "exit=\"converged\"",
        [ENGINE_EXIT_MAX_STEPS] = "exit=\"max_steps\"",
        [ENGINE_EXIT_BUDGET] = "exit=\"budget\"",
    };
    prom_family(w, "latentd_token_steps", PROM_HISTOGRAM,
                "Steps that a token was thought about, by what ended the thought.");
    for (int e = 0; e < ENGINE_N_EXITS; e++)
        put_exit_depths(w, labels[e], depths->counts[e], depths->n_steps);
}

static void put_work(struct prom *w, const struct engine_stats *stats)
{
    prom_counter(w, "latentd_tokens_total", "Tokens written.", stats->tokens);
    prom_counter(w, "latentd_prompt_tokens_total", "Tokens of prompts of the jobs that started.",
                 stats->prompt_tokens);
    prom_counter(w, "latentd_prefix_tokens_total",
                 "Of those, taken over from pages of other jobs instead of being computed.",
                 stats->prefix_positions);
    prom_counter(w, "latentd_ticks_total", "Ticks.", stats->ticks);
    prom_family(w, "latentd_steps_total", PROM_COUNTER,
                "Steps of positions: of answers, of prompts, and of what was computed again.");
    prom_u64(w, stats->decode_positions, "kind=\"decode\"");
    prom_u64(w, stats->prefill_positions, "kind=\"prefill\"");
    prom_u64(w, stats->replay_positions, "kind=\"replay\"");
    prom_counter(w, "latentd_early_steps_total",
                 "Of those, the ones that were made with the early copy of the recurrent block.",
                 stats->early_positions);
    prom_family(w, "latentd_coda_positions_total", PROM_COUNTER,
                "Positions through the coda, for tokens and for exit rules that look at logits.");
    prom_u64(w, stats->coda_positions - stats->check_positions, "kind=\"token\"");
    prom_u64(w, stats->check_positions, "kind=\"check\"");
    prom_family(w, "latentd_head_rows_total", PROM_COUNTER, "The same, through the output head.");
    prom_u64(w, stats->head_rows - stats->check_rows, "kind=\"token\"");
    prom_u64(w, stats->check_rows, "kind=\"check\"");
    prom_counter(w, "latentd_preemptions_total",
                 "Jobs that gave their places to a higher priority.", stats->preemptions);
}

static void put_costs(struct prom *w, const struct engine_stats *stats)
{
    static const char *const parts[SCHED_N_COSTS] = {[SCHED_TICK] = "tick",
                                                     [SCHED_PRELUDE] = "prelude",
                                                     [SCHED_CODA] = "coda",
                                                     [SCHED_HEAD] = "head"};
    prom_family(w, "latentd_cost_seconds", PROM_GAUGE,
                "What a part is measured to cost: once, and for each position.");
    for (int c = 0; c < SCHED_N_COSTS; c++) {
        prom_f64(w, stats->costs[c].fixed_ns * 1e-9, "part=\"%s\",kind=\"fixed\"", parts[c]);
        prom_f64(w, stats->costs[c].each_ns * 1e-9, "part=\"%s\",kind=\"each\"", parts[c]);
    }
}

static void put_places(struct prom *w, const struct engine_stats *stats,
                       const struct served *served)
{
    prom_gauge(w, "latentd_kv_pages_limit", "Pages of keys and values that there are.",
               stats->pages_total);
    prom_gauge(w, "latentd_kv_pages_used", "Those of jobs that run.", stats->pages_used);
    prom_gauge(w, "latentd_kv_pages_shared", "Of the used, those of more than one job.",
               stats->pages_shared);
    prom_gauge(w, "latentd_kv_pages_cached", "Those of finished jobs, which the next may need.",
               stats->pages_cached);
    prom_gauge(w, "latentd_kv_position_bytes", "Memory of one position, all ranks together.",
               (double)served->kv_bytes_per_position);
    prom_gauge(w, "latentd_positions_running", "Positions that are being thought about.",
               stats->positions_running);
    prom_gauge(w, "latentd_batch_positions_limit", "Positions that a tick can hold.",
               served->max_batch);
}

/* ----------------------------------------------------------------------------------- store */

static void put_store(struct prom *w, struct store *store)
{
    struct store_health health = {.reason = ""};
    store_health(store, &health);
    prom_gauge(w, "latentd_store_durable", "1 when jobs survive the process.", health.is_durable);
    prom_gauge(w, "latentd_store_stalled",
               "1 while events cannot be committed and new jobs are refused.", health.is_stalled);
    prom_gauge(w, "latentd_store_jobs", "Jobs in the log, finished ones included.",
               (double)health.n_jobs);
    prom_gauge(w, "latentd_store_bytes", "Size of the log, on disk or in memory.",
               (double)health.bytes);
    prom_gauge(w, "latentd_store_events_waiting", "Events that are not committed yet.",
               (double)health.n_waiting);
    prom_counter(w, "latentd_store_events_total", "Events that were committed.", health.n_events);
    prom_counter(w, "latentd_store_commits_total", "Commits, each of all events that waited.",
                 health.n_commits);
    prom_gauge(w, "latentd_store_commit_seconds_max", "The longest of the last 256 commits.",
               health.commit_ms_max * 1e-3);
}

/* ------------------------------------------------------------------------------------- rpc */

static void put_connections(struct prom *w, const struct rpc_server *server)
{
    struct rpc_server_stats stats;
    rpc_server_stats(server, &stats);
    prom_gauge(w, "latentd_rpc_connections", "Connections that are open.", stats.n_connections);
    prom_counter(w, "latentd_rpc_connections_total", "Connections that were accepted.",
                 stats.n_connections_total);
    prom_counter(w, "latentd_rpc_connections_refused_total",
                 "Connections that were closed at once: there were too many.",
                 stats.n_connections_refused);
    prom_counter(w, "latentd_rpc_abuse_closed_total",
                 "Connections that were closed for what they sent.", stats.n_abuse_closed);
    prom_gauge(w, "latentd_rpc_calls", "Calls that are being answered.", stats.n_calls);
    prom_counter(w, "latentd_rpc_calls_started_total", "Calls whose handler was run.",
                 stats.n_calls_total);
    prom_gauge(w, "latentd_rpc_buffered_bytes", "Requests and responses in memory.",
               (double)stats.buffered_bytes);
}

/* grpc_service and grpc_method of a row; of none, what no client can choose. */
static void name_method(const struct service *service, size_t idx, char out[LABEL_BYTES])
{
    if (idx == service->n_methods) {
        snprintf(out, LABEL_BYTES, "service=\"unknown\",method=\"unknown\"");
        return;
    }
    const char *path = service->methods[idx].path + 1;
    int n = (int)strcspn(path, "/");
    snprintf(out, LABEL_BYTES, "service=\"%.*s\",method=\"%s\"", n, path, path + n + 1);
}

static uint64_t n_handled(const struct rpc_method_stats *stats)
{
    uint64_t n = 0;
    for (int code = 0; code < RPC_N_STATUSES; code++)
        n += stats->n_by_status[code];
    return n;
}

static void put_handled(struct prom *w, const char *labels, const struct rpc_method_stats *stats)
{
    for (int code = 0; code < RPC_N_STATUSES; code++)
        if (code == RPC_OK || stats->n_by_status[code])
            prom_u64(w, stats->n_by_status[code], "%s,code=\"%s\"", labels, rpc_status_name(code));
}

static void put_calls(struct prom *w, const struct metrics *metrics)
{
    const struct service *service = metrics->service;
    char labels[LABEL_BYTES];
    prom_family(w, "latentd_rpc_handled_total", PROM_COUNTER,
                "Calls that are over, by method and status.");
    for (size_t i = 0; i <= service->n_methods; i++) {
        name_method(service, i, labels);
        put_handled(w, labels, rpc_server_method_stats(metrics->server, i));
    }
    prom_family(w, "latentd_rpc_handling_seconds", PROM_SUMMARY,
                "From the first header to the end of a call; of a stream, all of its life.");
    for (size_t i = 0; i <= service->n_methods; i++) {
        const struct rpc_method_stats *stats = rpc_server_method_stats(metrics->server, i);
        name_method(service, i, labels);
        prom_summary(w, labels, (double)stats->total_ns * 1e-9, n_handled(stats));
    }
}

static void put_access(struct prom *w, const struct auth *auth)
{
    struct auth_stats stats = {0};
    if (auth)
        auth_stats(auth, &stats);
    prom_family(w, "latentd_access_refused_total", PROM_COUNTER,
                "Calls and pages that were refused for who asked, or for what he may.");
    prom_u64(w, stats.n_unauthenticated, "reason=\"unauthenticated\"");
    prom_u64(w, stats.n_denied, "reason=\"denied\"");
}

/* ----------------------------------------------------------------------------------- ranks */

static void put_ranks(struct prom *w, const struct served *served)
{
    char host[LABEL_BYTES];
    prom_gauge(w, "latentd_ranks", "Ranks that share the recurrent block.", served->n_ranks);
    prom_family(w, "latentd_rank_weight_bytes", PROM_GAUGE, "Weights that a rank holds.");
    for (int32_t r = 0; r < served->n_ranks; r++) {
        prom_escape(served->ranks[r].host, host, sizeof host);
        prom_u64(w, served->ranks[r].weight_bytes, "rank=\"%d\",host=\"%s\"", served->ranks[r].rank,
                 host);
    }
    prom_family(w, "latentd_rank_threads", PROM_GAUGE, "Threads that compute on a rank.");
    for (int32_t r = 0; r < served->n_ranks; r++) {
        prom_escape(served->ranks[r].host, host, sizeof host);
        prom_u64(w, (uint64_t)served->ranks[r].n_threads, "rank=\"%d\",host=\"%s\"",
                 served->ranks[r].rank, host);
    }
}

void metrics_write(const struct metrics *metrics, struct ltd_bytes *out)
{
    const struct service *service = metrics->service;
    struct prom writer = {.out = out}, *w = &writer;
    struct engine_stats stats;
    struct engine_depths *depths = malloc(sizeof *depths);
    if (!depths) {
        out->failed = true;
        return;
    }
    engine_get_stats(service->engine, &stats);
    engine_get_depths(service->engine, depths);
    put_build(w, service->served);
    put_process(w, service->served);
    put_jobs(w, service, &stats);
    put_times(w, &stats);
    put_work(w, &stats);
    put_depths(w, depths);
    put_costs(w, &stats);
    put_places(w, &stats, service->served);
    put_store(w, service->store);
    put_connections(w, metrics->server);
    put_calls(w, metrics);
    put_access(w, service->auth);
    put_ranks(w, service->served);
    free(depths);
}
