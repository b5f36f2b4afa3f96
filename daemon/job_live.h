/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/job_live.h - the inside of the job table: one live job, and what its files share.
 *
 *     job_table.c    requests: submit, continue, priority, cancel, delete, watch
 *     job_log.c      from the engine's events to the log, and the end of a job
 *     job_restart.c  jobs of an earlier process, and leaving jobs to a later one
 *     job_live.c     a live job itself: who waits for it, when its work may begin
 *
 *     QUEUEING ──kept──▶ WAITING ──room──▶ WORKING ──FINISHED of the engine──▶ ENDING ──kept──▶ gone
 *         └──refused──▶ gone  └── cancel ──────────────────────────────────────▲
 *                             └── stop of a durable service ──▶ PARKED ◀── WORKING
 *
 * A job waits when its owner has as many at work as he may, when there is no room (after a restart
 * with smaller limits), or when it needs numerics that this process has not. PARKED: the log stays
 * as it is and a later process goes on; the record goes when the last append was answered.
 *
 * Threads: loop thread.
 */
#ifndef LATENTD_DAEMON_JOB_LIVE_H
#define LATENTD_DAEMON_JOB_LIVE_H

#include "daemon/job_table.h"

enum live_stage {
    LIVE_QUEUEING, /* QUEUED is on its way into the log */
    LIVE_WAITING,  /* in the log, not with the engine */
    LIVE_WORKING,  /* with the engine */
    LIVE_ENDING,   /* FINISHED is on its way into the log */
    LIVE_PARKED,   /* no work, and no end: for another process */
};

/* Somebody who wants to be told that the job is in the log, or that it has finished. */
struct waiter {
    job_answer_fn answer;
    void *arg;
    bool for_finish;
    struct waiter *next;
};

/* The last token of the log, which the engine chooses again after a restart. */
struct live_expected {
    bool is_due;
    int32_t id, steps;
    char *text; /* owned */
    size_t text_len;
};

struct live {
    struct work work; /* first: events come to the work */
    struct job_table *table;
    enum live_stage stage;
    struct job_spec *spec;  /* owned; NULL: it only waits for its end to be recorded */
    const struct job *job;  /* pinned; NULL until QUEUED was accepted */
    const struct job *from; /* pinned until its tokens are copied; NULL: nothing to copy */
    char id[JOB_ID_CHARS + 1];
    char request_id[JOB_REQUEST_ID_CHARS + 1];
    char owner[JOB_OWNER_BYTES];
    bool is_attached;      /* ends with its call */
    bool is_foreign;       /* needs other numerics: waits whatever the room */
    bool counts_as_queued; /* accepted and not started */
    bool is_stopped;       /* by the drain: a cancel means UNAVAILABLE, or PARKED */
    bool is_stop_due;      /* cancelled while QUEUED was answered: it ends as `stop_how` says */
    enum engine_finish stop_how;
    bool is_failed;        /* its log or its answer is wrong: the job ends with `failure` */
    bool is_deleted;       /* forget when finished */
    bool is_copying;       /* watchers are told when all known tokens are there */
    bool is_last_try;
    uint32_t n_priorities; /* changes that the log has not accepted yet */
    uint32_t n_appends;    /* events that the log has not answered yet */
    struct ltd_err failure;
    struct live_expected expected;
    struct job_event end; /* FINISHED, kept for a second try */
    char *tail;           /* its text, owned; only when a change of priority may take it along */
    struct waiter *waiters;
    struct job_watcher *watchers;
    struct wire_thinking thinking;
    bool has_thinking;
    struct live *next, *prev; /* of all live jobs, newest first */
};

struct job_table {
    struct job_table_config config;
    struct engine *engine; /* borrowed */
    struct job_id_maker ids;
    struct live *first, *last;
    uint32_t n_live, n_queued, n_waiting;
    uint64_t n_finished, n_ended[JOB_N_STATES];
    bool is_closed;
    bool is_placing;
    bool is_stopping; /* nothing that waits begins any more */
    bool is_parking; /* of a durable log: what the engine has not finished is left to another */
};

/* ---- job_live.c ---- */

/*
 * live_make - a live job in stage QUEUEING. The spec (may be NULL) is taken on success only.
 * id: NULL makes a new one. NULL without memory.
 */
struct live *live_make(struct job_table *table, struct job_spec *take_spec, const char *id);
void live_destroy(struct live *live);
void live_set_stage(struct live *live, enum live_stage stage);

/* live_append - store_append, counted: a record is not freed before its appends are answered. */
void live_append(struct live *live, struct job_event *event, store_done_fn done, void *arg);
/* First thing in every completion. True: the job is parked, the record may be gone, do nothing. */
bool live_append_done(struct live *live);

int live_add_waiter(struct live *live, bool for_finish, job_answer_fn answer, void *arg);
bool live_has_finish_waiter(const struct live *live);
/* Tell those who wait, all of them when the job has finished. */
void live_answer_waiters(struct live *live, bool finished, const struct job *job,
                         const struct ltd_err *err);

void live_tell_watchers(struct job_watcher *first);
/* The log will not grow any more. The chain stays linked for one last telling. */
struct job_watcher *live_detach_watchers(struct live *live);

void live_let_go_of_source(struct live *live);

/* live_place - a job that is in the log begins its work, or waits until it may. */
void live_place(struct live *live);
/* live_place_waiting - those that wait, oldest first, as far as there is room now. */
void live_place_waiting(struct job_table *table);

/* live_stop_work - end what the engine does for it; what waits ends at once. The end comes to the log,
 * maybe before this returns. */
void live_stop_work(struct live *live, enum engine_finish how);

/* ---- job_log.c ---- */

/* A work_event_fn for works that are live jobs. */
void live_on_event(struct work *work, const struct engine_event *event);
/* live_end - the job ends without the engine: cancelled, or with an error. */
void live_end(struct live *live, enum engine_finish how, const struct ltd_err *why);

/* ---- job_restart.c ---- */

/* The process's numerics, and what its defaults gave a job that left these open. */
void live_name_numerics(const struct job_table *table, const struct job_spec *spec,
                        char text[JOB_NUMERICS_BYTES]);
/* What is left of the time that the job was given, when its work begins. */
void live_count_time(struct live *live);
/* LTD_E_UNAVAILABLE: the job is unfinished, and nothing can be done about it here any more. */
void live_refuse_parked(const struct job *job, struct ltd_err *err);
/* Whether an end that the engine tells is none, because another process will go on. */
bool live_is_to_be_parked(const struct live *live, const struct engine_event *end);
void live_park(struct live *live);
void live_free_expected(struct live *live);

#endif
