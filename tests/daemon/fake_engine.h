/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/daemon/fake_engine.h - an engine that computes nothing and does what the test says.
 *
 * It defines the functions of daemon/engine.h that the loop thread's side calls, so a program that
 * links it gets these instead of the real ones. Jobs are numbered in the order in which they were
 * submitted, from 0. Every call is safe from any thread; waits have a deadline and fail the test.
 */
#ifndef LATENTD_TESTS_DAEMON_FAKE_ENGINE_H
#define LATENTD_TESTS_DAEMON_FAKE_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/engine.h"

struct engine *fake_engine_create(ltd_mailbox_notify_fn notify, void *notify_arg);
void fake_engine_destroy(struct engine *engine);

/* How engine_submit behaves from now on: LTD_OK takes jobs, anything else refuses them. */
void fake_engine_refuse(struct engine *engine, enum ltd_code code);
/* engine_fits says no above this. */
void fake_engine_set_room(struct engine *engine, int32_t n_positions);
/* False: a cancel is only counted; otherwise the job ends as the cancel says. Default true. */
void fake_engine_obey_cancels(struct engine *engine, bool obeys);
/* engine_predict_end says so long from its `now_ns`; default 0. UINT64_MAX: never. */
void fake_engine_predict(struct engine *engine, uint64_t ns);
/* wait_ms of the stats; default 0. */
void fake_engine_set_wait(struct engine *engine, double wait_ms);

/* Wait until `n` jobs have been submitted in all. */
void fake_engine_wait_jobs(struct engine *engine, size_t n);
/* Wait until `n` cancels have come in all; how the last one wanted the job to end. */
enum engine_finish fake_engine_wait_cancels(struct engine *engine, size_t n);
size_t fake_engine_n_jobs(struct engine *engine);
const struct job_spec *fake_engine_spec(struct engine *engine, size_t job_idx);
/* The priority that engine_set_priority gave the job last, or -1; how often it was called in all. */
int32_t fake_engine_priority(struct engine *engine, size_t job_idx);
size_t fake_engine_n_priorities(struct engine *engine);

/* Events of a job. */
void fake_engine_start(struct engine *engine, size_t job_idx);
void fake_engine_start_predicted(struct engine *engine, size_t job_idx, int64_t predicted_end_us);
/* A token with everything that is known about it. */
void fake_engine_write(struct engine *engine, size_t job_idx, const struct engine_token *token,
                       const char *text, size_t text_len);
void fake_engine_token(struct engine *engine, size_t job_idx, int32_t id, const char *text,
                       size_t text_len);
void fake_engine_think(struct engine *engine, size_t job_idx, int32_t step);
/* Scores with steps 9, 10, 11, … */
void fake_engine_score(struct engine *engine, size_t job_idx, const float *logprobs, int32_t n);
void fake_engine_finish(struct engine *engine, size_t job_idx, enum engine_finish finish,
                        enum ltd_code error);
/* With text that was held back, and late. */
void fake_engine_finish_late(struct engine *engine, size_t job_idx, enum engine_finish finish,
                             const char *tail);
/* `n` tokens with ids first, first + 1, … in one go: the loop sees them in one turn. */
void fake_engine_tokens(struct engine *engine, size_t job_idx, int32_t first, int32_t n);

#endif
