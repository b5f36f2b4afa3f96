/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/fuzz_grpc_frame.c - messages put together from whatever pieces a connection gives.
 *
 * Input: four bytes of seed for the cuts, one for the limit of a message (its lowest bit: compressed
 * messages are taken), then a call's body.
 * Checked: the messages and the last verdict do not depend on where the body is cut; messages with
 * their prefixes are the bytes that were used; none is larger than its limit; and the memory held
 * is in proportion to what came, not to what was announced.
 */
#include <stdlib.h>
#include <string.h>

#include "rpc/grpc_frame.h"
#include "tests/fuzz/fuzz.h"

struct reading {
    struct ltd_bytes out; /* what was read, written again: prefix and body of each message */
    size_t n_messages;
    size_t n_used;
    enum rpc_frame last;
    bool at_boundary;
};

static void take_message(struct reading *r, struct rpc_frame_reader *reader, size_t max)
{
    uint8_t prefix[RPC_FRAME_PREFIX_BYTES];
    size_t limit = reader->is_compressed ? rpc_frame_compressed_max(max) : max;
    FUZZ_CHECK(reader->body.len == reader->body_bytes && reader->body.len <= limit,
               "%zu bytes of %u, limit %zu", reader->body.len, reader->body_bytes, limit);
    FUZZ_CHECK(!reader->is_compressed || reader->takes_compressed, "a compressed message");
    rpc_frame_prefix(reader->body_bytes, prefix);
    prefix[0] = reader->is_compressed;
    ltd_bytes_put(&r->out, prefix, sizeof prefix);
    ltd_bytes_put(&r->out, reader->body.data, reader->body.len);
    r->n_messages++;
    rpc_frame_next(reader);
}

/* Feed everything, in pieces when there is a seed. */
static void read_body(struct reading *r, const struct fuzz_input *in, size_t max, uint32_t *seed)
{
    struct rpc_frame_reader reader;
    *r = (struct reading){.last = RPC_FRAME_MORE};
    rpc_frame_reader_init(&reader, max);
    reader.takes_compressed = max / 8 % 2 == 1;
    while (r->n_used < in->len && (r->last == RPC_FRAME_MORE || r->last == RPC_FRAME_MESSAGE)) {
        size_t left = in->len - r->n_used, used = 0;
        size_t n = seed ? fuzz_piece(seed, left) : left;
        uint8_t *piece = fuzz_copy(in->data + r->n_used, n);
        r->last = rpc_frame_feed(&reader, piece, n, &used);
        free(piece);
        r->n_used += used;
        FUZZ_CHECK(used <= n && (used == n || r->last != RPC_FRAME_MORE), "%zu of %zu used", used,
                   n);
        FUZZ_CHECK(reader.body.capacity <= 2 * in->len + 256, "%zu bytes held for %zu that came",
                   reader.body.capacity, in->len);
        if (r->last == RPC_FRAME_MESSAGE)
            take_message(r, &reader, max);
    }
    r->at_boundary = rpc_frame_at_boundary(&reader);
    rpc_frame_reader_fini(&reader);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct fuzz_input in = {data, len};
    struct reading whole, cut;
    uint32_t seed = fuzz_u32(&in);
    size_t max = (size_t)fuzz_u8(&in) * 8;
    read_body(&whole, &in, max, NULL);
    read_body(&cut, &in, max, &seed);
    FUZZ_CHECK(whole.last == cut.last || whole.n_used == in.len, "verdicts %d and %d", whole.last,
               cut.last);
    FUZZ_CHECK(whole.n_messages == cut.n_messages && whole.at_boundary == cut.at_boundary,
               "%zu messages in one piece, %zu in many", whole.n_messages, cut.n_messages);
    FUZZ_CHECK(whole.out.len == cut.out.len &&
                   (whole.out.len == 0 || memcmp(whole.out.data, cut.out.data, cut.out.len) == 0),
               "messages differ by how they were cut");
    FUZZ_CHECK(whole.out.len <= whole.n_used &&
                   (whole.out.len == 0 || memcmp(whole.out.data, in.data, whole.out.len) == 0),
               "messages are not the bytes that came");
    ltd_bytes_fini(&whole.out);
    ltd_bytes_fini(&cut.out);
    return 0;
}
