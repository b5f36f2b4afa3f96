/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cluster/comm.c - see cluster/comm.h. Beside cluster/world.c the only file that knows MPI.
 *
 * MPI_Allgatherv with Open MPI's defaults is what measurements chose: forced algorithms, larger
 * eager limits and other components gave nothing, and uneven slices cost nothing on the wire. A
 * gather of a step's activations is below 0.1 % of the step on one host.
 */
#include "cluster/comm.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include <mpi.h>

#include "base/size.h"
#include "cluster/world.h"

struct part {
    int32_t width;  /* columns over all ranks */
    int32_t *own;   /* [size] columns of each rank */
    int32_t *begin; /* [size] first column of each rank */
};

struct clus_gather {
    struct clus_world *world; /* borrowed */
    int32_t rank, size, max_batch;
    struct part parts[MODEL_N_PARTS];
    /* scratch */
    int *counts, *displs; /* [size] elements, for the call at hand */
    float *staging;       /* [max_batch][widest part], in rank blocks; NULL for one rank */
};

static int mpi_check(int rc, const char *call, struct ltd_err *err)
{
    if (rc == MPI_SUCCESS)
        return 0;
    char text[MPI_MAX_ERROR_STRING] = "";
    int len = 0;
    MPI_Error_string(rc, text, &len);
    return ltd_fail(err, LTD_E_RANK, "%s: %s", call, text);
}

int clus_comm_broadcast(struct clus_world *world, void *data, size_t bytes, struct ltd_err *err)
{
    if (clus_world_size(world) == 1)
        return 0;
    if (bytes > INT_MAX)
        return ltd_fail(err, LTD_E_EXHAUSTED, "broadcast of %zu bytes, at most %d possible", bytes,
                        INT_MAX);
    return mpi_check(MPI_Bcast(data, (int)bytes, MPI_BYTE, 0, MPI_COMM_WORLD), "MPI_Bcast", err);
}

int clus_comm_all_gather(struct clus_world *world, const void *mine, void *all, size_t bytes,
                         struct ltd_err *err)
{
    if (clus_world_size(world) == 1) {
        memcpy(all, mine, bytes);
        return 0;
    }
    if (bytes > INT_MAX)
        return ltd_fail(err, LTD_E_EXHAUSTED, "gather of %zu bytes, at most %d possible", bytes,
                        INT_MAX);
    return mpi_check(
        MPI_Allgather(mine, (int)bytes, MPI_BYTE, all, (int)bytes, MPI_BYTE, MPI_COMM_WORLD),
        "MPI_Allgather", err);
}

/* ---- the gather of activations ------------------------------------------------------------ */

/* Rank blocks to rows: the columns of a rank become contiguous pieces of every row. */
static void unpack(const struct clus_gather *gather, const struct part *part, float *full,
                   int32_t n_pos)
{
    const float *block = gather->staging;
    for (int32_t rank = 0; rank < gather->size; rank++) {
        size_t own = (size_t)part->own[rank];
        for (int32_t pos = 0; pos < n_pos && own > 0; pos++)
            memcpy(full + (size_t)pos * (size_t)part->width + part->begin[rank],
                   block + (size_t)pos * own, own * sizeof *full);
        block += (size_t)n_pos * own;
    }
}

static int gather_part(void *arg, enum model_part idx, const float *own, float *full, int32_t n_pos,
                       struct ltd_err *err)
{
    struct clus_gather *gather = arg;
    const struct part *part = &gather->parts[idx];
    ltd_assert(n_pos >= 0 && n_pos <= gather->max_batch, n_pos, gather->max_batch);
    if (gather->size == 1) {
        memcpy(full, own, (size_t)n_pos * (size_t)part->width * sizeof *full);
        return 0;
    }
    for (int32_t rank = 0; rank < gather->size; rank++) {
        gather->counts[rank] = n_pos * part->own[rank];
        gather->displs[rank] = n_pos * part->begin[rank];
    }
    /* One position's blocks are already the row. */
    float *into = n_pos == 1 ? full : gather->staging;
    int rc = MPI_Allgatherv(own, gather->counts[gather->rank], MPI_FLOAT, into, gather->counts,
                            gather->displs, MPI_FLOAT, MPI_COMM_WORLD);
    if (mpi_check(rc, "MPI_Allgatherv", err))
        return -1;
    if (into != full)
        unpack(gather, part, full, n_pos);
    return 0;
}

/* The columns of all ranks must follow each other without a gap. */
static int plan_part(struct clus_gather *gather, enum model_part idx,
                     const struct model_config *config, const struct model_shard *shards,
                     struct ltd_err *err)
{
    struct part *part = &gather->parts[idx];
    size_t size = (size_t)gather->size;
    part->width = model_part_width(idx, config);
    part->own = calloc(size, sizeof *part->own);
    part->begin = calloc(size, sizeof *part->begin);
    if (!part->own || !part->begin)
        return ltd_fail(err, LTD_E_EXHAUSTED, "gather: no memory");
    int32_t at = 0;
    for (int32_t rank = 0; rank < gather->size; rank++) {
        part->own[rank] = model_part_own(idx, config, &shards[rank]);
        part->begin[rank] = at;
        if (part->own[rank] < 0 || model_part_begin(idx, config, &shards[rank]) != at)
            return ltd_fail(err, LTD_E_INVALID,
                            "gather: part %d of rank %d begins at %d, expected %d", (int)idx, rank,
                            model_part_begin(idx, config, &shards[rank]), at);
        at += part->own[rank];
    }
    if (at != part->width)
        return ltd_fail(err, LTD_E_INVALID, "gather: part %d ends at %d, expected %d", (int)idx, at,
                        part->width);
    return 0;
}

/* Space for the widest part; its element count must fit the int that MPI counts with. */
static int reserve_staging(struct clus_gather *gather, struct ltd_err *err)
{
    size_t widest = 0, elements;
    for (int i = 0; i < MODEL_N_PARTS; i++)
        if ((size_t)gather->parts[i].width > widest)
            widest = (size_t)gather->parts[i].width;
    if (!ltd_size_mul(widest, (size_t)gather->max_batch, &elements) || elements > INT_MAX)
        return ltd_fail(err, LTD_E_INVALID, "gather: %d positions of %zu values, at most %d values",
                        gather->max_batch, widest, INT_MAX);
    if (gather->size > 1)
        gather->staging = ltd_alloc(elements, sizeof *gather->staging);
    gather->counts = calloc((size_t)gather->size, sizeof *gather->counts);
    gather->displs = calloc((size_t)gather->size, sizeof *gather->displs);
    if ((gather->size > 1 && !gather->staging) || !gather->counts || !gather->displs)
        return ltd_fail(err, LTD_E_EXHAUSTED, "gather: no memory for %zu values", elements);
    return 0;
}

struct clus_gather *clus_gather_create(struct clus_world *world, const struct model_config *config,
                                       const struct model_shard *shards, int32_t max_batch,
                                       struct ltd_err *err)
{
    struct clus_gather *gather = calloc(1, sizeof *gather);
    if (!gather)
        return ltd_fail_null(err, LTD_E_EXHAUSTED, "gather: no memory");
    gather->world = world;
    gather->rank = clus_world_rank(world);
    gather->size = clus_world_size(world);
    gather->max_batch = max_batch;
    for (int i = 0; i < MODEL_N_PARTS; i++)
        if (plan_part(gather, (enum model_part)i, config, shards, err)) {
            clus_gather_destroy(gather);
            return NULL;
        }
    if (reserve_staging(gather, err)) {
        clus_gather_destroy(gather);
        return NULL;
    }
    return gather;
}

void clus_gather_destroy(struct clus_gather *gather)
{
    if (!gather)
        return;
    for (int i = 0; i < MODEL_N_PARTS; i++) {
        free(gather->parts[i].own);
        free(gather->parts[i].begin);
    }
    ltd_free(gather->staging);
    free(gather->counts);
    free(gather->displs);
    free(gather);
}

struct model_exchange clus_gather_exchange(struct clus_gather *gather)
{
    return (struct model_exchange){.gather = gather_part, .arg = gather};
}
