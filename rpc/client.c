/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rpc/client.c - the public functions of the client: see rpc/client.h and rpc/client_impl.h.
 *
 * The client's loop runs only inside its functions. One turn:
 *
 *     flush every connection ──▶ deliver results (on_done) ──▶ uv_run(ONCE) ──▶ again
 *
 * so that results and new calls that callbacks make are on their way before the loop may sleep.
 */
#include "rpc/client.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "rpc/client_impl.h"
#include "rpc/status.h"

#define CONNECT_MS 10000

/* Longer than any token in use, and half of what a server's header limit leaves. */
#define TOKEN_BYTES 4096

/* ---- errors ---- */

/* A server may send any bytes as its message: one line of valid UTF-8 is what people get. */
static void tidy(char *text)
{
    size_t len = strlen(text);
    for (size_t at = 0; at < len;) {
        size_t good = ltd_utf8_valid_prefix(text + at, len - at);
        for (size_t i = at; i < at + good; i++)
            if ((unsigned char)text[i] < 0x20 || text[i] == 0x7F)
                text[i] = '?';
        at += good;
        if (at < len)
            text[at++] = '?';
    }
}

int client_fail(latentd_error *err, int status, const char *fmt, ...)
{
    if (!err)
        return -1;
    err->status = status;
    err->from_server = 0;
    err->retry_after_ms = 0;
    err->reason[0] = '\0';
    va_list args;
    va_start(args, fmt);
    vsnprintf(err->message, sizeof err->message, fmt, args);
    va_end(args);
    tidy(err->message);
    return -1;
}

const char *latentd_status_name(int status)
{
    return rpc_status_name(status);
}

/* ---- the loop ---- */

static void flush(latentd_client *client)
{
    struct client_conn *next;
    for (struct client_conn *conn = client->conns; conn; conn = next) {
        next = conn->next;
        client_conn_flush(conn);
    }
}

static void deliver(latentd_client *client)
{
    while (client->results) {
        latentd_call *call = client->results;
        client->results = call->next;
        if (!client->results)
            client->results_last = &client->results;
        client->n_calls--;
        if (call->events.on_done)
            call->events.on_done(call->arg, &call->result);
        client_call_destroy(call);
    }
}

/* One turn. `mode` UV_RUN_ONCE sleeps until something happens, UV_RUN_NOWAIT never. */
static void turn(latentd_client *client, uv_run_mode mode)
{
    client->running = true;
    flush(client);
    deliver(client);
    flush(client);
    uv_run(&client->loop, client->results ? UV_RUN_NOWAIT : mode);
    flush(client);
    deliver(client);
    client->running = false;
}

void latentd_client_run(latentd_client *client)
{
    if (client->running)
        return; /* from a callback: the loop that called it is the one that runs */
    while (client->n_calls > 0)
        turn(client, UV_RUN_ONCE);
    flush(client);
}

static void end_all(latentd_client *client, const char *why)
{
    for (struct client_conn *conn = client->conns; conn; conn = conn->next)
        while (conn->calls)
            client_call_end(conn->calls, RPC_CANCELLED, false, why);
}

static void on_cancel(uv_async_t *async)
{
    end_all(async->data, "cancelled");
}

void latentd_client_cancel(latentd_client *client)
{
    uv_async_send(&client->cancel);
}

/* ---- open and close ---- */

static void destroy(latentd_client *client)
{
    rpc_tls_destroy(client->tls);
    free(client->server_name);
    if (client->authorization)
        explicit_bzero(client->authorization, strlen(client->authorization));
    free(client->authorization);
    free(client->read_buffer);
    free(client);
}

/* Close the loop's own handles, let every close callback run, free. */
static void dispose(latentd_client *client)
{
    uv_close((uv_handle_t *)&client->cancel, NULL);
    uv_close((uv_handle_t *)&client->timers.uv, NULL);
    uv_run(&client->loop, UV_RUN_DEFAULT);
    uv_loop_close(&client->loop);
    destroy(client);
}

static latentd_client *create(const struct rpc_address *address, const char *text)
{
    latentd_client *client = calloc(1, sizeof *client);
    if (!client)
        return NULL;
    client->address = *address;
    snprintf(client->address_text, sizeof client->address_text, "%s", text);
    client->results_last = &client->results;
    client->read_buffer = malloc(RPC_READ_BYTES);
    if (!client->read_buffer || uv_loop_init(&client->loop) != 0)
        goto fail;
    if (uv_async_init(&client->loop, &client->cancel, on_cancel) != 0) {
        uv_loop_close(&client->loop);
        goto fail;
    }
    client->cancel.data = client;
    rpc_timers_init(&client->timers, &client->loop);
    return client;
fail:
    destroy(client);
    return NULL;
}

static bool is_token(const char *token)
{
    size_t len = strnlen(token, TOKEN_BYTES + 1);
    for (const char *c = token; *c && len <= TOKEN_BYTES; c++)
        if (*c <= ' ' || *c > '~')
            return false;
    return len > 0 && len <= TOKEN_BYTES;
}

static int take_token(latentd_client *client, const latentd_options *options, latentd_error *err)
{
    static const char scheme[] = "Bearer ";
    if (!options->token)
        return 0;
    if (!is_token(options->token)) /* and never show it */
        return client_fail(err, RPC_INVALID_ARGUMENT,
                           "the token is not 1 to %d characters of visible ASCII", TOKEN_BYTES);
    size_t bytes = sizeof scheme + strlen(options->token);
    client->authorization = malloc(bytes);
    if (!client->authorization)
        return client_fail(err, RPC_RESOURCE_EXHAUSTED, "no memory for a client");
    snprintf(client->authorization, bytes, "%s%s", scheme, options->token);
    client->token_may_leave = options->allow_plaintext_token != 0;
    return 0;
}

static int take_tls(latentd_client *client, const latentd_options *options, latentd_error *err)
{
    const struct rpc_tls_config config = {
        .certificate = options->certificate_file,
        .key = options->key_file,
        .ca = options->ca_file,
    };
    const char *name = options->server_name ? options->server_name : client->address.host;
    struct ltd_err why = {0};
    bool wants_tls = config.certificate || config.key || config.ca || options->server_name;
    if (!client->address.is_tls && !client->address.is_unix && wants_tls)
        return client_fail(err, RPC_INVALID_ARGUMENT,
                           "certificates are given for %s, which is no tls: address",
                           client->address_text);
    if (!client->address.is_tls)
        return 0;
    client->server_name = strdup(name);
    client->tls = rpc_tls_create_client(&config, &why);
    if (!client->tls)
        return client_fail(err, ltd_code_grpc(why.code), "%s", why.msg);
    if (!client->server_name)
        return client_fail(err, RPC_RESOURCE_EXHAUSTED, "no memory for a client");
    return 0;
}

/* With TLS, only the server's first words prove that it accepts who we are. */
static bool is_up(const struct client_conn *conn)
{
    return conn->state == CLIENT_CONN_READY && (!conn->client->tls || conn->greeted);
}

/* Run until the first connection is made or has failed. */
static int connect_now(latentd_client *client, latentd_error *err)
{
    if (client_conn_start(client, err) != 0)
        return -1;
    while (client->current && !is_up(client->current))
        turn(client, UV_RUN_ONCE);
    if (client->current)
        return 0;
    if (client->last_loss.status == RPC_OK) /* it said GOAWAY right behind its greeting */
        return client_fail(err, RPC_UNAVAILABLE, "the server takes no new calls");
    if (err)
        *err = client->last_loss;
    return -1;
}

latentd_client *latentd_client_open(const char *address, uint32_t timeout_ms, latentd_error *err)
{
    const latentd_options options = {.timeout_ms = timeout_ms};
    return latentd_client_open_with(address, &options, err);
}

latentd_client *latentd_client_open_with(const char *address, const latentd_options *options,
                                         latentd_error *err)
{
    static const latentd_options none;
    struct rpc_address where;
    struct ltd_err why = {0};
    if (rpc_address_parse(address, &where, &why) != 0) {
        client_fail(err, RPC_INVALID_ARGUMENT, "%s", why.msg);
        return NULL;
    }
    latentd_client *client = create(&where, address);
    if (!client) {
        client_fail(err, RPC_RESOURCE_EXHAUSTED, "no memory or file descriptors for a client");
        return NULL;
    }
    if (!options)
        options = &none;
    client->connect_ms = options->timeout_ms ? options->timeout_ms : CONNECT_MS;
    if (take_token(client, options, err) != 0 || take_tls(client, options, err) != 0 ||
        connect_now(client, err) != 0) {
        latentd_client_close(client);
        return NULL;
    }
    return client;
}

void latentd_client_close(latentd_client *client)
{
    if (!client)
        return;
    client->closing = true;
    client->running = true;
    end_all(client, "the client was closed");
    flush(client); /* the resets, so that the server stops working for us */
    struct client_conn *next;
    for (struct client_conn *conn = client->conns; conn; conn = next) {
        next = conn->next;
        client_conn_fail(conn, RPC_CANCELLED, "the client was closed");
    }
    deliver(client);
    dispose(client);
}

/* ---- calls ---- */

latentd_call *latentd_call_start(latentd_client *client, const latentd_request *request,
                                 const latentd_call_events *events, void *arg, latentd_error *err)
{
    if (client->closing) {
        client_fail(err, RPC_CANCELLED, "the client is being closed");
        return NULL;
    }
    /* An idle client has not looked at its socket: find out about a GOAWAY or a loss now, so that
     * the call goes to a new connection instead of a dead one. */
    if (!client->running && client->n_calls == 0)
        turn(client, UV_RUN_NOWAIT);
    latentd_call *call = client_call_create(client, request, err);
    if (!call)
        return NULL;
    call->events = *events;
    call->arg = arg;
    if (!client->current && client_conn_start(client, err) != 0) {
        rpc_timer_clear(&client->timers, &call->timer);
        client_call_destroy(call);
        return NULL;
    }
    client->n_calls++;
    client_conn_add(client->current, call);
    return call;
}

void latentd_call_cancel(latentd_call *call)
{
    client_call_end(call, RPC_CANCELLED, false, "cancelled by the caller");
}

/* ---- blocking calls ---- */

struct blocking {
    latentd_message_fn on_message;
    void *arg;
    latentd_bytes *response; /* unary */
    int n_messages;          /* unary: more than one is an error */
    int is_done;
    latentd_error result;
};

static void blocking_done(void *arg, const latentd_error *result)
{
    struct blocking *b = arg;
    b->result = *result;
    b->is_done = 1;
}

static int unary_message(void *arg, const uint8_t *data, size_t len)
{
    struct blocking *b = arg;
    if (++b->n_messages > 1)
        return 1;
    b->response->data = malloc(len ? len : 1);
    if (!b->response->data)
        return 1;
    memcpy(b->response->data, data, len);
    b->response->len = len;
    return 0;
}

static int stream_message(void *arg, const uint8_t *data, size_t len)
{
    struct blocking *b = arg;
    return b->on_message ? b->on_message(b->arg, data, len) : 0;
}

static int run_blocking(latentd_client *client, const latentd_request *request,
                        const latentd_call_events *events, struct blocking *b, latentd_error *err)
{
    if (client->running)
        return client_fail(err, RPC_FAILED_PRECONDITION, "blocking call inside a callback");
    if (!latentd_call_start(client, request, events, b, err))
        return -1;
    while (!b->is_done)
        turn(client, UV_RUN_ONCE);
    if (err)
        *err = b->result;
    return b->result.status == RPC_OK ? 0 : -1;
}

int latentd_client_unary(latentd_client *client, const latentd_request *request,
                         latentd_bytes *response, latentd_error *err)
{
    const latentd_call_events events = {unary_message, blocking_done};
    latentd_bytes got = {0};
    struct blocking b = {.response = &got};
    int rv = run_blocking(client, request, &events, &b, err);
    if (b.n_messages > 1)
        rv = client_fail(err, RPC_INTERNAL, "two response messages to a unary call");
    else if (b.n_messages == 1 && !got.data)
        rv = client_fail(err, RPC_RESOURCE_EXHAUSTED, "no memory for the response");
    else if (rv == 0 && b.n_messages == 0)
        rv = client_fail(err, RPC_INTERNAL, "no response message to a unary call");
    if (rv != 0) {
        latentd_bytes_free(&got);
        return -1;
    }
    *response = got;
    return 0;
}

int latentd_client_stream(latentd_client *client, const latentd_request *request,
                          latentd_message_fn on_message, void *arg, latentd_error *err)
{
    const latentd_call_events events = {stream_message, blocking_done};
    struct blocking b = {.on_message = on_message, .arg = arg};
    return run_blocking(client, request, &events, &b, err);
}

void latentd_bytes_free(latentd_bytes *bytes)
{
    free(bytes->data);
    *bytes = (latentd_bytes){0};
}
