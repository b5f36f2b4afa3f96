/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rpc/address.h - the notation of endpoints: "host:port", "[v6]:port", "tls:host:port", "unix:/path".
 *
 * Parsing is pure; nothing is resolved here. The server and the client read the same notation, so
 * what a server prints as its address can be given to a client as it stands.
 */
#ifndef LATENTD_RPC_ADDRESS_H
#define LATENTD_RPC_ADDRESS_H

#include <stdbool.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/err.h"

/* The longest printed form: "tls:[" 256 "]:65535", or "unix:" and a whole sun_path. */
#define RPC_ADDRESS_BYTES 280

/* A number of IPv6 is at most 45 characters; "unix:uid=4294967295" is shorter. */
#define RPC_HOST_BYTES 48

struct rpc_address {
    bool is_unix;
    bool is_tls;             /* "tls:" stood in front; never with is_unix */
    char host[256];          /* without brackets; empty for a Unix socket */
    char port[6];            /* decimal, 0..65535, no leading zeros needed */
    struct sockaddr_un path; /* complete and ready to use when is_unix */
};

/*
 * rpc_address_parse - read one endpoint.
 *
 * Errors:  LTD_E_INVALID: no port, port above 65535, a bare IPv6 address without brackets, an empty
 *          or too long path, TLS over a Unix socket. `out` is unspecified then.
 */
int rpc_address_parse(const char *text, struct rpc_address *out, struct ltd_err *err);

/*
 * rpc_address_format - a socket address in the same notation.
 *
 * text  [RPC_ADDRESS_BYTES]; an address that is neither IP nor Unix gives "unknown".
 */
void rpc_address_format(const struct sockaddr *address, socklen_t address_bytes, char *text);

/*
 * rpc_address_format_host - the number of the host alone: "127.0.0.1", "::1".
 *
 * text  [RPC_HOST_BYTES]; a Unix address gives "unix", anything else "unknown"
 */
void rpc_address_format_host(const struct sockaddr *address, char *text);

/*
 * rpc_address_format_network - whom an address belongs to, for limits: "192.0.2.1", "2001:db8:1:2::/64".
 *
 * Who has one IPv6 address has 2^64 of them, so those count together. An address that is local to a
 * link is a host's own; an IPv4 address written as IPv6 is what it is.
 *
 * text  [RPC_HOST_BYTES], for other families as above
 */
void rpc_address_format_network(const struct sockaddr *address, char *text);

/* True when nothing that is said to this address leaves the host: 127.0.0.0/8, ::1, a Unix socket. */
bool rpc_address_is_loopback(const struct sockaddr *address);

#endif
