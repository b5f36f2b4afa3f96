/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/main.c - the order of start and stop, top to bottom.
 *
 * Every rank runs main. Up to the end of rank_setup_open all do the same and reach the same
 * verdict; then rank 0 becomes the coordinator and the others obey its stream.
 *
 *     configuration ▶ MPI ▶ check model, handshake, load the shard ▶ rank 0: prelude, coda,
 *     tokenizer, listeners ▶ agree ▶ group, engine ▶ serve … drain ▶ engine ▶ group ▶ MPI
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include "cluster/group.h"
#include "cluster/handshake.h"
#include "cluster/world.h"
#include "daemon/app.h"
#include "daemon/config.h"
#include "daemon/coordinator.h"
#include "daemon/engine.h"
#include "daemon/notify.h"
#include "daemon/rank_setup.h"
#include "daemon/startup.h"

struct process {
    struct config config;
    struct config_report report;
    struct clus_world *world;
    struct rank_setup setup;
    struct coordinator coordinator;
    struct app *app;
};

/* Leave without MPI_Finalize: it would wait for ranks that are gone, or longer than mpirun does. */
_Noreturn static void leave_at_once(struct process *p, int status)
{
    clus_world_abandon(p->world);
    fflush(NULL);
    _exit(status);
}

/* ----------------------------------------------------------------------------------- rank 0 */

static int load_coordinator(struct process *p, struct ltd_err *err)
{
    notify_extend_timeout(LOADING_STEP_SECONDS);
    if (coordinator_load(&p->coordinator, &p->setup, &p->config, err) != 0)
        return -1;
    p->app = app_open(&p->config, &p->coordinator.served, err);
    return p->app ? 0 : -1;
}

/* Serve until told to stop; the group is stopped on return. */
static int run_group(struct process *p, struct clus_group *take_group, enum app_end *end,
                     struct ltd_err *err)
{
    struct engine_config config = coordinator_engine_config(&p->coordinator, &p->setup, take_group);
    struct served *served = &p->coordinator.served;
    bool is_attached = false;
    config.notify = app_notify;
    config.notify_arg = p->app;
    struct engine *engine = engine_start(&config, err);
    if (engine) {
        served->ranks = clus_group_info(take_group, &served->n_ranks);
        is_attached = app_attach(p->app, engine, err) == 0;
        if (is_attached)
            *end = app_run(p->app);
        engine_stop(engine);
    }
    app_close(p->app);
    p->app = NULL;
    engine_destroy(engine);
    struct ltd_err stop_err = {0};
    if (clus_group_stop(take_group, &stop_err) != 0)
        *end = APP_END_LOST;
    return is_attached ? 0 : -1;
}

static int run_coordinator(struct process *p, enum app_end *end, struct ltd_err *err)
{
    struct clus_group_config config = {
        .rank = rank_setup_config(&p->setup, &p->config),
        .record_path = *p->config.tick_record ? p->config.tick_record : NULL,
    };
    rank_setup_drop_checkpoint(&p->setup);
    struct clus_group *group = clus_group_start(&config, err);
    return group ? run_group(p, group, end, err) : -1;
}

/* ---------------------------------------------------------------------------------- workers */

static int run_worker(struct process *p, struct ltd_err *err)
{
    struct clus_rank_config config = rank_setup_config(&p->setup, &p->config);
    startup_ignore_signals();
    rank_setup_drop_checkpoint(&p->setup);
    if (clus_rank_run(&config, err) == 0)
        return 0;
    ltd_error("%s", err->msg); /* rank 0 may be gone, so each says it for itself */
    return -1;
}

/* ------------------------------------------------------------------------------- every rank */

/* From here on all ranks fail together, so MPI can be left in order. */
static int serve(struct process *p, const struct ltd_err *problem, enum app_end *end,
                 struct ltd_err *err)
{
    bool is_coordinator = clus_world_rank(p->world) == 0;
    struct ltd_err status = {0};
    if (is_coordinator)
        notify_extend_timeout(LOADING_STEP_SECONDS);
    if (rank_setup_open(&p->setup, p->world, &p->config, problem, err) != 0)
        return -1;
    if (is_coordinator)
        load_coordinator(p, &status);
    if (clus_agree(p->world, &status, err) != 0) {
        if (is_coordinator)
            *err = status; /* without the name of the rank: it is this one */
        return -1;
    }
    return is_coordinator ? run_coordinator(p, end, err) : run_worker(p, err);
}

static void print_failure(const struct process *p, const struct ltd_err *err)
{
    if (p->world && clus_world_rank(p->world) != 0)
        return; /* rank 0 says it */
    if (p->report.n_mistakes)
        fwrite(p->report.text.data, 1, p->report.text.len, stderr);
    else
        ltd_error("%s", err->msg);
}

static int run(struct process *p)
{
    struct ltd_err err = {0}, problem = {0};
    enum app_end end = APP_END_ORDER;
    if (p->report.n_mistakes)
        ltd_fail(&problem, LTD_E_INVALID, "configuration: %.*s",
                 (int)strcspn((const char *)p->report.text.data, "\n"),
                 (const char *)p->report.text.data);
    p->world = clus_world_open(&err);
    if (p->world && clus_world_size(p->world) > 1) {
        enum ltd_log_level level = LTD_LOG_INFO;
        ltd_log_level_parse(p->config.log_level, &level);
        ltd_log_init(level, clus_world_rank(p->world));
    }
    int rc = p->world ? serve(p, &problem, &end, &err) : -1;
    if (rc != 0)
        print_failure(p, &err);
    int status = rc == 0 ? EXIT_ORDER : startup_exit_status(err.code);
    if (end == APP_END_LOST)
        status = EXIT_LOST;
    app_close(p->app);
    if (end != APP_END_ORDER || status == EXIT_LOST)
        leave_at_once(p, status);
    coordinator_unload(&p->coordinator);
    rank_setup_close(&p->setup);
    clus_world_close(p->world);
    return status;
}

int main(int argc, char **argv)
{
    struct process p = {0};
    enum config_action action;
    enum ltd_log_level level = LTD_LOG_INFO;
    int status;
    startup_tame_libraries(argv);
    startup_set_signals();
    config_load(argc, argv, &p.config, &action, &p.report);
    if (!startup_answer(action, &p.config, &p.report, &status)) {
        ltd_log_level_parse(p.config.log_level, &level);
        ltd_log_init(level, -1);
        status = run(&p);
    }
    config_report_fini(&p.report);
    config_fini(&p.config);
    return status;
}
