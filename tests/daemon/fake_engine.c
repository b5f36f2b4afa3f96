/* SPDX-License-Identifier: Apache-2.0 */
/* tests/daemon/fake_engine.c - see tests/daemon/fake_engine.h. */
#include "fake_engine.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"

#define JOBS_MAX     512
#define WAIT_SECONDS 60

struct engine {
    struct ltd_mailbox events;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint64_t numbers[JOBS_MAX];
    const struct job_spec *specs[JOBS_MAX];
    int32_t priorities[JOBS_MAX]; /* -1: never set */
    bool is_finished[JOBS_MAX];
    size_t n_jobs, n_cancels, n_priorities;
    enum engine_finish last_cancel;
    enum ltd_code refusal;
    int32_t room;
    bool obeys_cancels;
    uint64_t predicted_ns; /* from now */
    double wait_ms;
};

struct engine *fake_engine_create(ltd_mailbox_notify_fn notify, void *notify_arg)
{
    struct engine *e = calloc(1, sizeof *e);
    assert_non_null(e);
    ltd_mailbox_init(&e->events, notify, notify_arg);
    pthread_mutex_init(&e->lock, NULL);
    pthread_cond_init(&e->changed, NULL);
    e->room = INT32_MAX;
    e->obeys_cancels = true;
    return e;
}

void fake_engine_destroy(struct engine *e)
{
    struct engine_event *event = engine_take_events(e);
    while (event) {
        struct engine_event *next = (struct engine_event *)event->mail.next;
        engine_event_destroy(event);
        event = next;
    }
    ltd_mailbox_fini(&e->events);
    pthread_mutex_destroy(&e->lock);
    pthread_cond_destroy(&e->changed);
    free(e);
}

/* ------------------------------------------------------------------ what the loop calls */

int engine_submit(struct engine *e, uint64_t job, const struct job_spec *spec, struct ltd_err *err)
{
    int rc = 0;
    pthread_mutex_lock(&e->lock);
    if (e->refusal != LTD_OK) {
        rc = ltd_fail(err, e->refusal, "the fake engine refuses");
    } else {
        e->numbers[e->n_jobs] = job;
        e->priorities[e->n_jobs] = -1;
        e->specs[e->n_jobs++] = spec;
    }
    pthread_cond_broadcast(&e->changed);
    pthread_mutex_unlock(&e->lock);
    return rc;
}

static struct engine_event *make_event(enum engine_event_kind kind)
{
    struct engine_event *event = calloc(1, sizeof *event);
    assert_non_null(event);
    event->kind = kind;
    event->time_us = ltd_wall_us();
    return event;
}

/* n_jobs for a number that was never submitted. The lock is held. */
static size_t find(const struct engine *e, uint64_t job)
{
    size_t idx = 0;
    while (idx < e->n_jobs && e->numbers[idx] != job)
        idx++;
    return idx;
}

void engine_cancel(struct engine *e, uint64_t job, enum engine_finish finish)
{
    pthread_mutex_lock(&e->lock);
    size_t idx = find(e, job);
    e->n_cancels++;
    e->last_cancel = finish;
    bool ends = e->obeys_cancels && idx < e->n_jobs && !e->is_finished[idx];
    pthread_cond_broadcast(&e->changed);
    pthread_mutex_unlock(&e->lock);
    if (ends)
        fake_engine_finish(e, idx, finish, LTD_OK);
}

void engine_set_priority(struct engine *e, uint64_t job, int32_t priority)
{
    pthread_mutex_lock(&e->lock);
    size_t idx = find(e, job);
    if (idx < e->n_jobs)
        e->priorities[idx] = priority;
    e->n_priorities++;
    pthread_cond_broadcast(&e->changed);
    pthread_mutex_unlock(&e->lock);
}

uint64_t engine_predict_end(struct engine *e, const struct job_spec *spec, uint64_t now_ns)
{
    (void)spec;
    pthread_mutex_lock(&e->lock);
    uint64_t ns = e->predicted_ns;
    pthread_mutex_unlock(&e->lock);
    return ns > UINT64_MAX - now_ns ? UINT64_MAX : now_ns + ns;
}

bool engine_fits(const struct engine *e, int32_t n_positions)
{
    return n_positions <= e->room;
}

struct engine_event *engine_take_events(struct engine *e)
{
    return (struct engine_event *)ltd_mailbox_take_all(&e->events);
}

void engine_event_destroy(struct engine_event *event)
{
    if (!event)
        return;
    free(event->text);
    free(event->score_logprobs);
    free(event->score_greedy);
    free(event->score_steps);
    free(event);
}

/* Another number in every field, so that a mix-up shows. */
static const struct engine_stats fixed_stats = {
    .ticks = 7,
    .tick_positions = 70,
    .decode_positions = 50,
    .prefill_positions = 15,
    .replay_positions = 5,
    .coda_positions = 31,
    .check_positions = 8,
    .head_rows = 33,
    .check_rows = 9,
    .preemptions = 3,
    .prefix_positions = 16,
    .token_steps = 120,
    .jobs_held = 2,
    .positions_running = 12,
    .pages_total = 5,
    .pages_used = 4,
    .pages_shared = 1,
    .pages_cached = 6,
    .waiting = {[0] = 17, [16] = 18, [31] = 19},
    .tick_ms_mean = 1.5,
    .load = 0.25,
    .turn_ms = 2.5,
    .costs = {{.fixed_ns = 1000, .each_ns = 2000},
              {.fixed_ns = 3000, .each_ns = 4000},
              {.fixed_ns = 5000, .each_ns = 6000},
              {.fixed_ns = 7000, .each_ns = 8000}},
    .tick_ms = {.bounds = {1, 2, 4}, .counts = {10, 20, 30}, .sum = 60},
    .batch = {.bounds = {8, 16, 32}, .counts = {11, 21, 31}, .sum = 61},
    .queue_ms = {.bounds = {100, 200, 400}, .counts = {12, 22, 32}, .sum = 62},
};

void engine_get_stats(struct engine *e, struct engine_stats *out)
{
    *out = fixed_stats;
    pthread_mutex_lock(&e->lock);
    out->tokens = e->n_jobs;
    out->wait_ms = e->wait_ms;
    pthread_mutex_unlock(&e->lock);
}

void engine_get_depths(struct engine *e, struct engine_depths *out)
{
    (void)e;
    memset(out, 0, sizeof *out);
    out->n_steps = 5;
    out->counts[ENGINE_EXIT_FIXED][3] = 11;
    out->counts[ENGINE_EXIT_CONVERGED][4] = 2;
}

/* ------------------------------------------------------------------ what the test calls */

void fake_engine_refuse(struct engine *e, enum ltd_code code)
{
    pthread_mutex_lock(&e->lock);
    e->refusal = code;
    pthread_mutex_unlock(&e->lock);
}

void fake_engine_set_room(struct engine *e, int32_t n_positions)
{
    e->room = n_positions;
}

void fake_engine_obey_cancels(struct engine *e, bool obeys)
{
    pthread_mutex_lock(&e->lock);
    e->obeys_cancels = obeys;
    pthread_mutex_unlock(&e->lock);
}

void fake_engine_predict(struct engine *e, uint64_t ns)
{
    pthread_mutex_lock(&e->lock);
    e->predicted_ns = ns;
    pthread_mutex_unlock(&e->lock);
}

void fake_engine_set_wait(struct engine *e, double wait_ms)
{
    pthread_mutex_lock(&e->lock);
    e->wait_ms = wait_ms;
    pthread_mutex_unlock(&e->lock);
}

/* `counter` lies in the engine and only grows. */
static void wait_for(struct engine *e, const size_t *counter, size_t n, const char *what)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += WAIT_SECONDS;
    pthread_mutex_lock(&e->lock);
    while (*counter < n) {
        if (pthread_cond_timedwait(&e->changed, &e->lock, &until) != 0) {
            size_t found = *counter;
            pthread_mutex_unlock(&e->lock);
            fail_msg("waited %d s for %zu %s, found %zu", WAIT_SECONDS, n, what, found);
        }
    }
    pthread_mutex_unlock(&e->lock);
}

void fake_engine_wait_jobs(struct engine *e, size_t n)
{
    wait_for(e, &e->n_jobs, n, "jobs");
}

enum engine_finish fake_engine_wait_cancels(struct engine *e, size_t n)
{
    wait_for(e, &e->n_cancels, n, "cancels");
    return e->last_cancel;
}

size_t fake_engine_n_jobs(struct engine *e)
{
    pthread_mutex_lock(&e->lock);
    size_t n = e->n_jobs;
    pthread_mutex_unlock(&e->lock);
    return n;
}

const struct job_spec *fake_engine_spec(struct engine *e, size_t idx)
{
    return e->specs[idx];
}

int32_t fake_engine_priority(struct engine *e, size_t idx)
{
    pthread_mutex_lock(&e->lock);
    int32_t priority = e->priorities[idx];
    pthread_mutex_unlock(&e->lock);
    return priority;
}

size_t fake_engine_n_priorities(struct engine *e)
{
    pthread_mutex_lock(&e->lock);
    size_t n = e->n_priorities;
    pthread_mutex_unlock(&e->lock);
    return n;
}

static void post(struct engine *e, size_t idx, struct engine_event *event)
{
    pthread_mutex_lock(&e->lock);
    assert_true(idx < e->n_jobs);
    event->job = e->numbers[idx];
    pthread_mutex_unlock(&e->lock);
    ltd_mailbox_post(&e->events, &event->mail);
}

void fake_engine_start(struct engine *e, size_t idx)
{
    post(e, idx, make_event(ENGINE_STARTED));
}

void fake_engine_start_predicted(struct engine *e, size_t idx, int64_t predicted_end_us)
{
    struct engine_event *event = make_event(ENGINE_STARTED);
    event->predicted_end_us = predicted_end_us;
    post(e, idx, event);
}

static void put_text(struct engine_event *event, const char *text, size_t text_len)
{
    if (text_len == 0)
        return;
    event->text = malloc(text_len);
    assert_non_null(event->text);
    memcpy(event->text, text, text_len);
    event->text_len = text_len;
}

static struct engine_event *make_token(int32_t id, const char *text, size_t text_len)
{
    struct engine_event *event = make_event(ENGINE_TOKEN);
    event->token = (struct engine_token){.id = id, .steps = 4, .n_top = -1};
    put_text(event, text, text_len);
    return event;
}

void fake_engine_write(struct engine *e, size_t idx, const struct engine_token *token,
                       const char *text, size_t text_len)
{
    struct engine_event *event = make_event(ENGINE_TOKEN);
    event->token = *token;
    put_text(event, text, text_len);
    post(e, idx, event);
}

void fake_engine_token(struct engine *e, size_t idx, int32_t id, const char *text, size_t text_len)
{
    post(e, idx, make_token(id, text, text_len));
}

void fake_engine_tokens(struct engine *e, size_t idx, int32_t first, int32_t n)
{
    for (int32_t i = 0; i < n; i++)
        post(e, idx, make_token(first + i, "ab", 2));
}

void fake_engine_think(struct engine *e, size_t idx, int32_t step)
{
    struct engine_event *event = make_event(ENGINE_THINKING);
    event->step = step;
    event->max_steps = 64;
    event->token_index = 3;
    event->criterion_value = 0.5;
    post(e, idx, event);
}

void fake_engine_score(struct engine *e, size_t idx, const float *logprobs, int32_t n)
{
    struct engine_event *event = make_event(ENGINE_SCORED);
    event->n_scores = n;
    event->score_steps = calloc((size_t)n, sizeof *event->score_steps);
    event->score_logprobs = calloc((size_t)n, sizeof *event->score_logprobs);
    event->score_greedy = calloc((size_t)n, sizeof *event->score_greedy);
    assert_true(event->score_logprobs && event->score_greedy && event->score_steps);
    for (int32_t i = 0; i < n; i++) {
        event->score_logprobs[i] = logprobs[i];
        event->score_greedy[i] = i % 2 == 0;
        event->score_steps[i] = 9 + i;
    }
    post(e, idx, event);
}

static void post_finished(struct engine *e, size_t idx, struct engine_event *event)
{
    event->total_steps = 99;
    pthread_mutex_lock(&e->lock);
    e->is_finished[idx] = true;
    pthread_mutex_unlock(&e->lock);
    post(e, idx, event);
}

void fake_engine_finish(struct engine *e, size_t idx, enum engine_finish finish,
                        enum ltd_code error)
{
    struct engine_event *event = make_event(ENGINE_FINISHED);
    event->finish = finish;
    if (error != LTD_OK)
        ltd_fail(&event->error, error, "the fake engine failed");
    post_finished(e, idx, event);
}

void fake_engine_finish_late(struct engine *e, size_t idx, enum engine_finish finish,
                             const char *tail)
{
    struct engine_event *event = make_event(ENGINE_FINISHED);
    event->finish = finish;
    event->late = true;
    put_text(event, tail, strlen(tail));
    post_finished(e, idx, event);
}
