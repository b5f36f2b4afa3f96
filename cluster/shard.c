/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cluster/shard.c - see cluster/shard.h.
 *
 * Invariant: the same input gives the same plan on every rank. Quotas are IEEE double products and
 * quotients without contraction, and ties go to the lower index, so there is nothing to differ in.
 */
#include "cluster/shard.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "model/shard.h"

/* Shares beyond these say nothing that a plan of whole rows could follow. */
#define SHARE_MIN 1e-3
#define SHARE_MAX 1e6

#define PANEL_ROWS 16 /* KERN_PACKED_ROWS, which this arithmetic must not depend on */
#define LEAST_PANELS                                                                               \
    4 /* per rank: with fewer, whole panels would be coarse for the other kernels */

static const char *skip_space(const char *at)
{
    while (isspace((unsigned char)*at))
        at++;
    return at;
}

static int32_t count_items(const char *text)
{
    int32_t n = 1;
    for (; *text; text++)
        n += *text == ',';
    return n;
}

/* One number up to a comma or the end. Returns where it stopped, or NULL. */
static const char *parse_share(const char *at, int32_t idx, double *share, struct ltd_err *err)
{
    const char *begin = skip_space(at);
    size_t len = strcspn(begin, ",");
    char *end;
    double value = strtod(begin, &end);
    const char *stop = skip_space(end);
    /* strtod would also take "inf", "nan" and hexadecimal numbers. */
    bool is_plain = strspn(begin, "0123456789.eE+-") >= (size_t)(end - begin);
    if (end == begin || stop != begin + len || !is_plain)
        return ltd_fail_null(err, LTD_E_INVALID, "shares: item %d is \"%.*s\", expected a number",
                             idx + 1, (int)(len > 40 ? 40 : len), begin);
    if (!(value >= SHARE_MIN && value <= SHARE_MAX))
        return ltd_fail_null(err, LTD_E_INVALID, "shares: item %d is %g, expected %g to %g",
                             idx + 1, value, SHARE_MIN, SHARE_MAX);
    *share = value;
    return stop;
}

int clus_shares_parse(const char *text, int32_t n_ranks, double *shares, struct ltd_err *err)
{
    if (n_ranks < 1 || n_ranks > CLUS_MAX_RANKS)
        return ltd_fail(err, LTD_E_INVALID, "%d ranks, expected 1 to %d", n_ranks, CLUS_MAX_RANKS);
    if (!text || !*skip_space(text)) {
        for (int32_t i = 0; i < n_ranks; i++)
            shares[i] = 1.0;
        return 0;
    }
    int32_t n_items = count_items(text);
    if (n_items != n_ranks)
        return ltd_fail(err, LTD_E_INVALID,
                        "shares \"%.80s\": %d numbers, expected one for each of %d ranks", text,
                        n_items, n_ranks);
    const char *at = text;
    for (int32_t i = 0; i < n_ranks; i++) {
        at = parse_share(at, i, &shares[i], err);
        if (!at)
            return -1;
        at += *at == ',';
    }
    return 0;
}

struct remainder {
    double fraction;
    int32_t idx;
};

static int compare_remainders(const void *left, const void *right)
{
    const struct remainder *a = left, *b = right;
    if (a->fraction != b->fraction)
        return a->fraction > b->fraction ? -1 : 1;
    return a->idx < b->idx ? -1 : 1;
}

void clus_split(int32_t total, const double *shares, int32_t n, int32_t *begin)
{
    ltd_assert(n >= 1 && n <= CLUS_MAX_RANKS, n, CLUS_MAX_RANKS);
    ltd_assert(total >= 0, total, 0);
    struct remainder rest[CLUS_MAX_RANKS];
    int32_t size[CLUS_MAX_RANKS];
    double sum = 0.0;
    for (int32_t i = 0; i < n; i++)
        sum += shares[i];
    int32_t left = total;
    for (int32_t i = 0; i < n; i++) {
        double quota = (double)total * (shares[i] / sum);
        double whole = floor(quota);
        size[i] = (int32_t)whole;
        rest[i] = (struct remainder){.fraction = quota - whole, .idx = i};
        left -= size[i];
    }
    qsort(rest, (size_t)n, sizeof rest[0], compare_remainders);
    /* Rounding of the quotas can leave at most n rows; it can also take one too many, when quotas
     * that are whole in theory come out a last bit too large. */
    for (int32_t i = 0; left > 0; i = (i + 1) % n, left--)
        size[rest[i].idx]++;
    for (int32_t i = n - 1; left < 0; i = (i + n - 1) % n) {
        if (size[rest[i].idx] > 0) {
            size[rest[i].idx]--;
            left++;
        }
    }
    begin[0] = 0;
    for (int32_t i = 0; i < n; i++)
        begin[i + 1] = begin[i] + size[i];
}

/* In panels of rows where a rank has several, so that its rows begin where those of a packed file
 * do (docs/packed-models.md). Kernels compute whole panels anyway, so no rank gets more work by
 * it. */
static void split_panels(int32_t total, const double *shares, int32_t n, int32_t *begin)
{
    if (total / PANEL_ROWS < LEAST_PANELS * n) {
        clus_split(total, shares, n, begin);
        return;
    }
    clus_split((total + PANEL_ROWS - 1) / PANEL_ROWS, shares, n, begin);
    for (int32_t i = 0; i <= n; i++)
        begin[i] = begin[i] > total / PANEL_ROWS ? total : begin[i] * PANEL_ROWS;
}

static int check_shape(const struct clus_shard_shape *shape, struct ltd_err *err)
{
    if (shape->n_heads < 1 || shape->n_embd < 1 || shape->intermediate < 1)
        return ltd_fail(
            err, LTD_E_INVALID,
            "shard plan: %d heads, width %d, intermediate %d, expected positive numbers",
            shape->n_heads, shape->n_embd, shape->intermediate);
    return 0;
}

int clus_shard_plan(const struct clus_shard_shape *shape, const double *shares, int32_t n_ranks,
                    struct model_shard *shards, struct ltd_err *err)
{
    if (check_shape(shape, err))
        return -1;
    if (n_ranks < 1 || n_ranks > CLUS_MAX_RANKS)
        return ltd_fail(err, LTD_E_INVALID, "shard plan: %d ranks, expected 1 to %d", n_ranks,
                        CLUS_MAX_RANKS);
    int32_t head[CLUS_MAX_RANKS + 1], embd[CLUS_MAX_RANKS + 1], fc[CLUS_MAX_RANKS + 1];
    clus_split(shape->n_heads, shares, n_ranks, head);
    split_panels(shape->n_embd, shares, n_ranks, embd);
    split_panels(shape->intermediate, shares, n_ranks, fc);
    for (int32_t i = 0; i < n_ranks; i++) {
        shards[i] = (struct model_shard){
            .head_begin = head[i],
            .head_end = head[i + 1],
            .embd_begin = embd[i],
            .embd_end = embd[i + 1],
            .fc_begin = fc[i],
            .fc_end = fc[i + 1],
        };
    }
    return 0;
}
