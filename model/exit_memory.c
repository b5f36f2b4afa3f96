/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model/exit_memory.c - values of the exit rules that look at logits; see model/exit.h.
 *
 * A check turns logits into what the rule compares (log-probabilities, filtered probabilities, an
 * entropy, a token) in `scratch`, takes the value against the check before, and lets the two
 * buffers change places. Everything is double and summed in index order, so a value depends on the
 * logits' bits alone.
 *
 * Logits that are no distribution (a NaN, or an infinity as the largest) give NaN. So does the
 * check after them, for want of something to compare with; then the rule works again.
 */
#include <math.h>
#include <stddef.h>

#include "base/err.h"
#include "base/size.h"
#include "model/exit.h"

/* The authors' constants. */
#define ENTROPY_AT_START 100.0
#define ENTROPY_FLOOR    1e-10
#define MIN_P            0.1

int model_exit_memory_init(struct model_exit_memory *memory, enum model_exit_kind kind,
                           int32_t vocab, struct ltd_err *err)
{
    ltd_assert(model_exit_uses_logits(kind), kind, vocab);
    ltd_assert(vocab >= 1, vocab, 1);
    *memory = (struct model_exit_memory){.kind = kind, .vocab = vocab};
    bool needs_before = kind == MODEL_EXIT_KL || kind == MODEL_EXIT_MINP_KL;
    bool needs_scratch = kind != MODEL_EXIT_ARGMAX_STABILITY;
    if (needs_before)
        memory->before = ltd_alloc((size_t)vocab, sizeof *memory->before);
    if (needs_scratch)
        memory->scratch = ltd_alloc((size_t)vocab, sizeof *memory->scratch);
    if ((needs_before && !memory->before) || (needs_scratch && !memory->scratch)) {
        model_exit_memory_fini(memory);
        return ltd_fail(err, LTD_E_EXHAUSTED, "exit rule %s: no memory for %d tokens",
                        model_exit_name(kind), vocab);
    }
    model_exit_memory_reset(memory);
    return 0;
}

void model_exit_memory_fini(struct model_exit_memory *memory)
{
    ltd_free(memory->before);
    ltd_free(memory->scratch);
    *memory = (struct model_exit_memory){0};
}

void model_exit_memory_reset(struct model_exit_memory *memory)
{
    memory->entropy = ENTROPY_AT_START;
    memory->argmax = -1;
    memory->n_stable = 0;
    if (!memory->before)
        return;
    double uniform = 1.0 / memory->vocab;
    if (memory->kind == MODEL_EXIT_KL)
        uniform = log(uniform);
    for (int32_t i = 0; i < memory->vocab; i++)
        memory->before[i] = uniform;
}

/* The largest logit. A NaN among them does not matter: it reaches every sum that follows. */
static double largest(const float *logits, int32_t vocab)
{
    float best = logits[0];
    for (int32_t i = 1; i < vocab; i++)
        if (logits[i] > best)
            best = logits[i];
    return (double)best;
}

static void softmax(const float *logits, int32_t vocab, double *probs)
{
    double top = largest(logits, vocab), sum = 0.0;
    for (int32_t i = 0; i < vocab; i++) {
        probs[i] = exp((double)logits[i] - top);
        sum += probs[i];
    }
    for (int32_t i = 0; i < vocab; i++)
        probs[i] /= sum;
}

static void log_softmax(const float *logits, int32_t vocab, double *log_probs)
{
    double top = largest(logits, vocab), sum = 0.0;
    for (int32_t i = 0; i < vocab; i++)
        sum += exp((double)logits[i] - top);
    double log_sum = log(sum);
    for (int32_t i = 0; i < vocab; i++)
        log_probs[i] = (double)logits[i] - top - log_sum;
}

/* The tail of the distribution, which is mostly noise, becomes flat. */
static void flatten_tail(double *probs, int32_t vocab)
{
    double top = probs[0], sum = 0.0;
    for (int32_t i = 1; i < vocab; i++)
        top = probs[i] > top ? probs[i] : top;
    for (int32_t i = 0; i < vocab; i++) {
        if (probs[i] < MIN_P * top)
            probs[i] = 1.0 / vocab;
        sum += probs[i];
    }
    for (int32_t i = 0; i < vocab; i++)
        probs[i] /= sum;
}

static void remember(struct model_exit_memory *memory)
{
    double *before = memory->before;
    memory->before = memory->scratch;
    memory->scratch = before;
}

/* A divergence is never negative but for rounding; a threshold of 0 must stay out of reach. */
static double divergence(double sum)
{
    return sum < 0.0 ? 0.0 : sum;
}

/* What cannot happen adds nothing, though its logarithm is infinite. */
static double check_kl(struct model_exit_memory *memory, const float *logits)
{
    double sum = 0.0;
    log_softmax(logits, memory->vocab, memory->scratch);
    for (int32_t i = 0; i < memory->vocab; i++) {
        double weight = exp(memory->before[i]);
        if (weight != 0.0)
            sum += weight * (memory->before[i] - memory->scratch[i]);
    }
    remember(memory);
    return divergence(sum);
}

static double check_minp_kl(struct model_exit_memory *memory, const float *logits)
{
    double sum = 0.0;
    softmax(logits, memory->vocab, memory->scratch);
    flatten_tail(memory->scratch, memory->vocab);
    for (int32_t i = 0; i < memory->vocab; i++)
        sum += memory->before[i] * (log(memory->before[i]) - log(memory->scratch[i]));
    remember(memory);
    return divergence(sum);
}

static double check_entropy(struct model_exit_memory *memory, const float *logits)
{
    double entropy = 0.0;
    softmax(logits, memory->vocab, memory->scratch);
    for (int32_t i = 0; i < memory->vocab; i++)
        entropy -= memory->scratch[i] * log(memory->scratch[i] + ENTROPY_FLOOR);
    double value = fabs(entropy - memory->entropy);
    memory->entropy = entropy;
    return value;
}

/* The lowest index among the largest; -1 when a NaN leaves the question open. */
static int32_t argmax(const float *logits, int32_t vocab)
{
    int32_t best = 0;
    for (int32_t i = 0; i < vocab; i++) {
        if (isnan(logits[i]))
            return -1;
        if (logits[i] > logits[best])
            best = i;
    }
    return best;
}

static double check_argmax(struct model_exit_memory *memory, const float *logits)
{
    int32_t best = argmax(logits, memory->vocab);
    memory->n_stable = best >= 0 && best == memory->argmax ? memory->n_stable + 1 : 0;
    memory->argmax = best;
    return best < 0 ? NAN : memory->n_stable;
}

double model_exit_memory_check(struct model_exit_memory *memory, const float *logits)
{
    switch (memory->kind) {
    case MODEL_EXIT_KL:
        return check_kl(memory, logits);
    case MODEL_EXIT_MINP_KL:
        return check_minp_kl(memory, logits);
    case MODEL_EXIT_ENTROPY_DIFF:
        return check_entropy(memory, logits);
    case MODEL_EXIT_ARGMAX_STABILITY:
        return check_argmax(memory, logits);
    case MODEL_EXIT_FIXED:
    case MODEL_EXIT_LATENT_DIFF:
    case MODEL_EXIT_COSINE:
    case MODEL_EXIT_ACCELERATION:
    case MODEL_N_EXITS:
        break;
    }
    return NAN;
}
