/* SPDX-License-Identifier: Apache-2.0 */
/* tools/cmd_verify.c - would a daemon load it, and is it what it was? */
#include <inttypes.h>
#include <stdio.h>

#include "cli/out.h"
#include "tools/bar.h"
#include "tools/checksum.h"
#include "tools/stop.h"
#include "tools/verb.h"

#define EXIT_REFUSED 1

static int run(const char *dir, const void *args, struct ltd_err *err)
{
    struct tool_check_result result;
    char bytes[TOOL_BYTES_TEXT];
    bool has_sums;
    (void)args;
    if (tool_checksum_verify(dir, &has_sums, &result, err) != 0) {
        if (err->code == LTD_E_CANCELLED)
            return -1;
        /* One status for every reason: a script asks whether, and people read why. */
        fprintf(stderr, "latentd-model: verify: %s: %s\n", ltd_code_name(err->code), err->msg);
        return EXIT_REFUSED;
    }
    cli_out_printf("%s: %" PRId32 " tensors, %s in %" PRId32 " %s, %s\n", dir, result.n_tensors,
                   tool_bytes_text(result.bytes, bytes), result.n_files,
                   result.n_files == 1 ? "file" : "files",
                   result.is_packed ? "packed; every checksum agrees"
                   : has_sums       ? "all finite; every checksum agrees"
                                    : "all finite; no " TOOL_CHECKSUM_NAME);
    return 0;
}

const struct tool_verb tool_verb_verify = {
    .name = "verify",
    .synopsis = "[OPTION]... DIR",
    .summary = "would a daemon load this model, and is it what it was",
    .details =
        "Reads everything that a daemon would read and refuses what it would refuse, with the "
        "same words: config.json, the index, headers, names, shapes and types of tensors, "
        "generation_config.json, tokenizer.json, and weights that are not finite.\n\n"
        "When the directory has latentd-checksums.json (see checksum), every byte is compared as "
        "well: what differs is named, down to the tensor, and so is a file that is missing, or "
        "that was not there.\n\n"
        "A packed directory has checksums of its own: every byte of its weights, header and copied "
        "files is compared, and what differs is named, down to the place in the tensor.\n\n"
        "The exit status is 0 or, whatever the reason, 1.",
    .groups = {TOOL_COMMON_GROUP},
    .args_bytes = sizeof(struct tool_common),
    .run = run,
};
