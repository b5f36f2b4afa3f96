/* SPDX-License-Identifier: Apache-2.0 */
/* daemon/service.c - the table of methods, and what the handlers' files share. */
#include "daemon/service.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/spec_decode.h"

void service_fill_methods(struct service *service, struct rpc_method *methods, size_t prompt_bytes,
                          size_t other_bytes)
{
    const struct rpc_method rows[SERVICE_N_METHODS] = {
        {.path = "/latentd.v1.Inference/Generate",
         .max_request_bytes = prompt_bytes,
         .handler = inference_generate},
        {.path = "/latentd.v1.Inference/Score",
         .max_request_bytes = prompt_bytes,
         .handler = inference_score},
        {.path = "/latentd.v1.Inference/Tokenize",
         .max_request_bytes = prompt_bytes,
         .handler = inference_tokenize},
        {.path = "/latentd.v1.Inference/Detokenize",
         .max_request_bytes = prompt_bytes,
         .handler = inference_detokenize},
        {.path = "/latentd.v1.Jobs/Submit",
         .max_request_bytes = prompt_bytes,
         .handler = jobs_submit},
        {.path = "/latentd.v1.Jobs/Watch", .max_request_bytes = other_bytes, .handler = jobs_watch},
        {.path = "/latentd.v1.Jobs/Get", .max_request_bytes = other_bytes, .handler = jobs_get},
        {.path = "/latentd.v1.Jobs/List", .max_request_bytes = other_bytes, .handler = jobs_list},
        {.path = "/latentd.v1.Jobs/Cancel",
         .max_request_bytes = other_bytes,
         .handler = jobs_cancel},
        {.path = "/latentd.v1.Jobs/Delete",
         .max_request_bytes = other_bytes,
         .handler = jobs_delete},
        {.path = "/latentd.v1.Jobs/Continue",
         .max_request_bytes = other_bytes,
         .handler = jobs_continue},
        {.path = "/latentd.v1.Jobs/SetPriority",
         .max_request_bytes = other_bytes,
         .handler = jobs_set_priority},
        {.path = "/latentd.v1.Cluster/GetModel",
         .max_request_bytes = other_bytes,
         .handler = cluster_get_model},
        {.path = "/latentd.v1.Cluster/GetStatus",
         .max_request_bytes = other_bytes,
         .handler = cluster_get_status},
        {.path = "/grpc.health.v1.Health/Check",
         .max_request_bytes = other_bytes,
         .handler = health_check},
        {.path = "/grpc.health.v1.Health/Watch",
         .max_request_bytes = other_bytes,
         .handler = health_watch},
        {.path = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
         .max_request_bytes = other_bytes,
         .open = reflection_open},
        {.path = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
         .max_request_bytes = other_bytes,
         .open = reflection_open},
    };
    memcpy(methods, rows, sizeof rows);
    for (size_t i = 0; i < SERVICE_N_METHODS; i++)
        methods[i].arg = service;
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
        rpc_call_finish_err(call, &err);
    return message;
}

void service_set_client(const struct rpc_call *call, struct job_spec *spec)
{
    if (!spec->client[0])
        snprintf(spec->client, sizeof spec->client, "%s", rpc_call_peer_host(call));
}

struct job_spec *service_decode_spec(const struct service *service, const struct rpc_call *call,
                                     const Latentd__V1__JobSpec *message, struct ltd_err *err)
{
    struct job_spec *spec = spec_decode(message, service->served, err);
    if (spec)
        service_set_client(call, spec);
    return spec;
}

void service_reply_bytes(struct rpc_call *call, const struct ltd_bytes *bytes)
{
    if (bytes->failed)
        rpc_call_finish(call, LTD_E_EXHAUSTED, "no memory for an answer");
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
        rpc_call_finish(call, LTD_E_EXHAUSTED, "no memory for a request");
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
