/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/job.h - a job is its events: states, events, and the pure function that folds them.
 *
 *     QUEUED           STARTED            FINISHED
 *     ──────▶ queued ──────────▶ running ──────────▶ succeeded, cancelled or failed
 *             │ ▲   │             │   ▲
 *             │PRIORITY           TOKEN, PRIORITY
 *             └── FINISHED ────────────────────────▶ cancelled or failed
 *
 * `struct job` is what the events say and nothing else: replaying them gives the same struct, at
 * every prefix. A (state, event) pair without a row in the table is an error, never a shrug.
 * The event log (daemon/store.h) calls job_apply for each event that it accepts; everybody else
 * reads. Who runs the job, who watches it and when it is forgotten is not here.
 *
 * Threads: plain values; the daemon uses them on the loop thread.
 * Rules: docs/job-events.md.
 */
#ifndef LATENTD_DAEMON_JOB_H
#define LATENTD_DAEMON_JOB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"
#include "daemon/engine_event.h"
#include "daemon/spec.h"

#define JOB_ID_CHARS         26 /* 10 of time, 16 of chance; see job_id_make */
#define JOB_REQUEST_ID_CHARS 64
#define JOB_TIER_BYTES       16
#define JOB_OWNER_BYTES      96  /* with its NUL; an rpc_identity's name */
#define JOB_NUMERICS_BYTES   800 /* with its NUL */
#define JOB_GIVEN_BYTES      112 /* of it: what daemon/job_given.h writes */

/* A job's priority can be changed so often; a log has a bound (job_log_bytes_bound), and everything
 * that is counted in it must have one too. */
#define JOB_PRIORITY_CHANGES_MAX 1000

enum job_state {
    JOB_NONE, /* before the first event */
    JOB_QUEUED,
    JOB_RUNNING,
    JOB_SUCCEEDED,
    JOB_CANCELLED,
    JOB_FAILED,
    JOB_N_STATES
};

/* Columns of the transition table. FINISHED is one of three by its reason. The numbers are
 * stored. */
enum job_event_kind {
    JOB_EV_QUEUED,
    JOB_EV_STARTED,
    JOB_EV_TOKEN,
    JOB_EV_SUCCEEDED,
    JOB_EV_CANCELLED,
    JOB_EV_FAILED,
    JOB_EV_PRIORITY,
    JOB_EV_N_KINDS
};

/* Why a job ended. The numbers are stored and are those of latentd.v1.FinishReason. */
enum job_finish {
    JOB_FINISH_NONE = 0,
    JOB_FINISH_EOS = 1,
    JOB_FINISH_STOP = 2,
    JOB_FINISH_LENGTH = 3,
    JOB_FINISH_CANCELLED = 4,
    JOB_FINISH_DEADLINE = 5,
    JOB_FINISH_ERROR = 6,
};

/* The facts of a submission; part of the first event. Texts are borrowed, spec is not text. */
struct job_queued {
    const char *request_id; /* "" or 1..JOB_REQUEST_ID_CHARS printable ASCII characters */
    const char *label;      /* at most SPEC_LABEL_BYTES */
    const char *tier;       /* kernel tier that computes the job */
    const char *client;     /* on whose account it computes; at most SPEC_CLIENT_BYTES */
    const char *continues;  /* id of the job that this one goes on from, or "" */
    const char *owner;      /* who submitted it; "" = nobody in particular */
    const char *numerics;   /* everything that fixes the bytes of its answer beside its spec */
    bool is_attached;       /* it ends with the call that made it, so a restart cancels it */
    uint64_t seed;
    uint32_t prompt_tokens;
    uint32_t position;   /* jobs in front of it when it was queued */
    uint8_t priority;    /* 0 .. SPEC_PRIORITY_MAX */
    const uint8_t *spec; /* [spec_len] packed latentd.v1.JobSpec */
    size_t spec_len;
};

/* One immutable fact about a job. Only the member that `kind` names means something. */
struct job_event {
    enum job_event_kind kind;
    uint64_t seq;    /* 1, 2, …; given by the log */
    int64_t time_us; /* wall clock, since 1970 UTC */
    struct job_queued queued;
    struct {
        int64_t predicted_end_us; /* wall clock; 0 = unknown */
    } started;
    uint8_t priority; /* PRIORITY: the new one */
    struct engine_token token;
    struct {
        enum job_finish reason;
        struct ltd_err error; /* only with JOB_FINISH_ERROR; its hint is not kept */
        uint64_t total_steps; /* over all positions */
        bool late;            /* the time that the answer might cost had passed */
    } finished;
    const char *text; /* TOKEN: text that became certain; finished: the tail that was held back */
    size_t text_len;  /* whole code points */
};

/* What the events so far add up to. */
struct job {
    char id[JOB_ID_CHARS + 1];
    char request_id[JOB_REQUEST_ID_CHARS + 1];
    char label[SPEC_LABEL_BYTES + 1];
    char tier[JOB_TIER_BYTES];
    char client[SPEC_CLIENT_BYTES + 1];
    char continues[JOB_ID_CHARS + 1]; /* id of the job that it goes on from, or "" */
    char owner[JOB_OWNER_BYTES];      /* who may see it; "" = everybody */
    char numerics[JOB_NUMERICS_BYTES];
    bool is_attached;
    enum job_state state;
    uint64_t last_seq;                   /* 0 in JOB_NONE */
    int64_t create_us, start_us, end_us; /* 0 = not yet */
    int64_t predicted_end_us;            /* as said when it started; 0 = unknown */
    uint64_t seed;
    uint32_t priority; /* now, or the last one it had */
    uint32_t n_priority_changes;
    uint32_t prompt_tokens;
    uint32_t output_tokens;
    uint64_t total_steps; /* so far; a finished job has the engine's own count */
    enum job_finish finish;
    bool late;                /* finished after the time that its answer might cost */
    enum ltd_code error_code; /* only with JOB_FINISH_ERROR */
    char error_msg[LTD_ERR_MSG_BYTES];
};

/*
 * job_next_state - the transition table. False when the pair has no row; `*to` is then untouched.
 */
bool job_next_state(enum job_state from, enum job_event_kind kind, enum job_state *to);

/* Succeeded, cancelled or failed: no event can follow. */
bool job_state_is_final(enum job_state state);

/* "queued" and so on, for logs. Never NULL. */
const char *job_state_name(enum job_state state);
const char *job_event_kind_name(enum job_event_kind kind);

/* The table's column for a reason. */
enum job_event_kind job_finish_kind(enum job_finish reason);

/* job_init - a job before its first event. `id` has JOB_ID_CHARS characters. */
void job_init(struct job *job, const char *id);

/*
 * job_apply - fold one event into the job. Pure: depends on nothing but its arguments.
 *
 * Errors: LTD_E_CORRUPT for a pair without a row, a sequence number that is not the next, more
 *         tokens than a 32-bit count, or more changes of priority than JOB_PRIORITY_CHANGES_MAX;
 *         the job is then unchanged.
 */
int job_apply(struct job *job, const struct job_event *event, struct ltd_err *err);

/*
 * job_event_encode - append the stored form of an event (docs/job-events.md#stored-form) to `out`;
 * the sequence number is not part of it. Failure shows in out->failed.
 */
void job_event_encode(const struct job_event *event, struct ltd_bytes *out);

/*
 * job_event_decode - read one stored event back; texts and spec borrow from `data`.
 * Errors: LTD_E_CORRUPT naming the field. Bytes left over are an error too.
 */
int job_event_decode(const void *data, size_t len, struct job_event *event, struct ltd_err *err);

/* Upper bounds of stored sizes, for admission: nothing that was accepted may outgrow its log. */
size_t job_log_bytes_bound(const struct job_spec *spec, size_t token_text_bytes_max);
#define JOB_FINISHED_BYTES_MAX 1024 /* a FINISHED event without its text */

/*
 * job_id_make - 26 characters of [0-9a-v], sortable by time of making, hard to guess.
 *
 * Made from 48 bits of milliseconds and 80 random bits; ids of one process rise strictly, also
 * within a millisecond and when the clock is set back, because lists are paged by id.
 * Threads: loop thread (the last id is remembered in `maker`).
 */
struct job_id_maker {
    uint64_t last_ms;
    uint8_t chance[10]; /* the 80 random bits of the last id */
};
void job_id_make(struct job_id_maker *maker, char id[JOB_ID_CHARS + 1]);

/* True for text that job_id_make could have made. */
bool job_id_is_valid(const char *id, size_t len);

#endif
