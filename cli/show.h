/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli/show.h - a stream of job events as it comes: text at once, progress between, or JSON.
 *
 * Used by think (Generate), watch and result --wait (Watch). One show is one job. What was seen is
 * kept in an answer, for the object at the end and for the verdict.
 *
 * Token ids are the truth and text a convenience that a model directory may lack, so a show first
 * learns whether the model has a tokenizer: with one, text is shown; without, ids.
 *
 * Threads: main thread.
 */
#ifndef LATENTD_CLI_SHOW_H
#define LATENTD_CLI_SHOW_H

#include "base/err.h"
#include "cli/answer.h"
#include "cli/link.h"
#include "cli/progress.h"

enum cli_show_mode {
    CLI_SHOW_TEXT,    /* text as it comes */
    CLI_SHOW_IDS,     /* token ids as they come, blanks between */
    CLI_SHOW_UNSURE,  /* text as it comes; at the end the ids when there was none */
    CLI_SHOW_OBJECT,  /* nothing until cli_show_object */
    CLI_SHOW_EVENTS,  /* one JSON object per event and line */
    CLI_SHOW_NOTHING, /* only the progress line */
};

struct cli_show {
    enum cli_show_mode mode;
    struct cli_answer answer;
    struct cli_progress progress;
    uint64_t n_shown;   /* ids printed so far */
    struct ltd_err err; /* why cli_show_event returned -1 */
};

/*
 * cli_show_init - ready for the first event.
 * mode  CLI_SHOW_UNSURE is settled by cli_show_settle.
 */
void cli_show_init(struct cli_show *show, enum cli_show_mode mode);
void cli_show_fini(struct cli_show *show);

/* cli_show_settle - ask the daemon whether its model has a tokenizer; a failure leaves it open. */
void cli_show_settle(struct cli_show *show, struct cli_link *link);

/*
 * cli_show_event - show one event; it is owned by the show from now on.
 * Returns -1 with show->err when it cannot be kept or standard output cannot be written.
 */
int cli_show_event(struct cli_show *show, Latentd__V1__JobEvent *take_event);

/* cli_show_message - cli_show_event on bytes, as a callback of cli_link_stream; arg is the show. */
int cli_show_message(void *arg, const uint8_t *data, size_t len);

/* cli_show_end - take the progress line away and end the last line of text. */
int cli_show_end(struct cli_show *show, struct ltd_err *err);

/* cli_show_object - the whole answer as one JSON object; `failure` as in cli_answer_fields. */
int cli_show_object(struct cli_show *show, const struct ltd_err *failure, struct ltd_err *err);

#endif
