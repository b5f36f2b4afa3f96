/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model/pretokenizer.h - cuts text into the pieces that merges may not cross.
 *
 * A tokenizer.json lists steps; each takes every piece of the step before and cuts it further:
 *
 *     "Hi there 42"  --Split-->  "Hi" " there" " " "42"  --Digits-->  "Hi" " there" " " "4" "2"
 *
 * All kinds of steps are brought to one form when the file is read: a pattern, whether matches or
 * the text between them count as matches (invert), and what becomes of matches (behavior). The last
 * step is always ByteLevel, since the pieces go to a byte-level BPE.
 *
 * Invariant: each step sees a piece as a whole text, so ^ and look-arounds end at its borders.
 *
 * Threads: immutable after load; a run belongs to one call.
 */
#ifndef LATENTD_MODEL_PRETOKENIZER_H
#define LATENTD_MODEL_PRETOKENIZER_H

#include <stdbool.h>
#include <stddef.h>

#include <jansson.h>

#include "base/bytes.h"
#include "base/err.h"
#include "model/pattern.h"

/* Sequences in the wild have two to four steps. */
#define MODEL_PRETOKENIZER_MAX_STEPS 16

/* What becomes of a match; names as in tokenizer.json. */
enum model_split_behavior {
    MODEL_SPLIT_REMOVED,         /* dropped */
    MODEL_SPLIT_ISOLATED,        /* a piece of its own */
    MODEL_SPLIT_MERGED_PREVIOUS, /* joins the text before it */
    MODEL_SPLIT_MERGED_NEXT,     /* joins the text behind it */
    MODEL_SPLIT_CONTIGUOUS,      /* neighbouring matches become one piece */
};

struct model_pretokenizer_step {
    struct model_pattern *pattern; /* owned; NULL: put a space in front of a piece without one */
    enum model_split_behavior behavior;
    bool invert; /* the text between matches counts as matches, and the other way round */
};

struct model_pretokenizer {
    struct model_pretokenizer_step steps[MODEL_PRETOKENIZER_MAX_STEPS];
    size_t n_steps;
};

/*
 * model_pretokenizer_load - read the object "pre_tokenizer".
 * On failure nothing needs fini. Errors: LTD_E_INVALID, LTD_E_UNIMPLEMENTED, LTD_E_EXHAUSTED; the
 * message has the item's place in the file.
 */
int model_pretokenizer_load(struct model_pretokenizer *pre, const json_t *value, const char *path,
                            struct ltd_err *err);

void model_pretokenizer_fini(struct model_pretokenizer *pre);

/* Takes a piece; returns 0, or -1 with a message, which ends the run. `piece` is gone on return. */
typedef int (*model_piece_fn)(void *arg, const char *piece, size_t len, struct ltd_err *err);

/* One encoding call's memory, and where its pieces go. */
struct model_pretokenizer_run {
    struct model_pattern_run match;
    struct ltd_bytes spaced; /* a piece with a space put in front */
    model_piece_fn take;
    void *arg;
};

/* model_pretokenizer_run_init - for texts of together `n_bytes`. Errors: LTD_E_EXHAUSTED. */
int model_pretokenizer_run_init(struct model_pretokenizer_run *run, size_t n_bytes,
                                model_piece_fn take, void *arg, struct ltd_err *err);

void model_pretokenizer_run_fini(struct model_pretokenizer_run *run);

/*
 * model_pretokenizer_cut - hand the pieces of `text`, in order, to run->take.
 *
 * text  in  [len] well-formed UTF-8
 *
 * Errors: LTD_E_EXHAUSTED when a pattern used up its budget (the message names it), or those of
 *         run->take.
 */
int model_pretokenizer_cut(const struct model_pretokenizer *pre, struct model_pretokenizer_run *run,
                           const char *text, size_t len, struct ltd_err *err);

#endif
