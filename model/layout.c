/* SPDX-License-Identifier: Apache-2.0 */
/* model/layout.c - see model/layout.h. */
#include "model/layout.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROWS_PER_BLOCK 9
#define ROWS_OUTSIDE   4

static void put(struct model_layout *layout, const char *prefix, const char *name, int32_t n_dims,
                const int64_t *shape)
{
    struct model_layout_row *row = &layout->rows[layout->n_rows++];
    snprintf(row->name, sizeof row->name, "%s%s", prefix, name);
    row->n_dims = n_dims;
    memcpy(row->shape, shape, (size_t)n_dims * sizeof *shape);
}

static void put_matrix(struct model_layout *layout, const char *prefix, const char *name,
                       int64_t rows, int64_t cols)
{
    const int64_t shape[2] = {rows, cols};
    put(layout, prefix, name, 2, shape);
}

static void put_block(struct model_layout *layout, const char *part, int32_t idx,
                      const struct model_config *config)
{
    char prefix[48];
    const int64_t n = config->n_embd, fc = config->intermediate;
    const int64_t bias[4] = {2, 1, config->n_heads, config->head_dim};
    snprintf(prefix, sizeof prefix, "transformer.%s.%d.", part, idx);
    put(layout, prefix, "norm_1.weight", 1, &n);
    put(layout, prefix, "norm_2.weight", 1, &n);
    put(layout, prefix, "norm_3.weight", 1, &n);
    put(layout, prefix, "norm_4.weight", 1, &n);
    put_matrix(layout, prefix, "attn.Wqkv.weight", 3 * n, n);
    if (config->qk_bias)
        put(layout, prefix, "attn.qk_bias", 4, bias);
    put_matrix(layout, prefix, "attn.proj.weight", n, n);
    put_matrix(layout, prefix, "mlp.fc.weight", 2 * fc, n);
    put_matrix(layout, prefix, "mlp.proj.weight", n, fc);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct model_layout_row *)a)->name,
                  ((const struct model_layout_row *)b)->name);
}

int model_layout_build(struct model_layout *layout, const struct model_config *config,
                       struct ltd_err *err)
{
    const int64_t n = config->n_embd;
    int32_t blocks = config->n_prelude + config->n_core + config->n_coda;
    *layout = (struct model_layout){0};
    layout->rows = calloc((size_t)blocks * ROWS_PER_BLOCK + ROWS_OUTSIDE, sizeof *layout->rows);
    if (!layout->rows)
        return ltd_fail(err, LTD_E_EXHAUSTED, "no memory for the names of %d blocks", blocks);
    for (int32_t i = 0; i < config->n_prelude; i++)
        put_block(layout, "prelude", i, config);
    for (int32_t i = 0; i < config->n_core; i++)
        put_block(layout, "core_block", i, config);
    for (int32_t i = 0; i < config->n_coda; i++)
        put_block(layout, "coda", i, config);
    put_matrix(layout, "", MODEL_NAME_WTE, config->vocab, n);
    put_matrix(layout, "", MODEL_NAME_ADAPTER, n, 2 * n);
    put(layout, "", MODEL_NAME_LN_F, 1, &n);
    if (!config->tied)
        put_matrix(layout, "", MODEL_NAME_HEAD, config->vocab, n);
    qsort(layout->rows, (size_t)layout->n_rows, sizeof *layout->rows, by_name);
    return 0;
}

const struct model_layout_row *model_layout_find(const struct model_layout *layout,
                                                 const char *name)
{
    struct model_layout_row key = {0};
    if (strlen(name) >= sizeof key.name)
        return NULL;
    memcpy(key.name, name, strlen(name));
    return bsearch(&key, layout->rows, (size_t)layout->n_rows, sizeof key, by_name);
}
