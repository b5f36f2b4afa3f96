/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/daemon/store_rig.h - what the tests of the job logs share: a directory, a loop, events.
 *
 * Every case has a directory of its own and the loop that answers come from; rig_setup and
 * rig_teardown make and remove them. Threads: the test's.
 */
#ifndef LATENTD_TESTS_STORE_RIG_H
#define LATENTD_TESTS_STORE_RIG_H

#include <uv.h>

#include "daemon/store.h"

#define RIG_HUGE ((size_t)1 << 40)

extern uv_loop_t rig_loop;
extern char rig_directory[64];
extern char rig_path[100]; /* of the database in it */

int rig_setup(void **state);
int rig_teardown(void **state);
#define RIG_CASE(name) cmocka_unit_test_setup_teardown(name, rig_setup, rig_teardown)

/* The durable log; NULL and *err when it is refused. */
struct store *rig_try_open(struct ltd_err *err);
struct store *rig_open(void); /* must succeed; keeps everything */
struct store *rig_open_keeping(size_t max_jobs, int64_t max_age_us, size_t max_bytes);
void rig_close(struct store *store);

/* Turn the loop until nothing waits. */
void rig_settle(struct store *store);

/* Append and wait for the answer; the whole of it in rig_last_error. */
enum ltd_code rig_append(struct store *store, const char *id, struct job_event event);
extern struct ltd_err rig_last_error;

/* Append without waiting; must be accepted by the time of rig_settle. */
void rig_append_later(struct store *store, const char *id, struct job_event event);

struct job_event rig_queued(const char *request_id, const char *label);
struct job_event rig_started(void);
struct job_event rig_token(int32_t id, const char *text, size_t len);
struct job_event rig_priority(uint8_t value);
struct job_event rig_finished(enum job_finish reason, int64_t end_us);

/* A fresh id in `id`, which is returned. */
const char *rig_id(struct job_id_maker *maker, char id[JOB_ID_CHARS + 1]);

/* All events of a job in stored form, each behind its length; the caller frees. `*n` counts them. */
uint8_t *rig_read_all(struct store *store, const struct job *job, size_t *len, size_t *n,
                      struct ltd_err *err);

/* One statement on the file, from outside; the number that it gives, or 0. */
int64_t rig_sql(const char *sql);

/* A file as bytes, and back. */
uint8_t *rig_load_file(const char *path, size_t *len);
void rig_save_file(const char *path, const uint8_t *data, size_t len);

#endif
