/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/prefetch.h - asking for weights before they are used, in the order that memory answers
 * best.
 *
 * A cursor goes through what one thread will read, some pages side by side: 512 bytes of each page
 * of a block in turn, then the next 512 of each.
 *
 *     block:   page 0   page 1   ...  page 7        asked for in the order
 *              0 8 16   1 9 17   ...  7 15 23       0 1 2 ... 7 8 9 ...       (512 bytes each)
 *
 * A processor's own reading ahead stops at the end of a page; several pages that advance together
 * keep several such streams alive. The weights stay as they lie, and are used in their own order.
 * The cursor runs one block ahead of that: the first block is asked for before anything is
 * computed, and then each part of a tile that is used pays for as many bytes a block further on.
 *
 * What a thread reads need not be in one piece: segments of equal length lie at equal distances (a
 * block of columns of several panels). Asking changes no bit of a result. It costs where the
 * weights are in the second-level cache already, so there it is left off (kern_prefetch_pays).
 *
 * A cursor belongs to one thread and lives on its stack. Private to kernels/ and its tests.
 */
#ifndef LATENTD_KERNELS_PREFETCH_H
#define LATENTD_KERNELS_PREFETCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KERN_PREFETCH_PAGE 4096
#define KERN_PREFETCH_STEP 512 /* bytes of a page at a time; an address is computed once for them */
#define KERN_PREFETCH_LINE 64

/* What is to be read. A step that meets the end of a segment goes on behind it, so a little that is
 * not meant is asked for where segments are no multiple of a step, and as little is missed. */
struct kern_stream {
    const uint8_t *data; /* the first byte of the first segment */
    size_t segment_bytes, n_segments;
    size_t distance_bytes; /* from one segment's beginning to the next one's */
};

struct kern_cursor {
    struct kern_stream stream;
    size_t total_bytes; /* of all segments; positions below count these bytes only */
    size_t n_pages;     /* side by side */
    size_t block;       /* where the block that is being asked for begins */
    size_t page, part;  /* the next step: which page of the block, which step of that page */
    size_t credit;      /* bytes used but not yet paid for by a step, times the price */
    size_t price;       /* how many times the same bytes are used before the next ones */
};

static inline void kern_cursor_init(struct kern_cursor *c, const struct kern_stream *stream,
                                    int32_t n_pages)
{
    *c = (struct kern_cursor){.stream = *stream,
                              .total_bytes = stream->segment_bytes * stream->n_segments,
                              .n_pages = (size_t)n_pages,
                              .price = 1};
    if (stream->distance_bytes == stream->segment_bytes)
        c->stream.segment_bytes = c->total_bytes; /* one piece: no end to meet but the last */
}

/* Where the next step begins, or NULL behind the last one. */
static inline const uint8_t *kern_cursor_next(struct kern_cursor *c)
{
    while (c->block < c->total_bytes) {
        size_t at = c->block + c->page * KERN_PREFETCH_PAGE + c->part * KERN_PREFETCH_STEP;
        if (++c->page == c->n_pages) {
            c->page = 0;
            c->part++;
        }
        if (c->part == KERN_PREFETCH_PAGE / KERN_PREFETCH_STEP) {
            c->part = 0;
            c->block += c->n_pages * KERN_PREFETCH_PAGE;
        }
        if (at < c->total_bytes)
            return c->stream.data + at / c->stream.segment_bytes * c->stream.distance_bytes +
                   at % c->stream.segment_bytes;
    }
    return NULL;
}

static inline void kern_cursor_step(struct kern_cursor *c)
{
    const uint8_t *at = kern_cursor_next(c);
    for (int i = 0; at && i < KERN_PREFETCH_STEP; i += KERN_PREFETCH_LINE)
        __builtin_prefetch(at + i, 0, 2); /* into the second level: the first one is full of work */
}

/* The first block, before the first byte is used. */
static inline void kern_cursor_fill(struct kern_cursor *c)
{
    for (size_t i = 0; i < c->n_pages * (KERN_PREFETCH_PAGE / KERN_PREFETCH_STEP); i++)
        kern_cursor_step(c);
}

/* All that is left. */
static inline void kern_cursor_drain(struct kern_cursor *c)
{
    while (c->block < c->total_bytes)
        kern_cursor_step(c);
}

/* `bytes` were used for one of `price` groups of positions. NULL is no cursor. */
static inline void kern_cursor_used(struct kern_cursor *c, size_t bytes)
{
    if (!c)
        return;
    c->credit += bytes;
    while (c->credit >= KERN_PREFETCH_STEP * c->price) {
        c->credit -= KERN_PREFETCH_STEP * c->price;
        kern_cursor_step(c);
    }
}

/* kern_level2_bytes - of a core's second-level cache; 0 where nobody says. */
size_t kern_level2_bytes(void);

/* kern_prefetch_pays - false when a thread comes back to the same weights after so few bytes that
 * they wait in its second-level cache (three quarters of it; the rest is for activations and
 * sums). */
bool kern_prefetch_pays(size_t bytes_per_thread);

#endif
