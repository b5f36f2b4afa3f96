/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/fuzz.h - what the fuzz targets share.
 *
 * A target is one file with one function that takes any bytes and returns 0. It does what the
 * daemon does with bytes from that source, and then checks more than "no crash": what was accepted
 * comes back the same, keeps its bounds, and does not depend on how it was cut.
 *
 *     clang, -DLATENTD_FUZZ=ON   libFuzzer calls the function, guided by coverage
 *     any other build            replay.c calls it with every file of the corpora, as a test
 *
 * Threads: one.
 */
#ifndef LATENTD_TESTS_FUZZ_FUZZ_H
#define LATENTD_TESTS_FUZZ_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* The target. Its name is libFuzzer's. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* An invariant that does not hold is a finding: message, then abort. */
#define FUZZ_CHECK(condition, ...)                                                                 \
    ((condition) ? (void)0 : fuzz_broken(__FILE__, __LINE__, #condition, __VA_ARGS__))

_Noreturn void fuzz_broken(const char *file, int line, const char *condition, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* A refusal must say why: a code, and a message that is clean UTF-8 on one line. */
void fuzz_check_refusal(const struct ltd_err *err);

/* Knobs are taken from the front of the input; what is missing is 0. */
struct fuzz_input {
    const uint8_t *data;
    size_t len;
};

uint8_t fuzz_u8(struct fuzz_input *in);
uint32_t fuzz_u32(struct fuzz_input *in);

/* The next size of a piece, 1 .. max, from a seed that goes on. For input that comes cut. */
size_t fuzz_piece(uint32_t *seed, size_t max);

/*
 * fuzz_copy - the bytes in a block of exactly their size, so that a sanitizer sees any byte too
 * far. Owned (free).
 */
uint8_t *fuzz_copy(const uint8_t *data, size_t len);

/*
 * fuzz_file - a regular file in memory with these contents; returns its path, good until the next
 * call. For code that takes a path.
 */
const char *fuzz_file(const void *data, size_t len);

#endif
