/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/packed.h - matrices that were laid down before the program started.
 *
 * A file may hold whole matrices as the tiers with vectors or matrix units keep them in memory
 * (kernels/tiles.h), so that loading is reading. Such a matrix is a run of panels of 16 rows, and
 * behind the last panel, in formats that have scales, the scales of the panels in the same order:
 *
 *     panel 0 | panel 1 | ... | panel P-1 | scales 0 | scales 1 | ... | scales P-1
 *
 * A rank that owns rows [16a, 16b) owns one contiguous piece of each of the two and can use them
 * where they are; other rows are copied, whole panels as bytes, single rows line by line.
 *
 * Who reads the file, and whether its bytes are what they were, is the caller's business.
 *
 * Threads: pure functions but for the matrix that is written.
 */
#ifndef LATENTD_KERNELS_PACKED_H
#define LATENTD_KERNELS_PACKED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "kernels/kernels.h"

/* Changes whenever packing the same numbers would give other bytes. */
#define KERN_PACKED_LAYOUT  "panels-16"
#define KERN_PACKED_VERSION 1

#define KERN_PACKED_ROWS 16 /* of a panel */

/* The two parts of a packed matrix. */
enum kern_packed_part { KERN_PACKED_TILES, KERN_PACKED_SCALES, KERN_PACKED_N_PARTS };

/* A whole packed matrix somewhere in memory, read-only, aligned to 64 bytes at least. */
struct kern_packed {
    enum kern_format format;
    int32_t rows, cols;
    const uint8_t
        *parts[KERN_PACKED_N_PARTS]; /* borrowed; [panels * kern_packed_panel_bytes] each */
};

/* kern_packed_taken_by - whether the tier computes with matrices of this layout. */
bool kern_packed_taken_by(const struct kern_ops *ops);

/* Panels of a matrix of so many rows. */
int32_t kern_packed_panels(int32_t rows);

/* Bytes that one panel has in a part; 0 for the scales of a format without. */
size_t kern_packed_panel_bytes(enum kern_format format, int32_t cols, enum kern_packed_part part);

/* kern_packed_bytes - of both parts into *out; false when they do not fit memory. */
bool kern_packed_bytes(enum kern_format format, int32_t rows, int32_t cols, size_t *out);

/*
 * kern_packed_new - an empty matrix of the layout, to be filled by the two functions below.
 * Errors: LTD_E_EXHAUSTED; LTD_E_UNIMPLEMENTED for a shape that the format cannot have. Free with
 * kern_mat_fini. rows may be 0.
 */
int kern_packed_new(struct kern_mat *mat, enum kern_format format, int32_t rows, int32_t cols,
                    struct ltd_err *err);

/*
 * kern_packed_pack - kern_ops.mat_pack for files: every format, on any processor, whatever tiers
 * run. Errors as there.
 */
int kern_packed_pack(int32_t n_threads, struct kern_mat *mat, enum kern_format format,
                     const struct kern_rows *parts, int32_t n_parts, int32_t cols,
                     struct ltd_err *err);

/* kern_packed_part_of - where a part of a matrix begins; to copy whole panels to. */
uint8_t *kern_packed_part_of(const struct kern_mat *mat, enum kern_packed_part part);

/* kern_packed_copy_rows - rows [src_row, src_row + n) of a file become rows dst_row ... of `mat`,
 * wherever panels begin. Several threads may fill different rows of one matrix. */
void kern_packed_copy_rows(struct kern_mat *mat, int32_t dst_row, const struct kern_packed *src,
                           int32_t src_row, int32_t n);

/*
 * kern_packed_borrow - rows [begin, end) as a matrix that lies where `src` lies, which must outlive
 * it. begin is a multiple of 16, and so is end unless it is the last row. Errors as
 * kern_packed_new.
 */
int kern_packed_borrow(struct kern_mat *mat, const struct kern_packed *src, int32_t begin,
                       int32_t end, struct ltd_err *err);

#endif
