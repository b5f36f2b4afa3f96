/* SPDX-License-Identifier: Apache-2.0 */
/* rpc/hosts.c - see rpc/hosts.h. */
#include "rpc/hosts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* FNV-1a. Many hosts in one bucket cost time, not right answers; they are bounded by connections. */
static struct rpc_host **bucket_of(struct rpc_hosts *hosts, const char *name)
{
    uint32_t hash = 2166136261u;
    for (; *name; name++)
        hash = (hash ^ (uint8_t)*name) * 16777619u;
    return &hosts->buckets[hash % RPC_HOSTS_BUCKETS];
}

struct rpc_host *rpc_hosts_take(struct rpc_hosts *hosts, const char *name, uint32_t max,
                                struct ltd_err *err)
{
    struct rpc_host **bucket = bucket_of(hosts, name);
    struct rpc_host *host = *bucket;
    while (host && strcmp(host->name, name) != 0)
        host = host->next;
    if (host && max > 0 && host->n_connections >= max)
        return ltd_fail_null(err, LTD_E_EXHAUSTED, "%s has %u connections open, at most %u may be",
                             name, host->n_connections, max);
    if (!host) {
        host = calloc(1, sizeof *host);
        if (!host)
            return ltd_fail_null(err, LTD_E_EXHAUSTED, "no memory for a connection's host");
        snprintf(host->name, sizeof host->name, "%s", name);
        host->next = *bucket;
        *bucket = host;
    }
    host->n_connections++;
    return host;
}

void rpc_hosts_give(struct rpc_hosts *hosts, struct rpc_host *host)
{
    if (!host || --host->n_connections > 0)
        return;
    struct rpc_host **at = bucket_of(hosts, host->name);
    while (*at != host)
        at = &(*at)->next;
    *at = host->next;
    free(host);
}
