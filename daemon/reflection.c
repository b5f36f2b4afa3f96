/* SPDX-License-Identifier: Apache-2.0 */
/* daemon/reflection.c - see daemon/reflection.h. */
#include "daemon/reflection.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/unpack.h"
#include "daemon/wire.h"
#include "grpc/reflection/v1/reflection.pb-c.h"
#include "proto/descriptors.h"
#include "rpc/status.h"

typedef Grpc__Reflection__V1__ServerReflectionRequest request_t;

/* A response with the parts that it points into. */
struct answer {
    Grpc__Reflection__V1__ServerReflectionResponse m;
    Grpc__Reflection__V1__FileDescriptorResponse files;
    Grpc__Reflection__V1__ListServiceResponse list;
    Grpc__Reflection__V1__ErrorResponse error;
    char message[240];
    void *items; /* owned: the array of `files` or the services of `list` */
    void *pointers;
};

int reflection_init(struct reflection *reflection, const struct service *service,
                    struct ltd_err *err)
{
    reflection->service = service;
    reflection->is_sent = calloc(proto_n_files, 1);
    return reflection->is_sent ? 0 : ltd_fail(err, LTD_E_EXHAUSTED, "no memory for a stream");
}

void reflection_fini(struct reflection *reflection)
{
    free(reflection->is_sent);
    reflection->is_sent = NULL;
}

/* ------------------------------------------------------------------------------ not found */

/* `name` comes from a client; unpacking saw to its UTF-8, and a long one is not repeated. */
static void say_error(struct answer *a, int code, const char *what, const ProtobufCBinaryData *name)
{
    static const ProtobufCBinaryData nothing = {0};
    const ProtobufCBinaryData *shown = name ? name : &nothing;
    int n = shown->len < 160 ? (int)shown->len : 0;
    snprintf(a->message, sizeof a->message, "%s%s%.*s", what, n ? ": " : "", n,
             n ? (const char *)shown->data : "");
    a->error.error_code = code;
    a->error.error_message = wire_text(a->message, strlen(a->message));
    a->m.message_response_case =
        GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_ERROR_RESPONSE;
    a->m.error_response = &a->error;
}

/* ---------------------------------------------------------------------------------- files */

/* The file first, then what it and its imports import, as far as the stream has not seen it. */
static void give_files(struct reflection *reflection, struct answer *a, size_t file_idx)
{
    ProtobufCBinaryData *items = a->items;
    const struct proto_file *file = &proto_files[file_idx];
    ProtobufCBinaryData *item = &items[a->files.n_file_descriptor_proto++];
    reflection->is_sent[file_idx] = 1;
    *item = (ProtobufCBinaryData){.len = file->len, .data = (uint8_t *)(uintptr_t)file->data};
    for (size_t i = 0; i < file->n_imports; i++)
        if (!reflection->is_sent[file->imports[i]])
            give_files(reflection, a, file->imports[i]);
}

static int answer_file(struct reflection *reflection, struct answer *a, int file_idx,
                       const char *what, const ProtobufCBinaryData *name)
{
    if (file_idx < 0) {
        say_error(a, RPC_NOT_FOUND, what, name);
        return 0;
    }
    a->items = calloc(proto_n_files, sizeof(ProtobufCBinaryData));
    if (!a->items)
        return -1;
    give_files(reflection, a, (size_t)file_idx);
    a->files.file_descriptor_proto = a->items;
    a->m.message_response_case =
        GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_FILE_DESCRIPTOR_RESPONSE;
    a->m.file_descriptor_response = &a->files;
    return 0;
}

/* ------------------------------------------------------------------------------- services */

/* The methods of a service stand together in no promised order: a name is taken where it comes first. */
static bool is_first(const struct rpc_method *methods, size_t idx, size_t path_len)
{
    for (size_t i = 0; i < idx; i++)
        if (strncmp(methods[i].path, methods[idx].path, path_len) == 0)
            return false;
    return true;
}

static int answer_list(const struct service *service, struct answer *a)
{
    size_t n = service->n_methods;
    Grpc__Reflection__V1__ServiceResponse *items = a->items = calloc(n, sizeof *items);
    Grpc__Reflection__V1__ServiceResponse **pointers = a->pointers = calloc(n, sizeof(void *));
    if (!items || !pointers)
        return -1;
    for (size_t i = 0; i < n; i++) {
        const char *path = service->methods[i].path;
        size_t path_len = 1 + strcspn(path + 1, "/"); /* "/latentd.v1.Jobs" */
        if (!is_first(service->methods, i, path_len + 1))
            continue;
        Grpc__Reflection__V1__ServiceResponse *item = &items[a->list.n_service];
        grpc__reflection__v1__service_response__init(item);
        item->name = wire_text(path + 1, path_len - 1);
        pointers[a->list.n_service++] = item;
    }
    a->list.service = pointers;
    a->m.message_response_case =
        GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_LIST_SERVICES_RESPONSE;
    a->m.list_services_response = &a->list;
    return 0;
}

/* -------------------------------------------------------------------------------- answers */

static int name_file(const ProtobufCBinaryData *name)
{
    return proto_find_file((const char *)name->data, name->len);
}

static int name_symbol(const ProtobufCBinaryData *name)
{
    return proto_find_symbol((const char *)name->data, name->len);
}

/* -1 without memory. */
static int fill(struct reflection *reflection, struct answer *a, const request_t *request)
{
    switch (request->message_request_case) {
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_BY_FILENAME:
        return answer_file(reflection, a, name_file(&request->file_by_filename), "no such file",
                           &request->file_by_filename);
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_CONTAINING_SYMBOL:
        return answer_file(reflection, a, name_symbol(&request->file_containing_symbol),
                           "no such symbol", &request->file_containing_symbol);
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_LIST_SERVICES:
        return answer_list(reflection->service, a);
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_CONTAINING_EXTENSION:
        say_error(a, RPC_NOT_FOUND, "no message here has extensions",
                  &request->file_containing_extension->containing_type);
        return 0;
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_ALL_EXTENSION_NUMBERS_OF_TYPE:
        say_error(a, RPC_NOT_FOUND, "no message here has extensions",
                  &request->all_extension_numbers_of_type);
        return 0;
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST__NOT_SET:
    case _GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST__CASE_IS_INT_SIZE:
        break;
    }
    say_error(a, RPC_INVALID_ARGUMENT, "message_request: nothing is asked for", NULL);
    return 0;
}

int reflection_answer(struct reflection *reflection, const uint8_t *request, size_t len,
                      struct ltd_bytes *out, struct ltd_err *err)
{
    struct unpack u;
    struct answer a = {.items = NULL};
    request_t *m = unpack_request(&u, &grpc__reflection__v1__server_reflection_request__descriptor,
                                  request, len, err);
    if (!m)
        return -1;
    grpc__reflection__v1__server_reflection_response__init(&a.m);
    grpc__reflection__v1__file_descriptor_response__init(&a.files);
    grpc__reflection__v1__list_service_response__init(&a.list);
    grpc__reflection__v1__error_response__init(&a.error);
    a.m.valid_host = m->host;
    a.m.original_request = m;
    int rc = fill(reflection, &a, m);
    if (rc == 0)
        wire_put_message(out, &a.m.base);
    free(a.items);
    free(a.pointers);
    unpack_free(&u);
    if (rc != 0 || out->failed)
        return ltd_fail(err, LTD_E_EXHAUSTED, "no memory for an answer");
    return 0;
}
