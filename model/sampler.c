/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model/sampler.c - filters and the draw; see model/sampler.h.
 *
 * Descending order is taken from a heap that is popped only as far as a filter needs: a vocabulary
 * of 65536 is seldom looked at beyond its first few hundred entries.
 */
#include "model/sampler.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "model/latent.h"

struct model_sampler {
    int32_t vocab;
    double *logits; /* [vocab] after the penalty */
    double *probs;  /* [vocab] */
    int32_t *heap;  /* [vocab] token ids */
    int32_t n_heap;
    uint8_t *marked; /* [vocab] scratch set; all zero between calls */
};

struct model_sampler *model_sampler_create(int32_t vocab, struct ltd_err *err)
{
    struct model_sampler *s = calloc(1, sizeof *s);
    if (!s)
        return ltd_fail_null(err, LTD_E_EXHAUSTED, "sampler: no memory");
    s->vocab = vocab;
    s->logits = ltd_alloc((size_t)vocab, sizeof *s->logits);
    s->probs = ltd_alloc((size_t)vocab, sizeof *s->probs);
    s->heap = ltd_alloc((size_t)vocab, sizeof *s->heap);
    s->marked = ltd_alloc((size_t)vocab, sizeof *s->marked);
    if (s->logits && s->probs && s->heap && s->marked)
        return s;
    model_sampler_destroy(s);
    return ltd_fail_null(err, LTD_E_EXHAUSTED, "sampler: no memory for %d tokens", vocab);
}

void model_sampler_destroy(struct model_sampler *sampler)
{
    if (!sampler)
        return;
    ltd_free(sampler->logits);
    ltd_free(sampler->probs);
    ltd_free(sampler->heap);
    ltd_free(sampler->marked);
    free(sampler);
}

/* NaN fails every comparison, so it is refused by the same test as a value out of range. */
static int check_field(const char *name, double value, bool good, const char *expected,
                       struct ltd_err *err)
{
    if (good)
        return 0;
    return ltd_fail(err, LTD_E_INVALID, "%s: %g, expected %s", name, value, expected);
}

int model_sampling_check(const struct model_sampling *s, struct ltd_err *err)
{
    if (check_field("temperature", s->temperature, s->temperature >= 0 && s->temperature <= 1000,
                    "a number in [0, 1000]", err) != 0 ||
        check_field("top_k", s->top_k, s->top_k >= 0, "0 (off) or a positive number", err) != 0 ||
        check_field("top_p", s->top_p, s->top_p >= 0 && s->top_p <= 1, "a number in [0, 1]", err) !=
            0 ||
        check_field("min_p", s->min_p, s->min_p >= 0 && s->min_p < 1, "a number in [0, 1)", err) !=
            0 ||
        check_field("repetition_penalty", s->repetition_penalty,
                    s->repetition_penalty > 0 && s->repetition_penalty <= 1000,
                    "a number in (0, 1000]", err) != 0)
        return -1;
    return 0;
}

/* Greater probability first, then lower id. */
static bool before(const struct model_sampler *s, int32_t a, int32_t b)
{
    return s->probs[a] > s->probs[b] || (s->probs[a] == s->probs[b] && a < b);
}

static void sift_down(struct model_sampler *s, int32_t at)
{
    for (;;) {
        int32_t best = at;
        for (int32_t child = 2 * at + 1; child <= 2 * at + 2 && child < s->n_heap; child++)
            if (before(s, s->heap[child], s->heap[best]))
                best = child;
        if (best == at)
            return;
        int32_t moved = s->heap[at];
        s->heap[at] = s->heap[best];
        s->heap[best] = moved;
        at = best;
    }
}

static void heap_build(struct model_sampler *s)
{
    s->n_heap = 0;
    for (int32_t i = 0; i < s->vocab; i++)
        if (s->probs[i] > 0.0)
            s->heap[s->n_heap++] = i;
    for (int32_t at = s->n_heap / 2; at-- > 0;)
        sift_down(s, at);
}

static int32_t heap_pop(struct model_sampler *s)
{
    int32_t top = s->heap[0];
    s->heap[0] = s->heap[--s->n_heap];
    sift_down(s, 0);
    return top;
}

static int load_logits(struct model_sampler *s, const float *logits, struct ltd_err *err)
{
    for (int32_t i = 0; i < s->vocab; i++) {
        if (!isfinite(logits[i]))
            return ltd_fail(err, LTD_E_INTERNAL,
                            "logit of token %d is %g, expected a finite number", i,
                            (double)logits[i]);
        s->logits[i] = (double)logits[i];
    }
    return 0;
}

static void penalize(struct model_sampler *s, double penalty, const int32_t *history, int32_t n)
{
    if (penalty == 1.0)
        return;
    for (int32_t i = 0; i < n; i++) {
        int32_t token = history[i];
        if (token < 0 || token >= s->vocab || s->marked[token])
            continue;
        s->marked[token] = 1;
        s->logits[token] =
            s->logits[token] < 0.0 ? s->logits[token] * penalty : s->logits[token] / penalty;
    }
    for (int32_t i = 0; i < n; i++)
        if (history[i] >= 0 && history[i] < s->vocab)
            s->marked[history[i]] = 0;
}

static int32_t largest_logit(const struct model_sampler *s)
{
    int32_t best = 0;
    for (int32_t i = 1; i < s->vocab; i++)
        if (s->logits[i] > s->logits[best])
            best = i;
    return best;
}

static void softmax(struct model_sampler *s, double temperature)
{
    double largest = s->logits[largest_logit(s)];
    double sum = 0.0;
    for (int32_t i = 0; i < s->vocab; i++) {
        s->probs[i] = exp((s->logits[i] - largest) / temperature);
        sum += s->probs[i];
    }
    for (int32_t i = 0; i < s->vocab; i++)
        s->probs[i] /= sum;
}

/* Everything below the k-th largest goes; ties with it stay. */
static void keep_top_k(struct model_sampler *s, int32_t k)
{
    if (k == 0 || k >= s->vocab)
        return;
    heap_build(s);
    double kth = 0.0;
    for (int32_t i = 0; i < k && s->n_heap > 0; i++)
        kth = s->probs[heap_pop(s)];
    for (int32_t i = 0; i < s->vocab; i++)
        if (s->probs[i] < kth)
            s->probs[i] = 0.0;
}

/* Descending, not renormalised; the entry whose cumulative sum exceeds top_p goes too, unless it
 * is the first. */
static void keep_top_p(struct model_sampler *s, double top_p)
{
    if (top_p == 0.0 || top_p == 1.0)
        return;
    heap_build(s);
    double sum = 0.0;
    for (int32_t kept = 0; s->n_heap > 0; kept++) {
        int32_t token = heap_pop(s);
        sum += s->probs[token];
        if (sum > top_p && kept > 0)
            break;
        s->marked[token] = 1;
    }
    for (int32_t i = 0; i < s->vocab; i++) {
        if (!s->marked[i])
            s->probs[i] = 0.0;
        s->marked[i] = 0;
    }
}

static void keep_min_p(struct model_sampler *s, double min_p)
{
    if (min_p == 0.0)
        return;
    double largest = 0.0;
    for (int32_t i = 0; i < s->vocab; i++)
        if (s->probs[i] > largest)
            largest = s->probs[i];
    for (int32_t i = 0; i < s->vocab; i++)
        if (s->probs[i] < min_p * largest)
            s->probs[i] = 0.0;
}

static void renormalize(struct model_sampler *s)
{
    double sum = 0.0;
    for (int32_t i = 0; i < s->vocab; i++)
        sum += s->probs[i];
    for (int32_t i = 0; i < s->vocab; i++)
        s->probs[i] /= sum;
}

/* Fill s->probs with the final distribution. */
static int distribute(struct model_sampler *s, const struct model_sampling *sampling,
                      const float *logits, const int32_t *history, int32_t n_history,
                      struct ltd_err *err)
{
    if (load_logits(s, logits, err) != 0)
        return -1;
    penalize(s, sampling->repetition_penalty, history, n_history);
    if (sampling->greedy || sampling->temperature == 0.0) {
        memset(s->probs, 0, (size_t)s->vocab * sizeof *s->probs);
        s->probs[largest_logit(s)] = 1.0;
        return 0;
    }
    softmax(s, sampling->temperature);
    keep_top_k(s, sampling->top_k);
    keep_top_p(s, sampling->top_p);
    keep_min_p(s, sampling->min_p);
    renormalize(s);
    return 0;
}

int model_sampler_probs(struct model_sampler *sampler, const struct model_sampling *sampling,
                        const float *logits, const int32_t *history, int32_t n_history,
                        double *probs, struct ltd_err *err)
{
    if (distribute(sampler, sampling, logits, history, n_history, err) != 0)
        return -1;
    memcpy(probs, sampler->probs, (size_t)sampler->vocab * sizeof *probs);
    return 0;
}

int32_t model_sampler_pick(struct model_sampler *sampler, const struct model_sampling *sampling,
                           const float *logits, const int32_t *history, int32_t n_history,
                           int32_t position, struct ltd_err *err)
{
    if (distribute(sampler, sampling, logits, history, n_history, err) != 0)
        return -1;
    double u = model_draw_uniform(sampling->seed, position, MODEL_STREAM_SAMPLER);
    double sum = 0.0;
    int32_t last = 0;
    for (int32_t i = 0; i < sampler->vocab; i++) {
        if (sampler->probs[i] == 0.0)
            continue;
        sum += sampler->probs[i];
        last = i;
        if (u < sum)
            break;
    }
    /* Rounding may leave the total a hair below 1 and u above it: the last entry takes the gap. */
    return last;
}

void model_sampler_logprobs(struct model_sampler *sampler, const float *logits, int32_t chosen,
                            float *chosen_logprob, struct model_logprob *top, int32_t n_top)
{
    float largest = logits[0];
    for (int32_t i = 1; i < sampler->vocab; i++)
        if (logits[i] > largest)
            largest = logits[i];
    double sum = 0.0;
    for (int32_t i = 0; i < sampler->vocab; i++)
        sum += exp((double)logits[i] - (double)largest);
    double norm = (double)largest + log(sum);
    *chosen_logprob = (float)((double)logits[chosen] - norm);
    for (int32_t rank = 0; rank < n_top && rank < sampler->vocab; rank++) {
        int32_t best = -1;
        for (int32_t i = 0; i < sampler->vocab; i++)
            if (!sampler->marked[i] && (best < 0 || logits[i] > logits[best]))
                best = i;
        sampler->marked[best] = 1;
        top[rank] = (struct model_logprob){best, (float)((double)logits[best] - norm)};
    }
    for (int32_t rank = 0; rank < n_top && rank < sampler->vocab; rank++)
        sampler->marked[top[rank].token] = 0;
}
