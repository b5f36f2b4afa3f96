/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/config_manual.c - the manual page latentd(8), made from the table of options.
 *
 * docs/latentd.8 is what `latentd --print-man` prints; a test fails while it is stale.
 */
#include <string.h>

#include "daemon/config_table.h"

/* Text as troff wants it: a dash is a dash, a backslash itself, and no line begins with a request.
 */
static void put_text(struct ltd_bytes *out, const char *text)
{
    if (*text == '.' || *text == '\'')
        ltd_bytes_put_str(out, "\\&");
    for (; *text; text++) {
        if (*text == '-')
            ltd_bytes_put_str(out, "\\-");
        else if (*text == '\\')
            ltd_bytes_put_str(out, "\\e");
        else
            ltd_bytes_put_u8(out, (uint8_t)*text);
    }
}

static void put_line(struct ltd_bytes *out, const char *request, const char *text)
{
    ltd_bytes_put_str(out, request);
    put_text(out, text);
    ltd_bytes_put_str(out, "\n");
}

static void put_item(struct ltd_bytes *out, const char *tag, const char *text)
{
    put_line(out, ".TP\n.B ", tag);
    put_line(out, "", text);
}

static void put_invocation(struct ltd_bytes *out)
{
    ltd_bytes_put_str(out, ".\\\" Written by \"latentd --print-man\"; change daemon/, not this "
                           "file.\n.TH LATENTD 8 \"\" latentd \"System Administration\"\n.SH NAME\n"
                           "latentd \\- inference daemon for recurrent\\-depth language models\n"
                           ".SH SYNOPSIS\n.B latentd\n\\fB\\-\\-model\\fR \\fIDIR\\fR "
                           "[\\fIOPTION\\fR]...\n.br\n.B mpirun\n\\fB\\-\\-bind\\-to none "
                           "\\-n\\fR \\fIRANKS\\fR \\fBlatentd\\fR \\fB\\-\\-model\\fR "
                           "\\fIDIR\\fR [\\fIOPTION\\fR]...\n.SH DESCRIPTION\n");
    put_line(
        out, "",
        "latentd serves models that think in a latent space before they write: prelude and coda "
        "on rank 0, the recurrent block over all ranks of an mpirun, jobs over gRPC. "
        "latentctl(1) is its command line.");
    ltd_bytes_put_str(out, ".SH OPTIONS\n");
    put_item(out, "--config FILE",
             "Read options from FILE: lines of key = value, # begins a comment.");
    put_item(out, "--set KEY=VALUE", "Set any option below; wins over the file.");
    put_item(out, "--model DIR, --listen ADDR, --threads N, --log-level LEVEL",
             "Short for --set of these options; --listen may be repeated.");
    put_item(out, "--check-config",
             "Print every mistake in the configuration, or its effective values; start nothing.");
    put_item(
        out, "--store-check PATH, --store-vacuum PATH, --store-export PATH",
        "Look after the job log PATH and start nothing: name every damaged job (exit status 8), "
        "rewrite the file without deleted rows, print every job as a line of JSON. Check and "
        "export may be used beside a running daemon.");
    put_item(out, "--help, --version", "Print and exit.");
}

static void put_option(struct ltd_bytes *out, const struct config_option *option)
{
    char expected[CONFIG_WHY_BYTES];
    config_option_expected(option, expected, sizeof expected);
    put_line(out, ".TP\n.B ", option->name);
    put_line(out, "", expected);
    put_line(out, ".br\nDefault: ",
             strcmp(option->name, "model") == 0 ? "none"
             : *option->default_text            ? option->default_text
                                                : "empty");
    put_line(out, ".br\n", option->help);
    put_line(out, "", option->effect);
}

static void put_conduct(struct ltd_bytes *out)
{
    ltd_bytes_put_str(out, ".SH SIGNALS\n");
    put_item(
        out, "SIGTERM, SIGINT",
        "Drain and exit: no new jobs, drain_seconds for running ones; a second one ends them at "
        "once. Never send them to mpirun, which kills its ranks.");
    put_item(out, "SIGUSR1", "The same; mpirun hands it on, so it is how a group is stopped.");
    put_item(out, "SIGUSR2",
             "Reads certificates and the access file again; what has a mistake in it stays as it "
             "was, and the log says so. No option can be changed while the daemon runs.");
    ltd_bytes_put_str(out, ".SH EXIT STATUS\n");
    put_item(out, "0", "Ended in order.");
    put_item(out, "1", "Could not go on: an address in use, no memory, a fault of the program.");
    put_item(out, "2", "The configuration or the model is wrong; nothing was started.");
    put_item(out, "4", "A rank was lost, or ranks do not agree.");
    ltd_bytes_put_str(out, ".SH SEE ALSO\n.BR latentctl (1),\n.BR mpirun (1)\n");
}

void config_print_manual(struct ltd_bytes *out)
{
    const char *group = "";
    put_invocation(out);
    ltd_bytes_put_str(out, ".SH CONFIGURATION\n");
    for (int32_t i = 0; i < config_n_options; i++) {
        if (strcmp(group, config_options[i].group) != 0)
            put_line(out, ".SS ", group = config_options[i].group);
        put_option(out, &config_options[i]);
    }
    put_conduct(out);
}
