/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/cli/fake_guard.h - a server that wants to know who calls: TLS, certificates, tokens.
 *
 * It answers Jobs.List with one job whose owner is who it took the caller for: "token" for a call
 * with the right token, "cert:NAME" for one with a verified client certificate and no token,
 * "nobody" for others. A wrong token is UNAUTHENTICATED with the reason TOKEN_WRONG; Delete needs
 * more than it gives anybody: PERMISSION_DENIED with the reason ROLE.
 *
 * Threads: one of its own; start and stop belong to the test's.
 */
#ifndef LATENTD_TESTS_CLI_FAKE_GUARD_H
#define LATENTD_TESTS_CLI_FAKE_GUARD_H

struct fake_guard;

/*
 * fake_guard_start - on "tls:127.0.0.1:…" and on a plaintext port of 127.0.0.1.
 *
 * folder  holds ca.pem, server.pem and server.key (tests/rpc/certs.h)
 * token   the right one
 */
struct fake_guard *fake_guard_start(const char *folder, const char *token);
void fake_guard_stop(struct fake_guard *guard);

const char *fake_guard_tls_address(const struct fake_guard *guard);
const char *fake_guard_plain_address(const struct fake_guard *guard);

#endif
