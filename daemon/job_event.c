/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/job_event.c - events as bytes: what a log keeps (docs/job-events.md#stored-form).
 *
 * Little endian, a version octet first, so that a log written by this build can be told from one
 * written by another. Numbers of kinds, reasons and exits are stored: they are never renumbered,
 * which the assertions below pin. A decoder believes no length before it has compared it with the
 * bytes that are left.
 */
#include <assert.h>
#include <string.h>

#include "daemon/job.h"

#define FORMAT_VERSION 3

static_assert(JOB_EV_QUEUED == 0 && JOB_EV_FAILED == 5 && JOB_EV_PRIORITY == 6, "stored numbers");
static_assert(ENGINE_EXIT_FIXED == 0 && ENGINE_EXIT_MAX_STEPS == 2 && ENGINE_EXIT_BUDGET == 3,
              "stored numbers");

enum token_flags { TOKEN_HAS_LOGPROB = 1, TOKEN_HAS_VALUE = 2 };

/* Version, kind, time. */
#define HEAD_BYTES 10

static void put_counted(struct ltd_bytes *out, const void *data, size_t len)
{
    ltd_bytes_put_u32(out, (uint32_t)len);
    ltd_bytes_put(out, data, len);
}

/* NULL counts as "". */
static void put_string(struct ltd_bytes *out, const char *text)
{
    put_counted(out, text ? text : "", text ? strlen(text) + 1 : 1);
}

static void put_f64(struct ltd_bytes *out, double v)
{
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    ltd_bytes_put_u64(out, bits);
}

static void put_queued(struct ltd_bytes *out, const struct job_queued *q)
{
    ltd_bytes_put_u64(out, q->seed);
    ltd_bytes_put_u32(out, q->prompt_tokens);
    ltd_bytes_put_u32(out, q->position);
    ltd_bytes_put_u8(out, q->priority);
    ltd_bytes_put_u8(out, q->is_attached);
    /* Texts with their NUL, so that a reader can borrow them as strings. */
    put_string(out, q->request_id);
    put_string(out, q->label);
    put_string(out, q->tier);
    put_string(out, q->client);
    put_string(out, q->continues);
    put_string(out, q->owner);
    put_string(out, q->numerics);
    put_counted(out, q->spec, q->spec_len);
}

static void put_token(struct ltd_bytes *out, const struct engine_token *token)
{
    uint8_t flags =
        (token->n_top >= 0 ? TOKEN_HAS_LOGPROB : 0) | (token->has_value ? TOKEN_HAS_VALUE : 0);
    ltd_bytes_put_u8(out, flags);
    ltd_bytes_put_u8(out, (uint8_t)token->exit);
    ltd_bytes_put_u32(out, (uint32_t)token->id);
    ltd_bytes_put_u32(out, (uint32_t)token->steps);
    if (flags & TOKEN_HAS_VALUE)
        put_f64(out, token->criterion_value);
    if (!(flags & TOKEN_HAS_LOGPROB))
        return;
    ltd_bytes_put_f32(out, token->logprob);
    ltd_bytes_put_u8(out, (uint8_t)token->n_top);
    for (int32_t i = 0; i < token->n_top; i++) {
        ltd_bytes_put_u32(out, (uint32_t)token->top[i].id);
        ltd_bytes_put_f32(out, token->top[i].logprob);
    }
}

static void put_finished(struct ltd_bytes *out, const struct job_event *event)
{
    ltd_bytes_put_u8(out, (uint8_t)event->finished.reason);
    ltd_bytes_put_u8(out, event->finished.late);
    ltd_bytes_put_u64(out, event->finished.total_steps);
    if (event->finished.reason != JOB_FINISH_ERROR)
        return;
    ltd_bytes_put_u8(out, (uint8_t)event->finished.error.code);
    put_counted(out, event->finished.error.msg, strlen(event->finished.error.msg));
}

void job_event_encode(const struct job_event *event, struct ltd_bytes *out)
{
    ltd_bytes_put_u8(out, FORMAT_VERSION);
    ltd_bytes_put_u8(out, (uint8_t)event->kind);
    ltd_bytes_put_u64(out, (uint64_t)event->time_us);
    switch (event->kind) {
    case JOB_EV_QUEUED:
        put_queued(out, &event->queued);
        return;
    case JOB_EV_STARTED:
        ltd_bytes_put_u64(out, (uint64_t)event->started.predicted_end_us);
        return;
    case JOB_EV_PRIORITY:
        ltd_bytes_put_u8(out, event->priority);
        return;
    case JOB_EV_N_KINDS:
        return;
    case JOB_EV_TOKEN:
        put_token(out, &event->token);
        break;
    case JOB_EV_SUCCEEDED:
    case JOB_EV_CANCELLED:
    case JOB_EV_FAILED:
        put_finished(out, event);
        break;
    }
    put_counted(out, event->text, event->text_len);
}

/* -------------------------------------------------------------------------------- reading */

static const uint8_t *take_counted(struct ltd_cursor *c, size_t *len)
{
    *len = ltd_cursor_u32(c);
    return ltd_cursor_take(c, *len);
}

/* A text of at most `max` bytes that ends in its only NUL. */
static const char *take_string(struct ltd_cursor *c, size_t max)
{
    size_t len;
    const uint8_t *data = take_counted(c, &len);
    if (!data || len == 0 || len > max + 1 || memchr(data, '\0', len) != data + len - 1) {
        c->bad = true;
        return "";
    }
    return (const char *)data;
}

static double take_f64(struct ltd_cursor *c)
{
    uint64_t bits = ltd_cursor_u64(c);
    double v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

static void take_queued(struct ltd_cursor *c, struct job_queued *q)
{
    q->seed = ltd_cursor_u64(c);
    q->prompt_tokens = ltd_cursor_u32(c);
    q->position = ltd_cursor_u32(c);
    q->priority = ltd_cursor_u8(c);
    uint8_t attached = ltd_cursor_u8(c);
    q->is_attached = attached == 1;
    c->bad |= q->priority > SPEC_PRIORITY_MAX || attached > 1;
    q->request_id = take_string(c, JOB_REQUEST_ID_CHARS);
    q->label = take_string(c, SPEC_LABEL_BYTES);
    q->tier = take_string(c, JOB_TIER_BYTES - 1);
    q->client = take_string(c, SPEC_CLIENT_BYTES);
    q->continues = take_string(c, JOB_ID_CHARS);
    q->owner = take_string(c, JOB_OWNER_BYTES - 1);
    q->numerics = take_string(c, JOB_NUMERICS_BYTES - 1);
    q->spec = take_counted(c, &q->spec_len);
}

static void take_token(struct ltd_cursor *c, struct engine_token *token)
{
    uint8_t flags = ltd_cursor_u8(c), exit = ltd_cursor_u8(c);
    token->exit = (enum engine_exit)exit;
    token->id = (int32_t)ltd_cursor_u32(c);
    token->steps = (int32_t)ltd_cursor_u32(c);
    token->has_value = (flags & TOKEN_HAS_VALUE) != 0;
    token->criterion_value = token->has_value ? take_f64(c) : 0;
    token->n_top = -1;
    if (flags & TOKEN_HAS_LOGPROB) {
        token->logprob = ltd_cursor_f32(c);
        token->n_top = ltd_cursor_u8(c);
    }
    if (flags > (TOKEN_HAS_LOGPROB | TOKEN_HAS_VALUE) || exit >= ENGINE_N_EXITS || token->id < 0 ||
        token->steps < 0 || token->n_top > SPEC_LOGPROBS_MAX) {
        c->bad = true;
        token->n_top = -1;
    }
    for (int32_t i = 0; i < token->n_top; i++) {
        token->top[i].id = (int32_t)ltd_cursor_u32(c);
        token->top[i].logprob = ltd_cursor_f32(c);
    }
}

static void take_finished(struct ltd_cursor *c, struct job_event *event)
{
    uint8_t reason = ltd_cursor_u8(c), late = ltd_cursor_u8(c);
    event->finished.total_steps = ltd_cursor_u64(c);
    event->finished.reason = (enum job_finish)reason;
    event->finished.late = late == 1;
    if (late > 1 || reason == JOB_FINISH_NONE || reason > JOB_FINISH_ERROR ||
        job_finish_kind((enum job_finish)reason) != event->kind)
        c->bad = true;
    if (reason != JOB_FINISH_ERROR)
        return;
    uint8_t code = ltd_cursor_u8(c);
    size_t len;
    const uint8_t *msg = take_counted(c, &len);
    if (!msg || code == LTD_OK || code >= LTD_N_CODES || len >= LTD_ERR_MSG_BYTES ||
        memchr(msg, '\0', len)) {
        c->bad = true;
        return;
    }
    event->finished.error.code = (enum ltd_code)code;
    memcpy(event->finished.error.msg, msg, len);
    event->finished.error.msg[len] = '\0';
}

static void take_body(struct ltd_cursor *c, struct job_event *event)
{
    switch (event->kind) {
    case JOB_EV_QUEUED:
        take_queued(c, &event->queued);
        return;
    case JOB_EV_STARTED:
        event->started.predicted_end_us = (int64_t)ltd_cursor_u64(c);
        return;
    case JOB_EV_PRIORITY:
        event->priority = ltd_cursor_u8(c);
        c->bad |= event->priority > SPEC_PRIORITY_MAX;
        return;
    case JOB_EV_N_KINDS:
        return;
    case JOB_EV_TOKEN:
        take_token(c, &event->token);
        break;
    case JOB_EV_SUCCEEDED:
    case JOB_EV_CANCELLED:
    case JOB_EV_FAILED:
        take_finished(c, event);
        break;
    }
    event->text = (const char *)take_counted(c, &event->text_len);
}

int job_event_decode(const void *data, size_t len, struct job_event *event, struct ltd_err *err)
{
    struct ltd_cursor c = ltd_cursor_init(data, len);
    uint8_t version = ltd_cursor_u8(&c), kind = ltd_cursor_u8(&c);
    if (c.bad || version != FORMAT_VERSION)
        return ltd_fail(err, LTD_E_CORRUPT, "stored event: format %u found, %u expected", version,
                        FORMAT_VERSION);
    if (kind >= JOB_EV_N_KINDS)
        return ltd_fail(err, LTD_E_CORRUPT, "stored event: kind %u found, below %d expected", kind,
                        JOB_EV_N_KINDS);
    memset(event, 0, sizeof *event);
    event->kind = (enum job_event_kind)kind;
    event->time_us = (int64_t)ltd_cursor_u64(&c);
    take_body(&c, event);
    if (c.bad || c.left)
        return ltd_fail(err, LTD_E_CORRUPT, "stored event %s: %zu bytes that do not fit its form",
                        job_event_kind_name(event->kind), len);
    return 0;
}

size_t job_log_bytes_bound(const struct job_spec *spec, size_t token_text_bytes_max)
{
    /* flags, exit, id, steps, value, logprob, n_top, length of the text */
    size_t token = HEAD_BYTES + 2 + 8 + 8 + 4 + 1 + 4;
    if (spec->n_logprobs > 0)
        token += (size_t)spec->n_logprobs * 8;
    /* Text that is held back comes later, but it comes once: per token its own text suffices. An
     * incomplete code point becomes a replacement character of three bytes. */
    token += token_text_bytes_max < 4 ? 4 : token_text_bytes_max;
    /* seed, two counts, priority, attached; eight lengths, seven NULs and the texts */
    size_t queued = HEAD_BYTES + 18 + 8 * 4 + 7 + JOB_REQUEST_ID_CHARS + SPEC_LABEL_BYTES +
                    JOB_TIER_BYTES + SPEC_CLIENT_BYTES + JOB_ID_CHARS + JOB_OWNER_BYTES +
                    JOB_NUMERICS_BYTES + spec->wire_len;
    size_t started = HEAD_BYTES + 8;
    size_t priorities = (size_t)JOB_PRIORITY_CHANGES_MAX * (HEAD_BYTES + 1);
    return queued + started + priorities + (size_t)spec->max_tokens * token +
           JOB_FINISHED_BYTES_MAX;
}
