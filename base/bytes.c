/* SPDX-License-Identifier: Apache-2.0 */
/* base/bytes.c - see base/bytes.h. Growth doubles, so appending is amortised constant. */
#include "base/bytes.h"

#include <stdlib.h>
#include <string.h>

#include "base/size.h"

void ltd_bytes_init(struct ltd_bytes *b)
{
    *b = (struct ltd_bytes){0};
}

void ltd_bytes_fini(struct ltd_bytes *b)
{
    ltd_free(b->data);
    *b = (struct ltd_bytes){0};
}

void ltd_bytes_clear(struct ltd_bytes *b)
{
    b->len = 0;
    b->failed = false;
}

uint8_t *ltd_bytes_reserve(struct ltd_bytes *b, size_t extra)
{
    size_t need;
    if (b->failed || !ltd_size_add(b->len, extra, &need)) {
        b->failed = true;
        return NULL;
    }
    if (need > b->capacity || !b->data) {
        size_t capacity = b->capacity ? b->capacity : 64;
        while (capacity < need)
            capacity = capacity > SIZE_MAX / 2 ? need : capacity * 2;
        uint8_t *data = realloc(b->data, capacity);
        if (!data) {
            b->failed = true;
            return NULL;
        }
        b->data = data;
        b->capacity = capacity;
    }
    return b->data + b->len;
}

void ltd_bytes_put(struct ltd_bytes *b, const void *data, size_t len)
{
    if (len == 0)
        return;
    uint8_t *at = ltd_bytes_reserve(b, len);
    if (!at)
        return;
    memcpy(at, data, len);
    b->len += len;
}

void ltd_bytes_put_u8(struct ltd_bytes *b, uint8_t v)
{
    ltd_bytes_put(b, &v, 1);
}

void ltd_bytes_put_u32(struct ltd_bytes *b, uint32_t v)
{
    uint8_t out[4];
    for (int i = 0; i < 4; i++)
        out[i] = (uint8_t)(v >> (8 * i));
    ltd_bytes_put(b, out, sizeof out);
}

void ltd_bytes_put_u64(struct ltd_bytes *b, uint64_t v)
{
    ltd_bytes_put_u32(b, (uint32_t)v);
    ltd_bytes_put_u32(b, (uint32_t)(v >> 32));
}

void ltd_bytes_put_f32(struct ltd_bytes *b, float v)
{
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    ltd_bytes_put_u32(b, bits);
}

void ltd_bytes_put_f32s(struct ltd_bytes *b, const float *v, size_t n)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    ltd_bytes_put(b, v, n * sizeof *v);
#else
    for (size_t i = 0; i < n; i++)
        ltd_bytes_put_f32(b, v[i]);
#endif
}

void ltd_bytes_put_str(struct ltd_bytes *b, const char *s)
{
    ltd_bytes_put(b, s, strlen(s));
}

struct ltd_cursor ltd_cursor_init(const void *data, size_t len)
{
    return (struct ltd_cursor){.data = data, .left = len};
}

const uint8_t *ltd_cursor_take(struct ltd_cursor *c, size_t len)
{
    if (c->bad || len > c->left) {
        c->bad = true;
        return NULL;
    }
    const uint8_t *at = c->data;
    c->data += len;
    c->left -= len;
    return at;
}

uint8_t ltd_cursor_u8(struct ltd_cursor *c)
{
    const uint8_t *at = ltd_cursor_take(c, 1);
    return at ? *at : 0;
}

uint32_t ltd_cursor_u32(struct ltd_cursor *c)
{
    const uint8_t *at = ltd_cursor_take(c, 4);
    if (!at)
        return 0;
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

uint64_t ltd_cursor_u64(struct ltd_cursor *c)
{
    uint64_t low = ltd_cursor_u32(c);
    return low | (uint64_t)ltd_cursor_u32(c) << 32;
}

float ltd_cursor_f32(struct ltd_cursor *c)
{
    uint32_t bits = ltd_cursor_u32(c);
    float v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

void ltd_cursor_f32s(struct ltd_cursor *c, float *out, size_t n)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    const uint8_t *at = n <= c->left / sizeof *out ? ltd_cursor_take(c, n * sizeof *out) : NULL;
    if (at) {
        memcpy(out, at, n * sizeof *out);
        return;
    }
    c->bad = true;
    memset(out, 0, n * sizeof *out);
#else
    for (size_t i = 0; i < n; i++)
        out[i] = ltd_cursor_f32(c);
#endif
}
