/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cluster/world.h - this process among the ranks: MPI's start and end, and who is where.
 *
 * Works under mpirun and without: a process that nobody launched is a world of one rank, and gets
 * the settings that make that quick (docs/tick-stream.md lists them; never overwriting the user's).
 * MPI is started with MPI_THREAD_SERIALIZED: any thread may call, one at a time. In practice main
 * calls at start and end and the rank thread in between.
 *
 * Signal handlers must be installed before clus_world_open: MPI keeps what it finds.
 */
#ifndef LATENTD_CLUSTER_WORLD_H
#define LATENTD_CLUSTER_WORLD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct clus_world;

#define CLUS_HOST_BYTES 64 /* a host name with its NUL; longer ones are cut */

/*
 * clus_world_open - start MPI. At most once per process.
 * Errors: LTD_E_RANK when MPI does not start or cannot give the thread level; LTD_E_EXHAUSTED.
 * (Open MPI itself ends the process, with a message, when its launcher is broken.)
 */
struct clus_world *clus_world_open(struct ltd_err *err);

/* End MPI: collective, every rank must call it. Hangs when a rank is lost; NULL is accepted. */
void clus_world_close(struct clus_world *take_world);

/* Forget the world without MPI_Finalize: for a process that leaves by _exit because a rank is lost
 * or mpirun is ending it anyway. NULL is accepted. */
void clus_world_abandon(struct clus_world *take_world);

int32_t clus_world_rank(const struct clus_world *world);
int32_t clus_world_size(const struct clus_world *world);
const char *clus_world_host(const struct clus_world *world); /* of this rank */
const char *clus_world_host_of(const struct clus_world *world, int32_t rank);
bool clus_world_is_one_host(const struct clus_world *world);

/* Bytes that one rank says in a collective of handshake.c or rank.c; the same in all versions. */
#define CLUS_BLOCK_BYTES 4096

/* [size][CLUS_BLOCK_BYTES] to receive everybody's block: reserved at start, so that no rank can be
 * missing from a collective because it had no memory. One use at a time. */
uint8_t *clus_world_blocks(struct clus_world *world);

#endif
