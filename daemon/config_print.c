/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/config_print.c - the table of options as text: --help, effective values, the manual page.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "daemon/config_table.h"

__attribute__((format(printf, 2, 3))) static void put(struct ltd_bytes *out, const char *fmt, ...)
{
    char text[2048];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    ltd_bytes_put_str(out, text);
}

void config_print_values(const struct config *config, struct ltd_bytes *out)
{
    for (int32_t i = 0; i < config_n_options; i++) {
        const struct config_option *option = &config_options[i];
        const char *field = (const char *)config + option->offset;
        switch (option->type) {
        case CONFIG_TYPE_INT:
            put(out, "%s = %lld\n", option->name, (long long)*(const int64_t *)(const void *)field);
            break;
        case CONFIG_TYPE_NUMBER:
            put(out, "%s = %.15g\n", option->name, *(const double *)(const void *)field);
            break;
        case CONFIG_TYPE_TEXT:
            put(out, "%s = %s\n", option->name, *(char *const *)(const void *)field);
            break;
        case CONFIG_TYPE_ADDRESSES:
            for (int32_t j = 0; j < config->n_listen; j++)
                put(out, "%s = %s\n", option->name, config->listen[j]);
            break;
        }
    }
}

/* Words of `text` in lines of at most 90 columns behind `indent` blanks. */
static void put_wrapped(struct ltd_bytes *out, const char *text, int indent)
{
    int column = 0;
    while (*text) {
        size_t word = strcspn(text, " ");
        if (column && column + 1 + (int)word > 90 - indent) {
            put(out, "\n");
            column = 0;
        }
        put(out, "%*s%.*s", column ? 1 : indent, "", (int)word, text);
        column += (column ? 1 : 0) + (int)word;
        text += word + strspn(text + word, " ");
    }
    put(out, "\n");
}

static void put_default(struct ltd_bytes *out, const struct config_option *option)
{
    if (strcmp(option->name, "model") == 0)
        put(out, "none");
    else
        put(out, "%s", *option->default_text ? option->default_text : "empty");
}

void config_print_help(struct ltd_bytes *out)
{
    put(out, "latentd - inference daemon for recurrent-depth language models\n\n"
             "usage: latentd --model DIR [--config FILE] [--set KEY=VALUE ...]\n"
             "       mpirun --bind-to none -n RANKS latentd --model DIR ...\n\n"
             "  --config FILE     read options from FILE (lines of key = value, # comments)\n"
             "  --set KEY=VALUE   set any option below; wins over the file\n"
             "  --model DIR, --listen ADDR, --threads N, --log-level LEVEL\n"
             "                    short for --set of these options; --listen may be repeated\n"
             "  --check-config    report every mistake in the configuration and start nothing\n"
             "  --store-check PATH, --store-vacuum PATH, --store-export PATH\n"
             "                    look after a job log (docs/store.md) and start nothing\n"
             "  --help, --version\n\n"
             "exit status: 0 ended in order, 1 failed while running, 2 the configuration or the\n"
             "model is wrong, 4 a rank was lost\n\noptions:\n");
    const char *group = "";
    for (int32_t i = 0; i < config_n_options; i++) {
        const struct config_option *option = &config_options[i];
        char expected[CONFIG_WHY_BYTES];
        if (strcmp(group, option->group) != 0)
            put(out, "\n%s\n", group = option->group);
        config_option_expected(option, expected, sizeof expected);
        put(out, "\n  %s = %s\n", option->name, expected);
        put(out, "      default: ");
        put_default(out, option);
        put(out, "\n");
        put_wrapped(out, option->help, 6);
    }
}

void config_print_markdown(struct ltd_bytes *out)
{
    put(out,
        "# Configuration\n\n"
        "Made from the table of options by `latentd --print-options-markdown`; edit\n"
        "`daemon/config_table.c` instead and run `latentd --print-options-markdown` again.\n\n"
        "Options come from a file (`--config FILE`) and from arguments (`--set KEY=VALUE`, and\n"
        "`--model`, `--listen`, `--threads`, `--log-level` for short). Arguments win over the "
        "file.\n"
        "`latentd --check-config` starts nothing, prints every mistake with file, line, key, what\n"
        "was found and what would be right, and exits with 2; without mistakes it prints the\n"
        "effective values and exits with 0. Nothing is clamped and nothing unknown is ignored.\n\n"
        "The file holds lines of `key = value`. Blanks around key and value do not count. `#` at\n"
        "the beginning of a line or behind a blank begins a comment; there are no quotes. A key\n"
        "may stand once, `listen` up to 16 times.\n\n"
        "    # /etc/latentd/latentd.conf\n"
        "    model  = /srv/models/huginn-0125\n"
        "    listen = 127.0.0.1:7470\n"
        "    listen = unix:/run/latentd/latentd.sock\n\n"
        "No option can be changed while the daemon runs. SIGUSR2 reads the files again that "
        "options\n"
        "name, where that is of use: certificates, their keys and CAs, the access file.\n");
    const char *group = "";
    for (int32_t i = 0; i < config_n_options; i++) {
        const struct config_option *option = &config_options[i];
        char expected[CONFIG_WHY_BYTES];
        if (strcmp(group, option->group) != 0)
            put(out, "\n## %s\n", group = option->group);
        config_option_expected(option, expected, sizeof expected);
        put(out, "\n### `%s`\n\n", option->name);
        put(out, "*%s*; default: `", expected);
        put_default(out, option);
        put(out, "`%s%s%s\n\n", option->flag ? "; short: `" : "", option->flag ? option->flag : "",
            option->flag ? "`" : "");
        put_wrapped(out, option->help, 0);
        put(out, "\n");
        put_wrapped(out, option->effect, 0);
    }
}
