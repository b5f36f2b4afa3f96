/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of daemon/sched, one rule at a time: a few jobs by hand, and what is said about them. */
#include "daemon/sched.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"

#define MS   LTD_NS_PER_MS
#define SEC  LTD_NS_PER_S
#define JOBS 64

/* Time goes by a millisecond per turn, whatever is in it. */
struct rig {
    struct sched *sched;
    struct sched_job jobs[JOBS];
    struct sched_places free;
    struct sched_share shares[JOBS];
    int32_t n_jobs, n_shares;
    uint64_t now;
};

static struct sched_config roomy(void)
{
    return (struct sched_config){.max_batch = 64,
                                 .prefill_chunk = 32,
                                 .prefill_share = 0.5,
                                 .ageing_ns = 10 * SEC,
                                 .max_running = 32,
                                 .max_waiting = 32};
}

static void rig_open(struct rig *rig, const struct sched_config *config)
{
    struct ltd_err err = {0};
    memset(rig, 0, sizeof *rig);
    rig->now = 100 * SEC;
    rig->free = (struct sched_places){.n_pages = 100, .n_rows = 10000, .n_seqs = 32};
    rig->sched = sched_create(config, &err);
    if (!rig->sched)
        fail_msg("%s", err.msg);
}

static void rig_close(struct rig *rig)
{
    for (int32_t i = 0; i < rig->n_jobs; i++)
        sched_remove(rig->sched, &rig->jobs[i], rig->now);
    assert_int_equal(sched_n_running(rig->sched) + sched_n_waiting(rig->sched, -1), 0);
    sched_destroy(rig->sched);
}

/* A job that decodes: one position, ten calls of 32 steps, one page. Not added yet. */
static struct sched_job *make(struct rig *rig, int32_t priority)
{
    struct sched_job *job = &rig->jobs[rig->n_jobs++];
    *job = (struct sched_job){.priority = priority,
                              .n_pages = 1,
                              .n_rows = 1,
                              .min_steps = 32,
                              .max_steps = 32,
                              .due_ns = LTD_NEVER,
                              .calls_left = 10,
                              .call_positions = 1,
                              .n_ready = 1};
    return job;
}

static struct sched_job *make_prompt(struct rig *rig, int32_t n)
{
    struct sched_job *job = make(rig, 16);
    job->call_positions = job->n_ready = job->n_rows = n;
    job->is_prefill = true;
    return job;
}

static struct sched_job *make_range(struct rig *rig, int32_t min_steps, int32_t max_steps)
{
    struct sched_job *job = make(rig, 16);
    job->min_steps = min_steps;
    job->max_steps = max_steps;
    job->is_elastic = true;
    return job;
}

static void add(struct rig *rig, struct sched_job *job, const char *client)
{
    struct ltd_err err;
    if (sched_add(rig->sched, job, client, rig->now, &err) != 0)
        fail_msg("%s", err.msg);
    assert_int_equal(job->state, SCHED_WAITING);
}

static struct sched_job *added(struct rig *rig, int32_t priority, const char *client)
{
    struct sched_job *job = make(rig, priority);
    add(rig, job, client);
    return job;
}

static struct sched_job *next(struct rig *rig)
{
    return sched_next(rig->sched, &rig->free, rig->now);
}

static void place(struct rig *rig, struct sched_job *job)
{
    rig->free.n_pages -= job->n_pages;
    rig->free.n_rows -= job->n_rows;
    rig->free.n_seqs--;
    sched_admitted(rig->sched, job, rig->now);
}

static void unplace(struct rig *rig, const struct sched_job *job)
{
    rig->free.n_pages += job->n_pages;
    rig->free.n_rows += job->n_rows;
    rig->free.n_seqs++;
}

/* Admit whoever is next, which must be `job`. */
static void admit(struct rig *rig, struct sched_job *job)
{
    struct sched_job *found = next(rig);
    if (found != job)
        fail_msg("job %td is next, not %td", found ? found - rig->jobs : -1, job - rig->jobs);
    place(rig, job);
}

static struct sched_job *running(struct rig *rig, int32_t priority, const char *client)
{
    struct sched_job *job = added(rig, priority, client);
    admit(rig, job);
    return job;
}

static void plan(struct rig *rig)
{
    rig->n_shares = sched_plan(rig->sched, rig->shares, rig->now);
}

static int32_t planned(const struct rig *rig, const struct sched_job *job)
{
    for (int32_t i = 0; i < rig->n_shares; i++)
        if (rig->shares[i].job == job)
            return rig->shares[i].n_positions;
    return 0;
}

static int32_t planned_all(const struct rig *rig)
{
    int32_t n = 0;
    for (int32_t i = 0; i < rig->n_shares; i++)
        n += rig->shares[i].n_positions;
    return n;
}

/* A turn of one millisecond a position and a millisecond more; nobody's step count moves. */
static void turn(struct rig *rig)
{
    plan(rig);
    uint64_t ns = (uint64_t)(1 + planned_all(rig)) * MS;
    sched_measure(rig->sched, SCHED_TICK, planned_all(rig), ns);
    rig->now += ns;
    sched_ticked(rig->sched, rig->shares, rig->n_shares, ns, rig->now);
}

static void turns(struct rig *rig, int32_t n)
{
    for (int32_t i = 0; i < n; i++)
        turn(rig);
}

/* ---- configuration ---- */

static void a_configuration_out_of_range_is_refused_by_name(void **state)
{
    (void)state;
    static const struct {
        struct sched_config config;
        const char *names;
    } cases[] = {
        {{0, 1, 0.5, 1, 1, 1}, "max_batch"},     {{8, 0, 0.5, 1, 1, 1}, "prefill_chunk"},
        {{8, 9, 0.5, 1, 1, 1}, "prefill_chunk"}, {{8, 8, 0.0, 1, 1, 1}, "prefill_share"},
        {{8, 8, 1.0, 1, 1, 1}, "prefill_share"}, {{8, 8, 0.5, 0, 1, 1}, "ages"},
        {{8, 8, 0.5, 1, 0, 1}, "room for 0"},    {{8, 8, 0.5, 1, 1, 0}, "0 waiting"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ltd_err err = {0};
        assert_null(sched_create(&cases[i].config, &err));
        assert_int_equal(err.code, LTD_E_INVALID);
        if (!strstr(err.msg, cases[i].names))
            fail_msg("case %zu: '%s' does not name %s", i, err.msg, cases[i].names);
    }
    sched_destroy(NULL);
}

/* ---- who is next ---- */

static void a_higher_class_goes_first(void **state)
{
    (void)state;
    struct rig rig;
    const struct sched_config config = roomy();
    rig_open(&rig, &config);
    struct sched_job *low = added(&rig, 15, "a"), *high = added(&rig, 17, "a");
    struct sched_job *middle = added(&rig, 16, "b");
    admit(&rig, high);
    admit(&rig, middle);
    admit(&rig, low);
    assert_null(next(&rig));
    rig_close(&rig);
}

static void a_class_gains_one_level_per_ageing_time_and_loses_it_with_its_turn(void **state)
{
    (void)state;
    struct rig rig;
    const struct sched_config config = roomy();
    rig_open(&rig, &config);
    struct sched_job *old = added(&rig, 14, "a"), *older = added(&rig, 14, "a");
    rig.now += 15 * SEC;
    struct sched_job *middle = added(&rig, 16, "a");
    admit(&rig, middle); /* one level up is not enough: 15.5 against 16 */
    rig.now += 10 * SEC;
    middle = added(&rig, 16, "a");
    admit(&rig, old); /* 16.5 against 16 */
    admit(&rig, middle);
    middle = added(&rig, 16, "a");
    admit(&rig, middle); /* the gain is gone */
    admit(&rig, older);
    rig_close(&rig);
}

static void in_a_class_the_client_with_fewer_steps_goes_first(void **state)
{
    (void)state;
    struct rig rig;
    struct sched_config config = roomy();
    config.max_running = 2;
    rig_open(&rig, &config);
    struct sched_job *a = running(&rig, 16, "a"), *b = running(&rig, 16, "b");
    for (int32_t i = 0; i < 3; i++)
        added(&rig, 16, "a");
    added(&rig, 16, "b");
    a->n_ready = 0; /* only "b" is served */
    turns(&rig, 10);
    assert_int_equal(sched_client_steps(rig.sched, "a"), 0);
    assert_int_equal(sched_client_steps(rig.sched, "b"), 10);
    sched_remove(rig.sched, a, rig.now);
    sched_remove(rig.sched, b, rig.now);
    admit(&rig, &rig.jobs[2]);
    admit(&rig, &rig.jobs[5]); /* both have none running now, "a" a seat: one each */
    assert_int_equal(sched_client_steps(rig.sched, "nobody"), 0);
    rig_close(&rig);
}

static void clients_share_seats_however_many_jobs_they_have(void **state)
{
    (void)state;
    struct rig rig;
    struct sched_config config = roomy();
    config.max_running = 6;
    rig_open(&rig, &config);
    for (int32_t i = 0; i < 12; i++)
        added(&rig, 16, i < 9 ? "many" : "few");
    for (struct sched_job *job; (job = next(&rig));)
        place(&rig, job);
    for (int32_t i = 0; i < 12; i++)
        assert_int_equal(rig.jobs[i].state == SCHED_RUNNING, i < 3 || i >= 9);
    rig_close(&rig);
}

static void a_client_that_comes_back_has_no_credit_for_its_absence(void **state)
{
    (void)state;
    struct rig rig;
    struct sched_config config = roomy();
    config.max_batch = config.prefill_chunk = 1;
    rig_open(&rig, &config);
    struct sched_job *a = running(&rig, 16, "a"), *b = running(&rig, 16, "b");
    turns(&rig, 20);
    sched_remove(rig.sched, b, rig.now);
    turns(&rig, 1000); /* "a" alone */
    b = running(&rig, 16, "b");
    uint64_t before = sched_client_steps(rig.sched, "a");
    turns(&rig, 20);
    assert_int_equal(sched_client_steps(rig.sched, "a") - before, 10);
    assert_int_equal(sched_client_steps(rig.sched, "b"), 10);
    assert_int_equal(a->state, SCHED_RUNNING);
    rig_close(&rig);
}

/* Leaving and coming back at once is no way out of debt either. */
static void a_client_that_leaves_for_a_moment_keeps_its_debt(void **state)
{
    (void)state;
    struct rig rig;
    struct sched_config config = roomy();
    config.max_batch = config.prefill_chunk = 2;
    rig_open(&rig, &config);
    struct sched_job *a = running(&rig, 16, "a"), *b = running(&rig, 16, "b");
    struct sched_job *rest = running(&rig, 16, "b");
    turns(&rig, 4); /* two positions, three ready: everybody competes */
    b->n_ready = rest->n_ready = 0;
    struct sched_job *more[] = {running(&rig, 16, "a"), running(&rig, 16, "a")};
    turns(&rig, 100); /* "a" is served two hundred, and has one waiting all the time */
    struct sched_job *mine[] = {a, more[0], more[1]};
    for (int32_t i = 0; i < 3; i++)
        sched_remove(rig.sched, mine[i], rig.now);
    b->n_ready = rest->n_ready = 1;
    struct sched_job *again = running(&rig, 16, "a");
    turns(&rig, 50);
    assert_int_equal(planned(&rig, again), 0);
    assert_int_equal(planned(&rig, b) + planned(&rig, rest), 2);
    rig_close(&rig);
}

static void due_first_then_older(void **state)
{
    (void)state;
    struct rig rig;
    const struct sched_config config = roomy();
    rig_open(&rig, &config);
    struct sched_job *never = added(&rig, 16, "a"), *never_too = added(&rig, 16, "a");
    struct sched_job *later = make(&rig, 16), *soon = make(&rig, 16);
    later->due_ns = rig.now + 60 * SEC;
    soon->due_ns = rig.now + 30 * SEC;
    add(&rig, later, "a");
    add(&rig, soon, "a");
    admit(&rig, soon);
    admit(&rig, later);
    admit(&rig, never);
    admit(&rig, never_too);
    rig_close(&rig);
}

static void a_stream_of_urgent_jobs_does_not_starve_one_that_is_never_due(void **state)
{
    (void)state;
    struct rig rig;
    struct sched_config config = roomy();
    config.max_running = 1;
    rig_open(&rig, &config);
    struct sched_job *never = added(&rig, 16, "a");
    for (int32_t i = 0; i < 40; i++) { /* one every ten seconds, due twenty later */
        struct sched_job *urgent = make(&rig, 16);
        urgent->due_ns = rig.now + 20 * SEC;
        add(&rig, urgent, "a");
        if (next(&rig) == never) {
            assert_in_range(i, 30, 32); /* its patience is 32 times ageing_ns */
            rig_close(&rig);
            return;
        }
        admit(&rig, urgent);
        rig.now += 10 * SEC;
        sched_remove(rig.sched, urgent, rig.now);
    }
    fail_msg("forty urgent jobs went first");
}

static void the_first_in_line_is_not_overtaken_by_one_that_would_fit(void **state)
{
    (void)state;
    struct rig rig;
    const struct sched_config config = roomy();
    rig_open(&rig, &config);
    struct sched_job *large = make(&rig, 16);
    large->n_pages = 101;
    add(&rig, large, "a");
    added(&rig, 16, "a");
    added(&rig, 3, "b");
    assert_null(next(&rig));
    rig.free.n_pages = 101;
    admit(&rig, large);
    rig_close(&rig);
}

static void a_held_job_is_not_admitted_until_it_is_released(void **state)
{
    (void)state;
    struct rig rig;
    const struct sched_config config = roomy();
    rig_open(&rig, &config);
    struct sched_job *held = added(&rig, 0, "a");
    rig.now += 1000000 * SEC;
    assert_null(next(&rig));
    assert_int_equal(sched_n_waiting(rig.sched, 0), 1);
    sched_set_priority(rig.sched, held, 5, rig.now);
    assert_int_equal(sched_n_waiting(rig.sched, 0), 0);
    assert_int_equal(sched_n_waiting(rig.sched, 5), 1);
    admit(&rig, held);
    sched_set_priority(rig.sched, held, 0, rig.now); /* while it runs: its places go to others */
    assert_true(held->must_yield);
    plan(&rig);
    assert_int_equal(planned(&rig, held), 1); /* on its way to the token boundary */
    unplace(&rig, held);
    sched_yielded(rig.sched, held, rig.now);
    assert_null(next(&rig));
    rig_close(&rig);
}

static void who_is_removed_is_in_no_tick_and_its_seat_is_free(void **state)
{
    (void)state;
    struct rig rig;
    struct sched_config config = roomy();
    config.max_running = 2;
    rig_open(&rig, &config);
    struct sched_job *stays = running(&rig, 16, "a"), *leaves = running(&rig, 16, "a");
    struct sched_job *waits = added(&rig, 16, "a"), *gives_up = added(&rig, 16, "a");
    assert_null(next(&rig));
    sched_remove(rig.sched, gives_up, rig.now);
    sched_remove(rig.sched, leaves, rig.now);
    assert_int_equal(leaves->state, SCHED_OUT);
    plan(&rig);
    assert_int_equal(rig.n_shares, 1);
    assert_ptr_equal(rig.shares[0].job, stays);
    admit(&rig, waits);
    assert_null(next(&rig));
    rig_close(&rig);
}

/* ---- preemption ---- */

static void only_as_many_yield_as_are_needed_lowest_class_and_youngest_first(void **state)
{
    (void)state;
    struct rig rig;
    const struct sched_config config = roomy();
    rig_open(&rig, &config);
    rig.free.n_pages = 11;
    struct sched_job *jobs[5];
    static const int32_t priorities[] = {10, 8, 8, 8, 12}, pages[] = {2, 3, 1, 3, 2};
    for (int32_t i = 0; i < 5; i++) {
        jobs[i] = make(&rig, priorities[i]);
        jobs[i]->n_pages = pages[i];
        add(&rig, jobs[i], "a");
        admit(&rig, jobs[i]);
    }
    /* Four pages: of class 8, the youngest, then the next. Five: also the oldest, and then the one
     * between is not needed after all. */
    static const bool yields[2][5] = {{false, false, true, true, false},
                                      {false, true, false, true, false}};
    struct sched_job *urgent = make(&rig, 11);
    for (int32_t k = 0; k < 2; k++) {
        sched_remove(rig.sched, urgent, rig.now);
        urgent->n_pages = 4 + k;
        add(&rig, urgent, "b");
        assert_null(next(&rig));
        for (int32_t i = 0; i < 5; i++)
            assert_int_equal(jobs[i]->must_yield, yields[k][i]);
    }
    for (int32_t i = 1; i <= 3; i += 2) {
        unplace(&rig, jobs[i]);
        sched_yielded(rig.sched, jobs[i], rig.now);
    }
    admit(&rig, urgent);
    assert_false(jobs[2]->must_yield);
    rig_close(&rig);
}

static void nobody_yields_in_vain_or_to_an_equal(void **state)
{
    (void)state;
    struct rig rig;
    const struct sched_config config = roomy();
    rig_open(&rig, &config);
    rig.free.n_pages = 10;
    struct sched_job *low = make(&rig, 8), *equal = make(&rig, 16), *urgent = make(&rig, 16);
    low->n_pages = 4;
    equal->n_pages = 6;
    urgent->n_pages = 5;
    add(&rig, low, "a");
    add(&rig, equal, "a");
    admit(&rig, equal);
    admit(&rig, low);
    add(&rig, urgent, "b");
    assert_null(next(&rig)); /* four pages of "low" would not do */
    assert_false(low->must_yield);
    assert_false(equal->must_yield);
    sched_set_priority(rig.sched, urgent, 20, rig.now);
    assert_null(next(&rig));
    assert_true(equal->must_yield);
    assert_false(low->must_yield);
    sched_remove(rig.sched, urgent, rig.now); /* it does not want them any more */
    assert_false(equal->must_yield);
    rig_close(&rig);
}

static void who_yielded_waits_with_its_old_number(void **state)
{
    (void)state;
    struct rig rig;
    struct sched_config config = roomy();
    config.max_running = 1;
    rig_open(&rig, &config);
    struct sched_job *first = running(&rig, 8, "a"), *second = added(&rig, 8, "a");
    struct sched_job *urgent = added(&rig, 9, "a");
    assert_null(next(&rig));
    assert_true(first->must_yield);
    unplace(&rig, first);
    sched_yielded(rig.sched, first, rig.now);
    assert_false(first->must_yield);
    admit(&rig, urgent);
    sched_remove(rig.sched, urgent, rig.now);
    admit(&rig, first);
    sched_remove(rig.sched, first, rig.now);
    admit(&rig, second);
    rig_close(&rig);
}

static void a_turn_that_a_class_waited_for_is_not_taken_back(void **state)
{
    (void)state;
    struct rig rig;
    struct sched_config config = roomy();
    config.max_running = 1;
    rig_open(&rig, &config);
    struct sched_job *low = added(&rig, 10, "a");
    rig.now += 100 * SEC; /* ten levels */
    struct sched_job *high = added(&rig, 12, "b");
    admit(&rig, low);
    assert_null(next(&rig));
    assert_false(low->must_yield);
    struct sched_job *highest = added(&rig, 13, "b"); /* it did not wait then */
    assert_null(next(&rig));
    assert_true(low->must_yield);
    assert_int_equal(high->state, SCHED_WAITING);
    assert_int_equal(highest->state, SCHED_WAITING);
    rig_close(&rig);
}

/* ---- what a tick holds ---- */

static void everybody_who_decodes_is_in_every_tick_that_has_room(void **state)
{
    (void)state;
    struct rig rig;
    const struct sched_config config = roomy();
    rig_open(&rig, &config);
    for (int32_t i = 0; i < 32; i++)
        running(&rig, 1 + i % 31, i % 2 ? "a" : "b");
    for (int32_t i = 0; i < 20; i++) {
        turn(&rig);
        assert_int_equal(rig.n_shares, 32);
        assert_int_equal(planned_all(&rig), 32);
    }
    rig.jobs[7].n_ready = 0; /* its coda is under way */
    plan(&rig);
    assert_int_equal(planned(&rig, &rig.jobs[7]), 0);
    assert_int_equal(planned_all(&rig), 31);
    rig_close(&rig);
}

static void prompts_fill_the_tick_when_nobody_decodes(void **state)
{
    (void)state;
    struct rig rig;
    const struct sched_config config = roomy();
    rig_open(&rig, &config);
    for (int32_t i = 0; i < 3; i++) {
        struct sched_job *job = make_prompt(&rig, 100);
        add(&rig, job, "a");
        admit(&rig, job);
    }
    plan(&rig);
    assert_int_equal(planned(&rig, &rig.jobs[0]), 32); /* prefill_chunk */
    assert_int_equal(planned(&rig, &rig.jobs[1]), 32);
    assert_int_equal(planned(&rig, &rig.jobs[2]), 0);
    rig_close(&rig);
}

static void something_is_planned_whenever_something_is_ready(void **state)
{
    (void)state;
    struct rig rig;
    struct sched_config config = roomy();
    config.prefill_share = 0.01;
    rig_open(&rig, &config);
    struct sched_job *job = running(&rig, 16, "a"), *prompt = make_prompt(&rig, 100);
    turns(&rig, 20);
    add(&rig, prompt, "a");
    admit(&rig, prompt);
    job->n_ready = 0;
    plan(&rig);
    assert_in_range(planned_all(&rig), 1, 32);
    prompt->n_ready = 0;
    prompt->n_coda = 100;
    plan(&rig);
    assert_int_equal(rig.n_shares, 1);
    assert_int_equal(rig.shares[0].n_positions, 0);
    assert_in_range(rig.shares[0].n_coda, 1, 32);
    prompt->n_coda = 0;
    plan(&rig);
    assert_int_equal(rig.n_shares, 0);
    rig_close(&rig);
}

/*
 * Positions of a long call in a hundred turns beside a job that decodes, whose turns take two
 * milliseconds. A tick costs a millisecond more per position; prelude and coda, `border_ns`.
 */
static int32_t border_positions(struct rig *rig, struct sched_job *prompt, uint64_t border_ns)
{
    int32_t n = 0;
    running(rig, 16, "a");
    for (int32_t i = 0; i < 50; i++) {
        turn(rig);
        sched_measure(rig->sched, SCHED_TICK, 33, 34 * MS);
        for (int32_t c = SCHED_PRELUDE; c <= SCHED_CODA; c++) {
            sched_measure(rig->sched, (enum sched_cost)c, 1, border_ns);
            sched_measure(rig->sched, (enum sched_cost)c, 32, 32 * border_ns);
        }
    }
    add(rig, prompt, "a");
    admit(rig, prompt);
    for (int32_t i = 0; i < 100; i++) {
        plan(rig);
        assert_int_equal(rig->shares[0].n_positions, 1);
        assert_ptr_not_equal(rig->shares[0].job, prompt);
        int32_t more = planned(rig, prompt);
        uint64_t ns = (uint64_t)(2 + more) * MS;
        if (rig->n_shares > 1 && prompt->step_idx == 0)
            ns += (uint64_t)more * border_ns;
        if (rig->n_shares > 1 && prompt->n_coda > 0)
            ns += (uint64_t)(more = rig->shares[1].n_coda) * border_ns;
        assert_in_range(more, 0, 32);
        n += more;
        rig->now += ns;
        sched_ticked(rig->sched, rig->shares, rig->n_shares, ns, rig->now);
    }
    return n;
}

/* A share of one half is two milliseconds a turn here, to be spent on whatever prompts need. */
static void prelude_and_coda_of_prompts_are_paid_from_their_share(void **state)
{
    (void)state;
    static const struct {
        int32_t step_idx, n_coda, least, most;
    } cases[] = {
        {1, 0, 180, 220},   /* two a turn */
        {0, 0, 45, 55},     /* with three milliseconds of prelude each: one in two turns */
        {32, 1000, 60, 74}, /* three milliseconds of coda each: two in three turns */
    };
    for (int32_t i = 0; i < 3; i++) {
        struct rig rig;
        const struct sched_config config = roomy();
        rig_open(&rig, &config);
        struct sched_job *prompt = make_prompt(&rig, 1000);
        prompt->step_idx = cases[i].step_idx;
        prompt->n_coda = cases[i].n_coda;
        prompt->n_ready = cases[i].n_coda > 0 ? 0 : 1000;
        int32_t n = border_positions(&rig, prompt, 3 * MS);
        if (n < cases[i].least || n > cases[i].most)
            fail_msg("case %d: %d positions in a hundred turns", i, n);
        rig_close(&rig);
    }
}

/* The coda is suddenly four times as dear as it was; the share of the pace is the same all the same. */
static void what_prompts_take_beyond_the_prediction_is_paid_back(void **state)
{
    (void)state;
    struct rig rig;
    const struct sched_config config = roomy();
    double decode = 0, all = 0;
    rig_open(&rig, &config);
    running(&rig, 16, "a");
    for (int32_t i = 0; i < 300; i++) {
        turn(&rig);
        sched_measure(rig.sched, SCHED_CODA, 1 + i % 4, (uint64_t)(1 + i % 4) * MS / 2);
    }
    struct sched_job *prompt = make_prompt(&rig, 1000);
    prompt->n_ready = 0;
    prompt->n_coda = 1000;
    add(&rig, prompt, "a");
    admit(&rig, prompt);
    for (int32_t i = 0; i < 60; i++) {
        plan(&rig);
        int32_t n = rig.n_shares > 1 ? rig.shares[1].n_coda : 0;
        if (n > 0)
            sched_measure(rig.sched, SCHED_CODA, n, (uint64_t)n * 2 * MS);
        sched_measure(rig.sched, SCHED_TICK, 1, 2 * MS);
        uint64_t ns = (uint64_t)(2 + 2 * n) * MS;
        rig.now += ns;
        sched_ticked(rig.sched, rig.shares, rig.n_shares, ns, rig.now);
        decode += 2;
        all += (double)ns / MS;
    }
    double lost = 1 - decode / all;
    if (lost < 0.35 || lost > 0.56)
        fail_msg("%.2f of the pace lost, for a share of 0.50", lost);
    rig_close(&rig);
}

static void a_share_below_one_position_still_moves(void **state)
{
    (void)state;
    struct rig rig;
    struct sched_config config = roomy();
    int32_t n = 0;
    config.prefill_share = 0.1;
    rig_open(&rig, &config);
    running(&rig, 16, "a");
    turns(&rig, 50); /* two milliseconds a turn, one for each position */
    struct sched_job *prompt = make_prompt(&rig, 1000);
    prompt->step_idx = 1;
    add(&rig, prompt, "a");
    admit(&rig, prompt);
    for (int32_t i = 0; i < 100; i++) {
        turn(&rig);
        assert_int_equal(planned(&rig, &rig.jobs[0]), 1);
        n += planned(&rig, prompt);
    }
    if (n < 10 || n > 40)
        fail_msg("%d positions in a hundred turns, each worth a fifth or so", n);
    rig_close(&rig);
}

static void a_tick_that_is_too_small_is_shared_by_clients(void **state)
{
    (void)state;
    struct rig rig;
    struct sched_config config = roomy();
    config.max_batch = config.prefill_chunk = 4;
    rig_open(&rig, &config);
    for (int32_t i = 0; i < 12; i++)
        running(&rig, 16, i < 10 ? "many" : "few");
    for (int32_t i = 0; i < 10; i++) {
        turn(&rig);
        assert_int_equal(planned_all(&rig), 4);
        assert_int_equal(planned(&rig, &rig.jobs[10]) + planned(&rig, &rig.jobs[11]), 2);
    }
    rig_close(&rig);
}

static void a_tick_that_is_too_small_goes_to_the_higher_class_until_the_lower_has_aged(void **state)
{
    (void)state;
    struct rig rig;
    struct sched_config config = roomy();
    config.max_batch = config.prefill_chunk = 2;
    config.ageing_ns = 15 * MS; /* five turns */
    rig_open(&rig, &config);
    struct sched_job *low = running(&rig, 14, "a");
    running(&rig, 16, "b");
    running(&rig, 16, "b");
    int32_t n_low = 0, first = 0;
    for (int32_t i = 1; i <= 44; i++) {
        turn(&rig);
        n_low += planned(&rig, low);
        first = n_low == 1 && first == 0 ? i : first;
    }
    assert_in_range(first, 11, 12); /* two levels, then a turn, again and again */
    assert_in_range(n_low, 3, 4);
    rig_close(&rig);
}

/* ---- depth ---- */

static void a_fixed_depth_is_never_touched(void **state)
{
    (void)state;
    struct rig rig;
    struct sched_config config = roomy();
    config.max_running = 1;
    rig_open(&rig, &config);
    struct sched_job *job = make(&rig, 16);
    job->due_ns = rig.now + 1;
    job->token_ns = 1;
    job->min_steps = 1; /* an exit rule; it is not for the scheduler to decide */
    add(&rig, job, "a");
    admit(&rig, job);
    for (int32_t i = 0; i < 40; i++)
        added(&rig, 16, "b");
    turns(&rig, 40);
    assert_true(sched_load(rig.sched) == 1);
    assert_int_equal(sched_steps(rig.sched, job, rig.now), 32);
    rig_close(&rig);
}

static void a_range_is_used_up_to_the_end_when_nobody_waits(void **state)
{
    (void)state;
    struct rig rig;
    const struct sched_config config = roomy();
    rig_open(&rig, &config);
    struct sched_job *job = make_range(&rig, 4, 32);
    add(&rig, job, "a");
    admit(&rig, job);
    turns(&rig, 40);
    assert_true(sched_load(rig.sched) == 0);
    assert_int_equal(sched_steps(rig.sched, job, rig.now), 32);
    rig_close(&rig);
}

static void half_a_queue_is_the_end_of_a_range(void **state)
{
    (void)state;
    struct rig rig;
    struct sched_config config = roomy();
    config.max_running = 1;
    rig_open(&rig, &config);
    struct sched_job *job = make_range(&rig, 4, 32);
    int32_t last = 33;
    add(&rig, job, "a");
    admit(&rig, job);
    turns(&rig, 20);
    for (int32_t i = 0; i <= 16; i++) {
        turns(&rig, 4);
        int32_t steps = sched_steps(rig.sched, job, rig.now);
        if (steps > last || steps < 30 - 28 * i / 16)
            fail_msg("%d steps with %d in line, %d with one less", steps, i, last);
        last = steps;
        added(&rig, 16, "b");
        assert_null(next(&rig));
    }
    turns(&rig, 4);
    assert_int_equal(sched_steps(rig.sched, job, rig.now), 4);
    assert_true(sched_load(rig.sched) == 1);
    job->step_idx = 9; /* what was done is done */
    assert_int_equal(sched_steps(rig.sched, job, rig.now), 10);
    rig_close(&rig);
}

static void a_due_time_in_line_takes_depth_from_those_who_run(void **state)
{
    (void)state;
    struct rig rig;
    struct sched_config config = roomy();
    config.max_running = 1;
    config.max_waiting = 1000;
    rig_open(&rig, &config);
    struct sched_job *job = make_range(&rig, 4, 32), *urgent = make_range(&rig, 4, 32);
    job->calls_left = 100; /* at two milliseconds a step: 6.4 s at full depth */
    add(&rig, job, "a");
    admit(&rig, job);
    turns(&rig, 20);
    assert_int_equal(sched_steps(rig.sched, job, rig.now), 32);
    urgent->due_ns = rig.now + 4 * SEC; /* it needs 0.6 s itself */
    add(&rig, urgent, "b");
    assert_null(next(&rig));
    turns(&rig, 4);
    int32_t steps = sched_steps(rig.sched, job, rig.now);
    assert_in_range(steps, 14, 20); /* leaves after about 3.5 s, then both kept about half */
    urgent->due_ns = rig.now + 60 * SEC;
    sched_remove(rig.sched, urgent, rig.now);
    add(&rig, urgent, "b");
    turns(&rig, 4);
    assert_int_equal(sched_steps(rig.sched, job, rig.now), 32); /* there is time */
    rig_close(&rig);
}

static void nobody_shrinks_where_it_does_not_help(void **state)
{
    (void)state;
    struct rig rig;
    struct sched_config config = roomy();
    config.max_running = 2;
    config.max_waiting = 1000;
    rig_open(&rig, &config);
    struct sched_job *range = make_range(&rig, 4, 32), *fixed = make(&rig, 16);
    struct sched_job *urgent = make_range(&rig, 4, 32);
    range->calls_left = 10000; /* 640 s at least 80: not in time either way */
    fixed->calls_left = 100;   /* leaves in 9.6 s, whatever others do */
    add(&rig, range, "a");
    add(&rig, fixed, "a");
    admit(&rig, range);
    admit(&rig, fixed);
    turns(&rig, 20);
    urgent->due_ns = rig.now + 10 * SEC;
    add(&rig, urgent, "b");
    assert_null(next(&rig));
    turns(&rig, 4);
    assert_int_equal(sched_steps(rig.sched, range, rig.now), 32);
    rig_close(&rig);
}

/* At three milliseconds a token's budget of thirty buys ten steps of two jobs. */
static void a_budget_per_token_is_a_number_of_steps_at_the_pace_measured(void **state)
{
    (void)state;
    struct rig rig;
    const struct sched_config config = roomy();
    rig_open(&rig, &config);
    struct sched_job *job = make_range(&rig, 4, 32), *other = make_range(&rig, 4, 32);
    job->token_ns = 30 * MS;
    add(&rig, job, "a");
    add(&rig, other, "a");
    admit(&rig, job);
    admit(&rig, other);
    turns(&rig, 2000);
    int32_t steps = sched_steps(rig.sched, job, rig.now);
    if (steps < 9 || steps > 11)
        fail_msg("%d steps", steps);
    assert_int_equal(sched_steps(rig.sched, other, rig.now), 32);
    job->token_ns = 3 * MS; /* not even min_steps */
    assert_int_equal(sched_steps(rig.sched, job, rig.now), 4);
    rig_close(&rig);
}

static void a_due_time_buys_as_many_steps_as_fit(void **state)
{
    (void)state;
    struct rig rig;
    const struct sched_config config = roomy();
    rig_open(&rig, &config);
    struct sched_job *warm = running(&rig, 16, "a"), *job = make_range(&rig, 4, 32);
    turns(&rig, 200);
    sched_remove(rig.sched, warm, rig.now);
    job->calls_left = 100;
    job->due_ns = rig.now + 4 * SEC; /* two milliseconds a step: twenty steps a token */
    add(&rig, job, "a");
    admit(&rig, job);
    assert_in_range(job->aim_ns, rig.now + 3600 * MS, rig.now + 4000 * MS);
    int32_t steps = sched_steps(rig.sched, job, rig.now);
    assert_in_range(steps, 18, 20);
    rig.now += 2 * SEC; /* nothing was done in half of the time */
    steps = sched_steps(rig.sched, job, rig.now);
    assert_in_range(steps, 8, 10);
    job->calls_left = 45; /* ahead again */
    steps = sched_steps(rig.sched, job, rig.now);
    assert_in_range(steps, 19, 23);
    rig.now += 3 * SEC; /* late */
    assert_int_equal(sched_steps(rig.sched, job, rig.now), 4);
    rig_close(&rig);
}

/* ---- predictions ---- */

static void nothing_is_predicted_before_something_was_measured(void **state)
{
    (void)state;
    struct rig rig;
    const struct sched_config config = roomy();
    rig_open(&rig, &config);
    struct sched_job *job = running(&rig, 16, "a");
    assert_true(job->aim_ns == LTD_NEVER);
    assert_true(sched_predict_end(rig.sched, job, rig.now) == LTD_NEVER);
    assert_true(sched_turn_ns(rig.sched) == 0);
    turns(&rig, 8);
    assert_true(job->aim_ns != LTD_NEVER);
    assert_true(sched_turn_ns(rig.sched) > 0);
    rig_close(&rig);
}

static void assert_about(uint64_t found, uint64_t expected, const char *what)
{
    if (found < expected - expected / 8 || found > expected + expected / 8)
        fail_msg("%s: %.3f s, not about %.3f s", what, (double)found / SEC, (double)expected / SEC);
}

static void ends_and_waits_are_calls_times_steps_times_turns(void **state)
{
    (void)state;
    struct rig rig;
    struct sched_config config = roomy();
    config.max_running = 2;
    rig_open(&rig, &config);
    struct sched_job *soon = running(&rig, 16, "a"), *late = running(&rig, 16, "a");
    late->calls_left = 50;
    turns(&rig, 1000); /* three milliseconds each */
    assert_about(sched_turn_ns(rig.sched), 3 * MS, "turn");
    assert_about(sched_predict_end(rig.sched, soon, rig.now) - rig.now, 960 * MS, "end of soon");
    assert_about(sched_predict_end(rig.sched, late, rig.now) - rig.now, 4800 * MS, "end of late");
    struct sched_job *new = make(&rig, 16);
    turns(&rig, 20);
    assert_about(sched_wait_ns(rig.sched, rig.now), 960 * MS, "wait for a seat");
    assert_about(sched_predict_end(rig.sched, new, rig.now) - rig.now, 1920 * MS, "end of new");
    add(&rig, new, "a");
    assert_null(next(&rig));
    turns(&rig, 20);
    assert_about(sched_wait_ns(rig.sched, rig.now), 1920 * MS, "wait behind new");
    sched_remove(rig.sched, new, rig.now);
    sched_remove(rig.sched, soon, rig.now);
    assert_int_equal(sched_wait_ns(rig.sched, rig.now), 0);
    rig_close(&rig);
}

/* Prompts read long contexts; a line through their ticks would be far too steep for decoding jobs. */
static void what_prompts_cost_does_not_change_what_decoding_jobs_cost(void **state)
{
    (void)state;
    struct rig rig;
    const struct sched_config config = roomy();
    rig_open(&rig, &config);
    struct sched_job *prompt = make_prompt(&rig, 1000), *job = make(&rig, 16);
    add(&rig, prompt, "a");
    add(&rig, job, "a");
    for (int32_t round = 0; round < 3; round++) {
        if (round == 0)
            admit(&rig, prompt);
        for (int32_t i = 0; i < 50; i++) {
            plan(&rig);
            uint64_t ns = planned(&rig, prompt) > 0 ? 400 * MS : 2 * MS;
            sched_measure(rig.sched, SCHED_TICK, planned_all(&rig), ns);
            rig.now += ns;
            sched_ticked(rig.sched, rig.shares, rig.n_shares, ns, rig.now);
        }
        prompt->n_ready = 0; /* while the others decode, by themselves */
        if (round == 0)
            admit(&rig, job);
        turns(&rig, 50);
        prompt->n_ready = 1000;
    }
    const struct cost_line *tick = sched_cost(rig.sched, SCHED_TICK);
    if (cost_line_ns(tick, 1) > 2.2 * MS || cost_line_ns(tick, 8) > 12 * MS)
        fail_msg("%g ms + %g ms n", tick->fixed_ns / MS, tick->each_ns / MS);
    rig_close(&rig);
}

/* An exit rule that needs a quarter of max_steps: the bound alone would be four times too long. */
static void an_exit_rule_is_expected_to_go_on_as_it_did(void **state)
{
    (void)state;
    struct rig rig;
    const struct sched_config config = roomy();
    rig_open(&rig, &config);
    struct sched_job *job = make(&rig, 16);
    job->min_steps = 2;
    job->calls_left = 60;
    add(&rig, job, "a");
    admit(&rig, job);
    for (; job->calls_left > 20; job->calls_left--) {
        for (job->step_idx = 0; job->step_idx < 8; job->step_idx++)
            turn(&rig);
        job->step_idx = 0;
    }
    uint64_t left = sched_predict_end(rig.sched, job, rig.now) - rig.now;
    assert_about(left, 20 * 8 * 2 * MS + 20 * 2 * MS, "end");
    rig_close(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_configuration_out_of_range_is_refused_by_name),
        cmocka_unit_test(a_higher_class_goes_first),
        cmocka_unit_test(a_class_gains_one_level_per_ageing_time_and_loses_it_with_its_turn),
        cmocka_unit_test(in_a_class_the_client_with_fewer_steps_goes_first),
        cmocka_unit_test(clients_share_seats_however_many_jobs_they_have),
        cmocka_unit_test(a_client_that_comes_back_has_no_credit_for_its_absence),
        cmocka_unit_test(a_client_that_leaves_for_a_moment_keeps_its_debt),
        cmocka_unit_test(due_first_then_older),
        cmocka_unit_test(a_stream_of_urgent_jobs_does_not_starve_one_that_is_never_due),
        cmocka_unit_test(the_first_in_line_is_not_overtaken_by_one_that_would_fit),
        cmocka_unit_test(a_held_job_is_not_admitted_until_it_is_released),
        cmocka_unit_test(who_is_removed_is_in_no_tick_and_its_seat_is_free),
        cmocka_unit_test(only_as_many_yield_as_are_needed_lowest_class_and_youngest_first),
        cmocka_unit_test(nobody_yields_in_vain_or_to_an_equal),
        cmocka_unit_test(who_yielded_waits_with_its_old_number),
        cmocka_unit_test(a_turn_that_a_class_waited_for_is_not_taken_back),
        cmocka_unit_test(everybody_who_decodes_is_in_every_tick_that_has_room),
        cmocka_unit_test(prompts_fill_the_tick_when_nobody_decodes),
        cmocka_unit_test(something_is_planned_whenever_something_is_ready),
        cmocka_unit_test(prelude_and_coda_of_prompts_are_paid_from_their_share),
        cmocka_unit_test(what_prompts_take_beyond_the_prediction_is_paid_back),
        cmocka_unit_test(a_share_below_one_position_still_moves),
        cmocka_unit_test(a_tick_that_is_too_small_is_shared_by_clients),
        cmocka_unit_test(
            a_tick_that_is_too_small_goes_to_the_higher_class_until_the_lower_has_aged),
        cmocka_unit_test(a_fixed_depth_is_never_touched),
        cmocka_unit_test(a_range_is_used_up_to_the_end_when_nobody_waits),
        cmocka_unit_test(half_a_queue_is_the_end_of_a_range),
        cmocka_unit_test(a_due_time_in_line_takes_depth_from_those_who_run),
        cmocka_unit_test(nobody_shrinks_where_it_does_not_help),
        cmocka_unit_test(a_budget_per_token_is_a_number_of_steps_at_the_pace_measured),
        cmocka_unit_test(a_due_time_buys_as_many_steps_as_fit),
        cmocka_unit_test(nothing_is_predicted_before_something_was_measured),
        cmocka_unit_test(ends_and_waits_are_calls_times_steps_times_turns),
        cmocka_unit_test(what_prompts_cost_does_not_change_what_decoding_jobs_cost),
        cmocka_unit_test(an_exit_rule_is_expected_to_go_on_as_it_did),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
