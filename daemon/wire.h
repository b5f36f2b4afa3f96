/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/wire.h - jobs and events as the bytes of latentd.v1.Job and latentd.v1.JobEvent.
 *
 * Answers are built when the call can send them, straight from the event log, into one byte string.
 * Small messages go through the generated code. Tokens are written field by field as they are read,
 * because a merged Tokens of thousands of entries would otherwise need thousands of small objects;
 * and a stored JobSpec is put in as the bytes that it is. Both rest on the same rule: the fields of
 * a protobuf message may stand in any order, and parts of a message may be put together by
 * concatenation. (Source: the public encoding document of protocol buffers.)
 *
 * Failure to get memory shows in the `failed` of the output.
 * Threads: plain values; loop thread.
 */
#ifndef LATENTD_DAEMON_WIRE_H
#define LATENTD_DAEMON_WIRE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"
#include "daemon/job.h"
#include "daemon/store.h"
#include "latentd/v1/latentd.pb-c.h"

/* A merged Tokens message ends when it has grown to about this: half of what a call may queue, so
 * that the next is built while this one leaves. */
#define WIRE_TOKENS_BYTES ((size_t)48 * 1024)

#define WIRE_JOB_NAME_BYTES (5 + JOB_ID_CHARS + 1) /* "jobs/", the id, NUL */

/* The parts of a Tokens message while it grows; each the contents of one packed or plain field. */
struct wire_tokens {
    struct ltd_bytes ids, text, steps, exits, values;
    struct ltd_bytes logprobs; /* whole fields, tags included */
    uint32_t n;
    bool has_values;
};

void wire_tokens_init(struct wire_tokens *tokens);
void wire_tokens_fini(struct wire_tokens *tokens);
void wire_tokens_add(struct wire_tokens *tokens, const struct engine_token *token, const char *text,
                     size_t text_len);
size_t wire_tokens_bytes(const struct wire_tokens *tokens);
/* Append the message (without a tag) to `out`. */
void wire_tokens_put(const struct wire_tokens *tokens, struct ltd_bytes *out);

/* Append `data` as field `number` of the message that `out` is. */
void wire_put_field(struct ltd_bytes *out, uint32_t number, const void *data, size_t len);
/* Append a generated message. */
void wire_put_message(struct ltd_bytes *out, const ProtobufCMessage *message);

void wire_job_name(const struct job *job, char name[WIRE_JOB_NAME_BYTES]);

enum wire_job_parts {
    WIRE_JOB_SPEC = 1,   /* with the spec as it was sent */
    WIRE_JOB_OUTPUT = 2, /* with everything written so far */
};

/*
 * wire_put_job - append a latentd.v1.Job to `out`.
 * Errors: LTD_E_CORRUPT from the log, LTD_E_EXHAUSTED.
 */
int wire_put_job(struct store *store, const struct job *job, unsigned parts, struct ltd_bytes *out,
                 struct ltd_err *err);

/*
 * wire_put_events - append one latentd.v1.JobEvent: the event after *seq, tokens merged.
 *
 * seq   in/out  last event that the reader has; on return, the last one in this message
 * first         put the job itself in too
 * Errors: as wire_put_job. Call only when *seq < job->last_seq.
 */
int wire_put_events(struct store *store, const struct job *job, uint64_t *seq, bool first,
                    struct ltd_bytes *out, struct ltd_err *err);

struct wire_thinking {
    uint32_t token_index, step, max_steps;
    double criterion_value;
    int64_t time_us;
};

/* Append a JobEvent with Thinking; it has no number. */
int wire_put_thinking(struct store *store, const struct job *job,
                      const struct wire_thinking *thinking, bool first, struct ltd_bytes *out,
                      struct ltd_err *err);

/* Append a JobEvent with Heartbeat; it has no number. Failure shows in out->failed. */
void wire_put_heartbeat(const struct job *job, struct ltd_bytes *out);

/* Append the spec of a job as it is stored (a packed latentd.v1.JobSpec). */
int wire_stored_spec(struct store *store, const struct job *job, struct ltd_bytes *out,
                     struct ltd_err *err);

static inline ProtobufCBinaryData wire_text(const char *text, size_t len)
{
    return (ProtobufCBinaryData){.len = len, .data = (uint8_t *)(uintptr_t)text};
}

#endif
