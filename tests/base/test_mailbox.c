/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_mailbox.c - nothing posted is lost, order is kept, and a sleeper is always woken.
 *
 * Run under the thread sanitizer as well. The threaded cases end by counting, not by waiting a time:
 * a lost message or a lost wake-up shows as a hang that the test's deadline turns into a failure.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/mailbox.h"

#define N_POSTERS  4
#define N_MAILS    20000
#define PATIENCE_S 120 /* far beyond any load that a test machine has */

struct mail {
    struct ltd_mail mail;
    int poster;
    int number;
};

static struct mail *mail_make(int poster, int number)
{
    struct mail *m = calloc(1, sizeof *m);
    assert_non_null(m);
    m->poster = poster;
    m->number = number;
    return m;
}

static void mails_come_out_in_the_order_they_went_in(void **state)
{
    (void)state;
    struct ltd_mailbox box;
    ltd_mailbox_init(&box, NULL, NULL);
    assert_null(ltd_mailbox_try_take(&box));
    assert_null(ltd_mailbox_take_all(&box));
    for (int i = 0; i < 5; i++)
        ltd_mailbox_post(&box, &mail_make(0, i)->mail);
    for (int i = 0; i < 2; i++) {
        struct mail *m = (struct mail *)ltd_mailbox_try_take(&box);
        assert_int_equal(m->number, i);
        assert_null(m->mail.next);
        free(m);
    }
    struct ltd_mail *next = ltd_mailbox_take_all(&box);
    for (int i = 2; i < 5; i++) {
        struct mail *m = (struct mail *)next;
        assert_non_null(m);
        assert_int_equal(m->number, i);
        next = m->mail.next;
        free(m);
    }
    assert_null(next);
    ltd_mailbox_post(&box, &mail_make(0, 9)->mail); /* still usable after it was emptied */
    free(ltd_mailbox_wait(&box, LTD_NEVER));
    ltd_mailbox_fini(&box);
}

static void waiting_ends_at_the_deadline_when_nothing_comes(void **state)
{
    (void)state;
    struct ltd_mailbox box;
    ltd_mailbox_init(&box, NULL, NULL);
    assert_null(ltd_mailbox_wait(&box, 0)); /* long past */
    uint64_t deadline = ltd_deadline_ns(20);
    assert_null(ltd_mailbox_wait(&box, deadline));
    assert_true(ltd_now_ns() >= deadline);
    ltd_mailbox_post(&box, &mail_make(0, 0)->mail);
    void *m = ltd_mailbox_wait(&box, 0); /* a mail that is there beats a deadline that is over */
    assert_non_null(m);
    free(m);
    ltd_mailbox_fini(&box);
}

static void count_notification(void *arg)
{
    ++*(int *)arg;
}

static void the_receiver_is_notified_once_per_time_the_box_was_empty(void **state)
{
    (void)state;
    int notified = 0;
    struct ltd_mailbox box;
    ltd_mailbox_init(&box, count_notification, &notified);
    for (int round = 1; round <= 3; round++) {
        for (int i = 0; i < 4; i++)
            ltd_mailbox_post(&box, &mail_make(0, i)->mail);
        assert_int_equal(notified, round);
        for (struct ltd_mail *m = ltd_mailbox_take_all(&box), *next; m; m = next) {
            next = m->next;
            free(m);
        }
    }
    ltd_mailbox_fini(&box);
}

struct poster {
    struct ltd_mailbox *box;
    int number;
};

static void *post_all(void *arg)
{
    struct poster *p = arg;
    for (int i = 0; i < N_MAILS; i++)
        ltd_mailbox_post(p->box, &mail_make(p->number, i)->mail);
    return NULL;
}

static void start_posters(struct ltd_mailbox *box, pthread_t *threads, struct poster *posters)
{
    for (int i = 0; i < N_POSTERS; i++) {
        posters[i] = (struct poster){.box = box, .number = i};
        assert_int_equal(pthread_create(&threads[i], NULL, post_all, &posters[i]), 0);
    }
}

static void several_posters_lose_nothing_and_each_keeps_its_order(void **state)
{
    (void)state;
    struct ltd_mailbox box;
    ltd_mailbox_init(&box, NULL, NULL);
    pthread_t threads[N_POSTERS];
    struct poster posters[N_POSTERS];
    int next[N_POSTERS] = {0};
    start_posters(&box, threads, posters);
    for (int i = 0; i < N_POSTERS * N_MAILS; i++) {
        struct mail *m = (struct mail *)ltd_mailbox_wait(&box, ltd_deadline_ns(PATIENCE_S * 1000));
        assert_non_null(m);
        assert_int_equal(m->number, next[m->poster]);
        next[m->poster]++;
        free(m);
    }
    for (int i = 0; i < N_POSTERS; i++)
        pthread_join(threads[i], NULL);
    assert_null(ltd_mailbox_try_take(&box));
    ltd_mailbox_fini(&box);
}

/* The way an event loop uses it: sleep until notified, then take everything. */
struct loop {
    pthread_mutex_t lock;
    pthread_cond_t woken;
    int wakes;
};

static void wake_loop(void *arg)
{
    struct loop *loop = arg;
    pthread_mutex_lock(&loop->lock);
    loop->wakes++;
    pthread_cond_signal(&loop->woken);
    pthread_mutex_unlock(&loop->lock);
}

static void wait_for_wake(struct loop *loop)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += PATIENCE_S;
    pthread_mutex_lock(&loop->lock);
    while (loop->wakes == 0)
        assert_int_equal(pthread_cond_timedwait(&loop->woken, &loop->lock, &until), 0);
    loop->wakes = 0;
    pthread_mutex_unlock(&loop->lock);
}

static void a_receiver_that_sleeps_until_notified_sees_every_mail(void **state)
{
    (void)state;
    struct loop loop = {.lock = PTHREAD_MUTEX_INITIALIZER, .woken = PTHREAD_COND_INITIALIZER};
    struct ltd_mailbox box;
    ltd_mailbox_init(&box, wake_loop, &loop);
    pthread_t threads[N_POSTERS];
    struct poster posters[N_POSTERS];
    start_posters(&box, threads, posters);
    int seen = 0;
    while (seen < N_POSTERS * N_MAILS) {
        wait_for_wake(&loop);
        for (struct ltd_mail *m = ltd_mailbox_take_all(&box), *next; m; m = next) {
            next = m->next;
            free(m);
            seen++;
        }
    }
    for (int i = 0; i < N_POSTERS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(seen, N_POSTERS * N_MAILS);
    ltd_mailbox_fini(&box);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mails_come_out_in_the_order_they_went_in),
        cmocka_unit_test(waiting_ends_at_the_deadline_when_nothing_comes),
        cmocka_unit_test(the_receiver_is_notified_once_per_time_the_box_was_empty),
        cmocka_unit_test(several_posters_lose_nothing_and_each_keeps_its_order),
        cmocka_unit_test(a_receiver_that_sleeps_until_notified_sees_every_mail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
