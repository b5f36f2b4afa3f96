/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/fuzz_connection.c - the whole server against a client that sends anything.
 *
 * Input: a byte of knobs, four of seed for the cuts, then what the client writes. Knob 1: preface
 * and SETTINGS come first by themselves, so that the rest is frames. Knob 2: the client closes its
 * writing side before the server has answered.
 * Checked: every call that began ended, once, when the client is gone; nothing of it stays behind
 * (connections, calls, buffered bytes); what the server sent is frames of HTTP/2 that begin with
 * SETTINGS, or an answer of HTTP/1.1, or nothing.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"
#include "rpc/server.h"
#include "tests/fuzz/fuzz.h"
#include "tests/rpc/echo.h"

#define PREFACE   "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"
#define N_TURNS   2000
#define FRAME_MAX 16384

static struct {
    uv_loop_t loop;
    struct rpc_server *server;
    struct echo echo;
    struct sockaddr_un address;
} world;

static void remove_files(void)
{
    char lock[128];
    snprintf(lock, sizeof lock, "%s.lock", world.address.sun_path);
    unlink(world.address.sun_path);
    unlink(lock);
}

static void start(void)
{
    struct ltd_err err = {0};
    char address[128];
    if (world.server)
        return;
    ltd_log_init(LTD_LOG_ERROR, -1);
    world.address.sun_family = AF_UNIX;
    snprintf(world.address.sun_path, sizeof world.address.sun_path, "%s/latentd-fuzz-%d",
             getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp", (int)getpid());
    snprintf(address, sizeof address, "unix:%s", world.address.sun_path);
    FUZZ_CHECK(uv_loop_init(&world.loop) == 0, "no loop");
    echo_init(&world.echo, &world.loop);
    world.server = rpc_server_create(&world.loop, world.echo.methods, ECHO_N_METHODS, NULL, &err);
    FUZZ_CHECK(world.server, "%s", err.msg);
    rpc_server_set_pages(world.server, echo_pages, ECHO_N_PAGES);
    FUZZ_CHECK(rpc_server_listen(world.server, address, &err) == 0, "%s", err.msg);
    atexit(remove_files);
}

static uint32_t n_connections(void)
{
    struct rpc_server_stats stats;
    rpc_server_stats(world.server, &stats);
    return stats.n_connections;
}

/* Take what is there; false when nothing was. */
static bool take_output(int fd, struct ltd_bytes *out)
{
    ssize_t n = recv(fd, ltd_bytes_reserve(out, 65536), 65536, MSG_DONTWAIT);
    if (n > 0)
        out->len += (size_t)n;
    return n > 0;
}

/* Let the server work until it has nothing more to say. */
static void settle(int fd, struct ltd_bytes *out)
{
    int n_quiet = 0;
    for (int i = 0; i < N_TURNS && n_quiet < 4; i++) {
        uv_run(&world.loop, UV_RUN_NOWAIT);
        n_quiet = take_output(fd, out) ? 0 : n_quiet + 1;
    }
}

static void write_all(int fd, const void *data, size_t len, struct ltd_bytes *out)
{
    for (int i = 0; i < N_TURNS && len > 0; i++) {
        ssize_t n = send(fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0) /* closed by the server, or full: it reads on in its next turn */
            settle(fd, out);
        else
            data = (const char *)data + n;
        len -= n < 0 ? 0 : (size_t)n;
    }
}

static void check_output(const struct ltd_bytes *out)
{
    if (out->len == 0 || (out->len >= 9 && memcmp(out->data, "HTTP/1.1 ", 9) == 0))
        return;
    for (size_t at = 0; at + 9 <= out->len;) {
        const uint8_t *head = out->data + at;
        size_t n = (size_t)head[0] << 16 | (size_t)head[1] << 8 | head[2];
        /* A client that does not begin as one may be told so at once, with a GOAWAY. */
        FUZZ_CHECK(at > 0 || head[3] == 4 || (head[3] == 7 && 9 + n == out->len),
                   "the first frame is of type %u", head[3]);
        FUZZ_CHECK(n <= FRAME_MAX && head[3] <= 9, "a frame of type %u and %zu bytes at %zu",
                   head[3], n, at);
        at += 9 + n;
    }
}

static void check_nothing_left(void)
{
    struct rpc_server_stats stats;
    int n_ended = 0, n_started = atomic_load(&world.echo.n_started);
    for (int i = 0; i < N_TURNS && (n_connections() > 0 || atomic_load(&world.echo.n_live)); i++)
        uv_run(&world.loop, UV_RUN_NOWAIT);
    rpc_server_stats(world.server, &stats);
    FUZZ_CHECK(stats.n_connections == 0 && stats.buffered_bytes == 0,
               "%u connections and %zu bytes are left", stats.n_connections, stats.buffered_bytes);
    for (int i = 0; i < ECHO_N_ENDS; i++)
        n_ended += atomic_load(&world.echo.ends[i]);
    FUZZ_CHECK(atomic_load(&world.echo.n_live) == 0 && n_ended == n_started,
               "%d calls began, %d ended", n_started, n_ended);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct fuzz_input in = {data, len};
    uint8_t knobs = fuzz_u8(&in);
    uint32_t seed = fuzz_u32(&in);
    struct ltd_bytes out;
    start();
    ltd_bytes_init(&out);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    FUZZ_CHECK(fd >= 0 && connect(fd, (struct sockaddr *)&world.address, sizeof world.address) == 0,
               "cannot connect");
    if (knobs & 1)
        write_all(fd, PREFACE, sizeof PREFACE - 1, &out);
    for (size_t at = 0; at < in.len;) {
        size_t n = fuzz_piece(&seed, in.len - at);
        write_all(fd, in.data + at, n, &out);
        at += n;
        if (seed >> 28 == 0)
            settle(fd, &out);
    }
    if (knobs & 2)
        shutdown(fd, SHUT_WR);
    settle(fd, &out);
    close(fd);
    check_output(&out);
    check_nothing_left();
    ltd_bytes_fini(&out);
    return 0;
}
