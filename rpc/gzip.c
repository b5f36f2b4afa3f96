/* SPDX-License-Identifier: Apache-2.0 */
/* rpc/gzip.c - see rpc/gzip.h. */
#include "rpc/gzip.h"

#include <stdlib.h>
#include <string.h>

#include <zlib.h>

/* zlib's windowBits: the largest window, plus 16 for the gzip frame around it. */
#define ZLIB_WINDOW 15
#define GZIP_WINDOW (ZLIB_WINDOW + 16)

/* deflateInit2's memLevel; its default. */
#define MEMORY_LEVEL 8

static bool equals(const uint8_t *text, size_t len, const char *word)
{
    return strlen(word) == len && memcmp(text, word, len) == 0;
}

enum rpc_coding rpc_coding_parse(const uint8_t *value, size_t len)
{
    if (equals(value, len, "identity"))
        return RPC_CODING_IDENTITY;
    if (equals(value, len, "gzip"))
        return RPC_CODING_GZIP;
    if (equals(value, len, "deflate"))
        return RPC_CODING_DEFLATE;
    return RPC_CODING_UNKNOWN;
}

bool rpc_coding_list_has_gzip(const uint8_t *value, size_t len)
{
    size_t begin = 0;
    while (begin <= len) {
        const uint8_t *comma = memchr(value + begin, ',', len - begin);
        size_t end = comma ? (size_t)(comma - value) : len;
        size_t next = end + 1;
        while (begin < end && value[begin] == ' ')
            begin++;
        while (end > begin && value[end - 1] == ' ')
            end--;
        if (equals(value + begin, end - begin, "gzip"))
            return true;
        begin = next;
    }
    return false;
}

/* ---- inflate ---- */

struct rpc_inflater {
    z_stream z;
};

struct rpc_inflater *rpc_inflater_create(enum rpc_coding coding, const uint8_t *data, size_t len)
{
    struct rpc_inflater *inflater = calloc(1, sizeof *inflater);
    if (!inflater)
        return NULL;
    inflater->z.next_in = (Bytef *)data;
    inflater->z.avail_in = (uInt)len;
    if (inflateInit2(&inflater->z, coding == RPC_CODING_GZIP ? GZIP_WINDOW : ZLIB_WINDOW) != Z_OK) {
        free(inflater);
        return NULL;
    }
    return inflater;
}

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

enum rpc_inflated rpc_inflater_step(struct rpc_inflater *inflater, struct ltd_bytes *out,
                                    size_t max_bytes, size_t slice_bytes)
{
    z_stream *z = &inflater->z;
    /* One byte more than is allowed tells "just fits" from "too large". */
    size_t room = smaller(slice_bytes, max_bytes - out->len + 1);
    uint8_t *to = ltd_bytes_reserve(out, room);
    if (!to)
        return RPC_INFLATED_NO_MEMORY;
    z->next_out = to;
    z->avail_out = (uInt)room;
    int rv = inflate(z, Z_NO_FLUSH);
    out->len += room - z->avail_out;
    if (rv == Z_MEM_ERROR)
        return RPC_INFLATED_NO_MEMORY;
    if (out->len > max_bytes)
        return RPC_INFLATED_TOO_LARGE;
    if (rv == Z_STREAM_END)
        return z->avail_in == 0 ? RPC_INFLATED_DONE : RPC_INFLATED_BAD;
    /* Output that is not full means that the input ran out before its end. */
    if (rv != Z_OK || z->avail_out > 0)
        return RPC_INFLATED_BAD;
    return RPC_INFLATED_MORE;
}

void rpc_inflater_destroy(struct rpc_inflater *take_inflater)
{
    if (take_inflater)
        inflateEnd(&take_inflater->z);
    free(take_inflater);
}

/* ---- deflate ---- */

bool rpc_gzip(const void *data, size_t len, struct ltd_bytes *out)
{
    z_stream z = {.next_in = (Bytef *)data, .avail_in = (uInt)len};
    if (len == 0 || len > UINT32_MAX ||
        deflateInit2(&z, Z_BEST_SPEED, Z_DEFLATED, GZIP_WINDOW, MEMORY_LEVEL, Z_DEFAULT_STRATEGY) !=
            Z_OK)
        return false;
    /* Room for one byte less than the message has: what does not fit is not worth it. */
    z.next_out = ltd_bytes_reserve(out, len);
    z.avail_out = (uInt)len - 1;
    bool ok = z.next_out && deflate(&z, Z_FINISH) == Z_STREAM_END;
    if (ok)
        out->len += len - 1 - z.avail_out;
    out->failed = false;
    deflateEnd(&z);
    return ok;
}
