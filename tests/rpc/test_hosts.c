/* SPDX-License-Identifier: Apache-2.0 */
/* tests/rpc/test_hosts.c - connections are counted per host and given back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "rpc/hosts.h"

static void one_host_takes_no_more_than_its_share(void **state)
{
    static struct rpc_hosts hosts;
    struct ltd_err err = {0};
    (void)state;
    struct rpc_host *a = rpc_hosts_take(&hosts, "192.0.2.1", 2, &err);
    assert_ptr_equal(rpc_hosts_take(&hosts, "192.0.2.1", 2, &err), a);
    assert_null(rpc_hosts_take(&hosts, "192.0.2.1", 2, &err));
    assert_int_equal(err.code, LTD_E_EXHAUSTED);
    assert_string_equal(err.msg, "192.0.2.1 has 2 connections open, at most 2 may be");
    struct rpc_host *b = rpc_hosts_take(&hosts, "192.0.2.2", 2, &err);
    assert_non_null(b);
    rpc_hosts_give(&hosts, a);
    assert_ptr_equal(rpc_hosts_take(&hosts, "192.0.2.1", 2, &err), a);
    rpc_hosts_give(&hosts, a);
    rpc_hosts_give(&hosts, a);
    rpc_hosts_give(&hosts, b);
    rpc_hosts_give(&hosts, NULL);
    for (int i = 0; i < RPC_HOSTS_BUCKETS; i++)
        assert_null(hosts.buckets[i]);
}

/* More hosts than buckets, given back in another order than they were taken in. */
static void many_hosts_are_told_apart(void **state)
{
    enum { N = 3000, STEP = 7 };
    static struct rpc_hosts hosts;
    static struct rpc_host *taken[N];
    char name[RPC_HOST_BYTES];
    (void)state;
    for (int i = 0; i < N; i++) {
        snprintf(name, sizeof name, "10.0.%d.%d", i / 250, i % 250);
        taken[i] = rpc_hosts_take(&hosts, name, 1, NULL);
        assert_non_null(taken[i]);
        assert_null(rpc_hosts_take(&hosts, name, 1, NULL));
    }
    for (int i = 0; i < N; i++)
        rpc_hosts_give(&hosts, taken[i * STEP % N]);
    for (int i = 0; i < RPC_HOSTS_BUCKETS; i++)
        assert_null(hosts.buckets[i]);
}

static void a_limit_of_zero_is_none(void **state)
{
    static struct rpc_hosts hosts;
    struct rpc_host *host = NULL;
    (void)state;
    for (int i = 0; i < 5000; i++)
        host = rpc_hosts_take(&hosts, "::1", 0, NULL);
    assert_int_equal(host->n_connections, 5000);
    for (int i = 0; i < 5000; i++)
        rpc_hosts_give(&hosts, host);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_host_takes_no_more_than_its_share),
        cmocka_unit_test(many_hosts_are_told_apart),
        cmocka_unit_test(a_limit_of_zero_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
