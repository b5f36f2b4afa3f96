/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/spec_decode.h - from a request message to a job: every default filled in, every value
 * checked.
 *
 * The one place that knows what may be asked of the served model. Nothing is clamped: a value out
 * of range is refused with the field's name, what was found and what is expected. Absent means the
 * default that daemon/served.h gives.
 *
 * Does not look at the state of the service: queue, pages and drain are daemon/job_table.h's.
 * Threads: loop thread; pure but for the seed that is picked when none is given.
 */
#ifndef LATENTD_DAEMON_SPEC_DECODE_H
#define LATENTD_DAEMON_SPEC_DECODE_H

#include "base/err.h"
#include "daemon/served.h"
#include "daemon/spec.h"
#include "latentd/v1/latentd.pb-c.h"

/*
 * spec_decode - a latentd.v1.JobSpec as a job.
 *
 * message  as daemon/unpack.h made it (text is UTF-8, nothing unknown); NULL is refused
 *
 * Returns owned (spec_destroy), or NULL. Cost: tokenizing the prompt; a text that is too long for
 * the context in any case is refused unread.
 * `client` stays "" when the message names none: only the caller knows the address. `key`,
 * `continues` and `known` are the job table's to set.
 * Errors:  LTD_E_INVALID (a value, or a feature that the model lacks, with the reason),
 *          LTD_E_NOT_FOUND (another model), LTD_E_UNIMPLEMENTED (a criterion that this build
 *          lacks), LTD_E_EXHAUSTED (memory).
 */
struct job_spec *spec_decode(const Latentd__V1__JobSpec *message, const struct served *served,
                             struct ltd_err *err);

/*
 * spec_decode_score - a latentd.v1.ScoreRequest as a job of kind SPEC_SCORE; errors as above.
 * The context may be absent: then the continuation's first token is not scored.
 */
struct job_spec *spec_decode_score(const Latentd__V1__ScoreRequest *message,
                                   const struct served *served, struct ltd_err *err);

/* "" and the served model's name are fine, everything else is LTD_E_NOT_FOUND. */
int spec_check_model(const ProtobufCBinaryData *name, const struct served *served,
                     struct ltd_err *err);

/* A chat as token ids, an answer asked for if so; errors name the field `where`. */
int spec_render_chat(const Latentd__V1__Chat *chat, const struct served *served, const char *where,
                     struct model_tokens *out, struct ltd_err *err);

/* Text as token ids; errors name the field `where`. */
int spec_encode_text(const ProtobufCBinaryData *text, unsigned flags, const struct served *served,
                     const char *where, struct model_tokens *out, struct ltd_err *err);

#endif
