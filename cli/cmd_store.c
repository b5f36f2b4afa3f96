/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli/cmd_store.c - look after the file in which a daemon keeps its jobs.
 *
 * Only latentd knows what is in such a file, so this verb becomes a latentd: the one beside this
 * program, so that both are of one version, else the one in $PATH. What it prints and its exit status
 * are the answer. No connection is made.
 */
#include "cli/verb.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const struct action {
    const char *word;
    const char *option; /* of latentd */
} actions[] = {
    {"check", "--store-check"},
    {"vacuum", "--store-vacuum"},
    {"export", "--store-export"},
};

static const struct action *find_action(const char *word)
{
    for (size_t i = 0; i < sizeof actions / sizeof actions[0]; i++)
        if (strcmp(actions[i].word, word) == 0)
            return &actions[i];
    return NULL;
}

/* The path of "latentd" in the folder of this program; false when that cannot be said. */
static bool find_sibling(char *path, size_t size)
{
    static const char name[] = "latentd";
    ssize_t len = readlink("/proc/self/exe", path, size);
    if (len <= 0 || (size_t)len >= size)
        return false;
    path[len] = '\0';
    char *slash = strrchr(path, '/');
    size_t folder = slash ? (size_t)(slash - path) + 1 : 0;
    if (folder == 0 || folder + sizeof name > size)
        return false;
    memcpy(path + folder, name, sizeof name);
    return true;
}

static int run(const struct cli_words *words, const void *verb_args, struct ltd_err *err)
{
    (void)verb_args;
    const struct action *action = find_action(words->items[0]);
    char path[4096];
    char name[] = "latentd";
    if (!action)
        return ltd_fail(err, LTD_E_INVALID, "\"%s\", expected check, vacuum or export",
                        words->items[0]);
    /* execv takes its words as char *, and changes none of them. */
    char *argv[] = {name, (char *)(uintptr_t)action->option, (char *)(uintptr_t)words->items[1],
                    NULL};
    if (find_sibling(path, sizeof path)) {
        execv(path, argv);
        if (errno != ENOENT)
            return ltd_fail(err, LTD_E_INTERNAL, "%s: %s", path, strerror(errno));
    }
    execvp(name, argv);
    return ltd_fail(err, errno == ENOENT ? LTD_E_NOT_FOUND : LTD_E_INTERNAL,
                    "latentd, beside this program or in $PATH: %s", strerror(errno));
}

const struct cli_verb cli_store = {
    .name = "store",
    .synopsis = "[OPTION]... (check | vacuum | export) PATH",
    .summary = "look after the file in which a daemon keeps its jobs",
    .details =
        "check reads all of the file and says what is wrong with it; vacuum gives space that is no "
        "longer needed back to the file system; export writes what is in it to standard output. "
        "The work is done by latentd --store-check, --store-vacuum or --store-export on this host: "
        "the latentd beside this program, else the one in $PATH. Its output and its exit status "
        "are those of this command; docs/store.md explains them.\n\n"
        "No daemon is asked, so --server, --json and --timeout mean nothing here.",
    .groups = {CLI_COMMON_GROUP},
    .args_bytes = sizeof(struct cli_common),
    .min_words = 2,
    .max_words = 2,
    .run = run,
};
