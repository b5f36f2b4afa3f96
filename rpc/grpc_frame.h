/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rpc/grpc_frame.h - gRPC messages inside a stream of bytes: write a prefix, read messages back.
 *
 *     ┌──────┬───────────────────┬────────────────────┐
 *     │ flag │ length, 4 octets  │ message            │   repeated until the stream ends
 *     │ 0/1  │ big endian        │ [length] octets    │
 *     └──────┴───────────────────┴────────────────────┘
 *
 * DATA frames of HTTP/2 have no relation to messages: the reader is fed whatever came, cut
 * anywhere. It judges size and flag from the prefix alone, before a byte of the body is stored, and
 * its buffer grows with what came, at most doubling, so announcing 4 GiB costs nothing.
 *
 * Pure: bytes in, verdict out; no I/O. Any thread, one owner at a time.
 * Source: gRPC over HTTP/2, "Length-Prefixed-Message".
 */
#ifndef LATENTD_RPC_GRPC_FRAME_H
#define LATENTD_RPC_GRPC_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"

#define RPC_FRAME_PREFIX_BYTES 5

enum rpc_frame {
    RPC_FRAME_MORE,       /* everything fed was used, no message is complete */
    RPC_FRAME_MESSAGE,    /* `body` holds a whole message; call rpc_frame_next before feeding on */
    RPC_FRAME_TOO_LARGE,  /* the prefix announces more than max_bytes (body_bytes says how much) */
    RPC_FRAME_COMPRESSED, /* flag 1, and the reader does not take such messages */
    RPC_FRAME_BAD_FLAG,   /* a flag other than 0 and 1 */
    RPC_FRAME_NO_MEMORY,
};

struct rpc_frame_reader {
    size_t max_bytes;      /* of one message, decompressed; set at init */
    bool takes_compressed; /* set behind init; false: flag 1 is refused */
    bool is_compressed;    /* the message in `body` came with flag 1 */
    uint8_t prefix[RPC_FRAME_PREFIX_BYTES];
    uint8_t prefix_len;    /* octets of `prefix` that have come */
    uint32_t body_bytes;   /* announced; valid once the prefix is whole */
    struct ltd_bytes body; /* owned; what has come of the message */
};

/* Octets that a compressed message of at most `max_bytes` may have on the wire: what cannot be
 * compressed grows a little by the attempt. Its real size is judged when it is inflated. */
static inline size_t rpc_frame_compressed_max(size_t max_bytes)
{
    return max_bytes + max_bytes / 1024 + 64;
}

void rpc_frame_reader_init(struct rpc_frame_reader *reader, size_t max_bytes);
void rpc_frame_reader_fini(struct rpc_frame_reader *reader);

/*
 * rpc_frame_feed - use bytes up to the end of one message.
 *
 * used  out  how many of the `len` bytes were used; feed the rest after rpc_frame_next
 *
 * Verdicts other than MORE and MESSAGE are final: the stream cannot be read on.
 */
enum rpc_frame rpc_frame_feed(struct rpc_frame_reader *reader, const uint8_t *data, size_t len,
                              size_t *used);

/* rpc_frame_next - forget the message that was complete; memory is kept for the next one. */
void rpc_frame_next(struct rpc_frame_reader *reader);

/* True between messages: a stream that ends here was not cut. */
bool rpc_frame_at_boundary(const struct rpc_frame_reader *reader);

/* rpc_frame_prefix - the five octets in front of an uncompressed message; out[0] is the flag. */
void rpc_frame_prefix(uint32_t body_bytes, uint8_t out[RPC_FRAME_PREFIX_BYTES]);

#endif
