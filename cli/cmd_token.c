/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli/cmd_token.c - make an access token, and the line of the access file that knows it.
 *
 * A token is for whoever gets it, the line is for the operator's file and holds no secret
 * (docs/access.md). Nobody is asked, nothing is stored but in the file of --out.
 */
#include "cli/verb.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/json_out.h"
#include "cli/out.h"
#include "cli/token.h"

/* What somebody who asks for answers needs, and nothing more. */
static const char *const default_rights[] = {"inference", "jobs", "cluster"};

struct token_args {
    struct cli_common common;
    const char *out;
};

static const struct cli_option rows[] = {
    {"out", CLI_TEXT, offsetof(struct token_args, out), "FILE",
     "new: write the token to this new file, which only its owner can read, and the line to "
     "standard output"},
};

/* "token sha256:HEX NAME RIGHTS", or without a name what stands in front of it. */
static int make_line(const char *token, const struct cli_words *words, struct ltd_bytes *line,
                     struct ltd_err *err)
{
    char hex[CLI_TOKEN_HASH_BYTES];
    if (cli_token_hash(token, strlen(token), hex, err) != 0)
        return -1;
    ltd_bytes_put_str(line, "token sha256:");
    ltd_bytes_put_str(line, hex);
    for (size_t i = 1; i < words->n; i++) {
        ltd_bytes_put_str(line, " ");
        ltd_bytes_put_str(line, words->items[i]);
    }
    for (size_t i = 0; words->n == 2 && i < sizeof default_rights / sizeof default_rights[0]; i++) {
        ltd_bytes_put_str(line, " ");
        ltd_bytes_put_str(line, default_rights[i]);
    }
    ltd_bytes_put_u8(line, '\0');
    return line->failed ? ltd_fail(err, LTD_E_EXHAUSTED, "no memory for a line") : 0;
}

/* Never over a file that exists: it may be somebody's only copy. */
static int write_token(const char *path, const char *token, struct ltd_err *err)
{
    char text[CLI_TOKEN_BYTES + 1];
    int n = snprintf(text, sizeof text, "%s\n", token);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return ltd_fail(err, errno == EEXIST ? LTD_E_EXISTS : LTD_E_INVALID, "--out: %s: %s", path,
                        strerror(errno));
    bool ok = write(fd, text, (size_t)n) == n && fsync(fd) == 0;
    int why = errno;
    ok = close(fd) == 0 && ok;
    if (!ok) {
        unlink(path);
        return ltd_fail(err, LTD_E_INTERNAL, "--out: %s: %s", path, strerror(why));
    }
    return 0;
}

/* `token` NULL: it is not shown. */
static int print_json(const char *token, const char *line, struct ltd_err *err)
{
    struct cli_json j;
    cli_json_init(&j);
    cli_json_begin(&j, NULL, '{');
    cli_json_str(&j, "token", token);
    cli_json_str(&j, "line", line);
    cli_json_end(&j);
    return cli_json_print(&j, err);
}

static int make_new(const struct token_args *args, const struct cli_words *words,
                    struct ltd_bytes *line, struct ltd_err *err)
{
    char token[CLI_TOKEN_BYTES];
    if (cli_token_make(token, err) != 0 || make_line(token, words, line, err) != 0)
        return -1;
    const char *text = (const char *)line->data;
    if (args->out && write_token(args->out, token, err) != 0)
        return -1;
    if (args->common.json)
        return print_json(args->out ? NULL : token, text, err);
    cli_out_printf("%s\n", args->out ? text : token);
    if (cli_out_flush(err) != 0)
        return -1;
    if (!args->out)
        fprintf(stderr, "%s\n", text);
    return 0;
}

static int hash_given(const struct token_args *args, const struct cli_words *words,
                      struct ltd_bytes *line, struct ltd_err *err)
{
    char token[CLI_TOKEN_MAX_BYTES + 1];
    if (args->out)
        return ltd_fail(err, LTD_E_INVALID, "--out is for \"token new\"");
    if (cli_token_read(STDIN_FILENO, "standard input", token, err) != 0 ||
        make_line(token, words, line, err) != 0)
        return -1;
    if (args->common.json)
        return print_json(NULL, (const char *)line->data, err);
    cli_out_printf("%s\n", (const char *)line->data);
    return cli_out_flush(err);
}

static int run(const struct cli_words *words, const void *verb_args, struct ltd_err *err)
{
    const struct token_args *args = verb_args;
    const char *action = words->items[0];
    bool is_new = strcmp(action, "new") == 0;
    if (!is_new && strcmp(action, "hash") != 0)
        return ltd_fail(err, LTD_E_INVALID, "\"%s\", expected new or hash", action);
    if (words->n > 1 && cli_token_check_name(words->items[1], err) != 0)
        return -1;
    for (size_t i = 2; i < words->n; i++)
        if (cli_token_check_right(words->items[i], err) != 0)
            return -1;
    struct ltd_bytes line;
    ltd_bytes_init(&line);
    int rc = is_new ? make_new(args, words, &line, err) : hash_given(args, words, &line, err);
    ltd_bytes_fini(&line);
    return rc;
}

const struct cli_verb cli_token = {
    .name = "token",
    .synopsis = "[OPTION]... (new | hash) [NAME [RIGHT]...]",
    .summary = "make an access token, or the line of the access file that knows one",
    .details =
        "new prints a new token on standard output, once: it is kept nowhere. The line for the "
        "daemon's access file, which holds a hash and no secret, goes to standard error; with "
        "--out the token goes to a file and the line to standard output. hash reads a token from "
        "standard input and prints its line.\n\n"
        "NAME is who the token is for; without it the line ends behind the hash. Rights are "
        "inference, jobs, cluster, metrics and admin; without any: inference jobs cluster. "
        "docs/access.md explains them.\n\n"
        "With --json one object: token (null when it is not shown), line. No daemon is asked.",
    .groups = {{rows, sizeof rows / sizeof rows[0], 0}, CLI_COMMON_GROUP},
    .args_bytes = sizeof(struct token_args),
    .min_words = 1,
    .max_words = 7,
    .run = run,
};
