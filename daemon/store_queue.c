/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/store_queue.c - what waits for the disk, and who is told of it; see store_durable.h.
 *
 * Appends of one turn of the loop travel together: nothing is given to the writer before the loop
 * comes round to `wake`. While a batch is out the queue grows, and is the next batch.
 *
 * A commit that fails leaves nothing of its batch in the file. Then the log is stalled: QUEUED events
 * and those PRIORITY events that nothing of their job waits behind are refused, because somebody
 * waits for an answer to them and nothing is lost by it. Everything else goes back to the front of
 * the queue, in its order, and is tried again every second.
 */
#include "daemon/store_durable.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"

#define RETRY_MS 1000
/* Who is refused is told to come back when the next attempts have shown something. */
#define RETRY_AFTER_MS 2000
/* A transaction of this size takes a disk some tens of milliseconds; more would only make the first
 * of it wait for the last. */
#define BATCH_OPS_MAX   8192
#define BATCH_BYTES_MAX ((size_t)16 << 20)
#define BATCH_PURGES    64

void store_list_init(struct store_list *list)
{
    list->first = NULL;
    list->last = &list->first;
}

void store_list_add(struct store_list *list, struct store_op *op)
{
    op->next = NULL;
    *list->last = op;
    list->last = &op->next;
}

void store_list_join(struct store_list *list, struct store_list *take_other)
{
    if (!take_other->first)
        return;
    *list->last = take_other->first;
    list->last = take_other->last;
    store_list_init(take_other);
}

static struct store_op *take_first(struct store_list *list)
{
    struct store_op *op = list->first;
    if (!op)
        return NULL;
    list->first = op->next;
    if (!list->first)
        list->last = &list->first;
    op->next = NULL;
    return op;
}

static bool is_append(const struct store_op *op)
{
    return op->kind == STORE_OP_EVENT || op->kind == STORE_OP_NONE;
}

/* The loop has a reason to go on as long as somebody waits to be told. */
static void wake_up(struct durable *d)
{
    uv_async_send(&d->wake);
}

static void note_waiting(struct durable *d, int64_t change)
{
    d->n_waiting += (uint64_t)change;
    if (d->n_handles == 0)
        return;
    if (d->n_waiting)
        uv_ref((uv_handle_t *)&d->wake);
    else
        uv_unref((uv_handle_t *)&d->wake);
}

void store_queue_add(struct durable *d, struct store_waiting *take_w)
{
    bool is_early = take_w->op.kind == STORE_OP_NONE && d->is_stalled && !take_w->kept;
    if (take_w->kept)
        take_w->kept->n_waiting++;
    if (take_w->done)
        note_waiting(d, 1);
    store_list_add(is_early ? &d->early : &d->queue, &take_w->op);
    wake_up(d);
}

void store_queue_purge(struct durable *d, struct store_waiting *take_w)
{
    if (take_w->kept)
        take_w->kept->n_waiting++;
    take_w->op.kind = STORE_OP_PURGE;
    store_list_add(&d->purges, &take_w->op);
    wake_up(d);
}

int store_queue_refuse_stalled(const struct durable *d, struct ltd_err *err)
{
    ltd_fail(err, LTD_E_UNAVAILABLE, "the job log cannot be written: %s", d->stall.msg);
    ltd_err_retry_after(err, RETRY_AFTER_MS);
    return ltd_err_reason(err, "STORE_STALLED");
}

/* ------------------------------------------------------------------------------------ telling */

static void free_waiting(struct durable *d, struct store_waiting *w)
{
    struct kept *k = w->kept;
    if (!w->is_embedded)
        free(w);
    if (!k)
        return;
    k->n_waiting--;
    durable_release(d, k);
}

/* Once: when the log was stopped, what the writer still had was answered then. */
static void answer(struct durable *d, struct store_waiting *w)
{
    store_done_fn done = w->done;
    if (w->kept && w->kept->refusal == w)
        w->kept->refusal = NULL;
    if (!done)
        return;
    w->done = NULL;
    note_waiting(d, -1);
    done(w->arg, &w->result);
}

static void tell(struct durable *d, struct store_waiting *w)
{
    answer(d, w);
    free_waiting(d, w);
}

/* Its row is gone from the file; its events follow when nobody reads them any more. */
static void note_forgotten(struct durable *d, struct store_waiting *w)
{
    struct kept *k = w->kept;
    answer(d, w);
    if (k->e.n_pins == 0 || k->has_log)
        store_queue_purge(d, w);
    else
        k->is_purge_due = true;
    k->n_waiting--;
    durable_release(d, k);
}

static void note_purged(struct durable *d, struct store_waiting *w)
{
    if (w->op.is_purged)
        free_waiting(d, w);
    else
        store_list_add(&d->purges, &w->op);
}

static void note_committed(struct durable *d, struct store_waiting *w)
{
    switch (w->op.kind) {
    case STORE_OP_EVENT:
        durable_accept(d, w);
        tell(d, w);
        return;
    case STORE_OP_NONE:
        tell(d, w);
        return;
    case STORE_OP_FORGET:
        note_forgotten(d, w);
        return;
    case STORE_OP_PURGE:
        note_purged(d, w);
        return;
    case STORE_OP_PROBE:
        return;
    }
}

static void tell_all(struct durable *d, struct store_list *list)
{
    struct store_list told;
    struct store_op *op;
    store_list_init(&told);
    store_list_join(&told, list);
    while ((op = take_first(&told)))
        note_committed(d, (struct store_waiting *)op);
}

/* -------------------------------------------------------------------------------------- stall */

/* Whether the event can be refused and leave a log that is whole. A PRIORITY can when it is the
 * last of its job that was proposed; what is behind it depends on its number. */
static bool can_be_refused(const struct store_waiting *w)
{
    if (w->op.kind != STORE_OP_EVENT)
        return w->kept && w->kept->is_void && w->op.kind == STORE_OP_NONE;
    if (w->kept->is_void || w->op.event == JOB_EV_QUEUED)
        return true;
    return w->op.event == JOB_EV_PRIORITY && !w->kept->refusal &&
           w->op.seq == w->kept->proposed->last_seq;
}

static void refuse(struct durable *d, struct store_waiting *w)
{
    if (w->op.kind == STORE_OP_NONE)
        return; /* it has its refusal */
    if (w->op.event == JOB_EV_QUEUED)
        durable_void(d, w->kept);
    else if (!w->kept->is_void)
        durable_take_back(w->kept, w->op.seq - 1);
    w->op.kind = STORE_OP_NONE;
    store_queue_refuse_stalled(d, &w->result);
}

/* Move what can be refused to `refused`; true when there was something. */
static bool pick_refusals(struct durable *d, struct store_list *refused)
{
    struct store_list rest;
    struct store_op *op;
    bool found = false;
    store_list_init(&rest);
    while ((op = take_first(&d->queue))) {
        struct store_waiting *w = (struct store_waiting *)op;
        bool is_refused = can_be_refused(w);
        if (is_refused)
            refuse(d, w);
        store_list_add(is_refused ? refused : &rest, op);
        found |= is_refused;
    }
    store_list_join(&d->queue, &rest);
    return found;
}

/* Purges go back to their own list, the rest to the front of the queue. */
static void take_batch_back(struct durable *d, struct store_list *batch)
{
    struct store_list front;
    struct store_op *op;
    store_list_init(&front);
    while ((op = take_first(batch)))
        if (op->kind != STORE_OP_PROBE)
            store_list_add(op->kind == STORE_OP_PURGE ? &d->purges : &front, op);
    store_list_join(&front, &d->queue);
    store_list_join(&d->queue, &front);
}

static void note_failure(struct durable *d)
{
    bool is_first = !d->is_stalled;
    d->stall = d->batch.result;
    d->is_stalled = true;
    d->is_hopeless = d->stall.code == LTD_E_CORRUPT;
    if (is_first) {
        d->stalled_since_ns = ltd_now_ns();
        ltd_error("%s; %llu events wait, no new jobs are accepted%s", d->stall.msg,
                  (unsigned long long)d->n_waiting,
                  d->is_hopeless ? "; stop the daemon and run `latentctl store check`" : "");
    }
    if (!d->is_hopeless)
        uv_timer_start(&d->retry, store_queue_on_retry, RETRY_MS, 0);
}

static void note_success(struct durable *d)
{
    d->commit_ms[d->n_commits++ % STORE_COMMIT_TIMES] = d->batch.commit_ms;
    if (!d->is_stalled)
        return;
    ltd_info("store %s: written again after %.1f s", d->path,
             (double)(ltd_now_ns() - d->stalled_since_ns) / (double)LTD_NS_PER_S);
    d->is_stalled = false;
    ltd_err_clear(&d->stall);
}

static void batch_failed(struct durable *d, struct store_list *batch)
{
    struct store_list refused;
    store_list_init(&refused);
    note_failure(d);
    take_batch_back(d, batch);
    /* Refusing one PRIORITY can lay open the one before it. */
    while (pick_refusals(d, &refused))
        ;
    tell_all(d, &refused);
}

/* The operations of the batch that came back. */
static void end_batch(struct durable *d, struct store_list *batch)
{
    store_list_init(batch);
    batch->first = d->batch.first;
    while (*batch->last)
        batch->last = &(*batch->last)->next;
    d->batch.first = NULL;
    d->is_batch_out = false;
}

static void batch_is_back(struct durable *d)
{
    struct store_list batch;
    end_batch(d, &batch);
    if (d->batch.result.code != LTD_OK) {
        batch_failed(d, &batch);
        return;
    }
    note_success(d);
    tell_all(d, &batch);
}

/* ----------------------------------------------------------------------------------- batches */

static void fill_batch(struct durable *d, struct store_list *batch)
{
    size_t n = 0, n_bytes = 0;
    while (d->queue.first && n < BATCH_OPS_MAX && n_bytes < BATCH_BYTES_MAX) {
        struct store_op *op = take_first(&d->queue);
        n_bytes += op->len;
        n++;
        store_list_add(batch, op);
    }
    for (n = 0; d->purges.first && n < BATCH_PURGES; n++)
        store_list_add(batch, take_first(&d->purges));
}

static void give_batch(struct durable *d, struct store_list *batch)
{
    d->batch.first = batch->first;
    d->is_batch_out = true;
    store_writer_give(d->writer, &d->batch);
}

static bool has_writing(const struct store_list *list)
{
    const struct store_op *op = list->first;
    while (op && op->kind == STORE_OP_NONE)
        op = op->next;
    return op != NULL;
}

/* Give the writer the next batch, if it is idle and there is one. */
static void dispatch(struct durable *d)
{
    while (!d->is_batch_out && (d->queue.first || d->purges.first)) {
        struct store_list batch;
        store_list_init(&batch);
        fill_batch(d, &batch);
        if (!has_writing(&batch)) {
            tell_all(d, &batch);
            continue;
        }
        give_batch(d, &batch);
    }
}

void store_queue_on_wake(uv_async_t *wake)
{
    struct durable *d = wake->data;
    if (d->is_batch_out && store_writer_take(d->writer, 0))
        batch_is_back(d);
    tell_all(d, &d->early);
    if (!d->is_stalled)
        dispatch(d);
}

void store_queue_on_retry(uv_timer_t *timer)
{
    struct durable *d = timer->data;
    if (!has_writing(&d->queue) && !d->purges.first)
        store_list_add(&d->queue, &d->probe.op);
    dispatch(d);
}

/* --------------------------------------------------------------------------------------- end */

/* The next batch, tried once; false when it did not come back in time. */
static bool commit_now(struct durable *d, uint64_t deadline_ns)
{
    if (!d->is_batch_out) {
        struct store_list batch;
        store_list_init(&batch);
        fill_batch(d, &batch);
        give_batch(d, &batch);
    }
    return store_writer_take(d->writer, deadline_ns) != NULL;
}

static void answer_unwritten(struct durable *d, struct store_waiting *w)
{
    if (w->op.kind != STORE_OP_NONE)
        ltd_fail(&w->result, LTD_E_UNAVAILABLE, "the service ended before this was written");
    answer(d, w);
}

/* Nobody can be told later. What the writer does not give back is answered too, and stays his. */
static void answer_rest(struct durable *d)
{
    struct store_list rest;
    struct store_op *op;
    store_list_init(&rest);
    for (op = d->is_batch_out ? d->batch.first : NULL; op; op = op->next)
        answer_unwritten(d, (struct store_waiting *)op);
    tell_all(d, &d->early);
    while ((op = take_first(&d->queue))) {
        answer_unwritten(d, (struct store_waiting *)op);
        if (is_append(op))
            free_waiting(d, (struct store_waiting *)op);
        else
            store_list_add(&rest, op);
    }
    store_list_join(&d->queue, &rest);
}

void store_queue_stop(struct durable *d, uint64_t max_ns)
{
    uint64_t deadline_ns = ltd_now_ns() + max_ns;
    bool goes_on = true;
    d->is_stopped = true;
    while (goes_on && (d->is_batch_out || d->queue.first) && commit_now(d, deadline_ns)) {
        goes_on = d->batch.result.code == LTD_OK;
        batch_is_back(d);
    }
    if (d->n_waiting)
        ltd_error("store %s: %llu events could not be written before the end: %s", d->path,
                  (unsigned long long)d->n_waiting,
                  d->is_stalled ? d->stall.msg : "the disk does not answer");
    answer_rest(d);
}

static void drop_all(struct store_list *list)
{
    struct store_op *op;
    while ((op = take_first(list))) {
        struct store_waiting *w = (struct store_waiting *)op;
        if (w->kept)
            w->kept->n_waiting--;
        if (!w->is_embedded)
            free(w);
    }
}

void store_queue_fini(struct durable *d)
{
    struct store_list batch;
    if (d->is_batch_out)
        store_writer_take(d->writer, LTD_NEVER);
    end_batch(d, &batch);
    drop_all(&batch);
    drop_all(&d->early);
    drop_all(&d->queue);
    drop_all(&d->purges);
}
