/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cluster/rank.c - see cluster/rank.h and docs/tick-stream.md.
 *
 * Every broadcast is announced by a head of fixed size, so that SLEEP and messages share one order:
 *
 *     head: command u32, zero u32, length u64     then, for MESSAGE, `length` bytes
 *
 * Invariant: `is_awake` is equal on all ranks between two heads.
 */
#include "cluster/rank.h"

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "cluster/comm.h"
#include "cluster/control.h"
#include "cluster/executor.h"
#include "cluster/handshake.h"
#include "cluster/tick.h"
#include "cluster/world.h"

#define HEAD_BYTES 16

enum command { COMMAND_MESSAGE = 1, COMMAND_SLEEP = 2 };

struct clus_rank {
    struct clus_rank_config config;
    int32_t size;
    struct clus_control *control; /* NULL in a world of one */
    struct clus_rank_info *infos; /* [size] */
    /* state: rank thread */
    bool is_awake;
    uint64_t sleep_time_ns; /* rank 0: end of the linger */
    /* scratch */
    struct ltd_bytes message; /* workers: the message at hand */
    struct clus_tick_buf buf;
};

/* ---- start and end ------------------------------------------------------------------------ */

static struct clus_rank_info own_info(const struct clus_rank_config *config)
{
    const struct model_shard *shard = &clus_executor_config(config->executor)->shard;
    struct clus_rank_info info = {
        .rank = clus_world_rank(config->world),
        .pid = getpid(),
        .head_begin = shard->head_begin,
        .head_end = shard->head_end,
        .embd_begin = shard->embd_begin,
        .embd_end = shard->embd_end,
        .fc_begin = shard->fc_begin,
        .fc_end = shard->fc_end,
        .n_threads = config->n_threads,
        .weight_bytes = config->weight_bytes,
    };
    snprintf(info.host, sizeof info.host, "%s", clus_world_host(config->world));
    return info;
}

/* The handshake found all ranks to be one build, so a struct's bytes mean the same everywhere. */
static int learn_infos(struct clus_rank *rank, struct ltd_err *err)
{
    _Static_assert(sizeof(struct clus_rank_info) <= CLUS_BLOCK_BYTES, "an info fits a block");
    struct ltd_err status = {0};
    struct clus_rank_info own = own_info(&rank->config);
    uint8_t *blocks = clus_world_blocks(rank->config.world);
    if (clus_comm_all_gather(rank->config.world, &own, blocks, sizeof own, err))
        return -1;
    rank->infos = calloc((size_t)rank->size, sizeof *rank->infos);
    if (rank->infos)
        memcpy(rank->infos, blocks, (size_t)rank->size * sizeof own);
    else
        ltd_fail(&status, LTD_E_RANK, "rank infos: no memory");
    return clus_agree(rank->config.world, &status, err);
}

struct clus_rank *clus_rank_open(const struct clus_rank_config *config, struct ltd_err *err)
{
    struct ltd_err status = {0};
    struct clus_rank *rank = calloc(1, sizeof *rank);
    if (!rank)
        ltd_fail(&status, LTD_E_RANK, "rank: no memory");
    if (clus_agree(config->world, &status, err)) {
        free(rank);
        return NULL;
    }
    rank->config = *config;
    rank->size = clus_world_size(config->world);
    ltd_bytes_init(&rank->message);
    clus_tick_buf_init(&rank->buf);
    if (rank->size > 1) {
        rank->control = clus_control_open(config->world, config->control_address, err);
        if (!rank->control) {
            clus_rank_close(rank);
            return NULL;
        }
    }
    if (learn_infos(rank, err)) {
        clus_rank_close(rank);
        return NULL;
    }
    return rank;
}

void clus_rank_close(struct clus_rank *rank)
{
    if (!rank)
        return;
    clus_control_close(rank->control);
    ltd_bytes_fini(&rank->message);
    clus_tick_buf_fini(&rank->buf);
    free(rank->infos);
    free(rank);
}

const struct clus_rank_info *clus_rank_infos(const struct clus_rank *rank)
{
    return rank->infos;
}

/* ---- what every rank does with a message -------------------------------------------------- */

/* Decode and run a tick. A tick that is refused is a reply; -1 means that this rank is lost. */
static int execute(struct clus_rank *rank, const void *message, size_t len,
                   struct clus_reply *reply, struct ltd_err *err)
{
    struct clus_executor *executor = rank->config.executor;
    struct clus_tick tick;
    struct ltd_err why = {0};
    if (clus_tick_decode(message, len, &clus_executor_config(executor)->limits, &rank->buf, &tick,
                         &why)) {
        /* Form is judged equally by all ranks, memory is not. */
        if (why.code == LTD_E_EXHAUSTED)
            return ltd_fail(err, LTD_E_RANK, "%s", why.msg);
        *reply = (struct clus_reply){.err = why};
        return 0;
    }
    return clus_executor_run(executor, &tick, reply, err);
}

/* ---- rank 0 ------------------------------------------------------------------------------- */

static int announce(struct clus_rank *rank, enum command command, size_t len, struct ltd_err *err)
{
    uint8_t head[HEAD_BYTES] = {0};
    head[0] = (uint8_t)command;
    for (int i = 0; i < 8; i++)
        head[8 + i] = (uint8_t)((uint64_t)len >> (8 * i));
    return clus_comm_broadcast(rank->config.world, head, sizeof head, err);
}

static int send_message(struct clus_rank *rank, const void *message, size_t len,
                        struct ltd_err *err)
{
    if (rank->size == 1)
        return 0;
    if (len > INT_MAX)
        return ltd_fail(err, LTD_E_RANK, "message of %zu bytes, at most %d can be sent", len,
                        INT_MAX);
    if (!rank->is_awake && clus_control_wake(rank->control, err))
        return -1;
    rank->is_awake = true;
    /* MPI takes a pointer without const; rank 0's bytes are only read. */
    if (announce(rank, COMMAND_MESSAGE, len, err) ||
        clus_comm_broadcast(rank->config.world, (void *)(uintptr_t)message, len, err))
        return -1;
    return 0;
}

static void begin_linger(struct clus_rank *rank)
{
    uint64_t now_ns = ltd_now_ns();
    rank->sleep_time_ns =
        rank->config.linger_ns > LTD_NEVER - now_ns ? LTD_NEVER : now_ns + rank->config.linger_ns;
}

int clus_rank_lead(struct clus_rank *rank, const void *message, size_t len, struct ltd_bytes *reply,
                   struct ltd_err *err)
{
    enum clus_msg_kind kind;
    struct clus_reply result;
    if (clus_msg_kind(message, len, &kind, err))
        return -1;
    if (send_message(rank, message, len, err))
        return -1;
    if (kind == CLUS_MSG_STOP)
        return 0;
    if (execute(rank, message, len, &result, err))
        return -1;
    ltd_bytes_clear(reply);
    if (clus_reply_encode(&result, &clus_executor_config(rank->config.executor)->limits, reply,
                          err))
        return -1;
    begin_linger(rank);
    return 0;
}

int clus_rank_sleep(struct clus_rank *rank, struct ltd_err *err)
{
    if (!rank->is_awake)
        return 0;
    rank->is_awake = false;
    return announce(rank, COMMAND_SLEEP, 0, err);
}

uint64_t clus_rank_sleep_time(const struct clus_rank *rank)
{
    return rank->is_awake ? rank->sleep_time_ns : LTD_NEVER;
}

/* ---- workers ------------------------------------------------------------------------------ */

static int hear(struct clus_rank *rank, uint32_t *command, size_t *len, struct ltd_err *err)
{
    uint8_t head[HEAD_BYTES];
    if (!rank->is_awake && clus_control_wait(rank->control, err))
        return -1;
    rank->is_awake = true;
    if (clus_comm_broadcast(rank->config.world, head, sizeof head, err))
        return -1;
    struct ltd_cursor c = ltd_cursor_init(head, sizeof head);
    *command = ltd_cursor_u32(&c);
    ltd_cursor_u32(&c);
    *len = ltd_cursor_u64(&c);
    return 0;
}

static int receive(struct clus_rank *rank, size_t len, struct ltd_err *err)
{
    ltd_bytes_clear(&rank->message);
    uint8_t *at = ltd_bytes_reserve(&rank->message, len);
    if (!at)
        return ltd_fail(err, LTD_E_RANK, "no memory for a message of %zu bytes", len);
    if (clus_comm_broadcast(rank->config.world, at, len, err))
        return -1;
    rank->message.len = len;
    return 0;
}

/* 1 after STOP, 0 to go on, -1 when the rank is lost. */
static int obey(struct clus_rank *rank, struct ltd_err *err)
{
    uint32_t command;
    size_t len;
    enum clus_msg_kind kind;
    struct clus_reply ignored;
    if (hear(rank, &command, &len, err))
        return -1;
    if (command == COMMAND_SLEEP) {
        rank->is_awake = false;
        return 0;
    }
    if (command != COMMAND_MESSAGE)
        return ltd_fail(err, LTD_E_RANK, "command %u from rank 0, expected %d or %d", command,
                        COMMAND_MESSAGE, COMMAND_SLEEP);
    if (receive(rank, len, err) || clus_msg_kind(rank->message.data, rank->message.len, &kind, err))
        return -1;
    if (kind == CLUS_MSG_STOP)
        return 1;
    return execute(rank, rank->message.data, rank->message.len, &ignored, err);
}

int clus_rank_run(const struct clus_rank_config *config, struct ltd_err *err)
{
    ltd_assert(clus_world_rank(config->world) > 0, clus_world_rank(config->world), 1);
    struct clus_rank *rank = clus_rank_open(config, err);
    if (!rank)
        return -1;
    int rc;
    do {
        rc = obey(rank, err);
    } while (rc == 0);
    clus_rank_close(rank);
    return rc > 0 ? 0 : -1;
}
