/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/job_restart.c - jobs of an earlier process, and leaving jobs to a later one.
 *
 *     log  QUEUED STARTED TOKEN TOKEN TOKEN ✂        where the earlier process ended
 *     known                 0     1                  taken in, nothing is written for them
 *     expected                          2            chosen again, compared with the log, dropped
 *                                          3 4 …     what follows is appended
 *
 * Choosing the last token again costs the thinking of one token and answers every question about
 * the moment of the crash: whether that token ended the answer, what text was held back behind it,
 * how many steps it all took. And it is a proof, once per restart, that this process computes what
 * that one did. Where time or load chose how deep the token was, its depth is taken from the log.
 *
 * Time limits are counted by the wall clock from the recorded beginning, downtime included: that is
 * what their owner sees. A clock that was set back gives time, never takes it.
 *
 * Rules: docs/job-events.md#restart.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "daemon/job_given.h"
#include "daemon/job_live.h"

#define PAGE_JOBS 256

/* ------------------------------------------------------------------------------ reading a log */

struct reading {
    struct spec_known known;
    struct live_expected last;
    uint32_t n_tokens, n_room;
    bool is_short; /* of memory */
};

static void take_last(struct reading *r, const struct job_event *event)
{
    r->last.is_due = true;
    r->last.id = event->token.id;
    r->last.steps = event->token.steps;
    r->last.text_len = event->text_len;
    r->last.text = malloc(event->text_len ? event->text_len : 1);
    if (r->last.text && event->text_len)
        memcpy(r->last.text, event->text, event->text_len);
    r->is_short |= !r->last.text;
}

static bool take_token(void *arg, const struct job_event *event)
{
    struct reading *r = arg;
    if (event->kind != JOB_EV_TOKEN)
        return true;
    if (r->n_tokens + 1 < r->n_room) {
        r->known.ids[r->known.n] = event->token.id;
        r->known.steps[r->known.n++] = event->token.steps;
    } else {
        take_last(r, event);
    }
    return ++r->n_tokens < r->n_room && !r->is_short;
}

static void free_reading(struct reading *r)
{
    free(r->known.ids);
    free(r->known.steps);
    free(r->last.text);
    *r = (struct reading){0};
}

/* All tokens of the log: the last one apart, the others as known. */
static int read_tokens(struct reading *r, struct store *store, const struct job *job,
                       struct ltd_err *err)
{
    *r = (struct reading){.n_room = job->output_tokens};
    if (job->output_tokens == 0)
        return 0;
    r->known.ids = calloc(job->output_tokens, sizeof *r->known.ids);
    r->known.steps = calloc(job->output_tokens, sizeof *r->known.steps);
    if (!r->known.ids || !r->known.steps)
        return ltd_fail(err, LTD_E_EXHAUSTED, "no memory for %u tokens", job->output_tokens);
    if (store_read(store, job, 0, take_token, r, err) != 0)
        return -1;
    if (r->is_short)
        return ltd_fail(err, LTD_E_EXHAUSTED, "no memory for a token");
    if (r->n_tokens < r->n_room)
        return ltd_fail(err, LTD_E_CORRUPT, "its log has %u tokens, expected %u", r->n_tokens,
                        r->n_room);
    return 0;
}

/* ------------------------------------------------------------------------------ making the spec */

/* What is left of a time that began at `begin_us`; at least 1, because 0 means no limit. */
static uint64_t left_ms(uint64_t limit_ms, int64_t begin_us, int64_t now_us)
{
    if (limit_ms == 0 || begin_us == 0 || now_us <= begin_us)
        return limit_ms;
    uint64_t gone_ms = (uint64_t)(now_us - begin_us) / 1000;
    return gone_ms < limit_ms ? limit_ms - gone_ms : 1;
}

void live_count_time(struct live *live)
{
    int64_t now_us = ltd_wall_us();
    struct job_spec *spec = live->spec;
    spec->max_run_ms = left_ms(spec->max_run_ms, live->job->start_us, now_us);
    spec->budget.total_ms = left_ms(spec->budget.total_ms, live->job->create_us, now_us);
}

/* The depth of the last token, where the clock chose it. A depth that was asked for by name is the
 * one that was taken, so there is room for one more. */
static void fix_depth(struct job_spec *spec, int32_t token, int32_t steps)
{
    struct spec_depth *depth = &spec->depth;
    int32_t at = 0;
    while (at < depth->n_at && depth->at[at].token < token)
        at++;
    if (at < depth->n_at && depth->at[at].token == token)
        return;
    memmove(&depth->at[at + 1], &depth->at[at], (size_t)(depth->n_at - at) * sizeof *depth->at);
    depth->at[at] = (struct spec_depth_at){token, steps};
    depth->n_at++;
}

void live_name_numerics(const struct job_table *table, const struct job_spec *spec,
                        char text[JOB_NUMERICS_BYTES])
{
    struct job_given given = {.max_tokens = spec->max_tokens,
                              .max_steps = spec->depth.rule.max_steps,
                              .early_steps = spec->depth.early_steps};
    if (given.early_steps > 0)
        snprintf(given.early_format, sizeof given.early_format, "%s", table->config.early_format);
    job_given_put(table->config.numerics, &given, text);
}

/* What the job was given; zeros when its log does not say. False: other numerics. */
static bool read_numerics(const struct job_table *table, const struct job *job,
                          struct job_given *given)
{
    const char *ours = table->config.numerics;
    size_t len = strlen(ours);
    *given = (struct job_given){0};
    if (strncmp(job->numerics, ours, len) != 0 || !job_given_take(job->numerics + len, given))
        return false;
    return given->early_steps == 0 || strcmp(given->early_format, table->config.early_format) == 0;
}

/* What the spec leaves open is what it was when the job was accepted, whatever this process would
 * give it: an answer does not change in the middle. */
static void fill_defaults(Latentd__V1__JobSpec *message, const struct job_given *given)
{
    uint32_t max_steps = given->max_steps > 0 ? (uint32_t)given->max_steps : 0;
    Latentd__V1__Depth *depth = message->depth;
    if (message->max_tokens == 0 && given->max_tokens > 0)
        message->max_tokens = (uint32_t)given->max_tokens;
    if (depth && depth->mode_case == LATENTD__V1__DEPTH__MODE_ADAPTIVE &&
        depth->adaptive->max_steps == 0)
        depth->adaptive->max_steps = max_steps;
    if (depth && depth->mode_case == LATENTD__V1__DEPTH__MODE_RANGE && depth->range->max_steps == 0)
        depth->range->max_steps = max_steps;
}

/* A default depth follows from the model, unless the process allows less. */
static int check_defaults(const struct job_spec *spec, const struct job_given *given,
                          struct ltd_err *err)
{
    if (given->max_steps == 0 || spec->depth.rule.max_steps == given->max_steps)
        return 0;
    return ltd_fail(err, LTD_E_PRECONDITION,
                    "it was begun with %d steps, here it has %d (max_steps)", given->max_steps,
                    spec->depth.rule.max_steps);
}

static struct job_spec *decode_spec(struct job_table *table, const struct job *job,
                                    job_decode_fn decode, void *arg, struct ltd_err *err)
{
    struct ltd_bytes wire;
    ltd_bytes_init(&wire);
    Latentd__V1__JobSpec *message = NULL;
    if (wire_stored_spec(table->config.store, job, &wire, err) == 0) {
        message = latentd__v1__job_spec__unpack(NULL, wire.len, wire.data);
        if (!message)
            ltd_fail(err, LTD_E_CORRUPT, "its spec cannot be read");
    }
    ltd_bytes_fini(&wire);
    if (!message)
        return NULL;
    struct job_given given;
    read_numerics(table, job, &given);
    fill_defaults(message, &given);
    struct job_spec *spec = decode(arg, message, err);
    latentd__v1__job_spec__free_unpacked(message, NULL);
    if (!spec || check_defaults(spec, &given, err) == 0)
        return spec;
    spec_destroy(spec);
    return NULL;
}

/* What the job was, as it stands in its log, over what its spec alone says. */
static void adopt(struct job_spec *spec, const struct job *job, struct reading *r)
{
    spec->seed = job->seed;
    spec->depth.early_steps = job_early_steps(job);
    spec->priority = (int32_t)job->priority;
    memcpy(spec->client, job->client, sizeof job->client);
    memcpy(spec->continues, job->continues, sizeof job->continues);
    if (r->last.is_due && spec_is_elastic(spec))
        fix_depth(spec, (int32_t)job->output_tokens - 1, r->last.steps);
    spec->known = r->known;
    r->known = (struct spec_known){0};
}

/* -------------------------------------------------------------------------------- recovering */

static struct live *make_recovered(struct job_table *table, const struct job *job,
                                   struct job_spec *take_spec)
{
    struct live *live = live_make(table, take_spec, job->id);
    if (!live)
        return NULL;
    live->job = job;
    store_pin(table->config.store, job);
    memcpy(live->request_id, job->request_id, sizeof live->request_id);
    memcpy(live->owner, job->owner, sizeof live->owner);
    live->is_attached = job->is_attached;
    live->counts_as_queued = job->state == JOB_QUEUED;
    table->n_queued += live->counts_as_queued;
    return live;
}

/* The job ends here and now, with this error in its log. */
static int end_recovered(struct job_table *table, const struct job *job, const struct ltd_err *why,
                         struct ltd_err *err)
{
    struct live *live = make_recovered(table, job, NULL);
    if (!live)
        return ltd_fail(err, LTD_E_EXHAUSTED, "no memory for job %s", job->id);
    ltd_warning("job %s cannot go on after the restart: %s", job->id, why->msg);
    live_end(live, ENGINE_FINISH_ERROR, why);
    return 0;
}

static int wait_for_numerics(struct job_table *table, const struct job *job, struct ltd_err *err)
{
    struct live *live = make_recovered(table, job, NULL);
    if (!live)
        return ltd_fail(err, LTD_E_EXHAUSTED, "no memory for job %s", job->id);
    ltd_warning("job %s waits: it was begun with %s, here is %s", job->id, job->numerics,
                table->config.numerics);
    live->is_foreign = true;
    live_place(live);
    return 0;
}

/* 0: the job goes on as it is; -1 and `why`: it cannot. */
static int check_numerics(const struct job_table *table, const struct job *job, struct ltd_err *why)
{
    struct job_given given;
    if (read_numerics(table, job, &given))
        return 0;
    ltd_fail(why, LTD_E_PRECONDITION,
             "the job was begun with %.160s; this process has %.160s, which gives other bytes",
             job->numerics, table->config.numerics);
    return -1;
}

static int prepare(struct job_table *table, const struct job *job, job_decode_fn decode,
                   void *decode_arg, struct reading *r, struct job_spec **out, struct ltd_err *why)
{
    *out = NULL;
    if (job->is_attached)
        return ltd_fail(why, LTD_E_UNAVAILABLE,
                        "the service was restarted, and the call that the job belonged to ended");
    if (read_tokens(r, table->config.store, job, why) != 0)
        return -1;
    *out = decode_spec(table, job, decode, decode_arg, why);
    if (!*out)
        return -1;
    if (!engine_fits(table->engine, (*out)->n_prompt + (*out)->max_tokens - 1))
        return ltd_fail(why, LTD_E_PRECONDITION,
                        "its %d positions do not fit the key-value cache any more (kv_memory)",
                        (*out)->n_prompt + (*out)->max_tokens - 1);
    return 0;
}

static int recover(struct job_table *table, const struct job *job, job_decode_fn decode,
                   void *decode_arg, struct ltd_err *err)
{
    struct reading r = {0};
    struct job_spec *spec = NULL;
    struct ltd_err why = {0};
    bool is_foreign = !job->is_attached && check_numerics(table, job, &why) != 0;
    if (is_foreign && !table->config.fails_foreign)
        return wait_for_numerics(table, job, err);
    if (is_foreign || prepare(table, job, decode, decode_arg, &r, &spec, &why) != 0) {
        spec_destroy(spec);
        free_reading(&r);
        if (why.code == LTD_E_EXHAUSTED) {
            *err = why;
            return ltd_err_context(err, "job %s", job->id);
        }
        return end_recovered(table, job, &why, err);
    }
    adopt(spec, job, &r);
    struct live *live = make_recovered(table, job, spec);
    if (live) {
        live->expected = r.last;
        r.last = (struct live_expected){0};
        live_place(live);
    }
    free_reading(&r);
    if (live)
        return 0;
    spec_destroy(spec);
    return ltd_fail(err, LTD_E_EXHAUSTED, "no memory for job %s", job->id);
}

/* All unfinished jobs of the log, newest first. Returns owned, or NULL. */
static const struct job **find_unfinished(struct store *store, size_t *n, struct ltd_err *err)
{
    struct store_query query = {.states = 1u << JOB_QUEUED | 1u << JOB_RUNNING};
    const struct job **jobs = NULL;
    bool more = true;
    for (*n = 0; more;) {
        const struct job **grown = realloc(jobs, (*n + PAGE_JOBS) * sizeof(const struct job *));
        if (!grown) {
            free(jobs);
            return ltd_fail_null(err, LTD_E_EXHAUSTED, "no memory for the jobs of the log");
        }
        jobs = grown;
        *n += store_list(store, &query, jobs + *n, PAGE_JOBS, &more);
        query.before_id = *n ? jobs[*n - 1]->id : NULL;
    }
    return jobs;
}

static uint32_t n_at(const struct job_table *table, enum live_stage stage)
{
    uint32_t n = 0;
    for (const struct live *live = table->first; live; live = live->next)
        n += live->stage == stage;
    return n;
}

int job_table_recover(struct job_table *table, job_decode_fn decode, void *decode_arg,
                      struct ltd_err *err)
{
    size_t n;
    const struct job **jobs = find_unfinished(table->config.store, &n, err);
    if (!jobs)
        return -1;
    int rc = 0;
    for (size_t i = n; i-- > 0 && rc == 0;)
        rc = recover(table, jobs[i], decode, decode_arg, err);
    free(jobs);
    if (n > 0)
        ltd_info("%zu unfinished jobs found: %u go on, %u wait", n, n_at(table, LIVE_WORKING),
                 table->n_waiting);
    return rc == 0 ? (int)n : -1;
}

/* ------------------------------------------------------------------------------------ parking */

/* A cancel that somebody waits for is obeyed; what ended by itself has ended. A rank that is lost
 * takes this process with it, and no job. */
bool live_is_to_be_parked(const struct live *live, const struct engine_event *end)
{
    const struct job_table *table = live->table;
    if (!table->config.is_durable || live->is_attached || live->is_failed)
        return false;
    if (end->finish == ENGINE_FINISH_ERROR && end->error.code == LTD_E_RANK)
        return true;
    return table->is_parking && end->finish == ENGINE_FINISH_CANCELLED &&
           !live_has_finish_waiter(live);
}

void live_refuse_parked(const struct job *job, struct ltd_err *err)
{
    ltd_fail(err, LTD_E_UNAVAILABLE,
             "job %s: the service stops; the job goes on after its restart, ask again then",
             job->id);
    ltd_err_reason(err, "DRAINING");
}

void live_park(struct live *live)
{
    struct ltd_err why;
    live_refuse_parked(live->job, &why);
    ltd_debug("job %s is left to a later process, %u tokens written", live->id,
              live->job->output_tokens);
    live_set_stage(live, LIVE_PARKED);
    live_answer_waiters(live, true, NULL, &why);
    for (struct job_watcher *w = live->watchers; w; w = w->next)
        w->is_parked = true;
    live_tell_watchers(live_detach_watchers(live));
    if (live->n_appends == 0)
        live_destroy(live);
}

void job_table_park(struct job_table *table)
{
    table->is_parking = table->is_stopping = true;
    for (struct live *live = table->first, *next; live; live = next) {
        next = live->next;
        if (live->is_attached)
            continue;
        live->is_stopped = !live_has_finish_waiter(live);
        if (live->stage == LIVE_WAITING)
            live_park(live);
        else if (live->stage == LIVE_WORKING)
            work_queue_cancel(table->config.queue, &live->work, ENGINE_FINISH_CANCELLED);
    }
}
