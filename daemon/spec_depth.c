/* SPDX-License-Identifier: Apache-2.0 */
/* daemon/spec_depth.c - see daemon/spec_depth.h. */
#include "daemon/spec_depth.h"

#include <math.h>

#include "model/exit.h"

/* The numbers of the wire are a promise to clients, those of model/exit.h are our own. */
static const enum model_exit_kind criteria[] = {
    [LATENTD__V1__CRITERION__CRITERION_UNSPECIFIED] = MODEL_EXIT_LATENT_DIFF,
    [LATENTD__V1__CRITERION__CRITERION_LATENT_DIFF] = MODEL_EXIT_LATENT_DIFF,
    [LATENTD__V1__CRITERION__CRITERION_COSINE] = MODEL_EXIT_COSINE,
    [LATENTD__V1__CRITERION__CRITERION_ACCELERATION] = MODEL_EXIT_ACCELERATION,
    [LATENTD__V1__CRITERION__CRITERION_KL] = MODEL_EXIT_KL,
    [LATENTD__V1__CRITERION__CRITERION_MINP_KL] = MODEL_EXIT_MINP_KL,
    [LATENTD__V1__CRITERION__CRITERION_ENTROPY_DIFF] = MODEL_EXIT_ENTROPY_DIFF,
    [LATENTD__V1__CRITERION__CRITERION_ARGMAX_STABILITY] = MODEL_EXIT_ARGMAX_STABILITY,
};

#define N_CRITERIA ((int)(sizeof criteria / sizeof *criteria))

/* The two bounds that adaptive and range share; `mode` is the field's name. */
static int decode_bounds(struct model_exit_rule *rule, const char *mode, uint32_t min_steps,
                         uint32_t max_steps, const struct served *served, struct ltd_err *err)
{
    if (max_steps > (uint32_t)served->max_steps)
        return ltd_fail(err, LTD_E_INVALID, "depth.%s.max_steps: found %u, expected at most %d",
                        mode, max_steps, served->max_steps);
    rule->max_steps = max_steps ? (int32_t)max_steps : served->max_steps;
    if (min_steps > (uint32_t)rule->max_steps)
        return ltd_fail(err, LTD_E_INVALID,
                        "depth.%s.min_steps: found %u, expected at most max_steps, which is %d",
                        mode, min_steps, rule->max_steps);
    rule->min_steps = min_steps ? (int32_t)min_steps : 1;
    return 0;
}

static int decode_threshold(struct model_exit_rule *rule, const Latentd__V1__AdaptiveDepth *message,
                            struct ltd_err *err)
{
    rule->threshold = model_exit_default_threshold(rule->kind);
    if (message->threshold_set_case == LATENTD__V1__ADAPTIVE_DEPTH__THRESHOLD_SET_THRESHOLD)
        rule->threshold = message->threshold;
    /* It is a number of checks there, and half of one would silently mean the next whole one. */
    bool is_count = rule->kind == MODEL_EXIT_ARGMAX_STABILITY;
    bool is_good = isfinite(rule->threshold) && rule->threshold > 0 &&
                   (!is_count || rule->threshold == floor(rule->threshold));
    if (is_good)
        return 0;
    return ltd_fail(err, LTD_E_INVALID, "depth.adaptive.threshold: found %g, expected %s",
                    rule->threshold,
                    is_count ? "a whole number of checks, at least 1" : "a finite number above 0");
}

static int decode_adaptive(struct spec_depth *depth, const Latentd__V1__AdaptiveDepth *message,
                           const struct served *served, struct ltd_err *err)
{
    struct model_exit_rule *rule = &depth->rule;
    int criterion = (int)message->criterion;
    if (criterion < 0 || criterion >= N_CRITERIA) {
        ltd_fail(err, LTD_E_UNIMPLEMENTED,
                 "depth.adaptive.criterion: found %d, this build has those up to %d", criterion,
                 N_CRITERIA - 1);
        return ltd_err_reason(err, "DEPTH_UNSUPPORTED");
    }
    rule->kind = criteria[criterion];
    if (decode_threshold(rule, message, err) != 0 ||
        decode_bounds(rule, "adaptive", message->min_steps, message->max_steps, served, err) != 0)
        return -1;
    if (message->check_every > (uint32_t)rule->max_steps)
        return ltd_fail(err, LTD_E_INVALID,
                        "depth.adaptive.check_every: found %u, expected at most max_steps, which "
                        "is %d",
                        message->check_every, rule->max_steps);
    rule->check_every = message->check_every ? (int32_t)message->check_every : 1;
    return 0;
}

static int decode_mode(struct spec_depth *depth, const Latentd__V1__Depth *message,
                       const struct served *served, struct ltd_err *err)
{
    switch (message->mode_case) {
    case LATENTD__V1__DEPTH__MODE_FIXED_STEPS:
        if (message->fixed_steps < 1 || message->fixed_steps > (uint32_t)served->max_steps)
            return ltd_fail(err, LTD_E_INVALID, "depth.fixed_steps: found %u, expected 1 to %d",
                            message->fixed_steps, served->max_steps);
        depth->rule.max_steps = (int32_t)message->fixed_steps;
        return 0;
    case LATENTD__V1__DEPTH__MODE_ADAPTIVE:
        return decode_adaptive(depth, message->adaptive, served, err);
    case LATENTD__V1__DEPTH__MODE_RANGE:
        depth->is_range = true;
        return decode_bounds(&depth->rule, "range", message->range->min_steps,
                             message->range->max_steps, served, err);
    case LATENTD__V1__DEPTH__MODE__NOT_SET:
        break;
    }
    return 0;
}

static int decode_at(struct spec_depth *depth, const Latentd__V1__Depth *message,
                     const struct served *served, struct ltd_err *err)
{
    if (message->n_at > SPEC_DEPTH_AT_MAX)
        return ltd_fail(err, LTD_E_INVALID, "depth.at: found %zu tokens, expected at most %d",
                        message->n_at, SPEC_DEPTH_AT_MAX);
    for (size_t i = 0; i < message->n_at; i++) {
        const Latentd__V1__DepthAt *at = message->at[i];
        if (at->token > INT32_MAX || (i > 0 && at->token <= message->at[i - 1]->token))
            return ltd_fail(err, LTD_E_INVALID,
                            "depth.at[%zu].token: found %u, expected rising indices of tokens, "
                            "each once",
                            i, at->token);
        if (at->steps < 1 || at->steps > (uint32_t)served->max_steps)
            return ltd_fail(err, LTD_E_INVALID, "depth.at[%zu].steps: found %u, expected 1 to %d",
                            i, at->steps, served->max_steps);
        depth->at[depth->n_at++] =
            (struct spec_depth_at){.token = (int32_t)at->token, .steps = (int32_t)at->steps};
    }
    return 0;
}

/* How many steps are made with the early copy. More of them than steps is every step: a depth that
 * a rule ends cannot be foreseen. */
static int decode_early(struct spec_depth *depth, const Latentd__V1__Depth *message,
                        const struct served *served, struct ltd_err *err)
{
    if (message->early_steps_set_case != LATENTD__V1__DEPTH__EARLY_STEPS_SET_EARLY_STEPS)
        return 0;
    if (message->early_steps > 0 && !*served->early_format)
        return ltd_fail(err, LTD_E_INVALID,
                        "depth.early_steps: found %u, expected 0: this service holds its weights "
                        "in one format (early_format)",
                        message->early_steps);
    if (message->early_steps > (uint32_t)served->max_steps)
        return ltd_fail(err, LTD_E_INVALID, "depth.early_steps: found %u, expected 0 to %d",
                        message->early_steps, served->max_steps);
    depth->early_steps = (int32_t)message->early_steps;
    return 0;
}

/* What a request to score must not ask for. */
static int check_score(const Latentd__V1__Depth *message, struct ltd_err *err)
{
    if (message->mode_case == LATENTD__V1__DEPTH__MODE_RANGE)
        return ltd_fail(err, LTD_E_INVALID,
                        "depth.range: found one in a request to score, expected a fixed or an "
                        "adaptive depth: scores of a depth that time chooses compare with nothing");
    if (message->n_at > 0)
        return ltd_fail(err, LTD_E_INVALID,
                        "depth.at: found %zu tokens in a request to score, which writes none; "
                        "expected none",
                        message->n_at);
    return 0;
}

int spec_depth_decode(const Latentd__V1__Depth *message, const struct served *served, bool is_score,
                      struct spec_depth *out, struct ltd_err *err)
{
    *out = (struct spec_depth){.rule = {.kind = MODEL_EXIT_FIXED,
                                        .min_steps = 1,
                                        .max_steps = served->default_steps,
                                        .check_every = 1},
                               .early_steps = served->early_steps};
    if (!message)
        return 0;
    if ((is_score && check_score(message, err) != 0) ||
        decode_mode(out, message, served, err) != 0 ||
        decode_early(out, message, served, err) != 0 || decode_at(out, message, served, err) != 0)
        return -1;
    out->is_tokenwise = message->tokenwise;
    if (out->is_tokenwise && out->is_range)
        return ltd_fail(err, LTD_E_INVALID,
                        "depth.tokenwise: found together with a range, expected a fixed or an "
                        "adaptive depth: how deep each position of the prompt was could not be "
                        "told again");
    return 0;
}

int spec_depth_check_at(const struct spec_depth *depth, int32_t max_tokens, struct ltd_err *err)
{
    for (int32_t i = 0; i < depth->n_at; i++)
        if (depth->at[i].token >= max_tokens)
            return ltd_fail(err, LTD_E_INVALID,
                            "depth.at[%d].token: found %d, expected an index below max_tokens, "
                            "which is %d",
                            i, depth->at[i].token, max_tokens);
    return 0;
}
