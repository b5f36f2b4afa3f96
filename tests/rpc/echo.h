/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/rpc/echo.h - the test service: small methods that show every way a call can go.
 *
 *     /test.Echo/Unary     the request comes back; at most ECHO_MAX_BYTES
 *     /test.Echo/Small     the same, but takes 1 KiB at most
 *     /test.Echo/Stream    "N SIZE": N messages of SIZE bytes, the i-th begins with i; pulled
 *     /test.Echo/Push      "N SIZE": the same, but pushed without asking, until a send is refused
 *     /test.Echo/Hang      never answers; counts how it ended
 *     /test.Echo/Beat      one message at once, then nothing, never finishes
 *     /test.Echo/Sleep     "MS": answers "slept" after that many milliseconds
 *     /test.Echo/Fail      "STATUS MESSAGE": ends with that gRPC status
 *     /test.Echo/Later     "N MS": N messages, then EXHAUSTED "later", to be tried again in MS ms
 *     /test.Echo/Peer      the peer's name and the deadline in ms from now ("none")
 *     /test.Echo/Host      the peer's name without what changes from connection to connection
 *     /test.Echo/Chat      a stream: each message comes back; "bye!" ends it ABORTED
 *     /test.Echo/Collect   a stream: at its end "N messages, N bytes"
 *     /test.Echo/Tap       the same, but takes one message each time that Turn is called
 *     /test.Echo/Turn      see Tap
 *     /test.Echo/Meta      metadata x-echo and x-echo-bin come back as headers x-header(-bin) and
 *                          trailers x-trailer(-bin), with the request, or NOT_FOUND for an empty one
 *     /test.Echo/Wrong     "REASON MS MESSAGE": ends INVALID with that reason and retry hint
 *     /test.Echo/Squeeze   "SIZE": so many zeros, compressed when the client accepts it
 *     /test.Echo/Who       the caller's identity: "NAME RIGHTS"
 *     /test.Echo/Ends      the counters below as text, "finished=1 cancelled=0 …"
 *
 * and pages: /plain ("plain\n"), /big (ECHO_BIG_BYTES of 'b'), /secret (as /plain, with rights 4).
 *
 * Counters are atomic: the server's loop writes them, a test's thread reads them.
 */
#ifndef LATENTD_TESTS_RPC_ECHO_H
#define LATENTD_TESTS_RPC_ECHO_H

#include <stdatomic.h>

#include <uv.h>

#include "rpc/call.h"
#include "rpc/page.h"
#include "rpc/service.h"

#define ECHO_N_METHODS 20
#define ECHO_MAX_BYTES ((size_t)8 << 20)
#define ECHO_N_ENDS    7
#define ECHO_N_PAGES   3
#define ECHO_BIG_BYTES ((size_t)4 << 20)

extern const struct rpc_page echo_pages[ECHO_N_PAGES];

struct echo {
    uv_loop_t *loop;
    struct rpc_method methods[ECHO_N_METHODS];
    atomic_int n_started;         /* handlers run, of methods that wait or stream */
    atomic_int ends[ECHO_N_ENDS]; /* on_end by enum rpc_end */
    atomic_int n_live;            /* started and not ended */
    atomic_size_t max_queued;     /* most bytes seen waiting in one call */
    atomic_int n_refused;         /* sends refused */
    atomic_int n_messages;        /* taken by Collect and Tap */
    struct rpc_call *tap;         /* the call of Tap that runs; loop thread */
};

/* echo_chat.c */
void echo_open_chat(struct rpc_call *call, void *arg);
void echo_open_collect(struct rpc_call *call, void *arg);
void echo_open_tap(struct rpc_call *call, void *arg);
void echo_turn(struct rpc_call *call, const uint8_t *request, size_t len, void *arg);
void echo_meta(struct rpc_call *call, const uint8_t *request, size_t len, void *arg);
void echo_wrong(struct rpc_call *call, const uint8_t *request, size_t len, void *arg);
void echo_squeeze(struct rpc_call *call, const uint8_t *request, size_t len, void *arg);
void echo_who(struct rpc_call *call, const uint8_t *request, size_t len, void *arg);

void echo_init(struct echo *echo, uv_loop_t *loop);

#endif
