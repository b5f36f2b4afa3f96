/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/idpool.h - the free numbers of a fixed range: KV pages, latent rows, sequences.
 *
 * The engine hands out numbers that mean places on every rank. Whoever takes one gives it back;
 * idpool_release refuses (by assertion) a number that is free already, because a page with two
 * owners would be a wrong answer, not a crash.
 *
 * Threads: engine thread only.
 */
#ifndef LATENTD_DAEMON_IDPOOL_H
#define LATENTD_DAEMON_IDPOOL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct idpool {
    int32_t *free;  /* [n_total]; the first n_free are free, last one next */
    bool *is_taken; /* [n_total] */
    int32_t n_free, n_total;
};

/* Numbers 0 .. n_total - 1, all free. Errors: LTD_E_EXHAUSTED. */
int idpool_init(struct idpool *pool, int32_t n_total, struct ltd_err *err);
void idpool_fini(struct idpool *pool);

/* Take one; -1 when none is free. */
int32_t idpool_acquire(struct idpool *pool);
/* Take n into out; false (and nothing taken) when fewer are free. */
bool idpool_acquire_n(struct idpool *pool, int32_t n, int32_t *out);
void idpool_release(struct idpool *pool, int32_t id);
void idpool_release_n(struct idpool *pool, int32_t n, const int32_t *ids);

static inline int32_t idpool_n_taken(const struct idpool *pool)
{
    return pool->n_total - pool->n_free;
}

#endif
