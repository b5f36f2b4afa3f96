/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli/cmd_plan.c - what a model would cost on machines like this one, before anything is loaded.
 *
 * Asks no daemon. What is not given is measured (bandwidth) or looked up (caches) here.
 */
#include "cli/verb.h"

#include <inttypes.h>
#include <math.h>
#include <sched.h>
#include <string.h>
#include <unistd.h>

#include "cli/bandwidth.h"
#include "cli/caches.h"
#include "cli/plan_config.h"
#include "cli/plan_report.h"

struct plan_args {
    struct cli_common common;
    struct cli_number bandwidth_gb;
    struct cli_number cache_mib;
    struct cli_ids ranks;
    struct cli_u32 threads;
    const char *kv_format;
    struct cli_u32 kv_slots;
    const char *format, *early_format;
    struct cli_u32 early_steps;
};

static const struct cli_option rows[] = {
    {"bandwidth", CLI_NUMBER, offsetof(struct plan_args, bandwidth_gb), "GB/S",
     "how many GB (10^9 bytes) of memory a host reads per second; measured here without it"},
    {"cache", CLI_NUMBER, offsetof(struct plan_args, cache_mib), "MIB",
     "the cache of a host; that of this one without it"},
    {"ranks", CLI_IDS, offsetof(struct plan_args, ranks), "N,N,...",
     "numbers of ranks to look at; 1,2,4,8 by default"},
    {"threads", CLI_U32, offsetof(struct plan_args, threads), "N",
     "threads that measure; by default as many as this process may use processors"},
    {"kv-format", CLI_TEXT, offsetof(struct plan_args, kv_format), "f32|bf16",
     "only this format of keys and values; both by default"},
    {"kv-slots", CLI_U32, offsetof(struct plan_args, kv_slots), "N",
     "a row for the daemon's option kv_slots too"},
    {"early-format", CLI_TEXT, offsetof(struct plan_args, early_format), "FORMAT",
     "a table for the daemon's option early_format too: the recurrent block in two copies"},
    {"early-steps", CLI_U32, offsetof(struct plan_args, early_steps), "N",
     "with --early-format: the first steps of a token that are made with that copy"},
    {"format", CLI_TEXT, offsetof(struct plan_args, format), "FORMAT",
     "with --early-format: the daemon's option format; bf16 by default"},
};

static const uint32_t default_ranks[] = {1, 2, 4, 8};

/* As many entries per layer as the daemon's option allows. */
#define MAX_KV_SLOTS 4096

/* Takes them into *out; *is_given says whether there is a ladder to look at. */
static int take_ladder(const struct plan_args *args, struct cli_ladder *out, bool *is_given,
                       struct ltd_err *err)
{
    const char *format = args->format ? args->format : "bf16";
    *is_given = args->early_format != NULL;
    if (!*is_given && (args->early_steps.set || args->format))
        return ltd_fail(err, LTD_E_INVALID, "--%s goes with --early-format",
                        args->early_steps.set ? "early-steps" : "format");
    if (!*is_given)
        return 0;
    if (!args->early_steps.set)
        return ltd_fail(err, LTD_E_INVALID, "--early-format goes with --early-steps");
    if (cli_weight_format_parse(args->early_format, &out->early_format) != 0)
        return ltd_fail(err, LTD_E_INVALID,
                        "--early-format: \"%s\", expected f32, bf16, int8 or int4",
                        args->early_format);
    if (cli_weight_format_parse(format, &out->format) != 0)
        return ltd_fail(err, LTD_E_INVALID, "--format: \"%s\", expected f32, bf16, int8 or int4",
                        format);
    if (out->early_format == out->format)
        return ltd_fail(err, LTD_E_INVALID, "--early-format: %s, as --format, expected another one",
                        args->early_format);
    out->early_steps = args->early_steps.value;
    return 0;
}

static int check_ranks(const struct plan_args *args, struct ltd_err *err)
{
    if (args->ranks.set && args->ranks.n == 0)
        return ltd_fail(err, LTD_E_INVALID, "--ranks: empty, expected N,N,...");
    for (size_t i = 0; i < args->ranks.n; i++)
        if (args->ranks.items[i] < 1 || args->ranks.items[i] > CLI_PLAN_MAX_RANKS)
            return ltd_fail(err, LTD_E_INVALID, "--ranks: %" PRIu32 ", expected 1 to %d",
                            args->ranks.items[i], CLI_PLAN_MAX_RANKS);
    return 0;
}

static int check(const struct plan_args *args, struct ltd_err *err)
{
    double gb = args->bandwidth_gb.value, mib = args->cache_mib.value;
    if (args->bandwidth_gb.set && !(gb > 0 && gb <= 1e6))
        return ltd_fail(err, LTD_E_INVALID, "--bandwidth: %g, expected above 0, at most 1e6 GB/s",
                        gb);
    if (args->cache_mib.set && !(mib > 0 && mib <= 1e9))
        return ltd_fail(err, LTD_E_INVALID, "--cache: %g, expected above 0, at most 1e9 MiB", mib);
    if (args->threads.set &&
        (args->threads.value < 1 || args->threads.value > CLI_BANDWIDTH_MAX_THREADS))
        return ltd_fail(err, LTD_E_INVALID, "--threads: %" PRIu32 ", expected 1 to %d",
                        args->threads.value, CLI_BANDWIDTH_MAX_THREADS);
    if (args->threads.set && args->bandwidth_gb.set)
        return ltd_fail(err, LTD_E_INVALID,
                        "--threads goes with measuring, and --bandwidth is given");
    if (args->kv_slots.set && (args->kv_slots.value < 1 || args->kv_slots.value > MAX_KV_SLOTS))
        return ltd_fail(err, LTD_E_INVALID, "--kv-slots: %" PRIu32 ", expected 1 to %d",
                        args->kv_slots.value, MAX_KV_SLOTS);
    if (args->kv_format && strcmp(args->kv_format, "f32") != 0 &&
        strcmp(args->kv_format, "bf16") != 0)
        return ltd_fail(err, LTD_E_INVALID, "--kv-format: \"%s\", expected f32 or bf16",
                        args->kv_format);
    return check_ranks(args, err);
}

static uint32_t n_processors(void)
{
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    return n > CLI_BANDWIDTH_MAX_THREADS ? CLI_BANDWIDTH_MAX_THREADS : (uint32_t)n;
}

static uint64_t memory_bytes(void)
{
    long pages = sysconf(_SC_PHYS_PAGES), bytes = sysconf(_SC_PAGESIZE);
    return pages > 0 && bytes > 0 ? (uint64_t)pages * (uint64_t)bytes : 0;
}

/* Without a known cache the buffer is as large as that of a machine with 64 MiB. */
#define UNKNOWN_CACHE_BYTES ((uint64_t)64 << 20)

static int find_bandwidth(const struct plan_args *args, const struct cli_caches *caches,
                          struct cli_bandwidth *measured, struct cli_plan_report *report,
                          struct ltd_err *err)
{
    if (args->bandwidth_gb.set) {
        report->bandwidth = args->bandwidth_gb.value * 1e9;
        return 0;
    }
    uint64_t cache_bytes = caches->bytes > 0 ? caches->bytes : UNKNOWN_CACHE_BYTES;
    uint64_t buffer_bytes = cli_bandwidth_buffer(cache_bytes, memory_bytes());
    if (buffer_bytes < 2 * cache_bytes)
        return ltd_fail(err, LTD_E_EXHAUSTED,
                        "a quarter of the memory is no buffer far larger than the cache: expected "
                        "--bandwidth");
    uint32_t n_threads = args->threads.set ? args->threads.value : n_processors();
    if (cli_bandwidth_measure(n_threads, buffer_bytes, measured, err) != 0)
        return ltd_err_context(err, "measuring the bandwidth");
    report->measured = measured;
    report->bandwidth = measured->all;
    return 0;
}

static int find_cache(const struct plan_args *args, struct cli_caches *caches,
                      struct cli_plan_report *report, struct ltd_err *err)
{
    struct ltd_err why = {.code = LTD_OK};
    int rc = cli_caches_read(CLI_CACHES_FOLDER, caches, &why);
    if (args->cache_mib.set) {
        report->cache_bytes = (uint64_t)(args->cache_mib.value * 1048576);
        return 0;
    }
    if (rc != 0)
        return ltd_fail(err, LTD_E_NOT_FOUND, "%s; expected --cache", why.msg);
    report->cache_bytes = caches->bytes;
    report->found = caches;
    return 0;
}

static int run(const struct cli_words *words, const void *verb_args, struct ltd_err *err)
{
    const struct plan_args *args = verb_args;
    struct cli_caches caches = {.level = 0};
    struct cli_bandwidth measured;
    struct cli_ladder ladder;
    bool has_ladder;
    struct cli_plan_report report = {
        .folder = words->items[0],
        .ranks = args->ranks.set ? args->ranks.items : default_ranks,
        .n_ranks = args->ranks.set ? args->ranks.n : sizeof default_ranks / sizeof default_ranks[0],
        .with_f32 = !args->kv_format || strcmp(args->kv_format, "f32") == 0,
        .with_bf16 = !args->kv_format || strcmp(args->kv_format, "bf16") == 0,
        .kv_slots = args->kv_slots.value,
    };
    if (check(args, err) != 0 || take_ladder(args, &ladder, &has_ladder, err) != 0)
        return -1;
    report.ladder = has_ladder ? &ladder : NULL;
    if (cli_shape_load(report.folder, &report.shape, err) != 0 ||
        find_cache(args, &caches, &report, err) != 0 ||
        find_bandwidth(args, &caches, &measured, &report, err) != 0)
        return -1;
    return args->common.json ? cli_plan_print_json(&report, err)
                             : cli_plan_print_text(&report, err);
}

const struct cli_verb cli_plan = {
    .name = "plan",
    .synopsis = "[OPTION]... MODEL_DIR",
    .summary = "what a model would cost in bytes and time, before it is loaded",
    .details =
        "Reads config.json of a model directory and asks no daemon. Prints the parameters by part; "
        "the bytes of weights that a recurrent step reads, and those that prelude, coda and head "
        "read once per token, by format; the least time of a token by depth and number of ranks; "
        "the largest shard by number of ranks, and from how many ranks on it fits the cache; bytes "
        "of keys and values per token, and pages per GiB, by policy. With --early-format also what "
        "both copies of the recurrent block take, and how long a token does with them.\n\n"
        "Times are bytes over bandwidth: a bound, which real steps stay above. Every rank has a "
        "host "
        "of its own. int8 has one f32 scale per row, int4 one bf16 scale per 32 weights. Formats "
        "that this version cannot serve are marked.\n\n"
        "Without --bandwidth it is measured here: a buffer of eight times the cache, at least "
        "256 MiB, is read seven times by one thread and by all, taking turns; the median of all "
        "threads counts. It takes a second or two, and the machine should be idle.\n\n"
        "With --json one object: model, parameters, step_entries, fixed_entries, "
        "bandwidth_bytes_per_s, measured, cache_bytes, depths, formats, ladder, kv.",
    .groups = {{rows, sizeof rows / sizeof rows[0], 0}, CLI_COMMON_GROUP},
    .args_bytes = sizeof(struct plan_args),
    .min_words = 1,
    .max_words = 1,
    .run = run,
};
