/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/job_table.c - see daemon/job_table.h.
 *
 * What a job goes through between its submission and its end is drawn in daemon/job_live.h; here
 * are the requests that begin it, change it, and ask for its end.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "daemon/job_given.h"
#include "daemon/job_live.h"

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

/* A job that ended, or one that is left to a later process: nothing can be changed about either. */
static bool is_out_of_reach(const struct live *live)
{
    return !live || live->stage == LIVE_PARKED;
}

/* ----------------------------------------------------------------------------------- submit */

/* The job is in the log, and whoever asked for it knows: it begins, unless that was too late. */
static void go_on_queued(struct live *live)
{
    if (live->is_stop_due)
        live_end(live, live->stop_how, NULL);
    else if (!live->is_stopped)
        live_place(live);
    else if (live->table->is_parking && !live->is_attached)
        live_park(live);
    else
        live_end(live, ENGINE_FINISH_CANCELLED, NULL);
}

/* QUEUED is in the log: the job exists, and its work begins when it may. */
static void on_queued(void *arg, const struct ltd_err *result)
{
    struct live *live = arg;
    struct job_table *table = live->table;
    live_append_done(live);
    if (result->code != LTD_OK) {
        live_answer_waiters(live, true, NULL, result);
        live_destroy(live);
        live_place_waiting(table); /* its place is free */
        return;
    }
    live->job = store_find(table->config.store, live->id);
    store_pin(table->config.store, live->job);
    live->counts_as_queued = true;
    table->n_queued++;
    ltd_debug("job %s queued: %d prompt tokens, at most %d to write, %d of them known, depth %d",
              live->id, live->spec->n_prompt, live->spec->max_tokens, live->spec->known.n,
              live->spec->depth.rule.max_steps);
    live_answer_waiters(live, false, live->job, result);
    go_on_queued(live);
}

/* Time buys depth, and a fixed depth cannot be sold: what would come late is not begun. A job that
 * is held has its owner to wait for. */
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
    ltd_err_reason(err, "TOO_LATE");
    return ltd_err_retry_after(err, work_queue_wait_ms(table->config.queue));
}

static int refuse_draining(struct ltd_err *err)
{
    ltd_fail(err, LTD_E_UNAVAILABLE, "the service is draining, no new jobs; try another or later");
    return ltd_err_reason(err, "DRAINING");
}

static int check_admission(struct job_table *table, const struct job_spec *spec,
                           struct ltd_err *err)
{
    const struct job_table_config *config = &table->config;
    if (table->is_closed)
        return refuse_draining(err);
    int32_t n_positions = spec->n_prompt + spec->max_tokens - 1;
    if (!engine_fits(table->engine, n_positions)) {
        ltd_fail(err, LTD_E_INVALID,
                 "spec.max_tokens: a prompt of %d tokens and %d to write do not fit the whole "
                 "key-value cache (kv_memory)",
                 spec->n_prompt, spec->max_tokens);
        return ltd_err_reason(err, "PROMPT_TOO_LONG");
    }
    size_t bound = job_log_bytes_bound(spec, config->token_text_bytes_max);
    if (bound > STORE_JOB_BYTES_MAX) {
        ltd_fail(
            err, LTD_E_EXHAUSTED,
            "spec: %d tokens with %d logprobs each may take %zu bytes of event log, at most %zu "
            "are kept per job",
            spec->max_tokens, spec->n_logprobs, bound, STORE_JOB_BYTES_MAX);
        return ltd_err_reason(err, "LOG_TOO_LARGE");
    }
    return check_time(table, spec, err);
}

static void append_queued(struct live *live)
{
    struct job_table *table = live->table;
    struct job_event event = {.kind = JOB_EV_QUEUED, .time_us = ltd_wall_us()};
    char numerics[JOB_NUMERICS_BYTES];
    live_name_numerics(table, live->spec, numerics);
    event.queued = (struct job_queued){
        .request_id = live->request_id,
        .label = live->spec->label,
        .tier = table->config.tier,
        .client = live->spec->client,
        .continues = live->spec->continues,
        .owner = live->owner,
        .numerics = numerics,
        .is_attached = live->is_attached,
        .seed = live->spec->seed,
        .prompt_tokens = (uint32_t)live->spec->n_prompt,
        .position = work_queue_n_unstarted(table->config.queue),
        .priority = (uint8_t)live->spec->priority,
        .spec = live->spec->wire,
        .spec_len = live->spec->wire_len,
    };
    live_append(live, &event, on_queued, live);
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
static struct live *find_pending(struct job_table *table, const char *owner, const char *request_id)
{
    struct live *live = *request_id ? table->first : NULL;
    while (live && (live->job || strcmp(live->request_id, request_id) != 0 ||
                    strcmp(live->owner, owner) != 0))
        live = live->next;
    return live;
}

/* What is submitted, and on whose behalf; the spec is owned. */
struct submission {
    struct job_spec *spec;
    const struct job_caller *caller;
    const struct job *from; /* the job whose tokens the new one begins with, or NULL */
    const char *request_id;
    job_answer_fn answer;
    void *arg;
};

static const char *owner_of(const struct job_caller *caller)
{
    return caller->owner ? caller->owner : "";
}

/* 1: an earlier submission answers this one; 0: it is new; -1: refused. */
static int join_earlier(struct job_table *table, const struct submission *s, struct ltd_err *err)
{
    const char *owner = owner_of(s->caller);
    const struct job_spec *spec = s->spec;
    const struct job *job = store_find_request(table->config.store, owner, s->request_id);
    if (job && check_same_spec(table, job, spec, err) != 0)
        return -1;
    if (job) {
        s->answer(s->arg, job, err);
        return 1;
    }
    struct live *pending = find_pending(table, owner, s->request_id);
    if (!pending)
        return 0;
    if (check_same_source(s->request_id, pending->spec->continues, spec, err) != 0)
        return -1;
    if (pending->spec->wire_len != spec->wire_len ||
        memcmp(pending->spec->wire, spec->wire, spec->wire_len) != 0) {
        ltd_fail(err, LTD_E_EXISTS, "request_id: \"%s\" was used with another spec", s->request_id);
        return ltd_err_reason(err, "REQUEST_ID_REUSED");
    }
    if (live_add_waiter(pending, false, s->answer, s->arg) != 0)
        return ltd_fail(err, LTD_E_EXHAUSTED, "no memory for a request");
    return 1;
}

static struct live *make_live(struct job_table *table, const struct submission *s)
{
    struct live *live = live_make(table, s->spec, NULL);
    if (!live)
        return NULL;
    snprintf(live->request_id, sizeof live->request_id, "%s", s->request_id);
    snprintf(live->owner, sizeof live->owner, "%s", owner_of(s->caller));
    live->is_attached = s->caller->is_attached;
    live->from = s->from;
    if (s->from)
        store_pin(table->config.store, s->from);
    return live;
}

/* Behind join_earlier: who repeats a request is told of the job that he has already. */
int job_table_may_submit(const struct job_table *table, const char *owner, struct ltd_err *err)
{
    struct quota_use use = {0};
    if (!table->config.may_submit)
        return 0;
    for (const struct live *l = table->first; l; l = l->next) {
        if (strcmp(l->owner, owner) != 0)
            continue;
        use.n_queued += l->counts_as_queued || l->stage == LIVE_QUEUEING;
        use.running_steps += l->job ? l->job->total_steps : 0;
    }
    return table->config.may_submit(table->config.hook_arg, owner, &use, err);
}

/* From here on the spec belongs to the live job, also when it is refused. */
static int accept_live(struct live *live, const struct submission *s, struct ltd_err *err)
{
    if (work_queue_reserve(live->table->config.queue, &live->work, err) != 0)
        return -1;
    if (live_add_waiter(live, false, s->answer, s->arg) != 0)
        return ltd_fail(err, LTD_E_EXHAUSTED, "no memory for a request");
    append_queued(live);
    return 0;
}

static void submit(struct job_table *table, const struct submission *s)
{
    struct ltd_err err = {0};
    int joined = join_earlier(table, s, &err);
    if (joined == 1) {
        spec_destroy(s->spec);
        return;
    }
    struct live *live = NULL;
    if (joined == 0 && check_admission(table, s->spec, &err) == 0 &&
        job_table_may_submit(table, owner_of(s->caller), &err) == 0)
        live = make_live(table, s);
    if (!live) {
        if (err.code == LTD_OK)
            ltd_fail(&err, LTD_E_EXHAUSTED, "no memory for a job");
        spec_destroy(s->spec);
        s->answer(s->arg, NULL, &err);
        return;
    }
    if (accept_live(live, s, &err) != 0) {
        live_destroy(live);
        s->answer(s->arg, NULL, &err);
    }
}

void job_table_submit(struct job_table *table, struct job_spec *take_spec,
                      const struct job_caller *caller, const char *request_id, job_answer_fn answer,
                      void *arg)
{
    struct submission s = {take_spec, caller, NULL, request_id, answer, arg};
    submit(table, &s);
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
        /* Also where the old spec left them open and this process would give others. */
        spec->depth.early_steps = job_early_steps(how->job);
        spec->known = c.known;
        c.known = (struct spec_known){0};
        snprintf(spec->continues, sizeof spec->continues, "%s", how->job->id);
    }
    continuation_fini(&c);
    struct submission s = {spec, how->caller, how->job, how->request_id, answer, arg};
    if (spec)
        submit(table, &s);
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
    if (live_add_waiter(pending, false, answer, arg) != 0)
        return ltd_fail(err, LTD_E_EXHAUSTED, "no memory for a request");
    return 0;
}

void job_table_continue_again(struct job_table *table, const struct job_continue_again *how,
                              job_answer_fn answer, void *arg)
{
    struct ltd_err err = {0};
    const struct job *job = store_find_request(table->config.store, how->owner, how->request_id);
    struct live *pending = job ? NULL : find_pending(table, how->owner, how->request_id);
    int rc =
        job ? check_kept(table, job, how, &err) : wait_for_pending(pending, how, answer, arg, &err);
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
    struct job_table *table = live->table;
    bool is_kept = result->code == LTD_OK;
    live->n_priorities--;
    if (is_kept && live->stage == LIVE_WORKING)
        work_queue_set_priority(table->config.queue, &live->work, change->priority);
    if (is_kept && live->stage == LIVE_WAITING && live->spec)
        live->spec->priority = change->priority;
    change->answer(change->arg, is_kept ? live->job : NULL, result);
    free(change);
    if (!live_append_done(live) && is_kept)
        live_tell_watchers(live->watchers);
    live_place_waiting(table); /* it may have been held */
}

static int check_priority_change(const struct job *job, const struct live *live,
                                 struct ltd_err *err)
{
    if (is_out_of_reach(live) && !job_state_is_final(job->state)) {
        live_refuse_parked(job, err);
        return -1;
    }
    /* The end of a job may be on its way into the log, or its log may have a hole. */
    bool may_change = live && (live->stage == LIVE_WORKING || live->stage == LIVE_WAITING);
    if (!may_change || live->is_failed)
        return ltd_fail(err, LTD_E_PRECONDITION, "job %s has finished and has no priority any more",
                        job->id);
    if (job->n_priority_changes + live->n_priorities >= JOB_PRIORITY_CHANGES_MAX) {
        ltd_fail(err, LTD_E_EXHAUSTED,
                 "job %s: its priority was changed %d times, which is as often as it can be",
                 job->id, JOB_PRIORITY_CHANGES_MAX);
        return ltd_err_reason(err, "PRIORITY_CHANGES");
    }
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
    live_append(live, &event, on_priority_kept, change);
}

/* --------------------------------------------------------------------------- cancel, delete */

void job_table_cancel(struct job_table *table, const struct job *job, enum engine_finish how,
                      job_answer_fn answer, void *arg)
{
    struct ltd_err err = {0};
    struct live *live = find_live(table, job);
    if (is_out_of_reach(live)) {
        bool is_final = job_state_is_final(job->state);
        if (!is_final)
            live_refuse_parked(job, &err);
        answer(arg, is_final ? job : NULL, &err);
        return;
    }
    if (live_add_waiter(live, true, answer, arg) != 0) {
        ltd_fail(&err, LTD_E_EXHAUSTED, "no memory for a request");
        answer(arg, NULL, &err);
        return;
    }
    live_stop_work(live, how);
}

/* Who deletes a job that has finished. */
struct deletion {
    job_answer_fn answer;
    void *arg;
};

static void on_forgotten(void *arg, const struct ltd_err *result)
{
    struct deletion deletion = *(struct deletion *)arg;
    free(arg);
    deletion.answer(deletion.arg, NULL, result);
}

static int forget_finished(struct job_table *table, const struct job *job, job_answer_fn answer,
                           void *arg, struct ltd_err *err)
{
    if (!job_state_is_final(job->state)) {
        live_refuse_parked(job, err);
        return -1;
    }
    struct deletion *deletion = malloc(sizeof *deletion);
    if (!deletion)
        return ltd_fail(err, LTD_E_EXHAUSTED, "no memory for a request");
    *deletion = (struct deletion){answer, arg};
    store_forget(table->config.store, job, on_forgotten, deletion);
    return 0;
}

void job_table_delete(struct job_table *table, const struct job *job, job_answer_fn answer,
                      void *arg)
{
    struct ltd_err err = {0};
    struct live *live = find_live(table, job);
    if (is_out_of_reach(live)) {
        if (forget_finished(table, job, answer, arg, &err) != 0)
            answer(arg, NULL, &err);
        return;
    }
    if (live_add_waiter(live, true, answer, arg) != 0) {
        ltd_fail(&err, LTD_E_EXHAUSTED, "no memory for a request");
        answer(arg, NULL, &err);
        return;
    }
    live->is_deleted = true;
    live_stop_work(live, ENGINE_FINISH_CANCELLED);
}

/* --------------------------------------------------------------------------------- watchers */

void job_table_watch(struct job_table *table, const struct job *job, struct job_watcher *watcher)
{
    struct live *live = find_live(table, job);
    bool is_live = !is_out_of_reach(live);
    watcher->live = is_live ? live : NULL;
    watcher->is_parked = !is_live && table->is_parking && !job_state_is_final(job->state);
    watcher->prev = NULL;
    watcher->next = NULL;
    if (!is_live)
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

void job_table_limits_changed(struct job_table *table)
{
    live_place_waiting(table);
}

void job_table_close(struct job_table *table)
{
    table->is_closed = true;
    for (struct live *live = table->first, *next; live && !table->config.is_durable; live = next) {
        next = live->next;
        if (!is_held(live))
            continue;
        live->is_stopped = true;
        live_stop_work(live, ENGINE_FINISH_CANCELLED);
    }
}

bool job_table_is_closed(const struct job_table *table)
{
    return table->is_closed;
}

void job_table_stop_all(struct job_table *table)
{
    table->is_stopping = true;
    for (struct live *live = table->first, *next; live; live = next) {
        next = live->next;
        live->is_stopped = true;
        if (live->stage == LIVE_WAITING)
            live_stop_work(live, ENGINE_FINISH_CANCELLED);
    }
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
