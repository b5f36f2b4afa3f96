/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rpc/tls.h - the certificates of one end, and what they allow.
 *
 * A context is made once and can be read again from its files while connections run: those that are
 * open keep what they began with, new ones get what is there now. A reload that fails changes
 * nothing.
 *
 * At least TLS 1.2; ALPN offers h2, and on a server http/1.1 behind it; a client that offers
 * neither is refused with an alert, one that offers nothing is let in and judged by its first
 * bytes. No renegotiation, no compression. No session tickets and no session cache either: a
 * resumed session skips the certificates, and would bring back a client whose certificate is not
 * accepted any more; connections here live for hours, so a full handshake costs nothing.
 *
 * Whose name a client certificate gives: its subject's common name, or when it has none the first
 * DNS name or e-mail address of its subjectAltName. A certificate whose name is ambiguous, too
 * long, empty or holds anything but printable UTF-8 is refused in the handshake. There are no
 * revocation lists: take the CA out of the file, or issue short-lived certificates.
 *
 * A connection's use of it: rpc/tls_session.h.
 *
 * Threads: loop thread (a client's: its one thread).
 */
#ifndef LATENTD_RPC_TLS_H
#define LATENTD_RPC_TLS_H

#include <stdbool.h>

#include "base/err.h"

struct rpc_tls;

struct rpc_tls_config {
    const char *certificate; /* PEM file, chain behind the leaf; NULL: none (client only) */
    const char *key;         /* PEM file; must not be readable by others */
    const char *ca;          /* PEM file of who signs the other end; NULL: a server does not ask for
                                client certificates, a client trusts what the system trusts */
    bool require_peer;       /* server: refuse clients without a certificate of `ca` */
};

/* What ALPN settled. */
enum rpc_tls_protocol {
    RPC_TLS_PROTOCOL_NONE, /* the client did not ask */
    RPC_TLS_PROTOCOL_H2,
    RPC_TLS_PROTOCOL_HTTP1,
};

/*
 * rpc_tls_create_server, rpc_tls_create_client - read and check the files.
 *
 * config  copied
 *
 * A key is refused when anybody but its owner may read it. (A key that root's group may read and
 * that is given to us by an access list, as systemd's credentials are, is fine.) A certificate
 * of a server that is not valid yet, or expires within a week, is worth a warning in the log.
 *
 * Errors: LTD_E_INVALID naming the file and what is wrong with it (unreadable, no PEM, key of
 *         another certificate, expired), LTD_E_EXHAUSTED. Returns owned.
 */
struct rpc_tls *rpc_tls_create_server(const struct rpc_tls_config *config, struct ltd_err *err);
struct rpc_tls *rpc_tls_create_client(const struct rpc_tls_config *config, struct ltd_err *err);

/* rpc_tls_reload - read the same files again, by the same rules. On failure, of which an expired
 * certificate is one, the old ones stay in use. */
int rpc_tls_reload(struct rpc_tls *tls, struct ltd_err *err);

/* Connections that use it keep what they need. NULL is fine. */
void rpc_tls_destroy(struct rpc_tls *take_tls);

#endif
