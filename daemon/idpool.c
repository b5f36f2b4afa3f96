/* SPDX-License-Identifier: Apache-2.0 */
/* daemon/idpool.c - a stack of free numbers; see daemon/idpool.h. */
#include "daemon/idpool.h"

#include "base/size.h"

int idpool_init(struct idpool *pool, int32_t n_total, struct ltd_err *err)
{
    *pool = (struct idpool){.n_total = n_total};
    pool->free = ltd_alloc((size_t)n_total, sizeof *pool->free);
    pool->is_taken = ltd_alloc((size_t)n_total, sizeof *pool->is_taken);
    if (!pool->free || !pool->is_taken) {
        idpool_fini(pool);
        return ltd_fail(err, LTD_E_EXHAUSTED, "no memory for %d ids", n_total);
    }
    /* Lowest number last in the stack, so that a quiet service touches few pages. */
    for (int32_t i = n_total - 1; i >= 0; i--)
        pool->free[pool->n_free++] = i;
    return 0;
}

void idpool_fini(struct idpool *pool)
{
    ltd_free(pool->free);
    ltd_free(pool->is_taken);
    *pool = (struct idpool){0};
}

int32_t idpool_acquire(struct idpool *pool)
{
    if (pool->n_free == 0)
        return -1;
    int32_t id = pool->free[--pool->n_free];
    pool->is_taken[id] = true;
    return id;
}

bool idpool_acquire_n(struct idpool *pool, int32_t n, int32_t *out)
{
    if (pool->n_free < n)
        return false;
    for (int32_t i = 0; i < n; i++)
        out[i] = idpool_acquire(pool);
    return true;
}

void idpool_release(struct idpool *pool, int32_t id)
{
    ltd_assert(id >= 0 && id < pool->n_total && pool->is_taken[id], id, pool->n_total);
    pool->is_taken[id] = false;
    pool->free[pool->n_free++] = id;
}

void idpool_release_n(struct idpool *pool, int32_t n, const int32_t *ids)
{
    for (int32_t i = n - 1; i >= 0; i--)
        idpool_release(pool, ids[i]);
}
