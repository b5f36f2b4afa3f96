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

#include <stddef.h>
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

/* ---- for http1.c and stream.c, which bring requests ---- */

struct rpc_peer;
struct rpc_shared;

/* A request whose headers are whole. Borrowed texts, none with a NUL behind it. */
struct rpc_page_request {
    const struct rpc_peer *peer;
    const char *method; /* "GET" */
    size_t method_len;
    const char *path; /* as it came: "/metrics?x=1" */
    size_t path_len;
    const char *authorization; /* the header's value, or NULL */
    size_t authorization_len;
};

/* rpc_page_find - the page at `path`, or NULL. */
const struct rpc_page *rpc_page_find(const struct rpc_shared *shared, const char *path, size_t len);

/*
 * rpc_page_make - the whole answer to one request, whatever it is.
 *
 * 404 without such a page, 405 for a verb other than GET and HEAD, 401 and 403 as the authorize
 * function has it, 500 without memory, else what the page says. The body is the same for GET and
 * HEAD: whoever sends it leaves it out for HEAD and keeps its length.
 *
 * out  initialised here; the caller frees it with rpc_page_answer_fini
 */
void rpc_page_make(const struct rpc_shared *shared, const struct rpc_page_request *request,
                   struct rpc_page_answer *out);

void rpc_page_answer_fini(struct rpc_page_answer *answer);

#endif
