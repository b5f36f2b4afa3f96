/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/pack.h - from storage to a packed matrix: what every tier's mat_pack begins with.
 *
 * A packed matrix is made of row ranges of several sources; here a row is found by its number in the
 * packed matrix, widened piece by piece, and refused with its place in the message. How the pieces
 * are laid down is the tier's business. Private to kernels/.
 */
#ifndef LATENTD_KERNELS_PACK_H
#define LATENTD_KERNELS_PACK_H

#include "kernels/kernels.h"

/* Elements that a tier widens at a time, on its stack. A multiple of all tile lengths. */
#define KERN_PACK_PIECE 512

/* Rows of all parts together. */
int32_t kern_pack_rows(const struct kern_rows *parts, int32_t n_parts);

/* Elements [col, col + n) of packed row `row` of a matrix of `cols` columns as f32. */
void kern_pack_read(float *out, const struct kern_rows *parts, int32_t row, int32_t cols,
                    int32_t col, int32_t n);

/* kern_largest_bits over a whole row: at least 0x7F800000 when an element is not finite. */
uint32_t kern_pack_largest(const struct kern_rows *parts, int32_t row, int32_t cols);

/* Whether a row with this largest magnitude can be kept in `format`. */
bool kern_pack_fits(uint32_t largest_bits, enum kern_format format);

/* Fill `err` for the first element of the row that kern_pack_fits refuses. Returns -1. */
int kern_pack_refuse(const struct kern_rows *parts, int32_t row, int32_t cols,
                     enum kern_format format, struct ltd_err *err);

#endif
