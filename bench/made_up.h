/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench/made_up.h - a model of any shape without its gigabytes on a disk.
 *
 * A checkpoint is opened over a directory whose weight file is a hole: names, shapes and norms
 * (ones) are there, matrices take no space. Who packs them through the table of made_up_ops gets
 * numbers from one block of random rows instead of the zeros in the file: row r of any matrix is
 * row r mod MADE_UP_ROWS of the block, so every rank of a group packs rows of the same model.
 *
 * Threads: main, at start.
 */
#ifndef LATENTD_BENCH_MADE_UP_H
#define LATENTD_BENCH_MADE_UP_H

#include "base/err.h"
#include "kernels/kernels.h"
#include "model/checkpoint.h"
#include "model/config.h"

#define MADE_UP_ROWS 1024

/* Close with model_checkpoint_close; nothing of it is left on disk after this call. Errors:
 * LTD_E_EXHAUSTED, LTD_E_INTERNAL with the name of the file that could not be written. */
struct model_checkpoint *made_up_open(const struct model_config *shape, struct ltd_err *err);

/* made_up_ops - `ops` that packs made-up numbers, otherwise `tier`. One tier per process. The block
 * is made for matrices of up to max_cols columns, freed with made_up_forget. */
int made_up_ops(struct kern_ops *ops, const struct kern_ops *tier, int32_t max_cols,
                struct ltd_err *err);
void made_up_forget(void);

#endif
