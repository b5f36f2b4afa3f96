/* SPDX-License-Identifier: Apache-2.0 */
/* daemon/prometheus.c - see daemon/prometheus.h. */
#include "daemon/prometheus.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"

/* The longest label set is that of the build: a few names and a hash. */
#define LINE_BYTES 1024

static const char *type_name(enum prom_type type)
{
    switch (type) {
    case PROM_COUNTER:
        return "counter";
    case PROM_GAUGE:
        return "gauge";
    case PROM_HISTOGRAM:
        return "histogram";
    case PROM_SUMMARY:
        return "summary";
    }
    return "untyped";
}

static void put(struct prom *w, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void put(struct prom *w, const char *format, ...)
{
    char line[LINE_BYTES];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    ltd_assert(n >= 0 && n < LINE_BYTES, n, LINE_BYTES);
    ltd_bytes_put(w->out, line, (size_t)n);
}

void prom_family(struct prom *w, const char *name, enum prom_type type, const char *help)
{
    w->name = name;
    put(w, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type_name(type));
}

/* "name" or "name{labels}"; the value follows. */
static void put_name(struct prom *w, const char *labels, va_list args)
{
    char text[LINE_BYTES];
    if (!labels) {
        put(w, "%s", w->name);
        return;
    }
    int n = vsnprintf(text, sizeof text, labels, args);
    ltd_assert(n >= 0 && n < LINE_BYTES / 2, n, LINE_BYTES / 2);
    put(w, "%s{%s}", w->name, text);
}

/* Twelve digits tell 1e-6 s from nothing after days; more would show how a sum is rounded. */
static void put_value(struct prom *w, double value)
{
    if (isnan(value))
        put(w, " NaN\n");
    else if (isinf(value))
        put(w, " %s\n", value > 0 ? "+Inf" : "-Inf");
    else
        put(w, " %.12g\n", value);
}

void prom_u64(struct prom *w, uint64_t value, const char *labels, ...)
{
    va_list args;
    va_start(args, labels);
    put_name(w, labels, args);
    va_end(args);
    put(w, " %" PRIu64 "\n", value);
}

void prom_f64(struct prom *w, double value, const char *labels, ...)
{
    va_list args;
    va_start(args, labels);
    put_name(w, labels, args);
    va_end(args);
    put_value(w, value);
}

void prom_counter(struct prom *w, const char *name, const char *help, uint64_t value)
{
    prom_family(w, name, PROM_COUNTER, help);
    prom_u64(w, value, NULL);
}

void prom_gauge(struct prom *w, const char *name, const char *help, double value)
{
    prom_family(w, name, PROM_GAUGE, help);
    prom_f64(w, value, NULL);
}

/* What a histogram and a summary end with; `labels` may be NULL. */
static void put_sum(struct prom *w, const char *labels, double sum, uint64_t count)
{
    const char *open = labels ? "{" : "", *close = labels ? "}" : "";
    put(w, "%s_sum%s%s%s", w->name, open, labels ? labels : "", close);
    put_value(w, sum);
    put(w, "%s_count%s%s%s %" PRIu64 "\n", w->name, open, labels ? labels : "", close, count);
}

void prom_summary(struct prom *w, const char *labels, double sum, uint64_t count)
{
    put_sum(w, labels, sum, count);
}

void prom_histogram(struct prom *w, const struct prom_buckets *b)
{
    const char *labels = b->labels ? b->labels : "";
    const char *comma = b->labels ? "," : "";
    uint64_t total = 0;
    for (size_t i = 0; i + 1 < b->n; i++) {
        total += b->counts[i];
        put(w, "%s_bucket{%s%sle=\"%.12g\"} %" PRIu64 "\n", w->name, labels, comma,
            b->bounds[i] * b->scale, total);
    }
    total += b->counts[b->n - 1];
    put(w, "%s_bucket{%s%sle=\"+Inf\"} %" PRIu64 "\n", w->name, labels, comma, total);
    put_sum(w, b->labels, b->sum * b->scale, total);
}

void prom_escape(const char *text, char *out, size_t size)
{
    size_t n = 0;
    for (; *text && n + 2 < size; text++) {
        if (*text == '\\' || *text == '"' || *text == '\n')
            out[n++] = '\\';
        out[n++] = *text;
        if (*text == '\n')
            out[n - 1] = 'n';
    }
    out[n] = '\0';
}
