/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/metrics.h - everything that is counted, as one page for Prometheus.
 *
 * Each part counts for itself: engine, job table, log, rpc. Here is only what it is called outside.
 * The page is made when it is asked for; nothing is kept between two of them. The number of its
 * series depends on the configuration (methods, ranks), never on what clients send.
 *
 * Threads: loop thread.
 * Names and what to watch: docs/operations.md#metrics.
 */
#ifndef LATENTD_DAEMON_METRICS_H
#define LATENTD_DAEMON_METRICS_H

#include "base/bytes.h"
#include "daemon/service.h"
#include "rpc/server.h"

struct metrics {
    const struct service *service;   /* borrowed */
    const struct rpc_server *server; /* borrowed */
};

#define METRICS_CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"

/* metrics_write - append the page. Without memory out->failed is set, and the page is not whole. */
void metrics_write(const struct metrics *metrics, struct ltd_bytes *out);

#endif
