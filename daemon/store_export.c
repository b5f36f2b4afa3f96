/* SPDX-License-Identifier: Apache-2.0 */
/* daemon/store_export.c - see daemon/store_export.h. */
#include "daemon/store_export.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "daemon/store_log.h"
#include "rpc/base64.h"

static const char *exit_name(enum engine_exit how)
{
    switch (how) {
    case ENGINE_EXIT_FIXED:
        return "fixed";
    case ENGINE_EXIT_CONVERGED:
        return "converged";
    case ENGINE_EXIT_MAX_STEPS:
        return "max_steps";
    case ENGINE_EXIT_BUDGET:
        return "budget";
    case ENGINE_N_EXITS:
        break;
    }
    return "unknown";
}

static const char *finish_name(enum job_finish reason)
{
    switch (reason) {
    case JOB_FINISH_NONE:
        break;
    case JOB_FINISH_EOS:
        return "eos";
    case JOB_FINISH_STOP:
        return "stop";
    case JOB_FINISH_LENGTH:
        return "length";
    case JOB_FINISH_CANCELLED:
        return "cancelled";
    case JOB_FINISH_DEADLINE:
        return "deadline";
    case JOB_FINISH_ERROR:
        return "error";
    }
    return "none";
}

/* Setters: what cannot be made (no memory, a number that JSON has not) is left out. */
static void set_int(json_t *o, const char *key, int64_t v)
{
    json_object_set_new(o, key, json_integer(v));
}

static void set_text(json_t *o, const char *key, const char *v)
{
    json_object_set_new(o, key, json_string(v));
}

static void set_real(json_t *o, const char *key, double v)
{
    json_object_set_new(o, key, json_real(v));
}

static void set_base64(json_t *o, const char *key, const void *data, size_t len)
{
    size_t n = rpc_base64_bytes(len);
    char *text = malloc(n + 1);
    if (!text)
        return;
    rpc_base64_encode(data, len, text);
    json_object_set_new(o, key, json_stringn(text, n));
    free(text);
}

/* Texts of tokens are whole code points; should one not be, its bytes are still told. */
static void set_bytes(json_t *o, const char *key, const char *data, size_t len)
{
    json_t *text = json_stringn(len ? data : "", len);
    if (text)
        json_object_set_new(o, key, text);
    else
        set_base64(o, "text_base64", data, len);
}

static void put_token(json_t *o, const struct engine_token *token)
{
    set_int(o, "token", token->id);
    set_int(o, "steps", token->steps);
    set_text(o, "exit", exit_name(token->exit));
    if (token->has_value)
        set_real(o, "value", token->criterion_value);
    if (token->n_top < 0)
        return;
    set_real(o, "logprob", (double)token->logprob);
    json_t *top = json_array();
    for (int32_t i = 0; i < token->n_top; i++) {
        json_t *one = json_object();
        set_int(one, "token", token->top[i].id);
        set_real(one, "logprob", (double)token->top[i].logprob);
        json_array_append_new(top, one);
    }
    json_object_set_new(o, "top", top);
}

static void put_queued(json_t *o, const struct job_queued *q)
{
    char seed[24];
    snprintf(seed, sizeof seed, "%" PRIu64, q->seed);
    set_text(o, "seed", seed); /* JSON readers keep 53 bits of a number */
    set_int(o, "prompt_tokens", q->prompt_tokens);
    set_int(o, "position", q->position);
    set_int(o, "priority", q->priority);
    json_object_set_new(o, "attached", json_boolean(q->is_attached));
    set_base64(o, "spec_base64", q->spec, q->spec_len);
}

static void put_finished(json_t *o, const struct job_event *event)
{
    set_text(o, "reason", finish_name(event->finished.reason));
    json_object_set_new(o, "late", json_boolean(event->finished.late));
    set_int(o, "total_steps", (int64_t)event->finished.total_steps);
    if (event->finished.reason == JOB_FINISH_ERROR) {
        set_text(o, "error_code", ltd_code_name(event->finished.error.code));
        set_text(o, "error", event->finished.error.msg);
    }
}

static bool add_event(void *arg, const struct job_event *event)
{
    json_t *o = json_object();
    set_int(o, "seq", (int64_t)event->seq);
    set_text(o, "event", job_event_kind_name(event->kind));
    set_int(o, "time_us", event->time_us);
    switch (event->kind) {
    case JOB_EV_QUEUED:
        put_queued(o, &event->queued);
        break;
    case JOB_EV_STARTED:
        set_int(o, "predicted_end_us", event->started.predicted_end_us);
        break;
    case JOB_EV_PRIORITY:
        set_int(o, "priority", event->priority);
        break;
    case JOB_EV_TOKEN:
        put_token(o, &event->token);
        set_bytes(o, "text", event->text, event->text_len);
        break;
    case JOB_EV_SUCCEEDED:
    case JOB_EV_CANCELLED:
    case JOB_EV_FAILED:
        put_finished(o, event);
        set_bytes(o, "text", event->text, event->text_len);
        break;
    case JOB_EV_N_KINDS:
        break;
    }
    json_array_append_new(arg, o);
    return true;
}

static void put_job(json_t *o, const struct store_scanned *s)
{
    const struct job *job = &s->job;
    bool is_known = job->last_seq > 0; /* else only its row speaks */
    set_text(o, "id", s->row.id);
    set_text(o, "owner", is_known ? job->owner : s->row.owner);
    set_text(o, "request_id", is_known ? job->request_id : s->row.request_id);
    set_text(o, "label", job->label);
    set_text(o, "client", job->client);
    set_text(o, "tier", job->tier);
    set_text(o, "numerics", job->numerics);
    set_text(o, "continues", job->continues);
    set_text(o, "state", s->damaged_from ? "damaged" : job_state_name(job->state));
    if (s->damaged_from) {
        set_int(o, "damaged_from", (int64_t)s->damaged_from);
        set_text(o, "damage", s->damage);
    }
}

int store_export_job(const struct store_scanned *s, FILE *out, struct ltd_err *err)
{
    json_t *o = json_object(), *events = json_array();
    put_job(o, s);
    int rc = store_log_read(&s->log, 0, s->job.last_seq, add_event, events, err);
    bool is_whole = json_array_size(events) == s->job.last_seq;
    json_object_set_new(o, "events", events);
    if (rc == 0 && !is_whole)
        rc = ltd_fail(err, LTD_E_EXHAUSTED, "export: no memory for job %s", s->row.id);
    if (rc == 0 && (json_dumpf(o, out, JSON_COMPACT) != 0 || fputc('\n', out) == EOF))
        rc = ltd_fail(err, LTD_E_UNAVAILABLE, "export: %s", strerror(errno));
    json_decref(o);
    return rc;
}
