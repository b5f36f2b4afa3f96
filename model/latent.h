/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model/latent.h - randomness that depends on nothing but the job, the position and the element.
 *
 * Every draw is a pure function of (seed, stream, position, index): no generator is carried along,
 * so a result cannot depend on batching, ranks, restarts or the order of work. The generator is
 * Philox4x32 with ten rounds; the initial latent is a truncated normal by inversion.
 *
 *     key     = low word of seed, high word of seed
 *     counter = block index, position, stream, 0
 *
 * Threads: pure functions.
 * Source: J. Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC11; M. Wichura,
 * Algorithm AS 241, Applied Statistics 37 (1988); arXiv 2502.05171 §3 for the distribution;
 * docs/numerics.md#random-draws.
 */
#ifndef LATENTD_MODEL_LATENT_H
#define LATENTD_MODEL_LATENT_H

#include <stdint.h>

/* Streams keep draws for different purposes apart. Values are part of the answer: never renumber.
 */
enum model_stream {
    MODEL_STREAM_LATENT = 0,  /* s_0 */
    MODEL_STREAM_SAMPLER = 1, /* the token at a position */
    MODEL_STREAM_NOISE = 2,   /* reserved for noise mixed into a latent by a sampler */
};

/* model_philox - ten rounds of Philox4x32 on counter ctr[4] under key[2] into out[4]. */
void model_philox(const uint32_t ctr[4], const uint32_t key[2], uint32_t out[4]);

/* A double in [0, 1), a multiple of 2^-53. */
double model_draw_uniform(uint64_t seed, int32_t position, enum model_stream stream);

/* The inverse of the standard normal distribution for 0 < p < 1 (AS 241, PPND16). */
double model_normal_quantile(double p);

/*
 * model_latent_init - s_0 of one position: out [n].
 * Independent draws from a normal of mean 0 and sigma' = init_scale * sqrt(0.4), cut at 3 sigma'.
 * init_scale <= 0 gives exact zeros. The result does not depend on n beyond its length.
 */
void model_latent_init(float *out, int32_t n, uint64_t seed, int32_t position, float init_scale);

#endif
