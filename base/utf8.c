/* SPDX-License-Identifier: Apache-2.0 */
/* base/utf8.c - well-formedness by RFC 3629 §4; see base/utf8.h. */
#include "base/utf8.h"

#include <string.h>

int ltd_utf8_next(const uint8_t *s, size_t len, uint32_t *code)
{
    uint8_t lead = s[0];
    if (lead < 0x80) {
        if (code)
            *code = lead;
        return 1;
    }
    int n = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
    if (lead < 0xC2 || lead > 0xF4)
        return LTD_UTF8_BAD;
    /* The second byte's range excludes overlong forms, surrogates and what is above U+10FFFF. */
    uint8_t low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
    uint8_t high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
    uint32_t value = lead & (0xFFu >> (n + 1));
    for (int i = 1; i < n; i++) {
        if ((size_t)i >= len)
            return LTD_UTF8_INCOMPLETE;
        if (s[i] < low || s[i] > high)
            return LTD_UTF8_BAD;
        value = value << 6 | (s[i] & 0x3F);
        low = 0x80;
        high = 0xBF;
    }
    if (code)
        *code = value;
    return n;
}

/* Eight bytes at once: most text is ASCII, and requests carry megabytes of it. */
static size_t skip_ascii(const uint8_t *s, size_t at, size_t len)
{
    uint64_t eight;
    while (len - at >= sizeof eight) {
        memcpy(&eight, s + at, sizeof eight);
        if (eight & UINT64_C(0x8080808080808080))
            break;
        at += sizeof eight;
    }
    return at;
}

size_t ltd_utf8_valid_prefix(const void *s, size_t len)
{
    const uint8_t *bytes = s;
    size_t at = 0;
    while ((at = skip_ascii(bytes, at, len)) < len) {
        int n = ltd_utf8_next(bytes + at, len - at, NULL);
        if (n <= 0)
            break;
        at += (size_t)n;
    }
    return at;
}

void ltd_utf8_tidy(char *text)
{
    uint8_t *at = (uint8_t *)text;
    size_t left = strlen(text);
    while (left > 0) {
        int n = ltd_utf8_next(at, left, NULL);
        if (n == LTD_UTF8_INCOMPLETE) {
            *at = '\0';
            return;
        }
        if (n == LTD_UTF8_BAD || *at < 0x20 || *at == 0x7F) {
            *at = '?';
            n = 1;
        }
        at += n;
        left -= (size_t)n;
    }
}

int ltd_utf8_put(uint32_t code, uint8_t out[4])
{
    if (code < 0x80) {
        out[0] = (uint8_t)code;
        return 1;
    }
    int n = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    for (int i = n - 1; i > 0; i--) {
        out[i] = (uint8_t)(0x80 | (code & 0x3F));
        code >>= 6;
    }
    out[0] = (uint8_t)((0xF00u >> n & 0xFF) | code);
    return n;
}
