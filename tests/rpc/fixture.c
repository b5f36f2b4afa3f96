/* SPDX-License-Identifier: Apache-2.0 */
/* tests/rpc/fixture.c - see tests/rpc/fixture.h. */
#include "fixture.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"

void free_address(char out[64])
{
    /* Above 32767 ports collide with the outgoing ports of other tests. */
    unsigned seed = (unsigned)getpid() * 2654435761u ^ (unsigned)ltd_now_ns();
    for (int i = 0; i < 200; i++) {
        int port = 15000 + rand_r(&seed) % 17000;
        struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
        sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        int rv = bind(fd, (struct sockaddr *)&sa, sizeof sa);
        close(fd);
        if (rv == 0) {
            snprintf(out, 64, "127.0.0.1:%d", port);
            return;
        }
    }
    fail_msg("no free port between 15000 and 32000");
}

void make_dir(char out[64])
{
    snprintf(out, 64, "/tmp/latentd-rpc-XXXXXX");
    if (!mkdtemp(out))
        fail_msg("cannot make a directory for sockets");
}

void remove_dir(const char *dir)
{
    DIR *d = opendir(dir);
    struct dirent *e;
    char path[400];
    while (d && (e = readdir(d))) {
        snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
        unlink(path);
    }
    if (d)
        closedir(d);
    rmdir(dir);
}

static void on_done(void *arg)
{
    struct fixture *f = arg;
    atomic_store(&f->drained, true);
    if (!atomic_load(&f->stopping))
        return;
    rpc_server_destroy(f->server);
    f->server = NULL;
    uv_close((uv_handle_t *)&f->async, NULL);
}

static void on_async(uv_async_t *async)
{
    struct fixture *f = async->data;
    if (atomic_load(&f->reload) == 1)
        atomic_store(&f->reload, rpc_tls_reload(f->tls, NULL) == 0 ? 2 : 3);
    unsigned grace = atomic_exchange(&f->drain_ms, UINT32_MAX);
    if (!f->server || grace == UINT32_MAX)
        return;
    if (atomic_load(&f->drained))
        on_done(f);
    else
        rpc_server_drain(f->server, grace, on_done, f);
}

static void *run(void *arg)
{
    struct fixture *f = arg;
    uv_run(&f->loop, UV_RUN_DEFAULT);
    return NULL;
}

typedef int (*listen_fn)(struct rpc_server *server, const char *address, struct ltd_err *err);

static int listen_somewhere(struct fixture *f, listen_fn listen_at, struct ltd_err *err)
{
    char address[64];
    for (int i = 0; i < 20; i++) {
        free_address(address);
        if (listen_at(f->server, address, err) == 0)
            return 0;
        if (err->code != LTD_E_EXISTS)
            return -1;
    }
    return -1;
}

static int listen_tls(struct rpc_server *server, const char *address, struct ltd_err *err)
{
    char with_tls[72];
    snprintf(with_tls, sizeof with_tls, "tls:%s", address);
    return rpc_server_listen(server, with_tls, err);
}

static struct fixture *start(const struct rpc_limits *limits, struct rpc_tls *tls,
                             rpc_authorize_fn authorize, void *arg)
{
    struct ltd_err err = {0};
    char dir[64];
    struct fixture *f = calloc(1, sizeof *f);
    atomic_store(&f->drain_ms, UINT32_MAX);
    uv_loop_init(&f->loop);
    uv_async_init(&f->loop, &f->async, on_async);
    f->async.data = f;
    echo_init(&f->echo, &f->loop);
    f->server = rpc_server_create(&f->loop, f->echo.methods, ECHO_N_METHODS, limits, &err);
    if (!f->server)
        fail_msg("create: %s", err.msg);
    if (authorize)
        rpc_server_set_authorize(f->server, authorize, arg);
    make_dir(dir);
    snprintf(f->unix_address, sizeof f->unix_address, "unix:%s/sock", dir);
    rpc_server_set_pages(f->server, echo_pages, ECHO_N_PAGES);
    if (listen_somewhere(f, rpc_server_listen, &err) != 0 ||
        rpc_server_listen(f->server, f->unix_address, &err) != 0 ||
        listen_somewhere(f, rpc_server_listen_pages, &err) != 0)
        fail_msg("listen: %s", err.msg);
    if (tls) {
        rpc_server_set_tls(f->server, tls);
        f->tls = tls;
        if (listen_somewhere(f, listen_tls, &err) != 0)
            fail_msg("listen: %s", err.msg);
        snprintf(f->tls_address, sizeof f->tls_address, "%s", rpc_server_address(f->server, 3));
    }
    snprintf(f->pages_address, sizeof f->pages_address, "%s", rpc_server_address(f->server, 2));
    snprintf(f->address, sizeof f->address, "%s", rpc_server_address(f->server, 0));
    pthread_create(&f->thread, NULL, run, f);
    return f;
}

struct fixture *fixture_start(const struct rpc_limits *limits)
{
    return start(limits, NULL, NULL, NULL);
}

struct fixture *fixture_start_guarded(const struct rpc_limits *limits, rpc_authorize_fn authorize,
                                      void *arg)
{
    return start(limits, NULL, authorize, arg);
}

struct fixture *fixture_start_tls(const struct rpc_limits *limits, struct rpc_tls *tls,
                                  rpc_authorize_fn authorize)
{
    return start(limits, tls, authorize, NULL);
}

bool fixture_reload_tls(struct fixture *f)
{
    atomic_store(&f->reload, 1);
    uv_async_send(&f->async);
    wait_for("certificates read again", &f->reload, 2);
    return atomic_load(&f->reload) == 2;
}

void fixture_drain(struct fixture *f, unsigned grace_ms)
{
    atomic_store(&f->drain_ms, grace_ms);
    uv_async_send(&f->async);
}

void fixture_stop(struct fixture *f)
{
    atomic_store(&f->stopping, true);
    fixture_drain(f, 0);
    pthread_join(f->thread, NULL);
    int rv = uv_loop_close(&f->loop);
    if (rv != 0)
        fail_msg("the server left handles in its loop: %s", uv_strerror(rv));
    assert_int_equal(atomic_load(&f->echo.n_live), 0);
    char *slash = strrchr(f->unix_address, '/');
    *slash = '\0';
    remove_dir(f->unix_address + strlen("unix:"));
    free(f);
}

static void nap(void)
{
    struct timespec ms = {.tv_nsec = 1000000};
    nanosleep(&ms, NULL);
}

void wait_for(const char *what, atomic_int *value, int at_least)
{
    uint64_t give_up = ltd_deadline_ns(10000);
    while (atomic_load(value) < at_least) {
        if (ltd_now_ns() > give_up)
            fail_msg("%s: %d after 10 s, expected at least %d", what, atomic_load(value), at_least);
        nap();
    }
}

void wait_until_zero(const char *what, atomic_int *value)
{
    uint64_t give_up = ltd_deadline_ns(10000);
    while (atomic_load(value) != 0) {
        if (ltd_now_ns() > give_up)
            fail_msg("%s: %d after 10 s, expected 0", what, atomic_load(value));
        nap();
    }
}
