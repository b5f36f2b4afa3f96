/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench/depth_batch.c - what does it win that every position leaves the batch at its own depth?
 *
 * The same jobs (questions of the demo model, all levels mixed, adaptive depth by latent-diff) are
 * answered in three ways, by the same executor, group, border and kernels:
 *
 *     continuous  the engine: a position leaves when its rule is met, another takes its seat
 *     static      batches of as many jobs, as the authors' batched decoding does it: all members
 *                 step until the deepest has left, those that left keep computing; then all write a
 *                 token; a new batch begins when all members have ended
 *     waiting     the same, but members that left cost nothing while they wait for the deepest
 *
 * Nothing but the depth differs between members of a static batch in how long they take: all of them
 * write the same number of tokens. So the ratio is what waiting for the deepest costs, not what
 * waiting for the longest answer would cost besides.
 *
 * Rounds are paired: each round runs every way once, in rotating order, on freshly made pools;
 * ratios are taken within a round, medians over rounds. Tokens of `waiting` must be those of
 * `continuous` (it computes the same in another order), else the program fails. In `static` members
 * that left go on writing keys, which later tokens may read: its tokens may be others, and how many
 * are is printed.
 *
 *     asked      sum over all positions of the steps at which their exit rule was met
 *     executed   positions x ticks that the ranks computed
 *
 * usage: bench_depth_batch [MODEL [rounds [jobs [tokens [threads [threshold]]]]]]   CSV on stdout
 */
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/size.h"
#include "cluster/executor.h"
#include "cluster/group.h"
#include "cluster/world.h"
#include "daemon/engine.h"
#include "kernels/dispatch.h"
#include "model/border.h"
#include "model/checkpoint.h"
#include "model/core.h"
#include "model/sampler.h"
#include "model/tokenizer.h"

#define MAX_JOBS      1024
#define MAX_TOKENS    64
#define MAX_PROMPT    64
#define MAX_MEMBERS   64
#define MAX_ROUNDS    101
#define MAX_STEPS     64
#define MAX_CALL      MAX_PROMPT /* positions that advance together */
#define PAGES_PER_SEQ ((MAX_PROMPT + MAX_TOKENS + KERN_PAGE_POSITIONS - 1) / KERN_PAGE_POSITIONS)
#define LINE_BYTES    4096
#define JOB_MS        600000 /* a deadline for a hang */

enum way { WAY_CONTINUOUS, WAY_STATIC, WAY_WAITING, N_WAYS };
static const char *const way_names[N_WAYS] = {"continuous", "static", "waiting"};

struct job {
    int32_t prompt[MAX_PROMPT];
    int32_t n_prompt;
    int32_t answers[N_WAYS][MAX_TOKENS]; /* of the last run in each way */
    int32_t n_written;
};

/* What one run of all jobs took. */
struct cost {
    double seconds;
    uint64_t asked, executed, ticks;
};

static const char *model_dir = "models/demo";
static int32_t n_rounds = 7, n_jobs = 256, n_tokens = 16, n_threads = 1;
static double threshold = 0.03;

static struct clus_world *world;
static struct model_checkpoint *checkpoint;
static const struct model_config *config;
static struct kern_ctx ctx;
static struct job jobs[MAX_JOBS];

#define expect(expr, ...)                                                                          \
    do {                                                                                           \
        if (!(expr)) {                                                                             \
            fprintf(stderr, "bench_depth_batch: " __VA_ARGS__);                                    \
            fputc('\n', stderr);                                                                   \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)
#define must(expr) expect(expr, "%s: %s", #expr, err.msg)

/* ---- the machinery that all ways use ------------------------------------------------------- */

struct rig {
    struct clus_limits limits;
    struct model_core *core;
    struct model_border *border;
    struct clus_executor *executor;
    struct clus_group *group;
};

static void rig_open(struct rig *rig, int32_t n_members)
{
    struct ltd_err err = {0};
    struct model_kv_policy policy;
    must(model_kv_policy_parse("latest-m4", config->n_core, MAX_STEPS, &policy, &err) == 0);
    *rig = (struct rig){.limits = {.n_embd = config->n_embd,
                                   .block_size = config->max_positions,
                                   .page_positions = KERN_PAGE_POSITIONS,
                                   .n_rows = MAX_MEMBERS * MAX_CALL,
                                   .n_seqs = n_members,
                                   .n_pages = n_members * PAGES_PER_SEQ,
                                   .max_batch = n_members * MAX_CALL}};
    const struct model_core_options core = {.shard = model_shard_all(config),
                                            .max_slots = rig->limits.max_batch,
                                            .max_positions = config->max_positions,
                                            .n_pages = rig->limits.n_pages,
                                            .policy = policy};
    const struct model_border_options border = {.max_batch = rig->limits.max_batch,
                                                .max_positions = config->max_positions,
                                                .n_pages = rig->limits.n_pages};
    must(rig->core = model_core_create(checkpoint, &ctx, &core, &err));
    must(rig->border = model_border_create(checkpoint, &ctx, &border, &err));
    const struct clus_executor_config executor = {.core = rig->core,
                                                  .exchange = model_exchange_local(config),
                                                  .limits = rig->limits,
                                                  .shard = model_shard_all(config),
                                                  .n_threads = n_threads};
    must(rig->executor = clus_executor_create(&executor, &err));
    const struct clus_group_config group = {.rank = {.world = world,
                                                     .executor = rig->executor,
                                                     .linger_ns = CLUS_LINGER_DEFAULT_NS,
                                                     .n_threads = n_threads}};
    must(rig->group = clus_group_start(&group, &err));
}

static void rig_close(struct rig *rig)
{
    struct ltd_err err = {0};
    must(clus_group_stop(rig->group, &err) == 0);
    clus_executor_destroy(rig->executor);
    model_border_destroy(rig->border);
    model_core_destroy(rig->core);
}

static struct model_exit_rule rule_of_jobs(void)
{
    return (struct model_exit_rule){.kind = MODEL_EXIT_LATENT_DIFF,
                                    .min_steps = 1,
                                    .max_steps = MAX_STEPS,
                                    .check_every = 1,
                                    .threshold = threshold};
}

/* ---- continuous: the engine ------------------------------------------------------------------ */

static void wake_up(void *arg)
{
    uint64_t one = 1;
    ssize_t n = write(*(int *)arg, &one, sizeof one);
    (void)n;
}

/* The daemon's defaults, with as many seats as a static batch has, and nothing kept of ended jobs. */
static struct engine *open_engine(const struct rig *rig, int *wake)
{
    struct ltd_err err = {0};
    const struct engine_config c = {.border = rig->border,
                                    .group = rig->group,
                                    .n_embd = config->n_embd,
                                    .vocab_size = config->vocab,
                                    .n_pages = rig->limits.n_pages,
                                    .n_rows = rig->limits.n_rows,
                                    .n_seqs = rig->limits.n_seqs,
                                    .max_batch = 64,
                                    .prefill_chunk = 32,
                                    .prefill_share = 0.5,
                                    .ageing_ns = 10 * LTD_NS_PER_S,
                                    .max_waiting = MAX_JOBS,
                                    .max_steps = MAX_STEPS,
                                    .is_replayable = true,
                                    .notify = wake_up,
                                    .notify_arg = wake};
    struct engine *engine;
    must(engine = engine_start(&c, &err));
    return engine;
}

static struct job_spec spec_of(struct job *job)
{
    return (struct job_spec){.kind = SPEC_GENERATE,
                             .prompt = job->prompt,
                             .n_prompt = job->n_prompt,
                             .max_tokens = n_tokens,
                             .depth = {.rule = rule_of_jobs()},
                             .sampling = {.repetition_penalty = 1},
                             .seed = (uint64_t)(job - jobs),
                             .init_scale = 1,
                             .n_logprobs = -1,
                             .ignore_eos = true,
                             .priority = SPEC_PRIORITY_DEFAULT,
                             .client = "bench"};
}

/* Events of the engine; returns how many jobs ended. */
static int32_t take_events(struct engine *engine, struct cost *cost)
{
    int32_t n_ended = 0;
    struct engine_event *event = engine_take_events(engine);
    while (event) {
        struct engine_event *next = (struct engine_event *)event->mail.next;
        struct job *job = &jobs[event->job];
        if (event->kind == ENGINE_TOKEN)
            job->answers[WAY_CONTINUOUS][job->n_written++] = event->token.id;
        if (event->kind == ENGINE_FINISHED) {
            expect(event->finish == ENGINE_FINISH_LENGTH, "a job failed: %s", event->error.msg);
            cost->asked += event->total_steps;
            n_ended++;
        }
        engine_event_destroy(event);
        event = next;
    }
    return n_ended;
}

static void run_continuous(struct rig *rig, struct cost *cost)
{
    static struct job_spec specs[MAX_JOBS];
    struct ltd_err err = {0};
    struct engine_stats stats;
    int wake = eventfd(0, EFD_CLOEXEC);
    struct engine *engine = open_engine(rig, &wake);
    uint64_t began = ltd_now_ns();
    for (int32_t j = 0; j < n_jobs; j++) {
        specs[j] = spec_of(&jobs[j]);
        jobs[j].n_written = 0;
        must(engine_submit(engine, (uint64_t)j, &specs[j], &err) == 0);
    }
    for (int32_t n_ended = 0; n_ended < n_jobs; n_ended += take_events(engine, cost)) {
        struct pollfd fd = {.fd = wake, .events = POLLIN};
        uint64_t count;
        expect(poll(&fd, 1, JOB_MS) == 1 && read(wake, &count, sizeof count) == sizeof count,
               "%d of %d jobs ended, and then nothing for %d ms", n_ended, n_jobs, JOB_MS);
    }
    cost->seconds = (double)(ltd_now_ns() - began) / 1e9;
    engine_stop(engine);
    engine_get_stats(engine, &stats);
    cost->executed = stats.tick_positions;
    cost->ticks = stats.ticks;
    engine_destroy(engine);
    close(wake);
}

/* ---- static: a batch that waits for its deepest member ---------------------------------------- */

/* A job in the batch. Its call is the prompt first, then one position at a time. */
struct member {
    struct job *job;
    int32_t tokens[MAX_PROMPT + MAX_TOKENS];
    int32_t n_tokens;
    int32_t pages[PAGES_PER_SEQ];
    int32_t call_begin, call_end;
    int32_t first_row; /* of the call's rows, which follow each other */
    bool is_out;       /* its exit rule was met */
    float *latents;    /* [call][n_embd] as they were then */
};

struct batch {
    struct rig *rig;
    enum way way;
    struct member members[MAX_MEMBERS];
    int32_t n_members;
    struct clus_entry *entries;
    struct clus_start *starts;
    struct model_border_in *prelude;
    struct model_border_out *coda;
    float *injected, *latents, *hidden, *logits;
    int32_t closed[MAX_MEMBERS], released[MAX_MEMBERS * PAGES_PER_SEQ];
    struct clus_page assigned[MAX_MEMBERS * PAGES_PER_SEQ];
    int32_t n_closed, n_released, n_assigned;
    struct model_sampler *sampler;
    struct cost *cost;
};

static void *allocate(size_t n, size_t size)
{
    void *memory = ltd_alloc(n, size);
    expect(memory, "no memory for %zu times %zu bytes", n, size);
    return memory;
}

static void batch_open(struct batch *b, struct rig *rig, enum way way, struct cost *cost)
{
    struct ltd_err err = {0};
    size_t n_rows = (size_t)rig->limits.max_batch, n = (size_t)config->n_embd;
    *b = (struct batch){.rig = rig, .way = way, .cost = cost};
    b->entries = allocate(n_rows, sizeof *b->entries);
    b->starts = allocate(n_rows, sizeof *b->starts);
    b->prelude = allocate(n_rows, sizeof *b->prelude);
    b->coda = allocate(n_rows, sizeof *b->coda);
    b->injected = allocate(n_rows * n, sizeof *b->injected);
    b->latents = allocate(n_rows * n, sizeof *b->latents);
    b->hidden = allocate(MAX_MEMBERS * n, sizeof *b->hidden);
    b->logits = allocate(MAX_MEMBERS * (size_t)config->vocab, sizeof *b->logits);
    must(b->sampler = model_sampler_create(config->vocab, &err));
}

static void batch_close(struct batch *b)
{
    void *const memory[] = {b->entries,  b->starts,  b->prelude, b->coda,
                            b->injected, b->latents, b->hidden,  b->logits};
    for (size_t i = 0; i < sizeof memory / sizeof memory[0]; i++)
        ltd_free(memory[i]);
    model_sampler_destroy(b->sampler);
}

static struct model_place place_of(const struct member *m, int32_t position)
{
    return (struct model_place){.pages = m->pages, .n_pages = PAGES_PER_SEQ, .position = position};
}

/* The batch before is over: its sequences are closed and its pages forgotten. */
static void forget_members(struct batch *b)
{
    b->n_closed = b->n_released = b->n_assigned = 0;
    for (int32_t s = 0; s < b->n_members; s++) {
        b->closed[b->n_closed++] = s;
        for (int32_t p = 0; p < PAGES_PER_SEQ; p++) {
            b->released[b->n_released++] = b->members[s].pages[p];
            model_border_release(b->rig->border, b->members[s].pages[p]);
        }
    }
}

static void seat_members(struct batch *b, struct job *first, int32_t n)
{
    forget_members(b);
    b->n_members = n;
    for (int32_t s = 0; s < n; s++) {
        struct member *m = &b->members[s];
        m->job = first + s;
        m->n_tokens = m->job->n_prompt;
        m->call_begin = m->call_end = 0;
        memcpy(m->tokens, m->job->prompt, sizeof m->job->prompt);
        for (int32_t p = 0; p < PAGES_PER_SEQ; p++) {
            m->pages[p] = s * PAGES_PER_SEQ + p;
            b->assigned[b->n_assigned++] =
                (struct clus_page){.seq = s, .page_idx = p, .page_id = m->pages[p]};
        }
    }
}

/* Every member's next call begins: its tokens pass the prelude. Returns the number of positions. */
static int32_t begin_calls(struct batch *b)
{
    struct ltd_err err = {0};
    size_t n = (size_t)config->n_embd;
    int32_t n_rows = 0;
    for (int32_t s = 0; s < b->n_members; s++) {
        struct member *m = &b->members[s];
        m->call_begin = m->call_end;
        m->call_end = m->n_tokens;
        m->first_row = n_rows;
        m->latents = b->latents + (size_t)n_rows * n;
        m->is_out = false;
        for (int32_t p = m->call_begin; p < m->call_end; p++, n_rows++) {
            float *e = b->injected + (size_t)n_rows * n;
            b->prelude[n_rows] =
                (struct model_border_in){.place = place_of(m, p), .token = m->tokens[p], .e = e};
            b->starts[n_rows] = (struct clus_start){.row = n_rows,
                                                    .position = p,
                                                    .kind = CLUS_START_SEED,
                                                    .seed = (uint64_t)(m->job - jobs),
                                                    .init_scale = 1,
                                                    .injected = e};
        }
    }
    must(model_border_prelude(b->rig->border, b->prelude, n_rows, &err) == 0);
    return n_rows;
}

static int32_t fill_entries(struct batch *b, int32_t step)
{
    int32_t n = 0;
    for (int32_t s = 0; s < b->n_members; s++) {
        const struct member *m = &b->members[s];
        if (m->is_out && b->way == WAY_WAITING)
            continue;
        for (int32_t p = m->call_begin; p < m->call_end; p++)
            b->entries[n++] =
                (struct clus_entry){.row = m->first_row + p - m->call_begin,
                                    .seq = s,
                                    .position = p,
                                    .step_idx = step,
                                    .flags = m->is_out ? 0 : CLUS_WANT_LATENT | CLUS_WANT_DIFF};
    }
    return n;
}

/* Whose rule was met keeps its latents of this step. Returns how many members think on. */
static int32_t judge(struct batch *b, const struct clus_reply *reply, int32_t step)
{
    const struct model_exit_rule rule = rule_of_jobs();
    size_t n = (size_t)config->n_embd;
    int32_t at = 0, n_left = 0;
    for (int32_t s = 0; s < b->n_members; s++) {
        struct member *m = &b->members[s];
        int32_t n_call = m->call_end - m->call_begin;
        if (m->is_out)
            continue;
        double value = model_exit_mean(reply->values + at, n_call);
        m->is_out = model_exit_now(&rule, step + 1, value);
        if (m->is_out) {
            memcpy(m->latents, reply->latents + (size_t)at * n, (size_t)n_call * n * sizeof(float));
            b->cost->asked += (uint64_t)n_call * (uint64_t)(step + 1);
        }
        at += n_call;
        n_left += !m->is_out;
    }
    return n_left;
}

/* The recurrence, until the deepest member has left. */
static void think(struct batch *b, int32_t n_starts)
{
    struct ltd_err err = {0};
    struct clus_reply reply;
    int32_t n_left = b->n_members;
    for (int32_t step = 0; n_left > 0; step++) {
        const struct clus_tick tick = {.tick_id = ++b->cost->ticks,
                                       .closed = b->closed,
                                       .n_closed = b->n_closed,
                                       .released = b->released,
                                       .n_released = b->n_released,
                                       .pages = b->assigned,
                                       .n_pages = b->n_assigned,
                                       .starts = b->starts,
                                       .n_starts = step == 0 ? n_starts : 0,
                                       .entries = b->entries,
                                       .n_entries = fill_entries(b, step)};
        must(clus_group_submit(b->rig->group, &tick, &err) == 0);
        must(clus_group_wait(b->rig->group, &reply, LTD_NEVER, &err) == 0);
        expect(reply.err.code == LTD_OK, "tick refused: %s", reply.err.msg);
        b->n_closed = b->n_released = b->n_assigned = 0;
        b->cost->executed += (uint64_t)tick.n_entries;
        n_left = judge(b, &reply, step);
    }
}

/* Coda, head, and the most likely token of every member. */
static void write_tokens(struct batch *b)
{
    static const struct model_sampling greedy = {.greedy = true, .repetition_penalty = 1};
    struct ltd_err err = {0};
    size_t n = (size_t)config->n_embd, vocab = (size_t)config->vocab;
    int32_t n_rows = 0;
    for (int32_t s = 0; s < b->n_members; s++) {
        const struct member *m = &b->members[s];
        for (int32_t p = m->call_begin; p < m->call_end; p++) {
            float *at = m->latents + (size_t)(p - m->call_begin) * n;
            b->coda[n_rows++] =
                (struct model_border_out){.place = place_of(m, p), .latent = at, .hidden = at};
        }
    }
    must(model_border_coda(b->rig->border, b->coda, n_rows, &err) == 0);
    for (int32_t s = 0; s < b->n_members; s++) {
        const struct member *m = &b->members[s];
        memcpy(b->hidden + (size_t)s * n,
               m->latents + (size_t)(m->call_end - m->call_begin - 1) * n, n * sizeof *b->hidden);
    }
    model_border_head(b->rig->border, b->hidden, b->n_members, b->logits);
    for (int32_t s = 0; s < b->n_members; s++) {
        struct member *m = &b->members[s];
        int32_t id = model_sampler_pick(b->sampler, &greedy, b->logits + (size_t)s * vocab,
                                        m->tokens, m->n_tokens, m->call_end, &err);
        must(id >= 0);
        m->job->answers[b->way][m->n_tokens - m->job->n_prompt] = id;
        m->tokens[m->n_tokens++] = id;
    }
}

static void run_batches(struct rig *rig, enum way way, struct cost *cost)
{
    static struct batch b;
    batch_open(&b, rig, way, cost);
    uint64_t began = ltd_now_ns();
    for (int32_t first = 0; first < n_jobs; first += rig->limits.n_seqs) {
        int32_t n = n_jobs - first < rig->limits.n_seqs ? n_jobs - first : rig->limits.n_seqs;
        seat_members(&b, &jobs[first], n);
        for (int32_t t = 0; t < n_tokens; t++) {
            int32_t n_starts = begin_calls(&b);
            think(&b, n_starts);
            write_tokens(&b);
        }
    }
    cost->seconds = (double)(ltd_now_ns() - began) / 1e9;
    batch_close(&b);
}

/* ---- comparing ------------------------------------------------------------------------------- */

static struct cost run(enum way way, int32_t n_members)
{
    struct cost cost = {0};
    struct rig rig;
    rig_open(&rig, n_members);
    if (way == WAY_CONTINUOUS)
        run_continuous(&rig, &cost);
    else
        run_batches(&rig, way, &cost);
    rig_close(&rig);
    return cost;
}

/* Tokens that a way wrote otherwise than the engine. */
static int32_t count_other(enum way way)
{
    int32_t n = 0;
    for (int32_t j = 0; j < n_jobs; j++)
        for (int32_t t = 0; t < n_tokens; t++)
            n += jobs[j].answers[way][t] != jobs[j].answers[WAY_CONTINUOUS][t];
    return n;
}

static int ascending(const void *a, const void *b)
{
    double u = *(const double *)a, v = *(const double *)b;
    return u < v ? -1 : u > v;
}

static double median(const double *values)
{
    double sorted[MAX_ROUNDS];
    memcpy(sorted, values, (size_t)n_rounds * sizeof *sorted);
    qsort(sorted, (size_t)n_rounds, sizeof *sorted, ascending);
    return n_rounds % 2 ? sorted[n_rounds / 2]
                        : (sorted[n_rounds / 2 - 1] + sorted[n_rounds / 2]) / 2;
}

static bool measure(int32_t n_members)
{
    static double rate[N_WAYS][MAX_ROUNDS], ratio[MAX_ROUNDS];
    struct cost last[N_WAYS];
    for (int w = 0; w < N_WAYS; w++) /* pages of the program, caches */
        last[w] = run((enum way)w, n_members);
    for (int32_t round = 0; round < n_rounds; round++)
        for (int i = 0; i < N_WAYS; i++) {
            int w = (i + round) % N_WAYS;
            last[w] = run((enum way)w, n_members);
            rate[w][round] = (double)n_jobs * n_tokens / last[w].seconds;
        }
    for (int w = 0; w < N_WAYS; w++) {
        const struct cost *c = &last[w];
        for (int32_t r = 0; r < n_rounds; r++)
            ratio[r] = rate[WAY_CONTINUOUS][r] / rate[w][r];
        printf("%d,%s,%.0f,%.3f,%llu,%llu,%.4f,%llu,%.2f,%d\n", n_members, way_names[w],
               median(rate[w]), median(ratio), (unsigned long long)c->asked,
               (unsigned long long)c->executed, (double)c->executed / (double)c->asked,
               (unsigned long long)c->ticks, (double)c->executed / (double)c->ticks,
               count_other((enum way)w));
        fflush(stdout);
    }
    if (count_other(WAY_WAITING) == 0)
        return true;
    fprintf(stderr, "bench_depth_batch: waiting wrote other tokens than continuous\n");
    return false;
}

/* ---- the workload ---------------------------------------------------------------------------- */

static void shuffle_jobs(void)
{
    uint64_t state = 1;
    for (int32_t i = n_jobs - 1; i > 0; i--) {
        state = state * 6364136223846793005ull + 1442695040888963407ull;
        int32_t k = (int32_t)((state >> 33) % (uint64_t)(i + 1));
        struct job job = jobs[i];
        jobs[i] = jobs[k];
        jobs[k] = job;
    }
}

static void add_question(const struct model_tokenizer *tokenizer, const char *line, int32_t j)
{
    struct ltd_err err = {0};
    const char *text = NULL;
    struct model_tokens tokens;
    json_t *root;
    model_tokens_init(&tokens);
    must(root = ltd_json_parse(line, strlen(line), "questions.jsonl", &err));
    must(ltd_json_get_string(root, "prompt", &text, "questions.jsonl", &err) == 0);
    must(model_tokenizer_encode(tokenizer, text, strlen(text), MODEL_ENCODE_HEAD, &tokens, &err) ==
         0);
    expect(tokens.n >= 1 && tokens.n <= MAX_PROMPT, "%s: %zu tokens, expected 1 to %d", text,
           tokens.n, MAX_PROMPT);
    memcpy(jobs[j].prompt, tokens.ids, tokens.n * sizeof *tokens.ids);
    jobs[j].n_prompt = (int32_t)tokens.n;
    model_tokens_fini(&tokens);
    json_decref(root);
}

/* n_jobs questions, evenly over the file, which goes through families and levels; then shuffled. */
static void read_jobs(void)
{
    struct ltd_err err = {0};
    static char lines[MAX_JOBS][LINE_BYTES];
    char path[512];
    struct model_tokenizer *tokenizer;
    int32_t n = 0;
    snprintf(path, sizeof path, "%s/questions.jsonl", model_dir);
    FILE *file = fopen(path, "r");
    expect(file, "%s cannot be opened", path);
    while (n < MAX_JOBS && fgets(lines[n], LINE_BYTES, file))
        n++;
    fclose(file);
    expect(n >= n_jobs, "%s: %d questions, expected %d at least", path, n, n_jobs);
    must(tokenizer = model_tokenizer_open(model_dir, config->vocab, &err));
    for (int32_t j = 0; j < n_jobs; j++)
        add_question(tokenizer, lines[(int64_t)j * n / n_jobs], j);
    model_tokenizer_close(tokenizer);
    shuffle_jobs();
}

/* ---- main ------------------------------------------------------------------------------------ */

static void print_machine(void)
{
    char line[256], id[64], date[32];
    time_t now = time(NULL);
    FILE *f = fopen("/proc/cpuinfo", "r");
    strftime(date, sizeof date, "%Y-%m-%d", gmtime(&now));
    printf("# date: %s\n# commit: %s\n# command: bench_depth_batch %s %d %d %d %d %g\n", date,
           BENCH_COMMIT, model_dir, n_rounds, n_jobs, n_tokens, n_threads, threshold);
    while (f && fgets(line, sizeof line, f))
        if (strncmp(line, "model name", 10) == 0) {
            printf("# machine:%s", strchr(line, ':') + 1);
            break;
        }
    if (f)
        fclose(f);
    kern_tier_id(ctx.ops, id, sizeof id);
    printf("# kernels: %s, %d threads\n", id, n_threads);
    printf("members,way,median_tokens_per_s,median_ratio_of_continuous,asked,executed,"
           "executed_per_asked,ticks,positions_per_tick,other_tokens\n");
}

static bool parse_args(int argc, char **argv)
{
    int32_t *const numbers[] = {&n_rounds, &n_jobs, &n_tokens, &n_threads};
    if (argc > 1)
        model_dir = argv[1];
    for (int i = 2; i < argc && i < 6; i++)
        *numbers[i - 2] = atoi(argv[i]);
    if (argc > 6)
        threshold = atof(argv[6]);
    return argc <= 7 && n_rounds >= 1 && n_rounds <= MAX_ROUNDS && n_jobs >= 1 &&
           n_jobs <= MAX_JOBS && n_tokens >= 1 && n_tokens <= MAX_TOKENS && n_threads >= 1 &&
           threshold > 0;
}

int main(int argc, char **argv)
{
    static const int32_t sizes[] = {8, 16, 32};
    struct ltd_err err = {0};
    bool is_good = true;
    if (!parse_args(argc, argv)) {
        fprintf(stderr,
                "usage: bench_depth_batch [MODEL [rounds [jobs <= %d [tokens <= %d [threads "
                "[threshold]]]]]]\n",
                MAX_JOBS, MAX_TOKENS);
        return 2;
    }
    ctx = (struct kern_ctx){.n_threads = n_threads, .min_work = KERN_MIN_WORK_DEFAULT};
    must(ctx.ops = kern_tier_find("auto", &err));
    must(world = clus_world_open(&err));
    must(checkpoint = model_checkpoint_open(model_dir, &err));
    config = model_checkpoint_config(checkpoint);
    read_jobs();
    print_machine();
    for (int i = 0; i < 3; i++)
        is_good = measure(sizes[i]) && is_good;
    model_checkpoint_close(checkpoint);
    clus_world_close(world);
    return is_good ? 0 : 1;
}
