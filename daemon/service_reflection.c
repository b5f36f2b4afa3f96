/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/service_reflection.c - grpc.reflection.v1 and v1alpha ServerReflection: the calls.
 *
 * One answer for each request, in order. An asker that does not read its answers is not read from
 * either: requests are held while the queue of the call is full, so a stream costs one queue and one
 * answer, however long it is.
 */
#include <stdlib.h>

#include "daemon/reflection.h"
#include "daemon/service.h"
#include "rpc/call.h"

struct stream {
    struct reflection reflection;
    bool is_held;
};

static void hold(struct rpc_call *call, struct stream *s, bool is_held)
{
    s->is_held = is_held;
    rpc_call_hold_requests(call, is_held);
}

static void on_message(struct rpc_call *call, void *arg, const uint8_t *data, size_t len)
{
    struct stream *s = arg;
    struct ltd_bytes out;
    struct ltd_err err = {0};
    ltd_bytes_init(&out);
    if (reflection_answer(&s->reflection, data, len, &out, &err) != 0 ||
        rpc_call_send(call, out.data, out.len, &err) != 0)
        rpc_call_finish_err(call, &err);
    else if (!rpc_call_wants_more(call))
        hold(call, s, true);
    ltd_bytes_fini(&out);
}

static void on_writable(struct rpc_call *call, void *arg)
{
    struct stream *s = arg;
    if (s->is_held)
        hold(call, s, false);
}

static void on_request_end(struct rpc_call *call, void *arg)
{
    (void)arg;
    rpc_call_finish(call, LTD_OK, NULL);
}

static void on_end(struct rpc_call *call, void *arg, enum rpc_end reason)
{
    struct stream *s = arg;
    (void)call;
    (void)reason;
    reflection_fini(&s->reflection);
    free(s);
}

void reflection_open(struct rpc_call *call, void *arg)
{
    static const struct rpc_call_ops ops = {.on_message = on_message,
                                            .on_writable = on_writable,
                                            .on_request_end = on_request_end,
                                            .on_end = on_end};
    struct ltd_err err = {0};
    struct stream *s = calloc(1, sizeof *s);
    if (!s || reflection_init(&s->reflection, arg, &err) != 0) {
        free(s);
        rpc_call_finish(call, LTD_E_EXHAUSTED, "no memory for a stream");
        return;
    }
    rpc_call_set_ops(call, &ops, s);
}
