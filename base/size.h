/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base/size.h - sizes that cannot overflow, and memory that is aligned for kernels.
 *
 * Shapes come from files that anybody may have written, so a product of shapes goes through here.
 */
#ifndef LATENTD_BASE_SIZE_H
#define LATENTD_BASE_SIZE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LTD_CACHE_LINE_BYTES 64

/* a * b or a + b into *out; false (and *out untouched) when it does not fit. */
static inline bool ltd_size_mul(size_t a, size_t b, size_t *out)
{
    size_t r;
    if (__builtin_mul_overflow(a, b, &r))
        return false;
    *out = r;
    return true;
}

static inline bool ltd_size_add(size_t a, size_t b, size_t *out)
{
    size_t r;
    if (__builtin_add_overflow(a, b, &r))
        return false;
    *out = r;
    return true;
}

/*
 * ltd_alloc - `count * size` zeroed bytes aligned to a cache line; NULL when it overflows or memory
 * is out. Blocks of 2 MiB and more are aligned to 2 MiB and asked to be huge pages: first touch of
 * 4 KiB pages is what loading weights costs in a virtual machine. Free with ltd_free.
 */
void *ltd_alloc(size_t count, size_t size);

/* ltd_free - accepts NULL, preserves errno. */
void ltd_free(void *block);

#endif
