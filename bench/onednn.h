/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench/onednn.h - the same product by oneDNN, as its own documentation would have it made.
 *
 * Weights are laid down once in the layout that the library chooses for a number of positions;
 * where it chooses another one for another number, in both. f32 goes in and f32 comes out, so
 * whatever conversion a format needs is inside the timed call: bf16 rounds activations, int8 scales
 * them (one scale for all positions, fixed beforehand: the library offers no scale per position, so
 * it has less to do than our kernels) and multiplies by a scale per row at the end.
 *
 * Threads: the library's own OpenMP team of as many as omp_set_num_threads said.
 */
#ifndef LATENTD_BENCH_ONEDNN_H
#define LATENTD_BENCH_ONEDNN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/kernels.h"

struct onednn;

struct onednn_shape {
    enum kern_format format;
    int32_t rows, cols, n_copies; /* copies of the weights, used in turn */
    const int32_t *batches;       /* numbers of positions that will be asked for */
    int32_t n_batches;
};

/* weights [rows][cols], borrowed for the call. NULL with a reason in why[size] when the library has
 * no such product on this processor, or there is no library. */
struct onednn *onednn_create(const struct onednn_shape *shape, const float *weights, char *why,
                             size_t size);
void onednn_destroy(struct onednn *product); /* accepts NULL */

/* y[n_pos][rows] = x[n_pos][cols] times the transpose of a copy; batch: index into
 * shape->batches. */
void onednn_run(struct onednn *product, int32_t batch, int32_t copy, float *y, const float *x);

#endif
