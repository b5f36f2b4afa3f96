/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/rpc/echo_server.c - the test service as a program, for clients that are not ours.
 *
 *     echo_server [--tls CERTIFICATE KEY] [--tls-client CA] ADDRESS…
 *                             prints one line "listening ADDRESS" per address, then serves until
 *                             SIGTERM, drains for up to five seconds, and exits with 0
 *
 * Not installed.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include <uv.h>

#include "base/log.h"
#include "echo.h"
#include "rpc/server.h"
#include "rpc/tls.h"

struct program {
    struct rpc_server *server;
    uv_signal_t sigterm;
};

static void on_done(void *arg)
{
    struct program *p = arg;
    rpc_server_destroy(p->server);
    uv_close((uv_handle_t *)&p->sigterm, NULL);
}

static void on_sigterm(uv_signal_t *handle, int number)
{
    struct program *p = handle->data;
    (void)number;
    rpc_server_drain(p->server, 5000, on_done, p);
}

/* Returns the index of the first address. */
static int read_options(int argc, char **argv, struct rpc_tls_config *config)
{
    int i = 1;
    if (i + 2 < argc && strcmp(argv[i], "--tls") == 0) {
        config->certificate = argv[i + 1];
        config->key = argv[i + 2];
        i += 3;
    }
    if (i + 1 < argc && strcmp(argv[i], "--tls-client") == 0) {
        config->ca = argv[i + 1];
        config->require_peer = true;
        i += 2;
    }
    return i;
}

int main(int argc, char **argv)
{
    static struct echo echo;
    struct program p;
    struct ltd_err err = {0};
    struct rpc_tls_config config = {0};
    int first = read_options(argc, argv, &config);
    struct rpc_tls *tls = config.certificate ? rpc_tls_create_server(&config, &err) : NULL;
    uv_loop_t *loop = uv_default_loop();
    ltd_log_init(LTD_LOG_INFO, -1);
    echo_init(&echo, loop);
    p.server = rpc_server_create(loop, echo.methods, ECHO_N_METHODS, NULL, &err);
    if (p.server)
        rpc_server_set_pages(p.server, echo_pages, ECHO_N_PAGES);
    if (p.server && tls)
        rpc_server_set_tls(p.server, tls);
    for (int i = first; p.server && err.code == LTD_OK && i < argc; i++) {
        if (rpc_server_listen(p.server, argv[i], &err) != 0)
            break;
        printf("listening %s\n", rpc_server_address(p.server, (size_t)(i - first)));
    }
    fflush(stdout);
    if (err.code != LTD_OK) {
        fprintf(stderr, "echo_server: %s\n", err.msg);
        return 1;
    }
    uv_signal_init(loop, &p.sigterm);
    p.sigterm.data = &p;
    uv_signal_start(&p.sigterm, on_sigterm, SIGTERM);
    uv_run(loop, UV_RUN_DEFAULT);
    rpc_tls_destroy(tls);
    return uv_loop_close(loop) == 0 ? 0 : 1;
}
