/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/job_log.c - from the engine's events to the log, and from the log to who watches.
 *
 * A live job goes through appends that matter: QUEUED (job_table.c), any number of STARTED and TOKEN
 * (on_event_kept) and of PRIORITY, FINISHED (on_finished_kept), after which it is torn down. With a
 * log that answers later, appends overlap: the order of completion is the order of appending, so
 * on_finished_kept comes last.
 *
 * After a restart the log is ahead of the engine: STARTED is there already, and the last token is
 * chosen again. It is compared and dropped; when it differs the job ends, because then nothing that
 * would follow is what was promised.
 */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "daemon/job_live.h"

/* ---------------------------------------------------------------------------------- finish */

static void on_finished_kept(void *arg, const struct ltd_err *result);

static void end_with_failure(struct live *live)
{
    live->end.finished.reason = JOB_FINISH_ERROR;
    live->end.finished.error = live->failure;
    live->end.kind = JOB_EV_FAILED;
}

/* The log has room for an end without text also without memory (docs/job-events.md#bounds). An end
 * that was on its way behind an event that was refused is not what the engine said any more, unless
 * that was a change of priority, which nothing depends on: then it is still whole. */
static void retry_end(struct live *live)
{
    char *tail = live->is_failed ? NULL : live->tail;
    if (tail)
        live->tail = NULL;
    live->is_last_try = !tail;
    live->end.text = tail;
    live->end.text_len = tail ? live->end.text_len : 0;
    if (live->is_failed)
        end_with_failure(live);
    live_append(live, &live->end, on_finished_kept, live);
    free(tail); /* the job itself may be gone by now */
}

/* Whoever wanted the job away is told when a kill cannot bring it back. */
static void on_forgotten(void *arg, const struct ltd_err *result)
{
    struct live *live = arg;
    live_answer_waiters(live, true, NULL, result);
    live_destroy(live);
}

/* FINISHED is in the log: the last time that anybody hears of the job here. */
static void on_finished_kept(void *arg, const struct ltd_err *result)
{
    struct live *live = arg;
    struct job_table *table = live->table;
    const struct job *job = live->job;
    static const struct ltd_err ok = {0};
    bool is_kept = result->code == LTD_OK;
    if (live_append_done(live))
        return;
    if (!is_kept)
        ltd_error("job %s: its end was not recorded: %s", live->id, result->msg);
    if (!is_kept && !live->is_last_try) {
        retry_end(live);
        return;
    }
    ltd_debug("job %s %s: %u prompt tokens, %u written, %llu steps", job->id,
              job_state_name(job->state), job->prompt_tokens, job->output_tokens,
              (unsigned long long)job->total_steps);
    table->n_finished++;
    table->n_ended[is_kept ? job->state : JOB_FAILED]++;
    if (is_kept && table->config.on_finished)
        table->config.on_finished(table->config.hook_arg, job);
    struct job_watcher *watchers = live_detach_watchers(live);
    if (live->is_deleted && is_kept) {
        live_tell_watchers(watchers);
        store_forget(table->config.store, job, on_forgotten, live);
    } else {
        live_answer_waiters(live, true, job, is_kept ? &ok : result);
        live_tell_watchers(watchers);
        live_destroy(live);
    }
    store_expire(table->config.store, ltd_wall_us());
    live_place_waiting(table);
}

static enum job_finish finish_of(enum engine_finish finish)
{
    switch (finish) {
    case ENGINE_FINISH_EOS:
        return JOB_FINISH_EOS;
    case ENGINE_FINISH_STOP:
        return JOB_FINISH_STOP;
    case ENGINE_FINISH_LENGTH:
        return JOB_FINISH_LENGTH;
    case ENGINE_FINISH_CANCELLED:
        return JOB_FINISH_CANCELLED;
    case ENGINE_FINISH_DEADLINE:
        return JOB_FINISH_DEADLINE;
    case ENGINE_FINISH_ERROR:
    case ENGINE_FINISH_SCORED:
        return JOB_FINISH_ERROR;
    }
    return JOB_FINISH_ERROR;
}

/* Text that was held back belongs behind the last token of the log. The engine's is another where the
 * log has a hole, or where a restart had not come to that token again. */
static bool has_tail(const struct live *live)
{
    return !live->is_failed && !live->expected.is_due;
}

static void fill_finished(const struct live *live, const struct engine_event *from,
                          struct job_event *event)
{
    *event = (struct job_event){0};
    event->time_us = from->time_us;
    event->text = has_tail(live) ? from->text : NULL;
    event->text_len = has_tail(live) ? from->text_len : 0;
    event->finished.reason = finish_of(from->finish);
    /* Before a restart has come to the last token again the engine knows less than the log. */
    event->finished.total_steps = from->total_steps;
    if (live->expected.is_due && from->total_steps < live->job->total_steps)
        event->finished.total_steps = live->job->total_steps;
    event->finished.late = from->late;
    event->finished.error = from->error;
    if (live->is_failed) {
        event->finished.reason = JOB_FINISH_ERROR;
        event->finished.error = live->failure;
    } else if (live->is_stopped && from->finish == ENGINE_FINISH_CANCELLED &&
               !live_has_finish_waiter(live)) {
        event->finished.reason = JOB_FINISH_ERROR;
        ltd_fail(&event->finished.error, LTD_E_UNAVAILABLE,
                 "the service stops; submit the job again");
    }
    if (event->finished.reason == JOB_FINISH_ERROR && event->finished.error.code == LTD_OK)
        ltd_fail(&event->finished.error, LTD_E_INTERNAL, "the job ended without a reason");
    event->kind = job_finish_kind(event->finished.reason);
}

/* Without memory for it a refusal costs the text, as it does where memory is what is short. */
static void keep_tail(struct live *live)
{
    if (live->n_priorities == 0 || live->end.text_len == 0)
        return;
    live->tail = malloc(live->end.text_len);
    if (live->tail)
        memcpy(live->tail, live->end.text, live->end.text_len);
}

static void finish(struct live *live, const struct engine_event *from)
{
    if (live_is_to_be_parked(live, from)) {
        live_park(live);
        return;
    }
    fill_finished(live, from, &live->end);
    keep_tail(live);
    live->table->n_queued -= live->counts_as_queued;
    live->counts_as_queued = false;
    live_set_stage(live, LIVE_ENDING);
    live_append(live, &live->end, on_finished_kept, live);
}

void live_end(struct live *live, enum engine_finish how, const struct ltd_err *why)
{
    struct engine_event event = {.kind = ENGINE_FINISHED, .finish = how};
    if (why)
        event.error = *why;
    event.time_us = ltd_wall_us();
    event.total_steps = live->job->total_steps;
    finish(live, &event);
}

/* ----------------------------------------------------------------------------------- events */

/* The job cannot go on: what the log holds, or what the engine says, is not what it must be. */
static void fail(struct live *live, const struct ltd_err *why)
{
    if (live->is_failed)
        return;
    ltd_error("job %s ends: %s", live->id, why->msg);
    live->is_failed = true;
    live->failure = *why;
    if (live->stage == LIVE_WORKING)
        work_queue_cancel(live->table->config.queue, &live->work, ENGINE_FINISH_CANCELLED);
}

/* An event between QUEUED and FINISHED is in the log, or the job cannot go on. */
static void on_event_kept(void *arg, const struct ltd_err *result)
{
    struct live *live = arg;
    if (live_append_done(live))
        return;
    if (result->code != LTD_OK)
        fail(live, result);
    else if (!live->is_copying)
        live_tell_watchers(live->watchers);
}

static void keep_event(struct live *live, struct job_event *event)
{
    if (live->is_failed)
        return; /* the log has a hole; nothing may follow but the end */
    live->has_thinking = false;
    live_append(live, event, on_event_kept, live);
}

/* A job that goes on from another begins with that one's tokens: the engine knows them and says
 * nothing about them. The old log never changes, so they are still what the spec was made from. */
static void copy_known_tokens(struct live *live, int64_t time_us)
{
    struct continuation_tokens tokens;
    struct ltd_err err = {0};
    uint64_t last_seq = live->job->last_seq;
    continuation_tokens_init(&tokens, live->table->config.store, live->from);
    live->is_copying = true;
    for (int32_t i = 0; i < live->spec->known.n && !live->is_failed; i++) {
        struct job_event *event = continuation_tokens_next(&tokens, &err);
        if (!event) {
            fail(live, &err);
            break;
        }
        event->time_us = time_us;
        keep_event(live, event);
    }
    live->is_copying = false;
    continuation_tokens_fini(&tokens);
    live_let_go_of_source(live);
    if (live->job->last_seq != last_seq)
        live_tell_watchers(live->watchers);
}

static void note_started(struct live *live, const struct engine_event *from)
{
    struct job_event event = {.kind = JOB_EV_STARTED, .time_us = from->time_us};
    event.started.predicted_end_us = from->predicted_end_us;
    live->table->n_queued -= live->counts_as_queued;
    live->counts_as_queued = false;
    if (live->job->state == JOB_QUEUED)
        keep_event(live, &event);
    if (live->from)
        copy_known_tokens(live, from->time_us);
}

/* The token that was the last one before the restart comes again, or something is wrong. */
static void check_expected(struct live *live, const struct engine_event *from)
{
    const struct live_expected *e = &live->expected;
    struct ltd_err err;
    bool is_same = from->token.id == e->id && from->token.steps == e->steps &&
                   from->text_len == e->text_len &&
                   (e->text_len == 0 || memcmp(from->text, e->text, e->text_len) == 0);
    if (!is_same) {
        ltd_fail(&err, LTD_E_CORRUPT,
                 "token %u was %d after %d steps before the restart, and is %d after %d steps now; "
                 "what was written so far is kept",
                 live->job->output_tokens - 1, e->id, e->steps, from->token.id, from->token.steps);
        fail(live, &err);
    }
    live_free_expected(live);
}

static void note_token(struct live *live, const struct engine_event *from)
{
    struct job_event event = {.kind = JOB_EV_TOKEN, .time_us = from->time_us};
    if (live->expected.is_due) {
        check_expected(live, from);
        return;
    }
    event.token = from->token;
    event.text = from->text;
    event.text_len = from->text_len;
    keep_event(live, &event);
}

static void note_thinking(struct live *live, const struct engine_event *from)
{
    live->thinking = (struct wire_thinking){
        .token_index = (uint32_t)from->token_index,
        .step = (uint32_t)from->step,
        .max_steps = (uint32_t)from->max_steps,
        .criterion_value = from->criterion_value,
        .time_us = from->time_us,
    };
    live->has_thinking = true;
    live_tell_watchers(live->watchers);
}

void live_on_event(struct work *work, const struct engine_event *event)
{
    struct live *live = (struct live *)work;
    switch (event->kind) {
    case ENGINE_STARTED:
        note_started(live, event);
        return;
    case ENGINE_TOKEN:
        note_token(live, event);
        return;
    case ENGINE_THINKING:
        note_thinking(live, event);
        return;
    case ENGINE_FINISHED:
        finish(live, event);
        return;
    case ENGINE_SCORED:
        break; /* jobs of this table write tokens */
    }
    ltd_error("job %s: engine event %d has no meaning here", live->id, event->kind);
}
