/* SPDX-License-Identifier: Apache-2.0 */
/* rpc/grpc_meta.c - see rpc/grpc_meta.h. */
#include "rpc/grpc_meta.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"

static uint64_t unit_ns(uint8_t unit)
{
    switch (unit) {
    case 'H':
        return 3600 * LTD_NS_PER_S;
    case 'M':
        return 60 * LTD_NS_PER_S;
    case 'S':
        return LTD_NS_PER_S;
    case 'm':
        return LTD_NS_PER_MS;
    case 'u':
        return 1000;
    case 'n':
        return 1;
    default:
        return 0;
    }
}

int rpc_meta_timeout_parse(const uint8_t *value, size_t len, uint64_t *timeout_ns)
{
    if (len < 2 || len > 9)
        return -1;
    uint64_t n = 0;
    for (size_t i = 0; i + 1 < len; i++) {
        if (value[i] < '0' || value[i] > '9')
            return -1;
        n = n * 10 + (uint64_t)(value[i] - '0');
    }
    uint64_t unit = unit_ns(value[len - 1]);
    if (unit == 0)
        return -1;
    uint64_t ns;
    *timeout_ns = __builtin_mul_overflow(n, unit, &ns) ? UINT64_MAX : ns;
    return 0;
}

size_t rpc_meta_timeout_format(uint64_t timeout_ms, char out[RPC_TIMEOUT_BYTES])
{
    const uint64_t most = 99999999; /* eight digits is all the grammar has */
    static const struct {
        uint64_t ms;
        char unit;
    } units[] = {{1, 'm'}, {1000, 'S'}, {60000, 'M'}, {3600000, 'H'}};
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        /* Rounded up: the server may give up later than the client, never earlier. */
        uint64_t n = timeout_ms / units[i].ms + (timeout_ms % units[i].ms != 0);
        if (n <= most)
            return (size_t)snprintf(out, RPC_TIMEOUT_BYTES, "%llu%c",
                                    (unsigned long long)(n % (most + 1)), units[i].unit);
    }
    return (size_t)snprintf(out, RPC_TIMEOUT_BYTES, "99999999H");
}

int rpc_meta_status_parse(const uint8_t *value, size_t len)
{
    if (len == 0 || len > 3)
        return -1;
    int n = 0;
    for (size_t i = 0; i < len; i++) {
        if (value[i] < '0' || value[i] > '9')
            return -1;
        n = n * 10 + (value[i] - '0');
    }
    return n;
}

size_t rpc_meta_percent_encode(const uint8_t *text, size_t len, char *out)
{
    static const char hex[] = "0123456789ABCDEF";
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        uint8_t c = text[i];
        if (c >= 0x20 && c <= 0x7E && c != '%') {
            out[n++] = (char)c;
            continue;
        }
        out[n++] = '%';
        out[n++] = hex[c >> 4];
        out[n++] = hex[c & 15];
    }
    return n;
}

static int hex_value(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return -1;
}

size_t rpc_meta_percent_decode(const uint8_t *text, size_t len, char *out)
{
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        if (text[i] == '%' && len - i > 2 && hex_value(text[i + 1]) >= 0 &&
            hex_value(text[i + 2]) >= 0) {
            out[n++] = (char)(hex_value(text[i + 1]) << 4 | hex_value(text[i + 2]));
            i += 2;
        } else {
            out[n++] = (char)text[i];
        }
    }
    return n;
}

bool rpc_meta_is_grpc_content(const uint8_t *value, size_t len)
{
    static const char name[] = "application/grpc";
    const size_t n = sizeof name - 1;
    if (len < n || strncasecmp((const char *)value, name, n) != 0)
        return false;
    return len == n || value[n] == '+' || value[n] == ';';
}
