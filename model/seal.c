/* SPDX-License-Identifier: Apache-2.0 */
/* model/seal.c - see model/seal.h. */
#include "model/seal.h"

#include <string.h>

#include <xxhash.h>
#if defined(__x86_64__)
#include <xxh_x86dispatch.h> /* the same sums with the widest vectors that the processor has */
#endif

#define MAGIC      0x314C4145536C746Cull /* "ltlSEAL1" */
#define FIXED_U64S 5                     /* magic, n_blocks, head, n_files, own sum */

uint64_t model_seal_sum(const void *data, size_t bytes)
{
    return XXH3_64bits(data, bytes);
}

uint64_t model_seal_block(const struct model_seal *seal, uint64_t idx)
{
    struct ltd_cursor at = ltd_cursor_init(seal->sums + 8 * idx, 8);
    return ltd_cursor_u64(&at);
}

size_t model_seal_bytes(const struct model_seal *seal)
{
    size_t bytes = 8 * (FIXED_U64S + (size_t)seal->n_blocks);
    for (int32_t i = 0; i < seal->n_files; i++)
        bytes += 24 + strlen(seal->files[i].name);
    return bytes;
}

void model_seal_encode(const struct model_seal *seal, struct ltd_bytes *out)
{
    size_t begin = out->len;
    ltd_bytes_put_u64(out, MAGIC);
    ltd_bytes_put_u64(out, seal->n_blocks);
    ltd_bytes_put(out, seal->sums, 8 * (size_t)seal->n_blocks);
    ltd_bytes_put_u64(out, seal->head_sum);
    ltd_bytes_put_u64(out, (uint64_t)seal->n_files);
    for (int32_t i = 0; i < seal->n_files; i++) {
        const struct model_seal_file *file = &seal->files[i];
        ltd_bytes_put_u64(out, file->bytes);
        ltd_bytes_put_u64(out, file->sum);
        ltd_bytes_put_u64(out, strlen(file->name));
        ltd_bytes_put_str(out, file->name);
    }
    if (!out->failed)
        ltd_bytes_put_u64(out, model_seal_sum(out->data + begin, out->len - begin));
}

static int decode_file(struct ltd_cursor *at, struct model_seal_file *out)
{
    out->bytes = ltd_cursor_u64(at);
    out->sum = ltd_cursor_u64(at);
    uint64_t length = ltd_cursor_u64(at);
    if (length == 0 || length >= sizeof out->name)
        return -1;
    const uint8_t *name = ltd_cursor_take(at, (size_t)length);
    if (!name || memchr(name, '/', (size_t)length) || memchr(name, '\0', (size_t)length) ||
        name[0] == '.')
        return -1;
    memcpy(out->name, name, (size_t)length);
    out->name[length] = '\0';
    return 0;
}

int model_seal_decode(const uint8_t *data, size_t bytes, struct model_seal *out,
                      struct ltd_err *err)
{
    struct ltd_cursor at = ltd_cursor_init(data, bytes);
    *out = (struct model_seal){0};
    if (bytes < 8 * FIXED_U64S)
        return ltd_fail(err, LTD_E_CORRUPT, "%zu bytes, expected at least %d", bytes,
                        8 * FIXED_U64S);
    struct ltd_cursor end = ltd_cursor_init(data + bytes - 8, 8);
    uint64_t expected = ltd_cursor_u64(&end), found = model_seal_sum(data, bytes - 8);
    if (found != expected)
        return ltd_fail(err, LTD_E_CORRUPT, "checksum %016llx, expected %016llx",
                        (unsigned long long)found, (unsigned long long)expected);
    uint64_t magic = ltd_cursor_u64(&at);
    out->n_blocks = ltd_cursor_u64(&at);
    if (magic != MAGIC || out->n_blocks > bytes / 8 ||
        !(out->sums = ltd_cursor_take(&at, 8 * (size_t)out->n_blocks)))
        return ltd_fail(err, LTD_E_CORRUPT, "no table of checksums");
    out->head_sum = ltd_cursor_u64(&at);
    uint64_t n_files = ltd_cursor_u64(&at);
    if (n_files > MODEL_SEAL_MAX_FILES)
        return ltd_fail(err, LTD_E_CORRUPT, "%llu files, expected at most %d",
                        (unsigned long long)n_files, MODEL_SEAL_MAX_FILES);
    for (; out->n_files < (int32_t)n_files; out->n_files++)
        if (decode_file(&at, &out->files[out->n_files]) != 0)
            return ltd_fail(err, LTD_E_CORRUPT, "file %d: expected a plain name", out->n_files + 1);
    return 0;
}
