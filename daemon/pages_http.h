/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/pages_http.h - the plain pages: for probes, Prometheus, and who comes by with curl.
 *
 *     /healthz   200 as long as the loop turns                                for everybody
 *     /readyz    200 while new jobs are taken, else 503 and why               for everybody
 *     /metrics   daemon/metrics.h                                             AUTH_METRICS
 *     /          a few lines on what runs here, and where the rest is         AUTH_CLUSTER
 *
 * Threads: loop thread.
 */
#ifndef LATENTD_DAEMON_PAGES_HTTP_H
#define LATENTD_DAEMON_PAGES_HTTP_H

#include "daemon/metrics.h"
#include "daemon/service.h"
#include "rpc/page.h"
#include "rpc/server.h"

#define HTTP_N_PAGES 4

struct http_pages {
    struct metrics metrics;
    struct rpc_page rows[HTTP_N_PAGES]; /* for rpc_server_set_pages */
};

/* Both are borrowed; `pages` must stay where it is. */
void http_pages_init(struct http_pages *pages, const struct service *service,
                     const struct rpc_server *server);

#endif
