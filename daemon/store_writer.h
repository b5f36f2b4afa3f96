/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/store_writer.h - the thread that commits.
 *
 *     loop thread ──batch──▶ [ one transaction ] ──batch, with its result──▶ loop thread
 *
 * The loop gives away one batch at a time, with everything that waits; what is appended meanwhile
 * waits on the loop's side and is the next batch. So commits are grouped by themselves, exactly as
 * much as the disk is slow, and nothing but a batch is ever seen by both threads, first by one, then
 * by the other. When a commit fails the whole batch comes back as it went, nothing of it in the file.
 *
 * Does not: decide what to do about a failure, know jobs' states, know the loop.
 */
#ifndef LATENTD_DAEMON_STORE_WRITER_H
#define LATENTD_DAEMON_STORE_WRITER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/mailbox.h"
#include "daemon/job.h"
#include "daemon/store_file.h"

enum store_op_kind {
    STORE_OP_EVENT,  /* one event; its job's row too with QUEUED and FINISHED */
    STORE_OP_FORGET, /* the job goes */
    STORE_OP_PURGE,  /* some of a forgotten job's events go */
    STORE_OP_NONE,   /* nothing to write: an answer that keeps its turn */
    STORE_OP_PROBE,  /* changes nothing, and shows whether the file can be written */
};

struct store_op {
    enum store_op_kind kind;
    int64_t num; /* the job's */
    struct store_op *next;
    /* EVENT */
    uint64_t seq;
    enum job_event_kind event;
    const struct job *job; /* id, owner and request id of it are read; they never change */
    int64_t end_us;        /* FINISHED */
    uint64_t bytes;        /* FINISHED: that all rows of the job take */
    uint8_t *data;         /* [len] stored form */
    size_t len;
    /* PURGE */
    bool is_purged; /* out: nothing is left of it */
};

struct store_batch {
    struct ltd_mail mail; /* first */
    struct store_op *first;
    struct ltd_err result;
    double commit_ms;
    bool is_stop; /* the thread ends; it has no operations */
};

struct store_writer;

/*
 * store_writer_start - takes the file, also when it fails.
 *
 * notify  called by the thread when a batch is back
 * Errors: LTD_E_EXHAUSTED.
 */
struct store_writer *store_writer_start(struct store_file *take_file, ltd_mailbox_notify_fn notify,
                                        void *notify_arg, struct ltd_err *err);

/* The batch is the thread's until store_writer_take gives it back. */
void store_writer_give(struct store_writer *writer, struct store_batch *take_batch);

/* The batch that is back, or NULL; waits for it until `deadline_ns` (0: not at all). */
struct store_batch *store_writer_take(struct store_writer *writer, uint64_t deadline_ns);

/* No batch may be out. Closes the file. */
void store_writer_stop(struct store_writer *writer);

#endif
