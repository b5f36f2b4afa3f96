/* SPDX-License-Identifier: Apache-2.0 */
/* model/checkpoint_private.h - the inside of a checkpoint, for checkpoint*.c and hash.c only. */
#ifndef LATENTD_MODEL_CHECKPOINT_PRIVATE_H
#define LATENTD_MODEL_CHECKPOINT_PRIVATE_H

#include "model/checkpoint.h"
#include "model/index.h"
#include "model/layout.h"
#include "model/packed.h"

struct model_checkpoint {
    char *dir;
    char *config_text; /* the bytes of config.json */
    size_t config_bytes;
    struct model_config config;
    struct model_layout layout;
    struct model_index index;
    struct model_packed *packed; /* NULL: the published layout */
    /* state: whoever loads */
    struct model_loading *loading;
};

/* What a checkpoint that is otherwise read-only notes down while it is loaded from. */
struct model_loading {
    enum model_use use;
    bool is_lent;
    model_progress_fn progress; /* NULL: nobody asks */
    void *arg;
};

/* model_checkpoint_pack of a packed directory; `row` is the matrix. */
int model_checkpoint_take(const struct model_checkpoint *ckpt, const struct kern_ctx *ctx,
                          const struct model_pack *what, const struct model_layout_row *row,
                          struct kern_mat *mat, struct ltd_err *err);

#endif
