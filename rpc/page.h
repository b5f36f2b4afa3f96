/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rpc/page.h - plain pages beside the calls: /healthz, /metrics, for whoever speaks no gRPC.
 *
 * A page is answered to GET and HEAD, over HTTP/1.1 and HTTP/2, on the port of the calls or on one
 * of its own (rpc_server_listen_pages). It is made anew for each request, on the loop thread, and
 * must be cheap: it is whole in memory before its first byte leaves.
 *
 * Does not: take request bodies, redirect, compress, keep sessions.
 */
#ifndef LATENTD_RPC_PAGE_H
#define LATENTD_RPC_PAGE_H

#include <stdint.h>

#include "base/bytes.h"

struct rpc_page_answer {
    int status;               /* 200, 503, … */
    const char *content_type; /* static text */
    struct ltd_bytes body;    /* initialised; owned by rpc/ */
};

/* Fill `answer`; it holds 200, text/plain and an empty body to begin with. */
typedef void (*rpc_page_fn)(void *arg, struct rpc_page_answer *answer);

struct rpc_page {
    const char *path; /* "/metrics", compared whole; what follows a '?' is not looked at */
    rpc_page_fn make;
    void *arg;
    uint32_t rights; /* 0: for everybody; else the authorize function is asked */
};

#endif
