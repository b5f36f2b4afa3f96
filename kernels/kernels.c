/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/kernels.c - what all tiers share: storage types and the end of a packed matrix.
 */
#include "kernels/kernels.h"

#include <string.h>

#include "base/size.h"
#include "kernels/bf16.h"

void kern_mat_fini(struct kern_mat *mat)
{
    if (!mat)
        return;
    if (!mat->is_borrowed)
        ltd_free(mat->data);
    memset(mat, 0, sizeof *mat);
}

static const char *const format_names[KERN_N_FORMATS] = {
    [KERN_F32] = "f32", [KERN_BF16] = "bf16", [KERN_INT8] = "int8", [KERN_INT4] = "int4"};

const char *kern_format_name(enum kern_format format)
{
    return format < KERN_N_FORMATS ? format_names[format] : "unknown";
}

int kern_format_parse(const char *text, enum kern_format *out)
{
    for (int i = 0; i < KERN_N_FORMATS; i++)
        if (strcmp(text, format_names[i]) == 0) {
            *out = (enum kern_format)i;
            return 0;
        }
    return -1;
}

size_t kern_dtype_bytes(enum kern_dtype dtype)
{
    return dtype == KERN_DTYPE_F32 ? 4 : 2;
}

size_t kern_kv_element_bytes(enum kern_kv_format format)
{
    return format == KERN_KV_F32 ? 4 : 2;
}

static float from_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* IEEE binary16: 1 sign, 5 exponent (bias 15), 10 fraction. Every value has an exact f32. */
static float from_half(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000) << 16;
    uint32_t exponent = (half >> 10) & 0x1F;
    uint32_t fraction = half & 0x3FF;
    if (exponent == 0) {
        /* Zero or subnormal: fraction times 2^-24, a product that f32 holds exactly. */
        float value = (float)fraction * 0x1p-24f;
        return sign ? -value : value;
    }
    if (exponent == 0x1F)
        return from_bits(sign | 0x7F800000 | (fraction << 13));
    return from_bits(sign | ((exponent + 112) << 23) | (fraction << 13));
}

void kern_widen(float *out, const void *src, enum kern_dtype dtype, int64_t n)
{
    const uint8_t *bytes = src;
    switch (dtype) {
    case KERN_DTYPE_F32:
        memcpy(out, src, (size_t)n * sizeof *out);
        break;
    case KERN_DTYPE_BF16:
        for (int64_t i = 0; i < n; i++) {
            uint16_t half;
            memcpy(&half, bytes + 2 * i, sizeof half);
            out[i] = kern_bf16_widen(half);
        }
        break;
    case KERN_DTYPE_F16:
        for (int64_t i = 0; i < n; i++) {
            uint16_t half;
            memcpy(&half, bytes + 2 * i, sizeof half);
            out[i] = from_half(half);
        }
        break;
    case KERN_N_DTYPES:
        break;
    }
}
