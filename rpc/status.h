/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rpc/status.h - the seventeen status numbers of gRPC, and what other codes become on the wire.
 *
 * The map between `enum ltd_code` and these numbers stands in base/err.c, because the exit status
 * of the command line comes from the same row; this file adds the numbers themselves, their names,
 * and the two foreign number spaces that a client meets: HTTP status and HTTP/2 error codes.
 *
 * Pure: no I/O, no allocation. Any thread.
 * Source: gRPC's public statuscodes, http-grpc-status-mapping and PROTOCOL-HTTP2 documents.
 */
#ifndef LATENTD_RPC_STATUS_H
#define LATENTD_RPC_STATUS_H

#include <stdint.h>

enum rpc_status {
    RPC_OK = 0,
    RPC_CANCELLED = 1,
    RPC_UNKNOWN = 2,
    RPC_INVALID_ARGUMENT = 3,
    RPC_DEADLINE_EXCEEDED = 4,
    RPC_NOT_FOUND = 5,
    RPC_ALREADY_EXISTS = 6,
    RPC_PERMISSION_DENIED = 7,
    RPC_RESOURCE_EXHAUSTED = 8,
    RPC_FAILED_PRECONDITION = 9,
    RPC_ABORTED = 10,
    RPC_OUT_OF_RANGE = 11,
    RPC_UNIMPLEMENTED = 12,
    RPC_INTERNAL = 13,
    RPC_UNAVAILABLE = 14,
    RPC_DATA_LOSS = 15,
    RPC_UNAUTHENTICATED = 16,
};

/* "DEADLINE_EXCEEDED" for 4; "UNKNOWN" for anything outside 0..16. Never NULL. */
const char *rpc_status_name(int status);

/* What an answer that is not gRPC at all means to a caller, judged by its HTTP status. */
enum rpc_status rpc_status_from_http(int http_status);

/* What a stream that ended by RST_STREAM means to a caller, judged by its error code. */
enum rpc_status rpc_status_from_h2(uint32_t h2_error);

#endif
