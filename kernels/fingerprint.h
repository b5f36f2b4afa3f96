/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/fingerprint.h - a number that two processes share when their arithmetic has equal bits.
 *
 * OpenBLAS and the C library choose code paths by processor at run time, so two machines with the
 * same packages may still disagree in the last bit of sinf or of a dot product. The fingerprint
 * hashes the result bits of every kernel of a tier and of every library function that the model
 * calls, on fixed pseudo-random inputs of the sizes that matter. Ranks whose fingerprints differ
 * are refused at the handshake: mixed bits would break the promise of one answer.
 *
 * It is evidence, not proof: equal numbers mean equal bits on some hundred thousand samples.
 */
#ifndef LATENTD_KERNELS_FINGERPRINT_H
#define LATENTD_KERNELS_FINGERPRINT_H

#include <stdint.h>

#include "base/err.h"
#include "kernels/kernels.h"

/*
 * kern_fingerprint - 64 bits; 0 and *out set, or -1 with LTD_E_EXHAUSTED without memory.
 * Independent of ctx->n_threads and ctx->min_work. Cost: some 20 million multiply-adds, once.
 * Threads: any, but no other kernel call at the same time is needed or excluded.
 */
int kern_fingerprint(const struct kern_ctx *ctx, uint64_t *out, struct ltd_err *err);

#endif
