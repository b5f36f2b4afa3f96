/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/cli/proxy.h - a wire between latentctl and a server that breaks where a test wants it to.
 *
 * Each connection that is accepted is joined to one of its own to the server. When so many bytes as
 * the plan says have gone from the server to the client, both are closed at once: what a client sees
 * of a daemon that is killed, byte by byte. A connection whose number is 0 is closed when it is
 * accepted. Connections behind the end of the plan are whole.
 *
 * Threads: one of its own; the functions belong to the test's.
 */
#ifndef LATENTD_TESTS_CLI_PROXY_H
#define LATENTD_TESTS_CLI_PROXY_H

#include <stddef.h>
#include <stdint.h>

struct proxy;

#define PROXY_MAX_CUTS 64

/* From the Unix socket `path` to the one at `server`, both without "unix:". */
struct proxy *proxy_start(const char *path, const char *server);

/* Also takes the socket away. */
void proxy_stop(struct proxy *proxy);

/* The plan for the connections from now on. */
void proxy_plan(struct proxy *proxy, const uint32_t *cuts, size_t n);

/* Since the last plan: connections that were cut, and bytes from the server over all of them. */
uint32_t proxy_n_cut(const struct proxy *proxy);
uint64_t proxy_n_bytes(const struct proxy *proxy);

#endif
