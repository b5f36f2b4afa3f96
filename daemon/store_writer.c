/* SPDX-License-Identifier: Apache-2.0 */
/* daemon/store_writer.c - see daemon/store_writer.h. */
#include "daemon/store_writer.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

/* Deleting so many small rows takes about 2 ms: an append that comes meanwhile waits no longer. */
#define PURGE_ROWS 1000

struct store_writer {
    struct store_file *file;
    pthread_t thread;
    struct ltd_mailbox inbox, outbox;
};

static int write_event(struct store_file *file, const struct store_op *op, struct ltd_err *err)
{
    struct store_event_row row = {
        .num = op->num,
        .seq = op->seq,
        .data = op->data,
        .len = op->len,
        .crc = store_event_crc(op->job->id, op->seq, op->data, op->len),
    };
    if (op->event == JOB_EV_QUEUED && store_file_put_job(file, op->num, op->job, err) != 0)
        return -1;
    if (store_file_put_event(file, &row, err) != 0)
        return -1;
    switch (op->event) {
    case JOB_EV_SUCCEEDED:
    case JOB_EV_CANCELLED:
    case JOB_EV_FAILED:
        return store_file_finish_job(file, op->num, op->seq, op->end_us, op->bytes, err);
    case JOB_EV_QUEUED:
    case JOB_EV_STARTED:
    case JOB_EV_TOKEN:
    case JOB_EV_PRIORITY:
    case JOB_EV_N_KINDS:
        break;
    }
    return 0;
}

/* `n_rows` is what may still be deleted in this transaction. */
static int write_op(struct store_file *file, struct store_op *op, int *n_rows, struct ltd_err *err)
{
    switch (op->kind) {
    case STORE_OP_EVENT:
        return write_event(file, op, err);
    case STORE_OP_FORGET:
        return store_file_forget(file, op->num, err);
    case STORE_OP_PURGE:
        op->is_purged = false;
        return *n_rows > 0 ? store_file_purge(file, op->num, n_rows, &op->is_purged, err) : 0;
    case STORE_OP_NONE:
        return 0;
    case STORE_OP_PROBE:
        return store_file_probe(file, err);
    }
    return -1;
}

static int write_batch(struct store_file *file, struct store_batch *batch)
{
    struct ltd_err *err = &batch->result;
    int n_rows = PURGE_ROWS;
    if (store_file_begin(file, err) != 0)
        return -1;
    for (struct store_op *op = batch->first; op; op = op->next)
        if (write_op(file, op, &n_rows, err) != 0) {
            store_file_rollback(file);
            return -1;
        }
    return store_file_commit(file, err);
}

static void *writer_main(void *arg)
{
    struct store_writer *w = arg;
    for (;;) {
        struct store_batch *batch = (struct store_batch *)ltd_mailbox_wait(&w->inbox, LTD_NEVER);
        bool is_stop = batch->is_stop;
        uint64_t begin_ns = ltd_now_ns();
        ltd_err_clear(&batch->result);
        if (!is_stop)
            write_batch(w->file, batch);
        batch->commit_ms = (double)(ltd_now_ns() - begin_ns) / (double)LTD_NS_PER_MS;
        ltd_mailbox_post(&w->outbox, &batch->mail);
        if (is_stop)
            return NULL;
    }
}

/* Signals are the loop thread's: this one must not be interrupted by them, nor take them away. */
static int start_thread(struct store_writer *w)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&w->thread, NULL, writer_main, w);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc;
}

struct store_writer *store_writer_start(struct store_file *take_file, ltd_mailbox_notify_fn notify,
                                        void *notify_arg, struct ltd_err *err)
{
    struct store_writer *w = calloc(1, sizeof *w);
    if (!w) {
        store_file_close(take_file);
        return ltd_fail_null(err, LTD_E_EXHAUSTED, "no memory for the job log");
    }
    w->file = take_file;
    ltd_mailbox_init(&w->inbox, NULL, NULL);
    ltd_mailbox_init(&w->outbox, notify, notify_arg);
    int rc = start_thread(w);
    if (rc == 0)
        return w;
    ltd_mailbox_fini(&w->inbox);
    ltd_mailbox_fini(&w->outbox);
    store_file_close(take_file);
    free(w);
    return ltd_fail_null(err, LTD_E_EXHAUSTED, "store: no thread: %s", strerror(rc));
}

void store_writer_give(struct store_writer *w, struct store_batch *take_batch)
{
    ltd_mailbox_post(&w->inbox, &take_batch->mail);
}

struct store_batch *store_writer_take(struct store_writer *w, uint64_t deadline_ns)
{
    return (struct store_batch *)ltd_mailbox_wait(&w->outbox, deadline_ns);
}

void store_writer_stop(struct store_writer *w)
{
    struct store_batch last = {.is_stop = true};
    ltd_mailbox_post(&w->inbox, &last.mail);
    pthread_join(w->thread, NULL);
    ltd_mailbox_take_all(&w->outbox);
    ltd_mailbox_fini(&w->inbox);
    ltd_mailbox_fini(&w->outbox);
    store_file_close(w->file);
    free(w);
}
