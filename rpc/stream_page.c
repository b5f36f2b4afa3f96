/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rpc/stream_page.c - plain pages over HTTP/2: a stream whose request is no gRPC call.
 *
 * GET and HEAD of anything but a method's path ask for a page, and so does any other plain request
 * for the path of a page (it gets 405). What a client sends as a body is thrown away; the answer is
 * made when the request has ended, outside the session, and waits in the call's queue like
 * messages do, only without prefixes and trailers. rpc/page.c says what it is.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rpc/page.h"
#include "rpc/stream.h"

void rpc_stream_keep_path(struct rpc_call *call, const uint8_t *path, size_t len)
{
    free(call->path);
    call->path = malloc(len + 1);
    call->is_short |= !call->path;
    if (!call->path)
        return;
    memcpy(call->path, path, len);
    call->path[len] = '\0';
}

bool rpc_stream_is_page(const struct rpc_call *call)
{
    if (call->method || !call->path || call->is_grpc)
        return false;
    return call->verb == RPC_VERB_GET || call->verb == RPC_VERB_HEAD ||
           rpc_page_find(call->conn->shared, call->path, strlen(call->path)) != NULL;
}

static const char *verb_name(enum rpc_verb verb)
{
    switch (verb) {
    case RPC_VERB_GET:
        return "GET";
    case RPC_VERB_HEAD:
        return "HEAD";
    case RPC_VERB_POST:
    case RPC_VERB_OTHER:
        break;
    }
    return "POST"; /* one is refused like the other */
}

/* Of two tokens nobody knows which one counts. HTTP/1.1 gets the same answer (http1.c). */
static void refuse_tokens(struct rpc_call *call)
{
    rpc_bearer_wipe(&call->bearer);
    call->phase = RPC_PHASE_ANSWERED;
    rpc_stream_answer_http(call, "400");
}

void rpc_stream_answer_page(struct rpc_call *call)
{
    struct rpc_page_answer answer;
    if (call->bearer.broken) {
        refuse_tokens(call);
        return;
    }
    const char *verb = verb_name(call->verb);
    const struct rpc_page_request request = {
        .peer = &call->conn->who,
        .method = verb,
        .method_len = strlen(verb),
        .path = call->path,
        .path_len = strlen(call->path),
        .authorization = call->bearer.value,
        .authorization_len = call->bearer.value_len,
    };
    call->conn->shared->n_in_callback++;
    rpc_page_make(call->conn->shared, &request, &answer);
    call->conn->shared->n_in_callback--;
    rpc_bearer_wipe(&call->bearer);
    call->phase = RPC_PHASE_ANSWERED;
    rpc_stream_put_page(call, &answer, call->verb != RPC_VERB_HEAD);
    rpc_page_answer_fini(&answer);
    rpc_stream_arm(call);
}
