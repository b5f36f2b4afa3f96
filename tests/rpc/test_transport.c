/* SPDX-License-Identifier: Apache-2.0 */
/* tests/rpc/test_transport.c - a peer that answers and goes away is heard, whatever fails first. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "rpc/transport.h"

static struct {
    uv_loop_t loop;
    struct rpc_transport transport;
    int peer;
    char got[64];
    size_t n_got;
    int n_ends;
    struct ltd_err why; /* of the last end */
    bool closes_in_data;
} t;

static uint8_t read_buffer[RPC_READ_BYTES];

static void on_data(void *arg, const uint8_t *data, size_t len)
{
    (void)arg;
    assert_int_equal(t.n_ends, 0);
    assert_true(t.n_got + len < sizeof t.got);
    memcpy(t.got + t.n_got, data, len);
    t.n_got += len;
}

static void on_end(void *arg, const struct ltd_err *why)
{
    (void)arg;
    t.n_ends++;
    t.why = *why;
}

static void on_room(void *arg)
{
    (void)arg;
}

static void on_closed(void *arg)
{
    (void)arg;
}

static void on_data_close(void *arg, const uint8_t *data, size_t len)
{
    on_data(arg, data, len);
    rpc_transport_close(&t.transport, on_closed, NULL);
    t.closes_in_data = true;
}

static const struct rpc_transport_events events = {on_data, on_end, on_room, NULL};
static const struct rpc_transport_events closing_events = {on_data_close, on_end, on_room, NULL};

static void begin(const struct rpc_transport_events *kind)
{
    int ends[2];
    struct ltd_err err;
    memset(&t, 0, sizeof t);
    assert_int_equal(uv_loop_init(&t.loop), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    assert_int_equal(fcntl(ends[0], F_SETFL, O_NONBLOCK), 0);
    t.peer = ends[1];
    assert_int_equal(rpc_transport_init(&t.transport, &t.loop, ends[0], read_buffer, &err), 0);
    rpc_transport_start(&t.transport, kind, NULL);
}

static void finish(void)
{
    if (!t.closes_in_data)
        rpc_transport_close(&t.transport, on_closed, NULL);
    uv_run(&t.loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&t.loop), 0);
}

/* The peer answers, closes, and only then we find out, by writing. */
static void fail_to_write(const char *answer)
{
    struct ltd_err err = {0};
    assert_int_equal(write(t.peer, answer, strlen(answer)), strlen(answer));
    close(t.peer);
    assert_int_equal(rpc_transport_put(&t.transport, "ack", 3, &err), 0);
    assert_int_equal(rpc_transport_flush(&t.transport, &err), -1);
    assert_int_equal(err.code, LTD_E_PEER);
    assert_int_equal(t.n_ends, 0);
    rpc_transport_give_up(&t.transport, &err);
}

static void what_came_before_a_failed_write_is_heard(void **state)
{
    (void)state;
    begin(&events);
    fail_to_write("the answer");
    assert_int_equal(t.n_got, 10);
    assert_memory_equal(t.got, "the answer", 10);
    assert_int_equal(t.n_ends, 1);
    uv_run(&t.loop, UV_RUN_NOWAIT);
    assert_int_equal(t.n_ends, 1);
    finish();
}

static void a_failed_write_alone_ends_with_its_reason_or_the_peers(void **state)
{
    (void)state;
    begin(&events);
    fail_to_write("");
    assert_int_equal(t.n_got, 0);
    assert_int_equal(t.n_ends, 1);
    assert_int_equal(t.why.code, LTD_OK); /* the peer closed: that says more than a broken pipe */
    finish();
}

static void an_owner_that_closes_on_the_last_words_hears_nothing_more(void **state)
{
    (void)state;
    begin(&closing_events);
    fail_to_write("go away");
    assert_int_equal(t.n_got, 7);
    assert_int_equal(t.n_ends, 0);
    finish();
}

/* The write that fails is one the transport makes by itself, when there is room again. The peer has read
 * all there was: with something unread its closing would be an error of the socket, which is another path. */
static void a_write_that_fails_later_is_no_different(void **state)
{
    (void)state;
    struct ltd_err err = {0};
    char block[65536];
    begin(&events);
    memset(block, 'x', sizeof block);
    while (!rpc_transport_waits_for_room(&t.transport)) {
        assert_int_equal(rpc_transport_put(&t.transport, block, sizeof block, &err), 0);
        assert_int_equal(rpc_transport_flush(&t.transport, &err), 0);
    }
    while (recv(t.peer, block, sizeof block, MSG_DONTWAIT) > 0) {
    }
    assert_int_equal(write(t.peer, "last", 4), 4);
    close(t.peer);
    for (int i = 0; i < 10 && t.n_ends == 0; i++)
        uv_run(&t.loop, UV_RUN_ONCE);
    assert_int_equal(t.n_got, 4);
    assert_memory_equal(t.got, "last", 4);
    assert_int_equal(t.n_ends, 1);
    finish();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_came_before_a_failed_write_is_heard),
        cmocka_unit_test(a_failed_write_alone_ends_with_its_reason_or_the_peers),
        cmocka_unit_test(an_owner_that_closes_on_the_last_words_hears_nothing_more),
        cmocka_unit_test(a_write_that_fails_later_is_no_different),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
