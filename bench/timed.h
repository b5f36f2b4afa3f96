/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench/timed.h - where the time of a step goes, without a word about it in the model.
 *
 * The model computes through two tables: kern_ops and model_exchange. Here are copies of both whose
 * functions look at the clock before and after the real ones. What is left between the sum of the
 * parts and the whole is the model's own: slots copied in and out, keys stored, planes looked up.
 *
 * A gather is cut in two afterwards: until the last rank has arrived it is waiting, from then on it
 * is moving. All ranks must be on one host, where they share the clock.
 *
 * Threads: the thread that steps. One table per process.
 */
#ifndef LATENTD_BENCH_TIMED_H
#define LATENTD_BENCH_TIMED_H

#include "base/err.h"
#include "cluster/world.h"
#include "kernels/kernels.h"
#include "model/exchange.h"

enum timed_part {
    TIMED_PRODUCTS,
    TIMED_ATTENTION,
    TIMED_NORMS,
    TIMED_ELEMENTWISE, /* addition, gate, rotation */
    TIMED_WAIT,
    TIMED_GATHER,
    TIMED_N_PARTS
};

/* A product that the step made, to make it again. */
struct timed_call {
    const struct kern_mat *mat;
    int32_t n_pos;
};

/* timed_init - room for the products and gathers of `n_steps` steps of `n_core` layers. */
int timed_init(int32_t n_core, int32_t n_steps, struct ltd_err *err);
void timed_fini(void);

void timed_ops(struct kern_ops *ops, const struct kern_ops *tier);
struct model_exchange timed_exchange(struct model_exchange exchange);

/* timed_begin - forget everything. */
void timed_begin(void);

/* timed_end - cut the gathers since timed_begin and give all parts in ns. Collective. */
int timed_end(struct clus_world *world, uint64_t ns[TIMED_N_PARTS], struct ltd_err *err);

/* The products since timed_begin, in their order; valid until the next timed_begin. */
const struct timed_call *timed_calls(int32_t *n_calls);

#endif
