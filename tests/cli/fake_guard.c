/* SPDX-License-Identifier: Apache-2.0 */
/* tests/cli/fake_guard.c - see tests/cli/fake_guard.h. */
#include "tests/cli/fake_guard.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "latentd/v1/latentd.pb-c.h"
#include "rpc/call.h"
#include "rpc/server.h"
#include "rpc/tls.h"

struct fake_guard {
    uv_loop_t loop;
    uv_async_t stop;
    struct rpc_method methods[2];
    struct rpc_server *server;
    struct rpc_tls *tls;
    char token[128];
    char tls_address[96], plain_address[96];
    pthread_t thread;
};

static void must(bool ok, const char *what)
{
    if (!ok) {
        fprintf(stderr, "fake guard: %s\n", what);
        abort();
    }
}

static int authorize(void *arg, const struct rpc_question *question, struct rpc_identity *out,
                     struct ltd_err *err)
{
    const struct fake_guard *guard = arg;
    if (strcmp(question->method->path, "/latentd.v1.Jobs/Delete") == 0) {
        ltd_fail(err, LTD_E_PERMISSION, "you may not");
        return ltd_err_reason(err, "ROLE");
    }
    if (question->bearer) {
        if (question->bearer_len != strlen(guard->token) ||
            memcmp(question->bearer, guard->token, question->bearer_len) != 0) {
            ltd_fail(err, LTD_E_UNAUTHENTICATED, "nobody has this token");
            return ltd_err_reason(err, "TOKEN_WRONG");
        }
        snprintf(out->name, sizeof out->name, "token");
    } else if (question->peer->certificate) {
        snprintf(out->name, sizeof out->name, "cert:%s", question->peer->certificate);
    } else {
        snprintf(out->name, sizeof out->name, "nobody");
    }
    return 0;
}

static void on_list(struct rpc_call *call, const uint8_t *data, size_t len, void *arg)
{
    (void)data;
    (void)len;
    (void)arg;
    uint8_t packed[256];
    static char name[] = "jobs/a";
    Latentd__V1__ListJobsResponse page = LATENTD__V1__LIST_JOBS_RESPONSE__INIT;
    Latentd__V1__Job job = LATENTD__V1__JOB__INIT, *jobs[1] = {&job};
    const char *owner = rpc_call_identity(call)->name;
    job.name = (ProtobufCBinaryData){strlen(name), (uint8_t *)name};
    job.owner = (ProtobufCBinaryData){strlen(owner), (uint8_t *)(uintptr_t)owner};
    page.jobs = jobs;
    page.n_jobs = 1;
    must(latentd__v1__list_jobs_response__get_packed_size(&page) <= sizeof packed, "a long page");
    rpc_call_reply(call, packed, latentd__v1__list_jobs_response__pack(&page, packed));
}

static void on_stop(uv_async_t *async)
{
    struct fake_guard *guard = async->data;
    rpc_server_destroy(guard->server);
    uv_close((uv_handle_t *)&guard->stop, NULL);
}

static void *run_loop(void *arg)
{
    struct fake_guard *guard = arg;
    uv_run(&guard->loop, UV_RUN_DEFAULT);
    must(uv_loop_close(&guard->loop) == 0, "the loop still has handles");
    return NULL;
}

static struct rpc_tls *read_tls(const char *folder)
{
    char ca[128], certificate[128], key[128];
    struct ltd_err err = {.code = LTD_OK};
    snprintf(ca, sizeof ca, "%s/ca.pem", folder);
    snprintf(certificate, sizeof certificate, "%s/server.pem", folder);
    snprintf(key, sizeof key, "%s/server.key", folder);
    struct rpc_tls_config config = {.certificate = certificate, .key = key, .ca = ca};
    struct rpc_tls *tls = rpc_tls_create_server(&config, &err);
    must(tls, err.msg);
    return tls;
}

static void listen_at(struct fake_guard *guard, const char *address, char *out, size_t size,
                      size_t idx)
{
    struct ltd_err err = {.code = LTD_OK};
    must(rpc_server_listen(guard->server, address, &err) == 0, err.msg);
    snprintf(out, size, "%s", rpc_server_address(guard->server, idx));
}

struct fake_guard *fake_guard_start(const char *folder, const char *token)
{
    struct ltd_err err = {.code = LTD_OK};
    struct fake_guard *guard = calloc(1, sizeof *guard);
    must(guard, "no memory");
    snprintf(guard->token, sizeof guard->token, "%s", token);
    guard->tls = read_tls(folder);
    guard->methods[0] = (struct rpc_method){
        .path = "/latentd.v1.Jobs/List", .max_request_bytes = 4096, .handler = on_list};
    guard->methods[1] = (struct rpc_method){
        .path = "/latentd.v1.Jobs/Delete", .max_request_bytes = 4096, .handler = on_list};
    uv_loop_init(&guard->loop);
    uv_async_init(&guard->loop, &guard->stop, on_stop);
    guard->stop.data = guard;
    guard->server = rpc_server_create(&guard->loop, guard->methods, 2, NULL, &err);
    must(guard->server, err.msg);
    rpc_server_set_authorize(guard->server, authorize, guard);
    rpc_server_set_tls(guard->server, guard->tls);
    listen_at(guard, "tls:127.0.0.1:0", guard->tls_address, sizeof guard->tls_address, 0);
    listen_at(guard, "127.0.0.1:0", guard->plain_address, sizeof guard->plain_address, 1);
    must(pthread_create(&guard->thread, NULL, run_loop, guard) == 0, "no thread");
    return guard;
}

void fake_guard_stop(struct fake_guard *guard)
{
    uv_async_send(&guard->stop);
    pthread_join(guard->thread, NULL);
    rpc_tls_destroy(guard->tls);
    free(guard);
}

const char *fake_guard_tls_address(const struct fake_guard *guard)
{
    return guard->tls_address;
}

const char *fake_guard_plain_address(const struct fake_guard *guard)
{
    return guard->plain_address;
}
