/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/store_durable.h - the durable log on the loop thread: its jobs, and what of them is on its
 * way to the disk. Private to store_sqlite.c (the interface) and store_queue.c (the way).
 *
 *     events   1 ……… job.last_seq ……… proposed->last_seq
 *              └─ committed, told ─┘└─ waiting, nobody knows ─┘
 *
 * `job` is the fold of what was committed and is what everybody else sees. `proposed` is the fold
 * with everything that waits too: it decides at once whether a further event is possible. Events of
 * a job that is unfinished, or that somebody reads, are in `log`; those of others only in the file.
 *
 *     append ──▶ [queue] ──a batch──▶ writer thread ──▶ accepted, told, in order
 *                   ▲                      │ fails: stalled
 *                   └──── all but ─────────┘ QUEUED and PRIORITY, which are refused
 *
 * Threads: loop thread, but for what the writer reads of an operation (daemon/store_writer.h).
 * Rules: docs/store.md.
 */
#ifndef LATENTD_DAEMON_STORE_DURABLE_H
#define LATENTD_DAEMON_STORE_DURABLE_H

#include <uv.h>

#include "daemon/store.h"
#include "daemon/store_index.h"
#include "daemon/store_log.h"
#include "daemon/store_writer.h"

#define STORE_COMMIT_TIMES 256

struct kept;

/* An append, or a job on its way out. */
struct store_waiting {
    struct store_op op; /* first */
    struct kept *kept;  /* NULL: no job is meant */
    store_done_fn done;
    void *arg;
    struct ltd_err result; /* NONE: the refusal */
    bool is_embedded;      /* in its struct kept; not freed by itself */
};

struct kept {
    struct store_entry e; /* first: a handle is an entry */
    int64_t num;          /* its key in the file */
    struct job *proposed; /* owned; NULL once its end is committed */
    struct store_log log;
    bool has_log;                        /* every event of `proposed` is in it */
    uint64_t damaged_from;               /* first event that cannot be read; 0: none */
    const struct store_waiting *refusal; /* the first one that was not told yet */
    size_t n_waiting;                    /* operations that point here */
    bool is_void;                        /* its QUEUED was refused */
    bool is_purge_due;                   /* forgotten in the file, its events wait for a reader */
    struct store_waiting leave;          /* FORGET, then PURGE: forgetting needs no memory */
    struct kept *before, *after;         /* all that exist */
};

/* Operations through op.next. */
struct store_list {
    struct store_op *first, **last;
};

struct durable {
    struct store store; /* first */
    char *path;
    struct store_retention retention;
    int lock;
    struct store_file *reader; /* loop thread's own connection */
    struct store_writer *writer;
    uv_async_t wake;
    uv_timer_t retry;
    int n_handles; /* not closed yet; the last one frees the log */

    struct store_index index;
    struct kept *first_kept;
    int64_t next_num;

    struct store_list queue; /* in order of appending */
    struct store_list early; /* refused because of a stall: told ahead of what waits */
    struct store_list purges;
    struct store_waiting probe; /* what is tried during a stall when nothing else waits */
    struct store_batch batch;
    bool is_batch_out;
    bool is_stopped;              /* nothing is appended any more */
    bool is_stalled, is_hopeless; /* hopeless: trying again is of no use */
    struct ltd_err stall;
    uint64_t stalled_since_ns;

    uint64_t n_commits, n_events, n_waiting;
    double commit_ms[STORE_COMMIT_TIMES];
};

void store_list_init(struct store_list *list);
void store_list_add(struct store_list *list, struct store_op *op);
void store_list_join(struct store_list *list, struct store_list *take_other); /* other behind */

/* store_queue_add - put an operation at its place; it is committed, or told, from the loop. */
void store_queue_add(struct durable *d, struct store_waiting *take_w);

/* The events of a forgotten job can go: nobody reads them any more. */
void store_queue_purge(struct durable *d, struct store_waiting *take_w);

/* From the loop: the writer is back, or something was added. And when a stall should be tried. */
void store_queue_on_wake(uv_async_t *wake);
void store_queue_on_retry(uv_timer_t *timer);

/* store_queue_stop - commit what waits, for at most `max_ns`, and answer all of it. */
void store_queue_stop(struct durable *d, uint64_t max_ns);

/* Wait for the writer, and free what is left. */
void store_queue_fini(struct durable *d);

/* The refusal of a stalled log. Returns -1. */
int store_queue_refuse_stalled(const struct durable *d, struct ltd_err *err);

/*
 * durable_load - every job of the file into the index, damage dealt with; daemon/store_load.c.
 * Errors: LTD_E_CORRUPT, LTD_E_UNAVAILABLE, LTD_E_EXHAUSTED.
 */
int durable_load(struct durable *d, struct store_file *file, struct ltd_err *err);

/* A job that is in no table yet. NULL: no memory. */
struct kept *durable_make_kept(struct durable *d, const char *id, int64_t num);

/* An operation with room for `len` bytes of data. NULL: no memory. */
struct store_waiting *durable_make_waiting(size_t len);

/* An event that was just accepted; daemon/store_sqlite.c. */
void durable_accept(struct durable *d, struct store_waiting *w);

/* Free the job if it is forgotten and nobody holds it. */
void durable_release(struct durable *d, struct kept *k);

/* Its QUEUED is refused: the id and the request id are free again. */
void durable_void(struct durable *d, struct kept *k);

/* Only events up to `last_seq` were ever proposed. */
void durable_take_back(struct kept *k, uint64_t last_seq);

#endif
