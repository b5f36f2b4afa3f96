/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench/matmul.c - which OpenBLAS call should the portable tier be made of?
 *
 * Four ways to y[n_pos][rows] = x * W^T with f32 weights, our own threads over output rows:
 *
 *     sdot    one cblas_sdot per element, a block of rows per pass over the positions
 *             (kernels/openblas)
 *     sgemv   one cblas_sgemv per position over a thread's rows
 *     panel   cblas_sgemm of one fixed shape, 8 positions x 64 rows, both padded with zeros
 *     sgemm   one cblas_sgemm over a thread's rows: the speed without the promise
 *
 * Only sdot (by construction) and panel (if the library keeps one path per shape) can promise that
 * an element's bits do not depend on its neighbours; the program also counts, for each way, the
 * elements whose bits change between n_pos = 1 and n_pos = 64.
 *
 * Weights are larger than the caches together: four matrices in turn. Rounds are paired: each
 * round runs all ways once, in rotating order; medians over rounds are compared. Every round also
 * reads the weights plainly, which gives the bandwidth of that minute.
 *
 * usage: bench_matmul [rounds [rows [cols [threads]]]]     CSV on standard output
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

#define N_MATRICES  4
#define MAX_POS     64
#define PANEL_POS   8
#define PANEL_ROWS  64
#define MAX_ROUNDS  101
#define MAX_THREADS 64

enum way { WAY_SDOT, WAY_SGEMV, WAY_PANEL, WAY_SGEMM, WAY_READ, N_WAYS };
static const char *const way_names[N_WAYS] = {"sdot", "sgemv", "panel", "sgemm", "read"};

static int32_t rows = 5280, cols = 5280, n_threads = 2, n_rounds = 9;
static struct kern_mat mats[N_MATRICES];
static float *x, *padded, *y, *panels;
static struct kern_ctx ctx;
static volatile float sink;

static void fill(float *out, size_t n, uint64_t state)
{
    for (size_t i = 0; i < n; i++) {
        state = state * 6364136223846793005ull + 1442695040888963407ull;
        out[i] = (float)(state >> 40) * 0x1p-24f - 0.5f;
    }
}

static int32_t share(int32_t total, int t)
{
    return (int32_t)((int64_t)total * t / n_threads);
}

static void run_sgemv(const struct kern_mat *mat, int32_t n_pos)
{
#pragma omp parallel num_threads(n_threads)
    {
        int32_t begin = share(rows, omp_get_thread_num()),
                end = share(rows, omp_get_thread_num() + 1);
        const float *w = (const float *)mat->data + (size_t)begin * (size_t)cols;
        for (int32_t p = 0; p < n_pos; p++)
            cblas_sgemv(CblasRowMajor, CblasNoTrans, end - begin, cols, 1.0f, w, cols,
                        x + (size_t)p * (size_t)cols, 1, 0.0f, y + (size_t)p * (size_t)rows + begin,
                        1);
    }
}

/* A last block of fewer than 64 rows is moved back over rows that were done already. */
static void one_panel(const struct kern_mat *mat, int32_t row, int32_t pos, int32_t n_pos,
                      float *out)
{
    const float *w = (const float *)mat->data + (size_t)row * (size_t)cols;
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, PANEL_POS, PANEL_ROWS, cols, 1.0f,
                padded + (size_t)pos * (size_t)cols, cols, w, cols, 0.0f, out, PANEL_ROWS);
    for (int32_t p = 0; p < PANEL_POS && pos + p < n_pos; p++)
        memcpy(y + (size_t)(pos + p) * (size_t)rows + row, out + (size_t)p * PANEL_ROWS,
               PANEL_ROWS * sizeof *out);
}

static void run_panel(const struct kern_mat *mat, int32_t n_pos)
{
    memset(padded, 0, (size_t)(MAX_POS + PANEL_POS) * (size_t)cols * sizeof *padded);
    memcpy(padded, x, (size_t)n_pos * (size_t)cols * sizeof *padded);
    int32_t blocks = (rows + PANEL_ROWS - 1) / PANEL_ROWS;
#pragma omp parallel num_threads(n_threads)
    {
        int t = omp_get_thread_num();
        float *out = panels + (size_t)t * PANEL_POS * PANEL_ROWS;
        for (int32_t b = share(blocks, t); b < share(blocks, t + 1); b++) {
            int32_t row = (b + 1) * PANEL_ROWS <= rows ? b * PANEL_ROWS : rows - PANEL_ROWS;
            for (int32_t pos = 0; pos < n_pos; pos += PANEL_POS)
                one_panel(mat, row, pos, n_pos, out);
        }
    }
}

static void run_sgemm(const struct kern_mat *mat, int32_t n_pos)
{
#pragma omp parallel num_threads(n_threads)
    {
        int32_t begin = share(rows, omp_get_thread_num()),
                end = share(rows, omp_get_thread_num() + 1);
        const float *w = (const float *)mat->data + (size_t)begin * (size_t)cols;
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, n_pos, end - begin, cols, 1.0f, x,
                    cols, w, cols, 0.0f, y + begin, rows);
    }
}

static void run_read(const struct kern_mat *mat)
{
    float total = 0.0f;
#pragma omp parallel num_threads(n_threads) reduction(+ : total)
    {
        const float *w = mat->data;
        size_t n = (size_t)rows * (size_t)cols / (size_t)n_threads;
        size_t begin = n * (size_t)omp_get_thread_num();
        float sums[16] = {0};
        for (size_t i = begin; i + 16 <= begin + n; i += 16)
            for (int k = 0; k < 16; k++)
                sums[k] += w[i + (size_t)k];
        for (int k = 0; k < 16; k++)
            total += sums[k];
    }
    sink = total;
}

static void run(enum way way, const struct kern_mat *mat, int32_t n_pos)
{
    switch (way) {
    case WAY_SDOT:
        ctx.ops->matmul(&ctx, y, mat, x, n_pos);
        break;
    case WAY_SGEMV:
        run_sgemv(mat, n_pos);
        break;
    case WAY_PANEL:
        run_panel(mat, n_pos);
        break;
    case WAY_SGEMM:
        run_sgemm(mat, n_pos);
        break;
    case WAY_READ:
        run_read(mat);
        break;
    case N_WAYS:
        break;
    }
}

/* Milliseconds per product, over one turn through all matrices. */
static double timed(enum way way, int32_t n_pos)
{
    uint64_t begin = ltd_now_ns();
    for (int m = 0; m < N_MATRICES; m++)
        run(way, &mats[m], n_pos);
    return (double)(ltd_now_ns() - begin) / 1e6 / N_MATRICES;
}

static int ascending(const void *a, const void *b)
{
    double u = *(const double *)a, v = *(const double *)b;
    return u < v ? -1 : u > v;
}

static double median(const double *values)
{
    double sorted[MAX_ROUNDS];
    memcpy(sorted, values, (size_t)n_rounds * sizeof *sorted);
    qsort(sorted, (size_t)n_rounds, sizeof *sorted, ascending);
    return sorted[n_rounds / 2];
}

/* Elements of position 0 whose bits are others in a batch of 64 than alone. */
static int32_t count_changed(enum way way, float *alone)
{
    int32_t changed = 0;
    run(way, &mats[0], 1);
    memcpy(alone, y, (size_t)rows * sizeof *alone);
    run(way, &mats[0], MAX_POS);
    for (int32_t r = 0; r < rows; r++)
        changed += memcmp(&alone[r], &y[r], sizeof *y) != 0;
    return changed;
}

static void measure(int32_t n_pos)
{
    static double ms[N_WAYS][MAX_ROUNDS], ratio[MAX_ROUNDS];
    for (int w = 0; w < N_WAYS; w++)
        timed((enum way)w, n_pos);
    for (int32_t round = 0; round < n_rounds; round++)
        for (int i = 0; i < N_WAYS; i++) {
            int w = (i + round) % N_WAYS;
            ms[w][round] = timed((enum way)w, n_pos);
        }
    for (int w = 0; w < N_WAYS; w++) {
        for (int32_t r = 0; r < n_rounds; r++)
            ratio[r] = ms[w][r] / ms[WAY_SDOT][r];
        printf("%d,%d,%d,%d,%s,%.3f,%.3f,%.2f\n", rows, cols, n_threads, n_pos, way_names[w],
               median(ms[w]), median(ratio),
               2e-6 * rows * (double)cols * (w == WAY_READ ? 0 : n_pos) / median(ms[w]));
        fflush(stdout);
    }
}

static void print_machine(void)
{
    char line[256], id[64], date[32];
    time_t now = time(NULL);
    FILE *f = fopen("/proc/cpuinfo", "r");
    strftime(date, sizeof date, "%Y-%m-%d", gmtime(&now));
    printf("# date: %s\n# commit: %s\n# command: bench_matmul %d %d %d %d\n", date, BENCH_COMMIT,
           n_rounds, rows, cols, n_threads);
    while (f && fgets(line, sizeof line, f))
        if (strncmp(line, "model name", 10) == 0) {
            printf("# machine:%s", strchr(line, ':') + 1);
            break;
        }
    if (f)
        fclose(f);
    kern_tier_id(ctx.ops, id, sizeof id);
    printf("# library: %s, %d threads, %d rounds\n", id, n_threads, n_rounds);
}

static bool parse_args(int argc, char **argv)
{
    int32_t *const values[] = {&n_rounds, &rows, &cols, &n_threads};
    for (int i = 1; i < argc; i++) {
        int value = i <= 4 ? atoi(argv[i]) : 0;
        if (value < 1)
            return false;
        *values[i - 1] = value;
    }
    return n_rounds <= MAX_ROUNDS && rows >= PANEL_ROWS && n_threads <= MAX_THREADS;
}

static bool allocate(void)
{
    struct ltd_err err = {0};
    size_t elements = (size_t)rows * (size_t)cols;
    float *w = ltd_alloc(elements, sizeof *w);
    ctx = (struct kern_ctx){kern_tier_find("openblas", &err), n_threads, 0};
    if (!ctx.ops || !w) {
        fprintf(stderr, "bench_matmul: %s\n", w ? err.msg : "no memory");
        return false;
    }
    for (int m = 0; m < N_MATRICES; m++) {
        const struct kern_rows part = {w, KERN_DTYPE_F32, 0, rows};
        fill(w, elements, (uint64_t)m + 1);
        if (ctx.ops->mat_pack(&ctx, &mats[m], KERN_F32, &part, 1, cols, &err) != 0) {
            fprintf(stderr, "bench_matmul: %s\n", err.msg);
            return false;
        }
    }
    ltd_free(w);
    x = ltd_alloc((size_t)MAX_POS * (size_t)cols, sizeof *x);
    padded = ltd_alloc((size_t)(MAX_POS + PANEL_POS) * (size_t)cols, sizeof *padded);
    y = ltd_alloc((size_t)MAX_POS * (size_t)rows, sizeof *y);
    panels = ltd_alloc((size_t)n_threads * PANEL_POS * PANEL_ROWS, sizeof *panels);
    if (x)
        fill(x, (size_t)MAX_POS * (size_t)cols, 99);
    return x && padded && y && panels;
}

int main(int argc, char **argv)
{
    static const int32_t batches[] = {1, 8, 64};
    if (!parse_args(argc, argv)) {
        fprintf(stderr, "usage: bench_matmul [rounds [rows >= 64 [cols [threads]]]]\n");
        return 2;
    }
    if (!allocate())
        return 1;
    print_machine();
    float *alone = ltd_alloc((size_t)rows, sizeof *alone);
    if (!alone)
        return 1;
    for (int w = 0; w < WAY_READ; w++)
        printf("# %s: %d of %d elements change their bits between 1 and %d positions\n",
               way_names[w], count_changed((enum way)w, alone), rows, MAX_POS);
    printf("rows,cols,threads,n_pos,way,median_ms,median_ratio_to_sdot,gflops\n");
    for (int i = 0; i < 3; i++)
        measure(batches[i]);
    ltd_free(alone);
    for (int m = 0; m < N_MATRICES; m++)
        kern_mat_fini(&mats[m]);
    ltd_free(x);
    ltd_free(padded);
    ltd_free(y);
    ltd_free(panels);
    return 0;
}
