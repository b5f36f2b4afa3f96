/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base/utf8.h - is this text, and where do its code points end.
 *
 * Well-formed means the table of the Unicode standard: no overlong forms, no surrogates, nothing
 * above U+10FFFF. Source: RFC 3629 §4.
 */
#ifndef LATENTD_BASE_UTF8_H
#define LATENTD_BASE_UTF8_H

#include <stddef.h>
#include <stdint.h>

#define LTD_UTF8_BAD        0    /* the first bytes can never become a code point */
#define LTD_UTF8_INCOMPLETE (-1) /* a well-formed beginning; more bytes are needed */

/*
 * ltd_utf8_next - length in bytes (1..4) of the code point at `s`, or LTD_UTF8_BAD, or
 * LTD_UTF8_INCOMPLETE. `*code` (may be NULL) gets the code point on success. `len` > 0.
 */
int ltd_utf8_next(const uint8_t *s, size_t len, uint32_t *code);

/* Offset of the first byte that is not part of well-formed UTF-8; `len` when all of it is. */
size_t ltd_utf8_valid_prefix(const void *s, size_t len);

/*
 * ltd_utf8_tidy - make a string one line of well-formed UTF-8, in place, for a message or a log.
 *
 * Control characters and bytes that are no UTF-8 become '?'; a code point that is cut off at the end
 * goes. Never longer than before.
 */
void ltd_utf8_tidy(char *text);

/* Write `code` (a valid scalar value) as UTF-8 into out[4]; returns its length. */
int ltd_utf8_put(uint32_t code, uint8_t out[4]);

#endif
