/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model/sampler.h - from logits to a token.
 *
 * The filters and their order are the authors' own (not those of the common generation library):
 * repetition penalty, then greedy or: temperature, softmax, top-k with ties, top-p that drops the
 * entry which crosses the threshold, min-p, renormalise, draw. Arithmetic is double, sums run in
 * index order, ties go to the lowest index. The draw is a function of (seed, position).
 *
 * Threads: a sampler belongs to one thread; results depend on the arguments only.
 * Source: the authors' decoding code; docs/numerics.md#sampling.
 */
#ifndef LATENTD_MODEL_SAMPLER_H
#define LATENTD_MODEL_SAMPLER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct model_sampling {
    bool greedy;               /* the filters below but the penalty are then unused */
    double temperature;        /* >= 0; 0 means greedy */
    int32_t top_k;             /* 0: off */
    double top_p;              /* 0 or 1: off */
    double min_p;              /* 0: off */
    double repetition_penalty; /* 1: off; > 0 */
    uint64_t seed;
};

struct model_logprob {
    int32_t token;
    float logprob; /* natural log of softmax over the raw logits, before any filter */
};

struct model_sampler;

/* Scratch for vocabularies of `vocab` tokens. NULL with LTD_E_EXHAUSTED. */
struct model_sampler *model_sampler_create(int32_t vocab, struct ltd_err *err);
void model_sampler_destroy(struct model_sampler *sampler); /* accepts NULL */

/* model_sampling_check - LTD_E_INVALID naming the field that is NaN or out of range. */
int model_sampling_check(const struct model_sampling *sampling, struct ltd_err *err);

/*
 * model_sampler_probs - the final renormalised probabilities: probs [vocab]. Greedy gives a one.
 * history: the tokens so far, prompt included, for the repetition penalty; each counts once; ids
 * outside the vocabulary are ignored. Errors: LTD_E_INTERNAL when a logit is not finite.
 */
int model_sampler_probs(struct model_sampler *sampler, const struct model_sampling *sampling,
                        const float *logits, const int32_t *history, int32_t n_history,
                        double *probs, struct ltd_err *err);

/* model_sampler_pick - the token for absolute position `position`, or -1 (errors as above). */
int32_t model_sampler_pick(struct model_sampler *sampler, const struct model_sampling *sampling,
                           const float *logits, const int32_t *history, int32_t n_history,
                           int32_t position, struct ltd_err *err);

/*
 * model_sampler_logprobs - of the chosen token, and of the n_top most probable (highest first, ties
 * by lowest id; at most vocab). Cost: a pass over the vocabulary per 1 + n_top.
 */
void model_sampler_logprobs(struct model_sampler *sampler, const float *logits, int32_t chosen,
                            float *chosen_logprob, struct model_logprob *top, int32_t n_top);

#endif
