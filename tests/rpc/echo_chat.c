/* SPDX-License-Identifier: Apache-2.0 */
/* tests/rpc/echo_chat.c - the methods of tests/rpc/echo.h whose clients stream, and metadata. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "echo.h"

struct chat {
    struct echo *echo;
    struct rpc_call *call;
    uint64_t n_messages, n_bytes;
};

static void on_end(struct rpc_call *call, void *arg, enum rpc_end reason)
{
    struct chat *chat = arg;
    if (chat->echo->tap == call)
        chat->echo->tap = NULL;
    atomic_fetch_add(&chat->echo->ends[reason], 1);
    atomic_fetch_sub(&chat->echo->n_live, 1);
    free(chat);
}

static struct chat *start(struct rpc_call *call, void *echo, const struct rpc_call_ops *ops)
{
    struct chat *chat = calloc(1, sizeof *chat);
    chat->echo = echo;
    chat->call = call;
    rpc_call_set_ops(call, ops, chat);
    atomic_fetch_add(&chat->echo->n_started, 1);
    atomic_fetch_add(&chat->echo->n_live, 1);
    return chat;
}

/* ---- Chat: each message comes back; held while the answers do not leave ---- */

static void on_chat_message(struct rpc_call *call, void *arg, const uint8_t *data, size_t len)
{
    struct ltd_err err = {0};
    (void)arg;
    if (len == 4 && memcmp(data, "bye!", 4) == 0)
        rpc_call_finish_status(call, RPC_ABORTED, "you said bye");
    else if (rpc_call_send(call, data, len, &err) != 0)
        rpc_call_finish_err(call, &err);
    rpc_call_hold_requests(call, !rpc_call_wants_more(call));
}

static void on_chat_writable(struct rpc_call *call, void *arg)
{
    (void)arg;
    rpc_call_hold_requests(call, false);
}

static void on_chat_end(struct rpc_call *call, void *arg)
{
    (void)arg;
    rpc_call_finish(call, LTD_OK, NULL);
}

void echo_open_chat(struct rpc_call *call, void *arg)
{
    static const struct rpc_call_ops ops = {.on_message = on_chat_message,
                                            .on_writable = on_chat_writable,
                                            .on_request_end = on_chat_end,
                                            .on_end = on_end};
    start(call, arg, &ops);
}

/* ---- Collect: counts ---- */

static void on_collect_message(struct rpc_call *call, void *arg, const uint8_t *data, size_t len)
{
    struct chat *chat = arg;
    (void)data;
    chat->n_messages++;
    chat->n_bytes += len;
    atomic_fetch_add(&chat->echo->n_messages, 1);
    if (chat->echo->tap == call)
        rpc_call_hold_requests(call, true);
}

static void on_collect_end(struct rpc_call *call, void *arg)
{
    struct chat *chat = arg;
    char text[60];
    snprintf(text, sizeof text, "%llu messages, %llu bytes", (unsigned long long)chat->n_messages,
             (unsigned long long)chat->n_bytes);
    rpc_call_reply(call, text, strlen(text));
}

static const struct rpc_call_ops collect_ops = {
    .on_message = on_collect_message, .on_request_end = on_collect_end, .on_end = on_end};

void echo_open_collect(struct rpc_call *call, void *arg)
{
    start(call, arg, &collect_ops);
}

/* ---- Tap and Turn: a collector that takes one message each time it is told to ---- */

void echo_open_tap(struct rpc_call *call, void *arg)
{
    struct chat *chat = start(call, arg, &collect_ops);
    chat->echo->tap = call;
    rpc_call_hold_requests(call, true);
}

void echo_turn(struct rpc_call *call, const uint8_t *request, size_t len, void *arg)
{
    struct echo *echo = arg;
    (void)request;
    (void)len;
    if (echo->tap)
        rpc_call_hold_requests(echo->tap, false);
    rpc_call_reply(call, echo->tap ? "turned" : "no tap", 6);
}

/* ---- Meta and Who ---- */

static void put_back(struct rpc_call *call, const char *from, const char *header,
                     const char *trailer)
{
    struct ltd_err err = {0};
    size_t len;
    const uint8_t *value = rpc_call_metadata(call, from, &len);
    if (!value)
        return;
    if (rpc_call_put_header(call, header, value, len, &err) != 0 ||
        rpc_call_put_trailer(call, trailer, value, len, &err) != 0)
        rpc_call_finish_err(call, &err);
}

void echo_meta(struct rpc_call *call, const uint8_t *request, size_t len, void *arg)
{
    (void)arg;
    put_back(call, "x-echo", "x-header", "x-trailer");
    put_back(call, "x-echo-bin", "x-header-bin", "x-trailer-bin");
    if (len > 0)
        rpc_call_reply(call, request, len);
    else
        rpc_call_finish(call, LTD_E_NOT_FOUND, "an empty request is answered by a status alone");
}

void echo_who(struct rpc_call *call, const uint8_t *request, size_t len, void *arg)
{
    char text[RPC_IDENTITY_BYTES + 20];
    const struct rpc_identity *who = rpc_call_identity(call);
    (void)request;
    (void)len;
    (void)arg;
    snprintf(text, sizeof text, "%s %u", who->name, who->rights);
    rpc_call_reply(call, text, strlen(text));
}

void echo_wrong(struct rpc_call *call, const uint8_t *request, size_t len, void *arg)
{
    char text[200] = "", reason[32] = "", message[160] = "";
    unsigned ms = 0;
    struct ltd_err err = {0};
    (void)arg;
    memcpy(text, request, len < sizeof text - 1 ? len : sizeof text - 1);
    sscanf(text, "%31s %u %159[^\n]", reason, &ms, message);
    ltd_fail(&err, LTD_E_INVALID, "%s", message);
    ltd_err_reason(&err, reason);
    ltd_err_retry_after(&err, ms);
    rpc_call_finish_err(call, &err);
}

void echo_squeeze(struct rpc_call *call, const uint8_t *request, size_t len, void *arg)
{
    char text[16] = "";
    (void)arg;
    memcpy(text, request, len < sizeof text - 1 ? len : sizeof text - 1);
    size_t size = strtoul(text, NULL, 10);
    char *answer = calloc(1, size + 1);
    rpc_call_compress(call, true);
    rpc_call_reply(call, answer, size);
    free(answer);
}
