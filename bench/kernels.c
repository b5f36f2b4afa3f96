/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench/kernels.c - how near do products come to reading their weights, tier by tier, and how near
 * to others' libraries?
 *
 * For each shape of the 3.5 billion model, each number of positions, each tier that runs here and
 * each of its weight formats: the time of a product whose weights come from memory. Several copies
 * of the matrix are used in turn, 320 MB or more, so that no cache holds the next one. Packing of
 * the activations is inside the timed region. Peers: OpenBLAS (threads over rows) and, where
 * libdnnl-dev was installed, oneDNN in the formats that it has on this processor (bench/onednn.h).
 *
 * Rounds are paired: a round runs every candidate at every number of positions once, in rotating
 * order, and beside each reads the same bytes plainly, in the access pattern that was the fastest
 * at start. Medians over rounds of
 *
 *     share      (time of that read) / (time of the product): 1 means bound by memory alone
 *     to_sgemm   time / that of OpenBLAS' sgemm over the same matrix in f32
 *     to_onednn  time / that of oneDNN in the same format
 *     to_one     time / the candidate's own with the first number of positions
 *
 * With one thread, times are those of the thread's own clock: on a machine that others use, too, it
 * leaves out the time in which they had the processor (not what they took of caches and memory).
 *
 * usage: bench_kernels [OPTION]...     CSV on standard output; --help
 */
#include <cblas.h>
#include <getopt.h>
#include <omp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/size.h"
#include "bench/machine.h"
#include "bench/onednn.h"
#include "kernels/dispatch.h"

#define WORKING_SET  ((size_t)320 << 20)
#define MAX_COPIES   16
#define MAX_POS      512
#define MAX_ROUNDS   101
#define MAX_WAYS     24
#define MAX_BATCHES  16
#define MAX_SHAPES   8
#define PAGE_BYTES   4096
#define STRIPE_BYTES 256

/* One tier or peer, and format, with its copies of the matrix. */
enum kind { OURS, SGEMM, ONEDNN };
struct way {
    enum kind kind;
    const char *tier;
    enum kern_format format;
    struct kern_ctx ctx;
    struct kern_mat mats[MAX_COPIES]; /* OURS; SGEMM: those of openblas */
    struct onednn *peer;
    size_t bytes; /* of one copy */
    int32_t n_mats, next;
    double ms[MAX_BATCHES][MAX_ROUNDS], read_ms[MAX_BATCHES][MAX_ROUNDS];
};

static int32_t n_threads = 2, n_rounds = 5;
static int32_t batches[MAX_BATCHES] = {1, 8, 16, 64}, n_batches = 4;
static int32_t shapes[2 * MAX_SHAPES] = {5280, 5280, 5280, 17920}, n_shapes = 2; /* rows, cols */
static const char *only_formats, *only_tiers;
static int32_t rows, cols;
static struct way ways[MAX_WAYS];
static int32_t n_ways;
static struct kern_mat *plain; /* what is read plainly: a matrix of this many bytes or more */
static int32_t n_plain, next_plain;
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
static void read_plainly(const struct kern_mat *mat, size_t bytes, int32_t pages)
{
    uint64_t total = 0;
    size_t block = (size_t)pages * PAGE_BYTES, blocks = bytes / block;
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

static void multiply(struct way *way, int32_t batch)
{
    int32_t copy = way->next++ % way->n_mats;
    switch (way->kind) {
    case OURS:
        way->ctx.ops->matmul(&way->ctx, y, &way->mats[copy], x, batches[batch]);
        break;
    case SGEMM:
        sgemm(&way->mats[copy], batches[batch]);
        break;
    case ONEDNN:
        onednn_run(way->peer, batch, copy, y, x);
        break;
    }
}

/* One product and one plain read of as many bytes, each of a copy that the other has not just
 * touched; a peer's layout is its own, so the bytes for its read are ours. */
static void measure_once(struct way *way, int32_t round, int32_t batch)
{
    uint64_t begin = now_ns();
    multiply(way, batch);
    way->ms[batch][round] = ms_since(begin);
    begin = now_ns();
    if (way->kind == ONEDNN)
        read_plainly(&plain[next_plain++ % n_plain], way->bytes, read_pages);
    else
        read_plainly(&way->mats[way->next++ % way->n_mats], way->bytes, read_pages);
    way->read_ms[batch][round] = ms_since(begin);
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

/* Median of way / other in the same round; empty without another. */
static void print_ratio(const double *ms, const double *other)
{
    double ratio[MAX_ROUNDS];
    for (int32_t r = 0; other && r < n_rounds; r++)
        ratio[r] = ms[r] / other[r];
    if (other)
        printf(",%.3f", median(ratio));
    else
        printf(",");
}

static const struct way *find_way(enum kind kind, enum kern_format format)
{
    for (int32_t i = 0; i < n_ways; i++)
        if (ways[i].kind == kind && ways[i].format == format)
            return &ways[i];
    return NULL;
}

static void print_way(const struct way *way, int32_t batch)
{
    const double *ms = way->ms[batch];
    const struct way *sgemm_way = find_way(SGEMM, KERN_F32);
    const struct way *peer = find_way(ONEDNN, way->format);
    double bytes = (double)way->bytes;
    printf("%d,%d,%d,%s,%s,%d,%.3f,%.3f,%.2f,%.2f", rows, cols, n_threads, way->tier,
           kern_format_name(way->format), batches[batch], median(ms), quantile(ms, 0.0),
           bytes / median(ms) / 1e6, bytes / median(way->read_ms[batch]) / 1e6);
    print_ratio(way->read_ms[batch], ms);
    print_ratio(ms, sgemm_way ? sgemm_way->ms[batch] : NULL);
    print_ratio(ms, peer ? peer->ms[batch] : NULL);
    print_ratio(ms, way->ms[0]);
    printf(",%.1f\n", 2e-6 * rows * (double)cols * batches[batch] / median(ms));
    fflush(stdout);
}

static void measure(void)
{
    for (int32_t w = 0; w < n_ways; w++)
        for (int32_t b = 0; b < n_batches; b++)
            measure_once(&ways[w], 0, b);
    for (int32_t round = 0; round < n_rounds; round++)
        for (int32_t b = 0; b < n_batches; b++)
            for (int32_t i = 0; i < n_ways; i++)
                measure_once(&ways[(i + round) % n_ways], round, b);
    for (int32_t b = 0; b < n_batches; b++)
        for (int32_t w = 0; w < n_ways; w++)
            print_way(&ways[w], b);
}

static double read_gbps(int32_t pages)
{
    double best = 0.0;
    for (int i = 0; i < 4; i++) {
        const struct kern_mat *mat = &plain[next_plain++ % n_plain];
        uint64_t begin = now_ns();
        read_plainly(mat, mat->bytes, pages);
        double gbps = (double)mat->bytes / ms_since(begin) / 1e6;
        best = gbps > best ? gbps : best;
    }
    return best;
}

static void choose_read(void)
{
    static const int32_t candidates[] = {1, 4, 8, 16};
    double best = 0.0;
    printf("# %d x %d, plain read, GB/s by pages side by side:", rows, cols);
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

/* Copies that no cache holds together. */
static int32_t copies_of(size_t bytes)
{
    int32_t n = 2;
    while (n < MAX_COPIES && (size_t)n * bytes < WORKING_SET)
        n++;
    return n;
}

static bool is_listed(const char *list, const char *name)
{
    size_t length = strlen(name);
    for (const char *at = list; at; at = strchr(at, ',')) {
        at += *at == ',';
        if (strncmp(at, name, length) == 0 && (at[length] == ',' || at[length] == '\0'))
            return true;
    }
    return !list;
}

static bool add_ours(enum kind kind, const char *tier, enum kern_format format, const float *w)
{
    struct ltd_err err = {0};
    struct way *way = &ways[n_ways];
    *way = (struct way){.kind = kind, .tier = kind == SGEMM ? "sgemm" : tier, .format = format};
    way->ctx = (struct kern_ctx){kern_tier_find(tier, &err), n_threads, 0};
    if (!way->ctx.ops) {
        printf("# %s: %s\n", tier, err.msg);
        return true;
    }
    n_ways++;
    do {
        const struct kern_rows part = {w, KERN_DTYPE_F32, 0, rows};
        struct kern_mat *mat = &way->mats[way->n_mats];
        if (way->ctx.ops->mat_pack(&way->ctx, mat, format, &part, 1, cols, &err) != 0) {
            fprintf(stderr, "bench_kernels: %s\n", err.msg);
            return false;
        }
        way->bytes = mat->bytes;
        way->n_mats++;
    } while (way->n_mats < copies_of(way->bytes));
    return true;
}

static void add_onednn(enum kern_format format, const float *w)
{
    char why[160] = "";
    struct way *way = &ways[n_ways];
    size_t each = format == KERN_F32 ? 4 : format == KERN_BF16 ? 2 : 1;
    *way = (struct way){.kind = ONEDNN, .tier = "onednn", .format = format};
    way->bytes = (size_t)rows * (size_t)cols * each;
    way->n_mats = copies_of(way->bytes);
    const struct onednn_shape shape = {.format = format,
                                       .rows = rows,
                                       .cols = cols,
                                       .n_copies = way->n_mats,
                                       .batches = batches,
                                       .n_batches = n_batches};
    way->peer = onednn_create(&shape, w, why, sizeof why);
    if (way->peer)
        n_ways++;
    else
        printf("# onednn %s: %s\n", kern_format_name(format), why);
}

/* Every tier but the reference, which is too slow to wait for, unless it is asked for by name. */
static bool add_tiers(enum kern_format format, const float *w)
{
    for (int32_t t = 0; t < kern_tier_count(); t++) {
        struct kern_tier_info info;
        kern_tier_describe(t, &info);
        const struct kern_ops *ops = info.available ? kern_tier_find(info.name, NULL) : NULL;
        if (!is_listed(only_tiers, info.name) || (!only_tiers && strcmp(info.name, "ref") == 0))
            continue;
        if (ops && kern_tier_has(ops, format) && !add_ours(OURS, info.name, format, w))
            return false;
    }
    return true;
}

static bool add_ways(const float *w)
{
    static const enum kern_format peers[] = {KERN_F32, KERN_BF16, KERN_INT8};
    for (int f = 0; f < KERN_N_FORMATS; f++)
        if (is_listed(only_formats, kern_format_name((enum kern_format)f)) &&
            !add_tiers((enum kern_format)f, w))
            return false;
    if (is_listed(only_tiers, "sgemm") && is_listed(only_formats, "f32") &&
        !add_ours(SGEMM, "openblas", KERN_F32, w))
        return false;
    for (size_t i = 0; i < sizeof peers / sizeof peers[0]; i++)
        if (is_listed(only_tiers, "onednn") && is_listed(only_formats, kern_format_name(peers[i])))
            add_onednn(peers[i], w);
    return n_ways > 0;
}

static void drop_ways(void)
{
    for (int32_t i = 0; i < n_ways; i++) {
        for (int32_t m = 0; m < ways[i].n_mats && ways[i].kind != ONEDNN; m++)
            kern_mat_fini(&ways[i].mats[m]);
        onednn_destroy(ways[i].peer);
    }
    n_ways = 0;
}

/* The largest matrix of ours: all reads beside peers are parts of it. */
static bool choose_plain(void)
{
    const struct way *largest = NULL;
    for (int32_t i = 0; i < n_ways; i++)
        if (ways[i].kind != ONEDNN && (!largest || ways[i].bytes > largest->bytes))
            largest = &ways[i];
    if (!largest)
        return false;
    plain = ways[largest - ways].mats;
    n_plain = largest->n_mats;
    for (int32_t i = 0; i < n_ways; i++)
        if (ways[i].bytes > largest->bytes)
            ways[i].bytes = largest->bytes;
    return true;
}

static void print_refusals(void)
{
    for (int32_t t = 0; t < kern_tier_count(); t++) {
        struct kern_tier_info info;
        kern_tier_describe(t, &info);
        if (!info.available)
            printf("# %s: %s\n", info.name, info.refusal);
    }
}

static bool run_shape(int32_t shape_rows, int32_t shape_cols)
{
    rows = shape_rows;
    cols = shape_cols;
    float *w = ltd_alloc((size_t)rows * (size_t)cols, sizeof *w);
    x = ltd_alloc((size_t)MAX_POS * (size_t)cols, sizeof *x);
    y = ltd_alloc((size_t)MAX_POS * (size_t)rows, sizeof *y);
    bool ok = w && x && y;
    if (ok) {
        fill(w, (size_t)rows * (size_t)cols, 1);
        fill(x, (size_t)MAX_POS * (size_t)cols, 99);
        ok = add_ways(w) && choose_plain();
    }
    ltd_free(w);
    if (ok) {
        choose_read();
        measure();
    }
    drop_ways();
    ltd_free(x);
    ltd_free(y);
    return ok;
}

/* ---- options ------------------------------------------------------------------------------ */

static const char help_text[] =
    "usage: bench_kernels [OPTION]...\n"
    "  --rounds N        5\n"
    "  --threads N       2\n"
    "  --shapes LIST     5280x5280,5280x17920; the others of the model are 15840x5280, 35840x5280\n"
    "                    and 5280x10560\n"
    "  --positions LIST  1,8,16,64\n"
    "  --formats LIST    all that there are\n"
    "  --tiers LIST      all that run here but ref, and the peers sgemm and onednn\n";

/* Numbers with one of `separators` between them; how many, or 0 when it is no such list. */
static int32_t parse_numbers(const char *text, const char *separators, int32_t most, int32_t *out)
{
    for (int32_t n = 0; n < most; text++) {
        char *end;
        long value = strtol(text, &end, 10);
        if (end == text || value < 1 || value > 1000000)
            return 0;
        out[n++] = (int32_t)value;
        text = end;
        if (*text == '\0')
            return n;
        if (!strchr(separators, *text))
            return 0;
    }
    return 0;
}

static bool take_option(int option, const char *value)
{
    switch (option) {
    case 'r':
        return parse_numbers(value, "", 1, &n_rounds) == 1 && n_rounds <= MAX_ROUNDS;
    case 'n':
        return parse_numbers(value, "", 1, &n_threads) == 1;
    case 's':
        n_shapes = parse_numbers(value, "x,", 2 * MAX_SHAPES, shapes) / 2;
        return n_shapes > 0;
    case 'p':
        n_batches = parse_numbers(value, ",", MAX_BATCHES, batches);
        for (int32_t i = 0; i < n_batches; i++)
            if (batches[i] > MAX_POS)
                return false;
        return n_batches > 0;
    case 'f':
        only_formats = value;
        return true;
    case 't':
        only_tiers = value;
        return true;
    }
    return false;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"rounds", required_argument, NULL, 'r'},
                                            {"threads", required_argument, NULL, 'n'},
                                            {"shapes", required_argument, NULL, 's'},
                                            {"formats", required_argument, NULL, 'f'},
                                            {"positions", required_argument, NULL, 'p'},
                                            {"tiers", required_argument, NULL, 't'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    char id[64];
    int option;
    bool ok = true;
    while (ok && (option = getopt_long(argc, argv, "", options, NULL)) != -1)
        ok = take_option(option, optarg);
    if (!ok || optind < argc || !kern_tier_find("openblas", NULL)) {
        fputs(help_text, stderr);
        return 2;
    }
    omp_set_num_threads(n_threads); /* what oneDNN goes by */
    bench_print_machine(argc, argv);
    kern_tier_id(kern_tier_find("openblas", NULL), id, sizeof id);
    printf("# library: %s\n", id);
    print_refusals();
    printf("rows,cols,threads,tier,format,n_pos,median_ms,best_ms,gb_per_s,read_gb_per_s,share,to_"
           "sgemm,to_onednn,to_one,gflops\n");
    for (int32_t i = 0; i < n_shapes && ok; i++)
        ok = run_shape(shapes[2 * i], shapes[2 * i + 1]);
    return ok ? 0 : 1;
}
