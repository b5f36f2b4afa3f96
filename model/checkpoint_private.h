/* SPDX-License-Identifier: Apache-2.0 */
/* model/checkpoint_private.h - the inside of a checkpoint, for checkpoint.c and hash.c only. */
#ifndef LATENTD_MODEL_CHECKPOINT_PRIVATE_H
#define LATENTD_MODEL_CHECKPOINT_PRIVATE_H

#include "model/checkpoint.h"
#include "model/index.h"
#include "model/layout.h"

struct model_checkpoint {
    char *dir;
    char *config_text; /* the bytes of config.json */
    size_t config_bytes;
    struct model_config config;
    struct model_layout layout;
    struct model_index index;
};

#endif
