/* SPDX-License-Identifier: Apache-2.0 */
/* tests/cli/proxy.c - see tests/cli/proxy.h. */
#include "tests/cli/proxy.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define MAX_PAIRS 16

struct pair {
    int client, server; /* -1: free */
    uint32_t n_left;    /* bytes until the cut */
};

struct proxy {
    char path[108], server[108];
    int listener;
    int wake[2]; /* a byte ends the thread */
    pthread_t thread;
    struct pair pairs[MAX_PAIRS];
    pthread_mutex_t lock; /* of the plan */
    uint32_t cuts[PROXY_MAX_CUTS];
    size_t n_cuts, next;
    atomic_uint n_cut;
    atomic_ullong n_bytes;
};

static void must(bool ok, const char *what)
{
    if (!ok) {
        fprintf(stderr, "proxy: %s: %s\n", what, strerror(errno));
        abort();
    }
}

static void fill_address(struct sockaddr_un *address, const char *path)
{
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    snprintf(address->sun_path, sizeof address->sun_path, "%s", path);
}

static void close_pair(struct pair *pair)
{
    close(pair->client);
    close(pair->server);
    pair->client = pair->server = -1;
}

static uint32_t next_cut(struct proxy *proxy)
{
    pthread_mutex_lock(&proxy->lock);
    uint32_t cut = proxy->next < proxy->n_cuts ? proxy->cuts[proxy->next++] : UINT32_MAX;
    pthread_mutex_unlock(&proxy->lock);
    return cut;
}

static void accept_one(struct proxy *proxy)
{
    struct sockaddr_un address;
    struct pair *pair = proxy->pairs;
    while (pair->client >= 0)
        must(++pair < proxy->pairs + MAX_PAIRS, "too many connections");
    int client = accept(proxy->listener, NULL, NULL);
    must(client >= 0, "accept");
    uint32_t cut = next_cut(proxy);
    fill_address(&address, proxy->server);
    int server = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool is_there = connect(server, (struct sockaddr *)&address, sizeof address) == 0;
    *pair = (struct pair){client, server, cut};
    if (cut == 0 || !is_there) {
        atomic_fetch_add(&proxy->n_cut, 1);
        close_pair(pair);
    }
}

/* All of `len` bytes, or false when the other end is gone. */
static bool pass_on(int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = send(fd, data, len, MSG_NOSIGNAL);
        if (n <= 0)
            return false;
        data += n;
        len -= (size_t)n;
    }
    return true;
}

static bool pump_up(struct pair *pair)
{
    char block[4096];
    ssize_t n = read(pair->client, block, sizeof block);
    return n > 0 && pass_on(pair->server, block, (size_t)n);
}

static bool pump_down(struct proxy *proxy, struct pair *pair)
{
    char block[4096];
    ssize_t n = read(pair->server, block, sizeof block);
    if (n <= 0)
        return false;
    uint32_t n_now = (uint32_t)n < pair->n_left ? (uint32_t)n : pair->n_left;
    atomic_fetch_add(&proxy->n_bytes, n_now);
    if (!pass_on(pair->client, block, n_now))
        return false;
    if (pair->n_left != UINT32_MAX)
        pair->n_left -= n_now;
    if (pair->n_left == 0)
        atomic_fetch_add(&proxy->n_cut, 1);
    return pair->n_left > 0;
}

static void *run(void *arg)
{
    struct proxy *proxy = arg;
    for (;;) {
        struct pollfd fds[2 + 2 * MAX_PAIRS] = {{proxy->wake[0], POLLIN, 0},
                                                {proxy->listener, POLLIN, 0}};
        for (size_t i = 0; i < MAX_PAIRS; i++) {
            fds[2 + 2 * i] = (struct pollfd){proxy->pairs[i].client, POLLIN, 0};
            fds[3 + 2 * i] = (struct pollfd){proxy->pairs[i].server, POLLIN, 0};
        }
        if (poll(fds, 2 + 2 * MAX_PAIRS, -1) < 0)
            continue;
        if (fds[0].revents)
            return NULL;
        for (size_t i = 0; i < MAX_PAIRS; i++) {
            struct pair *pair = &proxy->pairs[i];
            bool ok = !fds[2 + 2 * i].revents || pump_up(pair);
            if (ok && fds[3 + 2 * i].revents)
                ok = pump_down(proxy, pair);
            if (!ok)
                close_pair(pair);
        }
        if (fds[1].revents)
            accept_one(proxy);
    }
}

struct proxy *proxy_start(const char *path, const char *server)
{
    struct sockaddr_un address;
    struct proxy *proxy = calloc(1, sizeof *proxy);
    must(proxy, "no memory");
    snprintf(proxy->path, sizeof proxy->path, "%s", path);
    snprintf(proxy->server, sizeof proxy->server, "%s", server);
    pthread_mutex_init(&proxy->lock, NULL);
    for (size_t i = 0; i < MAX_PAIRS; i++)
        proxy->pairs[i].client = proxy->pairs[i].server = -1;
    must(pipe(proxy->wake) == 0, "pipe");
    fill_address(&address, path);
    proxy->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    must(bind(proxy->listener, (struct sockaddr *)&address, sizeof address) == 0, "bind");
    must(listen(proxy->listener, 16) == 0, "listen");
    must(pthread_create(&proxy->thread, NULL, run, proxy) == 0, "no thread");
    return proxy;
}

void proxy_stop(struct proxy *proxy)
{
    must(write(proxy->wake[1], "x", 1) == 1, "wake");
    pthread_join(proxy->thread, NULL);
    for (size_t i = 0; i < MAX_PAIRS; i++)
        if (proxy->pairs[i].client >= 0)
            close_pair(&proxy->pairs[i]);
    close(proxy->listener);
    close(proxy->wake[0]);
    close(proxy->wake[1]);
    unlink(proxy->path);
    pthread_mutex_destroy(&proxy->lock);
    free(proxy);
}

void proxy_plan(struct proxy *proxy, const uint32_t *cuts, size_t n)
{
    must(n <= PROXY_MAX_CUTS, "a plan that is too long");
    pthread_mutex_lock(&proxy->lock);
    if (n > 0)
        memcpy(proxy->cuts, cuts, n * sizeof *cuts);
    proxy->n_cuts = n;
    proxy->next = 0;
    pthread_mutex_unlock(&proxy->lock);
    atomic_store(&proxy->n_cut, 0);
    atomic_store(&proxy->n_bytes, 0);
}

uint32_t proxy_n_cut(const struct proxy *proxy)
{
    return atomic_load(&proxy->n_cut);
}

uint64_t proxy_n_bytes(const struct proxy *proxy)
{
    return atomic_load(&proxy->n_bytes);
}
