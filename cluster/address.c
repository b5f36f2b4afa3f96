/* SPDX-License-Identifier: Apache-2.0 */
/* cluster/address.c - see cluster/address.h. */
#include "cluster/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* "10.1.0.0/16": true when it is one and `ipv4` lies in it. */
static bool is_in_network(const char *item, uint32_t ipv4)
{
    char text[INET_ADDRSTRLEN + 4];
    const char *slash = strchr(item, '/');
    struct in_addr network;
    char *end;
    if (!slash || (size_t)(slash - item) >= sizeof text)
        return false;
    memcpy(text, item, (size_t)(slash - item));
    text[slash - item] = '\0';
    long bits = strtol(slash + 1, &end, 10);
    if (end == slash + 1 || *end || bits < 0 || bits > 32 ||
        inet_pton(AF_INET, text, &network) != 1)
        return false;
    uint32_t mask = bits == 0 ? 0 : UINT32_MAX << (32 - bits);
    return (ipv4 & mask) == (ntohl(network.s_addr) & mask);
}

bool clus_address_listed(const char *list, const char *if_name, uint32_t ipv4)
{
    char item[64];
    while (*list) {
        size_t len = strcspn(list, ",");
        if (len > 0 && len < sizeof item) {
            memcpy(item, list, len);
            item[len] = '\0';
            if (strcmp(item, if_name) == 0 || is_in_network(item, ipv4))
                return true;
        }
        list += len + (list[len] == ',');
    }
    return false;
}

static int resolve(const char *wanted, char *out, struct ltd_err *err)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    int rc = getaddrinfo(wanted, NULL, &hints, &found);
    if (rc == 0)
        rc = getnameinfo(found->ai_addr, found->ai_addrlen, out, CLUS_ADDRESS_BYTES, NULL, 0,
                         NI_NUMERICHOST);
    if (found)
        freeaddrinfo(found);
    if (rc != 0)
        return ltd_fail(err, LTD_E_INVALID, "control address \"%s\": %s", wanted, gai_strerror(rc));
    return 0;
}

/* The first usable interface that `include` (may be NULL) lists; false when there is none. */
static bool pick_interface(const struct ifaddrs *all, const char *include, char *out)
{
    for (const struct ifaddrs *at = all; at; at = at->ifa_next) {
        if (!at->ifa_addr || at->ifa_addr->sa_family != AF_INET || !(at->ifa_flags & IFF_UP) ||
            (!include && (at->ifa_flags & IFF_LOOPBACK)))
            continue;
        struct sockaddr_in address;
        memcpy(&address, at->ifa_addr, sizeof address);
        if (include && !clus_address_listed(include, at->ifa_name, ntohl(address.sin_addr.s_addr)))
            continue;
        return inet_ntop(AF_INET, &address.sin_addr, out, CLUS_ADDRESS_BYTES) != NULL;
    }
    return false;
}

/* Among this host's interfaces: one that `wanted` or Open MPI's setting lists, or any that is up.
 */
static int choose_interface(const char *wanted, char *out, struct ltd_err *err)
{
    struct ifaddrs *all = NULL;
    if (getifaddrs(&all) != 0)
        return ltd_fail(err, LTD_E_RANK, "list network interfaces: %s", strerror(errno));
    const char *include = wanted ? wanted : getenv("OMPI_MCA_btl_tcp_if_include");
    bool is_found = (include && pick_interface(all, include, out)) ||
                    (!wanted && pick_interface(all, NULL, out));
    freeifaddrs(all);
    if (!is_found)
        return ltd_fail(err, LTD_E_RANK,
                        "no network interface with an IPv4 address, and ranks on several hosts; "
                        "configure the control address");
    return 0;
}

int clus_address_choose(const char *wanted, bool is_one_host, char *out, struct ltd_err *err)
{
    if (wanted && *wanted)
        return choose_interface(wanted, out, NULL) == 0 ? 0 : resolve(wanted, out, err);
    if (is_one_host) {
        snprintf(out, CLUS_ADDRESS_BYTES, "127.0.0.1");
        return 0;
    }
    return choose_interface(NULL, out, err);
}
