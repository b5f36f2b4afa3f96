/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/gate.h - z = gate / (1 + e^-gate) * up, in plain C for the compiler's vectors: the file
 * that includes this decides how wide they are, and the bits are equal (kernels/exp.h). Private to
 * kernels/.
 */
#ifndef LATENTD_KERNELS_GATE_H
#define LATENTD_KERNELS_GATE_H

#include "kernels/exp.h"
#include "kernels/parallel.h"

struct gates {
    float *z;
    const float *u;
    int32_t n;
    int64_t count;
};

static void gate_some(float *restrict z, const float *gate, const float *up, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        z[i] = gate[i] / (1.0f + kern_exp(-gate[i])) * up[i];
}

/* Elements [begin, end) of z; a thread may begin and end inside of a position. */
static void gate_share(void *arg, int t, int n)
{
    const struct gates *w = arg;
    int64_t end = kern_share(w->count, t + 1, n);
    for (int64_t i = kern_share(w->count, t, n), some; i < end; i += some) {
        int64_t pos = i / w->n, at = i % w->n;
        const float *row = w->u + pos * 2 * w->n;
        some = w->n - at < end - i ? w->n - at : end - i;
        gate_some(w->z + i, row + at, row + w->n + at, some);
    }
}

/* As kern_ops.silu_mul. */
static void gate_all(const struct kern_ctx *ctx, float *z, const float *u, int32_t n, int32_t n_pos)
{
    struct gates work = {z, u, n, (int64_t)n * n_pos};
    /* An exponential costs about as much as sixteen multiply-adds. */
    kern_team(kern_threads(ctx, 16 * work.count), gate_share, &work);
}

#endif
