/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/sched_load.c - how much depth everybody gives up so that those in line are in time.
 *
 * Let all ranges shrink by the part L: max' = max - L (max - min). Then running jobs leave earlier,
 * those in line get their seats earlier, and of the depth that they would reach if they started now,
 * they keep a part a(L) >= 0, or are late, a(L) < 0. The load is where the part that running jobs
 * keep, 1 - L, meets the least part kept in line: everybody loses the same.
 *
 *     1 |\                      / a(L): a forecast of seats, one after the other, at every L tried
 *       |  \            ___---
 *       |    \  __---'
 *       |   __ x                    If a(L) does not rise (seats are held by fixed depths), nobody
 *     0 |__/_________\__ 1  L       shrinks for it. If it never meets, L = 1 is the best there is.
 *
 * And half a queue is the end of all ranges, whether anybody has a due time or not, so that nobody is
 * refused while there is depth to give.
 */
#include <math.h>

#include "daemon/sched_private.h"

#define BISECTIONS 8
#define NO_HELP    0.02 /* part gained in line, below which nobody shrinks for it */
#define EVERY      16   /* turns between two looks when nothing happened */
#define LOOKS      32   /* jobs to look at that are worth one more turn without a look */

struct forecast {
    int32_t n_running, n_line, n_seats;
    double kept;    /* out: least part of its depth that one in line keeps; 1: nobody loses */
    double seat_ns; /* out: from now, when the next ordinary job would get a seat */
};

/* ---- seats ---- */

/* seats[0] is the earliest; each is not later than its children 2 i + 1 and 2 i + 2. */
static void seat_sift(double *seats, int32_t n, int32_t at)
{
    double moved = seats[at];
    for (int32_t child; (child = 2 * at + 1) < n; at = child) {
        child += child + 1 < n && seats[child + 1] < seats[child];
        if (seats[child] >= moved)
            break;
        seats[at] = seats[child];
    }
    seats[at] = moved;
}

static double shrunk(const struct sched_outlook *look, double load)
{
    return look->max_steps - load * (look->max_steps - look->min_steps);
}

/* Mean of 1 / steps of those who run: how many turns have somebody at the border. */
static double mean_inverse(const struct sched *sched, const struct forecast *cast, double load)
{
    double sum = 0;
    for (int32_t i = 0; i < cast->n_running; i++) {
        const struct sched_outlook *look = &sched->outlooks[i];
        sum += 1 / sched_outlook_clamp(look, fmin(look->aim_steps, shrunk(look, load)));
    }
    return cast->n_running > 0 ? sum / cast->n_running : sched->pace.inverse_steps;
}

/* When the running jobs leave. Returns when the prompts that run are through. */
static double fill_seats(struct sched *sched, const struct forecast *cast, double load,
                         double scale)
{
    double lane = 0;
    int32_t n = 0;
    for (; n < cast->n_running; n++) {
        const struct sched_outlook *look = &sched->outlooks[n];
        double steps = sched_outlook_clamp(look, fmin(look->aim_steps, shrunk(look, load)));
        sched->seats[n] = scale * sched_outlook_ns(look, steps);
        if (steps > look->step_idx)
            lane += scale * look->lane_ns * (steps - look->step_idx);
    }
    for (; n < cast->n_seats; n++)
        sched->seats[n] = 0;
    for (int32_t i = n / 2 - 1; i >= 0; i--)
        seat_sift(sched->seats, n, i);
    return lane;
}

/* ---- the line ---- */

/* Depth that a job in line takes of what is left for it when it starts; notes the part it keeps. */
static double steps_from(const struct sched_outlook *look, double load, double start, double *kept)
{
    double steps = shrunk(look, load), range = look->max_steps - look->min_steps;
    if (look->end_ns == HUGE_VAL)
        return steps;
    double can = sched_outlook_steps(look, look->end_ns - start);
    double part = (can - look->min_steps) / (range > 0 ? range : look->min_steps);
    if (!(range > 0) && part >= 0)
        part = 1; /* a fixed depth is in time or late, and keeps everything or is late */
    if (look->is_counted)
        *kept = fmin(*kept, part);
    return sched_outlook_clamp(look, fmin(steps, can));
}

/* Everybody at max - load (max - min): who gets a seat when, and how much depth is left for it? */
static void foresee(struct sched *sched, struct forecast *cast, double load)
{
    double now_ns = sched_pace_step_ns(sched, sched->n_running, sched->pace.inverse_steps);
    double then_ns = sched_pace_step_ns(sched, sched->n_running, mean_inverse(sched, cast, load));
    double scale = now_ns > 0 ? then_ns / now_ns : 1, lane = fill_seats(sched, cast, load, scale);
    double *seats = sched->seats;
    bool is_past_ordinary = false;
    cast->kept = 1;
    for (int32_t i = cast->n_running; i < cast->n_running + cast->n_line; i++) {
        const struct sched_outlook *look = &sched->outlooks[i];
        if (!look->is_ordinary && !is_past_ordinary) {
            is_past_ordinary = true;
            cast->seat_ns = seats[0];
        }
        double start = look->lane_ns > 0 ? fmax(seats[0], lane) : seats[0];
        double steps = steps_from(look, load, start, &cast->kept), end = seats[0];
        end += scale * sched_outlook_ns(look, steps);
        if (look->lane_ns > 0) {
            lane = start + scale * look->lane_ns * steps; /* prompts go one after the other */
            end = fmax(end, lane);
        }
        seats[0] = end;
        seat_sift(seats, cast->n_seats, 0);
    }
    if (!is_past_ordinary)
        cast->seat_ns = seats[0];
}

static void look_around(struct sched *sched, struct forecast *cast, uint64_t now_ns)
{
    struct sched_outlook *look = sched->outlooks;
    double turn = sched->pace.turn_ns;
    for (int32_t i = 0; i < sched->n_running; i++, look++) {
        const struct sched_job *job = sched->running[i];
        *look = sched_outlook_of(sched, job, turn);
        look->aim_steps = sched_outlook_steps(look, sched_until(job->steer_ns, now_ns));
    }
    cast->n_running = sched->n_running;
    cast->n_line = sched_queue_list(sched, sched->line, SCHED_LOOKAHEAD);
    cast->n_seats = sched->n_seats > sched->n_running ? sched->n_seats : sched->n_running;
    for (int32_t i = 0; i < cast->n_line; i++, look++) {
        const struct sched_job *job = sched->line[i];
        *look = sched_outlook_of(sched, job, turn);
        look->end_ns = sched_until_wanted(sched, job, now_ns);
        look->is_ordinary = job->priority >= SCHED_PRIORITIES / 2;
        double can = sched_outlook_steps(look, look->end_ns);
        look->is_counted = can >= look->min_steps; /* else nothing would bring it in time */
        look->max_steps = sched_outlook_clamp(look, can);
    }
}

/* ---- the load ---- */

static double kept_at(struct sched *sched, struct forecast *cast, double load)
{
    foresee(sched, cast, load);
    return cast->kept;
}

static double even_load(struct sched *sched, struct forecast *cast)
{
    double low = 0, high = 1, at_rest = kept_at(sched, cast, 0);
    if (at_rest >= 1 - 1e-3)
        return 0;
    for (int32_t i = 0; i < BISECTIONS; i++) {
        double middle = (low + high) / 2;
        *(kept_at(sched, cast, middle) >= 1 - middle ? &high : &low) = middle;
    }
    return kept_at(sched, cast, high) - at_rest < NO_HELP ? 0 : high;
}

/* Those who find a free seat only pass through the queue. */
static double queue_load(const struct sched *sched)
{
    int32_t n_free = sched->n_seats > sched->n_running ? sched->n_seats - sched->n_running : 0;
    int32_t n = sched->n_waiting > n_free ? sched->n_waiting - n_free : 0;
    return fmin(1, 2.0 * n / sched->config.max_waiting);
}

/* The more there is to look at, the less often, unless it is little. */
static bool is_due(const struct sched *sched)
{
    int32_t n_line = sched->n_waiting < SCHED_LOOKAHEAD ? sched->n_waiting : SCHED_LOOKAHEAD;
    uint64_t age = sched->turn - sched->load_turn, size = (uint64_t)(sched->n_running + n_line);
    return age >= size / LOOKS + (sched->is_load_stale ? 0 : EVERY);
}

void sched_load_refresh(struct sched *sched, uint64_t now_ns)
{
    struct forecast cast = {0};
    if (!is_due(sched))
        return;
    look_around(sched, &cast, now_ns);
    sched->load = cast.n_line > 0 ? fmax(even_load(sched, &cast), queue_load(sched)) : 0;
    foresee(sched, &cast, sched->load);
    double beyond = cast.n_line > 0 ? (double)sched->n_waiting / cast.n_line : 1;
    sched->seat_ns = sched_from_now(now_ns, cast.seat_ns * fmax(1, beyond));
    sched->pace.inverse_steps = mean_inverse(sched, &cast, sched->load);
    sched_pace_refresh(sched);
    sched->load_turn = sched->turn;
    sched->is_load_stale = false;
}

double sched_load(const struct sched *sched)
{
    return sched->load;
}

uint64_t sched_wait_ns(const struct sched *sched, uint64_t now_ns)
{
    bool is_free = sched->n_waiting == 0 && sched->n_running < sched->n_seats;
    return is_free || sched->seat_ns <= now_ns ? 0 : sched->seat_ns - now_ns;
}
