/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/cost.h - what n positions together cost, learned from measurements: fixed + n * each.
 *
 * Products read all weights whether there is one position or thirty, so time is a line in n, and
 * both ends of it matter to a scheduler. Measurements are kept by the size of n (1, 2, 3-4, 5-8,
 * ...), and fade where newer ones come: a service that ran at sixteen positions for an hour still
 * knows what one position costs. The line is fitted through the sizes' means by least squares of
 * relative errors. Neither part is ever negative, and a measurement far above what was expected
 * (somebody else had the processor) counts only up to a bound.
 *
 * Threads: plain values.
 */
#ifndef LATENTD_DAEMON_COST_H
#define LATENTD_DAEMON_COST_H

#include <stdint.h>

#define COST_SIZES 13 /* 1, 2, 3-4, .. 2049-4096 positions; the last holds all above, too */

struct cost_size {
    double w, n, ns; /* faded sums: weight, positions, time */
};

struct cost_line {
    double fixed_ns, each_ns; /* the fit; what callers read */
    double guess_slope;       /* of the first guess: each / (fixed + each) */
    double weight;            /* measurements so far, up to where they fade */
    struct cost_size sizes[COST_SIZES];
};

/* cost_line_init - a first guess, which the first measurements replace. */
void cost_line_init(struct cost_line *line, double fixed_ns, double each_ns);

/* cost_line_add - n > 0 positions took `ns`. */
void cost_line_add(struct cost_line *line, int32_t n, uint64_t ns);

/* cost_line_ns - what n positions would take; 0 for n = 0. */
static inline double cost_line_ns(const struct cost_line *line, int32_t n)
{
    return n > 0 ? line->fixed_ns + n * line->each_ns : 0;
}

#endif
