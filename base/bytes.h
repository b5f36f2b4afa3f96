/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base/bytes.h - a growable byte string, and a cursor that reads one back.
 *
 * Numbers are little endian on the wire whatever the host is. The writer remembers a failed
 * allocation in `failed` and turns every later put into nothing, so a caller checks once at the
 * end. The reader does the same with `bad`: reading past the end gives zeros and sets it.
 *
 * Threads: plain memory, one owner at a time.
 */
#ifndef LATENTD_BASE_BYTES_H
#define LATENTD_BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ltd_bytes {
    uint8_t *data;   /* owned; NULL when empty */
    size_t len;      /* bytes in use */
    size_t capacity; /* bytes allocated */
    bool failed;     /* an allocation failed: contents are incomplete */
};

void ltd_bytes_init(struct ltd_bytes *b);
void ltd_bytes_fini(struct ltd_bytes *b);  /* frees; the struct may be used again after init */
void ltd_bytes_clear(struct ltd_bytes *b); /* len = 0, keeps the memory and clears `failed` */

/* Make room for `extra` more bytes, 0 included. Returns a pointer to them (len unchanged); NULL only
 * when memory is out. */
uint8_t *ltd_bytes_reserve(struct ltd_bytes *b, size_t extra);

void ltd_bytes_put(struct ltd_bytes *b, const void *data, size_t len);
void ltd_bytes_put_u8(struct ltd_bytes *b, uint8_t v);
void ltd_bytes_put_u32(struct ltd_bytes *b, uint32_t v);
void ltd_bytes_put_u64(struct ltd_bytes *b, uint64_t v);
void ltd_bytes_put_f32(struct ltd_bytes *b, float v);
void ltd_bytes_put_f32s(struct ltd_bytes *b, const float *v, size_t n);
void ltd_bytes_put_str(struct ltd_bytes *b, const char *s); /* without the NUL */

struct ltd_cursor {
    const uint8_t *data; /* borrowed */
    size_t left;         /* bytes not yet read */
    bool bad;            /* something was read past the end */
};

struct ltd_cursor ltd_cursor_init(const void *data, size_t len);
uint8_t ltd_cursor_u8(struct ltd_cursor *c);
uint32_t ltd_cursor_u32(struct ltd_cursor *c);
uint64_t ltd_cursor_u64(struct ltd_cursor *c);
float ltd_cursor_f32(struct ltd_cursor *c);
void ltd_cursor_f32s(struct ltd_cursor *c, float *out, size_t n);
/* `len` bytes borrowed from the buffer, or NULL (and bad) when there are fewer. */
const uint8_t *ltd_cursor_take(struct ltd_cursor *c, size_t len);

#endif
