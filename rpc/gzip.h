/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rpc/gzip.h - the codings of gRPC messages: names, and zlib in slices with a hard cap.
 *
 * A compressed message says nothing about its size, and 200 KiB can stand for 200 MiB. So it is
 * inflated in slices whose size the caller gives, the output is cut off at the first byte behind
 * the method's limit, and nothing is allocated ahead of what has come out.
 *
 * Pure but for malloc. Any thread, one owner at a time.
 * Source: gRPC "Compression"; RFC 1950 (what gRPC calls deflate), RFC 1952 (gzip).
 */
#ifndef LATENTD_RPC_GZIP_H
#define LATENTD_RPC_GZIP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"

enum rpc_coding {
    RPC_CODING_IDENTITY, /* no grpc-encoding, or this word */
    RPC_CODING_GZIP,
    RPC_CODING_DEFLATE, /* the zlib format; taken, never sent */
    RPC_CODING_UNKNOWN,
};

/* What we take, for grpc-accept-encoding. */
#define RPC_CODINGS_ACCEPTED "identity,gzip,deflate"

/* What a value of grpc-encoding names. */
enum rpc_coding rpc_coding_parse(const uint8_t *value, size_t len);

/* Is gzip in a grpc-accept-encoding list? */
bool rpc_coding_list_has_gzip(const uint8_t *value, size_t len);

/* ---- inflate ---- */

struct rpc_inflater;

/* About what an inflater holds besides its output: zlib's window and tables. */
#define RPC_INFLATER_BYTES ((size_t)48 * 1024)

enum rpc_inflated {
    RPC_INFLATED_MORE, /* the slice is used up; call again */
    RPC_INFLATED_DONE, /* the message is whole, and so was its coding */
    RPC_INFLATED_TOO_LARGE,
    RPC_INFLATED_BAD, /* not of that coding, cut, damaged, or with bytes behind its end */
    RPC_INFLATED_NO_MEMORY,
};

/*
 * rpc_inflater_create - for one message.
 *
 * coding  GZIP or DEFLATE
 * data    [len], borrowed until destroy
 *
 * Returns owned, or NULL without memory.
 */
struct rpc_inflater *rpc_inflater_create(enum rpc_coding coding, const uint8_t *data, size_t len);

/* rpc_inflater_step - append up to `slice_bytes` (> 0) to `out`, which may hold `max_bytes` at most. */
enum rpc_inflated rpc_inflater_step(struct rpc_inflater *inflater, struct ltd_bytes *out,
                                    size_t max_bytes, size_t slice_bytes);

/* NULL is fine. */
void rpc_inflater_destroy(struct rpc_inflater *take_inflater);

/* ---- deflate ---- */

/*
 * rpc_gzip - append the gzip form of a message to `out`, if that is smaller than the message.
 *
 * Returns false, `out` as it was, when it is not, or memory is out: such a message goes as it is.
 */
bool rpc_gzip(const void *data, size_t len, struct ltd_bytes *out);

#endif
