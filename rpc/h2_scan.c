/* SPDX-License-Identifier: Apache-2.0 */
/* rpc/h2_scan.c - see rpc/h2_scan.h. */
#include "rpc/h2_scan.h"

#include <string.h>

#include <nghttp2/nghttp2.h>

#include "base/clock.h"

void rpc_scan_init(struct rpc_scan *scan, uint64_t now_ns)
{
    *scan = (struct rpc_scan){.skip = NGHTTP2_CLIENT_MAGIC_LEN, .leaked_ns = now_ns};
}

static void leak(struct rpc_scan *scan, uint64_t now_ns)
{
    const uint64_t point_ns = LTD_NS_PER_S / RPC_SCAN_PER_SECOND;
    if (now_ns < scan->leaked_ns + point_ns)
        return;
    uint64_t points = (now_ns - scan->leaked_ns) / point_ns;
    scan->leaked_ns += points * point_ns;
    scan->points -= points < scan->points ? (uint32_t)points : scan->points;
}

bool rpc_scan_charge(struct rpc_scan *scan, uint32_t points, uint64_t now_ns)
{
    leak(scan, now_ns);
    scan->points += points;
    return scan->points <= RPC_SCAN_BURST;
}

void rpc_scan_credit(struct rpc_scan *scan, uint32_t points)
{
    scan->points -= points < scan->points ? points : scan->points;
}

/* Points for the frame whose head is complete. HEADERS are free: the stream limits count them. */
static bool judge(struct rpc_scan *scan, uint64_t now_ns)
{
    const uint8_t end_stream = 0x1;
    switch (scan->head[3]) {
    case NGHTTP2_HEADERS:
        return true;
    case NGHTTP2_DATA:
        if (scan->skip > 0) {
            rpc_scan_credit(scan, RPC_SCAN_DATA_CREDIT);
            return true;
        }
        return (scan->head[4] & end_stream) || rpc_scan_charge(scan, RPC_SCAN_FRAME_POINTS, now_ns);
    case NGHTTP2_RST_STREAM:
        return rpc_scan_charge(scan, RPC_SCAN_RESET_POINTS, now_ns);
    default: /* any octet can stand here, so this is not a switch over an enum */
        return rpc_scan_charge(scan, RPC_SCAN_FRAME_POINTS, now_ns);
    }
}

bool rpc_scan_feed(struct rpc_scan *scan, const uint8_t *data, size_t len, uint64_t now_ns)
{
    while (len > 0) {
        if (scan->skip > 0) {
            size_t n = len < scan->skip ? len : scan->skip;
            scan->skip -= (uint32_t)n;
            data += n;
            len -= n;
            continue;
        }
        scan->head[scan->head_len++] = *data++;
        len--;
        if (scan->head_len < sizeof scan->head)
            continue;
        scan->head_len = 0;
        scan->skip = (uint32_t)scan->head[0] << 16 | (uint32_t)scan->head[1] << 8 | scan->head[2];
        if (!judge(scan, now_ns))
            return false;
    }
    return true;
}
