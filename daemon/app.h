/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/app.h - the loop thread: endpoint, job table, timers, signals, and the way to the end.
 *
 *     open ──▶ attach(engine) ──▶ run ───────────────────────────────▶ close
 *              serving ── signal ──▶ draining ──▶ stopping ──▶ run returns
 *
 * Draining: Health says NOT_SERVING, the listeners are closed, no new jobs; jobs go on. When they
 * are done, or drain_seconds are over, or a second signal comes: stopping, what is left ends with
 * UNAVAILABLE, watchers get their last event, connections are closed.
 *
 * Signals: SIGTERM, SIGINT, SIGHUP and SIGUSR1 drain; SIGUSR2 reads certificates and the
 * access file again; SIGPIPE is ignored. Which of them came decides how the process may leave MPI
 * (docs/operations.md).
 *
 * Threads: main thread, which becomes the loop thread in app_run.
 */
#ifndef LATENTD_DAEMON_APP_H
#define LATENTD_DAEMON_APP_H

#include <stdbool.h>

#include "base/err.h"
#include "daemon/config.h"
#include "daemon/engine.h"
#include "daemon/served.h"

struct app;

/*
 * app_open - make the loop and everything on it, and bind the listeners. Calls are only answered
 * by app_run.
 * Errors: LTD_E_INVALID, LTD_E_EXISTS (address in use), LTD_E_INTERNAL, LTD_E_EXHAUSTED.
 */
struct app *app_open(const struct config *config, struct served *served, struct ltd_err *err);

/* For engine_config.notify and notify_arg. */
void app_notify(void *app);

/*
 * app_attach - before app_run: the engine (borrowed) gets the jobs of an earlier process that are not
 * finished. Errors: LTD_E_EXHAUSTED; the engine must then be stopped before app_close.
 */
int app_attach(struct app *app, struct engine *engine, struct ltd_err *err);

enum app_end {
    APP_END_ORDER,  /* SIGUSR1, or any stop of a process that mpirun did not start */
    APP_END_KILLED, /* mpirun is ending its processes: there is no time for MPI_Finalize */
    APP_END_LOST,   /* a rank was lost */
};

/* app_run - serve until a signal has been obeyed. */
enum app_end app_run(struct app *app);

/*
 * app_close - after engine_stop: deliver the last events, end everything, free it. The engine is
 * destroyed by the caller afterwards. NULL is fine.
 */
void app_close(struct app *take_app);

#endif
