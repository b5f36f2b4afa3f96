/* SPDX-License-Identifier: Apache-2.0 */
/* rpc/pings.c - see rpc/pings.h. */
#include "rpc/pings.h"

bool rpc_pings_heard(struct rpc_pings *pings, uint64_t now_ns, uint64_t min_ns)
{
    if (pings->good_ns != 0 && now_ns - pings->good_ns < min_ns)
        return ++pings->strikes <= RPC_PINGS_MAX_STRIKES;
    pings->good_ns = now_ns;
    return true;
}

void rpc_pings_forget(struct rpc_pings *pings)
{
    *pings = (struct rpc_pings){0};
}
