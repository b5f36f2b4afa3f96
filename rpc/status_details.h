/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rpc/status_details.h - what a failed call says beyond status and message: which failure it is, which
 * field was wrong, when to try again.
 *
 * gRPC carries it in the trailer grpc-status-details-bin: a google.rpc.Status in base64, whose
 * details hold google.rpc.ErrorInfo, BadRequest and RetryInfo, each when there is something to say.
 * Every stock client finds them there. This is the one place of rpc/ that knows message types, and
 * they are gRPC's own (proto/latentd/rpc/status_details.proto); those of the services stay byte
 * strings.
 *
 * Pure: no I/O. Values come from the network: the decoder takes a length and trusts nothing.
 * Any thread.
 * Source: gRPC over HTTP/2, "Custom-Metadata" (binary values) and "Richer error model".
 */
#ifndef LATENTD_RPC_STATUS_DETAILS_H
#define LATENTD_RPC_STATUS_DETAILS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define RPC_STATUS_DETAILS_NAME "grpc-status-details-bin"

/* ErrorInfo's domain: whose reasons these are. */
#define RPC_STATUS_DETAILS_DOMAIN "latentd"

/* The longest reason that google.rpc.ErrorInfo allows, and its NUL. */
#define RPC_REASON_BYTES 64

/*
 * rpc_status_details_encode - the trailer's value for a failure.
 *
 * An error with a reason (ltd_err_reason) gets an ErrorInfo; LTD_E_INVALID whose message begins with
 * the path of a field ("spec.stop[2]: found …") a BadRequest with that field and what follows; a
 * retry hint (ltd_err_retry_after) a RetryInfo.
 *
 * value  out: owned string (free), base64 without padding and without a NUL, or NULL when there is
 *        nothing of the three to say, or no memory
 * Returns its length.
 */
size_t rpc_status_details_encode(const struct ltd_err *failure, char **value);

/*
 * rpc_status_details_field - how long the path of a field is that `message` begins with; 0: none.
 *
 * A path is names of lower-case letters, digits and '_', each followed by at most one "[number]",
 * joined by '.', and followed by ": ".
 */
size_t rpc_status_details_field(const char *message);

/*
 * rpc_status_details_reason - the reason that a trailer's value tells, in our domain.
 *
 * value  [len] base64, with or without padding
 * out    [RPC_REASON_BYTES]; "" when there is none
 *
 * Returns whether there is one. A reason that is not of the form [A-Z][A-Z0-9_]* counts as none.
 */
bool rpc_status_details_reason(const uint8_t *value, size_t len, char *out);

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
