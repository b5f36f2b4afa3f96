/* SPDX-License-Identifier: Apache-2.0 */
/* tests/daemon/test_metrics.c - what the service counts, and how it is told to Prometheus. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/pages_http.h"
#include "daemon/prometheus.h"
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

/* -------------------------------------------------------------------------------- format */

static void expect_text(struct ltd_bytes *found, const char *expected)
{
    ltd_bytes_put_u8(found, 0);
    assert_false(found->failed);
    assert_string_equal((const char *)found->data, expected);
    ltd_bytes_clear(found);
}

static void a_family_is_begun_once_and_its_samples_follow(void **state)
{
    struct ltd_bytes out;
    struct prom w = {.out = &out};
    (void)state;
    ltd_bytes_init(&out);
    prom_family(&w, "x_bytes", PROM_GAUGE, "Help.");
    prom_u64(&w, UINT64_MAX, "a=\"%d\",b=\"%s\"", 1, "c");
    prom_f64(&w, 0.000125, NULL);
    prom_f64(&w, -INFINITY, NULL);
    prom_f64(&w, NAN, NULL);
    prom_counter(&w, "y_total", "More.", 7);
    expect_text(&out, "# HELP x_bytes Help.\n# TYPE x_bytes gauge\n"
                      "x_bytes{a=\"1\",b=\"c\"} 18446744073709551615\nx_bytes 0.000125\n"
                      "x_bytes -Inf\nx_bytes NaN\n"
                      "# HELP y_total More.\n# TYPE y_total counter\ny_total 7\n");
    ltd_bytes_fini(&out);
}

static void buckets_add_up_and_the_last_holds_everything(void **state)
{
    static const double bounds[] = {1, 2};
    static const uint64_t counts[] = {3, 0, 4};
    struct prom_buckets b = {bounds, counts, 3, 25000, 1e-3, NULL};
    struct ltd_bytes out;
    struct prom w = {.out = &out, .name = "h"};
    (void)state;
    ltd_bytes_init(&out);
    prom_histogram(&w, &b);
    expect_text(&out, "h_bucket{le=\"0.001\"} 3\nh_bucket{le=\"0.002\"} 3\n"
                      "h_bucket{le=\"+Inf\"} 7\nh_sum 25\nh_count 7\n");
    b.labels = "e=\"f\"";
    b.n = 1;
    prom_histogram(&w, &b);
    expect_text(&out, "h_bucket{e=\"f\",le=\"+Inf\"} 3\nh_sum{e=\"f\"} 25\nh_count{e=\"f\"} 3\n");
    prom_summary(&w, "e=\"f\"", 1.5, 2);
    expect_text(&out, "h_sum{e=\"f\"} 1.5\nh_count{e=\"f\"} 2\n");
    ltd_bytes_fini(&out);
}

static void what_ends_a_label_is_escaped_and_never_cut_in_two(void **state)
{
    char out[8];
    (void)state;
    prom_escape("a\"b", out, sizeof out);
    assert_string_equal(out, "a\\\"b");
    prom_escape("\\\n", out, sizeof out);
    assert_string_equal(out, "\\\\\\n");
    prom_escape("\"\"\"\"\"\"", out, sizeof out);
    assert_string_equal(out, "\\\"\\\"\\\"");
    prom_escape("abc", out, 1);
    assert_string_equal(out, "");
}

/* ---------------------------------------------------------------------------------- page */

static struct ltd_bytes page;
static int page_status;

static void make_page(struct rig *rig, const char *path)
{
    struct http_pages pages;
    struct rpc_page_answer answer = {.status = 200};
    ltd_bytes_init(&answer.body);
    http_pages_init(&pages, &rig->service, rig->server);
    for (size_t i = 0; i < HTTP_N_PAGES; i++)
        if (strcmp(pages.rows[i].path, path) == 0)
            pages.rows[i].make(pages.rows[i].arg, &answer);
    page_status = answer.status;
    ltd_bytes_fini(&page);
    page = answer.body;
    ltd_bytes_put_u8(&page, 0);
    assert_false(page.failed);
}

static void make_metrics(struct rig *rig)
{
    make_page(rig, "/metrics");
}

static void make_readyz(struct rig *rig)
{
    make_page(rig, "/readyz");
}

/* The value behind a whole series; fails the test when there is none, or two. */
static double value_of(const char *series)
{
    char line[300];
    snprintf(line, sizeof line, "\n%s ", series);
    const char *found = strstr((const char *)page.data, line);
    if (!found)
        fail_msg("%s is not in the page:\n%s", series, (const char *)page.data);
    assert_null(strstr(found + 1, line));
    return strtod(found + strlen(line), NULL);
}

#define EXPECT_SERIES(series, expected) assert_float_equal(value_of(series), expected, 1e-12)

static void expect_engine(void)
{
    EXPECT_SERIES("latentd_ticks_total", 7);
    EXPECT_SERIES("latentd_steps_total{kind=\"decode\"}", 50);
    EXPECT_SERIES("latentd_steps_total{kind=\"prefill\"}", 15);
    EXPECT_SERIES("latentd_steps_total{kind=\"replay\"}", 5);
    EXPECT_SERIES("latentd_coda_positions_total{kind=\"token\"}", 31 - 8);
    EXPECT_SERIES("latentd_coda_positions_total{kind=\"check\"}", 8);
    EXPECT_SERIES("latentd_head_rows_total{kind=\"token\"}", 33 - 9);
    EXPECT_SERIES("latentd_preemptions_total", 3);
    EXPECT_SERIES("latentd_prefix_tokens_total", 16);
    EXPECT_SERIES("latentd_jobs_held", 2);
    EXPECT_SERIES("latentd_kv_pages_limit", 5);
    EXPECT_SERIES("latentd_kv_pages_used", 4);
    EXPECT_SERIES("latentd_kv_pages_cached", 6);
    EXPECT_SERIES("latentd_queue_jobs{priority=\"0\"}", 17);
    EXPECT_SERIES("latentd_queue_jobs{priority=\"31\"}", 19);
    EXPECT_SERIES("latentd_load", 0.25);
    EXPECT_SERIES("latentd_predicted_turn_seconds", 0.0025);
    EXPECT_SERIES("latentd_cost_seconds{part=\"tick\",kind=\"each\"}", 2000e-9);
    /* 11 tokens of 4 steps, 2 of 5. */
    EXPECT_SERIES("latentd_token_steps_bucket{exit=\"fixed\",le=\"2\"}", 0);
    EXPECT_SERIES("latentd_token_steps_bucket{exit=\"fixed\",le=\"4\"}", 11);
    EXPECT_SERIES("latentd_token_steps_sum{exit=\"fixed\"}", 44);
    EXPECT_SERIES("latentd_token_steps_bucket{exit=\"converged\",le=\"4\"}", 0);
    EXPECT_SERIES("latentd_token_steps_bucket{exit=\"converged\",le=\"8\"}", 2);
    EXPECT_SERIES("latentd_token_steps_count{exit=\"converged\"}", 2);
}

static void the_page_says_what_the_parts_count(void **state)
{
    struct rig *rig = rig_open(10, 100);
    (void)state;
    struct rig_name names[3];
    for (int i = 0; i < 3; i++)
        names[i] = rig_submit(rig, 4, NULL);
    rig_run_job(rig, 0, 4, ENGINE_FINISH_LENGTH);
    rig_await_end(rig, names[0].text);
    rig_run_job(rig, 1, 2, ENGINE_FINISH_CANCELLED);
    rig_await_end(rig, names[1].text);
    rig_on_loop(rig, make_metrics);
    expect_engine();
    EXPECT_SERIES("latentd_serving", 1);
    EXPECT_SERIES("latentd_jobs{state=\"queued\"}", 1);
    EXPECT_SERIES("latentd_jobs{state=\"running\"}", 0);
    EXPECT_SERIES("latentd_jobs_ended_total{state=\"succeeded\"}", 1);
    EXPECT_SERIES("latentd_jobs_ended_total{state=\"cancelled\"}", 1);
    EXPECT_SERIES("latentd_jobs_ended_total{state=\"failed\"}", 0);
    EXPECT_SERIES("latentd_store_jobs", 3);
    EXPECT_SERIES("latentd_store_stalled", 0);
    /* A start and an end each, 4 and 2 tokens, and three that were queued. */
    EXPECT_SERIES("latentd_store_events_total", 3 + 2 + 2 + 4 + 2);
    EXPECT_SERIES("latentd_kv_position_bytes", 123456789012);
    EXPECT_SERIES(
        "latentd_rpc_handled_total{service=\"latentd.v1.Jobs\",method=\"Submit\",code=\"OK\"}", 3);
    EXPECT_SERIES(
        "latentd_rpc_handling_seconds_count{service=\"latentd.v1.Jobs\",method=\"Submit\"}", 3);
    assert_true(value_of("latentd_process_resident_memory_bytes") > 1 << 20);
    assert_true(value_of("latentd_process_open_fds") > 3);
    assert_true(value_of("latentd_process_max_fds") >= value_of("latentd_process_open_fds"));
    assert_true(value_of("latentd_process_cpu_seconds_total") > 0);
    rig_close(rig);
}

static size_t n_lines(void)
{
    size_t n = 0;
    for (const char *c = (const char *)page.data; *c; c++)
        n += *c == '\n';
    return n;
}

static void no_client_can_make_the_page_grow(void **state)
{
    struct rig *rig = rig_open(10, 100);
    char path[80];
    struct rig_spec s;
    (void)state;
    Latentd__V1__GetJobRequest m = LATENTD__V1__GET_JOB_REQUEST__INIT;
    rig_call(rig, "/latentd.v1.Jobs/Nothing", &m.base, NULL, NULL, NULL);
    rig_submit(rig, 4, NULL);
    rig_on_loop(rig, make_metrics);
    size_t before = n_lines();
    for (int i = 0; i < 50; i++) {
        snprintf(path, sizeof path, "/latentd.v1.Jobs%d/Get%d", i, i);
        EXPECT_STATUS(rig_call(rig, path, &m.base, NULL, NULL, NULL), LATENTD_UNIMPLEMENTED);
    }
    rig_make_spec(&s, 4);
    for (int i = 0; i < 5; i++) {
        snprintf(path, sizeof path, "label %d", i);
        s.spec.label = wire_text(path, strlen(path));
        s.spec.client = wire_text(path, strlen(path));
        EXPECT_STATUS(rig_submit_spec(rig, &s.spec, NULL, NULL, NULL), LATENTD_OK);
    }
    rig_on_loop(rig, make_metrics);
    assert_int_equal(n_lines(), before);
    EXPECT_SERIES("latentd_rpc_handled_total{service=\"unknown\",method=\"unknown\",code="
                  "\"UNIMPLEMENTED\"}",
                  51);
    rig_close(rig);
}

/* ----------------------------------------------------------------------------- readiness */

static const struct store_ops *sound_ops;
static struct store_ops stalled_ops;

static void stalled_health(struct store *store, struct store_health *out)
{
    sound_ops->health(store, out);
    out->is_stalled = true;
    snprintf(out->reason, sizeof out->reason, "disk full");
}

static void stall(struct rig *rig)
{
    sound_ops = rig->service.store->ops;
    stalled_ops = *sound_ops;
    stalled_ops.health = stalled_health;
    rig->service.store->ops = &stalled_ops;
}

static void recover(struct rig *rig)
{
    rig->service.store->ops = sound_ops;
}

static void close_table(struct rig *rig)
{
    job_table_close(rig->service.jobs);
}

static void expect_readyz(struct rig *rig, int status, const char *text)
{
    rig_on_loop(rig, make_readyz);
    assert_string_equal((const char *)page.data, text);
    assert_int_equal(page_status, status);
}

static void readyz_says_why_no_jobs_are_taken(void **state)
{
    struct rig *rig = rig_open(10, 100);
    (void)state;
    expect_readyz(rig, 200, "ready\n");
    rig_on_loop(rig, stall);
    expect_readyz(rig, 503, "not ready: the log of jobs stalls: disk full\n");
    rig_on_loop(rig, make_metrics);
    EXPECT_SERIES("latentd_store_stalled", 1);
    rig_on_loop(rig, recover);
    expect_readyz(rig, 200, "ready\n");
    rig_on_loop(rig, close_table);
    expect_readyz(rig, 503, "not ready: draining\n");
    rig_close(rig);
}

static int free_page(void **state)
{
    (void)state;
    ltd_bytes_fini(&page);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calls_are_counted_by_method_and_status),
        cmocka_unit_test(a_family_is_begun_once_and_its_samples_follow),
        cmocka_unit_test(buckets_add_up_and_the_last_holds_everything),
        cmocka_unit_test(what_ends_a_label_is_escaped_and_never_cut_in_two),
        cmocka_unit_test(the_page_says_what_the_parts_count),
        cmocka_unit_test(no_client_can_make_the_page_grow),
        cmocka_unit_test(readyz_says_why_no_jobs_are_taken),
    };
    return cmocka_run_group_tests_name("metrics", tests, NULL, free_page);
}
