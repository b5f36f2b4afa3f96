/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/fuzz_gzip.c - messages that came compressed, and the words that say how.
 *
 * Input: a byte for coding, a byte each for the limit and the slice, then the message.
 * Checked: what comes out does not depend on the slices; never more than the limit, and memory in
 * proportion to what came out; what we compress is smaller and comes back as it was, under either
 * limit that lets it; names of codings are judged the same by both readers.
 */
#include <stdlib.h>
#include <string.h>

#include "rpc/gzip.h"
#include "tests/fuzz/fuzz.h"

static enum rpc_inflated inflate_all(enum rpc_coding coding, const uint8_t *data, size_t len,
                                     size_t max, size_t slice, struct ltd_bytes *out)
{
    enum rpc_inflated verdict = RPC_INFLATED_MORE;
    ltd_bytes_init(out);
    struct rpc_inflater *inflater = rpc_inflater_create(coding, data, len);
    FUZZ_CHECK(inflater, "no memory");
    while (verdict == RPC_INFLATED_MORE) {
        size_t before = out->len;
        verdict = rpc_inflater_step(inflater, out, max, slice);
        /* The byte by which it is known to be too large is one that came out. */
        FUZZ_CHECK(out->len <= max + (verdict == RPC_INFLATED_TOO_LARGE) &&
                       out->len - before <= slice,
                   "%zu bytes, limit %zu, slice %zu", out->len, max, slice);
        FUZZ_CHECK(verdict != RPC_INFLATED_MORE || out->len > before, "a step without progress");
        FUZZ_CHECK(out->capacity <= 2 * out->len + 2 * slice + 64, "%zu bytes held for %zu",
                   out->capacity, out->len);
    }
    rpc_inflater_destroy(inflater);
    return verdict;
}

static void try_inflate(enum rpc_coding coding, const uint8_t *data, size_t len, size_t max,
                        size_t slice)
{
    struct ltd_bytes sliced, whole;
    enum rpc_inflated a = inflate_all(coding, data, len, max, slice, &sliced);
    enum rpc_inflated b = inflate_all(coding, data, len, max, max + 1, &whole);
    FUZZ_CHECK(a == b, "in slices %d, in one %d", a, b);
    FUZZ_CHECK(a != RPC_INFLATED_DONE ||
                   (sliced.len == whole.len &&
                    (sliced.len == 0 || memcmp(sliced.data, whole.data, whole.len) == 0)),
               "%zu bytes in slices, %zu in one", sliced.len, whole.len);
    ltd_bytes_fini(&sliced);
    ltd_bytes_fini(&whole);
}

static void try_deflate(const uint8_t *data, size_t len, size_t slice)
{
    struct ltd_bytes packed, plain;
    ltd_bytes_init(&packed);
    if (rpc_gzip(data, len, &packed)) {
        FUZZ_CHECK(packed.len < len, "%zu bytes became %zu", len, packed.len);
        FUZZ_CHECK(inflate_all(RPC_CODING_GZIP, packed.data, packed.len, len, slice, &plain) ==
                           RPC_INFLATED_DONE &&
                       plain.len == len && memcmp(plain.data, data, len) == 0,
                   "%zu bytes do not come back", len);
        ltd_bytes_fini(&plain);
        FUZZ_CHECK(inflate_all(RPC_CODING_GZIP, packed.data, packed.len, len - 1, slice, &plain) ==
                       RPC_INFLATED_TOO_LARGE,
                   "one byte more than the limit is let through");
        ltd_bytes_fini(&plain);
    } else {
        FUZZ_CHECK(packed.len == 0, "nothing was won, and %zu bytes were written", packed.len);
    }
    ltd_bytes_fini(&packed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct fuzz_input in = {data, len};
    enum rpc_coding coding = fuzz_u8(&in) & 1 ? RPC_CODING_GZIP : RPC_CODING_DEFLATE;
    size_t max = (size_t)fuzz_u8(&in) * 64, slice = (size_t)fuzz_u8(&in) + 1;
    uint8_t *copy = fuzz_copy(in.data, in.len);
    try_inflate(coding, copy, in.len, max, slice);
    try_deflate(copy, in.len, slice);
    if (rpc_coding_parse(copy, in.len) == RPC_CODING_GZIP)
        FUZZ_CHECK(rpc_coding_list_has_gzip(copy, in.len), "gzip is not in the list gzip");
    free(copy);
    return 0;
}
