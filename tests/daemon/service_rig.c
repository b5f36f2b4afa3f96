/* SPDX-License-Identifier: Apache-2.0 */
/* tests/daemon/service_rig.c - see tests/daemon/service_rig.h. */
#include "service_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "daemon/auth.h"
#include "grpc/health/v1/health.pb-c.h"

#define WAIT_SECONDS 60

/* ------------------------------------------------------------------------------- the loop */

static void *run_loop(void *arg)
{
    struct rig *rig = arg;
    while (!rig->is_ending)
        uv_run(&rig->loop, UV_RUN_DEFAULT);
    return NULL;
}

static void on_door(uv_async_t *door)
{
    struct rig *rig = door->data;
    pthread_mutex_lock(&rig->lock);
    void (*errand)(struct rig *) = rig->errand;
    rig->errand = NULL;
    pthread_mutex_unlock(&rig->lock);
    if (!errand)
        return;
    errand(rig);
    pthread_mutex_lock(&rig->lock);
    rig->is_errand_done = true;
    pthread_cond_broadcast(&rig->done);
    pthread_mutex_unlock(&rig->lock);
}

void rig_on_loop(struct rig *rig, void (*errand)(struct rig *rig))
{
    pthread_mutex_lock(&rig->lock);
    rig->errand = errand;
    rig->is_errand_done = false;
    uv_async_send(&rig->door);
    while (!rig->is_errand_done)
        pthread_cond_wait(&rig->done, &rig->lock);
    pthread_mutex_unlock(&rig->lock);
}

static void fill_served(struct served *served)
{
    snprintf(served->name, sizeof served->name, "models/fake");
    snprintf(served->no_text, sizeof served->no_text, "no tokenizer.json");
    snprintf(served->tier, sizeof served->tier, "ref");
    snprintf(served->format, sizeof served->format, "int8");
    snprintf(served->kv_format, sizeof served->kv_format, "bf16");
    served->kv_bytes_per_position = 123456789012;
    served->max_batch = 48;
    served->model.vocab = 1 << 16;
    served->model.max_positions = 1 << 16;
    served->default_steps = 8;
    served->max_steps = 64;
    served->default_max_tokens = 20;
    served->generation.repetition_penalty = 1;
    served->start_ns = ltd_now_ns();
}

static void make_server(struct rig *rig, const char *access_file)
{
    struct ltd_err err = {0};
    service_fill_methods(&rig->service, rig->methods, 4 << 20, 64 << 10);
    rig->server = rpc_server_create(&rig->loop, rig->methods, SERVICE_N_METHODS, NULL, &err);
    if (rig->server && access_file) {
        if (service_open_access(&rig->service, access_file, &err) != 0)
            fail_msg("%s", err.msg);
        rpc_server_set_authorize(rig->server, auth_authorize, rig->service.auth);
    }
    if (!rig->server || rpc_server_listen(rig->server, "127.0.0.1:0", &err) != 0)
        fail_msg("%s", err.msg);
    snprintf(rig->address, sizeof rig->address, "%s", rpc_server_address(rig->server, 0));
}

static void make_parts(struct rig *rig, int32_t max_waiting, size_t jobs_kept,
                       const char *access_file)
{
    struct ltd_err err = {0};
    struct store_retention keep = {jobs_kept, INT64_MAX, SIZE_MAX};
    struct work_limits limits = {.max_running = 2, .max_waiting = max_waiting};
    rig->service.served = &rig->served;
    rig->service.is_serving = true;
    rig->service.store = store_memory_create(&keep, &err);
    rig->service.queue = work_queue_create(&rig->loop, &limits, &err);
    struct job_table_config table = {
        .store = rig->service.store, .queue = rig->service.queue, .tier = "ref"};
    if (access_file)
        service_fill_hooks(&rig->service, &table);
    rig->service.jobs = job_table_create(&table, &err);
    rig->engine = fake_engine_create(work_notify, rig->service.queue);
    rig->service.engine = rig->engine;
    work_queue_attach(rig->service.queue, rig->engine);
    job_table_attach(rig->service.jobs, rig->engine);
    make_server(rig, access_file);
}

void rig_log_in(struct rig *rig, const char *token)
{
    latentd_error error;
    latentd_options options = {.token = token, .allow_plaintext_token = 1};
    latentd_client_close(rig->client);
    rig->client = latentd_client_open_with(rig->address, &options, &error);
    if (!rig->client)
        fail_msg("%s", error.message);
    rig->token = token;
}

struct rig *rig_open(int32_t max_waiting, size_t jobs_kept)
{
    return rig_open_access(max_waiting, jobs_kept, NULL);
}

struct rig *rig_open_access(int32_t max_waiting, size_t jobs_kept, const char *access_file)
{
    struct rig *rig = calloc(1, sizeof *rig);
    latentd_error error;
    assert_non_null(rig);
    fill_served(&rig->served);
    pthread_mutex_init(&rig->lock, NULL);
    pthread_cond_init(&rig->done, NULL);
    assert_int_equal(uv_loop_init(&rig->loop), 0);
    assert_int_equal(uv_async_init(&rig->loop, &rig->door, on_door), 0);
    rig->door.data = rig;
    make_parts(rig, max_waiting, jobs_kept, access_file);
    assert_int_equal(pthread_create(&rig->thread, NULL, run_loop, rig), 0);
    rig->client = latentd_client_open(rig->address, 10000, &error);
    if (!rig->client)
        fail_msg("%s", error.message);
    return rig;
}

static void stop_everything(struct rig *rig)
{
    job_table_close(rig->service.jobs);
    job_table_stop_all(rig->service.jobs);
    work_queue_pump(rig->service.queue);
    rpc_server_destroy(rig->server);
    job_table_destroy(rig->service.jobs);
    work_queue_close(rig->service.queue);
    uv_close((uv_handle_t *)&rig->door, NULL);
    rig->is_ending = true;
    uv_stop(&rig->loop);
}

void rig_close(struct rig *rig)
{
    latentd_client_close(rig->client);
    fake_engine_obey_cancels(rig->engine, true);
    rig_on_loop(rig, stop_everything);
    pthread_join(rig->thread, NULL);
    uv_run(&rig->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&rig->loop), 0);
    store_destroy(rig->service.store);
    service_close_access(&rig->service);
    fake_engine_destroy(rig->engine);
    pthread_mutex_destroy(&rig->lock);
    pthread_cond_destroy(&rig->done);
    free(rig);
}

/* -------------------------------------------------------------------------------- unary */

int rig_call(struct rig *rig, const char *path, const ProtobufCMessage *request,
             const ProtobufCMessageDescriptor *type, void *answer, char *message)
{
    latentd_error error;
    latentd_bytes bytes;
    struct ltd_bytes packed;
    ltd_bytes_init(&packed);
    wire_put_message(&packed, request);
    latentd_request req = {
        .path = path, .data = packed.data, .len = packed.len, .timeout_ms = 60000};
    int rc = latentd_client_unary(rig->client, &req, &bytes, &error);
    ltd_bytes_fini(&packed);
    if (message)
        snprintf(message, 480, "%s", rc == 0 ? "" : error.message);
    rig->retry_ms = rc == 0 ? 0 : error.retry_after_ms;
    snprintf(rig->reason, sizeof rig->reason, "%s", rc == 0 ? "" : error.reason);
    if (answer)
        *(void **)answer = NULL;
    if (rc != 0)
        return error.status;
    void *unpacked = protobuf_c_message_unpack(type, NULL, bytes.len, bytes.data);
    assert_non_null(unpacked);
    latentd_bytes_free(&bytes);
    if (answer)
        *(void **)answer = unpacked;
    else
        protobuf_c_message_free_unpacked(unpacked, NULL);
    return LATENTD_OK;
}

void rig_make_spec(struct rig_spec *s, uint32_t max_tokens)
{
    latentd__v1__job_spec__init(&s->spec);
    latentd__v1__prompt__init(&s->prompt);
    latentd__v1__token_ids__init(&s->ids);
    for (uint32_t i = 0; i < 3; i++)
        s->id[i] = 10 + i;
    s->ids.n_ids = 3;
    s->ids.ids = s->id;
    s->prompt.kind_case = LATENTD__V1__PROMPT__KIND_TOKENS;
    s->prompt.tokens = &s->ids;
    s->spec.prompt = &s->prompt;
    s->spec.max_tokens = max_tokens;
}

int rig_submit_spec(struct rig *rig, Latentd__V1__JobSpec *spec, const char *request_id,
                    Latentd__V1__Job **job, char *message)
{
    Latentd__V1__SubmitJobRequest m = LATENTD__V1__SUBMIT_JOB_REQUEST__INIT;
    m.spec = spec;
    if (request_id)
        m.request_id = wire_text(request_id, strlen(request_id));
    return rig_call(rig, "/latentd.v1.Jobs/Submit", &m.base, &latentd__v1__job__descriptor, job,
                    message);
}

struct rig_name rig_submit(struct rig *rig, uint32_t max_tokens, const char *request_id)
{
    struct rig_spec s;
    struct rig_name name = {""};
    char message[480];
    Latentd__V1__Job *job;
    rig_make_spec(&s, max_tokens);
    int status = rig_submit_spec(rig, &s.spec, request_id, &job, message);
    if (status != LATENTD_OK)
        fail_msg("submit: %s: %s", latentd_status_name(status), message);
    assert_int_equal(job->name.len, WIRE_JOB_NAME_BYTES - 1);
    memcpy(name.text, job->name.data, job->name.len);
    latentd__v1__job__free_unpacked(job, NULL);
    return name;
}

Latentd__V1__Job *rig_get(struct rig *rig, const char *name)
{
    Latentd__V1__Job *job;
    Latentd__V1__GetJobRequest m = LATENTD__V1__GET_JOB_REQUEST__INIT;
    m.name = wire_text(name, strlen(name));
    rig_call(rig, "/latentd.v1.Jobs/Get", &m.base, &latentd__v1__job__descriptor, &job, NULL);
    return job;
}

/* -------------------------------------------------------------------------------- streams */

static void take_event(struct rig_stream *s, const uint8_t *data, size_t len)
{
    Latentd__V1__JobEvent *e = latentd__v1__job_event__unpack(NULL, len, data);
    assert_non_null(e);
    bool is_beat = e->event_case == LATENTD__V1__JOB_EVENT__EVENT_HEARTBEAT;
    if (is_beat)
        assert_null(e->job);
    else if (s->n_messages == s->n_beats)
        s->has_job = e->job != NULL;
    if (is_beat || e->event_case == LATENTD__V1__JOB_EVENT__EVENT_THINKING) {
        assert_int_equal(e->seq, 0);
        s->n_beats += is_beat;
        s->n_thinking += !is_beat;
    } else {
        size_t n = 1;
        if (e->event_case == LATENTD__V1__JOB_EVENT__EVENT_TOKENS) {
            n = e->tokens->n_ids;
            assert_int_equal(e->tokens->n_steps, n);
            assert_int_equal(e->tokens->n_exits, n);
            for (size_t i = 0; i < n; i++)
                s->ids[s->n_tokens++] = (int32_t)e->tokens->ids[i];
            ltd_bytes_put(&s->text, e->tokens->text.data, e->tokens->text.len);
        }
        assert_true(e->seq >= n);
        if (s->last_seq)
            assert_int_equal(e->seq, s->last_seq + n);
        s->last_seq = e->seq;
    }
    if (e->event_case == LATENTD__V1__JOB_EVENT__EVENT_FINISHED) {
        s->is_finished = true;
        s->finish_reason = (int)e->finished->reason;
        s->error_code = e->finished->error ? e->finished->error->code : 0;
        ltd_bytes_put(&s->text, e->finished->text_tail.data, e->finished->text_tail.len);
    }
    latentd__v1__job_event__free_unpacked(e, NULL);
}

static void take_health(struct rig_stream *s, const uint8_t *data, size_t len)
{
    Grpc__Health__V1__HealthCheckResponse *m =
        grpc__health__v1__health_check_response__unpack(NULL, len, data);
    assert_non_null(m);
    s->health[s->n_messages < 20 ? s->n_messages : 19] = (int)m->status;
    grpc__health__v1__health_check_response__free_unpacked(m, NULL);
}

static int on_message(void *arg, const uint8_t *data, size_t len)
{
    struct rig_stream *s = arg;
    pthread_mutex_lock(&s->lock);
    while (s->is_held)
        pthread_cond_wait(&s->changed, &s->lock);
    if (strstr(s->path, "Health"))
        take_health(s, data, len);
    else
        take_event(s, data, len);
    s->n_messages++;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
    return 0;
}

static void *run_stream(void *arg)
{
    struct rig_stream *s = arg;
    latentd_error error = {0};
    latentd_request req = {.path = s->path,
                           .data = s->request.data,
                           .len = s->request.len,
                           .timeout_ms = s->timeout_ms};
    int rc = latentd_client_stream(s->client, &req, on_message, s, &error);
    pthread_mutex_lock(&s->lock);
    s->status = rc == 0 ? LATENTD_OK : error.status;
    s->retry_ms = error.retry_after_ms;
    snprintf(s->reason, sizeof s->reason, "%s", error.reason);
    snprintf(s->message, sizeof s->message, "%s", rc == 0 ? "" : error.message);
    s->is_over = true;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

struct rig_stream *rig_stream_open(struct rig *rig, const char *path,
                                   const ProtobufCMessage *request, uint32_t timeout_ms,
                                   bool is_held)
{
    struct rig_stream *s = calloc(1, sizeof *s);
    latentd_error error;
    assert_non_null(s);
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->changed, NULL);
    snprintf(s->path, sizeof s->path, "%s", path);
    ltd_bytes_init(&s->request);
    ltd_bytes_init(&s->text);
    wire_put_message(&s->request, request);
    s->timeout_ms = timeout_ms;
    s->is_held = is_held;
    latentd_options options = {
        .token = rig->token, .allow_plaintext_token = 1, .timeout_ms = 10000};
    s->client = latentd_client_open_with(rig->address, &options, &error);
    if (!s->client)
        fail_msg("%s", error.message);
    assert_int_equal(pthread_create(&s->thread, NULL, run_stream, s), 0);
    return s;
}

void rig_stream_release(struct rig_stream *s)
{
    pthread_mutex_lock(&s->lock);
    s->is_held = false;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
}

static void wait_for(struct rig_stream *s, const size_t *counter, size_t n, const char *what)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += WAIT_SECONDS;
    pthread_mutex_lock(&s->lock);
    while (*counter < n && !s->is_over) {
        if (pthread_cond_timedwait(&s->changed, &s->lock, &until) != 0)
            break;
    }
    size_t found = *counter;
    bool is_over = s->is_over;
    int status = s->status;
    pthread_mutex_unlock(&s->lock);
    if (found < n)
        fail_msg("%s: waited for %zu %s, found %zu; the call %s %s", s->path, n, what, found,
                 is_over ? "ended with" : "goes on", is_over ? latentd_status_name(status) : "");
}

void rig_stream_wait_tokens(struct rig_stream *s, size_t n)
{
    wait_for(s, &s->n_tokens, n, "tokens");
}

void rig_stream_wait_messages(struct rig_stream *s, size_t n)
{
    wait_for(s, &s->n_messages, n, "messages");
}

void rig_stream_wait_thinking(struct rig_stream *s, size_t n)
{
    wait_for(s, &s->n_thinking, n, "thoughts");
}

void rig_stream_wait_beats(struct rig_stream *s, size_t n)
{
    wait_for(s, &s->n_beats, n, "heartbeats");
}

void rig_stream_cancel(struct rig_stream *s)
{
    latentd_client_cancel(s->client);
}

int rig_stream_end(struct rig_stream *s)
{
    pthread_join(s->thread, NULL);
    return s->status;
}

void rig_stream_free(struct rig_stream *s)
{
    latentd_client_close(s->client);
    ltd_bytes_fini(&s->request);
    ltd_bytes_fini(&s->text);
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->changed);
    free(s);
}

struct rig_stream *rig_watch(struct rig *rig, const char *name, uint64_t after_seq)
{
    Latentd__V1__WatchJobRequest m = LATENTD__V1__WATCH_JOB_REQUEST__INIT;
    m.name = wire_text(name, strlen(name));
    m.after_seq = after_seq;
    return rig_stream_open(rig, "/latentd.v1.Jobs/Watch", &m.base, 60000, false);
}

struct rig_stream *rig_generate(struct rig *rig, uint32_t max_tokens, bool keep,
                                uint32_t timeout_ms)
{
    struct rig_spec s;
    Latentd__V1__GenerateRequest m = LATENTD__V1__GENERATE_REQUEST__INIT;
    rig_make_spec(&s, max_tokens);
    m.spec = &s.spec;
    m.keep_on_disconnect = keep;
    return rig_stream_open(rig, "/latentd.v1.Inference/Generate", &m.base, timeout_ms, false);
}

/* ----------------------------------------------------------------------- what tests share */

void rig_run_job(struct rig *rig, size_t idx, int32_t n, enum engine_finish finish)
{
    fake_engine_wait_jobs(rig->engine, idx + 1);
    fake_engine_start(rig->engine, idx);
    fake_engine_tokens(rig->engine, idx, 100, n);
    fake_engine_finish(rig->engine, idx, finish, LTD_OK);
}

void rig_await_end(struct rig *rig, const char *name)
{
    struct rig_stream *s = rig_watch(rig, name, 0);
    EXPECT_STATUS(rig_stream_end(s), LATENTD_OK);
    rig_stream_free(s);
}

void rig_expect_text(ProtobufCBinaryData found, const char *expected)
{
    if (found.len != strlen(expected) || memcmp(found.data, expected, found.len) != 0)
        fail_msg("found \"%.*s\", expected \"%s\"", (int)found.len, (char *)found.data, expected);
}

void rig_expect_ids(const struct rig_stream *s, int32_t first, size_t n)
{
    assert_int_equal(s->n_tokens, n);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(s->ids[i], first + (int32_t)i);
}

void rig_make_score(struct rig_score_request *r)
{
    latentd__v1__score_request__init(&r->m);
    rig_make_spec(&r->context, 1);
    rig_make_spec(&r->continuation, 1);
    r->m.context = &r->context.prompt;
    r->m.continuation = &r->continuation.prompt;
}

struct rig_stream *rig_score(struct rig *rig)
{
    struct rig_score_request r;
    rig_make_score(&r);
    return rig_stream_open(rig, "/latentd.v1.Inference/Score", &r.m.base, 60000, false);
}
