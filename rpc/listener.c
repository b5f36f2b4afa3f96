/* SPDX-License-Identifier: Apache-2.0 */
/* rpc/listener.c - see rpc/listener.h. */
#include "rpc/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"

/* Connections the kernel keeps for us while the loop is busy. */
#define BACKLOG 512

/* Accepted in a row before connections get their turn. */
#define ACCEPTS_PER_TURN 32

/* How long a process without descriptors waits for some to be closed. */
#define PAUSE_MS 100

static int fail_errno(struct ltd_err *err, const char *what, const char *address)
{
    int e = errno;
    enum ltd_code code = e == EADDRINUSE ? LTD_E_EXISTS : LTD_E_INTERNAL;
    if (e == EADDRNOTAVAIL)
        code = LTD_E_INVALID;
    return ltd_fail(err, code, "%s %s: %s", what, address, strerror(e));
}

static int bind_and_listen(const struct sockaddr *sa, socklen_t sa_bytes, const char *address,
                           struct ltd_err *err)
{
    int fd = socket(sa->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return fail_errno(err, "open a socket for", address);
    int one = 1;
    if (sa->sa_family != AF_UNIX)
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (sa->sa_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one);
    if (bind(fd, sa, sa_bytes) != 0 || listen(fd, BACKLOG) != 0) {
        fail_errno(err, "listen at", address);
        close(fd);
        return -1;
    }
    return fd;
}

static int open_tcp(struct rpc_listener *l, const struct rpc_address *where, const char *address,
                    struct ltd_err *err)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    struct addrinfo *found = NULL;
    int rv = getaddrinfo(where->host, where->port, &hints, &found);
    if (rv != 0)
        return ltd_fail(err, LTD_E_INVALID, "listen at %s: %s", address, gai_strerror(rv));
    l->fd = bind_and_listen(found->ai_addr, found->ai_addrlen, address, err);
    freeaddrinfo(found);
    if (l->fd < 0)
        return -1;
    struct sockaddr_storage real;
    socklen_t real_bytes = sizeof real;
    if (getsockname(l->fd, (struct sockaddr *)&real, &real_bytes) != 0)
        return fail_errno(err, "read the bound address of", address);
    char text[RPC_ADDRESS_BYTES];
    rpc_address_format((struct sockaddr *)&real, real_bytes, text);
    snprintf(l->address, sizeof l->address, "%s%.*s", where->is_tls ? "tls:" : "",
             RPC_ADDRESS_BYTES - 5, text);
    return 0;
}

/* Whoever holds the lock may look at the path and replace it. */
static int lock_path(struct rpc_listener *l, const struct rpc_address *where, const char *address,
                     struct ltd_err *err)
{
    char name[sizeof where->path.sun_path + 8];
    snprintf(name, sizeof name, "%s.lock", where->path.sun_path);
    l->lock_fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (l->lock_fd < 0)
        return fail_errno(err, "open the lock file of", address);
    if (flock(l->lock_fd, LOCK_EX | LOCK_NB) == 0)
        return 0;
    if (errno == EWOULDBLOCK)
        return ltd_fail(err, LTD_E_EXISTS, "listen at %s: another server holds %s", address, name);
    return fail_errno(err, "lock", name);
}

/* True when something accepts connections there; a full backlog is a live server too. */
static bool is_answered(const struct sockaddr_un *path)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return true;
    int rv = connect(fd, (const struct sockaddr *)path, sizeof *path);
    bool dead = rv != 0 && errno == ECONNREFUSED;
    close(fd);
    return !dead;
}

static int clear_path(const struct rpc_address *where, const char *address, struct ltd_err *err)
{
    const char *path = where->path.sun_path;
    struct stat st;
    if (lstat(path, &st) != 0)
        return errno == ENOENT ? 0 : fail_errno(err, "look at", address);
    if (!S_ISSOCK(st.st_mode))
        return ltd_fail(err, LTD_E_EXISTS,
                        "listen at %s: the path exists and is not a socket; it is left alone",
                        address);
    if (is_answered(&where->path))
        return ltd_fail(err, LTD_E_EXISTS, "listen at %s: a live server answers there", address);
    if (unlink(path) != 0)
        return fail_errno(err, "remove the dead socket", address);
    ltd_info("rpc: removed the socket a dead server left at %s", path);
    return 0;
}

static int open_unix(struct rpc_listener *l, const struct rpc_address *where, const char *address,
                     struct ltd_err *err)
{
    if (lock_path(l, where, address, err) != 0 || clear_path(where, address, err) != 0)
        return -1;
    const struct sockaddr *path = (const struct sockaddr *)&where->path;
    l->fd = bind_and_listen(path, sizeof where->path, address, err);
    if (l->fd < 0)
        return -1;
    memcpy(l->path, where->path.sun_path, sizeof l->path);
    snprintf(l->address, sizeof l->address, "unix:%s", l->path);
    return 0;
}

static void on_poll(uv_poll_t *poll, int status, int events);

static void on_pause_over(uv_timer_t *timer)
{
    struct rpc_listener *l = timer->data;
    uv_poll_start(&l->poll, UV_READABLE, on_poll);
}

/* Said once, and again only after a connection was accepted in between. */
static void pause_accepting(struct rpc_listener *l, int error)
{
    if (!l->is_short)
        ltd_warning("rpc: accept at %s: %s; new connections wait", l->address, strerror(error));
    l->is_short = true;
    uv_poll_stop(&l->poll);
    uv_timer_start(&l->pause, on_pause_over, PAUSE_MS, 0);
}

static bool is_shortage(int error)
{
    return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct rpc_listener *l = poll->data;
    (void)status;
    (void)events;
    for (int i = 0; i < ACCEPTS_PER_TURN && l->fd >= 0; i++) {
        int fd = accept4(l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0 && is_shortage(errno)) {
            pause_accepting(l, errno);
            return;
        }
        if (fd < 0 && (errno == EINTR || errno == ECONNABORTED))
            continue;
        if (fd < 0)
            return; /* EAGAIN: no more are waiting; others concern that connection only */
        int one = 1;
        l->is_short = false;
        if (!l->is_unix)
            setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        l->on_accept(l->arg, l, fd);
    }
}

static void close_fds(struct rpc_listener *l)
{
    if (l->path[0])
        unlink(l->path); /* under our lock, so it can only be our own socket */
    if (l->fd >= 0)
        close(l->fd);
    if (l->lock_fd >= 0)
        close(l->lock_fd);
    l->fd = l->lock_fd = -1;
}

struct rpc_listener *rpc_listener_open(uv_loop_t *loop, const char *address,
                                       rpc_accept_fn on_accept, void *arg, struct ltd_err *err)
{
    struct rpc_address where;
    if (rpc_address_parse(address, &where, err) != 0)
        return NULL;
    struct rpc_listener *l = calloc(1, sizeof *l);
    if (!l)
        return ltd_fail_null(err, LTD_E_EXHAUSTED, "no memory for a listener at %s", address);
    *l = (struct rpc_listener){
        .on_accept = on_accept, .arg = arg, .is_unix = where.is_unix, .is_tls = where.is_tls};
    l->fd = l->lock_fd = -1;

    int rv = where.is_unix ? open_unix(l, &where, address, err) : open_tcp(l, &where, address, err);
    if (rv != 0)
        goto fail;
    rv = uv_poll_init(loop, &l->poll, l->fd);
    if (rv != 0) {
        ltd_fail(err, LTD_E_INTERNAL, "listen at %s: %s", address, uv_strerror(rv));
        goto fail;
    }
    uv_timer_init(loop, &l->pause);
    l->poll.data = l->pause.data = l;
    l->n_handles = 2;
    uv_poll_start(&l->poll, UV_READABLE, on_poll);
    return l;
fail:
    close_fds(l);
    free(l);
    return NULL;
}

static void on_closed(uv_handle_t *handle)
{
    struct rpc_listener *l = handle->data;
    if (--l->n_handles > 0)
        return;
    void (*closed)(void *arg) = l->closed;
    void *arg = l->arg;
    free(l);
    closed(arg);
}

void rpc_listener_close(struct rpc_listener *listener, void (*closed)(void *arg))
{
    listener->closed = closed;
    uv_close((uv_handle_t *)&listener->poll, on_closed);
    uv_close((uv_handle_t *)&listener->pause, on_closed);
    close_fds(listener);
}
