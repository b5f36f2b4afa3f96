/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cluster/control.h - the bell that wakes sleeping ranks.
 *
 * One TCP connection from every worker to rank 0. Rank 0 writes a byte to wake a worker; a worker
 * that finds the end of the file knows that rank 0 is gone. Nothing else travels here. The address,
 * the port and a random token come by MPI broadcast, so only ranks of this group can connect.
 *
 * Why not MPI: every way to wait in MPI costs processor time (a whole core when it blocks, 1-5 %
 * when it polls); poll() on a socket costs none and wakes in 0.15 ms (docs/tick-stream.md).
 *
 * Threads: open and close by the thread that may call MPI; wake by rank 0's rank thread, wait by a
 * worker's.
 */
#ifndef LATENTD_CLUSTER_CONTROL_H
#define LATENTD_CLUSTER_CONTROL_H

#include "base/err.h"

struct clus_control;
struct clus_world;

/*
 * clus_control_open - connect all workers to rank 0.
 *
 * address   rank 0's wish (cluster/address.h), NULL to choose; ignored on workers
 *
 * Collective, with the same verdict everywhere. Waits at most some 30 s for ranks and strangers.
 * Errors: LTD_E_RANK naming the rank that could not connect, and to what.
 */
struct clus_control *clus_control_open(struct clus_world *world, const char *address,
                                       struct ltd_err *err);
void clus_control_close(struct clus_control *take_control); /* accepts NULL */

/* clus_control_wake - rank 0: one byte to every worker. LTD_E_RANK when one is gone. */
int clus_control_wake(struct clus_control *control, struct ltd_err *err);

/* clus_control_wait - worker: sleep until woken. LTD_E_RANK when rank 0 is gone. */
int clus_control_wait(struct clus_control *control, struct ltd_err *err);

#endif
