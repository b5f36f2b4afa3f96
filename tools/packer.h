/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tools/packer.h - write a packed directory (model/packed.h), from a model directory or from
 * numbers that are made up on the way.
 *
 *     copied files ──▶ header ──▶ matrices, some rows at a time ──▶ norms, biases ──▶ checksums
 *
 * Sizes and places are known from the shape alone, so everything is written once, front to back,
 * and memory is some megabytes of rows whatever the model. The directory appears whole or not at
 * all (tools/folder.h).
 *
 * Threads: main thread; rows are packed by as many OpenMP threads as there are processors.
 */
#ifndef LATENTD_TOOLS_PACKER_H
#define LATENTD_TOOLS_PACKER_H

#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"
#include "model/checkpoint.h"
#include "model/layout.h"
#include "model/packed.h"

/* Where the numbers come from. */
struct tool_pack_source {
    const struct model_config *config;
    const char *hash; /* of the source, 64 digits: the packed directory goes by it */
    void *arg;
    /* Rows [begin, begin + n) of a matrix into *out, valid until the next call. */
    int (*rows)(void *arg, const struct model_layout_row *row, int32_t begin, int32_t n,
                struct kern_rows *out, struct ltd_err *err);
    /* All of a norm or bias into out [count]. */
    int (*floats)(void *arg, const struct model_layout_row *row, int64_t count, float *out,
                  struct ltd_err *err);
    /* File `idx` that goes beside the weights: its name, and its bytes appended to `out`. 1, or 0
     * when there is none of this number; called in the order of numbers. */
    int (*file)(void *arg, int32_t idx, const char **name, struct ltd_bytes *out,
                struct ltd_err *err);
};

struct tool_pack_result {
    uint64_t parameters;
    uint64_t bytes; /* of the matrices, norms and biases */
    int32_t n_copied;
};

/* Rows of a matrix that `rows` is asked for at once: this many, or fewer at its end. */
int32_t tool_pack_chunk_rows(const struct model_layout_row *row);

/*
 * tool_pack - write the directory `path`, which nothing may have as its name.
 * Errors: those of the source; LTD_E_CORRUPT naming tensor and place for a weight that the format
 * cannot keep; those of tool_folder_begin and of writing; LTD_E_CANCELLED after a signal
 * (tools/stop.h). After any of them nothing is left (but see tool_synth).
 */
int tool_pack(const struct tool_pack_source *source, const struct model_packed_formats *formats,
              const char *path, struct tool_pack_result *result, struct ltd_err *err);

/* tool_pack_directory - tool_pack of a directory in the published layout. */
int tool_pack_directory(const char *dir, const struct model_packed_formats *formats,
                        const char *path, struct tool_pack_result *result, struct ltd_err *err);

#endif
