/* SPDX-License-Identifier: Apache-2.0 */
/* tests/daemon/test_metrics.c - what the service counts, and how it is told to Prometheus. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "service_rig.h"

static size_t method_idx(const struct rig *rig, const char *path)
{
    for (size_t i = 0; i < rig->service.n_methods; i++)
        if (strcmp(rig->service.methods[i].path, path) == 0)
            return i;
    return rig->service.n_methods; /* calls of what has no row */
}

struct look {
    struct rpc_method_stats get, watch, unknown;
};
static struct look seen;

static void look_at_calls(struct rig *rig)
{
    seen.get = *rpc_server_method_stats(rig->server, method_idx(rig, "/latentd.v1.Jobs/Get"));
    seen.watch = *rpc_server_method_stats(rig->server, method_idx(rig, "/latentd.v1.Jobs/Watch"));
    seen.unknown = *rpc_server_method_stats(rig->server, rig->service.n_methods);
}

static uint64_t n_calls(const struct rpc_method_stats *stats)
{
    uint64_t n = 0;
    for (int s = 0; s < RPC_N_STATUSES; s++)
        n += stats->n_by_status[s];
    return n;
}

static void calls_are_counted_by_method_and_status(void **state)
{
    struct rig *rig = rig_open(10, 100);
    Latentd__V1__GetJobRequest m = LATENTD__V1__GET_JOB_REQUEST__INIT;
    (void)state;
    struct rig_name name = rig_submit(rig, 4, NULL);
    for (int i = 0; i < 3; i++)
        latentd__v1__job__free_unpacked(rig_get(rig, name.text), NULL);
    m.name = wire_text("jobs/nonsense", 13);
    assert_int_not_equal(rig_call(rig, "/latentd.v1.Jobs/Get", &m.base, NULL, NULL, NULL), 0);
    EXPECT_STATUS(rig_call(rig, "/latentd.v1.Jobs/Nothing", &m.base, NULL, NULL, NULL),
                  LATENTD_UNIMPLEMENTED);
    struct rig_stream *watch = rig_watch(rig, name.text, 0);
    rig_stream_wait_messages(watch, 1);
    rig_on_loop(rig, look_at_calls);
    assert_int_equal(n_calls(&seen.watch), 0); /* it is not over */
    assert_int_equal(seen.get.n_by_status[LATENTD_OK], 3);
    assert_int_equal(n_calls(&seen.get), 4);
    assert_int_equal(seen.unknown.n_by_status[LATENTD_UNIMPLEMENTED], 1);
    assert_int_equal(n_calls(&seen.unknown), 1);
    assert_true(seen.get.total_ns > 0);
    rig_stream_cancel(watch);
    rig_stream_end(watch);
    do
        rig_on_loop(rig, look_at_calls);
    while (n_calls(&seen.watch) == 0); /* ctest ends a test that waits here for ever */
    assert_int_equal(seen.watch.n_by_status[LATENTD_CANCELLED], 1);
    rig_stream_free(watch);
    rig_close(rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calls_are_counted_by_method_and_status),
    };
    return cmocka_run_group_tests_name("metrics", tests, NULL, NULL);
}
