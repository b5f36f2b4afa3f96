/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/openblas/openblas.h - the portable tier: one cblas_sdot per output element.
 *
 * sdot over a whole row has a fixed order for a given length and library kernel, whatever is
 * computed beside it; sgemm has not. docs/numerics.md#openblas has the measurement that this choice
 * rests on. Private to kernels/.
 */
#ifndef LATENTD_KERNELS_OPENBLAS_OPENBLAS_H
#define LATENTD_KERNELS_OPENBLAS_OPENBLAS_H

#include <stddef.h>

#include "kernels/kernels.h"

extern const struct kern_ops kern_openblas_ops;

/* Make the library single-threaded: its own threads would cut a long sdot into partial sums.
 * Returns 0, or -1 with a reason in why[size] when it does not obey. */
int kern_openblas_init(char *why, size_t size);

/* "openblas 0.3.21 Haswell" */
void kern_openblas_id(char *out, size_t size);

#endif
