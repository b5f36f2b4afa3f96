/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench/rpc/floor.c - what the system calls of an answer cost: the least that any server can pay.
 *
 *     floor     prints "listening PORT", serves one connection after the other until it is killed
 *
 * It waits with epoll, reads once and writes once, as every server must, and between that it does
 * next to nothing: frames are counted off, and each request gets the same bytes that are a right
 * answer of UnaryCall to the request of bench/rpc/ab.py. No HPACK, no flow control, no checks. What
 * A (the stock C++ server) costs divided by what this costs is the largest ratio that a server on this
 * machine can have against A; with one call at a time it is small, because then nearly all of the
 * time goes into falling asleep and being woken.
 */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define PREFACE_BYTES 24
#define FRAME_HEAD    9

enum { DATA = 0, HEADERS = 1, SETTINGS = 4, WINDOW_UPDATE = 8 };
enum { ACK = 1, END_STREAM = 1, END_HEADERS = 4 };

struct buffer {
    size_t len;
    uint8_t bytes[1 << 20];
};

static struct buffer in, out;

static void put(const void *data, size_t len)
{
    if (len > sizeof out.bytes - out.len)
        abort();
    memcpy(out.bytes + out.len, data, len);
    out.len += len;
}

static void put_frame(uint8_t type, uint8_t flags, uint32_t stream_id, const void *data, size_t len)
{
    const uint8_t head[FRAME_HEAD] = {0,
                                      (uint8_t)(len >> 8),
                                      (uint8_t)len,
                                      type,
                                      flags,
                                      (uint8_t)(stream_id >> 24),
                                      (uint8_t)(stream_id >> 16),
                                      (uint8_t)(stream_id >> 8),
                                      (uint8_t)stream_id};
    put(head, sizeof head);
    put(data, len);
}

/* ":status: 200" by its index, the others literally: RFC 7541 §6.1 and §6.2.2. */
static void answer(uint32_t stream_id, size_t request_bytes)
{
    static const char headers[] = "\x88\x00\x0c"
                                  "content-type"
                                  "\x10"
                                  "application/grpc";
    static const char trailers[] = "\x00\x0b"
                                   "grpc-status"
                                   "\x01"
                                   "0";
    static const uint8_t message[25] = {0, 0, 0, 0, 20, 10, 18, 18, 16};
    const uint8_t window[4] = {0, 0, (uint8_t)(request_bytes >> 8), (uint8_t)request_bytes};
    put_frame(HEADERS, END_HEADERS, stream_id, headers, sizeof headers - 1);
    put_frame(DATA, 0, stream_id, message, sizeof message);
    put_frame(HEADERS, END_HEADERS | END_STREAM, stream_id, trailers, sizeof trailers - 1);
    put_frame(WINDOW_UPDATE, 0, 0, window, sizeof window);
}

/* Returns the bytes that were whole frames. */
static size_t take_frames(const uint8_t *at, size_t len)
{
    size_t begin = 0;
    while (len - begin >= FRAME_HEAD) {
        const uint8_t *head = at + begin;
        size_t body = (size_t)head[0] << 16 | (size_t)head[1] << 8 | head[2];
        uint32_t stream_id;
        if (len - begin < FRAME_HEAD + body)
            break;
        memcpy(&stream_id, head + 5, sizeof stream_id);
        if (head[3] == SETTINGS && !(head[4] & ACK))
            put_frame(SETTINGS, ACK, 0, "", 0);
        if (head[3] == DATA && head[4] & END_STREAM)
            answer(ntohl(stream_id), body);
        begin += FRAME_HEAD + body;
    }
    return begin;
}

static void serve(int fd)
{
    struct epoll_event event = {.events = EPOLLIN};
    int one = 1, epoll = epoll_create1(EPOLL_CLOEXEC);
    bool has_greeted = false;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
    in.len = 0;
    while (epoll_wait(epoll, &event, 1, -1) > 0) {
        ssize_t n = recv(fd, in.bytes + in.len, sizeof in.bytes - in.len, 0);
        size_t taken = 0;
        if (n <= 0)
            break;
        in.len += (size_t)n;
        out.len = 0;
        if (!has_greeted && in.len >= PREFACE_BYTES) {
            has_greeted = true;
            taken = PREFACE_BYTES;
            put_frame(SETTINGS, 0, 0, "", 0);
        }
        if (has_greeted)
            taken += take_frames(in.bytes + taken, in.len - taken);
        memmove(in.bytes, in.bytes + taken, in.len - taken);
        in.len -= taken;
        if (out.len > 0 && send(fd, out.bytes, out.len, MSG_NOSIGNAL) != (ssize_t)out.len)
            break;
    }
    close(epoll);
    close(fd);
}

int main(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(listener, (struct sockaddr *)&address, size) != 0 || listen(listener, 16) != 0 ||
        getsockname(listener, (struct sockaddr *)&address, &size) != 0) {
        perror("floor");
        return 1;
    }
    printf("listening %d\n", ntohs(address.sin_port));
    fflush(stdout);
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0)
            serve(fd);
    }
}
