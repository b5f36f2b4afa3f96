/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rpc/base64.h - octets as text, for header fields whose name ends in "-bin".
 *
 * Written without padding, as gRPC asks of senders; read with or without, as it asks of receivers.
 * Input comes from the network: functions take a length and trust nothing.
 *
 * Pure: no I/O, no allocation. Any thread.
 * Source: RFC 4648 §4; gRPC over HTTP/2, "Custom-Metadata".
 */
#ifndef LATENTD_RPC_BASE64_H
#define LATENTD_RPC_BASE64_H

#include <stddef.h>
#include <stdint.h>

/* Characters that stand for `len` octets: three are four, a rest of one or two is two or three. */
size_t rpc_base64_bytes(size_t len);

/* rpc_base64_encode - out: [rpc_base64_bytes(len)], no NUL is written. */
void rpc_base64_encode(const uint8_t *in, size_t len, char *out);

/*
 * rpc_base64_decode - out: [len] is always enough; may be `in` itself.
 *
 * Returns how many octets were written, or -1 for anything that is not base64.
 */
ptrdiff_t rpc_base64_decode(const uint8_t *in, size_t len, uint8_t *out);

#endif
