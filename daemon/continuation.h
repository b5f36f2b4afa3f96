/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/continuation.h - from a finished job to one that goes on where it stopped.
 *
 *     old job    spec + seed          tokens 0 1 2 3 4        more_tokens 3, more_steps 0
 *                   │                        │
 *     new job    spec, max_tokens 8   known  0 1 2 3 4  then  5 6 7
 *
 *                                                              more_tokens 3, more_steps 48
 *     new job    spec, max_tokens 8,  known  0 1 2 3    then  4' 5 6 7
 *                token 4 takes its steps + 48
 *
 * The new spec is what would have been asked for at once: nothing in it says that there was an
 * older job, so a job of its own with that spec gives the same bytes, and so does running it again
 * after a restart. The known tokens only spare the work: their number, ids and steps stand in the
 * old log, and their events become the first ones of the new log.
 *
 * Does not: submit, or decide what values a spec may have (spec_decode does).
 * Threads: plain values; loop thread.
 * Rules: docs/job-events.md#continuing.
 */
#ifndef LATENTD_DAEMON_CONTINUATION_H
#define LATENTD_DAEMON_CONTINUATION_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"
#include "daemon/spec.h"
#include "daemon/store.h"
#include "latentd/v1/latentd.pb-c.h"

/* What is asked for beyond the old job. */
struct continuation_ask {
    uint32_t more_tokens; /* beyond those it wrote */
    uint32_t more_steps;  /* of the call that wrote its last token, which is chosen again */
};

/* What is asked of, as far as the new spec depends on it. */
struct continuation_from {
    const Latentd__V1__JobSpec *spec; /* as it was sent; borrowed */
    uint64_t seed;                    /* the one used, given or picked */
    uint32_t priority;                /* the last one it had */
    uint32_t n_written;               /* >= 1 */
    uint32_t last_steps;              /* of the last token */
    uint32_t early_steps;             /* the ones it had, given or by default */
};

/* The new spec, and the parts of it that differ from the old one. Points into itself. */
struct continuation_spec {
    Latentd__V1__JobSpec spec; /* borrows everything else from the old one */
    Latentd__V1__Sampling sampling;
    Latentd__V1__Depth depth;
    Latentd__V1__DepthAt last; /* the last token's new depth */
    Latentd__V1__DepthAt *at[SPEC_DEPTH_AT_MAX];
};

/*
 * continuation_check - may this job be gone on with so? From its state alone.
 *
 * Errors: LTD_E_INVALID when nothing is asked for. LTD_E_PRECONDITION for a job that is not
 *         finished, failed with an error, wrote nothing, or ended by itself (end token, stop
 *         string) and is only asked for more tokens: behind such an end there is nothing.
 */
int continuation_check(const struct job *job, const struct continuation_ask *ask,
                       struct ltd_err *err);

/*
 * continuation_rewrite - the new spec. Pure.
 *
 * Changed: max_tokens is n_written + more_tokens; the seed is explicit, and so are early steps
 * where there were any; the priority is the old job's last one where the spec said another; depths
 * of single tokens that will not be written are dropped, and with more_steps that of the last token
 * is set.
 *
 * Errors: LTD_E_INVALID when a sum exceeds 32 bits, LTD_E_PRECONDITION when SPEC_DEPTH_AT_MAX other
 *         tokens have depths of their own already.
 */
int continuation_rewrite(struct continuation_spec *out, const struct continuation_from *from,
                         const struct continuation_ask *ask, struct ltd_err *err);

/*
 * continuation_could_give - whether continuation_rewrite can have made `spec` for what is asked.
 * For when the old job is gone. How much it wrote follows from max_tokens; how deep its last token
 * was is not known any more, so of more_steps only what is impossible can be told. Pure.
 */
bool continuation_could_give(const Latentd__V1__JobSpec *spec, const struct continuation_ask *ask);

/* ---------------------------------------------------------------- from the log of the old job */

struct continuation {
    struct continuation_spec next;
    struct spec_known known;   /* owned */
    Latentd__V1__JobSpec *old; /* owned; `next` borrows from it */
};

/*
 * continuation_read - check a job and make the new spec and the known tokens from its log.
 * Errors: as above; LTD_E_CORRUPT from the log, LTD_E_EXHAUSTED. On failure nothing is owned.
 */
int continuation_read(struct continuation *out, struct store *store, const struct job *job,
                      const struct continuation_ask *ask, struct ltd_err *err);
void continuation_fini(struct continuation *continuation);

/* The TOKEN events of an old log one by one, each safe to append somewhere else. */
struct continuation_tokens {
    struct store *store;
    const struct job *job; /* pinned by the owner */
    uint64_t seq;          /* last event looked at */
    struct ltd_bytes text; /* of the event that was given last */
    struct job_event event;
};

void continuation_tokens_init(struct continuation_tokens *tokens, struct store *store,
                              const struct job *job);
void continuation_tokens_fini(struct continuation_tokens *tokens);

/*
 * continuation_tokens_next - the next TOKEN event, good until the next call; the caller may change
 * its time and append it.
 * Errors (NULL): LTD_E_CORRUPT from the log, or when there is no further TOKEN; LTD_E_EXHAUSTED.
 */
struct job_event *continuation_tokens_next(struct continuation_tokens *tokens, struct ltd_err *err);

#endif
