/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cluster/address.h - which address of this host the other ranks can reach.
 *
 * Used once, by rank 0, for the control sockets. Order of choice: what the user configured;
 * loopback when all ranks share the host; the interface that Open MPI was told to use; the first
 * interface that is up and not loopback.
 *
 * Threads: start only.
 */
#ifndef LATENTD_CLUSTER_ADDRESS_H
#define LATENTD_CLUSTER_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define CLUS_ADDRESS_BYTES 64 /* a numeric IPv4 or IPv6 address with its NUL */

/*
 * clus_address_choose - a numeric address to listen on, into out[CLUS_ADDRESS_BYTES].
 *
 * wanted    an interface ("eth0"), a network ("10.1.0.0/16"), an address or a host name; or NULL
 * Errors: LTD_E_INVALID when `wanted` has no address; LTD_E_RANK when no interface will do.
 */
int clus_address_choose(const char *wanted, bool is_one_host, char *out, struct ltd_err *err);

/*
 * clus_address_listed - is an interface in a list like "eth0,10.1.0.0/16" (names and IPv4 networks,
 * Open MPI's btl_tcp_if_include)? `ipv4` in host byte order. Items that are neither are no match.
 */
bool clus_address_listed(const char *list, const char *if_name, uint32_t ipv4);

#endif
