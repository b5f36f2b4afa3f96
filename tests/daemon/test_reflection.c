/* SPDX-License-Identifier: Apache-2.0 */
/* tests/daemon/test_reflection.c - what server reflection answers, request by request. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/reflection.h"
#include "grpc/reflection/v1/reflection.pb-c.h"
#include "proto/descriptors.h"

typedef Grpc__Reflection__V1__ServerReflectionRequest request_t;
typedef Grpc__Reflection__V1__ServerReflectionResponse response_t;

#define BY_NAME GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_BY_FILENAME
#define BY_SYMBOL                                                                                  \
    GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_CONTAINING_SYMBOL
#define LIST GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_LIST_SERVICES
#define NUMBERS                                                                                    \
    GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_ALL_EXTENSION_NUMBERS_OF_TYPE
#define EXTENSION                                                                                  \
    GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_CONTAINING_EXTENSION

struct asker {
    struct service service;
    struct rpc_method methods[SERVICE_N_METHODS];
    struct reflection reflection;
};

static void asker_init(struct asker *a)
{
    memset(a, 0, sizeof *a);
    service_fill_methods(&a->service, a->methods, 4 << 20, 64 << 10);
    assert_int_equal(reflection_init(&a->reflection, &a->service, NULL), 0);
}

static response_t *ask_message(struct asker *a, const request_t *request)
{
    struct ltd_bytes packed, answer;
    struct ltd_err err = {0};
    ltd_bytes_init(&packed);
    ltd_bytes_init(&answer);
    wire_put_message(&packed, &request->base);
    if (reflection_answer(&a->reflection, packed.data, packed.len, &answer, &err) != 0)
        fail_msg("%s", err.msg);
    response_t *m =
        grpc__reflection__v1__server_reflection_response__unpack(NULL, answer.len, answer.data);
    assert_non_null(m);
    ltd_bytes_fini(&packed);
    ltd_bytes_fini(&answer);
    return m;
}

/* The forms of a request whose argument is one text. */
static response_t *ask_len(struct asker *a, int what, const char *text, size_t len)
{
    request_t request = GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__INIT;
    request.host = wire_text("here", 4);
    request.message_request_case = what;
    request.file_by_filename = wire_text(text, len); /* all texts are one member of the union */
    return ask_message(a, &request);
}

static response_t *ask(struct asker *a, int what, const char *text)
{
    return ask_len(a, what, text, strlen(text));
}

static void forget(response_t *m)
{
    grpc__reflection__v1__server_reflection_response__free_unpacked(m, NULL);
}

/* A FileDescriptorProto begins with its name: field 1, length, bytes. */
static void expect_file(const response_t *m, size_t i, const char *name)
{
    assert_non_null(m->file_descriptor_response);
    assert_true(i < m->file_descriptor_response->n_file_descriptor_proto);
    const ProtobufCBinaryData *file = &m->file_descriptor_response->file_descriptor_proto[i];
    assert_true(file->len > 2 + strlen(name));
    assert_int_equal(file->data[0], 0x0A);
    assert_int_equal(file->data[1], strlen(name));
    assert_memory_equal(file->data + 2, name, strlen(name));
}

static void expect_error(const response_t *m, int code)
{
    assert_int_equal(
        m->message_response_case,
        GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_ERROR_RESPONSE);
    assert_int_equal(m->error_response->error_code, code);
    assert_true(m->error_response->error_message.len > 0);
}

static void every_service_of_the_table_is_listed_once(void **state)
{
    struct asker a;
    (void)state;
    asker_init(&a);
    response_t *m = ask(&a, LIST, "");
    assert_non_null(m->list_services_response);
    size_t n = m->list_services_response->n_service;
    for (size_t i = 0; i < SERVICE_N_METHODS; i++) {
        size_t len = strcspn(a.methods[i].path + 1, "/"), n_found = 0;
        for (size_t k = 0; k < n; k++) {
            ProtobufCBinaryData name = m->list_services_response->service[k]->name;
            n_found += name.len == len && memcmp(name.data, a.methods[i].path + 1, len) == 0;
        }
        if (n_found != 1)
            fail_msg("%s: its service is listed %zu times", a.methods[i].path, n_found);
    }
    for (size_t k = 0; k < n; k++)
        assert_true(service_offers(&a.service, m->list_services_response->service[k]->name.data,
                                   m->list_services_response->service[k]->name.len));
    forget(m);
    reflection_fini(&a.reflection);
}

/* Also a method that is added to the table and not to the published files is found here. */
static void every_method_of_the_table_is_described(void **state)
{
    struct asker a;
    (void)state;
    asker_init(&a);
    for (size_t i = 0; i < SERVICE_N_METHODS; i++) {
        char name[200];
        snprintf(name, sizeof name, "%s", a.methods[i].path + 1);
        *strchr(name, '/') = '.';
        response_t *m = ask(&a, BY_SYMBOL, name);
        if (!m->file_descriptor_response)
            fail_msg("%s is in no published file", name);
        forget(m);
    }
    reflection_fini(&a.reflection);
}

static void a_file_is_found_by_its_name_and_by_everything_in_it(void **state)
{
    static const char *const names[] = {
        "latentd.v1.Jobs",               /* service */
        "latentd.v1.Jobs.Get",           /* method */
        "latentd.v1.GetJobRequest",      /* message */
        "latentd.v1.GetJobRequest.name", /* field */
        "latentd.v1.WatchJobRequest.after_seq",
    };
    struct asker a;
    (void)state;
    asker_init(&a);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        response_t *m = ask(&a, BY_SYMBOL, names[i]);
        expect_file(m, 0, "latentd/v1/latentd.proto");
        forget(m);
    }
    response_t *m = ask(&a, BY_SYMBOL, "grpc.health.v1.HealthCheckResponse.ServingStatus");
    expect_file(m, 0, "grpc/health/v1/health.proto");
    forget(m);
    /* A value of an enum is named beside it. */
    m = ask(&a, BY_SYMBOL, "grpc.health.v1.HealthCheckResponse.SERVICE_UNKNOWN");
    expect_file(m, 0, "grpc/health/v1/health.proto");
    forget(m);
    m = ask(&a, BY_SYMBOL, "grpc.reflection.v1.ServerReflectionRequest.message_request");
    expect_file(m, 0, "grpc/reflection/v1/reflection.proto");
    forget(m);
    m = ask(&a, BY_NAME, "grpc/reflection/v1alpha/reflection.proto");
    expect_file(m, 0, "grpc/reflection/v1alpha/reflection.proto");
    forget(m);
    reflection_fini(&a.reflection);
}

static void every_name_in_the_tables_is_found_and_no_other(void **state)
{
    (void)state;
    assert_true(proto_n_symbols > 300);
    for (size_t i = 0; i < proto_n_symbols; i++) {
        const char *name = proto_symbols[i].name;
        char longer[600];
        assert_int_equal(proto_find_symbol(name, strlen(name)), proto_symbols[i].file);
        int n = snprintf(longer, sizeof longer, "%s!", name);
        assert_int_equal(proto_find_symbol(longer, (size_t)n), -1);
        assert_int_equal(proto_find_symbol(name, strlen(name) + 1), -1); /* with its NUL */
        if (i > 0)
            assert_true(strcmp(proto_symbols[i - 1].name, name) < 0);
    }
    for (size_t i = 0; i < proto_n_files; i++) {
        assert_int_equal(proto_find_file(proto_files[i].name, strlen(proto_files[i].name)), i);
        assert_int_equal(proto_find_file(proto_files[i].name, strlen(proto_files[i].name) - 1), -1);
    }
    assert_int_equal(proto_find_symbol("", 0), -1);
    assert_int_equal(proto_find_file(NULL, 0), -1);
}

static void imports_follow_once_in_a_stream(void **state)
{
    struct asker a;
    (void)state;
    asker_init(&a);
    response_t *m = ask(&a, BY_NAME, "latentd/v1/latentd.proto");
    assert_int_equal(m->file_descriptor_response->n_file_descriptor_proto, 2);
    expect_file(m, 0, "latentd/v1/latentd.proto");
    expect_file(m, 1, "latentd/v1/job.proto");
    forget(m);
    for (int again = 0; again < 2;
         again++) { /* what is asked for is sent, also when it was before */
        m = ask(&a, BY_NAME, "latentd/v1/latentd.proto");
        assert_int_equal(m->file_descriptor_response->n_file_descriptor_proto, 1);
        forget(m);
    }
    reflection_fini(&a.reflection);
}

static void what_is_not_there_is_said_inside_the_stream(void **state)
{
    static const char long_name[4000] = "x";
    struct asker a;
    (void)state;
    asker_init(&a);
    static const struct {
        int what;
        const char *text;
        size_t len;
    } cases[] = {
        {BY_NAME, "nothing.proto", 13},
        {BY_NAME, "", 0},
        {BY_SYMBOL, "", 0},
        {BY_SYMBOL, "latentd.v1", 10}, /* a package is no symbol */
        {BY_SYMBOL, "latentd.v1.Jobs\0x", 17},
        {BY_SYMBOL, long_name, sizeof long_name},
        {NUMBERS, "latentd.v1.Job", 14},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        response_t *m = ask_len(&a, cases[i].what, cases[i].text, cases[i].len);
        expect_error(m, 5);
        forget(m);
    }
    request_t request = GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__INIT;
    response_t *m = ask_message(&a, &request);
    expect_error(m, 3);
    forget(m);
    Grpc__Reflection__V1__ExtensionRequest extension =
        GRPC__REFLECTION__V1__EXTENSION_REQUEST__INIT;
    request.message_request_case = EXTENSION;
    request.file_containing_extension = &extension;
    m = ask_message(&a, &request);
    expect_error(m, 5);
    forget(m);
    reflection_fini(&a.reflection);
}

static void the_request_is_in_the_answer(void **state)
{
    struct asker a;
    (void)state;
    asker_init(&a);
    response_t *m = ask(&a, BY_SYMBOL, "latentd.v1.Nothing");
    assert_int_equal(m->valid_host.len, 4);
    assert_memory_equal(m->valid_host.data, "here", 4);
    assert_non_null(m->original_request);
    assert_int_equal(m->original_request->message_request_case, BY_SYMBOL);
    assert_int_equal(m->original_request->file_containing_symbol.len, 18);
    assert_memory_equal(m->original_request->file_containing_symbol.data, "latentd.v1.Nothing", 18);
    forget(m);
    reflection_fini(&a.reflection);
}

static void bytes_that_are_no_request_are_refused(void **state)
{
    struct asker a;
    struct ltd_bytes out;
    struct ltd_err err = {0};
    static const uint8_t cut[] = {0x22, 0x7F, 'x'}, no_text[] = {0x22, 1, 0xFF};
    (void)state;
    asker_init(&a);
    ltd_bytes_init(&out);
    assert_int_equal(reflection_answer(&a.reflection, cut, sizeof cut, &out, &err), -1);
    assert_int_equal(err.code, LTD_E_INTERNAL);
    assert_int_equal(reflection_answer(&a.reflection, no_text, sizeof no_text, &out, &err), -1);
    assert_int_equal(err.code, LTD_E_INVALID);
    assert_int_equal(out.len, 0);
    ltd_bytes_fini(&out);
    reflection_fini(&a.reflection);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_service_of_the_table_is_listed_once),
        cmocka_unit_test(every_method_of_the_table_is_described),
        cmocka_unit_test(a_file_is_found_by_its_name_and_by_everything_in_it),
        cmocka_unit_test(every_name_in_the_tables_is_found_and_no_other),
        cmocka_unit_test(imports_follow_once_in_a_stream),
        cmocka_unit_test(what_is_not_there_is_said_inside_the_stream),
        cmocka_unit_test(the_request_is_in_the_answer),
        cmocka_unit_test(bytes_that_are_no_request_are_refused),
    };
    return cmocka_run_group_tests_name("reflection", tests, NULL, NULL);
}
