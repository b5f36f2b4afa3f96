/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rpc/grpc_meta.h - the small grammars in gRPC's headers: timeout, status, message, content type.
 *
 * Values come from the network: every function takes a length, none trusts it to be text.
 * Pure: no I/O, no allocation. Any thread.
 * Source: gRPC over HTTP/2, "Requests" and "Responses".
 */
#ifndef LATENTD_RPC_GRPC_META_H
#define LATENTD_RPC_GRPC_META_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The longest grpc-timeout, "99999999H", and its NUL. */
#define RPC_TIMEOUT_BYTES 10

/*
 * rpc_meta_timeout_parse - "1" to "8 digits" and one unit of H M S m u n, as nanoseconds.
 *
 * Saturates at UINT64_MAX, which 585 years are: only hours can say more.
 * Returns -1, `*timeout_ns` untouched, for anything that is not of this form.
 */
int rpc_meta_timeout_parse(const uint8_t *value, size_t len, uint64_t *timeout_ns);

/* rpc_meta_timeout_format - the shortest unit that holds `timeout_ms`. Returns its length. */
size_t rpc_meta_timeout_format(uint64_t timeout_ms, char out[RPC_TIMEOUT_BYTES]);

/* rpc_meta_status_parse - decimal digits; -1 when it is not a number of at most three digits. */
int rpc_meta_status_parse(const uint8_t *value, size_t len);

/* Bytes that rpc_meta_percent_encode may write for `len` bytes: every one becomes %XX. */
#define RPC_PERCENT_BYTES(len) (3 * (len))

/*
 * rpc_meta_percent_encode - everything outside 0x20..0x7E and '%' itself becomes %XX.
 *
 * out  [RPC_PERCENT_BYTES(len)], no NUL is written. Returns the length.
 */
size_t rpc_meta_percent_encode(const uint8_t *text, size_t len, char *out);

/*
 * rpc_meta_percent_decode - the reverse. A '%' that two hex digits do not follow stands for itself:
 * a message that was not encoded must still be readable.
 *
 * out  [len], may be `text` itself; no NUL is written. Returns the length.
 */
size_t rpc_meta_percent_decode(const uint8_t *text, size_t len, char *out);

/* "application/grpc", alone or followed by '+' or ';'. Compared without case. */
bool rpc_meta_is_grpc_content(const uint8_t *value, size_t len);

#endif
