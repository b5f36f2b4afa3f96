/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/rpc/certs.h - certificates for tests, made while they run: P-256, PEM, in a directory.
 *
 *     ca.pem              signs what follows                          (with ca.key)
 *     server.pem          CN=localhost; localhost, 127.0.0.1, ::1     (with server.key)
 *     alice.pem           CN=alice, a client's                        (with alice.key)
 *     stranger-ca.pem     another CA,                                 (with stranger-ca.key)
 *     stranger.pem        and a client of its                         (with stranger.key)
 */
#ifndef LATENTD_TESTS_RPC_CERTS_H
#define LATENTD_TESTS_RPC_CERTS_H

#include <stdbool.h>
#include <stddef.h>

struct cert {
    const char *file;   /* "server": server.pem and server.key */
    const char *issuer; /* "ca"; the same as `file` for one that signs itself */
    const char *cn;     /* NULL: no common name */
    size_t cn_bytes;    /* 0: strlen(cn); else it may hold NULs */
    const char *cn2;    /* a second common name, or NULL */
    const char *san;    /* as in OpenSSL's configuration: "DNS:localhost,IP:127.0.0.1", or NULL */
    long from_s, to_s;  /* valid from, to: seconds from now; 0: an hour ago, in a month */
};

/* Make one in `dir`; its issuer must be there. Ends the program with a message when it cannot. */
void certs_issue(const char *dir, const struct cert *cert);

/* The five of the list above. */
void certs_make(const char *dir);

#endif
