/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/quota.h - how much one owner of jobs may have, and how many steps his hour has seen.
 *
 *     minute     …  12:01  12:02  …  13:00      an owner's last 60 minutes, one count each;
 *     steps          120      0        800      together they are his hour, which slides
 *
 * The job table charges steps as they are written, and asks before it makes a job. Time is handed in
 * (wall clock, microseconds), so the account can be filled again from the log after a restart: a
 * charge at a time that is over counts where it belongs, or not at all. A clock that is set back by
 * more than an hour counts nothing until it has caught up.
 *
 * Owners whose hour is empty are forgotten. Without memory for a new one his steps are not counted:
 * a service that is out of memory has worse to do than to refuse for a limit.
 * Pure but for its memory: reads no clock. Threads: loop thread.
 * Rules: docs/access.md.
 */
#ifndef LATENTD_DAEMON_QUOTA_H
#define LATENTD_DAEMON_QUOTA_H

#include <stdint.h>

#include "base/err.h"

/* Of one owner; 0 = no limit. */
struct quota_limits {
    uint32_t max_queued;         /* jobs that wait to start */
    uint32_t max_running;        /* jobs that run at once; for the scheduler's side of the table */
    uint64_t max_stored_bytes;   /* of event logs */
    uint64_t max_steps_per_hour; /* over all positions */
};

/* What the owner has now. */
struct quota_use {
    uint64_t n_queued;
    uint64_t stored_bytes;
    uint64_t running_steps; /* of jobs that are not finished and so not charged yet */
};

struct quota;

/* Errors: LTD_E_EXHAUSTED. Returns owned. */
struct quota *quota_create(struct ltd_err *err);
/* NULL is fine. */
void quota_destroy(struct quota *take_quota);

/*
 * quota_may_submit - may this owner have one more job?
 *
 * retry_ms  how long a new job would wait now; the hint of a refusal for too many waiting jobs
 * Errors: LTD_E_EXHAUSTED, reason QUOTA; with a hint when to try again where time alone helps.
 */
int quota_may_submit(const struct quota *quota, const char *owner,
                     const struct quota_limits *limits, const struct quota_use *use,
                     uint32_t retry_ms, int64_t now_us, struct ltd_err *err);

/* quota_charge_steps - `steps` more were taken at `at_us`, which may be long over. */
void quota_charge_steps(struct quota *quota, const char *owner, uint64_t steps, int64_t at_us);

/* Steps in the 60 minutes before `now_us`. */
uint64_t quota_steps(const struct quota *quota, const char *owner, int64_t now_us);

#endif
