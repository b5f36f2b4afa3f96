/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rpc/hosts.h - how many connections each peer host has open.
 *
 * One host with a broken client, or a bad intention, must not take all the connections there are.
 * Names are those of rpc_address_format_network, or a Unix socket's user. A
 * name is kept while somebody holds it, so the table is never larger than the connections are many.
 *
 * Threads: one owner at a time; the server's loop.
 */
#ifndef LATENTD_RPC_HOSTS_H
#define LATENTD_RPC_HOSTS_H

#include <stdint.h>

#include "base/err.h"
#include "rpc/address.h"

#define RPC_HOSTS_BUCKETS 256

struct rpc_host {
    char name[RPC_HOST_BYTES];
    uint32_t n_connections;
    struct rpc_host *next; /* of the same bucket */
};

struct rpc_hosts {
    struct rpc_host *buckets[RPC_HOSTS_BUCKETS];
};

/*
 * rpc_hosts_take - count one more connection of `name`.
 *
 * max  0: no limit
 *
 * Errors:  LTD_E_EXHAUSTED: `max` are open already (the message says so), or no memory.
 * Returns what rpc_hosts_give takes back.
 */
struct rpc_host *rpc_hosts_take(struct rpc_hosts *hosts, const char *name, uint32_t max,
                                struct ltd_err *err);

/* rpc_hosts_give - one connection of that host is closed. NULL is fine. */
void rpc_hosts_give(struct rpc_hosts *hosts, struct rpc_host *host);

#endif
