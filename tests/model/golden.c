/* SPDX-License-Identifier: Apache-2.0 */
/* tests/model/golden.c - see tests/model/golden.h. */
#include "golden.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "model/block.h"
#include "model/border.h"
#include "model/exit.h"
#include "model/sampler.h"
#include "rig.h"

#define MAX_ARRAYS 256
#define MAX_CALL   16 /* positions of one sequence in one call */
#define N_NEW      20
#define MAX_STEPS  32 /* of adaptive decoding */

struct player {
    const struct golden_setup *setup;
    const struct model_safetensors *golden;
    struct golden_run *run;
    bool small_case_only; /* keys of the first case */
};

static struct golden_array *array_new(struct player *p, int64_t count, const char *name)
{
    assert_true(p->run->n_arrays < MAX_ARRAYS);
    struct golden_array *a = &p->run->arrays[p->run->n_arrays++];
    snprintf(a->name, sizeof a->name, "%s", name);
    a->count = count;
    return a;
}

static float *floats_new(struct player *p, int64_t count, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
static float *floats_new(struct player *p, int64_t count, const char *fmt, ...)
{
    char name[96];
    va_list args;
    va_start(args, fmt);
    vsnprintf(name, sizeof name, fmt, args);
    va_end(args);
    struct golden_array *a = array_new(p, count, name);
    a->floats = calloc((size_t)count, sizeof *a->floats);
    assert_non_null(a->floats);
    return a->floats;
}

static int64_t *ints_new(struct player *p, int64_t count, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
static int64_t *ints_new(struct player *p, int64_t count, const char *fmt, ...)
{
    char name[96];
    va_list args;
    va_start(args, fmt);
    vsnprintf(name, sizeof name, fmt, args);
    va_end(args);
    struct golden_array *a = array_new(p, count, name);
    a->ints = calloc((size_t)count, sizeof *a->ints);
    assert_non_null(a->ints);
    return a->ints;
}

static const struct model_tensor *input(const struct player *p, const char *name)
{
    const struct model_tensor *t = model_safetensors_find(p->golden, name);
    if (!t)
        fail_msg("golden vectors have no %s", name);
    return t;
}

static int64_t int_at(const struct model_tensor *t, int64_t i)
{
    int64_t value;
    memcpy(&value, t->data + 8 * i, sizeof value);
    return value;
}

static struct rig *rig_for(const struct player *p, const char *policy)
{
    const struct rig_spec spec = {.dir = p->setup->dir,
                                  .ops = p->setup->ops,
                                  .n_ranks = p->setup->n_ranks,
                                  .n_threads = p->setup->n_threads,
                                  .policy = policy,
                                  .kv_format = p->setup->kv_format,
                                  .format = p->setup->format};
    return rig_create(&spec);
}

/* ---- one call: positions of one or more sequences that advance together ---- */

struct call {
    struct rig *rig;
    int32_t n; /* positions */
    int32_t seq[2 * MAX_CALL];
    int32_t position[2 * MAX_CALL];
    float *e, *latent, *hidden, *logits; /* [2 * MAX_CALL][n or vocab] */
    struct model_slot slots[2 * MAX_CALL];
};

static void call_init(struct call *c, struct rig *rig)
{
    size_t n = (size_t)rig_config(rig)->n_embd, vocab = (size_t)rig_config(rig)->vocab;
    *c = (struct call){.rig = rig};
    c->e = calloc(2 * MAX_CALL * n, sizeof(float));
    c->latent = calloc(2 * MAX_CALL * n, sizeof(float));
    c->hidden = calloc(2 * MAX_CALL * n, sizeof(float));
    c->logits = calloc(2 * MAX_CALL * vocab, sizeof(float));
    assert_true(c->e && c->latent && c->hidden && c->logits);
}

static void call_fini(struct call *c)
{
    free(c->e);
    free(c->latent);
    free(c->hidden);
    free(c->logits);
}

static void call_add(struct call *c, int32_t seq, int32_t position)
{
    c->seq[c->n] = seq;
    c->position[c->n++] = position;
}

static void call_prelude(struct call *c, const int32_t *tokens)
{
    struct model_border_in in[2 * MAX_CALL];
    struct ltd_err err = {0};
    size_t n = (size_t)rig_config(c->rig)->n_embd;
    for (int32_t i = 0; i < c->n; i++)
        in[i] = (struct model_border_in){rig_place(c->rig, c->seq[i], c->position[i], 0), tokens[i],
                                         c->e + (size_t)i * n};
    if (model_border_prelude(rig_border(c->rig), in, c->n, &err) != 0)
        rig_fail("model_border_prelude", &err);
}

/* One step; returns the mean of what was asked for. */
static double call_step(struct call *c, int32_t step, enum model_exit_value want)
{
    double values[2 * MAX_CALL];
    size_t n = (size_t)rig_config(c->rig)->n_embd;
    for (int32_t i = 0; i < c->n; i++)
        c->slots[i] = (struct model_slot){
            .place = rig_place(c->rig, c->seq[i], c->position[i], step),
            .latent = c->latent + (size_t)i * n,
            .e = c->e + (size_t)i * n,
            .want = want,
        };
    rig_step(c->rig, c->slots, c->n);
    for (int32_t i = 0; i < c->n; i++)
        values[i] = c->slots[i].value;
    return model_exit_mean(values, c->n);
}

static void call_coda(struct call *c)
{
    struct model_border_out out[2 * MAX_CALL];
    struct ltd_err err = {0};
    size_t n = (size_t)rig_config(c->rig)->n_embd;
    for (int32_t i = 0; i < c->n; i++)
        out[i] = (struct model_border_out){rig_place(c->rig, c->seq[i], c->position[i], 0),
                                           c->latent + (size_t)i * n, c->hidden + (size_t)i * n};
    if (model_border_coda(rig_border(c->rig), out, c->n, &err) != 0)
        rig_fail("model_border_coda", &err);
    model_border_head(rig_border(c->rig), c->hidden, c->n, c->logits);
}

/* ---- plain forward passes ---- */

static bool is_reported_depth(int32_t steps)
{
    return steps == 1 || steps == 2 || steps == 4 || steps == 8 || steps == 32;
}

static void report_depth(struct player *p, struct call *c, const char *prefix, int32_t steps)
{
    const struct model_config *config = rig_config(c->rig);
    int64_t n_logits = (int64_t)c->n * config->vocab, n_floats = (int64_t)c->n * config->n_embd;
    call_coda(c);
    memcpy(floats_new(p, n_logits, "%slogits.r%d", prefix, steps), c->logits,
           (size_t)n_logits * sizeof(float));
    if (*prefix == '\0')
        model_border_norm(rig_border(c->rig), c->latent, c->n,
                          floats_new(p, n_floats, "latent_lnf.r%d", steps));
}

static void play_forward(struct player *p, bool zero)
{
    struct rig *rig = rig_for(p, "full");
    const struct model_config *config = rig_config(rig);
    const struct model_tensor *ids = input(p, "input_ids"), *init = input(p, "init_state");
    int32_t tokens[2 * MAX_CALL];
    struct call c;
    call_init(&c, rig);
    for (int32_t b = 0; b < ids->shape[0]; b++)
        for (int32_t s = 0; s < ids->shape[1]; s++) {
            tokens[c.n] = (int32_t)int_at(ids, c.n);
            call_add(&c, b, s);
        }
    call_prelude(&c, tokens);
    if (!zero)
        memcpy(c.latent, init->data, init->bytes);
    for (int32_t steps = 1; steps <= 32; steps++) {
        call_step(&c, steps - 1, MODEL_VALUE_NONE);
        if (!zero && p->small_case_only && steps <= 8)
            memcpy(floats_new(p, (int64_t)c.n * config->n_embd, "inter.state.after_step%d", steps),
                   c.latent, (size_t)c.n * (size_t)config->n_embd * sizeof(float));
        if (is_reported_depth(steps))
            report_depth(p, &c, zero ? "zero." : "", steps);
    }
    call_fini(&c);
    rig_destroy(rig);
}

/* ---- intermediates inside the blocks, computed with the parts themselves ---- */

struct bench {
    struct model_checkpoint *ckpt;
    struct model_env env;
    struct model_rope *rope;
    struct model_kv *kv;
    struct model_exchange exchange;
    struct model_work work;
    int32_t pages[2][1];
};

static void bench_open(struct bench *b, const struct player *p, int32_t n_layers)
{
    struct ltd_err err = {0};
    memset(b, 0, sizeof *b);
    b->ckpt = model_checkpoint_open(p->setup->dir, &err);
    if (!b->ckpt)
        rig_fail("model_checkpoint_open", &err);
    b->env.config = *model_checkpoint_config(b->ckpt);
    b->env.ctx = (struct kern_ctx){p->setup->ops, p->setup->n_threads, 0};
    b->env.shard = model_shard_all(&b->env.config);
    b->env.format = p->setup->format;
    b->rope = model_rope_create(b->env.config.head_dim, b->env.config.rope_base, 16, &err);
    b->env.rope = b->rope;
    b->exchange = model_exchange_local(&b->env.config);
    const struct model_kv_spec spec = {
        .n_pages = 2,
        .n_layers = n_layers,
        .n_heads = b->env.config.n_heads,
        .head_dim = b->env.config.head_dim,
        .policy = {.n_planes = 1, .holes = MODEL_KV_LATEST},
    };
    b->kv = model_kv_create(&spec, &err);
    assert_true(b->rope && b->kv);
    if (model_work_init(&b->work, &b->env, 2 * MAX_CALL, 16, &err) != 0)
        rig_fail("model_work_init", &err);
    b->pages[0][0] = 1;
    b->pages[1][0] = 0;
}

static void bench_close(struct bench *b)
{
    model_work_fini(&b->work);
    model_kv_destroy(b->kv);
    model_rope_destroy(b->rope);
    model_checkpoint_close(b->ckpt);
}

static void bench_begin(struct bench *b, int32_t batch, int32_t length)
{
    struct ltd_err err = {0};
    b->work.n_batch = batch * length;
    for (int32_t i = 0; i < b->work.n_batch; i++)
        b->work.places[i] = (struct model_place){b->pages[i / length], 1, i % length, 0};
    if (model_work_begin(&b->work, b->kv, &err) != 0)
        rig_fail("model_work_begin", &err);
}

static void keep(struct player *p, const float *from, int64_t count, const char *name)
{
    memcpy(floats_new(p, count, "%s", name), from, (size_t)count * sizeof(float));
}

static void play_embedding(struct player *p, struct bench *b)
{
    const struct model_tensor *ids = input(p, "input_ids");
    struct ltd_err err = {0};
    int32_t n = b->env.config.n_embd;
    float scale = sqrtf((float)n);
    for (int32_t i = 0; i < b->work.n_batch; i++) {
        float *row = b->work.x + (size_t)i * (size_t)n;
        if (model_checkpoint_floats(b->ckpt, "transformer.wte.weight", int_at(ids, i) * n, n, row,
                                    &err) != 0)
            rig_fail("model_checkpoint_floats", &err);
        for (int32_t c = 0; c < n; c++)
            row[c] *= scale;
    }
    keep(p, b->work.x, (int64_t)b->work.n_batch * n, "inter.embed_scaled");
}

/* q, k and v of all positions lie in one row; the vectors keep q and k by themselves. */
static void keep_third(struct player *p, const struct bench *b, int32_t third, const char *name)
{
    size_t n = (size_t)b->env.config.n_embd;
    float *out = floats_new(p, (int64_t)b->work.n_batch * b->env.config.n_embd, "%s", name);
    for (size_t i = 0; i < (size_t)b->work.n_batch; i++)
        memcpy(out + i * n, b->work.qkv + i * 3 * n + (size_t)third * n, n * sizeof *out);
}

static void play_first_block(struct player *p, struct bench *b, const struct model_block *block)
{
    const struct kern_ops *ops = b->env.ctx.ops;
    struct model_work *w = &b->work;
    struct ltd_err err = {0};
    int32_t n = b->env.config.n_embd;
    int64_t count = (int64_t)w->n_batch * n;
    float eps = b->env.config.norm_eps;
    ops->rmsnorm(&b->env.ctx, w->normed, w->x, block->norms, n, w->n_batch, eps);
    keep(p, w->normed, count, "inter.prelude.0.norm_1");
    model_product(&b->env, w, block->qkv, w->qkv, w->normed);
    keep(p, w->qkv, 3 * count, "inter.prelude.0.qkv");
    if (model_attention(block, &b->env, w, b->kv, 0, &b->exchange, &err) != 0)
        rig_fail("model_attention", &err);
    keep_third(p, b, 0, "inter.prelude.0.q_rope");
    keep_third(p, b, 1, "inter.prelude.0.k_rope");
    keep(p, w->part, count, "inter.prelude.0.attn_out");
    ops->add(&b->env.ctx, w->x, w->part, w->x, count);
    ops->rmsnorm(&b->env.ctx, w->x, w->x, block->norms + n, n, w->n_batch, eps);
    keep(p, w->x, count, "inter.prelude.0.norm_2");
    ops->rmsnorm(&b->env.ctx, w->normed, w->x, block->norms + 2 * n, n, w->n_batch, eps);
    if (model_mlp(block, &b->env, w, &b->exchange, &err) != 0)
        rig_fail("model_mlp", &err);
    keep(p, w->part, count, "inter.prelude.0.mlp_out");
}

/* The blocks of one part over what is in work.x, keeping each output under prefix.I. */
static void play_stack(struct player *p, struct bench *b, const char *part, int32_t n_blocks,
                       const char *prefix)
{
    struct ltd_err err = {0};
    int64_t count = (int64_t)b->work.n_batch * b->env.config.n_embd;
    for (int32_t i = 0; i < n_blocks; i++) {
        struct model_block block;
        char name[96];
        snprintf(name, sizeof name, "transformer.%s.%d", part, i);
        if (model_block_load(&block, &b->env, b->ckpt, name, &err) != 0)
            rig_fail("model_block_load", &err);
        if (i == 0 && strcmp(part, "prelude") == 0) {
            float *saved = malloc((size_t)count * sizeof *saved);
            assert_non_null(saved);
            memcpy(saved, b->work.x, (size_t)count * sizeof *saved);
            play_first_block(p, b, &block);
            memcpy(b->work.x, saved, (size_t)count * sizeof *saved);
            free(saved);
        }
        if (model_block_forward(&block, &b->env, &b->work, b->kv, i, &b->exchange, &err) != 0)
            rig_fail("model_block_forward", &err);
        snprintf(name, sizeof name, "%s.%d", prefix, i);
        keep(p, b->work.x, count, name);
        model_block_fini(&block);
    }
}

static void play_adapter(struct player *p, struct bench *b, const float *e)
{
    const struct model_tensor *init = input(p, "init_state");
    const struct model_row_range rows = {0, b->env.config.n_embd};
    const struct model_pack what = {"transformer.adapter.weight", b->env.format, &rows, 1};
    struct kern_mat adapter;
    struct ltd_err err = {0};
    size_t n = (size_t)b->env.config.n_embd, batch = (size_t)b->work.n_batch;
    float *joined = calloc(batch * 2 * n, sizeof *joined);
    assert_non_null(joined);
    for (size_t i = 0; i < batch; i++) {
        memcpy(joined + 2 * i * n, init->data + i * n * sizeof *joined, n * sizeof *joined);
        memcpy(joined + 2 * i * n + n, e + i * n, n * sizeof *joined);
    }
    if (model_checkpoint_pack(b->ckpt, &b->env.ctx, &what, &adapter, &err) != 0)
        rig_fail("model_checkpoint_pack", &err);
    b->env.ctx.ops->matmul(&b->env.ctx, b->work.x, &adapter, joined, b->work.n_batch);
    keep(p, b->work.x, (int64_t)(batch * n), "inter.step1.adapter");
    kern_mat_fini(&adapter);
    free(joined);
}

static void play_ln_f(struct player *p, struct bench *b, const char *name)
{
    struct ltd_err err = {0};
    int32_t n = b->env.config.n_embd;
    float *weight = calloc((size_t)n, sizeof *weight);
    assert_non_null(weight);
    if (model_checkpoint_floats(b->ckpt, "transformer.ln_f.weight", 0, n, weight, &err) != 0)
        rig_fail("model_checkpoint_floats", &err);
    b->env.ctx.ops->rmsnorm(&b->env.ctx, b->work.x, b->work.x, weight, n, b->work.n_batch,
                            b->env.config.norm_eps);
    keep(p, b->work.x, (int64_t)b->work.n_batch * n, name);
    free(weight);
}

static void play_intermediates(struct player *p)
{
    const struct model_tensor *ids = input(p, "input_ids");
    int32_t batch = (int32_t)ids->shape[0], length = (int32_t)ids->shape[1];
    struct bench b;
    bench_open(&b, p, 4);
    size_t bytes = (size_t)(batch * length) * (size_t)b.env.config.n_embd * sizeof(float);

    bench_begin(&b, batch, length);
    play_embedding(p, &b);
    play_stack(p, &b, "prelude", 2, "inter.prelude");
    play_adapter(p, &b, golden_find(p->run, "inter.prelude.1")->floats);
    bench_begin(&b, batch, length);
    play_stack(p, &b, "core_block", 4, "inter.step1.core");

    memcpy(b.work.x, golden_find(p->run, "inter.state.after_step8")->floats, bytes);
    play_ln_f(p, &b, "inter.r8.ln_f_core");
    bench_begin(&b, batch, length);
    play_stack(p, &b, "coda", 2, "inter.r8.coda");
    play_ln_f(p, &b, "inter.r8.ln_f_out");
    bench_close(&b);
}

/* ---- decoding ---- */

enum warm { COLD, WARM_NORMED, WARM_RAW };

struct decode {
    const char *name; /* of the keys */
    const char *policy;
    enum warm warm;
    struct model_exit_rule rule;
    bool keep_steps, keep_values;
};

static int32_t argmax(const float *x, int32_t n)
{
    int32_t best = 0;
    for (int32_t i = 1; i < n; i++)
        if (x[i] > x[best])
            best = i;
    return best;
}

static struct model_exit_rule fixed_rule(int32_t steps)
{
    return (struct model_exit_rule){
        .kind = MODEL_EXIT_FIXED, .min_steps = 1, .max_steps = steps, .check_every = 1};
}

/* A rule as the vectors were made with: looked at after every step, published threshold. */
static struct model_exit_rule auto_rule(enum model_exit_kind kind)
{
    return (struct model_exit_rule){.kind = kind,
                                    .min_steps = 1,
                                    .max_steps = MAX_STEPS,
                                    .check_every = 1,
                                    .threshold = model_exit_default_threshold(kind)};
}

static const float *last_logits(const struct call *c)
{
    return c->logits + (size_t)(c->n - 1) * (size_t)rig_config(c->rig)->vocab;
}

/* A memory for the rule, if it needs one. */
static void memory_open(struct model_exit_memory *memory, const struct model_exit_rule *rule,
                        const struct rig *rig)
{
    struct ltd_err err = {0};
    *memory = (struct model_exit_memory){0};
    if (model_exit_uses_logits(rule->kind) &&
        model_exit_memory_init(memory, rule->kind, rig_config(rig)->vocab, &err) != 0)
        rig_fail("model_exit_memory_init", &err);
}

/* Steps until the rule says stop; values[] gets each checked value. Returns steps done. */
static int32_t think(struct call *c, const struct model_exit_rule *rule,
                     struct model_exit_memory *memory, float *values)
{
    bool uses_logits = model_exit_uses_logits(rule->kind);
    if (uses_logits)
        model_exit_memory_reset(memory);
    for (int32_t done = 1;; done++) {
        double value = call_step(c, done - 1, model_exit_value_of(rule->kind));
        if (uses_logits && model_exit_is_due(rule, done)) {
            call_coda(c);
            value = model_exit_memory_check(memory, last_logits(c));
        }
        values[done - 1] = (float)value;
        if (model_exit_now(rule, done, value))
            return done;
    }
}

static void warm_start(struct call *c, enum warm warm)
{
    size_t n = (size_t)rig_config(c->rig)->n_embd;
    const float *last = c->latent + (size_t)(c->n - 1) * n;
    switch (warm) {
    case COLD:
        memset(c->latent, 0, n * sizeof(float));
        break;
    case WARM_NORMED:
        model_border_norm(rig_border(c->rig), last, 1, c->latent);
        break;
    case WARM_RAW:
        memmove(c->latent, last, n * sizeof(float));
        break;
    }
}

/* [N_NEW][m], NaN behind each row's last check; m is the longest row. */
static void keep_values(struct player *p, const char *name, float values[N_NEW][RIG_MAX_STEPS],
                        const int64_t *steps)
{
    int64_t most = 0;
    for (int32_t i = 0; i < N_NEW; i++)
        most = steps[i] > most ? steps[i] : most;
    float *out = floats_new(p, N_NEW * most, "%s.values", name);
    for (int64_t i = 0; i < N_NEW; i++)
        for (int64_t s = 0; s < most; s++)
            out[i * most + s] = s < steps[i] ? values[i][s] : NAN;
}

static void play_decode(struct player *p, const struct decode *d)
{
    struct rig *rig = rig_for(p, d->policy);
    const struct model_tensor *prompt = input(p, "gen.prompt");
    int32_t vocab = rig_config(rig)->vocab, length = (int32_t)prompt->shape[1];
    int32_t tokens[MAX_CALL];
    int64_t spent[N_NEW];
    static float values[N_NEW][RIG_MAX_STEPS];
    int64_t *out = ints_new(p, N_NEW, "%s.tokens", d->name);
    float *logits = floats_new(p, (int64_t)N_NEW * vocab, "%s.logits", d->name);
    struct model_exit_memory memory;
    struct call c;
    call_init(&c, rig);
    memory_open(&memory, &d->rule, rig);
    for (int32_t i = 0; i < length; i++) {
        tokens[i] = (int32_t)int_at(prompt, i);
        call_add(&c, 3, i);
    }
    for (int32_t i = 0; i < N_NEW; i++) {
        call_prelude(&c, tokens);
        spent[i] = think(&c, &d->rule, &memory, values[i]);
        call_coda(&c);
        const float *last = last_logits(&c);
        memcpy(logits + (size_t)i * (size_t)vocab, last, (size_t)vocab * sizeof *last);
        out[i] = tokens[0] = argmax(last, vocab);
        warm_start(&c, d->warm);
        c.n = 0;
        call_add(&c, 3, length + i);
    }
    if (d->keep_steps)
        memcpy(ints_new(p, N_NEW, "%s.steps", d->name), spent, sizeof spent);
    if (d->keep_values)
        keep_values(p, d->name, values, spent);
    model_exit_memory_fini(&memory);
    call_fini(&c);
    rig_destroy(rig);
}

static void play_fixed(struct player *p, const char *policy, int32_t steps)
{
    char name[96];
    snprintf(name, sizeof name, "gen.%s.r%d", policy, steps);
    const struct decode d = {.name = name, .policy = policy, .rule = fixed_rule(steps)};
    play_decode(p, &d);
}

static void play_adaptive(struct player *p, enum model_exit_kind kind, const char *policy)
{
    char name[96];
    snprintf(name, sizeof name, "adaptive.%s.%s", model_exit_name(kind), policy);
    const struct decode d = {.name = name,
                             .policy = policy,
                             .keep_steps = true,
                             .keep_values = true,
                             .rule = auto_rule(kind)};
    play_decode(p, &d);
    floats_new(p, 1, "%s.threshold", name)[0] = (float)d.rule.threshold;
}

/* The prompt one token at a time, each with an exit of its own. */
static void play_tokenwise(struct player *p, enum model_exit_kind kind, const char *policy)
{
    const char *rule_name = model_exit_name(kind);
    struct rig *rig = rig_for(p, policy);
    const struct model_tensor *prompt = input(p, "gen.prompt");
    int32_t vocab = rig_config(rig)->vocab, length = (int32_t)prompt->shape[1];
    const struct model_exit_rule rule = auto_rule(kind);
    int64_t *steps = ints_new(p, length, "tokenwise.%s.steps", rule_name);
    float *logits = floats_new(p, (int64_t)length * vocab, "tokenwise.%s.logits", rule_name);
    float values[RIG_MAX_STEPS];
    struct model_exit_memory memory;
    struct call c;
    call_init(&c, rig);
    memory_open(&memory, &rule, rig);
    for (int32_t i = 0; i < length; i++) {
        int32_t token = (int32_t)int_at(prompt, i);
        c.n = 0;
        call_add(&c, 0, i);
        call_prelude(&c, &token);
        warm_start(&c, COLD);
        steps[i] = think(&c, &rule, &memory, values);
        call_coda(&c);
        memcpy(logits + (size_t)i * (size_t)vocab, c.logits, (size_t)vocab * sizeof *logits);
    }
    model_exit_memory_fini(&memory);
    call_fini(&c);
    rig_destroy(rig);
}

/* ---- sampling ---- */

static void play_sampling(struct player *p)
{
    const struct {
        const char *tag;
        struct model_sampling sampling;
    } rows[] = {
        {"t0p7", {.temperature = 0.7, .repetition_penalty = 1.0}},
        {"t1p3_k7", {.temperature = 1.3, .top_k = 7, .repetition_penalty = 1.0}},
        {"p0p8", {.temperature = 1.0, .top_p = 0.8, .repetition_penalty = 1.0}},
        {"t0p7_minp0p1", {.temperature = 0.7, .min_p = 0.1, .repetition_penalty = 1.0}},
        {"t0p9_k20_p0p9_minp0p05_rep1p3",
         {.temperature = 0.9, .top_k = 20, .top_p = 0.9, .min_p = 0.05, .repetition_penalty = 1.3}},
    };
    const struct model_tensor *logits = input(p, "sampling.logits");
    const struct model_tensor *history = input(p, "sampling.history");
    struct ltd_err err = {0};
    int32_t vocab = (int32_t)logits->shape[0], n_history = (int32_t)history->shape[0];
    int32_t tokens[MAX_CALL];
    float *copy = calloc((size_t)vocab, sizeof *copy);
    double *probs = calloc((size_t)vocab, sizeof *probs);
    struct model_sampler *sampler = model_sampler_create(vocab, &err);
    assert_true(copy && probs && sampler);
    memcpy(copy, logits->data, logits->bytes);
    for (int32_t i = 0; i < n_history; i++)
        tokens[i] = (int32_t)int_at(history, i);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        float *out = floats_new(p, vocab, "sampling.%s.probs", rows[i].tag);
        if (model_sampler_probs(sampler, &rows[i].sampling, copy, tokens, n_history, probs, &err) !=
            0)
            rig_fail("model_sampler_probs", &err);
        for (int32_t t = 0; t < vocab; t++)
            out[t] = (float)probs[t];
    }
    model_sampler_destroy(sampler);
    free(probs);
    free(copy);
}

/* ---- all of it ---- */

static void play_small_case(struct player *p)
{
    play_intermediates(p);
    play_fixed(p, "compress-s4", 8);
    play_fixed(p, "compress-s16", 8);
    play_fixed(p, "latest-m4-compress-s4", 8);
    play_fixed(p, "compress-anchor", 13);
    play_adaptive(p, MODEL_EXIT_LATENT_DIFF, "latest-m4");
    play_adaptive(p, MODEL_EXIT_LATENT_DIFF, "latest-m4-compress-s16");
}

static const char *adaptive_policy_of(const struct player *p)
{
    return p->small_case_only ? "latest-m4" : "full";
}

static void play_logit_rules(struct player *p)
{
    const char *policy = adaptive_policy_of(p);
    for (int kind = 0; kind < MODEL_N_EXITS; kind++)
        if (model_exit_uses_logits((enum model_exit_kind)kind))
            play_adaptive(p, (enum model_exit_kind)kind, policy);
    play_tokenwise(p, MODEL_EXIT_KL, policy);
}

static void play_decoding(struct player *p)
{
    const char *adaptive_policy = adaptive_policy_of(p);
    play_fixed(p, "full", 8);
    play_fixed(p, "full", 32);
    play_adaptive(p, MODEL_EXIT_LATENT_DIFF, "full");
    play_adaptive(p, MODEL_EXIT_COSINE, adaptive_policy);
    play_tokenwise(p, MODEL_EXIT_LATENT_DIFF, adaptive_policy);
    const struct decode continuous = {.name = "gen.continuous.full.r4",
                                      .policy = "full",
                                      .warm = WARM_NORMED,
                                      .rule = fixed_rule(4)};
    play_decode(p, &continuous);
    const struct decode adaptive = {.name = "adaptive_continuous.latent-diff",
                                    .policy = adaptive_policy,
                                    .warm = WARM_RAW,
                                    .keep_steps = true,
                                    .rule = auto_rule(MODEL_EXIT_LATENT_DIFF)};
    play_decode(p, &adaptive);
    play_sampling(p);
    if (p->small_case_only)
        play_small_case(p);
}

struct golden_run *golden_run(const struct golden_setup *setup)
{
    char path[512];
    struct ltd_err err = {0};
    struct golden_run *run = calloc(1, sizeof *run);
    assert_non_null(run);
    run->arrays = calloc(MAX_ARRAYS, sizeof *run->arrays);
    assert_non_null(run->arrays);
    snprintf(path, sizeof path, "%s/golden.safetensors", setup->dir);
    struct model_safetensors *golden = model_safetensors_open(path, &err);
    if (!golden)
        rig_fail("model_safetensors_open", &err);
    struct player p = {.setup = setup, .golden = golden, .run = run};
    p.small_case_only = model_safetensors_find(golden, "inter.embed_scaled") != NULL;
    play_forward(&p, false);
    play_forward(&p, true);
    if (setup->extent != GOLDEN_FORWARD_ONLY)
        play_decoding(&p);
    if (setup->extent == GOLDEN_ALL)
        play_logit_rules(&p);
    model_safetensors_close(golden);
    return run;
}

void golden_free(struct golden_run *run)
{
    for (int32_t i = 0; i < run->n_arrays; i++) {
        free(run->arrays[i].floats);
        free(run->arrays[i].ints);
    }
    free(run->arrays);
    free(run);
}

const struct golden_array *golden_find(const struct golden_run *run, const char *name)
{
    for (int32_t i = 0; i < run->n_arrays; i++)
        if (strcmp(run->arrays[i].name, name) == 0)
            return &run->arrays[i];
    return NULL;
}

const char *golden_first_difference(const struct golden_run *a, const struct golden_run *b)
{
    assert_int_equal(a->n_arrays, b->n_arrays);
    for (int32_t i = 0; i < a->n_arrays; i++) {
        const struct golden_array *x = &a->arrays[i], *y = &b->arrays[i];
        assert_string_equal(x->name, y->name);
        if (x->count != y->count)
            return x->name;
        if (x->floats && memcmp(x->floats, y->floats, (size_t)x->count * sizeof *x->floats) != 0)
            return x->name;
        if (x->ints && memcmp(x->ints, y->ints, (size_t)x->count * sizeof *x->ints) != 0)
            return x->name;
    }
    return NULL;
}
