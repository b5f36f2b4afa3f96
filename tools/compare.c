/* SPDX-License-Identifier: Apache-2.0 */
/* tools/compare.c - two sides of one model, step by step; see tools/compare.h. */
#include "tools/compare.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "model/border.h"
#include "model/core.h"
#include "model/exchange.h"
#include "model/latent.h"
#include "tools/stop.h"

#define BATCH     64 /* positions of one step; a prompt of any length goes in pieces */
#define HEAD_ROWS 8  /* rows of logits at a time: a vocabulary is wide */

/* One format of the model, with room for each of its ladders as a sequence of its own. */
struct side {
    struct model_core *core;
    struct model_border *border;
    struct model_exchange exchange;
    const int32_t *early_steps; /* [n_ladders] */
    int32_t n_ladders;
    int32_t *pages; /* [n_ladders][n_seq_pages] */
    float *e;       /* [max_len][n] */
    float *latents; /* [n_ladders][max_len][n] */
    float *hidden;  /* [max_len][n] of one ladder */
    float *logits;  /* [HEAD_ROWS][vocab] */
};

struct sums {
    double kl, kl_max, diff, norm;
    uint64_t n, n_same;
};

struct comparer {
    const struct tool_compare_options *options;
    const struct model_config *config;
    int32_t max_len, n_seq_pages;
    struct side tried, reference;
    struct sums *sums; /* [n_ladders][n_depths] */
    int32_t depths[32], n_depths;
};

double tool_compare_kl(const float *b, const float *a, int32_t n)
{
    double max_a = -INFINITY, max_b = -INFINITY, sum_a = 0, sum_b = 0, kl = 0;
    for (int32_t i = 0; i < n; i++) {
        max_a = a[i] > max_a ? a[i] : max_a;
        max_b = b[i] > max_b ? b[i] : max_b;
    }
    for (int32_t i = 0; i < n; i++) {
        sum_a += exp(a[i] - max_a);
        sum_b += exp(b[i] - max_b);
    }
    double log_a = max_a + log(sum_a), log_b = max_b + log(sum_b);
    for (int32_t i = 0; i < n; i++) {
        double p = exp(b[i] - log_b);
        if (p != 0) /* NaN is not 0 */
            kl += p * ((b[i] - log_b) - (a[i] - log_a));
    }
    return kl < 0 ? 0 : kl;
}

int32_t tool_compare_depths(int32_t depth, int32_t out[32])
{
    int32_t n = 0;
    for (int32_t d = 1; d < depth; d *= 2)
        out[n++] = d;
    out[n++] = depth;
    return n;
}

/* ---- sides ---- */

static float *floats(size_t count, int32_t width)
{
    size_t n;
    return ltd_size_mul(count, (size_t)width, &n) ? ltd_alloc(n, sizeof(float)) : NULL;
}

static int allocate(struct side *side, const struct comparer *c, struct ltd_err *err)
{
    size_t len = (size_t)c->max_len, ladders = (size_t)side->n_ladders;
    int32_t n = c->config->n_embd, n_pages = side->n_ladders * c->n_seq_pages;
    side->pages = ltd_alloc((size_t)n_pages, sizeof *side->pages);
    side->e = floats(len, n);
    side->latents = floats(ladders * len, n);
    side->hidden = floats(len, n);
    side->logits = floats(HEAD_ROWS, c->config->vocab);
    if (!side->pages || !side->e || !side->latents || !side->hidden || !side->logits)
        return ltd_fail(err, LTD_E_EXHAUSTED, "no memory for %d ladders of %d positions",
                        side->n_ladders, c->max_len);
    for (int32_t i = 0; i < n_pages; i++)
        side->pages[i] = i;
    return 0;
}

/* Each step keeps a plane of its own, so there is nothing that a format could be blamed for but
 * itself. */
static int open_side(struct side *side, const struct comparer *c,
                     const struct model_checkpoint *ckpt, enum kern_format format, bool has_early,
                     struct ltd_err *err)
{
    const struct kern_ctx ctx = {c->options->ops, c->options->n_threads, KERN_MIN_WORK_DEFAULT};
    int32_t n_pages = side->n_ladders * c->n_seq_pages;
    const struct model_core_options core = {
        .shard = model_shard_all(c->config),
        .max_slots = BATCH,
        .max_positions = c->max_len,
        .n_pages = n_pages,
        .policy = {.n_planes = c->options->depth, .holes = MODEL_KV_LATEST},
        .format = format,
        .has_early = has_early,
        .early_format = c->options->early_format,
    };
    const struct model_border_options border = {
        .max_batch = BATCH, .max_positions = c->max_len, .n_pages = n_pages, .format = format};
    side->exchange = model_exchange_local(c->config);
    side->core = model_core_create(ckpt, &ctx, &core, err);
    if (!side->core)
        return -1;
    side->border = model_border_create(ckpt, &ctx, &border, err);
    return side->border ? allocate(side, c, err) : -1;
}

static void close_side(struct side *side)
{
    model_core_destroy(side->core);
    model_border_destroy(side->border);
    ltd_free(side->pages);
    ltd_free(side->e);
    ltd_free(side->latents);
    ltd_free(side->hidden);
    ltd_free(side->logits);
}

static struct model_place place_of(const struct side *side, const struct comparer *c,
                                   int32_t ladder, int32_t position, int32_t step_idx)
{
    return (struct model_place){.pages = side->pages + (size_t)ladder * (size_t)c->n_seq_pages,
                                .n_pages = c->n_seq_pages,
                                .position = position,
                                .step_idx = step_idx};
}

static float *latent_of(const struct side *side, const struct comparer *c, int32_t ladder,
                        int32_t position)
{
    size_t row = (size_t)ladder * (size_t)c->max_len + (size_t)position;
    return side->latents + row * (size_t)c->config->n_embd;
}

static int begin_prompt(struct side *side, const struct comparer *c,
                        const struct model_tokens *prompt, struct ltd_err *err)
{
    int32_t n = c->config->n_embd;
    for (int32_t i = 0; i < side->n_ladders * c->n_seq_pages; i++) {
        model_kv_release(model_core_kv(side->core), i);
        model_border_release(side->border, i);
    }
    for (int32_t p = 0; p < (int32_t)prompt->n; p++) {
        const struct model_border_in in = {place_of(side, c, 0, p, 0), prompt->ids[p],
                                           side->e + (size_t)p * (size_t)n};
        if (model_border_prelude(side->border, &in, 1, err) != 0)
            return -1;
        for (int32_t l = 0; l < side->n_ladders; l++)
            model_latent_init(latent_of(side, c, l, p), n, c->options->seed, p, 1.0f);
    }
    return 0;
}

/* Step `step_idx` of all positions of all ladders, in batches that do not care where a ladder
 * ends. */
static int step_side(struct side *side, const struct comparer *c, int32_t len, int32_t step_idx,
                     struct ltd_err *err)
{
    struct model_slot slots[BATCH];
    int32_t n_slots = 0;
    for (int32_t i = 0; i < side->n_ladders * len; i++) {
        int32_t ladder = i / len, position = i % len;
        slots[n_slots++] =
            (struct model_slot){.place = place_of(side, c, ladder, position, step_idx),
                                .latent = latent_of(side, c, ladder, position),
                                .e = side->e + (size_t)position * (size_t)c->config->n_embd,
                                .is_early = step_idx < side->early_steps[ladder]};
        bool is_full = n_slots == BATCH || i + 1 == side->n_ladders * len;
        if (is_full && model_core_step(side->core, slots, n_slots, &side->exchange, err) != 0)
            return -1;
        n_slots = is_full ? 0 : n_slots;
    }
    return tool_stop_check(err);
}

/* ---- what is compared ---- */

static int run_coda(struct side *side, const struct comparer *c, int32_t ladder, int32_t len,
                    struct ltd_err *err)
{
    size_t n = (size_t)c->config->n_embd;
    for (int32_t p = 0; p < len; p++) {
        const struct model_border_out out = {place_of(side, c, ladder, p, 0),
                                             latent_of(side, c, ladder, p),
                                             side->hidden + (size_t)p * n};
        if (model_border_coda(side->border, &out, 1, err) != 0)
            return -1;
    }
    return 0;
}

static int32_t likeliest(const float *logits, int32_t n)
{
    int32_t best = 0;
    for (int32_t i = 1; i < n; i++)
        if (logits[i] > logits[best])
            best = i;
    return best;
}

static void add_row(struct sums *sums, const float *b, const float *a, int32_t vocab)
{
    double kl = tool_compare_kl(b, a, vocab);
    sums->kl += kl;
    sums->kl_max = kl > sums->kl_max || isnan(kl) ? kl : sums->kl_max;
    sums->n_same += likeliest(a, vocab) == likeliest(b, vocab);
    sums->n++;
}

static void add_drift(struct sums *sums, const float *b, const float *a, int32_t n)
{
    for (int32_t i = 0; i < n; i++) {
        double d = (double)a[i] - (double)b[i];
        sums->diff += d * d;
        sums->norm += (double)b[i] * (double)b[i];
    }
}

/* `hidden` of the reference is there; that of the ladder is made here. */
static int compare_ladder(struct comparer *c, int32_t ladder, int32_t len, struct sums *sums,
                          struct ltd_err *err)
{
    struct side *a = &c->tried, *b = &c->reference;
    size_t n = (size_t)c->config->n_embd, vocab = (size_t)c->config->vocab;
    if (run_coda(a, c, ladder, len, err) != 0)
        return -1;
    for (int32_t begin = 0; begin < len; begin += HEAD_ROWS) {
        int32_t rows = len - begin < HEAD_ROWS ? len - begin : HEAD_ROWS;
        model_border_head(a->border, a->hidden + (size_t)begin * n, rows, a->logits);
        model_border_head(b->border, b->hidden + (size_t)begin * n, rows, b->logits);
        for (size_t r = 0; r < (size_t)rows; r++)
            add_row(sums, b->logits + r * vocab, a->logits + r * vocab, (int32_t)vocab);
    }
    for (int32_t p = 0; p < len; p++)
        add_drift(sums, latent_of(b, c, 0, p), latent_of(a, c, ladder, p), (int32_t)n);
    return 0;
}

static int compare_prompt(struct comparer *c, const struct model_tokens *prompt,
                          struct ltd_err *err)
{
    int32_t len = (int32_t)prompt->n, at = 0;
    if (begin_prompt(&c->tried, c, prompt, err) != 0 ||
        begin_prompt(&c->reference, c, prompt, err) != 0)
        return -1;
    for (int32_t k = 0; k < c->options->depth; k++) {
        if (step_side(&c->tried, c, len, k, err) != 0 ||
            step_side(&c->reference, c, len, k, err) != 0)
            return -1;
        if (k + 1 != c->depths[at])
            continue;
        if (run_coda(&c->reference, c, 0, len, err) != 0)
            return -1;
        for (int32_t l = 0; l < c->tried.n_ladders; l++)
            if (compare_ladder(c, l, len, &c->sums[l * c->n_depths + at], err) != 0)
                return -1;
        at++;
    }
    return 0;
}

/* ---- the whole ---- */

static double mean_step_bytes(const struct side *side, int32_t early, int32_t depth)
{
    int32_t n_early = early < depth ? early : depth;
    double early_bytes = n_early ? (double)model_core_step_bytes(side->core, true) : 0;
    double late_bytes = (double)model_core_step_bytes(side->core, false);
    return (n_early * early_bytes + (depth - n_early) * late_bytes) / depth;
}

static int report(const struct comparer *c, struct tool_comparison *out, struct ltd_err *err)
{
    size_t n = (size_t)c->tried.n_ladders * (size_t)c->n_depths;
    struct tool_compare_row *rows = calloc(n, sizeof *rows);
    if (!rows)
        return ltd_fail(err, LTD_E_EXHAUSTED, "no memory for %zu rows", n);
    for (size_t i = 0; i < n; i++) {
        const struct sums *s = &c->sums[i];
        int32_t early = c->options->early_steps[i / (size_t)c->n_depths];
        int32_t depth = c->depths[i % (size_t)c->n_depths];
        rows[i] = (struct tool_compare_row){
            .early_steps = early,
            .depth = depth,
            .n_positions = s->n,
            .n_same = s->n_same,
            .kl_mean = s->kl / (double)s->n,
            .kl_max = s->kl_max,
            .drift = s->diff == 0 ? 0 : sqrt(s->diff / s->norm),
            .step_bytes = mean_step_bytes(&c->tried, early, depth),
        };
    }
    *out = (struct tool_comparison){rows, n,
                                    (uint64_t)model_core_step_bytes(c->reference.core, false)};
    return 0;
}

static int check_options(const struct tool_compare_options *o, const struct tool_prompts *prompts,
                         struct ltd_err *err)
{
    if (prompts->n == 0)
        return ltd_fail(err, LTD_E_INVALID, "no prompts, expected at least one");
    if (o->depth < 1 || o->depth > MODEL_MAX_STEPS)
        return ltd_fail(err, LTD_E_INVALID, "depth %d, expected 1 to %d", o->depth,
                        MODEL_MAX_STEPS);
    if (o->n_ladders < 1 || o->n_ladders > TOOL_COMPARE_MAX_LADDERS)
        return ltd_fail(err, LTD_E_INVALID, "%d numbers of early steps, expected 1 to %d",
                        o->n_ladders, TOOL_COMPARE_MAX_LADDERS);
    for (int32_t i = 0; i < o->n_ladders; i++)
        if (o->early_steps[i] < 0 || (o->early_steps[i] > 0 && !o->has_early))
            return ltd_fail(err, LTD_E_INVALID, "%d early steps, expected %s", o->early_steps[i],
                            o->has_early ? "0 or more" : "none without an early format");
    return 0;
}

static int run(struct comparer *c, const struct model_checkpoint *ckpt,
               const struct tool_prompts *prompts, struct tool_comparison *out, struct ltd_err *err)
{
    const struct tool_compare_options *o = c->options;
    size_t n_sums = (size_t)o->n_ladders * (size_t)c->n_depths;
    c->sums = calloc(n_sums, sizeof *c->sums);
    if (!c->sums)
        return ltd_fail(err, LTD_E_EXHAUSTED, "no memory for %zu sums", n_sums);
    if (open_side(&c->reference, c, ckpt, o->against, false, err) != 0 ||
        open_side(&c->tried, c, ckpt, o->format, o->has_early, err) != 0)
        return -1;
    for (size_t i = 0; i < prompts->n; i++)
        if (compare_prompt(c, &prompts->items[i], err) != 0)
            return -1;
    return report(c, out, err);
}

int tool_compare(const struct model_checkpoint *ckpt, const struct tool_prompts *prompts,
                 const struct tool_compare_options *options, struct tool_comparison *out,
                 struct ltd_err *err)
{
    static const int32_t no_ladder[1] = {0};
    struct comparer c = {
        .options = options,
        .config = model_checkpoint_config(ckpt),
        .tried = {.early_steps = options->early_steps, .n_ladders = options->n_ladders},
        .reference = {.early_steps = no_ladder, .n_ladders = 1},
    };
    if (check_options(options, prompts, err) != 0)
        return -1;
    for (size_t i = 0; i < prompts->n; i++)
        if ((int32_t)prompts->items[i].n > c.max_len)
            c.max_len = (int32_t)prompts->items[i].n;
    c.n_seq_pages = (c.max_len + KERN_PAGE_POSITIONS - 1) / KERN_PAGE_POSITIONS;
    c.n_depths = tool_compare_depths(options->depth, c.depths);
    int rc = run(&c, ckpt, prompts, out, err);
    close_side(&c.tried);
    close_side(&c.reference);
    free(c.sums);
    return rc;
}

void tool_comparison_fini(struct tool_comparison *comparison)
{
    free(comparison->rows);
    *comparison = (struct tool_comparison){0};
}
