/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base/clock.h - the only place that reads a clock.
 *
 * Durations and deadlines inside the program are uint64_t nanoseconds of the monotonic clock, and
 * their names end in _ns. The wall clock serves records and logs only, never a decision.
 */
#ifndef LATENTD_BASE_CLOCK_H
#define LATENTD_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

#define LTD_NS_PER_MS 1000000ull
#define LTD_NS_PER_S  1000000000ull
#define LTD_NEVER     UINT64_MAX /* a deadline that does not come */

/* Nanoseconds since an arbitrary point; never goes back. Any thread. */
static inline uint64_t ltd_now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * LTD_NS_PER_S + (uint64_t)ts.tv_nsec;
}

/* Microseconds since 1970 UTC, for records that people read. Any thread. */
static inline int64_t ltd_wall_us(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

/* A deadline `ms` milliseconds from now; saturates at LTD_NEVER. */
static inline uint64_t ltd_deadline_ns(uint64_t ms)
{
    uint64_t now = ltd_now_ns();
    if (ms > (LTD_NEVER - now) / LTD_NS_PER_MS)
        return LTD_NEVER;
    return now + ms * LTD_NS_PER_MS;
}

#endif
