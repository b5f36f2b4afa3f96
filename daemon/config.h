/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/config.h - what an operator may choose: one table of options, read from file and
 * arguments.
 *
 * Every option is one row (daemon/config_table.c): name, type, default as one would type it, unit,
 * range, what it is for, when to change it. The parser, `--help`, `--check-config` and
 * docs/configuration.md all come from that row, so they cannot disagree.
 *
 * The file is lines of `key = value`; `#` begins a comment at the start of a line or after a blank.
 * Arguments win over the file, whatever their order. Nothing is ever clamped or ignored: a value
 * that is wrong is a mistake with file, line, key, what was found and what would be right, and all
 * mistakes are reported, not the first.
 *
 * Called from main before any thread exists; read-only afterwards. Whether a value fits the model
 * (max_steps, kv_policy) is decided by daemon/capacity.c, when the model is known.
 */
#ifndef LATENTD_DAEMON_CONFIG_H
#define LATENTD_DAEMON_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"

#define CONFIG_LISTEN_MAX     16
#define CONFIG_FILE_BYTES_MAX (1u << 20) /* a file of options is a page or two */

enum config_action {
    CONFIG_RUN,
    CONFIG_CHECK,       /* --check-config */
    CONFIG_HELP,        /* --help */
    CONFIG_VERSION,     /* --version */
    CONFIG_MANUAL,      /* --print-man, the source of docs/latentd.8 */
    CONFIG_MARKDOWN,    /* --print-options-markdown, the source of docs/configuration.md */
    CONFIG_STORE_CHECK, /* --store-check PATH, and so on: daemon/store_tool.h */
    CONFIG_STORE_VACUUM,
    CONFIG_STORE_EXPORT,
};

/* Units are in the names or in the table. Strings are owned, never NULL after config_load. */
struct config {
    const char *store_path; /* of a --store-… action; borrowed from the arguments */
    char *model;
    char *listen[CONFIG_LISTEN_MAX];
    int32_t n_listen;
    char *metrics_listen;
    char *tls_certificate;
    char *tls_key;
    char *tls_client;
    char *tls_client_ca;
    char *ready_file;
    char *access_file;
    char *log_level;
    char *tier;
    char *format;
    char *early_format;
    int64_t early_steps;
    char *weights;
    int64_t threads;
    char *shares;
    char *control_interface;
    double linger_ms;
    char *overlap;
    char *tick_record;
    int64_t max_steps;
    int64_t kv_slots;
    char *kv_policy;
    char *kv_format;
    int64_t kv_memory;
    int64_t kv_pages;
    int64_t kv_cached_memory;
    int64_t max_batch;
    int64_t prefill_chunk;
    double prefill_share;
    int64_t max_jobs_running;
    int64_t max_queue;
    double priority_ageing_seconds;
    int64_t held_jobs;
    int64_t default_max_tokens;
    char *store;
    char *other_numerics;
    int64_t finished_jobs_kept;
    double finished_job_seconds;
    int64_t finished_jobs_memory;
    int64_t max_connections;
    int64_t max_connections_per_address;
    int64_t max_connections_local;
    int64_t max_calls_per_connection;
    double max_connection_age_seconds;
    double max_connection_age_grace_seconds;
    double min_ping_seconds;
    int64_t max_prompt_request_bytes;
    int64_t max_request_bytes;
    double drain_seconds;
    char *test_service;
};

/* Mistakes, one line each, in the order in which they were found. */
struct config_report {
    struct ltd_bytes text; /* lines, each ending in a newline */
    int32_t n_mistakes;
};

/*
 * config_load - defaults, then the file that --config names, then the arguments, then checks.
 *
 * argv     as main got it; argv[0] is skipped
 * config   out: always initialised, call config_fini whatever the report says
 * action   out: what the arguments ask for
 * report   out: every mistake; n_mistakes 0 means that the configuration is valid
 *
 * Touches the file system only to read the option file and to see whether the model directory and
 * the directories of files to be written exist. With HELP, VERSION and MARKDOWN nothing else than
 * the arguments is looked at.
 */
void config_load(int argc, char *const *argv, struct config *config, enum config_action *action,
                 struct config_report *report);

void config_fini(struct config *config);
void config_report_fini(struct config_report *report);

/* The value of an option as text, for "effective values" and logs; `size` bytes with the NUL. */
void config_print_values(const struct config *config, struct ltd_bytes *out);

/* `latentd --help`, and the text of docs/configuration.md. */
void config_print_help(struct ltd_bytes *out);
void config_print_markdown(struct ltd_bytes *out);
void config_print_manual(struct ltd_bytes *out);

#endif
