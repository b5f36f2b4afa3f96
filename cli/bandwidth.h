/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli/bandwidth.h - how fast this machine reads memory, measured.
 *
 * A buffer far larger than the caches is read from beginning to end, by one thread and right after
 * that by all of them, several times over; each of the two figures is the median of its rounds.
 * Taking turns lets whatever else the machine does at the time hit both alike.
 *
 * Threads: blocks the caller; the threads it starts have ended when it returns.
 */
#ifndef LATENTD_CLI_BANDWIDTH_H
#define LATENTD_CLI_BANDWIDTH_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define CLI_BANDWIDTH_PAIRS       7
#define CLI_BANDWIDTH_MAX_THREADS 1024

struct cli_bandwidth {
    uint32_t n_threads;
    uint64_t buffer_bytes;
    double one;         /* bytes per second of one thread, median */
    double all;         /* of all threads together, median */
    double least, most; /* of the rounds of all threads */
};

/*
 * cli_bandwidth_buffer - how large a buffer should be read: eight times the caches, at least
 * 256 MiB, and never more than a quarter of the machine's memory.
 */
uint64_t cli_bandwidth_buffer(uint64_t cache_bytes, uint64_t memory_bytes);

/*
 * cli_bandwidth_measure - read, and say how fast.
 * n_threads  1 .. CLI_BANDWIDTH_MAX_THREADS
 * Errors:  LTD_E_EXHAUSTED when memory or threads are refused.
 */
int cli_bandwidth_measure(uint32_t n_threads, uint64_t buffer_bytes, struct cli_bandwidth *out,
                          struct ltd_err *err);

#endif
