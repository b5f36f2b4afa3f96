/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/store_log.h - the events of one job in memory: one byte string, and where each event ends.
 *
 *     bytes  [event 1][event 2][event 3]…     stored form (docs/job-events.md#stored-form)
 *     ends   [end of 1][end of 2]…            event n is bytes[ends[n-2] .. ends[n-1])
 *
 * Bounded by STORE_JOB_BYTES_MAX. Room for the last event is asked for with every event before it, so
 * that a job can end when memory is out.
 * Threads: plain memory; the stores use it on the loop thread.
 */
#ifndef LATENTD_DAEMON_STORE_LOG_H
#define LATENTD_DAEMON_STORE_LOG_H

#include "base/bytes.h"
#include "base/err.h"
#include "daemon/store.h"

struct store_log {
    struct ltd_bytes bytes;
    uint32_t *ends; /* [ends_room], n of them are set */
    size_t ends_room;
    uint64_t n;
};

/*
 * store_log_put - append one stored event.
 *
 * after   bytes that must still fit behind it: JOB_FINISHED_BYTES_MAX, or 0 for the last event
 * job_id  for messages
 * Errors: LTD_E_EXHAUSTED (the bound, memory); the log is then unchanged.
 */
int store_log_put(struct store_log *log, const void *data, size_t len, size_t after,
                  const char *job_id, struct ltd_err *err);

/* Event `seq`, 1 to n; borrowed until the log changes. */
const uint8_t *store_log_get(const struct store_log *log, uint64_t seq, size_t *len);

/*
 * store_log_read - hand events after_seq + 1 to last_seq to `visit` (daemon/store.h).
 * Errors: LTD_E_CORRUPT when the bytes make no sense.
 */
int store_log_read(const struct store_log *log, uint64_t after_seq, uint64_t last_seq,
                   store_visit_fn visit, void *arg, struct ltd_err *err);

/* Only the first `n` events stay. */
void store_log_cut(struct store_log *log, uint64_t n);

/* A log that grows no more: give back what doubling left over. */
void store_log_trim(struct store_log *log);

/* Memory behind the struct. */
size_t store_log_bytes(const struct store_log *log);

void store_log_fini(struct store_log *log); /* empty again, and usable */

#endif
