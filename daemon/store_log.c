/* SPDX-License-Identifier: Apache-2.0 */
/* daemon/store_log.c - see daemon/store_log.h. */
#include "daemon/store_log.h"

#include <stdlib.h>
#include <string.h>

static int no_memory(const char *job_id, struct ltd_err *err)
{
    return ltd_fail(err, LTD_E_EXHAUSTED, "job %s: no memory for its log", job_id);
}

/* Room for one more event of `len` bytes, and for what comes after it. */
static int make_room(struct store_log *log, size_t len, size_t after, const char *job_id,
                     struct ltd_err *err)
{
    size_t n_ends = (size_t)log->n + 2; /* this one and the last one */
    if (log->bytes.len + len + after > STORE_JOB_BYTES_MAX)
        return ltd_fail(err, LTD_E_EXHAUSTED, "job %s: its log would exceed %zu bytes", job_id,
                        STORE_JOB_BYTES_MAX);
    if (!ltd_bytes_reserve(&log->bytes, len + after)) {
        log->bytes.failed = false; /* nothing was written; what is there is whole */
        return no_memory(job_id, err);
    }
    if (n_ends <= log->ends_room)
        return 0;
    size_t room = log->ends_room ? log->ends_room * 2 : 8;
    uint32_t *ends = realloc(log->ends, room * sizeof *ends);
    if (!ends)
        return no_memory(job_id, err);
    log->ends = ends;
    log->ends_room = room;
    return 0;
}

int store_log_put(struct store_log *log, const void *data, size_t len, size_t after,
                  const char *job_id, struct ltd_err *err)
{
    if (make_room(log, len, after, job_id, err) != 0)
        return -1;
    ltd_bytes_put(&log->bytes, data, len);
    log->ends[log->n++] = (uint32_t)log->bytes.len;
    return 0;
}

const uint8_t *store_log_get(const struct store_log *log, uint64_t seq, size_t *len)
{
    ltd_assert(seq >= 1 && seq <= log->n, seq, log->n);
    size_t begin = seq == 1 ? 0 : log->ends[seq - 2];
    *len = log->ends[seq - 1] - begin;
    return log->bytes.data + begin;
}

int store_log_read(const struct store_log *log, uint64_t after_seq, uint64_t last_seq,
                   store_visit_fn visit, void *arg, struct ltd_err *err)
{
    for (uint64_t seq = after_seq + 1; seq <= last_seq; seq++) {
        struct job_event event;
        size_t len;
        const uint8_t *data = store_log_get(log, seq, &len);
        if (job_event_decode(data, len, &event, err) != 0)
            return ltd_err_context(err, "event %llu", (unsigned long long)seq);
        event.seq = seq;
        if (!visit(arg, &event))
            break;
    }
    return 0;
}

void store_log_cut(struct store_log *log, uint64_t n)
{
    if (n >= log->n)
        return;
    log->n = n;
    log->bytes.len = n ? log->ends[n - 1] : 0;
}

void store_log_trim(struct store_log *log)
{
    uint8_t *data = realloc(log->bytes.data, log->bytes.len);
    if (data) {
        log->bytes.data = data;
        log->bytes.capacity = log->bytes.len;
    }
    uint32_t *ends = realloc(log->ends, (size_t)log->n * sizeof *ends);
    if (ends) {
        log->ends = ends;
        log->ends_room = (size_t)log->n;
    }
}

size_t store_log_bytes(const struct store_log *log)
{
    return log->bytes.capacity + log->ends_room * sizeof *log->ends;
}

void store_log_fini(struct store_log *log)
{
    ltd_bytes_fini(&log->bytes);
    free(log->ends);
    *log = (struct store_log){0};
}
