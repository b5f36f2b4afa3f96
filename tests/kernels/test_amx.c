/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/kernels/test_amx.c - tier amx gives the bits of the reference, for every number of
 * positions.
 *
 * What is compared is the machine code that is shipped: where the processor has no AMX, its tile
 * instructions are executed by the emulator (amx_emulator.h), one signal each. The reference
 * computes all positions once; the tier then computes 1 to 130 of them, taken from anywhere.
 *
 * usage: test_amx [passes per format]
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "amx_emulator.h"
#include "kernels/amx/amx.h"
#include "kernels/avx2/avx2.h"
#include "kernels/ref/ref.h"
#include "kernels/selfcheck.h"
#include "random.h"
#include "special.h"

#define MOST_POS  130
#define MOST_ROWS 272
#define MOST_COLS 5280

/* Sanitizers make the handler of each signal many times slower. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define PASSES 1
#else
#define PASSES 3
#endif

static int n_passes = PASSES;
static bool is_native;
static size_t n_compared;

static uint16_t w[MOST_ROWS * MOST_COLS];
static float x[MOST_POS * MOST_COLS];
static float expected[MOST_POS * MOST_ROWS];

struct shape {
    int32_t rows, cols, n_pos;
};

/* cmocka takes SIGILL for itself around each test. */
static void begin(void)
{
    if (!is_native)
        amx_emulator_install();
}

/* Each row of weights and each position has a kind of numbers, so all kinds meet. Bits below bf16
 * are drawn, too: rounding is compared. */
static void draw(const struct shape *s, uint64_t seed)
{
    for (int32_t r = 0; r < s->rows; r++)
        special_fill(w + (size_t)r * (size_t)s->cols, (size_t)s->cols,
                     (enum special_kind)(r % SPECIAL_NOT_FINITE), random_u32(&seed));
    for (int32_t i = 0; i < s->n_pos * s->cols; i++) {
        enum special_kind kind = (enum special_kind)(i / s->cols % SPECIAL_N_KINDS);
        uint32_t bits = (uint32_t)special_half(kind, &seed) << 16;
        if (bits << 1 != 0) /* zeros stay zeros */
            bits |= random_u32(&seed) >> 16;
        memcpy(&x[i], &bits, sizeof bits);
    }
}

static struct kern_mat pack(const struct kern_ops *ops, enum kern_format format,
                            const struct shape *s)
{
    const struct kern_ctx ctx = {ops, 1, 0};
    const struct kern_rows part = {w, KERN_DTYPE_BF16, 0, s->rows};
    struct kern_mat mat = {0};
    struct ltd_err err = {0};
    if (ops->mat_pack(&ctx, &mat, format, &part, 1, s->cols, &err) != 0)
        fail_msg("mat_pack: %s", err.msg);
    return mat;
}

static void expect(enum kern_format format, const struct shape *s)
{
    const struct kern_ctx ctx = {&kern_ref_ops, 2, 0};
    struct kern_mat mat = pack(&kern_ref_ops, format, s);
    kern_ref_matmul(&ctx, expected, &mat, x, s->n_pos);
    kern_mat_fini(&mat);
}

/* Positions [first, first + n) by themselves; rows behind the last one must stay as they are. */
static void compare(const struct kern_mat *mat, int32_t first, int32_t n, int32_t threads)
{
    static float y[MOST_POS * MOST_ROWS + 16];
    const struct kern_ctx ctx = {&kern_amx_ops, threads, 0};
    size_t rows = (size_t)mat->rows, count = rows * (size_t)n;
    memset(y, 0xEE, (count + 16) * sizeof *y);
    kern_amx_ops.matmul(&ctx, y, mat, x + (size_t)first * (size_t)mat->cols, n);
    for (size_t i = 0; i < count + 16; i++) {
        uint32_t a, b = 0xEEEEEEEE;
        memcpy(&a, &y[i], sizeof a);
        if (i < count)
            memcpy(&b, &expected[(size_t)first * rows + i], sizeof b);
        if (a != b)
            fail_msg("%s of %d x %d, positions %d to %d, %d threads: position %zu, row %zu: %08x, "
                     "the reference gives %08x",
                     kern_format_name(mat->format), mat->rows, mat->cols, first, first + n, threads,
                     i / rows, i % rows, a, b);
    }
    n_compared += count;
}

static void all_numbers_of_positions(enum kern_format format)
{
    static const int32_t lengths[] = {97, 33, 31};
    static const int32_t threads[] = {1, 2, 1, 3, 1, 5};
    uint64_t seed = 20261122;
    begin();
    for (int i = 0; i < n_passes; i++) {
        const struct shape s = {213 - 16 * (i % 3), lengths[i % 3], MOST_POS};
        draw(&s, random_u32(&seed));
        expect(format, &s);
        struct kern_mat mat = pack(&kern_amx_ops, format, &s);
        for (int32_t n = 1; n <= MOST_POS; n++)
            compare(&mat, (int32_t)(random_u32(&seed) % (uint32_t)(MOST_POS - n + 1)), n,
                    threads[(i + n) % 6]);
        kern_mat_fini(&mat);
    }
}

static void bf16_has_the_bits_of_the_reference_for_1_to_130_positions(void **state)
{
    (void)state;
    all_numbers_of_positions(KERN_BF16);
}

static void int8_has_the_bits_of_the_reference_for_1_to_130_positions(void **state)
{
    (void)state;
    all_numbers_of_positions(KERN_INT8);
}

/* Lengths around a tile, a chunk of 8 tiles and the block of columns that activations fill;
 * matrices that fit the second-level cache, and such as are read ahead. */
static void ragged_and_long_shapes_have_the_bits_of_the_reference(void **state)
{
    static const struct shape shapes[] = {
        {1, 1, 5},      {15, 31, 17},   {16, 32, 16},   {17, 255, 33},  {33, 257, 49},
        {64, 512, 3},   {129, 513, 20}, {17, 2017, 65}, {5, 2100, 128}, {260, 800, 18},
        {272, 1500, 1}, {36, 5280, 1},  {130, 1500, 2},
    };
    uint64_t seed = 7;
    (void)state;
    begin();
    for (size_t i = 0; i < 2 * sizeof shapes / sizeof *shapes; i++) {
        const struct shape *s = &shapes[i / 2];
        enum kern_format format = i % 2 ? KERN_INT8 : KERN_BF16;
        draw(s, random_u32(&seed));
        expect(format, s);
        struct kern_mat mat = pack(&kern_amx_ops, format, s);
        compare(&mat, 0, s->n_pos, 1);
        compare(&mat, 0, s->n_pos, 2);
        kern_mat_fini(&mat);
    }
}

static void more_threads_than_panels_give_the_same_bits(void **state)
{
    const struct shape s = {40, 100, 70};
    (void)state;
    begin();
    draw(&s, 3);
    expect(KERN_BF16, &s);
    struct kern_mat mat = pack(&kern_amx_ops, KERN_BF16, &s);
    for (int32_t threads = 1; threads <= 8; threads++)
        compare(&mat, 0, 70, threads);
    kern_mat_fini(&mat);
}

/* On real tiles this would show in how long a switch of threads takes, and nowhere else. */
static void no_thread_keeps_tiles_or_flushes_denormals_afterwards(void **state)
{
    const struct shape s = {64, 64, 4};
    volatile float tiny = 0x1p-126f;
    int n_left_behind = 0;
    (void)state;
    begin();
    draw(&s, 3);
    expect(KERN_BF16, &s);
    struct kern_mat mat = pack(&kern_amx_ops, KERN_BF16, &s);
    compare(&mat, 0, 4, 4);
    kern_mat_fini(&mat);
#pragma omp parallel num_threads(4) reduction(+ : n_left_behind)
    n_left_behind += amx_emulator_is_configured() + (tiny * 0.5f == 0.0f);
    assert_int_equal(n_left_behind, 0);
}

static void other_formats_have_the_bits_of_avx2(void **state)
{
    static const enum kern_format formats[] = {KERN_F32, KERN_INT4};
    const struct shape s = {40, 100, 5};
    const struct kern_ctx ctx = {&kern_avx2_ops, 1, 0};
    (void)state;
    begin();
    draw(&s, 4);
    for (int i = 0; i < 2; i++) {
        struct kern_mat mat = pack(&kern_amx_ops, formats[i], &s);
        kern_avx2_matmul(&ctx, expected, &mat, x, 5);
        compare(&mat, 0, 5, 2);
        kern_mat_fini(&mat);
    }
}

static void the_self_check_accepts_the_tier(void **state)
{
    char why[240] = "";
    (void)state;
    begin();
    if (kern_self_check(&kern_amx_ops, why, sizeof why) != 0)
        fail_msg("%s", why);
}

static void nothing_is_computed_without_rows_or_positions(void **state)
{
    const struct kern_ctx ctx = {&kern_amx_ops, 2, 0};
    const struct shape s = {16, 32, 1};
    struct kern_mat none = {.cols = 32, .format = KERN_BF16};
    uint64_t before = amx_emulator_executed();
    (void)state;
    begin();
    draw(&s, 1);
    struct kern_mat mat = pack(&kern_amx_ops, KERN_INT8, &s);
    kern_amx_matmul(&ctx, NULL, &none, x, 3);
    kern_amx_matmul(&ctx, NULL, &mat, x, 0);
    kern_mat_fini(&mat);
    assert_true(amx_emulator_executed() == before);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bf16_has_the_bits_of_the_reference_for_1_to_130_positions),
        cmocka_unit_test(int8_has_the_bits_of_the_reference_for_1_to_130_positions),
        cmocka_unit_test(ragged_and_long_shapes_have_the_bits_of_the_reference),
        cmocka_unit_test(more_threads_than_panels_give_the_same_bits),
        cmocka_unit_test(no_thread_keeps_tiles_or_flushes_denormals_afterwards),
        cmocka_unit_test(other_formats_have_the_bits_of_avx2),
        cmocka_unit_test(the_self_check_accepts_the_tier),
        cmocka_unit_test(nothing_is_computed_without_rows_or_positions),
    };
    char why[240];
    is_native = kern_amx_init(why, sizeof why) == 0;
    if (!is_native && !amx_emulator_runs_here()) {
        printf("1..0 # skip: %s, and the emulator does not run here\n", why);
        return 0;
    }
    if (argc > 1)
        n_passes = atoi(argv[1]);
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    printf("%zu outputs compared, %llu tile instructions emulated (%s)\n", n_compared,
           (unsigned long long)amx_emulator_executed(), is_native ? "native" : why);
    return rc;
}
