/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/job_table.c - see daemon/job_table.h.
 *
 * A live job goes through three appends that matter: QUEUED (on_queued), any number of STARTED and
 * TOKEN (on_event_kept) and of PRIORITY (on_priority_kept), FINISHED (on_finished_kept), after
 * which it is torn down. With a log that answers later, appends overlap: the order of completion is
 * the order of appending, so on_queued comes before the work begins and on_finished_kept comes last.
 *
 *     state of a live job      handle   work         left by
 *     being queued             NULL     reserved     on_queued
 *     queued, running          set      in queue     FINISHED from the queue
 *     being finished           set      over         on_finished_kept
 */
#include "daemon/job_table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"

/* Somebody who wants to be told that the job is in the log, or that it has finished. */
struct waiter {
    job_answer_fn answer;
    void *arg;
    bool for_finish;
    struct waiter *next;
};

struct live {
    struct work work; /* first: events come to the work */
    struct job_table *table;
    struct job_spec *spec;  /* owned */
    const struct job *job;  /* pinned; NULL until QUEUED was accepted */
    const struct job *from; /* pinned until its tokens are copied; NULL: nothing to copy */
    char id[JOB_ID_CHARS + 1];
    char request_id[JOB_REQUEST_ID_CHARS + 1];
    bool is_working;       /* the work is in the queue */
    bool counts_as_queued; /* accepted and not started */
    bool is_stopped;       /* by the drain: a cancel means UNAVAILABLE */
    bool is_failed_by_log; /* an event was not accepted: the job ends with `failure` */
    bool is_deleted;       /* forget when finished */
    bool is_copying;       /* watchers are told when all known tokens are there */
    uint32_t n_priorities; /* changes that the log has not accepted yet */
    struct ltd_err failure;
    struct job_event end; /* FINISHED, kept for a second try */
    char *tail;           /* its text, owned; only when a change of priority may take it along */
    bool is_last_try;
    struct waiter *waiters;
    struct job_watcher *watchers;
    struct wire_thinking thinking;
    bool has_thinking;
    struct live *next, *prev; /* of all live jobs */
};

struct job_table {
    struct job_table_config config;
    struct engine *engine; /* borrowed */
    struct job_id_maker ids;
    struct live *first;
    uint32_t n_live, n_queued;
    uint64_t n_finished, n_ended[JOB_N_STATES];
    bool is_closed;
};

static void on_work_event(struct work *work, const struct engine_event *event);

struct job_table *job_table_create(const struct job_table_config *config, struct ltd_err *err)
{
    struct job_table *table = calloc(1, sizeof *table);
    if (!table)
        return ltd_fail_null(err, LTD_E_EXHAUSTED, "no memory for the job table");
    table->config = *config;
    return table;
}

void job_table_attach(struct job_table *table, struct engine *engine)
{
    table->engine = engine;
}

void job_table_destroy(struct job_table *table)
{
    if (!table)
        return;
    ltd_assert(table->n_live == 0, table->n_live, table->n_queued);
    free(table);
}

/* ------------------------------------------------------------------------------- live jobs */

static struct live *find_live(struct job_table *table, const struct job *job)
{
    struct live *live = job_state_is_final(job->state) ? NULL : table->first;
    while (live && live->job != job)
        live = live->next;
    return live;
}

static void link_live(struct job_table *table, struct live *live)
{
    live->table = table;
    live->prev = NULL;
    live->next = table->first;
    if (table->first)
        table->first->prev = live;
    table->first = live;
    table->n_live++;
}

static void unlink_live(struct live *live)
{
    struct job_table *table = live->table;
    *(live->prev ? &live->prev->next : &table->first) = live->next;
    if (live->next)
        live->next->prev = live->prev;
    table->n_live--;
}

static int add_waiter(struct live *live, bool for_finish, job_answer_fn answer, void *arg)
{
    struct waiter *w = malloc(sizeof *w);
    if (!w)
        return -1;
    *w = (struct waiter){answer, arg, for_finish, live->waiters};
    live->waiters = w;
    return 0;
}

/* Tell those who wait, all of them when the job has finished. */
static void answer_waiters(struct live *live, bool finished, const struct job *job,
                           const struct ltd_err *err)
{
    struct waiter *due = NULL, **link = &live->waiters;
    while (*link) {
        struct waiter *w = *link;
        if (w->for_finish && !finished) {
            link = &w->next;
            continue;
        }
        *link = w->next;
        w->next = due;
        due = w;
    }
    while (due) {
        struct waiter *w = due;
        due = w->next;
        w->answer(w->arg, job, err);
        free(w);
    }
}

static void tell_watchers(struct job_watcher *first)
{
    for (struct job_watcher *w = first, *next; w; w = next) {
        next = w->next;
        w->on_change(w);
    }
}

/* The log will not grow any more. The chain stays linked for one last telling. */
static struct job_watcher *detach_watchers(struct live *live)
{
    struct job_watcher *first = live->watchers;
    for (struct job_watcher *w = first; w; w = w->next)
        w->live = NULL;
    live->watchers = NULL;
    return first;
}

static void let_go_of_source(struct live *live)
{
    if (live->from)
        store_unpin(live->table->config.store, live->from);
    live->from = NULL;
}

static void destroy_live(struct live *live)
{
    detach_watchers(live);
    let_go_of_source(live);
    work_queue_release(live->table->config.queue, &live->work);
    if (live->job)
        store_unpin(live->table->config.store, live->job);
    unlink_live(live);
    spec_destroy(live->spec);
    free(live->tail);
    free(live);
}

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
    char *tail = live->is_failed_by_log ? NULL : live->tail;
    if (tail)
        live->tail = NULL;
    live->is_last_try = !tail;
    live->end.text = tail;
    live->end.text_len = tail ? live->end.text_len : 0;
    if (live->is_failed_by_log)
        end_with_failure(live);
    store_append(live->table->config.store, live->id, &live->end, on_finished_kept, live);
    free(tail); /* the job itself may be gone by now */
}

/* FINISHED is in the log: the last time that anybody hears of the job here. */
static void on_finished_kept(void *arg, const struct ltd_err *result)
{
    struct live *live = arg;
    struct job_table *table = live->table;
    const struct job *job = live->job;
    static const struct ltd_err ok = {0};
    bool is_kept = result->code == LTD_OK;
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
    struct job_watcher *watchers = detach_watchers(live);
    bool forget = live->is_deleted && is_kept;
    if (forget)
        store_forget(table->config.store, job);
    answer_waiters(live, true, forget ? NULL : job, is_kept ? &ok : result);
    tell_watchers(watchers);
    destroy_live(live);
    store_expire(table->config.store, ltd_wall_us());
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

static void fill_finished(const struct live *live, const struct engine_event *from,
                          struct job_event *event)
{
    *event = (struct job_event){0};
    event->time_us = from->time_us;
    event->text = from->text;
    event->text_len = from->text_len;
    event->finished.reason = finish_of(from->finish);
    event->finished.total_steps = from->total_steps;
    event->finished.late = from->late;
    event->finished.error = from->error;
    if (live->is_failed_by_log) {
        event->finished.reason = JOB_FINISH_ERROR;
        event->finished.error = live->failure;
    } else if (live->is_stopped && from->finish == ENGINE_FINISH_CANCELLED) {
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
    fill_finished(live, from, &live->end);
    keep_tail(live);
    live->table->n_queued -= live->counts_as_queued;
    live->counts_as_queued = false;
    live->is_working = false;
    store_append(live->table->config.store, live->id, &live->end, on_finished_kept, live);
}

/* ----------------------------------------------------------------------------------- events */

/* An event between QUEUED and FINISHED is in the log, or the job cannot go on. */
static void on_event_kept(void *arg, const struct ltd_err *result)
{
    struct live *live = arg;
    if (result->code == LTD_OK) {
        if (!live->is_copying)
            tell_watchers(live->watchers);
        return;
    }
    if (live->is_failed_by_log)
        return;
    ltd_error("job %s: an event was not recorded, the job ends: %s", live->id, result->msg);
    live->is_failed_by_log = true;
    live->failure = *result;
    if (live->is_working)
        work_queue_cancel(live->table->config.queue, &live->work, ENGINE_FINISH_CANCELLED);
}

static void keep_event(struct live *live, struct job_event *event)
{
    if (live->is_failed_by_log)
        return; /* the log has a hole; nothing may follow but the end */
    live->has_thinking = false;
    store_append(live->table->config.store, live->id, event, on_event_kept, live);
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
    for (int32_t i = 0; i < live->spec->known.n && !live->is_failed_by_log; i++) {
        struct job_event *event = continuation_tokens_next(&tokens, &err);
        if (!event) {
            on_event_kept(live, &err);
            break;
        }
        event->time_us = time_us;
        keep_event(live, event);
    }
    live->is_copying = false;
    continuation_tokens_fini(&tokens);
    let_go_of_source(live);
    if (live->job->last_seq != last_seq)
        tell_watchers(live->watchers);
}

static void note_started(struct live *live, const struct engine_event *from)
{
    struct job_event event = {.kind = JOB_EV_STARTED, .time_us = from->time_us};
    event.started.predicted_end_us = from->predicted_end_us;
    live->table->n_queued -= live->counts_as_queued;
    live->counts_as_queued = false;
    keep_event(live, &event);
    if (live->from)
        copy_known_tokens(live, from->time_us);
}

static void note_token(struct live *live, const struct engine_event *from)
{
    struct job_event event = {.kind = JOB_EV_TOKEN, .time_us = from->time_us};
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
    tell_watchers(live->watchers);
}

static void on_work_event(struct work *work, const struct engine_event *event)
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

/* ----------------------------------------------------------------------------------- submit */

static void finish_unstarted(struct live *live, const struct ltd_err *why)
{
    struct engine_event event = {
        .kind = ENGINE_FINISHED, .finish = ENGINE_FINISH_ERROR, .error = *why};
    event.time_us = ltd_wall_us();
    finish(live, &event);
}

/* QUEUED is in the log: the job exists, and its work begins. */
static void on_queued(void *arg, const struct ltd_err *result)
{
    struct live *live = arg;
    struct job_table *table = live->table;
    struct ltd_err err = *result;
    if (err.code != LTD_OK) {
        answer_waiters(live, true, NULL, &err);
        destroy_live(live);
        return;
    }
    live->job = store_find(table->config.store, live->id);
    store_pin(table->config.store, live->job);
    live->counts_as_queued = true;
    table->n_queued++;
    ltd_debug("job %s queued: %d prompt tokens, at most %d to write, %d of them known, depth %d",
              live->id, live->spec->n_prompt, live->spec->max_tokens, live->spec->known.n,
              live->spec->depth.rule.max_steps);
    answer_waiters(live, false, live->job, &err);
    if (live->is_stopped)
        ltd_fail(&err, LTD_E_UNAVAILABLE, "the service stops; submit the job again");
    live->is_working = err.code == LTD_OK;
    if (!live->is_working || work_queue_add(table->config.queue, &live->work, &err) != 0)
        finish_unstarted(live, &err);
}

/* Time buys depth, and a fixed depth cannot be sold: what would come late is not begun. A job that is
 * held has its owner to wait for. */
static int check_time(struct job_table *table, const struct job_spec *spec, struct ltd_err *err)
{
    uint64_t total_ms = spec->budget.total_ms, now_ns = ltd_now_ns();
    if (total_ms == 0 || spec_is_elastic(spec) || spec->priority == SPEC_PRIORITY_HOLD)
        return 0;
    uint64_t end_ns = engine_predict_end(table->engine, spec, now_ns);
    uint64_t needed_ns = end_ns > now_ns ? end_ns - now_ns : 0;
    uint64_t needed_ms = needed_ns / LTD_NS_PER_MS + (needed_ns % LTD_NS_PER_MS != 0);
    if (needed_ms <= total_ms)
        return 0;
    ltd_fail(err, LTD_E_EXHAUSTED,
             "spec.budget.total_ms: found %llu, but an answer of this fixed depth is expected in "
             "%llu ms; ask for a range of depths, for less, or again later",
             (unsigned long long)total_ms, (unsigned long long)needed_ms);
    return ltd_err_retry_after(err, work_queue_wait_ms(table->config.queue));
}

static int check_admission(struct job_table *table, const struct job_spec *spec,
                           struct ltd_err *err)
{
    const struct job_table_config *config = &table->config;
    if (table->is_closed)
        return ltd_fail(err, LTD_E_UNAVAILABLE,
                        "the service is draining, no new jobs; try another "
                        "or later");
    int32_t n_positions = spec->n_prompt + spec->max_tokens - 1;
    if (!engine_fits(table->engine, n_positions))
        return ltd_fail(err, LTD_E_INVALID,
                        "spec.max_tokens: a prompt of %d tokens and %d to write "
                        "do not fit the whole key-value cache (kv_memory)",
                        spec->n_prompt, spec->max_tokens);
    size_t bound = job_log_bytes_bound(spec, config->token_text_bytes_max);
    if (bound > STORE_JOB_BYTES_MAX)
        return ltd_fail(err, LTD_E_EXHAUSTED,
                        "spec: %d tokens with %d logprobs each may take %zu "
                        "bytes of event log, at most %zu are kept per job",
                        spec->max_tokens, spec->n_logprobs, bound, STORE_JOB_BYTES_MAX);
    return check_time(table, spec, err);
}

static void append_queued(struct live *live)
{
    struct job_table *table = live->table;
    struct job_event event = {.kind = JOB_EV_QUEUED, .time_us = ltd_wall_us()};
    event.queued = (struct job_queued){
        .request_id = live->request_id,
        .label = live->spec->label,
        .tier = table->config.tier,
        .client = live->spec->client,
        .continues = live->spec->continues,
        .seed = live->spec->seed,
        .prompt_tokens = (uint32_t)live->spec->n_prompt,
        .position = work_queue_n_unstarted(table->config.queue),
        .priority = (uint8_t)live->spec->priority,
        .spec = live->spec->wire,
        .spec_len = live->spec->wire_len,
    };
    store_append(table->config.store, live->id, &event, on_queued, live);
}

static int check_same_source(const char *request_id, const char *continues,
                             const struct job_spec *spec, struct ltd_err *err)
{
    if (strcmp(continues, spec->continues) == 0)
        return 0;
    return ltd_fail(err, LTD_E_EXISTS, "request_id: \"%s\" was used for a job that continues %s",
                    request_id, *continues ? continues : "no other");
}

/* Same bytes, same job. */
static int check_same_spec(struct job_table *table, const struct job *job,
                           const struct job_spec *spec, struct ltd_err *err)
{
    struct ltd_bytes stored;
    if (check_same_source(job->request_id, job->continues, spec, err) != 0)
        return -1;
    ltd_bytes_init(&stored);
    int rc = wire_stored_spec(table->config.store, job, &stored, err);
    if (rc == 0 && (stored.len != spec->wire_len ||
                    (stored.len && memcmp(stored.data, spec->wire, stored.len) != 0)))
        rc = ltd_fail(err, LTD_E_EXISTS, "request_id: \"%s\" was used for job %s with another spec",
                      job->request_id, job->id);
    ltd_bytes_fini(&stored);
    return rc;
}

/* A submission with this request id that the log has not accepted yet. */
static struct live *find_pending(struct job_table *table, const char *request_id)
{
    struct live *live = *request_id ? table->first : NULL;
    while (live && (live->job || strcmp(live->request_id, request_id) != 0))
        live = live->next;
    return live;
}

/* 1: an earlier submission answers this one; 0: it is new; -1: refused. */
static int join_earlier(struct job_table *table, const struct job_spec *spec,
                        const char *request_id, job_answer_fn answer, void *arg,
                        struct ltd_err *err)
{
    const struct job *job = store_find_request(table->config.store, "", request_id);
    if (job && check_same_spec(table, job, spec, err) != 0)
        return -1;
    if (job) {
        answer(arg, job, err);
        return 1;
    }
    struct live *pending = find_pending(table, request_id);
    if (!pending)
        return 0;
    if (check_same_source(request_id, pending->spec->continues, spec, err) != 0)
        return -1;
    if (pending->spec->wire_len != spec->wire_len ||
        memcmp(pending->spec->wire, spec->wire, spec->wire_len) != 0)
        return ltd_fail(err, LTD_E_EXISTS, "request_id: \"%s\" was used with another spec",
                        request_id);
    if (add_waiter(pending, false, answer, arg) != 0)
        return ltd_fail(err, LTD_E_EXHAUSTED, "no memory for a request");
    return 1;
}

static struct live *make_live(struct job_table *table, struct job_spec *take_spec,
                              const char *request_id)
{
    struct live *live = calloc(1, sizeof *live);
    if (!live)
        return NULL;
    live->spec = take_spec;
    live->work.spec = take_spec;
    live->work.on_event = on_work_event;
    snprintf(live->request_id, sizeof live->request_id, "%s", request_id);
    job_id_make(&table->ids, live->id);
    snprintf(take_spec->key, sizeof take_spec->key, "%s", live->id);
    link_live(table, live);
    return live;
}

/* From here on the spec belongs to the live job, also when it is refused. */
static int accept_live(struct live *live, job_answer_fn answer, void *arg, struct ltd_err *err)
{
    if (work_queue_reserve(live->table->config.queue, &live->work, err) != 0)
        return -1;
    if (add_waiter(live, false, answer, arg) != 0)
        return ltd_fail(err, LTD_E_EXHAUSTED, "no memory for a request");
    append_queued(live);
    return 0;
}

/* `from`: the job whose tokens the new one begins with, or NULL. */
static void submit(struct job_table *table, struct job_spec *take_spec, const struct job *from,
                   const char *request_id, job_answer_fn answer, void *arg)
{
    struct ltd_err err = {0};
    int joined = join_earlier(table, take_spec, request_id, answer, arg, &err);
    if (joined == 1) {
        spec_destroy(take_spec);
        return;
    }
    struct live *live = NULL;
    if (joined == 0 && check_admission(table, take_spec, &err) == 0)
        live = make_live(table, take_spec, request_id);
    if (!live) {
        if (err.code == LTD_OK)
            ltd_fail(&err, LTD_E_EXHAUSTED, "no memory for a job");
        spec_destroy(take_spec);
        answer(arg, NULL, &err);
        return;
    }
    if (from)
        store_pin(table->config.store, from);
    live->from = from;
    if (accept_live(live, answer, arg, &err) != 0) {
        destroy_live(live);
        answer(arg, NULL, &err);
    }
}

void job_table_submit(struct job_table *table, struct job_spec *take_spec,
                      const struct job_caller *caller, const char *request_id, job_answer_fn answer,
                      void *arg)
{
    (void)caller;
    submit(table, take_spec, NULL, request_id, answer, arg);
}

void job_table_continue(struct job_table *table, const struct job_continue *how,
                        job_answer_fn answer, void *arg)
{
    struct continuation c;
    struct ltd_err err = {0};
    if (continuation_read(&c, table->config.store, how->job, &how->ask, &err) != 0) {
        answer(arg, NULL, &err);
        return;
    }
    struct job_spec *spec = how->decode(how->decode_arg, &c.next.spec, &err);
    if (spec) {
        spec->known = c.known;
        c.known = (struct spec_known){0};
        snprintf(spec->continues, sizeof spec->continues, "%s", how->job->id);
    }
    continuation_fini(&c);
    if (spec)
        submit(table, spec, how->job, how->request_id, answer, arg);
    else
        answer(arg, NULL, &err);
}

/* 0 when the spec that a request id stands for is what is asked for now. */
static int check_same_ask(const struct job_continue_again *how, const uint8_t *wire,
                          size_t wire_len, struct ltd_err *err)
{
    Latentd__V1__JobSpec *spec = latentd__v1__job_spec__unpack(NULL, wire_len, wire);
    if (!spec)
        return ltd_fail(err, LTD_E_EXHAUSTED, "no memory for a request");
    bool is_same = continuation_could_give(spec, &how->ask);
    latentd__v1__job_spec__free_unpacked(spec, NULL);
    if (is_same)
        return 0;
    return ltd_fail(err, LTD_E_EXISTS,
                    "request_id: \"%s\" was used for another continuation of job %s",
                    how->request_id, how->old_id);
}

static int not_continued(const struct job_continue_again *how, struct ltd_err *err)
{
    return ltd_fail(err, LTD_E_NOT_FOUND, "job %s: unknown, or finished and forgotten",
                    how->old_id);
}

static int check_kept(struct job_table *table, const struct job *job,
                      const struct job_continue_again *how, struct ltd_err *err)
{
    struct ltd_bytes wire;
    if (strcmp(job->continues, how->old_id) != 0)
        return not_continued(how, err);
    ltd_bytes_init(&wire);
    int rc = wire_stored_spec(table->config.store, job, &wire, err);
    if (rc == 0)
        rc = check_same_ask(how, wire.data, wire.len, err);
    ltd_bytes_fini(&wire);
    return rc;
}

static int wait_for_pending(struct live *pending, const struct job_continue_again *how,
                            job_answer_fn answer, void *arg, struct ltd_err *err)
{
    if (!pending || strcmp(pending->spec->continues, how->old_id) != 0)
        return not_continued(how, err);
    if (check_same_ask(how, pending->spec->wire, pending->spec->wire_len, err) != 0)
        return -1;
    if (add_waiter(pending, false, answer, arg) != 0)
        return ltd_fail(err, LTD_E_EXHAUSTED, "no memory for a request");
    return 0;
}

void job_table_continue_again(struct job_table *table, const struct job_continue_again *how,
                              job_answer_fn answer, void *arg)
{
    struct ltd_err err = {0};
    const struct job *job = store_find_request(table->config.store, "", how->request_id);
    int rc = job ? check_kept(table, job, how, &err)
                 : wait_for_pending(find_pending(table, how->request_id), how, answer, arg, &err);
    if (job || rc != 0)
        answer(arg, rc == 0 ? job : NULL, &err);
}

/* -------------------------------------------------------------------------------- priority */

struct priority_change {
    struct live *live;
    int32_t priority;
    job_answer_fn answer;
    void *arg;
};

/* The change is in the log, or it never was; the job goes on either way. It is still live, because
 * the completion of its FINISHED comes later. */
static void on_priority_kept(void *arg, const struct ltd_err *result)
{
    struct priority_change *change = arg;
    struct live *live = change->live;
    bool is_kept = result->code == LTD_OK;
    live->n_priorities--;
    if (is_kept && live->is_working)
        work_queue_set_priority(live->table->config.queue, &live->work, change->priority);
    change->answer(change->arg, is_kept ? live->job : NULL, result);
    if (is_kept)
        tell_watchers(live->watchers);
    free(change);
}

static int check_priority_change(const struct job *job, const struct live *live,
                                 struct ltd_err *err)
{
    /* The end of a job may be on its way into the log, or its log may have a hole. */
    if (!live || !live->is_working || live->is_failed_by_log)
        return ltd_fail(err, LTD_E_PRECONDITION, "job %s has finished and has no priority any more",
                        job->id);
    if (job->n_priority_changes + live->n_priorities >= JOB_PRIORITY_CHANGES_MAX)
        return ltd_fail(err, LTD_E_EXHAUSTED,
                        "job %s: its priority was changed %d times, which is as often as it can be",
                        job->id, JOB_PRIORITY_CHANGES_MAX);
    return 0;
}

void job_table_set_priority(struct job_table *table, const struct job *job, uint32_t priority,
                            job_answer_fn answer, void *arg)
{
    struct ltd_err err = {0};
    struct live *live = find_live(table, job);
    struct priority_change *change = NULL;
    if (check_priority_change(job, live, &err) == 0) {
        if (job->priority == priority && live->n_priorities == 0) {
            answer(arg, job, &err);
            return;
        }
        change = malloc(sizeof *change);
        if (!change)
            ltd_fail(&err, LTD_E_EXHAUSTED, "no memory for a request");
    }
    if (!change) {
        answer(arg, NULL, &err);
        return;
    }
    *change = (struct priority_change){live, (int32_t)priority, answer, arg};
    live->n_priorities++;
    struct job_event event = {.kind = JOB_EV_PRIORITY, .time_us = ltd_wall_us()};
    event.priority = (uint8_t)priority;
    store_append(table->config.store, live->id, &event, on_priority_kept, change);
}

/* --------------------------------------------------------------------------- cancel, delete */

static void end_work(struct live *live, enum engine_finish how)
{
    if (live->is_working)
        work_queue_cancel(live->table->config.queue, &live->work, how);
}

void job_table_cancel(struct job_table *table, const struct job *job, enum engine_finish how,
                      job_answer_fn answer, void *arg)
{
    struct ltd_err err = {0};
    struct live *live = find_live(table, job);
    if (!live) {
        answer(arg, job, &err);
        return;
    }
    if (add_waiter(live, true, answer, arg) != 0) {
        ltd_fail(&err, LTD_E_EXHAUSTED, "no memory for a request");
        answer(arg, NULL, &err);
        return;
    }
    end_work(live, how);
}

void job_table_delete(struct job_table *table, const struct job *job, job_answer_fn answer,
                      void *arg)
{
    struct ltd_err err = {0};
    struct live *live = find_live(table, job);
    if (!live) {
        store_forget(table->config.store, job);
        answer(arg, NULL, &err);
        return;
    }
    if (add_waiter(live, true, answer, arg) != 0) {
        ltd_fail(&err, LTD_E_EXHAUSTED, "no memory for a request");
        answer(arg, NULL, &err);
        return;
    }
    live->is_deleted = true;
    end_work(live, ENGINE_FINISH_CANCELLED);
}

/* --------------------------------------------------------------------------------- watchers */

void job_table_watch(struct job_table *table, const struct job *job, struct job_watcher *watcher)
{
    struct live *live = find_live(table, job);
    watcher->live = live;
    watcher->prev = NULL;
    watcher->next = NULL;
    if (!live)
        return;
    watcher->next = live->watchers;
    if (live->watchers)
        live->watchers->prev = watcher;
    live->watchers = watcher;
}

void job_table_unwatch(struct job_watcher *watcher)
{
    struct live *live = watcher->live;
    if (!live)
        return;
    *(watcher->prev ? &watcher->prev->next : &live->watchers) = watcher->next;
    if (watcher->next)
        watcher->next->prev = watcher->prev;
    watcher->live = NULL;
    watcher->next = watcher->prev = NULL;
}

const struct wire_thinking *job_watcher_thinking(const struct job_watcher *watcher)
{
    return watcher->live && watcher->live->has_thinking ? &watcher->live->thinking : NULL;
}

/* ------------------------------------------------------------------------------------ drain */

/* Waits until its owner lets it go. A change that is on its way into the log may be just that. */
static bool is_held(const struct live *live)
{
    if (live->n_priorities > 0)
        return false;
    if (!live->job)
        return live->spec->priority == SPEC_PRIORITY_HOLD;
    return live->counts_as_queued && live->job->priority == SPEC_PRIORITY_HOLD;
}

void job_table_close(struct job_table *table)
{
    table->is_closed = true;
    for (struct live *live = table->first; live; live = live->next) {
        if (!is_held(live))
            continue;
        live->is_stopped = true;
        end_work(live, ENGINE_FINISH_CANCELLED);
    }
}

bool job_table_is_closed(const struct job_table *table)
{
    return table->is_closed;
}

void job_table_stop_all(struct job_table *table)
{
    for (struct live *live = table->first; live; live = live->next)
        live->is_stopped = true;
    work_queue_cancel_all(table->config.queue);
}

uint32_t job_table_n_live(const struct job_table *table)
{
    return table->n_live;
}

uint32_t job_table_n_queued(const struct job_table *table)
{
    return table->n_queued;
}

uint64_t job_table_n_finished(const struct job_table *table)
{
    return table->n_finished;
}

uint64_t job_table_n_ended(const struct job_table *table, enum job_state state)
{
    return table->n_ended[state];
}
