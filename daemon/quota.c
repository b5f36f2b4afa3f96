/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/quota.c - see daemon/quota.h.
 *
 * A minute's count stands at its number modulo 60, with the number, so a count of an hour ago is
 * seen to be old instead of being cleared in time. Owners are few (the names of an access file), so
 * chains behind a fixed number of heads do.
 */
#include "daemon/quota.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MINUTES       60
#define US_PER_MINUTE INT64_C(60000000)
#define N_HEADS       256
/* Forgetting is tried when a new owner comes and there are so many, then at twice as many. */
#define SWEEP_OWNERS_MIN 64
#define OWNER_BYTES      96

struct owner {
    char name[OWNER_BYTES];
    int64_t minute[MINUTES]; /* since 1970; 0: nothing was ever counted here */
    uint64_t steps[MINUTES];
    struct owner *next;
};

struct quota {
    struct owner *heads[N_HEADS];
    size_t n_owners, sweep_at;
};

struct quota *quota_create(struct ltd_err *err)
{
    struct quota *quota = calloc(1, sizeof *quota);
    if (!quota)
        return ltd_fail_null(err, LTD_E_EXHAUSTED, "no memory for the accounts of owners");
    quota->sweep_at = SWEEP_OWNERS_MIN;
    return quota;
}

void quota_destroy(struct quota *quota)
{
    for (size_t i = 0; quota && i < N_HEADS; i++) {
        for (struct owner *o = quota->heads[i], *next; o; o = next) {
            next = o->next;
            free(o);
        }
    }
    free(quota);
}

/* --------------------------------------------------------------------------------- owners */

/* FNV-1a, the published constants for 32 bits. */
static size_t head_of(const char *name)
{
    uint32_t hash = 2166136261u;
    for (; *name; name++)
        hash = (hash ^ (uint8_t)*name) * 16777619u;
    return hash % N_HEADS;
}

static struct owner *find(const struct quota *quota, const char *name)
{
    struct owner *o = quota->heads[head_of(name)];
    while (o && strcmp(o->name, name) != 0)
        o = o->next;
    return o;
}

/* A count belongs to the hour before `now` when its minute is one of the last 60, now's included. A
 * minute that is yet to come was counted before the clock was set back, and is not believed. */
static bool is_in_hour(int64_t minute, int64_t now)
{
    return minute > now - MINUTES && minute <= now;
}

/* Minutes behind `now` keep an owner: charges at times that are over come in any order. */
static bool has_empty_hour(const struct owner *o, int64_t now)
{
    for (int i = 0; i < MINUTES; i++)
        if (o->steps[i] && o->minute[i] > now - MINUTES)
            return false;
    return true;
}

static void sweep(struct quota *quota, int64_t now)
{
    for (size_t i = 0; i < N_HEADS; i++) {
        for (struct owner **link = &quota->heads[i], *o; (o = *link);) {
            if (has_empty_hour(o, now)) {
                *link = o->next;
                free(o);
                quota->n_owners--;
            } else {
                link = &o->next;
            }
        }
    }
    quota->sweep_at = quota->n_owners * 2;
    if (quota->sweep_at < SWEEP_OWNERS_MIN)
        quota->sweep_at = SWEEP_OWNERS_MIN;
}

static struct owner *make(struct quota *quota, const char *name, int64_t now)
{
    if (quota->n_owners >= quota->sweep_at)
        sweep(quota, now);
    struct owner *o = calloc(1, sizeof *o);
    if (!o)
        return NULL;
    snprintf(o->name, sizeof o->name, "%s", name);
    struct owner **head = &quota->heads[head_of(o->name)];
    o->next = *head;
    *head = o;
    quota->n_owners++;
    return o;
}

/* ---------------------------------------------------------------------------------- steps */

void quota_charge_steps(struct quota *quota, const char *owner, uint64_t steps, int64_t at_us)
{
    int64_t minute = at_us / US_PER_MINUTE;
    if (steps == 0 || minute <= 0)
        return;
    struct owner *o = find(quota, owner);
    if (!o)
        o = make(quota, owner, minute);
    if (!o)
        return;
    size_t i = (size_t)(minute % MINUTES);
    if (o->minute[i] > minute)
        return; /* an hour or more before what was counted since */
    if (o->minute[i] < minute) {
        o->minute[i] = minute;
        o->steps[i] = 0;
    }
    if (__builtin_add_overflow(o->steps[i], steps, &o->steps[i]))
        o->steps[i] = UINT64_MAX;
}

uint64_t quota_steps(const struct quota *quota, const char *owner, int64_t now_us)
{
    const struct owner *o = find(quota, owner);
    int64_t now = now_us / US_PER_MINUTE;
    uint64_t sum = 0;
    for (int i = 0; o && i < MINUTES; i++)
        if (is_in_hour(o->minute[i], now) && __builtin_add_overflow(sum, o->steps[i], &sum))
            return UINT64_MAX;
    return sum;
}

/* When the hour will have fallen below `max`: the oldest minutes leave it first. What is not charged yet
 * does not leave it; then the hint is an hour. */
static uint32_t wait_ms(const struct owner *o, uint64_t sum, uint64_t max, int64_t now_us)
{
    int64_t now = now_us / US_PER_MINUTE;
    int64_t minute = now - MINUTES + 1;
    for (; minute <= now && sum >= max; minute++) {
        size_t i = (size_t)(minute % MINUTES);
        if (o && o->minute[i] == minute)
            sum -= o->steps[i];
    }
    int64_t free_us = (minute - 1 + MINUTES) * US_PER_MINUTE;
    return (uint32_t)((free_us - now_us + 999) / 1000);
}

/* --------------------------------------------------------------------------------- submit */

static int refuse(struct ltd_err *err, uint32_t retry_ms)
{
    ltd_err_reason(err, "QUOTA");
    return retry_ms ? ltd_err_retry_after(err, retry_ms) : -1;
}

int quota_may_submit(const struct quota *quota, const char *owner,
                     const struct quota_limits *limits, const struct quota_use *use,
                     uint32_t retry_ms, int64_t now_us, struct ltd_err *err)
{
    if (limits->max_queued && use->n_queued >= limits->max_queued) {
        ltd_fail(err, LTD_E_EXHAUSTED, "%llu jobs of %s wait already, at most %u may",
                 (unsigned long long)use->n_queued, owner, limits->max_queued);
        return refuse(err, retry_ms);
    }
    if (limits->max_stored_bytes && use->stored_bytes >= limits->max_stored_bytes) {
        ltd_fail(err, LTD_E_EXHAUSTED,
                 "the jobs of %s hold %llu bytes, at most %llu may be held; delete some", owner,
                 (unsigned long long)use->stored_bytes,
                 (unsigned long long)limits->max_stored_bytes);
        return refuse(err, 0);
    }
    uint64_t steps = limits->max_steps_per_hour ? quota_steps(quota, owner, now_us) : 0;
    if (__builtin_add_overflow(steps, use->running_steps, &steps))
        steps = UINT64_MAX;
    if (limits->max_steps_per_hour && steps >= limits->max_steps_per_hour) {
        ltd_fail(err, LTD_E_EXHAUSTED, "%s took %llu steps in the last hour, at most %llu are his",
                 owner, (unsigned long long)steps, (unsigned long long)limits->max_steps_per_hour);
        return refuse(err, wait_ms(find(quota, owner), steps, limits->max_steps_per_hour, now_us));
    }
    return 0;
}
