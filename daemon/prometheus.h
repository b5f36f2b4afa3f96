/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/prometheus.h - a writer of Prometheus' text format, version 0.0.4.
 *
 *     prom_family(&w, "latentd_jobs", PROM_GAUGE, "Jobs that are not finished, by state.");
 *     prom_u64(&w, 3, "state=\"queued\"");          latentd_jobs{state="queued"} 3
 *
 * A family is begun once, and its samples follow at once: the format asks for it, and a scraper
 * refuses a page that does not keep to it. Values are in base units: seconds, bytes.
 *
 * Threads: plain values. Failure shows in out->failed.
 */
#ifndef LATENTD_DAEMON_PROMETHEUS_H
#define LATENTD_DAEMON_PROMETHEUS_H

#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"

enum prom_type { PROM_COUNTER, PROM_GAUGE, PROM_HISTOGRAM, PROM_SUMMARY };

struct prom {
    struct ltd_bytes *out; /* borrowed */
    const char *name;      /* of the family; borrowed */
};

/* help  one line without backslashes. */
void prom_family(struct prom *w, const char *name, enum prom_type type, const char *help);

/* A sample; `labels` is a format for what stands between the braces, or NULL for none. */
void prom_u64(struct prom *w, uint64_t value, const char *labels, ...)
    __attribute__((format(printf, 3, 4)));
void prom_f64(struct prom *w, double value, const char *labels, ...)
    __attribute__((format(printf, 3, 4)));

/* A family of one sample without labels. */
void prom_counter(struct prom *w, const char *name, const char *help, uint64_t value);
void prom_gauge(struct prom *w, const char *name, const char *help, double value);

struct prom_buckets {
    const double *bounds;   /* [n - 1] rising */
    const uint64_t *counts; /* [n]; counts[i]: at most bounds[i], and more than the one before */
    size_t n;
    double sum;
    double scale;       /* what bounds and sum are multiplied with: 1e-3 for milliseconds */
    const char *labels; /* as they stand between the braces, or NULL */
};

/* The samples of one histogram of the family: buckets, sum and count. */
void prom_histogram(struct prom *w, const struct prom_buckets *buckets);

/* The samples of a summary without quantiles. */
void prom_summary(struct prom *w, const char *labels, double sum, uint64_t count);

/* prom_escape - `text` as the value of a label; `out` has room for `size` bytes, 1 at least. */
void prom_escape(const char *text, char *out, size_t size);

#endif
