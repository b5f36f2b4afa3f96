/* SPDX-License-Identifier: Apache-2.0 */
/* model/byte_alphabet.c - see model/byte_alphabet.h. */
#include "model/byte_alphabet.h"

#include <stdbool.h>

#include "base/utf8.h"

/* Printable and no space in Latin-1. U+00AD, the soft hyphen, is invisible and so left out. */
static bool stands_for_itself(uint32_t byte)
{
    return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xFF && byte != 0xAD);
}

/* The others in order: 0..0x20, then 0x7F..0xA0, then 0xAD, at U+0100, U+0121 and U+0143. */
uint32_t model_byte_to_char(uint8_t byte)
{
    if (stands_for_itself(byte))
        return byte;
    if (byte <= 0x20)
        return 0x100u + byte;
    return byte == 0xAD ? 0x143u : 0x121u + (byte - 0x7Fu);
}

int model_byte_from_char(uint32_t code)
{
    if (code < 0x100)
        return stands_for_itself(code) ? (int)code : -1;
    if (code <= 0x120)
        return (int)(code - 0x100);
    if (code <= 0x142)
        return (int)(code - 0x121 + 0x7F);
    return code == 0x143 ? 0xAD : -1;
}

ptrdiff_t model_byte_decode(const char *text, size_t len, uint8_t *out)
{
    ptrdiff_t n = 0;
    for (size_t at = 0; at < len;) {
        uint32_t code;
        int width = ltd_utf8_next((const uint8_t *)text + at, len - at, &code);
        int byte = width > 0 ? model_byte_from_char(code) : -1;
        if (byte < 0)
            return -1;
        out[n++] = (uint8_t)byte;
        at += (size_t)width;
    }
    return n;
}
