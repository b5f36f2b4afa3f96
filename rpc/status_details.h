/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rpc/status_details.h - what a failed call says beyond status and message: when to try again.
 *
 * gRPC carries it in the trailer grpc-status-details-bin: a google.rpc.Status in base64, whose
 * details hold a google.rpc.RetryInfo. Every stock client finds it there. This is the one place of
 * rpc/ that knows message types, and they are gRPC's own (proto/latentd/rpc/status_details.proto);
 * those of the services stay byte strings.
 *
 * Pure: no I/O. Values come from the network: the decoder takes a length and trusts nothing.
 * Any thread.
 * Source: gRPC over HTTP/2, "Custom-Metadata" (binary values) and "Richer error model".
 */
#ifndef LATENTD_RPC_STATUS_DETAILS_H
#define LATENTD_RPC_STATUS_DETAILS_H

#include <stddef.h>
#include <stdint.h>

#define RPC_STATUS_DETAILS_NAME "grpc-status-details-bin"

/*
 * rpc_status_details_encode - the trailer's value for a failure that may be tried again.
 *
 * status          as in grpc-status
 * message         [message_len] UTF-8, not percent-encoded
 * retry_after_ms  > 0
 * len             out: length of the result, which has no NUL
 *
 * Returns an owned string (free), base64 without padding, or NULL without memory.
 */
char *rpc_status_details_encode(int status, const char *message, size_t message_len,
                                uint32_t retry_after_ms, size_t *len);

/*
 * rpc_status_details_retry_ms - the retry delay that a trailer's value tells.
 *
 * value  [len] base64, with or without padding
 *
 * Rounded up to milliseconds, and at most UINT32_MAX. 0 when there is none: no such detail, a
 * negative or impossible delay, or bytes that are no such message. A client can do nothing better
 * with a broken hint than to go without one.
 */
uint32_t rpc_status_details_retry_ms(const uint8_t *value, size_t len);

#endif
