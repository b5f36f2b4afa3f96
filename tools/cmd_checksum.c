/* SPDX-License-Identifier: Apache-2.0 */
/* tools/cmd_checksum.c - write down what the bytes of a model are. */
#include <inttypes.h>

#include "cli/out.h"
#include "tools/checksum.h"
#include "tools/verb.h"

static int run(const char *dir, const void *args, struct ltd_err *err)
{
    struct tool_check_result result;
    (void)args;
    if (tool_checksum_write(dir, &result, err) != 0)
        return -1;
    cli_out_printf("%s/" TOOL_CHECKSUM_NAME ": %" PRId32 " tensors in %" PRId32 " %s\n", dir,
                   result.n_tensors, result.n_files, result.n_files == 1 ? "file" : "files");
    return 0;
}

const struct tool_verb tool_verb_checksum = {
    .name = "checksum",
    .synopsis = "[OPTION]... DIR",
    .summary = "write checksums of every tensor into the directory, for verify",
    .details =
        "Checks the model as verify does and writes latentd-checksums.json into its directory, in "
        "one go: SHA-256 of every tensor, of the header of every file of weights, and of the "
        "other files that a daemon reads. So every byte that can change an answer is covered. "
        "When there is one already it is left alone and the exit status is 3: damage since then "
        "would become the truth.\n\n"
        "It finds damage, not malice: whoever may write the directory may write the checksums.",
    .groups = {TOOL_COMMON_GROUP},
    .args_bytes = sizeof(struct tool_common),
    .run = run,
};
