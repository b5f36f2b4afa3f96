/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base/mailbox.h - a queue of messages between two threads.
 *
 * Messages are intrusive: the first member of a message struct is `struct ltd_mail`, so posting
 * allocates nothing and cannot fail. Order of posting is kept. The receiver either sleeps in
 * ltd_mailbox_wait or, when it lives in an event loop, is told by the `notify` callback and then
 * takes everything with ltd_mailbox_take.
 *
 *     poster ──post──▶ [mail]─▶[mail]─▶[mail] ──take/wait──▶ receiver
 *
 * Threads: any number of posters, one receiver. Ownership of a message moves with it.
 */
#ifndef LATENTD_BASE_MAILBOX_H
#define LATENTD_BASE_MAILBOX_H

#include <pthread.h>
#include <stdint.h>

struct ltd_mail {
    struct ltd_mail *next; /* written by the mailbox only */
};

/* Called by the poster, outside the lock, after a mail was put into an empty mailbox. */
typedef void (*ltd_mailbox_notify_fn)(void *arg);

struct ltd_mailbox {
    pthread_mutex_t lock;
    pthread_cond_t arrived;
    struct ltd_mail *first;
    struct ltd_mail **last; /* where the next mail is linked */
    ltd_mailbox_notify_fn notify;
    void *notify_arg;
};

/* `notify` may be NULL. The box may be initialised before the receiving thread exists. */
void ltd_mailbox_init(struct ltd_mailbox *box, ltd_mailbox_notify_fn notify, void *notify_arg);
/* The box must be empty and no thread may be using it. */
void ltd_mailbox_fini(struct ltd_mailbox *box);

void ltd_mailbox_post(struct ltd_mailbox *box, struct ltd_mail *take_mail);

/* The oldest mail, or NULL when there is none. Never blocks on anything but the short lock. */
struct ltd_mail *ltd_mailbox_try_take(struct ltd_mailbox *box);

/* Everything, oldest first, as a chain through `next`; NULL when there is none. */
struct ltd_mail *ltd_mailbox_take_all(struct ltd_mailbox *box);

/*
 * ltd_mailbox_wait - the oldest mail, sleeping until there is one or `deadline_ns` (base/clock.h,
 * LTD_NEVER for no limit) has passed; NULL then.
 */
struct ltd_mail *ltd_mailbox_wait(struct ltd_mailbox *box, uint64_t deadline_ns);

#endif
