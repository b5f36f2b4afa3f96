/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/sched_pace.c - how long things take: a turn, a step of a call, the rest of a job.
 *
 * One turn is a tick for everybody who decodes and, for the few whose thought is done, a prelude, a
 * coda and a head. The cost lines give its time for any number of jobs. What they do not know (exit
 * rules, sampling, overlap, prompts beside) shows as the ratio of turns as they were to turns as the
 * lines say. Two such ratios are kept: a fast one to steer by, in which prompts count as delay; and a
 * slow one that takes the prompts of a turn out of it, to predict with and to give prompts their
 * part. (Not one over turns without prompts alone: those follow turns that took long, and are not
 * like the others.)
 */
#include <math.h>

#include "base/clock.h"
#include "daemon/sched_private.h"

#define FADE_FAST  (1.0 - 1.0 / 128)
#define FADE_SLOW  (1.0 - 1.0 / 4096)
#define PART_IDLE  (1.0 / 1024) /* of a plan */
#define PART_CALL  (1.0 / 256)  /* of a call */
#define CALLS_MAX  32 /* of a job, that its mean goes back */
#define CALLS_ALL  2  /* that the mean of all jobs counts as, to one of them */
#define FAR_OFF    8.0  /* a turn longer than expected by this is cut there */
#define CORRECTION 16.0 /* more than this is a broken clock, not a slow machine */

/* A tick of a small model on a small machine, until the first one is measured. */
#define GUESS_FIXED_NS 1e6
#define GUESS_EACH_NS  1e5
#define GUESS_BORDER   0.5 /* prelude, coda, head: of a tick, until measured */
#define GUESS_STEPS    32.0

/* ---- costs ---- */

void sched_pace_init(struct sched *sched)
{
    cost_line_init(&sched->costs[SCHED_TICK], GUESS_FIXED_NS, GUESS_EACH_NS);
    for (int32_t i = SCHED_PRELUDE; i < SCHED_N_COSTS; i++)
        cost_line_init(&sched->costs[i], GUESS_FIXED_NS * GUESS_BORDER,
                       GUESS_EACH_NS * GUESS_BORDER);
    sched->pace.inverse_steps = 1 / GUESS_STEPS;
    sched->pace.is_alone = true;
    sched->idle = sched->thrift = 1;
    sched_pace_refresh(sched);
}

void sched_measure(struct sched *sched, enum sched_cost what, int32_t n, uint64_t ns)
{
    const struct cost_line *tick = &sched->costs[SCHED_TICK];
    cost_line_add(&sched->costs[what], n, ns);
    for (int32_t i = SCHED_PRELUDE; i < SCHED_N_COSTS && what == SCHED_TICK; i++)
        if (sched->costs[i].weight == 0)
            cost_line_init(&sched->costs[i], tick->fixed_ns * GUESS_BORDER,
                           tick->each_ns * GUESS_BORDER);
}

const struct cost_line *sched_cost(const struct sched *sched, enum sched_cost what)
{
    return &sched->costs[what];
}

/* ---- a turn ---- */

/* `n` positions, each of which leaves after 1 / inverse_steps turns, independent of the others. */
static double batch_ns(const struct sched *sched, int32_t n, double inverse_steps)
{
    double fixed = 0, each = 0, leaving = n * inverse_steps;
    for (int32_t i = SCHED_PRELUDE; i < SCHED_N_COSTS; i++) {
        fixed += sched->costs[i].fixed_ns;
        each += sched->costs[i].each_ns;
    }
    double one_leaves = -expm1(-leaving); /* how likely in one turn */
    return cost_line_ns(&sched->costs[SCHED_TICK], n) + one_leaves * fixed + leaving * each;
}

static int32_t batch_of(const struct sched *sched, int32_t n)
{
    int32_t most = sched->config.max_batch;
    return n < 1 ? 1 : n < most ? n : most;
}

/* A turn of `n` decoding positions, as many of them as a tick holds; by the lines alone. */
static double decode_ns(const struct sched *sched, int32_t n)
{
    return batch_ns(sched, batch_of(sched, n), sched->pace.inverse_steps);
}

double sched_pace_step_ns(const struct sched *sched, int32_t n, double inverse_steps)
{
    int32_t batch = batch_of(sched, n);
    double rounds = n > batch ? (double)n / batch : 1; /* more than a tick can hold take turns */
    return batch_ns(sched, batch, inverse_steps) * rounds;
}

static double ratio_of(const struct sched_ratio *ratio)
{
    double value = ratio->model_ns > 0 ? ratio->turn_ns / ratio->model_ns : 1;
    return fmax(1 / CORRECTION, fmin(CORRECTION, value));
}

double sched_pace_correction(const struct sched *sched)
{
    return ratio_of(&sched->slow) * sched->idle;
}

double sched_pace_alone_ns(const struct sched *sched, int32_t n)
{
    return ratio_of(&sched->slow) * decode_ns(sched, n);
}

/* Positions that sched_plan gives prompts in the long run, if there are enough of them: beside the
 * decoding jobs as far as the credit goes, or as far as the room goes and then in their stead. */
static double prompt_positions(const struct sched *sched, int32_t n)
{
    double share = sched->config.prefill_share, each = sched->costs[SCHED_TICK].each_ns;
    double batch = batch_of(sched, n), room = sched->config.max_batch - batch;
    double turn = sched_pace_alone_ns(sched, n), worth = turn * share / (1 - share);
    double beside = each * room <= worth ? room : worth / each;
    double instead = room + batch - batch * (1 - share) * (1 + each * room / turn);
    return fmax(1.0 / 64, fmax(beside, instead));
}

void sched_pace_refresh(struct sched *sched)
{
    struct sched_pace *pace = &sched->pace;
    double step = sched_pace_step_ns(sched, sched->n_running, pace->inverse_steps);
    pace->turn_ns = ratio_of(&sched->fast) * sched->idle * step;
    pace->prompt_positions = prompt_positions(sched, sched->n_running);
}

static void learn(struct sched_ratio *ratio, double fade, double turn_ns, double model_ns)
{
    ratio->turn_ns = ratio->turn_ns * fade + turn_ns;
    ratio->model_ns = ratio->model_ns * fade + model_ns;
}

void sched_pace_learn(struct sched *sched, uint64_t turn_ns)
{
    if (sched->planned_decode > 0) {
        double model = decode_ns(sched, sched->planned_decode), took = (double)turn_ns;
        double prompts = sched->planned_prompt_ns;
        double most = FAR_OFF * ratio_of(&sched->fast) * (model + prompts);
        if (sched->n_ticked >= SCHED_LEARNED)
            took = fmin(took, most);
        learn(&sched->fast, FADE_FAST, took, model);
        learn(&sched->slow, FADE_SLOW, took, model + prompts);
    }
    sched->n_ticked += sched->n_ticked < SCHED_LEARNED;
    sched_pace_refresh(sched);
}

double sched_turn_ns(const struct sched *sched)
{
    if (sched->n_ticked < SCHED_LEARNED)
        return 0;
    return ratio_of(&sched->fast) * decode_ns(sched, sched->n_running);
}

void sched_pace_ready(struct sched *sched, int32_t n_ready, int32_t n_decoding)
{
    if (n_ready > 0)
        sched->idle += PART_IDLE * ((double)n_decoding / n_ready - sched->idle);
}

/* Where max_steps is only a bound, the depth to expect is that of calls before. */
void sched_pace_watch(struct sched *sched, struct sched_job *job)
{
    bool has_rule = !job->is_elastic && job->min_steps < job->max_steps;
    if (has_rule && job->seen_calls > job->calls_left) {
        double steps = job->seen_steps;
        job->n_calls += job->n_calls < CALLS_MAX;
        job->steps_mean += (steps - job->steps_mean) / job->n_calls;
        sched->thrift += PART_CALL * (steps / job->max_steps - sched->thrift);
    }
    job->seen_calls = job->calls_left;
    job->seen_steps = job->step_idx + (job->n_ready > 0);
}

double sched_expected_steps(const struct sched *sched, const struct sched_job *job)
{
    if (job->is_elastic || job->min_steps == job->max_steps)
        return job->max_steps;
    double steps = job->n_calls * job->steps_mean + CALLS_ALL * sched->thrift * job->max_steps;
    steps /= job->n_calls + CALLS_ALL;
    return fmax(job->min_steps, fmax(job->step_idx + 1, steps));
}

/* ---- one job ---- */

/* One step of a call of `n` positions, all of them, beside the jobs that decode. */
static double call_step_ns(const struct sched *sched, int32_t n, double turn_ns)
{
    const struct cost_line *tick = &sched->costs[SCHED_TICK];
    int32_t chunk = sched->config.prefill_chunk < n ? sched->config.prefill_chunk : n;
    if (n <= 1)
        return turn_ns;
    if (sched->pace.is_alone)
        return cost_line_ns(tick, chunk) * n / chunk;
    double at_once = fmin(chunk, sched->pace.prompt_positions);
    return n / at_once * (turn_ns + at_once * tick->each_ns);
}

static double passes_ns(const struct sched *sched, enum sched_cost what, int32_t n)
{
    int32_t chunk = sched->config.prefill_chunk;
    double passes = (n + chunk - 1) / chunk;
    return passes * sched->costs[what].fixed_ns + n * sched->costs[what].each_ns;
}

/* Prelude and coda of a long call; beside decoding jobs only in the prompts' share of the time.
 * Those of single positions are part of the pace. */
static double call_fixed_ns(const struct sched *sched, const struct sched_job *job)
{
    if (job->call_positions <= 1)
        return 0;
    double ns = passes_ns(sched, SCHED_CODA, job->n_coda > 0 ? job->n_coda : job->call_positions);
    if (job->n_coda == 0 && job->step_idx == 0)
        ns += passes_ns(sched, SCHED_PRELUDE, job->call_positions);
    return sched->pace.is_alone ? ns : ns / sched->config.prefill_share;
}

double sched_prompt_ns(const struct sched *sched, const struct sched_job *job, double steps)
{
    double left = steps > job->step_idx ? steps - job->step_idx : 0;
    if (job->call_positions <= 1)
        return 0;
    if (job->n_coda > 0)
        return job->n_coda * sched->costs[SCHED_CODA].each_ns;
    double each = left * sched->costs[SCHED_TICK].each_ns + sched->costs[SCHED_CODA].each_ns;
    if (job->step_idx == 0)
        each += sched->costs[SCHED_PRELUDE].each_ns;
    return job->call_positions * each;
}

double sched_token_steps(const struct sched *sched, const struct sched_job *job)
{
    double steps = job->max_steps;
    if (job->token_ns > 0)
        steps = fmin(steps, (double)job->token_ns / sched->pace.turn_ns);
    return fmax(steps, job->min_steps);
}

struct sched_outlook sched_outlook_of(const struct sched *sched, const struct sched_job *job,
                                      double turn_ns)
{
    bool has_left = job->n_coda > 0;
    double most = job->is_elastic ? sched_token_steps(sched, job) : sched_expected_steps(sched, job);
    struct sched_outlook look = {
        .step_ns = has_left ? 0 : call_step_ns(sched, job->call_positions, turn_ns),
        .rest_ns = job->calls_left > 1 ? (job->calls_left - 1) * turn_ns : 0,
        .fixed_ns = call_fixed_ns(sched, job),
        .step_idx = job->step_idx,
        .min_steps = job->is_elastic ? job->min_steps : most,
        .max_steps = most,
    };
    if (job->call_positions > 1 && !has_left)
        look.lane_ns = job->call_positions / sched->pace.prompt_positions * turn_ns;
    return look;
}

double sched_outlook_ns(const struct sched_outlook *look, double steps)
{
    double now = steps > look->step_idx ? steps - look->step_idx : 0;
    return look->fixed_ns + now * look->step_ns + steps * look->rest_ns;
}

double sched_outlook_steps(const struct sched_outlook *look, double ns)
{
    double per_step = look->step_ns + look->rest_ns;
    if (!(per_step > 0))
        return look->max_steps; /* nothing left to choose */
    return (ns - look->fixed_ns + look->step_idx * look->step_ns) / per_step;
}

double sched_outlook_clamp(const struct sched_outlook *look, double steps)
{
    return fmax(look->min_steps, fmin(look->max_steps, steps));
}
