/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rpc/tls_session.h - TLS of one connection as a filter: bytes in, bytes out, no socket.
 *
 *     feed(ciphertext) ──▶ next()* ──▶ SECURE once, DATA*, END or FAILED, at last MORE
 *                            │
 *                            └──▶ `out`: what the handshake has to say, alerts
 *     write(plaintext) ───────────▶ `out`: records of at most 16 KiB
 *
 * OpenSSL reads from the caller's buffer and writes to the caller's byte string through a BIO of
 * our own: its memory BIOs keep the largest buffer they ever had, which is 64 KiB for every idle
 * connection. What is left of a record that came in part is inside OpenSSL, at most 17 KiB, and is
 * freed when the record is complete (SSL_MODE_RELEASE_BUFFERS).
 *
 * For rpc/transport.c, and for tests. Threads: the loop's thread.
 */
#ifndef LATENTD_RPC_TLS_SESSION_H
#define LATENTD_RPC_TLS_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"
#include "rpc/tls.h"

/* As long as the name of an identity (rpc/call.h), with its NUL. */
#define RPC_TLS_NAME_BYTES 96

struct rpc_tls_session;
struct ssl_ctx_st;
struct x509_store_ctx_st;

enum rpc_tls_event {
    RPC_TLS_MORE,   /* everything that was fed has been used; nothing comes without more of it */
    RPC_TLS_SECURE, /* the handshake is over: the other end is who it has to be */
    RPC_TLS_DATA,   /* `n` bytes of plaintext */
    RPC_TLS_END,    /* the other end said that nothing more comes (close_notify) */
    RPC_TLS_FAILED, /* `err` says why; `out` may hold an alert for the other end */
};

/*
 * rpc_tls_session_create - one connection's TLS with the certificates that `tls` has now.
 *
 * server_name  client: name or IP address that the server's certificate must hold; NULL on a server
 *
 * Returns owned; LTD_E_INVALID for a name that cannot be one, LTD_E_EXHAUSTED.
 */
struct rpc_tls_session *rpc_tls_session_create(const struct rpc_tls *tls, const char *server_name,
                                               struct ltd_err *err);

/* NULL is fine. */
void rpc_tls_session_destroy(struct rpc_tls_session *take_session);

/* rpc_tls_session_feed - what was received; borrowed until rpc_tls_session_next says MORE. */
void rpc_tls_session_feed(struct rpc_tls_session *session, const uint8_t *data, size_t len);

/*
 * rpc_tls_session_next - one step further.
 *
 * plain  [plain_bytes] > 0; DATA puts its bytes there, at most one record at a time
 * out    what is to be sent to the other end is appended
 *
 * A client's first call, without anything fed, makes its first message. After END and FAILED it
 * answers the same again. Errors (FAILED): LTD_E_UNAUTHENTICATED when a certificate is missing or
 * not accepted, on either side; LTD_E_PEER for everything else the other end did; LTD_E_EXHAUSTED.
 */
enum rpc_tls_event rpc_tls_session_next(struct rpc_tls_session *session, uint8_t *plain,
                                        size_t plain_bytes, size_t *n, struct ltd_bytes *out,
                                        struct ltd_err *err);

/* rpc_tls_session_write - encrypt all of it into `out`; only after SECURE. */
int rpc_tls_session_write(struct rpc_tls_session *session, const void *data, size_t len,
                          struct ltd_bytes *out, struct ltd_err *err);

/* rpc_tls_session_close - say that nothing more comes, if there is still somebody to say it to. */
void rpc_tls_session_close(struct rpc_tls_session *session, struct ltd_bytes *out);

bool rpc_tls_session_is_secure(const struct rpc_tls_session *session);
enum rpc_tls_protocol rpc_tls_session_protocol(const struct rpc_tls_session *session);

/* The name in the client's verified certificate, or NULL when it showed none. */
const char *rpc_tls_session_peer_name(const struct rpc_tls_session *session);

/* ---- between tls.c and tls_session.c ---- */

/* What new sessions are made from; it changes at a reload. */
struct ssl_ctx_st *rpc_tls_ctx(const struct rpc_tls *tls);
bool rpc_tls_is_server(const struct rpc_tls *tls);

/* OpenSSL's verify callback of a server: the certificate's name must be one. */
int rpc_tls_verify_client(int preverified, struct x509_store_ctx_st *store);

#endif
