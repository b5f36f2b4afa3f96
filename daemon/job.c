/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/job.c - the transition table, the fold, and job ids. Pure but for job_id_make.
 */
#include "daemon/job.h"

#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"

/* What happens next, or 0 (JOB_NONE) for a pair that cannot occur. Numbers as in
 * docs/job-events.md. */
static const enum job_state transitions[JOB_N_STATES][JOB_EV_N_KINDS] = {
    [JOB_NONE] = {[JOB_EV_QUEUED] = JOB_QUEUED},         /* T1 */
    [JOB_QUEUED] = {[JOB_EV_STARTED] = JOB_RUNNING,      /* T2 */
                    [JOB_EV_CANCELLED] = JOB_CANCELLED,  /* T3 */
                    [JOB_EV_FAILED] = JOB_FAILED,        /* T4 */
                    [JOB_EV_PRIORITY] = JOB_QUEUED},     /* T9 */
    [JOB_RUNNING] = {[JOB_EV_TOKEN] = JOB_RUNNING,       /* T5 */
                     [JOB_EV_SUCCEEDED] = JOB_SUCCEEDED, /* T6 */
                     [JOB_EV_CANCELLED] = JOB_CANCELLED, /* T7 */
                     [JOB_EV_FAILED] = JOB_FAILED,       /* T8 */
                     [JOB_EV_PRIORITY] = JOB_RUNNING},   /* T10 */
    /* Final states have no row. */
};

bool job_next_state(enum job_state from, enum job_event_kind kind, enum job_state *to)
{
    enum job_state next = transitions[from][kind];
    if (next == JOB_NONE)
        return false;
    *to = next;
    return true;
}

bool job_state_is_final(enum job_state state)
{
    return state == JOB_SUCCEEDED || state == JOB_CANCELLED || state == JOB_FAILED;
}

const char *job_state_name(enum job_state state)
{
    static const char *const names[JOB_N_STATES] = {
        [JOB_NONE] = "none",           [JOB_QUEUED] = "queued",       [JOB_RUNNING] = "running",
        [JOB_SUCCEEDED] = "succeeded", [JOB_CANCELLED] = "cancelled", [JOB_FAILED] = "failed",
    };
    return names[state];
}

const char *job_event_kind_name(enum job_event_kind kind)
{
    static const char *const names[JOB_EV_N_KINDS] = {
        [JOB_EV_QUEUED] = "queued",
        [JOB_EV_STARTED] = "started",
        [JOB_EV_TOKEN] = "token",
        [JOB_EV_SUCCEEDED] = "finished (succeeded)",
        [JOB_EV_CANCELLED] = "finished (cancelled)",
        [JOB_EV_FAILED] = "finished (failed)",
        [JOB_EV_PRIORITY] = "priority",
    };
    return names[kind];
}

enum job_event_kind job_finish_kind(enum job_finish reason)
{
    switch (reason) {
    case JOB_FINISH_EOS:
    case JOB_FINISH_STOP:
    case JOB_FINISH_LENGTH:
        return JOB_EV_SUCCEEDED;
    case JOB_FINISH_CANCELLED:
        return JOB_EV_CANCELLED;
    case JOB_FINISH_NONE:
    case JOB_FINISH_DEADLINE:
    case JOB_FINISH_ERROR:
        return JOB_EV_FAILED;
    }
    return JOB_EV_FAILED;
}

void job_init(struct job *job, const char *id)
{
    memset(job, 0, sizeof *job);
    snprintf(job->id, sizeof job->id, "%s", id);
}

static void fold_queued(struct job *job, const struct job_event *event)
{
    const struct job_queued *q = &event->queued;
    snprintf(job->request_id, sizeof job->request_id, "%s", q->request_id);
    snprintf(job->label, sizeof job->label, "%s", q->label);
    snprintf(job->tier, sizeof job->tier, "%s", q->tier);
    snprintf(job->client, sizeof job->client, "%s", q->client);
    snprintf(job->continues, sizeof job->continues, "%s", q->continues);
    snprintf(job->owner, sizeof job->owner, "%s", q->owner ? q->owner : "");
    snprintf(job->numerics, sizeof job->numerics, "%s", q->numerics ? q->numerics : "");
    job->is_attached = q->is_attached;
    job->priority = q->priority;
    job->seed = q->seed;
    job->prompt_tokens = q->prompt_tokens;
    job->create_us = event->time_us;
}

static void fold_token(struct job *job, const struct job_event *event)
{
    /* The first token's steps were taken by every position of the prompt. */
    uint64_t n_positions = job->output_tokens == 0 ? job->prompt_tokens : 1;
    job->total_steps += n_positions * (uint64_t)event->token.steps;
    job->output_tokens++;
}

static void fold_finished(struct job *job, const struct job_event *event)
{
    job->finish = event->finished.reason;
    job->late = event->finished.late;
    job->total_steps = event->finished.total_steps;
    job->end_us = event->time_us;
    if (job->finish == JOB_FINISH_ERROR) {
        job->error_code = event->finished.error.code;
        snprintf(job->error_msg, sizeof job->error_msg, "%s", event->finished.error.msg);
    }
}

int job_apply(struct job *job, const struct job_event *event, struct ltd_err *err)
{
    enum job_state next;
    if (event->seq != job->last_seq + 1)
        return ltd_fail(err, LTD_E_CORRUPT, "job %s: event %llu found, %llu expected", job->id,
                        (unsigned long long)event->seq, (unsigned long long)job->last_seq + 1);
    if (!job_next_state(job->state, event->kind, &next))
        return ltd_fail(err, LTD_E_CORRUPT, "job %s: event %llu is %s, impossible in state %s",
                        job->id, (unsigned long long)event->seq, job_event_kind_name(event->kind),
                        job_state_name(job->state));
    if (event->kind == JOB_EV_TOKEN && job->output_tokens == UINT32_MAX)
        return ltd_fail(err, LTD_E_CORRUPT, "job %s: more than %u tokens", job->id, UINT32_MAX);
    if (event->kind == JOB_EV_PRIORITY && job->n_priority_changes == JOB_PRIORITY_CHANGES_MAX)
        return ltd_fail(err, LTD_E_CORRUPT, "job %s: more than %d changes of its priority", job->id,
                        JOB_PRIORITY_CHANGES_MAX);
    switch (event->kind) {
    case JOB_EV_QUEUED:
        fold_queued(job, event);
        break;
    case JOB_EV_STARTED:
        job->start_us = event->time_us;
        job->predicted_end_us = event->started.predicted_end_us;
        break;
    case JOB_EV_TOKEN:
        fold_token(job, event);
        break;
    case JOB_EV_SUCCEEDED:
    case JOB_EV_CANCELLED:
    case JOB_EV_FAILED:
        fold_finished(job, event);
        break;
    case JOB_EV_PRIORITY:
        job->priority = event->priority;
        job->n_priority_changes++;
        break;
    case JOB_EV_N_KINDS:
        break;
    }
    job->state = next;
    job->last_seq = event->seq;
    return 0;
}

/* ------------------------------------------------------------------------------------ ids */

static const char id_digits[] = "0123456789abcdefghijklmnopqrstuv";

/* Add one to the random part; true when it ran over. */
static bool bump(uint8_t chance[10])
{
    for (int i = 9; i >= 0; i--)
        if (++chance[i] != 0)
            return false;
    return true;
}

void job_id_make(struct job_id_maker *maker, char id[JOB_ID_CHARS + 1])
{
    uint64_t now_ms = (uint64_t)(ltd_wall_us() / 1000) & 0xFFFFFFFFFFFFull;
    if (now_ms > maker->last_ms) {
        maker->last_ms = now_ms;
        /* 10 bytes never come short from getrandom once the pool is ready (getrandom(2)). */
        if (getrandom(maker->chance, sizeof maker->chance, 0) != (ssize_t)sizeof maker->chance)
            bump(maker->chance);
    } else if (bump(maker->chance)) {
        maker->last_ms++;
    }
    /* 48 + 80 bits, five per character from the top; the first character holds the top three. */
    uint8_t bits[16];
    for (int i = 0; i < 6; i++)
        bits[i] = (uint8_t)(maker->last_ms >> (40 - 8 * i));
    memcpy(bits + 6, maker->chance, 10);
    for (int i = JOB_ID_CHARS - 1, bit = 128; i >= 0; i--) {
        uint32_t value = 0;
        bit -= 5;
        for (int b = bit < 0 ? 0 : bit; b < bit + 5; b++)
            value = value << 1 | (uint32_t)(bits[b / 8] >> (7 - b % 8) & 1);
        id[i] = id_digits[value];
    }
    id[JOB_ID_CHARS] = '\0';
}

bool job_id_is_valid(const char *id, size_t len)
{
    if (len != JOB_ID_CHARS)
        return false;
    for (size_t i = 0; i < len; i++)
        if (id[i] == '\0' || !strchr(id_digits, id[i]))
            return false;
    return id[0] < '8';
}
