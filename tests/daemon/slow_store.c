/* SPDX-License-Identifier: Apache-2.0 */
/* tests/daemon/slow_store.c - see tests/daemon/slow_store.h. */
#include "slow_store.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct waiting {
    char id[JOB_ID_CHARS + 1];
    struct ltd_bytes event;
    enum ltd_code refusal; /* one before it was refused so; LTD_OK: none was */
    store_done_fn done;
    void *arg;
    struct waiting *next;
};

struct slow_store {
    struct store store; /* first */
    struct store *memory;
    struct waiting *first, **last;
    size_t n;
    bool hurries;
};

static struct slow_store *of(struct store *store)
{
    return (struct slow_store *)store;
}

static void slow_append(struct store *store, const char *id, struct job_event *event,
                        store_done_fn done, void *arg)
{
    struct slow_store *s = of(store);
    struct waiting *w = calloc(1, sizeof *w);
    assert_non_null(w);
    snprintf(w->id, sizeof w->id, "%s", id);
    job_event_encode(event, &w->event);
    w->done = done;
    w->arg = arg;
    *s->last = w;
    s->last = &w->next;
    s->n++;
    if (s->hurries)
        slow_store_release_all(store);
}

void slow_store_hurry(struct store *store)
{
    of(store)->hurries = true;
    slow_store_release_all(store);
}

size_t slow_store_n_waiting(const struct store *store)
{
    return ((const struct slow_store *)store)->n;
}

static void keep_result(void *arg, const struct ltd_err *result)
{
    *(struct ltd_err *)arg = *result;
}

/* Whole prefix or nothing: what waits behind a refused event of its job cannot be kept either. */
static void refuse_followers(struct slow_store *s, const char *id, enum ltd_code code)
{
    for (struct waiting *w = s->first; w; w = w->next)
        if (strcmp(w->id, id) == 0)
            w->refusal = code;
}

void slow_store_release(struct store *store, enum ltd_code code)
{
    struct slow_store *s = of(store);
    struct waiting *w = s->first;
    struct job_event event;
    struct ltd_err result = {0};
    assert_non_null(w);
    s->first = w->next;
    if (!s->first)
        s->last = &s->first;
    s->n--;
    assert_int_equal(job_event_decode(w->event.data, w->event.len, &event, &result), 0);
    if (w->refusal != LTD_OK)
        code = w->refusal;
    if (code != LTD_OK)
        refuse_followers(s, w->id, code);
    if (code == LTD_OK)
        store_append(s->memory, w->id, &event, keep_result, &result);
    else
        ltd_fail(&result, code, "the disk is full");
    w->done(w->arg, &result);
    ltd_bytes_fini(&w->event);
    free(w);
}

void slow_store_release_all(struct store *store)
{
    while (slow_store_n_waiting(store) > 0)
        slow_store_release(store, LTD_OK);
}

static const struct job *slow_find(struct store *store, const char *id)
{
    return store_find(of(store)->memory, id);
}

static const struct job *slow_find_request(struct store *store, const char *owner,
                                           const char *request_id)
{
    return store_find_request(of(store)->memory, owner, request_id);
}

static void slow_stop(struct store *store)
{
    slow_store_release_all(store);
}

static void slow_usage(struct store *store, const char *owner, struct store_usage *out)
{
    store_usage(of(store)->memory, owner, out);
}

static void slow_health(struct store *store, struct store_health *out)
{
    store_health(of(store)->memory, out);
}

static int slow_read(struct store *store, const struct job *job, uint64_t after_seq,
                     store_visit_fn visit, void *arg, struct ltd_err *err)
{
    return store_read(of(store)->memory, job, after_seq, visit, arg, err);
}

static size_t slow_list(struct store *store, const struct store_query *query,
                        const struct job **out, size_t max, bool *more)
{
    return store_list(of(store)->memory, query, out, max, more);
}

static void slow_pin(struct store *store, const struct job *job)
{
    store_pin(of(store)->memory, job);
}

static void slow_unpin(struct store *store, const struct job *job)
{
    store_unpin(of(store)->memory, job);
}

static void slow_forget(struct store *store, const struct job *job, store_done_fn done, void *arg)
{
    store_forget(of(store)->memory, job, done, arg);
}

static size_t slow_expire(struct store *store, int64_t now_us)
{
    return store_expire(of(store)->memory, now_us);
}

static void slow_destroy(struct store *store)
{
    assert_int_equal(of(store)->n, 0);
    store_destroy(of(store)->memory);
    free(store);
}

static const struct store_ops slow_ops = {
    .append = slow_append,
    .find = slow_find,
    .find_request = slow_find_request,
    .stop = slow_stop,
    .usage = slow_usage,
    .health = slow_health,
    .read = slow_read,
    .list = slow_list,
    .pin = slow_pin,
    .unpin = slow_unpin,
    .forget = slow_forget,
    .expire = slow_expire,
    .destroy = slow_destroy,
};

struct store *slow_store_create(void)
{
    struct store_retention keep = {1000, INT64_MAX / 2, SIZE_MAX}; /* an age that can be reached */
    struct slow_store *s = calloc(1, sizeof *s);
    assert_non_null(s);
    s->store.ops = &slow_ops;
    s->last = &s->first;
    s->memory = store_memory_create(&keep, NULL);
    assert_non_null(s->memory);
    return &s->store;
}
