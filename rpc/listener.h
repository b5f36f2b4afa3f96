/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rpc/listener.h - one listening socket: bind it safely, accept from it.
 *
 * A TCP listener takes the first address its host resolves to. A Unix listener guards its path: the
 * lock file "/path.lock" decides between two servers that start at once, a connect decides whether
 * somebody else's server lives there, and only a socket nobody answers is unlinked.
 *
 * When the process has no file descriptor left, the listener does not look at its socket for a
 * moment: it would stay readable, and the loop would spin on it. Connections wait in the kernel's
 * queue until others have closed; none is dropped, and those that are open go on.
 *
 * Threads: the loop's thread.
 */
#ifndef LATENTD_RPC_LISTENER_H
#define LATENTD_RPC_LISTENER_H

#include <stdbool.h>

#include <uv.h>

#include "base/err.h"
#include "rpc/address.h"

struct rpc_listener;

/* take_fd is non-blocking and becomes the callee's; `listener` says what is to be spoken on it. */
typedef void (*rpc_accept_fn)(void *arg, const struct rpc_listener *listener, int take_fd);

struct rpc_listener {
    uv_poll_t poll;
    uv_timer_t pause; /* runs while accepting is put off */
    int n_handles;    /* of the two above that are not closed */
    bool is_short;    /* accepting failed for want of descriptors or memory, and has not since */
    rpc_accept_fn on_accept;
    void *arg;
    int fd;      /* -1 when closed */
    int lock_fd; /* held while the path is ours; -1 for TCP */
    bool is_unix;
    bool is_tls;
    char address[RPC_ADDRESS_BYTES];                        /* the real one, after bind */
    char path[sizeof(((struct sockaddr_un *)0)->sun_path)]; /* to unlink at the end */
    void (*closed)(void *arg);
    struct rpc_listener *next; /* the server's list */
};

/* rpc_listener_open - bind, listen, accept. Errors: see rpc_server_listen. Returns an owned one. */
struct rpc_listener *rpc_listener_open(uv_loop_t *loop, const char *address,
                                       rpc_accept_fn on_accept, void *arg, struct ltd_err *err);

/* rpc_listener_close - stop now, free later from the loop, then `closed(arg)`. */
void rpc_listener_close(struct rpc_listener *listener, void (*closed)(void *arg));

#endif
