/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/fuzz_config_file.c - the daemon's option file, and options of the command line.
 *
 * Input: the file; its first line is also given as --set. The model is one that exists, so that
 * nothing but the options decides.
 * Checked: every mistake is one clean line of UTF-8 and is counted; a configuration without a
 * mistake, printed as it is in force and read again, is the same configuration.
 */
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "daemon/config.h"
#include "tests/fuzz/fuzz.h"

#define MISTAKES_SHOWN 200

static void check_report(const struct config_report *report)
{
    int32_t n_lines = 0;
    const char *text = (const char *)report->text.data;
    size_t len = report->text.len;
    FUZZ_CHECK(len == 0 || ltd_utf8_valid_prefix(text, len) == len, "a report that is no UTF-8");
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        n_lines += c == '\n';
        FUZZ_CHECK(c == '\n' || (c >= 0x20 && c != 0x7F), "byte 0x%02x in a report", c);
    }
    FUZZ_CHECK(n_lines == report->n_mistakes || report->n_mistakes > MISTAKES_SHOWN,
               "%d mistakes on %d lines", report->n_mistakes, n_lines);
}

/* The values in force, as a file. */
static void load(const void *file, size_t len, const char *set, struct ltd_bytes *values,
                 int32_t *n_mistakes)
{
    char arg0[] = "latentd", arg1[] = "--config", arg3[] = "--check-config", arg4[] = "--set";
    char arg6[] = "--model", arg7[] = SOURCE_DIR "/models/demo";
    char *path = strdup(fuzz_file(file, len)), *pair = strdup(set ? set : "log_level=info");
    FUZZ_CHECK(path && pair, "no memory");
    char *argv[] = {arg0, arg1, path, arg3, arg6, arg7, arg4, pair, NULL};
    struct config config;
    struct config_report report;
    enum config_action action;
    config_load(set ? 8 : 6, argv, &config, &action, &report);
    check_report(&report);
    FUZZ_CHECK(action == CONFIG_CHECK, "action %d", action);
    *n_mistakes = report.n_mistakes;
    config_print_values(&config, values);
    config_report_fini(&report);
    config_fini(&config);
    free(path);
    free(pair);
}

/* The first line, as an argument is given: a string. */
static char *first_line(const uint8_t *data, size_t len)
{
    char line[512];
    size_t n = 0;
    while (n < len && n + 1 < sizeof line && data[n] != '\n' && data[n] != '\0') {
        line[n] = (char)data[n];
        n++;
    }
    line[n] = '\0';
    return strdup(line);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct ltd_bytes first, second;
    int32_t n_mistakes, n_again;
    ltd_bytes_init(&first);
    ltd_bytes_init(&second);
    load(data, len, NULL, &first, &n_mistakes);
    if (n_mistakes == 0) {
        load(first.data, first.len, NULL, &second, &n_again);
        FUZZ_CHECK(n_again == 0, "values in force are %d mistakes:\n%.*s", n_again, (int)first.len,
                   first.data);
        FUZZ_CHECK(first.len == second.len && memcmp(first.data, second.data, first.len) == 0,
                   "values in force, read again, are others:\n%.*s---\n%.*s", (int)first.len,
                   first.data, (int)second.len, second.data);
    }
    ltd_bytes_clear(&first);
    char *line = first_line(data, len);
    FUZZ_CHECK(line, "no memory");
    load("", 0, line, &first, &n_mistakes);
    free(line);
    ltd_bytes_fini(&first);
    ltd_bytes_fini(&second);
    return 0;
}
