/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/rpc/raw_peer.h - an HTTP/2 client that does exactly what a test says, right or wrong.
 *
 * Frames are built by hand; header blocks are written as literals without index or Huffman code, so
 * that any bytes can be sent; header blocks that come back are decoded by nghttp2's inflater. The
 * peer does nothing by itself: no window updates, no acknowledgements, no resets at a deadline.
 */
#ifndef LATENTD_TESTS_RPC_RAW_PEER_H
#define LATENTD_TESTS_RPC_RAW_PEER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <nghttp2/nghttp2.h>

#include "base/bytes.h"

#define RAW_END_STREAM  0x1
#define RAW_ACK         0x1
#define RAW_END_HEADERS 0x4

struct raw {
    int fd;
    nghttp2_hd_inflater *inflater;
    struct ltd_bytes in; /* received, not yet cut into frames */
    uint64_t window[16]; /* by stream id: what WINDOW_UPDATE frames have given back in all */
};

struct raw_frame {
    uint8_t type, flags;
    uint32_t stream;
    uint32_t len;
    uint8_t payload[1 << 14];
};

/* What came back on one stream. */
struct raw_answer {
    int http_status;    /* 0: no headers */
    int grpc_status;    /* -1: none */
    char message[600];  /* grpc-message as it stands on the wire */
    char encodings[64]; /* grpc-accept-encoding */
    char fields[2048];  /* all fields as they came: "name: value\n" each */
    int n_headers;      /* HEADERS frames */
    size_t n_data_bytes;
    uint8_t data[4096]; /* the first of them */
    bool ended;         /* END_STREAM */
    int64_t reset;      /* error code of RST_STREAM; -1: none */
    int64_t goaway;     /* error code; -1: none */
    uint32_t goaway_last;
    char goaway_text[64];
    bool closed; /* the server closed the connection */
};

/* "127.0.0.1:PORT" or "unix:/path". Fails the test when nobody listens. */
void raw_connect(struct raw *raw, const char *address);
void raw_close(struct raw *raw);

/* Send bytes; false when the server has closed. */
bool raw_send(struct raw *raw, const void *data, size_t len);
bool raw_send_frame(struct raw *raw, uint8_t type, uint8_t flags, uint32_t stream,
                    const void *payload, size_t len);

/* Preface and empty SETTINGS. */
void raw_hello(struct raw *raw);

/* Append one literal field to a header block. */
void raw_field(struct ltd_bytes *block, const char *name, const char *value);

/* The fields every gRPC request has, for `path`. */
void raw_request_fields(struct ltd_bytes *block, const char *path);

/* HEADERS of a gRPC request; `extra_name` may be NULL. */
void raw_request(struct raw *raw, uint32_t stream, const char *path, const char *extra_name,
                 const char *extra_value);

/* One gRPC message as DATA. */
void raw_message(struct raw *raw, uint32_t stream, uint8_t flag, const void *data, uint32_t len,
                 uint8_t frame_flags);

/* The next frame; false when the server closed, or after ten seconds (then the test fails). */
bool raw_recv_frame(struct raw *raw, struct raw_frame *frame);

/* Read until `stream` has ended or was reset, or the connection is gone. */
void raw_read_answer(struct raw *raw, uint32_t stream, struct raw_answer *answer);

/* Read until the connection is closed by the server. */
void raw_read_to_end(struct raw *raw, struct raw_answer *answer);

#endif
