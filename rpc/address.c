/* SPDX-License-Identifier: Apache-2.0 */
/* rpc/address.c - see rpc/address.h. */
#include "rpc/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int parse_unix(const char *text, const char *path, struct rpc_address *out,
                      struct ltd_err *err)
{
    size_t len = strlen(path);
    if (len == 0)
        return ltd_fail(err, LTD_E_INVALID, "address '%s': no path after unix:", text);
    /* The kernel takes a path without its NUL, but nobody who prints it can count on that. */
    if (len >= sizeof out->path.sun_path)
        return ltd_fail(err, LTD_E_INVALID,
                        "address '%s': path of %zu bytes, a Unix socket takes at most %zu", text,
                        len, sizeof out->path.sun_path - 1);
    out->is_unix = true;
    out->path.sun_family = AF_UNIX;
    memcpy(out->path.sun_path, path, len + 1);
    return 0;
}

static int parse_port(const char *text, const char *port, struct rpc_address *out,
                      struct ltd_err *err)
{
    size_t digits = strspn(port, "0123456789");
    if (digits == 0 || digits > 5 || port[digits] != '\0' || atol(port) > 65535)
        return ltd_fail(err, LTD_E_INVALID, "address '%s': port '%s', expected a number 0..65535",
                        text, port);
    memcpy(out->port, port, digits + 1);
    return 0;
}

int rpc_address_parse(const char *text, struct rpc_address *out, struct ltd_err *err)
{
    *out = (struct rpc_address){0};
    if (strncmp(text, "unix:", 5) == 0)
        return parse_unix(text, text + 5, out, err);
    out->is_tls = strncmp(text, "tls:", 4) == 0;
    const char *host = out->is_tls ? text + 4 : text;
    if (out->is_tls && strncmp(host, "unix:", 5) == 0)
        return ltd_fail(err, LTD_E_INVALID,
                        "address '%s': a Unix socket takes no TLS, its file's rights protect it",
                        text);

    const char *colon = strrchr(host, ':');
    if (!colon)
        return ltd_fail(err, LTD_E_INVALID,
                        "address '%s': expected host:port, [ipv6]:port, either behind tls:, or "
                        "unix:/path",
                        text);
    size_t host_len = (size_t)(colon - host);
    if (host_len >= 2 && host[0] == '[' && host[host_len - 1] == ']') {
        host++;
        host_len -= 2;
    } else if (memchr(host, ':', host_len)) {
        return ltd_fail(err, LTD_E_INVALID, "address '%s': put an IPv6 address in brackets", text);
    }
    if (host_len == 0 || host_len >= sizeof out->host)
        return ltd_fail(err, LTD_E_INVALID, "address '%s': host of %zu bytes, expected 1..%zu",
                        text, host_len, sizeof out->host - 1);
    memcpy(out->host, host, host_len);
    return parse_port(text, colon + 1, out, err);
}

void rpc_address_format_host(const struct sockaddr *address, char *text)
{
    if (address->sa_family == AF_INET) {
        struct sockaddr_in v4;
        memcpy(&v4, address, sizeof v4);
        inet_ntop(AF_INET, &v4.sin_addr, text, RPC_HOST_BYTES);
    } else if (address->sa_family == AF_INET6) {
        struct sockaddr_in6 v6;
        memcpy(&v6, address, sizeof v6);
        inet_ntop(AF_INET6, &v6.sin6_addr, text, RPC_HOST_BYTES);
    } else {
        snprintf(text, RPC_HOST_BYTES, address->sa_family == AF_UNIX ? "unix" : "unknown");
    }
}

void rpc_address_format_network(const struct sockaddr *address, char *text)
{
    struct sockaddr_in6 v6;
    rpc_address_format_host(address, text);
    if (address->sa_family != AF_INET6)
        return;
    memcpy(&v6, address, sizeof v6);
    if (IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr)) {
        inet_ntop(AF_INET, v6.sin6_addr.s6_addr + 12, text, RPC_HOST_BYTES);
    } else if (!IN6_IS_ADDR_LOOPBACK(&v6.sin6_addr) && !IN6_IS_ADDR_LINKLOCAL(&v6.sin6_addr)) {
        memset(v6.sin6_addr.s6_addr + 8, 0, 8);
        inet_ntop(AF_INET6, &v6.sin6_addr, text, RPC_HOST_BYTES);
        size_t len = strlen(text);
        snprintf(text + len, RPC_HOST_BYTES - len, "/64");
    }
}

bool rpc_address_is_loopback(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET) {
        struct sockaddr_in v4;
        memcpy(&v4, address, sizeof v4);
        return ntohl(v4.sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
    }
    if (address->sa_family == AF_INET6) {
        struct sockaddr_in6 v6;
        memcpy(&v6, address, sizeof v6);
        return IN6_IS_ADDR_LOOPBACK(&v6.sin6_addr);
    }
    return address->sa_family == AF_UNIX;
}

void rpc_address_format(const struct sockaddr *address, socklen_t address_bytes, char *text)
{
    char host[RPC_HOST_BYTES];
    rpc_address_format_host(address, host);
    if (address->sa_family == AF_INET) {
        struct sockaddr_in v4;
        memcpy(&v4, address, sizeof v4);
        snprintf(text, RPC_ADDRESS_BYTES, "%s:%u", host, ntohs(v4.sin_port));
    } else if (address->sa_family == AF_INET6) {
        struct sockaddr_in6 v6;
        memcpy(&v6, address, sizeof v6);
        snprintf(text, RPC_ADDRESS_BYTES, "[%s]:%u", host, ntohs(v6.sin6_port));
    } else if (address->sa_family == AF_UNIX) {
        size_t head = offsetof(struct sockaddr_un, sun_path);
        size_t len = address_bytes > head ? address_bytes - head : 0;
        snprintf(text, RPC_ADDRESS_BYTES, "unix:%.*s", (int)len, (const char *)address + head);
    } else {
        snprintf(text, RPC_ADDRESS_BYTES, "unknown");
    }
}
