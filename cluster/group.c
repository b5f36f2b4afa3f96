/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cluster/group.c - the rank thread of rank 0 and the two mailboxes around it.
 *
 * A `struct errand` carries one tick's bytes to the rank thread and the reply's bytes back. There
 * are as many as ticks may be outstanding, and one for STOP; their buffers keep their size, so a
 * steady stream allocates nothing.
 *
 *     free ──submit──▶ requests ──rank thread──▶ replies ──wait──▶ free
 *
 * Invariant: an errand is in exactly one place. After a fatal error the rank thread calls MPI no
 * more; it answers every further errand with that error until STOP comes.
 */
#include "cluster/group.h"

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mailbox.h"
#include "cluster/executor.h"
#include "cluster/record.h"
#include "cluster/world.h"

struct errand {
    struct ltd_mail mail; /* first: what the mailboxes link */
    bool is_stop;
    struct ltd_bytes request;
    struct ltd_bytes reply;
    struct ltd_err loss; /* LTD_OK, or why the group is lost */
};

struct clus_group {
    /* configuration */
    struct clus_group_config config;
    struct clus_limits limits;
    int32_t n_ranks;
    /* crossings */
    struct ltd_mailbox requests; /* to the rank thread */
    struct ltd_mailbox replies;  /* from it */
    /* state: engine thread */
    struct errand errands[CLUS_GROUP_MAX_OUTSTANDING + 1]; /* the last one is for STOP */
    struct errand *free[CLUS_GROUP_MAX_OUTSTANDING];
    int32_t n_free;
    struct clus_tick_buf buf; /* the reply that was handed out last */
    struct ltd_err loss;
    pthread_t thread;
    /* state: rank thread between start and join */
    struct clus_rank *rank;
    struct clus_record *record;
};

/* ---- rank thread -------------------------------------------------------------------------- */

/* A recording that cannot go on is given up; the service is worth more than its recording. */
static void record(struct clus_group *group, const struct errand *errand)
{
    struct ltd_err err = {0};
    if (!group->record ||
        clus_record_append(group->record, errand->request.data, errand->request.len, &err) == 0)
        return;
    ltd_warning("recording of ticks ends: %s", err.msg);
    clus_record_close(group->record, NULL);
    group->record = NULL;
}

/* The next errand; between two of them the workers may be sent to sleep. */
static struct errand *next_errand(struct clus_group *group, struct ltd_err *loss)
{
    for (;;) {
        uint64_t sleep_time_ns =
            loss->code == LTD_OK ? clus_rank_sleep_time(group->rank) : LTD_NEVER;
        struct ltd_mail *mail = ltd_mailbox_wait(&group->requests, sleep_time_ns);
        if (mail)
            return (struct errand *)mail;
        if (clus_rank_sleep(group->rank, loss))
            loss->code = LTD_E_RANK;
    }
}

static void *rank_main(void *arg)
{
    struct clus_group *group = arg;
    struct ltd_err loss = {0};
    bool is_over = false;
    while (!is_over) {
        struct errand *errand = next_errand(group, &loss);
        is_over = errand->is_stop;
        if (loss.code == LTD_OK) {
            record(group, errand);
            if (clus_rank_lead(group->rank, errand->request.data, errand->request.len,
                               &errand->reply, &loss))
                loss.code = LTD_E_RANK; /* whatever it was, the group cannot go on */
        }
        errand->loss = loss;
        ltd_mailbox_post(&group->replies, &errand->mail);
        if (group->config.on_reply && !is_over)
            group->config.on_reply(group->config.on_reply_arg);
    }
    return NULL;
}

/* Signals belong to the thread that waits for them; this one must not be chosen by the kernel. */
static int start_thread(struct clus_group *group, struct ltd_err *err)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&group->thread, NULL, rank_main, group);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc != 0)
        return ltd_fail(err, LTD_E_RANK, "create the rank thread: %s", strerror(rc));
    return 0;
}

/* ---- start and stop ----------------------------------------------------------------------- */

static void init_errands(struct clus_group *group)
{
    for (int32_t i = 0; i <= CLUS_GROUP_MAX_OUTSTANDING; i++) {
        ltd_bytes_init(&group->errands[i].request);
        ltd_bytes_init(&group->errands[i].reply);
    }
    for (int32_t i = 0; i < CLUS_GROUP_MAX_OUTSTANDING; i++)
        group->free[group->n_free++] = &group->errands[i];
}

static void destroy(struct clus_group *group)
{
    for (int32_t i = 0; i <= CLUS_GROUP_MAX_OUTSTANDING; i++) {
        ltd_bytes_fini(&group->errands[i].request);
        ltd_bytes_fini(&group->errands[i].reply);
    }
    clus_rank_close(group->rank);
    clus_record_close(group->record, NULL);
    clus_tick_buf_fini(&group->buf);
    ltd_mailbox_fini(&group->requests);
    ltd_mailbox_fini(&group->replies);
    free(group);
}

/* What rank 0 alone can fail at, after the ranks agreed: the workers are then told to stop, so that
 * all leave in order and the reason is what the operator reads. */
static int start_lead(struct clus_group *group, struct ltd_err *err)
{
    const char *path = group->config.record_path;
    struct errand *stop = &group->errands[CLUS_GROUP_MAX_OUTSTANDING];
    stop->is_stop = true;
    /* STOP must not need memory when it is sent. */
    if (clus_stop_encode(&stop->request, err))
        return -1; /* not even that: the workers find rank 0 gone */
    if ((!path || (group->record = clus_record_open(path, &group->limits, err))) &&
        start_thread(group, err) == 0)
        return 0;
    clus_rank_lead(group->rank, stop->request.data, stop->request.len, &stop->reply, NULL);
    return -1;
}

struct clus_group *clus_group_start(const struct clus_group_config *config, struct ltd_err *err)
{
    struct clus_rank *rank = clus_rank_open(&config->rank, err);
    if (!rank)
        return NULL;
    struct clus_group *group = calloc(1, sizeof *group);
    if (!group) {
        clus_rank_close(rank);
        return ltd_fail_null(err, LTD_E_RANK, "rank group: no memory");
    }
    group->config = *config;
    group->limits = clus_executor_config(config->rank.executor)->limits;
    group->n_ranks = clus_world_size(config->rank.world);
    group->rank = rank;
    ltd_mailbox_init(&group->requests, NULL, NULL);
    ltd_mailbox_init(&group->replies, NULL, NULL);
    clus_tick_buf_init(&group->buf);
    init_errands(group);
    if (start_lead(group, err)) {
        destroy(group);
        return NULL;
    }
    return group;
}

int clus_group_stop(struct clus_group *group, struct ltd_err *err)
{
    if (!group)
        return 0;
    struct errand *stop = &group->errands[CLUS_GROUP_MAX_OUTSTANDING];
    ltd_mailbox_post(&group->requests, &stop->mail);
    pthread_join(group->thread, NULL);
    while (ltd_mailbox_try_take(&group->replies))
        ;
    struct ltd_err loss = stop->loss;
    struct ltd_err failed = {0};
    if (clus_record_close(group->record, &failed))
        ltd_warning("recording of ticks: %s", failed.msg);
    group->record = NULL;
    destroy(group);
    return loss.code == LTD_OK ? 0 : ltd_fail(err, loss.code, "%s", loss.msg);
}

/* ---- engine thread ------------------------------------------------------------------------ */

int clus_group_submit(struct clus_group *group, const struct clus_tick *tick, struct ltd_err *err)
{
    if (group->loss.code != LTD_OK)
        return ltd_fail(err, group->loss.code, "%s", group->loss.msg);
    if (group->n_free == 0)
        return ltd_fail(err, LTD_E_EXHAUSTED, "%d ticks are outstanding, at most %d may be",
                        CLUS_GROUP_MAX_OUTSTANDING, CLUS_GROUP_MAX_OUTSTANDING);
    struct errand *errand = group->free[group->n_free - 1];
    ltd_bytes_clear(&errand->request);
    if (clus_tick_encode(tick, &group->limits, &errand->request, err))
        return -1;
    group->n_free--;
    ltd_mailbox_post(&group->requests, &errand->mail);
    return 0;
}

int clus_group_wait(struct clus_group *group, struct clus_reply *reply, uint64_t deadline_ns,
                    struct ltd_err *err)
{
    if (clus_group_outstanding(group) == 0)
        return ltd_fail(err, LTD_E_PRECONDITION, "no tick is outstanding");
    struct errand *errand = (struct errand *)ltd_mailbox_wait(&group->replies, deadline_ns);
    if (!errand)
        return 1;
    /* The bytes stay as they are until the errand is submitted again, which is after this call. */
    group->free[group->n_free++] = errand;
    if (errand->loss.code != LTD_OK) {
        group->loss = errand->loss;
        return ltd_fail(err, LTD_E_RANK, "%s", errand->loss.msg);
    }
    struct ltd_err why = {0};
    if (clus_reply_decode(errand->reply.data, errand->reply.len, &group->limits, &group->buf, reply,
                          &why) == 0)
        return 0;
    /* The rows have moved on and nobody knows their latents: there is no going on from here. */
    ltd_fail(&group->loss, LTD_E_RANK, "%s", why.msg);
    return ltd_fail(err, LTD_E_RANK, "%s", why.msg);
}

int32_t clus_group_outstanding(const struct clus_group *group)
{
    return CLUS_GROUP_MAX_OUTSTANDING - group->n_free;
}

const struct clus_rank_info *clus_group_info(const struct clus_group *group, int32_t *n_ranks)
{
    *n_ranks = group->n_ranks;
    return clus_rank_infos(group->rank);
}
