/* SPDX-License-Identifier: Apache-2.0 */
/* tests/rpc/echo.c - see tests/rpc/echo.h. */
#include "echo.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

/* One call that lives longer than its handler. */
struct job {
    struct echo *echo;
    struct rpc_call *call;
    uint64_t n_left, n_sent;
    size_t size;
    uv_timer_t timer;
    bool has_timer;
};

static void parse(const uint8_t *request, size_t len, unsigned long long out[2])
{
    char text[64] = {0};
    memcpy(text, request, len < sizeof text - 1 ? len : sizeof text - 1);
    out[0] = out[1] = 0;
    sscanf(text, "%llu %llu", &out[0], &out[1]);
}

static void on_timer_closed(uv_handle_t *handle)
{
    free(handle->data);
}

static void on_end(struct rpc_call *call, void *arg, enum rpc_end reason)
{
    struct job *job = arg;
    (void)call;
    atomic_fetch_add(&job->echo->ends[reason], 1);
    atomic_fetch_sub(&job->echo->n_live, 1);
    if (job->has_timer)
        uv_close((uv_handle_t *)&job->timer, on_timer_closed);
    else
        free(job);
}

static void note_queued(struct job *job)
{
    size_t queued = rpc_call_queued_bytes(job->call);
    if (queued > atomic_load(&job->echo->max_queued))
        atomic_store(&job->echo->max_queued, queued);
}

static int send_next(struct job *job, struct ltd_err *err)
{
    char head[24];
    size_t size = job->size < sizeof head ? sizeof head : job->size;
    char *message = calloc(1, size);
    snprintf(message, size, "%" PRIu64, job->n_sent);
    int rv = rpc_call_send(job->call, message, size, err);
    free(message);
    if (rv == 0) {
        job->n_sent++;
        job->n_left--;
    }
    note_queued(job);
    return rv;
}

static void pump(struct job *job)
{
    while (job->n_left > 0 && rpc_call_wants_more(job->call))
        send_next(job, NULL);
    if (job->n_left == 0)
        rpc_call_finish(job->call, LTD_OK, NULL);
}

static void on_writable(struct rpc_call *call, void *arg)
{
    (void)call;
    pump(arg);
}

static const struct rpc_call_ops stream_ops = {.on_writable = on_writable, .on_end = on_end};
static const struct rpc_call_ops hang_ops = {.on_end = on_end};

static struct job *start(struct echo *echo, struct rpc_call *call, const struct rpc_call_ops *ops)
{
    struct job *job = calloc(1, sizeof *job);
    job->echo = echo;
    job->call = call;
    rpc_call_set_ops(call, ops, job);
    atomic_fetch_add(&echo->n_started, 1);
    atomic_fetch_add(&echo->n_live, 1);
    return job;
}

/* Fuzzed requests ask for anything; an answer is no larger than the largest request. */
static size_t size_of_answer(unsigned long long asked)
{
    return asked < ECHO_MAX_BYTES ? (size_t)asked : ECHO_MAX_BYTES;
}

static void do_unary(struct rpc_call *call, const uint8_t *request, size_t len, void *arg)
{
    (void)arg;
    rpc_call_reply(call, request, len);
}

static void do_stream(struct rpc_call *call, const uint8_t *request, size_t len, void *arg)
{
    unsigned long long n[2];
    parse(request, len, n);
    struct job *job = start(arg, call, &stream_ops);
    job->n_left = n[0];
    job->size = size_of_answer(n[1]);
    pump(job);
}

static void do_push(struct rpc_call *call, const uint8_t *request, size_t len, void *arg)
{
    unsigned long long n[2];
    struct ltd_err err = {0};
    parse(request, len, n);
    struct job *job = start(arg, call, &hang_ops);
    job->n_left = n[0];
    job->size = size_of_answer(n[1]);
    while (job->n_left > 0)
        if (send_next(job, &err) != 0) {
            atomic_fetch_add(&job->echo->n_refused, 1);
            rpc_call_finish_err(call, &err);
            return;
        }
    rpc_call_finish(call, LTD_OK, NULL);
}

static void do_hang(struct rpc_call *call, const uint8_t *request, size_t len, void *arg)
{
    (void)request;
    (void)len;
    start(arg, call, &hang_ops);
}

static void do_beat(struct rpc_call *call, const uint8_t *request, size_t len, void *arg)
{
    start(arg, call, &hang_ops);
    rpc_call_send(call, request, len, NULL);
}

static void on_slept(uv_timer_t *timer)
{
    struct job *job = timer->data;
    rpc_call_reply(job->call, "slept", 5);
}

static void do_sleep(struct rpc_call *call, const uint8_t *request, size_t len, void *arg)
{
    unsigned long long n[2];
    parse(request, len, n);
    struct job *job = start(arg, call, &hang_ops);
    job->has_timer = true;
    uv_timer_init(job->echo->loop, &job->timer);
    job->timer.data = job;
    uv_timer_start(&job->timer, on_slept, n[0], 0);
}

static void do_fail(struct rpc_call *call, const uint8_t *request, size_t len, void *arg)
{
    unsigned long long n[2];
    (void)arg;
    parse(request, len, n);
    const uint8_t *space = memchr(request, ' ', len);
    char *text = NULL;
    if (space)
        text = strndup((const char *)space + 1, len - (size_t)(space + 1 - request));
    /* Whatever a walk of random bytes sends, a handler tells only statuses that there are. */
    rpc_call_finish_status(call, n[0] <= RPC_UNAUTHENTICATED ? (enum rpc_status)n[0] : RPC_UNKNOWN,
                           text);
    free(text);
}

static void do_later(struct rpc_call *call, const uint8_t *request, size_t len, void *arg)
{
    unsigned long long n[2];
    struct ltd_err err = {0};
    (void)arg;
    parse(request, len, n);
    for (unsigned long long i = 0; i < n[0]; i++)
        rpc_call_send(call, "message", 7, NULL);
    ltd_fail(&err, LTD_E_EXHAUSTED, "later \xe2\x9c\x93");
    ltd_err_retry_after(&err, (uint32_t)n[1]);
    rpc_call_finish_err(call, &err);
}

static void do_host(struct rpc_call *call, const uint8_t *request, size_t len, void *arg)
{
    (void)request;
    (void)len;
    (void)arg;
    rpc_call_reply(call, rpc_call_peer_host(call), strlen(rpc_call_peer_host(call)));
}

static void do_peer(struct rpc_call *call, const uint8_t *request, size_t len, void *arg)
{
    char text[400];
    uint64_t deadline = rpc_call_deadline_ns(call);
    (void)request;
    (void)len;
    (void)arg;
    if (deadline == LTD_NEVER)
        snprintf(text, sizeof text, "%s none", rpc_call_peer(call));
    else
        snprintf(text, sizeof text, "%s %" PRIu64, rpc_call_peer(call),
                 (uint64_t)((deadline - ltd_now_ns()) / LTD_NS_PER_MS));
    rpc_call_reply(call, text, strlen(text));
}

static void do_ends(struct rpc_call *call, const uint8_t *request, size_t len, void *arg)
{
    static const char *const names[ECHO_N_ENDS] = {
        "finished", "cancelled", "connection", "deadline", "stalled", "stopped", "refused"};
    struct echo *echo = arg;
    char text[300] = "";
    (void)request;
    (void)len;
    for (int i = 0; i < ECHO_N_ENDS; i++)
        sprintf(text + strlen(text), "%s=%d ", names[i], atomic_load(&echo->ends[i]));
    sprintf(text + strlen(text), "live=%d max_queued=%zu", atomic_load(&echo->n_live),
            atomic_load(&echo->max_queued));
    rpc_call_reply(call, text, strlen(text));
}

static void make_plain(void *arg, struct rpc_page_answer *answer)
{
    (void)arg;
    ltd_bytes_put_str(&answer->body, "plain\n");
}

static void make_big(void *arg, struct rpc_page_answer *answer)
{
    (void)arg;
    uint8_t *at = ltd_bytes_reserve(&answer->body, ECHO_BIG_BYTES);
    if (!at)
        return;
    memset(at, 'b', ECHO_BIG_BYTES);
    answer->body.len += ECHO_BIG_BYTES;
}

const struct rpc_page echo_pages[ECHO_N_PAGES] = {
    {"/plain", make_plain, NULL, 0},
    {"/big", make_big, NULL, 0},
    {"/secret", make_plain, NULL, 4},
};

void echo_init(struct echo *echo, uv_loop_t *loop)
{
    *echo = (struct echo){.loop = loop};
    const struct rpc_method methods[ECHO_N_METHODS] = {
        {.path = "/test.Echo/Unary",
         .max_request_bytes = ECHO_MAX_BYTES,
         .handler = do_unary,
         .arg = echo},
        {.path = "/test.Echo/Small", .max_request_bytes = 1024, .handler = do_unary, .arg = echo},
        {.path = "/test.Echo/Stream", .max_request_bytes = 1024, .handler = do_stream, .arg = echo},
        {.path = "/test.Echo/Push", .max_request_bytes = 1024, .handler = do_push, .arg = echo},
        {.path = "/test.Echo/Hang", .max_request_bytes = 1024, .handler = do_hang, .arg = echo},
        {.path = "/test.Echo/Beat", .max_request_bytes = 1024, .handler = do_beat, .arg = echo},
        {.path = "/test.Echo/Sleep", .max_request_bytes = 1024, .handler = do_sleep, .arg = echo},
        {.path = "/test.Echo/Fail",
         .max_request_bytes = 64 * 1024,
         .handler = do_fail,
         .arg = echo},
        {.path = "/test.Echo/Later", .max_request_bytes = 1024, .handler = do_later, .arg = echo},
        {.path = "/test.Echo/Peer", .max_request_bytes = 1024, .handler = do_peer, .arg = echo},
        {.path = "/test.Echo/Host", .max_request_bytes = 1024, .handler = do_host, .arg = echo},
        {.path = "/test.Echo/Chat",
         .max_request_bytes = 1 << 20,
         .open = echo_open_chat,
         .arg = echo},
        {.path = "/test.Echo/Collect",
         .max_request_bytes = 1 << 20,
         .open = echo_open_collect,
         .arg = echo},
        {.path = "/test.Echo/Tap",
         .max_request_bytes = 1 << 20,
         .open = echo_open_tap,
         .arg = echo},
        {.path = "/test.Echo/Turn", .max_request_bytes = 1024, .handler = echo_turn, .arg = echo},
        {.path = "/test.Echo/Meta",
         .max_request_bytes = 1024,
         .handler = echo_meta,
         .arg = echo,
         .wants_metadata = true},
        {.path = "/test.Echo/Who",
         .max_request_bytes = 1024,
         .handler = echo_who,
         .arg = echo,
         .rights = 4},
        {.path = "/test.Echo/Wrong", .max_request_bytes = 1024, .handler = echo_wrong, .arg = echo},
        {.path = "/test.Echo/Squeeze",
         .max_request_bytes = 1024,
         .handler = echo_squeeze,
         .arg = echo},
        {.path = "/test.Echo/Ends", .max_request_bytes = 1024, .handler = do_ends, .arg = echo},
    };
    memcpy(echo->methods, methods, sizeof methods);
}
