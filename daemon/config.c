/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/config.c - reads the option file and the arguments, and reports every mistake.
 *
 * Values come in three layers: defaults, file, arguments. A layer that names a key replaces what
 * the layer below said, list of addresses included; a key twice in one layer is a mistake, because
 * somebody believes the other line. Text travels to the fields through one function (take_value),
 * so file, --set and flags are judged alike.
 */
#include "daemon/config.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/utf8.h"
#include "daemon/auth_file.h"
#include "daemon/config_table.h"
#include "kernels/dispatch.h"

#define OPTIONS_MAX  64 /* rows; config_load asserts that the table fits */
#define WHERE_BYTES  300
#define MISTAKES_MAX 200 /* a binary file given by mistake need not fill the screen */
#define SHOWN_BYTES  120 /* of a value in a message */

enum layer { LAYER_DEFAULT, LAYER_FILE, LAYER_ARGUMENTS };

struct loader {
    struct config *config;
    struct config_report *report;
    enum layer layer;
    /* For each row: which layer set it last, and where, to report doubles. */
    enum layer set_in[OPTIONS_MAX];
    char set_at[OPTIONS_MAX][WHERE_BYTES];
    const char *file; /* of --config, or NULL */
    bool out_of_memory;
};

/* ------------------------------------------------------------------------------- mistakes */

__attribute__((format(printf, 3, 4))) static void mistake(struct loader *l, const char *where,
                                                          const char *fmt, ...)
{
    char line[1200];
    if (l->report->n_mistakes++ >= MISTAKES_MAX)
        return;
    int n = snprintf(line, sizeof line, "%s: ", where);
    va_list args;
    va_start(args, fmt);
    vsnprintf(line + n, sizeof line - (size_t)n, fmt, args);
    va_end(args);
    /* Values may hold anything, and be cut inside a code point; a terminal shall see a clean
     * line. */
    ltd_utf8_tidy(line);
    ltd_bytes_put_str(&l->report->text, line);
    ltd_bytes_put_u8(&l->report->text, '\n');
}

/* A value as messages show it: cut, and marked where it was cut. */
static const char *shown(const char *text, char buf[SHOWN_BYTES + 8])
{
    size_t len = strnlen(text, SHOWN_BYTES + 1);
    snprintf(buf, SHOWN_BYTES + 8, "\"%.*s%s\"", SHOWN_BYTES, text, len > SHOWN_BYTES ? "…" : "");
    return buf;
}

/* -------------------------------------------------------------------------------- values */

/* Without memory the field keeps what it has, and the configuration is not valid. */
static void set_text(struct loader *l, char **field, const char *text)
{
    char *copy = strdup(text);
    if (!copy) {
        l->out_of_memory = true;
        return;
    }
    free(*field);
    *field = copy;
}

static void clear_addresses(struct config *config)
{
    for (int32_t i = 0; i < config->n_listen; i++) {
        free(config->listen[i]);
        config->listen[i] = NULL;
    }
    config->n_listen = 0;
}

static void take_address(struct loader *l, const char *where, const char *value)
{
    struct config *config = l->config;
    char buf[SHOWN_BYTES + 8];
    const char *colon = strrchr(value, ':');
    bool any_port = colon && strcmp(colon, ":0") == 0;
    for (int32_t i = 0; i < config->n_listen && !any_port; i++)
        if (strcmp(config->listen[i], value) == 0)
            mistake(l, where, "listen: %s is given twice, expected each address once",
                    shown(value, buf));
    if (config->n_listen == CONFIG_LISTEN_MAX)
        mistake(l, where, "listen: more than %d addresses, expected at most %d", CONFIG_LISTEN_MAX,
                CONFIG_LISTEN_MAX);
    else
        set_text(l, &config->listen[config->n_listen++], value);
}

static bool parse_int(const struct config_option *option, const char *text, int64_t *out)
{
    char *end;
    const char *digits = *text == '-' ? text + 1 : text;
    if (!isdigit((unsigned char)*digits))
        return false;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (*end || errno || (double)value < option->min || (double)value > option->max)
        return false;
    *out = value;
    return true;
}

/* Plain decimal numbers only: strtod would also take "nan", "inf", "0x1p3" and leading blanks. */
static bool parse_number(const struct config_option *option, const char *text, double *out)
{
    char *end;
    if (!*text || strspn(text, "+-.0123456789eE") != strlen(text))
        return false;
    double value = strtod(text, &end);
    if (*end || !isfinite(value) || value < option->min || value > option->max)
        return false;
    *out = value;
    return true;
}

/* Judge `value` and put it into its field; on a mistake the field keeps what it had. */
static void take_value(struct loader *l, const struct config_option *option, const char *where,
                       const char *value)
{
    char expected[CONFIG_WHY_BYTES], buf[SHOWN_BYTES + 8];
    char *field = (char *)l->config + option->offset;
    bool good = true;
    config_option_expected(option, expected, sizeof expected);
    switch (option->type) {
    case CONFIG_TYPE_INT:
        good = parse_int(option, value, (int64_t *)(void *)field);
        break;
    case CONFIG_TYPE_NUMBER:
        good = parse_number(option, value, (double *)(void *)field);
        break;
    case CONFIG_TYPE_TEXT:
        good = !option->check || option->check(value, expected);
        if (good)
            set_text(l, (char **)(void *)field, value);
        break;
    case CONFIG_TYPE_ADDRESSES:
        good = !option->check || option->check(value, expected);
        if (good)
            take_address(l, where, value);
        break;
    }
    if (!good && option->check)
        mistake(l, where, "%s: found %s, %s", option->name, shown(value, buf), expected);
    else if (!good)
        mistake(l, where, "%s: found %s, expected %s", option->name, shown(value, buf), expected);
}

/* One `key = value`, wherever it came from. */
static void take_pair(struct loader *l, const char *where, const char *name, size_t name_len,
                      const char *value)
{
    const struct config_option *option = config_option_find(name, name_len);
    if (!option) {
        const struct config_option *near_option = config_option_nearest(name, name_len);
        if (near_option)
            mistake(l, where, "%.*s: unknown key, did you mean %s?", (int)name_len, name,
                    near_option->name);
        else
            mistake(l, where, "%.*s: unknown key, expected one of those in latentd --help",
                    name_len > 80 ? 80 : (int)name_len, name);
        return;
    }
    size_t row = (size_t)(option - config_options);
    bool again = l->set_in[row] == l->layer && l->set_at[row][0];
    if (again && option->type != CONFIG_TYPE_ADDRESSES) {
        mistake(l, where, "%s: given twice (first at %s), expected once", option->name,
                l->set_at[row]);
        return;
    }
    if (!again && option->type == CONFIG_TYPE_ADDRESSES)
        clear_addresses(l->config);
    l->set_in[row] = l->layer;
    snprintf(l->set_at[row], WHERE_BYTES, "%s", where);
    take_value(l, option, where, value);
}

/* ----------------------------------------------------------------------------------- file */

static char *trim(char *s)
{
    while (*s == ' ' || *s == '\t')
        s++;
    size_t len = strlen(s);
    while (len > 0 && (s[len - 1] == ' ' || s[len - 1] == '\t' || s[len - 1] == '\r'))
        s[--len] = '\0';
    return s;
}

/* A '#' at the beginning or behind a blank begins a comment: paths may hold one elsewhere. */
static void cut_comment(char *line)
{
    for (char *c = line; *c; c++) {
        if (*c == '#' && (c == line || c[-1] == ' ' || c[-1] == '\t')) {
            *c = '\0';
            return;
        }
    }
}

static void take_line(struct loader *l, const char *where, char *line, size_t len)
{
    char buf[SHOWN_BYTES + 8];
    if (memchr(line, '\0', len)) {
        mistake(l, where, "found a NUL byte, expected text");
        return;
    }
    if (ltd_utf8_valid_prefix(line, len) != len) {
        mistake(l, where, "byte %zu is not UTF-8, expected text",
                ltd_utf8_valid_prefix(line, len) + 1);
        return;
    }
    cut_comment(line);
    char *text = trim(line);
    if (!*text)
        return;
    char *equals = strchr(text, '=');
    if (!equals || equals == text) {
        mistake(l, where, "found %s, expected key = value", shown(text, buf));
        return;
    }
    *equals = '\0';
    char *key = trim(text);
    take_pair(l, where, key, strlen(key), trim(equals + 1));
}

/* The whole file, NUL-terminated, or NULL with the mistake reported. */
static char *read_file(struct loader *l, size_t *len)
{
    char *data = NULL;
    struct stat st;
    /* A pipe that is given by mistake must not hold the start up. */
    int fd = open(l->file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &st) != 0) {
        mistake(l, l->file, "%s, expected a file of key = value lines", strerror(errno));
    } else if (!S_ISREG(st.st_mode) || st.st_size > (off_t)CONFIG_FILE_BYTES_MAX) {
        mistake(l, l->file, "%s, expected a file of at most %u bytes",
                S_ISREG(st.st_mode) ? "too large" : "no regular file", CONFIG_FILE_BYTES_MAX);
    } else if ((data = malloc((size_t)st.st_size + 1)) != NULL) {
        ssize_t n = read(fd, data, (size_t)st.st_size);
        *len = n < 0 ? 0 : (size_t)n;
        data[*len] = '\0';
        if (n < 0)
            mistake(l, l->file, "%s, expected a readable file", strerror(errno));
    }
    if (fd >= 0)
        close(fd);
    return data;
}

static void take_file(struct loader *l)
{
    size_t len = 0;
    char *data = read_file(l, &len);
    l->layer = LAYER_FILE;
    int line_no = 1;
    for (char *line = data; line && line < data + len; line_no++) {
        char where[WHERE_BYTES];
        char *end = memchr(line, '\n', (size_t)(data + len - line));
        size_t line_len = end ? (size_t)(end - line) : (size_t)(data + len - line);
        snprintf(where, sizeof where, "%.*s:%d", WHERE_BYTES - 16, l->file, line_no);
        line[line_len] = '\0';
        take_line(l, where, line, line_len);
        line += line_len + 1;
    }
    free(data);
}

/* ------------------------------------------------------------------------------ arguments */

struct action_flag {
    const char *flag;
    enum config_action action;
    bool takes_path;
};

static const struct action_flag action_flags[] = {
    {"--check-config", CONFIG_CHECK, false},
    {"--help", CONFIG_HELP, false},
    {"-h", CONFIG_HELP, false},
    {"--version", CONFIG_VERSION, false},
    {"--print-options-markdown", CONFIG_MARKDOWN, false},
    {"--print-man", CONFIG_MANUAL, false},
    {"--store-check", CONFIG_STORE_CHECK, true},
    {"--store-vacuum", CONFIG_STORE_VACUUM, true},
    {"--store-export", CONFIG_STORE_EXPORT, true},
};

/* The action that the first `len` bytes of an argument name, or NULL. */
static const struct action_flag *find_action(const char *arg, size_t len)
{
    for (size_t i = 0; i < sizeof action_flags / sizeof *action_flags; i++)
        if (strlen(action_flags[i].flag) == len && memcmp(action_flags[i].flag, arg, len) == 0)
            return &action_flags[i];
    return NULL;
}

static const struct config_option *option_of_flag(const char *arg, size_t len)
{
    for (int32_t i = 0; i < config_n_options; i++) {
        const char *flag = config_options[i].flag;
        if (flag && strlen(flag) == len && memcmp(flag, arg, len) == 0)
            return &config_options[i];
    }
    return NULL;
}

static void take_set(struct loader *l, const char *pair)
{
    char buf[SHOWN_BYTES + 8];
    const char *equals = strchr(pair, '=');
    if (!equals || equals == pair)
        mistake(l, "command line", "--set: found %s, expected KEY=VALUE", shown(pair, buf));
    else
        take_pair(l, "command line", pair, (size_t)(equals - pair), equals + 1);
}

static void take_flag(struct loader *l, const char *name, size_t len, const char *value)
{
    const struct config_option *option = option_of_flag(name, len);
    if (option)
        take_pair(l, "command line", option->name, strlen(option->name), value);
    else if (len == 5 && memcmp(name, "--set", 5) == 0)
        take_set(l, value);
    else if (l->file && strcmp(l->file, value) != 0)
        mistake(l, "command line", "--config: given twice, expected one file");
    else
        l->file = value;
}

static bool is_flag(const char *name, size_t len)
{
    return option_of_flag(name, len) || (len == 5 && memcmp(name, "--set", 5) == 0) ||
           (len == 8 && memcmp(name, "--config", 8) == 0);
}

/*
 * Both "--flag value" and "--flag=value". Two passes over the same arguments: the first only finds
 * the file and the action, because the file's values lie below those of the arguments.
 */
static void take_arguments(struct loader *l, int argc, char *const *argv, bool only_look,
                           enum config_action *action)
{
    for (int i = 1; i < argc; i++) {
        const char *arg = argv[i];
        const char *equals = strchr(arg, '=');
        size_t len = equals ? (size_t)(equals - arg) : strlen(arg);
        char buf[SHOWN_BYTES + 8];
        const struct action_flag *what = find_action(arg, len);
        if (what)
            *action = what->action;
        if (what && !what->takes_path && !equals)
            continue;
        bool known = what ? what->takes_path : is_flag(arg, len);
        const char *value = equals ? equals + 1 : known && i + 1 < argc ? argv[++i] : NULL;
        bool is_config = len == 8 && memcmp(arg, "--config", 8) == 0;
        if (only_look) {
            if (known && value && is_config)
                l->file = l->file ? l->file : value;
            continue;
        }
        if (!known)
            mistake(l, "command line",
                    "%s: unknown argument, expected one of those in latentd --help",
                    shown(arg, buf));
        else if (!value)
            mistake(l, "command line", "%s: no value, expected one behind it", arg);
        else if (what)
            l->config->store_path = value;
        else
            take_flag(l, arg, len, value);
    }
}

/* --------------------------------------------------------------------------------- checks */

static const char *where_set(const struct loader *l, const char *name)
{
    const struct config_option *option = config_option_find(name, strlen(name));
    const char *at = l->set_at[option - config_options];
    return *at ? at : "default";
}

static void check_model(struct loader *l)
{
    struct stat st;
    char path[4096], buf[SHOWN_BYTES + 8];
    const char *dir = l->config->model;
    const char *where = where_set(l, "model");
    if (!*dir) {
        mistake(l, *where && strcmp(where, "default") != 0 ? where : "command line",
                "model: not given, expected a directory with config.json (--model DIR)");
        return;
    }
    int n = snprintf(path, sizeof path, "%s/config.json", dir);
    if (n >= (int)sizeof path)
        mistake(l, where, "model: found a path of %d bytes, expected less than %zu", n,
                sizeof path);
    else if (stat(dir, &st) != 0)
        mistake(l, where, "model: found %s: %s, expected a directory with config.json",
                shown(dir, buf), strerror(errno));
    else if (!S_ISDIR(st.st_mode))
        mistake(l, where, "model: found %s, which is no directory, expected one with config.json",
                shown(dir, buf));
    else if (access(path, R_OK) != 0)
        mistake(l, where, "model: found %s without a readable config.json: %s", shown(dir, buf),
                strerror(errno));
}

/* A file that is to be written: its directory must be there and take files. */
static void check_writable(struct loader *l, const char *name, const char *path)
{
    char dir[4096], buf[SHOWN_BYTES + 8];
    if (!*path)
        return;
    snprintf(dir, sizeof dir, "%s", path);
    char *slash = strrchr(dir, '/');
    if (!slash)
        snprintf(dir, sizeof dir, ".");
    else
        slash[slash == dir] = '\0';
    if (strlen(path) >= sizeof dir || access(dir, W_OK | X_OK) != 0)
        mistake(l, where_set(l, name),
                "%s: found %s, expected a path in a directory that takes "
                "files: %s",
                name, shown(path, buf), strerror(errno));
}

static bool has_tls_address(const struct config *c)
{
    for (int32_t i = 0; i < c->n_listen; i++)
        if (strncmp(c->listen[i], "tls:", 4) == 0)
            return true;
    return strncmp(c->metrics_listen, "tls:", 4) == 0;
}

/* Half a configuration of TLS is none, and whoever wrote it believes that there is one. */
static void check_tls(struct loader *l)
{
    const struct config *c = l->config;
    bool asks = strcmp(c->tls_client, "off") != 0;
    if (has_tls_address(c) && !*c->tls_certificate)
        mistake(l, where_set(l, "tls_certificate"),
                "tls_certificate: not given, expected a PEM file for the address with tls: (%s)",
                where_set(l, "listen"));
    if (!has_tls_address(c) && *c->tls_certificate)
        mistake(l, where_set(l, "tls_certificate"),
                "tls_certificate: given, but no address of listen begins with tls:");
    if (*c->tls_certificate && !*c->tls_key)
        mistake(l, where_set(l, "tls_key"), "tls_key: not given, expected the key of %s",
                c->tls_certificate);
    if (!*c->tls_certificate && (*c->tls_key || *c->tls_client_ca || asks))
        mistake(l, where_set(l, "tls_certificate"),
                "tls_certificate: not given beside other options of TLS, expected a PEM file");
    if (asks && !*c->tls_client_ca)
        mistake(l, where_set(l, "tls_client_ca"),
                "tls_client_ca: not given, expected a PEM file because tls_client is %s (%s)",
                c->tls_client, where_set(l, "tls_client"));
    if (!asks && *c->tls_client_ca)
        mistake(l, where_set(l, "tls_client_ca"),
                "tls_client_ca: given, but tls_client is off (%s), expected ask or require there",
                where_set(l, "tls_client"));
}

/* Every mistake of the access file, for --check-config. A start leaves it to rank 0, which is alone
 * in needing the file. */
static void check_access_file(struct loader *l)
{
    struct auth_table table;
    struct auth_mistakes mistakes = {0};
    struct ltd_err err = {0};
    const char *where = where_set(l, "access_file");
    if (!*l->config->access_file ||
        auth_table_read(l->config->access_file, &table, &mistakes, &err) == 0) {
        if (*l->config->access_file)
            auth_table_fini(&table);
        return;
    }
    auth_table_fini(&table);
    if (mistakes.n == 0)
        mistake(l, where, "access_file: %s", err.msg);
    ltd_bytes_put_u8(&mistakes.text, '\0');
    char *rest = (char *)mistakes.text.data;
    for (char *line; mistakes.n && (line = strsep(&rest, "\n")) && *line;)
        mistake(l, where, "access_file: %s", line);
    ltd_bytes_fini(&mistakes.text);
}

/* The tiers of this machine that have the format, as "avx2 or ref". */
static void list_tiers_with(enum kern_format format, char *out, size_t size)
{
    struct kern_tier_info info;
    size_t used = 0;
    snprintf(out, size, "none");
    for (int32_t i = 0; i < kern_tier_count() && used < size; i++) {
        kern_tier_describe(i, &info);
        const struct kern_ops *ops = info.available ? kern_tier_find(info.name, NULL) : NULL;
        if (ops && kern_tier_has(ops, format))
            used +=
                (size_t)snprintf(out + used, size - used, "%s%s", used ? " or " : "", info.name);
    }
}

/* Each of the two may be right by itself; a value that is not has its own mistake. */
static void check_format(struct loader *l, const char *option, const char *value)
{
    char tiers[120];
    enum kern_format format;
    const struct config *c = l->config;
    const struct kern_ops *ops =
        strcmp(c->tier, "auto") != 0 ? kern_tier_find(c->tier, NULL) : NULL;
    if (!ops || kern_format_parse(value, &format) != 0 || kern_tier_has(ops, format))
        return;
    list_tiers_with(format, tiers, sizeof tiers);
    mistake(l, where_set(l, option),
            "%s: found %s beside tier %s (%s), which has no such weights, expected a tier that "
            "has them: %s",
            option, value, c->tier, where_set(l, "tier"), tiers);
}

static void check_early(struct loader *l)
{
    const struct config *c = l->config;
    if (strcmp(c->early_format, c->format) == 0)
        mistake(l, where_set(l, "early_format"),
                "early_format: found %s, as format (%s), expected another one: the two copies "
                "would be equal",
                c->early_format, where_set(l, "format"));
    if (c->early_steps && strcmp(c->early_format, "none") == 0)
        mistake(l, where_set(l, "early_steps"),
                "early_steps: found %lld without an early_format, expected 0 or an early_format",
                (long long)c->early_steps);
}

static void check_together(struct loader *l)
{
    const struct config *c = l->config;
    check_model(l);
    check_format(l, "format", c->format);
    check_format(l, "early_format", c->early_format);
    check_early(l);
    check_tls(l);
    check_writable(l, "ready_file", c->ready_file);
    check_writable(l, "tick_record", c->tick_record);
    if (c->prefill_chunk > c->max_batch)
        mistake(l, where_set(l, "prefill_chunk"),
                "prefill_chunk: found %lld, expected at most max_batch, which is %lld (%s)",
                (long long)c->prefill_chunk, (long long)c->max_batch, where_set(l, "max_batch"));
    if (*c->kv_policy && c->kv_slots)
        mistake(l, where_set(l, "kv_policy"),
                "kv_policy: found \"%s\" beside kv_slots %lld (%s), expected only one of them",
                c->kv_policy, (long long)c->kv_slots, where_set(l, "kv_slots"));
    if (c->kv_pages && c->kv_memory)
        mistake(l, where_set(l, "kv_pages"),
                "kv_pages: found %lld beside kv_memory %lld (%s), expected only one of them",
                (long long)c->kv_pages, (long long)c->kv_memory, where_set(l, "kv_memory"));
}

/* ------------------------------------------------------------------------------- the whole */

static void take_defaults(struct loader *l)
{
    for (int32_t i = 0; i < config_n_options; i++) {
        const struct config_option *option = &config_options[i];
        if (option->type == CONFIG_TYPE_TEXT)
            set_text(l, (char **)(void *)((char *)l->config + option->offset), "");
        if (*option->default_text)
            take_value(l, option, "default", option->default_text);
    }
}

/* The count past the limit, and what strdup and the report itself could not take. */
static void close_report(struct loader *l)
{
    char line[80];
    struct config_report *report = l->report;
    if (report->n_mistakes > MISTAKES_MAX) {
        snprintf(line, sizeof line, "… and %d more\n", report->n_mistakes - MISTAKES_MAX);
        ltd_bytes_put_str(&report->text, line);
    }
    if (l->out_of_memory)
        mistake(l, "memory", "none left while reading the configuration");
}

void config_load(int argc, char *const *argv, struct config *config, enum config_action *action,
                 struct config_report *report)
{
    struct loader l = {.config = config, .report = report};
    ltd_assert(config_n_options <= OPTIONS_MAX, config_n_options, OPTIONS_MAX);
    memset(config, 0, sizeof *config);
    ltd_bytes_init(&report->text);
    report->n_mistakes = 0;
    *action = CONFIG_RUN;
    take_defaults(&l);
    take_arguments(&l, argc, argv, true, action);
    bool looks_further = *action == CONFIG_RUN || *action == CONFIG_CHECK;
    if (l.file && looks_further)
        take_file(&l);
    l.layer = LAYER_ARGUMENTS;
    take_arguments(&l, argc, argv, false, action);
    if (looks_further && !l.out_of_memory)
        check_together(&l);
    if (*action == CONFIG_CHECK && !l.out_of_memory)
        check_access_file(&l);
    close_report(&l);
}

void config_fini(struct config *config)
{
    clear_addresses(config);
    for (int32_t i = 0; i < config_n_options; i++)
        if (config_options[i].type == CONFIG_TYPE_TEXT)
            free(*(char **)(void *)((char *)config + config_options[i].offset));
    memset(config, 0, sizeof *config);
}

void config_report_fini(struct config_report *report)
{
    ltd_bytes_fini(&report->text);
    report->n_mistakes = 0;
}
