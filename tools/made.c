/* SPDX-License-Identifier: Apache-2.0 */
/* tools/made.c - see tools/made.h. */
#include "tools/made.h"

#include <string.h>

#include "kernels/bf16.h"
#include "tools/weights.h"

#define DRAWN 4096 /* weights at once */

/* As a file stores them, little endian. */
static uint8_t *store(enum model_dtype dtype, const float *drawn, size_t count, uint8_t *out)
{
    size_t element_bytes = model_dtype_bytes(dtype);
    for (size_t i = 0; i < count; i++, out += element_bytes) {
        uint32_t bits;
        if (dtype == MODEL_BF16) {
            bits = kern_bf16_round(drawn[i]);
        } else {
            memcpy(&bits, &drawn[i], sizeof bits);
            out[2] = (uint8_t)(bits >> 16);
            out[3] = (uint8_t)(bits >> 24);
        }
        out[0] = (uint8_t)bits;
        out[1] = (uint8_t)(bits >> 8);
    }
    return out;
}

void tool_made_bytes(const struct tool_made *made, const struct model_layout_row *row,
                     uint64_t begin, uint64_t count, uint8_t *out)
{
    struct tool_weights weights = tool_weights_of(made->seed, row->name, made->shape->n_embd);
    float drawn[DRAWN];
    for (uint64_t at = 0; at < count; at += DRAWN) {
        size_t n = count - at < DRAWN ? (size_t)(count - at) : DRAWN;
        tool_weights_fill(&weights, (int64_t)(begin + at), (int64_t)n, drawn);
        out = store(made->dtype, drawn, n, out);
    }
}

static struct model_tensor describe(void *arg, int32_t idx)
{
    const struct tool_made *made = arg;
    const struct model_layout_row *row = &made->layout->rows[idx];
    struct model_tensor t = {.name = row->name, .dtype = made->dtype, .n_dims = row->n_dims};
    t.bytes =
        model_dtype_bytes(made->dtype); /* cannot overflow: model/config.h bounds dimensions */
    for (int32_t i = 0; i < row->n_dims; i++) {
        t.shape[i] = row->shape[i];
        t.bytes *= (size_t)row->shape[i];
    }
    return t;
}

/* A block of a digest may begin between two elements. */
static const uint8_t *read_bytes(void *arg, int32_t idx, size_t at, size_t bytes)
{
    struct tool_made *made = arg;
    size_t element = model_dtype_bytes(made->dtype), skip = at % element;
    uint8_t edge[2 * sizeof(float)];
    uint64_t begin = at / element, count = bytes / element;
    const struct model_layout_row *row = &made->layout->rows[idx];
    if (skip == 0 && bytes % element == 0) {
        tool_made_bytes(made, row, begin, count, made->piece);
        return made->piece;
    }
    for (size_t i = 0; i < bytes; i++) {
        tool_made_bytes(made, row, (at + i) / element, 1, edge);
        made->piece[i] = edge[(at + i) % element];
    }
    return made->piece;
}

int tool_made_hash(struct tool_made *made, const char *config_text, size_t config_bytes,
                   char hex[MODEL_HASH_HEX_BYTES], struct ltd_err *err)
{
    const struct model_hash_source source = {
        .config_text = config_text,
        .config_bytes = config_bytes,
        .n_tensors = made->layout->n_rows,
        .arg = made,
        .describe = describe,
        .read = read_bytes,
    };
    return model_hash_compute(&source, hex, err);
}
