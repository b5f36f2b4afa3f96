/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rpc/h2_scan.h - count the HTTP/2 frames a client sends, and notice when they bring nothing.
 *
 * nghttp2 shows us frames it knows, after it has worked on them, and limits only some of the
 * floods. So a scanner reads the 9-octet frame heads out of the byte stream in front of it, and a
 * leaky bucket collects points for frames that move no call forward:
 *
 *     │ preface, 24 octets │ head │ payload … │ head │ payload … │ …
 *                             └─ length(3) type(1) flags(1) stream(4)
 *
 * The bucket holds RPC_SCAN_BURST points and loses RPC_SCAN_PER_SECOND; when it runs over, the
 * connection is closed with ENHANCE_YOUR_CALM. Useful work pays points back, so a fast stream whose
 * reader sends two WINDOW_UPDATEs and a PING per frame never gets near the limit.
 *
 * Pure: no I/O; time is an argument. One owner at a time.
 * Source: RFC 9113 §4.1, §10.5; CVE-2023-44487, CVE-2024-28182, CVE-2025-8671 (what floods do).
 */
#ifndef LATENTD_RPC_H2_SCAN_H
#define LATENTD_RPC_H2_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A client that cancels all of 100 calls at once costs 500, so half of what is allowed. */
#define RPC_SCAN_BURST      1000
#define RPC_SCAN_PER_SECOND 100

#define RPC_SCAN_FRAME_POINTS     1  /* PING, SETTINGS, WINDOW_UPDATE, unknown, empty DATA, … */
#define RPC_SCAN_RESET_POINTS     5  /* RST_STREAM: it threw away what a HEADERS frame made us do */
#define RPC_SCAN_INVALID_POINTS   10 /* a frame that the session refused */
#define RPC_SCAN_FREE_FIELDS      128 /* header fields of one block */
#define RPC_SCAN_FIELDS_PER_POINT 8   /* behind those */
#define RPC_SCAN_DATA_CREDIT      4   /* paid back per DATA frame sent, or received with contents */

struct rpc_scan {
    uint8_t head[9];
    uint8_t head_len;   /* octets of `head` that have come */
    uint32_t skip;      /* octets until the next head: preface or payload */
    uint32_t points;    /* in the bucket */
    uint64_t leaked_ns; /* up to when the bucket's leak has been counted */
};

void rpc_scan_init(struct rpc_scan *scan, uint64_t now_ns);

/* rpc_scan_feed - look at bytes before the session gets them. False: the bucket ran over. */
bool rpc_scan_feed(struct rpc_scan *scan, const uint8_t *data, size_t len, uint64_t now_ns);

/* rpc_scan_charge - put points in. False: the bucket ran over. */
bool rpc_scan_charge(struct rpc_scan *scan, uint32_t points, uint64_t now_ns);

/* rpc_scan_credit - take points out, down to none. */
void rpc_scan_credit(struct rpc_scan *scan, uint32_t points);

#endif
