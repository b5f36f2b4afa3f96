/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cluster/rank.h - the loop of a rank: obey the stream, gather, step, sleep when there is nothing.
 *
 * Workers (ranks 1..) spend their life in clus_rank_run. Rank 0's side of the same loop runs in the
 * thread that cluster/group.c creates. While ticks flow all ranks sit in blocking MPI broadcasts;
 * after `linger_ns` without a message rank 0 broadcasts SLEEP and the workers wait in poll() on
 * their control socket, using no processor at all, until rank 0 writes one byte to each.
 *
 * Signals only ever interrupt a wait, which is then taken up again. SIGTERM, SIGUSR1, SIGUSR2 and
 * SIGCONT reach workers because mpirun forwards them; the daemon decides what they mean.
 */
#ifndef LATENTD_CLUSTER_RANK_H
#define LATENTD_CLUSTER_RANK_H

#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"
#include "cluster/world.h"

struct clus_executor;

/* Longer than the pause between two ticks of a busy engine (coda and sampling: 1-15 ms), short
 * enough that an idle cluster is idle. */
#define CLUS_LINGER_DEFAULT_NS 20000000ull

struct clus_rank_config {
    struct clus_world *world;       /* borrowed */
    struct clus_executor *executor; /* borrowed */
    uint64_t linger_ns;             /* rank 0 only */
    /* Where rank 0 listens for the control sockets: an address, a host name, an interface or a
     * network of its host. NULL chooses: loopback when all ranks are on one host, otherwise the
     * interface that Open MPI was told to use (btl_tcp_if_include) or else the first that is up. */
    const char *control_address;
    int32_t n_threads;     /* of this rank's kernels; only reported */
    uint64_t weight_bytes; /* of this rank's shard; only reported */
};

/* What every rank tells about itself at start. */
struct clus_rank_info {
    int32_t rank;
    char host[CLUS_HOST_BYTES];
    int64_t pid;
    int32_t head_begin, head_end; /* the rank's shard, as in struct model_shard */
    int32_t embd_begin, embd_end;
    int32_t fc_begin, fc_end;
    int32_t n_threads;
    uint64_t weight_bytes;
};

/*
 * clus_rank_run - the life of rank 1, 2, ...: returns 0 after STOP.
 *
 * Collective with clus_group_start on rank 0.
 * Errors: LTD_E_RANK when rank 0 is gone or this rank cannot go on; the process must then leave
 * without MPI_Finalize, and mpirun ends the group.
 */
int clus_rank_run(const struct clus_rank_config *config, struct ltd_err *err);

/* ---- rank 0's side of the loop, for cluster/group.c ---------------------------------------- */

struct clus_rank;

/*
 * clus_rank_open - connect the control sockets and learn about all ranks.
 * Collective (clus_rank_run does it on workers); the same verdict everywhere. Errors: LTD_E_RANK.
 */
struct clus_rank *clus_rank_open(const struct clus_rank_config *config, struct ltd_err *err);
void clus_rank_close(struct clus_rank *take_rank); /* accepts NULL */

/* [size of the world], valid until close. */
const struct clus_rank_info *clus_rank_infos(const struct clus_rank *rank);

/*
 * clus_rank_lead - wake the workers if they sleep, broadcast one message, and do what it says.
 *
 * message   in   [len] an encoded TICK or STOP
 * reply     out  the encoded answer to a TICK (cleared first); untouched by STOP
 * Errors: LTD_E_RANK when the group is lost; MPI must not be called again then.
 */
int clus_rank_lead(struct clus_rank *rank, const void *message, size_t len, struct ltd_bytes *reply,
                   struct ltd_err *err);

/* Send the workers to sleep; nothing when they sleep already or there are none. */
int clus_rank_sleep(struct clus_rank *rank, struct ltd_err *err);

/* When to call clus_rank_sleep if no message comes: LTD_NEVER while the workers sleep. */
uint64_t clus_rank_sleep_time(const struct clus_rank *rank);

#endif
