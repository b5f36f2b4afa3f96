/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rpc/http1.h - as much of HTTP/1.1 as a page needs: read a request's head, write an answer.
 *
 * For curl, browsers, load balancers and metric collectors on the port of the calls. A request is a
 * line and header fields of at most RPC_HTTP1_HEAD_BYTES, without a body; requests may follow each
 * other on one connection, also before the earlier ones are answered.
 *
 *     bytes ──put()──▶ [ in ] ──next()──▶ request ──rpc_page_make──▶ answer, as bytes
 *
 * Strict where leniency has been the hole in others: lines end in CRLF, names touch their colons,
 * lines are not continued, lengths and codings of bodies are refused. Whatever cannot be read is
 * answered with a status and ends the connection, because nobody knows where the next request
 * would begin.
 *
 * Pure: no I/O, no clock except for the Date field. One owner at a time.
 * Source: RFC 9112 (HTTP/1.1), RFC 9110 (fields).
 */
#ifndef LATENTD_RPC_HTTP1_H
#define LATENTD_RPC_HTTP1_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "rpc/page.h"

/* Request line and fields, with their line ends. More is answered 431. */
#define RPC_HTTP1_HEAD_BYTES ((size_t)8 * 1024)

/* Requests that wait for those in front of them. More is a client that sends and does not read. */
#define RPC_HTTP1_WAITING_BYTES ((size_t)72 * 1024)

struct rpc_http1 {
    struct ltd_bytes in; /* received and not answered */
    size_t scanned;      /* of `in`: octets that were looked at for the end of the head */
    size_t line_begin;   /* of `in`: where the line begins that is being looked at */
};

enum rpc_http1_next {
    RPC_HTTP1_MORE,     /* no whole request is there */
    RPC_HTTP1_ANSWERED, /* one answer was appended; there may be more requests */
    RPC_HTTP1_LAST,     /* one answer was appended, and the connection ends with it */
};

void rpc_http1_init(struct rpc_http1 *http1);
void rpc_http1_fini(struct rpc_http1 *http1);

/* rpc_http1_put - bytes from the client. False: too many wait, or no memory; close. */
bool rpc_http1_put(struct rpc_http1 *http1, const void *data, size_t len);

/*
 * rpc_http1_next - take one request off and append its whole answer to `out`.
 *
 * out->failed is to be looked at by the caller.
 */
enum rpc_http1_next rpc_http1_next(struct rpc_http1 *http1, const struct rpc_shared *shared,
                                   const struct rpc_peer *peer, struct ltd_bytes *out);

/*
 * rpc_http1_recognise - do these first octets of a connection begin a request for a page?
 *
 * 1: yes ("GET " or "HEAD "); 0: no; -1: more octets are needed, five at most.
 */
int rpc_http1_recognise(const uint8_t *data, size_t len);

#endif
