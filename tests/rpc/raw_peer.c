/* SPDX-License-Identifier: Apache-2.0 */
/* tests/rpc/raw_peer.c - see tests/rpc/raw_peer.h. */
#include "raw_peer.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "rpc/address.h"

#define PATIENCE_MS 10000

void raw_connect(struct raw *raw, const char *address)
{
    struct rpc_address where;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    int rv = -1;
    memset(raw, 0, sizeof *raw);
    nghttp2_hd_inflate_new(&raw->inflater);
    assert_int_equal(rpc_address_parse(address, &where, NULL), 0);
    if (where.is_unix) {
        raw->fd = socket(AF_UNIX, SOCK_STREAM, 0);
        rv = connect(raw->fd, (struct sockaddr *)&where.path, sizeof where.path);
    } else if (getaddrinfo(where.host, where.port, &hints, &found) == 0) {
        raw->fd = socket(found->ai_family, SOCK_STREAM, 0);
        rv = connect(raw->fd, found->ai_addr, found->ai_addrlen);
        freeaddrinfo(found);
    }
    int one = 1; /* fails on a Unix socket, which has no delay */
    setsockopt(raw->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (rv != 0)
        fail_msg("connect %s: %s", address, strerror(errno));
}

void raw_close(struct raw *raw)
{
    close(raw->fd);
    nghttp2_hd_inflate_del(raw->inflater);
    ltd_bytes_fini(&raw->in);
}

bool raw_send(struct raw *raw, const void *data, size_t len)
{
    const uint8_t *at = data;
    while (len > 0) {
        ssize_t n = send(raw->fd, at, len, MSG_NOSIGNAL);
        if (n <= 0)
            return false;
        at += n;
        len -= (size_t)n;
    }
    return true;
}

bool raw_send_frame(struct raw *raw, uint8_t type, uint8_t flags, uint32_t stream,
                    const void *payload, size_t len)
{
    uint8_t head[9] = {(uint8_t)(len >> 16),
                       (uint8_t)(len >> 8),
                       (uint8_t)len,
                       type,
                       flags,
                       (uint8_t)(stream >> 24),
                       (uint8_t)(stream >> 16),
                       (uint8_t)(stream >> 8),
                       (uint8_t)stream};
    return raw_send(raw, head, sizeof head) && raw_send(raw, payload, len);
}

void raw_hello(struct raw *raw)
{
    raw_send(raw, NGHTTP2_CLIENT_MAGIC, NGHTTP2_CLIENT_MAGIC_LEN);
    raw_send_frame(raw, NGHTTP2_SETTINGS, 0, 0, NULL, 0);
}

static void put_string(struct ltd_bytes *block, const char *text)
{
    size_t len = strlen(text);
    if (len < 127) {
        ltd_bytes_put_u8(block, (uint8_t)len);
    } else { /* RFC 7541 §5.1, seven-bit prefix */
        ltd_bytes_put_u8(block, 127);
        size_t rest = len - 127;
        for (; rest >= 128; rest >>= 7)
            ltd_bytes_put_u8(block, (uint8_t)(rest & 127) | 128);
        ltd_bytes_put_u8(block, (uint8_t)rest);
    }
    ltd_bytes_put(block, text, len);
}

void raw_field(struct ltd_bytes *block, const char *name, const char *value)
{
    ltd_bytes_put_u8(block, 0); /* literal without indexing, new name */
    put_string(block, name);
    put_string(block, value);
}

void raw_request_fields(struct ltd_bytes *block, const char *path)
{
    raw_field(block, ":method", "POST");
    raw_field(block, ":scheme", "http");
    raw_field(block, ":path", path);
    raw_field(block, ":authority", "test");
    raw_field(block, "te", "trailers");
    raw_field(block, "content-type", "application/grpc");
}

void raw_request(struct raw *raw, uint32_t stream, const char *path, const char *extra_name,
                 const char *extra_value)
{
    struct ltd_bytes block = {0};
    raw_request_fields(&block, path);
    if (extra_name)
        raw_field(&block, extra_name, extra_value);
    raw_send_frame(raw, NGHTTP2_HEADERS, RAW_END_HEADERS, stream, block.data, block.len);
    ltd_bytes_fini(&block);
}

void raw_message(struct raw *raw, uint32_t stream, uint8_t flag, const void *data, uint32_t len,
                 uint8_t frame_flags)
{
    struct ltd_bytes message = {0};
    const uint8_t prefix[5] = {flag, (uint8_t)(len >> 24), (uint8_t)(len >> 16),
                               (uint8_t)(len >> 8), (uint8_t)len};
    ltd_bytes_put(&message, prefix, sizeof prefix);
    ltd_bytes_put(&message, data, len);
    raw_send_frame(raw, NGHTTP2_DATA, frame_flags, stream, message.data, message.len);
    ltd_bytes_fini(&message);
}

/* Until `need` bytes are there. False when the server closed. */
static bool fill(struct raw *raw, size_t need)
{
    while (raw->in.len < need) {
        struct pollfd p = {.fd = raw->fd, .events = POLLIN};
        if (poll(&p, 1, PATIENCE_MS) != 1)
            fail_msg("the server said nothing for %d ms and did not close", PATIENCE_MS);
        uint8_t *at = ltd_bytes_reserve(&raw->in, 1 << 16);
        ssize_t n = recv(raw->fd, at, 1 << 16, 0);
        if (n <= 0)
            return false;
        raw->in.len += (size_t)n;
    }
    return true;
}

bool raw_recv_frame(struct raw *raw, struct raw_frame *frame)
{
    if (!fill(raw, 9))
        return false;
    const uint8_t *h = raw->in.data;
    frame->len = (uint32_t)h[0] << 16 | (uint32_t)h[1] << 8 | h[2];
    frame->type = h[3];
    frame->flags = h[4];
    frame->stream = (uint32_t)h[5] << 24 | (uint32_t)h[6] << 16 | (uint32_t)h[7] << 8 | h[8];
    assert_in_range(frame->len, 0, sizeof frame->payload);
    if (!fill(raw, 9 + frame->len))
        return false;
    memcpy(frame->payload, raw->in.data + 9, frame->len);
    raw->in.len -= 9 + frame->len;
    memmove(raw->in.data, raw->in.data + 9 + frame->len, raw->in.len);
    return true;
}

static void keep(char *out, size_t out_bytes, const nghttp2_nv *nv)
{
    size_t n = nv->valuelen < out_bytes - 1 ? nv->valuelen : out_bytes - 1;
    memcpy(out, nv->value, n);
    out[n] = '\0';
}

static void note(struct raw_answer *a, const nghttp2_nv *nv)
{
    size_t at = strlen(a->fields);
    snprintf(a->fields + at, sizeof a->fields - at, "%.*s: %.*s\n", (int)nv->namelen, nv->name,
             (int)nv->valuelen, nv->value);
}

static bool is(const nghttp2_nv *nv, const char *name)
{
    return nv->namelen == strlen(name) && memcmp(nv->name, name, nv->namelen) == 0;
}

static void read_headers(struct raw *raw, const struct raw_frame *frame, struct raw_answer *a,
                         bool ours)
{
    const uint8_t *in = frame->payload;
    size_t left = frame->len;
    char number[16];
    for (;;) {
        nghttp2_nv nv;
        int flags = 0;
        ssize_t n = nghttp2_hd_inflate_hd2(raw->inflater, &nv, &flags, in, left, 1);
        if (n < 0)
            fail_msg("the server's header block cannot be decoded");
        in += n;
        left -= (size_t)n;
        if (flags & NGHTTP2_HD_INFLATE_EMIT && ours) {
            keep(number, sizeof number, &nv);
            note(a, &nv);
            if (is(&nv, ":status"))
                a->http_status = atoi(number);
            else if (is(&nv, "grpc-status"))
                a->grpc_status = atoi(number);
            else if (is(&nv, "grpc-message"))
                keep(a->message, sizeof a->message, &nv);
            else if (is(&nv, "grpc-accept-encoding"))
                keep(a->encodings, sizeof a->encodings, &nv);
        }
        if (flags & NGHTTP2_HD_INFLATE_FINAL) {
            nghttp2_hd_inflate_end_headers(raw->inflater);
            return;
        }
    }
}

static uint32_t u32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void take_frame(struct raw *raw, const struct raw_frame *frame, uint32_t stream,
                       struct raw_answer *a)
{
    bool ours = frame->stream == stream;
    if (frame->type == NGHTTP2_HEADERS) {
        read_headers(raw, frame, a, ours);
        a->n_headers += ours;
    } else if (frame->type == NGHTTP2_DATA && ours) {
        for (size_t i = 0; i < frame->len && a->n_data_bytes + i < sizeof a->data; i++)
            a->data[a->n_data_bytes + i] = frame->payload[i];
        a->n_data_bytes += frame->len;
    } else if (frame->type == NGHTTP2_WINDOW_UPDATE && frame->stream < 16) {
        raw->window[frame->stream] += u32(frame->payload);
    } else if (frame->type == NGHTTP2_RST_STREAM && ours) {
        a->reset = u32(frame->payload);
    } else if (frame->type == NGHTTP2_GOAWAY) {
        a->goaway_last = u32(frame->payload);
        a->goaway = u32(frame->payload + 4);
        size_t n =
            frame->len - 8 < sizeof a->goaway_text - 1 ? frame->len - 8 : sizeof a->goaway_text - 1;
        memcpy(a->goaway_text, frame->payload + 8, n);
        a->goaway_text[n] = '\0';
    }
    if (ours && frame->type <= NGHTTP2_HEADERS && (frame->flags & RAW_END_STREAM))
        a->ended = true;
}

static void start_answer(struct raw_answer *a)
{
    memset(a, 0, sizeof *a);
    a->grpc_status = -1;
    a->reset = a->goaway = -1;
}

void raw_read_answer(struct raw *raw, uint32_t stream, struct raw_answer *answer)
{
    struct raw_frame *frame = malloc(sizeof *frame);
    start_answer(answer);
    while (!answer->ended && answer->reset < 0 && !answer->closed) {
        if (raw_recv_frame(raw, frame))
            take_frame(raw, frame, stream, answer);
        else
            answer->closed = true;
    }
    free(frame);
}

void raw_read_to_end(struct raw *raw, struct raw_answer *answer)
{
    struct raw_frame *frame = malloc(sizeof *frame);
    start_answer(answer);
    while (raw_recv_frame(raw, frame))
        take_frame(raw, frame, UINT32_MAX, answer);
    answer->closed = true;
    free(frame);
}
