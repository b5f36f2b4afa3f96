/* SPDX-License-Identifier: Apache-2.0 */
/* base/size.c - aligned, zeroed, huge-page friendly blocks; see base/size.h. */
#include "base/size.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define HUGE_PAGE_BYTES ((size_t)2 << 20)

void *ltd_alloc(size_t count, size_t size)
{
    size_t bytes;
    if (!ltd_size_mul(count, size, &bytes))
        return NULL;
    size_t align = bytes >= HUGE_PAGE_BYTES ? HUGE_PAGE_BYTES : LTD_CACHE_LINE_BYTES;
    if (!ltd_size_add(bytes, align - 1, &bytes))
        return NULL;
    bytes -= bytes % align;
    void *block = NULL;
    if (posix_memalign(&block, align, bytes ? bytes : align))
        return NULL;
    if (align == HUGE_PAGE_BYTES)
        madvise(block, bytes, MADV_HUGEPAGE); /* a hint: where it is refused, pages are small */
    memset(block, 0, bytes);
    return block;
}

void ltd_free(void *block)
{
    int saved = errno;
    free(block);
    errno = saved;
}
