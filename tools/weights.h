/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tools/weights.h - the numbers of a model that nobody has trained.
 *
 * A weight is a function of (seed, name of the tensor, index of the element) and of the shape, and
 * of nothing else: not of the file that it lands in, nor of what was written before. It is drawn by
 * ten rounds of Philox4x32, uniform in [-a, a) on a grid of 2^24 points, one multiplication from
 * the grid to the value, so the same on every machine. bf16 is the f32 value rounded to nearest.
 *
 * How large, n being the width (standard deviation s = a / sqrt(3)):
 *
 *     norms                            1
 *     attn.proj, mlp.proj              s = sqrt(2 / 5n) / 4    they end a branch
 *     everything else                  s = sqrt(2 / 5n)        as the model's authors initialise
 *
 * Why the recurrence stays tame. A latent has norm 1 per element after every block, so nothing can
 * grow. The adapter takes (s_k, e) with weights of equal size for both halves; each half of its
 * output has variance 2/5, so after the next norm a difference between two latents is multiplied by
 * about sqrt(1/2) per step. The branches, a quarter of their usual size, change that a little. So
 * latents settle, geometrically, as those of a trained model do, exit rules fire (tests/e2e/t6001), and
 * nothing comes near the ends of a number's range.
 *
 * Threads: pure functions.
 */
#ifndef LATENTD_TOOLS_WEIGHTS_H
#define LATENTD_TOOLS_WEIGHTS_H

#include <stdint.h>

struct tool_weights {
    uint64_t seed;
    uint64_t tensor; /* hash of the name */
    float unit;      /* value of a point of the grid; 0: every element is 1 */
};

/* Of the tensor `name` in a model of width n_embd. */
struct tool_weights tool_weights_of(uint64_t seed, const char *name, int32_t n_embd);

/* tool_weights_fill - elements [begin, begin + count) into out [count]; begin >= 0. */
void tool_weights_fill(const struct tool_weights *w, int64_t begin, int64_t count, float *out);

#endif
