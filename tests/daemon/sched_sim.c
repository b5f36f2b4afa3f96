/* SPDX-License-Identifier: Apache-2.0 */
/* tests/daemon/sched_sim.c - see sched_sim.h. */
#include "tests/daemon/sched_sim.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define PAGE 16 /* positions */

#define CHECK(cond, job, ...)                                                                      \
    do {                                                                                           \
        if (!(cond)) {                                                                             \
            print_error("turn %llu, job %d: ", (unsigned long long)sim->turn, (job));              \
            fail_msg(__VA_ARGS__);                                                                 \
        }                                                                                          \
    } while (0)

/* ---- chance ---- */

double sim_real(struct sim *sim)
{
    sim->random = sim->random * 6364136223846793005ull + 1442695040888963407ull;
    uint64_t x = sim->random ^ (sim->random >> 29);
    return (double)((x * 0x9e3779b97f4a7c15ull) >> 11) * 0x1p-53;
}

int32_t sim_pick(struct sim *sim, int32_t low, int32_t high)
{
    return low + (int32_t)(sim_real(sim) * (high - low + 1));
}

/* What `n` positions that read `n_keys` together take this time, told to the scheduler as well. */
static uint64_t spend(struct sim *sim, enum sched_cost what, int32_t n, double n_keys)
{
    if (n == 0)
        return 0;
    const struct sim_line *line = &sim->config.costs[what];
    double ns = line->fixed_ns + n * line->each_ns + n_keys * sim->config.key_ns;
    ns *= 1 + sim->config.noise * (2 * sim_real(sim) - 1);
    sched_measure(sim->sched, what, n, (uint64_t)ns);
    return (uint64_t)ns;
}

/* ---- making ---- */

struct sim *sim_create(const struct sim_config *config)
{
    struct ltd_err err = {0};
    struct sim *sim = calloc(1, sizeof *sim);
    assert_non_null(sim);
    sim->config = *config;
    sim->free = config->places;
    sim->random = config->seed;
    sim->now_ns = LTD_NS_PER_S;
    sim->sched = sched_create(&config->sched, &err);
    if (!sim->sched)
        fail_msg("%s", err.msg);
    sim->shares = calloc((size_t)config->sched.max_running, sizeof *sim->shares);
    assert_non_null(sim->shares);
    return sim;
}

void sim_destroy(struct sim *sim)
{
    for (int32_t i = 0; i < sim->n_jobs; i++) {
        if (sim->jobs[i]->sched.state != SCHED_OUT)
            sched_remove(sim->sched, &sim->jobs[i]->sched, sim->now_ns);
        free(sim->jobs[i]);
    }
    sched_destroy(sim->sched);
    free(sim->jobs);
    free(sim->live);
    free(sim->shares);
    free(sim);
}

struct sim_job *sim_job(struct sim *sim, const char *client, uint64_t arrives_ns, int32_t n_tokens,
                        int32_t steps)
{
    struct sim_job *job = calloc(1, sizeof *job);
    assert_non_null(job);
    if ((sim->n_jobs & (sim->n_jobs - 1)) == 0) {
        size_t room = sim->n_jobs ? 2 * (size_t)sim->n_jobs : 1;
        struct sim_job **jobs = realloc(sim->jobs, room * sizeof(struct sim_job *));
        assert_non_null(jobs);
        sim->jobs = jobs;
    }
    strncpy(job->client, client, sizeof job->client - 1);
    job->arrives_ns = sim->now_ns + arrives_ns;
    job->cancels_ns = job->releases_ns = LTD_NEVER;
    job->n_prompt = 1;
    job->n_tokens = job->max_tokens = n_tokens;
    job->sched.priority = 16;
    job->sched.min_steps = job->sched.max_steps = steps;
    job->sched.due_ns = LTD_NEVER;
    job->index = sim->n_jobs;
    sim->jobs[sim->n_jobs++] = job;
    sim->n_open++;
    return job;
}

static int by_arrival(const void *a, const void *b)
{
    const struct sim_job *u = *(struct sim_job *const *)a, *v = *(struct sim_job *const *)b;
    if (u->arrives_ns != v->arrives_ns)
        return u->arrives_ns < v->arrives_ns ? -1 : 1;
    return u->index - v->index;
}

static void open_doors(struct sim *sim)
{
    qsort(sim->jobs, (size_t)sim->n_jobs, sizeof(struct sim_job *), by_arrival);
    sim->live = calloc((size_t)sim->n_jobs + 1, sizeof(struct sim_job *));
    assert_non_null(sim->live);
}

/* ---- life of a job ---- */

static void begin_call(struct sim_job *job, int32_t n_positions, bool is_cut)
{
    job->sched.call_positions = job->sched.n_ready = n_positions;
    job->sched.step_idx = job->sched.n_coda = 0;
    job->sched.is_prefill = is_cut;
    job->sched.calls_left = job->max_tokens - job->n_written;
    job->next_ready = 0;
    job->has_left = job->is_pending = false;
    job->is_boundary = true;
}

/* The first call: the prompt, or everything it had before it yielded. */
static void rewind_job(struct sim_job *job)
{
    job->is_replay = job->n_written > 0;
    int32_t n = job->n_prompt + job->n_written - job->is_replay;
    begin_call(job, n, n > 1);
    job->sched.calls_left += job->is_replay;
    job->sched.n_rows = job->sched.call_positions;
    job->sched.n_pages = (job->n_prompt + job->max_tokens - 1 + PAGE - 1) / PAGE;
}

static void unplace(struct sim *sim, struct sim_job *job)
{
    sim->free.n_pages += job->held_pages;
    sim->free.n_rows += job->held_rows;
    sim->free.n_seqs += job->held_pages > 0;
    job->held_pages = job->held_rows = 0;
}

static void end_job(struct sim *sim, struct sim_job *job, enum sim_end end)
{
    if (job->sched.state != SCHED_OUT)
        sched_remove(sim->sched, &job->sched, sim->now_ns);
    unplace(sim, job);
    job->end = end;
    job->ended_ns = sim->now_ns;
    job->end_turn = sim->turn;
    sim->n_open--;
    CHECK(job->sched.state == SCHED_OUT, job->index, "removed, but in state %d", job->sched.state);
}

static void arrive(struct sim *sim, struct sim_job *job)
{
    const struct sched_config *limits = &sim->config.sched;
    struct ltd_err err;
    int32_t n = sched_n_running(sim->sched) + sched_n_waiting(sim->sched, -1);
    if (n >= limits->max_running + limits->max_waiting) {
        sim->n_refused++;
        end_job(sim, job, SIM_REFUSED);
        return;
    }
    job->due_ns = LTD_NEVER;
    if (job->sched.due_ns != LTD_NEVER)
        job->due_ns = job->sched.due_ns += job->arrives_ns;
    job->least_steps = INT32_MAX;
    rewind_job(job);
    if (sched_add(sim->sched, &job->sched, job->client, sim->now_ns, &err) != 0)
        fail_msg("%s", err.msg);
    sim->live[sim->n_live++] = job;
}

static void happen(struct sim *sim)
{
    for (; sim->n_arrived < sim->n_jobs; sim->n_arrived++) {
        struct sim_job *job = sim->jobs[sim->n_arrived];
        if (job->arrives_ns > sim->now_ns)
            break;
        arrive(sim, job);
    }
    int32_t n_live = 0;
    for (int32_t i = 0; i < sim->n_live; i++) {
        struct sim_job *job = sim->live[i];
        if (job->end != SIM_OPEN)
            continue;
        if (job->cancels_ns <= sim->now_ns) {
            end_job(sim, job, SIM_CANCELLED);
            continue;
        }
        if (job->releases_ns <= sim->now_ns) {
            job->releases_ns = LTD_NEVER;
            sched_set_priority(sim->sched, &job->sched, 16, sim->now_ns);
        }
        sim->live[n_live++] = job;
    }
    sim->n_live = n_live;
}

static void yield_some(struct sim *sim)
{
    for (int32_t i = 0; i < sim->n_live; i++) {
        struct sim_job *job = sim->live[i];
        if (job->sched.state != SCHED_RUNNING || !job->sched.must_yield || !job->is_boundary)
            continue;
        unplace(sim, job);
        job->n_yields++;
        rewind_job(job);
        sched_yielded(sim->sched, &job->sched, sim->now_ns);
        CHECK(job->sched.state == SCHED_WAITING && !job->sched.must_yield, job->index,
              "yielded, but in state %d", job->sched.state);
    }
}

static void admit(struct sim *sim)
{
    struct sched_job *next;
    while ((next = sched_next(sim->sched, &sim->free, sim->now_ns))) {
        struct sim_job *job = (struct sim_job *)next;
        CHECK(next->priority > 0, job->index, "is held, but to be admitted");
        CHECK(next->n_pages <= sim->free.n_pages && next->n_rows <= sim->free.n_rows &&
                  sim->free.n_seqs > 0,
              job->index, "does not fit: %d pages of %d, %d rows of %d, %d sequences",
              next->n_pages, sim->free.n_pages, next->n_rows, sim->free.n_rows, sim->free.n_seqs);
        sim->free.n_pages -= job->held_pages = next->n_pages;
        sim->free.n_rows -= job->held_rows = next->n_rows;
        sim->free.n_seqs--;
        sched_admitted(sim->sched, next, sim->now_ns);
        CHECK(sched_n_running(sim->sched) <= sim->config.sched.max_running, job->index, "%d run",
              sched_n_running(sim->sched));
        if (job->started_ns == 0) {
            job->started_ns = sim->now_ns;
            job->start_turn = sim->turn;
            job->aim_ns = next->aim_ns;
        }
    }
}

/* ---- one tick ---- */

/* Depth at which the call at hand leaves, as it looks now. */
static int32_t leaves_at(struct sim *sim, struct sim_job *job)
{
    int32_t steps = sched_steps(sim->sched, &job->sched, sim->now_ns);
    CHECK(steps >= job->sched.min_steps && steps > job->sched.step_idx &&
              steps <= job->sched.max_steps,
          job->index, "%d steps, after %d of %d .. %d", steps, job->sched.step_idx,
          job->sched.min_steps, job->sched.max_steps);
    CHECK(job->sched.is_elastic || steps == job->sched.max_steps, job->index,
          "%d steps for a fixed depth of %d", steps, job->sched.max_steps);
    if (job->exit_steps > 0 && job->exit_steps < steps)
        steps = job->exit_steps > job->sched.min_steps ? job->exit_steps : job->sched.min_steps;
    return steps;
}

static void write_token(struct sim *sim, struct sim_job *job, int32_t steps)
{
    if (!job->is_replay) {
        job->calls++;
        job->steps += (uint64_t)steps;
        job->least_steps = steps < job->least_steps ? steps : job->least_steps;
        job->most_steps = steps > job->most_steps ? steps : job->most_steps;
        job->first_ns = job->n_written++ == 0 ? sim->now_ns : job->first_ns;
    }
    sim->free.n_rows += job->held_rows - 1;
    job->held_rows = 1;
    job->is_replay = false;
    if (job->n_written == job->n_tokens)
        end_job(sim, job, SIM_DONE);
    else
        begin_call(job, 1, false);
}

/* Returns the positions that go through coda and head now. */
static int32_t advance(const struct sched_share *share, int32_t leaves)
{
    struct sim_job *job = (struct sim_job *)share->job;
    struct sched_job *s = &job->sched;
    job->is_boundary = false;
    if (share->n_coda > 0) {
        s->n_coda -= share->n_coda;
        return s->n_coda == 0;
    }
    job->next_ready += share->n_positions;
    job->positions += (uint64_t)share->n_positions;
    s->n_ready = s->call_positions - job->next_ready;
    if (s->n_ready > 0)
        return 0;
    s->step_idx++;
    s->n_ready = s->call_positions;
    job->next_ready = 0;
    if (s->step_idx < leaves)
        return 0;
    s->n_ready = 0;
    s->n_coda = s->call_positions > 1 ? s->call_positions : 0;
    return s->n_coda == 0;
}

static void check_plan(struct sim *sim)
{
    int32_t n = 0;
    sim->n_decode = sim->n_prompt = sim->n_coda = 0;
    for (int32_t i = 0; i < sim->n_shares; i++) {
        const struct sched_share *share = &sim->shares[i];
        const struct sim_job *job = (const struct sim_job *)share->job;
        const struct sched_job *s = share->job;
        CHECK(s->state == SCHED_RUNNING, job->index, "planned in state %d", s->state);
        CHECK(share->n_positions >= 0 && share->n_positions <= s->n_ready, job->index,
              "%d positions of %d ready", share->n_positions, s->n_ready);
        CHECK(share->n_coda >= 0 && share->n_coda <= s->n_coda, job->index, "%d for coda of %d",
              share->n_coda, s->n_coda);
        CHECK(share->n_positions + share->n_coda > 0, job->index, "an empty share");
        CHECK(!s->is_prefill || share->n_positions <= sim->config.sched.prefill_chunk, job->index,
              "%d positions of a prompt", share->n_positions);
        for (int32_t k = 0; k < i && sim->n_jobs < 100; k++)
            CHECK(sim->shares[k].job != s, job->index, "planned twice");
        n += share->n_positions;
        *(s->is_prefill ? &sim->n_prompt : &sim->n_decode) += share->n_positions;
        sim->n_coda += share->n_coda;
    }
    CHECK(n <= sim->config.sched.max_batch, -1, "a tick of %d positions", n);
}

/* What is ready in all, and whether it all went in. */
static void check_ready(struct sim *sim)
{
    int32_t n_ready = 0, n_work = 0;
    for (int32_t i = 0; i < sim->n_live; i++) {
        const struct sched_job *s = &sim->live[i]->sched;
        if (s->state != SCHED_RUNNING)
            continue;
        n_ready += s->n_ready;
        n_work += s->n_ready + s->n_coda;
    }
    sim->is_full = n_ready > sim->n_decode + sim->n_prompt;
    CHECK(sim->n_shares > 0 || n_work == 0, -1, "%d positions are ready, none is planned", n_work);
}

/* Those whose thought is done, from this turn or, with overlap, the one before; how many. */
static int32_t leave(struct sim *sim, int32_t *n_coda)
{
    int32_t n = 0;
    for (int32_t i = 0; i < sim->n_live; i++) {
        struct sim_job *job = sim->live[i];
        if (job->end != SIM_OPEN || !job->has_left)
            continue;
        bool is_late = sim->config.overlap && job->sched.call_positions == 1 && !job->is_pending;
        job->is_pending = is_late;
        *n_coda += job->sched.call_positions == 1 && !is_late;
        n += !is_late;
    }
    return n;
}

/* Positions that those of the share look back at, before they are moved on. What a job wrote itself
 * is left out, so that its pace without prompts is the same from its first token to its last. */
static double keys_of(const struct sched_share *share)
{
    const struct sim_job *job = (const struct sim_job *)share->job;
    double first = job->sched.is_prefill ? job->next_ready : job->n_prompt;
    return share->n_positions * (first + 0.5 * share->n_positions);
}

static void tick(struct sim *sim)
{
    int32_t n_prelude = 0, n_coda = 0, n_head;
    double n_keys = 0;
    for (int32_t i = 0; i < sim->n_shares; i++) {
        const struct sched_share *share = &sim->shares[i];
        struct sim_job *job = (struct sim_job *)share->job;
        n_prelude += share->job->step_idx == 0 ? share->n_positions : 0;
        n_keys += keys_of(share);
        n_coda += share->n_coda;
        int32_t at = share->n_coda > 0 ? 0 : leaves_at(sim, job);
        job->has_left = advance(share, at) > 0;
    }
    n_head = leave(sim, &n_coda);
    uint64_t ticked = spend(sim, SCHED_PRELUDE, n_prelude, 0);
    ticked += spend(sim, SCHED_TICK, sim->n_decode + sim->n_prompt, n_keys);
    uint64_t wrote = spend(sim, SCHED_CODA, n_coda, 0) + spend(sim, SCHED_HEAD, n_head, 0);
    bool is_beside = sim->config.overlap && ticked > 0;
    sim->turn_ns = (uint64_t)sim->config.overhead_ns;
    sim->turn_ns += !is_beside ? ticked + wrote : ticked > wrote ? ticked : wrote;
    sim->now_ns += sim->turn_ns;
    sched_ticked(sim->sched, sim->shares, sim->n_shares, sim->turn_ns, sim->now_ns);
    if (sim->on_turn)
        sim->on_turn(sim, sim->arg);
    for (int32_t i = 0; i < sim->n_live; i++) {
        struct sim_job *job = sim->live[i];
        if (job->end == SIM_OPEN && job->has_left && !job->is_pending)
            write_token(sim, job, job->sched.step_idx);
    }
}

static bool is_any_pending(const struct sim *sim)
{
    for (int32_t i = 0; i < sim->n_live; i++)
        if (sim->live[i]->end == SIM_OPEN && sim->live[i]->is_pending)
            return true;
    return false;
}

/* The next arrival, release or cancel; LTD_NEVER: nothing will happen any more. */
static uint64_t next_event(const struct sim *sim)
{
    uint64_t at = sim->n_arrived < sim->n_jobs ? sim->jobs[sim->n_arrived]->arrives_ns : LTD_NEVER;
    for (int32_t i = 0; i < sim->n_live; i++) {
        const struct sim_job *job = sim->live[i];
        if (job->end != SIM_OPEN)
            continue;
        at = job->cancels_ns < at ? job->cancels_ns : at;
        at = job->releases_ns < at ? job->releases_ns : at;
    }
    return at;
}

bool sim_turn(struct sim *sim)
{
    if (sim->turn++ == 0)
        open_doors(sim);
    happen(sim);
    yield_some(sim);
    admit(sim);
    sim->n_shares = sched_plan(sim->sched, sim->shares, sim->now_ns);
    check_plan(sim);
    check_ready(sim);
    if (sim->n_shares > 0 || is_any_pending(sim)) {
        tick(sim);
        return true;
    }
    uint64_t at = next_event(sim);
    if (at == LTD_NEVER)
        return false;
    sim->now_ns = at > sim->now_ns ? at : sim->now_ns;
    return true;
}

void sim_run(struct sim *sim, uint64_t max_turns)
{
    while (sim_turn(sim))
        CHECK(sim->turn < max_turns, -1, "%d jobs open", sim->n_open);
}

void sim_check_empty(const struct sim *sim)
{
    const struct sched_places *all = &sim->config.places;
    CHECK(sim->free.n_pages == all->n_pages && sim->free.n_rows == all->n_rows &&
              sim->free.n_seqs == all->n_seqs,
          -1, "free: %d pages of %d, %d rows of %d, %d sequences of %d", sim->free.n_pages,
          all->n_pages, sim->free.n_rows, all->n_rows, sim->free.n_seqs, all->n_seqs);
    assert_int_equal(sched_n_running(sim->sched), 0);
    assert_int_equal(sched_n_waiting(sim->sched, -1), 0);
    assert_int_equal(sim->n_open, 0);
}
