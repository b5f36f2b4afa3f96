/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench/sched.c - what does the scheduler itself cost per tick?
 *
 * A service as the scheduler sees it: `slots` jobs that run, `waiting` jobs in line, sixteen
 * clients, four classes. Half of the jobs have a range of depths and a due time. A job writes 16
 * tokens at 32 steps; when it ends, it leaves and stands in line again as a new one, so admission
 * and the forecast of the load are part of what is measured. One tick is everything the engine asks
 * for: sched_next until nobody fits, sched_plan, sched_steps of every share, two measurements,
 * sched_ticked, and the ends of jobs.
 *
 *     decode    every slot decodes and fits
 *     prompts   every eighth slot has a prompt of 500 positions, beside those who decode
 *     scarce    a tick holds half of the slots, so that jobs must be picked in order
 *
 * The mean is processor time over all ticks; median, 99th of 100 and the longest are time on the
 * wall, which whoever else runs on the machine makes longer. Reading the clock is part of both.
 *
 * usage: bench_sched [ticks]     CSV on standard output
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "daemon/sched.h"

#define N_CLIENTS 16
#define STEPS     32
#define TOKENS    16
#define TURN_NS   (10 * LTD_NS_PER_MS)

enum mix { MIX_DECODE, MIX_PROMPTS, MIX_SCARCE, N_MIXES };
static const char *const mix_names[N_MIXES] = {"decode", "prompts", "scarce"};

struct service {
    struct sched *sched;
    struct sched_job *jobs; /* [n_jobs] */
    struct sched_share *shares;
    struct sched_places free;
    int32_t n_jobs, n_slots, n_made;
    enum mix mix;
    uint64_t now_ns; /* of the service; the machine's clock only measures */
};

static void begin_call(struct sched_job *job, int32_t n_positions)
{
    job->call_positions = job->n_ready = n_positions;
    job->is_prefill = n_positions > 1;
    job->step_idx = 0;
}

static bool add_job(struct service *s, struct sched_job *job)
{
    struct ltd_err err;
    char client[16];
    int32_t i = s->n_made++;
    *job = (struct sched_job){.priority = 14 + i % 4,
                              .n_pages = 1,
                              .n_rows = 1,
                              .min_steps = i % 2 ? 8 : STEPS,
                              .max_steps = STEPS,
                              .is_elastic = i % 2,
                              .due_ns = LTD_NEVER,
                              .calls_left = TOKENS};
    if (job->is_elastic)
        job->due_ns = s->now_ns + (uint64_t)(s->n_jobs / s->n_slots + 1) * TOKENS * STEPS * TURN_NS;
    begin_call(job, s->mix == MIX_PROMPTS && i % 8 == 0 ? 500 : 1);
    snprintf(client, sizeof client, "client-%d", i % N_CLIENTS);
    return sched_add(s->sched, job, client, s->now_ns, &err) == 0;
}

static bool open_service(struct service *s, enum mix mix, int32_t n_slots, int32_t n_waiting)
{
    struct ltd_err err = {0};
    int32_t max_batch = mix == MIX_SCARCE ? (n_slots + 1) / 2 : 2 * n_slots;
    const struct sched_config config = {.max_batch = max_batch,
                                        .prefill_chunk = max_batch < 32 ? max_batch : 32,
                                        .prefill_share = 0.5,
                                        .ageing_ns = 10 * LTD_NS_PER_S,
                                        .max_running = n_slots,
                                        .max_waiting = 2 * n_waiting + 2};
    *s = (struct service){.n_jobs = n_slots + n_waiting, .n_slots = n_slots, .mix = mix};
    s->now_ns = LTD_NS_PER_S;
    s->free = (struct sched_places){1 << 30, 1 << 30, n_slots};
    s->sched = sched_create(&config, &err);
    s->jobs = calloc((size_t)s->n_jobs, sizeof *s->jobs);
    s->shares = calloc((size_t)n_slots, sizeof *s->shares);
    if (!s->sched || !s->jobs || !s->shares)
        return false;
    for (int32_t i = 0; i < s->n_jobs; i++)
        if (!add_job(s, &s->jobs[i]))
            return false;
    return true;
}

static void close_service(struct service *s)
{
    for (int32_t i = 0; s->sched && i < s->n_jobs; i++)
        sched_remove(s->sched, &s->jobs[i], s->now_ns);
    sched_destroy(s->sched);
    free(s->jobs);
    free(s->shares);
}

/* What the model would have done to a job in this tick. Returns false when the job has ended. */
static bool step(const struct service *s, const struct sched_share *share)
{
    struct sched_job *job = share->job;
    if (share->n_coda > 0) {
        job->n_coda -= share->n_coda;
        if (job->n_coda > 0)
            return true;
    } else {
        job->n_ready -= share->n_positions;
        if (job->n_ready > 0)
            return true;
        job->n_ready = job->call_positions;
        if (++job->step_idx < sched_steps(s->sched, job, s->now_ns) && job->step_idx < STEPS)
            return true;
        if (job->call_positions > 1) {
            job->n_ready = 0;
            job->n_coda = job->call_positions;
            return true;
        }
    }
    begin_call(job, 1);
    return --job->calls_left > 0;
}

static bool tick(struct service *s)
{
    struct sched_job *job;
    while ((job = sched_next(s->sched, &s->free, s->now_ns))) {
        s->free.n_seqs--;
        sched_admitted(s->sched, job, s->now_ns);
    }
    int32_t n = sched_plan(s->sched, s->shares, s->now_ns), n_positions = 0;
    for (int32_t i = 0; i < n; i++)
        n_positions += s->shares[i].n_positions;
    uint64_t ns = TURN_NS + (uint64_t)n_positions * TURN_NS / 100;
    sched_measure(s->sched, SCHED_TICK, n_positions, ns);
    sched_measure(s->sched, SCHED_CODA, 1 + n / STEPS, TURN_NS / 2);
    s->now_ns += ns;
    sched_ticked(s->sched, s->shares, n, ns, s->now_ns);
    for (int32_t i = 0; i < n; i++) {
        if (step(s, &s->shares[i]))
            continue;
        job = s->shares[i].job;
        sched_remove(s->sched, job, s->now_ns);
        s->free.n_seqs++;
        if (!add_job(s, job))
            return false;
    }
    return true;
}

static int ascending(const void *a, const void *b)
{
    double u = *(const double *)a, v = *(const double *)b;
    return u < v ? -1 : u > v;
}

static double processor_us(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    return (double)ts.tv_sec * 1e6 + (double)ts.tv_nsec / 1e3;
}

static bool measure(enum mix mix, int32_t n_slots, int32_t n_waiting, int32_t n_ticks, double *us)
{
    struct service s;
    bool ok = open_service(&s, mix, n_slots, n_waiting);
    for (int32_t i = 0; i < 2 * TOKENS * STEPS && ok; i++)
        ok = tick(&s); /* two generations: ends are spread, costs are known */
    double began_us = processor_us();
    for (int32_t i = 0; i < n_ticks && ok; i++) {
        uint64_t began_ns = ltd_now_ns();
        ok = tick(&s);
        us[i] = (double)(ltd_now_ns() - began_ns) / 1e3;
    }
    double mean_us = (processor_us() - began_us) / n_ticks;
    close_service(&s);
    if (!ok)
        return false;
    qsort(us, (size_t)n_ticks, sizeof *us, ascending);
    printf("%s,%d,%d,%d,%.2f,%.2f,%.2f,%.2f\n", mix_names[mix], n_slots, n_waiting, n_ticks,
           mean_us, us[n_ticks / 2], us[n_ticks - 1 - n_ticks / 100], us[n_ticks - 1]);
    fflush(stdout);
    return true;
}

static void print_machine(int32_t n_ticks)
{
    char line[256], date[32];
    time_t now = time(NULL);
    FILE *f = fopen("/proc/cpuinfo", "r");
    strftime(date, sizeof date, "%Y-%m-%d", gmtime(&now));
    printf("# date: %s\n# commit: %s\n# command: bench_sched %d\n", date, BENCH_COMMIT, n_ticks);
    while (f && fgets(line, sizeof line, f))
        if (strncmp(line, "model name", 10) == 0) {
            printf("# machine:%s", strchr(line, ':') + 1);
            break;
        }
    if (f)
        fclose(f);
    printf("mix,slots,waiting,ticks,mean_us,median_us,p99_us,max_us\n");
}

int main(int argc, char **argv)
{
    static const int32_t slots[] = {1, 16, 64, 256}, waiting[] = {0, 256, 4096};
    int32_t n_ticks = argc > 1 ? atoi(argv[1]) : 20000;
    if (argc > 2 || n_ticks < 100) {
        fprintf(stderr, "usage: bench_sched [ticks >= 100]\n");
        return 2;
    }
    double *us = calloc((size_t)n_ticks, sizeof *us);
    print_machine(n_ticks);
    for (int m = 0; us && m < N_MIXES; m++)
        for (int i = 0; i < 4; i++)
            for (int k = 0; k < 3; k++)
                if (!measure((enum mix)m, slots[i], waiting[k], n_ticks, us)) {
                    fprintf(stderr, "bench_sched: no memory\n");
                    return 1;
                }
    free(us);
    return us ? 0 : 1;
}
