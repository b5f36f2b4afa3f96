/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tools/main.c - latentd-model: find the verb, parse its options, run it, say what went wrong.
 *
 * Errors are printed here and nowhere else, as one line: "latentd-model: VERB: CODE: MESSAGE".
 * Exit statuses: tools/verbs.c.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/out.h"
#include "tools/stop.h"
#include "tools/verb.h"

#define EXIT_USAGE       2
#define EXIT_BROKEN_PIPE 141 /* 128 + SIGPIPE, as if it had not been ignored */

static void tell(const char *verb, const struct ltd_err *err)
{
    fprintf(stderr, "latentd-model: %s%s%s: %s\n", verb, *verb ? ": " : "",
            ltd_code_name(err->code), err->msg);
}

static int conclude(const struct tool_verb *verb, int rc, struct ltd_err *err)
{
    if (rc >= 0 && cli_out_flush(err) != 0)
        rc = -1;
    if (cli_out_is_broken())
        return EXIT_BROKEN_PIPE;
    if (rc >= 0)
        return rc;
    tell(verb->name, err);
    if (err->code == LTD_E_CANCELLED && tool_stop_signal() != 0)
        return 128 + tool_stop_signal();
    return ltd_code_exit_status(err->code);
}

static int usage(const struct tool_verb *verb, const struct ltd_err *err)
{
    tell(verb->name, err);
    tool_help_usage(verb, stderr);
    fprintf(stderr, "try \"latentd-model help %s\"\n", verb->name);
    return EXIT_USAGE;
}

static int run_parsed(const struct tool_verb *verb, const struct cli_words *words, const void *args,
                      struct ltd_err *err)
{
    const struct tool_common *common = args;
    if (common->help) {
        tool_help_verb(verb, stdout);
        return fflush(stdout) == 0 ? 0 : 1;
    }
    if (words->n != 1) {
        ltd_fail(err, LTD_E_INVALID, "%zu words, expected one directory", words->n);
        return usage(verb, err);
    }
    return conclude(verb, verb->run(words->items[0], args, err), err);
}

static int run_verb(const struct tool_verb *verb, int argc, const char *const *argv)
{
    struct ltd_err err = {.code = LTD_OK};
    struct cli_words words = {NULL, 0};
    void *args = calloc(1, verb->args_bytes);
    if (!args) {
        ltd_fail(&err, LTD_E_EXHAUSTED, "no memory");
        return conclude(verb, -1, &err);
    }
    int status = cli_options_parse(verb->groups, argc, argv, args, false, &words, &err) == 0
                     ? run_parsed(verb, &words, args, &err)
                     : usage(verb, &err);
    cli_options_fini(verb->groups, args);
    free(words.items);
    free(args);
    return status;
}

static int no_verb(const char *name)
{
    struct ltd_err err;
    const struct tool_verb *nearest = tool_verb_nearest(name);
    if (nearest)
        ltd_fail(&err, LTD_E_INVALID, "no verb \"%s\", did you mean %s?", name, nearest->name);
    else
        ltd_fail(&err, LTD_E_INVALID, "no verb \"%s\"", name);
    tell("", &err);
    fputs("usage: latentd-model VERB [OPTION]... DIR\ntry \"latentd-model help\"\n", stderr);
    return EXIT_USAGE;
}

/* "latentd-model help [VERB | --man]". */
static int run_help(int argc, const char *const *argv)
{
    const struct tool_verb *verb = argc > 0 ? tool_verb_find(argv[0]) : NULL;
    if (argc == 0)
        tool_help_overview(stdout);
    else if (strcmp(argv[0], "--man") == 0)
        tool_manual_write(stdout);
    else if (verb)
        tool_help_verb(verb, stdout);
    else
        return no_verb(argv[0]);
    return fflush(stdout) == 0 ? 0 : 1;
}

int main(int argc, char **argv)
{
    const char *const *words = (const char *const *)argv + 1;
    const char *first = argc > 1 ? words[0] : "";
    tool_stop_init();
    if (strcmp(first, "help") == 0)
        return run_help(argc - 2, words + 1);
    if (strcmp(first, "--help") == 0 || strcmp(first, "-h") == 0)
        return run_help(0, NULL);
    if (strcmp(first, "--version") == 0)
        return printf("latentd-model %s\n", LATENTD_VERSION) > 0 && fflush(stdout) == 0 ? 0 : 1;
    const struct tool_verb *verb = tool_verb_find(first);
    return verb ? run_verb(verb, argc - 2, words + 1) : no_verb(first);
}
