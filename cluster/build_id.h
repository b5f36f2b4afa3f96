/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cluster/build_id.h - a text that two processes share when they run the same program.
 *
 * "0.1.0 gcc 12.2.0 build 6f1c...": version, compiler, and the hash that the linker made of the
 * finished program, so it changes with any change of code and knows no version control.
 * Libraries are not part of it; what they do to numbers is in kernels/fingerprint.h.
 *
 * Threads: any.
 */
#ifndef LATENTD_CLUSTER_BUILD_ID_H
#define LATENTD_CLUSTER_BUILD_ID_H

#include <stddef.h>

/* Writes the text, cut to `out_bytes`. */
void clus_build_id(char *out, size_t out_bytes);

#endif
