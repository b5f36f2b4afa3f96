/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/store_index.h - all jobs of a log: found by id, by request id, by owner, by age, by end.
 *
 *     by_id, by_request, by_owner   hash tables; a job is in them from its reservation on
 *     by age                        list of accepted jobs in order of their ids: the order of pages
 *     by end                        list of finished jobs, earliest end first: the order of forgetting
 *
 *     reserve ──▶ accept ──▶ finish ──▶ remove        (remove is possible from any of them)
 *
 * A reserved job keeps its id and its (owner, request id) from being used again, and is not shown to
 * anybody. Both orders are kept also when the clock was set back between two jobs: an id or an end
 * that is not the newest walks from the newest end of its list to its place.
 *
 * Does not own entries: the log that embeds them does. Threads: loop thread.
 */
#ifndef LATENTD_DAEMON_STORE_INDEX_H
#define LATENTD_DAEMON_STORE_INDEX_H

#include "daemon/job.h"
#include "daemon/store.h"

struct store_owner;

/* First member of a log's own entry; a job's handle is its entry. */
struct store_entry {
    struct job job;    /* first: the fold of its accepted events */
    uint64_t bytes;    /* that it counts for; changed by store_index_set_bytes only */
    size_t n_pins;     /* written by the log */
    bool is_accepted;  /* its QUEUED is */
    bool is_finished;  /* it stands in the list by end */
    bool is_forgotten; /* removed; freed by the log when nobody holds it any more */
    struct store_owner *owner;
    struct store_entry *next_by_id, *next_by_request; /* hash chains */
    struct store_entry *older, *newer;
    struct store_entry *ended_before, *ended_after;
};

struct store_index {
    uint64_t salt; /* names are chosen by clients, who must not choose the chains */
    struct store_entry **by_id, **by_request; /* [n_buckets] */
    struct store_owner **by_owner;            /* [n_buckets] */
    size_t n_buckets;
    struct store_entry *oldest, *newest;
    struct store_entry *first_ended, *last_ended;
    size_t n_reserved; /* jobs in the tables */
    size_t n_accepted; /* of them */
    size_t n_finished; /* of them */
    uint64_t bytes, finished_bytes;
};

/* Errors: LTD_E_EXHAUSTED. */
int store_index_init(struct store_index *index, struct ltd_err *err);
/* The entries stay the log's. Works on what store_index_init left behind when it failed. */
void store_index_fini(struct store_index *index);

/*
 * store_index_reserve - put a job into the tables by job.id, job.owner and job.request_id.
 * Errors: LTD_E_EXHAUSTED; LTD_E_EXISTS when the id or the owner's request id is taken.
 */
int store_index_reserve(struct store_index *index, struct store_entry *entry, struct ltd_err *err);

/* Its QUEUED is accepted: it is found and listed from now on. */
void store_index_accept(struct store_index *index, struct store_entry *entry);

/* It has ended, at job.end_us. */
void store_index_finish(struct store_index *index, struct store_entry *entry);

void store_index_set_bytes(struct store_index *index, struct store_entry *entry, uint64_t bytes);

/* Out of every table and list. */
void store_index_remove(struct store_index *index, struct store_entry *entry);

/* Accepted or only reserved; NULL when there is none. The empty request id finds nothing. */
struct store_entry *store_index_find(const struct store_index *index, const char *id);
struct store_entry *store_index_find_request(const struct store_index *index, const char *owner,
                                             const char *request_id);

/* As store_list and store_usage (daemon/store.h). */
size_t store_index_list(const struct store_index *index, const struct store_query *query,
                        const struct job **out, size_t max, bool *more);
void store_index_usage(const struct store_index *index, const char *owner, struct store_usage *out);

/* Whether the retention wants this finished job, the oldest of those that are left, to go. */
bool store_index_is_due(const struct store_index *index, const struct store_entry *entry,
                        const struct store_retention *keep, int64_t now_us);

#endif
