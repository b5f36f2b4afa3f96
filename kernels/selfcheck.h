/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/selfcheck.h - does a tier give the bits of the reference on this very processor?
 *
 * Tests compare tiers on the machines that tests run on. An operator's processor may be none of
 * them: a newer one, one with a microcode of its own, a virtual one whose host promises what it
 * does not keep. So before a tier is used, its products are compared once with those of `ref`, for
 * each format that has one definition. In f32 tiers over tiles have one of their own, computed here
 * in plain C; others are not compared in it. A few milliseconds, on the calling thread. An
 * instruction that the processor does not have ends the process here instead of in the first job.
 */
#ifndef LATENTD_KERNELS_SELFCHECK_H
#define LATENTD_KERNELS_SELFCHECK_H

#include <stddef.h>

#include "kernels/kernels.h"

/*
 * kern_self_check - 0 when every element is equal, bit by bit, or -1 with a sentence in why[size]
 * that names format, shape, element and both bit patterns. A format that the tier lacks is not
 * compared.
 */
int kern_self_check(const struct kern_ops *ops, char *why, size_t size);

#endif
