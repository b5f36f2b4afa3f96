/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cluster/group.h - the engine's view of a rank group: submit ticks, wait for latents.
 *
 *     engine thread                       rank thread of rank 0            ranks 1..
 *     submit: encode ──[bytes]──▶ mailbox ──▶ MPI_Bcast ────────────────▶ decode, step
 *     wait:   decode ◀─[bytes]── mailbox ◀── reply             ◀─gather─▶
 *
 * The two threads share nothing but the two mailboxes; what crosses is bytes, so the same engine
 * drives a group that joined over a socket. Ticks are executed and answered in the order of
 * submission; up to CLUS_GROUP_MAX_OUTSTANDING may be on their way.
 *
 * Threads: start, submit, wait and stop belong to one thread (the engine's, or main's before and
 * after the engine lives). clus_group_info may be called by any thread after start.
 */
#ifndef LATENTD_CLUSTER_GROUP_H
#define LATENTD_CLUSTER_GROUP_H

#include <stdint.h>

#include "base/err.h"
#include "cluster/rank.h"
#include "cluster/tick.h"

struct clus_group;

#define CLUS_GROUP_MAX_OUTSTANDING 8

struct clus_group_config {
    struct clus_rank_config rank; /* what rank 0 has in common with the other ranks */
    const char *record_path;      /* NULL, or a file that receives every tick (cluster/record.h) */
    /* Called by the rank thread when a reply can be collected; NULL for none. It must only wake
     * somebody up. */
    void (*on_reply)(void *arg);
    void *on_reply_arg;
};

/*
 * clus_group_start - rank 0: open the control sockets, create the rank thread.
 *
 * Collective: the other ranks are in clus_rank_run at the same time, with equal configuration.
 * From here to clus_group_stop the rank thread is the only one that may call MPI.
 * Errors: LTD_E_RANK when a rank could not connect, with its name; every rank gets the same
 * verdict. When the recording cannot be created or the thread not be started, rank 0 has the reason
 * and the others are told to stop: theirs is an orderly end.
 */
struct clus_group *clus_group_start(const struct clus_group_config *config, struct ltd_err *err);

/*
 * clus_group_submit - encode the tick and hand it to the rank thread. Never blocks.
 *
 * Everything `tick` points to may be changed after the call.
 * Errors: LTD_E_EXHAUSTED when a count is above its limit or too many ticks are outstanding;
 *         LTD_E_RANK when the group is lost.
 */
int clus_group_submit(struct clus_group *group, const struct clus_tick *tick, struct ltd_err *err);

/*
 * clus_group_wait - the reply to the oldest tick that was not answered yet.
 *
 * Returns 0 and fills `reply` (its latents live until the next call of wait or stop), 1 when
 * `deadline_ns` passed first (0 = only look), -1 when the group is lost. A tick that the ranks
 * refused is a reply with reply->err set, not an error of this call: the group goes on.
 * Errors: LTD_E_RANK; LTD_E_PRECONDITION when no tick is outstanding.
 */
int clus_group_wait(struct clus_group *group, struct clus_reply *reply, uint64_t deadline_ns,
                    struct ltd_err *err);

/* How many ticks were submitted and not yet collected. */
int32_t clus_group_outstanding(const struct clus_group *group);

/* One element per rank, for status reports; valid until stop, never changes. */
const struct clus_rank_info *clus_group_info(const struct clus_group *group, int32_t *n_ranks);

/*
 * clus_group_stop - send STOP through the stream, join the rank thread, free the group.
 *
 * Ticks that are still outstanding are executed first, their replies dropped. After return this
 * thread may call MPI again (clus_world_close). NULL is accepted. Returns -1 with the reason when
 * the group had been lost: then the world must be left without MPI_Finalize.
 */
int clus_group_stop(struct clus_group *take_group, struct ltd_err *err);

#endif
