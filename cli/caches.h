/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli/caches.h - the caches of this machine's processors, as the kernel lists them.
 *
 * A cache that several processors share is counted once, and sizes are sums over the machine: what
 * matters here is how many bytes of weights stay close, wherever in the machine they are.
 *
 * Threads: no state.
 */
#ifndef LATENTD_CLI_CACHES_H
#define LATENTD_CLI_CACHES_H

#include <stdint.h>

#include "base/err.h"

#define CLI_CACHES_FOLDER "/sys/devices/system/cpu"

/* The caches of the deepest level; instruction caches do not count. */
struct cli_caches {
    uint32_t level;
    uint32_t n_instances;
    uint64_t bytes; /* of all instances together */
};

/*
 * cli_caches_read - from a folder like CLI_CACHES_FOLDER.
 * Errors: LTD_E_NOT_FOUND when it lists no cache, as in some containers and virtual machines.
 */
int cli_caches_read(const char *folder, struct cli_caches *out, struct ltd_err *err);

#endif
