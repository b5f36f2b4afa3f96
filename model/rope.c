/* SPDX-License-Identifier: Apache-2.0 */
/* model/rope.c - the table of rotations; see model/rope.h. */
#include "model/rope.h"

#include <math.h>
#include <stdlib.h>

#include "base/size.h"

struct model_rope {
    int32_t head_dim;
    float *table; /* [n_positions][head_dim / 2][2] */
};

/* Each intermediate is stored to f32: the rounding is part of the definition. */
static float frequency(int32_t i, int32_t head_dim, float base)
{
    float exponent = (float)(2 * i) / (float)head_dim;
    float power = powf(base, exponent);
    return 1.0f / power;
}

static void fill_position(float *row, int32_t position, int32_t head_dim, float base)
{
    for (int32_t i = 0; i < head_dim / 2; i++) {
        float angle = (float)position * frequency(i, head_dim, base);
        row[2 * i] = cosf(angle);
        row[2 * i + 1] = sinf(angle);
    }
}

struct model_rope *model_rope_create(int32_t head_dim, float base, int32_t n_positions,
                                     struct ltd_err *err)
{
    struct model_rope *rope = calloc(1, sizeof *rope);
    size_t floats;
    if (!rope || !ltd_size_mul((size_t)n_positions, (size_t)head_dim, &floats) ||
        !(rope->table = ltd_alloc(floats, sizeof(float)))) {
        free(rope);
        return ltd_fail_null(err, LTD_E_EXHAUSTED, "no memory for rotations of %d positions",
                             n_positions);
    }
    rope->head_dim = head_dim;
    for (int32_t p = 0; p < n_positions; p++)
        fill_position(rope->table + (size_t)p * (size_t)head_dim, p, head_dim, base);
    return rope;
}

void model_rope_destroy(struct model_rope *rope)
{
    if (!rope)
        return;
    ltd_free(rope->table);
    free(rope);
}

const float *model_rope_at(const struct model_rope *rope, int32_t position)
{
    return rope->table + (size_t)position * (size_t)rope->head_dim;
}
