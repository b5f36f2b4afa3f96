/* SPDX-License-Identifier: Apache-2.0 */
/* tools/cmd_info.c - what a model directory holds, and what ranks need to serve it. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cli/json_out.h"
#include "cli/out.h"
#include "cli/table.h"
#include "model/packed.h"
#include "tools/bar.h"
#include "tools/census.h"
#include "tools/check.h"
#include "tools/verb.h"

struct info_args {
    struct tool_common common;
    struct cli_u32 ranks;
    struct cli_u32 kv_slots;
    bool json;
};

#define ROW(field) offsetof(struct info_args, field)

static const struct cli_option rows[] = {
    {"ranks", CLI_U32, ROW(ranks), "N", "show what each of so many ranks needs; without it 1"},
    {"kv-slots", CLI_U32, ROW(kv_slots), "N",
     "entries of keys and values per layer of the block and position, as the daemon's kv_slots; "
     "without it or with 0 the daemon's default"},
    {"json", CLI_FLAG, ROW(json), NULL, "print JSON on standard output"},
};

struct info {
    const struct model_checkpoint *ckpt;
    const struct model_config *config;
    char hash[MODEL_HASH_HEX_BYTES];
    bool has_tokenizer;
    struct tool_census census;
    int32_t n_ranks, n_planes;
    struct tool_rank *ranks; /* [n_ranks], owned */
};

/* ------------------------------------------------------------------------------------ text */

static void add_counts(struct cli_table *t, const struct info *info)
{
    cli_table_cell(t, "parameters");
    cli_table_cell(t, "%" PRIu64, info->census.total);
    for (int i = 0; i < TOOL_N_PARTS; i++) {
        if (info->census.parameters[i] == 0)
            continue;
        cli_table_cell(t, "  %s", tool_part_name((enum tool_part)i));
        cli_table_cell(t, "%" PRIu64, info->census.parameters[i]);
    }
}

static void add_storage(struct cli_table *t, const struct info *info)
{
    char bytes[TOOL_BYTES_TEXT];
    int32_t n_files = model_checkpoint_n_files(info->ckpt);
    const struct model_packed *packed = model_checkpoint_packed(info->ckpt);
    if (packed) {
        char formats[MODEL_PACKED_FORMATS_BYTES];
        cli_table_cell(t, "packed");
        cli_table_cell(t, "%s", model_packed_formats_text(model_packed_formats(packed), formats));
    }
    cli_table_cell(t, "stored");
    cli_table_cell(t, "%s in %" PRId32 " %s", tool_bytes_text(info->census.bytes, bytes), n_files,
                   n_files == 1 ? "file" : "files");
    for (int i = 0; i < MODEL_N_DTYPES; i++) {
        if (info->census.dtypes[i].tensors == 0)
            continue;
        cli_table_cell(t, "  %s", model_dtype_name((enum model_dtype)i));
        cli_table_cell(t, "%" PRIu64 " tensors, %s", info->census.dtypes[i].tensors,
                       tool_bytes_text(info->census.dtypes[i].bytes, bytes));
    }
}

static int print_model(const struct info *info, struct ltd_err *err)
{
    const struct model_config *c = info->config;
    struct cli_table t;
    cli_table_init(&t, "ll");
    cli_table_cell(&t, "model");
    cli_table_cell(&t, "%s", model_checkpoint_dir(info->ckpt));
    cli_table_cell(&t, "hash");
    cli_table_cell(&t, "%s", info->hash);
    cli_table_cell(&t, "shape");
    cli_table_cell(&t, "embd %d, heads %d, intermediate %d, vocabulary %d", c->n_embd, c->n_heads,
                   c->intermediate, c->vocab);
    cli_table_cell(&t, "layers");
    cli_table_cell(&t, "prelude %d, recurrent block %d, coda %d", c->n_prelude, c->n_core,
                   c->n_coda);
    cli_table_cell(&t, "context");
    cli_table_cell(&t, "%d tokens", c->max_positions);
    cli_table_cell(&t, "depth");
    cli_table_cell(&t, "%d steps by default", c->default_steps);
    cli_table_cell(&t, "text");
    cli_table_cell(&t, "%s", info->has_tokenizer ? "tokenizer" : "no tokenizer");
    add_counts(&t, info);
    add_storage(&t, info);
    int rc = cli_table_print(&t, err);
    cli_table_fini(&t);
    return rc;
}

static void add_rank(struct cli_table *t, const struct info *info, int32_t r)
{
    const struct tool_rank *rank = &info->ranks[r];
    char bytes[TOOL_BYTES_TEXT];
    cli_table_cell(t, "%d", r);
    cli_table_cell(t, "%d..%d", rank->shard.head_begin, rank->shard.head_end);
    cli_table_cell(t, "%d..%d", rank->shard.embd_begin, rank->shard.embd_end);
    cli_table_cell(t, "%d..%d", rank->shard.fc_begin, rank->shard.fc_end);
    cli_table_cell(t, "%s", tool_bytes_text(rank->weight_bytes, bytes));
    cli_table_cell(t, "%s", tool_bytes_text(rank->position_bytes, bytes));
    cli_table_cell(
        t, "%s",
        tool_bytes_text(rank->position_bytes * (uint64_t)info->config->max_positions, bytes));
}

static int print_ranks(const struct info *info, struct ltd_err *err)
{
    static const char *const heads[] = {"RANK",    "HEADS",       "EMBD ROWS", "FC ROWS",
                                        "WEIGHTS", "KV/POSITION", "KV/CONTEXT"};
    struct cli_table t;
    cli_table_init(&t, "rrrrrrr");
    for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++)
        cli_table_cell(&t, "%s", heads[i]);
    for (int32_t r = 0; r < info->n_ranks; r++)
        add_rank(&t, info, r);
    cli_out_printf("\nmemory by rank, weights, keys and values in f32, kv_slots %d\n",
                   info->n_planes);
    int rc = cli_table_print(&t, err);
    cli_table_fini(&t);
    return rc;
}

/* ------------------------------------------------------------------------------------ JSON */

static void put_shape(struct cli_json *j, const struct model_config *c)
{
    const struct {
        const char *key;
        int32_t value;
    } numbers[] = {
        {"n_embd", c->n_embd},
        {"n_heads", c->n_heads},
        {"intermediate_size", c->intermediate},
        {"vocab_size", c->vocab},
        {"n_layers_in_prelude", c->n_prelude},
        {"n_layers_in_recurrent_block", c->n_core},
        {"n_layers_in_coda", c->n_coda},
        {"context_tokens", c->max_positions},
        {"default_steps", c->default_steps},
    };
    cli_json_begin(j, "shape", '{');
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        cli_json_i64(j, numbers[i].key, numbers[i].value);
    cli_json_bool(j, "tie_embeddings", c->tied);
    cli_json_bool(j, "qk_bias", c->qk_bias);
    cli_json_end(j);
}

static void put_counts(struct cli_json *j, const struct tool_census *census)
{
    static const char *const keys[TOOL_N_PARTS] = {"prelude",   "adapter", "core", "coda",
                                                   "embedding", "norm",    "head"};
    cli_json_begin(j, "parameters", '{');
    for (int i = 0; i < TOOL_N_PARTS; i++)
        cli_json_u64(j, keys[i], census->parameters[i]);
    cli_json_u64(j, "total", census->total);
    cli_json_end(j);
    cli_json_begin(j, "dtypes", '{');
    for (int i = 0; i < MODEL_N_DTYPES; i++) {
        if (census->dtypes[i].tensors == 0)
            continue;
        cli_json_begin(j, model_dtype_name((enum model_dtype)i), '{');
        cli_json_u64(j, "tensors", census->dtypes[i].tensors);
        cli_json_u64(j, "bytes", census->dtypes[i].bytes);
        cli_json_end(j);
    }
    cli_json_end(j);
}

static void put_range(struct cli_json *j, const char *key, int32_t begin, int32_t end)
{
    cli_json_begin(j, key, '[');
    cli_json_i64(j, NULL, begin);
    cli_json_i64(j, NULL, end);
    cli_json_end(j);
}

static void put_ranks(struct cli_json *j, const struct info *info)
{
    cli_json_u64(j, "kv_slots", (uint64_t)info->n_planes);
    cli_json_begin(j, "ranks", '[');
    for (int32_t r = 0; r < info->n_ranks; r++) {
        const struct tool_rank *rank = &info->ranks[r];
        cli_json_begin(j, NULL, '{');
        put_range(j, "heads", rank->shard.head_begin, rank->shard.head_end);
        put_range(j, "embd_rows", rank->shard.embd_begin, rank->shard.embd_end);
        put_range(j, "fc_rows", rank->shard.fc_begin, rank->shard.fc_end);
        cli_json_u64(j, "weight_bytes", rank->weight_bytes);
        cli_json_u64(j, "kv_bytes_per_position", rank->position_bytes);
        cli_json_end(j);
    }
    cli_json_end(j);
}

/* Formats of a packed directory, the first one of every matrix; null for the published layout. */
static void put_packed(struct cli_json *j, const struct model_checkpoint *ckpt)
{
    const struct model_packed *packed = model_checkpoint_packed(ckpt);
    if (!packed) {
        cli_json_null(j, "packed");
        return;
    }
    const struct model_packed_formats *formats = model_packed_formats(packed);
    cli_json_begin(j, "packed", '[');
    for (int32_t i = 0; i < formats->n; i++)
        cli_json_str(j, NULL, kern_format_name(formats->items[i]));
    cli_json_end(j);
}

static int print_json(const struct info *info, struct ltd_err *err)
{
    struct cli_json j;
    cli_json_init(&j);
    cli_json_begin(&j, NULL, '{');
    cli_json_str(&j, "model", model_checkpoint_dir(info->ckpt));
    cli_json_str(&j, "hash", info->hash);
    cli_json_bool(&j, "has_tokenizer", info->has_tokenizer);
    put_packed(&j, info->ckpt);
    put_shape(&j, info->config);
    put_counts(&j, &info->census);
    cli_json_u64(&j, "bytes", info->census.bytes);
    cli_json_u64(&j, "files", (uint64_t)model_checkpoint_n_files(info->ckpt));
    put_ranks(&j, info);
    cli_json_end(&j);
    return cli_json_print(&j, err);
}

/* ------------------------------------------------------------------------------------- run */

static int take(struct info *info, const struct info_args *args, struct ltd_err *err)
{
    info->config = model_checkpoint_config(info->ckpt);
    if (args->kv_slots.value > MODEL_MAX_STEPS)
        return ltd_fail(err, LTD_E_INVALID, "--kv-slots: %" PRIu32 ", expected at most %d",
                        args->kv_slots.value, MODEL_MAX_STEPS);
    if (args->ranks.set && (args->ranks.value < 1 || args->ranks.value > INT32_MAX))
        return ltd_fail(err, LTD_E_INVALID, "--ranks: %" PRIu32 ", expected 1 or more",
                        args->ranks.value);
    info->n_ranks = args->ranks.set ? (int32_t)args->ranks.value : 1;
    info->n_planes = args->kv_slots.value ? (int32_t)args->kv_slots.value
                                          : tool_census_default_planes(info->config);
    info->ranks = calloc((size_t)info->n_ranks, sizeof *info->ranks);
    if (!info->ranks)
        return ltd_fail(err, LTD_E_EXHAUSTED, "no memory for %d ranks", info->n_ranks);
    if (tool_check_open_text(info->ckpt, &info->has_tokenizer, NULL, err) != 0 ||
        tool_census_take(info->ckpt, &info->census, err) != 0 ||
        tool_census_ranks(info->config, &info->census, info->n_ranks, info->n_planes, info->ranks,
                          err) != 0)
        return -1;
    return model_checkpoint_hash(info->ckpt, info->hash, err);
}

static int print_text(const struct info *info, struct ltd_err *err)
{
    return print_model(info, err) != 0 ? -1 : print_ranks(info, err);
}

static int run(const char *dir, const void *verb_args, struct ltd_err *err)
{
    const struct info_args *args = verb_args;
    struct info info = {.ckpt = NULL};
    struct model_checkpoint *ckpt = model_checkpoint_open(dir, err);
    int rc = -1;
    if (!ckpt)
        return -1;
    info.ckpt = ckpt;
    if (take(&info, args, err) == 0)
        rc = args->json ? print_json(&info, err) : print_text(&info, err);
    free(info.ranks);
    model_checkpoint_close(ckpt);
    return rc;
}

const struct tool_verb tool_verb_info = {
    .name = "info",
    .synopsis = "[OPTION]... DIR",
    .summary = "shape, parameters and digest of a model, and the memory that ranks need",
    .details =
        "Opens the model as a daemon does; what a daemon would refuse before it loads weights is "
        "refused here with the same words. Prints the digest that the daemon reports as the "
        "model's hash, the shape, parameters by part, how they are stored, and for each rank of a "
        "group with equal shares: its rows (begin..end, end not included), the bytes of its "
        "weights, and the bytes of its keys and values per position and for one whole context. "
        "Rank 0 has prelude, coda, embedding and head as well. Weights are counted as the daemon "
        "holds them by default, in f32 whatever the directory stores; its option format makes "
        "them half of that (bf16), little more than a quarter (int8) or a seventh (int4). It takes "
        "memory for keys "
        "and values as far as kv_memory allows.\n\n"
        "Of a packed directory the formats are shown, the first one being that of every matrix, "
        "and the "
        "hash is that of the directory that was packed.\n\n"
        "With --json one object: model, hash, has_tokenizer, packed, shape, parameters, dtypes, "
        "bytes, "
        "files, kv_slots, ranks.",
    .groups = {{rows, sizeof rows / sizeof rows[0], 0}, TOOL_COMMON_GROUP},
    .args_bytes = sizeof(struct info_args),
    .run = run,
};
