/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli/cmd_watch.c - follow a job that was submitted, from its beginning or from where one was.
 *
 * Watching changes nothing: Ctrl-C ends the watching, not the job.
 */
#include "cli/verb.h"

#include <stdlib.h>

#include "cli/follow.h"
#include "cli/link.h"

struct watch_args {
    struct cli_common common;
    struct cli_u64 after_seq;
    struct cli_u32 retries;
};

static const struct cli_option rows[] = {
    {"after-seq", CLI_U64, offsetof(struct watch_args, after_seq), "N",
     "begin behind this event; events have numbers from 1"},
    {"retries", CLI_U32, offsetof(struct watch_args, retries), "N",
     "try again this often in a row without news, and no longer; --timeout bounds it too"},
};

static int run(const struct cli_words *words, const void *verb_args, struct ltd_err *err)
{
    const struct watch_args *args = verb_args;
    struct cli_link link;
    char *name = cli_job_name(words->items[0], err);
    if (!name)
        return -1;
    uint32_t retries = args->retries.set ? args->retries.value : CLI_FOLLOW_FOREVER;
    int rc = cli_link_open(&link, &args->common, CLI_TIMEOUT_NONE_MS, err);
    if (rc == 0)
        rc = cli_follow_shown(&link, name, args->after_seq.value, retries, args->common.json, err);
    cli_link_close(&link);
    free(name);
    return rc;
}

const struct cli_verb cli_watch = {
    .name = "watch",
    .synopsis = "[OPTION]... NAME",
    .summary = "follow a job to its end",
    .details =
        "Prints the job's text from the beginning, or from behind event --after-seq, and then as "
        "it comes. When the connection is lost or the daemon is away, that is waited out: the "
        "stream goes "
        "on where it was, nothing is repeated and nothing is missing. Pauses between tries grow "
        "from 0.1 s to 5 s. "
        "On a terminal a notice says so meanwhile.\n\n"
        "With --json every event is one object on a line of its own; its seq is what --after-seq "
        "takes. The events \"thinking\" and \"heartbeat\" have seq 0: they are news, not "
        "history.\n\n"
        "The exit status is that of the job: 0, 6 when its time was over, 7 when it was cancelled, "
        "else that of its error. Ctrl-C ends the watching, not the job. There is no time limit "
        "unless --timeout sets one.",
    .groups = {{rows, sizeof rows / sizeof rows[0], 0}, CLI_COMMON_GROUP},
    .args_bytes = sizeof(struct watch_args),
    .min_words = 1,
    .max_words = 1,
    .run = run,
};
