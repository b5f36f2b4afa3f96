/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/job_given.h - what a job has from the process that accepted it, as its log records it.
 *
 *     model 5e…, bf16, tier avx2, …, keys f32, latest-m4, max_tokens 256, max_steps 64, early_steps 8 in int8
 *     └─────────── the process's numerics ─────────────┘└──────────────── given ────────────────────────┘
 *
 * A spec may leave things open; the process that accepts it fills them in. What it filled in stands
 * behind its numerics in the QUEUED event, so that an answer does not change in the middle when a
 * later process has other defaults. Early steps are in this part and not among the process's
 * numerics, because a job without any has the same bytes whether or not there is an early copy.
 *
 * Threads: plain values.
 */
#ifndef LATENTD_DAEMON_JOB_GIVEN_H
#define LATENTD_DAEMON_JOB_GIVEN_H

#include <stdbool.h>
#include <stdint.h>

#include "daemon/job.h"

struct job_given {
    int32_t max_tokens, max_steps;
    int32_t early_steps;   /* 0: made with the main copy throughout */
    char early_format[16]; /* what the others are made in; "" when early_steps is 0 */
};

/* job_given_put - the process's numerics and what it gave the job, as one text. */
void job_given_put(const char *numerics, const struct job_given *given,
                   char text[JOB_NUMERICS_BYTES]);

/* job_given_take - `text` is what stands behind the process's numerics. Nothing at all gives zeros:
 * logs of the first versions have no more. False when it is something else. */
bool job_given_take(const char *text, struct job_given *given);

/* job_early_steps - how many steps of each of its positions the job makes with the early copy. */
int32_t job_early_steps(const struct job *job);

#endif
