/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rpc/timers.h - any number of deadlines on one libuv timer.
 *
 * Every call has a deadline and every connection several; a uv_timer_t each would need a close
 * callback each, and calls come and go thousands of times a second. So deadlines are nodes of a
 * pairing heap that live inside their owners: setting one allocates nothing and cannot fail,
 * clearing one is immediate, and its owner may be freed right after.
 *
 * Due times are absolute, on the clock of base/clock.h. A timer never runs before its time; it runs
 * at most a few milliseconds after, when the loop is not busy.
 *
 * Threads: the loop's thread.
 * Source: Fredman et al., "The pairing heap", 1986.
 */
#ifndef LATENTD_RPC_TIMERS_H
#define LATENTD_RPC_TIMERS_H

#include <stdbool.h>
#include <stdint.h>

#include <uv.h>

typedef void (*rpc_timer_fn)(void *arg);

struct rpc_timer {
    rpc_timer_fn fn;
    void *arg;
    uint64_t due_ns;
    bool armed;
    struct rpc_timer *child; /* first of the nodes below */
    struct rpc_timer *next;  /* right sibling */
    struct rpc_timer *prev;  /* left sibling, or the parent of a first child */
};

struct rpc_timers {
    uv_timer_t uv;
    struct rpc_timer *root; /* the earliest; NULL when none is armed */
    uint64_t uv_due_ns;     /* when `uv` fires; LTD_NEVER when it is stopped */
};

/* The handle is the owner's to close: uv_close((uv_handle_t *)&timers->uv, …). */
int rpc_timers_init(struct rpc_timers *timers, uv_loop_t *loop);

void rpc_timer_init(struct rpc_timer *timer, rpc_timer_fn fn, void *arg);

/* rpc_timer_set - run `fn` once at `due_ns`; replaces an earlier time. LTD_NEVER clears. */
void rpc_timer_set(struct rpc_timers *timers, struct rpc_timer *timer, uint64_t due_ns);

/* rpc_timer_set_earlier - like rpc_timer_set, but never moves a time that is set to a later one. */
void rpc_timer_set_earlier(struct rpc_timers *timers, struct rpc_timer *timer, uint64_t due_ns);

void rpc_timer_clear(struct rpc_timers *timers, struct rpc_timer *timer);

#endif
