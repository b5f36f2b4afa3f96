/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/kv_read.h - reading keys and values of either format. Private to kernels/.
 *
 * Everything that touches an element is inlined into one loop per format, chosen outside: a test per
 * element would keep the compiler from putting sixteen keys side by side. So `format` must be a
 * constant where these are called.
 */
#ifndef LATENTD_KERNELS_KV_READ_H
#define LATENTD_KERNELS_KV_READ_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/bf16.h"
#include "kernels/kernels.h"

#define KERN_KV_INLINE static inline __attribute__((always_inline))

/* Element `i` behind `at`, as f32. */
KERN_KV_INLINE float kern_kv_element(const void *at, size_t i, enum kern_kv_format format)
{
    if (format == KERN_KV_F32)
        return ((const float *)at)[i];
    return kern_bf16_widen(((const uint16_t *)at)[i]);
}

/* The address of element `i` behind `at`. */
KERN_KV_INLINE const void *kern_kv_skip(const void *at, size_t i, enum kern_kv_format format)
{
    if (format == KERN_KV_F32)
        return (const float *)at + i;
    return (const uint16_t *)at + i;
}

/* Plane of the page that holds key j; the key is attended to. */
KERN_KV_INLINE const void *kern_kv_plane(const struct kern_kv_layer *kv,
                                         const struct kern_query *query, int32_t j,
                                         enum kern_kv_format format)
{
    size_t page = (size_t)query->pages[j / KERN_PAGE_POSITIONS];
    size_t plane = (size_t)query->planes[j];
    return kern_kv_skip(kv->pool, page * kv->page_stride + plane * kv->plane_stride, format);
}

#endif
