/* SPDX-License-Identifier: Apache-2.0 */
/* tests/rpc/test_timers.c - many deadlines on one libuv timer: order, change, removal. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/clock.h"
#include "rpc/timers.h"

#define N 500

struct node {
    struct rpc_timer timer;
    uint64_t due_ns;
    int n_fired;
};

static struct {
    uv_loop_t loop;
    struct rpc_timers timers;
    struct node nodes[N];
    uint64_t last_due_ns; /* of the timer that fired before */
    int n_fired;
} t;

static void on_fire(void *arg)
{
    struct node *node = arg;
    node->n_fired++;
    t.n_fired++;
    assert_true(ltd_now_ns() >= node->due_ns);
    assert_true(node->due_ns >= t.last_due_ns);
    t.last_due_ns = node->due_ns;
}

static void set(struct node *node, uint64_t due_ns)
{
    node->due_ns = due_ns;
    rpc_timer_set(&t.timers, &node->timer, due_ns);
}

static int setup(void **state)
{
    (void)state;
    t.last_due_ns = 0;
    t.n_fired = 0;
    uv_loop_init(&t.loop);
    rpc_timers_init(&t.timers, &t.loop);
    for (int i = 0; i < N; i++) {
        rpc_timer_init(&t.nodes[i].timer, on_fire, &t.nodes[i]);
        t.nodes[i].n_fired = 0;
    }
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    uv_close((uv_handle_t *)&t.timers.uv, NULL);
    uv_run(&t.loop, UV_RUN_DEFAULT);
    return uv_loop_close(&t.loop);
}

static void timers_fire_once_in_order_of_their_time(void **state)
{
    unsigned seed = 7;
    uint64_t base = ltd_now_ns();
    (void)state;
    for (int i = 0; i < N; i++)
        set(&t.nodes[i], base + (uint64_t)(rand_r(&seed) % 20000) * 1000);
    uv_run(&t.loop, UV_RUN_DEFAULT);
    assert_int_equal(t.n_fired, N);
    for (int i = 0; i < N; i++)
        assert_int_equal(t.nodes[i].n_fired, 1);
    assert_null(t.timers.root);
}

/* The heap against a plain array: after random sets, moves and clears, the root is the minimum. */
static void any_sequence_of_changes_keeps_the_earliest_on_top(void **state)
{
    unsigned seed = 99;
    uint64_t far = ltd_now_ns() + 3600 * LTD_NS_PER_S;
    (void)state;
    for (int step = 0; step < 20000; step++) {
        struct node *node = &t.nodes[rand_r(&seed) % N];
        uint64_t due = far + (uint64_t)(rand_r(&seed) % 1000);
        switch (rand_r(&seed) % 4) {
        case 0:
        case 1:
            set(node, due);
            break;
        case 2:
            rpc_timer_clear(&t.timers, &node->timer);
            break;
        default: {
            bool earlier = !node->timer.armed || due < node->timer.due_ns;
            rpc_timer_set_earlier(&t.timers, &node->timer, due);
            if (earlier)
                node->due_ns = due;
        }
        }
        uint64_t least = LTD_NEVER;
        for (int i = 0; i < N; i++)
            if (t.nodes[i].timer.armed) {
                assert_int_equal(t.nodes[i].timer.due_ns, t.nodes[i].due_ns);
                least = t.nodes[i].due_ns < least ? t.nodes[i].due_ns : least;
            }
        assert_int_equal(t.timers.root ? t.timers.root->due_ns : LTD_NEVER, least);
    }
    for (int i = 0; i < N; i++)
        rpc_timer_clear(&t.timers, &t.nodes[i].timer);
    assert_null(t.timers.root);
}

static void never_and_clear_do_not_fire(void **state)
{
    (void)state;
    set(&t.nodes[0], ltd_now_ns());
    set(&t.nodes[1], ltd_now_ns());
    set(&t.nodes[2], ltd_now_ns() + 2 * LTD_NS_PER_MS);
    rpc_timer_set(&t.timers, &t.nodes[0].timer, LTD_NEVER);
    rpc_timer_clear(&t.timers, &t.nodes[1].timer);
    rpc_timer_clear(&t.timers, &t.nodes[1].timer);
    uv_run(&t.loop, UV_RUN_DEFAULT);
    assert_int_equal(t.nodes[0].n_fired, 0);
    assert_int_equal(t.nodes[1].n_fired, 0);
    assert_int_equal(t.nodes[2].n_fired, 1);
}

static void clear_the_other(void *arg)
{
    on_fire(arg);
    rpc_timer_clear(&t.timers, &t.nodes[1].timer);
    set(&t.nodes[2], ltd_now_ns() + LTD_NS_PER_MS);
}

static void a_timer_may_change_others_when_it_fires(void **state)
{
    uint64_t now = ltd_now_ns();
    (void)state;
    t.nodes[0].timer.fn = clear_the_other;
    set(&t.nodes[0], now);
    set(&t.nodes[1], now + 1);
    uv_run(&t.loop, UV_RUN_DEFAULT);
    assert_int_equal(t.nodes[0].n_fired, 1);
    assert_int_equal(t.nodes[1].n_fired, 0);
    assert_int_equal(t.nodes[2].n_fired, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(timers_fire_once_in_order_of_their_time, setup, teardown),
        cmocka_unit_test_setup_teardown(any_sequence_of_changes_keeps_the_earliest_on_top, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(never_and_clear_do_not_fire, setup, teardown),
        cmocka_unit_test_setup_teardown(a_timer_may_change_others_when_it_fires, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
