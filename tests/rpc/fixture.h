/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/rpc/fixture.h - an echo server in a thread of its own, and helpers every rpc test uses.
 *
 * The client blocks, so the server needs its own thread and loop. fixture_stop drains with no
 * grace, joins, and checks that the loop closed without a handle left.
 */
#ifndef LATENTD_TESTS_RPC_FIXTURE_H
#define LATENTD_TESTS_RPC_FIXTURE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include <uv.h>

#include "echo.h"
#include "rpc/server.h"
#include "rpc/tls.h"

struct fixture {
    pthread_t thread;
    uv_loop_t loop;
    uv_async_t async;
    struct echo echo;
    struct rpc_server *server;
    char address[128];      /* TCP, as the server reports it */
    char unix_address[128]; /* "unix:/tmp/…" */
    char pages_address[64]; /* TCP, for pages only */
    struct rpc_tls *tls;    /* borrowed; NULL: no TLS */
    char tls_address[72];   /* "tls:127.0.0.1:…", when there is TLS */
    atomic_int reload;      /* 1: wanted; then 2: done, 3: failed */
    atomic_uint drain_ms;   /* asked for; UINT32_MAX: nothing asked */
    atomic_bool drained;    /* `done` was called */
    atomic_bool stopping;
};

/* limits may be NULL. Fails the test when the server cannot start. On the heap, so that a test that
 * fails in the middle leaves a server behind and not a broken stack. */
struct fixture *fixture_start(const struct rpc_limits *limits);
struct fixture *fixture_start_guarded(const struct rpc_limits *limits, rpc_authorize_fn authorize,
                                      void *arg);
struct fixture *fixture_start_tls(const struct rpc_limits *limits, struct rpc_tls *tls,
                                  rpc_authorize_fn authorize);
bool fixture_reload_tls(struct fixture *f); /* on the server's thread; what rpc_tls_reload says */
void fixture_drain(struct fixture *f, unsigned grace_ms); /* returns at once */
void fixture_stop(struct fixture *f);                     /* frees */

/* Wait until *value >= at_least; fails the test after ten seconds, naming `what`. */
void wait_for(const char *what, atomic_int *value, int at_least);
void wait_until_zero(const char *what, atomic_int *value);

/* A directory of its own under /tmp for sockets; removed with what is in it. */
void make_dir(char out[64]);
void remove_dir(const char *dir);

/* "127.0.0.1:PORT" with a port below 32768 that was free a moment ago. */
void free_address(char out[64]);

#endif
