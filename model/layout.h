/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model/layout.h - the names and shapes of all tensors of a model, from its configuration.
 *
 * The one place that spells the published names. For model/, and for tools/, which writes and counts
 * tensors; whoever computes asks the checkpoint.
 */
#ifndef LATENTD_MODEL_LAYOUT_H
#define LATENTD_MODEL_LAYOUT_H

#include <stdint.h>

#include "base/err.h"
#include "model/config.h"

#define MODEL_NAME_BYTES 96

#define MODEL_NAME_WTE     "transformer.wte.weight"
#define MODEL_NAME_ADAPTER "transformer.adapter.weight"
#define MODEL_NAME_LN_F    "transformer.ln_f.weight"
#define MODEL_NAME_HEAD    "lm_head.weight"
#define MODEL_NAME_FREQS   "freqs_cis"

struct model_layout_row {
    char name[MODEL_NAME_BYTES];
    int32_t n_dims;
    int64_t shape[4];
};

/* Rows sorted by name; free with free(). */
struct model_layout {
    struct model_layout_row *rows;
    int32_t n_rows;
};

int model_layout_build(struct model_layout *layout, const struct model_config *config,
                       struct ltd_err *err);

/* NULL when the model has no such tensor. */
const struct model_layout_row *model_layout_find(const struct model_layout *layout,
                                                 const char *name);

#endif
