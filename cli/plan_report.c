/* SPDX-License-Identifier: Apache-2.0 */
/* cli/plan_report.c - see cli/plan_report.h. */
#include "cli/plan_report.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/json_out.h"
#include "cli/out.h"
#include "cli/table.h"

static const uint64_t depths[] = {1, 4, 8, 16, 32, 64};
#define N_DEPTHS (sizeof depths / sizeof depths[0])

#define GIB ((uint64_t)1 << 30)

struct part {
    const char *name, *key;
    uint64_t n;
};

#define N_PARTS 8

static void list_parts(const struct cli_shape *shape, struct part out[N_PARTS])
{
    struct cli_parameters p = cli_plan_parameters(shape);
    const struct part parts[N_PARTS] = {
        {"embedding", "embedding", p.embedding},
        {"prelude", "prelude", p.prelude},
        {"adapter", "adapter", p.adapter},
        {"recurrent block", "recurrent_block", p.core},
        {"coda", "coda", p.coda},
        {"last norm", "norm", p.norm},
        {shape->is_tied ? "head (is the embedding)" : "head", "head", p.head},
        {"total", "total", p.total},
    };
    memcpy(out, parts, sizeof parts);
}

const char *cli_seconds_text(double s, char buf[CLI_SECONDS_BYTES])
{
    if (s < 1e-3)
        snprintf(buf, CLI_SECONDS_BYTES, "%.3g us", s * 1e6);
    else if (s < 1)
        snprintf(buf, CLI_SECONDS_BYTES, "%.1f ms", s * 1e3);
    else
        snprintf(buf, CLI_SECONDS_BYTES, "%.3f s", s);
    return buf;
}

const char *cli_size_text(uint64_t bytes, char buf[CLI_SIZE_BYTES])
{
    double b = (double)bytes;
    if (bytes >= 1000000000)
        snprintf(buf, CLI_SIZE_BYTES, "%.3f GB", b / 1e9);
    else if (bytes >= 1000000)
        snprintf(buf, CLI_SIZE_BYTES, "%.3f MB", b / 1e6);
    else
        snprintf(buf, CLI_SIZE_BYTES, "%.3f kB", b / 1e3);
    return buf;
}

/* ---- text ---- */

static int print_and_drop(struct cli_table *table, struct ltd_err *err)
{
    int rc = cli_table_print(table, err);
    cli_table_fini(table);
    return rc;
}

static int print_parameters(const struct cli_plan_report *r, struct ltd_err *err)
{
    struct part parts[N_PARTS];
    struct cli_table t;
    list_parts(&r->shape, parts);
    cli_table_init(&t, "lr");
    cli_table_cell(&t, "PART");
    cli_table_cell(&t, "PARAMETERS");
    for (size_t i = 0; i < N_PARTS; i++) {
        cli_table_cell(&t, "%s", parts[i].name);
        cli_table_cell(&t, "%" PRIu64, parts[i].n);
    }
    return print_and_drop(&t, err);
}

static void print_machine(const struct cli_plan_report *r)
{
    const struct cli_bandwidth *m = r->measured;
    cli_out_printf("\nRead bandwidth of a host: %.2f GB/s, ", r->bandwidth / 1e9);
    if (m)
        cli_out_printf("measured here: median of %d reads of %.0f MiB by %" PRIu32
                       " threads,\n%.2f to %.2f GB/s; one thread alone %.2f GB/s.\n",
                       CLI_BANDWIDTH_PAIRS, (double)m->buffer_bytes / 1048576, m->n_threads,
                       m->least / 1e9, m->most / 1e9, m->one / 1e9);
    else
        cli_out_printf("as given.\n");
    cli_out_printf("Cache of a host: %.1f MiB, ", (double)r->cache_bytes / 1048576);
    if (r->found)
        cli_out_printf("as this one has in level %" PRIu32 ", %" PRIu32 " of them.\n",
                       r->found->level, r->found->n_instances);
    else
        cli_out_printf("as given.\n");
}

static int print_formats(const struct cli_plan_report *r, struct ltd_err *err)
{
    static const char *const heads[] = {"FORMAT", "A STEP READS", "PRELUDE, CODA, HEAD", "SERVED"};
    char text[CLI_SIZE_BYTES];
    struct cli_table t;
    cli_table_init(&t, "lrrl");
    for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++)
        cli_table_cell(&t, "%s", heads[i]);
    for (enum cli_weight_format f = 0; f < CLI_N_WEIGHT_FORMATS; f++) {
        cli_table_cell(&t, "%s", cli_weight_format_name(f));
        cli_table_cell(&t, "%s", cli_size_text(cli_plan_shard_bytes(&r->shape, f, 1), text));
        cli_table_cell(&t, "%s", cli_size_text(cli_plan_fixed_bytes(&r->shape, f), text));
        cli_table_cell(&t, "%s", cli_weight_format_is_served(f) ? "yes" : "not by this version");
    }
    cli_out_printf("\nBytes of weights per token: recurrent steps, and once beside them.\n");
    return print_and_drop(&t, err);
}

static bool fits(const struct cli_plan_report *r, enum cli_weight_format f, uint32_t n_ranks)
{
    return cli_plan_shard_bytes(&r->shape, f, n_ranks) <= r->cache_bytes;
}

static void add_times(struct cli_table *t, const struct cli_plan_report *r,
                      enum cli_weight_format f, uint32_t n_ranks)
{
    char text[CLI_SECONDS_BYTES];
    cli_table_cell(t, "%s", cli_weight_format_name(f));
    cli_table_cell(t, "%" PRIu32 "%s", n_ranks, fits(r, f, n_ranks) ? "*" : "");
    for (size_t d = 0; d < N_DEPTHS; d++)
        cli_table_cell(
            t, "%s",
            cli_seconds_text(cli_plan_token_seconds(&r->shape, f, n_ranks, depths[d], r->bandwidth),
                             text));
}

static void add_depths(struct cli_table *t)
{
    for (size_t d = 0; d < N_DEPTHS; d++)
        cli_table_cell(t, "%" PRIu64 " STEP%s", depths[d], depths[d] == 1 ? "" : "S");
}

static int print_times(const struct cli_plan_report *r, struct ltd_err *err)
{
    struct cli_table t;
    cli_table_init(&t, "llrrrrrr");
    cli_table_cell(&t, "FORMAT");
    cli_table_cell(&t, "RANKS");
    add_depths(&t);
    for (enum cli_weight_format f = 0; f < CLI_N_WEIGHT_FORMATS; f++)
        for (size_t i = 0; i < r->n_ranks; i++)
            add_times(&t, r, f, r->ranks[i]);
    cli_out_printf("\nLeast time of a token, by depth, each rank on a host of its own: bytes / "
                   "bandwidth. It is "
                   "a bound\nof memory; real steps are slower by arithmetic, attention and the "
                   "exchange between "
                   "ranks.\n* the shard fits the cache: once it is there its steps are not bound "
                   "by memory and "
                   "may be faster.\n");
    return print_and_drop(&t, err);
}

static void add_ladder(struct cli_table *t, const struct cli_plan_report *r, uint32_t n_ranks)
{
    char text[CLI_SECONDS_BYTES], size[CLI_SIZE_BYTES];
    uint64_t bytes = cli_plan_ladder_bytes(&r->shape, r->ladder, n_ranks);
    cli_table_cell(t, "%" PRIu32, n_ranks);
    cli_table_cell(t, "%s%s", cli_size_text(bytes, size), bytes <= r->cache_bytes ? "*" : "");
    for (size_t d = 0; d < N_DEPTHS; d++) {
        double seconds =
            cli_plan_ladder_seconds(&r->shape, r->ladder, n_ranks, depths[d], r->bandwidth);
        cli_table_cell(t, "%s", cli_seconds_text(seconds, text));
    }
}

static int print_ladder(const struct cli_plan_report *r, struct ltd_err *err)
{
    const struct cli_ladder *ladder = r->ladder;
    struct cli_table t;
    cli_table_init(&t, "lrrrrrrr");
    cli_table_cell(&t, "RANKS");
    cli_table_cell(&t, "BOTH COPIES");
    add_depths(&t);
    for (size_t i = 0; i < r->n_ranks; i++)
        add_ladder(&t, r, r->ranks[i]);
    cli_out_printf("\nThe ladder: the first %" PRIu64
                   " steps in %s, the others and all else in %s. "
                   "The largest shard of both copies,\nand the least time of a token as above.\n",
                   ladder->early_steps, cli_weight_format_name(ladder->early_format),
                   cli_weight_format_name(ladder->format));
    return print_and_drop(&t, err);
}

static void add_shards(struct cli_table *t, const struct cli_plan_report *r, uint32_t n_ranks)
{
    char text[CLI_SIZE_BYTES];
    cli_table_cell(t, "%" PRIu32, n_ranks);
    for (enum cli_weight_format f = 0; f < CLI_N_WEIGHT_FORMATS; f++)
        cli_table_cell(t, "%s%s", cli_size_text(cli_plan_shard_bytes(&r->shape, f, n_ranks), text),
                       fits(r, f, n_ranks) ? "*" : "");
}

static int print_shards(const struct cli_plan_report *r, struct ltd_err *err)
{
    struct cli_table t;
    cli_table_init(&t, "lrrrr");
    cli_table_cell(&t, "RANKS");
    for (enum cli_weight_format f = 0; f < CLI_N_WEIGHT_FORMATS; f++)
        cli_table_cell(&t, "%s", cli_weight_format_name(f));
    for (size_t i = 0; i < r->n_ranks; i++)
        add_shards(&t, r, r->ranks[i]);
    cli_table_cell(&t, "fit from");
    for (enum cli_weight_format f = 0; f < CLI_N_WEIGHT_FORMATS; f++) {
        uint64_t n = cli_plan_ranks_to_fit(&r->shape, f, r->cache_bytes);
        if (n > 0)
            cli_table_cell(&t, "%" PRIu64, n);
        else
            cli_table_cell(&t, "-");
    }
    cli_out_printf("\nThe largest shard of a step when ranks have equal shares; * fits the cache. "
                   "Last row: the least\nnumber of ranks at which it does, - for none up to %d.\n",
                   CLI_PLAN_MAX_RANKS);
    return print_and_drop(&t, err);
}

static void add_kv(struct cli_table *t, const struct cli_plan_report *r, uint64_t n_planes,
                   uint64_t element_bytes)
{
    uint64_t bytes = cli_plan_kv_bytes(&r->shape, n_planes, element_bytes);
    cli_table_cell(t, "%" PRIu64, bytes);
    cli_table_cell(t, "%" PRIu64, GIB / (bytes * CLI_PLAN_PAGE_POSITIONS));
}

static void add_kv_heads(struct cli_table *t, const char *format)
{
    cli_table_cell(t, "%s BYTES", format);
    cli_table_cell(t, "PAGES PER GIB");
}

static int print_kv(const struct cli_plan_report *r, struct ltd_err *err)
{
    struct cli_kv_policy policies[CLI_PLAN_MAX_POLICIES];
    size_t n = cli_plan_policies(&r->shape, r->kv_slots, policies);
    struct cli_table t;
    cli_table_init(&t, r->with_f32 && r->with_bf16 ? "lrrrrr" : "lrrr");
    cli_table_cell(&t, "POLICY");
    cli_table_cell(&t, "ENTRIES");
    if (r->with_f32)
        add_kv_heads(&t, "F32");
    if (r->with_bf16)
        add_kv_heads(&t, "BF16");
    for (size_t i = 0; i < n; i++) {
        cli_table_cell(&t, "%s", policies[i].name);
        cli_table_cell(&t, "%" PRIu64, policies[i].n_planes);
        if (r->with_f32)
            add_kv(&t, r, policies[i].n_planes, 4);
        if (r->with_bf16)
            add_kv(&t, r, policies[i].n_planes, 2);
    }
    cli_out_printf("\nBytes of keys and values per token, all ranks together; a page holds %d "
                   "tokens. ENTRIES: per layer of\nthe block; latest-m4 policies keep as much as "
                   "those without it.\n",
                   CLI_PLAN_PAGE_POSITIONS);
    return print_and_drop(&t, err);
}

int cli_plan_print_text(const struct cli_plan_report *r, struct ltd_err *err)
{
    if (print_parameters(r, err) != 0)
        return -1;
    print_machine(r);
    if (print_formats(r, err) != 0 || print_times(r, err) != 0 || print_shards(r, err) != 0 ||
        (r->ladder && print_ladder(r, err) != 0) || print_kv(r, err) != 0)
        return -1;
    return cli_out_flush(err);
}

/* ---- JSON ---- */

static void parameters_field(struct cli_json *j, const struct cli_plan_report *r)
{
    struct part parts[N_PARTS];
    list_parts(&r->shape, parts);
    cli_json_begin(j, "parameters", '{');
    for (size_t i = 0; i < N_PARTS; i++)
        cli_json_u64(j, parts[i].key, parts[i].n);
    cli_json_end(j);
    cli_json_u64(j, "step_entries", cli_plan_step_entries(&r->shape));
    cli_json_u64(j, "fixed_entries", cli_plan_fixed_entries(&r->shape));
}

static void machine_fields(struct cli_json *j, const struct cli_plan_report *r)
{
    const struct cli_bandwidth *m = r->measured;
    cli_json_double(j, "bandwidth_bytes_per_s", r->bandwidth);
    if (m) {
        cli_json_begin(j, "measured", '{');
        cli_json_u64(j, "threads", m->n_threads);
        cli_json_u64(j, "buffer_bytes", m->buffer_bytes);
        cli_json_u64(j, "rounds", CLI_BANDWIDTH_PAIRS);
        cli_json_double(j, "median_bytes_per_s", m->all);
        cli_json_double(j, "least_bytes_per_s", m->least);
        cli_json_double(j, "most_bytes_per_s", m->most);
        cli_json_double(j, "one_thread_bytes_per_s", m->one);
        cli_json_end(j);
    } else {
        cli_json_null(j, "measured");
    }
    cli_json_u64(j, "cache_bytes", r->cache_bytes);
}

static void rank_field(struct cli_json *j, const struct cli_plan_report *r,
                       enum cli_weight_format f, uint32_t n_ranks)
{
    cli_json_begin(j, NULL, '{');
    cli_json_u64(j, "ranks", n_ranks);
    cli_json_u64(j, "shard_bytes", cli_plan_shard_bytes(&r->shape, f, n_ranks));
    cli_json_bool(j, "fits_cache", fits(r, f, n_ranks));
    cli_json_begin(j, "token_seconds", '[');
    for (size_t d = 0; d < N_DEPTHS; d++)
        cli_json_double(j, NULL,
                        cli_plan_token_seconds(&r->shape, f, n_ranks, depths[d], r->bandwidth));
    cli_json_end(j);
    cli_json_end(j);
}

static void formats_field(struct cli_json *j, const struct cli_plan_report *r)
{
    cli_json_begin(j, "depths", '[');
    for (size_t d = 0; d < N_DEPTHS; d++)
        cli_json_u64(j, NULL, depths[d]);
    cli_json_end(j);
    cli_json_begin(j, "formats", '[');
    for (enum cli_weight_format f = 0; f < CLI_N_WEIGHT_FORMATS; f++) {
        uint64_t n_fit = cli_plan_ranks_to_fit(&r->shape, f, r->cache_bytes);
        cli_json_begin(j, NULL, '{');
        cli_json_str(j, "format", cli_weight_format_name(f));
        cli_json_bool(j, "served", cli_weight_format_is_served(f));
        cli_json_u64(j, "step_bytes", cli_plan_shard_bytes(&r->shape, f, 1));
        cli_json_u64(j, "fixed_bytes", cli_plan_fixed_bytes(&r->shape, f));
        if (n_fit > 0)
            cli_json_u64(j, "ranks_to_fit_cache", n_fit);
        else
            cli_json_null(j, "ranks_to_fit_cache");
        cli_json_begin(j, "ranks", '[');
        for (size_t i = 0; i < r->n_ranks; i++)
            rank_field(j, r, f, r->ranks[i]);
        cli_json_end(j);
        cli_json_end(j);
    }
    cli_json_end(j);
}

static void ladder_rank_field(struct cli_json *j, const struct cli_plan_report *r, uint32_t n_ranks)
{
    uint64_t bytes = cli_plan_ladder_bytes(&r->shape, r->ladder, n_ranks);
    cli_json_begin(j, NULL, '{');
    cli_json_u64(j, "ranks", n_ranks);
    cli_json_u64(j, "shard_bytes", bytes);
    cli_json_bool(j, "fits_cache", bytes <= r->cache_bytes);
    cli_json_begin(j, "token_seconds", '[');
    for (size_t d = 0; d < N_DEPTHS; d++)
        cli_json_double(
            j, NULL,
            cli_plan_ladder_seconds(&r->shape, r->ladder, n_ranks, depths[d], r->bandwidth));
    cli_json_end(j);
    cli_json_end(j);
}

static void ladder_field(struct cli_json *j, const struct cli_plan_report *r)
{
    if (!r->ladder) {
        cli_json_null(j, "ladder");
        return;
    }
    cli_json_begin(j, "ladder", '{');
    cli_json_str(j, "format", cli_weight_format_name(r->ladder->format));
    cli_json_str(j, "early_format", cli_weight_format_name(r->ladder->early_format));
    cli_json_u64(j, "early_steps", r->ladder->early_steps);
    cli_json_begin(j, "ranks", '[');
    for (size_t i = 0; i < r->n_ranks; i++)
        ladder_rank_field(j, r, r->ranks[i]);
    cli_json_end(j);
    cli_json_end(j);
}

static void kv_item(struct cli_json *j, const struct cli_plan_report *r,
                    const struct cli_kv_policy *policy, const char *format, uint64_t element_bytes)
{
    uint64_t bytes = cli_plan_kv_bytes(&r->shape, policy->n_planes, element_bytes);
    cli_json_begin(j, NULL, '{');
    cli_json_str(j, "policy", policy->name);
    cli_json_u64(j, "entries", policy->n_planes);
    cli_json_str(j, "format", format);
    cli_json_u64(j, "bytes_per_token", bytes);
    cli_json_u64(j, "pages_per_gib", GIB / (bytes * CLI_PLAN_PAGE_POSITIONS));
    cli_json_end(j);
}

static void kv_field(struct cli_json *j, const struct cli_plan_report *r)
{
    struct cli_kv_policy policies[CLI_PLAN_MAX_POLICIES];
    size_t n = cli_plan_policies(&r->shape, r->kv_slots, policies);
    cli_json_begin(j, "kv", '[');
    for (size_t i = 0; i < n; i++) {
        if (r->with_f32)
            kv_item(j, r, &policies[i], "f32", 4);
        if (r->with_bf16)
            kv_item(j, r, &policies[i], "bf16", 2);
    }
    cli_json_end(j);
}

int cli_plan_print_json(const struct cli_plan_report *report, struct ltd_err *err)
{
    struct cli_json j;
    cli_json_init(&j);
    cli_json_begin(&j, NULL, '{');
    cli_json_str(&j, "model", report->folder);
    parameters_field(&j, report);
    machine_fields(&j, report);
    formats_field(&j, report);
    ladder_field(&j, report);
    kv_field(&j, report);
    cli_json_end(&j);
    return cli_json_print(&j, err);
}
