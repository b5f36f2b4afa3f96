/* SPDX-License-Identifier: Apache-2.0 */
/* daemon/service.c - the table of methods, and what the handlers' files share. */
#include "daemon/service.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/auth.h"
#include "daemon/spec_decode.h"

/* One row per method; `open` when its client streams. No rights: open to everybody. */
static const struct row {
    const char *path;
    rpc_handler_fn handler;
    rpc_open_fn open;
    uint32_t rights;
    bool has_prompt; /* its requests may be long */
} rows[] = {
    {"/latentd.v1.Inference/Generate", inference_generate, NULL, AUTH_INFERENCE, true},
    {"/latentd.v1.Inference/Score", inference_score, NULL, AUTH_INFERENCE, true},
    {"/latentd.v1.Inference/Tokenize", inference_tokenize, NULL, AUTH_INFERENCE, true},
    {"/latentd.v1.Inference/Detokenize", inference_detokenize, NULL, AUTH_INFERENCE, true},
    {"/latentd.v1.Jobs/Submit", jobs_submit, NULL, AUTH_JOBS, true},
    {"/latentd.v1.Jobs/Watch", jobs_watch, NULL, AUTH_JOBS, false},
    {"/latentd.v1.Jobs/Get", jobs_get, NULL, AUTH_JOBS, false},
    {"/latentd.v1.Jobs/List", jobs_list, NULL, AUTH_JOBS, false},
    {"/latentd.v1.Jobs/Cancel", jobs_cancel, NULL, AUTH_JOBS, false},
    {"/latentd.v1.Jobs/Delete", jobs_delete, NULL, AUTH_JOBS, false},
    {"/latentd.v1.Jobs/Continue", jobs_continue, NULL, AUTH_JOBS, false},
    {"/latentd.v1.Jobs/SetPriority", jobs_set_priority, NULL, AUTH_JOBS, false},
    {"/latentd.v1.Cluster/GetModel", cluster_get_model, NULL, AUTH_CLUSTER, false},
    {"/latentd.v1.Cluster/GetStatus", cluster_get_status, NULL, AUTH_CLUSTER, false},
    {"/latentd.v1.Admin/Drain", admin_drain, NULL, AUTH_ADMIN, false},
    {"/grpc.health.v1.Health/Check", health_check, NULL, 0, false},
    {"/grpc.health.v1.Health/Watch", health_watch, NULL, 0, false},
    {"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", NULL, reflection_open, 0, false},
    {"/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", NULL, reflection_open, 0,
     false},
};
static_assert(sizeof rows / sizeof *rows == SERVICE_N_METHODS, "service.h says how many");

void service_fill_methods(struct service *service, struct rpc_method *methods, size_t prompt_bytes,
                          size_t other_bytes)
{
    for (size_t i = 0; i < SERVICE_N_METHODS; i++)
        methods[i] = (struct rpc_method){
            .path = rows[i].path,
            .max_request_bytes = rows[i].has_prompt ? prompt_bytes : other_bytes,
            .handler = rows[i].handler,
            .open = rows[i].open,
            .rights = rows[i].rights,
            .arg = service,
        };
    service->methods = methods;
    service->n_methods = SERVICE_N_METHODS;
}

/* "latentd.v1.Jobs" of "/latentd.v1.Jobs/Get"; rpc/server.c saw to the first '/'. */
static size_t service_name_len(const char *path)
{
    return strcspn(path + 1, "/");
}

bool service_offers(const struct service *service, const uint8_t *name, size_t len)
{
    for (size_t i = 0; i < service->n_methods; i++) {
        const char *path = service->methods[i].path;
        if (len == service_name_len(path) && memcmp(path + 1, name, len) == 0)
            return true;
    }
    return false;
}

void *service_unpack(struct rpc_call *call, struct unpack *u,
                     const ProtobufCMessageDescriptor *descriptor, const uint8_t *request,
                     size_t len)
{
    struct ltd_err err = {0};
    void *message = unpack_request(u, descriptor, request, len, &err);
    if (!message)
        service_fail(call, &err);
    return message;
}

struct job_spec *service_decode_spec(const struct service *service, const struct rpc_call *call,
                                     const Latentd__V1__JobSpec *message, struct ltd_err *err)
{
    struct job_spec *spec = spec_decode(message, service->served, err);
    if (spec && service_set_client(call, spec, err) != 0) {
        spec_destroy(spec);
        return NULL;
    }
    return spec;
}

static void fail_for_memory(struct rpc_call *call, const char *what)
{
    struct ltd_err err;
    ltd_fail(&err, LTD_E_EXHAUSTED, "no memory for %s", what);
    service_fail(call, &err);
}

void service_reply_bytes(struct rpc_call *call, const struct ltd_bytes *bytes)
{
    if (bytes->failed)
        fail_for_memory(call, "an answer");
    else
        rpc_call_reply(call, bytes->data, bytes->len);
}

void service_reply(struct rpc_call *call, const ProtobufCMessage *message)
{
    struct ltd_bytes bytes;
    ltd_bytes_init(&bytes);
    wire_put_message(&bytes, message);
    service_reply_bytes(call, &bytes);
    ltd_bytes_fini(&bytes);
}

/* -------------------------------------------------------------------------------- pending */

static void on_pending_end(struct rpc_call *call, void *arg, enum rpc_end reason)
{
    struct pending *pending = arg;
    (void)call;
    (void)reason;
    pending->call = NULL;
}

struct pending *pending_make(struct rpc_call *call, struct service *service)
{
    static const struct rpc_call_ops ops = {.on_end = on_pending_end};
    struct pending *pending = malloc(sizeof *pending);
    if (!pending) {
        fail_for_memory(call, "a request");
        return NULL;
    }
    *pending = (struct pending){.call = call, .service = service};
    rpc_call_set_ops(call, &ops, pending);
    return pending;
}

struct rpc_call *pending_take(struct pending *pending)
{
    static const struct rpc_call_ops nothing = {0};
    struct rpc_call *call = pending->call;
    if (call)
        rpc_call_set_ops(call, &nothing, NULL);
    free(pending);
    return call;
}

int service_take_request_id(const ProtobufCBinaryData *field, char out[JOB_REQUEST_ID_CHARS + 1],
                            struct ltd_err *err)
{
    if (field->len > JOB_REQUEST_ID_CHARS)
        return ltd_fail(err, LTD_E_INVALID, "request_id: found %zu characters, expected at most %d",
                        field->len, JOB_REQUEST_ID_CHARS);
    for (size_t i = 0; i < field->len; i++)
        if (field->data[i] < 0x20 || field->data[i] > 0x7E)
            return ltd_fail(err, LTD_E_INVALID,
                            "request_id: found byte 0x%02x at %zu, expected "
                            "printable ASCII",
                            field->data[i], i + 1);
    if (field->len)
        memcpy(out, field->data, field->len);
    out[field->len] = '\0';
    return 0;
}
