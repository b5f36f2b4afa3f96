/* SPDX-License-Identifier: Apache-2.0 */
/* daemon/cost.c - see daemon/cost.h. */
#include "daemon/cost.h"

#define FADE_OWN   (1.0 - 1.0 / 256)   /* per measurement of the same size */
#define FADE_OTHER (1.0 - 1.0 / 16384) /* per measurement of another size */
#define WEIGHT_MAX 32.0 /* of a size in the fit: the commonest must not drown the others */
#define SETTLED    8.0  /* measurements after which one that is far off is cut */
#define FAR_OFF    4.0

/* Sizes closer together than this part of their mean say little about the slope. */
#define NEAR 0.1

void cost_line_init(struct cost_line *line, double fixed_ns, double each_ns)
{
    double one = fixed_ns + each_ns;
    *line = (struct cost_line){
        .fixed_ns = fixed_ns, .each_ns = each_ns, .guess_slope = one > 0 ? each_ns / one : 0};
}

static int32_t size_of(int32_t n)
{
    int32_t size = n > 1 ? 32 - __builtin_clz((uint32_t)n - 1) : 0;
    return size < COST_SIZES ? size : COST_SIZES - 1;
}

/*
 * Errors count relative to the time they are errors of. Where the sizes are too close together to
 * show a slope, the shape of the first guess stands in for one, weak as a single measurement.
 */
static void fit(struct cost_line *line)
{
    double u[COST_SIZES], sum = 0, mean_n = 0, mean_ns = 0, var = 0, cov = 0;
    for (int32_t i = 0; i < COST_SIZES; i++) {
        const struct cost_size *size = &line->sizes[i];
        double ns = size->w > 0 ? size->ns / size->w : 0;
        double weight = size->w < WEIGHT_MAX ? size->w : WEIGHT_MAX;
        u[i] = ns > 0 ? weight / (ns * ns) : 0;
        sum += u[i];
        mean_n += u[i] > 0 ? u[i] * size->n / size->w : 0;
        mean_ns += u[i] * ns;
    }
    if (!(sum > 0))
        return; /* every measurement was zero: keep what we had */
    mean_n /= sum;
    mean_ns /= sum;
    for (int32_t i = 0; i < COST_SIZES; i++) {
        const struct cost_size *size = &line->sizes[i];
        if (!(u[i] > 0))
            continue;
        double dn = size->n / size->w - mean_n;
        var += u[i] * dn * dn;
        cov += u[i] * dn * (size->ns / size->w - mean_ns);
    }
    double guess_at_mean = (1 - line->guess_slope) + line->guess_slope * mean_n;
    double guess = mean_ns * line->guess_slope / guess_at_mean;
    double pull = NEAR * NEAR * mean_n * mean_n / (mean_ns * mean_ns);
    double slope = (cov + pull * guess) / (var + pull), steepest = mean_ns / mean_n;
    slope = slope > 0 ? slope : 0;
    line->each_ns = slope < steepest ? slope : steepest;
    line->fixed_ns = slope < steepest ? mean_ns - line->each_ns * mean_n : 0;
}

void cost_line_add(struct cost_line *line, int32_t n, uint64_t ns)
{
    double took = (double)ns, most = FAR_OFF * cost_line_ns(line, n);
    if (n <= 0)
        return;
    if (line->weight >= SETTLED && took > most)
        took = most;
    line->weight += line->weight < SETTLED;
    for (int32_t i = 0; i < COST_SIZES; i++) {
        struct cost_size *size = &line->sizes[i];
        double fade = i == size_of(n) ? FADE_OWN : FADE_OTHER;
        size->w *= fade;
        size->n *= fade;
        size->ns *= fade;
    }
    struct cost_size *size = &line->sizes[size_of(n)];
    size->w += 1;
    size->n += n;
    size->ns += took;
    fit(line);
}
