/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/fuzz_job_event.c - a job's log as it is read back from a store.
 *
 * Input: events in their stored form, each behind two octets of length, little endian; the last one
 * takes what is left.
 * Checked: what the decoder accepts the encoder turns back into the same bytes, and its texts are
 * strings within their bounds; an event that job_apply refuses leaves the job as it was; states
 * follow the table and none follows a final one; folding the same log again gives the same job.
 */
#include <stdlib.h>
#include <string.h>

#include "daemon/job.h"
#include "tests/fuzz/fuzz.h"

#define ID "0123456789abcdefghijklmnop"

static void check_event(const struct job_event *event, const uint8_t *data, size_t len)
{
    struct ltd_bytes again;
    ltd_bytes_init(&again);
    job_event_encode(event, &again);
    FUZZ_CHECK(!again.failed && again.len == len && memcmp(again.data, data, len) == 0,
               "%zu bytes of a %s event accepted, %zu others written", len,
               job_event_kind_name(event->kind), again.len);
    ltd_bytes_fini(&again);
    if (event->kind == JOB_EV_QUEUED)
        FUZZ_CHECK(strlen(event->queued.request_id) <= JOB_REQUEST_ID_CHARS &&
                       strlen(event->queued.numerics) < JOB_NUMERICS_BYTES &&
                       strlen(event->queued.owner) < JOB_OWNER_BYTES,
                   "a text beyond its bound");
    if (event->kind == JOB_EV_TOKEN)
        FUZZ_CHECK(event->token.n_top >= -1 && event->token.n_top <= SPEC_LOGPROBS_MAX,
                   "%d alternatives", event->token.n_top);
}

static void apply(struct job *job, struct job_event *event)
{
    struct ltd_err err = {0};
    struct job before = *job;
    enum job_state to;
    event->seq = job->last_seq + 1;
    if (job_apply(job, event, &err) != 0) {
        fuzz_check_refusal(&err);
        FUZZ_CHECK(memcmp(&before, job, sizeof before) == 0, "a refused %s event changed the job",
                   job_event_kind_name(event->kind));
        return;
    }
    FUZZ_CHECK(!job_state_is_final(before.state), "a %s event was accepted behind the end",
               job_event_kind_name(event->kind));
    FUZZ_CHECK(job_next_state(before.state, event->kind, &to) && to == job->state, "%s became %s",
               job_state_name(before.state), job_state_name(job->state));
    FUZZ_CHECK(job->last_seq == before.last_seq + 1, "event %llu",
               (unsigned long long)job->last_seq);
}

static void fold(struct job *job, const uint8_t *data, size_t len)
{
    memset(job, 0, sizeof *job); /* padding too, because jobs are compared as bytes */
    job_init(job, ID);
    while (len > 0) {
        size_t n = len >= 2 ? (size_t)data[0] | (size_t)data[1] << 8 : len;
        size_t head = len >= 2 ? 2 : 0;
        n = n < len - head ? n : len - head;
        struct ltd_err err = {0};
        struct job_event event;
        uint8_t *copy = fuzz_copy(data + head, n);
        if (job_event_decode(copy, n, &event, &err) == 0) {
            check_event(&event, copy, n);
            apply(job, &event);
        } else {
            fuzz_check_refusal(&err);
        }
        free(copy);
        data += head + n;
        len -= head + n;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static struct job once, twice;
    fold(&once, data, len);
    fold(&twice, data, len);
    FUZZ_CHECK(memcmp(&once, &twice, sizeof once) == 0, "one log, two jobs");
    return 0;
}
