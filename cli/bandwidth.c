/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli/bandwidth.c - see cli/bandwidth.h.
 *
 * Threads are started once and told by a round's number when to read, so that starting them is no
 * part of what is measured. Each one writes its part of the buffer first: where memory has a nearest
 * processor, that is the one that reads it.
 */
#include "cli/bandwidth.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/clock.h"

#define WORD_BYTES 8
#define LANES      8 /* sums side by side: an addition must not wait for the one before */

enum task { TASK_FILL, TASK_READ_ALONE, TASK_READ_SHARE, TASK_END };

struct crew {
    uint64_t *words; /* [n_words] */
    uint64_t n_words;
    uint32_t n_threads;
    pthread_mutex_t lock;
    pthread_cond_t has_work, is_done;
    enum task task;
    uint64_t round; /* goes up when there is a new task */
    uint32_t n_busy;
    uint64_t sum; /* of what was read in the round: proof that it was */
};

struct member {
    struct crew *crew;
    uint32_t idx;
    pthread_t thread;
};

static uint64_t sum_of(const uint64_t *words, uint64_t n)
{
    uint64_t lanes[LANES] = {0}, sum = 0;
    uint64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (uint64_t k = 0; k < LANES; k++)
            lanes[k] += words[i + k];
    for (; i < n; i++)
        sum += words[i];
    for (uint64_t k = 0; k < LANES; k++)
        sum += lanes[k];
    return sum;
}

static uint64_t work(const struct member *member, enum task task)
{
    const struct crew *crew = member->crew;
    uint64_t begin = crew->n_words * member->idx / crew->n_threads;
    uint64_t end = crew->n_words * (member->idx + 1) / crew->n_threads;
    switch (task) {
    case TASK_FILL:
        for (uint64_t i = begin; i < end; i++)
            crew->words[i] = 1;
        return 0;
    case TASK_READ_ALONE:
        return member->idx == 0 ? sum_of(crew->words, crew->n_words) : 0;
    case TASK_READ_SHARE:
        return sum_of(crew->words + begin, end - begin);
    case TASK_END:
        break;
    }
    return 0;
}

static void *serve(void *arg)
{
    const struct member *member = arg;
    struct crew *crew = member->crew;
    enum task task = TASK_FILL;
    for (uint64_t round = 0; task != TASK_END;) {
        pthread_mutex_lock(&crew->lock);
        while (crew->round == round)
            pthread_cond_wait(&crew->has_work, &crew->lock);
        round = crew->round;
        task = crew->task;
        pthread_mutex_unlock(&crew->lock);
        uint64_t sum = work(member, task);
        pthread_mutex_lock(&crew->lock);
        crew->sum += sum;
        if (--crew->n_busy == 0)
            pthread_cond_signal(&crew->is_done);
        pthread_mutex_unlock(&crew->lock);
    }
    return NULL;
}

/* Let the first `n_started` members do `task`; returns the bytes per second of the whole buffer. */
static double run_round(struct crew *crew, uint32_t n_started, enum task task)
{
    pthread_mutex_lock(&crew->lock);
    crew->task = task;
    crew->round++;
    crew->n_busy = n_started;
    crew->sum = 0;
    uint64_t begin_ns = ltd_now_ns();
    pthread_cond_broadcast(&crew->has_work);
    while (crew->n_busy > 0)
        pthread_cond_wait(&crew->is_done, &crew->lock);
    uint64_t ns = ltd_now_ns() - begin_ns;
    pthread_mutex_unlock(&crew->lock);
    if (task == TASK_READ_ALONE || task == TASK_READ_SHARE)
        ltd_assert(crew->sum == crew->n_words, crew->sum, crew->n_words);
    return (double)(crew->n_words * WORD_BYTES) * (double)LTD_NS_PER_S / (double)(ns ? ns : 1);
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void read_in_pairs(struct crew *crew, struct cli_bandwidth *out)
{
    double one[CLI_BANDWIDTH_PAIRS], all[CLI_BANDWIDTH_PAIRS];
    run_round(crew, crew->n_threads, TASK_FILL);
    for (size_t i = 0; i < CLI_BANDWIDTH_PAIRS; i++) {
        one[i] = run_round(crew, crew->n_threads, TASK_READ_ALONE);
        all[i] = run_round(crew, crew->n_threads, TASK_READ_SHARE);
    }
    qsort(one, CLI_BANDWIDTH_PAIRS, sizeof one[0], by_size);
    qsort(all, CLI_BANDWIDTH_PAIRS, sizeof all[0], by_size);
    out->one = one[CLI_BANDWIDTH_PAIRS / 2];
    out->all = all[CLI_BANDWIDTH_PAIRS / 2];
    out->least = all[0];
    out->most = all[CLI_BANDWIDTH_PAIRS - 1];
}

static int measure(struct crew *crew, struct member *members, struct cli_bandwidth *out,
                   struct ltd_err *err)
{
    uint32_t n_started = 0;
    int why = 0;
    for (; n_started < crew->n_threads && why == 0; n_started += why == 0) {
        members[n_started] = (struct member){.crew = crew, .idx = n_started};
        why = pthread_create(&members[n_started].thread, NULL, serve, &members[n_started]);
    }
    if (why == 0)
        read_in_pairs(crew, out);
    run_round(crew, n_started, TASK_END);
    for (uint32_t i = 0; i < n_started; i++)
        pthread_join(members[i].thread, NULL);
    return why == 0 ? 0
                    : ltd_fail(err, LTD_E_EXHAUSTED, "start thread %u of %u: %s", n_started + 1,
                               crew->n_threads, strerror(why));
}

uint64_t cli_bandwidth_buffer(uint64_t cache_bytes, uint64_t memory_bytes)
{
    uint64_t wanted = cache_bytes > UINT64_MAX / 8 ? UINT64_MAX : 8 * cache_bytes;
    if (wanted < (uint64_t)256 << 20)
        wanted = (uint64_t)256 << 20;
    return wanted < memory_bytes / 4 ? wanted : memory_bytes / 4;
}

int cli_bandwidth_measure(uint32_t n_threads, uint64_t buffer_bytes, struct cli_bandwidth *out,
                          struct ltd_err *err)
{
    struct crew crew = {.n_words = buffer_bytes / WORD_BYTES, .n_threads = n_threads};
    struct member *members = calloc(n_threads, sizeof *members);
    void *buffer =
        mmap(NULL, buffer_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    *out = (struct cli_bandwidth){.n_threads = n_threads, .buffer_bytes = buffer_bytes};
    int rc = -1;
    if (!members || buffer == MAP_FAILED) {
        ltd_fail(err, LTD_E_EXHAUSTED, "no memory for a buffer of %llu bytes",
                 (unsigned long long)buffer_bytes);
        goto out;
    }
    /* As weights are held: large pages where they are to be had. */
    madvise(buffer, buffer_bytes, MADV_HUGEPAGE);
    crew.words = buffer;
    pthread_mutex_init(&crew.lock, NULL);
    pthread_cond_init(&crew.has_work, NULL);
    pthread_cond_init(&crew.is_done, NULL);
    rc = measure(&crew, members, out, err);
    pthread_cond_destroy(&crew.is_done);
    pthread_cond_destroy(&crew.has_work);
    pthread_mutex_destroy(&crew.lock);
out:
    if (buffer != MAP_FAILED)
        munmap(buffer, buffer_bytes);
    free(members);
    return rc;
}
