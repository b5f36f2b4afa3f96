/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model/byte_alphabet.h - the 256 printable characters in which tokenizer.json writes bytes.
 *
 * A vocabulary of byte strings has to be written as JSON text, so GPT-2 gave every byte a visible
 * character: a byte that is a printable, non-space character of Latin-1 stands for itself, and the
 * 68 others take the code points from U+0100 up, in order. A space is therefore "Ġ" (U+0120).
 */
#ifndef LATENTD_MODEL_BYTE_ALPHABET_H
#define LATENTD_MODEL_BYTE_ALPHABET_H

#include <stddef.h>
#include <stdint.h>

/* The code point that stands for a byte. */
uint32_t model_byte_to_char(uint8_t byte);

/* The byte that a code point stands for, -1 when it stands for none. */
int model_byte_from_char(uint32_t code);

/*
 * model_byte_decode - the bytes that `text` spells in this alphabet.
 *
 * text  in   [len] well-formed UTF-8
 * out   out  room for `len` bytes
 *
 * Returns the number of bytes, or -1 when a character is not in the alphabet (`out` is then
 * unspecified).
 */
ptrdiff_t model_byte_decode(const char *text, size_t len, uint8_t *out);

#endif
