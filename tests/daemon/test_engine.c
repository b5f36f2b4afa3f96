/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tests of daemon/engine with a real rank group of one on the golden model: the numbers of the
 * official code come out of the event stream, and nothing that the scheduler decides (chunks,
 * neighbours, order of arrival, scarce places) changes one bit of them.
 */
#include "daemon/engine.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

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

#define GOLDEN     TEST_DATA_DIR "/golden/tiny-p2r4c2"
#define MAX_TOKENS 64
#define MAX_JOBS   64
#define TEST_MS    120000 /* a deadline for a hang, never a measure of speed */

static struct clus_world *world;
static struct model_safetensors *golden;

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

/* What the events of one job added up to. */
struct result {
    int32_t tokens[MAX_TOKENS], steps[MAX_TOKENS];
    float logprobs[MAX_TOKENS];
    struct engine_top top[MAX_TOKENS][SPEC_LOGPROBS_MAX];
    int32_t n_tokens, n_started, n_finished;
    enum engine_finish finish;
    struct ltd_err error;
    uint64_t total_steps;
    int32_t finish_rank; /* how many jobs had ended when this one did */
    float scores[MAX_TOKENS];
    bool greedy[MAX_TOKENS];
    int32_t n_scores;
};

struct rig {
    struct kern_ctx ctx;
    struct model_checkpoint *ckpt;
    struct model_core *core;
    struct model_border *border;
    struct clus_executor *executor;
    struct clus_group *group;
    struct engine *engine;
    bool is_stopped;        /* the engine's thread is gone already */
    int wake;               /* eventfd that the engine's notify writes to */
    struct result *results; /* [MAX_JOBS] by job number */
    int32_t n_finished;
};

struct rig_options {
    const char *kv_policy;
    int32_t n_pages, n_seqs, max_batch, prefill_chunk;
    const char *model; /* NULL: the golden one */
};

static const struct rig_options roomy = {"latest-m4", 200, 32, 64, 16, NULL};

#define must(expr)                                                                                 \
    do {                                                                                           \
        if (!(expr)) {                                                                             \
            print_error("%s: %s\n", #expr, err.msg);                                               \
            fail();                                                                                \
        }                                                                                          \
    } while (0)

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
                                      .policy = policy};
    struct model_border_options border = {
        .max_batch = o->max_batch, .max_positions = config->max_positions, .n_pages = o->n_pages};
    must(rig->core = model_core_create(rig->ckpt, &rig->ctx, &core, &err));
    must(rig->border = model_border_create(rig->ckpt, &rig->ctx, &border, &err));
    *limits = (struct clus_limits){.n_embd = config->n_embd,
                                   .block_size = config->max_positions,
                                   .page_positions = KERN_PAGE_POSITIONS,
                                   .n_rows = 4 * config->max_positions,
                                   .n_seqs = o->n_seqs,
                                   .n_pages = o->n_pages,
                                   .max_batch = o->max_batch};
}

static void rig_open(struct rig *rig, const struct rig_options *o)
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
                                   .end_tokens = {-1},
                                   .n_end_tokens = 0,
                                   .notify = wake_up,
                                   .notify_arg = &rig->wake};
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
        r->logprobs[r->n_tokens] = event->token.logprob;
        memcpy(r->top[r->n_tokens], event->token.top, sizeof event->token.top);
        r->n_tokens++;
        break;
    case ENGINE_THINKING:
        break;
    case ENGINE_SCORED:
        r->n_scores = event->n_scores;
        memcpy(r->scores, event->score_logprobs, (size_t)event->n_scores * sizeof *r->scores);
        memcpy(r->greedy, event->score_greedy, (size_t)event->n_scores * sizeof *r->greedy);
        break;
    case ENGINE_FINISHED:
        r->n_finished++;
        r->finish_rank = rig->n_finished++;
        r->finish = event->finish;
        r->error = event->error;
        r->total_steps = event->total_steps;
        break;
    }
}

static void pump(struct rig *rig)
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
static void wait_for(struct rig *rig, uint64_t job, bool (*done)(const struct result *))
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

static bool is_finished(const struct result *r)
{
    return r->n_finished > 0;
}

static bool is_started(const struct result *r)
{
    return r->n_started > 0;
}

static void rig_close(struct rig *rig)
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

static struct job_spec plain_spec(int32_t *prompt, int32_t n_prompt, int32_t max_tokens,
                                  int32_t steps)
{
    return (struct job_spec){
        .kind = SPEC_GENERATE,
        .prompt = prompt,
        .n_prompt = n_prompt,
        .max_tokens = max_tokens,
        .depth = {.min_steps = 1, .max_steps = steps},
        .sampling = {.repetition_penalty = 1},
        .n_logprobs = 5,
    };
}

static int32_t golden_ints(const char *key, int32_t *out)
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

static void submit(struct rig *rig, uint64_t job, const struct job_spec *spec)
{
    struct ltd_err err;
    must(engine_submit(rig->engine, job, spec, &err) == 0);
}

static void assert_same(const struct result *a, const struct result *b)
{
    assert_int_equal(a->n_tokens, b->n_tokens);
    for (int32_t i = 0; i < a->n_tokens; i++) {
        assert_int_equal(a->tokens[i], b->tokens[i]);
        assert_int_equal(a->steps[i], b->steps[i]);
        assert_memory_equal(&a->logprobs[i], &b->logprobs[i], sizeof(float));
        for (int32_t k = 0; k < 5; k++) {
            assert_int_equal(a->top[i][k].id, b->top[i][k].id);
            assert_memory_equal(&a->top[i][k].logprob, &b->top[i][k].logprob, sizeof(float));
        }
    }
}

static void greedy_tokens_are_those_of_the_official_code(void **state)
{
    (void)state;
    static const struct {
        const char *key, *policy;
        int32_t steps;
    } cases[] = {{"gen.full.r8.tokens", "full", 8},
                 {"gen.full.r32.tokens", "full", 32},
                 {"gen.compress-s4.r8.tokens", "compress-s4", 8},
                 {"gen.compress-s16.r8.tokens", "compress-s16", 8},
                 {"gen.compress-anchor.r13.tokens", "compress-anchor", 13}};
    int32_t prompt[32], expected[32];
    int32_t n_prompt = golden_ints("gen.prompt", prompt);
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        struct rig_options o = roomy;
        struct rig rig;
        o.kv_policy = cases[c].policy;
        rig_open(&rig, &o);
        struct job_spec spec = plain_spec(prompt, n_prompt, 20, cases[c].steps);
        submit(&rig, 0, &spec);
        wait_for(&rig, 0, is_finished);
        assert_int_equal(rig.results[0].finish, ENGINE_FINISH_LENGTH);
        assert_int_equal(rig.results[0].n_tokens, golden_ints(cases[c].key, expected));
        for (int32_t i = 0; i < 20; i++)
            assert_int_equal(rig.results[0].tokens[i], expected[i]);
        assert_int_equal(rig.results[0].total_steps, (uint64_t)(n_prompt + 19) * cases[c].steps);
        rig_close(&rig);
    }
}

static void adaptive_depth_spends_the_steps_of_the_official_code(void **state)
{
    (void)state;
    static const char *const policies[] = {"full", "latest-m4", "latest-m4-compress-s16"};
    int32_t prompt[32], steps[32], tokens[32];
    int32_t n_prompt = golden_ints("gen.prompt", prompt);
    for (size_t c = 0; c < sizeof policies / sizeof *policies; c++) {
        char key[96];
        struct rig_options o = roomy;
        struct rig rig;
        o.kv_policy = policies[c];
        rig_open(&rig, &o);
        struct job_spec spec = plain_spec(prompt, n_prompt, 20, 32);
        spec.depth.adaptive = true;
        spec.depth.threshold = 0.03;
        submit(&rig, 0, &spec);
        wait_for(&rig, 0, is_finished);
        snprintf(key, sizeof key, "adaptive.latent-diff.%s.tokens", policies[c]);
        golden_ints(key, tokens);
        snprintf(key, sizeof key, "adaptive.latent-diff.%s.steps", policies[c]);
        golden_ints(key, steps);
        for (int32_t i = 0; i < 20; i++) {
            assert_int_equal(rig.results[0].tokens[i], tokens[i]);
            assert_int_equal(rig.results[0].steps[i], steps[i]);
        }
        rig_close(&rig);
    }
}

/* A spec that differs from its neighbours in everything: prompt, depth, sampling, seed. */
static struct job_spec varied_spec(int32_t (*prompts)[32], int32_t i)
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
        spec.depth.adaptive = true;
        spec.depth.threshold = 0.05;
        spec.depth.max_steps = 20;
    }
    return spec;
}

static void nothing_the_scheduler_decides_changes_a_bit(void **state)
{
    (void)state;
    enum { N = 24 };
    static int32_t prompts[N][32];
    static const struct rig_options crowded[] = {{"latest-m4", 200, 32, 64, 16, NULL},
                                                 {"latest-m4", 200, 32, 64, 1, NULL},
                                                 {"latest-m4", 200, 32, 5, 3, NULL},
                                                 {"latest-m4", 200, 32, 1, 1, NULL},
                                                 {"latest-m4", 9, 4, 7, 7, NULL}};
    struct job_spec specs[N];
    struct result alone[N];
    struct rig rig;
    rig_open(&rig, &roomy);
    for (int32_t i = 0; i < N; i++) {
        specs[i] = varied_spec(prompts, i);
        submit(&rig, (uint64_t)i, &specs[i]);
        wait_for(&rig, (uint64_t)i, is_finished);
        alone[i] = rig.results[i];
        assert_int_equal(alone[i].n_tokens, specs[i].max_tokens);
    }
    rig_close(&rig);
    for (size_t c = 0; c < sizeof crowded / sizeof *crowded; c++) {
        rig_open(&rig, &crowded[c]);
        for (int32_t i = 0; i < N; i++) {
            int32_t job = c % 2 ? N - 1 - i : i; /* another order of arrival */
            submit(&rig, (uint64_t)job, &specs[job]);
        }
        for (int32_t i = 0; i < N; i++) {
            wait_for(&rig, (uint64_t)i, is_finished);
            assert_same(&alone[i], &rig.results[i]);
        }
        rig_close(&rig);
    }
}

/* The choice is greedy here, so only the initial latents can tell the seeds apart. */
static void another_seed_is_another_answer_and_zero_scale_has_none(void **state)
{
    (void)state;
    int32_t prompt[32];
    int32_t n_prompt = golden_ints("gen.prompt", prompt);
    struct rig rig;
    rig_open(&rig, &roomy);
    struct job_spec specs[4];
    for (uint64_t i = 0; i < 4; i++) {
        specs[i] = plain_spec(prompt, n_prompt, 3, 2);
        specs[i].seed = 1 + i % 2;
        specs[i].init_scale = i < 2 ? 1.0f : 0.0f;
        submit(&rig, i, &specs[i]);
        wait_for(&rig, i, is_finished);
    }
    assert_true(rig.results[0].logprobs[0] != rig.results[1].logprobs[0]);
    assert_same(&rig.results[2], &rig.results[3]);
    rig_close(&rig);
}

static void scores_are_the_logprobs_that_generation_reported(void **state)
{
    (void)state;
    int32_t prompt[32], both[64];
    int32_t n_prompt = golden_ints("gen.prompt", prompt);
    struct rig rig;
    rig_open(&rig, &roomy);
    struct job_spec spec = plain_spec(prompt, n_prompt, 20, 6);
    spec.seed = 99;
    spec.init_scale = 1;
    submit(&rig, 0, &spec);
    wait_for(&rig, 0, is_finished);
    const struct result *written = &rig.results[0];
    memcpy(both, prompt, (size_t)n_prompt * sizeof *both);
    memcpy(both + n_prompt, written->tokens, 20 * sizeof *both);
    struct job_spec score = spec;
    score.kind = SPEC_SCORE;
    score.prompt = both;
    score.n_prompt = n_prompt + 20;
    score.score_begin = n_prompt;
    submit(&rig, 1, &score);
    wait_for(&rig, 1, is_finished);
    assert_int_equal(rig.results[1].finish, ENGINE_FINISH_SCORED);
    assert_int_equal(rig.results[1].n_scores, 20);
    for (int32_t i = 0; i < 20; i++) {
        assert_memory_equal(&rig.results[1].scores[i], &written->logprobs[i], sizeof(float));
        assert_true(rig.results[1].greedy[i]);
    }
    rig_close(&rig);
}

static void a_cancelled_job_ends_and_gives_everything_back(void **state)
{
    (void)state;
    int32_t prompt[32];
    int32_t n_prompt = golden_ints("gen.prompt", prompt);
    struct rig_options o = roomy;
    o.n_pages = 5; /* one long job fills it, the next one has to wait */
    struct rig rig;
    rig_open(&rig, &o);
    struct job_spec spec = plain_spec(prompt, n_prompt, 60, 64);
    submit(&rig, 0, &spec);
    submit(&rig, 1, &spec);
    wait_for(&rig, 0, is_started);
    assert_int_equal(rig.results[1].n_started, 0);
    engine_cancel(rig.engine, 1, ENGINE_FINISH_CANCELLED);
    wait_for(&rig, 1, is_finished);
    assert_int_equal(rig.results[1].finish, ENGINE_FINISH_CANCELLED);
    assert_int_equal(rig.results[1].n_tokens, 0);
    engine_cancel(rig.engine, 0, ENGINE_FINISH_DEADLINE);
    engine_cancel(rig.engine, 17, ENGINE_FINISH_CANCELLED); /* nobody of that name */
    wait_for(&rig, 0, is_finished);
    assert_int_equal(rig.results[0].finish, ENGINE_FINISH_DEADLINE);
    assert_true(rig.results[0].n_tokens < 60);
    struct job_spec small = plain_spec(prompt, n_prompt, 2, 2);
    submit(&rig, 2, &small);
    wait_for(&rig, 2, is_finished);
    assert_int_equal(rig.results[2].finish, ENGINE_FINISH_LENGTH);
    rig_close(&rig);
}

static void a_job_out_of_time_keeps_what_it_wrote(void **state)
{
    (void)state;
    int32_t prompt[32];
    int32_t n_prompt = golden_ints("gen.prompt", prompt);
    struct rig_options o = roomy;
    struct rig rig;
    rig_open(&rig, &o);
    struct job_spec spec = plain_spec(prompt, n_prompt, 60, 64);
    spec.max_run_ms = 1;
    submit(&rig, 0, &spec);
    wait_for(&rig, 0, is_finished);
    assert_int_equal(rig.results[0].finish, ENGINE_FINISH_DEADLINE);
    assert_true(rig.results[0].n_tokens < 60);
    rig_close(&rig);
}

static void stopping_ends_every_job_once(void **state)
{
    (void)state;
    int32_t prompt[32];
    int32_t n_prompt = golden_ints("gen.prompt", prompt);
    struct rig_options o = roomy;
    o.n_seqs = 3;
    struct rig rig;
    rig_open(&rig, &o);
    struct job_spec spec = plain_spec(prompt, n_prompt, 60, 64);
    for (uint64_t i = 0; i < 10; i++)
        submit(&rig, i, &spec);
    wait_for(&rig, 0, is_started);
    engine_stop(rig.engine);
    rig.is_stopped = true;
    pump(&rig);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(rig.results[i].n_finished, 1);
        assert_int_equal(rig.results[i].finish, ENGINE_FINISH_CANCELLED);
    }
    rig_close(&rig);
}

static void when_the_group_is_lost_every_job_ends_once_with_the_reason(void **state)
{
    (void)state;
    enum { N = 12 };
    int32_t prompt[32];
    int32_t n_prompt = golden_ints("gen.prompt", prompt);
    struct rig_options o = roomy;
    o.n_seqs = 3; /* the others wait */
    struct rig rig;
    rig_open(&rig, &o);
    struct job_spec spec = plain_spec(prompt, n_prompt, 60, 64);
    for (uint64_t i = 0; i < N; i++)
        submit(&rig, i, &spec);
    wait_for(&rig, 2, is_started);
    is_gather_broken = true;
    for (uint64_t i = 0; i < N; i++)
        wait_for(&rig, i, is_finished);
    submit(&rig, N, &spec); /* too late */
    wait_for(&rig, N, is_finished);
    for (int32_t i = 0; i <= N; i++) {
        assert_int_equal(rig.results[i].finish, ENGINE_FINISH_ERROR);
        assert_int_equal(rig.results[i].error.code, LTD_E_RANK);
        assert_non_null(strstr(rig.results[i].error.msg, "the cable is cut"));
        assert_int_equal(rig.results[i].n_started, i < 3);
    }
    rig_close(&rig);
}

/* Whatever a job had written when it was ended is the beginning of what it would have written. */
static void assert_begins(const struct result *whole, const struct result *part)
{
    struct result cut = *whole;
    assert_in_range(part->n_tokens, 0, whole->n_tokens);
    cut.n_tokens = part->n_tokens;
    assert_same(&cut, part);
}

/* Jobs come, are cancelled or run out of time at any moment, and their places go to others. */
static void jobs_that_are_ended_at_any_moment_leave_no_trace_in_others(void **state)
{
    (void)state;
    enum { N = MAX_JOBS };
    static int32_t prompts[N][32];
    static struct job_spec specs[N];
    static struct result alone[N];
    struct rig rig;
    rig_open(&rig, &roomy);
    for (int32_t i = 0; i < N; i++) {
        specs[i] = varied_spec(prompts, i);
        submit(&rig, (uint64_t)i, &specs[i]);
        wait_for(&rig, (uint64_t)i, is_finished);
        alone[i] = rig.results[i];
    }
    rig_close(&rig);
    uint32_t random = 12345;
    for (int32_t round = 0; round < 3; round++) {
        struct rig_options o = {"latest-m4", 7 + 2 * round, 3 + 2 * round, 6, 1 + 2 * round, NULL};
        rig_open(&rig, &o);
        for (int32_t i = 0; i < N; i++) {
            submit(&rig, (uint64_t)i, &specs[i]);
            random = random * 1664525 + 1013904223;
            int32_t victim = (int32_t)(random >> 16) % (i + 1);
            if (victim % 3 != 2) /* the others may live */
                engine_cancel(rig.engine, (uint64_t)victim, ENGINE_FINISH_CANCELLED);
            if (random & 0x800)
                wait_for(&rig, (uint64_t)(i / 2), is_finished);
        }
        for (int32_t i = 0; i < N; i++) {
            wait_for(&rig, (uint64_t)i, is_finished);
            assert_begins(&alone[i], &rig.results[i]);
            if (rig.results[i].finish != ENGINE_FINISH_CANCELLED)
                assert_same(&alone[i], &rig.results[i]);
            if (i % 3 == 2)
                assert_int_equal(rig.results[i].finish, ENGINE_FINISH_LENGTH);
        }
        rig_close(&rig);
    }
}

/* Places that a failed tick should have given out are given out again: the next jobs meet them. */
static void a_job_that_cannot_be_computed_leaves_its_successors_alone(void **state)
{
    (void)state;
    int32_t prompt[32], nonsense[] = {1, 100000, 2};
    int32_t n_prompt = golden_ints("gen.prompt", prompt);
    struct rig rig;
    rig_open(&rig, &roomy);
    struct job_spec good = plain_spec(prompt, n_prompt, 5, 4);
    struct job_spec bad = plain_spec(nonsense, 3, 5, 4);
    for (uint64_t i = 0; i < 5; i++) {
        submit(&rig, i, i == 1 || i == 2 ? &bad : &good);
        wait_for(&rig, i, is_finished);
    }
    assert_int_equal(rig.results[1].finish, ENGINE_FINISH_ERROR);
    assert_non_null(strstr(rig.results[1].error.msg, "token 100000"));
    assert_int_equal(rig.results[2].finish, ENGINE_FINISH_ERROR);
    for (int32_t i = 3; i < 5; i++) {
        if (rig.results[i].finish != ENGINE_FINISH_LENGTH)
            fail_msg("job %d: finish %d, %s", i, (int)rig.results[i].finish,
                     rig.results[i].error.msg);
        assert_same(&rig.results[0], &rig.results[i]);
    }
    rig_close(&rig);
}

/* One position per tick, one long job and many of one step: nobody is passed over in the ring when
 * those before leave it, so the short ones end in the order in which they came. */
static void jobs_that_share_scarce_ticks_take_turns_in_their_order(void **state)
{
    (void)state;
    enum { N = 30 };
    int32_t prompt[32];
    int32_t n_prompt = golden_ints("gen.prompt", prompt);
    struct rig_options o = roomy;
    o.max_batch = o.prefill_chunk = 1;
    struct rig rig;
    rig_open(&rig, &o);
    struct job_spec endless = plain_spec(prompt, n_prompt, 60, 64);
    struct job_spec quick = plain_spec(prompt, 1, 1, 1);
    submit(&rig, 0, &endless);
    for (uint64_t i = 1; i <= N; i++)
        submit(&rig, i, &quick);
    for (uint64_t i = 1; i <= N; i++)
        wait_for(&rig, i, is_finished);
    for (int32_t i = 1; i <= N; i++)
        if (rig.results[i].finish_rank != i - 1)
            fail_msg("job %d ended as number %d, expected %d", i, rig.results[i].finish_rank,
                     i - 1);
    assert_int_equal(rig.results[0].n_finished, 0);
    rig_close(&rig);
}

static void copy_file(const char *from, const char *to, const char *scaled_tensor)
{
    FILE *in = fopen(from, "rb"), *out = fopen(to, "wb");
    assert_true(in && out);
    static char bytes[1 << 20];
    size_t len = fread(bytes, 1, sizeof bytes - 1, in);
    uint64_t header_len;
    memcpy(&header_len, bytes, sizeof header_len);
    const char *entry = scaled_tensor ? strstr(bytes + 8, scaled_tensor) : NULL;
    const char *offsets = entry ? strstr(entry, "\"data_offsets\"") : NULL;
    assert_true(!scaled_tensor || offsets);
    size_t begin = 0, end = 0;
    if (offsets)
        assert_int_equal(sscanf(offsets, "\"data_offsets\": [%zu, %zu]", &begin, &end) == 2 ||
                             sscanf(offsets, "\"data_offsets\":[%zu,%zu]", &begin, &end) == 2,
                         1);
    for (size_t at = begin; at < end; at += sizeof(float)) {
        const float huge = 3e38f;
        memcpy(bytes + 8 + header_len + at, &huge, sizeof huge);
    }
    assert_int_equal(fwrite(bytes, 1, len, out), len);
    fclose(in);
    fclose(out);
}

/* Weights are finite, but so large that the norm before the head overflows. */
static void numbers_that_overflow_are_an_error_and_never_an_answer(void **state)
{
    (void)state;
    char dir[] = "/tmp/ltd-engine-XXXXXX", config[64], weights[64];
    int32_t prompt[32];
    int32_t n_prompt = golden_ints("gen.prompt", prompt);
    assert_non_null(mkdtemp(dir));
    snprintf(config, sizeof config, "%s/config.json", dir);
    snprintf(weights, sizeof weights, "%s/model.safetensors", dir);
    copy_file(GOLDEN "/config.json", config, NULL);
    copy_file(GOLDEN "/model.safetensors", weights, "transformer.ln_f.weight");
    struct rig_options o = roomy;
    o.model = dir;
    struct rig rig;
    rig_open(&rig, &o);
    struct job_spec write = plain_spec(prompt, n_prompt, 5, 4), score = write;
    score.kind = SPEC_SCORE;
    score.score_begin = 1;
    submit(&rig, 0, &write);
    submit(&rig, 1, &score);
    for (uint64_t i = 0; i < 2; i++) {
        wait_for(&rig, i, is_finished);
        assert_int_equal(rig.results[i].finish, ENGINE_FINISH_ERROR);
        assert_non_null(strstr(rig.results[i].error.msg, "expected a finite number"));
    }
    assert_int_equal(rig.results[1].n_scores, 0);
    rig_close(&rig);
    unlink(config);
    unlink(weights);
    rmdir(dir);
}

static int set_up(void **state)
{
    (void)state;
    struct ltd_err err;
    world = clus_world_open(&err);
    golden = world ? model_safetensors_open(GOLDEN "/golden.safetensors", &err) : NULL;
    if (!golden)
        print_error("%s\n", err.msg);
    return golden ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    model_safetensors_close(golden);
    clus_world_close(world);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(greedy_tokens_are_those_of_the_official_code),
        cmocka_unit_test(adaptive_depth_spends_the_steps_of_the_official_code),
        cmocka_unit_test(nothing_the_scheduler_decides_changes_a_bit),
        cmocka_unit_test(another_seed_is_another_answer_and_zero_scale_has_none),
        cmocka_unit_test(scores_are_the_logprobs_that_generation_reported),
        cmocka_unit_test(a_cancelled_job_ends_and_gives_everything_back),
        cmocka_unit_test(a_job_out_of_time_keeps_what_it_wrote),
        cmocka_unit_test(stopping_ends_every_job_once),
        cmocka_unit_test(when_the_group_is_lost_every_job_ends_once_with_the_reason),
        cmocka_unit_test(jobs_that_are_ended_at_any_moment_leave_no_trace_in_others),
        cmocka_unit_test(a_job_that_cannot_be_computed_leaves_its_successors_alone),
        cmocka_unit_test(jobs_that_share_scarce_ticks_take_turns_in_their_order),
        cmocka_unit_test(numbers_that_overflow_are_an_error_and_never_an_answer),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
