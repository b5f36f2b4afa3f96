/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/pack.c - see kernels/pack.h.
 */
#include "kernels/pack.h"

#include "kernels/int8.h"

/* The first magnitude that bf16 rounds to infinity: half a place above the largest bf16. */
#define BF16_TOO_LARGE 0x7F7F8000u
#define NOT_FINITE     0x7F800000u

int32_t kern_pack_rows(const struct kern_rows *parts, int32_t n_parts)
{
    int32_t rows = 0;
    for (int32_t p = 0; p < n_parts; p++)
        rows += parts[p].row_end - parts[p].row_begin;
    return rows;
}

void kern_pack_read(float *out, const struct kern_rows *parts, int32_t row, int32_t cols,
                    int32_t col, int32_t n)
{
    while (row >= parts->row_end - parts->row_begin) {
        row -= parts->row_end - parts->row_begin;
        parts++;
    }
    size_t element = (size_t)(parts->row_begin + row) * (size_t)cols + (size_t)col;
    const uint8_t *data = parts->data;
    kern_widen(out, data + element * kern_dtype_bytes(parts->dtype), parts->dtype, n);
}

uint32_t kern_pack_largest(const struct kern_rows *parts, int32_t row, int32_t cols)
{
    float piece[KERN_PACK_PIECE];
    uint32_t largest = 0;
    for (int32_t c = 0; c < cols; c += KERN_PACK_PIECE) {
        int32_t n = cols - c < KERN_PACK_PIECE ? cols - c : KERN_PACK_PIECE;
        kern_pack_read(piece, parts, row, cols, c, n);
        largest = kern_largest_bits(piece, n, largest);
    }
    return largest;
}

bool kern_pack_fits(uint32_t largest_bits, enum kern_format format)
{
    return largest_bits < (format == KERN_BF16 ? BF16_TOO_LARGE : NOT_FINITE);
}

int kern_pack_refuse(const struct kern_rows *parts, int32_t row, int32_t cols,
                     enum kern_format format, struct ltd_err *err)
{
    float value = 0.0f;
    int32_t col = 0;
    for (; col < cols; col++) {
        kern_pack_read(&value, parts, row, cols, col, 1);
        if (!kern_pack_fits(kern_magnitude_bits(value), format))
            break;
    }
    return ltd_fail(err, LTD_E_CORRUPT,
                    "row %d column %d of the shard is %g, expected a finite number%s", row, col,
                    (double)value, format == KERN_BF16 ? " of bf16" : "");
}
