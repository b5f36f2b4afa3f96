/* SPDX-License-Identifier: Apache-2.0 */
/* tests/kernels/random.h - fixed pseudo-random floats for kernel tests. */
#ifndef LATENTD_TESTS_KERNELS_RANDOM_H
#define LATENTD_TESTS_KERNELS_RANDOM_H

#include <stddef.h>
#include <stdint.h>

static inline uint32_t random_u32(uint64_t *state)
{
    *state = *state * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(*state >> 32);
}

/* Uniform in [-scale, scale). */
static inline void random_fill(float *out, size_t n, float scale, uint64_t seed)
{
    for (size_t i = 0; i < n; i++)
        out[i] = ((float)(random_u32(&seed) >> 8) * 0x1p-23f - 1.0f) * scale;
}

#endif
