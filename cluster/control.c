/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cluster/control.c - see cluster/control.h.
 *
 *     rank 0: listen; broadcast address, port, token   workers: connect, send token and rank
 *     all:    agree that every connect worked          (a connect succeeds in the backlog already)
 *     rank 0: accept, read tokens, hang up on strangers; wait for all at once, so that one who says
 *             nothing holds up nobody
 *     all:    agree that every worker was found
 *
 * Invariant: the collectives are the same ones whatever fails, so nobody waits for ever.
 */
#include "cluster/control.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <netdb.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "cluster/address.h"
#include "cluster/comm.h"
#include "cluster/handshake.h"
#include "cluster/world.h"

#define TOKEN_BYTES 32
/* All workers have sent their hello when rank 0 accepts, so these only bound packet loss. */
#define CONNECT_MS 10000
#define ACCEPT_MS  15000
/* Connections that have not said who they are; one more, and the one that waits longest must go. */
#define GUESTS_MAX 32

/* What rank 0 tells by broadcast; all ranks are the same build, so the bytes are the struct's. */
struct invitation {
    char address[CLUS_ADDRESS_BYTES];
    char port[8];
    uint8_t token[TOKEN_BYTES];
};

struct hello {
    uint8_t token[TOKEN_BYTES];
    int32_t rank;
};

struct clus_control {
    struct clus_world *world; /* borrowed */
    int32_t rank, size;
    int *fds; /* [size] rank 0: to each worker; worker: fds[0] to rank 0; -1 = none */
};

/* ---- sockets with deadlines --------------------------------------------------------------- */

/* 1 ready, 0 the deadline passed, -1 error in errno. A signal only interrupts the wait. */
static int wait_for(int fd, short events, uint64_t deadline_ns)
{
    for (;;) {
        int timeout_ms = -1;
        if (deadline_ns != LTD_NEVER) {
            uint64_t now = ltd_now_ns();
            timeout_ms = now < deadline_ns ? (int)((deadline_ns - now) / LTD_NS_PER_MS + 1) : 0;
        }
        struct pollfd p = {.fd = fd, .events = events};
        int n = poll(&p, 1, timeout_ms);
        if (n > 0 || (n == 0 && timeout_ms >= 0))
            return n;
        if (n < 0 && errno != EINTR)
            return -1;
    }
}

/* Send or receive exactly `len` bytes; 0, or -1 with errno (0 = the other end hung up). */
static int transfer(int fd, bool is_send, void *data, size_t len, uint64_t deadline_ns)
{
    uint8_t *at = data;
    while (len > 0) {
        ssize_t n = is_send ? send(fd, at, len, MSG_NOSIGNAL) : recv(fd, at, len, 0);
        if (n > 0) {
            at += n;
            len -= (size_t)n;
            continue;
        }
        if (n == 0) {
            errno = 0;
            return -1;
        }
        if (errno == EINTR)
            continue;
        if (errno != EAGAIN && errno != EWOULDBLOCK)
            return -1;
        int ready = wait_for(fd, is_send ? POLLOUT : POLLIN, deadline_ns);
        if (ready <= 0) {
            errno = ready == 0 ? ETIMEDOUT : errno;
            return -1;
        }
    }
    return 0;
}

/* One byte at a time must leave at once, and a host that is cut off must be noticed while both ends
 * are silent: 15 s idle, then three probes 5 s apart. Failing to set these only costs comfort. */
static void tune(int fd)
{
    const int on = 1, idle_s = 15, interval_s = 5, n_probes = 3;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof idle_s);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval_s, sizeof interval_s);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &n_probes, sizeof n_probes);
}

static struct addrinfo *numeric_address(const char *address, const char *port)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC,
                             .ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    return getaddrinfo(address, port, &hints, &found) == 0 ? found : NULL;
}

static int new_socket(const struct addrinfo *at)
{
    return socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
}

/* ---- rank 0 ------------------------------------------------------------------------------- */

static int name_port(int fd, char *port, size_t port_bytes)
{
    struct sockaddr_storage bound;
    socklen_t len = sizeof bound;
    if (getsockname(fd, (struct sockaddr *)&bound, &len) != 0)
        return -1;
    return getnameinfo((struct sockaddr *)&bound, len, NULL, 0, port, (socklen_t)port_bytes,
                       NI_NUMERICSERV);
}

/* Listen on a port of the system's choice and fill the invitation. Returns the socket or -1. */
static int invite(const struct clus_control *control, const char *address,
                  struct invitation *invitation, struct ltd_err *err)
{
    if (clus_address_choose(address, clus_world_is_one_host(control->world), invitation->address,
                            err))
        return -1;
    if (getrandom(invitation->token, TOKEN_BYTES, 0) != TOKEN_BYTES)
        return ltd_fail(err, LTD_E_RANK, "random token: %s", strerror(errno));
    struct addrinfo *at = numeric_address(invitation->address, "0");
    int fd = at ? new_socket(at) : -1;
    if (fd < 0 || bind(fd, at->ai_addr, at->ai_addrlen) != 0 ||
        listen(fd, SOMAXCONN) != 0 || /* strangers must not fill the places of workers */
        name_port(fd, invitation->port, sizeof invitation->port) != 0) {
        ltd_fail(err, LTD_E_RANK, "listen on control address %s: %s", invitation->address,
                 strerror(errno));
        if (fd >= 0)
            close(fd);
        fd = -1;
    }
    if (at)
        freeaddrinfo(at);
    return fd;
}

static bool tokens_equal(const uint8_t *a, const uint8_t *b)
{
    uint8_t differ = 0;
    for (int i = 0; i < TOKEN_BYTES; i++)
        differ |= a[i] ^ b[i];
    return differ == 0;
}

/* A connection whose other end is not known yet. */
struct guest {
    int fd;
    size_t n_read;
    struct hello hello;
};

struct reception {
    struct clus_control *control;
    const struct invitation *invitation;
    int listener;
    struct guest guests[GUESTS_MAX]; /* in the order of arrival */
    int n_guests;
    int32_t n_left; /* workers that are still missing */
};

static bool is_worker(const struct reception *r, const struct hello *hello)
{
    return tokens_equal(hello->token, r->invitation->token) && hello->rank > 0 &&
           hello->rank < r->control->size && r->control->fds[hello->rank] < 0;
}

/* Read what the guest says. True when it is a guest no more: kept as a worker, or hung up on. */
static bool listen_to(struct reception *r, struct guest *guest)
{
    const size_t size = sizeof guest->hello;
    ssize_t n = recv(guest->fd, (uint8_t *)&guest->hello + guest->n_read, size - guest->n_read, 0);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
        return false;
    guest->n_read += n > 0 ? (size_t)n : 0;
    if (n > 0 && guest->n_read < size)
        return false;
    if (n <= 0 || !is_worker(r, &guest->hello)) {
        close(guest->fd);
        return true;
    }
    tune(guest->fd);
    r->control->fds[guest->hello.rank] = guest->fd;
    r->n_left--;
    return true;
}

static void forget_guest(struct reception *r, int idx)
{
    r->n_guests--;
    memmove(&r->guests[idx], &r->guests[idx + 1],
            (size_t)(r->n_guests - idx) * sizeof r->guests[0]);
}

/* Take one connection in; -1 only when this process cannot have another one. */
static int admit(struct reception *r, struct ltd_err *err)
{
    int fd = accept4(r->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM))
        return ltd_fail(err, LTD_E_RANK, "control socket: accept: %s", strerror(errno));
    if (fd < 0)
        return 0; /* it was reset while it waited, or there was none */
    if (r->n_guests == GUESTS_MAX) {
        close(r->guests[0].fd);
        forget_guest(r, 0);
    }
    r->guests[r->n_guests] = (struct guest){.fd = fd};
    if (!listen_to(r, &r->guests[r->n_guests]))
        r->n_guests++;
    return 0;
}

/* Wait until somebody says something or knocks, and attend to it. 0, or -1 with the reason. */
static int attend(struct reception *r, uint64_t deadline_ns, struct ltd_err *err)
{
    struct pollfd polled[GUESTS_MAX + 1] = {{.fd = r->listener, .events = POLLIN}};
    uint64_t now_ns = ltd_now_ns();
    if (now_ns >= deadline_ns)
        return ltd_fail(err, LTD_E_RANK, "control socket: %d workers missing after %d ms",
                        r->n_left, ACCEPT_MS);
    for (int i = 0; i < r->n_guests; i++)
        polled[1 + i] = (struct pollfd){.fd = r->guests[i].fd, .events = POLLIN};
    int timeout_ms = (int)((deadline_ns - now_ns) / LTD_NS_PER_MS + 1);
    if (poll(polled, (nfds_t)r->n_guests + 1, timeout_ms) < 0)
        return errno == EINTR ? 0
                              : ltd_fail(err, LTD_E_RANK, "control socket: %s", strerror(errno));
    /* From the last one, so that forgetting one does not move those still to be looked at. */
    for (int i = r->n_guests; i-- > 0;)
        if (polled[1 + i].revents && listen_to(r, &r->guests[i]))
            forget_guest(r, i);
    return polled[0].revents ? admit(r, err) : 0;
}

static int accept_workers(struct clus_control *control, int listener,
                          const struct invitation *invitation, struct ltd_err *err)
{
    struct reception r = {.control = control,
                          .invitation = invitation,
                          .listener = listener,
                          .n_left = control->size - 1};
    uint64_t deadline_ns = ltd_deadline_ns(ACCEPT_MS);
    int rc = 0;
    while (rc == 0 && r.n_left > 0)
        rc = attend(&r, deadline_ns, err);
    for (int i = 0; i < r.n_guests; i++)
        close(r.guests[i].fd);
    return rc;
}

/* ---- workers ------------------------------------------------------------------------------ */

static int connect_until(int fd, const struct addrinfo *at, uint64_t deadline_ns)
{
    int error = 0;
    socklen_t len = sizeof error;
    if (connect(fd, at->ai_addr, at->ai_addrlen) == 0)
        return 0;
    if (errno != EINPROGRESS && errno != EINTR)
        return -1;
    int ready = wait_for(fd, POLLOUT, deadline_ns);
    if (ready == 0)
        errno = ETIMEDOUT;
    if (ready <= 0 || getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0)
        return -1;
    errno = error;
    return error == 0 ? 0 : -1;
}

static int join(struct clus_control *control, const struct invitation *invitation,
                struct ltd_err *err)
{
    uint64_t deadline_ns = ltd_deadline_ns(CONNECT_MS);
    struct hello hello = {.rank = control->rank};
    memcpy(hello.token, invitation->token, TOKEN_BYTES);
    struct addrinfo *at = numeric_address(invitation->address, invitation->port);
    int fd = at ? new_socket(at) : -1;
    bool is_joined = fd >= 0 && connect_until(fd, at, deadline_ns) == 0 &&
                     transfer(fd, true, &hello, sizeof hello, deadline_ns) == 0;
    if (!is_joined)
        ltd_fail(err, LTD_E_RANK, "connect to rank 0's control address %s port %s: %s",
                 invitation->address, invitation->port, strerror(errno));
    if (at)
        freeaddrinfo(at);
    if (!is_joined && fd >= 0)
        close(fd);
    if (!is_joined)
        return -1;
    tune(fd);
    control->fds[0] = fd;
    return 0;
}

/* ---- the object --------------------------------------------------------------------------- */

static int connect_all(struct clus_control *control, const char *address, struct ltd_err *err)
{
    struct invitation invitation = {0};
    struct ltd_err status = {0};
    int listener = -1;
    if (!control->fds)
        ltd_fail(&status, LTD_E_RANK, "control sockets: no memory");
    else if (control->rank == 0)
        listener = invite(control, address, &invitation, &status);
    int rc = clus_comm_broadcast(control->world, &invitation, sizeof invitation, err);
    if (rc == 0 && control->rank > 0 && status.code == LTD_OK && invitation.port[0] != '\0')
        join(control, &invitation, &status);
    rc = rc || clus_agree(control->world, &status, err);
    if (rc == 0 && control->rank == 0)
        accept_workers(control, listener, &invitation, &status);
    rc = rc || clus_agree(control->world, &status, err);
    if (listener >= 0)
        close(listener);
    return rc ? -1 : 0;
}

struct clus_control *clus_control_open(struct clus_world *world, const char *address,
                                       struct ltd_err *err)
{
    /* No early return: a rank without memory must still take part in what follows. */
    struct clus_control blank = {
        .world = world, .rank = clus_world_rank(world), .size = clus_world_size(world)};
    struct clus_control *control = malloc(sizeof *control);
    if (control)
        blank.fds = malloc((size_t)blank.size * sizeof *blank.fds);
    for (int32_t i = 0; blank.fds && i < blank.size; i++)
        blank.fds[i] = -1;
    int rc = connect_all(&blank, address, err);
    if (!control)
        return NULL;
    *control = blank;
    if (rc) {
        clus_control_close(control);
        return NULL;
    }
    return control;
}

void clus_control_close(struct clus_control *control)
{
    if (!control)
        return;
    for (int32_t i = 0; control->fds && i < control->size; i++)
        if (control->fds[i] >= 0)
            close(control->fds[i]);
    free(control->fds);
    free(control);
}

int clus_control_wake(struct clus_control *control, struct ltd_err *err)
{
    for (int32_t rank = 1; rank < control->size; rank++) {
        uint8_t bell = 1;
        if (transfer(control->fds[rank], true, &bell, 1, ltd_deadline_ns(CONNECT_MS)) != 0)
            return ltd_fail(err, LTD_E_RANK, "wake rank %d on host %s: %s", rank,
                            clus_world_host_of(control->world, rank), strerror(errno));
    }
    return 0;
}

int clus_control_wait(struct clus_control *control, struct ltd_err *err)
{
    uint8_t bell;
    if (transfer(control->fds[0], false, &bell, 1, LTD_NEVER) == 0)
        return 0;
    return ltd_fail(err, LTD_E_RANK, "rank 0 on host %s is gone: %s",
                    clus_world_host_of(control->world, 0),
                    errno ? strerror(errno) : "it closed the control socket");
}
