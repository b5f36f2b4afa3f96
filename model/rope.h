/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model/rope.h - cosines and sines of the rotary positions.
 *
 * f_i = 1 / base^(2i/d); exponent, power, reciprocal and the angle p * f_i are each rounded to f32
 * and then the cosine and sine of that f32 angle are taken, as the published code does: computing
 * the angle in double would move it by 2e-4 at the far end.
 *
 * Threads: read-only after create.
 */
#ifndef LATENTD_MODEL_ROPE_H
#define LATENTD_MODEL_ROPE_H

#include <stdint.h>

#include "base/err.h"

struct model_rope;

/* Table for positions [0, n_positions); head_dim even. NULL with LTD_E_EXHAUSTED. */
struct model_rope *model_rope_create(int32_t head_dim, float base, int32_t n_positions,
                                     struct ltd_err *err);
void model_rope_destroy(struct model_rope *rope); /* accepts NULL */

/* [head_dim / 2][2] = cosine, sine of the position. */
const float *model_rope_at(const struct model_rope *rope, int32_t position);

#endif
