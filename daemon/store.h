/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/store.h - the log of all jobs' events: append, read, find, list, forget.
 *
 *     append(event) ──▶ [ checked by job_apply, kept ] ──▶ done(0)       now it may be told
 *     read(job, after_seq) ──▶ event n+1, n+2, …                         the same for ever
 *
 * An interface, because a durable log can stand behind it: an append is accepted when `done` is
 * called, which may happen inside store_append (the log in memory does) or later on the loop
 * thread (a log that commits to disk). Callers keep silent about an event until then.
 *
 * `const struct job *` is the handle of a job; it is the fold of its accepted events, lives as long
 * as the job is not forgotten, and longer while it is pinned.
 *
 * Does not: run jobs, know watchers, know protobuf.
 * Threads: loop thread.
 * Rules: docs/job-events.md.
 */
#ifndef LATENTD_DAEMON_STORE_H
#define LATENTD_DAEMON_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/err.h"
#include "daemon/job.h"

/* A job's log never grows beyond this; admission refuses what could (job_log_bytes_bound). */
#define STORE_JOB_BYTES_MAX ((size_t)64 << 20)

struct store;

/* `result` is LTD_OK when the event was accepted. Comes exactly once. */
typedef void (*store_done_fn)(void *arg, const struct ltd_err *result);

/* Return false to stop reading. The event and what it points to live until the visitor returns; a
 * visitor must not append or forget. */
typedef bool (*store_visit_fn)(void *arg, const struct job_event *event);

struct store_query {
    uint32_t states;       /* bit 1 << enum job_state for each wanted; 0 = all */
    const char *label;     /* exact; "" or NULL = all */
    const char *before_id; /* only jobs made before this one; "" or NULL = from the newest */
    const char *owner;     /* exact; NULL = all */
    bool or_unowned;       /* with owner: and those that are nobody's */
    const char *client;    /* exact; "" or NULL = all */
    int64_t created_after_us, created_before_us; /* from the first on, before the second; 0 = all */
};

/* Whether a job is one of those asked for; the same rules for every implementation. */
static inline bool store_query_matches(const struct store_query *query, const struct job *job)
{
    if (query->states && !(query->states & 1u << job->state))
        return false;
    if (query->label && *query->label && strcmp(query->label, job->label) != 0)
        return false;
    if (query->owner && strcmp(query->owner, job->owner) != 0 &&
        !(query->or_unowned && !*job->owner))
        return false;
    if (query->client && *query->client && strcmp(query->client, job->client) != 0)
        return false;
    if (job->create_us < query->created_after_us)
        return false;
    if (query->created_before_us && job->create_us >= query->created_before_us)
        return false;
    return !query->before_id || !*query->before_id || strcmp(job->id, query->before_id) < 0;
}

/* What the jobs of one owner hold. */
struct store_usage {
    uint64_t n_jobs;
    uint64_t n_unfinished;
    uint64_t bytes; /* of stored events */
};

/* For readiness, metrics and logs. */
struct store_health {
    bool is_durable;  /* survives the process */
    bool is_stalled;  /* commits fail; what was appended is kept in memory and tried again */
    char reason[240]; /* of the stall, or "" */
    uint64_t n_jobs;
    uint64_t bytes;       /* on disk, or in memory */
    uint64_t n_commits;   /* since start */
    uint64_t n_events;    /* accepted since start */
    uint64_t n_waiting;   /* appended, not yet accepted */
    double commit_ms_max; /* of the last 256 commits */
};

/* Finished jobs beyond any of these are forgotten, oldest end first. */
struct store_retention {
    size_t max_jobs;
    int64_t max_age_us;
    size_t max_bytes;
};

struct store_ops {
    void (*append)(struct store *store, const char *job_id, struct job_event *event,
                   store_done_fn done, void *arg);
    const struct job *(*find)(struct store *store, const char *job_id);
    const struct job *(*find_request)(struct store *store, const char *owner,
                                      const char *request_id);
    int (*read)(struct store *store, const struct job *job, uint64_t after_seq,
                store_visit_fn visit, void *arg, struct ltd_err *err);
    size_t (*list)(struct store *store, const struct store_query *query, const struct job **out,
                   size_t max, bool *more);
    void (*pin)(struct store *store, const struct job *job);
    void (*unpin)(struct store *store, const struct job *job);
    void (*forget)(struct store *store, const struct job *job, store_done_fn done, void *arg);
    size_t (*expire)(struct store *store, int64_t now_us);
    void (*usage)(struct store *store, const char *owner, struct store_usage *out);
    void (*health)(struct store *store, struct store_health *out);
    void (*stop)(struct store *store);
    void (*destroy)(struct store *store);
};

/* First member of every implementation. */
struct store {
    const struct store_ops *ops;
};

/*
 * store_append - add the next event of a job; a QUEUED event makes the job.
 *
 * event  borrowed for the call; its `seq` is set to the number it gets
 * done   called with LTD_OK, or LTD_E_CORRUPT (the job's state forbids the event), LTD_E_NOT_FOUND
 *        (no such job), LTD_E_EXISTS (QUEUED for an id or request id that is taken),
 *        LTD_E_EXHAUSTED (memory), LTD_E_UNAVAILABLE with reason STORE_STALLED (QUEUED or PRIORITY
 *        while nothing can be written; every other event waits until it can)
 *
 * Appends of one job are answered in their order. When one is refused, those of the same job that
 * wait behind it are refused too; what is appended after the refusal was told stands on its own.
 * Only what a stalled log refuses at once is told ahead of what waits: it was never part of the log.
 */
static inline void store_append(struct store *store, const char *job_id, struct job_event *event,
                                store_done_fn done, void *arg)
{
    store->ops->append(store, job_id, event, done, arg);
}

/* NULL when there is none, or no more. */
static inline const struct job *store_find(struct store *store, const char *job_id)
{
    return store->ops->find(store, job_id);
}

/* The job that this owner made with this request id; "" finds nothing. */
static inline const struct job *store_find_request(struct store *store, const char *owner,
                                                   const char *request_id)
{
    return store->ops->find_request(store, owner, request_id);
}

/*
 * store_read - hand events after_seq + 1, … to `visit`, oldest first.
 * Cost: nothing but the events visited. Errors: LTD_E_CORRUPT when stored bytes make no sense.
 */
static inline int store_read(struct store *store, const struct job *job, uint64_t after_seq,
                             store_visit_fn visit, void *arg, struct ltd_err *err)
{
    return store->ops->read(store, job, after_seq, visit, arg, err);
}

/* store_list - at most `max` jobs that match, newest first; *more tells that others follow. */
static inline size_t store_list(struct store *store, const struct store_query *query,
                                const struct job **out, size_t max, bool *more)
{
    return store->ops->list(store, query, out, max, more);
}

/* A pinned job can be read and its handle stays good, also when it is forgotten meanwhile. */
static inline void store_pin(struct store *store, const struct job *job)
{
    store->ops->pin(store, job);
}

static inline void store_unpin(struct store *store, const struct job *job)
{
    store->ops->unpin(store, job);
}

/*
 * store_forget - the job's id and request id are free again, at once. The job must be finished.
 *
 * done  called when it will not come back, also after a kill: with LTD_OK, or LTD_E_UNAVAILABLE
 *       when the log was stopped first and does not know. NULL: nobody waits for that
 */
static inline void store_forget(struct store *store, const struct job *job, store_done_fn done,
                                void *arg)
{
    store->ops->forget(store, job, done, arg);
}

/* store_expire - apply the retention; returns how many jobs were forgotten. */
static inline size_t store_expire(struct store *store, int64_t now_us)
{
    return store->ops->expire(store, now_us);
}

/* store_usage - what the jobs of `owner` hold together; cheap enough for every Submit. */
static inline void store_usage(struct store *store, const char *owner, struct store_usage *out)
{
    store->ops->usage(store, owner, out);
}

static inline void store_health(struct store *store, struct store_health *out)
{
    store->ops->health(store, out);
}

/*
 * store_stop - commit what waits, for two seconds at most; what could not be committed is answered
 * LTD_E_UNAVAILABLE. Afterwards nothing is waiting, and an append is refused at once.
 */
static inline void store_stop(struct store *store)
{
    if (store)
        store->ops->stop(store);
}

/*
 * store_destroy - stops the log if that was not done.
 *
 * A durable log closes handles of its loop, which must turn once more before it is closed.
 */
static inline void store_destroy(struct store *store)
{
    if (store)
        store->ops->destroy(store);
}

/*
 * store_memory_create - a log that lives in memory and ends with the process.
 * Errors: LTD_E_EXHAUSTED. Returns owned.
 */
struct store *store_memory_create(const struct store_retention *retention, struct ltd_err *err);

struct uv_loop_s;

struct store_sqlite_config {
    const char *path; /* of the database; "-wal", "-shm" and ".lock" files stand beside it */
    struct store_retention retention;
    struct uv_loop_s *loop; /* completions come from it */
};

/*
 * store_sqlite_open - a log that survives the process: one SQLite file, one thread that commits.
 *
 * An append is accepted when the transaction that holds it is on disk; appends that wait together
 * are committed together. Unfinished jobs of an earlier process are found with store_list. Reading
 * never waits for a commit.
 *
 * Errors: LTD_E_EXISTS (another daemon has it open), LTD_E_CORRUPT (no such database, damaged),
 *         LTD_E_PRECONDITION (made by a newer build), LTD_E_INVALID (cannot be made or written).
 * Returns owned. Rules: docs/store.md.
 */
struct store *store_sqlite_open(const struct store_sqlite_config *config, struct ltd_err *err);

#endif
