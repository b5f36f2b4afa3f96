/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/sched_depth.c - how deep an elastic job may think, and when its answer will be ready.
 *
 * A job with a due time is told at admission when it will end (aim_ns), and from then on gets
 *
 *     steps = time until then / (calls left * turn)
 *
 * which comes out right whatever the pace does in between, as far as min and max allow. Depth can
 * be taken back but not added beyond max_steps, so the prediction leans to a pace that is fast: it
 * counts jobs that come in the meantime only beyond one standard deviation of their number, and
 * prompts only those that are here. If more come, the job pays with depth; a prediction that counted
 * on them would be wrong whenever they stay away.
 */
#include <math.h>

#include "base/clock.h"
#include "daemon/sched_private.h"

#define MARGIN       0.05 /* of a budget, kept for what cannot be foreseen */
#define MARGIN_TURNS 2.0
#define SLIP         0.08 /* of the predicted time, that a job may miss its aim by to stay deep */
#define AHEAD        0.5  /* of the load that may still come, that a new job plans for */
#define LIVES        8.0  /* lives of a job, over which arrivals are counted */
#define FADE         (1.0 / 16) /* of a job, in means over jobs */

double sched_until(uint64_t at_ns, uint64_t now_ns)
{
    if (at_ns == LTD_NEVER)
        return HUGE_VAL;
    return at_ns >= now_ns ? (double)(at_ns - now_ns) : -(double)(now_ns - at_ns);
}

uint64_t sched_from_now(uint64_t now_ns, double ns)
{
    if (!(ns > 0))
        return now_ns;
    double room = (double)(LTD_NEVER - now_ns) / 2; /* half: rounding must not reach NEVER */
    return ns < room ? now_ns + (uint64_t)ns : LTD_NEVER - 1;
}

double sched_until_wanted(const struct sched *sched, const struct sched_job *job, uint64_t now_ns)
{
    if (job->due_ns == LTD_NEVER)
        return HUGE_VAL;
    double budget = sched_until(job->due_ns, job->added_ns);
    return sched_until(job->due_ns, now_ns) - MARGIN * fmax(budget, 0) -
           MARGIN_TURNS * sched->pace.turn_ns;
}

double sched_under_load(const struct sched_job *job, double load)
{
    return job->is_elastic ? job->max_steps - load * (job->max_steps - job->min_steps)
                           : job->max_steps;
}

/* ---- what is to be expected ---- */

/* Admissions per ns; 0 while nothing is known. */
static double rate_of(const struct sched *sched, uint64_t now_ns)
{
    const struct sched_traffic *traffic = &sched->traffic;
    double window = LIVES * traffic->life_ns;
    if (!(window > 0))
        return 0;
    double seen = -expm1(-sched_until(now_ns, traffic->first_ns) / window);
    double fade = exp(-sched_until(now_ns, traffic->last_ns) / window);
    return traffic->per_ns * fade / fmax(seen, 1 / LIVES);
}

void sched_traffic_admitted(struct sched *sched, uint64_t now_ns)
{
    struct sched_traffic *traffic = &sched->traffic;
    double window = LIVES * traffic->life_ns;
    if (traffic->first_ns == 0)
        traffic->first_ns = traffic->last_ns = now_ns;
    if (window > 0) {
        double fade = exp(-sched_until(now_ns, traffic->last_ns) / window);
        traffic->per_ns = traffic->per_ns * fade + 1 / window;
    }
    traffic->last_ns = now_ns;
}

void sched_traffic_left(struct sched *sched, const struct sched_job *job, uint64_t now_ns)
{
    struct sched_traffic *traffic = &sched->traffic;
    double life = sched_until(now_ns, job->admitted_ns);
    double part = traffic->life_ns > 0 ? FADE : 1;
    traffic->life_ns += part * (life - traffic->life_ns);
}

/* Jobs that come in the next `ns` and will run then, mean over that time, less one deviation. */
static double newcomers(const struct sched *sched, double ns, uint64_t now_ns)
{
    double life = sched->traffic.life_ns, rate = rate_of(sched, now_ns);
    double mean = rate * (ns < life ? ns / 2 : life - life * life / (2 * ns));
    double variance = mean * 2 / 3; /* of an average over the arrivals of a Poisson process */
    return rate > 0 ? fmax(0, mean - sqrt(variance)) : 0;
}

/* A turn, mean over the next `ns`: those who run now leave, others come. */
static double turn_during(const struct sched *sched, const struct sched_job *job, double ns,
                          uint64_t now_ns)
{
    double inverse = sched->pace.inverse_steps, call_ns = sched->pace.turn_ns / inverse;
    double n = 1 + sched->n_waiting + newcomers(sched, ns, now_ns);
    for (int32_t i = 0; i < sched->n_running; i++) {
        const struct sched_job *other = sched->running[i];
        double left = (other->calls_left > 1 ? other->calls_left : 1) * call_ns;
        n += other == job ? 0 : left < ns ? left / ns : 1;
    }
    n = n < sched->n_seats ? n : sched->n_seats;
    int32_t low = (int32_t)n;
    double turn = sched_pace_step_ns(sched, low, inverse);
    turn += (n - low) * (sched_pace_step_ns(sched, low + 1, inverse) - turn);
    return turn * sched_pace_correction(sched);
}

static double prompt_steps(const struct sched *sched, const struct sched_job *job)
{
    return job->is_elastic ? sched_under_load(job, sched->load) : sched_expected_steps(sched, job);
}

/* What the prompts of others will add, at most the prompts' share of the time. */
static double prompts_during(const struct sched *sched, const struct sched_job *job,
                             double decode_ns)
{
    double sum = 0, share = sched->config.prefill_share;
    for (int32_t i = 0; i < sched->n_running; i++) {
        const struct sched_job *other = sched->running[i];
        if (other != job)
            sum += sched_prompt_ns(sched, other, prompt_steps(sched, other));
    }
    return fmin(sum, decode_ns * share / (1 - share));
}

void sched_depth_aim(struct sched *sched, struct sched_job *job, uint64_t now_ns)
{
    double load = sched->load + AHEAD * sched->load * (1 - sched->load);
    double steps = sched_under_load(job, load);
    struct sched_outlook look = sched_outlook_of(sched, job, sched->pace.turn_ns);
    double planned = sched_outlook_clamp(&look, steps), end = sched_outlook_ns(&look, planned);
    for (int32_t i = 0; i < 3; i++) { /* who is there until the end depends on when that is */
        look = sched_outlook_of(sched, job, turn_during(sched, job, end, now_ns));
        look.fixed_ns += prompts_during(sched, job, planned * look.rest_ns);
        end = sched_outlook_ns(&look, planned);
    }
    job->steer_ns = LTD_NEVER;
    if (job->is_elastic && job->due_ns != LTD_NEVER) {
        double wanted = sched_until_wanted(sched, job, now_ns);
        double can = sched_outlook_steps(&look, wanted);
        end = sched_outlook_ns(&look, sched_outlook_clamp(&look, fmin(steps, can)));
        /* What will be late in any case hurries: every step above the least makes it later. */
        job->steer_ns = sched_from_now(now_ns, fmin(end * (1 + SLIP), wanted));
    }
    bool is_known = sched->n_ticked >= SCHED_LEARNED;
    job->aim_ns = is_known ? sched_from_now(now_ns, end) : LTD_NEVER;
}

/* ---- steps ---- */

/* As a number that is not whole yet. */
static double wanted_steps(const struct sched *sched, const struct sched_job *job, uint64_t now_ns)
{
    if (!job->is_elastic)
        return sched_expected_steps(sched, job);
    double steps = fmin(sched_under_load(job, sched->load), sched_token_steps(sched, job));
    if (job->state != SCHED_RUNNING || job->steer_ns == LTD_NEVER ||
        sched->n_ticked < SCHED_LEARNED)
        return steps;
    double left = sched_until(job->steer_ns, now_ns), turn = sched->pace.turn_ns;
    if (job->call_positions > 1) {
        struct sched_outlook look = sched_outlook_of(sched, job, turn);
        return fmin(steps, sched_outlook_steps(&look, left));
    }
    double calls = job->calls_left > 1 ? job->calls_left : 1; /* the same, for the common case */
    return fmin(steps, (left + job->step_idx * turn) / (calls * turn));
}

/*
 * Fractions are spread over calls, so that 7.5 steps are 7 and 8 in turn; which, is fixed by the
 * call, so that a thought does not waver while it goes on.
 */
int32_t sched_steps(const struct sched *sched, const struct sched_job *job, uint64_t now_ns)
{
    if (!job->is_elastic)
        return job->max_steps;
    double golden = ((double)(job->number & 0xffff) + job->calls_left) * 0.61803398874989485;
    double whole = wanted_steps(sched, job, now_ns) + (golden - (double)(int64_t)golden);
    int32_t least = job->min_steps > job->step_idx + 1 ? job->min_steps : job->step_idx + 1;
    if (!(whole >= least + 1))
        return least;
    return whole < job->max_steps ? (int32_t)whole : job->max_steps;
}

uint64_t sched_predict_end(const struct sched *sched, const struct sched_job *job, uint64_t now_ns)
{
    struct sched_outlook look = sched_outlook_of(sched, job, sched->pace.turn_ns);
    double steps = wanted_steps(sched, job, now_ns), wait = 0;
    if (sched->n_ticked < SCHED_LEARNED)
        return LTD_NEVER;
    if (job->state != SCHED_RUNNING) {
        wait = (double)sched_wait_ns(sched, now_ns);
        double wanted = job->due_ns == LTD_NEVER ? HUGE_VAL : sched_until(job->due_ns, now_ns);
        steps = fmin(steps, sched_outlook_steps(&look, wanted - wait));
    }
    double ns = sched_outlook_ns(&look, sched_outlook_clamp(&look, steps));
    return sched_from_now(now_ns, wait + ns);
}
