/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/daemon/table_rig.h - the job table over a log that answers when the test lets it, and an
 * engine that does what the test says; one thread, no sockets.
 */
#ifndef LATENTD_TESTS_DAEMON_TABLE_RIG_H
#define LATENTD_TESTS_DAEMON_TABLE_RIG_H

#include "daemon/job_table.h"
#include "fake_engine.h"
#include "slow_store.h"

/* Works that may be unfinished. */
#define RIG_MAX_RUNNING 2
#define RIG_MAX_WAITING 10

struct rig {
    uv_loop_t loop;
    struct job_table_config config; /* changes count from the next rig_begin on */
    struct store *store;            /* a slow store */
    struct work_queue *queue;
    struct engine *engine;
    struct job_table *table;
};

struct rig *rig_open(void);
/* The same over a log that counts as durable. */
struct rig *rig_open_durable(void);
/* End the process, as far as the table can tell: jobs are parked, and the table, the queue and the
 * engine are new; only the log stays. rig_begin makes them, with rig->config. */
void rig_end(struct rig *rig);
void rig_begin(struct rig *rig);
/* What job_table_recover said. */
int rig_recover(struct rig *rig);
/* Ends what is left, and checks that nothing is lost or leaked. */
void rig_close(struct rig *rig);
/* The engine's events, and whatever the log has to keep for them. */
void rig_pump(struct rig *rig);

/* A prompt of 3 tokens, 10 to write; specs of two variants differ as bytes. */
struct job_spec *rig_make_spec(uint8_t variant);
/* As spec_decode would: 3 prompt tokens, the message as bytes; of everything else only max_tokens,
 * seed, priority, max_run_ms and whether the depth is a range. */
struct job_spec *rig_decode(void *arg, const Latentd__V1__JobSpec *message, struct ltd_err *err);

/* max_tokens of a spec that leaves it open; 10. */
extern int32_t rig_default_tokens;
extern int32_t rig_default_early_steps;

/* What somebody who asked was told. */
struct told {
    int n;
    struct ltd_err err;
    const struct job *job;
    char id[JOB_ID_CHARS + 1];
};

/* A job_answer_fn; `arg` is a struct told. */
void rig_tell(void *arg, const struct job *job, const struct ltd_err *err);

void rig_submit(struct rig *rig, struct job_spec *take_spec, const char *request_id,
                struct told *told);

struct witness {
    struct job_watcher watcher; /* first */
    const struct job *job;
    int n;
    uint64_t last_seq; /* of the job, when it was called last */
};

void rig_watch(struct rig *rig, const struct job *job, struct witness *w);

#endif
