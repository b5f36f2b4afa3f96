/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/rpc/test_client.c - the client against servers that are absent, strange or broken.
 *
 * A scripted server is a thread with one accepted connection and a function that says, frame by
 * frame, what it answers to the first request it sees.
 */
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "fixture.h"
#include "raw_peer.h"
#include "rpc/client.h"

/* ---- nobody, or nobody who answers ---- */

static latentd_error open_badly(const char *address, uint32_t timeout_ms, int status)
{
    latentd_error err = {0};
    latentd_client *client = latentd_client_open(address, timeout_ms, &err);
    assert_null(client);
    if (err.status != status)
        fail_msg("open %s: %s (%s), expected %s", address, latentd_status_name(err.status),
                 err.message, latentd_status_name(status));
    assert_int_equal(err.from_server, 0);
    return err;
}

static void a_server_that_is_not_there_is_said_to_be_missing(void **state)
{
    char address[64], expected[200];
    (void)state;
    free_address(address);
    snprintf(expected, sizeof expected, "connect to %s: connection refused: is latentd running?",
             address);
    assert_string_equal(open_badly(address, 5000, LATENTD_UNAVAILABLE).message, expected);
    assert_string_equal(open_badly("unix:/no/such/socket", 5000, LATENTD_UNAVAILABLE).message,
                        "connect to unix:/no/such/socket: no such socket: is latentd running?");
    open_badly("no-such-host.invalid:7470", 20000, LATENTD_UNAVAILABLE);
    open_badly("127.0.0.1", 5000, LATENTD_INVALID_ARGUMENT);
    open_badly("127.0.0.1:99999", 5000, LATENTD_INVALID_ARGUMENT);
    assert_null(latentd_client_open("nonsense", 0, NULL));
}

static int listen_on(char address[64], int backlog)
{
    struct sockaddr_in sa = {.sin_family = AF_INET};
    sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    for (int i = 0; i < 20; i++) {
        free_address(address);
        sa.sin_port = htons((uint16_t)atoi(strchr(address, ':') + 1));
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        if (bind(fd, (struct sockaddr *)&sa, sizeof sa) == 0 && listen(fd, backlog) == 0)
            return fd;
        close(fd);
    }
    fail_msg("cannot listen on a free port");
    return -1;
}

static void a_connect_that_nobody_answers_ends_in_time(void **state)
{
    char address[64];
    struct raw filler;
    (void)state;
    /* With its queue full the kernel lets further connects hang. */
    int fd = listen_on(address, 0);
    raw_connect(&filler, address);
    latentd_error err = {0};
    latentd_client *client = latentd_client_open(address, 100, &err);
    latentd_client *second = latentd_client_open(address, 100, &err);
    assert_null(second);
    assert_int_equal(err.status, LATENTD_DEADLINE_EXCEEDED);
    assert_non_null(strstr(err.message, "no answer within 100 ms"));
    latentd_client_close(client);
    raw_close(&filler);
    close(fd);
}

/* ---- scripted servers ---- */

struct script {
    int listen_fd;
    char address[64];
    pthread_t thread;
    void (*play)(struct raw *raw);
    int n_connections; /* to be served one after the other */
};

/*
 * Until the request's HEADERS have come. An answer before that would meet an idle connection, and a
 * client that finds its idle connection gone makes a new one.
 */
static void await_request(struct raw *raw)
{
    uint8_t preface[NGHTTP2_CLIENT_MAGIC_LEN];
    struct raw_frame *frame = malloc(sizeof *frame);
    if (recv(raw->fd, preface, sizeof preface, MSG_WAITALL) == (ssize_t)sizeof preface) {
        do
            if (!raw_recv_frame(raw, frame))
                break;
        while (frame->type != NGHTTP2_HEADERS);
    }
    free(frame);
}

static void read_request(struct raw *raw)
{
    raw_send_frame(raw, NGHTTP2_SETTINGS, 0, 0, NULL, 0);
    await_request(raw);
}

static void *serve(void *arg)
{
    struct script *s = arg;
    for (int i = 0; i < s->n_connections; i++) {
        struct raw raw = {0};
        nghttp2_hd_inflate_new(&raw.inflater);
        raw.fd = accept(s->listen_fd, NULL, NULL);
        s->play(&raw);
        /* Read what is left, so that closing does not reset what was sent. */
        uint8_t rest[4096];
        shutdown(raw.fd, SHUT_WR);
        while (recv(raw.fd, rest, sizeof rest, 0) > 0) {
        }
        raw_close(&raw);
    }
    return NULL;
}

static void script_start(struct script *s, void (*play)(struct raw *), int n_connections)
{
    s->listen_fd = listen_on(s->address, 8);
    s->play = play;
    s->n_connections = n_connections;
    pthread_create(&s->thread, NULL, serve, s);
}

static void script_stop(struct script *s)
{
    pthread_join(s->thread, NULL);
    close(s->listen_fd);
}

/* One call to a server that plays `play`; how it ended. */
static latentd_error call_scripted(void (*play)(struct raw *), uint32_t timeout_ms)
{
    struct script s;
    latentd_error err = {0};
    latentd_bytes answer = {0};
    script_start(&s, play, 1);
    latentd_client *client = latentd_client_open(s.address, 5000, &err);
    assert_non_null(client);
    latentd_request request = {.path = "/a.B/C", .data = "x", .len = 1, .timeout_ms = timeout_ms};
    assert_int_equal(latentd_client_unary(client, &request, &answer, &err), -1);
    assert_null(answer.data);
    latentd_client_close(client);
    script_stop(&s);
    return err;
}

static void expect(const latentd_error *err, int status, const char *says)
{
    if (err->status != status || !strstr(err->message, says))
        fail_msg("%s: '%s'; expected %s with '%s'", latentd_status_name(err->status), err->message,
                 latentd_status_name(status), says);
}

static void send_fields(struct raw *raw, uint8_t flags, const char *const fields[][2], size_t n)
{
    struct ltd_bytes block = {0};
    for (size_t i = 0; i < n; i++)
        raw_field(&block, fields[i][0], fields[i][1]);
    raw_send_frame(raw, NGHTTP2_HEADERS, RAW_END_HEADERS | flags, 1, block.data, block.len);
    ltd_bytes_fini(&block);
}

static void send_head(struct raw *raw)
{
    static const char *const fields[][2] = {{":status", "200"},
                                            {"content-type", "application/grpc"}};
    send_fields(raw, 0, fields, 2);
}

static void send_trailers(struct raw *raw, const char *status)
{
    const char *const fields[][2] = {{"grpc-status", status}, {"grpc-message", "by %22script%22"}};
    send_fields(raw, RAW_END_STREAM, fields, 2);
}

static void play_close(struct raw *raw)
{
    await_request(raw);
}

static void play_http1(struct raw *raw)
{
    await_request(raw);
    raw_send(raw, "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n", 47);
}

static void play_503(struct raw *raw)
{
    static const char *const fields[][2] = {{":status", "503"}, {"content-type", "text/html"}};
    read_request(raw);
    send_fields(raw, 0, fields, 2);
    raw_send_frame(raw, NGHTTP2_DATA, RAW_END_STREAM, 1, "<html>\0\0\0", 9);
}

static void play_html(struct raw *raw)
{
    static const char *const fields[][2] = {{":status", "200"}, {"content-type", "text/html"}};
    read_request(raw);
    send_fields(raw, 0, fields, 2);
    raw_send_frame(raw, NGHTTP2_DATA, RAW_END_STREAM, 1, "\0\0\0\0\1x", 6);
}

static void play_no_status(struct raw *raw)
{
    read_request(raw);
    send_head(raw);
    raw_message(raw, 1, 0, "x", 1, RAW_END_STREAM);
}

static void play_cut_message(struct raw *raw)
{
    read_request(raw);
    send_head(raw);
    raw_send_frame(raw, NGHTTP2_DATA, 0, 1, "\0\0\0\0\5he", 7);
    send_trailers(raw, "0");
}

static void play_compressed(struct raw *raw)
{
    read_request(raw);
    send_head(raw);
    raw_message(raw, 1, 1, "x", 1, 0);
    send_trailers(raw, "0");
}

static void play_bad_status(struct raw *raw)
{
    read_request(raw);
    send_head(raw);
    send_trailers(raw, "99");
}

static void play_failure(struct raw *raw)
{
    read_request(raw);
    send_head(raw);
    raw_message(raw, 1, 0, "x", 1, 0);
    send_trailers(raw, "9");
}

static void play_reset(struct raw *raw)
{
    read_request(raw);
    raw_send_frame(raw, NGHTTP2_RST_STREAM, 0, 1, "\0\0\0\x0b", 4);
}

static void play_goaway(struct raw *raw)
{
    read_request(raw);
    raw_send_frame(raw, NGHTTP2_GOAWAY, 0, 0, "\0\0\0\0\0\0\0\0", 8);
}

static void play_nothing(struct raw *raw)
{
    read_request(raw);
    struct raw_answer ignored;
    raw_read_to_end(raw, &ignored);
}

static void strange_answers_become_statuses_with_reasons(void **state)
{
    static const struct {
        void (*play)(struct raw *);
        int status;
        int from_server;
        const char *says;
    } rows[] = {
        {play_close, LATENTD_UNAVAILABLE, 0, "closed by the server"},
        {play_http1, LATENTD_UNAVAILABLE, 0, "not HTTP/2"},
        {play_503, LATENTD_UNAVAILABLE, 1, "HTTP status 503"},
        {play_html, LATENTD_UNKNOWN, 1, "not a gRPC answer"},
        {play_no_status, LATENTD_UNKNOWN, 0, "without a grpc-status"},
        {play_cut_message, LATENTD_INTERNAL, 0, "inside a message"},
        {play_compressed, LATENTD_INTERNAL, 0, "compressed"},
        {play_bad_status, LATENTD_UNKNOWN, 1, "by \"script\""},
        {play_failure, LATENTD_FAILED_PRECONDITION, 1, "by \"script\""},
        {play_reset, LATENTD_RESOURCE_EXHAUSTED, 1, "reset by the server"},
        {play_goaway, LATENTD_UNAVAILABLE, 1, "REFUSED_STREAM"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        latentd_error err = call_scripted(rows[i].play, 8000);
        expect(&err, rows[i].status, rows[i].says);
        assert_int_equal(err.from_server, rows[i].from_server);
    }
}

static void a_server_that_says_nothing_is_left_at_the_deadline(void **state)
{
    (void)state;
    latentd_error err = call_scripted(play_nothing, 60);
    expect(&err, LATENTD_DEADLINE_EXCEEDED, "no answer in time");
    assert_int_equal(err.from_server, 0);
}

static void play_one_answer(struct raw *raw)
{
    read_request(raw);
    send_head(raw);
    raw_message(raw, 1, 0, "once", 4, 0);
    send_trailers(raw, "0");
    raw_send_frame(raw, NGHTTP2_GOAWAY, 0, 0, "\0\0\0\1\0\0\0\0", 8);
}

static void after_a_goaway_the_next_call_connects_again(void **state)
{
    struct script s;
    latentd_error err = {0};
    (void)state;
    script_start(&s, play_one_answer, 3);
    latentd_client *client = latentd_client_open(s.address, 5000, &err);
    assert_non_null(client);
    for (int i = 0; i < 3; i++) {
        latentd_request request = {.path = "/a.B/C", .timeout_ms = 8000};
        latentd_bytes answer;
        if (latentd_client_unary(client, &request, &answer, &err) != 0) {
            /* The GOAWAY may still be under way when the call starts; then the call is lost to it
             * and only to it, and the one after that finds a new connection. */
            expect(&err, LATENTD_UNAVAILABLE, "");
            i--;
            continue;
        }
        assert_int_equal(answer.len, 4);
        assert_memory_equal(answer.data, "once", 4);
        latentd_bytes_free(&answer);
    }
    latentd_client_close(client);
    script_stop(&s);
}

/* ---- a server that answers and goes away ---- */

struct heard {
    char text[16];
    size_t len;
    int n_ends, status;
};

static int hear_message(void *arg, const uint8_t *data, size_t len)
{
    struct heard *heard = arg;
    assert_true(heard->len + len < sizeof heard->text);
    memcpy(heard->text + heard->len, data, len);
    heard->len += len;
    return 0;
}

static void hear_end(void *arg, const latentd_error *result)
{
    struct heard *heard = arg;
    heard->n_ends++;
    heard->status = result->status;
}

/* The call has been begun and nothing of it sent when the server, which knows what will be asked,
 * answers and closes. The request cannot be written any more; its answer is there to be read. */
static void an_answer_is_read_although_the_request_could_not_be_written(void **state)
{
    char dir[] = "/tmp/latentd-client-XXXXXX";
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    char address[sizeof "unix:" + sizeof sa.sun_path];
    struct heard heard = {.len = 0};
    struct raw raw = {0};
    latentd_error err = {0};
    (void)state;
    assert_non_null(mkdtemp(dir));
    snprintf(sa.sun_path, sizeof sa.sun_path, "%s/s", dir);
    snprintf(address, sizeof address, "unix:%s", sa.sun_path);
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&sa, sizeof sa), 0);
    assert_int_equal(listen(listener, 1), 0);
    latentd_client *client = latentd_client_open(address, 5000, &err);
    assert_non_null(client);
    latentd_request request = {.path = "/a.B/C", .timeout_ms = 8000};
    latentd_call_events events = {.on_message = hear_message, .on_done = hear_end};
    assert_non_null(latentd_call_start(client, &request, &events, &heard, &err));
    nghttp2_hd_inflate_new(&raw.inflater);
    raw.fd = accept(listener, NULL, NULL);
    raw_send_frame(&raw, NGHTTP2_SETTINGS, 0, 0, NULL, 0);
    send_head(&raw);
    raw_message(&raw, 1, 0, "heard", 5, 0);
    send_trailers(&raw, "0");
    raw_close(&raw);
    latentd_client_run(client);
    assert_int_equal(heard.n_ends, 1);
    assert_int_equal(heard.status, LATENTD_OK);
    assert_int_equal(heard.len, 5);
    assert_memory_equal(heard.text, "heard", 5);
    latentd_client_close(client);
    close(listener);
    unlink(sa.sun_path);
    rmdir(dir);
}

/* ---- signals and ends ---- */

static latentd_client *alarmed;

static void on_alarm(int number)
{
    (void)number;
    latentd_client_cancel(alarmed);
}

static void a_signal_handler_can_cancel_a_call(void **state)
{
    latentd_error err = {0};
    latentd_bytes answer;
    (void)state;
    struct fixture *f = fixture_start(NULL);
    alarmed = latentd_client_open(f->address, 5000, &err);
    assert_non_null(alarmed);
    struct sigaction action = {.sa_handler = on_alarm}, old;
    sigaction(SIGALRM, &action, &old);
    const struct itimerval soon = {.it_value = {.tv_usec = 30000}};
    setitimer(ITIMER_REAL, &soon, NULL);
    latentd_request request = {.path = "/test.Echo/Hang"};
    assert_int_equal(latentd_client_unary(alarmed, &request, &answer, &err), -1);
    expect(&err, LATENTD_CANCELLED, "cancelled");
    sigaction(SIGALRM, &old, NULL);
    wait_for("cancelled calls", &f->echo.ends[RPC_END_CANCELLED], 1);
    latentd_client_close(alarmed);
    fixture_stop(f);
}

struct ended {
    int n;
    int status;
};

static void note_end(void *arg, const latentd_error *result)
{
    struct ended *e = arg;
    e->n++;
    e->status = result->status;
}

static void a_cancelled_handle_is_done_once_and_others_go_on(void **state)
{
    latentd_error err = {0};
    const latentd_call_events events = {NULL, note_end};
    struct ended ended[3] = {{0}};
    (void)state;
    struct fixture *f = fixture_start(NULL);
    latentd_client *client = latentd_client_open(f->address, 5000, &err);
    assert_non_null(client);
    latentd_request hang = {.path = "/test.Echo/Hang"};
    latentd_request sleep = {.path = "/test.Echo/Sleep", .data = "30", .len = 2};
    latentd_call *a = latentd_call_start(client, &hang, &events, &ended[0], &err);
    assert_non_null(latentd_call_start(client, &sleep, &events, &ended[1], &err));
    latentd_call *c = latentd_call_start(client, &sleep, &events, &ended[2], &err);
    latentd_call_cancel(a);
    latentd_call_cancel(a);
    latentd_call_cancel(c);
    assert_int_equal(ended[0].n, 0);
    latentd_client_run(client);
    assert_int_equal(ended[0].n, 1);
    assert_int_equal(ended[0].status, LATENTD_CANCELLED);
    assert_int_equal(ended[1].n, 1);
    assert_int_equal(ended[1].status, LATENTD_OK);
    assert_int_equal(ended[2].n, 1);
    assert_int_equal(ended[2].status, LATENTD_CANCELLED);
    latentd_client_run(client); /* nothing is left: returns at once */
    latentd_client_close(client);
    fixture_stop(f);
}

static void closing_delivers_the_end_of_every_call(void **state)
{
    latentd_error err = {0};
    const latentd_call_events events = {NULL, note_end};
    struct ended ended[150] = {{0}};
    (void)state;
    struct fixture *f = fixture_start(NULL);
    latentd_client *client = latentd_client_open(f->unix_address, 5000, &err);
    assert_non_null(client);
    latentd_request hang = {.path = "/test.Echo/Hang", .timeout_ms = 60000};
    for (int i = 0; i < 150; i++) /* more than the server takes at once */
        assert_non_null(latentd_call_start(client, &hang, &events, &ended[i], &err));
    latentd_client_close(client);
    for (int i = 0; i < 150; i++) {
        assert_int_equal(ended[i].n, 1);
        assert_int_equal(ended[i].status, LATENTD_CANCELLED);
    }
    latentd_client_close(NULL);
    fixture_stop(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_server_that_is_not_there_is_said_to_be_missing),
        cmocka_unit_test(a_connect_that_nobody_answers_ends_in_time),
        cmocka_unit_test(strange_answers_become_statuses_with_reasons),
        cmocka_unit_test(a_server_that_says_nothing_is_left_at_the_deadline),
        cmocka_unit_test(after_a_goaway_the_next_call_connects_again),
        cmocka_unit_test(an_answer_is_read_although_the_request_could_not_be_written),
        cmocka_unit_test(a_signal_handler_can_cancel_a_call),
        cmocka_unit_test(a_cancelled_handle_is_done_once_and_others_go_on),
        cmocka_unit_test(closing_delivers_the_end_of_every_call),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
