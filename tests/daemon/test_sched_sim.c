/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tests of daemon/sched by simulation: what must come out of the rules together, over thousands of
 * turns. Every run is a function of its seed, which is printed; SCHED_SEED=n runs another one.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/daemon/sched_sim.h"

#define MS 1e6

static uint64_t seed_of(uint64_t seed)
{
    const char *text = getenv("SCHED_SEED");
    seed = text ? strtoull(text, NULL, 10) : seed;
    print_message("seed %llu\n", (unsigned long long)seed);
    return seed;
}

/* A model whose weights are read once per tick, whoever is in it. */
static struct sim_config common(void)
{
    return (struct sim_config){
        .sched = {.max_batch = 64,
                  .prefill_chunk = 32,
                  .prefill_share = 0.5,
                  .ageing_ns = 10 * LTD_NS_PER_S,
                  .max_running = 16,
                  .max_waiting = 64},
        .places = {.n_pages = 4096, .n_rows = 8192, .n_seqs = 16},
        .costs = {{8 * MS, 0.3 * MS}, {4 * MS, 0.15 * MS}, {4 * MS, 0.15 * MS}, {2 * MS, 0.1 * MS}},
        .overhead_ns = 0.1 * MS,
        .noise = 0.1,
        .seed = 1,
    };
}

/* ---- deadlines under load ---- */

#define RAMP_JOBS  300
#define AFTER_JOBS 60 /* keep the load up until the last of those that count has ended */
#define RAMPS      16
#define BINS       10
#define FROM_LOAD  0.3
#define TO_LOAD    1.5

struct ramp {
    struct sim_config config;
    int32_t min_steps, max_steps;
    bool is_patient; /* no due times */
    double job_ns;   /* capacity: one job per so long at full depth, measured */
};

struct ramp_result {
    int32_t n_done, n_in_time, n_predicted;
    double depth[BINS], load[BINS];
    int32_t n[BINS];
};

static struct sim_job *ramp_job(struct sim *sim, const struct ramp *ramp, uint64_t at_ns)
{
    struct sim_job *job = sim_job(sim, "a", at_ns, sim_pick(sim, 20, 60), ramp->max_steps);
    job->n_prompt = sim_pick(sim, 1, 39);
    return job;
}

/* All at once, at full depth: what the service can do at most. */
static double measure_capacity(const struct ramp *ramp)
{
    struct sim *sim = sim_create(&ramp->config);
    sim->config.sched.max_waiting = 1 << 20; /* the simulation's: nobody is refused */
    for (int32_t i = 0; i < 200; i++)
        ramp_job(sim, ramp, 0);
    sim_run(sim, 1 << 20);
    double job_ns = (double)(sim->now_ns - LTD_NS_PER_S) / 200;
    sim_check_empty(sim);
    sim_destroy(sim);
    return job_ns;
}

static double load_at(int32_t i)
{
    return i < RAMP_JOBS ? FROM_LOAD + (TO_LOAD - FROM_LOAD) * i / RAMP_JOBS : TO_LOAD;
}

static struct sim *run_ramp(const struct ramp *ramp)
{
    struct sim *sim = sim_create(&ramp->config);
    double at = 0;
    for (int32_t i = 0; i < RAMP_JOBS + AFTER_JOBS; i++) {
        at += -log(1 - sim_real(sim)) * ramp->job_ns / load_at(i);
        struct sim_job *job = ramp_job(sim, ramp, (uint64_t)at);
        job->sched.min_steps = ramp->min_steps;
        job->sched.is_elastic = ramp->min_steps < ramp->max_steps;
        double alone = job->n_tokens * ramp->max_steps * 13 * MS; /* about: sixteen in the batch */
        if (!ramp->is_patient)
            job->sched.due_ns = (uint64_t)(alone * (2 + 4 * sim_real(sim)));
    }
    sim_run(sim, 1 << 22);
    sim_check_empty(sim);
    return sim;
}

static void add_result(struct ramp_result *result, const struct sim *sim)
{
    for (int32_t i = 0; i < RAMP_JOBS; i++) {
        const struct sim_job *job = sim->jobs[i];
        if (job->end != SIM_DONE)
            continue;
        double took = (double)(job->ended_ns - job->started_ns);
        double said = (double)job->aim_ns - (double)job->started_ns;
        int32_t bin = i * BINS / RAMP_JOBS;
        result->n_done++;
        result->n_in_time += job->ended_ns <= job->due_ns;
        result->n_predicted += fabs(said - took) <= 0.1 * took;
        result->depth[bin] += (double)job->steps / (double)job->calls;
        result->load[bin] += load_at(i);
        result->n[bin]++;
    }
}

static void print_result(const struct ramp_result *result)
{
    print_message("  of %d: %d in time, %d predicted within 10 %%\n", result->n_done,
                  result->n_in_time, result->n_predicted);
    for (int32_t b = 0; b < BINS; b++)
        print_message("  load %.2f: mean depth %.1f\n", result->load[b] / result->n[b],
                      result->depth[b] / result->n[b]);
}

/* Sixteen ramps: the load of thirty Poisson arrivals varies too much to say that a curve is smooth. */
static void ranges_shrink_before_anybody_is_late_or_refused(void **state)
{
    (void)state;
    struct ramp ramp = {.config = common(), .min_steps = 4, .max_steps = 32};
    struct ramp_result all = {0};
    uint64_t seed = seed_of(1);
    ramp.job_ns = measure_capacity(&ramp);
    for (uint64_t s = 0; s < RAMPS; s++) {
        int32_t n_before = all.n_in_time;
        ramp.config.seed = seed + s;
        struct sim *sim = run_ramp(&ramp);
        add_result(&all, sim);
        if (sim->n_refused > 0 || all.n_in_time - n_before < 0.99 * RAMP_JOBS)
            fail_msg("seed %llu: %d in time, %d refused", (unsigned long long)ramp.config.seed,
                     all.n_in_time - n_before, sim->n_refused);
        sim_destroy(sim);
    }
    print_result(&all);
    assert_int_equal(all.n_done, RAMPS * RAMP_JOBS);
    assert_true(all.n_predicted >= 0.95 * RAMPS * RAMP_JOBS);
    for (int32_t b = 1; b < BINS; b++)
        assert_true(all.depth[b] / all.n[b] < all.depth[b - 1] / all.n[b - 1] + 1.0);
    assert_true(all.depth[0] / all.n[0] > 28);
    assert_true(all.depth[BINS - 1] / all.n[BINS - 1] < 26);
}

/* With overlap a token takes one turn more than it has steps, and turns are shorter. */
static void turns_that_overlap_are_predicted_as_well(void **state)
{
    (void)state;
    struct ramp ramp = {.config = common(), .min_steps = 2, .max_steps = 8};
    struct ramp_result result = {0};
    ramp.config.overlap = true;
    ramp.config.seed = seed_of(1);
    ramp.job_ns = measure_capacity(&ramp);
    for (uint64_t s = 0; s < RAMPS; s++, ramp.config.seed++) {
        struct sim *sim = run_ramp(&ramp);
        add_result(&result, sim);
        assert_int_equal(sim->n_refused, 0);
        sim_destroy(sim);
    }
    print_result(&result);
    assert_true(result.n_in_time >= 0.99 * RAMPS * RAMP_JOBS);
    assert_true(result.n_predicted >= 0.95 * RAMPS * RAMP_JOBS);
}

static void fixed_depths_are_refused_when_the_queue_is_full_and_never_dropped(void **state)
{
    (void)state;
    struct ramp ramp = {.config = common(), .min_steps = 32, .max_steps = 32};
    struct ramp_result result = {0};
    ramp.config.sched.max_waiting = 8;
    ramp.config.seed = seed_of(1);
    ramp.job_ns = measure_capacity(&ramp);
    struct sim *sim = run_ramp(&ramp);
    add_result(&result, sim);
    print_message("%d refused, %d done\n", sim->n_refused, result.n_done);
    assert_true(sim->n_refused > 10);
    for (int32_t i = 0; i < sim->n_jobs; i++) {
        const struct sim_job *job = sim->jobs[i];
        assert_true(job->end == SIM_DONE || job->end == SIM_REFUSED);
        if (job->end == SIM_DONE) {
            assert_int_equal(job->least_steps, 32);
            assert_int_equal(job->most_steps, 32);
        }
    }
    sim_destroy(sim);
}

static void add_depths(const struct sim *sim, double *early, double *late)
{
    for (int32_t i = 0; i < 50; i++) {
        const struct sim_job *first = sim->jobs[i], *last = sim->jobs[RAMP_JOBS - 1 - i];
        *early += (double)first->steps / (double)first->calls / (50 * RAMPS);
        *late += (double)last->steps / (double)last->calls / (50 * RAMPS);
    }
}

/* Nobody in a hurry: only the queue pulls. */
static void ranges_without_a_due_time_shrink_when_the_queue_grows(void **state)
{
    (void)state;
    struct ramp ramp = {.config = common(), .min_steps = 4, .max_steps = 32, .is_patient = true};
    double early = 0, late = 0;
    ramp.config.seed = seed_of(1);
    ramp.job_ns = measure_capacity(&ramp);
    for (uint64_t s = 0; s < RAMPS; s++, ramp.config.seed++) {
        struct sim *sim = run_ramp(&ramp);
        add_depths(sim, &early, &late);
        assert_int_equal(sim->n_refused, 0);
        sim_destroy(sim);
    }
    print_message("mean depth %.1f at low load, %.1f at 1.5 of capacity\n", early, late);
    assert_true(early > 31);
    assert_true(late < 26 && late > 16);
}

/* ---- the pace of decoding jobs beside a long prompt ---- */

struct pace {
    uint64_t steps, ns; /* while the prompt is in */
    uint64_t alone_steps, alone_ns;
    const struct sim_job *prompt;
};

static void note_pace(struct sim *sim, void *arg)
{
    struct pace *pace = arg;
    bool is_in = pace->prompt->started_ns > 0 && pace->prompt->n_written == 0;
    *(is_in ? &pace->steps : &pace->alone_steps) += (uint64_t)sim->n_decode;
    *(is_in ? &pace->ns : &pace->alone_ns) += sim->turn_ns;
}

struct prefill_case {
    struct sim_line tick, border;
    double key_ns;
    double share;
    int32_t max_batch;
};

static void check_prefill(const struct prefill_case *c, uint64_t seed)
{
    struct sim_config config = common();
    struct pace pace = {0};
    config.seed = seed;
    config.noise = 0.02;
    config.key_ns = c->key_ns;
    config.sched.prefill_share = c->share;
    config.sched.max_batch = c->max_batch;
    config.sched.prefill_chunk = c->max_batch < 32 ? c->max_batch : 32;
    config.places.n_pages = 16384;
    config.costs[SCHED_TICK] = c->tick;
    config.costs[SCHED_PRELUDE] = config.costs[SCHED_CODA] = config.costs[SCHED_HEAD] = c->border;
    struct sim *sim = sim_create(&config);
    for (int32_t i = 0; i < 8; i++)
        sim_job(sim, "a", 0, 20000, 22 + 3 * i); /* not in step with each other */
    struct sim_job *prompt = sim_job(sim, "a", 20 * LTD_NS_PER_S, 2, 32);
    prompt->n_prompt = 2000;
    pace.prompt = prompt;
    sim->on_turn = note_pace;
    sim->arg = &pace;
    while (prompt->n_written == 0 && sim_turn(sim))
        assert_true(sim->turn < 1 << 22);
    double alone = (double)pace.alone_steps / (double)pace.alone_ns;
    double beside = (double)pace.steps / (double)pace.ns, lost = 1 - beside / alone;
    print_message("  tick %.1f + %.1f n ms, %.0f ns per key, share %.2f, batch %d: lost %.3f\n",
                  c->tick.fixed_ns / MS, c->tick.each_ns / MS, c->key_ns, c->share, c->max_batch,
                  lost);
    assert_true(lost <= c->share + 0.02);
    if (c->max_batch < 64)                    /* else prefill_chunk may be the limit */
        assert_true(lost >= 0.65 * c->share); /* prompts do get what is theirs */
    sim_destroy(sim);
}

static void a_long_prompt_takes_no_more_than_its_share_of_the_pace(void **state)
{
    (void)state;
    static const struct {
        struct sim_line tick, border;
        double key_ns;
    } shapes[] = {
        {{8 * MS, 0.2 * MS}, {4 * MS, 0.1 * MS}, 0},      /* weights are what takes time */
        {{1 * MS, 2 * MS}, {0.5 * MS, 1 * MS}, 0},        /* positions are */
        {{0, 3 * MS}, {6 * MS, 0}, 0},                    /* ... and prelude and coda */
        {{1 * MS, 0.1 * MS}, {0.5 * MS, 0.05 * MS}, 500}, /* attention to long contexts is */
    };
    static const double shares[] = {0.1, 0.3, 0.5, 0.8};
    static const int32_t batches[] = {64, 10, 8, 4};
    uint64_t seed = seed_of(1);
    for (int32_t t = 0; t < 4; t++)
        for (int32_t s = 0; s < 4; s++)
            for (int32_t b = 0; b < 4; b++) {
                const struct prefill_case c = {shapes[t].tick, shapes[t].border, shapes[t].key_ns,
                                               shares[s], batches[b]};
                check_prefill(&c, seed);
            }
}

/* ---- fair share ---- */

#define WINDOW 500

struct fairness {
    uint64_t steps[2][WINDOW]; /* a ring of totals */
    uint64_t total[2], n_turns, n_windows;
    double worst;
};

/* Client "a" and client "b": what each was served in every window in which both had work. */
static void note_fairness(struct sim *sim, void *arg)
{
    struct fairness *fair = arg;
    int32_t n_waiting[2] = {0};
    for (int32_t i = 0; i < sim->n_live; i++) {
        const struct sim_job *job = sim->live[i];
        n_waiting[job->client[0] == 'b'] += job->sched.state == SCHED_WAITING;
    }
    if (n_waiting[0] == 0 || n_waiting[1] == 0) {
        fair->n_turns = 0;
        return;
    }
    for (int32_t i = 0; i < sim->n_shares; i++) {
        const struct sim_job *job = (const struct sim_job *)sim->shares[i].job;
        fair->total[job->client[0] == 'b'] += (uint64_t)sim->shares[i].n_positions;
    }
    uint64_t at = fair->n_turns++ % WINDOW;
    if (fair->n_turns > WINDOW) {
        double a = (double)(fair->total[0] - fair->steps[0][at]);
        double b = (double)(fair->total[1] - fair->steps[1][at]);
        double off = fabs(a - b) / fmin(a, b);
        fair->worst = off > fair->worst ? off : fair->worst;
        fair->n_windows++;
    }
    fair->steps[0][at] = fair->total[0];
    fair->steps[1][at] = fair->total[1];
}

struct fair_case {
    int32_t max_running, max_batch, n_pages;
    int32_t most_prompt, most_tokens;
    double apart; /* allowed */
};

/* Ten jobs of "a" for each of "b"; as many of "b" as keep it busy for thousands of turns. */
static void check_fairness(const struct fair_case *c, uint64_t seed)
{
    struct sim_config config = common();
    struct fairness fair = {0};
    config.seed = seed;
    config.sched.max_running = config.places.n_seqs = c->max_running;
    config.sched.max_batch = c->max_batch;
    config.sched.prefill_chunk = c->max_batch < 4 ? c->max_batch : 4;
    config.places.n_pages = c->n_pages;
    struct sim *sim = sim_create(&config);
    sim->config.sched.max_waiting = 1 << 20;
    for (int32_t i = 0; i < 1100; i++) {
        struct sim_job *job = sim_job(sim, i % 11 == 10 ? "b" : "a", 0, 1, 16);
        job->n_tokens = job->max_tokens = sim_pick(sim, 10, c->most_tokens);
        job->n_prompt = sim_pick(sim, 1, c->most_prompt);
    }
    sim->on_turn = note_fairness;
    sim->arg = &fair;
    sim_run(sim, 1 << 22);
    print_message("  %d running, %d positions, %d pages: worst of %llu windows %.4f apart\n",
                  c->max_running, c->max_batch, c->n_pages, (unsigned long long)fair.n_windows,
                  fair.worst);
    assert_true(fair.n_windows > 1000);
    assert_true(fair.worst <= c->apart);
    sim_check_empty(sim);
    sim_destroy(sim);
}

/*
 * Where positions are scarce the share is exact whatever the jobs are; where places are, it is as
 * fine as jobs are: with one page or two, a client may hold a seat more than the other for a while.
 */
static void two_clients_get_the_same_steps_in_any_500_ticks(void **state)
{
    (void)state;
    static const struct fair_case cases[] = {
        {8, 64, 4096, 1, 30, 0.05}, /* seats are scarce */
        {64, 64, 20, 1, 16, 0.05},  /* pages are, one per job */
        {32, 6, 4096, 8, 30, 0.05}, /* positions are */
        {32, 7, 4096, 8, 30, 0.05}, /* ... and odd */
        {64, 64, 32, 1, 30, 0.15},  /* pages are, one or two per job */
    };
    uint64_t seed = seed_of(1);
    for (uint64_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_fairness(&cases[i], seed + i);
}

/* With work, but not more jobs than it runs: one decoding job against ten, two positions a tick. */
static void one_job_against_ten_has_half_of_a_tick_of_two(void **state)
{
    (void)state;
    struct sim_config config = common();
    config.sched.max_batch = config.sched.prefill_chunk = 2;
    struct sim *sim = sim_create(&config);
    for (int32_t i = 0; i < 11; i++)
        sim_job(sim, i == 10 ? "b" : "a", 0, 1000, 16);
    for (int32_t i = 0; i < 5000; i++)
        assert_true(sim_turn(sim));
    uint64_t a = sched_client_steps(sim->sched, "a"), b = sched_client_steps(sim->sched, "b");
    print_message("a %llu steps, b %llu\n", (unsigned long long)a, (unsigned long long)b);
    assert_true(a + b == 10000);
    assert_true(b >= 4990 && b <= 5010);
    sim_destroy(sim);
}

/* ---- chaos ---- */

static void chaos_job(struct sim *sim, int32_t i, double seconds)
{
    char client[16];
    snprintf(client, sizeof client, "c%d", sim_pick(sim, 0, 9));
    uint64_t at = (uint64_t)(sim_real(sim) * seconds * LTD_NS_PER_S);
    struct sim_job *job = sim_job(sim, client, at, sim_pick(sim, 1, 20), sim_pick(sim, 1, 16));
    job->n_prompt = i % 100 == 0 ? sim_pick(sim, 100, 300) : sim_pick(sim, 1, 30);
    job->n_tokens = sim_pick(sim, 1, job->max_tokens);
    job->sched.priority = i % 4 == 0 ? sim_pick(sim, 1, 31) : 16;
    if (i % 3 == 0) {
        job->sched.is_elastic = true;
        job->sched.min_steps = sim_pick(sim, 1, job->sched.max_steps);
    }
    if (i % 5 == 0)
        job->sched.due_ns = (uint64_t)(sim_real(sim) * 20 * LTD_NS_PER_S);
    if (i % 7 == 0)
        job->sched.token_ns = (uint64_t)(sim_real(sim) * LTD_NS_PER_S);
    if (i % 6 == 0)
        job->exit_steps = sim_pick(sim, 1, job->sched.max_steps);
    if (i % 10 == 0)
        job->cancels_ns = job->arrives_ns + (uint64_t)(sim_real(sim) * 5 * LTD_NS_PER_S);
    if (i % 20 == 1) {
        job->sched.priority = 0;
        if (i % 40 == 1)
            job->releases_ns = job->arrives_ns + (uint64_t)(sim_real(sim) * 5 * LTD_NS_PER_S);
        else
            job->cancels_ns = job->arrives_ns + 100 * LTD_NS_PER_S;
    }
}

/* What each turn checks by itself (sched_sim.c) holds ten thousand times, and everything comes back. */
static void check_chaos(int32_t n_jobs, int32_t max_batch, bool overlap, uint64_t seed)
{
    struct sim_config config = common();
    uint64_t n_yields = 0, n_done = 0, n_cancelled = 0, longest = 0;
    config.sched.max_running = config.places.n_seqs = 24;
    config.sched.max_waiting = 1 << 20;
    config.sched.ageing_ns = LTD_NS_PER_S;
    config.places.n_pages = 60;
    config.places.n_rows = 400;
    config.sched.max_batch = max_batch;
    config.sched.prefill_chunk = max_batch < 32 ? max_batch : 32;
    config.overlap = overlap;
    config.seed = seed;
    struct sim *sim = sim_create(&config);
    for (int32_t i = 0; i < n_jobs; i++)
        chaos_job(sim, i, (double)n_jobs / 10);
    sim_run(sim, 1 << 24);
    for (int32_t i = 0; i < sim->n_jobs; i++) {
        const struct sim_job *job = sim->jobs[i];
        n_yields += (uint64_t)job->n_yields;
        n_done += job->end == SIM_DONE;
        n_cancelled += job->end == SIM_CANCELLED;
        if (job->end == SIM_DONE) {
            assert_int_equal(job->n_written, job->n_tokens);
            uint64_t waited = job->started_ns - job->arrives_ns;
            longest = waited > longest ? waited : longest;
        }
    }
    print_message("%llu done, %llu cancelled, %llu preemptions, longest wait %.1f s, %llu turns\n",
                  (unsigned long long)n_done, (unsigned long long)n_cancelled,
                  (unsigned long long)n_yields, (double)longest / 1e9,
                  (unsigned long long)sim->turn);
    assert_int_equal(n_done + n_cancelled, n_jobs);
    assert_true(n_cancelled > (uint64_t)n_jobs / 20 && n_yields > (uint64_t)n_jobs / 50);
    sim_check_empty(sim);
    sim_destroy(sim);
}

static void ten_thousand_random_jobs_lose_no_place_and_all_end(void **state)
{
    (void)state;
    uint64_t seed = seed_of(1);
    check_chaos(10000, 64, false, seed);
    check_chaos(2000, 64, true, seed + 1);
    check_chaos(2000, 6, false, seed + 2);
}

/* A stream of urgent jobs that fills the service by itself, and one of the lowest class. */
static void the_lowest_class_has_its_turn_after_all_levels_have_aged(void **state)
{
    (void)state;
    struct sim_config config = common();
    config.sched.ageing_ns = LTD_NS_PER_S;
    config.sched.max_running = config.places.n_seqs = 2;
    config.sched.max_waiting = 1 << 20;
    config.seed = seed_of(1);
    struct sim *sim = sim_create(&config);
    struct sim_job *lowest = sim_job(sim, "low", 5 * LTD_NS_PER_S, 20, 16);
    lowest->sched.priority = 1;
    for (int32_t i = 0; i < 300; i++) {
        struct sim_job *job = sim_job(sim, "high", (uint64_t)i * LTD_NS_PER_S / 2, 20, 16);
        job->sched.priority = 31;
    }
    sim_run(sim, 1 << 22);
    double waited = (double)(lowest->started_ns - lowest->arrives_ns) / 1e9;
    double ran = (double)(lowest->ended_ns - lowest->started_ns) / 1e9;
    print_message("waited %.1f s, ran %.1f s, yielded %d times\n", waited, ran, lowest->n_yields);
    assert_true(waited > 25 && waited < 40); /* thirty levels, and the jobs that run then */
    assert_int_equal(lowest->n_yields, 0);   /* it keeps what it got over a higher class */
    sim_check_empty(sim);
    sim_destroy(sim);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranges_shrink_before_anybody_is_late_or_refused),
        cmocka_unit_test(turns_that_overlap_are_predicted_as_well),
        cmocka_unit_test(fixed_depths_are_refused_when_the_queue_is_full_and_never_dropped),
        cmocka_unit_test(ranges_without_a_due_time_shrink_when_the_queue_grows),
        cmocka_unit_test(a_long_prompt_takes_no_more_than_its_share_of_the_pace),
        cmocka_unit_test(two_clients_get_the_same_steps_in_any_500_ticks),
        cmocka_unit_test(one_job_against_ten_has_half_of_a_tick_of_two),
        cmocka_unit_test(ten_thousand_random_jobs_lose_no_place_and_all_end),
        cmocka_unit_test(the_lowest_class_has_its_turn_after_all_levels_have_aged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
