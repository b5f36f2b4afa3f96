/* SPDX-License-Identifier: Apache-2.0 */
/* tools/cmd_pack.c - lay the weights of a model down as the kernels read them. */
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "cli/out.h"
#include "tools/bar.h"
#include "tools/packer.h"
#include "tools/verb.h"

struct pack_args {
    struct tool_common common;
    const char *format;
    const char *out;
};

#define ROW(field) offsetof(struct pack_args, field)

static const struct cli_option rows[] = {
    {"format", CLI_TEXT, ROW(format), "LIST",
     "formats of the weights, the first one of every matrix, further ones of the recurrent block "
     "once more: bf16, or bf16,int8"},
    {"out", CLI_TEXT, ROW(out), "DIR",
     "the directory to make; without it that of the model with the formats behind its name"},
};

static int choose_path(const struct pack_args *args, const char *dir,
                       const struct model_packed_formats *formats, char out[PATH_MAX],
                       struct ltd_err *err)
{
    size_t length = strlen(dir), used;
    while (length > 1 && dir[length - 1] == '/')
        length--;
    int n = args->out ? snprintf(out, PATH_MAX, "%s", args->out)
                      : snprintf(out, PATH_MAX, "%.*s", (int)length, dir);
    used = (size_t)n;
    for (int32_t i = 0; !args->out && i < formats->n && used < PATH_MAX; i++)
        used += (size_t)snprintf(out + used, PATH_MAX - used, "-%s",
                                 kern_format_name(formats->items[i]));
    return used < PATH_MAX ? 0 : ltd_fail(err, LTD_E_INVALID, "%.100s...: path is too long", out);
}

static int run(const char *dir, const void *verb_args, struct ltd_err *err)
{
    const struct pack_args *args = verb_args;
    struct model_packed_formats formats;
    struct tool_pack_result result;
    char path[PATH_MAX], bytes[TOOL_BYTES_TEXT];
    if (!args->format)
        return ltd_fail(err, LTD_E_INVALID,
                        "--format is missing, expected formats of weights such as bf16,int8");
    if (model_packed_formats_parse(args->format, &formats, err) != 0)
        return ltd_err_context(err, "--format");
    if (choose_path(args, dir, &formats, path, err) != 0 ||
        tool_pack_directory(dir, &formats, path, &result, err) != 0)
        return -1;
    cli_out_printf("%s: %" PRIu64 " parameters, %s in %s, %" PRId32 " %s copied\n", path,
                   result.parameters, tool_bytes_text(result.bytes, bytes), args->format,
                   result.n_copied, result.n_copied == 1 ? "file" : "files");
    return 0;
}

const struct tool_verb tool_verb_pack = {
    .name = "pack",
    .synopsis = "--format LIST [--out DIR] DIR",
    .summary = "lay weights down as the kernels read them, so that loading is reading",
    .details =
        "Makes a directory that the daemon serves like the one it is made from, with the same "
        "hash and the same answers in that format, but starts with at the speed of reading: "
        "matrices are used where they lie in the file, by any number of ranks, and checked on the "
        "way. Option format of the daemon must name a format that is there, and the tier must be "
        "one that keeps weights in panels (avx2 and better).\n\n"
        "The first format holds every matrix. Further ones hold those of the recurrent block once "
        "more, for jobs whose first steps are less exact.\n\n"
        "Weights are in packed.safetensors; everything else in DIR is copied, but weights in other "
        "files and latentd-checksums.json. Every byte of the new directory is under a checksum: "
        "verify, and the daemon for all that it loads, refuse one that changed and say where.\n\n"
        "Memory use is small and does not grow with the model. The directory appears when "
        "everything is on disk; until then, and after a crash, there is only a hidden directory "
        ".NAME.partial-XXXXXX beside it.",
    .groups = {{rows, sizeof rows / sizeof rows[0], 0}, TOOL_COMMON_GROUP},
    .args_bytes = sizeof(struct pack_args),
    .run = run,
};
