/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/sched_pace.c - how long things take: a turn, a step of a call, the rest of a job.
 *
 * One turn is a tick for everybody who decodes and, for the few whose thought is done, a prelude, a
 * coda and a head. The cost lines give its time for any number of jobs. What they do not know (exit
 * rules, sampling, overlap, jobs that wait for their coda) shows as a ratio of what was to what the
 * lines say:
 *
 *     fast   time of a job's step, prompts beside it included: to steer by
 *     slow   the same without what the prompts should have taken: to predict with
 *     alone  time of a turn without prompts: what they are given a part of. Turns that held some
 *            do not count: what prompts take unforeseen must not raise what they are given
 *     dear   time that positions of prompts added to a tick: they read long contexts, of which a line
 *            over numbers of positions knows nothing
 */
#include <math.h>

#include "daemon/sched_private.h"

#define FADE_FAST  (1.0 - 1.0 / 128)
#define FADE_SLOW  (1.0 - 1.0 / 4096)
#define FADE_ALONE (1.0 - 1.0 / 512)
#define FADE_DEAR  (1.0 - 1.0 / 8)
#define EACH_LEAST 0.01  /* of what a tick takes in any case */
#define DEBT_MAX   256.0 /* turns' worth that prompts may owe: one broken measurement is forgotten */
#define PART_CALL  (1.0 / 256) /* of a call */
#define CALLS_MAX  32          /* of a job, that its mean goes back */
#define CALLS_ALL  2           /* that the mean of all jobs counts as, to one of them */
#define FAR_OFF    8.0         /* a turn longer than expected by this is cut there */
#define CORRECTION 16.0        /* more than this is a broken clock, not a slow machine */

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
    sched->thrift = 1;
    sched_pace_refresh(sched);
}

static double ratio_of(const struct sched_ratio *ratio)
{
    double value = ratio->model_ns > 0 ? ratio->was_ns / ratio->model_ns : 1;
    return fmax(1 / CORRECTION, fmin(CORRECTION, value));
}

static void learn(struct sched_ratio *ratio, double fade, double was_ns, double model_ns)
{
    ratio->was_ns = ratio->was_ns * fade + was_ns;
    ratio->model_ns = ratio->model_ns * fade + model_ns;
}

/* One more position in a tick, by the line; where that says that more are free, not quite. */
static double each_ns(const struct sched *sched)
{
    const struct cost_line *tick = &sched->costs[SCHED_TICK];
    return fmax(tick->each_ns, EACH_LEAST * tick->fixed_ns);
}

double sched_prompt_each_ns(const struct sched *sched)
{
    return ratio_of(&sched->dear) * each_ns(sched);
}

/* Prompts took more or less than their credit paid for. */
static void settle(struct sched *sched, double took, double foreseen)
{
    double least = fmin(sched->credit_ns, -DEBT_MAX * sched->planned.worth_ns);
    double error = fmin(took, FAR_OFF * foreseen) - foreseen;
    if (sched->planned.is_charged)
        sched->credit_ns = fmax(least, sched->credit_ns - error);
}

/* A tick with n_prompt positions of prompts: what these added is learned. */
static void measure_mixed(struct sched *sched, int32_t n_prompt, double ns)
{
    const struct cost_line *tick = &sched->costs[SCHED_TICK];
    double alone = tick->fixed_ns + sched->planned.n_positions * tick->each_ns;
    double added = fmax(ns - alone, 0), foreseen = n_prompt * sched_prompt_each_ns(sched);
    settle(sched, added, foreseen);
    learn(&sched->dear, FADE_DEAR, fmin(added, FAR_OFF * foreseen), n_prompt * each_ns(sched));
}

/*
 * The line of ticks is that of decoding jobs; until one has been seen alone, whatever there is must
 * do, and is forgotten then. Returns false when the line has nothing to learn from this tick.
 */
static bool measure_tick(struct sched *sched, int32_t n, double ns)
{
    struct cost_line *tick = &sched->costs[SCHED_TICK];
    int32_t n_prompt = sched->planned.prompt_ns > 0 ? n - sched->planned.n_positions : 0;
    if (n_prompt > 0 && sched->has_plain_ticks) {
        measure_mixed(sched, n_prompt, ns);
        return false;
    }
    if (n_prompt <= 0 && !sched->has_plain_ticks) {
        sched->has_plain_ticks = true;
        cost_line_init(tick, tick->fixed_ns, tick->each_ns);
    }
    return true;
}

void sched_measure(struct sched *sched, enum sched_cost what, int32_t n, uint64_t ns)
{
    const struct cost_line *tick = &sched->costs[SCHED_TICK];
    if (what == SCHED_TICK && !measure_tick(sched, n, (double)ns))
        return;
    if ((what == SCHED_PRELUDE && sched->planned.n_prelude > 0) ||
        (what == SCHED_CODA && sched->planned.n_coda > 0))
        settle(sched, (double)ns, cost_line_ns(&sched->costs[what], n));
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

double sched_pace_correction(const struct sched *sched)
{
    return ratio_of(&sched->slow);
}

double sched_pace_alone_ns(const struct sched *sched, int32_t n)
{
    return ratio_of(&sched->alone) * decode_ns(sched, n);
}

/* Positions that sched_plan gives prompts in the long run, if there are enough of them: beside the
 * decoding jobs as far as the credit goes, or as far as the room goes and then in their stead. */
static double prompt_positions(const struct sched *sched, int32_t n)
{
    double share = sched->config.prefill_share, each = sched_prompt_each_ns(sched);
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
    pace->turn_ns = ratio_of(&sched->fast) * step;
    pace->prompt_positions = prompt_positions(sched, sched->n_running);
}

void sched_pace_learn(struct sched *sched, uint64_t turn_ns)
{
    const struct sched_planned *planned = &sched->planned;
    double took = (double)turn_ns, prompts = planned->prompt_ns;
    double model = decode_ns(sched, planned->n_decoding), n_stepped = planned->n_ready;
    double most = FAR_OFF * (ratio_of(&sched->alone) * model + prompts);
    if (sched->n_ticked >= SCHED_LEARNED)
        took = fmin(took, most);
    if (planned->n_decoding > 0) { /* who is not ready spends the time, too, and gets no step */
        learn(&sched->fast, FADE_FAST, took * planned->n_decoding, model * n_stepped);
        learn(&sched->slow, FADE_SLOW, took * planned->n_decoding, (model + prompts) * n_stepped);
    }
    if (planned->n_positions > 0 && planned->prompt_ns == 0)
        learn(&sched->alone, FADE_ALONE, took, decode_ns(sched, planned->n_positions));
    sched->n_ticked += sched->n_ticked < SCHED_LEARNED;
    sched_pace_refresh(sched);
}

double sched_turn_ns(const struct sched *sched)
{
    if (sched->n_ticked < SCHED_LEARNED)
        return 0;
    return ratio_of(&sched->alone) * decode_ns(sched, sched->n_running);
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
        return (tick->fixed_ns + chunk * sched_prompt_each_ns(sched)) * n / chunk;
    double at_once = fmin(chunk, sched->pace.prompt_positions);
    return n / at_once * (turn_ns + at_once * sched_prompt_each_ns(sched));
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
    double each = left * sched_prompt_each_ns(sched) + sched->costs[SCHED_CODA].each_ns;
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
    double most =
        job->is_elastic ? sched_token_steps(sched, job) : sched_expected_steps(sched, job);
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
