/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/kernels/amx_emulator.h - runs the machine code of AMX on processors that do not have it.
 *
 * The tile instructions of a program stay as the compiler made them. A processor without them
 * raises SIGILL; the handler decodes the instruction at hand, does what the manual says it does
 * (Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2: LDTILECFG, TILELOADD,
 * TDPBF16PS ...) and goes on behind it. Everything between tile instructions runs natively. Each
 * thread has tiles of its own, as each core does.
 *
 * What the processor would answer with an exception (a tile that is not configured, shapes that do
 * not agree, a configuration with reserved bytes) is an error of the program: it is named on
 * stderr, and the process ends with status AMX_EMULATOR_REFUSED. Illegal instructions that are no
 * tile instructions go to the handler that was there before.
 *
 * A signal costs about a microsecond. With AddressSanitizer loads and stores of tiles are checked
 * like those of C, because the handler makes them.
 */
#ifndef LATENTD_TESTS_KERNELS_AMX_EMULATOR_H
#define LATENTD_TESTS_KERNELS_AMX_EMULATOR_H

#include <stdbool.h>
#include <stdint.h>

#define AMX_EMULATOR_REFUSED 86

/* False where the emulator cannot run, because it multiplies by AVX2 and FMA, and where there is
 * nothing to emulate, because the processor has tiles. */
bool amx_emulator_runs_here(void);

/* Take over SIGILL for the whole process, and give it back. Twice is as good as once; a test takes
 * it in its body, because cmocka sets a handler of its own around each. */
void amx_emulator_install(void);
void amx_emulator_remove(void);

/* Tile instructions executed so far, by all threads. */
uint64_t amx_emulator_executed(void);

/* Whether this thread has tiles configured now; a kernel must not leave them so. */
bool amx_emulator_is_configured(void);

#endif
