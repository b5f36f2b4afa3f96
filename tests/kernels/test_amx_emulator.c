/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/kernels/test_amx_emulator.c - the emulator does what the manual says of tile instructions.
 *
 * Instructions are written in assembly, so that the assembler, not the emulator's author, says what
 * their bytes are. What the processor would refuse happens in a child process, whose last words are
 * compared.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include "amx_emulator.h"
#include "kernels/bf16.h"
#include "kernels/ref/ref.h"
#include "random.h"
#include "special.h"

struct config {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
};

/* Tiles 0 to 7; 1 and 2 are the operands of 0, 4 and 5 those of 3. */
static struct config config = {.palette = 1,
                               .row_bytes = {64, 64, 64, 20, 24, 20, 64, 12},
                               .rows = {16, 16, 16, 7, 7, 6, 1, 5}};

static uint8_t source[8192], found[4096];

/* Instructions whose operands are tiles, and such as read or write memory. */
#define TILES(text)    __asm__ volatile(text ::: "memory")
#define ASM(text, ...) __asm__ volatile(text ::__VA_ARGS__ : "memory")

static void configure(const struct config *c)
{
    ASM("ldtilecfg %0", "m"(*c));
}

#define LOAD(tile, at, stride)                                                                     \
    ASM("tileloadd (%0,%1,1), %%tmm" #tile, "r"(at), "r"((int64_t)(stride)))
#define STORE(tile, at, stride)                                                                    \
    ASM("tilestored %%tmm" #tile ", (%0,%1,1)", "r"(at), "r"((int64_t)(stride)))

/* cmocka takes SIGILL for itself around each test, so each test takes it back. */
static void begin(void)
{
    uint64_t seed = 1;
    amx_emulator_install();
    for (size_t i = 0; i < sizeof source; i++)
        source[i] = (uint8_t)random_u32(&seed);
    memset(found, 0xEE, sizeof found);
    configure(&config);
}

static void a_configuration_is_kept_until_it_is_released(void **state)
{
    struct config now;
    (void)state;
    begin();
    assert_true(amx_emulator_is_configured());
    ASM("sttilecfg %0", "m"(now));
    assert_memory_equal(&now, &config, sizeof now);
    TILES("tilerelease");
    assert_false(amx_emulator_is_configured());
    ASM("sttilecfg (%0)", "r"(found + 3));
    for (size_t i = 0; i < sizeof now; i++)
        assert_int_equal(found[3 + i], 0);
    TILES("ldtilecfg config(%%rip)");
    assert_true(amx_emulator_is_configured());
    now = (struct config){.palette = 0};
    configure(&now);
    assert_false(amx_emulator_is_configured());
}

/* A tile of 5 rows x 12 bytes that was stored with a stride of 20. */
static void expect_rows(const uint8_t *from, int64_t stride)
{
    memset(found, 0xEE, sizeof found);
    STORE(7, found, 20);
    for (int i = 0; i < 120; i++) {
        int row = i / 20, byte = i % 20;
        int expected = row < 5 && byte < 12 ? from[row * stride + byte] : 0xEE;
        if (found[i] != expected)
            fail_msg("byte %d of row %d: %02x, expected %02x", byte, row, found[i], expected);
    }
}

static void tiles_move_from_any_address_with_any_stride(void **state)
{
    const uint8_t *middle = source + 4096;
    (void)state;
    begin();
    ASM("tileloadd (%0,%1,1), %%tmm7", "b"(middle), "c"(33L));
    expect_rows(middle, 33);
    ASM("tileloaddt1 (%0,%1,2), %%tmm7", "a"(middle), "d"(-20L));
    expect_rows(middle, -40);
    ASM("tileloadd 100(%0,%1,4), %%tmm7", "S"(middle), "D"(7L));
    expect_rows(middle + 100, 28);
    ASM("tileloadd -129(%0,%1,8), %%tmm7", "r"(middle), "r"(11L));
    expect_rows(middle - 129, 88);
    ASM("tileloadd 3(%0), %%tmm7", "r"(middle));
    expect_rows(middle + 3, 0);
}

static void tiles_move_by_every_upper_register(void **state)
{
    const uint8_t *middle = source + 4096;
    (void)state;
    begin();
    __asm__ volatile(
        "mov %0, %%r13\n mov %1, %%r12\n tileloadd (%%r13,%%r12,1), %%tmm7" ::"r"(middle), "r"(31L)
        : "r12", "r13", "memory");
    expect_rows(middle, 31);
    __asm__ volatile(
        "mov %0, %%r12\n mov %1, %%r15\n tileloadd 1(%%r12,%%r15,1), %%tmm7" ::"r"(middle), "r"(29L)
        : "r12", "r15", "memory");
    expect_rows(middle + 1, 29);
    __asm__ volatile(
        "mov %0, %%r10\n mov %1, %%r14\n tileloadd 512(%%r10,%%r14,2), %%tmm7" ::"r"(middle),
        "r"(13L)
        : "r10", "r14", "memory");
    expect_rows(middle + 512, 26);
    __asm__ volatile("mov %0, %%r11\n mov %1, %%r8\n tileloadd (%%r11,%%r8,1), %%tmm7\n"
                     "tilezero %%tmm6\n tilestored %%tmm6, (%2,%%r8,1)" ::"r"(middle),
                     "r"(64L), "r"(found)
                     : "r11", "r8", "memory");
    for (int i = 0; i < 64; i++)
        assert_int_equal(found[i], 0);
    expect_rows(middle, 64);
}

static void a_reload_clears_tiles_and_a_short_one_reads_no_more_than_its_rows(void **state)
{
    (void)state;
    begin();
    LOAD(6, source, 64);
    configure(&config);
    STORE(6, found, 64);
    for (int i = 0; i < 64; i++)
        assert_int_equal(found[i], 0);
    assert_int_equal(found[64], 0xEE);
    LOAD(6, source + sizeof source - 64, 1 << 30); /* one row: the stride is never added */
    STORE(6, found, 1 << 30);
    assert_memory_equal(found, source + sizeof source - 64, 64);
}

/* ---- products ------------------------------------------------------------------------------- */

/* Two tiles of K one after the other, so the sum that waits in the tile is flushed and added to. */
static void bf16_once(enum special_kind kind, uint64_t seed)
{
    static uint16_t w[16 * 64], x[16 * 64];
    uint16_t right[2][16][32];
    float wide[16 * 64], expected[256], y[256];
    struct kern_ctx ctx = {&kern_ref_ops, 1, 0};
    struct kern_mat mat = {0};
    struct ltd_err err = {0};
    const struct kern_rows part = {w, KERN_DTYPE_BF16, 0, 16};
    special_fill(w, 16 * 64, kind == SPECIAL_NOT_FINITE ? SPECIAL_EDGES : kind, seed);
    special_fill(x, 16 * 64, kind, seed + 1);
    kern_widen(wide, x, KERN_DTYPE_BF16, 16 * 64);
    assert_int_equal(kern_ref_mat_pack(&ctx, &mat, KERN_BF16, &part, 1, 64, &err), 0);
    kern_ref_matmul(&ctx, expected, &mat, wide, 16);
    kern_mat_fini(&mat);
    for (int k = 0; k < 64; k++)
        for (int n = 0; n < 16; n++)
            right[k / 32][k % 32 / 2][2 * n + k % 2] = w[n * 64 + k];
    TILES("tilezero %%tmm0");
    for (int t = 0; t < 2; t++) {
        LOAD(1, x + (ptrdiff_t)32 * t, 128);
        LOAD(2, right[t], 64);
        TILES("tdpbf16ps %%tmm2, %%tmm1, %%tmm0");
    }
    STORE(0, y, 64);
    for (int i = 0; i < 256; i++) {
        uint32_t a, b;
        memcpy(&a, &y[i], sizeof a);
        memcpy(&b, &expected[i], sizeof b);
        if (a != b && !((a & 0x7FFFFFFF) > 0x7F800000 && b == 0x7FC00000))
            fail_msg("kind %d, element %d: %08x, the reference gives %08x", kind, i, a, b);
    }
}

static void tdpbf16ps_is_the_order_of_the_reference(void **state)
{
    (void)state;
    begin();
    for (int i = 0; i < 300; i++)
        bf16_once((enum special_kind)(i % SPECIAL_N_KINDS), (uint64_t)i);
}

#define DOT(name) TILES(name " %%tmm5, %%tmm4, %%tmm3")

/* 7 rows of 24 bytes times 6 rows of 5 columns. */
static void int8_products_take_signs_as_their_names_say(void **state)
{
    uint32_t y[7][5];
    (void)state;
    begin();
    for (int signs = 0; signs < 4; signs++) {
        LOAD(3, source, 20);
        LOAD(4, source + 1000, 24);
        LOAD(5, source + 2000, 20);
        if (signs == 0)
            DOT("tdpbuud");
        else if (signs == 1)
            DOT("tdpbusd");
        else if (signs == 2)
            DOT("tdpbsud");
        else
            DOT("tdpbssd");
        STORE(3, y, 20);
        for (int r = 0; r < 7; r++)
            for (int n = 0; n < 5; n++) {
                uint32_t expected;
                memcpy(&expected, source + r * 20 + n * 4, sizeof expected);
                for (int k = 0; k < 24; k++) {
                    int a = source[1000 + r * 24 + k],
                        b = source[2000 + k / 4 * 20 + n * 4 + k % 4];
                    a = signs & 2 ? (int8_t)a : a;
                    b = signs & 1 ? (int8_t)b : b;
                    expected += (uint32_t)(a * b);
                }
                if (y[r][n] != expected)
                    fail_msg("signs %d, row %d, column %d: %u, expected %u", signs, r, n, y[r][n],
                             expected);
            }
    }
}

/* ---- threads and signals
 * ---------------------------------------------------------------------- */

static void *look_for_tiles(void *arg)
{
    *(bool *)arg = amx_emulator_is_configured();
    configure(&config);
    LOAD(6, source + 64, 64);
    TILES("tilerelease");
    return NULL;
}

static void each_thread_has_its_own_tiles(void **state)
{
    pthread_t thread;
    bool was_configured = true;
    (void)state;
    begin();
    LOAD(6, source, 64);
    assert_int_equal(pthread_create(&thread, NULL, look_for_tiles, &was_configured), 0);
    pthread_join(thread, NULL);
    assert_false(was_configured);
    STORE(6, found, 64);
    assert_memory_equal(found, source, 64);
}

static volatile sig_atomic_t n_handed_on;

static void skip_ud2(int number, siginfo_t *info, void *context)
{
    (void)number, (void)info;
    n_handed_on++;
    ((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP] += 2;
}

static void other_illegal_instructions_go_to_the_handler_that_was_there(void **state)
{
    struct sigaction own = {.sa_sigaction = skip_ud2, .sa_flags = SA_SIGINFO}, before;
    (void)state;
    begin();
    amx_emulator_remove();
    sigaction(SIGILL, &own, &before);
    amx_emulator_install();
    TILES("ud2");
    assert_int_equal(n_handed_on, 1);
    configure(&config);
    assert_int_equal(n_handed_on, 1);
    amx_emulator_remove();
    TILES("ud2");
    assert_int_equal(n_handed_on, 2);
    sigaction(SIGILL, &before, NULL);
    amx_emulator_install();
}

/* ---- what is refused
 * -------------------------------------------------------------------------- */

static void without_configuration(void)
{
    TILES("tilerelease");
    LOAD(0, source, 64);
}

static void with_config(size_t byte, uint8_t value)
{
    union {
        struct config c;
        uint8_t bytes[64];
    } changed = {config};
    changed.bytes[byte] = value;
    configure(&changed.c);
}

static void reserved_byte(void)
{
    with_config(9, 1);
}

static void tile_beyond_eight(void)
{
    with_config(32, 64);
}

static void other_palette(void)
{
    with_config(0, 2);
}

static void too_many_rows(void)
{
    with_config(50, 17);
}

static void rows_without_bytes(void)
{
    with_config(16, 0);
}

static void unconfigured_tile(void)
{
    struct config c = config;
    c.rows[5] = 0;
    c.row_bytes[5] = 0;
    configure(&c);
    TILES("tilezero %%tmm5");
}

static void the_same_tile_twice(void)
{
    /* tdpbf16ps of tiles 0, 1, 1: the assembler refuses to write it */
    TILES(".byte 0xC4, 0xE2, 0x72, 0x5C, 0xC1");
}

static void shapes_that_differ(void)
{
    TILES("tdpbssd %%tmm4, %%tmm5, %%tmm3");
}

static const struct refusal {
    void (*act)(void);
    const char *text;
} refusals[] = {
    {without_configuration, "tileloadd without a tile configuration"},
    {reserved_byte, "reserved byte"},
    {tile_beyond_eight, "reserved byte"},
    {other_palette, "palette 2, expected 1"},
    {too_many_rows, "tile 2 of 17 rows x 64 bytes"},
    {rows_without_bytes, "tile 0 of 16 rows x 0 bytes"},
    {unconfigured_tile, "tilezero of tile 5, which is not configured"},
    {the_same_tile_twice, "tdpbf16ps of tiles 0, 1, 1, which must be three"},
    {shapes_that_differ, "sum 7 x 20, left 6 x 20, right 7 x 24 bytes"},
};

static void last_words(void (*act)(void), char *out, size_t size, int *status)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], STDERR_FILENO);
        act();
        _exit(0);
    }
    close(ends[1]);
    ssize_t n = read(ends[0], out, size - 1);
    out[n > 0 ? n : 0] = '\0';
    close(ends[0]);
    assert_int_equal(waitpid(child, status, 0), child);
}

static void what_the_processor_would_refuse_ends_the_process_with_a_reason(void **state)
{
    (void)state;
    begin();
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        char words[300];
        int status;
        last_words(refusals[i].act, words, sizeof words, &status);
        if (!WIFEXITED(status) || WEXITSTATUS(status) != AMX_EMULATOR_REFUSED ||
            !strstr(words, refusals[i].text))
            fail_msg("case %zu: status %d, \"%s\", expected \"%s\"", i, status, words,
                     refusals[i].text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_configuration_is_kept_until_it_is_released),
        cmocka_unit_test(tiles_move_from_any_address_with_any_stride),
        cmocka_unit_test(tiles_move_by_every_upper_register),
        cmocka_unit_test(a_reload_clears_tiles_and_a_short_one_reads_no_more_than_its_rows),
        cmocka_unit_test(tdpbf16ps_is_the_order_of_the_reference),
        cmocka_unit_test(int8_products_take_signs_as_their_names_say),
        cmocka_unit_test(each_thread_has_its_own_tiles),
        cmocka_unit_test(other_illegal_instructions_go_to_the_handler_that_was_there),
        cmocka_unit_test(what_the_processor_would_refuse_ends_the_process_with_a_reason),
    };
    if (!amx_emulator_runs_here()) {
        printf("1..0 # skip: the processor has tiles, or no AVX2 and FMA to emulate them with\n");
        return 0;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
