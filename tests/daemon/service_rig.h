/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/daemon/service_rig.h - the real endpoint over a fake engine, and clients to call it.
 *
 * A thread runs the loop with the real rpc server, handlers, job table and log; the test's own
 * thread is the clients and the engine. Every wait has a deadline.
 */
#ifndef LATENTD_TESTS_DAEMON_SERVICE_RIG_H
#define LATENTD_TESTS_DAEMON_SERVICE_RIG_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <uv.h>

#include "daemon/served.h"
#include "daemon/service.h"
#include "fake_engine.h"
#include "rpc/client.h"
#include "rpc/server.h"

/* Compare two statuses by name, with the line of the test. */
#define EXPECT_STATUS(found, expected)                                                             \
    do {                                                                                           \
        int found_ = (found);                                                                      \
        if (found_ != (expected))                                                                  \
            fail_msg("line %d: found %s, expected %s", __LINE__, latentd_status_name(found_),      \
                     latentd_status_name(expected));                                               \
    } while (0)

struct rig {
    uv_loop_t loop;
    uv_async_t door; /* runs `errand` on the loop */
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t done;
    void (*errand)(struct rig *rig);
    bool is_errand_done, is_ending;
    struct served served;
    struct service service;
    struct rpc_method methods[SERVICE_N_METHODS];
    struct rpc_server *server;
    struct engine *engine;
    char address[64];
    latentd_client *client;
    const char *token; /* of rig_log_in, borrowed; NULL: none */
    uint32_t retry_ms; /* of the last rig_call: retry_after_ms of its failure, or 0 */
    char reason[64];   /* of the last rig_call's failure, or "" */
};

/* Two jobs run at once, and `max_waiting` more may be unfinished. */
struct rig *rig_open(int32_t max_waiting, size_t jobs_kept);
/* The same with an access file; `client` is nobody until rig_log_in. */
struct rig *rig_open_access(int32_t max_waiting, size_t jobs_kept, const char *access_file);
void rig_close(struct rig *rig);

/* From now on `client`, and streams that are opened, show this token, which is borrowed. */
void rig_log_in(struct rig *rig, const char *token);

/* Run `errand` on the loop thread and wait for it. */
void rig_on_loop(struct rig *rig, void (*errand)(struct rig *rig));

/*
 * rig_call - one unary call. Returns the status; *answer (may be NULL) is the unpacked response of
 * type `type` or NULL. `message` [480] gets the status text.
 */
int rig_call(struct rig *rig, const char *path, const ProtobufCMessage *request,
             const ProtobufCMessageDescriptor *type, void *answer, char *message);

/* A JobSpec with a prompt of three tokens. */
struct rig_spec {
    Latentd__V1__JobSpec spec;
    Latentd__V1__Prompt prompt;
    Latentd__V1__TokenIds ids;
    uint32_t id[3];
};
void rig_make_spec(struct rig_spec *s, uint32_t max_tokens);

/* Submit and return the job's name. `request_id` may be NULL. */
struct rig_name {
    char text[WIRE_JOB_NAME_BYTES];
};
struct rig_name rig_submit(struct rig *rig, uint32_t max_tokens, const char *request_id);

/* The same with another spec; returns the status. *job (may be NULL) is the answer, or NULL. */
int rig_submit_spec(struct rig *rig, Latentd__V1__JobSpec *spec, const char *request_id,
                    Latentd__V1__Job **job, char *message);

/* Start job `idx` of the engine, write `n` tokens 100, 101, …, end it. */
void rig_run_job(struct rig *rig, size_t idx, int32_t n, enum engine_finish finish);

/* Wait until the job is over and everything of it is in the log. */
void rig_await_end(struct rig *rig, const char *name);

void rig_expect_text(ProtobufCBinaryData found, const char *expected);

/* A ScoreRequest of three tokens behind three. */
struct rig_score_request {
    Latentd__V1__ScoreRequest m;
    struct rig_spec context, continuation;
};
void rig_make_score(struct rig_score_request *r);

/* A streaming call in a thread of its own, with everything it received. */
struct rig_stream {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    latentd_client *client;
    char path[64];
    struct ltd_bytes request;
    uint32_t timeout_ms;
    /* Under lock. */
    bool is_held; /* messages wait in the client until it is released */
    bool is_over;
    int status;
    uint32_t retry_ms;
    char reason[64];
    char message[480];
    size_t n_messages, n_tokens, n_thinking, n_beats;
    int32_t ids[20000];
    struct ltd_bytes text;
    uint64_t last_seq;
    bool has_job, is_finished;
    int finish_reason, error_code;
    int health[20]; /* the first ones; of more, the last stands at the end */
};

struct rig_stream *rig_stream_open(struct rig *rig, const char *path,
                                   const ProtobufCMessage *request, uint32_t timeout_ms,
                                   bool is_held);
void rig_stream_release(struct rig_stream *s);
/* Wait until at least so much has come. */
void rig_stream_wait_tokens(struct rig_stream *s, size_t n);
void rig_stream_wait_messages(struct rig_stream *s, size_t n);
void rig_stream_wait_thinking(struct rig_stream *s, size_t n);
void rig_stream_wait_beats(struct rig_stream *s, size_t n);
/* Reset the call. */
void rig_stream_cancel(struct rig_stream *s);
/* Wait for the end; the status. */
int rig_stream_end(struct rig_stream *s);
void rig_stream_free(struct rig_stream *s);

struct rig_stream *rig_watch(struct rig *rig, const char *name, uint64_t after_seq);
struct rig_stream *rig_generate(struct rig *rig, uint32_t max_tokens, bool keep,
                                uint32_t timeout_ms);

/* A Score call that waits, or is refused: its messages must not be looked at. */
struct rig_stream *rig_score(struct rig *rig);

/* The tokens that came are `n`, and first, first + 1, … */
void rig_expect_ids(const struct rig_stream *s, int32_t first, size_t n);

/* Get, for a look at a job; free with protobuf_c_message_free_unpacked. NULL when it is unknown. */
Latentd__V1__Job *rig_get(struct rig *rig, const char *name);

#endif
