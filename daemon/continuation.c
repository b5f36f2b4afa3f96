/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/continuation.c - see daemon/continuation.h.
 */
#include "daemon/continuation.h"

#include <stdlib.h>
#include <string.h>

#include "daemon/job_given.h"

/* ---------------------------------------------------------------------------------- checks */

/* Ended by itself: it would have ended there also with more tokens. */
static bool has_come_to_its_end(const struct job *job)
{
    return job->finish == JOB_FINISH_EOS || job->finish == JOB_FINISH_STOP;
}

int continuation_check(const struct job *job, const struct continuation_ask *ask,
                       struct ltd_err *err)
{
    if (ask->more_tokens == 0 && ask->more_steps == 0)
        return ltd_fail(err, LTD_E_INVALID,
                        "more_tokens, more_steps: found 0 and 0, expected at least one above 0");
    if (!job_state_is_final(job->state))
        return ltd_fail(err, LTD_E_PRECONDITION,
                        "job %s is %s; a job can be continued when it has finished", job->id,
                        job_state_name(job->state));
    if (job->finish == JOB_FINISH_ERROR)
        return ltd_fail(err, LTD_E_PRECONDITION,
                        "job %s failed with an error and cannot be continued; submit it again",
                        job->id);
    if (job->output_tokens == 0)
        return ltd_fail(err, LTD_E_PRECONDITION,
                        "job %s wrote no token; there is nothing to go on from, submit it again",
                        job->id);
    if (ask->more_steps == 0 && has_come_to_its_end(job))
        return ltd_fail(err, LTD_E_PRECONDITION,
                        "job %s ended by itself (%s) and has nothing to go on with; more_steps can "
                        "think about its last token again",
                        job->id, job->finish == JOB_FINISH_EOS ? "end token" : "stop string");
    return 0;
}

/* --------------------------------------------------------------------------------- rewrite */

static int add_counts(uint32_t had, uint32_t more, const char *field, const char *what,
                      uint32_t *out, struct ltd_err *err)
{
    if (more > UINT32_MAX - had)
        return ltd_fail(err, LTD_E_INVALID, "%s: found %u behind %u %s, expected at most %u", field,
                        more, had, what, UINT32_MAX - had);
    *out = had + more;
    return 0;
}

static void rewrite_sampling(struct continuation_spec *out, const struct continuation_from *from)
{
    if (from->spec->sampling)
        out->sampling = *from->spec->sampling;
    else
        latentd__v1__sampling__init(&out->sampling);
    out->sampling.seed_set_case = LATENTD__V1__SAMPLING__SEED_SET_SEED;
    out->sampling.seed = from->seed;
    out->spec.sampling = &out->sampling;
}

/* The priority does not touch the bytes of the answer: what its owner wanted last is what holds. */
static void rewrite_priority(struct continuation_spec *out, const struct continuation_from *from)
{
    bool is_set = from->spec->priority_set_case == LATENTD__V1__JOB_SPEC__PRIORITY_SET_PRIORITY;
    uint32_t asked = is_set ? from->spec->priority : SPEC_PRIORITY_DEFAULT;
    if (asked == from->priority)
        return;
    out->spec.priority_set_case = LATENTD__V1__JOB_SPEC__PRIORITY_SET_PRIORITY;
    out->spec.priority = from->priority;
}

static int keep_depth(struct continuation_spec *out, Latentd__V1__DepthAt *at, struct ltd_err *err)
{
    if (out->depth.n_at == SPEC_DEPTH_AT_MAX)
        return ltd_fail(err, LTD_E_PRECONDITION,
                        "more_steps: %d other tokens have a depth of their own already, which is "
                        "as many as there may be",
                        SPEC_DEPTH_AT_MAX);
    out->at[out->depth.n_at++] = at;
    return 0;
}

/* The old depths of tokens [begin, end) of the answer. They stand by rising token. */
static int keep_depths(struct continuation_spec *out, const struct continuation_from *from,
                       uint32_t begin, uint32_t end, struct ltd_err *err)
{
    const Latentd__V1__Depth *old = from->spec->depth;
    for (size_t i = 0; old && i < old->n_at; i++)
        if (old->at[i]->token >= begin && old->at[i]->token < end &&
            keep_depth(out, old->at[i], err) != 0)
            return -1;
    return 0;
}

static int rewrite_depth(struct continuation_spec *out, const struct continuation_from *from,
                         const struct continuation_ask *ask, struct ltd_err *err)
{
    uint32_t last = from->n_written - 1;
    /* The last token's new depth takes the place of one that it had. Tokens from max_tokens on will
     * not be written, and a depth for one of them would be refused. */
    uint32_t begin = ask->more_steps ? last : from->n_written, end = out->spec.max_tokens;
    if (from->spec->depth)
        out->depth = *from->spec->depth;
    else
        latentd__v1__depth__init(&out->depth);
    latentd__v1__depth_at__init(&out->last);
    out->depth.at = out->at;
    out->depth.n_at = 0;
    out->last.token = last;
    if (add_counts(from->last_steps, ask->more_steps, "more_steps", "steps of the last token",
                   &out->last.steps, err) != 0 ||
        keep_depths(out, from, 0, begin, err) != 0 ||
        (ask->more_steps && keep_depth(out, &out->last, err) != 0) ||
        keep_depths(out, from, from->n_written, end, err) != 0)
        return -1;
    if (from->early_steps > 0) {
        out->depth.early_steps_set_case = LATENTD__V1__DEPTH__EARLY_STEPS_SET_EARLY_STEPS;
        out->depth.early_steps = from->early_steps;
    }
    /* A spec that said nothing about depth still does so. */
    if (from->spec->depth || out->depth.n_at > 0 || from->early_steps > 0)
        out->spec.depth = &out->depth;
    return 0;
}

int continuation_rewrite(struct continuation_spec *out, const struct continuation_from *from,
                         const struct continuation_ask *ask, struct ltd_err *err)
{
    out->spec = *from->spec;
    rewrite_sampling(out, from);
    rewrite_priority(out, from);
    if (add_counts(from->n_written, ask->more_tokens, "more_tokens", "written tokens",
                   &out->spec.max_tokens, err) != 0)
        return -1;
    return rewrite_depth(out, from, ask, err);
}

bool continuation_could_give(const Latentd__V1__JobSpec *spec, const struct continuation_ask *ask)
{
    if ((ask->more_tokens == 0 && ask->more_steps == 0) || spec->max_tokens <= ask->more_tokens)
        return false;
    uint32_t last = spec->max_tokens - ask->more_tokens - 1;
    for (size_t i = 0; spec->depth && i < spec->depth->n_at && ask->more_steps > 0; i++)
        if (spec->depth->at[i]->token == last)
            return spec->depth->at[i]->steps > ask->more_steps;
    return ask->more_steps == 0;
}

/* ---------------------------------------------------------------- from the log of the old job */

/* What a walk through the old log collects. */
struct reading {
    struct continuation *out;
    uint32_t n_known, n_written; /* tokens to keep; TOKEN events seen */
    uint32_t last_steps;
    bool is_bad_spec;
};

static bool take_event(void *arg, const struct job_event *event)
{
    struct reading *r = arg;
    struct spec_known *known = &r->out->known;
    if (event->kind == JOB_EV_QUEUED) {
        r->out->old =
            latentd__v1__job_spec__unpack(NULL, event->queued.spec_len, event->queued.spec);
        r->is_bad_spec = !r->out->old;
        return !r->is_bad_spec;
    }
    if (event->kind != JOB_EV_TOKEN)
        return true;
    if (r->n_written < r->n_known) {
        known->ids[known->n] = event->token.id;
        known->steps[known->n++] = event->token.steps;
    }
    r->last_steps = (uint32_t)event->token.steps;
    r->n_written++;
    return true;
}

static int read_log(struct reading *r, struct store *store, const struct job *job,
                    struct ltd_err *err)
{
    struct spec_known *known = &r->out->known;
    size_t room = r->n_known ? r->n_known : 1; /* malloc(0) may be NULL */
    known->ids = calloc(room, sizeof *known->ids);
    known->steps = calloc(room, sizeof *known->steps);
    if (!known->ids || !known->steps)
        return ltd_fail(err, LTD_E_EXHAUSTED, "no memory for %u known tokens", r->n_known);
    if (store_read(store, job, 0, take_event, r, err) != 0)
        return -1;
    /* The stored spec was packed by this program: only memory can be short, or the log broken. */
    if (r->is_bad_spec)
        return ltd_fail(err, LTD_E_CORRUPT, "job %s: its stored spec cannot be read", job->id);
    if (!r->out->old || r->n_written != job->output_tokens)
        return ltd_fail(err, LTD_E_CORRUPT, "job %s: its log holds %u tokens, expected %u", job->id,
                        r->n_written, job->output_tokens);
    return 0;
}

int continuation_read(struct continuation *out, struct store *store, const struct job *job,
                      const struct continuation_ask *ask, struct ltd_err *err)
{
    *out = (struct continuation){0};
    if (continuation_check(job, ask, err) != 0)
        return -1;
    struct reading r = {.out = out, .n_known = job->output_tokens - (ask->more_steps > 0)};
    int rc = read_log(&r, store, job, err);
    if (rc == 0) {
        const struct continuation_from from = {
            .spec = out->old,
            .seed = job->seed,
            .priority = job->priority,
            .n_written = r.n_written,
            .last_steps = r.last_steps,
            .early_steps = (uint32_t)job_early_steps(job),
        };
        rc = continuation_rewrite(&out->next, &from, ask, err);
    }
    if (rc != 0)
        continuation_fini(out);
    return rc;
}

void continuation_fini(struct continuation *c)
{
    free(c->known.ids);
    free(c->known.steps);
    if (c->old)
        latentd__v1__job_spec__free_unpacked(c->old, NULL);
    *c = (struct continuation){0};
}

/* ---------------------------------------------------------------------------- known tokens */

void continuation_tokens_init(struct continuation_tokens *tokens, struct store *store,
                              const struct job *job)
{
    *tokens = (struct continuation_tokens){.store = store, .job = job};
    ltd_bytes_init(&tokens->text);
}

void continuation_tokens_fini(struct continuation_tokens *tokens)
{
    ltd_bytes_fini(&tokens->text);
}

/* Stops at the first TOKEN; its text is only lent, and a visitor must not append. */
static bool keep_token(void *arg, const struct job_event *event)
{
    struct continuation_tokens *tokens = arg;
    tokens->seq = event->seq;
    if (event->kind != JOB_EV_TOKEN)
        return true;
    tokens->event = *event;
    ltd_bytes_put(&tokens->text, event->text, event->text_len);
    return false;
}

struct job_event *continuation_tokens_next(struct continuation_tokens *tokens, struct ltd_err *err)
{
    struct job_event *event = &tokens->event;
    ltd_bytes_clear(&tokens->text);
    event->kind = JOB_EV_QUEUED; /* not a token, until one is found */
    if (store_read(tokens->store, tokens->job, tokens->seq, keep_token, tokens, err) != 0)
        return NULL;
    if (event->kind != JOB_EV_TOKEN)
        return ltd_fail_null(err, LTD_E_CORRUPT, "job %s: a token of its log is missing",
                             tokens->job->id);
    if (tokens->text.failed)
        return ltd_fail_null(err, LTD_E_EXHAUSTED, "no memory to copy a token of job %s",
                             tokens->job->id);
    event->text = (const char *)tokens->text.data;
    event->text_len = tokens->text.len;
    return event;
}
