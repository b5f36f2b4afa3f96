/* SPDX-License-Identifier: Apache-2.0 */
/* rpc/timers.c - see rpc/timers.h. */
#include "rpc/timers.h"

#include <stddef.h>

#include "base/clock.h"

/* Both are roots (no siblings) or NULL; the later one becomes a child of the earlier one. */
static struct rpc_timer *meld(struct rpc_timer *a, struct rpc_timer *b)
{
    if (!a || !b)
        return a ? a : b;
    if (b->due_ns < a->due_ns) {
        struct rpc_timer *swap = a;
        a = b;
        b = swap;
    }
    b->next = a->child;
    if (b->next)
        b->next->prev = b;
    b->prev = a;
    a->child = b;
    return a;
}

/* Meld a list of siblings into one root: in pairs from the left, then all from the right. */
static struct rpc_timer *meld_siblings(struct rpc_timer *first)
{
    struct rpc_timer *pairs = NULL; /* a stack, linked through next */
    while (first) {
        struct rpc_timer *a = first;
        struct rpc_timer *b = a->next;
        first = b ? b->next : NULL;
        a->next = a->prev = NULL;
        if (b)
            b->next = b->prev = NULL;
        a = meld(a, b);
        a->next = pairs;
        pairs = a;
    }
    struct rpc_timer *root = NULL;
    while (pairs) {
        struct rpc_timer *below = pairs->next;
        pairs->next = NULL;
        root = meld(root, pairs);
        pairs = below;
    }
    return root;
}

static void unlink_timer(struct rpc_timers *timers, struct rpc_timer *timer)
{
    struct rpc_timer *orphans = meld_siblings(timer->child);
    if (timer == timers->root) {
        timers->root = orphans;
    } else {
        if (timer->prev->child == timer)
            timer->prev->child = timer->next;
        else
            timer->prev->next = timer->next;
        if (timer->next)
            timer->next->prev = timer->prev;
        timers->root = meld(timers->root, orphans);
    }
    timer->child = timer->next = timer->prev = NULL;
    timer->armed = false;
}

static void on_uv_timer(uv_timer_t *uv);

/* Have `uv` fire at the root's time, or earlier if it would anyway: firing early costs a look. */
static void schedule(struct rpc_timers *timers, uint64_t now_ns)
{
    if (!timers->root || timers->root->due_ns >= timers->uv_due_ns)
        return;
    uint64_t due = timers->root->due_ns;
    uint64_t wait_ns = due > now_ns ? due - now_ns : 0;
    timers->uv_due_ns = due;
    uv_timer_start(&timers->uv, on_uv_timer, (wait_ns + LTD_NS_PER_MS - 1) / LTD_NS_PER_MS, 0);
}

static void on_uv_timer(uv_timer_t *uv)
{
    struct rpc_timers *timers = uv->data;
    timers->uv_due_ns = LTD_NEVER;
    uint64_t now = ltd_now_ns();
    while (timers->root && timers->root->due_ns <= now) {
        struct rpc_timer *timer = timers->root;
        unlink_timer(timers, timer);
        timer->fn(timer->arg);
    }
    schedule(timers, ltd_now_ns());
}

int rpc_timers_init(struct rpc_timers *timers, uv_loop_t *loop)
{
    timers->root = NULL;
    timers->uv_due_ns = LTD_NEVER;
    timers->uv.data = timers;
    return uv_timer_init(loop, &timers->uv);
}

void rpc_timer_init(struct rpc_timer *timer, rpc_timer_fn fn, void *arg)
{
    *timer = (struct rpc_timer){.fn = fn, .arg = arg};
}

void rpc_timer_set(struct rpc_timers *timers, struct rpc_timer *timer, uint64_t due_ns)
{
    rpc_timer_clear(timers, timer);
    if (due_ns == LTD_NEVER || uv_is_closing((uv_handle_t *)&timers->uv))
        return;
    timer->due_ns = due_ns;
    timer->armed = true;
    timers->root = meld(timers->root, timer);
    if (timers->root == timer)
        schedule(timers, ltd_now_ns());
}

void rpc_timer_set_earlier(struct rpc_timers *timers, struct rpc_timer *timer, uint64_t due_ns)
{
    if (!timer->armed || due_ns < timer->due_ns)
        rpc_timer_set(timers, timer, due_ns);
}

void rpc_timer_clear(struct rpc_timers *timers, struct rpc_timer *timer)
{
    if (timer->armed)
        unlink_timer(timers, timer);
}
