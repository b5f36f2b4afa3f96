/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench/latency.c - how long callers wait while every core computes.
 *
 *     bench_latency ADDRESS SECONDS JOBS [TOKENS [STEPS]]
 *
 * Keeps JOBS jobs running on the service at ADDRESS, follows one of them, and asks Health.Check every
 * 10 ms meanwhile. Prints, in milliseconds: what a Check took as its caller saw it, and how long after
 * sampling (JobEvent.time_us, the daemon's clock) a token event was in its reader's hands. Both ends are
 * on one host, so this program is one more runnable thread among those that compute.
 *
 * Three threads, a client each; results go to standard output as CSV (bench/results/).
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "grpc/health/v1/health.pb-c.h"
#include "latentd/v1/latentd.pb-c.h"
#include "rpc/client.h"

#define SAMPLES_MAX 1000000

struct samples {
    double *ms;
    size_t n;
};

struct setup {
    const char *address;
    uint64_t stop_ns;
    uint32_t n_jobs, n_tokens, n_steps;
};

static struct samples checks, events;
static _Atomic bool is_over;

static void add(struct samples *s, double ms)
{
    if (s->n < SAMPLES_MAX)
        s->ms[s->n++] = ms;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void print_row(const char *name, struct samples *s)
{
    if (s->n == 0) {
        printf("%s,0,,,,\n", name);
        return;
    }
    qsort(s->ms, s->n, sizeof *s->ms, compare);
    printf("%s,%zu,%.2f,%.2f,%.2f,%.2f\n", name, s->n, s->ms[s->n / 2],
           s->ms[(size_t)((double)s->n * 0.99)], s->ms[(size_t)((double)s->n * 0.999)],
           s->ms[s->n - 1]);
}

static latentd_client *must_open(const char *address)
{
    latentd_error err;
    latentd_client *client = latentd_client_open(address, 5000, &err);
    if (!client) {
        fprintf(stderr, "bench_latency: %s: %s\n", address, err.message);
        exit(1);
    }
    return client;
}

/* ---------------------------------------------------------------------------------- jobs */

static size_t pack_spec(const struct setup *setup, uint32_t seed, uint8_t *out)
{
    Latentd__V1__GenerateRequest request = LATENTD__V1__GENERATE_REQUEST__INIT;
    Latentd__V1__JobSpec spec = LATENTD__V1__JOB_SPEC__INIT;
    Latentd__V1__Prompt prompt = LATENTD__V1__PROMPT__INIT;
    Latentd__V1__TokenIds ids = LATENTD__V1__TOKEN_IDS__INIT;
    Latentd__V1__Depth depth = LATENTD__V1__DEPTH__INIT;
    Latentd__V1__Sampling sampling = LATENTD__V1__SAMPLING__INIT;
    uint32_t tokens[] = {5, 6, 7, 8};
    ids.n_ids = 4;
    ids.ids = tokens;
    prompt.kind_case = LATENTD__V1__PROMPT__KIND_TOKENS;
    prompt.tokens = &ids;
    depth.mode_case = LATENTD__V1__DEPTH__MODE_FIXED_STEPS;
    depth.fixed_steps = setup->n_steps;
    sampling.seed_set_case = LATENTD__V1__SAMPLING__SEED_SET_SEED;
    sampling.seed = seed;
    spec.prompt = &prompt;
    spec.depth = &depth;
    spec.sampling = &sampling;
    spec.max_tokens = setup->n_tokens;
    spec.ignore_eos = 1;
    request.spec = &spec;
    return latentd__v1__generate_request__pack(&request, out);
}

struct follower {
    const struct setup *setup;
    latentd_client *client;
    uint32_t seed;
    bool is_measured;
};

static void begin(struct follower *f);

static int on_event(void *arg, const uint8_t *data, size_t len)
{
    struct follower *f = arg;
    if (!f->is_measured)
        return is_over;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    Latentd__V1__JobEvent *event = latentd__v1__job_event__unpack(NULL, len, data);
    if (event && event->event_case == LATENTD__V1__JOB_EVENT__EVENT_TOKENS)
        add(&events,
            (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6 - (double)event->time_us / 1e3);
    latentd__v1__job_event__free_unpacked(event, NULL);
    return is_over;
}

static void on_done(void *arg, const latentd_error *result)
{
    struct follower *f = arg;
    if (result->status != LATENTD_OK && !is_over) {
        fprintf(stderr, "bench_latency: a job ended: %s\n", result->message);
        exit(1);
    }
    if (!is_over)
        begin(f);
}

static void begin(struct follower *f)
{
    static const latentd_call_events callbacks = {.on_message = on_event, .on_done = on_done};
    uint8_t packed[512];
    latentd_request request = {.path = "/latentd.v1.Inference/Generate", .data = packed};
    latentd_error err;
    request.len = pack_spec(f->setup, f->seed++, packed);
    if (!latentd_call_start(f->client, &request, &callbacks, f, &err)) {
        fprintf(stderr, "bench_latency: %s\n", err.message);
        exit(1);
    }
}

/* All jobs but one on one connection; the one that is measured on its own. */
static void *run_jobs(void *arg)
{
    struct follower *f = arg;
    uint32_t n = f->is_measured ? 1 : f->setup->n_jobs - 1;
    struct follower *all = calloc(n ? n : 1, sizeof *all);
    f->client = must_open(f->setup->address);
    for (uint32_t i = 0; all && i < n; i++) {
        all[i] = *f;
        all[i].seed += i * 100000;
        begin(&all[i]);
    }
    latentd_client_run(f->client);
    latentd_client_close(f->client);
    free(all);
    return NULL;
}

/* -------------------------------------------------------------------------------- checks */

static void check_health(const struct setup *setup)
{
    latentd_client *client = must_open(setup->address);
    struct timespec pause = {.tv_nsec = 10 * 1000 * 1000};
    while (ltd_now_ns() < setup->stop_ns) {
        latentd_request request = {.path = "/grpc.health.v1.Health/Check", .timeout_ms = 10000};
        latentd_bytes answer;
        latentd_error err;
        uint64_t begin_ns = ltd_now_ns();
        if (latentd_client_unary(client, &request, &answer, &err) != 0) {
            fprintf(stderr, "bench_latency: Check: %s\n", err.message);
            exit(1);
        }
        add(&checks, (double)(ltd_now_ns() - begin_ns) / 1e6);
        latentd_bytes_free(&answer);
        nanosleep(&pause, NULL);
    }
    latentd_client_close(client);
}

int main(int argc, char **argv)
{
    if (argc < 4) {
        fprintf(stderr, "usage: bench_latency ADDRESS SECONDS JOBS [TOKENS [STEPS]]\n");
        return 2;
    }
    struct setup setup = {
        .address = argv[1],
        .stop_ns = ltd_deadline_ns((uint64_t)atoi(argv[2]) * 1000),
        .n_jobs = (uint32_t)atoi(argv[3]),
        .n_tokens = argc > 4 ? (uint32_t)atoi(argv[4]) : 100,
        .n_steps = argc > 5 ? (uint32_t)atoi(argv[5]) : 32,
    };
    checks.ms = calloc(SAMPLES_MAX, sizeof *checks.ms);
    events.ms = calloc(SAMPLES_MAX, sizeof *events.ms);
    struct follower measured = {.setup = &setup, .seed = 1, .is_measured = true};
    struct follower others = {.setup = &setup, .seed = 1000000};
    pthread_t threads[2];
    if (!checks.ms || !events.ms || pthread_create(&threads[0], NULL, run_jobs, &measured) ||
        pthread_create(&threads[1], NULL, run_jobs, &others))
        return 1;
    check_health(&setup);
    is_over = true;
    pthread_join(threads[0], NULL);
    pthread_join(threads[1], NULL);
    printf("# commit: %s\n# command: bench_latency", BENCH_COMMIT);
    for (int i = 1; i < argc; i++)
        printf(" %s", argv[i]);
    printf("\nwhat,n,p50_ms,p99_ms,p999_ms,max_ms\n");
    print_row("health_check", &checks);
    print_row("token_event", &events);
    free(checks.ms);
    free(events.ms);
    return 0;
}
