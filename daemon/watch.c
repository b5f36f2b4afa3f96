/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/watch.c - see daemon/watch.h.
 *
 * pump() is the only sender. It is called when the watch starts, when the job has something new,
 * and when the call has room again, and does as much as the call takes.
 */
#include "daemon/watch.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"

struct watch {
    struct job_watcher watcher; /* first */
    struct service *service;
    struct rpc_call *call;
    const struct job *job; /* pinned */
    struct watch_options options;
    uint64_t after_seq;         /* last event that was sent */
    bool has_sent;              /* the first message carries the job itself */
    bool is_finished;           /* rpc_call_finish was called */
    int64_t thinking_us;        /* time of the last Thinking that was sent */
    uint64_t sent_ns;           /* when the call took the last message */
    struct watch *next, **link; /* service->watches */
};

/* -------------------------------------------------------------------------------- messages */

static void fail(struct watch *w, const struct ltd_err *err)
{
    service_fail(w->call, err);
    w->is_finished = true;
}

/* Send one message; `seq` is taken over when the call took it. False: try again later. */
static bool send_message(struct watch *w, struct ltd_bytes *message, uint64_t seq)
{
    struct ltd_err err = {0};
    if (rpc_call_send(w->call, message->data, message->len, &err) != 0) {
        if (err.code != LTD_E_EXHAUSTED)
            fail(w, &err);
        return false;
    }
    w->after_seq = seq;
    w->has_sent = true;
    w->sent_ns = ltd_now_ns();
    return true;
}

static bool send_events(struct watch *w)
{
    struct ltd_bytes message;
    struct ltd_err err = {0};
    uint64_t seq = w->after_seq;
    bool sent = false;
    ltd_bytes_init(&message);
    if (wire_put_events(w->service->store, w->job, &seq, !w->has_sent, &message, &err) != 0)
        fail(w, &err);
    else
        sent = send_message(w, &message, seq);
    ltd_bytes_fini(&message);
    return sent;
}

static void send_thinking(struct watch *w, const struct wire_thinking *thinking)
{
    struct ltd_bytes message;
    struct ltd_err err = {0};
    ltd_bytes_init(&message);
    if (wire_put_thinking(w->service->store, w->job, thinking, !w->has_sent, &message, &err) != 0)
        fail(w, &err);
    else if (send_message(w, &message, w->after_seq))
        w->thinking_us = thinking->time_us;
    ltd_bytes_fini(&message);
}

/* It does not count as the first event, which carries the job. */
static void send_heartbeat(struct watch *w)
{
    bool has_sent = w->has_sent;
    struct ltd_bytes message;
    ltd_bytes_init(&message);
    wire_put_heartbeat(w->job, &message);
    if (!message.failed)
        send_message(w, &message, w->after_seq);
    w->has_sent = has_sent;
    ltd_bytes_fini(&message);
}

void watch_beat_all(struct service *service, uint64_t now_ns)
{
    for (struct watch *w = service->watches; w; w = w->next)
        if (!w->is_finished && rpc_call_wants_more(w->call) &&
            now_ns >= w->sent_ns + WATCH_BEAT_SECONDS * LTD_NS_PER_S)
            send_heartbeat(w);
}

/* -------------------------------------------------------------------------------- the end */

static void status_of(const struct job *job, struct ltd_err *status)
{
    switch (job->finish) {
    case JOB_FINISH_CANCELLED:
        ltd_fail(status, LTD_E_CANCELLED, "the job was cancelled");
        return;
    case JOB_FINISH_DEADLINE:
        ltd_fail(status, LTD_E_DEADLINE,
                 "the job's time was over; its output so far is in the job");
        return;
    case JOB_FINISH_ERROR:
        ltd_fail(status, job->error_code, "%s", job->error_msg);
        return;
    case JOB_FINISH_NONE:
    case JOB_FINISH_EOS:
    case JOB_FINISH_STOP:
    case JOB_FINISH_LENGTH:
        break;
    }
}

/* Another process will go on with the job: the reader asks again, with the number it has. */
static void end_parked(struct watch *w)
{
    struct ltd_err err;
    ltd_fail(&err, LTD_E_UNAVAILABLE,
             "the service stops; watch again from event %llu on when it is back",
             (unsigned long long)w->after_seq);
    ltd_err_reason(&err, "DRAINING");
    fail(w, &err);
}

static void end(struct watch *w)
{
    struct ltd_err status = {0};
    if (!job_state_is_final(w->job->state)) /* only memory can do that */
        ltd_fail(&status, LTD_E_INTERNAL, "the end of the job could not be recorded");
    else if (w->options.status_of_job)
        status_of(w->job, &status);
    if (status.code != LTD_OK) {
        fail(w, &status);
        return;
    }
    rpc_call_finish(w->call, LTD_OK, NULL);
    w->is_finished = true;
}

static void pump(struct watch *w)
{
    while (!w->is_finished && rpc_call_wants_more(w->call)) {
        if (w->after_seq < w->job->last_seq) {
            if (!send_events(w))
                return;
            continue;
        }
        if (!w->watcher.live) {
            if (w->watcher.is_parked)
                end_parked(w);
            else
                end(w);
            return;
        }
        const struct wire_thinking *thinking = job_watcher_thinking(&w->watcher);
        if (thinking && thinking->time_us != w->thinking_us)
            send_thinking(w, thinking);
        return;
    }
}

/* ------------------------------------------------------------------------------- callbacks */

static void on_change(struct job_watcher *watcher)
{
    pump((struct watch *)watcher);
}

static void on_writable(struct rpc_call *call, void *arg)
{
    (void)call;
    pump(arg);
}

static void ignore_answer(void *arg, const struct job *job, const struct ltd_err *err)
{
    (void)arg;
    (void)job;
    (void)err;
}

/*
 * Stock clients reset the stream when their own clock says that the deadline has passed, a moment
 * before ours does; the job's record should still say why.
 */
#define DEADLINE_SLACK_NS (100 * LTD_NS_PER_MS)

static enum engine_finish finish_for(const struct rpc_call *call, enum rpc_end reason)
{
    uint64_t deadline_ns = rpc_call_deadline_ns(call);
    bool is_due = deadline_ns != LTD_NEVER && ltd_now_ns() + DEADLINE_SLACK_NS >= deadline_ns;
    return reason == RPC_END_DEADLINE || (reason == RPC_END_CANCELLED && is_due)
               ? ENGINE_FINISH_DEADLINE
               : ENGINE_FINISH_CANCELLED;
}

static void on_end(struct rpc_call *call, void *arg, enum rpc_end reason)
{
    struct watch *w = arg;
    struct service *service = w->service;
    job_table_unwatch(&w->watcher);
    *w->link = w->next;
    if (w->next)
        w->next->link = w->link;
    if (reason != RPC_END_FINISHED && w->options.cancel_on_end &&
        !job_state_is_final(w->job->state)) {
        ltd_debug("job %s: its call ended (%s), so it is cancelled", w->job->id,
                  rpc_end_name(reason));
        job_table_cancel(service->jobs, w->job, finish_for(call, reason), ignore_answer, NULL);
    }
    store_unpin(service->store, w->job);
    free(w);
}

void watch_start(struct service *service, struct rpc_call *call, const struct job *job,
                 const struct watch_options *options)
{
    static const struct rpc_call_ops ops = {.on_writable = on_writable, .on_end = on_end};
    struct watch *w = calloc(1, sizeof *w);
    if (!w) {
        service_fail(call,
                     &(struct ltd_err){.code = LTD_E_EXHAUSTED, .msg = "no memory for a watch"});
        return;
    }
    w->watcher.on_change = on_change;
    w->service = service;
    w->call = call;
    w->job = job;
    w->options = *options;
    w->after_seq = options->after_seq;
    w->sent_ns = ltd_now_ns();
    w->next = service->watches;
    w->link = &service->watches;
    if (w->next)
        w->next->link = &w->next;
    service->watches = w;
    store_pin(service->store, job);
    job_table_watch(service->jobs, job, &w->watcher);
    rpc_call_set_ops(call, &ops, w);
    pump(w);
}
