/* SPDX-License-Identifier: Apache-2.0 */
/* tools/cmd_synth.c - write a model of a given shape that nobody has trained. */
#include <inttypes.h>
#include <string.h>

#include "cli/out.h"
#include "tools/bar.h"
#include "tools/shape.h"
#include "tools/synth.h"
#include "tools/verb.h"

struct synth_args {
    struct tool_common common;
    const char *like;
    struct cli_u64 seed;
    const char *dtype;
    struct cli_u64 max_shard_bytes;
    const char *format;
};

#define ROW(field) offsetof(struct synth_args, field)

static const struct cli_option rows[] = {
    {"like", CLI_TEXT, ROW(like), "NAME",
     "the shape: huginn-0125, 100m, l2-512k, l2-1m, l2-2m, tiny, or a model directory, written "
     "with a slash"},
    {"seed", CLI_U64, ROW(seed), "N", "what the numbers are drawn from"},
    {"dtype", CLI_TEXT, ROW(dtype), "TYPE", "bf16 or f32; without it bf16"},
    {"max-shard-bytes", CLI_U64, ROW(max_shard_bytes), "N",
     "begin another file before one has more bytes of tensors than this; without it 5000000000"},
    {"format", CLI_TEXT, ROW(format), "LIST",
     "write a packed directory in these formats, as pack would make it: bf16, or bf16,int8"},
};

static int read_args(const struct synth_args *args, struct tool_synth_options *options,
                     struct ltd_err *err)
{
    if (!args->like)
        return ltd_fail(err, LTD_E_INVALID, "--like is missing, expected one of %s",
                        tool_shape_names);
    if (!args->seed.set)
        return ltd_fail(err, LTD_E_INVALID, "--seed is missing, expected a whole number");
    if (tool_shape_find(args->like, &options->shape, err) != 0)
        return -1;
    options->seed = args->seed.value;
    options->dtype = args->dtype && strcmp(args->dtype, "f32") == 0 ? MODEL_F32 : MODEL_BF16;
    if (args->dtype && options->dtype == MODEL_BF16 && strcmp(args->dtype, "bf16") != 0)
        return ltd_fail(err, LTD_E_INVALID, "--dtype: \"%.40s\", expected bf16 or f32",
                        args->dtype);
    options->max_shard_bytes =
        args->max_shard_bytes.set ? args->max_shard_bytes.value : TOOL_SYNTH_SHARD_BYTES;
    if (options->max_shard_bytes == 0)
        return ltd_fail(err, LTD_E_INVALID, "--max-shard-bytes: 0, expected more");
    return 0;
}

static int run_packed(const struct synth_args *args, const struct tool_synth_options *options,
                      const char *dir, struct ltd_err *err)
{
    struct model_packed_formats formats;
    struct tool_pack_result result;
    char bytes[TOOL_BYTES_TEXT];
    if (args->max_shard_bytes.set)
        return ltd_fail(
            err, LTD_E_INVALID,
            "--max-shard-bytes and --format: expected one, packed weights are one file");
    if (model_packed_formats_parse(args->format, &formats, err) != 0)
        return ltd_err_context(err, "--format");
    if (tool_synth_packed(options, &formats, dir, &result, err) != 0)
        return -1;
    cli_out_printf("%s: %" PRIu64 " parameters, %s in %s\n", dir, result.parameters,
                   tool_bytes_text(result.bytes, bytes), args->format);
    return 0;
}

static int run(const char *dir, const void *verb_args, struct ltd_err *err)
{
    const struct synth_args *args = verb_args;
    struct tool_synth_options options;
    struct tool_synth_result result;
    char bytes[TOOL_BYTES_TEXT];
    if (read_args(args, &options, err) != 0)
        return -1;
    if (args->format)
        return run_packed(args, &options, dir, err);
    if (tool_synth(&options, dir, &result, err) != 0)
        return -1;
    cli_out_printf("%s: %" PRIu64 " parameters, %s in %" PRId32 " %s\n", dir, result.parameters,
                   tool_bytes_text(result.bytes, bytes), result.n_files,
                   result.n_files == 1 ? "file" : "files");
    return 0;
}

const struct tool_verb tool_verb_synth = {
    .name = "synth",
    .synopsis = "--like NAME --seed N [OPTION]... DIR",
    .summary = "write a model of a given shape, filled with random numbers",
    .details =
        "Makes the directory DIR, which must not exist, in the published layout: config.json, "
        "generation_config.json, and the weights in model.safetensors, or in several files with "
        "an index. There is no tokenizer: such a model is asked in token ids, and what it writes "
        "means nothing. It is for measuring and for tests.\n\n"
        "The numbers are a function of the seed, the tensor's name and the element: the same "
        "options give the same bytes, and neither --max-shard-bytes nor the order of writing "
        "changes a tensor; in bf16 they are those of f32, rounded. They are scaled so that "
        "latents settle as those of a trained model do: a difference between two latents shrinks "
        "with every step.\n\n"
        "huginn-0125 is the shape of the published model, 3.5 G parameters and 7.1 GB in bf16; "
        "100m has 108 M; of l2-512k, l2-1m and l2-2m the recurrent block, held in f32, fits two "
        "caches of that size and not one, so two ranks read it from their caches and one rank "
        "cannot; tiny is for tests. A directory gives the shape of its config.json.\n\n"
        "With --format the directory is packed: what pack would make from the directory without "
        "it, and "
        "under the same hash, but written at once.\n\n"
        "Memory use is small and does not grow with the model. Free space is checked first. DIR "
        "appears when everything is on disk; until then, and after a crash, there is only a "
        "hidden directory .NAME.partial-XXXXXX beside it.",
    .groups = {{rows, sizeof rows / sizeof rows[0], 0}, TOOL_COMMON_GROUP},
    .args_bytes = sizeof(struct synth_args),
    .run = run,
};
