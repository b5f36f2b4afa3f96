/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/kernels/amx_emulator.c - tile instructions, decoded and executed; see amx_emulator.h.
 *
 *     C4  R'X'B'00010  W v'v'v'v' L pp  opcode  mod reg rm  [scale index base]  [disp8 or disp32]
 *
 * pp (none, 66, F3, F2) and opcode name the instruction; reg, rm and v are tiles. A memory operand
 * is one of ldtilecfg and sttilecfg, or base + displacement of tileloadd and tilestored, whose
 * index register, scaled, is the stride of rows.
 *
 * The file is compiled for AVX2 and FMA; nothing but amx_emulator_runs_here is called without them.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* names of registers in a signal's context */
#endif
#include "amx_emulator.h"

#include <cpuid.h>
#include <immintrin.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <ucontext.h>
#include <unistd.h>

#define N_TILES   8
#define ROWS      16
#define ROW_BYTES 64

/* FTZ and DAZ, all exceptions masked, round to nearest. */
#define FLUSHING 0x9FC0u

enum prefix { NO_PREFIX, PREFIX_66, PREFIX_F3, PREFIX_F2 };

/* palette 1: what ldtilecfg reads and sttilecfg writes. */
struct config {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[N_TILES], no_row_bytes[8];
    uint8_t rows[N_TILES], no_rows[8];
};

struct unit {
    bool is_configured;
    struct config config;
    uint8_t tile[N_TILES][ROWS][ROW_BYTES];
};

struct instruction {
    enum prefix prefix;
    uint8_t opcode;
    bool is_memory, has_sib, is_wide, is_long;
    int reg, rm, v;
    uint8_t *address; /* base + displacement, with an index only in configurations */
    int64_t stride;
    const uint8_t *end; /* the next instruction */
};

static _Thread_local struct unit unit;
static atomic_uint_fast64_t executed;
static struct sigaction previous;

_Static_assert(sizeof(struct config) == 64, "a configuration has 64 bytes");

__attribute__((format(printf, 1, 2), noreturn)) static void refuse(const char *fmt, ...)
{
    char text[240];
    va_list args;
    va_start(args, fmt);
    int n = snprintf(text, sizeof text, "amx emulator: ");
    n += vsnprintf(text + n, sizeof text - (size_t)n - 1, fmt, args);
    va_end(args);
    n = n < (int)sizeof text - 2 ? n : (int)sizeof text - 2;
    text[n] = '\n';
    ssize_t ignored = write(STDERR_FILENO, text, (size_t)n + 1);
    (void)ignored;
    _exit(AMX_EMULATOR_REFUSED);
}

/* ---- decoding ------------------------------------------------------------------------------- */

static uint64_t register_of(const ucontext_t *context, int number)
{
    static const int order[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP,
                                  REG_RSI, REG_RDI, REG_R8,  REG_R9,  REG_R10, REG_R11,
                                  REG_R12, REG_R13, REG_R14, REG_R15};
    return (uint64_t)context->uc_mcontext.gregs[order[number]];
}

static int64_t displacement(const uint8_t **at, int bytes)
{
    int8_t narrow;
    int32_t wide;
    if (bytes == 1)
        memcpy(&narrow, *at, sizeof narrow);
    else
        memcpy(&wide, *at, sizeof wide);
    *at += bytes;
    return bytes == 1 ? narrow : wide;
}

/* The operand behind the ModRM byte; `extend` has bits 8 for base and 16 for index. */
static void decode_memory(struct instruction *in, const ucontext_t *context, const uint8_t *at,
                          uint8_t modrm, int extend)
{
    int mod = modrm >> 6, low = modrm & 7;
    int base = low | (extend & 8), index = 4, scale = 0;
    bool has_base = true;
    in->has_sib = low == 4;
    if (in->has_sib) {
        uint8_t sib = *at++;
        low = sib & 7;
        base = low | (extend & 8);
        index = (sib >> 3 & 7) | (extend & 16) >> 1;
        scale = sib >> 6;
    }
    int bytes = mod == 1 ? 1 : mod == 2 ? 4 : 0;
    if (mod == 0 && low == 5) {
        has_base = false;
        bytes = 4;
    }
    int64_t offset = bytes ? displacement(&at, bytes) : 0;
    in->end = at;
    if (has_base)
        offset += (int64_t)register_of(context, base);
    else if (!in->has_sib)
        offset += (int64_t)(uintptr_t)in->end; /* relative to the next instruction */
    in->address = (uint8_t *)(uintptr_t)offset;
    in->stride = index == 4 ? 0 : (int64_t)(register_of(context, index) << scale);
}

/* False for anything but a VEX instruction of map 0F38 that tiles may have. */
static bool decode(struct instruction *in, const ucontext_t *context)
{
    const uint8_t *at = (const uint8_t *)(uintptr_t)context->uc_mcontext.gregs[REG_RIP];
    if (at[0] != 0xC4 || (at[1] & 0x1F) != 2)
        return false;
    if (at[3] != 0x49 && at[3] != 0x4B && at[3] != 0x5C && at[3] != 0x5E)
        return false;
    uint8_t extend = (uint8_t)~at[1], modrm = at[4];
    *in = (struct instruction){.prefix = (enum prefix)(at[2] & 3),
                               .opcode = at[3],
                               .is_memory = modrm >> 6 != 3,
                               .is_wide = at[2] >> 7,
                               .is_long = at[2] >> 2 & 1,
                               .reg = (modrm >> 3 & 7) | (extend >> 7 & 1) << 3,
                               .rm = (modrm & 7) | (extend >> 5 & 1) << 3,
                               .v = (uint8_t)~at[2] >> 3 & 15,
                               .end = at + 5};
    if (in->is_memory)
        decode_memory(in, context, at + 5, modrm, (extend >> 5 & 1) << 3 | (extend >> 6 & 1) << 4);
    return true;
}

/* ---- what the processor would refuse
 * ---------------------------------------------------------- */

static void check_tile(const char *what, int tile)
{
    if (!unit.is_configured)
        refuse("%s without a tile configuration", what);
    if (tile >= N_TILES)
        refuse("%s names tile %d, there are %d", what, tile, N_TILES);
    if (unit.config.rows[tile] == 0)
        refuse("%s of tile %d, which is not configured", what, tile);
}

static bool is_zero(const void *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (((const uint8_t *)bytes)[i] != 0)
            return false;
    return true;
}

static void check_config(const struct config *c)
{
    if (c->palette != 1)
        refuse("ldtilecfg with palette %d, expected 1", c->palette);
    if (c->start_row != 0)
        refuse("ldtilecfg with start row %d, expected 0", c->start_row);
    if (!is_zero(c->reserved, sizeof c->reserved) ||
        !is_zero(c->no_row_bytes, sizeof c->no_row_bytes) ||
        !is_zero(c->no_rows, sizeof c->no_rows))
        refuse("ldtilecfg with a reserved byte that is not zero");
    for (int t = 0; t < N_TILES; t++) {
        if (c->rows[t] > ROWS || c->row_bytes[t] > ROW_BYTES)
            refuse("ldtilecfg: tile %d of %d rows x %d bytes, at most %d x %d", t, c->rows[t],
                   c->row_bytes[t], ROWS, ROW_BYTES);
        if ((c->rows[t] == 0) != (c->row_bytes[t] == 0))
            refuse("ldtilecfg: tile %d of %d rows x %d bytes", t, c->rows[t], c->row_bytes[t]);
    }
}

/* sum (reg) += left (rm) * right (v) */
static void check_product(const char *what, const struct instruction *in)
{
    const struct config *c = &unit.config;
    check_tile(what, in->reg);
    check_tile(what, in->rm);
    check_tile(what, in->v);
    if (in->reg == in->rm || in->reg == in->v || in->rm == in->v)
        refuse("%s of tiles %d, %d, %d, which must be three", what, in->reg, in->rm, in->v);
    if (c->row_bytes[in->reg] % 4 || c->row_bytes[in->rm] % 4 || c->row_bytes[in->v] % 4)
        refuse("%s of rows that are not whole groups of 4 bytes", what);
    if (c->rows[in->reg] != c->rows[in->rm] || c->row_bytes[in->reg] != c->row_bytes[in->v] ||
        c->row_bytes[in->rm] != 4 * c->rows[in->v])
        refuse("%s of shapes that do not agree: sum %d x %d, left %d x %d, right %d x %d bytes",
               what, c->rows[in->reg], c->row_bytes[in->reg], c->rows[in->rm], c->row_bytes[in->rm],
               c->rows[in->v], c->row_bytes[in->v]);
}

/* ---- executing
 * -------------------------------------------------------------------------------- */

static void load_config(const struct instruction *in)
{
    struct config c;
    memcpy(&c, in->address + in->stride, sizeof c);
    if (c.palette == 0) {
        unit = (struct unit){.is_configured = false};
        return;
    }
    check_config(&c);
    unit = (struct unit){.is_configured = true, .config = c};
}

static void store_config(const struct instruction *in)
{
    memcpy(in->address + in->stride, &unit.config, sizeof unit.config);
}

static void load_tile(const char *what, const struct instruction *in)
{
    check_tile(what, in->reg);
    memset(unit.tile[in->reg], 0, sizeof unit.tile[in->reg]);
    for (int r = 0; r < unit.config.rows[in->reg]; r++)
        memcpy(unit.tile[in->reg][r], in->address + r * in->stride, unit.config.row_bytes[in->reg]);
}

static void store_tile(const struct instruction *in)
{
    check_tile("tilestored", in->reg);
    for (int r = 0; r < unit.config.rows[in->reg]; r++)
        memcpy(in->address + r * in->stride, unit.tile[in->reg][r], unit.config.row_bytes[in->reg]);
}

static void zero_tile(const struct instruction *in)
{
    check_tile("tilezero", in->reg);
    memset(unit.tile[in->reg], 0, sizeof unit.tile[in->reg]);
}

/* Elements 0, 2, 4 ... of a row of bf16 as f32, and 1, 3, 5 ... */
static void widen(float even[16], float odd[16], const uint8_t *row)
{
    uint32_t pairs[16];
    memcpy(pairs, row, sizeof pairs);
    for (int i = 0; i < 16; i++) {
        uint32_t low = pairs[i] << 16, high = pairs[i] & 0xFFFF0000;
        memcpy(&even[i], &low, sizeof low);
        memcpy(&odd[i], &high, sizeof high);
    }
}

/* Entered and left with denormals flushed; a function of its own, so that nothing of it can be
 * moved to where they are not. Columns beyond the configured ones are zeros times zeros. */
__attribute__((noinline)) static void bf16_sums(const struct instruction *in)
{
    const struct config *c = &unit.config;
    float right[2][16][16], left[2][16], sum[16];
    int pairs = c->row_bytes[in->rm] / 4;
    for (int k = 0; k < pairs; k++)
        widen(right[0][k], right[1][k], unit.tile[in->v][k]);
    for (int r = 0; r < c->rows[in->reg]; r++) {
        float e[16] = {0}, o[16] = {0};
        widen(left[0], left[1], unit.tile[in->rm][r]);
        for (int k = 0; k < pairs; k++)
            for (int n = 0; n < 16; n++) {
                e[n] = __builtin_fmaf(left[0][k], right[0][k][n], e[n]);
                o[n] = __builtin_fmaf(left[1][k], right[1][k][n], o[n]);
            }
        memcpy(sum, unit.tile[in->reg][r], sizeof sum);
        for (int n = 0; n < 16; n++)
            sum[n] = sum[n] + (e[n] + o[n]);
        memcpy(unit.tile[in->reg][r], sum, c->row_bytes[in->reg]);
    }
}

static void multiply_bf16(const struct instruction *in)
{
    unsigned before = _mm_getcsr();
    check_product("tdpbf16ps", in);
    _mm_setcsr(FLUSHING);
    bf16_sums(in);
    _mm_setcsr(before);
}

/* Bytes of the right tile by column of the left one; 0 to 255 unless they are signed. */
static void widen_bytes(int32_t out[ROW_BYTES][16], const uint8_t tile[ROWS][ROW_BYTES],
                        bool is_signed)
{
    for (int k = 0; k < ROW_BYTES; k++)
        for (int n = 0; n < 16; n++) {
            uint8_t byte = tile[k / 4][4 * n + k % 4];
            out[k][n] = is_signed ? (int8_t)byte : byte;
        }
}

static void multiply_int8(const struct instruction *in)
{
    /* By prefix: tdpbuud, tdpbusd, tdpbsud, tdpbssd; the left letter is the left operand. */
    bool left_signed = in->prefix == PREFIX_F3 || in->prefix == PREFIX_F2;
    bool right_signed = in->prefix == PREFIX_66 || in->prefix == PREFIX_F2;
    const struct config *c = &unit.config;
    int32_t right[ROW_BYTES][16];
    check_product("tdpb..d", in);
    widen_bytes(right, unit.tile[in->v], right_signed);
    for (int r = 0; r < c->rows[in->reg]; r++) {
        uint32_t sum[16]; /* wraps */
        memcpy(sum, unit.tile[in->reg][r], sizeof sum);
        for (int k = 0; k < c->row_bytes[in->rm]; k++) {
            uint8_t byte = unit.tile[in->rm][r][k];
            int32_t left = left_signed ? (int8_t)byte : byte;
            for (int n = 0; n < 16; n++)
                sum[n] += (uint32_t)(left * right[k][n]);
        }
        memcpy(unit.tile[in->reg][r], sum, c->row_bytes[in->reg]);
    }
}

/* Opcode 49: configuration, release, zero. False: not an instruction of tiles. */
static bool execute_state(const struct instruction *in)
{
    if (in->is_memory && in->reg == 0 && in->prefix == NO_PREFIX)
        load_config(in);
    else if (in->is_memory && in->reg == 0 && in->prefix == PREFIX_66)
        store_config(in);
    else if (!in->is_memory && in->prefix == PREFIX_F2 && in->rm == 0)
        zero_tile(in);
    else if (!in->is_memory && in->prefix == NO_PREFIX && in->reg == 0 && in->rm == 0)
        unit = (struct unit){.is_configured = false};
    else
        return false;
    return true;
}

/* Opcode 4B. */
static bool execute_move(const struct instruction *in)
{
    if (!in->is_memory || !in->has_sib || in->prefix == NO_PREFIX)
        return false;
    if (in->prefix == PREFIX_F3)
        store_tile(in);
    else
        load_tile(in->prefix == PREFIX_F2 ? "tileloadd" : "tileloaddt1", in);
    return true;
}

static bool execute(const struct instruction *in)
{
    bool is_product = in->opcode == 0x5C || in->opcode == 0x5E;
    if (in->is_wide || in->is_long || (!is_product && in->v != 0))
        return false;
    if (in->opcode == 0x49)
        return execute_state(in);
    if (in->opcode == 0x4B)
        return execute_move(in);
    if (in->is_memory || (in->opcode == 0x5C && in->prefix != PREFIX_F3))
        return false;
    if (in->opcode == 0x5C)
        multiply_bf16(in);
    else
        multiply_int8(in);
    return true;
}

/* ---- the signal
 * ------------------------------------------------------------------------------- */

static void hand_on(int number, siginfo_t *info, void *context)
{
    if (previous.sa_flags & SA_SIGINFO)
        previous.sa_sigaction(number, info, context);
    else if (previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN)
        previous.sa_handler(number);
    else
        sigaction(SIGILL, &previous, NULL); /* the instruction is met again, and ends the process */
}

static void on_illegal_instruction(int number, siginfo_t *info, void *argument)
{
    ucontext_t *context = argument;
    struct instruction in;
    if (!decode(&in, context) || !execute(&in)) {
        hand_on(number, info, argument);
        return;
    }
    context->uc_mcontext.gregs[REG_RIP] = (greg_t)(uintptr_t)in.end;
    atomic_fetch_add_explicit(&executed, 1, memory_order_relaxed);
}

bool amx_emulator_runs_here(void)
{
    unsigned a, b, c, d;
    bool has_tiles = __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d >> 24 & 1);
    return !has_tiles && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

void amx_emulator_install(void)
{
    struct sigaction action = {.sa_sigaction = on_illegal_instruction, .sa_flags = SA_SIGINFO};
    struct sigaction before;
    sigemptyset(&action.sa_mask);
    sigaction(SIGILL, &action, &before);
    if (!(before.sa_flags & SA_SIGINFO) || before.sa_sigaction != on_illegal_instruction)
        previous = before;
}

void amx_emulator_remove(void)
{
    sigaction(SIGILL, &previous, NULL);
}

uint64_t amx_emulator_executed(void)
{
    return atomic_load(&executed);
}

bool amx_emulator_is_configured(void)
{
    return unit.is_configured;
}
