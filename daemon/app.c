/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/app.c - see daemon/app.h.
 *
 * States follow each other and never go back. A timer looks every few milliseconds while the
 * process drains, because "the last job is done" and "the last byte left" come from different
 * corners and a look costs nothing then.
 */
#include "daemon/app.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <uv.h>

#include "base/clock.h"
#include "base/log.h"
#include "daemon/auth.h"
#include "daemon/job_table.h"
#include "daemon/notify.h"
#include "daemon/pages_http.h"
#include "daemon/open_store.h"
#include "daemon/service.h"
#include "daemon/service_testing.h"
#include "daemon/spec_decode.h"
#include "daemon/store.h"
#include "daemon/tls_options.h"
#include "daemon/watch.h"
#include "daemon/work.h"
#include "rpc/server.h"

#define SWEEP_MS          1000 /* retention by age is a matter of seconds */
#define DRAIN_LOOK_MS     5
#define STORE_PATIENCE_NS (2 * LTD_NS_PER_S)
/* Watchers may take this long for their last events once all jobs have ended. */
#define LAST_BYTES_MS 1000
/* mpirun sends SIGKILL one second after SIGTERM (odls_base_sigkill_timeout); half of it is for the
 * jobs, a fifth for the last bytes, the rest for the ranks to stop. */
#define KILLED_DRAIN_MS      500
#define KILLED_LAST_BYTES_MS 200

/* DRAINING: jobs may go on. STOPPING: they were told to end. FINISHING: the last bytes leave. */
enum app_state { APP_SERVING, APP_DRAINING, APP_STOPPING, APP_FINISHING, APP_DONE };

static const int signals[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2};
#define N_SIGNALS (sizeof signals / sizeof *signals)

struct app {
    uv_loop_t loop;
    uv_signal_t signals[N_SIGNALS];
    uv_timer_t sweep, drain, watchdog;
    const struct config *config; /* borrowed */
    struct service service;
    struct rpc_method methods[SERVICE_N_METHODS + SERVICE_TESTING_N_METHODS];
    struct rpc_server *server;
    struct rpc_tls *tls; /* NULL: no listener has TLS */
    struct http_pages pages;
    struct served *served; /* borrowed */
    struct engine *engine; /* borrowed */
    enum app_state state;
    enum app_end end;
    uint64_t stop_at_ns;    /* DRAINING: when jobs are ended */
    uint64_t give_up_at_ns; /* STOPPING: when a log that takes nothing is waited for no more */
    uint32_t last_bytes_ms;
    uint32_t server_drain_ms; /* DRAINING: what the server gets; 0: it has been told */
    uint64_t watchdog_ns;     /* interval that systemd allows; 0: none */
    uint64_t progress;        /* the engine's counters when it was last seen to move, */
    uint64_t progress_ns;     /* and when that was */
    bool is_durable;          /* jobs that are not finished go on in another process */
    bool is_server_drained;
    bool is_ready_file_written;
};

static bool is_under_mpirun(void)
{
    return getenv("OMPI_COMM_WORLD_SIZE") != NULL;
}

/* ----------------------------------------------------------------------------------- drain */

/* The loop is done when the last byte has left and the last job has ended, whichever is later. */
static void on_server_drained(void *arg)
{
    struct app *app = arg;
    app->is_server_drained = true;
}

/* All work has ended: let the last bytes go, then close what is still open. */
static void finish_stopping(struct app *app)
{
    app->state = APP_FINISHING;
    if (app->is_server_drained)
        return;
    service_end_health_watches(&app->service);
    rpc_server_drain(app->server, app->last_bytes_ms, on_server_drained, app);
}

/* One turn of the loop behind the word of Health, which has left by then: who watches it hears
 * NOT_SERVING before the listeners are closed and connections are told to go. Streams of running
 * jobs end with their jobs. */
static void begin_server_drain(struct app *app)
{
    if (!app->server_drain_ms)
        return;
    rpc_server_drain(app->server, app->server_drain_ms, on_server_drained, app);
    app->server_drain_ms = 0;
}

static void on_drain_look(uv_timer_t *timer)
{
    struct app *app = timer->data;
    begin_server_drain(app);
    uint32_t left =
        work_queue_n_unfinished(app->service.queue) + job_table_n_live(app->service.jobs);
    uint64_t now_ns = ltd_now_ns();
    if (app->state == APP_DRAINING && now_ns >= app->stop_at_ns && left > 0) {
        ltd_info("ending %u unfinished jobs", job_table_n_live(app->service.jobs));
        app->state = APP_STOPPING;
        app->give_up_at_ns = now_ns + STORE_PATIENCE_NS;
        job_table_stop_all(app->service.jobs);
        return;
    }
    /* All work is over and the log takes nothing: what it has is what a later process goes on
     * from. */
    if (app->state != APP_DRAINING && now_ns >= app->give_up_at_ns &&
        work_queue_n_unfinished(app->service.queue) == 0)
        left = 0;
    if (left == 0 && app->state != APP_FINISHING)
        finish_stopping(app);
    if (left == 0 && app->is_server_drained) {
        uv_timer_stop(&app->drain);
        app->state = APP_DONE;
        uv_stop(&app->loop);
    }
}

static void begin_drain(struct app *app, uint64_t grace_ms, const char *why)
{
    uint32_t n = work_queue_n_unfinished(app->service.queue);
    ltd_info("draining: %s; %u unfinished, %s %.1f s to end", why, n,
             app->is_durable ? "those of calls have" : "they have", (double)grace_ms / 1000);
    app->state = APP_DRAINING;
    app->stop_at_ns = ltd_deadline_ns(grace_ms);
    notify_stopping();
    service_set_serving(&app->service, false);
    job_table_close(app->service.jobs);
    if (app->is_durable)
        job_table_park(app->service.jobs);
    uint64_t server_ms = grace_ms + LAST_BYTES_MS;
    app->server_drain_ms = server_ms > UINT32_MAX ? UINT32_MAX : (uint32_t)server_ms;
    uv_timer_start(&app->drain, on_drain_look, 0, DRAIN_LOOK_MS);
}

static void begin_killed_drain(struct app *app, const char *why)
{
    uint64_t grace_ms = (uint64_t)(app->config->drain_seconds * 1000);
    app->end = APP_END_KILLED;
    app->last_bytes_ms = KILLED_LAST_BYTES_MS;
    begin_drain(app, grace_ms < KILLED_DRAIN_MS ? grace_ms : KILLED_DRAIN_MS, why);
}

/* What is wrong in a file must not stop a service that runs: what it had stays. */
static void reload(struct app *app)
{
    struct ltd_err err = {0};
    if (auth_reload(app->service.auth, &err) != 0)
        ltd_error("reload: %s; the access file's old entries stay in use", err.msg);
    else
        job_table_limits_changed(app->service.jobs);
    if (!app->tls)
        return;
    if (rpc_tls_reload(app->tls, &err) != 0)
        ltd_error("reload: %s; the certificates in use stay in use", err.msg);
    else
        ltd_info("reload: certificates were read again; open connections keep theirs");
}

/* service.drain: an operator asks over the wire. The workers of a group are told through the
 * stream, as they always are. */
static int drain_on_request(void *arg, double *grace_seconds, struct ltd_err *err)
{
    struct app *app = arg;
    if (app->state != APP_SERVING)
        return ltd_fail(err, LTD_E_PRECONDITION, "the service drains already");
    if (*grace_seconds < 0)
        *grace_seconds = app->config->drain_seconds;
    begin_drain(app, (uint64_t)(*grace_seconds * 1000), "Admin.Drain");
    return 0;
}

static void on_signal(uv_signal_t *handle, int signum)
{
    struct app *app = handle->data;
    const char *name = strsignal(signum);
    if (signum == SIGUSR2) {
        ltd_info("reload: files are read again; options change with a restart only");
        reload(app);
        return;
    }
    if (app->state == APP_DRAINING) {
        ltd_info("%s again: jobs are ended now", name);
        app->stop_at_ns = 0;
    }
    if (app->state != APP_SERVING)
        return;
    if (signum != SIGUSR1 && is_under_mpirun())
        begin_killed_drain(app, name);
    else
        begin_drain(app, (uint64_t)(app->config->drain_seconds * 1000), name);
}

static void on_lost(void *arg, const struct ltd_err *why)
{
    struct app *app = arg;
    if (app->end == APP_END_LOST)
        return;
    ltd_error("the rank group is lost, the process ends: %s", why->msg);
    app->end = APP_END_LOST;
    app->last_bytes_ms = KILLED_LAST_BYTES_MS;
    if (app->state == APP_SERVING)
        begin_drain(app, 0, "a rank was lost");
}

/* ---------------------------------------------------------------------------------- timers */

/* The log may stall and recover at any time; a drain is told when it begins. */
static void tell_health(struct app *app)
{
    char reason[300];
    bool is_ready = service_is_ready(&app->service, reason, sizeof reason);
    if (app->state != APP_SERVING || is_ready == app->service.is_serving)
        return;
    if (is_ready)
        ltd_info("serving again");
    else
        ltd_warning("not serving: %s", reason);
    service_set_serving(&app->service, is_ready);
}

static void on_sweep(uv_timer_t *timer)
{
    struct app *app = timer->data;
    store_expire(app->service.store, ltd_wall_us());
    tell_health(app);
    watch_beat_all(&app->service, ltd_now_ns());
}

/* The ping says that the engine moves, not only that this loop turns. */
static void on_watchdog(uv_timer_t *timer)
{
    struct app *app = timer->data;
    struct engine_stats stats;
    uint64_t now_ns = ltd_now_ns();
    engine_get_stats(app->engine, &stats);
    /* Jobs that are held back make no progress and need none. The coda of a long prompt goes on for
     * many turns without a tick. */
    bool is_idle = work_queue_n_unfinished(app->service.queue) <= stats.waiting[SPEC_PRIORITY_HOLD];
    uint64_t progress = stats.ticks + stats.coda_positions;
    if (is_idle || progress != app->progress) {
        app->progress = progress;
        app->progress_ns = now_ns;
    }
    if (now_ns - app->progress_ns < app->watchdog_ns)
        notify_watchdog();
    else
        ltd_error("no progress for %.0f s although jobs run; systemd will restart the service",
                  (double)(now_ns - app->progress_ns) / 1e9);
}

/* ------------------------------------------------------------------------------------ open */

static int open_parts(struct app *app, struct ltd_err *err)
{
    const struct config *config = app->config;
    struct work_limits limits = {
        .max_running = (int32_t)config->max_jobs_running,
        .max_waiting = (int32_t)config->max_queue,
        .on_lost = on_lost,
        .on_lost_arg = app,
    };
    app->service.served = app->served;
    app->service.is_serving = true;
    app->service.store = open_store(config, &app->loop, err);
    app->service.queue = app->service.store ? work_queue_create(&app->loop, &limits, err) : NULL;
    if (!app->service.queue)
        return -1;
    struct store_health health;
    store_health(app->service.store, &health);
    app->is_durable = health.is_durable;
    struct job_table_config table = {
        .store = app->service.store,
        .queue = app->service.queue,
        .tier = app->served->tier,
        .numerics = app->served->numerics,
        .early_format = app->served->early_format,
        .fails_foreign = strcmp(config->other_numerics, "fail") == 0,
        .is_durable = app->is_durable,
        /* A byte that is no UTF-8 becomes a replacement character of three. */
        .token_text_bytes_max = 3 * app->served->token_bytes_max,
    };
    service_fill_hooks(&app->service, &table);
    app->service.jobs = job_table_create(&table, err);
    return app->service.jobs ? 0 : -1;
}

/* Options of 31,536,000 s at most do not fit 32 bits of milliseconds; 49 days are as good as never
 * for a connection. */
static uint32_t ms_of(double seconds)
{
    return seconds * 1000 < UINT32_MAX ? (uint32_t)(seconds * 1000) : UINT32_MAX;
}

static int open_server(struct app *app, struct ltd_err *err)
{
    const struct config *config = app->config;
    struct rpc_limits limits = {
        .max_connections = (uint32_t)config->max_connections,
        .max_per_host = config->max_connections_per_address > 0
                            ? (uint32_t)config->max_connections_per_address
                            : UINT32_MAX,
        .max_per_local_host = (uint32_t)config->max_connections_local,
        .max_streams = (uint32_t)config->max_calls_per_connection,
        .max_age_ms = ms_of(config->max_connection_age_seconds),
        .max_age_grace_ms = ms_of(config->max_connection_age_grace_seconds),
        .min_ping_ms = ms_of(config->min_ping_seconds),
    };
    service_fill_methods(&app->service, app->methods, (size_t)config->max_prompt_request_bytes,
                         (size_t)config->max_request_bytes);
    bool is_tested = strcmp(config->test_service, "on") == 0;
    size_t n_methods = SERVICE_N_METHODS + (is_tested ? SERVICE_TESTING_N_METHODS : 0);
    service_testing_fill_methods(app->methods + SERVICE_N_METHODS,
                                 (size_t)config->max_prompt_request_bytes, &app->loop);
    app->server = rpc_server_create(&app->loop, app->methods, n_methods, &limits, err);
    if (!app->server)
        return -1;
    if (service_open_access(&app->service, config->access_file, err) != 0)
        return -1;
    rpc_server_set_authorize(app->server, auth_authorize, app->service.auth);
    app->service.drain = drain_on_request;
    app->service.drain_arg = app;
    http_pages_init(&app->pages, &app->service, app->server);
    if (tls_options_open(config, &app->tls, err) != 0)
        return -1;
    rpc_server_set_tls(app->server, app->tls);
    rpc_server_set_pages(app->server, app->pages.rows, HTTP_N_PAGES);
    for (int32_t i = 0; i < config->n_listen; i++)
        if (rpc_server_listen(app->server, config->listen[i], err) != 0)
            return -1;
    if (is_tested && service_testing_check(app->server, (size_t)config->n_listen, err) != 0)
        return -1;
    if (*config->metrics_listen &&
        rpc_server_listen_pages(app->server, config->metrics_listen, err) != 0)
        return -1;
    return 0;
}

static void open_handles(struct app *app)
{
    for (size_t i = 0; i < N_SIGNALS; i++) {
        uv_signal_init(&app->loop, &app->signals[i]);
        app->signals[i].data = app;
        uv_unref((uv_handle_t *)&app->signals[i]);
    }
    uv_timer_init(&app->loop, &app->sweep);
    uv_timer_init(&app->loop, &app->drain);
    uv_timer_init(&app->loop, &app->watchdog);
    app->sweep.data = app->drain.data = app->watchdog.data = app;
}

struct app *app_open(const struct config *config, struct served *served, struct ltd_err *err)
{
    struct app *app = calloc(1, sizeof *app);
    int rc = app ? uv_loop_init(&app->loop) : UV_ENOMEM;
    if (rc != 0) {
        free(app);
        return ltd_fail_null(err, LTD_E_EXHAUSTED, "event loop: %s", uv_strerror(rc));
    }
    app->config = config;
    app->served = served;
    app->last_bytes_ms = LAST_BYTES_MS;
    open_handles(app);
    if (open_parts(app, err) == 0 && open_server(app, err) == 0)
        return app;
    app_close(app);
    return NULL;
}

void app_notify(void *app)
{
    work_notify(((struct app *)app)->service.queue);
}

static struct job_spec *decode_stored(void *arg, const Latentd__V1__JobSpec *message,
                                      struct ltd_err *err)
{
    return spec_decode(message, arg, err);
}

int app_attach(struct app *app, struct engine *engine, struct ltd_err *err)
{
    app->engine = engine;
    app->service.engine = engine;
    work_queue_attach(app->service.queue, engine);
    job_table_attach(app->service.jobs, engine);
    return job_table_recover(app->service.jobs, decode_stored, app->served, err) < 0 ? -1 : 0;
}

/* ------------------------------------------------------------------------------------- run */

static void write_ready_file(struct app *app)
{
    const char *path = app->config->ready_file;
    char temporary[4200];
    if (!*path)
        return;
    /* Written beside and renamed, so that a script never reads half a file. */
    snprintf(temporary, sizeof temporary, "%s.new", path);
    FILE *file = fopen(temporary, "we");
    const char *address;
    for (size_t i = 0; file && (address = rpc_server_address(app->server, i)); i++)
        fprintf(file, "%s\n", address);
    if (!file || fclose(file) != 0 || rename(temporary, path) != 0)
        ltd_warning("ready_file %s: %s", path, strerror(errno));
    else
        app->is_ready_file_written = true;
}

static void announce(struct app *app)
{
    char status[600];
    const struct served *served = app->served;
    const char *address;
    snprintf(status, sizeof status, "serving %s, tier %s, %d rank%s", served->name, served->tier_id,
             served->n_ranks, served->n_ranks == 1 ? "" : "s");
    for (size_t i = 0; (address = rpc_server_address(app->server, i)); i++)
        ltd_info("listening on %s", address);
    ltd_info("ready: %s, model %.12s, context %d, depth %d (at most %d)", status, served->hash,
             served->model.max_positions, served->default_steps, served->max_steps);
    write_ready_file(app);
    notify_ready(status);
}

enum app_end app_run(struct app *app)
{
    service_restore_quota(&app->service);
    for (size_t i = 0; i < N_SIGNALS; i++)
        uv_signal_start(&app->signals[i], on_signal, signals[i]);
    uv_timer_start(&app->sweep, on_sweep, SWEEP_MS, SWEEP_MS);
    app->watchdog_ns = notify_watchdog_usec() * 1000;
    app->progress_ns = ltd_now_ns();
    if (app->watchdog_ns) {
        uint64_t every_ms = app->watchdog_ns / LTD_NS_PER_MS / 3;
        uv_timer_start(&app->watchdog, on_watchdog, 0, every_ms ? every_ms : 1);
    }
    announce(app);
    while (app->state != APP_DONE)
        uv_run(&app->loop, UV_RUN_DEFAULT);
    if (app->is_ready_file_written)
        unlink(app->config->ready_file);
    return app->end;
}

/* ----------------------------------------------------------------------------------- close */

void app_close(struct app *app)
{
    if (!app)
        return;
    /* What the engine has not finished is nobody's end where another process can go on. */
    if (app->is_durable && app->service.jobs)
        job_table_park(app->service.jobs);
    if (app->service.queue)
        work_queue_pump(app->service.queue);
    rpc_server_destroy(app->server);
    store_stop(app->service.store);
    job_table_destroy(app->service.jobs);
    work_queue_close(app->service.queue);
    for (size_t i = 0; i < N_SIGNALS; i++)
        uv_close((uv_handle_t *)&app->signals[i], NULL);
    uv_close((uv_handle_t *)&app->sweep, NULL);
    uv_close((uv_handle_t *)&app->drain, NULL);
    uv_close((uv_handle_t *)&app->watchdog, NULL);
    store_destroy(app->service.store);
    uv_run(&app->loop, UV_RUN_DEFAULT);
    int rc = uv_loop_close(&app->loop);
    if (rc != 0)
        ltd_error("event loop: %s at the end", uv_strerror(rc));
    rpc_tls_destroy(app->tls);
    service_close_access(&app->service);
    free(app);
}
