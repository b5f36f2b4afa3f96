/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model/nfc.h - the composed normal form of Unicode text ("e" and U+0301 become U+00E9).
 *
 * Some tokenizers ask for it before text is cut (`"normalizer": {"type": "NFC"}`), so that equal
 * looking texts get equal tokens. Huginn's does not.
 *
 * Source: Unicode Standard Annex 15; data of Unicode 14.0 (model/nfc_table.h).
 * Threads: pure function.
 */
#ifndef LATENTD_MODEL_NFC_H
#define LATENTD_MODEL_NFC_H

#include <stddef.h>

#include "base/bytes.h"
#include "base/err.h"

/*
 * model_nfc - append the normal form of `text` to `out`.
 *
 * text  in   [len] well-formed UTF-8
 * out   out  appended to; at most three times as long as the text
 *
 * Cost:   O(len log table), also for a text of combining marks alone; 16 bytes per code point.
 * Errors: LTD_E_EXHAUSTED.
 */
int model_nfc(const char *text, size_t len, struct ltd_bytes *out, struct ltd_err *err);

#endif
