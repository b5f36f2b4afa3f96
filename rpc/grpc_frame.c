/* SPDX-License-Identifier: Apache-2.0 */
/* rpc/grpc_frame.c - see rpc/grpc_frame.h. */
#include "rpc/grpc_frame.h"

#include <string.h>

void rpc_frame_reader_init(struct rpc_frame_reader *reader, size_t max_bytes)
{
    *reader = (struct rpc_frame_reader){.max_bytes = max_bytes};
}

void rpc_frame_reader_fini(struct rpc_frame_reader *reader)
{
    ltd_bytes_fini(&reader->body);
}

/* The verdict on a prefix that has just become whole; MORE when the body may come. */
static enum rpc_frame judge_prefix(struct rpc_frame_reader *reader)
{
    const uint8_t *p = reader->prefix;
    reader->body_bytes =
        (uint32_t)p[1] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 8 | (uint32_t)p[4];
    if (p[0] > 1)
        return RPC_FRAME_BAD_FLAG;
    if (p[0] == 1 && !reader->takes_compressed)
        return RPC_FRAME_COMPRESSED;
    reader->is_compressed = p[0] == 1;
    size_t max = reader->max_bytes;
    if (reader->body_bytes > (reader->is_compressed ? rpc_frame_compressed_max(max) : max))
        return RPC_FRAME_TOO_LARGE;
    return RPC_FRAME_MORE;
}

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

enum rpc_frame rpc_frame_feed(struct rpc_frame_reader *reader, const uint8_t *data, size_t len,
                              size_t *used)
{
    *used = 0;
    if (reader->prefix_len < RPC_FRAME_PREFIX_BYTES) {
        size_t n = smaller(len, RPC_FRAME_PREFIX_BYTES - reader->prefix_len);
        if (n > 0)
            memcpy(reader->prefix + reader->prefix_len, data, n);
        reader->prefix_len = (uint8_t)(reader->prefix_len + n);
        *used = n;
        if (reader->prefix_len < RPC_FRAME_PREFIX_BYTES)
            return RPC_FRAME_MORE;
        enum rpc_frame verdict = judge_prefix(reader);
        if (verdict != RPC_FRAME_MORE)
            return verdict;
    }
    size_t n = smaller(len - *used, reader->body_bytes - reader->body.len);
    ltd_bytes_put(&reader->body, data + *used, n);
    if (reader->body.failed)
        return RPC_FRAME_NO_MEMORY;
    *used += n;
    return reader->body.len == reader->body_bytes ? RPC_FRAME_MESSAGE : RPC_FRAME_MORE;
}

void rpc_frame_next(struct rpc_frame_reader *reader)
{
    reader->prefix_len = 0;
    reader->body_bytes = 0;
    ltd_bytes_clear(&reader->body);
}

bool rpc_frame_at_boundary(const struct rpc_frame_reader *reader)
{
    return reader->prefix_len == 0;
}

void rpc_frame_prefix(uint32_t body_bytes, uint8_t out[RPC_FRAME_PREFIX_BYTES])
{
    out[0] = 0;
    out[1] = (uint8_t)(body_bytes >> 24);
    out[2] = (uint8_t)(body_bytes >> 16);
    out[3] = (uint8_t)(body_bytes >> 8);
    out[4] = (uint8_t)body_bytes;
}
