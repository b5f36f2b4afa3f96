/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench/kernels.c - how near do products come to reading their weights, tier by tier?
 *
 * For each shape of the 3.5 billion model, each number of positions and each pair of tier and weight
 * format: the time of a product whose weights come from memory. Several copies of the matrix are
 * used in turn, 320 MB or more, so that no cache holds the next one. Packing of the activations is
 * inside the timed region.
 *
 * Rounds are paired: a round runs every candidate once, in rotating order, and beside each candidate
 * reads the same bytes plainly, in the access pattern that was the fastest at start. `share` is the
 * median over rounds of (time of that read) / (time of the product): 1 means bound by memory alone.
 * `to_sgemm` is the median ratio of times to OpenBLAS' sgemm over the same f32 matrix in the same
 * round, threads over rows.
 *
 * With one thread, times are those of the thread's own clock: on a machine that others use, too, it
 * leaves out the time in which they had the processor (not what they took of caches and memory).
 *
 * usage: bench_kernels [rounds [threads [rows cols]]]     CSV on standard output
 */
#include <cblas.h>
#include <omp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/size.h"
#include "kernels/dispatch.h"

#define WORKING_SET  ((size_t)320 << 20)
#define MAX_COPIES   16
#define MAX_POS      512
#define MAX_ROUNDS   101
#define MAX_WAYS     8
#define PAGE_BYTES   4096
#define STRIPE_BYTES 256

/* One tier and format with its copies of the matrix; ops NULL: sgemm over the f32 copies of ref. */
struct way {
    const char *tier, *format;
    struct kern_ctx ctx;
    struct kern_mat mats[MAX_COPIES];
    int32_t n_mats, next;
    double ms[MAX_ROUNDS], read_ms[MAX_ROUNDS];
};

static int32_t rows, cols, n_threads = 2, n_rounds = 5;
static struct way ways[MAX_WAYS];
static int32_t n_ways;
static float *x, *y;
static int32_t read_pages; /* pages that the plain read goes through side by side */
static volatile uint64_t sink;

static void fill(float *out, size_t n, uint64_t state)
{
    for (size_t i = 0; i < n; i++) {
        state = state * 6364136223846793005ull + 1442695040888963407ull;
        out[i] = (float)(state >> 40) * 0x1p-24f - 0.5f;
    }
}

static uint64_t read_stripe(const uint64_t *p)
{
    uint64_t sums[8] = {0};
    for (int i = 0; i < STRIPE_BYTES / 8; i += 8)
        for (int k = 0; k < 8; k++)
            sums[k] += p[i + k];
    return sums[0] + sums[1] + sums[2] + sums[3] + sums[4] + sums[5] + sums[6] + sums[7];
}

/* Every thread reads its part, `pages` pages advancing together, one stripe of each in turn. */
static void read_plainly(const struct kern_mat *mat, int32_t pages)
{
    uint64_t total = 0;
    size_t block = (size_t)pages * PAGE_BYTES, blocks = mat->bytes / block;
#pragma omp parallel num_threads(n_threads) reduction(+ : total)
    {
        size_t t = (size_t)omp_get_thread_num(), n = (size_t)n_threads;
        for (size_t b = blocks * t / n; b < blocks * (t + 1) / n; b++)
            for (size_t at = 0; at < block; at += STRIPE_BYTES) {
                size_t stripe = at / STRIPE_BYTES;
                size_t page = stripe % (size_t)pages, row = stripe / (size_t)pages;
                const char *p = (const char *)mat->data + b * block + page * PAGE_BYTES;
                total += read_stripe((const uint64_t *)(const void *)(p + row * STRIPE_BYTES));
            }
    }
    sink = total;
}

static void sgemm(const struct kern_mat *mat, int32_t n_pos)
{
#pragma omp parallel num_threads(n_threads)
    {
        int32_t t = omp_get_thread_num();
        int32_t begin = (int32_t)((int64_t)rows * t / n_threads);
        int32_t end = (int32_t)((int64_t)rows * (t + 1) / n_threads);
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, n_pos, end - begin, cols, 1.0f, x,
                    cols, (const float *)mat->data + (size_t)begin * (size_t)cols, cols, 0.0f,
                    y + begin, rows);
    }
}

/* One thread is timed by its own clock, which stands while others have the processor. */
static uint64_t now_ns(void)
{
    struct timespec ts;
    if (n_threads > 1)
        return ltd_now_ns();
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static double ms_since(uint64_t begin)
{
    return (double)(now_ns() - begin) / 1e6;
}

/* One product and one plain read, each of a copy that the other has not just touched. */
static void measure_once(struct way *way, int32_t round, int32_t n_pos)
{
    const struct kern_mat *mat = &way->mats[way->next++ % way->n_mats];
    uint64_t begin = now_ns();
    if (way->ctx.ops)
        way->ctx.ops->matmul(&way->ctx, y, mat, x, n_pos);
    else
        sgemm(mat, n_pos);
    way->ms[round] = ms_since(begin);
    mat = &way->mats[way->next++ % way->n_mats];
    begin = now_ns();
    read_plainly(mat, read_pages);
    way->read_ms[round] = ms_since(begin);
}

static int ascending(const void *a, const void *b)
{
    double u = *(const double *)a, v = *(const double *)b;
    return u < v ? -1 : u > v;
}

/* The value that `part` of the rounds lie below. */
static double quantile(const double *values, double part)
{
    double sorted[MAX_ROUNDS];
    memcpy(sorted, values, (size_t)n_rounds * sizeof *sorted);
    qsort(sorted, (size_t)n_rounds, sizeof *sorted, ascending);
    return sorted[(int32_t)(part * n_rounds)];
}

static double median(const double *values)
{
    return quantile(values, 0.5);
}

static void print_way(const struct way *way, const struct way *against, int32_t n_pos)
{
    double share[MAX_ROUNDS], ratio[MAX_ROUNDS], bytes = (double)way->mats[0].bytes;
    for (int32_t r = 0; r < n_rounds; r++) {
        share[r] = way->read_ms[r] / way->ms[r];
        ratio[r] = way->ms[r] / against->ms[r];
    }
    printf("%d,%d,%d,%s,%s,%d,%.3f,%.3f,%.2f,%.2f,%.3f,%.3f,%.1f\n", rows, cols, n_threads,
           way->tier, way->format, n_pos, median(way->ms), quantile(way->ms, 0.0),
           bytes / median(way->ms) / 1e6, bytes / median(way->read_ms) / 1e6, median(share),
           median(ratio), 2e-6 * rows * (double)cols * n_pos / median(way->ms));
    fflush(stdout);
}

static void measure(int32_t n_pos)
{
    for (int32_t w = 0; w < n_ways; w++)
        measure_once(&ways[w], 0, n_pos);
    for (int32_t round = 0; round < n_rounds; round++)
        for (int32_t i = 0; i < n_ways; i++)
            measure_once(&ways[(i + round) % n_ways], round, n_pos);
    for (int32_t w = 0; w < n_ways; w++)
        print_way(&ways[w], &ways[0], n_pos);
}

static double read_gbps(int32_t pages)
{
    double best = 0.0;
    for (int i = 0; i < 4; i++) {
        const struct kern_mat *mat = &ways[0].mats[i % ways[0].n_mats];
        uint64_t begin = now_ns();
        read_plainly(mat, pages);
        double gbps = (double)mat->bytes / ms_since(begin) / 1e6;
        best = gbps > best ? gbps : best;
    }
    return best;
}

static void choose_read(void)
{
    static const int32_t candidates[] = {1, 4, 8, 16};
    double best = 0.0;
    printf("# plain read, GB/s by pages side by side:");
    for (int i = 0; i < 4; i++) {
        double gbps = read_gbps(candidates[i]);
        printf(" %d: %.1f", candidates[i], gbps);
        if (gbps > best) {
            best = gbps;
            read_pages = candidates[i];
        }
    }
    printf("\n");
}

static bool add_way(const char *tier, enum kern_format format, bool is_sgemm, const float *w)
{
    struct ltd_err err = {0};
    struct way *way = &ways[n_ways];
    *way = (struct way){.tier = tier, .format = kern_format_name(format)};
    way->ctx = (struct kern_ctx){kern_tier_find(tier, &err), n_threads, 0};
    if (!way->ctx.ops) {
        printf("# %s: %s\n", tier, err.msg);
        return true;
    }
    size_t bytes = 0;
    while (way->n_mats < MAX_COPIES && (bytes < WORKING_SET || way->n_mats < 2)) {
        const struct kern_rows part = {w, KERN_DTYPE_F32, 0, rows};
        struct kern_mat *mat = &way->mats[way->n_mats++];
        if (way->ctx.ops->mat_pack(&way->ctx, mat, format, &part, 1, cols, &err) != 0) {
            fprintf(stderr, "bench_kernels: %s\n", err.msg);
            return false;
        }
        bytes += mat->bytes;
    }
    if (is_sgemm) {
        way->tier = "sgemm";
        way->ctx.ops = NULL;
    }
    n_ways++;
    return true;
}

static bool run_shape(int32_t shape_rows, int32_t shape_cols)
{
    static const int32_t batches[] = {1, 2, 4, 8, 16, 32, 64, 128, 512};
    rows = shape_rows;
    cols = shape_cols;
    n_ways = 0;
    float *w = ltd_alloc((size_t)rows * (size_t)cols, sizeof *w);
    x = ltd_alloc((size_t)MAX_POS * (size_t)cols, sizeof *x);
    y = ltd_alloc((size_t)MAX_POS * (size_t)rows, sizeof *y);
    bool ok = w && x && y;
    if (ok) {
        fill(w, (size_t)rows * (size_t)cols, 1);
        fill(x, (size_t)MAX_POS * (size_t)cols, 99);
        ok = add_way("openblas", KERN_F32, true, w) && add_way("openblas", KERN_F32, false, w) &&
             add_way("avx2", KERN_F32, false, w) && add_way("avx2", KERN_BF16, false, w) &&
             add_way("avx2", KERN_INT8, false, w);
    }
    ltd_free(w);
    if (ok)
        choose_read();
    for (size_t i = 0; ok && i < sizeof batches / sizeof batches[0]; i++)
        measure(batches[i]);
    for (int32_t i = 0; i < n_ways; i++)
        for (int32_t m = 0; m < ways[i].n_mats; m++)
            kern_mat_fini(&ways[i].mats[m]);
    ltd_free(x);
    ltd_free(y);
    return ok;
}

static void print_machine(void)
{
    char line[256], id[64], date[32];
    double load[3] = {0};
    time_t now = time(NULL);
    FILE *f = fopen("/proc/cpuinfo", "r");
    strftime(date, sizeof date, "%Y-%m-%d", gmtime(&now));
    printf("# date: %s\n# commit: %s\n# command: bench_kernels %d %d\n", date, BENCH_COMMIT,
           n_rounds, n_threads);
    while (f && fgets(line, sizeof line, f))
        if (strncmp(line, "model name", 10) == 0) {
            printf("# machine:%s", strchr(line, ':') + 1);
            break;
        }
    if (f)
        fclose(f);
    kern_tier_id(kern_tier_find("openblas", NULL), id, sizeof id);
    if (getloadavg(load, 3) > 0)
        printf("# load before: %.1f (what else the machine was doing)\n", load[0]);
    printf("# library: %s, %d threads, %d rounds\n", id, n_threads, n_rounds);
    printf("rows,cols,threads,tier,format,n_pos,median_ms,best_ms,gb_per_s,read_gb_per_s,share,to_"
           "sgemm,"
           "gflops\n");
}

int main(int argc, char **argv)
{
    int32_t one_rows = 0,
            one_cols = 0, *const values[] = {&n_rounds, &n_threads, &one_rows, &one_cols};
    bool ok = argc <= 5;
    for (int i = 1; ok && i < argc; i++)
        ok = (*values[i - 1] = atoi(argv[i])) >= 1;
    if (!ok || n_rounds > MAX_ROUNDS || !one_rows != !one_cols ||
        !kern_tier_find("openblas", NULL)) {
        fprintf(stderr, "usage: bench_kernels [rounds <= %d [threads [rows cols]]]\n", MAX_ROUNDS);
        return 2;
    }
    print_machine();
    if (one_rows)
        return run_shape(one_rows, one_cols) ? 0 : 1;
    return run_shape(5280, 5280) && run_shape(5280, 17920) ? 0 : 1;
}
