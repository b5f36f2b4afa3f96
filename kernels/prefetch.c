/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/prefetch.c - how large the second-level cache is; see kernels/prefetch.h.
 */
#include "kernels/prefetch.h"

#include <unistd.h>

size_t kern_level2_bytes(void)
{
    /* The C library asks the processor each time, and a virtual machine answers that slowly.
     * Threads that ask together store the same number. */
    static long cache_bytes;
    long known = __atomic_load_n(&cache_bytes, __ATOMIC_RELAXED);
    if (known == 0) {
        known = sysconf(_SC_LEVEL2_CACHE_SIZE);
        known = known > 0 ? known : -1;
        __atomic_store_n(&cache_bytes, known, __ATOMIC_RELAXED);
    }
    return known > 0 ? (size_t)known : 0;
}

bool kern_prefetch_pays(size_t bytes_per_thread)
{
    size_t known = kern_level2_bytes();
    return known == 0 || bytes_per_thread > known / 4 * 3;
}
