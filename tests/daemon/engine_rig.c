/* SPDX-License-Identifier: Apache-2.0 */
/* tests/daemon/engine_rig.c - see tests/daemon/engine_rig.h. */
#include "engine_rig.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/size.h"
#include "cluster/executor.h"
#include "cluster/group.h"
#include "cluster/world.h"
#include "kernels/dispatch.h"
#include "model/border.h"
#include "model/checkpoint.h"
#include "model/core.h"
#include "model/safetensors.h"

const struct rig_options roomy = {
    .kv_policy = "latest-m4", .n_pages = 200, .n_seqs = 32, .max_batch = 64, .prefill_chunk = 16};

static struct clus_world *world;
struct model_safetensors *golden;

/* The gather of the rank: the local one, until it is told to fail. */
static struct model_exchange local;
static _Atomic bool is_gather_broken;

static int gather(void *arg, enum model_part part, const float *own, float *full, int32_t n_pos,
                  struct ltd_err *err)
{
    (void)arg;
    if (is_gather_broken)
        return ltd_fail(err, LTD_E_RANK, "the cable is cut");
    return local.gather(local.arg, part, own, full, n_pos, err);
}

void rig_break_gather(void)
{
    is_gather_broken = true;
}

static void wake_up(void *arg)
{
    uint64_t one = 1;
    ssize_t n = write(*(int *)arg, &one, sizeof one);
    (void)n;
}

static void open_model(struct rig *rig, const struct rig_options *o, struct clus_limits *limits)
{
    struct ltd_err err;
    struct model_kv_policy policy;
    must(rig->ckpt = model_checkpoint_open(o->model ? o->model : GOLDEN, &err));
    const struct model_config *config = model_checkpoint_config(rig->ckpt);
    must(model_kv_policy_parse(o->kv_policy, config->n_core, 64, &policy, &err) == 0);
    struct model_core_options core = {.shard = model_shard_all(config),
                                      .max_slots = o->max_batch,
                                      .max_positions = config->max_positions,
                                      .n_pages = o->n_pages,
                                      .policy = policy,
                                      .kv_format = o->kv_format,
                                      .has_early = o->has_early,
                                      .early_format = KERN_INT8};
    struct model_border_options border = {.max_batch = o->max_batch,
                                          .max_positions = config->max_positions,
                                          .n_pages = o->n_pages,
                                          .kv_format = o->kv_format};
    must(rig->core = model_core_create(rig->ckpt, &rig->ctx, &core, &err));
    must(rig->border = model_border_create(rig->ckpt, &rig->ctx, &border, &err));
    *limits = (struct clus_limits){.n_embd = config->n_embd,
                                   .block_size = config->max_positions,
                                   .page_positions = KERN_PAGE_POSITIONS,
                                   .n_rows = o->n_rows ? o->n_rows : 4 * config->max_positions,
                                   .n_seqs = o->n_seqs,
                                   .n_pages = o->n_pages,
                                   .max_batch = o->max_batch};
}

void rig_open(struct rig *rig, const struct rig_options *o)
{
    struct ltd_err err;
    struct clus_limits limits;
    *rig = (struct rig){.ctx = {.n_threads = 1, .min_work = 0}};
    must(rig->ctx.ops = kern_tier_find("ref", &err));
    rig->results = calloc(MAX_JOBS, sizeof *rig->results);
    rig->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    open_model(rig, o, &limits);
    const struct model_config *config = model_core_config(rig->core);
    local = model_exchange_local(config);
    is_gather_broken = false;
    struct clus_executor_config executor = {.core = rig->core,
                                            .exchange = {.gather = gather},
                                            .limits = limits,
                                            .shard = model_shard_all(config),
                                            .n_threads = 1};
    must(rig->executor = clus_executor_create(&executor, &err));
    struct clus_group_config group = {.rank = {.world = world,
                                               .executor = rig->executor,
                                               .linger_ns = CLUS_LINGER_DEFAULT_NS,
                                               .n_threads = 1}};
    must(rig->group = clus_group_start(&group, &err));
    struct engine_config engine = {.border = rig->border,
                                   .group = rig->group,
                                   .n_embd = config->n_embd,
                                   .vocab_size = config->vocab,
                                   .n_pages = o->n_pages,
                                   .n_rows = limits.n_rows,
                                   .n_seqs = o->n_seqs,
                                   .max_batch = o->max_batch,
                                   .prefill_chunk = o->prefill_chunk,
                                   .prefill_share = 0.5,
                                   .ageing_ns = LTD_NS_PER_S,
                                   .max_waiting = MAX_JOBS,
                                   .max_steps = 64,
                                   .is_replayable = model_kv_policy_replayable(
                                       &model_kv_spec_of(model_core_kv(rig->core))->policy, 64),
                                   .n_cached_pages = o->n_cached_pages,
                                   .n_held_jobs = o->n_held_jobs,
                                   .overlap = o->overlap,
                                   .n_end_tokens = o->n_end_tokens,
                                   .notify = wake_up,
                                   .notify_arg = &rig->wake};
    for (int32_t i = 0; i < o->n_end_tokens; i++)
        engine.end_tokens[i] = i;
    must(rig->engine = engine_start(&engine, &err));
}

static void take_event(struct rig *rig, const struct engine_event *event)
{
    assert_in_range(event->job, 0, MAX_JOBS - 1);
    struct result *r = &rig->results[event->job];
    assert_int_equal(r->n_finished, 0); /* FINISHED is the last event that names a job */
    switch (event->kind) {
    case ENGINE_STARTED:
        r->n_started++;
        break;
    case ENGINE_TOKEN:
        assert_in_range(r->n_tokens, 0, MAX_TOKENS - 1);
        r->tokens[r->n_tokens] = event->token.id;
        r->steps[r->n_tokens] = event->token.steps;
        r->exits[r->n_tokens] = event->token.exit;
        r->values[r->n_tokens] = event->token.criterion_value;
        r->logprobs[r->n_tokens] = event->token.logprob;
        memcpy(r->top[r->n_tokens], event->token.top, sizeof event->token.top);
        r->n_tokens++;
        break;
    case ENGINE_THINKING:
        break;
    case ENGINE_SCORED:
        r->n_scores = event->n_scores;
        memcpy(r->scores, event->score_logprobs, (size_t)event->n_scores * sizeof *r->scores);
        memcpy(r->score_steps, event->score_steps,
               (size_t)event->n_scores * sizeof *r->score_steps);
        memcpy(r->greedy, event->score_greedy, (size_t)event->n_scores * sizeof *r->greedy);
        break;
    case ENGINE_FINISHED:
        r->n_finished++;
        r->finish_rank = rig->n_finished++;
        r->finish = event->finish;
        r->error = event->error;
        r->total_steps = event->total_steps;
        r->late = event->late;
        break;
    }
}

void pump(struct rig *rig)
{
    struct engine_event *event = engine_take_events(rig->engine);
    while (event) {
        struct engine_event *next = (struct engine_event *)event->mail.next;
        take_event(rig, event);
        engine_event_destroy(event);
        event = next;
    }
}

/* Wait until `done` holds for the job, or the test's deadline is over. */
void wait_for(struct rig *rig, uint64_t job, bool (*done)(const struct result *))
{
    uint64_t deadline = ltd_deadline_ns(TEST_MS);
    while (!done(&rig->results[job])) {
        if (ltd_now_ns() >= deadline)
            fail_msg("job %d: nothing more after %d ms", (int)job, TEST_MS);
        struct pollfd fd = {.fd = rig->wake, .events = POLLIN};
        uint64_t count;
        if (poll(&fd, 1, 100) > 0 && read(rig->wake, &count, sizeof count) < 0)
            continue;
        pump(rig);
    }
}

bool is_finished(const struct result *r)
{
    return r->n_finished > 0;
}

bool is_started(const struct result *r)
{
    return r->n_started > 0;
}

bool has_written(const struct result *r)
{
    return r->n_tokens > 0;
}

void rig_close(struct rig *rig)
{
    struct ltd_err err;
    struct engine_stats stats;
    if (!rig->is_stopped)
        engine_stop(rig->engine);
    pump(rig);
    engine_get_stats(rig->engine, &stats);
    assert_int_equal(stats.pages_used, 0);
    assert_int_equal(stats.positions_running, 0);
    engine_destroy(rig->engine);
    assert_int_equal(clus_group_stop(rig->group, &err), is_gather_broken ? -1 : 0);
    clus_executor_destroy(rig->executor);
    model_border_destroy(rig->border);
    model_core_destroy(rig->core);
    model_checkpoint_close(rig->ckpt);
    free(rig->results);
    close(rig->wake);
}

struct job_spec plain_spec(int32_t *prompt, int32_t n_prompt, int32_t max_tokens, int32_t steps)
{
    return (struct job_spec){
        .kind = SPEC_GENERATE,
        .prompt = prompt,
        .n_prompt = n_prompt,
        .max_tokens = max_tokens,
        .depth = {.rule = {.kind = MODEL_EXIT_FIXED,
                           .min_steps = 1,
                           .max_steps = steps,
                           .check_every = 1}},
        .priority = SPEC_PRIORITY_DEFAULT,
        .sampling = {.repetition_penalty = 1},
        .n_logprobs = 5,
    };
}

int32_t golden_ints(const char *key, int32_t *out)
{
    const struct model_tensor *t = model_safetensors_find(golden, key);
    assert_non_null(t);
    assert_int_equal(t->dtype, MODEL_I64);
    int32_t n = (int32_t)(t->bytes / 8);
    for (int32_t i = 0; i < n; i++) {
        int64_t v;
        memcpy(&v, t->data + (size_t)i * 8, 8);
        out[i] = (int32_t)v;
    }
    return n;
}

int32_t golden_floats(const char *key, float *out, int32_t room)
{
    const struct model_tensor *t = model_safetensors_find(golden, key);
    assert_non_null(t);
    assert_int_equal(t->dtype, MODEL_F32);
    int32_t n = (int32_t)(t->bytes / sizeof *out);
    assert_in_range(n, 0, room);
    memcpy(out, t->data, t->bytes);
    return n;
}

void submit(struct rig *rig, uint64_t job, const struct job_spec *spec)
{
    struct ltd_err err;
    must(engine_submit(rig->engine, job, spec, &err) == 0);
}

const struct result *run_job(struct rig *rig, uint64_t job, const struct job_spec *spec)
{
    submit(rig, job, spec);
    wait_for(rig, job, is_finished);
    return &rig->results[job];
}

void assert_same(const struct result *a, const struct result *b)
{
    assert_int_equal(a->n_tokens, b->n_tokens);
    for (int32_t i = 0; i < a->n_tokens; i++) {
        assert_int_equal(a->tokens[i], b->tokens[i]);
        assert_int_equal(a->steps[i], b->steps[i]);
        assert_int_equal(a->exits[i], b->exits[i]);
        assert_memory_equal(&a->values[i], &b->values[i], sizeof(double));
        assert_memory_equal(&a->logprobs[i], &b->logprobs[i], sizeof(float));
        for (int32_t k = 0; k < 5; k++) {
            assert_int_equal(a->top[i][k].id, b->top[i][k].id);
            assert_memory_equal(&a->top[i][k].logprob, &b->top[i][k].logprob, sizeof(float));
        }
    }
}

/* A spec that differs from its neighbours in everything: prompt, depth, sampling, seed. */
struct job_spec varied_spec(int32_t (*prompts)[32], int32_t i)
{
    int32_t n_prompt = 3 + (i * 5) % 23;
    for (int32_t p = 0; p < n_prompt; p++)
        prompts[i][p] = (i * 31 + p * 7) % 97;
    struct job_spec spec = plain_spec(prompts[i], n_prompt, 4 + i % 9, 1 + (i * 3) % 11);
    spec.init_scale = i % 3 ? 1.0f : 0.0f;
    spec.seed = (uint64_t)i * 7919 + 1;
    if (i % 2)
        spec.sampling.temperature = 0.8;
    if (i % 4 == 3) {
        spec.depth.rule.kind = MODEL_EXIT_LATENT_DIFF;
        spec.depth.rule.threshold = 0.05;
        spec.depth.rule.max_steps = 20;
    }
    return spec;
}

/* Whatever a job had written when it was ended is the beginning of what it would have written. */
void assert_begins(const struct result *whole, const struct result *part)
{
    struct result cut = *whole;
    assert_in_range(part->n_tokens, 0, whole->n_tokens);
    cut.n_tokens = part->n_tokens;
    assert_same(&cut, part);
}

int rig_set_up(void **state)
{
    (void)state;
    struct ltd_err err;
    world = clus_world_open(&err);
    golden = world ? model_safetensors_open(GOLDEN "/golden.safetensors", &err) : NULL;
    if (!golden)
        print_error("%s\n", err.msg);
    return golden ? 0 : -1;
}

int rig_tear_down(void **state)
{
    (void)state;
    model_safetensors_close(golden);
    clus_world_close(world);
    return 0;
}
