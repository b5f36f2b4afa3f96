/* SPDX-License-Identifier: Apache-2.0 */
/* tests/daemon/table_rig.c - see tests/daemon/table_rig.h. */
#include "table_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

int32_t rig_default_tokens = 10;
int32_t rig_default_early_steps;

void rig_begin(struct rig *rig)
{
    struct ltd_err err = {0};
    struct work_limits limits = {.max_running = RIG_MAX_RUNNING, .max_waiting = RIG_MAX_WAITING};
    rig->queue = work_queue_create(&rig->loop, &limits, &err);
    rig->config.queue = rig->queue;
    rig->table = job_table_create(&rig->config, &err);
    rig->engine = fake_engine_create(work_notify, rig->queue);
    work_queue_attach(rig->queue, rig->engine);
    job_table_attach(rig->table, rig->engine);
}

static struct rig *open_rig(bool is_durable)
{
    struct rig *rig = calloc(1, sizeof *rig);
    assert_non_null(rig);
    assert_int_equal(uv_loop_init(&rig->loop), 0);
    rig->store = slow_store_create();
    rig->config = (struct job_table_config){.store = rig->store,
                                            .tier = "ref",
                                            .numerics = "here",
                                            .early_format = "int8",
                                            .is_durable = is_durable};
    rig_begin(rig);
    return rig;
}

struct rig *rig_open(void)
{
    return open_rig(false);
}

struct rig *rig_open_durable(void)
{
    return open_rig(true);
}

static void end_process(struct rig *rig)
{
    assert_int_equal(work_queue_n_unfinished(rig->queue), 0);
    job_table_destroy(rig->table);
    work_queue_close(rig->queue);
    uv_run(&rig->loop, UV_RUN_DEFAULT);
    fake_engine_destroy(rig->engine);
}

void rig_end(struct rig *rig)
{
    job_table_close(rig->table);
    job_table_park(rig->table);
    rig_pump(rig);
    assert_int_equal(job_table_n_live(rig->table), 0);
    end_process(rig);
}

int rig_recover(struct rig *rig)
{
    struct ltd_err err = {0};
    int n = job_table_recover(rig->table, rig_decode, NULL, &err);
    slow_store_release_all(rig->store);
    return n;
}

void rig_pump(struct rig *rig)
{
    work_queue_pump(rig->queue);
    slow_store_release_all(rig->store);
}

void rig_close(struct rig *rig)
{
    slow_store_release_all(rig->store);
    job_table_stop_all(rig->table);
    rig_pump(rig);
    end_process(rig);
    assert_int_equal(uv_loop_close(&rig->loop), 0);
    store_destroy(rig->store);
    free(rig);
}

static struct job_spec *make_spec(size_t wire_len)
{
    struct job_spec *spec = calloc(1, sizeof *spec);
    assert_non_null(spec);
    spec->prompt = calloc(3, sizeof *spec->prompt);
    spec->wire = malloc(wire_len);
    assert_true(spec->prompt && spec->wire);
    spec->n_prompt = 3;
    spec->max_tokens = 10;
    spec->n_logprobs = -1;
    spec->priority = SPEC_PRIORITY_DEFAULT;
    spec->wire_len = wire_len;
    return spec;
}

struct job_spec *rig_make_spec(uint8_t variant)
{
    struct job_spec *spec = make_spec(1);
    spec->wire[0] = variant;
    return spec;
}

struct job_spec *rig_decode(void *arg, const Latentd__V1__JobSpec *message, struct ltd_err *err)
{
    (void)arg;
    (void)err;
    struct job_spec *spec = make_spec(latentd__v1__job_spec__get_packed_size(message));
    latentd__v1__job_spec__pack(message, spec->wire);
    spec->max_tokens = message->max_tokens ? (int32_t)message->max_tokens : rig_default_tokens;
    spec->seed = message->sampling ? message->sampling->seed : 0;
    if (message->priority_set_case)
        spec->priority = (int32_t)message->priority;
    spec->depth.is_range =
        message->depth && message->depth->mode_case == LATENTD__V1__DEPTH__MODE_RANGE;
    spec->max_run_ms = message->max_run_ms;
    spec->depth.early_steps = rig_default_early_steps;
    if (message->depth && message->depth->early_steps_set_case)
        spec->depth.early_steps = (int32_t)message->depth->early_steps;
    return spec;
}

void rig_tell(void *arg, const struct job *job, const struct ltd_err *err)
{
    struct told *told = arg;
    told->n++;
    told->err = *err;
    told->job = job;
    if (job)
        memcpy(told->id, job->id, sizeof told->id);
}

void rig_submit(struct rig *rig, struct job_spec *take_spec, const char *request_id,
                struct told *told)
{
    *told = (struct told){0};
    job_table_submit(rig->table, take_spec, &(struct job_caller){0}, request_id, rig_tell, told);
}

static void on_change(struct job_watcher *watcher)
{
    struct witness *w = (struct witness *)watcher;
    w->n++;
    w->last_seq = w->job->last_seq;
}

void rig_watch(struct rig *rig, const struct job *job, struct witness *w)
{
    *w = (struct witness){.watcher.on_change = on_change, .job = job};
    job_table_watch(rig->table, job, &w->watcher);
}
