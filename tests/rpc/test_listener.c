/* SPDX-License-Identifier: Apache-2.0 */
/* tests/rpc/test_listener.c - addresses, and what may and may not be bound. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "fixture.h"
#include "rpc/address.h"
#include "rpc/client.h"

static struct sockaddr_storage address_of(int family, const char *text)
{
    struct sockaddr_storage sa = {.ss_family = (sa_family_t)family};
    struct sockaddr_in *v4 = (struct sockaddr_in *)&sa;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&sa;
    void *number = family == AF_INET ? (void *)&v4->sin_addr : (void *)&v6->sin6_addr;
    assert_int_equal(inet_pton(family, text, number), 1);
    return sa;
}

static void what_stays_on_the_host_is_known(void **state)
{
    static const struct {
        int family;
        const char *text;
        bool is_loopback;
    } rows[] = {
        {AF_INET, "127.0.0.1", true},  {AF_INET, "127.255.3.4", true},
        {AF_INET, "128.0.0.1", false}, {AF_INET, "10.0.0.127", false},
        {AF_INET, "0.0.0.0", false},   {AF_INET6, "::1", true},
        {AF_INET6, "::2", false},      {AF_INET6, "fe80::1", false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct sockaddr_storage sa = address_of(rows[i].family, rows[i].text);
        if (rpc_address_is_loopback((struct sockaddr *)&sa) != rows[i].is_loopback)
            fail_msg("%s: expected %d", rows[i].text, rows[i].is_loopback);
    }
    const struct sockaddr_un path = {.sun_family = AF_UNIX};
    assert_true(rpc_address_is_loopback((const struct sockaddr *)&path));
}

/* Limits hold for whoever has the addresses, and with IPv6 one has a whole network of them. */
static void addresses_of_one_owner_count_together(void **state)
{
    static const struct {
        int family;
        const char *text, *network;
    } rows[] = {
        {AF_INET, "192.0.2.1", "192.0.2.1"},
        {AF_INET6, "2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"},
        {AF_INET6, "2001:db8:1:2:ffff::", "2001:db8:1:2::/64"},
        {AF_INET6, "2001:db8:1:3:3:4:5:6", "2001:db8:1:3::/64"},
        {AF_INET6, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "ffff:ffff:ffff:ffff::/64"},
        {AF_INET6, "::ffff:192.0.2.1", "192.0.2.1"},
        {AF_INET6, "::1", "::1"},
        {AF_INET6, "fe80::1:2", "fe80::1:2"},
    };
    char text[RPC_HOST_BYTES];
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct sockaddr_storage sa = address_of(rows[i].family, rows[i].text);
        rpc_address_format_network((struct sockaddr *)&sa, text);
        assert_string_equal(text, rows[i].network);
    }
    const struct sockaddr_un path = {.sun_family = AF_UNIX};
    rpc_address_format_network((const struct sockaddr *)&path, text);
    assert_string_equal(text, "unix");
}

static void addresses_are_read_or_refused_with_the_reason(void **state)
{
    static const struct {
        const char *text, *host, *port; /* host NULL: refused, and `port` is in the message */
    } rows[] = {
        {"127.0.0.1:7470", "127.0.0.1", "7470"},
        {"[::1]:0", "::1", "0"},
        {"localhost:65535", "localhost", "65535"},
        {"host.example:1", "host.example", "1"},
        {"tls:127.0.0.1:7470", "127.0.0.1", "7470"},
        {"tls:[::1]:7470", "::1", "7470"},
        {"tls:7470", NULL, "expected host:port"},
        {"127.0.0.1", NULL, "expected host:port"},
        {"tls:", NULL, "expected host:port"},
        {"tls:host", NULL, "expected host:port"},
        {"tls:unix:/run/x", NULL, "Unix socket takes no TLS"},
        {"tls:tls:host:1", NULL, "brackets"},
        {"127.0.0.1:", NULL, "port ''"},
        {"127.0.0.1:x", NULL, "port 'x'"},
        {"127.0.0.1:65536", NULL, "65535"},
        {"127.0.0.1:-1", NULL, "port '-1'"},
        {"127.0.0.1:123456", NULL, "65535"},
        {":7470", NULL, "host of 0 bytes"},
        {"::1:7470", NULL, "brackets"},
        {"unix:", NULL, "no path"},
        {"", NULL, "expected host:port"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct rpc_address a;
        struct ltd_err err = {0};
        int rv = rpc_address_parse(rows[i].text, &a, &err);
        if (rows[i].host) {
            assert_int_equal(rv, 0);
            assert_false(a.is_unix);
            assert_int_equal(a.is_tls, strncmp(rows[i].text, "tls:", 4) == 0);
            assert_string_equal(a.host, rows[i].host);
            assert_string_equal(a.port, rows[i].port);
        } else {
            assert_int_equal(rv, -1);
            assert_int_equal(err.code, LTD_E_INVALID);
            if (!strstr(err.msg, rows[i].port))
                fail_msg("'%s': '%s' does not say '%s'", rows[i].text, err.msg, rows[i].port);
        }
    }
}

static void a_unix_path_must_fit_its_structure(void **state)
{
    struct rpc_address a;
    struct ltd_err err = {0};
    char text[200] = "unix:/";
    (void)state;
    memset(text + 6, 'p', 106);
    assert_int_equal(rpc_address_parse(text, &a, &err), 0);
    assert_true(a.is_unix);
    assert_string_equal(a.path.sun_path, text + 5);
    text[6 + 106] = 'p';
    assert_int_equal(rpc_address_parse(text, &a, &err), -1);
    assert_non_null(strstr(err.msg, "at most 107"));
}

struct bench {
    uv_loop_t loop;
    struct echo echo;
    struct rpc_server *server;
};

static void bench_open(struct bench *b)
{
    uv_loop_init(&b->loop);
    echo_init(&b->echo, &b->loop);
    b->server = rpc_server_create(&b->loop, b->echo.methods, ECHO_N_METHODS, NULL, NULL);
    assert_non_null(b->server);
}

static void bench_close(struct bench *b)
{
    rpc_server_destroy(b->server);
    uv_run(&b->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&b->loop), 0);
}

static void refuse(struct bench *b, const char *address, enum ltd_code code, const char *says)
{
    struct ltd_err err = {0};
    assert_int_equal(rpc_server_listen(b->server, address, &err), -1);
    if (err.code != code || !strstr(err.msg, says) || !strstr(err.msg, address))
        fail_msg("%s: code %s, '%s'; expected %s, '%s'", address, ltd_code_name(err.code), err.msg,
                 ltd_code_name(code), says);
}

static void an_address_in_use_is_named(void **state)
{
    struct bench a, b;
    (void)state;
    bench_open(&a);
    bench_open(&b);
    char address[64];
    struct ltd_err err = {0};
    free_address(address);
    assert_int_equal(rpc_server_listen(a.server, address, &err), 0);
    assert_string_equal(rpc_server_address(a.server, 0), address);
    assert_null(rpc_server_address(a.server, 1));
    refuse(&b, address, LTD_E_EXISTS, "in use");
    refuse(&b, "192.0.2.1:7470", LTD_E_INVALID, "assign");
    refuse(&b, "no-such-host.invalid:7470", LTD_E_INVALID, "");
    refuse(&b, "nonsense", LTD_E_INVALID, "expected host:port");
    refuse(&b, "unix:/no/such/dir/sock", LTD_E_INTERNAL, "No such file");
    bench_close(&b);
    bench_close(&a);
}

static void port_zero_tells_the_real_port(void **state)
{
    struct bench b;
    struct rpc_address real;
    (void)state;
    bench_open(&b);
    assert_int_equal(rpc_server_listen(b.server, "127.0.0.1:0", NULL), 0);
    assert_int_equal(rpc_server_listen(b.server, "[::1]:0", NULL), 0);
    assert_int_equal(rpc_address_parse(rpc_server_address(b.server, 0), &real, NULL), 0);
    assert_string_not_equal(real.port, "0");
    assert_int_equal(rpc_address_parse(rpc_server_address(b.server, 1), &real, NULL), 0);
    assert_string_equal(real.host, "::1");
    assert_string_not_equal(real.port, "0");
    bench_close(&b);
}

static void a_dead_socket_is_replaced_and_removed_at_the_end(void **state)
{
    struct bench b;
    struct stat st;
    char dir[64], path[100], address[120];
    (void)state;
    make_dir(dir);
    snprintf(path, sizeof path, "%s/sock", dir);
    snprintf(address, sizeof address, "unix:%s", path);
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    snprintf(sa.sun_path, sizeof sa.sun_path, "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof sa), 0);
    assert_int_equal(listen(fd, 1), 0);
    close(fd); /* a server that was killed leaves just this */
    assert_int_equal(lstat(path, &st), 0);

    bench_open(&b);
    struct ltd_err err = {0};
    if (rpc_server_listen(b.server, address, &err) != 0)
        fail_msg("dead socket: %s", err.msg);
    assert_string_equal(rpc_server_address(b.server, 0), address);
    bench_close(&b);
    assert_int_equal(lstat(path, &st), -1);
    remove_dir(dir);
}

static void a_live_socket_is_left_alone(void **state)
{
    struct bench a, b;
    struct stat before, after;
    char dir[64], path[100], address[120];
    (void)state;
    make_dir(dir);
    snprintf(path, sizeof path, "%s/sock", dir);
    snprintf(address, sizeof address, "unix:%s", path);
    bench_open(&a);
    bench_open(&b);
    assert_int_equal(rpc_server_listen(a.server, address, NULL), 0);
    assert_int_equal(stat(path, &before), 0);
    refuse(&b, address, LTD_E_EXISTS, "another server holds");
    bench_close(&b);
    assert_int_equal(stat(path, &after), 0);
    assert_int_equal(before.st_ino, after.st_ino);
    bench_close(&a);

    /* A server that knows nothing of our lock. */
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    snprintf(sa.sun_path, sizeof sa.sun_path, "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof sa), 0);
    assert_int_equal(listen(fd, 1), 0);
    bench_open(&b);
    refuse(&b, address, LTD_E_EXISTS, "a live server answers");
    bench_close(&b);
    assert_int_equal(stat(path, &after), 0);
    close(fd);
    remove_dir(dir);
}

static void a_path_that_is_not_a_socket_is_left_alone(void **state)
{
    struct bench b;
    struct stat st;
    char dir[64], path[100], address[120];
    (void)state;
    make_dir(dir);
    snprintf(path, sizeof path, "%s/file", dir);
    snprintf(address, sizeof address, "unix:%s", path);
    int fd = open(path, O_CREAT | O_WRONLY, 0600);
    assert_int_equal(write(fd, "precious", 8), 8);
    close(fd);
    bench_open(&b);
    refuse(&b, address, LTD_E_EXISTS, "not a socket");
    bench_close(&b);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_size, 8);
    remove_dir(dir);
}

static void stop_loop(uv_timer_t *timer)
{
    uv_stop(timer->loop);
}

static void count_turn(uv_prepare_t *prepare)
{
    ++*(int *)prepare->data;
}

/* Run the loop for `ms`; returns its turns. */
static int run_for(struct bench *b, uint64_t ms)
{
    int n_turns = 0;
    uv_timer_t timer;
    uv_prepare_t prepare;
    uv_timer_init(&b->loop, &timer);
    uv_prepare_init(&b->loop, &prepare);
    prepare.data = &n_turns;
    uv_prepare_start(&prepare, count_turn);
    uv_timer_start(&timer, stop_loop, ms, 0);
    uv_run(&b->loop, UV_RUN_DEFAULT);
    uv_close((uv_handle_t *)&timer, NULL);
    uv_close((uv_handle_t *)&prepare, NULL);
    uv_run(&b->loop, UV_RUN_NOWAIT);
    return n_turns;
}

/* A dropped connection would be readable (end of file, or a reset). */
static int count_dropped(const int *fds, int n)
{
    int n_dropped = 0;
    char octet;
    for (int i = 0; i < n; i++) {
        ssize_t got = recv(fds[i], &octet, 1, MSG_DONTWAIT | MSG_PEEK);
        n_dropped += got == 0 || (got < 0 && errno != EAGAIN);
    }
    return n_dropped;
}

static void without_descriptors_connections_wait_and_the_loop_does_not_spin(void **state)
{
    enum { N = 8, FREE = 3 };
    struct bench b;
    struct rlimit before, low;
    struct rpc_server_stats stats;
    struct rpc_address where;
    int fds[N];
    (void)state;
    char address[64];
    bench_open(&b);
    free_address(address);
    assert_int_equal(rpc_server_listen(b.server, address, NULL), 0);
    run_for(&b, 1); /* libuv opens what it needs */
    assert_int_equal(rpc_address_parse(address, &where, NULL), 0);
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(where.port))};
    sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    for (int i = 0; i < N; i++) {
        fds[i] = socket(AF_INET, SOCK_STREAM, 0);
        assert_int_equal(connect(fds[i], (struct sockaddr *)&sa, sizeof sa), 0);
    }
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    low = before;
    low.rlim_cur = (rlim_t)fds[N - 1] + 1 + FREE; /* descriptors are dense in a fresh process */
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    int n_turns = run_for(&b, 250);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    rpc_server_stats(b.server, &stats);
    print_message("%u of %d accepted, %d turns of the loop\n", stats.n_connections, N, n_turns);
    assert_in_range(stats.n_connections, 1, N - 1);
    assert_int_equal(count_dropped(fds, N), 0);
    assert_in_range(n_turns, 1, 50);

    uint64_t give_up = ltd_deadline_ns(10000);
    while (stats.n_connections < N && ltd_now_ns() < give_up) {
        run_for(&b, 20);
        rpc_server_stats(b.server, &stats);
    }
    assert_int_equal(stats.n_connections, N);
    for (int i = 0; i < N; i++)
        close(fds[i]);
    bench_close(&b);
}

static void a_bad_method_table_is_refused(void **state)
{
    struct bench b;
    struct ltd_err err = {0};
    (void)state;
    bench_open(&b);
    struct rpc_method rows[2] = {b.echo.methods[0], b.echo.methods[0]};
    assert_null(rpc_server_create(&b.loop, rows, 2, NULL, &err));
    assert_int_equal(err.code, LTD_E_INVALID);
    assert_non_null(strstr(err.msg, "/test.Echo/Unary"));
    rows[1].path = "no-slash";
    assert_null(rpc_server_create(&b.loop, rows, 2, NULL, &err));
    rows[1].path = "/ok";
    rows[1].handler = NULL;
    assert_null(rpc_server_create(&b.loop, rows, 2, NULL, &err));
    bench_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_of_one_owner_count_together),
        cmocka_unit_test(addresses_are_read_or_refused_with_the_reason),
        cmocka_unit_test(what_stays_on_the_host_is_known),
        cmocka_unit_test(a_unix_path_must_fit_its_structure),
        cmocka_unit_test(an_address_in_use_is_named),
        cmocka_unit_test(port_zero_tells_the_real_port),
        cmocka_unit_test(a_dead_socket_is_replaced_and_removed_at_the_end),
        cmocka_unit_test(a_live_socket_is_left_alone),
        cmocka_unit_test(a_path_that_is_not_a_socket_is_left_alone),
        cmocka_unit_test(without_descriptors_connections_wait_and_the_loop_does_not_spin),
        cmocka_unit_test(a_bad_method_table_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
