/* SPDX-License-Identifier: Apache-2.0 */
/* base/mailbox.c - a list under one short lock; see base/mailbox.h. */
#include "base/mailbox.h"

#include <stdbool.h>
#include <stddef.h>
#include <time.h>

#include "base/clock.h"
#include "base/err.h"

void ltd_mailbox_init(struct ltd_mailbox *box, ltd_mailbox_notify_fn notify, void *notify_arg)
{
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&box->lock, NULL);
    pthread_cond_init(&box->arrived, &attr);
    pthread_condattr_destroy(&attr);
    box->first = NULL;
    box->last = &box->first;
    box->notify = notify;
    box->notify_arg = notify_arg;
}

void ltd_mailbox_fini(struct ltd_mailbox *box)
{
    ltd_assert(box->first == NULL, 0, 0);
    pthread_cond_destroy(&box->arrived);
    pthread_mutex_destroy(&box->lock);
}

void ltd_mailbox_post(struct ltd_mailbox *box, struct ltd_mail *take_mail)
{
    take_mail->next = NULL;
    pthread_mutex_lock(&box->lock);
    bool was_empty = box->first == NULL;
    *box->last = take_mail;
    box->last = &take_mail->next;
    pthread_cond_signal(&box->arrived);
    pthread_mutex_unlock(&box->lock);
    if (was_empty && box->notify)
        box->notify(box->notify_arg);
}

static struct ltd_mail *unlink_first(struct ltd_mailbox *box)
{
    struct ltd_mail *mail = box->first;
    if (!mail)
        return NULL;
    box->first = mail->next;
    if (!box->first)
        box->last = &box->first;
    mail->next = NULL;
    return mail;
}

struct ltd_mail *ltd_mailbox_try_take(struct ltd_mailbox *box)
{
    pthread_mutex_lock(&box->lock);
    struct ltd_mail *mail = unlink_first(box);
    pthread_mutex_unlock(&box->lock);
    return mail;
}

struct ltd_mail *ltd_mailbox_take_all(struct ltd_mailbox *box)
{
    pthread_mutex_lock(&box->lock);
    struct ltd_mail *first = box->first;
    box->first = NULL;
    box->last = &box->first;
    pthread_mutex_unlock(&box->lock);
    return first;
}

struct ltd_mail *ltd_mailbox_wait(struct ltd_mailbox *box, uint64_t deadline_ns)
{
    pthread_mutex_lock(&box->lock);
    while (!box->first) {
        if (deadline_ns == LTD_NEVER) {
            pthread_cond_wait(&box->arrived, &box->lock);
            continue;
        }
        if (ltd_now_ns() >= deadline_ns)
            break;
        struct timespec ts = {.tv_sec = (time_t)(deadline_ns / LTD_NS_PER_S),
                              .tv_nsec = (long)(deadline_ns % LTD_NS_PER_S)};
        pthread_cond_timedwait(&box->arrived, &box->lock, &ts);
    }
    struct ltd_mail *mail = unlink_first(box);
    pthread_mutex_unlock(&box->lock);
    return mail;
}
