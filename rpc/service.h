/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rpc/service.h - the table of methods that the daemon fills in.
 *
 * rpc/ knows no message types: a request is a byte string, and so is each response. Most methods
 * have ONE request message and any number of response messages (one for a unary method), and one
 * kind of row serves both; a method whose client streams has `open` instead of `handler`:
 *
 *     static const struct rpc_method methods[] = {
 *         {"/latentd.v1.Jobs/GetJob", 64 * 1024, jobs_get, daemon},
 *         {"/latentd.v1.Jobs/WatchJob", 64 * 1024, jobs_watch, daemon},
 *     };
 *
 * A path is compared whole and with its case. A path without a row is answered UNIMPLEMENTED.
 */
#ifndef LATENTD_RPC_SERVICE_H
#define LATENTD_RPC_SERVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rpc_call;

/*
 * rpc_handler_fn - one call has arrived with its whole request message.
 *
 * call     alive until its on_end (rpc/call.h); answer it now or at any later time
 * request  [request_len] bytes, borrowed until the handler returns; never NULL, even when empty
 * arg      from the method's row
 *
 * Every call must be ended by one of the rpc_call_finish functions, or it stays open until its
 * deadline, its peer or the server ends it.
 * Threads: loop thread.
 */
typedef void (*rpc_handler_fn)(struct rpc_call *call, const uint8_t *request, size_t request_len,
                               void *arg);

/*
 * rpc_open_fn - a call of a method whose client sends any number of messages has begun.
 *
 * Set ops here: messages come to ops.on_message one by one, ops.on_request_end says that no more
 * follow (rpc/call.h). Either side may finish first.
 * Threads: loop thread.
 */
typedef void (*rpc_open_fn)(struct rpc_call *call, void *arg);

struct rpc_method {
    const char *path;         /* "/package.Service/Method"; borrowed for the server's life */
    size_t max_request_bytes; /* a larger message is refused RESOURCE_EXHAUSTED from its prefix,
                                 and so is one that is larger after decompression */
    rpc_handler_fn handler;
    void *arg;
    rpc_open_fn open;    /* instead of `handler`: the client streams */
    uint32_t rights;     /* what a caller needs; for the authorize function, unused by rpc/ */
    bool wants_metadata; /* keep the call's custom metadata for rpc_call_metadata */
};

#endif
