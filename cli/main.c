/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli/main.c - latentctl: find the verb, parse its options, run it, say what went wrong.
 *
 * The table of verbs is cli/verbs.c. Errors are printed here and nowhere else, as one line:
 * "latentctl: VERB: CODE: MESSAGE". Exit statuses: docs/latentctl.md.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/help.h"
#include "cli/interrupt.h"
#include "cli/out.h"
#include "cli/verb.h"

#define EXIT_USAGE       2
#define EXIT_BROKEN_PIPE 141 /* 128 + SIGPIPE, as if it had not been ignored */

static int usage_error(const char *verb, const struct ltd_err *err)
{
    fprintf(stderr, "latentctl: %s%s%s: %s\n", verb ? verb : "", verb ? ": " : "",
            ltd_code_name(err->code), err->msg);
    return EXIT_USAGE;
}

/*
 * The one line about a failure, with the daemon's word for it where there is one. When the daemon said how long to wait, the line says so too: a full
 * queue is the one failure that goes away by itself. Rounded up, because earlier is of no use.
 */
static void tell(const char *verb, const struct ltd_err *err)
{
    fprintf(stderr, "latentctl: %s: %s: %s", verb, ltd_code_name(err->code), err->msg);
    if (err->reason)
        fprintf(stderr, " (%s)", err->reason);
    if (err->retry_after_ms > 0)
        fprintf(stderr, "; try again in %" PRIu32 " s",
                err->retry_after_ms / 1000 + (err->retry_after_ms % 1000 != 0));
    fputc('\n', stderr);
}

/* What a verb returned, as an exit status; what it could not do, as a line on standard error. */
static int conclude(const struct cli_verb *verb, int rc, struct ltd_err *err)
{
    if (rc >= 0 && cli_out_flush(err) != 0)
        rc = -1;
    if (cli_out_is_broken())
        return EXIT_BROKEN_PIPE;
    if (cli_interrupt_signal() != 0) {
        fprintf(stderr, "latentctl: %s: interrupted\n", verb->name);
        return 128 + cli_interrupt_signal();
    }
    if (rc >= 0)
        return rc;
    if (err->code == LTD_OK)
        ltd_fail(err, LTD_E_INTERNAL, "failed without a reason");
    tell(verb->name, err);
    return ltd_code_exit_status(err->code);
}

static int check_words(const struct cli_verb *verb, const struct cli_words *words,
                       struct ltd_err *err)
{
    if (words->n > verb->max_words)
        return ltd_fail(err, LTD_E_INVALID, "too many words: \"%s\" is one more than expected",
                        words->items[verb->max_words]);
    if (words->n < verb->min_words)
        return ltd_fail(err, LTD_E_INVALID, "%zu words, expected %zu", words->n, verb->min_words);
    return 0;
}

static int run_parsed(const struct cli_verb *verb, const struct cli_words *words, const void *args,
                      struct ltd_err *err)
{
    const struct cli_common *common = args;
    if (common->help) {
        cli_help_verb(verb, stdout);
        return conclude(verb, 0, err);
    }
    if (check_words(verb, words, err) != 0) {
        usage_error(verb->name, err);
        cli_help_usage(verb, stderr);
        return EXIT_USAGE;
    }
    return conclude(verb, verb->run(words, args, err), err);
}

static int run_verb(const struct cli_verb *verb, int argc, const char *const *argv)
{
    struct ltd_err err = {.code = LTD_OK};
    struct cli_words words = {NULL, 0};
    int status;
    void *args = calloc(1, verb->args_bytes);
    if (!args) {
        ltd_fail(&err, LTD_E_EXHAUSTED, "no memory");
        return conclude(verb, -1, &err);
    }
    if (cli_options_parse(verb->groups, argc, argv, args, verb->takes_stdin, &words, &err) == 0) {
        status = run_parsed(verb, &words, args, &err);
    } else {
        status = usage_error(verb->name, &err);
        cli_help_usage(verb, stderr);
        fprintf(stderr, "try \"latentctl help %s\"\n", verb->name);
    }
    cli_options_fini(verb->groups, args);
    free(words.items);
    free(args);
    return status;
}

/* A mistake before there is a verb: three lines, because the list of verbs would hide the first. */
static int usage_of_all(const struct ltd_err *err)
{
    usage_error(NULL, err);
    fputs("usage: latentctl VERB [OPTION]...\ntry \"latentctl help\"\n", stderr);
    return EXIT_USAGE;
}

static int no_verb(const char *name)
{
    struct ltd_err err;
    const struct cli_verb *nearest = cli_verb_nearest(name);
    if (nearest)
        ltd_fail(&err, LTD_E_INVALID, "no verb \"%s\", did you mean %s?", name, nearest->name);
    else
        ltd_fail(&err, LTD_E_INVALID, "no verb \"%s\"", name);
    return usage_of_all(&err);
}

/* "latentctl help [VERB | --man]". */
static int run_help(int argc, const char *const *argv)
{
    const struct cli_verb *verb = argc > 0 ? cli_verb_find(argv[0]) : NULL;
    if (argc == 0)
        cli_help_overview(stdout);
    else if (strcmp(argv[0], "--man") == 0)
        cli_manual_write(stdout);
    else if (verb)
        cli_help_verb(verb, stdout);
    else
        return no_verb(argv[0]);
    return fflush(stdout) == 0 ? 0 : 1;
}

/*
 * How many of the words at `argv` are common options in front of the verb: "latentctl --json jobs".
 * -1 with `err` when one is unknown there.
 */
static int count_leading(int argc, const char *const *argv, struct ltd_err *err)
{
    static const struct cli_group common[] = {CLI_COMMON_GROUP, {NULL, 0, 0}};
    int n = 0;
    while (n < argc && argv[n][0] == '-') {
        const char *name = argv[n][1] == '-' ? argv[n] + 2 : "";
        size_t len = strcspn(name, "=");
        const struct cli_option *row = cli_option_find(common, name, len, NULL);
        if (!row)
            return ltd_fail(
                err, LTD_E_INVALID,
                "%s before the verb, expected an option of every verb, such as --server", argv[n]);
        n += row->kind == CLI_FLAG || name[len] == '=' ? 1 : 2;
    }
    return n;
}

static int run_command(int argc, const char *const *argv)
{
    struct ltd_err err = {.code = LTD_OK};
    int n_leading = count_leading(argc, argv, &err);
    if (n_leading < 0 || n_leading >= argc) {
        if (n_leading >= 0)
            ltd_fail(&err, LTD_E_INVALID, "no verb");
        return usage_of_all(&err);
    }
    const struct cli_verb *verb = cli_verb_find(argv[n_leading]);
    if (!verb)
        return no_verb(argv[n_leading]);
    /* The verb's name steps aside: what stood before it is parsed with the rest. */
    const char **rest = calloc((size_t)argc, sizeof *rest);
    if (!rest) {
        ltd_fail(&err, LTD_E_EXHAUSTED, "no memory");
        return conclude(verb, -1, &err);
    }
    for (int i = 0, n = 0; i < argc; i++)
        if (i != n_leading)
            rest[n++] = argv[i];
    int status = run_verb(verb, argc - 1, rest);
    free(rest);
    return status;
}

int main(int argc, char **argv)
{
    const char *const *words = (const char *const *)argv + 1;
    const char *first = argc > 1 ? words[0] : "";
    cli_interrupt_init();
    if (strcmp(first, "help") == 0)
        return run_help(argc - 2, words + 1);
    if (strcmp(first, "--help") == 0 || strcmp(first, "-h") == 0)
        return run_help(0, NULL);
    if (strcmp(first, "--version") == 0)
        return printf("latentctl %s\n", LATENTD_VERSION) > 0 && fflush(stdout) == 0 ? 0 : 1;
    return run_command(argc > 0 ? argc - 1 : 0, words);
}
