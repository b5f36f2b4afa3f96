/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/service_testing.c - see daemon/service_testing.h.
 *
 * The three methods with many answers share one record, `flow`: the answers that are still to be
 * sent, and what follows the last of them. A conversation takes no request while answers to the one
 * before are left, so its list is as long as one request makes it; the half-duplex method, which
 * answers when its client has ended, is bounded by FLOW_MAX_ANSWERS.
 */
#include "daemon/service_testing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/auth.h"
#include "daemon/unpack.h"
#include "daemon/wire.h"
#include "grpc/testing/messages.pb-c.h"
#include "rpc/address.h"
#include "rpc/call.h"

/* The largest answer that can be asked for; the public tests ask for 314,159. */
#define MAX_ANSWER_BYTES ((int32_t)16 << 20)

#define FLOW_MAX_ANSWERS 10000

#define ECHO_INITIAL  "x-grpc-test-echo-initial"
#define ECHO_TRAILING "x-grpc-test-echo-trailing-bin"

/* -------------------------------------------------------------------------------- shared */

/* Every method sends two fields of the request's metadata back. */
static void echo_metadata(struct rpc_call *call)
{
    size_t len;
    const uint8_t *value = rpc_call_metadata(call, ECHO_INITIAL, &len);
    if (value)
        rpc_call_put_header(call, ECHO_INITIAL, value, len, NULL);
    value = rpc_call_metadata(call, ECHO_TRAILING, &len);
    if (value)
        rpc_call_put_trailer(call, ECHO_TRAILING, value, len, NULL);
}

static void *take(struct rpc_call *call, struct unpack *u,
                  const ProtobufCMessageDescriptor *descriptor, const uint8_t *data, size_t len)
{
    struct ltd_err err = {0};
    void *message = unpack_request(u, descriptor, data, len, &err);
    if (!message)
        rpc_call_finish_err(call, &err);
    return message;
}

/* Whether the request came as it says of itself; ends the call when it did not. */
static bool came_as_expected(struct rpc_call *call, const Grpc__Testing__BoolValue *expected)
{
    if (!expected || expected->value == rpc_call_was_compressed(call))
        return true;
    rpc_call_finish(call, LTD_E_INVALID,
                    expected->value ? "expect_compressed: the request came without compression"
                                    : "expect_compressed: the request came compressed");
    return false;
}

static bool is_size(struct rpc_call *call, int32_t size)
{
    char message[100];
    if (size >= 0 && size <= MAX_ANSWER_BYTES)
        return true;
    snprintf(message, sizeof message, "response size: found %d, expected 0 to %d", size,
             MAX_ANSWER_BYTES);
    rpc_call_finish(call, LTD_E_INVALID, message);
    return false;
}

static void finish_with(struct rpc_call *call, int32_t code, const char *message)
{
    rpc_call_finish_status(call, code >= 0 && code <= 16 ? (enum rpc_status)code : RPC_UNKNOWN,
                           message);
}

/* The message of a status as a string; owned, NULL without memory. */
static char *text_of(const Grpc__Testing__EchoStatus *status)
{
    return strndup((const char *)status->message.data, status->message.len);
}

/* A message with a payload of `size` zeros. Both kinds of answers hold it in their first field. */
static int send_payload(struct rpc_call *call, int32_t size, struct ltd_err *err)
{
    uint8_t *zeros = calloc(1, (size_t)size + 1);
    struct ltd_bytes bytes;
    Grpc__Testing__Payload payload = GRPC__TESTING__PAYLOAD__INIT;
    Grpc__Testing__StreamingOutputCallResponse answer =
        GRPC__TESTING__STREAMING_OUTPUT_CALL_RESPONSE__INIT;
    if (!zeros)
        return ltd_fail(err, LTD_E_EXHAUSTED, "no memory for a payload of %d bytes", size);
    payload.body = (ProtobufCBinaryData){(size_t)size, zeros};
    answer.payload = &payload;
    ltd_bytes_init(&bytes);
    wire_put_message(&bytes, &answer.base);
    free(zeros);
    int rv = bytes.failed ? ltd_fail(err, LTD_E_EXHAUSTED, "no memory for an answer")
                          : rpc_call_send(call, bytes.data, bytes.len, err);
    ltd_bytes_fini(&bytes);
    return rv;
}

/* --------------------------------------------------------------------------------- unary */

static void empty_call(struct rpc_call *call, const uint8_t *request, size_t len, void *arg)
{
    (void)request;
    (void)len;
    (void)arg;
    echo_metadata(call);
    rpc_call_reply(call, "", 0);
}

static void answer_unary(struct rpc_call *call, const Grpc__Testing__SimpleRequest *m)
{
    struct ltd_err err = {0};
    if (m->response_status && m->response_status->code != 0) {
        char *message = text_of(m->response_status);
        finish_with(call, m->response_status->code, message);
        free(message);
        return;
    }
    if (m->response_compressed)
        rpc_call_compress(call, m->response_compressed->value);
    if (send_payload(call, m->response_size, &err) != 0)
        rpc_call_finish_err(call, &err);
    else
        rpc_call_finish(call, LTD_OK, NULL);
}

static void unary_call(struct rpc_call *call, const uint8_t *request, size_t len, void *arg)
{
    struct unpack u;
    Grpc__Testing__SimpleRequest *m =
        take(call, &u, &grpc__testing__simple_request__descriptor, request, len);
    (void)arg;
    if (!m)
        return;
    echo_metadata(call);
    if (came_as_expected(call, m->expect_compressed) && is_size(call, m->response_size))
        answer_unary(call, m);
    unpack_free(&u);
}

/* -------------------------------------------------------------------------- many requests */

struct sum {
    int64_t bytes;
};

static void on_sum_message(struct rpc_call *call, void *arg, const uint8_t *data, size_t len)
{
    struct sum *sum = arg;
    struct unpack u;
    Grpc__Testing__StreamingInputCallRequest *m =
        take(call, &u, &grpc__testing__streaming_input_call_request__descriptor, data, len);
    if (!m)
        return;
    if (came_as_expected(call, m->expect_compressed) && m->payload)
        sum->bytes += (int64_t)m->payload->body.len;
    unpack_free(&u);
}

static void on_sum_done(struct rpc_call *call, void *arg)
{
    const struct sum *sum = arg;
    uint8_t packed[16];
    Grpc__Testing__StreamingInputCallResponse answer =
        GRPC__TESTING__STREAMING_INPUT_CALL_RESPONSE__INIT;
    answer.aggregated_payload_size = sum->bytes > INT32_MAX ? INT32_MAX : (int32_t)sum->bytes;
    size_t len = grpc__testing__streaming_input_call_response__pack(&answer, packed);
    rpc_call_reply(call, packed, len);
}

static void on_sum_end(struct rpc_call *call, void *arg, enum rpc_end reason)
{
    (void)call;
    (void)reason;
    free(arg);
}

static void open_sum(struct rpc_call *call, void *arg)
{
    static const struct rpc_call_ops ops = {
        .on_message = on_sum_message, .on_request_end = on_sum_done, .on_end = on_sum_end};
    struct sum *sum = calloc(1, sizeof *sum);
    (void)arg;
    if (!sum) {
        rpc_call_finish(call, LTD_E_EXHAUSTED, "no memory for a stream");
        return;
    }
    echo_metadata(call);
    rpc_call_set_ops(call, &ops, sum);
}

/* --------------------------------------------------------------------------- many answers */

struct answer {
    int32_t size;
    uint32_t wait_ms; /* in front of it; 0 once it has passed */
    bool compressed;
};

struct flow {
    struct rpc_call *call;
    uv_timer_t timer;
    bool is_waiting;        /* the timer runs */
    bool is_ended;          /* the client has said everything */
    bool answers_at_end;    /* half duplex */
    bool wants_compression; /* some answer has said so, or that it shall not be */
    struct answer *answers; /* [n], owned; those from `at` on are to be sent */
    size_t n, at;
    int32_t code;  /* not 0: the status behind the last answer */
    char *message; /* owned */
};

static void run(struct flow *flow);

static void on_waited(uv_timer_t *timer)
{
    struct flow *flow = timer->data;
    flow->is_waiting = false;
    run(flow);
}

/* False: not now; something calls run() again. */
static bool send_next(struct flow *flow)
{
    struct answer *next = &flow->answers[flow->at];
    struct ltd_err err = {0};
    if (next->wait_ms > 0) {
        uv_timer_start(&flow->timer, on_waited, next->wait_ms, 0);
        next->wait_ms = 0;
        flow->is_waiting = true;
        return false;
    }
    if (!rpc_call_wants_more(flow->call))
        return false;
    if (flow->wants_compression)
        rpc_call_compress(flow->call, next->compressed);
    if (send_payload(flow->call, next->size, &err) != 0) {
        rpc_call_finish_err(flow->call, &err);
        return false;
    }
    flow->at++;
    return true;
}

static void run(struct flow *flow)
{
    if (flow->is_waiting || (flow->answers_at_end && !flow->is_ended))
        return;
    while (flow->at < flow->n)
        if (!send_next(flow))
            return;
    flow->at = flow->n = 0;
    if (flow->code != 0)
        finish_with(flow->call, flow->code, flow->message);
    else if (flow->is_ended)
        rpc_call_finish(flow->call, LTD_OK, NULL);
    else
        rpc_call_hold_requests(flow->call, false);
}

static int append(struct flow *flow, const Grpc__Testing__ResponseParameters *p)
{
    struct answer *grown = realloc(flow->answers, (flow->n + 1) * sizeof *grown);
    if (!grown)
        return -1;
    flow->answers = grown;
    uint32_t us = p->interval_us > 0 ? (uint32_t)p->interval_us : 0;
    grown[flow->n++] = (struct answer){.size = p->size,
                                       .wait_ms = us / 1000 + (us % 1000 != 0),
                                       .compressed = p->compressed && p->compressed->value};
    flow->wants_compression |= p->compressed != NULL;
    return 0;
}

/* One request's answers are put on the list. Returns -1 when the call was ended instead. */
static int take_answers(struct flow *flow, const Grpc__Testing__StreamingOutputCallRequest *m)
{
    if (flow->n + m->n_response_parameters > FLOW_MAX_ANSWERS) {
        rpc_call_finish(flow->call, LTD_E_EXHAUSTED, "more than 10000 answers wait");
        return -1;
    }
    for (size_t i = 0; i < m->n_response_parameters; i++) {
        if (!is_size(flow->call, m->response_parameters[i]->size))
            return -1;
        if (append(flow, m->response_parameters[i]) != 0) {
            rpc_call_finish(flow->call, LTD_E_EXHAUSTED, "no memory for an answer");
            return -1;
        }
    }
    if (m->response_status && m->response_status->code != 0) {
        flow->code = m->response_status->code;
        free(flow->message);
        flow->message = text_of(m->response_status);
    }
    return 0;
}

static void on_flow_message(struct rpc_call *call, void *arg, const uint8_t *data, size_t len)
{
    struct flow *flow = arg;
    struct unpack u;
    Grpc__Testing__StreamingOutputCallRequest *m =
        take(call, &u, &grpc__testing__streaming_output_call_request__descriptor, data, len);
    if (!m)
        return;
    if (take_answers(flow, m) == 0) {
        rpc_call_hold_requests(call, !flow->answers_at_end);
        run(flow);
    }
    unpack_free(&u);
}

static void on_flow_done(struct rpc_call *call, void *arg)
{
    struct flow *flow = arg;
    (void)call;
    flow->is_ended = true;
    run(flow);
}

static void on_flow_writable(struct rpc_call *call, void *arg)
{
    (void)call;
    run(arg);
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct flow *flow = handle->data;
    free(flow->answers);
    free(flow->message);
    free(flow);
}

static void on_flow_end(struct rpc_call *call, void *arg, enum rpc_end reason)
{
    struct flow *flow = arg;
    (void)call;
    (void)reason;
    uv_close((uv_handle_t *)&flow->timer, on_timer_closed);
}

static const struct rpc_call_ops flow_ops = {.on_writable = on_flow_writable,
                                             .on_message = on_flow_message,
                                             .on_request_end = on_flow_done,
                                             .on_end = on_flow_end};

static struct flow *open_flow(struct rpc_call *call, uv_loop_t *loop)
{
    struct flow *flow = calloc(1, sizeof *flow);
    if (!flow) {
        rpc_call_finish(call, LTD_E_EXHAUSTED, "no memory for a stream");
        return NULL;
    }
    flow->call = call;
    uv_timer_init(loop, &flow->timer);
    flow->timer.data = flow;
    rpc_call_set_ops(call, &flow_ops, flow);
    echo_metadata(call);
    return flow;
}

static void streaming_output_call(struct rpc_call *call, const uint8_t *request, size_t len,
                                  void *arg)
{
    struct flow *flow = open_flow(call, arg);
    if (!flow)
        return;
    flow->is_ended = true;
    on_flow_message(call, flow, request, len);
}

static void open_full_duplex(struct rpc_call *call, void *arg)
{
    open_flow(call, arg);
}

static void open_half_duplex(struct rpc_call *call, void *arg)
{
    struct flow *flow = open_flow(call, arg);
    if (flow)
        flow->answers_at_end = true;
}

/* --------------------------------------------------------------------------------- table */

#define TEST_METHOD(name) "/grpc.testing.TestService/" name

void service_testing_fill_methods(struct rpc_method *methods, size_t max_request_bytes,
                                  uv_loop_t *loop)
{
    const struct rpc_method rows[SERVICE_TESTING_N_METHODS] = {
        {.path = TEST_METHOD("EmptyCall"), .handler = empty_call},
        {.path = TEST_METHOD("UnaryCall"), .handler = unary_call},
        {.path = TEST_METHOD("StreamingOutputCall"), .handler = streaming_output_call},
        {.path = TEST_METHOD("StreamingInputCall"), .open = open_sum},
        {.path = TEST_METHOD("FullDuplexCall"), .open = open_full_duplex},
        {.path = TEST_METHOD("HalfDuplexCall"), .open = open_half_duplex},
    };
    for (size_t i = 0; i < SERVICE_TESTING_N_METHODS; i++) {
        methods[i] = rows[i];
        methods[i].max_request_bytes = max_request_bytes;
        methods[i].wants_metadata = true;
        methods[i].rights = AUTH_INFERENCE;
        methods[i].arg = loop;
    }
}

static bool is_local(const char *address)
{
    struct rpc_address parsed;
    if (rpc_address_parse(address, &parsed, NULL) != 0)
        return false;
    return parsed.is_unix || strncmp(parsed.host, "127.", 4) == 0 ||
           strcmp(parsed.host, "::1") == 0;
}

int service_testing_check(const struct rpc_server *server, size_t n_listeners, struct ltd_err *err)
{
    for (size_t i = 0; i < n_listeners; i++) {
        const char *address = rpc_server_address(server, i);
        if (!address || !is_local(address))
            return ltd_fail(err, LTD_E_INVALID,
                            "test_service: found the listener %s, expected only addresses of this "
                            "host (127.0.0.0/8, [::1], unix:)",
                            address ? address : "none");
    }
    return 0;
}
