/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench/int4_groups.c - what would a product cost with other groups of int4?
 *
 * One position times rows of 5280 four-bit weights from memory, with the instructions of the tier
 * avx2, for groups of 32 columns (kernels/int4.h) and of 160, the next number that divides all
 * lengths of the 3.5 billion model. Only the group differs: a panel of 16 rows is tiles of two
 * groups, and behind them a line of scales. Weights are noise, because nobody looks at the sums.
 *
 * Rounds are paired: each runs both, in turns, and reads the same bytes plainly. By the thread's
 * own clock, which leaves out what other programs had of the processor. CSV on standard output:
 * `share` is (time of the read) / (time of the product), `to_32` the time over that of 32 in the
 * same round; both are medians.
 *
 * usage: bench_int4_groups [rounds]
 */
#include <immintrin.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/size.h"
#include "bench/machine.h"

#define COLS       5280
#define PANELS     8000 /* 360 MB with groups of 32 */
#define LINE       64
#define MAX_ROUNDS 101
#define PAGES      8 /* that the plain read goes through side by side */
#define STRIPE     512

#define INLINE static inline __attribute__((always_inline))

struct layout {
    int32_t group, n_tiles;
    size_t tile_bytes;
};

static const struct layout layouts[2] = {{32, 83, 9 * LINE}, {160, 17, 41 * LINE}};

static uint8_t *data;
static int8_t x[COLS + 320];
static int32_t too_much[2 * 83];
static volatile float sink;

/* 32 columns more in the sums of 16 rows. */
INLINE void block(const uint8_t *lines, const int8_t *at, __m256i sums[2])
{
    const __m256i mask = _mm256_set1_epi8(15);
    __m256i pairs[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) {
        int32_t four;
        memcpy(&four, at + 4 * i, sizeof four);
        for (int half = 0; half < 2; half++) {
            const __m256i *from = (const void *)(lines + i / 2 * LINE + 32 * half);
            __m256i w = _mm256_load_si256(from);
            w = _mm256_and_si256(i % 2 ? _mm256_srli_epi16(w, 4) : w, mask);
            pairs[half] =
                _mm256_add_epi16(pairs[half], _mm256_maddubs_epi16(w, _mm256_set1_epi32(four)));
            __asm__("" : "+x"(pairs[half]));
        }
    }
    for (int half = 0; half < 2; half++)
        sums[half] =
            _mm256_add_epi32(sums[half], _mm256_madd_epi16(pairs[half], _mm256_set1_epi16(1)));
}

INLINE void panel(int32_t group, const struct layout *l, const uint8_t *tiles, float out[16])
{
    __m256 acc[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
    for (int32_t g = 0; g < 2 * l->n_tiles; g++) {
        const uint8_t *tile = tiles + (size_t)(g / 2) * l->tile_bytes;
        const uint8_t *lines = tile + (size_t)(g % 2 * group / 8) * LINE;
        const __m256i *scales = (const void *)(tile + l->tile_bytes - LINE);
        __m256i sums[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
#pragma GCC unroll 5
        for (int b = 0; b < group / 32; b++)
            block(lines + 4 * b * LINE, x + g * group + 32 * b, sums);
        for (int half = 0; half < 2; half++) {
            __m256i pair = _mm256_load_si256(scales + half);
            pair = g % 2 ? _mm256_and_si256(pair, _mm256_set1_epi32((int)0xFFFF0000u))
                         : _mm256_slli_epi32(pair, 16);
            __m256i sum = _mm256_sub_epi32(sums[half], _mm256_set1_epi32(too_much[g]));
            acc[half] =
                _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum), _mm256_castsi256_ps(pair), acc[half]);
        }
    }
    _mm256_storeu_ps(out, acc[0]);
    _mm256_storeu_ps(out + 8, acc[1]);
}

static void product(const struct layout *l)
{
    float out[16];
    size_t panel_bytes = (size_t)l->n_tiles * l->tile_bytes;
    for (size_t p = 0; p < PANELS; p++) {
        if (l->group == 32)
            panel(32, l, data + p * panel_bytes, out);
        else
            panel(160, l, data + p * panel_bytes, out);
        sink = out[p % 16];
    }
}

static void read_plainly(size_t bytes)
{
    __m256i sum[4] = {_mm256_setzero_si256()};
    for (size_t at = 0; at + PAGES * 4096 <= bytes; at += PAGES * 4096)
        for (size_t stripe = 0; stripe < 4096; stripe += STRIPE)
            for (size_t page = 0; page < PAGES; page++) {
                const __m256i *from = (const void *)(data + at + page * 4096 + stripe);
                for (size_t i = 0; i < STRIPE / 32; i++)
                    sum[i % 4] = _mm256_add_epi32(sum[i % 4], _mm256_load_si256(from + i));
            }
    sum[0] = _mm256_add_epi32(_mm256_add_epi32(sum[0], sum[1]), _mm256_add_epi32(sum[2], sum[3]));
    sink = _mm256_cvtss_f32(_mm256_castsi256_ps(sum[0]));
}

static double now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

static int by_size(const void *a, const void *b)
{
    double x1 = *(const double *)a, x2 = *(const double *)b;
    return (x1 > x2) - (x1 < x2);
}

static double median(double *values, int n)
{
    qsort(values, (size_t)n, sizeof *values, by_size);
    return values[n / 2];
}

static void measure(int n_rounds)
{
    static double ms[2][MAX_ROUNDS], share[2][MAX_ROUNDS], ratio[2][MAX_ROUNDS];
    for (int r = 0; r < n_rounds; r++) {
        for (int i = 0; i < 2; i++) {
            const struct layout *l = &layouts[(r + i) % 2];
            size_t bytes = PANELS * (size_t)l->n_tiles * l->tile_bytes;
            double begin = now_ms();
            product(l);
            double middle = now_ms();
            read_plainly(bytes);
            ms[(r + i) % 2][r] = middle - begin;
            share[(r + i) % 2][r] = (now_ms() - middle) / (middle - begin);
        }
        for (int i = 0; i < 2; i++)
            ratio[i][r] = ms[i][r] / ms[0][r];
    }
    printf("group,bits_per_weight,median_ms,share,to_32\n");
    for (int i = 0; i < 2; i++) {
        double bytes = (double)layouts[i].n_tiles * (double)layouts[i].tile_bytes;
        printf("%d,%.2f,%.2f,%.2f,%.2f\n", layouts[i].group, bytes * 8 / (16.0 * COLS),
               median(ms[i], n_rounds), median(share[i], n_rounds), median(ratio[i], n_rounds));
    }
}

int main(int argc, char **argv)
{
    int n_rounds = argc > 1 ? atoi(argv[1]) : 11;
    size_t bytes = PANELS * (size_t)layouts[0].n_tiles * layouts[0].tile_bytes;
    if (argc > 2 || n_rounds < 1 || n_rounds > MAX_ROUNDS) {
        fprintf(stderr, "usage: bench_int4_groups [rounds <= %d]\n", MAX_ROUNDS);
        return 2;
    }
    data = ltd_alloc(bytes, 1);
    if (!data)
        return 1;
    for (size_t i = 0; i < bytes; i++)
        data[i] = (uint8_t)(i * 2654435761u >> 24);
    memset(x, 7, sizeof x);
    bench_print_machine(argc, argv);
    measure(n_rounds);
    ltd_free(data);
    return 0;
}
