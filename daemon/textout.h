/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/textout.h - the text of a running job: whole code points, cut at stop strings.
 *
 *     token ids ─▶ detokenizer ─▶ [held back: may become a stop string] ─▶ certain text
 *
 * Text is handed out as soon as it is certain. What could still turn out to be the beginning of a
 * stop string is held back until the next tokens decide. The stop string that is complete first
 * wins (of two that end at the same place, the longer one); the text ends before it. So the text is
 * a function of the token ids alone, however they arrive.
 *
 * Threads: engine thread only.
 */
#ifndef LATENTD_DAEMON_TEXTOUT_H
#define LATENTD_DAEMON_TEXTOUT_H

#include <stdbool.h>

#include "base/bytes.h"
#include "base/err.h"
#include "daemon/spec.h"
#include "model/detokenizer.h"

struct textout {
    const struct job_spec *spec; /* borrowed: its stop strings */
    bool has_tokenizer;          /* false: no text at all */
    bool stopped;                /* a stop string was found; everything after it is dropped */
    struct model_detok detok;
    struct ltd_bytes held; /* decoded, not certain */
};

/* `tokenizer` NULL: the job writes ids only and text stays empty. */
void textout_init(struct textout *out, const struct job_spec *spec,
                  const struct model_tokenizer *tokenizer);
void textout_fini(struct textout *out);

/*
 * textout_push - take the next id; append what became certain to `text`.
 * Sets out->stopped when a stop string is complete. Errors: LTD_E_EXHAUSTED.
 */
int textout_push(struct textout *out, int32_t id, struct ltd_bytes *text, struct ltd_err *err);

/* textout_flush - the job ends: append what was held back. Errors: LTD_E_EXHAUSTED. */
int textout_flush(struct textout *out, struct ltd_bytes *text, struct ltd_err *err);

#endif
