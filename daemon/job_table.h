/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/job_table.h - the jobs that are not finished, and everybody who waits for one of them.
 *
 *     submit ──▶ QUEUED into the log ──accepted──▶ work queue ──▶ engine
 *                                                     events ──▶ the log ──accepted──▶ watchers
 *     continue ──▶ a submit whose spec is made of an older job's; when it starts, that one's tokens
 *                  are copied into its log, and the engine's follow
 *     priority ──▶ PRIORITY into the log ──accepted──▶ engine, answered
 *     cancel, delete ──▶ engine ──▶ … FINISHED into the log ──accepted──▶ answered
 *
 * What is true of a job stands in the event log (daemon/store.h); here is only what ends with the
 * process or with the job: its spec, its work, who watches it, who waits for an answer. A job is
 * live from its submission until its FINISHED event is accepted; every other job is just a handle
 * of the store.
 *
 * Invariant: nobody hears of an event that the log has not accepted.
 * Does not: read requests or write answers (daemon/service_*.c).
 * Threads: loop thread.
 * Rules: docs/job-events.md.
 */
#ifndef LATENTD_DAEMON_JOB_TABLE_H
#define LATENTD_DAEMON_JOB_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "daemon/continuation.h"
#include "daemon/quota.h"
#include "daemon/store.h"
#include "daemon/wire.h"
#include "daemon/work.h"

struct job_table;

struct job_table_config {
    struct store *store;      /* borrowed */
    struct work_queue *queue; /* borrowed */
    const char *tier;         /* borrowed: recorded with each job */
    const char *numerics;     /* borrowed: served.numerics, recorded with each job */
    const char *early_format; /* borrowed: served.early_format, recorded with jobs of early steps */
    bool fails_foreign;       /* jobs of other numerics fail at restart, instead of waiting */
    bool is_durable;          /* the log outlives the process: what stops may go on later */
    /* All may be NULL. May this owner have one more job, LTD_E_EXHAUSTED otherwise; how many of an
     * owner's jobs may be at work at once, 0 = any number; and each job when its end is in the
     * log. */
    int (*may_submit)(void *arg, const char *owner, const struct quota_use *use,
                      struct ltd_err *err); /* `use` without stored_bytes */
    uint32_t (*max_running)(void *arg, const char *owner);
    void (*on_finished)(void *arg, const struct job *job);
    void *hook_arg;
    size_t token_text_bytes_max; /* text of one token, at most; bounds a job's log */
};

/* Errors: LTD_E_EXHAUSTED. Returns owned. */
struct job_table *job_table_create(const struct job_table_config *config, struct ltd_err *err);
/* Once, before the first submit; the engine is asked whether a job fits its pages, and its time.
 * Borrowed. */
void job_table_attach(struct job_table *table, struct engine *engine);
/* No job may be live. NULL is fine. */
void job_table_destroy(struct job_table *table);

/*
 * The answer to a request about a job: `job` and an `err` of LTD_OK, or NULL and the reason. Comes
 * exactly once, before or after the request returns. The handle is good during the call; after
 * job_table_delete it is NULL also on success.
 */
typedef void (*job_answer_fn)(void *arg, const struct job *job, const struct ltd_err *err);

/* Who asks. Zeros: nobody in particular, and the job outlives the call. */
struct job_caller {
    const char *owner; /* rpc_identity.name; NULL = "" */
    bool is_attached;  /* the job ends with the call: Generate without keep_on_disconnect */
};

/*
 * job_table_may_submit - ask config.may_submit whether this owner may have one more, with what he
 * has here now. job_table_submit does it by itself; this is for work of his that is no job.
 * Errors: those of may_submit.
 */
int job_table_may_submit(const struct job_table *table, const char *owner, struct ltd_err *err);

/*
 * job_table_submit - accept a job, or join the one that was made with the same request id.
 *
 * take_spec   owned by the table from now on, also on failure; `key` is set here, `client` and
 *             `priority` are recorded as they are
 * caller      borrowed for the call, like request_id
 * request_id  "" for none; checked by the caller
 * answer      when the job is in the log
 *
 * Errors (in the answer): LTD_E_EXISTS (request id used with another spec), LTD_E_UNAVAILABLE
 * (draining), LTD_E_INVALID (could never fit the pages), LTD_E_EXHAUSTED (memory, log; with a hint
 * when to try again: queue full, or a fixed depth whose answer cannot come within
 * budget.total_ms).
 */
void job_table_submit(struct job_table *table, struct job_spec *take_spec,
                      const struct job_caller *caller, const char *request_id, job_answer_fn answer,
                      void *arg);

/* A wire spec as a job: spec_decode, and the client's account. Called before the request
 * returns. */
typedef struct job_spec *(*job_decode_fn)(void *arg, const Latentd__V1__JobSpec *message,
                                          struct ltd_err *err);

struct job_continue {
    const struct job *job; /* the old one */
    struct continuation_ask ask;
    const struct job_caller *caller;
    const char *request_id; /* "" for none; checked by the caller */
    job_decode_fn decode;   /* returns owned, or NULL and the reason */
    void *decode_arg;
};

/*
 * job_table_continue - a new job that goes on where a finished one stopped: what would have been
 * asked at once (daemon/continuation.h), with the tokens known that stay as they are.
 *
 * how     borrowed for the call; the old job may be deleted as soon as this returns
 * answer  the new job, when it is in the log
 *
 * Errors (in the answer): LTD_E_PRECONDITION (the old job cannot be gone on with so), what `decode`
 * refuses, LTD_E_CORRUPT (the old log cannot be read), and those of job_table_submit. The request
 * id's earlier use must have been the same continuation.
 */
void job_table_continue(struct job_table *table, const struct job_continue *how,
                        job_answer_fn answer, void *arg);

struct job_continue_again {
    const char *old_id; /* of a job that is not there any more */
    struct continuation_ask ask;
    const char *owner; /* whose request id it is */
    const char *request_id;
};

/*
 * job_table_continue_again - the answer of an earlier job_table_continue, for who repeats it after
 * the old job was forgotten.
 *
 * Errors (in the answer): LTD_E_NOT_FOUND (the request id is none that continued this job),
 * LTD_E_EXISTS (it was another continuation of it), LTD_E_CORRUPT, LTD_E_EXHAUSTED.
 */
void job_table_continue_again(struct job_table *table, const struct job_continue_again *how,
                              job_answer_fn answer, void *arg);

/*
 * job_table_set_priority - recorded, then told to the engine; 0 .. SPEC_PRIORITY_MAX, checked by
 * the caller. The priority that it has already is answered at once.
 * Errors (in the answer): LTD_E_PRECONDITION (finished), LTD_E_EXHAUSTED (memory, log, changed
 * JOB_PRIORITY_CHANGES_MAX times).
 */
void job_table_set_priority(struct job_table *table, const struct job *job, uint32_t priority,
                            job_answer_fn answer, void *arg);

/*
 * job_table_cancel - end a job; answered when it has finished, at once when it had before.
 * finish: CANCELLED or DEADLINE.
 */
void job_table_cancel(struct job_table *table, const struct job *job, enum engine_finish finish,
                      job_answer_fn answer, void *arg);

/* job_table_delete - as cancel; then the job is forgotten, and that is in the log before the
 * answer. LTD_E_NOT_FOUND when somebody else's delete was faster. */
void job_table_delete(struct job_table *table, const struct job *job, job_answer_fn answer,
                      void *arg);

/* ------------------------------------------------------------------------------- watchers */

struct live;

/* Embedded in whoever follows a job. */
struct job_watcher {
    /* The log has new events, or the thinking is new. Must not add or remove watchers. */
    void (*on_change)(struct job_watcher *watcher);
    struct live *live; /* NULL: the job is finished, the log will not grow here */
    bool is_parked;    /* … because another process will go on with the job */
    struct job_watcher *next, *prev;
};

/* job_table_watch - hear of changes until the job is finished. The caller has set on_change. */
void job_table_watch(struct job_table *table, const struct job *job, struct job_watcher *watcher);
/* Safe at any time, also twice. */
void job_table_unwatch(struct job_watcher *watcher);

/* What the job is thinking about since its last event: NULL when nothing is known. */
const struct wire_thinking *job_watcher_thinking(const struct job_watcher *watcher);

/* ------------------------------------------------------------------------ restart and drain */

/*
 * job_table_recover - give the unfinished jobs of an earlier process back to the engine.
 *
 * Once, before the first submit and after job_table_attach. Each is decoded from its stored spec,
 * and goes on behind its last token; one that was attached to a call is cancelled; one of other
 * numerics waits for a process that has them, or fails (fails_foreign). Returns how many go on.
 * Errors: LTD_E_EXHAUSTED. A job whose spec is not taken any more fails by itself.
 */
int job_table_recover(struct job_table *table, job_decode_fn decode, void *decode_arg,
                      struct ltd_err *err);

/*
 * job_table_park - for a durable log: stop the work on all jobs that do not end with their call,
 * without ending them: what is in the log stays, and the next process goes on from there. Watchers
 * are told with is_parked; who waits for an answer gets LTD_E_UNAVAILABLE. Jobs that are being
 * cancelled end.
 */
void job_table_park(struct job_table *table);

/* job_table_limits_changed - what config.max_running answers has changed: begin what may begin
 * now. */
void job_table_limits_changed(struct job_table *table);

/*
 * job_table_close - from now on submissions are refused with LTD_E_UNAVAILABLE. Jobs that are held
 * (queued, priority 0) fail with it at once: nobody can reach a service that drains to let them go.
 */
void job_table_close(struct job_table *table);
bool job_table_is_closed(const struct job_table *table);

/* End all work of the queue. Jobs that this ends fail with LTD_E_UNAVAILABLE. */
void job_table_stop_all(struct job_table *table);

/* Jobs that are live, of those that are queued, and of those that finished since start. */
uint32_t job_table_n_live(const struct job_table *table);
uint32_t job_table_n_queued(const struct job_table *table);
uint64_t job_table_n_finished(const struct job_table *table);
/* Of the finished ones, those that ended in this state. */
uint64_t job_table_n_ended(const struct job_table *table, enum job_state state);

#endif
