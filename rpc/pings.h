/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rpc/pings.h - how often a client may send PING before it is told to stop.
 *
 * A client that pings too often keeps a radio, a proxy or this loop awake for nothing. A PING is
 * bad when the last good one is less than the allowed interval ago; the third bad one in a row is
 * one too many. Anything useful that the server sends in between (HEADERS, DATA) forgets all of it,
 * so a client that probes the line because of the data that came is never at fault.
 *
 * Pure: no I/O; time is an argument. One owner at a time.
 * Source: gRPC proposal A8, "Client-side keepalive", server enforcement.
 */
#ifndef LATENTD_RPC_PINGS_H
#define LATENTD_RPC_PINGS_H

#include <stdbool.h>
#include <stdint.h>

#define RPC_PINGS_MAX_STRIKES 2

struct rpc_pings {
    uint64_t good_ns; /* the last good one; 0: none since something useful was sent */
    uint8_t strikes;
};

/* rpc_pings_heard - a PING came. False: one too many, close with "too_many_pings". */
bool rpc_pings_heard(struct rpc_pings *pings, uint64_t now_ns, uint64_t min_ns);

/* rpc_pings_forget - HEADERS or DATA were sent. */
void rpc_pings_forget(struct rpc_pings *pings);

#endif
